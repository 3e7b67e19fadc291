//! The table of sessions, one cache line each.
//!
//! A session's id is a slot and a random tag, a new one for each admission. An id of another engine, an old id or a
//! forged id therefore names no session. A decision reads the slot without a lock: it reads the state word before and
//! after the other fields (a sequence lock), so it never sees a slot half old and half new.
//!
//! The wall clock gives a session's bounds, and decisions compare them with the monotonic clock. When the wall clock is
//! set, the bounds follow it. A session that this ends stays expired.

use crate::handles::{HandleError, Place};
use crate::keeper::{self, Follow};
use crate::slot::{Admission, FREE, STATUS_MASK, SessionId, SessionSlot, SessionStatus, is_of};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use zerocopy::IntoBytes;
use ztfast_codes::Code;
use ztfast_pages::{Forked, MemoryError, Reading, Residence, Resident, WipedPages, wiped_table};

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

/// The most slots of a table. With these, a tag still has 32 bits, between the slot's number and the status.
const MAX_SLOTS: usize = 1 << 30;

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
    /// The pages of the slots. The field stands before them, so that it is dropped before them.
    resident: Resident,
    slots: WipedPages<SessionSlot>,
    mask: u64,
    /// [`Reading::offset`], and how long the machine had slept, when the bounds were last computed.
    offset: AtomicI64,
    slept: AtomicI64,
    spare: Mutex<Spare>,
}

/// The slots that can be given out. Those from `fresh` on were never used.
#[derive(Default)]
struct Spare {
    fresh: usize,
    /// Ids of revoked sessions, in the order of their revocation. Their slots are reused in this order.
    revoked: VecDeque<u64>,
    /// Ends and ids of sessions, the next to end first. Some of these sessions may be gone, and some end sooner.
    ends: BinaryHeap<Reverse<(i64, u64)>>,
    random: Random,
}

/// How far the clock readings of two threads may be apart.
const MOMENT_NS: i64 = 1_000_000;

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

impl Table {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: u64) -> Option<&SessionSlot> {
        self.slots.get(usize::try_from(id & self.mask).ok()?)
    }

    fn is_behind(&self, now: &Reading) -> bool {
        let slept = now.boottime.saturating_sub(now.monotonic);
        now.offset() != self.offset.load(Ordering::Acquire)
            || slept > self.slept.load(Ordering::Acquire).saturating_add(SLEPT_NS)
    }

    fn recompute_bounds(&self, spare: &mut Spare, now: &Reading) {
        for slot in self.slots.iter().take(spare.fresh) {
            slot.follow(now);
        }
        self.list_ends(spare);
        self.slept.store(now.boottime.saturating_sub(now.monotonic), Ordering::Release);
        self.offset.store(now.offset(), Ordering::Release);
    }

    /// Build the list of ends again.
    fn list_ends(&self, spare: &mut Spare) {
        let live = |slot: &&SessionSlot| slot.state.load(Ordering::Relaxed) & STATUS_MASK != FREE;
        let end = |slot: &SessionSlot| {
            Reverse((slot.to_ns.load(Ordering::Relaxed), slot.state.load(Ordering::Relaxed) & !STATUS_MASK))
        };
        spare.ends.clear();
        spare.ends.extend(self.slots.iter().take(spare.fresh).filter(live).map(end).filter(|end| end.0.0 != i64::MAX));
    }

    /// Return a slot for another session: one never used, else that of the session revoked first, else that of an
    /// expired one.
    fn free_slot(&self, spare: &mut Spare, now_ns: i64) -> Option<usize> {
        if spare.fresh < self.slots.len() {
            spare.fresh += 1;
            return Some(spare.fresh - 1);
        }
        while let Some(id) = spare.revoked.pop_front() {
            let is_its = |slot: &&SessionSlot| slot.state.load(Ordering::Relaxed) == id | SessionStatus::Revoked.bits();
            if self.slot(id).is_some_and(|slot| is_its(&slot)) {
                return usize::try_from(id & self.mask).ok();
            }
        }
        while let Some(&Reverse((to_ns, id))) = spare.ends.peek() {
            if to_ns > now_ns {
                return None;
            }
            spare.ends.pop();
            let is_its = |slot: &&SessionSlot| slot.state.load(Ordering::Relaxed) & !STATUS_MASK == id;
            if self.slot(id).is_some_and(|slot| is_its(&slot)) {
                return usize::try_from(id & self.mask).ok();
            }
        }
        None
    }
}

