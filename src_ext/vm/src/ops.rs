//! The longer operations on values: extension methods and `like`.

use crate::instr::ExtOp;
use crate::store::WILDCARD;
use crate::value::{Tag, Value};

/// Why a program has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Cedar's semantics define an error: the policy does not apply.
    Error,
    /// The compiler cannot have written the program or its data.
    Corrupt,
    /// The budget is used up, or values nest too deeply.
    Exhausted,
}

/// The milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// An IP address or range. Addresses of different families are never equal.
struct IpRange {
    v4: bool,
    addr: u128,
    prefix: u32,
}

impl IpRange {
    const fn width(&self) -> u32 {
        if self.v4 { 32 } else { 128 }
    }

    /// Return the first and last address of the range.
    fn bounds(&self) -> (u128, u128) {
        let all = if self.v4 { u128::from(u32::MAX) } else { u128::MAX };
        let host_bits = self.width().saturating_sub(self.prefix);
        let host = if host_bits >= 128 { u128::MAX } else { (1_u128 << host_bits) - 1 };
        ((self.addr & !host) & all, (self.addr | host) & all)
    }

    fn is_loopback(&self) -> bool {
        if self.v4 { self.addr >> 24 == 127 && self.prefix >= 8 } else { self.addr == 1 && self.prefix >= 128 }
    }

    fn is_multicast(&self) -> bool {
        if self.v4 { self.addr >> 28 == 0xE && self.prefix >= 4 } else { self.addr >> 120 == 0xFF && self.prefix >= 8 }
    }

    fn is_in(&self, other: &Self) -> bool {
        let (first, last) = self.bounds();
        let (other_first, other_last) = other.bounds();
        self.v4 == other.v4 && other_first <= first && last <= other_last
    }
}

fn ip(value: Value, wide: impl Fn(Value) -> Option<u128>) -> Result<IpRange, Fault> {
    if value.is(Tag::Ip4) {
        let [prefix, _, _, _] = u32::try_from(value.payload >> 32).unwrap_or(0).to_le_bytes();
        Ok(IpRange { v4: true, addr: u128::from(value.payload & u64::from(u32::MAX)), prefix: u32::from(prefix) })
    } else if value.is(Tag::Ip6) {
        Ok(IpRange { v4: false, addr: wide(value).ok_or(Fault::Corrupt)?, prefix: value.len() })
    } else {
        Err(Fault::Error)
    }
}

/// Return an IPv4 address and the length of its prefix, if the length is one that a range has.
#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
#[inline]
pub(crate) fn ip4(value: Value) -> Option<(u32, u32)> {
    let prefix = (value.payload >> 32) as u32;
    (value.is(Tag::Ip4) && prefix <= 32).then_some((value.payload as u32, prefix))
}

fn number(value: Value, tag: Tag) -> Result<i64, Fault> {
    if value.is(tag) { Ok(value.as_i64()) } else { Err(Fault::Error) }
}

