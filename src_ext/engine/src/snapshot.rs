//! A snapshot: one bundle, the data that the engine derives from it once, and the changes made since. Readers hold it;
//! the writer replaces it as a whole.

use crate::binding::{BindError, Binding, GateSpec, Name, Path, PrepareError, bind, bind_spec, paths, without};
use crate::changes::{Changes, Store, is_present};
use crate::classify::Classifier;
use crate::kills::SwitchKeys;
use crate::live_attributes::LivePath;
use crate::options::{EngineError, EngineOptions};
use crate::reverse::Reverse;
use crate::sets::SimdLevel;
use crate::specialise::gate_table;
use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zerocopy::FromZeros;
use ztfast_bundle::{Bundle, ClassPair, ValueType};
use ztfast_codes::Code;
use ztfast_live::{Key, OwnedUid, Place, Uids};
use ztfast_pages::{Clearable, Residence, Resident, ensure_available, prefetch, table};
use ztfast_vm::{ARENA_VALUES, EntityRef, Facts, Request, STACK_VALUES, Scratch, StoreView};

/// An entity's uid: type and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRef<'a> {
    /// Fully qualified type name.
    pub ty: &'a str,
    /// The id, unescaped.
    pub id: &'a str,
}

/// Cedar's own evaluator, for policies that the compiler leaves to it.
pub trait Fallback: Send + Sync {
    /// Decide the whole request. `None` is a failure, and denies.
    fn authorize(
        &self,
        snapshot: &Snapshot,
        action: u32,
        principal: UidRef<'_>,
        resource: UidRef<'_>,
        request: &Request<'_>,
        uid: &dyn Fn(EntityRef) -> Option<(String, String)>,
    ) -> Option<FallbackAnswer>;
}

/// The answer of Cedar's own evaluator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackAnswer {
    /// Whether the request is allowed.
    pub allow: bool,
    /// The numbers of the determining policies.
    pub reasons: Vec<u32>,
    /// Whether one of these erred, and denies for that.
    pub erred: bool,
    /// Whether a permit is satisfied, whatever forbids are. If the request is forbidden, this may be false where no
    /// forbid asks for a step-up.
    pub permitted: bool,
}

/// The meaning of a uid in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// An entity that the bundle names.
    Known(EntityRef),
    /// An entity that the bundle lacks, of the type whose stand-in has this number.
    Foreign(u32),
    /// The bundle lacks the type, or the type is enumerated and lacks the entity.
    Nothing,
}

/// Why a handle's entity, a set or an address cannot be an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityError {
    /// No call was begun, the attribute's type is enumerated and lacks the entity, or there is no such address.
    Missing,
    /// The attribute's entities have another type.
    WrongType,
    /// The call brings more than the gate can record.
    TooMany,
    /// The handle is not this engine's.
    ForeignHandle,
    /// The gate does not fit the newest bundle.
    StaleGate,
}

impl From<EntityError> for Code {
    fn from(why: EntityError) -> Self {
        match why {
            EntityError::Missing => Self::BadValue,
            EntityError::WrongType => Self::Corrupt,
            EntityError::StaleGate => Self::StaleGate,
            EntityError::TooMany => Self::TooLarge,
            EntityError::ForeignHandle => Self::UnknownHandle,
        }
    }
}

/// One side of a request: an entity and its classes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResolvedEntity {
    pub entity: EntityRef,
    pub classes: ClassPair,
}

/// A handle's entity in a bundle. [`CHANGED`] may be added to the first word; otherwise neither word changes once
/// written.
#[derive(FromZeros)]
#[repr(C, align(16))]
struct HandleSlot {
    /// [`RESOLVED`], [`CHANGED`] and the bits of the entity; 0 if the bundle knows no entity for the handle.
    entity: AtomicU64,
    /// The class of the entity as a principal; above it, the class as a resource.
    classes: AtomicU64,
}

impl Clearable for HandleSlot {}

const RESOLVED: u64 = 1 << 63;
/// A change may have replaced the entity: readers look in their changes.
const CHANGED: u64 = 1 << 62;

/// A value of the embedder's that travels with a bundle.
pub type Attached = Arc<dyn Any + Send + Sync>;

