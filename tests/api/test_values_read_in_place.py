"""Decimals, datetimes and durations that a gate's call converts by itself: from Python's types, numpy's and texts.

A gate must read every value as ``Engine.decide`` reads it from a dict, and as ``ztfast.values.convert`` says, whatever the
type, the length or the origin of the value. Values whose own code runs while they are read may do anything meanwhile.
"""

from __future__ import annotations

import datetime
import decimal
import gc
import math
import random
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast
from tests.racing import beside
from ztfast import values

SCHEMA = """\
entity User; entity Doc;
action read appliesTo { principal: User, resource: Doc, context: {
    price?: decimal, asked?: decimal, at?: datetime, when?: datetime, age?: duration, most?: duration, ok?: Bool, n?: Long,
} };
"""
# A request is allowed if the value is exactly the one that is asked for.
POLICIES = """\
@id("price") permit (principal, action, resource)
when { context has price && context has asked && context.price == context.asked };
@id("at") permit (principal, action, resource) when { context has at && context has when && context.at == context.when };
@id("age") permit (principal, action, resource) when { context has age && context has most && context.age == context.most };
"""
PAIRS = {"decimal": ("price", "asked"), "datetime": ("at", "when"), "duration": ("age", "most")}
UTC = datetime.UTC
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=UTC)
MOST = 2**63 - 1


def compiled(policies: str = POLICIES) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA))


class Desk:
    """An engine with a session, a resource, and a gate for each kind."""

    def __init__(self, **options: Any) -> None:
        self.engine = ztfast.Engine(compiled(), sessions=16, handles=1024, **options)
        self.session = self.engine.admit(ztfast.Identity('User::"u"', not_after=math.inf))
        self.doc = self.engine.resource('Doc::"d"')
        self.gates = {kind: self.engine.prepare("read", *names) for kind, names in PAIRS.items()}

    def by_dict(self, kind: str, value: Any, asked: Any) -> ztfast.Decision | str:
        """Return the decision of ``Engine.decide``, or the error."""
        context = dict(zip(PAIRS[kind], (value, asked), strict=True))
        return said(lambda: self.engine.decide(self.session, "read", self.doc, context))

    def by_gate(self, kind: str, value: Any, asked: Any) -> ztfast.Decision | str:
        """Return the decision of the gate, which allows() must share, or the error."""
        gate, arguments = self.gates[kind], (self.session, self.doc, value, asked)
        decided = said(lambda: gate.decide(*arguments))
        allowed = said(lambda: gate.allows(*arguments))
        assert allowed == (decided if isinstance(decided, str) else decided.code == "ALLOW")
        return decided

    def code(self, kind: str, value: Any, asked: Any = 0) -> str:
        """Return the code on which both ways agree."""
        decided = self.by_gate(kind, value, asked)
        assert decided == self.by_dict(kind, value, asked), (kind, value, asked)
        return decided if isinstance(decided, str) else decided.code


