//! The clocks by which sessions are checked.
//!
//! The wall clock gives a session's bounds, and privileged users can set it, also back. Decisions therefore read the
//! monotonic clock, which cannot be set, and the writer converts the bounds to it.

/// Return the nanoseconds since 1970-01-01T00:00:00Z, by the wall clock.
///
/// On Linux this is the kernel's coarse clock, with a resolution of a few milliseconds.
#[must_use]
pub fn now_ns() -> i64 {
    read(WALL).unwrap_or(i64::MAX)
}

/// Return nanoseconds by the monotonic clock.
///
/// On Linux this is the kernel's coarse clock: it takes a few nanoseconds to read, and has a resolution of a few
/// milliseconds. A session may therefore be honoured one tick (1 to 4 ms) too long.
#[inline]
#[must_use]
pub fn monotonic_ns() -> i64 {
    // A clock that cannot be read must not prolong a session: at this time all sessions have expired.
    #[cfg(target_os = "linux")]
    // This does not overflow within 292 years after the machine was started.
    return get(MONOTONIC).map_or(i64::MAX, |(s, ns)| s.wrapping_mul(1_000_000_000).wrapping_add(ns));
    #[cfg(not(target_os = "linux"))]
    read(MONOTONIC).unwrap_or(i64::MAX)
}

/// Return nanoseconds by the monotonic clock with its full resolution. This takes longer than [`monotonic_ns`].
#[must_use]
pub(crate) fn fine_monotonic_ns() -> i64 {
    #[cfg(target_os = "linux")]
    return read(ClockId::Monotonic).unwrap_or(i64::MAX);
    #[cfg(not(target_os = "linux"))]
    read(MONOTONIC).unwrap_or(i64::MAX)
}

/// The clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, since the epoch.
    pub wall: i64,
    /// The monotonic clock, which decisions read.
    pub monotonic: i64,
    /// The monotonic clock, plus the time for which the machine slept.
    pub boottime: i64,
}

impl Reading {
    /// Read the clocks.
    #[must_use]
    pub fn now() -> Self {
        let (wall, monotonic) = together();
        Self { wall, monotonic, boottime: monotonic.saturating_add(asleep()) }
    }

    /// Return the reading of a clock that is wall clock and monotonic clock in one.
    #[must_use]
    pub const fn of_one_clock(now_ns: i64) -> Self {
        Self { wall: now_ns, monotonic: now_ns, boottime: now_ns }
    }

    /// Return how far the wall clock is ahead of the monotonic clock. This changes only when the wall clock is set or
    /// the machine sleeps.
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

/// Read a clock as seconds and nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
fn get(clock: ClockId) -> Option<(i64, i64)> {
    use rustix::time::{DynamicClockId, clock_gettime_dynamic};
    // This does not go through the C library, which would double the cost. Of the two functions, it is the one that
    // returns an error instead of a panic.
    let now = clock_gettime_dynamic(DynamicClockId::Known(clock)).ok()?;
    Some((now.tv_sec, now.tv_nsec))
}

#[cfg(target_os = "linux")]
fn read(clock: ClockId) -> Option<i64> {
    let (seconds, nanoseconds) = get(clock)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Read wall and monotonic clock within one tick. Both advance together, so their difference is exact.
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

/// Return for how long the machine has certainly slept since it was started. The result never decreases.
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
    #[cfg_attr(miri, ignore = "Miri has no coarse clock, and two of its clocks are never read at once")]
    fn clocks_that_are_read_together_differ_by_the_same() {
        let first = Reading::now();
        for _ in 0..10_000 {
            let now = Reading::now();
            assert_eq!(now.offset(), first.offset());
            assert!(now.monotonic >= first.monotonic && now.boottime >= now.monotonic);
        }
    }
}
