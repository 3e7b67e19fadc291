//! Bundles with right hashes and nonsensical tables. With any of them, a decision ends, does not panic, and reads
//! nothing out of bounds (this crate indexes by checked access only, so a panic fails the test).

mod world;

use std::sync::Arc;

use world::sources::parts;
use world::spoilt::{decide_all, processor_time};
use zerocopy::IntoBytes;
use ztfast_bundle::{Bundle, Form, Parts};
use ztfast_engine::{Admission, Code, Column, Decision, Engine, EngineOptions, Principals};
use ztfast_vm::{Instr, Op, Value};

/// A generator of numbers (splitmix64), so that each run of the test is the same.
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

    /// Return a number that is likely to cause trouble.
    fn number(&mut self) -> u32 {
        let small = u32::try_from(self.next() % 40).unwrap();
        [0, 1, small, small, u32::MAX, u32::MAX - small, 1 << 30, 1 << 31][self.below(8)]
    }
}

/// Return the words of each table that decisions and changes read.
fn tables(parts: &mut Parts) -> Vec<&mut [u8]> {
    vec![
        parts.classes.as_mut_bytes(),
        parts.table.as_mut_bytes(),
        parts.rows.as_mut_bytes(),
        parts.bitmaps.as_mut_bytes(),
        parts.set_places.as_mut_bytes(),
        parts.sets.as_mut_bytes(),
        parts.maps.as_mut_bytes(),
        parts.layers.as_mut_bytes(),
        parts.plans.as_mut_bytes(),
        parts.actions.as_mut_bytes(),
        parts.slot_kinds.as_mut_bytes(),
        parts.programs.as_mut_bytes(),
        parts.code.as_mut_bytes(),
        parts.values.as_mut_bytes(),
        parts.entities.as_mut_bytes(),
        parts.ancestors.as_mut_bytes(),
        parts.types.as_mut_bytes(),
        parts.string_offsets.as_mut_bytes(),
        parts.string_index.as_mut_bytes(),
        parts.entity_index.as_mut_bytes(),
        parts.patterns.as_mut_bytes(),
        parts.pattern_elems.as_mut_bytes(),
        parts.principal_selectors.as_mut_bytes(),
        parts.resource_selectors.as_mut_bytes(),
        parts.selector_entities.as_mut_bytes(),
        parts.selector_code.as_mut_bytes(),
        parts.principal_classes.as_mut_bytes(),
        parts.resource_classes.as_mut_bytes(),
        parts.class_parts.as_mut_bytes(),
        parts.parts.as_mut_bytes(),
        parts.part_selectors.as_mut_bytes(),
        parts.policies.as_mut_bytes(),
        parts.annotations.as_mut_bytes(),
    ]
}

fn spoil(parts: &mut Parts, chance: &mut Chance) {
    let n = chance.number();
    match chance.below(12) {
        0 => {
            let at = chance.below(parts.code.len());
            let op = Op::from_u8(u8::try_from(chance.below(36)).unwrap()).unwrap();
            parts.code.get_mut(at).into_iter().for_each(|instr| *instr = Instr::new(op, n));
        }
        1 => {
            let at = chance.below(parts.values.len());
            let bad = Value { tag: chance.number() % 13, aux: n, payload: chance.next() >> chance.below(64) };
            parts.values.get_mut(at).into_iter().for_each(|value| *value = bad);
        }
        2 => parts.table.iter_mut().for_each(|value| *value = n),
        3 => match chance.below(8) {
            0 => parts.table.truncate(n as usize),
            1 => parts.programs.truncate(n as usize),
            2 => parts.code.truncate(n as usize),
            3 => parts.values.truncate(n as usize),
            4 => parts.types.truncate(n as usize),
            5 => parts.sets.truncate(n as usize),
            6 => parts.bitmaps.truncate(n as usize),
            _ => parts.entities.truncate(n as usize),
        },
        4 => parts.sets.iter_mut().for_each(|word| *word = chance.next()),
        _ => {
            let mut tables = tables(parts);
            let at = chance.below(tables.len());
            let words = tables[at].len() / 4;
            if words > 0 {
                // Change one word of the table, or all words at the same position of their records.
                let step = [usize::MAX, 1, 4][chance.below(3)];
                let mut word = chance.below(words);
                while word < words {
                    tables[at][word * 4..word * 4 + 4].copy_from_slice(&n.to_le_bytes());
                    word = word.saturating_add(step);
                }
            }
        }
    }
}

#[test]
fn the_unspoiled_bundle_decides() {
    for form in [None, Some(Form::Dense), Some(Form::Rows), Some(Form::Sets)] {
        let codes = decide_all(&parts(form));
        assert!(
            codes.contains(&Code::Allow) && codes.contains(&Code::Forbid) && codes.contains(&Code::Default),
            "{form:?}: {codes:?}"
        );
    }
}

#[test]
fn no_table_makes_a_decision_panic_or_run_on() {
    let good = [Form::Dense, Form::Rows, Form::Sets].map(|form| parts(Some(form)));
    let mut chance = Chance(7);
    let mut corrupt = 0;
    for round in 0..21_000 {
        let mut bad = good[round % good.len()].clone();
        for _ in 0..=chance.below(3) {
            spoil(&mut bad, &mut chance);
        }
        corrupt += usize::from(decide_all(&bad).contains(&Code::Corrupt));
    }
    assert!(corrupt > 1_000, "only {corrupt} bundles were noticed: the test no longer spoils what is read");
}

