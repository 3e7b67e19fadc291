"""Values of a context: entities of wrong types, values out of range, and absent values, in every way of deciding.

``docs/conversions.md`` (test_conversions.py) says which value means what. These tests cover the order of denials, the
other rows of a batch, and Cedar's answers to requests without some attributes.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import math
import pickle
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast
from tests.conftest import ENTITIES, SCHEMA, cedar_over
from ztfast import ABSENT, Code, Uid

ALL = "permit (principal, action, resource);"
ANN, BOB, D1, D2 = 'User::"ann"', 'User::"bob"', 'Doc::"d1"', 'Doc::"d2"'
BASE: dict[str, Any] = {"size": 1, "place": {"room": 1}}
UTC = datetime.UTC
BAD = {"size": 2**63, "price": decimal.Decimal("1.23456"), "at": np.datetime64("NaT"), "within": np.timedelta64(10**17, "h"),
       "note": "\ud800", "only": 'Only::"three"'}  # fmt: skip


@pytest.fixture(scope="module")
def open_to_all(build) -> ztfast.Engine:
    return ztfast.Engine(build(ALL))


# ---- entities of wrong types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, Uid.parse, lambda text: {"__entity": Uid.parse(text)._asdict()}, "handle"])
def test_an_entity_of_another_type_is_refused_everywhere(open_to_all, admit, form) -> None:
    engine = open_to_all
    session, d1 = admit(engine), engine.resource(D1)
    gate = engine.prepare("edit", "size", "place.room", "who")
    make = engine.resource if form == "handle" else form
    for wrong in (D1, 'Bot::"b"', 'Team::"t1"', 'Nothing::"x"'):
        who = make(wrong)
        for call in (
            lambda: engine.evaluate(ANN, "edit", D1, {**BASE, "who": who}),  # noqa: B023
            lambda: engine.decide(session, "edit", D1, {**BASE, "who": who}),  # noqa: B023
            lambda: engine.explain(ANN, "edit", D1, {**BASE, "who": who}),  # noqa: B023
            lambda: engine.entitled(session, "edit", {**BASE, "who": who}),  # noqa: B023
            lambda: engine.evaluate(ANN, "edit", D1, {**BASE, "people": [ANN, who]}),  # noqa: B023
            lambda: gate.decide(session, d1, 1, 1, who),  # noqa: B023
            lambda: gate.allows(session, d1, 1, 1, who),  # noqa: B023
            lambda: gate.decide_many(session, d1, 1, 1, who),  # noqa: B023
            lambda: gate.decide_many(session, d1, 1, 1, [engine.resource(ANN), who]),  # noqa: B023
            lambda: engine.evaluate_many(ANN, "edit", D1, {"size": 1, "place.room": 1, "who": [who]}),  # noqa: B023
            lambda: gate.decide_many(session, d1, 1, 1, np.array([engine.resource(wrong).handle], np.uint64)),  # noqa: B023
        ):
            with pytest.raises(ztfast.ContextError, match="type"):
                call()
        # The gate is none the worse for it.
        assert gate.allows(session, d1, 1, 1, make(BOB))
        assert gate.decide_many(session, d1, 1, 1, [make(BOB), BOB]).tolist() == [Code.ALLOW] * 2


def test_after_a_swap_the_type_is_the_new_bundles(build, admit) -> None:
    engine = ztfast.Engine(build(ALL))
    session, d1, ann, bot = admit(engine), engine.resource(D1), engine.resource(ANN), engine.resource('Bot::"b"')
    gate = engine.prepare("edit", "size", "place.room", "who")
    assert gate.allows(session, d1, 1, 1, ann)
    other = ztfast.Text(SCHEMA.replace("who?: User,\n    only", "who?: Bot,\n    only"), "other.cedarschema")
    assert "who?: Bot" in other.text
    engine.swap(build(ALL, schema=other), allow_stale=True)
    for who in (ann, bot):
        assert gate.decide(session, d1, 1, 1, who).code == "STALE_GATE"
        assert not gate.allows(session, d1, 1, 1, who)
        assert gate.decide_many(session, d1, 1, 1, [who]).tolist() == [Code.STALE_GATE]
    fresh = engine.prepare("edit", "size", "place.room", "who")
    assert fresh.allows(session, d1, 1, 1, bot)
    with pytest.raises(ztfast.ContextError, match="Bot"):
        fresh.allows(session, d1, 1, 1, ann)
    with pytest.raises(ztfast.ContextError):
        fresh.decide_many(session, d1, 1, 1, np.array([ann.handle], np.uint64))


# ---- out of range --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_denies_and_hides_nothing_worse(build, admit, name: str) -> None:
    engine = ztfast.Engine(build(ALL))
    session, d1 = admit(engine), engine.resource(D1)
    names = ["size", "place.room", *([name] if name != "size" else [])]
    gate = engine.prepare("edit", *names)
    context = {**BASE, name: BAD[name]}
    values = [context["size"], 1, *([BAD[name]] if name != "size" else [])]

    def codes(session: ztfast.Session) -> set[str]:
        found = {engine.decide(session, "edit", D1, context).code, gate.decide(session, d1, *values).code}
        assert not gate.allows(session, d1, *values)
        columns = [[value] for value in values]
        return found | {Code(int(gate.decide_many(session, d1, *columns)[0])).name}

    assert codes(session) == {"BAD_VALUE"}
    assert engine.evaluate(ANN, "edit", D1, context).code == "BAD_VALUE"
    assert engine.evaluate(ANN, "edit", D1, context).reasons == ()
    # A request that no value could allow keeps its own code.
    assert engine.evaluate('Nothing::"x"', "edit", D1, context).code == "NOT_APPLICABLE"
    nobody = engine.resource('Nothing::"x"')
    assert gate.evaluate_many(nobody, d1, *[[value] for value in values]).tolist() == [Code.NOT_APPLICABLE]
    assert codes(admit(engine, not_after=time.time() - 1)) == {"EXPIRED"}
    assert session.quarantine()
    assert codes(session) == {"QUARANTINED"}
    assert session.quarantine(False)
    assert session.revoke()
    assert codes(session) == {"REVOKED"}


def test_a_bad_value_denies_its_row_alone(open_to_all, admit) -> None:
    engine = open_to_all
    good, gone = admit(engine), admit(engine)
    gone.revoke()
    gate, d1 = engine.prepare("edit", "size", "place.room", "price", "note"), engine.resource(D1)
    sizes = np.array([1, 2**63, 3, 2**63, 5], np.uint64)
    prices = [decimal.Decimal("1.5"), "2.5", "x", "x", decimal.Decimal("NaN")]
    codes = gate.decide_many([good, good, good, gone, good], d1, sizes, 1, prices, ["a", "b", "c", "d", "e"])
    assert codes.tolist() == [Code.ALLOW, Code.BAD_VALUE, Code.BAD_VALUE, Code.REVOKED, Code.BAD_VALUE]
    # One bad value for all rows.
    assert gate.decide_many([good, gone], d1, 1, 1, "x", "a").tolist() == [Code.BAD_VALUE, Code.REVOKED]
    assert gate.decide_many([], d1, [], 1, "x", "a").tolist() == []
    # Over many chunks of rows.
    many = np.arange(1_000, dtype=np.uint64)
    many[::7] = 2**64 - 1
    wanted = np.where(many == 2**64 - 1, Code.BAD_VALUE, Code.ALLOW)
    assert (gate.decide_many(good, d1, many, 1, 1, "a") == wanted).all()


@pytest.mark.parametrize("dtype", [np.int64, object])
def test_whole_units_of_a_decimal_are_in_range_or_bad_values(open_to_all, admit, dtype: type) -> None:
    engine, most = open_to_all, (2**63 - 1) // 10_000
    gate, session, d1 = engine.prepare("edit", "size", "place.room", "price"), admit(engine), engine.resource(D1)
    units = [most, most + 1, -most, -most - 1, 2 * most, -2 * most, 0]
    wanted = [Code.ALLOW, Code.BAD_VALUE, Code.ALLOW, Code.BAD_VALUE, Code.BAD_VALUE, Code.BAD_VALUE, Code.ALLOW]
    assert gate.decide_many(session, d1, 1, 1, np.array(units, dtype)).tolist() == wanted
    assert [gate.decide(session, d1, 1, 1, one).number for one in units] == wanted
    assert [gate.allows(session, d1, 1, 1, one) for one in units] == [code == Code.ALLOW for code in wanted]


def test_a_wrong_type_beside_a_bad_value_still_raises(open_to_all, admit) -> None:
    engine = open_to_all
    gate, session, d1 = engine.prepare("edit", "size", "place.room", "price"), admit(engine), engine.resource(D1)
    for call in (
        lambda: engine.evaluate(ANN, "edit", D1, {"size": 2**63, "place": {"room": "1"}}),
        lambda: gate.decide(session, d1, 2**63, "1", "1.5"),
        lambda: gate.allows(session, d1, 2**63, 1, 1.5),
        lambda: gate.decide_many(session, d1, [2**63], [1.5], "1.5"),
    ):
        with pytest.raises(ztfast.ContextError):
            call()


def test_nothing_is_entitled_by_a_bad_value_and_explain_says_why(open_to_all, admit) -> None:
    engine, session = open_to_all, admit(open_to_all)
    context = {**BASE, "size": 2**63}
    assert engine.entitled(session, "edit", context) == []
    assert not engine.entitlements(session, "edit", context).any()
    told = engine.explain(ANN, "edit", D1, context)
    assert (told.decision.code, told.allow, told.agrees) == ("BAD_VALUE", False, True)
    assert "'size'" in (told.problem or "")
    assert "64 bits" in (told.problem or "")


def test_an_age_beyond_all_times_never_passes_for_a_young_one(build, admit) -> None:
    """A number that wraps would be below any limit, so the forbid would not apply."""
    engine = ztfast.Engine(
        build(
            f'{ALL} forbid (principal, action, resource) when {{ context has within && context.within > duration("1h") }};'
        )
    )
    gate, session, d1 = engine.prepare("edit", "size", "place.room", "within"), admit(engine), engine.resource(D1)
    for unit in ("W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"):
        for number in (2**63 - 1, 2**62, 10**17, -(2**63) + 1):
            age = np.timedelta64(number, unit)
            one = gate.decide(session, d1, 1, 1, age)
            many = gate.decide_many(session, d1, 1, 1, np.array([age]))
            said = engine.decide(session, "edit", D1, {**BASE, "within": age})
            assert one.code == said.code
            assert one.number == said.number == many[0]
            ms = exact("within", age)
            assert ms is not None
            by_policy = "ALLOW" if ms <= 3_600_000 else "FORBID"
            assert one.code == (by_policy if -(2**63) <= ms < 2**63 else "BAD_VALUE")


class Odd(datetime.tzinfo):
    """A time zone with arbitrary behaviour."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def utcoffset(self, at: datetime.datetime | None) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Shown:
    def __init__(self, answer: BaseException) -> None:
        self.answer = answer

    def __repr__(self) -> str:
        raise self.answer

    def __index__(self) -> int:
        raise self.answer


