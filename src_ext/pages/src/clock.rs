//! The clocks that sessions are held against, as cheap as they come.
//!
//! A session's bounds are given by the wall clock, which anybody who may can set, also back. Decisions therefore read the
//! monotonic clock, which nobody can, and the writing side works out what the bounds are by it.

/// Nanoseconds since 1970-01-01T00:00:00Z, by the wall clock.
///
/// On Linux this is the kernel's coarse clock: a few milliseconds in resolution.
#[must_use]
pub fn now_ns() -> i64 {
    Reading::now().wall
}

/// Nanoseconds since some moment before this, by a clock that only goes forward.
///
/// On Linux this is the kernel's coarse clock: a few nanoseconds to read, a few milliseconds in resolution. A session is thus
/// honoured at most one tick (1 to 4 ms) too long.
#[inline]
#[must_use]
pub fn monotonic_ns() -> i64 {
    // A clock that cannot be read must not prolong a session: the end of time expires them all.
    #[cfg(target_os = "linux")]
    // Not beyond 64 bits for the first 292 years after the machine was started.
    return get(MONOTONIC).map_or(i64::MAX, |(s, ns)| s.wrapping_mul(1_000_000_000).wrapping_add(ns));
    #[cfg(not(target_os = "linux"))]
    read(MONOTONIC).unwrap_or(i64::MAX)
}

/// The clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Since the epoch.
    pub wall: i64,
    /// What decisions read.
    pub monotonic: i64,
    /// The same, with the time for which the machine slept.
    pub boottime: i64,
}

impl Reading {
    /// Read them.
    #[must_use]
    pub fn now() -> Self {
        let (wall, monotonic) = together();
        Self { wall, monotonic, boottime: monotonic.saturating_add(asleep()) }
    }

    /// How far the wall clock is ahead of the monotonic one: this changes only when it is set, and by sleep.
    #[must_use]
    pub const fn offset(&self) -> i64 {
        self.wall.saturating_sub(self.monotonic)
    }
}

#[cfg(target_os = "linux")]
use rustix::time::ClockId;

#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::MonotonicCoarse;
#[cfg(target_os = "linux")]
const WALL: ClockId = ClockId::RealtimeCoarse;

/// Seconds and nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
fn get(clock: ClockId) -> Option<(i64, i64)> {
    use rustix::time::{DynamicClockId, clock_gettime_dynamic};
    // Not through the C library: that costs as much again as the clock. The form that gives an error, because the other panics.
    let now = clock_gettime_dynamic(DynamicClockId::Known(clock)).ok()?;
    Some((now.tv_sec, now.tv_nsec))
}

#[cfg(target_os = "linux")]
fn read(clock: ClockId) -> Option<i64> {
    let (seconds, nanoseconds) = get(clock)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Wall and monotonic clock of one tick: both are brought forward together, so their difference is exact.
fn together() -> (i64, i64) {
    let mut before = monotonic_ns();
    for _ in 0..16 {
        let wall = read(WALL).unwrap_or(i64::MAX);
        let after = monotonic_ns();
        if before == after {
            return (wall, after);
        }
        before = after;
    }
    (read(WALL).unwrap_or(i64::MAX), before)
}

/// For how long the machine slept since it was started, as far as is certain: never more, and never less than before.
#[cfg(target_os = "linux")]
fn asleep() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    static ASLEEP: AtomicI64 = AtomicI64::new(0);
    let boottime = read(ClockId::Boottime);
    let now = boottime.zip(read(ClockId::Monotonic)).map_or(0, |(boottime, monotonic)| boottime - monotonic);
    ASLEEP.fetch_max(now, Ordering::AcqRel).max(now)
}

#[cfg(not(target_os = "linux"))]
const MONOTONIC: bool = false;
#[cfg(not(target_os = "linux"))]
const WALL: bool = true;

#[cfg(not(target_os = "linux"))]
fn read(wall: bool) -> Option<i64> {
    use std::time::{Instant, SystemTime, UNIX_EPOCH};
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let since = if wall {
        SystemTime::now().duration_since(UNIX_EPOCH).ok()?
    } else {
        FIRST.get_or_init(Instant::now).elapsed()
    };
    i64::try_from(since.as_nanos()).ok()
}

#[cfg(not(target_os = "linux"))]
const fn asleep() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_the_systems() {
        let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let difference = i128::from(now_ns()) - i128::try_from(system).unwrap();
        assert!(difference.abs() < 1_000_000_000, "{difference} ns apart");
    }

    #[test]
    fn clocks_that_are_read_together_differ_by_the_same() {
        let first = Reading::now();
        for _ in 0..10_000 {
            let now = Reading::now();
            assert_eq!(now.offset(), first.offset());
            assert!(now.monotonic >= first.monotonic && now.boottime >= now.monotonic);
        }
    }
}
