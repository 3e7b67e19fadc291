//! The engine as Python sees it: uids as text, contexts as dicts.

use crate::authorizer::{Answer, answer};
use crate::bundle::Bundle;
use crate::changing::{self, Belongings, Log, OwnedUid, no_engine};
use crate::context::{Reader, Refused, Scalar, action_text};
use crate::errors::{forked, raise};
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyString, PyTuple};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ztfast_bundle::{ActionMeta, Field, Node, ValueType};
use ztfast_cedar::ir::Uid;
use ztfast_engine::{
    AdmitError, Code, Determining, EngineOptions, Handle, HandleError, Kill, MemoryUse, Name, PrepareError,
    RequestBuilder, Residence, Seed, SessionId, SessionStatus, Snapshot, StaleGates,
};
use ztfast_explain::{Cedar, CedarFallback};
use ztfast_vm::EntityRef;

/// A policy decision point over a bundle.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Engine {
    pub inner: Arc<ztfast_engine::Engine>,
    /// Whether values that are out of their range raise.
    strict: bool,
    /// What was changed since the bundle came. Held by whoever swaps or changes, who lets go of the GIL before.
    pub log: Mutex<Log>,
    /// Gates that Python has.
    gates: Arc<AtomicUsize>,
    /// What came of the last try to release handles, when none was left. Never held by whoever has the GIL.
    tried: Mutex<Option<Tried>>,
}

/// A try to release handles.
struct Tried {
    ended: Instant,
    took: Duration,
    helped: bool,
}

impl Tried {
    /// Whether another try is worth its time: the last one helped, or there was time for others to end their sessions. So
    /// where all handles are needed, those who come are refused at once.
    fn is_past(&self) -> bool {
        self.helped || self.ended.elapsed() > 100 * self.took
    }
}

/// Decision code and the determining policies' ids, as a tuple.
type Decided<'py> = (u8, Bound<'py, PyTuple>);

