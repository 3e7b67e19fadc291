"""Mutants of strict errors: forbids that deny where they err."""

from mutant import Mutant, Python, Rust

ERRORS = "compile/src/errors.rs"
PLAN = "compile/src/plan.rs"
# What Cedar evaluates, which the fuzzer's policies never need.
ERRING = "compile/src/erring.rs"
NOT_NAMED = Python("tests/api/test_strict_errors.py::test_conditions_that_no_entity_makes_err_are_not_named")
BY_CEDAR = Python("tests/api/test_strict_errors.py::test_an_error_before_a_condition_that_cedar_decides_counts")

MUTANTS = (
    Mutant(
        "strict errors: an error of a condition on one side alone is dropped",
        PLAN,
        "tables).map(|plan| Plan { erred: true, ..plan }));",
        "tables).filter(|plan| plan.rest.1 > 0).map(|plan| Plan { erred: true, ..plan }));",
    ),
    Mutant(
        "strict errors: an error counts although a condition before is false",
        PLAN,
        "erring.push([&conjuncts[..at], &own].concat());",
        "erring.push(own);",
    ),
    Mutant(
        "strict errors: an error counts only where the conditions behind are true",
        PLAN,
        "erring.push([&conjuncts[..at], &own].concat());",
        "erring.push([&conjuncts[..at], conjuncts.get(at + 1..).unwrap_or_default(), &own].concat());",
    ),
    Mutant(
        "strict errors: the errors of a long policy's last conditions are dropped",
        PLAN,
        "vec![vec![fails(all(rest))]]",
        "if rest.len() > conjuncts.len() { vec![vec![fails(all(rest))]] } else { Vec::new() }",
        Python(
            "tests/api/test_strict_errors.py::test_a_long_chain_of_conditions_that_may_err_is_decided_as_a_short_one"
        ),
    ),
    Mutant(
        "strict errors: before Cedar is asked, a condition that errs rules the policy out",
        PLAN,
        "let narrowed = [&conjuncts[..certain.min(opaque)], ",
        "let narrowed = [&conjuncts[..opaque.max(certain.min(opaque))], ",
        BY_CEDAR,
    ),
    Mutant(
        "strict errors: a policy is satisfied in the cells in which it errs",
        PLAN,
        "(self.number(), self.rest)",
        "(self.policy, self.rest)",
        Python("tests/api/test_strict_errors.py::test_no_proof_lifts_a_forbid_that_erred"),
    ),
    Mutant(
        "strict errors: the right operand of || is evaluated where the left one is true",
        ERRORS,
        "let test = if value { test.clone() } else { not(test.clone()) };",
        "let test = if value || matches!(test, Expr::Datum(_)) { test.clone() } else { fails(fails(test.clone())) };",
    ),
    Mutant(
        "strict errors: an attribute is there if `has` says anything",
        ERRORS,
        "Expr::HasAttr(subject, path) if value == Some(true) => {",
        "Expr::HasAttr(subject, path) if value == Some(true) || value == Some(false) => {",
        Python("tests/api/test_strict_errors.py::test_a_forbid_denies_where_cedars_evaluation_errs"),
    ),
    Mutant(
        "strict errors: one operand of && that is false says that the other was evaluated",
        ERRORS,
        "if value == Some(both) {\n                    self.learn(b, value);",
        "if value.is_some() {\n                    self.learn(b, value);",
    ),
    Mutant(
        "strict errors: what is known of one branch is known behind it",
        ERRORS,
        "self.known.truncate(before);\n        let test",
        "let test",
    ),
    Mutant(
        "strict errors: operands of policies that were not validated have the right types",
        ERRORS,
        "if self.validated {\n            return true;",
        "if self.validated || self.context.len() < usize::MAX {\n            return true;",
    ),
    Mutant(
        "strict errors: attributes of the context that may be absent never are",
        ERRORS,
        "let required = self.fields(record)?.get(name)?.required;",
        "let required = self.fields(record)?.get(name)?.required || !self.context.is_empty();",
    ),
    Mutant(
        "strict errors: the least number has an opposite",
        ERRORS,
        "LEAST + 1, MOST, Datum::Long",
        "LEAST, MOST, Datum::Long",
    ),
    Mutant(
        "strict errors: a product with a negative number exceeds nothing",
        ERRORS,
        "a.min(b), a.max(b), Datum::Long",
        "a, b, Datum::Long",
    ),
    Mutant(
        "strict errors: a difference has the bounds of a sum",
        ERRORS,
        "i128::from(*c) - MOST, i128::from(*c) - LEAST, Datum::Long",
        "LEAST - i128::from(*c), MOST - i128::from(*c), Datum::Long",
    ),
    Mutant(
        "strict errors: a number above the bounds exceeds nothing",
        ERRORS,
        "below.into_iter().chain(above)",
        "below.into_iter().chain(above.filter(|_| low > high))",
    ),
    Mutant(
        "strict errors: a box ignores what code fails by",
        "engine/src/lift.rs",
        "then_some(Entry { symbol: Symbol::Opaque, ",
        "then_some(Entry { symbol: Symbol::Known(Value::bool(false)), ",
    ),
    Mutant(
        "strict errors: values of an evaluation that failed stay on the stack",
        "vm/src/interpreter.rs",
        "self.depth = 0;\n        self.push(Value::bool(true))?;",
        "self.push(Value::bool(true))?;",
        Rust("vm/src/interpreter.rs", "an_error_before_it_is_told_and_one_behind_it_is_one"),
    ),
    Mutant(
        "strict errors: an exhausted budget is an error like any other",
        "vm/src/interpreter.rs",
        ".filter(|_| fault == Fault::Error).ok_or(fault)?",
        ".ok_or(fault)?",
        Rust("vm/src/interpreter.rs", "an_error_before_it_is_told_and_one_behind_it_is_one"),
    ),
    Mutant(
        "strict errors: a proof lifts a forbid that erred",
        "engine/src/decide.rs",
        "let mark = if answer.erred { ERRED } else { 0 };",
        "let mark = if answer.erred && answer.allow { ERRED } else { 0 };",
        Python("tests/api/test_strict_errors.py::test_no_proof_lifts_a_forbid_that_erred"),
    ),
    Mutant(
        "strict errors: explanations skip forbids that erred",
        "cedar/src/authorizer.rs",
        "if erred.is_empty() {",
        "if erred.is_empty() || !answer.allow {",
    ),
    Mutant(
        "errors that are found: conditions before one do not matter",
        ERRING,
        "let all: Vec<u32> = before.iter().copied()",
        "let all: Vec<u32> = before.iter().take(0).copied()",
        NOT_NAMED,
    ),
    Mutant(
        "errors that are found: a condition that is false does not rule one out",
        ERRING,
        "(false, false, false) => return,",
        "(false, false, false) => conditional = true,",
        NOT_NAMED,
    ),
    Mutant(
        "errors that are found: entities that the store lacks count",
        ERRING,
        "if class != 0 && record.flags & PRESENT != 0 {",
        "if class != 0 && record.flags <= u32::MAX {",
        Python("tests/api/test_strict_errors.py::test_errors_of_policies_that_were_not_validated_are_named"),
    ),
    Mutant(
        "errors that are found: the scope does not matter",
        ERRING,
        "let mut asked = selector(scope, tables);",
        "let mut asked = selector(if conditional { scope } else { &ztfast_cedar::ir::Scope::Any }, tables);",
        Python("tests/api/test_strict_errors.py::test_scopes_and_actions_say_who_is_concerned"),
    ),
    Mutant(
        "errors that are found: what is looked at stays in the bundle",
        ERRING,
        "tables.truncate(&sizes);",
        "tables.truncate(&tables.sizes().map(|size| size.max(sizes[0])));",
        Python("tests/api/test_strict_errors.py::test_finding_errors_changes_nothing_and_a_base_does_not_repeat_them"),
    ),
    Mutant(
        "errors that are found: the largest part of the text is shown",
        "cedar/src/erring.rs",
        "min_by_key(|label| label.len)",
        "max_by_key(|label| label.len)",
        Python("tests/api/test_strict_errors.py::test_errors_of_constants_are_shown_where_they_are"),
    ),
)
