"""Many decisions at once: by policy alone, over the whole store, and columns of every kind."""

from __future__ import annotations

import gc
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ztfast
from tests.conftest import entity
from ztfast import Code

ANN, BOB, D1, D2 = 'User::"ann"', 'User::"bob"', 'Doc::"d1"', 'Doc::"d2"'
EDIT = """
@id("mine") permit (principal, action == Action::"edit", resource) when { resource.owner == principal && context.size <= 10 };
@id("note") permit (principal, action == Action::"edit", resource) when { context has note && context.note == "open" };
@id("secret") forbid (principal, action == Action::"edit", resource)
when { resource.secret && context.place.room > 5 };
"""
VIEW = """
permit (principal is User, action == Action::"view", resource) when { resource.home == principal.home };
forbid (principal, action == Action::"view", resource) when { resource.secret } unless { principal is User };
"""


@pytest.fixture
def engine(build) -> ztfast.Engine:
    return ztfast.Engine(build(EDIT + VIEW))


def admit(engine: ztfast.Engine, who: str) -> ztfast.Session:
    return engine.admit(ztfast.Identity(who, not_after=math.inf))


# ---- evaluate_many -------------------------------------------------------------------------------------------------


def test_evaluate_many_is_evaluate_of_each_row(engine) -> None:
    chance = np.random.default_rng(5)
    rows = 500
    who = [str(chance.choice([ANN, BOB, 'User::"nobody"', 'Bot::"b"'])) for _ in range(rows)]
    what = [str(chance.choice([D1, D2, 'Doc::"none"', ANN])) for _ in range(rows)]
    size, room = chance.integers(-20, 20, rows), chance.integers(0, 10, rows)
    note = [str(chance.choice(["open", "shut", "never heard"])) for _ in range(rows)]
    columns = {"size": size, "place.room": room, "note": note}
    codes = engine.evaluate_many(who, "edit", what, columns)
    assert codes.dtype == np.uint8
    rows_of = zip(who, what, size, room, note, strict=True)
    expected = [
        engine.evaluate(p, "edit", r, {"size": s, "note": n, "place": {"room": t}}).number for p, r, s, t, n in rows_of
    ]
    assert codes.tolist() == expected
    assert {Code.ALLOW, Code.FORBID, Code.DEFAULT, Code.NOT_APPLICABLE} <= set(expected)


def test_evaluate_many_takes_one_for_all_rows_and_arrays_of_handles(engine) -> None:
    handles = np.array([engine.resource(one).handle for one in (D1, D2, D1)], np.uint64)
    assert engine.evaluate_many(ANN, "view", handles).tolist() == [Code.ALLOW, Code.DEFAULT, Code.ALLOW]
    assert engine.evaluate_many(engine.resource(BOB), "view", D2).tolist() == [Code.ALLOW]
    assert engine.evaluate_many([ANN, engine.resource(BOB)], "view", ztfast.Uid("Doc", "d2")).tolist() == [
        Code.DEFAULT,
        Code.ALLOW,
    ]
    assert engine.evaluate_many([], "view", D1).tolist() == []


def test_evaluate_many_looks_at_no_session_and_no_kill_switch(engine) -> None:
    engine.kill_switch(True)
    assert engine.evaluate_many([ANN], "view", D1).tolist() == [Code.ALLOW]


def test_evaluate_many_refuses_what_is_no_request(engine) -> None:
    with pytest.raises(ztfast.ContextError, match=r"size.*place\.room|place\.room.*size"):
        engine.evaluate_many(ANN, "edit", D1)
    with pytest.raises(ztfast.ContextError, match='attribute "colour"; it has'):
        engine.evaluate_many(ANN, "edit", D1, {"size": 1, "place.room": 1, "colour": 1})
    with pytest.raises(ztfast.ContextError, match="different lengths: principals 2, size 3"):
        engine.evaluate_many([ANN, BOB], "edit", D1, {"size": [1, 2, 3], "place.room": 1})
    with pytest.raises(ztfast.UidError):
        engine.evaluate_many(["ann"], "view", D1)
    with pytest.raises(ztfast.ActionError):
        engine.evaluate_many(ANN, "no such", D1)
    with pytest.raises(ztfast.ContextError, match="principals: wanted a one-dimensional array of uint64; got int64"):
        engine.evaluate_many(np.array([1, 2]), "view", D1)


