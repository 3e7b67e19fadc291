//! Holds what is lifted against the interpreter, policy by policy and conjunct by conjunct.

use super::gate_table;
use crate::asks::{Ask, NOT_KEPT};
use crate::binding::{Binding, Path, bind};
use crate::cells::{FIRST_CODE, FIRST_GRID};
use crate::checks::{Answers, Arguments, Check, CheckInputs, CheckResult, CheckRunner};
use crate::columns::Column;
use crate::layers::{cell, layer_classes};
use crate::lift::Lifter;
use crate::linear::Case;
use crate::lines::{CHECKS as NOT_RUN, NO_POLICY, WALK};
use crate::rows::MAX_VALUES;
use crate::working::EMPTY_SET;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use ztfast_bundle::{Bundle, CellKind, ClassPair, Program, ResidualView, ValueType, cell_kind, cell_program};
use ztfast_cedar::{Mode, SourceFile, Sources};
use ztfast_codes::Code;
use ztfast_vm::{
    Arena, BUDGET, EntityRef, FOREIGN_STRING, Fault, Instr, Request, Scratch, StringsView, Tag, Value, Vm,
};

const SCHEMA: &str = "
entity Team;
entity User in [Team] { n: Long, g?: Bool, s: String, e: Set<String>, boss?: User };
entity Doc { n: Long, owner?: User, readers?: Set<User>, t: datetime };
action act appliesTo { principal: User, resource: Doc, context: {
  a: Long, b: Long, c?: Long, p: decimal, q?: decimal, t: datetime, u?: datetime, r?: duration, f: Bool, g?: Bool,
  s: String, o: String, e: Set<Long>, i: ipaddr, k?: { x: Long, y: Long }, l: Set<String>, w: User, v?: User, z: Set<User>,
} };";

/// The person `u2` has no attributes that are optional, and `u9` is not there.
const ENTITIES: &str = r#"[
  {"uid": {"type": "Team", "id": "t1"}, "attrs": {}, "parents": []},
  {"uid": {"type": "User", "id": "u1"}, "parents": [{"type": "Team", "id": "t1"}], "attrs": {
    "n": 5, "g": true, "s": "xy", "e": ["x", "y"], "boss": {"__entity": {"type": "User", "id": "u2"}}}},
  {"uid": {"type": "User", "id": "u2"}, "parents": [], "attrs": {"n": -7, "s": "a", "e": []}},
  {"uid": {"type": "Doc", "id": "d1"}, "parents": [], "attrs": {
    "n": 5, "t": {"__extn": {"fn": "datetime", "arg": "2024-10-15T06:30:00Z"}},
    "owner": {"__entity": {"type": "User", "id": "u1"}},
    "readers": [{"__entity": {"type": "User", "id": "u9"}}]}},
  {"uid": {"type": "Doc", "id": "d2"}, "parents": [], "attrs": {
    "n": 7, "t": {"__extn": {"fn": "datetime", "arg": "1969-12-31"}}}}
]"#;

/// Conditions that ask for more than numbers.
const CHECKS: [&str; 52] = [
    "context.s like \"x*\"",
    "context.s like \"xyz*\"",
    "!(context.s like \"*\")",
    "context.s like \"é*\"",
    "context.s == context.o",
    "context.o == \"x\"",
    "context.o like \"x*\"",
    "context.i.isInRange(ip(\"127.0.0.0/8\"))",
    "context.i.isInRange(ip(\"0.0.0.0/0\"))",
    "context.i.isInRange(ip(\"10.0.0.0/9\"))",
    "context.i.isInRange(ip(\"::/0\"))",
    "context.l.contains(\"x\")",
    "!context.l.contains(context.s)",
    "context.l.containsAny([\"x\", \"y\"])",
    "context.l.containsAll([\"x\", \"y\"])",
    "context.l.containsAny([\"x\", \"z\"])",
    "context.l.containsAll([])",
    "context.l.containsAny([])",
    "context.l.containsAny([\"v\", \"w\", \"x\", \"y\", \"z\"])",
    "context.e.containsAll([5, 7])",
    "context.e.containsAny([5, 7])",
    "context.z.contains(principal)",
    "!context.z.contains(principal)",
    "context.z.contains(principal) || context.z.contains(User::\"u2\")",
    "context.e.contains(principal)",
    "context.z.containsAny([User::\"u1\", User::\"u9\"])",
    "context.i.isLoopback()",
    "context.i.isMulticast()",
    "context.t.toTime() <= duration(\"23h59m59s999ms\")",
    "duration(\"6h\") < context.t.toTime()",
    "duration(\"0ms\") >= context.t.toTime()",
    "context.l.containsAll(principal.e)",
    "context.l == principal.e",
    "context.w in Team::\"t1\"",
    "context.w in [Team::\"t1\", User::\"u2\"]",
    "context.w.n > 4",
    "context.w.n >= 5",
    "context.w.n <= resource.n",
    "context.w.g",
    "!context.w.g",
    "context.w.boss.n < 0",
    "context.w has boss",
    "context.v has g",
    "context.w.s like \"x*\"",
    "context.w == context.v",
    "context.w == principal",
    "resource.owner == context.w",
    "resource.readers.contains(context.w)",
    "context.w.n == resource.n",
    "context.a == resource.n",
    "context.t >= resource.t.toDate().offset(duration(\"1d\"))",
    "context.t.toTime() < duration(\"6h\")",
];

