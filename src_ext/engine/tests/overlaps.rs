//! Small bundles that refer to more than they contain: lists that overlap, values that double, huge counts. Each is
//! refused by the check, or everything that can be asked of it is answered soon.

#![cfg(not(ztfast_rtsan))]

mod world;

use world::sources::{compile, parts};
use world::spoilt::{decide_all, processor_time};
use ztfast_bundle::{
    Bundle, ClassRec, Form, LayerRec, OpenError, Parts, PlanRec, PolicyRec, Residual, SelectorRec, Span, TypeRec,
    write_program,
};
use ztfast_vm::{Arena, EntityRec, EntityRef, Instr, Op, Value};

/// Return why the bundle is refused. If it is not, every query must be answered soon.
#[track_caller]
fn refusal(parts: &Parts) -> Option<OpenError> {
    let began = processor_time();
    let refusal = Bundle::of(parts).err();
    if refusal.is_none() {
        decide_all(parts);
    }
    let took = processor_time().saturating_sub(began);
    assert!(took.as_millis() < 1500, "{took:?}");
    refusal
}

/// Assert that the bundle is refused for this part of it, and not for another that the test spoilt too.
#[track_caller]
fn refused(parts: &Parts, part: &str) {
    match refusal(parts) {
        Some(OpenError::Damaged { part: found, .. }) => assert_eq!(found, part),
        other => panic!("{part}: {other:?}"),
    }
}

#[track_caller]
fn taken(parts: &Parts) {
    assert!(refusal(parts).is_none());
}

fn with_reach(parts: &mut Parts, reach: u32) {
    let text = String::from_utf8(std::mem::take(&mut parts.meta_json)).unwrap();
    let (before, after) = text.split_once("\"reach\":").unwrap();
    let (_, after) = after.split_once(',').unwrap();
    parts.meta_json = format!("{before}\"reach\":{reach},{after}").into_bytes();
}

fn span(start: usize, len: usize) -> Span {
    Span { start: u32::try_from(start).unwrap(), len: u32::try_from(len).unwrap() }
}

const MANY: usize = 20_000;

#[test]
fn honest_bundles_are_far_from_the_bounds() {
    taken(&parts(None));
    taken(&world::sources::crowded(5_000));
    let note = "x".repeat(9_000);
    let policy = |n| format!("@note(\"{note}\")permit (principal == User::\"u{n}\", action, resource);");
    let shared = (0..20).map(policy).collect::<Vec<_>>().concat();
    taken(&compile(&shared, "entity User; action view appliesTo { principal: User, resource: User };", None, None));
}

#[test]
fn context_slots_beyond_the_file() {
    for len in [1 << 20, u32::MAX] {
        let mut bad = parts(None);
        bad.actions[0].slots.len = len;
        refused(&bad, "table of actions");
    }
}

#[test]
fn conditions_that_look_away_without_end() {
    for reach in [100_000, u32::MAX] {
        let mut bad = parts(None);
        with_reach(&mut bad, reach);
        refused(&bad, "description");
    }
    let mut far = parts(None);
    with_reach(&mut far, 10_000);
    taken(&far);
}

/// Add an entity with these values.
fn entity(parts: &mut Parts, attrs: (usize, usize), parents: (usize, usize)) {
    let template = parts.entities[parts.entities.len() - 1];
    let (attrs, parents) = (span(attrs.0, attrs.1), span(parents.0, parents.1));
    parts.entities.push(EntityRec {
        attrs_start: attrs.start,
        attrs_len: attrs.len,
        parents_start: parents.start,
        parents_len: parents.len,
        ..template
    });
    parts.classes.push(parts.classes[parts.classes.len() - 1]);
}

#[test]
fn values_that_double_are_refused() {
    for width in [2, 3, 100] {
        let mut bad = parts(None);
        with_reach(&mut bad, 2);
        let mut inner = Value::entity(EntityRef::known(1));
        for _ in 0..100 {
            let start = bad.values.len();
            bad.values.extend(vec![inner; width]);
            inner = Value::set(Arena::Bundle, u32::try_from(start).unwrap(), u32::try_from(width).unwrap(), false);
        }
        let start = bad.values.len();
        bad.values.extend([Value::string(1), inner]);
        entity(&mut bad, (start, 1), (0, 0));
        refused(&bad, "entities");
    }
}

#[test]
fn values_that_lie_in_themselves() {
    let mut bad = parts(None);
    with_reach(&mut bad, 2);
    let start = bad.values.len();
    for _ in 0..50 {
        bad.values.push(Value::string(1));
        bad.values.push(Value::set(Arena::Bundle, u32::try_from(start).unwrap(), 100, false));
    }
    entity(&mut bad, (start, 50), (0, 0));
    taken(&bad);
}

#[test]
fn attributes_that_everybody_shares_and_parents_that_everybody_has() {
    let mut bad = parts(None);
    with_reach(&mut bad, 1);
    let start = bad.values.len();
    bad.values.extend([Value::string(1), Value::entity(EntityRef::known(1))].repeat(MANY));
    for _ in 0..MANY {
        entity(&mut bad, (start, MANY), (0, 0));
    }
    refused(&bad, "entities");
    let mut bad = parts(None);
    let start = bad.ancestors.len();
    bad.ancestors.extend(vec![0; MANY]);
    for _ in 0..MANY {
        entity(&mut bad, (0, 0), (start, MANY));
    }
    refused(&bad, "hierarchy");
    let mut bad = parts(None);
    (0..MANY).for_each(|_| entity(&mut bad, (0, 0), (0, u32::MAX as usize)));
    refused(&bad, "hierarchy");
}

