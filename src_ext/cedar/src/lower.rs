//! Lowering: Cedar's expressions become ours, and policies are split so that each is satisfied iff each of its
//! conjuncts, evaluated alone, is true.
//!
//! # Why the splitting is exact
//!
//! Cedar's evaluation of an expression is pure and total: it gives a value or an error, whatever else is evaluated
//! before or after. (Cedar's Lean formalization defines it as the function `Cedar.Spec.evaluate` from a request, the
//! entities and an expression to `Result Datum`; a policy is satisfied iff that gives `ok true`.) So all that matters
//! of a policy is whether `eval(e) = true`; `false`, an error and a value that is not a boolean all mean "not
//! satisfied". Write `T(e)` for `eval(e) = true` and `F(e)` for `eval(e) = false`. The language reference defines that
//! `&&` and `||` evaluate their left operand, which must be a boolean, and then, unless that settles the result, the
//! right one, which must be a boolean; and that `!` and the condition of `if` need a boolean. It follows:
//!
//! - `T(a && b)` iff `T(a)` and `T(b)`. If `a` is false, the whole is false; if `a` is an error or not a boolean, the
//!   whole is an error; if `a` is true, the whole is `b`, except that a `b` that is not a boolean is an error, which is
//!   not true either.
//! - `F(a || b)` iff `F(a)` and `F(b)`, by symmetry.
//! - `T(!a)` iff `F(a)`, and `F(!a)` iff `T(a)`: if `a` is an error or not a boolean, `!a` is an error and neither
//!   holds.
//! - `T(if c then t else false)` iff `T(c)` and `T(t)`; the other three forms with a literal branch are similar.
//!
//! So `T` of a policy's condition unfolds into a conjunction of `T(e)` and `F(e)`, and an `F(e)` that does not unfold
//! further is `T(!e)`. Nothing else is unfolded. `T(a || b)` is not a function of `T(a)` and `T(b)`, because an error
//! in `a` is an error of the whole even if `b` is true; the same goes for `F(a && b)` and other forms of `if`.
//!
//! It can still be told which policy *errs*: one whose first conjunct, in source order, that is not true is an error or
//! not a boolean.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy_core::ast::{
    self, ActionConstraint, BinaryOp, EntityReference, ExprKind, Literal, PrincipalOrResourceConstraint, UnaryOp,
};

use crate::ir::{ActionScope, Binary, Datum, Expr, Ext, PatternElem, Scope, Unary, Var};
use crate::values::{self, Names};

/// The most levels of nesting that are lowered (a chain of `&&` or `||` counts as one). Brackets may not nest this
/// deep, but a sum of so many terms does without any. It fits into the stack of
/// [`with_deep_stack`](crate::with_deep_stack).
const MAX_DEPTH: u32 = 10_000;

/// The reason why an expression is left to Cedar.
type Opaque = Arc<str>;

/// Split the conditions of a policy, with its slots filled, into conjuncts in source order.
pub(crate) fn conjuncts(policy: &ast::Policy, names: &mut Names) -> Vec<Expr> {
    let mut lowering = Lowering { slots: policy.env(), names };
    let Some(condition) = policy.non_scope_constraints() else { return Vec::new() };
    let mut found = Vec::new();
    split(condition, |conjunct, wanted| {
        found.push(match lowering.lower(conjunct, 0) {
            Err(why) => Expr::Opaque(why),
            Ok(expr) if wanted => expr,
            Ok(Expr::Error) => Expr::Error,
            Ok(expr) => Expr::Unary(Unary::Not, Arc::new(expr)),
        });
    });
    found
}

/// Call `emit` for expressions and the truth values wanted of them, which together hold iff `condition` is true.
///
/// This is not recursive, because a long policy nests as deep as it has clauses.
pub(crate) fn split<'e>(condition: &'e ast::Expr, mut emit: impl FnMut(&'e ast::Expr, bool)) {
    let mut open = vec![(condition, true)];
    // The stack is last in, first out, so what comes first in the source is pushed last.
    while let Some((expr, wanted)) = open.pop() {
        match (expr.expr_kind(), wanted) {
            // A literal of the wanted value always holds.
            (ExprKind::Lit(Literal::Bool(b)), _) if *b == wanted => {}
            (ExprKind::And { left, right }, true) | (ExprKind::Or { left, right }, false) => {
                open.push((right, wanted));
                open.push((left, wanted));
            }
            (ExprKind::UnaryApp { op: UnaryOp::Not, arg }, _) => open.push((arg, !wanted)),
            (ExprKind::If { test_expr, then_expr, else_expr }, _) if is_literal(else_expr, !wanted) => {
                open.push((then_expr, wanted));
                open.push((test_expr, true));
            }
            (ExprKind::If { test_expr, then_expr, else_expr }, _) if is_literal(then_expr, !wanted) => {
                open.push((else_expr, wanted));
                open.push((test_expr, false));
            }
            _ => emit(expr, wanted),
        }
    }
}

