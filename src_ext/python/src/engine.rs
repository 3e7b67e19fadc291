//! The engine for Python, with uids as text and contexts as dicts.

use crate::action::{ActionName, ActionText, action_text, find_action, switched};
use crate::allocator::give_back;
use crate::authorizer::{Answer, answer};
use crate::belongings::Belongings;
use crate::bundle::Bundle;
use crate::changelog::{Log, OwnedUid};
use crate::changing;
use crate::credentials::{Credentials, Moment, Principal, Refused, Store, Verified, list_error};
use crate::deciding::{Decided, Decider, action_number, denied, given_fields, unanswered};
use crate::errors::raise;
use crate::exceptions::{engine_error, forked, handle_error, kill_error};
use crate::gate::{self, Gate};
use crate::reader::Reader;
use crate::releasing::Tries;
use crate::sessions::{self, Given, Meant, Place, Who, session_error, status_of};
use crate::switches::Switches;
use crate::uid::{self, some_of};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use ztfast_bundle::{Field, Node};
use ztfast_cedar::ir::Uid;
use ztfast_engine::{
    Capacity, Code, EngineOptions, Handle, HandleError, MemoryUse, RegisterUse, RequestBuilder, Residence, SessionId,
    Snapshot, StaleGates, ToStop,
};
use ztfast_explain::Cedar;
use ztfast_identity::Row;
use ztfast_vm::EntityRef;

