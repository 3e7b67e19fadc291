"""Sets and IP addresses that a gate's call brings without a context: each decides as ``Engine.decide`` does from a dict."""

from __future__ import annotations

import ipaddress
import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast
from tests.conftest import said

SCHEMA = """\
entity User; entity Doc; entity Colour enum ["red", "green"];
action read appliesTo { principal: User, resource: Doc, context: {
    texts: Set<String>, users: Set<User>, numbers: Set<Long>, prices?: Set<decimal>, colours?: Set<Colour>,
    from: ipaddr, within?: ipaddr, flags?: Set<Bool>,
} };
"""
POLICIES = """\
@id("texts") permit (principal, action, resource)
when { context.texts.contains("a") && !context.texts.containsAny(["x", "y"]) };
@id("empty") permit (principal, action, resource) when { context.texts.isEmpty() && context.numbers.isEmpty() };
@id("same") permit (principal, action, resource) when { context.numbers == [1, 2, 3] };
@id("own") forbid (principal, action, resource) when { context.users.contains(principal) };
@id("floor") permit (principal, action, resource) when { context.from.isInRange(ip("10.0.0.0/8")) };
@id("within") forbid (principal, action, resource) when { context has within && !context.from.isInRange(context.within) };
@id("price") forbid (principal, action, resource) when { context has prices && context.prices.contains(decimal("1.5")) };
@id("red") forbid (principal, action, resource) when { context has colours && context.colours.contains(Colour::"red") };
@id("flags") forbid (principal, action, resource) when { context has flags && context.flags == [true] };
"""
NAMES = ("texts", "users", "numbers", "prices", "colours", "from", "within", "flags")
HOME = ipaddress.ip_address("127.0.0.1")


class Desk:
    """An engine with a session, a resource, and a gate for all attributes."""

    def __init__(self, **options: Any) -> None:
        bundle = ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA))
        self.engine = ztfast.Engine(bundle, sessions=16, handles=4096, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')
        self.users = [self.engine.resource(f'User::"{name}"') for name in ("u", "v", "w")]
        self.gate = self.engine.prepare("read", *NAMES)

    def decided(self, **changed: Any) -> ztfast.Decision | str:
        """Return the decision, or the error, on which all ways agree."""
        values: dict[str, Any] = dict.fromkeys(NAMES, ztfast.ABSENT) | {
            "texts": ["z"], "users": [], "numbers": [7], "from": HOME, **changed,
        }  # fmt: skip
        context = {name: value for name, value in values.items() if value is not ztfast.ABSENT}
        by_dict = said(lambda: self.engine.decide(self.session, "read", self.doc, context))
        arguments = (self.session, self.doc, *values.values())
        for _ in range(2):
            assert said(lambda: self.gate.decide(*arguments)) == by_dict, changed
            allowed = said(lambda: self.gate.allows(*arguments))
            assert allowed == (by_dict if isinstance(by_dict, str) else bool(by_dict)), changed
        return by_dict

    def code(self, **changed: Any) -> str:
        """Return the code on which all ways agree, or the name of the error."""
        decided = self.decided(**changed)
        return decided if isinstance(decided, str) else decided.code


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


class Listed(list[Any]):
    """A list of a class of its own."""


@pytest.mark.parametrize("make", [list, tuple, set, frozenset, Listed, lambda texts: dict.fromkeys(texts).keys()])
def test_every_kind_of_set_is_read(desk: Desk, make: Callable[[Any], Any]) -> None:
    assert desk.code(texts=make(["a", "b", "a"])) == "ALLOW"
    assert desk.code(texts=make(["b", "c"])) == "DEFAULT"
    assert desk.code(texts=make(["a", "never seen", "x"])) == "DEFAULT"
    assert desk.code(texts=make(["a", "grün", "\U0001f600"])) == "ALLOW"
    assert desk.code(texts=make([]), numbers=make([])) == "ALLOW"
    assert desk.code(numbers=make([3, 2, 1, 2])) == "ALLOW"
    assert desk.code(numbers=make([3, 2])) == "DEFAULT"
    assert desk.code(texts=["a"], users=make(desk.users)) == "FORBID"
    assert desk.code(texts=["a"], users=make(desk.users[1:])) == "ALLOW"
    assert desk.code(texts=["a"], prices=make([Decimal("1.5"), 2])) == "FORBID"
    assert desk.code(texts=["a"], prices=make([Decimal("1.51")])) == "ALLOW"
    assert desk.code(texts=["a"], flags=make([True, True])) == "FORBID"
    assert desk.code(texts=["a"], flags=make([True, False])) == "ALLOW"


def test_elements_of_every_accepted_type_are_read(desk: Desk) -> None:
    assert desk.code(texts=["a"], users=['User::"u"']) == "FORBID"
    assert desk.code(texts=["a"], users=[ztfast.Uid("User", "u"), desk.users[1]]) == "FORBID"
    assert desk.code(texts=["a"], prices=["1.5"]) == "FORBID"
    assert desk.code(texts=["a"], colours=['Colour::"red"']) == "FORBID"
    assert desk.code(texts=["a"], colours=[desk.engine.resource('Colour::"green"')]) == "ALLOW"
    assert desk.code(texts=["a"], colours=['Colour::"blue"']) == "BAD_VALUE"


def test_elements_that_were_removed_are_in_no_set(desk: Desk) -> None:
    texts = {"a", "x", *map(str, range(40))}
    texts.discard("x")
    assert desk.code(texts=texts) == "ALLOW"
    texts.add("y")
    texts.discard("a")
    assert desk.code(texts=texts) == "DEFAULT"


@pytest.mark.parametrize("wrong", [1, None, "a", b"a", {"a": 1}, iter(["a"]), ["a", 1], [["a"]], [None]])
def test_what_is_no_set_of_texts_raises(desk: Desk, wrong: Any) -> None:
    assert desk.code(texts=wrong).startswith("ContextError: ")


def test_values_out_of_their_range_deny(desk: Desk) -> None:
    assert desk.code(numbers=[1, 2**63]) == "BAD_VALUE"
    assert desk.code(texts=["a", "\udc80"]) == "BAD_VALUE"
    assert desk.code(prices=[Decimal("NaN")]) == "BAD_VALUE"
    assert desk.code(**{"from": "10.0.0.300"}) == "BAD_VALUE"
    strict = Desk(strict=True)
    assert strict.code(numbers=[1, 2**63]).startswith("ContextError: ")
    assert strict.code(**{"from": "10.0.0.300"}).startswith("ContextError: ")


def test_handles_of_another_engine_deny(desk: Desk) -> None:
    assert desk.code(texts=["a"], users=[Desk().users[0]]) == "UNKNOWN_HANDLE"
    assert desk.code(texts=["a"], users=[desk.doc]).startswith("ContextError: ")


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.1.2.3", "ALLOW"),
        ("10.1.2.0/24", "ALLOW"),
        ("10.0.0.0/7", "DEFAULT"),
        (ipaddress.ip_address("10.255.255.255"), "ALLOW"),
        (ipaddress.ip_address("11.0.0.0"), "DEFAULT"),
        (ipaddress.ip_network("10.0.0.0/9"), "ALLOW"),
        (ipaddress.ip_address("::1"), "DEFAULT"),
        (ipaddress.ip_address("::ffff:10.0.0.1"), "DEFAULT"),
        (ipaddress.ip_network("fe80::/10"), "DEFAULT"),
        (ipaddress.ip_address("fe80::1%eth0"), "BAD_VALUE"),
        ({"__extn": {"fn": "ip", "arg": "10.0.0.1"}}, "ALLOW"),
        ("10.0.0.01", "BAD_VALUE"),
        ("10.0.0.1/33", "BAD_VALUE"),
        ("\u0661\u0660.0.0.1", "BAD_VALUE"),
        ("", "BAD_VALUE"),
        (ipaddress.ip_interface("10.0.0.1/8"), "ALLOW"),
        (10, "ContextError"),
        (b"10.0.0.1", "ContextError"),
    ],
)  # fmt: skip
def test_every_kind_of_address_is_read(desk: Desk, address: Any, code: str) -> None:
    assert desk.code(**{"from": address}).partition(":")[0] == code


