"""The same calls under pytest-benchmark: ``make bench``. Collected only when this file is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.hot import cedarpy_call
from bench.workload import Workload
from ztfast.gate import empty_call
from ztfast.latency import empty_function


@pytest.fixture(scope="module")
def work() -> Workload:
    return Workload()


def quick(benchmark: Any, call: Any, *arguments: Any) -> Any:
    """Calls of nanoseconds are timed ten thousand at a time: the clock costs more than one of them."""
    return benchmark.pedantic(call, args=arguments, iterations=10_000, rounds=50, warmup_rounds=2)


@pytest.mark.parametrize("floor", [empty_call, empty_function], ids=["c", "python"])
def test_empty_call(benchmark: Any, work: Workload, floor: Any) -> None:
    quick(benchmark, floor, work.session, work.resource, *work.values)


def test_allows_cell_decides(benchmark: Any, work: Workload) -> None:
    assert quick(benchmark, work.cancel.allows, work.session, work.resource)


def test_allows_two_comparisons(benchmark: Any, work: Workload) -> None:
    assert quick(benchmark, work.order.allows, work.session, work.resource, *work.values)


def test_decide_two_comparisons(benchmark: Any, work: Workload) -> None:
    assert quick(benchmark, work.order.decide, work.session, work.resource, *work.values)


def test_evaluate_dict(benchmark: Any, work: Workload) -> None:
    context = {"notional": 250_000, "qty": 100}
    assert benchmark(work.engine.evaluate, 'Algo::"a1"', "order.new", 'Instrument::"i1"', context)


def test_decide_many_100_000_rows(benchmark: Any, work: Workload) -> None:
    columns = np.full(100_000, 250_000), np.full(100_000, 100)
    assert (benchmark(work.order.decide_many, work.session, work.resource, *columns) == 1).all()


def test_cedarpy(benchmark: Any) -> None:
    assert benchmark(cedarpy_call()).allowed
