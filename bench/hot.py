"""The hot path against its floors and against cedarpy, as ratios of one run: ``python -m bench.hot [--json]``.

The mark: ``allows`` with a residual of two comparisons at no more than 4 empty C calls, ``decide_many`` at 20 ns a
decision or less. Exit code 1 where a mark is missed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

# numpy's idle threads must not spin beside what is measured.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cedarpy
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.workload import ALGOS, INSTRUMENTS, POLICIES, SCHEMA, Workload, entities
from ztfast.gate import empty_call
from ztfast.latency import empty_function, ns_per_call

ROWS = 1_000
ROUNDS = 9
ALLOWS_MARK = 4.0
DECIDE_MANY_MARK_NS = 20.0


def over_rows(call: Callable[..., object], rows: list[tuple[Any, ...]]) -> float:
    """Nanoseconds per call over changing arguments, above an empty C call over the same."""

    def once(function: Callable[..., object]) -> float:
        began = time.perf_counter_ns()
        for row in rows:
            function(*row)
        return (time.perf_counter_ns() - began) / len(rows)

    return float(np.median([once(call) - once(empty_call) for _ in range(ROUNDS * 20)]))


def columns(work: Workload, rows: int) -> float:
    """Nanoseconds per decision of decide_many on a hot class."""
    notional, qty = np.full(rows, work.values[0]), np.full(rows, work.values[1])
    taken = []
    for _ in range(ROUNDS * 10):
        began = time.perf_counter_ns()
        work.order.decide_many(work.session, work.resource, notional, qty)
        taken.append((time.perf_counter_ns() - began) / rows)
    return float(np.median(taken))


def random_columns(work: Workload, rows: int) -> float:
    """Nanoseconds per decision of decide_many over random sessions and resources."""
    chance = np.random.default_rng(1)
    sessions = np.array([session.id for session in work.sessions], np.uint64)[chance.integers(0, ALGOS, rows)]
    resources = np.array([one.handle for one in work.resources], np.uint32)[chance.integers(0, INSTRUMENTS, rows)]
    notional, qty = np.full(rows, work.values[0]), np.full(rows, work.values[1])
    taken = []
    for _ in range(ROUNDS * 10):
        began = time.perf_counter_ns()
        work.order.decide_many(sessions, resources, notional, qty)
        taken.append((time.perf_counter_ns() - began) / rows)
    return float(np.median(taken))


def cedarpy_call() -> Callable[[], object]:
    """The same request to cedarpy, with everything parsed beforehand that it can parse beforehand."""
    request = {
        "principal": 'Algo::"a1"',
        "action": 'Action::"order.new"',
        "resource": 'Instrument::"i1"',
        "context": {"notional": 250_000, "qty": 100},
    }
    policies = cedarpy.PolicySet.from_str(POLICIES)
    store = cedarpy.Entities.from_json_str(json.dumps(entities()), SCHEMA)

    def call() -> object:
        return cedarpy.is_authorized(request, policies, store)

    if not call().allowed:  # type: ignore[attr-defined]
        raise AssertionError("cedarpy must allow the measured request too")
    return call


def measure() -> list[dict[str, Any]]:
    """All figures, in nanoseconds."""
    work = Workload()
    chance = random.Random(1)
    session, resource, values = work.session, work.resource, work.values
    pairs = [(chance.choice(work.sessions), chance.choice(work.resources)) for _ in range(ROWS)]
    context = {"notional": 250_000, "qty": 100}
    engine = work.engine
    figures: dict[str, Callable[[], float]] = {
        "empty C call": lambda: ns_per_call(empty_call, session, resource, *values),
        "empty Python call": lambda: ns_per_call(empty_function, session, resource, *values),
        "allows, cell decides": lambda: ns_per_call(work.cancel.allows, session, resource),
        "allows, two comparisons": lambda: ns_per_call(work.order.allows, session, resource, *values),
        "allows, two comparisons and code": lambda: ns_per_call(work.collared.allows, session, resource, *values, 10),
        "decide, two comparisons": lambda: ns_per_call(work.order.decide, session, resource, *values),
        "allows, random cells*": lambda: over_rows(work.order.allows, [(*pair, *values) for pair in pairs]),
        "decide_many, one class": lambda: columns(work, 100_000),
        "decide_many, random cells": lambda: random_columns(work, 100_000),
        "evaluate, dict": lambda: ns_per_call(
            engine.evaluate, 'Algo::"a1"', "order.new", 'Instrument::"i1"', context, number=20_000
        ),
        "cedarpy": lambda: ns_per_call(cedarpy_call(), number=200),
    }
    taken: dict[str, list[float]] = {name: [] for name in figures}
    # In turn, so that a slow spell of the machine falls on all of them.
    for _ in range(3):
        for name, figure in figures.items():
            taken[name].append(figure())
    medians = {name: float(np.median(values)) for name, values in taken.items()}
    # Measured above the empty call over the same rows, so one empty call is added back.
    medians["allows, random cells*"] += medians["empty C call"]
    floor, python = medians["empty C call"], medians["empty Python call"]
    return [
        {"what": name, "ns": ns, "c_calls": ns / floor, "python_calls": ns / python, "cedarpy": medians["cedarpy"] / ns}
        for name, ns in medians.items()
    ]


def main() -> int:
    """Print the figures; 1 where a mark is missed."""
    rows = measure()
    by_name = {row["what"]: row for row in rows}
    allows = by_name["allows, two comparisons"]["c_calls"]
    many = by_name["decide_many, one class"]["ns"]
    met = allows <= ALLOWS_MARK and many <= DECIDE_MANY_MARK_NS
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps({"rows": rows, "met": met}) + "\n")
        return 0 if met else 1
    table = Table(title="One run, medians", title_justify="left", box=None, pad_edge=False)
    for column in ("", "ns", "x C call", "x Python call", "cedarpy is slower by"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        ratio = f"{row['cedarpy']:,.0f}x" if row["what"] != "cedarpy" else ""
        table.add_row(row["what"], f"{row['ns']:,.1f}", f"{row['c_calls']:.2f}", f"{row['python_calls']:.2f}", ratio)
    console = Console()
    console.print(table)
    console.print("* 1,000 random pairs of session and resource, above an empty call over the same pairs, plus one")
    for what, found, mark, unit in (
        ("allows, two comparisons", allows, ALLOWS_MARK, "C calls"),
        ("decide_many, one class", many, DECIDE_MANY_MARK_NS, "ns a decision"),
    ):
        console.print(f"mark: {what}, at most {mark:g} {unit}: {found:.2f}, {'met' if found <= mark else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
