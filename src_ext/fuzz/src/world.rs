//! A random schema, and the stores and requests that follow it.

use crate::dice::{chance, pick};
use crate::literals::Literals;
use crate::texts::cedar_text;
use crate::types::{Action, EntityType, Field, Ty};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use ztfast_cedar::ir::{Datum, Uid};

/// An entity of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entity {
    pub uid: Uid,
    pub parents: Vec<Uid>,
    pub attrs: BTreeMap<Arc<str>, Datum>,
    pub tags: BTreeMap<Arc<str>, Datum>,
}

/// A schema and its literals.
#[derive(Debug, Clone)]
pub(crate) struct World {
    namespace: Option<&'static str>,
    pub types: Vec<EntityType>,
    pub actions: Vec<Action>,
    pub literals: Literals,
}

/// The ids of entities; the store holds some of them.
const IDS: [&str; 8] = ["x0", "x1", "x2", "x3", "x4", "x5", "o\"d\\d é", ""];
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "odd one"];

impl World {
    pub fn new(rng: &mut Rng) -> Self {
        let namespace = chance(rng, 20).then_some("N");
        let full = |short: &str| namespace.map_or_else(|| short.to_owned(), |ns| format!("{ns}::{short}"));
        let count = rng.usize(2..5);
        let mut world = Self { namespace, types: Vec::new(), actions: Vec::new(), literals: Literals::new(rng) };
        for number in 0..count {
            let short = format!("T{number}");
            let above = (0..count).filter(|_| chance(rng, 45)).collect();
            let name = full(&short);
            let ty = EntityType { name, short, above, attrs: Vec::new(), tags: None, listed: None };
            world.types.push(ty);
        }
        if chance(rng, 40) {
            let listed = Some((0..rng.usize(1..4)).map(|at| format!("k{at}")).collect());
            let (name, short) = (full("K"), "K".to_owned());
            let ty = EntityType { name, short, above: Vec::new(), attrs: Vec::new(), tags: None, listed };
            world.types.push(ty);
            if chance(rng, 50) {
                let listed = world.types.len() - 1;
                world.types[rng.usize(0..count)].above.push(listed);
            }
        }
        for number in 0..count {
            world.types[number].attrs = world.fields(rng, 5, 2);
            world.types[number].tags = chance(rng, 35).then(|| world.ty(rng, 1));
        }
        world.add_actions(rng, count);
        world
    }

    /// Make a world of types, actions and literals.
    pub const fn of(types: Vec<EntityType>, actions: Vec<Action>, literals: Literals) -> Self {
        Self { namespace: None, types, actions, literals }
    }

    fn add_actions(&mut self, rng: &mut Rng, types: usize) {
        let ty = self.namespace.map_or_else(|| "Action".to_owned(), |ns| format!("{ns}::Action"));
        let mut ids: Vec<String> = Vec::new();
        for number in 0..rng.usize(0..4) {
            let groups = ids.iter().filter(|_| chance(rng, 50)).cloned().collect();
            let uid = Uid::new(ty.as_str(), format!("g{number}"));
            ids.push(format!("g{number}"));
            self.actions.push(Action { uid, groups, applies: None, context: Vec::new() });
        }
        for number in 0..rng.usize(1..4) {
            let id = ["look", "do it", "a.b"][number];
            let groups = ids.iter().filter(|_| chance(rng, 40)).cloned().collect();
            let mut sides = || {
                let mut side: Vec<usize> = (0..self.types.len()).filter(|_| chance(rng, 45)).collect();
                if side.is_empty() {
                    side.push(rng.usize(0..types));
                }
                side
            };
            let applies = Some((sides(), sides()));
            let context = self.fields(rng, 7, 2);
            ids.push(id.to_owned());
            self.actions.push(Action { uid: Uid::new(ty.as_str(), id), groups, applies, context });
        }
    }

