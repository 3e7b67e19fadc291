//! A gate: decides on one action, as a prepared statement runs one query.

use crate::batch::Batch;
use crate::binding::{Argument, Binding, GateSpec};
use crate::exit::{Decision, leave};
use crate::live_attributes::LivePath;
use crate::mailbox::Mailbox;
use crate::memo::Memo;
use crate::shared::Shared;
use crate::snapshot::{EntityError, Snapshot};
use crate::working::{Brings, CallValues, EMPTY_SET, WorkingMemory};
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_codes::Code;
use ztfast_live::{Handle, Place, SessionId};
use ztfast_vm::{ADDED_STRING, EntityRef, Tag, Value};

/// A value of [`Gate::expected`] that no version equals, so that the next decision calls [`Gate::catch_up`].
const NEVER: u64 = u64::MAX;

/// More values than there can be.
const NO_COUNT: usize = usize::MAX;

/// The state of a call that brings texts, entities, sets or addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// No call was begun.
    None,
    /// A call was begun: what it brings and its decision use the gate's snapshot.
    Begun,
    /// A text or an entity of the call was refused, so its decision is a denial with this code, whatever its values.
    Failed(Code),
}

/// A gate. One thread at a time uses it: every method that decides borrows it exclusively.
pub struct Gate {
    pub(crate) shared: Arc<Shared>,
    number: usize,
    spec: Arc<GateSpec>,
    mailbox: Arc<Mailbox>,
    /// The version of the newest snapshot for which a decision need not call [`Gate::catch_up`], unless something is
    /// killed: that of the gate's own. [`NEVER`] while a call is under way, and always if the arguments need a call.
    pub(crate) expected: u64,
    /// The same of a gate that adds live attributes, all of them numbers, and reads the usual clock. [`NEVER`] of any
    /// other gate.
    pub(crate) expected_live: u64,
    /// The same of a gate whose values are passed in one step, and answered by its table. [`NEVER`] of any other gate.
    pub(crate) expected_passed: u64,
    pub(crate) call: Call,
    /// Whether some arguments are texts, entities, sets or addresses. Then each decision needs a call of its own.
    looks_up: bool,
    /// Whether decisions read another clock than the kernel's coarse one, or add live attributes. They take a path of
    /// their own.
    pub(crate) has_own_path: bool,
    /// Whether they read the kernel's coarse clock.
    pub(crate) has_coarse_clock: bool,
    pub(crate) snapshot: Arc<Snapshot>,
    /// How many values the binding takes; [`NO_COUNT`] if there is no binding. It changes together with the binding.
    count: usize,
    /// `None` if the gate does not fit the newest bundle.
    pub(crate) binding: Option<Arc<Binding>>,
    pub(crate) brought: CallValues,
    /// What values answered, if some are not numbers.
    pub(crate) memo: Option<Memo>,
    pub(crate) memory: Box<WorkingMemory>,
}

/// Return the bytes that a gate takes besides its working memory.
pub(crate) const fn fixed_bytes(brings: Brings) -> usize {
    size_of::<Gate>() + CallValues::bytes(brings)
}

