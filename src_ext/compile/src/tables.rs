//! Strings, types, entities and values as numbers and cells.

use crate::{CompileError, number};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use ztfast_bundle::{Parts, TypeRec, build_entity_index, build_string_index};
use ztfast_policy::ir::{ActionScope, Expr, Ip, Model, PatternElem, Scope, Uid, Value};
use ztfast_program::{Arena, Cell, EntityRec, EntityRef, PatternRec, StoreView, StringsView, Tag, WILDCARD};

/// The tables that programs read, while the compiler fills them.
#[derive(Default)]
pub(crate) struct Tables {
    strings: HashMap<Arc<str>, u32>,
    string_offsets: Vec<u32>,
    string_bytes: Vec<u8>,
    pub types: Vec<TypeRec>,
    type_numbers: HashMap<Arc<str>, u32>,
    pub entities: Vec<EntityRec>,
    entity_numbers: HashMap<Uid, u32>,
    ancestors: Vec<u32>,
    cells: Vec<Cell>,
    composites: HashMap<Value, Cell>,
    constants: HashMap<Cell2, u32>,
    patterns: Vec<PatternRec>,
    pattern_elems: Vec<u32>,
    pattern_numbers: HashMap<Arc<[PatternElem]>, u32>,
}

/// A cell as a key.
type Cell2 = (u32, u32, u64);

impl Tables {
    /// Number everything that the model names.
    pub fn new(model: &Model) -> Result<Self, CompileError> {
        let mut tables = Self { string_offsets: vec![0], ..Self::default() };
        tables.number_entities(model)?;
        for entity in &model.entities {
            let at = tables.entity_numbers[&entity.uid] as usize;
            let mut ancestors: Vec<u32> = entity.ancestors.iter().map(|uid| tables.entity_numbers[uid]).collect();
            ancestors.sort_unstable();
            let ancestors_start = number(tables.ancestors.len(), "ancestors")?;
            tables.ancestors.extend(&ancestors);
            let (attrs_start, attrs_len) = tables.pairs(&entity.attrs);
            let (tags_start, tags_len) = tables.pairs(&entity.tags);
            let ancestors_len = number(ancestors.len(), "ancestors")?;
            let record = &mut tables.entities[at];
            *record = EntityRec {
                present: 1,
                attrs_start,
                attrs_len,
                tags_start,
                tags_len,
                ancestors_start,
                ancestors_len,
                ..*record
            };
        }
        number(tables.cells.len(), "values")?;
        number(tables.string_bytes.len(), "bytes of text")?;
        Ok(tables)
    }

    /// Give each uid that is named anywhere its number, type by type, and each type its stand-in.
    fn number_entities(&mut self, model: &Model) -> Result<(), CompileError> {
        let mut uids: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let mut seen: HashSet<Uid> = HashSet::new();
        let mut name = |uid: &Uid| {
            if seen.insert(uid.clone()) {
                uids.entry(uid.ty.clone()).or_default().push(uid.id.clone());
            }
        };
        for entity in &model.entities {
            name(&entity.uid);
            entity.ancestors.iter().for_each(&mut name);
            entity.attrs.values().chain(entity.tags.values()).for_each(|value| value_uids(value, &mut name));
        }
        for ty in &model.types {
            for id in ty.enumerated.iter().flatten() {
                name(&Uid { ty: ty.name.clone(), id: id.clone() });
            }
        }
        for action in &model.actions {
            name(&action.uid);
            action.ancestors.iter().for_each(&mut name);
        }
        for policy in &model.policies {
            for scope in [&policy.principal, &policy.resource] {
                if let Scope::Eq(uid) | Scope::In(uid) | Scope::IsIn(_, uid) = scope {
                    name(uid);
                }
            }
            match &policy.action {
                ActionScope::Any => {}
                ActionScope::Eq(uid) => name(uid),
                ActionScope::In(uids) => uids.iter().for_each(&mut name),
            }
            policy.conjuncts.iter().for_each(|expr| expr_uids(expr, &mut name));
        }
        for ty in &model.types {
            uids.entry(ty.name.clone()).or_default();
        }
        let action_types: HashSet<&Arc<str>> = model.actions.iter().map(|action| &action.uid.ty).collect();
        let enumerated: HashSet<&Arc<str>> =
            model.types.iter().filter(|ty| ty.enumerated.is_some()).map(|ty| &ty.name).collect();
        for (ty, ids) in &uids {
            let start = number(self.entities.len(), "entities")?;
            let type_number = number(self.types.len(), "entity types")?;
            for id in ids {
                let id_number = self.string(id);
                let at = number(self.entities.len(), "entities")?;
                self.entities.push(EntityRec { ty: type_number, id: id_number, ..EntityRec::default() });
                self.entity_numbers.insert(Uid { ty: ty.clone(), id: id.clone() }, at);
            }
            let mut absent = u32::MAX;
            if !action_types.contains(ty) {
                absent = number(self.entities.len(), "entities")?;
                self.entities.push(EntityRec { ty: type_number, id: u32::MAX, ..EntityRec::default() });
            }
            let name = self.string(ty);
            let end = number(self.entities.len(), "entities")?;
            let enumerated = u32::from(enumerated.contains(ty));
            self.types.push(TypeRec { name, start, end, absent, enumerated });
            self.type_numbers.insert(ty.clone(), type_number);
        }
        Ok(())
    }

