"""Decisions: by policy alone, for sessions, by gates, in columns."""

from __future__ import annotations

import copy
import datetime
import decimal
import ipaddress
import math
import pickle
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import ztfast
from tests.conftest import ENTITIES, cedar_over
from tests.racing import Repeat, beside
from ztfast import Code

ANN, BOB, D1, D2 = 'User::"ann"', 'User::"bob"', 'Doc::"d1"', 'Doc::"d2"'
ALL = "permit (principal, action, resource);"
BASE = {"size": 1, "place": {"room": 1}}


def same_as_cedar(bundle: ztfast.Bundle, *request) -> ztfast.Decision:
    """Return the engine's decision, after checking that it is Cedar's."""
    decision = ztfast.Engine(bundle).evaluate(*request)
    allow, reasons, _ = cedar_over(bundle, ENTITIES).authorize(*request)
    assert (bool(decision), decision.reasons) == (allow, tuple(reasons))
    return decision


# ---- values of every type ------------------------------------------------------------------------------------------

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ("context.size > 5", {"size": 6}, {"size": 5}),
        ("context.size > 5", {"size": np.int32(6)}, {"size": np.int64(5)}),
        ("context.size == 9223372036854775807", {"size": 2**63 - 1}, {"size": -(2**63)}),
        ("context.fast", {"fast": True}, {"fast": False}),
        ("context.fast", {"fast": np.bool_(True)}, {}),
        ('context.note == "a"', {"note": "a"}, {"note": "b"}),
        ('context.note like "x*z"', {"note": "x never seen z"}, {"note": "x"}),
        ('context.price.lessThan(decimal("1.5"))', {"price": decimal.Decimal("1.4999")}, {"price": "1.5"}),
        (
            'context.price == decimal("2.0")',
            {"price": decimal.Decimal(2)},
            {"price": {"__extn": {"fn": "decimal", "arg": "2.1"}}},
        ),
        (
            'context.at < datetime("2026-01-01")',
            {"at": datetime.datetime(2025, 12, 31, 23, tzinfo=UTC)},
            {"at": "2026-01-01"},
        ),
        (
            'context.at < datetime("2026-01-01")',
            {"at": np.datetime64("2025-12-31")},
            {"at": np.datetime64("2026-01-01")},
        ),
        ('context.within <= duration("1m")', {"within": datetime.timedelta(seconds=60)}, {"within": "60001ms"}),
        ('context.within <= duration("1m")', {"within": np.timedelta64(60, "s")}, {"within": np.timedelta64(61, "s")}),
        ('context.from.isInRange(ip("10.0.0.0/8"))', {"from": ipaddress.ip_address("10.1.2.3")}, {"from": "11.0.0.1"}),
        ('context.from.isInRange(ip("fd00::/8"))', {"from": ipaddress.ip_network("fd12::/64")}, {"from": "fe00::1"}),
        ('context.from == ip("::1")', {"from": "::1"}, {"from": "::2"}),
        ('context.who == User::"bob"', {"who": BOB}, {"who": ANN}),
        ("context.who.level == 3", {"who": ztfast.Uid("User", "ann")}, {"who": {"type": "User", "id": "bob"}}),
        (
            'context.who in Team::"t1"',
            {"who": {"__entity": {"type": "User", "id": "ann"}}},
            {"who": 'User::"stranger"'},
        ),
        ('context.only == Only::"one"', {"only": 'Only::"one"'}, {"only": 'Only::"two"'}),
        ('context.tags.contains("a")', {"tags": {"a", "b"}}, {"tags": []}),
        ('context.tags.containsAll(["a", "new"])', {"tags": ("new", "a", "a")}, {"tags": frozenset("a")}),
        ('context.people.containsAny([User::"bob", principal])', {"people": [ANN]}, {"people": ['User::"new"']}),
        ("context.place.room == 2", {"place": {"room": 2}}, {"place": {"room": 3, "floor": 2}}),
        (
            "context.place has floor && context.place.floor > 1",
            {"place": {"room": 1, "floor": 2}},
            {"place": {"room": 9}},
        ),
        ("context.place == {room: 4}", {"place": {"room": 4}}, {"place": {"room": 4, "floor": 1}}),
        ("context has extra.inner.deep", {"extra": {"code": "", "inner": {"deep": 1}}}, {"extra": {"code": ""}}),
        ("context.extra.inner.deep == 1", {"extra": {"code": "", "inner": {"deep": 1}}}, {}),
        ('context.extra == {code: "k"}', {"extra": {"code": "k"}}, {"extra": {"code": "k", "inner": {"deep": 1}}}),
    ],
)
def test_a_condition_reads_the_context_as_cedar_does(build, condition: str, yes: dict, no: dict) -> None:
    bundle = build(
        f'permit (principal, action == Action::"edit", resource) when {{ {condition} }};', validate="permissive"
    )
    assert same_as_cedar(bundle, ANN, "edit", D1, {**BASE, **yes}).effect == "ALLOW"
    assert same_as_cedar(bundle, ANN, "edit", D1, {**BASE, **no}).effect == "DENY"
    assert bundle.stats.fallbacks == 0


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"place": {"room": 1}}, ["size", "required"]),
        ({**BASE, "size": True}, ["size", "Long", "bool"]),
        ({**BASE, "size": 1.0}, ["size", "Long", "float"]),
        ({**BASE, "size": "1"}, ["size", "Long", "str"]),
        ({**BASE, "fast": 1}, ["fast", "Bool", "int"]),
        ({**BASE, "note": 3}, ["note", "String", "int"]),
        ({**BASE, "note": None}, ["note", "String", "NoneType"]),
        ({**BASE, "price": 1.5}, ["price", "decimal", "float"]),
        ({**BASE, "at": datetime.datetime(2026, 1, 1)}, ["at", "aware"]),
        ({**BASE, "who": D1}, ["who", "User"]),
        ({**BASE, "who": "ann"}, ["who", "User"]),
        ({**BASE, "tags": "ab"}, ["tags", "set", "str"]),
        ({**BASE, "tags": [1]}, ["tags[]", "String", "int"]),
        ({**BASE, "place": 4}, ["place", "record", "int"]),
        ({"size": 1, "place": {}}, ["place.room", "required"]),
        ({"size": 1, "place": {"room": 1, "roof": 2}}, ["place.", "roof", "floor"]),
        ({**BASE, "colour": 1}, ["colour", "size"]),
        ({**BASE, 7: 1}, ["7"]),
    ],
)
def test_a_wrong_context_raises_and_says_what_was_wanted_and_given(build, context: dict, says: list[str]) -> None:
    engine = ztfast.Engine(build(ALL))
    with pytest.raises(ztfast.ContextError) as caught:
        engine.evaluate(ANN, "edit", D1, context)
    assert "edit" in str(caught.value)
    for word in says:
        assert word in str(caught.value)


