//! An engine over one form of the bundle, which decides in every way.

use crate::case::Ask;
use crate::counts::Counts;
use crate::ways::{Argument, Tokens, Ways};
use std::collections::HashMap;
use std::sync::Arc;
use ztfast_bundle::{ActionMeta, Bundle, Field, Form, Node, ValueType};
use ztfast_cedar::Answer;
use ztfast_cedar::ir::{Datum, Ip, Uid};
use ztfast_engine::{
    Admission, Code, Column, Decision, Determining, Engine, EngineOptions, Handle, MAX_DETERMINING, Principals,
    RequestBuilder, SessionId, Snapshot,
};
use ztfast_explain::{Cedar, CedarFallback, request_value};

/// Numbers that are true: all but 0 are.
const TRUTHS: [i64; 5] = [1, -1, 1, i64::MIN, 2];

/// An engine over one form of the bundle.
pub(crate) struct Desk {
    pub form: Option<Form>,
    bundle: Arc<Bundle>,
    pub engine: Arc<Engine>,
    pub sessions: HashMap<Uid, SessionId>,
    /// Gates by action and the attributes that are present.
    pub gates: HashMap<(u32, Vec<String>), Ways>,
}

impl Desk {
    /// Return the code that Cedar's answer stands for.
    fn code_of(&self, answer: &Answer) -> Code {
        let asks = |id: &Arc<str>| {
            let numbers = 0..u32::try_from(self.bundle.policies().len()).unwrap_or(u32::MAX);
            let number = numbers.into_iter().find(|&number| self.bundle.policy_id(number) == Some(id));
            number.is_some_and(|number| self.bundle.step_up(number).is_some())
        };
        match (answer.allow, answer.reasons.len()) {
            (true, _) => Code::Allow,
            (false, 0) => Code::Default,
            (false, _) if answer.erred => Code::Forbid,
            (false, 1..=MAX_DETERMINING) if answer.permitted && answer.reasons.iter().all(asks) => Code::StepUp,
            (false, _) => Code::Forbid,
        }
    }

    pub fn new(form: Option<Form>, bundle: Arc<Bundle>, fallback: Option<Arc<Cedar>>) -> Result<Self, String> {
        let options = EngineOptions { sessions: 256, handles: 1024, ..EngineOptions::default() };
        // With few cells for tables of their own, gates have one for each layer; with none, they decide by the action's
        // layers. So do those of large estates.
        let gate_cells = match bundle.hash()[0] % 6 {
            0 | 1 => 0,
            2 | 3 => 4 << (bundle.hash()[1] % 8),
            _ => options.gate_cells,
        };
        let options = EngineOptions { gate_cells, ..options };
        let fallback = fallback.map(|cedar| Box::new(CedarFallback(cedar)) as _);
        let engine = Engine::new(bundle.clone(), fallback, options).map_err(|e| e.to_string())?;
        Ok(Self { form, bundle, engine, sessions: HashMap::new(), gates: HashMap::new() })
    }

    /// Swap to a bundle of the same schema, to which the gates are bound anew.
    pub fn swap(
        &mut self,
        form: Option<Form>,
        bundle: Arc<Bundle>,
        fallback: Option<Arc<Cedar>>,
    ) -> Result<(), String> {
        let fallback = fallback.map(|cedar| Box::new(CedarFallback(cedar)) as _);
        self.engine.swap(bundle.clone(), fallback).map_err(|e| e.to_string())?;
        (self.form, self.bundle) = (form, bundle);
        Ok(())
    }

    pub fn action(&self, uid: &Uid) -> Result<(u32, &ActionMeta), String> {
        let actions = (0_u32..).zip(&self.bundle.meta().actions);
        let found = actions.into_iter().find(|(_, action)| action.id == *uid.id && action.ty == *uid.ty);
        found.ok_or_else(|| format!("the bundle lacks the action {uid}"))
    }

    pub fn compare(&mut self, ask: &Ask, answer: &Answer, number: usize, counts: &mut Counts) -> Result<(), String> {
        let expected = self.code_of(answer);
        let (action, meta) = self.action(&ask.action)?;
        let snapshot = self.engine.snapshot();
        let mut determining = Determining::default();
        let code = self.evaluate(&snapshot, action, meta, ask, &mut determining)?;
        self.agree("evaluate", code, Some(&determining), answer)?;
        counts.decisions += 1;
        counts.step_ups += u64::from(code == Code::StepUp);
        if number % 2 == 1 {
            return Ok(());
        }
        let mut arguments = Vec::new();
        if !self.arguments(&meta.context.clone(), "", &ask.context, number, &mut arguments)? {
            return Ok(());
        }
        self.through_gate(action, ask, arguments, answer, expected, counts)
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
        let entitled = snapshot.entitlements(action, principal, &[resource, resource], &request, None);
        if entitled != [code == Code::Allow; 2] {
            return Err(format!("entitlements says {entitled:?}, evaluate {code:?}"));
        }
        Ok(code)
    }

