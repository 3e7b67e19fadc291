//! The engine: sessions, handles, gates, and the snapshot they decide over.

use crate::changes::Changes;
use crate::code::Code;
use crate::decide::{Determining, Walk};
use crate::gate::{Gate, Room};
use crate::handles::{Handle, HandleError, Key, Place, Register, Uids};
use crate::memory::{MemoryError, MemoryUse, Residence};
use crate::request::OwnedRequest;
use crate::seat::Seat;
use crate::sessions::{Admission, AdmitError, SessionId, SessionStatus, Sessions};
use crate::sets::Instructions;
use crate::snapshot::{
    Base, BindError, Name, Path, Reference, ReferenceAnswer, Snapshot, UidRef, layers, slot_kinds, without,
};
use crate::upsert::{ChangeError, EntityData, change};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_bundle::{Bundle, ClassPair, OpenError, ValueType};
use ztfast_program::EntityRef;

/// How much room an engine has, and how it holds its memory.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sessions that can be live at once.
    pub sessions: usize,
    /// Uids that can have a handle.
    pub handles: usize,
    /// Bytes that the context of a request may take, for whoever reads one.
    pub max_context: usize,
    /// How memory is held.
    pub residence: Residence,
    /// What joins sets of policies.
    pub instructions: Instructions,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            sessions: 1 << 16,
            handles: 1 << 22,
            max_context: 1 << 22,
            residence: Residence::default(),
            instructions: Instructions::default(),
        }
    }
}

/// Why there is no engine over a bundle.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bundle's sections are not what their hashes say.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// Memory could not be had as it was asked for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which handles could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Why a gate could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No such action.
    #[error("the bundle has no action {ty}::{id:?} that applies to anything")]
    UnknownAction {
        /// The action's type.
        ty: String,
        /// The action's id.
        id: String,
    },
    /// No such attribute.
    #[error("{action} has no context attribute {name}; it has {known}", known = list(known))]
    UnknownAttribute {
        /// The action.
        action: String,
        /// The name given.
        name: String,
        /// All names there are.
        known: Vec<String>,
    },
    /// An attribute that each request must have was not named.
    #[error("{action} also requires the context attributes {names}", names = list(names))]
    Missing {
        /// The action.
        action: String,
        /// The names.
        names: Vec<String>,
    },
    /// Memory could not be had as it was asked for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A name given twice.
    #[error("the context attribute {name} is named twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name that says two attributes.
    #[error("{action} has two context attributes {name}: name one by its path, {} or {}", paths[0], paths[1])]
    Ambiguous {
        /// The action.
        action: String,
        /// The name given.
        name: String,
        /// The paths of both.
        paths: [String; 2],
    },
}

