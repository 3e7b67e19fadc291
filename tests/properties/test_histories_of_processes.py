"""Random histories of several processes over one shared state, beside a model in plain Python that says each decision.

Two processes may change the state, one of them through two engines, and one process only decides. Histories admit, renew,
present, revoke and quarantine, in all ways, by somebody or by nobody that is named; they let sessions expire, swap bundles and change entities in one engine, and
end, kill and start processes, also while these change something. After each step every engine must decide for every
session as the model says, and one of them must tell who did what.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.processes import BOOK, DOC, TEAMS, USERS, Process, Refused, bundle

HISTORIES = int(os.environ.get("ZTFAST_TEST_HISTORIES", "12"))
STEPS = 30
SLOTS = 12

ROLES = (["authority", "authority"], ["authority"], ["decide"])
ENGINES = [(process, number) for process, roles in enumerate(ROLES) for number in range(len(roles))]
AUTHORITIES = [(process, number) for process, number in ENGINES if ROLES[process][number] == "authority"]

LIVES = {"short": 0.3, "long": 3_600.0, "endless": math.inf}
EDGE_S = 0.03
"""How near its end a session may be either valid or expired: the engine's clock moves in steps."""
PATIENT_S = 1.0
"""How long a process may refuse an admission although another one ended a session."""

SCOPES = [
    "firm",
    DOC,
    BOOK,
    'Doc::"other"',
    *(f'User::"{name}"' for name in USERS),
    *(f'Team::"{team}"' for team in TEAMS),
]
MARKETS = {DOC: ["normal", "volatile", "halted"], BOOK: ["normal", "halted"], 'Doc::"other"': ["normal", "halted"]}
SEVERITY = ["normal", "volatile", "halted"]
WHO = {"by": "ann", "reason": "a drill"}
DONE = {"active": "released from quarantine", "revoked": "revoked", "quarantined": "quarantined"}
BY_LIVE = ("ALLOW", "STEP_UP", "FORBID")

WHICH = st.integers(0, SLOTS * SLOTS)
FACTORS = st.none() | st.sets(st.sampled_from(["x509", "fido2", "totp"]))
CHOSEN = st.sampled_from([("User", name) for name in USERS] + [("Team", name) for name in TEAMS] + ["g1", "g2"])

did: Counter[str] = Counter()
bundles: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bundles")
    for team in TEAMS:
        bundles[team] = str(folder / f"{team}.ztb")
        bundle(team).save(bundles[team])


@dataclass
class Known:
    """What the model knows about a session."""

    principal: str
    not_after: float
    ground: str | None
    status: str = "active"
    factors: tuple[str, ...] = ()
    assurance: int = 0
    risk: int = 0
    perhaps: str | None = None
    """The status that a process may have set when it was killed, which no list shows as the session is over."""

    def is_over(self, now: float) -> bool:
        return self.status == "revoked" or self.not_after <= now

    def prove(self, how: dict[str, Any]) -> None:
        """Take what was proved anew."""
        self.factors = how.get("factors", self.factors)
        self.assurance, self.risk = how["assurance"], how["risk"]


def proof(factors: set[str] | None, assurance: int, risk: int) -> dict[str, Any]:
    """Return what is presented; without factors, that is no new proof."""
    return {"assurance": assurance, "risk": risk} | ({} if factors is None else {"factors": tuple(sorted(factors))})


