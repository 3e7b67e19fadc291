"""A process that only decides cannot write the state that it maps, by any way that it has over its own memory.

The state must be as it was, byte for byte. What such a process can do is open the file itself, if its user may write it:
so another user is what protects a state.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import ztfast

PREFACE = """
    import ctypes, mmap, os, struct, sys
    import ztfast
    engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role=sys.argv[2])
    start, size = engine._core.state_memory
    sessions, switches = start + 5 * 4096, start + 7 * 4096
    def word(at):
        return ctypes.c_uint64.from_address(at).value
    def text(wanted):
        return start + ctypes.string_at(start, size).index(wanted)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.mremap.restype = ctypes.c_void_p
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    libc.mprotect.argtypes = libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    def check(status):
        if status in (-1, 1 << 64):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return status
"""

WRITES = {
    "header": "ctypes.memset(start + 8, 0xFF, 4)",
    "control": "ctypes.memset(start + 4096, 0xFF, 8)",
    "first session": "assert word(sessions); ctypes.memset(sessions, 0xFF, 8)",
    "kill word": "assert word(switches); ctypes.memset(switches, 0, 8)",
    "which kills are looked at": "assert word(switches + 64) == 1; ctypes.memset(switches + 64, 0, 8)",
    "whether the first kill is in force": "assert word(switches + 128) & 1; ctypes.memset(switches + 128, 0, 8)",
    "who made a kill": "ctypes.memset(text(b'the risk officer'), 0, 1)",
    "the id that a kill stops": "ctypes.memset(text(b'bob, who is killed'), 0, 1)",
    # A market's uid lies behind its state and the type.
    "the state of a market": (
        "state = text(b'p7, which is halted') - 8 - 32 * 8 - 8; assert word(state) & 3 == 2; ctypes.memset(state, 0, 8)"
    ),
    "who halted a market": "ctypes.memset(text(b'the exchange'), 0, 1)",
    "last byte": "ctypes.memset(start + size - 1, 0xFF, 1)",
    "the library's own write": "os.pread(os.open('/dev/zero', os.O_RDONLY), 1, 0); ctypes.memmove(start, bytes(8), 8)",
}

ATTEMPTS = {
    "make it writable": "check(libc.mprotect(start, size, mmap.PROT_READ | mmap.PROT_WRITE))",
    "make one page writable": "check(libc.mprotect(sessions, 4096, mmap.PROT_WRITE))",
    "make a page of switches writable": "check(libc.mprotect(switches, 4096, mmap.PROT_WRITE))",
    "move it and make that writable": (
        "check(libc.mprotect(check(libc.mremap(sessions, 4096, 4096, 1)), 4096, mmap.PROT_WRITE))"
    ),
    "a second mapping of it": "check(libc.mprotect(check(libc.mremap(start, 0, size, 1)), size, mmap.PROT_WRITE))",
    "punch a hole through it": "check(libc.madvise(start + 4096, 4096, 9))",
    "write it as a file": "os.pwrite(os.open('/proc/self/mem', os.O_RDWR), bytes(8), sessions)",
    "write the kill word as a file": "os.pwrite(os.open('/proc/self/mem', os.O_RDWR), bytes(8), switches)",
    "let the system read a file into it": (
        "os.preadv(os.open('/dev/zero', os.O_RDONLY), [(ctypes.c_char * 64).from_address(sessions)], 0)"
    ),
    "let the system read a file into the kill word": (
        "os.preadv(os.open('/dev/zero', os.O_RDONLY), [(ctypes.c_char * 8).from_address(switches)], 0)"
    ),
    "write it as another process's": (
        "vector = struct.pack('QQ', sessions, 8); own = struct.pack('QQ', id(vector) + 32, 8); "
        "check(libc.process_vm_writev(os.getpid(), own, 1, vector, 1, 0))"
    ),
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "desk"


@pytest.fixture
def authority(state: Path) -> ztfast.Engine:
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=16, handles=256)
    engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    engine.kill('User::"bob, who is killed"', by="the risk officer", reason="a test")
    engine.market('Photo::"p7, which is halted"', "halted", by="the exchange", reason="a test")
    return engine


def held(engine: ztfast.Engine) -> tuple[list[str], list[str], dict[str, str]]:
    """Return the sessions' status, who made the kills, and the markets that are not normal."""
    return (
        [info.status for info in engine.sessions()],
        [kill.by for kill in engine.kills()],
        {str(market.target): market.state for market in engine.markets()},
    )


