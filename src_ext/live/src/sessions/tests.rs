//! Tests of admissions, ends and clocks.

use super::*;
use crate::numbers::Handle;
use std::collections::VecDeque;

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
    sessions.admit_at(&mut sessions.table.spare(), Place(principal), admission, &Known::default(), now)
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
        assert!(!sessions.set_status(SessionId(id), SessionStatus::Active), "{id:#x}");
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
                assert!(!table.set_status(foreign, status));
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
        assert!(sessions.set_status(session, SessionStatus::Revoked));
    }
    for id in given {
        assert_ne!(sessions.check(SessionId(id), 15), Ok(Place(7)));
    }
}

#[test]
fn revocation_is_for_good_and_quarantine_is_not() {
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let session = admit(&sessions, 7, 0).unwrap();
    assert!(sessions.set_status(session, SessionStatus::Quarantined));
    assert_eq!(sessions.check(session, 15), Err(Code::Quarantined));
    assert!(sessions.set_status(session, SessionStatus::Active));
    assert_eq!(sessions.check(session, 15), Ok(Place(7)));
    assert!(sessions.set_status(session, SessionStatus::Revoked));
    assert!(!sessions.set_status(session, SessionStatus::Active));
    assert!(!sessions.set_status(session, SessionStatus::Quarantined));
    assert_eq!(sessions.check(session, 15), Err(Code::Revoked));
}

#[test]
fn a_full_table_reuses_what_is_over_and_old_ids_stay_dead() {
    let sessions = Sessions::new(2, Residence::default()).unwrap();
    let first = admit(&sessions, 1, 15).unwrap();
    let second = admit(&sessions, 2, 15).unwrap();
    assert_eq!(admit(&sessions, 3, 15), Err(AdmitError::Full(2)));
    assert!(sessions.set_status(first, SessionStatus::Revoked));
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
            assert!(sessions.set_status(gone, SessionStatus::Revoked));
            assert_eq!(code(&sessions, gone, &clocks(1_010, 10, 0)), Code::Revoked, "{round}");
        }
    }
    let spare = sessions.table.spare();
    assert!(spare.ends.len() <= 2 * 3 + 64 && spare.revoked.len() <= 3);
}

fn admit_proved(sessions: &Sessions, at_ns: i64, now: &Reading) -> SessionId {
    let known = Known { proof: Proof { at_ns, factors: 1, assurance: 2, risk: 3 }, ..Known::default() };
    let endless = seconds(0, i64::MAX);
    sessions.admit_at(&mut sessions.table.spare(), Place(7), &endless, &known, now).unwrap()
}