@dataclass
class View:
    """What the model knows about an engine: its bundle and its changes of entities."""

    permitted: str = "t1"
    changed: dict[str, str | None] = field(default_factory=dict)

    def team(self, name: str) -> str | None:
        return self.changed.get(name, self.permitted if name == "ann" else None)


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp(
            prefix="ztfast-histories-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
        )
        self.processes = [Process(os.path.join(self.folder, "state"), roles, bundles, SLOTS) for roles in ROLES]
        self.views = {engine: View() for engine in ENGINES}
        self.sessions: dict[int, Known] = {}
        self.kills: dict[int, tuple[str, str | None]] = {}
        self.markets: dict[str, str] = {}
        self.noted: list[tuple[Any, ...]] = []
        for name in USERS:
            self.admit(ENGINES[0], name, "endless", None)
        for which in range(len(USERS)):
            self.present(which, ENGINES[0], {"fido2"}, 0, 0, False)

    def teardown(self) -> None:
        for process in getattr(self, "processes", []):
            process.stop()
        shutil.rmtree(getattr(self, "folder", "/nowhere"), ignore_errors=True)

    def ask(self, engine: tuple[int, int], what: str, *given: Any, **named: Any) -> Any:
        did[what] += 1
        return self.processes[engine[0]].ask(engine[1], what, *given, **named)

    def attempt(self, engine: tuple[int, int], what: str, *given: Any, **named: Any) -> tuple[str | None, Any]:
        did[what] += 1
        return self.processes[engine[0]].attempt(engine[1], what, *given, **named)

    def expected(self, engine: tuple[int, int], action: str, known: Known, before: float, after: float) -> set[str]:
        """Return the codes of which a decision made between two moments has one."""
        if self.is_killed(action, {"firm"}):
            return {"KILLED"}
        if known.status != "active":
            return {known.status.upper()}
        view = self.views[engine]
        permitted = view.team(known.principal) == view.permitted
        codes = set()
        if before < known.not_after + EDGE_S:
            team = f'Team::"{view.team(known.principal)}"'
            killed = self.is_killed(action, {DOC, BOOK, f'User::"{known.principal}"', team})
            codes.add("KILLED" if killed else "ALLOW" if permitted else "DEFAULT")
        if after > known.not_after - EDGE_S:
            codes.add("EXPIRED")
        return codes

    def by_live(self, known: Known, code: str) -> str:
        """Return what a code becomes by policies that read live attributes."""
        if code not in ("ALLOW", "DEFAULT"):
            return code
        if known.risk >= 50 or "halted" in (self.markets.get(target) for target in (DOC, BOOK)):
            return "FORBID"
        if "fido2" in known.factors:
            return code
        return "STEP_UP" if code == "ALLOW" else "FORBID"

    @invariant()
    def every_engine_decides_as_the_model(self) -> None:
        if not hasattr(self, "sessions"):
            return
        numbers = list(self.sessions)
        for engine, action in product(ENGINES, ("read", "deal")):
            before = time.time()
            codes = self.ask(engine, "codes", numbers, action)
            after = time.time()
            did["decisions"] += 4 * len(codes)
            for number, code in zip(numbers, codes, strict=True):
                known = self.sessions[number]
                wanted = self.expected(engine, action, known, before, after)
                if action == "deal":
                    wanted = {self.by_live(known, one) for one in wanted}
                    if code in BY_LIVE:
                        did[f"{code} by live attributes"] += 1
                # A process that never saw a session alive is told so, and the slot of one that is over may be another's.
                over = {"UNKNOWN_SESSION", str(known.perhaps).upper()} if known.is_over(after + EDGE_S) else set()
                if code.startswith("SessionError") and known.is_over(after + EDGE_S):
                    continue
                if len(wanted) > 1 and " " in code:
                    # Time may change a code between two of the ways to decide, which are told apart then.
                    *ways, allowed = code.split()
                    assert set(ways) <= wanted | over, f"{engine} decides {code} for {known}, and {wanted} was wanted"
                    assert allowed == "False" or "ALLOW" in wanted | over, f"{engine} allows {known}: {code}"
                    continue
                assert code in wanted | over, f"{engine} decides {code} for {known}, and {wanted} was wanted"

    def note(
        self, what: str, of: str | None, count: int = 0, kill: int | None = None, by: str = "ann", why: str = "a drill"
    ) -> None:
        """Expect a note of what was done."""
        self.noted.append((what, str(of), by, why, count, kill))

    @invariant()
    def an_engine_tells_who_did_what(self) -> None:
        if hasattr(self, "noted"):
            assert self.ask(ENGINES[len(self.noted) % len(ENGINES)], "notes") == self.noted

    def is_killed(self, action: str, concerned: set[str]) -> bool:
        return any(scope in concerned and named in (None, action) for scope, named in self.kills.values())

    @invariant()
    def every_engine_knows_the_same_kills_and_markets(self) -> None:
        if not hasattr(self, "kills"):
            return
        kills = {number: scope for number, (scope, _) in self.kills.items()}
        markets = {target: state for target, state in self.markets.items() if state != "normal"}
        severest = max((markets.get(target, "normal") for target in (DOC, BOOK)), key=SEVERITY.index)
        for engine in ENGINES:
            assert self.ask(engine, "switches") == (kills, markets, severest)

    @rule(
        engine=st.sampled_from(AUTHORITIES),
        scope=st.sampled_from(SCOPES),
        named=st.sampled_from([None, "read", "look"]),
    )
    def kill(self, engine: tuple[int, int], scope: str, named: str | None) -> None:
        number = self.ask(engine, "kill", scope, None if named is None else [named])
        # One order is one kill, however often it is given.
        assert self.kills.get(number, (scope, named)) == (scope, named)
        assert (number in self.kills) is ((scope, named) in self.kills.values())
        self.kills[number] = scope, named
        self.note("killed", scope, kill=number)

    @rule(engine=st.sampled_from(AUTHORITIES), which=WHICH)
    def release(self, engine: tuple[int, int], which: int) -> None:
        if self.kills:
            self.release_one(engine, list(self.kills)[which % len(self.kills)])

    def release_one(self, engine: tuple[int, int], number: int) -> None:
        assert self.ask(engine, "release", number) is True
        scope, _ = self.kills.pop(number)
        self.note("released", scope, kill=number, by="bob", why="it is over")

    @rule(engine=st.sampled_from(AUTHORITIES))
    def release_all(self, engine: tuple[int, int]) -> None:
        for number in list(self.kills):
            self.release_one(engine, number)

    @rule(engine=st.sampled_from(AUTHORITIES), resource=st.sampled_from(sorted(MARKETS)), which=WHICH)
    def set_market(self, engine: tuple[int, int], resource: str, which: int) -> None:
        state = MARKETS[resource][which % len(MARKETS[resource])]
        self.ask(engine, "set_market", resource, state)
        if self.markets.get(resource, "normal") != state:
            self.note(f"market {state}", resource, why="news")
        self.markets[resource] = state

    @invariant()
    def every_engine_lists_the_same(self) -> None:
        if not hasattr(self, "sessions"):
            return
        lists = [self.ask(engine, "listed") for engine in ENGINES]
        now = time.time()
        for number, known in self.sessions.items():
            if known.is_over(now + EDGE_S):
                continue
            shown = {
                f'User::"{known.principal}"': (known.status, tuple(sorted(known.factors)), known.assurance, known.risk)
            }
            for listed in lists:
                principal, status, factors, assurance, risk, not_after = listed[number]
                assert {principal: (status, tuple(sorted(factors)), assurance, risk)} == shown
                assert math.isclose(not_after, known.not_after, rel_tol=0, abs_tol=1e-5)
        assert not [number for listed in lists for number in listed if number not in self.sessions]

    def chosen(self, which: int) -> int | None:
        """Return a session; what hypothesis draws must not depend on ids or times."""
        return list(self.sessions)[which % len(self.sessions)] if self.sessions else None

    def live(self) -> int:
        now = time.time()
        return sum(not known.is_over(now - EDGE_S) for known in self.sessions.values())

    @rule(
        engine=st.sampled_from(AUTHORITIES),
        principal=st.sampled_from(USERS),
        life=st.sampled_from(sorted(LIVES)),
        ground=st.sampled_from([None, "g1", "g2"]),
    )
    def admit(self, engine: tuple[int, int], principal: str, life: str, ground: str | None) -> None:
        not_after = time.time() + LIVES[life]
        began = time.monotonic()
        while True:
            surely_full = self.live() >= SLOTS and not self.near_an_end()
            error, number = self.attempt(engine, "admit", f'User::"{principal}"', not_after=not_after, ground=ground)
            if error is None:
                break
            assert error == "CapacityError", number
            did["refused because all slots were taken"] += 1
            if surely_full:
                return
            # Another engine may have ended a session a moment ago.
            assert time.monotonic() - began < PATIENT_S, f"{SLOTS - self.live()} slots are free: {number}"
            if life == "short":
                return
            time.sleep(0.01)
        assert not surely_full, "a session was admitted into a full table"
        assert number not in self.sessions
        self.sessions[number] = Known(principal, not_after, ground)

    def near_an_end(self) -> bool:
        now = time.time()
        return any(abs(known.not_after - now) < 3 * EDGE_S for known in self.sessions.values())

    def changed(self, which: int, engine: tuple[int, int], what: str, **how: Any) -> Known | None:
        """Change a session, and return it if that was possible: it must be while the session is not over."""
        if (number := self.chosen(which)) is None:
            return None
        known, before = self.sessions[number], time.time()
        error, done = self.attempt(engine, "change", number, what, **how)
        if error is not None:
            assert error == "SessionError", done
            assert known.is_over(time.time() + EDGE_S), f"{what}: {done}, but it is {known}"
            return None
        assert not known.is_over(before - EDGE_S), f"{what} of a session that was over: {known}"
        if "by" in how:
            told = "renewed" if what == "renew" else "given a new proof" if "factors" in how else "reassessed"
            self.note(told, f'User::"{known.principal}"', 1)
        return known

    def set(self, which: int, engine: tuple[int, int], status: str, said: bool, what: str, *given: Any) -> None:
        """Set the status of a session, which must say whether that changed one that is not over."""
        if (number := self.chosen(which)) is None:
            return
        known, before = self.sessions[number], time.time()
        error, done = self.attempt(engine, "change", number, what, *given, **(WHO if said else {}))
        if error is not None:
            assert error == "SessionError", done
            assert known.is_over(time.time() + EDGE_S), f"{what}: {done}, but it is {known}"
            return
        assert done in self.effects([known], status, before, time.time()), f"{what} is said to be {done} for {known}"
        if said and done:
            self.note(DONE[status], f'User::"{known.principal}"', 1)
        if known.status != "revoked":
            known.status = status

    def effects(self, meant: list[Known], status: str, before: float, after: float) -> range:
        """Return how many sessions may be said to change if they get a status between two moments."""
        others = [known for known in meant if known.status != status]
        surely, perhaps = (sum(not known.is_over(now) for known in others) for now in (after + EDGE_S, before - EDGE_S))
        return range(surely, perhaps + 1)

    @rule(which=WHICH, engine=st.sampled_from(AUTHORITIES), said=st.booleans())
    def revoke(self, which: int, engine: tuple[int, int], said: bool) -> None:
        self.set(which, engine, "revoked", said, "revoke")

    @rule(which=WHICH, engine=st.sampled_from(AUTHORITIES), on=st.booleans(), said=st.booleans())
    def quarantine(self, which: int, engine: tuple[int, int], on: bool, said: bool) -> None:
        self.set(which, engine, "quarantined" if on else "active", said, "quarantine", on)

    @rule(which=WHICH, engine=st.sampled_from(AUTHORITIES), life=st.sampled_from(sorted(LIVES)), said=st.booleans())
    def renew(self, which: int, engine: tuple[int, int], life: str, said: bool) -> None:
        not_after = time.time() + LIVES[life]
        if known := self.changed(which, engine, "renew", not_after=not_after, **(WHO if said else {})):
            known.not_after = not_after

    @rule(
        which=WHICH,
        engine=st.sampled_from(AUTHORITIES),
        factors=FACTORS,
        assurance=st.integers(0, 7),
        risk=st.integers(0, 100),
        said=st.booleans(),
    )
    def present(
        self, which: int, engine: tuple[int, int], factors: set[str] | None, assurance: int, risk: int, said: bool
    ) -> None:
        how = proof(factors, assurance, risk)
        if known := self.changed(which, engine, "present", **how, **(WHO if said else {})):
            known.prove(how)

    @rule(
        engine=st.sampled_from(AUTHORITIES),
        chosen=CHOSEN,
        what=st.sampled_from(["revoke", "quarantine", "lift"]),
        said=st.booleans(),
    )
    def change_many(self, engine: tuple[int, int], chosen: tuple[str, str] | str, what: str, said: bool) -> None:
        how: dict[str, Any] = {} if what == "revoke" else {"on": what == "quarantine"}
        status = {"revoke": "revoked", "quarantine": "quarantined", "lift": "active"}[what]
        before = time.time()
        count = self.ask_all(engine, "quarantine" if what == "lift" else what, chosen, DONE[status], said, **how)
        meant = [self.sessions[number] for number in self.meant(engine, chosen)]
        assert count in self.effects(meant, status, before, time.time()), f"{what} is said to change {count} of {meant}"
        for known in meant:
            if known.status != "revoked":
                known.status = status

    @rule(
        engine=st.sampled_from(AUTHORITIES),
        chosen=CHOSEN,
        life=st.sampled_from(sorted(LIVES)),
        said=st.booleans(),
    )
    def renew_many(self, engine: tuple[int, int], chosen: tuple[str, str] | str, life: str, said: bool) -> None:
        before, not_after = time.time(), time.time() + LIVES[life]
        count = self.ask_all(engine, "renew", chosen, "renewed", said, not_after=not_after)
        same = functools.partial(math.isclose, not_after, rel_tol=0, abs_tol=1e-5)
        for known in self.reached(engine, chosen, count, before, lambda shown: same(shown[5])):
            known.not_after = not_after

    @rule(
        engine=st.sampled_from(AUTHORITIES),
        chosen=CHOSEN,
        factors=FACTORS,
        assurance=st.integers(0, 7),
        risk=st.integers(0, 100),
        said=st.booleans(),
    )
    def present_many(
        self,
        engine: tuple[int, int],
        chosen: tuple[str, str] | str,
        factors: set[str] | None,
        assurance: int,
        risk: int,
        said: bool,
    ) -> None:
        before, how = time.time(), proof(factors, assurance, risk)
        told = "reassessed" if factors is None else "given a new proof"
        count = self.ask_all(engine, "present", chosen, told, said, **how)
        for known in self.reached(engine, chosen, count, before, lambda shown: shown[3:5] == (assurance, risk)):
            known.prove(how)

    def ask_all(
        self, engine: tuple[int, int], what: str, chosen: tuple[str, str] | str, told: str, said: bool, **how: Any
    ) -> int:
        """Change all sessions within a uid or that rest on a ground, and return how many are said to have changed."""
        principal = None if isinstance(chosen, str) else f'{chosen[0]}::"{chosen[1]}"'
        if isinstance(chosen, str):
            how["ground"] = chosen
        count: int = self.ask(engine, "change_all", what, principal, **how, **(WHO if said else {}))
        did[f"{what} of a {chosen[0] if principal else 'ground'}"] += 1
        if said and count:
            self.note(told, principal, count)
        return count

    def meant(self, engine: tuple[int, int], chosen: tuple[str, str] | str) -> list[int]:
        """Return the sessions that are within a uid, as the engine sees it, or that rest on a ground."""
        return [
            number
            for number, known in self.sessions.items()
            if (known.ground == chosen if isinstance(chosen, str) else self.is_within(engine, known.principal, *chosen))
        ]

    def reached(
        self, engine: tuple[int, int], chosen: tuple[str, str] | str, count: int, before: float, is_changed: Any
    ) -> list[Known]:
        """Return which of the chosen sessions a change of so many reached: those that were not over.

        Of one that may have ended meanwhile, its listing tells.
        """
        after, listed = time.time(), self.ask(engine, "listed")
        meant = {number: self.sessions[number] for number in self.meant(engine, chosen)}
        perhaps = {number: known for number, known in meant.items() if not known.is_over(before - EDGE_S)}
        surely = {number: known for number, known in perhaps.items() if not known.is_over(after + EDGE_S)}
        assert len(surely) <= count <= len(perhaps), f"{count} sessions of {meant} are said to have changed"
        did["sessions that may have ended while many were changed"] += len(perhaps) - len(surely)
        return [
            known
            for number, known in perhaps.items()
            if number in surely or (number in listed and is_changed(listed[number]))
        ]

    def is_within(self, engine: tuple[int, int], principal: str, ty: str, name: str) -> bool:
        return principal == name if ty == "User" else self.views[engine].team(principal) == name

    @rule()
    def let_sessions_expire(self) -> None:
        if all(known.not_after - time.time() > LIVES["short"] for known in self.sessions.values()):
            return
        time.sleep(LIVES["short"] + 2 * EDGE_S)
        did["waits"] += 1

    @rule(engine=st.sampled_from(ENGINES), team=st.sampled_from(TEAMS))
    def swap(self, engine: tuple[int, int], team: str) -> None:
        self.ask(engine, "swap", team)
        self.views[engine] = View(team)

    @rule(engine=st.sampled_from(ENGINES), name=st.sampled_from(USERS), team=st.sampled_from([None, *TEAMS]))
    def upsert(self, engine: tuple[int, int], name: str, team: str | None) -> None:
        self.ask(engine, "upsert", name, team)
        self.views[engine].changed[name] = team

    @rule(process=st.integers(0, len(ROLES) - 1), kill=st.booleans())
    def restart(self, process: int, kill: bool) -> None:
        self.processes[process].stop(kill=kill)
        self.start(process)
        did["kills" if kill else "ends"] += 1

    def start(self, process: int) -> None:
        self.processes[process].start()
        for engine in ENGINES:
            if engine[0] == process:
                self.views[engine] = View()

    @rule(
        which=WHICH,
        engine=st.sampled_from(AUTHORITIES),
        what=st.sampled_from(["revoke", "quarantine", "admit", "kill", "release", "set_market"]),
        after_us=st.integers(0, 300),
    )
    def kill_meanwhile(self, which: int, engine: tuple[int, int], what: str, after_us: int) -> None:
        """Kill a process while it changes something: then it is done, or not."""
        process, number = self.processes[engine[0]], self.chosen(which)
        if number is None:
            return
        noted = {"set_market": ("market halted", BOOK, "ann", "news", 0, None)}
        if self.kills:
            first = next(iter(self.kills))
            noted["release"] = ("released", self.kills[first][0], "bob", "it is over", 0, first)
        if what == "admit":
            process.tell(engine[1], "admit", 'User::"eve"', not_after=math.inf)
        elif what == "kill":
            process.tell(engine[1], "kill", 'User::"eve"', None)
        elif what == "release":
            process.tell(engine[1], "release", next(iter(self.kills), 0))
        elif what == "set_market":
            process.tell(engine[1], "set_market", BOOK, "halted")
        else:
            process.tell(engine[1], "change", number, what)
        time.sleep(after_us / 1e6)
        process.stop()
        self.start(engine[0])
        did["kills while something was changed"] += 1
        other = next(one for one in AUTHORITIES if one[0] != engine[0])
        self.see_switches(other, what)
        eve = next((kill for kill, how in self.kills.items() if how == ('User::"eve"', None)), None)
        noted["kill"] = ("killed", 'User::"eve"', "ann", "a drill", 0, eve)
        notes = self.ask(other, "notes")
        new = notes[len(self.noted) :]
        assert notes[: len(self.noted)] == self.noted
        assert new in ([], [noted.get(what)]), f"{what} is told as {new}"
        # What a note speaks of is done before it is written.
        assert (
            not new
            or {
                "kill": eve is not None,
                "release": new[0][5] not in self.kills,
                "set_market": self.markets.get(BOOK) == "halted",
            }[what]
        )
        self.noted += new
        listed = self.ask(other, "listed")
        for new in listed.keys() - self.sessions.keys():
            assert what == "admit"
            assert listed[new][:2] == ('User::"eve"', "active")
            self.sessions[new] = Known("eve", math.inf, None)
        known = self.sessions[number]
        done = {"revoke": "revoked", "quarantine": "quarantined"}.get(what)
        if number in listed and listed[number][1] == done and known.status != "revoked":
            known.status = done
            did["kills after which it was done"] += 1
        elif number not in listed or listed[number][1] == "expired":
            # The list does not say what else one is that has expired, and decisions do.
            known.perhaps = done

    def see_switches(self, engine: tuple[int, int], what: str) -> None:
        """See whether what a killed process did to the switches was done."""
        kills, markets, _ = self.ask(engine, "switches")
        for number in kills.keys() - self.kills.keys():
            assert (what, kills[number]) == ("kill", 'User::"eve"')
            self.kills[number] = kills[number], None
        for number in self.kills.keys() - kills.keys():
            assert (what, number) == ("release", next(iter(self.kills)))
            del self.kills[number]
            break
        if what == "set_market" and markets.get(BOOK) == "halted":
            self.markets[BOOK] = "halted"

    @rule(what=st.sampled_from(["revoke", "quarantine", "renew", "present"]), said=st.booleans())
    def a_process_that_only_decides_changes_nothing(self, what: str, said: bool) -> None:
        engine = next(one for one in ENGINES if one not in AUTHORITIES)
        how = {"renew": {"not_after": math.inf}, "present": {"risk": 1}}.get(what, {})
        with pytest.raises(Refused) as refused:
            self.ask(engine, "change_all", what, 'User::"ann"', **how, **(WHO if said else {}))
        assert refused.value.args[0] == "RoleError"
        with pytest.raises(Refused) as refused:
            self.ask(engine, "admit", 'User::"ann"', not_after=math.inf)
        assert refused.value.args[0] == "RoleError"
        for change in (("kill", "firm", None), ("set_market", DOC, "halted"), ("release", 7)):
            with pytest.raises(Refused) as refused:
                self.ask(engine, *change)
            assert refused.value.args[0] == "RoleError"


def test_every_process_decides_as_the_model_says() -> None:
    did.clear()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{HISTORIES} histories: " + ", ".join(f"{count} {what}" for what, count in did.most_common()))
    assert did["decisions"] > 100 * HISTORIES
    # A few histories may miss one of them.
    assert HISTORIES < 100 or all(did[f"{code} by live attributes"] for code in BY_LIVE)
