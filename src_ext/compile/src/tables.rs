//! The tables that number strings, types and entities, and store values.

use crate::error::{CompileError, number};
use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use std::collections::HashSet;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;
use ztfast_bundle::{Parts, Store, TypeRec, build_entity_index, build_string_index};
use ztfast_cedar::ir::{ActionScope, Datum, Entity, Expr, Ip, Model, PatternElem, Scope, Uid};
use ztfast_vm::{
    Arena, EntityRec, EntityRef, PARENT, PRESENT, PatternRec, REFERRED, StoreView, StringsView, Tag, Value, WILDCARD,
};

mod base;

/// The tables that programs read, while the compiler fills them.
#[derive(Default)]
pub(crate) struct Tables {
    strings: HashTable<u32>,
    string_offsets: Vec<u32>,
    string_bytes: Vec<u8>,
    pub types: Vec<TypeRec>,
    type_numbers: FxHashMap<Arc<str>, u32>,
    pub entities: Vec<EntityRec>,
    /// The numbers of entities, by the numbers of type and id.
    entity_numbers: FxHashMap<(u32, u32), u32>,
    /// For each entity, whether a policy's conditions name it.
    pub named: Vec<bool>,
    ancestors: Vec<u32>,
    lists: HashTable<(u32, u32)>,
    values: Vec<Value>,
    slices: HashTable<(u32, u32)>,
    constants: FxHashMap<ValueKey, u32>,
    patterns: Vec<PatternRec>,
    pattern_elems: Vec<u32>,
    pattern_numbers: FxHashMap<Arc<[PatternElem]>, u32>,
    /// Whether all entities have been added: later values come from policies.
    resolved: bool,
    /// The stack and the built values that programs need at most.
    pub scratch: (usize, usize),
}

/// The most ancestors over all entities, besides some for each: a chain of ten thousand has fewer.
const ANCESTORS: usize = 1 << 26;

/// A value as a key of a map.
type ValueKey = (u32, u32, u64);

impl Tables {
    /// Add the model's entities. Return the tables, and how far they follow from the store alone. `progress` is called
    /// with the number of entities done.
    pub fn of_entities(model: &mut Model, progress: &mut dyn FnMut(usize)) -> Result<(Self, Store), CompileError> {
        let mut tables = Self { string_offsets: vec![0], ..Self::default() };
        for ty in &model.types {
            tables.name_type(&ty.name);
        }
        let entities = std::mem::take(&mut model.entities);
        for entity in &entities {
            tables.name(&entity.uid);
        }
        let mut parents = Vec::new();
        for (done, entity) in entities.into_iter().enumerate() {
            if done.is_multiple_of(1 << 16) {
                progress(done);
                tables.check_sizes()?;
            }
            tables.fill(&entity, &mut parents);
        }
        tables.check_sizes()?;
        let store = Store {
            hash: String::new(),
            types: number(tables.types.len(), "types")?,
            strings: number(tables.string_offsets.len() - 1, "strings")?,
            entities: number(tables.entities.len(), "entities")?,
            parents: number(tables.ancestors.len(), "ancestors")?,
            values: number(tables.values.len(), "values")?,
        };
        Ok((tables, store))
    }

    /// Add the entities that the schema and the policies name, and complete the hierarchy.
    pub fn add_policies(&mut self, model: &Model) -> Result<(), CompileError> {
        self.resolved = true;
        self.name_the_rest(model);
        self.add_stand_ins(model);
        self.close_hierarchy()?;
        self.check_sizes()
    }

    fn check_sizes(&self) -> Result<(), CompileError> {
        number(self.values.len(), "values")?;
        number(self.string_bytes.len(), "bytes of text")?;
        number(self.ancestors.len(), "ancestors")?;
        number(self.entities.len(), "entities").map(drop)
    }

