"""Live attributes: what the engine fills into `context.live` from the session, in every way of deciding."""

from __future__ import annotations

import datetime
import math
import time
from pathlib import Path
from typing import Any

import pytest

import ztfast
from ztfast import Code

SCHEMA = """\
entity User; entity Book; entity Agent;
action "fresh" appliesTo { principal: User, resource: Book, context: { qty: Long, live: ztfast::Live } };
action "bare" appliesTo { principal: User, resource: Book, context: { live: ztfast::Live } };
action "own" appliesTo {
    principal: User, resource: Book, context: { note?: String, live: { onBehalfOf?: Agent, risk: Long } }
};
action "texts" appliesTo {
    principal: User, resource: Book, context: { note: String, tags?: Set<String>, live: ztfast::Live }
};
"""
ENTITIES = [
    {"uid": {"type": "Book", "id": "b1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Agent", "id": "a1"}, "attrs": {}, "parents": []},
]


def compiled(policies: str, schema: str = SCHEMA, **options: Any) -> ztfast.Bundle:
    options = {"warnings": "ignore", "entities": ENTITIES, **options}
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema, "s.cedarschema"), **options)


class Desk:
    def __init__(self, policies: str, state: Path | None = None, **options: Any) -> None:
        self.engine = ztfast.Engine(compiled(policies, **options), state=state, sessions=16, handles=64)
        self.book = self.engine.resource('Book::"b1"')
        self.gates = {
            "fresh": self.engine.prepare("fresh", "qty"),
            "bare": self.engine.prepare("bare"),
            "own": self.engine.prepare("own", "note"),
            "texts": self.engine.prepare("texts", "note"),
        }

    def admit(self, **known: Any) -> ztfast.Session:
        return self.engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf, **known))

    def code(self, session: ztfast.Session, action: str, *values: Any) -> str:
        """Return the code of a decision, after checking that all ways give it, and Cedar too."""
        context = dict(
            zip({"fresh": ("qty",), "bare": (), "own": ("note",), "texts": ("note",)}[action], values, strict=True)
        )
        gate, engine = self.gates[action], self.engine
        told = engine.explain(session, action, self.book, context)
        code = told.decision.code
        assert told.agrees, told
        assert told.problem is None, told
        assert engine.decide(session, action, self.book, context) == told.decision
        assert gate.decide(session, self.book, *values) == told.decision
        assert gate.allows(session, self.book, *values) is (code == "ALLOW")
        assert (self.book.uid in engine.entitled(session, action, context)) is (code == "ALLOW")
        assert gate.decide_many(session, self.book, *values).tolist() == [Code[code]]
        assert gate.decide_many([session] * 70, [self.book] * 70, *([value] * 70 for value in values)).tolist() == (
            [Code[code]] * 70
        )
        return code


def test_a_fresh_proof_is_needed() -> None:
    desk = Desk(
        'permit (principal, action == Action::"fresh", resource);'
        '@step_up("fido2") @max_age("60s") forbid (principal, action == Action::"fresh", resource)'
        ' unless { context.live.authAge < duration("60s") && context.live.factors.contains("fido2") };'
    )
    now = time.time()
    for known, code in (
        ({"factors": ("fido2",), "auth_time": now}, "ALLOW"),
        ({"factors": ("pin", "fido2"), "auth_time": now - 30}, "ALLOW"),
        ({"factors": ("fido2",), "auth_time": now - 90}, "STEP_UP"),
        ({"factors": ("pin",), "auth_time": now}, "STEP_UP"),
        ({"factors": ("fido2",)}, "ALLOW"),
        ({}, "STEP_UP"),
    ):
        session = desk.admit(**known)
        assert desk.code(session, "fresh", 5) == code, known
        session.present(factors=("fido2",), at=time.time())
        assert desk.code(session, "fresh", 5) == "ALLOW", known


