//! Policies are lowered to the right conjuncts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{errors, model, uid};
use crate::Mode;
use crate::ir::{ActionScope, Binary, Datum, Effect, Expr, Ext, Ip, PatternElem, Scope, Unary, Var};

#[test]
fn deep_nesting_ends_no_process() {
    let condition = |levels: usize| format!("{}1{} == 1", "[".repeat(levels), "]".repeat(levels));
    assert!(matches!(when(&condition(1_900))[..], [Expr::Binary(Binary::Eq, ..)]));
    let sum = format!("{}1 == 1", "1 + ".repeat(9_000));
    assert!(matches!(when(&sum)[..], [Expr::Binary(Binary::Eq, ..)]));
    let sum = format!("{}1 == 1", "1 + ".repeat(20_000));
    assert_eq!(when(&sum), [Expr::Opaque("nested deeper than 10000".into())]);
    let ifs = format!("{}true", "if context.a then true else ".repeat(1_900));
    assert!(matches!(when(&ifs)[..], [Expr::If(..)]));
    let refused = format!("permit(principal, action, resource) when {{ {} }};", condition(100_000));
    let refused = errors(&[("p.cedar", &refused)], Mode::Permissive);
    assert_eq!(refused[0].message, "nested deeper than 2000 levels");
}

/// Return the conjuncts of a policy with this `when` clause.
#[track_caller]
fn when(condition: &str) -> Vec<Expr> {
    conjuncts(&format!("permit(principal, action, resource) when {{ {condition} }};"))
}

#[track_caller]
fn conjuncts(policy: &str) -> Vec<Expr> {
    let mut policies = model(&[("p.cedar", policy)]).policies;
    assert_eq!(policies.len(), 1);
    policies.remove(0).conjuncts
}

#[track_caller]
fn one(condition: &str) -> Expr {
    let mut found = when(condition);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Return `context.name`.
fn c(name: &str) -> Expr {
    Expr::GetAttr(Arc::new(Expr::Var(Var::Context)), name.into())
}

fn not(e: Expr) -> Expr {
    Expr::Unary(Unary::Not, Arc::new(e))
}

fn bin(op: Binary, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Arc::new(a), Arc::new(b))
}

fn and(a: Expr, b: Expr) -> Expr {
    Expr::And(Arc::new(a), Arc::new(b))
}

fn or(a: Expr, b: Expr) -> Expr {
    Expr::Or(Arc::new(a), Arc::new(b))
}

fn long(n: i64) -> Expr {
    Expr::Datum(Datum::Long(n))
}

#[test]
fn conditions_are_split_into_conjuncts() {
    let (a, b, d) = (c("a"), c("b"), c("d"));
    let table: Vec<(&str, Vec<Expr>)> = vec![
        ("true", vec![]),
        ("false", vec![Expr::Datum(Datum::Bool(false))]),
        ("context.a", vec![a.clone()]),
        ("context.a && context.b", vec![a.clone(), b.clone()]),
        ("context.a && (context.b && context.d)", vec![a.clone(), b.clone(), d.clone()]),
        ("(context.a && context.b) && context.d", vec![a.clone(), b.clone(), d.clone()]),
        ("context.a && true && context.b", vec![a.clone(), b.clone()]),
        ("context.a || context.b", vec![or(a.clone(), b.clone())]),
        ("!(context.a || context.b)", vec![not(a.clone()), not(b.clone())]),
        ("!(context.a || (context.b || context.d))", vec![not(a.clone()), not(b.clone()), not(d.clone())]),
        ("!(context.a && context.b)", vec![not(and(a.clone(), b.clone()))]),
        ("!!context.a", vec![a.clone()]),
        ("!!!context.a", vec![not(a.clone())]),
        ("!(context.a || !context.b)", vec![not(a.clone()), b.clone()]),
        ("!(!(context.a && context.b))", vec![a.clone(), b.clone()]),
        (
            "if context.a then context.b else context.d",
            vec![Expr::If(a.clone().into(), b.clone().into(), d.clone().into())],
        ),
        ("if context.a then context.b else false", vec![a.clone(), b.clone()]),
        ("if context.a then false else context.b", vec![not(a.clone()), b.clone()]),
        ("!(if context.a then context.b else true)", vec![a.clone(), not(b.clone())]),
        ("!(if context.a then true else context.b)", vec![not(a.clone()), not(b.clone())]),
        // A conjunct that is not boolean is kept: it is never true.
        ("context.a && 1", vec![a.clone(), long(1)]),
        // Cedar has no `>`.
        ("context.a > 1", vec![not(bin(Binary::LessEq, a.clone(), long(1)))]),
        ("!(context.a > 1)", vec![bin(Binary::LessEq, a.clone(), long(1))]),
    ];
    for (condition, expected) in table {
        assert_eq!(when(condition), expected, "{condition}");
    }
}

