//! Errors: finds the ways in which a condition can err, each as conditions that hold iff it errs in this way.
//!
//! Cedar evaluates from left to right and stops where the result is known, so `a && b` errs iff `a` errs, or `a` is
//! true and `b` errs. Operators that evaluate all their operands err iff one of them does, or, if none does, the
//! operation itself. Taken apart like this, most errors are conditions on one side alone: what compares `context.qty`
//! with `principal.limit` errs iff the latter does, which is resolved for each class of principals. No two ways hold
//! at once, and what is left out cannot err: where that is not sure, [`Expr::Fails`] asks for it.

use crate::layout::kind_of_slot;
use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_cedar::ir::{Attribute, Binary, Datum, Expr, Ext, Type, Unary, Var};
use ztfast_vm::Tag;

/// A way in which an expression errs.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// Conditions that hold together iff the expression errs in this way. The last is about the culprit, if that does
    /// not always err.
    pub conditions: Vec<Expr>,
    /// The part whose evaluation errs.
    pub culprit: Expr,
}

impl Way {
    fn of(culprit: &Expr, condition: Expr) -> Self {
        Self { conditions: vec![condition], culprit: culprit.clone() }
    }

    /// Return the only way that is told: that the expression errs somehow.
    fn whole(expr: &Expr) -> Vec<Self> {
        vec![Self::of(expr, fails(expr.clone()))]
    }

    fn after(self, conditions: impl Iterator<Item = Expr>) -> Self {
        Self { conditions: conditions.chain(self.conditions).collect(), ..self }
    }
}

/// The most ways that are told apart in one expression.
const MAX_WAYS: usize = 8;
/// The most expressions that are remembered as known not to err.
const MAX_KNOWN: usize = 64;

/// Finds the ways in which conditions of one action err.
pub(crate) struct Errors<'a> {
    context: &'a BTreeMap<Arc<str>, Attribute>,
    /// Whether the policies passed strict validation. Then no operand is of a wrong type.
    validated: bool,
    /// Expressions that do not err if the evaluation comes this far.
    known: Vec<Expr>,
}

impl<'a> Errors<'a> {
    pub const fn new(context: &'a BTreeMap<Arc<str>, Attribute>, validated: bool) -> Self {
        Self { context, validated, known: Vec::new() }
    }

    /// Return the ways in which a condition errs, of which one is that it is not a boolean.
    pub fn of_condition(&mut self, expr: &Expr) -> Vec<Way> {
        if self.is(expr, Tag::Bool) {
            return self.of(expr);
        }
        vec![Way::of(expr, fails(all(std::iter::once(expr.clone()))))]
    }

    /// Remember that an expression was evaluated without an error, and its value, if it is a condition of which that is
    /// known.
    pub fn learn(&mut self, expr: &Expr, value: Option<bool>) {
        match expr {
            Expr::Datum(_) | Expr::Error | Expr::Var(_) | Expr::Opaque(_) | Expr::Fails(_) => {}
            Expr::And(a, b) | Expr::Or(a, b) => {
                // Only this value tells that both operands were evaluated.
                let both = matches!(expr, Expr::And(..));
                self.learn(a, Some(both).filter(|_| value == Some(both)));
                if value == Some(both) {
                    self.learn(b, value);
                }
            }
            Expr::If(test, ..) => self.learn(test, None),
            Expr::Unary(Unary::Not, a) => self.learn(a, value.map(|value| !value)),
            _ => {
                expr.children(&mut |child| self.learn(child, None));
                match expr {
                    Expr::HasAttr(subject, path) if value == Some(true) => {
                        let mut subject = subject.clone();
                        for name in path {
                            subject = Arc::new(Expr::GetAttr(subject, name.clone()));
                            self.remember((*subject).clone());
                        }
                    }
                    Expr::Binary(Binary::HasTag, subject, key) if value == Some(true) => {
                        self.remember(Expr::Binary(Binary::GetTag, subject.clone(), key.clone()));
                    }
                    Expr::GetAttr(..)
                    | Expr::Ext(..)
                    | Expr::Unary(Unary::Neg, _)
                    | Expr::Binary(Binary::GetTag | Binary::Add | Binary::Sub | Binary::Mul, ..) => {
                        self.remember(expr.clone());
                    }
                    _ => {}
                }
            }
        }
    }

