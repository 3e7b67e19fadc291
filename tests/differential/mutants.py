"""Whether the tests bite: ``make mutants``.

Each mutant is our own code with one mistake in it, of a kind that is easily made, or that was made once. A copy of the project
is built with it, and the fuzzer, or the tests that are named for it, must find it; one that is not found makes this fail. Words
as arguments choose mutants by their names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutants"
# A folder of builds of its own: Cargo takes files for the same that lie at the same place of two workspaces.
TARGET = ROOT / "src_ext" / "target" / "mutants"
ENVIRONMENT = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "PYO3_PYTHON": sys.executable, "PYTHONPATH": str(COPY)}
SECONDS = 60


def cargo(*arguments: str) -> list[str]:
    """A command of Cargo's over the copy."""
    name, *rest = arguments
    return ["cargo", name, "--locked", "--quiet", "--manifest-path", str(COPY / "src_ext" / "Cargo.toml"), *rest]


class Fuzzer:
    """The fuzzer finds it, within a minute."""

    def build(self) -> None:
        """Build it."""
        subprocess.run(cargo("build", "-p", "ztfast-fuzz"), env=ENVIRONMENT, check=True)

    def finds(self) -> bool:
        """Run it."""
        fuzzer, failures = TARGET / "debug" / "ztfast-fuzz", COPY / "failures"
        command = [fuzzer, "--seconds", str(SECONDS), "--first", "--failures", failures]
        return subprocess.run(command, capture_output=True, check=False).returncode == 1


FUZZER = Fuzzer()


@dataclass(frozen=True)
class Rust:
    """A test in Rust finds it."""

    package: str
    test: str

    def build(self) -> None:
        """Build the package's tests."""
        subprocess.run(cargo("test", "--no-run", "-p", self.package), env=ENVIRONMENT, check=True)

    def finds(self) -> bool:
        """Run the test."""
        command = cargo("test", "-p", self.package, self.test)
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False).returncode != 0