#[test]
fn clauses_come_in_source_order() {
    let found = conjuncts(
        "forbid(principal, action, resource) when { context.a } unless { context.b || context.d } when { context.e };",
    );
    assert_eq!(found, [c("a"), not(c("b")), not(c("d")), c("e")]);
    assert_eq!(conjuncts("permit(principal, action, resource);"), []);
}

#[test]
fn is_in_is_two_conjuncts() {
    let principal = || Expr::Var(Var::Principal);
    assert_eq!(
        when("principal is Human in Desk::\"d\""),
        [
            Expr::Is(principal().into(), "Human".into()),
            bin(Binary::In, principal(), Expr::Datum(Datum::Entity(uid("Desk::\"d\"")))),
        ]
    );
}

#[test]
fn every_operator_is_lowered() {
    let x = || c("x");
    let table: Vec<(&str, Expr)> = vec![
        ("context.x == 1", bin(Binary::Eq, x(), long(1))),
        ("context.x != 1", not(bin(Binary::Eq, x(), long(1)))),
        ("context.x < -5", bin(Binary::Less, x(), long(-5))),
        ("context.x >= 1", not(bin(Binary::Less, x(), long(1)))),
        ("context.x + 1 <= 2", bin(Binary::LessEq, bin(Binary::Add, x(), long(1)), long(2))),
        ("context.x - 1 == 2", bin(Binary::Eq, bin(Binary::Sub, x(), long(1)), long(2))),
        ("2 * context.x == 2", bin(Binary::Eq, bin(Binary::Mul, long(2), x()), long(2))),
        ("-context.x == 2", bin(Binary::Eq, Expr::Unary(Unary::Neg, x().into()), long(2))),
        ("context.x in resource", bin(Binary::In, x(), Expr::Var(Var::Resource))),
        ("context.x.contains(1)", bin(Binary::Contains, x(), long(1))),
        ("context.x.containsAll([])", bin(Binary::ContainsAll, x(), Expr::Datum(Datum::Set(BTreeSet::new())))),
        ("context.x.containsAny(context.x)", bin(Binary::ContainsAny, x(), x())),
        ("context.x.isEmpty()", Expr::Unary(Unary::IsEmpty, x().into())),
        ("principal.hasTag(context.x)", bin(Binary::HasTag, Expr::Var(Var::Principal), x())),
        ("principal.getTag(\"k\")", bin(Binary::GetTag, Expr::Var(Var::Principal), text("k"))),
        ("context has x", Expr::HasAttr(Expr::Var(Var::Context).into(), vec!["x".into()])),
        ("context has x.y.z", Expr::HasAttr(Expr::Var(Var::Context).into(), vec!["x".into(), "y".into(), "z".into()])),
        ("context has \"an x\"", Expr::HasAttr(Expr::Var(Var::Context).into(), vec!["an x".into()])),
        ("context[\"x\"]", x()),
        (
            r#"context.x like "a*\*""#,
            Expr::Like(x().into(), [PatternElem::Char('a'), PatternElem::Wildcard, PatternElem::Char('*')].into()),
        ),
        ("action is Action", Expr::Is(Expr::Var(Var::Action).into(), "Action".into())),
        ("[1, context.x] == 1", bin(Binary::Eq, Expr::Set(vec![long(1), x()]), long(1))),
        (
            "{a: 1, b: context.x} == 1",
            bin(Binary::Eq, Expr::Record([("a".into(), long(1)), ("b".into(), x())].into()), long(1)),
        ),
        ("context.x.isIpv4()", Expr::Ext(Ext::IsIpv4, vec![x()])),
        ("context.x.toDays() == 1", bin(Binary::Eq, Expr::Ext(Ext::ToDays, vec![x()]), long(1))),
    ];
    for (condition, expected) in table {
        assert_eq!(one(condition), expected, "{condition}");
    }
}

fn text(s: &str) -> Expr {
    Expr::Datum(Datum::String(s.into()))
}

