"""The worlds of the benchmarks: the example desk, the book of ``ztfast bench``, an estate of a thousand policies.

Each world has one request that is allowed, values with which it is denied, and an entity whose change denies it. With
these, every benchmark checks the answer of what it times.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import ztfast
from bench.estate import SCHEMA, Estate
from ztfast.bench import workload

ROWS = 1_000
"""The rows of a batch, and the calls of a loop."""

HANDLES = 10_000
"""The numbers of sessions and of handles that an engine has room for."""

ESTATE = Estate(policies=1_000, principals=1_000, resources=1_000)

Entity = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Policies, a store, and requests.

    Attributes:
        name: The name in benchmarks.
        compile: Compiles the policies over the given entities.
        entities: The store.
        principal, action, resource, context: A request that is allowed.
        denied: The same attributes with values for which it is denied.
        changed: A changed entity, with which the request is denied.
        cancel: An action without required attributes that the principal may perform on the resource.
        others: Principals of the same type, for random rows.
    """

    name: str
    compile: Callable[[list[Entity]], ztfast.Bundle]
    entities: list[Entity]
    principal: str
    action: str
    resource: str
    context: dict[str, int]
    denied: dict[str, int]
    changed: Entity
    cancel: str
    others: list[str]

    @property
    def original(self) -> Entity:
        """The entity of the store that ``changed`` replaces."""
        return next(entity for entity in self.entities if entity["uid"] == self.changed["uid"])

    @property
    def changed_entities(self) -> list[Entity]:
        """The store with the changed entity."""
        return [self.changed if entity["uid"] == self.changed["uid"] else entity for entity in self.entities]


class Opened:
    """An engine over a world, with the session, handles and gate of the request that is allowed."""

    def __init__(self, world: World, bundle: ztfast.Bundle) -> None:
        self.world = world
        self.bundle = bundle
        # An engine with the default room for four million handles would take most of the time.
        self.engine = ztfast.Engine(bundle, sessions=HANDLES, handles=HANDLES)
        self.session = self.admit(world.principal)
        self.resource = self.engine.resource(world.resource)
        self.gate = self.engine.prepare(world.action, *world.context)
        self.values = tuple(world.context.values())

    def admit(self, principal: str) -> ztfast.Session:
        """Admit a session without end."""
        return self.engine.admit(ztfast.Identity(principal, not_after=math.inf))


class Rows:
    """Random principals and resources, the same in every run, in all forms that batches accept."""

    def __init__(self, opened: Opened) -> None:
        world, engine, draw = opened.world, opened.engine, random.Random(1)
        sessions = {principal: opened.admit(principal) for principal in world.others}
        resources = [str(uid) for uid in engine.resources(world.action)]
        self.principals = [draw.choice(world.others) for _ in range(ROWS)]
        self.resources = [draw.choice(resources) for _ in range(ROWS)]
        self.session_objects = [sessions[principal] for principal in self.principals]
        self.resource_objects = [engine.resource(resource) for resource in self.resources]
        self.session_ids = np.array([session.id for session in self.session_objects], np.uint64)
        self.resource_handles = np.array([resource.handle for resource in self.resource_objects], np.uint64)
        self.principal_handles = np.array([engine.resource(uid).handle for uid in self.principals], np.uint64)
        # Some rows exceed the limits.
        over = [draw.random() < 0.2 for _ in range(ROWS)]
        self.columns = [
            np.array([world.denied[name] if row else allowed for row in over], np.int64)
            for name, allowed in world.context.items()
        ]
        self.decisions = [
            engine.evaluate(principal, world.action, resource, dict(zip(world.context, map(int, values), strict=True)))
            for principal, resource, *values in zip(self.principals, self.resources, *self.columns, strict=True)
        ]
        self.codes = [decision.number for decision in self.decisions]


def desk() -> World:
    """Make the world of the example desk: an equity order of ``Algo::"a7"``."""
    folder = ztfast.examples.desk()

    def compile_desk(entities: list[Entity]) -> ztfast.Bundle:
        return ztfast.compile(
            folder / "policies",
            schema=folder / "desk.cedarschema",
            entities=entities,
            exempt='Action::"reduce-risk"',
        )

    entities = json.loads((folder / "desk.entities.json").read_text())
    algos = {entity["uid"]["id"]: entity for entity in entities if entity["uid"]["type"] == "Algo"}
    return World(
        name="desk",
        compile=compile_desk,
        entities=entities,
        principal='Algo::"a7"',
        action="order.new",
        resource='Instrument::"AAPL"',
        context={"notional": 250_000, "qty": 100},
        denied={"notional": 9_000_000, "qty": 100},
        changed={**algos["a7"], "attrs": {**algos["a7"]["attrs"], "quarantined": True}},
        cancel="order.cancel",
        others=[f'Algo::"{algo}"' for algo in algos],
    )


def book() -> World:
    """Make the world of the policies that ``ztfast bench`` measures, over a hundred algorithms and instruments."""

    def compile_book(entities: list[Entity]) -> ztfast.Bundle:
        return ztfast.compile(
            ztfast.Text(workload.POLICIES, "bench.cedar"),
            schema=ztfast.Text(workload.SCHEMA, "bench.cedarschema"),
            entities=entities,
        )

    entities = workload.entities()
    algo = next(entity for entity in entities if entity["uid"] == {"type": "Algo", "id": "a1"})
    return World(
        name="book",
        compile=compile_book,
        entities=entities,
        principal='Algo::"a1"',
        action="order.new",
        resource='Instrument::"i1"',
        context={"notional": 250_000, "qty": 100},
        denied={"notional": 250_000, "qty": 501},
        changed={**algo, "parents": []},
        cancel="order.cancel",
        others=[f'Algo::"a{number}"' for number in range(workload.ALGOS)],
    )


def estate() -> World:
    """Make the world of an estate of a thousand policies, principals and resources."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "estate.entities.json"
        ESTATE.write_entities(path)
        entities = json.loads(path.read_text())
    policies = ESTATE.policy_text()

    def compile_estate(entities: list[Entity]) -> ztfast.Bundle:
        return ztfast.compile(
            ztfast.Text(policies, "estate.cedar"), schema=ztfast.Text(SCHEMA, "estate.cedarschema"), entities=entities
        )

    algo = next(entity for entity in entities if entity["uid"] == {"type": "Algo", "id": "a0"})
    return World(
        name="estate",
        compile=compile_estate,
        entities=entities,
        principal=ESTATE.algo(0),
        action="order.new",
        resource=ESTATE.instrument(64),
        context={"qty": 500, "notional": 1_000},
        denied={"qty": 1_000_000, "notional": 1_000},
        changed={**algo, "parents": []},
        cancel="order.cancel",
        others=[ESTATE.algo(number) for number in range(ESTATE.principals)],
    )


WORLDS = {"desk": desk, "book": book, "estate": estate}


@cache
def world_named(name: str) -> World:
    """Return a world. It is made on the first call."""
    return WORLDS[name]()


@cache
def bundle_of(name: str) -> ztfast.Bundle:
    """Return a world's bundle. It is compiled on the first call."""
    world = world_named(name)
    return world.compile(world.entities)
