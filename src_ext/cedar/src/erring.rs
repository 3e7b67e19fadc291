//! Warnings about conditions that err: the compiler finds the errors, and this finds the places in the text.

use cedar_policy::{Effect, Policy, PolicyId};
use cedar_policy_core::ast::{Expr as CedarExpr, ExprKind};

use crate::authorizer::Authorizer;
use crate::diagnostic::{self, Diagnostic, Label, Lines, Severity, shown};
use crate::ir::{Binary, Expr, Ext, Uid, Unary, Var};
use crate::lower::Lowering;
use crate::sources::{SourceFile, Sources};
use crate::values::Names;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// An error of a policy's conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erring {
    /// The policy's id.
    pub policy: Arc<str>,
    /// The part of its conditions whose evaluation errs.
    pub culprit: Expr,
    /// The entities for which it errs; `None` if it always does.
    pub entities: Option<ErringEntities>,
    /// Whether conditions before depend on more than these entities, so that not all requests come this far.
    pub conditional: bool,
}

/// The entities on one side for which a condition errs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErringEntities {
    /// The principal or the resource.
    pub var: Var,
    /// The first of them.
    pub first: Uid,
    /// How many others there are.
    pub others: u64,
}

impl Authorizer {
    /// Make a warning of each error. `denies` says whether a forbid that errs denies.
    #[must_use]
    pub fn warn_of_errors(&self, sources: &Sources, found: &[Erring], denies: bool) -> Vec<Diagnostic> {
        let mut files: HashMap<&str, (&SourceFile, Lines)> = HashMap::new();
        let warned = found.iter().filter_map(|erring| {
            let (name, ..) = self.policy_source(&erring.policy)?;
            let (file, lines) = match files.entry(name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let file = sources.files.iter().find(|file| file.name == name)?;
                    new.insert((file, Lines::of(&file.text)))
                }
            };
            self.warning((file, lines), erring, denies)
        });
        warned.collect()
    }

    fn warning(&self, (file, lines): (&SourceFile, &Lines), erring: &Erring, denies: bool) -> Option<Diagnostic> {
        let policy = self.policies().policy(&PolicyId::new(&erring.policy))?;
        let label = place(policy, &erring.culprit).map(|label| label.saying(what(&erring.culprit)));
        let when = match &erring.entities {
            None => "always errs".to_owned(),
            Some(ErringEntities { var, first, others }) => {
                let side = if *var == Var::Resource { "resource" } else { "principal" };
                let more = if *others == 0 { String::new() } else { format!(" and {others} more") };
                format!("errs for the {side} {first}{more}")
            }
        };
        let condition = if erring.conditional { ", if the conditions before are true" } else { "" };
        let effect = match policy.effect() {
            Effect::Permit => "a permit that errs is skipped: it does not apply",
            Effect::Forbid if denies => "with strict errors, a forbid that errs denies",
            Effect::Forbid => {
                "a forbid that errs is skipped: it does not deny. With strict errors (strict_errors=True, \
                 --strict-errors) it does"
            }
        };
        let message = match &label {
            Some(_) => format!("policy `{}` {when}{condition}", shown(&erring.policy)),
            None => format!("policy `{}` {when}{condition}: {}", shown(&erring.policy), what(&erring.culprit)),
        };
        let labels = label.into_iter().collect();
        Some(diagnostic::build_in(Severity::Warning, (file, lines), message, Some(effect.to_owned()), labels))
    }
}

/// Find the smallest part of a policy's text that is lowered to an expression; or the policy's.
fn place(policy: &Policy, culprit: &Expr) -> Option<Label> {
    let policy = policy.as_ref();
    let mut names = Names::default();
    let mut lowering = Lowering { slots: policy.env(), names: &mut names };
    let parts = policy.non_scope_constraints().into_iter().flat_map(CedarExpr::subexpressions);
    let parts = parts.filter(|part| can_be(part, culprit));
    let found = parts.filter(|part| lowering.lower(part, 0).is_ok_and(|lowered| lowered == *culprit));
    let label = |loc: &cedar_policy_core::parser::Loc| Label::new(loc.start(), loc.end() - loc.start());
    let smallest = found.filter_map(CedarExpr::source_loc).map(label).min_by_key(|label| label.len);
    smallest.or_else(|| policy.template().loc().map(label))
}

/// Return whether lowering a part could give an expression. This is quick, where lowering takes a walk.
fn can_be(part: &CedarExpr, culprit: &Expr) -> bool {
    match part.expr_kind() {
        ExprKind::And { .. } => matches!(culprit, Expr::And(..)),
        ExprKind::Or { .. } => matches!(culprit, Expr::Or(..)),
        ExprKind::If { .. } => matches!(culprit, Expr::If(..)),
        ExprKind::Set(_) | ExprKind::Record(_) => matches!(culprit, Expr::Set(_) | Expr::Record(_) | Expr::Datum(_)),
        _ => !matches!(culprit, Expr::And(..) | Expr::Or(..) | Expr::If(..)),
    }
}

/// Say what errs.
fn what(culprit: &Expr) -> String {
    match culprit {
        Expr::Error => "this call always fails".to_owned(),
        Expr::GetAttr(_, name) => format!("there is no `{}`", shown(name)),
        Expr::Binary(Binary::GetTag, ..) => "there is no such tag".to_owned(),
        Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..) | Expr::Unary(Unary::Neg, _) => {
            "this exceeds 64 bits, or an operand is not a number".to_owned()
        }
        Expr::Ext(Ext::Offset | Ext::DurationSince | Ext::ToDate, _) => {
            "this exceeds the range, or an operand has another type".to_owned()
        }
        _ => "a value has another type".to_owned(),
    }
}