@pytest.mark.parametrize("value", [Odd(ValueError()), Odd(datetime.timedelta(days=2)), Odd(None), Odd(7)])
def test_odd_zones_are_refused(open_to_all, admit, value: Odd) -> None:
    engine = open_to_all
    at = datetime.datetime(2026, 1, 1, tzinfo=value)
    gate = engine.prepare("edit", "size", "place.room", "at")
    with pytest.raises(ztfast.ContextError):
        engine.evaluate(ANN, "edit", D1, {**BASE, "at": at})
    with pytest.raises(ztfast.ContextError):
        gate.decide(admit(engine), engine.resource(D1), 1, 1, at)
    with pytest.raises(ztfast.ContextError):
        gate.decide_many(admit(engine), engine.resource(D1), 1, 1, [at])


def test_what_a_values_own_code_raises_is_the_cause_and_an_interrupt_passes(open_to_all, admit) -> None:
    engine = open_to_all
    gate, session, d1 = engine.prepare("edit", "size", "place.room"), admit(engine), engine.resource(D1)
    for call in (
        lambda value: engine.evaluate(ANN, "edit", D1, {**BASE, "size": value}),
        lambda value: gate.decide(session, d1, value, 1),
        lambda value: gate.allows(session, d1, value, 1),
        lambda value: gate.decide_many(session, d1, [value], 1),
    ):
        with pytest.raises(ztfast.ContextError) as caught:
            call(Shown(RuntimeError("mine")))
        assert "mine" in str(caught.value.__cause__)
        with pytest.raises(KeyboardInterrupt):
            call(Shown(KeyboardInterrupt()))
        assert gate.allows(session, d1, 1, 1)


