//! The table of sessions, two cache lines each.
//!
//! A session's id is a slot and a random tag, a new one for each admission. An id of another engine, an old id or a
//! forged id therefore names no session. A decision reads the slot without a lock: it reads the state word before and
//! after the other fields (a sequence lock), so it never sees a slot half old and half new.
//!
//! The wall clock gives a session's bounds, and decisions compare them with the monotonic clock. When the wall clock is
//! set, the bounds follow it. A session that this ends stays expired.

mod free;
mod record;
mod spare;
mod table;

pub use record::{Known, LiveAttributes, SessionRecord};
pub use table::Notice;

use crate::handles::HandleError;
use crate::keeper;
use crate::names::NameKind;
use crate::notes::{Deed, Note, Noted, Notes};
use crate::numbers::Place;
use crate::owners::PATIENT;
use crate::proof::{MAX_FACTORS, Proof, Scale};
use crate::refusal::SwitchError;
use crate::slot::{
    Admission, FREE, LiveFields, MAX_GROUNDS, Opened, STATUS_MASK, SessionId, SessionSlot, SessionStatus, is_of,
};
use crate::state::{State, StateError, StateGone};
use record::{live_attributes, place_before};
use spare::Spare;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use table::{Claimed, Table, is_over};
use ztfast_codes::Code;
use ztfast_pages::{Clock, Forked, Reading, Residence, Resident, Role};

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
    /// The state's file is gone.
    #[error(transparent)]
    Gone(#[from] StateGone),
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
            HandleError::Full(_) | HandleError::RegisterFull(_) | HandleError::TooLong { .. } => Self::NoHandle(error),
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
    /// The session ends with the credential that it rests on.
    #[error("the session rests on a credential, and cannot be valid for longer: admit the credential again")]
    Bound,
}

/// What a session was before its status changed.
enum Was {
    Live,
    Expired,
}

/// All sessions of an engine.
pub struct Sessions {
    /// The slots of `table`, stored here to save decisions an indirection.
    slots: NonNull<[SessionSlot]>,
    /// The bits of an id that hold the slot's number. That number is checked against the table as any index is.
    mask: u64,
    /// How the state holds the times of proofs, stored here in the same way.
    scale: Scale,
    table: Arc<Table>,
}

// SAFETY: the slots are shared as `&[SessionSlot]`, which is Sync, for as long as the table lives, and `table` keeps it
// alive.
unsafe impl Send for Sessions {}
// SAFETY: as above.
unsafe impl Sync for Sessions {}

/// How far the clock readings of two threads may be apart.
const MOMENT_NS: i64 = 1_000_000;

impl Sessions {
    /// Use the sessions of a state.
    #[must_use]
    pub fn of(state: Arc<State>) -> Self {
        let mask = state.slots().len().next_power_of_two() as u64 - 1;
        let table = Table::of(state, mask);
        if !table.state.is_shared() {
            table.recompute_bounds(&mut table.spare(), &table.now());
        }
        let table = Arc::new(table);
        let scale = table.state.scale();
        Self { slots: NonNull::from(table.slots()), mask, scale, table }
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

    /// Be told what is found out about the state. While the bounds are behind the wall clock, until an authority has
    /// computed them again, decisions ask [`Self::denied_by_wall`] too. Once the state's file is gone, they all
    /// deny.
    pub fn when_noticed(&self, told: impl Fn(Notice) + Send + Sync + 'static) {
        self.table.tell(Box::new(told));
    }

    /// Refuse a state whose file is gone.
    ///
    /// # Errors
    /// [`StateGone`].
    pub fn check_file(&self) -> Result<(), StateGone> {
        self.table.check_file()
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
        self.vacancy()?.admit(principal, admission, known)
    }

    /// Find a slot for another session, before anything is kept for it that is never released.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn vacancy(&self) -> Result<Vacancy<'_>, AdmitError> {
        if self.table.state.role() == Role::Decide {
            return Err(AdmitError::MayNotAdmit);
        }
        self.table.state.check_known()?;
        let now = self.table.now();
        let (number, claimed) = self.free_slot_at(&mut self.table.spare(), &now)?;
        Ok(Vacancy { sessions: self, number, claimed, is_used: false })
    }

