//! What a process knows of slots that can be given out, and its random numbers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use zerocopy::IntoBytes;

/// What this process knows of slots that can be given out.
#[derive(Default)]
pub(super) struct Spare {
    /// Ids of sessions that this process revoked, in the order of their revocation. Their slots are reused in this
    /// order.
    pub revoked: VecDeque<u64>,
    /// Ends and ids of sessions that this process admitted, the next to end first. Some of these sessions may be gone,
    /// and some end sooner.
    pub ends: BinaryHeap<Reverse<(i64, u64)>>,
    /// Slots that were found for sessions that were not admitted after all.
    pub returned: Vec<usize>,
    /// Where the next search for a slot begins, which also finds those of other processes.
    pub cursor: usize,
    /// When the last search found no slot: how many sessions had ended by then, and when the next one ends by itself.
    pub full: Option<(u64, i64)>,
    pub random: Random,
}

/// Random numbers, read from the system many at a time, so that most admissions make no system call for them.
pub(super) struct Random {
    numbers: [u64; 64],
    left: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { numbers: [0; 64], left: 0 }
    }
}

impl Random {
    pub fn next(&mut self) -> Result<u64, getrandom::Error> {
        if self.left == 0 {
            getrandom::fill(self.numbers.as_mut_bytes())?;
            self.left = self.numbers.len();
        }
        self.left -= 1;
        // The number is used once, and kept nowhere but in the slot.
        Ok(self.numbers.get_mut(self.left).map_or(0, std::mem::take))
    }
}
