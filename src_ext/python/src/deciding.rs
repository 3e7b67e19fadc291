//! Decisions over a principal, a resource and a context that Python gives, for a session or by policy alone.

use crate::action::{ActionName, ActionText, find_action_number};
use crate::belongings::Belongings;
use crate::reader::{Reader, Refused};
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use std::borrow::Cow;
use ztfast_bundle::{ActionMeta, Bundle, Field};
use ztfast_cedar::LIVE;
use ztfast_engine::{
    Code, Determining, LiveValues, MarketSlot, OwnedRequest, RequestBuilder, SessionId, SessionRequest, Shared,
    Snapshot,
};
use ztfast_explain::CedarFallback;
use ztfast_vm::EntityRef;

/// The number of a code, the ids of the determining policies, and a `ztfast.Advice` or none.
pub(crate) type Decided<'py> = (u8, Bound<'py, PyTuple>, Option<Bound<'py, PyAny>>);

/// Deny a session's request, or answer the question, without a policy that takes part in it.
pub(crate) fn denied<'py>(
    py: Python<'py>,
    shared: &Shared,
    session: SessionId,
    asks: bool,
    code: Code,
) -> Decided<'py> {
    if asks { unanswered(py, code) } else { unreasoned(py, shared.deny(session, code).number()) }
}

/// Return the answer to a question that no policy takes part in.
pub(crate) fn unanswered(py: Python<'_>, code: Code) -> Decided<'_> {
    unreasoned(py, code as u8)
}

fn unreasoned(py: Python<'_>, number: u8) -> Decided<'_> {
    (number, PyTuple::empty(py), None)
}

/// For whom a request is decided.
#[derive(Clone, Copy)]
enum For {
    /// For a session. This decides.
    Session(SessionId),
    /// For a session, as a question.
    Question(SessionId),
    /// By policy alone, for any principal, as a question.
    Policy,
}

impl For {
    const fn session(self) -> Option<SessionId> {
        match self {
            Self::Session(session) | Self::Question(session) => Some(session),
            Self::Policy => None,
        }
    }
}

/// Return the number of the action that a caller names.
pub(crate) fn action_number(py: Python<'_>, snapshot: &Snapshot, action: &ActionName) -> PyResult<u32> {
    find_action_number(py, snapshot.bundle(), action, |ty, id| snapshot.find_actions(ty, id))
}

/// Join what these policies ask the principal to prove, as a `ztfast.Advice`.
fn advice<'py>(py: Python<'py>, bundle: &Bundle, policies: &[u32]) -> PyResult<Bound<'py, PyAny>> {
    let asked = policies.iter().filter_map(|&policy| bundle.step_up(policy));
    let asked: Vec<(&str, Option<u64>)> = asked.map(|one| (one.factors, one.max_age)).collect();
    py.import("ztfast.advice")?.getattr("Advice")?.call_method1("of", (asked,))
}

/// A function that reads a context's values into a request.
type Fill<'f> = &'f dyn Fn(&Reader<'_>, &[Field], &mut RequestBuilder<'_>) -> PyResult<Result<(), Refused>>;

/// The principal and the resource of a request.
struct RequestEntities {
    principal: EntityRef,
    resource: EntityRef,
}

/// Decides over one snapshot of an engine.
pub(crate) struct Decider<'e> {
    pub shared: &'e Shared,
    pub snapshot: &'e Snapshot,
    /// Whether a value that is out of its range raises.
    pub strict: bool,
    /// The live attributes of the session, if they were looked up before.
    pub live: Option<LiveValues>,
    /// Whether requests of sessions are questions, which decide nothing.
    pub asks: bool,
}

/// Return the attributes of an action's context that a caller gives, for a session or by policy alone.
pub(crate) fn given_fields(meta: &ActionMeta, by_session: bool) -> Cow<'_, [Field]> {
    if meta.live.is_none() || !by_session {
        return Cow::Borrowed(&meta.context);
    }
    meta.context.iter().filter(|field| field.name != LIVE).cloned().collect::<Vec<_>>().into()
}

