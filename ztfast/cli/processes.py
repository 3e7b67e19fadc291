"""``ztfast demo --processes``: processes on one state see what any of them revokes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ztfast.bundle import Bundle
from ztfast.cli.certificates import BRIEFLY, MISSING, Certified, certified, wait_for_end
from ztfast.cli.output import console, json_out, number, progress_bar, say
from ztfast.engine import Engine
from ztfast.errors import Error
from ztfast.gate import Session
from ztfast.identities import Identity

__all__ = ["tell_of_processes"]

ALGO, SECOND, THIRD = 'Algo::"a7"', 'Algo::"a8"', 'Algo::"a40"'
STOCK, ELSEWHERE = 'Instrument::"AAPL"', 'Instrument::"IBM"'
VENUE, STRATEGY = 'Venue::"XNAS"', 'Strategy::"eq-momentum-us"'
ORDER = {"notional": 250_000, "qty": 100}
OPERATOR, SECOND_PERSON = "ann", "bob"

SIZES = {"sessions": 1_024, "handles": 1 << 14}

LEAVING_S = 10.0
"""The seconds for which a process may take to end."""


@dataclass(slots=True)
class Event:
    """Something that one process did, and what the others decided before and after.

    Attributes:
        what: What was done.
        who: Which process did it.
        before, then: The decision in each process, the first one's first.
        seconds: How long it took.
        seen_us: When each other process made the first decision by the new state: microseconds after the call returned,
            less than zero if before.
        count: How many decisions by the old state they made while waiting for it, all before the call returned.
    """

    what: str
    who: str
    before: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)
    seconds: float = 0.0
    seen_us: list[float] = field(default_factory=list)
    count: int = 0


class Decider:
    """A process that only decides."""

    def __init__(self, state: Path, bundle: Path) -> None:
        self.process = started("ztfast.cli.decider", stdin=subprocess.PIPE)
        self.put({"state": str(state), "bundle": str(bundle)})

    def put(self, asked: dict[str, Any]) -> None:
        """Send a question."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self.gone() from None

    def answer(self) -> dict[str, Any]:
        """Wait for an answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self.gone()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def gone(self) -> Error:
        """Return the error for a process that ended by itself."""
        said = self.end().strip().splitlines()
        return Error(f"process {self.process.pid} ended by itself: {said[-1] if said else self.process.returncode}")

    def end(self) -> str:
        """Let the process end, or end it, and return what it said on standard error."""
        try:
            return self.process.communicate(timeout=LEAVING_S)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[1]
        except (OSError, ValueError):
            # It is gone, and its input with it.
            self.process.kill()
            self.process.wait()
            return ""


def started(module: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start another process that runs a module of this ztfast."""
    path = os.pathsep.join(os.path.abspath(part) for part in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
    )