# ---- who, what, about what ----------------------------------------------------------------------------------------


def test_actions_are_found_by_id_or_uid_and_unknown_ones_raise(build) -> None:
    engine = ztfast.Engine(build(ALL))
    assert engine.evaluate(ANN, 'Action::"view"', D1)
    with pytest.raises(ztfast.ActionError, match=r'"nope".*Action::"view"'):
        engine.evaluate(ANN, "nope", D1)
    with pytest.raises(ztfast.ActionError, match="group"):
        engine.evaluate(ANN, "group", D1)


def test_an_ambiguous_action_must_be_spelled_out() -> None:
    schema = "namespace A { entity U; action go appliesTo { principal: U, resource: U }; }"
    schema += "namespace B { entity U; action go appliesTo { principal: U, resource: U }; }"
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(ALL), schema=ztfast.Text(schema)))
    with pytest.raises(ztfast.ActionError, match=r'ambiguous.*A::Action::"go".*B::Action::"go"'):
        engine.evaluate('A::U::"1"', "go", 'A::U::"2"')
    assert engine.evaluate('A::U::"1"', 'A::Action::"go"', 'A::U::"2"')


@pytest.mark.parametrize("uid", ["ann", "User::ann", 'User::"an"n"', "", 7, None, "User ann", '1User::"x"'])
def test_what_is_no_uid_raises(build, uid: object) -> None:
    with pytest.raises(ztfast.UidError, match="wanted a uid"):
        ztfast.Engine(build(ALL)).evaluate(uid, "view", D1)


def test_what_contains_itself_is_no_uid(build) -> None:
    engine = ztfast.Engine(build(ALL))
    endless: dict[str, object] = {}
    endless["__entity"] = endless

    class Endless:
        @property
        def uid(self) -> object:
            return self

    for uid in (endless, Endless()):
        with pytest.raises(ztfast.UidError, match="wanted a uid"):
            engine.evaluate(uid, "view", D1)


