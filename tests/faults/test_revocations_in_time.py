"""Once a call that takes a right away has returned, no other process decides by the old state.

Two processes go through many rounds: one admits, and takes the right away as soon as the other one has decided by it; the
other one decides all the time. It reads before each decision whether the call has returned, so an ALLOW after that is
a fault. How long after the call's return it denies for the first time is shown as a histogram.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ztfast

ROUNDS = int(os.environ.get("ZTFAST_TEST_ROUNDS", "300"))
ANN, P1 = 'User::"ann"', 'Photo::"p1"'

WORDS = 8
BEGUN, SESSION, ALLOWED, RETURNED, AT_NS, DENIED = range(6)
"""The words of the memory that the processes share besides the state: the last round that was begun, its session, the last
round in which the other process allowed, in which the call returned, when that was, and in which the other process denied."""

DECIDER = """
import json, mmap, os, sys, time
import ztfast
from ztfast.bench.histogram import Histogram, quantiles

state, board, rounds, role = sys.argv[1:]
engine = ztfast.Engine(ztfast.examples.tiny(), state=state, role=role)
gate, resource = engine.prepare("view"), engine.resource('Photo::"p1"')
file = os.open(board, os.O_RDWR)
words = memoryview(mmap.mmap(file, 0)).cast("q")
late, early, faults, codes, decisions = Histogram(), 0, 0, set(), 0
ways = [
    lambda session: gate.allows(session, resource),
    lambda session: bool(gate.decide(session, resource)),
    lambda session: bool(engine.decide(session, "view", 'Photo::"p1"')),
    lambda session: gate.decide_many(session, [resource])[0] == ztfast.Code.ALLOW,
]
for round in range(1, int(rounds) + 1):
    while words[0] != round:
        pass
    session, allows = engine.session(words[1]), ways[0] if round % 8 else ways[round // 8 % 4]
    faults += not allows(session)
    words[2] = round
    while True:
        returned = words[3] == round
        allowed = allows(session)
        decisions += 1
        if not allowed:
            break
        faults += returned
    denied = time.perf_counter_ns()
    codes.add(gate.decide(session, resource).code)
    while words[3] != round:
        pass
    early += denied < words[4]
    late.record(max(0, denied - words[4]))
    words[5] = round
shown = quantiles(late)
times = {name: getattr(shown, name) for name in ("count", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")}
print(json.dumps({"faults": faults, "codes": sorted(codes), "early": early, "decisions": decisions, "times": times}))
"""

Take = Callable[[ztfast.Engine, ztfast.Session], object]

WAYS: dict[str, tuple[Take, str]] = {
    "session.revoke": (lambda engine, session: session.revoke(), "REVOKED"),
    "engine.revoke, of a principal": (lambda engine, session: engine.revoke(ANN), "REVOKED"),
    "engine.revoke, of a ground": (lambda engine, session: engine.revoke(ground="card 7"), "REVOKED"),
    "session.quarantine": (lambda engine, session: session.quarantine(), "QUARANTINED"),
    "session.renew, to an end that is over": (lambda engine, session: session.renew(not_after=1.0), "EXPIRED"),
    "engine.kill, of the firm": (lambda engine, session: engine.kill(by="ann", reason="a drill"), "KILLED"),
    "engine.kill, of a principal": (lambda engine, session: engine.kill(ANN, by="ann", reason="a drill"), "KILLED"),
    "engine.kill, of an action": (
        lambda engine, session: engine.kill("firm", ["view"], by="ann", reason="a drill"),
        "KILLED",
    ),
    "engine.market": (lambda engine, session: engine.market(P1, "halted", by="ann", reason="news"), "FORBIDDEN"),
}


@pytest.fixture
def board(tmp_path: Path) -> Iterator[tuple[Path, memoryview]]:
    path = tmp_path / "board"
    path.write_bytes(bytes(8 * WORDS))
    file = os.open(path, os.O_RDWR)
    memory = mmap.mmap(file, 0)
    words = memoryview(memory).cast("q")
    yield path, words
    words.release()
    memory.close()
    os.close(file)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere the words need fences, which Python lacks"
)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_decided_by_the_old_state_once_the_call_has_returned(
    tmp_path: Path, board: tuple[Path, memoryview], way: str
) -> None:
    take, code = WAYS[way]
    path, words = board
    engine = ztfast.Engine(ztfast.examples.tiny(), state=tmp_path / "desk", sessions=16, handles=256)
    arguments = [sys.executable, "-c", DECIDER, str(tmp_path / "desk"), str(path), str(ROUNDS), "decide"]
    began = time.monotonic()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:

        def wait(word: int, turn: int) -> None:
            checks = 0
            while words[word] != turn:
                checks += 1
                if checks % 1_000_000 == 0:
                    assert other.poll() is None, "the other process ended"

        try:
            for turn in range(1, ROUNDS + 1):
                session = engine.admit(ztfast.Identity(ANN, not_after=math.inf, ground="card 7"))
                words[SESSION] = session.id
                words[BEGUN] = turn
                wait(ALLOWED, turn)
                take(engine, session)
                words[AT_NS] = time.perf_counter_ns()
                words[RETURNED] = turn
                wait(DENIED, turn)
                session.revoke()
            said, _ = other.communicate()
        finally:
            other.kill()
    found = json.loads(said)
    times = ", ".join(
        f"{name.removesuffix('_ns')} {ns / 1000:.1f}" for name, ns in found["times"].items() if "_ns" in name
    )
    print(
        f"{way}: {ROUNDS} rounds, {found['decisions']} decisions, {found['faults']} by the old state; the first denial came"
        f" before the call's return in {found['early']} rounds, else after it by, in microseconds: {times}"
        f" ({time.monotonic() - began:.1f} s)"
    )
    assert found["faults"] == 0
    assert found["codes"] == [code]
    assert found["times"]["count"] == ROUNDS
