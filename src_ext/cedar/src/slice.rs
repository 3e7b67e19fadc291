//! Cedar over a slice of the store: the entities that one request can reach, fetched when it comes.
//!
//! A large store need not be kept twice, once in the bundle's tables and once as Cedar wants it; and what changed since the
//! bundle was made counts.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use cedar_policy::{Entities, Policy};
use cedar_policy_core::ast::{self, Literal, PartialValue};
use cedar_policy_core::entities::{self, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;

use crate::diagnostic::RequestError;
use crate::ir::{Datum, Uid};
use crate::values::{self, Names};

/// An entity with its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEntity {
    /// All ancestors, transitively, without itself.
    pub ancestors: Vec<Uid>,
    /// Its attributes.
    pub attrs: Vec<(Arc<str>, Datum)>,
    /// Its tags.
    pub tags: Vec<(Arc<str>, Datum)>,
}

/// Where entities are fetched from; `None` for one that the store lacks.
pub type Store<'a> = &'a dyn Fn(&Uid) -> Option<SliceEntity>;

/// The entities that are reached from these through attributes and tags.
pub(crate) fn gather(start: impl IntoIterator<Item = Uid>, store: Store<'_>) -> Result<Entities, RequestError> {
    let mut pending: Vec<Uid> = start.into_iter().collect();
    let mut known: HashSet<Uid> = HashSet::new();
    let mut all: Vec<ast::Entity> = Vec::new();
    while let Some(uid) = pending.pop() {
        if !known.insert(uid.clone()) {
            continue;
        }
        let Some(entity) = store(&uid) else { continue };
        for (_, value) in entity.attrs.iter().chain(&entity.tags) {
            uids(value, &mut pending);
        }
        all.push(to_cedar(&uid, &entity).map_err(RequestError::new)?);
    }
    let gathered = entities::Entities::from_entities(
        all,
        None::<&NoEntitiesSchema>,
        TCComputation::AssumeAlreadyComputed,
        Extensions::all_available(),
    );
    gathered.map(Entities::from).map_err(|error| RequestError::of(&error))
}

fn to_cedar(uid: &Uid, entity: &SliceEntity) -> Result<ast::Entity, String> {
    let fields = |fields: &[(Arc<str>, Datum)]| {
        let field =
            |(key, value): &(Arc<str>, Datum)| Ok((key.as_ref().into(), PartialValue::Value(values::to_cedar(value)?)));
        fields.iter().map(field).collect::<Result<Vec<_>, String>>()
    };
    // Whether an ancestor is a parent makes no difference to an evaluation.
    let ancestors = entity.ancestors.iter().map(values::uid_to_cedar).collect::<Result<_, _>>()?;
    Ok(ast::Entity::new_with_attr_partial_value(
        values::uid_to_cedar(uid)?,
        fields(&entity.attrs)?,
        HashSet::new(),
        ancestors,
        fields(&entity.tags)?,
    ))
}

/// Add the uids in a value.
pub(crate) fn uids(value: &Datum, found: &mut Vec<Uid>) {
    match value {
        Datum::Entity(uid) => found.push(uid.clone()),
        Datum::Set(elements) => elements.iter().for_each(|element| uids(element, found)),
        Datum::Record(fields) => fields.values().for_each(|field| uids(field, found)),
        _ => {}
    }
}

/// The uids that conditions of policies name: their attributes may be read whoever asks.
pub(crate) fn named<'p>(policies: impl Iterator<Item = &'p Policy>) -> BTreeSet<Uid> {
    let mut names = Names::default();
    let mut found = BTreeSet::new();
    for policy in policies {
        let Some(conditions) = policy.as_ref().non_scope_constraints() else { continue };
        for part in conditions.subexpressions() {
            if let ast::ExprKind::Lit(Literal::EntityUID(uid)) = part.expr_kind() {
                found.insert(names.uid(uid));
            }
        }
    }
    found
}
