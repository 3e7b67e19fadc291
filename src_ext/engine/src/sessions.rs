//! The table of live sessions: one cache line each.
//!
//! A session is a slot and the slot's generation. Deciding reads the slot without a lock: the state word before and
//! after the other fields (a sequence lock), so that a slot that is being reused is never read half old, half new.

use crate::code::Code;
use crate::handles::Handle;
use crate::memory::{Held, MemoryError, Residence};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// A session: its slot (low half) and the slot's generation (high half). 0 is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SessionId(pub u64);

impl SessionId {
    #[allow(clippy::cast_possible_truncation)]
    const fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    const fn generation(self) -> u64 {
        self.0 >> 32
    }
}

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
}

/// Slots that a table has at most: what is left of their numbers holds the status.
const MAX_SLOTS: usize = 1 << 30;
const STATUS_MASK: u64 = 3 << 30;
const FREE: u64 = 3 << 30;

impl SessionStatus {
    /// The status in a slot's state. That of an active session is its id, so that one comparison says that it is.
    const fn bits(self) -> u64 {
        match self {
            Self::Active => 0,
            Self::Revoked => 1 << 30,
            Self::Quarantined => 2 << 30,
        }
    }
}

/// A slot. `state` is the id of its session with the status among the bits of the slot's number; the generation of one
/// never used is 0.
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
    /// Slots never used begin at `fresh`; those given back are in `free`.
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    fresh: usize,
    free: Vec<u32>,
}

impl Sessions {
    pub fn new(capacity: usize, residence: Residence) -> Result<Self, MemoryError> {
        let (slots, held) = crate::memory::table("table of sessions", capacity.min(MAX_SLOTS), residence)?;
        Ok(Self { held, slots, spare: Mutex::new(Spare::default()) })
    }

    /// What the table takes.
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Ask for a session's slot to be brought near.
    #[inline]
    pub fn prefetch(&self, session: SessionId) {
        crate::memory::prefetch(&self.slots, session.slot());
    }

    pub fn admit(&self, admission: &Admission, now_ns: i64) -> Result<SessionId, AdmitError> {
        let mut spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spare.fresh == self.slots.len() && spare.free.is_empty() {
            self.reclaim(&mut spare, now_ns);
        }
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
        let generation = (slot.state.load(Ordering::Relaxed) >> 32) + 1;
        let generation = if generation > u64::from(u32::MAX) { 1 } else { generation };
        let id = generation << 32 | u64::from(number);
        slot.state.store(id | FREE, Ordering::Relaxed);
        // The fields may be seen only after the state that takes the slot out of use.
        fence(Ordering::Release);
        slot.not_before_ns.store(admission.not_before_ns, Ordering::Relaxed);
        slot.not_after_ns.store(admission.not_after_ns, Ordering::Relaxed);
        slot.principal.store(admission.principal.0, Ordering::Relaxed);
        slot.state.store(id | SessionStatus::Active.bits(), Ordering::Release);
        Ok(SessionId(id))
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
        let Some(slot) = self.slots.get(session.slot()) else { return false };
        let changed = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let current = state & STATUS_MASK;
            let known = state & !STATUS_MASK == session.0 && session.generation() != 0 && current != FREE;
            (known && current != SessionStatus::Revoked.bits()).then_some(session.0 | status.bits())
        });
        changed.is_ok()
    }

    /// The principal of a session that is good now.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path the answer must stay in a register
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<Handle> {
        let slot = self.slots.get(session.slot())?;
        let active = session.0 | SessionStatus::Active.bits();
        if slot.state.load(Ordering::Acquire) != active {
            return None;
        }
        let (from, to) = (slot.not_before_ns.load(Ordering::Relaxed), slot.not_after_ns.load(Ordering::Relaxed));
        let principal = slot.principal.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let good = slot.state.load(Ordering::Relaxed) == active && now_ns < to && from <= now_ns;
        good.then_some(Handle(principal))
    }

    /// The session's principal, or why it may nothing.
    #[inline]
    pub fn check(&self, session: SessionId, now_ns: i64) -> Result<Handle, Code> {
        self.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    /// Why a session that was not good just now was not, as far as its slot still says.
    #[cold]
    fn why(&self, session: SessionId, now_ns: i64) -> Code {
        let Some(slot) = self.slots.get(session.slot()) else { return Code::UnknownSession };
        let state = slot.state.load(Ordering::Acquire);
        if state & !STATUS_MASK != session.0 || session.generation() == 0 {
            return Code::UnknownSession;
        }
        match state & STATUS_MASK {
            FREE => Code::UnknownSession,
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

    const fn admission(principal: u32) -> Admission {
        Admission { principal: Handle(principal), not_before_ns: 10, not_after_ns: 20 }
    }

    #[test]
    fn a_session_is_good_within_its_validity_only() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = sessions.admit(&admission(7), 0).unwrap();
        assert_eq!(sessions.check(session, 9), Err(Code::NotYetValid));
        assert_eq!(sessions.check(session, 10), Ok(Handle(7)));
        assert_eq!(sessions.check(session, 19), Ok(Handle(7)));
        assert_eq!(sessions.check(session, 20), Err(Code::Expired));
    }

    #[test]
    fn ids_that_were_never_given_are_unknown() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = sessions.admit(&admission(7), 0).unwrap();
        for id in [0, 1, u64::MAX, session.0 + (1 << 32), session.0 ^ 1, 0xFFFF_FFFF] {
            assert_eq!(sessions.check(SessionId(id), 15), Err(Code::UnknownSession), "{id:#x}");
            assert!(!sessions.set(SessionId(id), SessionStatus::Active), "{id:#x}");
        }
    }

    #[test]
    fn revocation_is_for_good_and_quarantine_is_not() {
        let sessions = Sessions::new(4, Residence::default()).unwrap();
        let session = sessions.admit(&admission(7), 0).unwrap();
        assert!(sessions.set(session, SessionStatus::Quarantined));
        assert_eq!(sessions.check(session, 15), Err(Code::Quarantined));
        assert!(sessions.set(session, SessionStatus::Active));
        assert_eq!(sessions.check(session, 15), Ok(Handle(7)));
        assert!(sessions.set(session, SessionStatus::Revoked));
        assert!(!sessions.set(session, SessionStatus::Active));
        assert_eq!(sessions.check(session, 15), Err(Code::Revoked));
    }

    #[test]
    fn a_full_table_reuses_what_is_over_and_old_ids_stay_dead() {
        let sessions = Sessions::new(2, Residence::default()).unwrap();
        let first = sessions.admit(&admission(1), 15).unwrap();
        let second = sessions.admit(&admission(2), 15).unwrap();
        assert_eq!(sessions.admit(&admission(3), 15), Err(AdmitError::Full(2)));
        sessions.set(first, SessionStatus::Revoked);
        let third = sessions.admit(&admission(3), 15).unwrap();
        assert_eq!(sessions.check(third, 15), Ok(Handle(3)));
        assert_eq!(sessions.check(first, 15), Err(Code::UnknownSession));
        assert_eq!(sessions.check(second, 15), Ok(Handle(2)));
        let late = Admission { not_after_ns: 50, ..admission(4) };
        let fourth = sessions.admit(&late, 30).unwrap();
        assert_eq!(sessions.check(fourth, 30), Ok(Handle(4)));
        assert_eq!(sessions.check(second, 30), Err(Code::UnknownSession));
    }
}