def test_entities_the_action_is_not_for_are_denied(build) -> None:
    engine = ztfast.Engine(build(ALL))
    for principal, resource in (('Doc::"d1"', D1), ('Nothing::"x"', D1), (ANN, ANN), (ANN, 'Nothing::"x"')):
        decision = engine.evaluate(principal, "view", resource)
        assert (decision.effect, decision.code, decision.number) == ("DENY", "NOT_APPLICABLE", Code.NOT_APPLICABLE)


def test_unknown_entities_are_equal_to_themselves_only(build, admit) -> None:
    bundle = build(
        '@id("self") permit (principal, action == Action::"look", resource) when { principal == resource };'
        '@id("who") permit (principal, action == Action::"look", resource) when { context.who == principal };'
        '@id("res") permit (principal, action == Action::"look", resource) when { [resource].contains(context.who) };',
        validate="permissive",
    )
    new, other = 'User::"new"', 'User::"other"'
    assert same_as_cedar(bundle, new, "look", new, {}).reasons == ("self",)
    assert same_as_cedar(bundle, new, "look", other, {}).reasons == ()
    assert same_as_cedar(bundle, new, "look", other, {"who": new}).reasons == ("who",)
    assert same_as_cedar(bundle, new, "look", other, {"who": other}).reasons == ("res",)
    assert same_as_cedar(bundle, new, "look", new, {"who": new}).reasons == ("self", "who", "res")
    assert same_as_cedar(bundle, ANN, "look", ANN, {"who": ANN}).reasons == ("self", "who", "res")
    engine = ztfast.Engine(bundle)
    session = admit(engine, new)
    for resource in (new, engine.resource(new)):
        assert engine.decide(session, "look", resource, {"who": new}).reasons == ("self", "who", "res")
        assert engine.decide(session, "look", resource, {"who": other}).reasons == ("self",)
    # The same uid by its handle and by its text.
    assert engine.decide(session, "look", engine.resource(other), {"who": other}).reasons == ("res",)
    assert engine.decide(session, "look", engine.resource(other), {"who": engine.resource(other)}).reasons == ("res",)
    assert engine.evaluate(other, "look", engine.resource(other)).reasons == ("self",)
    gate = engine.prepare("look", "who")
    assert gate.decide(session, engine.resource(new), engine.resource(new)).reasons == ("self", "who", "res")
    assert gate.decide(session, engine.resource(other), engine.resource(other)).reasons == ("res",)


@pytest.mark.parametrize("count", [1, 2, 6, 7, 63, 64, 65, 130])
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_all_determining_policies_are_named_in_order(build, admit, count: int, effect: str) -> None:
    text = "".join(
        f'@id("p{number}") {effect} (principal, action == Action::"edit", resource) when {{ context.size > {number % 2} }};'
        for number in range(count)
    )
    bundle = build(ALL + text if effect == "forbid" else text)
    expected = tuple(f"p{number}" for number in range(count))
    engine = ztfast.Engine(bundle)
    session, d1 = admit(engine), engine.resource(D1)
    gate = engine.prepare("edit", "size", "place.room")
    assert same_as_cedar(bundle, ANN, "edit", D1, {**BASE, "size": 2}).reasons == expected
    assert gate.decide(session, d1, 2, 1).reasons == expected
    assert gate.decide(session, d1, 1, 1).reasons == expected[::2]
    assert engine.decide(session, "edit", D1, {**BASE, "size": 2}).reasons == expected


def test_errors_of_policies_are_explained_and_do_not_apply(build) -> None:
    bundle = build(
        f'{ALL}\n@id("errs")\nforbid (principal, action == Action::"edit", resource)\nwhen {{ context.size + 1 > 0 }};'
    )
    engine = ztfast.Engine(bundle)
    told = engine.explain(ANN, "edit", D1, {**BASE, "size": 2**63 - 1})
    assert told.decision.effect == "ALLOW"
    assert told.agrees
    assert told.errors[0].policy.id == "errs"
    assert "overflow" in (told.errors[0].error or "")
    assert told.errors[0].source.startswith('@id("errs")')
    assert engine.explain(ANN, "edit", D1, BASE).reasons[0].policy.line == 2


# ---- sessions -----------------------------------------------------------------------------------------------------


def codes(engine: ztfast.Engine, session: ztfast.Session) -> set[str]:
    """Return the codes of one request in every way of deciding."""
    gate, d1 = engine.prepare("view"), engine.resource(D1)
    found = {engine.decide(session, "view", D1).code, gate.decide(session, d1).code}
    found.add(Code(int(gate.decide_many(session, d1)[0])).name)
    assert gate.allows(session, d1) == (found == {"ALLOW"})
    return found


