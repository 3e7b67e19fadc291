//! Literals near boundaries, shared by policies, stores and requests so that they meet; and values as text.

use crate::dice::{chance, pick};
use crate::types::Ty;
use fastrand::Rng;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;
use ztfast_cedar::construct_extension;
use ztfast_cedar::ir::{Datum, Uid};

const LONGS: [i64; 9] = [0, 1, -1, 2, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 3_037_000_500];
const TEXTS: [&str; 9] = ["", "a", "b", "ab", "a*b", "aab", "é\u{301}", "\"\\\n", "*"];

/// For each extension type, the constructor and texts.
const EXTENSIONS: [(&str, &[&str]); 4] = [
    ("decimal", &["0.0", "1.5", "1.50", "-0.0001", "922337203685477.5807", "-922337203685477.5808"]),
    (
        "datetime",
        &[
            "1970-01-01",
            "1969-12-31T23:59:59.999Z",
            "2024-02-29",
            "2024-02-29T12:00:00.001Z",
            "9999-12-31T23:59:59Z",
            "2024-01-01T00:00:00+0100",
        ],
    ),
    ("duration", &["0ms", "1ms", "-1ms", "1d", "23h59m59s999ms", "9223372036854775807ms", "-9223372036854775808ms"]),
    (
        "ip",
        &[
            "127.0.0.1",
            "10.0.0.0/8",
            "10.255.255.255",
            "0.0.0.0/0",
            "224.0.0.1",
            "::1",
            "fd00::/8",
            "fd00::1",
            "ff02::1/128",
        ],
    ),
];

const fn extension_of(ty: &Ty) -> usize {
    match ty {
        Ty::Decimal => 0,
        Ty::Datetime => 1,
        Ty::Duration => 2,
        _ => 3,
    }
}

/// Return the extension values with their constructors and texts.
fn extensions() -> &'static [Vec<(Datum, &'static str)>; 4] {
    static ALL: OnceLock<[Vec<(Datum, &'static str)>; 4]> = OnceLock::new();
    ALL.get_or_init(|| {
        EXTENSIONS.map(|(name, texts)| {
            let value = |&text: &&'static str| (construct_extension(name, text).expect("Cedar takes the text"), text);
            texts.iter().map(value).collect()
        })
    })
}

/// Return the constructor and text of an extension value.
fn extension_text(value: &Datum) -> (&'static str, &'static str) {
    static BY_VALUE: OnceLock<HashMap<Datum, (&'static str, &'static str)>> = OnceLock::new();
    let all = BY_VALUE.get_or_init(|| {
        let named = EXTENSIONS.iter().zip(extensions());
        named.flat_map(|((name, _), all)| all.iter().map(|(value, text)| (value.clone(), (*name, *text)))).collect()
    });
    all[value]
}

/// The longs and texts of a world.
#[derive(Debug, Clone)]
pub(crate) struct Literals {
    longs: Vec<i64>,
    texts: Vec<String>,
}

impl Literals {
    pub fn new(rng: &mut Rng) -> Self {
        let mut longs: Vec<i64> = (0..3).map(|_| rng.i64(-100..1000)).collect();
        longs.extend([*pick(rng, &LONGS), *pick(rng, &LONGS)]);
        let texts = (0..4).map(|_| (*pick(rng, &TEXTS)).to_owned()).chain(["k0".to_owned()]).collect();
        Self { longs, texts }
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

    pub fn extension(rng: &mut Rng, ty: &Ty) -> Datum {
        pick(rng, &extensions()[extension_of(ty)]).0.clone()
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

/// Write a text as Cedar does.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug().to_string().replace("\\'", "'"))
}

pub(crate) fn uid_text(uid: &Uid) -> String {
    format!("{}::{}", uid.ty, quoted(&uid.id))
}

/// Write a value as an expression.
pub(crate) fn cedar_text(value: &Datum) -> String {
    match value {
        Datum::Bool(b) => b.to_string(),
        Datum::Long(n) if *n < 0 => format!("({n})"),
        Datum::Long(n) => n.to_string(),
        Datum::String(text) => quoted(text),
        Datum::Entity(uid) => uid_text(uid),
        Datum::Set(elements) => format!("[{}]", elements.iter().map(cedar_text).collect::<Vec<_>>().join(", ")),
        Datum::Record(fields) => {
            let mut out = String::from("{");
            for (at, (key, value)) in fields.iter().enumerate() {
                let _ = write!(out, "{}{}: {}", if at > 0 { ", " } else { "" }, quoted(key), cedar_text(value));
            }
            out + "}"
        }
        Datum::Decimal(_) | Datum::Datetime(_) | Datum::Duration(_) | Datum::Ip(_) => {
            let (constructor, text) = extension_text(value);
            format!("{constructor}(\"{text}\")")
        }
    }
}

/// Write a uid in Cedar's JSON.
pub(crate) fn uid_json(uid: &Uid) -> Json {
    json!({"type": &*uid.ty, "id": &*uid.id})
}

/// Write a value in Cedar's JSON.
pub(crate) fn value_json(value: &Datum) -> Json {
    match value {
        Datum::Bool(b) => json!(b),
        Datum::Long(n) => json!(n),
        Datum::String(text) => json!(&**text),
        Datum::Entity(uid) => json!({"__entity": uid_json(uid)}),
        Datum::Set(elements) => elements.iter().map(value_json).collect(),
        Datum::Record(fields) => {
            Json::Object(fields.iter().map(|(key, value)| (key.to_string(), value_json(value))).collect())
        }
        Datum::Decimal(_) | Datum::Datetime(_) | Datum::Duration(_) | Datum::Ip(_) => {
            let (constructor, text) = extension_text(value);
            json!({"__extn": {"fn": constructor, "arg": text}})
        }
    }
}
