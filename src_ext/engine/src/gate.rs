//! A gate: decisions about one action, like a prepared statement.

use crate::batch::Batch;
use crate::code::Code;
use crate::decide::{Determining, EffectOnly, Note};
use crate::engine::{Engine, quiet};
use crate::handles::Handle;
use crate::memory::{Held, MemoryError, Residence};
use crate::seat::Seat;
use crate::sessions::SessionId;
use crate::snapshot::{Binding, Snapshot};
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_program::{ARENA_CELLS, Cell, FOREIGN_STRING, STACK_CELLS, Scratch, StringsView};

/// Texts that one call may bring along and the bundle lacks.
const MAX_TEXTS: usize = 32;
/// Their bytes altogether.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// What a gate expects where a call was begun: no state is this.
const BEGUN: u64 = u64::MAX;

/// A gate. It is for one thread at a time: every method that decides takes it exclusively.
pub struct Gate {
    pub(crate) engine: Arc<Engine>,
    number: usize,
    seat: Arc<Seat>,
    /// What [`Engine::state`] is while nothing has to be looked at: the snapshot is the newest, the kill switch off. Never
    /// what it is, where a call was begun.
    pub(crate) expected: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// `None` where the gate fits the newest bundle no more.
    pub(crate) binding: Option<Arc<Binding>>,
    /// The pages of the texts and of the scratch. Before both, so that it is dropped before them.
    _held: [Held; 4],
    pub(crate) texts: Texts,
    pub(crate) scratch: Box<Scratch>,
}

/// What a gate works in: made beforehand, so that deciding allocates nothing.
pub(crate) struct Room {
    held: [Held; 4],
    texts: Texts,
    scratch: Box<Scratch>,
}

impl Room {
    /// How many bytes it has.
    pub const BYTES: usize =
        (STACK_CELLS + ARENA_CELLS) * size_of::<Cell>() + (MAX_TEXTS + 1) * size_of::<u32>() + MAX_TEXT_BYTES;

    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let (mut texts, mut scratch) = (Texts::default(), Box::<Scratch>::default());
        let what = "working memory of a gate";
        let [stack, cells] = scratch.rooms();
        let held = [
            Held::write(what, texts.offsets.spare_capacity_mut(), residence)?,
            Held::write(what, texts.bytes.spare_capacity_mut(), residence)?,
            Held::write(what, stack, residence)?,
            Held::write(what, cells, residence)?,
        ];
        Ok(Self { held, texts, scratch })
    }
}

impl Gate {
    pub(crate) fn new(
        engine: Arc<Engine>,
        number: usize,
        seat: Arc<Seat>,
        snapshot: Arc<Snapshot>,
        binding: Arc<Binding>,
        room: Room,
    ) -> Self {
        let Room { held, texts, scratch } = room;
        Self {
            expected: quiet(snapshot.epoch),
            engine,
            number,
            seat,
            snapshot,
            binding: Some(binding),
            _held: held,
            texts,
            scratch,
        }
    }

    /// Another gate of the same action and attributes, for another thread. It allocates and locks. `None` where the newest
    /// bundle has no such action or attributes.
    #[must_use]
    pub fn fork(&self) -> Option<Self> {
        self.seed().gate()
    }