/// Who asks, and about what.
struct Parties {
    principal: EntityRef,
    resource: EntityRef,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (bundle, shown, *, sessions, handles, prefault, locked, huge_pages, strict, max_context))]
    #[allow(clippy::fn_params_excessive_bools, clippy::too_many_arguments)] // keywords, in Python
    fn new(
        py: Python<'_>,
        bundle: &Bound<'_, Bundle>,
        shown: Py<PyAny>,
        sessions: usize,
        handles: usize,
        prefault: bool,
        locked: bool,
        huge_pages: bool,
        strict: bool,
        max_context: usize,
    ) -> PyResult<Self> {
        let residence = Residence { prefault, locked, huge_pages };
        let options = EngineOptions { sessions, handles, residence, max_context, ..EngineOptions::default() };
        let fallback = bundle.get().fallback(py)?;
        let of = bundle.get().inner.clone();
        let attached = Some(Belongings::new(py, bundle, shown)?.attach());
        let made = py.detach(|| ztfast_engine::Engine::with(of, fallback, attached, options));
        let inner = made.map_err(|error| no_engine(py, &error))?;
        Ok(Self { inner, strict, log: Mutex::default(), gates: Arc::default(), tried: Mutex::default() })
    }

    /// The bundle that decides now, as `ztfast` shows it.
    #[getter]
    fn bundle(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Belongings::of(py, &self.inner.snapshot())?.shown.clone_ref(py))
    }

    /// Decide by another bundle from now on: the changes that were kept, those that were forgotten, and the gates for whose
    /// sake it was refused.
    fn swap(
        &self,
        py: Python<'_>,
        bundle: &Bound<'_, Bundle>,
        shown: Py<PyAny>,
        keep: bool,
        upserts: Option<&str>,
        allow_stale: bool,
    ) -> PyResult<(Vec<OwnedUid>, Vec<OwnedUid>, Vec<Stale>)> {
        self.own(py)?;
        let done = changing::swap(py, self, (bundle, shown), keep, upserts, allow_stale)?;
        Ok((done.kept, done.forgotten, done.stale.into_iter().map(stale).collect()))
    }

    /// Begin anew over the bundle that decides now, with what was changed since: nothing is kept for nobody.
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py)?;
        changing::compact(py, self)?;
        // What is replaced but kept until now may be in use no more.
        let _ = py.detach(|| self.inner.memory());
        crate::give_back();
        Ok(())
    }

    /// The gates that a bundle would not fit.
    fn stale_gates(&self, py: Python<'_>, bundle: &Bundle) -> PyResult<Vec<Stale>> {
        let gates = py.detach(|| self.inner.stale_gates(&bundle.inner)).map_err(|_| forked(py))?;
        Ok(gates.into_iter().map(stale).collect())
    }

    /// Put the entities of a list in Cedar's JSON into the store, and take those of these uids out.
    fn change(&self, py: Python<'_>, upserts: Option<&str>, removals: Vec<OwnedUid>) -> PyResult<()> {
        self.own(py)?;
        changing::change(py, self, upserts, &removals)
    }

    /// The number of a uid's handle. Raises `CapacityError` when all are in use.
    fn handle(&self, py: Python<'_>, ty: &str, id: &str) -> PyResult<u64> {
        let is_full = |error: &HandleError| matches!(error, HandleError::Full(_));
        let handle = self.releasing(py, is_full, || self.inner.handle(ty, id))?;
        let handle = handle.map_err(|error| match error {
            HandleError::Full(_) => raise(py, "CapacityError", &error.to_string()),
            HandleError::Forked(_) => forked(py),
        })?;
        Ok(handle.0)
    }

    /// Open a session for a uid. Raises `CapacityError` when all slots, or all handles, are in use.
    fn admit(&self, py: Python<'_>, ty: &str, id: &str, not_before_ns: i64, not_after_ns: i64) -> PyResult<u64> {
        let is_full = |error: &AdmitError| matches!(error, AdmitError::NoHandle(_));
        let admit = || self.inner.admit_uid(ty, id, not_before_ns, not_after_ns);
        let session = self.releasing(py, is_full, admit)?;
        let session = session.map_err(|error| match error {
            AdmitError::UnknownHandle => raise(py, "OwnerError", &error.to_string()),
            AdmitError::Forked(_) => forked(py),
            AdmitError::Full(_) | AdmitError::NoHandle(_) | AdmitError::NoRandomness(_) => {
                raise(py, "CapacityError", &error.to_string())
            }
        })?;
        Ok(session.0)
    }

    /// Raise for a principal of a type that the schema lacks, or that it lists and has no such entity.
    fn check_principal(&self, py: Python<'_>, ty: &str, id: &str) -> PyResult<()> {
        let snapshot = self.inner.snapshot();
        if RequestBuilder::new(&snapshot, 0).entity(ty, id).is_some() {
            return Ok(());
        }
        let bundle = snapshot.bundle();
        let mut known: Vec<&str> = bundle.types().iter().filter_map(|record| bundle.string(record.name)).collect();
        known.retain(|name| *name != "Action" && !name.ends_with("::Action"));
        let uid = Uid::new(ty, id);
        let message = if known.contains(&ty) {
            format!("{uid}: the schema lists the entities of {ty}, and this is none of them")
        } else {
            known.sort_unstable();
            let more = known.len().saturating_sub(20);
            known.truncate(20);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{uid}: the schema has no entity type {ty}; it has {}{more}", known.join(", "))
        };
        Err(raise(py, "EntityError", &message))
    }

    /// Change a session: 1 active, 2 revoked, 3 quarantined; `False` if there is no such session or it was revoked.
    fn set_session(&self, py: Python<'_>, session: u64, status: u8) -> PyResult<bool> {
        let status = match status {
            1 => SessionStatus::Active,
            3 => SessionStatus::Quarantined,
            _ => SessionStatus::Revoked,
        };
        py.detach(|| self.inner.set_session(SessionId(session), status)).map_err(|_| forked(py))
    }

    /// Deny some actions, or no longer: those named; without any, all but those that the bundle exempts, or `everything`.
    fn kill_switch(
        &self,
        py: Python<'_>,
        on: bool,
        everything: bool,
        actions: Option<Vec<ActionName>>,
    ) -> PyResult<()> {
        self.own(py)?;
        let snapshot = self.inner.snapshot();
        let uids = actions.map(|actions| actions.iter().map(|one| switched(py, &snapshot, one, on)).collect());
        let uids: Option<Vec<(String, String)>> = uids.transpose()?;
        let what = match &uids {
            Some(uids) => Kill::Actions(uids),
            None if everything => Kill::Everything,
            None => Kill::Usual,
        };
        self.inner.kill_switch(on, what).map_err(|_| forked(py))
    }

    /// Whether the engine was opened before this process was forked.
    #[getter]
    fn forked(&self) -> bool {
        self.inner.is_forked()
    }

    /// Whether the kill switch is on.
    #[getter]
    fn killed(&self) -> bool {
        self.inner.is_killed()
    }

    /// What is kept in memory for decisions, in bytes, by the names of `ztfast.MemoryUse`'s fields.
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let memory = py.detach(|| self.inner.memory()).map_err(|_| forked(py))?;
        let log = py.detach(|| self.log.lock().unwrap_or_else(PoisonError::into_inner).bytes());
        let MemoryUse { bundle, tables, gates, changes, uids, replaced, locked, huge } = memory;
        let changes = changes + log;
        let fields = [("bundle", bundle), ("tables", tables), ("gates", gates), ("changes", changes), ("uids", uids)];
        fields.into_iter().chain([("replaced", replaced), ("locked", locked), ("huge", huge)]).into_py_dict(py)
    }

    /// How many gates Python has of this engine.
    #[getter]
    fn gate_objects(&self) -> usize {
        self.gates.load(Ordering::Relaxed)
    }

    /// Decide by policy alone.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        principal: &Bound<'_, PyAny>,
        action: ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Decided<'py>> {
        self.evaluate_by(py, &self.inner.snapshot(), principal, &action, resource, context)
    }

    /// Decide for a session.
    fn decide<'py>(
        &self,
        py: Python<'py>,
        session: u64,
        action: ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Decided<'py>> {
        self.decide_by(py, &self.inner.snapshot(), session, &action, resource, context)
    }

    /// The uids of the resources in the store to which an action applies.
    fn resources(&self, py: Python<'_>, action: ActionName) -> PyResult<Vec<(String, String)>> {
        self.own(py)?;
        let snapshot = self.inner.snapshot();
        let number = find_action_number(py, snapshot.bundle(), &action, |ty, id| snapshot.find_actions(ty, id))?;
        let resources = py.detach(|| snapshot.resources(number));
        uids(py, &snapshot, resources)
    }

    /// Whether a session may do something with each of them: a byte each, 1 or 0.
    fn entitlements<'py>(
        &self,
        py: Python<'py>,
        session: u64,
        action: ActionName,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let snapshot = self.inner.snapshot();
        let (_, allowed) = self.over_the_store(py, &snapshot, session, &action, context)?;
        let bytes: Vec<u8> = allowed.into_iter().map(u8::from).collect();
        Ok(PyBytes::new(py, &bytes))
    }

    /// The uids of those that it may do it with.
    fn entitled(
        &self,
        py: Python<'_>,
        session: u64,
        action: ActionName,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Vec<(String, String)>> {
        let snapshot = self.inner.snapshot();
        let (resources, allowed) = self.over_the_store(py, &snapshot, session, &action, context)?;
        let of = resources.into_iter().zip(allowed).filter(|(_, allowed)| *allowed).map(|(entity, _)| entity);
        uids(py, &snapshot, of)
    }

    /// The engine's decision, for a session if there is one; Cedar's own answer (allow, reasons, errors) and what it says of
    /// the request; and the bundle, as `ztfast` shows it. All by one snapshot.
    #[allow(clippy::type_complexity)] // it is taken apart where it is called
    fn explain<'py>(
        &self,
        py: Python<'py>,
        session: Option<u64>,
        principal: &Bound<'_, PyAny>,
        action: ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<(Decided<'py>, Answer, Option<String>, Py<PyAny>)> {
        self.own(py)?;
        let snapshot = self.inner.snapshot();
        let belongings = Belongings::of(py, &snapshot)?;
        let decided = match session {
            Some(session) => self.decide_by(py, &snapshot, session, &action, resource, context)?,
            None => self.evaluate_by(py, &snapshot, principal, &action, resource, context)?,
        };
        let cedar: Arc<Cedar> = belongings.bundle.get().cedar(py)?;
        let meta = find_action(py, snapshot.bundle(), &action)?;
        let context = match Reader::new(&action_text(meta), Some(&self.inner)).record(&meta.context, context)? {
            Ok(context) => context,
            Err(refused) if refused.code == Code::UnknownHandle => return Err(foreign_handle(py)),
            Err(refused) => {
                self.strictly(py, &refused)?;
                return Ok((
                    decided,
                    (false, Vec::new(), Vec::new()),
                    Some(refused.why),
                    belongings.shown.clone_ref(py),
                ));
            }
        };
        let (principal, resource) = (self.uid(principal)?, self.uid(resource)?);
        let uid = Uid::new(meta.ty.as_str(), meta.id.as_str());
        let (problem, answered) = py.detach(|| {
            let problem = cedar.authorizer().validate_request(&principal, &uid, &resource, &context).err();
            (problem, cedar.answer(&snapshot, &principal, meta, &resource, &context))
        });
        let given = answer(py, answered)?;
        Ok((decided, given, problem.map(|problem| problem.to_string()), belongings.shown.clone_ref(py)))
    }

    /// The uid of a handle's number.
    fn handle_uid(&self, handle: u64) -> Option<(String, String)> {
        self.inner.handle_uid(Handle(handle)).map(|(ty, id)| (ty.into(), id.into()))
    }

    /// The paths of an action's context attributes, records and what is in them.
    fn paths(&self, py: Python<'_>, action: ActionName) -> PyResult<Vec<Vec<String>>> {
        fn add(above: &mut Vec<String>, fields: &[Field], all: &mut Vec<Vec<String>>) {
            for field in fields {
                above.push(field.name.clone());
                all.push(above.clone());
                if let Node::Record { fields, .. } = &field.node {
                    add(above, fields, all);
                }
                above.pop();
            }
        }
        let snapshot = self.inner.snapshot();
        let mut all = Vec::new();
        add(&mut Vec::new(), &find_action(py, snapshot.bundle(), &action)?.context, &mut all);
        Ok(all)
    }

    /// Prepare a gate.
    fn prepare(&self, py: Python<'_>, action: ActionName, names: Vec<Bound<'_, PyAny>>) -> PyResult<Gate> {
        let snapshot = self.inner.snapshot();
        let meta = find_action(py, snapshot.bundle(), &action)?;
        let given: Vec<Given> = names.iter().map(|name| Given::read(&action.text, name)).collect::<PyResult<_>>()?;
        let parts: Vec<Vec<&str>> = given.iter().map(|name| name.parts.iter().map(String::as_str).collect()).collect();
        let named: Vec<Name<'_>> = given.iter().zip(&parts).map(|(name, parts)| name.named(parts)).collect();
        let gate = py.detach(|| self.inner.prepare_named(&meta.ty, &meta.id, &named));
        let gate = gate.map_err(|error| unprepared(py, &error))?;
        let action = action_text(meta);
        Ok(Gate::new(
            gate,
            action,
            given.iter().map(|name| name.parts.join(".")).collect(),
            self.strict,
            self.gates.clone(),
        ))
    }
}