class Other(str):
    """A text that is not equal to the same text."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(f"other {str.__str__(self)}")

    def __eq__(self, other: object) -> bool:
        return self is other


def test_an_attribute_by_a_key_that_is_not_its_name_is_not_passed_over(build, admit) -> None:
    """If the attribute were treated as absent, a forbid that reads it would not apply."""
    forbids = 'forbid (principal, action == Action::"edit", resource) when { context has note };'
    forbids += 'forbid (principal, action == Action::"edit", resource) when { context.place has floor };'
    engine = ztfast.Engine(build(f"{ALL} {forbids}"))
    session = admit(engine)
    assert engine.evaluate(ANN, "edit", D1, BASE)
    for context in (
        {**BASE, Other("note"): "a"},
        {**BASE, "note": ABSENT, Other("note"): "a"},
        {"size": 1, "place": {"room": 1, Other("floor"): 2}},
        {Other("size"): 1, "place": {"room": 1}},
    ):
        for call in (
            lambda: engine.evaluate(ANN, "edit", D1, context),  # noqa: B023
            lambda: engine.decide(session, "edit", D1, context),  # noqa: B023
            lambda: engine.explain(ANN, "edit", D1, context),  # noqa: B023
            lambda: engine.entitled(session, "edit", context),  # noqa: B023
        ):
            with pytest.raises(ztfast.ContextError):
                call()
    # By columns each is read by its text.
    assert engine.evaluate_many(ANN, "edit", D1, {"size": 1, "place.room": 1, Other("note"): "a"}) == [Code.FORBID]


def test_a_context_that_is_no_mapping_is_refused(open_to_all) -> None:
    for wrong in (5, "size", [("size", 1)], object()):
        with pytest.raises(ztfast.ContextError, match="mapping"):
            open_to_all.evaluate(ANN, "edit", D1, wrong)


# ---- absent --------------------------------------------------------------------------------------------------------

HAS = """
@id("note") permit (principal, action == Action::"edit", resource) when { context has note && context.note == "a" };
@id("no price") permit (principal, action == Action::"edit", resource) when { !(context has price) };
@id("price") permit (principal, action == Action::"edit", resource) when { context has price && context.price.lessThan(decimal("2.0")) };
@id("who") permit (principal, action == Action::"edit", resource) when { context has who && context.who == principal };
@id("extra") forbid (principal, action == Action::"edit", resource) when { context has extra && context.extra.code == "x" };
@id("no extra") permit (principal, action == Action::"edit", resource) when { !(context has extra) };
@id("inner") forbid (principal, action == Action::"edit", resource) when { context has extra.inner.deep && context.extra.inner.deep > 3 };
@id("floor") forbid (principal, action == Action::"edit", resource) when { context.place has floor && context.place.floor > 3 };
"""
NAMES = ("size", "place.room", "place.floor", "note", "price", "who", "extra.code", "extra.inner.deep")


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Make a context of the attributes that are present."""
    context: dict[str, Any] = {}
    for name, value in values.items():
        if value is ABSENT:
            continue
        *outer, last = name.split(".")
        inner = context
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return context


