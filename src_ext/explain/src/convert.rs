//! Conversion of values and entities from Cedar's form to the engine's.

use std::sync::Arc;
use ztfast_cedar::ir::{Datum, Entity, Ip, Uid};
use ztfast_engine::{AttrValue, EntityData, RequestBuilder};
use ztfast_vm::{Tag, Value};

/// Convert a value for a request; `None` if it names an entity of a type that the bundle lacks.
#[must_use]
pub fn request_value(datum: &Datum, builder: &mut RequestBuilder<'_>) -> Option<Value> {
    Some(match datum {
        Datum::Bool(b) => Value::bool(*b),
        Datum::Long(n) => Value::number(Tag::Long, *n),
        Datum::String(text) => builder.text(text),
        Datum::Entity(uid) => Value::entity(builder.entity(&uid.ty, &uid.id)?),
        Datum::Decimal(n) => Value::number(Tag::Decimal, *n),
        Datum::Datetime(n) => Value::number(Tag::Datetime, *n),
        Datum::Duration(n) => Value::number(Tag::Duration, *n),
        Datum::Ip(Ip::V4(bits, prefix)) => Value::ip4(*bits, *prefix),
        Datum::Ip(Ip::V6(bits, prefix)) => builder.ip6(*bits, *prefix),
        Datum::Set(elements) => {
            let values: Option<Vec<Value>> = elements.iter().map(|element| request_value(element, builder)).collect();
            builder.set(values?)
        }
        Datum::Record(fields) => {
            let mut values = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                values.push((&**name, request_value(field, builder)?));
            }
            builder.record(&values)?
        }
    })
}

/// Convert an entity to the engine's form.
#[must_use]
pub fn entity_data(entity: Entity) -> EntityData {
    let uid = |uid: Uid| (uid.ty.to_string(), uid.id.to_string());
    let fields = |fields: Vec<(Arc<str>, Datum)>| {
        fields.into_iter().map(|(key, value)| (key.to_string(), attr_value(value))).collect()
    };
    EntityData {
        uid: uid(entity.uid),
        parents: entity.parents.into_iter().map(uid).collect(),
        attrs: fields(entity.attrs),
        tags: fields(entity.tags),
    }
}

fn attr_value(datum: Datum) -> AttrValue {
    match datum {
        Datum::Bool(b) => AttrValue::Bool(b),
        Datum::Long(n) => AttrValue::Long(n),
        Datum::String(text) => AttrValue::String(text.to_string()),
        Datum::Entity(uid) => AttrValue::Entity(uid.ty.to_string(), uid.id.to_string()),
        Datum::Decimal(n) => AttrValue::Decimal(n),
        Datum::Datetime(n) => AttrValue::Datetime(n),
        Datum::Duration(n) => AttrValue::Duration(n),
        Datum::Ip(Ip::V4(addr, prefix)) => AttrValue::Ip4(addr, prefix),
        Datum::Ip(Ip::V6(bits, prefix)) => AttrValue::Ip6(bits, prefix),
        Datum::Set(elements) => AttrValue::Set(elements.into_iter().map(attr_value).collect()),
        Datum::Record(fields) => {
            AttrValue::Record(fields.into_iter().map(|(key, value)| (key.to_string(), attr_value(value))).collect())
        }
    }
}
