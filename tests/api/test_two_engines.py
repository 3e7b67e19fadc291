"""Two engines over one bundle: sessions and handles of one have no effect in the other, in every way of deciding.

The worst mistake would be to accept another engine's session or handle: both engines count from the first slot, so the
first session of each would have the same number.
"""

from __future__ import annotations

import copy
import ctypes
import math
import pickle
import re
from collections.abc import Callable, Iterator
from ctypes import byref, c_int64, c_uint8, c_uint64, c_void_p
from typing import Any

import numpy as np
import pytest

import ztfast
from tests.embed import table
from tests.embed.table import Column, Determining, values
from ztfast import _core, gate

Code = ztfast.Code

SCHEMA = """\
entity User; entity Line = { owner?: User };
action view appliesTo { principal: User, resource: Line };
action note appliesTo { principal: User, resource: Line, context: { qty: Long, who: User } };
action tag appliesTo { principal: User, resource: Line, context: {
    whos: Set<User>, deep: { who: User }, maybe?: { who: User }, all: Set<{ who: User }>
} };
action price appliesTo { principal: User, resource: Line, context: { px: decimal, who: User } };
"""
POLICIES = """\
@id("ann") permit (principal == User::"ann", action, resource);
@id("anyone-for-ann") permit (principal, action == Action::"note", resource) when { context.who == User::"ann" };
"""
STORE = [{"uid": {"type": "Line", "id": "l1"}, "attrs": {}, "parents": []}]


@pytest.fixture(scope="module")
def bundle() -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA, "s.cedarschema"), entities=STORE)


class Side:
    """An engine with a session and handles. Both engines have the same entitlements for Ann, in the same order."""

    def __init__(self, bundle: ztfast.Bundle) -> None:
        self.engine = ztfast.Engine(bundle, sessions=8, handles=64)
        self.session = self.engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        self.ann = self.engine.resource('User::"ann"')
        self.line = self.engine.resource('Line::"l1"')
        self.view = self.engine.prepare("view")
        self.note = self.engine.prepare("note", "qty", "who")
        self.price = self.engine.prepare("price", "px", "who")


@pytest.fixture
def ours(bundle: ztfast.Bundle) -> Side:
    return Side(bundle)


@pytest.fixture
def theirs(bundle: ztfast.Bundle) -> Side:
    return Side(bundle)


def tags(who: Any, where: str, ours: Side) -> dict[str, Any]:
    """Make a context whose entities are ours, except in one place."""
    ann = ours.ann
    return {
        "whos": [ann, who] if where == "set" else [ann],
        "deep": {"who": who if where == "record" else ann},
        "maybe": {"who": who if where == "optional record" else ann},
        "all": [{"who": who if where == "record in a set" else ann}],
    }


Way = Callable[[Side, Any, Any, Any], int]


def first(codes: Any) -> int:
    return int(codes[0])


def entitled(side: Side, session: ztfast.Session) -> int:
    """Decide over the whole store, which gives no codes: ALLOW if anything is allowed, otherwise UNKNOWN_SESSION."""
    allowed = bool(side.engine.entitled(session, "view")) or bool(side.engine.entitlements(session, "view").any())
    return Code.ALLOW if allowed else Code.UNKNOWN_SESSION


