//! The engine: what swaps bundles and changes entities, on top of what it shares with its readers.

use crate::binding::{GateSpec, Name, PrepareError, bind_spec};
use crate::changes::Changes;
use crate::gate::{Gate, fixed_bytes};
use crate::kills::Kills;
use crate::options::{EngineError, EngineOptions, MemoryUse};
use crate::registry::Registry;
use crate::shared::Shared;
use crate::snapshot::{Attached, Base, Fallback, Snapshot};
use crate::upsert::{Change, ChangeError, EntityData, change};
use crate::working::WorkingMemory;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_bundle::Bundle;
use ztfast_live::{Key, Register, Sessions, Uids};
use ztfast_pages::{Forked, MemoryError};

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

/// A policy decision point.
///
/// Asking it (sessions, handles, policy alone) is asking what it [shares](Shared) with its gates.
pub struct Engine {
    shared: Arc<Shared>,
    /// Locked by whoever swaps or changes entities, as long as that takes.
    changing: Mutex<()>,
}

impl Deref for Engine {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
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
        let _ = ztfast_pages::now_ns();
        let process = ztfast_pages::enter().map_err(EngineError::Process)?;
        let kills = Kills::default();
        let base = Base::new(bundle, &options, Key::random()?, &kills, Arc::new(Uids::new()), fallback, attached)?;
        let snapshot = Snapshot { base: Arc::new(base), changes: None, version: 1 };
        let sessions = Sessions::new(options.sessions, options.residence)?;
        let shared = Arc::new(Shared::new(sessions, snapshot, kills, process, options));
        shared.sessions.watch();
        Ok(Arc::new(Self { shared, changing: Mutex::default() }))
    }

    /// Prepare decisions about an action, whose context attributes come in the order of `names`: their paths, joined by
    /// points.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self, ty: &str, id: &str, names: &[&str]) -> Result<Gate, PrepareError> {
        let names: Vec<Name<'_>> = names.iter().copied().map(Name::Text).collect();
        self.shared.prepare(ty, id, &names)
    }

    /// The same, where names may be paths part by part.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_named(&self, ty: &str, id: &str, names: &[Name<'_>]) -> Result<Gate, PrepareError> {
        self.shared.prepare(ty, id, names)
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
        let released = self.registry().release(&self.sessions, &uids);
        let resolved = uids.count();
        base.uids = if released.is_empty() { uids.clone() } else { Arc::new(uids.next()) };
        if !released.is_empty() {
            base.uids.take_over(&uids, 0..resolved, &released);
        }
        base.resolve_handles(0..resolved);
        let scratch = base.scratch_size();
        let mut bindings = Vec::new();
        let mut memories = Vec::new();
        let specs: Vec<_> = {
            let mut registry = self.registry();
            registry.forget();
            registry.gates.iter().map(|gate| gate.as_ref().map(|gate| (gate.spec.clone(), gate.scratch))).collect()
        };
        for spec in specs {
            let (spec, had) = spec.unzip();
            bindings.push(spec.map(|spec| (base.bind_spec(&spec).ok().map(Arc::new), spec)));
            memories.push(
                had.map(|had| self.more_memory(had, scratch)).transpose().map_err(EngineError::Memory)?.flatten(),
            );
        }
        let base = Arc::new(base);
        let mut changed = None;
        if !upserts.is_empty() || !removals.is_empty() {
            let plain = Snapshot { base: base.clone(), changes: None, version: 0 };
            changed = Some(change(&plain, upserts, removals)?);
        }
        let mut registry = self.registry();
        let count = uids.count();
        if !released.is_empty() {
            base.uids.take_over(&uids, resolved..count, &released);
        }
        base.resolve_handles(resolved..count);
        for &place in registry.register.taken() {
            base.uids.take_late(&uids, place);
            base.resolve_handle(place, None);
        }
        bindings.resize_with(registry.gates.len(), || None);
        memories.resize_with(registry.gates.len(), || None);
        for (at, gate) in registry.gates.iter().enumerate() {
            let Some(gate) = gate else {
                bindings[at] = None;
                continue;
            };
            // A gate that came meanwhile, maybe by the number of another.
            if bindings[at].as_ref().is_none_or(|(_, spec)| !Arc::ptr_eq(spec, &gate.spec)) {
                bindings[at] = Some((base.bind_spec(&gate.spec).ok().map(Arc::new), gate.spec.clone()));
            }
            if memories[at].is_none() {
                memories[at] = self.more_memory(gate.scratch, scratch).map_err(EngineError::Memory)?;
            }
        }
        if !allow_stale {
            let stale = self.stale(&registry, |spec| base.bind_spec(spec).err());
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
        base.bind_gates(bindings.into_iter().map(|bound| bound?.0).collect());
        let changes = changed.map(|changed| note_changes(&registry.register, &base, changed));
        let old = self.snapshot().base.clone();
        if !released.is_empty() {
            // Before any place is another's: whoever decides over an older generation from now on looks twice.
            base.uids.begin();
            registry.register.reuse();
        }
        let done = self.publish(&mut registry, base, changes);
        drop(registry);
        // Last, when nobody waits: it may be much.
        drop(done);
        if Arc::strong_count(&old) > 1 {
            old.give_up();
        }
        drop(changing);
        Ok(())
    }

    /// More working memory for a gate that has so much, where a bundle needs more.
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
        let specs: Vec<Arc<GateSpec>> = self.registry().live().map(|gate| gate.spec.clone()).collect();
        let now = self.snapshot();
        let fits = |spec: &GateSpec| bind_spec(bundle, number(&spec.ty, &spec.id), spec).err();
        Ok(gather(specs.iter(), &now, fits))
    }

    fn stale(&self, registry: &Registry, fits: impl Fn(&GateSpec) -> Option<PrepareError>) -> Vec<StaleGates> {
        gather(registry.live().map(|gate| &gate.spec), &self.snapshot(), fits)
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
        let mut registry = self.registry();
        let changes = note_changes(&registry.register, &snapshot.base, changed);
        let done = self.publish(&mut registry, snapshot.base.clone(), Some(changes));
        drop(registry);
        drop(changing);
        drop((done, snapshot));
        Ok(())
    }

    /// Let decisions go by this from now on. What nobody decides by any more, to be dropped when nobody waits.
    fn publish(&self, registry: &mut Registry, base: Arc<Base>, changes: Option<Arc<Changes>>) -> Vec<Arc<Snapshot>> {
        let version = self.version() + 1;
        let new = Arc::new(Snapshot { base, changes, version });
        let old = self.current.swap(new.clone());
        for gate in registry.gates.iter().flatten() {
            gate.mailbox.put(new.clone());
        }
        // Last: a gate that sees the new version finds this snapshot, or a newer one, in its mailbox.
        self.announce();
        registry.retired.push(old);
        registry.sweep()
    }

    /// What is kept in memory for decisions.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn memory(&self) -> Result<MemoryUse, Forked> {
        self.own()?;
        let (gates, pages, replaced) = {
            let mut registry = self.registry();
            // What nobody holds any more is not in use, and need not wait for the next swap.
            let done = registry.sweep();
            drop(registry);
            drop(done);
            let registry = self.registry();
            let pages: usize = registry.live().map(|gate| gate.bytes).sum();
            let fixed: usize = registry.live().map(|gate| fixed_bytes(gate.spec.looks_up())).sum();
            let mut replaced: Vec<Arc<Base>> = registry.retired.iter().map(|one| one.base.clone()).collect();
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
            huge: ztfast_pages::in_huge_pages(all.into_iter()),
        })
    }
}

/// Let those who hold the handles of everybody concerned look at the changes.
fn note_changes(register: &Register, base: &Base, changed: Change) -> Arc<Changes> {
    let Change { mut changes, touched } = changed;
    for entity in touched {
        let place = changes.uid(&base.bundle, entity).and_then(|(ty, id)| register.find(ty, id));
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
