"""Extremely large inputs: an error or the right answer, never a crash. Each runs in its own process."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap

import pytest

import ztfast

PRELUDE = """
import ztfast
SCHEMA = ztfast.Text('entity U; action go appliesTo { principal: U, resource: U, context: { s?: String, set?: Set<String> } };')
def decide(policy, context, **options):
    bundle = ztfast.compile(ztfast.Text(policy), schema=SCHEMA, validate="permissive", **options)
    return bundle, ztfast.Engine(bundle).evaluate('U::"a"', "go", 'U::"b"', context)
"""


@pytest.mark.parametrize(
    "script",
    [
        # A long text against a pattern that makes a naive matcher slow.
        """
        policy = 'permit (principal, action, resource) when { context.s like "*a*a*a*a*b" };'
        assert not decide(policy, {"s": "a" * 1_000_000})[1]
        assert decide(policy, {"s": "a" * 100_000 + "b"})[1]
        """,
        """
        policy = 'permit (principal, action, resource) when { context.set.containsAll(["1", "9999"]) };'
        assert decide(policy, {"set": [str(n) for n in range(10_000)]})[1]
        """,
        # As deep as a sum of so many terms is, and values nested in each other: compiled all the same.
        """
        for condition, holds in (
            (" + ".join(["1"] * 3_000) + " == 3000", True),
            ("if context has s then false else " * 500 + "true", True),
            ("[" * 300 + "1" + "]" * 300 + " == " + "[" * 300 + "1" + "]" * 300, True),
            ("[" * 300 + "1" + "]" * 300 + " == " + "[" * 300 + "2" + "]" * 300, False),
        ):
            bundle, decision = decide(f"permit (principal, action, resource) when {{ {condition} }};", {})
            assert bundle.stats.fallbacks == 0
            assert bool(decision) == holds, decision
        """,
        # Nested beyond what any policy needs.
        """
        for depth in (100, 1_000, 100_000):
            policy = 'permit (principal, action, resource) when { ' + '(' * depth + 'true' + ')' * depth + ' };'
            try:
                assert decide(policy, {})[1]
            except ztfast.PolicyError:
                assert depth > 100
        """,
        """
        policy = 'permit (principal, action, resource) when { ' + ' || '.join(f'context.s == "{n}"' for n in range(3_000)) + ' };'
        bundle, decision = decide(policy, {"s": "2999"})
        assert decision and not decide(policy, {"s": "3000"})[1]
        """,
        """
        policy = 'permit (principal, action, resource) when { ' + '!' * 3 + 'false };'
        assert decide(policy, {})[1]
        deep = '[' * 100_000 + ']' * 100_000
        try:
            ztfast.compile(ztfast.Text(policy), schema=SCHEMA, entities=ztfast.Text(deep, "deep.json"))
        except ztfast.PolicyError:
            pass
        else:
            raise SystemExit("deeply nested entities went through")
        """,
        # More policies in one cell than a decision keeps.
        """
        policy = ''.join('permit (principal, action, resource) when { context has s };' for _ in range(2_000))
        assert len(decide(policy, {"s": ""})[1].reasons) == 2_000
        """,
    ],
    ids=["like", "set", "deep", "parentheses", "or-chain", "entities", "many-policies"],
)
def test_large_inputs_are_survived(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


COUNT = 3_000
CROWD = [{"uid": {"type": "U", "id": str(n)}, "attrs": {"n": n}, "parents": []} for n in range(COUNT)] + [
    {"uid": {"type": "D", "id": str(n)}, "attrs": {"owner": {"type": "U", "id": str(n)}, "n": n}, "parents": []}
    for n in range(COUNT)
]


@pytest.mark.parametrize(
    ("policies", "allowed", "denied"),
    [
        (
            "".join(f'permit (principal == U::"{n}", action, resource == D::"{n}");' for n in range(COUNT)),
            (7, 7),
            (7, 8),
        ),
        (
            "".join(f"permit (principal, action, resource) when {{ context.x == {n} }};" for n in range(1, COUNT)),
            (7, 7),
            None,
        ),
        ("permit (principal, action, resource) when { resource.owner == principal };", (7, 7), (7, 8)),
        ("permit (principal, action, resource) when { principal.n == resource.n };", (7, 7), (7, 8)),
        ("permit (principal, action, resource) when { principal.n + context.x > resource.n };", (7, 7), (7, 2_000)),
    ],
    ids=["each-its-own-class", "each-its-own-residual", "owner", "values", "request-and-values"],
)
def test_nothing_makes_the_tables_explode(
    policies: str, allowed: tuple[int, int], denied: tuple[int, int] | None
) -> None:
    bundle = ztfast.compile(
        ztfast.Text(policies),
        schema=ztfast.Text(
            "entity U { n: Long }; entity D { owner: U, n: Long };"
            "action go appliesTo { principal: U, resource: D, context: { x: Long } };"
        ),
        entities=CROWD,
    )
    # A cell for each pair would be 36 MB.
    assert bundle.stats.bytes < 12 << 20
    assert bundle.stats.fallbacks == 0
    engine = ztfast.Engine(bundle)
    gate = engine.prepare("go", "x")

    def decide(pair: tuple[int, int], x: int) -> ztfast.Decision:
        session = engine.admit(ztfast.Identity(f'U::"{pair[0]}"', not_after=math.inf))
        return gate.decide(session, engine.resource(f'D::"{pair[1]}"'), x)

    assert decide(allowed, 1)
    assert not (decide(denied, 1) if denied else decide(allowed, 0))
