"""A forked child cannot decide with the engines of its parent.

It has a copy of them as they were at the fork, and no revocation, swap or kill switch of the parent reaches it. In the
child each decision is DENY with code FORKED, in every way of deciding. Changes and admissions raise at once. Nothing waits
for a lock that another thread held at the fork.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from ctypes import byref, c_int64, c_uint8, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztfast
from tests.embed import table
from tests.embed.table import Column, Determining, values
from tests.racing import Repeat, beside
from ztfast.values import ABSENT

Code = ztfast.Code

SCHEMA = """\
entity User; entity Line;
action view appliesTo { principal: User, resource: Line };
action note appliesTo { principal: User, resource: Line, context: { qty: Long, who: User, text: String, px?: decimal } };
action net appliesTo { principal: User, resource: Line, context: { ip: ipaddr } };
"""
POLICIES = '@id("ann") permit (principal == User::"ann", action, resource);'

# With the GIL held: the child has no thread that would give it back.
libc = ctypes.PyDLL(None)


def bundle() -> ztfast.Bundle:
    entities = [{"uid": {"type": "Line", "id": "l1"}, "attrs": {}, "parents": []}]
    return ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA, "s.cedarschema"), entities=entities)


BUNDLE = bundle()
OTHER = bundle()


class Desk:
    def __init__(self, **options: Any) -> None:
        self.engine = ztfast.Engine(BUNDLE, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        self.ann, self.line = self.engine.resource('User::"ann"'), self.engine.resource('Line::"l1"')
        self.view = self.engine.prepare("view")
        self.note = self.engine.prepare("note", "qty", "who", "text", "px")
        self.net = self.engine.prepare("net", "ip")

    def context(self) -> dict[str, Any]:
        return {"qty": 1, "who": self.ann, "text": "a text"}


def in_child(job: Callable[[], None], fork: Callable[[], int] = os.fork, seconds: float = 20) -> None:
    """Run a job in a forked child, which must neither raise nor hang."""
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        status = 1
        try:
            job()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    ended = time.monotonic() + seconds
    while (over := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    # One that a signal ended says nothing.
    if said or over[1]:
        pytest.fail(said or f"the child ended with status {os.waitstatus_to_exitcode(over[1])}")


def check_that_it_is_forked(desk: Desk, expected: str = "FORKED") -> None:
    """Check every way of deciding."""
    engine, session, line, ann = desk.engine, desk.session, desk.line, desk.ann
    number = Code[expected]
    codes = [
        engine.decide(session, "view", line).code,
        engine.decide(session, "view", 'Line::"l1"').code,
        engine.decide(session, "note", line, desk.context()).code,
        engine.evaluate('User::"ann"', "view", 'Line::"l1"').code,
        engine.evaluate(ann, "note", line, desk.context()).code,
        desk.view.decide(session, line).code,
        desk.note.decide(session, line, 1, ann, "a text", "1.5").code,
        desk.note.decide(session, line, 1, ann, "a text", ABSENT).code,
        desk.net.decide(session, line, "10.0.0.1").code,
    ]
    assert codes == [expected] * len(codes), codes
    assert not desk.view.allows(session, line)
    assert not desk.note.allows(session, line, 1, ann, "x" * 20_000, "1.5")
    assert not desk.net.allows(session, line, "10.0.0.1")
    assert engine.entitled(session, "view") == []
    assert not engine.entitlements(session, "view").any()
    ids, handles = np.array([session.id] * 3, np.uint64), np.array([line.handle] * 3, np.uint64)
    for batch, rows in (
        (desk.view.decide_many(session, line), 1),
        (desk.view.decide_many([session] * 3, line), 3),
        (desk.view.decide_many(ids, handles), 3),
        (desk.note.decide_many(session, line, [1, 2], ann, "a", ["1.5", ABSENT]), 2),
        (desk.view.evaluate_many(ann, [line] * 4), 4),
        (engine.evaluate_many('User::"ann"', "view", ['Line::"l1"', line]), 2),
        (engine.evaluate_many(ann, "note", line, {"qty": [1, 2, 3], "who": ann, "text": "a"}), 3),
    ):
        assert batch.tolist() == [number] * rows


def check_that_nothing_changes(desk: Desk) -> None:
    engine = desk.engine
    entity = {"uid": {"type": "Line", "id": "l2"}, "attrs": {}, "parents": []}
    for change in (
        lambda: engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf)),
        lambda: engine.prepare("view"),
        lambda: engine.resource('Line::"never seen"'),
        lambda: engine.swap(OTHER),
        lambda: engine.upsert([entity]),
        lambda: engine.remove(['Line::"l1"']),
        lambda: engine.kill_switch(True),
        lambda: engine.kill_switch(False),
        lambda: desk.session.revoke(),
        lambda: desk.session.quarantine(),
        lambda: desk.session.quarantine(False),
        lambda: engine.explain('User::"ann"', "view", 'Line::"l1"'),
        lambda: engine.explain(desk.session, "view", 'Line::"l1"'),
        lambda: engine.resources("view"),
        lambda: engine.memory,
    ):
        with pytest.raises(ztfast.ForkedError, match=r"opened before a fork.*open it anew"):
            change()


FORKS = {
    "os.fork": os.fork,
    "libc.fork": lambda: int(libc.fork()),
}
if platform.machine() == "x86_64":
    # Neither Python nor the C library is told: what wipes the sessions is the system itself.
    FORKS["the system call"] = lambda: int(libc.syscall(57))


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_decides_nothing_and_changes_nothing(fork: str) -> None:
    desk = Desk()

    def job() -> None:
        check_that_it_is_forked(desk)
        check_that_nothing_changes(desk)
        check_that_it_is_forked(desk)

    in_child(job, FORKS[fork])
    # The parent does not notice.
    assert desk.view.allows(desk.session, desk.line)
    assert desk.engine.evaluate('User::"ann"', "view", 'Line::"l1"')


@pytest.mark.parametrize(
    "options",
    [{"prefault": False}, {"locked": True, "sessions": 16, "handles": 16}, {"huge_pages": True}, {"sessions": 1 << 20}],
    ids=str,
)
def test_a_child_decides_nothing_however_memory_is_held(options: dict[str, Any]) -> None:
    try:
        desk = Desk(**options)
    except ztfast.CapacityError as error:
        pytest.skip(f"SKIPPED: the system refuses the memory: {error}")
    assert desk.view.allows(desk.session, desk.line)
    in_child(lambda: check_that_it_is_forked(desk))
    assert desk.view.allows(desk.session, desk.line)


def test_whatever_else_is_the_matter() -> None:
    """The answer in a child is FORKED, even if the request is also killed, stale, expired or revoked."""
    desk = Desk()
    desk.engine.kill_switch(True)
    in_child(lambda: check_that_it_is_forked(desk))
    desk.engine.kill_switch(False)
    without = ztfast.compile(
        ztfast.Text(POLICIES),
        schema=ztfast.Text("entity User, Line; action view appliesTo {principal: User, resource: Line};"),
    )
    desk.engine.swap(without, allow_stale=True)
    in_child(lambda: _codes(desk.note.decide(desk.session, desk.line, 1, desk.ann, "a", "1.5")))
    in_child(lambda: _codes(desk.view.decide(desk.session, desk.line)))
    desk.session.revoke()
    in_child(lambda: _codes(desk.view.decide(desk.session, desk.line)))


def _codes(decision: ztfast.Decision) -> None:
    assert decision.code == "FORKED", decision


def test_a_child_opens_an_engine_of_its_own() -> None:
    desk = Desk()

    def job() -> None:
        check_that_it_is_forked(desk)
        own = Desk()
        assert own.view.allows(own.session, own.line)
        assert own.view.decide(desk.session, own.line).code == "UNKNOWN_SESSION"
        own.engine.swap(OTHER)
        assert own.view.allows(own.session, own.line)
        # The parent's is not its own for that.
        check_that_it_is_forked(desk)
        check_that_nothing_changes(desk)

        def grandchild() -> None:
            check_that_it_is_forked(own)
            check_that_it_is_forked(desk)

        in_child(grandchild)
        assert own.view.allows(own.session, own.line)

    in_child(job)
    assert desk.view.allows(desk.session, desk.line)


def test_the_table_and_a_batch_that_was_begun_before() -> None:
    desk, api = Desk(), table.functions()
    own, batch = table.clone(api, desk.note.address), c_void_p()
    assert api["batch_begin"](desk.view.address, byref(batch)) == 0
    plain = table.clone(api, desk.view.address)

    def codes() -> list[int]:
        number, determining, out = c_int64(), Determining(), (c_uint8 * 1)()
        cells = (c_uint64(desk.session.id), c_uint64(desk.line.handle))
        columns = (Column * 2)(*(Column(ctypes.addressof(cell), 1, 0) for cell in cells))
        people = (c_uint64(desk.ann.handle), cells[1])
        principals = (Column * 2)(*(Column(ctypes.addressof(cell), 1, 0) for cell in people))
        found = [
            api["allows"](plain, desk.session.id, desk.line.handle, None, 0),
            api["decide"](plain, desk.session.id, desk.line.handle, None, 0, byref(determining)),
        ]
        assert api["batch_run"](batch, 1, columns, 2, out) == 0
        found.append(out[0])
        assert api["batch_evaluate"](batch, 1, principals, 2, out) == 0
        found.append(out[0])
        api["begin"](own)
        api["entity"](own, desk.ann.handle, 1, byref(number))
        found.append(api["allows"](own, desk.session.id, desk.line.handle, values(1, number.value, 0, 0), 4))
        return found

    def job() -> None:
        assert codes() == [Code.FORKED] * 5
        made = c_void_p()
        assert api["gate_clone"](plain, byref(made)) != 0
        for gate in (own, plain):
            assert api["gate_free"](gate) == 0
        assert api["batch_end"](batch) == 0

    assert codes() == [Code.ALLOW] * 5
    in_child(job)
    assert codes() == [Code.ALLOW] * 5
    for gate in (own, plain):
        assert api["gate_free"](gate) == 0
    assert api["batch_end"](batch) == 0


def test_a_call_begun_before_the_fork() -> None:
    desk, api = Desk(), table.functions()
    own, number = table.clone(api, desk.note.address), c_int64()
    assert api["begin"](own) == 0
    assert api["entity"](own, desk.ann.handle, 1, byref(number)) == 0

    def job() -> None:
        assert api["allows"](own, desk.session.id, desk.line.handle, values(1, number.value, 0, 0), 4) == Code.FORKED

    in_child(job)
    assert api["gate_free"](own) == 0


def test_forks_while_other_threads_change_everything(tmp_path: Path) -> None:
    desk, state = Desk(), tmp_path.resolve() / "desk"
    shared = ztfast.Engine(BUNDLE, state=state, sessions=8, handles=8)
    entity = {"uid": {"type": "Line", "id": "l9"}, "attrs": {}, "parents": []}
    jobs: tuple[Callable[[], object], ...] = (
        lambda: desk.engine.swap(OTHER),
        lambda: desk.engine.upsert([entity]),
        lambda: desk.engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf)).revoke(),
        lambda: desk.engine.prepare("view"),
        lambda: desk.note.decide(desk.session, desk.line, 1, desk.ann, "a text", "1.5"),
        lambda: ztfast.Engine(BUNDLE, sessions=8, handles=8),
        lambda: ztfast.Engine(BUNDLE, state=state),
        lambda: shared.kill("firm", by="ann", reason="a test"),
    )

    def job() -> None:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        assert str(state / "owners") not in [os.readlink(link) for link in links if os.path.islink(link)]
        check_that_it_is_forked(desk)
        check_that_nothing_changes(desk)
        gates = [desk.view, desk.note, desk.net]
        desk.view = desk.note = desk.net = None  # type: ignore[assignment]
        gates.clear()
        own = ztfast.Engine(BUNDLE, sessions=8, handles=8)
        assert own.evaluate('User::"ann"', "view", 'Line::"l1"')
        del desk.engine

    forks = 0
    with beside(*jobs) as turns:
        repeat = Repeat("forks beside every kind of change")
        while repeat.until(forks >= 12 and min(turns) > 0):
            in_child(job)
            forks += 1
    assert desk.view.allows(desk.session, desk.line)


def _decide_in_a_worker(_: int) -> list[str]:
    assert _DESK is not None
    return [
        _DESK.view.decide(_DESK.session, _DESK.line).code,
        _DESK.engine.evaluate('User::"ann"', "view", 'Line::"l1"').code,
    ]


_DESK: Desk | None = None


def test_workers_of_multiprocessing_that_fork() -> None:
    global _DESK
    _DESK = Desk()
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(_decide_in_a_worker, range(4), chunksize=1) == [["FORKED", "FORKED"]] * 4
    finally:
        _DESK = None


def test_programs_that_are_started_do_not_disturb() -> None:
    import subprocess

    desk = Desk()
    for _ in range(3):
        assert (
            subprocess.run([sys.executable, "-c", "print('there')"], capture_output=True, check=True).stdout
            == b"there\n"
        )
    assert desk.view.allows(desk.session, desk.line)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_child_gives_no_time_to_the_clock_of_its_parent(is_shared: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"state": tmp_path / "desk", "sessions": 8, "handles": 64} if is_shared else {}
    desk = Desk(clock="caller", **options)
    other = ztfast.Engine(BUNDLE, state=tmp_path / "desk", role="decide", clock="caller") if is_shared else desk.engine
    desk.engine.set_time(1_000)

    def job() -> None:
        with pytest.raises(ztfast.ForkedError):
            desk.engine.set_time(5_000)
        if is_shared:
            with pytest.raises(ztfast.ForkedError):
                other.set_time(5_000)

    in_child(job)
    assert desk.engine.set_time(2_000) == other.set_time(2_000) == 2_000