fn is_literal(expr: &ast::Expr, wanted: bool) -> bool {
    matches!(expr.expr_kind(), ExprKind::Lit(Literal::Bool(b)) if *b == wanted)
}

/// Convert a constraint of the scope on the principal or the resource; `None` if it has an unfilled slot.
pub(crate) fn scope(constraint: &PrincipalOrResourceConstraint, names: &mut Names) -> Option<Scope> {
    let uid = |reference: &EntityReference, names: &mut Names| match reference {
        EntityReference::EUID(uid) => Some(names.uid(uid)),
        EntityReference::Slot(_) => None,
    };
    Some(match constraint {
        PrincipalOrResourceConstraint::Any => Scope::Any,
        PrincipalOrResourceConstraint::Eq(reference) => Scope::Eq(uid(reference, names)?),
        PrincipalOrResourceConstraint::In(reference) => Scope::In(uid(reference, names)?),
        PrincipalOrResourceConstraint::Is(ty) => Scope::Is(names.ty(ty)),
        PrincipalOrResourceConstraint::IsIn(ty, reference) => Scope::IsIn(names.ty(ty), uid(reference, names)?),
    })
}

/// Convert the constraint of the scope on the action.
pub(crate) fn action_scope(constraint: &ActionConstraint, names: &mut Names) -> ActionScope {
    match constraint {
        ActionConstraint::Any => ActionScope::Any,
        ActionConstraint::Eq(uid) => ActionScope::Eq(names.uid(uid)),
        ActionConstraint::In(uids) => ActionScope::In(uids.iter().map(|uid| names.uid(uid)).collect()),
    }
}

pub(crate) struct Lowering<'a> {
    pub slots: &'a ast::SlotEnv,
    pub names: &'a mut Names,
}