# ---- entitlements --------------------------------------------------------------------------------------------------


def test_entitlements_are_decisions_on_every_resource_of_the_store(engine) -> None:
    seen: set[bool] = set()
    for who in (ANN, BOB, 'User::"nobody"', 'Bot::"b"'):
        session = admit(engine, who)
        allowed = engine.entitlements(session, "view")
        assert allowed.dtype == np.bool_
        expected = [bool(engine.decide(session, "view", uid)) for uid in engine.resources("view")]
        assert allowed.tolist() == expected
        named = [uid for uid, may in zip(engine.resources("view"), expected, strict=True) if may]
        assert engine.entitled(session, "view") == named
        seen.update(expected)
    assert seen == {True, False}
    assert engine.resources("view") == [ztfast.Uid("Doc", "d1"), ztfast.Uid("Doc", "d2")]


def test_entitlements_go_by_the_context(engine) -> None:
    session, seen = admit(engine, ANN), set()
    for size, room, note in ((1, 1, "shut"), (11, 1, "open"), (1, 9, "open"), (11, 9, "shut")):
        context = {"size": size, "place": {"room": room}, "note": note, "tags": {"a", "b"}}
        expected = [bool(engine.decide(session, "edit", uid, context)) for uid in engine.resources("edit")]
        assert engine.entitlements(session, "edit", context).tolist() == expected
        seen.add(tuple(expected))
    assert len(seen) >= 3
    with pytest.raises(ztfast.ContextError, match="size"):
        engine.entitlements(session, "edit")
    with pytest.raises(ztfast.ActionError):
        engine.entitlements(session, "no such")


def test_entitlements_of_a_session_that_is_not_good_are_none(engine) -> None:
    session = admit(engine, ANN)
    assert engine.entitlements(session, "view").any()
    engine.kill_switch(True)
    assert not engine.entitlements(session, "view").any()
    engine.kill_switch(False)
    session.revoke()
    assert engine.entitlements(session, "view").tolist() == [False, False]


def test_entitlements_follow_changes_of_the_store(engine) -> None:
    session = admit(engine, ANN)
    fresh = entity(
        "Doc", "d3", {"owner": {"__entity": {"type": "User", "id": "ann"}}, "secret": False, "readers": [], "home": "x"}
    )
    engine.upsert([fresh])
    assert [uid.id for uid in engine.resources("view")] == ["d1", "d2", "d3"]
    assert engine.entitlements(session, "view").tolist() == [True, False, True]
    engine.remove([D1])
    assert [uid.id for uid in engine.resources("view")] == ["d2", "d3"]
    assert engine.entitlements(session, "view").tolist() == [False, True]
    engine.upsert([entity("User", "ann", {"level": 3, "home": "y"})])
    assert engine.entitlements(session, "view").tolist() == [True, False]


# ---- categorical columns -------------------------------------------------------------------------------------------


def test_categoricals_are_their_texts(engine) -> None:
    gate, session, d2 = engine.prepare("edit", "size", "place.room", "note"), admit(engine, ANN), engine.resource(D2)
    categories = ["shut", "open", "never heard"]
    for dtype in (np.int8, np.uint16, np.int64):
        codes = np.array([0, 1, 2, 1, 0], dtype)
        texts = [categories[code] for code in codes]
        for given in (
            ztfast.Categorical(codes, categories),
            SimpleNamespace(codes=codes, categories=np.array(categories, object)),
        ):
            found = gate.decide_many(session, d2, 1, 1, given)
            assert found.tolist() == gate.decide_many(session, d2, 1, 1, texts).tolist()
            assert found.tolist() == [0, 1, 0, 1, 0]
    assert gate.decide_many(session, d2, 1, 1, ztfast.Categorical(np.array([], np.int8), [])).tolist() == []


