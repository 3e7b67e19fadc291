//! Decisions of Cedar over a slice of the store: the entities that a request can reach, fetched on demand.
//!
//! This saves keeping a large store twice, in the bundle's tables and in Cedar's representation, and it sees the
//! changes made since the bundle was compiled.

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
    /// All ancestors, transitively, without the entity itself.
    pub ancestors: Vec<Uid>,
    /// The attributes.
    pub attrs: Vec<(Arc<str>, Datum)>,
    /// The tags.
    pub tags: Vec<(Arc<str>, Datum)>,
}

/// A function that fetches an entity; `None` if the store lacks it.
pub type Store<'a> = &'a dyn Fn(&Uid) -> Option<SliceEntity>;

/// Fetch the entities that can be reached from these through attributes and tags.
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
    // Evaluation does not distinguish parents from other ancestors.
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

/// Return the uids that conditions of policies name: any request may read their attributes.
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
