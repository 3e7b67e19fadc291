"""Processes with engines over one shared state, for tests: each obeys commands that come through a pipe.

A process is forked from a server that has imported ztfast and has no threads, so it starts quickly, and it can be killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import ztfast

SCHEMA = """
entity Team;
entity User in [Team];
entity Book;
entity Doc in [Book];
action read appliesTo { principal: User, resource: Doc, context: { n: Long } };
action look appliesTo { principal: User, resource: Doc };
action deal appliesTo { principal: User, resource: Doc, context: { n: Long, live: ztfast::Live } };
"""
POLICIES = """
permit (principal in Team::"{team}", action in [Action::"read", Action::"deal"], resource) when {{ context.n == 1 }};
forbid (principal, action == Action::"deal", resource)
when {{ context.live.market == "halted" || context.live.risk >= 50 }};
@step_up("fido2")
forbid (principal, action == Action::"deal", resource) unless {{ context.live.factors.contains("fido2") }};
"""
USERS = ("ann", "bob", "eve")
TEAMS = ("t1", "t2")
DOC, BOOK = 'Doc::"d"', 'Book::"b"'

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.processes"])


def user(name: str, team: str | None) -> dict[str, Any]:
    parents = [] if team is None else [{"type": "Team", "id": team}]
    return {"uid": {"type": "User", "id": name}, "attrs": {}, "parents": parents}


def bundle(permitted: str) -> ztfast.Bundle:
    """Compile the bundle that permits one team, to which ann belongs at first."""
    doc = {"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": [{"type": "Book", "id": "b"}]}
    entities = [user("ann", permitted), user("bob", None), doc]
    return ztfast.compile(ztfast.Text(POLICIES.format(team=permitted)), schema=ztfast.Text(SCHEMA), entities=entities)


class Served:
    """An engine in its process, with the sessions that it has decided for."""

    def __init__(self, state: str, role: Any, bundles: dict[str, ztfast.Bundle], sessions: int) -> None:
        self.bundles = bundles
        self.engine = ztfast.Engine(bundles["t1"], state=state, role=role, sessions=sessions, handles=256)
        self.gates = {action: self.engine.prepare(action, "n") for action in ("read", "deal")}
        self.doc = self.engine.resource(DOC)
        self.sessions: dict[int, ztfast.Session] = {}

    def session(self, number: int) -> ztfast.Session:
        if number not in self.sessions:
            self.sessions[number] = self.engine.session(number)
        return self.sessions[number]

    def admit(self, principal: str, **what: Any) -> int:
        session = self.engine.admit(ztfast.Identity(principal, **what))
        self.sessions[session.id] = session
        return session.id

    def codes(self, numbers: list[int], action: str = "read") -> list[str]:
        return [self.code(number, action) for number in numbers]

    def code(self, number: int, action: str = "read") -> str:
        """Decide in every way, and return the code."""
        gate = self.gates[action]
        try:
            session = self.session(number)
        except ztfast.SessionError as error:
            return f"SessionError: {error}"
        many = ztfast.Code(gate.decide_many(session, [self.doc], [1])[0]).name
        one, general = gate.decide(session, self.doc, 1).code, self.engine.decide(session, action, DOC, {"n": 1}).code
        allowed = gate.allows(session, self.doc, 1)
        return one if one == general == many and allowed is (one == "ALLOW") else f"{one} {general} {many} {allowed}"

    def change(self, number: int, what: str, *given: Any, **how: Any) -> Any:
        return getattr(self.session(number), what)(*given, **how)

    def change_all(self, what: str, principal: str | None, **how: Any) -> int:
        return getattr(self.engine, what)(*([] if principal is None else [principal]), **how)

    def kill(self, scope: str, actions: list[str] | None) -> int:
        return self.engine.kill(scope, actions, by="ann", reason="a drill").id

    def release(self, kill: int) -> bool:
        return self.engine.release_kill(kill, by="bob", reason="it is over")

    def set_market(self, target: str, state: Any) -> None:
        self.engine.market(target, state, by="ann", reason="news")

    def switches(self) -> tuple[dict[int, str], dict[str, str], str]:
        """Return the kills with their scopes, the markets that are not normal, and the state of the market of the document."""
        kills = {kill.id: str(kill.scope) for kill in self.engine.kills()}
        markets = {str(market.target): market.state for market in self.engine.markets()}
        return kills, markets, self.engine.market_state(DOC)

    def swap(self, team: str) -> None:
        self.engine.swap(self.bundles[team], keep_changes=False)

    def upsert(self, name: str, team: str | None) -> None:
        self.engine.upsert([user(name, team)])

    def listed(self) -> dict[int, tuple[Any, ...]]:
        return {
            info.id: (str(info.principal), info.status, info.factors, info.assurance, info.risk, info.not_after)
            for info in self.engine.sessions()
        }

    def notes(self) -> list[tuple[Any, ...]]:
        return [
            (note.what, str(note.of), note.by, note.reason, note.sessions, note.kill) for note in self.engine.notes()
        ]


def obey(pipe: Connection, state: str, roles: list[str], bundles: dict[str, str], sessions: int) -> None:
    """Open engines, and do what the other end of the pipe says, until it is closed."""
    loaded = {team: ztfast.Bundle.load(path) for team, path in bundles.items()}
    served = [Served(state, role, loaded, sessions) for role in roles]
    pipe.send(True)
    with contextlib.suppress(EOFError):
        while True:
            number, what, given, named = pipe.recv()
            try:
                answer = getattr(served[number], what)(*given, **named)
            except ztfast.Error as error:
                pipe.send((type(error).__name__, str(error)))
            else:
                pipe.send((None, answer))


class Refused(Exception):
    """An engine of another process raised an error; the first argument is the name of its class."""


class Process:
    """A process with engines in these roles over the state in a directory."""

    def __init__(self, state: str, roles: list[str], bundles: dict[str, str], sessions: int) -> None:
        self.given = (state, roles, bundles, sessions)
        self.start()

    def start(self) -> None:
        self.pipe, other = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=obey, args=(other, *self.given), daemon=True)
        self.process.start()
        other.close()
        assert self.pipe.recv() is True

    def ask(self, number: int, what: str, *given: Any, **named: Any) -> Any:
        """Let one of the engines do something, and return its answer, or raise its error."""
        error, answer = self.attempt(number, what, *given, **named)
        if error is not None:
            raise Refused(error, answer)
        return answer

    def attempt(self, number: int, what: str, *given: Any, **named: Any) -> tuple[str | None, Any]:
        """Let one of the engines do something, and return None and its answer, or its error's class and text."""
        self.tell(number, what, *given, **named)
        answer: tuple[str | None, Any] = self.pipe.recv()
        return answer

    def tell(self, number: int, what: str, *given: Any, **named: Any) -> None:
        self.pipe.send((number, what, given, named))

    def stop(self, *, kill: bool = True) -> None:
        """End the process, by a kill or because it has nothing more to do."""
        if kill and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.pipe.close()
        self.process.join()
        self.process.close()
