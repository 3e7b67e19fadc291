//! Values and uids survive conversion in both directions.

use std::collections::BTreeMap;

use crate::ir::{Datum, Ip, Uid};
use crate::values::{Names, of_cedar, to_cedar};
use crate::{construct_extension, is_type_name, parse_uid, uid_text};

#[track_caller]
fn there_and_back(value: &Datum) {
    let cedar = to_cedar(value).unwrap();
    assert_eq!(of_cedar(&cedar, &mut Names::default()).unwrap(), *value);
}

#[test]
fn values_at_their_limits_come_back_the_same() {
    let numbers = [i64::MIN, i64::MIN + 1, -86_400_001, -10_001, -10_000, -9_999, -1, 0, 1, 9_999, 10_000, i64::MAX];
    for n in numbers {
        for kind in [Datum::Long, Datum::Decimal, Datum::Datetime, Datum::Duration] {
            there_and_back(&kind(n));
        }
    }
    for prefix in [0, 1, 31, 32] {
        for bits in [0, 1, u32::MAX, 0x7f00_0001] {
            there_and_back(&Datum::Ip(Ip::V4(bits, prefix)));
        }
    }
    for prefix in [0, 64, 128] {
        // The last ones are IPv4 addresses in IPv6, whose usual form Cedar does not read.
        for bits in [0, 1, u128::MAX, 0xffff_0a00_0001, 0x0a00_0001] {
            there_and_back(&Datum::Ip(Ip::V6(bits, prefix)));
        }
    }
    to_cedar(&Datum::Ip(Ip::V4(0, 33))).unwrap_err();
    to_cedar(&Datum::Ip(Ip::V6(0, 129))).unwrap_err();
}

#[test]
fn values_within_values_come_back_the_same() {
    let uid = Uid::new("A::B", "x\"y");
    let all = [
        Datum::Bool(true),
        Datum::String("a\u{301}\n'\"\\".into()),
        Datum::Entity(uid),
        Datum::Decimal(1),
        Datum::Datetime(1),
        Datum::Duration(1),
    ];
    let set = Datum::Set(all.into());
    let record = Datum::Record(BTreeMap::from([("a key".into(), set.clone()), (String::new().into(), set.clone())]));
    for value in [set, record, Datum::Set([].into()), Datum::Record(BTreeMap::new())] {
        there_and_back(&value);
    }
}

#[test]
fn cedar_and_we_agree_on_equality() {
    let same = [("1.0", "1.0000"), ("-0.0", "0.0"), ("007.5", "7.50")];
    for (a, b) in same {
        assert_eq!(construct_extension("decimal", a).unwrap(), construct_extension("decimal", b).unwrap());
    }
    assert_eq!(construct_extension("ip", "10.0.0.1"), Ok(Datum::Ip(Ip::V4(0x0a00_0001, 32))));
    assert_eq!(construct_extension("ip", "::1/128").unwrap(), construct_extension("ip", "::1").unwrap());
    // These are equal ranges, but not equal values.
    assert_ne!(construct_extension("ip", "10.0.0.1/8").unwrap(), construct_extension("ip", "10.0.0.2/8").unwrap());
    assert_eq!(construct_extension("ip", "::ffff:a00:1"), Ok(Datum::Ip(Ip::V6(0xffff_0a00_0001, 128))));
    assert_eq!(construct_extension("duration", "1d1ms"), Ok(Datum::Duration(86_400_001)));
    assert_eq!(construct_extension("datetime", "1969-12-31T23:59:59.999Z"), Ok(Datum::Datetime(-1)));
    assert_eq!(construct_extension("datetime", "1970-01-01T00:00:00+0100"), Ok(Datum::Datetime(-3_600_000)));
}

#[test]
fn wrong_extension_values_are_explained() {
    let table = [
        ("decimal", "1", "well-formed"),
        ("decimal", "1.00001", "at most 4 digits"),
        ("decimal", "922337203685477.5808", "overflow"),
        ("ip", "::ffff:1.2.3.4", "IPv4 embedded in IPv6"),
        ("datetime", "now", "YYYY-MM-DD"),
        ("duration", "1y", "quantity-unit"),
        ("date", "2020-01-01", "write decimal, ip, datetime or duration"),
    ];
    for (kind, text, words) in table {
        let message = construct_extension(kind, text).unwrap_err();
        assert!(message.contains(words), "{kind}({text}): {message}");
    }
}

