"""The example desk in the bench: a realistic request to each gate, and what it may cost to decide.

The book of :mod:`ztfast.bench.workload` holds plain ranges. The desk's policies are those of a real firm: caps that
depend on the principal, prices as decimals, times, addresses, sets, texts with wildcards, persons behind agents.
"""

from __future__ import annotations

import ipaddress
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import ztfast
from ztfast import _core
from ztfast.bench.loops import Bulk, bulk, over_rows, over_values
from ztfast.bench.marks import Promise
from ztfast.bench.report import native_key
from ztfast.bench.series import MANY, ROWS, Native, Series, columns
from ztfast.gate import EntityHandle, Gate, Session

__all__ = ["DESK_MARKS", "OTHER_GATES", "Asked", "DeskWorkload", "brought", "bundle", "desk_series", "native_calls"]

ALGO, STOCK = 'Algo::"a7"', 'Instrument::"AAPL"'
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
INSIDE = ipaddress.ip_address("10.20.1.5")
FACTORS = ("x509", "fido2")
"""What the principals have proved in their sessions."""
TRADER = ztfast.Uid("Human", "h1")

PASS_NS, LEAST_CALLS = 1e6, 50
"""The nanoseconds that a pass over one gate may take, and the calls that it makes at the least."""

NEW_ROWS = 512
"""How many objects take turns where each request has its own."""

ORDERED = "order.new by an algorithm"
ORDER = {"notional": 250_000, "qty": 100}
BEYOND_A_CAP = {"notional": 6_000_000, "qty": 100}
PRICED_ORDER = {**ORDER, "limitPrice": Decimal("2500.25"), "referencePrice": 2_500, "at": NOON}
"""An order of five attributes, two of which come as a Decimal and a datetime. The reference price is a whole number."""
WHOLE_ORDER = {
    **ORDER,
    "collarBps": 1,
    "limitPrice": Decimal("2500.25"),
    "referencePrice": Decimal("2500.00"),
    "at": NOON + timedelta(milliseconds=500),
    "referenceAt": NOON,
    "participation": 5,
    "participationCap": 10,
}
"""An order of all nine attributes that an algorithm has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the desk allows.

    Attributes:
        name: The name in tables: the action, and who asks.
        principal, action, resource: The uids; the action by its id.
        values: The attributes that the gate takes, with the values that are passed.
    """

    name: str
    principal: str
    action: str
    resource: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The key in results.

        >>> Asked("order.new by an agent", 'Agent::"g1"', "order.new", 'Instrument::"AAPL"', {}).key
        'desk_order_new_by_an_agent'
        """
        return "desk_" + self.name.replace(".", "_").replace(" ", "_")


OTHER_GATES = (
    Asked("order.amend by an algorithm", ALGO, "order.amend", STOCK, ORDER),
    Asked("order.cancel by an algorithm", ALGO, "order.cancel", STOCK, {}),
    Asked("order.new by a trader", 'Human::"h1"', "order.new", STOCK, {**ORDER, "clientIp": INSIDE}),
    Asked(
        "order.new by an agent", 'Agent::"g1"', "order.new", STOCK,
        {"notional": 40_000, "qty": 100, "collarBps": 40, "onBehalfOf": TRADER, "consentAge": timedelta(minutes=2)},
    ),
    Asked("order.cancel by an agent", 'Agent::"g1"', "order.cancel", STOCK, {"onBehalfOf": TRADER}),
    Asked("book.read by an algorithm", ALGO, "book.read", 'OrderBook::"AAPL"', {"depth": 10}),
    Asked(
        "marketdata.subscribe by a trader", 'Human::"h1"', "marketdata.subscribe", 'Feed::"XNAS.L2"',
        {"clientIp": INSIDE, "depth": 10},
    ),
    Asked(
        "venue.connect by an algorithm", ALGO, "venue.connect", 'Venue::"XNAS"',
        {"session.host": INSIDE, "session.protocol": "FIX.4.4", "session.tls": True},
    ),
    Asked(
        "strategy.deploy by a quant", 'Human::"h25"', "strategy.deploy", 'Strategy::"eq-momentum-us"',
        {
            "at": NOON + timedelta(hours=10), "reviewers": (ztfast.Uid("Human", "h29"),), "ticket": "CHG-2",
        },
    ),
    Asked("repo.read by a quant", 'Human::"h25"', "repo.read", 'AlgoRepository::"eq-momentum-us"', {"branch": "main"}),
    Asked(
        "repo.write by an agent", 'Agent::"g1"', "repo.write", 'AlgoRepository::"eq-momentum-us"',
        {"branch": "agent/idea"},
    ),
    Asked(
        "customer.read by an advisor", 'Human::"h66"', "customer.read", 'CustomerAccount::"c2"',
        {"purpose": "statement", "fields": frozenset({"balance"}), "clientIp": INSIDE},
    ),
    Asked(
        "customer.export by compliance", 'Human::"h56"', "customer.export", 'CustomerAccount::"c2"',
        {"purpose": "case-7", "fields": frozenset({"balance"}), "clientIp": INSIDE},
    ),
    Asked("settlement.read by operations", 'Human::"h45"', "settlement.read", 'Settlement::Instruction::"i8"', {}),
    Asked("settlement.enter by operations", 'Human::"h45"', "settlement.enter", 'Settlement::Instruction::"i8"', {}),
    Asked(
        "settlement.approve by operations", 'Human::"h45"', "settlement.approve", 'Settlement::Instruction::"i8"',
        {"amount": 25_000_000, "valueDate": datetime(2026, 11, 20, tzinfo=UTC), "at": NOON},
    ),
    Asked(
        "rules.modify by a steward", 'Human::"h55"', "rules.modify", 'PolicySet::"trading-rules"',
        {"change.ticket": "CHG-1"},
    ),
    Asked(
        "kill.engage by risk", 'Human::"h37"', "kill.engage", 'PolicySet::"trading-rules"',
        {"change.ticket": "CHG-1", "change.emergency": True},
    ),
)  # fmt: skip
"""A request to each gate besides ``order.new`` by an algorithm, which has series of its own."""

DESK_MARKS = (
    Promise("desk: order.new, 2 arguments / empty C call", "desk_order_2", 2.4, floor="c_call"),
    Promise("desk: order.new, 5 arguments / empty C call", "desk_order_5", 3.2, floor="c_call"),
    Promise("desk: order.new, random, allowed / empty C call", "desk_order_2_random", 3.4, floor="c_call"),
    Promise("desk: order.new, denied by a cap / empty C call", "desk_order_denied", 2.4, floor="c_call"),
    Promise("desk: order.new, decide / empty C call", "desk_order_decided", 3.4, floor="c_call"),
    Promise("desk: a decision of decide_many", "desk_order_many", 8.0),
    Promise("desk: native order.new above order.cancel", "desk_native_order_2", 7.0, above="desk_native_cancel"),
    Promise("desk: native order.new above order.cancel, random", "desk_native_order_2_random", 10.0,
            above="desk_native_cancel_random"),
    *(Promise(f"desk: {asked.name} / empty C call", asked.key, 6.0, floor="c_call") for asked in OTHER_GATES),
)  # fmt: skip
"""The marks of the desk's figures in bulk."""


