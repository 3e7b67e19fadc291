"""``ztfast session`` on a state while an engine runs: what it lists, what it changes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import Here, run
from ztfast.cli.states import matching, moment, span

ANN, BOB, GROUP = 'User::"ann"', 'User::"bob"', 'Group::"guests"'
WHO = ["--by", "eve", "--reason", "a test"]
SECRET = 8
"""The characters of an id that are shown: 0x and six digits."""


class Desk:
    """A running engine, and commands on its state."""

    def __init__(self, folder: Path, here: Here) -> None:
        self.here = here
        self.path = folder / "desk"
        self.bundle = folder / "tiny.ztb"
        ztfast.examples.tiny().save(self.bundle)
        self.engine = ztfast.Engine(ztfast.examples.tiny(), state=self.path, sessions=16, handles=256)

    def admit(self, principal: str, **what: Any) -> ztfast.Session:
        return self.engine.admit(ztfast.Identity(principal, **({"not_after": math.inf} | what)))

    def code(self, session: ztfast.Session) -> str:
        return self.engine.decide(session, "view", 'Photo::"p2"').code

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.here.run("session", *arguments, "--state", str(self.path))

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, here: Here) -> Desk:
    return Desk(tmp_path, here)


def test_list_shows_what_is_known_and_keeps_ids_secret(desk: Desk) -> None:
    bob = desk.admit(BOB)
    ann = desk.admit(
        ANN,
        factors=["x509", "fido2"],
        auth_time=time.time() - 3600,
        assurance=3,
        risk=40,
        channel="mtls",
        region="EU",
        on_behalf_of=BOB,
        not_after=time.time() + 7300,
    )
    done = desk.run("list")
    header, first, second, count = done.stdout.splitlines()
    assert "assurance" in header.split()
    for shown in (ANN, BOB, "active", "x509 fido2", "1h00m", "3", "40", "mtls", "EU", "2h01m"):
        assert shown in first
    assert second.split()[:3] == [hex(bob.id)[:SECRET], BOB, "active"]
    assert "no end" in second
    assert count == "2 sessions: 2 active"
    told = desk.json("list")["sessions"]
    assert [info["principal"] for info in told] == [ANN, BOB]
    assert told[0]["factors"] == ["x509", "fido2"]
    assert (told[0]["channel"], told[0]["region"], told[0]["on_behalf_of"]) == ("mtls", "EU", BOB)
    assert told[1]["not_after"] is None
    for output in (done.stdout, json.dumps(told), desk.run("show", ANN).stdout):
        assert hex(ann.id)[:SECRET] in output
        assert hex(ann.id)[: SECRET + 1] not in output
        assert str(ann.id) not in output
    assert [info["id"] for info in desk.json("list", "--ids")["sessions"]] == [hex(ann.id), hex(bob.id)]
    assert hex(ann.id) in desk.run("list", "--ids").stdout


def test_list_filters_by_principal_and_status(desk: Desk) -> None:
    sessions = [desk.admit(principal) for principal in (ANN, ANN, BOB)]
    sessions[0].revoke()
    sessions[2].quarantine()

    def listed(*options: str) -> list[tuple[str, str]]:
        return [(info["principal"], info["status"]) for info in desk.json("list", *options)["sessions"]]

    assert listed() == [(ANN, "active"), (BOB, "quarantined")]
    assert "not shown: 1 revoked; --status all shows them" in desk.run("list").stdout
    assert sorted(listed("--status", "all")) == [(ANN, "active"), (ANN, "revoked"), (BOB, "quarantined")]
    assert listed("--status", "revoked", "--status", "quarantined") == [(ANN, "revoked"), (BOB, "quarantined")]
    assert listed("--principal", ANN) == [(ANN, "active")]
    assert listed("--principal", 'User::"nobody"') == []
    assert desk.run("list", "--principal", 'User::"nobody"').stdout == "0 sessions\n"
    for options, says in ((["--status", "gone"], "wanted active"), (["--principal", "ann"], "uid")):
        done = desk.run("list", *options)
        assert done.returncode == 2
        assert says in done.stderr


def test_show_takes_the_first_digits_of_an_id_or_a_principal(desk: Desk) -> None:
    ann = desk.admit(ANN, factors=["otp"], risk=7)
    desk.admit(BOB)
    desk.admit(BOB)
    for target in (hex(ann.id), hex(ann.id)[:SECRET], hex(ann.id).upper().replace("X", "x"), str(ann.id), ANN):
        (info,) = desk.json("show", target)["sessions"]
        assert (info["principal"], info["factors"], info["risk"]) == (ANN, ["otp"], 7)
    assert len(desk.json("show", BOB)["sessions"]) == 2
    text = desk.run("show", ANN).stdout
    for shown in ("principal    " + ANN, "otp", "7 of 100", "no end"):
        assert shown in text


def test_commands_act_from_another_process(desk: Desk) -> None:
    ann, bob = desk.admit(ANN), desk.admit(BOB)
    env = {"ZTFAST_STATE": str(desk.path), "COLUMNS": "40"}
    listed = run("session", "list", env=env)
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 4)
    done = run("session", "revoke", ANN, *WHO, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"1 session revoked: {ANN}, by eve: a test\n", "")
    assert [desk.code(session) for session in (ann, bob)] == ["REVOKED", "ALLOW"]
    assert run("session", "revoke", ANN, *WHO, env=env).returncode == 1
    assert run("session", "revoke", BOB, env=env).returncode == 2


def test_a_revocation_is_in_effect_when_the_command_returns(desk: Desk) -> None:
    ann, again, other, bob = (desk.admit(principal) for principal in (ANN, ANN, ANN, BOB))
    resting = desk.admit(ANN, ground="certificate 7")
    assert desk.json("revoke", hex(ann.id)[:SECRET], *WHO) == {
        "changed": 1,
        "status": "revoked",
        "of": f"session {hex(ann.id)[:SECRET]} of {ANN}",
        "by": "eve",
        "reason": "a test",
    }
    assert [desk.code(session) for session in (ann, again)] == ["REVOKED", "ALLOW"]
    done = desk.run("revoke", "--ground", "certificate 7", *WHO)
    assert done.stdout == "1 session revoked: ground certificate 7, by eve: a test\n"
    assert [desk.code(session) for session in (resting, again)] == ["REVOKED", "ALLOW"]
    assert desk.run("revoke", ANN, *WHO).stdout == f"2 sessions revoked: {ANN}, by eve: a test\n"
    assert [desk.code(session) for session in (again, other, bob)] == ["REVOKED", "REVOKED", "ALLOW"]


def test_a_group_is_known_by_its_bundle(desk: Desk) -> None:
    bob = desk.admit(BOB)
    done = desk.run("revoke", GROUP, *WHO)
    assert done.returncode == 1
    assert "--bundle" in done.stderr
    assert desk.code(bob) == "ALLOW"
    done = desk.run("revoke", GROUP, "--bundle", str(desk.bundle), *WHO)
    assert done.returncode == 0, done.stderr
    assert desk.code(bob) == "REVOKED"


def test_a_quarantine_that_holds_already_is_no_error_and_no_change(desk: Desk) -> None:
    ann, bob = desk.admit(ANN), desk.admit(BOB, ground="key")
    with_bundle = ["--bundle", str(desk.bundle)]
    assert desk.run("quarantine", BOB, *WHO).returncode == 0
    for target, named in (
        ([BOB], BOB),
        ([hex(bob.id)], f"session {hex(bob.id)[:SECRET]} of {BOB}"),
        (["--ground", "key"], "ground key"),
        ([GROUP, *with_bundle], GROUP),
    ):
        done = desk.run("quarantine", *target, *WHO)
        assert (done.returncode, done.stdout) == (0, f"1 session already quarantined: {named}\n")
        assert desk.json("quarantine", *target, *WHO)["changed"] == 0
    done = desk.run("quarantine", ANN, "--off", *WHO)
    assert (done.returncode, done.stdout) == (0, f"1 session not in quarantine: {ANN}\n")
    assert desk.json("quarantine", hex(ann.id), "--off", *WHO)["changed"] == 0
    assert [note.what for note in desk.engine.notes()] == ["quarantined"]
    assert (desk.code(ann), desk.code(bob)) == ("ALLOW", "QUARANTINED")
    bob.renew(not_after=time.time() - 1)
    for off in ([], ["--off"]):
        done = desk.run("quarantine", BOB, *off, *WHO)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no session was " in done.stderr
    assert desk.run("revoke", BOB, *WHO).returncode == 1


def test_a_quarantine_begins_and_ends(desk: Desk) -> None:
    ann = desk.admit(ANN)
    assert desk.json("quarantine", ANN, *WHO)["changed"] == 1
    assert desk.code(ann) == "QUARANTINED"
    assert desk.json("quarantine", hex(ann.id), "--off", *WHO)["status"] == "released from quarantine"
    assert desk.code(ann) != "QUARANTINED"


def test_what_changes_nothing_is_an_error(desk: Desk) -> None:
    ann, bob = desk.admit(ANN), desk.admit(BOB)
    ann.revoke()
    for arguments, code, says in (
        ([ANN], 1, "no session was revoked"),
        ([hex(ann.id)], 1, "is revoked: nothing of it can be changed"),
        (['User::"nobody"'], 1, "no session was revoked"),
        (["--ground", "nothing"], 1, "no session was revoked"),
        (["0x123456789"], 1, "no session with this id"),
        (["0x12"], 2, "at least 4 digits"),
        (["User::bob"], 2, """'User::"bob"'"""),
        ([f"{BOB} "], 2, "uid"),
        (["a7"], 2, "uid"),
        ([], 2, "one of them"),
        ([BOB, "--ground", "c"], 2, "one of them"),
        (["--ground", ""], 2, "empty"),
    ):
        done = desk.run("revoke", *arguments, *WHO)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    for options in (
        ["--by", "eve"],
        ["--reason", "x"],
        ["--by", " ", "--reason", "x"],
        ["--by", "eve", "--reason", ""],
    ):
        done = desk.run("revoke", BOB, *options)
        assert done.returncode == 2
        assert "--by" in done.stderr or "--reason" in done.stderr
    assert desk.code(bob) == "ALLOW"


def test_a_directory_without_a_state_is_left_as_it_is(tmp_path: Path, here: Here) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        for command in (["list"], ["show", ANN], ["revoke", ANN, *WHO]):
            done = here.run("session", *command, "--state", str(path))
            assert done.returncode == 1
            assert f"{path}: there is no state here" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = here.run("session", "list")
    assert done.returncode == 2
    assert "ZTFAST_STATE" in done.stderr
    (tmp_path / "state").write_bytes(b"something else" * 1000)
    done = here.run("session", "list", "--state", str(tmp_path), "--json")
    assert done.returncode == 1
    assert "not a state of ztfast" in json.loads(done.stdout)["error"]["message"]


def test_what_can_be_no_state_is_told_in_one_sentence(tmp_path: Path, here: Here) -> None:
    file, pipe, loop, long = (tmp_path / name for name in ("file", "pipe", "loop", "x" * 300))
    file.touch()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    no_directory = "is no directory: name the directory of a state"
    for path, says in (
        (file, f"{file} {no_directory}"),
        (pipe, f"{pipe} {no_directory}"),
        (file / "desk", f"{file / 'desk'} {no_directory}"),
        (Path("/dev/null"), f"/dev/null {no_directory}"),
        (loop, f"{loop}: cannot look for a state there: Too many levels of symbolic links"),
        (long, f"{str(long)[:57]}...: cannot look for a state there: File name too long"),
        (Path("x" * 65_536), f"{'x' * 57}...: cannot look for a state there: File name too long"),
    ):
        for command in (["kill", "firm", *WHO], ["session", "list"], ["market", "list"], ["log"]):
            done = here.run(*command, "--state", str(path), "--json")
            assert (done.returncode, done.stderr) == (1, f"error: {says}\n")
            assert json.loads(done.stdout)["error"]["message"] == says


def test_no_path_is_not_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    engine = ztfast.Engine(ztfast.examples.tiny(), state=tmp_path, sessions=16, handles=256)
    monkeypatch.chdir(tmp_path)
    for given in (["--state", ""], ["--state="]):
        done = here.run("kill", "firm", *WHO, "--json", *given)
        says = "--state: wanted the directory of a state; got an empty text"
        assert (done.returncode, done.stderr) == (2, f"error: {says}\n")
        assert json.loads(done.stdout)["error"]["message"] == says
    monkeypatch.setenv("ZTFAST_STATE", "")
    assert here.run("kill", "firm", *WHO).returncode == 2
    assert engine.kills() == []
    assert here.run("kill", "firm", *WHO, "--state", ".").returncode == 0
    assert len(engine.kills()) == 1


def test_messages_show_the_beginning_of_a_long_uid_or_id(desk: Desk) -> None:
    uid, digits, shown = f'User::"{"x" * 65_536}"', "0x" + "a" * 65_536, f'User::"{"x" * 50}...'
    for target in (uid, digits, "9" * 65_536):
        for command in (
            ["revoke", target, *WHO],
            ["quarantine", target, *WHO],
            ["renew", target, "--not-after", "never", *WHO],
            ["present", target, "--risk", "3", *WHO],
            ["show", target],
        ):
            done = desk.run(*command)
            assert (done.returncode, len(done.stderr) < 300) == (1, True), done.stderr[:400]
            assert target is not uid or shown in done.stderr
        done = desk.here.run("kill", "release", target, *WHO, "--state", str(desk.path))
        assert (done.returncode, len(done.stderr) < 300) == (1, True), done.stderr[:400]
    for command, says in (
        (["kill", "x" * 65_536, *WHO], "wanted 'firm' or the uid"),
        (["kill", "firm", "--for", "x" * 65_536, *WHO], "wanted a length of time"),
        (["market", "set", uid, "x" * 65_536, *WHO], "wanted normal"),
        (["session", "list", "--status", "x" * 65_536], "wanted active"),
        (["session", "revoke", "--ground", "x" * 65_536, *WHO], "no session was revoked"),
    ):
        done = desk.here.run(*command, "--state", str(desk.path))
        assert says in done.stderr
        assert len(done.stderr) < 300, done.stderr[:400]


def test_a_session_is_found_by_its_id_or_the_first_digits() -> None:
    # With so many sessions, some share their first four digits.
    engine = ztfast.Engine(ztfast.examples.tiny(), sessions=2_048)
    ids = [engine.admit(ztfast.Identity(ANN, not_after=math.inf)).id for _ in range(2_048)]
    count = Counter(f"{id:#x}"[:6] for id in ids)
    (often, times), *_, (once, one) = count.most_common()
    assert (times > 1, one) == (True, 1)
    with pytest.raises(ztfast.Error, match=rf"{times} sessions begin so .*: give more digits"):
        matching(often, engine)
    assert {info.id for info in engine.sessions(beginning=often)} == {id for id in ids if f"{id:#x}".startswith(often)}
    (info,) = matching(once.upper(), engine) or []
    assert f"{info.id:#x}".startswith(once)
    for given in (f"{ids[7]:#x}", f" {ids[7]:#X} ", str(ids[7]), f"000{ids[7]}"):
        (info,) = matching(given, engine) or []
        assert info.id == ids[7]
    absent = next(f"{number:#06x}" for number in range(0x1000, 0x10000) if f"{number:#06x}" not in count)
    for given in (absent, f"{ids[7]:#x}0", "0x" + "f" * 17, "0x" + "1" * 5_000, "7", "9" * 20, "9" * 5_000, "0x0000"):
        with pytest.raises(ztfast.SessionError, match="no session with this id"):
            matching(given, engine)
    for given in ("0x", "0xabc"):
        with pytest.raises(ztfast.Error, match="at least 4 digits"):
            matching(given, engine)
    assert matching(BOB, engine) is None
    assert (
        len(matching(ANN, engine) or ()) == len(engine.sessions(ANN)) == len(engine.sessions(beginning="0x")) == 2_048
    )
    for wrong in ("", "abcd", "0xg", "0x" + "1" * 17, 5, b"0x12", "0x12\n"):
        with pytest.raises(ztfast.ArgumentError, match="hexadecimal"):
            engine.sessions(beginning=wrong)  # type: ignore[arg-type]
    with pytest.raises(ztfast.ArgumentError, match="not both"):
        engine.sessions(ANN, beginning="0x12")
    with pytest.raises(ztfast.UidError):
        engine.sessions("ann")


@pytest.mark.parametrize("seconds", [0.0, 59.9, 60.0, 3_599.0, 3_600.0, 86_399.0, 86_400.0, -5.0, 1e9, math.inf])
def test_lengths_of_time_are_short(seconds: float) -> None:
    assert 0 < len(span(seconds)) <= 9


def test_a_time_of_another_day_has_its_date() -> None:
    assert len(moment(time.time())) in (9, 20)  # 20 if midnight passes meanwhile
    assert moment(1_000_000_000.0) == "2001-09-09 01:46:40Z"


def test_show_says_on_what_a_session_rests(desk: Desk) -> None:
    desk.admit(BOB)
    desk.admit(ANN, ground="certificate 7")
    begun = hashlib.sha256(b"certificate 7").hexdigest()[:16]
    assert f"  ground       SHA-256 {begun}...\n" in desk.run("show", ANN).stdout
    assert "ground" not in desk.run("show", BOB).stdout
    assert [desk.json("show", who)["sessions"][0]["ground"] for who in (ANN, BOB)] == [begun, None]
    assert {info["principal"]: info["ground"] for info in desk.json("list")["sessions"]} == {ANN: begun, BOB: None}
    assert "sha256sum" in desk.here.run("session", "show", "--help").stdout


def test_the_help_names_what_the_commands_do(desk: Desk) -> None:
    told = " ".join(desk.here.run("session", "--help").stdout.split())
    assert "List, show, revoke, quarantine and renew sessions while engines run, and present new proofs" in told


def test_show_says_who_revoked_a_session_and_why(desk: Desk) -> None:
    session = desk.engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    id = f"{session.id:#x}"
    assert "because" not in desk.run("show", id).stdout
    assert desk.run("revoke", id, "--by", "bob", "--reason", "key lost").returncode == 0
    said = desk.run("show", id).stdout
    for text in ("revoked", "  by           bob", "  because      key lost"):
        assert text in said
    (shown,) = desk.json("show", id)["sessions"]
    assert (shown["by"], shown["reason"]) == ("bob", "key lost")
    assert abs(shown["since"] - time.time()) < 60
