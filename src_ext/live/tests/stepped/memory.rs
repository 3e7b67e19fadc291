//! Pages of a state's memory, compared with what they were.

use ztfast_live::{Sessions, Switches};

/// The words of a page.
const WORDS: usize = 512;
/// Where the switches begin: behind the header, the control part, and a page each for slots and for details.
const SWITCHES_AT: usize = 7 * 4096;

/// The part of the memory that a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Switches,
    /// Everything else.
    Rest,
}

/// Return the pages of a state. Nobody writes while they are read: the only other process of the state stands still.
fn pages(sessions: &Sessions) -> &[[u64; WORDS]] {
    let (start, bytes) = sessions.state().range();
    // SAFETY: the mapping lives as long as the sessions, is aligned to pages, and any bytes are numbers.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(start), bytes / 8 / WORDS) }
}

fn is_same(page: &[u64; WORDS], before: &[u64; WORDS]) -> bool {
    std::hint::black_box(page) == before
}

/// A copy of a part of a state's memory.
pub struct Copies<'s> {
    part: Part,
    now: &'s [[u64; WORDS]],
    before: Vec<[u64; WORDS]>,
}

impl<'s> Copies<'s> {
    pub fn of(sessions: &'s Sessions, part: Part) -> Self {
        let now = pages(sessions);
        Self { part, now, before: now.to_vec() }
    }

    /// Return which pages of the part have changed. Those before the switches are among them: what is stored there may
    /// depend on the clocks.
    pub fn changed(&self) -> Pages {
        let switches = SWITCHES_AT..SWITCHES_AT + size_of::<Switches>();
        let is_part = |at: usize| switches.contains(&(at * 4096)) == (self.part == Part::Switches);
        let differs = |at: usize| !is_same(&self.now[at], &self.before[at]) || at * 4096 < SWITCHES_AT;
        Pages((0..self.now.len()).filter(|&at| is_part(at) && differs(at)).collect())
    }
}

/// The numbers of pages of states of one size.
#[derive(Default)]
pub struct Pages(Vec<usize>);

impl Pages {
    /// Return these pages of a state.
    pub fn of<'s>(&self, sessions: &'s Sessions) -> Memory<'s> {
        let all = pages(sessions);
        Memory { pages: self.0.iter().map(|&at| (&all[at], all[at])).collect() }
    }
}

/// Some pages, and what they were when they were last looked at.
pub struct Memory<'s> {
    pages: Vec<(&'s [u64; WORDS], [u64; WORDS])>,
}

impl Memory<'_> {
    /// Return whether a page has changed since the last time.
    pub fn renew(&mut self) -> bool {
        let mut has_changed = false;
        for (page, before) in &mut self.pages {
            if !is_same(page, before) {
                has_changed = true;
                *before = **page;
            }
        }
        has_changed
    }
}
