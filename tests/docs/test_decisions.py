"""Each record of a decision is listed, has its parts, and fits on a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.named import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
PARTS = ["Context", "Decision", "Consequences"]
MOST_LINES = 50


def title(record: Path) -> tuple[int, str]:
    """Return the number and the title of a record."""
    found = re.match(r"# (\d+)\. (.+)\n", record.read_text())
    assert found is not None, f"{record.name} does not begin with its number and title"
    return int(found[1]), found[2]


def test_the_index_lists_each_record_by_its_title() -> None:
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert RECORDS
    assert [(int(number), text, name) for number, text, name in listed] == [
        (*title(record), record.name) for record in RECORDS
    ]
    assert [number for number, _ in map(title, RECORDS)] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_parts_and_fits_on_a_page(record: Path) -> None:
    text = record.read_text()
    assert int(record.name[:4]) == title(record)[0]
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert found in (PARTS, [*PARTS, "Measurement"])
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("document", [*RECORDS, FOLDER / "README.md"], ids=lambda path: path.stem)
def test_its_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
