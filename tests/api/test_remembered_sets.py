"""Sets that a gate remembers: frozensets and tuples of texts, by their identity."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

import ztfast

SCHEMA = """
entity User, Doc;
action see appliesTo { principal: User, resource: Doc, context: { fields: Set<String>, purpose: String } };
"""
READS = """
permit (principal, action, resource) when { context.fields.contains("name") && context.purpose != "curiosity" };
forbid (principal, action, resource) when { context.fields.containsAny(["tax-id", "salary"]) };
"""
Asked = Callable[..., bool]


def compiled(policies: str) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA, "s.cedarschema"), warnings="ignore")


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(compiled(READS))


@pytest.fixture
def asked(engine: ztfast.Engine) -> Asked:
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "fields", "purpose")

    def allows(fields: object, purpose: str = "service") -> bool:
        allowed = gate.allows(session, doc, fields, purpose)
        assert bool(gate.decide(session, doc, fields, purpose)) == allowed
        return allowed

    return allows


@pytest.mark.parametrize("kind", [frozenset, tuple, set, list])
def test_a_set_that_is_passed_again_decides_as_before(asked: Asked, kind: type) -> None:
    good, bad, none = kind(["name", "unknown"]), kind(["name", "salary"]), kind([])
    for _ in range(3):
        assert [asked(fields) for fields in (good, bad, none)] == [True, False, False]
        assert not asked(good, "curiosity")


@pytest.mark.parametrize("kind", [set, list])
def test_a_set_that_can_change_is_read_anew(asked: Asked, kind: type) -> None:
    fields = kind(["name"])
    assert asked(fields)
    add = fields.add if isinstance(fields, set) else fields.append
    add("tax-id")
    assert not asked(fields)
    fields.remove("tax-id")
    assert asked(fields)


def test_many_sets_take_each_others_places(asked: Asked) -> None:
    sets = [frozenset({"name", f"field {number}"} | ({"salary"} if number % 3 == 0 else set())) for number in range(50)]
    for _ in range(3):
        assert [asked(fields) for fields in sets] == [number % 3 != 0 for number in range(50)]


def test_a_new_set_at_the_address_of_an_old_one_is_another(asked: Asked) -> None:
    seen = set()
    for number in range(200):
        fields = frozenset({"name", f"field {number}"} if number % 2 else {"salary", f"field {number}"})
        seen.add(id(fields))
        assert asked(fields) == bool(number % 2)
        del fields
    assert len(seen) < 200, "no address was used twice"


def test_another_bundle_asks_for_other_elements(engine: ztfast.Engine, asked: Asked) -> None:
    # The first bundle lacks this text. A text that it has would have another's number in the second.
    fields = frozenset({"balance"})
    assert not asked(fields)
    engine.swap(compiled('permit (principal, action, resource) when { !context.fields.contains("balance") };'))
    assert not asked(fields)
    engine.swap(compiled('permit (principal, action, resource) when { context.fields.contains("balance") };'))
    assert asked(fields)


def test_a_weak_reference_to_a_remembered_set_calls_back_and_decides(engine: ztfast.Engine, asked: Asked) -> None:
    called, first = [], frozenset({"name", "first"})
    assert asked(first)

    def died(_: object) -> None:
        called.append(asked(frozenset({"name", f"called back {len(called)}"})))

    watched = weakref.ref(first, died)
    del first
    for number in range(200):
        assert asked(frozenset({"name", f"field {number}"}))
    engine.swap(compiled(READS))
    assert asked(frozenset({"name"}))
    # The gate keeps a set that is watched as long as it lives, rather than run Python code during a decision.
    assert watched() is not None
    assert not called


def test_a_gate_frees_the_sets_that_it_remembered(engine: ztfast.Engine) -> None:
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    gate = engine.prepare("see", "fields", "purpose")
    fields = frozenset({"name", "kept"})
    assert gate.allows(session, engine.resource('Doc::"d"'), fields, "service")
    watched = weakref.ref(fields)
    del fields
    assert watched() is not None
    del gate
    gc.collect()
    assert watched() is None


def test_elements_that_are_no_plain_texts_are_not_remembered(asked: Asked) -> None:
    class Shown(str):
        __slots__ = ()

    for _ in range(2):
        assert asked(frozenset({Shown("name")}))
        with pytest.raises(ztfast.ContextError):
            asked(frozenset({"name", 1}))


def test_a_set_of_texts_is_no_set_of_numbers() -> None:
    schema = """
    entity User, Doc;
    action see appliesTo { principal: User, resource: Doc, context: { texts: Set<String>, numbers: Set<Long> } };
    """
    policy = (
        'permit (principal, action, resource) when { !context.numbers.contains(7) && context.texts.contains("a") };'
    )
    bundle = ztfast.compile(ztfast.Text(policy), schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    engine = ztfast.Engine(bundle)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "texts", "numbers")
    texts = ("a", "Doc")
    assert gate.allows(session, doc, texts, (8,))
    for decide in (gate.allows, gate.decide):
        with pytest.raises(ztfast.ContextError, match="Long"):
            decide(session, doc, texts, texts)


def test_sets_of_one_call_that_share_a_place_are_their_own() -> None:
    schema = """
    entity User, Doc;
    action see appliesTo { principal: User, resource: Doc, context: { a: Set<String>, b: Set<String> } };
    """
    policy = 'permit (principal, action, resource) when { context.a.contains("one") && context.b.contains("two") };'
    bundle = ztfast.compile(ztfast.Text(policy), schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    engine = ztfast.Engine(bundle)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "a", "b")
    ones = [("one", str(number)) for number in range(20)]
    twos = [("two", str(number)) for number in range(20)]
    for one in ones:
        for two in twos:
            # The first is remembered, and the second may take its place within the call.
            for decide in (gate.allows, gate.decide, gate.allows, gate.decide):
                assert decide(session, doc, one, two)
                assert not decide(session, doc, two, one)
                assert not decide(session, doc, one, one)
