"""The workload of ``bench/peers`` and its peers in Python: their answers, not their speed."""

from __future__ import annotations

import doctest
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import ztfast
from bench.peers import handwritten, race, report, roster, serve, workload
from bench.peers.handwritten import Check
from bench.peers.race import Figures, Heat, PeerError, Process, first_difference, heat
from bench.peers.report import as_json, markdown, marks
from bench.peers.roster import PEERS, Peer, chosen
from bench.peers.workload import DARK, FIRM_RULES, MAX_DARK_QTY, MAX_NOTIONAL, SIZES, Order, Workload, generate


@pytest.fixture(scope="module")
def work() -> Workload:
    return generate(100)


@pytest.fixture(scope="module")
def folder(work: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    work.write(folder)
    bundle = ztfast.compile(
        folder / "policies.cedar", schema=folder / "schema.cedarschema", entities=folder / "entities.json"
    )
    bundle.save(folder / "bundle.ztb")
    return folder


@pytest.mark.parametrize("module", [handwritten, race, report, roster, workload])
def test_examples_show_what_they_answer(module: ModuleType) -> None:
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("policies", SIZES)
def test_half_of_the_requests_are_allowed(policies: int) -> None:
    work = generate(policies)
    check = Check(work.tables())
    allowed = sum(check.allows(one.algo, one.instrument, one.notional, one.qty) for one in work.orders)
    assert 0.4 <= allowed / len(work.orders) <= 0.6
    assert len(work.permits) + len(work.walls) + FIRM_RULES == policies


def test_the_same_size_is_the_same_workload(work: Workload) -> None:
    again = generate(100)
    assert again.files() == work.files()
    assert generate(100, seed=6).files() != work.files()


def test_too_few_policies_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted 10 or more .* got 9"):
        generate(9)


def test_each_rule_decides_some_request() -> None:
    work = generate(1_000)
    algos = {one.id: one for one in work.algos}
    instruments = {one.id: one for one in work.instruments}
    walls = set(work.walls)
    met: Counter[str] = Counter()
    for order in work.orders:
        algo, instrument = algos[order.algo], instruments[order.instrument]
        met["restricted"] += "restricted" in instrument.lists
        met["wall"] += any((algo.desk, name) in walls for name in instrument.lists)
        met["region"] += algo.region != instrument.region
        met["venue"] += instrument.venue not in algo.venues
        met["notional"] += order.notional > MAX_NOTIONAL
        met["dark"] += instrument.venue in DARK and order.qty > MAX_DARK_QTY
    assert all(met[rule] for rule in ("restricted", "wall", "region", "venue", "notional", "dark")), met


@pytest.mark.parametrize("name", ["python", "python-session", "cedarpy"])
def test_answers_are_those_of_ztfast(name: str, work: Workload, folder: Path) -> None:
    answers = {one: serve.answer(serve.PEERS[one](folder))[0] for one in ("ztfast", name)}
    assert len(answers["ztfast"]) == len(work.orders)
    assert len(answers[name]) > 100
    assert first_difference(answers, work.orders) is None


def test_a_session_that_is_not_good_may_nothing(work: Workload) -> None:
    check = Check(work.tables())
    order = next(one for one in work.orders if check.allows(one.algo, one.instrument, one.notional, one.qty))
    asked = (order.algo, order.instrument, order.notional, order.qty)
    assert check.session_allows(*asked)
    session = check.sessions[order.algo]
    session.revoked = True
    assert not check.session_allows(*asked)
    session.revoked, session.not_after = False, 1.0
    assert not check.session_allows(*asked)
    session.not_after, check.killed = float("inf"), True
    assert not check.session_allows(*asked)
    assert not check.session_allows("nobody", *asked[1:])


def test_the_check_by_hand_in_rust_reads_the_clock_that_a_gate_reads() -> None:
    root = Path(__file__).parents[2]
    # `shared.now_ns()` is for engines of other clocks, and for decisions aside of the hot path.
    clock = re.compile(r"(?<!shared\.)\b(?:monotonic_ns|now_ns|Instant::now|SystemTime::now)\(\)")
    clocks = {
        name: set(clock.findall((root / name).read_text()))
        for name in ("src_ext/engine/src/hot.rs", "bench/peers/rust/src/handwritten.rs")
    }
    # The wall clock takes several readings. It would make the check slow, and a mark against it easy to meet.
    assert set(map(frozenset, clocks.values())) == {frozenset({"monotonic_ns()"})}, clocks


def test_a_difference_names_the_request_and_who_says_what() -> None:
    orders = [Order("a", "i", 1, 2), Order("b", "j", 3, 4)]
    assert first_difference({"one": "10", "two": "10", "slow": "1"}, orders) is None
    found = first_difference({"one": "10", "two": "11", "slow": "1"}, orders)
    assert found is not None
    assert "request 1 (algo='b', instrument='j', notional=3, qty=4)" in found
    assert found.endswith("ALLOW say two; DENY say one")


def test_peers_are_measured_in_processes_of_their_own() -> None:
    peers = chosen(["python-session"])
    steps: list[str] = []
    result = heat(10, peers, rounds=2, budget_ms=20, step=steps.append)
    assert result.difference is None
    assert [one.name for one in peers] == ["python-floor", "ztfast", "python-session"]
    assert len(steps) == len(peers) * 3
    assert 0.4 <= result.allowed <= 0.6
    figures = result.figures
    # Dozens of times apart: no noise turns that round.
    assert figures["python-floor"].p50_ns < figures["python-session"].p50_ns
    assert all(one.p50_ns <= one.p99_ns and one.samples > 2 for one in figures.values())


def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    peer = next(one for one in PEERS if one.name == "ztfast")
    with pytest.raises(PeerError, match="ztfast: its program ended with code 1"), Process(peer, tmp_path):
        pytest.fail("it had nothing to read")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no peers cerbos; there are python-floor, "):
        chosen(["opa", "cerbos"])


def made(p50s: dict[str, float]) -> Heat:
    """Make a heat with these medians."""
    by_name: dict[str, Peer] = {peer.name: peer for peer in PEERS}
    figures = {name: Figures(by_name[name], "1", p50, p50 * 2, 64, 100, 2_000, 20) for name, p50 in p50s.items()}
    return Heat(10, 0.5, figures, None)


@pytest.mark.parametrize(
    ("p50s", "met"),
    [
        ({"ztfast": 50, "python-session": 750, "cedarpy": 60_000, "casbin": 9_000}, [True, False]),
        ({"ztfast": 50, "python-session": 749, "cedarpy": 10_000, "casbin": 90_000}, [False, True]),
        ({"ztfast-native": 26, "rust-ids-session": 20, "rust-ids": 11, "opa": 27}, [True, True]),
        ({"ztfast-native": 27, "rust-ids-session": 20, "rust-ids": 11, "opa": 27}, [False, False]),
        ({"ztfast-native": 20, "rust-strings": 15, "rust-strings-session": 19, "opa": 26_000}, [False]),
        ({"python": 1_000, "cedarpy": 60_000}, []),
    ],
)
def test_marks_are_met_or_missed_by_the_figures(p50s: dict[str, float], met: list[bool]) -> None:
    heats = [made(p50s)]
    found = marks(heats)
    assert [mark.met for mark in found] == met
    written = as_json(heats, found)
    assert [peer["peer"] for peer in written["sizes"][0]["peers"]] == list(p50s)


def test_the_table_of_the_readme_has_each_peer_and_size() -> None:
    p50s = {"ztfast": 50.0, "cedarpy": 60_000.0, "ztfast-native": 25.0}
    assert markdown([made(p50s), made(p50s)]).splitlines() == [
        "| p50 / p99 a decision | version | 10 | 10 |",
        "|---|---|---:|---:|",
        "| **from Python** | | | |",
        "| ztfast | 1 | 50.0 ns / 100 ns | 50.0 ns / 100 ns |",
        "| cedarpy | 1 | 60.0 us / 120 us | 60.0 us / 120 us |",
        "| **native** | | | |",
        "| ztfast | 1 | 25.0 ns / 50.0 ns | 25.0 ns / 50.0 ns |",
    ]
