"""Wrong arguments: each call accepts them or raises a ``ztfast.Error`` with one sentence."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import ztfast

WHO, WHAT = 'User::"ann"', 'Photo::"p1"'
SCHEMA = ztfast.Text("entity U;")
BUNDLE = ztfast.examples.tiny()


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("shows nothing")


class Multiline:
    def __repr__(self) -> str:
        return "first\nerror: second\x1b[2J"


class Text(str):
    __slots__ = ()


class Liar(str):
    """A text that says that it is whatever it is compared with, and encodes as another."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"normal"

    def strip(self, *_: Any) -> str:
        return "lied"

    def __str__(self) -> str:
        return "lied"


class LyingInt(int):
    """A number that is within any bounds, and converts to another."""

    __hash__ = int.__hash__

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __eq__ = __le__

    def __index__(self) -> int:
        raise RuntimeError("no index")

    __int__ = __index__

    def __float__(self) -> float:
        raise RuntimeError("no float")


class LyingFloat(float):
    """A number that is equal to everything, and converts to nothing."""

    __hash__ = float.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __float__(self) -> float:
        raise RuntimeError("no float")


class LyingBytes(bytes):
    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __bytes__(self) -> bytes:
        raise RuntimeError("no bytes")


class Path:
    """A path that is none."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __fspath__(self) -> Any:
        if isinstance(self.of, Exception):
            raise self.of
        return self.of


class Broken:
    """A collection that fails, in the middle or at once."""

    def __init__(self, given: int) -> None:
        self.given = given

    def __iter__(self) -> Iterator[str]:
        yield from ["x"] * self.given
        raise RuntimeError("no more")


class TooLong(BaseException):
    """So many elements are asked for only by what asks for all."""


def endless(element: Any) -> Iterator[Any]:
    yield from itertools.repeat(element, 100_000)
    raise TooLong


LYING = (
    str, int, float, bool, bytes, dict, list, set, tuple, datetime.datetime, ztfast.Uid, ztfast.Session, ztfast.EntityHandle,
    ztfast.Identity, ztfast.Kill, ztfast.Bundle, type(ztfast.ALL_ACTIONS),
)  # fmt: skip


def odd_values() -> list[Any]:
    """Make odd values anew, because iterators and files can be read only once."""
    return [
    None, True, 0, 5, -1, 1 << 70, 1.5, math.nan, math.inf, "", "x", WHO, "\ud800", "a\0b", "a\nb", Text(WHO), b"x", bytearray(b"x"),
    [], [None], [5], ["\ud800"], [[]], [WHO, None], (), {}, {1: 2}, {"a": 1}, {"type": "User"}, {"type": 1, "id": 2}, {"__entity": 1},
    set(), {WHO}, object(), int, io.StringIO("x"), iter([]), BUNDLE, ztfast.Engine, Unshowable(), Multiline(), [Unshowable()],
    np.array(5), np.array([1.5]), np.array(["x"]), np.array([object()]), np.float32(1), np.datetime64("NaT"), 1j, ..., NotImplemented,
]  # fmt: skip


def lying_values() -> list[Any]:
    """Make values that say of themselves what they are not, or fail."""
    return [
    Liar("halt"), Liar(WHO), Liar(""), Liar("\ud800"), [Liar("x")], LyingInt(3), LyingInt(-3), LyingInt(1 << 70), [LyingInt(3)],
    LyingFloat(3), LyingFloat(math.nan), LyingBytes(b"x"), LyingBytes(b""), np.timedelta64(3, "s"),
    Path(None), Path("a\0b"), Path("\ud800"), Path(b"a\0b"), Path(Liar("")), Path(RuntimeError("no path")), Broken(0), Broken(3),
    "x" * 10_000, "é" * 100, "\u200b", " ", "\t\n", *(Mock(spec=kind) for kind in LYING),
]  # fmt: skip


def endless_values() -> list[Any]:
    return [endless("x"), endless(WHO), endless(None), endless(Liar("x"))]


class Desk:
    """The engine, session and gate of the calls."""

    def __init__(self) -> None:
        self.engine = ztfast.Engine(BUNDLE, sessions=64, handles=1024)
        self.session = self.engine.admit(ztfast.Identity(WHO, not_after=math.inf))
        self.spare = self.engine.admit(ztfast.Identity('User::"spare"', not_after=math.inf))
        # Nobody has a session here.
        self.other = ztfast.Engine(BUNDLE, sessions=8, handles=1024)
        self.view = self.engine.prepare("view")
        self.upload = self.engine.prepare("upload", "megabytes")
        self.photo = self.engine.resource(WHAT)

    def admit(self, **known: Any) -> None:
        """Admit a session that takes no slot for long."""
        self.engine.admit(ztfast.Identity('User::"new"', not_after=math.inf, **known)).revoke()


CALLS: dict[str, Callable[[Desk, Any], object]] = {
    "compile policies": lambda _, x: ztfast.compile(x, schema=SCHEMA),
    "compile schema": lambda _, x: ztfast.compile(ztfast.Text(""), schema=x),
    "compile entities": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, entities=x),
    "compile validate": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, validate=x),
    "compile warnings": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, warnings=x),
    "compile form": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, form=x),
    "compile base": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, base=x),
    "Bundle": lambda _, x: ztfast.Bundle(x),
    "Bundle.load": lambda _, x: ztfast.Bundle.load(x),
    "Bundle.policy_source": lambda _, x: BUNDLE.policy_source(x),
    "Engine": lambda _, x: x is BUNDLE or ztfast.Engine(x),
    "Engine sessions": lambda _, x: ztfast.Engine(BUNDLE, sessions=x, handles=8),
    "Engine handles": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=x),
    "Engine prefault": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, prefault=x),
    "Engine strict": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, strict=x),
    "Engine max_context": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, max_context=x),
    "evaluate principal": lambda on, x: on.engine.evaluate(x, "view", WHAT),
    "evaluate action": lambda on, x: on.engine.evaluate(WHO, x, WHAT),
    "evaluate resource": lambda on, x: on.engine.evaluate(WHO, "view", x),
    "evaluate context": lambda on, x: on.engine.evaluate(WHO, "view", WHAT, x),
    "evaluate a Long": lambda on, x: on.engine.evaluate(WHO, "upload", WHAT, {"megabytes": x}),
    "evaluate a String": lambda on, x: on.engine.evaluate(WHO, "upload", WHAT, {"megabytes": 1, "camera": x}),
    "evaluate a name": lambda on, x: on.engine.evaluate(WHO, "view", WHAT, {x: 1} if x.__hash__ else {}),
    "decide session": lambda on, x: on.engine.decide(x, "view", WHAT),
    "decide action": lambda on, x: on.engine.decide(on.session, x, WHAT),
    "decide resource": lambda on, x: on.engine.decide(on.session, "view", x),
    "decide context": lambda on, x: on.engine.decide(on.session, "view", WHAT, x),
    "admit": lambda on, x: on.engine.admit(x),
    "prepare action": lambda on, x: on.engine.prepare(x),
    "prepare name": lambda on, x: on.engine.prepare("upload", "megabytes", x),
    "attribute_path action": lambda on, x: on.engine.attribute_path(x, "megabytes"),
    "attribute_path name": lambda on, x: on.engine.attribute_path("upload", x),
    "evaluate_many principals": lambda on, x: on.engine.evaluate_many(x, "view", WHAT),
    "evaluate_many action": lambda on, x: on.engine.evaluate_many(WHO, x, WHAT),
    "evaluate_many resources": lambda on, x: on.engine.evaluate_many(WHO, "view", x),
    "evaluate_many context": lambda on, x: on.engine.evaluate_many(WHO, "view", WHAT, x),
    "evaluate_many a column": lambda on, x: on.engine.evaluate_many(WHO, "upload", WHAT, {"megabytes": x}),
    "resources": lambda on, x: on.engine.resources(x),
    "entitlements session": lambda on, x: on.engine.entitlements(x, "view"),
    "entitlements action": lambda on, x: on.engine.entitlements(on.session, x),
    "entitlements context": lambda on, x: on.engine.entitlements(on.session, "view", x),
    "entitled session": lambda on, x: on.engine.entitled(x, "view"),
    "entitled action": lambda on, x: on.engine.entitled(on.session, x),
    "resource": lambda on, x: on.engine.resource(x),
    "swap": lambda on, x: x is BUNDLE or on.engine.swap(x),
    "swap keep_changes": lambda on, x: on.engine.swap(BUNDLE, keep_changes=x),
    "swap allow_stale": lambda on, x: on.engine.swap(BUNDLE, allow_stale=x),
    "swap upsert": lambda on, x: on.engine.swap(BUNDLE, upsert=x),
    "stale_gates": lambda on, x: on.engine.stale_gates(x),
    "kill_switch": lambda on, x: x is True or on.engine.kill_switch(x),
    "kill_switch actions": lambda on, x: on.engine.kill_switch(False, actions=x),
    "kill_switch one action": lambda on, x: on.engine.kill_switch(False, actions=[x]),
    "kill scope": lambda on, x: on.engine.kill(x, ["upload"], by="ann", reason="a test"),
    "kill actions": lambda on, x: x is None or on.engine.kill(actions=x, by="ann", reason="a test"),
    "kill one action": lambda on, x: on.engine.kill(actions=[x], by="ann", reason="a test"),
    "kill by": lambda on, x: on.engine.kill('User::"none"', by=x, reason="a test"),
    "kill reason": lambda on, x: on.engine.kill('User::"none"', by="ann", reason=x),
    "kill until": lambda on, x: x is None or on.engine.kill('User::"none"', by="ann", reason="a test", until=x),
    "kill two_persons": lambda on, x: on.engine.kill('User::"none"', by="ann", reason="a test", two_persons=x),
    "release_kill": lambda on, x: on.engine.release_kill(x, by="ann", reason="a test"),
    "release_kill by": lambda on, x: on.engine.release_kill(5, by=x, reason="a test"),
    "release_kill approved_by": lambda on, x: on.engine.release_kill(5, by="ann", approved_by=x, reason="a test"),
    "market target": lambda on, x: on.engine.market(x, "halted", by="ann", reason="a test"),
    "market state": lambda on, x: on.engine.market(WHAT, x, by="ann", reason="a test"),
    "market by": lambda on, x: on.engine.market(WHAT, "halted", by=x, reason="a test"),
    "market_state": lambda on, x: on.engine.market_state(x),
    "compile exempt": lambda _, x: ztfast.compile(ztfast.Text(""), schema=SCHEMA, exempt=x),
    "upsert": lambda on, x: on.engine.upsert(x),
    "remove": lambda on, x: on.engine.remove(x),
    "remove one": lambda on, x: on.engine.remove([x]),
    "explain who": lambda on, x: on.engine.explain(x, "view", WHAT),
    "explain action": lambda on, x: on.engine.explain(WHO, x, WHAT),
    "explain resource": lambda on, x: on.engine.explain(WHO, "view", x),
    "explain context": lambda on, x: on.engine.explain(WHO, "view", WHAT, x),
    "allows session": lambda on, x: on.view.allows(x, on.photo),
    "allows resource": lambda on, x: on.view.allows(on.session, x),
    "allows a value": lambda on, x: on.upload.allows(on.session, on.photo, x),
    "gate.decide session": lambda on, x: on.view.decide(x, on.photo),
    "gate.decide resource": lambda on, x: on.view.decide(on.session, x),
    "gate.decide a value": lambda on, x: on.upload.decide(on.session, on.photo, x),
    "decide_many session": lambda on, x: on.view.decide_many(x, on.photo),
    "decide_many resources": lambda on, x: on.view.decide_many(on.session, x),
    "decide_many a column": lambda on, x: on.upload.decide_many(on.session, on.photo, x),
    "gate.evaluate_many principals": lambda on, x: on.view.evaluate_many(x, on.photo),
    "gate.evaluate_many resources": lambda on, x: on.view.evaluate_many(on.photo, x),
    "Identity principal": lambda _, x: ztfast.Identity(x, not_after=5),
    "Identity not_after": lambda _, x: ztfast.Identity(WHO, not_after=x),
    "Identity not_before": lambda _, x: ztfast.Identity(WHO, not_after=math.inf, not_before=x),
    "Identity factors": lambda _, x: ztfast.Identity(WHO, not_after=5, factors=x),
    "Identity auth_time": lambda _, x: ztfast.Identity(WHO, not_after=5, auth_time=x),
    "Identity assurance": lambda _, x: ztfast.Identity(WHO, not_after=5, assurance=x),
    "Identity channel": lambda _, x: ztfast.Identity(WHO, not_after=5, channel=x),
    "Identity region": lambda _, x: ztfast.Identity(WHO, not_after=5, region=x),
    "Identity risk": lambda _, x: ztfast.Identity(WHO, not_after=5, risk=x),
    "Identity on_behalf_of": lambda _, x: ztfast.Identity(WHO, not_after=5, on_behalf_of=x),
    "Identity ground": lambda _, x: ztfast.Identity(WHO, not_after=5, ground=x),
    "admit factors": lambda on, x: on.admit(factors=x),
    "admit auth_time": lambda on, x: on.admit(auth_time=x),
    "admit assurance": lambda on, x: on.admit(assurance=x),
    "admit channel": lambda on, x: on.admit(channel=x),
    "admit region": lambda on, x: on.admit(region=x),
    "admit risk": lambda on, x: on.admit(risk=x),
    "admit on_behalf_of": lambda on, x: on.admit(on_behalf_of=x),
    "admit ground": lambda on, x: on.admit(ground=x),
    "session": lambda on, x: on.engine.session(x),
    "revoke": lambda on, x: on.other.revoke(x),
    "revoke ground": lambda on, x: on.engine.revoke(ground=x),
    "revoke by": lambda on, x: on.engine.revoke('User::"none"', by=x),
    "revoke reason": lambda on, x: on.engine.revoke('User::"none"', reason=x),
    "quarantine": lambda on, x: on.other.quarantine(x),
    "quarantine on": lambda on, x: on.engine.quarantine('User::"none"', on=x),
    "renew": lambda on, x: on.spare.renew(not_after=x),
    "present factors": lambda on, x: on.spare.present(factors=x),
    "present assurance": lambda on, x: on.spare.present(assurance=x),
    "present risk": lambda on, x: on.spare.present(risk=x),
    "present at": lambda on, x: on.spare.present(at=x),
    "session.quarantine": lambda on, x: on.spare.quarantine(x),
    "session.quarantine by": lambda on, x: on.spare.quarantine(False, by=x),
    "session.quarantine reason": lambda on, x: on.spare.quarantine(False, reason=x),
    "set_time": lambda on, x: on.engine.set_time(x),
    "release_kill reason": lambda on, x: on.engine.release_kill(5, by="ann", reason=x),
    "market reason": lambda on, x: on.engine.market(WHAT, "halted", by="ann", reason=x),
    "Engine state": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, state=x, role="decide"),
    "Engine role": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, role=x),
    "Engine clock": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, clock=x),
    "Engine state_group": lambda _, x: ztfast.Engine(
        BUNDLE, sessions=8, handles=8, state="/nowhere/at/all", role="decide", state_group=x
    ),
    "Engine locked": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, locked=x),
    "Engine huge_pages": lambda _, x: ztfast.Engine(BUNDLE, sessions=8, handles=8, huge_pages=x),
    "Uid": lambda _, x: ztfast.Uid(x, x),
    "Uid.parse": lambda _, x: ztfast.Uid.parse(x),
    "Uid.of": lambda _, x: ztfast.Uid.of(x),
    "Categorical codes": lambda _, x: ztfast.Categorical(x, ["a"]),
    "Categorical values": lambda _, x: ztfast.Categorical([0], x),
}


@pytest.mark.filterwarnings("ignore::ztfast.PolicyWarning")
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_taken_or_refused_by_an_error_of_ours(name: str) -> None:
    on = Desk()
    wrong = []
    # Who compiles bundles is trusted with what runs in the process.
    for odd in odd_values() + ([] if name.startswith(("compile", "Bundle")) else lying_values()):
        try:
            CALLS[name](on, odd)
        except ztfast.PolicyError:
            pass
        except ztfast.Error as error:
            if len(str(error).splitlines()) > 1:
                wrong.append(f"{type(odd).__name__}: {type(error).__name__} in several lines: {error}")
        except BaseException as error:
            wrong.append(f"{type(odd).__name__}: {type(error).__name__}: {error}")
    assert wrong == []
    # Nothing of it left anything behind.
    assert on.engine.evaluate(WHO, "view", WHAT)
    assert on.view.allows(on.session, on.photo)


# Entities may be made one by one, in any number.
MANY = {"compile policies", "compile entities", "swap upsert", "upsert", "remove"}


@pytest.mark.filterwarnings("ignore::ztfast.PolicyWarning")
@pytest.mark.parametrize("name", [name for name in CALLS if name not in MANY])
def test_what_has_no_end_is_refused(name: str) -> None:
    on = Desk()
    for odd in endless_values():
        with contextlib.suppress(ztfast.Error):
            CALLS[name](on, odd)
    assert on.engine.evaluate(WHO, "view", WHAT)


def test_what_lies_is_taken_for_what_it_is() -> None:
    on = Desk()
    with pytest.raises(ztfast.ArgumentError, match="'normal', 'volatile' or 'halted'"):
        on.engine.market(WHAT, Liar("halt"), by="ann", reason="a test")  # type: ignore[arg-type]
    on.engine.market(WHAT, Liar("halted"), by=Liar("ann"), reason=Liar("a test"))  # type: ignore[arg-type]
    (market,) = on.engine.markets()
    assert (market.state, market.by, market.reason) == ("halted", "ann", "a test")
    with pytest.raises(ztfast.ArgumentError, match="'authority' or 'decide'"):
        ztfast.Engine(BUNDLE, sessions=8, handles=8, role=Liar("none"))  # type: ignore[arg-type]
    for number in (LyingInt(9), LyingInt(-1), LyingInt(1 << 70)):
        with pytest.raises(ztfast.IdentityError, match="assurance"):
            on.session.present(assurance=number)
    known = {"factors": [Liar("x509")], "assurance": LyingInt(3), "risk": LyingInt(4), "channel": Liar("mtls")}
    session = on.engine.admit(ztfast.Identity(WHO, not_after=LyingInt(1 << 32), ground=Liar("g"), **known))  # type: ignore[arg-type]
    info = next(info for info in on.engine.sessions() if info.id == session.id)
    assert (info.factors, info.assurance, info.risk, info.channel) == (("x509",), 3, 4, "mtls")
    assert info.not_after == 1 << 32
    assert on.engine.revoke(ground="g", by=Liar("bob")) == 1
    assert next(info for info in on.engine.sessions() if info.id == session.id).by == "bob"
    kill = on.engine.kill(by="ann", reason="a test")
    assert on.engine.release_kill(LyingInt(kill.id), by="ann", reason="over")


def test_a_subclass_of_an_identity_is_admitted_by_what_it_holds() -> None:
    class Other(ztfast.Identity):
        def __getattribute__(self, name: str) -> Any:
            return "high" if name in ("assurance", "not_after") else super().__getattribute__(name)

    on = Desk()
    session = on.engine.admit(Other(WHO, not_after=1 << 32))
    info = next(info for info in on.engine.sessions() if info.id == session.id)
    assert (info.assurance, info.not_after) == (0, 1 << 32)


@pytest.mark.parametrize("on", ["False", "no", 0, 1, None, [], Mock(spec=bool)])
def test_a_quarantine_is_neither_begun_nor_ended_by_what_is_no_bool(on: Any) -> None:
    desk = Desk()
    for quarantine in (lambda: desk.engine.quarantine(WHO, on=on), lambda: desk.session.quarantine(on)):
        with pytest.raises(ztfast.ArgumentError, match="True or False"):
            quarantine()
    assert desk.view.allows(desk.session, desk.photo)


def test_the_sentence_says_what_to_give() -> None:
    with pytest.raises(
        ztfast.ArgumentError, match=r"Engine: wanted a ztfast\.Bundle, as ztfast\.Bundle\.load\(path\).*'x\.ztb'"
    ):
        ztfast.Engine("x.ztb")  # type: ignore[arg-type]
    with pytest.raises(ztfast.ArgumentError, match=r"swap: wanted a ztfast\.Bundle.*'x\.ztb'"):
        ztfast.Engine(BUNDLE, sessions=8, handles=8).swap("x.ztb")  # type: ignore[arg-type]
    with pytest.raises(ztfast.ArgumentError, match=r"admit: wanted a ztfast\.Identity"):
        ztfast.Engine(BUNDLE, sessions=8, handles=8).admit(WHO)  # type: ignore[arg-type]
    with pytest.raises(ztfast.UidError, match=r"wanted a list of uids; got Uid"):
        ztfast.Engine(BUNDLE, sessions=8, handles=8).remove(ztfast.Uid("User", "ann"))


@pytest.mark.parametrize("yes", ["no", "False", 0, 1, [], object()])
def test_what_is_neither_true_nor_false_is_taken_for_neither(yes: Any) -> None:
    on = Desk()
    on.engine.remove([WHO])
    with pytest.raises(ztfast.ArgumentError, match="True or False"):
        on.engine.swap(BUNDLE, keep_changes=yes)
    with pytest.raises(ztfast.ArgumentError, match="True or False"):
        on.engine.swap(BUNDLE, allow_stale=yes)
    with pytest.raises(ztfast.ArgumentError, match="True or False"):
        on.engine.kill_switch(yes)
    assert not on.engine.killed
    assert on.engine.swap(BUNDLE, keep_changes=True).kept == (ztfast.Uid("User", "ann"),)


def test_numbers_of_numpy_are_taken_wherever_an_int_is() -> None:
    schema = ztfast.Text("entity U { n: Long, b: Bool }; action a appliesTo { principal: U, resource: U };")
    policies = ztfast.Text("permit (principal, action, resource) when { principal.n == 5 && principal.b };")

    def user(id: str, n: object, b: object) -> dict[str, Any]:
        return {"uid": {"type": "U", "id": id}, "attrs": {"n": n, "b": b}, "parents": []}

    given = [user("a", np.int64(5), np.bool_(True)), user("b", np.array(5), np.array(True))]
    bundle = ztfast.compile(policies, schema=schema, entities=given)
    for eight in (np.int64(8), np.uint8(8), np.array(8)):
        engine = ztfast.Engine(bundle, sessions=eight, handles=eight, max_context=eight)
        engine.upsert([user("c", np.uint64(5), np.True_)])
        assert [bool(engine.evaluate(f'U::"{id}"', "a", 'U::"x"')) for id in "abcd"] == [True, True, True, False]
    for wrong in (np.float64(5), np.timedelta64(5), np.array([5]), np.bool_(True), np.datetime64(5, "s")):
        with pytest.raises(ztfast.Error):
            engine.upsert([user("c", wrong, True)])
        with pytest.raises(ztfast.ArgumentError, match="a number from 1"):
            ztfast.Engine(bundle, sessions=wrong)  # type: ignore[arg-type]


def test_a_kill_switch_that_stops_nothing_is_refused() -> None:
    """An empty list of actions would leave the market open silently."""
    on = Desk()
    for nothing in ([], (), set(), iter([]), b"view", 5, object()):
        with pytest.raises(ztfast.ArgumentError, match="at least one"):
            on.engine.kill_switch(True, actions=nothing)
        assert not on.engine.killed


def test_columns_of_parties_have_an_end() -> None:
    on = Desk()
    endless = (itertools.repeat(on.session), itertools.repeat(on.photo), itertools.repeat(WHAT))
    for call in (
        lambda: on.view.decide_many(endless[0], on.photo),
        lambda: on.view.decide_many(on.session, endless[1]),
        lambda: on.view.evaluate_many(endless[1], on.photo),
        lambda: on.engine.evaluate_many(endless[2], "view", WHAT),
        lambda: on.engine.evaluate_many(WHO, "view", endless[2]),
        lambda: on.view.decide_many({}, on.photo),
    ):
        with pytest.raises(ztfast.Error, match="wanted"):
            call()


class NoTime(datetime.datetime):
    """A copy of pandas' NaT: a subclass of datetime with a zone, but not a time."""

    def timestamp(self) -> float:
        return math.nan


@pytest.mark.parametrize(
    "when",
    [
        NoTime(2030, 1, 1, tzinfo=datetime.UTC),
        np.datetime64("2030-01-01", "ns"),
        np.datetime64("2030-01-01", "s"),
        np.timedelta64(1, "s"),
        np.timedelta64(2 * 10**9, "ns"),
        np.array(2 * 10**9, "timedelta64[ns]"),
    ],
)
def test_what_is_no_number_of_seconds_is_no_time_of_an_identity(when: Any) -> None:
    for name in ("not_after", "not_before", "auth_time"):
        with pytest.raises(ztfast.IdentityError, match=name):
            ztfast.Identity(WHO, **{"not_after": math.inf, name: when})
