"""Whether the fuzzer bites: ``make mutants``.

Each mutant is our own code with one mistake in it, of a kind that is easily made. A copy of the workspace is built with it
and fuzzed; a mutant that is not found within a minute makes this fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


@dataclass(frozen=True)
class Mutant:
    """A mistake: in ``file``, ``new`` where ``old`` stood."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "two-valued ||: an error on its left is a false",
        "program/src/vm.rs",
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
        ".is_some_and(|number| range.holds(number))",
        ".is_none_or(|number| range.holds(number))",
    ),
    Mutant(
        "a dropped presence test: `has` of an attribute of the context holds always",
        "program/src/vm.rs",
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
        "policy/src/lower.rs",
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
        "foreign: FIRST_FOREIGN + u32::try_from(place).ok()? })",
        "foreign: FIRST_FOREIGN + u32::try_from(place).ok()?.min(0) })",
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
)


def main() -> int:
    """Build and fuzz each mutant; 1 if one of them lives."""
    wanted = sys.argv[1:]
    copy = ROOT / "build" / "mutants" / "src_ext"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "src_ext", copy, ignore=shutil.ignore_patterns("target"))
    # A folder of builds of its own: Cargo takes files for the same that lie at the same place of two workspaces.
    target = ROOT / "src_ext" / "target" / "mutants"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    alive = 0
    for mutant in MUTANTS:
        if wanted and not any(word in mutant.name for word in wanted):
            continue
        file = copy / mutant.file
        sound = file.read_text()
        if sound.count(mutant.old) != 1:
            print(f"{mutant.name}: {mutant.file} has not exactly one place for it: write the mutant anew")
            alive += 1
            continue
        file.write_text(sound.replace(mutant.old, mutant.new))
        build = [
            "cargo",
            "build",
            "--locked",
            "--quiet",
            "--manifest-path",
            str(copy / "Cargo.toml"),
            "-p",
            "ztfast-fuzz",
        ]
        subprocess.run(build, env=environment, check=True)
        began = time.monotonic()
        command = [
            target / "debug" / "ztfast-fuzz",
            "--seconds",
            str(SECONDS),
            "--first",
            "--failures",
            str(copy.parent / "failures"),
        ]
        status = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        found = status.returncode == 1
        alive += not found
        print(f"{'found' if found else 'NOT FOUND'} in {took:5.1f} s: {mutant.name}", flush=True)
        file.write_text(sound)
    shutil.rmtree(copy.parent, ignore_errors=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
