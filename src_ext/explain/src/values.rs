//! A request's slots as Cedar values.

use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_bundle::{Field, Node};
use ztfast_engine::Snapshot;
use ztfast_policy::ir::{Ip, Uid, Value};
use ztfast_program::{Arena, Cell, EntityRef, FOREIGN_STRING, Request, Tag};

/// A request's slots as Cedar values.
pub(crate) struct Values<'a> {
    pub snapshot: &'a Snapshot,
    pub request: &'a Request<'a>,
    pub uid: &'a dyn Fn(EntityRef) -> Option<(String, String)>,
}

impl Values<'_> {
    /// The whole context as a record.
    pub fn context(&self, fields: &[Field]) -> Option<Value> {
        let mut record = BTreeMap::new();
        for field in fields {
            let value = match &field.node {
                Node::Leaf { slot, .. } => match self.request.slot(*slot) {
                    Some(cell) => self.value(cell)?,
                    None => continue,
                },
                Node::Record { presence: Some(slot), .. } if self.request.number(*slot).is_none() => continue,
                Node::Record { fields, .. } => self.context(fields)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
        }
        Some(Value::Record(record))
    }

    #[allow(clippy::cast_possible_truncation)] // numbers of texts and IPv4 addresses have 32 bits
    fn value(&self, cell: Cell) -> Option<Value> {
        let part = |at: u32| self.request.cells.get(cell.start() as usize + at as usize).copied();
        if !cell.is_scalar() && cell.arena() != Arena::Request {
            return None;
        }
        Some(match Tag::from_u32(cell.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Value::Bool(cell.payload != 0),
            Tag::Long => Value::Long(cell.as_i64()),
            Tag::String => Value::String(self.text(cell.payload)?.into()),
            Tag::Entity => {
                let (ty, id) = (self.uid)(EntityRef::from_bits(cell.payload))?;
                Value::Entity(Uid::new(ty, id))
            }
            Tag::Decimal => Value::Decimal(cell.as_i64()),
            Tag::Datetime => Value::Datetime(cell.as_i64()),
            Tag::Duration => Value::Duration(cell.as_i64()),
            Tag::Ip4 => Value::Ip(Ip::V4(cell.payload as u32, (cell.payload >> 32) as u8)),
            Tag::Ip6 => Value::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(cell.len()).ok()?)),
            Tag::Set => Value::Set((0..cell.len()).map(|at| self.value(part(at)?)).collect::<Option<_>>()?),
            Tag::Record => Value::Record(
                (0..cell.len())
                    .map(|at| Some((self.text(part(2 * at)?.payload)?.into(), self.value(part(2 * at + 1)?)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    #[allow(clippy::cast_possible_truncation)] // numbers of texts have 32 bits
    fn text(&self, number: u64) -> Option<&str> {
        if number & FOREIGN_STRING == 0 {
            return self.snapshot.text(number);
        }
        std::str::from_utf8(self.request.strings.get(number as u32)?).ok()
    }
}
