//! Random trading worlds: actions with numbers in their contexts, principals and resources with caps, and policies of
//! ranges, sums, guards and the like. Requests hold values next to the numbers that the policies name.

use crate::case::Ask;
use crate::dice::{chance, pick};
use crate::literals::{Literals, address, scaled};
use crate::policies::Policy;
use crate::terms::{Attr, Edges, Taste, Terms};
use crate::texts::uid_text;
use crate::tree::Tree;
use crate::types::{Action, EntityType, Field, Ty};
use crate::world::World;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use ztfast_cedar::ir::{Datum, Uid};

/// A trading world, and what its policies name.
pub(crate) struct Trade {
    pub world: World,
    acts: Vec<Act>,
    taste: Taste,
}

/// An action with its requests.
struct Act {
    uid: Uid,
    /// The types of principals and resources, and their attributes.
    sides: Vec<(usize, usize, Vec<Attr>)>,
    context: Vec<Attr>,
    /// The records that a context must have.
    records: Vec<String>,
    edges: Edges,
    /// Which optional attributes and records a request has. Each is one gate's.
    shapes: Vec<BTreeSet<String>>,
}

/// The numbers of two types. The names of parents come later in the order of names, as the store asks.
const DESK: usize = 2;
const VENUE: usize = 3;

fn kind(rng: &mut Rng) -> (Ty, &'static str) {
    match rng.u32(0..100) {
        0..42 => (Ty::Long, "qty"),
        42..56 => (Ty::Decimal, "price"),
        56..70 => (Ty::Datetime, "at"),
        70..79 => (Ty::Duration, "age"),
        79..87 => (Ty::Bool, "flag"),
        87..94 => (Ty::Text, "side"),
        _ => (Ty::Ip, "from"),
    }
}

/// Make attributes; `numbers` says that an entity has them.
fn fields(rng: &mut Rng, counts: Range<usize>, optional: u32, numbers: bool) -> Vec<Field> {
    let count = rng.usize(counts);
    let field = |at: usize| {
        let (ty, stem) = kind(rng);
        let (ty, stem) = if numbers && matches!(ty, Ty::Ip | Ty::Text) { (Ty::Long, "qty") } else { (ty, stem) };
        let required = !chance(rng, optional);
        Field { name: format!("{stem}{at}"), ty, required }
    };
    (0..count).map(field).collect()
}

/// List the attributes in records, down to those that are not records.
fn attrs(variable: &'static str, fields: &[Field]) -> Vec<Attr> {
    fn add(above: &str, optional: &[String], variable: &'static str, fields: &[Field], all: &mut Vec<Attr>) {
        for Field { name, ty, required } in fields {
            let path = format!("{above}{name}");
            let mut optional = optional.to_vec();
            if !required {
                optional.push(path.clone());
            }
            match ty {
                Ty::Record(inner) => add(&format!("{path}."), &optional, variable, inner, all),
                _ => all.push(Attr { path, variable, ty: ty.clone(), optional }),
            }
        }
    }
    let mut all = Vec::new();
    add("", &[], variable, fields, &mut all);
    all
}

/// Add the attributes of the entities that attributes name.
fn through(world: &World, mut all: Vec<Attr>) -> Vec<Attr> {
    let named: Vec<Attr> = all.extract_if(.., |attr| matches!(attr.ty, Ty::Entity(_))).collect();
    for of in named {
        let Ty::Entity(ty) = of.ty else { continue };
        all.extend(attrs(of.variable, &world.types[ty].attrs).into_iter().map(|attr| {
            Attr {
                path: format!("{}.{}", of.path, attr.path),
                optional: of
                    .optional
                    .iter()
                    .cloned()
                    .chain(attr.optional.iter().map(|path| format!("{}.{path}", of.path)))
                    .collect(),
                ..attr
            }
        }));
    }
    all
}

