//! The writer's record of its readers: the gates, the handles given out, and the replaced snapshots that readers may
//! still hold.

use crate::binding::GateSpec;
use crate::mailbox::Mailbox;
use crate::snapshot::Snapshot;
use std::collections::HashSet;
use std::sync::Arc;
use ztfast_live::{Place, Register, Sessions, Uids};

/// The writer's record of a gate.
pub(crate) struct GateRecord {
    pub spec: Arc<GateSpec>,
    pub mailbox: Arc<Mailbox>,
    /// How many values its working memory holds, on the stack and in the arena; and how many bytes that takes.
    pub scratch: (usize, usize),
    pub bytes: usize,
}

/// The data that the registry's lock guards. It is held for short times only.
pub(crate) struct Registry {
    pub register: Register,
    /// The gates, by number. Gates that are gone are found and freed when new ones come.
    pub gates: Vec<Option<GateRecord>>,
    free: Vec<usize>,
    /// The number of gates at which the registry next looks for gates that are gone.
    sweep_threshold: usize,
    /// Replaced snapshots that a reader may still hold. Readers never drop the last reference, so the writer frees the
    /// memory.
    pub retired: Vec<Arc<Snapshot>>,
}

impl Registry {
    /// Create a registry without gates, for at most this many handles.
    pub fn new(handles: usize) -> Self {
        let register = Register::new(handles);
        Self { register, gates: Vec::new(), free: Vec::new(), sweep_threshold: 64, retired: Vec::new() }
    }

    /// Release the principals of sessions that are over.
    pub fn release(&mut self, sessions: &Sessions, uids: &Uids) -> HashSet<Place> {
        self.register.release(&sessions.principals(), uids)
    }

    /// Forget the gates that are gone.
    pub fn forget(&mut self) {
        for (number, gate) in self.gates.iter_mut().enumerate() {
            if gate.as_ref().is_some_and(|gate| gate.mailbox.is_gone()) {
                *gate = None;
                self.free.push(number);
            }
        }
        self.sweep_threshold = 2 * (self.gates.len() - self.free.len()).max(32);
    }

    /// Return the replaced snapshots that no reader holds, for the caller to drop after it unlocks the registry.
    pub fn sweep(&mut self) -> Vec<Arc<Snapshot>> {
        let (kept, done) = std::mem::take(&mut self.retired).into_iter().partition(|one| Arc::strong_count(one) > 1);
        self.retired = kept;
        done
    }

    /// Reserve a number for a new gate.
    pub fn number(&mut self) -> usize {
        if self.free.is_empty() && self.gates.len() >= self.sweep_threshold {
            self.forget();
        }
        self.free.pop().unwrap_or_else(|| {
            self.gates.push(None);
            self.gates.len() - 1
        })
    }

    /// Iterate over the gates that are not gone.
    pub fn live(&self) -> impl Iterator<Item = &GateRecord> {
        self.gates.iter().flatten().filter(|gate| !gate.mailbox.is_gone())
    }
}
