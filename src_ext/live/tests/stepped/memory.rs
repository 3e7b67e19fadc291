//! The memory of a state, compared with what it was.

use ztfast_live::Sessions;

/// A copy of a state's memory, to see that it changes.
pub struct Memory<'s> {
    /// Nobody writes while this is read: the only other process of the state stands still.
    memory: &'s [u64],
    before: Vec<u64>,
}

impl<'s> Memory<'s> {
    pub fn of(sessions: &'s Sessions) -> Self {
        let (start, bytes) = sessions.state().range();
        // SAFETY: the mapping lives as long as the sessions, is aligned to pages, and any bytes are numbers.
        let memory = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(start), bytes / 8) };
        Self { memory, before: memory.to_vec() }
    }

    pub fn has_changed(&self) -> bool {
        std::hint::black_box(self.memory) != self.before
    }

    pub fn renew(&mut self) {
        self.before.copy_from_slice(std::hint::black_box(self.memory));
    }
}
