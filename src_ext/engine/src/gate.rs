//! A gate: decisions about one action, like a prepared statement.

use crate::batch::Batch;
use crate::clock::monotonic_ns;
use crate::code::Code;
use crate::decide::{Determining, EffectOnly, Sink};
use crate::engine::{Engine, PrepareError, quiet};
use crate::handles::Handle;
use crate::mailbox::Mailbox;
use crate::memory::{MemoryError, Residence, Resident};
use crate::sessions::SessionId;
use crate::snapshot::{Binding, NoEntity, Path, Snapshot};
use std::io;
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_vm::{ADDED_STRING, EntityRef, FOREIGN_STRING, Scratch, StringsView, Value};

/// Texts that one call may bring along and the bundle lacks.
const MAX_TEXTS: usize = 32;
/// Numbers that one call may be given of entities, and of texts that came with a change.
const MAX_GIVEN: usize = 256;
/// Bytes of one call's texts altogether.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// What a gate expects where no decision may be made unseen: no state is this.
const LOOK: u64 = u64::MAX;
/// Where the number of a text that a call brings along says of which call it is.
const CALL_SHIFT: u32 = 34;
/// Calls that numbers of texts tell apart.
const CALLS: u64 = 1 << 29;

/// Where a call that brings texts or entities along stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// None was begun.
    None,
    /// Its texts and entities, and then the decision, go by the gate's snapshot.
    Begun,
    /// A text or an entity of it was refused, and so the decision will be, whatever values it is given.
    Failed(Code),
}

/// A gate. It is for one thread at a time: every method that decides takes it exclusively.
pub struct Gate {
    pub(crate) engine: Arc<Engine>,
    number: usize,
    spec: Arc<GateSpec>,
    mailbox: Arc<Mailbox>,
    /// What [`Engine::state`] is while nothing has to be looked at: the snapshot is the newest, the kill switch off. Never
    /// what it is where a call was begun, and where one has to be.
    pub(crate) expected: u64,
    call: Call,
    /// Whether texts or entities are among its arguments: no decision is without a call of its own then.
    looks_up: bool,
    pub(crate) snapshot: Arc<Snapshot>,
    /// `None` where the gate fits the newest bundle no more.
    pub(crate) binding: Option<Arc<Binding>>,
    pub(crate) texts: Texts,
    pub(crate) room: Box<WorkingMemory>,
}

/// What a gate was prepared for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct GateSpec {
    pub ty: Box<str>,
    pub id: Box<str>,
    /// Where the arguments' attributes are. A path stays the same attribute's in every bundle; a text might not.
    pub paths: Box<[Path]>,
    /// The arguments' types: callers convert by them, so a bundle that changes them is not for this gate.
    pub types: Box<[ValueType]>,
}

impl GateSpec {
    /// The paths, joined by points.
    pub fn labels(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.join(".")).collect()
    }

    /// Whether texts or entities are among the arguments.
    pub fn looks_up(&self) -> bool {
        self.types.iter().any(|ty| matches!(ty, ValueType::String | ValueType::Entity(_)))
    }
}

/// What programs work in: made beforehand, as large as a bundle's programs need it, so that deciding allocates nothing.
pub(crate) struct WorkingMemory {
    /// Before the scratch, so that it is dropped before it.
    held: [Resident; 2],
    pub(crate) scratch: Scratch,
    /// What the gate worked in before.
    pub next: Option<Box<Self>>,
}

impl WorkingMemory {
    /// WorkingMemory for programs that need so many cells on the stack and in the arena.
    pub fn new((stack, cells): (usize, usize), residence: Residence) -> Result<Box<Self>, MemoryError> {
        let what = "working memory of a gate";
        let bytes = (stack + cells) * size_of::<Value>();
        let missing = || MemoryError::Missing { what, bytes, source: io::ErrorKind::OutOfMemory.into() };
        let mut scratch = Scratch::try_new(stack, cells).ok_or_else(missing)?;
        let [stack, cells] = scratch.rooms();
        let held = [Resident::write(what, stack, residence)?, Resident::write(what, cells, residence)?];
        Ok(Box::new(Self { held, scratch, next: None }))
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.held.iter().map(Resident::len).sum::<usize>()
    }
}

/// What a gate needs beside what programs work in.
pub(crate) const fn fixed_bytes(looks_up: bool) -> usize {
    size_of::<Gate>() + if looks_up { Texts::BYTES } else { 0 }
}