impl PrepareError {
    fn of(error: BindError, ty: &str, id: &str) -> Self {
        let action = format!("{ty}::{id:?}");
        match error {
            BindError::UnknownAction => Self::UnknownAction { ty: ty.to_owned(), id: id.to_owned() },
            BindError::UnknownAttribute { name, known } => Self::UnknownAttribute { action, name, known },
            BindError::Ambiguous { name, paths } => Self::Ambiguous { action, name, paths },
            BindError::Twice { name } => Self::Twice { name },
            BindError::Missing { names } => Self::Missing { action, names },
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a gate was prepared for, and where it finds the next snapshot.
pub(crate) struct GateSpec {
    pub ty: Box<str>,
    pub id: Box<str>,
    /// Where the arguments' attributes are. A path stays the same attribute's in every bundle; a text might not.
    pub paths: Box<[Path]>,
    /// The arguments' types: callers convert by them, so a bundle that changes them is not for this gate.
    pub types: Box<[ValueType]>,
    pub seat: Arc<Seat>,
}

/// What only the writing side touches.
struct Writer {
    register: Register,
    /// By gate number.
    gates: Vec<Option<GateSpec>>,
    /// Replaced snapshots that a reader may still hold: freed here, never on the deciding side.
    /// Whoever decides drops a reference, but never the last.
    retired: Vec<Arc<Snapshot>>,
}

/// In [`Engine::state`]: the kill switch is on.
const KILLED: u64 = 1;

/// The state of an engine whose snapshot has this number, with the kill switch off.
pub(crate) const fn quiet(epoch: u64) -> u64 {
    epoch << 1
}

/// A policy decision point.
pub struct Engine {
    pub(crate) sessions: Sessions,
    current: ArcSwap<Snapshot>,
    /// What every decision looks at first: the current snapshot's number, above [`KILLED`].
    state: AtomicU64,
    key: Key,
    uids: Arc<Uids>,
    writer: Mutex<Writer>,
    options: EngineOptions,
}

impl Engine {
    /// An engine over a bundle. `reference` answers for policies that are left to Cedar.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        bundle: Arc<Bundle>,
        reference: Option<Box<dyn Reference>>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, EngineError> {
        // The first reading of the clock looks for it; no decision shall.
        let _ = crate::clock::now_ns();
        let uids = Arc::new(Uids::new());
        let key = Key::random()?;
        let base = Base::new(bundle, &options, key, uids.clone(), reference)?;
        let snapshot = Snapshot { base: Arc::new(base), changes: None, epoch: 1 };
        Ok(Arc::new(Self {
            sessions: Sessions::new(options.sessions, options.residence)?,
            state: AtomicU64::new(quiet(snapshot.epoch)),
            current: ArcSwap::from_pointee(snapshot),
            key,
            uids,
            writer: Mutex::new(Writer {
                register: Register::new(options.handles),
                gates: Vec::new(),
                retired: Vec::new(),
            }),
            options,
        }))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that decisions go by now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The current snapshot's number, for gates to notice a swap by, and the kill switch.
    #[inline]
    pub(crate) fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// The current snapshot's number.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.state() >> 1
    }

    /// Decide by another bundle from now on, without what was changed since the old one was made. Decisions under way end
    /// by the old one; nobody waits. The new one is in memory, as the options want it, before the first decision goes by it.
    ///
    /// # Errors
    /// [`EngineError`]; the old one stays.
    pub fn swap(&self, bundle: Arc<Bundle>, reference: Option<Box<dyn Reference>>) -> Result<(), EngineError> {
        let mut base = Base::new(bundle, &self.options, self.key, self.uids.clone(), reference)?;
        let mut writer = self.writer();
        base.number = self.epoch() + 1;
        base.resolve_handles();
        let bind = |spec: &GateSpec| {
            let binding = base.bind(&spec.ty, &spec.id, &spec.paths).ok()?;
            (binding.types == spec.types).then(|| Arc::new(binding))
        };
        base.bindings = writer.gates.iter().map(|spec| spec.as_ref().and_then(bind)).collect();
        self.publish(&mut writer, Arc::new(base), None);
        Ok(())
    }

    /// Put entities into the store, or others in their place, and take some out: decisions that begin later go by it.
    ///
    /// Decisions are then what they would be by a bundle that had been compiled with these entities. The next swap
    /// forgets it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn change(&self, upserts: &[EntityData], removals: &[(String, String)]) -> Result<(), ChangeError> {
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let changed = change(&snapshot, upserts, removals)?;
        for &entity in &changed.touched {
            // Those who hold the handle look at the changes from now on, and find nothing there until they are published.
            let uid = changed.uid(&snapshot.base, entity);
            if let Some(place) = uid.and_then(|(ty, id)| writer.register.find(ty, id)) {
                snapshot.base.mark_changed(place);
            }
        }
        let mut changes = changed.changes;
        for &entity in changed.touched.iter().filter(|&&entity| entity as usize >= snapshot.bundle().entities().len()) {
            let place =
                Changes::uid(&changes, &snapshot.base, entity).and_then(|(ty, id)| writer.register.find(ty, id));
            if let Some(place) = place {
                changes.handles.insert(place.0, entity);
            }
        }
        self.publish(&mut writer, snapshot.base.clone(), Some(Arc::new(changes)));
        Ok(())
    }

    /// Let decisions go by this from now on.
    fn publish(&self, writer: &mut Writer, base: Arc<Base>, changes: Option<Arc<Changes>>) {
        let epoch = self.epoch() + 1;
        let new = Arc::new(Snapshot { base, changes, epoch });
        let old = self.current.swap(new.clone());
        for spec in writer.gates.iter().flatten() {
            spec.seat.put(new.clone());
        }
        // Last: a gate that sees the new number finds this snapshot, or a newer one, in its seat. Only the writing side gets
        // here, one at a time; the kill switch is left as it is.
        self.state.fetch_add(quiet(1), Ordering::Release);
        writer.retired.push(old);
        writer.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// The handle of a uid. It is good for the life of the engine, whether or not a bundle knows the entity.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn handle(&self, ty: &str, id: &str) -> Result<Handle, HandleError> {
        let mut writer = self.writer();
        let (place, fresh) = writer.register.place(ty, id, &self.uids)?;
        if fresh {
            let snapshot = self.snapshot();
            snapshot.base.resolve_handle(place, snapshot.changes.as_deref());
        }
        Ok(self.key.handle(place))
    }

    /// Open a session.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, admission: &Admission) -> Result<SessionId, AdmitError> {
        let principal = self.key.place(admission.principal);
        self.uids.get(principal.0).ok_or(AdmitError::UnknownHandle)?;
        self.sessions.admit(principal, admission, crate::clock::now_ns())
    }

    /// Change a session's status; `false` where there is no such session, or it was revoked.
    pub fn set_session(&self, session: SessionId, status: SessionStatus) -> bool {
        self.sessions.set(session, status)
    }

    /// Deny everything, or no longer.
    pub fn kill_switch(&self, on: bool) {
        if on {
            self.state.fetch_or(KILLED, Ordering::Release);
        } else {
            self.state.fetch_and(!KILLED, Ordering::Release);
        }
    }

    /// Whether the kill switch is on.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.state() & KILLED != 0
    }

