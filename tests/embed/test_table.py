"""The table of functions, called as an embedder calls it.

Decisions must be Python's. Every missing or wrong argument must be a status or a DENY, and NULL must never be followed.
The header must compile as C11 and as C++17 without a warning.
"""

from __future__ import annotations

import ctypes
import gc
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from ctypes import byref, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.embed import table
from tests.embed.table import Column, Determining, values
from tests.racing import Repeat, beside

OK, *ERRORS = table.statuses().values()
NULL, UTF8, CAPACITY, HANDLE, COLUMNS, STALE, POLICY, _PANIC, _VERSION, _SIZE = ERRORS[:10]
TEXT, FOREIGN, TYPE, REQUIRED, VALUE, CLOCK = ERRORS[10:]
Code = ztfast.Code
DECIMAL, DATETIME, DURATION = 5, 6, 7

POLICIES = """\
@id("small") permit (principal, action == Action::"order", resource in Desk::"d1") when { context.qty <= 100 };
@id("not-for-eve") forbid (principal == User::"eve", action == Action::"order", resource);
@id("owners") permit (principal, action == Action::"note", resource)
when { context.text == "hello" || context.text like "draft-*" || context.who == principal };
"""
SCHEMA = """\
entity User; entity Desk; entity Book in [Desk];
action order appliesTo { principal: User, resource: Book, context: { qty: Long } };
action note appliesTo { principal: User, resource: Book, context: { text: String, who: User } };
action address appliesTo { principal: User, resource: Book, context: { ip: ipaddr } };
action tagged appliesTo {
    principal: User, resource: Book, context: { tags: Set<String>, friends: Set<User>, deep?: Set<Set<Long>> },
};
"""
ENTITIES = [
    {"uid": {"type": "Desk", "id": "d1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Book", "id": "b1"}, "attrs": {}, "parents": [{"type": "Desk", "id": "d1"}]},
]
# The action is gone, or its attribute is another.
WITHOUT = SCHEMA.replace("action order", "action orders")
CHANGED = SCHEMA.replace("{ qty: Long }", "{ qty: Long, more: Bool }")


def bundle(schema: str = SCHEMA, policies: str = POLICIES) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema, "s.cedarschema"), entities=ENTITIES)


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(bundle())


@pytest.fixture
def order(engine: ztfast.Engine) -> ztfast.Gate:
    return engine.prepare("order", "qty")


@pytest.fixture
def own(api: dict[str, Any], order: ztfast.Gate) -> Iterator[c_void_p]:
    gate = table.clone(api, order.address)
    yield gate
    assert api["gate_free"](gate) == OK


