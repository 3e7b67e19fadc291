//! Gates of one and two numbers, which decide by grids, and tables of single layers, which are made for these.

use super::{Counts, NUMBERS, check_gate, compiled_for};
use crate::binding::{Path, bind};
use crate::cells::FIRST_GRID;
use crate::specialise::gate_table;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;

const SCHEMA: &str = "entity User; entity Doc;
    action act appliesTo { principal: User, resource: Doc, context: { a: Long, b?: Long } };";
const ONE_OF_EACH: &str = r#"[
    {"uid": {"type": "User", "id": "u1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Doc", "id": "d1"}, "attrs": {}, "parents": []}
]"#;

/// A condition on two numbers: mostly intervals.
fn of_two() -> impl Strategy<Value = String> {
    let number = || select(NUMBERS.to_vec()).prop_filter("as above", |n| *n != i64::MIN);
    let compare = || select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let leaf = prop_oneof![
        12 => (select(vec!["context.a", "context.b"]), compare(), number()).prop_map(|(a, op, n)| format!("{a} {op} {n}")),
        1 => (compare(), number()).prop_map(|(op, n)| format!("context.a {op} context.b + {n}")),
        1 => Just("context has b".to_owned()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), select(vec!["&&", "&&", "||"]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

#[test]
fn gates_of_one_and_two_numbers_decide_as_the_interpreter_does() {
    let counts = RefCell::new(Counts::default());
    let config = ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let policies = proptest::collection::vec((any::<bool>(), of_two()), 1..5);
    let inputs = (policies, any::<bool>(), proptest::collection::vec(any::<u64>(), 2 * 30));
    let checked = |policies: &[(bool, String)], both: bool, dice: &[u64]| {
        let mut texts = String::new();
        for (forbid, condition) in policies {
            let effect = if *forbid { "forbid" } else { "permit" };
            writeln!(texts, "{effect} (principal, action, resource) when {{ {condition} }};").unwrap();
        }
        let Some(bundle) = compiled_for(SCHEMA, ONE_OF_EACH, (false, false), texts) else {
            return Err(TestCaseError::reject("not valid"));
        };
        let names: &[&str] = if both { &["a", "b"] } else { &["a"] };
        let paths: Vec<Path> = names.iter().map(|&name| [name.into()].into()).collect();
        let mut binding = bind(&bundle, Some(0), &paths).unwrap();
        binding.table = gate_table(&bundle, &binding, 1 << 19);
        check_gate(&counts, policies, (&bundle, &binding), "d1", dice)
    };
    runner.run(&inputs, |(policies, both, dice)| checked(&policies, both, &dice)).unwrap();
    let counts = counts.into_inner();
    println!("{counts:?}");
    assert!(counts.by_grid * 2 > counts.answered, "{counts:?}");
}

/// Desks and books of two regions, and a list.
const ENTITIES: &str = r#"[
    {"uid": {"type": "Desk", "id": "d0"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Desk", "id": "d1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Book", "id": "b0"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Book", "id": "b1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Algo", "id": "a0"}, "attrs": {"region": "US"}, "parents": [{"type": "Desk", "id": "d0"}]},
    {"uid": {"type": "Algo", "id": "a1"}, "attrs": {"region": "EU"}, "parents": [{"type": "Desk", "id": "d0"}]},
    {"uid": {"type": "Algo", "id": "a2"}, "attrs": {"region": "US"}, "parents": [{"type": "Desk", "id": "d1"}]},
    {"uid": {"type": "Share", "id": "s0"}, "attrs": {"region": "US"}, "parents": [{"type": "Book", "id": "b0"}]},
    {"uid": {"type": "Share", "id": "s1"}, "attrs": {"region": "EU"}, "parents": [{"type": "Book", "id": "b1"}]},
    {"uid": {"type": "Share", "id": "s2"}, "attrs": {"region": "US"}, "parents": [{"type": "Book", "id": "b1"}]}
]"#;

/// A table for each layer says what one table of all layers says, or leaves it to the walk.
#[test]
fn the_tables_of_layers_together_say_what_one_table_says() {
    let schema = "entity Desk; entity Book; entity Algo in [Desk] = { region: String };
        entity Share in [Book] = { region: String };
        action act appliesTo { principal: Algo, resource: Share, context: { a: Long, b: Long } };";
    let policies = r#"
        forbid (principal, action, resource) when { context.a > 50 };
        forbid (principal, action, resource) unless { principal.region == resource.region };
        permit (principal in Desk::"d0", action, resource in Book::"b0") when { context.a <= 10 && context.b <= 5 };
        permit (principal in Desk::"d0", action, resource in Book::"b1");
        permit (principal in Desk::"d0", action, resource in Book::"b1") when { context.a <= 90 };
        permit (principal in Desk::"d1", action, resource in Book::"b0") when { context.b <= context.a * 3 };
        forbid (principal in Desk::"d1", action, resource in Book::"b1") when { context.b > 7 };"#;
    let bundle = compiled_for(schema, ENTITIES, (true, false), policies.to_owned()).unwrap();
    let paths: Vec<Path> = ["a", "b"].iter().map(|&name| [name.into()].into()).collect();
    let binding = bind(&bundle, Some(0), &paths).unwrap();
    assert!(binding.layers.len() > 1);
    let whole = gate_table(&bundle, &binding, 1 << 10);
    assert!(!whole.is_empty() && whole.parts.is_empty());
    // One cell too few for the table of all layers.
    let parts = gate_table(&bundle, &binding, whole.cells.all.len() - 1);
    assert!(parts.is_empty() && parts.parts.len() == binding.layers.len());
    let none = gate_table(&bundle, &binding, 0);
    assert!(none.is_empty() && none.parts.is_empty());
    let mut said = BTreeSet::new();
    let counted = |classes: usize| 0..=u32::try_from(classes).unwrap();
    for principal in counted(bundle.principal_classes().len()) {
        for resource in counted(bundle.resource_classes().len()) {
            let classes = ClassPair { principal, resource };
            for (a, b) in [(0, 0), (10, 5), (11, 5), (10, 6), (50, 0), (51, 0), (3, 9), (3, 10), (0, 8), (60, 8)] {
                let together = parts.parts_code(classes, &[a, b]).map(|code| code as u8);
                let Some(cell) = whole.cell(classes) else {
                    assert_eq!(together, None, "{classes:?}");
                    continue;
                };
                let expected = whole.decide(cell, &[a, b]);
                said.insert((together, expected));
                if let Some(together) = together {
                    assert_eq!(together, expected, "{classes:?} {a} {b}");
                }
            }
        }
    }
    // The product of two arguments is left to the walk; all codes occur.
    let codes = [Code::Default, Code::Allow, Code::Forbid, Code::NotApplicable].map(|code| code as u8);
    assert!(codes.iter().all(|&code| said.contains(&(Some(code), code))), "{said:?}");
    assert!(said.contains(&(None, Code::Allow as u8)), "{said:?}");
    assert_eq!(none.parts_code(ClassPair { principal: 1, resource: 1 }, &[0, 0]), None);
    assert_eq!(parts.grid_code(u32::MAX, &[0, 0]), None);
    assert_eq!(parts.grid_code(FIRST_GRID, &[0, 0, 0]), None);
}