def said(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the message of its error."""
    try:
        return call()
    except ztfast.ContextError as error:
        return str(error)


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


def asked_for(kind: str, number: int) -> Any:
    """Return a value of this number that is made in another way than those that are tested."""
    if kind != "decimal":
        return number
    digits = f"{abs(number):05}"
    return f"{'-' * (number < 0)}{digits[:-4]}.{digits[-4:]}"


def check(desk: Desk, kind: str, value: Any) -> str:
    """Hold a value that is no text against the conversions in Python; return the code of the decision that asks for it."""
    try:
        number = values.convert(kind, value)
    except values.OutOfRange:
        number = None
    if number is NotImplemented:
        assert "wanted a" in desk.code(kind, value)
        return "refused"
    if number is None or not -MOST - 1 <= number <= MOST:
        assert desk.code(kind, value) == "BAD_VALUE"
        return "BAD_VALUE"
    assert desk.code(kind, value, asked_for(kind, number)) == "ALLOW", (value, number)
    for other in {max(number - 1, -MOST - 1), min(number + 1, MOST)} - {number}:
        assert desk.code(kind, value, asked_for(kind, other)) == "DEFAULT", (value, number)
    return "ALLOW"


LIMITS = [MOST, MOST + 1, MOST + 2, MOST // 10_000, MOST // 10_000 + 1, 10**18, 10**19 - 1, 10**19, 10**38, 0, 1]
DECIMALS = st.builds(
    lambda sign, number, exponent: Decimal((sign, tuple(map(int, str(number))), exponent)),
    st.integers(0, 1),
    st.sampled_from(LIMITS) | st.integers(0, 10**20) | st.integers(0, 10**5) | st.integers(0, 10**60),
    st.integers(-8, 22) | st.sampled_from([-(10**6), 10**6]),
)
HOURS_23 = datetime.timedelta(hours=23)
ZONES = st.timezones() | st.timedeltas(-HOURS_23, HOURS_23).map(datetime.timezone)
RAW = st.integers(-MOST, MOST) | st.integers(-(10**6), 10**6)
UNITS = ["W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
NUMPY_UNITS = st.tuples(st.sampled_from(UNITS), st.just(1) | st.integers(1, 2**31 - 1))
INTEGERS = st.sampled_from("bBhHiIlLqQ").flatmap(
    lambda char: st.integers(int(np.iinfo(char).min), int(np.iinfo(char).max)).map(np.dtype(char).type)
)
WHOLE = st.integers(-(2**70), 2**70) | RAW | INTEGERS
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "decimal": DECIMALS | st.decimals() | WHOLE,
    "datetime": st.datetimes(timezones=st.just(UTC) | ZONES)
    | st.builds(np.datetime64, RAW, NUMPY_UNITS | st.sampled_from(["Y", "M"]))
    | st.datetimes()
    | st.dates()
    | WHOLE,
    "duration": st.timedeltas()
    | st.builds(np.timedelta64, RAW, NUMPY_UNITS | st.sampled_from(["Y", "M", "generic"]))
    | WHOLE,
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_gate_reads_a_value_as_a_dict_does(desk: Desk, kind: str) -> None:
    seen = set()

    @settings(max_examples=600, deadline=None, database=None)
    @given(VALUES[kind])
    def hold(value: Any) -> None:
        seen.add(check(desk, kind, value))

    hold()
    assert seen >= {"ALLOW", "BAD_VALUE"}
    assert ("refused" in seen) == (kind != "decimal")


TEXTS = {
    "decimal": ("150.25", "-0.5", "922337203685477.5807", "-922337203685477.5808", "0.0001", "007.5"),
    "datetime": (
        "2024-10-15", "2024-02-29T23:59:59.999Z", "2024-10-15T09:30:00+0200", "0000-01-01", "9999-12-31T23:59:59-2359",
        "2024-10-15T09:30:00.123456+00:00", "2024-10-15T09:30:00+02:00", "1969-12-31T23:59:59.999999+00:00",
    ),
    "duration": ("1h30m", "-1d2h3m4s5ms", "9223372036854775807ms", "-9223372036854775808ms", "0ms", "5m"),
}  # fmt: skip


def mutated(draw: random.Random, text: str) -> str:
    """Change some characters of a text."""
    letters = list(text)
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(letters) + 1)
        letters[at : at + draw.randrange(2)] = draw.choice(["", *"0159-+.:TZdhms /", "0" * 20, "é", "\u0661", "\ud800"])
    return "".join(letters)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_gate_reads_a_text_as_a_dict_does(desk: Desk, kind: str) -> None:
    draw, seen = random.Random(kind), {"ALLOW": 0, "DEFAULT": 0, "BAD_VALUE": 0}
    for _ in range(3_000):
        text, asked = mutated(draw, draw.choice(TEXTS[kind])), draw.choice(TEXTS[kind])
        seen[desk.code(kind, text, asked)] += 1
        seen[desk.code(kind, text, text)] += 1
    assert min(seen.values()) > 100, seen


def test_decimals_are_read_wherever_their_digits_lie(desk: Desk) -> None:
    # Arithmetic over many digits leaves the few digits of its result outside of the object.
    with decimal.localcontext(decimal.Context(prec=400)):
        large = Decimal(10) ** 300
        for few in ("150.25", "-0.0001", "0", "922337203685477.5807", "-922337203685477.5808", "1.00005"):
            term = Decimal(few)
            total = large + term
            # Memory that is used again holds other digits.
            del [Decimal(7) for _ in range(50)][:]
            value = total - large
            assert value == term
            assert check(desk, "decimal", value) == ("ALLOW" if few != "1.00005" else "BAD_VALUE")
    for text in ("-0", "0E-4", "0E+30", "1E+14", "-1E+14"):
        assert check(desk, "decimal", Decimal(text)) == "ALLOW", text
    beyond = ("0E-5", "1E+15", "922337203685477.5808", "-922337203685477.5809")
    for text in ("NaN", "sNaN", "-NaN123", "Infinity", *beyond):
        assert check(desk, "decimal", Decimal(text)) == "BAD_VALUE", text


class Cents(Decimal):
    """A Decimal that lies about everything but its number."""

    def __new__(cls, text: str) -> Cents:
        return super().__new__(cls, text)

    def __int__(self) -> int:
        return 7

    def as_tuple(self) -> Any:
        return Decimal(7).as_tuple()

    def __getattribute__(self, name: str) -> Any:
        return None


class Late(datetime.datetime):
    """A datetime, for which pandas' Timestamp stands here, with an offset that lies."""

    def utcoffset(self) -> datetime.timedelta:
        return datetime.timedelta(hours=7)


class Span(datetime.timedelta):
    def total_seconds(self) -> float:
        return 7.0


class Hashless(type):
    """The type of a type that cannot be hashed, and is equal to everything."""

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Unhashable(metaclass=Hashless):
    pass


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("decimal", Cents("150.25"), "ALLOW"),
        ("datetime", Late(2026, 11, 20, 12, tzinfo=UTC), "ALLOW"),
        ("datetime", Late(2026, 11, 20, 12), "refused"),
        ("duration", Span(hours=1), "ALLOW"),
        ("decimal", Unhashable(), "refused"),
        ("datetime", Unhashable(), "refused"),
        ("duration", Unhashable(), "refused"),
        ("datetime", NOON.time(), "refused"),
        ("datetime", NOON.date(), "refused"),
        ("datetime", datetime.timedelta(1), "refused"),
        ("duration", NOON, "refused"),
        ("decimal", 1.5, "refused"),
        ("decimal", np.float64(1.5), "refused"),
        ("decimal", np.float32("nan"), "BAD_VALUE"),
        ("decimal", np.bool_(True), "refused"),
        ("decimal", np.timedelta64(5, "s"), "refused"),
        ("duration", np.timedelta64("NaT", "Y"), "refused"),
        ("duration", np.timedelta64("NaT"), "BAD_VALUE"),
        ("datetime", np.datetime64("NaT"), "BAD_VALUE"),
        ("datetime", np.datetime64("NaT", "ns"), "BAD_VALUE"),
    ],
)
def test_values_of_other_types_are_what_they_are(desk: Desk, kind: str, value: Any, code: str) -> None:
    assert check(desk, kind, value) == code


