//! Whose slot is given to another session, and when; and that nobody takes one for the other.

use super::tests::{ADMISSION, admit, admit_as, at};
use super::*;
use crate::numbers::Handle;

#[test]
fn an_id_without_a_tag_is_no_session() {
    let sessions = Sessions::new(2, Residence::default()).unwrap();
    for id in [0, 1] {
        assert_eq!(sessions.check(SessionId(id), 15), Err(Code::UnknownSession));
        assert!(!sessions.set_status(SessionId(id), SessionStatus::Revoked));
    }
}

#[test]
fn a_revoked_session_is_known_to_be_while_other_slots_are_free() {
    let sessions = Sessions::new(3, Residence::default()).unwrap();
    let gone = admit(&sessions, 1, 15).unwrap();
    assert!(sessions.set_status(gone, SessionStatus::Revoked));
    for _ in 0..2 {
        admit(&sessions, 2, 15).unwrap();
        assert_eq!(sessions.check(gone, 15), Err(Code::Revoked));
    }
    admit(&sessions, 2, 15).unwrap();
    assert_eq!(sessions.check(gone, 15), Err(Code::UnknownSession));
}

#[test]
fn of_two_revoked_sessions_the_one_that_was_revoked_first_gives_way() {
    let sessions = Sessions::new(2, Residence::default()).unwrap();
    let [last, first] = [1, 2].map(|place| admit(&sessions, place, 15).unwrap());
    for session in [first, last] {
        assert!(sessions.set_status(session, SessionStatus::Revoked));
    }
    admit(&sessions, 3, 15).unwrap();
    assert_eq!(sessions.check(first, 15), Err(Code::UnknownSession));
    assert_eq!(sessions.check(last, 15), Err(Code::Revoked));
}

#[test]
fn a_slot_that_was_found_and_not_used_is_given_to_the_next_session() {
    let endless = Admission { principal: Handle(0), not_before_ns: 0, not_after_ns: i64::MAX };
    let admit = |sessions: &Sessions| sessions.admit(Place(1), &endless);
    let sessions = Sessions::new(2, Residence::default()).unwrap();
    // One never used, then that of a revoked session.
    for round in 0..2 {
        let found = [(); 2].map(|()| sessions.vacancy().unwrap());
        assert_ne!(found[0].number, found[1].number);
        assert_eq!(sessions.vacancy().err(), Some(AdmitError::Full(2)));
        assert_eq!(admit(&sessions), Err(AdmitError::Full(2)));
        drop(found);
        let admitted = [(); 2].map(|()| admit(&sessions).unwrap());
        assert_eq!(admit(&sessions), Err(AdmitError::Full(2)), "{round}");
        for session in admitted {
            assert!(sessions.set_status(session, SessionStatus::Revoked));
        }
    }
    // One who was refused does not change whose slot is reused first.
    let [last, first] = [(); 2].map(|()| admit(&sessions).unwrap());
    for session in [first, last] {
        assert!(sessions.set_status(session, SessionStatus::Revoked));
    }
    drop(sessions.vacancy().unwrap());
    admit(&sessions).unwrap();
    assert_eq!([first, last].map(|session| sessions.why(session, 0)), [Code::UnknownSession, Code::Revoked]);
}

#[test]
fn a_session_gives_way_when_it_is_over_and_not_before() {
    let sessions = Sessions::new(1, Residence::default()).unwrap();
    let first = admit(&sessions, 1, 15).unwrap();
    let late = Admission { not_after_ns: 50, ..ADMISSION };
    assert_eq!(admit_as(&sessions, 2, &late, &at(19)), Err(AdmitError::Full(1)));
    assert_eq!(sessions.check(first, 19), Ok(Place(1)));
    let second = admit_as(&sessions, 2, &late, &at(20)).unwrap();
    assert_eq!(sessions.check(second, 20), Ok(Place(2)));
}

#[test]
fn a_slot_that_was_given_on_is_not_taken_for_what_it_was() {
    let until = |to| Admission { not_after_ns: to, ..ADMISSION };
    // Its end is still listed when a session is revoked and its slot given on.
    let sessions = Sessions::new(1, Residence::default()).unwrap();
    let first = admit_as(&sessions, 1, &until(30), &at(15)).unwrap();
    assert!(sessions.set_status(first, SessionStatus::Revoked));
    let second = admit_as(&sessions, 2, &until(50), &at(16)).unwrap();
    assert_eq!(admit_as(&sessions, 3, &until(60), &at(31)), Err(AdmitError::Full(1)));
    assert_eq!(sessions.check(second, 31), Ok(Place(2)));
    // And a revocation, when somebody gives the slot on while the revoking thread has not listed it yet.
    sessions.table.spare().revoked.push_back(first.0);
    assert_eq!(admit_as(&sessions, 3, &until(60), &at(31)), Err(AdmitError::Full(1)));
    assert_eq!(sessions.check(second, 31), Ok(Place(2)));
}

#[test]
fn principals_are_needed_until_their_sessions_are_over() {
    let sessions = Sessions::new(4, Residence::default()).unwrap();
    let now = Reading::now();
    let endless = Admission { principal: Handle(0), not_before_ns: 0, not_after_ns: i64::MAX };
    let over = Admission { not_after_ns: now.wall - 1_000_000_000, ..endless };
    admit_as(&sessions, 1, &over, &now).unwrap();
    let [_, revoked, quarantined] = [2, 3, 4].map(|place| admit_as(&sessions, place, &endless, &now).unwrap());
    assert!(sessions.set_status(revoked, SessionStatus::Revoked));
    assert!(sessions.set_status(quarantined, SessionStatus::Quarantined));
    assert_eq!(sessions.principals(), HashSet::from([Place(2), Place(4)]));
}