ROW = st.fixed_dictionaries(
    {
        "size": st.integers(0, 3),
        "place.room": st.just(1),
        "place.floor": st.sampled_from([ABSENT, 2, 5]),
        "note": st.sampled_from([ABSENT, "a", "never heard of"]),
        "price": st.sampled_from([ABSENT, "1.5", decimal.Decimal("3"), "x"]),
        "who": st.sampled_from([ABSENT, Uid("User", "ann"), Uid("User", "new")]),
        "extra": st.sampled_from([(ABSENT, ABSENT), ("x", ABSENT), ("y", ABSENT), ("y", 2), ("y", 9)]),
    }
).map(
    lambda row: {
        **{k: v for k, v in row.items() if k != "extra"},
        "extra.code": row["extra"][0],
        "extra.inner.deep": row["extra"][1],
    }
)


@pytest.fixture(scope="module")
def having(build) -> ztfast.Engine:
    return ztfast.Engine(build(HAS))


@given(rows=st.lists(ROW, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_absent_is_as_if_it_were_left_out(having: ztfast.Engine, rows: list[dict[str, Any]]) -> None:
    engine = having
    session, d1 = engine.admit(ztfast.Identity(ANN, not_after=math.inf)), engine.resource(D1)
    try:
        gate = engine.prepare("edit", *NAMES)
        expected = []
        rows = [{name: row[name] for name in NAMES} for row in rows]
        for row in rows:
            said = engine.decide(session, "edit", D1, nested(row))
            expected.append(said.number)
            assert gate.decide(session, d1, *row.values()) == said
            assert gate.allows(session, d1, *row.values()) is bool(said)
            # Absent in a dict, too, also all of a record.
            context = {name: row[name] for name in ("size", "note", "price", "who")}
            context["place"] = {"room": row["place.room"], "floor": row["place.floor"]}
            context["extra"] = {"code": row["extra.code"], "inner": {"deep": row["extra.inner.deep"]}}
            assert engine.decide(session, "edit", D1, context) == said
            if said.code != "BAD_VALUE":
                allow, reasons, _ = cedar_over(engine.bundle, ENTITIES).authorize(ANN, "edit", D1, nested(row))
                assert (bool(said), said.reasons) == (allow, tuple(reasons))
        columns = [[row[name] for row in rows] for name in NAMES]
        assert gate.decide_many(session, d1, *columns).tolist() == expected
        assert engine.evaluate_many(ANN, "edit", D1, dict(zip(NAMES, columns, strict=True))).tolist() == expected
    finally:
        session.revoke()


def test_what_must_be_there_cannot_be_absent(having: ztfast.Engine, admit) -> None:
    engine = having
    session, d1 = admit(engine), engine.resource(D1)
    gate = engine.prepare("edit", "size", "place.room", "extra.code", "extra.inner.deep")
    for values, says in (
        ((ABSENT, 1, "x", 1), "size"),
        ((1, ABSENT, "x", 1), "place.room"),
        ((1, 1, ABSENT, 1), "extra.code"),
    ):
        context = nested(dict(zip(gate.names, values, strict=True)))
        with pytest.raises(ztfast.ContextError, match=says.split(".")[0]):
            engine.evaluate(ANN, "edit", D1, context)
        for call in (gate.decide, gate.allows):
            with pytest.raises(ztfast.ContextError, match=says):
                call(session, d1, *values)
        with pytest.raises(ztfast.ContextError, match=says):
            gate.decide_many(session, d1, *values)
        with pytest.raises(ztfast.ContextError, match=says):
            gate.decide_many(session, d1, *([value] for value in values))
    with pytest.raises(ztfast.ContextError):
        engine.evaluate(ANN, "edit", D1, {**BASE, "size": ABSENT})
    with pytest.raises(ztfast.ContextError):
        engine.evaluate(ANN, "edit", D1, {**BASE, "tags": ["a", ABSENT]})
    with pytest.raises(ztfast.ContextError):
        engine.evaluate(ANN, "edit", D1, {**BASE, "colour": ABSENT})


def test_masks_are_absent_rows_of_every_kind(having: ztfast.Engine, admit) -> None:
    engine, session = having, admit(having)
    gate, d1 = engine.prepare("edit", "size", "place.room", "price", "note", "who"), engine.resource(D1)
    mask = [False, True, False]
    price = np.ma.array([1, 1, 5], mask=mask)
    note = np.ma.array(["b", "a", "a"], mask=mask)
    who = np.ma.array([engine.resource(ANN), None, engine.resource(BOB)], mask=mask, dtype=object)
    handles = np.ma.array([engine.resource(ANN).handle, 0, engine.resource(BOB).handle], np.uint64, mask=mask)
    wanted = [
        engine.decide(session, "edit", D1, context).number
        for context in (
            {**BASE, "price": 1, "note": "b", "who": ANN},
            BASE,
            {**BASE, "price": 5, "note": "a", "who": BOB},
        )
    ]
    assert gate.decide_many(session, d1, 1, 1, price, note, who).tolist() == wanted
    assert gate.decide_many(session, d1, 1, 1, price, note, handles).tolist() == wanted
    # Masked values are not checked, even if they are invalid.
    times = np.ma.array([1, 10**18], "timedelta64[h]", mask=[False, True])
    timed = engine.prepare("edit", "size", "place.room", "within")
    assert timed.decide_many(session, d1, 1, 1, times).tolist() == [Code.ALLOW, Code.ALLOW]
    with pytest.raises(ztfast.ContextError, match="resources: wanted an array without masked values"):
        gate.decide_many(session, np.ma.array([1, 2], np.uint64, mask=[False, True]), 1, 1, 1, "a", ANN)


def test_more_combinations_than_a_gate_keeps_gates_for(build, admit) -> None:
    names = [f"a{at}" for at in range(7)]
    schema = ", ".join(f"{name}?: Long" for name in names)
    schema = f"entity U; action go appliesTo {{ principal: U, resource: U, context: {{ {schema} }} }};"
    rules = "".join(
        f'@id("{name}") permit (principal, action, resource) when {{ context has {name} }};' for name in names
    )
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(rules), schema=ztfast.Text(schema)))
    session, one = engine.admit(ztfast.Identity('U::"1"', not_after=math.inf)), engine.resource('U::"1"')
    gate = engine.prepare("go", *names)
    before = engine.memory.gates
    for pattern in range(1 << len(names)):
        values = [1 if pattern >> at & 1 else ABSENT for at in range(len(names))]
        there = tuple(name for name, value in zip(names, values, strict=True) if value is not ABSENT)
        assert gate.decide(session, one, *values).reasons == there
    columns = [[1 if pattern >> at & 1 else ABSENT for pattern in range(1 << len(names))] for at in range(len(names))]
    assert gate.decide_many(session, one, *columns).tolist() == [Code.DEFAULT] + [Code.ALLOW] * 127
    assert engine.memory.gates < before * 40