impl Gate {
    pub(crate) fn new(
        engine: Arc<Engine>,
        number: usize,
        (spec, mailbox): (Arc<GateSpec>, Arc<Mailbox>),
        snapshot: Arc<Snapshot>,
        binding: Arc<Binding>,
        (texts, room): (Texts, Box<WorkingMemory>),
    ) -> Self {
        let looks_up = spec.looks_up();
        Self {
            expected: if looks_up { LOOK } else { quiet(snapshot.version) },
            call: Call::None,
            looks_up,
            engine,
            number,
            spec,
            mailbox,
            snapshot,
            binding: Some(binding),
            texts,
            room,
        }
    }

    /// Another gate of the same action and attributes, for another thread. It allocates and locks.
    ///
    /// # Errors
    /// [`PrepareError`]: where the newest bundle has no such action or attributes, or the system refuses the memory.
    pub fn fork(&self) -> Result<Self, PrepareError> {
        self.engine.prepare_like(&self.spec)
    }

    /// What others like this can be made of while somebody decides by it, and after it is gone.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed { engine: self.engine.clone(), spec: self.spec.clone() }
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

    /// Where the arguments' attributes are in the context: for each the names of the records around it, then its own. Empty for
    /// a gate that fits the newest bundle no more.
    pub fn paths(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        let paths = self.binding.as_ref().map_or(&[][..], |binding| &*binding.paths);
        paths.iter().map(|path| path.iter().map(|part| &**part))
    }

