//! The table of sessions, two cache lines each.
//!
//! A session's id is a slot and a random tag, a new one for each admission. An id of another engine, an old id or a
//! forged id therefore names no session. A decision reads the slot without a lock: it reads the state word before and
//! after the other fields (a sequence lock), so it never sees a slot half old and half new.
//!
//! The wall clock gives a session's bounds, and decisions compare them with the monotonic clock. When the wall clock is
//! set, the bounds follow it. A session that this ends stays expired.

use crate::handles::HandleError;
use crate::keeper::{self, Follow};
use crate::names::NameKind;
use crate::numbers::Place;
use crate::owners::{Claim, Owners, PATIENT};
use crate::proof::{MAX_FACTORS, Proof, Scale};
use crate::slot::{
    Admission, FREE, LiveFields, Opened, STATUS_MASK, SessionDetails, SessionId, SessionSlot, SessionStatus, is_of,
};
use crate::state::{Role, State, StateError};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use zerocopy::IntoBytes;
use ztfast_codes::Code;
use ztfast_pages::{Clock, Forked, Reading, Residence, Resident};

/// Why an admission was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AdmitError {
    /// All slots hold valid sessions.
    #[error("all {0} session slots are in use by sessions that are still valid; give the engine more (sessions=...)")]
    Full(usize),
    /// The principal could get no handle.
    #[error(transparent)]
    NoHandle(HandleError),
    /// The principal's handle is not this engine's.
    #[error("the principal's handle is not one of this engine's: take it from this engine")]
    UnknownHandle,
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The engine only decides.
    #[error("this engine was opened with role='decide', which may not admit: let an authority admit the principal")]
    MayNotAdmit,
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which a session's id could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

impl From<HandleError> for AdmitError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Full(_) => Self::NoHandle(error),
            HandleError::Forked(forked) => Self::Forked(forked),
        }
    }
}

/// The most sessions of a table. With these, a tag still has 32 bits, between the slot's number and the status.
pub const MAX_SESSIONS: usize = 1 << 30;

/// Why a session could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeSessionError {
    /// There is no such session, or it is over.
    #[error("the session is over, or there is none with this id: admit the principal again")]
    Over,
    /// Another process was stopped while it wrote the session.
    #[error("another process was stopped while it wrote this session: let it go on, or end it")]
    Busy,
}

/// All sessions of an engine.
pub struct Sessions {
    /// The slots of `table`, stored here to save decisions an indirection.
    slots: NonNull<[SessionSlot]>,
    /// The bits of an id that hold the slot's number. That number is checked against the table as any index is.
    mask: u64,
    table: Arc<Table>,
}

// SAFETY: the slots are shared as `&[SessionSlot]`, which is Sync, for as long as the table lives, and `table` keeps it
// alive.
unsafe impl Send for Sessions {}
// SAFETY: as above.
unsafe impl Sync for Sessions {}

/// The slots, and the writer's data about them.
struct Table {
    state: Arc<State>,
    mask: u64,
    spare: Mutex<Spare>,
    /// Is told whether the bounds are behind the wall clock, in a process that cannot compute them again.
    behind: OnceLock<Box<dyn Fn(bool) + Send + Sync>>,
}

/// What this process knows of slots that can be given out.
#[derive(Default)]
struct Spare {
    /// Ids of sessions that this process revoked, in the order of their revocation. Their slots are reused in this
    /// order.
    revoked: VecDeque<u64>,
    /// Ends and ids of sessions that this process admitted, the next to end first. Some of these sessions may be gone,
    /// and some end sooner.
    ends: BinaryHeap<Reverse<(i64, u64)>>,
    /// Where the next search for a slot begins, which also finds those of other processes.
    cursor: usize,
    /// When the last search found no slot: how many sessions had ended by then, and when the next one ends by itself.
    full: Option<(u64, i64)>,
    random: Random,
}

/// How far the clock readings of two threads may be apart.
const MOMENT_NS: i64 = 1_000_000;

/// How long a process that found no slot believes it. Another one that was killed may have ended a session without
/// saying so.
const FULL_NS: i64 = 50_000_000;

/// How much longer the machine must have slept for the bounds to be computed again.
const SLEPT_NS: i64 = 1_000_000;

/// Random numbers, read from the system many at a time, so that most admissions make no system call for them.
struct Random {
    numbers: [u64; 64],
    left: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { numbers: [0; 64], left: 0 }
    }
}

impl Random {
    fn next(&mut self) -> Result<u64, getrandom::Error> {
        if self.left == 0 {
            getrandom::fill(self.numbers.as_mut_bytes())?;
            self.left = self.numbers.len();
        }
        self.left -= 1;
        // The number is used once, and kept nowhere but in the slot.
        Ok(self.numbers.get_mut(self.left).map_or(0, std::mem::take))
    }
}

/// A slot that this thread alone writes.
struct Claimed<'t> {
    slot: &'t SessionSlot,
    details: &'t SessionDetails,
    claim: Option<Claim>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            Owners::release(&self.details.writer, claim);
        }
    }
}

impl Table {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> &[SessionSlot] {
        self.state.slots()
    }

    /// Return the slots that were ever given out.
    fn used(&self) -> impl Iterator<Item = (usize, &SessionSlot)> {
        let fresh = self.state.control().fresh.load(Ordering::Acquire);
        self.slots().iter().enumerate().take(usize::try_from(fresh).unwrap_or(usize::MAX))
    }

