"""Shared memory of a bundle (``Bundle.share``): no holder can change it. Memory that can still be written, or that holds no
valid bundle, is checked as a file is.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

import ztfast

SCHEMA = "entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"
PERMIT = "permit (principal, action, resource) when { context.n > 1 };"
FORBID = "forbid (principal, action, resource) when { context.n > 1 };"
REQUEST = 'U::"1"', "go", 'U::"2"', {"n": 2}

F_SEAL_FUTURE_WRITE = 0x10
"""Forbids writing anew; mappings that are writable already stay so. The module fcntl has no name for it."""


def compiled(policy: str) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policy), schema=ztfast.Text(SCHEMA))


@pytest.fixture(scope="module")
def contents() -> tuple[bytes, bytes]:
    """Make a bundle that permits, and one of the same length that forbids."""
    permits, forbids = (compiled(policy)._core.to_bytes() for policy in (PERMIT, FORBID))
    assert len(permits) == len(forbids)
    return permits, forbids


@pytest.fixture
def shared() -> Iterator[tuple[ztfast.Bundle, int]]:
    bundle = compiled(PERMIT)
    descriptor = bundle.share()
    yield bundle, descriptor
    os.close(descriptor)


def memory(content: bytes) -> int:
    """Make a memory file without seals."""
    descriptor = os.memfd_create("bundle", os.MFD_ALLOW_SEALING)
    assert os.write(descriptor, content) == len(content)
    return descriptor


ATTEMPTS = {
    "write": "os.pwrite(fd, bytes(4096), 0)",
    "cut": "os.ftruncate(fd, 0)",
    "grow": "os.ftruncate(fd, 1 << 20)",
    "map": "mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)",
    "open again": "os.pwrite(os.open(f'/proc/self/fd/{fd}', os.O_RDWR), bytes(4096), 0)",
    "open and cut": "os.open(f'/proc/self/fd/{fd}', os.O_RDWR | os.O_TRUNC)",
    "punch a hole": "check(libc.fallocate(fd, 3, ctypes.c_int64(0), ctypes.c_int64(4096)))",
    "make a read-only mapping writable": (
        "check(libc.mprotect(ctypes.c_void_p(libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)), 4096, 3))"
    ),
    "add a seal": "fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_holder_of_shared_memory_can_change_it(shared: tuple[ztfast.Bundle, int], attempt: str) -> None:
    bundle, descriptor = shared
    script = f"""
        import ctypes, fcntl, mmap, os, sys
        fd = {descriptor}
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
        def check(status):
            if status != 0:
                raise OSError(ctypes.get_errno(), "refused")
        try:
            {ATTEMPTS[attempt]}
        except OSError as error:
            print(error.errno)
        else:
            print("done")
    """
    before = os.pread(descriptor, 1 << 20, 0)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip().isdigit(), (done.stdout, done.stderr)
    assert os.pread(descriptor, 1 << 20, 0) == before
    received = ztfast.Bundle.load(descriptor)
    assert received.hash == bundle.hash
    assert ztfast.Engine(received, sessions=4, handles=16).evaluate(*REQUEST)


def test_memory_that_a_mapping_can_still_write_is_copied(contents: tuple[bytes, bytes]) -> None:
    permits, forbids = contents
    descriptor = memory(permits)
    try:
        writable = mmap.mmap(descriptor, len(permits))
        seals = F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        bundle = ztfast.Bundle.load(descriptor)
        engine = ztfast.Engine(bundle, sessions=4, handles=16)
        gate = engine.prepare("go", "n")
        session = engine.admit(ztfast.Identity('U::"1"', not_after=math.inf))
        resource = engine.resource('U::"2"')
        writable[:] = forbids
        assert os.pread(descriptor, len(forbids), 0) == forbids
        assert gate.allows(session, resource, 2)
        assert engine.evaluate(*REQUEST)
        bundle.check()
    finally:
        os.close(descriptor)


def changed(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed, "damaged"),
        (lambda content: content[:-64], "cut or padded"),
        (lambda content: content + bytes(64), "cut or padded"),
        (lambda content: b"x" * len(content), "not a ztfast bundle"),
    ],
    ids=["changed", "cut", "padded", "foreign"],
)
def test_sealed_memory_is_checked_as_a_file_is(contents: tuple[bytes, bytes], change: object, says: str) -> None:
    assert callable(change)
    descriptor = memory(change(contents[0]))
    try:
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        with pytest.raises(ztfast.BundleError, match=says):
            ztfast.Engine(ztfast.Bundle.load(descriptor), sessions=4, handles=16)
    finally:
        os.close(descriptor)


def test_a_closed_descriptor_takes_nothing_away() -> None:
    bundle = compiled(PERMIT)
    descriptor = bundle.share()
    received = ztfast.Bundle.load(descriptor)
    os.close(descriptor)
    # The number may be given to another file, which is none of the bundle's.
    other = os.open(os.devnull, os.O_RDWR)
    try:
        del bundle
        assert ztfast.Engine(received, sessions=4, handles=16).evaluate(*REQUEST)
        received.check()
    finally:
        os.close(other)
