//! Measures how far the clock of the time-stamp counter is from UTC (`make bench-clock`).
//!
//! As an engine's keeper does, one thread calibrates the clock each second. Another reads `CLOCK_REALTIME`, the clock,
//! and `CLOCK_REALTIME` again: the clock, on the wall's scale, should lie in the middle. What stands between the two
//! scales is read at each calibration.

use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use ztfast_pages::{Clock, calibrate};

/// Readings that take longer say nothing: the thread was interrupted.
const LONGEST_NS: i64 = 200;

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Return what the wall clock is ahead of the monotonic one.
fn offset() -> i64 {
    let tries = (0..16).map(|_| {
        let (before, wall, after) = (read(ClockId::Monotonic), read(ClockId::Realtime), read(ClockId::Monotonic));
        (after - before, wall - before - (after - before) / 2)
    });
    tries.min_by_key(|one| one.0).map_or(0, |(_, offset)| offset)
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |given| given.parse::<u64>())?;
    let mut out = std::io::stdout();
    if !calibrate() {
        writeln!(out, "SKIPPED: the time-stamp counter is no clock on this machine")?;
        return Ok(());
    }
    let (is_over, ahead) = (AtomicBool::new(false), AtomicI64::new(offset()));
    let mut errors = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
                calibrate();
                ahead.store(offset(), Ordering::Relaxed);
            }
        });
        let (began, mut errors) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..1_000 {
                let (before, shown, after) = (read(ClockId::Realtime), Clock::Tsc.now_ns(), read(ClockId::Realtime));
                if after - before <= LONGEST_NS {
                    let middle = before + (after - before) / 2;
                    errors.push((shown + ahead.load(Ordering::Relaxed) - middle).unsigned_abs());
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        is_over.store(true, Ordering::Relaxed);
        errors
    });
    errors.sort_unstable();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a place
        errors.get(((errors.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default()
    };
    writeln!(out, "{} readings in {seconds} s; the clock's distance from CLOCK_REALTIME, ns:", errors.len())?;
    writeln!(out, "p50 {}  p99 {}  p99.9 {}  p99.99 {}  max {}", at(0.5), at(0.99), at(0.999), at(0.9999), at(1.0))?;
    Ok(())
}
