//! The layout of an action's context: one slot per attribute, with records flattened.

use crate::tables::Tables;
use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_bundle::{Field, Node, ValueType};
use ztfast_cedar::ir::{Attribute, Expr, Type, Var};
use ztfast_vm::Tag;

/// The slots of an action's context.
#[derive(Default)]
pub(crate) struct Layout {
    /// The attributes, sorted by name.
    pub fields: Vec<Field>,
    /// The kind of each slot's number.
    pub kinds: Vec<Tag>,
}

impl Layout {
    pub fn new(context: &BTreeMap<Arc<str>, Attribute>, tables: &mut Tables) -> Self {
        let mut kinds = Vec::new();
        let fields = fields(context, tables, &mut kinds);
        Self { fields, kinds }
    }

    /// Return whether the context nests deeper than the bundle's description allows.
    pub fn is_too_deep(&self) -> bool {
        levels(&self.fields) > LEVELS
    }

    /// Return the attributes of the context, or of the record in it that a path names.
    pub fn fields_of(&self, expr: &Expr) -> Option<&[Field]> {
        match expr {
            Expr::Var(Var::Context) => Some(&self.fields),
            Expr::GetAttr(operand, name) => {
                match &self.fields_of(operand)?.iter().find(|field| field.name == **name)?.node {
                    Node::Record { fields, .. } => Some(fields),
                    Node::Leaf { .. } => None,
                }
            }
            _ => None,
        }
    }
}

/// The most levels of JSON that attributes may take: the reader accepts 127, some of which surround them.
const LEVELS: usize = 120;

/// Return the levels of JSON that these attributes take.
fn levels(fields: &[Field]) -> usize {
    let of = |field: &Field| match &field.node {
        Node::Leaf { ty, .. } => levels_of(ty),
        Node::Record { fields, .. } => levels(fields),
    };
    4 + fields.iter().map(of).max().unwrap_or_default()
}

fn levels_of(ty: &ValueType) -> usize {
    match ty {
        ValueType::Set(element) => 1 + levels_of(element),
        ValueType::Record(fields) => 3 + fields.iter().map(|(_, _, ty)| levels_of(ty)).max().unwrap_or_default(),
        _ => 1,
    }
}

fn fields(attributes: &BTreeMap<Arc<str>, Attribute>, tables: &mut Tables, kinds: &mut Vec<Tag>) -> Vec<Field> {
    let slot = |kind, kinds: &mut Vec<Tag>| {
        kinds.push(kind);
        u32::try_from(kinds.len() - 1).expect("a schema has fewer attributes than memory has bytes")
    };
    attributes
        .iter()
        .map(|(name, attribute)| {
            let node = if let Type::Record(inner) = &attribute.ty {
                let presence = (!attribute.required).then(|| slot(Tag::Bool, kinds));
                Node::Record { presence, fields: fields(inner, tables, kinds) }
            } else {
                intern_names(&attribute.ty, tables);
                Node::Leaf { slot: slot(kind_of_slot(&attribute.ty), kinds), ty: value_type(&attribute.ty) }
            };
            Field { name: name.to_string(), key: tables.string(name), required: attribute.required, node }
        })
        .collect()
}

/// Intern the keys of records inside sets, because a request's records are sorted by the keys' numbers.
fn intern_names(ty: &Type, tables: &mut Tables) {
    match ty {
        Type::Set(element) => intern_names(element, tables),
        Type::Record(fields) => {
            for (name, field) in fields {
                tables.string(name);
                intern_names(&field.ty, tables);
            }
        }
        _ => {}
    }
}

/// Return the kind of a slot that holds values of a type.
pub const fn kind_of_slot(ty: &Type) -> Tag {
    match ty {
        Type::Bool => Tag::Bool,
        Type::Long => Tag::Long,
        Type::String => Tag::String,
        Type::Decimal => Tag::Decimal,
        Type::Datetime => Tag::Datetime,
        Type::Duration => Tag::Duration,
        Type::Entity(_) => Tag::Entity,
        Type::Ip | Type::Set(_) | Type::Record(_) => Tag::Set,
    }
}

fn value_type(ty: &Type) -> ValueType {
    match ty {
        Type::Bool => ValueType::Bool,
        Type::Long => ValueType::Long,
        Type::String => ValueType::String,
        Type::Decimal => ValueType::Decimal,
        Type::Datetime => ValueType::Datetime,
        Type::Duration => ValueType::Duration,
        Type::Ip => ValueType::Ip,
        Type::Entity(name) => ValueType::Entity(name.to_string()),
        Type::Set(element) => ValueType::Set(Box::new(value_type(element))),
        Type::Record(fields) => ValueType::Record(
            fields.iter().map(|(name, field)| (name.to_string(), field.required, value_type(&field.ty))).collect(),
        ),
    }
}
