"""A gate remembers decisions by their policies, in fewer places than there can be decisions: each answer is still its own."""

from __future__ import annotations

import ztfast

POLICIES = 1_500
SCHEMA = "entity User, Doc; action view appliesTo { principal: User, resource: Doc, context: { n: Long } };"


def test_more_decisions_than_a_gate_remembers_keep_their_reasons() -> None:
    permits = (
        f'@id("p{n}") permit (principal, action, resource) when {{ context.n == {n} }};' for n in range(POLICIES)
    )
    engine = ztfast.Engine(ztfast.compile(ztfast.Text("\n".join(permits)), schema=ztfast.Text(SCHEMA)))
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=4_000_000_000))
    gate, doc = engine.prepare("view", "n"), engine.resource('Doc::"d"')
    for _ in range(2):
        told = [gate.decide(session, doc, n).reasons for n in range(POLICIES)]
        assert told == [(f"p{n}",) for n in range(POLICIES)]
