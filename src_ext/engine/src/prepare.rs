//! Prepares gates: the binding, the mailbox and the working memory of each, and its record in the registry.

use crate::binding::{Arguments, GateSpec, Name, PrepareError, without};
use crate::gate::Gate;
use crate::mailbox::Mailbox;
use crate::memo::{MOST_PLACES, Memo};
use crate::registry::GateRecord;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::working::{Brings, CallValues, WorkingMemory};
use std::sync::Arc;
use ztfast_pages::ensure_available;

impl Shared {
    /// Prepare a gate for an action. Its arguments are context attributes in the order of `names`.
    pub(crate) fn prepare(self: &Arc<Self>, ty: &str, id: &str, names: &[Name<'_>]) -> Result<Gate, PrepareError> {
        self.check_process()?;
        let (paths, binding) = self.snapshot().loaded.bind_named(ty, id, names)?;
        let types = binding.types.get(..binding.callers).unwrap_or_default().into();
        let live =
            self.snapshot().bundle().meta().actions.get(binding.action as usize).is_some_and(|of| of.live.is_some());
        let spec = GateSpec { ty: ty.into(), id: id.into(), paths, types, live };
        match self.prepare_spec(&Arc::new(spec)) {
            // A swap meanwhile changed a type.
            Err(PrepareError::Type { .. } | PrepareError::Live { .. }) => self.prepare(ty, id, names),
            prepared => prepared,
        }
    }

    /// Prepare a gate from a specification. Gates that share one count as gates of one kind.
    pub(crate) fn prepare_spec(self: &Arc<Self>, spec: &Arc<GateSpec>) -> Result<Gate, PrepareError> {
        self.check_process()?;
        ensure_available("a gate", 1 << 20)?;
        let brought = CallValues::new(spec.brings(), self.options.residence)?;
        // Live attributes, which come after the arguments, are remembered, too.
        let places = if spec.live { MOST_PLACES } else { spec.types.len() };
        let looks_up = spec.brings() != Brings::Nothing;
        let memo = looks_up.then(|| Memo::new(places, self.options.residence)).transpose()?;
        loop {
            let loaded = self.snapshot().loaded.clone();
            let needed = loaded.scratch_size();
            // This takes long, so the registry is not locked meanwhile.
            let binding = loaded.bind_gate(spec)?;
            let memory = WorkingMemory::new(needed, self.options.residence)?;
            let mut registry = self.registry();
            let snapshot = self.snapshot();
            if !Arc::ptr_eq(&snapshot.loaded, &loaded) {
                // A swap came meanwhile.
                continue;
            }
            let mailbox = Arc::new(Mailbox::default());
            let number = registry.number();
            let bytes = memory.bytes() + memo.as_ref().map_or(0, Memo::bytes);
            registry.gates[number] =
                Some(GateRecord { spec: spec.clone(), mailbox: mailbox.clone(), scratch: needed, bytes });
            drop(registry);
            return Ok(Gate::new(
                self.clone(),
                number,
                (spec.clone(), mailbox),
                snapshot,
                binding,
                (brought, memo, memory),
            ));
        }
    }

    /// Prepare a gate from a specification without the arguments whose bits are set in `absent`. `None` if the newest
    /// bundle does not fit the specification any more.
    ///
    /// # Errors
    /// If one of these arguments is required, or the system refuses the memory.
    pub(crate) fn prepare_without(
        self: &Arc<Self>,
        spec: &GateSpec,
        absent: u64,
    ) -> Result<Option<Gate>, PrepareError> {
        let (paths, types) = (without(&spec.paths, absent), without(&spec.types, absent));
        let less = GateSpec { ty: spec.ty.clone(), id: spec.id.clone(), paths, types, live: spec.live };
        match self.prepare_spec(&Arc::new(less)) {
            Ok(gate) => Ok(Some(gate)),
            Err(error @ (PrepareError::Missing { .. } | PrepareError::Memory(_))) => Err(error),
            // A swap came meanwhile.
            Err(_) => Ok(None),
        }
    }
}

impl Gate {
    /// Prepare another gate of the same action and attributes, for another thread. This allocates and locks.
    ///
    /// # Errors
    /// [`PrepareError`]: the newest bundle lacks the action or the attributes, or the system refuses the memory.
    pub fn fork(&self) -> Result<Self, PrepareError> {
        self.shared.prepare_spec(self.spec())
    }

    /// Return a seed, from which gates like this one can be prepared while this one is in use, and after it is gone.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed { shared: self.shared.clone(), spec: self.spec().clone() }
    }
}

/// A source of gates that needs no gate. It holds the specification, and not the number, which another gate may have by
/// now.
pub struct Seed {
    shared: Arc<Shared>,
    spec: Arc<GateSpec>,
}

impl Seed {
    /// Return the state that the gates share with the engine.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Prepare a gate.
    ///
    /// # Errors
    /// [`PrepareError`]: the newest bundle lacks the action or the attributes, or the system refuses the memory.
    pub fn gate(&self) -> Result<Gate, PrepareError> {
        self.shared.prepare_spec(&self.spec)
    }

    /// Find where the arguments are in a snapshot's bundle. `None` if the bundle does not fit them.
    #[must_use]
    pub fn arguments(&self, snapshot: &Snapshot) -> Option<Arguments> {
        snapshot.loaded.bind_spec(&self.spec).ok().map(Arguments)
    }

    /// Prepare a gate without the arguments whose bits are set in `absent`, for requests in which they are absent.
    /// `None` if the newest bundle does not fit the specification any more.
    ///
    /// # Errors
    /// [`PrepareError::Missing`] if one of these arguments is required.
    pub fn without(&self, absent: u64) -> Result<Option<Gate>, PrepareError> {
        self.shared.prepare_without(&self.spec, absent)
    }
}
