//! Sets of policies decide as tables of cells do, whether or not the processor has AVX2 or AVX-512.

mod world;

use std::sync::Arc;
use world::Kind;
use ztfast_bundle::{BLOCK_BITS, Bundle, Form};
use ztfast_engine::{Admission, Code, Determining, Engine, EngineOptions, SimdLevel};

/// Make a bundle with more policies than one block of a set holds, so that sets of several blocks are intersected. User
/// `n` is in the teams by whose number `n` is divisible, and each policy lets one team see one kind of document.
fn bundle() -> Arc<Bundle> {
    let team = |n: u32| format!(r#"{{"type": "Team", "id": "t{n}"}}"#);
    let entity = |ty: &str, n: u32, parents: Vec<String>| {
        format!(r#"{{"uid": {{"type": "{ty}", "id": "{n}"}}, "attrs": {{}}, "parents": [{}]}}"#, parents.join(", "))
    };
    let teams = |n: u32| (1..=TEAMS).filter(|team| n.is_multiple_of(*team)).map(team).collect();
    let entities: Vec<String> =
        (1..=ENTITIES).flat_map(|n| [entity("User", n, teams(n)), entity("Doc", n, teams(n / 2 + 1))]).collect();
    let policies: Vec<String> = (1..=TEAMS)
        .flat_map(|n| (1..=TEAMS).map(move |other| (n, other)))
        .map(|(n, other)| {
            let effect = if (n * other) % 7 == 3 { "forbid" } else { "permit" };
            format!(r#"{effect} (principal in Team::"t{n}", action, resource in Team::"t{other}");"#)
        })
        .collect();
    let schema = "entity Team; entity User in [Team]; entity Doc in [Team]; \
                  action see appliesTo { principal: User, resource: Doc };";
    let entities = format!("[{}]", entities.join(", "));
    let parts = world::sources::compile(&policies.join("\n"), schema, Some(&entities), Some(Form::Sets));
    Arc::new(Bundle::of(&parts).unwrap())
}

const TEAMS: u32 = 40;
const ENTITIES: u32 = 120;

/// Make a bundle that fills two blocks of a set, one with forbids and one with permits: user `n` is concerned by one
/// policy alone, so that each decision rests on one bit.
fn full_blocks(form: Form) -> Arc<Bundle> {
    let policies: Vec<String> = (1..=2 * BLOCK)
        .map(|n| {
            let effect = if n <= BLOCK { "forbid" } else { "permit" };
            format!(r#"{effect} (principal == User::"{n}", action, resource == Doc::"{}");"#, 1 + n % DOCS)
        })
        .collect();
    let schema = "entity User; entity Doc; action see appliesTo { principal: User, resource: Doc };";
    let parts = world::sources::compile(&policies.join("\n"), schema, None, Some(form));
    Arc::new(Bundle::of(&parts).unwrap())
}

#[allow(clippy::cast_possible_truncation)] // it is 512
const BLOCK: u32 = BLOCK_BITS as u32;
const DOCS: u32 = 3;

/// Return every decision of every user on every document, with the determining policies.
fn decide(bundle: &Arc<Bundle>, simd: SimdLevel, users: u32, docs: u32) -> Vec<(Code, Vec<u32>)> {
    let options = EngineOptions { sessions: 2048, handles: 2048, simd, ..EngineOptions::default() };
    let engine = Engine::new(bundle.clone(), None, options).unwrap();
    let mut gate = engine.prepare("Action", "see", &[]).unwrap();
    let mut determining = Determining::default();
    let mut decided = Vec::new();
    for user in 1..=users {
        let principal = engine.handle("User", &user.to_string()).unwrap();
        let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
        for doc in 1..=docs {
            let doc = engine.handle("Doc", &doc.to_string()).unwrap();
            let code = gate.decide(session, doc, &[], &mut determining);
            assert_eq!(code, gate.allows(session, doc, &[]));
            decided.push((code.code(), determining.as_slice().to_vec()));
        }
    }
    decided
}

#[test]
fn all_levels_decide_the_same() {
    let bundle = bundle();
    let plain = decide(&bundle, SimdLevel::PLAIN, ENTITIES, ENTITIES);
    for code in [Code::Allow, Code::Forbid] {
        assert!(plain.iter().filter(|(given, _)| *given == code).count() > 1_000, "{code:?} is rare");
    }
    if SimdLevel::available().len() == 1 {
        world::skipped("this processor has no wide instructions, so that there was nothing to compare");
    }
    for simd in SimdLevel::available() {
        println!("with {simd:?}");
        assert!(decide(&bundle, simd, ENTITIES, ENTITIES) == plain, "{simd:?} decides otherwise");
    }
}

#[test]
fn each_policy_of_a_block_is_looked_at() {
    let decided = decide(&full_blocks(Form::Dense), SimdLevel::PLAIN, 2 * BLOCK, DOCS);
    for (code, count) in [(Code::Forbid, BLOCK), (Code::Allow, BLOCK), (Code::Default, 2 * BLOCK * (DOCS - 1))] {
        assert_eq!(decided.iter().filter(|(given, _)| *given == code).count(), count as usize, "{code:?}");
    }
    let sets = full_blocks(Form::Sets);
    assert_eq!(sets.layers().iter().map(|layer| layer.form).collect::<Vec<_>>(), [Form::Sets as u32]);
    for simd in SimdLevel::available() {
        for (at, (given, wanted)) in decide(&sets, simd, 2 * BLOCK, DOCS).iter().zip(&decided).enumerate() {
            assert_eq!(given, wanted, "{simd:?}, decision {at}");
        }
    }
}

#[test]
fn the_world_is_the_same_without_wide_instructions() {
    for form in world::FORMS {
        let bundle = Kind::World(form).bundle();
        let counts = |simd| {
            let options = EngineOptions { sessions: 64, handles: 64, simd, ..EngineOptions::default() };
            world::decide_after_each_step(&bundle, options, || {}, || {})
        };
        assert_eq!(counts(SimdLevel::PLAIN), counts(SimdLevel::default()), "{form:?}");
    }
}
