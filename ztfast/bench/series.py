"""The measured calls: decisions in bulk, each with its floor, and decisions timed one by one, for their tails."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from ztfast import _core
from ztfast.bench.histogram import Histogram
from ztfast.bench.loops import Bulk, bulk, closed_loop, open_loop, over_rows
from ztfast.bench.workload import POLICIES, SCHEMA, Workload, entities
from ztfast.engine import Engine
from ztfast.gate import EntityHandle, Gate, Session, empty_call

__all__ = ["MANY", "ROWS", "Native", "Series", "Tail", "columns", "rows", "series", "tails"]

ROWS = 1_000
"""The number of random requests. They are repeated; a branch predictor cannot learn so many."""

MANY = 100_000
"""The rows of a batch."""


@dataclass(frozen=True, slots=True)
class Series:
    """A call that is measured in bulk.

    Attributes:
        key: The name in results.
        name: The name in tables.
        floor: The key of the floor that it is compared with.
        once: Makes a given number of calls or decisions, and returns the nanoseconds of one.
        count: The number of calls in a round.
        workload: What is decided: ``book`` or ``desk``; ``identity`` for admissions.
    """

    key: str
    name: str
    floor: str
    once: Bulk
    count: int
    workload: str = "book"


@dataclass(frozen=True, slots=True)
class Tail:
    """A call that is timed one by one.

    Attributes:
        key, name: The name in results and in tables.
        floor: The key of the tail whose median is the time that the clock adds; ``None`` for such a tail, and for open
            loops: they show waits after stalls, which have no floor.
        once: Times a given number of calls.
        count: The number of calls in a round.
    """

    key: str
    name: str
    floor: str | None
    once: Callable[[int], Histogram]
    count: int


def rows(work: Workload) -> list[tuple[Session, EntityHandle]]:
    """Draw random sessions and resources, the same in every run."""
    chance = random.Random(1)
    return [(chance.choice(work.sessions), chance.choice(work.resources)) for _ in range(ROWS)]


def series(work: Workload, pairs: list[tuple[Session, EntityHandle]], count: int) -> list[Series]:
    """Return the calls that are measured in bulk. A round makes about ``count`` calls of the fast ones."""
    request = work.session, work.resource, *work.values
    engine, context = work.engine, {"notional": 250_000, "qty": 100}
    native, random_native = natives(work, pairs, count)
    found = [
        Series("allows_cell", "allows, cell decides", "c_call", bulk(work.cancel.allows, *request[:2]), count),
        Series("allows_ranges", "allows, two comparisons", "c_call", bulk(work.order.allows, *request), count),
        Series("allows_code", "allows, condition as code", "c_call", bulk(work.collared.allows, *request, 10), count),
        Series("allows_live", "allows, two comparisons, sessions shared, live attributes", "c_call",
               bulk(work.live.allows, work.proved, work.of_shared, *work.values), count),
        *(Series(f"allows_beside_{kills}", f"allows, two comparisons, beside {kills} kill{'s' if kills > 1 else ''}",
                 "c_call", bulk(gate.allows, *of, *work.values), count)
          for kills, (gate, *of) in work.beside_kills.items()),
        Series("allows_random", "allows, random cells", "c_call_rows",
               over_rows(work.order.allows, pairs, *work.values), count),
        Series("allows_refused", "allows, session revoked", "c_call",
               bulk(work.order.allows, work.revoked, *request[1:]), count),
        Series("decide_ranges", "decide, two comparisons", "c_call", bulk(work.order.decide, *request), count),
        Series("decide_many_hot", "decide_many, one class", "c_call",
               columns(work.order, [request[:2]], work.values, MANY), MANY),
        Series("decide_many_random", "decide_many, random cells", "c_call",
               columns(work.order, pairs, work.values, MANY), MANY),
        Series("native_allows", "native allows, by C pointer", "c_call", native.by_table, count),
        Series("native_inlined", "native allows, inlined", "c_call", native.inlined, count),
        Series("native_decide", "native decide, by C pointer", "c_call", native.with_reasons, count),
        Series("native_random", "native allows, random cells", "c_call", random_native.by_table, count),
        Series("evaluate", "evaluate, context as a dict", "python_call",
               bulk(engine.evaluate, 'Algo::"a1"', "order.new", 'Instrument::"i1"', context), max(count // 20, 1)),
    ]  # fmt: skip
    if importlib.util.find_spec("cedarpy"):
        found.append(Series("cedarpy", "cedarpy, the same request", "python_call", bulk(cedarpy_call()), 5))
    return found


def tails(work: Workload, pairs: list[tuple[Session, EntityHandle]], count: int, per_second: float) -> list[Tail]:
    """Return the calls that are timed one by one, ``count`` native calls in a round, at this rate in open loops."""
    request = work.session, work.resource, *work.values
    rows = [(*pair, *work.values) for pair in pairs]
    native, random_native = natives(work, pairs, count)
    # Python's loop is too slow for some rates, so it gets a quarter of the calls and of the rate.
    few, calmly = max(count // 4, 1), per_second / 4

    def python_open(calls: int) -> Histogram:
        return open_loop(work.order.allows, [rows[at % ROWS] for at in range(calls)], calmly)[0]

    return [
        Tail("native_clock", "the native clock alone", None, _core.empty_loop, count),
        Tail("native_closed", "native allows, closed loop", "native_clock", native.closed, count),
        Tail("native_closed_random", "native, random, closed loop", "native_clock", random_native.closed, count),
        Tail("native_open", f"native, random, {per_second:,.0f}/s due", None,
             lambda calls: random_native.open(calls, per_second), count),
        Tail("python_clock", "empty C call and Python's clock", None,
             lambda calls: closed_loop(empty_call, [request] * calls), few),
        Tail("python_closed", "Gate.allows, closed loop", "python_clock",
             lambda calls: closed_loop(work.order.allows, [request] * calls), few),
        Tail("python_open", f"Gate.allows, random, {calmly:,.0f}/s due", None, python_open, few),
    ]  # fmt: skip


def natives(work: Workload, pairs: list[tuple[Session, EntityHandle]], room: int) -> tuple[Native, Native]:
    """Return native decisions of the repeated request, and of random ones."""
    values = dict(zip(("notional", "qty"), work.values, strict=True))
    hot = [(work.session, work.resource)]
    return (
        Native(work.engine, "order.new", values, hot, room),
        Native(work.engine, "order.new", values, pairs, room),
    )


class Native:
    """Decisions of a gate from native code, over the same pairs again and again."""

    def __init__(
        self,
        engine: Engine,
        action: str,
        values: Mapping[str, int],
        pairs: list[tuple[Session, EntityHandle]],
        room: int,
    ) -> None:
        self.gate = engine._core.prepare(action, list(values))
        self.values = list(values.values())
        again = -(-room // len(pairs))
        self.sessions = [session.id for session, _ in pairs] * again
        self.resources = [resource.handle for _, resource in pairs] * again

    def requests(self, count: int) -> tuple[list[int], list[int], list[int]]:
        """Repeat the pairs to this number."""
        return self.sessions[:count], self.resources[:count], self.values

    def by_table(self, count: int) -> float:
        """Return the nanoseconds of an ``allows`` through the table of ``ztfast.h``."""
        return _core.time_table(self.gate, *self.requests(count), False) / count

    def with_reasons(self, count: int) -> float:
        """Return the nanoseconds of a ``decide`` through the table of ``ztfast.h``."""
        return _core.time_table(self.gate, *self.requests(count), True) / count

    def inlined(self, count: int) -> float:
        """Return the nanoseconds of an ``allows`` that the Rust compiler has inlined into its caller."""
        return _core.time_all(self.gate, *self.requests(count)) / count

    def closed(self, count: int) -> Histogram:
        """Time each decision, back to back."""
        return _core.closed_loop(self.gate, *self.requests(count))

    def open(self, count: int, per_second: float) -> Histogram:
        """Time each decision since it was due."""
        return _core.open_loop(self.gate, *self.requests(count), per_second)[0]


def columns(gate: Gate, pairs: list[tuple[Session, EntityHandle]], values: Sequence[Any], count: int) -> Bulk:
    """Return a function that measures the nanoseconds of a decision of ``decide_many`` over columns of these pairs."""
    at = np.arange(count) % len(pairs)
    sessions = np.array([session.id for session, _ in pairs], np.uint64)[at]
    resources = np.array([resource.handle for _, resource in pairs], np.uint64)[at]
    filled = [np.full(count, value) for value in values]

    given = pairs[0] if len(pairs) == 1 else (sessions, resources)

    def once(rows: int) -> float:
        # The first call brings the caches back to the state that is measured.
        gate.decide_many(*given, *filled)
        began = perf_counter_ns()
        gate.decide_many(*given, *filled)
        return (perf_counter_ns() - began) / rows

    return once


def cedarpy_call() -> Callable[[], object]:
    """Return a function that decides the same request with cedarpy, with its input parsed beforehand if possible."""
    import cedarpy

    request: dict[str, Any] = {
        "principal": 'Algo::"a1"',
        "action": 'Action::"order.new"',
        "resource": 'Instrument::"i1"',
        "context": {"notional": 250_000, "qty": 100},
    }
    policies = cedarpy.PolicySet.from_str(POLICIES)
    store = cedarpy.Entities.from_json_str(json.dumps(entities()), SCHEMA)

    def call() -> Any:
        return cedarpy.is_authorized(request, policies, store)

    if not call().allowed:
        raise AssertionError("cedarpy must allow the measured request too")
    return call
