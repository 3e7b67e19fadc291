"""Documents, docstrings and comments name decision codes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.named import ROOT, documents
from ztfast import Code

NAME = r"(?P<name>[A-Z][A-Z_]{2,})\b"
MENTIONS = [
    re.compile(rf"\bCode\.{NAME}(?!\()"),
    re.compile(rf"\bcodes? +`*\"?{NAME}"),
    re.compile(rf"\bDENY with +`*{NAME}"),
    re.compile(rf"\bDecision\(DENY, {NAME}"),
]
PATTERNS = ["ztfast/**/*.py", "ztfast/*.pyi", "ztfast/*.pxd", "src_ext/cython/*.p*", "examples/**/*.py"]
SOURCES = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]


def mentioned(text: str) -> list[str]:
    """Return the codes that a text names."""
    # A mention may go over the end of a line, also of a comment's.
    text = re.sub(r"\s*\n[ \t]*#?[ \t]*", " ", text)
    return [found["name"] for mention in MENTIONS for found in mention.finditer(text)]


@pytest.mark.parametrize("path", [*documents(), *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_code_that_a_text_names_exists(path: Path) -> None:
    assert set(mentioned(path.read_text())) <= set(Code.__members__)


def test_mentions_are_found() -> None:
    found = {name for path in [*documents(), *SOURCES] for name in mentioned(path.read_text())}
    assert {"FORKED", "TOO_LARGE", "BAD_VALUE", "STALE_GATE", "REVOKED", "UNKNOWN_SESSION"} <= found
    assert mentioned("it denies with code\n    # NO_SUCH_CODE, Decision(DENY, NONE)") == ["NO_SUCH_CODE", "NONE"]
