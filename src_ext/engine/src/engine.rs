//! The engine: the writer, which swaps bundles and changes entities. It stands on top of what it shares with its
//! readers.

use crate::binding::{Binding, GateSpec, Name, PrepareError, bind_spec};
use crate::changes::Changes;
use crate::gate::{Gate, fixed_bytes};
use crate::options::{EngineError, EngineOptions, MemoryUse};
use crate::registry::Registry;
use crate::shared::Shared;
use crate::snapshot::{Attached, Fallback, LoadedBundle, Snapshot};
use crate::upsert::{Change, ChangeError, EntityData, change};
use crate::working::WorkingMemory;
use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_bundle::Bundle;
use ztfast_live::{Key, MAX_SESSIONS, NoPlace, Place, Register, RegisterUse, Role, Sessions, State, Switchboard, Uids};
use ztfast_pages::{Forked, MemoryError};

/// Gates with the same specification that a bundle does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleGates {
    /// The action's type and id.
    pub action: (String, String),
    /// The attributes' names.
    pub names: Vec<String>,
    /// How many gates there are.
    pub count: usize,
    /// Why the bundle does not fit the gates.
    pub why: String,
    /// Whether the gates do not fit the current bundle either.
    pub already: bool,
}

/// Why a swap was refused. The old bundle stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The engine could not be set up over the bundle.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The upserts or removals given with the swap do not fit the bundle.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Gates fit the old bundle but not the new one.
    #[error("the bundle would make gates stale")]
    Stale(Vec<StaleGates>),
}

/// The options of a swap.
pub struct Swap<'a> {
    /// Cedar's own evaluator, for the policies that the compiler leaves to it.
    pub fallback: Option<Box<dyn Fallback>>,
    /// The value that [`Snapshot::attached`] returns.
    pub attached: Option<Attached>,
    /// Entities to put into the new bundle's store in the same step.
    pub upserts: &'a [EntityData],
    /// Entities to take out of the new bundle's store in the same step.
    pub removals: &'a [(String, String)],
    /// Whether gates may become stale.
    pub allow_stale: bool,
}

impl Default for Swap<'_> {
    fn default() -> Self {
        Self { fallback: None, attached: None, upserts: &[], removals: &[], allow_stale: true }
    }
}

/// A policy decision point.
///
/// It dereferences to [`Shared`], the part that it shares with its gates: sessions, handles and decisions by policy
/// alone.
pub struct Engine {
    shared: Arc<Shared>,
    /// Held during a whole swap or change, so that there is one writer at a time.
    changing: Mutex<()>,
}

impl Deref for Engine {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Engine {
    /// Create an engine over a bundle. `fallback` decides for policies that are left to Cedar.
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

    /// Create an engine as [`Engine::new`] does, with a value that the first snapshot returns as
    /// [`Snapshot::attached`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn with(
        bundle: Arc<Bundle>,
        fallback: Option<Box<dyn Fallback>>,
        attached: Option<Attached>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, EngineError> {
        let clock = options.clock.start()?;
        let state = State::private(options.sessions.min(MAX_SESSIONS), clock, options.residence)?;
        Self::on(state, bundle, fallback, attached, options)
    }

    /// Create an engine as [`Engine::with`] does, over a state that other processes may share.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn on(
        state: State,
        bundle: Arc<Bundle>,
        fallback: Option<Box<dyn Fallback>>,
        attached: Option<Attached>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, EngineError> {
        // The first reading of the clock finds out where the kernel keeps it. No decision should take that time.
        let _ = ztfast_pages::now_ns();
        let process = ztfast_pages::enter().map_err(EngineError::Process)?;
        let state = Arc::new(state);
        register_entities(&state, &bundle, &options);
        let (key, uids) = (Key::new(&state)?, Arc::new(Uids::first(state.clone())));
        let loaded = LoadedBundle::new(bundle, &options, key, uids.clone(), fallback, attached)?;
        loaded.resolve_handles(0..uids.count());
        let snapshot = Snapshot { loaded: Arc::new(loaded), changes: None, version: 1 };
        let switches = Switchboard::of(state.clone());
        let live = (Sessions::of(state), switches);
        let shared = Arc::new(Shared::new(live, snapshot, process, options));
        if shared.sessions.state().is_shared() {
            shared.wipe_in_children().map_err(EngineError::Process)?;
        }
        let engine = Arc::downgrade(&shared);
        shared.sessions.when_noticed(move |notice| {
            if let Some(shared) = engine.upgrade() {
                shared.heed(notice);
            }
        });
        shared.sessions.watch();
        // The clock may have been set while no authority lived.
        shared.sessions.follow();
        Ok(Arc::new(Self { shared, changing: Mutex::default() }))
    }

