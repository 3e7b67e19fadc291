"""Timing of calls: in bulk, or one by one in a closed or an open loop.

- In bulk, many calls share two readings of the clock, because a reading costs more than a decision. The result is the
  average time of a call.
- In a *closed loop* each call is timed by itself, and the next call begins when it ends. This shows the time of a call,
  but hides the effect of a stall: while one call hangs, no other calls are made.
- In an *open loop* calls are due at a fixed rate, like orders in a market that does not wait. Each call is timed from
  the moment when it was *due*, so a stall counts for every call that had to wait (corrected coordinated omission).

``ztfast._core`` has such loops around native decisions. They return the same histograms.
"""

from __future__ import annotations

import gc
import os
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

from ztfast._core import Histogram
from ztfast.errors import Error

__all__ = ["BenchError", "bulk", "closed_loop", "open_loop", "over_rows", "over_values", "pinned", "quiet"]

Call = Callable[..., object]
Bulk = Callable[[int], float]
"""A function that makes a given number of calls and returns the nanoseconds of one."""

LEAST_NS = 0.01
"""The result for a call that takes no longer than the empty loop around it."""


class BenchError(Error):
    """An option of the bench is impossible: a CPU that the process may not use, or a file that is not a result."""


def bulk(call: Call, *arguments: object) -> Bulk:
    """Return a function that times calls with the same arguments, without the empty loop.

    >>> bulk(len, "")(1_000) > 0
    True
    """
    return _above("", [], {"call": call}, arguments, 1)


def over_rows(call: Call, rows: Sequence[tuple[object, object]], *arguments: object) -> Bulk:
    """Return a function that times calls whose first two arguments change. It goes through all rows each time.

    >>> over_rows(max, [(1, 2), (3, 4)], 0)(1_000) > 0
    True
    """
    return _above("for one, other in rows: ", ["one", "other"], {"call": call, "rows": rows}, arguments, len(rows))


def over_values(call: Call, entities: tuple[object, object], rows: Sequence[tuple[object, ...]]) -> Bulk:
    """Return a function that times calls whose arguments but the first two change. It goes through all rows each time.

    >>> over_values(max, (1, 2), [(3, 4), (5, 6)])(1_000) > 0
    True
    """
    names = [f"value{position}" for position in range(len(rows[0]))]
    known = {"call": call, "rows": rows, "one": entities[0], "other": entities[1]}
    return _above(f"for {', '.join(names)}, in rows: ", ["one", "other", *names], known, (), len(rows))


def _above(loop: str, first: list[str], known: dict[str, Any], arguments: tuple[object, ...], rows: int) -> Bulk:
    """Return a function that times a call within a loop, and subtracts the same loop without the call."""
    fixed = {f"a{position}": argument for position, argument in enumerate(arguments)}
    known |= fixed
    # Local variables, so that looking up globals is not measured.
    setup = "; ".join(f"{name} = given[{name!r}]" for name in known)
    given = {"given": known}
    timed = timeit.Timer(f"{loop}call({', '.join([*first, *fixed])})", setup, perf_counter_ns, given)
    empty = timeit.Timer(f"{loop}pass", setup, perf_counter_ns, given)

    def run(count: int) -> float:
        times = max(count // rows, 1)
        return max((timed.timeit(times) - empty.timeit(times)) / (times * rows), LEAST_NS)

    return run


def closed_loop(call: Call, rows: Sequence[tuple[Any, ...]]) -> Histogram:
    """Time a call with each of these arguments, one after the other. Each time includes reading the clock.

    >>> closed_loop(max, [(1, 2)] * 100).count
    100
    """
    taken = Histogram()
    with quiet():
        for row in rows:
            began = perf_counter_ns()
            call(*row)
            taken.record(perf_counter_ns() - began)
    return taken


def open_loop(call: Call, rows: Sequence[tuple[Any, ...]], per_second: float) -> tuple[Histogram, Histogram]:
    """Time a call with each of these arguments, due at a fixed rate.

    Returns:
        Two histograms: of the times since each call was due, including its wait, and of the times since it began.

    >>> due, begun = open_loop(max, [(1, 2)] * 100, per_second=100_000)
    >>> due.count == begun.count == 100
    True
    """
    if not per_second > 0:
        raise ValueError(f"per_second: wanted a rate above 0; got {per_second}")
    waited, taken = Histogram(), Histogram()
    period_ns = 1e9 / per_second
    with quiet():
        first = perf_counter_ns()
        for position, row in enumerate(rows):
            due = first + int(position * period_ns)
            began = perf_counter_ns()
            while began < due:
                began = perf_counter_ns()
            call(*row)
            done = perf_counter_ns()
            waited.record(done - due)
            taken.record(done - began)
    return waited, taken


@contextmanager
def quiet() -> Iterator[None]:
    """Disable Python's garbage collector, and restore its state afterwards."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def pinned(cpu: int | None = None) -> Iterator[int | None]:
    """Pin this thread to one CPU, and restore its CPUs afterwards.

    Args:
        cpu: The CPU; by default the last that is allowed, because the first gets most interrupts.

    Yields:
        The CPU's number; ``None`` if the operating system cannot pin threads.

    Raises:
        BenchError: if this process may not run on that CPU.
    """
    if not hasattr(os, "sched_setaffinity"):
        if cpu is not None:
            raise BenchError(f"CPU {cpu}: this operating system cannot pin threads: leave the option out")
        yield None
        return
    allowed = os.sched_getaffinity(0)
    chosen = max(allowed) if cpu is None else cpu
    if chosen not in allowed:
        raise BenchError(f"CPU {chosen}: this process may run on {', '.join(map(str, sorted(allowed)))}")
    os.sched_setaffinity(0, {chosen})
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)