impl Trade {
    pub fn new(rng: &mut Rng) -> Self {
        let literals = Literals::few(rng);
        let ty = |name: &str, above: &[usize], attrs: Vec<Field>| EntityType {
            name: name.to_owned(),
            short: name.to_owned(),
            above: above.to_vec(),
            attrs,
            tags: None,
            listed: None,
        };
        let mut caps = || fields(rng, 1..5, 20, true);
        let mut types = vec![ty("Algo", &[DESK], caps()), ty("Bond", &[VENUE], caps())];
        types.extend([ty("Desk", &[DESK], caps()), ty("Venue", &[], Vec::new()), ty("Bot", &[DESK], caps())]);
        if chance(rng, 30) {
            // A cap may be of another entity than the two.
            let required = rng.bool();
            types[0].attrs.push(Field { name: "book".to_owned(), ty: Ty::Entity(DESK), required });
        }
        let principals = if chance(rng, 25) { vec![0, 4] } else { vec![0] };
        let mut actions = Vec::new();
        for id in ["order", "cancel"].into_iter().take(rng.usize(1..3)) {
            let mut context = fields(rng, 1..9, 50, false);
            if chance(rng, 35) {
                let inner = fields(rng, 1..4, 40, false);
                context.push(Field { name: "terms".to_owned(), ty: Ty::Record(inner), required: chance(rng, 30) });
            }
            if chance(rng, 12) {
                context.push(Field { name: "desk".to_owned(), ty: Ty::Entity(DESK), required: rng.bool() });
            }
            let applies = Some((principals.clone(), vec![1]));
            actions.push(Action { uid: Uid::new("Action", id), groups: Vec::new(), applies, context });
        }
        let world = World::of(types, actions, literals);
        let taste =
            Taste { arithmetic: chance(rng, 65), careless: chance(rng, 60), texts_and_ancestors: chance(rng, 15) };
        let acts = world.actions.iter().map(|action| Act::new(rng, &world, action, &principals)).collect();
        Self { world, acts, taste }
    }

    /// Make policies, and note the numbers that they name.
    pub fn policies(&mut self, rng: &mut Rng) -> Vec<Policy> {
        const SIZES: [usize; 16] = [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 8, 8, 10, 12, 40];
        let count = *pick(rng, &SIZES);
        let mut all = Vec::new();
        while all.len() < count {
            let mut one = self.policy(rng, all.is_empty());
            if let Some((when, condition)) = one.clauses.pop() {
                match rng.u32(0..25) {
                    // Two policies that apply to every request between them.
                    0 | 1 => {
                        let mut twin = one.clone();
                        twin.clauses.push((!when, condition.clone()));
                        all.push(twin);
                    }
                    // A policy that never applies.
                    2 => one.clauses.push((!when, condition.clone())),
                    _ => {}
                }
                one.clauses.push((when, condition));
            }
            all.push(one);
        }
        all
    }

    fn policy(&mut self, rng: &mut Rng, first: bool) -> Policy {
        let forbid = !first && chance(rng, 55);
        let act = rng.usize(0..self.acts.len());
        let Act { uid, sides, context, edges, .. } = &mut self.acts[act];
        let (principal, resource, attrs) = pick(rng, sides);
        let side = |rng: &mut Rng, name: &str, own: usize, above: usize, is: u32| {
            let ty = &self.world.types[own].name;
            match rng.u32(0..100) {
                0..12 => format!("{name} in {}", uid_text(&self.world.uid(rng, above))),
                12..15 => format!("{name} == {}", uid_text(&self.world.uid(rng, own))),
                15..20 => format!("{name} is {ty} in {}", uid_text(&self.world.uid(rng, above))),
                _ if chance(rng, is) => format!("{name} is {ty}"),
                _ => name.to_owned(),
            }
        };
        // A principal's type must be named where others lack its attributes.
        let is = if sides.len() > 1 { 100 } else { 30 };
        let of_principal = side(rng, "principal", *principal, DESK, is);
        let of_resource = side(rng, "resource", *resource, VENUE, 20);
        let of_action = format!("action == {}", uid_text(uid));
        let mut terms = Terms { world: &self.world, taste: self.taste, context, sides: attrs, edges, open: Vec::new() };
        let mut clauses: Vec<(bool, Tree)> = Vec::new();
        let count = match (forbid, first) {
            (true, _) => [1, 1, 1, 1, 2, 2, 3][rng.usize(0..7)],
            (false, true) => rng.usize(0..2),
            (false, false) => rng.usize(0..4),
        };
        for _ in 0..count {
            let depth = [0, 0, 0, 0, 1, 1, 2, 3][rng.usize(0..8)];
            clauses.push((rng.u32(0..3) > 0, terms.condition(rng, depth)));
        }
        Policy { forbid, step_up: false, scope: [of_principal, of_action, of_resource], clauses, links: Vec::new() }
    }

