//! Random choices.

use fastrand::Rng;

/// Return true in so many of a hundred cases.
pub(crate) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

/// Pick one of all, each with the same probability.
pub(crate) fn pick<'t, T>(rng: &mut Rng, all: &'t [T]) -> &'t T {
    &all[rng.usize(0..all.len())]
}
