"""The bench measures what it names and shows regressions. No test here depends on the speed of anything."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.racing import Repeat
from ztfast import _core, bench
from ztfast.bench.desk import DESK_MARKS, OTHER_GATES
from ztfast.bench.floors import FLOORS
from ztfast.bench.identity import IDENTITY_MARKS
from ztfast.bench.loops import BenchError, bulk, over_rows, pinned
from ztfast.bench.marks import BOOK_MARKS
from ztfast.bench.report import NATIVE, Mark, Report, Spread, native_key, tables
from ztfast.bench.series import Series
from ztfast.bench.suite import Rounds
from ztfast.bench.workload import Workload
from ztfast.cli.benching import judge

PROMISED = [
    *(promise.what for promise in BOOK_MARKS),
    "native decisions, p99.9 / p50, without the clock",
    *(promise.what for promise in DESK_MARKS),
    *(promise.what for promise in IDENTITY_MARKS),
]
SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ztfast.cli", "bench", "--quick", *arguments]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the JSON of a quick run."""
    path = tmp_path_factory.mktemp("bench") / "run.json"
    done = run("--json", str(path), "--svg", str(path.with_suffix(".svg")), "--markdown", str(path.with_suffix(".md")))
    assert done.returncode == 0, done.stderr
    for shown in (
        "empty C call", "two dependent random loads", "allows, two comparisons", "p99.99", "spinning thread",
        "A book of five policies", "The example desk", "Admissions by certificate", *(asked.name for asked in OTHER_GATES),
    ):  # fmt: skip
        assert shown in done.stdout
    return path


@pytest.fixture(scope="module")
def report(saved: Path) -> Report:
    return Report.read(saved)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_json_alone_goes_to_standard_output() -> None:
    done = run("--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert {"when", "ztfast", "build", "python", "numpy", "system", "cpu", "cpus", "pinned"} == set(found["machine"])
    assert found["machine"]["pinned"] == max(os.sched_getaffinity(0))
    assert {"rounds", "quick", "per_second"} == set(found["settings"])
    assert [floor["key"] for floor in found["floors"]] == list(FLOORS)
    wanted = {
        "allows_cell", "allows_ranges", "allows_code", "allows_live", "allows_random", "allows_refused", "decide_ranges",
        "decide_many_hot", "decide_many_random", "native_allows", "native_inlined", "native_decide", "native_random",
        "evaluate",
    }  # fmt: skip
    wanted |= {promise.series for promise in DESK_MARKS}
    wanted |= {f"identity_{of}" for of in ("admit", "admitted", "random", "verified", "pyca")}
    assert wanted <= {figure["key"] for figure in found["series"]}
    for figure in found["series"]:
        assert figure["floor"] in FLOORS
        for spread in (figure["ns"], figure["ratio"]):
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    for tail in (*found["tails"], found["noise"]):
        of = tail["quantiles"]
        told = [of[name] for name in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns")]
        assert told[0] > 0
        assert told == sorted(told)
        assert of["count"] > 0
        assert [ns for _, ns in tail["curve"]] == sorted(ns for _, ns in tail["curve"])
        assert tail["curve"][-1] == [100.0, of["max_ns"]]
    assert [mark["what"] for mark in found["marks"]] == PROMISED
    beside = {tail["key"]: tail for tail in found["tails"]}
    assert {"identity_alone", "identity_rotating", "identity_flooded"} <= set(beside)


def test_a_ratio_is_that_of_figures_of_one_round() -> None:
    # The machine is slower from round to round, and the ratio stays.
    slowness = [1.0]
    series = Series("one", "one", "c_call", lambda count: 25 * slowness[-1], 1)
    rounds = Rounds({"c_call": lambda count: 10 * slowness[-1]}, [series], [], 1)
    for slower in (1.0, 2.0, 8.0):
        slowness.append(slower)
        rounds.one()
    assert rounds.ratios("one", "c_call") == [2.5, 2.5, 2.5]
    assert rounds.taken["one"] == [25.0, 50.0, 200.0]


def test_a_pass_that_was_interrupted_does_not_count() -> None:
    passes = iter([10.0, 10.0, 4_000.0, 10.0, 10.0])
    rounds = Rounds({"c_call": lambda count: next(passes)}, [], [], 1)
    rounds.one()
    assert rounds.taken["c_call"] == [10.0]


def test_what_is_written_can_be_read(saved: Path, report: Report) -> None:
    assert json.loads(report.to_json()) == json.loads(saved.read_text())


def test_the_markdown_file_has_each_figure_of_the_desk(saved: Path, report: Report) -> None:
    rows = [line.split(" | ") for line in saved.with_suffix(".md").read_text().splitlines()]
    from_python = [of for of in report.series if of.workload == "desk" and not of.key.startswith(NATIVE)]
    assert [row[0].removeprefix("| ") for row in rows[2:]] == ["an empty call", *(of.name for of in from_python)]
    alone = [row[0] for row in rows if row[-1] == " |" and not row[0].endswith(", new objects")]
    assert alone == ["| order.new by an algorithm, a row"]


def test_the_table_of_the_desk_has_each_decision_once_beside_its_native_one(report: Report) -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(tables(report))
    table = out.getvalue().split("The example desk")[1].split("One by one")[0]
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()}
    desk = {of.key: of for of in report.series if of.workload == "desk"}
    beside = [of for of in desk.values() if native_key(of.key) in desk]
    assert len(beside) > 20
    for of in beside:
        native = desk[native_key(of.key)]
        assert rows[of.name][-1] == f"{native.ns.median:,.1f}"
        assert native.name not in rows
    assert {of.name for of in desk.values() if of.key.startswith(NATIVE) and of.name in rows} == {
        "native order.cancel", "native order.cancel at random", "native order.new at random, 9 values"
    }  # fmt: skip


def test_the_plot_has_every_series(saved: Path, report: Report) -> None:
    root = ElementTree.parse(saved.with_suffix(".svg")).getroot()
    assert root.tag == f"{SVG}svg"
    lines = root.findall(f"{SVG}polyline")
    names = [line.findtext(f"{SVG}title") for line in lines]
    assert names == [*(tail.name for tail in report.tails), "spinning thread: its gaps"]
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert {*names, "Decision latency by percentile", "percentile of decisions", "99.9 %", "1 us"} <= texts
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) > 10
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


