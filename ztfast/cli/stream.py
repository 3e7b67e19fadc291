"""A seeded stream of requests over the example desk, allowed and denied ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Desk", "Request"]


class Request(NamedTuple):
    """One request."""

    principal: str
    action: str
    resource: str
    context: dict[str, Any]
    proof: dict[str, Any] | None = None
    """What the principal proves before the request: factors, and how long ago, in seconds."""


class Desk:
    """A source of random requests about the desk's entities."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.by_type: dict[str, list[str]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        entities = json.loads((folder / "desk.entities.json").read_text())
        for entity in entities:
            uid = f'{entity["uid"]["type"]}::"{entity["uid"]["id"]}"'
            self.by_type.setdefault(entity["uid"]["type"], []).append(uid)
            self.attributes[uid] = entity["attrs"]
        self.principals = [uid for ty in ("Algo", "Human", "Agent", "Service", "Contract") for uid in self.by_type[ty]]
        strategies: dict[str, list[str]] = {}
        for entity in entities:
            for parent in entity["parents"]:
                if entity["uid"]["type"] == "Instrument" and parent["type"] == "Strategy":
                    strategies.setdefault(parent["id"], []).append(f'Instrument::"{entity["uid"]["id"]}"')
        self.instruments_of = {
            algo: strategies.get(self.attributes[algo]["strategy"]["__entity"]["id"], [])
            for algo in self.by_type["Algo"]
        }

    def segment(self, uid: str) -> str:
        """Return the segment of a resource; strategies, which have none, count as trading."""
        segment = self.attributes.get(uid, {}).get("segment")
        return segment["__entity"]["id"] if segment else "trading"

    def requests(self, count: int) -> Iterator[Request]:
        """Draw the requests of the stream."""
        kinds = (
            (self.order, 55), (self.cancel, 12), (self.market_data, 15), (self.customer, 6), (self.settlement, 5),
            (self.repository, 3), (self.sensitive, 2), (self.connection, 2),
        )  # fmt: skip
        makers, weights = zip(*kinds, strict=True)
        for make in self.chance.choices(makers, weights, k=count):
            yield make()

    def one(self, *types: str) -> str:
        """Draw an entity of one of these types."""
        return self.chance.choice(self.by_type[self.chance.choice(types)])

    def shown(self) -> dict[str, Any]:
        """Draw what a principal proves in its session, at and around the ages that policies ask for."""
        factors = self.chance.choice((["fido2"], ["fido2", "password"], ["password", "totp"], ["password"]))
        return {"age": self.chance.choice((15, 59, 60, 240, 300, 840, 7_200)), "factors": factors}

    def order(self) -> Request:
        """Draw an order: usually in an algorithm's own instruments, at and around the caps."""
        chance = self.chance
        principal = self.one("Algo") if chance.random() < 0.8 else self.one("Human", "Agent")
        own = self.instruments_of.get(principal)
        resource = chance.choice(own) if own and chance.random() < 0.9 else self.one("Instrument")
        cap = self.attributes[principal].get("maxNotional", 1_000_000)
        notional = chance.choice((cap // 20, cap // 4, cap - 1, cap, cap + 1, 40_000, 5_000_000, 5_000_001))
        qty = chance.choice((100, 250, 999, 1_000, 1_001, 10_000, 60_000))
        context: dict[str, Any] = {"notional": notional, "qty": qty}
        if chance.random() < 0.3:
            context["collarBps"] = chance.choice((0, 50, 100, 101, 500, 501, -500, -501))
        if principal.startswith("Agent"):
            context |= {
                "onBehalfOf": self.one("Human"),
                "consentAge": self.chance.choice(("15s", "9m", "10m", "11m", "2h")),
            }
            context.setdefault("collarBps", 40)
        action = "order.new" if chance.random() < 0.85 else "order.amend"
        return Request(principal, action, resource, context)

    def cancel(self) -> Request:
        """Draw a cancel, usually in the algorithm's own instruments."""
        principal = self.one("Algo", "Algo", "Human")
        own = self.instruments_of.get(principal)
        return Request(principal, "order.cancel", self.chance.choice(own) if own else self.one("Instrument"), {})

    def market_data(self) -> Request:
        """Draw a subscription to a feed or a request for a book."""
        context: dict[str, Any] = {}
        if self.chance.random() < 0.4:
            context["clientIp"] = self.chance.choice(("10.20.1.5", "10.99.0.1", "203.0.113.9", "fd00::1"))
        if self.chance.random() < 0.3:
            context["depth"] = self.chance.choice((1, 10, 50, 51))
        action, resource = self.chance.choice((("book.read", "OrderBook"), ("marketdata.subscribe", "Feed")))
        return Request(self.one("Algo", "Human", "Agent", "Service"), action, self.one(resource), context)

    def customer(self) -> Request:
        """Draw a read or an export of a customer's account, in half of the cases by its own advisor."""
        resource = self.one("CustomerAccount")
        advisor = self.attributes[resource]["advisor"]["__entity"]["id"]
        principal = (
            f'Human::"{advisor}"' if self.chance.random() < 0.5 else self.one("Human", "Service", "Agent", "Algo")
        )
        context: dict[str, Any] = {
            "purpose": self.chance.choice(("service", "statement", "case-7", "curiosity")),
            "fields": self.chance.choice((["balance"], ["balance", "name"], ["tax-id"], [])),
            "clientIp": self.chance.choice(("10.1.2.3", "127.0.0.1", "198.51.100.7")),
        }
        action = self.chance.choice(("customer.read", "customer.read", "customer.export"))
        proves = action == "customer.export" and principal.startswith("Human")
        return Request(principal, action, resource, context, self.shown() if proves else None)

    def settlement(self) -> Request:
        """Draw a read or an approval of a settlement instruction."""
        resource = self.one("Settlement::Instruction")
        attributes = self.attributes[resource]
        principal = self.one("Human", "Contract")
        if "contract" in attributes and self.chance.random() < 0.5:
            principal = f'Contract::"{attributes["contract"]["__entity"]["id"]}"'
        if self.chance.random() < 0.5:
            return Request(principal, "settlement.read", resource, {})
        context = {
            "amount": attributes["amount"] + self.chance.choice((0, 0, 0, 1)),
            "valueDate": "2026-11-20",
            "at": self.chance.choice(
                ("2026-11-19T23:59:59Z", "2026-11-20T00:00:00Z", "2026-11-24T12:00:00Z", "2026-11-25")
            ),
        }
        return Request(principal, "settlement.approve", resource, context, self.shown())

    def repository(self) -> Request:
        """Draw a read or a write of a strategy's source."""
        branch = self.chance.choice(("main", "release/7", "feature/x", "agent/idea"))
        action = self.chance.choice(("repo.read", "repo.write"))
        return Request(self.one("Human", "Agent", "Service"), action, self.one("AlgoRepository"), {"branch": branch})

    def sensitive(self) -> Request:
        """Draw a change of the rules, a use of the kill switch, or a deployment."""
        if self.chance.random() < 0.5:
            change = {"ticket": self.chance.choice(("CHG-1", "later")), "emergency": self.chance.random() < 0.3}
            action = self.chance.choice(("rules.modify", "kill.engage"))
            return Request(self.one("Human"), action, self.one("PolicySet"), {"change": change}, self.shown())
        context = {
            "at": self.chance.choice(("2026-11-20T05:59:59Z", "2026-11-20T12:00:00Z", "2026-11-20T21:00:00Z")),
            "reviewers": [self.one("Human")],
            "ticket": self.chance.choice(("CHG-2", "none")),
        }
        principal = self.one("Human", "Service")
        return Request(principal, "strategy.deploy", self.one("Strategy"), context, self.shown())

    def connection(self) -> Request:
        """Draw a connection to a venue."""
        session = {
            "host": self.chance.choice(("10.20.7.7", "10.21.0.1")),
            "protocol": self.chance.choice(("FIX.4.4", "FIX.5.0", "telnet")),
            "tls": self.chance.random() < 0.9,
        }
        return Request(self.one("Algo", "Service"), "venue.connect", self.one("Venue"), {"session": session})