impl Lowering<'_> {
    pub fn lower(&mut self, expr: &ast::Expr, depth: u32) -> Result<Expr, Opaque> {
        if depth > MAX_DEPTH {
            return Err(Arc::from(format!("nested deeper than {MAX_DEPTH}")));
        }
        let depth = depth + 1;
        Ok(match expr.expr_kind() {
            ExprKind::Lit(literal) => Expr::Datum(values::of_literal(literal, self.names)),
            ExprKind::Var(var) => Expr::Var(match var {
                ast::Var::Principal => Var::Principal,
                ast::Var::Action => Var::Action,
                ast::Var::Resource => Var::Resource,
                ast::Var::Context => Var::Context,
            }),
            ExprKind::Slot(slot) => match self.slots.get(slot) {
                Some(uid) => Expr::Datum(Datum::Entity(self.names.uid(uid))),
                // Cedar's evaluator reports an error for a slot without a value.
                None => Expr::Error,
            },
            ExprKind::Unknown(unknown) => {
                return Err(Arc::from(format!("the unknown `{}` of partial evaluation", unknown.name)));
            }
            ExprKind::And { .. } => self.chain(expr, depth, and_operands, Expr::And)?,
            ExprKind::Or { .. } => self.chain(expr, depth, or_operands, Expr::Or)?,
            ExprKind::If { test_expr, then_expr, else_expr } => {
                let test = self.lower(test_expr, depth)?;
                let (then, otherwise) = (self.lower(then_expr, depth)?, self.lower(else_expr, depth)?);
                match test {
                    Expr::Error => Expr::Error,
                    _ => Expr::If(Arc::new(test), Arc::new(then), Arc::new(otherwise)),
                }
            }
            ExprKind::UnaryApp { op, arg } => {
                let op = match op {
                    UnaryOp::Not => Unary::Not,
                    UnaryOp::Neg => Unary::Neg,
                    UnaryOp::IsEmpty => Unary::IsEmpty,
                };
                self.on(arg, depth, |arg| Expr::Unary(op, arg))?
            }
            ExprKind::BinaryApp { op, arg1, arg2 } => match (self.lower(arg1, depth)?, self.lower(arg2, depth)?) {
                (Expr::Error, _) | (_, Expr::Error) => Expr::Error,
                (a, b) => Expr::Binary(binary(*op), Arc::new(a), Arc::new(b)),
            },
            ExprKind::ExtensionFunctionApp { fn_name, args } => self.function(&fn_name.to_string(), args, depth)?,
            ExprKind::GetAttr { expr, attr } => {
                let attr = self.names.get(attr);
                self.on(expr, depth, |e| Expr::GetAttr(e, attr))?
            }
            ExprKind::HasAttr { expr, attr } => {
                let path = vec![self.names.get(attr)];
                self.on(expr, depth, |e| Expr::HasAttr(e, path))?
            }
            ExprKind::ExtHasAttr { expr, attrs } => {
                let path = attrs.iter().map(|attr| self.names.get(attr)).collect();
                self.on(expr, depth, |e| Expr::HasAttr(e, path))?
            }
            ExprKind::Like { expr, pattern } => {
                let pattern = pattern
                    .iter()
                    .map(|elem| match elem {
                        ast::PatternElem::Char(c) => PatternElem::Char(*c),
                        ast::PatternElem::Wildcard => PatternElem::Wildcard,
                    })
                    .collect();
                self.on(expr, depth, |e| Expr::Like(e, pattern))?
            }
            ExprKind::Is { expr, entity_type } => {
                let ty = self.names.ty(entity_type);
                self.on(expr, depth, |e| Expr::Is(e, ty))?
            }
            ExprKind::Set(elements) => set(self.all(elements.iter(), depth)?),
            ExprKind::Record(fields) => {
                let elements = self.all(fields.values(), depth)?;
                let keys = fields.keys().map(|key| self.names.get(key));
                record(keys.zip(elements).collect())
            }
        })
    }

    /// Lower an operand and wrap it. An operation on an error is an error.
    fn on(&mut self, arg: &ast::Expr, depth: u32, wrap: impl FnOnce(Arc<Expr>) -> Expr) -> Result<Expr, Opaque> {
        Ok(match self.lower(arg, depth)? {
            Expr::Error => Expr::Error,
            arg => wrap(Arc::new(arg)),
        })
    }

    fn all<'e>(&mut self, exprs: impl Iterator<Item = &'e ast::Expr>, depth: u32) -> Result<Vec<Expr>, Opaque> {
        exprs.map(|expr| self.lower(expr, depth)).collect()
    }

    /// Lower a chain of `&&` or of `||` as one level. Both are associative in all outcomes (an operand is reached iff
    /// all operands before it leave the result open, however they are grouped). So the chain becomes a balanced tree,
    /// and a list of a thousand alternatives is ten levels deep.
    fn chain(
        &mut self,
        expr: &ast::Expr,
        depth: u32,
        operands: for<'e> fn(&'e ast::Expr) -> Option<(&'e ast::Expr, &'e ast::Expr)>,
        join: fn(Arc<Expr>, Arc<Expr>) -> Expr,
    ) -> Result<Expr, Opaque> {
        let (mut open, mut found) = (vec![expr], Vec::new());
        while let Some(expr) = open.pop() {
            match operands(expr) {
                Some((left, right)) => open.extend([right, left]),
                None => found.push(self.lower(expr, depth)?),
            }
        }
        // The first operand is always evaluated.
        if matches!(found.first(), Some(Expr::Error)) {
            return Ok(Expr::Error);
        }
        Ok(balanced(found, join))
    }

    fn function(&mut self, name: &str, args: &[ast::Expr], depth: u32) -> Result<Expr, Opaque> {
        let args = self.all(args.iter(), depth)?;
        // All arguments are evaluated before the call.
        if args.contains(&Expr::Error) {
            return Ok(Expr::Error);
        }
        let constants: Option<Vec<&Datum>> = args
            .iter()
            .map(|arg| match arg {
                Expr::Datum(value) => Some(value),
                _ => None,
            })
            .collect();
        if let Some(constants) = constants {
            // These values came from Cedar, so Cedar can represent them, and an error is the function's own.
            let result = constants.into_iter().map(values::to_cedar).collect::<Result<Vec<_>, _>>();
            let result = result.and_then(|args| values::call(name, &args));
            return Ok(match result.and_then(|value| values::of_cedar(&value, self.names)) {
                Ok(value) => Expr::Datum(value),
                Err(_) => Expr::Error,
            });
        }
        if values::is_constructor(name) {
            return match args.len() {
                1 => Err(Arc::from(format!("{name}() of a value known only at decision time"))),
                _ => Ok(Expr::Error),
            };
        }
        Ok(match method(name) {
            Some((method, arity)) if arity == args.len() => Expr::Ext(method, args),
            // A wrong number of arguments or an unknown function is an error of the evaluation in Cedar too.
            _ => Expr::Error,
        })
    }
}

