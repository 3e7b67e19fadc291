"""The measured policies: a small book with the most important forms, over a hundred algorithms and instruments."""

from __future__ import annotations

import math
from typing import Any

import ztfast

__all__ = ["ALGOS", "INSTRUMENTS", "POLICIES", "SCHEMA", "Workload", "bundle", "entities"]

ALGOS = 100
INSTRUMENTS = 100

SCHEMA = """
entity Desk;
entity Algo in [Desk] = { region: String };
entity Instrument in [Desk] = { region: String, restricted: Bool };
action "order.cancel" appliesTo { principal: Algo, resource: Instrument };
action "order.new" appliesTo { principal: Algo, resource: Instrument, context: { notional: Long, qty: Long } };
action "order.replace" appliesTo {
  principal: Algo, resource: Instrument, context: { notional: Long, qty: Long, collarBps?: Long },
};
"""

POLICIES = """
@id("cancel")
permit (principal is Algo in Desk::"equities", action == Action::"order.cancel", resource in Desk::"equities");
@id("order")
permit (principal is Algo in Desk::"equities", action in [Action::"order.new", Action::"order.replace"],
        resource in Desk::"equities")
when { context.notional <= 1000000 && context.qty <= 500 };
@id("restricted") forbid (principal, action, resource) when { resource.restricted };
@id("region") forbid (principal, action, resource) unless { principal.region == resource.region };
@id("collar") forbid (principal, action == Action::"order.replace", resource)
when { context has collarBps && (context.collarBps > 500 || context.collarBps < -500) };
"""


def entities() -> list[dict[str, Any]]:
    """Make the store, as Cedar JSON."""
    desk = [{"type": "Desk", "id": "equities"}]
    made: list[dict[str, Any]] = [{"uid": desk[0], "attrs": {}, "parents": []}]
    for number in range(ALGOS):
        attrs = {"region": ("US", "EU")[number % 2]}
        made.append(
            {"uid": {"type": "Algo", "id": f"a{number}"}, "attrs": attrs, "parents": desk if number % 10 else []}
        )
    for number in range(INSTRUMENTS):
        about: dict[str, Any] = {"region": ("US", "EU")[number % 2], "restricted": number % 7 == 6}
        made.append({"uid": {"type": "Instrument", "id": f"i{number}"}, "attrs": about, "parents": desk})
    return made


def bundle() -> ztfast.Bundle:
    """Compile the policies over the store.

    >>> bundle().stats.policies
    5
    """
    return ztfast.compile(
        ztfast.Text(POLICIES, "bench.cedar"), schema=ztfast.Text(SCHEMA, "bench.cedarschema"), entities=entities()
    )


class Workload:
    """An engine over the book, with sessions, handles and gates.

    Attributes:
        bundle, engine: The bundle and the engine.
        sessions: A session for each algorithm, without end.
        resources: A handle for each instrument.
        revoked: A revoked session, which is denied before any policy is evaluated.
        cancel: A gate without attributes, whose decisions are resolved in cells.
        order: A gate with ``notional`` and ``qty``, for which two comparisons are left for decision time.
        collared: A gate with ``collarBps`` besides, for which a condition is left as code.
        session, resource, values: The repeated request, which ``order`` allows.

    >>> work = Workload()
    >>> work.order.allows(work.session, work.resource, *work.values)
    True
    """

    def __init__(self) -> None:
        self.bundle = bundle()
        self.engine = engine = ztfast.Engine(self.bundle)
        self.sessions = [engine.admit(ztfast.Identity(f'Algo::"a{n}"', not_after=math.inf)) for n in range(ALGOS)]
        self.resources = [engine.resource(f'Instrument::"i{n}"') for n in range(INSTRUMENTS)]
        self.revoked = engine.admit(ztfast.Identity('Algo::"a1"', not_after=math.inf))
        self.revoked.revoke()
        self.cancel = engine.prepare("order.cancel")
        self.order = engine.prepare("order.new", "notional", "qty")
        self.collared = engine.prepare("order.replace", "notional", "qty", "collarBps")
        self.session, self.resource = self.sessions[1], self.resources[1]
        self.values = (250_000, 100)
        if not self.order.allows(self.session, self.resource, *self.values):
            raise AssertionError("the measured request must be allowed")
