//! A session's slot: a cache line that decisions read without a lock, and two that only writers read.
//!
//! A reader reads the state word before and after the other fields (a sequence lock), so it never sees a slot half old
//! and half new. The crate `loom` runs this file in every order in which threads can meet.

use crate::numbers::Handle;
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

/// The line of a slot that decisions read. `state` is the id of its session, with the status in the top bits. The tag
/// of a slot never used is 0.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct SessionSlot {
    pub state: AtomicU64,
    /// The bounds by the monotonic clock, which decisions compare. Only a renewal moves the end away.
    pub from_ns: AtomicI64,
    pub to_ns: AtomicI64,
    pub principal: AtomicU32,
    /// The place of the entity for which the principal acts, plus one; 0 for none.
    pub on_behalf_of: AtomicU32,
    /// How the principal proved who it is, in one word, so that no reader sees a proof half old and half new
    /// (`Proof::pack`).
    pub proof: AtomicU64,
    /// The places of the texts that name the region and the channel, plus one; 0 for none.
    pub region: AtomicU32,
    pub channel: AtomicU32,
    reserved: [u64; 2],
}

/// The number of grounds that a session keeps.
pub const MAX_GROUNDS: usize = 9;

/// The place of the authority that verified a session's credential, among its grounds.
pub const AUTHORITY_GROUND: usize = 4;

/// What a session rests on, by numbers; 0 for none. The first is the credential, or what trusted code named.
pub type Grounds = [u64; MAX_GROUNDS];

/// The lines of a slot that only writers read.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct SessionDetails {
    /// Who writes the slot: the number of an owner and a random number; 0 for nobody.
    pub writer: AtomicU64,
    /// The bounds as admitted, by the wall clock.
    pub not_before_ns: AtomicI64,
    pub not_after_ns: AtomicI64,
    /// The end as it was at admission, by the clock that also counts sleep.
    pub awake_to_ns: AtomicI64,
    /// The first of its grounds.
    pub ground: AtomicU64,
    /// When the session was admitted, by the wall clock.
    pub admitted_ns: AtomicI64,
    /// The id before this one. It must never be given to a session again.
    pub last: AtomicU64,
    /// How long the machine had slept when the time of the proof was last computed ([`slept_units`]).
    pub slept: AtomicU32,
    /// The number of the note that says who set the session's status; 0 for none.
    pub note: AtomicU32,
    /// Its other grounds.
    pub other_grounds: [AtomicU64; MAX_GROUNDS - 1],
}

/// What a writer puts into a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub id: u64,
    pub principal: u32,
    pub on_behalf_of: u32,
    pub region: u32,
    pub channel: u32,
    pub proof: u64,
    pub grounds: Grounds,
    pub not_before_ns: i64,
    pub not_after_ns: i64,
}

/// Convert bounds to the monotonic clock, by the current difference of the clocks.
pub(crate) fn bounds(not_before_ns: i64, not_after_ns: i64, now: &Reading) -> (i64, i64) {
    let by_monotonic = |wall: i64| now.monotonic.saturating_add(wall.saturating_sub(now.wall));
    let to_ns = if not_after_ns == i64::MAX { i64::MAX } else { by_monotonic(not_after_ns) };
    (by_monotonic(not_before_ns), to_ns)
}

/// Return an end by the clock that also counts sleep.
fn awake(to_ns: i64, now: &Reading) -> i64 {
    let slept = now.boottime.saturating_sub(now.monotonic);
    if to_ns == i64::MAX { i64::MAX } else { to_ns.saturating_add(slept) }
}

/// The unit in which a slot keeps how long the machine had slept.
pub(crate) const SLEPT_UNIT_NS: i64 = 16_000_000;

/// Return how long the machine has slept since it started, in whole units.
pub(crate) fn slept_units(now: &Reading) -> u32 {
    let slept = now.boottime.saturating_sub(now.monotonic) / SLEPT_UNIT_NS;
    u32::try_from(slept.max(0)).unwrap_or(u32::MAX)
}

impl SessionDetails {
    /// Return its grounds.
    pub fn grounds(&self) -> impl Iterator<Item = &AtomicU64> {
        std::iter::once(&self.ground).chain(&self.other_grounds)
    }