def test_a_session_is_denied_with_its_code(build, admit) -> None:
    engine = ztfast.Engine(build(ALL))
    now = time.time()
    assert codes(engine, admit(engine)) == {"ALLOW"}
    assert codes(engine, admit(engine, not_after=now - 1)) == {"EXPIRED"}
    assert codes(engine, admit(engine, not_before=now + 60)) == {"NOT_YET_VALID"}
    assert codes(engine, admit(engine, 'Team::"t1"')) == {"NOT_APPLICABLE"}
    session = admit(engine)
    assert session.quarantine()
    assert codes(engine, session) == {"QUARANTINED"}
    assert session.quarantine(False)
    assert codes(engine, session) == {"ALLOW"}
    assert session.revoke()
    assert not session.revoke()
    assert not session.quarantine(False)
    assert codes(engine, session) == {"REVOKED"}
    assert codes(ztfast.Engine(build(ALL)), session) == {"UNKNOWN_SESSION"}


def test_a_session_expires_by_itself(build, admit) -> None:
    engine = ztfast.Engine(build(ALL))
    first = ""
    repeat = Repeat("a session before its end")
    while repeat.until(first == "ALLOW"):
        turn = repeat.turn
        # Longer each time: a busy machine may take longer to ask than the session lasts.
        session = admit(engine, not_after=time.time() + 0.15 * (turn + 1))
        first = engine.decide(session, "view", D1).code
    repeat = Repeat("the end of a session")
    while repeat.until(engine.decide(session, "view", D1).code != "ALLOW"):
        time.sleep(0.01)
    assert codes(engine, session) == {"EXPIRED"}


def test_the_kill_switch_denies_everyone_until_it_is_off(build, admit) -> None:
    engine = ztfast.Engine(build(ALL))
    session = admit(engine)
    engine.kill_switch(True)
    assert engine.killed
    assert codes(engine, session) == {"KILLED"}
    assert engine.evaluate(ANN, "view", D1).effect == "ALLOW", "policy alone knows no switch"
    engine.kill_switch(False)
    assert codes(engine, session) == {"ALLOW"}


def test_a_full_table_raises_and_takes_back_what_is_over(build, admit) -> None:
    engine = ztfast.Engine(build(ALL), sessions=2)
    first, second = admit(engine), admit(engine)
    with pytest.raises(ztfast.CapacityError, match="2 session slots"):
        admit(engine)
    first.revoke()
    third = admit(engine)
    assert codes(engine, third) == codes(engine, second) == {"ALLOW"}
    assert codes(engine, first) == {"UNKNOWN_SESSION"}
    assert not first.revoke()


def test_handles_have_a_capacity(build, admit) -> None:
    engine = ztfast.Engine(build(ALL), handles=2)
    admit(engine)
    assert engine.resource(D1) is engine.resource(ztfast.Uid("Doc", "d1"))
    with pytest.raises(ztfast.CapacityError, match="handles"):
        engine.resource(D2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"not_after": math.nan}, "not_after"),
        ({"not_after": "soon"}, "not_after"),
        ({"not_after": 5, "not_before": 5}, "later"),
        ({"not_after": 5, "factors": "x509"}, "factors"),
        ({"not_after": 5, "auth_time": True}, "auth_time"),
    ],
)
def test_an_identity_that_makes_no_sense_raises(given: dict, says: str) -> None:
    with pytest.raises(ztfast.IdentityError, match=says):
        ztfast.Identity(ANN, **given)


# ---- gates --------------------------------------------------------------------------------------------------------

CONDITIONS = """
@id("size") permit (principal, action == Action::"edit", resource) when { context.size < 10 };
@id("fast") forbid (principal, action == Action::"edit", resource) when { context has fast && context.fast };
@id("note") forbid (principal, action == Action::"edit", resource) when { context has note && context.note like "no*" };
@id("who") forbid (principal, action == Action::"edit", resource) when { context has who && context.who.level < 2 };
@id("price") forbid (principal, action == Action::"edit", resource) when { context has price && context.price.greaterThan(decimal("9.99")) };
@id("at") forbid (principal, action == Action::"edit", resource) when { context has at && context.at >= datetime("2026-01-01") };
@id("floor") forbid (principal, action == Action::"edit", resource) when { context.place has floor && context.place.floor > 3 };
"""