mod chosen;
mod few;

/// Numbers at which conditions change, or overflow.
const NUMBERS: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    i64::MIN / 2,
    -10_001,
    -7,
    -1,
    0,
    1,
    5,
    7,
    10_000,
    i64::MAX / 2 + 1,
    i64::MAX - 1,
    i64::MAX,
];

fn long() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(vec!["context.a", "context.b", "context.c", "context.k.x"]).prop_map(str::to_owned),
        2 => select(NUMBERS.to_vec()).prop_filter("Cedar reads -i64::MIN in two steps", |n| *n != i64::MIN).prop_map(|n| n.to_string()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), select(vec!["+", "-", "*"]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.prop_map(|a| format!("(-{a})")),
        ]
    })
}

fn truth() -> impl Strategy<Value = String> {
    let compare = || select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let methods = || select(vec!["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]);
    let times = || {
        select(vec![
            "context.t",
            "context.u",
            "context.t.offset(duration(\"2s\"))",
            "context.u.offset(context.r)",
            "datetime(\"2024-10-15\")",
        ])
    };
    let leaf = prop_oneof![
        6 => (long(), compare(), long()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (select(vec!["context.p", "context.q"]), methods(), select(vec!["context.q", "decimal(\"0.01\")"]))
            .prop_map(|(a, method, b)| format!("{a}.{method}({b})")),
        1 => (times(), compare(), times()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (select(vec!["context.t.durationSince(context.u)", "context.r"]), compare())
            .prop_map(|(a, op)| format!("{a} {op} duration(\"1m\")")),
        1 => (select(vec!["context.r.toMilliseconds()"]), compare(), long()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => long().prop_map(|a| format!("[1, 5, 7, 10000].contains({a})")),
        1 => select(vec!["c", "q", "u", "r", "g", "k", "k.x"]).prop_map(|name| format!("context has {name}")),
        1 => select(vec!["context.f", "context.g", "context.f == context.g", "context.g == true", "context.s == \"x\"",
            "context.s like \"*x\"", "[\"x\", \"y\"].contains(context.s)", "context.k == {x: 1, y: 5}", "context.f == 1", "context.a == decimal(\"0.0005\")", "context.q == 5", "context.a == \"x\"",
            "context.e.isEmpty()", "context.e.contains(5)", "context.e == [5]",
            "context.e.containsAny([1, 5])", "context.i.isLoopback()"])
            .prop_map(str::to_owned),
        4 => select(CHECKS.to_vec()).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(vec!["&&", "||"]), inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(({a}) == ({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}].contains(context.f)")),
            (inner.clone(), inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c, d)| format!("((!(if {a} then {b} else {c})) == ({d}))")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
        ]
    })
}

/// A condition that is one inequality of two arguments, whose sum may overflow.
fn inequality() -> impl Strategy<Value = String> {
    let arguments = [("context.a", "context.b"), ("context.b", "context.c"), ("context.k.x", "context.a")];
    let limits = || (select(vec!["<", "<=", ">", ">="]), select(vec![-10_001, -1, 0, 5, 10_000]));
    (select(arguments.to_vec()), select(vec!["+", "-"]), limits())
        .prop_map(|((x, y), op, (compare, limit))| format!("{x} {op} {y} {compare} {limit}"))
}

/// Compile policies, given by whether they forbid and by their conditions. `None` if they are not valid.
fn compiled(conditions: &[(bool, String)]) -> Option<Bundle> {
    let mut policies = String::new();
    for (forbid, condition) in conditions {
        let effect = if *forbid { "forbid" } else { "permit" };
        writeln!(policies, "{effect} (principal, action, resource) when {{ {condition} }};").unwrap();
    }
    // Half of the bundles deny where forbids err.
    let strict_errors = policies.len().is_multiple_of(2);
    compiled_for(SCHEMA, ENTITIES, (false, strict_errors), policies)
}

/// Compile policies for a schema and entities. Split them into layers wherever possible, and let forbids deny where
/// they err, if that is wanted.
fn compiled_for(
    schema: &str,
    entities: &str,
    (split, strict_errors): (bool, bool),
    policies: String,
) -> Option<Bundle> {
    let file = |name: &str, text: String| SourceFile { name: name.into(), text };
    let sources = Sources {
        files: vec![file("p.cedar", policies)],
        schema: file("s.cedarschema", schema.to_owned()),
        entities: Some(file("e.json", entities.to_owned())),
    };
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).ok()?;
    let options = ztfast_compile::Options { split, strict_errors, ..ztfast_compile::Options::default() };
    let parts = ztfast_compile::compile(loaded.model, &sources, &options, None, &mut |_, _, _| {}).ok()?;
    Some(Bundle::of(&parts).unwrap())
}

/// The attributes that may be left out, each with those that go with it.
const OPTIONAL: [&[&[&str]]; 7] =
    [&[&["c"]], &[&["q"]], &[&["u"]], &[&["r"]], &[&["g"]], &[&["k", "x"], &["k", "y"]], &[&["v"]]];

/// Bind a gate that leaves out the optional attributes whose bits are set.
fn bound(bundle: &Bundle, absent: u8) -> Binding {
    let mut names: Vec<&[&str]> =
        vec![&["a"], &["b"], &["p"], &["t"], &["f"], &["s"], &["o"], &["e"], &["i"], &["l"], &["w"], &["z"]];
    names.extend(OPTIONAL.iter().enumerate().filter(|(at, _)| absent >> at & 1 == 0).flat_map(|(_, paths)| *paths));
    let paths: Vec<Path> = names.iter().map(|path| path.iter().map(|&part| part.into()).collect()).collect();
    let mut binding = bind(bundle, Some(0), &paths).unwrap();
    binding.table = gate_table(bundle, &binding, 1 << 19);
    binding
}

/// Choose a value for an argument: mostly one at which some condition changes.
fn value(bundle: &Bundle, ty: &ValueType, dice: u64) -> i64 {
    let pick = |from: &[i64]| from[usize::try_from(dice / 4).unwrap_or_default() % from.len()];
    match ty {
        ValueType::Bool => pick(&[0, 1, 1, 2, -1]),
        ValueType::String => {
            // The texts of the request.
            let foreign = [0, 1].map(|number| (FOREIGN_STRING | number).cast_signed());
            let known = ["x", "y", "a"].iter().filter_map(|text| bundle.find_string(text)).map(i64::from);
            let texts: Vec<i64> = foreign.into_iter().chain(known).collect();
            pick(&texts)
        }
        ValueType::Set(of) => pick(match **of {
            ValueType::Long => &[EMPTY_SET, 2],
            ValueType::Entity(_) => &[EMPTY_SET, 13, 15, 18],
            _ => &[EMPTY_SET, 5, 8],
        }),
        ValueType::Ip => pick(&[3, 10, 11]),
        ValueType::Entity(_) => {
            let user = type_number(bundle, "User");
            let known = ["u1", "u2", "u9"].iter().filter_map(|id| bundle.find_entity(user, id));
            let stranger = bundle.entities().iter().position(|entity| entity.ty == user && entity.id == u32::MAX);
            let stranger = EntityRef { index: u32::try_from(stranger.unwrap()).unwrap(), foreign: 7 };
            pick(&known.chain([stranger]).map(|entity| entity.bits().cast_signed()).collect::<Vec<_>>())
        }
        _ => {
            let mut numbers = NUMBERS.to_vec();
            numbers.extend(bundle.store().values.iter().filter(|value| value.is_scalar()).map(|value| value.as_i64()));
            pick(&numbers).wrapping_add([0, 0, 1, -1][usize::try_from(dice % 4).unwrap()])
        }
    }
}

/// Return whether the interpreter applies a policy.
fn applies(bundle: &Bundle, residual: &ResidualView<'_>, request: &Request<'_>, scratch: &mut Scratch) -> bool {
    let store = bundle.store();
    residual.ranges().all(|test| request.number(test.slot).is_some_and(|number| test.holds(number)))
        && residual.conjuncts().unwrap().all(|(start, len)| {
            let code = &bundle.code()[start as usize..(start + len) as usize];
            match Vm::new(store, request, scratch).holds(code) {
                Ok(holds) => holds,
                Err(Fault::Error) => false,
                Err(fault) => panic!("{fault:?}"),
            }
        })
}

/// Return the places of all programs of the action's only layer.
fn programs(bundle: &Bundle) -> BTreeSet<u32> {
    bundle
        .table()
        .iter()
        .filter(|cell| cell_kind(**cell) != CellKind::Default)
        .map(|cell| cell_program(*cell))
        .collect()
}

/// Return the place of the program of a pair of classes, if it has one.
fn own_program(bundle: &Bundle, binding: &Binding, classes: ClassPair) -> Option<u32> {
    let (principal, resource) = layer_classes(bundle, &binding.layers[0], classes).ok()?;
    let cell = cell(bundle, &binding.layers[0], principal, resource).ok()?;
    (cell_kind(cell) != CellKind::Default).then(|| cell_program(cell))
}

fn type_number(bundle: &Bundle, name: &str) -> u32 {
    let found = bundle.types().iter().position(|record| bundle.string(record.name) == Some(name));
    u32::try_from(found.unwrap()).unwrap()
}

/// How many answers there were: by the table, by its grids, and left to the walk.
#[derive(Default, Debug)]
struct Counts {
    conjuncts: u32,
    answered: u32,
    walked: u32,
    by_grid: u32,
    lifted: u32,
    left: u32,
    /// The checks that were run, by their form.
    by_entity: u32,
    single: u32,
    predicates: u32,
    code: u32,
    /// The requests of which checks were answered beforehand, and of which a value was not kept.
    by_answers: u32,
    not_kept: u32,
    /// Those of lines with checks that the answers decide, without running a check.
    not_run: u32,
}

/// Return the numbers of a request as they are if values are not kept that need not be, and the answers of checks;
/// `None` if some value gives none.
#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
fn answered(bundle: &Bundle, binding: &Binding, request: &Request<'_>) -> Option<(Vec<i64>, Answers)> {
    let asks = &binding.table.asks;
    let (mut numbers, mut answers) = (request.numbers.to_vec(), Answers::default());
    for (number, ask) in numbers.iter_mut().zip(&asks.arguments) {
        let bits = number.cast_unsigned();
        let composite = request.arena.get(bits as u32 as usize);
        match *ask {
            Ask::Kept => {}
            Ask::Number(asked) => asks.number(asked, *number, &mut answers)?,
            Ask::Entity { checks: 0, .. } => {}
            Ask::Entity { checks, first, answers: own, .. } => asks.entity((checks, first, own), bits, &mut answers)?,
            Ask::Text(asked) => {
                let is_foreign = bits & FOREIGN_STRING != 0;
                let strings = if is_foreign { request.strings } else { bundle.store().strings };
                asks.text(asked, strings.get(bits as u32)?, &mut answers)?;
                *number = if is_foreign { NOT_KEPT } else { *number };
            }
            Ask::Address(asked) => {
                let address = composite.filter(|value| value.is(Tag::Ip4))?;
                let (bits, prefix) = (address.payload as u32, (address.payload >> 32) as u32);
                asks.ip4(asked, bits, prefix, &mut answers)?;
                *number = NOT_KEPT;
            }
            Ask::Set { elements, asked, .. } => {
                let (start, len) = (composite?.start() as usize, composite?.len() as usize);
                let own = request.arena.get(start..start + len)?;
                let principal = asks.principal.then_some(request.principal.bits());
                let found = |value: &Value| asks.element(elements, value.payload, principal);
                let found = own.iter().fold(0, |all, value| all | found(value));
                asks.set(asked, found, &mut answers)?;
                *number = if len == 0 { EMPTY_SET } else { NOT_KEPT };
            }
        }
    }
    Some((numbers, answers))
}

struct Requested<'a> {
    bundle: &'a Bundle,
    binding: &'a Binding,
    request: Request<'a>,
}

impl<'a> CheckInputs<'a> for Requested<'a> {
    fn checks(&self) -> &'a [Check] {
        self.binding.table.lines.checks()
    }

    fn code(&self) -> &'a [Instr] {
        self.bundle.code()
    }

    fn arguments(&self) -> Arguments<'a> {
        Arguments { numbers: self.request.numbers, arena: self.request.arena, strings: self.request.strings }
    }

    fn request(&self) -> Option<Request<'a>> {
        Some(self.request)
    }
}

