"""Gates with values that have no numbers: sets, addresses and records, with absent attributes among them.

A gate must decide as ``Engine.decide`` does with the same values in a dict, in any order of the attributes. The decision must
use the newest bundle, even if reading a value runs arbitrary Python code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ztfast
from ztfast import ABSENT

SCHEMA = """\
entity User; entity Doc;
action read appliesTo { principal: User, resource: Doc, context: {
    tags: Set<String>,
    note?: String,
    must: { ip?: ipaddr, size?: Long },
    maybe?: { level: Long, names?: Set<String> },
} };
action list appliesTo { principal: User, resource: Doc, context: { tags: Set<String> } };
"""
POLICIES = """\
@id("open") permit (principal, action, resource) when { context.tags.contains("open") };
@id("note") permit (principal, action == Action::"read", resource) when { context has note && context.note == "n" };
@id("ip") forbid (principal, action == Action::"read", resource)
when { context.must has ip && context.must.ip.isLoopback() };
@id("size") forbid (principal, action == Action::"read", resource) when { context.must has size && context.must.size > 9 };
@id("maybe") forbid (principal, action == Action::"read", resource) when { context has maybe && context.maybe.level > 5 };
@id("names") permit (principal, action == Action::"read", resource)
when { context has maybe && context.maybe has names && context.maybe.names == ["a"] };
"""
# For each attribute what it may be given.
GIVEN: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("tags",): (["open"], ["shut"], "no set", ABSENT),
    ("note",): ("n", "\ud800", ABSENT),
    ("must", "ip"): ("127.0.0.1", "10.0.0.1", ABSENT),
    ("must", "size"): (10, 2**70, ABSENT),
    ("maybe", "level"): (6, 1, ABSENT),
    ("maybe", "names"): ({"a"}, ABSENT),
}


def compiled(schema: str = SCHEMA, policies: str = POLICIES) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema))


class Desk:
    """An engine with a session and a resource."""

    def __init__(self, **options: Any) -> None:
        self.engine = ztfast.Engine(compiled(), sessions=16, handles=1024, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')

    def said(self, decide: Callable[[], object]) -> object:
        """Return the decision of a call, or the error that it raises."""
        try:
            return decide()
        except ztfast.ContextError as error:
            return str(error)


def contexts(paths: tuple[tuple[str, ...], ...]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Give all combinations of values, in the order of the paths and as a dict."""
    for values in itertools.product(*(GIVEN[path] for path in paths)):
        context: dict[str, Any] = {}
        for path, value in zip(paths, values, strict=True):
            inner = context
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = value
        yield values, context


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("strict", [False, True])
def test_a_gate_says_what_the_engine_says_of_a_dict(order: int, strict: bool) -> None:
    desk = Desk(strict=strict)
    paths = tuple(GIVEN)[::order]
    gate = desk.engine.prepare("read", *paths)
    seen = set()
    for values, context in contexts(paths):
        wanted = desk.said(lambda: desk.engine.decide(desk.session, "read", desk.doc, context))  # noqa: B023
        assert desk.said(lambda: gate.decide(desk.session, desk.doc, *values)) == wanted, values  # noqa: B023
        seen.add(wanted if isinstance(wanted, str) else wanted.code)  # type: ignore[attr-defined]
    assert {"ALLOW", "FORBID", "DEFAULT"} < seen
    assert ("BAD_VALUE" in seen) != strict
    assert 'Action::"read": the context lacks the required attributes tags' in seen
    assert 'Action::"read": the context lacks the required attributes maybe.level' in seen


def test_a_large_context_is_too_large_for_both() -> None:
    desk = Desk(max_context=200)
    gate = desk.engine.prepare("list", "tags")
    for length, code in ((8, "ALLOW"), (20, "TOO_LARGE")):
        tags = ["open", *map(str, range(length))]
        assert gate.decide(desk.session, desk.doc, tags).code == code
        assert desk.engine.decide(desk.session, "list", desk.doc, {"tags": tags}).code == code


class Then(list[Any]):
    """A list that runs a function whenever it is iterated."""

    def __init__(self, items: list[Any], then: Callable[[], object]) -> None:
        super().__init__(items)
        self.then = then

    def __iter__(self) -> Iterator[Any]:
        self.then()
        return super().__iter__()


def test_a_bundle_that_comes_while_values_are_read_decides() -> None:
    desk = Desk()
    gate = desk.engine.prepare("list", "tags")
    shut = compiled(policies=POLICIES.replace('contains("open")', 'contains("shut")'))
    assert gate.decide(desk.session, desk.doc, Then(["open"], lambda: None)).code == "ALLOW"
    bundles = [shut]
    once = Then(["open"], lambda: bundles and desk.engine.swap(bundles.pop()))
    assert gate.decide(desk.session, desk.doc, once).code == "DEFAULT"
    assert not bundles


def test_a_gate_that_goes_stale_while_values_are_read_denies_and_raises_nothing() -> None:
    desk = Desk()
    gate = desk.engine.prepare("list", "tags")
    other = compiled(SCHEMA.replace("action list appliesTo", "action lists appliesTo"))
    # Of the old bundle it would raise: the attribute's elements are texts.
    for items in (["open"], [1]):
        desk.engine.swap(compiled())
        values = Then(items, lambda: desk.engine.swap(other, allow_stale=True))
        assert gate.decide(desk.session, desk.doc, values).code == "STALE_GATE"
    desk.engine.swap(compiled())
    with pytest.raises(ztfast.ContextError, match=r"context attribute 'tags\[\]'"):
        gate.decide(desk.session, desk.doc, Then([1], lambda: None))


def test_bundles_that_never_cease_to_come_are_no_decision() -> None:
    desk = Desk()
    gate = desk.engine.prepare("list", "tags")
    bundle, read = compiled(), []

    def swap() -> None:
        read.append(None)
        desk.engine.swap(bundle)

    assert gate.decide(desk.session, desk.doc, Then(["open"], swap)).code == "STALE_GATE"
    assert 1 < len(read) < 100


def test_what_a_value_raises_itself_goes_through() -> None:
    desk = Desk()
    gate = desk.engine.prepare("list", "tags")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate.decide(desk.session, desk.doc, Then(["open"], stop))


def test_a_gate_that_decides_by_such_values_lets_go_of_old_bundles() -> None:
    desk = Desk()
    gate = desk.engine.prepare("list", "tags")
    desk.engine.swap(compiled(policies=POLICIES.replace("> 9", "> 8")))
    assert desk.engine.memory.replaced > 0
    assert gate.decide(desk.session, desk.doc, ["open"]).code == "ALLOW"
    assert desk.engine.memory.replaced == 0