/// Apply a method. `b` is the second operand, if the method has one. `wide` reads the bits of an IPv6 value.
pub(crate) fn extension(op: ExtOp, a: Value, b: Value, wide: impl Fn(Value) -> Option<u128>) -> Result<Value, Fault> {
    let decimals = || Ok((number(a, Tag::Decimal)?, number(b, Tag::Decimal)?));
    let datetime = || number(a, Tag::Datetime);
    let duration = || number(a, Tag::Duration);
    let long = |value| Value::number(Tag::Long, value);
    Ok(match op {
        ExtOp::DecimalLessThan => decimals().map(|(a, b)| Value::bool(a < b))?,
        ExtOp::DecimalLessThanOrEqual => decimals().map(|(a, b)| Value::bool(a <= b))?,
        ExtOp::DecimalGreaterThan => decimals().map(|(a, b)| Value::bool(a > b))?,
        ExtOp::DecimalGreaterThanOrEqual => decimals().map(|(a, b)| Value::bool(a >= b))?,
        ExtOp::IsIpv4 => Value::bool(ip(a, wide)?.v4),
        ExtOp::IsIpv6 => Value::bool(!ip(a, wide)?.v4),
        ExtOp::IsLoopback => Value::bool(ip(a, wide)?.is_loopback()),
        ExtOp::IsMulticast => Value::bool(ip(a, wide)?.is_multicast()),
        ExtOp::IsInRange => match (ip4(a), ip4(b)) {
            (Some((addr, prefix)), Some((network, length))) => {
                let outside = u64::from(addr ^ network) >> (32 - length);
                Value::bool(outside == 0 && length <= prefix)
            }
            _ => Value::bool(ip(a, &wide)?.is_in(&ip(b, &wide)?)),
        },
        ExtOp::Offset => {
            let sum = datetime()?.checked_add(number(b, Tag::Duration)?).ok_or(Fault::Error)?;
            Value::number(Tag::Datetime, sum)
        }
        ExtOp::DurationSince => {
            let difference = datetime()?.checked_sub(number(b, Tag::Datetime)?).ok_or(Fault::Error)?;
            Value::number(Tag::Duration, difference)
        }
        ExtOp::ToDate => {
            let at = datetime()?;
            Value::number(Tag::Datetime, at.checked_sub(at.rem_euclid(DAY_MS)).ok_or(Fault::Error)?)
        }
        ExtOp::ToTime => Value::number(Tag::Duration, datetime()?.rem_euclid(DAY_MS)),
        ExtOp::ToMilliseconds => long(duration()?),
        ExtOp::ToSeconds => long(duration()? / 1_000),
        ExtOp::ToMinutes => long(duration()? / 60_000),
        ExtOp::ToHours => long(duration()? / 3_600_000),
        ExtOp::ToDays => long(duration()? / DAY_MS),
    })
}

/// Return whether a pattern of ASCII characters and one `*` at its end matches a text; `None` for any other pattern. In
/// UTF-8 the bytes of these characters are part of no other.
pub(crate) fn begins_like(text: &[u8], pattern: &[u32]) -> Option<bool> {
    let [beginning @ .., WILDCARD] = pattern else { return None };
    let mut begins = text.len() >= beginning.len();
    for (&wanted, &found) in beginning.iter().zip(text) {
        if wanted > 0x7F {
            return None;
        }
        begins &= wanted == u32::from(found);
    }
    if begins || beginning.iter().all(|&wanted| wanted <= 0x7F) { Some(begins) } else { None }
}

