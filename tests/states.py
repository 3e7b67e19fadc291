"""Engines over the tiny example, whose state other engines may share, and what they decide for a session."""

from __future__ import annotations

import math
from pathlib import Path

import ztfast

__all__ = ["ANN", "P1", "code", "engine", "identity"]

ANN, P1 = 'User::"ann"', 'Photo::"p1"'


def engine(state: Path | None, role: str = "authority", **options: object) -> ztfast.Engine:
    given = {"sessions": 16, "handles": 256} | options
    return ztfast.Engine(ztfast.examples.tiny(), state=state, role=role, **given)  # type: ignore[arg-type]


def identity(principal: str = ANN, **what: object) -> ztfast.Identity:
    return ztfast.Identity(principal, **({"not_after": math.inf} | what))  # type: ignore[arg-type]


def code(engine: ztfast.Engine, session: ztfast.Session) -> str:
    """Return the code of a decision, in every way of deciding."""
    gate, resource = engine.prepare("view"), engine.resource(P1)
    codes = {
        gate.decide(session, resource).code,
        engine.decide(session, "view", P1).code,
        ztfast.Code(gate.decide_many(session, [resource])[0]).name,
    }
    assert gate.allows(session, resource) is (codes == {"ALLOW"})
    (found,) = codes
    return found