def bundle() -> ztfast.Bundle:
    """Compile the example desk.

    >>> bundle().stats.policies > 50
    True
    """
    folder = ztfast.examples.desk()
    return ztfast.compile(
        folder / "policies",
        schema=folder / "desk.cedarschema",
        entities=folder / "desk.entities.json",
        exempt='Action::"reduce-risk"',
    )


class DeskWorkload:
    """An engine over the desk, with the requests that are measured.

    Attributes:
        engine: The engine.
        session, resource: The algorithm and the instrument of the repeated orders.
        pairs: Random algorithms and instruments, all of them allowed for the orders and for a cancel, the same in every
            run.

    >>> desk = DeskWorkload(bundle())
    >>> gate, request = desk.gate_and_request(OTHER_GATES[0])
    >>> gate.decide(*request)
    Decision(ALLOW, reasons=('algo-trades-its-strategy',))
    """

    def __init__(self, compiled: ztfast.Bundle) -> None:
        self.engine = ztfast.Engine(compiled)
        self._sessions: dict[str, Session] = {}
        self.session, self.resource = self.admitted(ALGO), self.engine.resource(STOCK)
        self.pairs = self._allowed_pairs()

    def admitted(self, principal: str) -> Session:
        """Return the principal's session, which has no end."""
        if principal not in self._sessions:
            identity = ztfast.Identity(principal, not_after=math.inf, factors=FACTORS)
            self._sessions[principal] = self.engine.admit(identity)
        return self._sessions[principal]

    def proved_anew(self, asked: Asked, once: Bulk) -> Bulk:
        """Return a function that measures with a fresh proof in the session, whose age the sensitive actions limit."""
        session = self.admitted(asked.principal)

        def measured(count: int) -> float:
            session.present(factors=FACTORS)
            return once(count)

        return measured

    def passed(self, value: Any) -> Any:
        """Return a value as a program passes it that looks entities up once: a handle for a uid."""
        if isinstance(value, ztfast.Uid):
            return self.engine.resource(value)
        return tuple(map(self.passed, value)) if isinstance(value, tuple) else value

    def gate_and_request(self, asked: Asked) -> tuple[Gate, tuple[Any, ...]]:
        """Return a gate that was prepared for a request, and the arguments of its calls."""
        gate = self.engine.prepare(asked.action, *asked.values)
        self.admitted(asked.principal).present(factors=FACTORS)
        values = map(self.passed, asked.values.values())
        request = (self.admitted(asked.principal), self.engine.resource(asked.resource), *values)
        decision = gate.decide(*request)
        if not decision:
            raise AssertionError(f"the measured request must be allowed: {asked.name}: {decision}")
        return gate, request

    def _allowed_pairs(self) -> list[tuple[Session, EntityHandle]]:
        entities = json.loads((ztfast.examples.desk() / "desk.entities.json").read_text())
        uids = [(entity["uid"]["type"], f'{entity["uid"]["type"]}::"{entity["uid"]["id"]}"') for entity in entities]
        sessions = [self.admitted(uid) for ty, uid in uids if ty == "Algo"]
        resources = [self.engine.resource(uid) for ty, uid in uids if ty == "Instrument"]
        order = self.engine.prepare("order.new", *WHOLE_ORDER)
        cancel = self.engine.prepare("order.cancel")
        values = WHOLE_ORDER.values()
        allowed = [
            (session, resource)
            for session in sessions
            for resource in resources
            if order.allows(session, resource, *values) and cancel.allows(session, resource)
        ]
        return random.Random(1).choices(allowed, k=ROWS)


