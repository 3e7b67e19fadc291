//! A small world that covers the deciding side: all forms of tables, programs with code, values that programs build,
//! changed entities, expired sessions, and swaps. Tests decide in it while they check an invariant.
#![allow(dead_code)] // each test binary uses a part of it

mod kind;
#[cfg(not(ztfast_rtsan))]
pub mod sources;
#[cfg(not(ztfast_rtsan))]
pub mod spoilt;

pub use kind::Kind;
use std::io::Write as _;
use std::sync::Arc;
use ztfast_bundle::{Bundle, Form};
use ztfast_engine::{
    Admission, AttrValue, Batch, Code, Column, Decision, Determining, Engine, EngineOptions, EntityData, Gate, Handle,
    Passed, Principals, SessionId, SessionStatus, now_ns,
};

/// Every form, and the one that the compiler chooses.
pub const FORMS: [Option<Form>; 4] = [None, Some(Form::Dense), Some(Form::Rows), Some(Form::Sets)];

impl Kind {
    /// Return the bundle: compiled, or, in a build without the compiler, read from its file.
    pub fn bundle(self) -> Arc<Bundle> {
        #[cfg(not(ztfast_rtsan))]
        let bundle = Bundle::of(&sources::parts_of(self));
        #[cfg(ztfast_rtsan)]
        let bundle = Bundle::open(&self.path(std::path::Path::new(&std::env::var_os(BUNDLES).unwrap())));
        Arc::new(bundle.unwrap())
    }
}

/// The variable that names the folder of bundles that builds without the compiler read.
pub const BUNDLES: &str = "ZTFAST_TEST_BUNDLES";

