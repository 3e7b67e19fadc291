//! The clock that the decisions of an engine read.

use crate::clock::{Reading, monotonic_ns};
use std::sync::atomic::{AtomicI64, Ordering};

/// The clock that an engine's decisions read.
#[derive(Debug)]
pub enum Clock {
    /// The kernel's coarse monotonic clock.
    Coarse,
    /// The processor's time-stamp counter, which is calibrated each second.
    Tsc,
    /// The time that the engine's user gives, in nanoseconds since the epoch. It never goes back.
    Caller(AtomicI64),
}

impl Clock {
    /// Return the nanoseconds that decisions compare with a session's bounds.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        match self {
            Self::Coarse => monotonic_ns(),
            Self::Tsc => crate::tsc::now_ns(),
            Self::Caller(now_ns) => now_ns.load(Ordering::Acquire),
        }
    }

    /// Read the clocks at one moment. The caller's clock is wall clock and monotonic clock in one.
    #[must_use]
    pub fn reading(&self) -> Reading {
        match self {
            Self::Coarse | Self::Tsc => Reading::now(),
            Self::Caller(now_ns) => Reading::of_one_clock(now_ns.load(Ordering::Acquire)),
        }
    }

    /// Return the nanoseconds since the epoch by the wall clock.
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        match self {
            Self::Coarse | Self::Tsc => crate::clock::now_ns(),
            Self::Caller(now_ns) => now_ns.load(Ordering::Acquire),
        }
    }

    /// Give the caller's clock another time, unless that would set it back. Return the time that it shows; `None` if
    /// the clock is not the caller's.
    pub fn set(&self, ns: i64) -> Option<i64> {
        let Self::Caller(now_ns) = self else { return None };
        Some(now_ns.fetch_max(ns, Ordering::AcqRel).max(ns))
    }

    /// Return whether decisions read the kernel's coarse clock.
    #[must_use]
    pub const fn is_coarse(&self) -> bool {
        matches!(self, Self::Coarse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_clock_never_goes_back() {
        let clock = Clock::Caller(AtomicI64::new(i64::MIN));
        assert_eq!(clock.now_ns(), i64::MIN);
        for (given, shown) in [(5, 5), (3, 5), (9, 9), (i64::MIN, 9)] {
            assert_eq!((clock.set(given), clock.now_ns()), (Some(shown), shown));
        }
        assert_eq!(clock.reading(), Reading::of_one_clock(9));
        assert_eq!((Clock::Coarse.set(5), Clock::Tsc.set(5)), (None, None));
    }
}
