//! Checks a session's slot while it is reused, revoked and read.

#[allow(dead_code)] // these tests run only the code that threads share
#[path = "../../live/src/slot.rs"]
mod slot;

extern crate self as ztfast_pages;

mod numbers {
    /// A handle. A slot does not keep it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Handle(pub u64);
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use slot::{MAX_GROUNDS, Opened, SessionDetails, SessionId, SessionSlot, SessionStatus};

/// The clocks at one moment, as `pages` reads them.
pub struct Reading {
    wall: i64,
    monotonic: i64,
    boottime: i64,
}

/// Ids of sessions of one slot, one after the other.
const IDS: [SessionId; 3] = [SessionId(1 << 32), SessionId(2 << 32), SessionId(3 << 32)];
/// The mask of slot numbers in a table with one slot.
const MASK: u64 = 0;
/// A moment at which the wall clock and the monotonic clock show the same time.
const NOW: Reading = Reading { wall: 0, monotonic: 0, boottime: 0 };

/// The principal of each session. Sessions share no word of their slots, and no two are valid at the same time.
const fn principal(number: usize) -> u32 {
    [1, 2, 3][number]
}

const fn begin(number: usize) -> i64 {
    [1, 101, 201][number]
}

/// Return a time at which the session with this number is valid, and no other.
const fn during(number: usize) -> i64 {
    begin(number) + 10
}

/// A slot: the line that decisions read, and the one that only writers read.
#[derive(Default)]
struct Slot {
    line: SessionSlot,
    details: SessionDetails,
}

impl Slot {
    fn open(&self, number: usize) {
        let (id, principal, begin) = (IDS[number].0, principal(number), begin(number));
        let (region, channel, grounds) = (principal + 10, principal + 20, [0; MAX_GROUNDS]);
        let (not_before_ns, not_after_ns) = (begin, begin + 49);
        let (on_behalf_of, proof) = (principal + 30, u64::from(principal) + 40);
        let opened =
            Opened { id, principal, on_behalf_of, region, channel, proof, grounds, not_before_ns, not_after_ns };
        self.line.open(&self.details, &opened, &NOW);
    }

    fn valid(&self, session: SessionId, now_ns: i64) -> Option<u32> {
        self.line.valid(session, now_ns)
    }

    fn set(&self, session: SessionId, mask: u64, status: SessionStatus) -> bool {
        self.line.set(session, mask, status)
    }
}

/// Make a slot that holds the first session.
fn slot() -> Arc<Slot> {
    let slot = Slot::default();
    slot.open(0);
    Arc::new(slot)
}

#[test]
fn a_slot_that_is_reused_is_never_read_half_old_half_new() {
    // Each model reads one session at one session's time, because loom tries every value that a load may give.
    for (id, time) in (0..2).flat_map(|id| (0..2).map(move |time| (id, time))) {
        loom::model(move || {
            let slot = slot();
            let writer = thread::spawn({
                let slot = slot.clone();
                move || slot.open(1)
            });
            let found = slot.valid(IDS[id], during(time));
            let right = (id == time).then_some(principal(id));
            assert!(found.is_none() || found == right, "{found:?} of another session");
            writer.join().unwrap();
            assert_eq!(slot.valid(IDS[0], during(0)), None, "the old id is valid");
            assert!(!slot.set(IDS[0], MASK, SessionStatus::Active), "the old id was made active");
            assert_eq!(slot.valid(IDS[1], during(1)), Some(principal(1)));
        });
    }
}

#[test]
fn a_slot_that_is_reused_twice_is_never_read_half_old_half_new() {
    let mut model = loom::model::Builder::new();
    // The bound limits how often threads are interrupted. An error of a sequence lock takes two interruptions.
    model.preemption_bound = Some(3);
    for (id, time) in [(0, 0), (1, 1), (0, 1), (1, 2)] {
        model.check(move || {
            let slot = slot();
            let writer = thread::spawn({
                let slot = slot.clone();
                move || [1, 2].map(|number| slot.open(number))
            });
            let found = slot.valid(IDS[id], during(time));
            let right = (id == time).then_some(principal(id));
            assert!(found.is_none() || found == right, "{found:?} of another session");
            writer.join().unwrap();
        });
    }
}

#[test]
fn an_old_id_is_invalid_once_a_new_one_was_valid() {
    loom::model(|| {
        let slot = slot();
        let writer = thread::spawn({
            let slot = slot.clone();
            move || slot.open(1)
        });
        if slot.valid(IDS[1], during(1)).is_some() {
            assert_eq!(slot.valid(IDS[0], during(0)), None);
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_that_was_told_of_a_revocation_sees_it() {
    loom::model(|| {
        let slot = slot();
        let told = Arc::new(AtomicBool::new(false));
        let revoker = thread::spawn({
            let (slot, told) = (slot.clone(), told.clone());
            move || {
                assert!(slot.set(IDS[0], MASK, SessionStatus::Revoked));
                told.store(true, Ordering::Release);
            }
        });
        let knows = told.load(Ordering::Acquire);
        let found = slot.valid(IDS[0], during(0));
        assert!(found.is_none() || !knows && found == Some(principal(0)));
        revoker.join().unwrap();
        assert_eq!(slot.valid(IDS[0], during(0)), None);
    });
}

#[test]
fn a_revocation_is_final_whatever_status_another_thread_sets() {
    loom::model(|| {
        let slot = slot();
        let other = thread::spawn({
            let slot = slot.clone();
            move || {
                slot.set(IDS[0], MASK, SessionStatus::Quarantined);
                slot.set(IDS[0], MASK, SessionStatus::Active);
            }
        });
        assert!(slot.set(IDS[0], MASK, SessionStatus::Revoked));
        assert_eq!(slot.valid(IDS[0], during(0)), None);
        other.join().unwrap();
        assert_eq!(slot.valid(IDS[0], during(0)), None);
    });
}

#[test]
fn an_end_that_moves_nearer_prolongs_no_session_meanwhile() {
    loom::model(|| {
        let slot = slot();
        let begin = begin(0);
        // The wall clock is set forward by more than the session's length, so the session began and ended earlier.
        let keeper = thread::spawn({
            let slot = slot.clone();
            move || slot.line.follow(&slot.details, &Reading { wall: 100, ..NOW })
        });
        // At this time the session is valid neither by the old bounds nor by the new ones.
        assert_eq!(slot.valid(IDS[0], begin - 10), None, "its begin was moved before its end was");
        keeper.join().unwrap();
        assert_eq!(slot.valid(IDS[0], during(0)), None);
    });
}

#[test]
fn what_is_known_about_a_session_is_never_half_another_ones() {
    loom::model(|| {
        let slot = slot();
        let writer = thread::spawn({
            let slot = slot.clone();
            move || slot.open(1)
        });
        for (number, id) in IDS.into_iter().take(2).enumerate() {
            if let Some(live) = slot.line.live(id) {
                let own = principal(number);
                let found = (live.on_behalf_of, live.region, live.channel, live.proof);
                assert_eq!(found, (own + 30, own + 10, own + 20, u64::from(own) + 40));
            }
        }
        writer.join().unwrap();
    });
}
