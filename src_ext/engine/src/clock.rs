//! The wall clock, as cheap as it comes.

/// Nanoseconds since 1970-01-01T00:00:00Z.
///
/// On Linux this is the kernel's coarse clock: a few nanoseconds to read, a few milliseconds in resolution, and it
/// follows every correction of the system's clock. A session is thus honoured at most one tick (1 to 4 ms) too long.
#[inline]
#[must_use]
pub fn now_ns() -> i64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
        // Not through the C library: that costs as much again as the clock. The form that gives an error, because the other
        // panics.
        let now = clock_gettime_dynamic(DynamicClockId::Known(ClockId::RealtimeCoarse));
        // A clock that cannot be read must not prolong a session: the end of time expires them all.
        let ns = now.ok().and_then(|now| now.tv_sec.checked_mul(1_000_000_000)?.checked_add(now.tv_nsec));
        ns.unwrap_or(i64::MAX)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(i64::MAX, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_is_the_systems() {
        let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let difference = i128::from(super::now_ns()) - i128::try_from(system).unwrap();
        assert!(difference.abs() < 1_000_000_000, "{difference} ns apart");
    }
}