thread_local! {
    static RELEASING: Cell<bool> = const { Cell::new(false) };
}

/// This thread is releasing handles; until it is dropped, also by a panic.
struct Releasing;

impl Releasing {
    /// `None` where the thread does so already.
    fn begin() -> Option<Self> {
        (!RELEASING.replace(true)).then_some(Self)
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        RELEASING.set(false);
    }
}

impl Engine {
    /// Do something that needs a handle, detached, as all that may wait for a swap: decisions of other threads go on. Where
    /// none is left, those of principals whose sessions are over are released first.
    fn releasing<T: Send, E: Send>(
        &self,
        py: Python<'_>,
        is_full: impl Fn(&E) -> bool + Sync,
        job: impl Fn() -> Result<T, E> + Sync,
    ) -> PyResult<Result<T, E>> {
        let full = py.detach(|| job().map_err(|error| (is_full(&error), error)));
        match full {
            Ok(done) => return Ok(Ok(done)),
            Err((false, error)) => return Ok(Err(error)),
            Err((true, _)) => {}
        }
        py.detach(|| {
            // A finalizer or a signal handler that runs meanwhile, in this thread, must not wait for itself.
            let Some(_releasing) = Releasing::begin() else { return Ok(job()) };
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have done it while this one waited.
            let again = job();
            if !again.as_ref().is_err_and(&is_full) || tried.as_ref().is_some_and(|tried| !tried.is_past()) {
                return Ok(again);
            }
            let began = Instant::now();
            Python::attach(|py| changing::compact(py, self))?;
            let again = job();
            *tried = Some(Tried { ended: Instant::now(), took: began.elapsed(), helped: again.is_ok() });
            Ok(again)
        })
    }