class Zone(datetime.tzinfo):
    """A time zone that runs a function when it is asked for its offset."""

    def __init__(self, then: Callable[[], object], answer: datetime.timedelta | None) -> None:
        self.then, self.answer = then, answer

    def utcoffset(self, at: datetime.datetime | None) -> datetime.timedelta | None:
        self.then()
        return self.answer

    def dst(self, at: datetime.datetime | None) -> None:
        return None

    def tzname(self, at: datetime.datetime | None) -> str:
        return "zone"


def test_a_zone_may_swap_the_bundle_and_use_the_gate_meanwhile() -> None:
    desk = Desk()
    gate, hour = desk.gates["datetime"], datetime.timedelta(hours=1)
    inner: list[bool] = []

    def use_the_gate() -> None:
        inner.append(gate.allows(desk.session, desk.doc, NOON, NOON))

    def swap() -> None:
        desk.engine.swap(compiled(POLICIES + '@id("no") forbid (principal, action, resource);'))

    zoned = NOON.replace(hour=13, tzinfo=Zone(use_the_gate, hour))
    assert gate.allows(desk.session, desk.doc, zoned, NOON)
    assert gate.decide(desk.session, desk.doc, zoned, NOON).reasons == ("at",)
    assert inner == [True, True]
    # The decision is the newest bundle's.
    assert gate.decide(desk.session, desk.doc, zoned.replace(tzinfo=Zone(swap, hour)), NOON).reasons == ("no",)
    assert not gate.allows(desk.session, desk.doc, zoned, NOON)
    assert inner == [True, True, False]


def test_a_zone_that_is_asked_once_decides_once(desk: Desk) -> None:
    asked: list[None] = []
    zoned = NOON.replace(tzinfo=Zone(lambda: asked.append(None), datetime.timedelta(0)))
    assert desk.gates["datetime"].allows(desk.session, desk.doc, zoned, NOON)
    assert len(asked) == 1

    def fail() -> None:
        asked.append(None)
        raise RuntimeError("no zone")

    with pytest.raises(ztfast.ContextError, match="wanted a datetime") as caught:
        desk.gates["datetime"].allows(desk.session, desk.doc, NOON.replace(tzinfo=Zone(fail, None)), NOON)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_zones_of_the_standard_library_are_read_at_both_sides_of_a_change(desk: Desk, name: str) -> None:
    zone = zoneinfo.ZoneInfo(name)
    for fold in (0, 1):
        for micros in (0, 999, 1_000, 999_999):
            at = datetime.datetime(2024, 10, 27, 2, 30, 0, micros, tzinfo=zone, fold=fold)
            assert check(desk, "datetime", at) == "ALLOW"
    for offset in (datetime.timedelta(microseconds=1), datetime.timedelta(microseconds=-1), -HOURS_23):
        for year in (1, 1970, 9999):
            at = datetime.datetime(year, 1, 1, tzinfo=datetime.timezone(offset))
            assert check(desk, "datetime", at) == "ALLOW"


