//! The intermediate representation of policies, schema and entities, which the compiler reads.
//!
//! No type in here is Cedar's, so that a change of `cedar-policy-core` (which promises no stability) stops at this
//! crate. Expressions are untyped, like Cedar's own: an operation on a value of the wrong kind is an error of the
//! evaluation, whatever the validator found, so strict and permissive policies are compiled in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The uid of an entity: its fully qualified type and its id (unescaped).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid {
    /// The fully qualified type name, as `Settlement::Instruction`.
    pub ty: Arc<str>,
    /// The id without quotes and with its escapes resolved.
    pub id: Arc<str>,
}

impl Uid {
    /// Create a uid from its two parts, taken as they are.
    pub fn new(ty: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self { ty: ty.into(), id: id.into() }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.ty, self.id.escape_debug())
    }
}

/// An IP address or range (Cedar's `ipaddr`): the bits of the address, right-aligned, and the prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip {
    /// IPv4 address and prefix (0 to 32).
    V4(u32, u8),
    /// IPv6 address and prefix (0 to 128).
    V6(u128, u8),
}

/// A Cedar value. Sets and records are in canonical order, so that equality is Cedar's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Long(i64),
    /// A string.
    String(Arc<str>),
    /// A reference to an entity.
    Entity(Uid),
    /// `decimal`: the number times 10,000.
    Decimal(i64),
    /// `datetime`: milliseconds since 1970-01-01T00:00:00Z.
    Datetime(i64),
    /// `duration`: milliseconds.
    Duration(i64),
    /// `ipaddr`.
    Ip(Ip),
    /// A set.
    Set(BTreeSet<Datum>),
    /// A record.
    Record(BTreeMap<Arc<str>, Datum>),
}

/// The variables of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Var {
    Principal,
    Action,
    Resource,
    Context,
}

/// Operators of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Unary {
    Not,
    Neg,
    IsEmpty,
}

/// Operators of two operands. Both are always evaluated, the left one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Eq,
    Less,
    LessEq,
    Add,
    Sub,
    Mul,
    In,
    Contains,
    ContainsAll,
    ContainsAny,
    GetTag,
    HasTag,
}

/// Methods of the extension types whose operands are extension values. (Calls of constructors with literals are already
/// evaluated.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Ext {
    DecimalLessThan,
    DecimalLessThanOrEqual,
    DecimalGreaterThan,
    DecimalGreaterThanOrEqual,
    IsIpv4,
    IsIpv6,
    IsLoopback,
    IsMulticast,
    IsInRange,
    Offset,
    DurationSince,
    ToDate,
    ToTime,
    ToMilliseconds,
    ToSeconds,
    ToMinutes,
    ToHours,
    ToDays,
}

/// An element of a `like` pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum PatternElem {
    Char(char),
    Wildcard,
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// A literal, or a constant subexpression already evaluated by Cedar.
    Datum(Datum),
    /// A constant subexpression whose evaluation is an error.
    Error,
    /// A variable of the request.
    Var(Var),
    /// `a && b`, short-circuit.
    And(Arc<Expr>, Arc<Expr>),
    /// `a || b`, short-circuit.
    Or(Arc<Expr>, Arc<Expr>),
    /// `if a then b else c`.
    If(Arc<Expr>, Arc<Expr>, Arc<Expr>),
    /// An operator of one operand.
    Unary(Unary, Arc<Expr>),
    /// An operator of two operands.
    Binary(Binary, Arc<Expr>, Arc<Expr>),
    /// A method of an extension type.
    Ext(Ext, Vec<Expr>),
    /// `e.attr`.
    GetAttr(Arc<Expr>, Arc<str>),
    /// `e has a.b.c`: the path has at least one element.
    HasAttr(Arc<Expr>, Vec<Arc<str>>),
    /// `e like "pattern"`.
    Like(Arc<Expr>, Arc<[PatternElem]>),
    /// `e is Type`.
    Is(Arc<Expr>, Arc<str>),
    /// A set of expressions.
    Set(Vec<Expr>),
    /// A record of expressions.
    Record(BTreeMap<Arc<str>, Expr>),
    /// An expression that only Cedar's own evaluator can evaluate, and why (shown by `check`).
    Opaque(Arc<str>),
    /// Whether the evaluation of an expression is an error. The compiler makes this; no policy has it.
    Fails(Arc<Expr>),
}

impl Expr {
    /// Visit the direct subexpressions.
    pub fn children<'e>(&'e self, visit: &mut dyn FnMut(&'e Self)) {
        match self {
            Self::Datum(_) | Self::Error | Self::Var(_) | Self::Opaque(_) => {}
            Self::And(a, b) | Self::Or(a, b) | Self::Binary(_, a, b) => {
                visit(a);
                visit(b);
            }
            Self::If(a, b, c) => {
                visit(a);
                visit(b);
                visit(c);
            }
            Self::Unary(_, a)
            | Self::GetAttr(a, _)
            | Self::HasAttr(a, _)
            | Self::Like(a, _)
            | Self::Is(a, _)
            | Self::Fails(a) => visit(a),
            Self::Ext(_, parts) | Self::Set(parts) => parts.iter().for_each(visit),
            Self::Record(entries) => entries.values().for_each(visit),
        }
    }
}

