//! The comparison of one case: Cedar decides it, and the engine in every way.

use crate::case::{Ask, Case, entity_file, uid_of};
use std::collections::HashMap;
use std::sync::Arc;
use ztfast_bundle::{ActionMeta, Bundle, Field, Form, Node, ValueType};
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{Answer, CedarStore, EntityReader, Mode};
use ztfast_compile::Options;
use ztfast_engine::{
    Admission, Batch, Code, Column, Determining, Engine, EngineOptions, Gate, Handle, MAX_DETERMINING, RequestBuilder,
    SessionId, Snapshot, Who,
};
use ztfast_explain::{Cedar, CedarFallback, entity_data, request_value};

/// Counts of what was compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub worlds: u64,
    /// Worlds that strict validation accepts.
    pub strict: u64,
    /// Requests that Cedar decided.
    pub requests: u64,
    pub allowed: u64,
    /// Requests with policies that err.
    pub erring: u64,
    /// Decisions of the engine that were compared with Cedar's.
    pub decisions: u64,
    /// Explanations that were compared with Cedar's answers.
    pub explained: u64,
    /// Fallbacks, in worlds that strict validation refuses.
    pub fallbacks: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.strict += other.strict;
        self.requests += other.requests;
        self.allowed += other.allowed;
        self.erring += other.erring;
        self.decisions += other.decisions;
        self.explained += other.explained;
        self.fallbacks += other.fallbacks;
    }
}

/// Compare a case, whose requests are given as values. `Err` describes a difference.
pub(crate) fn compare(
    case: &Case,
    asks: &[Vec<Ask>],
    forms: &[(Option<Form>, bool)],
    tally: &mut Tally,
) -> Result<(), String> {
    let sources = case.sources();
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).map_err(|e| format!("refused: {e}"))?;
    tally.worlds += 1;
    tally.strict += u64::from(loaded.strict);
    let mut entities = case.entities.clone();
    let mut store =
        loaded.authorizer.store(Some(&entity_file(&entities))).map_err(|e| format!("Cedar refuses: {e}"))?;
    let mut cedar: Option<Arc<Cedar>> = None;
    let mut authorizer = Some(loaded.authorizer);
    let mut desks = Vec::new();
    for &(form, split) in forms {
        let options = Options { strict: loaded.strict, form, split, ..Options::default() };
        let parts = ztfast_compile::compile(loaded.model.clone(), &sources, &options, None, &mut |_, _, _| {});
        let parts = parts.map_err(|e| format!("{form:?}: {e}"))?;
        let bundle = Arc::new(Bundle::of(&parts).map_err(|e| e.to_string())?);
        let fallbacks = bundle.meta().stats.fallbacks;
        if loaded.strict && fallbacks > 0 {
            return Err(format!("{fallbacks} policies that strict validation accepts are left to Cedar"));
        }
        tally.fallbacks += fallbacks;
        if let Some(authorizer) = authorizer.take() {
            cedar = Some(Arc::new(Cedar::of(&bundle, authorizer)));
        }
        let fallback = cedar.clone().filter(|_| fallbacks > 0);
        desks.push(Desk::new(form, bundle, fallback)?);
    }
    let cedar = cedar.ok_or("no form to compare")?;
    let reader = EntityReader::new(&sources.schema).map_err(|e| e.to_string())?;
    for (number, (step, asks)) in case.steps.iter().zip(asks).enumerate() {
        if !step.upsert.is_empty() || !step.remove.is_empty() {
            change(&mut entities, step);
            store =
                cedar.authorizer().store(Some(&entity_file(&entities))).map_err(|e| format!("Cedar refuses: {e}"))?;
            let upserts = reader.read(&entity_file(&step.upsert)).map_err(|e| e.to_string())?;
            let upserts: Vec<_> = upserts.into_iter().map(entity_data).collect();
            let removals: Vec<_> =
                step.remove.iter().filter_map(uid_of).map(|u| (u.ty.to_string(), u.id.to_string())).collect();
            for desk in &mut desks {
                for ways in desk.gates.values_mut() {
                    ways.fail()?;
                }
                desk.engine.change(&upserts, &removals).map_err(|e| format!("step {number}: {e}"))?;
                for ways in desk.gates.values_mut() {
                    ways.early = Some(ways.gate.batch());
                    // This decision ends the call that failed; its code does not matter.
                    ways.gate.allows(SessionId(0), Handle(0), &[]);
                }
            }
        }
        step_through(&cedar, &store, &mut desks, asks, tally).map_err(|what| format!("step {number}: {what}"))?;
    }
    Ok(())
}

/// Apply a step to the list of entities.
fn change(entities: &mut Vec<serde_json::Value>, step: &crate::case::Step) {
    let gone = |entity: &serde_json::Value| {
        step.remove.contains(&entity["uid"]) || step.upsert.iter().any(|new| new["uid"] == entity["uid"])
    };
    entities.retain(|entity| !gone(entity));
    entities.extend(step.upsert.iter().cloned());
}

