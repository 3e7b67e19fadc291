//! Reads instants in the form that `datetime.isoformat` writes and Cedar's constructor does not read.

use ztfast_vm::literals::days;

/// Read the text that `datetime.isoformat` writes for an aware datetime, as milliseconds since 1970, rounded down. Its
/// offsets have a colon and its seconds six digits, which Cedar's constructor refuses.
pub(crate) fn iso_millis(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<u32> {
        let part = text.get(from..to)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let is = |at: usize, what: u8| text.as_bytes().get(at) == Some(&what);
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':')) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let clock = text.get(11..)?;
    let end = clock.find(['Z', '+', '-'])?;
    let (clock, zone) = clock.split_at_checked(end)?;
    let offset = match zone.as_bytes().first()? {
        b'Z' if zone.len() == 1 => 0,
        b'+' => clock_micros(zone.get(1..)?)?,
        b'-' => -clock_micros(zone.get(1..)?)?,
        _ => return None,
    };
    // Python has no year 0.
    let days = days(i64::from(year), month, day).filter(|_| year > 0)?;
    let micros = days * 86_400_000_000 + clock_micros(clock)? - offset;
    Some(micros.div_euclid(1_000))
}

/// Return the microseconds of `HH:MM`, `HH:MM:SS`, `HH:MM:SS.mmm` or `HH:MM:SS.mmmmmm`.
fn clock_micros(text: &str) -> Option<i64> {
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?;
    let two = |part: &str, below: i64| number(part).filter(|&n| part.len() == 2 && n < below);
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let (hours, minutes) = (two(parts.next()?, 24)?, two(parts.next()?, 60)?);
    let seconds = match (parts.next(), fraction) {
        (Some(seconds), _) => two(seconds, 60)?,
        (None, None) => 0,
        (None, Some(_)) => return None,
    };
    let micros = match fraction {
        None => 0,
        Some(fraction) if fraction.len() == 6 => number(fraction)?,
        Some(fraction) if fraction.len() == 3 => number(fraction)? * 1_000,
        Some(_) => return None,
    };
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}