/// One bundle, and the data derived from it once. Snapshots of one bundle that differ in changes share it.
pub(crate) struct LoadedBundle {
    /// The pages of the bundle and of the slots. The field stands before both, so that it is dropped before them.
    pub resident: [Resident; 2],
    pub bundle: Arc<Bundle>,
    /// The bundle generation: the version of the first snapshot over this bundle.
    pub generation: u64,
    /// Numbers of types, by name.
    types: HashMap<Box<str>, u32>,
    /// Numbers of actions, by type and id, and by id alone.
    actions: HashMap<(Box<str>, Box<str>), u32>,
    actions_by_id: HashMap<Box<str>, Vec<u32>>,
    slots: Box<[HandleSlot]>,
    /// Whether another bundle has replaced this one. The slots may then be empty, and handles are looked up in the
    /// bundle.
    replaced: AtomicBool,
    pub simd: SimdLevel,
    /// The most cells of a gate's own table, and how its memory is held.
    gate_cells: usize,
    residence: Residence,
    /// The bindings, by gate number, of the gates that existed when the bundle came.
    bindings: OnceLock<Vec<Option<Arc<Binding>>>>,
    /// The gates' bindings, which gates of one specification share. They are kept here so that no gate frees one while
    /// it decides.
    bound: Mutex<HashMap<Arc<GateSpec>, Arc<Binding>>>,
    attached: Option<Attached>,
    pub key: Key,
    /// What decisions need to ask about kills and markets.
    pub switch_keys: SwitchKeys,
    pub uids: Arc<Uids>,
    pub fallback: Option<Box<dyn Fallback>>,
    /// The index for changes of entities. It is built beforehand, so that the first change takes no longer than the
    /// others.
    pub classifier: Classifier,
    /// `None` once another bundle has replaced this one.
    reverse: Mutex<Option<Arc<Reverse>>>,
}

