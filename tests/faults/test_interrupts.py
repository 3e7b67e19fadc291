"""Ctrl-C is never lost and makes no valid request invalid, during any call."""

from __future__ import annotations

import datetime
import decimal
import gc
import itertools
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ztfast
from tests.conftest import ENTITIES, Build
from tests.racing import Repeat

LASTS_S = 3.0


class Interrupt(KeyboardInterrupt):
    """The exception that the handler raises."""


class Number:
    """A number whose value is computed by its own code."""

    def __index__(self) -> int:
        return 1


class Somebody:
    """A uid whose text is computed by its own code."""

    @property
    def type(self) -> str:
        return "User"

    @property
    def id(self) -> str:
        return "ann"


class Holder:
    """A value that is interrupted at every access."""

    def __getattr__(self, name: str) -> object:
        raise Interrupt

    def __repr__(self) -> str:
        raise Interrupt


@pytest.fixture
def interrupts() -> Iterator[list[Any]]:
    """Send interrupts by a timer, and keep those that Python could not raise."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    lost: list[Any] = []
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, interrupt)
    sys.unraisablehook = lambda unraisable: lost.append((unraisable.exc_type, str(unraisable.object)))
    # Hypothesis measures collections in a callback, and CPython cannot raise an exception out of a callback of a collection.
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    yield lost
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.callbacks[:] = callbacks
    signal.signal(signal.SIGALRM, handler)
    sys.unraisablehook = hook


def test_interrupts_come_through_and_change_no_answer(build: Build, interrupts: list[Any]) -> None:
    engine = ztfast.Engine(build("permit (principal, action, resource);"), sessions=16, handles=256)
    now, price = datetime.datetime.now(datetime.UTC), decimal.Decimal("1.5")
    texts = {"size": 1, "place": {"room": 1}, "within": "60s", "at": "2024-10-15T09:30:00Z", "tags": ["a"]}
    objects = {"size": 1, "place": {"room": 1}, "at": now, "price": price, "people": {ztfast.Uid("User", "ann")}}
    gate = engine.prepare("edit", "size", "at", "price", ("place", "room"))
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    doc = engine.resource('Doc::"d1"')
    by_who, by_price = (
        engine.prepare("edit", "size", ("place", "room"), "who"),
        engine.prepare("edit", "size", ("place", "room"), "price"),
    )
    dicts = [{"__extn": {"fn": "decimal", "arg": "1.0"}}] * 5
    columns = [Number()] * 5, [now, now + datetime.timedelta(1)] * 2 + [now], [price] * 5, [1, Number()] * 2 + [1]
    calls: list[Callable[[], object]] = [
        lambda: engine.evaluate('User::"ann"', "edit", 'Doc::"d1"', texts),
        lambda: engine.decide(session, "edit", 'Doc::"d1"', objects),
        lambda: gate.decide(session, doc, 1, now, price, 1),
        lambda: engine.explain('User::"ann"', "edit", 'Doc::"d1"', texts).allow,
        lambda: engine.upsert([ENTITIES[2]]) is None,
        lambda: gate.decide_many(session, doc, *columns).all(),
        lambda: by_who.decide_many(session, doc, columns[0], 1, [Somebody()] * 5).all(),
        lambda: by_price.decide_many(session, doc, columns[0], 1, dicts).all(),
        lambda: engine.evaluate(Somebody(), "edit", 'Doc::"d1"', texts),
    ]
    came = [0] * len(calls)
    repeat = Repeat("interrupts of each call", at_least=LASTS_S)
    while repeat.until(min(came) >= 5 and sum(came) > 100):
        turn = repeat.turn
        number, ends = 0, time.monotonic() + 60
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + turn % 50 * 0.00003)
            # Each call in its turn is the first, and so the one that is under way when an early interrupt comes.
            for number in itertools.islice(itertools.cycle(range(len(calls))), turn % len(calls), None):
                assert calls[number](), number
                if time.monotonic() > ends:
                    pytest.fail(f"an interrupt did not come through: {interrupts}")
        except Interrupt:
            came[number] += 1
    assert interrupts == []
    assert all(call() for call in calls)


def test_no_question_to_a_value_loses_an_interrupt(build: Build) -> None:
    engine = ztfast.Engine(build("permit (principal, action, resource);"), sessions=16, handles=256)
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    doc = engine.resource('Doc::"d1"')
    by_who = engine.prepare("edit", "size", ("place", "room"), "who")
    good = {"size": 1, "place": {"room": 1}}
    calls: list[Callable[[], object]] = [
        lambda: ztfast.Uid.of(Holder()),
        lambda: engine.resource(Holder()),  # type: ignore[arg-type]
        lambda: engine.evaluate(Holder(), "edit", doc, good),  # type: ignore[arg-type]
        lambda: engine.decide(session, "edit", Holder(), good),  # type: ignore[arg-type]
        lambda: engine.decide(session, "edit", doc, {**good, "who": Holder()}),
        lambda: engine.decide(session, "edit", doc, {**good, "people": [Holder()]}),
        lambda: engine.decide(session, "edit", doc, {**good, "note": Holder()}),
        lambda: engine.decide(session, "edit", doc, {**good, Holder(): 1}),  # type: ignore[dict-item]
        lambda: by_who.decide(session, doc, 1, 1, Holder()),
        lambda: by_who.decide_many(session, doc, 1, 1, [Holder()]),
        lambda: engine.prepare("edit", Holder()),  # type: ignore[arg-type]
    ]
    for number, call in enumerate(calls):
        with pytest.raises(Interrupt):
            call()
        assert engine.decide(session, "edit", doc, good), number
