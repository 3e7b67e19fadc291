//! Claims: a writer takes a slot by one exchange of a word, and gives it back by another one.
//!
//! The crate `loom` runs this file in every order in which threads can meet.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Put a claim into a word that holds none, or one whose owner has ended. Return whether that was done.
pub(crate) fn take(writer: &AtomicU64, claim: u64, has_ended: impl Fn(u64) -> bool) -> bool {
    let held = writer.load(Ordering::Acquire);
    (held == 0 || has_ended(held)) && writer.compare_exchange(held, claim, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Take a claim out of the word, if it is there.
pub(crate) fn give_back(writer: &AtomicU64, claim: u64) {
    let _ = writer.compare_exchange(claim, 0, Ordering::Release, Ordering::Relaxed);
}
