"""A state of another user: who may change it, who may read it, and what a user is told who may not.

Only root can become other users, so the tests are for root.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ztfast
from tests.cli.running import here

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root becomes another")

SERVICE = pwd.getpwnam("nobody")
WHO = ("--by", "eve", "--reason", "a test")
CHANGES = (
    ("kill", "firm"),
    ("kill", "release", "0x1234"),
    ("market", "set", 'Photo::"p1"', "halted"),
    ("session", "revoke", 'User::"ann"'),
    ("session", "quarantine", 'User::"ann"'),
    ("session", "renew", 'User::"ann"', "--not-after", "never"),
    ("session", "present", 'User::"ann"', "--risk", "3"),
)
LISTS = (("session", "list"), ("kill", "list"), ("market", "list"), ("log",))
OPENS = """
import os, sys
import ztfast
bundle = ztfast.examples.tiny()
path, uid, gid, role, group = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4], sys.argv[5]
os.setgroups([gid]); os.setgid(gid); os.setuid(uid)
try:
    group = int(group) if group else None
    ztfast.Engine(bundle, state=path, role=role, state_group=group, sessions=16, handles=256)
except ztfast.StateError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that every user may pass through, and the user of the service may change."""
    made = Path(tempfile.mkdtemp(prefix="ztfast-others-"))
    made.chmod(0o755)
    os.chown(made, SERVICE.pw_uid, SERVICE.pw_gid)
    yield made
    shutil.rmtree(made)


def opened_by(user: pwd.struct_passwd, path: Path, role: str = "authority", group: int | None = SERVICE.pw_gid) -> str:
    """Open a state as another user; return what is said if it is refused."""
    # In a folder of root's own, another user's Python finds nothing to import.
    arguments = [str(path), str(user.pw_uid), str(user.pw_gid), role, "" if group is None else str(group)]
    done = subprocess.run([sys.executable, "-c", OPENS, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == bool(done.stderr), done.stderr
    return done.stderr.strip()


def contents(path: Path) -> dict[str, tuple[int, int, bytes]]:
    return {each.name: (each.stat().st_uid, each.stat().st_ino, each.read_bytes()) for each in sorted(path.iterdir())}


def told(path: Path) -> str:
    return f"{path}: only user {SERVICE.pw_uid} (nobody) may change this state: run this as that user"


@pytest.mark.parametrize("group", [None, SERVICE.pw_gid])
def test_root_is_told_which_user_may_change_a_state(folder: Path, group: int | None) -> None:
    state = folder / "desk"
    assert opened_by(SERVICE, state, group=group) == ""
    before = contents(state)
    with pytest.raises(ztfast.StateError) as refused:
        ztfast.Engine(ztfast.examples.tiny(), state=state, state_group=group)
    assert str(refused.value) == told(state)
    options = () if group is None else ("--group", str(group))
    for command in CHANGES:
        done = here(*command, *WHO, *options, "--state", str(state))
        assert (done.returncode, done.stderr) == (1, f"error: {told(state)}\n"), command
    assert contents(state) == before


def test_root_makes_no_state_in_another_users_directory(folder: Path) -> None:
    # Its user could not open what root has made there.
    state = folder / "desk"
    state.mkdir(mode=0o700)
    os.chown(state, SERVICE.pw_uid, SERVICE.pw_gid)
    for group in (None, SERVICE.pw_gid):
        with pytest.raises(ztfast.StateError) as refused:
            ztfast.Engine(ztfast.examples.tiny(), state=state, state_group=group)
        assert str(refused.value) == told(state)
    assert contents(state) == {}
    assert opened_by(SERVICE, state) == ""


def test_a_file_of_owners_that_is_anothers_is_told_of_too(folder: Path) -> None:
    state = folder / "desk"
    assert opened_by(SERVICE, state) == ""
    for path in (state, state / "state"):
        os.chown(path, 0, SERVICE.pw_gid)
    with pytest.raises(ztfast.StateError) as refused:
        ztfast.Engine(ztfast.examples.tiny(), state=state)
    assert str(refused.value) == told(state / "owners")


def test_a_reader_is_told_to_name_the_group_and_then_reads(folder: Path) -> None:
    state = folder / "desk"
    assert opened_by(SERVICE, state) == ""
    for command in LISTS:
        done = here(*command, "--state", str(state))
        why = (
            f"{state}: it belongs to user {SERVICE.pw_uid} (nobody), and this process runs as 0 (root): name the group"
        )
        assert (done.returncode, done.stderr) == (1, f"error: {why} that both trust (state_group=, --group)\n")
        done = here(*command, "--state", str(state), "--group", str(SERVICE.pw_gid))
        assert (done.returncode, done.stderr) == (0, ""), command
    done = here(*LISTS[0], "--state", str(state), "--group", "0")
    assert done.stderr == f"error: {state}: it belongs to group {SERVICE.pw_gid}, and 0 was named\n"


def test_another_user_is_told_the_same_where_the_system_refuses_the_files(folder: Path) -> None:
    other = pwd.getpwnam("daemon")
    member = pwd.struct_passwd((*other[:3], SERVICE.pw_gid, *other[4:]))
    state = folder / "desk"
    assert opened_by(SERVICE, state) == ""
    assert opened_by(member, state).endswith(told(state))
    assert opened_by(member, state, role="decide") == ""
    # A directory of root's is trusted as its own, so the files are what tells whose it is.
    os.chown(state, 0, SERVICE.pw_gid)
    assert opened_by(member, state) == told(state / "state")


def test_a_user_without_a_name_is_told_by_number(folder: Path) -> None:
    nameless = pwd.struct_passwd(("", "", 123_456, 123_456, "", "", ""))
    os.chown(folder, nameless.pw_uid, nameless.pw_gid)
    state = folder / "desk"
    assert opened_by(nameless, state, group=None) == ""
    with pytest.raises(ztfast.StateError, match=r": only user 123456 may change this state"):
        ztfast.Engine(ztfast.examples.tiny(), state=state)


def test_a_directory_of_another_user_is_told_in_one_sentence(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(0o700)
    os.seteuid(SERVICE.pw_uid)
    try:
        done = here("session", "list", "--state", str(private), "--json")
    finally:
        os.seteuid(0)
    says = f"{private}: cannot look for a state there: Permission denied"
    assert (done.returncode, done.stderr) == (1, f"error: {says}\n")
    assert json.loads(done.stdout)["error"]["message"] == says
