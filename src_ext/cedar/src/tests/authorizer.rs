//! Tests of the authorizer.

use std::collections::BTreeMap;

use super::{ask, file, load, loaded, sources, uid};
use crate::ir::{Datum, Ip, Uid};
use crate::{Authorizer, Mode};

fn empty() -> Datum {
    Datum::Record(BTreeMap::new())
}

fn view() -> (Uid, Uid, Uid) {
    (uid("Human::\"h\""), uid("Action::\"view\""), uid("Venue::\"XNAS\""))
}

#[test]
fn is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Authorizer>();
}

#[test]
fn answers_in_policy_order() {
    let text = format!(
        "{}{}",
        "permit(principal, action, resource);".repeat(12),
        "forbid(principal, action, resource) when { principal.limit > 1 };\n\
         permit(principal, action, resource) when { 1 > \"a\" };"
    );
    let loaded = loaded(&[("p.cedar", &text)]);
    let (h, a, r) = view();
    let answer = ask(&loaded, None, [&h, &a, &r], &empty());
    assert!(answer.allow);
    let expected: Vec<String> = (0..12).map(|i| format!("policy{i}")).collect();
    assert!(answer.reasons.iter().map(|id| &**id).eq(expected.iter().map(String::as_str)), "{answer:?}");
    let errors: Vec<_> = answer.errors.iter().map(|(id, _)| &**id).collect();
    assert_eq!(errors, ["policy12", "policy13"]);
    assert!(answer.errors[0].1.contains("does not exist"), "{answer:?}");
}

#[test]
fn a_forbid_wins() {
    let loaded = loaded(&[(
        "p.cedar",
        "permit(principal, action, resource); @id(\"no\") forbid(principal, action in Action::\"all\", resource);",
    )]);
    let (h, _, r) = view();
    let answer = ask(&loaded, None, [&h, &uid("Action::\"order.new\""), &r], &empty());
    assert!(!answer.allow);
    assert_eq!(answer.reasons, ["no".into()]);
    let answer = ask(&loaded, None, [&h, &uid("Action::\"nothing\""), &r], &empty());
    assert!(answer.allow, "not validated: an unknown action is in no group");
}

