//! A snapshot: one bundle, and what the engine derives from it once. Readers hold it; it is replaced whole.

use crate::handles::{Handle, OwnedUid, Uids, uid};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use zerocopy::FromZeros;
use ztfast_bundle::{ActionRec, Bundle, Field, Node, ValueType};
use ztfast_program::{EntityRef, Request};

/// An entity's uid: type and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRef<'a> {
    /// Fully qualified type name.
    pub ty: &'a str,
    /// The id, unescaped.
    pub id: &'a str,
}

/// Cedar's own evaluator, for policies that the compiler leaves to it.
pub trait Reference: Send + Sync {
    /// Decide the whole request. `None` is a failure, and denies.
    fn authorize(
        &self,
        action: u32,
        principal: UidRef<'_>,
        resource: UidRef<'_>,
        request: &Request<'_>,
        uid: &dyn Fn(EntityRef) -> Option<(String, String)>,
    ) -> Option<ReferenceAnswer>;
}

/// What Cedar's own evaluator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceAnswer {
    /// ALLOW.
    pub allow: bool,
    /// Numbers of the determining policies.
    pub reasons: Vec<u32>,
}

/// What a uid is in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// An entity that the bundle names.
    Known(EntityRef),
    /// An entity of this stand-in's type that the bundle lacks.
    Foreign(u32),
    /// The bundle has no such type, or the type has no entities but those listed.
    Nothing,
}

/// How a gate's arguments map to an action's context.
#[derive(Debug)]
pub(crate) struct Binding {
    pub action: ActionRec,
    /// For each context slot the argument's place, or `u16::MAX`.
    pub positions: Box<[u16]>,
    pub kinds: Box<[u32]>,
    /// The arguments' types.
    pub types: Box<[ValueType]>,
    /// Whether all of them can be given as numbers.
    pub numbers: bool,
}

/// One bundle, ready to decide.
pub struct Snapshot {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) epoch: u64,
    /// Types by name.
    types: HashMap<Box<str>, u32>,
    /// Actions by type and id, and by id alone.
    actions: HashMap<(Box<str>, Box<str>), u32>,
    actions_by_id: HashMap<Box<str>, Vec<u32>>,
    /// For each handle [`RESOLVED`] and the bits of its entity; 0 where it is nothing here.
    resolved: Box<[AtomicU64]>,
    /// Per gate, by its number.
    pub(crate) bindings: Vec<Option<Arc<Binding>>>,
    /// Bindings made after publication: kept here so that no gate frees one while it decides.
    pub(crate) late: Mutex<Vec<Arc<Binding>>>,
    pub(crate) uids: Arc<Uids>,
    pub(crate) reference: Option<Box<dyn Reference>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("bundle", &self.bundle).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

const RESOLVED: u64 = 1 << 63;

impl Snapshot {
    pub(crate) fn new(
        bundle: Arc<Bundle>,
        epoch: u64,
        capacity: usize,
        uids: Arc<Uids>,
        reference: Option<Box<dyn Reference>>,
    ) -> Self {
        let name = |number| bundle.string(number).unwrap_or_default().into();
        let types = (0_u32..).zip(bundle.types()).map(|(number, ty)| (name(ty.name), number)).collect();
        let metas = || (0_u32..).zip(&bundle.meta().actions);
        let actions = metas().map(|(n, action)| ((action.ty.as_str().into(), action.id.as_str().into()), n)).collect();
        let mut actions_by_id: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (number, action) in metas() {
            actions_by_id.entry(action.id.as_str().into()).or_default().push(number);
        }
        // Zeroed memory comes from the system page by page, so unused handles cost nothing.
        let resolved = <[AtomicU64]>::new_box_zeroed_with_elems(capacity).unwrap_or_default();
        let snapshot = Self {
            bundle,
            epoch,
            types,
            actions,
            actions_by_id,
            resolved,
            bindings: Vec::new(),
            late: Mutex::default(),
            uids,
            reference,
        };
        for number in 0..u32::try_from(snapshot.uids.count()).unwrap_or(u32::MAX) {
            snapshot.resolve_handle(Handle(number));
        }
        snapshot
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// What a uid is in this bundle.
    #[must_use]
    pub fn resolve(&self, ty: &str, id: &str) -> Resolved {
        let Some(&number) = self.types.get(ty) else { return Resolved::Nothing };
        if let Some(entity) = self.bundle.find_entity(number, id) {
            return Resolved::Known(entity);
        }
        match self.bundle.types().get(number as usize) {
            Some(record) if record.absent != u32::MAX && record.enumerated == 0 => Resolved::Foreign(record.absent),
            _ => Resolved::Nothing,
        }
    }

    /// Note what a handle is in this bundle.
    pub(crate) fn resolve_handle(&self, handle: Handle) {
        let Some((ty, id)) = uid(&self.uids, handle) else { return };
        let entity = match self.resolve(ty, id) {
            Resolved::Known(entity) => entity,
            // The handle's number tells foreign entities apart; 0 is for known ones.
            Resolved::Foreign(index) => EntityRef { index, foreign: handle.0 + 1 },
            Resolved::Nothing => return,
        };
        if let Some(slot) = self.resolved.get(handle.0 as usize) {
            slot.store(entity.bits() | RESOLVED, Ordering::Release);
        }
    }

    /// The entity of a handle.
    #[inline]
    pub(crate) fn entity(&self, handle: Handle) -> Option<EntityRef> {
        let bits = self.resolved.get(handle.0 as usize)?.load(Ordering::Acquire);
        (bits & RESOLVED != 0).then(|| EntityRef::from_bits(bits & !RESOLVED))
    }

    /// The uid of an entity: the bundle's, or a handle's.
    #[must_use]
    pub fn uid(&self, entity: EntityRef) -> Option<UidRef<'_>> {
        if entity.foreign != 0 {
            let (ty, id) = uid(&self.uids, Handle(entity.foreign - 1))?;
            return Some(UidRef { ty, id });
        }
        let record = self.bundle.entities().get(entity.index as usize)?;
        let ty = self.bundle.string(self.bundle.types().get(record.ty as usize)?.name)?;
        Some(UidRef { ty, id: self.bundle.string(record.id)? })
    }