# -- comparing ---------------------------------------------------------------------------------------------------------


def slowed(report: Report, key: str, times: float) -> Report:
    """Make a report in which one series is slower by a factor."""

    def slow(spread: Spread) -> Spread:
        return Spread(spread.median * times, spread.low * times, spread.high * times)

    changed = [
        replace(of, ns=slow(of.ns), ratio=slow(of.ratio)) if of.key == key and of.ratio else of for of in report.series
    ]
    return replace(report, series=changed)


def test_a_regression_of_a_ratio_shows_and_nothing_else(report: Report) -> None:
    same = bench.compare(report, report)
    assert {change.key for change in same} > {
        "allows_ranges",
        "native_allows",
        "native_closed p50",
        "python_closed p99.9",
    }
    assert all(change.percent == 0 and not change.beyond for change in same)
    found = bench.compare(slowed(report, "allows_ranges", 20), report)
    assert [change.key for change in bench.slower_than(found, 5)] == ["allows_ranges"]
    assert next(change.percent for change in found if change.key == "allows_ranges") == pytest.approx(1900)
    # A series that is twenty times faster is beyond the spread too, but is not a regression.
    faster = bench.compare(report, slowed(report, "allows_ranges", 20))
    assert [change.key for change in faster if change.beyond] == ["allows_ranges"]
    assert bench.slower_than(faster, 5) == []


def test_a_machine_that_is_twice_as_slow_is_no_regression(report: Report) -> None:
    def slow(spread: Spread) -> Spread:
        return Spread(*(2 * ns for ns in (spread.median, spread.low, spread.high)))

    slower = replace(
        report,
        floors=[replace(of, ns=slow(of.ns)) for of in report.floors],
        series=[replace(of, ns=slow(of.ns)) for of in report.series],
    )
    changes = bench.compare(slower, report)
    assert {change.key for change in changes} >= {of.key for of in report.series if of.ratio}
    assert not any(change.percent for change in changes)


def test_a_change_within_the_spread_of_the_rounds_is_none(report: Report) -> None:
    wide = replace(report, series=[replace(of, ratio=Spread(10.0, 8.0, 12.0)) for of in report.series])
    higher = replace(report, series=[replace(of, ratio=Spread(11.0, 9.0, 13.0)) for of in report.series])
    changes = [change for change in bench.compare(higher, wide) if " " not in change.key]
    assert {round(change.percent) for change in changes} == {10}
    assert bench.slower_than(changes, 5) == []
    # Rounds that are all uniform, as those that are told in steps of the clock.
    uniform = replace(report, series=[replace(of, ratio=Spread(2.5, 2.5, 2.5)) for of in report.series])
    calibrated = replace(report, series=[replace(of, ratio=Spread(2.51, 2.51, 2.51)) for of in report.series])
    assert bench.slower_than(bench.compare(calibrated, uniform), 0) == []


