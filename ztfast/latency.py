"""Measuring calls: floors, latencies one by one, and their distribution.

Machines differ and are shared, so every figure here is for the side of another from the same run: an empty C call, an
empty Python call. The clock itself costs more than a decision, so it is measured too.
"""

from __future__ import annotations

import gc
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from ztfast.gate import empty_call

__all__ = ["Floors", "Quantiles", "floors", "ns_per_call", "quantiles", "time_each"]

Call = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Floors:
    """What a call costs that does nothing, in nanoseconds.

    Attributes:
        c_call_ns: An empty C function (METH_FASTCALL) with four arguments.
        python_call_ns: An empty Python function with four arguments.
        clock_ns: Two readings of the clock, with an empty C call between them: what :func:`time_each` adds.
    """

    c_call_ns: float
    python_call_ns: float
    clock_ns: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution of nanoseconds."""

    p50: float
    p99: float
    p999: float
    max: float


def empty_function(a: object, b: object, c: object, d: object) -> None:
    """A Python function that does nothing."""


def ns_per_call(call: Call, *arguments: object, number: int = 200_000, repeats: int = 7) -> float:
    """Nanoseconds per call above an empty loop: the median over repeats, each timed as a whole.

    >>> ns_per_call(len, "", number=1000, repeats=3) > 0
    True
    """
    names = {f"a{position}": argument for position, argument in enumerate(arguments)}
    timed = timeit.Timer(f"call({', '.join(names)})", globals={"call": call, **names})
    empty = timeit.Timer("pass")
    rounds = [timed.timeit(number) - empty.timeit(number) for _ in range(repeats)]
    return max(float(np.median(rounds)) / number * 1e9, 0.01)


def time_each(call: Call, rows: Sequence[tuple[Any, ...]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Nanoseconds of each call, the clock's own cost included."""
    taken = np.empty(len(rows), np.int64)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for position, row in enumerate(rows):
            began = perf_counter_ns()
            call(*row)
            taken[position] = perf_counter_ns() - began
    finally:
        if was_enabled:
            gc.enable()
    return taken


def quantiles(taken: np.ndarray[Any, np.dtype[np.int64]]) -> Quantiles:
    """Median and tails."""
    p50, p99, p999 = (float(value) for value in np.quantile(taken, (0.5, 0.99, 0.999)))
    return Quantiles(p50, p99, p999, float(taken.max()))


def floors() -> Floors:
    """Measure the floors."""
    arguments = (1, 2, 250_000, 100)
    return Floors(
        c_call_ns=ns_per_call(empty_call, *arguments),
        python_call_ns=ns_per_call(empty_function, *arguments),
        clock_ns=quantiles(time_each(empty_call, [arguments] * 50_000)).p50,
    )
