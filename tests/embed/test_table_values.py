"""Values through the table of functions: sets, addresses and texts mean what they mean to Python."""

from __future__ import annotations

import ctypes
import ipaddress
from ctypes import byref, c_int64, c_size_t, c_uint8, c_uint32
from typing import Any

import pytest

import ztfast
from tests.embed import table
from tests.embed.table import values

STATUSES = table.statuses()
OK, HANDLE, TYPE, VALUE = (STATUSES[name] for name in ("OK", "E_HANDLE", "E_TYPE", "E_VALUE"))
Code = ztfast.Code
DECIMAL, DATETIME, DURATION = 5, 6, 7

POLICIES = """\
@id("tagged") permit (principal, action == Action::"tagged", resource)
when { context.tags.contains("urgent") && context.friends.contains(User::"eve") };
@id("floor") permit (principal, action == Action::"address", resource) when { context.ip.isInRange(ip("10.0.0.0/8")) };
"""
SCHEMA = """\
entity User; entity Book;
action address appliesTo { principal: User, resource: Book, context: { ip: ipaddr } };
action tagged appliesTo { principal: User, resource: Book, context: { tags: Set<String>, friends: Set<User> } };
"""


@pytest.fixture(scope="module")
def engine() -> ztfast.Engine:
    return ztfast.Engine(ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA, "s.cedarschema")))


def test_sets_and_addresses_are_those_of_python(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    number, kind = c_int64(), c_uint8()
    own = table.clone(api, engine.prepare("tagged", "tags", "friends").address)
    assert [(api["element_kind"](own, place, byref(kind)), kind.value) for place in (0, 1)] == [(OK, 3), (OK, 4)]
    assert [api["element_kind"](own, place, byref(kind)) for place in (2, 2**63)] == [TYPE, TYPE]
    assert api["set"](own, values(), 0, 0, byref(number)) == HANDLE
    eve, others = engine.resource('User::"eve"'), [engine.resource(f'User::"{name}"') for name in "xyz"]
    both, neither = ([b"urgent", b"new"], [*others, eve]), ([b"new"], [eve])
    for (tags, friends), code in (
        (both, Code.ALLOW), (neither, Code.DEFAULT), (([b"urgent"], others), Code.DEFAULT), (([], []), Code.DEFAULT)
    ):  # fmt: skip
        assert api["begin"](own) == OK
        texts = []
        for tag in tags:
            assert api["text"](own, tag, len(tag), byref(number)) == OK
            texts.append(number.value)
        given = []
        for place, elements in enumerate((texts, [ctypes.c_int64(friend.handle).value for friend in friends])):
            assert api["set"](own, values(*elements), len(elements), place, byref(number)) == OK
            given.append(number.value)
        context = {"tags": [tag.decode() for tag in tags], "friends": friends}
        wanted = engine.decide(ann, "tagged", book, context).number
        assert api["allows"](own, ann.id, book.handle, values(*given), 2) == wanted == code, (tags, friends)
        # The numbers are this call's.
        assert api["begin"](own) == OK
        if tags:
            assert api["allows"](own, ann.id, book.handle, values(*given), 2) == Code.CORRUPT
    assert api["begin"](own) == OK
    assert api["set"](own, values(book.handle), 1, 1, byref(number)) == TYPE
    assert api["allows"](own, ann.id, book.handle, values(0, 0), 2) == Code.CORRUPT
    assert api["gate_free"](own) == OK
    own = table.clone(api, engine.prepare("address", "ip").address)
    for address, length, prefix, status in (
        (bytes([10, 0, 0, 1]), 4, 32, OK),
        (bytes([11, 0, 0, 1]), 4, 32, OK),
        (bytes([10, 0, 0, 1]), 4, 33, HANDLE),
        (bytes([10, 0, 0, 1]), 4, 2**32 - 1, HANDLE),
        (bytes(16), 16, 128, OK),
        (bytes(16), 16, 129, HANDLE),
        (bytes(16), 5, 32, HANDLE),
        (b"", 0, 0, HANDLE),
    ):
        assert api["begin"](own) == OK
        assert api["address"](own, address, length, prefix, byref(number)) == status, (address, length, prefix)
        code = api["allows"](own, ann.id, book.handle, values(number.value), 1)
        if status == OK:
            assert code == engine.decide(ann, "address", book, {"ip": ipaddress.ip_address(address)}).number
            assert code == (Code.ALLOW if address[0] == 10 else Code.DEFAULT)
        else:
            assert code == Code.BAD_VALUE, (address, length, prefix)
    assert api["gate_free"](own) == OK


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"10.0.0.1", (bytes([10, 0, 0, 1]), 32)),
        (b"10.0.0.0/8", (bytes([10, 0, 0, 0]), 8)),
        (b"::1", (bytes(15) + b"\1", 128)),
        (b"fe80::/10", (b"\xfe\x80" + bytes(14), 10)),
        (b"10.0.0.1/33", None),
        (b"10.0.0.300", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_texts_of_addresses_are_parsed(api: dict[str, Any], text: bytes, wanted: tuple[bytes, int] | None) -> None:
    read, length, prefix = (c_uint8 * 16)(), c_size_t(77), c_uint32(77)
    status = api["parse_address"](text, len(text), read, byref(length), byref(prefix))
    if wanted is None:
        assert (status, length.value, prefix.value) == (VALUE, 77, 77)
    else:
        assert (status, bytes(read[: length.value]), prefix.value) == (OK, *wanted)


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (DECIMAL, b"150.25", 1_502_500),
        (DECIMAL, b"-922337203685477.5808", -(2**63)),
        (DECIMAL, b"922337203685477.5808", VALUE),
        (DECIMAL, b"150", VALUE),
        (DECIMAL, b"", VALUE),
        (DECIMAL, b"1.\xff", VALUE),
        (DATETIME, b"1970-01-01T01:00:00.250+0100", 250),
        (DATETIME, b"1970-01-01T01:00:00.250999+01:00", 250),
        (DATETIME, b"1970-02-29", VALUE),
        (DATETIME, "1970-01-0\u0661".encode(), VALUE),
        (DURATION, b"-1h30m", -5_400_000),
        (DURATION, b"9223372036854775808ms", VALUE),
        (0, b"10.0.0.1", TYPE),
        (1, b"true", TYPE),
        (2, b"5", TYPE),
        (3, b"x", TYPE),
        (4, b"x", TYPE),
        (8, b"1.5", TYPE),
        (256 + DECIMAL, b"1.5", TYPE),
        (2**32 - 1, b"1.5", TYPE),
    ],
)
def test_texts_are_parsed_by_their_kind(api: dict[str, Any], kind: int, text: bytes, wanted: int) -> None:
    number = c_int64(77)
    status = api["parse"](kind, text, len(text), byref(number))
    if wanted in (VALUE, TYPE):
        assert (status, number.value) == (wanted, 77)
    else:
        assert (status, number.value) == (OK, wanted)
    # The text ends where its length says, and is read no further.
    assert api["parse"](kind, text + b"5", len(text), byref(number)) == status
