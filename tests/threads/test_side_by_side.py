"""Two engines in one process, used by many threads at once: each decides correctly for its own sessions and denies the other's.

Meanwhile other calls fail half-way, have contexts of 100,000 elements or entities of wrong types, or change and swap the
engines. Nothing that the policies forbid is allowed, and nothing that they allow is denied.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable

import pytest

import ztfast
from tests.racing import Repeat, beside

SECONDS = 2.0
SCHEMA = """
entity Team; entity User in [Team]; entity Doc;
action read appliesTo { principal: User, resource: Doc, context: { size: Long, note?: String, who?: User, all?: Set<String> } };
"""
# Of the first engine ann may, and bob not; of the second it is the other way round.
FOR = """
permit (principal == User::"{who}", action, resource) when {{ context.size < 10 }};
forbid (principal, action, resource) when {{ context has note && context.note == "no" }};
forbid (principal, action, resource) when {{ context has who && context.who == User::"eve" }};
"""
USERS = ("ann", "bob")


class Side:
    """An engine, with a session for each user."""

    def __init__(self, who: str) -> None:
        self.may = who
        self.bundles = [
            ztfast.compile(ztfast.Text(FOR.format(who=who) + more), schema=ztfast.Text(SCHEMA))
            for more in ("", 'permit (principal == User::"other", action, resource);')
        ]
        self.engine = ztfast.Engine(self.bundles[0])
        self.sessions = {
            user: self.engine.admit(ztfast.Identity(f'User::"{user}"', not_after=math.inf)) for user in USERS
        }
        self.doc = self.engine.resource('Doc::"d"')
        self.users = {user: self.engine.resource(f'User::"{user}"') for user in USERS}
        self.plain = self.engine.prepare("read", "size")
        self.noted = self.engine.prepare("read", "size", "note")
        self.about = self.engine.prepare("read", "size", "who")


def test_engines_side_by_side_decide_for_their_own_only() -> None:
    sides = Side("ann"), Side("bob")

    def counting(job: Callable[[int], None]) -> Callable[[], None]:
        turns = itertools.count()
        return lambda: job(next(turns))

    def check(what: str, said: object, wanted: object) -> None:
        assert said == wanted, what

    def right(turn: int) -> None:
        side, user = sides[turn % 2], USERS[turn // 2 % 2]
        session, may = side.sessions[user], side.may == user
        check("allows", side.plain.allows(session, side.doc, 5), may)
        check("beyond", side.plain.allows(session, side.doc, 10), False)
        check("text", side.noted.allows(session, side.doc, 5, f"note {turn}"), may)
        check("forbidden", side.noted.allows(session, side.doc, 5, "no"), False)
        check("entity", side.about.allows(session, side.doc, 5, side.users["ann"]), may)
        check("evaluate", bool(side.engine.evaluate(f'User::"{user}"', "read", 'Doc::"d"', {"size": 5})), may)

    def strangers(turn: int) -> None:
        side, other = sides[turn % 2], sides[1 - turn % 2]
        for user in USERS:
            code = side.plain.decide(other.sessions[user], side.doc, 5).code
            check("another's session", code, "UNKNOWN_SESSION")
            code = side.plain.decide(side.sessions[user], other.doc, 5).code
            check("another's resource", code, "UNKNOWN_HANDLE")
            check("another's entity", side.about.allows(side.sessions[user], side.doc, 5, other.users["ann"]), False)
        rows = side.plain.decide_many([side.sessions[side.may], other.sessions[other.may]], side.doc, 5)
        check("rows", rows.tolist(), [ztfast.Code.ALLOW, ztfast.Code.UNKNOWN_SESSION])

    def half_way(turn: int) -> None:
        side = sides[turn % 2]
        session = side.sessions[side.may]
        check("a long text", side.noted.allows(session, side.doc, 5, "x" * 20_000), True)
        check("a surrogate", side.noted.allows(session, side.doc, 5, "\ud800"), False)
        with pytest.raises(ztfast.ContextError):
            side.about.allows(session, side.doc, 5, side.doc)
        check("after it", side.noted.decide_many(session, side.doc, [5, 10], ["a", "b"]).tolist(), [1, 0])

    many = [f"t{number}" for number in range(100_000)]

    def large(turn: int) -> None:
        side = sides[turn % 2]
        said = side.engine.evaluate(f'User::"{side.may}"', "read", 'Doc::"d"', {"size": 5, "all": many})
        check("100,000 elements", bool(said), True)

    def change(turn: int) -> None:
        side = sides[turn % 2]
        user = {"uid": {"type": "User", "id": f"u{turn % 7}"}, "attrs": {}, "parents": []}
        side.engine.upsert([user])
        if turn % 5 == 0:
            side.engine.swap(side.bundles[turn // 10 % 2])
        time.sleep(0.001)

    with beside(*map(counting, (right, right, strangers, half_way, large, change))) as turns:
        # Ten changes are one turn of each bundle in each engine.
        repeat = Repeat("turns of each thread", at_least=SECONDS)
        while repeat.until(min(turns) >= 4 and turns[-1] >= 20):
            time.sleep(0.01)