@pytest.mark.parametrize("year", [1, 4, 99, 100, 400, 1600, 1899, 1900, 1969, 1970, 1999, 2000, 2024, 2100, 9999])
def test_every_day_of_a_year_is_its_own(desk: Desk, year: int) -> None:
    first = datetime.datetime(year, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    gate = desk.gates["datetime"]
    length = datetime.date(year, 12, 31).timetuple().tm_yday
    assert length in (365, 366)
    for day in range(length):
        at = first + datetime.timedelta(days=day)
        assert gate.allows(desk.session, desk.doc, at, values.convert("datetime", at)), at


def test_dates_of_one_day_of_the_month_are_told_apart(desk: Desk) -> None:
    gate, draw = desk.gates["datetime"], random.Random(7)
    for _ in range(2_000):
        year, month, day = draw.choice([1, 2, 256, 257, 1970, 2024, 9999]), draw.randrange(1, 13), draw.choice([1, 28])
        at = datetime.datetime(year, month, day, draw.randrange(24), tzinfo=UTC)
        number = values.convert("datetime", at)
        assert gate.allows(desk.session, desk.doc, at, number), at
        assert not gate.allows(desk.session, desk.doc, at, number + 86_400_000), at


class Text(str):
    """A text that lies about its length."""

    __slots__ = ()

    def __len__(self) -> int:
        return 0


def test_values_after_a_new_date_are_read(desk: Desk) -> None:
    gate = desk.engine.prepare("read", "at", "when", "price", "asked")
    for days in range(0, 4_000, 7):
        at, when = NOON + datetime.timedelta(days), NOON - datetime.timedelta(days)
        for price in (days, days + 1):
            decided = gate.decide(desk.session, desk.doc, at, when, Decimal(price), days)
            assert decided.reasons == ("price",) * (price == days) + ("at",) * (at == when)
            allowed = gate.allows(desk.session, desk.doc, at, when, Decimal(price), days)
            assert allowed == (price == days or at == when)


def test_texts_count_for_the_size_of_a_context() -> None:
    # Two attributes, and the bytes of the texts.
    for most in range(2 * 16 + 10, 2 * 16 + 16):
        desk = Desk(max_context=most)
        code = "ALLOW" if most >= 2 * 16 + len("150.25") * 2 else "TOO_LARGE"
        assert desk.code("decimal", "150.25", "150.25") == code
        # A context that is too large is that first, and of a bad value second.
        assert desk.code("decimal", "150.2.", "150.25") == ("BAD_VALUE" if code == "ALLOW" else code)
        assert desk.code("decimal", Decimal("NaN"), "000000150.25") == ("BAD_VALUE" if most >= 2 * 16 + 12 else code)
        assert desk.code("decimal", Text("150.25"), "150.25") == code
        assert desk.code("duration", "1s", "1s") == "ALLOW"
    desk = Desk(max_context=40, strict=True)
    with pytest.raises(ztfast.ContextError, match="max_context"):
        desk.gates["decimal"].allows(desk.session, desk.doc, "150.25", "150.25")


def test_a_strict_engine_raises_for_what_is_out_of_range() -> None:
    desk = Desk(strict=True)
    for kind, value in (
        ("decimal", Decimal("1.23456")),
        ("decimal", Decimal("NaN")),
        ("decimal", "150"),
        ("decimal", 10**15),
        ("datetime", np.datetime64("NaT")),
        ("datetime", "tomorrow"),
        ("duration", "soon"),
        ("duration", np.timedelta64(MOST, "h")),
    ):
        assert "out of its range" in desk.code(kind, value)
    assert check(desk, "decimal", Decimal("1.5")) == "ALLOW"


def test_every_place_of_a_call_is_read() -> None:
    desk = Desk()
    names = ("n", "price", "at", "ok", "age", "asked", "when", "most")
    gate = desk.engine.prepare("read", *names)
    hour = datetime.timedelta(hours=1)
    row: list[Any] = [5, Decimal("1.5"), NOON, True, hour, Decimal("1.50"), NOON, hour]
    assert gate.decide(desk.session, desk.doc, *row).reasons == ("price", "at", "age")
    for place, value, missing in (
        (1, Decimal("1.6"), "price"),
        (5, 2, "price"),
        (2, NOON + hour, "at"),
        (6, "2024-10-15", "at"),
        (4, -hour, "age"),
        (7, "1m", "age"),
    ):
        changed = [*row[:place], value, *row[place + 1 :]]
        reasons = gate.decide(desk.session, desk.doc, *changed).reasons
        assert set(reasons) == {"price", "at", "age"} - {missing}
        context = dict(zip(names, changed, strict=True))
        assert desk.engine.decide(desk.session, "read", desk.doc, context).reasons == reasons
    for place in range(len(row)):
        for wrong in (None, 1.5, b"x", [1]):
            changed = [*row[:place], wrong, *row[place + 1 :]]
            for call in (gate.decide, gate.allows):
                with pytest.raises(ztfast.ContextError, match=f"attribute '{names[place]}'"):
                    call(desk.session, desk.doc, *changed)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("decimal", Decimal("-150.25")),
        ("decimal", Decimal("0E+30")),
        ("decimal", "150.25"),
        ("decimal", 150),
        ("decimal", np.int64(150)),
        ("datetime", NOON),
        ("datetime", NOON.astimezone(datetime.timezone(HOURS_23))),
        ("datetime", "2024-10-15T09:30:00.123456+00:00"),
        ("datetime", np.datetime64("2024-10-15")),
        ("datetime", np.datetime64(5, ("s", 7))),
        ("duration", datetime.timedelta(hours=1)),
        ("duration", "1h30m"),
        ("duration", np.timedelta64(5, "ns")),
    ],
    ids=repr,
)
def test_no_python_code_runs(desk: Desk, kind: str, value: Any) -> None:
    gate, called = desk.gates[kind], []
    arguments = (desk.session, desk.doc, value, asked_for(kind, 1))
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code) if event == "call" else None)
    try:
        gate.allows(*arguments)
        gate.decide(*arguments)
    finally:
        sys.setprofile(None)
    assert called == []