    fn claim(&self, number: usize, patience: Duration) -> Option<Claimed<'_>> {
        let (slot, details) = (self.slots().get(number)?, self.state.details().get(number)?);
        let claim = Some(self.state.owners.claim(&details.writer, patience)?);
        Some(Claimed { slot, details, claim })
    }

    fn now(&self) -> Reading {
        self.state.clock().reading()
    }

    fn is_behind(&self, now: &Reading) -> bool {
        let (control, slept) = (self.state.control(), now.boottime.saturating_sub(now.monotonic));
        now.offset() != control.offset.load(Ordering::Acquire)
            || slept > control.slept.load(Ordering::Acquire).saturating_add(SLEPT_NS)
    }

    fn recompute_bounds(&self, spare: &mut Spare, now: &Reading) {
        let mut is_whole = true;
        for (number, _) in self.used() {
            // Whoever writes the slot meanwhile reads the clocks again when that is done.
            match self.claim(number, PATIENT) {
                Some(claimed) => claimed.slot.follow(claimed.details, now),
                None => is_whole = false,
            }
        }
        self.list_ends(spare);
        let control = self.state.control();
        control.ended.fetch_add(1, Ordering::AcqRel);
        // While a slot is left as it was, the bounds stay behind the clocks: all is tried again, and those who only
        // decide ask the wall clock.
        if is_whole {
            control.slept.store(now.boottime.saturating_sub(now.monotonic), Ordering::Release);
            control.offset.store(now.offset(), Ordering::Release);
        }
    }

    /// Build the list of ends again.
    fn list_ends(&self, spare: &mut Spare) {
        let end = |(_, slot): (usize, &SessionSlot)| {
            let (state, to_ns) = (slot.state.load(Ordering::Relaxed), slot.to_ns.load(Ordering::Relaxed));
            (state & STATUS_MASK != FREE && to_ns != i64::MAX).then_some(Reverse((to_ns, state & !STATUS_MASK)))
        };
        spare.ends.clear();
        spare.ends.extend(self.used().filter_map(end));
    }

    /// Return a slot for another session, claimed: one never used, else that of the session revoked first, else that of
    /// an expired one, as far as this process knows; else any that is over.
    fn free_slot(&self, spare: &mut Spare, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        let fresh = &self.state.control().fresh;
        let most = self.slots().len() as u64;
        while let Ok(number) =
            fresh.fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| (at < most).then_some(at + 1))
        {
            if let Some(found) = self.claim_if_over(usize::try_from(number).ok()?, None, now_ns) {
                return Some(found);
            }
        }
        while let Some(id) = spare.revoked.pop_front() {
            if let Some(found) = self.claim_if_over(usize::try_from(id & self.mask).ok()?, Some(id), now_ns) {
                return Some(found);
            }
        }
        while let Some(&Reverse((to_ns, id))) = spare.ends.peek() {
            if to_ns > now_ns {
                break;
            }
            spare.ends.pop();
            if let Some(found) = self.claim_if_over(usize::try_from(id & self.mask).ok()?, Some(id), now_ns) {
                return Some(found);
            }
        }
        self.search(spare, now_ns)
    }

    /// Claim a slot if its session is over, and, where an id is given, if that is its session.
    fn claim_if_over(&self, number: usize, id: Option<u64>, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        let is_over = |slot: &SessionSlot| {
            let state = slot.state.load(Ordering::Acquire);
            id.is_none_or(|id| state & !STATUS_MASK == id) && is_over(slot, state, now_ns)
        };
        if !is_over(self.slots().get(number)?) {
            return None;
        }
        // Whoever writes the slot gives it to a session, or keeps one alive.
        let claimed = self.claim(number, Duration::ZERO)?;
        is_over(claimed.slot).then_some((number, claimed))
    }

    /// Look at every slot from where the last search ended. A search that would find nothing is not made again soon.
    fn search(&self, spare: &mut Spare, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        let ended = self.state.control().ended.load(Ordering::Acquire);
        if spare.full.is_some_and(|(before, until_ns)| before == ended && now_ns < until_ns) {
            return None;
        }
        let mut next_end_ns = i64::MAX;
        let slots = self.slots();
        for step in 0..slots.len() {
            let number = (spare.cursor + step) % slots.len();
            if let Some(found) = self.claim_if_over(number, None, now_ns) {
                spare.cursor = number + 1;
                spare.full = None;
                return Some(found);
            }
            let slot = slots.get(number)?;
            // Whoever claimed the slot of a session that is over may not use it.
            let is_over = is_over(slot, slot.state.load(Ordering::Acquire), now_ns);
            next_end_ns = next_end_ns.min(if is_over { now_ns } else { slot.to_ns.load(Ordering::Relaxed) });
        }
        spare.full = Some((ended, next_end_ns.min(now_ns.saturating_add(FULL_NS))));
        None
    }
}

/// Return whether the session of a slot is over, so that another may have the slot.
fn is_over(slot: &SessionSlot, state: u64, now_ns: i64) -> bool {
    state & STATUS_MASK == SessionStatus::Revoked.bits()
        || state & STATUS_MASK == FREE
        || state == 0
        || slot.to_ns.load(Ordering::Acquire) <= now_ns
}

