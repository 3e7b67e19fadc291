"""The measurement: for each size of the workload, each peer runs in its own process, and all are measured in turn.

A peer's process first answers all requests. Then all peers are measured one after the other, round after round, so that
a slow moment of the machine affects all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import ztfast
from bench.peers.roster import BUILD, PACKAGES, ROOT, Peer
from bench.peers.workload import Order, generate

# Enough for a steady p99. The fastest peers reach this number within milliseconds.
SAMPLES_PER_ROUND = 20_000


class PeerError(Exception):
    """A peer's program ended unexpectedly."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one peer at one size.

    Attributes:
        peer: The peer.
        version: The version of the peer; empty if it is a part of this benchmark.
        p50_ns: The median of all samples, in nanoseconds per decision.
        p99_ns: The 99th percentile. If a sample is a batch, the percentile of the batches' means.
        batch: The number of requests in a sample.
        samples: The number of samples.
        answered: The number of requests that the peer had time to answer beforehand. These answers are compared.
        clock_ns: The time between two readings of the peer's clock. Each sample contains it once.
    """

    peer: Peer
    version: str
    p50_ns: float
    p99_ns: float
    batch: int
    samples: int
    answered: int
    clock_ns: int


@dataclass(frozen=True, slots=True)
class Heat:
    """All peers at one size.

    Attributes:
        policies: The size.
        allowed: The share of requests that are allowed.
        figures: The figures by the peer's name.
        difference: A description of the first request on which peers differ; ``None`` if all answers are equal.
    """

    policies: int
    allowed: float
    figures: dict[str, Figures]
    difference: str | None


class Process:
    """A running process of a peer."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        path = os.pathsep.join((str(ROOT), str(PACKAGES)))
        environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            peer.command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def __enter__(self) -> Process:
        self.about = self.read()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def read(self) -> dict[str, Any]:
        """Read the next line."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise PeerError(f"{self.peer.name}: its program ended with code {self.process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def measure(self, budget_ms: int) -> list[float]:
        """Measure once, and return the nanoseconds per decision of each sample."""
        if self.process.stdin is None:
            raise PeerError(f"{self.peer.name}: its program takes no input")
        self.process.stdin.write(json.dumps({"budget_ms": budget_ms, "samples": SAMPLES_PER_ROUND}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        return [taken / answer["batch"] for taken in answer["ns"]]


def prepare(policies: int) -> tuple[Path, tuple[Order, ...]]:
    """Write the workload of one size and compile its bundle; return the folder and the requests."""
    work = generate(policies)
    folder = BUILD / "workload" / str(policies)
    work.write(folder)
    bundle = ztfast.compile(
        folder / "policies.cedar", schema=folder / "schema.cedarschema", entities=folder / "entities.json"
    )
    bundle.save(folder / "bundle.ztb")
    return folder, work.orders


def heat(
    policies: int, peers: Sequence[Peer], *, rounds: int, budget_ms: int, step: Callable[[str], None] = lambda _: None
) -> Heat:
    """Let these peers answer the workload of one size, and measure them in turn.

    Args:
        policies: The size.
        peers: The peers.
        rounds: The number of rounds.
        budget_ms: The longest time of one measurement.
        step: A callback that gets the name of each next step: len(peers) * (rounds + 1) calls.

    Raises:
        PeerError: if a program ends unexpectedly.
    """
    folder, orders = prepare(policies)
    with ExitStack() as stack:
        processes = []
        # One at a time, so that no peer answers or is measured while another one prepares.
        for peer in peers:
            step(f"{peer.title}: answers")
            processes.append(stack.enter_context(Process(peer, folder)))
        taken: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for turn in range(rounds):
            for process in processes:
                step(f"{process.peer.title}: round {turn + 1}")
                taken[process.peer.name] += process.measure(budget_ms)
        answers = {one.peer.name: one.about["answers"] for one in processes if one.peer.kind != "floor"}
        figures = {one.peer.name: summary(one.peer, one.about, taken[one.peer.name]) for one in processes}
    longest = max(answers.values(), key=len, default="")
    allowed = longest.count("1") / max(len(longest), 1)
    return Heat(policies, allowed, figures, first_difference(answers, orders))


def summary(peer: Peer, about: dict[str, Any], taken: list[float]) -> Figures:
    """Compute the figures of one peer's samples."""
    p50, p99 = (float(value) for value in np.quantile(taken, (0.5, 0.99)))
    return Figures(
        peer, about["version"], p50, p99, about["batch"], len(taken), len(about["answers"]), about["clock_ns"]
    )


def first_difference(answers: dict[str, str], orders: Sequence[Order]) -> str | None:
    """Describe the first request on which the answers of peers differ.

    >>> order = Order("algo1", "instrument2", 1_000, 5)
    >>> first_difference({"one": "11", "other": "1"}, [order, order]) is None
    True
    >>> first_difference({"one": "1", "other": "0"}, [order])
    "request 0 (algo='algo1', instrument='instrument2', notional=1000, qty=5): ALLOW say one; DENY say other"
    """
    for at, order in enumerate(orders):
        said = {name: given[at] for name, given in answers.items() if at < len(given)}
        if len(set(said.values())) > 1:
            allow, deny = (", ".join(name for name, answer in said.items() if answer == one) for one in "10")
            request = ", ".join(f"{name}={getattr(order, name)!r}" for name in Order.__slots__)
            return f"request {at} ({request}): ALLOW say {allow}; DENY say {deny}"
    return None