@contextmanager
def clean_end() -> Iterator[None]:
    """Let the system's request to end be Ctrl-C, so that nothing is left behind."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C while files and processes are taken away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stage(bundle: Bundle, count: int, quiet: bool) -> Iterator[tuple[Path, Engine, list[Decider]]]:
    """Make a state in a directory of its own, with an authority and processes that decide."""
    # A tmpfs, where there is one: a state is memory.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    deciders: list[Decider] = []
    with clean_end(), ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="ztfast-demo-", dir=shared)

        def leave() -> None:
            with uninterrupted():
                for decider in deciders:
                    decider.end()
                folder.cleanup()

        stack.callback(leave)
        path, saved = Path(folder.name) / "state", Path(folder.name) / "desk.ztb"
        bar = progress_bar()
        task = bar.add_task("start processes", total=count)
        if not quiet:
            stack.enter_context(bar)
        bundle.save(saved)
        engine = Engine(bundle, state=path, **SIZES)  # type: ignore[arg-type]
        bar.update(task, completed=1)
        for _ in range(count - 1):
            deciders.append(Decider(path, saved))
        for position, decider in enumerate(deciders, 2):
            decider.answer()
            bar.update(task, completed=position)
        bar.stop()
        yield path, engine, deciders


@dataclass(frozen=True, slots=True)
class Probe:
    """A request whose decisions are watched."""

    session: Session
    action: str = "order.new"
    resource: str = STOCK
    context: dict[str, Any] = field(default_factory=lambda: dict(ORDER))

    def asked(self, ask: str) -> dict[str, Any]:
        """Return the question for another process."""
        return {
            "ask": ask,
            "session": self.session.id,
            "action": self.action,
            "resource": self.resource,
            "context": self.context,
        }


class Story:
    """What happens in the demo."""

    def __init__(self, engine: Engine, deciders: list[Decider], quiet: bool) -> None:
        self.engine, self.deciders, self.quiet = engine, deciders, quiet
        self.events: list[Event] = []

    def decide(self, probe: Probe) -> str:
        """Decide in this process."""
        return repr(self.engine.decide(probe.session, probe.action, probe.resource, probe.context))

    def watched(self, what: str, probe: Probe, act: Callable[[], object], who: str = "the authority") -> Event:
        """Do something while the other processes decide, and find out when they decide otherwise.

        Raises:
            Error: if a process decided by the old state after the call had returned.
        """
        event = Event(what, who, before=[self.decide(probe)])
        for decider in self.deciders:
            decider.put(probe.asked("watch"))
        event.before += [told(decider.answer())["decision"] for decider in self.deciders]
        began_ns = time.monotonic_ns()
        act()
        returned_ns = time.monotonic_ns()
        event.seconds = (returned_ns - began_ns) / 1e9
        event.then.append(self.decide(probe))
        for decider in self.deciders:
            answer = told(decider.answer())
            if answer["last_ns"] > returned_ns:
                late = (answer["last_ns"] - returned_ns) / 1e3
                raise Error(f"a process decided by the old state {late:.1f} us after: {what} (this is a bug in ztfast)")
            event.then.append(answer["decision"])
            event.seen_us.append((answer["at_ns"] - returned_ns) / 1e3)
            event.count += answer["count"]
        return self.note(event)

    def asked(self, what: str, probe: Probe) -> Event:
        """Decide in all processes."""
        event = Event(what, "", then=[self.decide(probe)])
        for decider in self.deciders:
            decider.put(probe.asked("decide"))
            event.then.append(told(decider.answer())["decision"])
        return self.note(event)

    def markets(self, what: str, resource: str) -> Event:
        """Ask all processes for the state of a market."""
        event = Event(what, "", then=[self.engine.market_state(resource)])
        for decider in self.deciders:
            decider.put({"ask": "market", "resource": resource})
            event.then.append(told(decider.answer())["market"])
        return self.note(event)

    def refused(self, what: str, probe: Probe) -> Event:
        """Let a process that only decides try to revoke a session."""
        event = Event(what, "process 2", before=[self.decide(probe)])
        self.deciders[0].put(probe.asked("revoke"))
        answer = self.deciders[0].answer()
        if "error" not in answer:
            raise Error("a process that only decides revoked a session (this is a bug in ztfast)")
        event.then = [f"{answer['error']}: {answer['message']}", self.decide(probe)]
        return self.note(event)

    def said(self, text: str) -> None:
        """Print a sentence."""
        if not self.quiet:
            console.print()
            say(text)

    def note(self, event: Event) -> Event:
        """Keep an event, and print it."""
        self.events.append(event)
        if self.quiet:
            return event
        console.print()
        took = f" ({event.seconds * 1e3:.2f} ms)" if event.seconds else ""
        say((event.what, "bold"), took)
        if not event.seen_us:
            lines = dict.fromkeys(event.then)
            where = "in every process: " if len(lines) == 1 and not event.who else ""
            for line in lines:
                say(f"    {where}{short(line)}")
            return event
        names = ["process 1", *(f"process {position}" for position in range(2, len(event.then) + 1))]
        for position, (name, before, then) in enumerate(zip(names, event.before, event.then, strict=True)):
            when = "" if not position else f", {moment_after(event.seen_us[position - 1])}"
            say(f"    {name}: {short(before)} -> {short(then)}{when}")
        return event


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is no error."""
    if "error" in answer:
        raise Error(f"{answer['error']} in another process: {answer['message']}")
    return answer


def short(decision: str) -> str:
    """Return what a decision says, without its class.

    >>> short("Decision(DENY, REVOKED)")
    'DENY, REVOKED'
    """
    return decision.removeprefix("Decision(").removesuffix(")")


def moment_after(microseconds: float) -> str:
    """Say when the first decision by the new state was made.

    >>> moment_after(12.34), moment_after(4_567.0), moment_after(-3.0)
    ('first 12.3 us after the call returned', 'first 4.6 ms after the call returned', 'first before the call returned')
    """
    if microseconds < 0:
        return "first before the call returned"
    late = f"{microseconds:.1f} us" if microseconds < 1_000 else f"{microseconds / 1_000:,.1f} ms"
    return f"first {late} after the call returned"


