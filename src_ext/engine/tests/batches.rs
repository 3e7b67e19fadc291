//! What a batch says of rows that its columns lack, and of what happens while it is under way.
#![cfg(not(ztfast_rtsan))]

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};
use world::sources::compile;
use ztfast_bundle::Bundle;
use ztfast_engine::{
    Admission, Batch, Code, Column, Decision, Determining, Engine, EngineOptions, Handle, KillRequest, Principals,
    SessionId, SessionStatus, ToStop, now_ns,
};

const SCHEMA: &str = "
entity User, Doc;
action view appliesTo { principal: User, resource: Doc, context: { n: Long, m: Long, who?: User } };
";

/// A row without `m` would be allowed.
const POLICIES: &str = "
permit (principal, action, resource) when { context.n > 3 };
permit (principal, action, resource) when { context.n > 1 && context.m > 1 && context.m < 4 };
forbid (principal, action, resource) when { context.m > 5 };
";

/// Arguments that are only numbers, where rows of one session are decided together; and one list with an entity, where
/// each row is decided by itself.
const ARGUMENTS: [&[&str]; 2] = [&["n", "m"], &["n", "m", "who"]];

struct Desk {
    engine: Arc<Engine>,
    user: Handle,
    doc: Handle,
}

impl Desk {
    fn new() -> Self {
        Self::with(EngineOptions::default())
    }

    fn with(options: EngineOptions) -> Self {
        let bundle = Arc::new(Bundle::of(&compile(POLICIES, SCHEMA, None, None)).unwrap());
        let engine = Engine::new(bundle, None, options).unwrap();
        let (user, doc) = (engine.handle("User", "u").unwrap(), engine.handle("Doc", "d").unwrap());
        Self { engine, user, doc }
    }

    fn admit(&self, not_after_ns: i64) -> SessionId {
        self.engine.admit(&Admission { principal: self.user, not_before_ns: 0, not_after_ns }).unwrap()
    }

    fn batch(&self, names: &[&str]) -> Batch {
        self.engine.prepare("Action", "view", names).unwrap().batch()
    }

