"""How calls are timed: in bulk, or one by one in a closed or an open loop.

- In bulk, many calls share two readings of the clock, which costs more than a decision: what a call takes on average.
- In a *closed loop* each call is timed on its own and the next begins when it is done. That shows what a call takes,
  and hides what a stall does to others: while one call hangs, the calls that would have come meanwhile are not made.
- In an *open loop* calls are due at a fixed rate, as orders come from a market that does not wait. Each is timed from
  when it was *due*, so a stall is charged to every call that had to wait for it (coordinated omission, corrected).

Loops around native decisions are in ``ztfast._core`` and give the same histograms.
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

__all__ = ["BenchError", "bulk", "closed_loop", "open_loop", "over_rows", "pinned", "quiet"]

Call = Callable[..., object]
Bulk = Callable[[int], float]
"""Makes so many calls; nanoseconds of one."""

LEAST_NS = 0.01
"""What is reported of something that takes no longer than the empty loop around it."""


class BenchError(Error):
    """Something that the bench was asked for cannot be: a CPU it may not run on, a file that is no result of a run."""


def bulk(call: Call, *arguments: object) -> Bulk:
    """Times many calls with the same arguments, above an empty loop.

    >>> bulk(len, "")(1_000) > 0
    True
    """
    return _above("", [], {"call": call}, arguments, 1)


def over_rows(call: Call, rows: Sequence[tuple[object, object]], *arguments: object) -> Bulk:
    """Times many calls whose first two arguments change; makes about as many as asked for, all rows each time.

    >>> over_rows(max, [(1, 2), (3, 4)], 0)(1_000) > 0
    True
    """
    return _above("for one, other in rows: ", ["one", "other"], {"call": call, "rows": rows}, arguments, len(rows))


def _above(loop: str, first: list[str], known: dict[str, Any], arguments: tuple[object, ...], rows: int) -> Bulk:
    """Times a call within a loop, less the same loop without it."""
    fixed = {f"a{position}": argument for position, argument in enumerate(arguments)}
    known |= fixed
    # Local variables: looking up globals is not what is measured.
    setup = "; ".join(f"{name} = given[{name!r}]" for name in known)
    given = {"given": known}
    timed = timeit.Timer(f"{loop}call({', '.join([*first, *fixed])})", setup, perf_counter_ns, given)
    empty = timeit.Timer(f"{loop}pass", setup, perf_counter_ns, given)

    def run(count: int) -> float:
        times = max(count // rows, 1)
        return max((timed.timeit(times) - empty.timeit(times)) / (times * rows), LEAST_NS)

    return run


def closed_loop(call: Call, rows: Sequence[tuple[Any, ...]]) -> Histogram:
    """Time each call over these arguments, one after the other. The clock's own cost is in each.

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
    """Time each call over these arguments, which are due at a fixed rate.

    Returns:
        Two histograms: from when each call was due, waiting included; and from when it began.

    >>> due, begun = open_loop(max, [(1, 2)] * 100, per_second=100_000)
    >>> due.count == begun.count == 100
    True
    """
    if not per_second > 0:
        raise ValueError(f"per_second: wanted a rate above 0, got {per_second}")
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
    """Without Python's garbage collector, which is put back as it was."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def pinned(cpu: int | None = None) -> Iterator[int | None]:
    """With this thread on one CPU, then on those where it was before.

    Args:
        cpu: Which one; else the last of those allowed, because the first is where most interrupts go.

    Yields:
        The CPU's number; ``None`` where the operating system cannot pin threads.

    Raises:
        BenchError: where this process may not run on that CPU.
    """
    if not hasattr(os, "sched_setaffinity"):
        if cpu is not None:
            raise BenchError(f"CPU {cpu}: this operating system cannot pin threads; leave the option out")
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