    /// Return whether the session was admitted by a credential, not by the word of trusted code.
    pub fn rests_on_a_credential(&self) -> bool {
        self.other_grounds[AUTHORITY_GROUND - 1].load(Ordering::Relaxed) != 0
    }
}

impl SessionSlot {
    /// Keep the id of the session that was in the slot, beside it. The caller is the slot's only writer.
    pub fn keep_last(&self, details: &SessionDetails) {
        let before = self.state.load(Ordering::Relaxed);
        // The slot of a writer that ended half-way holds no id of a session, but the line beside it does.
        if before & STATUS_MASK != FREE {
            details.last.store(before & !STATUS_MASK, Ordering::Relaxed);
        }
    }

    /// Give the slot to another session. The caller is its only writer. Return the session's end.
    pub fn open(&self, details: &SessionDetails, opened: &Opened, now: &Reading) -> i64 {
        let (from_ns, to_ns) = bounds(opened.not_before_ns, opened.not_after_ns, now);
        self.state.store(opened.id | FREE, Ordering::Relaxed);
        // The fields must become visible only after the state that takes the slot out of use.
        fence(Ordering::Release);
        self.from_ns.store(from_ns, Ordering::Relaxed);
        self.to_ns.store(to_ns, Ordering::Relaxed);
        self.principal.store(opened.principal, Ordering::Relaxed);
        self.on_behalf_of.store(opened.on_behalf_of, Ordering::Relaxed);
        self.proof.store(opened.proof, Ordering::Relaxed);
        self.region.store(opened.region, Ordering::Relaxed);
        self.channel.store(opened.channel, Ordering::Relaxed);
        details.not_before_ns.store(opened.not_before_ns, Ordering::Relaxed);
        details.not_after_ns.store(opened.not_after_ns, Ordering::Relaxed);
        details.awake_to_ns.store(awake(to_ns, now), Ordering::Relaxed);
        for (ground, number) in details.grounds().zip(opened.grounds) {
            ground.store(number, Ordering::Relaxed);
        }
        details.admitted_ns.store(now.wall, Ordering::Relaxed);
        details.slept.store(slept_units(now), Ordering::Relaxed);
        details.note.store(0, Ordering::Relaxed);
        self.state.store(opened.id | SessionStatus::Active.bits(), Ordering::Release);
        to_ns
    }