@pytest.mark.parametrize(
    ("condition", "known", "holds"),
    [
        ("context.live.assurance >= 3", {"assurance": 3}, True),
        ("context.live.assurance >= 3", {"assurance": 2}, False),
        ("context.live.risk > 50", {"risk": 51}, True),
        ("context.live.risk > 50", {}, False),
        ("context.live.factors.isEmpty()", {}, True),
        ("context.live.factors.isEmpty()", {"factors": ("pin",)}, False),
        ('context.live.factors == ["pin", "otp"]', {"factors": ("otp", "pin")}, True),
        ('context.live.factors.containsAll(["pin", "otp"])', {"factors": ("otp",)}, False),
        ('context.live.channel == "trusted"', {}, True),
        ('context.live.channel == "mtls"', {"channel": "mtls"}, True),
        ('context.live.channel like "m*"', {"channel": "nowhere-in-the-policies"}, False),
        ("context.live has region", {}, False),
        ("context has live.region", {"region": "eu"}, True),
        ('context.live has region && context.live.region == "eu"', {"region": "eu"}, True),
        ('context.live has region && context.live.region == "eu"', {"region": "us"}, False),
        ('context.live has region && context.live.region like "e*"', {"region": "ex"}, True),
        ("context.live has region && !(context.live has onBehalfOf)", {"region": "eu"}, True),
        ("context.live has onBehalfOf && !(context.live has region)", {"on_behalf_of": 'Agent::"a1"'}, True),
        ("!(context.live has onBehalfOf) && !(context.live has region)", {}, True),
        ("context.live has onBehalfOf", {}, False),
        ("context.live has onBehalfOf", {"on_behalf_of": 'Agent::"a1"'}, True),
        (
            'context.live has onBehalfOf && context.live.onBehalfOf == "Agent::\\"a1\\""',
            {"on_behalf_of": 'Agent::"a1"', "region": "eu"},
            True,
        ),
        ("[context.live has region].contains(true)", {}, False),
        ("[context.live has region].contains(true)", {"region": "eu"}, True),
        ("[context.live has onBehalfOf].contains(false)", {"region": "eu"}, True),
        ("context.live has region || context.live.risk > 5", {"risk": 9}, True),
        ("if context.live has region then context.live.risk > 5 else context.live.risk < 5", {"risk": 9}, False),
        ('["us", "eu"].contains(context.live.channel)', {"channel": "eu"}, True),
        ('!(context.live.factors.contains("otp"))', {"factors": ("pin",)}, True),
        ('context.live.factors.containsAny(["pin", "otp"])', {"factors": ("otp", "x")}, True),
        ('context.live.factors.containsAny(["pin", "otp"])', {"factors": ("x",)}, False),
        ('context.live.factors.contains("")', {"factors": ("x",)}, False),
        (
            'context.live.factors.contains("a name that is longer than any name of a factor in a state may be")',
            {},
            False,
        ),
        ('context.live.market == "normal"', {}, True),
        ('context.live.authAge >= duration("1h")', {"auth_time": time.time() - 3600}, True),
        ('context.live.authAge >= duration("1h")', {"auth_time": time.time() + 3600}, False),
        ('context.live.authAge < duration("0ms")', {"auth_time": time.time() + 3600}, False),
        ('context.live.time > datetime("2024-01-01")', {}, True),
        ('context.live.time > datetime("2224-01-01")', {}, False),
        ("context.live == context.live", {}, True),
        (
            "(if context.live.assurance > 2 then context.live else context.live).risk > 50",
            {"assurance": 3, "risk": 51},
            True,
        ),
        ("context has live", {}, True),
    ],
)
@pytest.mark.parametrize("form", ["dense", "rows", "sets"])
def test_each_attribute_is_the_sessions(condition: str, known: dict[str, Any], holds: bool, form: str) -> None:
    desk = Desk(f'permit (principal, action == Action::"bare", resource) when {{ {condition} }};', form=form)
    session = desk.admit(**known)
    assert desk.code(session, "bare") == ("ALLOW" if holds else "DEFAULT")


