"""Names of context attributes with points in them: each name means one attribute, or is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import ztfast
from ztfast.cli import app
from ztfast.cli.output import UsageError

SCHEMA = """
entity User; entity Thing;
action pointed appliesTo { principal: User, resource: Thing,
    context: { order: Long, "order.qty": Long, "px.limit"?: decimal } };
action both appliesTo { principal: User, resource: Thing,
    context: { "order.qty": Long, order: { qty: Long, side?: String } } };
action deep appliesTo { principal: User, resource: Thing,
    context: { a: { "b.c": Long, b: { c: Long } }, "a.b"?: { c: Long }, "a.b.c"?: Long, "": Long, ".": Long, "x=y": Long, x?: Long } };
action slow appliesTo { principal: User, resource: Thing,
    context: { "from.ip": ipaddr, from: { ip: ipaddr, "net.mask"?: Long } } };
action optional appliesTo { principal: User, resource: Thing, context: { "a.b"?: Long, a?: { b: Long, c?: Long } } };
"""
POLICIES = """
@id("pointed") permit (principal, action == Action::"pointed", resource)
    when { context.order == 1 && context["order.qty"] == 2 && (if context has "px.limit" then context["px.limit"] == decimal("3.5") else true) };
@id("both") permit (principal, action == Action::"both", resource) when { context["order.qty"] == 1 && context.order.qty == 2 };
@id("deep") permit (principal, action == Action::"deep", resource)
    when { context.a["b.c"] == 1 && context.a.b.c == 2 && (if context has "a.b" then context["a.b"].c == 3 else true) &&
           (if context has "a.b.c" then context["a.b.c"] == 4 else true) && context[""] == 5 && context["."] == 6 && context["x=y"] == 7 };
@id("slow") permit (principal, action == Action::"slow", resource)
    when { context["from.ip"] == ip("10.0.0.1") && context.from.ip == ip("10.0.0.2") };
@id("optional") permit (principal, action == Action::"optional", resource)
    when { context has "a.b" && !(context has a) && context["a.b"] == 1 };