@pytest.mark.parametrize(("compiler", "standard", "suffix"), [("cc", "c11", "c"), ("c++", "c++17", "cpp")])
def test_the_header_compiles_without_a_warning(compiler: str, standard: str, suffix: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}: ztfast.h was not compiled as {standard}")
    source = tmp_path / f"main.{suffix}"
    # Twice, as programs do; and what a program does first.
    source.write_text(
        '#include <ztfast.h>\n#include "ztfast.h"\n'
        "int main(void) {\n    ztfast_api old = {};\n    old.abi_version = ZTFAST_ABI_VERSION;\n"
        "    old.size = (uint32_t)sizeof(ztfast_api) - 1;\n"
        "    if (ztfast_check(NULL) != ZTFAST_E_NULL) return 1;\n"
        "    if (ztfast_check(&old) != ZTFAST_E_SIZE) return 2;\n"
        "    old.size = 2 * (uint32_t)sizeof(ztfast_api);\n"
        "    if (ztfast_check(&old) != ZTFAST_OK) return 3;\n"
        "    old.abi_version += 1;\n"
        "    if (ztfast_check(&old) != ZTFAST_E_VERSION) return 4;\n"
        "    return ztfast_check_text(ZTFAST_E_SIZE)[0] != 'z';\n}\n".replace("{};", "{0};" if suffix == "c" else "{};")
    )
    options = [f"-std={standard}", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic"]
    program = tmp_path / "main"
    built = subprocess.run(
        [compiler, *options, "-I", ztfast.get_include(), str(source), "-o", str(program)],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert subprocess.run([program]).returncode == 0


def test_version_and_size_are_the_headers() -> None:
    assert table.numbers() == (3, 8 + 8 * len(table.SIGNATURES))


def test_codes_and_statuses_have_names(api: dict[str, Any]) -> None:
    for code in Code:
        assert api["code_name"](code).decode() == code.name
    assert api["code_name"](200) == api["code_name"](2**32 - 1) == b"UNKNOWN_CODE"
    texts = [api["status_text"](status) for status in (OK, *ERRORS)]
    assert len(set(texts)) == len(texts) == 17
    assert api["status_text"](7) == api["status_text"](-1000) == b"an unknown status"


def test_c_decides_as_python_does(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    order = engine.prepare("order", "qty")
    eve = engine.admit(ztfast.Identity('User::"eve"', not_after=math.inf))
    gone = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    gone.revoke()
    determining, seen = Determining(), set()
    for session in (ann, eve, gone):
        for quantity in (-(2**63), 0, 100, 101, 2**63 - 1):
            wanted = order.decide(session, book, quantity)
            seen.add((wanted.number, wanted.reasons))
            asked = (own, session.id, book.handle, values(quantity), 1)
            assert api["allows"](*asked) == wanted.number
            assert api["decide"](*asked, byref(determining)) == wanted.number
            ids = []
            for number in determining.policies[: determining.count]:
                text, length = c_void_p(), c_size_t()
                assert api["policy"](own, number, byref(text), byref(length)) == OK
                assert text.value is not None
                ids.append(ctypes.string_at(text.value, length.value).decode())
            assert tuple(ids) == wanted.reasons
    assert seen == {
        (Code.ALLOW, ("small",)), (Code.DEFAULT, ()), (Code.FORBID, ("not-for-eve",)), (Code.REVOKED, ())
    }  # fmt: skip
    assert api["policy"](own, 1000, byref(c_void_p()), byref(c_size_t())) == POLICY
    assert api["allows"](own, 2**63, book.handle, values(1), 1) == Code.UNKNOWN_SESSION


def test_what_is_missing_denies(
    api: dict[str, Any], ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    determining = Determining(7)
    for gate, given, count in (
        (None, values(1), 1),
        (own, None, 1),
        (own, None, 0),
        (own, values(1, 2), 2),
        (own, values(1), 2**60),
        (own, values(1), 2**64 - 1),
    ):
        assert api["allows"](gate, ann.id, book.handle, given, count) == Code.CORRUPT
        assert api["decide"](gate, ann.id, book.handle, given, count, byref(determining)) == Code.CORRUPT
        assert determining.count == 0
    assert api["decide"](own, ann.id, book.handle, values(1), 1, None) == Code.CORRUPT
    assert api["allows"](own, ann.id, book.handle, values(1), 1) == Code.ALLOW


def test_what_is_missing_denies_where_more_than_ranges_is_asked(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    # An entity that changed since the bundle was made is looked up by another way.
    engine.upsert([{"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": []}])
    determining = Determining(7)
    for given, count in ((None, 0), (values(1, 2), 2), (values(1), 0)):
        assert api["allows"](own, ann.id, book.handle, given, count) == Code.CORRUPT
        assert api["decide"](own, ann.id, book.handle, given, count, byref(determining)) == Code.CORRUPT
        assert determining.count == 0
    assert api["allows"](own, ann.id, book.handle, values(1), 1) == Code.ALLOW


def test_null_is_refused_by_every_function(api: dict[str, Any], own: c_void_p) -> None:
    number, count, text, generation = byref(c_int64()), byref(c_size_t()), byref(c_void_p()), byref(c_uint64())
    pointer, code = byref(c_void_p()), byref(c_uint8())
    batch, bytes16, prefix = c_void_p(), (c_uint8 * 16)(), c_uint32()
    assert api["batch_begin"](own, byref(batch)) == OK
    refused = {
        "begin": [(None,)],
        "text": [(None, b"a", 1, number), (own, None, 1, number), (own, b"a", 1, None)],
        "entity": [(None, 0, 0, number), (own, 0, 0, None)],
        "literal": [(None, b"a", 1, number), (own, None, 1, number), (own, b"a", 1, None)],
        "kinds": [(None, None, 0, count), (own, None, 0, None)],
        "policy": [(None, 0, text, count), (own, 0, None, count), (own, 0, text, None)],
        "step_up": [
            (None, 0, text, count, generation),
            (own, 0, None, count, generation),
            (own, 0, text, None, generation),
            (own, 0, text, count, None),
        ],
        "generation": [(None, generation), (own, None)],
        "refresh": [(None, generation), (own, None)],
        "set_time": [(None, 0, number), (own, 0, None)],
        "gate_clone": [(None, pointer), (own, None)],
        "gate_free": [(None,)],
        "batch_begin": [(None, pointer), (own, None)],
        "batch_text": [(None, b"a", 1, number), (batch, None, 1, number), (batch, b"a", 1, None)],
        "batch_run": [(None, 1, None, 0, code), (batch, 1, None, 3, code), (batch, 1, None, 0, None)],
        "batch_evaluate": [(None, 1, None, 0, code), (batch, 1, None, 3, code), (batch, 1, None, 0, None)],
        "batch_end": [(None,)],
        "gate_without": [(None, 0, pointer), (own, 0, None)],
        "batch_without": [(None, 0, pointer), (batch, 0, None)],
        "batch_refuse": [(None, 1, None, 0, 1, code), (batch, 1, None, 2, 1, code), (batch, 1, None, 0, 1, None)],
        "parse": [(DECIMAL, None, 1, number), (DECIMAL, b"1.5", 3, None)],
        "set": [(None, None, 0, 0, number), (own, None, 1, 0, number), (own, None, 0, 0, None)],
        "address": [(None, b"0000", 4, 32, number), (own, None, 4, 32, number), (own, b"0000", 4, 32, None)],
        "element_kind": [(None, 0, code), (own, 0, None)],
        "parse_address": [
            (None, 1, bytes16, count, byref(prefix)),
            (b"::1", 3, None, count, byref(prefix)),
            (b"::1", 3, bytes16, None, byref(prefix)),
            (b"::1", 3, bytes16, count, None),
        ],
    }
    assert set(refused) | {"allows", "decide", "decide_values", "refuse", "code_name", "status_text"} == set(api)
    for name, calls in refused.items():
        for call in calls:
            assert api[name](*call) == NULL, (name, call)
    # Columns without data.
    columns = (Column * 3)(Column(None, 1, 1), Column(None, 1, 1), Column(None, 1, 1))
    assert api["batch_run"](batch, 1, columns, 3, code) == NULL
    assert api["batch_end"](batch) == OK


def test_texts_and_entities_are_those_of_python(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    note = engine.prepare("note", "text", "who")
    own = table.clone(api, note.address)
    number = c_int64()
    # Nothing was begun yet: a decision might go by a newer bundle than the numbers.
    for text in (b"never heard of", b"hello"):
        assert api["text"](own, text, len(text), byref(number)) == CAPACITY
    assert api["entity"](own, book.handle, 1, byref(number)) == HANDLE
    people = [engine.resource(f'User::"{name}"') for name in ("ann", "bob", "nobody")]
    allowed = set()
    for text in ("hello", "hell", "", "draft-é", "draft-" + "x" * 5000):
        for person in people:
            given = []
            assert api["begin"](own) == OK
            assert api["text"](own, text.encode(), len(text.encode()), byref(number)) == OK
            given.append(number.value)
            assert api["entity"](own, person.handle, 1, byref(number)) == OK
            given.append(number.value)
            code = api["allows"](own, ann.id, book.handle, values(*given), 2)
            assert code == note.decide(ann, book, text, person).number
            if code == Code.ALLOW:
                allowed.add((text[:6], person.uid.id))
    by_text = {(text, name) for text in ("hello", "draft-") for name in ("ann", "bob", "nobody")}
    assert allowed == by_text | {("hell", "ann"), ("", "ann")}
    assert api["begin"](own) == OK
    assert api["text"](own, b"\xff", 1, byref(number)) == UTF8
    assert api["entity"](own, engine._core.handle("Nothing", "n"), 1, byref(number)) == TYPE
    assert api["entity"](own, 4_000_000, 1, byref(number)) == FOREIGN
    taken = [api["text"](own, f"t{at}".encode(), len(f"t{at}"), byref(number)) for at in range(40)]
    assert taken == [OK] * 32 + [CAPACITY] * 8
    assert api["begin"](own) == OK
    assert api["text"](own, b"x" * 20_000, 20_000, byref(number)) == CAPACITY
    assert api["gate_free"](own) == OK


def test_literals_are_texts_of_the_bundle_until_the_next_swap(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    # The address is good as long as the gate lives: until it is cloned.
    note = engine.prepare("note", "text", "who")
    own = table.clone(api, note.address)
    before, after, text, who = c_uint64(), c_uint64(), c_int64(), c_int64()
    assert api["generation"](own, byref(before)) == OK
    assert api["literal"](own, b"hello", 5, byref(text)) == OK
    assert api["literal"](own, b"never heard of", 14, byref(c_int64())) == TEXT
    assert api["literal"](own, b"\xff", 1, byref(c_int64())) == UTF8
    nobody = engine.resource('User::"nobody"').handle
    for policies, allowed in ((POLICIES, True), (POLICIES.replace('"hello"', '"hullo"'), False)):
        engine.swap(bundle(policies=policies))
        assert api["begin"](own) == OK
        assert api["generation"](own, byref(after)) == OK
        assert after.value != before.value
        before.value = after.value
        found = api["literal"](own, b"hello", 5, byref(text))
        assert found == (OK if allowed else TEXT)
        if found == OK:
            assert api["entity"](own, nobody, 1, byref(who)) == OK
            assert api["allows"](own, ann.id, book.handle, values(text.value, who.value), 2) == Code.ALLOW
    assert api["gate_free"](own) == OK


def test_a_batch_begun_between_leaves_a_call_by_its_bundle(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    note = engine.prepare("note", "text", "who")
    own = table.clone(api, note.address)
    text, who, batch = c_int64(), c_int64(), c_void_p()
    nobody = engine.resource('User::"nobody"').handle
    assert api["begin"](own) == OK
    assert api["text"](own, b"hello", 5, byref(text)) == OK
    assert api["entity"](own, nobody, 1, byref(who)) == OK
    engine.swap(bundle(policies=POLICIES.replace('"hello"', '"hullo"')))
    assert api["batch_begin"](own, byref(batch)) == OK
    assert api["allows"](own, ann.id, book.handle, values(text.value, who.value), 2) == Code.ALLOW
    assert api["begin"](own) == OK
    assert api["text"](own, b"hello", 5, byref(text)) == OK
    assert api["entity"](own, nobody, 1, byref(who)) == OK
    assert api["allows"](own, ann.id, book.handle, values(text.value, who.value), 2) == Code.DEFAULT
    assert api["batch_end"](batch) == OK
    assert api["gate_free"](own) == OK


def test_kinds_tell_the_types_of_arguments(api: dict[str, Any], engine: ztfast.Engine) -> None:
    for action, names, wanted in (
        ("note", ("text", "who"), [3, 4]),
        ("order", ("qty",), [2]),
        ("address", ("ip",), [8]),
        ("tagged", ("tags", "friends", "deep"), [9, 9, 0]),
    ):
        gate = engine.prepare(action, *names)
        count, kinds = c_size_t(), (c_uint8 * 8)()
        assert api["kinds"](gate.address, None, 0, byref(count)) == OK
        assert count.value == len(wanted)
        assert api["kinds"](gate.address, kinds, 8, byref(count)) == OK
        assert kinds[: count.value] == wanted
        assert api["kinds"](gate.address, kinds, len(wanted) - 1, byref(count)) == CAPACITY


def test_a_gate_whose_attributes_are_no_numbers_denies(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    gate = engine.prepare("tagged", "tags", "friends", "deep")
    assert api["begin"](gate.address) == OK
    assert api["allows"](gate.address, ann.id, book.handle, values(0, 0, 0), 3) == Code.CORRUPT


def test_a_clone_outlives_its_original_and_the_engine(api: dict[str, Any]) -> None:
    engine = ztfast.Engine(bundle())
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    resource = engine.resource('Book::"b1"')
    ids = session.id, resource.handle
    order = engine.prepare("order", "qty")
    own = table.clone(api, order.address)
    other = table.clone(api, own.value or 0)
    del order, session, resource, engine
    gc.collect()
    assert api["allows"](own, *ids, values(100), 1) == Code.ALLOW
    assert api["gate_free"](own) == OK
    assert api["allows"](other, *ids, values(101), 1) == Code.DEFAULT
    assert api["gate_free"](other) == OK


def test_a_freed_clone_leaves_its_original_and_other_gates_alone(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, order: ztfast.Gate
) -> None:
    clones = [table.clone(api, order.address) for _ in range(3)]
    assert api["gate_free"](clones.pop(1)) == OK
    note = engine.prepare("note", "text", "who")
    engine.swap(bundle(policies=POLICIES.replace("100", "50")))
    for gate in (order.address, *clones):
        assert api["allows"](gate, ann.id, book.handle, values(50), 1) == Code.ALLOW
        assert api["allows"](gate, ann.id, book.handle, values(51), 1) == Code.DEFAULT
    assert note.allows(ann, book, "hello", engine.resource('User::"bob"'))
    for gate in clones:
        assert api["gate_free"](gate) == OK


def test_a_refresh_takes_the_newest_bundle_and_says_whether_the_gate_fits_it(
    api: dict[str, Any], engine: ztfast.Engine, order: ztfast.Gate, own: c_void_p
) -> None:
    first, fresh, same = c_uint64(), c_uint64(), c_uint64()
    assert api["refresh"](own, byref(first)) == OK
    engine.swap(bundle(policies=POLICIES + "permit (principal, action, resource);"))
    assert engine.memory.replaced > 0
    assert api["generation"](own, byref(same)) == OK
    assert same.value == first.value
    assert api["refresh"](own, byref(fresh)) == OK
    assert fresh.value != first.value
    # Now nobody goes by the bundle of before.
    assert api["refresh"](order.address, byref(same)) == OK
    assert engine.memory.replaced == 0
    for schema, status in ((CHANGED, STALE), (SCHEMA, OK)):
        before = fresh.value
        engine.swap(bundle(schema), allow_stale=True)
        assert api["refresh"](own, byref(fresh)) == status
        assert fresh.value != before
        assert api["generation"](own, byref(same)) == OK
        assert same.value == fresh.value


def test_the_time_is_the_callers_where_the_engine_was_opened_so(api: dict[str, Any]) -> None:
    bundle = ztfast.examples.tiny()
    shown = c_int64()
    for clock, statuses in (("caller", (OK, OK)), ("coarse", (CLOCK, CLOCK))):
        engine = ztfast.Engine(bundle, clock=clock)  # type: ignore[arg-type]
        session = engine.admit(ztfast.Identity('User::"ann"', not_before=1.0, not_after=2.0))
        gate, photo = engine.prepare("view"), engine.resource('Photo::"p1"')
        codes = []
        for second, status in zip((1, 2), statuses, strict=True):
            assert api["set_time"](gate.address, second * 1_000_000_000, byref(shown)) == status
            codes.append(api["allows"](gate.address, session.id, photo.handle, None, 0))
        expected = [Code.ALLOW, Code.EXPIRED] if clock == "caller" else [Code.EXPIRED] * 2
        assert codes == expected
    assert shown.value == 2_000_000_000


def test_a_refresh_ends_a_call_that_was_begun(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    note = engine.prepare("note", "text", "who")
    own = table.clone(api, note.address)
    text, who = c_int64(), c_int64()
    for refreshed, code in ((False, Code.ALLOW), (True, Code.CORRUPT)):
        assert api["begin"](own) == OK
        assert api["text"](own, b"hello", 5, byref(text)) == OK
        assert api["entity"](own, engine.resource('User::"ann"').handle, 1, byref(who)) == OK
        assert not refreshed or api["refresh"](own, byref(c_uint64())) == OK
        assert api["allows"](own, ann.id, book.handle, values(text.value, who.value), 2) == code
    assert api["gate_free"](own) == OK


def test_a_gate_that_no_longer_fits_says_so(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    before, after, batch = c_uint64(), c_uint64(), c_void_p()
    assert api["generation"](own, byref(before)) == OK
    for schema, policies in ((WITHOUT, "permit (principal, action, resource);"), (CHANGED, POLICIES)):
        engine.swap(bundle(schema, policies), allow_stale=True)
        # The gate lacks an attribute that the new schema requires, or its action.
        assert api["allows"](own, ann.id, book.handle, values(1), 1) == Code.STALE_GATE
        assert api["kinds"](own, None, 0, byref(c_size_t())) == STALE
        assert api["gate_clone"](own, byref(c_void_p())) == STALE
        assert api["batch_begin"](own, byref(batch)) == OK
        codes = (c_uint8 * 2)(1, 1)
        assert api["batch_run"](batch, 2, None, 0, codes) == OK
        assert list(codes) == [Code.STALE_GATE] * 2
        assert api["batch_end"](batch) == OK
    engine.swap(bundle())
    assert api["allows"](own, ann.id, book.handle, values(1), 1) == Code.ALLOW
    assert api["generation"](own, byref(after)) == OK
    assert before.value != after.value


def test_batches_decide_as_gates_and_refuse_columns_that_do_not_fit(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    batch = c_void_p()
    assert api["batch_begin"](own, byref(batch)) == OK
    rows = 4
    sessions = (c_uint64 * rows)(ann.id, ann.id, 12345, ann.id)
    handle, quantity = c_uint64(book.handle), (c_int64 * (rows + 1))(1, 101, 1, 100, 0)
    address = ctypes.addressof

    def run(*columns: Column, count: int = 3) -> tuple[int, list[int]]:
        codes = (c_uint8 * rows)(*[Code.ALLOW] * rows)
        return api["batch_run"](batch, rows, (Column * len(columns))(*columns), count, codes), list(codes)

    each = Column(address(sessions), rows, 1)
    one = Column(address(handle), 1, 0)
    quantities = Column(address(quantity), rows, 1)
    decided = [Code.ALLOW, Code.DEFAULT, Code.UNKNOWN_SESSION, Code.ALLOW]
    assert run(each, one, quantities) == (OK, decided)
    denied = (COLUMNS, [Code.CORRUPT] * rows)
    assert run(each, one, quantities, count=2) == denied
    assert run(each, one, quantities, quantities, count=4) == denied
    assert run(each, one, Column(address(quantity), rows - 1, 1)) == denied
    assert run(each, one, Column(address(quantity), rows + 1, 1)) == denied
    assert run(each, Column(address(handle), 0, 0), quantities) == denied
    assert run(each, one, Column(address(quantity) + 4, rows, 1)) == denied
    # By policy alone: a principal's handle instead of a session.
    asker = c_uint64(engine.resource('User::"ann"').handle)
    principal = Column(address(asker), 1, 0)
    codes = (c_uint8 * rows)()
    assert api["batch_evaluate"](batch, rows, (Column * 3)(principal, one, quantities), 3, codes) == OK
    assert list(codes) == [Code.ALLOW, Code.DEFAULT, Code.ALLOW, Code.ALLOW]
    assert api["batch_evaluate"](batch, rows, (Column * 3)(principal, one, quantities), 2, codes) == COLUMNS
    assert api["batch_run"](batch, 2**63, None, 0, None) == COLUMNS
    assert api["batch_end"](batch) == OK


def test_a_batch_takes_texts(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle
) -> None:
    note, batch, number = engine.prepare("note", "text", "who"), c_void_p(), c_int64()
    assert api["batch_begin"](note.address, byref(batch)) == OK
    texts = ["hello", "draft-1", "other", "draft-1"]
    columns = []
    for text in texts:
        assert api["batch_text"](batch, text.encode(), len(text), byref(number)) == OK
        columns.append(number.value)
    assert columns[1] == columns[3] != columns[2]
    assert api["batch_text"](batch, b"\xff", 1, byref(number)) == UTF8
    bob = engine.resource('User::"bob"')
    session, handle, person = c_uint64(ann.id), c_uint64(book.handle), c_int64(bob.handle)
    laid_out = (Column * 4)(
        *(Column(ctypes.addressof(one), 1, 0) for one in (session, handle)),
        Column(ctypes.addressof(values_of := values(*columns)), 4, 1),
        Column(ctypes.addressof(person), 1, 0),
    )
    codes = (c_uint8 * 4)()
    assert api["batch_run"](batch, 4, laid_out, 4, codes) == OK
    assert list(codes) == list(note.decide_many(ann, book, texts, bob))
    assert list(codes) == [Code.ALLOW, Code.ALLOW, Code.DEFAULT, Code.ALLOW]
    assert len(values_of) == 4
    assert api["batch_end"](batch) == OK


def test_clones_decide_on_threads_of_their_own_while_the_engine_changes(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, order: ztfast.Gate
) -> None:
    """ctypes releases the GIL, so the calls really run in parallel with each other, with swaps and with new clones."""
    bundles = [bundle(), bundle(policies=POLICIES.replace("100", "50"))]
    gates = [table.clone(api, order.address) for _ in range(3)]
    # What each was told of 100, which one of the bundles allows.
    told: list[list[int]] = [[] for _ in gates]

    def decider(gate: c_void_p, said: list[int]) -> Callable[[], None]:
        def decide() -> None:
            # 50 is allowed by both bundles, 101 by neither.
            assert api["allows"](gate, ann.id, book.handle, values(50), 1) == Code.ALLOW
            assert api["allows"](gate, ann.id, book.handle, values(101), 1) == Code.DEFAULT
            code = api["allows"](gate, ann.id, book.handle, values(100), 1)
            if said[-1:] != [code]:
                said.append(code)

        return decide

    swaps = 0
    with beside(*(decider(gate, said) for gate, said in zip(gates, told, strict=True))):
        repeat = Repeat("changes of the bundle in each thread")
        while repeat.until(swaps >= 60 and min(map(len, told)) >= 5):
            turn = repeat.turn
            engine.swap(bundles[turn % 2])
            assert api["gate_free"](table.clone(api, order.address)) == OK
            swaps += 1
    for gate in gates:
        assert api["gate_free"](gate) == OK
    assert set().union(*told) == {Code.ALLOW, Code.DEFAULT}


MIXED = """\
entity User; entity Desk; entity Book in [Desk];
entity Side enum ["buy", "sell"];
action trade appliesTo {
    principal: User, resource: Book,
    context: { qty: Long, who?: User, desk?: Desk, side?: Side, limit?: { px: Long, text?: String } }
};
"""
RULES = """\
@id("who") permit (principal, action, resource) when { context has who && context.who == User::"ann" };
@id("market") permit (principal, action, resource) when { !(context has limit) && context.qty < 10 };
@id("limit") permit (principal, action, resource) when { context has limit && context.limit.px < 100 };
@id("text") forbid (principal, action, resource) when { context has limit.text && context.limit.text == "never heard of" };
"""


@pytest.fixture
def mixed() -> ztfast.Engine:
    return ztfast.Engine(bundle(MIXED, RULES))


def test_an_entity_of_another_type_denies(api: dict[str, Any], mixed: ztfast.Engine) -> None:
    session = mixed.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    book, ann, desk, side, none = (
        mixed.resource(uid) for uid in ('Book::"b1"', 'User::"ann"', 'Desk::"d1"', 'Side::"buy"', 'Side::"none"')
    )
    gate = mixed.prepare("trade", "qty", "who", "desk", "side")
    own, number = table.clone(api, gate.address), c_int64()

    def entity(resource: ztfast.EntityHandle, place: int) -> int:
        status: int = api["entity"](own, resource.handle, place, byref(number))
        return status

    for resource, place, status, code in (
        (desk, 1, TYPE, Code.CORRUPT),
        (ann, 2, TYPE, Code.CORRUPT),
        (ann, 0, TYPE, Code.CORRUPT),
        (ann, 4, TYPE, Code.CORRUPT),
        (ann, 2**63, TYPE, Code.CORRUPT),
        (none, 3, HANDLE, Code.BAD_VALUE),
    ):
        assert api["begin"](own) == OK
        given = []
        for one, at in ((ann, 1), (desk, 2), (side, 3)):
            assert entity(one, at) == OK
            given.append(number.value)
        assert entity(resource, place) == status
        # A caller that ignores the status, and has valid numbers, is denied anyway.
        assert api["allows"](own, session.id, book.handle, values(1, *given), 4) == code
    # Numbers of the call, each at another's place.
    assert api["begin"](own) == OK
    given = []
    for one, at in ((ann, 1), (desk, 2), (side, 3)):
        assert entity(one, at) == OK
        given.append(number.value)
    assert api["allows"](own, session.id, book.handle, values(1, given[1], given[0], given[2]), 4) == Code.CORRUPT
    assert api["begin"](own) == OK
    given = []
    for one, at in ((ann, 1), (desk, 2), (side, 3)):
        assert entity(one, at) == OK
        given.append(number.value)
    assert api["allows"](own, session.id, book.handle, values(1, *given), 4) == Code.ALLOW
    # Columns.
    batch = c_void_p()
    assert api["batch_begin"](own, byref(batch)) == OK
    codes = (c_uint8 * 2)(1, 1)
    cells = (c_uint64(session.id), c_uint64(book.handle), c_int64(1), (c_uint64 * 2)(ann.handle, desk.handle),
             c_uint64(desk.handle), c_uint64(side.handle))  # fmt: skip
    columns = [Column(ctypes.addressof(cell), 2 if at == 3 else 1, int(at == 3)) for at, cell in enumerate(cells)]
    assert api["batch_run"](batch, 2, (Column * 6)(*columns), 6, codes) == TYPE
    assert list(codes) == [Code.CORRUPT] * 2
    assert api["batch_end"](batch) == OK
    assert api["gate_free"](own) == OK


def test_gates_and_batches_without_what_is_absent(api: dict[str, Any], mixed: ztfast.Engine) -> None:
    session = mixed.admit(ztfast.Identity('User::"eve"', not_after=math.inf))
    book = mixed.resource('Book::"b1"')
    gate = mixed.prepare("trade", "qty", "limit.px", "limit.text")
    own, market, plain, number = table.clone(api, gate.address), c_void_p(), c_void_p(), c_int64()
    assert api["gate_without"](own, 0b110, byref(market)) == OK
    assert api["gate_without"](own, 0b100, byref(plain)) == OK
    for required in (0b001, 0b111, 0b010):
        assert api["gate_without"](own, required, byref(c_void_p())) == REQUIRED
    for qty, code in ((9, Code.ALLOW), (10, Code.DEFAULT)):
        wanted = mixed.decide(session, "trade", book, {"qty": qty}).number
        assert api["allows"](market, session.id, book.handle, values(qty), 1) == wanted == code
        assert api["allows"](market, session.id, book.handle, values(qty, 1), 2) == Code.CORRUPT
    for px, code in ((99, Code.ALLOW), (100, Code.DEFAULT)):
        wanted = mixed.decide(session, "trade", book, {"qty": 1, "limit": {"px": px}}).number
        assert api["allows"](plain, session.id, book.handle, values(1, px), 2) == wanted == code
    # Bits beyond the arguments say nothing.
    again = c_void_p()
    assert api["gate_without"](own, 1 << 63 | 0b110, byref(again)) == OK
    assert api["allows"](again, session.id, book.handle, values(9), 1) == Code.ALLOW
    # A batch of the same moment, and with the same texts.
    batch, fewer = c_void_p(), c_void_p()
    assert api["batch_begin"](own, byref(batch)) == OK
    text = b"never heard of"
    assert api["batch_text"](batch, text, len(text), byref(number)) == OK
    mixed.swap(bundle(MIXED, "forbid (principal, action, resource);"))
    assert api["batch_without"](batch, 0b110, byref(fewer)) == OK
    assert api["batch_without"](batch, 0b010, byref(c_void_p())) == REQUIRED
    cells = (c_uint64(session.id), c_uint64(book.handle), (c_int64 * 2)(9, 10))
    columns = [Column(ctypes.addressof(cell), 2 if at == 2 else 1, int(at == 2)) for at, cell in enumerate(cells)]
    codes = (c_uint8 * 2)()
    assert api["batch_run"](fewer, 2, (Column * 3)(*columns), 3, codes) == OK
    assert list(codes) == [Code.ALLOW, Code.DEFAULT]
    assert api["allows"](market, session.id, book.handle, values(9), 1) == Code.FORBID
    for made in (batch, fewer):
        assert api["batch_end"](made) == OK
    mixed.swap(
        bundle(MIXED.replace("qty: Long", "qty: String"), "permit (principal, action, resource);"), allow_stale=True
    )
    assert api["allows"](market, session.id, book.handle, values(9), 1) == Code.STALE_GATE
    assert api["gate_without"](own, 0b110, byref(c_void_p())) == STALE
    for made in (own, market, plain, again):
        assert api["gate_free"](made) == OK


def test_what_is_out_of_range_is_refused_with_the_sessions_code_first(
    api: dict[str, Any], engine: ztfast.Engine, ann: ztfast.Session, book: ztfast.EntityHandle, own: c_void_p
) -> None:
    nothing = engine.resource('Nothing::"x"')
    assert api["refuse"](own, ann.id, book.handle) == Code.BAD_VALUE
    assert api["refuse"](own, ann.id, nothing.handle) == Code.NOT_APPLICABLE
    assert api["refuse"](own, ann.id, 2**62) == Code.UNKNOWN_HANDLE
    assert api["refuse"](own, 12345, book.handle) == Code.UNKNOWN_SESSION
    assert api["refuse"](None, ann.id, book.handle) == Code.CORRUPT
    batch, codes = c_void_p(), (c_uint8 * 3)()
    assert api["batch_begin"](own, byref(batch)) == OK
    gone = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    gone.revoke()
    who, line = (c_uint64 * 3)(ann.id, gone.id, 12345), c_uint64(book.handle)
    columns = (Column * 2)(Column(ctypes.addressof(who), 3, 1), Column(ctypes.addressof(line), 1, 0))
    assert api["batch_refuse"](batch, 3, columns, 2, 1, codes) == OK
    assert list(codes) == [Code.BAD_VALUE, Code.REVOKED, Code.UNKNOWN_SESSION]
    asker = c_uint64(engine.resource('User::"ann"').handle)
    columns = (Column * 2)(Column(ctypes.addressof(asker), 1, 0), Column(ctypes.addressof(line), 1, 0))
    assert api["batch_refuse"](batch, 3, columns, 2, 0, codes) == OK
    assert list(codes) == [Code.BAD_VALUE] * 3
    assert api["batch_refuse"](batch, 3, (Column * 3)(*columns, columns[0]), 3, 0, codes) == COLUMNS
    assert api["batch_end"](batch) == OK
    engine.kill_switch(True)
    assert api["refuse"](own, ann.id, book.handle) == Code.KILLED
