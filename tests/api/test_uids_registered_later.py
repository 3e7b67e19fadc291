"""Uids that a process which only decides names before an authority registers them: there they have two numbers, and are
one entity all the same.
"""

from __future__ import annotations

from ctypes import byref, c_int64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztfast
from tests.embed import table
from ztfast import Code

SCHEMA = """
entity Grp;
entity User in [Grp];
action approve appliesTo {
  principal: User, resource: User, context: { by: User, seen: Set<User>, live: { onBehalfOf?: User } },
};
action act appliesTo { principal: User, resource: User, context: { n: Long } };
"""
POLICIES = """
permit (principal, action, resource);
@id("self") forbid (principal, action == Action::"act", resource) when { principal == resource };
@id("by") forbid (principal, action == Action::"approve", resource) when { context.by == principal };
@id("seen") forbid (principal, action == Action::"approve", resource) when { context.seen.contains(principal) };
@id("for") forbid (principal, action == Action::"approve", resource)
when { context.live has onBehalfOf && context.live.onBehalfOf == context.by };
@id("banned") forbid (principal in Grp::"banned", action, resource);
"""
NEW, OTHER, BANNED = 'User::"new"', 'User::"other"', 'Grp::"banned"'
BANNED_NEW = [
    {"uid": {"type": "User", "id": "new"}, "attrs": {}, "parents": [{"type": "Grp", "id": "banned"}]},
]


def compiled(entities: list[dict[str, Any]] | None = None) -> ztfast.Bundle:
    schema = ztfast.Text(SCHEMA, "s.cedarschema")
    return ztfast.compile(ztfast.Text(POLICIES), schema=schema, entities=entities or [], warnings="ignore")


class Two:
    """An authority and an engine that only decides, which has named both users before the authority knew them."""

    def __init__(self, state: Path, entities: list[dict[str, Any]] | None = None) -> None:
        self.authority = ztfast.Engine(compiled(), state=state, sessions=16, handles=256)
        self.decider = ztfast.Engine(compiled(entities), state=state, role="decide")
        self.early, self.other = self.decider.resource(NEW), self.decider.resource(OTHER)
        self.act = self.decider.prepare("act", "n")
        self.approve = self.decider.prepare("approve", "by", "seen")

    def admitted(self, uid: str = NEW, **given: Any) -> ztfast.Session:
        made = self.authority.admit(ztfast.Identity(uid, not_after=float("inf"), **given))
        return self.decider.session(made.id)

    def acted(self, session: ztfast.Session, resource: ztfast.EntityHandle) -> set[str]:
        """Decide on an act in every way."""
        codes = {self.act.decide(session, resource, 1).code, self.act.decide(session, resource, 1).code}
        codes.add("ALLOW" if self.act.allows(session, resource, 1) else "FORBID")
        codes |= {Code(code).name for code in self.act.decide_many(session, [resource, resource], np.array([1, 2]))}
        codes.add(self.decider.decide(session, "act", resource, {"n": 1}).code)
        codes.add(self.decider.decide(session, "act", str(resource.uid), {"n": 1}).code)
        return codes

    def approved(self, session: ztfast.Session, by: Any, seen: tuple[Any, ...]) -> set[str]:
        codes = set()
        for _ in range(3):
            codes.add(self.approve.decide(session, self.other, by, seen).code)
            codes.add("ALLOW" if self.approve.allows(session, self.other, by, seen) else "FORBID")
        context = {"by": by, "seen": list(seen)}
        codes.add(self.decider.decide(session, "approve", self.other, context).code)
        return codes


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path / "desk")


def test_a_principal_is_the_resource_that_was_named_before(two: Two) -> None:
    session = two.admitted()
    assert two.acted(session, two.early) == {"FORBID"}
    assert two.acted(session, two.other) == {"ALLOW"}
    two.decider.swap(compiled())
    assert two.acted(session, two.early) == {"FORBID"}
    assert two.acted(session, two.other) == {"ALLOW"}


def test_what_was_asked_before_the_uid_was_registered_is_not_remembered(two: Two) -> None:
    first = two.admitted('User::"first"')
    for _ in range(3):
        assert two.approved(first, two.early, (two.early, two.other)) == {"ALLOW"}
        assert two.acted(first, two.early) == {"ALLOW"}
    session = two.admitted()
    assert two.approved(session, two.early, (two.other,)) == {"FORBID"}
    assert two.approved(session, two.other, (two.early,)) == {"FORBID"}
    assert two.approved(session, two.other, (two.other, two.early)) == {"FORBID"}
    assert two.approved(session, two.other, (two.other,)) == {"ALLOW"}
    assert two.approved(first, two.early, (two.early, two.other)) == {"ALLOW"}


def test_whom_an_agent_acts_for_is_the_user_that_was_named_before(two: Two) -> None:
    session = two.admitted('User::"agent"', on_behalf_of=NEW)
    assert two.approved(session, two.early, (two.other,)) == {"FORBID"}
    assert two.approved(session, two.other, (two.other,)) == {"ALLOW"}


@pytest.mark.parametrize("entities", [[], [{"uid": {"type": "User", "id": "new"}, "attrs": {}, "parents": []}]])
def test_a_change_reaches_the_session_of_a_principal_that_was_named_before(
    tmp_path: Path, entities: list[dict[str, Any]]
) -> None:
    two = Two(tmp_path / "desk", entities)
    session = two.admitted()
    assert two.acted(session, two.other) == {"ALLOW"}
    two.decider.upsert(BANNED_NEW)
    assert two.acted(session, two.other) == {"FORBID"}
    assert two.acted(two.admitted(), two.other) == {"FORBID"}
    two.decider.remove([NEW])
    assert two.acted(session, two.other) == {"ALLOW"}


def test_a_change_before_the_uid_is_registered_reaches_the_session_after(two: Two) -> None:
    two.decider.upsert(BANNED_NEW)
    session = two.admitted()
    assert two.acted(session, two.other) == {"FORBID"}
    two.decider.remove([NEW])
    assert two.acted(session, two.other) == {"ALLOW"}
    assert two.acted(session, two.early) == {"FORBID"}


def test_a_kill_of_a_uid_that_was_named_before_stops_it(two: Two) -> None:
    session = two.admitted('User::"first"')
    kill = two.authority.kill(NEW, by="ann", reason="a test")
    assert two.acted(session, two.early) <= {"KILLED", "FORBID"}
    two.authority.release_kill(kill, by="bob", reason="a test")
    assert two.acted(session, two.early) == {"ALLOW"}


@pytest.mark.parametrize("as_element", [False, True])
def test_a_call_that_brought_a_uid_before_it_was_registered_is_no_call_any_more(two: Two, as_element: bool) -> None:
    api = table.functions()
    gate = table.clone(api, two.approve.address)
    first = two.admitted('User::"first"')
    for session, expected in ((first, Code.ALLOW), (two.admitted, Code.CORRUPT)):
        by, seen = c_int64(), c_int64()
        others = table.values(c_int64((two.early if as_element else two.other).handle).value)
        assert api["begin"](gate) == 0
        assert api["entity"](gate, (two.other if as_element else two.early).handle, 0, byref(by)) == 0
        assert api["set"](gate, others, 1, 1, byref(seen)) == 0
        # The second one is admitted, and so registered, within the call.
        asking = session() if callable(session) else session
        given = table.values(by.value, seen.value)
        assert api["allows"](gate, asking.id, two.other.handle, given, 2) == expected
    assert api["gate_free"](gate) == 0