impl Follow for Table {
    /// Recompute all bounds if the wall clock was set or the machine slept.
    fn follow(&self) {
        if self.is_behind(&Reading::now()) {
            let mut spare = self.spare();
            // Read the clocks again: meanwhile another thread may have recomputed the bounds by a later reading.
            self.recompute_bounds(&mut spare, &Reading::now());
        }
    }
}

impl Sessions {
    /// Create a table with this many slots.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn new(capacity: usize, residence: Residence) -> Result<Self, MemoryError> {
        let capacity = capacity.min(MAX_SLOTS);
        let (slots, resident) = wiped_table("table of sessions", capacity, residence)?;
        let mask = capacity.next_power_of_two() as u64 - 1;
        let table = Table {
            resident,
            slots,
            mask,
            offset: AtomicI64::new(0),
            slept: AtomicI64::new(0),
            spare: Mutex::default(),
        };
        table.recompute_bounds(&mut table.spare(), &Reading::now());
        let table = Arc::new(table);
        Ok(Self { slots: NonNull::from(&*table.slots), mask, table })
    }

    /// Register the table with the process's keeper.
    pub fn watch(&self) {
        let table: Weak<Table> = Arc::downgrade(&self.table);
        keeper::watch(table);
    }

    /// Make the bounds follow the wall clock, if it was set.
    pub fn follow(&self) {
        self.table.follow();
    }

    /// Return the pages of the table.
    #[must_use]
    pub fn resident(&self) -> &Resident {
        &self.table.resident
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
        let mut spare = self.table.spare();
        self.admit_at(&mut spare, principal, admission, &Reading::now())
    }

    fn admit_at(
        &self,
        spare: &mut Spare,
        principal: Place,
        admission: &Admission,
        now: &Reading,
    ) -> Result<SessionId, AdmitError> {
        let principal = u32::try_from(principal.0).map_err(|_| AdmitError::UnknownHandle)?;
        if self.table.is_behind(now) {
            self.table.recompute_bounds(spare, now);
        }
        let tag = spare.random.next()? & !self.mask & !STATUS_MASK;
        let full = || AdmitError::Full(self.slots().len());
        let number = self.table.free_slot(spare, now.monotonic).ok_or_else(full)?;
        let slot = self.slots().get(number).ok_or_else(full)?;
        let before = slot.state.load(Ordering::Relaxed) & !self.mask & !STATUS_MASK;
        // The tag must differ from the slot's last one, whose id must stay invalid, and from that of a slot never used.
        let tag = [tag, tag ^ self.step(), tag ^ self.step() << 1].into_iter().find(|&tag| tag != 0 && tag != before);
        let id = tag.unwrap_or(self.step()) | number as u64;
        let to_ns = slot.open(id, principal, admission, now);
        if to_ns != i64::MAX {
            spare.ends.push(Reverse((to_ns, id)));
            // Revoked sessions leave their ends behind.
            if spare.ends.len() > 2 * self.slots().len() + 64 {
                self.table.list_ends(spare);
            }
        }
        Ok(SessionId(id))
    }

    /// Return the principals of all sessions that are not over. Revoked sessions are over, and so are those that
    /// expired a moment ago: no thread's clock reading is further behind.
    #[must_use]
    pub fn principals(&self) -> HashSet<Place> {
        let spare = self.table.spare();
        let over_ns = Reading::now().monotonic.saturating_sub(MOMENT_NS);
        let lives = |slot: &&SessionSlot| {
            let status = slot.state.load(Ordering::Acquire) & STATUS_MASK;
            let is_good = status != FREE && status != SessionStatus::Revoked.bits();
            is_good && slot.to_ns.load(Ordering::Relaxed) > over_ns
        };
        let place = |slot: &SessionSlot| Place(slot.principal.load(Ordering::Relaxed) as usize);
        self.slots().iter().take(spare.fresh).filter(lives).map(place).collect()
    }

    /// Return the lowest bit of a tag.
    const fn step(&self) -> u64 {
        self.mask + 1
    }

    /// Set a session's status. Return `false` if there is no such session, or it was revoked, which is final.
    #[must_use]
    pub fn set(&self, session: SessionId, status: SessionStatus) -> bool {
        let changed = self.slot(session).is_some_and(|slot| slot.set(session, self.mask, status));
        if changed && status == SessionStatus::Revoked {
            // The slot can be reused from now on. Only this waits for the lock; the revocation did not.
            self.table.spare().revoked.push_back(session.0);
        }
        changed
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

#[cfg(test)]
mod reuse;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handles::Handle;

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
        sessions.admit_at(&mut sessions.table.spare(), Place(principal), admission, now)
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
