//! A session's slot: one cache line that is read without a lock.
//!
//! A reader reads the state word before and after the other fields (a sequence lock), so it never sees a slot half old
//! and half new. The crate `loom` runs this file in every order in which threads can meet.

use crate::handles::Handle;
#[cfg(loom)]
use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use ztfast_pages::Reading;

/// The id of a session: the number of its slot in the low bits (as many as the table's slot numbers need), and the tag
/// of its admission above. The top two bits are 0. The id 0 names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SessionId(pub u64);

/// The status to which a session is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// Policy decides.
    Active,
    /// Every decision is DENY. This is final.
    Revoked,
    /// Every decision is DENY until the session is active again.
    Quarantined,
}

/// A request to admit a principal for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The principal.
    pub principal: Handle,
    /// When the session becomes valid, in nanoseconds since the epoch.
    pub not_before_ns: i64,
    /// When the session expires, in nanoseconds since the epoch; `i64::MAX` for never.
    pub not_after_ns: i64,
}

impl Admission {
    /// Convert the bounds to the monotonic clock, by the current difference of the clocks.
    pub(crate) fn bounds(&self, now: &Reading) -> (i64, i64) {
        let by_monotonic = |wall: i64| now.monotonic.saturating_add(wall.saturating_sub(now.wall));
        (
            by_monotonic(self.not_before_ns),
            if self.not_after_ns == i64::MAX { i64::MAX } else { by_monotonic(self.not_after_ns) },
        )
    }
}

/// The bits of a slot's state that hold its status.
pub(crate) const STATUS_MASK: u64 = 3 << 62;
/// The status of a slot that is being reused.
pub(crate) const FREE: u64 = 3 << 62;

impl SessionStatus {
    /// Return the status bits of a slot's state. Those of an active session are 0, so that its state equals its id, and
    /// one comparison checks both.
    pub(crate) const fn bits(self) -> u64 {
        match self {
            Self::Active => 0,
            Self::Revoked => 1 << 62,
            Self::Quarantined => 2 << 62,
        }
    }
}

/// A slot. `state` is the id of its session, with the status in the top bits. The tag of a slot never used is 0.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct SessionSlot {
    pub state: AtomicU64,
    /// The bounds by the monotonic clock, which decisions compare. The end only ever comes nearer.
    pub from_ns: AtomicI64,
    pub to_ns: AtomicI64,
    pub principal: AtomicU32,
    reserved: u32,
    /// The bounds as admitted, by the wall clock.
    not_before_ns: AtomicI64,
    not_after_ns: AtomicI64,
    /// The end as it was at admission, by the clock that also counts sleep.
    awake_to_ns: AtomicI64,
    reserved_too: u64,
}

impl SessionSlot {
    /// Give the slot to another session, whose id is `id`. Return its end.
    pub fn open(&self, id: u64, principal: u32, admission: &Admission, now: &Reading) -> i64 {
        let (from_ns, to_ns) = admission.bounds(now);
        let slept = now.boottime.saturating_sub(now.monotonic);
        let awake_to_ns = if to_ns == i64::MAX { i64::MAX } else { to_ns.saturating_add(slept) };
        self.state.store(id | FREE, Ordering::Relaxed);
        // The fields must become visible only after the state that takes the slot out of use.
        fence(Ordering::Release);
        self.from_ns.store(from_ns, Ordering::Relaxed);
        self.to_ns.store(to_ns, Ordering::Relaxed);
        self.principal.store(principal, Ordering::Relaxed);
        self.not_before_ns.store(admission.not_before_ns, Ordering::Relaxed);
        self.not_after_ns.store(admission.not_after_ns, Ordering::Relaxed);
        self.awake_to_ns.store(awake_to_ns, Ordering::Relaxed);
        self.state.store(id | SessionStatus::Active.bits(), Ordering::Release);
        to_ns
    }

    /// Return the place of a session's principal, if the slot is the session's and it is valid now, by the monotonic
    /// clock.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<u32> {
        let active = session.0 | SessionStatus::Active.bits();
        if self.state.load(Ordering::Acquire) != active {
            return None;
        }
        // Whoever sees an earlier beginning also sees the earlier end that was written before it.
        let (from, to) = (self.from_ns.load(Ordering::Acquire), self.to_ns.load(Ordering::Relaxed));
        let principal = self.principal.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let good = self.state.load(Ordering::Relaxed) == active && now_ns < to && from <= now_ns;
        good.then_some(principal)
    }

    /// Set the status of a session in a table with this mask. Return `false` if the slot is another session's, or this
    /// one was revoked, which is final.
    pub fn set(&self, session: SessionId, mask: u64, status: SessionStatus) -> bool {
        let changed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let revoked = state & STATUS_MASK == SessionStatus::Revoked.bits();
            (is_of(state, session, mask) && !revoked).then_some(session.0 | status.bits())
        });
        changed.is_ok()
    }

    /// Recompute the bounds from the clocks.
    pub fn follow(&self, now: &Reading) {
        let admission = Admission {
            principal: Handle(0),
            not_before_ns: self.not_before_ns.load(Ordering::Relaxed),
            not_after_ns: self.not_after_ns.load(Ordering::Relaxed),
        };
        let (from_ns, to_ns) = admission.bounds(now);
        let awake_to_ns = self.awake_to_ns.load(Ordering::Relaxed);
        let slept = now.boottime.saturating_sub(now.monotonic);
        let awake_to_ns = if awake_to_ns == i64::MAX { i64::MAX } else { awake_to_ns.saturating_sub(slept) };
        let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));
        // The end comes first: only the end could be too late.
        self.to_ns.store(to_ns, Ordering::Release);
        self.from_ns.store(from_ns, Ordering::Release);
    }
}

/// The version of a slot's layout.
pub const LAYOUT: u32 = 1;

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<SessionSlot>() == 64 && align_of::<SessionSlot>() == 64);
    assert!(offset_of!(SessionSlot, state) == 0 && offset_of!(SessionSlot, principal) == 24);
};

/// Return whether a slot's state belongs to this session, with a status other than free.
pub(crate) const fn is_of(state: u64, session: SessionId, mask: u64) -> bool {
    state & !STATUS_MASK == session.0 && session.0 & !mask != 0 && state & STATUS_MASK != FREE
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Loom keeps no order between an exchange and another thread's plain store, so threads of the system try this.
    #[test]
    fn a_late_revocation_of_an_old_session_leaves_the_new_one_alone() {
        let rounds = if cfg!(miri) { 20 } else { 300 };
        let admission = Admission { principal: Handle(0), not_before_ns: 0, not_after_ns: i64::MAX };
        let now = Reading { wall: 0, monotonic: 0, boottime: 0 };
        for (old, new) in (1..rounds).map(|tag| (tag << 32, (tag + 1) << 32)) {
            let slot: SessionSlot = zerocopy::FromZeros::new_zeroed();
            slot.open(old, 7, &admission, &now);
            std::thread::scope(|threads| {
                threads.spawn(|| slot.set(SessionId(old), 0, SessionStatus::Revoked));
                slot.open(new, 7, &admission, &now);
            });
            assert_eq!(slot.valid(SessionId(new), 0), Some(7));
        }
    }
}
