//! The processor's time-stamp counter as a clock. It is finer than the kernel's coarse clock, and takes about four
//! times as long to read.
//!
//! The counter is held against the kernel's monotonic clock each second. Between two calibrations the clock runs at the
//! rate that makes it meet the kernel's at the next one, and it never goes back.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

/// Nanoseconds in the time of a calibration.
const PERIOD_NS: i64 = 1_000_000_000;
/// How many bits of a rate are behind the point.
const SHIFT: u32 = 32;
/// How often the two clocks are read, to find a moment in which nothing came between.
const READINGS: usize = 16;

/// What a reading needs: a moment by both clocks, and nanoseconds for each count. Readers use a sequence lock.
struct Scale {
    /// Odd while the other words are written.
    sequence: AtomicU64,
    count: AtomicU64,
    ns: AtomicI64,
    rate: AtomicU64,
}

static SCALE: Scale =
    Scale { sequence: AtomicU64::new(0), count: AtomicU64::new(0), ns: AtomicI64::new(0), rate: AtomicU64::new(0) };
/// The first moment that was read, from which the counter's rate is measured.
static FIRST: Mutex<Option<(u64, i64)>> = Mutex::new(None);

/// Read the counter as nanoseconds of the monotonic clock; `i64::MAX` before the first calibration.
#[inline]
pub(crate) fn now_ns() -> i64 {
    // A calibration writes three words, so a reader that meets one hardly ever meets it again.
    for _ in 0..64 {
        let sequence = SCALE.sequence.load(Ordering::Acquire);
        let (count, ns) = (SCALE.count.load(Ordering::Relaxed), SCALE.ns.load(Ordering::Relaxed));
        let rate = SCALE.rate.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if sequence & 1 == 0 && SCALE.sequence.load(Ordering::Relaxed) == sequence && rate != 0 {
            return advanced(ns, counter().wrapping_sub(count), rate);
        }
    }
    crate::clock::monotonic_ns()
}

#[allow(clippy::cast_possible_truncation)] // an engine that runs for centuries stops
fn advanced(ns: i64, counts: u64, rate: u64) -> i64 {
    // A counter that is behind, as on another processor a moment ago, is taken to stand still.
    let counts = if counts > 1 << 62 { 0 } else { counts };
    ns.saturating_add(((u128::from(counts) * u128::from(rate)) >> SHIFT).min(i64::MAX as u128) as i64)
}

/// Hold the counter against the monotonic clock. Whoever uses the clock calls this each second. `false` if the counter
/// is no clock on this machine.
pub fn calibrate() -> bool {
    if !is_steady() {
        return false;
    }
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut count, mut ns) = moment();
    let begin = *first.get_or_insert((count, ns));
    if begin == (count, ns) {
        // Without a second moment there is no rate.
        std::thread::sleep(std::time::Duration::from_millis(20));
        (count, ns) = moment();
    }
    let (counts, elapsed) = (count.wrapping_sub(begin.0), ns.saturating_sub(begin.1));
    let (Ok(elapsed), true) = (u128::try_from(elapsed), counts > 0) else { return false };
    let rate = u64::try_from((elapsed << SHIFT) / u128::from(counts)).unwrap_or(0);
    let shown = if SCALE.rate.load(Ordering::Relaxed) == 0 { ns } else { now_at(count) };
    // The clock never goes back: where it is ahead, it runs slower until the next calibration.
    let ahead = shown.saturating_sub(ns).clamp(0, PERIOD_NS / 2);
    let slower =
        u128::from(rate) * u128::from((PERIOD_NS - ahead).unsigned_abs()) / u128::from(PERIOD_NS.unsigned_abs());
    let rate = u64::try_from(slower).unwrap_or(rate);
    let sequence = SCALE.sequence.load(Ordering::Relaxed);
    SCALE.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    SCALE.count.store(count, Ordering::Relaxed);
    SCALE.ns.store(shown.max(ns), Ordering::Relaxed);
    SCALE.rate.store(rate, Ordering::Relaxed);
    SCALE.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    true
}

/// Return what the clock shows at a count. Only the thread that calibrates calls this.
fn now_at(count: u64) -> i64 {
    let (begin, rate) = (SCALE.count.load(Ordering::Relaxed), SCALE.rate.load(Ordering::Relaxed));
    advanced(SCALE.ns.load(Ordering::Relaxed), count.wrapping_sub(begin), rate)
}

/// Read both clocks at one moment: of some readings, the one that took the shortest.
fn moment() -> (u64, i64) {
    let readings = (0..READINGS).map(|_| {
        let before = counter();
        let ns = crate::clock::fine_monotonic_ns();
        let after = counter();
        (after.wrapping_sub(before), before.wrapping_add(after.wrapping_sub(before) / 2), ns)
    });
    readings.min_by_key(|reading| reading.0).map_or((0, 0), |(_, count, ns)| (count, ns))
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn counter() -> u64 {
    // SAFETY: every processor of this architecture has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn counter() -> u64 {
    0
}

/// Return whether the counter runs at one rate, whatever the processor does.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn is_steady() -> bool {
    use std::arch::x86_64::__cpuid;
    let has = |leaf: u32| __cpuid(0x8000_0000).eax >= leaf;
    has(0x8000_0007) && __cpuid(0x8000_0007).edx >> 8 & 1 == 1
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn is_steady() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no counter")]
    fn the_counter_follows_the_monotonic_clock_and_never_goes_back() {
        if !calibrate() {
            use std::io::Write;
            let _ = std::io::stderr().write_all(b"skipped: the time-stamp counter is no clock on this machine\n");
            return;
        }
        let (mut last, mut farthest) = (0, 0);
        for round in 0..200_000 {
            if round % 20_000 == 0 {
                assert!(calibrate());
            }
            let (before, now, after) = (crate::clock::fine_monotonic_ns(), now_ns(), crate::clock::fine_monotonic_ns());
            assert!(now >= last, "the clock went back by {} ns", last - now);
            // The thread may be interrupted between two readings.
            farthest = farthest.max((before - now).max(now - after));
            last = now;
        }
        assert!(farthest < 1_000_000, "{farthest} ns apart");
    }

    #[test]
    fn a_counter_that_is_behind_stands_still() {
        assert_eq!(advanced(5, u64::MAX, 1 << SHIFT), 5);
        assert_eq!(advanced(5, 7, 1 << SHIFT), 12);
        assert_eq!(advanced(i64::MAX - 1, 1 << 40, u64::MAX), i64::MAX);
    }
}
