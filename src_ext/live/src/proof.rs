//! How a principal proved who it is: when, by which factors, and how sure that is; with its risk.
//!
//! All of it is one word of a session's slot. A reader therefore never joins the time of one proof with the factors of
//! another.

/// How a principal proved who it is, and its risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proof {
    /// When, by the monotonic clock, in nanoseconds; `i64::MIN` for never.
    pub at_ns: i64,
    /// By which factors: bits, by the numbers that the state gives to their names.
    pub factors: u32,
    /// How sure it is who it is, from 0 to [`MAX_ASSURANCE`].
    pub assurance: u8,
    /// From 0 to [`MAX_RISK`]; more is capped.
    pub risk: u8,
}

/// How many factors have a name.
pub const MAX_FACTORS: usize = 19;
/// The highest assurance.
pub const MAX_ASSURANCE: u8 = 7;
/// The highest risk.
pub const MAX_RISK: u8 = 100;

const MS: i64 = 1_000_000;
/// The usual unit of the word's time, in nanoseconds: the word then reaches eight years back and forth.
const UNIT: i64 = 16 * MS;
/// The unit under the caller's clock, whose first time may be of any year.
const CALLERS_UNIT: i64 = 1_000 * MS;
const TIME_BITS: u32 = 35;
/// The time of a proof that is as old as can be held, or was never given.
const NEVER: u64 = 0;
/// The latest time that the word holds.
const LAST: u64 = (1 << TIME_BITS) - 1;

impl Proof {
    /// Pack the proof into one word.
    ///
    /// Times are rounded down to the scale's unit, and a time beyond the word's range is taken for the nearest one
    /// before, so a proof is never younger than it was.
    #[must_use]
    pub fn pack(&self, scale: Scale) -> u64 {
        let units = self.at_ns.saturating_sub(scale.base_ns) / scale.unit_ns;
        let at = if self.at_ns == i64::MIN { NEVER } else { u64::try_from(units).unwrap_or(NEVER).min(LAST) };
        let factors = u64::from(self.factors) & ((1 << MAX_FACTORS) - 1);
        let assurance = u64::from(self.assurance.min(MAX_ASSURANCE));
        at | factors << TIME_BITS | assurance << 54 | u64::from(self.risk.min(MAX_RISK)) << 57
    }

    /// Unpack what [`Self::pack`] made.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // the fields are masked
    pub const fn unpack(word: u64, scale: Scale) -> Self {
        let at = word & LAST;
        Self {
            at_ns: if at == NEVER { i64::MIN } else { scale.time_of(at) },
            factors: (word >> TIME_BITS) as u32 & ((1 << MAX_FACTORS) - 1),
            assurance: (word >> 54) as u8 & MAX_ASSURANCE,
            risk: (word >> 57) as u8 & 0x7F,
        }
    }

    /// Return how long ago the proof of a word was given, as [`Self::age_ms`] does.
    #[inline(always)]
    #[allow(clippy::inline_always, clippy::cast_possible_wrap)] // on the path of decisions; the time is masked
    #[must_use]
    pub const fn age_ms_of(word: u64, scale: Scale, now_ns: i64) -> i64 {
        let at = word & LAST;
        if at == NEVER {
            return i64::MAX;
        }
        elapsed_ms(scale.time_of(at), now_ns)
    }

    /// Return how long ago the proof was given, in milliseconds; `i64::MAX` if it never was.
    #[inline]
    #[must_use]
    pub const fn age_ms(&self, now_ns: i64) -> i64 {
        if self.at_ns == i64::MIN {
            return i64::MAX;
        }
        elapsed_ms(self.at_ns, now_ns)
    }
}

/// Return the milliseconds from a time to another one; 0 if that is before.
#[inline(always)]
#[allow(clippy::inline_always, clippy::cast_sign_loss, clippy::cast_possible_wrap)] // the difference fits, unsigned
const fn elapsed_ms(from_ns: i64, to_ns: i64) -> i64 {
    if to_ns < from_ns { 0 } else { (to_ns.wrapping_sub(from_ns) as u64 / MS as u64) as i64 }
}

/// How a word holds the time of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The time, by the clock of decisions, that the word calls 0.
    pub(crate) base_ns: i64,
    unit_ns: i64,
}

impl Scale {
    /// Return the scale of a state that was made at this time.
    #[must_use]
    pub const fn of_state(base_ns: i64) -> Self {
        Self { base_ns, unit_ns: UNIT }
    }