/// One bundle, ready to decide, and the changes made since it was compiled.
// Its count of references, which each admission and each question changes, lies on cache lines of its own, so decisions
// keep these in their caches. Two lines, because processors fetch them in pairs.
#[repr(align(128))]
pub struct Snapshot {
    pub(crate) loaded: Arc<LoadedBundle>,
    pub(crate) changes: Option<Arc<Changes>>,
    pub(crate) version: u64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("bundle", &self.loaded.bundle)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl LoadedBundle {
    /// Check a bundle, bring it into memory as the options ask, and derive what deciding needs.
    pub fn new(
        bundle: Arc<Bundle>,
        options: &EngineOptions,
        key: Key,
        uids: Arc<Uids>,
        fallback: Option<Box<dyn Fallback>>,
        attached: Option<Attached>,
    ) -> Result<Self, EngineError> {
        let EngineOptions { handles, gate_cells, residence, simd, .. } = *options;
        let copied = residence.locked || residence.huge_pages;
        let bundle = if copied { Arc::new(bundle.copy(residence.huge_pages)?) } else { bundle };
        ensure_available("what is derived from a bundle", bundle.bytes().len() + (4 << 20))?;
        bundle.check()?;
        let switch_keys = SwitchKeys::of(&bundle);
        let file = Resident::read("bundle", bundle.bytes(), residence)?;
        let name = |number| bundle.string(number).unwrap_or_default().into();
        let types = (0_u32..).zip(bundle.types()).map(|(number, ty)| (name(ty.name), number)).collect();
        let metas = || (0_u32..).zip(&bundle.meta().actions);
        let actions = metas().map(|(n, action)| ((action.ty.as_str().into(), action.id.as_str().into()), n)).collect();
        let mut actions_by_id: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (number, action) in metas() {
            actions_by_id.entry(action.id.as_str().into()).or_default().push(number);
        }
        let (slots, table) = table("table of handles", uids.shared().saturating_add(handles), residence)?;
        Ok(Self {
            resident: [file, table],
            classifier: Classifier::new(&bundle),
            reverse: Mutex::new(Some(Arc::new(Reverse::new(&bundle)))),
            bundle,
            generation: 1,
            types,
            actions,
            actions_by_id,
            slots,
            replaced: AtomicBool::new(false),
            simd,
            gate_cells,
            residence,
            bindings: OnceLock::new(),
            bound: Mutex::default(),
            attached,
            key,
            switch_keys,
            uids,
            fallback,
        })
    }

    /// Return the class of the principal's place and that of the resource's, if the bundle knows both entities and no
    /// change concerns them.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in registers
    pub fn resolved_pair(&self, principal: Place, resource: Place) -> Option<ClassPair> {
        // One reference: the loads below would have the compiler read the pointer again.
        let slots = &*self.slots;
        let classes_of = |place: Place| {
            let slot = slots.get(place.0)?;
            // The order matters: if the table is cleared meanwhile and the classes are gone, so is the entity.
            let classes = slot.classes.load(Ordering::Acquire);
            let entity = slot.entity.load(Ordering::Acquire);
            (entity & (RESOLVED | CHANGED) == RESOLVED).then_some(unpack_classes(classes))
        };
        let (principal, resource) = (classes_of(principal)?, classes_of(resource)?);
        Some(ClassPair { principal: principal.principal, resource: resource.resource })
    }

    /// Return the number of a place's entity, if the bundle knows it and no change concerns it.
    #[inline]
    pub fn resolved_entity(&self, place: Place) -> Option<u32> {
        let entity = self.slots.get(place.0)?.entity.load(Ordering::Acquire);
        let found = EntityRef::from_bits(entity & !(RESOLVED | CHANGED));
        (entity & (RESOLVED | CHANGED) == RESOLVED && found.foreign == 0).then_some(found.index)
    }

    /// Prefetch the slot of a place.
    #[inline]
    pub fn prefetch(&self, place: Place) {
        prefetch(&self.slots, place.0);
    }

    /// Fill the slots of these places.
    pub fn resolve_handles(&self, places: Range<usize>) {
        for place in places {
            self.resolve_handle(Place(place), None);
        }
    }

    /// Return how many values the bundle's programs need on the stack and in the arena.
    pub fn scratch_size(&self) -> (usize, usize) {
        let (stack, cells) = self.bundle.meta().stats.scratch;
        let bounded = |wanted: u64, most: usize| usize::try_from(wanted).unwrap_or(most).min(most);
        (bounded(stack, STACK_VALUES), bounded(cells, ARENA_VALUES))
    }

    /// Set the bindings of the gates that exist now.
    pub fn bind_gates(&self, bindings: Vec<Option<Arc<Binding>>>) {
        let _ = self.bindings.set(bindings);
    }

    /// Return the binding of a gate that existed when the bundle came.
    pub fn binding(&self, gate: usize) -> Option<Arc<Binding>> {
        self.bindings.get()?.get(gate).and_then(Clone::clone)
    }

    /// Return the reverse lists, and build them if they are missing.
    pub fn reverse(&self) -> Arc<Reverse> {
        let mut reverse = self.reverse.lock().unwrap_or_else(PoisonError::into_inner);
        reverse.get_or_insert_with(|| Arc::new(Reverse::new(&self.bundle))).clone()
    }

    /// Mark this bundle as replaced, and free the memory that only fast decisions and changes need. An idle gate may
    /// hold the bundle for long.
    pub fn retire(&self) {
        self.replaced.store(true, Ordering::SeqCst);
        self.reverse.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.resident[1].discard(&self.slots);
    }

    /// Return whether another bundle has replaced this one.
    #[cold]
    pub fn is_replaced(&self) -> bool {
        fence(Ordering::SeqCst);
        self.replaced.load(Ordering::SeqCst)
    }

    /// Return the number of a type.
    pub fn type_number(&self, ty: &str) -> Option<u32> {
        self.types.get(ty).copied()
    }

    /// Resolve a uid in this bundle and its changes.
    pub fn resolve(&self, ty: &str, id: &str, changes: Option<&Changes>) -> Resolved {
        let Some(&number) = self.types.get(ty) else { return Resolved::Nothing };
        if let Some(entity) = self.bundle.find_entity(number, id) {
            return Resolved::Known(entity);
        }
        if let Some(&entity) = changes.and_then(|changes| changes.numbers.get(&number)?.get(id)) {
            return Resolved::Known(EntityRef::known(entity));
        }
        match self.bundle.types().get(number as usize) {
            Some(record) if record.absent != u32::MAX && record.enumerated == 0 => Resolved::Foreign(record.absent),
            _ => Resolved::Nothing,
        }
    }

    /// Find the entity of a place in this bundle and its changes.
    fn find(&self, place: Place, changes: Option<&Changes>) -> Option<EntityRef> {
        let (ty, id) = self.uids.get(place)?;
        match self.resolve(ty, id, changes) {
            Resolved::Known(entity) => Some(entity),
            // The place tells foreign entities apart; 0 marks known ones.
            Resolved::Foreign(index) => {
                let Place(place) = self.uids.numbered(place);
                Some(EntityRef { index, foreign: u32::try_from(place).unwrap_or(u32::MAX - 1) + 1 })
            }
            Resolved::Nothing => None,
        }
    }

    /// Fill the slot of a place from this bundle and its changes.
    pub fn resolve_handle(&self, place: Place, changes: Option<&Changes>) {
        let Some(entity) = self.find(place, changes) else { return };
        // It gets another number when its uid is registered.
        if self.is_provisional(entity) {
            return;
        }
        let changed = changes.is_some_and(|changes| changes.entities.contains_key(&entity.index));
        let classes = self.bundle.classes().get(entity.index as usize).copied().unwrap_or_default();
        if let Some(slot) = self.slots.get(place.0) {
            let words = u64::from(classes.principal) | u64::from(classes.resource) << 32;
            slot.classes.store(words, Ordering::Relaxed);
            let flags = RESOLVED | if changed { CHANGED } else { 0 };
            slot.entity.store(entity.bits() | flags, Ordering::Release);
        }
    }

    /// Return whether an entity has a number that only this process gave it, until its uid is registered.
    #[inline]
    pub fn is_provisional(&self, entity: EntityRef) -> bool {
        entity.foreign != 0 && self.uids.is_provisional(Place(entity.foreign as usize - 1))
    }

    /// Return whether an entity has another number by now, because its uid was registered.
    #[cold]
    pub fn is_renumbered(&self, entity: EntityRef) -> bool {
        let place = || Place(entity.foreign as usize - 1);
        self.is_provisional(entity) && self.uids.numbered(place()) != place()
    }

    /// Make readers look in their changes for this place. Snapshots without such a change use the bundle, as before.
    pub fn mark_changed(&self, place: Place) {
        if let Some(slot) = self.slots.get(place.0) {
            slot.entity.fetch_or(CHANGED, Ordering::Release);
        }
    }
}

impl Snapshot {
    /// Return the bundle.
    #[must_use]
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.loaded.bundle
    }

