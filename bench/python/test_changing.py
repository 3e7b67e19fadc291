"""Benchmarks of the calls between decisions: changing entities, swapping bundles, explaining."""

from __future__ import annotations

from itertools import cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import ztfast
from bench.python.worlds import Opened
from ztfast.gate import empty_call

CHANGES = "upsert, swap"
EXPLAIN = "explain"


def allowed(opened: Opened) -> bool:
    """Return whether the engine now allows the world's request."""
    return opened.gate.allows(opened.session, opened.resource, *opened.values)


@pytest.mark.parametrize("group", [CHANGES, EXPLAIN])
def test_empty_c_call(benchmark: BenchmarkFixture, group: str) -> None:
    benchmark.group = group
    assert benchmark(empty_call, None) is None


@pytest.mark.benchmark(group=CHANGES)
def test_upsert_there_and_back(benchmark: BenchmarkFixture, opened: Opened) -> None:
    engine, changed, original = opened.engine, [opened.world.changed], [opened.world.original]

    def there_and_back() -> None:
        engine.upsert(changed)
        engine.upsert(original)

    benchmark(there_and_back)
    assert allowed(opened)
    engine.upsert(changed)
    assert not allowed(opened)


@pytest.mark.benchmark(group=CHANGES)
def test_swap(benchmark: BenchmarkFixture, opened: Opened) -> None:
    engine, world = opened.engine, opened.world
    other = world.compile(world.changed_entities)
    turns = cycle([other, opened.bundle])

    def swap() -> ztfast.Bundle:
        bundle = next(turns)
        engine.swap(bundle, keep_changes=False)
        return bundle

    benchmark(swap)
    for _ in range(2):
        bundle = swap()
        assert engine.bundle is bundle
        assert allowed(opened) is (bundle is opened.bundle)


@pytest.mark.benchmark(group=EXPLAIN)
@pytest.mark.parametrize("denied", [False, True], ids=["allowed", "denied"])
def test_explain(benchmark: BenchmarkFixture, opened: Opened, denied: bool) -> None:
    world = opened.world
    context = world.denied if denied else world.context
    explanation = benchmark(opened.engine.explain, opened.session, world.action, world.resource, context)
    assert explanation.allow is not denied
    assert explanation.agrees
    assert all(reason.source for reason in explanation.reasons)
    assert explanation.reasons or denied