/// Return whether a pattern matches the whole text. Each step takes one from `budget`.
///
/// The walk remembers one point of return: on a mismatch, the last `*` takes one more character.
pub(crate) fn like(text: &str, pattern: &[u32], budget: &mut u32) -> Result<bool, Fault> {
    let (mut rest, mut at) = (text.chars(), 0);
    let mut star: Option<(core::str::Chars<'_>, usize)> = None;
    loop {
        *budget = budget.checked_sub(1).ok_or(Fault::Exhausted)?;
        let element = pattern.get(at).copied();
        if element == Some(WILDCARD) {
            at += 1;
            if at == pattern.len() {
                return Ok(true);
            }
            star = Some((rest.clone(), at));
            continue;
        }
        let mut ahead = rest.clone();
        let matched = match (ahead.next(), element) {
            (None, None) => return Ok(true),
            (None, Some(_)) => return Ok(false),
            (Some(found), Some(wanted)) => u32::from(found) == wanted,
            (Some(_), None) => false,
        };
        if matched {
            rest = ahead;
            at += 1;
        } else if let Some((from, after)) = &mut star {
            from.next();
            rest = from.clone();
            at = *after;
        } else {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, pattern: &str) -> bool {
        let elems: [u32; 16] = core::array::from_fn(|i| {
            pattern.chars().nth(i).map_or(0, |c| if c == '*' { WILDCARD } else { u32::from(c) })
        });
        like(text, &elems[..pattern.chars().count()], &mut 10_000).unwrap()
    }

    #[test]
    fn like_matches_whole_texts_only() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("a", "", false),
            ("", "*", true),
            ("", "**", true),
            ("", "a", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a*", true),
            ("abc", "*c", true),
            ("abc", "*b*", true),
            ("abc", "*b", false),
            ("aab", "*ab", true),
            ("aaa", "a*a*a", true),
            ("aa", "a*a*a", false),
            ("mississippi", "*iss*ip*", true),
            ("mississippi", "*iss*ix*", false),
            ("grüße", "gr*ße", true),
            ("日本", "日*", true),
            ("日本", "本*", false),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text:?} like {pattern:?}");
        }
    }

    #[test]
    fn beginnings_match_as_like_does() {
        let mut known = 0;
        for text in ["", "a", "ab", "abc", "b", "é", "éa", "a*"] {
            for pattern in ["", "*", "a*", "ab*", "abcd*", "é*", "aé*", "a", "*a", "**", "a*b*"] {
                let elems: alloc::vec::Vec<u32> =
                    pattern.chars().map(|c| if c == '*' { WILDCARD } else { u32::from(c) }).collect();
                if let Some(begins) = begins_like(text.as_bytes(), &elems) {
                    assert_eq!(begins, matches(text, pattern), "{text:?} like {pattern:?}");
                    known += 1;
                }
            }
        }
        assert_eq!(known, 8 * 4);
    }

    #[test]
    fn like_gives_up_when_its_budget_is_spent() {
        assert_eq!(like("aaaaaaaa", &[WILDCARD, u32::from('b')], &mut 3), Err(Fault::Exhausted));
    }

    #[test]
    fn times_overflow_as_errors_and_round_towards_the_past() {
        let none = |_| None;
        let apply = |op, tag, a| extension(op, Value::number(tag, a), Value::MISSING, none);
        assert_eq!(apply(ExtOp::ToDate, Tag::Datetime, -1), Ok(Value::number(Tag::Datetime, -DAY_MS)));
        assert_eq!(apply(ExtOp::ToTime, Tag::Datetime, -1), Ok(Value::number(Tag::Duration, DAY_MS - 1)));
        assert_eq!(apply(ExtOp::ToTime, Tag::Datetime, -DAY_MS), Ok(Value::number(Tag::Duration, 0)));
        assert_eq!(apply(ExtOp::ToDate, Tag::Datetime, i64::MIN), Err(Fault::Error));
        assert_eq!(apply(ExtOp::ToSeconds, Tag::Duration, -1_999), Ok(Value::number(Tag::Long, -1)));
        assert_eq!(apply(ExtOp::ToSeconds, Tag::Long, 1), Err(Fault::Error));
        let late = Value::number(Tag::Datetime, i64::MAX);
        assert_eq!(extension(ExtOp::Offset, late, Value::number(Tag::Duration, 1), none), Err(Fault::Error));
    }

    #[test]
    fn ranges_of_addresses() {
        let none = |_| None;
        let within = |a, b| extension(ExtOp::IsInRange, a, b, none).unwrap() == Value::bool(true);
        let host = Value::ip4(0x0A01_0203, 32);
        assert!(within(host, Value::ip4(0x0A00_0000, 8)));
        assert!(within(host, Value::ip4(0xFFFF_FFFF, 0)));
        assert!(!within(Value::ip4(0x0A00_0000, 7), Value::ip4(0x0A00_0000, 8)));
        assert!(!within(host, Value::ip4(0x0B00_0000, 8)));
        let loopback = |prefix| extension(ExtOp::IsLoopback, Value::ip4(0x7F00_0001, prefix), Value::MISSING, none);
        assert_eq!(loopback(8), Ok(Value::bool(true)));
        assert_eq!(loopback(7), Ok(Value::bool(false)));
    }
}
