//! Specialisation: fills what a class resolves into conditions of the request. `context.qty > principal.maxQty` becomes
//! a comparison with a constant for a class of principals with the same `maxQty`.
//!
//! This is exact because Cedar is pure: a subexpression that reads one entity only has the same value, or the same
//! error, for all entities of a class that was split by it.

use crate::classes::run;
use crate::codegen::generate;
use crate::layout::Layout;
use crate::plan::{Side, reads};
use crate::refine::one_sided;
use crate::tables::Tables;
use std::sync::Arc;
use ztfast_cedar::ir::{Datum, Expr};
use ztfast_vm::{EntityRef, Fault, Instr, Scratch};

/// What is left of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    /// The condition cannot be true.
    Never,
    /// The condition is true iff all of these are.
    All(Vec<Expr>),
}

/// Fills in what a class resolves of one condition.
pub(crate) struct Specialiser {
    expr: Expr,
    /// The subexpressions that one side resolves, with their code.
    resolved: Vec<(Side, Expr, Vec<Instr>)>,
}

impl Specialiser {
    /// Prepare a condition; `None` if neither side resolves anything.
    pub fn new(expr: &Expr, tables: &mut Tables) -> Option<Self> {
        let nothing = Layout::default();
        let resolved: Vec<_> = one_sided(expr)
            .into_iter()
            .filter_map(|(side, expr)| {
                let code = generate(&expr, &nothing, tables).ok()?;
                Some((side, expr, code))
            })
            .collect();
        (!resolved.is_empty()).then(|| Self { expr: expr.clone(), resolved })
    }

    /// Return what is left of the condition for two classes, given by a sample of each.
    pub fn left(&self, principal: EntityRef, resource: EntityRef, tables: &mut Tables, scratch: &mut Scratch) -> Left {
        let known: Vec<(&Expr, Expr)> = self
            .resolved
            .iter()
            .filter_map(|(side, expr, code)| {
                let entity = if *side == Side::Principal { principal } else { resource };
                let value = run(&tables.view(), entity, entity, scratch, |vm| vm.run(code));
                Some((expr, constant(value, tables, scratch)?))
            })
            .collect();
        let filled = Fill { known: &known, tables, scratch }.fill(&self.expr);
        let mut conjuncts = Vec::new();
        if flatten(&filled, &mut conjuncts) { Left::All(conjuncts) } else { Left::Never }
    }
}

/// Convert a value to an expression; `None` if it cannot be written (an entity that the bundle does not name).
fn constant(value: Result<ztfast_vm::Value, Fault>, tables: &Tables, scratch: &Scratch) -> Option<Expr> {
    match value {
        Ok(value) => tables.value_of(value, scratch.values()).map(Expr::Datum),
        Err(Fault::Error) => Some(Expr::Error),
        Err(_) => None,
    }
}

struct Fill<'a> {
    known: &'a [(&'a Expr, Expr)],
    tables: &'a mut Tables,
    scratch: &'a mut Scratch,
}