    /// Before whatever changes something or takes a lock, which another thread may have held at a fork.
    pub(crate) fn own(&self, py: Python<'_>) -> PyResult<()> {
        if self.inner.is_forked() { Err(forked(py)) } else { Ok(()) }
    }

    fn evaluate_by<'py>(
        &self,
        py: Python<'py>,
        snapshot: &Snapshot,
        principal: &Bound<'_, PyAny>,
        action: &ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Decided<'py>> {
        let parties = |builder: &mut RequestBuilder<'_>, _| {
            self.know(snapshot, builder, principal)?;
            self.know(snapshot, builder, resource)?;
            // Both are looked at before either denies: who writes a uid wrong is told so.
            let principal = self.entity(snapshot, builder, principal)?;
            let resource = self.entity(snapshot, builder, resource)?;
            Ok(principal.and_then(|principal| Ok(Parties { principal, resource: resource? })))
        };
        self.by_policy(py, snapshot, action, context, parties, |_| Ok(()))
    }

    fn decide_by<'py>(
        &self,
        py: Python<'py>,
        snapshot: &Snapshot,
        session: u64,
        action: &ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Decided<'py>> {
        let parties = |builder: &mut RequestBuilder<'_>, number| {
            let principal = match self.inner.session_principal(snapshot, number, SessionId(session)) {
                Ok(principal) => principal,
                // A bad request still raises: only then is it known that the session alone denies.
                Err(code) => return self.entity(snapshot, builder, resource).map(|_| Err(code)),
            };
            builder.know(principal);
            self.know(snapshot, builder, resource)?;
            let resource = self.entity(snapshot, builder, resource)?;
            Ok(resource.map(|resource| Parties { principal, resource }))
        };
        let still = |number| self.inner.session_principal(snapshot, number, SessionId(session)).map(|_| ());
        self.by_policy(py, snapshot, action, context, parties, still)
    }

    /// Raise for a value that is out of its range, if that is wanted.
    fn strictly(&self, py: Python<'_>, refused: &Refused) -> PyResult<()> {
        if self.strict && matches!(refused.code, Code::BadValue | Code::TooLarge) {
            return Err(raise(py, "ContextError", &refused.why));
        }
        Ok(())
    }

    /// The resources in a snapshot's store, and whether a session may do something with each.
    fn over_the_store(
        &self,
        py: Python<'_>,
        snapshot: &Snapshot,
        session: u64,
        action: &ActionName,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<(Vec<EntityRef>, Vec<bool>)> {
        let bundle = snapshot.bundle();
        let number = find_action_number(py, bundle, action, |ty, id| snapshot.find_actions(ty, id))?;
        let meta = bundle.meta().actions.get(number as usize).zip(bundle.actions().get(number as usize));
        let Some((meta, record)) = meta else { return Ok((Vec::new(), Vec::new())) };
        let mut builder = RequestBuilder::new(snapshot, record.slots.len as usize);
        let principal = self.inner.session_principal(snapshot, number, SessionId(session));
        if let Ok(principal) = principal {
            builder.know(principal);
        }
        let read = Reader::new(&action.text, Some(&self.inner)).request(&meta.context, context, &mut builder)?;
        let principal = match read {
            Ok(()) => principal,
            Err(refused) => {
                self.strictly(py, &refused)?;
                principal.and(Err(refused.code))
            }
        };
        let request = builder.finish();
        Ok(py.detach(|| {
            let resources = snapshot.resources(number);
            let mut allowed = match principal {
                Ok(principal) => snapshot.entitlements(number, principal, &resources, &request),
                Err(_) => vec![false; resources.len()],
            };
            // All this took a while, and reading the context may have run anybody's code.
            if self.inner.session_principal(snapshot, number, SessionId(session)).is_err() {
                allowed.fill(false);
            }
            (resources, allowed)
        }))
    }

    fn by_policy<'py>(
        &self,
        py: Python<'py>,
        snapshot: &Snapshot,
        action: &ActionName,
        context: &Bound<'_, PyDict>,
        parties: impl FnOnce(&mut RequestBuilder<'_>, u32) -> PyResult<Result<Parties, Code>>,
        still: impl FnOnce(u32) -> Result<(), Code>,
    ) -> PyResult<Decided<'py>> {
        if self.inner.is_forked() {
            return Ok((Code::Forked as u8, PyTuple::empty(py)));
        }
        let number = find_action_number(py, snapshot.bundle(), action, |ty, id| snapshot.find_actions(ty, id))?;
        let bundle = snapshot.bundle();
        let (Some(meta), Some(record)) =
            (bundle.meta().actions.get(number as usize), bundle.actions().get(number as usize))
        else {
            return Ok((Code::Corrupt as u8, PyTuple::empty(py)));
        };
        let mut builder = RequestBuilder::new(snapshot, record.slots.len as usize);
        let parties = parties(&mut builder, number)?;
        // The text of the action is only made when it is wanted for a message.
        let reader = Reader::new(&action.text, Some(&self.inner));
        let read = reader.request(&meta.context, context, &mut builder)?;
        if let Err(refused) = &read {
            self.strictly(py, refused)?;
        }
        // The parties come first: what denies whatever the values are has a code of its own.
        let parties = parties.and_then(|parties| read.map_or_else(|refused| Err(refused.code), |()| Ok(parties)));
        let Parties { principal, resource } = match parties {
            Ok(parties) => parties,
            Err(code) => return Ok((code as u8, PyTuple::empty(py))),
        };
        let request = builder.finish();
        let mut determining = Determining::default();
        let mut evaluate = || self.inner.evaluate(snapshot, number, principal, resource, &request, &mut determining);
        // Cedar's own evaluator takes long.
        let long = reader.is_large() || bundle.meta().stats.fallbacks > 0;
        let code = if long { py.detach(evaluate) } else { evaluate() };
        // Reading the context may have taken a while, or run anybody's code.
        if let Err(code) = still(number) {
            return Ok((code as u8, PyTuple::empty(py)));
        }
        let kept = matches!(code, Code::Allow | Code::Forbid);
        let policies = if kept { determining.as_slice() } else { &[] };
        let id = |&policy: &u32| bundle.policy_id(policy);
        if kept && determining.count as usize > policies.len() {
            // More than there is room for: Cedar lists them all.
            return self.all_determining(py, code, number, principal, resource, snapshot, &request);
        }
        let reasons: Vec<&str> = policies.iter().filter_map(id).collect();
        Ok((code as u8, PyTuple::new(py, reasons)?))
    }

    #[allow(clippy::too_many_arguments)] // a request has that many parts
    fn all_determining<'py>(
        &self,
        py: Python<'py>,
        code: Code,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        snapshot: &Snapshot,
        request: &ztfast_engine::OwnedRequest,
    ) -> PyResult<Decided<'py>> {
        let cedar = CedarFallback(Belongings::of(py, snapshot)?.bundle.get().cedar(py)?);
        let answer = py.detach(|| self.inner.ask(&cedar, snapshot, action, principal, resource, request));
        let reasons = answer.map(|answer| answer.reasons).unwrap_or_default();
        let reasons: Vec<&str> = reasons.iter().filter_map(|&policy| snapshot.bundle().policy_id(policy)).collect();
        Ok((code as u8, PyTuple::new(py, reasons)?))
    }

    /// Tell the builder of a handle.
    fn know(&self, snapshot: &Snapshot, builder: &mut RequestBuilder<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(Ok(entity)) = uid::handle(value)?.map(|handle| self.inner.handle_entity(snapshot, handle)) {
            builder.know(entity);
        }
        Ok(())
    }

    /// The entity of a handle (anything with a `handle` number) or of a uid, or what it is denied with.
    fn entity(
        &self,
        snapshot: &Snapshot,
        builder: &mut RequestBuilder<'_>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Result<EntityRef, Code>> {
        if let Ok(text) = value.cast::<PyString>() {
            let text = uid::text_of(text)?;
            let (ty, id) = uid::split(value.py(), &text)?;
            return Ok(builder.entity(ty, &id).ok_or(Code::NotApplicable));
        }
        if let Some(handle) = uid::handle(value)? {
            return Ok(self.inner.handle_entity(snapshot, handle));
        }
        let (ty, id) = uid::extract(value)?;
        Ok(builder.entity(&ty, &id).ok_or(Code::NotApplicable))
    }

    fn uid(&self, value: &Bound<'_, PyAny>) -> PyResult<Uid> {
        if let Some(handle) = uid::handle(value)? {
            let (ty, id) = self.inner.handle_uid(handle).ok_or_else(|| foreign_handle(value.py()))?;
            return Ok(Uid::new(&*ty, &*id));
        }
        uid::extract(value).map(|(ty, id)| Uid::new(ty, id))
    }
}