impl Gate {
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: usize,
        (spec, mailbox): (Arc<GateSpec>, Arc<Mailbox>),
        snapshot: Arc<Snapshot>,
        binding: Arc<Binding>,
        (brought, memo, memory): (CallValues, Option<Memo>, Box<WorkingMemory>),
    ) -> Self {
        let looks_up = spec.call_brings() != Brings::Nothing;
        let has_coarse_clock = shared.has_coarse_clock();
        let has_own_path = !has_coarse_clock || spec.live;
        let mut gate = Self {
            expected: NEVER,
            expected_live: NEVER,
            expected_passed: NEVER,
            call: Call::None,
            looks_up,
            has_own_path,
            has_coarse_clock,
            shared,
            number,
            spec,
            mailbox,
            snapshot,
            count: binding.count,
            binding: Some(binding),
            brought,
            memo,
            memory,
        };
        gate.expect_the_usual();
        gate
    }

    /// Return whether a decision needs no call, none was begun, and nothing is new or killed.
    pub(crate) fn is_quiet_without_call(&self) -> bool {
        !self.looks_up && self.call == Call::None && self.shared.disquiet(self.snapshot.version) == 0
    }

    /// Return whether the gate has a table of its own, which not every bundle has room for.
    fn has_table(&self) -> bool {
        self.binding.as_ref().is_some_and(|binding| !binding.table.is_empty())
    }

    /// Return whether values that are passed in one step may be decided by the gate's snapshot and table, where
    /// something is new, begun or killed.
    #[cold]
    #[inline(never)]
    pub(crate) fn may_be_passed(&self, session: SessionId, resource: Handle) -> bool {
        !self.shared.is_forked()
            && self.call == Call::None
            && self.has_table()
            && self.is_newest_and_not_killed(session, resource)
    }

    /// Forget what the decision before brought, if the calls of the gate bring nothing themselves.
    pub(crate) fn forget_the_decision_before(&mut self) {
        if !self.looks_up {
            self.brought.clear();
        }
    }

    /// Return the specification that the gate was prepared for.
    pub(crate) const fn spec(&self) -> &Arc<GateSpec> {
        &self.spec
    }

    /// Return whether decisions add the live attributes of a session, which they therefore need.
    #[must_use]
    pub fn adds_live(&self) -> bool {
        self.spec.live
    }

    /// Return whether the gate does not fit the bundle that it last used: that lacks the action or the attributes.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.binding.is_none()
    }

    /// Return the types of the arguments by the bundle that the gate last used; none if the gate is stale.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| binding.types.get(..binding.callers).unwrap_or_default())
    }

    /// Return the paths of the arguments' attributes in the context; none if the gate is stale.
    pub fn paths(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        let callers = self.binding.as_ref().map_or(0, |binding| binding.callers);
        let paths = self.binding.as_ref().map_or(&[][..], |binding| &*binding.paths).iter().take(callers);
        paths.map(|path| path.iter().map(|part| &**part))
    }

    /// Return the snapshot that the gate last used.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Return the bundle generation. It changes with each swap that the gate notices.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.loaded.generation
    }

    /// Begin a call that brings texts, entities, sets or addresses. They and the decision use one snapshot. This ends
    /// the call before and makes its numbers invalid.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn begin(&mut self) {
        self.refresh();
        (self.expected, self.expected_live, self.expected_passed) = (NEVER, NEVER, NEVER);
        self.call = Call::Begun;
        self.brought.clear();
    }

    /// Record that a text or an entity of the call was refused. The decision is then a denial with the first such code.
    pub const fn fail(&mut self, code: Code) {
        if matches!(self.call, Call::Begun) {
            self.call = Call::Failed(code);
        }
    }

    /// Return the number of a text that the bundle holds, valid while [`Self::generation`] stays the same. `None` for
    /// any other text.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[must_use]
    pub fn literal(&self, text: &str) -> Option<i64> {
        self.snapshot.loaded.bundle.find_string(text).map(i64::from)
    }

    /// Return the number of a text in this call. `None` if no call was begun, since the decision might then use a newer
    /// bundle; or if the call's texts exceed the memory reserved for them, and then the decision is [`Code::TooLarge`].
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if self.call == Call::None {
            return None;
        }
        let number = match self.snapshot.string(text) {
            Some(known) if known & ADDED_STRING == 0 => return Some(known as i64),
            Some(added) => self.give(added as i64),
            None => self.brought.number(text).map(|number| number as i64),
        };
        if number.is_none() {
            self.fail(Code::TooLarge);
        }
        number
    }

    /// Return the number of an entity in this call, for the argument at `place`. If this fails, the decision is a
    /// denial, whatever values it is given.
    ///
    /// # Errors
    /// [`EntityError`].
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn entity(&mut self, handle: Handle, place: usize) -> Result<i64, EntityError> {
        if self.call == Call::None {
            return Err(EntityError::Missing);
        }
        let found = self.entity_for(handle, place);
        let found = found.and_then(|entity| self.give(entity.bits() as i64).ok_or(EntityError::TooMany));
        found.inspect_err(|&why| self.fail(why.into()))
    }

    /// Return the number of a set in this call, for the argument at `place`. Elements are given as arguments of their
    /// type are: numbers, numbers of texts, or handles of entities. If this fails, the decision is a denial, whatever
    /// values it is given.
    ///
    /// # Errors
    /// [`EntityError`].
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn set(&mut self, elements: &[i64], place: usize) -> Result<i64, EntityError> {
        if self.call == Call::None {
            return Err(EntityError::Missing);
        }
        let made = self.set_for(elements, place);
        made.inspect_err(|&why| self.fail(why.into()))
    }

    #[inline]
    fn set_for(&mut self, elements: &[i64], place: usize) -> Result<i64, EntityError> {
        let Self { binding, snapshot, brought, .. } = self;
        let binding = binding.as_ref().ok_or(EntityError::StaleGate)?;
        let wanted = binding.arguments.get(place).zip(binding.types.get(place));
        let Some((&Argument::Set(kind, number), ValueType::Set(ty))) = wanted else {
            return Err(EntityError::WrongType);
        };
        let start = brought.begin_set().ok_or(EntityError::TooMany)?;
        let mut added = Ok(());
        for &element in elements {
            let value = match kind {
                Tag::Entity => {
                    let place = snapshot.loaded.key.place(Handle(element.cast_unsigned()));
                    snapshot.entity_of(place, number, ty).map(Value::entity)
                }
                Tag::String if !brought.knows(element) => Err(EntityError::WrongType),
                Tag::Bool => Ok(Value::bool(element != 0)),
                kind => Ok(Value::number(kind, element)),
            };
            added = value.and_then(|value| brought.push(value).ok_or(EntityError::TooMany));
            if added.is_err() {
                break;
            }
        }
        if added.is_err() {
            brought.drop_from(start);
        }
        added.and_then(|()| brought.set(start).ok_or(EntityError::TooMany))
    }

    /// Return the number of an IP address or range in this call: 128 bits, of which an IPv4 address has the low 32; and
    /// the length of the prefix. If this fails, the decision is a denial, whatever values it is given.
    ///
    /// # Errors
    /// [`EntityError::Missing`] if no call was begun or there is no such address, and [`EntityError::TooMany`].
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn address(&mut self, bits: u128, is_v6: bool, prefix: u8) -> Result<i64, EntityError> {
        if self.call == Call::None {
            return Err(EntityError::Missing);
        }
        let is_one = if is_v6 { prefix <= 128 } else { prefix <= 32 && u32::try_from(bits).is_ok() };
        let made = if is_one {
            self.brought.address(bits, is_v6, prefix).ok_or(EntityError::TooMany)
        } else {
            Err(EntityError::Missing)
        };
        made.inspect_err(|&why| self.fail(why.into()))
    }

    fn entity_for(&self, handle: Handle, place: usize) -> Result<EntityRef, EntityError> {
        let binding = self.binding.as_ref().ok_or(EntityError::StaleGate)?;
        let wanted = binding.arguments.get(place).zip(binding.types.get(place));
        let Some((&Argument::Entity(number), ty)) = wanted else { return Err(EntityError::WrongType) };
        self.snapshot.entity_of(self.snapshot.loaded.key.place(handle), number, ty)
    }

    /// Record a number that is valid in this call only. `None` if the call has too many.
    fn give(&mut self, number: i64) -> Option<i64> {
        let given = &mut self.brought.given;
        if !given.contains(&number) {
            if given.len() == given.capacity() {
                return None;
            }
            given.push(number);
        }
        Some(number)
    }

    /// Return whether the values that a call brings are numbers of this call, and have their argument's type.
    #[inline]
    fn are_of_this_call(&self, values: &[i64]) -> bool {
        let Some(binding) = &self.binding else { return true };
        let is_of = |entity: Value, number| self.snapshot.type_of(EntityRef::from_bits(entity.payload)) == Some(number);
        values.iter().zip(&binding.arguments).all(|(&value, argument)| match *argument {
            Argument::Itself | Argument::Nothing => true,
            Argument::Text => self.brought.knows(value),
            Argument::Entity(number) => {
                self.brought.given.contains(&value) && is_of(Value::number(Tag::Entity, value), number)
            }
            Argument::Set(kind, number) => {
                value == EMPTY_SET
                    || self
                        .brought
                        .first_of_set(value)
                        .is_some_and(|first| first.is(kind) && (kind != Tag::Entity || is_of(first, number)))
            }
            Argument::Address => self.brought.is_address(value),
        })
    }

    /// Return whether an entity that the call brings was given another number since.
    fn has_renumbered(&self, values: &[i64]) -> bool {
        let (Some(binding), loaded) = (&self.binding, &self.snapshot.loaded) else { return false };
        if loaded.uids.shared() == 0 {
            return false;
        }
        let is_renumbered = |bits| loaded.is_renumbered(EntityRef::from_bits(bits));
        let given = values.iter().zip(&binding.arguments);
        let mut entities = given.filter(|(_, argument)| matches!(argument, Argument::Entity(_)));
        let mut elements = self.brought.values().iter().filter(|value| value.is(Tag::Entity));
        entities.any(|(value, _)| is_renumbered(value.cast_unsigned()))
            || elements.any(|value| is_renumbered(value.payload))
    }

    /// Return the denial of a request with a value out of its range: [`Code::BadValue`], or the code that applies
    /// whatever the values are. This ends a call that was begun.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn refuse(&mut self, session: SessionId, resource: Handle) -> Decision {
        self.refresh();
        let code = self.refusal(session, resource);
        leave(code)
    }

    fn refusal(&self, session: SessionId, resource: Handle) -> Code {
        if self.shared.is_forked() {
            return Code::Forked;
        }
        let now_ns = self.shared.now_ns();
        if let Some(code) = self.killed(now_ns, session, resource) {
            return code;
        }
        let principal = match self.shared.principal(session, now_ns, false) {
            Ok(principal) => principal,
            Err(code) => return code,
        };
        if self.is_stale() {
            return Code::StaleGate;
        }
        let resource = self.snapshot.loaded.key.place(resource);
        let uids = &self.snapshot.loaded.uids;
        if !uids.covers(principal) {
            return Code::UnknownSession;
        }
        if !uids.covers(resource) {
            return Code::UnknownHandle;
        }
        self.snapshot.resolve_both(principal, resource).err().unwrap_or(Code::BadValue)
    }

    /// Return the binding, if there is one and it takes as many values.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    pub(crate) fn binding_for(&self, values: &[i64]) -> Option<&Binding> {
        if values.len() != self.count {
            return None;
        }
        debug_assert!(self.binding.is_some(), "no slice of numbers is as long as the address space");
        // SAFETY: a slice of eight-byte numbers is never as long as `NO_COUNT`, which `self.count` is while there is no
        // binding.
        Some(unsafe { self.binding.as_deref().unwrap_unchecked() })
    }

    /// Return the denial of a decision that a kill stops. If some entity is killed, that needs the principal, so the
    /// denial may also be the session's.
    #[cold]
    #[inline(never)]
    fn killed(&self, now_ns: i64, session: SessionId, resource: Handle) -> Option<Code> {
        self.shared.switches.at_one_moment(Code::Killed, || self.killed_in_passing(now_ns, session, resource))
    }

    fn killed_in_passing(&self, now_ns: i64, session: SessionId, resource: Handle) -> Option<Code> {
        let action = self.binding.as_ref().map(|binding| binding.action);
        if self.shared.stops(&self.snapshot.loaded, action, now_ns) {
            return Some(Code::Killed);
        }
        if let Some(code) = self.shared.denied_by_state(session) {
            // What the slot says of the session takes precedence.
            let by_slot = self.shared.sessions.valid(session, now_ns).is_none();
            return Some(if by_slot { self.shared.why(session, now_ns) } else { code });
        }
        if !self.shared.stops_some() {
            return None;
        }
        let principal: Place = match self.shared.principal(session, now_ns, false) {
            Ok(principal) => principal,
            Err(code) => return Some(code),
        };
        let places = [principal, self.snapshot.loaded.key.place(resource)];
        self.shared.stops_between_places(&self.snapshot, action, places, now_ns).then_some(Code::Killed)
    }

    /// Return whether the gate has the newest snapshot, and no kill stops the decision.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_newest_and_not_killed(&self, session: SessionId, resource: Handle) -> bool {
        self.shared.version() == self.snapshot.version && self.killed(self.shared.now_ns(), session, resource).is_none()
    }

    /// Take the newest snapshot, if there is a newer one. This ends a call that was begun.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    pub fn refresh(&mut self) {
        if self.shared.version() != self.snapshot.version {
            self.take_newest();
        }
        self.call = Call::None;
        self.expect_the_usual();
    }

    /// Expect the gate's own version, if the next decision then need not call [`Self::catch_up`].
    fn expect_the_usual(&mut self) {
        let version = self.snapshot.version;
        let is_live = || {
            let path = self.binding.as_ref().map(|binding| binding.live_path);
            self.spec.live && self.has_coarse_clock && path == Some(LivePath::Numbers)
        };
        self.expected = if self.looks_up || self.has_own_path { NEVER } else { version };
        self.expected_live = if !self.looks_up && is_live() { version } else { NEVER };
        self.expected_passed = if self.has_table() && self.memo.is_some() { version } else { NEVER };
    }

    /// Handle what the hot path does not expect: a call was begun or is missing, there is a newer snapshot, or
    /// something is killed. Return the denial, if that leads to one. This ends the call.
    #[cold]
    #[inline(never)]
    pub(crate) fn catch_up(
        &mut self,
        now_ns: i64,
        session: SessionId,
        resource: Handle,
        values: &[i64],
    ) -> Option<Code> {
        if self.shared.is_forked() {
            return Some(Code::Forked);
        }
        if self.shared.version() == self.expected {
            return self.killed(now_ns, session, resource);
        }
        let is_newest = self.shared.disquiet(self.snapshot.version) == 0 && self.snapshot.loaded.uids.is_newest();
        if is_newest && self.call == Call::Begun && self.are_of_this_call(values) && !self.has_renumbered(values) {
            self.call = Call::None;
            self.expect_the_usual();
            return None;
        }
        let denied = match self.call {
            // This decision uses the snapshot in which its texts were looked up.
            Call::Begun if !self.are_of_this_call(values) || self.has_renumbered(values) => Some(Code::Corrupt),
            Call::Begun => self.denial_if_reused(session),
            Call::Failed(code) => Some(code),
            Call::None => {
                self.refresh();
                // Numbers without a call belong to another call, which used another snapshot.
                (self.looks_up && self.binding.is_some()).then_some(Code::Corrupt)
            }
        };
        self.call = Call::None;
        self.expect_the_usual();
        if let Some(code) = self.killed(now_ns, session, resource) {
            return Some(code);
        }
        // A denial of the session takes precedence over a denial of the request.
        denied.map(|code| self.shared.principal(session, now_ns, false).err().unwrap_or(code))
    }

    /// Return the denial of a session or resource whose place was reused after the call's snapshot was taken: there it
    /// may name another entity.
    #[cold]
    fn denial_if_reused(&self, session: SessionId) -> Option<Code> {
        let uids = &self.snapshot.loaded.uids;
        if uids.is_newest() {
            return None;
        }
        match self.shared.principal(session, self.shared.now_ns(), false) {
            Ok(principal) if !uids.covers(principal) => Some(Code::UnknownSession),
            Ok(_) if !uids.covers_handles() => Some(Code::UnknownHandle),
            Ok(_) => None,
            Err(code) => Some(code),
        }
    }

    /// Take the newest snapshot from the mailbox. This neither allocates nor frees: the writer keeps bindings and
    /// replaced snapshots alive.
    fn take_newest(&mut self) {
        // The mailbox is empty if this gate took the newest snapshot while the engine was still handing it to other
        // gates.
        let Some(snapshot) = self.mailbox.take() else { return };
        if let Some(memo) = &mut self.memo {
            memo.forget();
        }
        // A change of entities keeps the bundle, and with it the binding.
        if !Arc::ptr_eq(&snapshot.loaded, &self.snapshot.loaded) {
            self.binding = snapshot.loaded.binding(self.number);
            self.count = self.binding.as_ref().map_or(NO_COUNT, |binding| binding.count);
        }
        self.snapshot = snapshot;
        if let Some(memory) = self.mailbox.take_memory() {
            self.mailbox.give_back(std::mem::replace(&mut self.memory, memory));
        }
    }

    /// Give the caller's clock of the engine another time ([`Shared::set_time`]). Return the time that it shows; `None`
    /// if the engine has another clock, or in a forked child.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[must_use]
    pub fn set_time(&self, ns: i64) -> Option<i64> {
        self.shared.tick(ns)
    }

    /// Return a batch over the newest bundle, whatever call the gate has begun. The gate stays free for other
    /// decisions.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let snapshot = self.shared.snapshot();
        let binding = if Arc::ptr_eq(&snapshot.loaded, &self.snapshot.loaded) {
            self.binding.clone()
        } else {
            snapshot.loaded.binding(self.number)
        };
        Batch::new(self.shared.clone(), snapshot, binding)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // The gate does not wait: the writer finds the mark later.
        self.mailbox.leave();
    }
}
