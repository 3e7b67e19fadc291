//! `ztfast_vm::literals` accepts and refuses exactly what Cedar's constructors do, and reads the same values.

use fastrand::Rng;
use std::net::IpAddr;
use ztfast_vm::literals;

use crate::construct_extension;
use crate::ir::{Datum, Ip};

/// The texts that are made for each constructor.
const TEXTS: usize = 30_000;

/// Read a text without Cedar.
fn read(constructor: &str, text: &str) -> Option<Datum> {
    let text = text.as_bytes();
    Some(match constructor {
        "decimal" => Datum::Decimal(literals::decimal(text)?),
        "datetime" => Datum::Datetime(literals::datetime(text)?),
        "duration" => Datum::Duration(literals::duration(text)?),
        _ => Datum::Ip(match literals::address(text)? {
            (IpAddr::V4(address), prefix) => Ip::V4(address.into(), prefix),
            (IpAddr::V6(address), prefix) => Ip::V6(address.into(), prefix),
        }),
    })
}

/// Draw a number of up to `most` digits, often one near a limit.
fn number(rng: &mut Rng, most: usize) -> String {
    const NEAR: [&str; 12] = [
        "0",
        "922337203685477",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "106751991167",
        "2562047788015",
        "153722867280912",
        "9223372036854775",
        "99999999999999999999999999999999999999999",
        "000000000000000000000000000000000000000001",
    ];
    if rng.u8(..8) == 0 {
        return NEAR[rng.usize(..NEAR.len())].to_owned();
    }
    (0..rng.usize(1..=most)).map(|_| rng.digit(10)).collect()
}

/// Draw one of several texts.
fn one<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn decimal(rng: &mut Rng) -> String {
    const LIMITS: [&str; 4] =
        ["922337203685477.5807", "922337203685477.5808", "922337203685477.5809", "922337203685478.0"];
    let sign = one(rng, &["", "-"]);
    if rng.u8(..8) == 0 {
        return format!("{sign}{}", one(rng, &LIMITS));
    }
    format!("{sign}{}.{}", number(rng, 16), number(rng, 4))
}

fn duration(rng: &mut Rng) -> String {
    let mut text = one(rng, &["", "-"]).to_owned();
    for unit in ["d", "h", "m", "s", "ms"] {
        if rng.bool() {
            text += &number(rng, 12);
            text += unit;
        }
    }
    text
}

fn datetime(rng: &mut Rng) -> String {
    // Numbers slightly beyond what exists, so that each is refused at times.
    let mut text = format!("{:04}-{:02}-{:02}", rng.u32(..=9_999), rng.u32(..=13), rng.u32(..=32));
    if rng.u8(..4) == 0 {
        text = format!("{}-02-{}", one(rng, &["0000", "1900", "2000", "2023", "2024", "9999"]), rng.u32(27..31));
    }
    if rng.u8(..5) > 0 {
        text = format!("{text}T{:02}:{:02}:{:02}", rng.u32(..=24), rng.u32(..=60), rng.u32(..=60));
        if rng.bool() {
            text = format!("{text}.{:03}", rng.u32(..=999));
        }
        text = match rng.u8(..4) {
            0 => format!("{text}{}{:02}{:02}", one(rng, &["+", "-"]), rng.u32(..=24), rng.u32(..=60)),
            _ => text + one(rng, &["Z", "Z", "Z", "z", "", "+00:00"]),
        };
    }
    text
}

fn ip(rng: &mut Rng) -> String {
    let mut text = if rng.bool() {
        let bytes: Vec<String> = (0..4).map(|_| rng.u32(..=300).to_string()).collect();
        bytes.join(".")
    } else {
        let groups = rng.usize(1..=9);
        let mut text = String::new();
        for at in 0..groups {
            if at > 0 {
                text.push(':');
            }
            if rng.u8(..4) > 0 {
                text = format!("{text}{:x}", rng.u32(..=0xffff) >> rng.u32(..16));
            }
        }
        match rng.u8(..6) {
            0 => format!("::{text}"),
            1 => format!("{text}::"),
            2 => format!("{text}:10.0.0.1"),
            _ => text,
        }
    };
    if rng.bool() {
        text = format!("{text}/{}", rng.u32(..=140));
    }
    text
}

/// Change some characters of a text.
fn mutated(rng: &mut Rng, text: &str) -> String {
    const OTHERS: [char; 27] = [
        '0', '1', '9', '-', '+', '.', ',', ':', '/', 'T', 'Z', 'd', 'h', 'm', 's', 'e', '_', ' ', '\n', '\0', '%', 'é',
        '\u{661}', '\u{ff10}', '\u{7f}', 'F', 'g',
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..rng.usize(1..=2) {
        let (at, other) = (rng.usize(..=chars.len()), OTHERS[rng.usize(..OTHERS.len())]);
        match rng.u8(..4) {
            0 => chars.insert(at, other),
            1 if at < chars.len() => chars[at] = other,
            2 if at < chars.len() => drop(chars.remove(at)),
            _ => chars.splice(at..at, std::iter::repeat_n('0', rng.usize(..50))).for_each(drop),
        }
    }
    chars.into_iter().collect()
}

#[test]
fn texts_are_read_as_cedar_reads_them() {
    type Make = fn(&mut Rng) -> String;
    let kinds: [(&str, Make); 4] = [("decimal", decimal), ("datetime", datetime), ("duration", duration), ("ip", ip)];
    let rng = &mut Rng::with_seed(14);
    for (constructor, make) in kinds {
        let mut accepted = 0;
        for _ in 0..TEXTS {
            let mut text = make(rng);
            if rng.bool() {
                text = mutated(rng, &text);
            }
            let cedar = construct_extension(constructor, &text).ok();
            assert_eq!(read(constructor, &text), cedar, "{constructor}({text:?})");
            accepted += usize::from(cedar.is_some());
        }
        // Of texts of one sort only, both could say the same by chance.
        assert!((TEXTS / 10..TEXTS * 9 / 10).contains(&accepted), "{constructor}: {accepted} of {TEXTS} are accepted");
    }
}