    /// Add an entity's parents, attributes and tags.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks
    fn fill(&mut self, entity: &Entity, parents: &mut Vec<u32>) {
        let at = self.name(&entity.uid) as usize;
        parents.clear();
        for parent in &entity.parents {
            let parent = self.name(parent);
            self.entities[parent as usize].flags |= PARENT;
            parents.push(parent);
        }
        parents.sort_unstable();
        parents.dedup();
        let (parents_start, parents_len) = self.list(parents);
        let (attrs_start, attrs_len) = self.pairs(entity.attrs.iter().map(|(key, value)| (key, value)));
        let (tags_start, tags_len) = self.pairs(entity.tags.iter().map(|(key, value)| (key, value)));
        let record = &mut self.entities[at];
        *record = EntityRec {
            flags: record.flags | PRESENT,
            attrs_start,
            attrs_len,
            tags_start,
            tags_len,
            parents_start,
            parents_len,
            ..*record
        };
    }

    /// Add entities that only the schema or the policies name.
    fn name_the_rest(&mut self, model: &Model) {
        for ty in &model.types {
            for id in ty.enumerated.iter().flatten() {
                self.name(&Uid { ty: ty.name.clone(), id: id.clone() });
            }
        }
        for action in &model.actions {
            self.name(&action.uid);
            action.ancestors.iter().for_each(|uid| _ = self.name(uid));
        }
        let mut seen: HashSet<Uid> = HashSet::new();
        let mut named = Vec::new();
        for policy in &model.policies {
            for scope in [&policy.principal, &policy.resource] {
                match scope {
                    Scope::Eq(uid) | Scope::In(uid) => _ = self.name(uid),
                    Scope::IsIn(ty, uid) => {
                        self.name_type(ty);
                        self.name(uid);
                    }
                    Scope::Any | Scope::Is(_) => {}
                }
            }
            match &policy.action {
                ActionScope::Any => {}
                ActionScope::Eq(uid) => _ = self.name(uid),
                ActionScope::In(uids) => uids.iter().for_each(|uid| _ = self.name(uid)),
            }
            for expr in &policy.conjuncts {
                expr_uids(expr, &mut |uid| {
                    if seen.insert(uid.clone()) {
                        named.push(self.name(uid));
                    }
                });
            }
        }
        self.named = vec![false; self.entities.len()];
        for entity in named {
            self.named[entity as usize] = true;
        }
    }

    /// Add a stand-in for each entity type, except those of actions, for the entities that the bundle lacks.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks
    fn add_stand_ins(&mut self, model: &Model) {
        let action_types: HashSet<&Arc<str>> = model.actions.iter().map(|action| &action.uid.ty).collect();
        let action_types: HashSet<u32> = action_types.into_iter().map(|ty| self.type_number(ty)).collect();
        for ty in &model.types {
            let at = self.type_number(&ty.name) as usize;
            self.types[at].enumerated = u32::from(ty.enumerated.is_some());
        }
        for ty in 0..self.types.len() as u32 {
            if !action_types.contains(&ty) {
                self.types[ty as usize].absent = self.entities.len() as u32;
                self.entities.push(EntityRec { ty, id: u32::MAX, ..EntityRec::default() });
            }
        }
        self.named.resize(self.entities.len(), false);
    }

    /// Compute each entity's ancestors: its parents and theirs. Entities with the same parents share a list.
    fn close_hierarchy(&mut self) -> Result<(), CompileError> {
        // The ancestors of a chain grow with the square of its length, and would exhaust memory long before the file's
        // limit.
        let most = ANCESTORS + 256 * self.entities.len();
        let mut known: FxHashMap<(u32, u32), (u32, u32)> = FxHashMap::default();
        known.insert((0, 0), (0, 0));
        let mut begun = vec![false; self.entities.len()];
        let mut pending: Vec<u32> = Vec::new();
        for start in 0..u32::try_from(self.entities.len()).unwrap_or(u32::MAX) {
            pending.push(start);
            while let Some(&at) = pending.last() {
                let record = self.entities[at as usize];
                let key = (record.parents_start, record.parents_len);
                let parents = &self.ancestors[key.0 as usize..][..key.1 as usize];
                if !known.contains_key(&key) && !std::mem::replace(&mut begun[at as usize], true) {
                    // The parents come first. (The loader refuses cycles; with one, this would end all the same.)
                    pending.extend(parents.iter().filter(|&&parent| !begun[parent as usize]));
                    continue;
                }
                let made = if let Some(&made) = known.get(&key) {
                    made
                } else {
                    let mut all = parents.to_vec();
                    for &parent in parents {
                        let above = &self.entities[parent as usize];
                        if let Some(&(from, len)) = known.get(&(above.parents_start, above.parents_len)) {
                            all.extend_from_slice(&self.ancestors[from as usize..][..len as usize]);
                        }
                    }
                    all.sort_unstable();
                    all.dedup();
                    let made = self.list(&all);
                    if self.ancestors.len() > most {
                        return Err(CompileError::TooMany { what: "ancestors" });
                    }
                    known.insert(key, made);
                    made
                };
                let record = &mut self.entities[at as usize];
                (record.ancestors_start, record.ancestors_len) = made;
                pending.pop();
            }
        }
        Ok(())
    }