#[test]
fn no_number_of_any_record_makes_anything_run_on_or_take_memory() {
    // A larger allocation has its size from the file, and aborts.
    let most = libc::rlimit { rlim_cur: 3 << 30, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct is borrowed during the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) }, 0);
    let mut chance = Chance(11);
    for form in [Form::Dense, Form::Rows, Form::Sets] {
        let good = parts(Some(form));
        let lengths: Vec<usize> = tables(&mut good.clone()).iter().map(|table| table.len() / 4).collect();
        let mut taken = 0;
        for (table, words) in lengths.into_iter().enumerate() {
            for word in 0..words {
                for number in [0, 1, u32::MAX, 1 << 31, 1 << 16, u32::try_from(chance.next() >> 32).unwrap()] {
                    let mut bad = good.clone();
                    tables(&mut bad)[table][word * 4..word * 4 + 4].copy_from_slice(&number.to_le_bytes());
                    let began = processor_time();
                    taken += u32::from(!decide_all(&bad).is_empty());
                    let took = processor_time().saturating_sub(began);
                    assert!(took.as_millis() < 1000, "{form:?}: table {table}, word {word} = {number}: {took:?}");
                }
            }
        }
        assert!(taken > 1_000, "{form:?}: only {taken} bundles were opened");
    }
}

#[test]
fn a_batch_says_of_a_program_that_is_cut_off_what_a_gate_says() {
    let whole = parts(Some(Form::Dense));
    let mut corrupt = 0;
    for len in 0..=whole.programs.len() {
        let mut cut = parts(Some(Form::Dense));
        cut.programs.truncate(len);
        let Ok(bundle) = Bundle::of(&cut) else { continue };
        let engine = Engine::new(Arc::new(bundle), None, EngineOptions::default()).unwrap();
        let Ok(mut gate) = engine.prepare("Action", "view", &["n"]) else { continue };
        for (user, doc) in [("u", "d"), ("v", "d"), ("u", "new")] {
            let principal = engine.handle("User", user).unwrap();
            let admission = Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
            let (session, doc) = (engine.admit(&admission).unwrap(), engine.handle("Doc", doc).unwrap());
            for n in [1, 8] {
                let expected = gate.allows(session, doc, &[n]);
                let mut codes = [Decision::CORRUPT; 2];
                let (sessions, docs, values) = ([session.0], [doc.0], [n, n]);
                let who = Principals::Sessions(Column::all(&sessions));
                gate.batch()
                    .decide_many(who, Column::all(&docs), &[Column::each(&values)], &mut codes)
                    .expect("there are no entities");
                // A gate ends at the first policy that settles the effect, and may not reach the changed words.
                let same = codes == [expected; 2];
                assert!(same || codes == [Code::Corrupt; 2], "{len} {user} {n}: {expected:?} {codes:?}");
                corrupt += u32::from(expected == Code::Corrupt && same);
            }
        }
    }
    assert!(corrupt > 0);
}

#[test]
fn a_base_whose_tables_lie_is_refused_and_one_that_tells_the_truth_is_taken() {
    use world::sources::compile_from;
    type Lie = fn(&mut Parts);
    let good = compile_from(None).unwrap();
    let taken = |parts: &Parts| compile_from(Some(&Bundle::of(parts).ok()?)).ok();
    assert_eq!(taken(&good).unwrap().write(), good.write());
    let lies: [(&str, Lie); 9] = [
        ("an entity twice", |bad| bad.entities[1] = bad.entities[0]),
        ("a type that there is not", |bad| bad.entities[0].ty = 999),
        ("an id that there is not", |bad| bad.entities[0].id = 1 << 30),
        ("a parent that there is not", |bad| bad.ancestors.iter_mut().for_each(|entity| *entity = 1 << 30)),
        ("nobody is a parent", |bad| {
            bad.entities.iter_mut().for_each(|entity| entity.flags &= !ztfast_vm::PARENT);
        }),
        ("nobody is named", |bad| bad.entities.iter_mut().for_each(|entity| entity.flags &= !ztfast_vm::REFERRED)),
        ("values are nothing", |bad| bad.values.iter_mut().for_each(|value| value.tag = 77)),
        ("a type twice", |bad| bad.types[1].name = bad.types[0].name),
        ("no entities at all", |bad| bad.entities.clear()),
    ];
    for (lie, tell) in lies {
        let mut bad = good.clone();
        tell(&mut bad);
        // The bundle itself opens; the compiler refuses it as a base.
        assert!(compile_from(Some(&Bundle::of(&bad).unwrap())).is_err(), "{lie}");
    }
    // Whatever the tables say, nothing panics and nothing runs on.
    let (mut chance, mut outcomes) = (Chance(5), [0; 2]);
    for _ in 0..3_000 {
        let mut bad = good.clone();
        spoil(&mut bad, &mut chance);
        let Ok(base) = Bundle::of(&bad) else { continue };
        outcomes[usize::from(compile_from(Some(&base)).is_ok())] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 100), "{outcomes:?}");
}
