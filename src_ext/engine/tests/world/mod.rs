//! A small world that meets everything the deciding side can meet: all forms of tables, programs with code, values that
//! programs build, changed entities, sessions that are over, swaps. Tests decide in it while they watch for something.
#![allow(dead_code)] // each test binary uses a part of it

use std::sync::Arc;
use ztfast_bundle::{Bundle, Form, Parts};
use ztfast_compile::Options;
use ztfast_engine::{
    Admission, Batch, Code, Column, Datum, Determining, Engine, EngineOptions, EntityData, Gate, Handle, SessionId,
    SessionStatus, Who, now_ns,
};
use ztfast_policy::{Mode, SourceFile, Sources};

/// Every form, and the one that the compiler chooses.
pub const FORMS: [Option<Form>; 4] = [None, Some(Form::Dense), Some(Form::Rows), Some(Form::Sets)];

const SCHEMA: &str = r"
entity Team;
entity User in [Team] = { level: Long, name: String, peers: Set<User>, at: { x: Long, y?: Set<Long> } } tags Set<String>;
entity Doc in [Team] = { owner: User, from: ipaddr };
entity Box;
action view appliesTo { principal: User, resource: Doc, context: { n: Long, s?: String, who?: User } };
";

const POLICIES: &str = r#"
permit (principal in Team::"t", action, resource) when { context.n > 3 && context.n + principal.level < 100 };
permit (principal, action, resource) when { resource.owner == principal || principal in resource };
forbid (principal, action, resource) when { principal.name like "a*b*" && context has s && context.s like "*x*" };
forbid (principal, action, resource) when { principal.peers.containsAny([context.who, resource.owner]) };
forbid (principal, action, resource) when { principal.at == {x: context.n} || [[1], [context.n]].contains([2]) };
forbid (principal, action, resource) when { resource.from.isInRange(ip("fd00::/8")) && context.n > 7 };
forbid (principal, action, resource) when { principal.hasTag("k") && principal.getTag("k").contains(principal.name) && context.n > 1 };
"#;

const ENTITIES: &str = r#"[
{"uid": {"type": "Team", "id": "t"}, "attrs": {}, "parents": []},
{"uid": {"type": "User", "id": "u"}, "parents": [{"type": "Team", "id": "t"}], "tags": {"k": ["u", "v"]},
 "attrs": {"level": 2, "name": "axb", "peers": [{"type": "User", "id": "v"}], "at": {"x": 1, "y": [1, 2]}}},
{"uid": {"type": "User", "id": "v"}, "parents": [], "attrs": {"level": 9, "name": "", "peers": [], "at": {"x": 7}}},
{"uid": {"type": "Doc", "id": "d"}, "parents": [{"type": "Team", "id": "t"}],
 "attrs": {"owner": {"type": "User", "id": "v"}, "from": "fd00::1"}}
]"#;

fn compile(policies: &str, schema: &str, entities: Option<&str>, form: Option<Form>) -> Parts {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let sources = Sources {
        files: vec![file("p.cedar", policies)],
        schema: file("s.cedarschema", schema),
        entities: entities.map(|entities| file("e.json", entities)),
    };
    let loaded = ztfast_policy::load(&sources, Mode::Permissive, &|_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    let options = Options { strict: true, form, ..Options::default() };
    ztfast_compile::compile(loaded.model, &sources, &options, None, &mut |_, _, _| {}).unwrap()
}

/// The world's bundle.
pub fn parts(form: Option<Form>) -> Parts {
    compile(POLICIES, SCHEMA, Some(ENTITIES), form)
}

/// A bundle of the world with so many users and documents more, `u0` and `d0` the first.
pub fn crowded(count: u32) -> Parts {
    use std::fmt::Write;
    let mut entities = ENTITIES.trim_end().trim_end_matches(']').to_owned();
    for n in 0..count {
        let team = if n % 3 == 0 { r#"{"type": "Team", "id": "t"}"# } else { "" };
        let peer = n * 7 % count;
        write!(
            entities,
            r#", {{"uid": {{"type": "User", "id": "u{n}"}}, "parents": [{team}], "tags": {{"k": ["n{n}", "x"]}}, "attrs":
            {{"level": {level}, "name": "a{n}b", "peers": [{{"type": "User", "id": "u{peer}"}}], "at": {{"x": {n}}}}}}},
            {{"uid": {{"type": "Doc", "id": "d{n}"}}, "parents": [{team}], "attrs":
            {{"owner": {{"type": "User", "id": "u{peer}"}}, "from": "10.{high}.{low}.1"}}}}"#,
            level = n % 90,
            high = n / 256 % 256,
            low = n % 256,
        )
        .unwrap();
    }
    compile(POLICIES, SCHEMA, Some(&(entities + "]")), None)
}