    fn remember(&mut self, expr: Expr) {
        if self.known.len() < MAX_KNOWN && !self.known.contains(&expr) {
            self.known.push(expr);
        }
    }

    /// Return the ways in which an expression errs.
    fn of(&mut self, expr: &Expr) -> Vec<Way> {
        if self.known.contains(expr) {
            return Vec::new();
        }
        let found = match expr {
            Expr::Datum(_) | Expr::Var(_) | Expr::Fails(_) => return Vec::new(),
            Expr::Error => return vec![Way { conditions: Vec::new(), culprit: Expr::Error }],
            Expr::And(a, b) | Expr::Or(a, b) => {
                let goes_on = matches!(expr, Expr::And(..));
                let mut ways = self.of_condition(a);
                ways.extend(self.after(a, goes_on, |errors| errors.of_condition(b)));
                ways
            }
            Expr::If(test, then, otherwise) => {
                let mut ways = self.of_condition(test);
                ways.extend(self.after(test, true, |errors| errors.of(then)));
                ways.extend(self.after(test, false, |errors| errors.of(otherwise)));
                ways
            }
            _ if !self.is_typed(expr) => return Way::whole(expr),
            _ => {
                let mut ways = self.of_operands(expr);
                match self.of_operation(expr) {
                    Some(own) => ways.extend(own),
                    None => return Way::whole(expr),
                }
                ways
            }
        };
        if found.len() > MAX_WAYS { Way::whole(expr) } else { found }
    }

    /// Return the ways of what is evaluated after a condition, if that has this value.
    fn after(&mut self, test: &Expr, value: bool, ways: impl FnOnce(&mut Self) -> Vec<Way>) -> Vec<Way> {
        let before = self.known.len();
        self.learn(test, Some(value));
        let ways = ways(self);
        self.known.truncate(before);
        let test = if value { test.clone() } else { not(test.clone()) };
        ways.into_iter().map(|way| way.after(std::iter::once(test.clone()))).collect()
    }

    /// Return the ways in which the operands err, which are all evaluated, one after the other.
    fn of_operands(&mut self, expr: &Expr) -> Vec<Way> {
        let (mut found, mut evaluated): (Vec<Way>, Vec<Expr>) = (Vec::new(), Vec::new());
        let before = self.known.len();
        expr.children(&mut |child| {
            let ways = self.of(child);
            if !ways.is_empty() {
                found.extend(ways.into_iter().map(|way| way.after(evaluated.iter().cloned())));
                evaluated.push(not(fails(child.clone())));
            }
            self.learn(child, None);
        });
        self.known.truncate(before);
        found
    }

