"""Benchmarks of many decisions at once: a thousand rows, and one session over the whole store."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import ztfast
from bench.python.worlds import ROWS, Opened, Rows
from ztfast.gate import empty_call

BATCH = f"{ROWS:,} rows"
STORE = "a session over the whole store"


@pytest.fixture(autouse=True)
def both_answers(request: pytest.FixtureRequest) -> None:
    """Check that some rows are allowed and some denied."""
    if "rows" in request.fixturenames:
        codes = request.getfixturevalue("rows").codes
        assert 0 < codes.count(ztfast.Code.ALLOW) < ROWS


@pytest.mark.benchmark(group=BATCH)
def test_empty_c_calls(benchmark: BenchmarkFixture, rows: Rows) -> None:
    columns = [column.tolist() for column in rows.columns]
    arguments = list(zip(rows.session_objects, rows.resource_objects, *columns, strict=True))
    assert benchmark(lambda: [empty_call(*row) for row in arguments]) == [None] * ROWS


@pytest.mark.benchmark(group=BATCH)
def test_loop_of_allows(benchmark: BenchmarkFixture, opened: Opened, rows: Rows) -> None:
    allows = opened.gate.allows
    columns = [column.tolist() for column in rows.columns]
    arguments = list(zip(rows.session_objects, rows.resource_objects, *columns, strict=True))
    assert benchmark(lambda: [allows(*row) for row in arguments]) == list(map(bool, rows.decisions))


@pytest.mark.benchmark(group=BATCH)
def test_decide_many_of_arrays(benchmark: BenchmarkFixture, opened: Opened, rows: Rows) -> None:
    codes = benchmark(opened.gate.decide_many, rows.session_ids, rows.resource_handles, *rows.columns)
    assert codes.tolist() == rows.codes


@pytest.mark.benchmark(group=BATCH)
def test_decide_many_of_lists(benchmark: BenchmarkFixture, opened: Opened, rows: Rows) -> None:
    columns = [column.tolist() for column in rows.columns]
    codes = benchmark(opened.gate.decide_many, rows.session_objects, rows.resource_objects, *columns)
    assert codes.tolist() == rows.codes


@pytest.mark.benchmark(group=BATCH)
def test_gate_evaluate_many(benchmark: BenchmarkFixture, opened: Opened, rows: Rows) -> None:
    codes = benchmark(opened.gate.evaluate_many, rows.principal_handles, rows.resource_handles, *rows.columns)
    assert codes.tolist() == rows.codes


@pytest.mark.benchmark(group=BATCH)
@pytest.mark.parametrize("handles", [False, True], ids=["uids", "handles"])
def test_engine_evaluate_many(benchmark: BenchmarkFixture, opened: Opened, rows: Rows, handles: bool) -> None:
    world = opened.world
    principals, resources = rows.principals, rows.resources
    given = (rows.principal_handles, rows.resource_handles) if handles else (principals, resources)
    context = dict(zip(world.context, rows.columns, strict=True))
    codes = benchmark(opened.engine.evaluate_many, given[0], world.action, given[1], context)
    assert codes.tolist() == rows.codes


@pytest.mark.benchmark(group=STORE)
def test_empty_c_call(benchmark: BenchmarkFixture) -> None:
    assert benchmark(empty_call, None, None, None) is None


@pytest.mark.benchmark(group=STORE)
@pytest.mark.parametrize("with_context", [False, True], ids=["cancel", "order"])
@pytest.mark.parametrize("method", ["entitlements", "entitled"])
def test_store(benchmark: BenchmarkFixture, opened: Opened, method: str, with_context: bool) -> None:
    world, engine = opened.world, opened.engine
    action, context = (world.action, world.context) if with_context else (world.cancel, {})
    found = benchmark(getattr(engine, method), opened.session, action, context)
    resources = engine.resources(action)
    allowed = [uid for uid in resources if engine.decide(opened.session, action, uid, context)]
    assert 0 < len(allowed) < len(resources)
    if method == "entitlements":
        found = [uid for uid, may in zip(resources, found.tolist(), strict=True) if may]
    assert found == allowed