@dataclass(frozen=True)
class Python:
    """Tests in Python find it, by failing or by the end of the process."""

    tests: tuple[str, ...]

    def build(self) -> None:
        """Build the modules, and put them into the copy."""
        subprocess.run(cargo("build", "-p", "ztfast-python"), env=ENVIRONMENT, check=True)
        library = next(path for path in (TARGET / "debug").glob("lib*.*") if path.suffix in (".so", ".dylib"))
        shutil.copyfile(library, COPY / "ztfast" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}")
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=COPY, env=ENVIRONMENT, capture_output=True, check=True)

    def finds(self) -> bool:
        """Run the tests."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *self.tests]
        status = subprocess.run(command, cwd=COPY, env=ENVIRONMENT, capture_output=True, check=False).returncode
        return status == 1 or status < 0


@dataclass(frozen=True)
class Mutant:
    """A mistake: in ``file``, ``new`` where ``old`` stood. Files of Rust are named from src_ext."""

    name: str
    file: str
    old: str
    new: str
    finder: Fuzzer | Rust | Python = FUZZER


MUTANTS = (
    Mutant(
        "two-valued ||: an error on its left is a false",
        "vm/src/interpreter.rs",
        "if let Some(target) = self.step(op, instr.imm)? {",
        """let stepped = match self.step(op, instr.imm) {
                Err(Fault::Error) => {
                    let rest = code.get(at..).unwrap_or_default();
                    let or_else = rest.iter().position(|instr| instr.op == Op::OrElse as u8);
                    at += or_else.ok_or(Fault::Error)? + 1;
                    None
                }
                stepped => stepped?,
            };
            if let Some(target) = stepped {""",
    ),
    Mutant(
        "a dropped presence test: what is not there is in every range",
        "engine/src/decide.rs",
        ".is_some_and(|number| test.holds(number))",
        ".is_none_or(|number| test.holds(number))",
    ),
    Mutant(
        "a dropped presence test: `has` of an attribute of the context holds always",
        "vm/src/interpreter.rs",
        "Cell::bool(self.request.number(imm).is_some())",
        "Cell::bool(self.request.number(imm).is_some() || imm < u32::MAX)",
    ),
    Mutant(
        "dropped action ancestors: an action is in no group",
        "compile/src/plan.rs",
        "*uid == action.uid || action.ancestors.contains(uid)",
        "*uid == action.uid",
    ),
    Mutant(
        "unordered errors: the operands of && and || in another order",
        "cedar/src/lower.rs",
        "Some(right) => join(Arc::new(left), Arc::new(right)),",
        "Some(right) => join(Arc::new(right), Arc::new(left)),",
    ),
    Mutant(
        "off by one at a range's edge: < is <=",
        "compile/src/ranges.rs",
        "most.checked_sub(i64::from(strict))",
        "most.checked_sub(i64::from(strict && most < 0))",
    ),
    Mutant(
        "off by one at a range's edge: the least number is outside",
        "bundle/src/records.rs",
        "self.low <= number && number <= self.high",
        "self.low < number && number <= self.high",
    ),
    Mutant(
        "rank off by one: the cell before, in rows",
        "engine/src/decide.rs",
        "(mark.differ & (bit - 1)).count_ones()",
        "(mark.differ & ((bit - 1) >> 1)).count_ones()",
    ),
    Mutant(
        "sets: the last word of a block is not looked at",
        "engine/src/sets.rs",
        "while let Some(word) = self.block.get_mut(self.next) {",
        "while let Some(word) = self.block.get_mut(self.next).filter(|_| self.next + 1 < BLOCK_WORDS) {",
    ),
    Mutant(
        "layers: a permit of another layer ends the forbids of this one",
        "engine/src/decide.rs",
        "if plan.forbid == 0 && (tally.code == Code::Forbid || (!N::ALL && tally.code == Code::Allow)) {",
        "if tally.code == Code::Forbid && plan.forbid == 0 || (!N::ALL && tally.code == Code::Allow) {",
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
        "for _ in 0..self.base.bundle.meta().reach {",
        "for _ in 0..self.base.bundle.meta().reach.min(0) {",
    ),
    Mutant(
        "explanations do without tags",
        "explain/src/store.rs",
        "tags: fields(facts.tags)?",
        "tags: fields(facts.tags).map(|_| Vec::new())?",
    ),
    Mutant(
        "sessions of another engine: ids have nothing that cannot be guessed",
        "engine/src/sessions.rs",
        "let tag = spare.random.next()? & !self.mask & !STATUS_MASK;",
        "let tag = (spare.random.next()? & 0 | 1 << 40) & !self.mask & !STATUS_MASK;",
    ),
    Mutant(
        "handles of another engine: all engines have one key",
        "engine/src/handles.rs",
        "Ok(Self(getrandom::u64()? >> 1))",
        "Ok(Self(getrandom::u64()? >> 63 >> 1))",
    ),
    Mutant(
        "a batch goes by the snapshot of a call that was begun",
        "engine/src/gate.rs",
        "let snapshot = self.engine.snapshot();\n        let binding = if",
        "let snapshot = if self.call == Call::None { self.engine.snapshot() } else { self.snapshot.clone() };\n"
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
        "if self.type_of(entity) == Some(number) { Ok(entity) } else { Err(NoEntity::Type) }",
        "if self.type_of(entity).is_some_and(|_| number < u32::MAX) { Ok(entity) } else { Err(NoEntity::Type) }",
    ),
    Mutant(
        "equal sets and records of a request lie apart, and are not equal",
        "engine/src/request.rs",
        "        if !fresh {\n            return composites",
        "        if !fresh && parts.is_empty() {\n            return composites",
        Python(("tests/properties/test_values_in_contexts.py",)),
    ),
    Mutant(
        "large contexts take time by the square of their size",
        "engine/src/request.rs",
        "let hash = self.keys.hash_one(of);",
        "let hash = self.keys.hash_one(of) & 1;",
        Python(("tests/faults/test_large_contexts.py", "-k", "hundred_thousand")),
    ),
    Mutant(
        "a set is read before it is known to have room",
        "python/src/context.rs",
        "        self.charge(py, &path, size.saturating_mul(EACH))?;\n",
        "",
        Python(("tests/faults/test_large_contexts.py", "-k", "sizes_are_looked_at")),
    ),
    Mutant(
        "texts of a context are not counted",
        "python/src/context.rs",
        "            self.charge(value.py(), path, characters)?;\n",
        "            self.charge(value.py(), path, characters.min(0))?;\n",
        Python(("tests/faults/test_large_contexts.py", "-k", "max_context")),
    ),
    Mutant(
        "a uid's text ends where Cedar's parser of policies says",
        "cedar/src/values.rs",
        """whole &= char != '"' && (char != '\\\\' || rest.next().is_some());""",
        """whole &= char != '\\\\' || rest.next().is_some();""",
        Rust("ztfast-cedar", "a_uid_is_the_whole_text"),
    ),
    Mutant(
        "a name with points says the first of two attributes",
        "engine/src/snapshot.rs",
        "if let Some(other) = found.next() {",
        "if let Some(other) = found.next().filter(|_| known.is_empty()) {",
        Python(("tests/api/test_names.py",)),
    ),
    Mutant(
        "values that take the slow way are put where the points in a name say",
        "cython/gate.pyx",
        "*outer, last = self.paths[at]",
        '*outer, last = self.names[at].split(".")',
        Python(("tests/api/test_names.py",)),
    ),
    Mutant(
        "a bundle's file is mapped, and what is written into it decides",
        "bundle/src/memory.rs",
        "if length > 0 && is_sealed(&file, &before) {",
        "if length > 0 && (is_sealed(&file, &before) || before.is_file()) {",
        Python(("tests/faults/test_changed_files.py", "-k", "decisions_go_by")),
    ),
    Mutant(
        "durations that overflow wrap",
        "ztfast/values.py",
        "    bad = bad | (raw > most) | (raw < -((_MOST + 1) // by))\n",
        "",
        Python(("tests/api/test_conversions.py", "tests/api/test_values.py")),
    ),
    Mutant(
        "a row that is out of range is decided by the number that it is not",
        "cython/gate.pyx",
        "good = numpy.ones(rows, numpy.bool_) if bad is None else ~bad",
        "good = numpy.ones(rows, numpy.bool_) if bad is None else bad | ~bad",
        Python(("tests/api/test_conversions.py", "tests/api/test_values.py")),
    ),
    Mutant(
        "a session lives on when the wall clock steps back",
        "engine/src/sessions.rs",
        "let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));",
        "let to_ns = to_ns.max(awake_to_ns.min(0));",
        Rust("ztfast-engine", "wall_clock"),
    ),
    Mutant(
        "a forked child is not told apart",
        "engine/src/engine.rs",
        "crate::process::mark() != self.process",
        "crate::process::mark() != self.process && self.process == 0",
        Python(("tests/faults/test_fork.py",)),
    ),
    Mutant(
        "a swap forgets the changes that it is to keep",
        "ztfast/engine.py",
        "bundle._core, bundle, bool(keep_changes), None if",
        "bundle._core, bundle, bool(keep_changes) and upsert is not None, None if",
        Python(("tests/api/test_swap.py",)),
    ),
    Mutant(
        "a swap that makes gates stale is passed over in silence",
        "ztfast/engine.py",
        "        if stale:\n            gates = tuple(",
        "        if stale and allow_stale:\n            gates = tuple(",
        Python(("tests/api/test_swap.py",)),
    ),
)


def main() -> int:
    """Build each mutant and look for it; 1 if one of them lives."""
    wanted = sys.argv[1:]
    shutil.rmtree(COPY, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(
        None, subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    ):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, COPY / name)
    alive = 0
    for mutant in MUTANTS:
        if wanted and not any(word in mutant.name for word in wanted):
            continue
        inside = COPY / "src_ext" / mutant.file
        file = inside if inside.is_file() else COPY / mutant.file
        sound = file.read_text()
        if sound.count(mutant.old) != 1:
            print(f"{mutant.name}: {mutant.file} has not exactly one place for it: write the mutant anew")
            alive += 1
            continue
        file.write_text(sound.replace(mutant.old, mutant.new))
        mutant.finder.build()
        began = time.monotonic()
        found = mutant.finder.finds()
        alive += not found
        took = time.monotonic() - began
        print(f"{'found' if found else 'NOT FOUND'} in {took:5.1f} s: {mutant.name}", flush=True)
        file.write_text(sound)
    shutil.rmtree(COPY, ignore_errors=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