    /// Return the place of a session's principal, if the slot is the session's and it is valid now, by the monotonic
    /// clock.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    pub fn valid(&self, session: SessionId, now_ns: i64) -> Option<u32> {
        self.valid_with(session, now_ns, |_| ()).map(|(principal, ())| principal)
    }

    /// Return the place of a session's principal as [`Self::valid`] does, with what is known about the session: both
    /// are of one moment.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn valid_live(&self, session: SessionId, now_ns: i64) -> Option<(u32, LiveFields)> {
        self.valid_with(session, now_ns, Self::live_fields)
    }

    /// Read some fields of a valid session's slot, between the state word and the state word.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn valid_with<T>(&self, session: SessionId, now_ns: i64, read: impl FnOnce(&Self) -> T) -> Option<(u32, T)> {
        let active = session.0 | SessionStatus::Active.bits();
        if self.state.load(Ordering::Acquire) != active {
            return None;
        }
        // Whoever sees an earlier beginning also sees the earlier end that was written before it.
        let (from, to) = (self.from_ns.load(Ordering::Acquire), self.to_ns.load(Ordering::Relaxed));
        let found = (self.principal.load(Ordering::Relaxed), read(self));
        fence(Ordering::Acquire);
        let good = self.state.load(Ordering::Relaxed) == active && now_ns < to && from <= now_ns;
        good.then_some(found)
    }

    /// Return what is known about a session, if the slot is the session's and it is active.
    #[inline]
    pub fn live(&self, session: SessionId) -> Option<LiveFields> {
        let active = session.0 | SessionStatus::Active.bits();
        if self.state.load(Ordering::Acquire) != active {
            return None;
        }
        let fields = self.live_fields();
        fence(Ordering::Acquire);
        (self.state.load(Ordering::Relaxed) == active).then_some(fields)
    }

    /// Read what is known about the slot's session. The caller reads the state before and after.
    #[inline]
    pub fn live_fields(&self) -> LiveFields {
        LiveFields {
            proof: self.proof.load(Ordering::Relaxed),
            on_behalf_of: self.on_behalf_of.load(Ordering::Relaxed),
            region: self.region.load(Ordering::Relaxed),
            channel: self.channel.load(Ordering::Relaxed),
        }
    }

    /// Set the status of a session in a table with this mask. Return `false` if the slot is another session's, or this
    /// one has the status already, or was revoked, which is final.
    pub fn set(&self, session: SessionId, mask: u64, status: SessionStatus) -> bool {
        let changed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let revoked = state & STATUS_MASK == SessionStatus::Revoked.bits();
            let is_new = state & STATUS_MASK != status.bits();
            (is_of(state, session, mask) && !revoked && is_new).then_some(session.0 | status.bits())
        });
        changed.is_ok()
    }

    /// Move the bounds of the slot's session. The caller is the slot's only writer, so that the session stays the same.
    pub fn renew(&self, details: &SessionDetails, not_after_ns: i64, now: &Reading) -> i64 {
        let (_, to_ns) = bounds(0, not_after_ns, now);
        details.not_after_ns.store(not_after_ns, Ordering::Relaxed);
        details.awake_to_ns.store(awake(to_ns, now), Ordering::Relaxed);
        self.to_ns.store(to_ns, Ordering::Release);
        to_ns
    }

    /// Recompute the bounds from the clocks. The caller is the slot's only writer.
    pub fn follow(&self, details: &SessionDetails, now: &Reading) {
        let admitted = (&details.not_before_ns, &details.not_after_ns);
        let (from_ns, to_ns) = bounds(admitted.0.load(Ordering::Relaxed), admitted.1.load(Ordering::Relaxed), now);
        let awake_to_ns = details.awake_to_ns.load(Ordering::Relaxed);
        let slept = now.boottime.saturating_sub(now.monotonic);
        let awake_to_ns = if awake_to_ns == i64::MAX { i64::MAX } else { awake_to_ns.saturating_sub(slept) };
        let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));
        // The end comes first: only the end could be too late.
        self.to_ns.store(to_ns, Ordering::Release);
        self.from_ns.store(from_ns, Ordering::Release);
    }
}

/// What decisions read of a session besides its bounds, as the slot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFields {
    pub(crate) proof: u64,
    pub(crate) on_behalf_of: u32,
    pub(crate) region: u32,
    pub(crate) channel: u32,
}

/// The version of a slot's layout.
pub const LAYOUT: u32 = 5;

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<SessionSlot>() == 64 && align_of::<SessionSlot>() == 64);
    assert!(size_of::<SessionDetails>() == 128 && align_of::<SessionDetails>() == 64);
    assert!(offset_of!(SessionSlot, state) == 0 && offset_of!(SessionSlot, principal) == 24);
};

/// Return whether a slot's state belongs to this session, with a status other than free.
pub(crate) const fn is_of(state: u64, session: SessionId, mask: u64) -> bool {
    state & !STATUS_MASK == session.0 && session.0 & !mask != 0 && state & STATUS_MASK != FREE
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn opened(id: u64) -> Opened {
        let (on_behalf_of, region, channel, proof, grounds) = (0, 0, 0, 0, [0; MAX_GROUNDS]);
        let (not_before_ns, not_after_ns) = (0, i64::MAX);
        Opened { id, principal: 7, on_behalf_of, region, channel, proof, grounds, not_before_ns, not_after_ns }
    }

    /// Loom keeps no order between an exchange and another thread's plain store, so threads of the system try this.
    #[test]
    fn a_late_revocation_of_an_old_session_leaves_the_new_one_alone() {
        let rounds = if cfg!(miri) { 20 } else { 300 };
        let now = Reading { wall: 0, monotonic: 0, boottime: 0 };
        for (old, new) in (1..rounds).map(|tag| (tag << 32, (tag + 1) << 32)) {
            let slot: SessionSlot = zerocopy::FromZeros::new_zeroed();
            let details: SessionDetails = zerocopy::FromZeros::new_zeroed();
            slot.open(&details, &opened(old), &now);
            std::thread::scope(|threads| {
                threads.spawn(|| slot.set(SessionId(old), 0, SessionStatus::Revoked));
                slot.open(&details, &opened(new), &now);
            });
            assert_eq!(slot.valid(SessionId(new), 0), Some(7));
        }
    }
}