    /// Make requests. Most differ from the one before in one value, or in values alone.
    pub fn asks(&self, rng: &mut Rng, count: usize) -> Vec<Ask> {
        let mut all = Vec::with_capacity(count);
        let mut act = &self.acts[0];
        let (mut principal, mut resource) = (Uid::new("Algo", "x0"), Uid::new("Bond", "x0"));
        let mut shape = &act.shapes[0];
        let mut values: BTreeMap<&str, Datum> = BTreeMap::new();
        while all.len() < count {
            if all.is_empty() || chance(rng, 20) {
                act = pick(rng, &self.acts);
                let (of_principal, of_resource, _) = pick(rng, &act.sides);
                principal = self.world.uid(rng, *of_principal);
                resource = self.world.uid(rng, *of_resource);
                shape = pick(rng, &act.shapes);
                values.clear();
            }
            let present = || act.context.iter().filter(|attr| attr.optional.iter().all(|path| shape.contains(path)));
            let one = rng.usize(0..present().count().max(1));
            let all_anew = values.is_empty() || chance(rng, 30);
            for (at, attr) in present().enumerate() {
                if all_anew || at == one {
                    values.insert(&attr.path, self.value(rng, attr, &act.edges));
                }
            }
            let context = act.record(&values, shape);
            all.push(Ask {
                principal: principal.clone(),
                action: act.uid.clone(),
                resource: resource.clone(),
                context,
            });
        }
        all
    }

    fn value(&self, rng: &mut Rng, attr: &Attr, edges: &Edges) -> Datum {
        match &attr.ty {
            Ty::Ip => address(rng),
            Ty::Text if chance(rng, 10) => Datum::String(Literals::odd_text(rng).into()),
            ty => {
                let edges = edges.get(&attr.path).filter(|_| chance(rng, 80));
                let number = match edges {
                    Some(edges) => Some(*pick(rng, edges)),
                    None if chance(rng, 8) => Some(*pick(rng, &[i64::MAX, i64::MIN, 0])),
                    None => self.world.literals.number(rng, ty),
                };
                let near = number.map(|number| number.saturating_add([-1, 0, 0, 0, 1][rng.usize(0..5)]));
                near.and_then(|number| scaled(ty, number)).unwrap_or_else(|| self.world.value(rng, ty))
            }
        }
    }
}

impl Act {
    fn new(rng: &mut Rng, world: &World, action: &Action, principals: &[usize]) -> Self {
        let context = attrs("context", &action.context);
        let side = |&principal: &usize| {
            let of = |variable, ty: usize| through(world, attrs(variable, &world.types[ty].attrs));
            (principal, 1, [of("principal", principal), of("resource", 1)].concat())
        };
        let optional: BTreeSet<&String> = context.iter().flat_map(|attr| &attr.optional).collect();
        let mut some = |percent: u32| -> BTreeSet<String> {
            optional.iter().filter(|_| chance(rng, percent)).map(|path| (*path).clone()).collect()
        };
        let (whole, none) = (some(100), BTreeSet::new());
        let shapes = vec![whole.clone(), whole, none, some(60), some(50), some(70)];
        let is_record = |field: &&Field| field.required && matches!(field.ty, Ty::Record(_));
        let records = action.context.iter().filter(is_record).map(|field| field.name.clone()).collect();
        let sides = principals.iter().map(side).collect();
        Self { uid: action.uid.clone(), sides, context, records, edges: Edges::new(), shapes }
    }

    /// Make a context of values by their paths.
    fn record(&self, values: &BTreeMap<&str, Datum>, shape: &BTreeSet<String>) -> Datum {
        let mut top: BTreeMap<Arc<str>, Datum> = BTreeMap::new();
        let has_terms = self.records.iter().any(|name| name == "terms") || shape.contains("terms");
        let mut terms = BTreeMap::new();
        for (path, value) in values {
            match path.split_once('.') {
                Some((_, name)) => terms.insert(Arc::from(name), value.clone()),
                None => top.insert(Arc::from(*path), value.clone()),
            };
        }
        if has_terms {
            top.insert("terms".into(), Datum::Record(terms));
        }
        Datum::Record(top)
    }
}