#[test]
fn constants_are_folded() {
    let x = || c("x");
    let value = |condition: &str| match one(condition) {
        Expr::Binary(Binary::Eq, _, right) => Arc::unwrap_or_clone(right),
        other => panic!("{other:?}"),
    };
    let table = [
        (r#"decimal("-0.5")"#, Datum::Decimal(-5_000)),
        (r#"datetime("1970-01-02")"#, Datum::Datetime(86_400_000)),
        (r#"duration("-1d2h")"#, Datum::Duration(-93_600_000)),
        (r#"ip("10.0.0.0/8")"#, Datum::Ip(Ip::V4(10 << 24, 8))),
        (r#"datetime("1970-01-02").offset(duration("1ms"))"#, Datum::Datetime(86_400_001)),
        (r#"datetime("1970-01-02").durationSince(datetime("1970-01-01")).toHours()"#, Datum::Long(24)),
        (r#"decimal("1.0").lessThan(decimal("2.0"))"#, Datum::Bool(true)),
        ("[2, 1, 1]", Datum::Set([Datum::Long(1), Datum::Long(2)].into())),
        ("{a: [1]}", Datum::Record(BTreeMap::from([("a".into(), Datum::Set([Datum::Long(1)].into()))]))),
    ];
    for (constant, expected) in table {
        assert_eq!(value(&format!("context.x == {constant}")), Expr::Datum(expected), "{constant}");
    }
    // The constant's evaluation is an error, and so is everything that evaluates it.
    for condition in [
        r#"decimal("1.23456") == context.x"#,
        r#"!ip("nowhere").isIpv4()"#,
        r#"{a: [datetime("tomorrow")]} == context.x"#,
        r#"if duration("1y") == context.x then context.x else context.x"#,
        r#"decimal("x") == 1 || context.x"#,
        r#"datetime("1970-01-01").offset(duration("1ms"), duration("1ms")) == context.x"#,
        "decimal(1) == context.x",
    ] {
        assert_eq!(one(condition), Expr::Error, "{condition}");
    }
    // The right operand is evaluated only if the left one does not settle the result.
    assert_eq!(one(r#"context.x || decimal("x") == 1"#), or(x(), Expr::Error));
    assert_eq!(one("context.x.isIpv4(1)"), Expr::Error);
    assert_eq!(one("context.x.isInRange(context.x, context.x)"), Expr::Error);
    assert_eq!(one("decimal(context.x, context.x) == 1"), Expr::Error);
}

#[test]
fn a_conjunct_that_cannot_be_compiled_is_left_to_cedar() {
    // Only the conjunct that contains it is opaque.
    let found = when("context.a && decimal(context.x).lessThan(decimal(\"1.0\")) && context.b");
    assert_eq!(found, [c("a"), Expr::Opaque("decimal() of a value known only at decision time".into()), c("b")]);
}

fn depth(e: &Expr) -> u32 {
    match e {
        Expr::Or(a, b) => 1 + depth(a).max(depth(b)),
        _ => 0,
    }
}

fn leaves(e: &Expr, found: &mut Vec<i64>) {
    match e {
        Expr::Or(a, b) => [a, b].into_iter().for_each(|e| leaves(e, found)),
        Expr::Binary(Binary::Eq, _, n) => match **n {
            Expr::Datum(Datum::Long(n)) => found.push(n),
            _ => panic!("{n:?}"),
        },
        _ => panic!("{e:?}"),
    }
}

#[test]
fn long_chains_are_not_deep() {
    let terms = |op: &str| (0..500).map(|i| format!("context.x == {i}")).collect::<Vec<_>>().join(op);
    assert_eq!(when(&terms(" && ")).len(), 500);
    assert_eq!(when(&format!("!({})", terms(" || "))).len(), 500);
    let any = one(&terms(" || "));
    assert_eq!(depth(&any), 9);
    let mut found = Vec::new();
    leaves(&any, &mut found);
    assert!(found.into_iter().eq(0..500));
}

#[test]
fn scopes_effects_and_annotations_are_read() {
    let policies = model(&[(
        "p.cedar",
        r#"
        @advice("a") @flag
        permit(principal == Human::"h", action == Action::"view", resource in Desk::"d");
        forbid(principal in Desk::"d", action in Action::"all", resource is Instrument);
        permit(principal is Human in Desk::"d", action in [Action::"view", Action::"order.new"], resource);
        permit(principal, action, resource);
        "#,
    )])
    .policies;
    let (h, d) = (uid("Human::\"h\""), uid("Desk::\"d\""));
    assert_eq!(policies[0].effect, Effect::Permit);
    assert_eq!(policies[0].annotations, [("advice".into(), "a".into()), ("flag".into(), "".into())].into());
    assert_eq!(policies[0].principal, Scope::Eq(h));
    assert_eq!(policies[0].action, ActionScope::Eq(uid("Action::\"view\"")));
    assert_eq!(policies[0].resource, Scope::In(d.clone()));
    assert_eq!(policies[1].effect, Effect::Forbid);
    assert_eq!(policies[1].principal, Scope::In(d.clone()));
    assert_eq!(policies[1].action, ActionScope::In(vec![uid("Action::\"all\"")]));
    assert_eq!(policies[1].resource, Scope::Is("Instrument".into()));
    assert_eq!(policies[2].principal, Scope::IsIn("Human".into(), d));
    assert_eq!(policies[2].action, ActionScope::In(vec![uid("Action::\"view\""), uid("Action::\"order.new\"")]));
    assert_eq!(policies[3].action, ActionScope::Any);
    assert_eq!(policies[3].resource, Scope::Any);
}
