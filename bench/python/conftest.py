"""Fixtures of the benchmarks: a world, its bundle, and an engine over it."""

from __future__ import annotations

import pytest

import ztfast
from bench.python.worlds import WORLDS, Opened, Rows, World, bundle_of, world_named


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    """Give each world in turn."""
    return world_named(request.param)


@pytest.fixture
def bundle(world: World) -> ztfast.Bundle:
    """Give the world's bundle."""
    return bundle_of(world.name)


@pytest.fixture
def opened(world: World, bundle: ztfast.Bundle) -> Opened:
    """Open a new engine over the world, so that no benchmark sees the changes of another."""
    return Opened(world, bundle)


@pytest.fixture
def rows(opened: Opened) -> Rows:
    """Make a thousand rows over the same engine."""
    return Rows(opened)
