"""The measured policies: a small book with the most important forms, over a hundred algorithms and instruments."""

from __future__ import annotations

import math
import tempfile
from typing import Any

import ztfast

__all__ = ["ALGOS", "INSTRUMENTS", "POLICIES", "SCHEMA", "Workload", "bundle", "entities", "live_bundle"]

ALGOS = 100
INSTRUMENTS = 100
KILLS = (1, 16, 64)
"""The numbers of kills beside which a request is measured. There are bits for 63 entities; more have to share them."""

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

LIVE_SCHEMA = SCHEMA.replace("qty: Long", "qty: Long, live: ztfast::Live")
LIVE_POLICIES = """
@id("fresh") forbid (principal, action in [Action::"order.new", Action::"order.replace"], resource)
unless { context.live.authAge <= duration("8h") && context.live.risk < 50 };
@id("key") forbid (principal, action == Action::"order.replace", resource)
unless { context.live.factors.contains("x509") };
"""
"""Orders ask for a proof and a risk; and where they replace others, for a factor."""


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


def live_bundle() -> ztfast.Bundle:
    """Compile the policies with those that read live attributes.

    >>> live_bundle().stats.policies
    7
    """
    return ztfast.compile(
        ztfast.Text(POLICIES + LIVE_POLICIES, "bench.cedar"),
        schema=ztfast.Text(LIVE_SCHEMA, "bench.cedarschema"),
        entities=entities(),
    )


class Workload:
    """An engine over the book, with sessions, handles and gates; and one whose sessions are shared.

    Attributes:
        bundle, engine: The bundle and the engine.
        sessions: A session for each algorithm, without end.
        resources: A handle for each instrument.
        revoked: A revoked session, which is denied before any policy is evaluated.
        cancel: A gate without attributes, whose decisions are resolved in cells.
        order: A gate with ``notional`` and ``qty``, for which two comparisons are left for decision time.
        collared: A gate with ``collarBps`` besides, for which a condition is left as code.
        session, resource, values: The repeated request, which ``order`` allows.
        shared: The engine whose state lies in a folder, over the policies with those that read live attributes.
        live: Its gate with ``notional`` and ``qty``.
        proved, of_shared: The session and the resource of its request, which has the same values.
        beside_kills: By the number of other algorithms that are killed: ``order``'s request to an engine of its own, as
            its gate, session and resource.

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
        self._folder = tempfile.TemporaryDirectory(prefix="ztfast-bench-")
        self.shared = ztfast.Engine(live_bundle(), state=self._folder.name)
        proved = ztfast.Identity('Algo::"a1"', not_after=math.inf, factors=("x509",))
        self.proved, self.of_shared = self.shared.admit(proved), self.shared.resource('Instrument::"i1"')
        self.live = self.shared.prepare("order.new", "notional", "qty")
        if not self.live.allows(self.proved, self.of_shared, *self.values):
            raise AssertionError("the measured request with live attributes must be allowed")
        self.beside_kills = {kills: self._beside(kills) for kills in KILLS}

    def _beside(self, kills: int) -> tuple[ztfast.Gate, ztfast.Session, ztfast.EntityHandle]:
        """Prepare the request where so many other algorithms are killed."""
        engine = ztfast.Engine(self.bundle, sessions=16, handles=1024)
        session = engine.admit(ztfast.Identity('Algo::"a1"', not_after=math.inf))
        gate, resource = engine.prepare("order.new", "notional", "qty"), engine.resource('Instrument::"i1"')
        for number in range(2, 2 + kills):
            engine.kill(f'Algo::"a{number}"', by="bench", reason="to measure the others")
        if not gate.allows(session, resource, *self.values):
            raise AssertionError("kills of other algorithms must not stop the measured request")
        return gate, session, resource
