//! The engine: sessions, handles, gates, and the snapshot they decide over.

use crate::changes::Changes;
use crate::code::Code;
use crate::decide::{Determining, Walk};
use crate::gate::{Gate, GateSpec, Texts, WorkingMemory, fixed_bytes};
use crate::handles::{For, Handle, HandleError, Key, OwnedUid, Place, Register, Uids};
use crate::kills::{Kill, Kills};
use crate::mailbox::Mailbox;
use crate::memory::{MemoryError, MemoryUse, Residence};
use crate::process::Forked;
use crate::request::OwnedRequest;
use crate::sessions::{Admission, AdmitError, SessionId, SessionStatus, Sessions};
use crate::sets::SimdLevel;
use crate::snapshot::{
    Attached, Base, BindError, Fallback, FallbackAnswer, Name, Snapshot, UidRef, layers, slot_kinds, without,
};
use crate::upsert::{Change, ChangeError, EntityData, change};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_bundle::{Bundle, ClassPair, OpenError};
use ztfast_vm::EntityRef;

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
    pub instructions: SimdLevel,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            sessions: 1 << 16,
            handles: 1 << 22,
            max_context: 1 << 22,
            residence: Residence::default(),
            instructions: SimdLevel::default(),
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
    /// The system does not let a process know itself from its children.
    #[error("the system refuses what tells this process from its forked children: {0}")]
    Process(std::io::Error),
    /// The engine is another process's.
    #[error(transparent)]
    Forked(#[from] Forked),
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
    /// The engine is another process's.
    #[error(transparent)]
    Forked(#[from] Forked),
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
    /// An attribute that is of another type than it was.
    #[error("{action}: the context attribute {name:?} was {before} and is {now}")]
    Type {
        /// The action.
        action: String,
        /// The name.
        name: String,
        /// The type that the gate was prepared for.
        before: String,
        /// The type in the bundle.
        now: String,
    },
}

impl PrepareError {
    pub(crate) fn of(error: BindError, ty: &str, id: &str) -> Self {
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

/// Gates of one specification that a bundle would not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleGates {
    /// The action's type and id.
    pub action: (String, String),
    /// The attributes' names.
    pub names: Vec<String>,
    /// How many gates there are.
    pub count: usize,
    /// Why the bundle does not fit them.
    pub why: String,
    /// Whether they fit the bundle that decides now no more either.
    pub already: bool,
}

/// Why a swap was refused. The old bundle stays.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// There is nothing that could decide by the bundle.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Entities that were to be put in or taken out with it do not fit it.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Gates that fit the old bundle and not this one.
    #[error("the bundle would make gates stale")]
    Stale(Vec<StaleGates>),
}

/// What comes with a swap.
pub struct Swap<'a> {
    /// Answers for policies that are left to Cedar.
    pub fallback: Option<Box<dyn Fallback>>,
    /// What [`Snapshot::attached`] gives.
    pub attached: Option<Attached>,
    /// Entities that are put into the bundle's store in the same step.
    pub upserts: &'a [EntityData],
    /// Entities that are taken out of it in the same step.
    pub removals: &'a [(String, String)],
    /// Whether gates may become stale.
    pub allow_stale: bool,
}

