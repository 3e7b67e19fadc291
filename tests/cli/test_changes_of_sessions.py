"""``ztfast session renew`` and ``ztfast session present`` on a state while an engine runs, and ``ztfast schema live``."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cedarpy
import pytest

import ztfast
from tests.cli.running import Here

ANN, BOB, GUESTS = 'User::"ann"', 'User::"bob"', 'Group::"guests"'
WHO = ["--by", "eve", "--reason", "a test"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture
def engine(tmp_path: Path) -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), state=tmp_path / "desk", sessions=16, handles=256)


def admit(engine: ztfast.Engine, principal: str = ANN, **what: Any) -> ztfast.Session:
    return engine.admit(ztfast.Identity(principal, **({"not_after": time.time() + 60} | what)))


def test_sessions_are_renewed_by_id_principal_ground_and_group(
    here: Here, engine: ztfast.Engine, tmp_path: Path
) -> None:
    ztfast.examples.tiny().save(tmp_path / "tiny.ztb")
    ann, other = admit(engine), admit(engine, BOB, ground="key")
    state = ["--state", str(tmp_path / "desk")]
    for target, count in (
        ([f"{ann.id:#x}"], 1),
        ([ANN], 1),
        (["--ground", "key"], 1),
        ([GUESTS, "--bundle", str(tmp_path / "tiny.ztb")], 1),
    ):
        at = "2199-01-01T00:00:00+00:00"
        done = here.run("session", "renew", *target, "--not-after", at, *WHO, *state, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["changed"], told["status"], told["by"]) == (count, "renewed", "eve")
    assert {info.not_after for info in engine.sessions()} == {7226582400.0}
    done = here.run("session", "renew", ANN, "--not-after", "never", *WHO, *state)
    assert (done.returncode, done.stdout) == (0, f"1 session renewed without an end: {ANN}, by eve: a test\n")
    done = here.run("session", "renew", ANN, "--not-after", "7226582400", *WHO, *state)
    assert done.stdout == f"1 session renewed until 2199-01-01 00:00:00Z: {ANN}, by eve: a test\n"
    assert here.run("session", "renew", ANN, "--not-after", "never", *WHO, *state).returncode == 0
    assert math.isinf(next(info for info in engine.sessions() if info.id == ann.id).not_after)
    other.revoke()
    done = here.run("session", "renew", BOB, "--not-after", "never", *WHO, *state)
    assert done.returncode == 1
    assert "no session was renewed" in done.stderr


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00+00:00", "2020-01-01T00:00:00Z", "now"])
def test_no_session_is_renewed_to_a_time_that_is_over(
    here: Here, engine: ztfast.Engine, tmp_path: Path, at: str
) -> None:
    admit(engine)
    at = datetime.now(UTC).isoformat() if at == "now" else at
    done = here.run("session", "renew", ANN, "--not-after", at, *WHO, "--state", str(tmp_path / "desk"), "--json")
    message = json.loads(done.stdout)["error"]["message"]
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert message.startswith(f"--not-after {at}: this time is over")
    assert "`ztfast session revoke`" in message
    assert [info.status for info in engine.sessions()] == ["active"]
    assert engine.notes() == []


def test_a_proof_is_recorded(here: Here, engine: ztfast.Engine, tmp_path: Path) -> None:
    admit(engine, ground="key", factors=["otp"], assurance=2)
    state = ["--state", str(tmp_path / "desk")]
    done = here.run("session", "present", "--ground", "key", "--risk", "80", *WHO, *state)
    assert (done.returncode, done.stdout) == (0, "1 session reassessed: ground key, by eve: a test\n")
    done = here.run("session", "present", ANN, "--factor", "x509", "--factor", "fido2", *WHO, *state, "--json")
    told = json.loads(done.stdout)
    assert (told["changed"], told["status"]) == (1, "given a new proof")
    (info,) = engine.sessions()
    assert (info.factors, info.assurance, info.risk) == (("x509", "fido2"), 2, 80)
    done = here.run("session", "present", ANN, "--at", "2020-01-01T00:00:00+00:00", *WHO, *state)
    assert (done.returncode, done.stdout) == (0, f"1 session given a new proof: {ANN}, by eve: a test\n")
    (info,) = engine.sessions()
    assert (info.auth_age or 0) > 86_400 * 365


def test_what_makes_no_sense_is_refused(here: Here, engine: ztfast.Engine, tmp_path: Path) -> None:
    session = admit(engine)
    state = ["--state", str(tmp_path / "desk")]
    for command, code, says in (
        (["present", ANN, *WHO], 2, "say what was proved"),
        (["present", ANN, "--risk", "101", *WHO], 2, "from 0 to 100"),
        (["present", "--risk", "1", *WHO], 2, "say which sessions"),
        (["present", ANN, "--risk", "1", "--by", " ", "--reason", "x"], 2, "--by"),
        (["renew", ANN, "--not-after", "soon", *WHO], 2, "--not-after soon: wanted a time with its zone, as 20"),
        (["renew", ANN, "--not-after", "soon", *WHO], 2, "or 'never'"),
        (
            ["renew", ANN, "--not-after", "2199-01-01T00:00:00", *WHO],
            2,
            "--not-after 2199-01-01T00:00:00: wanted a time",
        ),
        (["renew", ANN, "--not-after", "5", *WHO], 2, "this time is over"),
        (["renew", ANN, "--not-after", "1895847606000", *WHO], 2, "is it in milliseconds?"),
        (["renew", ANN, "--not-after", "9" * 400, *WHO], 2, "wanted a time with its zone"),
        (["present", ANN, "--at", "yesterday", *WHO], 2, "--at yesterday: wanted a time with its zone, as 20"),
        (["renew", ANN, "--not-after", "never", *WHO, "--group", "7" * 5_000], 2, "group"),
        (["renew", ANN, *WHO], 2, "--not-after"),
        (["renew", GUESTS, "--not-after", "never", *WHO], 1, "--bundle FILE"),
    ):
        done = here.run("session", *command, *state)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    (info,) = engine.sessions()
    assert (info.id, info.risk, math.isinf(info.not_after)) == (session.id, 0, False)


SCHEMA = """
entity Human, Rules;
action modify appliesTo { principal: Human, resource: Rules, context: { live: ztfast::Live } };
"""
POLICY = 'permit (principal, action, resource) when { context.live.authAge < duration("60s") };'


def test_other_tools_take_the_schema_that_is_printed(here: Here) -> None:
    printed = here.run("schema", "live")
    assert (printed.returncode, printed.stdout) == (0, ztfast.live_schema())
    assert json.loads(here.run("schema", "live", "--json").stdout) == {"schema": ztfast.live_schema()}
    assert here.run("schema").returncode == 2

    def errors(schema: str, policy: str = POLICY) -> list[Any]:
        return list(cedarpy.validate_policies(policy, schema).errors)

    assert errors(SCHEMA + printed.stdout) == []
    assert errors(SCHEMA + printed.stdout, POLICY.replace("authAge", "age"))
    assert errors(SCHEMA)
    # A schema in which it stands is the same to the compiler.
    for schema in (SCHEMA, SCHEMA + printed.stdout):
        assert ztfast.compile(ztfast.Text(POLICY), schema=ztfast.Text(schema)).strict
