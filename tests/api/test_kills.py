"""Kills by scope and market states: whom they concern, in each way of deciding, until when, and who releases them."""

from __future__ import annotations

import datetime
import math
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

import ztfast
from ztfast import ALL_ACTIONS, Uid

SCHEMA = """\
entity Firm; entity Segment in [Firm]; entity Desk in [Segment]; entity Algo in [Desk];
entity Venue in [Segment]; entity Instrument in [Venue, Segment];
action "reduce-risk"; action "trade";
action "order.new" in ["trade"] appliesTo { principal: Algo, resource: Instrument, context: { qty: Long } };
action "order.tag" in ["trade"] appliesTo { principal: Algo, resource: Instrument, context: { tag: String } };
action "order.cancel" in ["reduce-risk"] appliesTo { principal: Algo, resource: Instrument };
"""
EXEMPT = 'Action::"reduce-risk"'
NEW, TAG, CANCEL = "order.new", "order.tag", "order.cancel"
CONTEXTS: dict[str, dict[str, Any]] = {NEW: {"qty": 1}, TAG: {"tag": "a text"}, CANCEL: {}}

PARENTS = {
    'Algo::"a1"': ['Desk::"d1"'],
    'Algo::"a2"': ['Desk::"d2"'],
    'Desk::"d1"': ['Segment::"s1"'],
    'Desk::"d2"': ['Segment::"s2"'],
    'Segment::"s1"': ['Firm::"f"'],
    'Segment::"s2"': ['Firm::"f"'],
    'Venue::"v1"': ['Segment::"s2"'],
    'Venue::"v2"': [],
    'Instrument::"i1"': ['Venue::"v1"'],
    'Instrument::"i2"': ['Venue::"v2"', 'Segment::"s1"'],
}


def entity(uid: str, parents: Iterable[str]) -> dict[str, Any]:
    def json(text: str) -> dict[str, str]:
        return Uid.parse(text)._asdict()

    return {"uid": json(uid), "attrs": {}, "parents": [json(parent) for parent in parents]}


def bundle(schema: str = SCHEMA, **options: Any) -> ztfast.Bundle:
    return ztfast.compile(
        ztfast.Text("permit (principal, action, resource);"),
        schema=ztfast.Text(schema, "s.cedarschema"),
        entities=[entity(uid, parents) for uid, parents in PARENTS.items()],
        **{"exempt": EXEMPT, **options},
    )


BUNDLE = bundle()
WHO = {"by": "ann", "reason": "a test"}


class Desk:
    """An engine, and every way in which it decides."""

    def __init__(self, of: ztfast.Bundle = BUNDLE) -> None:
        self.engine = ztfast.Engine(of, sessions=16, handles=256)
        self.gates = {
            NEW: self.engine.prepare(NEW, "qty"),
            TAG: self.engine.prepare(TAG, "tag"),
            CANCEL: self.engine.prepare(CANCEL),
        }
        self.sessions: dict[str, ztfast.Session] = {}

    def session(self, principal: str) -> ztfast.Session:
        if principal not in self.sessions:
            self.sessions[principal] = self.engine.admit(ztfast.Identity(principal, not_after=math.inf))
        return self.sessions[principal]

    def code(self, principal: str, action: str, resource: str) -> str:
        """Return the code of a decision, after checking that all ways of deciding agree."""
        session, handle, gate = self.session(principal), self.engine.resource(resource), self.gates[action]
        other = self.session('Algo::"other"')
        context = CONTEXTS[action]
        values = tuple(context.values())
        code = gate.decide(session, handle, *values).code
        number = ztfast.Code[code]
        assert gate.allows(session, handle, *values) is (code == "ALLOW")
        assert gate.decide_many(session, handle, *values).tolist() == [number]
        assert gate.decide_many([session, other, session], [handle] * 3, *values).tolist()[::2] == [number] * 2
        for given in (resource, handle):
            assert self.engine.decide(session, action, given, context).code == code
        if Uid.parse(resource) in self.engine.resources(action):
            at = self.engine.resources(action).index(Uid.parse(resource))
            assert self.engine.entitlements(session, action, context)[at] == (code == "ALLOW")
            assert (Uid.parse(resource) in self.engine.entitled(session, action, context)) == (code == "ALLOW")
        assert self.engine.explain(session, action, resource, context).decision.code == code
        # By policy alone there are no kills.
        assert self.engine.evaluate(principal, action, resource, context)
        assert gate.evaluate_many([self.engine.resource(principal)], [handle], *values).tolist() == [ztfast.Code.ALLOW]
        return code

    def killed(self, principal: str, resource: str) -> set[str]:
        codes = {action: self.code(principal, action, resource) for action in CONTEXTS}
        assert set(codes.values()) <= {"ALLOW", "KILLED"}
        return {action for action, code in codes.items() if code == "KILLED"}