impl Decider<'_> {
    /// Decide by policy alone.
    pub fn evaluate<'py>(
        &self,
        py: Python<'py>,
        principal: &Bound<'_, PyAny>,
        action: u32,
        resource: &Bound<'_, PyAny>,
        fill: Fill<'_>,
    ) -> PyResult<Decided<'py>> {
        let entities = |builder: &mut RequestBuilder<'_>| {
            self.know(builder, principal)?;
            self.know(builder, resource)?;
            // Both uids are parsed before either denies, so that a malformed uid always raises.
            let principal = self.entity(builder, principal)?;
            let resource = self.entity(builder, resource)?;
            Ok(principal.and_then(|principal| Ok(RequestEntities { principal, resource: resource? })))
        };
        self.by_policy(py, action, fill, entities, For::Policy)
    }

    /// Decide for a session.
    pub fn decide<'py>(
        &self,
        py: Python<'py>,
        session: u64,
        action: u32,
        resource: &Bound<'_, PyAny>,
        fill: Fill<'_>,
    ) -> PyResult<Decided<'py>> {
        let session = SessionId(session);
        let entities = |builder: &mut RequestBuilder<'_>| {
            let principal = match self.shared.session_principal(self.snapshot, action, session) {
                Ok(principal) => principal,
                // A malformed resource still raises, also where the session denies.
                Err(code) => return self.entity(builder, resource).map(|_| Err(code)),
            };
            builder.know(principal);
            self.know(builder, resource)?;
            let resource = self.entity(builder, resource)?;
            let of_request = |number| builder.foreign_uid(number);
            if let Some(code) = self.shared.denial(self.snapshot, action, session, resource.ok(), &of_request) {
                return Ok(Err(code));
            }
            Ok(resource.map(|resource| RequestEntities { principal, resource }))
        };
        let by = if self.asks { For::Question(session) } else { For::Session(session) };
        self.by_policy(py, action, fill, entities, by)
    }

    /// Return the resources in the store, and whether the session is allowed the action on each.
    pub fn over_the_store(
        &self,
        py: Python<'_>,
        session: u64,
        action: u32,
        fill: Fill<'_>,
    ) -> PyResult<(Vec<EntityRef>, Vec<bool>)> {
        let bundle = self.snapshot.bundle();
        let meta = bundle.meta().actions.get(action as usize).zip(bundle.actions().get(action as usize));
        let Some((meta, record)) = meta else { return Ok((Vec::new(), Vec::new())) };
        let mut builder = RequestBuilder::new(self.snapshot, record.slots.len as usize);
        let principal = self.shared.session_principal(self.snapshot, action, SessionId(session));
        if let Ok(principal) = principal {
            builder.know(principal);
        }
        let text = ActionText(meta);
        let (reader, fields) = self.reader(&text, meta, true);
        let principal = match fill(&reader, &fields, &mut builder)? {
            Ok(()) => principal.and_then(|principal| {
                self.put_live(Some(SessionId(session)), meta, None, &mut builder)?;
                Ok(principal)
            }),
            Err(refused) => {
                refused.strictly(py, self.strict)?;
                principal.and(Err(refused.code))
            }
        };
        let market = MarketSlot::of(&meta.context, &mut builder).filter(|_| meta.live.is_some());
        let market = market.map(|slot| (self.shared, slot));
        let request = builder.finish();
        Ok(py.detach(|| {
            let resources = self.snapshot.resources(action);
            let mut allowed = match principal {
                Ok(principal) => self.snapshot.entitlements(action, principal, &resources, &request, market),
                Err(_) => vec![false; resources.len()],
            };
            // All this takes long, and reading the context may run Python code: the session may no longer be valid, or
            // something killed.
            let session = SessionId(session);
            for (allowed, &resource) in allowed.iter_mut().zip(&resources).filter(|(allowed, _)| **allowed) {
                *allowed = self.shared.denial(self.snapshot, action, session, Some(resource), &|_| None).is_none();
            }
            (resources, allowed)
        }))
    }

    /// Return a reader of contexts for a session, or by policy alone, and the attributes that the caller gives.
    fn reader<'r>(
        &'r self,
        text: &'r ActionText<'_>,
        meta: &'r ActionMeta,
        by_session: bool,
    ) -> (Reader<'r>, Cow<'r, [Field]>) {
        let mut reader = Reader::new(text, Some(self.shared));
        reader.fills_live = meta.live.is_some() && by_session;
        (reader, given_fields(meta, by_session))
    }

    /// Put the live attributes of a session into a request.
    fn put_live(
        &self,
        session: Option<SessionId>,
        meta: &ActionMeta,
        resource: Option<EntityRef>,
        builder: &mut RequestBuilder<'_>,
    ) -> Result<(), Code> {
        let Some(session) = session.filter(|_| meta.live.is_some()) else { return Ok(()) };
        if let Some(live) = &self.live {
            return live.put(meta, builder);
        }
        let mut live = self.shared.live_values(self.snapshot, session)?;
        if let Some(resource) = resource {
            live = live.on(self.shared, self.snapshot, resource, &|number| builder.foreign_uid(number));
        }
        live.put(meta, builder)
    }

    fn by_policy<'py>(
        &self,
        py: Python<'py>,
        action: u32,
        fill: Fill<'_>,
        entities: impl FnOnce(&mut RequestBuilder<'_>) -> PyResult<Result<RequestEntities, Code>>,
        by: For,
    ) -> PyResult<Decided<'py>> {
        let deny = |code| match by {
            For::Session(session) => denied(py, self.shared, session, false, code),
            For::Question(_) | For::Policy => unanswered(py, code),
        };
        let bundle = self.snapshot.bundle();
        let (Some(meta), Some(record)) =
            (bundle.meta().actions.get(action as usize), bundle.actions().get(action as usize))
        else {
            return Ok(deny(Code::Corrupt));
        };
        let mut builder = RequestBuilder::new(self.snapshot, record.slots.len as usize);
        let entities = entities(&mut builder)?;
        let text = ActionText(meta);
        let (reader, fields) = self.reader(&text, meta, by.session().is_some());
        let read = fill(&reader, &fields, &mut builder)?;
        if let Err(refused) = &read {
            refused.strictly(py, self.strict)?;
        }
        // A denial because of the session or an entity holds for all values, so its code takes precedence.
        let entities = entities.and_then(|entities| read.map_or_else(|refused| Err(refused.code), |()| Ok(entities)));
        let lived = entities.and_then(|entities| {
            self.put_live(by.session(), meta, Some(entities.resource), &mut builder)?;
            Ok(entities)
        });
        let entities = match lived {
            Ok(entities) => entities,
            Err(code) => return Ok(deny(code)),
        };
        let context = builder.finish();
        let mut determining = Determining::default();
        let RequestEntities { principal, resource } = entities;
        let (shared, snapshot) = (self.shared, self.snapshot);
        let of = |session| SessionRequest { snapshot, session, action, principal, resource, context: &context };
        let mut evaluate = || match by {
            For::Session(session) => shared.decide(&of(session), &mut determining).code(),
            For::Question(session) => shared.dry_run(&of(session), &mut determining),
            For::Policy => shared.evaluate(snapshot, action, principal, resource, &context, &mut determining),
        };
        // Large requests, and policies that Cedar's own evaluator decides, take long.
        let long = reader.is_large() || bundle.meta().stats.fallbacks > 0;
        let code = if long { py.detach(evaluate) } else { evaluate() };
        if !matches!(code, Code::Allow | Code::Forbid | Code::StepUp) {
            return Ok(unreasoned(py, code as u8));
        }
        let policies = determining.as_slice();
        if determining.count as usize > policies.len() {
            // The decision does not keep them all; Cedar lists them.
            return self.all_determining(py, code, action, &entities, &context);
        }
        let reasons: Vec<&str> = policies.iter().filter_map(|&policy| bundle.policy_id(policy)).collect();
        let advice = if code == Code::StepUp { Some(advice(py, bundle, policies)?) } else { None };
        Ok((code as u8, PyTuple::new(py, reasons)?, advice))
    }

    fn all_determining<'py>(
        &self,
        py: Python<'py>,
        code: Code,
        action: u32,
        entities: &RequestEntities,
        request: &OwnedRequest,
    ) -> PyResult<Decided<'py>> {
        let cedar = CedarFallback(Belongings::of(py, self.snapshot)?.bundle.get().cedar(py)?);
        let RequestEntities { principal, resource } = *entities;
        let answer = py.detach(|| self.shared.ask(&cedar, self.snapshot, action, principal, resource, request));
        let reasons = answer.map(|answer| answer.reasons).unwrap_or_default();
        let id = |&policy: &u32| self.snapshot.bundle().policy_id(policy);
        let reasons: Vec<&str> = reasons.iter().filter_map(id).collect();
        Ok((code as u8, PyTuple::new(py, reasons)?, None))
    }

    /// Tell the builder about the entity of a handle.
    fn know(&self, builder: &mut RequestBuilder<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let entity = uid::handle(value)?.map(|handle| self.shared.handle_entity(self.snapshot, handle));
        if let Some(Ok(entity)) = entity {
            builder.know(entity);
        }
        Ok(())
    }

    /// Return the entity of a handle (a value with a `handle` number) or of a uid, or the code of the denial.
    fn entity(&self, builder: &mut RequestBuilder<'_>, value: &Bound<'_, PyAny>) -> PyResult<Result<EntityRef, Code>> {
        if let Ok(text) = value.cast::<PyString>() {
            let text = uid::text_of(text)?;
            let (ty, id) = uid::split(value.py(), &text)?;
            return Ok(builder.entity(ty, &id).ok_or(Code::NotApplicable));
        }
        if let Some(handle) = uid::handle(value)? {
            return Ok(self.shared.handle_entity(self.snapshot, handle));
        }
        let (ty, id) = uid::extract(value)?;
        Ok(builder.entity(&ty, &id).ok_or(Code::NotApplicable))
    }
}
