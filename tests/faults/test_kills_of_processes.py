"""Kills and markets of processes over one state: in effect in all of them, and whole, also when a writer is killed."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import ztfast
from tests.conftest import ask

P1, P2 = 'Photo::"p1"', 'Photo::"p2"'
# Room for what the tests name.
OPTIONS = {"sessions": 16, "handles": 4096}

DECIDES = """
import sys, ztfast
engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role="decide")
gate, photos = engine.prepare("view"), [engine.resource(f'Photo::"{name}"') for name in ("p1", "p2")]
session = engine.session(int(sys.argv[2]))
WHO = {"by": "eve", "reason": "none"}
CHANGES = [
    lambda: engine.kill(**WHO),
    lambda: engine.kill_switch(False),
    lambda: engine.release_kill(5, **WHO),
    lambda: engine.market('Photo::"p1"', "normal", **WHO),
]

def refusal(change):
    try:
        return change() or "changed"
    except ztfast.RoleError as error:
        return type(error).__name__

print("ready", flush=True)
for line in sys.stdin:
    codes = [gate.decide(session, photo).code for photo in photos]
    codes += [engine.decide(session, "view", photo).code for photo in photos]
    codes += [ztfast.Code(code).name for code in gate.decide_many(session, photos)]
    codes += [refusal(change) for change in CHANGES if line.strip()]
    print(*codes, engine.market_state('Photo::"p1"'), len(engine.kills()), flush=True)
"""

WRITES = """
import os, sys, ztfast
for line in sys.stdin:
    if os.fork():
        continue
    name, number = str(os.getpid()), 0
    engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1])
    kept = []
    print(name, flush=True)
    while True:
        number += 1
        text = f"{name} {number} " + "x" * (number % 90)
        kill = engine.kill(f'User::"{text}"', by=text, reason=text, two_persons=number % 2 == 0)
        engine.market(f'Photo::"{name} {number % 8}"', ("halted", "volatile", "normal")[number % 3], by=name, reason=name)
        kept.append(kill)
        if len(kept) > 3:
            engine.release_kill(kept.pop(0), by="ann", approved_by="bob", reason="over")
"""


def engine(tmp_path: Path) -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), state=tmp_path / "desk", **OPTIONS)  # type: ignore[arg-type]


def test_what_one_process_kills_another_does_not_decide_by(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    here = engine(tmp_path)
    session = here.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    there = start(DECIDES, session.id)
    assert there.stdout is not None
    assert there.stdout.readline() == "ready\n"
    plain = ask(there)
    assert plain[0] == "ALLOW"
    for number in range(100):
        scope = [P1, 'User::"ann"', "firm"][number % 3]
        state = ["normal", "volatile", "halted"][number % 3]
        kill = here.kill(scope, by="ann", reason="a test")
        here.market(P1, state, by="ann", reason="a test")  # type: ignore[arg-type]
        killed = [True, scope != P1] * 3
        wanted = ["KILLED" if one else code for one, code in zip(killed, plain, strict=False)]
        assert ask(there) == [*wanted, state, "1"], scope
        here.release_kill(kill, by="ann", reason="over")
        here.market(P1, "normal", by="ann", reason="over")
        assert ask(there) == plain
    # One that only decides may read, and no more.
    kill = here.kill(P1, by="ann", reason="a test")
    assert ask(there, "change") == ["KILLED", plain[1]] * 3 + ["RoleError"] * 4 + ["normal", "1"]
    here.release_kill(kill, by="ann", reason="over")
    assert here.kills() == []


def test_a_writer_that_is_killed_leaves_whole_kills(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    here, chance = engine(tmp_path), random.Random(7)
    session = here.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    gate, photo = here.prepare("view"), here.resource(P1)
    spawner = start(WRITES)
    for _ in range(40):
        (writer,) = ask(spawner)
        time.sleep(chance.random() * 0.02)
        os.kill(int(writer), signal.SIGKILL)
        kills = here.kills()
        for kill in kills:
            assert isinstance(kill.scope, ztfast.Uid), kill
            assert kill.scope.id.rstrip() == kill.by == kill.reason, kill
            assert kill.asked_by is None
        for market in here.markets():
            assert market.target.id.split()[0] == market.by == market.reason, market
            assert market.state != "normal"
        assert gate.allows(session, photo)
        own = here.kill(P1, by="ann", reason="a test")
        assert gate.decide(session, photo).code == "KILLED"
        here.market(P1, "halted", by="ann", reason="a test")
        assert here.market_state(P1) == "halted"
        for kill in [*here.kills(), own] if chance.random() < 0.3 else [own]:
            if kill.id != own.id or kill is own:
                here.release_kill(kill, by="ann", approved_by="bob", reason="over")
        here.market(P1, "normal", by="ann", reason="over")
        assert gate.allows(session, photo)
    for kill in here.kills():
        here.release_kill(kill, by="ann", approved_by="bob", reason="over")
    assert not here.killed