def test_two_addresses_are_compared(desk: Desk) -> None:
    for within, code in (("10.0.0.0/8", "ALLOW"), (ipaddress.ip_network("10.1.0.0/16"), "FORBID"), ("::/0", "FORBID")):
        assert desk.code(**{"from": "10.2.0.1", "within": within}) == code


@pytest.mark.parametrize("count", [1, 31, 33, 63, 64, 65, 500])
def test_sets_of_every_size_are_read(desk: Desk, count: int) -> None:
    foreign = [f"text {number}" for number in range(count)]
    assert desk.code(texts=["a", *foreign]) == "ALLOW"
    assert desk.code(texts=[*foreign, "x", "a"]) == "DEFAULT"
    users = [desk.engine.resource(f'User::"{number}"') for number in range(count)]
    assert desk.code(texts=["a"], users=[*users, desk.users[0]]) == "FORBID"
    assert desk.code(texts=["a"], users=users) == "ALLOW"


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_random_values_decide_as_in_a_context(data: st.DataObject) -> None:
    desk = Desk()
    texts = st.lists(st.sampled_from(["a", "b", "x", "y", "ä", "never"]), max_size=5)
    made = {
        "texts": data.draw(texts),
        "users": data.draw(st.lists(st.sampled_from(desk.users), max_size=3)),
        "numbers": data.draw(st.lists(st.integers(0, 4), max_size=4)),
        "prices": data.draw(st.just(ztfast.ABSENT) | st.lists(st.decimals("0", "3", places=1), max_size=3)),
        "from": data.draw(st.ip_addresses() | st.sampled_from(["10.0.0.1", "10.0.0.0/8", "1.2.3.4"])),
    }
    desk.decided(
        **{
            name: set(value) if type(value) is list and data.draw(st.booleans()) else value
            for name, value in made.items()
        }
    )


@pytest.mark.parametrize("spare", range(-3, 4))
def test_contexts_as_large_as_the_engine_takes_are_decided_alike(spare: int) -> None:
    texts = ["a", "b" * 100, *("c" * length for length in range(20))]
    size = 16 * 4 + sum(16 + len(text) for text in texts) + len("127.0.0.1") + 16
    desk = Desk(max_context=size + spare)
    assert desk.code(texts=texts) == ("ALLOW" if spare >= 0 else "TOO_LARGE")
    assert desk.code(texts=["a"]) == "ALLOW"


def test_sets_survive_swaps_of_bundles() -> None:
    desk = Desk()
    rng = random.Random(1)
    for _ in range(20):
        desk.engine.swap(ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA)))
        texts = rng.sample(["a", "b", "x", "never"], 2)
        assert desk.code(texts=texts) == ("ALLOW" if "a" in texts and "x" not in texts else "DEFAULT")