A1, A2, I1, I2 = 'Algo::"a1"', 'Algo::"a2"', 'Instrument::"i1"', 'Instrument::"i2"'
UNKNOWN = 'Algo::"nobody"', 'Instrument::"none"'


@pytest.fixture
def desk() -> Desk:
    return Desk()


def pairs(desk: Desk) -> set[tuple[str, str]]:
    """Return for which principals and resources orders are stopped, after checking that cancels are not."""
    stopped = set()
    for principal in (A1, A2, UNKNOWN[0]):
        for resource in (I1, I2, UNKNOWN[1]):
            killed = desk.killed(principal, resource)
            assert killed in (set(), {NEW, TAG}), (principal, resource)
            if killed:
                stopped.add((principal, resource))
    return stopped


ALL = {(principal, resource) for principal in (A1, A2, UNKNOWN[0]) for resource in (I1, I2, UNKNOWN[1])}


@pytest.mark.parametrize(
    ("scope", "concerned"),
    [
        ("firm", {A1, A2, I1, I2, *UNKNOWN}),
        (A1, {A1}),
        ('Desk::"d1"', {A1}),
        ('Segment::"s1"', {A1, I2}),
        ('Segment::"s2"', {A2, I1}),
        ('Firm::"f"', {A1, A2, I1, I2}),
        ('Venue::"v1"', {I1}),
        (Uid("Venue", "v2"), {I2}),
        ({"type": "Instrument", "id": "i1"}, {I1}),
        (UNKNOWN[0], {UNKNOWN[0]}),
        (UNKNOWN[1], {UNKNOWN[1]}),
        ('Desk::"nobody"', set()),
        ('Algo::"d1"', set()),
        ('Venue::"V1"', set()),
    ],
    ids=str,
)
def test_a_kill_concerns_the_entity_and_what_is_in_it(desk: Desk, scope: Any, concerned: set[str]) -> None:
    assert pairs(desk) == set()
    kill = desk.engine.kill(scope, **WHO)
    assert desk.engine.kills() == [kill]
    assert pairs(desk) == {pair for pair in ALL if concerned & set(pair)}
    assert desk.engine.release_kill(kill, **WHO)
    assert pairs(desk) == set()
    assert not desk.engine.killed
    assert desk.engine.kills() == []


@pytest.mark.parametrize(
    ("actions", "stopped"),
    [
        (None, {NEW, TAG}),
        (ALL_ACTIONS, {NEW, TAG, CANCEL}),
        (NEW, {NEW}),
        (["trade"], {NEW, TAG}),
        ([EXEMPT], {CANCEL}),
        ([NEW, 'Action::"order.cancel"'], {NEW, CANCEL}),
    ],
    ids=str,
)
@pytest.mark.parametrize("scope", ["firm", 'Venue::"v1"'])
def test_a_kill_stops_its_actions(desk: Desk, scope: Any, actions: Any, stopped: set[str]) -> None:
    kill = desk.engine.kill(scope, actions, **WHO)
    assert desk.killed(A1, I1) == stopped
    assert desk.killed(A1, I2) == (stopped if scope == "firm" else set())
    named = None if actions is None else actions
    if isinstance(actions, (str, list)):
        named = tuple(
            sorted(
                Uid.of(one if "::" in one else Uid("Action", one))
                for one in ([actions] if isinstance(actions, str) else actions)
            )
        )
    assert desk.engine.kills()[0].actions == kill.actions == named


def test_a_kill_follows_the_entities(desk: Desk) -> None:
    kill = desk.engine.kill('Desk::"d1"', **WHO)
    assert desk.killed(A1, I1)
    assert not desk.killed(A2, I1)
    desk.engine.upsert([entity(A1, ['Desk::"d2"']), entity(A2, ['Desk::"d1"'])])
    assert not desk.killed(A1, I1)
    assert desk.killed(A2, I1)
    # One that the bundle does not name, in a desk that it does not name.
    desk.engine.upsert([entity('Desk::"d3"', []), entity('Algo::"a3"', ['Desk::"d3"'])])
    assert not desk.killed('Algo::"a3"', I1)
    other = desk.engine.kill('Desk::"d3"', **WHO)
    assert desk.killed('Algo::"a3"', I1)
    desk.engine.remove(['Algo::"a3"'])
    assert not desk.killed('Algo::"a3"', I1)
    desk.engine.release_kill(other, **WHO)
    # A swap drops the changes, and no kill.
    desk.engine.swap(BUNDLE)
    assert desk.killed(A1, I1)
    assert not desk.killed(A2, I1)
    desk.engine.release_kill(kill, **WHO)
    assert not desk.killed(A1, I1)


