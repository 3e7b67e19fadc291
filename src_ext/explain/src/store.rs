//! Entities of a snapshot's store, as Cedar wants them.

use std::cell::Cell as StdCell;
use std::sync::Arc;
use ztfast_engine::Snapshot;
use ztfast_policy::SliceEntity;
use ztfast_policy::ir::{Ip, Uid, Value};
use ztfast_program::{Arena, Cell, EntityRef, StoreView, Tag};

/// An entity of a snapshot's store, as Cedar wants it.
pub(crate) fn slice_entity(snapshot: &Snapshot, uid: &Uid) -> Option<SliceEntity> {
    let entity = snapshot.find(&uid.ty, &uid.id)?;
    snapshot.with_entity(entity, |view, facts| {
        let reader = Stored { snapshot, view, budget: StdCell::new(MAX_VALUES) };
        let fields = |pairs: &[Cell]| {
            let field = |[key, value]: &[Cell; 2]| Some((snapshot.text(key.payload)?.into(), reader.value(*value)?));
            pairs.as_chunks::<2>().0.iter().map(field).collect::<Option<Vec<_>>>()
        };
        let above = |&index: &u32| {
            let uid = snapshot.uid(EntityRef::known(index))?;
            Some(Uid::new(uid.ty, uid.id))
        };
        Some(SliceEntity {
            ancestors: facts.ancestors.iter().map(above).collect::<Option<_>>()?,
            attrs: fields(facts.attrs)?,
            tags: fields(facts.tags)?,
        })
    })
}

/// Values of a store.
struct Stored<'a> {
    snapshot: &'a Snapshot,
    view: &'a StoreView<'a>,
    budget: StdCell<u32>,
}

/// Values that one entity may have, sets' and records' parts among them: a crafted bundle may nest a value into itself.
const MAX_VALUES: u32 = 1 << 20;
/// Nesting of values that is followed.
const MAX_NESTING: u32 = 129;

impl Stored<'_> {
    fn value(&self, cell: Cell) -> Option<Value> {
        self.nested(cell, MAX_NESTING)
    }

    #[allow(clippy::cast_possible_truncation)] // IPv4 addresses have 32 bits
    fn nested(&self, cell: Cell, nesting: u32) -> Option<Value> {
        let nesting = nesting.checked_sub(1)?;
        self.budget.set(self.budget.get().checked_sub(1)?);
        let part = |at: u32| {
            let cells = match cell.arena() {
                Arena::Bundle => self.view.cells,
                _ => self.view.changes?.entity(cell.owner())?.1,
            };
            cells.get(cell.start() as usize + at as usize).copied()
        };
        let text = |number| self.snapshot.text(number).map(Arc::<str>::from);
        Some(match Tag::from_u32(cell.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Value::Bool(cell.payload != 0),
            Tag::Long => Value::Long(cell.as_i64()),
            Tag::String => Value::String(text(cell.payload)?),
            Tag::Entity => {
                let uid = self.snapshot.uid(EntityRef::from_bits(cell.payload))?;
                Value::Entity(Uid::new(uid.ty, uid.id))
            }
            Tag::Decimal => Value::Decimal(cell.as_i64()),
            Tag::Datetime => Value::Datetime(cell.as_i64()),
            Tag::Duration => Value::Duration(cell.as_i64()),
            Tag::Ip4 => Value::Ip(Ip::V4(cell.payload as u32, (cell.payload >> 32) as u8)),
            Tag::Ip6 => Value::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(cell.len()).ok()?)),
            Tag::Set => Value::Set((0..cell.len()).map(|at| self.nested(part(at)?, nesting)).collect::<Option<_>>()?),
            Tag::Record => Value::Record(
                (0..cell.len())
                    .map(|at| Some((text(part(2 * at)?.payload)?, self.nested(part(2 * at + 1)?, nesting)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}
