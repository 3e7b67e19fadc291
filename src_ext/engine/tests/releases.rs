//! The places of principals whose sessions are over are reused. A decision made meanwhile, over whatever snapshot,
//! never takes one principal for another.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ztfast_engine::{
    AdmitError, Batch, Code, Column, Decision, Engine, EngineOptions, Gate, Handle, HandleError, Principals, SessionId,
    SessionStatus,
};

/// The number of handles that are kept, and of places beside them.
const GIVEN: usize = 2;
const FREE: usize = 4;

struct Desk {
    engine: Arc<Engine>,
    doc: Handle,
    who: Handle,
    /// A number with which the policy allows the member, and not a guest.
    n: i64,
}

impl Desk {
    fn new() -> Self {
        let options = EngineOptions { sessions: 8, handles: GIVEN + FREE, ..EngineOptions::default() };
        let engine = Engine::new(world::Kind::World(None).bundle(), None, options).unwrap();
        let (doc, who) = (engine.handle("Doc", "d").unwrap(), engine.handle("User", "u").unwrap());
        let mut desk = Self { engine, doc, who, n: 0 };
        let mut gate = desk.gate();
        let (member, guest) = (desk.admit("v"), desk.admit("guest"));
        desk.n = (-10..20)
            .find(|&n| {
                let mut code = |session| desk.decide(&mut gate, n, || session);
                code(member) == Code::Allow && code(guest) != Code::Allow
            })
            .expect("members may more than guests");
        for session in [member, guest] {
            desk.revoke(session);
        }
        desk.release();
        desk
    }

    fn gate(&self) -> Gate {
        self.engine.prepare("Action", "view", &["n", "s", "who"]).unwrap()
    }

    fn admit(&self, id: &str) -> SessionId {
        self.engine.admit_uid("User", id, 0, i64::MAX).unwrap()
    }

    fn revoke(&self, session: SessionId) {
        assert!(self.engine.set_session(session, SessionStatus::Revoked).unwrap());
    }

    fn release(&self) {
        self.engine.swap(self.engine.snapshot().bundle().clone(), None).unwrap();
    }

    /// Decide for a session that is admitted after the call was begun.
    fn decide(&self, gate: &mut Gate, n: i64, session: impl FnOnce() -> SessionId) -> Code {
        gate.begin();
        let text = gate.text("axb").unwrap();
        let Ok(who) = gate.entity(self.who, 2) else { return Code::Corrupt };
        gate.allows(session(), self.doc, &[n, text, who]).code()
    }

    fn decide_many(&self, batch: &mut Batch, session: SessionId, one: bool) -> Code {
        let text = batch.text("axb").unwrap();
        let (session, mut codes) = ([session.0], [Decision::CORRUPT]);
        let who = if one { Column::all(&session) } else { Column::each(&session) };
        let entities = [self.who.0.cast_signed()];
        let columns = [
            Column::all(std::slice::from_ref(&self.n)),
            Column::all(std::slice::from_ref(&text)),
            Column::all(&entities),
        ];
        batch.decide_many(Principals::Sessions(who), Column::all(&[self.doc.0]), &columns, &mut codes).unwrap();
        codes[0].code()
    }
}

#[test]
fn places_of_principals_are_released_and_those_of_handles_are_not() {
    let desk = Desk::new();
    for round in 0..100 {
        let sessions: Vec<_> = (0..FREE).map(|at| desk.admit(&format!("{round} {at}"))).collect();
        assert_eq!(
            desk.engine.admit_uid("User", "more", 0, i64::MAX),
            Err(AdmitError::NoHandle(HandleError::Full(GIVEN + FREE)))
        );
        let (kept, over) = sessions.split_first().unwrap();
        for &session in over {
            desk.revoke(session);
        }
        desk.release();
        let more: Vec<_> = (1..FREE).map(|at| desk.admit(&format!("more {round} {at}"))).collect();
        let principal = |session| {
            let snapshot = desk.engine.snapshot();
            let entity = desk.engine.session_principal(&snapshot, 0, session).unwrap();
            snapshot.uid(entity).unwrap().id.to_owned()
        };
        assert_eq!(principal(*kept), format!("{round} 0"));
        for &session in &more {
            desk.revoke(session);
        }
        desk.revoke(*kept);
        assert_eq!(desk.engine.handle_uid(desk.who).unwrap(), ("User".into(), "u".into()));
        desk.release();
    }
    let before = desk.engine.memory().unwrap().uids;
    let session = desk.admit(&"x".repeat(100_000));
    assert!(desk.engine.memory().unwrap().uids > before + 100_000);
    desk.revoke(session);
    desk.release();
    assert_eq!(desk.engine.memory().unwrap().uids, before);
}

