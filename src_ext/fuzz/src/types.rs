//! The declarations of a random schema: types, attributes and actions.

use ztfast_cedar::ir::Uid;

/// A type of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ty {
    Bool,
    Long,
    Text,
    Decimal,
    Datetime,
    Duration,
    Ip,
    /// An entity of the type with this number.
    Entity(usize),
    Set(Box<Ty>),
    Record(Vec<Field>),
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    pub ty: Ty,
    pub required: bool,
}

/// An entity type.
#[derive(Debug, Clone)]
pub(crate) struct EntityType {
    /// The name with its namespace.
    pub name: String,
    /// The name without its namespace.
    pub short: String,
    /// The types of parents.
    pub above: Vec<usize>,
    pub attrs: Vec<Field>,
    pub tags: Option<Ty>,
    /// The ids of an enumerated type.
    pub listed: Option<Vec<String>>,
}

/// An action or a group of actions.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub uid: Uid,
    pub groups: Vec<String>,
    /// The types of principals and resources; `None` for a group.
    pub applies: Option<(Vec<usize>, Vec<usize>)>,
    pub context: Vec<Field>,
}