def desk_series(desk: DeskWorkload, count: int) -> list[Series]:
    """Return the desk's calls that are measured in bulk. A round makes about ``count`` calls of the fast ones."""
    order, request = desk.gate_and_request(Asked("order.new", ALGO, "order.new", STOCK, ORDER))
    priced, priced_request = desk.gate_and_request(Asked("order.new", ALGO, "order.new", STOCK, PRICED_ORDER))
    whole, whole_request = desk.gate_and_request(Asked("order.new", ALGO, "order.new", STOCK, WHOLE_ORDER))
    hot = [(desk.session, desk.resource)]
    beyond = (*request[:2], *BEYOND_A_CAP.values())
    if order.allows(*beyond):
        raise AssertionError("the order beyond a cap must be denied")

    def native(action: str, values: Mapping[str, Any], pairs: list[tuple[Session, EntityHandle]]) -> Native:
        return Native(desk.engine, action, {name: brought(value) for name, value in values.items()}, pairs, count)

    def repeated(key: str, name: str, call: Callable[..., object], given: tuple[Any, ...]) -> Series:
        once = bulk(call, *given)
        return Series(key, name, "c_call", once, affordable(once, count))

    def asking(asked: Asked) -> Series:
        gate, given = desk.gate_and_request(asked)
        once = desk.proved_anew(asked, bulk(gate.allows, *given))
        return Series(asked.key, asked.name, "c_call", once, affordable(once, count))

    def asking_anew(asked: Asked) -> Series:
        gate, (session, resource, *values) = desk.gate_and_request(asked)
        rows = [tuple(map(anew, values)) for _ in range(NEW_ROWS)]
        once = desk.proved_anew(asked, over_values(gate.allows, (session, resource), rows))
        return Series(f"{asked.key}_anew", f"{asked.name}, new objects", "c_call", once, affordable(once, count))

    def called(asked: Asked) -> Series:
        once = native_calls(desk, asked)
        return Series(native_key(asked.key), f"native {asked.name}", "c_call", once, affordable(once, count))

    made = [
        repeated("desk_order_2", ORDERED, order.allows, request),
        repeated("desk_order_5", f"{ORDERED}, 5 values", priced.allows, priced_request),
        repeated("desk_order_9", f"{ORDERED}, 9 values", whole.allows, whole_request),
        Series("desk_order_2_random", "order.new by algorithms at random", "c_call",
               over_rows(order.allows, desk.pairs, *ORDER.values()), count),
        repeated("desk_order_denied", f"{ORDERED}, denied", order.allows, beyond),
        repeated("desk_order_decided", f"{ORDERED}, decide", order.decide, request),
        Series("desk_order_many", f"{ORDERED}, a row", "c_call",
               columns(order, hot, request[2:], MANY), MANY),
        *map(asking, OTHER_GATES),
        *map(asking_anew, filter(has_objects, OTHER_GATES)),
        Series("desk_native_cancel", "native order.cancel", "c_call",
               native("order.cancel", {}, hot).by_table, count),
        Series("desk_native_order_2", f"native {ORDERED}", "c_call",
               native("order.new", ORDER, hot).by_table, count),
        Series("desk_native_order_5", f"native {ORDERED}, 5 values", "c_call",
               native("order.new", PRICED_ORDER, hot).by_table, count),
        Series("desk_native_order_9", f"native {ORDERED}, 9 values", "c_call",
               native("order.new", WHOLE_ORDER, hot).by_table, count),
        Series("desk_native_cancel_random", "native order.cancel at random", "c_call",
               native("order.cancel", {}, desk.pairs).by_table, count),
        Series("desk_native_order_2_random", "native order.new by algorithms at random", "c_call",
               native("order.new", ORDER, desk.pairs).by_table, count),
        Series("desk_native_order_9_random", "native order.new at random, 9 values", "c_call",
               native("order.new", WHOLE_ORDER, desk.pairs).by_table, count),
        Series("desk_native_order_denied", f"native {ORDERED}, denied", "c_call",
               native("order.new", BEYOND_A_CAP, hot).by_table, count),
        Series("desk_native_order_decided", f"native {ORDERED}, decide", "c_call",
               native("order.new", ORDER, hot).with_reasons, count),
        *map(called, OTHER_GATES),
    ]  # fmt: skip
    return [replace(series, workload="desk") for series in made]