/// A policy decision point over a bundle.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Engine {
    inner: Arc<ztfast_engine::Engine>,
    /// Whether a value that is out of its range raises.
    strict: bool,
    /// The changes made since the bundle began to decide. Swaps and changes release the GIL before they lock it.
    log: Mutex<Log>,
    /// How many gate objects Python has.
    gates: Arc<AtomicUsize>,
    tries: Tries,
    credentials: Arc<Store>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        bundle, shown, *, sessions, handles, prefault, locked, huge_pages, strict, max_context, state, clock, credentials,
        revoked
    ))]
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
        state: Option<Place>,
        clock: &str,
        credentials: Option<usize>,
        revoked: Option<PathBuf>,
    ) -> PyResult<Self> {
        let residence = Residence { prefault, locked, huge_pages };
        let clock = sessions::clock_of(clock);
        // Whoever opens a state only if there is one, as a command does, may not fill its register for good.
        let registers = state.as_ref().is_none_or(Place::makes);
        let options =
            EngineOptions { sessions, handles, residence, max_context, registers, clock, ..EngineOptions::default() };
        let fallback = bundle.get().fallback(py)?;
        let of = bundle.get().inner.clone();
        let attached = Some(Belongings::new(py, bundle, shown)?.attach());
        let directory = state.as_ref().map(|at| at.directory().to_owned());
        let made = py.detach(|| match state {
            None => ztfast_engine::Engine::with(of, fallback, attached, options),
            Some(at) => {
                let state = at.open(Capacity { sessions, uids: handles }, clock.start()?, residence)?;
                ztfast_engine::Engine::on(state, of, fallback, attached, options)
            }
        });
        let inner = made.map_err(|error| engine_error(py, &error))?;
        let credentials =
            py.detach(|| Store::new(inner.clone(), directory, revoked, credentials, residence, registers));
        let credentials = Arc::new(credentials.map_err(|error| list_error(py, &error))?);
        if registers {
            py.detach(|| credentials.end_revoked()).map_err(|refused| refused.raised(py))?;
        }
        Ok(Self { inner, strict, log: Mutex::default(), gates: Arc::default(), tries: Tries::default(), credentials })
    }

    /// The `ztfast.Bundle` that decides now.
    #[getter]
    fn bundle(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Belongings::of(py, &self.inner.snapshot())?.shown.clone_ref(py))
    }

    /// Swap the bundle. Returns the entities whose changes were kept, those whose changes were dropped, and the gates
    /// for which the swap was refused.
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
        let done = changing::swap(py, (&self.inner, &self.log), (bundle, shown), keep, upserts, allow_stale)?;
        Ok((done.kept, done.forgotten, done.stale.into_iter().map(stale).collect()))
    }

    /// Rebuild the snapshot from the bundle that decides now and the changes since, and free what is no longer needed.
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py)?;
        changing::compact(py, &self.inner, &self.log)?;
        // This frees replaced snapshots that are no longer in use.
        let _ = py.detach(|| self.inner.memory());
        give_back();
        Ok(())
    }

    /// Return the gates that a bundle would not fit.
    fn stale_gates(&self, py: Python<'_>, bundle: &Bundle) -> PyResult<Vec<Stale>> {
        let gates = py.detach(|| self.inner.stale_gates(&bundle.inner)).map_err(|_| forked(py))?;
        Ok(gates.into_iter().map(stale).collect())
    }

    /// Put the entities of a list in Cedar's JSON into the store, and remove those with the given uids.
    fn change(&self, py: Python<'_>, upserts: Option<&str>, removals: Vec<OwnedUid>) -> PyResult<()> {
        self.own(py)?;
        changing::change(py, &self.inner, &self.log, upserts, &removals)
    }

    /// Return the number of a uid's handle. Raises `CapacityError` when all handles are in use.
    fn handle(&self, py: Python<'_>, ty: &str, id: &str) -> PyResult<u64> {
        let is_full = |error: &HandleError| matches!(error, HandleError::Full(_));
        let handle = self.tries.releasing(py, (&self.inner, &self.log), is_full, || self.inner.handle(ty, id))?;
        let handle = handle.map_err(|error| handle_error(py, &error))?;
        Ok(handle.0)
    }

    /// Open a session for a uid. Raises `CapacityError` when all slots, or all handles, are in use.
    fn admit(
        &self,
        py: Python<'_>,
        ty: &str,
        id: &str,
        not_before_ns: i64,
        not_after_ns: i64,
        given: Given,
    ) -> PyResult<u64> {
        let bounds = (not_before_ns, not_after_ns);
        let admit =
            || self.credentials.admit_trusted((ty, id), given.ground(), || given.admit(&self.inner, (ty, id), bounds));
        let session = self.tries.releasing(py, (&self.inner, &self.log), Refused::is_full, admit)?;
        let session = session.map_err(|refused| refused.raised(py))?;
        Ok(session.0)
    }

    /// Open a session by a certificate that was verified under the authorities of an epoch; by this authority, if its
    /// ground is not 0. `None` if it has to be verified.
    fn admit_known(
        &self,
        py: Python<'_>,
        leaf: &[u8],
        epoch: u64,
        authority: u64,
    ) -> PyResult<Option<(u64, Principal)>> {
        let mut row = Row::empty();
        let begun = self.credentials.begin().map_err(|refused| refused.raised(py))?;
        let known = self.credentials.look_up(leaf, epoch, authority, &mut row).map_err(|refused| refused.raised(py))?;
        let Some(revoked) = known else { return Ok(None) };
        let admit = || self.credentials.admit_row(&row, &revoked);
        let admitted = self.tries.releasing(py, (&self.inner, &self.log), Refused::is_full, admit)?;
        let (session, principal) = admitted.map_err(|refused| refused.raised(py))?;
        let ended = self.credentials.ends_if_something_fell(session, begun).map_err(|refused| refused.raised(py))?;
        Ok((!ended).then_some((session.0, principal)))
    }

    /// Keep what was verified of a credential since a moment, and open a session for its principal.
    fn admit_verified(&self, py: Python<'_>, verified: Verified, begun: &Moment) -> PyResult<(u64, Principal)> {
        let admit = || self.credentials.keep(&verified, begun.0);
        let admitted = self.tries.releasing(py, (&self.inner, &self.log), Refused::is_full, admit)?;
        let (session, principal) = admitted.map_err(|refused| refused.raised(py))?;
        Ok((session.0, principal))
    }

    /// Return the time by the engine's wall clock, in nanoseconds since the epoch.
    fn wall_ns(&self) -> i64 {
        self.inner.wall_ns()
    }

    /// The credentials of this engine.
    #[getter]
    fn credentials(&self) -> Credentials {
        Credentials(self.credentials.clone())
    }

    /// Give a session another end, by whom and why.
    #[pyo3(signature = (session, not_after_ns, who=None))]
    fn renew(&self, py: Python<'_>, session: u64, not_after_ns: i64, who: Option<Who>) -> PyResult<()> {
        sessions::renew(py, &self.inner, session, not_after_ns, who.as_ref())
    }

    /// Record what a session's principal has proved anew, by whom and why. What is `None` stays as it is.
    #[pyo3(signature = (session, factors, proved_ns, assurance, risk, who=None))]
    #[allow(clippy::too_many_arguments)] // a proof is of four
    fn present(
        &self,
        py: Python<'_>,
        session: u64,
        factors: Option<Vec<String>>,
        proved_ns: Option<i64>,
        assurance: Option<u8>,
        risk: Option<u8>,
        who: Option<Who>,
    ) -> PyResult<()> {
        sessions::present(py, &self.inner, session, factors.as_deref(), (proved_ns, assurance, risk), who.as_ref())
    }

    /// Set the status of sessions, by whom and why. Returns how many changed.
    #[pyo3(signature = (meant, status, who=None))]
    fn set_sessions(&self, py: Python<'_>, meant: Meant, status: u8, who: Option<Who>) -> PyResult<usize> {
        sessions::set_all(py, &self.inner, &meant, status, who.as_ref())
    }

    /// Return how many sessions have a status and are not over.
    fn count_sessions(&self, py: Python<'_>, meant: Meant, status: u8) -> PyResult<usize> {
        sessions::count(py, &self.inner, &meant, status)
    }

    /// Give sessions another end, by whom and why. Returns how many have it.
    #[pyo3(signature = (meant, not_after_ns, who=None))]
    fn renew_sessions(&self, py: Python<'_>, meant: Meant, not_after_ns: i64, who: Option<Who>) -> PyResult<usize> {
        sessions::renew_all(py, &self.inner, &meant, not_after_ns, who.as_ref())
    }

    /// Record what the principals of sessions have proved anew, by whom and why. What is `None` stays as it is. Returns
    /// how many sessions have it.
    #[pyo3(signature = (meant, factors, proved_ns, assurance, risk, who=None))]
    #[allow(clippy::too_many_arguments)] // a proof is of four
    fn present_sessions(
        &self,
        py: Python<'_>,
        meant: Meant,
        factors: Option<Vec<String>>,
        proved_ns: Option<i64>,
        assurance: Option<u8>,
        risk: Option<u8>,
        who: Option<Who>,
    ) -> PyResult<usize> {
        sessions::present_all(py, &self.inner, &meant, factors.as_deref(), (proved_ns, assurance, risk), who.as_ref())
    }

    /// Return a session that some process admitted, as a dict.
    fn find_session<'py>(&self, py: Python<'py>, session: u64) -> PyResult<Option<Bound<'py, PyDict>>> {
        sessions::find(py, &self.inner, session)
    }

    /// Return all sessions that have a slot, or those of a principal, or with an id that begins with these hexadecimal
    /// digits (their value, and how many they are), as dicts.
    #[pyo3(signature = (principal=None, digits=None))]
    fn list_sessions<'py>(
        &self,
        py: Python<'py>,
        principal: Option<OwnedUid>,
        digits: Option<(u64, u32)>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        sessions::list(py, &self.inner, principal.as_ref(), digits)
    }

    /// Give the caller's clock another time, in nanoseconds since the epoch. Returns the time that it shows; `None` if
    /// the engine has another clock.
    fn set_time(&self, py: Python<'_>, ns: i64) -> PyResult<Option<i64>> {
        self.inner.set_time(ns).map_err(|error| sessions::session_error(py, &error))
    }

    /// Whether decisions go by the caller's clock.
    #[getter]
    fn has_callers_clock(&self) -> bool {
        self.inner.has_callers_clock()
    }

    /// Return the code with which a session is denied now, or that of ALLOW.
    fn session_code(&self, session: u64) -> u8 {
        sessions::code(&self.inner, session) as u8
    }

    /// Return the address and the size of the live state's memory.
    #[getter]
    fn state_memory(&self) -> (usize, usize) {
        self.inner.state_memory()
    }

    /// Raise for a principal of a type that the schema lacks, or of an enumerated type without this entity.
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
            format!("{uid}: the schema has no entity type {ty}; it has {}", some_of(known.into_iter()))
        };
        Err(raise(py, "EntityError", &message))
    }

    /// Return whether the store or the state has an entity, or a policy names it.
    fn knows(&self, py: Python<'_>, ty: &str, id: &str) -> PyResult<bool> {
        py.detach(|| self.inner.knows(ty, id)).map_err(|_| forked(py))
    }

    /// Set a session's status: 1 active, 2 revoked, 3 quarantined. Returns `False` if there is no such session, or it
    /// has the status already, or it is over.
    fn set_session(&self, py: Python<'_>, session: u64, status: u8) -> PyResult<bool> {
        py.detach(|| self.inner.set_session(SessionId(session), status_of(status)))
            .map_err(|error| session_error(py, &error))
    }

    /// Turn the kill switch on or off for the named actions. Without names it applies to all actions except those that
    /// the bundle exempts, or to all with `everything`.
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
            Some(uids) => ToStop::Named(uids),
            None if everything => ToStop::Everything,
            None => ToStop::Usual,
        };
        py.detach(|| self.inner.kill_switch(on, what)).map_err(|error| kill_error(py, &error))
    }

    /// Whether the engine was opened before this process was forked.
    #[getter]
    fn forked(&self) -> bool {
        self.inner.is_forked()
    }

    /// Whether anything is killed.
    #[getter]
    fn killed(&self, py: Python<'_>) -> PyResult<bool> {
        self.inner.is_killed().map_err(|error| kill_error(py, &error))
    }

    /// The kills and the market states.
    #[getter]
    fn switches(&self) -> Switches {
        Switches(self.inner.clone())
    }

    /// Return the bytes that are kept in memory for decisions, by the names of `ztfast.MemoryUse`'s fields.
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let memory = py.detach(|| self.inner.memory()).map_err(|_| forked(py))?;
        let log = py.detach(|| self.log.lock().unwrap_or_else(PoisonError::into_inner).bytes());
        let MemoryUse { bundle, tables, state, gates, changes, uids, replaced, locked, huge } = memory;
        let changes = changes + log;
        let fields = [("bundle", bundle), ("tables", tables), ("gates", gates), ("changes", changes), ("uids", uids)];
        fields
            .into_iter()
            .chain([("state", state), ("replaced", replaced), ("locked", locked), ("huge", huge)])
            .into_py_dict(py)
    }

    /// How many uids the register has that processes share, of how many, and how many bytes of their texts, of how
    /// many; `None` if the state is this engine's own.
    #[getter]
    fn register(&self) -> Option<(usize, usize, usize, usize)> {
        let RegisterUse { uids, bytes } = self.inner.register_use()?;
        Some((uids.0, uids.1, bytes.0, bytes.1))
    }

    /// How many gate objects Python has of this engine.
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
        self.decide_by(py, &self.decider(&self.inner.snapshot()), session, &action, resource, context)
    }

    /// Return the uids of the resources in the store to which an action applies.
    fn resources(&self, py: Python<'_>, action: ActionName) -> PyResult<Vec<(String, String)>> {
        self.own(py)?;
        let snapshot = self.inner.snapshot();
        let action = action_number(py, &snapshot, &action)?;
        let resources = py.detach(|| snapshot.resources(action));
        uids(py, &snapshot, resources)
    }

    /// Return for each of these resources whether the session is allowed the action on it, as a byte, 1 or 0.
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

    /// Return the uids of the resources on which the session is allowed the action.
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

    /// Return, all by one snapshot: the engine's decision, for a session if one is given; Cedar's own answer (allow,
    /// reasons, errors); Cedar's objection to the request, if it has one; and the `ztfast.Bundle`.
    #[allow(clippy::type_complexity)] // the only caller unpacks it at once
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
        let meta = find_action(py, snapshot.bundle(), &action)?;
        // Cedar answers by the same moment as the engine.
        let known = session.filter(|_| meta.live.is_some());
        let mut live = known.and_then(|session| self.inner.live_values(&snapshot, SessionId(session)).ok());
        if let Some(live) = &mut live {
            let resource = self.uid(resource)?;
            live.market = self.inner.market_of(&resource.ty, &resource.id).map_err(|error| kill_error(py, &error))?;
        }
        let decided = match session {
            Some(session) => {
                let decider = Decider { live: live.clone(), asks: true, ..self.decider(&snapshot) };
                self.decide_by(py, &decider, session, &action, resource, context)?
            }
            None => self.evaluate_by(py, &snapshot, principal, &action, resource, context)?,
        };
        let cedar: Arc<Cedar> = belongings.bundle.get().cedar(py)?;
        let fields = given_fields(meta, session.is_some());
        let context = match Reader::new(&ActionText(meta), Some(&self.inner)).record(&fields, context)? {
            Ok(context) => crate::live::add(context, live.as_ref(), meta),
            Err(refused) if refused.code == Code::UnknownHandle => return Err(foreign_handle(py)),
            Err(refused) => {
                refused.strictly(py, self.strict)?;
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

    /// Return the uid of a handle's number.
    fn handle_uid(&self, handle: u64) -> Option<(String, String)> {
        self.inner.handle_uid(Handle(handle)).map(|(ty, id)| (ty.into(), id.into()))
    }

    /// Return an action's uid as text, and the paths of its context attributes: those of records, and those of the
    /// attributes in them.
    fn paths(&self, py: Python<'_>, action: ActionName) -> PyResult<(String, Vec<Vec<String>>)> {
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
        let meta = find_action(py, snapshot.bundle(), &action)?;
        let mut all = Vec::new();
        add(&mut Vec::new(), &meta.context, &mut all);
        Ok((action_text(meta), all))
    }

    /// Prepare a gate.
    fn prepare(&self, py: Python<'_>, action: ActionName, names: Vec<Bound<'_, PyAny>>) -> PyResult<Gate> {
        let snapshot = self.inner.snapshot();
        let meta = find_action(py, snapshot.bundle(), &action)?;
        let spec = gate::Spec { action: action_text(meta), strict: self.strict, count: self.gates.clone() };
        gate::prepare(py, &self.inner, meta, &names, spec)
    }
}

impl Engine {
    /// Raise `ForkedError` in a forked child. Call this before changing anything or taking a lock, which another thread
    /// may have held at the fork.
    pub(crate) fn own(&self, py: Python<'_>) -> PyResult<()> {
        if self.inner.is_forked() { Err(forked(py)) } else { Ok(()) }
    }

    fn decider<'e>(&'e self, snapshot: &'e Snapshot) -> Decider<'e> {
        Decider { shared: &self.inner, snapshot, strict: self.strict, live: None, asks: false }
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
        if self.inner.is_forked() {
            return Ok(unanswered(py, Code::Forked));
        }
        let action = action_number(py, snapshot, action)?;
        self.decider(snapshot).evaluate(py, principal, action, resource, &|reader, fields, builder| {
            reader.request(fields, context, builder)
        })
    }

    fn decide_by<'py>(
        &self,
        py: Python<'py>,
        decider: &Decider<'_>,
        session: u64,
        action: &ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Decided<'py>> {
        if self.inner.is_forked() {
            return Ok(denied(py, &self.inner, SessionId(session), decider.asks, Code::Forked));
        }
        let action = action_number(py, decider.snapshot, action)?;
        decider
            .decide(py, session, action, resource, &|reader, fields, builder| reader.request(fields, context, builder))
    }

    fn over_the_store(
        &self,
        py: Python<'_>,
        snapshot: &Snapshot,
        session: u64,
        action: &ActionName,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<(Vec<EntityRef>, Vec<bool>)> {
        let action = action_number(py, snapshot, action)?;
        self.decider(snapshot)
            .over_the_store(py, session, action, &|reader, fields, builder| reader.request(fields, context, builder))
    }

    fn uid(&self, value: &Bound<'_, PyAny>) -> PyResult<Uid> {
        if let Some(handle) = uid::handle(value)? {
            let (ty, id) = self.inner.handle_uid(handle).ok_or_else(|| foreign_handle(value.py()))?;
            return Ok(Uid::new(&*ty, &*id));
        }
        uid::extract(value).map(|(ty, id)| Uid::new(ty, id))
    }
}

/// Gates that a bundle would not fit: action, names, count, reason, and whether they are stale already.
type Stale = (String, Vec<String>, usize, String, bool);

fn stale(gates: StaleGates) -> Stale {
    let StaleGates { action: (ty, id), names, count, why, already } = gates;
    (Uid::new(ty, id).to_string(), names, count, why, already)
}

/// Return the uids of entities of a snapshot.
fn uids(
    py: Python<'_>,
    snapshot: &Snapshot,
    entities: impl IntoIterator<Item = EntityRef>,
) -> PyResult<Vec<(String, String)>> {
    let owned = |entity| snapshot.uid(entity).map(|uid| (uid.ty.to_owned(), uid.id.to_owned()));
    let uids = entities.into_iter().map(owned).collect::<Option<Vec<_>>>();
    uids.ok_or_else(|| raise(py, "BundleError", "the bundle names an entity without an id: compile it anew"))
}

/// Return the exception for a call that is not a decision and got another engine's handle.
fn foreign_handle(py: Python<'_>) -> PyErr {
    let message = "the handle is another engine's, or none at all: take it from this engine (engine.resource(uid))";
    raise(py, "OwnerError", message)
}