#[test]
fn selectors_that_name_everybody_or_run_everything() {
    let mut bad = parts(None);
    let start = bad.selector_entities.len();
    bad.selector_entities.extend(vec![3; MANY]);
    let all = SelectorRec { ty: u32::MAX, entity: u32::MAX, within: span(start, MANY), ..SelectorRec::default() };
    bad.resource_selectors.extend(vec![all; MANY]);
    refused(&bad, "selectors");
    let mut bad = parts(None);
    let (code, places) = (bad.code.len(), bad.selector_code.len());
    bad.code.extend(vec![Instr::new(Op::NeedBool, 0); MANY]);
    bad.selector_code.extend(vec![span(code, MANY); MANY]);
    let all = SelectorRec { ty: u32::MAX, entity: u32::MAX, conjuncts: span(places, MANY), ..SelectorRec::default() };
    bad.principal_selectors.extend(vec![all; 100]);
    refused(&bad, "selectors");
}

#[test]
fn classes_of_the_same_long_parts() {
    for split in [0, 1] {
        let mut bad = parts(None);
        let (selectors, list, part) = (bad.part_selectors.len(), bad.parts.len(), bad.class_parts.len());
        bad.part_selectors.extend(vec![0; MANY]);
        bad.parts.push(span(selectors, MANY));
        bad.class_parts.extend(vec![u32::try_from(list).unwrap(); MANY]);
        let ty = bad.principal_classes[1].ty;
        let all = span(part, MANY);
        let class = ClassRec { ty, parts_start: all.start, parts_len: all.len, split };
        bad.principal_classes.extend(vec![class; MANY]);
        refused(&bad, "classes");
    }
}

#[test]
fn layers_of_the_same_long_plans() {
    let mut bad = parts(Some(Form::Sets));
    let start = bad.plans.len();
    bad.plans.extend(vec![PlanRec::default(); MANY]);
    let layer = LayerRec { plans: span(start, MANY), ..bad.layers[0] };
    let first = bad.layers.len();
    bad.layers.extend(vec![layer; MANY]);
    refused(&bad, "plans");
    bad.layers.truncate(first + 1);
    bad.actions[0].layers = span(first, 1);
    taken(&bad);
    // No action has so many layers.
    bad.layers.extend(vec![layer; 20]);
    bad.actions[0].layers = span(first, 20);
    refused(&bad, "table of actions");
}

#[test]
fn texts_that_overlap_and_names_that_all_have() {
    let mut bad = parts(None);
    let end = u32::try_from(bad.string_bytes.len()).unwrap();
    bad.string_offsets.extend([0, end].repeat(MANY));
    refused(&bad, "table of texts");
    let mut long = parts(None);
    long.string_bytes.extend(vec![b'x'; 1 << 20]);
    long.string_offsets.push(u32::try_from(long.string_bytes.len()).unwrap());
    let text = u32::try_from(long.string_offsets.len() - 2).unwrap();
    taken(&long);
    let mut bad = long.clone();
    bad.types.extend(vec![TypeRec { name: text, ..bad.types[0] }; MANY]);
    refused(&bad, "names");
    let mut bad = long.clone();
    bad.policies.extend(vec![PolicyRec { id: text, ..bad.policies[0] }; MANY]);
    refused(&bad, "names");
    let mut bad = parts(None);
    let start = bad.annotations.len();
    bad.annotations.extend(vec![1; 2 * MANY]);
    let all = span(start, MANY);
    let policy = PolicyRec { annotations_start: all.start, annotations_len: all.len, ..bad.policies[0] };
    bad.policies.extend(vec![policy; MANY]);
    refused(&bad, "names");
}

/// Make a program in which each policy has all these conditions.
fn conditions(parts: &mut Parts, condition: (u32, u32)) {
    // The memo keeps the last condition of each place; here no two in a row are the same.
    let conjuncts = (0..1_000).map(|n| (condition.0, condition.1 - n % 7)).collect();
    let residual = Residual { policy: 0, ranges: Vec::new(), conjuncts };
    let start = u32::try_from(parts.programs.len()).unwrap();
    write_program(&mut parts.programs, [].iter(), std::iter::repeat_n(&residual, 400), false).unwrap();
    parts.table.iter_mut().for_each(|value| *value = ztfast_bundle::pack_cell(ztfast_bundle::CellKind::Program, start));
}

#[test]
fn policies_that_share_long_conditions() {
    let mut bad = parts(Some(Form::Dense));
    let start = u32::try_from(bad.code.len()).unwrap();
    let value = u32::try_from(bad.values.len()).unwrap();
    bad.values.push(Value::bool(true));
    bad.code.push(Instr::new(Op::Const, value));
    bad.code.extend(vec![Instr::new(Op::NeedBool, 0); MANY]);
    conditions(&mut bad, (start, u32::try_from(MANY).unwrap()));
    taken(&bad);
}

#[test]
fn policies_that_share_slow_conditions() {
    let mut bad = parts(Some(Form::Dense));
    let start = u32::try_from(bad.code.len()).unwrap();
    let values = u32::try_from(bad.values.len()).unwrap();
    bad.values.extend((0..2_000).map(|n| Value::number(ztfast_vm::Tag::Long, n)));
    bad.values.push(Value::set(Arena::Bundle, values, 2_000, false));
    let set = u32::try_from(bad.values.len() - 1).unwrap();
    bad.code.extend([Instr::new(Op::Const, set), Instr::new(Op::Const, set), Instr::new(Op::ContainsAll, 0)]);
    bad.code.extend([Instr::new(Op::NeedBool, 0); 10]);
    conditions(&mut bad, (start, 13));
    taken(&bad);
}
