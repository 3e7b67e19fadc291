"""Sets, addresses, texts and entities that a gate's call reads from the memory of Python's objects.

Each must decide as ``Engine.decide`` does from a dict, whatever the object holds, and no Python code may run. Where Python code
does run, because a value is unusual, it may change the other values of the call.
"""

from __future__ import annotations

import enum
import gc
import ipaddress
import math
import random
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

import ztfast
from tests.conftest import said
from tests.racing import beside

SCHEMA = """\
entity User; entity Doc;
action read appliesTo { principal: User, resource: Doc, context: {
    address?: ipaddr, wanted?: ipaddr, texts?: Set<String>, users?: Set<User>, numbers?: Set<Long>, prices?: Set<decimal>,
    others?: Set<String>, text?: String, who?: User,
} };
"""
POLICIES = """\
@id("address") permit (principal, action, resource)
when { context has address && context has wanted && context.address == context.wanted };
@id("texts") permit (principal, action, resource)
when { context has texts && context.texts.contains("in") && !context.texts.contains("out") };
@id("others") permit (principal, action, resource) when { context has others && context.others == ["in", "other"] };
@id("users") permit (principal, action, resource) when { context has users && context.users.contains(User::"u") };
@id("numbers") permit (principal, action, resource) when { context has numbers && context.numbers == [1, 2] };
@id("prices") permit (principal, action, resource)
when { context has prices && context.prices.contains(decimal("1.5")) };
@id("text") permit (principal, action, resource) when { context has text && context.text like "in*" };
@id("who") permit (principal, action, resource) when { context has who && context.who == User::"u" };
"""