def test_absent_is_one_thing(having: ztfast.Engine) -> None:
    assert repr(ABSENT) == "ztfast.ABSENT"
    assert pickle.loads(pickle.dumps(ABSENT)) is copy.deepcopy(ABSENT) is copy.copy(ABSENT) is ABSENT


def test_a_gate_with_absent_values_follows_swaps_and_goes_stale(build, admit) -> None:
    engine = ztfast.Engine(build(HAS))
    session, d1 = admit(engine), engine.resource(D1)
    gate = engine.prepare("edit", "size", "place.room", "price")
    assert gate.decide(session, d1, 1, 1, ABSENT).reasons == ("no price", "no extra")
    forbid = '@id("never") forbid (principal, action, resource) when { !(context has price) };'
    engine.swap(build(HAS + forbid.replace("action,", 'action == Action::"edit",')))
    assert gate.decide(session, d1, 1, 1, ABSENT).reasons == ("never",)
    assert gate.decide_many(session, d1, 1, 1, [ABSENT, "1.5"]).tolist() == [Code.FORBID, Code.ALLOW]
    # A new type of an absent attribute makes the gate stale.
    other = ztfast.Text(SCHEMA.replace("price?: decimal", "price?: Long"), "other.cedarschema")
    engine.swap(build(ALL, schema=other), allow_stale=True)
    assert gate.decide(session, d1, 1, 1, ABSENT).code == "STALE_GATE"
    assert not gate.allows(session, d1, 1, 1, ABSENT)
    assert gate.decide_many(session, d1, 1, 1, [ABSENT, "1.5"]).tolist() == [Code.STALE_GATE] * 2
    engine.swap(build(HAS))
    assert gate.allows(session, d1, 1, 1, ABSENT)


