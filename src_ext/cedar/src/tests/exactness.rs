//! The lowering is exact by Cedar's own evaluator: a condition is true iff each conjunct alone is, and lowering does
//! not change the meaning of a conjunct.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy_core::ast::{self, ExprBuilder};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::expr_builder::ExprBuilder as _;
use cedar_policy_core::extensions::Extensions;

use super::{ask, loaded, uid};
use crate::ir::{Binary, Datum, Expr, Ext, PatternElem, Unary, Var};
use crate::lower;
use crate::values::{Names, to_cedar, uid_to_cedar};

/// The outcome of an evaluation. Everything that is neither true nor false counts as one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    True,
    False,
    Other,
}

fn evaluate(expr: &ast::Expr, entities: &Entities) -> Outcome {
    let who = || ("Human::\"h\"".parse().unwrap(), None);
    let fields = [("t", true), ("f", false)].map(|(key, b)| (key.into(), ast::RestrictedExpr::val(b)));
    let context = ast::Context::from_pairs(fields, Extensions::all_available()).unwrap();
    let request = ast::Request::new(
        who(),
        who(),
        who(),
        context,
        None::<&ast::RequestSchemaAllPass>,
        Extensions::all_available(),
    )
    .unwrap();
    let evaluator = Evaluator::new(request, entities, Extensions::all_available());
    match evaluator.interpret(expr, &HashMap::new()).map(|value| value.value) {
        Ok(ast::ValueKind::Lit(ast::Literal::Bool(true))) => Outcome::True,
        Ok(ast::ValueKind::Lit(ast::Literal::Bool(false))) => Outcome::False,
        _ => Outcome::Other,
    }
}

/// A generator of numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Make a condition of everything that may be split, over operands that are true, false, not boolean or errors.
    fn condition(&mut self, depth: u32) -> String {
        if depth == 0 || self.below(6) == 0 {
            let atoms = [
                "context.t",
                "context.f",
                "true",
                "false",
                "1",
                "context.missing",
                "[1, context.t]",
                "context.missing.x == 1",
                "context has t",
                "context has t.x",
                "principal.hasTag(\"k\")",
                "principal == action",
                "!(1 < 2)",
                "decimal(\"1.0\").lessThan(decimal(\"2.0\"))",
                "ip(\"x\").isIpv4()",
                "\"abc\" like \"a*c\"",
                "principal is Human",
                "{a: context.f}.a",
                "[].isEmpty()",
                "[context.f, context.t].contains(true)",
                "principal in [principal, action]",
                "9223372036854775807 + 1 == 0",
                "-(2) == -2",
            ];
            let n = u64::try_from(atoms.len()).unwrap();
            return atoms[usize::try_from(self.below(n)).unwrap()].to_owned();
        }
        let mut sub = || self.condition(depth - 1);
        let (a, b, c) = (sub(), sub(), sub());
        match self.below(5) {
            0 | 1 => format!("({a} && {b})"),
            2 => format!("({a} || {b})"),
            3 => format!("!({a})"),
            _ => format!("(if {a} then {b} else {c})"),
        }
    }
}

#[test]
fn true_iff_each_conjunct_alone_is_true() {
    let (mut random, entities) = (Random(7), Entities::new());
    let (mut seen, mut firsts) = (HashMap::new(), 0);
    for _ in 0..4_000 {
        let text = random.condition(4);
        let condition: ast::Expr = text.parse().unwrap();
        let whole = evaluate(&condition, &entities);
        *seen.entry(format!("{whole:?}")).or_insert(0) += 1;

        // Evaluate the conjuncts as split, in Cedar's own expressions.
        let mut alone = Vec::new();
        lower::split(&condition, |conjunct, wanted| {
            let conjunct = conjunct.clone();
            alone.push(if wanted { conjunct } else { ExprBuilder::<()>::new().not(conjunct) });
        });
        let outcomes: Vec<_> = alone.iter().map(|conjunct| evaluate(conjunct, &entities)).collect();
        assert_eq!(whole == Outcome::True, outcomes.iter().all(|o| *o == Outcome::True), "{text}: {outcomes:?}");
        // If the whole is an error, so is the first conjunct that is not true.
        let first = outcomes.iter().find(|o| **o != Outcome::True).unwrap_or(&Outcome::True);
        if matches!(condition.expr_kind(), ast::ExprKind::And { .. }) {
            assert_eq!(whole, *first, "{text}: {outcomes:?}");
            firsts += u32::from(whole == Outcome::Other);
        }

        // Evaluate the conjuncts lowered, and converted back.
        let policy =
            ast::Policy::from_when_clause(ast::Effect::Permit, condition, ast::PolicyID::from_string("p"), None);
        let lowered = lower::conjuncts(&policy, &mut Names::default());
        assert_eq!(lowered.len(), alone.len());
        for (lowered, outcome) in lowered.iter().zip(outcomes) {
            assert_eq!(evaluate(&raise(lowered), &entities), outcome, "{text}: {lowered:?}");
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|n| *n > 300), "not all outcomes are tried: {seen:?}");
    assert!(firsts > 100, "only {firsts} conjunctions err");
}

