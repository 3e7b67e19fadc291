"""Calls with texts or entities, and every way in which one can end without a decision.

A call that failed half-way must have no effect on later decisions, and the next decision or batch must use the newest
bundle.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from ctypes import byref, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np
import pytest

import ztfast
from tests.embed import table
from tests.embed.table import values

SCHEMA = ztfast.Text(
    """
    entity Team; entity User; entity Doc; entity Other;
    action read appliesTo { principal: User, resource: Doc, context: { text: String, who: User } };
    """
)
LIKE = '@id("like") permit (principal, action, resource) when { context.text like "*open*" };'
ANN = '@id("ann") permit (principal, action, resource) when { context.who == User::"ann" };'
NEVER = '@id("never") forbid (principal, action, resource);'
CODE = ztfast.Code


def compiled(*policies: str) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text("\n".join(policies)), schema=SCHEMA)


class Desk:
    """An engine with a session, handles, and a gate that takes a text and an entity."""

    def __init__(self, *policies: str) -> None:
        self.engine = ztfast.Engine(compiled(*(policies or (LIKE,))), sessions=16, handles=1024)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')
        self.ann = self.engine.resource('User::"ann"')
        self.bob = self.engine.resource('User::"bob"')
        self.gate = self.engine.prepare("read", "text", "who")

    def ways(self, text: str) -> dict[str, Any]:
        """Return the gate's answers in all ways."""
        gate, session, doc = self.gate, self.session, self.doc
        return {
            "allows": gate.allows(session, doc, text, self.ann),
            "decide": bool(gate.decide(session, doc, text, self.ann)),
            "decide_many": bool(gate.decide_many(session, doc, [text], self.ann)[0] == CODE.ALLOW),
            "evaluate_many": bool(gate.evaluate_many(self.bob, doc, [text], self.ann)[0] == CODE.ALLOW),
        }


class Loud:
    """An object that is not a text and runs code when a message shows it."""

    then: Callable[[], object] = staticmethod(lambda: None)

    def __repr__(self) -> str:
        self.then()
        return "loud"


def fails(job: Callable[[], object], error: type[BaseException]) -> Callable[[], None]:
    def failing() -> None:
        with pytest.raises(error):
            job()

    return failing


def interrupted(desk: Desk, who: object) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    loud = Loud()
    loud.then = stop  # type: ignore[method-assign]
    desk.gate.allows(desk.session, desk.doc, loud, who)


def ways_out(desk: Desk) -> dict[str, Callable[[], object]]:
    """Return calls that end before they decide, or decide in another way."""
    gate, session, doc, ann = desk.gate, desk.session, desk.doc, desk.ann
    nothing = desk.engine.resource('Nothing::"x"')
    large = "open" + "x" * 20_000
    return {
        "a lone surrogate": lambda: gate.allows(session, doc, "\ud800", ann),
        "a lone surrogate, decided": lambda: gate.decide(session, doc, "a\udfff", ann),
        "an entity of no type": fails(lambda: gate.allows(session, doc, "open", nothing), ztfast.ContextError),
        "an entity of no type, decided": fails(lambda: gate.decide(session, doc, "open", nothing), ztfast.ContextError),
        "no text": fails(lambda: gate.allows(session, doc, 7, ann), ztfast.ContextError),
        "no entity": fails(lambda: gate.allows(session, doc, "open", "ann"), ztfast.ContextError),
        "Ctrl-C": fails(lambda: interrupted(desk, ann), KeyboardInterrupt),
        "a large text": lambda: gate.allows(session, doc, large, ann),
        "a large text, decided": lambda: gate.decide(session, doc, large, ann),
        "a wrong column": fails(lambda: gate.decide_many(session, doc, [7], ann), ztfast.ContextError),
        "a wrong count": fails(lambda: gate.allows(session, doc, "open"), ztfast.ContextError),
    }


@pytest.mark.parametrize("name", ways_out(Desk()))
def test_after_a_call_that_failed_the_newest_bundle_decides(name: str) -> None:
    desk = Desk()
    assert set(desk.ways("open").values()) == {True}
    ways_out(desk)[name]()
    desk.engine.swap(compiled(LIKE, NEVER))
    # The batch comes first: nothing that it would wait for has set the gate right yet.
    assert desk.gate.decide_many(desk.session, desk.doc, ["open"], desk.ann).tolist() == [CODE.FORBID]
    assert set(desk.ways("open").values()) == {False}
    ways_out(desk)[name]()
    desk.engine.swap(compiled(LIKE))
    assert desk.gate.evaluate_many(desk.bob, desk.doc, ["open"], desk.ann).tolist() == [CODE.ALLOW]
    assert set(desk.ways("open").values()) == {True}