/// Why nothing could be prepared, as an exception.
fn unprepared(py: Python<'_>, error: &PrepareError) -> PyErr {
    let class = match error {
        PrepareError::UnknownAction { .. } => "ActionError",
        PrepareError::Memory(_) => "CapacityError",
        PrepareError::Forked(_) => "ForkedError",
        _ => "ContextError",
    };
    raise(py, class, &error.to_string())
}

/// Gates that a bundle would not fit: action, names, how many, why, and whether they are stale already.
type Stale = (String, Vec<String>, usize, String, bool);

fn stale(gates: StaleGates) -> Stale {
    let StaleGates { action: (ty, id), names, count, why, already } = gates;
    (Uid::new(ty, id).to_string(), names, count, why, already)
}

/// The uids of entities of a snapshot.
fn uids(
    py: Python<'_>,
    snapshot: &Snapshot,
    entities: impl IntoIterator<Item = EntityRef>,
) -> PyResult<Vec<(String, String)>> {
    let owned = |entity| snapshot.uid(entity).map(|uid| (uid.ty.to_owned(), uid.id.to_owned()));
    let uids = entities.into_iter().map(owned).collect::<Option<Vec<_>>>();
    uids.ok_or_else(|| raise(py, "BundleError", "the bundle names an entity without an id: compile it anew"))
}