    /// Return the bundle generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.loaded.generation
    }

    /// Resolve a uid in this bundle and its changes.
    #[must_use]
    pub fn resolve(&self, ty: &str, id: &str) -> Resolved {
        self.loaded.resolve(ty, id, self.changes.as_deref())
    }

    /// Find the entity of a uid that the bundle or a change names.
    #[must_use]
    pub fn find(&self, ty: &str, id: &str) -> Option<EntityRef> {
        match self.resolve(ty, id) {
            Resolved::Known(entity) => Some(entity),
            Resolved::Foreign(_) | Resolved::Nothing => None,
        }
    }

    /// Return the entity of a place, and its classes.
    #[inline]
    pub(crate) fn resolve_place(&self, place: Place) -> Option<ResolvedEntity> {
        let slot = self.loaded.slots.get(place.0)?;
        // The order matters, as in `LoadedBundle::resolved_pair`.
        let classes = slot.classes.load(Ordering::Acquire);
        let bits = slot.entity.load(Ordering::Acquire);
        if bits & RESOLVED == 0 {
            return self.resolve_empty_slot(place);
        }
        let resolved = ResolvedEntity {
            entity: EntityRef::from_bits(bits & !(RESOLVED | CHANGED)),
            classes: unpack_classes(classes),
        };
        if bits & CHANGED == 0 { Some(resolved) } else { Some(self.changed_entity(place, resolved)) }
    }

    /// Resolve a place whose slot is empty: its entity is unknown, or the table was cleared after a swap.
    #[cold]
    fn resolve_empty_slot(&self, place: Place) -> Option<ResolvedEntity> {
        // Another process may have given the place to a uid that this one has not met; and what only this one has named
        // may be registered meanwhile.
        let is_shared = self.loaded.uids.shared() > 0;
        if !is_shared && !self.loaded.is_replaced() {
            return None;
        }
        let entity = self.loaded.find(place, self.changes.as_deref())?;
        Some(ResolvedEntity { entity, classes: self.classes(entity) })
    }

    #[cold]
    fn changed_entity(&self, place: Place, resolved: ResolvedEntity) -> ResolvedEntity {
        let Some(changes) = &self.changes else { return resolved };
        let index = changes.handles.get(&place.0).copied().unwrap_or(resolved.entity.index);
        match changes.entities.get(&index) {
            Some(changed) => ResolvedEntity { entity: EntityRef::known(index), classes: changed.classes },
            None => resolved,
        }
    }

    /// Return the entity of a place.
    #[inline]
    pub(crate) fn entity(&self, place: Place) -> Option<EntityRef> {
        self.resolve_place(place).map(|resolved| resolved.entity)
    }

    /// Resolve both sides of a request, or return the code of the denial.
    #[inline]
    pub(crate) fn resolve_both(
        &self,
        principal: Place,
        resource: Place,
    ) -> Result<(ResolvedEntity, ResolvedEntity), Code> {
        let resolve = |place| self.resolve_place(place).ok_or_else(|| self.denial_without_entity(place));
        Ok((resolve(principal)?, resolve(resource)?))
    }

    /// Return the code of the denial for a place without an entity.
    #[cold]
    pub(crate) fn denial_without_entity(&self, place: Place) -> Code {
        if self.loaded.uids.get(place).is_some() { Code::NotApplicable } else { Code::UnknownHandle }
    }

    /// Return the entity of a place if it has the given type, of which the caller passes the number and the name.
    pub(crate) fn entity_of(&self, place: Place, number: u32, ty: &ValueType) -> Result<EntityRef, EntityError> {
        let ValueType::Entity(name) = ty else { return Err(EntityError::WrongType) };
        let Some(entity) = self.entity(place) else {
            let Some((ty, _)) = self.loaded.uids.get(place) else { return Err(EntityError::ForeignHandle) };
            // If the names are equal, the type is enumerated and lacks the entity; otherwise the bundle lacks the type.
            return Err(if ty == name { EntityError::Missing } else { EntityError::WrongType });
        };
        if self.type_of(entity) == Some(number) { Ok(entity) } else { Err(EntityError::WrongType) }
    }

    /// Return the number of an entity's type.
    pub(crate) fn type_of(&self, entity: EntityRef) -> Option<u32> {
        match self.loaded.bundle.entities().get(entity.index as usize) {
            Some(record) => Some(record.ty),
            None => Some(self.changes.as_ref()?.entities.get(&entity.index)?.ty),
        }
    }

    /// Return how many entities have numbers: those that the bundle or a change names.
    pub(crate) fn numbered(&self) -> u32 {
        let named = u32::try_from(self.loaded.bundle.entities().len()).unwrap_or(u32::MAX);
        named.saturating_add(self.changes.as_ref().map_or(0, |changes| changes.added))
    }

    /// Return the classes of an entity.
    pub(crate) fn classes(&self, entity: EntityRef) -> ClassPair {
        if let Some(changed) = self.changes.as_ref().and_then(|changes| changes.entities.get(&entity.index)) {
            return changed.classes;
        }
        self.loaded.bundle.classes().get(entity.index as usize).copied().unwrap_or_default()
    }

    /// Allocate working memory for this bundle's programs.
    pub(crate) fn scratch(&self) -> Scratch {
        let (stack, cells) = self.loaded.scratch_size();
        Scratch::new(stack, cells)
    }

    /// Return the value that was attached to the bundle.
    #[must_use]
    pub fn attached(&self) -> Option<&Attached> {
        self.loaded.attached.as_ref()
    }

    /// Return the number of a text that the bundle or a change holds, as string values have it.
    #[inline]
    pub(crate) fn string(&self, text: &str) -> Option<u64> {
        match self.loaded.bundle.find_string(text) {
            Some(number) => Some(u64::from(number)),
            None => self.changes.as_ref()?.string(text),
        }
    }

    /// Run `job` over the store as programs read it.
    pub(crate) fn with_store<T>(&self, job: impl FnOnce(&StoreView<'_>) -> T) -> T {
        match &self.changes {
            None => job(self.loaded.bundle.store()),
            Some(changes) => job(&Store { bundle: &self.loaded.bundle, changes }.view()),
        }
    }

    /// Run `job` over an entity's data; `None` if the store does not hold the entity.
    pub fn with_entity<T>(
        &self,
        entity: EntityRef,
        job: impl FnOnce(&StoreView<'_>, &Facts<'_>) -> Option<T>,
    ) -> Option<T> {
        if entity.foreign != 0 || !is_present(&self.loaded.bundle, self.changes.as_deref(), entity.index) {
            return None;
        }
        self.with_store(|view| job(view, &view.facts(entity)?))
    }

    /// Return the text with this number, as string values have it.
    #[must_use]
    pub fn text(&self, number: u64) -> Option<&str> {
        let low = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        if number & ztfast_vm::ADDED_STRING != 0 {
            return self.changes.as_ref()?.texts.get(low as usize).map(|text| &**text);
        }
        self.loaded.bundle.string(low)
    }

    /// Return the uid of an entity, which the bundle, a change or a handle names.
    #[must_use]
    pub fn uid(&self, entity: EntityRef) -> Option<UidRef<'_>> {
        if entity.foreign != 0 {
            let (ty, id) = self.loaded.uids.get(Place(entity.foreign as usize - 1))?;
            return Some(UidRef { ty, id });
        }
        let bundle = &self.loaded.bundle;
        let (ty, id) = match bundle.entities().get(entity.index as usize) {
            Some(record) => (record.ty, u64::from(record.id)),
            None => self.changes.as_ref()?.entities.get(&entity.index).map(|changed| (changed.ty, changed.id))?,
        };
        Some(UidRef { ty: bundle.string(bundle.types().get(ty as usize)?.name)?, id: self.text(id)? })
    }

    /// Find the numbers of the actions with this id, or with this type and id.
    #[must_use]
    pub fn find_actions(&self, ty: Option<&str>, id: &str) -> Vec<u32> {
        match ty {
            Some(ty) => self.loaded.actions.get(&(ty.into(), id.into())).copied().into_iter().collect(),
            None => self.loaded.actions_by_id.get(id).cloned().unwrap_or_default(),
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
const fn unpack_classes(words: u64) -> ClassPair {
    ClassPair { principal: words as u32, resource: (words >> 32) as u32 }
}

impl LoadedBundle {
    /// Return the number of an action.
    fn action(&self, ty: &str, id: &str) -> Option<u32> {
        self.actions.get(&(ty.into(), id.into())).copied()
    }

    /// Bind arguments given by name. Return their paths and the binding.
    pub fn bind_named(&self, ty: &str, id: &str, names: &[Name<'_>]) -> Result<(Box<[Path]>, Binding), PrepareError> {
        let wrong = |error| PrepareError::of(error, ty, id);
        let paths = paths(&self.bundle, self.action(ty, id), names).map_err(wrong)?;
        let binding = bind(&self.bundle, self.action(ty, id), &paths).map_err(wrong)?;
        Ok((paths, binding))
    }

    /// Bind the arguments of a gate and build its table, unless a gate of the same specification has them already.
    pub fn bind_gate(&self, spec: &Arc<GateSpec>) -> Result<Arc<Binding>, PrepareError> {
        let bound = || self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bound().get(spec) {
            return Ok(known.clone());
        }
        // This takes long, so the lock is not held meanwhile.
        let mut binding = self.bind_spec(spec)?;
        binding.table = gate_table(&self.bundle, &binding, self.gate_cells);
        binding.live_path = LivePath::of(!binding.table.is_empty(), binding.callers, &binding.live);
        if binding.step_up {
            binding.table.leave_forbids_to_the_walk();
        }
        binding.resident = binding.table.hold(self.residence)?;
        let mut bound = bound();
        if bound.len() == bound.capacity() {
            // Drop the bindings of gates that are gone. Only this map holds them: no gate frees one while it decides.
            bound.retain(|_, binding| Arc::strong_count(binding) > 1);
        }
        Ok(bound.entry(spec.clone()).or_insert_with(|| Arc::new(binding)).clone())
    }

    /// Return how many bytes the tables of all gates have, and how many of these are locked. A table that gates share
    /// counts once.
    pub fn gate_tables(&self) -> (usize, usize) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        // The tables of gates that are gone are not in use, and need not wait for the next gate.
        bound.retain(|_, binding| Arc::strong_count(binding) > 1);
        let tables = bound.values().flat_map(|binding| &binding.resident);
        tables.fold((0, 0), |(bytes, locked), one| (bytes + one.size(), locked + one.locked()))
    }

    /// Bind the arguments of a gate, without a table.
    pub fn bind_spec(&self, spec: &GateSpec) -> Result<Binding, PrepareError> {
        bind_spec(&self.bundle, self.action(&spec.ty, &spec.id), spec)
    }

    /// Bind the arguments whose bits in `absent` are 0, in the same order.
    pub fn bind_without(&self, binding: &Binding, absent: u64) -> Result<Binding, BindError> {
        let own = binding.paths.get(..binding.callers).unwrap_or_default();
        bind(&self.bundle, Some(binding.action), &without(own, absent))
    }
}

/// Return the uid of an entity in a request that has foreign entities of its own.
pub(crate) fn owned_uid(
    snapshot: &Snapshot,
    entity: EntityRef,
    foreign: impl Fn(u32) -> Option<OwnedUid>,
) -> Option<(String, String)> {
    if let Some((ty, id)) = foreign(entity.foreign).filter(|_| entity.foreign != 0) {
        return Some((ty.into(), id.into()));
    }
    snapshot.uid(entity).map(|uid| (uid.ty.to_owned(), uid.id.to_owned()))
}
