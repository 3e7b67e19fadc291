"""The Python side of the examples: the example desk, its sessions and gates, and a stream of orders.

Python prepares once; the loops then decide by numbers alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import ztfast


@dataclass(frozen=True)
class Desk:
    """The example desk, ready to decide.

    Attributes:
        engine: The engine, over the desk's bundle.
        order_new: A gate whose values are notional (whole US dollars) and quantity (pieces).
        order_cancel: A gate whose value is the person on whose behalf an agent cancels.
        traders: The sessions of the algorithms and of the human traders.
        agents: The sessions of the AI agents.
        instruments: The handles of the instruments.
        people: The handles of the people on whose behalf agents act.
    """

    engine: ztfast.Engine
    order_new: ztfast.Gate
    order_cancel: ztfast.Gate
    traders: list[ztfast.Session]
    agents: list[ztfast.Session]
    instruments: list[ztfast.EntityHandle]
    people: list[ztfast.EntityHandle]


@dataclass(frozen=True)
class Orders:
    """New orders as columns, and their cancels.

    Attributes:
        sessions: The sender's ``session.id``, uint64.
        instruments: The instrument's ``resource.handle``, uint64.
        notional: Whole US dollars, int64.
        quantity: Pieces, int64.
        agents: The ``session.id`` of the agent that cancels, uint64.
        people: The ``resource.handle`` of the person on whose behalf it cancels, uint64.
    """

    sessions: NDArray[np.uint64]
    instruments: NDArray[np.uint64]
    notional: NDArray[np.int64]
    quantity: NDArray[np.int64]
    agents: NDArray[np.uint64]
    people: NDArray[np.uint64]


def desk_bundle(*forbidden: str) -> ztfast.Bundle:
    """Compile the desk's policies with a forbid of all orders in the named instruments, as a risk officer would add."""
    folder = ztfast.examples.desk()
    more = "".join(
        f'@id("halt-{name}") forbid (principal, action in [Action::"order.new", Action::"order.cancel"], '
        f'resource == Instrument::"{name}");\n'
        for name in forbidden
    )
    text = "\n".join(path.read_text() for path in sorted((folder / "policies").glob("*.cedar")))
    return ztfast.compile(
        ztfast.Text(text + more),
        schema=folder / "desk.cedarschema",
        entities=folder / "desk.entities.json",
        exempt='Action::"reduce-risk"',
    )


def open_desk() -> Desk:
    """Open the desk with a session for each trader and agent."""
    engine = ztfast.Engine(desk_bundle())
    names: dict[str, list[str]] = {}
    for entity in json.loads((ztfast.examples.desk() / "desk.entities.json").read_text()):
        names.setdefault(entity["uid"]["type"], []).append(entity["uid"]["id"])

    def admit(kind: str) -> list[ztfast.Session]:
        uids = [ztfast.Uid(kind, name) for name in names[kind]]
        return [engine.admit(ztfast.Identity(uid, not_after=math.inf, factors=["x509"])) for uid in uids]

    def resources(kind: str) -> list[ztfast.EntityHandle]:
        return [engine.resource(ztfast.Uid(kind, name)) for name in names[kind]]

    return Desk(
        engine=engine,
        order_new=engine.prepare("order.new", "notional", "qty"),
        order_cancel=engine.prepare("order.cancel", "onBehalfOf"),
        traders=admit("Algo") + admit("Human")[:20],
        agents=admit("Agent"),
        instruments=resources("Instrument"),
        people=resources("Human"),
    )


def draw(desk: Desk, count: int, seed: int = 1) -> Orders:
    """Draw orders: half of them in instruments that the trader may trade, so that caps decide; the others at random."""
    chance = np.random.default_rng(seed)
    traders = np.array([session.id for session in desk.traders], np.uint64)
    instruments = np.array([resource.handle for resource in desk.instruments], np.uint64)
    who, what = np.repeat(traders, len(instruments)), np.tile(instruments, len(traders))
    reach = np.flatnonzero(desk.order_new.decide_many(who, what, 1_000, 10) == ztfast.Code.ALLOW)
    pairs = np.where(chance.random(count) < 0.5, chance.choice(reach, count), chance.integers(0, len(who), count))
    quantity = chance.integers(1, 2_000, count)
    return Orders(
        sessions=who[pairs],
        instruments=what[pairs],
        notional=quantity * chance.integers(5, 500, count),
        quantity=quantity,
        agents=chance.choice(np.array([session.id for session in desk.agents], np.uint64), count),
        people=chance.choice(np.array([resource.handle for resource in desk.people], np.uint64), count),
    )
