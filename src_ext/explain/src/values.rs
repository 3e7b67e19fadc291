//! Conversion of a request's context slots to Cedar values.

use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_bundle::{Field, Node};
use ztfast_cedar::ir::{Datum, Ip, Uid};
use ztfast_engine::Snapshot;
use ztfast_vm::{Arena, EntityRef, FOREIGN_STRING, Request, Tag, Value};

/// The context slots of a request.
pub(crate) struct Values<'a> {
    pub snapshot: &'a Snapshot,
    pub request: &'a Request<'a>,
    pub uid: &'a dyn Fn(EntityRef) -> Option<(String, String)>,
}

impl Values<'_> {
    /// Return the whole context as a record.
    pub fn context(&self, fields: &[Field]) -> Option<Datum> {
        let mut record = BTreeMap::new();
        for field in fields {
            let value = match &field.node {
                Node::Leaf { slot, .. } => match self.request.slot(*slot) {
                    Some(value) => self.value(value)?,
                    None => continue,
                },
                Node::Record { presence: Some(slot), .. } if self.request.number(*slot).is_none() => continue,
                Node::Record { fields, .. } => self.context(fields)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
        }
        Some(Datum::Record(record))
    }

    #[allow(clippy::cast_possible_truncation)] // numbers of texts and IPv4 addresses have 32 bits
    fn value(&self, value: Value) -> Option<Datum> {
        let part = |at: u32| self.request.arena.get(value.start() as usize + at as usize).copied();
        if !value.is_scalar() && value.arena() != Arena::Request {
            return None;
        }
        Some(match Tag::from_u32(value.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Datum::Bool(value.payload != 0),
            Tag::Long => Datum::Long(value.as_i64()),
            Tag::String => Datum::String(self.text(value.payload)?.into()),
            Tag::Entity => {
                let (ty, id) = (self.uid)(EntityRef::from_bits(value.payload))?;
                Datum::Entity(Uid::new(ty, id))
            }
            Tag::Decimal => Datum::Decimal(value.as_i64()),
            Tag::Datetime => Datum::Datetime(value.as_i64()),
            Tag::Duration => Datum::Duration(value.as_i64()),
            Tag::Ip4 => Datum::Ip(Ip::V4(value.payload as u32, (value.payload >> 32) as u8)),
            Tag::Ip6 => Datum::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(value.len()).ok()?)),
            Tag::Set => Datum::Set((0..value.len()).map(|at| self.value(part(at)?)).collect::<Option<_>>()?),
            Tag::Record => Datum::Record(
                (0..value.len())
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