/// A bundle by which the world's gates do not fit.
pub fn foreign_parts() -> Parts {
    let schema = "entity Team, Box; entity User in [Team]; entity Doc; \
                  action view appliesTo { principal: User, resource: Doc, context: { n: String } };";
    compile("permit (principal, action, resource);", schema, None, None)
}

/// A bundle of these parts.
pub fn bundle(parts: &Parts) -> Arc<Bundle> {
    Arc::new(Bundle::of(parts).unwrap())
}

pub fn uid(ty: &str, id: &str) -> (String, String) {
    (ty.to_owned(), id.to_owned())
}

/// A user of another level and name, in a team that the bundle lacks, with a peer that it lacks.
pub fn changed_user(id: &str) -> EntityData {
    EntityData {
        uid: uid("User", id),
        parents: vec![uid("Team", "new")],
        attrs: vec![
            ("level".to_owned(), Datum::Long(7)),
            ("name".to_owned(), Datum::String("a new one".to_owned())),
            ("peers".to_owned(), Datum::Set(vec![Datum::Entity("User".to_owned(), "newer".to_owned())])),
        ],
        tags: Vec::new(),
    }
}

/// How often each code was given.
pub type Counts = [u32; 16];

/// An engine over the world, and everything that decisions are asked with.
pub struct Desk {
    pub engine: Arc<Engine>,
    pub gate: Gate,
    batch: Batch,
    pub sessions: Vec<SessionId>,
    ids: Vec<u64>,
    pub docs: Vec<Handle>,
    handles: Vec<u32>,
    users: Vec<Handle>,
    numbers: Vec<i64>,
    codes: Vec<u8>,
}

/// Rows of a batch: two blocks and a part.
const ROWS: usize = 150;

