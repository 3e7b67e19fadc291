//! A gate: decisions about one action, like a prepared statement.

use crate::batch::Batch;
use crate::binding::{Binding, GateSpec};
use crate::mailbox::Mailbox;
use crate::shared::{Shared, quiet};
use crate::snapshot::{NoEntity, Snapshot};
use crate::working::{Texts, WorkingMemory};
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_codes::Code;
use ztfast_live::{Handle, SessionId};
use ztfast_pages::monotonic_ns;
use ztfast_vm::{ADDED_STRING, EntityRef, FOREIGN_STRING};

/// What a gate expects where no decision may be made unseen: no state is this.
const LOOK: u64 = u64::MAX;
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
    pub(crate) shared: Arc<Shared>,
    number: usize,
    spec: Arc<GateSpec>,
    mailbox: Arc<Mailbox>,
    /// What [`Shared::state`] is while nothing has to be looked at: the snapshot is the newest, the kill switch off. Never
    /// what it is where a call was begun, and where one has to be.
    pub(crate) expected: u64,
    call: Call,
    /// Whether texts or entities are among its arguments: no decision is without a call of its own then.
    looks_up: bool,
    pub(crate) snapshot: Arc<Snapshot>,
    /// `None` where the gate fits the newest bundle no more.
    pub(crate) binding: Option<Arc<Binding>>,
    pub(crate) texts: Texts,
    pub(crate) memory: Box<WorkingMemory>,
}

/// What a gate needs beside what programs work in.
pub(crate) const fn fixed_bytes(looks_up: bool) -> usize {
    size_of::<Gate>() + if looks_up { Texts::BYTES } else { 0 }
}

impl Gate {
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: usize,
        (spec, mailbox): (Arc<GateSpec>, Arc<Mailbox>),
        snapshot: Arc<Snapshot>,
        binding: Arc<Binding>,
        (texts, memory): (Texts, Box<WorkingMemory>),
    ) -> Self {
        let looks_up = spec.looks_up();
        Self {
            expected: if looks_up { LOOK } else { quiet(snapshot.version) },
            call: Call::None,
            looks_up,
            shared,
            number,
            spec,
            mailbox,
            snapshot,
            binding: Some(binding),
            texts,
            memory,
        }
    }

    /// What it was prepared for.
    pub(crate) const fn spec(&self) -> &Arc<GateSpec> {
        &self.spec
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
        let principal = match self.shared.principal(session, monotonic_ns(), self.is_killed()) {
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
        self.shared.stops(&self.snapshot.base, action)
    }

    /// Take the newest snapshot, if there is a newer one. A call that was begun is over.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn refresh(&mut self) {
        if self.shared.version() != self.snapshot.version {
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
        if self.shared.is_forked() {
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
        denied.map(|code| self.shared.principal(session, monotonic_ns(), self.is_killed()).err().unwrap_or(code))
    }

    /// The denial of a session, or of any resource, that may be another in the call's snapshot, since it came later.
    #[cold]
    fn came_later(&self, session: SessionId) -> Option<Code> {
        let uids = &self.snapshot.base.uids;
        if uids.is_newest() {
            return None;
        }
        match self.shared.principal(session, monotonic_ns(), false) {
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
        if let Some(memory) = self.mailbox.take_memory() {
            self.mailbox.give_back(std::mem::replace(&mut self.memory, memory));
        }
    }

    /// What [`Batch::decide_many`] decides over: the newest bundle, wherever a call of the gate's stands. The gate itself stays
    /// free for others.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let snapshot = self.shared.snapshot();
        let binding = if Arc::ptr_eq(&snapshot.base, &self.snapshot.base) {
            self.binding.clone()
        } else {
            snapshot.base.binding(self.number)
        };
        Batch::new(self.shared.clone(), snapshot, binding)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Nobody waits here: the writing side finds out.
        self.mailbox.leave();
    }
}