    /// Return the ways in which an operation errs whose operands do not; `None` if they cannot be told from errors of
    /// the operands.
    fn of_operation(&self, expr: &Expr) -> Option<Vec<Way>> {
        const LEAST: i128 = i64::MIN as i128;
        const MOST: i128 = i64::MAX as i128;
        const DAY: i128 = 86_400_000;
        let never = Some(Vec::new());
        match expr {
            Expr::GetAttr(record, name) => {
                let required = self.fields(record)?.get(name)?.required;
                never.filter(|_| required)
            }
            Expr::Binary(Binary::GetTag, ..) => None,
            Expr::Unary(Unary::Neg, a) => Some(outside(expr, a, LEAST + 1, MOST, Datum::Long)),
            Expr::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul), a, b) => match (op, &**a, &**b) {
                (_, Expr::Datum(Datum::Long(_)), Expr::Datum(Datum::Long(_))) => None,
                (Binary::Add, Expr::Datum(Datum::Long(c)), x) | (Binary::Add, x, Expr::Datum(Datum::Long(c))) => {
                    Some(outside(expr, x, LEAST - i128::from(*c), MOST - i128::from(*c), Datum::Long))
                }
                (Binary::Sub, x, Expr::Datum(Datum::Long(c))) => {
                    Some(outside(expr, x, LEAST + i128::from(*c), MOST + i128::from(*c), Datum::Long))
                }
                (Binary::Sub, Expr::Datum(Datum::Long(c)), x) => {
                    Some(outside(expr, x, i128::from(*c) - MOST, i128::from(*c) - LEAST, Datum::Long))
                }
                (_, Expr::Datum(Datum::Long(0)), _) | (_, _, Expr::Datum(Datum::Long(0))) => never,
                (Binary::Mul, Expr::Datum(Datum::Long(c)), x) | (Binary::Mul, x, Expr::Datum(Datum::Long(c))) => {
                    // Division rounds to zero, so the quotients are the last numbers within.
                    let (a, b) = (LEAST / i128::from(*c), MOST / i128::from(*c));
                    Some(outside(expr, x, a.min(b), a.max(b), Datum::Long))
                }
                _ => None,
            },
            Expr::Ext(method, operands) => match (method, operands.as_slice()) {
                (Ext::Offset, [x, Expr::Datum(Datum::Duration(c))]) => {
                    Some(outside(expr, x, LEAST - i128::from(*c), MOST - i128::from(*c), Datum::Datetime))
                }
                (Ext::DurationSince, [x, Expr::Datum(Datum::Datetime(c))]) => {
                    Some(outside(expr, x, LEAST + i128::from(*c), MOST + i128::from(*c), Datum::Datetime))
                }
                (Ext::ToDate, [x]) => Some(outside(expr, x, LEAST / DAY * DAY, MOST, Datum::Datetime)),
                (Ext::Offset | Ext::DurationSince | Ext::ToDate, _) => None,
                _ => never,
            },
            _ => never,
        }
    }

    /// Return whether the operands are of types that the operation takes.
    fn is_typed(&self, expr: &Expr) -> bool {
        if self.validated {
            return true;
        }
        match expr {
            Expr::GetAttr(a, _) | Expr::HasAttr(a, _) => {
                let steps = if let Expr::HasAttr(_, path) = expr { path.len() } else { 1 };
                steps == 1 && matches!(self.kind(a), Some(Tag::Entity | Tag::Record))
            }
            Expr::Unary(Unary::Not, a) => self.is(a, Tag::Bool),
            Expr::Unary(Unary::Neg, a) => self.is(a, Tag::Long),
            Expr::Unary(Unary::IsEmpty, a) => self.is(a, Tag::Set),
            Expr::Like(a, _) => self.is(a, Tag::String),
            Expr::Is(a, _) => self.is(a, Tag::Entity),
            Expr::Binary(op, a, b) => match op {
                Binary::Eq => true,
                Binary::Less | Binary::LessEq => {
                    [Tag::Long, Tag::Datetime, Tag::Duration].iter().any(|&tag| self.is(a, tag) && self.is(b, tag))
                }
                Binary::Add | Binary::Sub | Binary::Mul => self.is(a, Tag::Long) && self.is(b, Tag::Long),
                Binary::In => {
                    let entities = |value: &Expr| match value {
                        Expr::Datum(Datum::Set(all)) => all.iter().all(|one| matches!(one, Datum::Entity(_))),
                        _ => false,
                    };
                    self.is(a, Tag::Entity) && (self.is(b, Tag::Entity) || entities(b))
                }
                Binary::Contains => self.is(a, Tag::Set),
                Binary::ContainsAll | Binary::ContainsAny => self.is(a, Tag::Set) && self.is(b, Tag::Set),
                Binary::GetTag | Binary::HasTag => self.is(a, Tag::Entity) && self.is(b, Tag::String),
            },
            Expr::Ext(method, operands) => {
                let wanted: &[Tag] = match method {
                    Ext::DecimalLessThan
                    | Ext::DecimalLessThanOrEqual
                    | Ext::DecimalGreaterThan
                    | Ext::DecimalGreaterThanOrEqual => &[Tag::Decimal; 2],
                    Ext::IsIpv4 | Ext::IsIpv6 | Ext::IsLoopback | Ext::IsMulticast => &[IP],
                    Ext::IsInRange => &[IP; 2],
                    Ext::Offset => &[Tag::Datetime, Tag::Duration],
                    Ext::DurationSince => &[Tag::Datetime; 2],
                    Ext::ToDate | Ext::ToTime => &[Tag::Datetime],
                    Ext::ToMilliseconds | Ext::ToSeconds | Ext::ToMinutes | Ext::ToHours | Ext::ToDays => {
                        &[Tag::Duration]
                    }
                };
                operands.len() == wanted.len() && operands.iter().zip(wanted).all(|(of, &tag)| self.is(of, tag))
            }
            _ => true,
        }
    }

    /// Return whether all values of an expression are of one kind. Those of another kind would be refused by strict
    /// validation.
    fn is(&self, expr: &Expr, kind: Tag) -> bool {
        self.validated || self.kind(expr) == Some(kind)
    }

    /// Return the kind of all values of an expression, if it is known.
    fn kind(&self, expr: &Expr) -> Option<Tag> {
        Some(match expr {
            Expr::Datum(value) => match value {
                Datum::Bool(_) => Tag::Bool,
                Datum::Long(_) => Tag::Long,
                Datum::String(_) => Tag::String,
                Datum::Entity(_) => Tag::Entity,
                Datum::Decimal(_) => Tag::Decimal,
                Datum::Datetime(_) => Tag::Datetime,
                Datum::Duration(_) => Tag::Duration,
                Datum::Ip(_) => IP,
                Datum::Set(_) => Tag::Set,
                Datum::Record(_) => Tag::Record,
            },
            Expr::Var(Var::Context) | Expr::Record(_) => Tag::Record,
            Expr::Var(_) => Tag::Entity,
            Expr::Error | Expr::Opaque(_) => return None,
            Expr::And(..) | Expr::Or(..) | Expr::Fails(_) | Expr::HasAttr(..) | Expr::Like(..) | Expr::Is(..) => {
                Tag::Bool
            }
            Expr::If(_, a, b) => self.kind(a).filter(|kind| self.kind(b) == Some(*kind))?,
            Expr::Unary(Unary::Neg, _) => Tag::Long,
            Expr::Unary(Unary::Not | Unary::IsEmpty, _) => Tag::Bool,
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..) => Tag::Long,
            Expr::Binary(Binary::GetTag, ..) => return None,
            Expr::Binary(..) => Tag::Bool,
            Expr::Ext(method, _) => match method {
                Ext::Offset | Ext::ToDate => Tag::Datetime,
                Ext::DurationSince | Ext::ToTime => Tag::Duration,
                Ext::ToMilliseconds | Ext::ToSeconds | Ext::ToMinutes | Ext::ToHours | Ext::ToDays => Tag::Long,
                _ => Tag::Bool,
            },
            Expr::Set(_) => Tag::Set,
            Expr::GetAttr(record, name) => match &self.fields(record)?.get(name)?.ty {
                Type::Ip => IP,
                Type::Record(_) => Tag::Record,
                ty => kind_of_slot(ty),
            },
        })
    }

    /// Return the attributes of the context, or of a record in it.
    fn fields(&self, expr: &Expr) -> Option<&'a BTreeMap<Arc<str>, Attribute>> {
        match expr {
            Expr::Var(Var::Context) => Some(self.context),
            Expr::GetAttr(record, name) => match &self.fields(record)?.get(name)?.ty {
                Type::Record(fields) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Stands for addresses of both families.
const IP: Tag = Tag::Ip4;

/// Return an expression that is true if these conditions are, and an error if the first that is not true is one, or not
/// a boolean.
pub(crate) fn all(conditions: impl DoubleEndedIterator<Item = Expr>) -> Expr {
    let yes = Expr::Datum(Datum::Bool(true));
    conditions.rev().fold(yes, |rest, expr| Expr::And(Arc::new(expr), Arc::new(rest)))
}

pub(crate) fn fails(expr: Expr) -> Expr {
    Expr::Fails(Arc::new(expr))
}

fn not(expr: Expr) -> Expr {
    Expr::Unary(Unary::Not, Arc::new(expr))
}

/// Return the ways in which the operand of an operation lies outside of the bounds within which that does not err:
/// below, and above.
fn outside(operation: &Expr, operand: &Expr, low: i128, high: i128, number: fn(i64) -> Datum) -> Vec<Way> {
    let bound = |bound| i64::try_from(bound).ok().map(|bound| Arc::new(Expr::Datum(number(bound))));
    let own = || Arc::new(operand.clone());
    let below = bound(low).filter(|_| low > i128::from(i64::MIN)).map(|low| Expr::Binary(Binary::Less, own(), low));
    let above = bound(high).filter(|_| high < i128::from(i64::MAX)).map(|high| Expr::Binary(Binary::Less, high, own()));
    below.into_iter().chain(above).map(|way| Way::of(operation, way)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Reads, reads};
    use ztfast_cedar::{Mode, SourceFile, Sources};

    const SCHEMA: &str = "
        entity Desk { limit: Long };
        entity User { desk: Desk, limit: Long, note?: String };
        entity Book { size: Long } tags Long;
        action go appliesTo { principal: User, resource: Book, context: {
            qty: Long, price: Long, at: datetime, of?: Desk, inner: { a: Long, b?: Long }
        } };
    ";

    /// Return what the last condition of each way reads: of the principal, the resource and the context.
    fn ways(condition: &str, validated: bool) -> Vec<String> {
        let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
        let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
        let (files, schema) = (vec![file("p.cedar", &text)], file("s.cedarschema", SCHEMA));
        let mode = if validated { Mode::Strict } else { Mode::Permissive };
        let loaded = ztfast_cedar::load(&Sources { files, schema, entities: None }, mode, &|_, _| {});
        let model = loaded.unwrap_or_else(|error| panic!("{error}")).model;
        let mut errors = Errors::new(&model.actions[0].context, validated);
        let mut found = Vec::new();
        for conjunct in &model.policies[0].conjuncts {
            found.extend(errors.of_condition(conjunct));
            errors.learn(conjunct, Some(true));
        }
        let told = |way: Way| {
            let Reads { principal, resource, context, .. } = way.conditions.last().map(reads).unwrap_or_default();
            [(principal, 'p'), (resource, 'r'), (context, 'c')].iter().filter(|(is, _)| *is).map(|(_, of)| of).collect()
        };
        found.into_iter().map(told).collect()
    }

    #[test]
    fn what_cannot_err_has_no_ways() {
        for condition in [
            "context.qty > 5 && context.inner.a < context.price",
            "principal has note && principal.note == \"x\"",
            "context has of && principal == User::\"u\"",
            "context has inner.b && context.inner.b > 3",
            "if context has inner.b then context.inner.b > 3 else false",
            "resource.hasTag(\"k\") && resource.getTag(\"k\") > 3",
            "context.at < datetime(\"2026-01-01\") && context.at.toTime() < duration(\"9h\")",
            "[1, 2].containsAll([context.qty]) && resource in [Book::\"a\", Book::\"b\"]",
            "context.qty * 0 == 0 && context.qty * 1 == 3 && context.qty + 0 == 3",
        ] {
            assert_eq!(ways(condition, true), [""; 0], "{condition}");
        }
        for condition in ["context.qty > 5 && context.inner.a < context.price", "context.qty == \"x\"", "true"] {
            assert_eq!(ways(condition, false), [""; 0], "{condition}");
        }
    }

    #[test]
    fn errors_are_found_where_they_are_read() {
        for (condition, expected) in [
            ("context.qty > principal.limit", &["p"][..]),
            ("resource.size > principal.limit", &["r", "p"]),
            ("principal.limit > 1 && principal.limit < 9", &["p"]),
            ("principal.limit > 1 || principal.desk.limit < 9", &["p", "p"]),
            ("context.qty + 1 > 5", &["c"]),
            ("context.qty * -3 > 5", &["c", "c"]),
            ("context.qty * context.price > 5", &["c"]),
            ("-context.qty > 5 && -context.qty < 9", &["c"]),
            ("context.at.offset(duration(\"1h\")) > context.at", &["c"]),
            ("context.at.toDate() > context.at", &["c"]),
            ("context has of && context.of.limit > 5", &["c"]),
            ("context has inner.b || context.qty + 1 > 5", &["c"]),
            ("User::\"a\".limit > 5", &[""]),
        ] {
            assert_eq!(ways(condition, true), expected, "{condition}");
        }
        for (condition, expected) in [
            ("principal.limit > 1", &["p"][..]),
            ("context.qty", &["c"]),
            ("context.inner.b > 3", &["c"]),
            ("context.qty < \"x\" && context.qty > 3", &["c"]),
            ("principal.note", &["p"]),
            ("ip(\"x\").isIpv4()", &[""]),
        ] {
            assert_eq!(ways(condition, false), expected, "{condition}");
        }
    }

    #[test]
    fn a_condition_has_a_bounded_number_of_ways() {
        let many: Vec<String> = (2..99).map(|n| format!("context.qty * {n} > context.price")).collect();
        let found = ways(&many.join(" || "), true);
        assert!((1..=MAX_WAYS).contains(&found.len()), "{found:?}");
    }
}
