//! Values as text: in Cedar's syntax, and in its JSON.

use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use ztfast_cedar::construct_extension;
use ztfast_cedar::ir::{Datum, Ip, Uid};

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

/// Return the extension values with their constructors and texts.
pub(crate) fn extensions() -> &'static [Vec<(Datum, &'static str)>; 4] {
    static ALL: OnceLock<[Vec<(Datum, &'static str)>; 4]> = OnceLock::new();
    ALL.get_or_init(|| {
        EXTENSIONS.map(|(name, texts)| {
            let value = |&text: &&'static str| (construct_extension(name, text).expect("Cedar takes the text"), text);
            texts.iter().map(value).collect()
        })
    })
}

/// Return the constructor and the text of an extension value that the table has.
fn listed(value: &Datum) -> Option<(&'static str, &'static str)> {
    static BY_VALUE: OnceLock<HashMap<Datum, (&'static str, &'static str)>> = OnceLock::new();
    let all = BY_VALUE.get_or_init(|| {
        let named = EXTENSIONS.iter().zip(extensions());
        named.flat_map(|((name, _), all)| all.iter().map(|(value, text)| (value.clone(), (*name, *text)))).collect()
    });
    all.get(value).copied()
}

/// Write a text as Cedar does.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug().to_string().replace("\\'", "'"))
}

pub(crate) fn uid_text(uid: &Uid) -> String {
    format!("{}::{}", uid.ty, quoted(&uid.id))
}

/// The call that makes an extension value.
enum Call {
    /// A constructor and its text.
    Of(&'static str, String),
    /// The offset from 1970, in milliseconds: Cedar reads datetimes of the years 0 to 9999 only.
    Since1970(i64),
}

fn call(value: &Datum) -> Call {
    if let Some((constructor, text)) = listed(value) {
        return Call::Of(constructor, text.to_owned());
    }
    match *value {
        Datum::Decimal(n) => {
            let (sign, magnitude) = (if n < 0 { "-" } else { "" }, n.unsigned_abs());
            Call::Of("decimal", format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000))
        }
        Datum::Duration(ms) => Call::Of("duration", format!("{ms}ms")),
        Datum::Datetime(ms) => datetime(ms).map_or(Call::Since1970(ms), |text| Call::Of("datetime", text)),
        Datum::Ip(Ip::V4(bits, prefix)) => Call::Of("ip", format!("{}/{prefix}", Ipv4Addr::from(bits))),
        Datum::Ip(Ip::V6(bits, prefix)) => {
            // All groups are written, because Cedar refuses addresses that end in dotted numbers.
            let groups = Ipv6Addr::from(bits).segments().map(|group| format!("{group:x}"));
            Call::Of("ip", format!("{}/{prefix}", groups.join(":")))
        }
        Datum::Bool(_) | Datum::Long(_) | Datum::String(_) | Datum::Entity(_) | Datum::Set(_) | Datum::Record(_) => {
            unreachable!("only extension values are made by calls")
        }
    }
}

/// Write a datetime; `None` outside of the years that Cedar reads.
fn datetime(ms: i64) -> Option<String> {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // 400 years have 146,097 days. Years are counted from March, so that the leap day is the last of its year.
    let since_march = days + 719_468;
    let (era, of_era) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month < 3);
    let (second, fraction) = (of_day / 1_000, of_day % 1_000);
    (0..=9_999).contains(&year).then(|| {
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
    })
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
        Datum::Decimal(_) | Datum::Datetime(_) | Datum::Duration(_) | Datum::Ip(_) => match call(value) {
            Call::Of(constructor, text) => format!("{constructor}(\"{text}\")"),
            Call::Since1970(ms) => format!("datetime(\"1970-01-01\").offset(duration(\"{ms}ms\"))"),
        },
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
        Datum::Decimal(_) | Datum::Datetime(_) | Datum::Duration(_) | Datum::Ip(_) => match call(value) {
            Call::Of(constructor, text) => json!({"__extn": {"fn": constructor, "arg": text}}),
            Call::Since1970(ms) => {
                let of = |constructor: &str, text: &str| json!({"__extn": {"fn": constructor, "arg": text}});
                let args = [of("datetime", "1970-01-01"), of("duration", &format!("{ms}ms"))];
                json!({"__extn": {"fn": "offset", "args": args}})
            }
        },
    }
}