def test_a_gate_decides_as_the_engine_does_for_every_type(build, admit) -> None:
    engine = ztfast.Engine(build(CONDITIONS))
    session, d1 = admit(engine), engine.resource(D1)
    people = [engine.resource(uid) for uid in (ANN, BOB, 'User::"new"')]
    gate = engine.prepare("edit", "note", "size", "who", "fast", "place.room", "place.floor")
    decided = set()
    for note in ("ok", "no", "not known", "nö"):
        for size in (9, 10):
            for who in people:
                for fast in (True, False):
                    for floor in (3, 4):
                        context = {
                            "size": size,
                            "fast": fast,
                            "note": note,
                            "who": who.uid,
                            "place": {"room": 1, "floor": floor},
                        }
                        expected = engine.decide(session, "edit", D1, context)
                        assert gate.decide(session, d1, note, size, who, fast, 1, floor) == expected
                        assert gate.allows(session, d1, note, size, who, fast, 1, floor) == bool(expected)
                        decided.add(expected)
    assert len(decided) > 10
    slow = engine.prepare("edit", "size", "place.room", "price", "at")
    for price in ("9.99", decimal.Decimal("10")):
        for at in ("2025-12-31", datetime.datetime(2026, 1, 1, tzinfo=UTC)):
            expected = engine.decide(session, "edit", D1, {**BASE, "price": price, "at": at})
            assert slow.decide(session, d1, 1, 1, price, at) == expected
            assert slow.allows(session, d1, 1, 1, price, at) == bool(expected)


def test_columns_are_decided_as_single_rows(build, admit) -> None:
    engine = ztfast.Engine(build(CONDITIONS))
    sessions = [admit(engine, uid) for uid in (ANN, BOB, 'User::"new"', 'Bot::"b"')]
    sessions[1].revoke()
    docs = [engine.resource(uid) for uid in (D1, D2, 'Doc::"new"', ANN)]
    people = [engine.resource(uid) for uid in (ANN, BOB, 'User::"new"')]
    chance = np.random.default_rng(5)
    rows = 500
    who, which, person = (chance.integers(0, n, rows) for n in (4, 4, 3))
    size, floor = chance.integers(8, 12, rows), chance.integers(2, 6, rows).astype(np.int16)
    fast = chance.random(rows) < 0.3
    note = [("ok", "no", "never seen", "no idea")[at] for at in chance.integers(0, 4, rows)]
    gate = engine.prepare("edit", "note", "size", "who", "fast", "place.room", "place.floor")
    codes = gate.decide_many(
        [sessions[at] for at in who],
        [docs[at] for at in which],
        note,
        size,
        [people[at] for at in person],
        fast,
        1,
        floor,
    )
    assert codes.dtype == np.uint8
    for row in range(rows):
        single = gate.decide(
            sessions[who[row]], docs[which[row]], note[row], size[row], people[person[row]], fast[row], 1, floor[row]
        )
        assert codes[row] == single.number
    assert len(set(codes)) >= 4
    ids = np.array([session.id for session in sessions], np.uint64)[who]
    handles = np.array([doc.handle for doc in docs], np.uint64)[which]
    handles_of_people = np.array([one.handle for one in people], np.uint64)[person]
    assert (gate.decide_many(ids, handles, note, size, handles_of_people, fast, 1, floor) == codes).all()
    timed = engine.prepare("edit", "size", "place.room", "price", "at")
    prices = [decimal.Decimal("9.99"), decimal.Decimal("9.9901")]
    days = np.array(["2025-12-31", "2025-12-31"], "datetime64[D]")
    assert list(timed.decide_many(sessions[0], docs[0], 1, 1, prices, days)) == [Code.ALLOW, Code.FORBID]
    assert list(timed.decide_many(sessions[0], docs[0], 1, 1, 0, days + np.array([0, 1]))) == [Code.ALLOW, Code.FORBID]
    assert len(gate.decide_many([], docs[0], [], 1, people[0], True, 1, 1)) == 0


