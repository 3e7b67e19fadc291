"""Threads decide while others swap bundles, change entities, admit, revoke and kill: every answer is correct for a state
during the call.

The policies are such that an answer shows the state that it was given in. Each writer records a state before its call, and
records that the state was reached after the call has returned. A reader's answer must belong to a state between the last one
reached before its call and the last one begun before its call returned. So it never comes from a replaced bundle, and is
never ALLOW for a session whose ``revoke()`` has returned.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import random
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import numpy
import pytest

import ztfast
from tests.racing import Repeat

SECONDS = float(os.environ.get("ZTFAST_THREADS_SECONDS", "8"))

SCHEMA = ztfast.Text(
    """
    entity Team;
    entity User in [Team];
    entity Doc;
    action read appliesTo { principal: User, resource: Doc, context: { n: Long, s: String } };
    """
)
POLICIES = """
    @id("permit-{own}") permit (principal in Team::"t", action, resource)
    when {{ context.n == {own} && context.s like "*y*" && context.s != "n" }};
    @id("forbid-{own}") forbid (principal, action, resource) when {{ context.n == {other} }};
"""


def user(member: bool) -> dict[str, Any]:
    """Make the entity of the user, in the team or not."""
    parents = [{"type": "Team", "id": "t"}] if member else []
    return {"uid": {"type": "User", "id": "u"}, "attrs": {}, "parents": parents}


def compiled(own: int) -> ztfast.Bundle:
    """Compile the bundle that permits members ``n == own`` and forbids all users the other number."""
    policies = POLICIES.format(own=own, other=3 - own)
    return ztfast.compile(ztfast.Text(policies), schema=SCHEMA, entities=[user(True)])


class Store(NamedTuple):
    """The state that policies see: the bundle, and whether the user is in the team."""

    own: int
    member: bool


class Answer(NamedTuple):
    """A code and its determining policies."""

    code: str
    reasons: tuple[str, ...] = ()


def by_policy(store: Store, n: int) -> Answer:
    """Return the answer of the policies."""
    if n != store.own:
        return Answer("FORBID", (f"forbid-{store.own}",))
    return Answer("ALLOW", (f"permit-{store.own}",)) if store.member else Answer("DEFAULT")


State = TypeVar("State")


class Tracked(Generic[State]):
    """A state that one writer changes, and the states in which readers may see it."""

    def __init__(self, state: State) -> None:
        self.states = [state]
        self.published = 0

    def become(self, state: State, change: Callable[[], object]) -> None:
        """Go to a state by a call."""
        self.states.append(state)
        change()
        self.published = len(self.states) - 1

    def since(self, published: int) -> set[State]:
        """Return the states that a call may have met if it began when ``published`` was current."""
        return set(self.states[published:])


class Desk:
    """An engine, the tracked states, and everything that the threads share."""

    def __init__(self) -> None:
        self.bundles = {own: compiled(own) for own in (1, 2)}
        self.engine = ztfast.Engine(self.bundles[1], sessions=64, handles=1024)
        self.store = Tracked(Store(1, True))
        self.killed = Tracked(False)
        self.shared_gate = self.engine.prepare("read", "n", "s")
        self.doc = self.engine.resource('Doc::"d"')
        self.sessions: list[tuple[ztfast.Session, Tracked[bool]]] = [self.admit() for _ in range(8)]
        self.until = time.monotonic() + SECONDS
        self.failures: list[str] = []
        self.seen: Counter[tuple[str, str]] = Counter()

    def admit(self) -> tuple[ztfast.Session, Tracked[bool]]:
        """Admit a new session, which is live or not."""
        return self.engine.admit(ztfast.Identity('User::"u"', not_after=time.time() + 3600)), Tracked(True)

    def going_on(self) -> bool:
        """Return whether the threads go on."""
        return time.monotonic() < self.until and not self.failures

    @contextmanager
    def answers(self, way: str, live: Tracked[bool]) -> Iterator[Callable[..., None]]:
        """Track the state during a call, then check its answer: ``check(*(n, answer))``, all by one store."""
        published = self.store.published, self.killed.published, live.published

        def check(*rows: tuple[int, Answer | bool]) -> None:
            stores, killed, lives = (
                tracked.since(since) for tracked, since in zip((self.store, self.killed, live), published, strict=True)
            )
            denials = {Answer("KILLED")} if True in killed else set()
            if False in lives:
                denials |= {Answer("REVOKED"), Answer("UNKNOWN_SESSION")}
            policies_decide = False in killed and True in lives

            def fits(given: Answer | bool, store: Store, n: int) -> bool:
                possible = denials | ({by_policy(store, n)} if policies_decide else set())
                if isinstance(given, bool):
                    return given in {bool(answer.reasons) and "permit" in answer.reasons[0] for answer in possible}
                return given in possible

            if not any(all(fits(given, store, n) for n, given in rows) for store in stores):
                self.failures.append(f"{way}: {rows} in {stores}, killed {killed}, live {lives}")
            certain = len(stores) == len(killed) == len(lives) == 1
            for _, given in rows:
                self.seen[way, str(given)] += 1
            self.seen[way, "certain" if certain else "between"] += 1

        yield check


def answer(decision: ztfast.Decision) -> Answer:
    """Convert a decision for comparison."""
    return Answer(decision.code, decision.reasons)


def by_gate(desk: Desk, way: str, make: Callable[[], ztfast.Gate]) -> Callable[[], None]:
    """Read by a gate in all its ways, and prepare it again from time to time."""

    def read() -> None:
        dice = random.Random(way)
        gate = make()
        rows = numpy.array([1, 2] * 20)
        while desk.going_on():
            n, text = dice.choice((1, 2)), dice.choice(("y", "may", f"y{dice.random()}"))
            session, live = dice.choice(desk.sessions)
            with desk.answers(f"{way} allows", live) as check:
                check((n, gate.allows(session, desk.doc, n, text)))
            session, live = dice.choice(desk.sessions)
            with desk.answers(f"{way} decides", live) as check:
                check((n, answer(gate.decide(session, desk.doc, n, text))))
            session, live = dice.choice(desk.sessions)
            with desk.answers(f"{way} decides many", live) as check:
                codes = gate.decide_many(session, desk.doc, rows, text)
                check(*((int(n), bool(code == ztfast.Code.ALLOW)) for n, code in zip(rows, codes, strict=True)))
            if dice.random() < 0.01:
                gate = make()

    return read


def by_context(desk: Desk) -> None:
    """Read with dicts."""
    dice = random.Random("context")
    while desk.going_on():
        n = dice.choice((1, 2))
        session, live = dice.choice(desk.sessions)
        with desk.answers("context", live) as check:
            check((n, answer(desk.engine.decide(session, "read", desk.doc, {"n": n, "s": "my"}))))


def change_store(desk: Desk) -> None:
    """Change bundles and entities. A swap drops the changes."""
    dice = random.Random("store")
    for turn in itertools.count():
        if not desk.going_on():
            return
        own = desk.store.states[-1].own
        if turn % 3 == 0:
            own = 3 - own
            desk.store.become(Store(own, True), lambda own=own: desk.engine.swap(desk.bundles[own]))
        elif dice.random() < 0.5:
            desk.store.become(Store(own, False), lambda: desk.engine.remove(['User::"u"']))
        else:
            member = dice.random() < 0.5
            desk.store.become(Store(own, member), lambda member=member: desk.engine.upsert([user(member)]))
        time.sleep(dice.random() / 200)


def kill_and_revive(desk: Desk) -> None:
    """Set the kill switch. It is off most of the time, so that policies decide."""
    while desk.going_on():
        desk.killed.become(True, lambda: desk.engine.kill_switch(True))
        time.sleep(0.001)
        desk.killed.become(False, lambda: desk.engine.kill_switch(False))
        time.sleep(0.02)


def revoke_and_admit(desk: Desk) -> None:
    """Revoke and admit sessions. Readers still use revoked ones, and their slots are reused."""
    dice = random.Random("sessions")
    while desk.going_on():
        at = dice.randrange(4)
        session, live = desk.sessions[at]
        if live.states[-1]:
            live.become(False, session.revoke)
        else:
            desk.sessions[at] = desk.admit()
        time.sleep(dice.random() / 500)


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Make threads switch as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_every_answer_is_one_of_a_state_during_the_call() -> None:
    desk = Desk()
    jobs: dict[str, Callable[[], None]] = {
        "own gate": by_gate(desk, "own gate", lambda: desk.engine.prepare("read", "n", "s")),
        "shared gate, one": by_gate(desk, "shared gate, one", lambda: desk.shared_gate),
        "shared gate, two": by_gate(desk, "shared gate, two", lambda: desk.shared_gate),
        "context": lambda: by_context(desk),
        "store": lambda: change_store(desk),
        "kill switch": lambda: kill_and_revive(desk),
        "sessions": lambda: revoke_and_admit(desk),
    }
    repeat, missing = Repeat("what shows something", limit=10 * SECONDS), ["all"]
    while repeat.until(not missing):
        # A busy machine gets another time.
        desk.until = time.monotonic() + SECONDS
        done = run(desk, jobs)
        assert not desk.failures, desk.failures[:5]
        assert done == set(jobs), f"threads that raised: {set(jobs) - done}"
        missing = unseen(desk)
        repeat.what = f"{missing} of {desk.seen}"


def unseen(desk: Desk) -> list[str]:
    """Return what a run must show and has not shown yet."""
    swaps = sum(before.own != after.own for before, after in itertools.pairwise(desk.store.states))
    ways = [
        f"{way} {call}"
        for way in ("own gate", "shared gate, one", "shared gate, two")
        for call in ("allows", "decides", "decides many")
    ]
    answers = [
        *(by_policy(Store(own, member), n) for own in (1, 2) for member in (True, False) for n in (1, 2)),
        Answer("KILLED"),
        Answer("REVOKED"),
    ]
    return [
        *(["swaps"] if swaps <= SECONDS else []),
        *(["kill switches"] if len(desk.killed.states) <= SECONDS else []),
        # A call during which the state does not change has only one right answer, so it shows the most.
        *(way for way in (*ways, "context") if desk.seen[way, "certain"] <= 10 * SECONDS),
        *(str(answer) for answer in answers if not desk.seen["own gate decides", str(answer)]),
    ]


def run(desk: Desk, jobs: dict[str, Callable[[], None]]) -> set[str]:
    """Run each job in a thread; return the names of those that ended. Print threads that do not end, and fail."""
    done = set()

    def job(name: str) -> None:
        try:
            jobs[name]()
            done.add(name)
        except BaseException:
            desk.failures.append(f"{name} raised")
            raise

    threads = [threading.Thread(target=job, args=(name,), name=name, daemon=True) for name in jobs]
    for thread in threads:
        thread.start()
    deadline = desk.until + 30
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        faulthandler.dump_traceback(all_threads=True)
        pytest.fail(f"deadlock: {stuck} did not end")
    return done


def test_the_gil_stays_off_where_it_is() -> None:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("SKIPPED: this CPython has a GIL; `make test-free-threaded` builds for one that has none")
    assert not sys._is_gil_enabled()


def test_a_checker_that_is_lied_to_says_so() -> None:
    desk = Desk()
    session, live = desk.sessions[0]
    with desk.answers("a call", live) as check:
        session.revoke()
        live.become(False, lambda: None)
        check((1, answer(desk.shared_gate.decide(session, desk.doc, 1, "y"))))
        assert not desk.failures
    with desk.answers("a lie", live) as check:
        check((1, True))
    assert len(desk.failures) == 1


def test_changes_of_several_threads_wait_for_each_other() -> None:
    desk = Desk()
    inside, met = set[int](), 0

    def swap(own: int) -> Callable[[], None]:
        def job() -> None:
            nonlocal met
            while desk.going_on():
                inside.add(own)
                desk.engine.swap(desk.bundles[own])
                desk.engine.upsert([user(False)])
                met += 3 - own in inside
                inside.discard(own)

        return job

    jobs = {f"swap {own}": swap(own) for own in (1, 2)}
    repeat = Repeat("threads that change the engine at once")
    while repeat.until(met > 10):
        desk.until = time.monotonic() + min(SECONDS, 2)
        assert run(desk, jobs) == set(jobs), desk.failures
    # The bundle that the engine names is the one that decides, and that Cedar explains by.
    for _ in range(2):
        (own,) = (own for own, bundle in desk.bundles.items() if bundle is desk.engine.bundle)
        session, _ = desk.sessions[0]
        expected = (f"forbid-{own}",)
        assert desk.shared_gate.decide(session, desk.doc, 3 - own, "y").reasons == expected
        explanation = desk.engine.explain(session, "read", desk.doc, {"n": 3 - own, "s": "y"})
        assert explanation.agrees
        assert tuple(text.policy.id for text in explanation.reasons) == expected
        desk.engine.swap(desk.bundles[3 - own])
