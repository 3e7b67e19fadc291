"""The examples in the docstrings of ``ztfast.gate`` show what they answer. pytest collects those of Python files alone."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import ztfast.gate

SOURCES = Path(__file__).parents[2] / "src_ext" / "cython"

# Cython repeats the docstrings of some methods in `__test__`.
FOUND = [test for test in doctest.DocTestFinder(exclude_empty=True).find(ztfast.gate) if "__test__" not in test.name]


def test_every_example_of_the_sources_is_found() -> None:
    parser = doctest.DocTestParser()
    written = sum(len(parser.get_examples(file.read_text())) for file in sorted(SOURCES.glob("*.p[yx]*")))
    assert written == sum(len(test.examples) for test in FOUND) > 0


@pytest.mark.parametrize("test", FOUND, ids=[test.name for test in FOUND])
def test_an_example_answers_what_it_shows(test: doctest.DocTest) -> None:
    said: list[str] = []
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.DocTestRunner(optionflags=options).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted == len(test.examples)
