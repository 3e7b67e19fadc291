//! Reads the texts of extension values: what Cedar's constructors `decimal`, `datetime`, `duration` and `ip` accept.
//!
//! The functions accept and refuse exactly what those of the pinned `cedar-policy-core` do, which
//! `cedar/src/tests/literals.rs` tests. They take bytes: every text that Cedar accepts is ASCII, so others need no
//! decoding to be refused.

use core::net::IpAddr;

/// The length of the longest text of an address that Cedar reads.
const LONGEST_ADDRESS: usize = "ABCD:EF01:2345:6789:ABCD:EF01:2345:6789/128".len();

/// Read a decimal, as ten-thousandths.
///
/// ```
/// assert_eq!(ztfast_vm::literals::decimal(b"-0.5"), Some(-5_000));
/// assert_eq!(ztfast_vm::literals::decimal(b"5"), None);
/// ```
#[must_use]
pub fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, text) = sign(text);
    let mut parts = text.split(|&byte| byte == b'.');
    let (Some(whole), Some(fraction), None) = (parts.next(), parts.next(), parts.next()) else { return None };
    let scale = match fraction.len() {
        1 => 1_000,
        2 => 100,
        3 => 10,
        4 => 1,
        _ => return None,
    };
    let magnitude = number(whole)?.checked_mul(10_000)?.checked_add(number(fraction)? * scale)?;
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Read a duration, as milliseconds.
///
/// ```
/// assert_eq!(ztfast_vm::literals::duration(b"-1h30m"), Some(-5_400_000));
/// ```
#[must_use]
pub fn duration(text: &[u8]) -> Option<i64> {
    const UNITS: [(&[u8], i128); 5] =
        [(b"d", 86_400_000), (b"h", 3_600_000), (b"m", 60_000), (b"s", 1_000), (b"ms", 1)];
    let (negative, mut rest) = sign(text);
    let mut units = UNITS.iter();
    let mut total = 0_i128;
    loop {
        let (digits, after) = rest.split_at_checked(rest.iter().take_while(|byte| byte.is_ascii_digit()).count())?;
        let (unit, after) = after.split_at_checked(after.iter().take_while(|byte| !byte.is_ascii_digit()).count())?;
        // Each unit may occur once, after the larger ones.
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total += i128::from(number(digits)?) * milliseconds;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Read a datetime, as milliseconds since 1970.
///
/// ```
/// assert_eq!(ztfast_vm::literals::datetime(b"1970-01-01T01:00:00.250+0100"), Some(250));
/// ```
#[must_use]
pub fn datetime(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ref rest @ ..] = text else { return None };
    let day = days(i64::from(pair(y1, y2)? * 100 + pair(y3, y4)?), pair(m1, m2)?, pair(d1, d2)?)? * 86_400_000;
    if rest.is_empty() {
        return Some(day);
    }
    let &[b'T', h1, h2, b':', m1, m2, b':', s1, s2, ref rest @ ..] = rest else { return None };
    let seconds = clock(pair(h1, h2)?, pair(m1, m2)?)? + i64::from(below(60, pair(s1, s2)?)?);
    let (milliseconds, zone) = match *rest {
        [b'.', f1, f2, f3, ref zone @ ..] => (pair(b'0', f1)? * 100 + pair(f2, f3)?, zone),
        _ => (0, rest),
    };
    let offset = match *zone {
        [b'Z'] => 0,
        [b'+', h1, h2, m1, m2] => clock(pair(h1, h2)?, pair(m1, m2)?)?,
        [b'-', h1, h2, m1, m2] => -clock(pair(h1, h2)?, pair(m1, m2)?)?,
        _ => return None,
    };
    Some(day + (seconds - offset) * 1_000 + i64::from(milliseconds))
}

/// Read an address or a range of addresses: the address and the length of its prefix.
///
/// ```
/// assert_eq!(ztfast_vm::literals::address(b"10.0.0.0/8"), Some(([10, 0, 0, 0].into(), 8)));
/// assert_eq!(ztfast_vm::literals::address(b"::ffff:10.0.0.1"), None);
/// ```
#[must_use]
pub fn address(text: &[u8]) -> Option<(IpAddr, u8)> {
    let more_than_one = |wanted: u8| text.iter().filter(|&&byte| byte == wanted).nth(1).is_some();
    if text.len() > LONGEST_ADDRESS || (more_than_one(b':') && more_than_one(b'.')) {
        return None;
    }
    let text = core::str::from_utf8(text).ok()?;
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    // Cedar reads addresses with the standard library, too.
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(str::as_bytes) {
        None => most,
        Some(digits @ ([b'0'] | [b'1'..=b'9', ..])) => {
            u8::try_from(number(digits)?).ok().filter(|&prefix| prefix <= most)?
        }
        Some(_) => return None,
    };
    Some((address, prefix))
}

/// Return the days since 1970-01-01 of a date of the years 0 to 9999; `None` for a date that does not exist.
#[must_use]
pub fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(0..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end (Howard Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Split a text into whether it begins with a minus, and the rest.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest))
}