/// Compare policies with sets of policies of one conjunct each, through all of Cedar.
#[test]
fn policies_of_one_conjunct_each() {
    let errors_at = ["context.ok && context.none", "context.none && context.ok", "context.none || context.ok"];
    let more = [
        "context.ok && 1",
        "1 && context.ok",
        "!(context.none || context.ok)",
        "!(1 || context.ok)",
        "!(context.no || context.none)",
        "!(context.ok || context.none)",
        "!!(context.ok && !context.no)",
        "!!1",
        "if context.none then true else false",
        "if context.ok then context.ok else false",
        "!(if context.no then context.none else context.no)",
        "!(context.no && context.none)",
    ];
    let context = Datum::Record([("ok".into(), Datum::Bool(true)), ("no".into(), Datum::Bool(false))].into());
    let (h, a) = (uid("Human::\"h\""), uid("Action::\"view\""));
    let mut seen = [0; 2];
    for condition in errors_at.into_iter().chain(more) {
        let whole = format!("permit(principal, action, resource) when {{ {condition} }};");
        let whole = loaded(&[("p.cedar", &whole)]);
        let satisfied = ask(&whole, None, [&h, &a, &h], &context).allow;
        let each = whole.model.policies[0].conjuncts.iter().all(|conjunct| {
            let alone = format!("permit(principal, action, resource) when {{ {} }};", raise(conjunct));
            ask(&loaded(&[("p.cedar", &alone)]), None, [&h, &a, &h], &context).allow
        });
        assert_eq!(satisfied, each, "{condition}");
        seen[usize::from(satisfied)] += 1;
    }
    assert!(seen[0] > 2 && seen[1] > 2, "{seen:?}");
}

/// Convert our expression to Cedar's.
fn raise(expr: &Expr) -> ast::Expr {
    let new = ExprBuilder::<()>::new;
    let all = |exprs: &[Expr]| exprs.iter().map(raise).collect::<Vec<_>>();
    match expr {
        Expr::Datum(value) => to_cedar(value).unwrap().into(),
        Expr::Error => new().neg(new().val(true)),
        Expr::Opaque(why) => panic!("{why}"),
        Expr::Fails(_) => panic!("no policy has this"),
        Expr::Var(Var::Principal) => new().var(ast::Var::Principal),
        Expr::Var(Var::Action) => new().var(ast::Var::Action),
        Expr::Var(Var::Resource) => new().var(ast::Var::Resource),
        Expr::Var(Var::Context) => new().var(ast::Var::Context),
        Expr::And(a, b) => new().and(raise(a), raise(b)),
        Expr::Or(a, b) => new().or(raise(a), raise(b)),
        Expr::If(a, b, c) => new().ite(raise(a), raise(b), raise(c)),
        Expr::Unary(Unary::Not, a) => new().not(raise(a)),
        Expr::Unary(Unary::Neg, a) => new().neg(raise(a)),
        Expr::Unary(Unary::IsEmpty, a) => new().is_empty(raise(a)),
        Expr::Binary(op, a, b) => {
            let (a, b) = (raise(a), raise(b));
            match op {
                Binary::Eq => new().is_eq(a, b),
                Binary::Less => new().less(a, b),
                Binary::LessEq => new().lesseq(a, b),
                Binary::Add => new().add(a, b),
                Binary::Sub => new().sub(a, b),
                Binary::Mul => new().mul(a, b),
                Binary::In => new().is_in(a, b),
                Binary::Contains => new().contains(a, b),
                Binary::ContainsAll => new().contains_all(a, b),
                Binary::ContainsAny => new().contains_any(a, b),
                Binary::GetTag => new().get_tag(a, b),
                Binary::HasTag => new().has_tag(a, b),
            }
        }
        Expr::Ext(method, args) => {
            let name = match method {
                Ext::IsIpv4 => "isIpv4",
                Ext::DecimalLessThan => "lessThan",
                other => panic!("{other:?} is not in these tests"),
            };
            new().call_extension_fn(name.parse().unwrap(), all(args)).unwrap()
        }
        Expr::GetAttr(e, attr) => new().get_attr(raise(e), attr.as_ref().into()),
        Expr::HasAttr(e, path) => {
            let mut path = path.iter().map(|attr| attr.as_ref().into());
            let head = path.next().unwrap();
            new().extended_has_attr(raise(e), (head, path.collect()).into())
        }
        Expr::Like(e, pattern) => {
            let elems = pattern.iter().map(|elem| match elem {
                PatternElem::Char(c) => ast::PatternElem::Char(*c),
                PatternElem::Wildcard => ast::PatternElem::Wildcard,
            });
            new().like(raise(e), elems.collect())
        }
        Expr::Is(e, ty) => {
            let like = crate::ir::Uid::new(ty.clone(), "");
            new().is_entity_type(raise(e), uid_to_cedar(&like).unwrap().entity_type().clone())
        }
        Expr::Set(elements) => new().set(all(elements)),
        Expr::Record(fields) => {
            new().record(fields.iter().map(|(key, e)| (Arc::<str>::as_ref(key).into(), raise(e)))).unwrap()
        }
    }
}
