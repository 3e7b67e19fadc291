"""Sets of entities that a gate remembers: frozensets and tuples of handles that are passed again, by their identity."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import ztfast

SCHEMA = """
entity User { level: Long };
entity Doc;
action deploy appliesTo { principal: User, resource: Doc, context: { reviewers: Set<User>, notes: Set<String> } };
"""
REVIEWED = """
permit (principal, action, resource) when { !context.reviewers.contains(principal) };
forbid (principal, action, resource) when { context.reviewers.isEmpty() };
forbid (principal, action, resource) when { context.reviewers.contains(User::"barred") };
"""
NAMES = ("ann", "bob", "eve", "barred")
ENTITIES: list[dict[str, Any]] = [
    {"uid": {"type": "User", "id": name}, "attrs": {"level": 1}, "parents": []} for name in NAMES
]


def compiled(policies: str = REVIEWED) -> ztfast.Bundle:
    schema = ztfast.Text(SCHEMA, "s.cedarschema")
    return ztfast.compile(ztfast.Text(policies), schema=schema, entities=ENTITIES, warnings="ignore")


class Desk:
    """An engine, and a gate that is asked twice in each of its ways."""

    def __init__(self) -> None:
        self.engine, self.is_deciding = ztfast.Engine(compiled()), False
        self.sessions = {
            name: self.engine.admit(ztfast.Identity(f'User::"{name}"', not_after=float("inf"))) for name in NAMES
        }
        self.handles = {name: self.engine.resource(f'User::"{name}"') for name in NAMES}
        self.doc, self.gate = self.engine.resource('Doc::"d"'), self.engine.prepare("deploy", "reviewers", "notes")

    def allows(self, reviewers: object, name: str = "ann", notes: object = ("note",)) -> bool:
        given = (self.sessions[name], self.doc, reviewers, notes)
        self.is_deciding = True
        found = {self.gate.allows(*given), self.gate.allows(*given), bool(self.gate.decide(*given))}
        self.is_deciding = False
        assert len(found) == 1, found
        return found.pop()

    def of(self, names: Iterable[str], kind: Callable[..., Any] = tuple) -> Any:
        return kind([self.handles[name] for name in names])


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("kind", [frozenset, tuple, set, list])
def test_a_set_that_is_passed_again_decides_as_before_for_each_principal(desk: Desk, kind: type) -> None:
    sets = {names: desk.of(names, kind) for names in ((), ("bob",), ("bob", "eve"), ("barred", "eve"), NAMES[:3])}
    for _ in range(4):
        for names, reviewers in sets.items():
            for name in NAMES:
                wanted = bool(names) and name not in names and "barred" not in names
                assert desk.allows(reviewers, name) == wanted, (names, name)


@pytest.mark.parametrize("kind", [set, list])
def test_a_set_that_can_change_is_read_anew(desk: Desk, kind: type) -> None:
    reviewers = desk.of(["bob"], kind)
    for _ in range(3):
        assert desk.allows(reviewers)
        (reviewers.add if isinstance(reviewers, set) else reviewers.append)(desk.handles["ann"])
        assert not desk.allows(reviewers)
        reviewers.remove(desk.handles["ann"])


def test_many_sets_take_each_others_places(desk: Desk) -> None:
    sets = [desk.of(("eve", "ann" if number % 3 == 0 else "bob")) for number in range(50)]
    for _ in range(3):
        assert [desk.allows(reviewers) for reviewers in sets] == [number % 3 != 0 for number in range(50)]


def test_a_new_set_at_the_address_of_an_old_one_is_another(desk: Desk) -> None:
    seen = set()
    for number in range(200):
        reviewers = desk.of(["bob" if number % 2 else "ann"])
        seen.add(id(reviewers))
        assert desk.gate.allows(desk.sessions["ann"], desk.doc, reviewers, ("note",)) == bool(number % 2)
        del reviewers
    assert len(seen) < 200, "no address was used twice"


def test_a_change_of_entities_and_another_bundle_are_seen(desk: Desk) -> None:
    reviewers = desk.of(["bob"])
    assert desk.allows(reviewers)
    desk.engine.swap(compiled('permit (principal, action, resource) when { context.reviewers.contains(User::"eve") };'))
    assert not desk.allows(reviewers)
    assert desk.allows(desk.of(["eve"]))
    desk.engine.swap(compiled())
    assert desk.allows(reviewers)
    desk.engine.upsert([{"uid": {"type": "User", "id": "new"}, "attrs": {"level": 2}, "parents": []}])
    assert desk.allows(reviewers)
    assert not desk.allows(reviewers, "bob")


def test_a_set_with_a_handle_of_another_engine_is_denied(desk: Desk) -> None:
    other = Desk()
    mixed = (desk.handles["bob"], other.handles["eve"])
    for reviewers in (other.of(["bob"]), mixed, other.of(["bob"], frozenset)):
        for _ in range(4):
            assert not desk.gate.allows(desk.sessions["ann"], desk.doc, reviewers, ("note",))
            decision = desk.gate.decide(desk.sessions["ann"], desk.doc, reviewers, ("note",))
            assert decision.code == "UNKNOWN_HANDLE", decision
        assert desk.allows(desk.of(["bob"]))


def test_a_set_of_texts_is_no_set_of_entities(desk: Desk) -> None:
    entities, texts = desk.of(["bob"]), ("note", "other")
    assert desk.allows(entities, notes=texts)
    assert desk.allows(entities, notes=texts)
    for reviewers, notes in ((texts, texts), (entities, entities), (texts, entities)):
        for decide in (desk.gate.allows, desk.gate.decide):
            with pytest.raises(ztfast.ContextError):
                decide(desk.sessions["ann"], desk.doc, reviewers, notes)
    # The empty tuple is one object, and a set of either.
    assert not desk.allows((), notes=())
    assert desk.allows(entities, notes=())


@pytest.mark.parametrize("names", [["watched"], ["watched", "watched"], ["watched", "bob"]])
@pytest.mark.parametrize("kind", [tuple, frozenset])
def test_no_decision_frees_a_handle(desk: Desk, kind: type, names: list[str]) -> None:
    # The callback of a weak reference would run Python code during the decision, and might decide by this gate.
    desk.engine.upsert([{"uid": {"type": "User", "id": "watched"}, "attrs": {"level": 1}, "parents": []}])
    desk.handles["watched"] = desk.engine.resource('User::"watched"')
    called: list[bool] = []
    reference = weakref.ref(desk.handles["watched"], lambda _: called.append(desk.is_deciding))
    reviewers = desk.of(names, kind)
    assert desk.allows(reviewers)
    # Unless the gate remembers the set, this frees the handle.
    del reviewers, desk.handles["watched"]
    kept = [desk.of(["bob", "eve"]) for _ in range(100)]
    for others in kept:
        assert desk.allows(others)
    desk.engine.swap(compiled())
    assert desk.allows(kept[0])
    assert True not in called, "a decision freed the handle"
    del desk.gate
    gc.collect()
    assert reference() is None, "the gate is gone, and keeps nothing"


def test_sets_of_one_call_that_share_a_place_are_their_own() -> None:
    schema = """
    entity User, Doc;
    action see appliesTo { principal: User, resource: Doc, context: { a: Set<User>, b: Set<User> } };
    """
    policy = """
    permit (principal, action, resource)
    when { context.a.contains(User::"one") && context.b.contains(User::"two") };
    """
    bundle = ztfast.compile(ztfast.Text(policy), schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    engine = ztfast.Engine(bundle)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "a", "b")
    one, two = engine.resource('User::"one"'), engine.resource('User::"two"')
    others = [engine.resource(f'User::"{number}"') for number in range(20)]
    ones, twos = [(one, other) for other in others], [(two, other) for other in others]
    for a in ones:
        for b in twos:
            for decide in (gate.allows, gate.decide, gate.allows, gate.decide):
                assert decide(session, doc, a, b)
                assert not decide(session, doc, b, a)
                assert not decide(session, doc, a, a)
