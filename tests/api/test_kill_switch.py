"""The kill switch: exempt actions, stopped actions and groups, and stopped actions over swaps."""

from __future__ import annotations

import math
from typing import Any

import pytest

import ztfast

SCHEMA = """\
entity User; entity Book;
action "reduce-risk"; action "pull" in ["reduce-risk"]; action "trade";
action "order.new" in ["trade"] appliesTo { principal: User, resource: Book, context: { qty: Long } };
action "order.amend" in ["trade"] appliesTo { principal: User, resource: Book };
action "order.cancel" in ["pull"] appliesTo { principal: User, resource: Book, context: { why?: String } };
"""
ENTITIES = [{"uid": {"type": "Book", "id": "b1"}, "attrs": {}, "parents": []}]


def bundle(schema: str = SCHEMA, **options: Any) -> ztfast.Bundle:
    policies = ztfast.Text("permit (principal, action, resource);")
    return ztfast.compile(policies, schema=ztfast.Text(schema, "s.cedarschema"), entities=ENTITIES, **options)


class Desk:
    def __init__(self, of: ztfast.Bundle) -> None:
        self.engine = ztfast.Engine(of, sessions=8, handles=64)
        self.session = self.engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        self.book = self.engine.resource('Book::"b1"')
        self.new = self.engine.prepare("order.new", "qty")
        self.amend = self.engine.prepare("order.amend")
        self.cancel = self.engine.prepare("order.cancel", "why")

    def killed(self) -> set[str]:
        """Return which actions are stopped, after checking that all ways of deciding agree."""
        calls: tuple[tuple[ztfast.Gate, tuple[Any, ...], dict[str, Any]], ...] = (
            (self.new, (1,), {"qty": 1}),
            (self.amend, (), {}),
            (self.cancel, ("a text",), {"why": "a text"}),
        )
        stopped = set()
        for gate, values, context in calls:
            name = gate.action.removeprefix('Action::"').removesuffix('"')
            code = gate.decide(self.session, self.book, *values).code
            assert code in ("ALLOW", "KILLED")
            kills = code == "KILLED"
            assert gate.allows(self.session, self.book, *values) is not kills
            number = ztfast.Code.KILLED if kills else ztfast.Code.ALLOW
            assert gate.decide_many(self.session, self.book, *values).tolist() == [number]
            assert gate.decide_many([self.session] * 3, [self.book] * 3, *values).tolist() == [number] * 3
            assert self.engine.decide(self.session, name, self.book, context).code == code
            assert bool(self.engine.entitled(self.session, name, context)) is not kills
            assert self.engine.entitlements(self.session, name, context).any() != kills
            # By policy alone there is no kill switch.
            assert self.engine.evaluate('User::"ann"', name, self.book, context)
            if kills:
                stopped.add(name)
        assert self.engine.killed or not stopped
        return stopped


EXEMPT = 'Action::"reduce-risk"'
NEW, AMEND, CANCEL = "order.new", "order.amend", "order.cancel"


@pytest.fixture
def desk() -> Desk:
    return Desk(bundle(exempt=EXEMPT))


def test_what_the_bundle_exempts_passes(desk: Desk) -> None:
    desk.engine.kill_switch(True)
    assert desk.killed() == {NEW, AMEND}
    desk.engine.kill_switch(False)
    assert desk.killed() == set()
    assert not desk.engine.killed


def test_without_an_exemption_everything_is_stopped() -> None:
    desk = Desk(bundle())
    desk.engine.kill_switch(True)
    assert desk.killed() == {NEW, AMEND, CANCEL}


def test_everything_is_stopped_where_it_is_said(desk: Desk) -> None:
    desk.engine.kill_switch(True, actions=ztfast.ALL_ACTIONS)
    assert desk.killed() == {NEW, AMEND, CANCEL}
    desk.engine.kill_switch(False, actions=ztfast.ALL_ACTIONS)
    assert desk.killed() == set()


@pytest.mark.parametrize(
    ("actions", "stopped"),
    [
        (["order.new"], {NEW}),
        ("order.new", {NEW}),
        (ztfast.Uid("Action", "order.cancel"), {CANCEL}),
        (['Action::"order.amend"', "order.cancel"], {AMEND, CANCEL}),
        (["trade"], {NEW, AMEND}),
        ([EXEMPT], {CANCEL}),
        (['Action::"pull"'], {CANCEL}),
    ],
    ids=str,
)
def test_actions_and_groups_are_named(desk: Desk, actions: Any, stopped: set[str]) -> None:
    desk.engine.kill_switch(True, actions=actions)
    assert desk.killed() == stopped
    desk.engine.kill_switch(False, actions=actions)
    assert desk.killed() == set()
    assert not desk.engine.killed