impl Default for Swap<'_> {
    fn default() -> Self {
        Self { fallback: None, attached: None, upserts: &[], removals: &[], allow_stale: true }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A gate as the writing side knows it.
struct GateRecord {
    spec: Arc<GateSpec>,
    mailbox: Arc<Mailbox>,
    /// How many cells its working memory has, on the stack and in the arena, and how many bytes it takes.
    cells: (usize, usize),
    bytes: usize,
}

/// What only the writing side touches, and never for long.
struct Writer {
    register: Register,
    /// By gate number. Those of gates that are gone are found and freed when the next come.
    gates: Vec<Option<GateRecord>>,
    free: Vec<usize>,
    /// Gates that there are when those that are gone are looked for.
    sweep_at: usize,
    /// Replaced snapshots that a reader may still hold: freed by the writing side, never on the deciding side.
    /// Whoever decides drops a reference, but never the last.
    retired: Vec<Arc<Snapshot>>,
}

impl Writer {
    /// Let go of the principals of sessions that are over.
    fn release(&mut self, sessions: &Sessions, uids: &Uids) -> HashSet<Place> {
        self.register.release(&sessions.principals(), uids)
    }

    /// Forget gates that are gone.
    fn forget(&mut self) {
        for (number, gate) in self.gates.iter_mut().enumerate() {
            if gate.as_ref().is_some_and(|gate| gate.mailbox.is_gone()) {
                *gate = None;
                self.free.push(number);
            }
        }
        self.sweep_at = 2 * (self.gates.len() - self.free.len()).max(32);
    }

    /// The replaced snapshots that nobody holds any more, to be dropped when nobody waits.
    fn sweep(&mut self) -> Vec<Arc<Snapshot>> {
        let (kept, done) = std::mem::take(&mut self.retired).into_iter().partition(|one| Arc::strong_count(one) > 1);
        self.retired = kept;
        done
    }

    /// A number for another gate.
    fn number(&mut self) -> usize {
        if self.free.is_empty() && self.gates.len() >= self.sweep_at {
            self.forget();
        }
        self.free.pop().unwrap_or_else(|| {
            self.gates.push(None);
            self.gates.len() - 1
        })
    }

    /// Gates that live.
    fn live(&self) -> impl Iterator<Item = &GateRecord> {
        self.gates.iter().flatten().filter(|gate| !gate.mailbox.is_gone())
    }
}

/// In [`Engine::state`]: the kill switch is on.
const KILLED: u64 = 1;

/// The state of an engine whose snapshot has this number, with the kill switch off.
pub(crate) const fn quiet(version: u64) -> u64 {
    version << 1
}

/// A policy decision point.
pub struct Engine {
    pub(crate) sessions: Sessions,
    current: ArcSwap<Snapshot>,
    /// What every decision looks at first: the current snapshot's number, above [`KILLED`].
    state: AtomicU64,
    key: Key,
    kills: Arc<Kills>,
    /// The mark of the process that opened it.
    process: u64,
    /// Resident by whoever swaps or changes entities, as long as that takes.
    changing: Mutex<()>,
    /// Resident for moments only: whoever prepares a gate or asks for a handle waits for it. Taken after `changing`.
    writer: Mutex<Writer>,
    options: EngineOptions,
}

impl Engine {
    /// An engine over a bundle. `fallback` answers for policies that are left to Cedar.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        bundle: Arc<Bundle>,
        fallback: Option<Box<dyn Fallback>>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, EngineError> {
        Self::with(bundle, fallback, None, options)
    }

    /// The same, with something that its first snapshot gives as [`Snapshot::attached`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn with(
        bundle: Arc<Bundle>,
        fallback: Option<Box<dyn Fallback>>,
        attached: Option<Attached>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, EngineError> {
        // The first reading of the clock looks for it; no decision shall.
        let _ = crate::clock::now_ns();
        let process = crate::process::enter().map_err(EngineError::Process)?;
        let uids = Arc::new(Uids::new());
        let key = Key::random()?;
        let kills = Arc::new(Kills::default());
        let base = Base::new(bundle, &options, key, &kills, uids, fallback, attached)?;
        let snapshot = Snapshot { base: Arc::new(base), changes: None, version: 1 };
        let engine = Self {
            sessions: Sessions::new(options.sessions, options.residence)?,
            state: AtomicU64::new(quiet(snapshot.version)),
            current: ArcSwap::from_pointee(snapshot),
            key,
            kills,
            process,
            changing: Mutex::default(),
            writer: Mutex::new(Writer {
                register: Register::new(options.handles),
                gates: Vec::new(),
                free: Vec::new(),
                sweep_at: 64,
                retired: Vec::new(),
            }),
            options,
        };
        engine.sessions.watch();
        Ok(Arc::new(engine))
    }

    /// Whether this is a forked child of the process that opened the engine: then every decision is [`Code::Forked`].
    #[inline]
    #[must_use]
    pub fn is_forked(&self) -> bool {
        crate::process::mark() != self.process
    }

    /// Before whatever changes something or takes a lock, which another thread may have held at the fork, so that nobody gives
    /// it back in the child. Whoever changes something also looks at the wall clock.
    fn own(&self) -> Result<(), Forked> {
        if self.is_forked() {
            return Err(Forked);
        }
        self.sessions.follow();
        Ok(())
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
    pub(crate) fn version(&self) -> u64 {
        self.state() >> 1
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decide by another bundle from now on, without what was changed since the old one was made; gates may become stale.
    /// Decisions under way end by the old one; nobody waits. The new one is in memory, as the options want it, before the
    /// first decision goes by it.
    ///
    /// # Errors
    /// [`EngineError`]; the old one stays.
    pub fn swap(&self, bundle: Arc<Bundle>, fallback: Option<Box<dyn Fallback>>) -> Result<(), EngineError> {
        self.swap_with(bundle, Swap { fallback, ..Swap::default() }).map_err(|error| match error {
            SwapError::Engine(error) => error,
            SwapError::Change(_) | SwapError::Stale(_) => {
                unreachable!("nothing is changed, and gates may become stale")
            }
        })
    }

    /// The same, and entities that change in the same step: no decision goes by the bundle without them.
    ///
    /// # Errors
    /// [`SwapError`]; the old one stays then, with what was changed.
    pub fn swap_with(&self, bundle: Arc<Bundle>, swap: Swap<'_>) -> Result<(), SwapError> {
        self.own().map_err(EngineError::from)?;
        let Swap { fallback, attached, upserts, removals, allow_stale } = swap;
        let mut base = Base::new(
            bundle,
            &self.options,
            self.key,
            &self.kills,
            self.snapshot().base.uids.clone(),
            fallback,
            attached,
        )?;
        let changing = self.changing();
        base.generation = self.version() + 1;
        // What takes long is done before anybody is kept waiting, and what came meanwhile is done again.
        let uids = self.snapshot().base.uids.clone();
        let released = self.writer().release(&self.sessions, &uids);
        let resolved = uids.count();
        base.uids = if released.is_empty() { uids.clone() } else { Arc::new(uids.next()) };
        if !released.is_empty() {
            base.uids.take_over(&uids, 0..resolved, &released);
        }
        base.resolve_handles(0..resolved);
        let cells = base.scratch_size();
        let mut bindings = Vec::new();
        let mut rooms = Vec::new();
        let specs: Vec<_> = {
            let mut writer = self.writer();
            writer.forget();
            writer.gates.iter().map(|gate| gate.as_ref().map(|gate| (gate.spec.clone(), gate.cells))).collect()
        };
        for spec in specs {
            let (spec, had) = spec.unzip();
            bindings.push(spec.map(|spec| (base.bind_spec(&spec).ok().map(Arc::new), spec)));
            rooms.push(had.map(|had| self.room(had, cells)).transpose().map_err(EngineError::Memory)?.flatten());
        }
        let base = Arc::new(base);
        let mut changed = None;
        if !upserts.is_empty() || !removals.is_empty() {
            let plain = Snapshot { base: base.clone(), changes: None, version: 0 };
            changed = Some(change(&plain, upserts, removals)?);
        }
        let mut writer = self.writer();
        let count = uids.count();
        if !released.is_empty() {
            base.uids.take_over(&uids, resolved..count, &released);
        }
        base.resolve_handles(resolved..count);
        for &place in writer.register.taken() {
            base.uids.take_late(&uids, place);
            base.resolve_handle(place, None);
        }
        bindings.resize_with(writer.gates.len(), || None);
        rooms.resize_with(writer.gates.len(), || None);
        for (at, gate) in writer.gates.iter().enumerate() {
            let Some(gate) = gate else {
                bindings[at] = None;
                continue;
            };
            // A gate that came meanwhile, maybe by the number of another.
            if bindings[at].as_ref().is_none_or(|(_, spec)| !Arc::ptr_eq(spec, &gate.spec)) {
                bindings[at] = Some((base.bind_spec(&gate.spec).ok().map(Arc::new), gate.spec.clone()));
            }
            if rooms[at].is_none() {
                rooms[at] = self.room(gate.cells, cells).map_err(EngineError::Memory)?;
            }
        }
        if !allow_stale {
            let stale = self.stale(&writer, |spec| base.bind_spec(spec).err());
            if stale.iter().any(|stale| !stale.already) {
                return Err(SwapError::Stale(stale.into_iter().filter(|stale| !stale.already).collect()));
            }
        }
        for (gate, room) in writer.gates.iter_mut().zip(rooms) {
            if let Some((gate, room)) = gate.as_mut().zip(room) {
                gate.cells = (gate.cells.0.max(cells.0), gate.cells.1.max(cells.1));
                gate.bytes = room.bytes();
                gate.mailbox.put_memory(room);
            }
        }
        base.bind_gates(bindings.into_iter().map(|bound| bound?.0).collect());
        let changes = changed.map(|changed| note_changes(&writer.register, &base, changed));
        let old = self.snapshot().base.clone();
        if !released.is_empty() {
            // Before any place is another's: whoever decides over an older generation from now on looks twice.
            base.uids.begin();
            writer.register.reuse();
        }
        let done = self.publish(&mut writer, base, changes);
        drop(writer);
        // Last, when nobody waits: it may be much.
        drop(done);
        if Arc::strong_count(&old) > 1 {
            old.give_up();
        }
        drop(changing);
        Ok(())
    }

    /// More working memory for a gate that has so many cells, where a bundle needs more.
    fn room(&self, had: (usize, usize), needed: (usize, usize)) -> Result<Option<Box<WorkingMemory>>, MemoryError> {
        if had.0 >= needed.0 && had.1 >= needed.1 {
            return Ok(None);
        }
        WorkingMemory::new((had.0.max(needed.0), had.1.max(needed.1)), self.options.residence).map(Some)
    }

    /// The gates that a bundle would not fit, those of one specification together.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn stale_gates(&self, bundle: &Bundle) -> Result<Vec<StaleGates>, Forked> {
        self.own()?;
        let number = |ty: &str, id: &str| {
            let at = bundle.meta().actions.iter().position(|action| action.ty == ty && action.id == id)?;
            u32::try_from(at).ok()
        };
        let specs: Vec<Arc<GateSpec>> = self.writer().live().map(|gate| gate.spec.clone()).collect();
        let now = self.snapshot();
        let fits = |spec: &GateSpec| crate::snapshot::bind_spec(bundle, number(&spec.ty, &spec.id), spec).err();
        Ok(gather(specs.iter(), &now, fits))
    }

    fn stale(&self, writer: &Writer, fits: impl Fn(&GateSpec) -> Option<PrepareError>) -> Vec<StaleGates> {
        gather(writer.live().map(|gate| &gate.spec), &self.snapshot(), fits)
    }

    /// Put entities into the store, or others in their place, and take some out: decisions that begin later go by it.
    ///
    /// Decisions are then what they would be by a bundle that had been compiled with these entities. The next swap
    /// forgets it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn change(&self, upserts: &[EntityData], removals: &[(String, String)]) -> Result<(), ChangeError> {
        self.own()?;
        let changing = self.changing();
        let snapshot = self.snapshot();
        let changed = change(&snapshot, upserts, removals)?;
        let mut writer = self.writer();
        let changes = note_changes(&writer.register, &snapshot.base, changed);
        let done = self.publish(&mut writer, snapshot.base.clone(), Some(changes));
        drop(writer);
        drop(changing);
        drop((done, snapshot));
        Ok(())
    }

    /// Let decisions go by this from now on. What nobody decides by any more, to be dropped when nobody waits.
    fn publish(&self, writer: &mut Writer, base: Arc<Base>, changes: Option<Arc<Changes>>) -> Vec<Arc<Snapshot>> {
        let version = self.version() + 1;
        let new = Arc::new(Snapshot { base, changes, version });
        let old = self.current.swap(new.clone());
        for gate in writer.gates.iter().flatten() {
            gate.mailbox.put(new.clone());
        }
        // Last: a gate that sees the new number finds this snapshot, or a newer one, in its mailbox. Only the writing side gets
        // here, one at a time; the kill switch is left as it is.
        self.state.fetch_add(quiet(1), Ordering::Release);
        writer.retired.push(old);
        writer.sweep()
    }

    /// The handle of a uid. It is good for the life of the engine, whether or not a bundle knows the entity.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn handle(&self, ty: &str, id: &str) -> Result<Handle, HandleError> {
        self.own()?;
        let place = self.place_of(&mut self.writer(), ty, id, For::Good)?;
        Ok(self.key.handle(place))
    }

    fn place_of(&self, writer: &mut Writer, ty: &str, id: &str, what_for: For) -> Result<Place, HandleError> {
        let snapshot = self.snapshot();
        let (place, fresh) = writer.register.place(ty, id, &snapshot.base.uids, what_for)?;
        if fresh {
            snapshot.base.resolve_handle(place, snapshot.changes.as_deref());
        }
        Ok(place)
    }

    /// Open a session.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, admission: &Admission) -> Result<SessionId, AdmitError> {
        self.own()?;
        let principal = self.key.place(admission.principal);
        let writer = self.writer();
        if !writer.register.is_given(principal, &self.snapshot().base.uids) {
            return Err(AdmitError::UnknownHandle);
        }
        self.sessions.admit(principal, admission)
    }

    /// Open a session for a uid, from `not_before_ns` to `not_after_ns` as [`Admission`] has them. Unlike that of
    /// [`Self::handle`], its place among the handles is released once no session needs it: by the next swap.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit_uid(
        &self,
        ty: &str,
        id: &str,
        not_before_ns: i64,
        not_after_ns: i64,
    ) -> Result<SessionId, AdmitError> {
        self.own()?;
        // Resident until there is the session: before that nobody knows that the place is needed.
        let mut writer = self.writer();
        let principal = self.place_of(&mut writer, ty, id, For::Session)?;
        let admission = Admission { principal: self.key.handle(principal), not_before_ns, not_after_ns };
        self.sessions.admit(principal, &admission)
    }

    /// Change a session's status; `false` where there is no such session, or it was revoked.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn set_session(&self, session: SessionId, status: SessionStatus) -> Result<bool, Forked> {
        self.own()?;
        Ok(self.sessions.set(session, status))
    }

    /// Deny some actions, or no longer. To lift what is usually stopped, or everything, lifts all; to lift some actions lifts
    /// those that were stopped by these names.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn kill_switch(&self, on: bool, what: Kill<'_>) -> Result<(), Forked> {
        self.own()?;
        self.kills.switch(on, what, self.snapshot().bundle(), |any| {
            if any {
                self.state.fetch_or(KILLED, Ordering::Release);
            } else {
                self.state.fetch_and(!KILLED, Ordering::Release);
            }
        });
        Ok(())
    }

    /// Whether the kill switch stops anything.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.state() & KILLED != 0
    }

    /// Whether the kill switch stops an action of a bundle.
    #[inline]
    pub(crate) fn stops(&self, base: &Base, action: Option<u32>) -> bool {
        self.is_killed() && self.kills.stop(action.and_then(|action| base.switches.get(action as usize)))
    }

    /// The place that a handle names, if it is one of this engine's.
    #[inline]
    pub(crate) fn place(&self, handle: Handle) -> Place {
        self.key.place(handle)
    }

    /// Where the session's principal is, or why it may nothing.
    #[inline]
    pub(crate) fn principal(&self, session: SessionId, now_ns: i64, killed: bool) -> Result<Place, Code> {
        if killed {
            return Err(if self.is_forked() { Code::Forked } else { Code::Killed });
        }
        self.sessions.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    /// Why a session that was not good just now was not.
    #[cold]
    pub(crate) fn why(&self, session: SessionId, now_ns: i64) -> Code {
        if self.is_forked() { Code::Forked } else { self.sessions.why(session, now_ns) }
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
        self.own()?;
        let (paths, binding) = self.snapshot().base.bind_named(ty, id, names)?;
        let spec = GateSpec { ty: ty.into(), id: id.into(), paths, types: binding.types };
        match self.prepare_like(&Arc::new(spec)) {
            // A bundle that changes a type came between.
            Err(PrepareError::Type { .. }) => self.prepare_named(ty, id, names),
            prepared => prepared,
        }
    }

    /// Prepare a gate like others, which counts as one of its own.
    pub(crate) fn prepare_like(self: &Arc<Self>, spec: &Arc<GateSpec>) -> Result<Gate, PrepareError> {
        self.own()?;
        crate::memory::room("a gate", 1 << 20)?;
        let texts = if spec.looks_up() { Texts::new(self.options.residence)? } else { Texts::default() };
        loop {
            let needed = self.snapshot().base.scratch_size();
            let room = WorkingMemory::new(needed, self.options.residence)?;
            let mut writer = self.writer();
            let snapshot = self.snapshot();
            let cells = snapshot.base.scratch_size();
            if cells.0 > needed.0 || cells.1 > needed.1 {
                // Another bundle came between.
                continue;
            }
            let binding = Arc::new(snapshot.base.bind_spec(spec)?);
            snapshot.base.keep(binding.clone());
            let mailbox = Arc::new(Mailbox::default());
            let number = writer.number();
            let bytes = room.bytes();
            writer.gates[number] =
                Some(GateRecord { spec: spec.clone(), mailbox: mailbox.clone(), cells: needed, bytes });
            drop(writer);
            return Ok(Gate::new(self.clone(), number, (spec.clone(), mailbox), snapshot, binding, (texts, room)));
        }
    }

    /// Prepare a gate like others, without some of their arguments, by their bits. `None` where the newest bundle does not fit
    /// them any more.
    ///
    /// # Errors
    /// Where one of them must be there, or the system refuses the memory.
    pub(crate) fn prepare_without(
        self: &Arc<Self>,
        spec: &GateSpec,
        absent: u64,
    ) -> Result<Option<Gate>, PrepareError> {
        let (paths, types) = (without(&spec.paths, absent), without(&spec.types, absent));
        let less = GateSpec { ty: spec.ty.clone(), id: spec.id.clone(), paths, types };
        match self.prepare_like(&Arc::new(less)) {
            Ok(gate) => Ok(Some(gate)),
            Err(error @ (PrepareError::Missing { .. } | PrepareError::Memory(_))) => Err(error),
            // The newest bundle is another one.
            Err(_) => Ok(None),
        }
    }

    /// What is kept in memory for decisions.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn memory(&self) -> Result<MemoryUse, Forked> {
        self.own()?;
        let (gates, pages, replaced) = {
            let mut writer = self.writer();
            // What nobody holds any more is not in use, and need not wait for the next swap.
            let done = writer.sweep();
            drop(writer);
            drop(done);
            let writer = self.writer();
            let pages: usize = writer.live().map(|gate| gate.bytes).sum();
            let fixed: usize = writer.live().map(|gate| fixed_bytes(gate.spec.looks_up())).sum();
            let mut replaced: Vec<Arc<Base>> = writer.retired.iter().map(|one| one.base.clone()).collect();
            replaced.sort_unstable_by_key(Arc::as_ptr);
            replaced.dedup_by(|a, b| Arc::ptr_eq(a, b));
            (pages + fixed, pages, replaced)
        };
        let snapshot = self.snapshot();
        let [bundle, handles] = &snapshot.base.held;
        let all = [bundle, handles, self.sessions.held()];
        let locked_gates = if self.options.residence.locked { pages } else { 0 };
        let uids = &snapshot.base.uids;
        let mut older: Vec<&Arc<Uids>> = replaced.iter().map(|base| &base.uids).collect();
        older.sort_unstable_by_key(|uids| Arc::as_ptr(uids));
        older.dedup_by(|a, b| Arc::ptr_eq(a, b));
        older.retain(|older| !Arc::ptr_eq(older, uids));
        let replaced = replaced.iter().filter(|base| !Arc::ptr_eq(base, &snapshot.base));
        Ok(MemoryUse {
            bundle: bundle.len(),
            tables: handles.len() + self.sessions.held().len(),
            gates,
            changes: snapshot.changes.as_ref().map_or(0, |changes| changes.bytes()),
            uids: uids.bytes() + older.iter().map(|older| older.bytes_beside(uids)).sum::<usize>(),
            replaced: replaced.map(|base| base.held[0].len()).sum(),
            locked: all.iter().map(|held| held.locked()).sum::<usize>() + locked_gates,
            huge: crate::memory::in_huge_pages(all.into_iter()),
        })
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
        if self.is_forked() {
            return Code::Forked;
        }
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
        fallback: &dyn Fallback,
        snapshot: &Snapshot,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        request: &OwnedRequest,
    ) -> Option<FallbackAnswer> {
        let kinds = slot_kinds(snapshot.bundle(), snapshot.bundle().actions().get(action as usize)?)?;
        let uid = |entity| request.uid(snapshot, entity);
        let ((who, who_id), (what, what_id)) = (uid(principal)?, uid(resource)?);
        let (who, what) = (UidRef { ty: &who, id: &who_id }, UidRef { ty: &what, id: &what_id });
        fallback.authorize(snapshot, action, who, what, &request.view(principal, resource, kinds), &uid)
    }

    /// The entity in whose name a session asks, or why it may nothing.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn session_principal(&self, snapshot: &Snapshot, action: u32, session: SessionId) -> Result<EntityRef, Code> {
        let killed = self.stops(&snapshot.base, Some(action));
        let place = self.principal(session, crate::clock::monotonic_ns(), killed)?;
        if !snapshot.base.uids.covers(place) {
            return Err(Code::UnknownSession);
        }
        snapshot.entity(place).ok_or(Code::NotApplicable)
    }

    /// The entity of a handle in this snapshot's bundle.
    ///
    /// # Errors
    /// [`Code::UnknownHandle`] where it is not one of this engine's, [`Code::NotApplicable`] where it is nothing in this bundle.
    pub fn handle_entity(&self, snapshot: &Snapshot, handle: Handle) -> Result<EntityRef, Code> {
        let place = self.key.place(handle);
        if !snapshot.base.uids.covers(place) {
            return Err(Code::UnknownHandle);
        }
        snapshot.entity(place).ok_or_else(|| snapshot.why_nothing(place))
    }

    /// The uid of a handle; `None` where it is not one of this engine's.
    #[must_use]
    pub fn handle_uid(&self, handle: Handle) -> Option<OwnedUid> {
        self.snapshot().base.uids.get(self.key.place(handle)).map(|uid| (**uid).clone())
    }
}

