"""``ztfast check`` and ``ztfast compile`` on sources with more warnings than one wants to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import Here

SCHEMA = "entity User = { limit: Long }; entity Doc; action view appliesTo { principal: User, resource: Doc };"
ANN = {"uid": {"type": "User", "id": "ann"}, "attrs": {"limit": 2**63 - 1}, "parents": []}
COUNT = 250


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    folder = tmp_path / "policies"
    folder.mkdir()
    for part in range(2):
        policies = [
            f'@id("p{number}")\nforbid (principal, action, resource)\nwhen {{ principal.limit + {number + 1} > 5 }};\n'
            for number in range(part, COUNT, 2)
        ]
        (folder / f"part{part}.cedar").write_text("\n".join(policies))
    (tmp_path / "desk.cedarschema").write_text(SCHEMA)
    (tmp_path / "desk.entities.json").write_text(json.dumps([ANN]))
    return [str(folder), "-s", str(tmp_path / "desk.cedarschema"), "-e", str(tmp_path / "desk.entities.json")]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.mark.parametrize("command", ["check", "compile"])
def test_every_error_is_listed_and_the_first_are_printed(
    here: Here, sources: list[str], tmp_path: Path, command: str
) -> None:
    arguments = [command, *sources, *(["-o", str(tmp_path / "desk.ztb")] if command == "compile" else [])]
    told = json.loads(here.run(*arguments, "--json").stdout)["warnings"]
    ids = {int(warning["message"].split("`")[1][1:]): warning for warning in told}
    assert sorted(ids) == list(range(COUNT))
    for number, warning in ids.items():
        assert warning["message"] == f'policy `p{number}` errs for the principal User::"ann"'
        assert Path(warning["file"]).name == f"part{number % 2}.cedar"
        # A policy takes three lines, and an empty one follows.
        assert (warning["line"], warning["column"]) == (number // 2 * 4 + 3, 8)
        assert warning["end_column"] == 8 + len(f"principal.limit + {number + 1}")
    printed = here.run(*arguments)
    assert printed.returncode == 0
    assert printed.stderr.count("errs for the principal") == 20
    assert printed.stderr.splitlines()[-1] == "and 230 more warnings: --all prints them, --json lists them"
    every = here.run(*arguments, "--all").stderr
    assert every.count("errs for the principal") == COUNT
    assert "more warning" not in every
    for number in (0, 1, 7, 248, 249):
        line = number // 2 * 4 + 3
        assert f"part{number % 2}.cedar:{line}:8]" in every
        assert f" {line} | when {{ principal.limit + {number + 1} > 5 }};" in every


def test_warnings_that_are_errors_are_told_in_short(here: Here, sources: list[str]) -> None:
    refused = here.run("check", *sources, "--deny-warnings")
    assert refused.returncode == 1
    assert refused.stderr.count("errs for the principal") == 20
    assert "and 230 more warnings" in refused.stderr
    assert f"refused: {COUNT} warnings" in refused.stderr
    told = json.loads(here.run("check", *sources, "--deny-warnings", "--json").stdout)
    assert len(told["diagnostics"]) == COUNT


def test_a_bundle_has_no_warnings_to_print(here: Here, sources: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "desk.ztb")
    assert here.run("compile", *sources, "-o", path).returncode == 0
    refused = here.run("check", path, "--all")
    assert refused.returncode == 2
    assert "--all is for sources" in refused.stderr
