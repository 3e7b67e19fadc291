"""Fixtures of the benchmarks: a world, its bundle, and an engine over it."""

from __future__ import annotations

import pytest

import ztfast
from bench.python.worlds import WORLDS, Opened, Rows, World, bundle_of, world_named


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    """Each world in turn."""
    return world_named(request.param)


@pytest.fixture
def bundle(world: World) -> ztfast.Bundle:
    """The world's bundle."""
    return bundle_of(world.name)


@pytest.fixture
def opened(world: World, bundle: ztfast.Bundle) -> Opened:
    """A new engine over the world: what one benchmark changes is not what the next one times."""
    return Opened(world, bundle)


@pytest.fixture
def rows(opened: Opened) -> Rows:
    """A thousand rows over the same engine."""
    return Rows(opened)
