"""Mutants of values that are passed in one step with a decision, and of what they answer."""

from mutant import Mutant, Python, Rust

CHECKS = "engine/src/checks.rs"
PASSED = "engine/src/passed.rs"
ASKS = "engine/src/asks.rs"
ASKING = "engine/src/asking.rs"
ONE_STEP = Python("tests/embed/test_table_values.py::test_values_are_passed_and_decided_in_one_step")
CALLS = "engine/tests/calls.rs"
NOT_KEPT = Rust(CALLS, "values_that_are_not_kept_decide_what_they_do_if_they_are")
LEFT = Rust(CALLS, "values_that_are_not_kept_are_left_to_those_that_are_where_they_must_be")
CHANGED = Rust(CALLS, "a_change_of_an_entity_in_the_context_is_seen")
PROPERTY = Rust("engine/src/specialise/tests.rs", "what_is_lifted_decides_as_the_interpreter_does")

MUTANTS = (
    Mutant(
        "passed values: the middle of a text may be no UTF-8",
        "python/src/capi/passing.rs",
        "4..=8 => are_ends_ascii::<4>",
        "4..=16 => are_ends_ascii::<4>",
        ONE_STEP,
    ),
    Mutant(
        "passed values: an element of a set is not looked at as what it is",
        "python/src/capi/passing.rs",
        "(self.kind() == NUMBER).then_some(self.0.number)",
        "Some(self.0.number)",
        ONE_STEP,
    ),
    Mutant(
        "passed values: numbers of texts outlive their bundle",
        PASSED,
        "if self.generation() != generation || self.shared.is_forked() {",
        "if self.shared.is_forked() {",
        ONE_STEP,
    ),
    Mutant(
        "passed values: the kill switch is not looked at",
        PASSED,
        "self.shared.disquiet(self.snapshot.version) == 0 || self.is_newest_and_not_killed(session, resource);",
        "self.shared.version() == self.snapshot.version;",
        ONE_STEP,
    ),
    Mutant(
        "passed values: a number of another call is a text",
        PASSED,
        "u32::try_from(number).is_ok().then_some(number)",
        "Some(number)",
        ONE_STEP,
    ),
    Mutant(
        "passed values: an entity of any type is an element",
        PASSED,
        "Tag::Entity => entity_value(snapshot, element.number()?, number, ty)?,",
        "Tag::Entity => entity_value(snapshot, element.number()?, number, ty).unwrap_or_default(),",
        ONE_STEP,
    ),
    Mutant(
        "answers: a value is not kept, although a predicate asks for it",
        ASKING,
        "_ => kept.extend(places),",
        "_ => {}",
        PROPERTY,
    ),
    Mutant(
        "answers: a text is not kept, although it is compared with another one",
        ASKING,
        "let mut kept: BTreeSet<usize> = lines.summed().collect();",
        "let mut kept: BTreeSet<usize> = BTreeSet::new();",
        PROPERTY,
    ),
    Mutant(
        "answers: a set that must contain all of some elements contains one",
        ASKS,
        "if all { own == elements } else { own != 0 }",
        "own != 0",
        PROPERTY,
    ),
    Mutant(
        "answers: an error for an entity is a false",
        ASKING,
        "None => bit << ENTITY_CHECKS,",
        "None => 0,",
        PROPERTY,
    ),
    Mutant(
        "answers: a check that is an error is what is wanted",
        CHECKS,
        "& wanted.either | self.fails & wanted.checks == 0)",
        "& wanted.either == 0)",
        PROPERTY,
    ),
    Mutant(
        "answers: an unknown result is a false",
        CHECKS,
        "if wanted.checks & !self.known != 0 {",
        "if wanted.checks & !self.known == u64::MAX {",
        PROPERTY,
    ),
    Mutant(
        "answers: an unknown result is a false where no check is run",
        CHECKS,
        "        self.result(bit_of(check))\n",
        "        self.result(bit_of(check)).or(Some(CheckResult::Bool(false)))\n",
        PROPERTY,
    ),
    Mutant(
        "answers: every set of entities contains the principal",
        ASKS,
        "if principal == Some(payload) {",
        "if principal.is_some() {",
        PROPERTY,
    ),
    Mutant(
        "answers: those of an entity outlive its change",
        PASSED,
        "if checks != 0 && self.snapshot.changes.is_none() {",
        "if checks != 0 {",
        CHANGED,
    ),
    Mutant(
        "answers: the walk decides without the values",
        PASSED,
        "if by_answers.needs_values { None } else { Some(leave(code)) }",
        "Some(leave(code))",
    ),
    Mutant(
        "answers: a set that is not kept is empty",
        PASSED,
        "                    number = NOT_KEPT;\n",
        "",
        NOT_KEPT,
    ),
    Mutant(
        "answers: numbers of texts outlive their bundle",
        PASSED,
        "if snapshot.loaded.generation != generation {",
        "if snapshot.loaded.generation == u64::MAX {",
        LEFT,
    ),
    Mutant(
        "answers: the kill switch is not looked at",
        PASSED,
        "!= 0 && !self.may_be_passed(session, resource) {",
        "!= 0 && self.shared.version() != self.snapshot.version {",
        LEFT,
    ),
    Mutant(
        "answers: something is killed, and a call is under way",
        "engine/src/gate.rs",
        "            && self.call == Call::None\n            && self.has_table()\n",
        "            && self.has_table()\n",
        LEFT,
    ),
    Mutant(
        "answers: a number of another call is a text",
        PASSED,
        "u32::try_from(number).ok().map(i64::from)",
        "Some(number)",
        LEFT,
    ),
    Mutant(
        "answers: an address of IPv6 is one of IPv4",
        PASSED,
        "if is_v6 || prefix > 32 {",
        "if prefix > 32 + 96 * u8::from(is_v6) {",
        LEFT,
    ),
)