/// What is not decided but asked with another engine's handle.
fn foreign_handle(py: Python<'_>) -> PyErr {
    let message = "the handle is another engine's, or none at all: take it from this engine (engine.resource(uid))";
    raise(py, "OwnerError", message)
}

/// An action as callers name it: an id alone, or a uid in any form.
pub(crate) struct ActionName {
    text: String,
    /// Where it was no text: an id may look like a uid.
    uid: Option<(String, String)>,
}

impl<'py> FromPyObject<'_, 'py> for ActionName {
    type Error = PyErr;

    fn extract(given: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if let Ok(text) = given.cast::<PyString>() {
            let no_text = |_| raise(py, "ActionError", "an action's name with surrogates is no text in UTF-8");
            return Ok(Self { text: text.to_cow().map_err(no_text)?.into_owned(), uid: None });
        }
        let (ty, id) = uid::extract(&given.to_owned())?;
        Ok(Self { text: Uid::new(ty.as_str(), id.as_str()).to_string(), uid: Some((ty, id)) })
    }
}

/// The uid of an action, or of a group of actions, that is to be stopped. To be stopped no longer, it need not be in the bundle.
fn switched(py: Python<'_>, snapshot: &Snapshot, action: &ActionName, on: bool) -> PyResult<(String, String)> {
    let unknown = match find_action(py, snapshot.bundle(), action) {
        Ok(meta) => return Ok((meta.ty.clone(), meta.id.clone())),
        Err(error) => error,
    };
    let uid = match (&action.uid, action.text.contains("::")) {
        (Some(uid), _) => uid.clone(),
        (None, true) => uid::split(py, &action.text).map(|(ty, id)| (ty.to_owned(), id.into_owned()))?,
        (None, false) => ("Action".to_owned(), action.text.clone()),
    };
    let is_action = uid.0 == "Action" || uid.0.ends_with("::Action");
    if is_action && (!on || snapshot.find(&uid.0, &uid.1).is_some()) { Ok(uid) } else { Err(unknown) }
}

