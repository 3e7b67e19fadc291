"""The clock that an engine is given: the time of every decision, and of every process of a state."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.conftest import ask
from tests.states import ANN, code, engine, identity

SECOND = 1_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "desk"


def test_the_callers_clock_is_the_time_of_every_decision() -> None:
    mine = engine(None, clock="caller")
    session = mine.admit(identity(not_before=1_000.0, not_after=2_000.0))
    at = {0: "NOT_YET_VALID", 999: "NOT_YET_VALID", 1_000: "ALLOW", 1_999: "ALLOW", 2_000: "EXPIRED", 1_500: "EXPIRED"}
    for seconds, expected in at.items():
        assert mine.set_time(seconds * 1_000_000_000) >= seconds * 1_000_000_000
        assert code(mine, session) == expected, seconds
    assert mine.set_time(0) == 2_000_000_000_000
    for wrong in (1.5, True, 1 << 63, "now"):
        with pytest.raises(ztfast.ArgumentError, match="64 bits"):
            mine.set_time(wrong)  # type: ignore[arg-type]
    with pytest.raises(ztfast.ArgumentError, match="clock='caller'"):
        engine(None).set_time(5)


@pytest.mark.parametrize("year", [2000, 2020, 2035])
def test_a_proof_is_as_old_as_the_callers_clock_says(year: int) -> None:
    mine = engine(None, clock="caller")
    begin = int(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp())
    mine.set_time(begin * 1_000_000_000)
    session = mine.admit(identity(factors=["fido2"], auth_time=float(begin)))
    for seconds in (0, 60, 86_400 * 700):
        mine.set_time((begin + seconds) * 1_000_000_000)
        (info,) = mine.sessions()
        assert info.auth_age is not None
        assert seconds <= info.auth_age < seconds + 1
    session.present(factors=["otp"])
    assert mine.sessions()[0].auth_age == 0


@pytest.mark.parametrize("year", [2000, 2045])
def test_a_login_without_a_time_is_now_by_the_callers_clock(year: int) -> None:
    mine = engine(None, clock="caller")
    begin = int(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp())
    mine.set_time(begin * 1_000_000_000)
    who = identity(factors=["fido2"])
    mine.admit(who)
    assert mine.sessions()[0].auth_age == 0
    mine.set_time((begin + 90) * 1_000_000_000)
    assert mine.sessions()[0].auth_age == pytest.approx(90, abs=1)
    # By the system's clock, it is when the identity was made.
    other = engine(None)
    time.sleep(0.1)
    other.admit(who)
    (info,) = other.sessions()
    assert info.auth_age is not None
    assert 0.05 <= info.auth_age < 60


PROGRAM = """
import sys, ztfast
engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role=sys.argv[2], clock="caller")
gate, resource = engine.prepare("view"), engine.resource('Photo::"p1"')
print("ready", flush=True)
for line in sys.stdin:
    what, number = line.split()
    if what == "find":
        session = engine.session(int(number))
    print(engine.set_time(int(number)) if what == "time" else gate.decide(session, resource).code, flush=True)
