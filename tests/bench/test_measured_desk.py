"""The bench of the example desk: it asks every gate, and what it measures is decided as its names say."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

import ztfast
from tests.embed import table
from ztfast.bench.desk import (
    BEYOND_A_CAP,
    DESK_MARKS,
    ORDER,
    OTHER_GATES,
    PRICED_ORDER,
    WHOLE_ORDER,
    Asked,
    DeskWorkload,
    bundle,
    desk_series,
    number,
)
from ztfast.bench.floors import FLOORS
from ztfast.bench.histogram import Histogram, quantiles
from ztfast.bench.report import Figure, Mark, Noise, Report, Spread, machine, markdown, spread
from ztfast.bench.series import ROWS, Native
from ztfast.codes import Code
from ztfast.gate import EntityHandle


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
    assert all(one.once(10) > 0 for one in series if one.key != "desk_order_many")


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
    natives = [one for one in desk_series(desk, ROWS) if one.key.startswith("desk_native_")]
    assert len(natives) == 6
    for one in natives:
        native = one.once.__self__
        assert isinstance(native, Native)
        sessions, resources, values = native.requests(ROWS)
        what = one.key.removeprefix("desk_native_").removesuffix("_random")
        assert len(values) == {"order_2": 2, "order_9": 9, "cancel": 0}[what]
        given = table.values(*values)
        codes = {
            api["allows"](native.gate.address, *pair, given, len(values))
            for pair in zip(sessions, resources, strict=True)
        }
        assert codes == {Code.ALLOW}
        assert (len(set(zip(sessions, resources, strict=True))) > 1) == one.key.endswith("_random")


def test_entities_are_passed_as_handles(desk: DeskWorkload) -> None:
    passed = desk.passed((ztfast.Uid("Human", "h1"), 7))
    assert isinstance(passed[0], EntityHandle)
    assert passed[1:] == (7,)
    assert number(True) == 1


# -- the report --------------------------------------------------------------------------------------------------------


def made() -> Report:
    """Make a report with a figure of each workload."""
    figures = [
        Figure(key, key, Spread(30.0, 29.0, 31.0), "c_call", Spread(3.0, 2.9, 3.1), key) for key in ("book", "desk")
    ]
    floors = [Figure("c_call", "empty C call", spread([10.0]))]
    marks = [Mark("a ratio", 3.0, 2.0, False), Mark("a time", 30.0, 40.0, True, "ns")]
    noise = Noise(quantiles(Histogram()), 0.0, [(100.0, 0.0)])
    return Report(machine(None), {"rounds": 1, "quick": True, "per_second": 1.0}, floors, figures, [], noise, marks)


def test_the_markdown_table_has_the_desk_alone() -> None:
    assert markdown(made()).splitlines() == [
        "| decision on the example desk | ns | x empty C call |",
        "| --- | ---: | ---: |",
        "| empty C call | 10.0 | 1.0 |",
        "| desk | 30.0 | 3.0 |",
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
    assert [figure.workload for figure in found.series] == ["book", "book"]
    assert [mark.unit for mark in found.marks] == ["x", "x"]
