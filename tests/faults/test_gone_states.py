"""The file of a state is removed or replaced while engines run: they deny everything, and refuse to change anything."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ztfast

SCHEMA = """
entity User; entity Doc;
action plain appliesTo { principal: User, resource: Doc };
action number appliesTo { principal: User, resource: Doc, context: { n: Long } };
action text appliesTo { principal: User, resource: Doc, context: { t: String, live: ztfast::Live } };
"""
POLICIES = """
permit (principal, action, resource);
forbid (principal, action == Action::"number", resource) when { context.n > 5 };
forbid (principal, action == Action::"text", resource) when { context.t like "x*" || context.live.risk > 50 };
"""
ANN, DOC = 'User::"ann"', 'Doc::"d"'
WITHIN = 3.0
"""Seconds within which an engine that changes nothing notices, also on a loaded machine: the keeper looks each second."""


class Desk:
    """An engine over the state, with a gate of each kind."""

    def __init__(self, state: Path, role: str) -> None:
        bundle = ztfast.compile(
            ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA, "s.cedarschema"), entities=[], warnings="ignore"
        )
        self.engine = ztfast.Engine(bundle, state=state, role=role, sessions=16, handles=64)  # type: ignore[arg-type]
        self.doc = self.engine.resource(DOC)
        self.gates = [
            (self.engine.prepare("plain"), "plain", {}),
            (self.engine.prepare("number", "n"), "number", {"n": 1}),
            (self.engine.prepare("text", "t"), "text", {"t": "a text that no bundle has"}),
        ]

    def codes(self, session: ztfast.Session) -> set[str]:
        """Return the codes of all ways of deciding."""
        found = set()
        for gate, action, context in self.gates:
            values = list(context.values())
            one = gate.decide(session, self.doc, *values)
            assert gate.allows(session, self.doc, *values) is bool(one)
            found |= {one.code, self.engine.decide(session, action, DOC, context).code}
            columns = ([session] * 70, [self.doc] * 70, *([value] * 70 for value in values))
            found |= {ztfast.Code(code).name for code in gate.decide_many(*columns)}
            found.add(ztfast.Code(gate.decide_many(session, self.doc, *values)[0]).name)
            found.add("ALLOW" if self.engine.entitled(session, action, context) else "STATE_GONE")
        return found


def removed(state: Path) -> None:
    (state / "state").unlink()


def replaced(state: Path) -> None:
    (state / "state").rename(state / "before")
    ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=16, handles=64)


def moved(state: Path) -> None:
    state.rename(state.with_name("before"))
    ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=16, handles=64)


@pytest.mark.parametrize(("change", "says"), [(removed, "removed"), (replaced, "replaced"), (moved, "replaced")])
def test_engines_of_a_state_that_is_gone_allow_nothing_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "desk"
    # The authority's path means something else once the process is in another directory.
    authority, idle = Desk(Path("desk"), "authority"), Desk(state, "decide")
    monkeypatch.chdir("/")
    engine = authority.engine
    engine.upsert([{"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}])
    idle.engine.upsert([{"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}])
    session = engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    kill = engine.kill('Doc::"other"', by="ann", reason="test")
    seen = idle.engine.session(session.id)
    assert authority.codes(session) == idle.codes(seen) == {"ALLOW"}

    change(state)
    done = {"by": "ann", "reason": "test"}
    calls: list[Callable[[], object]] = [
        lambda: engine.kill(ANN, **done),  # type: ignore[arg-type]
        lambda: engine.kill(**done),  # type: ignore[arg-type]
        lambda: engine.kill_switch(True),
        lambda: engine.kill_switch(False),
        lambda: engine.release_kill(kill, **done),
        lambda: engine.market(DOC, "halted", **done),
        lambda: engine.revoke(session),
        lambda: engine.revoke(ANN),
        lambda: engine.revoke(ground="x"),
        lambda: engine.quarantine(ANN),
        lambda: session.revoke(),
        lambda: session.quarantine(),
        lambda: session.renew(not_after=math.inf),
        lambda: session.present(risk=1),
        lambda: engine.kills(),
        lambda: engine.killed,
        lambda: engine.markets(),
        lambda: engine.market_state(DOC),
        lambda: engine.sessions(),
        lambda: engine.session(session.id),
        lambda: engine.admit(ztfast.Identity(ANN, not_after=math.inf)),
    ]
    for call in calls:
        with pytest.raises(ztfast.StateError, match=f"{says}.* open the engine anew"):
            call()
    assert authority.codes(session) == {"STATE_GONE"}
    # Nobody calls anything of this one but decisions.
    end = time.monotonic() + WITHIN
    while idle.gates[0][0].allows(seen, idle.doc):
        assert time.monotonic() < end, "a removed state was not noticed in time"
        time.sleep(0.02)
    assert idle.codes(seen) == {"STATE_GONE"}
    assert engine.evaluate(ANN, "plain", DOC), "by policy alone, there is no state"

    # Coming back, the old file brings nothing back.
    if (tmp_path / "before").exists():
        state.rename(tmp_path / "after")
        (tmp_path / "before").rename(state)
    elif (state / "before").exists():
        os.replace(state / "before", state / "state")
    assert authority.codes(session) == idle.codes(seen) == {"STATE_GONE"}
    fresh = Desk(state, "authority")
    again = fresh.engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    assert fresh.gates[0][0].allows(again, fresh.doc)
    with pytest.raises(ztfast.StateError):
        engine.revoke(ANN)


@pytest.mark.parametrize("change", [removed, replaced])
def test_an_admission_right_after_a_state_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    state = tmp_path / "desk"
    desk = Desk(state, "authority")
    desk.engine.upsert([{"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}])
    session = desk.engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    assert desk.codes(session) == {"ALLOW"}
    change(state)
    # The keeper looks each second, so an admission that comes first must look itself.
    with pytest.raises(ztfast.StateError, match="open the engine anew"):
        desk.engine.admit(ztfast.Identity('User::"bob"', not_after=math.inf, factors=["new"], region="new"))
    assert not desk.engine.knows('User::"bob"'), "a refused admission registered a name"
    assert desk.codes(session) == {"STATE_GONE"}


def test_batches_under_way_and_threads_see_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", "authority")
    session = desk.engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    ids = np.full(5_000, session.id, np.uint64)
    gate = desk.gates[0][0]
    assert set(gate.decide_many(ids, desk.doc)) == {ztfast.Code.ALLOW}
    removed(tmp_path / "desk")
    with pytest.raises(ztfast.StateError):
        session.revoke()
    assert set(gate.decide_many(ids, desk.doc)) == {ztfast.Code.STATE_GONE}


KILLED = """
import resource, signal, sys, ztfast
bundle = ztfast.examples.tiny()
# The first page more than this ends the process, while it makes the state.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
ztfast.Engine(bundle, state=sys.argv[1])
"""


def test_a_process_that_is_killed_while_it_makes_a_state_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "desk"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(state)], capture_output=True, timeout=60)
    assert killed.returncode == -25, killed.stderr
    assert {path.name for path in state.iterdir()} <= {"owners"}
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=16, handles=64)
    assert engine.sessions() == ()
    assert {path.name for path in state.iterdir()} == {"owners", "revoked", "state"}