    /// The place that a handle names, if it is one of this engine's.
    #[inline]
    pub(crate) fn place(&self, handle: Handle) -> Place {
        self.key.place(handle)
    }

    /// Where the session's principal is, or why it may nothing.
    #[inline]
    pub(crate) fn principal(&self, session: SessionId, now_ns: i64) -> Result<Place, Code> {
        if self.is_killed() {
            return Err(Code::Killed);
        }
        self.sessions.check(session, now_ns)
    }

    /// Prepare decisions about an action, whose context attributes come in the order of `names`: their paths, joined by
    /// points.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(self: &Arc<Self>, ty: &str, id: &str, names: &[&str]) -> Result<Gate, PrepareError> {
        let names: Vec<Name<'_>> = names.iter().copied().map(Name::Text).collect();
        self.prepare_named(ty, id, &names)
    }

    /// The same, where names may be paths part by part.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_named(self: &Arc<Self>, ty: &str, id: &str, names: &[Name<'_>]) -> Result<Gate, PrepareError> {
        let room = Room::new(self.options.residence)?;
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let wrong = |error| PrepareError::of(error, ty, id);
        let paths = snapshot.base.paths(ty, id, names).map_err(wrong)?;
        let binding = snapshot.base.bind(ty, id, &paths).map_err(wrong)?;
        let binding = Arc::new(binding);
        let mut late = snapshot.base.late.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of gates that are gone: nobody else has them, so no gate frees one while it decides.
        late.retain(|binding| Arc::strong_count(binding) > 1);
        late.push(binding.clone());
        drop(late);
        let seat = Arc::new(Seat::default());
        let spec =
            Some(GateSpec { ty: ty.into(), id: id.into(), paths, types: binding.types.clone(), seat: seat.clone() });
        let free = writer.gates.iter().position(Option::is_none);
        let number = free.unwrap_or(writer.gates.len());
        if free.is_none() {
            writer.gates.push(None);
        }
        writer.gates[number] = spec;
        Ok(Gate::new(self.clone(), number, seat, snapshot, binding, room))
    }

    /// What is kept in memory for decisions.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let gates = self.writer().gates.iter().flatten().count();
        let snapshot = self.snapshot();
        let [bundle, handles] = &snapshot.base.held;
        let all = [bundle, handles, self.sessions.held()];
        let gates = gates * Room::BYTES;
        let locked_gates = if self.options.residence.locked { gates } else { 0 };
        MemoryUse {
            bundle: bundle.len(),
            tables: handles.len() + self.sessions.held().len(),
            gates,
            locked: all.iter().map(|held| held.locked()).sum::<usize>() + locked_gates,
            huge: crate::memory::in_huge_pages(all.into_iter()),
        }
    }

    /// Prepare a gate like this one, which counts as one of its own. `None` where the newest bundle no longer has what it
    /// was prepared for.
    pub(crate) fn prepare_like(self: &Arc<Self>, gate: usize) -> Option<Gate> {
        self.prepare_without(gate, 0).ok().flatten()
    }

    /// The same without some of its arguments, by their bits.
    ///
    /// # Errors
    /// Where one of them must be there.
    pub(crate) fn prepare_without(self: &Arc<Self>, gate: usize, absent: u64) -> Result<Option<Gate>, PrepareError> {
        let (ty, id, paths, types) = {
            let writer = self.writer();
            let Some(spec) = writer.gates.get(gate).and_then(Option::as_ref) else { return Ok(None) };
            let (paths, types) = (without(&spec.paths, absent), without(&spec.types, absent));
            (spec.ty.clone(), spec.id.clone(), paths, types)
        };
        let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.iter().map(|part| &**part).collect()).collect();
        let names: Vec<Name<'_>> = paths.iter().map(|path| Name::Path(path)).collect();
        match self.prepare_named(&ty, &id, &names) {
            Ok(made) => Ok(Some(made).filter(|made| made.types() == &*types)),
            Err(error @ (PrepareError::Missing { .. } | PrepareError::Memory(_))) => Err(error),
            // The newest bundle is another one.
            Err(_) => Ok(None),
        }
    }

    /// Forget a gate.
    pub(crate) fn release(&self, gate: usize) {
        if let Some(spec) = self.writer().gates.get_mut(gate) {
            *spec = None;
        }
    }

    /// Decide by policy alone: no session, no kill switch.
    pub fn evaluate(
        &self,
        snapshot: &Snapshot,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        request: &OwnedRequest,
        determining: &mut Determining,
    ) -> Code {
        let bundle = snapshot.bundle();
        let record = bundle.actions().get(action as usize);
        let tables = record.and_then(|record| Some((slot_kinds(bundle, record)?, layers(bundle, record)?)));
        let Some((kinds, layers)) = tables else { return Code::Corrupt };
        let request_view = request.view(principal, resource, kinds);
        let foreign = |number| request.foreign_uid(number);
        let classes = ClassPair {
            principal: snapshot.classes(principal).principal,
            resource: snapshot.classes(resource).resource,
        };
        let walk = Walk { snapshot, action, layers, classes, request: &request_view, foreign: &foreign };
        let code = walk.decide(&mut snapshot.scratch(), determining);
        determining.sort();
        code
    }

    /// Bytes that the context of a request may take.
    #[must_use]
    pub const fn max_context(&self) -> usize {
        self.options.max_context
    }

    /// Ask Cedar's own evaluator for a request's answer: for all policies that determine it, where they are too many for
    /// [`Determining`]. `None` is a failure.
    pub fn ask(
        &self,
        reference: &dyn Reference,
        snapshot: &Snapshot,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        request: &OwnedRequest,
    ) -> Option<ReferenceAnswer> {
        let kinds = slot_kinds(snapshot.bundle(), snapshot.bundle().actions().get(action as usize)?)?;
        let uid = |entity| request.uid(snapshot, entity);
        let ((who, who_id), (what, what_id)) = (uid(principal)?, uid(resource)?);
        let (who, what) = (UidRef { ty: &who, id: &who_id }, UidRef { ty: &what, id: &what_id });
        reference.authorize(snapshot, action, who, what, &request.view(principal, resource, kinds), &uid)
    }

    /// The entity in whose name a session asks, or why it may nothing.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn session_principal(&self, snapshot: &Snapshot, session: SessionId) -> Result<EntityRef, Code> {
        snapshot.entity(self.principal(session, crate::clock::now_ns())?).ok_or(Code::NotApplicable)
    }

    /// The entity of a handle in this snapshot's bundle.
    ///
    /// # Errors
    /// [`Code::UnknownHandle`] where it is not one of this engine's, [`Code::NotApplicable`] where it is nothing in this bundle.
    pub fn handle_entity(&self, snapshot: &Snapshot, handle: Handle) -> Result<EntityRef, Code> {
        let place = self.key.place(handle);
        snapshot.entity(place).ok_or_else(|| snapshot.why_nothing(place))
    }

    /// The uid of a handle; `None` where it is not one of this engine's.
    #[must_use]
    pub fn handle_uid(&self, handle: Handle) -> Option<(&str, &str)> {
        crate::handles::uid(&self.uids, self.key.place(handle))
    }
}