class Desk:
    """An engine with a session, a resource, and gates that are prepared when they are first asked for."""

    def __init__(self, bundle: ztfast.Bundle | None = None, **options: Any) -> None:
        bundle = bundle or ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA))
        self.engine = ztfast.Engine(bundle, handles=4096, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')
        self.users = [self.engine.resource(f'User::"{name}"') for name in ("u", "v")]
        self.gates: dict[tuple[str, ...], ztfast.Gate] = {}

    def call(self, **given: Any) -> tuple[ztfast.Gate, tuple[Any, ...]]:
        """Return the gate for these attributes, and the arguments of a call."""
        names = tuple(given)
        if names not in self.gates:
            self.gates[names] = self.engine.prepare("read", *names)
        return self.gates[names], (self.session, self.doc, *given.values())

    def decided(self, **given: Any) -> str:
        """Return the reasons, the code or the name of the error, on which all ways agree."""
        gate, arguments = self.call(**given)
        by_dict = said(lambda: self.engine.decide(self.session, "read", self.doc, given))
        assert said(lambda: gate.decide(*arguments)) == by_dict, given
        allowed = said(lambda: gate.allows(*arguments))
        if isinstance(by_dict, str):
            assert allowed == by_dict
            return by_dict.partition(":")[0]
        assert allowed is bool(by_dict), given
        return " ".join(by_dict.reasons) or by_dict.code


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(("cls", "bits"), [(ipaddress.IPv4Address, 32), (ipaddress.IPv6Address, 128)])
def test_addresses_of_every_length_are_their_texts(desk: Desk, cls: Any, bits: int) -> None:
    draw = random.Random(bits)
    numbers = {0, (1 << bits) - 1, *(1 << at for at in range(bits)), *((1 << at) - 1 for at in range(bits))}
    for number in numbers | {draw.getrandbits(bits) for _ in range(100)}:
        address, other = cls(number), cls(number ^ 1 << draw.randrange(bits))
        for text in (address.exploded, other.exploded):
            assert desk.decided(address=address, wanted=text) == ("address" if text == address.exploded else "DEFAULT")
        assert desk.decided(address=other, wanted=address) == "DEFAULT"


def test_an_address_is_no_address_of_the_other_family(desk: Desk) -> None:
    for number in (0, 1, 2**32 - 1):
        four, six = ipaddress.IPv4Address(number), ipaddress.IPv6Address(number)
        assert desk.decided(address=four, wanted=six) == "DEFAULT"
        assert desk.decided(address=six, wanted=six) == desk.decided(address=four, wanted=four) == "address"


@pytest.mark.parametrize("count", [*range(1, 12), 63, 64, 65, 127, 128, 129, 200])
@pytest.mark.parametrize("make", [tuple, list, set, frozenset])
def test_every_element_of_every_kind_of_set_is_read(desk: Desk, make: Callable[[Any], Any], count: int) -> None:
    others = [f"text {at}" for at in range(count - 1)]
    for at in {0, count // 2, count - 1}:
        texts = [*others[:at], "in", *others[at:]]
        assert desk.decided(texts=make(texts)) == "texts"
        assert desk.decided(texts=make([*others[:at], "i" + "m", *others[at:]])) == "DEFAULT"
        assert desk.decided(texts=make([*texts, "out"])) == "DEFAULT"
    users = [desk.engine.resource(f'User::"{at}"') for at in range(count - 1)]
    assert desk.decided(users=make([*users, desk.users[0]])) == "users"
    assert desk.decided(users=make([*users, desk.users[1]])) == "DEFAULT"
    assert desk.decided(numbers=make(range(1, count + 1))) == ("numbers" if count == 2 else "DEFAULT")
    assert desk.decided(prices=make([Decimal(at) for at in range(count - 1)] + [Decimal("1.5")])) == "prices"


def test_a_set_that_lost_elements_has_the_others(desk: Desk) -> None:
    texts = {*map(str, range(100)), "in", "out"}
    for gone in (*map(str, range(100)), "out"):
        assert desk.decided(texts=texts) == "DEFAULT"
        texts.discard(gone)
    assert desk.decided(texts=texts) == "texts"
    texts.discard("in")
    assert desk.decided(texts=texts) == "DEFAULT"


class Text(str):
    """A text of a class of its own, which says that it is another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "out"

    def __eq__(self, other: object) -> bool:
        return other == "out"

    __hash__ = str.__hash__


class Pair(NamedTuple):
    first: Any
    second: Any


class Level(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize("make", [tuple, list, set, frozenset, lambda two: Pair(*two)])
def test_elements_of_classes_of_their_own_are_what_they_are(desk: Desk, make: Callable[[Any], Any]) -> None:
    assert desk.decided(texts=make([Text("in"), "other"])) == "texts"
    assert desk.decided(texts=make(["in", Text("out")])) == "DEFAULT"
    assert desk.decided(numbers=make([Level.ONE, 2])) == "numbers"
    assert desk.decided(numbers=make([True, 2])) == "ContextError"
    assert desk.decided(numbers=make([1, 2**63])) == "BAD_VALUE"
    assert desk.decided(users=make([desk.users[1], 'User::"u"'])) == "users"
    assert desk.decided(users=make([desk.users[1], desk.doc])) == "ContextError"
    assert desk.decided(users=make([desk.users[0], "in"])) == "ContextError"
    assert desk.decided(texts=make([desk.users[0], "in"])) == "ContextError"
    assert desk.decided(texts=make([("in",), "in"])) == "ContextError"
    assert desk.decided(texts=make(["in", None])) == "ContextError"


@pytest.mark.parametrize("text", ["", "in", "in" + "x" * 5000, "iñ", "inñ", "\u0130n", "in\U0001f600", Text("inn")])
def test_texts_of_every_kind_are_read(desk: Desk, text: str) -> None:
    expected = "text" if str.__getitem__(text, slice(2)) == "in" else "DEFAULT"
    assert desk.decided(text=text) == expected
    assert desk.decided(text=text, who=desk.users[0]) == ("text who" if expected == "text" else "who")
    assert desk.decided(text=text, who=desk.users[1]) == expected


@pytest.mark.parametrize("wrong", ["in\ud800", 5, None, b"in", ("in",), 1.5])
def test_wrong_values_beside_right_ones(desk: Desk, wrong: Any) -> None:
    right = {"text": "in", "who": desk.users[0], "numbers": (1, 2), "address": "10.0.0.1", "texts": ["in"]}
    for name in right:
        is_right = name == "texts" and wrong == ("in",)
        assert (desk.decided(**{**right, name: wrong}) in ("BAD_VALUE", "ContextError")) is not is_right, name
    assert desk.decided(**right) == "texts numbers text who"


def kept(desk: Desk) -> Iterator[dict[str, Any]]:
    """Give values of all the types that are read in place."""
    address = ipaddress.ip_address
    yield {"address": address("10.20.1.5"), "wanted": address("255.255.255.255")}
    yield {"address": address("fd00::1"), "wanted": address("ffff::")}
    yield {"address": "10.0.0.0/8", "wanted": "::1"}
    for make in (tuple, list, set, frozenset):
        yield {"texts": make(["in", "never seen", "grün"]), "users": make(desk.users), "numbers": make([1, 2**62])}
        yield {"prices": make([Decimal("1.5"), 2])}
    yield {"text": "never seen", "who": desk.users[0]}


def test_no_python_code_runs(desk: Desk) -> None:
    for given in kept(desk):
        gate, arguments = desk.call(**given)
        called: list[Any] = []
        # A decision is cached when it is made for the first time.
        gate.decide(*arguments)
        sys.setprofile(lambda frame, event, _, called=called: called.append(frame.f_code) if event == "call" else None)
        try:
            gate.allows(*arguments)
            gate.decide(*arguments)
        finally:
            sys.setprofile(None)
        assert called == [], given


def test_a_call_keeps_no_reference(desk: Desk) -> None:
    for given in kept(desk):
        gate, arguments = desk.call(**given)
        # A set of entities that is passed twice is remembered.
        gate.decide(*arguments)
        gate.decide(*arguments)
        parts = [*given.values(), *(part for value in given.values() if type(value) is tuple for part in value)]
        gc.collect()
        before = [sys.getrefcount(part) for part in parts]
        for _ in range(100):
            gate.allows(*arguments)
            gate.decide(*arguments)
        assert [sys.getrefcount(part) for part in parts] == before, given


def test_several_sets_and_addresses_of_a_call_are_their_own(desk: Desk) -> None:
    four, six = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1")
    for make in (tuple, list, set, frozenset):
        texts, users, numbers = make(["in", "never seen"]), make(desk.users), make([1, 2])
        sets = {"texts": texts, "users": users, "numbers": numbers}
        others = make(["other", "in"])
        assert desk.decided(**sets, address=four, wanted=four) == "address texts users numbers"
        assert desk.decided(texts=make(["out"]), others=others) == desk.decided(others=others) == "others"
        assert desk.decided(others=others, texts=make(["out"])) == "others"
        assert desk.decided(others=others, texts=make(["in"])) == "texts others"
        assert desk.decided(**sets, address=four, wanted=six) == "texts users numbers"
        assert desk.decided(**{**sets, "texts": make([])}, address=six, wanted=six) == "address users numbers"
        assert desk.decided(**{**sets, "users": make(desk.users[1:])}, address=six, wanted=four) == "texts numbers"
        for count in (20, 60, 61, 62, 63, 64, 100):
            more = {"texts": make([*map(str, range(count)), "in"]), "users": make(desk.users)}
            assert desk.decided(**more, numbers=make([1, 2])) == "texts users numbers"
            assert desk.decided(**more, numbers=make(range(count))) == "texts users"


LARGE = (
    {"texts": ["in", "never seen", "grün"]},
    {"texts": ("in",), "others": frozenset(["in", "x" * 70])},
    {"users": ["u", "v", "w" * 20]},
    {"numbers": {1, 2}},
    {"prices": (Decimal("1.5"), 2, 3)},
    {"text": "in a call"},
    {"text": "inñ"},
    {"who": "u"},
    {"address": ipaddress.ip_address("255.255.255.255"), "wanted": "255.255.255.255"},
    {"address": ipaddress.ip_address("fd00::1"), "wanted": ipaddress.ip_address("fd00::1")},
)


@pytest.mark.parametrize("given", LARGE, ids=str)
def test_a_call_has_as_much_room_as_a_context(given: dict[str, Any]) -> None:
    bundle = ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA))

    def code(most: int) -> str:
        desk = Desk(bundle, max_context=most)
        values = dict(given)
        if "users" in values:
            values["users"] = [desk.engine.resource(ztfast.Uid("User", name)) for name in values["users"]]
        if "who" in values:
            values["who"] = desk.users[0]
        gate, arguments = desk.call(**values)
        by_dict = desk.engine.decide(desk.session, "read", desk.doc, values).code
        # More than once, as a gate remembers texts.
        allowed = {gate.allows(*arguments) for _ in range(3)} | {bool(gate.decide(*arguments)) for _ in range(3)}
        assert allowed == {by_dict == "ALLOW"}, most
        return by_dict

    least = next(most for most in range(16, 1000) if code(most) == "ALLOW")
    assert least > 16 * len(given)
    assert code(least - 1) == "TOO_LARGE"
    assert all(code(least + more) == "ALLOW" for more in range(10))


def test_a_text_that_the_bundle_lacked_is_looked_up_after_a_swap() -> None:
    desk, schema = Desk(), ztfast.Text(SCHEMA)
    texts, other = ["lacked"], "lacked too"
    for _ in range(3):
        assert desk.decided(texts=texts, text=other) == "DEFAULT"
    for name, value in (("has", "lacked"), ("is", "lacked too"), ("neither", "x")):
        policy = (
            f'@id("{name}") permit (principal, action, resource) when {{ context has texts && context has text && '
            f'(context.texts.contains("{value}") || context.text == "{value}") }};'
        )
        for policies in (policy, POLICIES):
            desk.engine.swap(ztfast.compile(ztfast.Text(policies), schema=schema))
            for _ in range(3):
                expected = name if policies == policy and name != "neither" else "DEFAULT"
                assert desk.decided(texts=texts, text=other) == expected


def test_a_text_that_a_change_brings_is_the_one_that_the_bundle_lacks() -> None:
    schema = ztfast.Text(SCHEMA.replace("entity User;", "entity User { name?: String };"))
    policies = ztfast.Text(
        '@id("name") permit (principal, action, resource) '
        "when { principal has name && context has text && context.text == principal.name };"
    )
    desk = Desk()
    desk.engine.swap(ztfast.compile(policies, schema=schema))
    known, other = "".join(("a name", " of its own")), "another name"
    for name, expected in ((None, "DEFAULT"), (known, "name"), (other, "DEFAULT"), (known, "name")):
        attributes = {} if name is None else {"name": name}
        desk.engine.upsert([{"uid": {"type": "User", "id": "u"}, "attrs": attributes, "parents": []}])
        for _ in range(3):
            assert desk.decided(text=known) == expected
            assert desk.decided(text=other) == ("name" if name == other else "DEFAULT")


class Index:
    """A number whose code runs when it is read."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __index__(self) -> int:
        self.then()
        return 2


def test_an_element_may_change_its_list_while_it_is_read(desk: Desk) -> None:
    for change in (
        list.clear,
        lambda numbers: numbers.extend(range(1000)),
        lambda numbers: numbers.__setitem__(0, "x"),
    ):
        for before in ([], [1], [1] * 70):
            numbers: list[Any] = [*before]
            numbers += [Index(lambda: change(numbers)), 1]  # noqa: B023
            gate, arguments = desk.call(numbers=numbers)
            assert type(said(lambda: gate.allows(*arguments))) in (bool, str)  # noqa: B023
            assert desk.decided(numbers=[1, 2]) == "numbers"


class Garbage:
    """An object in a circle, whose finalizer runs code."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.circle, self.then = self, then

    def __del__(self) -> None:
        self.then()


def test_a_finalizer_may_use_the_gate_while_a_value_is_read(desk: Desk) -> None:
    right: dict[str, Any] = {"text": "in", "texts": ["in"], "who": desk.users[1]}
    gate, arguments = desk.call(**right)
    inner: list[Any] = []
    before = gc.get_threshold()
    odd: tuple[tuple[dict[str, Any], bool], ...] = (
        ({"text": "in\ud800"}, False),
        ({"texts": ["in", "\ud800"]}, False),
        ({"texts": [Text("in")]}, True),
        ({"who": 'User::"v"'}, True),
    )
    for changed, allowed in odd:
        _, given = desk.call(**{**right, **changed})
        for _ in range(5):
            gc.collect()
            Garbage(lambda: inner.append(gate.decide(*arguments).reasons))
            gc.set_threshold(1)
            try:
                answer = gate.allows(*given)
            finally:
                gc.set_threshold(*before)
            gc.collect()
            assert answer is allowed, changed
    assert inner == [("texts", "text")] * 20


@pytest.mark.parametrize("make", [list, set])
def test_another_thread_may_change_a_set(desk: Desk, make: Callable[[Any], Any]) -> None:
    texts: Any = make(["in", *map(str, range(20))])
    gate, arguments = desk.call(texts=texts)

    def change() -> None:
        for at in range(20, 60):
            if isinstance(texts, set):
                texts.add(str(at))
                texts.discard(str(at - 1))
            else:
                texts.append(str(at))
                del texts[-1]

    with beside(change, change) as turns:
        while min(turns) < 200:
            # The element that is asked for is never changed.
            assert gate.allows(*arguments)
            assert gate.decide(*arguments).reasons == ("texts",)
