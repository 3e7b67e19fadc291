"""The documents name tests that exist. Each attack of the threat model names a test, or says why it is not defended against."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.named import ROOT, documents, missing, named

THREATS = ROOT / "docs" / "threat-model.md"
ATTACKS = ["attack", "what happens", "shown by"]
NOT_DEFENDED = "Not defended"
STEPPED = ("change.rs", "switching.rs")
"""The lists of changes that are killed after each instruction."""


def rows(text: str) -> list[list[str]]:
    """Return the rows of all tables of attacks."""
    found, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells == ATTACKS:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(line) <= set("|- :"):
            found.append(cells)
    return found


def unproven(text: str) -> list[str]:
    """Return the attacks with neither a test nor a reason."""
    return [
        row[0]
        for row in rows(text)
        if len(row) != len(ATTACKS) or not (named(row[2]) or (row[1].startswith(NOT_DEFENDED) and not row[2]))
    ]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    assert missing(document.read_text()) == []


def test_every_attack_has_a_test_or_a_reason() -> None:
    text = THREATS.read_text()
    assert len(rows(text)) > 80, "the tables are not read"
    assert unproven(text) == []
    assert any(row[1].startswith(NOT_DEFENDED) for row in rows(text))


def test_as_many_changes_are_stepped_through_as_is_said() -> None:
    stepped = ROOT / "src_ext" / "live" / "tests" / "stepped"
    counts = [re.findall(r"pub const ALL: \[Self; (\d+)\]", (stepped / name).read_text()) for name in STEPPED]
    assert all(len(count) == 1 for count in counts), counts
    said = re.findall(r"after each instruction of (\d+) such changes", THREATS.read_text())
    assert said == [str(sum(int(count) for (count,) in counts))]


def test_a_false_document_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text("#[test]\n#[ignore]\nfn there() {}\nfn no_test() {}\n")
    (tmp_path / "a.py").write_text(
        "def test_there(): ...\ndef no_test(): ...\nclass TestIt:\n    def test_within(self): ...\n"
    )
    text = "`a.rs::there` `a.rs::no_test` `a.py::test_there` `a.py::no_test` `a.py::test_within` `b.py::test_there`"
    assert missing(text, tmp_path) == ["a.rs::no_test", "a.py::no_test", "b.py::test_there"]
    table = "| attack | what happens | shown by |\n| --- | --- | --- |\n"
    assert unproven(f"{table}| an attack | It is refused. | |\n") == ["an attack"]
    assert unproven(f"{table}| an attack | It is refused. | a test |\n") == ["an attack"]
    assert unproven(f"{table}| an attack | It | is | refused. |\n") == ["an attack"]
    assert unproven(f"{table}| an attack | Not defended. | |\n| another | Refused. | `a.py::test_b` |\n") == []