@pytest.mark.parametrize("name", ways_out(Desk()))
def test_after_a_call_that_failed_changes_hold(name: str) -> None:
    desk = Desk('permit (principal in Team::"t", action, resource);')
    schema = ztfast.Text(SCHEMA.text.replace("entity User;", "entity User in [Team];"))
    desk.engine.swap(ztfast.compile(ztfast.Text('permit (principal in Team::"t", action, resource);'), schema=schema))
    user = {"uid": {"type": "User", "id": "u"}, "attrs": {}, "parents": [{"type": "Team", "id": "t"}]}
    desk.engine.upsert([user])
    assert desk.gate.allows(desk.session, desk.doc, "open", desk.ann)
    ways_out(desk)[name]()
    desk.engine.remove(['User::"u"'])
    assert desk.gate.decide_many(desk.session, desk.doc, ["open"], desk.ann).tolist() == [CODE.DEFAULT]
    assert not desk.gate.allows(desk.session, desk.doc, "open", desk.ann)


def test_a_call_within_a_call_goes_by_its_own() -> None:
    desk = Desk()
    inner: list[object] = []
    loud = Loud()

    def swap_and_decide() -> None:
        desk.engine.swap(compiled(LIKE, NEVER))
        inner.append(desk.ways("open"))

    loud.then = swap_and_decide  # type: ignore[method-assign]
    with pytest.raises(ztfast.ContextError):
        desk.gate.allows(desk.session, desk.doc, loud, desk.ann)
    assert inner
    assert all(set(ways.values()) == {False} for ways in inner)  # type: ignore[attr-defined]
    assert set(desk.ways("open").values()) == {False}


@pytest.mark.parametrize("size", [16 << 10, (16 << 10) + 1, 100_000])
def test_large_texts_are_decided_as_evaluate_does(size: int) -> None:
    desk = Desk()
    for text in ("open" + "x" * (size - 4), "x" * size):
        expected = desk.engine.evaluate('User::"u"', "read", desk.doc, {"text": text, "who": desk.ann})
        assert desk.gate.decide(desk.session, desk.doc, text, desk.ann) == expected
        assert set(desk.ways(text).values()) == {bool(expected)}


def test_more_texts_than_a_gate_has_room_for_are_decided_as_evaluate_does() -> None:
    names = [f"t{at}" for at in range(40)]
    context = ", ".join(f"{name}: String" for name in names)
    schema = f"entity User; entity Doc; action read appliesTo {{ principal: User, resource: Doc, context: {{ {context} }} }};"
    policies = 'permit (principal, action, resource) when { context.t39 like "*39" && context.t0 == context.t1 };'
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema)), handles=64)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
    gate, doc = engine.prepare("read", *names), engine.resource('Doc::"d"')
    for texts in ([f"text {at}" for at in range(40)], ["same", "same", *(f"text {at}" for at in range(2, 40))]):
        expected = engine.evaluate('User::"u"', "read", doc, dict(zip(names, texts, strict=True)))
        assert gate.decide(session, doc, *texts) == expected
        assert gate.allows(session, doc, *texts) is bool(expected)
    assert bool(expected)


class Raw:
    """A clone of a gate, called through the table."""

    def __init__(self, gate: ztfast.Gate) -> None:
        self.api = table.functions()
        self.own = table.clone(self.api, gate.address)

    def text(self, text: str) -> tuple[int, int]:
        number = c_int64(-7)
        status = self.api["text"](self.own, text.encode(), len(text.encode()), byref(number))
        return status, number.value

    def entity(self, resource: ztfast.EntityHandle) -> tuple[int, int]:
        number = c_int64(-7)
        return self.api["entity"](self.own, resource.handle, 1, byref(number)), number.value

    def begin(self) -> None:
        assert self.api["begin"](self.own) == 0

    def decide(self, desk: Desk, *given: int) -> int:
        code: int = self.api["allows"](self.own, desk.session.id, desk.doc.handle, values(*given), len(given))
        return code


@pytest.fixture
def desk() -> Desk:
    return Desk(LIKE, ANN)


@pytest.fixture
def raw(desk: Desk) -> Iterator[Raw]:
    raw = Raw(desk.gate)
    yield raw
    assert raw.api["gate_free"](raw.own) == 0


def test_whoever_ignores_a_refused_text_is_denied(desk: Desk, raw: Raw) -> None:
    for refused, code in (("open" + "x" * 20_000, CODE.TOO_LARGE),):
        raw.begin()
        _, who = raw.entity(desk.ann)
        assert raw.text(refused)[0] < 0
        # Later calls and any value of the number make no difference.
        status, text = raw.text("open")
        assert status == 0
        assert raw.decide(desk, text, who) == code
    for broken, length, code in ((b"\xff", 1, CODE.BAD_VALUE), (None, 5, CODE.CORRUPT)):
        raw.begin()
        _, who = raw.entity(desk.ann)
        assert raw.api["text"](raw.own, broken, length, byref(c_int64())) < 0
        assert raw.decide(desk, raw.text("open")[1], who) == code
    raw.begin()
    assert raw.api["text"](raw.own, b"open", 4, None) < 0
    assert raw.decide(desk, raw.text("open")[1], raw.entity(desk.ann)[1]) == CODE.CORRUPT
    # The next call is good again.
    raw.begin()
    assert raw.decide(desk, raw.text("open")[1], raw.entity(desk.ann)[1]) == CODE.ALLOW


