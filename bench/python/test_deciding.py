"""Benchmarks of single decisions: by a gate, with values of each kind, and with a context."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import ztfast
from bench.python.worlds import Opened, bundle_of, world_named
from ztfast.gate import empty_call

ALLOWS = "Gate.allows"
DECIDE = "Gate.decide"
CONTEXT = "Engine.decide and evaluate, with a context"

ORDER = {"notional": 250_000, "qty": 100}
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Asked:
    """A request to a gate.

    Attributes:
        world: The world's name.
        action: The gate's action.
        values: The gate's attributes, and the values that are passed.
        allow: Whether the request is allowed.
        reasons: The ids of the policies that determine the decision; ``None`` if they have no ids.
        principal, resource: The principal and the resource; by default those of the world.
        entities: The attributes whose values are uids, which are passed as handles.
    """

    world: str
    action: str
    values: dict[str, Any]
    allow: bool = True
    reasons: tuple[str, ...] | None = ("algo-trades-its-strategy",)
    principal: str | None = None
    resource: str | None = None
    entities: tuple[str, ...] = ()


REQUESTS = {
    "desk, no values": Asked("desk", "order.cancel", {}),
    "desk, 2 numbers": Asked("desk", "order.new", ORDER),
    "desk, 5 numbers": Asked(
        "desk", "order.new", {**ORDER, "collarBps": 10, "participation": 1_000, "participationCap": 5_000}
    ),
    "desk, 5 numbers, denied": Asked(
        "desk",
        "order.new",
        {**ORDER, "collarBps": 10, "participation": 5_001, "participationCap": 5_000},
        allow=False,
        reasons=("participation-cap",),
    ),
    "desk, 2 numbers, 2 absent": Asked(
        "desk", "order.new", {**ORDER, "limitPrice": ztfast.ABSENT, "referencePrice": ztfast.ABSENT}
    ),
    "desk, 2 numbers, 2 decimals": Asked(
        "desk", "order.new", {**ORDER, "limitPrice": Decimal("187.25"), "referencePrice": Decimal("187.50")}
    ),
    "desk, 2 numbers, 2 times": Asked(
        "desk", "order.new", {**ORDER, "at": NOON, "referenceAt": NOON - datetime.timedelta(seconds=1)}
    ),
    "desk, 3 numbers, a decimal and a time": Asked(
        "desk", "order.new", {**ORDER, "collarBps": 10, "referencePrice": Decimal("187.25"), "at": NOON}
    ),
    "desk, 2 numbers, 2 decimals as texts": Asked(
        "desk", "order.new", {**ORDER, "limitPrice": "187.25", "referencePrice": "187.50"}
    ),
    "desk, 2 numbers, 2 times as texts": Asked(
        "desk", "order.new", {**ORDER, "at": "2026-11-20T12:00:00Z", "referenceAt": "2026-11-20T11:59:59.000+00:00"}
    ),
    "desk, 2 numbers, a time of another zone": Asked(
        "desk", "order.new", {**ORDER, "at": NOON.astimezone(datetime.timezone(datetime.timedelta(hours=1)))}
    ),
    "desk, 2 numbers, a time of numpy's": Asked(
        "desk", "order.new", {**ORDER, "at": np.datetime64("2026-11-20T12:00:00.000000000")}
    ),
    "desk, an entity": Asked(
        "desk",
        "order.cancel",
        {"onBehalfOf": 'Human::"h1"'},
        reasons=("agent-cancels-for-a-person",),
        principal='Agent::"g1"',
        entities=("onBehalfOf",),
    ),
    "desk, a text of the bundle": Asked(
        "desk",
        "repo.write",
        {"branch": "main"},
        allow=False,
        reasons=("no-direct-write-to-protected-branches",),
        principal='Agent::"g1"',
        resource='AlgoRepository::"eq-momentum-us"',
    ),
    "desk, another text": Asked(
        "desk",
        "repo.write",
        {"branch": "agent/g1-spreads"},
        reasons=("agent-writes-to-its-branches",),
        principal='Agent::"g1"',
        resource='AlgoRepository::"eq-momentum-us"',
    ),
    "book, no values": Asked("book", "order.cancel", {}, reasons=("cancel",)),
    "book, 2 numbers": Asked("book", "order.new", ORDER, reasons=("order",)),
    "book, 3 numbers, a condition as code": Asked(
        "book", "order.replace", {**ORDER, "collarBps": 10}, reasons=("order",)
    ),
    "estate, no values": Asked("estate", "order.cancel", {}, reasons=None),
    "estate, 2 numbers": Asked("estate", "order.new", {"qty": 500, "notional": 1_000}, reasons=None),
}


class Prepared:
    """A request, its gate, and the arguments of the call."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        opened = Opened(world_named(asked.world), bundle_of(asked.world))
        engine = opened.engine
        self.gate = engine.prepare(asked.action, *asked.values)
        self.session = opened.session if asked.principal is None else opened.admit(asked.principal)
        self.resource = opened.resource if asked.resource is None else engine.resource(asked.resource)
        self.values = [engine.resource(v) if name in asked.entities else v for name, v in asked.values.items()]
        self.arguments = (self.session, self.resource, *self.values)


@pytest.fixture(params=REQUESTS)
def prepared(request: pytest.FixtureRequest) -> Prepared:
    """Give each request in turn."""
    return Prepared(REQUESTS[request.param])


@pytest.mark.parametrize("arguments", [2, 4, 7])
@pytest.mark.parametrize("group", [ALLOWS, DECIDE, CONTEXT])
def test_empty_c_call(benchmark: BenchmarkFixture, group: str, arguments: int) -> None:
    benchmark.group = group
    assert benchmark(empty_call, *range(arguments)) is None


@pytest.mark.benchmark(group=ALLOWS)
def test_allows(benchmark: BenchmarkFixture, prepared: Prepared) -> None:
    assert benchmark(prepared.gate.allows, *prepared.arguments) is prepared.asked.allow


@pytest.mark.benchmark(group=ALLOWS)
def test_allows_a_revoked_session(benchmark: BenchmarkFixture, opened: Opened) -> None:
    arguments = (opened.session, opened.resource, *opened.values)
    assert opened.gate.allows(*arguments)
    opened.session.revoke()
    assert benchmark(opened.gate.allows, *arguments) is False


@pytest.mark.benchmark(group=DECIDE)
def test_decide(benchmark: BenchmarkFixture, prepared: Prepared) -> None:
    decision = benchmark(prepared.gate.decide, *prepared.arguments)
    assert bool(decision) is prepared.asked.allow
    assert decision.reasons
    assert prepared.asked.reasons in (None, decision.reasons)


@pytest.mark.benchmark(group=CONTEXT)
@pytest.mark.parametrize("handles", [False, True], ids=["uid", "handle"])
@pytest.mark.parametrize("method", ["decide", "evaluate"])
def test_engine(benchmark: BenchmarkFixture, opened: Opened, method: str, handles: bool) -> None:
    world, engine = opened.world, opened.engine
    decide: Callable[..., ztfast.Decision] = getattr(engine, method)
    who = opened.session if method == "decide" else world.principal
    resource = opened.resource if handles else world.resource
    decision = benchmark(decide, who, world.action, resource, world.context)
    assert decision.effect == "ALLOW"
    assert decision.reasons == opened.gate.decide(opened.session, opened.resource, *opened.values).reasons
    assert decide(who, world.action, resource, world.denied).effect == "DENY"