/// Read a number of decimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        number.checked_mul(10)?.checked_add(u64::from(byte.is_ascii_digit().then_some(byte)? - b'0'))
    })
}

/// Read a number of two decimal digits.
fn pair(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// Return the seconds of hours and minutes.
fn clock(hours: u32, minutes: u32) -> Option<i64> {
    Some(i64::from(below(24, hours)? * 60 + below(60, minutes)?) * 60)
}

fn below(end: u32, number: u32) -> Option<u32> {
    (number < end).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::{address, datetime, decimal, duration};
    use core::net::{IpAddr, Ipv6Addr};

    #[test]
    fn decimals() {
        for (text, read) in [
            ("0.0", Some(0)),
            ("-0.0", Some(0)),
            ("-0.5", Some(-5_000)),
            ("150.25", Some(1_502_500)),
            ("1.0001", Some(10_001)),
            ("00000000000000000000000000007.10", Some(71_000)),
            ("922337203685477.5807", Some(i64::MAX)),
            ("922337203685477.5808", None),
            ("-922337203685477.5808", Some(i64::MIN)),
            ("-922337203685477.5809", None),
            ("922337203685478.0", None),
            ("18446744073709551616.0", None),
            ("1844674407370955.1617", None),
            ("1.00000", None),
            ("1.", None),
            (".5", None),
            ("-.5", None),
            ("-", None),
            (".", None),
            ("", None),
            ("5", None),
            ("+1.0", None),
            ("--1.0", None),
            ("1.-5", None),
            ("1.0.0", None),
            ("1,5", None),
            ("1e3.0", None),
            (" 1.0", None),
            ("1.0\n", None),
            ("1_0.0", None),
            ("\u{661}.\u{665}", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), read, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, read) in [
            ("0ms", Some(0)),
            ("-0d", Some(0)),
            ("1d2h3m4s5ms", Some(93_784_005)),
            ("-1d2h3m4s5ms", Some(-93_784_005)),
            ("1h1ms", Some(3_600_001)),
            ("5m5ms", Some(300_005)),
            ("00000000000000000000000000001s", Some(1_000)),
            ("9223372036854775807ms", Some(i64::MAX)),
            ("9223372036854775808ms", None),
            ("-9223372036854775808ms", Some(i64::MIN)),
            ("-9223372036854775809ms", None),
            ("-9223372036854775s808ms", Some(i64::MIN)),
            ("-9223372036854775s809ms", None),
            ("106751991167d7h12m55s807ms", Some(i64::MAX)),
            ("106751991167d7h12m55s808ms", None),
            ("18446744073709551615d18446744073709551615h", None),
            ("18446744073709551616ms", None),
            ("1ms1s", None),
            ("1h1d", None),
            ("1s1s", None),
            ("1", None),
            ("h", None),
            ("1h ", None),
            ("1h-30m", None),
            ("+1h", None),
            ("--1h", None),
            ("1msms", None),
            ("1mss", None),
            ("1H", None),
            ("1us", None),
            ("1.5h", None),
            ("-", None),
            ("", None),
            ("1h\n", None),
            ("\u{661}h", None),
        ] {
            assert_eq!(duration(text.as_bytes()), read, "{text:?}");
        }
    }

    #[test]
    fn datetimes() {
        for (text, read) in [
            ("1970-01-01", Some(0)),
            ("0000-01-01", Some(-62_167_219_200_000)),
            ("0000-02-29", Some(-62_162_121_600_000)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            ("9999-12-31T23:59:59.999-2359", Some(253_402_387_139_999)),
            ("0000-01-01T00:00:00+2359", Some(-62_167_305_540_000)),
            ("2024-10-15T09:30:00Z", Some(1_728_984_600_000)),
            ("2024-10-15T11:30:00+0200", Some(1_728_984_600_000)),
            ("2024-10-15T09:30:00.123-0000", Some(1_728_984_600_123)),
            ("2000-02-29", Some(951_782_400_000)),
            ("1900-02-29", None),
            ("2023-02-29", None),
            ("2024-02-30", None),
            ("2024-04-31", None),
            ("2024-13-01", None),
            ("2024-00-01", None),
            ("2024-01-00", None),
            ("2024-01-32", None),
            ("2024-10-15T24:00:00Z", None),
            ("2024-10-15T09:60:00Z", None),
            ("2024-10-15T09:30:60Z", None),
            ("2024-10-15T09:30:00", None),
            ("2024-10-15T09:30Z", None),
            ("2024-10-15T09:30:00z", None),
            ("2024-10-15t09:30:00Z", None),
            ("2024-10-15 09:30:00Z", None),
            ("2024-10-15T", None),
            ("2024-10-15Z", None),
            ("2024-10-15T09:30:00+02:00", None),
            ("2024-10-15T09:30:00+2400", None),
            ("2024-10-15T09:30:00+0060", None),
            ("2024-10-15T09:30:00+02", None),
            ("2024-10-15T09:30:00.12Z", None),
            ("2024-10-15T09:30:00.1234Z", None),
            ("2024-10-15T09:30:00.Z", None),
            ("2024-10-15T09:30:00.123", None),
            ("2024-10-15T09:30:00ZZ", None),
            ("2024-10-15T09:30:00Z\n", None),
            ("02024-10-15", None),
            ("-2024-10-15", None),
            ("2024-1-15", None),
            ("20241015", None),
            ("", None),
            ("\u{662}024-10-15", None),
        ] {
            assert_eq!(datetime(text.as_bytes()), read, "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        let four = |bytes: [u8; 4], prefix| Some((IpAddr::from(bytes), prefix));
        let six = |bits: u128, prefix| Some((IpAddr::from(Ipv6Addr::from(bits)), prefix));
        for (text, read) in [
            ("10.0.0.1", four([10, 0, 0, 1], 32)),
            ("10.0.0.1/8", four([10, 0, 0, 1], 8)),
            ("0.0.0.0/0", four([0; 4], 0)),
            ("255.255.255.255/32", four([255; 4], 32)),
            ("::", six(0, 128)),
            ("::1/0", six(1, 0)),
            ("::FFFF:a00:1", six(0xffff_0a00_0001, 128)),
            ("ABCD:EF01:2345:6789:ABCD:EF01:2345:6789/128", six(0xabcd_ef01_2345_6789_abcd_ef01_2345_6789, 128)),
            ("::ffff:10.0.0.1", None),
            ("::10.0.0.1/96", None),
            ("10.0.0.01", None),
            ("10.0.0.256", None),
            ("10.0.0", None),
            ("10.0.0.1:80", None),
            ("10.0.0.1/33", None),
            ("10.0.0.1/032", None),
            ("10.0.0.1/08", None),
            ("10.0.0.1/00", None),
            ("10.0.0.1/", None),
            ("10.0.0.1/+8", None),
            ("10.0.0.1/8/8", None),
            ("10.0.0.1/4294967304", None),
            ("::1/129", None),
            ("::1/0128", None),
            ("::1/256", None),
            ("::1/", None),
            ("[::1]", None),
            ("fe80::1%eth0", None),
            ("12345::", None),
            (":::", None),
            ("0:0:0:0:0:0:0:0:0", None),
            ("0000:0000:0000:0000:0000:0000:0000:0001/0128", None),
            ("10.0.0.1 ", None),
            ("1\u{660}.0.0.1", None),
            ("/8", None),
            ("", None),
        ] {
            assert_eq!(address(text.as_bytes()), read, "{text:?}");
        }
        assert_eq!(address(b"10.0.0.\xff"), None);
    }
}