"""


@pytest.mark.parametrize("role", ["authority", "decide"])
def test_what_an_authority_is_given_is_the_time_in_every_process(
    state: Path, role: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    here = engine(state, clock="caller")
    here.set_time(1_000 * SECOND)
    there = start(PROGRAM, role)
    assert there.stdout is not None
    assert there.stdout.readline() == "ready\n"
    session = here.admit(identity(not_before=1_000.0, not_after=2_000.0))

    def told(what: str, number: int) -> str:
        (answer,) = ask(there, f"{what} {number}")
        return answer

    # A process that was given no time has that of the state, and none brings it back.
    assert told("find", session.id) == "ALLOW"
    assert told("time", 5) == str(1_000 * SECOND)
    here.set_time(2_000 * SECOND - 1)
    assert told("decide", 0) == code(here, session) == "ALLOW"
    here.set_time(2_000 * SECOND)
    assert told("decide", 0) == code(here, session) == "EXPIRED"
    # The time of a process that only decides is its own.
    assert told("time", 3_000 * SECOND) == str(3_000 * SECOND)
    assert here.set_time(0) == (3_000 if role == "authority" else 2_000) * SECOND
    here.set_time(4_000 * SECOND)
    assert told("time", 0) == str(4_000 * SECOND)


def test_an_engine_that_is_opened_later_has_the_time_of_the_state(state: Path) -> None:
    first = engine(state, clock="caller")
    first.set_time(5_000 * SECOND)
    session = first.admit(identity(not_after=6_000.0))
    first.set_time(6_000 * SECOND)
    for role in ("authority", "decide"):
        later = engine(state, role, clock="caller")
        with pytest.raises(ztfast.SessionError, match="expired"):
            later.session(session.id)
        assert later.set_time(0) == 6_000 * SECOND


def test_kills_renewals_and_notes_go_by_the_callers_time(state: Path) -> None:
    mine = engine(state, clock="caller")
    mine.set_time(1_000 * SECOND)
    other = engine(state, "decide", clock="caller")
    session = mine.admit(identity(not_after=1_500.0))
    seen = other.session(session.id)
    kill = mine.kill(ANN, reason="test", by="me", until=1_200.0)
    assert (code(mine, session), code(other, seen)) == ("KILLED", "KILLED")
    mine.set_time(1_200 * SECOND)
    assert (code(mine, session), code(other, seen)) == ("ALLOW", "ALLOW")
    session.renew(not_after=9_000.0)
    mine.set_time(8_999 * SECOND)
    assert (code(mine, session), code(other, seen)) == ("ALLOW", "ALLOW")
    mine.set_time(9_000 * SECOND)
    assert (code(mine, session), code(other, seen)) == ("EXPIRED", "EXPIRED")
    assert kill.until == 1_200.0
    assert {note.at for note in mine.notes()} <= {1_000.0, 1_200.0, 9_000.0}
    assert mine.notes()


def test_a_state_goes_by_one_clock(tmp_path: Path) -> None:
    made = {clock: engine(tmp_path / clock, clock=clock) for clock in ("coarse", "tsc", "caller")}
    for clock in made:
        for wanted in made:
            for role in ("authority", "decide"):
                if (clock == "caller") == (wanted == "caller"):
                    engine(tmp_path / clock, role, clock=wanted)
                    continue
                with pytest.raises(ztfast.ClockError, match="clock='caller'"):
                    engine(tmp_path / clock, role, clock=wanted)


def test_commands_go_by_the_time_of_the_state(state: Path) -> None:
    def run(*command: str) -> Any:
        here = [sys.executable, "-m", "ztfast.cli", *command, "--state", str(state), "--json"]
        return json.loads(subprocess.run(here, check=True, capture_output=True, text=True).stdout)

    mine = engine(state, clock="caller")
    mine.set_time(1_000 * SECOND)
    session = mine.admit(identity(not_after=1_500.0))
    who = ("--by", "ann", "--reason", "a test")
    (listed,) = run("session", "list")["sessions"]
    assert (listed["status"], listed["not_after"]) == ("active", 1_500.0)
    run("session", "renew", ANN, "--not-after", "2000", *who)
    assert run("kill", ANN, "--for", "5m", *who)["until"] == 1_300.0
    assert code(mine, session) == "KILLED"
    mine.set_time(1_300 * SECOND)
    assert code(mine, session) == "ALLOW"
    mine.set_time(2_000 * SECOND)
    assert code(mine, session) == "EXPIRED"
    assert run("session", "list")["sessions"] == []


def test_a_gate_decides_by_the_age_of_a_proof_on_the_callers_clock() -> None:
    schema = "entity User; entity Book; action trade appliesTo { principal: User, resource: Book,"
    schema += " context: { qty: Long, live: ztfast::Live } };"
    policy = "permit (principal, action, resource)"
    policy += ' when { context.qty < 9 && context.live.authAge < duration("60s") && context.live.risk < 50 };'
    bundle = ztfast.compile(ztfast.Text(policy), schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    mine = ztfast.Engine(bundle, sessions=8, handles=64, clock="caller")
    begin = 4_000_000_000
    mine.set_time(begin * SECOND)
    session = mine.admit(identity(factors=["fido2"], auth_time=float(begin)))
    gate, book = mine.prepare("trade", "qty"), mine.resource('Book::"b"')
    for seconds, wanted in ((0, "ALLOW"), (59, "ALLOW"), (60, "DEFAULT"), (100_000, "DEFAULT")):
        mine.set_time((begin + seconds) * SECOND)
        for _ in range(2):
            assert gate.allows(session, book, 5) is (wanted == "ALLOW"), seconds
            assert gate.decide(session, book, 5).code == wanted
            assert gate.decide_many(session, book, [5]).tolist() == [ztfast.Code[wanted]]
            assert mine.decide(session, "trade", book, {"qty": 5}).code == wanted
    session.present(factors=["fido2"])
    assert gate.allows(session, book, 5)
    assert not gate.allows(session, book, 9)


def test_no_time_is_given_to_a_state_that_is_gone(state: Path) -> None:
    first = engine(state, clock="caller")
    assert first.set_time(5 * SECOND) == 5 * SECOND
    (state / "state").unlink()
    with pytest.raises(ztfast.StateError, match="removed"):
        first.set_time(6 * SECOND)
