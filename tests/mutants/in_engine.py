"""Mutants of the engine, besides its hot path, batches and mailboxes."""

from mutant import Mutant, Python, Rust

MUTANTS = (
    Mutant(
        "a dropped presence test: what is not there is in every range",
        "engine/src/decide.rs",
        ".is_some_and(|number| test.holds(number))",
        ".is_none_or(|number| test.holds(number))",
    ),
    Mutant(
        "hot: what is not there is in every range",
        "engine/src/hot.rs",
        ".is_some_and(|&number| test.holds(number))",
        ".is_none_or(|&number| test.holds(number))",
    ),
    Mutant(
        "rank off by one: the cell before, in rows",
        "engine/src/layers.rs",
        "(bitmap.differ & (bit - 1)).count_ones()",
        "(bitmap.differ & ((bit - 1) >> 1)).count_ones()",
    ),
    Mutant(
        "sets: the last word of a block is not looked at",
        "engine/src/sets.rs",
        "while let Some(word) = self.block.get_mut(self.next) {",
        "while let Some(word) = self.block.get_mut(self.next).filter(|_| self.next + 1 < BLOCK_WORDS) {",
        Rust("engine/tests/simd.rs", "each_policy_of_a_block_is_looked_at"),
    ),
    Mutant(
        "layers: a permit of another layer ends the forbids of this one",
        "engine/src/decide.rs",
        "if plan.forbid == 0 && (verdict.code == Code::Forbid || (!N::ALL && verdict.code == Code::Allow)) {",
        "if verdict.code == Code::Forbid && plan.forbid == 0 || (!N::ALL && verdict.code == Code::Allow) {",
    ),
    Mutant(
        "unknown entities of a type are all the same one",
        "engine/src/request.rs",
        "foreign: FIRST_FOREIGN.checked_add(place)? })",
        "foreign: FIRST_FOREIGN.checked_add(place.min(0))? })",
    ),
    Mutant(
        "a change does not reach those below the changed entity",
        "engine/src/upsert.rs",
        "for child in self.children(entity) {\n                if known.insert(child) {",
        "for child in self.children(entity) {\n                if known.contains(&child) && known.insert(child) {",
    ),
    Mutant(
        "a change does not reach those whose conditions look through the changed entity",
        "engine/src/upsert.rs",
        "for _ in 0..self.loaded.bundle.meta().reach {",
        "for _ in 0..self.loaded.bundle.meta().reach.min(0) {",
    ),
    Mutant(
        "a batch goes by the snapshot of a call that was begun",
        "engine/src/gate.rs",
        "let snapshot = self.shared.snapshot();\n        let binding = if",
        "let snapshot = if self.call == Call::None { self.shared.snapshot() } else { self.snapshot.clone() };\n"
        "        let binding = if",
    ),
    Mutant(
        "a call is decided though one of its texts found no room",
        "engine/src/gate.rs",
        "        if number.is_none() {\n            self.fail(Code::TooLarge);",
        "        if number.is_none() && text.is_empty() {\n            self.fail(Code::TooLarge);",
    ),
    Mutant(
        "an argument takes an entity of any type",
        "engine/src/snapshot.rs",
        "if self.type_of(entity) == Some(number) { Ok(entity) } else { Err(EntityError::WrongType) }",
        "if self.type_of(entity).is_some_and(|_| number < u32::MAX) { Ok(entity) } else { Err(EntityError::WrongType) }",
    ),
    Mutant(
        "the table of a gate is not locked",
        "engine/src/snapshot.rs",
        "binding.table.hold(self.residence)?;",
        "binding.table.hold(Residence { locked: false, ..self.residence })?;",
        Rust("engine/tests/tails.rs", "gates_tables_are_locked_and_each_is_counted_once"),
    ),
    Mutant(
        "a gate for whose table there is no memory is made stale by a swap",
        "engine/src/engine.rs",
        "Err(PrepareError::Memory(refused)) => Err(EngineError::Memory(refused)),",
        "Err(PrepareError::Memory(refused)) if refused.to_string().is_empty() => Err(EngineError::Memory(refused)),",
        Python(
            "tests/faults/test_tails.py"
            "::test_a_swap_for_whose_gates_no_memory_can_be_locked_is_refused_and_leaves_them_as_they_are"
        ),
    ),
    Mutant(
        "equal sets and records of a request lie apart, and are not equal",
        "engine/src/request.rs",
        "        if !fresh {\n            return composites",
        "        if !fresh && parts.is_empty() {\n            return composites",
        Python("tests/properties/test_values_in_contexts.py"),
    ),
    Mutant(
        "large contexts take time by the square of their size",
        "engine/src/request.rs",
        "let hash = self.keys.hash_one(of);",
        "let hash = self.keys.hash_one(of) & 1;",
        Python("tests/faults/test_large_contexts.py::test_a_hundred_thousand_elements_are_decided_at_once"),
    ),
    Mutant(
        "a name with points says the first of two attributes",
        "engine/src/binding.rs",
        "if let Some(other) = found.next() {",
        "if let Some(other) = found.next().filter(|_| known.is_empty()) {",
        Python("tests/api/test_names.py"),
    ),
    Mutant(
        "a forked child is not told apart",
        "engine/src/shared.rs",
        "ztfast_pages::nonce() != self.process",
        "ztfast_pages::nonce() != self.process && self.process == 0",
        Python("tests/faults/test_fork.py"),
    ),
)
