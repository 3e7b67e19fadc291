//! What the writing side knows of its readers: the gates that there are, the handles that were given out, and the snapshots
//! that somebody may still hold.

use crate::binding::GateSpec;
use crate::mailbox::Mailbox;
use crate::snapshot::Snapshot;
use std::collections::HashSet;
use std::sync::Arc;
use ztfast_live::{Place, Register, Sessions, Uids};

/// A gate as the writing side knows it.
pub(crate) struct GateRecord {
    pub spec: Arc<GateSpec>,
    pub mailbox: Arc<Mailbox>,
    /// How many values its working memory has room for, on the stack and in the arena, and how many bytes it takes.
    pub scratch: (usize, usize),
    pub bytes: usize,
}

/// What only the writing side touches, and never for long.
pub(crate) struct Registry {
    pub register: Register,
    /// By gate number. Those of gates that are gone are found and freed when the next come.
    pub gates: Vec<Option<GateRecord>>,
    free: Vec<usize>,
    /// Gates that there are when those that are gone are looked for.
    sweep_at: usize,
    /// Replaced snapshots that a reader may still hold: freed by the writing side, never on the deciding side.
    /// Whoever decides drops a reference, but never the last.
    pub retired: Vec<Arc<Snapshot>>,
}

impl Registry {
    /// Without gates, for so many handles.
    pub fn new(handles: usize) -> Self {
        let register = Register::new(handles);
        Self { register, gates: Vec::new(), free: Vec::new(), sweep_at: 64, retired: Vec::new() }
    }

    /// Let go of the principals of sessions that are over.
    pub fn release(&mut self, sessions: &Sessions, uids: &Uids) -> HashSet<Place> {
        self.register.release(&sessions.principals(), uids)
    }

    /// Forget gates that are gone.
    pub fn forget(&mut self) {
        for (number, gate) in self.gates.iter_mut().enumerate() {
            if gate.as_ref().is_some_and(|gate| gate.mailbox.is_gone()) {
                *gate = None;
                self.free.push(number);
            }
        }
        self.sweep_at = 2 * (self.gates.len() - self.free.len()).max(32);
    }

    /// The replaced snapshots that nobody holds any more, to be dropped when nobody waits.
    pub fn sweep(&mut self) -> Vec<Arc<Snapshot>> {
        let (kept, done) = std::mem::take(&mut self.retired).into_iter().partition(|one| Arc::strong_count(one) > 1);
        self.retired = kept;
        done
    }

    /// A number for another gate.
    pub fn number(&mut self) -> usize {
        if self.free.is_empty() && self.gates.len() >= self.sweep_at {
            self.forget();
        }
        self.free.pop().unwrap_or_else(|| {
            self.gates.push(None);
            self.gates.len() - 1
        })
    }

    /// Gates that live.
    pub fn live(&self) -> impl Iterator<Item = &GateRecord> {
        self.gates.iter().flatten().filter(|gate| !gate.mailbox.is_gone())
    }
}
