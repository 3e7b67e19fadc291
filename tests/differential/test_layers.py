"""A firm too large for one table of cells: rules over both sides become a layer, and the decisions are Cedar's."""

from __future__ import annotations

import json
import random
from typing import Any

import ztfast
from ztfast import _core

DESKS = 300
SCHEMA = """
entity Desk; entity Book;
entity Algo in [Desk] = { region: String, venues: Set<String> };
entity Instrument in [Book] = { region: String, venue: String, dark: Bool };
action "order.new" appliesTo { principal: Algo, resource: Instrument, context: { notional: Long, qty: Long } };
"""
GLOBAL = """
forbid (principal, action, resource) unless { principal.region == resource.region };
forbid (principal, action, resource) unless { principal.venues.contains(resource.venue) };
forbid (principal, action, resource) when { context.notional > 900 };
forbid (principal, action, resource) when { resource.dark && context.qty > 90 };
"""
VENUES = ("XNAS", "XNYS", "BATS")


def policies() -> str:
    """Make permits that bind desks to books, a few walls between them, and rules for all."""
    permits = [
        f'permit (principal in Desk::"{n}", action, resource in Book::"{n}") when {{ context.qty <= {n % 100} }};'
        for n in range(DESKS)
    ]
    walls = [f'forbid (principal in Desk::"{n}", action, resource in Book::"{n}");' for n in range(0, DESKS, 50)]
    return "\n".join((*permits, *walls, GLOBAL))


def store() -> list[dict[str, Any]]:
    """Make an algorithm and an instrument for each desk and book."""
    made: list[dict[str, Any]] = []
    for n in range(DESKS):
        algo = {"region": ("US", "EU")[n % 2], "venues": [VENUES[n % 3], VENUES[(n + 1) % 3]]}
        instrument = {"region": ("US", "EU")[n % 2], "venue": VENUES[n % 3], "dark": n % 5 == 0}
        for ty, attrs, parent in (("Algo", algo, "Desk"), ("Instrument", instrument, "Book")):
            uid, above = {"type": ty, "id": str(n)}, {"type": parent, "id": str(n)}
            made += [{"uid": uid, "attrs": attrs, "parents": [above]}, {"uid": above, "attrs": {}, "parents": []}]
    return made


def test_rules_over_both_sides_are_settled_in_a_layer_of_their_own() -> None:
    entities = store()
    bundle = ztfast.compile(
        ztfast.Text(policies(), "firm.cedar"), schema=ztfast.Text(SCHEMA, "firm.cedarschema"), entities=entities
    )
    (action,) = bundle.stats.actions
    assert [layer.policies for layer in action.layers] == [2, DESKS + 6 + 2]
    assert action.layers[1].dense_bytes > 4 << 16
    assert action.tabulated > 0

    cedar = _core.Authorizer(bundle._core, ("store", json.dumps(entities)))
    engine = ztfast.Engine(bundle)
    order = engine.prepare("order.new", "notional", "qty")
    chance, found = random.Random(1), set()
    for _ in range(3_000):
        algo = chance.randrange(DESKS)
        instrument = algo if chance.random() < 0.7 else chance.randrange(DESKS)
        notional, qty = chance.choice((1, 900, 901)), chance.randrange(110)
        request = f'Algo::"{algo}"', "order.new", f'Instrument::"{instrument}"', {"notional": notional, "qty": qty}
        allow, reasons, _ = cedar.authorize(*request)
        decided = engine.evaluate(*request)
        assert (bool(decided), decided.reasons) == (allow, tuple(reasons)), request
        session = engine.admit(ztfast.Identity(request[0], not_after=float("inf")))
        assert order.decide(session, engine.resource(request[2]), notional, qty) == decided
        assert order.allows(session, engine.resource(request[2]), notional, qty) == allow
        session.revoke()
        found.add(decided.number)
    assert found == {ztfast.Code.DEFAULT, ztfast.Code.ALLOW, ztfast.Code.FORBID}
