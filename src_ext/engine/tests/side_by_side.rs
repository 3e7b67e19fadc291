//! Decisions while everything that they read changes. `make test-tsan` watches their threads for data races.

mod world;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use world::{Kind, changed_user, uid};
use ztfast_engine::{
    Admission, ClockKind, Code, Determining, Engine, EngineOptions, KillRequest, MarketState, NewProof, RequestBuilder,
    SessionId, SessionStatus, ToStop,
};

/// How often everything is changed, at least and at most.
const ROUNDS: std::ops::Range<usize> = 100..100_000;

#[test]
fn no_thread_decides_by_what_another_had_revoked_before() {
    let bundle = Kind::World(None).bundle();
    let options = EngineOptions { sessions: 16, handles: 64, ..EngineOptions::default() };
    let engine = Engine::new(bundle.clone(), None, options).unwrap();
    let (principal, doc) = (engine.handle("User", "u").unwrap(), engine.handle("Doc", "d").unwrap());
    let (session, revoked, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let has_decided = [AtomicBool::new(false), AtomicBool::new(false)];
    let decide = |has_decided: &AtomicBool| {
        let mut gate = engine.prepare("Action", "view", &["n", "s", "who"]).unwrap();
        let (mut decisions, mut denied) = (0_u64, 0_u64);
        while !is_over.load(Ordering::Acquire) {
            let before = revoked.load(Ordering::Acquire);
            let id = session.load(Ordering::Acquire);
            for n in [1, 5, 8] {
                gate.begin();
                let who = gate.entity(principal, 2).unwrap_or(0);
                let text = gate.literal("axb").unwrap_or(0);
                let codes = [
                    gate.allows(SessionId(id), doc, &[n, text, who]),
                    gate.decide(SessionId(id), doc, &[n, text, who], &mut Determining::default()),
                ];
                decisions += 2;
                if id == before {
                    assert!(
                        !codes.iter().any(|code| code.is_allow()),
                        "{codes:?} for a session that was revoked before"
                    );
                    denied += 2;
                } else {
                    has_decided.store(true, Ordering::Relaxed);
                }
            }
        }
        (decisions, denied)
    };
    let counts = std::thread::scope(|threads| {
        let decide = &decide;
        let deciding = has_decided.each_ref().map(|has_decided| threads.spawn(move || decide(has_decided)));
        // On a busy machine, a thread may begin late.
        let go_on =
            |round| round < ROUNDS.start || !has_decided.iter().all(|has_decided| has_decided.load(Ordering::Relaxed));
        for round in (0..ROUNDS.end).take_while(|&round| go_on(round)) {
            let admission = Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
            let id = engine.admit(&admission).unwrap();
            session.store(id.0, Ordering::Release);
            let factors = &["x509", "fido2"][..=round % 2];
            engine.present(id, &NewProof { factors: Some(factors), ..NewProof::default() }, None).unwrap();
            engine.renew(id, i64::MAX - 1, None).unwrap();
            assert!(engine.set_session(id, SessionStatus::Quarantined).unwrap());
            assert!(engine.set_session(id, SessionStatus::Active).unwrap());
            engine.kill_switch(true, ToStop::Usual).unwrap();
            engine.kill_switch(false, ToStop::Usual).unwrap();
            for state in [MarketState::Halted, MarketState::Normal] {
                engine.set_market(("Doc", "d"), state, "ann", "a drill").unwrap();
            }
            engine.change(&[changed_user("u"), changed_user("new")], &[uid("User", "v")]).unwrap();
            engine.swap(bundle.clone(), None).unwrap();
            assert!(engine.set_session(id, SessionStatus::Revoked).unwrap());
            revoked.store(id.0, Ordering::Release);
        }
        is_over.store(true, Ordering::Release);
        deciding.map(|thread| thread.join().unwrap())
    });
    assert!(counts.iter().all(|(decisions, denied)| decisions > denied), "{counts:?}");
}

/// An engine with a session, and a document that only requests know.
struct Killing {
    engine: Arc<Engine>,
    session: SessionId,
}

impl Killing {
    fn new() -> Self {
        let options = EngineOptions { clock: ClockKind::Caller, ..EngineOptions::default() };
        let engine = Engine::new(Kind::World(None).bundle(), None, options).unwrap();
        engine.set_time(1_000).unwrap();
        let principal = engine.handle("User", "u").unwrap();
        let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
        Self { engine, session }
    }

    fn kill(&self, scope: Option<(&str, &str)>, until_ns: Option<i64>) -> u64 {
        let (by, reason) = ("ann", "a drill");
        let request = KillRequest { scope, actions: ToStop::Usual, by, reason, until_ns, two_persons: false };
        self.engine.kill(&request).unwrap().0.id
    }

    /// Return the denial of a request, and do something between its looks at the firm and at the document.
    fn denial(&self, meanwhile: impl Fn()) -> Option<Code> {
        let (snapshot, is_done) = (self.engine.snapshot(), Cell::new(false));
        let mut builder = RequestBuilder::new(&snapshot, 0);
        let doc = builder.entity(DOC.0, DOC.1).unwrap();
        self.engine.denial(&snapshot, 0, self.session, Some(doc), &|number| {
            if !is_done.replace(true) {
                meanwhile();
            }
            builder.foreign_uid(number)
        })
    }
}

const DOC: (&str, &str) = ("Doc", "new");

#[test]
fn a_kill_that_moves_from_an_entity_to_the_firm_is_in_force_all_the_time() {
    let killing = Killing::new();
    assert_eq!(killing.denial(|| {}), None);
    let of_doc = killing.kill(Some(DOC), None);
    assert_eq!(killing.denial(|| {}), Some(Code::Killed));
    let moved = killing.denial(|| {
        killing.kill(None, None);
        killing.engine.release_kill(of_doc, "zoe", "a drill", None).unwrap();
    });
    assert_eq!(moved, Some(Code::Killed));
}

#[test]
fn a_kill_of_the_firm_that_is_made_before_one_of_an_entity_ends_follows_it_at_once() {
    let killing = Killing::new();
    killing.kill(Some(DOC), Some(2_000));
    let followed = killing.denial(|| {
        killing.kill(None, None);
        killing.engine.set_time(2_000).unwrap();
    });
    assert_eq!(followed, Some(Code::Killed));
    assert_eq!(killing.denial(|| {}), Some(Code::Killed));
}
