//! Values and uids, there and back.

use std::collections::BTreeMap;

use crate::ir::{Ip, Uid, Value};
use crate::values::{Names, of_cedar, to_cedar};
use crate::{construct_extension, parse_uid, uid_text};

#[track_caller]
fn there_and_back(value: &Value) {
    let cedar = to_cedar(value).unwrap();
    assert_eq!(of_cedar(&cedar, &mut Names::default()).unwrap(), *value);
}

#[test]
fn values_at_their_limits() {
    let numbers = [i64::MIN, i64::MIN + 1, -86_400_001, -10_001, -10_000, -9_999, -1, 0, 1, 9_999, 10_000, i64::MAX];
    for n in numbers {
        for kind in [Value::Long, Value::Decimal, Value::Datetime, Value::Duration] {
            there_and_back(&kind(n));
        }
    }
    for prefix in [0, 1, 31, 32] {
        for bits in [0, 1, u32::MAX, 0x7f00_0001] {
            there_and_back(&Value::Ip(Ip::V4(bits, prefix)));
        }
    }
    for prefix in [0, 64, 128] {
        // The last ones are IPv4 addresses in IPv6, whose usual form Cedar does not read.
        for bits in [0, 1, u128::MAX, 0xffff_0a00_0001, 0x0a00_0001] {
            there_and_back(&Value::Ip(Ip::V6(bits, prefix)));
        }
    }
    to_cedar(&Value::Ip(Ip::V4(0, 33))).unwrap_err();
    to_cedar(&Value::Ip(Ip::V6(0, 129))).unwrap_err();
}

#[test]
fn values_within_values() {
    let uid = Uid::new("A::B", "x\"y");
    let all = [
        Value::Bool(true),
        Value::String("a\u{301}\n'\"\\".into()),
        Value::Entity(uid),
        Value::Decimal(1),
        Value::Datetime(1),
        Value::Duration(1),
    ];
    let set = Value::Set(all.into());
    let record = Value::Record(BTreeMap::from([("a key".into(), set.clone()), (String::new().into(), set.clone())]));
    for value in [set, record, Value::Set([].into()), Value::Record(BTreeMap::new())] {
        there_and_back(&value);
    }
}

#[test]
fn cedar_and_we_agree_on_equality() {
    let same = [("1.0", "1.0000"), ("-0.0", "0.0"), ("007.5", "7.50")];
    for (a, b) in same {
        assert_eq!(construct_extension("decimal", a), construct_extension("decimal", b));
    }
    assert_eq!(construct_extension("ip", "10.0.0.1"), Ok(Value::Ip(Ip::V4(0x0a00_0001, 32))));
    assert_eq!(construct_extension("ip", "::1/128"), construct_extension("ip", "::1"));
    // Equal ranges, but not equal values.
    assert_ne!(construct_extension("ip", "10.0.0.1/8"), construct_extension("ip", "10.0.0.2/8"));
    assert_eq!(construct_extension("ip", "::ffff:a00:1"), Ok(Value::Ip(Ip::V6(0xffff_0a00_0001, 128))));
    assert_eq!(construct_extension("duration", "1d1ms"), Ok(Value::Duration(86_400_001)));
    assert_eq!(construct_extension("datetime", "1969-12-31T23:59:59.999Z"), Ok(Value::Datetime(-1)));
    assert_eq!(construct_extension("datetime", "1970-01-01T00:00:00+0100"), Ok(Value::Datetime(-3_600_000)));
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
fn uids_as_cedar_writes_them() {
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
        assert!(to_cedar(&Value::Entity(Uid::new(ty, "x"))).is_err(), "{ty}");
    }
}
