"""Kills and markets while threads decide: what returned is in effect, and nobody sees half of it."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import ztfast

SCHEMA = ztfast.Text(
    'entity Venue; entity Instrument in [Venue]; entity Algo; action "order.new" appliesTo '
    "{ principal: Algo, resource: Instrument, context: { qty: Long } };",
    "s.cedarschema",
)
VENUE = {"uid": {"type": "Venue", "id": "v1"}, "attrs": {}, "parents": []}
AAPL = {
    "uid": {"type": "Instrument", "id": "AAPL"},
    "attrs": {},
    "parents": [{"type": "Venue", "id": "v1"}],
}
SECONDS, MOST_SECONDS = 2.0, 30.0
ROUNDS = 50


def engine() -> ztfast.Engine:
    policies = ztfast.Text("permit (principal, action, resource);")
    bundle = ztfast.compile(policies, schema=SCHEMA, entities=[VENUE, AAPL])
    return ztfast.Engine(bundle, sessions=8, handles=64)


class Round:
    """What the writer has done: it is killed if the number is odd, and between two numbers either may be."""

    def __init__(self) -> None:
        self.done = 0
        self.begun = 0


def test_no_decision_after_a_kill_returned_is_by_the_state_before() -> None:
    on = engine()
    session = on.admit(ztfast.Identity('Algo::"a"', not_after=math.inf))
    aapl = on.resource('Instrument::"AAPL"')
    rounds, over, failures = Round(), threading.Event(), []
    column = np.ones(100, dtype=np.int64)

    def decide() -> dict[bool, int]:
        gate, seen = on.prepare("order.new", "qty"), {True: 0, False: 0}
        many = 0
        while not over.is_set():
            before = rounds.done
            if many % 16:
                allowed = {gate.allows(session, aapl, 1)}
            else:
                codes = set(gate.decide_many(session, aapl, column).tolist())
                allowed = {code == ztfast.Code.ALLOW for code in codes}
                assert codes <= {ztfast.Code.ALLOW, ztfast.Code.KILLED}
            many += 1
            after = rounds.begun
            if before == after and allowed != {before % 2 == 0}:
                failures.append((before, allowed))
            for one in allowed:
                seen[one] += 1
        return seen

    def write() -> None:
        # Readers hold the interpreter's lock most of the time, so on a slow machine these rounds take longer.
        began = time.monotonic()
        while time.monotonic() < began + (SECONDS if rounds.done > ROUNDS else MOST_SECONDS):
            rounds.begun += 1
            kill = on.kill('Venue::"v1"', by="ann", reason=f"round {rounds.begun}")
            rounds.done += 1
            time.sleep(0.0002)
            assert on.kills() == [kill]
            rounds.begun += 1
            on.release_kill(kill, by="ann", reason="over")
            rounds.done += 1
            time.sleep(0.0002)
        over.set()

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(decide) for _ in range(2)]
        try:
            threads.submit(write).result()
        finally:
            over.set()
        seen = [reader.result() for reader in readers]
    assert failures == []
    assert rounds.done > ROUNDS
    assert all(count[True] > 50 and count[False] > 50 for count in seen), seen


def test_writers_do_not_lose_each_others_kills() -> None:
    on = engine()
    markets = [f'Instrument::"{number}"' for number in range(8)]

    def write(name: str) -> list[ztfast.Kill]:
        kept = []
        for number in range(60):
            kill = on.kill(f'Algo::"{name}{number}"', by=name, reason="a test", two_persons=number % 2 == 0)
            if number % 3:
                on.release_kill(kill, by=name, approved_by="another", reason="over")
            else:
                kept.append(kill)
            on.market(markets[number % 8], "halted" if number % 16 < 8 else "normal", by=name, reason="a test")
        return kept

    with ThreadPoolExecutor(4) as threads:
        kept = [kill for kills in threads.map(write, "abcd") for kill in kills]
    assert len(kept) == 80
    assert {kill.id: kill for kill in on.kills()} == {kill.id: kill for kill in kept}
    for kill in kept:
        if kill.two_persons:
            assert not on.release_kill(kill, by="ann", reason="over")
        assert on.release_kill(kill, by="bob", reason="over")
    assert on.kills() == []
    assert not on.killed
