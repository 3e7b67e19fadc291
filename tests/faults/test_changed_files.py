"""A bundle file that is changed, truncated, replaced or removed before, while and after an engine takes it: decisions use
the bundle that was opened, and no process is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ztfast
from tests.racing import Repeat

PERMIT = "permit (principal, action, resource) when { context.n > 1 };"
FORBID = "forbid (principal, action, resource);"
SCHEMA = "entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"
REQUEST = 'U::"1"', "go", 'U::"2"', {"n": 2}


def compiled(policy: str, entities: int) -> ztfast.Bundle:
    return ztfast.compile(
        ztfast.Text(policy),
        schema=ztfast.Text(SCHEMA),
        entities=[{"uid": {"type": "U", "id": f"{n:0100}"}, "attrs": {}, "parents": []} for n in range(entities)],
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Make a bundle that permits and one that forbids, for each size."""
    folder = tmp_path_factory.mktemp("bundles")
    found = {}
    for size, entities in (("small", 10), ("large", 60_000)):
        paths = folder / f"{size}-permit.ztb", folder / f"{size}-forbid.ztb"
        for path, policy in zip(paths, (PERMIT, FORBID), strict=True):
            compiled(policy, entities).save(path)
        found[size] = paths
    assert found["large"][0].stat().st_size > 8 << 20
    return found


CHANGES = {
    "overwrite": "shutil.copyfile(other, live)",
    "overwrite-in-place": "with open(live, 'r+b') as f: f.write(open(other, 'rb').read())",
    "zeros": "with open(live, 'r+b') as f: f.write(bytes(os.path.getsize(live)))",
    "empty": "os.truncate(live, 0)",
    "half": "os.truncate(live, os.path.getsize(live) // 2)",
    "one-page": "os.truncate(live, 4096)",
    "append": "with open(live, 'ab') as f: f.write(b'x' * 100000)",
    "replace": "shutil.copyfile(other, live + '.new'); os.replace(live + '.new', live)",
    "unlink": "os.unlink(live)",
    "hole": "subprocess.run(['fallocate', '--punch-hole', '-o', '0', '-l', str(os.path.getsize(live)), live], check=True)",
    "chmod": "os.chmod(live, 0)",
}

DECIDE = """
import os, shutil, subprocess, sys, threading, time, math
import ztfast
live, other, when = sys.argv[1:4]
request = 'U::"1"', "go", 'U::"2"', {"n": 2}

def change():
    CHANGE

bundle = ztfast.Bundle.load(live)
name = bundle.hash
if when == "opened":
    change()
options = {"locked": {"locked": True}, "huge": {"huge_pages": True}, "late": {"prefault": False}}.get(when, {})
try:
    engine = ztfast.Engine(bundle, sessions=16, handles=1024, **options)
except ztfast.CapacityError as error:
    print("no memory can be locked here:", error, file=sys.stderr)
    engine = ztfast.Engine(bundle, sessions=16, handles=1024)
done, wrong, count = threading.Event(), [], [0] * 2

def decide(thread):
    gate = engine.prepare("go", "n")
    session = engine.admit(ztfast.Identity(f'U::"{thread:0100}"', not_after=math.inf))
    line = engine.resource(f'U::"{7:0100}"')
    while not done.is_set():
        for n in range(200):
            if not gate.allows(session, line, 2) or gate.decide(session, line, 1).code != "DEFAULT":
                wrong.append(("gate", n))
            if not engine.evaluate(f'U::"{n * 299:0100}"', "go", f'U::"{n:0100}"', {"n": 2}):
                wrong.append(("evaluate", n))
            count[thread] += 1
        if engine.explain(*request).decision.effect != "ALLOW":
            wrong.append(("explain",))

threads = [threading.Thread(target=decide, args=(thread,), daemon=True) for thread in range(2)]
for thread in threads:
    thread.start()
def wait(rounds):
    seen, until = list(count), time.monotonic() + 60
    while min(now - then for now, then in zip(count, seen)) < rounds:
        assert time.monotonic() < until and all(thread.is_alive() for thread in threads), wrong[:3]
        time.sleep(0.001)

wait(200)
if when != "opened":
    change()
wait(1_000)
done.set()
for thread in threads:
    thread.join()
assert not wrong, wrong[:3]
assert bundle.hash == engine.bundle.hash == name
bundle.check()
assert [policy.effect for policy in bundle.policies] == ["permit"]
assert ztfast.Engine(bundle).evaluate(*request)
engine.swap(bundle)
assert engine.evaluate(*request)
base = ztfast.compile(ztfast.Text("permit (principal, action, resource) when { context.n > 1 };"),
    schema=ztfast.Text("entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"), base=bundle)
assert ztfast.Engine(base).evaluate(*request)
"""