@pytest.mark.parametrize(
    ("codes", "categories", "says"),
    [
        (np.array([0, 2], np.int8), ["a", "b"], "code 2 in row 1 is not an index into the 2 categories"),
        (np.array([0, -1], np.int8), ["a", "b"], "code -1 in row 1.*value is missing"),
        (np.array([0.0, 1.0]), ["a", "b"], "wanted a one-dimensional array of integer codes; got float64"),
        (np.array([[0]]), ["a"], r"integer codes; got int64 \(1, 1\)"),
        (np.array([0]), [1], "wanted str categories; got int as category 0"),
    ],
)
def test_categoricals_that_are_none_raise(engine, codes, categories, says: str) -> None:
    gate = engine.prepare("edit", "size", "place.room", "note")
    with pytest.raises(ztfast.ContextError, match=says):
        gate.decide_many(admit(engine, ANN), engine.resource(D2), 1, 1, ztfast.Categorical(codes, categories))


def test_columns_that_fit_are_not_copied(engine) -> None:
    # A column that the core reads where it lies shows a change made by another thread; here the array itself is asked.
    from ztfast.columns import Kind, handles, numbers

    size = np.arange(8, dtype=np.int64)
    assert np.shares_memory(numbers("size", Kind.LONG, size, ztfast.EntityHandle, int).array, size)
    ids = np.arange(8, dtype=np.uint64)
    assert np.shares_memory(handles("sessions", ids, ztfast.Session, "id", np.uint64).array, ids)
    assert not np.shares_memory(numbers("size", Kind.LONG, size[::2], ztfast.EntityHandle, int).array, size)


