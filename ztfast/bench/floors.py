"""The floors: the least that calls and loads cost on this machine. All other figures are ratios to floors."""

from __future__ import annotations

from ztfast import _core
from ztfast.bench.loops import Bulk, bulk, over_rows
from ztfast.bench.workload import Workload
from ztfast.gate import EntityHandle, Session, empty_call

__all__ = ["FLOORS", "TWO_LOADS_BYTES", "empty_function", "floors"]

TWO_LOADS_BYTES = 64 << 20
"""The size of the memory for the loads. It exceeds most caches, so the loads go to memory."""

FLOORS = {
    "c_call": "empty C call, 4 arguments",
    "c_call_rows": "empty C call, random arguments",
    "python_call": "empty Python function, 4 arguments",
    "pointer_call": "empty native call by pointer",
    "two_loads": f"two dependent random loads, {TWO_LOADS_BYTES >> 20} MiB",
    "counter": "reading the time-stamp counter",
    "session_clock": "reading the sessions' clock",
}
"""The floors' keys in results, and their names in tables."""


def empty_function(session: object, resource: object, notional: object, qty: object) -> None:
    """Do nothing.

    >>> empty_function(1, 2, 3, 4)
    """


def floors(work: Workload, rows: list[tuple[Session, EntityHandle]]) -> dict[str, Bulk]:
    """Return the measurement of each floor, by key. ``rows`` are the random requests of the series.

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