#[test]
fn values_reach_the_policies_exactly() {
    let table = [
        (Datum::Datetime(i64::MIN), r#"context.x < datetime("0000-01-01")"#),
        (Datum::Datetime(1), r#"context.x == datetime("1970-01-01T00:00:00.001Z")"#),
        (Datum::Duration(i64::MIN), r#"context.x == duration("-9223372036854775808ms")"#),
        (Datum::Decimal(i64::MIN), r#"context.x == decimal("-922337203685477.5808")"#),
        (Datum::Decimal(-5_000), r#"context.x == decimal("-0.5")"#),
        (Datum::Long(i64::MIN), "context.x == -9223372036854775808"),
        (Datum::Ip(Ip::V6(0xffff_0102_0304, 128)), r#"context.x == ip("::ffff:102:304")"#),
        (Datum::Ip(Ip::V4(0x0102_0304, 24)), r#"context.x == ip("1.2.3.4/24")"#),
        (Datum::String("\"\\\n\u{301}".into()), r#"context.x == "\"\\\n\u{301}""#),
        (Datum::Entity(Uid::new("Human", "a\"b")), r#"context.x == Human::"a\"b""#),
        (Datum::Set([Datum::Long(1), Datum::Bool(true)].into()), "context.x == [true, 1, 1]"),
        (Datum::Record([("k k".into(), Datum::Long(1))].into()), r#"context.x == {"k k": 1}"#),
    ];
    let (h, a, r) = view();
    for (value, condition) in table {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let context = Datum::Record([("x".into(), value)].into());
        let answer = ask(&loaded(&[("p.cedar", &text)]), None, [&h, &a, &r], &context);
        assert!(answer.allow, "{condition}: {answer:?}");
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    let authorizer = loaded(&[]).authorizer;
    let (h, a, r) = view();
    let store = authorizer.store(None).unwrap();
    let error = authorizer.authorize(&h, &a, &r, &Datum::Long(1), &store).unwrap_err();
    assert_eq!(error.message, "the context must be a record");
    let error = authorizer.authorize(&Uid::new("a b", "x"), &a, &r, &empty(), &store).unwrap_err();
    assert!(error.message.contains("`a b`"), "{error}");
}

#[test]
fn requests_are_validated_apart() {
    let authorizer = loaded(&[]).authorizer;
    let (h, a, r) = view();
    authorizer.validate_request(&h, &a, &r, &empty()).unwrap();
    let nothing = uid("Action::\"nothing\"");
    for (p, a, r, words) in [
        (&h, &nothing, &r, "nothing"),
        (&r, &a, &r, "Venue"),
        (&h, &a, &h, "Human"),
        (&h, &a, &uid("Venue::\"XXXX\""), "XXXX"),
    ] {
        let error = authorizer.validate_request(p, a, r, &empty()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let context = Datum::Record([("x".into(), Datum::Long(1))].into());
    assert!(authorizer.validate_request(&h, &a, &r, &context).is_err());
}

#[test]
fn contexts_are_read_from_json() {
    let authorizer = loaded(&[]).authorizer;
    let order = uid("Action::\"order.new\"");
    let context = authorizer
        .context_from_json(
            &order,
            r#"{"order": {"notional": "1.5", "legs": [{"qty": 1, "venue": {"type": "Venue", "id": "XNAS"}}]},
                "ip": {"__extn": {"fn": "ip", "arg": "::ffff:102:304"}}, "age": "-1ms", "at": "1969-12-31",
                "by": {"type": "Human", "id": "h"}}"#,
        )
        .unwrap();
    let leg = Datum::Record(BTreeMap::from([
        ("qty".into(), Datum::Long(1)),
        ("venue".into(), Datum::Entity(uid("Venue::\"XNAS\""))),
    ]));
    let expected = Datum::Record(BTreeMap::from([
        (
            "order".into(),
            Datum::Record(BTreeMap::from([
                ("notional".into(), Datum::Decimal(15_000)),
                ("legs".into(), Datum::Set([leg].into())),
            ])),
        ),
        ("ip".into(), Datum::Ip(Ip::V6(0xffff_0102_0304, 128))),
        ("age".into(), Datum::Duration(-1)),
        ("at".into(), Datum::Datetime(-86_400_000)),
        ("by".into(), Datum::Entity(uid("Human::\"h\""))),
    ]));
    assert_eq!(context, expected);
    for (action, json, words) in [
        (&order, "{", "EOF"),
        (&order, r#"{"order": 1}"#, "expected the record to have an attribute"),
        (&order, "[]", "type mismatch"),
        (&uid("Action::\"nothing\""), "{}", "nothing"),
    ] {
        let error = authorizer.context_from_json(action, json).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}

#[test]
fn entities_are_seen() {
    let mut sources = sources(&[(
        "p.cedar",
        "permit(principal in Desk::\"d\", action == Action::\"view\", resource) when { principal.hasTag(\"k\") };",
    )]);
    sources.entities = Some(file(
        "e.json",
        r#"[{"uid": {"type": "Human", "id": "h"}, "parents": [{"type": "Desk", "id": "d"}],
             "attrs": {"name": "n", "limit": 1}, "tags": {"k": "v"}}]"#,
    ));
    let loaded = load(&sources, Mode::Strict).unwrap();
    let (h, a, r) = view();
    let entities = sources.entities.as_ref();
    assert!(ask(&loaded, entities, [&h, &a, &r], &empty()).allow);
    assert!(!ask(&loaded, entities, [&uid("Human::\"x\""), &a, &r], &empty()).allow);
}