def test_arrays_that_do_not_lie_together_are_read_as_they_are(engine) -> None:
    gate, session = engine.prepare("edit", "size", "place.room"), admit(engine, ANN)
    docs = [engine.resource(uid) for uid in (D1, D2, D2, D1, D1, D2)]
    handles = np.array([doc.handle for doc in docs], np.uint64)
    sizes, rooms = np.array([1, 90, 2, 90, 30, 90], np.int64), np.array([[1, 9], [9, 1], [1, 1]], np.int64)
    for step in (2, -2):
        codes = gate.decide_many(session, handles[::step], sizes[::step], rooms[:: step // 2, 0])
        rows = zip(docs[::step], sizes[::step].tolist(), rooms[:: step // 2, 0].tolist(), strict=True)
        assert codes.tolist() == [gate.decide(session, doc, size, room).number for doc, size, room in rows]
        assert len(set(codes.tolist())) > 1


# ---- texts of gates ------------------------------------------------------------------------------------------------


def test_texts_known_by_identity_are_looked_up_anew_after_a_swap(build) -> None:
    rule = (
        'permit (principal, action == Action::"look", resource) when {{ context has a && [{}].contains(context.a) }};'
    )
    # So many of each that the numbers of some are those of others in the other bundle.
    known = [[f"{letter}{number}" for number in range(20)] for letter in "xy"]
    bundles = [build(rule.format(", ".join(f'"{text}"' for text in texts))) for texts in known]
    engine = ztfast.Engine(bundles[0])
    gate, session, ann = engine.prepare("look", "a"), admit(engine, ANN), engine.resource(ANN)
    given = [*known[0], *known[1], "neither"]
    for _ in range(3):
        for bundle, allowed in zip(bundles, known, strict=True):
            engine.swap(bundle)
            for _ in range(2):
                assert [text for text in given if gate.allows(session, ann, text)] == allowed


def test_a_gate_keeps_no_text_of_an_older_bundle(build) -> None:
    rule = 'permit (principal, action == Action::"look", resource) when {{ context has a && context.a == "{}" }};'
    engine = ztfast.Engine(build(rule.format("x0")))
    gate, session, ann = engine.prepare("look", "a"), admit(engine, ANN), engine.resource(ANN)
    texts = ["".join(["x", str(number)]) for number in range(2)]
    before = [sys.getrefcount(text) for text in texts]
    assert [gate.allows(session, ann, text) for text in texts] == [True, False]
    assert [sys.getrefcount(text) for text in texts] == [count + 1 for count in before]
    engine.swap(build(rule.format("y0")))
    assert gate.allows(session, ann, "y0")
    assert [sys.getrefcount(text) for text in texts] == before


def test_more_texts_than_a_gate_remembers_and_equal_ones_elsewhere_in_memory(build) -> None:
    names = [f"venue{number}" for number in range(300)]
    listed = ", ".join(f'"{name}"' for name in names[::2])
    engine = ztfast.Engine(
        build(
            f'permit (principal, action == Action::"look", resource) when {{ context has a && [{listed}].contains(context.a) }};'
        )
    )
    gate, session, ann = engine.prepare("look", "a"), admit(engine, ANN), engine.resource(ANN)
    for _ in range(2):
        for number, name in enumerate(names):
            assert gate.allows(session, ann, name) == (number % 2 == 0)
            assert gate.allows(session, ann, str(bytes(name, "ascii"), "ascii")) == (number % 2 == 0)


def test_a_text_that_is_no_unicode_is_denied(build) -> None:
    engine = ztfast.Engine(
        build('permit (principal, action == Action::"look", resource) when { context has a && context.a == "x" };')
    )
    gate, session, ann = engine.prepare("look", "a"), admit(engine, ANN), engine.resource(ANN)
    assert not gate.allows(session, ann, "\ud800")
    assert gate.decide(session, ann, "\ud800").code == "BAD_VALUE"
    assert gate.allows(session, ann, "x")


def test_whole_numbers_of_every_size(build) -> None:
    edges = sorted(
        {
            sign * (2**power) + step
            for sign in (-1, 1)
            for power in (0, 15, 29, 30, 31, 59, 60, 61, 62, 63)
            for step in (-1, 0, 1)
        }
    )
    edges = [edge for edge in edges if -(2**63) <= edge < 2**63]
    for limit in (0, 2**30, 2**60, 2**62 + 1, -(2**30) - 1, -(2**62), 2**63 - 1):
        rule = f'permit (principal, action == Action::"edit", resource) when {{ context.size <= {limit} }};'
        engine = ztfast.Engine(build(rule))
        gate, session, d1 = engine.prepare("edit", "size", "place.room"), admit(engine, ANN), engine.resource(D1)
        assert [edge for edge in edges if gate.allows(session, d1, edge, 1)] == [
            edge for edge in edges if edge <= limit
        ]
    for beyond in (2**63, -(2**63) - 1, 2**200):
        assert not gate.allows(session, d1, beyond, 1)
        assert gate.decide(session, d1, beyond, 1).code == "BAD_VALUE"


def test_a_call_in_the_middle_of_a_call_is_a_call_of_its_own(build) -> None:
    """An int whose ``__index__`` decides by the same gate: the texts of the outer call must keep their meaning."""
    engine = ztfast.Engine(
        build(
            'permit (principal, action == Action::"edit", resource) when { context has note && context has extra && context.note == context.extra.code };'
        )
    )
    gate, session, d1 = (
        engine.prepare("edit", "note", "size", "place.room", "extra.code"),
        admit(engine, ANN),
        engine.resource(D1),
    )
    inner = []

    class Number:
        def __index__(self) -> int:
            inner.append(gate.allows(session, d1, "new one", 1, 1, "new one"))
            inner.append(gate.allows(session, d1, "new one", 1, 1, "new two"))
            return 1

    assert gate.allows(session, d1, "outer", Number(), 1, "outer")
    assert not gate.allows(session, d1, "outer", Number(), 1, "new one")
    assert inner == [True, False] * 2


# ---- what must not be decided --------------------------------------------------------------------------------------


def test_masked_values_of_what_is_required_raise(engine) -> None:
    gate = engine.prepare("edit", "size", "place.room")
    masked = np.ma.MaskedArray([1, 2], [False, True])
    with pytest.raises(ztfast.ContextError, match="size, which cannot be absent"):
        gate.decide_many(admit(engine, ANN), engine.resource(D1), masked, 1)
    with pytest.raises(ztfast.ContextError, match="resources: wanted an array without masked values"):
        gate.decide_many(admit(engine, ANN), masked.astype(np.uint64), 1, 1)


def test_a_gate_of_slow_values_is_stale_where_a_bundle_has_others(build) -> None:
    allow = "permit (principal, action, resource);"
    engine = ztfast.Engine(build(allow))
    gate, session, d1 = engine.prepare("edit", "size", "place.room", "price"), admit(engine, ANN), engine.resource(D1)
    assert gate.allows(session, d1, 1, 1, "1.5")
    from tests.conftest import SCHEMA

    other = ztfast.Text(SCHEMA.replace("price?: decimal", "price?: String"), "other.cedarschema")
    for _ in range(2):
        engine.swap(build(allow, schema=other), allow_stale=True)
        assert not gate.allows(session, d1, 1, 1, "1.5")
        assert gate.decide(session, d1, 1, 1, "1.5") == ztfast.Decision(Code.STALE_GATE)
        engine.swap(build(allow))
        assert gate.allows(session, d1, 1, 1, "1.5")
    with pytest.raises(ztfast.ContextError):
        gate.allows(session, d1, 1, 1, object())


def test_a_gate_is_prepared_once_and_does_nothing_before(engine) -> None:
    gate = engine.prepare("view")
    raw = type(gate).__new__(type(gate))
    for call in (raw.allows, raw.decide):
        with pytest.raises(ztfast.OwnerError, match=r"engine\.prepare"):
            call()
    with pytest.raises(ztfast.OwnerError, match=r"engine\.prepare"):
        gate.__init__(engine, engine._core.prepare("view", []))
    assert gate.allows(admit(engine, ANN), engine.resource(D1))


def test_gates_that_are_gone_leave_nothing(engine) -> None:
    def kib_after_more() -> int:
        for _ in range(3_000):
            engine.evaluate_many(ANN, "view", D1)
        gc.collect()
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    gates = engine.memory.gates
    kib_after_more()
    before = kib_after_more()
    assert kib_after_more() - before < 512
    assert engine.memory.gates <= gates + 64 * 1024


def test_no_row_is_decided_if_a_required_attribute_is_absent_and_strict_rows_raise_beside_absent_ones() -> None:
    schema = """
    entity Size enum ["s", "l"];
    entity User, Doc;
    action v appliesTo { principal: User, resource: Doc, context: { q: Long, size: Size, note?: Long } };
    """
    text = ztfast.Text("permit (principal, action, resource);")
    bundle = ztfast.compile(text, schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    for strict in (False, True):
        engine = ztfast.Engine(bundle, strict=strict)
        session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
        doc, gate = engine.resource('Doc::"d"'), engine.prepare("v", "q", "size", "note")
        known, unknown = engine.resource('Size::"s"'), engine.resource('Size::"x"')
        absent = ztfast.ABSENT
        with pytest.raises(ztfast.ContextError, match="requires"):
            gate.decide_many(session, [doc] * 2, [1, absent], [known] * 2, [1, 1])
        rows = (session, [doc] * 3, [1, 1, 1], [known, unknown, known], [1, 1, absent])
        if strict:
            with pytest.raises(ztfast.ContextError, match="row 1"):
                gate.decide_many(*rows)
        else:
            assert gate.decide_many(*rows).tolist() == [ztfast.Code.ALLOW, ztfast.Code.BAD_VALUE, ztfast.Code.ALLOW]
