//! A part of the memory of a state, compared with what it was.

use ztfast_live::{Sessions, Switches};

/// Where the switches begin: behind the header, the control part, and a page each for slots and for details.
const SWITCHES_AT: usize = 7 * 4096;

/// The part of the memory that a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Switches,
    /// Everything else.
    Rest,
}

/// A copy of pages of a state's memory, to see that they change.
pub struct Memory<'s> {
    /// Nobody writes while this is read: the only other process of the state stands still.
    pages: Vec<(&'s [u64], Vec<u64>)>,
}

impl<'s> Memory<'s> {
    pub fn of(sessions: &'s Sessions, part: Part) -> Self {
        let (start, bytes) = sessions.state().range();
        // SAFETY: the mapping lives as long as the sessions, is aligned to pages, and any bytes are numbers.
        let all: &[u64] = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(start), bytes / 8) };
        let switches = SWITCHES_AT..SWITCHES_AT + size_of::<Switches>();
        let is_part = |at: usize| switches.contains(&(at * 4096)) == (part == Part::Switches);
        let pages = all.chunks(512).enumerate().filter(|(at, _)| is_part(*at));
        Self { pages: pages.map(|(_, page)| (page, page.to_vec())).collect() }
    }

    pub fn has_changed(&self) -> bool {
        self.pages.iter().any(is_changed)
    }

    /// Return the pages that have changed, as they are now.
    pub fn changed(self) -> Self {
        let mut pages: Vec<_> = self.pages.into_iter().filter(is_changed).collect();
        pages.iter_mut().for_each(copy);
        Self { pages }
    }

    /// Return the same pages of another state.
    pub fn in_state(&self, before: &Sessions, sessions: &'s Sessions) -> Self {
        let [from, to] = [before, sessions].map(|sessions| sessions.state().range().0);
        let moved = |(page, _): &(&[u64], Vec<u64>)| {
            let at = page.as_ptr().addr() - from + to;
            // SAFETY: both states are of one size, and the mapping lives as long as the sessions.
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at), page.len()) }
        };
        Self { pages: self.pages.iter().map(moved).map(|page: &[u64]| (page, page.to_vec())).collect() }
    }

    pub fn renew(&mut self) {
        self.pages.iter_mut().for_each(copy);
    }
}

fn is_changed((page, before): &(&[u64], Vec<u64>)) -> bool {
    std::hint::black_box(*page) != before
}

fn copy((page, before): &mut (&[u64], Vec<u64>)) {
    before.copy_from_slice(std::hint::black_box(*page));
}
