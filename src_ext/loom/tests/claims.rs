//! Checks the claims of writers on a session's slot: of living ones, and of one that was killed.

#[allow(dead_code)] // these tests run only the code that threads share
#[path = "../../live/src/claims.rs"]
mod claims;
#[allow(dead_code)] // as above
#[path = "../../live/src/slot.rs"]
mod slot;

extern crate self as ztfast_pages;

mod numbers {
    /// A handle. A slot does not keep it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Handle(pub u64);
}

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use slot::{MAX_GROUNDS, Opened, SessionDetails, SessionId, SessionSlot};

/// The clocks at one moment, as `pages` reads them.
pub struct Reading {
    wall: i64,
    monotonic: i64,
    boottime: i64,
}

const NOW: Reading = Reading { wall: 0, monotonic: 0, boottime: 0 };
const IDS: [SessionId; 3] = [SessionId(1 << 32), SessionId(2 << 32), SessionId(3 << 32)];
/// The end of each session as it was admitted, and the one that the first is renewed to.
const ENDS: [i64; 3] = [50, 60, 70];
const LATER: i64 = 1_000;
const PRINCIPALS: [u32; 3] = [1, 2, 3];
/// The claim of a process that has ended.
const DEAD: u64 = 9;

/// A slot: the line that decisions read, and the one that only writers read.
#[derive(Default)]
struct Slot {
    line: SessionSlot,
    details: SessionDetails,
}

impl Slot {
    /// Run `job` under a claim, unless a living writer has one. Return what it returns.
    fn alone<T>(&self, claim: u64, job: impl FnOnce() -> T) -> Option<T> {
        claims::take(&self.details.writer, claim, |held| held == DEAD).then(|| {
            let done = job();
            claims::give_back(&self.details.writer, claim);
            done
        })
    }

    /// Give the slot to a session, as its only writer.
    fn open(&self, number: usize) {
        let (id, principal, not_after_ns) = (IDS[number].0, PRINCIPALS[number], ENDS[number]);
        let (on_behalf_of, region, channel, grounds, not_before_ns) = (0, 0, 0, [0; MAX_GROUNDS], 0);
        let proof = u64::from(principal) + 40;
        let opened =
            Opened { id, principal, on_behalf_of, region, channel, proof, grounds, not_before_ns, not_after_ns };
        self.line.open(&self.details, &opened, &NOW);
    }

    fn is_of(&self, number: usize) -> bool {
        self.line.state.load(Ordering::Acquire) == IDS[number].0
    }
}

/// Make a slot that holds the first session, and the claim of a process that was killed.
fn slot() -> Arc<Slot> {
    let slot = Slot::default();
    slot.open(0);
    slot.details.writer.store(DEAD, Ordering::Relaxed);
    Arc::new(slot)
}

#[test]
fn the_claim_of_a_dead_owner_is_taken_over_by_one_writer_at_a_time() {
    loom::model(|| {
        let slot = slot();
        let other = thread::spawn({
            let slot = slot.clone();
            move || slot.alone(2, || slot.open(2)).is_some()
        });
        let own = slot.alone(1, || slot.open(1)).is_some();
        let other = other.join().unwrap();
        assert!(own || other, "nobody took the slot over");
        let number = if slot.is_of(1) { 1 } else { 2 };
        assert!(if number == 1 { own } else { other && slot.is_of(2) });
        assert_eq!(slot.line.valid(IDS[number], 10), Some(PRINCIPALS[number]));
        assert_eq!(slot.line.valid(IDS[number], ENDS[number]), None, "it has the end of another session");
        assert_eq!(slot.details.writer.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_renewal_and_a_proof_never_reach_the_next_session_of_the_slot() {
    loom::model(|| {
        let slot = slot();
        let other = thread::spawn({
            let slot = slot.clone();
            move || slot.alone(2, || slot.open(1)).is_some()
        });
        let renewed = slot.alone(1, || {
            let is_there = slot.is_of(0);
            if is_there {
                slot.line.renew(&slot.details, LATER, &NOW);
                slot.line.proof.store(99, Ordering::Release);
            }
            is_there
        });
        if other.join().unwrap() {
            assert_eq!(slot.line.valid(IDS[1], 10), Some(2));
            assert_eq!(slot.line.valid(IDS[1], ENDS[1]), None, "it was renewed as the session before");
            assert_eq!(slot.line.live(IDS[1]).map(|live| live.proof), Some(42));
        } else {
            assert_eq!((renewed, slot.line.valid(IDS[0], ENDS[0])), (Some(true), Some(1)));
            assert_eq!(slot.line.live(IDS[0]).map(|live| live.proof), Some(99));
        }
    });
}

#[test]
fn a_reader_sees_a_renewed_session_by_its_old_end_or_the_new_one() {
    loom::model(|| {
        let slot = slot();
        let writer = thread::spawn({
            let slot = slot.clone();
            move || slot.alone(1, || slot.line.renew(&slot.details, LATER, &NOW))
        });
        assert_eq!(slot.line.valid(IDS[0], 10), Some(1), "it is never over meanwhile");
        assert_eq!(slot.line.valid(IDS[0], LATER), None);
        assert_eq!(writer.join().unwrap(), Some(LATER));
        assert_eq!(slot.line.valid(IDS[0], ENDS[0]), Some(1));
    });
}
