"""Renewals and proofs for a session, a principal, a group or a ground: which sessions they reach, and what they leave."""

from __future__ import annotations

import datetime
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.conftest import ask

ANN, BOB, FRIENDS = 'User::"ann"', 'User::"bob"', 'Group::"friends"'
P1 = 'Photo::"p1"'

# Both commands, each with what changes sessions.
WAYS: dict[str, dict[str, Any]] = {"renew": {"not_after": math.inf}, "present": {"risk": 80}}
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "desk"


def engine(state: Path | None, role: str = "authority") -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), state=state, role=role, sessions=16, handles=256)  # type: ignore[arg-type]


def admit(engine: ztfast.Engine, principal: str = ANN, **what: Any) -> ztfast.Session:
    return engine.admit(ztfast.Identity(principal, **({"not_after": time.time() + 60} | what)))


def change(engine: ztfast.Engine, way: str, *what: Any, **options: Any) -> int:
    changed: int = getattr(engine, way)(*what, **(WAYS[way] | options))
    return changed


def reached(engine: ztfast.Engine, way: str, sessions: list[ztfast.Session]) -> list[bool]:
    """Return which of the sessions have what the way gives them."""
    infos = {info.id: info for info in engine.sessions()}
    found = [infos[session.id] for session in sessions]
    return [math.isinf(info.not_after) if way == "renew" else info.risk == 80 for info in found]


@pytest.mark.parametrize("shared", [True, False])
@each_way
def test_a_session_a_principal_a_group_and_a_ground_are_reached(state: Path, shared: bool, way: str) -> None:
    for chosen, wanted in (
        (lambda sessions: (sessions[0],), [True, False, False, False]),
        (lambda _: (ANN,), [True, True, False, False]),
        (lambda _: (ztfast.Uid.parse(ANN),), [True, True, False, False]),
        (lambda _: (FRIENDS,), [False, False, True, False]),
        (lambda _: ("ground",), [False, True, False, True]),
    ):
        first = engine(state if shared else None)
        parents = [{"type": "Group", "id": "friends"}]
        first.upsert([{"uid": {"type": "User", "id": "bob"}, "attrs": {}, "parents": parents}])
        of = [(ANN, {}), (ANN, {"ground": "key"}), (BOB, {}), ('User::"eve"', {"ground": b"key"})]
        sessions = [admit(first, principal, **what) for principal, what in of]
        what = chosen(sessions)
        changed = change(first, way, ground="key") if what == ("ground",) else change(first, way, *what)
        assert changed == sum(wanted)
        assert reached(first, way, sessions) == wanted
        assert first.revoke(ANN) + first.revoke(BOB) + first.revoke(ground="key") == 4


@each_way
def test_what_nobody_has_changes_nothing(state: Path, way: str) -> None:
    first = engine(state)
    session = admit(first)
    for nobody in (('Group::"empty"',), ('User::"gone"',), ('Group::"guests"',)):
        assert change(first, way, *nobody) == 0
    assert change(first, way, ground="another") == 0
    assert reached(first, way, [session]) == [False]


def test_names_of_factors_that_no_session_has_take_no_place(state: Path) -> None:
    first = engine(state)
    for number in range(40):
        assert first.present(BOB, factors=[f"factor{number}"]) == 0
    session = admit(first)
    assert first.present(session, factors=["fido2"]) == 1
    assert first.sessions()[0].factors == ("fido2",)


@each_way
def test_what_is_over_stays_over(state: Path, way: str) -> None:
    first = engine(state)
    revoked, expired, live = admit(first), admit(first), admit(first)
    revoked.revoke()
    expired.renew(not_after=time.time() - 1)
    assert change(first, way, ANN) == 1
    assert change(first, way, revoked) == 0
    assert change(first, way, expired) == 0
    assert [first.decide(one, "view", P1).code for one in (revoked, expired, live)] == ["REVOKED", "EXPIRED", "ALLOW"]
    assert [info.status for info in first.sessions()].count("active") == 1


@each_way
def test_a_quarantine_stays(state: Path, way: str) -> None:
    first = engine(state)
    session = admit(first)
    first.quarantine(session, by="bob", reason="odd orders")
    assert change(first, way, ANN, by="eve", reason="a test") == 1
    assert first.decide(session, "view", P1).code == "QUARANTINED"
    (info,) = first.sessions()
    assert (info.by, info.reason) == ("bob", "odd orders")
    session.quarantine(False)
    assert first.decide(session, "view", P1).code == "ALLOW"


def test_a_renewal_may_end_sessions() -> None:
    first = engine(None)
    session = admit(first)
    ending = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    assert first.renew(ANN, not_after=ending) == 1
    assert first.decide(session, "view", P1).code == "EXPIRED"
    assert first.renew(ANN, not_after=math.inf) == 0