def test_a_record_of_its_own_may_have_an_entity() -> None:
    desk = Desk(
        'permit (principal, action == Action::"own", resource) when {'
        ' context.live has onBehalfOf && context.live.onBehalfOf == Agent::"a1" && context.live.risk < 9 };'
    )
    assert desk.code(desk.admit(on_behalf_of='Agent::"a1"'), "own", "text") == "ALLOW"
    assert desk.code(desk.admit(on_behalf_of='Agent::"a1"', risk=9), "own", "text") == "DEFAULT"
    assert desk.code(desk.admit(on_behalf_of='Agent::"a2"'), "own", "text") == "DEFAULT"
    assert desk.code(desk.admit(), "own", "text") == "DEFAULT"
    # An entity of another type has no value of the attribute's type.
    other = desk.admit(on_behalf_of='User::"bob"')
    gate = desk.gates["own"]
    assert gate.decide(other, desk.book, "text").code == "BAD_VALUE"
    assert desk.engine.decide(other, "own", desk.book, {"note": "text"}).code == "BAD_VALUE"
    assert gate.decide_many(other, desk.book, "text").tolist() == [Code.BAD_VALUE]
    # Without the attribute that may be absent, the session's are there all the same.
    assert gate.decide(desk.admit(on_behalf_of='Agent::"a1"'), desk.book, ztfast.ABSENT).code == "ALLOW"


@pytest.mark.parametrize(
    ("condition", "note", "holds"),
    [
        ("context.note == context.live.channel", "nowhere else", True),
        ("context.note == context.live.channel", "anywhere else", False),
        ("context.note == context.live.region", "eu-42", True),
        ("context.live.factors.contains(context.note)", "otp", True),
        ("context.live.factors.contains(context.note)", "pin", False),
        ('context.note like "n*" && context.live.risk < 9', "nowhere else", True),
        ("context.note == context.live.onBehalfOf", 'Agent::"a \\"1\\""', True),
        ('context.note == "pin" || context.live.factors.contains("otp")', "nothing", True),
    ],
)
def test_texts_of_a_call_and_of_the_session_are_compared(condition: str, note: str, holds: bool) -> None:
    guard = "context.live has region && context.live has onBehalfOf"
    for when in (f"{guard} && {condition}", condition):
        desk = Desk(
            f'permit (principal, action == Action::"texts", resource) when {{ {when} }};', validate="permissive"
        )
        session = desk.admit(
            channel="nowhere else", region="eu-42", factors=("otp",), on_behalf_of=ztfast.Uid("Agent", 'a "1"')
        )
        assert desk.code(session, "texts", note) == ("ALLOW" if holds else "DEFAULT")
        # Rows of many sessions and texts are each their own.
        other = desk.admit(channel="c", factors=("x",), risk=9)
        gate, book = desk.gates["texts"], desk.book
        rows = [(one, text) for one in (session, other) for text in (note, "c", "x")] * 20
        wanted = [gate.decide(one, book, text).number for one, text in rows]
        sessions, notes = zip(*rows, strict=True)
        assert gate.decide_many(sessions, [book] * len(rows), list(notes)).tolist() == wanted


@pytest.mark.parametrize(
    "condition",
    ['!(context.live.region == "eu")', 'context.live.region == "eu" || true', 'context.live.onBehalfOf like "*"'],
)
def test_what_is_absent_is_an_error_for_who_asks_for_it(condition: str) -> None:
    policy = f'permit (principal, action == Action::"bare", resource) when {{ {condition} }};'
    desk = Desk(policy, validate="permissive")
    assert desk.code(desk.admit(), "bare") == "DEFAULT"
    assert desk.code(desk.admit(region="us", on_behalf_of='Agent::"a1"'), "bare") == "ALLOW"


