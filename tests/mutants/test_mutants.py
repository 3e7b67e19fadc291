"""Every mutant can still be made, and what is to find it exists: `make mutants` takes hours, and rots between two runs."""

from __future__ import annotations

import ast
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from everyone import MUTANTS
from mutant import ROOT, Mutant, Python, Rust

RUST_TEST = re.compile(r"#\[test\]\s*(?:#\[[^\n]*\]\s*)*fn (\w+)")


def _tests(file: Path) -> set[str]:
    """Return the names of a file's tests, in Python or in Rust."""
    text = file.read_text()
    if file.suffix == ".rs":
        return set(RUST_TEST.findall(text))
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name[:4] == "test"}


def _missing(mutant: Mutant) -> list[str]:
    """Return the files and tests that a mutant's finder names and that there are not."""
    match mutant.finder:
        case Rust(file, test):
            named = [(ROOT / "src_ext" / file, test)]
        case Python(tests):
            named = [(ROOT / file, test) for file, _, test in (name.partition("::") for name in tests)]
        case _:
            named = []
    return [
        f"{file.relative_to(ROOT)}::{test}"
        for file, test in named
        if not file.is_file() or not (tests := _tests(file)) or (test and test not in tests)
    ]


def test_the_mutants_of_every_file_are_made() -> None:
    files = [import_module(file.stem).MUTANTS for file in sorted(Path(__file__).parent.glob("in_*.py"))]
    assert len(files) > 5
    assert {mutant.name for mutants in files for mutant in mutants} == {mutant.name for mutant in MUTANTS}
    assert all(files)


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def test_no_two_mutants_are_the_same() -> None:
    changes = Counter((mutant.file, mutant.old, mutant.new) for mutant in MUTANTS)
    assert [change for change, count in changes.items() if count > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_has_exactly_one_place_and_a_finder(mutant: Mutant) -> None:
    text = mutant.place(ROOT).read_text()
    assert mutant.mutated(text) != text
    assert _missing(mutant) == []


def test_a_mutant_without_its_place_is_refused() -> None:
    mutant = Mutant("of this test", "vm/src/lib.rs", "twice", "once")
    for text in ("never", "twice and twice"):
        with pytest.raises(ValueError, match="not one: write the mutant anew"):
            mutant.mutated(text)


def test_a_finder_that_is_no_more_is_noticed() -> None:
    finders = (
        Rust("vm/src/nowhere.rs", "any"),
        Rust("live/src/sessions/tests.rs", "no_test"),
        Python("tests/nowhere.py"),
        Python("tests/mutants/test_mutants.py::no_test"),
    )
    for finder in finders:
        assert len(_missing(Mutant("of this test", "vm/src/lib.rs", "", "", finder))) == 1