    /// Return the number of an entity, and add it if it is new.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks
    fn name(&mut self, uid: &Uid) -> u32 {
        let (ty, id) = (self.name_type(&uid.ty), self.string(&uid.id));
        let entities = &mut self.entities;
        *self.entity_numbers.entry((ty, id)).or_insert_with(|| {
            entities.push(EntityRec { ty, id, ..EntityRec::default() });
            entities.len() as u32 - 1
        })
    }

    #[allow(clippy::cast_possible_truncation)] // types are fewer than entities
    fn name_type(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&known) = self.type_numbers.get(name) {
            return known;
        }
        let text = self.string(name);
        self.types.push(TypeRec { name: text, absent: u32::MAX, enumerated: 0 });
        self.type_numbers.insert(name.clone(), self.types.len() as u32 - 1);
        self.types.len() as u32 - 1
    }

    /// Return the number of a text, and add it if it is new.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks the bytes' count, and offsets are no more
    pub fn string(&mut self, text: &str) -> u32 {
        let (offsets, bytes) = (&self.string_offsets, &self.string_bytes);
        let of = |number: u32| &bytes[offsets[number as usize] as usize..offsets[number as usize + 1] as usize];
        let hash = xxh3_64(text.as_bytes());
        if let Some(&known) = self.strings.find(hash, |&number| of(number) == text.as_bytes()) {
            return known;
        }
        let fresh = offsets.len() as u32 - 1;
        self.strings.insert_unique(hash, fresh, |&number| xxh3_64(of(number)));
        self.string_bytes.extend_from_slice(text.as_bytes());
        self.string_offsets.push(self.string_bytes.len() as u32);
        fresh
    }

    /// Return the number of an entity type. A type that nothing else names gets a number that no entity has.
    pub fn type_number(&self, name: &str) -> u32 {
        self.type_numbers.get(name).copied().unwrap_or(u32::MAX)
    }

    /// Return an entity, and add it if it is new.
    pub fn entity(&mut self, uid: &Uid) -> EntityRef {
        EntityRef::known(self.name(uid))
    }

    /// Return an entity as a request would refer to it: a stand-in counts as some entity that the bundle lacks.
    pub fn sample(&self, number: u32) -> EntityRef {
        let stand_in = self.entities.get(number as usize).is_some_and(|entity| entity.id == u32::MAX);
        EntityRef { index: number, foreign: u32::from(stand_in) }
    }

    /// Convert a datum to a value. Equal data have equal values.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks the pool's size
    pub fn value(&mut self, value: &Datum) -> Value {
        match value {
            Datum::Bool(b) => Value::bool(*b),
            Datum::Long(n) => Value::number(Tag::Long, *n),
            Datum::String(text) => Value::string(u64::from(self.string(text))),
            Datum::Entity(uid) => {
                let entity = self.entity(uid);
                if !self.resolved {
                    self.entities[entity.index as usize].flags |= REFERRED;
                }
                Value::entity(entity)
            }
            Datum::Decimal(n) => Value::number(Tag::Decimal, *n),
            Datum::Datetime(n) => Value::number(Tag::Datetime, *n),
            Datum::Duration(n) => Value::number(Tag::Duration, *n),
            Datum::Ip(Ip::V4(addr, prefix)) => Value::ip4(*addr, *prefix),
            Datum::Ip(Ip::V6(bits, prefix)) => {
                let (start, _) = self.slice(&[Value::wide(*bits)]);
                Value::ip6(Arena::Bundle, start, *prefix)
            }
            Datum::Set(elements) => {
                let mut parts: Vec<Value> = elements.iter().map(|element| self.value(element)).collect();
                let sorted = parts.iter().all(|value| value.is_scalar());
                if sorted {
                    parts.sort_unstable_by_key(|value| value.key());
                }
                let (start, len) = self.slice(&parts);
                Value::set(Arena::Bundle, start, len, sorted)
            }
            Datum::Record(fields) => {
                let (start, len) = self.pairs(fields.iter());
                Value::record(Arena::Bundle, start, len)
            }
        }
    }

    /// Convert a value, whose parts lie in the pool or in `scratch`, to a datum; `None` for an entity that nothing
    /// names.
    pub fn value_of(&self, value: Value, scratch: &[Value]) -> Option<Datum> {
        let composite = !value.is_scalar();
        let values = if composite && value.arena() == Arena::Scratch { scratch } else { &self.values };
        let part = |at: u32| values.get((value.start() + at) as usize).copied();
        Some(match Tag::from_u32(value.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Datum::Bool(value.payload != 0),
            Tag::Long => Datum::Long(value.as_i64()),
            Tag::String => Datum::String(self.text(u32::try_from(value.payload).ok()?)?),
            Tag::Entity => Datum::Entity(self.uid(EntityRef::from_bits(value.payload))?),
            Tag::Decimal => Datum::Decimal(value.as_i64()),
            Tag::Datetime => Datum::Datetime(value.as_i64()),
            Tag::Duration => Datum::Duration(value.as_i64()),
            Tag::Ip4 => {
                let [a, b, c, d, prefix, ..] = value.payload.to_le_bytes();
                Datum::Ip(Ip::V4(u32::from_le_bytes([a, b, c, d]), prefix))
            }
            Tag::Ip6 => Datum::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(value.len()).ok()?)),
            Tag::Set => {
                Datum::Set((0..value.len()).map(|at| self.value_of(part(at)?, scratch)).collect::<Option<_>>()?)
            }
            Tag::Record => {
                let field = |at| {
                    let key = self.text(u32::try_from(part(2 * at)?.payload).ok()?)?;
                    Some((key, self.value_of(part(2 * at + 1)?, scratch)?))
                };
                Datum::Record((0..value.len()).map(field).collect::<Option<_>>()?)
            }
        })
    }

    fn text(&self, number: u32) -> Option<Arc<str>> {
        let bytes = self.view().strings.get(number)?;
        std::str::from_utf8(bytes).ok().map(Arc::from)
    }

    /// Return the uid of a named entity.
    fn uid(&self, entity: EntityRef) -> Option<Uid> {
        let record = self.entities.get(entity.index as usize).filter(|_| entity.foreign == 0)?;
        let ty = self.text(self.types.get(record.ty as usize)?.name)?;
        Some(Uid { ty, id: self.text(record.id)? })
    }

    /// Add pairs of key and value, sorted by the keys' numbers. Return their start, and how many pairs there are.
    fn pairs<'v>(&mut self, fields: impl Iterator<Item = (&'v Arc<str>, &'v Datum)>) -> (u32, u32) {
        let mut pairs: Vec<(u32, Value)> = fields.map(|(key, value)| (self.string(key), self.value(value))).collect();
        pairs.sort_unstable_by_key(|&(key, _)| key);
        let values: Vec<Value> =
            pairs.iter().flat_map(|&(key, value)| [Value::string(u64::from(key)), value]).collect();
        let (start, len) = self.slice(&values);
        (start, len / 2)
    }

    /// Add values to the pool. Equal slices are stored once.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks the pool's size
    fn slice(&mut self, slice: &[Value]) -> (u32, u32) {
        if slice.is_empty() {
            return (0, 0);
        }
        let values = &mut self.values;
        let hash = xxh3_64(slice.as_bytes());
        let of = |values: &[Value], (start, len): (u32, u32)| -> u64 {
            xxh3_64(values[start as usize..][..len as usize].as_bytes())
        };
        if let Some(&known) = self.slices.find(hash, |&(start, len)| values[start as usize..][..len as usize] == *slice)
        {
            return known;
        }
        let place = (values.len() as u32, slice.len() as u32);
        values.extend_from_slice(slice);
        self.slices.insert_unique(hash, place, |&place| of(values, place));
        place
    }

    /// Add entities to the pool of ancestors. Equal lists are stored once.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks the pool's size
    fn list(&mut self, list: &[u32]) -> (u32, u32) {
        if list.is_empty() {
            return (0, 0);
        }
        let pool = &mut self.ancestors;
        let of = |pool: &[u32], (start, len): (u32, u32)| xxh3_64(pool[start as usize..][..len as usize].as_bytes());
        let hash = xxh3_64(list.as_bytes());
        if let Some(&known) = self.lists.find(hash, |&(start, len)| pool[start as usize..][..len as usize] == *list) {
            return known;
        }
        let place = (pool.len() as u32, list.len() as u32);
        pool.extend_from_slice(list);
        self.lists.insert_unique(hash, place, |&place| of(pool, place));
        place
    }

    /// Return the place of a constant in the value pool.
    #[allow(clippy::cast_possible_truncation)] // `check_sizes` checks the pool's size
    pub fn constant(&mut self, value: Value) -> u32 {
        let values = &mut self.values;
        *self.constants.entry((value.tag, value.aux, value.payload)).or_insert_with(|| {
            values.push(value);
            values.len() as u32 - 1
        })
    }

    /// Return the number of a pattern.
    #[allow(clippy::cast_possible_truncation)] // patterns come from policy texts
    pub fn pattern(&mut self, elems: &Arc<[PatternElem]>) -> u32 {
        if let Some(&known) = self.pattern_numbers.get(elems) {
            return known;
        }
        let fresh = self.patterns.len() as u32;
        self.patterns.push(PatternRec { start: self.pattern_elems.len() as u32, len: elems.len() as u32 });
        self.pattern_elems.extend(elems.iter().map(|elem| match elem {
            PatternElem::Char(c) => u32::from(*c),
            PatternElem::Wildcard => WILDCARD,
        }));
        self.pattern_numbers.insert(elems.clone(), fresh);
        fresh
    }

    /// Return the tables as programs read them.
    pub fn view(&self) -> StoreView<'_> {
        StoreView {
            values: &self.values,
            strings: StringsView { offsets: &self.string_offsets, bytes: &self.string_bytes },
            entities: &self.entities,
            ancestors: &self.ancestors,
            patterns: &self.patterns,
            pattern_elems: &self.pattern_elems,
            changes: None,
        }
    }

    /// Return how much there is of what policies add.
    pub fn sizes(&self) -> [usize; 5] {
        let Self { string_offsets, string_bytes, values, patterns, pattern_elems, .. } = self;
        [string_offsets.len(), string_bytes.len(), values.len(), patterns.len(), pattern_elems.len()]
    }

    /// Drop what was added since. After this, the tables can only be moved into the bundle's parts.
    pub fn truncate(&mut self, [offsets, bytes, values, patterns, elements]: &[usize; 5]) {
        self.string_offsets.truncate(*offsets);
        self.string_bytes.truncate(*bytes);
        self.values.truncate(*values);
        self.patterns.truncate(*patterns);
        self.pattern_elems.truncate(*elements);
    }

    /// Move the tables into the bundle's parts.
    pub fn finish(self, parts: &mut Parts) {
        parts.string_index = build_string_index(&self.string_offsets, &self.string_bytes);
        let keys: Vec<(u32, u32)> = self.entities.iter().map(|entity| (entity.ty, entity.id)).collect();
        parts.entity_index = build_entity_index(&keys);
        parts.string_offsets = self.string_offsets;
        parts.string_bytes = self.string_bytes;
        parts.types = self.types;
        parts.entities = self.entities;
        parts.ancestors = self.ancestors;
        parts.values = self.values;
        parts.patterns = self.patterns;
        parts.pattern_elems = self.pattern_elems;
    }
}

fn value_uids(value: &Datum, name: &mut impl FnMut(&Uid)) {
    match value {
        Datum::Entity(uid) => name(uid),
        Datum::Set(elements) => elements.iter().for_each(|element| value_uids(element, name)),
        Datum::Record(fields) => fields.values().for_each(|field| value_uids(field, name)),
        _ => {}
    }
}

fn expr_uids(expr: &Expr, name: &mut impl FnMut(&Uid)) {
    if let Expr::Datum(value) = expr {
        value_uids(value, name);
    }
    expr.children(&mut |child| expr_uids(child, name));
}