impl Fill<'_> {
    /// Fill in the known values, and evaluate subexpressions that then read nothing.
    fn fill(&mut self, expr: &Expr) -> Expr {
        if let Some((_, value)) = self.known.iter().find(|(known, _)| *known == expr) {
            return value.clone();
        }
        let mut arc = |expr: &Arc<Expr>| Arc::new(self.fill(expr));
        let filled = match expr {
            Expr::Datum(_) | Expr::Error | Expr::Var(_) | Expr::Opaque(_) => return expr.clone(),
            Expr::And(a, b) => Expr::And(arc(a), arc(b)),
            Expr::Or(a, b) => Expr::Or(arc(a), arc(b)),
            Expr::If(a, b, c) => Expr::If(arc(a), arc(b), arc(c)),
            Expr::Unary(op, a) => Expr::Unary(*op, arc(a)),
            Expr::Binary(op, a, b) => Expr::Binary(*op, arc(a), arc(b)),
            Expr::GetAttr(a, name) => Expr::GetAttr(arc(a), name.clone()),
            Expr::HasAttr(a, path) => Expr::HasAttr(arc(a), path.clone()),
            Expr::Like(a, pattern) => Expr::Like(arc(a), pattern.clone()),
            Expr::Is(a, ty) => Expr::Is(arc(a), ty.clone()),
            Expr::Fails(a) => Expr::Fails(arc(a)),
            Expr::Ext(method, parts) => Expr::Ext(*method, parts.iter().map(|part| self.fill(part)).collect()),
            Expr::Set(parts) => Expr::Set(parts.iter().map(|part| self.fill(part)).collect()),
            Expr::Record(entries) => {
                Expr::Record(entries.iter().map(|(key, value)| (key.clone(), self.fill(value))).collect())
            }
        };
        match &filled {
            // The first operand alone can settle these.
            Expr::And(a, _) if is_bool(a, false) => boolean(false),
            Expr::Or(a, _) if is_bool(a, true) => boolean(true),
            Expr::If(test, then, _) if is_bool(test, true) => (**then).clone(),
            Expr::If(test, _, otherwise) if is_bool(test, false) => (**otherwise).clone(),
            Expr::And(a, _) | Expr::Or(a, _) | Expr::If(a, ..) if is_no_bool(a) => Expr::Error,
            Expr::And(..) | Expr::Or(..) | Expr::If(..) | Expr::Fails(_) => self.evaluated(filled),
            // Every other operation evaluates all its operands, whatever the request brings.
            _ if has_error(&filled) => Expr::Error,
            _ => self.evaluated(filled),
        }
    }

    fn evaluated(&mut self, expr: Expr) -> Expr {
        let found = reads(&expr);
        if found.principal || found.resource || found.context {
            return expr;
        }
        let Ok(code) = generate(&expr, &Layout::default(), self.tables) else { return expr };
        let any_entity = EntityRef::known(0);
        let value = run(&self.tables.view(), any_entity, any_entity, self.scratch, |vm| vm.run(&code));
        constant(value, self.tables, self.scratch).unwrap_or(expr)
    }
}

/// Collect the conjuncts of a chain; `false` if one of them can never be true.
fn flatten(expr: &Expr, conjuncts: &mut Vec<Expr>) -> bool {
    match expr {
        Expr::And(a, b) => flatten(a, conjuncts) && flatten(b, conjuncts),
        Expr::Datum(Datum::Bool(true)) => true,
        Expr::Datum(_) | Expr::Error => false,
        _ => {
            if !conjuncts.contains(expr) {
                conjuncts.push(expr.clone());
            }
            true
        }
    }
}

/// Return whether an operand is always an error.
fn has_error(expr: &Expr) -> bool {
    let mut found = false;
    expr.children(&mut |child| found |= matches!(child, Expr::Error));
    found
}

const fn boolean(value: bool) -> Expr {
    Expr::Datum(Datum::Bool(value))
}

fn is_bool(expr: &Expr, value: bool) -> bool {
    *expr == boolean(value)
}

/// Return whether the expression is known and not a boolean: an error, or a value of another kind.
const fn is_no_bool(expr: &Expr) -> bool {
    match expr {
        Expr::Error => true,
        Expr::Datum(value) => !matches!(value, Datum::Bool(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ztfast_cedar::ir::{Binary, Unary, Var};

    #[test]
    fn an_operand_that_is_always_an_error_makes_its_operation_one() {
        let (mut tables, mut scratch) = (Tables::default(), Scratch::default());
        let qty = || Arc::new(Expr::GetAttr(Arc::new(Expr::Var(Var::Context)), "qty".into()));
        let error = || Arc::new(Expr::Error);
        let over = |a, b| Expr::Binary(Binary::LessEq, a, b);
        let not = |a| Expr::Unary(Unary::Not, Arc::new(a));
        let open = |a, b| (Expr::And(a, b), true);
        for (expr, is_open) in [
            (over(qty(), error()), false),
            (over(error(), qty()), false),
            (not(over(qty(), error())), false),
            (Expr::Like(error(), [].into()), false),
            (Expr::HasAttr(error(), ["a".into()].into()), false),
            (Expr::Set(vec![(*qty()).clone(), Expr::Error]), false),
            // The first operand may settle these before the error is met.
            open(qty(), error()),
            (Expr::Or(qty(), error()), true),
            (Expr::If(qty(), error(), qty()), true),
            (Expr::And(error(), qty()), false),
        ] {
            let filled = Fill { known: &[], tables: &mut tables, scratch: &mut scratch }.fill(&expr);
            assert_eq!(filled, if is_open { expr.clone() } else { Expr::Error }, "{expr:?}");
            let mut conjuncts = Vec::new();
            assert_eq!(flatten(&filled, &mut conjuncts), is_open && !matches!(expr, Expr::And(..)), "{expr:?}");
        }
    }
}
