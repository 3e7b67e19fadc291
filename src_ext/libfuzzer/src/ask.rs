//! Runs every kind of decision and change over a bundle, with the actions, types and entities that it claims to have.

use std::sync::Arc;
use ztfast_bundle::{Bundle, Field, Node, ValueType};
use ztfast_engine::{
    AttrValue, Code, Column, Decision, Determining, Engine, EngineOptions, EntityData, Gate, Handle, Principals,
    RequestBuilder, Residence, SessionId, ToStop,
};
use ztfast_vm::{EntityRef, Tag, Value};

/// How many actions, and uids at each end of the bundle's entities, are tried. Each costs time, and the first ones show
/// as much as all.
const FEW: usize = if cfg!(miri) { 2 } else { 4 };

/// Return the codes of all decisions over a file; `None` if it is refused.
///
/// # Panics
/// Panics where a property that must hold for every file does not: the fuzzer looks for these panics.
#[must_use]
pub fn decide(file: &[u8]) -> Option<Vec<Code>> {
    let bundle = Arc::new(Bundle::from_bytes(file).ok()?);
    read(&bundle);
    let residence = Residence { prefault: false, ..Residence::default() };
    let options = EngineOptions { sessions: 16, handles: 64, residence, ..EngineOptions::default() };
    let engine = Engine::new(bundle.clone(), None, options).ok()?;
    let uids = uids(&bundle);
    let handles = uids.iter().map(|(ty, id)| engine.handle(ty, id)).collect::<Result<_, _>>();
    let sessions = uids.iter().map(|(ty, id)| engine.admit_uid(ty, id, 0, i64::MAX)).collect::<Result<_, _>>();
    let handles = handles.expect("there is room for so many handles");
    let sessions = sessions.expect("there is room for so many sessions");
    let desk = Desk { engine, uids, handles, sessions };
    let mut codes = Vec::new();
    let mut gates = desk.gates();
    desk.decide(&mut gates, &mut codes);
    desk.evaluate(&mut codes);
    // The file's tables may make a change fail. Decisions must go on all the same.
    for (uid, parent) in desk.uids.iter().zip(desk.uids.iter().rev()) {
        let attrs = attributes();
        let entity = EntityData { uid: uid.clone(), parents: vec![parent.clone()], tags: attrs.clone(), attrs };
        let _ = desk.engine.change(&[entity], &[]);
    }
    let _ = desk.engine.change(&[], &desk.uids[..desk.uids.len() / 2]);
    desk.decide(&mut gates, &mut codes);
    desk.evaluate(&mut codes);
    let _ = desk.engine.kill_switch(true, ToStop::Usual);
    desk.decide(&mut gates, &mut codes);
    let _ = desk.engine.kill_switch(false, ToStop::Usual);
    let _ = desk.engine.swap(bundle, None);
    desk.decide(&mut gates, &mut codes);
    Some(codes)
}

/// Read all that a bundle says about itself.
fn read(bundle: &Bundle) {
    let _ = (0_u32..).map_while(|number| bundle.policy(number)).map(|policy| policy.annotations.len()).sum::<usize>();
    for (ty, id) in uids(bundle) {
        let ty = bundle.types().iter().position(|record| bundle.string(record.name) == Some(&*ty));
        let ty = ty.and_then(|ty| u32::try_from(ty).ok()).unwrap_or(u32::MAX);
        let _ = bundle.find_entity(ty, &id);
    }
    // Miri does not make memory read-only.
    #[cfg(not(miri))]
    assert_eq!(bundle.copy(false).map(|copy| copy.hash_hex()).ok(), Some(bundle.hash_hex()));
}