    fn fields(&self, rng: &mut Rng, most: usize, depth: u32) -> Vec<Field> {
        let most = rng.usize(0..=most.min(NAMES.len()));
        let mut names: Vec<&str> = NAMES.to_vec();
        rng.shuffle(&mut names);
        let mut fields: Vec<Field> = names[..most]
            .iter()
            .map(|name| Field { name: (*name).to_owned(), ty: self.ty(rng, depth), required: chance(rng, 60) })
            .collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        fields
    }

    fn ty(&self, rng: &mut Rng, depth: u32) -> Ty {
        match rng.u32(0..if depth > 0 { 28 } else { 20 }) {
            0..3 => Ty::Bool,
            3..8 => Ty::Long,
            8..12 => Ty::Text,
            12 => Ty::Decimal,
            13 => Ty::Datetime,
            14 => Ty::Duration,
            15 => Ty::Ip,
            16..20 => Ty::Entity(rng.usize(0..self.types.len())),
            20..25 => Ty::Set(Box::new(self.ty(rng, depth - 1))),
            _ => Ty::Record(self.fields(rng, 3, depth - 1)),
        }
    }

    /// Return the actions that apply to something.
    pub fn applicable(&self) -> Vec<&Action> {
        self.actions.iter().filter(|action| action.applies.is_some()).collect()
    }

    /// Write the schema in Cedar's syntax.
    pub fn schema(&self) -> String {
        let mut out = String::new();
        let names = |of: &[usize]| of.iter().map(|&ty| self.types[ty].short.as_str()).collect::<Vec<_>>().join(", ");
        for ty in &self.types {
            if let Some(ids) = &ty.listed {
                let _ = writeln!(out, "entity {} enum {ids:?};", ty.short);
                continue;
            }
            let _ = write!(out, "entity {} in [{}] {}", ty.short, names(&ty.above), self.record(&ty.attrs));
            if let Some(tags) = &ty.tags {
                let _ = write!(out, " tags {}", self.ty_text(tags));
            }
            out.push_str(";\n");
        }
        for action in &self.actions {
            let _ = write!(out, "action {:?}", &*action.uid.id);
            if !action.groups.is_empty() {
                let _ = write!(out, " in {:?}", action.groups);
            }
            if let Some((principals, resources)) = &action.applies {
                let (principals, resources) = (names(principals), names(resources));
                let context = self.record(&action.context);
                let _ = write!(
                    out,
                    " appliesTo {{ principal: [{principals}], resource: [{resources}], context: {context} }}"
                );
            }
            out.push_str(";\n");
        }
        match self.namespace {
            Some(namespace) => format!("namespace {namespace} {{\n{out}}}\n"),
            None => out,
        }
    }

    fn record(&self, fields: &[Field]) -> String {
        let field = |field: &Field| {
            format!("{:?}{}: {}", field.name, if field.required { "" } else { "?" }, self.ty_text(&field.ty))
        };
        format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
    }

    fn ty_text(&self, ty: &Ty) -> String {
        match ty {
            Ty::Bool => "Bool".to_owned(),
            Ty::Long => "Long".to_owned(),
            Ty::Text => "String".to_owned(),
            Ty::Decimal => "decimal".to_owned(),
            Ty::Datetime => "datetime".to_owned(),
            Ty::Duration => "duration".to_owned(),
            Ty::Ip => "ipaddr".to_owned(),
            Ty::Entity(ty) => self.types[*ty].short.clone(),
            Ty::Set(element) => format!("Set<{}>", self.ty_text(element)),
            Ty::Record(fields) => self.record(fields),
        }
    }

    /// Make a uid of a type, of an entity that the store may hold or lack.
    pub fn uid(&self, rng: &mut Rng, ty: usize) -> Uid {
        let ty = &self.types[ty];
        let id = match &ty.listed {
            Some(listed) => pick(rng, listed).clone(),
            None => (*pick(rng, &IDS)).to_owned(),
        };
        Uid::new(ty.name.as_str(), id)
    }