    fn agree(&self, way: &str, code: Code, determining: Option<&Determining>, answer: &Answer) -> Result<(), String> {
        let expected = self.code_of(answer);
        if code != expected {
            return Err(format!("{way} says {code:?}, Cedar {expected:?} by {:?}", answer.reasons));
        }
        let Some(determining) = determining.filter(|_| expected != Code::Default) else { return Ok(()) };
        let ids: Option<Vec<&str>> =
            determining.as_slice().iter().map(|&number| self.bundle.policy_id(number)).collect();
        let ids = ids.ok_or("a determining policy has no id")?;
        let reasons: Vec<&str> = answer.reasons.iter().map(|id| &**id).collect();
        let all = determining.count as usize == reasons.len()
            && if reasons.len() <= MAX_DETERMINING {
                ids == reasons
            } else {
                ids.iter().all(|id| reasons.contains(id))
            };
        if !all {
            return Err(format!(
                "{way} says {code:?} by {} policies: {ids:?}, Cedar by {reasons:?}",
                determining.count
            ));
        }
        Ok(())
    }

    /// Convert the context to a gate's arguments; `false` if it has values that gates do not take. `turn` chooses among
    /// numbers that mean the same.
    fn arguments(
        &self,
        fields: &[Field],
        prefix: &str,
        context: &Datum,
        turn: usize,
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
                    if !self.arguments(inner, &format!("{path}."), value, turn, out)? {
                        return Ok(false);
                    }
                    if presence.is_some() && out.len() == before {
                        return Ok(false);
                    }
                    continue;
                }
                (_, Datum::Bool(false)) => Argument::Number(0),
                (_, Datum::Bool(true)) => Argument::Number(TRUTHS[(turn + out.len()) % TRUTHS.len()]),
                (_, Datum::Long(n) | Datum::Decimal(n) | Datum::Datetime(n) | Datum::Duration(n)) => {
                    Argument::Number(*n)
                }
                (_, Datum::String(text)) => Argument::Text(text.clone()),
                (_, Datum::Entity(uid)) => Argument::Entity(self.handle(uid)?),
                (_, Datum::Ip(Ip::V4(bits, prefix))) => Argument::Address((*bits).into(), false, *prefix),
                (_, Datum::Ip(Ip::V6(bits, prefix))) => Argument::Address(*bits, true, *prefix),
                (Node::Leaf { ty: ValueType::Set(of), .. }, Datum::Set(elements)) => {
                    let composite =
                        |ty: &ValueType| matches!(ty, ValueType::Ip | ValueType::Set(_) | ValueType::Record(_));
                    let elements: Option<Vec<Argument>> =
                        elements.iter().map(|element| self.element(element)).collect::<Result<_, _>>()?;
                    match elements {
                        Some(elements) if !composite(of) => Argument::Set(elements),
                        _ => return Ok(false),
                    }
                }
                _ => return Ok(false),
            };
            out.push((path, argument));
        }
        Ok(true)
    }

    /// Convert an element of a set; `None` if gates do not take sets of such.
    fn element(&self, element: &Datum) -> Result<Option<Argument>, String> {
        Ok(match element {
            Datum::Bool(holds) => Some(Argument::Number((*holds).into())),
            Datum::Long(n) | Datum::Decimal(n) | Datum::Datetime(n) | Datum::Duration(n) => Some(Argument::Number(*n)),
            Datum::String(text) => Some(Argument::Text(text.clone())),
            Datum::Entity(uid) => Some(Argument::Entity(self.handle(uid)?)),
            Datum::Ip(_) | Datum::Set(_) | Datum::Record(_) => None,
        })
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
        counts: &mut Counts,
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
                tokens: Tokens::default(),
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
        let mut reasons = Determining::default();
        let passed = (
            ways.passed(session, resource, &arguments, Some(&mut reasons))?,
            ways.passed(session, resource, &arguments, None)?,
        );
        ways.sessions.push(session.0);
        ways.principals.push(principal.0);
        ways.resources.push(resource.0);
        for (column, argument) in ways.columns.iter_mut().zip(arguments) {
            column.push(argument);
        }
        ways.expected.push(expected);
        counts.decisions += 2;
        self.agree("Gate::decide", decided.code(), Some(&determining), answer)?;
        self.agree("Gate::allows", allowed.code(), None, answer)?;
        if let (Some(decided), Some(allowed)) = passed {
            counts.decisions += 2;
            self.agree("PassedValues::decide", decided, Some(&reasons), answer)?;
            self.agree("PassedValues::allows", allowed, None, answer)?;
        }
        Ok(())
    }

    pub fn compare_rows(&mut self, counts: &mut Counts) -> Result<(), String> {
        for ways in self.gates.values_mut() {
            let batches = ways.early.take().into_iter().chain([ways.gate.batch()]);
            for mut batch in batches.filter(|_| ways.has_columns()) {
                let mut columns: Vec<Vec<i64>> = Vec::with_capacity(ways.columns.len());
                for column in &ways.columns {
                    let numbers = column.iter().map(|argument| argument.number(&mut batch));
                    columns.push(numbers.collect::<Option<_>>().ok_or("too many texts")?);
                }
                let laid_out: Vec<Column<'_, i64>> = columns.iter().map(|column| Column::each(column)).collect();
                for who in [
                    Principals::Sessions(Column::each(&ways.sessions)),
                    Principals::Handles(Column::each(&ways.principals)),
                ] {
                    let mut out = vec![Decision::CORRUPT; ways.expected.len()];
                    let decided = batch.decide_many(who, Column::each(&ways.resources), &laid_out, &mut out);
                    decided.map_err(|_| "an entity that fits its argument is refused")?;
                    for (row, (&code, &expected)) in out.iter().zip(&ways.expected).enumerate() {
                        if code != expected {
                            return Err(format!("row {row} says {code:?}, Cedar {expected:?}"));
                        }
                    }
                    counts.decisions += out.len() as u64;
                }
                counts.decisions += ways.compare_uniform(&batch, &columns)?;
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
