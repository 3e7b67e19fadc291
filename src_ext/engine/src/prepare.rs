//! Preparing gates: the binding, the mailbox and the working memory of each, and its place in the registry.

use crate::binding::{Arguments, GateSpec, Name, PrepareError, without};
use crate::gate::Gate;
use crate::mailbox::Mailbox;
use crate::registry::GateRecord;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::working::{Texts, WorkingMemory};
use std::sync::Arc;
use ztfast_pages::ensure_available;

impl Shared {
    /// Prepare decisions about an action, whose context attributes come in the order of `names`.
    pub(crate) fn prepare(self: &Arc<Self>, ty: &str, id: &str, names: &[Name<'_>]) -> Result<Gate, PrepareError> {
        self.own()?;
        let (paths, binding) = self.snapshot().base.bind_named(ty, id, names)?;
        let spec = GateSpec { ty: ty.into(), id: id.into(), paths, types: binding.types };
        match self.prepare_like(&Arc::new(spec)) {
            // A bundle that changes a type came between.
            Err(PrepareError::Type { .. }) => self.prepare(ty, id, names),
            prepared => prepared,
        }
    }

    /// Prepare a gate like others, which counts as one of its own.
    pub(crate) fn prepare_like(self: &Arc<Self>, spec: &Arc<GateSpec>) -> Result<Gate, PrepareError> {
        self.own()?;
        ensure_available("a gate", 1 << 20)?;
        let texts = if spec.looks_up() { Texts::new(self.options.residence)? } else { Texts::default() };
        loop {
            let needed = self.snapshot().base.scratch_size();
            let memory = WorkingMemory::new(needed, self.options.residence)?;
            let mut registry = self.registry();
            let snapshot = self.snapshot();
            let size = snapshot.base.scratch_size();
            if size.0 > needed.0 || size.1 > needed.1 {
                // Another bundle came between.
                continue;
            }
            let binding = Arc::new(snapshot.base.bind_spec(spec)?);
            snapshot.base.keep(binding.clone());
            let mailbox = Arc::new(Mailbox::default());
            let number = registry.number();
            let bytes = memory.bytes();
            registry.gates[number] =
                Some(GateRecord { spec: spec.clone(), mailbox: mailbox.clone(), scratch: needed, bytes });
            drop(registry);
            return Ok(Gate::new(self.clone(), number, (spec.clone(), mailbox), snapshot, binding, (texts, memory)));
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
}

impl Gate {
    /// Another gate of the same action and attributes, for another thread. It allocates and locks.
    ///
    /// # Errors
    /// [`PrepareError`]: where the newest bundle has no such action or attributes, or the system refuses the memory.
    pub fn fork(&self) -> Result<Self, PrepareError> {
        self.shared.prepare_like(self.spec())
    }

    /// What others like this can be made of while somebody decides by it, and after it is gone.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed { shared: self.shared.clone(), spec: self.spec().clone() }
    }
}

/// What gates can be made of without one at hand: what was prepared, not its number, which another gate may have by now.
pub struct Seed {
    shared: Arc<Shared>,
    spec: Arc<GateSpec>,
}

impl Seed {
    /// What they share with the engine.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A gate.
    ///
    /// # Errors
    /// [`PrepareError`]: where the newest bundle has no such action or attributes, or the system refuses the memory.
    pub fn gate(&self) -> Result<Gate, PrepareError> {
        self.shared.prepare_like(&self.spec)
    }

    /// Where the arguments are in a snapshot's bundle; `None` where it does not fit them.
    #[must_use]
    pub fn arguments(&self, snapshot: &Snapshot) -> Option<Arguments> {
        snapshot.base.bind_spec(&self.spec).ok().map(Arguments)
    }

    /// A gate without some of its arguments, by their bits, for requests in which they are absent. `None` as above.
    ///
    /// # Errors
    /// [`PrepareError::Missing`] where one of them must be there.
    pub fn without(&self, absent: u64) -> Result<Option<Gate>, PrepareError> {
        self.shared.prepare_without(&self.spec, absent)
    }
}