#[test]
fn a_principal_that_becomes_a_handle_keeps_its_place() {
    let desk = Desk::new();
    let session = desk.admit("v");
    let handle = desk.engine.handle("User", "v").unwrap();
    desk.revoke(session);
    for at in 0..100 {
        desk.release();
        assert_eq!(desk.engine.handle("User", "v"), Ok(handle));
        let other = desk.admit(&at.to_string());
        desk.revoke(other);
    }
    assert_eq!(desk.engine.handle_uid(handle).unwrap().1, "v".into());
}

#[test]
fn what_came_later_is_unknown_to_an_older_snapshot() {
    let desk = Desk::new();
    let (mut gate, snapshot) = (desk.gate(), desk.engine.snapshot());
    let member = desk.admit("v");
    let (mut batch, mut begun) = (desk.gate().batch(), desk.gate());
    assert_eq!(desk.decide(&mut gate, desk.n, || member), Code::Allow);
    let mut guests = Vec::new();
    let code = desk.decide(&mut begun, desk.n, || {
        desk.revoke(member);
        desk.release();
        // All places are reused now; in the older snapshots one still belongs to the member.
        guests.extend((0..FREE).map(|at| desk.admit(&format!("guest {at}"))));
        guests[0]
    });
    assert_eq!(code, Code::UnknownSession);
    for &guest in &guests {
        for one in [true, false] {
            assert_eq!(desk.decide_many(&mut batch, guest, one), Code::UnknownSession);
        }
        assert_eq!(desk.engine.session_principal(&snapshot, 0, guest), Err(Code::UnknownSession));
        assert_ne!(desk.decide(&mut gate, desk.n, || guest), Code::Allow);
        assert_ne!(desk.decide(&mut gate, desk.n, || guest), Code::UnknownSession);
    }
}

/// Stops the other threads when its own ends, by a panic or not.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn deciders_never_take_one_for_another() {
    let desk = Desk::new();
    let (members, guests) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let began = Instant::now();
    // For each way of deciding, how often it returned each code.
    let counts = [(); 3].map(|()| Code::ALL.map(|_| AtomicU64::new(0)));
    let rare = || {
        let codes = [Code::Allow, Code::Default, Code::Revoked, Code::UnknownSession];
        (0..counts.len())
            .flat_map(|way| codes.map(|code| (way, code)))
            .find(|&(way, code)| counts[way][code as usize].load(Ordering::Relaxed) < 10)
    };
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ends = Ends(&over);
            let mut last: Vec<SessionId> = Vec::new();
            for round in 0_u64.. {
                // A busy machine gets as long as it needs to show everything, up to a limit.
                let lasted = began.elapsed();
                let ends = if rare().is_some() { 60 } else { 3 };
                if lasted > Duration::from_secs(ends) || over.load(Ordering::Acquire) {
                    break;
                }
                let order = if round % 3 == 0 { [true, false] } else { [false, true] };
                for is_member in order {
                    let id = if is_member { "v".to_owned() } else { format!("guest {round}") };
                    let session = desk.admit(&id);
                    if is_member { &members } else { &guests }.store(session.0, Ordering::Release);
                    last.push(session);
                }
                if last.len() >= FREE {
                    for session in last.drain(..) {
                        desk.revoke(session);
                    }
                    desk.release();
                }
            }
        });
        for way in 0..3 {
            let (desk, over, members, guests, counts) = (&desk, &over, &members, &guests, &counts);
            threads.spawn(move || {
                let _ends = Ends(over);
                let mut gate = desk.gate();
                let mut batch = gate.batch();
                for round in 0_u64.. {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    if round % 32 == 0 {
                        batch = gate.batch();
                    }
                    let is_member = round % 2 == 0;
                    let read = || {
                        if round % 7 == 0 {
                            std::thread::yield_now();
                        }
                        SessionId(if is_member { members } else { guests }.load(Ordering::Acquire))
                    };
                    let code = match way {
                        0 => desk.decide(&mut gate, desk.n, read),
                        one => desk.decide_many(&mut batch, read(), one == 1),
                    };
                    counts[way][code as usize].fetch_add(1, Ordering::Relaxed);
                    let gone = matches!(code, Code::Revoked | Code::UnknownSession);
                    assert!(gone || (code == Code::Allow) == is_member, "{code:?} for a member: {is_member}");
                }
            });
        }
    });
    assert_eq!(rare(), None, "rarely or never met");
}
