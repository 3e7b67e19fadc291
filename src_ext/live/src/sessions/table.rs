//! The slots, as writers see them: claiming one, and following the wall clock.

use super::spare::Spare;
use crate::keeper::Kept;
use crate::owners::{Claim, Owners, PATIENT};
use crate::proof::{Proof, Scale};
use crate::slot::{FREE, SLEPT_UNIT_NS, STATUS_MASK, SessionDetails, SessionSlot, SessionStatus, slept_units};
use crate::state::{State, StateGone};
use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ztfast_pages::{Clock, Reading, Role};

/// How much longer the machine must have slept for the bounds to be computed again.
const SLEPT_NS: i64 = 1_000_000;

/// The slots, and the writer's data about them.
pub(super) struct Table {
    pub state: Arc<State>,
    pub mask: u64,
    spare: Mutex<Spare>,
    told: Mutex<Option<Told>>,
}

/// What is found out about a state while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Whether the bounds are behind the wall clock, in a process that cannot compute them again.
    Behind(bool),
    /// The state's file is no longer that of new engines.
    Gone,
}

/// What is told of it.
pub(super) type Told = Box<dyn Fn(Notice) + Send + Sync>;

/// A slot that this thread alone writes.
pub(super) struct Claimed<'t> {
    pub slot: &'t SessionSlot,
    pub details: &'t SessionDetails,
    claim: Option<Claim>,
}

impl Claimed<'_> {
    /// Make the proof older by what the machine has slept since its time was computed: the clock that decisions read
    /// stands still meanwhile.
    pub fn age_proof(&self, scale: Scale, now: &Reading) {
        let (before, slept) = (self.details.slept.load(Ordering::Relaxed), slept_units(now));
        if slept <= before {
            return;
        }
        // Both were rounded down.
        let older_ns = (i64::from(slept - before) + 1).saturating_mul(SLEPT_UNIT_NS);
        let proof = Proof::unpack(self.slot.proof.load(Ordering::Relaxed), scale);
        let at_ns = proof.at_ns.saturating_sub(older_ns);
        self.slot.proof.store(Proof { at_ns, ..proof }.pack(scale), Ordering::Release);
        // It comes last: a writer that is killed in between leaves a proof that is too old, not one too young.
        self.details.slept.store(slept, Ordering::Release);
    }
}

impl Claimed<'_> {
    /// Let others write the slot again.
    pub fn release(&mut self) {
        if let Some(claim) = self.claim.take() {
            Owners::release(&self.details.writer, claim);
        }
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

impl Table {
    pub fn of(state: Arc<State>, mask: u64) -> Self {
        Self { state, mask, spare: Mutex::default(), told: Mutex::default() }
    }

    pub fn tell(&self, told: Told) {
        *self.told() = Some(told);
    }

    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drop kills whose time is over, so that decisions need not look at them. Who writes just now does it anyway.
    fn settle_switches(&self) {
        let (state, now_ns) = (&self.state, self.now().monotonic);
        if state.role() == Role::Authority && state.switches().is_stale(now_ns) {
            let _ = state.alone_at_once(|| {
                let _settled = state.switches().writer(now_ns);
            });
        }
    }

    /// Refuse a state whose file is gone, and tell of it.
    pub fn check_file(&self) -> Result<(), StateGone> {
        self.state.check_file().inspect_err(|_| {
            if let Some(told) = &*self.told() {
                told(Notice::Gone);
            }
        })
    }

    /// Recompute all bounds if the wall clock was set or the machine slept. A process that only decides says so
    /// instead.
    pub fn follow(&self) {
        if matches!(self.state.clock(), Clock::Tsc) {
            ztfast_pages::calibrate();
        }
        if self.state.role() == Role::Decide {
            // Of two threads, the one that read the clocks last must tell last.
            if let Some(told) = &*self.told() {
                told(Notice::Behind(self.is_behind(&self.now())));
            }
        } else if self.is_behind(&self.now()) {
            let mut spare = self.spare();
            // Read the clocks again: meanwhile another thread may have recomputed the bounds by a later reading.
            self.recompute_bounds(&mut spare, &self.now());
        }
    }

    pub fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn slots(&self) -> &[SessionSlot] {
        self.state.slots()
    }

    /// Return the slots that were ever given out.
    pub fn used(&self) -> impl Iterator<Item = (usize, &SessionSlot)> {
        let fresh = self.state.control().fresh.load(Ordering::Acquire);
        self.slots().iter().enumerate().take(usize::try_from(fresh).unwrap_or(usize::MAX))
    }

    pub fn claim(&self, number: usize, patience: Duration) -> Option<Claimed<'_>> {
        let (slot, details) = (self.slots().get(number)?, self.state.details().get(number)?);
        let claim = Some(self.state.owners.claim(&details.writer, patience)?);
        Some(Claimed { slot, details, claim })
    }

    pub fn now(&self) -> Reading {
        self.state.reading()
    }

    pub fn is_behind(&self, now: &Reading) -> bool {
        let (control, slept) = (self.state.control(), now.boottime.saturating_sub(now.monotonic));
        now.offset() != control.offset.load(Ordering::Acquire)
            || slept > control.slept.load(Ordering::Acquire).saturating_add(SLEPT_NS)
    }

    pub fn recompute_bounds(&self, spare: &mut Spare, now: &Reading) {
        let mut is_whole = true;
        for (number, _) in self.used() {
            // Whoever writes the slot meanwhile reads the clocks again when that is done.
            match self.claim(number, PATIENT) {
                Some(claimed) => {
                    claimed.slot.follow(claimed.details, now);
                    claimed.age_proof(self.state.scale(), now);
                }
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
    pub fn list_ends(&self, spare: &mut Spare) {
        let end = |(_, slot): (usize, &SessionSlot)| {
            let (state, to_ns) = (slot.state.load(Ordering::Relaxed), slot.to_ns.load(Ordering::Relaxed));
            (state & STATUS_MASK != FREE && to_ns != i64::MAX).then_some(Reverse((to_ns, state & !STATUS_MASK)))
        };
        spare.ends.clear();
        spare.ends.extend(self.used().filter_map(end));
    }
}

/// Return whether the session of a slot is over, so that another may have the slot.
pub(super) fn is_over(slot: &SessionSlot, state: u64, now_ns: i64) -> bool {
    state & STATUS_MASK == SessionStatus::Revoked.bits()
        || state & STATUS_MASK == FREE
        || state == 0
        || slot.to_ns.load(Ordering::Acquire) <= now_ns
}

impl Kept for Table {
    fn follow_clocks(&self) {
        self.follow();
    }

    fn look_at_file(&self) {
        // Whoever changes something is refused; the others are told.
        let _ = self.check_file();
        self.settle_switches();
    }
}
