"""Values through the table of functions: sets, addresses and texts mean what they mean to Python."""

from __future__ import annotations

import ctypes
import ipaddress
import math
from ctypes import byref, c_int64, c_size_t, c_uint8, c_uint32, c_uint64
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


STRING, ADDRESS, SET, UNDECIDED = 3, 8, 9, 256


def passed(*given: Any) -> Any:
    """Return values for `decide_values`: numbers, texts as bytes, addresses as pairs with a prefix, sets as lists."""

    def one(value: Any) -> table.Value:
        if isinstance(value, int):
            return table.Value(value, None, 0, 0)
        if isinstance(value, list):
            return table.Value(0, ctypes.cast(passed(*value), ctypes.c_void_p), len(value), SET)
        data, prefix = value if isinstance(value, tuple) else (value, 0)
        kind = ADDRESS if isinstance(value, tuple) else STRING
        return table.Value(prefix, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), kind)

    made = (table.Value * max(len(given), 1))(*map(one, given))
    # The elements of sets must live as long as the values.
    ALIVE.append((given, made))
    return made


ALIVE: list[Any] = []


def test_values_are_passed_and_decided_in_one_step(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    own = table.clone(api, engine.prepare("tagged", "tags", "friends").address)
    generation, known = c_uint64(), c_int64()
    assert api["refresh"](own, byref(generation)) == OK
    assert api["literal"](own, b"urgent", 6, byref(known)) == OK
    eve, others = engine.resource('User::"eve"'), [engine.resource(f'User::"{name}"') for name in "xyz"]

    def decided(given: Any, count: int = 2, gate: Any = own, age: int = 0) -> tuple[int, int]:
        determining = table.Determining(count=77)
        alone = api["decide_values"](gate, ann.id, book.handle, given, count, generation.value - age, None)
        code = api["decide_values"](gate, ann.id, book.handle, given, count, generation.value - age, byref(determining))
        assert alone == code
        return code, determining.count

    for tags, friends in (([b"urgent", b"new"], [*others, eve]), ([b"new"], [eve]), ([b"urgent"], others), ([], [])):
        handles = [c_int64(friend.handle).value for friend in friends]
        context = {"tags": [tag.decode() for tag in tags], "friends": friends}
        wanted = engine.decide(ann, "tagged", book, context)
        numbered = [known.value if tag == b"urgent" else tag for tag in tags]
        for elements in (tags, numbered):
            assert decided(passed(elements, handles)) == (wanted.number, len(wanted.reasons)), (tags, friends)
    tags, person = [b"urgent"], c_int64(eve.handle).value
    assert decided(passed(tags, [person]))[0] == Code.ALLOW
    for wrong in (
        passed(tags, [c_int64(book.handle).value]),
        passed(tags, [4_000_000]),
        passed(tags, [b"eve"]),
        # Its prefix has the number of a person.
        passed(tags, [(bytes(4), person)]),
        passed(tags, person),
        passed(tags, b"eve"),
        *(passed([b"x" * at + b"\xff" + b"x" * (most - at)], [person]) for most in range(40) for at in range(most + 1)),
        passed([[b"urgent"]], [person]),
        passed([(bytes(4), 32)], [person]),
        passed([2**32], [person]),
        passed([-1], [person]),
        passed([b"x" * 20_000], [person]),
        passed([str(at).encode() for at in range(40)], [person]),
    ):
        assert decided(wrong) == (UNDECIDED, 0)
    assert decided(passed(tags, [person], 1), 3) == decided(passed(tags, [person], *[0] * 20), 22) == (UNDECIDED, 0)
    assert decided(passed(tags), 1)[0] == decided(None, 0)[0] == Code.CORRUPT
    assert decided(None, 2)[0] == decided(passed(tags, [person]), gate=None)[0] == UNDECIDED
    assert decided(passed(tags, [person]), age=1)[0] == UNDECIDED
    # A call that was begun is over.
    assert api["begin"](own) == OK
    assert decided(passed(tags, [person]))[0] == Code.ALLOW
    assert api["allows"](own, ann.id, book.handle, values(0, 0), 2) == Code.CORRUPT
    for action, code in ((None, UNDECIDED), ("tagged", UNDECIDED), ("address", Code.ALLOW)):
        stopped = {} if action is None else {"actions": [action]}
        engine.kill_switch(True, **stopped)
        try:
            assert decided(passed(tags, [person]))[0] == code, action
        finally:
            engine.kill_switch(False)
    ended = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    ended.revoke()
    code = api["decide_values"](own, ended.id, book.handle, passed(tags, [person]), 2, generation.value, None)
    assert code == Code.REVOKED
    assert api["gate_free"](own) == OK
    own = table.clone(api, engine.prepare("address", "ip").address)
    for address, prefix, text, code in (
        (bytes([10, 0, 0, 1]), 32, "10.0.0.1", Code.ALLOW),
        (bytes([10, 0, 0, 0]), 7, "10.0.0.0/7", Code.DEFAULT),
        (bytes(16), 128, "::", Code.DEFAULT),
        (bytes(4), 33, None, UNDECIDED),
        (bytes(16), 129, None, UNDECIDED),
        (bytes(4), -1, None, UNDECIDED),
        (bytes(4), 2**32 + 32, None, UNDECIDED),
        (bytes(5), 32, None, UNDECIDED),
        (b"", 0, None, UNDECIDED),
    ):
        assert decided(passed((address, prefix)), 1, own)[0] == code, (address, prefix)
        assert text is None or engine.decide(ann, "address", book, {"ip": text}).number == code
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
