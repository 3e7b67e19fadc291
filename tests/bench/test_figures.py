"""README.md shows the figures of the run that is kept, as they are, and that run has all of the desk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import figures
from bench.figures import BEGIN, END, KEPT, README, kept, put, refused, section
from ztfast.bench import Report
from ztfast.bench.desk import DeskWorkload, bundle, desk_series
from ztfast.bench.report import NATIVE, native_key


@pytest.fixture(scope="module")
def report() -> Report:
    return Report.read(KEPT)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table's rows, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]


def test_the_readme_shows_the_run_that_is_kept(report: Report) -> None:
    text = README.read_text()
    assert text.count(section(report)) == 1, "`make figures` writes README.md from docs/figures.json"
    assert put(text, section(report)) == text


def test_the_run_that_is_kept_is_a_whole_one_of_the_shipped_build(report: Report) -> None:
    assert refused(report) is None
    assert report.settings["rounds"] == 101
    assert kept(report) == report


def test_the_run_that_is_kept_has_each_decision_of_the_desk(report: Report) -> None:
    wanted = {one.key: one.name for one in desk_series(DeskWorkload(bundle()), 10)}
    assert {figure.key: figure.name for figure in report.series} == wanted, "`make figures` measures anew"


def test_each_row_has_the_figures_of_its_decision(report: Report) -> None:
    first, *shown = rows(section(report))
    floors = {figure.key: figure.ns.median for figure in report.floors}
    assert first == ["an empty call", f"{floors['c_call']:.1f}", "1.0", f"{floors['pointer_call']:.1f}"]
    by_key = {figure.key: figure for figure in report.series}
    from_python = [figure for figure in report.series if not figure.key.startswith(NATIVE)]
    assert [name for name, *_ in shown] == [figure.name for figure in from_python]
    for figure, (_, ns, ratio, native) in zip(from_python, shown, strict=True):
        assert figure.ratio is not None
        assert float(ns.replace(",", "")) == pytest.approx(figure.ns.median, abs=0.051)
        assert float(ratio.replace(",", "")) == pytest.approx(figure.ratio.median, abs=0.051)
        if figure.key == "desk_order_many" or figure.key.endswith("_anew"):
            assert native == ""
        else:
            assert float(native.replace(",", "")) == pytest.approx(by_key[native_key(figure.key)].ns.median, abs=0.051)


def test_a_run_that_says_little_is_not_shown(report: Report) -> None:
    assert "debug build" in str(refused(replace(report, machine={**report.machine, "build": "debug"})))
    assert "quick run" in str(refused(replace(report, settings={**report.settings, "quick": True})))


def test_only_the_lines_between_the_marks_are_written() -> None:
    lines = f"{BEGIN}new\n{END}"
    assert put(f"before\n{BEGIN}old\n{END}after\n", lines) == f"before\n{lines}after\n"
    for text in (
        "",
        BEGIN,
        END,
        f"{END}{BEGIN}",
        f"{BEGIN}{BEGIN}{END}",
        f"{BEGIN}{END}{BEGIN}{END}",
        f"{BEGIN}{END}{END}",
    ):
        with pytest.raises(ValueError, match="once and in this order"):
            put(text, lines)


def test_the_command_writes_both_files(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, file, run = tmp_path / "README.md", tmp_path / "figures.json", tmp_path / "run.json"
    before = f"before\n{BEGIN}old\n{END}after\n"
    monkeypatch.setattr(figures, "README", readme)
    monkeypatch.setattr(figures, "KEPT", file)
    monkeypatch.setattr("sys.argv", ["figures", str(run)])

    def written(found: Report) -> int:
        readme.write_text(before)
        run.write_text(found.to_json())
        return figures.main()

    slower = replace(report, machine={**report.machine, "system": "Linux 6.18.44-custom x86_64"})
    slower = replace(slower, series=[replace(one, workload="book") for one in report.series[:1]] + report.series)
    assert written(slower) == 0
    assert json.loads(file.read_text())["machine"]["system"] == "Linux 6.18 x86_64"
    found = Report.read(file)
    assert found.series == report.series
    assert readme.read_text() == f"before\n{section(found)}after\n"
    file.unlink()
    assert written(replace(report, machine={**report.machine, "build": "debug"})) == 1
    run.write_text("{}")
    assert figures.main() == 1
    assert readme.read_text() == before
    assert not file.exists()
    assert "debug build" in capsys.readouterr().err
