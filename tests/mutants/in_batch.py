"""Mutants of batches, `batch.rs`, `row_arguments.rs` and `columns.rs`; and of the exit, `exit.rs`."""

from mutant import Mutant, Python, Rust

BATCH = "engine/src/batch.rs"
ARGUMENTS = "engine/src/row_arguments.rs"
EXIT = "engine/src/exit.rs"
ONE = Python("tests/api/test_decide.py::test_columns_of_one_session_and_resource_are_decided_as_single_rows")
MEANWHILE = Rust("engine/tests/batches.rs", "what_happens_meanwhile_is_seen_by_the_rows_that_are_left")
UNIFORM = Rust("engine/tests/batches.rs", "conditions_over_two_arguments_hold_without_a_table")
LACKING = Rust("engine/tests/batches.rs", "rows_that_a_column_lacks_are_corrupt")

MUTANTS = (
    Mutant(
        "batch: a last chunk that is not full is not decided",
        BATCH,
        "for (number, out) in out.chunks_mut(ROWS).enumerate() {\n            let (first",
        "for (number, out) in out.chunks_exact_mut(ROWS).enumerate() {\n            let (first",
    ),
    Mutant(
        "batch: each chunk is of the first chunk's rows",
        BATCH,
        "let (first, codes) = (number * ROWS,",
        "let (first, codes) = (number.min(0) * ROWS,",
        ONE,
    ),
    Mutant(
        "batch: refused rows of each chunk are the first chunk's",
        BATCH,
        "self.look_up(principals, resources, self.shared.now_ns(), number * ROWS, codes, &mut chunk);",
        "self.look_up(principals, resources, self.shared.now_ns(), number.min(0) * ROWS, codes, &mut chunk);",
        Rust("engine/tests/batches.rs", "rows_that_are_refused_are_each_of_their_own_session"),
    ),
    Mutant(
        "batch: the clock is read once",
        BATCH,
        "for (number, out) in out.chunks_mut(ROWS).enumerate() {\n"
        "            let (first, codes) = (number * ROWS, codes.get_mut(..out.len()).unwrap_or_default());\n"
        "            let now_ns = self.shared.now_ns();",
        "let began_ns = self.shared.now_ns();\n        for (number, out) in out.chunks_mut(ROWS).enumerate() {\n"
        "            let (first, codes) = (number * ROWS, codes.get_mut(..out.len()).unwrap_or_default());\n"
        "            let now_ns = began_ns;",
        MEANWHILE,
    ),
    Mutant(
        "batch: a session for all rows is looked up once",
        BATCH,
        "for (number, out) in out.chunks_mut(ROWS).enumerate() {\n"
        "            let (first, codes) = (number * ROWS, codes.get_mut(..out.len()).unwrap_or_default());\n"
        "            let now_ns = self.shared.now_ns();\n            // A row that a column lacks must not be decided at all.\n"
        "            if let Some(resource) = resource\n"
        "                && columns.iter().all(|column| column.covers(first, codes.len()))\n            {\n"
        "                let principal = self.principal(principals, first, now_ns, self.is_killed(now_ns));\n",
        "let began = self.principal(principals, 0, self.shared.now_ns(), self.is_killed(self.shared.now_ns()));\n"
        "        for (number, out) in out.chunks_mut(ROWS).enumerate() {\n"
        "            let (first, codes) = (number * ROWS, codes.get_mut(..out.len()).unwrap_or_default());\n"
        "            let now_ns = self.shared.now_ns();\n            if let Some(resource) = resource\n"
        "                && columns.iter().all(|column| column.covers(first, codes.len()))\n            {\n"
        "                let principal = began;\n",
        MEANWHILE,
    ),
    Mutant(
        "batch: the kill switch is looked at once, where rows differ in their arguments only",
        BATCH,
        "self.principal(principals, first, now_ns, self.is_killed(now_ns));\n"
        "                let mut principal = principal.unwrap_or(Err(Code::Corrupt));\n"
        "                if self.shared.kills_some() {",
        "self.principal(principals, first, now_ns, first == 0 && self.is_killed(now_ns));\n"
        "                let mut principal = principal.unwrap_or(Err(Code::Corrupt));\n"
        "                if first == 0 && self.shared.kills_some() {",
        MEANWHILE,
    ),
    Mutant(
        "batch: kills of entities are looked at once, where rows differ in their arguments only",
        BATCH,
        "                if self.shared.kills_some() {",
        "                if first == 0 && self.shared.kills_some() {",
        MEANWHILE,
    ),
    Mutant(
        "batch: the kill switch is looked at once",
        BATCH,
        "let killed = self.is_killed(now_ns);",
        "let killed = first == 0 && self.is_killed(now_ns);",
        MEANWHILE,
    ),
    Mutant(
        "batch: a row that a column lacks is decided as if its argument passed no test",
        BATCH,
        "\n                && columns.iter().all(|column| column.covers(first, codes.len()))",
        "",
        LACKING,
    ),
    Mutant(
        "batch: a row that a column lacks is decided by the argument of another row",
        ARGUMENTS,
        "let mut value = column.get(first + row).ok_or(Code::Corrupt);",
        "let mut value = column.get(first + row).or(column.get(0)).ok_or(Code::Corrupt);",
        LACKING,
    ),
    Mutant(
        "batch: a column covers a row more than it has",
        "engine/src/columns.rs",
        "last < self.data.len()",
        "last <= self.data.len()",
        LACKING,
    ),
    Mutant(
        "batch: the arguments are taken column by column for row by row",
        ARGUMENTS,
        "chunk.values.get_mut(row * width + place)",
        "chunk.values.get_mut(place * crate::rows::ROWS + row)",
    ),
    Mutant(
        "batch: the first permit of rows that differ in their arguments only forbids",
        BATCH,
        "let code = if at < forbids {",
        "let code = if at <= forbids {",
        UNIFORM,
    ),
    Mutant(
        "batch: a permit outdoes a forbid in rows that differ in their arguments only",
        BATCH,
        "*decided = if holds { (*decided).max(code as u8) } else { *decided };",
        "*decided = if holds { code as u8 } else { *decided };",
        UNIFORM,
    ),
    Mutant(
        "batch: what came after the batch's snapshot is another's",
        BATCH,
        "if !self.snapshot.loaded.uids.is_newest() {\n                self.look_up_in",
        "if !self.snapshot.loaded.uids.is_newest() && codes.is_empty() {\n                self.look_up_in",
        Rust("engine/tests/releases.rs", "what_came_later_is_unknown_to_an_older_snapshot"),
    ),
    Mutant(
        "batch: equal texts of two columns have two numbers",
        BATCH,
        "if let Some(&known) = self.texts.get(text) {",
        "if let Some(&known) = self.texts.get(text).filter(|_| text.is_empty()) {",
        Python("tests/api/test_decide.py::test_equal_texts_in_two_columns_are_equal"),
    ),
    Mutant(
        "batch: a bad value hides that the session is none",
        BATCH,
        "codes.iter_mut().filter(|code| **code == UNDECIDED).for_each(",
        "codes.iter_mut().for_each(",
        Python("tests/api/test_values.py::test_a_bad_value_denies_and_hides_nothing_worse"),
    ),
    Mutant(
        "batch: a forbid of one layer is forgotten by the next",
        BATCH,
        "if decided[row] == Code::Forbid {\n                    continue;",
        "if decided[row] == Code::Forbid {\n                    decided[row] = Code::Default;",
    ),
    Mutant(
        "batch: rows leave before the entities of all rows were looked at",
        BATCH,
        "if !self.fits(binding, columns, out.len()) {",
        "if !self.fits(binding, columns, out.len().min(ROWS)) {",
        Rust("engine/tests/batches.rs", "no_row_leaves_if_a_later_one_has_an_entity_of_a_wrong_type"),
    ),
    Mutant(
        "exit: a row that no path decided keeps its byte",
        EXIT,
        "*decision = if code <= LAST {",
        "*decision = if code <= UNDECIDED {",
        Rust("engine/src/exit.rs", "rows_that_no_path_decided_are_corrupt"),
    ),
    Mutant(
        "exit: a denial may allow",
        "engine/src/evaluate.rs",
        "leave(if matches!(code, Code::Allow) { Code::Corrupt } else { code })",
        "leave(code)",
        Rust("engine/tests/calls.rs", "a_denial_never_allows"),
    ),
)
