//! A session's slot, while it is reused, revoked and read.

#[allow(dead_code)] // only what threads share is run here
#[path = "../../live/src/slot.rs"]
mod slot;

extern crate self as ztfast_pages;

mod handles {
    /// A handle, which a slot does not keep.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Handle(pub u64);
}

use handles::Handle;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use slot::{Admission, SessionId, SessionSlot, SessionStatus};

/// The clocks at one moment, as `pages` reads them.
pub struct Reading {
    wall: i64,
    monotonic: i64,
    boottime: i64,
}

/// Ids of sessions of one slot, one after the other.
const IDS: [SessionId; 3] = [SessionId(1 << 32), SessionId(2 << 32), SessionId(3 << 32)];
/// That of a table with one slot.
const MASK: u64 = 0;
/// Wall and monotonic clock alike.
const NOW: Reading = Reading { wall: 0, monotonic: 0, boottime: 0 };

/// Who is admitted under each, and when: no two have a word in common, or a time at which both are good.
const fn principal(number: usize) -> u32 {
    [1, 2, 3][number]
}

const fn admission(number: usize) -> Admission {
    let begin = [1, 101, 201][number];
    Admission { principal: Handle(0), not_before_ns: begin, not_after_ns: begin + 49 }
}

/// A time at which the session with this number is good, and no other.
const fn during(number: usize) -> i64 {
    admission(number).not_before_ns + 10
}

fn open(slot: &SessionSlot, number: usize) {
    slot.open(IDS[number].0, principal(number), &admission(number), &NOW);
}

/// A slot that holds the first session.
fn slot() -> Arc<SessionSlot> {
    let slot = SessionSlot::default();
    open(&slot, 0);
    Arc::new(slot)
}

#[test]
fn a_slot_that_is_reused_is_never_read_half_old_half_new() {
    // Each session, at each session's time: one reading a model, because loom tries every value that a load may give.
    for (id, time) in (0..2).flat_map(|id| (0..2).map(move |time| (id, time))) {
        loom::model(move || {
            let slot = slot();
            let writer = thread::spawn({
                let slot = slot.clone();
                move || open(&slot, 1)
            });
            let found = slot.valid(IDS[id], during(time));
            let right = (id == time).then_some(principal(id));
            assert!(found.is_none() || found == right, "{found:?} of another session");
            writer.join().unwrap();
            assert_eq!(slot.valid(IDS[0], during(0)), None, "the old id is good");
            assert!(!slot.set(IDS[0], MASK, SessionStatus::Active), "the old id was made active");
            assert_eq!(slot.valid(IDS[1], during(1)), Some(principal(1)));
        });
    }
}

#[test]
fn nor_is_one_that_is_reused_twice() {
    let mut model = loom::model::Builder::new();
    // No thread is interrupted more often: what goes wrong in a sequence lock takes two.
    model.preemption_bound = Some(3);
    for (id, time) in [(0, 0), (1, 1), (0, 1), (1, 2)] {
        model.check(move || {
            let slot = slot();
            let writer = thread::spawn({
                let slot = slot.clone();
                move || [1, 2].map(|number| open(&slot, number))
            });
            let found = slot.valid(IDS[id], during(time));
            let right = (id == time).then_some(principal(id));
            assert!(found.is_none() || found == right, "{found:?} of another session");
            writer.join().unwrap();
        });
    }
}

#[test]
fn an_old_id_is_good_no_more_once_a_new_one_was() {
    loom::model(|| {
        let slot = slot();
        let writer = thread::spawn({
            let slot = slot.clone();
            move || open(&slot, 1)
        });
        if slot.valid(IDS[1], during(1)).is_some() {
            assert_eq!(slot.valid(IDS[0], during(0)), None);
        }
        writer.join().unwrap();
    });
}

#[test]
fn whoever_knows_of_a_revocation_sees_it() {
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
fn a_revocation_is_for_good_whoever_else_changes_the_status() {
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
fn an_end_that_comes_nearer_prolongs_nothing_meanwhile() {
    loom::model(|| {
        let slot = slot();
        let begin = admission(0).not_before_ns;
        // The wall clock is set forward by more than the session lasts: it began and ended earlier.
        let keeper = thread::spawn({
            let slot = slot.clone();
            move || slot.follow(&Reading { wall: 100, ..NOW })
        });
        // At this time it is good neither as admitted nor as the clock is now.
        assert_eq!(slot.valid(IDS[0], begin - 10), None, "it began earlier before it ended earlier");
        keeper.join().unwrap();
        assert_eq!(slot.valid(IDS[0], during(0)), None);
    });
}