def kept() -> Iterator[tuple[str, Any]]:
    """Give values that are read in each of the ways."""
    yield "decimal", Decimal("150.25")
    yield "decimal", Decimal("NaN")
    yield "decimal", Decimal("1.23456")
    yield "decimal", "".join(("150", ".25"))
    yield "decimal", "".join(("150", "."))
    yield "datetime", NOON + datetime.timedelta(1)
    yield "datetime", NOON.astimezone(datetime.timezone(datetime.timedelta(hours=1)))
    yield "datetime", NOON.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    yield "datetime", NOON.replace(tzinfo=Zone(lambda: None, datetime.timedelta(hours=1)))
    yield "datetime", np.datetime64("2024-10-15")
    yield "datetime", np.int64(10**12)
    yield "duration", datetime.timedelta(days=5, microseconds=7)
    yield "duration", np.timedelta64(77, "s")
    yield "duration", np.uint64(2**64 - 1)


@pytest.mark.parametrize(("kind", "value"), list(kept()), ids=repr)
def test_a_call_keeps_no_reference(desk: Desk, kind: str, value: Any) -> None:
    gate, zone = desk.gates[kind], getattr(value, "tzinfo", None)
    asked = asked_for(kind, 1)
    gc.collect()
    before = sys.getrefcount(value), sys.getrefcount(zone)
    for _ in range(200):
        gate.allows(desk.session, desk.doc, value, asked)
        gate.decide(desk.session, desk.doc, value, asked)
    gc.collect()
    assert sys.getrefcount(value) == before[0]
    assert zone is None or abs(sys.getrefcount(zone) - before[1]) < 100


def test_threads_share_a_gate_and_its_values(desk: Desk) -> None:
    zoned = NOON.astimezone(zoneinfo.ZoneInfo("Asia/Kathmandu"))
    price, wrong = Decimal("187.25"), Decimal("187.26")

    def decide() -> None:
        for _ in range(200):
            assert desk.gates["decimal"].allows(desk.session, desk.doc, price, "187.25")
            assert not desk.gates["decimal"].allows(desk.session, desk.doc, wrong, price)
            assert desk.gates["datetime"].allows(desk.session, desk.doc, zoned, NOON)
            decision = desk.gates["datetime"].decide(desk.session, desk.doc, NOON, "2026-11-20T12:00:00Z")
            assert decision.reasons == ("at",)

    with beside(decide, decide) as turns:
        for _ in range(10):
            decide()
        while min(turns) < 3:
            decide()