# ---- every way alike -----------------------------------------------------------------------------------------------

LIMITS = """
@id("size") permit (principal, action == Action::"edit", resource) when { context.size > 100 };
@id("price") permit (principal, action == Action::"edit", resource) when { context has price && context.price.greaterThan(decimal("150.0")) };
@id("at") permit (principal, action == Action::"edit", resource) when { context has at && context.at > datetime("2026-01-01") };
@id("within") permit (principal, action == Action::"edit", resource) when { context has within && context.within > duration("1h") };
"""
UNITS = ["W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
INTS = st.integers(-(2**70), 2**70) | st.integers(-200, 200) | st.sampled_from([2**63 - 1, 2**63, -(2**63), 10**15])
RAW = st.integers(-(2**63) + 1, 2**63 - 1)
MADE: dict[str, st.SearchStrategy[Any]] = {
    "size": INTS | RAW.map(np.int64) | st.integers(0, 2**64 - 1).map(np.uint64) | st.just(math.nan),
    "price": INTS | st.decimals() | st.decimals(-(10**4), 10**4, places=4) | st.decimals(-(10**4), 10**4, places=5),
    "at": st.datetimes(timezones=st.timezones())
    | st.builds(np.datetime64, RAW, st.sampled_from(["Y", "M", *UNITS]))
    | st.datetimes(timezones=st.just(UTC)).map(datetime.datetime.isoformat)
    | RAW,
    "within": st.timedeltas() | st.builds(np.timedelta64, RAW, st.sampled_from(UNITS)) | RAW,
}


@pytest.fixture(scope="module")
def limited(build) -> ztfast.Engine:
    return ztfast.Engine(build(LIMITS))


@pytest.mark.parametrize("name", MADE)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_way_reads_a_value_alike(limited: ztfast.Engine, name: str, data: st.DataObject) -> None:
    engine = limited
    value = data.draw(MADE[name])
    d1, extra = engine.resource(D1), [] if name == "size" else [name]
    gate = engine.prepare("edit", "size", "place.room", *extra)
    session = engine.admit(ztfast.Identity(ANN, not_after=math.inf))
    try:
        context = {**BASE, name: value}
        values = [context["size"], 1, *([value] if extra else [])]
        said = engine.evaluate(ANN, "edit", D1, context)
        assert engine.decide(session, "edit", D1, context) == said
        assert gate.decide(session, d1, *values) == said
        assert gate.allows(session, d1, *values) is bool(said)
        assert gate.decide_many(session, d1, *([one] for one in values)).tolist() == [said.number]
        assert gate.evaluate_many(engine.resource(ANN), d1, *values).tolist() == [said.number]
        assert engine.explain(ANN, "edit", D1, context).decision == said
        if isinstance(value, np.generic):
            column = np.array([value, value])
            columns = [column, 1] if name == "size" else [1, 1, column]
            assert gate.decide_many(session, d1, *columns).tolist() == [said.number] * 2
        whole = exact(name, value)
        if whole is not None:
            assert (said.code == "BAD_VALUE") == (not -(2**63) <= whole < 2**63)
            if said.code != "BAD_VALUE":
                limit = {"size": 100, "price": 1_500_000, "at": 1_767_225_600_000, "within": 3_600_000}[name]
                assert bool(said) == (whole > limit)
    finally:
        session.revoke()


def exact(name: str, value: Any) -> int | None:
    """Compute a value's meaning with Python's integers; ``None`` for kinds that this function does not compute."""
    if isinstance(value, float) or (isinstance(value, decimal.Decimal) and not value.is_finite()):
        return None
    if isinstance(value, decimal.Decimal):
        return None if int(value.as_tuple().exponent) < -4 else int(value.scaleb(4, decimal.Context(prec=400)))
    if isinstance(value, datetime.datetime):
        return (value - datetime.datetime(1970, 1, 1, tzinfo=UTC)) // datetime.timedelta(milliseconds=1)
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(milliseconds=1)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        unit, _ = np.datetime_data(value.dtype)
        if unit in ("Y", "M"):
            return None
        attoseconds = {"W": 604_800, "D": 86_400, "h": 3_600, "m": 60, "s": 1}
        scale = attoseconds[unit] * 10**18 if unit in attoseconds else 10 ** (18 - 3 * (UNITS.index(unit) - 4))
        return int(value.view(np.int64)) * scale // 10**15
    if isinstance(value, str):
        return None
    return int(value) * (10_000 if name == "price" else 1)


# ---- actions, and an identity's times ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    ["view", 'Action::"view"', Uid("Action", "view"), {"type": "Action", "id": "view"}, {"__entity": {"type": "Action", "id": "view"}}],
)  # fmt: skip
def test_an_action_is_taken_in_every_form(open_to_all, admit, action) -> None:
    engine, session = open_to_all, admit(open_to_all)
    assert engine.evaluate(ANN, action, D1)
    assert engine.decide(session, action, D1)
    assert engine.prepare(action).allows(session, engine.resource(D1))
    assert engine.explain(ANN, action, D1).agrees
    assert engine.evaluate_many([ANN], action, D1).tolist() == [Code.ALLOW]
    assert engine.resources(action) == [Uid("Doc", "d1"), Uid("Doc", "d2")]
    assert engine.entitled(session, action) == engine.resources(action)
    assert engine.entitlements(session, action).all()