/// The action that a text names: a uid, or an id alone where that is unambiguous.
pub(crate) fn find_action<'b>(
    py: Python<'_>,
    bundle: &'b ztfast_bundle::Bundle,
    action: &ActionName,
) -> PyResult<&'b ActionMeta> {
    let actions = &bundle.meta().actions;
    let find = |ty: Option<&str>, id: &str| {
        (0_u32..)
            .zip(actions)
            .filter(|(_, action)| action.id == id && ty.is_none_or(|ty| ty == action.ty))
            .map(|(number, _)| number)
            .collect()
    };
    let number = find_action_number(py, bundle, action, find)?;
    Ok(&actions[number as usize])
}

fn find_action_number(
    py: Python<'_>,
    bundle: &ztfast_bundle::Bundle,
    action: &ActionName,
    find: impl Fn(Option<&str>, &str) -> Vec<u32>,
) -> PyResult<u32> {
    let ActionName { text: action, uid } = action;
    let found = if let Some((ty, id)) = uid {
        find(Some(ty), id)
    } else {
        // An action's id may itself read as another's uid: then both are meant.
        let mut found = find(None, action);
        match uid::split(py, action) {
            Ok((ty, id)) => found.extend(find(Some(ty), &id)),
            Err(wrong) if found.is_empty() && action.contains("::") => return Err(wrong),
            Err(_) => {}
        }
        found
    };
    if let [one] = found[..] {
        return Ok(one);
    }
    let text = |number: &u32| bundle.meta().actions.get(*number as usize).map(action_text).unwrap_or_default();
    let message = if found.is_empty() {
        let mut known: Vec<String> = bundle.meta().actions.iter().map(action_text).collect();
        let more = known.len().saturating_sub(20);
        known.truncate(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("the bundle has no action {action:?} that applies to anything; it has {}{more}", known.join(", "))
    } else {
        let all: Vec<String> = found.iter().map(text).collect();
        format!("the action {action:?} is ambiguous: write one of {}", all.join(", "))
    };
    Err(raise(py, "ActionError", &message))
}

/// A name of an attribute as it is given: a text, or a path part by part.
struct Given {
    parts: Vec<String>,
    whole: bool,
}

impl Given {
    fn read(action: &str, name: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = name.extract::<String>() {
            return Ok(Self { parts: vec![text], whole: false });
        }
        let path = name.cast::<PyTuple>().ok().and_then(|path| path.extract::<Vec<String>>().ok());
        if let Some(parts) = path.filter(|parts| !parts.is_empty()) {
            return Ok(Self { parts, whole: true });
        }
        let shown = crate::errors::shown(name)?;
        let wanted = "wanted an attribute's path, as \"order.qty\" or (\"order\", \"qty\")";
        Err(raise(name.py(), "ContextError", &format!("{action}: {wanted}; got {shown}")))
    }

    /// As the engine takes it; `parts` are its own.
    fn named<'a>(&self, parts: &'a [&'a str]) -> Name<'a> {
        if self.whole { Name::Path(parts) } else { Name::Text(parts[0]) }
    }
}

/// A gate's core. `ztfast.gate.Gate` calls it by its address.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Gate {
    core: *mut ztfast_engine::Gate,
    /// Beside it, because nobody may look into a gate while somebody decides by it.
    seed: Seed,
    action: String,
    names: Vec<String>,
    paths: Vec<Vec<String>>,
    /// The attributes' types, for which it was prepared.
    types: Box<[ValueType]>,
    strict: bool,
    /// How many there are of the engine's.
    count: Arc<AtomicUsize>,
}

// SAFETY: the pointer is the only way to the gate, and whoever calls by it promises (see `ztfast.h`) to do so from one
// thread at a time; `ztfast_engine::Gate` is Send.
unsafe impl Send for Gate {}
// SAFETY: shared access to this object reads the pointer's value and plain strings only.
unsafe impl Sync for Gate {}

#[pymethods]
impl Gate {
    /// The gate's address, good as long as this object lives.
    #[getter]
    fn address(&self) -> usize {
        self.core as usize
    }

    /// The action as Cedar text.
    #[getter]
    fn action(&self) -> &str {
        &self.action
    }

    /// Another of the same action and attributes; `None` where the newest bundle has no such action or attributes.
    fn fork(&self, py: Python<'_>) -> PyResult<Option<Self>> {
        match py.detach(|| self.seed.gate()) {
            Ok(gate) => {
                Ok(Some(Self::new(gate, self.action.clone(), self.names.clone(), self.strict, self.count.clone())))
            }
            Err(error @ PrepareError::Memory(_)) => Err(unprepared(py, &error)),
            Err(_) => Ok(None),
        }
    }

    /// Another of the same action without some attributes, by their bits, for requests in which they are absent; `None` as
    /// above. Raises `ContextError` where one of them must be there.
    fn without(&self, py: Python<'_>, absent: u64) -> PyResult<Option<Self>> {
        let gate = py.detach(|| self.seed.without(absent)).map_err(|error| match error {
            PrepareError::Missing { .. } => raise(py, "ContextError", &format!("{error}, which cannot be absent")),
            _ => unprepared(py, &error),
        })?;
        let is_there = |at: &usize| u32::try_from(*at).ok().and_then(|at| absent.checked_shr(at)).unwrap_or(0) & 1 == 0;
        let names = (0..self.names.len()).filter(is_there).filter_map(|at| self.names.get(at).cloned());
        Ok(gate.map(|gate| Self::new(gate, self.action.clone(), names.collect(), self.strict, self.count.clone())))
    }

    /// An attribute's value as the gate takes it: a number, for a String its text, for an entity what stands for it. `None`
    /// where it is out of range.
    fn scalar<'py>(&self, at: usize, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        let (Some(ty), Some(name)) = (self.types.get(at), self.names.get(at)) else {
            return Err(raise(py, "Error", "a gate has no such attribute"));
        };
        match Reader::new(&self.action, None).scalar(ty, name, value)? {
            Ok(Scalar::Number(number)) => Ok(Some(number.into_pyobject(py)?.into_any())),
            Ok(Scalar::Text(text)) => Ok(Some(text.into_pyobject(py)?.into_any())),
            Ok(Scalar::Entity) => Ok(Some(value.clone())),
            Err(refused) if self.strict => Err(raise(py, "ContextError", &refused.why)),
            Err(_) => Ok(None),
        }
    }

    /// The name of the type of which an attribute's entities are.
    fn entity_type(&self, at: usize) -> Option<&str> {
        match self.types.get(at)? {
            ValueType::Entity(name) => Some(name),
            _ => None,
        }
    }

    /// Bytes that a context may take.
    #[getter]
    fn max_context(&self) -> isize {
        isize::try_from(self.seed.shared().max_context()).unwrap_or(isize::MAX)
    }

    /// Bytes that are left of those for the texts of a call, beside what its attributes and their records count for.
    #[getter]
    fn room_for_texts(&self) -> isize {
        let records: BTreeSet<&[String]> =
            self.paths.iter().flat_map(|path| (1..path.len()).filter_map(|end| path.get(..end))).collect();
        let counted = (self.paths.len() + records.len()).saturating_mul(crate::context::EACH);
        self.max_context().saturating_sub(isize::try_from(counted).unwrap_or(isize::MAX))
    }

    /// Whether values that are out of their range raise.
    #[getter]
    const fn strict(&self) -> bool {
        self.strict
    }

    /// The attributes' names, in the order of the arguments.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Where the attributes are in the context, in the same order.
    #[getter]
    fn paths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let paths: Vec<_> = self.paths.iter().map(|path| PyTuple::new(py, path)).collect::<PyResult<_>>()?;
        PyTuple::new(py, paths)
    }
}

impl Gate {
    fn new(
        gate: ztfast_engine::Gate,
        action: String,
        names: Vec<String>,
        strict: bool,
        count: Arc<AtomicUsize>,
    ) -> Self {
        let paths = gate.paths().map(|path| path.map(str::to_owned).collect()).collect();
        let types = gate.types().into();
        count.fetch_add(1, Ordering::Relaxed);
        Self { types, strict, count, seed: gate.seed(), core: Box::into_raw(Box::new(gate)), action, names, paths }
    }

    /// The core.
    pub const fn core(&self) -> *mut ztfast_engine::Gate {
        self.core
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the pointer came from Box::into_raw in `prepare`, and nobody else frees it.
        drop(unsafe { Box::from_raw(self.core) });
    }
}