impl Follow for Table {
    /// Recompute all bounds if the wall clock was set or the machine slept. A process that only decides says so
    /// instead.
    fn follow(&self) {
        if let Some(behind) = self.behind.get() {
            behind(self.is_behind(&self.now()));
        }
        if matches!(self.state.clock(), Clock::Tsc) {
            ztfast_pages::calibrate();
        }
        if self.state.role() == Role::Authority && self.is_behind(&self.now()) {
            let mut spare = self.spare();
            // Read the clocks again: meanwhile another thread may have recomputed the bounds by a later reading.
            self.recompute_bounds(&mut spare, &self.now());
        }
    }
}

impl Sessions {
    /// Use the sessions of a state.
    #[must_use]
    pub fn of(state: Arc<State>) -> Self {
        let mask = state.slots().len().next_power_of_two() as u64 - 1;
        let table = Table { state, mask, spare: Mutex::default(), behind: OnceLock::new() };
        if !table.state.is_shared() {
            table.recompute_bounds(&mut table.spare(), &table.now());
        }
        let table = Arc::new(table);
        Self { slots: NonNull::from(table.slots()), mask, table }
    }

    /// Create a table in private memory, with this many slots.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn new(capacity: usize, residence: Residence) -> Result<Self, StateError> {
        Ok(Self::of(Arc::new(State::private(capacity.min(MAX_SESSIONS), Clock::Coarse, residence)?)))
    }

    /// Return the state that holds the sessions.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.table.state
    }

    /// Register the table with the process's keeper.
    pub fn watch(&self) {
        let table: Weak<Table> = Arc::downgrade(&self.table);
        keeper::watch(table);
    }

    /// Be told at each check of the clocks whether the bounds are behind the wall clock, in a process that only
    /// decides. Until an authority has computed them again, decisions then ask [`Self::denied_by_wall`] too.
    pub fn when_behind(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        let _ = self.table.behind.set(Box::new(told));
    }

    /// Return the code of the denial of a session that is not valid now by the wall clock, whatever its bounds by the
    /// monotonic clock are.
    #[cold]
    #[must_use]
    pub fn denied_by_wall(&self, session: SessionId) -> Option<Code> {
        let wall_ns = self.table.now().wall;
        let Some(details) = self.table.state.details().get(self.number(session)) else {
            return Some(Code::UnknownSession);
        };
        let (from_ns, to_ns) =
            (details.not_before_ns.load(Ordering::Acquire), details.not_after_ns.load(Ordering::Acquire));
        if wall_ns >= to_ns && to_ns != i64::MAX {
            return Some(Code::Expired);
        }
        (wall_ns < from_ns).then_some(Code::NotYetValid)
    }

    /// Make the bounds follow the wall clock, if it was set.
    pub fn follow(&self) {
        self.table.follow();
    }

    /// Return the pages of the state.
    #[must_use]
    pub fn resident(&self) -> &Resident {
        self.table.state.resident()
    }

    /// Return the bytes of the lines that decisions read.
    #[must_use]
    pub const fn line_bytes(&self) -> usize {
        size_of_val(self.slots())
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    const fn slots(&self) -> &[SessionSlot] {
        // SAFETY: the table lives as long as `self`, and its slots are only ever shared.
        unsafe { self.slots.as_ref() }
    }

    /// Return the slot number in a session's id.
    #[inline(always)]
    #[allow(clippy::inline_always, clippy::cast_possible_truncation)] // on the hot path; the mask has 30 bits
    const fn number(&self, session: SessionId) -> usize {
        (session.0 & self.mask) as usize
    }

    fn slot(&self, session: SessionId) -> Option<&SessionSlot> {
        self.slots().get(self.number(session))
    }

    /// Prefetch a session's slot.
    #[inline]
    pub fn prefetch(&self, session: SessionId) {
        ztfast_pages::prefetch(self.slots(), self.number(session));
    }

    /// Admit a session for the principal at a place.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, principal: Place, admission: &Admission) -> Result<SessionId, AdmitError> {
        self.admit_with(principal, admission, &Known::default())
    }

    /// Admit a session as [`Self::admit`] does, with what else is known about it.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit_with(&self, principal: Place, admission: &Admission, known: &Known) -> Result<SessionId, AdmitError> {
        if self.table.state.role() == Role::Decide {
            return Err(AdmitError::MayNotAdmit);
        }
        let mut spare = self.table.spare();
        let now = self.table.now();
        let session = self.admit_at(&mut spare, principal, admission, known, &now)?;
        // If the clock was set meanwhile, whoever computed the bounds anew may not have seen this session.
        if self.table.is_behind(&now) || self.table.now().offset() != now.offset() {
            self.table.recompute_bounds(&mut spare, &self.table.now());
        }
        Ok(session)
    }

    fn admit_at(
        &self,
        spare: &mut Spare,
        principal: Place,
        admission: &Admission,
        known: &Known,
        now: &Reading,
    ) -> Result<SessionId, AdmitError> {
        let number_of = |place: Place| u32::try_from(place.0).map_err(|_| AdmitError::UnknownHandle);
        let next_to = |place: Option<Place>| place.map_or(Ok(0), |place| number_of(Place(place.0.saturating_add(1))));
        let principal = number_of(principal)?;
        let on_behalf_of = next_to(known.on_behalf_of)?;
        let [region, channel] = [known.region, known.channel].map(|name| name.map_or(0, |name| name + 1));
        if self.table.is_behind(now) {
            self.table.recompute_bounds(spare, now);
        }
        let tag = spare.random.next()? & !self.mask & !STATUS_MASK;
        let full = || AdmitError::Full(self.slots().len());
        let (number, claimed) = self.table.free_slot(spare, now.monotonic).ok_or_else(full)?;
        let tag_of = |state: u64| state & !self.mask & !STATUS_MASK;
        // The tag must differ from the slot's last ones, whose ids must stay invalid, and from that of a slot never
        // used.
        let before = [&claimed.slot.state, &claimed.details.last].map(|state| tag_of(state.load(Ordering::Relaxed)));
        let step = self.step();
        let tags = [tag, tag ^ step, tag ^ step << 1, tag ^ step ^ step << 1];
        let tag = tags.into_iter().find(|tag| *tag != 0 && !before.contains(tag));
        let id = tag.unwrap_or(step) | number as u64;
        let opened = Opened {
            id,
            principal,
            on_behalf_of,
            region,
            channel,
            proof: known.proof.pack(self.table.state.scale()),
            ground: known.ground,
            not_before_ns: admission.not_before_ns,
            not_after_ns: admission.not_after_ns,
        };
        claimed.slot.keep_last(claimed.details);
        let to_ns = claimed.slot.open(claimed.details, &opened, now);
        drop(claimed);
        if to_ns != i64::MAX {
            spare.ends.push(Reverse((to_ns, id)));
            // Revoked sessions leave their ends behind.
            if spare.ends.len() > 2 * self.slots().len() + 64 {
                self.table.list_ends(spare);
            }
        }
        Ok(SessionId(id))
    }

    /// Return the principals of all sessions that are not over, and the entities for which they act. Revoked sessions
    /// are over, and so are those that expired a moment ago: no thread's clock reading is further behind.
    #[must_use]
    pub fn principals(&self) -> HashSet<Place> {
        let _spare = self.table.spare();
        let over_ns = self.table.now().monotonic.saturating_sub(MOMENT_NS);
        let lives = |slot: &&SessionSlot| {
            let status = slot.state.load(Ordering::Acquire) & STATUS_MASK;
            let is_good = status != FREE && status != SessionStatus::Revoked.bits();
            is_good && slot.to_ns.load(Ordering::Relaxed) > over_ns
        };
        let places = |slot: &SessionSlot| {
            let principal = Place(slot.principal.load(Ordering::Relaxed) as usize);
            std::iter::once(principal).chain(place_before(slot.on_behalf_of.load(Ordering::Relaxed)))
        };
        self.table.used().map(|(_, slot)| slot).filter(lives).flat_map(places).collect()
    }

    /// Return the lowest bit of a tag.
    const fn step(&self) -> u64 {
        self.mask + 1
    }

    /// Set a session's status. Return `false` if there is no such session, or it was revoked, which is final.
    #[must_use]
    pub fn set(&self, session: SessionId, status: SessionStatus) -> bool {
        let is_writable = self.table.state.role() == Role::Authority;
        let changed = is_writable && self.slot(session).is_some_and(|slot| slot.set(session, self.mask, status));
        if changed && status == SessionStatus::Revoked {
            // The slot can be reused from now on. Only this waits for the lock; the revocation did not.
            self.table.spare().revoked.push_back(session.0);
            self.table.state.control().ended.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Set the status of every session that `chosen` picks. Return how many changed. Sessions that are admitted
    /// meanwhile may be missed.
    #[must_use]
    pub fn set_all(&self, status: SessionStatus, chosen: impl Fn(&SessionRecord) -> bool) -> usize {
        self.all().iter().filter(|record| chosen(record) && self.set(record.id, status)).count()
    }

    /// Return all sessions that are not over, and those that were revoked or expired while nobody has their slot yet.
    #[must_use]
    pub fn all(&self) -> Vec<SessionRecord> {
        self.table.used().filter_map(|(number, slot)| self.record_at(number, slot)).collect()
    }

    /// Return what is known about a session; `None` if there is none with this id.
    #[must_use]
    pub fn record(&self, session: SessionId) -> Option<SessionRecord> {
        self.record_at(self.number(session), self.slot(session)?).filter(|record| record.id == session)
    }

    fn record_at(&self, number: usize, slot: &SessionSlot) -> Option<SessionRecord> {
        let details = self.table.state.details().get(number)?;
        let scale = self.table.state.scale();
        // A slot that changes all the time is none whose session could be told.
        for _ in 0..64 {
            let state = slot.state.load(Ordering::Acquire);
            let status = match state & STATUS_MASK {
                0 => SessionStatus::Active,
                status if status == SessionStatus::Revoked.bits() => SessionStatus::Revoked,
                status if status == SessionStatus::Quarantined.bits() => SessionStatus::Quarantined,
                _ => return None,
            };
            let id = SessionId(state & !STATUS_MASK);
            if !is_of(state, id, self.mask) {
                return None;
            }
            let record = SessionRecord {
                id,
                status,
                principal: Place(slot.principal.load(Ordering::Relaxed) as usize),
                not_before_ns: details.not_before_ns.load(Ordering::Relaxed),
                not_after_ns: details.not_after_ns.load(Ordering::Relaxed),
                to_ns: slot.to_ns.load(Ordering::Relaxed),
                admitted_ns: details.admitted_ns.load(Ordering::Relaxed),
                ground: details.ground.load(Ordering::Relaxed),
                live: live_attributes(&slot.live_fields(), scale),
            };
            fence(Ordering::Acquire);
            if slot.state.load(Ordering::Relaxed) == state {
                return Some(record);
            }
        }
        None
    }

    /// Return what decisions read of an active session besides its bounds; `None` for any other.
    #[inline]
    #[must_use]
    pub fn live(&self, session: SessionId) -> Option<LiveAttributes> {
        self.slot(session)?.live(session).map(|fields| live_attributes(&fields, self.table.state.scale()))
    }

    /// Run `job` as the only writer of a session that is not over.
    fn change<T>(
        &self,
        session: SessionId,
        job: impl FnOnce(&Claimed<'_>, &Reading) -> T,
    ) -> Result<T, ChangeSessionError> {
        if self.table.state.role() == Role::Decide || self.slot(session).is_none() {
            return Err(ChangeSessionError::Over);
        }
        let claimed = self.table.claim(self.number(session), PATIENT).ok_or(ChangeSessionError::Busy)?;
        let state = claimed.slot.state.load(Ordering::Acquire);
        let now = self.table.now();
        if !is_of(state, session, self.mask) || is_over(claimed.slot, state, now.monotonic) {
            return Err(ChangeSessionError::Over);
        }
        Ok(job(&claimed, &now))
    }

    /// Give a session another end, later or sooner, in nanoseconds since the epoch. One that is over stays over.
    ///
    /// # Errors
    /// [`ChangeSessionError`].
    pub fn renew(&self, session: SessionId, not_after_ns: i64) -> Result<(), ChangeSessionError> {
        let mut spare = self.table.spare();
        let (to_ns, by) =
            self.change(session, |claimed, now| (claimed.slot.renew(claimed.details, not_after_ns, now), *now))?;
        if to_ns != i64::MAX {
            spare.ends.push(Reverse((to_ns, session.0)));
        }
        self.table.state.control().ended.fetch_add(1, Ordering::AcqRel);
        // If the clock was set meanwhile, whoever computed the bounds anew may have passed this session over.
        let now = self.table.now();
        if self.table.is_behind(&now) || now.offset() != by.offset() {
            self.table.recompute_bounds(&mut spare, &now);
        }
        Ok(())
    }

    /// Change how a session's principal has proved who it is.
    ///
    /// # Errors
    /// [`ChangeSessionError`].
    pub fn present(&self, session: SessionId, with: impl FnOnce(Proof) -> Proof) -> Result<(), ChangeSessionError> {
        let scale = self.table.state.scale();
        self.change(session, |claimed, _| {
            let before = Proof::unpack(claimed.slot.proof.load(Ordering::Relaxed), scale);
            claimed.slot.proof.store(with(before).pack(scale), Ordering::Release);
        })
    }

    /// Return the numbers of factors, which get one if they have none. `None` if there are too many, or a name is too
    /// long.
    ///
    /// # Errors
    /// The system cannot lock the state's file.
    pub fn factors<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> io::Result<Option<u32>> {
        let names: Vec<&str> = names.into_iter().collect();
        // Names that are refused take no place.
        let known = self.table.state.factor_names();
        let new: HashSet<&str> =
            names.iter().copied().filter(|name| !known.iter().any(|known| known == name)).collect();
        if known.len() + new.len() > MAX_FACTORS {
            return Ok(None);
        }
        let mut bits = 0;
        for name in names {
            let Some(number) = self.number_of(NameKind::Factor, name)? else { return Ok(None) };
            bits |= 1 << number;
        }
        Ok(Some(bits))
    }

    /// Return the number of the name of a region or a channel, which gets one if it has none. `None` if there are too
    /// many, or the name is too long.
    ///
    /// # Errors
    /// The system cannot lock the state's file.
    pub fn name(&self, name: &str) -> io::Result<Option<u32>> {
        self.number_of(NameKind::Other, name)
    }

    fn number_of(&self, kind: NameKind, name: &str) -> io::Result<Option<u32>> {
        let names = self.table.state.names(kind);
        match names.find(name) {
            Some(known) => Ok(Some(known)),
            None if self.table.state.role() == Role::Decide => Ok(None),
            None => self.table.state.owners.alone(|| names.add(name)),
        }
    }

    /// Return the place of a session's principal, if the session is valid now, by the monotonic clock.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    #[must_use]
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<Place> {
        self.slots().get(self.number(session))?.valid(session, now_ns).map(|place| Place(place as usize))
    }

    #[cfg(test)]
    fn check(&self, session: SessionId, now_ns: i64) -> Result<Place, Code> {
        self.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    /// Return the code of the denial of a session that was found invalid, as far as its slot still tells.
    #[inline]
    #[must_use]
    pub fn why(&self, session: SessionId, now_ns: i64) -> Code {
        let Some(slot) = self.slot(session) else { return Code::UnknownSession };
        let state = slot.state.load(Ordering::Acquire);
        if !is_of(state, session, self.mask) {
            return Code::UnknownSession;
        }
        match state & STATUS_MASK {
            status if status == SessionStatus::Revoked.bits() => Code::Revoked,
            status if status == SessionStatus::Quarantined.bits() => Code::Quarantined,
            _ if now_ns >= slot.to_ns.load(Ordering::Relaxed) => Code::Expired,
            _ if now_ns < slot.from_ns.load(Ordering::Relaxed) => Code::NotYetValid,
            // The session was in quarantine, and is not any more.
            _ => Code::Quarantined,
        }
    }
}

/// What is known about a session besides its principal and its bounds; nothing, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// How the principal proved who it is, and its risk.
    pub proof: Proof,
    /// The entity for which the principal acts.
    pub on_behalf_of: Option<Place>,
    /// The number of the region's name ([`State::name`]).
    pub region: Option<u32>,
    /// The number of the name of how the credential was proved.
    pub channel: Option<u32>,
    /// What the session rests on: it can be revoked by this number; 0 for nothing.
    pub ground: u64,
}

impl Default for Known {
    fn default() -> Self {
        let proof = Proof { at_ns: i64::MIN, factors: 0, assurance: 0, risk: 0 };
        Self { proof, on_behalf_of: None, region: None, channel: None, ground: 0 }
    }
}

/// What decisions read of a session besides its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAttributes {
    /// How the principal proved who it is, and its risk.
    pub proof: Proof,
    /// The entity for which the principal acts.
    pub on_behalf_of: Option<Place>,
    /// The number of the region's name ([`State::name`]).
    pub region: Option<u32>,
    /// The number of the name of how the credential was proved.
    pub channel: Option<u32>,
}

#[inline]
fn live_attributes(fields: &LiveFields, scale: Scale) -> LiveAttributes {
    LiveAttributes {
        proof: Proof::unpack(fields.proof, scale),
        on_behalf_of: place_before(fields.on_behalf_of),
        region: fields.region.checked_sub(1),
        channel: fields.channel.checked_sub(1),
    }
}

/// Return the place of a number that is one more than it; `None` for 0.
#[inline]
fn place_before(next: u32) -> Option<Place> {
    next.checked_sub(1).map(|place| Place(place as usize))
}

/// A session, as a list of sessions shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its status.
    pub status: SessionStatus,
    /// Its principal's place.
    pub principal: Place,
    /// Its bounds as admitted or renewed, by the wall clock.
    pub not_before_ns: i64,
    /// The end, in the same way.
    pub not_after_ns: i64,
    /// Its end, by the monotonic clock.
    pub to_ns: i64,
    /// When it was admitted, by the wall clock.
    pub admitted_ns: i64,
    /// What it rests on; 0 for nothing.
    pub ground: u64,
    /// What decisions read of it.
    pub live: LiveAttributes,
}

