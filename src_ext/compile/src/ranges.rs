//! Ranges: conjuncts that compare one context attribute with a constant. Most trading conditions are of this kind.

use crate::layout::Layout;
use crate::tables::Tables;
use ztfast_bundle::{Node, RangeRec};
use ztfast_cedar::ir::{Binary, Datum, Expr, Ext, Unary};
use ztfast_vm::Tag;

/// A slot that a path of attributes refers to.
#[derive(Clone, Copy)]
struct ContextSlot {
    number: u32,
    kind: Tag,
}

/// Convert a conjunct to a range, if it is one.
///
/// A range requires the slot to be present. This models the error of reading an absent attribute. Under a `!` the error
/// stays an error, so inverting a range keeps the requirement.
pub(crate) fn range(expr: &Expr, layout: &Layout, tables: &mut Tables) -> Option<RangeRec> {
    match expr {
        Expr::Unary(Unary::Not, inner) => {
            let inner = range(inner, layout, tables).filter(|_| !matches!(**inner, Expr::HasAttr(..)))?;
            Some(RangeRec { inverted: !inner.inverted, ..inner })
        }
        Expr::Binary(Binary::Eq, a, b) => {
            let (slot, value) = slot_and_value(a, b, layout).or_else(|| slot_and_value(b, a, layout))?;
            let value = tables.value(value);
            if slot.kind == Tag::Bool && value.is(Tag::Bool) {
                return Some(truth(slot, value.payload != 0));
            }
            (value.is(slot.kind) && value.is_scalar()).then(|| within(slot, value.as_i64(), value.as_i64()))
        }
        Expr::Binary(op @ (Binary::Less | Binary::LessEq), a, b) => {
            let ordered = |slot: ContextSlot, value: &Datum| match (slot.kind, value) {
                (Tag::Long, Datum::Long(n))
                | (Tag::Datetime, Datum::Datetime(n))
                | (Tag::Duration, Datum::Duration(n)) => Some((slot, *n)),
                _ => None,
            };
            compare(a, b, *op == Binary::Less, layout, ordered)
        }
        Expr::Ext(method, operands) => {
            let [a, b] = operands.as_slice() else { return None };
            let ordered = |slot: ContextSlot, value: &Datum| match (slot.kind, value) {
                (Tag::Decimal, Datum::Decimal(n)) => Some((slot, *n)),
                _ => None,
            };
            match method {
                Ext::DecimalLessThan => compare(a, b, true, layout, ordered),
                Ext::DecimalLessThanOrEqual => compare(a, b, false, layout, ordered),
                Ext::DecimalGreaterThan => compare(b, a, true, layout, ordered),
                Ext::DecimalGreaterThanOrEqual => compare(b, a, false, layout, ordered),
                _ => None,
            }
        }
        Expr::GetAttr(..) => {
            let slot = slot(expr, layout).filter(|slot| slot.kind == Tag::Bool)?;
            Some(truth(slot, true))
        }
        Expr::HasAttr(operand, path) => {
            let [name] = path.as_slice() else { return None };
            let field = layout.fields_of(operand)?.iter().find(|field| field.name == **name)?;
            match &field.node {
                Node::Leaf { slot, .. } => {
                    Some(within(ContextSlot { number: *slot, kind: Tag::Bool }, i64::MIN, i64::MAX))
                }
                Node::Record { .. } => None,
            }
        }
        _ => None,
    }
}

/// Convert `a < b` or `a <= b`, where one side is a slot and the other a constant.
fn compare(
    a: &Expr,
    b: &Expr,
    strict: bool,
    layout: &Layout,
    ordered: impl Fn(ContextSlot, &Datum) -> Option<(ContextSlot, i64)>,
) -> Option<RangeRec> {
    let empty = |slot| within(slot, 0, -1);
    if let Some((slot, value)) = slot_and_value(a, b, layout) {
        let (slot, most) = ordered(slot, value)?;
        return Some(match most.checked_sub(i64::from(strict)) {
            Some(high) => within(slot, i64::MIN, high),
            None => empty(slot),
        });
    }
    let (slot, value) = slot_and_value(b, a, layout)?;
    let (slot, least) = ordered(slot, value)?;
    Some(match least.checked_add(i64::from(strict)) {
        Some(low) => within(slot, low, i64::MAX),
        None => empty(slot),
    })
}

/// Test a Bool: any number but 0 is true, as everywhere.
const fn truth(slot: ContextSlot, value: bool) -> RangeRec {
    RangeRec { slot: slot.number, inverted: value, low: 0, high: 0 }
}

const fn within(slot: ContextSlot, low: i64, high: i64) -> RangeRec {
    RangeRec { slot: slot.number, inverted: false, low, high }
}

fn slot_and_value<'e>(a: &Expr, b: &'e Expr, layout: &Layout) -> Option<(ContextSlot, &'e Datum)> {
    match b {
        Expr::Datum(value) => Some((slot(a, layout)?, value)),
        _ => None,
    }
}

/// Return the slot of `context.a.b`. The slot of an attribute in an optional record is present only if the record is.
fn slot(expr: &Expr, layout: &Layout) -> Option<ContextSlot> {
    let Expr::GetAttr(operand, name) = expr else { return None };
    match &layout.fields_of(operand)?.iter().find(|field| field.name == **name)?.node {
        Node::Leaf { slot, .. } => Some(ContextSlot { number: *slot, kind: layout.kinds[*slot as usize] }),
        Node::Record { .. } => None,
    }
}