def test_an_entity_that_the_bundle_lacks_is_killed_before_it_comes(desk: Desk) -> None:
    desk.engine.kill('Venue::"v9"', **WHO)
    assert not desk.killed(A1, I1)
    desk.engine.upsert([entity(I1, ['Venue::"v9"'])])
    assert desk.killed(A1, I1)


def test_an_action_that_leaves_a_killed_group_stays_killed(desk: Desk) -> None:
    kill = desk.engine.kill('Venue::"v1"', ["trade"], **WHO)
    without = SCHEMA.replace('action "order.new" in ["trade"]', 'action "order.new"')
    desk.engine.swap(bundle(without))
    assert desk.killed(A1, I1) == {NEW, TAG}
    desk.engine.release_kill(kill, **WHO)
    desk.engine.kill('Venue::"v1"', ["trade"], **WHO)
    assert desk.killed(A1, I1) == {TAG}


def test_kills_do_not_release_each_other(desk: Desk) -> None:
    venue, firm = (desk.engine.kill(scope, **WHO) for scope in ('Venue::"v1"', "firm"))
    same = desk.engine.kill('Venue::"v1"', by="bob", reason="a test")
    assert len({venue.id, same.id, firm.id}) == 3
    assert desk.engine.kills() == [venue, firm, same]
    desk.engine.kill_switch(True)
    desk.engine.kill_switch(False)
    assert desk.engine.kills() == [venue, firm, same], "the switch lifts only its own"
    desk.engine.release_kill(firm, **WHO)
    desk.engine.release_kill(venue.id, **WHO)
    assert desk.killed(A1, I1)
    assert not desk.killed(A1, I2)
    desk.engine.release_kill(same, **WHO)
    assert not desk.killed(A1, I1)
    with pytest.raises(ztfast.ReleaseError, match="no kill"):
        desk.engine.release_kill(same, **WHO)


def test_the_switch_is_a_kill_of_the_firm(desk: Desk) -> None:
    desk.engine.kill_switch(True, actions=[NEW, "trade"])
    switched = desk.engine.kills()
    assert {(kill.scope, kill.by, kill.actions) for kill in switched} == {
        ("firm", "kill_switch", (Uid("Action", NEW),)),
        ("firm", "kill_switch", (Uid("Action", "trade"),)),
    }
    # Stopping them again adds none, and each can be released as any kill.
    desk.engine.kill_switch(True, actions=["trade"])
    assert desk.engine.kills() == switched
    for kill in switched:
        desk.engine.release_kill(kill, **WHO)
    assert desk.killed(A1, I1) == set()


def test_a_kill_ends_by_itself(desk: Desk) -> None:
    until = time.time() + 0.4
    for given in (
        until,
        datetime.datetime.fromtimestamp(until, datetime.UTC),
        datetime.datetime.fromtimestamp(until, datetime.UTC).isoformat(),
    ):
        kill = desk.engine.kill('Venue::"v1"', until=given, by=type(given).__name__, reason="a test")
        assert kill.until == pytest.approx(until, abs=1e-5)
    assert len(desk.engine.kills()) == 3
    assert desk.killed(A1, I1) or time.time() > until - 0.05
    time.sleep(max(0.0, until + 0.05 - time.time()))
    assert desk.engine.kills() == []
    assert not desk.engine.killed
    assert desk.killed(A1, I1) == set()
    with pytest.raises(ztfast.ReleaseError):
        desk.engine.release_kill(kill, **WHO)
    assert desk.engine.kill(until=math.inf, **WHO).until is None


def test_a_kill_ends_by_the_clock_of_the_engine() -> None:
    engine = ztfast.Engine(BUNDLE, sessions=8, handles=64, clock="caller")
    engine.set_time(1_000 * 10**9)
    session = engine.admit(ztfast.Identity(A1, not_after=math.inf))
    gate, resource = engine.prepare(NEW, "qty"), engine.resource(I1)
    engine.kill('Venue::"v1"', until=2_000, **WHO)
    for seconds, wanted in ((1_000, "KILLED"), (1_999, "KILLED"), (2_000, "ALLOW")):
        engine.set_time(seconds * 10**9)
        assert gate.decide(session, resource, 1).code == wanted, seconds
        assert gate.decide_many(session, resource, 1).tolist() == [ztfast.Code[wanted]], seconds
        assert engine.decide(session, NEW, I1, {"qty": 1}).code == wanted, seconds
        assert engine.killed is (wanted == "KILLED")
    with pytest.raises(ztfast.ArgumentError, match="over"):
        engine.kill(until=2_000, **WHO)