/// Let those who hold the handles of everybody concerned look at the changes.
fn note_changes(register: &Register, base: &Base, changed: Change) -> Arc<Changes> {
    let Change { mut changes, touched } = changed;
    for entity in touched {
        let place = Changes::uid(&changes, base, entity).and_then(|(ty, id)| register.find(ty, id));
        let Some(place) = place else { continue };
        // From now on they look there, and find nothing until the changes are published.
        base.mark_changed(place);
        if entity as usize >= base.bundle.entities().len() {
            changes.handles.insert(place.0, entity);
        }
    }
    Arc::new(changes)
}

/// Gates that do not fit, those of one specification together.
fn gather<'a>(
    specs: impl Iterator<Item = &'a Arc<GateSpec>>,
    now: &Snapshot,
    fits: impl Fn(&GateSpec) -> Option<PrepareError>,
) -> Vec<StaleGates> {
    let mut counts: Vec<(&GateSpec, usize)> = Vec::new();
    let mut places: HashMap<&GateSpec, usize> = HashMap::new();
    for spec in specs {
        let place = *places.entry(spec).or_insert_with(|| {
            counts.push((spec, 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    }
    let stale = counts.into_iter().filter_map(|(spec, count)| {
        let why = fits(spec)?.to_string();
        Some(StaleGates {
            action: (spec.ty.to_string(), spec.id.to_string()),
            names: spec.labels(),
            count,
            why,
            already: now.base.bind_spec(spec).is_err(),
        })
    });
    stale.collect()
}