@pytest.mark.parametrize("many", [False, True])
def test_factors_that_get_their_names_while_gates_decide_are_seen(many: bool) -> None:
    names = [f"f{number}" for number in range(15)]
    each = " || ".join(f'context.live.factors.contains("{name}")' for name in (names if many else names[::5]))
    desk = Desk(f'permit (principal, action == Action::"bare", resource) when {{ {each} }};')
    session = desk.admit()
    assert desk.code(session, "bare") == "DEFAULT"
    for at, name in enumerate(names):
        session.present(factors=(name,))
        assert desk.code(session, "bare") == ("ALLOW" if many or at % 5 == 0 else "DEFAULT"), name
    session.present(factors=names[1:3])
    assert desk.code(session, "bare") == ("ALLOW" if many else "DEFAULT")
    session.present(factors=())
    assert desk.code(session, "bare") == "DEFAULT"


def test_rows_of_one_session_may_bring_more_texts_than_a_call() -> None:
    desk = Desk(
        'permit (principal, action == Action::"texts", resource) when { context.note == context.live.channel'
        ' || context.note like "n1*" && context.live.factors.contains("otp") };'
    )
    session, gate = desk.admit(channel="n77", factors=("otp",)), desk.gates["texts"]
    notes = [f"n{number}" for number in range(200)]
    wanted = [Code.ALLOW if note == "n77" or note.startswith("n1") else Code.DEFAULT for note in notes]
    assert gate.decide_many(session, desk.book, notes).tolist() == wanted
    assert [gate.decide(session, desk.book, note).number for note in notes] == wanted


def test_sets_of_a_call_stand_beside_the_sessions() -> None:
    desk = Desk(
        'permit (principal, action == Action::"texts", resource)'
        " when { context has tags && context.live.factors.containsAll(context.tags) };"
    )
    gate = desk.engine.prepare("texts", "tags", "note")
    session = desk.admit(factors=("otp", "x509", "unknown to the bundle"))
    for tags, allowed in ((["otp"], True), ([], True), (["unknown to the bundle", "x509"], True), (["pin"], False)):
        assert gate.allows(session, desk.book, tags, "n") is allowed
        assert gate.decide(session, desk.book, tags, "n").code == ("ALLOW" if allowed else "DEFAULT")
        assert bool(desk.engine.decide(session, "texts", desk.book, {"tags": tags, "note": "n"})) is allowed
    assert gate.decide(session, desk.book, ztfast.ABSENT, "n").code == "DEFAULT"


def test_no_call_can_give_them() -> None:
    desk = Desk("permit (principal, action, resource) when { context.live.risk < 9 };", validate="permissive")
    session, context = desk.admit(risk=50), {"qty": 1, "live": {"risk": 0}}
    says = "`live` is what the engine knows of the session"
    with pytest.raises(ztfast.ContextError, match=says):
        desk.engine.decide(session, "fresh", desk.book, context)
    with pytest.raises(ztfast.ContextError, match=says):
        desk.engine.explain(session, "fresh", desk.book, context)
    with pytest.raises(ztfast.ContextError, match=says):
        desk.engine.entitled(session, "fresh", context)
    for name in ("live.risk", ("live", "risk")):
        with pytest.raises(ztfast.ContextError, match=says):
            desk.engine.prepare("fresh", "qty", name)
    with pytest.raises(ztfast.ContextError, match="decide_many"):
        desk.gates["fresh"].evaluate_many(desk.engine.resource('User::"ann"'), desk.book, 1)
    # By policy alone there is no session, so the context has them.
    live = {
        "authAge": datetime.timedelta(0), "factors": [], "assurance": 0, "risk": 8, "market": "normal",
        "channel": "trusted", "time": datetime.datetime.now(datetime.UTC),
    }  # fmt: skip
    for risk, code in ((8, "ALLOW"), (9, "DEFAULT")):
        request = 'User::"ann"', "fresh", 'Book::"b1"', {"qty": 1, "live": {**live, "risk": risk}}
        assert desk.engine.evaluate(*request).code == code
        told = desk.engine.explain(*request)
        assert told.agrees
        assert told.problem is None