@pytest.mark.parametrize("until", [0, -1, time.time() - 5, "2020-01-01T00:00:00+00:00", -math.inf])
def test_an_end_that_is_over_is_refused(desk: Desk, until: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="over"):
        desk.engine.kill(until=until, **WHO)
    assert not desk.engine.killed


@pytest.mark.parametrize(
    "until", ["tomorrow", float("nan"), 1e12, datetime.datetime(2030, 1, 1), True, [], b"1"], ids=repr
)
def test_an_end_that_is_no_time_is_refused(desk: Desk, until: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="until"):
        desk.engine.kill(until=until, **WHO)
    assert not desk.engine.killed


def test_two_persons_release_a_kill(desk: Desk) -> None:
    engine = desk.engine
    kill = engine.kill('Venue::"v1"', two_persons=True, **WHO)
    assert kill.two_persons
    assert kill.asked_by is None
    assert engine.release_kill(kill, by="ann", reason="over") is False
    assert engine.kills()[0].asked_by == "ann"
    for same in ("ann", "  Ann ", "\uff41nn"):
        with pytest.raises(ztfast.ReleaseError, match="another person"):
            engine.release_kill(kill, by=same, reason="over")
    assert desk.killed(A1, I1) == {NEW, TAG}
    assert engine.release_kill(kill, by="bob", reason="over") is True
    assert desk.killed(A1, I1) == set()

    kill = engine.kill('Venue::"v1"', two_persons=True, **WHO)
    with pytest.raises(ztfast.ReleaseError):
        engine.release_kill(kill, by="ann", approved_by="ANN", reason="over")
    assert engine.kills() == [kill]
    assert engine.release_kill(kill, by="ann", approved_by="bob", reason="over") is True
    assert engine.kills() == []


@pytest.mark.parametrize("wrong", ["", "  ", None, 5, b"ann", "x" * 1000, "\ud800", ["ann"]], ids=repr)
def test_nobody_kills_without_a_name_and_a_reason(desk: Desk, wrong: Any) -> None:
    engine = desk.engine
    kill = engine.kill('Venue::"v1"', **WHO)
    for given in ({"by": wrong, "reason": "why"}, {"by": "ann", "reason": wrong}):
        with pytest.raises(ztfast.ArgumentError):
            engine.kill(**given)
        with pytest.raises(ztfast.ArgumentError):
            engine.market(I1, "halted", **given)
    for given in ({"by": wrong, "reason": "why"}, {"by": "ann", "reason": wrong}):
        if len(str(wrong)) < 900 or given["by"] == wrong:
            with pytest.raises(ztfast.ArgumentError):
                engine.release_kill(kill, **given)
    assert engine.kills() == [kill]
    assert engine.markets() == []


@pytest.mark.parametrize(
    "scope",
    ['Venu::"v1"', "v1", "Firm", "", None, 5, b"firm", EXEMPT, 'Venue::"' + "x" * 249 + '"', ["firm"]],
    ids=lambda scope: str(scope)[:20],
)
def test_a_scope_that_can_be_of_no_request_is_refused(desk: Desk, scope: Any) -> None:
    with pytest.raises(ztfast.Error):
        desk.engine.kill(scope, **WHO)
    with pytest.raises(ztfast.Error):
        desk.engine.market(scope, "halted", **WHO)
    assert not desk.engine.killed
    assert desk.engine.markets() == []


LISTED = SCHEMA.replace(
    "entity Venue in [Segment];", 'entity Kind enum ["bond", "share"]; entity Venue in [Segment, Kind];'
).replace("entity Algo in [Desk];", 'entity Floor; entity Tag enum ["t"]; entity Algo in [Desk] = { tag?: Tag };')