    /// The numbers of the actions with this id, or with this type and id.
    #[must_use]
    pub fn find_actions(&self, ty: Option<&str>, id: &str) -> Vec<u32> {
        match ty {
            Some(ty) => self.actions.get(&(ty.into(), id.into())).copied().into_iter().collect(),
            None => self.actions_by_id.get(id).cloned().unwrap_or_default(),
        }
    }

    /// Bind arguments, named by their paths (`order.qty`), to an action's context.
    pub(crate) fn bind(&self, ty: &str, id: &str, names: &[Box<str>]) -> Result<Binding, BindError> {
        let number = *self.actions.get(&(ty.into(), id.into())).ok_or(BindError::UnknownAction)?;
        let meta = self.bundle.meta().actions.get(number as usize).ok_or(BindError::UnknownAction)?;
        let action = *self.bundle.actions().get(number as usize).ok_or(BindError::UnknownAction)?;
        let start = action.slots_start as usize;
        let kinds = self.bundle.slot_kinds().get(start..start + action.slots_len as usize);
        let kinds: Box<[u32]> = kinds.ok_or(BindError::UnknownAction)?.into();
        let mut binder = Binder {
            names,
            types: vec![None; names.len()],
            positions: vec![u16::MAX; kinds.len()].into(),
            missing: Vec::new(),
            known: Vec::new(),
        };
        binder.fields("", &meta.context, true);
        if let Some(at) = binder.types.iter().position(Option::is_none) {
            return Err(BindError::UnknownAttribute { name: names[at].to_string(), known: binder.known });
        }
        if !binder.missing.is_empty() {
            return Err(BindError::Missing { names: binder.missing });
        }
        let types: Box<[ValueType]> = binder.types.into_iter().flatten().collect();
        let other = |ty: &ValueType| matches!(ty, ValueType::Ip | ValueType::Set(_) | ValueType::Record(_));
        let numbers = !types.iter().any(other);
        Ok(Binding { action, positions: binder.positions, kinds, types, numbers })
    }
}

/// Why arguments do not fit an action's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BindError {
    UnknownAction,
    UnknownAttribute { name: String, known: Vec<String> },
    Missing { names: Vec<String> },
}

struct Binder<'a> {
    names: &'a [Box<str>],
    types: Vec<Option<ValueType>>,
    positions: Box<[u16]>,
    missing: Vec<String>,
    known: Vec<String>,
}

impl Binder<'_> {
    /// Bind the fields of a record; some argument's place, if it has any.
    fn fields(&mut self, prefix: &str, fields: &[Field], required: bool) -> Option<u16> {
        let mut given = None;
        for field in fields {
            let path = format!("{prefix}{}", field.name);
            let needed = required && field.required;
            match &field.node {
                Node::Leaf { slot, ty } => {
                    self.known.push(path.clone());
                    let place = self.names.iter().position(|name| **name == path);
                    let Some(place) = place.and_then(|place| u16::try_from(place).ok()) else {
                        if needed {
                            self.missing.push(path);
                        }
                        continue;
                    };
                    self.types[place as usize] = Some(ty.clone());
                    if let Some(position) = self.positions.get_mut(*slot as usize) {
                        *position = place;
                    }
                    given = Some(place);
                }
                Node::Record { presence, fields } => {
                    let prefix = format!("{path}.");
                    // An optional record is there iff one of its attributes is given; then it must be whole.
                    let there = needed || self.names.iter().any(|name| name.starts_with(&prefix));
                    let inner = self.fields(&prefix, fields, there);
                    if let (Some(slot), Some(place)) = (presence, inner)
                        && let Some(position) = self.positions.get_mut(*slot as usize)
                    {
                        *position = place;
                    }
                    given = inner.or(given);
                }
            }
        }
        given
    }
}

/// The uid of an entity in a request that has foreign uids of its own.
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