fn step_through(
    cedar: &Cedar,
    store: &CedarStore,
    desks: &mut [Desk],
    asks: &[Ask],
    tally: &mut Tally,
) -> Result<(), String> {
    for (number, ask) in asks.iter().enumerate() {
        let told = |what: String| format!("request {number}, {}: {what}", describe(ask));
        let answer = cedar.authorizer().authorize(&ask.principal, &ask.action, &ask.resource, &ask.context, store);
        let answer = answer.map_err(|e| told(e.to_string()))?;
        tally.requests += 1;
        tally.allowed += u64::from(answer.allow);
        tally.erring += u64::from(!answer.errors.is_empty());
        for desk in &mut *desks {
            desk.compare(ask, &answer, number, tally).map_err(|what| told(format!("{:?}: {what}", desk.form)))?;
        }
        if number % 16 == 0
            && let Some(desk) = desks.first()
        {
            explain(cedar, desk, ask, &answer).map_err(told)?;
            tally.explained += 1;
        }
    }
    crate::strangers::ask(desks, tally)?;
    for desk in desks {
        desk.compare_rows(tally).map_err(|what| format!("{:?}: decide_many: {what}", desk.form))?;
    }
    Ok(())
}

fn describe(ask: &Ask) -> String {
    format!("{} {} {} {}", ask.principal, ask.action, ask.resource, crate::literals::value_json(&ask.context))
}

/// Compare the explanation over the engine's store with Cedar's answer over Cedar's store.
fn explain(cedar: &Cedar, desk: &Desk, ask: &Ask, answer: &Answer) -> Result<(), String> {
    let (_, meta) = desk.action(&ask.action)?;
    let snapshot = desk.engine.snapshot();
    let explained = cedar.answer(&snapshot, &ask.principal, meta, &ask.resource, &ask.context);
    let explained = explained.map_err(|e| e.to_string())?;
    if explained != *answer {
        return Err(format!("explain says {explained:?}, Cedar {answer:?}"));
    }
    Ok(())
}

/// An engine over one form of the bundle.
pub(crate) struct Desk {
    form: Option<Form>,
    bundle: Arc<Bundle>,
    pub engine: Arc<Engine>,
    pub sessions: HashMap<Uid, SessionId>,
    /// Gates by action and the attributes that are present.
    pub gates: HashMap<(u32, Vec<String>), Ways>,
}

/// A gate, and rows that are later decided again, all at once.
pub(crate) struct Ways {
    pub gate: Gate,
    pub kinds: Vec<ValueType>,
    pub sessions: Vec<u64>,
    pub principals: Vec<u64>,
    pub resources: Vec<u64>,
    pub columns: Vec<Vec<Argument>>,
    pub expected: Vec<Code>,
    /// A batch taken when the step began, behind a call that had failed half-way before the store changed.
    early: Option<Batch>,
}

#[derive(Clone)]
pub(crate) enum Argument {
    Number(i64),
    Text(Arc<str>),
    Entity(Handle),
}

impl Argument {
    /// Return the value for a column.
    pub fn number(&self, batch: &mut Batch) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => batch.text(text),
            Self::Entity(handle) => Some(handle.0.cast_signed()),
        }
    }
}

fn code_of(answer: &Answer) -> Code {
    match (answer.allow, answer.reasons.is_empty()) {
        (true, _) => Code::Allow,
        (false, false) => Code::Forbid,
        (false, true) => Code::Default,
    }
}

impl Desk {
    fn new(form: Option<Form>, bundle: Arc<Bundle>, fallback: Option<Arc<Cedar>>) -> Result<Self, String> {
        let options = EngineOptions { sessions: 256, handles: 1024, ..EngineOptions::default() };
        let fallback = fallback.map(|cedar| Box::new(CedarFallback(cedar)) as _);
        let engine = Engine::new(bundle.clone(), fallback, options).map_err(|e| e.to_string())?;
        Ok(Self { form, bundle, engine, sessions: HashMap::new(), gates: HashMap::new() })
    }

    fn action(&self, uid: &Uid) -> Result<(u32, &ActionMeta), String> {
        let actions = (0_u32..).zip(&self.bundle.meta().actions);
        let found = actions.into_iter().find(|(_, action)| action.id == *uid.id && action.ty == *uid.ty);
        found.ok_or_else(|| format!("the bundle lacks the action {uid}"))
    }

