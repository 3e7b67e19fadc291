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
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid, exclusively borrowed timespec; the call writes to it and keeps no pointer.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
        // A clock that cannot be read must not prolong a session: the end of time expires them all.
        if status != 0 {
            return i64::MAX;
        }
        let whole = now.tv_sec.checked_mul(1_000_000_000);
        whole.and_then(|whole| whole.checked_add(now.tv_nsec)).unwrap_or(i64::MAX)
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
