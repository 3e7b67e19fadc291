//! A line of the list of revoked grounds: JSON, with a checksum over all before it.
//!
//! ```text
//! {"kind":"key","digest":"…","shown":"…","by":"…","reason":"…",      (all in one line)
//!  "at":"2026-01-02T03:04:05Z","what":"revoked","check":"…"}
//! ```
//!
//! The checksum tells a line that was written whole from one that a disk or an editor changed. It is no signature:
//! whoever may write the file can also revoke and restore.

use serde::{Deserialize, Serialize};

/// The most bytes of each text of a revocation.
pub const MAX_FIELD: usize = 1024;
/// The most bytes of the name of a kind.
const MAX_KIND: usize = 32;
/// No line is as long: JSON makes up to six bytes of one.
pub const MAX_LINE: usize = 1 << 15;
const _: () = assert!(6 * 3 * MAX_FIELD + 1024 < MAX_LINE);

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing that rests on the ground is admitted from now on.
    Revoked,
    /// The ground was revoked by mistake, and counts again.
    Restored,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The ground's kind, as in `key` or `serial`: lower-case letters and dashes.
    pub kind: String,
    /// The ground's digest.
    #[serde(with = "hex")]
    pub digest: [u8; 32],
    /// What people call the ground, as in `serial 4711 of CN=desk`.
    pub shown: String,
    /// Who changed it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, by RFC 3339, as in `2026-01-02T03:04:05Z`.
    pub at: String,
    /// What was done.
    pub what: Change,
}

/// Why a revocation cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLine {
    /// A text is too long.
    #[error("{what} of a revocation may have {most} bytes in UTF-8; it has {bytes}")]
    TooLong {
        /// The text.
        what: &'static str,
        /// The most bytes.
        most: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// The kind is no name.
    #[error("the kind of a ground is a name of lower-case letters and dashes, and not {0:?}")]
    Kind(String),
    /// The time is not as RFC 3339 wants it.
    #[error("the time of a revocation is as in 2026-01-02T03:04:05Z (RFC 3339), and not {0:?}")]
    Time(String),
}

impl Revocation {
    fn check(&self) -> Result<(), NoLine> {
        for (what, text) in [("shown", &self.shown), ("by", &self.by), ("reason", &self.reason)] {
            if text.len() > MAX_FIELD {
                return Err(NoLine::TooLong { what, most: MAX_FIELD, bytes: text.len() });
            }
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        if self.kind.is_empty() || self.kind.len() > MAX_KIND || !self.kind.bytes().all(is_name) {
            return Err(NoLine::Kind(self.kind.chars().take(MAX_KIND).collect()));
        }
        if is_time(&self.at) { Ok(()) } else { Err(NoLine::Time(self.at.chars().take(MAX_KIND).collect())) }
    }

    /// Write the line, with the newline that ends it.
    pub(super) fn to_line(&self) -> Result<String, NoLine> {
        self.check()?;
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.pop();
        let check = check_of(line.as_bytes());
        line.push_str(CHECK);
        line.push_str(&hex::text(&check));
        line.push_str(END);
        line.push('\n');
        Ok(line)
    }

    /// Read a line without the newline that ends it. Return it with its checksum, or what is wrong.
    pub(super) fn of_line(line: &[u8]) -> Result<(Self, [u8; 8]), &'static str> {
        let text = std::str::from_utf8(line).map_err(|_| "is no text in UTF-8")?;
        let no_check = "does not end with a checksum";
        let rest = text.strip_suffix(END).ok_or(no_check)?;
        let (rest, digits) = rest.len().checked_sub(16).and_then(|at| rest.split_at_checked(at)).ok_or(no_check)?;
        let body = rest.strip_suffix(CHECK).ok_or(no_check)?;
        let check = hex::bytes(digits).ok_or(no_check)?;
        if check != check_of(body.as_bytes()) {
            return Err("has another checksum than its content");
        }
        let found: Self = serde_json::from_str(&format!("{body}}}")).map_err(|_| "is no revocation")?;
        found.check().map_err(|_| "is no revocation that ztfast wrote")?;
        Ok((found, check))
    }
}

const CHECK: &str = r#","check":""#;
const END: &str = r#""}"#;

fn check_of(bytes: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.iter_mut().zip(blake3::hash(bytes).as_bytes()).for_each(|(to, &byte)| *to = byte);
    check
}

/// Return whether a text is a time as RFC 3339 (section 5.6) writes it.
fn is_time(text: &str) -> bool {
    let Some((day_and_time, rest)) = text.split_at_checked(19) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_like = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                wanted => byte == wanted,
            })
    };
    let zone =
        rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    let fraction = &rest[..rest.len() - zone.len()];
    let is_fraction = fraction.is_empty() || digits(fraction.trim_start_matches('.')) && fraction.len() <= 10;
    is_like(day_and_time, "0000-00-00T00:00:00")
        && is_fraction
        && (zone == "Z" || is_like(zone, "+00:00") || is_like(zone, "-00:00"))
}

