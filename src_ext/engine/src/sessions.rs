//! The table of live sessions: one cache line each.
//!
//! A session is a slot and a random tag, another for each admission: an id of another engine, an old one or one made up
//! names no session. Deciding reads the slot without a lock: the state word before and after the other fields (a sequence
//! lock), so that a slot that is being reused is never read half old, half new.

use crate::code::Code;
use crate::handles::{Handle, Place};
use crate::memory::{Held, MemoryError, Residence};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// A session: its slot in the low bits (as many as the table's numbers have), the tag of its admission above; the top two
/// bits are 0. 0 is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SessionId(pub u64);

/// What a session is being told to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// Decisions go by policy.
    Active,
    /// Every decision is DENY, for good.
    Revoked,
    /// Every decision is DENY until it is made active again.
    Quarantined,
}

/// Who is admitted, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The principal.
    pub principal: Handle,
    /// Nanoseconds since the epoch from which the session is good.
    pub not_before_ns: i64,
    /// Nanoseconds since the epoch from which it is no longer.
    pub not_after_ns: i64,
}

/// Why an admission was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AdmitError {
    /// All slots hold sessions that are still good.
    #[error("all {0} session slots are in use by sessions that are still valid; give the engine more (sessions=...)")]
    Full(usize),
    /// The principal's handle is not one of this engine's.
    #[error("the principal's handle is not one of this engine's: take it from this engine")]
    UnknownHandle,
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which a session's id could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Slots that a table has at most: a tag has at least the 32 bits between their numbers and the status.
const MAX_SLOTS: usize = 1 << 30;
const STATUS_MASK: u64 = 3 << 62;
const FREE: u64 = 3 << 62;

impl SessionStatus {
    /// The status in a slot's state. That of an active session is its id, so that one comparison says that it is.
    const fn bits(self) -> u64 {
        match self {
            Self::Active => 0,
            Self::Revoked => 1 << 62,
            Self::Quarantined => 2 << 62,
        }
    }
}

/// A slot. `state` is the id of its session with the status in the top bits; the tag of one never used is 0.
#[derive(FromBytes, IntoBytes, KnownLayout)]
#[repr(C, align(64))]
struct Slot {
    state: AtomicU64,
    not_before_ns: AtomicI64,
    not_after_ns: AtomicI64,
    principal: AtomicU32,
    reserved: [u32; 9],
}

/// All sessions of an engine.
pub(crate) struct Sessions {
    /// Before the slots, so that it is dropped before them.
    held: Held,
    slots: Box<[Slot]>,
    /// The bits of an id that are its slot's number. What they say is checked against the table as any index is.
    mask: u64,
    /// Slots never used begin at `fresh`; those given back are in `free`.
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    fresh: usize,
    free: Vec<u32>,
    random: Random,
}

/// Random numbers, asked of the system many at a time: an admission shall not wait for it each time.
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
        // Used once, and kept nowhere but in the slot.
        Ok(self.numbers.get_mut(self.left).map_or(0, std::mem::take))
    }
}

impl Sessions {
    pub fn new(capacity: usize, residence: Residence) -> Result<Self, MemoryError> {
        let capacity = capacity.min(MAX_SLOTS);
        let (slots, held) = crate::memory::table("table of sessions", capacity, residence)?;
        let mask = capacity.next_power_of_two() as u64 - 1;
        Ok(Self { held, slots, mask, spare: Mutex::new(Spare::default()) })
    }

    /// The number of a session's slot, were it one of this table.
    #[inline(always)]
    #[allow(clippy::inline_always, clippy::cast_possible_truncation)] // on the hot path; the mask has 30 bits
    const fn number(&self, session: SessionId) -> usize {
        (session.0 & self.mask) as usize
    }

    fn slot(&self, session: SessionId) -> Option<&Slot> {
        self.slots.get(self.number(session))
    }

    /// Whether a slot's state is that of this session, in whatever status but free.
    const fn is_of(&self, state: u64, session: SessionId) -> bool {
        state & !STATUS_MASK == session.0 && session.0 & !self.mask != 0 && state & STATUS_MASK != FREE
    }

    /// What the table takes.
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Ask for a session's slot to be brought near.
    #[inline]
    pub fn prefetch(&self, session: SessionId) {
        crate::memory::prefetch(&self.slots, self.number(session));
    }

