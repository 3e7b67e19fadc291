//! The engine: sessions, handles, gates, and the snapshot they decide over.

use crate::code::Code;
use crate::decide::{Determining, Walk};
use crate::gate::Gate;
use crate::handles::{Handle, HandlesFull, Register, Uids};
use crate::request::OwnedRequest;
use crate::sessions::{Admission, AdmitError, SessionId, SessionStatus, Sessions};
use crate::snapshot::{BindError, Binding, Reference, Snapshot};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_bundle::{Bundle, ValueType};
use ztfast_program::{EntityRef, Scratch};

/// How much room an engine has. Room that is not used takes no memory.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sessions that can be live at once.
    pub sessions: usize,
    /// Uids that can have a handle.
    pub handles: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { sessions: 1 << 16, handles: 1 << 22 }
    }
}

/// Why a gate could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("{action} has no context attribute {name:?}; it has {known}", known = list(known))]
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
    /// A name given twice.
    #[error("the context attribute {name:?} is named twice")]
    Twice {
        /// The name.
        name: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a gate was prepared for.
#[derive(Clone)]
pub(crate) struct GateSpec {
    pub ty: Box<str>,
    pub id: Box<str>,
    pub names: Box<[Box<str>]>,
    /// The arguments' types: callers convert by them, so a bundle that changes them is not for this gate.
    pub types: Box<[ValueType]>,
}

/// What only the writing side touches.
struct Writer {
    register: Register,
    /// By gate number.
    gates: Vec<Option<GateSpec>>,
    /// Replaced snapshots that a reader may still hold: freed here, never on the deciding side.
    retired: Vec<Arc<Snapshot>>,
}

/// A policy decision point.
pub struct Engine {
    pub(crate) sessions: Sessions,
    killed: AtomicBool,
    current: ArcSwap<Snapshot>,
    /// The current snapshot's number, for gates to notice a swap by.
    epoch: AtomicU64,
    uids: Arc<Uids>,
    writer: Mutex<Writer>,
    handles: usize,
}

impl Engine {
    /// An engine over a bundle. `reference` answers for policies that are left to Cedar.
    #[must_use]
    pub fn new(bundle: Arc<Bundle>, reference: Option<Box<dyn Reference>>, options: EngineOptions) -> Arc<Self> {
        let uids = Arc::new(Uids::new());
        let snapshot = Snapshot::new(bundle, 1, options.handles, uids.clone(), reference);
        Arc::new(Self {
            sessions: Sessions::new(options.sessions),
            killed: AtomicBool::new(false),
            current: ArcSwap::from_pointee(snapshot),
            epoch: AtomicU64::new(1),
            uids,
            writer: Mutex::new(Writer {
                register: Register::new(options.handles),
                gates: Vec::new(),
                retired: Vec::new(),
            }),
            handles: options.handles,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that decisions go by now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Decide by another bundle from now on. Decisions under way end by the old one; nobody waits.
    pub fn swap(&self, bundle: Arc<Bundle>, reference: Option<Box<dyn Reference>>) {
        let mut writer = self.writer();
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let mut next = Snapshot::new(bundle, epoch, self.handles, self.uids.clone(), reference);
        let bind = |spec: &GateSpec| {
            let binding = next.bind(&spec.ty, &spec.id, &spec.names).ok()?;
            (binding.types == spec.types).then(|| Arc::new(binding))
        };
        let bindings = writer.gates.iter().map(|spec| spec.as_ref().and_then(bind)).collect();
        next.bindings = bindings;
        let old = self.current.swap(Arc::new(next));
        self.epoch.store(epoch, Ordering::Release);
        writer.retired.push(old);
        writer.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// The handle of a uid. It is good for the life of the engine, whether or not a bundle knows the entity.
    ///
    /// # Errors
    /// [`HandlesFull`].
    pub fn handle(&self, ty: &str, id: &str) -> Result<Handle, HandlesFull> {
        let mut writer = self.writer();
        let (handle, fresh) = writer.register.handle(ty, id, &self.uids)?;
        if fresh {
            self.current.load().resolve_handle(handle);
        }
        Ok(handle)
    }

    /// Open a session.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, admission: &Admission) -> Result<SessionId, AdmitError> {
        self.sessions.admit(admission, crate::clock::now_ns())
    }

    /// Change a session's status; `false` where there is no such session, or it was revoked.
    pub fn set_session(&self, session: SessionId, status: SessionStatus) -> bool {
        self.sessions.set(session, status)
    }

    /// Deny everything, or no longer.
    pub fn kill_switch(&self, on: bool) {
        self.killed.store(on, Ordering::Release);
    }

    /// Whether the kill switch is on.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// The session's principal as a handle, or why it may nothing.
    #[inline]
    pub(crate) fn principal(&self, session: SessionId, now_ns: i64) -> Result<Handle, Code> {
        if self.is_killed() {
            return Err(Code::Killed);
        }
        self.sessions.check(session, now_ns)
    }

    /// Prepare decisions about an action, whose context attributes come in the order of `names`.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(self: &Arc<Self>, ty: &str, id: &str, names: &[&str]) -> Result<Gate, PrepareError> {
        let action = || format!("{ty}::{id:?}");
        if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(PrepareError::Twice { name: (*twice).to_owned() });
        }
        let names: Box<[Box<str>]> = names.iter().map(|&name| name.into()).collect();
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let binding = snapshot.bind(ty, id, &names).map_err(|error| match error {
            BindError::UnknownAction => PrepareError::UnknownAction { ty: ty.to_owned(), id: id.to_owned() },
            BindError::UnknownAttribute { name, known } => {
                PrepareError::UnknownAttribute { action: action(), name, known }
            }
            BindError::Missing { names } => PrepareError::Missing { action: action(), names },
        })?;
        let binding = Arc::new(binding);
        snapshot.late.lock().unwrap_or_else(PoisonError::into_inner).push(binding.clone());
        let spec = Some(GateSpec { ty: ty.into(), id: id.into(), names, types: binding.types.clone() });
        let free = writer.gates.iter().position(Option::is_none);
        let number = free.unwrap_or(writer.gates.len());
        if free.is_none() {
            writer.gates.push(None);
        }
        writer.gates[number] = spec;
        Ok(Gate::new(self.clone(), number, snapshot, binding))
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
        let Some(action) = snapshot.bundle.actions().get(action as usize) else { return Code::Corrupt };
        let start = action.slots_start as usize;
        let Some(kinds) = snapshot.bundle.slot_kinds().get(start..start + action.slots_len as usize) else {
            return Code::Corrupt;
        };
        let request_view = request.view(principal, resource, kinds);
        let foreign = |number| request.foreign_uid(number);
        let walk = Walk { snapshot, action, request: &request_view, foreign: &foreign };
        walk.decide(&mut Scratch::default(), determining)
    }

    /// The entity in whose name a session asks, or why it may nothing.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn session_principal(&self, snapshot: &Snapshot, session: SessionId) -> Result<EntityRef, Code> {
        snapshot.entity(self.principal(session, crate::clock::now_ns())?).ok_or(Code::NotApplicable)
    }

    /// The entity of a handle in this snapshot's bundle.
    #[must_use]
    pub fn handle_entity(&self, snapshot: &Snapshot, handle: Handle) -> Option<EntityRef> {
        snapshot.entity(handle)
    }

    /// The uid of a handle.
    #[must_use]
    pub fn handle_uid(&self, handle: Handle) -> Option<(&str, &str)> {
        crate::handles::uid(&self.uids, handle)
    }
}

/// What a gate decides over, fetched together.
pub(crate) fn current(engine: &Engine, gate: usize) -> (Arc<Snapshot>, Option<Arc<Binding>>) {
    let snapshot = engine.snapshot();
    let binding = snapshot.bindings.get(gate).and_then(Clone::clone);
    (snapshot, binding)
}