def test_columns_of_one_session_and_resource_are_decided_as_single_rows(build, admit) -> None:
    """If only arguments differ, many rows are decided together."""
    engine = ztfast.Engine(
        build(
            'permit (principal, action == Action::"edit", resource) when { context.size < 10 && context.place.room != 3 };'
            'permit (principal, action == Action::"edit", resource) when { context has who && context.who == User::"bob" };'
            'forbid (principal, action == Action::"edit", resource) when { context has fast && context.fast };'
            'forbid (principal, action == Action::"edit", resource) when { context has note && context.note == "no" };'
        )
    )
    session, d1 = admit(engine), engine.resource(D1)
    people = [engine.resource(uid) for uid in (ANN, BOB, 'User::"new"')]
    gate = engine.prepare("edit", "size", "place.room", "fast", "note", "who")
    fewer = engine.prepare("edit", "size", "place.room", "fast", "note")
    chance = np.random.default_rng(9)
    for rows in (1, 31, 32, 33, 100):
        size, room, who = chance.integers(5, 15, rows), chance.integers(1, 5, rows), chance.integers(0, 3, rows)
        fast = chance.random(rows) < 0.2
        note = [("no", "yes", "unheard of")[at] for at in chance.integers(0, 3, rows)]
        codes = gate.decide_many(session, d1, size, room, fast, note, [people[at] for at in who])
        plain = fewer.decide_many(session, d1, size, room, fast, note)
        mixed = fewer.decide_many(session, d1, size, 2, False, "yes")
        for row in range(rows):
            values = size[row], room[row], fast[row], note[row]
            assert codes[row] == gate.decide(session, d1, *values, people[who[row]]).number
            assert plain[row] == fewer.decide(session, d1, *values).number
            assert mixed[row] == fewer.decide(session, d1, size[row], 2, False, "yes").number
    session.revoke()
    assert set(fewer.decide_many(session, d1, size, room, fast, note)) == {Code.REVOKED}


def test_equal_texts_in_two_columns_are_equal(build, admit) -> None:
    engine = ztfast.Engine(
        build(
            'permit (principal, action == Action::"look", resource) when { context has a && context has b && context.a == context.b };'
        )
    )
    session, ann = admit(engine), engine.resource(ANN)
    gate = engine.prepare("look", "a", "b")
    texts = ["unheard of", "new", "x"]
    assert list(gate.decide_many(session, ann, texts, ["unheard of", "x", "x"])) == [
        Code.ALLOW,
        Code.DEFAULT,
        Code.ALLOW,
    ]
    assert list(gate.decide_many(session, ann, texts, "new")) == [Code.DEFAULT, Code.ALLOW, Code.DEFAULT]
    assert [gate.allows(session, ann, text, "new") for text in texts] == [False, True, False]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (([1, 2, 3], [1, 2]), "different lengths"),
        (([1.5], 1), "integers"),
        ((np.array([1.0]), 1), "integers"),
        ((np.array([]), 1), "integers"),
        (([True], 1), "integers"),
        (([[1], [2]], 1), "one dimension"),
        ((1,), "wanted 2 columns"),
        ((1, 2, 3), "wanted 2 columns"),
    ],
)
def test_columns_that_do_not_fit_raise(build, admit, columns: tuple, says: str) -> None:
    engine = ztfast.Engine(build(CONDITIONS))
    gate = engine.prepare("edit", "size", "place.room")
    with pytest.raises(ztfast.ContextError, match=says):
        gate.decide_many(admit(engine), engine.resource(D1), *columns)
    with pytest.raises(ztfast.ContextError, match="sessions"):
        gate.decide_many(np.array([1], np.int64), engine.resource(D1), 1, 1)
    with pytest.raises(ztfast.ContextError, match="resources"):
        gate.decide_many(admit(engine), [D1], 1, 1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((), "wanted 2 values"),
        ((1,), r"wanted 2 values \(size, place.room\); got 1"),
        ((1, 2, 3), "got 3"),
        (tuple(range(12)), "got 12"),
        (("1", 2), "'size': wanted a Long.*got str"),
        ((True, 2), "'size': wanted a Long.*got bool"),
        ((1.0, 2), "'size': wanted a Long.*got float"),
        ((1, None), "'place.room'.*got NoneType"),
    ],
)
def test_a_gates_wrong_values_raise(build, admit, values: tuple, says: str) -> None:
    engine = ztfast.Engine(build(CONDITIONS))
    gate, session, d1 = engine.prepare("edit", "size", "place.room"), admit(engine), engine.resource(D1)
    for call in (gate.allows, gate.decide):
        with pytest.raises(ztfast.ContextError, match=says):
            call(session, d1, *values)
        with pytest.raises(ztfast.ContextError, match=r"'size': wanted a Long.*64 bits"):
            call(session, d1, object(), 1)
        with pytest.raises(TypeError, match=r"wanted a ztfast\.Session.*got str"):
            call(ANN, d1, 1, 1)
        with pytest.raises(TypeError, match=r"wanted a ztfast\.EntityHandle.*got str"):
            call(session, D1, 1, 1)
        with pytest.raises(TypeError, match=r"wanted \(session, resource"):
            call(session)


