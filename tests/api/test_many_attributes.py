"""Actions with more attributes than a call takes on its stack: all ways of deciding work as for others."""

from __future__ import annotations

import math

import pytest

import ztfast


@pytest.mark.parametrize("count", [63, 64, 65, 66, 130, 300])
def test_any_number_of_attributes_is_decided_as_evaluate_does(count: int) -> None:
    names = [f"a{at}" for at in range(count)]
    kinds = ["String" if at % 7 == 3 else "decimal" if at % 7 == 5 else "Long" for at in range(count)]
    context = ", ".join(f"{name}: {kind}" for name, kind in zip(names, kinds, strict=True))
    last = max(at for at in range(count) if kinds[at] == "Long")
    text = max(at for at in range(count) if kinds[at] == "String")
    policies = f"""
        @id("p") permit (principal == User::"u", action, resource) when {{ context.a{last} == 7 }};
        @id("f") forbid (principal, action, resource) when {{ context.a{text} like "*no*" }};
    """
    schema = f"entity User; entity Doc; action read appliesTo {{ principal: User, resource: Doc, context: {{ {context} }} }};"
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema)), handles=64)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
    user, doc = engine.resource('User::"u"'), engine.resource('Doc::"d"')
    gate = engine.prepare("read", *names)
    rows = []
    for n in (7, 8):
        for said in ("yes", "no", "it is not known"):
            given: list[object] = [{"String": "x", "decimal": "1.5", "Long": 1}[kind] for kind in kinds]
            given[last], given[text] = n, said
            expected = engine.evaluate('User::"u"', "read", doc, dict(zip(names, given, strict=True)))
            assert gate.decide(session, doc, *given) == expected
            assert gate.allows(session, doc, *given) is bool(expected)
            rows.append((given, expected.number))
    codes = [code for _, code in rows]
    assert set(codes) == {ztfast.Code.ALLOW, ztfast.Code.FORBID, ztfast.Code.DEFAULT}
    columns = [[row[at] for row, _ in rows] for at in range(count)]
    assert gate.decide_many(session, doc, *columns).tolist() == codes
    assert gate.evaluate_many(user, doc, *columns).tolist() == codes
    assert engine.evaluate_many(user, "read", doc, dict(zip(names, columns, strict=True))).tolist() == codes
    with pytest.raises(ztfast.ContextError, match="wanted"):
        gate.decide(session, doc, *([1] * (count - 1)))
    with pytest.raises(ztfast.ContextError):
        gate.decide(session, doc, *([object()] * count))


def test_absent_attributes_beyond_the_first_64() -> None:
    names = [f"a{at}" for at in range(80)]
    context = ", ".join(f"{name}?: Long" for name in names)
    schema = f"entity User; entity Doc; action read appliesTo {{ principal: User, resource: Doc, context: {{ {context} }} }};"
    policies = "permit (principal, action, resource) unless { context has a70 && context.a70 != 7 };"
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema)), handles=64)
    session = engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
    gate, doc = engine.prepare("read", *names), engine.resource('Doc::"d"')
    for value, allowed in ((7, True), (8, False), (ztfast.ABSENT, True)):
        values = [value if at == 70 else 1 for at in range(80)]
        assert gate.allows(session, doc, *values) is allowed
        assert bool(gate.decide(session, doc, *values)) is allowed
    columns = [[7, ztfast.ABSENT] if at == 70 else [1, 1] for at in range(80)]
    with pytest.raises(ztfast.ContextError, match="64"):
        gate.decide_many(session, doc, *columns)