impl Desk {
    pub fn new(parts: &Parts, options: EngineOptions) -> Self {
        let engine = Engine::new(bundle(parts), None, options).unwrap();
        let handles =
            |ty: &str, ids: &[&str]| -> Vec<Handle> { ids.iter().map(|id| engine.handle(ty, id).unwrap()).collect() };
        let users = handles("User", &["u", "v", "new"]);
        let mut docs = handles("Doc", &["d", "new"]);
        // Something that the action does not apply to, and something that no schema has.
        docs.extend([engine.handle("Box", "b").unwrap(), engine.handle("Nothing", "n").unwrap()]);
        let admit = |principal, from, to| {
            engine.admit(&Admission { principal, not_before_ns: from, not_after_ns: to }).unwrap()
        };
        let now = now_ns();
        let mut sessions: Vec<SessionId> = users.iter().map(|&user| admit(user, 0, i64::MAX)).collect();
        sessions.push(admit(users[0], 0, now));
        sessions.push(admit(users[0], i64::MAX - 1, i64::MAX));
        for status in [SessionStatus::Revoked, SessionStatus::Quarantined] {
            let session = admit(users[0], 0, i64::MAX);
            assert!(engine.set_session(session, status));
            sessions.push(session);
        }
        sessions.push(SessionId(0));
        let mut gate = engine.prepare("Action", "view", &["n", "s", "who"]).unwrap();
        let mut batch = gate.batch();
        let known = batch.text("axb").unwrap();
        let foreign = batch.text("unknown x").unwrap();
        Self {
            ids: sessions.iter().map(|session| session.0).cycle().take(ROWS).collect(),
            handles: docs.iter().map(|doc| doc.0).cycle().take(ROWS).collect(),
            numbers: [1, 8, 5, known, foreign].iter().copied().cycle().take(ROWS).collect(),
            codes: vec![0; ROWS],
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

    /// Decide in every way there is. This is the deciding side and nothing else.
    pub fn decide(&mut self, counts: &mut Counts) {
        let mut determining = Determining::default();
        let mut count = |code: Code| counts[code as usize] += 1;
        for &session in &self.sessions {
            for &doc in &self.docs {
                for n in [1, 5, 8] {
                    self.gate.begin();
                    let s = self.gate.text("unknown x").unwrap_or(0);
                    let who = self.gate.entity(self.users[0]).unwrap_or(0);
                    count(self.gate.allows(session, doc, &[n, s, who]));
                    count(self.gate.allows(session, doc, &[n, 0, 0]));
                    count(self.gate.decide(session, doc, &[n, 0, who], &mut determining));
                }
                // Too few numbers.
                count(self.gate.allows(session, doc, &[1]));
            }
        }
        // More texts than there is room for.
        self.gate.begin();
        let mut text = [b'x'; 40];
        for number in 0..40 {
            text[number] = b'y';
            let _ = self.gate.text(std::str::from_utf8(&text).unwrap());
        }
        let columns = [Column::each(&self.numbers), Column::each(&self.numbers), Column::all(&[0_i64])];
        let mut run = |sessions, docs, columns: &[Column<'_, i64>]| {
            self.batch.decide_many(sessions, docs, columns, &mut self.codes);
            self.codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
        };
        run(Who::Sessions(Column::each(&self.ids)), Column::each(&self.handles), &columns);
        run(Who::Sessions(Column::all(&self.ids)), Column::each(&self.handles), &columns);
        run(Who::Sessions(Column::all(&self.ids)), Column::all(&self.handles), &columns);
        run(Who::Sessions(Column::each(&self.ids[..1])), Column::each(&self.handles), &columns);
    }
}

/// What happens between two rounds of decisions.
pub type Step = (&'static str, fn(&mut Desk, &Parts));

/// Everything that can happen to an engine.
pub const STEPS: [Step; 9] = [
    ("at first", |_, _| {}),
    ("after a change", |desk, _| {
        desk.engine.change(&[changed_user("u"), changed_user("new")], &[uid("User", "v")]).unwrap();
    }),
    ("after another", |desk, _| desk.engine.change(&[changed_user("v")], &[uid("Team", "t")]).unwrap()),
    ("with a batch of that", |desk, _| desk.renew_batch()),
    ("after a swap", |desk, parts| desk.engine.swap(bundle(parts), None).unwrap()),
    ("after two swaps and a change", |desk, parts| {
        desk.engine.swap(bundle(parts), None).unwrap();
        desk.engine.change(&[changed_user("u")], &[]).unwrap();
        desk.engine.swap(bundle(parts), None).unwrap();
        desk.renew_batch();
    }),
    ("killed", |desk, _| desk.engine.kill_switch(true)),
    ("by a foreign bundle", |desk, _| {
        desk.engine.kill_switch(false);
        desk.engine.swap(bundle(&foreign_parts()), None).unwrap();
    }),
    ("and back", |desk, parts| desk.engine.swap(bundle(parts), None).unwrap()),
];

/// Decide after each step, in this thread and in a new one, between `begin` and `end`; how often each code was given.
pub fn decide_after_each_step(form: Option<Form>, options: EngineOptions, begin: fn(), end: fn()) -> Counts {
    let parts = parts(form);
    let mut desk = Desk::new(&parts, options);
    let mut counts = Counts::default();
    for (name, step) in STEPS {
        println!("{form:?} {name}");
        step(&mut desk, &parts);
        let mut round = || {
            begin();
            desk.decide(&mut counts);
            end();
        };
        // The new thread goes first: what a thread does when it first decides, it then does here.
        std::thread::scope(|threads| {
            threads.spawn(&mut round);
        });
        round();
    }
    counts
}

/// Every code but those of a bundle that makes no sense comes up, so nothing of the deciding side was left out.
pub fn assert_everything_was_met(counts: &Counts) {
    for code in Code::ALL {
        assert!(counts[code as usize] > 0, "{code:?} never came up: {counts:?}");
    }
}