# Each way of deciding for a session, with a resource and an entity of the context.
BY_SESSION: dict[str, Way] = {
    "decide": lambda s, session, line, who: s.engine.decide(session, "note", line, {"qty": 1, "who": who}).number,
    "decide, by text": lambda s, session, _, who: (
        s.engine.decide(session, "note", 'Line::"l1"', {"qty": 1, "who": who}).number
    ),
    "Gate.decide": lambda s, session, line, who: s.note.decide(session, line, 1, who).number,
    "Gate.allows": lambda s, session, line, who: Code.ALLOW if s.note.allows(session, line, 1, who) else Code.DEFAULT,
    "Gate.decide, plain": lambda s, session, line, _: s.view.decide(session, line).number,
    "Gate.allows, plain": lambda s, session, line, _: Code.ALLOW if s.view.allows(session, line) else Code.DEFAULT,
    "Gate.decide, slow": lambda s, session, line, who: s.price.decide(session, line, "1.5", who).number,
    "Gate.allows, slow": lambda s, session, line, who: (
        Code.ALLOW if s.price.allows(session, line, "1.5", who) else Code.DEFAULT
    ),
    "decide_many": lambda s, session, line, who: first(s.note.decide_many(session, line, [1, 2], who)),
    "decide_many, columns": lambda s, session, line, who: first(
        s.note.decide_many([session] * 3, [line] * 3, [1, 2, 3], [who] * 3)
    ),
    "decide_many, numbers": lambda s, session, line, who: first(
        s.note.decide_many(
            np.array([session.id] * 3, np.uint64),
            np.array([line.handle] * 3, np.uint64),
            1,
            np.array([who.handle] * 3, np.uint64),
        )
    ),
    "decide_many, uniform": lambda s, session, line, _: first(s.view.decide_many(session, line)),
    "decide_many, uniform rows": lambda s, session, line, _: first(s.view.decide_many([session] * 3, line)),
    "entitled": lambda s, session, _line, _who: entitled(s, session),
}
# Each way of deciding by policy alone.
BY_POLICY: dict[str, Way] = {
    "evaluate": lambda s, who, line, attr: s.engine.evaluate(who, "note", line, {"qty": 1, "who": attr}).number,
    "evaluate, resource": lambda s, _, line, who: (
        s.engine.evaluate('User::"ann"', "note", line, {"qty": 1, "who": who}).number
    ),
    "evaluate_many": lambda s, who, line, attr: first(
        s.engine.evaluate_many([who] * 2, "note", [line] * 2, {"qty": [1, 2], "who": [attr] * 2})
    ),
    "evaluate_many, one": lambda s, who, line, attr: first(
        s.engine.evaluate_many(who, "note", line, {"qty": 1, "who": attr})
    ),
    "Gate.evaluate_many": lambda s, who, line, attr: first(s.note.evaluate_many(who, line, [1, 2], attr)),
    "Gate.evaluate_many, numbers": lambda s, who, line, attr: first(
        s.note.evaluate_many(
            np.array([who.handle], np.uint64), np.array([line.handle], np.uint64), 1, np.array([attr.handle], np.uint64)
        )
    ),
    "Gate.evaluate_many, plain": lambda s, who, line, _: first(s.view.evaluate_many(who, line)),
}
# Ways that do not look at the resource, or at the entity of the context.
NO_RESOURCE = {"decide, by text", "entitled"}
NO_ENTITY = {name for name in (*BY_SESSION, *BY_POLICY) if "plain" in name or "uniform" in name} | {"entitled"}
NO_CODE = {name for name in BY_SESSION if "allows" in name}


@pytest.mark.parametrize("way", BY_SESSION)
def test_a_session_of_another_engine_decides_nothing(way: str, ours: Side, theirs: Side) -> None:
    decide = BY_SESSION[way]
    for own, other in ((ours, theirs), (theirs, ours)):
        assert decide(own, own.session, own.line, own.ann) == Code.ALLOW
        code = decide(own, other.session, own.line, own.ann)
        assert code == (Code.DEFAULT if way in NO_CODE else Code.UNKNOWN_SESSION)


@pytest.mark.parametrize("way", sorted({*BY_SESSION, *BY_POLICY} - NO_RESOURCE))
def test_a_resource_of_another_engine_decides_nothing(way: str, ours: Side, theirs: Side) -> None:
    decide = {**BY_SESSION, **BY_POLICY}[way]
    who = ours.session if way in BY_SESSION else ours.ann
    assert decide(ours, who, ours.line, ours.ann) == Code.ALLOW
    code = decide(ours, who, theirs.line, ours.ann)
    assert code == (Code.DEFAULT if way in NO_CODE else Code.UNKNOWN_HANDLE)


@pytest.mark.parametrize("way", sorted(BY_POLICY.keys() - {"evaluate, resource"}))
def test_a_principal_of_another_engine_decides_nothing(way: str, ours: Side, theirs: Side) -> None:
    assert BY_POLICY[way](ours, theirs.ann, ours.line, ours.ann) == Code.UNKNOWN_HANDLE


@pytest.mark.parametrize("way", sorted({*BY_SESSION, *BY_POLICY} - NO_ENTITY))
def test_an_entity_of_another_engine_decides_nothing(way: str, ours: Side, theirs: Side) -> None:
    decide = {**BY_SESSION, **BY_POLICY}[way]
    who = ours.session if way in BY_SESSION else ours.ann
    code = decide(ours, who, ours.line, theirs.ann)
    assert code == (Code.DEFAULT if way in NO_CODE else Code.UNKNOWN_HANDLE)


