"""The bench of the example desk: it asks every gate, and what it measures is decided as its names say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.embed import table
from ztfast import _core
from ztfast.bench import desk as measured
from ztfast.bench.desk import (
    BEYOND_A_CAP,
    DESK_MARKS,
    NEW_ROWS,
    ORDER,
    OTHER_GATES,
    PRICED_ORDER,
    WHOLE_ORDER,
    Asked,
    DeskWorkload,
    anew,
    brought,
    bundle,
    desk_series,
    has_objects,
)
from ztfast.bench.floors import FLOORS
from ztfast.bench.histogram import Histogram, quantiles
from ztfast.bench.loops import Bulk
from ztfast.bench.report import NATIVE, Figure, Mark, Noise, Report, Spread, machine, markdown, native_key, spread
from ztfast.bench.series import ROWS, Native
from ztfast.codes import Code
from ztfast.gate import Decision, EntityHandle

RULE = "algo-trades-its-strategy"


@pytest.fixture(scope="module")
def desk() -> DeskWorkload:
    return DeskWorkload(bundle())


def test_each_action_of_the_desk_is_asked_and_has_a_mark() -> None:
    groups = {"trade", "observe", "sensitive", "reduce-risk"}
    actions = {ztfast.Uid.parse(action).id for action in bundle().actions}
    assert {one.action for one in OTHER_GATES} == actions - groups
    assert {one.action for one in OTHER_GATES if one.principal.startswith("Agent::")} >= {"order.new", "order.cancel"}
    promised = {mark.series: mark for mark in DESK_MARKS}
    for one in OTHER_GATES:
        assert one.action in one.name
        assert (promised[one.key].floor, promised[one.key].at_most) == ("c_call", 6.0)


def test_each_mark_is_about_figures_that_there_are(desk: DeskWorkload) -> None:
    series = desk_series(desk, 100)
    keys = [one.key for one in series]
    assert len(set(keys)) == len(keys)
    assert {one.workload for one in series} == {"desk"}
    assert {one.floor for one in series} == {"c_call"}
    for mark in DESK_MARKS:
        assert mark.series in keys
        assert mark.floor is None or mark.floor in FLOORS
        assert mark.above is None or mark.above in keys


def test_each_series_from_python_makes_the_calls_that_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[tuple[str, object]]] = []

    def bulk(call: Callable[..., object], *given: object) -> Bulk:
        return over_rows(call, [()], *given)

    def over_rows(call: Callable[..., object], rows: Sequence[tuple[object, ...]], *given: object) -> Bulk:
        made.append([(ztfast.Uid.parse(call.__self__.action).id, call(*row, *given)) for row in rows])  # type: ignore[attr-defined]
        return lambda count: float(len(made))

    def over_values(call: Callable[..., object], entities: tuple[object, object], rows: Sequence[Any]) -> Bulk:
        return over_rows(call, [(*entities, *row) for row in rows])

    monkeypatch.setattr(measured, "bulk", bulk)
    monkeypatch.setattr(measured, "over_rows", over_rows)
    monkeypatch.setattr(measured, "over_values", over_values)
    desk = DeskWorkload(bundle())
    made.clear()
    series = [one for one in desk_series(desk, 100) if not one.key.startswith(NATIVE)]
    # Columns time themselves.
    assert len(made) == len(series) - 1
    order = series.index(next(one for one in series if one.key == "desk_order_many"))
    for one, answers in zip(series[:order] + series[order + 1 :], made, strict=True):
        assert all(one.name.startswith(action) for action, _ in answers), one.name
        assert len(answers) == {"random": ROWS, "anew": NEW_ROWS}.get(one.key.rsplit("_", 1)[-1], 1)
        given = {"desk_order_denied": False, "desk_order_decided": Decision(Code.ALLOW, (RULE,))}.get(one.key, True)
        assert {answer for _, answer in answers} == {given}


@pytest.mark.parametrize("asked", OTHER_GATES, ids=lambda asked: asked.name)
def test_each_request_is_allowed_by_all_attributes_that_it_names(desk: DeskWorkload, asked: Asked) -> None:
    gate, request = desk.gate_and_request(asked)
    assert gate.allows(*request)
    assert gate.names == tuple(asked.values)
    # The session and the resource count, too: nobody may do this to a thing that the desk does not know.
    unknown = desk.engine.resource(ztfast.Uid(str(ztfast.Uid.parse(asked.resource).type), "unknown"))
    exempt = asked.action in ("order.cancel", "kill.engage")
    assert exempt or not gate.allows(request[0], unknown, *request[2:])


def test_a_request_that_the_desk_denies_is_not_measured(desk: DeskWorkload) -> None:
    denied = Asked("order.new", 'Algo::"a7"', "order.new", 'Instrument::"AAPL"', BEYOND_A_CAP)
    with pytest.raises(AssertionError, match=r"must be allowed: order.new: Decision\(DENY, FORBID"):
        desk.gate_and_request(denied)


def test_orders_hold_what_their_names_say(desk: DeskWorkload) -> None:
    assert list(ORDER) == list(BEYOND_A_CAP) == ["notional", "qty"]
    kinds = [type(value) for value in PRICED_ORDER.values()]
    assert (len(kinds), kinds.count(Decimal), kinds.count(datetime), kinds.count(int)) == (5, 1, 1, 3)
    assert len(WHOLE_ORDER) == 9
    gate = desk.engine.prepare("order.new", *ORDER)
    decision = gate.decide(desk.session, desk.resource, *BEYOND_A_CAP.values())
    assert set(decision.reasons) >= {"firm-notional-cap", "algo-notional-cap"}


def test_random_pairs_are_many_and_allowed(desk: DeskWorkload) -> None:
    gates = [(desk.engine.prepare("order.new", *values), values) for values in (ORDER, WHOLE_ORDER)]
    gates.append((desk.engine.prepare("order.cancel"), {}))
    assert len(desk.pairs) == ROWS
    assert len({(session.id, resource.handle) for session, resource in desk.pairs}) > 100
    assert len({session.id for session, _ in desk.pairs}) > 10
    for gate, values in gates:
        assert all(gate.allows(*pair, *values.values()) for pair in desk.pairs)
    uids, again = (
        [(session.principal, resource.uid) for session, resource in of.pairs] for of in (desk, DeskWorkload(bundle()))
    )
    assert uids == again


def test_native_requests_are_allowed(desk: DeskWorkload) -> None:
    api = table.functions()
    bound = {one.key: getattr(one.once, "__self__", None) for one in desk_series(desk, ROWS)}
    natives = {key: native for key, native in bound.items() if isinstance(native, Native)}
    lengths = {"order_2": 2, "order_5": 5, "order_9": 9, "order_denied": 2, "order_decided": 2, "cancel": 0}
    assert {key.removeprefix(NATIVE).removesuffix("_random") for key in natives} == set(lengths)
    for key, native in natives.items():
        sessions, resources, values = native.requests(ROWS)
        what = key.removeprefix(NATIVE).removesuffix("_random")
        assert len(values) == lengths[what]
        given = table.values(*values)
        codes = {
            api["allows"](native.gate.address, *pair, given, len(values))
            for pair in zip(sessions, resources, strict=True)
        }
        assert codes == {Code.FORBID if what == "order_denied" else Code.ALLOW}
        assert (len(set(zip(sessions, resources, strict=True))) > 1) == key.endswith("_random")


def test_each_gate_is_asked_natively_too(desk: DeskWorkload) -> None:
    keys = [one.key for one in desk_series(desk, 100)]
    from_python = [key for key in keys if not key.startswith(NATIVE)]
    alone = [key for key in from_python if native_key(key) not in keys and not key.endswith("_anew")]
    assert alone == ["desk_order_many"]


def test_a_request_of_new_objects_is_equal_and_shares_no_text_or_set(desk: DeskWorkload) -> None:
    for asked in filter(has_objects, OTHER_GATES):
        values = desk.gate_and_request(asked)[1][2:]
        copies = [anew(value) for value in values]
        assert copies == list(values)
        assert any(copy is not value for copy, value in zip(copies, values, strict=True)), asked.name


@pytest.mark.parametrize("asked", OTHER_GATES, ids=lambda asked: asked.name)
def test_native_calls_are_allowed_by_what_they_bring(desk: DeskWorkload, asked: Asked) -> None:
    _, (session, resource, *values) = desk.gate_and_request(asked)
    gate = desk.engine._core.prepare(asked.action, list(asked.values))
    given = [brought(value) for value in values]
    assert _core.time_calls(gate, session.id, resource.handle, given, 10) > 0
    # Without the session, or with one value fewer, no call is allowed: the figure is not that of a denial.
    with pytest.raises(ValueError, match="10 of 10 calls were denied"):
        _core.time_calls(gate, 1, resource.handle, given, 10)
    if given:
        with pytest.raises(ValueError, match="10 of 10 calls were denied"):
            _core.time_calls(gate, session.id, resource.handle, given[:-1], 10)


def test_a_native_call_with_what_the_gate_does_not_take_is_denied(desk: DeskWorkload) -> None:
    asked = next(one for one in OTHER_GATES if one.name == "customer.read by an advisor")
    _, (session, resource, purpose, fields, ip) = desk.gate_and_request(asked)
    gate = desk.engine._core.prepare(asked.action, list(asked.values))
    good = [brought(value) for value in (purpose, fields, ip)]
    for bad in (
        [good[0], good[1], (b"\n\x14\x01", 32)],
        [good[0], good[1], (b"\n\x14\x01\x05", 33)],
        [good[0], [str(at) for at in range(2_000)], good[2]],
        ["x" * 20_000, *good[1:]],
        [resource, *good[1:]],
        [7, *good[1:]],
    ):
        with pytest.raises(ValueError, match="1 of 1 calls were denied"):
            _core.time_calls(gate, session.id, resource.handle, bad, 1)
    for bad in ([None], [1.5], [2**70], [["a", None]], [(b"", "32")]):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            _core.time_calls(gate, session.id, resource.handle, bad, 1)
    assert _core.time_calls(gate, session.id, resource.handle, good, 1) > 0


def test_entities_are_passed_as_handles(desk: DeskWorkload) -> None:
    passed = desk.passed((ztfast.Uid("Human", "h1"), 7))
    assert isinstance(passed[0], EntityHandle)
    assert passed[1:] == (7,)
    assert [brought(True), brought("x"), brought(passed[0])] == [1, "x", passed[0]]


# -- the report --------------------------------------------------------------------------------------------------------


def made() -> Report:
    """Make a report with a figure of each workload."""
    figures = [
        Figure(key, key, Spread(30.0, 29.0, 31.0), "c_call", Spread(3.0, 2.9, 3.1), key[:4])
        for key in ("book", "desk_one", "desk_other", "desk_native_one", "desk_native_alone")
    ]
    floors = [Figure(key, key, spread([ns])) for key, ns in (("c_call", 10.0), ("pointer_call", 1.25))]
    marks = [Mark("a ratio", 3.0, 2.0, False), Mark("a time", 30.0, 40.0, True, "ns")]
    noise = Noise(quantiles(Histogram()), 0.0, [(100.0, 0.0)])
    return Report(machine(None), {"rounds": 1, "quick": True, "per_second": 1.0}, floors, figures, [], noise, marks)


def test_the_markdown_table_has_the_desk_alone() -> None:
    assert markdown(made()).splitlines() == [
        "| decision on the example desk | from Python, ns | x empty C call | natively, ns |",
        "| --- | ---: | ---: | ---: |",
        "| an empty call | 10.0 | 1.0 | 1.2 |",
        "| desk_one | 30.0 | 3.0 | 30.0 |",
        "| desk_other | 30.0 | 3.0 |  |",
    ]


def test_a_run_from_before_the_desk_was_measured_can_be_compared(tmp_path: Path) -> None:
    older = json.loads(made().to_json())
    for figure in older["series"] + older["floors"]:
        del figure["workload"]
    for mark in older["marks"]:
        del mark["unit"]
    path = tmp_path / "older.json"
    path.write_text(json.dumps(older))
    found = Report.read(path)
    assert [figure.workload for figure in found.series] == ["book"] * 5
    assert [mark.unit for mark in found.marks] == ["x", "x"]