@pytest.mark.parametrize(
    ("action", "names", "error", "says"),
    [
        ("nope", (), ztfast.ActionError, "nope"),
        ("edit", (), ztfast.ContextError, r"requires.*place\.room, size"),
        ("edit", ("size",), ztfast.ContextError, "place.room"),
        ("edit", ("size", "place.room", "sizes"), ztfast.ContextError, "sizes.*it has"),
        ("edit", ("size", "place.room", "size"), ztfast.ContextError, "twice"),
        ("edit", ("size", "place.room", "extra.inner.deep"), ztfast.ContextError, "extra.code"),
        ("edit", ("size", "place"), ztfast.ContextError, "place"),
    ],
)
def test_a_gate_for_what_is_not_there_raises(build, action: str, names: tuple, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        ztfast.Engine(build(CONDITIONS)).prepare(action, *names)


def test_equal_decisions_of_a_gate_are_the_same_object(build, admit) -> None:
    engine = ztfast.Engine(build(CONDITIONS))
    gate, session, d1 = engine.prepare("edit", "size", "place.room"), admit(engine), engine.resource(D1)
    first = gate.decide(session, d1, 1, 1)
    assert gate.decide(session, d1, 2, 1) is first
    assert gate.decide(session, d1, 10, 1) is not first
    assert first == ztfast.Decision(1, ("size",))
    assert hash(first) == hash(ztfast.Decision(1, ("size",)))
    assert repr(first) == "Decision(ALLOW, reasons=('size',))"


# ---- swapping -----------------------------------------------------------------------------------------------------


def test_sessions_handles_and_gates_survive_a_swap(build, admit) -> None:
    engine = ztfast.Engine(
        build('@id("a") permit (principal, action == Action::"edit", resource) when { context.size < 10 };')
    )
    session, d1, new = admit(engine), engine.resource(D1), engine.resource('Doc::"later"')
    gate = engine.prepare("edit", "size", "place.room")
    idle = engine.prepare("edit", "size", "place.room")
    assert gate.decide(session, d1, 9, 1).reasons == ("a",)
    later = [
        {"uid": {"type": "Doc", "id": "later"}, "parents": [],
         "attrs": {"owner": {"type": "User", "id": "ann"}, "secret": False, "readers": [], "home": ""}},
    ]  # fmt: skip
    engine.swap(
        build(
            '@id("b") permit (principal, action == Action::"edit", resource) when { resource.owner == principal };',
            entities=later,
        )
    )
    assert gate.decide(session, new, 99, 1).reasons == ("b",)
    assert gate.decide(session, d1, 9, 1).code == "DEFAULT", "the new store lacks it"
    assert idle.allows(session, new, 99, 1)
    for _ in range(20):
        engine.swap(build(ALL))
        assert gate.decide(session, d1, 1, 1).reasons == ("policy0",)
    assert idle.allows(session, d1, 1, 1)


def test_a_gate_that_fits_no_longer_denies_and_may_fit_again(build, admit) -> None:
    from tests.conftest import SCHEMA

    engine = ztfast.Engine(build(ALL))
    session, d1 = admit(engine), engine.resource(D1)
    gate = engine.prepare("edit", "size", "place.room")
    assert gate.allows(session, d1, 1, 1)
    for changed in (
        SCHEMA.replace("size: Long", "size: String"),
        SCHEMA.replace("size: Long", "size: Long, colour: Long"),
        SCHEMA.replace("action edit", "action other"),
    ):
        engine.swap(build(ALL, schema=ztfast.Text(changed)), allow_stale=True)
        decision = gate.decide(session, d1, 1, 1)
        assert (decision.effect, decision.code) == ("DENY", "STALE_GATE")
        assert not gate.allows(session, d1, 1, 1)
        assert list(gate.decide_many(session, d1, [1, 2], 1)) == [Code.STALE_GATE] * 2
    engine.swap(build(ALL))
    assert gate.allows(session, d1, 1, 1)


def test_threads_decide_by_one_bundle_or_the_other_while_they_are_swapped(build, admit) -> None:
    even = build('@id("even") permit (principal, action == Action::"edit", resource) when { context.size < 10 };')
    odd = build('@id("odd") permit (principal, action == Action::"edit", resource) when { context.size >= 10 };')
    engine = ztfast.Engine(even)
    d1 = engine.resource(D1)
    # How often each thread met another bundle than before.
    changes = [0] * 3

    def decider(at: int) -> Callable[[], None]:
        session, gate, last = admit(engine), engine.prepare("edit", "size", "place.room"), -1

        def decide() -> None:
            nonlocal last
            for size, by in ((9, ("even",)), (10, ("odd",))):
                decision = gate.decide(session, d1, size, 1)
                assert decision.reasons in (by, ()), (size, decision)
            codes = gate.decide_many(session, d1, np.arange(20), 1)
            assert codes[0] != codes[19], codes
            assert len(set(codes[:10])) == len(set(codes[10:])) == 1, codes
            changes[at] += last not in (-1, codes[0])
            last = codes[0]

        return decide

    with beside(*(decider(at) for at in range(3))):
        repeat = Repeat("ten changes of the bundle in each thread", at_least=1.5)
        while repeat.until(min(changes) >= 10):
            turn = repeat.turn
            engine.swap((even, odd)[turn % 2])


@pytest.mark.parametrize("uniform", [False, True], ids=["rows of a session each", "one session for all rows"])
def test_a_revocation_is_seen_by_a_batch_under_way(build, admit, uniform: bool) -> None:
    engine = ztfast.Engine(build(ALL), sessions=1 << 16)
    d1, gate, rows = engine.resource(D1), engine.prepare("view"), 3_000_000
    lines = np.full(rows, d1.handle, np.uint64)

    def decided(session: ztfast.Session) -> np.ndarray:
        return gate.decide_many(session if uniform else np.full(rows, session.id, np.uint64), lines)

    began = time.monotonic()
    assert (decided(admit(engine)) == Code.ALLOW).all()
    whole, seen = time.monotonic() - began, 0
    repeat = Repeat("a revocation in the middle of a batch")
    while repeat.until(seen >= 3):
        turn = repeat.turn
        session = admit(engine)
        timer = threading.Timer(whole * (turn % 8 + 1) / 10, session.revoke)
        timer.start()
        codes = decided(session)
        timer.join()
        allowed = int((codes == Code.ALLOW).sum())
        # Once it is seen it stays.
        assert (codes[:allowed] == Code.ALLOW).all()
        assert (codes[allowed:] == Code.REVOKED).all()
        seen += 0 < allowed < rows


def test_a_session_that_ends_while_its_context_is_read_may_nothing(build, admit) -> None:
    engine = ztfast.Engine(build(ALL))

    class Revoking(list):
        def __iter__(self):
            session.revoke()
            return super().__iter__()

    context = {"size": 1, "place": {"room": 1}, "tags": Revoking(["a"])}
    session = admit(engine)
    assert engine.decide(session, "edit", D1, context).code == "REVOKED"
    session = admit(engine)
    assert engine.entitled(session, "edit", context) == []
    session = admit(engine)
    assert not engine.entitlements(session, "edit", context).any()


def test_a_decision_stays_what_it_is(tiny: ztfast.Engine) -> None:
    gate = tiny.prepare("view")
    session = tiny.admit(ztfast.Identity('User::"eve"', not_after=math.inf))
    photo = tiny.resource('Photo::"p1"')
    decision = gate.decide(session, photo)
    assert not decision
    # The gate keeps the decision, and returns it to the next caller.
    decision.__init__(1, ("owners-view",))  # type: ignore[misc]
    assert not hasattr(decision, "__setstate_cython__")
    again = gate.decide(session, photo)
    assert again is decision
    assert (bool(again), again.effect, again.code, again.reasons) == (False, "DENY", "DEFAULT", ())
    allowed = tiny.evaluate('User::"ann"', "view", 'Photo::"p1"')
    for copied in (pickle.loads(pickle.dumps(allowed)), copy.deepcopy(allowed)):
        assert copied == allowed
        assert copied.code == "ALLOW"
    for number in (99, -1, 1 << 40, "x", None, True):
        with pytest.raises(ztfast.ArgumentError, match=r"Decision: wanted a ztfast\.Code"):
            ztfast.Decision(number)
    assert ztfast.Decision(Code.FORBID).code == "FORBID"


@pytest.fixture
def tiny() -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), sessions=8, handles=64)