def test_a_scope_in_which_nothing_can_be_is_refused() -> None:
    engine = ztfast.Engine(bundle(LISTED))
    for scope in ('Tag::"t"', 'Floor::"f"'):
        with pytest.raises(ztfast.EntityError, match=r"no principal or resource .*: wanted one of Algo, Desk, Firm, "):
            engine.kill(scope, **WHO)
        with pytest.raises(ztfast.EntityError, match=r"no resource .*: wanted one of Firm, Instrument, Kind, "):
            engine.market(scope, "halted", **WHO)
    # Principals alone are in desks.
    engine.kill('Desk::"d1"', **WHO)
    with pytest.raises(ztfast.EntityError, match="no resource"):
        engine.market('Desk::"d1"', "halted", **WHO)
    assert [str(kill.scope) for kill in engine.kills()] == ['Desk::"d1"']
    assert engine.markets() == []
    # Of an enumerated type, only what the schema lists.
    assert engine.kill('Kind::"bond"', **WHO).in_scope == 0
    with pytest.raises(ztfast.EntityError, match="none of them"):
        engine.kill('Kind::"Bond"', **WHO)


def test_a_market_in_which_nothing_can_be_any_more_can_be_set_normal() -> None:
    engine = ztfast.Engine(bundle(SCHEMA))
    engine.market('Venue::"v1"', "halted", **WHO)
    other = "entity User, Doc, Venue; action see appliesTo { principal: User, resource: Doc, context: {} };"
    engine.swap(ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(other)))
    with pytest.raises(ztfast.EntityError, match="no resource"):
        engine.market('Venue::"v1"', "volatile", **WHO)
    engine.market('Venue::"v1"', "normal", **WHO)
    assert engine.markets() == []