    /// Decide on rows; the columns of `n` and `m` are given.
    fn decide(
        &self,
        batch: &Batch,
        who: Principals<'_>,
        docs: Column<'_, u64>,
        given: [Column<'_, i64>; 2],
        rows: &mut [Decision],
    ) {
        let user = [self.user.0.cast_signed()];
        let columns = [given[0], given[1], Column::all(&user)];
        batch.decide_many(who, docs, &columns[..batch.types().len()], rows).unwrap();
    }
}

#[test]
fn rows_that_a_column_lacks_are_corrupt() {
    const ROWS: usize = 150;
    let desk = Desk::new();
    let session = desk.admit(i64::MAX).0;
    let (sessions, docs, allowed) = ([session; ROWS], [desk.doc.0; ROWS], [5; ROWS]);
    for names in ARGUMENTS {
        let batch = desk.batch(names);
        for there in [0, 1, 63, 64, 65, 127, 128, 149, 150] {
            let whole = (Column::all(&sessions), Column::all(&docs), [Column::each(&allowed); 2]);
            let short = Column::each(&allowed[..there]);
            for (sessions, docs, given) in [
                (whole.0, whole.1, [short, whole.2[1]]),
                (whole.0, whole.1, [whole.2[0], short]),
                (Column::each(&sessions), whole.1, [whole.2[0], short]),
                (Column::each(&sessions[..there]), whole.1, whole.2),
                (whole.0, Column::each(&docs[..there]), whole.2),
            ] {
                let mut codes = [Decision::CORRUPT; ROWS];
                desk.decide(&batch, Principals::Sessions(sessions), docs, given, &mut codes);
                let (found, lacking) = codes.split_at(there);
                assert!(found.iter().all(|&code| code == Code::Allow), "{names:?} {there}: {codes:?}");
                assert!(lacking.iter().all(|&code| code == Code::Corrupt), "{names:?} {there}: {codes:?}");
            }
        }
        let mut codes = [Decision::CORRUPT; ROWS];
        let given = [Column::all(&allowed), Column::all(&[])];
        desk.decide(&batch, Principals::Sessions(Column::all(&sessions)), Column::all(&docs), given, &mut codes);
        assert_eq!(codes, [Code::Corrupt; ROWS]);
    }
}

/// A gate's own table, its layers where reasons are asked for, and a batch each look at ranges by themselves.
#[test]
fn conditions_over_two_arguments_hold_where_both_do() {
    check_two_arguments(&Desk::new());
}

/// Without a table of the gate's own, a batch tests one condition after the other over rows of one pair.
#[test]
fn conditions_over_two_arguments_hold_without_a_table() {
    check_two_arguments(&Desk::with(EngineOptions { gate_cells: 0, ..EngineOptions::default() }));
}

fn check_two_arguments(desk: &Desk) {
    let session = desk.admit(i64::MAX);
    let mut gate = desk.engine.prepare("Action", "view", ARGUMENTS[0]).unwrap();
    for (n, m) in (0..10).flat_map(|n| (0..10).map(move |m| (n, m))) {
        let (expected, reasons): (Code, &[u32]) = match (n, m) {
            (_, 6..) => (Code::Forbid, &[2]),
            (4.., 2..4) => (Code::Allow, &[0, 1]),
            (4.., _) => (Code::Allow, &[0]),
            (2..4, 2..4) => (Code::Allow, &[1]),
            _ => (Code::Default, &[]),
        };
        assert_eq!(gate.allows(session, desk.doc, &[n, m]), expected, "{n} {m}");
        let mut determining = Determining::default();
        assert_eq!(gate.decide(session, desk.doc, &[n, m], &mut determining), expected, "{n} {m}");
        assert_eq!(determining.as_slice(), reasons, "{n} {m}");
        let mut codes = [Decision::CORRUPT; 2];
        let (sessions, numbers) = ([session.0], [[n], [m]]);
        let given = numbers.each_ref().map(|number| Column::all(number));
        let who = Principals::Sessions(Column::all(&sessions));
        desk.decide(&gate.batch(), who, Column::all(&[desk.doc.0]), given, &mut codes);
        assert_eq!(codes, [expected; 2], "{n} {m}");
    }
}

#[test]
fn rows_that_are_refused_are_each_of_their_own_session() {
    let desk = Desk::new();
    let (good, revoked) = (desk.admit(i64::MAX), desk.admit(i64::MAX));
    assert!(desk.engine.set_session(revoked, SessionStatus::Revoked).unwrap());
    let sessions: Vec<u64> = (0..150).map(|row| if row < 70 { good.0 } else { revoked.0 }).collect();
    let mut codes = [Decision::CORRUPT; 150];
    let batch = desk.batch(ARGUMENTS[0]);
    batch.refuse(Principals::Sessions(Column::each(&sessions)), Column::all(&[desk.doc.0]), &mut codes);
    assert_eq!(codes[..70], [Code::BadValue; 70]);
    assert_eq!(codes[70..], [Code::Revoked; 80]);
}

#[test]
fn no_row_leaves_if_a_later_one_has_an_entity_of_a_wrong_type() {
    let desk = Desk::new();
    let (session, batch) = (desk.admit(i64::MAX), desk.batch(ARGUMENTS[1]));
    let (user, doc) = (desk.user.0.cast_signed(), desk.doc.0.cast_signed());
    let mut codes = [Decision::CORRUPT; 150];
    for (wrong, expected) in [(None, Code::Allow), (Some(100), Code::Corrupt), (Some(0), Code::Corrupt)] {
        let who: Vec<i64> = (0..150).map(|row| if wrong == Some(row) { doc } else { user }).collect();
        let columns = [Column::all(&[5]), Column::all(&[5]), Column::each(&who)];
        let sessions = Principals::Sessions(Column::all(std::slice::from_ref(&session.0)));
        let decided = batch.decide_many(sessions, Column::all(&[desk.doc.0]), &columns, &mut codes);
        assert_eq!(decided.is_err(), wrong.is_some());
        assert_eq!(codes, [expected; 150]);
    }
}

/// What happens while a batch is decided.
type Event = (Code, fn(&Desk, SessionId));

#[test]
fn what_happens_meanwhile_is_seen_by_the_rows_that_are_left() {
    const EVENTS: [Event; 4] = [
        (Code::Revoked, |desk, session| {
            desk.engine.set_session(session, SessionStatus::Revoked).unwrap();
        }),
        (Code::Killed, |desk, _| desk.engine.kill_switch(true, ToStop::Usual).unwrap()),
        (Code::Killed, |desk, _| {
            let (scope, actions) = (Some(("Doc", "d")), ToStop::Usual);
            let (by, reason) = ("ann", "a drill");
            desk.engine.kill(&KillRequest { scope, actions, by, reason, until_ns: None, two_persons: false }).unwrap();
        }),
        // Nobody does anything: the session ends.
        (Code::Expired, |_, _| {}),
    ];
    let desk = Desk::new();
    for (names, (denied, event)) in ARGUMENTS.into_iter().flat_map(|names| EVENTS.map(|event| (names, event))) {
        let batch = desk.batch(names);
        let mut codes = vec![Decision::CORRUPT; 1 << 20];
        let seen = (0..40).any(|_| {
            let began = Instant::now();
            let ends = if denied == Code::Expired { now_ns() + 20_000_000 } else { i64::MAX };
            let session = desk.admit(ends);
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let who = Principals::Sessions(Column::all(std::slice::from_ref(&session.0)));
                    let given = [Column::all(&[5]), Column::all(&[5])];
                    desk.decide(&batch, who, Column::all(&[desk.doc.0]), given, &mut codes);
                });
                std::thread::sleep(Duration::from_millis(10));
                event(&desk, session);
            });
            for kill in desk.engine.kills().unwrap() {
                desk.engine.release_kill(kill.id, "zoe", "a drill", None).unwrap();
            }
            let allowed = codes.iter().take_while(|&&code| code == Code::Allow).count();
            assert!(codes[allowed..].iter().all(|&code| code == denied), "{names:?}: {denied:?}");
            let meanwhile = 0 < allowed && allowed < codes.len();
            // It came after the last row: more of them take longer.
            if allowed == codes.len() && codes.len() < 1 << 27 && began.elapsed() < Duration::from_millis(100) {
                codes.resize(codes.len() * 2, Decision::CORRUPT);
            }
            meanwhile
        });
        assert!(seen, "{names:?}: no row of {} was {denied:?}", codes.len());
    }
}