def test_what_is_not_given_stays_as_it_is_in_each_session() -> None:
    first = engine(None)
    admit(first, factors=["otp"], assurance=2, risk=5)
    admit(first, factors=["x509"], assurance=3, risk=6)

    def known() -> list[tuple[Any, ...]]:
        return sorted((info.factors, info.assurance, info.risk) for info in first.sessions())

    assert first.present(ANN) == 2
    assert known() == [(("otp",), 2, 5), (("x509",), 3, 6)]
    assert first.present(ANN, assurance=7) == 2
    assert known() == [(("otp",), 7, 5), (("x509",), 7, 6)]
    assert first.present(ANN, factors=["fido2", "otp"], at=time.time() - 100) == 2
    assert {(info.factors, info.risk) for info in first.sessions()} == {(("otp", "fido2"), 5), (("otp", "fido2"), 6)}
    assert all(99 < (info.auth_age or 0) < 200 for info in first.sessions())
    assert first.present(ANN, factors=["fido2"]) == 2
    assert all((info.auth_age or 0) < 90 for info in first.sessions())


@each_way
def test_who_did_it_and_why_is_reported(way: str, caplog: pytest.LogCaptureFixture) -> None:
    first = engine(None)
    session = admit(first)
    done = {"renew": "renewed", "present": "reassessed"}[way]
    with caplog.at_level("INFO", "ztfast"):
        change(first, way, session)
        change(first, way, session, by="bob", reason="on\nduty")
        change(first, way, BOB, by="bob")
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions {done}: 1 (one of {ANN}) by bob: on\\nduty",
        f"sessions {done}: 0 ({BOB}) by bob: not said",
    ]


@each_way
def test_wrong_arguments_are_refused_and_change_nothing(state: Path, way: str) -> None:
    first, other = engine(state), engine(None)
    session = admit(first)
    for arguments, options, error, says in (
        ((), {}, ztfast.ArgumentError, "one of them"),
        ((session,), {"ground": "key"}, ztfast.ArgumentError, "one of them"),
        ((), {"ground": ""}, ztfast.ArgumentError, "ground"),
        ((7,), {}, ztfast.UidError, "uid"),
        (("ann",), {}, ztfast.UidError, "ann"),
        ((session,), {"by": ""}, ztfast.ArgumentError, f"{way}: by: wanted a text"),
        ((session,), {"reason": 7}, ztfast.ArgumentError, f"{way}: reason: wanted a text"),
    ):
        with pytest.raises(error, match=says):
            change(first, way, *arguments, **options)
    with pytest.raises(ztfast.OwnerError, match="another engine"):
        change(other, way, session)
    for wrong in {
        "renew": [{"not_after": math.nan}, {"not_after": None}, {"not_after": 1e12}, {"not_after": "soon"}],
        "present": [{"risk": 101}, {"risk": -1}, {"risk": 1.5}, {"assurance": 8}, {"factors": "otp"}, {"at": math.nan}],
    }[way]:
        with pytest.raises(ztfast.IdentityError):
            change(first, way, session, **wrong)
    with pytest.raises(ztfast.CapacityError, match="names of factors"):
        first.present(session, factors=[f"factor{number}" for number in range(20)])
    assert reached(first, way, [session]) == [False]


@each_way
def test_who_only_decides_is_refused(state: Path, way: str) -> None:
    first = engine(state)
    session = admit(first, ground="key")
    deciding = engine(state, role="decide")
    for what, options in (((session.id,), {}), ((ANN,), {}), ((FRIENDS,), {}), ((), {"ground": "key"})):
        chosen = tuple(deciding.session(one) if isinstance(one, int) else one for one in what)
        with pytest.raises(ztfast.RoleError, match="role='decide'"):
            change(deciding, way, *chosen, **options)
    assert reached(first, way, [session]) == [False]


@each_way
def test_a_state_that_is_gone_is_not_changed(state: Path, way: str) -> None:
    first = engine(state)
    admit(first)
    (state / "state").unlink()
    with pytest.raises(ztfast.StateError):
        change(first, way, ANN)


PROGRAM = """
import sys, ztfast
engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role="decide")
print("ready", flush=True)
for line in sys.stdin:
    info = next(info for info in engine.sessions() if info.id == int(line))
    print(info.not_after, info.risk, engine.decide(engine.session(info.id), "view", 'Photo::"p1"').code, flush=True)
"""


def test_another_process_sees_it_at_once(state: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    first = engine(state)
    process = start(PROGRAM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    session = admit(first, ground="key")
    for risk in range(1, 50):
        assert first.present(ground="key", risk=risk) == 1
        assert first.renew(ANN, not_after=4e9 + risk) == 1
        assert ask(process, str(session.id)) == [f"{4e9 + risk}", f"{risk}", "ALLOW"]