@pytest.mark.parametrize(
    ("scope", "principals", "resources"),
    [
        (A1, 1, None),
        (I1, 0, 1),
        ('Desk::"d1"', 1, None),
        ('Segment::"s1"', 1, 1),
        ('Firm::"f"', 2, 2),
        ('Venue::"v1"', 0, 1),
        ('Venue::"v9"', 0, 0),
        (UNKNOWN[0], 0, None),
        (UNKNOWN[1], 0, 0),
    ],
)
def test_a_kill_and_a_market_say_how_much_they_concern(
    desk: Desk, scope: str, principals: int, resources: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    kill = desk.engine.kill(scope, **WHO)
    assert kill.in_scope == principals + (resources or 0)
    assert desk.engine.kills()[0].in_scope is None
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [f"no principal and no resource of the store is {scope} or in it" in text for text in warned] == (
        [] if kill.in_scope else [True]
    )
    if resources is None:
        return
    caplog.clear()
    market = desk.engine.market(scope, "halted", **WHO)
    assert market.in_scope == resources
    assert desk.engine.markets() == [market]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [f"no resource of the store is {scope} or in it" in text for text in warned] == ([] if resources else [True])


def test_what_a_kill_concerns_follows_the_entities(desk: Desk) -> None:
    assert desk.engine.kill("firm", **WHO).in_scope is None
    assert desk.engine.kill('Venue::"v9"', **WHO).in_scope == 0
    desk.engine.upsert([entity(I1, ['Venue::"v9"']), entity('Instrument::"new"', ['Venue::"v9"'])])
    assert desk.engine.kill('Venue::"v9"', **WHO).in_scope == 2
    assert desk.engine.market('Venue::"v9"', "volatile", **WHO).in_scope == 2
    assert desk.engine.market('Venue::"v1"', "volatile", **WHO).in_scope == 0
    desk.engine.remove([I1])
    assert desk.engine.kill('Venue::"v9"', **WHO).in_scope == 1


@pytest.mark.parametrize("actions", [[], "order.nwe", ['Venue::"v1"'], [NEW, "nothing"], b"view", 5])
def test_a_kill_that_stops_no_action_is_refused(desk: Desk, actions: Any) -> None:
    with pytest.raises(ztfast.Error):
        desk.engine.kill('Venue::"v1"', actions, **WHO)
    assert not desk.engine.killed


@pytest.mark.parametrize("wrong", [None, True, -1, 1 << 64, "5", 1.0, Uid("Venue", "v1"), object()], ids=repr)
def test_a_release_names_what_it_releases(desk: Desk, wrong: Any) -> None:
    kill = desk.engine.kill(**WHO)
    with pytest.raises(ztfast.Error):
        desk.engine.release_kill(wrong, **WHO)
    with pytest.raises(ztfast.ReleaseError):
        desk.engine.release_kill(kill.id ^ 1, **WHO)
    assert desk.engine.kills() == [kill]


def test_there_is_room_for_256_kills(desk: Desk) -> None:
    kills = [desk.engine.kill(f'Algo::"{number}"', **WHO) for number in range(248)]
    for scope in (A1, I1):
        with pytest.raises(ztfast.CapacityError, match="256 kills"):
            desk.engine.kill(scope, **WHO)
    assert desk.killed('Algo::"247"', I1)
    assert not desk.killed(A1, I1)
    # The last eight are for the whole firm.
    desk.engine.kill_switch(True)
    assert desk.killed(A1, I1)
    desk.engine.kill_switch(False)
    firm = [desk.engine.kill(by=str(number), reason="a test") for number in range(8)]
    with pytest.raises(ztfast.CapacityError):
        desk.engine.kill(**WHO)
    assert desk.killed(A1, I1)
    for kill in (*firm, kills[0]):
        desk.engine.release_kill(kill, **WHO)
    assert not desk.killed(A1, I1)
    desk.engine.kill(A1, **WHO)
    assert desk.killed(A1, I1)


def test_a_list_of_actions_is_stopped_as_a_whole_or_not_at_all(desk: Desk) -> None:
    kills = [desk.engine.kill(f'Algo::"{number}"', **WHO) for number in range(247)]
    actions = [action for action in desk.engine.bundle.actions if "cancel" not in action][:2]
    assert len(actions) == 2
    with pytest.raises(ztfast.CapacityError):
        desk.engine.kill_switch(True, actions=actions)
    assert len(desk.engine.kills()) == 247
    desk.engine.release_kill(kills[0], **WHO)
    desk.engine.kill_switch(True, actions=actions)
    assert len(desk.engine.kills()) == 248


def test_the_session_comes_before_what_it_is_killed_for(desk: Desk) -> None:
    """Who it is, is known only of a session that is valid."""
    session, handle = desk.session(A1), desk.engine.resource(I1)
    desk.engine.kill(A1, **WHO)
    session.revoke()
    assert desk.gates[NEW].decide(session, handle, 1).code == "REVOKED"
    assert desk.engine.decide(session, NEW, I1, {"qty": 1}).code == "REVOKED"
    assert desk.gates[NEW].decide_many(session, handle, 1).tolist() == [ztfast.Code.REVOKED]


def test_a_kill_comes_before_what_is_wrong_with_the_values(desk: Desk) -> None:
    session, handle = desk.session(A1), desk.engine.resource(I1)
    gate = desk.gates[NEW]
    assert gate.decide(session, handle, 1 << 70).code == "BAD_VALUE"
    desk.engine.kill(A1, **WHO)
    assert gate.decide(session, handle, 1 << 70).code == "KILLED"
    assert desk.engine.decide(session, NEW, I1, {"qty": 1 << 70}).code == "KILLED"


def test_a_gate_that_a_swap_made_stale_is_killed_too(desk: Desk) -> None:
    session, handle = desk.session(A1), desk.engine.resource(I1)
    desk.engine.swap(bundle(SCHEMA.replace("order.new", "order.fresh")), allow_stale=True)
    gate = desk.gates[NEW]
    assert gate.decide(session, handle, 1).code == "STALE_GATE"
    kill = desk.engine.kill('Venue::"v2"', **WHO)
    assert gate.decide(session, handle, 1).code == "STALE_GATE"
    desk.engine.release_kill(kill, **WHO)
    desk.engine.kill('Venue::"v1"', ["order.fresh"], **WHO)
    assert gate.decide(session, handle, 1).code == "KILLED"


@pytest.mark.parametrize("seed", range(3))
def test_kills_are_what_a_list_of_them_says(seed: int) -> None:
    """Hold random kills, releases and moves against a plain list and a plain graph."""
    chance, desk = random.Random(seed), Desk()
    parents = {uid: set(above) for uid, above in PARENTS.items()}
    scopes = [*PARENTS, *UNKNOWN, "firm"]
    kills: list[tuple[ztfast.Kill, str, set[str]]] = []
    stopping: dict[Any, set[str]] = {
        None: {NEW, TAG},
        ALL_ACTIONS: {NEW, TAG, CANCEL},
        NEW: {NEW},
        "trade": {NEW, TAG},
        EXEMPT: {CANCEL},
    }

    def above(uid: str) -> set[str]:
        direct = parents.get(uid, set())
        return {uid, *direct, *(far for near in direct for far in above(near))}

    for step in range(60):
        if kills and chance.random() < 0.4:
            kill = kills.pop(chance.randrange(len(kills)))
            assert desk.engine.release_kill(kill[0].id, **WHO)
        else:
            scope, actions = chance.choice(scopes), chance.choice(list(stopping))
            who = str(chance.randrange(3))
            made = desk.engine.kill(scope, actions, by=who, reason="a test")
            # Who gives the same order again makes no other kill.
            again = [of for of, *_ in kills if (of.scope, of.actions, of.by) == (made.scope, made.actions, who)]
            assert again == [made] * len(again)
            kills += [] if again else [(made, scope, stopping[actions])]
        if step % 5 == 0:
            algo, desk_of_it = chance.choice((A1, A2)), chance.choice(('Desk::"d1"', 'Desk::"d2"'))
            parents[algo] = {desk_of_it}
            desk.engine.upsert([entity(algo, [desk_of_it])])
        assert {kill.id for kill in desk.engine.kills()} == {kill.id for kill, _, _ in kills}
        principal, resource = chance.choice((A1, A2, UNKNOWN[0])), chance.choice((I1, I2, UNKNOWN[1]))
        concerned = {"firm"} | above(principal) | above(resource)
        wanted = set().union(*(stopped for _, scope, stopped in kills if scope in concerned))
        assert desk.killed(principal, resource) == wanted, (step, principal, resource)


def test_a_market_has_the_severest_state_of_what_it_is_in(desk: Desk) -> None:
    engine = desk.engine
    assert {engine.market_state(uid) for uid in (I1, I2, 'Venue::"v1"')} == {"normal"}
    engine.market('Venue::"v1"', "volatile", **WHO)
    assert engine.market_state(I1) == "volatile"
    assert engine.market_state(I2) == "normal"
    engine.market(I1, "halted", **WHO)
    engine.market('Segment::"s2"', "volatile", **WHO)
    assert engine.market_state(I1) == "halted"
    assert engine.market_state('Venue::"v1"') == "volatile"
    engine.market(I1, "normal", **WHO)
    assert engine.market_state(I1) == "volatile"
    engine.market('Venue::"v1"', "normal", **WHO)
    assert engine.market_state(I1) == "volatile"
    engine.market('Segment::"s2"', "normal", **WHO)
    assert engine.market_state(I1) == "normal"
    assert engine.markets() == []
    # Entities that the store lacks, and changes.
    engine.market(UNKNOWN[1], "halted", **WHO)
    assert engine.market_state(UNKNOWN[1]) == "halted"
    engine.market('Venue::"v9"', "halted", **WHO)
    engine.upsert([entity(I2, ['Venue::"v9"'])])
    assert engine.market_state(I2) == "halted"
    engine.swap(BUNDLE)
    assert engine.market_state(I2) == "normal"
    first, second = sorted(engine.markets(), key=lambda market: market.target)
    assert (first.target, first.state, first.by, first.reason) == (Uid.parse(UNKNOWN[1]), "halted", "ann", "a test")
    assert second.target == Uid("Venue", "v9")
    assert abs(second.since - time.time()) < 60
    # No kill, and decisions go on: a policy that asks for the state decides.
    assert not engine.killed
    assert desk.killed(A1, I1) == set()


@pytest.mark.parametrize("state", ["Halted", "", None, 2, b"halted", "closed", ["halted"]], ids=repr)
def test_a_state_that_is_none_is_refused(desk: Desk, state: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="'normal', 'volatile' or 'halted'"):
        desk.engine.market(I1, state, **WHO)
    assert desk.engine.markets() == []


def test_there_is_room_for_1024_markets(desk: Desk) -> None:
    for number in range(1024):
        desk.engine.market(f'Instrument::"{number}"', "halted", **WHO)
    with pytest.raises(ztfast.CapacityError, match="1024 markets"):
        desk.engine.market('Instrument::"one more"', "volatile", **WHO)
    assert desk.engine.market_state('Instrument::"1023"') == "halted"
    assert desk.engine.market_state('Instrument::"one more"') == "normal"
    desk.engine.market('Instrument::"7"', "normal", **WHO)
    desk.engine.market('Instrument::"one more"', "volatile", **WHO)
    assert [desk.engine.market_state(f'Instrument::"{id}"') for id in ("7", "one more")] == ["normal", "volatile"]


def test_a_name_or_a_reason_writes_no_line_of_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    kill = desk.engine.kill(**WHO)
    with caplog.at_level("INFO", logger="ztfast"):
        desk.engine.release_kill(kill, by="eve\nkill 0: released by ann", reason="a\x1b[2Jreason")
    (message,) = [record.getMessage() for record in caplog.records if record.name == "ztfast"]
    assert message == rf"kill {kill.id:016x}: released by eve kill 0: released by ann: a\x1b[2Jreason"


@pytest.mark.parametrize("unseen", ["ann\u200b", "\u202eann", "ann\0", "a\u00adnn", "\u200b", "an\x1bn"])
def test_a_name_has_no_characters_that_nobody_sees(desk: Desk, unseen: str) -> None:
    kill = desk.engine.kill(**WHO, two_persons=True)
    assert desk.engine.release_kill(kill, by="ann", reason="a test") is False
    for by in ({"by": unseen}, {"by": "bob", "approved_by": unseen}):
        with pytest.raises(ztfast.ArgumentError, match="nobody sees"):
            desk.engine.release_kill(kill, reason="a test", **by)
    with pytest.raises(ztfast.Error, match="another person"):
        desk.engine.release_kill(kill, by="ann ", reason="a test")
    assert desk.engine.release_kill(kill, by="bob", reason="a test")


def test_the_log_tells_a_kill_that_is_made_again_from_a_new_one(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="ztfast"):
        first = desk.engine.kill(by="ann", reason="first", until=7_000_000_000)
        again = desk.engine.kill(by="ann", reason="again", until=6_000_000_000)
        for_ever = desk.engine.kill(by="ann", reason="for ever")
    assert [kill.was_in_force for kill in (first, again, for_ever, *desk.engine.kills())] == [False, True, True, False]
    since = datetime.datetime.fromtimestamp(first.since, datetime.UTC).isoformat(timespec="seconds")
    made, lasts = f"kill {first.id:016x} of firm", f"in force since {since}, until"
    assert [record.getMessage() for record in caplog.records if record.name == "ztfast"] == [
        f"{made} by ann: first",
        f"{made} again by ann: again; {lasts} 2191-10-27T12:26:40+00:00",
        f"{made} again by ann: for ever; {lasts} it is released",
    ]


@pytest.mark.parametrize("made", [ztfast.Kill.__new__(ztfast.Kill), ztfast.Kill.__new__(type("K", (ztfast.Kill,), {}))])
def test_a_kill_without_fields_releases_nothing(desk: Desk, made: ztfast.Kill) -> None:
    desk.engine.kill(**WHO)
    with pytest.raises(ztfast.ArgumentError, match=r"release_kill: wanted a ztfast\.Kill"):
        desk.engine.release_kill(made, **WHO)
    assert desk.engine.killed


def test_who_kills_the_same_again_prolongs_the_kill(desk: Desk) -> None:
    now = time.time()
    first = desk.engine.kill(A1, [NEW], by="ann", reason="first", until=now + 60)
    for until, kept in ((now + 30, now + 60), (now + 90, now + 90), (None, None), (now + 5, None)):
        again = desk.engine.kill(A1, [NEW, NEW], by="ann", reason="again", until=until)
        assert (again.id, again.reason, again.since) == (first.id, "first", first.since)
        assert again.until == (None if kept is None else pytest.approx(kept))
        assert desk.engine.kills() == [again]
    for _ in range(300):
        desk.engine.kill(A1, [NEW], by="ann", reason="a loop")
    others = [
        desk.engine.kill(A1, [NEW], by="bob", reason="a test"),
        desk.engine.kill(A1, **WHO),
        desk.engine.kill(I1, [NEW], by="ann", reason="a test"),
        desk.engine.kill(A1, [NEW], by="ann", reason="a test", two_persons=True),
    ]
    assert len({kill.id for kill in desk.engine.kills()}) == 1 + len(others)
    desk.engine.release_kill(first, **WHO)
    assert len(desk.engine.kills()) == len(others)
    assert desk.killed(A1, I1)


def test_a_kill_that_is_made_again_voids_a_request_to_release_it(desk: Desk) -> None:
    kill = desk.engine.kill(A1, **WHO, two_persons=True)
    assert not desk.engine.release_kill(kill, by="bob", reason="over")
    assert desk.engine.kill(A1, **WHO, two_persons=True).asked_by is None
    assert not desk.engine.release_kill(kill, by="eve", reason="over")
    assert desk.killed(A1, I1)
    assert desk.engine.release_kill(kill, by="bob", reason="over")
    assert not desk.killed(A1, I1)


def test_what_nothing_knows_is_killed_with_a_warning(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.engine.kill(A1, **WHO)
    desk.engine.kill(**WHO)
    desk.engine.market(I1, "halted", **WHO)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []
    unknown = 'Algo::"nobody"'
    desk.engine.kill(unknown, **WHO)
    desk.engine.market('Instrument::"nothing"', "halted", **WHO)
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    assert "nobody" in said[0]
    assert "nothing" in said[1]
    assert desk.killed(unknown, I1)
    # Somebody who has a session is no mistake.
    assert not desk.engine.knows('Algo::"late"')
    desk.engine.admit(ztfast.Identity('Algo::"late"', not_after=math.inf))
    assert desk.engine.knows('Algo::"late"')
    assert not desk.engine.knows('Algos::"late"')
