"""Random conditions on live attributes, decided for random sessions: gates, batches and Cedar agree."""

from __future__ import annotations

import math
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast

SCHEMA = """\
entity Team; entity Agent in [Team] { level: Long };
entity User { region: String, isLate: Bool };
action "a" appliesTo {
    principal: User, resource: User, context: { note: String, tags: Set<String>, n: Long, live: ztfast::Live }
};
action "e" appliesTo {
    principal: User, resource: User,
    context: { note: String, tags: Set<String>, n: Long,
               live: { onBehalfOf?: Agent, region?: String, factors: Set<String>, risk: Long } }
};
"""
ENTITIES: list[dict[str, Any]] = [
    {"uid": {"type": "Team", "id": "t"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Agent", "id": "a1"}, "attrs": {"level": 1}, "parents": [{"type": "Team", "id": "t"}]},
    {"uid": {"type": "Agent", "id": "a2"}, "attrs": {"level": 9}, "parents": []},
    {"uid": {"type": "User", "id": "u"}, "attrs": {"region": "eu", "isLate": True}, "parents": []},
    {"uid": {"type": "User", "id": "v"}, "attrs": {"region": "nowhere", "isLate": False}, "parents": []},
]
COMMON = [
    'context.live.factors.contains("otp")',
    'context.live.factors.containsAll(["otp", "fido2"])',
    'context.live.factors.containsAny(["pin", "fido2", "never proved"])',
    "context.live.factors.containsAny([])",
    "context.live.factors.containsAll([])",
    "context.live.factors.isEmpty()",
    "context.live.factors.contains(context.note)",
    "context.live.factors.containsAll(context.tags)",
    'context.live.factors.containsAny(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "otp"])',
    'context.live.factors == ["otp"]',
    "context.live.risk < 50",
    "context.live.risk < context.n",
    "context.live has region",
    'context.live.region == "eu"',
    'context.live.region like "e*"',
    'context.live.region like "*u"',
    "context.live.region == context.note",
    "context.live.region == principal.region",
    '["eu", "us"].contains(context.live.region)',
    "[context.live has region].contains(true)",
    "(context.live has region) == principal.isLate",
    "context.live has onBehalfOf",
    "[context.live has onBehalfOf].contains(true)",
    'context.note like "o*"',
    'context.note == "otp"',
    'context.tags.contains("otp")',
    "context.tags.isEmpty()",
    "context.n > 5",
]
TEXTS = [
    'context.live.onBehalfOf == "Agent::\\"a1\\""',
    'context.live.onBehalfOf like "Agent*"',
    "context.live.onBehalfOf == context.note",
    'context.live.channel == "trusted"',
    'context.live.channel like "m*"',
    "context.live.channel == context.note",
    "context.live.assurance >= 3",
    'context.live.authAge < duration("1h")',
    'context.live.market == "normal"',
    'context.live.time.toTime() >= duration("0h")',
    'context.live.time > datetime("2224-01-01")',
    "context.live == context.live",
]
PERSONS = [
    'context.live.onBehalfOf == Agent::"a1"',
    'context.live.onBehalfOf in Team::"t"',
    "context.live.onBehalfOf.level < 5",
    "context.live.onBehalfOf has level",
    "context.live.onBehalfOf is Agent",
]


def joined(terms: list[str]) -> st.SearchStrategy[str]:
    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds("({} && {})".format, inner, inner),
            st.builds("({} || {})".format, inner, inner),
            st.builds("!({})".format, inner),
            st.builds("(if {} then {} else {})".format, inner, inner, inner),
        )

    return st.recursive(st.sampled_from(terms), more, max_leaves=5)


def policies(action: str, terms: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    head = f'(principal, action == Action::"{action}", resource) when {{ '
    one = st.builds("{} {}{} }};".format, st.sampled_from(["permit", "permit", "forbid"]), st.just(head), joined(terms))
    asks = st.builds('@step_up("otp") forbid {}{} }};'.format, st.just(head), joined(terms))
    several = st.lists(st.one_of(one, one, one, asks), min_size=1, max_size=4)
    return several.map(lambda all: (action, " ".join(all)))


SESSIONS: list[dict[str, Any]] = [
    {},
    {"factors": ("otp",), "region": "eu", "auth_time": "now"},
    {"factors": ("fido2", "otp"), "risk": 80, "on_behalf_of": 'Agent::"a1"', "channel": "mtls"},
    {"factors": ("pin",), "region": "nowhere", "on_behalf_of": 'Agent::"a2"', "assurance": 5},
    {"factors": ("x1", "x2", "x3"), "region": "us", "on_behalf_of": 'Agent::"unlisted"', "channel": "o"},
]
CALLS = [("otp", ("otp", "fido2"), 90), ("nowhere", (), 3), ('Agent::"a1"', ("never seen",), 50), ("o", ("pin",), 7)]


@given(st.one_of(policies("a", COMMON + TEXTS), policies("e", COMMON + PERSONS)), st.permutations(SESSIONS))
@settings(max_examples=60)
def test_gates_batches_and_cedar_agree(of: tuple[str, str], sessions: list[dict[str, Any]]) -> None:
    action, text = of
    schema = ztfast.Text(SCHEMA, "s.cedarschema")
    options: dict[str, Any] = {"entities": ENTITIES, "warnings": "ignore", "validate": "permissive"}
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(text), schema=schema, **options), sessions=16, handles=64)
    gate = engine.prepare(action, "note", "tags", "n")
    few = engine.prepare(action, "n", "note", "tags")
    users = [engine.resource(f'User::"{user}"') for user in "uv"]
    for known in sessions:
        proved = {**known, "auth_time": time.time()} if "auth_time" in known else known
        # The names of factors, regions and channels become known one after the other, while gates decide.
        session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf, **proved))
        for note, tags, n in CALLS:
            told = engine.explain(session, action, users[0], {"note": note, "tags": tags, "n": n})
            assert told.agrees, (text, known, told)
            assert told.problem is None, (text, known, told)
            wanted = told.decision
            assert gate.decide(session, users[0], note, tags, n) == wanted, (text, known)
            assert gate.allows(session, users[0], note, tags, n) is bool(wanted), (text, known)
            assert few.allows(session, users[0], n, note, tags) is bool(wanted), (text, known)
            assert engine.decide(session, action, users[0], {"note": note, "tags": tags, "n": n}) == wanted


