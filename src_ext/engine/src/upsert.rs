//! Upserts and removals: finds the entities that a change concerns, and their new classes.
//!
//! A change concerns the entity itself; if its parents change, all entities below it; and if conditions look through
//! attributes (`principal.desk.limit`), the entities that refer to it. Only these are classified again.

use crate::changes::{Changed, Changes, Map, Set, Store, UNCLASSED, Values, is_present};
use crate::reverse::{Reverse, parents};
use crate::snapshot::{LoadedBundle, Snapshot};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use ztfast_bundle::ClassPair;
use ztfast_vm::{Arena, EntityRef, PARENT, REFERRED, Scratch, Tag, Value};

/// An entity to put into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityData {
    /// The type and id.
    pub uid: (String, String),
    /// The types and ids of the parents.
    pub parents: Vec<(String, String)>,
    /// The attributes.
    pub attrs: Vec<(String, AttrValue)>,
    /// The tags.
    pub tags: Vec<(String, AttrValue)>,
}

/// A value of an attribute or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AttrValue {
    Bool(bool),
    Long(i64),
    String(String),
    /// An entity's type and id.
    Entity(String, String),
    /// The number times 10,000.
    Decimal(i64),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Datetime(i64),
    /// Milliseconds.
    Duration(i64),
    /// Address and prefix.
    Ip4(u32, u8),
    /// Address and prefix.
    Ip6(u128, u8),
    /// Each element once.
    Set(Vec<AttrValue>),
    Record(Vec<(String, AttrValue)>),
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] ztfast_pages::Forked),
    /// The schema lacks the type.
    #[error("the bundle's schema has no entity type {0:?}")]
    UnknownType(String),
    /// The entity is an action, and actions come from the schema.
    #[error(
        "{ty}::{id:?} is an action: actions come from the schema, so compile a bundle with another schema and swap"
    )]
    Action {
        /// The action's type.
        ty: String,
        /// The action's id.
        id: String,
    },
    /// The entity would be its own ancestor.
    #[error("{ty}::{id:?} would be its own ancestor")]
    Cycle {
        /// The entity's type.
        ty: String,
        /// The entity's id.
        id: String,
    },
    /// The entity is both upserted and removed, or named twice.
    #[error("{ty}::{id:?} is named twice in one change")]
    Twice {
        /// The entity's type.
        ty: String,
        /// The entity's id.
        id: String,
    },
    /// The engine has no numbers left for entities.
    #[error("more entities than the engine can number; compile a new bundle")]
    TooMany,
}

/// The result of a change.
pub(crate) struct Change {
    pub changes: Changes,
    /// The entities whose classes may have changed.
    pub touched: Vec<u32>,
}

/// Apply upserts and removals to a snapshot's changes.
pub(crate) fn change(
    snapshot: &Snapshot,
    upserts: &[EntityData],
    removals: &[(String, String)],
) -> Result<Change, ChangeError> {
    let loaded = &*snapshot.loaded;
    let changes = snapshot.changes.as_deref().cloned().unwrap_or_default();
    let reverse = loaded.reverse();
    let mut changer = Changer { loaded, reverse, changes, moved: Vec::new(), looks: FxHashSet::default() };
    let mut named: FxHashSet<u32> = FxHashSet::default();
    for data in upserts {
        let (ty, id) = &data.uid;
        let entity = changer.entity(ty, id)?;
        if !named.insert(entity) {
            return Err(ChangeError::Twice { ty: ty.clone(), id: id.clone() });
        }
        changer.put(entity, data)?;
    }
    for (ty, id) in removals {
        let entity = changer.entity(ty, id)?;
        if !named.insert(entity) {
            return Err(ChangeError::Twice { ty: ty.clone(), id: id.clone() });
        }
        changer.take(entity);
    }
    changer.close_hierarchy()?;
    changer.look_through();
    let touched: Vec<u32> = changer.looks.iter().copied().collect();
    changer.classify(&touched);
    Ok(Change { changes: changer.changes, touched })
}