    /// Make a value of a type.
    pub fn value(&self, rng: &mut Rng, ty: &Ty) -> Datum {
        match ty {
            Ty::Bool => Datum::Bool(rng.bool()),
            Ty::Long => Datum::Long(self.literals.long(rng)),
            Ty::Text => Datum::String(self.literals.text(rng).into()),
            Ty::Decimal | Ty::Datetime | Ty::Duration | Ty::Ip => self.literals.extension(rng, ty),
            Ty::Entity(ty) => Datum::Entity(self.uid(rng, *ty)),
            Ty::Set(element) => {
                let count = if chance(rng, 5) { rng.usize(0..40) } else { rng.usize(0..4) };
                let elements: BTreeSet<Datum> = (0..count).map(|_| self.value(rng, element)).collect();
                Datum::Set(elements)
            }
            Ty::Record(fields) => Datum::Record(self.values(rng, fields)),
        }
    }

    /// Make values of attributes, of which optional ones may be missing.
    pub fn values(&self, rng: &mut Rng, fields: &[Field]) -> BTreeMap<Arc<str>, Datum> {
        let mut values = BTreeMap::new();
        for field in fields {
            if field.required || rng.bool() {
                values.insert(Arc::from(field.name.as_str()), self.value(rng, &field.ty));
            }
        }
        values
    }

    /// Make a store, which lacks some of the possible entities, and sometimes has a long chain of parents.
    pub fn entities(&self, rng: &mut Rng) -> Vec<Entity> {
        let mut all: Vec<Entity> = Vec::new();
        let deep = chance(rng, 20);
        for (number, ty) in self.types.iter().enumerate() {
            if let Some(ids) = &ty.listed {
                for id in ids.iter().filter(|_| rng.bool()) {
                    let uid = Uid::new(ty.name.as_str(), id.as_str());
                    all.push(Entity { uid, parents: Vec::new(), attrs: BTreeMap::new(), tags: BTreeMap::new() });
                }
                continue;
            }
            let chain = if deep && ty.above.contains(&number) { 20 } else { 0 };
            let ids = IDS.iter().map(|id| (*id).to_owned()).filter(|_| rng.u32(0..100) < 65).collect::<Vec<_>>();
            for id in ids.into_iter().chain((0..chain).map(|at| format!("c{at}"))) {
                let entity = self.entity(rng, number, Uid::new(ty.name.as_str(), id));
                all.push(entity);
            }
        }
        // Parents come later in the order of the uids, so that no entity is its own ancestor.
        for entity in &mut all {
            let own = entity.uid.clone();
            entity.parents.retain(|parent| *parent > own);
            if let Some(link) = own.id.strip_prefix('c').and_then(|at| at.parse::<u32>().ok()) {
                let next =
                    Uid::new(own.ty.clone(), if link == 19 { "x0".to_owned() } else { format!("c{}", link + 1) });
                entity.parents = vec![next];
            }
        }
        all
    }

    /// Make an entity with random attributes and parents.
    pub fn entity(&self, rng: &mut Rng, number: usize, uid: Uid) -> Entity {
        let ty = &self.types[number];
        let mut parents: Vec<Uid> = Vec::new();
        for &above in &ty.above {
            for _ in 0..rng.usize(0..3) {
                parents.push(self.uid(rng, above));
            }
        }
        parents.sort();
        parents.dedup();
        // The links of a chain stay as they are.
        parents.retain(|parent| *parent > uid);
        let tags = match &ty.tags {
            Some(tag) => {
                (0..rng.usize(0..4)).map(|_| (Arc::from(self.literals.text(rng)), self.value(rng, tag))).collect()
            }
            None => BTreeMap::new(),
        };
        Entity { uid, parents, attrs: self.values(rng, &ty.attrs), tags }
    }

    /// Write a literal of a type in Cedar's syntax.
    pub fn literal(&self, rng: &mut Rng, ty: &Ty) -> String {
        cedar_text(&self.value(rng, ty))
    }
}