    /// Prepare a gate for an action. Its arguments are context attributes in the order of `names`: paths joined by
    /// points.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self, ty: &str, id: &str, names: &[&str]) -> Result<Gate, PrepareError> {
        let names: Vec<Name<'_>> = names.iter().copied().map(Name::Text).collect();
        self.shared.prepare(ty, id, &names)
    }

    /// Prepare a gate as [`Engine::prepare`] does, with names that may also be paths given part by part.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_named(&self, ty: &str, id: &str, names: &[Name<'_>]) -> Result<Gate, PrepareError> {
        self.shared.prepare(ty, id, names)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replace the bundle. Changes made since the old bundle was compiled are dropped, and gates may become stale.
    ///
    /// Decisions under way end by the old bundle, and none of them waits. The new bundle is in memory, as the options
    /// ask, before the first decision uses it.
    ///
    /// # Errors
    /// [`EngineError`]; the old bundle stays in force.
    pub fn swap(&self, bundle: Arc<Bundle>, fallback: Option<Box<dyn Fallback>>) -> Result<(), EngineError> {
        self.swap_with(bundle, Swap { fallback, ..Swap::default() }).map_err(|error| match error {
            SwapError::Engine(error) => error,
            SwapError::Change(_) | SwapError::Stale(_) => {
                unreachable!("nothing is changed, and gates may become stale")
            }
        })
    }