    fn compare(&mut self, ask: &Ask, answer: &Answer, number: usize, tally: &mut Tally) -> Result<(), String> {
        let expected = code_of(answer);
        let (action, meta) = self.action(&ask.action)?;
        let snapshot = self.engine.snapshot();
        let mut determining = Determining::default();
        let code = self.evaluate(&snapshot, action, meta, ask, &mut determining)?;
        self.agree("evaluate", code, Some(&determining), answer)?;
        tally.decisions += 1;
        if number % 2 == 1 {
            return Ok(());
        }
        let mut arguments = Vec::new();
        if !self.arguments(&meta.context.clone(), "", &ask.context, &mut arguments)? {
            return Ok(());
        }
        self.through_gate(action, ask, arguments, answer, expected, tally)
    }

    fn evaluate(
        &self,
        snapshot: &Snapshot,
        action: u32,
        meta: &ActionMeta,
        ask: &Ask,
        determining: &mut Determining,
    ) -> Result<Code, String> {
        let slots = self.bundle.actions().get(action as usize).map_or(0, |action| action.slots.len as usize);
        let mut builder = RequestBuilder::new(snapshot, slots);
        let principal = builder.entity(&ask.principal.ty, &ask.principal.id).ok_or("no such principal")?;
        let resource = builder.entity(&ask.resource.ty, &ask.resource.id).ok_or("no such resource")?;
        put(&meta.context, &ask.context, &mut builder)?;
        let request = builder.finish();
        let code = self.engine.evaluate(snapshot, action, principal, resource, &request, determining);
        // The resource is listed twice, because conditions leave values in the scratch memory.
        let entitled = snapshot.entitlements(action, principal, &[resource, resource], &request);
        if entitled != [code == Code::Allow; 2] {
            return Err(format!("entitlements says {entitled:?}, evaluate {code:?}"));
        }
        Ok(code)
    }

    fn agree(&self, way: &str, code: Code, noted: Option<&Determining>, answer: &Answer) -> Result<(), String> {
        let expected = code_of(answer);
        if code != expected {
            return Err(format!("{way} says {code:?}, Cedar {expected:?} by {:?}", answer.reasons));
        }
        let Some(noted) = noted.filter(|_| expected != Code::Default) else { return Ok(()) };
        let ids: Option<Vec<&str>> = noted.as_slice().iter().map(|&number| self.bundle.policy_id(number)).collect();
        let ids = ids.ok_or("a determining policy has no id")?;
        let reasons: Vec<&str> = answer.reasons.iter().map(|id| &**id).collect();
        let all = noted.count as usize == reasons.len()
            && if reasons.len() <= MAX_DETERMINING {
                ids == reasons
            } else {
                ids.iter().all(|id| reasons.contains(id))
            };
        if !all {
            return Err(format!("{way} says {code:?} by {} policies: {ids:?}, Cedar by {reasons:?}", noted.count));
        }
        Ok(())
    }

    /// Convert the context to a gate's arguments; `false` if it has values that gates do not take.
    fn arguments(
        &self,
        fields: &[Field],
        prefix: &str,
        context: &Datum,
        out: &mut Vec<(String, Argument)>,
    ) -> Result<bool, String> {
        let Datum::Record(record) = context else { return Err("the context is no record".into()) };
        for field in fields {
            let Some(value) = record.get(field.name.as_str()) else { continue };
            let path = format!("{prefix}{}", field.name);
            let argument = match (&field.node, value) {
                (Node::Record { fields: inner, presence }, Datum::Record(given)) => {
                    // For a gate, an optional record is present iff one of its attributes is.
                    if presence.is_some() && given.is_empty() {
                        return Ok(false);
                    }
                    let before = out.len();
                    if !self.arguments(inner, &format!("{path}."), value, out)? {
                        return Ok(false);
                    }
                    if presence.is_some() && out.len() == before {
                        return Ok(false);
                    }
                    continue;
                }
                (_, Datum::Bool(b)) => Argument::Number(i64::from(*b)),
                (_, Datum::Long(n) | Datum::Decimal(n) | Datum::Datetime(n) | Datum::Duration(n)) => {
                    Argument::Number(*n)
                }
                (_, Datum::String(text)) => Argument::Text(text.clone()),
                (_, Datum::Entity(uid)) => Argument::Entity(self.handle(uid)?),
                _ => return Ok(false),
            };
            out.push((path, argument));
        }
        Ok(true)
    }

    fn handle(&self, uid: &Uid) -> Result<Handle, String> {
        self.engine.handle(&uid.ty, &uid.id).map_err(|e| e.to_string())
    }

