"""Saving is atomic: the file has either its old content or the whole new content, for any path, with other writers, and if the
writer is killed.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.racing import Repeat
from ztfast import _core

NOBODY = 65534


@pytest.fixture(scope="module")
def bundles() -> list[ztfast.Bundle]:
    """Make bundles of different sizes, so that a torn file has a wrong length."""
    return [
        ztfast.compile(
            ztfast.Text(f"permit (principal, action, resource) when {{ context.n > {n} }};"),
            schema=ztfast.Text("entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"),
            entities=[
                {"uid": {"type": "U", "id": f"{n}-{k}"}, "attrs": {}, "parents": []} for k in range(10 + 3_000 * n)
            ],
        )
        for n in range(4)
    ]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [0o600, 0o640, 0o644, 0o400, 0o660, 0o777, 0o000])
def test_the_mode_of_what_is_replaced_is_kept(tmp_path: Path, bundles: list[ztfast.Bundle], old: int) -> None:
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    path.chmod(old)
    bundles[1].save(path)
    assert mode(path) == old
    assert _core.Bundle.from_bytes(path.read_bytes()).hash == bundles[1].hash
    assert names(tmp_path) == ["b.ztb"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027, 0o000, 0o777])
def test_a_new_file_follows_the_umask(tmp_path: Path, bundles: list[ztfast.Bundle], umask: int) -> None:
    path = tmp_path / "b.ztb"
    before = os.umask(umask)
    try:
        bundles[0].save(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o666 & ~umask


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root gives files away")
def test_owner_and_group_are_kept_where_that_is_allowed(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    bundles[1].save(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode(path)) == (1234, 4321, 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root becomes another")
def test_what_a_group_may_is_not_given_to_another(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    os.chown(path, 1234, 4321)
    path.chmod(0o664)
    new = tmp_path / "new.ztb"
    bundles[1].save(new)
    new.chmod(0o644)
    # As a user who may write to the folder, but does not own the file and is not in its group.
    done = apart(
        """
        bundle = ztfast.Bundle.load(sys.argv[2])
        os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
        bundle.save(sys.argv[1])
        """,
        path,
        new,
    )
    assert done.returncode == 0, done.stderr
    assert path.stat().st_gid != 4321
    assert mode(path) == 0o644


def apart(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process."""
    prelude = f"import os, resource, signal, sys, threading, time, ztfast\nNOBODY = {NOBODY}\n"
    command = [sys.executable, "-c", prelude + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def no_file(kind: str, path: Path) -> Path:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            return Path("/dev/null")
    elif kind == "link-to-device":
        path.symlink_to("/dev/null")
    elif kind == "link-to-fifo":
        os.mkfifo(path.with_name("fifo"))
        path.symlink_to("fifo")
    elif kind == "dangling":
        path.symlink_to("nowhere/else")
    elif kind == "dangling-here":
        path.symlink_to("else.ztb")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "loop-of-two":
        path.symlink_to("other")
        path.with_name("other").symlink_to(path.name)
    return path


NO_FILES = [
    "fifo", "folder", "socket", "device", "link-to-device", "link-to-fifo", "dangling", "dangling-here", "loop",
    "loop-of-two",
]  # fmt: skip


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, bundles: list[ztfast.Bundle], kind: str) -> None:
    path = no_file(kind, tmp_path / "b.ztb")
    before, there = path.lstat(), names(tmp_path)
    with pytest.raises(ztfast.BundleError, match=path.name):
        bundles[0].save(path)
    after = path.lstat()
    assert (before.st_mode, before.st_ino, before.st_rdev) == (after.st_mode, after.st_ino, after.st_rdev)
    assert names(tmp_path) == there


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full", "/dev/zero", "/dev/tty", "/dev/stdout", "/dev/fd/1"])
def test_the_systems_own_devices_stay(device: str, tmp_path: Path) -> None:
    before = Path(device).lstat()
    script = """
        bundle = ztfast.examples.tiny()
        try:
            bundle.save(sys.argv[1])
        except ztfast.BundleError as error:
            print(error, file=sys.stderr)
        else:
            raise SystemExit("saved")
    """
    done = apart(script, device)
    assert done.returncode == 0, done.stderr
    assert device in done.stderr
    after = Path(device).lstat()
    assert (before.st_mode, before.st_ino, before.st_rdev) == (after.st_mode, after.st_ino, after.st_rdev)


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    target = real / "b.ztb"
    bundles[0].save(target)
    target.chmod(0o600)
    (links / "first.ztb").symlink_to("../real/b.ztb")
    (links / "second.ztb").symlink_to("first.ztb")
    bundles[1].save(links / "second.ztb")
    assert (links / "second.ztb").is_symlink()
    assert (links / "first.ztb").is_symlink()
    assert ztfast.Bundle.load(target).hash == bundles[1].hash
    assert mode(target) == 0o600
    assert names(real) == ["b.ztb"]
    assert names(links) == ["first.ztb", "second.ztb"]
    # Folders may be links.
    (tmp_path / "folder").symlink_to("real")
    bundles[2].save(tmp_path / "folder" / "b.ztb")
    bundles[2].save(tmp_path / "folder" / "new.ztb")
    assert ztfast.Bundle.load(target).hash == bundles[2].hash
    assert names(real) == ["b.ztb", "new.ztb"]


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root makes others' links")
def test_nothing_is_written_through_links_that_others_put_there(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    # Another user has made links at all names that a writer may use.
    for pid in range(os.getpid() - 2, os.getpid() + 3):
        (shared / f".b.ztb.{pid}.tmp").symlink_to(victim)
    bundles[0].save(shared / "b.ztb")
    for leftover in shared.glob(".ztfast-*"):
        leftover.unlink()
    before = names(shared)
    script = "import sys, ztfast\nztfast.examples.tiny().save(sys.argv[1])"
    traced = range(4)
    stem = _names_of(shared)
    for n in traced:
        (shared / f"{stem}-{n}.tmp").symlink_to(victim)
    subprocess.run([sys.executable, "-c", script, str(shared / "b.ztb")], check=True, timeout=60)
    assert victim.read_text() == "secret"
    assert names(shared) == sorted([*before, *(f"{stem}-{n}.tmp" for n in traced)])


def _names_of(folder: Path) -> str:
    """Return the stem of the temporary names of `b.ztb`, after seeing one of them."""
    found: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.update(name for name in os.listdir(folder) if name.startswith(".ztfast-"))

    thread = threading.Thread(target=look)
    thread.start()
    until = time.monotonic() + 30
    bundle = ztfast.examples.tiny()
    while not found and time.monotonic() < until:
        bundle.save(folder / "b.ztb")
    done.set()
    thread.join()
    return found.pop().rsplit("-", 1)[0]


@pytest.mark.parametrize("name", ["a", "b" * 251 + ".ztb", "ü" * 125, " ", "-", "b\n.ztb", ".hidden", "x.tmp"])
def test_a_file_of_any_name_is_saved(tmp_path: Path, bundles: list[ztfast.Bundle], name: str) -> None:
    for bundle in bundles[:2]:
        bundle.save(tmp_path / name)
        assert ztfast.Bundle.load(tmp_path / name).hash == bundle.hash
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["x" * 256, "nowhere/b.ztb", "file/b.ztb", "", "/", ".", "..", "a/..", "b\0.ztb"])
def test_paths_that_cannot_be_written_leave_nothing(
    tmp_path: Path, bundles: list[ztfast.Bundle], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ztfast.BundleError, ValueError)):
        bundles[0].save(name)
    assert names(tmp_path) == ["a", "file"]


