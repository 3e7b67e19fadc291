"""One race: for each size of the workload, each peer in a process of its own, measured by turns.

A peer's process answers all requests first. Then all peers are measured, one after the other, round after round, so
that a slow spell of the machine falls on all of them.
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

# Enough for a steady p99, and for the quickest peers over within milliseconds.
SAMPLES_PER_ROUND = 20_000


class PeerError(Exception):
    """A peer's program ended before its time."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How one peer did at one size.

    Attributes:
        peer: Who.
        version: Its own version, empty for what is part of this bench.
        p50_ns: Nanoseconds per decision, the median of all samples.
        p99_ns: The 99th percentile. Where a sample is a batch, that of a batch's mean.
        batch: Requests in a sample.
        samples: How many there were.
        answered: How many requests it had time to answer before; these answers are compared.
        clock_ns: What two readings of its clock are apart: contained once in each sample.
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
        figures: By the peer's name.
        difference: The first request on which peers differ, described; None where all answers are equal.
    """

    policies: int
    allowed: float
    figures: dict[str, Figures]
    difference: str | None


class Process:
    """A peer's process, from its first line on."""

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
        """The next line."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise PeerError(f"{self.peer.name}: its program ended with code {self.process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def measure(self, budget_ms: int) -> list[float]:
        """Measure once: nanoseconds per decision, sample by sample."""
        if self.process.stdin is None:
            raise PeerError(f"{self.peer.name}: its program takes no input")
        self.process.stdin.write(json.dumps({"budget_ms": budget_ms, "samples": SAMPLES_PER_ROUND}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        return [taken / answer["batch"] for taken in answer["ns"]]


def prepare(policies: int) -> tuple[Path, tuple[Order, ...]]:
    """Write the workload of one size and compile ztfast's bundle of it: the folder, and the requests."""
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
    """Let these peers answer the workload of one size, and measure them by turns.

    Args:
        policies: The size.
        peers: Who takes part.
        rounds: How often each is measured.
        budget_ms: How long each measuring takes at most.
        step: Called with what is done next: len(peers) * (rounds + 1) times.

    Raises:
        PeerError: where a program ends before its time.
    """
    folder, orders = prepare(policies)
    with ExitStack() as stack:
        processes = []
        # One at a time: none is measured, and none answers, while another one sets itself up.
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
    """The figures of one peer's samples."""
    p50, p99 = (float(value) for value in np.quantile(taken, (0.5, 0.99)))
    return Figures(
        peer, about["version"], p50, p99, about["batch"], len(taken), len(about["answers"]), about["clock_ns"]
    )


def first_difference(answers: dict[str, str], orders: Sequence[Order]) -> str | None:
    """Describe the first request on which answers differ, among those who answered it.

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