    /// The snapshot that the gate last decided over.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The bundle's number: it changes with every swap that the gate has noticed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.base.generation
    }

    /// Begin a call that brings texts or entities along: they and the decision go by the same snapshot. One that was begun
    /// before is over, and its numbers are.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn begin(&mut self) {
        self.refresh();
        self.expected = LOOK;
        self.call = Call::Begun;
        self.texts.clear();
    }

    /// A text or an entity of the call begun was refused: its decision is a denial with this code, the first that there was.
    pub const fn fail(&mut self, code: Code) {
        if matches!(self.call, Call::Begun) {
            self.call = Call::Failed(code);
        }
    }

    /// The number of a text that the bundle holds: it stays as long as [`Self::generation`]. `None` for any other text.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[must_use]
    pub fn literal(&self, text: &str) -> Option<i64> {
        self.snapshot.base.bundle.find_string(text).map(i64::from)
    }

    /// The number of a text in the call begun; `None` where none was begun, since then the decision might go by a newer bundle,
    /// and where it brings more texts than there is room for. Then the decision is [`Code::TooLarge`], whatever values it is given.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if self.call == Call::None {
            return None;
        }
        let number = match self.snapshot.string(text) {
            Some(known) if known & ADDED_STRING == 0 => return Some(known as i64),
            Some(added) => self.give(added as i64),
            None => self.texts.number(text).map(|number| number as i64),
        };
        if number.is_none() {
            self.fail(Code::TooLarge);
        }
        number
    }

    /// The number of an entity in the call begun, for the argument at this place. Where there is none, the decision is a denial,
    /// whatever values it is given.
    ///
    /// # Errors
    /// [`NoEntity`].
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn entity(&mut self, handle: Handle, place: usize) -> Result<i64, NoEntity> {
        if self.call == Call::None {
            return Err(NoEntity::Nothing);
        }
        let found = self.entity_for(handle, place);
        let found = found.and_then(|entity| self.give(entity.bits() as i64).ok_or(NoEntity::TooMany));
        if let Err(why) = found {
            self.fail(match why {
                NoEntity::Nothing => Code::BadValue,
                NoEntity::Type => Code::Corrupt,
                NoEntity::Stale => Code::StaleGate,
                NoEntity::TooMany => Code::TooLarge,
                NoEntity::Foreign => Code::UnknownHandle,
            });
        }
        found
    }

    fn entity_for(&self, handle: Handle, place: usize) -> Result<EntityRef, NoEntity> {
        let binding = self.binding.as_ref().ok_or(NoEntity::Stale)?;
        let wanted = binding.entity_types.get(place).zip(binding.types.get(place));
        let (&number, ty) = wanted.ok_or(NoEntity::Type)?;
        self.snapshot.entity_of(self.snapshot.base.key.place(handle), number, ty)
    }

    /// Sink a number that is for this call only; `None` where there are too many.
    fn give(&mut self, number: i64) -> Option<i64> {
        let given = &mut self.texts.given;
        if !given.contains(&number) {
            if given.len() == given.capacity() {
                return None;
            }
            given.push(number);
        }
        Some(number)
    }

    /// Whether these values are numbers of the call begun, where they are texts or entities; entities also of their types.
    #[allow(clippy::cast_sign_loss)] // the bits are what counts
    fn are_of_this_call(&self, values: &[i64]) -> bool {
        let Some(binding) = &self.binding else { return true };
        let arguments = binding.types.iter().zip(&binding.entity_types);
        values.iter().zip(arguments).all(|(&value, (ty, &number))| match ty {
            ValueType::String if value as u64 & FOREIGN_STRING != 0 => self.texts.has(value as u64),
            ValueType::String if value as u64 & ADDED_STRING == 0 => true,
            ValueType::String => self.texts.given.contains(&value),
            ValueType::Entity(_) => {
                let of = || self.snapshot.type_of(EntityRef::from_bits(value as u64));
                self.texts.given.contains(&value) && of() == Some(number)
            }
            _ => true,
        })
    }

    /// The denial of a request of which a value is out of its range: [`Code::BadValue`], or what denies whatever the values
    /// are. A call that was begun is over.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn refuse(&mut self, session: SessionId, resource: Handle) -> Code {
        self.refresh();
        let principal = match self.engine.principal(session, monotonic_ns(), self.is_killed()) {
            Ok(principal) => principal,
            Err(code) => return code,
        };
        if self.is_stale() {
            return Code::StaleGate;
        }
        let resource = self.snapshot.base.key.place(resource);
        let uids = &self.snapshot.base.uids;
        if !uids.covers(principal) {
            return Code::UnknownSession;
        }
        if !uids.covers(resource) {
            return Code::UnknownHandle;
        }
        self.snapshot.resolve_both(principal, resource).err().unwrap_or(Code::BadValue)
    }

    /// Whether the kill switch stops its action.
    fn is_killed(&self) -> bool {
        let action = self.binding.as_ref().map(|binding| binding.action);
        self.engine.stops(&self.snapshot.base, action)
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

    /// Take the newest snapshot, if there is a newer one. A call that was begun is over.
    pub(crate) fn refresh(&mut self) {
        if self.engine.version() != self.snapshot.version {
            self.renew();
        }
        self.call = Call::None;
        self.expected = if self.looks_up { LOOK } else { quiet(self.snapshot.version) };
    }

    /// Look at what is not as expected: a call was begun or should have been, there is a newer snapshot, or the kill switch is
    /// on. The denial that comes of it. Whatever it is, the call is over.
    #[cold]
    #[inline(never)]
    pub(crate) fn catch_up(&mut self, session: SessionId, values: &[i64]) -> Option<Code> {
        if self.engine.is_forked() {
            return Some(Code::Forked);
        }
        let denied = match self.call {
            // This decision goes by the snapshot that its texts were looked up in.
            Call::Begun if !self.are_of_this_call(values) => Some(Code::Corrupt),
            Call::Begun => self.came_later(session),
            Call::Failed(code) => Some(code),
            Call::None => {
                self.refresh();
                // Numbers without a call are of another one, which went by another snapshot.
                (self.looks_up && self.binding.is_some()).then_some(Code::Corrupt)
            }
        };
        self.call = Call::None;
        self.expected = if self.looks_up { LOOK } else { quiet(self.snapshot.version) };
        if self.is_killed() {
            return Some(Code::Killed);
        }
        // What is wrong with the session comes before what is wrong with the request.
        denied.map(|code| self.engine.principal(session, monotonic_ns(), self.is_killed()).err().unwrap_or(code))
    }

    /// The denial of a session, or of any resource, that may be another in the call's snapshot, since it came later.
    #[cold]
    fn came_later(&self, session: SessionId) -> Option<Code> {
        let uids = &self.snapshot.base.uids;
        if uids.is_newest() {
            return None;
        }
        match self.engine.principal(session, monotonic_ns(), false) {
            Ok(principal) if !uids.covers(principal) => Some(Code::UnknownSession),
            Ok(_) if !uids.covers_handles() => Some(Code::UnknownHandle),
            Ok(_) => None,
            Err(code) => Some(code),
        }
    }

    /// Neither allocates nor frees: bindings and replaced snapshots are kept alive by the engine's writing side.
    fn renew(&mut self) {
        // Empty where this gate took the newest already, and the engine is still handing it to others.
        let Some(snapshot) = self.mailbox.take() else { return };
        // A change of entities leaves the bundle, and with it the binding, as they were.
        if !Arc::ptr_eq(&snapshot.base, &self.snapshot.base) {
            self.binding = snapshot.base.binding(self.number);
        }
        self.snapshot = snapshot;
        if let Some(room) = self.mailbox.take_memory() {
            self.mailbox.give_back(std::mem::replace(&mut self.room, room));
        }
    }

    /// What [`Batch::decide_many`] decides over: the newest bundle, wherever a call of the gate's stands. The gate itself stays
    /// free for others.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let snapshot = self.engine.snapshot();
        let binding = if Arc::ptr_eq(&snapshot.base, &self.snapshot.base) {
            self.binding.clone()
        } else {
            snapshot.base.binding(self.number)
        };
        Batch::new(self.engine.clone(), snapshot, binding)
    }
}