def test_bare_names_go_to_the_folder_one_is_in(
    tmp_path: Path, bundles: list[ztfast.Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundles[0].save("b.ztb")
    bundles[1].save("./b.ztb")
    assert names(tmp_path) == ["b.ztb"]


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: only root becomes another")
@pytest.mark.parametrize(("folder", "written"), [(0o555, False), (0o333, True), (0o000, False)])
def test_folders_that_may_not_be_written_or_not_be_read(tmp_path: Path, folder: int, written: bool) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    os.chown(target, NOBODY, NOBODY)
    target.chmod(folder)
    script = """
        bundle = ztfast.examples.tiny()
        os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
        try:
            bundle.save(sys.argv[1])
            bundle.save(sys.argv[1])
            print("saved")
        except ztfast.BundleError as error:
            print(error)
    """
    done = apart(script, target / "b.ztb")
    assert done.returncode == 0, done.stderr
    target.chmod(0o755)
    assert names(target) == (["b.ztb"] if written else [])
    assert ("saved" in done.stdout) == written, done.stdout


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    before = path.read_bytes()
    # Beyond the limit a write fails as on a full disk.
    script = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        bundle = ztfast.Bundle.load(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            bundle.save(sys.argv[1])
        except ztfast.BundleError as error:
            print(error)
    """
    large = tmp_path.parent / f"{tmp_path.name}-large.ztb"
    bundles[3].save(large)
    assert large.stat().st_size > 100_000
    done = apart(script, path, large)
    assert os.strerror(errno.EFBIG) in done.stdout, done.stderr
    assert path.read_bytes() == before
    assert names(tmp_path) == ["b.ztb"]


def test_an_interrupt_leaves_the_old_file_or_the_new_one(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path = tmp_path / "b.ztb"
    hashes = {bundle.hash for bundle in bundles}
    bundles[0].save(path)
    began = time.monotonic()
    bundles[3].save(path)
    whole, hits, saving = time.monotonic() - began, 0, False

    def hit(*_: object) -> None:
        nonlocal hits
        hits += saving
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, hit)
    try:
        repeat = Repeat("interrupts that came while a bundle was saved")
        while repeat.until(hits >= 20):
            n = repeat.turn
            try:
                saving = True
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + whole * (n % 9) / 8)
                bundles[n % 4].save(path)
                saving = False
                time.sleep(2 * whole)
            except KeyboardInterrupt:
                pass
            finally:
                saving = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert _core.Bundle.from_bytes(path.read_bytes()).hash in hashes
            assert names(tmp_path) == ["b.ztb"]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_whoever_is_killed_leaves_nothing_for_long(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path, sources = tmp_path / "b.ztb", []
    for n, bundle in enumerate(bundles):
        sources.append(tmp_path.parent / f"{tmp_path.name}-{n}.ztb")
        bundle.save(sources[-1])
    hashes = {bundle.hash for bundle in bundles}
    script = """
        import sys, ztfast
        bundles = [ztfast.Bundle.load(path) for path in sys.argv[2:]]
        print("ready", flush=True)
        while True:
            for bundle in bundles:
                bundle.save(sys.argv[1])
    """
    for n in range(12):
        command = [sys.executable, "-c", textwrap.dedent(script), str(path), *map(str, sources)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02 + 0.0017 * n)
            writer.send_signal(signal.SIGKILL)
        assert ztfast.Bundle.load(path).hash in hashes
        assert len(names(tmp_path)) <= 2
    for bundle in bundles[:2]:
        bundle.save(path)
    assert names(tmp_path) == ["b.ztb"]


def _save_often(path: str, source: str, stop: Any) -> None:
    bundle = ztfast.Bundle.load(source)
    while not stop.is_set():
        bundle.save(path)


def test_many_that_save_one_path_never_show_a_torn_file(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    path.chmod(0o640)
    sources = []
    for n, bundle in enumerate(bundles):
        sources.append(str(tmp_path.parent / f"{tmp_path.name}-{n}.ztb"))
        bundle.save(sources[-1])
    hashes = {bundle.hash: 0 for bundle in bundles}
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    processes = [context.Process(target=_save_often, args=(str(path), source, stop)) for source in sources[:2]]
    threads = [threading.Thread(target=_save_often, args=(str(path), source, stop)) for source in sources[2:] * 3]
    for one in (*processes, *threads):
        one.start()
    try:
        repeat = Repeat("the bundles of all that save", at_least=4)
        while repeat.until(min(hashes.values()) >= 3):
            hashes[_core.Bundle.from_bytes(path.read_bytes()).hash] += 1
            assert mode(path) == 0o640
    finally:
        stop.set()
        for one in (*processes, *threads):
            one.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert names(tmp_path) == ["b.ztb"]


def test_whoever_has_the_old_file_open_keeps_it(tmp_path: Path, bundles: list[ztfast.Bundle]) -> None:
    path = tmp_path / "b.ztb"
    bundles[0].save(path)
    with path.open("rb") as file:
        old = path.read_bytes()
        bundles[1].save(path)
        assert file.read() == old


def test_the_command_line_writes_alike(tmp_path: Path) -> None:
    desk = ztfast.examples.desk()
    sources = [str(desk / "policies"), "-s", str(desk / "desk.cedarschema"), "-e", str(desk / "desk.entities.json")]
    command = [sys.executable, "-m", "ztfast.cli", "compile", *sources, "-o"]
    path = tmp_path / "b.ztb"
    path.write_text("")
    path.chmod(0o600)
    subprocess.run([*command, str(path)], check=True, capture_output=True, timeout=120)
    assert mode(path) == 0o600
    for device in ("/dev/stdout", "/dev/full", "/dev/null", str(tmp_path)):
        done = subprocess.run([*command, device], capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert device in done.stderr.replace("\n", "")
        assert "Traceback" not in done.stderr
    assert names(tmp_path) == ["b.ztb"]


def test_results_of_measuring_are_written_alike(tmp_path: Path) -> None:
    from ztfast.cli.benching import write

    path = tmp_path / "deep" / "run.json"
    write(path, "one")
    path.chmod(0o600)
    write(path, "two")
    assert path.read_text() == "two"
    assert mode(path) == 0o600
    assert names(path.parent) == ["run.json"]
    for device in ("/dev/full", "/dev/null", str(tmp_path)):
        with pytest.raises(ztfast.Error, match=Path(device).name):
            write(Path(device), "three")


REFUSING = """
import ctypes, errno, platform, struct, sys
import ztfast
numbers = {"flock": {"x86_64": 73, "aarch64": 32}, "linkat": {"x86_64": 265, "aarch64": 37}}
number, error = numbers[sys.argv[1]][platform.machine()], getattr(errno, sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
program = Filter(4, ctypes.addressof(steps))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
assert libc.syscall(number, -1, 0, -1, 0, 0) == -1 and ctypes.get_errno() == error
bundle = ztfast.examples.tiny()
for _ in range(3):
    bundle.save(sys.argv[3])
assert ztfast.Bundle.load(sys.argv[3]).hash == bundle.hash
"""


@pytest.mark.parametrize(
    ("call", "error"),
    [("flock", "ENOLCK"), ("flock", "ENOSYS"), ("flock", "EOPNOTSUPP"), ("linkat", "ENOENT"), ("linkat", "EPERM")],
)
def test_a_system_without_locks_or_names_for_the_nameless_is_written_to(tmp_path: Path, call: str, error: str) -> None:
    path = tmp_path / "b.ztb"
    command = [sys.executable, "-c", REFUSING, call, error, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["b.ztb"]