#[cfg(test)]
mod reuse;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Handle;

    pub(super) const ADMISSION: Admission = Admission { principal: Handle(0), not_before_ns: 10, not_after_ns: 20 };

    /// Return a reading where wall and monotonic clock agree, without sleep.
    pub(super) const fn at(now_ns: i64) -> Reading {
        Reading { wall: now_ns, monotonic: now_ns, boottime: now_ns }
    }

    pub(super) fn admit_as(
        sessions: &Sessions,
        principal: usize,
        admission: &Admission,
        now: &Reading,
    ) -> Result<SessionId, AdmitError> {
        sessions.admit_at(&mut sessions.table.spare(), Place(principal), admission, &Known::default(), now)
    }

    pub(super) fn admit(sessions: &Sessions, principal: usize, now_ns: i64) -> Result<SessionId, AdmitError> {
        admit_as(sessions, principal, &ADMISSION, &at(now_ns))
    }

    /// Do what the keeper does when it reads these clocks.
    fn follow(sessions: &Sessions, now: &Reading) {
        assert!(sessions.table.is_behind(now));
        sessions.table.recompute_bounds(&mut sessions.table.spare(), now);
        assert!(!sessions.table.is_behind(now));
    }

    #[test]
    fn a_session_is_good_within_its_validity_only() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit(&sessions, 7, 0).unwrap();
        assert_eq!(sessions.check(session, 9), Err(Code::NotYetValid));
        assert_eq!(sessions.check(session, 10), Ok(Place(7)));
        assert_eq!(sessions.check(session, 19), Ok(Place(7)));
        assert_eq!(sessions.check(session, 20), Err(Code::Expired));
    }

    #[test]
    fn ids_that_were_never_given_are_unknown() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit(&sessions, 7, 0).unwrap();
        let forged = (0..64).map(|bit| session.0 ^ 1 << bit);
        for id in [0, 1, 2, 3, 1 << 62, 2 << 62, 3 << 62, u64::MAX, 0xFFFF_FFFF].into_iter().chain(forged) {
            assert_eq!(sessions.check(SessionId(id), 15), Err(Code::UnknownSession), "{id:#x}");
            assert!(!sessions.set(SessionId(id), SessionStatus::Active), "{id:#x}");
        }
    }

    #[test]
    fn sessions_of_another_table_are_unknown() {
        // Capacities of one, of some, and one that is no power of two.
        for capacity in [1, 4, 5, if cfg!(miri) { 1 << 6 } else { 1 << 12 }] {
            let tables = [(); 2].map(|()| Sessions::new(capacity, Residence::default()).unwrap());
            let ids = tables.each_ref().map(|table| admit(table, 7, 0).unwrap());
            for (table, foreign) in [(&tables[0], ids[1]), (&tables[1], ids[0])] {
                assert_eq!(table.check(foreign, 15), Err(Code::UnknownSession));
                for status in [SessionStatus::Revoked, SessionStatus::Quarantined, SessionStatus::Active] {
                    assert!(!table.set(foreign, status));
                }
            }
            for (table, own) in tables.iter().zip(ids) {
                assert_eq!(table.check(own, 15), Ok(Place(7)));
            }
        }
    }

    #[test]
    fn each_admission_has_a_tag_of_its_own() {
        let sessions = Sessions::new(1, Residence::default()).unwrap();
        let mut given = std::collections::HashSet::new();
        for _ in 0..if cfg!(miri) { 20 } else { 1_000 } {
            let session = admit(&sessions, 7, 15).unwrap();
            assert!(session.0 >> 62 == 0 && session.0 != 0 && given.insert(session.0));
            assert!(sessions.set(session, SessionStatus::Revoked));
        }
        for id in given {
            assert_ne!(sessions.check(SessionId(id), 15), Ok(Place(7)));
        }
    }

    #[test]
    fn revocation_is_for_good_and_quarantine_is_not() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit(&sessions, 7, 0).unwrap();
        assert!(sessions.set(session, SessionStatus::Quarantined));
        assert_eq!(sessions.check(session, 15), Err(Code::Quarantined));
        assert!(sessions.set(session, SessionStatus::Active));
        assert_eq!(sessions.check(session, 15), Ok(Place(7)));
        assert!(sessions.set(session, SessionStatus::Revoked));
        assert!(!sessions.set(session, SessionStatus::Active));
        assert_eq!(sessions.check(session, 15), Err(Code::Revoked));
    }

    #[test]
    fn a_full_table_reuses_what_is_over_and_old_ids_stay_dead() {
        let sessions = Sessions::new(2, Residence::default()).unwrap();
        let first = admit(&sessions, 1, 15).unwrap();
        let second = admit(&sessions, 2, 15).unwrap();
        assert_eq!(admit(&sessions, 3, 15), Err(AdmitError::Full(2)));
        assert!(sessions.set(first, SessionStatus::Revoked));
        let third = admit(&sessions, 3, 15).unwrap();
        assert_eq!(sessions.check(third, 15), Ok(Place(3)));
        assert_eq!(sessions.check(first, 15), Err(Code::UnknownSession));
        assert_eq!(sessions.check(second, 15), Ok(Place(2)));
        let late = Admission { not_after_ns: 50, ..ADMISSION };
        let fourth = admit_as(&sessions, 4, &late, &at(30)).unwrap();
        assert_eq!(sessions.check(fourth, 30), Ok(Place(4)));
        // Both others have expired, and the slot of one of them was reused.
        let mut codes = [second, third].map(|session| sessions.check(session, 30).unwrap_err() as u8);
        codes.sort_unstable();
        assert_eq!(codes, [Code::Expired as u8, Code::UnknownSession as u8]);
    }

    // Clocks in seconds: the machine started when the wall clock showed 1,000.
    const fn clocks(wall: i64, monotonic: i64, slept: i64) -> Reading {
        const SECOND: i64 = 1_000_000_000;
        Reading { wall: wall * SECOND, monotonic: monotonic * SECOND, boottime: (monotonic + slept) * SECOND }
    }

    const fn seconds(from: i64, to: i64) -> Admission {
        const SECOND: i64 = 1_000_000_000;
        let to = if to == i64::MAX { to } else { to * SECOND };
        Admission { principal: Handle(0), not_before_ns: from * SECOND, not_after_ns: to }
    }

    fn code(sessions: &Sessions, session: SessionId, now: &Reading) -> Code {
        sessions.check(session, now.monotonic).map_or_else(|code| code, |_| Code::Allow)
    }

    #[test]
    fn what_expired_stays_so_when_the_wall_clock_steps_back() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_000, 1_060), &clocks(1_010, 10, 0)).unwrap();
        assert_eq!(code(&sessions, session, &clocks(1_059, 59, 0)), Code::Allow);
        assert_eq!(code(&sessions, session, &clocks(1_060, 60, 0)), Code::Expired);
        // The clock steps back by half a minute, with and without the keeper.
        assert_eq!(code(&sessions, session, &clocks(1_031, 61, 0)), Code::Expired);
        follow(&sessions, &clocks(1_031, 61, 0));
        assert_eq!(code(&sessions, session, &clocks(1_031, 61, 0)), Code::Expired);
        assert_eq!(code(&sessions, session, &clocks(1_040, 70, 0)), Code::Expired);
    }

    #[test]
    fn a_wall_clock_that_steps_back_prolongs_nothing() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_000, 1_060), &clocks(1_010, 10, 0)).unwrap();
        follow(&sessions, &clocks(1_005, 20, 0));
        assert_eq!(code(&sessions, session, &clocks(1_044, 59, 0)), Code::Allow);
        assert_eq!(code(&sessions, session, &clocks(1_045, 60, 0)), Code::Expired);
    }

    #[test]
    fn a_wall_clock_that_steps_forward_ends_sessions_for_good() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_000, 1_060), &clocks(1_010, 10, 0)).unwrap();
        let longer = admit_as(&sessions, 7, &seconds(1_000, 1_090), &clocks(1_010, 10, 0)).unwrap();
        follow(&sessions, &clocks(1_070, 20, 0));
        assert_eq!(code(&sessions, session, &clocks(1_070, 20, 0)), Code::Expired);
        assert_eq!(code(&sessions, longer, &clocks(1_070, 20, 0)), Code::Allow);
        // The clock is corrected. The session that it ended stays expired.
        follow(&sessions, &clocks(1_021, 21, 0));
        assert_eq!(code(&sessions, session, &clocks(1_021, 21, 0)), Code::Expired);
        assert_eq!(code(&sessions, longer, &clocks(1_039, 39, 0)), Code::Allow);
        assert_eq!(code(&sessions, longer, &clocks(1_040, 40, 0)), Code::Expired);
    }

    #[test]
    fn sessions_begin_by_the_wall_clock() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_030, 1_060), &clocks(1_010, 10, 0)).unwrap();
        assert_eq!(code(&sessions, session, &clocks(1_029, 29, 0)), Code::NotYetValid);
        follow(&sessions, &clocks(1_035, 29, 0));
        assert_eq!(code(&sessions, session, &clocks(1_035, 29, 0)), Code::Allow);
        follow(&sessions, &clocks(1_020, 30, 0));
        assert_eq!(code(&sessions, session, &clocks(1_020, 30, 0)), Code::NotYetValid);
        assert_eq!(code(&sessions, session, &clocks(1_030, 40, 0)), Code::Allow);
    }

    #[test]
    fn what_has_no_end_has_none_by_any_clock() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(0, i64::MAX), &clocks(1_010, 10, 0)).unwrap();
        for now in [clocks(9_000_000_000, 20, 0), clocks(1, 21, 0), clocks(1_020, 22, 3_000_000)] {
            follow(&sessions, &now);
            assert_eq!(code(&sessions, session, &now), Code::Allow);
        }
        assert_eq!(sessions.check(session, i64::MAX), Err(Code::Expired), "no clock could be read");
    }

    #[test]
    fn a_machine_that_slept_ends_sessions_though_its_wall_clock_stood_still() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_000, 1_060), &clocks(1_010, 10, 5)).unwrap();
        let longer = admit_as(&sessions, 7, &seconds(1_000, 1_090), &clocks(1_010, 10, 5)).unwrap();
        follow(&sessions, &clocks(1_020, 20, 65));
        assert_eq!(code(&sessions, session, &clocks(1_020, 20, 65)), Code::Expired);
        assert_eq!(code(&sessions, longer, &clocks(1_029, 29, 65)), Code::Allow);
        assert_eq!(code(&sessions, longer, &clocks(1_030, 30, 65)), Code::Expired);
    }

    #[test]
    fn an_admission_notices_that_the_clock_was_set() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = admit_as(&sessions, 7, &seconds(1_000, 1_060), &clocks(1_010, 10, 0)).unwrap();
        let other = admit_as(&sessions, 8, &seconds(1_000, 1_060), &clocks(1_050, 20, 0)).unwrap();
        for session in [session, other] {
            assert_eq!(code(&sessions, session, &clocks(1_059, 29, 0)), Code::Allow);
            assert_eq!(code(&sessions, session, &clocks(1_060, 30, 0)), Code::Expired);
        }
    }

    #[test]
    fn slots_of_sessions_that_the_clock_ended_can_be_had() {
        let sessions = Sessions::new(2, Residence::default()).unwrap();
        let admit = |to, now: &Reading| admit_as(&sessions, 7, &seconds(0, to), now);
        admit(1_060, &clocks(1_010, 10, 0)).unwrap();
        let endless = admit(i64::MAX, &clocks(1_010, 10, 0)).unwrap();
        assert_eq!(admit(1_060, &clocks(1_020, 20, 0)), Err(AdmitError::Full(2)));
        assert!(admit(1_090, &clocks(1_070, 21, 0)).is_ok());
        assert_eq!(admit(1_060, &clocks(1_071, 22, 0)), Err(AdmitError::Full(2)));
        assert_eq!(code(&sessions, endless, &clocks(1_071, 22, 0)), Code::Allow);
    }

    #[test]
    fn the_first_revoked_gives_way_first_and_lists_stay_short() {
        let sessions = Sessions::new(3, Residence::default()).unwrap();
        let mut live = VecDeque::new();
        for round in 0..if cfg!(miri) { 20 } else { 1_000 } {
            let session = admit_as(&sessions, 7, &seconds(0, 1_000_000), &clocks(1_010, 10, 0)).unwrap();
            live.push_back(session);
            if live.len() == 3 {
                // The slot of the session revoked last is not reused yet.
                let gone = live.pop_front().unwrap();
                assert!(sessions.set(gone, SessionStatus::Revoked));
                assert_eq!(code(&sessions, gone, &clocks(1_010, 10, 0)), Code::Revoked, "{round}");
            }
        }
        let spare = sessions.table.spare();
        assert!(spare.ends.len() <= 2 * 3 + 64 && spare.revoked.len() <= 3);
    }
}