def test_the_command_fails_where_a_figure_is_slower_by_more(report: Report, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    # As if evaluate had taken a hundredth of its time.
    old.write_text(slowed(report, "evaluate", 0.01).to_json())
    done = run("--compare", str(old), "--fail-above", "50")
    assert done.returncode == 1
    assert "slower: evaluate" in done.stderr
    assert "Compared with the run of" in done.stdout
    fine = run("--compare", str(old), "--json", "-")
    assert fine.returncode == 0, fine.stderr
    comparison = json.loads(fine.stdout)["comparison"]
    assert comparison["before"] == report.machine["when"]
    change = next(change for change in comparison["changes"] if change["key"] == "evaluate")
    assert change["beyond"]
    assert change["percent"] > 50


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "not JSON"), ("[]", "schema 1"), ('{"schema": 99}', "schema 1"), ('{"schema": 1}', "not a whole result")],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    done = run("--compare", str(path))
    assert done.returncode == 1
    assert says in done.stderr
    assert str(path) in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    assert "--compare" in run("--fail-above", "5").stderr
    assert "missing.json" in run("--compare", str(tmp_path / "missing.json")).stderr
    done = run("--cpu", "100000")
    assert done.returncode == 1
    assert "CPU 100000: this process may run on" in done.stderr


def test_marks_are_judged(saved: Path) -> None:
    done = run("--marks", "--json", "-")
    marks = json.loads(done.stdout)["marks"]
    assert [mark["what"] for mark in marks] == PROMISED
    missed = [mark for mark in marks if not mark["met"]]
    assert all(mark["met"] == (mark["found"] <= mark["at_most"]) for mark in marks)
    assert done.returncode == (1 if missed else 0)
    assert done.stderr.count("MISSED") == len(missed)
    for mark in missed:
        unit = {"x": "x", "ns": " ns"}[mark["unit"]]
        assert f"{mark['what']}: {mark['found']:.2f}{unit}, at most {mark['at_most']:g}{unit}" in done.stderr


def test_a_missed_mark_is_named_and_counts(capsys: pytest.CaptureFixture[str], report: Report) -> None:
    met, missed = Mark("a time", 30.0, 40.0, True, "ns"), Mark("a ratio", 3.0, 2.0, False)
    for marks, fails in (([met], False), ([met, missed], True), ([missed], True)):
        for quiet in (True, False):
            assert judge(replace(report, marks=marks), quiet) is fails
            said = capsys.readouterr()
            told, other = (said.err, said.out) if quiet else (said.out, said.err)
            assert other == ""
            assert ("a ratio: 3.00x, at most 2x" in told) is fails
            assert ("a time: 30.00 ns, at most 40 ns" in told) is (met in marks and not quiet)
            assert told.count("MISSED") == fails


# -- the loops ---------------------------------------------------------------------------------------------------------

STALL_NS, RATE, CALLS, STALLED = 20_000_000, 10_000.0, 400, 50


def stalling() -> tuple[object, list[tuple[int]]]:
    """Make a function that hangs once for 20 ms, and its arguments."""

    def call(position: int) -> None:
        if position == STALLED:
            time.sleep(STALL_NS / 1e9)

    return call, [(position,) for position in range(CALLS)]


def test_an_open_loop_charges_a_stall_to_all_who_waited() -> None:
    call, rows = stalling()
    waited, taken = bench.open_loop(call, rows, RATE)  # type: ignore[arg-type]
    # Due every 100 us: 200 calls were due while one hung, so a quarter of all waited for over 5 ms at the least.
    assert waited.count == taken.count == CALLS
    assert waited.quantile_ns(0.75) > STALL_NS / 4
    assert waited.max_ns >= STALL_NS
    # From when they began, only the one that hung was late (others may be, where the machine is busy: not so many).
    assert taken.quantile_ns(0.75) < STALL_NS / 4


def test_a_closed_loop_shows_a_stall_once() -> None:
    call, rows = stalling()
    taken = bench.closed_loop(call, rows)  # type: ignore[arg-type]
    assert taken.max_ns >= STALL_NS
    assert taken.quantile_ns(0.9) < STALL_NS / 4