def has_objects(asked: Asked) -> bool:
    """Return whether a request has values that a program makes anew for each, and that are more than a number.

    >>> [asked.action for asked in OTHER_GATES if has_objects(asked)][:2]
    ['venue.connect', 'strategy.deploy']
    """
    return any(isinstance(value, str | frozenset) or type(value) is tuple for value in asked.values.values())


def anew(value: Any) -> Any:
    """Return another object that is equal to a value, as a program has it that reads its requests from a network.

    >>> purpose = "statement"
    >>> anew(purpose) == purpose, anew(purpose) is purpose
    (True, False)
    """
    if isinstance(value, str):
        return value.encode().decode()
    if isinstance(value, frozenset | tuple):
        return type(value)(map(anew, value))
    return value


def affordable(once: Bulk, count: int) -> int:
    """Return how many calls a pass makes: ``count``, or fewer if a call takes microseconds.

    >>> affordable(lambda calls: 50.0, 4_000), affordable(lambda calls: 10_000.0, 4_000)
    (4000, 100)
    """
    each_ns = min(once(LEAST_CALLS) for _ in range(3))
    return min(count, max(int(PASS_NS / each_ns), LEAST_CALLS))


def native_calls(desk: DeskWorkload, asked: Asked) -> Bulk:
    """Return a function that measures calls of a request's gate from native code, all in the same way.

    >>> native_calls(DeskWorkload(bundle()), OTHER_GATES[0])(1_000) > 0
    True
    """
    _, (session, resource, *values) = desk.gate_and_request(asked)
    gate = desk.engine._core.prepare(asked.action, list(asked.values))
    given = [brought(value) for value in values]
    return desk.proved_anew(
        asked, lambda count: _core.time_calls(gate, session.id, resource.handle, given, count) / count
    )


def brought(value: Any) -> Any:
    """Return a value as an embedder brings it to a call: the number of what is passed as a number through ``ztfast.h``.

    >>> [brought(value) for value in (True, Decimal("2500.25"), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))]
    [1, 25002500, 1000]
    >>> brought(timedelta(minutes=1)), brought(frozenset({"fido2"})), brought(ipaddress.ip_address("10.20.30.40"))
    (60000, ['fido2'], (b'\\n\\x14\\x1e(', 32))
    """
    match value:
        case Decimal():
            return int(value * 10_000)
        case datetime():
            return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        case timedelta():
            return value // timedelta(milliseconds=1)
        case ipaddress.IPv4Address() | ipaddress.IPv6Address():
            return value.packed, value.max_prefixlen
        case tuple() | frozenset():
            return [brought(one) for one in value]
        case bool():
            return int(value)
    return value
