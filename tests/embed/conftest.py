"""What the tests of the table share: its functions, and a session and a book of the module's own engine."""

from __future__ import annotations

import math
from typing import Any

import pytest

import ztfast
from tests.embed import table


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return table.functions()


@pytest.fixture
def ann(engine: ztfast.Engine) -> ztfast.Session:
    return engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))


@pytest.fixture
def book(engine: ztfast.Engine) -> ztfast.EntityHandle:
    return engine.resource('Book::"b1"')