    fn through_gate(
        &mut self,
        action: u32,
        ask: &Ask,
        arguments: Vec<(String, Argument)>,
        answer: &Answer,
        expected: Code,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let resource = self.handle(&ask.resource)?;
        let principal = self.handle(&ask.principal)?;
        let session = if let Some(&session) = self.sessions.get(&ask.principal) {
            session
        } else {
            let admission = Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
            let session = self.engine.admit(&admission).map_err(|e| e.to_string())?;
            self.sessions.insert(ask.principal.clone(), session);
            session
        };
        let (names, arguments): (Vec<String>, Vec<Argument>) = arguments.into_iter().unzip();
        let key = (action, names);
        if !self.gates.contains_key(&key) {
            let named: Vec<&str> = key.1.iter().map(String::as_str).collect();
            let gate = self.engine.prepare(&ask.action.ty, &ask.action.id, &named).map_err(|e| e.to_string())?;
            let kinds = gate.types().to_vec();
            let columns = vec![Vec::new(); kinds.len()];
            let ways = Ways {
                gate,
                kinds,
                sessions: vec![],
                principals: vec![],
                resources: vec![],
                columns,
                expected: vec![],
                early: None,
            };
            self.gates.insert(key.clone(), ways);
        }
        let Some(ways) = self.gates.get_mut(&key) else { return Ok(()) };
        if ways.expected.len() % 8 == 0 {
            ways.denies_failed(session, resource)?;
        }
        let mut determining = Determining::default();
        let values = ways.values(&arguments)?;
        let decided = ways.gate.decide(session, resource, &values, &mut determining);
        let values = ways.values(&arguments)?;
        let allowed = ways.gate.allows(session, resource, &values);
        ways.sessions.push(session.0);
        ways.principals.push(principal.0);
        ways.resources.push(resource.0);
        for (column, argument) in ways.columns.iter_mut().zip(arguments) {
            column.push(argument);
        }
        ways.expected.push(expected);
        tally.decisions += 2;
        self.agree("Gate::decide", decided, Some(&determining), answer)?;
        self.agree("Gate::allows", allowed, None, answer)
    }

    fn compare_rows(&mut self, tally: &mut Tally) -> Result<(), String> {
        for ways in self.gates.values_mut() {
            for mut batch in ways.early.take().into_iter().chain([ways.gate.batch()]) {
                let mut columns: Vec<Vec<i64>> = Vec::with_capacity(ways.columns.len());
                for column in &ways.columns {
                    let numbers = column.iter().map(|argument| argument.number(&mut batch));
                    columns.push(numbers.collect::<Option<_>>().ok_or("too many texts")?);
                }
                let laid_out: Vec<Column<'_, i64>> = columns.iter().map(|column| Column::each(column)).collect();
                for who in
                    [Who::Sessions(Column::each(&ways.sessions)), Who::Principals(Column::each(&ways.principals))]
                {
                    let mut out = vec![u8::MAX; ways.expected.len()];
                    let decided = batch.decide_many(who, Column::each(&ways.resources), &laid_out, &mut out);
                    decided.map_err(|_| "an entity that fits its argument is refused")?;
                    for (row, (&code, &expected)) in out.iter().zip(&ways.expected).enumerate() {
                        if code != expected as u8 {
                            return Err(format!("row {row} says {code}, Cedar {expected:?}"));
                        }
                    }
                    tally.decisions += out.len() as u64;
                }
            }
            ways.sessions.clear();
            ways.principals.clear();
            ways.resources.clear();
            ways.columns.iter_mut().for_each(Vec::clear);
            ways.expected.clear();
        }
        Ok(())
    }
}

impl Ways {
    pub fn values(&mut self, arguments: &[Argument]) -> Result<Vec<i64>, String> {
        if arguments.len() != self.kinds.len() {
            return Err("the gate takes another number of arguments".into());
        }
        // A call with numbers only is not begun: the decision itself then takes the newest snapshot.
        if arguments.iter().any(|argument| !matches!(argument, Argument::Number(_))) {
            self.gate.begin();
        }
        let gate = &mut self.gate;
        let number = |(place, argument): (usize, &Argument)| match argument {
            Argument::Number(n) => Some(*n),
            Argument::Text(text) => gate.text(text),
            Argument::Entity(handle) => gate.entity(*handle, place).ok(),
        };
        arguments
            .iter()
            .enumerate()
            .map(number)
            .collect::<Option<_>>()
            .ok_or_else(|| "no number for an argument".into())
    }
}

fn put(fields: &[Field], context: &Datum, builder: &mut RequestBuilder<'_>) -> Result<(), String> {
    let Datum::Record(record) = context else { return Err("the context is no record".into()) };
    for field in fields {
        let Some(value) = record.get(field.name.as_str()) else { continue };
        match &field.node {
            Node::Leaf { slot, .. } => {
                let found = request_value(value, builder).ok_or("a value that the bundle has no number for")?;
                builder.put(*slot, found);
            }
            Node::Record { presence, fields } => {
                if let Some(slot) = presence {
                    let there = request_value(&Datum::Bool(true), builder).ok_or("no boolean")?;
                    builder.put(*slot, there);
                }
                put(fields, value, builder)?;
            }
        }
    }
    Ok(())
}