def test_a_session_that_is_over_denies_with_its_own_code() -> None:
    desk = Desk('permit (principal, action == Action::"fresh", resource) when { context.live.risk < 9 };')
    session = desk.admit()
    assert desk.code(session, "fresh", 1) == "ALLOW"
    session.quarantine()
    assert desk.gates["fresh"].decide(session, desk.book, 1).code == "QUARANTINED"
    assert desk.gates["fresh"].decide_many(session, desk.book, 1).tolist() == [Code.QUARANTINED]
    session.quarantine(False)
    assert desk.code(session, "fresh", 1) == "ALLOW"
    session.revoke()
    assert desk.gates["fresh"].decide(session, desk.book, 1).code == "REVOKED"
    assert desk.engine.decide(session, "fresh", desk.book, {"qty": 1}).code == "REVOKED"


def test_the_market_is_the_resources() -> None:
    entities = [
        *ENTITIES,
        {"uid": {"type": "Book", "id": "b2"}, "attrs": {}, "parents": []},
        {"uid": {"type": "Book", "id": "b3"}, "attrs": {}, "parents": []},
    ]
    desk = Desk(
        'permit (principal, action == Action::"fresh", resource) when { context.live.market != "halted" };'
        'forbid (principal, action == Action::"fresh", resource)'
        ' when { context.live.market == "volatile" && context.qty > 5 };',
        entities=entities,
    )
    session, engine, gate = desk.admit(), desk.engine, desk.gates["fresh"]
    books = [engine.resource(f'Book::"{id}"') for id in ("b1", "b2", "b3")]
    assert desk.code(session, "fresh", 9) == "ALLOW"
    engine.market('Book::"b1"', "halted", by="ops", reason="news")
    engine.market('Book::"b2"', "volatile", by="ops", reason="news")
    assert desk.code(session, "fresh", 9) == "DEFAULT"
    for quantity, codes in ((9, ("DEFAULT", "FORBID", "ALLOW")), (5, ("DEFAULT", "ALLOW", "ALLOW"))):
        numbers = [Code[code] for code in codes]
        assert [gate.decide(session, book, quantity).number for book in books] == numbers
        assert gate.decide_many(session, books, quantity).tolist() == numbers
        assert [engine.decide(session, "fresh", book, {"qty": quantity}).number for book in books] == numbers
        told = [engine.explain(session, "fresh", book, {"qty": quantity}) for book in books]
        assert [one.decision.number for one in told] == numbers
        assert all(one.agrees for one in told)
        assert engine.entitlements(session, "fresh", {"qty": quantity}).tolist() == [code == "ALLOW" for code in codes]
    engine.market('Book::"b1"', "normal", by="ops", reason="over")
    assert desk.code(session, "fresh", 9) == "ALLOW"


def test_gates_see_a_swap_that_reads_other_attributes() -> None:
    desk = Desk('permit (principal, action == Action::"fresh", resource);')
    session = desk.admit(region="eu", risk=50)
    assert desk.code(session, "fresh", 1) == "ALLOW"
    for condition, code in (
        ("context.live.risk < 9", "DEFAULT"),
        ('context.live has region && context.live.region == "eu" && context.qty > 0', "ALLOW"),
        ("context.live.factors.isEmpty()", "ALLOW"),
    ):
        desk.engine.swap(compiled(f'permit (principal, action == Action::"fresh", resource) when {{ {condition} }};'))
        assert desk.code(session, "fresh", 1) == code


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ("live: { risk: String }", "`risk` of another type than Long"),
        ("live: { rating: Long }", "`rating`, which ztfast::Live lacks"),
        ("live: { region: String }", "`region`, which must be optional"),
        ("live?: ztfast::Live", "must not be optional"),
        ("live: { factors: Set<Long> }", "`factors` of another type"),
        ("other: ztfast::Live", "the attribute `other` of the context of Action::"),
        ("order: { live: ztfast::Live }", "the attribute `order.live` of the context of"),
    ],
)
def test_a_record_that_cannot_be_filled_in_is_refused(context: str, says: str) -> None:
    schema = f'entity User; action "a" appliesTo {{ principal: User, resource: User, context: {{ {context} }} }};'
    with pytest.raises(ztfast.PolicyError, match=says):
        compiled("permit (principal, action, resource);", schema, entities=None)