    /// Return the time, in nanoseconds, that a word holds in so many units. It fits, because it was packed.
    #[inline(always)]
    #[allow(clippy::inline_always, clippy::cast_possible_wrap)] // on the path of decisions; the word's bits are few
    const fn time_of(self, units: u64) -> i64 {
        self.base_ns.wrapping_add((units as i64).wrapping_mul(self.unit_ns))
    }

    /// Return the scale under the caller's clock: seconds since the epoch.
    #[must_use]
    pub const fn of_callers_clock() -> Self {
        Self { base_ns: -CALLERS_UNIT, unit_ns: CALLERS_UNIT }
    }
}

/// Return the time that packed words call 0, for a state that is made at `now_ns`.
#[must_use]
pub const fn base_ns(now_ns: i64) -> i64 {
    now_ns.saturating_sub((1 << (TIME_BITS - 1)) * UNIT)
}

const _: () = assert!(TIME_BITS as usize + MAX_FACTORS == 54);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 5_000_000_000_000;

    #[test]
    fn a_proof_comes_out_as_it_went_in() {
        let base = base_ns(NOW);
        let scale = Scale::of_state(base);
        for at_ns in [NOW, NOW - 3_600 * 1_000_000_000, NOW + 86_400 * 1_000_000_000] {
            let proof = Proof { at_ns, factors: 0b101_0000_0000_0000_0001, assurance: 5, risk: 100 };
            assert_eq!(Proof::unpack(proof.pack(scale), scale), proof);
            for now_ns in [i64::MIN, at_ns - 1, at_ns, at_ns + 5_999_999, i64::MAX] {
                assert_eq!(Proof::age_ms_of(proof.pack(scale), scale, now_ns), proof.age_ms(now_ns));
            }
        }
        assert_eq!(Proof::unpack(0, scale), Proof { at_ns: i64::MIN, ..Proof::default() });
        assert_eq!(Proof::age_ms_of(0, scale, i64::MAX), i64::MAX);
    }

    #[test]
    fn what_elapsed_fits_between_any_two_times() {
        for from_ns in [i64::MIN, -1, 0, NOW, i64::MAX] {
            for to_ns in [i64::MIN, -1, 0, NOW, i64::MAX] {
                let exact = (i128::from(to_ns) - i128::from(from_ns)).max(0) / i128::from(MS);
                assert_eq!(i128::from(elapsed_ms(from_ns, to_ns)), exact, "{from_ns} {to_ns}");
            }
        }
    }

    #[test]
    fn a_proof_is_never_younger_than_it_was() {
        let base = base_ns(NOW);
        let scale = Scale::of_state(base);
        let packed = |at_ns| Proof::unpack(Proof { at_ns, ..Proof::default() }.pack(scale), scale);
        for at_ns in [i64::MIN, i64::MIN + 1, base - 1, base, base + UNIT - 1] {
            assert_eq!(packed(at_ns).age_ms(NOW), i64::MAX, "{at_ns}");
        }
        for at_ns in [base + UNIT, NOW - 1, NOW - UNIT - 1, NOW + 1, i64::MAX] {
            assert!(packed(at_ns).at_ns <= at_ns, "{at_ns}");
        }
        assert_eq!(packed(NOW + UNIT).age_ms(NOW), 0);
    }

    #[test]
    fn what_is_too_much_is_capped_and_touches_nothing_else() {
        let base = base_ns(NOW);
        let scale = Scale::of_state(base);
        let proof = Proof { at_ns: NOW, factors: u32::MAX, assurance: 200, risk: 200 };
        let held = Proof::unpack(proof.pack(scale), scale);
        assert_eq!(held, Proof { at_ns: NOW, factors: (1 << 19) - 1, assurance: 7, risk: 100 });
    }

    #[test]
    fn under_the_callers_clock_a_proof_may_be_of_any_year() {
        let scale = Scale::of_callers_clock();
        for year in [0, 20, 50, 80, 290] {
            let now_ns = year * 31_556_952 * 1_000_000_000 + 5_000;
            let proof = Proof::unpack(Proof { at_ns: now_ns, ..Proof::default() }.pack(scale), scale);
            assert!((0..1_000).contains(&proof.age_ms(now_ns)), "{year}: {proof:?}");
        }
    }
}
