"""Swaps: which changes are kept, which gates become stale, and that a swap is one step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest

import ztfast
from tests.racing import Repeat, beside

SCHEMA = """
entity Group; entity Venue;
entity User in [Group] { limit: Long, note?: String, venue?: Venue, fee?: decimal, at?: datetime };
entity Doc;
action read appliesTo { principal: User, resource: Doc, context: { n: Long } };
action write appliesTo { principal: User, resource: Doc, context: { n: Long, note?: String } };
"""
POLICIES = """
@id("members") permit (principal in Group::"g", action, resource) when { context.n <= principal.limit };
"""
ANN, BOB, DOC = 'User::"ann"', 'User::"bob"', 'Doc::"d"'
Uid = ztfast.Uid


def user(name: str, limit: int = 10, group: str = "g", **attrs: Any) -> dict[str, Any]:
    return {
        "uid": {"type": "User", "id": name},
        "attrs": {"limit": limit, **attrs},
        "parents": [{"type": "Group", "id": group}],
    }


def compiled(schema: str = SCHEMA, policies: str = POLICIES, entities: tuple[Any, ...] = ()) -> ztfast.Bundle:
    entities = entities or (user("ann"),)
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema), entities=list(entities))


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(compiled(), sessions=64, handles=4096)


def allowed(engine: ztfast.Engine, who: str, n: int = 1) -> bool:
    return bool(engine.evaluate(who, "read", DOC, {"n": n}))


def test_a_plain_swap_forgets_and_says_so(engine: ztfast.Engine, caplog: pytest.LogCaptureFixture) -> None:
    assert engine.swap(compiled()) == ztfast.Swap()
    assert not caplog.records
    engine.upsert([user("bob")])
    engine.remove([ANN])
    with caplog.at_level(logging.WARNING, "ztfast"):
        done = engine.swap(compiled())
    assert done == ztfast.Swap(forgotten=(Uid("User", "ann"), Uid("User", "bob")))
    assert [record.name for record in caplog.records] == ["ztfast"]
    assert BOB in caplog.text
    assert "keep_changes" in caplog.text
    assert (allowed(engine, ANN), allowed(engine, BOB)) == (True, False)
    # Once forgotten, always.
    assert engine.swap(compiled(), keep_changes=True) == ztfast.Swap()


def test_whoever_says_that_it_may_forget_is_not_warned(engine: ztfast.Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.upsert([user("bob")])
    assert engine.swap(compiled(), keep_changes=False).forgotten == (Uid("User", "bob"),)
    assert not caplog.records


def test_changes_are_kept_as_they_were_last(engine: ztfast.Engine) -> None:
    session = engine.admit(ztfast.Identity(BOB, not_after=math.inf))
    gate, doc = engine.prepare("read", "n"), engine.resource(DOC)
    engine.upsert([user("bob", 1), user("eve", 5)])
    engine.upsert([user("bob", 7, note="x" * 100, venue={"__entity": {"type": "Venue", "id": "v"}}, fee="1.5000")])
    engine.remove([ANN, 'User::"eve"'])
    for bundle in (
        compiled(),
        compiled(policies=POLICIES + "// another"),
        compiled(entities=(user("eve"), user("bob", 0))),
    ):
        done = engine.swap(bundle, keep_changes=True)
        assert done.kept == (Uid("User", "ann"), Uid("User", "bob"), Uid("User", "eve"))
        assert not done.forgotten
        assert [allowed(engine, who) for who in (ANN, BOB, 'User::"eve"')] == [False, True, False]
        assert (allowed(engine, BOB, 7), allowed(engine, BOB, 8)) == (True, False)
        assert gate.allows(session, doc, 7)
        assert not gate.allows(session, doc, 8)
        assert gate.decide_many(session, doc, [7, 8]).tolist() == [ztfast.Code.ALLOW, ztfast.Code.DEFAULT]
    # And change on from there.
    engine.upsert([user("ann", 3)])
    engine.swap(compiled(), keep_changes=True)
    assert (allowed(engine, ANN, 3), allowed(engine, ANN, 4)) == (True, False)


def test_what_is_kept_is_what_a_bundle_with_it_says(engine: ztfast.Engine) -> None:
    people = [user(f"u{at}", at, "g" if at % 3 else "h") for at in range(200)]
    engine.upsert(people)
    engine.upsert([user(f"u{at}", 2 * at) for at in range(0, 200, 2)])
    engine.remove([f'User::"u{at}"' for at in range(0, 200, 5)])
    now = {at: people[at] for at in range(200)} | {at: user(f"u{at}", 2 * at) for at in range(0, 200, 2)}
    expected = ztfast.Engine(compiled(entities=(user("ann"), *(now[at] for at in now if at % 5))), handles=4096)
    engine.swap(compiled(), keep_changes=True)
    for at in range(200):
        for n in (at - 1, at, at + 1, 2 * at, 2 * at + 1):
            asked = (f'User::"u{at}"', "read", DOC, {"n": n})
            assert engine.evaluate(*asked) == expected.evaluate(*asked), asked


def test_entities_come_with_a_swap(engine: ztfast.Engine) -> None:
    engine.upsert([user("bob", 5)])
    done = engine.swap(compiled(entities=(user("zoe"),)), upsert=[user("eve", 2)])
    assert done.forgotten == (Uid("User", "bob"),)
    assert [allowed(engine, f'User::"{who}"', 2) for who in ("ann", "bob", "eve", "zoe")] == [False, False, True, True]
    # They are changes like others.
    done = engine.swap(compiled(), keep_changes=True, upsert=[user("bob", 1)])
    assert done == ztfast.Swap(kept=(Uid("User", "eve"),))
    assert [allowed(engine, f'User::"{who}"', 2) for who in ("ann", "bob", "eve", "zoe")] == [True, False, True, False]
    done = engine.swap(compiled(), keep_changes=True, upsert=[user("eve", 9)])
    assert done.kept == (Uid("User", "bob"),)
    assert (allowed(engine, 'User::"eve"', 9), allowed(engine, BOB, 1)) == (True, True)


def test_entities_that_do_not_fit_refuse_the_swap(engine: ztfast.Engine) -> None:
    engine.upsert([user("bob", 5)])
    before = engine.bundle
    strict = SCHEMA.replace("limit: Long", "limit: Long, desk: String")
    with pytest.raises(ztfast.PolicyError, match="bob"):
        engine.swap(compiled(strict, entities=(user("ann", desk="d"),)), keep_changes=True)
    with pytest.raises(ztfast.PolicyError, match="eve"):
        engine.swap(compiled(strict, entities=(user("ann", desk="d"),)), upsert=[user("eve")])
    with pytest.raises(ztfast.PolicyError):
        engine.swap(compiled(), upsert=[{"uid": {"type": "Nobody", "id": "x"}, "attrs": {}, "parents": []}])
    assert engine.bundle is before
    assert allowed(engine, BOB, 5)
    # The changes are still there, and still kept.
    assert engine.swap(compiled(), keep_changes=True).kept == (Uid("User", "bob"),)
    assert allowed(engine, BOB, 5)


def test_what_was_taken_out_of_a_type_that_is_no_more_is_no_hindrance(engine: ztfast.Engine) -> None:
    engine.remove(['Venue::"v"'])
    without = SCHEMA.replace("entity Venue;", "").replace("venue?: Venue, ", "")
    assert engine.swap(compiled(without), keep_changes=True).kept == (Uid("Venue", "v"),)


def test_a_refused_change_is_not_kept(engine: ztfast.Engine) -> None:
    with pytest.raises(ztfast.PolicyError):
        engine.upsert([{"uid": {"type": "User", "id": "bob"}, "attrs": {}, "parents": []}])
    with pytest.raises(ztfast.EntityError):
        engine.remove([ANN, ANN])
    assert engine.swap(compiled(), keep_changes=True) == ztfast.Swap()


def test_uids_in_cedars_other_forms_are_kept(engine: ztfast.Engine) -> None:
    engine.upsert([user("bob") | {"uid": {"__entity": {"type": "User", "id": "bob"}}}])
    assert engine.swap(compiled(), keep_changes=True).kept == (Uid("User", "bob"),)
    assert allowed(engine, BOB)


def test_no_decision_goes_by_the_new_bundle_without_what_is_kept(engine: ztfast.Engine) -> None:
    session = engine.admit(ztfast.Identity(BOB, not_after=math.inf))
    doc = engine.resource(DOC)
    engine.upsert([user("bob", 5)])

    def decider() -> Callable[[], None]:
        gate = engine.prepare("read", "n")

        def decide() -> None:
            assert gate.allows(session, doc, 5)
            assert engine.evaluate(BOB, "read", DOC, {"n": 5})
            assert engine.evaluate_many(BOB, "read", DOC, {"n": [5]}).tolist() == [ztfast.Code.ALLOW]

        return decide

    bundles = [compiled(), compiled(policies=POLICIES + "// other")]
    swaps = 0
    with beside(decider(), decider()) as turns:
        repeat = Repeat("swaps, and decisions beside them", at_least=2)
        while repeat.until(swaps > 10 and min(turns) > 30):
            turn = repeat.turn
            engine.swap(bundles[turn % 2], keep_changes=True)
            swaps += 1


OTHER = {
    "another action": (SCHEMA.replace("action read", "action look"), "no action"),
    "another type": (SCHEMA.replace("context: { n: Long }", "context: { n: decimal }"), "was Long"),
    "an attribute more": (SCHEMA.replace("context: { n: Long }", "context: { n: Long, m: Long }"), "requires"),
    "an attribute less": (SCHEMA.replace("context: { n: Long }", "context: { m?: Long }"), "no context attribute"),
}
EVERYBODY = '@id("all") permit (principal, action, resource);'


@pytest.mark.parametrize("name", OTHER)
def test_a_bundle_that_makes_gates_stale_is_refused(engine: ztfast.Engine, name: str) -> None:
    schema, why = OTHER[name]
    bundle, before = compiled(schema, EVERYBODY), engine.bundle
    assert engine.stale_gates(bundle) == ()
    gates = [engine.prepare("read", "n") for _ in range(3)]
    other = engine.prepare("write", "n")
    session, doc = engine.admit(ztfast.Identity(ANN, not_after=math.inf)), engine.resource(DOC)
    (stale,) = engine.stale_gates(bundle)
    assert (stale.action, stale.names, stale.count, stale.already) == ('Action::"read"', ("n",), 3, False)
    assert why in stale.why
    with pytest.raises(ztfast.StaleGateError, match='3 of Action::"read"') as refused:
        engine.swap(bundle)
    assert refused.value.gates == (stale,)
    assert engine.bundle is before
    assert gates[0].allows(session, doc, 1)

    engine.swap(bundle, allow_stale=True)
    assert gates[0].decide(session, doc, 1).code == "STALE_GATE"
    assert other.allows(session, doc, 1)
    # They are stale already: another such bundle makes nothing worse.
    assert [gate.already for gate in engine.stale_gates(bundle)] == [True]
    engine.swap(compiled(schema, EVERYBODY + "// again"))
    engine.swap(compiled())
    assert gates[0].allows(session, doc, 1)
    with pytest.raises(ztfast.StaleGateError):
        engine.swap(bundle)
    # Dropped gates do not prevent a swap.
    del gates, stale, refused
    assert engine.stale_gates(bundle) == ()
    engine.swap(bundle)


def test_the_refusal_pickles(engine: ztfast.Engine) -> None:
    import pickle

    gate = engine.prepare("read", "n")
    with pytest.raises(ztfast.StaleGateError) as refused:
        engine.swap(compiled(OTHER["another type"][0], EVERYBODY))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.gates) == (str(refused.value), refused.value.gates)
    assert gate.names == ("n",)


def test_a_gate_of_a_thread_is_of_what_was_prepared_whatever_numbers_are_reused(engine: ztfast.Engine) -> None:
    session, doc = engine.admit(ztfast.Identity(ANN, not_after=math.inf)), engine.resource(DOC)
    for _ in range(50):
        first = engine.prepare("read", "n")
        del first
        engine.prepare("write", "n")
    assert engine.prepare("read", "n").allows(session, doc, 1)


def test_an_engine_names_the_bundle_that_decides() -> None:
    first, second = compiled(), compiled(policies=EVERYBODY)
    engine = ztfast.Engine(first, handles=64)
    assert engine.bundle is first
    engine.swap(second)
    assert engine.bundle is second
    assert engine.explain(BOB, "read", DOC, {"n": 1}).reasons[0].policy.id == "all"


def test_an_entity_that_is_there_twice_has_to_be_the_same() -> None:
    engine = ztfast.Engine(ztfast.examples.tiny(), sessions=8, handles=64)
    eve = {"uid": {"type": "User", "id": "eve"}, "attrs": {}, "parents": []}
    guest = {**eve, "parents": [{"type": "Group", "id": "guests"}]}
    for change in (engine.upsert, lambda many: engine.swap(ztfast.examples.tiny(), upsert=many)):
        with pytest.raises(ztfast.PolicyError, match="duplicate entity"):
            change([eve, guest])
        assert not engine.evaluate('User::"eve"', "view", 'Photo::"p2"')
        change([guest, guest])
        assert engine.evaluate('User::"eve"', "view", 'Photo::"p2"')
        engine.remove(['User::"eve"'])