@pytest.mark.parametrize("where", ["set", "record", "optional record", "record in a set"])
def test_an_entity_of_another_engine_within_a_value_decides_nothing(where: str, ours: Side, theirs: Side) -> None:
    def answers(context: dict[str, Any]) -> list[str]:
        return [
            ours.engine.evaluate('User::"ann"', "tag", ours.line, context).code,
            ours.engine.decide(ours.session, "tag", ours.line, context).code,
        ]

    assert answers(tags(ours.ann, where, ours)) == ["ALLOW", "ALLOW"]
    assert answers(tags(theirs.ann, where, ours)) == ["UNKNOWN_HANDLE", "UNKNOWN_HANDLE"]
    with pytest.raises(ztfast.OwnerError):
        ours.engine.explain('User::"ann"', "tag", ours.line, tags(theirs.ann, where, ours))


def test_one_row_of_another_engine_is_denied_and_the_others_are_not(ours: Side, theirs: Side) -> None:
    own, other = ours, theirs
    sessions = [own.session, other.session, own.session, own.session]
    lines = [own.line, own.line, other.line, own.line]
    people = [own.ann, own.ann, own.ann, other.ann]
    codes = own.note.decide_many(sessions, lines, 1, people).tolist()
    assert codes == [Code.ALLOW, Code.UNKNOWN_SESSION, Code.UNKNOWN_HANDLE, Code.UNKNOWN_HANDLE]
    codes = own.note.evaluate_many([own.ann, other.ann, own.ann, own.ann], lines[:1] + lines[:1] + lines[2:], 1, people)
    assert codes.tolist() == [Code.ALLOW, Code.UNKNOWN_HANDLE, Code.UNKNOWN_HANDLE, Code.UNKNOWN_HANDLE]


def test_a_call_with_a_foreign_entity_leaves_the_gate_as_it_was(ours: Side, theirs: Side) -> None:
    assert ours.note.decide(ours.session, ours.line, 1, theirs.ann).code == "UNKNOWN_HANDLE"
    assert ours.note.decide(ours.session, ours.line, 1, ours.ann).code == "ALLOW"
    ours.session.revoke()
    # The session comes first.
    assert ours.note.decide(ours.session, ours.line, 1, theirs.ann).code == "REVOKED"


def test_explaining_with_what_is_another_engines_raises(ours: Side, theirs: Side) -> None:
    assert ours.engine.explain(ours.session, "view", ours.line).allow
    for who, line in ((theirs.session, ours.line), (ours.session, theirs.line), ('User::"ann"', theirs.line)):
        with pytest.raises(ztfast.OwnerError):
            ours.engine.explain(who, "view", line)


def test_a_session_changes_its_own_engine_only(ours: Side, theirs: Side) -> None:
    assert theirs.session.quarantine()
    assert ours.view.allows(ours.session, ours.line)
    assert theirs.session.revoke()
    assert ours.view.allows(ours.session, ours.line)
    assert not ours.engine._core.set_session(theirs.session.id, 1)
    assert not ours.engine._core.set_session(theirs.session.id, 2)
    assert ours.view.allows(ours.session, ours.line)
    assert theirs.view.decide(theirs.session, theirs.line).code == "REVOKED"


def test_sessions_stay_apart_when_slots_are_used_anew(bundle: ztfast.Bundle) -> None:
    engines = [ztfast.Engine(bundle, sessions=1, handles=8) for _ in range(2)]
    gates = [engine.prepare("view") for engine in engines]
    lines = [engine.resource('Line::"l1"') for engine in engines]
    gone: list[ztfast.Session] = []
    for _ in range(50):
        live = [engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf)) for engine in engines]
        for at in range(2):
            assert gates[at].allows(live[at], lines[at])
            assert gates[at].decide(live[1 - at], lines[at]).code == "UNKNOWN_SESSION"
            assert not any(gates[at].allows(old, lines[at]) for old in gone)
        for session in live:
            assert session.revoke()
        gone += live


def test_numbers_that_no_engine_gave_are_unknown(ours: Side) -> None:
    session, line = ours.session.id, ours.line.handle
    ids = {0, 1, 2, 3, 7, 2**32, 2**62, 2**63, 2**64 - 1} | {session ^ 1 << bit for bit in range(64)}
    ids |= {session % 8 | tag << 3 for tag in range(64)}
    codes = ours.view.decide_many(np.array(sorted(ids - {session}), np.uint64), ours.line)
    assert set(codes.tolist()) == {Code.UNKNOWN_SESSION}
    # Bits of a handle that lead to another handle of the engine lead to something else, not to nothing.
    known = {engine.handle for engine in (ours.line, ours.ann)}
    handles = ({0, 1, 2, 2**32, 2**63, 2**64 - 1} | {line ^ 1 << bit for bit in range(64)}) - known
    codes = ours.view.decide_many(ours.session, np.array(sorted(handles), np.uint64))
    assert set(codes.tolist()) == {Code.UNKNOWN_HANDLE}


