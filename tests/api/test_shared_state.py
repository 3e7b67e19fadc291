"""Engines over one state: what one admits, changes or revokes, the others see; and what each may do."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ztfast
from tests.conftest import ask
from tests.states import ANN, P1, code, engine, identity

BOB = 'User::"bob"'


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "desk"


PROGRAM = """
import sys, ztfast
engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role=sys.argv[2])
gate, resource = engine.prepare("view"), engine.resource('Photo::"p1"')
print(resource.handle, flush=True)
for line in sys.stdin:
    try:
        print(gate.decide(engine.session(int(line)), resource).code, flush=True)
    except ztfast.SessionError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("role", ["authority", "decide"])
def test_another_process_sees_sessions_handles_and_revocations(
    state: Path, role: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    here = engine(state)
    there = start(PROGRAM, role)
    assert there.stdout is not None
    assert int(there.stdout.readline()) == here.resource(P1).handle

    def asked(session: ztfast.Session) -> str:
        (answer,) = ask(there, str(session.id))
        return answer

    session, other = here.admit(identity()), here.admit(identity(BOB))
    assert (asked(session), asked(other)) == ("ALLOW", "DEFAULT")
    assert session.quarantine()
    assert asked(session) == "QUARANTINED"
    session.quarantine(False)
    assert asked(session) == "ALLOW"
    assert here.revoke(ANN) == 1
    assert (asked(session), asked(other)) == ("SessionError", "DEFAULT")


def test_engines_of_one_process_share_a_state(state: Path) -> None:
    first, second, reader = engine(state), engine(state), engine(state, "decide")
    session = first.admit(identity())
    found = [one.session(session.id) for one in (second, reader)]
    assert [code(one, of) for one, of in zip((first, second, reader), (session, *found), strict=True)] == ["ALLOW"] * 3
    assert found[0].revoke()
    assert [code(one, session) for one in (first, second, reader)] == ["REVOKED"] * 3


def test_an_id_decides_where_it_was_not_looked_up(state: Path) -> None:
    import numpy as np

    first, second = engine(state), engine(state, "decide")
    gate, resource = second.prepare("view"), second.resource(P1)
    session = first.admit(identity('User::"nobody-knew"'))
    ids = np.array([session.id, first.admit(identity()).id], np.uint64)
    assert list(gate.decide_many(ids, resource)) == [ztfast.Code.DEFAULT, ztfast.Code.ALLOW]


def test_a_deciding_engine_changes_nothing(state: Path) -> None:
    authority, reader = engine(state), engine(state, "decide")
    session = reader.session(authority.admit(identity()).id)
    changes = [
        lambda: reader.admit(identity()),
        lambda: session.revoke(),
        lambda: session.quarantine(),
        lambda: session.renew(not_after=math.inf),
        lambda: session.present(factors=["fido2"]),
        lambda: reader.revoke(ANN),
        lambda: reader.quarantine(ANN),
    ]
    for change in changes:
        with pytest.raises(ztfast.RoleError, match="role='decide'"):
            change()
    assert code(authority, session) == "ALLOW"


def test_a_uid_that_only_a_deciding_engine_names_is_its_own(state: Path) -> None:
    authority, first, second = engine(state), engine(state, "decide"), engine(state, "decide")
    session = authority.admit(identity())
    mine, other = first.resource('Photo::"mine"'), second.resource('Photo::"other"')
    assert mine.handle != other.handle
    # A handle of the other engine is no handle here, although both have the same place.
    assert second.decide(session, "view", mine).code == "UNKNOWN_HANDLE"
    assert second.prepare("view").decide(session, mine).code == "UNKNOWN_HANDLE"
    assert first.prepare("view").decide(session, mine).code == "DEFAULT"
    assert authority.resource(P1).handle == first.resource(P1).handle == second.resource(P1).handle


def test_what_an_identity_says_is_seen_by_all(state: Path) -> None:
    first, second = engine(state), engine(state, "decide")
    session = first.admit(
        identity(
            factors=["x509", "fido2"],
            assurance=3,
            risk=40,
            channel="x509",
            region="EU",
            on_behalf_of=BOB,
            auth_time=time.time() - 100,
            not_after=time.time() + 60,
        )
    )
    (info,) = second.sessions()
    assert (info.id, str(info.principal), info.status) == (session.id, ANN, "active")
    assert (info.factors, info.assurance, info.risk) == (("x509", "fido2"), 3, 40)
    assert (info.channel, info.region, str(info.on_behalf_of)) == ("x509", "EU", BOB)
    assert info.auth_age is not None
    assert 99 < info.auth_age < 110
    session.present(factors=["otp"], assurance=1)
    (info,) = second.sessions()
    assert (info.factors, info.assurance, info.risk) == (("otp",), 1, 40)
    assert info.auth_age is not None
    assert info.auth_age < 10
    session.present(risk=90)
    assert second.sessions()[0].risk == 90
    assert second.sessions()[0].factors == ("otp",)


def test_a_renewal_prolongs_or_ends_and_revives_nothing(state: Path) -> None:
    first = engine(state)
    session = first.admit(identity(not_after=time.time() + 60))
    session.renew(not_after=time.time() + 3600)
    assert first.sessions()[0].not_after > time.time() + 3000
    session.renew(not_after=time.time() - 1)
    assert code(first, session) == "EXPIRED"
    with pytest.raises(ztfast.SessionError, match="over"):
        session.renew(not_after=math.inf)
    with pytest.raises(ztfast.SessionError, match="over"):
        session.present(factors=["fido2"])
    with pytest.raises(ztfast.SessionError, match="expired"):
        first.session(session.id)
    revoked = first.admit(identity())
    revoked.revoke()
    with pytest.raises(ztfast.SessionError, match="over"):
        revoked.renew(not_after=math.inf)
    assert code(first, revoked) == "REVOKED"


@pytest.mark.parametrize("shared", [True, False])
def test_revocations_reach_a_principal_a_group_and_a_ground(state: Path, shared: bool) -> None:
    first = engine(state if shared else None)
    ann, again, bob = (first.admit(identity(*of)) for of in ((ANN,), (ANN,), (BOB,)))
    resting = [first.admit(identity(ground=ground)) for ground in ("a", b"a", "b")]
    assert first.revoke(ANN) == 5
    assert [code(first, one) for one in (ann, again, bob)] == ["REVOKED", "REVOKED", "DEFAULT"]
    resting = [first.admit(identity(ground=ground)) for ground in ("a", b"a", "b")]
    assert first.revoke(ground="a") == 2
    assert [code(first, one) for one in resting] == ["REVOKED", "REVOKED", "ALLOW"]
    members = [{"uid": {"type": "User", "id": "bob"}, "attrs": {}, "parents": [{"type": "Group", "id": "friends"}]}]
    first.upsert(members)
    assert first.quarantine('Group::"friends"') >= 1
    assert code(first, bob) == "QUARANTINED"
    assert first.quarantine('Group::"friends"', on=False) >= 1
    assert code(first, bob) != "QUARANTINED"


def test_only_sessions_that_change_are_counted(state: Path) -> None:
    first = engine(state)
    sessions = [first.admit(identity()) for _ in range(4)]
    assert first.quarantine(ANN, on=False) == 0
    assert not sessions[0].quarantine(False)
    assert sessions[0].quarantine()
    assert not sessions[0].quarantine()
    assert first.quarantine(sessions[0]) == 0
    assert first.quarantine(ANN) == 3
    assert first.quarantine(ANN) == 0
    assert sessions[1].revoke()
    assert not sessions[1].revoke()
    sessions[2].renew(not_after=time.time() - 1)
    # One that is over is changed all the same, lest a renewal that is under way keep it alive.
    assert not sessions[2].revoke()
    assert code(first, sessions[2]) == "REVOKED"
    sessions[3].renew(not_after=time.time() - 1)
    assert first.quarantine(ANN, on=False) == 1
    assert [code(first, one) for one in sessions] == ["ALLOW", "REVOKED", "REVOKED", "EXPIRED"]
    assert first.revoke(sessions[3]) == 0
    assert first.revoke(ANN) == 1
    assert [code(first, one) for one in sessions] == ["REVOKED"] * 4


def test_a_revocation_of_a_session_says_by_whom_and_why(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, other = engine(state), engine(None)
    session, again = first.admit(identity()), first.admit(identity())
    for wrong in ({"by": ""}, {"reason": " \n"}, {"by": 7}):
        with pytest.raises(ztfast.ArgumentError, match=r"revoke: (by|reason): wanted a text"):
            first.revoke(session, **wrong)  # type: ignore[arg-type]
    for arguments, ground in (((), None), ((session,), "a ground")):
        with pytest.raises(ztfast.ArgumentError, match="one of them"):
            first.revoke(*arguments, ground=ground)
    with pytest.raises(ztfast.OwnerError, match="another engine"):
        other.revoke(session)
    assert code(first, session) == "ALLOW"
    with caplog.at_level("INFO", "ztfast"):
        assert first.quarantine(session, by="bob") == 1
        assert code(first, session) == "QUARANTINED"
        assert first.quarantine(session, on=False) == 1
        assert first.revoke(session, by="bob", reason="key\nlost") == 1
        assert first.revoke(session, by="bob") == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions quarantined: 1 (one of {ANN}) by bob: not said",
        f"sessions released from quarantine: 1 (one of {ANN}) by not said: not said",
        f"sessions revoked: 1 (one of {ANN}) by bob: key\\nlost",
        f"sessions revoked: 0 (one of {ANN}) by bob: not said",
    ]
    assert [code(first, one) for one in (session, again)] == ["REVOKED", "ALLOW"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"role": "admin"}, "'authority' or 'decide'"),
        ({"role": "decide"}, "state= of another process"),
        ({"state": 7}, "path of a directory"),
        ({"state": "a\0b"}, "path of a directory"),
        ({"state_group": "wheel"}, "only with state="),
        ({"clock": "sundial"}, "'coarse', 'caller' or 'tsc'"),
        ({"state": "/tmp/x", "state_group": "no such group"}, "a group of this machine"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], wanted: str) -> None:
    with pytest.raises(ztfast.ArgumentError, match=wanted):
        ztfast.Engine(ztfast.examples.tiny(), **options)  # type: ignore[arg-type]