/// Bytes as hexadecimal digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(bytes))
    }

    /// Return lower-case digits.
    pub fn text(bytes: &[u8]) -> String {
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<[u8; 32], D::Error> {
        bytes(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("64 hexadecimal digits are wanted"))
    }

    /// Read lower-case digits.
    pub fn bytes<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut all = [0; LEN];
        if text.len() != 2 * LEN {
            return None;
        }
        for (to, pair) in all.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *to = digit(*pair.first()?)? << 4 | digit(*pair.last()?)?;
        }
        Some(all)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn revocation(number: u8, what: Change) -> Revocation {
        let text = |text: &str| text.to_owned();
        let (kind, shown, by) = (text("key"), format!("key {number}"), text("ann"));
        let (reason, at) = (text("lost\n\"laptop\""), text("2026-01-02T03:04:05.25+01:00"));
        Revocation { kind, digest: [number; 32], shown, by, reason, at, what }
    }

    #[test]
    fn a_line_is_json_with_all_that_was_said() {
        let line = revocation(0xAB, Change::Restored).to_line().unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = [
            ("kind", "key"),
            ("digest", &"ab".repeat(32)),
            ("shown", "key 171"),
            ("by", "ann"),
            ("reason", "lost\n\"laptop\""),
            ("at", "2026-01-02T03:04:05.25+01:00"),
            ("what", "restored"),
        ];
        for (name, value) in expected {
            assert_eq!(json[name], value, "{name}");
        }
        assert_eq!((line.matches('\n').count(), json.as_object().unwrap().len()), (1, 8));
    }

    #[test]
    fn what_does_not_fit_a_line_is_refused() {
        let good = revocation(1, Change::Revoked);
        assert!(good.to_line().is_ok());
        let long = "é".repeat(MAX_FIELD / 2);
        assert!(
            Revocation { shown: long.clone(), by: long.clone(), reason: long.clone(), ..good.clone() }.check().is_ok()
        );
        for changed in [
            Revocation { shown: format!("{long}a"), ..good.clone() },
            Revocation { by: format!("{long}a"), ..good.clone() },
            Revocation { reason: format!("{long}a"), ..good.clone() },
        ] {
            assert!(matches!(changed.to_line(), Err(NoLine::TooLong { bytes: 1025, .. })));
        }
        for kind in ["", "Key", "a key", "a\"", "é", &"k".repeat(33)] {
            let changed = Revocation { kind: kind.to_owned(), ..good.clone() };
            assert!(matches!(changed.to_line(), Err(NoLine::Kind(_))), "{kind}");
        }
        let longest = Revocation { shown: "\u{1}".repeat(MAX_FIELD), by: "\u{1}".repeat(MAX_FIELD), ..good };
        let longest = Revocation { reason: longest.shown.clone(), ..longest };
        assert!(longest.to_line().unwrap().len() < MAX_LINE);
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        for good in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789-10:30", "2026-01-02T03:04:05+00:00"] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05z",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T03:04:0éZ",
            "2026-01-02T03:04:05Z\n",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }

    #[test]
    fn any_change_of_a_line_is_noticed() {
        let line = revocation(7, Change::Revoked).to_line().unwrap();
        let bytes = line.trim_end().as_bytes();
        assert_eq!(Revocation::of_line(bytes).unwrap().0, revocation(7, Change::Revoked));
        for at in 0..bytes.len() {
            assert!(Revocation::of_line(&bytes[..at]).is_err(), "cut at {at}");
            assert!(Revocation::of_line(&bytes[at + 1..]).is_err(), "without the first {at}");
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                assert!(Revocation::of_line(&changed).is_err(), "bit {bit} of {at}");
            }
        }
    }

    #[test]
    fn a_right_checksum_makes_no_revocation_of_anything_else() {
        let with_check = |body: &str| {
            let check = hex::text(&check_of(body.as_bytes()));
            format!("{body}{CHECK}{check}{END}")
        };
        let good = serde_json::to_string(&revocation(1, Change::Revoked)).unwrap();
        let good = good.strip_suffix('}').unwrap();
        assert!(Revocation::of_line(with_check(good).as_bytes()).is_ok());
        for (from, to) in [
            ("\"revoked\"", "\"forgiven\""),
            ("\"by\"", "\"bye\""),
            ("0101", "010"),
            ("0101", "01G1"),
            ("0101", "01é1"),
            ("2026-", "2026 "),
            ("{\"kind\"", "{\"more\":1,\"kind\""),
            ("\"by\":\"ann\"", "\"by\":\"ann\",\"by\":\"bob\""),
        ] {
            let changed = good.replacen(from, to, 1);
            assert!(changed != good && Revocation::of_line(with_check(&changed).as_bytes()).is_err(), "{changed}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_said_is_read_again(
            digest: [u8; 32], shown in ".{0,200}", by: String, reason: String, restored: bool,
        ) {
            let what = if restored { Change::Restored } else { Change::Revoked };
            let said = Revocation { digest, shown, by, reason, what, ..revocation(1, what) };
            let line = said.to_line();
            prop_assume!(line.is_ok());
            let line = line.unwrap();
            let (read, _) = Revocation::of_line(line.strip_suffix('\n').unwrap().as_bytes()).unwrap();
            prop_assert_eq!(read, said);
            prop_assert_eq!(line.matches('\n').count(), 1);
        }

        #[test]
        fn bytes_that_nobody_wrote_are_no_line(bytes: Vec<u8>) {
            prop_assert!(Revocation::of_line(&bytes).is_err());
        }
    }
}