HELD = (["active"], ["the risk officer"], {'Photo::"p7, which is halted"': "halted"})


def attempt(state: Path, code: str, role: str = "decide") -> subprocess.CompletedProcess[str]:
    script = f"{textwrap.dedent(PREFACE)}\nprint('tries', flush=True)\n{code}\nprint('done')\n"
    return subprocess.run([sys.executable, "-c", script, str(state), role], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("where", WRITES)
def test_writing_the_mapped_state_ends_the_process_and_changes_nothing(
    state: Path, authority: ztfast.Engine, where: str
) -> None:
    before = (state / "state").read_bytes()
    done = attempt(state, WRITES[where])
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "tries\n"), done.stderr
    assert (state / "state").read_bytes() == before
    assert held(authority) == HELD


@pytest.mark.parametrize("way", ATTEMPTS)
def test_the_system_lets_nobody_write_the_mapped_state(state: Path, authority: ztfast.Engine, way: str) -> None:
    before = (state / "state").read_bytes()
    done = attempt(state, ATTEMPTS[way])
    assert (done.returncode, done.stdout) == (1, "tries\n"), done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        ("PermissionError: [Errno 13]", "OSError: [Errno 5]", "OSError: [Errno 14]")
    )
    assert (state / "state").read_bytes() == before
    assert held(authority) == HELD


@pytest.mark.parametrize("way", ATTEMPTS)
def test_the_same_ways_lead_to_the_memory_of_an_authority(state: Path, authority: ztfast.Engine, way: str) -> None:
    done = attempt(state, ATTEMPTS[way], "authority")
    assert (done.returncode, done.stdout) == (0, "tries\ndone\n"), done.stderr


def test_memory_put_over_the_state_deceives_its_own_process_only(state: Path, authority: ztfast.Engine) -> None:
    before = (state / "state").read_bytes()
    over = "check(libc.mmap(start, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10, -1, 0))"
    done = attempt(state, f"{over}\nctypes.memset(start, 0xFF, size)\nos._exit(0)")
    assert (done.returncode, done.stdout) == (0, "tries\n"), done.stderr
    assert (state / "state").read_bytes() == before
    assert held(authority) == HELD


NOBODY = """
    import os, sys
    import ztfast
    os.setgroups([int(sys.argv[2])]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
    engine = ztfast.Engine(ztfast.examples.tiny(), state=sys.argv[1], role="decide", state_group=int(sys.argv[2]))
    (session,) = engine.sessions()
    print(engine.decide(engine.session(session.id), "view", 'Photo::"p1"').code)
    for path in ("state", "owners"):
        for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            try:
                os.open(os.path.join(sys.argv[1], path), flags)
            except PermissionError:
                print("refused")
    for change in (lambda: os.unlink(sys.argv[1] + "/state"), lambda: os.rename(sys.argv[1], sys.argv[1] + "x")):
        try:
            change()
        except PermissionError:
            print("refused")
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """Make a directory that every user may pass through, and only root may change."""
    folder = Path(tempfile.mkdtemp(prefix="ztfast-state-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_user_decides_by_a_state_and_can_open_nothing_of_it_for_writing(public: Path) -> None:
    nobody, group = pwd.getpwnam("nobody"), grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
    state = public / "desk"
    options = {"sessions": 16, "handles": 256, "state_group": group.gr_gid}
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, **options)
    engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    before = (state / "state").read_bytes()
    arguments = [str(state), str(group.gr_gid), str(nobody.pw_uid)]
    script = textwrap.dedent(NOBODY)
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["ALLOW", *["refused"] * 8]), done.stderr
    assert (state / "state").read_bytes() == before