    /// The number of a text.
    #[allow(clippy::cast_possible_truncation)] // `new` checks the bytes' count, and offsets are no more
    pub fn string(&mut self, text: &Arc<str>) -> u32 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let fresh = self.strings.len() as u32;
        self.string_bytes.extend_from_slice(text.as_bytes());
        self.string_offsets.push(self.string_bytes.len() as u32);
        self.strings.insert(text.clone(), fresh);
        fresh
    }

    /// The number of an entity type; one that nothing else names gets a number that no entity has.
    pub fn type_number(&self, name: &Arc<str>) -> u32 {
        self.type_numbers.get(name).copied().unwrap_or(u32::MAX)
    }

    /// The record of an entity type.
    pub fn type_rec(&self, name: &Arc<str>) -> Option<&TypeRec> {
        self.types.get(self.type_number(name) as usize)
    }

    /// A named entity.
    pub fn entity(&self, uid: &Uid) -> EntityRef {
        EntityRef::known(self.entity_numbers[uid])
    }

    /// The cell of a value.
    #[allow(clippy::cast_possible_truncation)] // `new` checks the pool's size
    pub fn value(&mut self, value: &Value) -> Cell {
        match value {
            Value::Bool(b) => Cell::bool(*b),
            Value::Long(n) => Cell::number(Tag::Long, *n),
            Value::String(text) => Cell::string(u64::from(self.string(text))),
            Value::Entity(uid) => Cell::entity(self.entity(uid)),
            Value::Decimal(n) => Cell::number(Tag::Decimal, *n),
            Value::Datetime(n) => Cell::number(Tag::Datetime, *n),
            Value::Duration(n) => Cell::number(Tag::Duration, *n),
            Value::Ip(Ip::V4(addr, prefix)) => Cell::ip4(*addr, *prefix),
            Value::Ip(Ip::V6(..)) | Value::Set(_) | Value::Record(_) => {
                if let Some(&known) = self.composites.get(value) {
                    return known;
                }
                let cell = match value {
                    Value::Ip(Ip::V6(bits, prefix)) => {
                        self.cells.push(Cell::wide(*bits));
                        Cell::ip6(Arena::Bundle, self.cells.len() as u32 - 1, *prefix)
                    }
                    Value::Set(elements) => {
                        let mut parts: Vec<Cell> = elements.iter().map(|element| self.value(element)).collect();
                        let sorted = parts.iter().all(|cell| cell.is_scalar());
                        if sorted {
                            parts.sort_unstable_by_key(|cell| cell.key());
                        }
                        let start = self.cells.len() as u32;
                        self.cells.extend_from_slice(&parts);
                        Cell::set(Arena::Bundle, start, parts.len() as u32, sorted)
                    }
                    Value::Record(fields) => {
                        let (start, len) = self.pairs(fields);
                        Cell::record(Arena::Bundle, start, len)
                    }
                    _ => unreachable!("the outer match lets only composites through"),
                };
                self.composites.insert(value.clone(), cell);
                cell
            }
        }
    }

    /// The value of a cell whose parts lie in the pool or in `scratch`; `None` for an entity that nothing names.
    pub fn value_of(&self, cell: Cell, scratch: &[Cell]) -> Option<Value> {
        let cells = if cell.arena() == Some(Arena::Scratch) { scratch } else { &self.cells };
        let part = |at: u32| cells.get((cell.start() + at) as usize).copied();
        Some(match Tag::from_u32(cell.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Value::Bool(cell.payload != 0),
            Tag::Long => Value::Long(cell.as_i64()),
            Tag::String => Value::String(self.text(u32::try_from(cell.payload).ok()?)?),
            Tag::Entity => Value::Entity(self.uid(EntityRef::from_bits(cell.payload))?),
            Tag::Decimal => Value::Decimal(cell.as_i64()),
            Tag::Datetime => Value::Datetime(cell.as_i64()),
            Tag::Duration => Value::Duration(cell.as_i64()),
            Tag::Ip4 => {
                let [a, b, c, d, prefix, ..] = cell.payload.to_le_bytes();
                Value::Ip(Ip::V4(u32::from_le_bytes([a, b, c, d]), prefix))
            }
            Tag::Ip6 => Value::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(cell.len()).ok()?)),
            Tag::Set => Value::Set((0..cell.len()).map(|at| self.value_of(part(at)?, scratch)).collect::<Option<_>>()?),
            Tag::Record => {
                let field = |at| {
                    let key = self.text(u32::try_from(part(2 * at)?.payload).ok()?)?;
                    Some((key, self.value_of(part(2 * at + 1)?, scratch)?))
                };
                Value::Record((0..cell.len()).map(field).collect::<Option<_>>()?)
            }
        })
    }

    fn text(&self, number: u32) -> Option<Arc<str>> {
        let bytes = self.view().strings.get(number)?;
        std::str::from_utf8(bytes).ok().map(Arc::from)
    }

    /// The uid of a named entity.
    fn uid(&self, entity: EntityRef) -> Option<Uid> {
        let record = self.entities.get(entity.index as usize).filter(|_| entity.foreign == 0)?;
        let ty = self.text(self.types.get(record.ty as usize)?.name)?;
        Some(Uid { ty, id: self.text(record.id)? })
    }

    /// Pairs of key and value, sorted by the keys' numbers: where they begin, and how many they are.
    #[allow(clippy::cast_possible_truncation)] // `new` checks the pool's size
    fn pairs(&mut self, fields: &BTreeMap<Arc<str>, Value>) -> (u32, u32) {
        let mut pairs: Vec<(u32, Cell)> =
            fields.iter().map(|(key, value)| (self.string(key), self.value(value))).collect();
        pairs.sort_unstable_by_key(|&(key, _)| key);
        let start = self.cells.len() as u32;
        for &(key, value) in &pairs {
            self.cells.extend([Cell::string(u64::from(key)), value]);
        }
        (start, pairs.len() as u32)
    }

    /// The place of a constant in the value pool.
    #[allow(clippy::cast_possible_truncation)] // `new` checks the pool's size
    pub fn constant(&mut self, cell: Cell) -> u32 {
        let cells = &mut self.cells;
        *self.constants.entry((cell.tag, cell.aux, cell.payload)).or_insert_with(|| {
            cells.push(cell);
            cells.len() as u32 - 1
        })
    }

    /// The number of a pattern.
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

    /// What programs read.
    pub fn view(&self) -> StoreView<'_> {
        StoreView {
            cells: &self.cells,
            strings: StringsView { offsets: &self.string_offsets, bytes: &self.string_bytes },
            entities: &self.entities,
            ancestors: &self.ancestors,
            patterns: &self.patterns,
            pattern_elems: &self.pattern_elems,
        }
    }

    /// Hand the tables over.
    pub fn finish(self, parts: &mut Parts) {
        parts.string_index = build_string_index(&self.string_offsets, &self.string_bytes);
        let keys: Vec<(u32, u32)> = self.entities.iter().map(|entity| (entity.ty, entity.id)).collect();
        parts.entity_index = build_entity_index(&keys);
        parts.string_offsets = self.string_offsets;
        parts.string_bytes = self.string_bytes;
        parts.types = self.types;
        parts.entities = self.entities;
        parts.ancestors = self.ancestors;
        parts.cells = self.cells;
        parts.patterns = self.patterns;
        parts.pattern_elems = self.pattern_elems;
    }
}

fn value_uids(value: &Value, name: &mut impl FnMut(&Uid)) {
    match value {
        Value::Entity(uid) => name(uid),
        Value::Set(elements) => elements.iter().for_each(|element| value_uids(element, name)),
        Value::Record(fields) => fields.values().for_each(|field| value_uids(field, name)),
        _ => {}
    }
}

fn expr_uids(expr: &Expr, name: &mut impl FnMut(&Uid)) {
    if let Expr::Value(value) = expr {
        value_uids(value, name);
    }
    expr.children(&mut |child| expr_uids(child, name));
}