@pytest.mark.parametrize(
    ("change", "when"),
    [
        *((change, when) for change in CHANGES for when in ("opened", "deciding")),
        *((change, when) for change in ("overwrite", "empty") for when in ("locked", "huge", "late")),
    ],
)
@pytest.mark.parametrize("size", ["small", "large"])
def test_decisions_go_by_the_bundle_that_was_opened(
    files: dict[str, tuple[Path, Path]], tmp_path: Path, size: str, change: str, when: str
) -> None:
    live, other = tmp_path / "live.ztb", files[size][1]
    shutil.copyfile(files[size][0], live)
    script = DECIDE.replace("CHANGE", CHANGES[change])
    done = subprocess.run(
        [sys.executable, "-c", script, str(live), str(other), when], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{done.returncode} {done.stderr}"


@pytest.mark.parametrize("size", ["small", "large"])
def test_what_is_changed_while_it_is_opened_is_refused_or_whole(
    files: dict[str, tuple[Path, Path]], tmp_path: Path, size: str
) -> None:
    live = tmp_path / "live.ztb"
    contents = [path.read_bytes() for path in files[size]]
    live.write_bytes(contents[0])
    script = """
        import os, sys, time
        live, contents = sys.argv[1], [open(path, "rb").read() for path in sys.argv[2:4]]
        file = os.open(live, os.O_WRONLY)
        print("ready", flush=True)
        for n in range(1_000_000):
            content = contents[n % 2]
            os.pwrite(file, content[: len(content) // 2], 0)
            if n % 3 == 0:
                os.ftruncate(file, len(content) // 3)
            os.pwrite(file, content, 0)
            if n % 5 == 0:
                os.ftruncate(file, len(content) + 64)
            os.ftruncate(file, len(content))
            if n % 50 == 0:
                # Long enough to be opened as it is, unless it is changed again just then.
                time.sleep(0.1)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(live), *map(str, files[size])]
    effects = {ztfast.Bundle.load(path).hash: e for path, e in zip(files[size], ("ALLOW", "DENY"), strict=True)}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        refused = whole = 0
        repeat = Repeat("a file that was changed while it was read, and one that was whole", at_least=4)
        while repeat.until(refused and whole):
            try:
                engine = ztfast.Engine(ztfast.Bundle.load(live), sessions=16, handles=16)
            except ztfast.BundleError:
                refused += 1
                continue
            assert engine.evaluate(*REQUEST).effect == effects[engine.bundle.hash]
            engine.bundle.check()
            whole += 1
        assert writer.poll() is None
        writer.kill()


def test_a_file_that_grows_or_shrinks_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "b.ztb"
    compiled(PERMIT, 3).save(path)
    content = path.read_bytes()
    for changed in (content[:-64], content + b"\0" * 64):
        path.write_bytes(changed)
        with pytest.raises(ztfast.BundleError, match="cut or padded"):
            ztfast.Bundle.load(path)


def no_file(kind: str, path: Path) -> Path:
    """Make something other than a regular file, at this path or elsewhere."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "fifo-behind-a-link":
        os.mkfifo(path.with_name("fifo"))
        path.symlink_to("fifo")
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        return Path("/dev") / kind
    return path


KINDS = ["fifo", "fifo-behind-a-link", "folder", "socket", "loop", "dangling", "zero", "null", "full", "tty", "random"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = no_file(kind, tmp_path / "b.ztb")
    script = """
        import sys, ztfast
        try:
            ztfast.Bundle.load(sys.argv[1])
        except ztfast.BundleError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert path.name in done.stdout


def test_a_fifo_that_somebody_writes_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "b.ztb"
    os.mkfifo(path)
    content = compiled(PERMIT, 3)._core.to_bytes()
    both = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(both, content[:1000])
        began = time.monotonic()
        with pytest.raises(ztfast.BundleError, match="FIFO"):
            ztfast.Bundle.load(path)
        assert time.monotonic() - began < 1
    finally:
        os.close(both)


def head(length: int) -> bytes:
    """Make a header that claims so many bytes."""
    return (
        b"ztfast\x1a\n"
        + (2).to_bytes(4, "little")
        + (33).to_bytes(4, "little")
        + length.to_bytes(8, "little")
        + bytes(40)
    )


@pytest.mark.parametrize("length", [0, 1, 63, 64, 1 << 40, (1 << 43) - 1])
@pytest.mark.parametrize("promised", [None, 0, 1 << 63, (1 << 64) - 1])
def test_sparse_files_of_every_length_take_no_memory(tmp_path: Path, length: int, promised: int | None) -> None:
    path = tmp_path / "sparse.ztb"
    path.write_bytes(head(length if promised is None else promised)[:length])
    os.truncate(path, length)
    script = """
        import sys, time, ztfast
        def peak():
            # Of this process alone: what getrusage says begins with the peak of the one that started it.
            return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
        before, began = peak(), time.process_time()
        try:
            ztfast.Bundle.load(sys.argv[1])
        except ztfast.BundleError as error:
            print(error)
        assert time.process_time() - began < 5
        assert peak() - before < 64 << 10
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "sparse.ztb" in done.stdout


@pytest.mark.parametrize("size", ["small", "large"])
def test_processes_that_are_handed_a_bundle_share_its_pages(files: dict[str, tuple[Path, Path]], size: str) -> None:
    bundle = ztfast.Bundle.load(files[size][0])
    descriptor = bundle.share()
    try:
        assert stat.S_ISREG(os.fstat(descriptor).st_mode)
        for change in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 0)):
            with pytest.raises(PermissionError):
                change()
        script = """
            import re, sys, ztfast
            bundle = ztfast.Bundle.load(int(sys.argv[1]))
            engine = ztfast.Engine(bundle, sessions=16, handles=16)
            assert engine.evaluate('U::"1"', "go", 'U::"2"', {"n": 2})
            maps = open("/proc/self/smaps").read()
            entry = next(part for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", maps) if "ztfast-bundle" in part)
            size = lambda name: int(re.search(rf"(?m)^{name}: +(\\d+)", entry)[1])
            print(bundle.hash, size("Private_Dirty") + size("Private_Clean"), size("Rss"))
        """
        mine = ztfast.Engine(ztfast.Bundle.load(descriptor), sessions=16, handles=16)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(descriptor)],
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        name, private, resident = done.stdout.split()
        assert name == bundle.hash == mine.bundle.hash
        assert int(resident) * 1024 >= bundle.stats.bytes
        assert int(private) == 0
    finally:
        os.close(descriptor)
    assert mine.evaluate(*REQUEST)