#[test]
fn uids_are_written_as_cedar_writes_them() {
    let ids = [
        "a7", "", " ", "\"", "\\", "'", "*", "\n\r\t\0", "é", "e\u{301}", "\u{301}", "\u{200b}", "日本", "🏦", "\u{7f}",
    ];
    for id in ids {
        for ty in ["T", "A::B::C", "Action"] {
            let uid = Uid::new(ty, id);
            let text = uid_text(&uid);
            let cedar: cedar_policy::EntityUid = text.parse().unwrap();
            assert_eq!(text, cedar.to_string(), "Cedar's own text");
            assert_eq!(cedar.id().unescaped(), id);
            assert_eq!(parse_uid(&text), Ok(uid));
        }
    }
    assert_eq!(parse_uid(r#"T::"\u{41}\x42""#), Ok(Uid::new("T", "AB")));
    for wrong in ["", "T", "T::", "T::a", "T::\"a", "\"a\"", "T::\"a\" x", "1::\"a\"", "principal::\"\\q\""] {
        assert!(parse_uid(wrong).is_err(), "{wrong}");
    }
    for ty in ["", "a b", "1", "A::", "A :: B", "if", "__cedar"] {
        assert!(to_cedar(&Datum::Entity(Uid::new(ty, "x"))).is_err(), "{ty}");
    }
}

#[test]
fn a_uid_is_the_whole_text() {
    // Cedar's parser, which reads policies, reads all of these as the same user.
    for other in [
        r#"User::"ann"//""#,
        r#"User::"ann"//"#,
        r#"User::"ann"/* "*/"#,
        r#"/**/User::"ann""#,
        r#"User//"
::"ann""#,
        r#"User::/*"*/"ann""#,
        r#"User::"x"//
::"ann""#,
        r#" User::"ann""#,
        r#"User::"ann" "#,
        "User::\"ann\"\n",
        r#"User ::"ann""#,
        r#"User:: "ann""#,
        "\u{feff}User::\"ann\"",
        "User::\"ann\"\0",
        "User\0::\"ann\"",
        r#"__cedar::"ann""#,
        r#"A::__cedar::"ann""#,
        r#"if::"ann""#,
        r#"A::true::"ann""#,
        r#"::"ann""#,
        r#"User::::"ann""#,
        r#"User::"ann""bob""#,
        r#"User::"ann\"#,
        r#"User::"ann\""#,
        r"User::'ann'",
        r#"Usér::"ann""#,
        r#"User::"\u{d800}""#,
        r#"User::"\q""#,
        r#"User::"ann"::"bob""#,
    ] {
        assert!(parse_uid(other).is_err(), "{other:?}");
    }
    assert_eq!(parse_uid(r#"User::"\u{61}nn""#), Ok(Uid::new("User", "ann")), "escapes are no other text");
    assert_eq!(parse_uid(r#"User::"ann\"//""#), Ok(Uid::new("User", "ann\"//")));
    assert_eq!(parse_uid(r#"User::"//""#), Ok(Uid::new("User", "//")));
}

#[test]
fn whatever_is_taken_for_a_uid_prints_to_the_same() {
    // Try every text of up to five of these pieces.
    let pieces = ["User", "::", "\"", "a", "\\", "/", "*", " ", "\n", "u{61}", "é"];
    let mut texts = vec![String::new()];
    let (mut taken, mut begin) = (0, 0);
    for _ in 0..5 {
        let end = texts.len();
        for at in begin..end {
            for piece in pieces {
                texts.push(format!("{}{piece}", texts[at]));
            }
        }
        begin = end;
    }
    for text in texts.iter().map(|text| format!("User::\"{text}")).chain(texts.iter().cloned()) {
        let Ok(uid) = parse_uid(&text) else { continue };
        taken += 1;
        assert_eq!(parse_uid(&uid_text(&uid)).as_ref(), Ok(&uid), "{text:?}");
        let cedar: cedar_policy_core::ast::EntityUID = text.parse().unwrap();
        assert_eq!(AsRef::<str>::as_ref(cedar.eid()), &*uid.id, "{text:?}");
        assert_eq!(cedar.entity_type().to_string(), &*uid.ty, "{text:?}");
        assert!(text.starts_with(&format!("{}::\"", uid.ty)) && text.ends_with('"'), "{text:?}");
    }
    assert!(taken > 1000, "{taken}");
}

#[test]
fn names_of_types_are_those_that_cedar_has() {
    for name in [
        "",
        "A",
        "A::B",
        "_",
        "_1",
        "a9",
        "9a",
        "A:B",
        "A::",
        "::A",
        "A b",
        " A",
        "A ",
        "A::B//",
        "A/**/",
        "é",
        "A::é",
        "if",
        "A::if",
        "iff",
        "__cedar",
        "A::__cedar",
        "__cedar::A",
        "__cedars",
        "true",
        "false",
        "then",
        "else",
        "in",
        "is",
        "like",
        "has",
        "principal",
        "action",
        "permit",
        "when",
        "A\0",
        "A\n",
        "\"A\"",
        "Set",
        "String",
    ] {
        let cedar = cedar_policy_core::ast::EntityType::from_normalized_str(name).is_ok();
        assert_eq!(is_type_name(name), cedar, "{name:?}");
    }
}