struct Changer<'a> {
    loaded: &'a LoadedBundle,
    reverse: Arc<Reverse>,
    changes: Changes,
    /// Entities whose parents changed.
    moved: Vec<u32>,
    /// Entities with a change that conditions may read.
    looks: FxHashSet<u32>,
}

impl Changer<'_> {
    /// Return the number of a text, and add it if it is new.
    fn string(&mut self, text: &str) -> u64 {
        if let Some(number) = self.loaded.bundle.find_string(text) {
            return u64::from(number);
        }
        if let Some(number) = self.changes.string(text) {
            return number;
        }
        let text: Arc<str> = text.into();
        let fresh = u32::try_from(self.changes.texts.len()).unwrap_or(u32::MAX);
        self.changes.texts.push_back(text.clone());
        self.changes.strings.insert(text, fresh);
        ztfast_vm::ADDED_STRING | u64::from(fresh)
    }

    /// Return the number of an entity, and add it if it is new.
    fn entity(&mut self, ty: &str, id: &str) -> Result<u32, ChangeError> {
        let bundle = &self.loaded.bundle;
        let number = self.loaded.type_number(ty).ok_or_else(|| ChangeError::UnknownType(ty.to_owned()))?;
        let stand_in = bundle.types().get(number as usize).map_or(u32::MAX, |record| record.absent);
        if stand_in == u32::MAX {
            return Err(ChangeError::Action { ty: ty.to_owned(), id: id.to_owned() });
        }
        if let Some(known) = bundle.find_entity(number, id) {
            return Ok(known.index);
        }
        if let Some(&known) = self.changes.numbers.get(&number).and_then(|ids| ids.get(id)) {
            return Ok(known);
        }
        let key: Arc<str> = id.into();
        let fresh = u32::try_from(bundle.entities().len() + self.changes.added as usize)
            .ok()
            .filter(|&fresh| fresh < u32::MAX >> 1)
            .ok_or(ChangeError::TooMany)?;
        let id = self.string(id);
        let type_classes = bundle.classes().get(stand_in as usize).copied().unwrap_or_default();
        let changed = Changed {
            ty: number,
            id,
            present: false,
            values: Some(Values::default()),
            parents: Box::default(),
            ancestors: Box::default(),
            classes: ClassPair::default(),
            type_classes,
            selectors: [Box::default(), Box::default()],
        };
        self.changes.numbers.entry(number).or_default().insert(key, fresh);
        self.changes.added += 1;
        self.changes.entities.insert(fresh, Arc::new(changed));
        self.looks.insert(fresh);
        Ok(fresh)
    }

    /// Return the current state of an entity.
    fn current(&self, entity: u32) -> Changed {
        if let Some(changed) = self.changes.entities.get(&entity) {
            return (**changed).clone();
        }
        let bundle = &self.loaded.bundle;
        let record = bundle.entities().get(entity as usize).copied().unwrap_or_default();
        let classes = bundle.classes().get(entity as usize).copied().unwrap_or_default();
        Changed {
            ty: record.ty,
            id: u64::from(record.id),
            present: is_present(&self.loaded.bundle, None, entity),
            values: None,
            parents: parents(bundle, &record).into(),
            ancestors: bundle.store().ancestors(&record).unwrap_or_default().into(),
            classes,
            type_classes: classes,
            selectors: [Box::default(), Box::default()],
        }
    }

    fn put(&mut self, entity: u32, data: &EntityData) -> Result<(), ChangeError> {
        let mut changed = self.current(entity);
        let mut own = Vec::with_capacity(data.parents.len());
        for (ty, id) in &data.parents {
            own.push(self.entity(ty, id)?);
        }
        own.sort_unstable();
        own.dedup();
        let mut values = Vec::new();
        let attrs = self.pairs(&data.attrs, entity, &mut values)?;
        let tags = self.pairs(&data.tags, entity, &mut values)?;
        let attrs_start = values.len();
        values.extend(attrs);
        let tags_start = values.len();
        values.extend(tags);
        if *changed.parents != *own {
            for &parent in own.iter().filter(|parent| changed.parents.binary_search(parent).is_err()) {
                add(&mut self.changes.children, parent, entity);
            }
            changed.parents = own.into();
            self.moved.push(entity);
        }
        if self.loaded.bundle.meta().reach > 0 {
            for &value in &values {
                if value.is(Tag::Entity) {
                    add(&mut self.changes.referrers, EntityRef::from_bits(value.payload).index, entity);
                }
            }
        }
        changed.values = Some(Values { all: values.into(), attrs_start, tags_start });
        changed.present = true;
        self.changes.entities.insert(entity, Arc::new(changed));
        self.looks.insert(entity);
        Ok(())
    }

    fn take(&mut self, entity: u32) {
        let mut changed = self.current(entity);
        if !changed.parents.is_empty() {
            self.moved.push(entity);
        }
        (changed.present, changed.values, changed.parents) = (false, Some(Values::default()), Box::default());
        self.changes.entities.insert(entity, Arc::new(changed));
        self.looks.insert(entity);
    }

    /// Return pairs of key and value, sorted by the keys' numbers. The parts of sets and records go to `values`.
    fn pairs(
        &mut self,
        fields: &[(String, AttrValue)],
        owner: u32,
        values: &mut Vec<Value>,
    ) -> Result<Vec<Value>, ChangeError> {
        let mut pairs = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            pairs.push((self.string(key), self.value(value, owner, values)?));
        }
        pairs.sort_unstable_by_key(|&(key, _)| key);
        Ok(pairs.into_iter().flat_map(|(key, value)| [Value::string(key), value]).collect())
    }

    #[allow(clippy::cast_possible_truncation)] // an entity has fewer than 2^32 values
    fn value(&mut self, value: &AttrValue, owner: u32, values: &mut Vec<Value>) -> Result<Value, ChangeError> {
        Ok(match value {
            AttrValue::Bool(b) => Value::bool(*b),
            AttrValue::Long(n) => Value::number(Tag::Long, *n),
            AttrValue::String(text) => Value::string(self.string(text)),
            AttrValue::Entity(ty, id) => Value::entity(EntityRef::known(self.entity(ty, id)?)),
            AttrValue::Decimal(n) => Value::number(Tag::Decimal, *n),
            AttrValue::Datetime(n) => Value::number(Tag::Datetime, *n),
            AttrValue::Duration(n) => Value::number(Tag::Duration, *n),
            AttrValue::Ip4(addr, prefix) => Value::ip4(*addr, *prefix),
            AttrValue::Ip6(bits, prefix) => {
                values.push(Value::wide(*bits));
                Value::ip6(Arena::Changed, values.len() as u32 - 1, *prefix).owned_by(owner)
            }
            AttrValue::Set(elements) => {
                let mut parts = Vec::with_capacity(elements.len());
                for element in elements {
                    parts.push(self.value(element, owner, values)?);
                }
                let sorted = parts.iter().all(|value| value.is_scalar());
                if sorted {
                    parts.sort_unstable_by_key(|value| value.key());
                }
                let start = values.len() as u32;
                values.extend_from_slice(&parts);
                Value::set(Arena::Changed, start, parts.len() as u32, sorted).owned_by(owner)
            }
            AttrValue::Record(fields) => {
                let pairs = self.pairs(fields, owner, values)?;
                let start = values.len() as u32;
                values.extend_from_slice(&pairs);
                Value::record(Arena::Changed, start, pairs.len() as u32 / 2).owned_by(owner)
            }
        })
    }

    /// Return whether the bundle's record has a flag.
    fn has(&self, entity: u32, flag: u32) -> bool {
        self.loaded.bundle.entities().get(entity as usize).is_some_and(|record| record.flags & flag != 0)
    }

    /// Compute the ancestors of all entities whose parents changed, and of all entities below them.
    fn close_hierarchy(&mut self) -> Result<(), ChangeError> {
        let mut below: Vec<u32> = std::mem::take(&mut self.moved);
        let mut known: FxHashSet<u32> = below.iter().copied().collect();
        let mut at = 0;
        while let Some(&entity) = below.get(at) {
            at += 1;
            for child in self.children(entity) {
                if known.insert(child) {
                    below.push(child);
                }
            }
        }
        // Parents come before children: each entity waits for those of its parents that are affected too.
        let mut waits: FxHashMap<u32, usize> = FxHashMap::default();
        let mut ready: Vec<u32> = Vec::new();
        for &entity in &below {
            let count = self.current(entity).parents.iter().filter(|parent| known.contains(parent)).count();
            waits.insert(entity, count);
            if count == 0 {
                ready.push(entity);
            }
        }
        let mut done = 0;
        while let Some(entity) = ready.pop() {
            done += 1;
            let mut changed = self.current(entity);
            let mut ancestors: Vec<u32> = changed.parents.to_vec();
            for &parent in &changed.parents {
                ancestors.extend_from_slice(&self.current(parent).ancestors);
            }
            ancestors.sort_unstable();
            ancestors.dedup();
            changed.ancestors = ancestors.into();
            self.changes.entities.insert(entity, Arc::new(changed));
            self.looks.insert(entity);
            for child in self.children(entity) {
                if let Some(count) = waits.get_mut(&child) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(child);
                    }
                }
            }
        }
        if done < below.len() {
            let own = below.iter().find(|entity| waits.get(entity).is_some_and(|&count| count > 0));
            let uid = own.and_then(|&entity| self.changes.uid(&self.loaded.bundle, entity));
            let (ty, id) = uid.unwrap_or_default();
            return Err(ChangeError::Cycle { ty: ty.to_owned(), id: id.to_owned() });
        }
        Ok(())
    }

    /// Return the entities that have this one as a parent now.
    fn children(&self, entity: u32) -> Vec<u32> {
        let mut found: Vec<u32> =
            self.changes.children.get(&entity).map_or_else(Vec::new, |added| added.iter().copied().collect());
        if self.has(entity, PARENT) {
            found.extend(self.reverse.children.get(entity));
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|&child| match self.changes.entities.get(&child) {
            Some(changed) => changed.parents.binary_search(&entity).is_ok(),
            None => true,
        });
        found
    }

    /// Add the entities that refer to changed ones, as many steps away as conditions look.
    fn look_through(&mut self) {
        let mut edge: Vec<u32> = self.looks.iter().copied().collect();
        for _ in 0..self.loaded.bundle.meta().reach {
            if edge.is_empty() {
                return;
            }
            let mut next = Vec::new();
            for entity in edge {
                let added = self.changes.referrers.get(&entity).cloned().unwrap_or_default();
                let reverse = self.has(entity, REFERRED).then(|| self.reverse.referrers.get(entity));
                for &referrer in added.iter().chain(reverse.into_iter().flatten()) {
                    if self.looks.insert(referrer) {
                        next.push(referrer);
                    }
                }
            }
            edge = next;
        }
    }

    /// Find the classes of all entities concerned.
    fn classify(&mut self, entities: &[u32]) {
        let bundle = &self.loaded.bundle;
        let classifier = &self.loaded.classifier;
        let mut scratch = Scratch::default();
        let mut found = Vec::with_capacity(entities.len());
        {
            let store = Store { bundle, changes: &self.changes };
            let view = store.view();
            for &entity in entities {
                let mut changed = self.current(entity);
                let mut side = |number: usize, type_class: u32, ty: u32| {
                    if type_class == 0 {
                        return (0, Box::default());
                    }
                    let selectors = classifier.selectors(bundle, number, entity, &view, &mut scratch);
                    (classifier.class(bundle, number, ty, &selectors).unwrap_or(UNCLASSED), selectors)
                };
                let (principal, of_principal) = side(0, changed.type_classes.principal, changed.ty);
                let (resource, of_resource) = side(1, changed.type_classes.resource, changed.ty);
                changed.classes = ClassPair { principal, resource };
                changed.selectors = [of_principal, of_resource];
                found.push((entity, Arc::new(changed)));
            }
        }
        for (entity, changed) in found {
            self.changes.entities.insert(entity, changed);
        }
    }
}

/// Add an entity to the set of another.
fn add(sets: &mut Map<u32, Set>, of: u32, entity: u32) {
    sets.entry(of).or_default().insert(entity);
}