#[test]
fn a_proof_ages_while_the_machine_sleeps() {
    const SECOND: i64 = 1_000_000_000;
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let zero = sessions.state().base_ns() + (1 << 40) * 1_000;
    let clocks = |awake: i64, slept: i64| {
        let monotonic = zero + awake * SECOND;
        Reading { wall: monotonic + slept * SECOND, monotonic, boottime: monotonic + slept * SECOND }
    };
    follow(&sessions, &clocks(0, 0));
    let early = admit_proved(&sessions, clocks(0, 0).monotonic, &clocks(0, 0));
    let never = admit_proved(&sessions, i64::MIN, &clocks(0, 0));
    let age = |session, now: &Reading| sessions.live(session).unwrap().proof.age_ms(now.monotonic);
    assert!((10_000..10_100).contains(&age(early, &clocks(10, 0))));
    follow(&sessions, &clocks(10, 3_600));
    let late = admit_proved(&sessions, clocks(10, 3_600).monotonic, &clocks(10, 3_600));
    for _ in 0..3 {
        assert!((3_610_000..3_610_200).contains(&age(early, &clocks(10, 3_600))), "{}", age(early, &clocks(10, 3_600)));
        assert!((0..100).contains(&age(late, &clocks(10, 3_600))));
        assert_eq!(age(never, &clocks(10, 3_600)), i64::MAX);
        // The wall clock is set: nobody slept.
        sessions.table.recompute_bounds(&mut sessions.table.spare(), &clocks(10, 3_600));
    }
    follow(&sessions, &clocks(20, 7_200));
    assert!((7_220_000..7_220_300).contains(&age(early, &clocks(20, 7_200))));
    assert!((3_610_000..3_610_200).contains(&age(late, &clocks(20, 7_200))));
    let proof = sessions.live(early).unwrap().proof;
    assert_eq!((proof.factors, proof.assurance, proof.risk), (1, 2, 3));
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes to follow real clocks")]
fn the_keeper_drops_kills_whose_time_is_over() {
    use crate::switches::{Kill, Scope, Stopped};
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let switches = sessions.state().switches();
    let now_ns = sessions.table.now().monotonic;
    let kill = |id, until_ns| Kill {
        id,
        scope: Scope::Firm,
        actions: Stopped::Usual,
        members: Vec::new(),
        by: id.to_string(),
        reason: String::new(),
        since_ns: 0,
        until_ns: Some((0, until_ns)),
        two_persons: false,
        asked_by: None,
        by_switch: false,
    };
    let far = now_ns + 3_600_000_000_000;
    for (id, until_ns) in [(1, now_ns + 1), (2, far)] {
        switches.writer(now_ns).kill(&kill(id, until_ns)).unwrap();
    }
    let keep = || crate::keeper::Kept::look_at_file(&*sessions.table);
    std::thread::sleep(std::time::Duration::from_millis(20));
    keep();
    assert!(!switches.is_stale(sessions.table.now().monotonic) && switches.word() != 0);
    switches.writer(now_ns).drop_kills(|kill| kill.id == 2);
    switches.writer(now_ns).kill(&kill(3, now_ns + 1)).unwrap();
    assert_ne!(switches.word(), 0);
    keep();
    assert_eq!(switches.word(), 0);
}

#[test]
fn a_status_that_a_session_has_or_that_comes_after_its_end_changes_nothing_that_counts() {
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let endless = Admission { not_after_ns: i64::MAX, ..ADMISSION };
    let [one, other] = [1, 2].map(|place| admit_as(&sessions, place, &endless, &at(15)).unwrap());
    let over = admit(&sessions, 3, 15).unwrap();
    for status in [SessionStatus::Quarantined, SessionStatus::Active, SessionStatus::Revoked] {
        assert_eq!(sessions.set_all(status, None, |record| record.id != other), 1, "{status:?}");
        assert_eq!(sessions.set_all(status, None, |record| record.id != other), 0, "{status:?}");
        assert!(!sessions.set(one, status) && !sessions.set_status(one, status), "{status:?}");
        assert_eq!(sessions.count(status, |record| record.id == one), 1);
        assert_eq!(sessions.count(status, |record| record.id == over), 0);
        // Who renews it meanwhile does not keep it alive.
        assert_eq!(sessions.record(over).unwrap().status, status);
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri may take longer than a renewal is waited for")]
fn a_session_that_expires_while_it_is_renewed_counts_as_changed_and_gets_the_note() {
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let note = sessions.note("ann", "a test").unwrap();
    let set: [fn(&Sessions, SessionId, &Note) -> bool; 2] = [
        |sessions, session, note| sessions.set_noted(session, SessionStatus::Revoked, Some(note)),
        |sessions, session, note| {
            sessions.set_all(SessionStatus::Revoked, Some(note), |record| record.id == session) == 1
        },
    ];
    for (renews, set) in set.into_iter().flat_map(|set| [(true, set), (false, set)]) {
        let session = admit(&sessions, 3, 15).unwrap();
        let number = sessions.number(session);
        // The renewal has found the session alive, and then it expires and is revoked.
        let claimed = sessions.table.claim(number, PATIENT).unwrap();
        let changed = std::thread::scope(|threads| {
            let revoked = threads.spawn(|| set(&sessions, session, &note));
            while sessions.record(session).is_none_or(|record| record.status != SessionStatus::Revoked) {
                std::thread::yield_now();
            }
            if renews {
                claimed.slot.renew(claimed.details, i64::MAX, &sessions.table.now());
            }
            drop(claimed);
            revoked.join().unwrap()
        });
        let by = sessions.record(session).and_then(|record| sessions.note_of(&record)).map(|note| note.by);
        assert_eq!((changed, by.as_deref()), (renews, renews.then_some("ann")));
    }
}

#[test]
fn of_many_sessions_each_is_changed_before_the_next_one_is_looked_at() {
    let sessions = Sessions::new(64, Residence::default()).unwrap();
    let endless = Admission { not_after_ns: i64::MAX, ..ADMISSION };
    for _ in 0..64 {
        admit_as(&sessions, 1, &endless, &at(15)).unwrap();
    }
    let before = std::cell::Cell::new(None);
    let is_next = |record: &SessionRecord| {
        if let Some(before) = before.replace(Some(record.id)) {
            assert_eq!(sessions.record(before).unwrap().status, SessionStatus::Revoked);
        }
        true
    };
    assert_eq!(sessions.set_all(SessionStatus::Revoked, None, is_next), 64);
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes for it; it runs the tests of notes themselves")]
fn a_note_says_who_gave_a_session_its_status() {
    let sessions = Sessions::new(2, Residence::default()).unwrap();
    let said = |session| {
        let record = sessions.record(session).unwrap();
        sessions.note_of(&record).map(|note| (note.by, note.reason))
    };
    let text = |by: &str, reason: &str| Some((by.to_owned(), reason.to_owned()));
    let endless = Admission { not_after_ns: i64::MAX, ..ADMISSION };
    let [one, other] = [1, 2].map(|place| admit_as(&sessions, place, &endless, &at(15)).unwrap());
    assert_eq!((said(one), said(other)), (None, None));
    let note = sessions.note("ann", "odd orders").unwrap();
    assert_eq!(sessions.set_all(SessionStatus::Quarantined, Some(&note), |_| true), 2);
    assert_eq!((said(one), said(other)), (text("ann", "odd orders"), text("ann", "odd orders")));
    // Who says nothing is not taken for the last one who did.
    assert!(sessions.set(one, SessionStatus::Active) && sessions.set(one, SessionStatus::Quarantined));
    assert_eq!(said(one), None);
    assert!(sessions.set_noted(other, SessionStatus::Revoked, sessions.note("bob", "").ok().as_ref()));
    assert_eq!(said(other), text("bob", ""));
    // A process may be killed after the status and before the note, and another caller's status may come before it.
    assert!(!sessions.set_noted(one, SessionStatus::Quarantined, Some(&note)) && said(one).is_none());
    assert!(sessions.set(one, SessionStatus::Active));
    assert!(sessions.set_noted(one, SessionStatus::Quarantined, Some(&note)) && said(one).is_some());
    assert!(sessions.set_status(one, SessionStatus::Active) && said(one).is_none());
    assert!(sessions.set_noted(one, SessionStatus::Quarantined, sessions.note("bob", "").ok().as_ref()));
    sessions.keep_note(&[one], SessionStatus::Revoked, Some(&note));
    assert_eq!(said(one), text("bob", ""));
    // Neither another revocation nor another session in the slot changes or gets it.
    assert!(!sessions.set_noted(other, SessionStatus::Revoked, Some(&note)));
    // Nor do as many calls as notes are kept that change nothing.
    for _ in 0..if cfg!(miri) { 2 } else { crate::notes::NOTES } {
        assert_eq!(sessions.set_all(SessionStatus::Revoked, Some(&note), |record| record.id == other), 0);
    }
    assert_eq!(said(other), text("bob", ""));
    let next = admit(&sessions, 3, 15).unwrap();
    assert_eq!((said(next), sessions.record(other)), (None, None));
    assert!(!sessions.set_noted(other, SessionStatus::Revoked, Some(&note)));
    assert_eq!(said(next), None);
    assert!(sessions.note(&"x".repeat(129), "").is_err());
}
