//! Which records of a table may be in force: a bit for each, so that nobody looks at all of them.
//!
//! A writer sets a record's bit before it puts the record into force, and clears the bit after it took it out. If it is
//! killed in between, there is a bit too many, never one too few.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of one word.
const BITS: usize = 64;

/// Return the places of the bits that are set in the word of this number.
fn places_in(block: usize, word: u64) -> impl Iterator<Item = usize> {
    let mut left = word;
    std::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
        left &= left - 1;
        Some(block * BITS + bit)
    })
}

/// Return the places of the records that may be in force.
pub(crate) fn places(used: &[AtomicU64]) -> impl Iterator<Item = usize> {
    used.iter().enumerate().flat_map(|(block, word)| places_in(block, word.load(Ordering::Acquire)))
}

/// Set the bit of a record.
pub(crate) fn take(used: &[AtomicU64], at: usize) {
    if let Some(word) = used.get(at / BITS) {
        word.fetch_or(1 << (at % BITS), Ordering::Release);
    }
}

/// Clear the bits of the records that are not in force, as `is_in_force` finds.
pub(crate) fn retain(used: &[AtomicU64], mut is_in_force: impl FnMut(usize) -> bool) {
    for (block, word) in used.iter().enumerate() {
        let before = word.load(Ordering::Relaxed);
        let kept = places_in(block, before).filter(|&at| is_in_force(at)).fold(0, |kept, at| kept | 1 << (at % BITS));
        if kept != before {
            word.store(kept, Ordering::Release);
        }
    }
}

/// Return how many bits are set.
pub(crate) fn count(used: &[AtomicU64]) -> usize {
    used.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
}

/// Return the first place whose bit is not set.
pub(crate) fn first_free(used: &[AtomicU64]) -> Option<usize> {
    let free = |(block, word): (usize, &AtomicU64)| {
        let bit = word.load(Ordering::Relaxed).trailing_ones() as usize;
        (bit < BITS).then_some(block * BITS + bit)
    };
    used.iter().enumerate().find_map(free)
}
