"""The peers in Python, each in a process of its own: ``python -m bench.peers.serve PEER FOLDER``.

The folder is what the generator wrote for one size. Like all programs of this benchmark, this one speaks JSON lines: it
writes one line about the peer and its answers, and then answers each line that it reads. An input line
``{"budget_ms": 600, "samples": 20000}`` asks it to measure for that long, or until there are so many samples. The
output line is ``{"batch": 64, "ns": [...]}``: the time of each batch of requests, including the clock. Requests are
shuffled before each pass, so that no processor learns their order.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

# The requests in a batch, if a single one is too short for the clock.
BATCH = 64
# A request is measured alone if it takes at least as long as so many readings of the clock.
CLOCK_READINGS = 100
# The time for answering all requests.
ANSWERING_NS = 3_000_000_000

Row = tuple[Any, Any, Any, Any]


class Peer(NamedTuple):
    """A prepared peer: its function, the four arguments for each request, and the test of an answer for ALLOW."""

    call: Callable[[Any, Any, Any, Any], Any]
    rows: list[Row]
    version: str
    allowed: Callable[[Any], bool] = bool


def read(folder: Path, name: str) -> Any:
    """Read one of the generator's JSON files."""
    return json.loads((folder / name).read_text())


def floor(folder: Path) -> Peer:
    """Prepare the floor: an empty C function."""
    from ztfast.gate import empty_call

    python = sys.version.split()[0]
    return Peer(empty_call, [tuple(row) for row in read(folder, "requests.json")], f"CPython {python}")


def ztfast(folder: Path) -> Peer:
    """Prepare ztfast: a gate over the bundle, a session for each algorithm, a handle for each instrument."""
    import ztfast

    engine = ztfast.Engine(ztfast.Bundle.load(folder / "bundle.ztb"))
    order_new = engine.prepare("order.new", "notional", "qty")
    requests = read(folder, "requests.json")
    sessions = {
        name: engine.admit(ztfast.Identity(f'Algo::"{name}"', not_after=math.inf))
        for name, *_ in read(folder, "tables.json")["algos"]
    }
    resources = {name: engine.resource(f'Instrument::"{name}"') for _, name, *_ in requests}
    rows = [(sessions[algo], resources[one], notional, qty) for algo, one, notional, qty in requests]
    return Peer(order_new.allows, rows, ztfast.__version__)


def handwritten(folder: Path, method: str) -> Peer:
    """Prepare the check of :mod:`bench.peers.handwritten`."""
    from bench.peers.handwritten import Check

    check = Check(read(folder, "tables.json"))
    return Peer(getattr(check, method), [tuple(row) for row in read(folder, "requests.json")], "")


def cedarpy(folder: Path) -> Peer:
    """Prepare cedarpy: policies and entities are parsed beforehand and stay on Cedar's side; a request is a dict."""
    import cedarpy

    schema = (folder / "schema.cedarschema").read_text()
    policies = cedarpy.PolicySet.from_str((folder / "policies.cedar").read_text())
    entities = cedarpy.Entities.from_json_str((folder / "entities.json").read_text(), schema)
    rows = [
        (
            {
                "principal": f'Algo::"{algo}"',
                "action": 'Action::"order.new"',
                "resource": f'Instrument::"{instrument}"',
                "context": {"notional": notional, "qty": qty},
            },
            policies,
            entities,
            None,
        )
        for algo, instrument, notional, qty in read(folder, "requests.json")
    ]

    def ask(request: Any, policies: Any, entities: Any, _: None) -> Any:
        return cedarpy.is_authorized(request, policies, entities)

    return Peer(ask, rows, importlib.metadata.version("cedarpy"), lambda result: result.allowed)


def casbin(folder: Path) -> Peer:
    """Prepare casbin: model and rules are loaded once. Attributes are separate arguments, which is the fastest way."""
    import casbin

    enforcer = casbin.Enforcer(str(folder / "casbin.conf"), str(folder / "casbin.csv"))

    def within(notional: int, qty: int, most_notional: str, most_qty: str) -> bool:
        return notional <= int(most_notional) and qty <= int(most_qty)

    enforcer.add_function("within", within)
    tables = read(folder, "tables.json")
    algos = {row[0]: row for row in tables["algos"]}
    instruments = {row[0]: row for row in tables["instruments"]}
    rows = []
    for algo, instrument, notional, qty in read(folder, "requests.json"):
        _, strategy, desk, region, venues = algos[algo]
        _, book, listed, venue, dark, lists = instruments[instrument]
        values = (desk, strategy, region, frozenset(venues), book, listed, venue, dark, frozenset(lists), notional, qty)
        rows.append((values, None, None, None))

    def ask(values: tuple[Any, ...], _: None, __: None, ___: None) -> Any:
        return enforcer.enforce(*values)

    return Peer(ask, rows, importlib.metadata.version("pycasbin"))


PEERS: dict[str, Callable[[Path], Peer]] = {
    "python-floor": floor,
    "ztfast": ztfast,
    "python": lambda folder: handwritten(folder, "allows"),
    "python-session": lambda folder: handwritten(folder, "session_allows"),
    "cedarpy": cedarpy,
    "casbin": casbin,
}


def answer(peer: Peer) -> tuple[str, float]:
    """Answer all requests, or as many as there is time for, and return the median nanoseconds of an answer."""
    answers, taken = [], []
    started = perf_counter_ns()
    for row in peer.rows:
        began = perf_counter_ns()
        result = peer.call(*row)
        ended = perf_counter_ns()
        taken.append(ended - began)
        answers.append("1" if peer.allowed(result) else "0")
        if ended - started > ANSWERING_NS:
            break
    return "".join(answers), median(taken)


def measure(peer: Peer, batch: int, budget_ms: int, samples: int, chance: random.Random) -> list[int]:
    """Measure the nanoseconds of each batch."""
    call, rows = peer.call, peer.rows
    taken: list[int] = []
    end = perf_counter_ns() + budget_ms * 1_000_000
    while True:
        chance.shuffle(rows)
        for at in range(0, len(rows) - batch + 1, batch):
            some = rows[at : at + batch]
            began = perf_counter_ns()
            for first, second, third, fourth in some:
                call(first, second, third, fourth)
            ended = perf_counter_ns()
            taken.append(ended - began)
            if len(taken) == samples or ended > end:
                return taken


def clock_ns() -> int:
    """Measure the median time between two readings of the clock."""
    apart = []
    for _ in range(10_001):
        began = perf_counter_ns()
        apart.append(perf_counter_ns() - began)
    return int(median(apart))


def main() -> int:
    """Serve until the input ends."""
    if len(sys.argv) != 3 or sys.argv[1] not in PEERS:
        sys.stderr.write(f"usage: python -m bench.peers.serve PEER FOLDER\npeers: {', '.join(PEERS)}\n")
        return 2
    peer = PEERS[sys.argv[1]](Path(sys.argv[2]))
    clock = clock_ns()
    answers, each_ns = answer(peer)
    batch = BATCH if each_ns < CLOCK_READINGS * clock else 1
    about = {"version": peer.version, "answers": answers, "batch": batch, "clock_ns": clock}
    print(json.dumps(about), flush=True)
    # The order differs from pass to pass, and is the same in each run.
    chance = random.Random(1)
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        gc.collect()
        gc.disable()
        taken = measure(peer, batch, order["budget_ms"], order["samples"], chance)
        gc.enable()
        print(json.dumps({"batch": batch, "ns": taken}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