    /// Replace the bundle and change entities in the same step: no decision uses the new bundle without these changes.
    ///
    /// # Errors
    /// [`SwapError`]; the old bundle stays in force, with its changes.
    pub fn swap_with(&self, bundle: Arc<Bundle>, swap: Swap<'_>) -> Result<(), SwapError> {
        self.check_process().map_err(EngineError::from)?;
        register_entities(self.sessions.state(), &bundle, &self.options);
        let Swap { fallback, attached, upserts, removals, allow_stale } = swap;
        let mut loaded = LoadedBundle::new(
            bundle,
            &self.options,
            self.key,
            self.snapshot().loaded.uids.clone(),
            fallback,
            attached,
        )?;
        let changing = self.changing();
        loaded.generation = self.version() + 1;
        // Slow work is done before the registry is locked. Handles and gates that are added meanwhile are handled under
        // the lock.
        let uids = self.snapshot().loaded.uids.clone();
        let released = self.registry().release(&self.sessions, &uids);
        let resolved = uids.count();
        loaded.uids = if released.is_empty() { uids.clone() } else { Arc::new(uids.next()) };
        if !released.is_empty() {
            loaded.uids.copy_from(&uids, 0..resolved, &released);
        }
        loaded.resolve_handles(0..resolved);
        let scratch = loaded.scratch_size();
        let mut bindings = Vec::new();
        let mut memories = Vec::new();
        let specs: Vec<_> = {
            let mut registry = self.registry();
            registry.forget();
            registry.gates.iter().map(|gate| gate.as_ref().map(|gate| (gate.spec.clone(), gate.scratch))).collect()
        };
        for spec in specs {
            let (spec, had) = spec.unzip();
            bindings.push(spec.map(|spec| fitting(&loaded, spec)).transpose()?);
            memories.push(
                had.map(|had| self.more_memory(had, scratch)).transpose().map_err(EngineError::Memory)?.flatten(),
            );
        }
        let loaded = Arc::new(loaded);
        let mut changed = None;
        if !upserts.is_empty() || !removals.is_empty() {
            let plain = Snapshot { loaded: loaded.clone(), changes: None, version: 0 };
            changed = Some(change(&plain, upserts, removals)?);
        }
        let mut registry = self.registry_once_bound(&loaded);
        let count = uids.count();
        if !released.is_empty() {
            loaded.uids.copy_from(&uids, resolved..count, &released);
        }
        loaded.resolve_handles(resolved..count);
        for &place in registry.register.taken() {
            loaded.uids.copy_late(&uids, place);
            loaded.resolve_handle(place, None);
        }
        bindings.resize_with(registry.gates.len(), || None);
        memories.resize_with(registry.gates.len(), || None);
        for (at, gate) in registry.gates.iter().enumerate() {
            let Some(gate) = gate else {
                bindings[at] = None;
                continue;
            };
            // This gate was prepared meanwhile, perhaps under the number of a gate that is gone.
            if bindings[at].as_ref().is_none_or(|(_, spec)| !Arc::ptr_eq(spec, &gate.spec)) {
                bindings[at] = Some(fitting(&loaded, gate.spec.clone())?);
            }
            if memories[at].is_none() {
                memories[at] = self.more_memory(gate.scratch, scratch).map_err(EngineError::Memory)?;
            }
        }
        if !allow_stale {
            let stale = self.stale(&registry, |spec| loaded.bind_spec(spec).err());
            if stale.iter().any(|stale| !stale.already) {
                return Err(SwapError::Stale(stale.into_iter().filter(|stale| !stale.already).collect()));
            }
        }
        for (gate, memory) in registry.gates.iter_mut().zip(memories) {
            if let Some((gate, memory)) = gate.as_mut().zip(memory) {
                gate.scratch = (gate.scratch.0.max(scratch.0), gate.scratch.1.max(scratch.1));
                gate.bytes = memory.bytes();
                gate.mailbox.put_memory(memory);
            }
        }
        loaded.bind_gates(bindings.into_iter().map(|bound| bound?.0).collect());
        let changes = changed.map(|changed| mark_changes(&registry.register, &loaded, changed));
        let old = self.snapshot().loaded.clone();
        if !released.is_empty() {
            // This comes before any place is reused: from now on, decisions over an older epoch of uids check twice.
            loaded.uids.begin();
            registry.register.reuse();
        }
        let done = self.publish(&mut registry, loaded, changes);
        drop(registry);
        // Dropping may take long, so it comes after the lock is released.
        drop(done);
        if Arc::strong_count(&old) > 1 {
            old.retire();
        }
        drop(changing);
        Ok(())
    }