/// Report that a test was skipped, bypassing the capture of output of tests that pass.
pub fn skipped(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

pub fn uid(ty: &str, id: &str) -> (String, String) {
    (ty.to_owned(), id.to_owned())
}

/// Return a user with another level and name, in a team and with a peer that the bundle lacks.
pub fn changed_user(id: &str) -> EntityData {
    EntityData {
        uid: uid("User", id),
        parents: vec![uid("Team", "new")],
        attrs: vec![
            ("level".to_owned(), AttrValue::Long(7)),
            ("name".to_owned(), AttrValue::String("a new one".to_owned())),
            ("peers".to_owned(), AttrValue::Set(vec![AttrValue::Entity("User".to_owned(), "newer".to_owned())])),
        ],
        tags: Vec::new(),
    }
}

/// How often each code was returned.
pub type Counts = [u32; Code::ALL[Code::ALL.len() - 1] as usize + 1];

/// An engine over the world, and the inputs of its decisions.
pub struct Desk {
    pub engine: Arc<Engine>,
    pub gate: Gate,
    batch: Batch,
    pub sessions: Vec<SessionId>,
    ids: Vec<u64>,
    pub docs: Vec<Handle>,
    handles: Vec<u64>,
    users: Vec<Handle>,
    numbers: Vec<i64>,
    codes: Vec<Decision>,
}

/// The rows of a batch: two chunks and a part of one.
const ROWS: usize = 150;

impl Desk {
    pub fn new(bundle: Arc<Bundle>, options: EngineOptions) -> Self {
        let engine = Engine::new(bundle, None, options).unwrap();
        let handles =
            |ty: &str, ids: &[&str]| -> Vec<Handle> { ids.iter().map(|id| engine.handle(ty, id).unwrap()).collect() };
        let users = handles("User", &["u", "v", "new"]);
        let mut docs = handles("Doc", &["d", "new"]);
        // A resource that the action does not apply to, and one whose type no schema has.
        docs.extend([engine.handle("Box", "b").unwrap(), engine.handle("Nothing", "n").unwrap()]);
        // A handle of another engine.
        docs.push(Handle(docs[0].0 ^ 1 << 40));
        let admit = |principal, from, to| {
            engine.admit(&Admission { principal, not_before_ns: from, not_after_ns: to }).unwrap()
        };
        let now = now_ns();
        let mut sessions: Vec<SessionId> = users.iter().map(|&user| admit(user, 0, i64::MAX)).collect();
        sessions.push(admit(users[0], 0, now));
        sessions.push(admit(users[0], i64::MAX - 1, i64::MAX));
        for status in [SessionStatus::Revoked, SessionStatus::Quarantined] {
            let session = admit(users[0], 0, i64::MAX);
            assert!(engine.set_session(session, status).unwrap());
            sessions.push(session);
        }
        sessions.push(SessionId(0));
        let gate = engine.prepare("Action", "view", &["n", "s", "who"]).unwrap();
        let mut batch = gate.batch();
        let known = batch.text("axb").unwrap();
        let foreign = batch.text("unknown x").unwrap();
        Self {
            ids: sessions.iter().map(|session| session.0).cycle().take(ROWS).collect(),
            handles: docs.iter().map(|doc| doc.0).cycle().take(ROWS).collect(),
            numbers: [1, 8, 5, known, foreign].iter().copied().cycle().take(ROWS).collect(),
            codes: vec![Decision::CORRUPT; ROWS],
            engine,
            gate,
            batch,
            sessions,
            docs,
            users,
        }
    }

    /// Prepare a batch over the newest snapshot. This is not deciding: it allocates.
    pub fn renew_batch(&mut self) {
        self.batch = self.gate.batch();
    }

    /// Decide in every way. This consists of calls of the deciding side only.
    pub fn decide(&mut self, counts: &mut Counts) {
        let mut determining = Determining::default();
        let mut count = |decision: Decision| counts[usize::from(decision.number())] += 1;
        for &session in &self.sessions {
            for &doc in &self.docs {
                for n in [1, 5, 8] {
                    self.gate.begin();
                    let s = self.gate.text("unknown x").unwrap_or(0);
                    let who = self.gate.entity(self.users[0], 2).unwrap_or(0);
                    count(self.gate.allows(session, doc, &[n, s, who]));
                    self.gate.begin();
                    let who = self.gate.entity(self.users[0], 2).unwrap_or(0);
                    let literal = self.gate.literal("axb").unwrap_or(0);
                    count(self.gate.allows(session, doc, &[n, literal, who]));
                    self.gate.begin();
                    let who = self.gate.entity(self.users[0], 2).unwrap_or(0);
                    count(self.gate.decide(session, doc, &[n, 0, who], &mut determining));
                    let generation = self.gate.generation();
                    for given in [Passed::Text("unknown x"), Passed::Text("axb"), Passed::Unknown("unknown")] {
                        let who = Passed::Number(self.users[0].0.cast_signed());
                        let values = [Passed::Number(n), given, who];
                        let by_answers =
                            self.gate.allows_passed(generation, (session, doc), values.iter().copied().map(Some));
                        count(by_answers.unwrap_or(Decision::CORRUPT));
                        let Some(mut passed) = self.gate.pass(generation) else { continue };
                        let there = values.map(|value| passed.value(Some(value)));
                        if there == [Some(()); 3] {
                            count(passed.allows(session, doc).unwrap_or(Decision::CORRUPT));
                            count(passed.decide(session, doc, &mut determining).unwrap_or(Decision::CORRUPT));
                        }
                    }
                }
                // This call has too few numbers.
                count(self.gate.allows(session, doc, &[1]));
            }
        }
        // These texts exceed the memory of a call.
        self.gate.begin();
        let mut text = [b'x'; 40];
        for number in 0..40 {
            text[number] = b'y';
            let _ = self.gate.text(std::str::from_utf8(&text).unwrap());
        }
        count(self.gate.allows(self.sessions[0], self.docs[0], &[1, 0, 0]));
        self.gate.begin();
        let columns = [Column::each(&self.numbers), Column::each(&self.numbers), Column::all(&[0_i64])];
        let mut run = |sessions, docs, columns: &[Column<'_, i64>]| {
            self.batch.decide_many(sessions, docs, columns, &mut self.codes).expect("entities of their types");
            self.codes.iter().for_each(|decision| counts[usize::from(decision.number())] += 1);
        };
        run(Principals::Sessions(Column::each(&self.ids)), Column::each(&self.handles), &columns);
        run(Principals::Sessions(Column::all(&self.ids)), Column::each(&self.handles), &columns);
        run(Principals::Sessions(Column::all(&self.ids)), Column::all(&self.handles), &columns);
        run(Principals::Sessions(Column::each(&self.ids[..1])), Column::each(&self.handles), &columns);
    }
}

/// An event between two rounds of decisions.
pub type Step = (&'static str, fn(&mut Desk, &Arc<Bundle>));

/// Every kind of event.
pub const STEPS: [Step; 9] = [
    ("at first", |_, _| {}),
    ("after a change", |desk, _| {
        desk.engine.change(&[changed_user("u"), changed_user("new")], &[uid("User", "v")]).unwrap();
    }),
    ("after another", |desk, _| desk.engine.change(&[changed_user("v")], &[uid("Team", "t")]).unwrap()),
    ("with a batch of that", |desk, _| desk.renew_batch()),
    ("after a swap", |desk, bundle| desk.engine.swap(bundle.clone(), None).unwrap()),
    ("after two swaps and a change", |desk, bundle| {
        desk.engine.swap(bundle.clone(), None).unwrap();
        desk.engine.change(&[changed_user("u")], &[]).unwrap();
        desk.engine.swap(bundle.clone(), None).unwrap();
        desk.renew_batch();
    }),
    ("killed", |desk, _| desk.engine.kill_switch(true, ztfast_engine::ToStop::Usual).unwrap()),
    ("by a foreign bundle", |desk, _| {
        desk.engine.kill_switch(false, ztfast_engine::ToStop::Usual).unwrap();
        desk.engine.swap(Kind::Foreign.bundle(), None).unwrap();
    }),
    ("and back", |desk, bundle| desk.engine.swap(bundle.clone(), None).unwrap()),
];

/// Decide after each step, in this thread and in a new one, between `begin` and `end`. Return how often each code was
/// returned.
pub fn decide_after_each_step(bundle: &Arc<Bundle>, options: EngineOptions, begin: fn(), end: fn()) -> Counts {
    let mut desk = Desk::new(bundle.clone(), options);
    let mut counts = Counts::default();
    for (name, step) in STEPS {
        println!("{name}");
        step(&mut desk, bundle);
        let mut round = || {
            begin();
            desk.decide(&mut counts);
            end();
        };
        // The new thread goes first, so that work that a thread does on its first decision happens there.
        std::thread::scope(|threads| {
            threads.spawn(&mut round);
        });
        round();
    }
    counts
}

/// Check that every code came up except those of nonsensical bundles, so that no part of the deciding side was left
/// out.
pub fn assert_everything_was_met(counts: &Counts) {
    // The values are checked before, and a forked process and a state that is gone have tests of their own.
    let elsewhere = [Code::BadValue, Code::Forked, Code::StateGone];
    for code in Code::ALL.into_iter().filter(|code| !elsewhere.contains(code)) {
        assert!(counts[code as usize] > 0, "{code:?} never came up: {counts:?}");
    }
}
