"""What costs nothing less on this machine: the figures that all others are ratios of, taken in the same rounds."""

from __future__ import annotations

from ztfast import _core
from ztfast.bench.loops import Bulk, bulk, over_rows
from ztfast.bench.workload import Workload
from ztfast.gate import EntityHandle, Session, empty_call

__all__ = ["FLOORS", "TWO_LOADS_BYTES", "empty_function", "floors"]

TWO_LOADS_BYTES = 64 << 20
"""Beyond most caches: what it costs to fetch something that was not asked for lately, and what that refers to."""

FLOORS = {
    "c_call": "empty C call, 4 arguments",
    "c_call_rows": "empty C call, random arguments",
    "python_call": "empty Python function, 4 arguments",
    "pointer_call": "empty native call by pointer",
    "two_loads": f"two dependent random loads, {TWO_LOADS_BYTES >> 20} MiB",
    "counter": "reading the time-stamp counter",
    "session_clock": "reading the sessions' clock",
}
"""The floors' keys in results, and their names for people."""


def empty_function(session: object, resource: object, notional: object, qty: object) -> None:
    """A Python function that does nothing.

    >>> empty_function(1, 2, 3, 4)
    """


def floors(work: Workload, rows: list[tuple[Session, EntityHandle]]) -> dict[str, Bulk]:
    """How each floor is measured, by its key; ``rows`` are the random requests of the series.

    >>> sorted(floors(Workload(), [])) == sorted(FLOORS)
    True
    """
    request = work.session, work.resource, *work.values
    chain = _core.Chain(TWO_LOADS_BYTES)
    return {
        "c_call": bulk(empty_call, *request),
        "c_call_rows": over_rows(empty_call, rows, *work.values),
        "python_call": bulk(empty_function, *request),
        "pointer_call": lambda count: _core.time_pointer_calls(count) / count,
        "two_loads": lambda count: chain.time_pairs(count // 10) / (count // 10),
        "counter": lambda count: _core.time_counter(count) / count,
        "session_clock": lambda count: _core.time_session_clock(count) / count,
    }