def test_switches_do_not_lift_each_other(desk: Desk) -> None:
    desk.engine.kill_switch(True, actions=["order.cancel"])
    desk.engine.kill_switch(True)
    assert desk.killed() == {NEW, AMEND, CANCEL}
    desk.engine.kill_switch(False, actions=["order.new"])
    assert desk.killed() == {NEW, AMEND, CANCEL}
    desk.engine.kill_switch(False, actions=["order.cancel"])
    assert desk.killed() == {NEW, AMEND}
    desk.engine.kill_switch(True, actions=["trade"])
    desk.engine.kill_switch(False)
    assert desk.killed() == set()


@pytest.mark.parametrize(
    "actions", [["order.nwe"], ['Action::"nothing"'], ['User::"ann"'], ["order.new", "nothing"]], ids=str
)
def test_an_unknown_action_raises_and_stops_nothing(desk: Desk, actions: list[str]) -> None:
    with pytest.raises(ztfast.ActionError):
        desk.engine.kill_switch(True, actions=actions)
    assert desk.killed() == set()


def test_a_kill_holds_over_swaps(desk: Desk) -> None:
    desk.engine.kill_switch(True, actions=["order.cancel"])
    desk.engine.swap(bundle(exempt=EXEMPT))
    assert desk.killed() == {CANCEL}
    # A bundle that lacks the action, and one that has it again.
    without = SCHEMA.replace('action "order.cancel"', 'action "order.pull"')
    desk.engine.swap(bundle(without, exempt=EXEMPT), allow_stale=True)
    assert desk.engine.killed
    desk.engine.swap(bundle(exempt=EXEMPT), allow_stale=True)
    assert desk.killed() == {CANCEL}
    # The bundle says which actions are exempt.
    desk.engine.kill_switch(False)
    desk.engine.kill_switch(True)
    desk.engine.swap(bundle())
    assert desk.killed() == {NEW, AMEND, CANCEL}
    desk.engine.swap(bundle(exempt='Action::"trade"'))
    assert desk.killed() == {CANCEL}
    # An action that moves into a group is stopped with it.
    desk.engine.kill_switch(False)
    desk.engine.kill_switch(True, actions=["trade"])
    desk.engine.swap(bundle(SCHEMA.replace('in ["pull"]', 'in ["pull", "trade"]')))
    assert desk.killed() == {NEW, AMEND, CANCEL}


def test_lifting_what_the_bundle_no_longer_has(desk: Desk) -> None:
    desk.engine.kill_switch(True, actions=["order.cancel"])
    desk.engine.swap(bundle(SCHEMA.replace('action "order.cancel"', 'action "order.pull"')), allow_stale=True)
    desk.engine.kill_switch(False, actions=["order.cancel"])
    assert not desk.engine.killed


def test_the_exempt_group_is_kept_in_the_file(tmp_path: Any) -> None:
    path = tmp_path / "desk.ztb"
    bundle(exempt=ztfast.Uid("Action", "reduce-risk")).save(path)
    desk = Desk(ztfast.Bundle.load(path))
    desk.engine.kill_switch(True)
    assert desk.killed() == {NEW, AMEND}


@pytest.mark.parametrize("exempt", ['Action::"reduce-rsk"', 'Book::"b1"', 'User::"ann"', 'Actoin::"reduce-risk"'])
def test_an_unknown_group_is_an_error(exempt: str) -> None:
    with pytest.raises(ztfast.ActionError, match="exempt: the schema has no action"):
        bundle(exempt=exempt)


def test_the_session_is_still_looked_at(desk: Desk) -> None:
    desk.engine.kill_switch(True)
    desk.session.revoke()
    assert desk.cancel.decide(desk.session, desk.book, "a text").code == "REVOKED"
    assert desk.new.decide(desk.session, desk.book, 1).code == "KILLED"


@pytest.mark.parametrize("gone", [True, False])
def test_an_action_that_a_bundle_takes_out_of_a_stopped_group_stays_stopped(gone: bool) -> None:
    desk = Desk(bundle(exempt=EXEMPT))
    without = SCHEMA.replace('action "order.new" in ["trade"]', 'action "order.new"')
    if gone:
        without = without.replace('action "trade";', "").replace(
            'action "order.amend" in ["trade"]', 'action "order.amend"'
        )
    desk.engine.kill_switch(True, actions=['Action::"trade"'])
    assert desk.killed() == {"order.new", "order.amend"}
    desk.engine.swap(bundle(without, exempt=EXEMPT))
    assert desk.killed() == {"order.new", "order.amend"}
    desk.engine.compact()
    desk.engine.swap(bundle(without, exempt=EXEMPT))
    assert desk.killed() == {"order.new", "order.amend"}
    desk.engine.kill_switch(False, actions=['Action::"trade"'])
    assert desk.killed() == set()
    assert not desk.engine.killed
    # By the bundle of now, it is not in the group.
    if not gone:
        desk.engine.kill_switch(True, actions=['Action::"trade"'])
        assert desk.killed() == {"order.amend"}
        desk.engine.kill_switch(False)
    assert desk.killed() == set()