fn and_operands(expr: &ast::Expr) -> Option<(&ast::Expr, &ast::Expr)> {
    match expr.expr_kind() {
        ExprKind::And { left, right } => Some((left, right)),
        _ => None,
    }
}

fn or_operands(expr: &ast::Expr) -> Option<(&ast::Expr, &ast::Expr)> {
    match expr.expr_kind() {
        ExprKind::Or { left, right } => Some((left, right)),
        _ => None,
    }
}

/// Join operands, of which there is at least one, in their order.
fn balanced(mut operands: Vec<Expr>, join: fn(Arc<Expr>, Arc<Expr>) -> Expr) -> Expr {
    while operands.len() > 1 {
        let mut next = Vec::with_capacity(operands.len().div_ceil(2));
        let mut pairs = operands.into_iter();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => join(Arc::new(left), Arc::new(right)),
                None => left,
            });
        }
        operands = next;
    }
    operands.pop().unwrap_or(Expr::Error)
}

fn set(elements: Vec<Expr>) -> Expr {
    if elements.contains(&Expr::Error) {
        return Expr::Error;
    }
    let constants = elements.iter().map(constant).collect::<Option<_>>();
    constants.map_or(Expr::Set(elements), |elements| Expr::Datum(Datum::Set(elements)))
}

fn record(fields: BTreeMap<Arc<str>, Expr>) -> Expr {
    if fields.values().any(|field| *field == Expr::Error) {
        return Expr::Error;
    }
    let constants = fields.iter().map(|(key, field)| Some((key.clone(), constant(field)?))).collect::<Option<_>>();
    constants.map_or(Expr::Record(fields), |fields| Expr::Datum(Datum::Record(fields)))
}

fn constant(expr: &Expr) -> Option<Datum> {
    match expr {
        Expr::Datum(value) => Some(value.clone()),
        _ => None,
    }
}

fn binary(op: BinaryOp) -> Binary {
    match op {
        BinaryOp::Eq => Binary::Eq,
        BinaryOp::Less => Binary::Less,
        BinaryOp::LessEq => Binary::LessEq,
        BinaryOp::Add => Binary::Add,
        BinaryOp::Sub => Binary::Sub,
        BinaryOp::Mul => Binary::Mul,
        BinaryOp::In => Binary::In,
        BinaryOp::Contains => Binary::Contains,
        BinaryOp::ContainsAll => Binary::ContainsAll,
        BinaryOp::ContainsAny => Binary::ContainsAny,
        BinaryOp::GetTag => Binary::GetTag,
        BinaryOp::HasTag => Binary::HasTag,
    }
}

/// Return the method of this name and the number of its operands.
fn method(name: &str) -> Option<(Ext, usize)> {
    Some(match name {
        "lessThan" => (Ext::DecimalLessThan, 2),
        "lessThanOrEqual" => (Ext::DecimalLessThanOrEqual, 2),
        "greaterThan" => (Ext::DecimalGreaterThan, 2),
        "greaterThanOrEqual" => (Ext::DecimalGreaterThanOrEqual, 2),
        "isIpv4" => (Ext::IsIpv4, 1),
        "isIpv6" => (Ext::IsIpv6, 1),
        "isLoopback" => (Ext::IsLoopback, 1),
        "isMulticast" => (Ext::IsMulticast, 1),
        // This is variadic only with a feature of Cedar that is off by default, and off here.
        "isInRange" => (Ext::IsInRange, 2),
        "offset" => (Ext::Offset, 2),
        "durationSince" => (Ext::DurationSince, 2),
        "toDate" => (Ext::ToDate, 1),
        "toTime" => (Ext::ToTime, 1),
        "toMilliseconds" => (Ext::ToMilliseconds, 1),
        "toSeconds" => (Ext::ToSeconds, 1),
        "toMinutes" => (Ext::ToMinutes, 1),
        "toHours" => (Ext::ToHours, 1),
        "toDays" => (Ext::ToDays, 1),
        _ => return None,
    })
}