def test_what_is_no_action_says_so(open_to_all) -> None:
    for wrong, error in ((Uid("Action", "no"), ztfast.ActionError), (Uid("Act", "view"), ztfast.ActionError),
                         ("\ud800", ztfast.Error), (5, ztfast.UidError), (None, ztfast.UidError)):  # fmt: skip
        for call in (open_to_all.prepare, open_to_all.resources):
            with pytest.raises(error):
                call(wrong)
        with pytest.raises(error):
            open_to_all.evaluate(ANN, wrong, D1)


def test_an_id_that_reads_as_a_uid_is_told_apart_by_a_uid() -> None:
    schema = ztfast.Text('entity U; action "a", "Action::\\"a\\"" appliesTo { principal: U, resource: U };')
    rule = '@id("plain") permit (principal, action == Action::"a", resource);'
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(rule), schema=schema))
    assert engine.evaluate('U::"1"', Uid("Action", "a"), 'U::"1"')
    assert not engine.evaluate('U::"1"', Uid("Action", 'Action::"a"'), 'U::"1"')


def test_an_identitys_times_are_seconds_datetimes_or_their_text(open_to_all) -> None:
    moment = datetime.datetime(2033, 5, 18, 5, 33, 20, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    for when in (
        2_000_000_000,
        2e9,
        np.int64(2_000_000_000),
        np.array(2_000_000_000),
        moment,
        moment.isoformat(),
        "2033-05-18T03:33:20Z",
    ):
        identity = ztfast.Identity(ANN, not_after=when, not_before=0, auth_time=when)
        assert identity.not_after == identity.auth_time == 2_000_000_000
    ended = ztfast.Identity(ANN, not_after=datetime.datetime.now(UTC) - datetime.timedelta(seconds=1))
    assert open_to_all.decide(open_to_all.admit(ended), "view", D1).code == "EXPIRED"
    for naive in (moment.replace(tzinfo=None), moment.replace(tzinfo=None).isoformat()):
        for name in ("not_after", "not_before", "auth_time"):
            with pytest.raises(ztfast.IdentityError, match=f"{name}.*time zone"):
                ztfast.Identity(ANN, **{"not_after": math.inf, name: naive})
    for wrong in ("soon", True, math.nan, None, 10**400, object(), b"2033-05-18T03:33:20Z"):
        with pytest.raises(ztfast.IdentityError, match="not_after"):
            ztfast.Identity(ANN, not_after=wrong)


# ---- other arguments -----------------------------------------------------------------------------------------------


class Failing:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class FailingArray:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")


@pytest.mark.parametrize("name", ["size", "note", "price", "at", "within", "who", "fast"])
def test_columns_that_fail_or_never_end_are_refused(open_to_all, admit, name: str) -> None:
    import ipaddress
    import itertools

    engine = open_to_all
    extra = [] if name == "size" else [name]
    gate, session, d1 = engine.prepare("edit", "size", "place.room", *extra), admit(engine), engine.resource(D1)
    for wrong in (Failing(), FailingArray(), itertools.count(), ipaddress.ip_network("fe80::/10"), {1: 2}, loop()):
        values = [1, 1, *extra]
        values[-1 if extra else 0] = wrong
        with pytest.raises(ztfast.ContextError):
            gate.decide_many(session, d1, *values)
        with pytest.raises(ztfast.ContextError):
            gate.decide_many(session, d1, *([value] for value in values))
        with pytest.raises(ztfast.ContextError):
            gate.decide(session, d1, *values)


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless
