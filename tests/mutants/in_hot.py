"""Mutants of the hot path: `hot.rs`."""

from mutant import Mutant, Python, Rust

HOT = "engine/src/hot.rs"

MUTANTS = (
    Mutant(
        "hot: of a condition's ranges the first alone is looked at",
        HOT,
        "    tests.all(|test| {",
        "    tests.next().is_none_or(|test| {",
        Rust("engine/tests/batches.rs", "conditions_over_two_arguments_hold_where_both_do"),
    ),
    Mutant(
        "hot: what the first layer allows no other layer forbids",
        HOT,
        "Step::SoFar(code) if others.is_empty() => code,",
        "Step::SoFar(code) if others.is_empty() || code == Code::Allow => code,",
    ),
    Mutant(
        "hot: the last layer is not looked at",
        HOT,
        "if at + 1 == binding.layers.len() {",
        "if at + 2 >= binding.layers.len() {",
    ),
    Mutant(
        "hot: the slow path goes on behind the layer that asks for it",
        HOT,
        "Step::SlowPath => return self.slow_path(entities, values, at, code, sink),",
        "Step::SlowPath => return self.slow_path(entities, values, at + 1, code, sink),",
    ),
    Mutant(
        "hot: the slow path forgets what the layers before it said",
        HOT,
        "resume(code, &mut memory.scratch, sink)",
        "resume(if code == Code::Allow { Code::Default } else { code }, &mut memory.scratch, sink)",
    ),
    Mutant(
        "hot: the policies that the ranges noted are noted again by the slow path",
        HOT,
        "        sink.clear();\n        let request",
        "        let request",
    ),
    Mutant(
        "hot: fewer values than the gate has attributes are decided on",
        "engine/src/gate.rs",
        "if values.len() != self.count {",
        "if values.len() > self.count || self.binding.is_none() {",
        Python("tests/embed/test_table.py::test_what_is_missing_denies"),
    ),
    Mutant(
        "hot: fewer values than the gate has attributes are decided on, on the slow path",
        HOT,
        "        if values.len() != binding.count {\n            return Code::Corrupt;\n        }\n        let Some(layers)",
        "        if values.len() > binding.count {\n            return Code::Corrupt;\n        }\n        let Some(layers)",
        Python("tests/embed/test_table.py::test_what_is_missing_denies_where_more_than_ranges_is_asked"),
    ),
    Mutant(
        "hot: a cell that forbids is not heard where a layer before it allowed",
        HOT,
        "            _ => Step::Known(Code::Forbid),",
        "            _ => if code == Code::Allow { Step::SoFar(code) } else { Step::Known(Code::Forbid) },",
    ),
    Mutant(
        "hot: a forbid's ranges are not looked at where a layer before it allowed",
        HOT,
        "for _ in 0..program.forbids {\n        let Some(entry) = program.next() else { return Step::Known(Code::Corrupt) };\n"
        "        if pass(",
        "for _ in 0..program.forbids {\n        let Some(entry) = program.next() else { return Step::Known(Code::Corrupt) };\n"
        "        if (N::ALL || code != Code::Allow) && pass(",
    ),
    Mutant(
        "hot: permits stand among the reasons of a forbid",
        HOT,
        "if code != Code::Forbid {\n                sink.clear();",
        "if code == Code::Default {\n                sink.clear();",
    ),
    Mutant(
        "hot: a permit applies though only its ranges pass",
        HOT,
        "if entry.has_conjuncts() {\n                return Step::SlowPath;\n            }\n            code = Code::Allow;",
        "code = Code::Allow;",
    ),
    Mutant(
        "hot: a gate notices swaps, and not the kill switch",
        HOT,
        "(self.shared.disquiet(self.expected) == 0).then_some(QuietGate(self))",
        "(self.shared.version() == self.expected).then_some(QuietGate(self))",
        Python("tests/api/test_kill_switch.py"),
    ),
    Mutant(
        "hot: a gate that names policies notices swaps, and not the kill switch",
        HOT,
        "let code = if self.shared.disquiet(self.expected) == 0 {",
        "let code = if self.shared.version() == self.expected {",
        Python("tests/api/test_kill_switch.py"),
    ),
    Mutant(
        "hot: where a gate is not quiet, it decides as if it were",
        HOT,
        "let code = self.catch_up_and_decide(session, resource, values, &mut EffectOnly);",
        "let code = self.decide_now(session, resource, values, &mut EffectOnly);",
        Python("tests/api/test_kill_switch.py"),
    ),
)
