//! Literals near boundaries, shared by policies, stores and requests so that they meet.

use crate::dice::{chance, pick};
use crate::texts::{extensions, quoted};
use crate::types::Ty;
use fastrand::Rng;
use ztfast_cedar::ir::{Datum, Ip};

const LONGS: [i64; 9] = [0, 1, -1, 2, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 3_037_000_500];
/// An hour, and a moment about which datetimes lie, in milliseconds.
const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_700_000_000_000;
const TEXTS: [&str; 9] = ["", "a", "b", "ab", "a*b", "aab", "é\u{301}", "\"\\\n", "*"];

const fn extension_of(ty: &Ty) -> usize {
    match ty {
        Ty::Decimal => 0,
        Ty::Datetime => 1,
        Ty::Duration => 2,
        _ => 3,
    }
}

/// Make the value of a type that has this number; `None` if the type's values are no numbers.
pub(crate) fn scaled(ty: &Ty, number: i64) -> Option<Datum> {
    match ty {
        Ty::Long => Some(Datum::Long(number)),
        Ty::Decimal => Some(Datum::Decimal(number)),
        Ty::Datetime => Some(Datum::Datetime(number)),
        Ty::Duration => Some(Datum::Duration(number)),
        _ => None,
    }
}

/// The longs and texts of a world.
#[derive(Debug, Clone)]
pub(crate) struct Literals {
    longs: Vec<i64>,
    texts: Vec<String>,
    /// The numbers of decimals, datetimes and durations. Where there are none, these types have only the texts above.
    scaled: [Vec<i64>; 3],
}

impl Literals {
    pub fn new(rng: &mut Rng) -> Self {
        let mut longs: Vec<i64> = (0..3).map(|_| rng.i64(-100..1000)).collect();
        longs.extend([*pick(rng, &LONGS), *pick(rng, &LONGS)]);
        let texts = (0..4).map(|_| (*pick(rng, &TEXTS)).to_owned()).chain(["k0".to_owned()]).collect();
        Self { longs, texts, scaled: Default::default() }
    }

    /// Make literals of which each type has a few, so that conditions on several values are met together.
    pub fn few(rng: &mut Rng) -> Self {
        let mut longs: Vec<i64> = (0..3).map(|_| rng.i64(0..2_000)).collect();
        if rng.bool() {
            longs.push(*pick(rng, &LONGS));
        }
        let decimals = (0..3).map(|_| rng.i64(-1..40) * 2_500).collect();
        let datetimes = (0..3).map(|_| NOW + rng.i64(-3..4) * HOUR + rng.i64(0..3)).collect();
        let durations = (0..3).map(|_| rng.i64(-1..7) * HOUR / 2 + rng.i64(0..2)).collect();
        let texts = (0..3).map(|_| (*pick(rng, &TEXTS)).to_owned()).collect();
        Self { longs, texts, scaled: [decimals, datetimes, durations] }
    }

    /// Pick one of the numbers of a type, if it has numbers.
    pub fn number(&self, rng: &mut Rng, ty: &Ty) -> Option<i64> {
        let all = self.numbers(ty);
        (!all.is_empty()).then(|| *pick(rng, all))
    }

    /// Return the numbers of a type.
    pub fn numbers(&self, ty: &Ty) -> &[i64] {
        match ty {
            Ty::Long => &self.longs,
            Ty::Decimal | Ty::Datetime | Ty::Duration => &self.scaled[extension_of(ty)],
            _ => &[],
        }
    }

    /// Pick one of the world's numbers, or one next to it, or a limit.
    pub fn long(&self, rng: &mut Rng) -> i64 {
        let base = if chance(rng, 15) { *pick(rng, &LONGS) } else { *pick(rng, &self.longs) };
        match rng.u32(0..6) {
            0 => base.saturating_add(1),
            1 => base.saturating_sub(1),
            _ => base,
        }
    }

    pub fn text(&self, rng: &mut Rng) -> &str {
        if chance(rng, 10) { pick::<&str>(rng, &TEXTS) } else { pick::<String>(rng, &self.texts) }
    }

    /// Make a text that occurs nowhere else.
    pub fn odd_text(rng: &mut Rng) -> String {
        format!("unheard of {}", rng.u32(0..4))
    }

    pub fn extension(&self, rng: &mut Rng, ty: &Ty) -> Datum {
        let number = self.number(rng, ty).map(|number| number.saturating_add(rng.i64(-1..2)));
        number.and_then(|number| scaled(ty, number)).unwrap_or_else(|| {
            let all = &extensions()[extension_of(ty)];
            pick(rng, all).0.clone()
        })
    }

    /// Make a pattern of `like`, quoted.
    pub fn pattern(&self, rng: &mut Rng) -> String {
        let text = self.text(rng).to_owned();
        let escaped = quoted(&text).replace('*', "\\*");
        let inner = &escaped[1..escaped.len() - 1];
        match rng.u32(0..6) {
            0 => "\"*\"".to_owned(),
            1 => format!("\"{inner}*\""),
            2 => format!("\"*{inner}\""),
            3 => format!("\"*{inner}*a*\""),
            4 => "\"a*b\"".to_owned(),
            _ => format!("\"{inner}\""),
        }
    }
}

/// Make an address or a range of addresses, beside the edges of a few ranges.
pub(crate) fn address(rng: &mut Rng) -> Datum {
    const V4: [(u32, u8); 6] =
        [(0x0a01_0200, 24), (0x7f00_0000, 8), (0xe000_0000, 4), (0x0a00_0000, 8), (0x0a01_02fe, 31), (0, 0)];
    const V6: [(u128, u8); 4] = [(0xfd00 << 112, 8), (1, 128), (0xff00 << 112, 8), (0x2001_0db8 << 96, 33)];
    let step = rng.u32(0..4);
    let is_range = chance(rng, 35);
    Datum::Ip(if chance(rng, 70) {
        let (first, prefix) = *pick(rng, &V4);
        let last = first | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let bits = match step {
            0 => first,
            1 => first.wrapping_sub(1),
            2 => last,
            _ => last.wrapping_add(1),
        };
        Ip::V4(bits, if is_range { prefix } else { 32 })
    } else {
        let (first, prefix) = *pick(rng, &V6);
        let last = first | u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let bits = match step {
            0 => first,
            1 => first.wrapping_sub(1),
            2 => last,
            _ => last.wrapping_add(1),
        };
        Ip::V6(bits, if is_range { prefix } else { 128 })
    })
}