def test_a_schema_may_declare_the_type_only_as_it_is() -> None:
    rest = 'entity User; action "a" appliesTo { principal: User, resource: User, context: { live: ztfast::Live } };'
    with pytest.raises(ztfast.PolicyError, match="ztfast::Live"):
        compiled(
            "permit (principal, action, resource);",
            "namespace ztfast { type Live = { risk: Long }; }\n" + rest,
            entities=None,
        )
    assert compiled("permit (principal, action, resource);", rest, entities=None).stats.policies == 1
    # What is no record is the caller's, as any attribute.
    plain = 'entity User; action "a" appliesTo { principal: User, resource: User, context: { live: Bool } };'
    engine = ztfast.Engine(
        compiled("permit (principal, action, resource) when { context.live };", plain, entities=None)
    )
    assert engine.evaluate('User::"x"', "a", 'User::"y"', {"live": True})


@pytest.mark.parametrize("character", ["x", "é", '"', "\\", "\0", "\x01", "\x7f", "\u0085", "\u200b", "\U000e0001"])
def test_the_text_of_the_longest_uid_has_room_whatever_its_characters(character: str, tmp_path: Path) -> None:
    # A uid of a shared state has at most 1,024 bytes, type and id together.
    count, rest = divmod(1_024 - len("Agent"), len(character.encode()))
    agent = ztfast.Uid("Agent", "x" * rest + character * count)
    with pytest.raises(ztfast.ArgumentError, match="1024"):
        Desk("permit (principal, action, resource);", tmp_path / "other").admit(
            on_behalf_of=ztfast.Uid("Agent", agent.id + "x")
        )
    literal = str(agent).replace("\\", "\\\\").replace('"', '\\"')
    for condition in (f'context.live.onBehalfOf == "{literal}"', 'context.live.onBehalfOf like "Agent::\\"*\\""'):
        permit = f"permit (principal, action, resource) when {{ context.live has onBehalfOf && {condition} }};"
        desk = Desk(
            permit.replace("action,", 'action in [Action::"bare", Action::"fresh"],'), tmp_path / condition[25:27]
        )
        session, other = desk.admit(on_behalf_of=agent), desk.admit(on_behalf_of='Book::"b1"')
        for action, values in (("bare", ()), ("fresh", (5,))):
            assert desk.code(session, action, *values) == "ALLOW"
            assert desk.code(other, action, *values) == "DEFAULT"


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("acts_for", ['Desk::"d"', f'Desk::"{"d" * 1_100}"', 'Agent::"a"', None])
def test_all_ways_of_deciding_agree_about_whom_a_session_acts_for(reads: bool, acts_for: str | None) -> None:
    schema = """
    entity User, Desk, Agent, Book;
    action v appliesTo { principal: User, resource: Book, context: { live: { onBehalfOf?: Agent, risk: Long } } };
    """
    forbid = 'forbid (principal, action, resource) when { context.live has onBehalfOf && context.live.onBehalfOf == Agent::"x" };'
    policies = "permit (principal, action, resource) when { context.live.risk < 50 };" + (forbid if reads else "")
    bundle = ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema, "s.cedarschema"), warnings="ignore")
    engine = ztfast.Engine(bundle)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf, on_behalf_of=acts_for))
    gate, book = engine.prepare("v"), engine.resource('Book::"b"')
    code = "BAD_VALUE" if reads and acts_for is not None and acts_for.startswith("Desk") else "ALLOW"
    assert engine.decide(session, "v", book).code == code
    assert engine.explain(session, "v", book).decision.code == code
    assert gate.decide(session, book).code == code
    assert gate.allows(session, book) == (code == "ALLOW")
    assert [ztfast.Code(number).name for number in gate.decide_many(session, [book])] == [code]