/// List the first and the last entities of the bundle, and entities of some types that it lacks.
fn uids(bundle: &Bundle) -> Vec<(String, String)> {
    let text = |number: u32| bundle.string(number).map(str::to_owned);
    let name = |ty: u32| text(bundle.types().get(ty as usize)?.name);
    let entities = bundle.entities();
    let some = entities.iter().take(FEW).chain(entities.iter().rev().take(FEW));
    let there = some.filter_map(|entity| Some((name(entity.ty)?, text(entity.id)?)));
    let lacking = bundle.types().iter().take(FEW).filter_map(|ty| Some((text(ty.name)?, "?".to_owned())));
    let mut uids: Vec<(String, String)> = there.chain(lacking).collect();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Make attributes, or tags, of all kinds. The seeds use these names.
fn attributes() -> Vec<(String, AttrValue)> {
    let all = [
        ("level", AttrValue::Long(i64::MAX)),
        ("name", AttrValue::String("a new one".to_owned())),
        ("peers", AttrValue::Set(vec![AttrValue::Entity("User".to_owned(), "?".to_owned())])),
        ("at", AttrValue::Record(vec![("x".to_owned(), AttrValue::Long(1))])),
        ("owner", AttrValue::Entity("User".to_owned(), "u".to_owned())),
        ("from", AttrValue::Ip6(1, 128)),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An attribute of a context.
struct Attribute {
    /// Its path, with dots between the parts.
    path: String,
    /// Whether it is required.
    required: bool,
    slot: u32,
    ty: ValueType,
}

/// Collect the attributes of a context, with those of the records in it.
fn attributes_of(fields: &[Field], above: &str, required: bool, all: &mut Vec<Attribute>) {
    for field in fields {
        let path = if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) };
        let required = required && field.required;
        match &field.node {
            Node::Leaf { slot, ty } => all.push(Attribute { path, required, slot: *slot, ty: ty.clone() }),
            Node::Record { fields, .. } => attributes_of(fields, &path, required, all),
        }
    }
}

/// A gate, with the sessions and resources that its action applies to by the bundle's own account, and one of each that
/// it may not apply to.
struct Asked {
    gate: Gate,
    sessions: Vec<SessionId>,
    resources: Vec<Handle>,
}

struct Desk {
    engine: Arc<Engine>,
    uids: Vec<(String, String)>,
    /// The handle of each uid.
    handles: Vec<Handle>,
    /// The session of each uid.
    sessions: Vec<SessionId>,
}

impl Desk {
    /// Return the indices of the uids of these types, and that of the first uid of another type.
    fn of_types(&self, types: &[String]) -> Vec<usize> {
        let is_of = |&at: &usize| self.uids.get(at).is_some_and(|uid| types.contains(&uid.0));
        let all = 0..self.uids.len();
        all.clone().filter(is_of).chain(all.clone().find(|at| !is_of(at))).collect()
    }

    /// Prepare two gates for each of some actions: one with all attributes of its context, one with the required ones.
    fn gates(&self) -> Vec<Asked> {
        let mut gates = Vec::new();
        for action in self.engine.snapshot().bundle().meta().actions.iter().take(FEW) {
            let mut attributes = Vec::new();
            attributes_of(&action.context, "", true, &mut attributes);
            for all in [true, false] {
                let wanted = attributes.iter().filter(|attribute| all || attribute.required);
                let names: Vec<&str> = wanted.map(|attribute| &*attribute.path).collect();
                let Ok(gate) = self.engine.prepare(&action.ty, &action.id, &names) else { continue };
                let sessions = self.of_types(&action.principals).into_iter().map(|at| self.sessions[at]).collect();
                let resources = self.of_types(&action.resources).into_iter().map(|at| self.handles[at]).collect();
                gates.push(Asked { gate, sessions, resources });
            }
        }
        gates
    }

    /// Begin a call and make its values, for which texts and entities are looked up.
    fn values(&self, gate: &mut Gate, number: i64) -> Vec<i64> {
        gate.begin();
        let types = gate.types().to_vec();
        let value = |(place, ty): (usize, &ValueType)| match ty {
            ValueType::String if number % 2 == 0 => gate.text("a new one").unwrap_or(number),
            ValueType::String => gate.literal("u").unwrap_or(0),
            ValueType::Entity(name) => {
                let at = self.uids.iter().position(|uid| uid.0 == *name).unwrap_or(0);
                self.handles.get(at).and_then(|&handle| gate.entity(handle, place).ok()).unwrap_or(number)
            }
            ValueType::Bool => number & 1,
            _ => number,
        };
        types.iter().enumerate().map(value).collect()
    }

    fn decide(&self, gates: &mut [Asked], codes: &mut Vec<Code>) {
        let mut determining = Determining::default();
        for Asked { gate, sessions, resources } in gates {
            for (row, &session) in sessions.iter().enumerate() {
                for &resource in &*resources {
                    let values = self.values(gate, 8);
                    codes.push(gate.allows(session, resource, &values).code());
                    let values = self.values(gate, [1, i64::MIN, i64::MAX][row % 3]);
                    codes.push(gate.decide(session, resource, &values, &mut determining).code());
                }
            }
            let batch = gate.batch();
            // Columns of entities hold handles, and columns of texts hold the bundle's numbers.
            let values: Vec<i64> = batch.types().iter().map(|ty| self.column(ty)).collect();
            let columns: Vec<Column<'_, i64>> =
                values.iter().map(|value| Column::all(std::slice::from_ref(value))).collect();
            let sessions: Vec<u64> = sessions.iter().map(|session| session.0).collect();
            let resources: Vec<u64> = resources.iter().map(|handle| handle.0).collect();
            let mut out = vec![Decision::CORRUPT; resources.len().min(sessions.len())];
            for who in [Principals::Sessions(Column::each(&sessions)), Principals::Handles(Column::all(&resources))] {
                let _ = batch.decide_many(who, Column::each(&resources), &columns, &mut out);
                let _ = batch.decide_many(who, Column::all(&resources), &columns, &mut out);
            }
        }
    }

    fn column(&self, ty: &ValueType) -> i64 {
        let ValueType::Entity(name) = ty else { return 1 };
        let at = self.uids.iter().position(|uid| uid.0 == *name);
        at.and_then(|at| self.handles.get(at)).map_or(8, |handle| handle.0.cast_signed())
    }

    fn evaluate(&self, codes: &mut Vec<Code>) {
        let snapshot = self.engine.snapshot();
        let described = snapshot.bundle().meta().actions.iter().take(FEW).map(Some).chain([None]);
        for (number, action) in described.enumerate() {
            let number = action.and_then(|_| u32::try_from(number).ok()).unwrap_or(u32::MAX);
            let record = snapshot.bundle().actions().get(number as usize);
            let slots = record.map_or(0, |record| record.slots.len as usize).min(64);
            let mut attributes = Vec::new();
            attributes_of(action.map_or(&[][..], |action| &action.context), "", true, &mut attributes);
            let (principals, resources) =
                action.map_or((&[][..], &[][..]), |action| (&*action.principals, &*action.resources));
            let resources = self.of_types(resources);
            for (row, who) in self.of_types(principals).into_iter().enumerate() {
                let mut builder = RequestBuilder::new(&snapshot, if row % 3 == 2 { 3 } else { slots });
                let [who, what] = [who, resources[row % resources.len()]].map(|at| &self.uids[at]);
                let (Some(who), Some(what)) = (builder.entity(&who.0, &who.1), builder.entity(&what.0, &what.1)) else {
                    continue;
                };
                for attribute in attributes.iter().filter(|attribute| row % 2 == 0 || attribute.required) {
                    let given = value(&mut builder, &attribute.ty, who);
                    builder.put(attribute.slot, given);
                }
                let request = builder.finish();
                let mut determining = Determining::default();
                codes.push(self.engine.evaluate(&snapshot, number, who, what, &request, &mut determining));
                let mut all = snapshot.resources(number);
                all.truncate(FEW);
                assert_eq!(snapshot.entitlements(number, who, &all, &request, None).len(), all.len());
                let _ = (request.uid(&snapshot, who), request.uid(&snapshot, what));
            }
        }
    }
}

/// Make a value of a type.
fn value(builder: &mut RequestBuilder<'_>, ty: &ValueType, entity: EntityRef) -> Value {
    match ty {
        ValueType::Bool => Value::bool(true),
        ValueType::String => builder.text("a new one"),
        ValueType::Decimal => Value::number(Tag::Decimal, 20_000),
        ValueType::Datetime => Value::number(Tag::Datetime, 8),
        ValueType::Duration => Value::number(Tag::Duration, 8),
        ValueType::Ip => builder.ip6(1, 128),
        ValueType::Entity(_) => Value::entity(entity),
        ValueType::Set(of) => {
            let element = value(builder, of, entity);
            builder.set(vec![element])
        }
        // A record here is an element of a set. A caller without checks might give a number in its place.
        ValueType::Long | ValueType::Record(_) => Value::number(Tag::Long, 8),
    }
}
