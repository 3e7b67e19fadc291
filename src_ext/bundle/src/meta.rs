//! What a bundle says about itself: policies, actions and their context, statistics. Read once, when it is loaded.

use serde::{Deserialize, Serialize};

/// The bundle's own description.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Version of ztfast that wrote it.
    pub writer: String,
    /// Whether the policies passed strict validation (else they were compiled permissively).
    pub strict: bool,
    /// The actions, in their numbers' order.
    pub actions: Vec<ActionMeta>,
    /// How many entities away from principal and resource conditions look: `principal.desk.limit` is 1.
    pub reach: u32,
    /// The group of actions, or the action, that the kill switch leaves alone unless it is named: type and id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<(String, String)>,
    /// The store that was compiled, for a later bundle to see whether it is still the same.
    pub store: Store,
    /// What was compiled, and into what.
    pub stats: Stats,
}

/// A store of entities: what it was read from, and how far the tables are what follows from it alone. The policies' own
/// names and values come after that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Store {
    /// [`store_hash`](crate::store_hash) of the texts.
    pub hash: String,
    /// Types.
    pub types: u32,
    /// Strings.
    pub strings: u32,
    /// Entities.
    pub entities: u32,
    /// Parents.
    pub parents: u32,
    /// Values.
    pub values: u32,
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// Depth of stack that the deepest program needs, and values that the one that builds most may build.
    pub scratch: (u64, u64),
    /// Bytes that decisions may read, by what they grow with.
    pub memory: Memory,
    /// Per action.
    pub actions: Vec<ActionStats>,
}

/// Where a bundle's bytes are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Entities, their texts, values and classes, divided by their number.
    pub per_entity: f64,
    /// The same, of what is kept of a principal.
    pub per_principal: f64,
    /// The same, of what is kept of a resource.
    pub per_resource: f64,
    /// Tables, programs and code, divided by the policies.
    pub per_policy: f64,
    /// Tables, programs and code.
    pub tables: u64,
    /// Entities, texts, values and classes.
    pub entities: u64,
    /// Policies and schema as text.
    pub sources: u64,
}

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActionStats {
    /// The action, as Cedar text.
    pub action: String,
    /// Policies whose scope admits it.
    pub policies: u64,
    /// Classes of principals, over its layers.
    pub principal_classes: u64,
    /// Classes of resources, over its layers.
    pub resource_classes: u64,
    /// Cells that are stored.
    pub cells: u64,
    /// Distinct programs.
    pub programs: u64,
    /// Conditions over principal and resource that were resolved in the table.
    pub tabulated: u64,
    /// Conditions left for decision time.
    pub residual: u64,
    /// How each of its layers is laid out, and why.
    pub layers: Vec<LayerStats>,
}

/// What became of one layer of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerStats {
    /// `dense`, `rows` or `sets`.
    pub form: String,
    /// Policies in it.
    pub policies: u64,
    /// Classes of principals.
    pub principals: u64,
    /// Classes of resources.
    pub resources: u64,
    /// Bytes that the form takes.
    pub bytes: u64,
    /// Bytes that a cell for each pair of classes would take.
    pub dense_bytes: u64,
}