def tell_of_processes(bundle: Bundle, count: int, as_json: bool) -> None:
    """Show that processes on one state see what any of them changes, and leave nothing behind."""
    with stage(bundle, count, as_json) as (path, engine, deciders):
        story = Story(engine, deciders, as_json)
        if not as_json:
            say(
                (f"{count} processes on one state", "bold"),
                f": process 1 is an authority, {others(count)}. May an algorithm buy 100 {STOCK}?",
            )
        proving = certified(path.with_name("identity"))
        first, second = (admitted(engine, proving, uid) for uid in (ALGO, SECOND))
        if proving is None:
            story.said(MISSING)
        else:
            tell_of_certificates(story, proving)
        tell_of_sessions(story, first, second)
        tell_of_kills(story, path, first)
        story.watched(f"process 1 revokes {ALGO}", Probe(first), first.revoke)
        story.watched(
            f"an operator revokes {SECOND} by `ztfast session revoke`",
            Probe(second),
            lambda: operate(path, OPERATOR, "session", "revoke", SECOND),
            who="the command line",
        )
        if as_json:
            json_out({"processes": count, "events": [asdict(event) for event in story.events]})
            return
        console.print()
        waited = sum(event.count for event in story.events)
        say(
            f"{number(waited)} decisions of the other processes meanwhile, none by the old state after a call returned."
        )
        say("A process that waits for a processor decides later, but then by the new state.")


def admitted(engine: Engine, proving: Certified | None, uid: str) -> Session:
    """Admit a principal by its certificate, if it has one."""
    if proving is None:
        return engine.admit(Identity(uid, not_after=math.inf, factors=["x509"]))
    return engine.admit(proving.credential(uid))


def tell_of_certificates(story: Story, proving: Certified) -> None:
    """Give an algorithm another certificate, and revoke it by a new list of its CA."""
    engine = story.engine
    old = engine.admit(proving.renew(THIRD, lasts=BRIEFLY))
    new = engine.admit(proving.renew(THIRD))
    story.asked(f"{THIRD} has a certificate that ends soon, and a session by it", Probe(old))
    story.asked("it is admitted by another certificate, and has a second session", Probe(new))
    wait_for_end(old)
    story.asked("the first certificate has ended, and with it the first session", Probe(old))
    story.asked("the second session goes on", Probe(new))
    story.watched(
        f"process 1 reads CRL {proving.revoke(THIRD)} of the CA of algorithms, which revokes {THIRD}",
        Probe(new),
        proving.authorities.reload,
    )
    refused = Event(f"process 1 does not admit {THIRD} any more", "process 1", then=[proving.refusal(engine, THIRD)])
    story.note(refused)


def tell_of_sessions(story: Story, first: Session, second: Session) -> None:
    """Quarantine a session, and try to revoke one where that is not allowed."""
    probe, engine = Probe(second), story.engine
    story.watched(f"process 1 puts {SECOND} in quarantine", probe, lambda: engine.quarantine(SECOND, by=OPERATOR))
    end = f"process 1 ends the quarantine of {SECOND}"
    story.watched(end, probe, lambda: engine.quarantine(SECOND, on=False, by=OPERATOR))
    story.refused(f"process 2 tries to revoke the session of {ALGO}", Probe(first))


def tell_of_kills(story: Story, path: Path, session: Session) -> None:
    """Kill a venue and release it, kill a strategy by the command line, and halt a market."""
    engine, probe = story.engine, Probe(session)
    cancel = Probe(session, action="order.cancel", context={})
    story.watched(
        f"process 1 kills {VENUE}, for two persons to release",
        probe,
        lambda: engine.kill(VENUE, by=OPERATOR, reason="stale prices", two_persons=True),
    )
    story.asked(f"a cancel at {VENUE} passes", cancel)
    story.asked(f"an order at another venue ({ELSEWHERE}) passes", Probe(session, resource=ELSEWHERE))
    (venue,) = engine.kills()
    engine.release_kill(venue, by=OPERATOR, reason="prices are right again")
    story.asked(f"{OPERATOR} alone does not release {VENUE}", probe)
    story.watched(
        f"{SECOND_PERSON} releases {VENUE}, too",
        probe,
        lambda: engine.release_kill(venue, by=SECOND_PERSON, reason="prices are right again"),
    )
    story.watched(
        f"an operator kills {STRATEGY} by `ztfast kill`",
        probe,
        lambda: operate(path, OPERATOR, "kill", STRATEGY),
        who="the command line",
    )
    story.asked(f"a cancel of {STRATEGY} passes", cancel)
    story.watched(
        f"an operator releases {STRATEGY} by `ztfast kill release`",
        probe,
        lambda: operate(path, OPERATOR, "kill", "release", STRATEGY),
        who="the command line",
    )
    engine.market(STOCK, "halted", by=OPERATOR, reason="news pending")
    story.markets(f"process 1 halts the market of {STOCK}", STOCK)
    engine.market(STOCK, "normal", by=OPERATOR, reason="trading resumes")


def others(count: int) -> str:
    """Name the other processes."""
    return "process 2 only decides" if count == 2 else f"processes 2 to {count} only decide"


def operate(state: Path, by: str, *command: str) -> None:
    """Run a command on the state, in a process of its own."""
    options = ("--by", by, "--reason", "demo", "--state", str(state))
    with started("ztfast.cli", *command, *options) as process:
        _, said = process.communicate()
    if process.returncode:
        raise Error(f"`ztfast {' '.join(command)}` failed: {said.strip()}")