    /// Lock the registry when the gates that it lists are bound to a bundle, as far as they fit. A table takes long, so
    /// it is not built while the registry is locked. Threads that never stop preparing gates are not waited for.
    fn registry_once_bound(&self, loaded: &LoadedBundle) -> MutexGuard<'_, Registry> {
        let mut tried: HashSet<Arc<GateSpec>> = HashSet::new();
        for _ in 0..16 {
            let registry = self.registry();
            let fresh: HashSet<Arc<GateSpec>> =
                registry.live().map(|gate| &gate.spec).filter(|spec| !tried.contains(*spec)).cloned().collect();
            if fresh.is_empty() {
                return registry;
            }
            drop(registry);
            for spec in fresh {
                // Whether it fits is asked again.
                let _ = loaded.bind_gate(&spec);
                tried.insert(spec);
            }
        }
        self.registry()
    }

    /// Allocate larger working memory for a gate whose memory has the size `had`, if a bundle needs more.
    fn more_memory(
        &self,
        had: (usize, usize),
        needed: (usize, usize),
    ) -> Result<Option<Box<WorkingMemory>>, MemoryError> {
        if had.0 >= needed.0 && had.1 >= needed.1 {
            return Ok(None);
        }
        WorkingMemory::new((had.0.max(needed.0), had.1.max(needed.1)), self.options.residence).map(Some)
    }

    /// Return the gates that a bundle does not fit, grouped by specification.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn stale_gates(&self, bundle: &Bundle) -> Result<Vec<StaleGates>, Forked> {
        self.check_process()?;
        let number = |ty: &str, id: &str| {
            let at = bundle.meta().actions.iter().position(|action| action.ty == ty && action.id == id)?;
            u32::try_from(at).ok()
        };
        let specs: Vec<Arc<GateSpec>> = self.registry().live().map(|gate| gate.spec.clone()).collect();
        let now = self.snapshot();
        let fits = |spec: &GateSpec| bind_spec(bundle, number(&spec.ty, &spec.id), spec).err();
        Ok(gather(specs.iter(), &now, fits))
    }

    fn stale(&self, registry: &Registry, fits: impl Fn(&GateSpec) -> Option<PrepareError>) -> Vec<StaleGates> {
        gather(registry.live().map(|gate| &gate.spec), &self.snapshot(), fits)
    }

    /// Upsert and remove entities. Decisions that begin later see the change.
    ///
    /// They are then what they would be with a bundle compiled from these entities. The next swap drops the change.
    ///
    /// # Errors
    /// [`ChangeError`]; the store is then unchanged.
    pub fn change(&self, upserts: &[EntityData], removals: &[(String, String)]) -> Result<(), ChangeError> {
        self.check_process()?;
        let changing = self.changing();
        let snapshot = self.snapshot();
        let changed = change(&snapshot, upserts, removals)?;
        let mut registry = self.registry();
        let changes = mark_changes(&registry.register, &snapshot.loaded, changed);
        let done = self.publish(&mut registry, snapshot.loaded.clone(), Some(changes));
        drop(registry);
        drop(changing);
        drop((done, snapshot));
        Ok(())
    }

    /// Publish a new snapshot. Return the snapshots that no reader holds, for the caller to drop after it unlocks the
    /// registry.
    fn publish(
        &self,
        registry: &mut Registry,
        loaded: Arc<LoadedBundle>,
        changes: Option<Arc<Changes>>,
    ) -> Vec<Arc<Snapshot>> {
        let version = self.version() + 1;
        let new = Arc::new(Snapshot { loaded, changes, version });
        let old = self.current.swap(new.clone());
        for gate in registry.gates.iter().flatten() {
            gate.mailbox.put(new.clone());
        }
        // This comes last: a gate that sees the new version finds this snapshot, or a newer one, in its mailbox.
        self.announce();
        registry.retired.push(old);
        registry.sweep()
    }

    /// Return how much memory the engine uses for decisions.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn memory(&self) -> Result<MemoryUse, Forked> {
        self.check_process()?;
        let (gates, pages, replaced) = {
            let mut registry = self.registry();
            // Snapshots that no reader holds are not in use, and need not wait for the next swap.
            let done = registry.sweep();
            drop(registry);
            drop(done);
            let registry = self.registry();
            let pages: usize = registry.live().map(|gate| gate.bytes).sum();
            let fixed: usize = registry.live().map(|gate| fixed_bytes(gate.spec.brings())).sum();
            let mut replaced: Vec<Arc<LoadedBundle>> = registry.retired.iter().map(|one| one.loaded.clone()).collect();
            replaced.sort_unstable_by_key(Arc::as_ptr);
            replaced.dedup_by(|a, b| Arc::ptr_eq(a, b));
            (pages + fixed, pages, replaced)
        };
        let snapshot = self.snapshot();
        let [bundle, handles] = &snapshot.loaded.resident;
        let all = [bundle, handles, self.sessions.resident()];
        let locked_gates = if self.options.residence.locked { pages } else { 0 };
        let uids = &snapshot.loaded.uids;
        let mut older: Vec<&Arc<Uids>> = replaced.iter().map(|loaded| &loaded.uids).collect();
        older.sort_unstable_by_key(|uids| Arc::as_ptr(uids));
        older.dedup_by(|a, b| Arc::ptr_eq(a, b));
        older.retain(|older| !Arc::ptr_eq(older, uids));
        let of_gates = snapshot.loaded.gate_tables();
        let (mut bytes, mut locked) = (0, of_gates.1);
        for loaded in replaced.iter().filter(|loaded| !Arc::ptr_eq(loaded, &snapshot.loaded)) {
            let (file, of_gates) = (&loaded.resident[0], loaded.gate_tables());
            bytes += file.size() + of_gates.0;
            locked += file.locked() + of_gates.1;
        }
        Ok(MemoryUse {
            bundle: bundle.size(),
            tables: handles.size() + self.sessions.line_bytes(),
            state: self.sessions.resident().size().saturating_sub(self.sessions.line_bytes()),
            gates: gates + of_gates.0,
            changes: snapshot.changes.as_ref().map_or(0, |changes| changes.bytes()),
            uids: uids.bytes() + older.iter().map(|older| older.bytes_beside(uids)).sum::<usize>(),
            replaced: bytes,
            locked: all.iter().map(|resident| resident.locked()).sum::<usize>() + locked_gates + locked,
            huge: ztfast_pages::in_huge_pages(all.into_iter()),
        })
    }
}