fn check(counts: &RefCell<Counts>, policies: &[(bool, String)], absent: u8, dice: &[u64]) -> Result<(), TestCaseError> {
    let Some(bundle) = compiled(policies) else { return Err(TestCaseError::reject("not valid")) };
    let resource = if absent & 1 == 0 { "d1" } else { "d2" };
    check_gate(counts, policies, (&bundle, &bound(&bundle, absent)), resource, dice)
}

fn check_gate(
    counts: &RefCell<Counts>,
    policies: &[(bool, String)],
    (bundle, binding): (&Bundle, &Binding),
    resource: &str,
    dice: &[u64],
) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    let mut lifter = Lifter::new(bundle, binding, 1 << 16);
    let [x, y] = ["x", "y"].map(|text| bundle.find_string(text).map_or(FOREIGN_STRING | 3, u64::from));
    let mut both = [Value::string(x), Value::string(y)];
    both.sort_unstable_by_key(|value| value.key());
    let entity = |ty: &str, id: &str| bundle.find_entity(type_number(bundle, ty), id).unwrap();
    let user = |id: &str| bundle.find_entity(type_number(bundle, "User"), id).unwrap_or(entity("User", "u1"));
    let mut users = ["u1", "u2"].map(|id| Value::entity(user(id)));
    users.sort_unstable_by_key(|value| value.key());
    let arena = [
        Value::set(Arena::Request, 0, 0, true),
        Value::number(Tag::Long, 5),
        Value::set(Arena::Request, 1, 1, true),
        Value::ip4(0x7F00_0001, 32),
        Value::string(FOREIGN_STRING),
        Value::set(Arena::Request, 4, 1, true),
        both[0],
        both[1],
        Value::set(Arena::Request, 6, 2, true),
        Value::wide(1),
        Value::ip6(Arena::Request, 9, 128),
        Value::ip4(0x0A00_0000, 8),
        users[0],
        Value::set(Arena::Request, 12, 1, true),
        users[1],
        Value::set(Arena::Request, 14, 1, true),
        users[0],
        users[1],
        Value::set(Arena::Request, 16, 2, true),
    ];
    let strings = StringsView { offsets: &[0, 2, 4], bytes: "xzé".as_bytes() };
    let own = (entity("User", "u1"), entity("Doc", resource));
    let class = |entity: EntityRef| bundle.classes()[entity.index as usize];
    let classes = ClassPair { principal: class(own.0).principal, resource: class(own.1).resource };
    let found = binding.table.find(classes).filter(|_| bundle.meta().actions.len() == 1);
    let own_program = own_program(bundle, binding, classes);
    let mut rows = Vec::new();
    for chosen in dice.chunks_exact(binding.count) {
        let numbers: Vec<i64> = binding.types.iter().zip(chosen).map(|(ty, dice)| value(bundle, ty, *dice)).collect();
        let request = Request {
            principal: own.0,
            resource: own.1,
            numbers: &numbers,
            positions: &binding.positions,
            kinds: &binding.kinds,
            arena: &arena,
            strings,
        };
        for start in programs(bundle) {
            let mut program = Program::read(bundle.programs(), start).unwrap();
            let (forbids, all) = (program.forbids, program.forbids + program.permits);
            let (mut forbidden, mut permits) = (false, Vec::new());
            for at in 0..all {
                let residual = program.next().unwrap();
                let exact = applies(bundle, &residual, &request, &mut scratch);
                if exact && at < forbids {
                    forbidden = true;
                } else if exact {
                    permits.push(residual.policy);
                }
                // The policy, then each of its conjuncts alone.
                let mut parts = vec![(exact, lifter.cases(&residual))];
                for (start, len) in residual.conjuncts().unwrap() {
                    let (start, len) = (start as usize, len as usize);
                    let code = &bundle.code()[start..start + len];
                    let exact = Vm::new(bundle.store(), &request, &mut scratch).holds(code) == Ok(true);
                    parts.extend(lifter.cases_of(start, len).map(|cases| (exact, cases)));
                }
                let mut checked = |case: &Case| {
                    case.checks.iter().all(|wanted| {
                        let Check { code: (start, len), predicate, single, of_entity } =
                            &lifter.checks[usize::from(wanted.check)];
                        let code = &bundle.code()[*start as usize..(start + len) as usize];
                        let exact = Vm::new(bundle.store(), &request, &mut scratch).holds(code);
                        if let Some(predicate) = predicate {
                            let mut budget = BUDGET;
                            assert_eq!(predicate.holds(bundle.store(), &request, &mut budget), exact, "{policies:?}");
                            counts.borrow_mut().predicates += 1;
                        } else {
                            counts.borrow_mut().code += 1;
                        }
                        if let Some(of_entity) = of_entity
                            && let Some(result) = of_entity.result(&numbers)
                        {
                            let expected = exact.map_or(CheckResult::Error, CheckResult::Bool);
                            assert_eq!(result, expected, "{policies:?}");
                            counts.borrow_mut().by_entity += 1;
                        }
                        if let Some(single) = single
                            && let Some(holds) = single.holds(&numbers, &arena, request.strings, bundle.store().strings)
                        {
                            assert_eq!(Ok(holds), exact, "{policies:?}");
                            counts.borrow_mut().single += 1;
                        }
                        match exact {
                            Ok(found) => wanted.result.is_none_or(|wanted| wanted == found),
                            Err(Fault::Error) => false,
                            Err(fault) => panic!("{fault:?}"),
                        }
                    })
                };
                for (exact, cases) in &parts {
                    let holding: Vec<_> = cases.iter().filter(|case| case.holds(&numbers) && checked(case)).collect();
                    let certain = holding.iter().any(|case| !case.more);
                    prop_assert!(!exact || !holding.is_empty(), "{policies:?} {numbers:?}: {cases:?}");
                    prop_assert!(*exact || !certain, "{policies:?} {numbers:?}: {cases:?}");
                }
                let mut counts = counts.borrow_mut();
                counts.conjuncts += u32::try_from(parts.len() - 1).unwrap();
                if parts[0].1.iter().any(|case| case.more) { counts.left += 1 } else { counts.lifted += 1 }
            }
            let Some((at, cell)) = found.filter(|_| own_program == Some(start)) else { continue };
            rows.push((numbers.clone(), binding.table.decide(cell, &numbers)));
            let lines = &binding.table.lines;
            let answer = if cell >= FIRST_CODE {
                binding.table.decide(cell, &numbers)
            } else {
                let given = Requested { bundle, binding, request };
                let mut checks = CheckRunner::new(&given, bundle.store(), &mut scratch, Answers::default());
                lines.answer_with(cell, &numbers, &mut checks)
            };
            if let Some((numbers, answers)) = answered(bundle, binding, &request) {
                let again = if cell >= FIRST_CODE {
                    binding.table.decide(cell, &numbers)
                } else {
                    let given = Requested { bundle, binding, request: Request { numbers: &numbers, ..request } };
                    let mut checks = CheckRunner::new(&given, bundle.store(), &mut scratch, answers);
                    let again = lines.answer_with(cell, &numbers, &mut checks);
                    let without_running = lines.answer_known(cell, &numbers, &answers);
                    let by_checks = lines.answer_with(cell, &numbers, &mut answers.clone());
                    prop_assert_eq!(without_running, by_checks, "{:?} {:?}", policies, answers);
                    prop_assert!(without_running == NOT_RUN || without_running == again, "{without_running} {again}");
                    counts.borrow_mut().not_run += u32::from(without_running == again);
                    again
                };
                prop_assert_eq!(again, answer, "{:?} {:?}: {:?}", policies, request.numbers, answers);
                let mut counts = counts.borrow_mut();
                counts.by_answers += u32::from(answers.known != 0);
                counts.not_kept += u32::from(numbers != request.numbers);
            }
            if answer == WALK {
                counts.borrow_mut().walked += 1;
                continue;
            }
            counts.borrow_mut().answered += 1;
            counts.borrow_mut().by_grid += u32::from(cell >= FIRST_GRID);
            let expected = match (forbidden, permits.is_empty()) {
                (true, _) => Code::Forbid,
                (false, true) => Code::Default,
                (false, false) => Code::Allow,
            };
            prop_assert_eq!(answer, expected as u8, "{:?} {:?}", policies, numbers);
            if expected == Code::Allow && !(FIRST_CODE..FIRST_GRID).contains(&cell) {
                let table = &binding.table;
                let policy = if cell >= FIRST_GRID { table.policy(at) } else { table.lines.policy(cell) };
                prop_assert!(policy == NO_POLICY || permits == [policy], "{:?}: {} of {:?}", policies, policy, permits);
            }
        }
    }
    // Rows of one pair of classes are decided column by column.
    let columns: Vec<Vec<i64>> =
        (0..binding.count).map(|at| rows.iter().map(|(numbers, _)| numbers[at]).collect()).collect();
    let columns: Vec<Column<'_, i64>> = columns.iter().map(|column| Column::each(column)).collect();
    let mut codes = vec![WALK; rows.len()];
    if binding.table.decide_uniform(classes, &columns, 0, &mut codes) {
        let answers: Vec<u8> = rows.iter().map(|(_, answer)| *answer).collect();
        prop_assert_eq!(codes, answers, "{:?}", policies);
    } else {
        prop_assert!(
            found.is_none()
                || binding.count > MAX_VALUES
                || rows.is_empty()
                || rows.iter().any(|(_, answer)| *answer == WALK),
            "{policies:?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_lifted_decides_as_the_interpreter_does() {
    let counts = RefCell::new(Counts::default());
    let condition = prop_oneof![6 => truth(), 1 => inequality()];
    let policies = proptest::collection::vec((any::<bool>(), condition), 1..6);
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let inputs = (policies, any::<u8>(), proptest::collection::vec(any::<u64>(), 20 * 12));
    runner.run(&inputs, |(policies, absent, dice)| check(&counts, &policies, absent, &dice)).unwrap();
    let counts = counts.into_inner();
    println!("{counts:?}");
    assert!(counts.lifted > 4 * counts.left && counts.conjuncts > 10_000, "{counts:?}");
    assert!(counts.answered > 2 * counts.walked, "{counts:?}");
    assert!(counts.by_entity > 400 && counts.single > 500 && counts.predicates > 3_000, "{counts:?}");
    assert!(counts.by_answers > 1_000 && counts.not_kept > 1_000 && counts.not_run > 1_000, "{counts:?}");
}

#[test]
fn rows_of_one_pair_of_classes_are_decided_by_inequalities_of_two_columns() {
    // The second permit needs more than intervals and inequalities that forbid.
    for permit in ["context.a >= 0", "context.f"] {
        let policies = [
            (true, "context.a < 0 || context.a > 100 || context.b < 0 || context.b > 100"),
            (true, "context.a > context.b * 3"),
            (false, permit),
        ];
        let bundle = compiled(&policies.map(|(forbid, condition)| (forbid, condition.to_owned()))).unwrap();
        let binding = bound(&bundle, u8::MAX);
        let classes = ClassPair { principal: 1, resource: 1 };
        let rows: Vec<(i64, i64, i64)> = (-1..63).map(|n| (n * 7 % 103, n * 5 % 104, i64::from(n % 5 != 0))).collect();
        let place = |name: &str| binding.paths.iter().position(|path| *path[0] == *name).unwrap();
        let mut columns = vec![vec![0; rows.len()]; binding.count];
        for (row, &(a, b, f)) in rows.iter().enumerate() {
            (columns[place("a")][row], columns[place("b")][row], columns[place("f")][row]) = (a, b, f);
        }
        let allowed = |f: i64| if permit == "context.f" && f == 0 { Code::Default } else { Code::Allow };
        let decided = |&(a, b, f): &(i64, i64, i64)| match (a, b) {
            (0..=100, 0..=100) if a <= b * 3 => allowed(f) as u8,
            _ => Code::Forbid as u8,
        };
        let expected: Vec<u8> = rows.iter().map(decided).collect();
        for code in [Code::Allow, Code::Forbid] {
            assert!(expected.contains(&(code as u8)), "{code:?}: {expected:?}");
        }
        let laid_out: Vec<Column<'_, i64>> = columns.iter().map(|column| Column::each(column)).collect();
        let mut codes = vec![WALK; rows.len()];
        assert!(binding.table.decide_uniform(classes, &laid_out, 0, &mut codes), "{permit}");
        assert_eq!(codes, expected, "{permit}");
    }
}