    /// What others like this can be made of while somebody decides by it. It must not outlive the gate.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed { engine: self.engine.clone(), number: self.number }
    }

    /// Whether the bundle it was last used with has no such action or attributes.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.binding.is_none()
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

    /// The bundle's number: it changes with every swap that the gate has noticed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.snapshot.base.number
    }

    /// Begin a call that brings texts or entities along: they and the decision go by the same snapshot.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn begin(&mut self) {
        self.refresh();
        self.expected = BEGUN;
        self.texts.clear();
    }

    /// The number of a text that the bundle holds: it stays as long as [`Self::epoch`]. `None` for any other text.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[must_use]
    pub fn literal(&self, text: &str) -> Option<i64> {
        self.snapshot.base.bundle.find_string(text).map(i64::from)
    }

    /// The number of a text in the call begun; `None` where none was begun, since then the decision might go by a newer bundle,
    /// and where it brings more texts than there is room for.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if self.expected != BEGUN {
            return None;
        }
        if let Some(known) = self.snapshot.string(text) {
            return Some(known as i64);
        }
        self.texts.number(text).map(|number| (FOREIGN_STRING | u64::from(number)) as i64)
    }

    /// The number of an entity in the call begun; `None` where none was begun, and for a handle that is nothing in this bundle.
    #[must_use]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn entity(&self, handle: Handle) -> Option<i64> {
        if self.expected != BEGUN {
            return None;
        }
        self.snapshot.entity(handle).map(|entity| entity.bits() as i64)
    }

    /// Whether the session may do it: [`Code::Allow`] or why not.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Code {
        self.walk(session, resource, values, &mut EffectOnly)
    }

    /// The same, and the policies that determined it.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
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

    /// Take the newest snapshot, if there is a newer one.
    pub(crate) fn refresh(&mut self) {
        if self.engine.epoch() != self.snapshot.epoch {
            self.renew();
        }
        self.expected = quiet(self.snapshot.epoch);
    }

    /// Look at what is not as expected: a call was begun, there is a newer snapshot, or the kill switch is on. Whether it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn catch_up(&mut self) -> bool {
        if self.expected == BEGUN {
            // This decision goes by the snapshot that its texts were looked up in.
            self.expected = quiet(self.snapshot.epoch);
        } else {
            self.refresh();
        }
        self.engine.is_killed()
    }

    /// Neither allocates nor frees: bindings and replaced snapshots are kept alive by the engine's writing side.
    fn renew(&mut self) {
        // Empty where this gate took the newest already, and the engine is still handing it to others.
        let Some(snapshot) = self.seat.take() else { return };
        // A change of entities leaves the bundle, and with it the binding, as they were.
        if !Arc::ptr_eq(&snapshot.base, &self.snapshot.base) {
            self.binding = snapshot.base.bindings.get(self.number).and_then(Clone::clone);
        }
        self.snapshot = snapshot;
    }

    /// What [`Batch::decide_many`] decides over; the gate itself stays free for others.
    #[must_use]
    pub fn batch(&mut self) -> Batch {
        // A call that was begun still goes by the snapshot that its texts were looked up in.
        if self.expected != BEGUN {
            self.refresh();
        }
        Batch::new(self.engine.clone(), self.snapshot.clone(), self.binding.clone())
    }
}

/// What a gate was prepared for.
pub struct Seed {
    engine: Arc<Engine>,
    number: usize,
}

impl Seed {
    /// A gate; `None` where the newest bundle has no such action or attributes.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        self.engine.prepare_like(self.number)
    }
}

/// Texts that one call brings along and the bundle lacks.
pub(crate) struct Texts {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Default for Texts {
    /// All room that there will be: taking up a text does not allocate.
    fn default() -> Self {
        Self { offsets: Vec::with_capacity(MAX_TEXTS + 1), bytes: Vec::with_capacity(MAX_TEXT_BYTES) }
    }
}

impl Texts {
    fn clear(&mut self) {
        self.offsets.clear();
        self.bytes.clear();
        self.offsets.push(0);
    }

    /// The number of a text; equal texts have equal numbers.
    #[allow(clippy::cast_possible_truncation)] // there are few
    fn number(&mut self, text: &str) -> Option<u32> {
        let same = |w: &[u32]| self.bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes());
        if let Some(before) = self.offsets.windows(2).position(same) {
            return Some(before as u32);
        }
        let (count, end) = (self.offsets.len(), self.bytes.len() + text.len());
        if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end as u32);
        Some(count as u32 - 1)
    }

    /// What programs read.
    pub(crate) fn view(&self) -> StringsView<'_> {
        StringsView { offsets: &self.offsets, bytes: &self.bytes }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.engine.release(self.number);
    }
}