/// What gates can be made of without one at hand: what was prepared, not its number, which another gate may have by now.
pub struct Seed {
    engine: Arc<Engine>,
    spec: Arc<GateSpec>,
}

impl Seed {
    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A gate.
    ///
    /// # Errors
    /// [`PrepareError`]: where the newest bundle has no such action or attributes, or the system refuses the memory.
    pub fn gate(&self) -> Result<Gate, PrepareError> {
        self.engine.prepare_like(&self.spec)
    }

    /// A gate without some of its arguments, by their bits, for requests in which they are absent. `None` as above.
    ///
    /// # Errors
    /// [`PrepareError::Missing`] where one of them must be there.
    pub fn without(&self, absent: u64) -> Result<Option<Gate>, PrepareError> {
        self.engine.prepare_without(&self.spec, absent)
    }
}

/// Texts that one call brings along and the bundle lacks.
#[derive(Default)]
pub(crate) struct Texts {
    /// Before what it holds, so that it is dropped before it.
    _held: [Resident; 3],
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    /// Numbers that mean something else in another call: entities, and texts that came with a change.
    given: Vec<i64>,
    /// Which call they are of.
    call: u64,
}

impl Texts {
    const BYTES: usize = (MAX_TEXTS + 1) * size_of::<u32>() + MAX_TEXT_BYTES + MAX_GIVEN * size_of::<i64>();

    /// All room that there will be: taking up a text does not allocate.
    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let what = "working memory of a gate";
        let mut texts = Self::default();
        let reserved = texts.offsets.try_reserve_exact(MAX_TEXTS + 1).and_then(|()| {
            texts.bytes.try_reserve_exact(MAX_TEXT_BYTES)?;
            texts.given.try_reserve_exact(MAX_GIVEN)
        });
        let missing = |_| MemoryError::Missing { what, bytes: Self::BYTES, source: io::ErrorKind::OutOfMemory.into() };
        reserved.map_err(missing)?;
        let held = [
            Resident::write(what, texts.offsets.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.bytes.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.given.spare_capacity_mut(), residence)?,
        ];
        Ok(Self { _held: held, ..texts })
    }

    fn clear(&mut self) {
        self.offsets.clear();
        self.bytes.clear();
        self.given.clear();
        if self.offsets.capacity() > 0 {
            self.offsets.push(0);
        }
        self.call = (self.call + 1) % CALLS;
    }

    /// The bits that all numbers of this call have.
    const fn mark(&self) -> u64 {
        FOREIGN_STRING | self.call << CALL_SHIFT
    }

    /// Whether this is the number of one of the texts.
    const fn has(&self, number: u64) -> bool {
        number ^ self.mark() < self.offsets.len().saturating_sub(1) as u64
    }

    /// The number of a text; equal texts have equal numbers.
    #[allow(clippy::cast_possible_truncation)] // there are few
    fn number(&mut self, text: &str) -> Option<u64> {
        let same = |w: &[u32]| self.bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes());
        if let Some(before) = self.offsets.windows(2).position(same) {
            return Some(self.mark() | before as u64);
        }
        let (count, end) = (self.offsets.len(), self.bytes.len() + text.len());
        if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end as u32);
        Some(self.mark() | (count as u64 - 1))
    }

    /// What programs read.
    pub(crate) fn view(&self) -> StringsView<'_> {
        StringsView { offsets: &self.offsets, bytes: &self.bytes }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Nobody waits here: the writing side finds out.
        self.mailbox.leave();
    }
}