"""
DEEP = {("a", "b.c"): 1, ("a", "b", "c"): 2, ("",): 5, (".",): 6, ("x=y",): 7}
WHO, WHAT = 'User::"ann"', 'Thing::"t"'


@pytest.fixture(scope="module")
def bundle() -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA))


@pytest.fixture(scope="module")
def engine(bundle: ztfast.Bundle) -> ztfast.Engine:
    return ztfast.Engine(bundle)


def decided(engine: ztfast.Engine, action: str, values: dict[Any, Any]) -> set[bool]:
    """Return the decisions of a gate, a batch and columns."""
    gate = engine.prepare(action, *values)
    session = engine.admit(ztfast.Identity(WHO, not_after=math.inf))
    thing = engine.resource(WHAT)
    said = {gate.allows(session, thing, *values.values()), bool(gate.decide(session, thing, *values.values()))}
    if not any(isinstance(value, str) for value in values.values()):
        columns = {name: [value, value] for name, value in values.items()}
        said |= {bool(code == 1) for code in gate.decide_many(session, thing, *columns.values())}
        said |= {bool(code == 1) for code in engine.evaluate_many(WHO, action, WHAT, columns)}
    return said


def test_a_name_with_a_point_is_bound_to_its_attribute(engine: ztfast.Engine) -> None:
    gate = engine.prepare("pointed", "order", "order.qty", "px.limit")
    assert gate.paths == (("order",), ("order.qty",), ("px.limit",))
    assert decided(engine, "pointed", {"order": 1, "order.qty": 2}) == {True}
    assert decided(engine, "pointed", {"order.qty": 2, "order": 1}) == {True}
    assert decided(engine, "pointed", {"order.qty": 1, "order": 2}) == {False}
    session, thing = engine.admit(ztfast.Identity(WHO, not_after=math.inf)), engine.resource(WHAT)
    for value, allowed in ((["3.5"], True), (["3.5001"], False)):
        codes = gate.decide_many(session, thing, [1], [2], value)
        assert (codes == ztfast.Code.ALLOW).tolist() == [allowed]
    assert gate.decide(session, thing, 1, 2, "3.5")
    assert not gate.decide(session, thing, 1, 2, "3.6")
    assert engine.evaluate(WHO, "pointed", WHAT, {"order": 1, "order.qty": 2, "px.limit": "3.5"})


def test_one_name_does_not_fill_two_attributes(engine: ztfast.Engine) -> None:
    for names in (("order.qty",), ("order.qty", ("order", "qty")), (("order.qty",), "order.qty")):
        with pytest.raises(ztfast.ContextError, match=r'"order", "qty"\) or \("order.qty",\)'):
            engine.prepare("both", *names)
    with pytest.raises(ztfast.ContextError, match="two context attributes"):
        engine.evaluate_many(WHO, "both", WHAT, {"order.qty": [1]})
    assert decided(engine, "both", {("order.qty",): 1, ("order", "qty"): 2}) == {True}
    assert decided(engine, "both", {("order.qty",): 2, ("order", "qty"): 1}) == {False}
    assert decided(engine, "both", {("order", "qty"): 2, ("order.qty",): 1, "order.side": "buy"}) == {True}
    for names in ((("order.qty",),), (("order", "qty"),)):
        with pytest.raises(ztfast.ContextError, match=r"requires the context attributes \(.order"):
            engine.prepare("both", *names)
    with pytest.raises(ztfast.ContextError, match="named twice"):
        engine.prepare("both", ("order.qty",), ("order", "qty"), ("order", "qty"))
    with pytest.raises(ztfast.ContextError, match="named twice"):
        engine.prepare("both", ("order.qty",), ("order", "qty"), ("order", "side"), "order.side")


def test_records_within_records_and_odd_names(engine: ztfast.Engine) -> None:
    assert decided(engine, "deep", DEEP) == {True}
    assert decided(engine, "deep", DEEP | {("a.b", "c"): 3, ("a.b.c",): 4}) == {True}
    assert decided(engine, "deep", DEEP | {("a.b", "c"): 4}) == {False}
    assert decided(engine, "deep", DEEP | {("a.b.c",): 3}) == {False}
    assert decided(engine, "deep", {name if name[0] == "a" else name[0]: value for name, value in DEEP.items()}) == {
        True
    }
    for name in ("a.b.c", "a", "a.b", "a.", "a..b.c", "b.c", ("a", "b"), ("a",), ("a", "b.c", "d")):
        with pytest.raises(ztfast.ContextError):
            engine.prepare("deep", *DEEP, name)
    wrong: tuple[Any, ...] = ((), (1,), ["a", "b.c"], b"x", 1, None, ("a", None), "\ud800")
    for name in wrong:
        with pytest.raises(ztfast.ContextError):
            engine.prepare("deep", *DEEP, name)


def test_values_that_take_the_slow_way_are_put_where_they_belong(engine: ztfast.Engine) -> None:
    right = {("from.ip",): "10.0.0.1", ("from", "ip"): "10.0.0.2"}
    assert decided(engine, "slow", right) == {True}
    assert decided(engine, "slow", right | {("from", "net.mask"): 3}) == {True}
    assert decided(engine, "slow", right | {"from.net.mask": 3}) == {True}
    assert decided(engine, "slow", {("from", "ip"): "10.0.0.1", ("from.ip",): "10.0.0.2"}) == {False}


def test_a_record_is_there_when_one_of_its_own_is(engine: ztfast.Engine) -> None:
    assert decided(engine, "optional", {("a.b",): 1}) == {True}
    assert decided(engine, "optional", {("a", "b"): 1}) == {False}
    assert decided(engine, "optional", {("a.b",): 1, ("a", "b"): 1}) == {False}
    with pytest.raises(ztfast.ContextError, match="requires"):
        engine.prepare("optional", ("a.b",), ("a", "c"))


def test_a_gate_keeps_its_attributes_through_a_swap(bundle: ztfast.Bundle) -> None:
    nested = "entity User; entity Thing; action go appliesTo { principal: User, resource: Thing, context: { %s } };"
    policies = ztfast.Text("permit (principal, action, resource);")

    def of(context: str) -> ztfast.Bundle:
        return ztfast.compile(policies, schema=ztfast.Text(nested % context))

    engine = ztfast.Engine(of('"order.qty": Long'))
    gate = engine.prepare("go", "order.qty")
    session, thing = engine.admit(ztfast.Identity(WHO, not_after=math.inf)), engine.resource(WHAT)
    assert gate.allows(session, thing, 1)
    engine.swap(of('"order.qty": Long, note?: String'))
    assert gate.allows(session, thing, 1)
    # The same text, another attribute.
    engine.swap(of("order: { qty: Long }"), allow_stale=True)
    assert gate.decide(session, thing, 1).code == "STALE_GATE"


def test_the_bundle_says_names_that_prepare_takes(bundle: ztfast.Bundle, engine: ztfast.Engine) -> None:
    for uid, action in bundle.actions.items():
        needed = [path for path, _, required in action["context"] if required]
        everything = [path for path, *_ in action["context"]]
        assert len(set(engine.prepare(uid, *needed).paths)) == len(needed)
        assert len(set(engine.prepare(uid, *everything).paths)) == len(everything)
    assert [path for path, *_ in bundle.actions['Action::"both"']["context"]] == [
        ("order", "qty"), "order.side", ("order.qty",),
    ]  # fmt: skip


def run(tmp_path: Any, bundle: ztfast.Bundle, action: str, *options: str) -> Any:
    bundle.save(tmp_path / "b.ztb")
    given = [part for option in options for part in ("-c", option)]
    return CliRunner().invoke(app, ["decide", str(tmp_path / "b.ztb"), WHO, action, WHAT, *given, "--json"])


@pytest.mark.parametrize(
    ("action", "options", "status"),
    [
        ("pointed", ("order=1", "order.qty=2"), 0),
        ("pointed", ("order=1", "order.qty=2", "px.limit=3.5"), 0),
        ("pointed", ("order=1", '["order.qty"]=2'), 0),
        ("pointed", ("order=2", "order.qty=1"), 3),
        ("both", ("order.qty=1",), 1),
        ("both", ('["order.qty"]=1', '["order", "qty"]=2'), 0),
        ("both", ('["order.qty"]=1', '["order","qty"]=2', "order.side=buy"), 0),
        ("both", ('["order.qty"]=1', 'order={"qty": 2}'), 0),
        ("both", ('["order.qty"]=2', '["order", "qty"]=1'), 3),
        ("both", ('["order.qty"]=1', "order=2", '["order", "qty"]=2'), 2),
        ("deep", ('["a","b.c"]=1', '["a","b","c"]=2', "=5", ".=6", "x=y=7"), 2),
        ("deep", ('["a","b.c"]=1', '["a","b","c"]=2', "=5", ".=6", '["x=y"]=7'), 0),
        ("slow", ('["from.ip"]=10.0.0.1', '["from","ip"]=10.0.0.2'), 0),
    ],
)
def test_names_on_the_command_line(
    tmp_path: Any, bundle: ztfast.Bundle, action: str, options: tuple[str, ...], status: int
) -> None:
    result = run(tmp_path, bundle, action, *options)
    wrong = {1: ztfast.ContextError, 2: UsageError}
    if status in wrong:
        assert isinstance(result.exception, wrong[status]), result.exception
    else:
        assert result.exit_code == status, result.output


def test_messages_name_an_action_by_its_uid(engine: ztfast.Engine) -> None:
    session, thing = engine.admit(ztfast.Identity(WHO, not_after=math.inf)), engine.resource(WHAT)
    wrong = {"order": "x", "order.qty": 2}
    for action in (
        "pointed",
        'Action::"pointed"',
        ztfast.Uid("Action", "pointed"),
        {"type": "Action", "id": "pointed"},
    ):
        gate = engine.prepare(action, "order", ("order.qty",))
        calls: tuple[Callable[[], object], ...] = (
            lambda action=action: engine.evaluate(WHO, action, WHAT, wrong),
            lambda action=action: engine.decide(session, action, thing, wrong),
            lambda action=action: engine.entitled(session, action, wrong),
            lambda action=action: engine.explain(WHO, action, WHAT, wrong),
            lambda action=action: engine.evaluate(WHO, action, WHAT, {"nothing": 1}),
            lambda action=action: engine.evaluate(WHO, action, WHAT, {}),
            lambda action=action: engine.attribute_path(action, "nothing"),
            lambda action=action: engine.prepare(action, 5),
            lambda action=action: engine.prepare(action, "nothing"),
            lambda gate=gate: gate.decide(session, thing, "x", 2),
            lambda gate=gate: gate.decide(session, thing, 1),
            lambda gate=gate: gate.decide_many(session, thing, ["x"], 2),
        )
        for call in calls:
            with pytest.raises(ztfast.ContextError, match=r'^Action::"pointed"'):
                call()