    /// Open a session for the principal at a place.
    pub fn admit(&self, principal: Place, admission: &Admission, now_ns: i64) -> Result<SessionId, AdmitError> {
        let principal = u32::try_from(principal.0).map_err(|_| AdmitError::UnknownHandle)?;
        let mut spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spare.fresh == self.slots.len() && spare.free.is_empty() {
            self.reclaim(&mut spare, now_ns);
        }
        let tag = spare.random.next()? & !self.mask & !STATUS_MASK;
        let full = AdmitError::Full(self.slots.len());
        let number = match spare.free.pop() {
            Some(number) => number,
            None if spare.fresh < self.slots.len() => {
                spare.fresh += 1;
                u32::try_from(spare.fresh - 1).map_err(|_| full)?
            }
            None => return Err(full),
        };
        let slot = &self.slots[number as usize];
        let before = slot.state.load(Ordering::Relaxed) & !self.mask & !STATUS_MASK;
        // Neither the tag of the session before, whose id must stay dead, nor that of a slot never used.
        let tag = [tag, tag ^ self.step(), tag ^ self.step() << 1].into_iter().find(|&tag| tag != 0 && tag != before);
        let id = tag.unwrap_or(self.step()) | u64::from(number);
        slot.state.store(id | FREE, Ordering::Relaxed);
        // The fields may be seen only after the state that takes the slot out of use.
        fence(Ordering::Release);
        slot.not_before_ns.store(admission.not_before_ns, Ordering::Relaxed);
        slot.not_after_ns.store(admission.not_after_ns, Ordering::Relaxed);
        slot.principal.store(principal, Ordering::Relaxed);
        slot.state.store(id | SessionStatus::Active.bits(), Ordering::Release);
        Ok(SessionId(id))
    }

    /// The lowest bit of a tag.
    const fn step(&self) -> u64 {
        self.mask + 1
    }

    /// Take back the slots of sessions that are over. Their ids then name no session.
    fn reclaim(&self, spare: &mut Spare, now_ns: i64) {
        for (number, slot) in (0_u32..).zip(&self.slots) {
            let state = slot.state.load(Ordering::Relaxed);
            let over = state & STATUS_MASK == SessionStatus::Revoked.bits()
                || slot.not_after_ns.load(Ordering::Relaxed) <= now_ns;
            if over {
                slot.state.store(state & !STATUS_MASK | FREE, Ordering::Release);
                spare.free.push(number);
            }
        }
    }

    /// Change a session's status; `false` where there is no such session, or it was revoked: that is for good.
    pub fn set(&self, session: SessionId, status: SessionStatus) -> bool {
        let Some(slot) = self.slot(session) else { return false };
        let changed = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let revoked = state & STATUS_MASK == SessionStatus::Revoked.bits();
            (self.is_of(state, session) && !revoked).then_some(session.0 | status.bits())
        });
        changed.is_ok()
    }

    /// The principal of a session that is good now.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path the answer must stay in a register
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<Place> {
        let slot = self.slots.get(self.number(session))?;
        let active = session.0 | SessionStatus::Active.bits();
        if slot.state.load(Ordering::Acquire) != active {
            return None;
        }
        let (from, to) = (slot.not_before_ns.load(Ordering::Relaxed), slot.not_after_ns.load(Ordering::Relaxed));
        let principal = slot.principal.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let good = slot.state.load(Ordering::Relaxed) == active && now_ns < to && from <= now_ns;
        good.then_some(Place(principal as usize))
    }

    /// The session's principal, or why it may nothing.
    #[inline]
    pub fn check(&self, session: SessionId, now_ns: i64) -> Result<Place, Code> {
        self.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    /// Why a session that was not good just now was not, as far as its slot still says.
    #[cold]
    fn why(&self, session: SessionId, now_ns: i64) -> Code {
        let Some(slot) = self.slot(session) else { return Code::UnknownSession };
        let state = slot.state.load(Ordering::Acquire);
        if !self.is_of(state, session) {
            return Code::UnknownSession;
        }
        match state & STATUS_MASK {
            status if status == SessionStatus::Revoked.bits() => Code::Revoked,
            status if status == SessionStatus::Quarantined.bits() => Code::Quarantined,
            _ if now_ns >= slot.not_after_ns.load(Ordering::Relaxed) => Code::Expired,
            _ if now_ns < slot.not_before_ns.load(Ordering::Relaxed) => Code::NotYetValid,
            // It was in quarantine, and is so no longer.
            _ => Code::Quarantined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMISSION: Admission = Admission { principal: Handle(0), not_before_ns: 10, not_after_ns: 20 };

    fn admit(sessions: &Sessions, principal: usize, now_ns: i64) -> Result<SessionId, AdmitError> {
        sessions.admit(Place(principal), &ADMISSION, now_ns)
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
        // Tables of one slot, of some, and of a number that is no power of two.
        for capacity in [1, 4, 5, 1 << 12] {
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
        for _ in 0..1_000 {
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
        sessions.set(first, SessionStatus::Revoked);
        let third = admit(&sessions, 3, 15).unwrap();
        assert_eq!(sessions.check(third, 15), Ok(Place(3)));
        assert_eq!(sessions.check(first, 15), Err(Code::UnknownSession));
        assert_eq!(sessions.check(second, 15), Ok(Place(2)));
        let late = Admission { not_after_ns: 50, ..ADMISSION };
        let fourth = sessions.admit(Place(4), &late, 30).unwrap();
        assert_eq!(sessions.check(fourth, 30), Ok(Place(4)));
        assert_eq!(sessions.check(second, 30), Err(Code::UnknownSession));
    }
}
