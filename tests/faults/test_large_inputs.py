"""Inputs beyond every measure: an error or the right answer, never a crash. Each runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

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
    ids=["like", "set", "parentheses", "or-chain", "entities", "many-policies"],
)
def test_it_is_survived(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