def test_columns_of_narrower_numbers_are_refused(ours: Side) -> None:
    for column in (np.array([0], np.uint32), np.array([0], np.int64), np.array([0.0])):
        for give in (
            lambda c: ours.view.decide_many(ours.session, c),
            lambda c: ours.view.evaluate_many(c, ours.line),
            lambda c: ours.note.decide_many(ours.session, ours.line, 1, c),
            lambda c: ours.view.decide_many(c, ours.line),
        ):
            with pytest.raises(ztfast.ContextError, match="uint64"):
                give(column)


# -- the C table -------------------------------------------------------------------------------------------------------


@pytest.fixture
def api() -> dict[str, Any]:
    return table.functions()


@pytest.fixture
def own(api: dict[str, Any], ours: Side) -> Iterator[c_void_p]:
    made = table.clone(api, ours.note.address)
    yield made
    assert api["gate_free"](made) == 0


def test_the_table_takes_nothing_of_another_engine(
    api: dict[str, Any], own: c_void_p, ours: Side, theirs: Side
) -> None:
    foreign = table.statuses()["E_FOREIGN"]
    number, determining = c_int64(), Determining()

    def call(session: ztfast.Session, line: ztfast.EntityHandle, who: ztfast.EntityHandle) -> list[int]:
        codes = []
        for name, more in (("allows", ()), ("decide", (byref(determining),))):
            assert api["begin"](own) == 0
            status = api["entity"](own, who.handle, 1, byref(number))
            assert status == (0 if who is ours.ann else foreign)
            codes.append(api[name](own, session.id, line.handle, values(1, number.value), 2, *more))
        return codes

    assert call(ours.session, ours.line, ours.ann) == [Code.ALLOW] * 2
    assert call(theirs.session, ours.line, ours.ann) == [Code.UNKNOWN_SESSION] * 2
    assert call(ours.session, theirs.line, ours.ann) == [Code.UNKNOWN_HANDLE] * 2
    # A caller that ignores the status is denied anyway, even with a number that was valid before.
    assert call(ours.session, ours.line, theirs.ann) == [Code.UNKNOWN_HANDLE] * 2
    assert call(ours.session, ours.line, ours.ann) == [Code.ALLOW] * 2


def test_the_tables_batches_take_nothing_of_another_engine(api: dict[str, Any], ours: Side, theirs: Side) -> None:
    def run(function: str, who: int, line: int, entity: int) -> int:
        made, codes = c_void_p(), (c_uint8 * 1)()
        assert api["batch_begin"](ours.note.address, byref(made)) == 0
        cells = (c_uint64(who), c_uint64(line), c_int64(1), c_uint64(entity))
        columns = (Column * 4)(*(Column(ctypes.addressof(cell), 1, 0) for cell in cells))
        assert api[function](made, 1, columns, 4, codes) == 0
        assert api["batch_end"](made) == 0
        return codes[0]

    line, ann = ours.line.handle, ours.ann.handle
    assert run("batch_run", ours.session.id, line, ann) == Code.ALLOW
    assert run("batch_run", theirs.session.id, line, ann) == Code.UNKNOWN_SESSION
    assert run("batch_run", ours.session.id, theirs.line.handle, ann) == Code.UNKNOWN_HANDLE
    assert run("batch_run", ours.session.id, line, theirs.ann.handle) == Code.UNKNOWN_HANDLE
    assert run("batch_evaluate", ann, line, ann) == Code.ALLOW
    assert run("batch_evaluate", theirs.ann.handle, line, ann) == Code.UNKNOWN_HANDLE


# -- made by hand, copied, pickled -------------------------------------------------------------------------------------

COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda value, protocol=protocol: pickle.dumps(value, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("name", ["session", "line", "view", "engine", "bundle"])
def test_nothing_of_an_engine_is_copied_or_pickled(name: str, ours: Side) -> None:
    value = ours.engine.bundle if name == "bundle" else getattr(ours, name)
    for make in COPIES:
        for given in (value, [value], {"deep": (value,)}):
            if make is copy.copy and given is not value:
                continue
            with pytest.raises(ztfast.OwnerError, match=r"cannot be copied or pickled.*[.(]") as raised:
                make(given)
            assert isinstance(raised.value, TypeError)
            # What it says to call is there to be called.
            owners = {
                "engine": ours.engine,
                "session": ours.session,
                "resource": ours.line,
                "bundle": ours.engine.bundle,
            }
            named = re.findall(r"\b(engine|session|resource|bundle)\.(\w+)", str(raised.value))
            assert named
            assert all(hasattr(owners[owner], method) for owner, method in named), named
    if name in ("session", "line", "view"):
        for method in ("__reduce__", "__getstate__", "__copy__"):
            with pytest.raises(ztfast.OwnerError):
                getattr(value, method)()
        assert not hasattr(value, "__setstate__")
        assert not hasattr(value, "__setstate_cython__")


def test_sessions_handles_and_gates_cannot_be_constructed(ours: Side, theirs: Side) -> None:
    core, identity = ours.engine._core, ours.session.identity
    for make in (
        lambda: ztfast.Session(core, ours.session.id, identity),
        lambda: ztfast.Session(ours.engine, 5, identity),
        lambda: ztfast.Session(),
        lambda: ztfast.EntityHandle(0, ztfast.Uid("Line", "l1")),
        lambda: ztfast.EntityHandle(),
        lambda: ztfast.Gate(ours.engine, core),
        lambda: ztfast.Gate(),
        lambda: gate.admit(ours.engine, identity, 0, 1),
        lambda: gate.resource(object(), ("Line", "l1")),
        lambda: gate.prepare(ours.engine, "view", []),  # type: ignore[arg-type]
        lambda: gate.prepare(object.__new__(ztfast.Engine), "view", []),  # type: ignore[arg-type]
    ):
        with pytest.raises(ztfast.OwnerError):
            make()
    for made in (_core.Engine, _core.Gate, _core.Bundle):
        with pytest.raises(TypeError):
            made.__new__(made)
    # Calling __init__ again changes nothing.
    before = ours.session.id, ours.line.handle
    for again in (
        lambda: ours.session.__init__(theirs.engine, 5, identity),  # type: ignore[misc]
        lambda: ours.line.__init__(5, None),  # type: ignore[misc]
        lambda: ours.view.__init__(ours.engine, None),  # type: ignore[misc]
    ):
        with pytest.raises(ztfast.OwnerError):
            again()
    assert (ours.session.id, ours.line.handle) == before
    assert ours.view.allows(ours.session, ours.line)
    for value, attribute in (
        (ours.session, "id"),
        (ours.session, "identity"),
        (ours.line, "handle"),
        (ours.view, "action"),
    ):
        with pytest.raises(AttributeError):
            setattr(value, attribute, 5)
    for value in (ours.session, ours.line, ours.view):
        for attribute in ("_engine", "_core", "anything"):
            with pytest.raises(AttributeError):
                setattr(value, attribute, theirs.engine)


def test_what_was_not_admitted_decides_nothing(ours: Side) -> None:
    session, line = ztfast.Session.__new__(ztfast.Session), ztfast.EntityHandle.__new__(ztfast.EntityHandle)
    assert not ours.view.allows(session, ours.line)
    assert ours.view.decide(session, ours.line).code == "UNKNOWN_SESSION"
    assert ours.engine.decide(session, "view", ours.line).code == "UNKNOWN_SESSION"
    assert not ours.view.allows(ours.session, line)
    assert ours.view.decide(ours.session, line).code == "UNKNOWN_HANDLE"
    assert ours.note.decide(ours.session, ours.line, 1, line).code == "UNKNOWN_HANDLE"
    for act in (session.revoke, session.quarantine):
        with pytest.raises(ztfast.OwnerError):
            act()
    made = ztfast.Gate.__new__(ztfast.Gate)
    assert (repr(session), repr(made)) == (
        "<ztfast.Session that was not admitted>",
        "<ztfast.Gate that was not prepared>",
    )
    for call in (
        lambda: made.allows(ours.session, ours.line),
        lambda: made.decide(ours.session, ours.line),
        lambda: made.decide_many(ours.session, ours.line),
        lambda: made.evaluate_many(ours.line, ours.line),
    ):
        with pytest.raises(ztfast.OwnerError):
            call()


def test_what_is_no_session_is_refused(ours: Side) -> None:
    calls: tuple[Callable[[Any], object], ...] = (
        lambda given: ours.engine.decide(given, "view", ours.line),
        lambda given: ours.engine.entitled(given, "view"),
        lambda given: ours.engine.entitlements(given, "view"),
        lambda given: ours.view.decide(given, ours.line),
    )
    for given in (None, 5, ours.session.id, 'User::"ann"', ours.line, ours.session.identity):
        for call in calls:
            with pytest.raises(ztfast.ArgumentError, match=r"wanted a ztfast\.Session, as Engine\.admit returns; got"):
                call(given)
    for given in (None, 5, ours.line.handle, 'Line::"l1"', ours.session):
        with pytest.raises(ztfast.ArgumentError, match=r"EntityHandle, as Engine\.resource returns; got"):
            ours.view.decide(ours.session, given)