def test_the_native_open_loop_charges_waiting_too() -> None:
    work = Workload()
    gate = work.engine._core.prepare("order.new", ["notional", "qty"])
    count = 20_000
    sessions, resources = [work.session.id] * count, [work.resource.handle] * count
    # Due faster than they can be decided: the last has waited for nearly all others.
    waited, taken = _core.open_loop(gate, sessions, resources, list(work.values), 1e9)
    assert waited.count == taken.count == count
    assert waited.max_ns > 100 * taken.quantile_ns(0.5)
    assert waited.quantile_ns(0.5) > 100 * taken.quantile_ns(0.5)
    with pytest.raises(ValueError, match="above 0"):
        _core.open_loop(gate, sessions, resources, list(work.values), 0.0)
    with pytest.raises(ValueError, match="above 0"):
        bench.open_loop(len, [("",)], 0)


def test_in_bulk_the_calls_are_made_with_their_arguments() -> None:
    seen: list[tuple[object, ...]] = []
    assert bulk(lambda *given: seen.append(given), 1, "two")(10) > 0
    assert seen == [(1, "two")] * 10
    seen.clear()
    assert over_rows(lambda *given: seen.append(given), [(1, 2), (3, 4)], 5)(4) > 0
    assert seen == [(1, 2, 5), (3, 4, 5)] * 2


def test_gc_and_affinity_are_put_back() -> None:
    before = os.sched_getaffinity(0)
    with pinned() as cpu:
        assert os.sched_getaffinity(0) == {cpu}
        with pytest.raises(BenchError, match=f"may run on {cpu}"):
            pinned(max(before) + 1).__enter__()
    assert os.sched_getaffinity(0) == before
    enabled = []
    bench.closed_loop(lambda: enabled.append(gc.isenabled()), [()])
    assert enabled == [False]
    assert gc.isenabled()


# -- histograms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit_ns", [1.0, 0.385])
def test_quantiles_are_numpys_to_three_digits(unit_ns: float) -> None:
    times = np.random.default_rng(1).lognormal(7, 2, 50_000).astype(np.int64)
    taken = bench.Histogram(unit_ns)
    for ticks in times.tolist():
        taken.record(ticks)
    found = bench.quantiles(taken)
    shares = (0.5, 0.9, 0.99, 0.999, 0.9999)
    wanted = np.quantile(times, shares, method="inverted_cdf") * unit_ns
    told = (found.p50_ns, found.p90_ns, found.p99_ns, found.p999_ns, found.p9999_ns)
    assert told == pytest.approx(wanted, rel=1e-3)
    assert found.max_ns == pytest.approx(times.max() * unit_ns, rel=1e-3)
    assert found.count == len(times)
    above = times * unit_ns > 10_000
    assert taken.time_share_above(10_000) == pytest.approx(times[above].sum() / times.sum(), rel=1e-2)
    assert taken.count_to(10_000) == pytest.approx((~above).sum(), rel=1e-2)


def test_histograms_add_up_and_say_what_they_cannot() -> None:
    one, other = bench.Histogram(), bench.Histogram()
    one.record(10)
    other.record(30)
    one.merge(other)
    assert (one.count, one.max_ns, other.count) == (2, 30.0, 1)
    assert bench.quantiles(bench.Histogram()).count == 0
    for wrong, says in (
        (lambda: one.merge(bench.Histogram(0.5)), "in units of"),
        (lambda: one.quantile_ns(1.5), "from 0 to 1"),
        (lambda: bench.Histogram(0.0), "above 0"),
        (lambda: _core.spin(-1.0), "0 or more"),
    ):
        with pytest.raises(ValueError, match=says):
            wrong()  # type: ignore[no-untyped-call]


def test_a_chain_leads_through_all_of_the_memory() -> None:
    # As many pairs again come back to where they began, so a walk of any length is as good as another.
    assert _core.Chain(4096).time_pairs(1_000) > 0
    with pytest.raises(ValueError, match="16 GiB"):
        _core.Chain(1 << 40)


def test_a_spinning_thread_sees_time_pass() -> None:
    gaps, repeat = _core.spin(5.0), Repeat("a thread that keeps its processor for a while")
    while repeat.until(gaps.count > 1_000):
        gaps = _core.spin(5.0)
    assert 0 < gaps.quantile_ns(0.5) < 5e6
