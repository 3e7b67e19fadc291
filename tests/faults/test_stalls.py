"""No call waits long: not for a gate that is dropped, not for a swap, and not in a signal handler."""

from __future__ import annotations

import gc
import itertools
import math
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import ztfast
from tests.racing import Repeat, beside

SCHEMA = "entity User; entity Doc; action read appliesTo { principal: User, resource: Doc, context: { n: Long } };"


def compiled(own: int, users: int = 0) -> ztfast.Bundle:
    """Compile a bundle that permits ``n == own``, over a store with so many users."""
    policies = f'@id("permit-{own}") permit (principal, action, resource) when {{ context.n == {own} }};'
    entities: list[dict[str, Any]] = [
        {"uid": {"type": "User", "id": f"u{at}"}, "attrs": {}, "parents": []} for at in range(users)
    ]
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA), entities=entities)


@pytest.mark.parametrize(
    "act",
    [
        "engine.swap(bundles[1])",
        "engine.upsert([user])",
        "engine.remove(['User::\"u\"'])",
        "engine.prepare('read', 'n')",
        "engine.kill_switch(True); engine.kill_switch(False)",
        "engine.admit(ztfast.Identity('User::\"u\"', not_after=math.inf)).revoke()",
        "engine.resource(f'Doc::\"{time.monotonic()}\"')",
        "engine.compact()",
        "engine.memory",
        "engine.explain('User::\"u\"', 'read', 'Doc::\"d\"', {'n': 1})",
        "engine.evaluate_many('User::\"u\"', 'read', 'Doc::\"d\"', {'n': [1, 2]})",
    ],
)
def test_a_signal_handler_may_do_what_the_main_thread_does(act: str) -> None:
    program = textwrap.dedent(
        f"""
        import math, signal, time
        import ztfast
        from tests.faults.test_stalls import compiled
        bundles = [compiled(1, 500), compiled(2, 500)]
        engine = ztfast.Engine(bundles[0], handles=4096)
        user = {{"uid": {{"type": "User", "id": "u"}}, "attrs": {{}}, "parents": []}}
        handled, within = 0, False
        def handler(*_):
            global handled, within
            # Handlers interrupt each other, too: one at a time, or a slow machine gets no further.
            if within:
                return
            within = True
            {act}
            handled, within = handled + 1, False
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        until = time.monotonic() + 1
        while time.monotonic() < until or handled <= 10:
            engine.swap(bundles[0], keep_changes=True)
            engine.upsert([user])
            engine.prepare("read", "n")
            engine.remove(['User::"u1"'])
            assert engine.bundle in bundles
        signal.setitimer(signal.ITIMER_REAL, 0)
        engine.swap(bundles[1])
        assert engine.bundle is bundles[1]
        assert bool(engine.evaluate('User::"u"', "read", 'Doc::"d"', {{"n": 2}}))
        print(handled)
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_finalizer_may_swap_while_a_swap_is_under_way() -> None:
    bundles = [compiled(1), compiled(2)]
    engine = ztfast.Engine(bundles[0], handles=64)
    # What a swap tells of kept changes is many objects, so that the collector runs in the middle of it.
    names = [f"u{at}" for at in range(20)]
    engine.upsert([{"uid": {"type": "User", "id": name}, "attrs": {}, "parents": []} for name in names])
    made = swaps = within = 0
    under_way = False

    class Swaps:
        def __init__(self) -> None:
            self.circle = self

        def __del__(self) -> None:
            nonlocal swaps, within
            within += under_way
            engine.swap(bundles[1], keep_changes=True)
            engine.prepare("read", "n")
            swaps += 1

    before = gc.get_threshold()
    gc.set_threshold(5)
    try:
        repeat = Repeat("finalizers in the middle of a swap")
        while repeat.until(made >= 50 and within >= 10):
            Swaps()
            made += 1
            under_way = True
            done = engine.swap(bundles[0], keep_changes=True)
            under_way = False
            assert [uid.id for uid in done.kept] == sorted(names)
            engine.explain('User::"u"', "read", 'Doc::"d"', {"n": 1})
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert swaps == made


def test_explanations_beside_a_swap_are_of_one_bundle() -> None:
    bundles = [compiled(1), compiled(2)]
    engine = ztfast.Engine(bundles[0], handles=64)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))

    def swap() -> None:
        engine.swap(bundles[engine.bundle is bundles[0]])

    changes, last = 0, None
    with beside(swap):
        repeat = Repeat("explanations by one bundle after the other", at_least=3)
        while repeat.until(changes >= 20):
            for who in (session, 'User::"u"'):
                explanation = engine.explain(who, "read", 'Doc::"d"', {"n": 2})
                assert explanation.agrees, explanation
                assert explanation.allow == bool(explanation.decision)
                reasons = [(reason.policy.id, "== 2" in reason.source) for reason in explanation.reasons]
                assert reasons == ([("permit-2", True)] if explanation.allow else [])
                changes += last is (not explanation.allow)
                last = explanation.allow


class Span(NamedTuple):
    """The begin and the end of something."""

    began: float
    ended: float

    def within(self, other: Span) -> bool:
        return other.began <= self.began and self.ended <= other.ended

    def meets(self, other: Span) -> bool:
        return other.began < self.ended and self.began < other.ended

    def took(self) -> float:
        return self.ended - self.began


def timed(job: Callable[[], object]) -> Span:
    began = time.monotonic()
    job()
    return Span(began, time.monotonic())


def test_whoever_drops_gates_or_decides_on_columns_waits_for_no_swap() -> None:
    bundles = [compiled(own, 60_000) for own in (1, 2)]
    engine = ztfast.Engine(bundles[0], handles=1 << 18)
    for at in range(100_000):
        engine.resource(f'User::"u{at}"')
    user, doc = engine.resource('User::"u1"'), engine.resource('Doc::"d"')
    gates: list[ztfast.Gate] = []
    swaps: list[Span] = []
    others: list[tuple[str, Span]] = []

    def columns() -> None:
        codes = engine.evaluate_many(user, "read", doc, {"n": np.array([1, 2, 3])})
        assert sorted(codes.tolist()) == [0, 0, 1]

    jobs: dict[str, Callable[[], object]] = {
        "prepare": lambda: gates.extend(engine.prepare("read", "n") for _ in range(3)),
        "drop": gates.clear,
        "columns": columns,
        "a new handle": lambda: engine.resource(f'Doc::"{time.monotonic_ns()}"'),
    }

    def is_undisturbed(swap: Span) -> bool:
        """Return whether calls of all kinds began and ended during the swap, and none took a large part of its time."""
        met = [(name, span) for name, span in others if span.meets(swap)]
        inside = {name for name, span in met if span.within(swap)}
        return inside == set(jobs) and max(span.took() for _, span in met) < swap.took() / 4

    # A call that waits for a swap would do so each time. The times are compared with the swap's, since on a busy machine both
    # take longer, and other programs may delay some of the calls.
    undisturbed = 0
    order = itertools.cycle(bundles)
    with beside(lambda: swaps.append(timed(lambda: engine.swap(next(order))))):
        repeat = Repeat("ten swaps that nobody waited for", at_least=2, limit=180)
        while repeat.until(undisturbed >= 10):
            others += [(name, timed(job)) for name, job in jobs.items()]
            while swaps and swaps[0].ended < others[-1][1].began:
                undisturbed += is_undisturbed(swaps.pop(0))
                others = [(name, span) for name, span in others if not swaps or span.ended > swaps[0].began]
