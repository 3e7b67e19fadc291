//! Entities of a snapshot's store, in the form that Cedar reads.

use std::cell::Cell as StdCell;
use std::sync::Arc;
use ztfast_cedar::SliceEntity;
use ztfast_cedar::ir::{Datum, Ip, Uid};
use ztfast_engine::Snapshot;
use ztfast_vm::{Arena, EntityRef, StoreView, Tag, Value};

/// Return an entity of a snapshot's store.
pub(crate) fn slice_entity(snapshot: &Snapshot, uid: &Uid) -> Option<SliceEntity> {
    let entity = snapshot.find(&uid.ty, &uid.id)?;
    snapshot.with_entity(entity, |view, facts| {
        let reader = Stored { snapshot, view, budget: StdCell::new(MAX_VALUES) };
        let fields = |pairs: &[Value]| {
            let field = |[key, value]: &[Value; 2]| Some((snapshot.text(key.payload)?.into(), reader.value(*value)?));
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

/// The values of a store.
struct Stored<'a> {
    snapshot: &'a Snapshot,
    view: &'a StoreView<'a>,
    budget: StdCell<u32>,
}

/// The most values of one entity, including the parts of sets and records: a crafted bundle may nest a value in itself.
const MAX_VALUES: u32 = 1 << 20;
/// The nesting of values that is followed.
const MAX_NESTING: u32 = 129;

impl Stored<'_> {
    fn value(&self, value: Value) -> Option<Datum> {
        self.nested(value, MAX_NESTING)
    }

    #[allow(clippy::cast_possible_truncation)] // IPv4 addresses have 32 bits
    fn nested(&self, value: Value, nesting: u32) -> Option<Datum> {
        let nesting = nesting.checked_sub(1)?;
        self.budget.set(self.budget.get().checked_sub(1)?);
        let part = |at: u32| {
            let values = match value.arena() {
                Arena::Bundle => self.view.values,
                _ => self.view.changes?.entity(value.owner())?.1,
            };
            values.get(value.start() as usize + at as usize).copied()
        };
        let text = |number| self.snapshot.text(number).map(Arc::<str>::from);
        Some(match Tag::from_u32(value.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Datum::Bool(value.payload != 0),
            Tag::Long => Datum::Long(value.as_i64()),
            Tag::String => Datum::String(text(value.payload)?),
            Tag::Entity => {
                let uid = self.snapshot.uid(EntityRef::from_bits(value.payload))?;
                Datum::Entity(Uid::new(uid.ty, uid.id))
            }
            Tag::Decimal => Datum::Decimal(value.as_i64()),
            Tag::Datetime => Datum::Datetime(value.as_i64()),
            Tag::Duration => Datum::Duration(value.as_i64()),
            Tag::Ip4 => Datum::Ip(Ip::V4(value.payload as u32, (value.payload >> 32) as u8)),
            Tag::Ip6 => Datum::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(value.len()).ok()?)),
            Tag::Set => Datum::Set((0..value.len()).map(|at| self.nested(part(at)?, nesting)).collect::<Option<_>>()?),
            Tag::Record => Datum::Record(
                (0..value.len())
                    .map(|at| Some((text(part(2 * at)?.payload)?, self.nested(part(2 * at + 1)?, nesting)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}
