//! Bundles whose hashes are right and whose tables are nonsense: whatever they hold, a decision ends, does not panic, and
//! nothing is read out of bounds (this crate indexes by checked access only, and a panic fails the test).

use std::sync::Arc;
use ztfast_bundle::{Bundle, Parts};
use ztfast_engine::{Admission, Code, Column, Determining, Engine, EngineOptions, Handle, RequestBuilder, SessionId};
use ztfast_policy::{Mode, SourceFile, Sources};
use ztfast_program::{Cell, EntityRec, Instr, Op, PatternRec};

const SCHEMA: &str = r"
entity Team;
entity User in [Team] = { level: Long, name: String, peers: Set<User>, at: { x: Long, y?: Set<Long> } } tags Set<String>;
entity Doc in [Team] = { owner: User, from: ipaddr };
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

fn parts() -> Parts {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let sources = Sources {
        files: vec![file("p.cedar", POLICIES)],
        schema: file("s.cedarschema", SCHEMA),
        entities: Some(file("e.json", ENTITIES)),
    };
    let loaded = ztfast_policy::load(&sources, Mode::Permissive).unwrap_or_else(|error| panic!("{error}"));
    ztfast_compile::compile(&loaded.model, &sources, true, &mut |_, _, _| {}).unwrap()
}

/// Decide over the bundle in every way there is.
fn decide_all(parts: &Parts) -> Vec<Code> {
    let Ok(bundle) = Bundle::from_bytes(&parts.write()) else { return Vec::new() };
    let engine = Engine::new(Arc::new(bundle), None, EngineOptions { sessions: 4, handles: 16 });
    let mut codes = Vec::new();
    let users: Vec<Handle> = ["u", "v", "new"].iter().map(|id| engine.handle("User", id).unwrap()).collect();
    let docs: Vec<Handle> = ["d", "new"].iter().map(|id| engine.handle("Doc", id).unwrap()).collect();
    let sessions: Vec<SessionId> = users
        .iter()
        .map(|&principal| engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap())
        .collect();
    if let Ok(mut gate) = engine.prepare("Action", "view", &["n", "s", "who"]) {
        let mut determining = Determining::default();
        for &session in &sessions {
            for &doc in &docs {
                for n in [1, 8] {
                    gate.begin();
                    let s = gate.text("unknown x").unwrap_or(0);
                    let who = gate.entity(users[0]).unwrap_or(0);
                    codes.push(gate.allows(session, doc, &[n, s, who]));
                    codes.push(gate.decide(session, doc, &[n, 0, 0], &mut determining));
                }
            }
        }
        let mut out = [0; 3];
        let ids: Vec<u64> = sessions.iter().map(|session| session.0).collect();
        let one = [docs[0].0];
        let columns = [Column::all(&[8_i64]), Column::all(&[0]), Column::all(&[0])];
        gate.batch().decide_many(Column::each(&ids), Column::all(&one), &columns, &mut out);
    }
    let snapshot = engine.snapshot();
    for slots in [3, 0] {
        let mut builder = RequestBuilder::new(&snapshot, slots);
        let (Some(user), Some(doc)) = (builder.entity("User", "u"), builder.entity("Doc", "d")) else { continue };
        let text = builder.text("fresh");
        builder.put(0, Cell::number(ztfast_program::Tag::Long, 8));
        builder.put(1, text);
        let request = builder.finish();
        let mut determining = Determining::default();
        for action in [0, 1, u32::MAX] {
            codes.push(engine.evaluate(&snapshot, action, user, doc, &request, &mut determining));
        }
    }
    codes
}

/// A small generator of numbers (splitmix64): the test is the same at each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap()
    }

    /// A number that is likely to hurt.
    fn number(&mut self) -> u32 {
        let small = u32::try_from(self.next() % 40).unwrap();
        [0, 1, small, small, u32::MAX, u32::MAX - small, 1 << 30, 1 << 31][self.below(8)]
    }
}

fn spoil(parts: &mut Parts, chance: &mut Chance) {
    let n = chance.number();
    match chance.below(16) {
        0 => parts.classes.iter_mut().for_each(|class| *class = n),
        1 => parts.table.iter_mut().for_each(|cell| *cell = n),
        2 => {
            let at = chance.below(parts.table.len());
            parts.table.get_mut(at).into_iter().for_each(|cell| *cell = n | 3 << 30);
        }
        3 => {
            let at = chance.below(parts.programs.len());
            parts.programs.get_mut(at).into_iter().for_each(|word| *word = chance.next() >> chance.below(64));
        }
        4 => {
            let at = chance.below(parts.code.len());
            let op = Op::from_u8(u8::try_from(chance.below(36)).unwrap()).unwrap();
            parts.code.get_mut(at).into_iter().for_each(|instr| *instr = Instr::new(op, n));
        }
        5 => {
            let at = chance.below(parts.cells.len());
            let bad = Cell { tag: chance.number() % 13, aux: n, payload: chance.next() >> chance.below(64) };
            parts.cells.get_mut(at).into_iter().for_each(|cell| *cell = bad);
        }
        6 => {
            let at = chance.below(parts.entities.len());
            let record = &mut parts.entities[at];
            *record = EntityRec { attrs_start: n, attrs_len: chance.number(), ..*record };
        }
        7 => {
            let at = chance.below(parts.entities.len());
            parts.entities[at].ancestors_start = n;
            parts.entities[at].ancestors_len = chance.number();
            parts.entities[at].ty = chance.number();
        }
        8 => parts.actions[0].table = n,
        9 => parts.actions[0].principal.count = n,
        10 => (parts.actions[0].resource.first, parts.actions[0].resource.classes) = (n, chance.number()),
        11 => (parts.actions[0].slots_start, parts.actions[0].slots_len) = (n, chance.number()),
        12 => parts.string_offsets.iter_mut().for_each(|offset| *offset = offset.wrapping_add(n)),
        13 => parts.patterns.iter_mut().for_each(|p| *p = PatternRec { start: n, len: p.len.wrapping_mul(3) }),
        14 => parts.string_index.iter_mut().chain(&mut parts.entity_index).for_each(|slot| *slot = n),
        _ => match chance.below(6) {
            0 => parts.table.truncate(n as usize),
            1 => parts.programs.truncate(n as usize),
            2 => parts.code.truncate(n as usize),
            3 => parts.cells.truncate(n as usize),
            4 => parts.types.truncate(n as usize),
            _ => parts.slot_kinds.iter_mut().for_each(|kind| *kind = n),
        },
    }
}

#[test]
fn the_unspoiled_bundle_decides() {
    let codes = decide_all(&parts());
    assert!(
        codes.contains(&Code::Allow) && codes.contains(&Code::Forbid) && codes.contains(&Code::Default),
        "{codes:?}"
    );
}

#[test]
fn no_table_makes_a_decision_panic_or_run_on() {
    let good = parts();
    let mut chance = Chance(7);
    let mut corrupt = 0;
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..=chance.below(3) {
            spoil(&mut bad, &mut chance);
        }
        corrupt += usize::from(decide_all(&bad).contains(&Code::Corrupt));
    }
    assert!(corrupt > 1_000, "only {corrupt} bundles were noticed: the test no longer spoils what is read");
}