def test_a_state_that_is_not_to_be_trusted_is_refused(state: Path) -> None:
    with pytest.raises(ztfast.StateError, match="role='authority' first"):
        engine(state, "decide")
    engine(state)
    with pytest.raises(ztfast.StateError, match="sessions=16, and 32 are wanted"):
        engine(state, sessions=32)
    ztfast.Engine(ztfast.examples.tiny(), state=state)
    state.chmod(0o777)
    with pytest.raises(ztfast.StateError, match="others than its owner"):
        engine(state)
    state.chmod(0o700)
    os.truncate(state / "state", 100_000)
    with pytest.raises(ztfast.StateError, match="not as long as when it was made"):
        engine(state)


def test_a_kill_does_not_wait_for_a_process_that_keeps_the_lock(state: Path) -> None:
    first = engine(state)
    session = first.admit(identity(BOB))
    program = (
        "import fcntl, struct, sys, time\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(state / "owners")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        began = time.monotonic()
        with pytest.raises(ztfast.StateError, match=f"process {holder.pid} keeps the first byte"):
            first.kill(ANN, by="ann", reason="a test")
        assert time.monotonic() - began < 10
        # A revocation needs no such lock.
        assert first.revoke(session, by="ann", reason="a test") == 1
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    first.kill(ANN, by="ann", reason="a test")
    assert code(first, first.admit(identity())) == "KILLED"


def test_a_lock_on_a_file_with_the_same_inode_elsewhere_is_not_the_writers_lock() -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("SKIPPED: there is no /dev/shm, where numbers of files are small")
    lock = "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))\n"
    # A new filesystem counts its files from 1, and each file that is made has the next number, also if it is removed.
    elsewhere = (
        "import fcntl, os, struct, subprocess, sys, time\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'none', sys.argv[1]], check=True)\n"
        "path, wanted = sys.argv[1] + '/owners', int(sys.argv[2])\n"
        "for _ in range(wanted):\n"
        "    file = open(path, 'w+b')\n"
        "    if os.fstat(file.fileno()).st_ino >= wanted:\n"
        "        break\n"
        "    file.close()\n"
        "    os.unlink(path)\n"
        "assert os.fstat(file.fileno()).st_ino == wanted\n" + lock + "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    here = "import fcntl, struct, sys, time\nfile = open(sys.argv[1], 'r+b')\n" + lock
    here += "print('locked', flush=True)\ntime.sleep(60)\n"
    started: list[subprocess.Popen[bytes]] = []

    def hold(*command: str) -> int | None:
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        return started[-1].pid if started[-1].stdout.readline() == b"locked\n" else None

    with tempfile.TemporaryDirectory(dir=shared) as folder:
        first = engine(Path(folder) / "desk")
        owners = Path(folder) / "desk" / "owners"
        (place := Path(folder) / "elsewhere").mkdir()
        try:
            command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", elsewhere]
            other = shutil.which("unshare") and hold(*command, str(place), str(owners.stat().st_ino))
            if not other:
                pytest.skip("SKIPPED: the system gives no filesystem with a file of the same number")
            writer = hold(sys.executable, "-c", here, str(owners))
            with pytest.raises(ztfast.StateError, match=f"process {writer} keeps the first byte"):
                first.kill(ANN, by="ann", reason="a test")
        finally:
            for process in started:
                process.kill()
                process.communicate()


@pytest.mark.parametrize("begins", ["as it is", "as a daemon"])
def test_a_child_that_lives_on_keeps_nothing_of_an_authority_that_died_while_it_changed_something(
    state: Path, begins: str
) -> None:
    first = engine(state)
    # The authority is stopped by its lock on the writers' byte, as it is within a change, and then by its end. A daemon
    # was forked from a process that had an engine, and closed all that it got from there before it opened its own.
    program = (
        "import fcntl, os, struct, sys, time, ztfast\n"
        "bundle = ztfast.Bundle.load(sys.argv[1])\n"
        "if sys.argv[3] == 'as a daemon':\n"
        "    before = ztfast.Engine(bundle, state=sys.argv[2])\n"
        "    if os.fork():\n"
        "        os.wait()\n"
        "        os._exit(0)\n"
        "    os.closerange(3, 4096)\n"
        "held = ztfast.Engine(bundle, state=sys.argv[2])\n"
        "before = None\n"
        "names = {os.readlink(f'/proc/self/fd/{fd}'): int(fd) for fd in os.listdir('/proc/self/fd')\n"
        "         if os.path.exists(f'/proc/self/fd/{fd}')}\n"
        "owners = names[os.path.join(os.path.realpath(sys.argv[2]), 'owners')]\n"
        "fcntl.fcntl(owners, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(120)\n"
        "    os._exit(0)\n"
        "print(os.getpid(), child, flush=True)\n"
        "time.sleep(120)\n"
    )
    saved = state.parent / "bundle.ztb"
    first.bundle.save(saved)
    command = [sys.executable, "-c", program, str(saved), str(state), begins]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    authority, child = map(int, started.stdout.readline().split())
    try:
        with pytest.raises(ztfast.StateError, match=f"process {authority} keeps the first byte"):
            first.kill(ANN, by="ann", reason="a test")
        os.kill(authority, signal.SIGKILL)
        started.wait()
        first.kill(ANN, by="ann", reason="a test")
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        started.kill()
        started.stdout.close()


def test_who_may_read_the_file_of_owners_is_refused(state: Path) -> None:
    engine(state)
    assert (state / "owners").stat().st_mode & 0o777 == 0o600
    (state / "owners").chmod(0o640)
    with pytest.raises(ztfast.StateError, match="may read it"):
        engine(state)


def test_a_forked_child_decides_nothing_by_its_parents_shared_state(state: Path) -> None:
    parent = engine(state)
    session, gate, resource = parent.admit(identity()), parent.prepare("view"), parent.resource(P1)
    assert gate.decide(session, resource).code == "ALLOW"
    pid = os.fork()
    if pid == 0:
        codes = {
            gate.decide(session, resource).code,
            parent.decide(session, "view", P1).code,
            ztfast.Code(gate.decide_many(session, [resource])[0]).name,
        }
        refused = 0
        calls: list[Callable[[], object]] = [
            lambda: parent.admit(identity()),
            lambda: parent.revoke(ANN),
            session.revoke,
            lambda: session.renew(not_after=math.inf),
            lambda: session.present(risk=1),
            lambda: parent.kill(ANN, by="ann", reason="a test"),
            lambda: parent.release_kill(5, by="ann", reason="a test"),
            lambda: parent.market(P1, "halted", by="ann", reason="a test"),
            lambda: parent.kill_switch(True),
            lambda: parent.kills(),
            lambda: parent.killed,
            lambda: parent.markets(),
            lambda: parent.market_state(P1),
            lambda: parent.knows(ANN),
            lambda: parent.sessions(),
            lambda: parent.session(session.id),
        ]
        for change in calls:
            try:
                change()
            except ztfast.ForkedError:
                refused += 1
        own = engine(state)
        again = code(own, own.session(session.id))
        os._exit(0 if (codes, refused, again) == ({"FORKED"}, len(calls), "ALLOW") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gate.decide(session, resource).code == "ALLOW"


def test_who_revoked_a_session_and_why_is_seen_by_all(state: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    here, reader = engine(state), engine(state, "decide")

    def said(session: ztfast.Session) -> tuple[str | None, str | None]:
        both = [next(info for info in one.sessions() if info.id == session.id) for one in (here, reader)]
        assert both[0].since == both[1].since
        assert (both[0].since is None) is (both[0].by is None and both[0].reason is None)
        assert both[0].since is None or abs(both[0].since - time.time()) < 60
        (found,) = {(info.by, info.reason) for info in both}
        return found

    one, other, third = here.admit(identity()), here.admit(identity(BOB, ground="g")), here.admit(identity(ANN))
    assert said(one) == (None, None)
    assert here.quarantine(ANN, by="ops", reason="odd orders") == 2
    assert (said(one), said(third)) == (("ops", "odd orders"), ("ops", "odd orders"))
    assert here.quarantine(one, on=False, by="ann", reason="checked") == 1
    assert said(one) == (None, None)
    assert one.quarantine()
    assert said(one) == (None, None)
    assert here.revoke(third, by=" ops  team ", reason="gone") == 1
    assert said(third) == ("ops team", "gone")
    assert here.revoke(ground="g", reason="leaked") == 1
    assert said(other) == (None, "leaked")
    for long in ({"by": "x" * 129}, {"reason": "x" * 257}):
        with pytest.raises(ztfast.ArgumentError, match="bytes in UTF-8"):
            here.revoke(one, **long)
    assert one.revoke()
    assert said(one) == (None, None)
    # The last 512 are kept.
    spare = here.admit(identity('User::"eve"'))
    for number in range(600):
        assert here.revoke('User::"none"', by=str(number), reason="a test") == 0
    assert said(third) == ("ops team", "gone")
    for number in range(512):
        assert here.quarantine(spare, on=number % 2 == 0, by=str(number), reason="a test") == 1
    assert said(third) == (None, None)


def test_a_sessions_own_methods_say_by_whom_and_why_too(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = engine(state)
    session, other = here.admit(identity()), here.admit(identity())
    for change in (session.revoke, session.quarantine):
        for wrong in ({"by": ""}, {"reason": " \n"}, {"by": 7}, {"by": "x" * 129}, {"reason": "x" * 257}):
            with pytest.raises(ztfast.ArgumentError):
                change(**wrong)
    assert (code(here, session), here.notes()) == ("ALLOW", [])
    with caplog.at_level("INFO", "ztfast"):
        assert session.quarantine(by="ann", reason="odd\norders")
        assert not session.quarantine(True, by="bob")
        assert session.quarantine(False, reason="explained")
        assert session.revoke(by="eve", reason="key lost")
        assert not session.revoke(by="eve")
        assert other.quarantine()
        assert other.revoke()
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions quarantined: 1 (one of {ANN}) by ann: odd\\norders",
        f"sessions quarantined: 0 (one of {ANN}) by bob: not said",
        f"sessions released from quarantine: 1 (one of {ANN}) by not said: explained",
        f"sessions revoked: 1 (one of {ANN}) by eve: key lost",
        f"sessions revoked: 0 (one of {ANN}) by eve: not said",
    ]
    assert [(note.what, str(note.of), note.by, note.reason, note.sessions) for note in here.notes()] == [
        ("quarantined", ANN, "ann", "odd\norders", 1),
        ("released from quarantine", ANN, "", "explained", 1),
        ("revoked", ANN, "eve", "key lost", 1),
    ]
    (info,) = [info for info in here.sessions() if info.id == session.id]
    assert (info.by, info.reason) == ("eve", "key lost")
    with pytest.raises(ztfast.RoleError):
        engine(state, "decide").session(here.admit(identity()).id).revoke(by="ann")


def test_the_time_stamp_counter_ends_a_session_in_time() -> None:
    try:
        mine = engine(None, clock="tsc")
    except ztfast.ArgumentError as error:
        pytest.skip(f"SKIPPED ALOUD: {error}")
    session = mine.admit(identity(not_after=time.time() + 0.3))
    assert code(mine, session) == "ALLOW"
    time.sleep(0.35)
    assert code(mine, session) == "EXPIRED"