def test_whoever_ignores_a_refused_entity_is_denied(desk: Desk, raw: Raw) -> None:
    nothing = desk.engine.resource('Nothing::"x"')
    raw.begin()
    text = raw.text("open")[1]
    who = raw.entity(desk.ann)[1]
    assert raw.entity(nothing)[0] < 0
    assert raw.decide(desk, text, who) != CODE.ALLOW
    raw.begin()
    assert raw.api["entity"](raw.own, desk.ann.handle, 1, None) < 0
    assert raw.decide(desk, raw.text("open")[1], raw.entity(desk.ann)[1]) != CODE.ALLOW


def test_numbers_are_for_the_call_that_they_were_given_in(desk: Desk, raw: Raw) -> None:
    raw.begin()
    text, who = raw.text("it is open")[1], raw.entity(desk.ann)[1]
    assert raw.decide(desk, text, who) == CODE.ALLOW
    # The decision ended the call.
    assert raw.decide(desk, text, who) == CODE.CORRUPT
    raw.begin()
    shut, bob = raw.text("it is shut")[1], raw.entity(desk.bob)[1]
    assert raw.decide(desk, text, bob) == CODE.CORRUPT
    raw.begin()
    shut, bob = raw.text("it is shut")[1], raw.entity(desk.bob)[1]
    assert raw.decide(desk, shut, who) == CODE.CORRUPT
    raw.begin()
    shut, bob = raw.text("it is shut")[1], raw.entity(desk.bob)[1]
    raw.begin()
    assert raw.decide(desk, shut, bob) == CODE.CORRUPT
    raw.begin()
    shut, bob = raw.text("it is shut")[1], raw.entity(desk.bob)[1]
    assert raw.decide(desk, shut, bob) == CODE.DEFAULT


def test_numbers_that_nobody_gave_are_refused(desk: Desk, raw: Raw) -> None:
    for made_up in (1 << 32, (1 << 32) | 5, 1 << 33, -1, 1 << 62, 3 << 34 | 1 << 32):
        raw.begin()
        # No policy permits bob, so an ALLOW would come from the text.
        assert raw.decide(desk, made_up, raw.entity(desk.bob)[1]) in (CODE.CORRUPT, CODE.DEFAULT)
        raw.begin()
        assert raw.decide(desk, raw.text("shut")[1], made_up) == CODE.CORRUPT


def test_a_call_given_up_harms_nothing(desk: Desk, raw: Raw) -> None:
    raw.begin()
    text, who = raw.text("open")[1], raw.entity(desk.ann)[1]
    desk.engine.swap(compiled(NEVER))
    batch, count, generation, number = c_void_p(), c_size_t(), c_uint64(), c_int64()
    assert raw.api["kinds"](raw.own, None, 0, byref(count)) == 0
    assert raw.api["generation"](raw.own, byref(generation)) == 0
    # The call goes on by its own bundle, and so does what it asks.
    assert raw.api["literal"](raw.own, b"never heard of", 14, byref(number)) < 0
    other = c_void_p()
    assert raw.api["gate_clone"](raw.own, byref(other)) == 0
    assert raw.api["batch_begin"](raw.own, byref(batch)) == 0
    codes = (ctypes.c_uint8 * 1)()
    texts = c_int64()
    assert raw.api["batch_text"](batch, b"open", 4, byref(texts)) == 0
    handles = np.uint64 if table.numbers()[0] >= 3 else np.uint32
    arrays = [
        np.array([desk.session.id], np.uint64),
        np.array([desk.doc.handle], handles),
        np.array([texts.value], np.int64),
        np.array([desk.ann.handle], np.int64),
    ]
    columns = (table.Column * 4)(*(table.Column(array.ctypes.data, 1, 1) for array in arrays))
    assert raw.api["batch_run"](batch, 1, columns, 4, codes) == 0
    assert list(codes) == [CODE.FORBID]
    assert raw.decide(desk, text, who) == CODE.ALLOW
    raw.begin()
    assert raw.decide(desk, raw.text("open")[1], raw.entity(desk.ann)[1]) == CODE.FORBID
    assert raw.api["batch_end"](batch) == 0
    assert raw.api["gate_free"](other) == 0
