"""Sets, records and addresses in contexts are equal exactly if Cedar says so, in any order and with any repetitions."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast

SCHEMA = """
entity User { sets: Set<Set<String>>, lines: Set<Line>, ips: Set<ipaddr>, names: Set<String> };
entity Thing;
type Line = { name: String, tags: Set<Long>, ip?: ipaddr, who?: User };
action go appliesTo { principal: User, resource: Thing, context: {
    a: Set<Set<String>>, b: Set<Set<String>>, x: Set<Line>, y: Set<Line>, i: Set<ipaddr>, j: Set<ipaddr>,
    s: Set<String>, t: Set<String>, u: Set<User>, d: Set<decimal>, e: Set<decimal>, deep: Set<Set<Set<Long>>>, deeper: Set<Set<Set<Long>>>
} };
"""
CONDITIONS = (
    "context.a == context.b", "context.x == context.y", "context.i == context.j", "context.s == context.t", "context.d == context.e",
    "context.deep == context.deeper", "context.deep.containsAll(context.deeper)", "context.deep.containsAny(context.deeper)",
    "context.a.containsAll(context.b)", "context.x.containsAll(context.y)", "context.i.containsAny(context.j)",
    "context.s.containsAll(context.t)", "context.a == principal.sets", "principal.sets.containsAll(context.a)",
    "context.x == principal.lines", "context.x.containsAny(principal.lines)", "context.i == principal.ips",
    "principal.ips.containsAll(context.i)", "context.s == principal.names", "context.s.containsAny(principal.names)",
    "context.u.contains(principal)", "principal in context.u", "context.a.contains(context.s)", "context.a.contains(context.t)",
    'context.a.contains(["p", "q"])', 'context.x.contains({ name: "p", tags: [1, 2] })', 'context.i.contains(ip("10.0.0.1"))',
    'context.i.contains(ip("::1"))', "context.a.isEmpty()", 'context.s == ["p", "q", "new"]', "[context.s, context.t] == context.a",
    "[context.a, context.b] == [context.b]", "context.d.contains(decimal(\"1.5\"))",
)  # fmt: skip

TEXTS = st.sampled_from(("p", "q", "new", "other", ""))
IPS = st.sampled_from(("10.0.0.1", "10.0.0.0/8", "::1", "::1/128", "0:0:0:0:0:0:0:1", "fd00::/8", "::ffff:a00:1"))
SET = st.lists(TEXTS, max_size=4)
LINE = st.fixed_dictionaries(
    {"name": TEXTS, "tags": st.lists(st.integers(1, 3), max_size=3)},
    optional={"ip": IPS, "who": st.sampled_from(('User::"ann"', 'User::"new"'))},
)
DECIMALS = st.lists(st.sampled_from(("1.5", "1.50", "1.5000", "-0.5", "0.0")), max_size=3)
DEEP = st.lists(st.lists(st.lists(st.integers(1, 3), max_size=2), max_size=2), max_size=3)


def twice(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Draw two lists, often of the same elements in another order, with repetitions."""

    def other(first: list[Any]) -> st.SearchStrategy[tuple[list[Any], list[Any]]]:
        same = st.permutations(first + first[:1]) if first else st.just([])
        return st.tuples(st.just(first), same | one)

    return one.flatmap(other)


CONTEXTS = st.tuples(
    twice(st.lists(SET, max_size=4)), twice(st.lists(LINE, max_size=3)), twice(st.lists(IPS, max_size=4)), twice(SET),
    st.lists(st.sampled_from(('User::"ann"', 'User::"new"', 'User::"bob"')), max_size=3), twice(DECIMALS), twice(DEEP),
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> ztfast.Engine:
    policies = "".join(
        f'@id("{n}") permit (principal, action, resource) when {{ {text} }};\n' for n, text in enumerate(CONDITIONS)
    )
    lines = [{"name": "p", "tags": [1, 2]}, {"name": "new", "tags": [], "ip": {"__extn": {"fn": "ip", "arg": "::1"}}}]
    ann = {
        "uid": {"type": "User", "id": "ann"},
        "attrs": {
            "sets": [["p"], ["q", "p"], []],
            "lines": lines,
            "ips": [{"__extn": {"fn": "ip", "arg": text}} for text in ("10.0.0.1", "::1", "fd00::/8")],
            "names": ["p", "q", "new"],
        },
        "parents": [],
    }
    bundle = ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA), entities=[ann], validate="permissive")
    return ztfast.Engine(bundle)


def test_equal_values_are_those_that_cedar_takes_for_equal(engine: ztfast.Engine) -> None:
    held: Counter[str] = Counter()
    asked = 0

    @settings(max_examples=300, deadline=None)
    @given(CONTEXTS)
    def decide(given: Any) -> None:
        nonlocal asked
        (a, b), (x, y), (i, j), (s, t), u, (d, e), (deep, deeper) = given
        context = {
            "a": a, "b": b, "x": x, "y": y, "i": i, "j": j, "s": s, "t": t, "u": u, "d": d, "e": e, "deep": deep, "deeper": deeper,
        }  # fmt: skip
        for who in ('User::"ann"', 'User::"new"'):
            told = engine.explain(who, "go", 'Thing::"t"', context)
            # Of a context that could not be read, engine and Cedar would agree as well.
            assert told.decision.code in ("ALLOW", "DEFAULT"), (json.dumps(context), told.problem)
            assert told.agrees, (json.dumps(context), told.decision, [reason.policy.id for reason in told.reasons])
            held.update(told.decision.reasons)
            asked += 1

    decide()
    # The two values of the first five conditions are equal by their making about every other time.
    for number in range(5):
        assert 0 < held[str(number)] < asked, held


def test_large_sets_are_compared_as_cedar_does() -> None:
    schema = """entity User; entity Thing; action go appliesTo { principal: User, resource: Thing, context: {
        a: Set<String>, b: Set<String>, m?: Set<Set<Long>>, n?: Set<Set<Long>> } };"""
    policies = """@id("equal") permit (principal, action, resource) when { context.a == context.b };
        @id("all") permit (principal, action, resource) when { context.a.containsAll(context.b) };
        @id("any") permit (principal, action, resource) when { context.a.containsAny(context.b) };
        @id("nested") permit (principal, action, resource) when { context has m && context has n && context.m == context.n };
        @id("within") permit (principal, action, resource) when { [context.a].contains(context.b) };"""
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema)))
    names = [f"name {n}" for n in range(20_000)]
    mixed = random.Random(1).sample(names, len(names))
    pairs = [[n, n + 1, n % 7] for n in range(20_000)]
    reversed_pairs = [row[::-1] for row in pairs[::-1]]
    for context, reasons in (
        ({"a": names, "b": mixed}, ("equal", "all", "any", "within")),
        ({"a": names, "b": [*mixed, *mixed[:10]]}, ("equal", "all", "any", "within")),
        ({"a": names, "b": mixed[1:]}, ("all", "any")),
        ({"a": names, "b": [*mixed[1:], "another"]}, ("any",)),
        ({"a": [], "b": ["x"], "m": pairs, "n": reversed_pairs}, ("nested",)),
        ({"a": [], "b": ["x"], "m": pairs, "n": [*reversed_pairs[1:], [-1]]}, ()),
    ):
        decision = engine.evaluate('User::"u"', "go", 'Thing::"t"', context)
        assert (bool(decision), decision.reasons) == (bool(reasons), reasons)