impl Engine {
    /// Return how full the register of uids is that processes share; `None` if the state is this engine's own.
    #[must_use]
    pub fn register_use(&self) -> Option<RegisterUse> {
        Some(self.sessions.state().uids()?.in_use())
    }
}

/// Bind a gate to the next bundle, as far as that fits it: one for whose table there is no memory is not stale.
fn fitting(loaded: &LoadedBundle, spec: Arc<GateSpec>) -> Result<(Option<Arc<Binding>>, Arc<GateSpec>), EngineError> {
    match loaded.bind_gate(&spec) {
        Ok(binding) => Ok((Some(binding), spec)),
        Err(PrepareError::Memory(refused)) => Err(EngineError::Memory(refused)),
        Err(_) => Ok((None, spec)),
    }
}

/// Give the bundle's entities their numbers in a shared register, so that these are the same in all processes. A part
/// of the register is left to principals that no bundle names. An entity whose uid is too long for the register gets
/// none, and is refused when it is to be given a handle.
fn register_entities(state: &State, bundle: &Bundle, options: &EngineOptions) {
    if state.role() != Role::Authority || !options.registers {
        return;
    }
    let Some(uids) = state.uids() else { return };
    for record in bundle.entities() {
        let ty = bundle.types().get(record.ty as usize).and_then(|ty| bundle.string(ty.name));
        let Some((ty, id)) = ty.zip(bundle.string(record.id)) else { continue };
        let RegisterUse { uids: (count, most), bytes: (bytes, room) } = uids.in_use();
        if count >= most / 4 * 3 || bytes >= room / 4 * 3 || uids.register(ty, id) == Err(NoPlace::Full) {
            return;
        }
    }
}

/// Mark the handle slots of all entities concerned, so that readers look them up in the changes.
fn mark_changes(register: &Register, loaded: &LoadedBundle, changed: Change) -> Arc<Changes> {
    let Change { mut changes, touched } = changed;
    for entity in touched {
        let Some((ty, id)) = changes.uid(&loaded.bundle, entity) else { continue };
        let places: Vec<Place> = register.places(ty, id, &loaded.uids).collect();
        for place in places {
            // From now on readers look in their changes, and find none until these are published.
            loaded.mark_changed(place);
            if entity as usize >= loaded.bundle.entities().len() {
                changes.handles.insert(place.0, entity);
            }
        }
    }
    Arc::new(changes)
}

/// Group the gates that do not fit by their specification.
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
            already: now.loaded.bind_spec(spec).is_err(),
        })
    });
    stale.collect()
}
