//! A gate: decisions about one action, like a prepared statement.

use crate::batch::Batch;
use crate::clock::now_ns;
use crate::code::Code;
use crate::decide::{Determining, EffectOnly, Note, Walk};
use crate::engine::Engine;
use crate::handles::Handle;
use crate::sessions::SessionId;
use crate::snapshot::{Binding, Party, Snapshot};
use std::sync::Arc;
use ztfast_bundle::{ClassPair, ValueType};
use ztfast_program::{FOREIGN_STRING, Request, Scratch, StringsView};

/// Texts that one call may bring along and the bundle lacks.
const MAX_TEXTS: usize = 32;
/// Their bytes altogether.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// A gate. It is for one thread at a time: every method that decides takes it exclusively.
pub struct Gate {
    engine: Arc<Engine>,
    number: usize,
    epoch: u64,
    snapshot: Arc<Snapshot>,
    /// `None` where the gate fits the newest bundle no more.
    binding: Option<Arc<Binding>>,
    /// Set by [`Self::begin`]: this decision goes by the snapshot that its texts were looked up in.
    begun: bool,
    text_offsets: Vec<u32>,
    text_bytes: Vec<u8>,
    scratch: Box<Scratch>,
}

impl Gate {
    pub(crate) fn new(engine: Arc<Engine>, number: usize, snapshot: Arc<Snapshot>, binding: Arc<Binding>) -> Self {
        Self {
            epoch: snapshot.epoch,
            engine,
            number,
            snapshot,
            binding: Some(binding),
            begun: false,
            text_offsets: Vec::with_capacity(MAX_TEXTS + 1),
            text_bytes: Vec::with_capacity(MAX_TEXT_BYTES),
            scratch: Box::default(),
        }
    }

    /// The arguments' types, as of the bundle it was last used with; empty for a gate that fits it no more.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| &binding.types)
    }

    /// The snapshot that the gate last decided over.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The snapshot's number: it changes with every swap that the gate has noticed.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begin a call that brings texts or entities along: they and the decision go by the same snapshot.
    pub fn begin(&mut self) {
        self.refresh();
        self.begun = true;
        self.text_offsets.clear();
        self.text_bytes.clear();
        self.text_offsets.push(0);
    }

    /// The number of a text in the call begun; `None` where it brings more texts than there is room for.
    #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)] // numbers of texts are small
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if let Some(known) = self.snapshot.string(text) {
            return Some(known as i64);
        }
        let before = self
            .text_offsets
            .windows(2)
            .position(|w| self.text_bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes()));
        let number = if let Some(number) = before {
            number
        } else {
            let (count, end) = (self.text_offsets.len(), self.text_bytes.len() + text.len());
            if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
                return None;
            }
            self.text_bytes.extend_from_slice(text.as_bytes());
            self.text_offsets.push(end as u32);
            count - 1
        };
        Some((FOREIGN_STRING | number as u64) as i64)
    }

    /// The number of an entity in the call begun; `None` for a handle that is nothing in this bundle.
    #[must_use]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn entity(&self, handle: Handle) -> Option<i64> {
        self.snapshot.entity(handle).map(|entity| entity.bits() as i64)
    }

    /// Whether the session may do it: [`Code::Allow`] or why not.
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Code {
        self.walk(session, resource, values, &mut EffectOnly)
    }

    /// The same, and the policies that determined it.
    #[inline]
    pub fn decide(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        determining: &mut Determining,
    ) -> Code {
        determining.clear();
        let code = self.walk(session, resource, values, determining);
        determining.sort();
        code
    }

    #[inline]
    fn walk<N: Note>(&mut self, session: SessionId, resource: Handle, values: &[i64], note: &mut N) -> Code {
        if !std::mem::take(&mut self.begun) {
            self.refresh();
        }
        let Self { engine, snapshot, binding: Some(binding), scratch, text_offsets, text_bytes, .. } = self else {
            return Code::StaleGate;
        };
        let strings = StringsView { offsets: text_offsets, bytes: text_bytes };
        decide(engine, snapshot, binding, scratch, session, resource, values, strings, now_ns(), note)
    }

    /// Take the newest snapshot, if there is a newer one.
    #[inline]
    fn refresh(&mut self) {
        if self.engine.epoch() != self.epoch {
            self.renew();
        }
    }

    /// Neither allocates nor frees: bindings and replaced snapshots are kept alive by the engine's writing side.
    #[cold]
    fn renew(&mut self) {
        let snapshot = self.engine.snapshot();
        self.epoch = snapshot.epoch;
        // A change of entities leaves the bundle, and with it the binding, as they were.
        if !Arc::ptr_eq(&snapshot.base, &self.snapshot.base) {
            self.binding = snapshot.base.bindings.get(self.number).and_then(Clone::clone);
        }
        self.snapshot = snapshot;
    }

    /// What [`Batch::decide_many`] decides over; the gate itself stays free for others.
    #[must_use]
    pub fn batch(&mut self) -> Batch {
        self.refresh();
        Batch::new(self.engine.clone(), self.snapshot.clone(), self.binding.clone())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.engine.release(self.number);
    }
}

#[inline]
#[allow(clippy::too_many_arguments)] // the hot path's own call: a struct would be built and taken apart each time
fn decide<N: Note>(
    engine: &Engine,
    snapshot: &Snapshot,
    binding: &Binding,
    scratch: &mut Scratch,
    session: SessionId,
    resource: Handle,
    values: &[i64],
    strings: StringsView<'_>,
    now_ns: i64,
    note: &mut N,
) -> Code {
    let principal = match engine.principal(session, now_ns) {
        Ok(principal) => snapshot.party(principal),
        Err(code) => return code,
    };
    let (Some(principal), Some(resource)) = (principal, snapshot.party(resource)) else {
        return Code::NotApplicable;
    };
    decide_parties(snapshot, binding, scratch, (principal, resource), values, strings, note)
}

#[inline]
pub(crate) fn decide_parties<N: Note>(
    snapshot: &Snapshot,
    binding: &Binding,
    scratch: &mut Scratch,
    (principal, resource): (Party, Party),
    values: &[i64],
    strings: StringsView<'_>,
    note: &mut N,
) -> Code {
    // An attribute that is not given would keep forbids from applying.
    if values.len() != binding.types.len() || !binding.numbers {
        return Code::Corrupt;
    }
    let (positions, kinds) = (&*binding.positions, &*binding.kinds);
    let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
    let (principal, resource) = (principal.entity, resource.entity);
    let request = Request { principal, resource, values, positions, kinds, cells: &[], strings };
    let (action, layers) = (binding.action, &*binding.layers);
    let walk = Walk { snapshot, action, layers, classes, request: &request, foreign: &|_| None };
    walk.decide(scratch, note)
}
