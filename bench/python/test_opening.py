"""Benchmarks of the calls before decisions: compile and load a bundle, open an engine, prepare, admit, revoke."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import ztfast
from bench.python.worlds import ROWS, Opened, World
from ztfast.gate import empty_call

OPENING = "compile, load, open"
SESSIONS = f"sessions: {ROWS:,} of them"
PREPARING = "prepare, handles"


@pytest.mark.parametrize("group", [OPENING, PREPARING])
def test_empty_c_call(benchmark: BenchmarkFixture, group: str) -> None:
    benchmark.group = group
    assert benchmark(empty_call, None) is None


@pytest.mark.benchmark(group=OPENING)
def test_compile(benchmark: BenchmarkFixture, world: World, bundle: ztfast.Bundle) -> None:
    assert benchmark(world.compile, world.entities).hash == bundle.hash


@pytest.mark.benchmark(group=OPENING)
def test_read_file(benchmark: BenchmarkFixture, bundle: ztfast.Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.ztb"
    bundle.save(path)
    assert len(benchmark(path.read_bytes)) == path.stat().st_size


@pytest.mark.benchmark(group=OPENING)
def test_load(benchmark: BenchmarkFixture, bundle: ztfast.Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bundle.ztb"
    bundle.save(path)
    assert benchmark(ztfast.Bundle.load, path).hash == bundle.hash


@pytest.mark.benchmark(group=OPENING)
def test_engine(benchmark: BenchmarkFixture, world: World, bundle: ztfast.Bundle) -> None:
    engine = benchmark(ztfast.Engine, bundle)
    assert engine.evaluate(world.principal, world.action, world.resource, world.context)


@pytest.mark.benchmark(group=OPENING)
def test_engine_of_10_000_handles(benchmark: BenchmarkFixture, world: World, bundle: ztfast.Bundle) -> None:
    engine = benchmark(ztfast.Engine, bundle, sessions=10_000, handles=10_000)
    assert engine.evaluate(world.principal, world.action, world.resource, world.context)


@pytest.mark.benchmark(group=PREPARING)
def test_prepare(benchmark: BenchmarkFixture, opened: Opened) -> None:
    gate = benchmark(opened.engine.prepare, opened.world.action, *opened.world.context)
    assert gate.names == tuple(opened.world.context)
    assert gate.allows(opened.session, opened.resource, *opened.values)


@pytest.mark.benchmark(group=PREPARING)
def test_resource_that_has_a_handle(benchmark: BenchmarkFixture, opened: Opened) -> None:
    assert benchmark(opened.engine.resource, opened.world.resource) is opened.resource


def times(call: Callable[[], object]) -> list[object]:
    """Make a thousand calls, and return their results."""
    return [call() for _ in range(ROWS)]


@pytest.mark.benchmark(group=SESSIONS)
def test_empty_c_calls(benchmark: BenchmarkFixture) -> None:
    assert benchmark(times, empty_call) == [None] * ROWS


@pytest.mark.benchmark(group=SESSIONS)
def test_identity(benchmark: BenchmarkFixture, world: World) -> None:
    made = benchmark(times, lambda: ztfast.Identity(world.principal, not_after=math.inf))
    assert {str(identity.principal) for identity in made} == {world.principal}


@pytest.mark.benchmark(group=SESSIONS)
def test_admit(benchmark: BenchmarkFixture, opened: Opened) -> None:
    identity = ztfast.Identity(opened.world.principal, not_after=math.inf)
    admitted: list[ztfast.Session] = []

    def admit() -> None:
        admitted.extend(opened.engine.admit(identity) for _ in range(ROWS))

    def revoke() -> None:
        # Without this, the sessions would fill all slots.
        for session in admitted:
            session.revoke()
        admitted.clear()

    benchmark.pedantic(admit, setup=revoke, rounds=100, warmup_rounds=1)
    assert len({session.id for session in admitted}) == ROWS
    assert all(opened.gate.allows(session, opened.resource, *opened.values) for session in admitted)


@pytest.mark.benchmark(group=SESSIONS)
def test_revoke(benchmark: BenchmarkFixture, opened: Opened) -> None:
    sessions: list[ztfast.Session] = []

    def admit() -> None:
        sessions[:] = [opened.admit(opened.world.principal) for _ in range(ROWS)]

    def revoke() -> list[bool]:
        return [session.revoke() for session in sessions]

    assert benchmark.pedantic(revoke, setup=admit, rounds=100, warmup_rounds=1) == [True] * ROWS
    codes = {opened.gate.decide(session, opened.resource, *opened.values).code for session in sessions}
    assert codes == {"REVOKED"}