ROWS = [(user, note, n) for note, _, n in CALLS for user in (0, 1)] * 9


@given(policies("a", [term for term in COMMON + TEXTS if "tags" not in term]))
@settings(max_examples=40)
def test_rows_of_one_session_and_of_many_are_decided_as_calls_are(of: tuple[str, str]) -> None:
    action, text = of
    bare = SCHEMA.replace("tags: Set<String>, ", "")
    options: dict[str, Any] = {"entities": ENTITIES, "warnings": "ignore", "validate": "permissive"}
    compiled = ztfast.compile(ztfast.Text(text), schema=ztfast.Text(bare, "s.cedarschema"), **options)
    engine = ztfast.Engine(compiled, sessions=16, handles=64)
    gate = engine.prepare(action, "note", "n")
    users = [engine.resource(f'User::"{user}"') for user in "uv"]
    engine.market('User::"v"', "halted", by="ops", reason="a test")
    sessions = [engine.admit(ztfast.Identity('User::"u"', not_after=math.inf, **known)) for known in SESSIONS[:1]]
    sessions += [engine.admit(ztfast.Identity('User::"v"', not_after=math.inf, **known)) for known in SESSIONS[2:]]
    for session in sessions:
        resources, notes, numbers = zip(*((users[user], note, n) for user, note, n in ROWS), strict=True)
        # More texts that nobody knows than one call may bring.
        notes = [f"{note}{at}" if at % 2 else note for at, note in enumerate(notes)]
        wanted = [gate.decide(session, *row).number for row in zip(resources, notes, numbers, strict=True)]
        assert gate.decide_many(session, list(resources), notes, list(numbers)).tolist() == wanted, text
        assert gate.decide_many(session, users[0], notes, list(numbers)).tolist() == [
            gate.decide(session, users[0], note, n).number for note, n in zip(notes, numbers, strict=True)
        ], text
    mixed = [sessions[at % len(sessions)] for at in range(len(ROWS))]
    wanted = [gate.decide(one, users[user], note, n).number for one, (user, note, n) in zip(mixed, ROWS, strict=True)]
    resources, notes, numbers = zip(*((users[user], note, n) for user, note, n in ROWS), strict=True)
    assert gate.decide_many(mixed, list(resources), list(notes), list(numbers)).tolist() == wanted, text