def test_memory_that_is_not_sealed_is_copied(files: dict[str, tuple[Path, Path]]) -> None:
    contents = [path.read_bytes() for path in files["large"]]
    descriptor = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, contents[0])
        engine = ztfast.Engine(ztfast.Bundle.load(descriptor), sessions=16, handles=16)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, contents[1], 0)
        assert engine.evaluate(*REQUEST)
        engine.bundle.check()
    finally:
        os.close(descriptor)


def test_opening_leaves_no_descriptor_to_children_and_needs_no_permission_to_write(
    files: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    path = tmp_path / "read-only.ztb"
    shutil.copyfile(files["large"][0], path)
    path.chmod(0o400)
    bundle = ztfast.Bundle.load(path)
    held = [
        int(name)
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}") and "ztfast-bundle" in os.readlink(f"/proc/self/fd/{name}")
    ]
    assert held
    assert not any(os.get_inheritable(descriptor) for descriptor in held)
    assert ztfast.Engine(bundle).evaluate(*REQUEST)


def test_a_limit_on_the_size_of_files_does_not_end_the_process(files: dict[str, tuple[Path, Path]]) -> None:
    script = """
        import resource, signal, sys, ztfast
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        assert ztfast.Engine(ztfast.Bundle.load(sys.argv[1])).evaluate('U::"1"', "go", 'U::"2"', {"n": 2})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(files["large"][0])], check=True, timeout=60)


def test_without_memory_for_the_bundle_it_is_refused(files: dict[str, tuple[Path, Path]]) -> None:
    script = """
        import resource, sys, ztfast
        size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20),) * 2)
        try:
            ztfast.Bundle.load(sys.argv[1])
        except ztfast.BundleError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(files["large"][0])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "memory" in done.stdout


def test_signals_do_not_break_opening(files: dict[str, tuple[Path, Path]]) -> None:
    came = 0

    def count(*_: object) -> None:
        nonlocal came
        came += 1

    loads = 0
    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        repeat = Repeat("signals while bundles were opened")
        while repeat.until(loads >= 20):
            already = came
            ztfast.Bundle.load(files["large"][0]).check()
            loads += came > already
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
