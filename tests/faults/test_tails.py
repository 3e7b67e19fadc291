"""The memory of an engine is held as requested, and an error says what the system refuses."""

from __future__ import annotations

import ctypes
import re
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ztfast

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locking and large pages are tested on Linux")

CAP_IPC_LOCK = 14
PR_CAPBSET_DROP = 24


def locked_bytes() -> int:
    """Return the number of locked bytes of this process."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck:"))
    return int(line.split()[1]) << 10


def forbid_locking(most: int = 4096) -> None:
    """Let the next program in this process lock no more than so many bytes."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))


def view(engine: ztfast.Engine, user: str = "ann") -> bool:
    """Return whether the user may view a photo, with a new session and gate."""
    session = engine.admit(ztfast.Identity(f'User::"{user}"', not_after=time.time() + 60))
    return engine.prepare("view").allows(session, engine.resource('Photo::"p1"'))


@pytest.mark.parametrize("prefault", [True, False])
@pytest.mark.parametrize("huge_pages", [True, False])
def test_decisions_are_the_same_however_memory_is_held(prefault: bool, huge_pages: bool) -> None:
    bundle = ztfast.examples.tiny()
    engine = ztfast.Engine(bundle, sessions=64, handles=64, prefault=prefault, huge_pages=huge_pages)
    for _ in range(2):
        assert view(engine, "ann")
        assert not view(engine, "eve")
        assert engine.memory.bundle == bundle.stats.bytes
        assert engine.memory.tables == 64 * 64 + 64 * 16
        assert engine.memory.locked == 0
        engine.swap(bundle)


def test_locked_memory_is_locked_until_the_engine_is_gone() -> None:
    bundle = ztfast.examples.tiny()
    before = locked_bytes()
    try:
        engine = ztfast.Engine(bundle, sessions=1 << 16, handles=1 << 16, locked=True)
    except ztfast.CapacityError as refusal:
        pytest.skip(f"SKIPPED: {refusal}")
    engine.prepare("view")
    memory = engine.memory
    assert memory.locked >= memory.bundle + memory.tables >= 5 << 20
    assert locked_bytes() - before >= memory.locked
    assert view(engine)
    engine.swap(bundle)
    engine.swap(ztfast.examples.tiny())
    assert locked_bytes() - before < 2.5 * memory.locked, "tables of replaced bundles stay locked"
    del engine
    # The gates' memory is the heap's, and stays locked until the heap gives it back.
    assert locked_bytes() - before <= 2 << 20


def test_a_limit_on_locked_memory_is_named() -> None:
    script = """
        import ztfast
        try:
            ztfast.Engine(ztfast.examples.tiny(), locked=True)
        except ztfast.CapacityError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        preexec_fn=forbid_locking,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for part in ("RLIMIT_MEMLOCK", "4096 bytes", "ulimit -l", "CAP_IPC_LOCK"):
        assert part in done.stdout, done.stdout + done.stderr


def test_a_swap_for_whose_gates_no_memory_can_be_locked_is_refused_and_leaves_them_as_they_are() -> None:
    # The table of a gate has a cell for each pair of classes, as the bundle has: 360 KB.
    least, hard = 8 << 20, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if hard != resource.RLIM_INFINITY and hard < least:
        pytest.skip(f"SKIPPED: this process may lock {hard} bytes, not {least}")
    script = """
        import math, resource, ztfast
        from pathlib import Path

        def locked():
            (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmLck" in line)
            return int(line.split()[1]) << 10

        schema = ztfast.Text("entity U, D; action go appliesTo { principal: U, resource: D };")
        rules = "".join(f'permit (principal == U::"{at}", action, resource == D::"{at}");' for at in range(300))
        bundles = [ztfast.compile(ztfast.Text(rules + end), schema=schema) for end in ("", " ")]
        engine = ztfast.Engine(bundles[0], sessions=64, handles=64, locked=True)
        gate = engine.prepare("go")
        session, one = engine.admit(ztfast.Identity('U::"1"', not_after=math.inf)), engine.resource('D::"1"')
        assert gate.allows(session, one)
        table = engine.memory.gates
        assert table > 180_000 and engine.memory.locked > table, engine.memory
        enough = locked() + engine.memory.bundle + table // 2
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (enough, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
        for allow_stale in (False, True):
            try:
                print(engine.swap(bundles[1], allow_stale=allow_stale))
            except ztfast.CapacityError as error:
                print("table of a gate" in str(error), "RLIMIT_MEMLOCK" in str(error), end=" ")
            print(gate.allows(session, one), engine.bundle is bundles[0])
        memory = engine.memory
        # Two engines of this size are more than the least that a process may lock.
        del engine, gate, session, one
        enough = locked() + memory.bundle + memory.tables + memory.state + table // 2
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (enough, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
        try:
            ztfast.Engine(bundles[1], sessions=64, handles=64, locked=True).prepare("go")
        except ztfast.CapacityError as error:
            print("table of a gate" in str(error))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        preexec_fn=lambda: forbid_locking(least),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "True True True True\nTrue True True True\nTrue\n", done.stdout + done.stderr


def test_room_beyond_the_systems_memory_is_refused() -> None:
    script = """
        import resource, ztfast
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        bundle = ztfast.examples.tiny()
        try:
            ztfast.Engine(bundle, sessions=(1 << 30) - 1)
        except ztfast.CapacityError as error:
            print(error)
        assert ztfast.Engine(bundle).evaluate('User::"ann"', "view", 'Photo::"p1"')
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    # A slot has two lines of 64 bytes.
    assert re.search(r"2061\d{8} bytes of memory for the table of sessions", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize("options", ["locked=True", "huge_pages=True"])
def test_an_engine_with_a_copy_outlives_its_bundles_file(tmp_path: Path, options: str) -> None:
    path = tmp_path / "tiny.ztb"
    ztfast.examples.tiny().save(path)
    script = f"""
        import os, sys, time, ztfast
        bundle = ztfast.Bundle.load(sys.argv[1])
        try:
            engine = ztfast.Engine(bundle, {options})
        except ztfast.CapacityError as refusal:
            raise SystemExit(f"SKIPPED: {{refusal}}")
        view = engine.prepare("view")
        session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        photo = engine.resource('Photo::"p1"')
        os.truncate(sys.argv[1], 0)
        print(view.allows(session, photo), engine.evaluate('User::"ann"', "view", 'Photo::"p2"').reasons)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), path], capture_output=True, text=True, timeout=60
    )
    if "SKIPPED" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "True ('owners-view',)\n", done.stdout + done.stderr
