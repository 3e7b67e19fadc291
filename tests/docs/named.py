"""The tests that documents name as ``file::test``, and whether they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "documents", "missing", "named"]

ROOT = Path(__file__).resolve().parents[2]

NAMED = re.compile(r"([\w./-]+\.(?:py|rs))::(\w+)")
RUST_TEST = re.compile(r"#\[test\]\s*(?:#\[[^\n]*\]\s*)*(?:unsafe |async )*fn (\w+)")


def documents() -> list[Path]:
    """Return all documents: at the root, and under docs."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def named(text: str) -> list[tuple[str, str]]:
    """Files and tests that a text names.

    >>> named("| a row | `tests/a/test_b.py::test_c`, `src_ext/d/src/e.rs::f` |")
    [('tests/a/test_b.py', 'test_c'), ('src_ext/d/src/e.rs', 'f')]
    """
    return NAMED.findall(text)


@cache
def _tests(file: Path) -> frozenset[str]:
    if not file.is_file():
        return frozenset()
    text = file.read_text()
    if file.suffix == ".rs":
        return frozenset(RUST_TEST.findall(text))
    module = ast.parse(text)
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    nodes = [node for body in (module.body, *(found.body for found in classes)) for node in body]
    names = (node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(name for name in names if name.startswith("test"))


def missing(text: str, root: Path = ROOT) -> list[str]:
    """Return the tests that a text names and that do not exist."""
    return [f"{file}::{test}" for file, test in named(text) if test not in _tests(root / file)]
