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
from typing import NamedTuple

import pytest

import ztfast

ROUNDS = int(os.environ.get("ZTFAST_TEST_ROUNDS", "300"))
ANN, P1 = 'User::"ann"', 'Photo::"p1"'

SCHEMA = """
entity User;
entity Photo;
action view appliesTo { principal: User, resource: Photo, context: { live: ztfast::Live } };
"""
POLICY = 'permit (principal, action, resource) when { context.live.market != "halted" };'

WORDS = 8
BEGUN, SESSION, ALLOWED, RETURNED, AT_NS, DENIED = range(6)
"""The words of the memory that the processes share besides the state: the last round that was begun, its session, the last
round in which the other process allowed, in which the call returned, when that was, and in which the other process denied."""

DECIDER = """
import json, mmap, os, sys, time
import ztfast
from ztfast.bench.histogram import Histogram, quantiles

state, board, rounds, bundle = sys.argv[1:]
engine = ztfast.Engine(ztfast.Bundle.load(bundle), state=state, role="decide")
gate, resource = engine.prepare("view"), engine.resource('Photo::"p1"')
file = os.open(board, os.O_RDWR)
words = memoryview(mmap.mmap(file, 0)).cast("q")
late, early, faults, codes, decisions, buckets = Histogram(), 0, 0, set(), 0, [0] * 64
ways = [
    lambda session: gate.allows(session, resource),
    lambda session: bool(gate.decide(session, resource)),
    lambda session: bool(engine.decide(session, "view", 'Photo::"p1"')),
    lambda session: gate.decide_many(session, [resource])[0] == ztfast.Code.ALLOW,
]
code = lambda session: gate.decide(session, resource).code
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
    codes.add(code(session))
    while words[3] != round:
        pass
    if denied < words[4]:
        early += 1
    else:
        buckets[(denied - words[4]).bit_length()] += 1
    late.record(max(0, denied - words[4]))
    words[5] = round
shown = quantiles(late)
times = {name: getattr(shown, name) for name in ("count", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")}
found = {"faults": faults, "codes": sorted(codes), "early": early, "decisions": decisions}
print(json.dumps({**found, "times": times, "buckets": buckets}))
"""

WHO = {"by": "ann", "reason": "a drill"}


class Way(NamedTuple):
    """A way to take a right away, how it is given back, and the code that the other process then meets."""

    take: Callable[[ztfast.Engine, ztfast.Session], object]
    code: str
    undo: Callable[[ztfast.Engine], object] = lambda engine: None


def release(engine: ztfast.Engine) -> None:
    for kill in engine.kills():
        engine.release_kill(kill, by="ann", reason="it is over")


WAYS = {
    "session.revoke": Way(lambda engine, session: session.revoke(), "REVOKED"),
    "engine.revoke, of a principal": Way(lambda engine, session: engine.revoke(ANN), "REVOKED"),
    "engine.revoke, of a ground": Way(lambda engine, session: engine.revoke(ground="card 7"), "REVOKED"),
    "session.quarantine": Way(lambda engine, session: session.quarantine(), "QUARANTINED"),
    "session.renew, to an end that is over": Way(lambda engine, session: session.renew(not_after=1.0), "EXPIRED"),
    "engine.kill, of the firm": Way(lambda engine, session: engine.kill(**WHO), "KILLED", release),
    "engine.kill, of a principal": Way(lambda engine, session: engine.kill(ANN, **WHO), "KILLED", release),
    "engine.kill, of an action": Way(lambda engine, session: engine.kill("firm", ["view"], **WHO), "KILLED", release),
    "engine.market": Way(
        lambda engine, session: engine.market(P1, "halted", **WHO),
        "DEFAULT",
        lambda engine: engine.market(P1, "normal", **WHO),
    ),
}


def shown(buckets: list[int], early: int) -> str:
    """Draw how many of the times lie below each power of two of nanoseconds."""
    last = max((at for at, count in enumerate(buckets) if count), default=0)
    first = min((at for at, count in enumerate(buckets) if count), default=0)
    lines = [("before the return", early)]
    lines += [(f"< {2**at / 1000:,.3f} us", buckets[at]) for at in range(first, last + 1)]
    most = max(count for _, count in lines) or 1
    return "\n".join(f"{name:>20} {count:>7} {'#' * -(-50 * count // most)}".rstrip() for name, count in lines)


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
    take, code, undo = WAYS[way]
    path, words = board
    bundle = ztfast.examples.tiny()
    if way == "engine.market":
        bundle = ztfast.compile(
            ztfast.Text(POLICY, "market.cedar"), schema=ztfast.Text(SCHEMA, "market.cedarschema"), entities=[]
        )
    bundle.save(tmp_path / "bundle")
    engine = ztfast.Engine(bundle, state=tmp_path / "desk", sessions=16, handles=256)
    arguments = [
        sys.executable,
        "-c",
        DECIDER,
        str(tmp_path / "desk"),
        str(path),
        str(ROUNDS),
        str(tmp_path / "bundle"),
    ]
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
                undo(engine)
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
        f" ({time.monotonic() - began:.1f} s)\n{shown(found['buckets'], found['early'])}"
    )
    assert found["faults"] == 0
    assert found["codes"] == [code]
    assert found["times"]["count"] == sum(found["buckets"]) + found["early"] == ROUNDS
