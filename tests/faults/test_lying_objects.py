"""Objects whose ``__class__``, length or fields lie: each way of deciding treats them by what they are."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import math
from typing import Any
from unittest.mock import Mock

import pytest

import ztfast

SCHEMA = ztfast.Text(
    """
    entity User; entity Doc; entity Colour enum ["red"];
    action go appliesTo { principal: User, resource: Doc, context: {
        s?: String, ss?: Set<String>, ls?: Set<Long>, x?: Long, ip?: ipaddr, d?: decimal, m?: datetime, n?: duration,
        b?: Bool, c?: Colour, e?: User,
    } };
    """
)
LIES = (
    str, int, float, bool, dict, list, set, tuple, decimal.Decimal, datetime.datetime, datetime.timedelta,
    ipaddress.IPv4Address, ztfast.Uid,
)  # fmt: skip


class Desk:
    def __init__(self, **options: Any) -> None:
        bundle = ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=SCHEMA)
        self.engine = ztfast.Engine(bundle, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')

    def ways(self, **given: Any) -> list[str]:
        """Return the code, or the name of the error, of each way of deciding."""
        gate = self.engine.prepare("go", *given)
        values = list(given.values())
        decides = (
            lambda: self.engine.decide(self.session, "go", self.doc, given).code,
            lambda: self.engine.evaluate('User::"u"', "go", 'Doc::"d"', given).code,
            lambda: gate.decide(self.session, self.doc, *values).code,
        )
        said = []
        for decide in decides:
            try:
                said.append(decide())
            except Exception as error:
                said.append(type(error).__name__)
        return said


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["s", "x", "ip", "d", "m", "n", "b"])
def test_the_class_that_a_value_claims_is_not_believed(desk: Desk, name: str, lie: type) -> None:
    assert set(desk.ways(**{name: Mock(spec=lie)})) == {"ContextError"}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["ss", "ls"])
def test_the_class_that_an_element_claims_is_not_believed(desk: Desk, name: str, lie: type) -> None:
    assert set(desk.ways(**{name: [Mock(spec=lie)]})) == {"ContextError"}


def broken(address: Any, field: str, value: Any) -> Any:
    setattr(address, field, value)
    return address


class Number(int):
    """A number that says that it is another."""

    def __index__(self) -> int:
        return 7

    def __rshift__(self, by: int) -> int:
        return 7


@pytest.mark.parametrize("bits", [-1, -(2**32), 2**32, 2**63, 2**70, 2**128, 2**190, True, Number(5), "x", 1.5, None])
def test_addresses_with_broken_fields_are_refused_alike(desk: Desk, bits: Any) -> None:
    for address in (ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv6Address("::1")):
        said = desk.ways(ip=broken(address, "_ip", bits))
        assert len(set(said)) == 1, said
        assert said[0] in ("ContextError", "BAD_VALUE", "ALLOW")
    said = desk.ways(ip=broken(ipaddress.IPv4Network("10.0.0.0/8"), "_prefixlen", bits))
    assert len(set(said)) == 1, said
    assert said[0] in ("ContextError", "BAD_VALUE", "ALLOW")


@pytest.mark.parametrize("scope", ["eth0", "", 5, False, None])
def test_the_scope_that_an_address_was_given_is_seen(desk: Desk, scope: Any) -> None:
    said = desk.ways(ip=broken(ipaddress.IPv6Address("fe80::1"), "_scope_id", scope))
    assert set(said) == {"ALLOW" if scope is None else "BAD_VALUE"}


@pytest.mark.parametrize(("text", "field"), [("10.0.0.1", "_ip"), ("fe80::1", "_ip"), ("fe80::1", "_scope_id")])
def test_addresses_that_lost_a_field_are_refused_alike(desk: Desk, text: str, field: str) -> None:
    address = ipaddress.ip_address(text)
    delattr(address, field)
    said = desk.ways(ip=address)
    assert len(set(said)) == 1, said
    assert said[0] in ("ContextError", "BAD_VALUE")


class Long(str):
    """A text that claims another length."""

    def __len__(self) -> int:
        return 10**9


def test_the_length_that_a_text_claims_is_not_believed(desk: Desk) -> None:
    assert set(desk.ways(s=Long("b"))) == {"ALLOW"}
    assert set(desk.ways(ss=[Long("b")])) == {"ALLOW"}
    assert set(desk.ways(ip=Long("10.0.0.1"))) == {"ALLOW"}


@pytest.mark.parametrize("strict", [False, True])
def test_another_engines_handle_is_denied_before_a_missing_entity(strict: bool) -> None:
    desk, other = Desk(strict=strict), Desk()
    blue, foreign = desk.engine.resource('Colour::"blue"'), other.engine.resource('User::"v"')
    said = desk.ways(c=blue, e=foreign)
    assert said[0] == said[2] == "UNKNOWN_HANDLE", said