    fn free_slot_at(&self, spare: &mut Spare, now: &Reading) -> Result<(usize, Claimed<'_>), AdmitError> {
        if self.table.is_behind(now) {
            self.table.recompute_bounds(spare, now);
        }
        self.table.free_slot(spare, now.monotonic).ok_or_else(|| AdmitError::Full(self.slots().len()))
    }

    #[cfg(test)]
    fn admit_at(
        &self,
        spare: &mut Spare,
        principal: Place,
        admission: &Admission,
        known: &Known,
        now: &Reading,
    ) -> Result<SessionId, AdmitError> {
        let (number, claimed) = self.free_slot_at(spare, now)?;
        self.open_at(spare, (number, &claimed), principal, admission, known, now)
    }

    /// Give a claimed slot to a session.
    fn open_at(
        &self,
        spare: &mut Spare,
        (number, claimed): (usize, &Claimed<'_>),
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
        let tag = spare.random.next()? & !self.mask & !STATUS_MASK;
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
            grounds: known.grounds,
            not_before_ns: admission.not_before_ns,
            not_after_ns: admission.not_after_ns,
        };
        claimed.slot.keep_last(claimed.details);
        let to_ns = claimed.slot.open(claimed.details, &opened, now);
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

    /// Set a session's status. Return `false` if there is no such session, or it has the status already, or it is over:
    /// revocation is final, and one that expired is denied anyway.
    #[must_use]
    pub fn set(&self, session: SessionId, status: SessionStatus) -> bool {
        self.set_noted(session, status, None)
    }

    /// Set a session's status as [`Self::set`] does, and keep with it who did that; `None` for nobody that is named.
    #[must_use]
    pub fn set_noted(&self, session: SessionId, status: SessionStatus, note: Option<&Note>) -> bool {
        let changed = match self.change_status(session, status) {
            Some(Was::Live) => true,
            Some(Was::Expired) => self.was_renewed(session, status),
            None => false,
        };
        if changed {
            self.keep_note(&[session], status, note);
        }
        changed
    }

    /// Set a session's status, and return what it was before; `None` if nothing changed. One that has expired gets it
    /// all the same: a renewal that found it alive may be under way.
    fn change_status(&self, session: SessionId, status: SessionStatus) -> Option<Was> {
        // Afterwards the slot may be another session's.
        let is_live = self.slot(session).is_some_and(|slot| !self.is_expired(slot.to_ns.load(Ordering::Acquire)));
        let was = if is_live { Was::Live } else { Was::Expired };
        self.set_status(session, status).then_some(was)
    }

    /// Return whether a renewal was under way when a session that had expired got this status. This waits for it; one
    /// that was stopped is taken for one that goes on.
    fn was_renewed(&self, session: SessionId, status: SessionStatus) -> bool {
        let Some(claimed) = self.table.claim(self.number(session), PATIENT) else { return true };
        let state = claimed.slot.state.load(Ordering::Acquire);
        let is_same = is_of(state, session, self.mask) && state & STATUS_MASK == status.bits();
        is_same && !self.is_expired(claimed.slot.to_ns.load(Ordering::Acquire))
    }

    fn is_expired(&self, to_ns: i64) -> bool {
        to_ns <= self.table.state.now_ns()
    }

    fn set_status(&self, session: SessionId, status: SessionStatus) -> bool {
        let is_writable = self.table.state.role() == Role::Authority;
        let changed = is_writable && self.slot(session).is_some_and(|slot| slot.set(session, self.mask, status));
        if changed && status == SessionStatus::Revoked {
            // The slot can be reused from now on. Only this waits for the lock; the revocation did not.
            self.table.spare().revoked.push_back(session.0);
            self.table.state.control().ended.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Keep a note about sessions whose status was set already: that waits for nobody. Others may have given them
    /// another one meanwhile, with a note of their own.
    fn keep_note(&self, sessions: &[SessionId], status: SessionStatus, note: Option<&Note>) {
        let state = &self.table.state;
        let count = sessions.len() as u64;
        let note = note.map_or(0, |note| state.notes().write(&state.owners, note, Deed::Set(status), count));
        for &session in sessions {
            let number = self.number(session);
            let known = state.details().get(number).map(|details| details.note.load(Ordering::Acquire));
            if known == Some(note) {
                continue;
            }
            let Some(claimed) = self.table.claim(number, PATIENT) else { continue };
            let now = claimed.slot.state.load(Ordering::Acquire);
            if is_of(now, session, self.mask) && now & STATUS_MASK == status.bits() {
                claimed.details.note.store(note, Ordering::Release);
            }
        }
    }

    /// Set the status of every session that `chosen` picks, with a note. Return how many changed, as for [`Self::set`].
    /// Sessions that are admitted meanwhile may be missed.
    #[must_use]
    pub fn set_all(
        &self,
        status: SessionStatus,
        note: Option<&Note>,
        chosen: impl Fn(&SessionRecord) -> bool,
    ) -> usize {
        let (mut changed, mut expired) = (Vec::new(), Vec::new());
        // Each session is changed as soon as it is found: a list of all would keep the first one waiting.
        for record in self.records().filter(chosen) {
            match self.change_status(record.id, status) {
                Some(Was::Live) => changed.push(record.id),
                Some(Was::Expired) => expired.push(record.id),
                None => {}
            }
        }
        changed.extend(expired.into_iter().filter(|&session| self.was_renewed(session, status)));
        // What changes nothing takes no note's place.
        if !changed.is_empty() {
            self.keep_note(&changed, status, note);
        }
        changed.len()
    }

    /// Return how many of the sessions that `chosen` picks have this status and are not over.
    #[must_use]
    pub fn count(&self, status: SessionStatus, chosen: impl Fn(&SessionRecord) -> bool) -> usize {
        let is_counted = |record: &SessionRecord| record.status == status && !self.is_expired(record.to_ns);
        self.records().filter(|record| is_counted(record) && chosen(record)).count()
    }

    /// Return a note of who changes something now, and why, for [`Self::set_noted`] and [`Self::keep`].
    ///
    /// # Errors
    /// [`SwitchError::TooLong`].
    pub fn note(&self, by: &str, reason: &str) -> Result<Note, SwitchError> {
        let note = Note { by: by.to_owned(), reason: reason.to_owned(), since_ns: self.table.now().wall, of: None };
        Notes::check(&note)?;
        Ok(note)
    }

    /// Keep a note of what was changed already: a kill, a market, or the ends or the proofs of sessions. If another
    /// process was stopped while it wrote into the place of the oldest note, this one is lost.
    pub fn keep(&self, note: &Note, deed: Deed, detail: u64) {
        let state = &self.table.state;
        if state.role() == Role::Authority {
            state.notes().write(&state.owners, note, deed, detail);
        }
    }

    /// List the notes that are kept, the oldest first.
    #[must_use]
    pub fn notes(&self) -> Vec<Noted> {
        self.table.state.notes().list()
    }

    /// Return who gave a session its present status, when and why, if that was said and is still kept.
    #[must_use]
    pub fn note_of(&self, record: &SessionRecord) -> Option<Note> {
        self.table.state.notes().read(record.note, Deed::Set(record.status))
    }

    /// Return all sessions that are not over, and those that were revoked or expired while nobody has their slot yet.
    #[must_use]
    pub fn all(&self) -> Vec<SessionRecord> {
        self.chosen(|_| true)
    }

    /// Return those of all sessions that `is_chosen` picks.
    #[must_use]
    pub fn chosen(&self, is_chosen: impl Fn(&SessionRecord) -> bool) -> Vec<SessionRecord> {
        self.records().filter(is_chosen).collect()
    }

    /// Return all sessions as [`Self::all`] does, one after the other.
    pub fn records(&self) -> impl Iterator<Item = SessionRecord> {
        self.table.used().filter_map(|(number, slot)| self.record_at(number, slot))
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
            let mut grounds = [0; MAX_GROUNDS];
            for (number, ground) in grounds.iter_mut().zip(details.grounds()) {
                *number = ground.load(Ordering::Relaxed);
            }
            let record = SessionRecord {
                id,
                status,
                principal: Place(slot.principal.load(Ordering::Relaxed) as usize),
                not_before_ns: details.not_before_ns.load(Ordering::Relaxed),
                not_after_ns: details.not_after_ns.load(Ordering::Relaxed),
                to_ns: slot.to_ns.load(Ordering::Relaxed),
                admitted_ns: details.admitted_ns.load(Ordering::Relaxed),
                grounds,
                note: details.note.load(Ordering::Relaxed),
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

    /// Give a session another end, later or sooner, in nanoseconds since the epoch. One that is over stays over, and one
    /// that rests on a credential gets no later end.
    ///
    /// # Errors
    /// [`ChangeSessionError`].
    pub fn renew(&self, session: SessionId, not_after_ns: i64) -> Result<(), ChangeSessionError> {
        let mut spare = self.table.spare();
        let renewed = self.change(session, |claimed, now| {
            let is_later = not_after_ns > claimed.details.not_after_ns.load(Ordering::Relaxed);
            let is_bound = is_later && claimed.details.rests_on_a_credential();
            (!is_bound).then(|| (claimed.slot.renew(claimed.details, not_after_ns, now), *now))
        })?;
        let (to_ns, by) = renewed.ok_or(ChangeSessionError::Bound)?;
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
        self.change(session, |claimed, now| {
            claimed.age_proof(scale, now);
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
        // Most admissions name factors that have numbers.
        let numbered = self.table.state.names(NameKind::Factor);
        let bits = names.iter().try_fold(0, |bits, name| numbered.find(name).map(|number| bits | 1 << number));
        if bits.is_some() {
            return Ok(bits);
        }
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
            None => self.table.state.alone(|| names.add(name)),
        }
    }

    /// Return the place of a session's principal, if the session is valid now, by the monotonic clock.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    #[must_use]
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<Place> {
        self.slots().get(self.number(session))?.valid(session, now_ns).map(|place| Place(place as usize))
    }

    /// Return the place of a session's principal as [`Self::valid`] does, with what decisions read of the session
    /// besides.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    #[must_use]
    pub fn valid_live(&self, session: SessionId, now_ns: i64) -> Option<(Place, LiveFields)> {
        let (place, fields) = self.slots().get(self.number(session))?.valid_live(session, now_ns)?;
        Some((Place(place as usize), fields))
    }

    /// Return the proof of a session, as its slot has it.
    #[inline(always)]
    #[allow(clippy::inline_always)] // what a decision does not read is not computed
    #[must_use]
    pub const fn proof(&self, fields: &LiveFields) -> Proof {
        Proof::unpack(fields.proof, self.scale)
    }

    /// Return how long ago a session was proved, as [`Proof::age_ms`] does.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    #[must_use]
    pub const fn proved_ms(&self, fields: &LiveFields, now_ns: i64) -> i64 {
        Proof::age_ms_of(fields.proof, self.scale, now_ns)
    }

    /// Return all that a session's slot says of it.
    #[must_use]
    pub fn live_attributes(&self, fields: &LiveFields) -> LiveAttributes {
        live_attributes(fields, self.scale)
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

/// A slot for another session, which nobody else gets meanwhile. One that is not used is given back.
pub struct Vacancy<'s> {
    sessions: &'s Sessions,
    number: usize,
    claimed: Claimed<'s>,
    is_used: bool,
}

impl Vacancy<'_> {
    /// Admit a session into the slot, as [`Sessions::admit_with`] does.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(mut self, principal: Place, admission: &Admission, known: &Known) -> Result<SessionId, AdmitError> {
        let table = &self.sessions.table;
        let mut spare = table.spare();
        let now = table.now();
        let slot = (self.number, &self.claimed);
        let session = self.sessions.open_at(&mut spare, slot, principal, admission, known, &now)?;
        self.is_used = true;
        self.claimed.release();
        // If the clock was set meanwhile, whoever computed the bounds anew may not have seen this session.
        if table.is_behind(&now) || table.now().offset() != now.offset() {
            table.recompute_bounds(&mut spare, &table.now());
        }
        Ok(session)
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.claimed.release();
            self.sessions.table.spare().returned.push(self.number);
        }
    }
}

#[cfg(test)]
mod reuse;
#[cfg(test)]
mod tests;
