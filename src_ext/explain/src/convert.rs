//! Values and entities as Cedar reads them, as the engine takes them.

use std::sync::Arc;
use ztfast_engine::{Datum, EntityData, RequestBuilder};
use ztfast_policy::ir::{Entity, Ip, Uid, Value};
use ztfast_program::{Cell, Tag};

/// A value in a request; `None` where it names an entity of a type that the bundle lacks.
#[must_use]
pub fn cell(value: &Value, builder: &mut RequestBuilder<'_>) -> Option<Cell> {
    Some(match value {
        Value::Bool(b) => Cell::bool(*b),
        Value::Long(n) => Cell::number(Tag::Long, *n),
        Value::String(text) => builder.text(text),
        Value::Entity(uid) => Cell::entity(builder.entity(&uid.ty, &uid.id)?),
        Value::Decimal(n) => Cell::number(Tag::Decimal, *n),
        Value::Datetime(n) => Cell::number(Tag::Datetime, *n),
        Value::Duration(n) => Cell::number(Tag::Duration, *n),
        Value::Ip(Ip::V4(bits, prefix)) => Cell::ip4(*bits, *prefix),
        Value::Ip(Ip::V6(bits, prefix)) => builder.ip6(*bits, *prefix),
        Value::Set(elements) => {
            let cells: Option<Vec<Cell>> = elements.iter().map(|element| cell(element, builder)).collect();
            builder.set(cells?)
        }
        Value::Record(fields) => {
            let mut cells = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                cells.push((&**name, cell(value, builder)?));
            }
            builder.record(&cells)?
        }
    })
}

/// An entity as the engine takes it.
#[must_use]
pub fn entity_data(entity: Entity) -> EntityData {
    let uid = |uid: Uid| (uid.ty.to_string(), uid.id.to_string());
    let fields = |fields: Vec<(Arc<str>, Value)>| {
        fields.into_iter().map(|(key, value)| (key.to_string(), datum(value))).collect()
    };
    EntityData {
        uid: uid(entity.uid),
        parents: entity.parents.into_iter().map(uid).collect(),
        attrs: fields(entity.attrs),
        tags: fields(entity.tags),
    }
}

fn datum(value: Value) -> Datum {
    match value {
        Value::Bool(b) => Datum::Bool(b),
        Value::Long(n) => Datum::Long(n),
        Value::String(text) => Datum::String(text.to_string()),
        Value::Entity(uid) => Datum::Entity(uid.ty.to_string(), uid.id.to_string()),
        Value::Decimal(n) => Datum::Decimal(n),
        Value::Datetime(n) => Datum::Datetime(n),
        Value::Duration(n) => Datum::Duration(n),
        Value::Ip(Ip::V4(addr, prefix)) => Datum::Ip4(addr, prefix),
        Value::Ip(Ip::V6(bits, prefix)) => Datum::Ip6(bits, prefix),
        Value::Set(elements) => Datum::Set(elements.into_iter().map(datum).collect()),
        Value::Record(fields) => {
            Datum::Record(fields.into_iter().map(|(key, value)| (key.to_string(), datum(value))).collect())
        }
    }
}