impl Expr {
    /// Replace parts of the expression: `replace` returns the replacement of a part, or `None` to keep it.
    #[must_use]
    pub fn map(&self, replace: &mut dyn FnMut(&Self) -> Option<Self>) -> Self {
        if let Some(replaced) = replace(self) {
            return replaced;
        }
        let mut arc = |part: &Arc<Self>| Arc::new(part.map(replace));
        match self {
            Self::Datum(_) | Self::Error | Self::Var(_) | Self::Opaque(_) => self.clone(),
            Self::And(a, b) => Self::And(arc(a), arc(b)),
            Self::Or(a, b) => Self::Or(arc(a), arc(b)),
            Self::If(a, b, c) => Self::If(arc(a), arc(b), arc(c)),
            Self::Unary(op, a) => Self::Unary(*op, arc(a)),
            Self::Binary(op, a, b) => Self::Binary(*op, arc(a), arc(b)),
            Self::GetAttr(a, name) => Self::GetAttr(arc(a), name.clone()),
            Self::HasAttr(a, path) => Self::HasAttr(arc(a), path.clone()),
            Self::Like(a, pattern) => Self::Like(arc(a), pattern.clone()),
            Self::Is(a, ty) => Self::Is(arc(a), ty.clone()),
            Self::Fails(a) => Self::Fails(arc(a)),
            Self::Ext(method, parts) => Self::Ext(*method, parts.iter().map(|part| part.map(replace)).collect()),
            Self::Set(parts) => Self::Set(parts.iter().map(|part| part.map(replace)).collect()),
            Self::Record(entries) => {
                Self::Record(entries.iter().map(|(key, value)| (key.clone(), value.map(replace))).collect())
            }
        }
    }
}

/// The effect of a policy when it is satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Effect {
    Permit,
    Forbid,
}

/// A principal or resource constraint of a policy's scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `principal`.
    Any,
    /// `principal == uid`.
    Eq(Uid),
    /// `principal in uid`.
    In(Uid),
    /// `principal is Type`.
    Is(Arc<str>),
    /// `principal is Type in uid`.
    IsIn(Arc<str>, Uid),
}

/// The action constraint of a policy's scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ActionScope {
    /// `action`.
    Any,
    /// `action == uid`.
    Eq(Uid),
    /// `action in [uid, ...]` (also the form without brackets).
    In(Vec<Uid>),
}

/// What a forbid asks the principal to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUp {
    /// The names of the factors, each once, in the order of the text. None stand for any.
    pub factors: Vec<Arc<str>>,
    /// How many seconds ago the proof may have been given.
    pub max_age: Option<u64>,
}

/// A policy (static, or a template with its slots filled), its conditions split into conjuncts.
///
/// The policy is satisfied iff its scope matches and each conjunct, evaluated alone, is `true`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The id, which decisions name.
    pub id: Arc<str>,
    /// Permit or forbid.
    pub effect: Effect,
    /// The annotations, sorted by their keys.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// What `@step_up` and `@max_age` ask for, if they stand on the policy.
    pub step_up: Option<StepUp>,
    /// The constraint on the principal.
    pub principal: Scope,
    /// The constraint on the action.
    pub action: ActionScope,
    /// The constraint on the resource.
    pub resource: Scope,
    /// The conditions, flattened at top-level `&&`, in source order.
    pub conjuncts: Vec<Expr>,
    /// The index in [`crate::Sources::files`] of the file that contains the policy.
    pub file: u32,
    /// The first line (from 1) of the policy in that file.
    pub line: u32,
    /// The policy's source text (a link has its template's).
    pub source: Arc<str>,
}

/// A type of the schema, as far as values of the context need one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    Bool,
    Long,
    String,
    Decimal,
    Datetime,
    Duration,
    Ip,
    /// An entity of this type.
    Entity(Arc<str>),
    Set(Box<Type>),
    Record(BTreeMap<Arc<str>, Attribute>),
}

/// An attribute of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The attribute's type.
    pub ty: Type,
    /// Whether each record must have it (in a schema, without the `?`).
    pub required: bool,
}

/// An action of the schema.
#[derive(Debug, Clone)]
pub struct Action {
    /// The uid, as `Action::"order.new"`.
    pub uid: Uid,
    /// The action groups that it is in, transitively, without the action itself.
    pub ancestors: BTreeSet<Uid>,
    /// The types of principal that it applies to.
    pub principals: BTreeSet<Arc<str>>,
    /// The types of resource that it applies to.
    pub resources: BTreeSet<Arc<str>>,
    /// The context's attributes.
    pub context: BTreeMap<Arc<str>, Attribute>,
    /// Whether the engine fills in the context's attribute [`crate::LIVE`].
    pub live: bool,
}

/// An entity type of the schema.
#[derive(Debug, Clone)]
pub struct EntityType {
    /// The fully qualified name.
    pub name: Arc<str>,
    /// For an enumerated type, its ids; no others exist.
    pub enumerated: Option<BTreeSet<Arc<str>>>,
    /// The types that its entities may be in, directly or not.
    pub above: BTreeSet<Arc<str>>,
}

/// An entity of the store, which includes the schema's actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The uid.
    pub uid: Uid,
    /// The parents as listed, sorted, each once.
    pub parents: Vec<Uid>,
    /// The attributes, sorted by key.
    pub attrs: Vec<(Arc<str>, Datum)>,
    /// The tags, sorted by key.
    pub tags: Vec<(Arc<str>, Datum)>,
}

/// Everything that the compiler reads: policies, schema and entities.
#[derive(Debug, Clone)]
pub struct Model {
    /// Static policies in source order, then links.
    pub policies: Vec<Policy>,
    /// The actions that apply to something (groups without `appliesTo` are left out), sorted by uid.
    pub actions: Vec<Action>,
    /// The entity types without those of actions, sorted by name.
    pub types: Vec<EntityType>,
    /// The entities, sorted by uid.
    pub entities: Vec<Entity>,
}
