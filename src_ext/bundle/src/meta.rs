//! What a bundle says about itself: policies, actions and their context, statistics. Read once, when it is loaded.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The bundle's own description.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Version of ztfast that wrote it.
    pub writer: String,
    /// Whether the policies passed strict validation (else they were compiled permissively).
    pub strict: bool,
    /// The policies, in their numbers' order.
    pub policies: Vec<PolicyMeta>,
    /// The actions, in their numbers' order.
    pub actions: Vec<ActionMeta>,
    /// What was compiled, and into what.
    pub stats: Stats,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyMeta {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The file that holds it, as the compiler was given it.
    pub file: String,
    /// Its first line there, from 1.
    pub line: u32,
    /// Why Cedar's own evaluator answers for it, where it does.
    pub fallback: Option<String>,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionMeta {
    /// Its type, as `Action`.
    pub ty: String,
    /// Its id, as `order.new`.
    pub id: String,
    /// Types of principal that it applies to.
    pub principals: Vec<String>,
    /// Types of resource that it applies to.
    pub resources: Vec<String>,
    /// The attributes of its context, sorted by name.
    pub context: Vec<Field>,
}

/// An attribute of a context or of a record in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Number of the string that is its name.
    pub key: u32,
    /// Whether it must be there.
    pub required: bool,
    /// Where its value goes.
    pub node: Node,
}

/// Where an attribute of the context goes: a slot, or, for a record, its attributes' slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Node {
    /// One value.
    Leaf {
        /// The slot.
        slot: u32,
        /// The value's type.
        ty: ValueType,
    },
    /// A record, flattened.
    Record {
        /// A slot that only says whether the record is there: for optional ones.
        presence: Option<u32>,
        /// Its attributes, sorted by name.
        fields: Vec<Field>,
    },
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ValueType {
    Bool,
    Long,
    String,
    Decimal,
    Datetime,
    Duration,
    Ip,
    /// An entity of the type with this name.
    Entity(String),
    Set(Box<ValueType>),
    /// A record inside a set: its fields' nodes are leaves without a slot of their own (`slot` is 0).
    Record(Vec<(String, bool, ValueType)>),
}

/// What was compiled, and into what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Policies, links among them.
    pub policies: u64,
    /// Entities of the store, actions among them.
    pub entities: u64,
    /// Classes of principals and of resources, over all actions.
    pub classes: u64,
    /// Cells, over all actions.
    pub cells: u64,
    /// Distinct programs.
    pub programs: u64,
    /// Policies for which Cedar's own evaluator answers.
    pub fallbacks: u64,
    /// Conditions left for decision time, counted per action and policy.
    pub residual: u64,
    /// Instructions.
    pub instructions: u64,
    /// Per action.
    pub actions: Vec<ActionStats>,
}

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActionStats {
    /// The action, as Cedar text.
    pub action: String,
    /// Policies whose scope admits it.
    pub policies: u64,
    /// Classes of principals.
    pub principal_classes: u64,
    /// Classes of resources.
    pub resource_classes: u64,
    /// Cells.
    pub cells: u64,
    /// Distinct programs.
    pub programs: u64,
    /// Conditions over principal and resource that were settled in the table.
    pub tabulated: u64,
    /// Conditions left for decision time.
    pub residual: u64,
}
