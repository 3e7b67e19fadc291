//! The bundle's description: policies, actions and their contexts, statistics. It is read once, when the bundle is
//! opened.

use serde::{Deserialize, Serialize};

/// The bundle's description.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The version of ztfast that wrote the bundle.
    pub writer: String,
    /// Whether the policies passed strict validation. Otherwise they were compiled permissively.
    pub strict: bool,
    /// Whether a forbid whose evaluation errs denies, instead of being skipped as in Cedar.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_errors: bool,
    /// The actions, in the order of their numbers.
    pub actions: Vec<ActionMeta>,
    /// How many entities lie between principal or resource and what conditions read: `principal.desk.limit` has 1.
    pub reach: u32,
    /// The action, or group of actions, that the kill switch exempts unless it is named: type and id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<(String, String)>,
    /// The types that kills and market states may be of.
    pub scopes: Scopes,
    /// The store that was compiled, by which a later compilation sees whether it is unchanged.
    pub store: Store,
    /// Statistics of the compilation.
    pub stats: Stats,
}

/// The types of which an entity may concern a decision: itself, or because the principal or the resource is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scopes {
    /// Types of principals, and types that these may be in; sorted.
    pub principals: Vec<String>,
    /// Types of resources, and types that these may be in; sorted.
    pub resources: Vec<String>,
}

/// A store of entities: the hash of its sources, and how much of each table follows from the store alone. Names and
/// values that only policies bring come after that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Store {
    /// The [`store_hash`](crate::store_hash) of the sources.
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
    /// The type, as `Action`.
    pub ty: String,
    /// The id, as `order.new`.
    pub id: String,
    /// The types of principal that the action applies to.
    pub principals: Vec<String>,
    /// The types of resource that the action applies to.
    pub resources: Vec<String>,
    /// The attributes of the context, sorted by name.
    pub context: Vec<Field>,
    /// If the engine fills in the attribute `live`: the names of its attributes that policies read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Vec<String>>,
}

/// An attribute of a context or of a record in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The number of the string that is the name.
    pub key: u32,
    /// Whether the attribute is required.
    pub required: bool,
    /// The attribute's slot, or those of its own attributes.
    pub node: Node,
}

/// The context slots of an attribute: one slot, or, for a record, those of its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Node {
    /// One value.
    Leaf {
        /// The slot.
        slot: u32,
        /// The value's type.
        ty: ValueType,
    },
    /// A flattened record.
    Record {
        /// For optional records, a slot that only tells whether the record is present.
        presence: Option<u32>,
        /// The record's attributes, sorted by name.
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
    /// A record inside a set. The nodes of its fields are leaves without a slot of their own (`slot` is 0).
    Record(Vec<(String, bool, ValueType)>),
}

/// Statistics of the compilation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// The number of policies, linked ones included.
    pub policies: u64,
    /// The number of entities in the store, actions included.
    pub entities: u64,
    /// The number of classes of principals and of resources, over all actions.
    pub classes: u64,
    /// The number of cells, over all actions.
    pub cells: u64,
    /// The number of distinct programs.
    pub programs: u64,
    /// The number of fallbacks: policies for which Cedar's own evaluator decides.
    pub fallbacks: u64,
    /// The number of conditions left for decision time, counted per action and policy.
    pub residual: u64,
    /// The number of instructions.
    pub instructions: u64,
    /// The depth of stack that programs need at most, and the number of values that one may build at most.
    pub scratch: (u64, u64),
    /// The bytes that decisions may read, by what they grow with.
    pub memory: Memory,
    /// Statistics per action.
    pub actions: Vec<ActionStats>,
}

/// The bytes of a bundle, by use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The bytes of entities, texts, values and classes, divided by the number of entities.
    pub per_entity: f64,
    /// The bytes per principal.
    pub per_principal: f64,
    /// The bytes per resource.
    pub per_resource: f64,
    /// The bytes of tables, programs and code, divided by the number of policies.
    pub per_policy: f64,
    /// The bytes of tables, programs and code.
    pub tables: u64,
    /// The bytes of entities, texts, values and classes.
    pub entities: u64,
    /// The bytes of policies and schema as text.
    pub sources: u64,
}

/// Statistics of one action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActionStats {
    /// The action, as Cedar text.
    pub action: String,
    /// The number of policies whose scope admits the action.
    pub policies: u64,
    /// The number of classes of principals, over the action's layers.
    pub principal_classes: u64,
    /// The number of classes of resources, over the action's layers.
    pub resource_classes: u64,
    /// The number of cells stored.
    pub cells: u64,
    /// The number of distinct programs.
    pub programs: u64,
    /// The number of conditions over principal and resource that the table resolves.
    pub tabulated: u64,
    /// The number of conditions left for decision time.
    pub residual: u64,
    /// The layers, with their forms and what speaks for these.
    pub layers: Vec<LayerStats>,
}

/// Statistics of one layer of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerStats {
    /// `dense`, `rows` or `sets`.
    pub form: String,
    /// The number of policies.
    pub policies: u64,
    /// The number of classes of principals.
    pub principals: u64,
    /// The number of classes of resources.
    pub resources: u64,
    /// The bytes that the form takes.
    pub bytes: u64,
    /// The bytes that the dense form would take.
    pub dense_bytes: u64,
}
