"""``ztfast demo``: compile the example desk, decide, revoke, swap and measure."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text as Styled

from ztfast import _core, examples
from ztfast.bench import Histogram, bulk, closed_loop, quantiles
from ztfast.bench.desk import DeskWorkload, desk_series
from ztfast.bench.floors import empty_function
from ztfast.bench.loops import quiet
from ztfast.bench.report import NATIVE, native_key
from ztfast.bundle import Bundle, compile
from ztfast.cli.certificates import BRIEFLY, Certified, Identities, admit_all, certified, show_identities, wait_for_end
from ztfast.cli.compiling import totals
from ztfast.cli.output import Json, UsageError, console, json_out, number, progress_bar, say, table, working
from ztfast.cli.processes import OPERATOR, STRATEGY, VENUE, tell_of_processes
from ztfast.cli.stream import Desk, Request
from ztfast.engine import Engine
from ztfast.errors import SourceError
from ztfast.gate import Decision, Session, empty_call
from ztfast.identities import Identity
from ztfast.sources import Text

__all__ = ["demo_command"]

INCIDENT = """
// An incident at one venue: its gateways sent stale prices. No new orders go there until the cause is known.
@id("incident-xnas")
forbid (principal, action in [Action::"order.new", Action::"order.amend"], resource is Instrument)
when { resource.venue == Venue::"XNAS" };
"""
EFFECTS = {"ALLOW": "green", "STEP_UP": "yellow", "DENY": "red"}
SEGMENTS = ("trading", "market-data", "customer", "settlement", "general-it")
MOST_PROCESSES = 16
REQUESTS, SEED = 200_000, 7
HERO, STOCK = 'Algo::"a7"', 'Instrument::"AAPL"'
# They run the same strategy. One gets another certificate, one is revoked by its CA.
ROTATED, LOST = 'Algo::"a8"', 'Algo::"a40"'
TIMED = 200_000
ROUNDS, CALLS = 15, 4_000


@dataclass
class Story:
    """The results of the stream: decisions by segment and by reason, and events; and what certificates did."""

    by_segment: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_reason: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    identities: Identities | None = None


def demo_command(
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests", "-n", min=1_000, help="The number of requests to decide.", show_default=str(REQUESTS)
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The seed of the stream. The same seed gives the same requests.", show_default=str(SEED)),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_PROCESSES,
            help="From 2 on: show how so many processes share a state, instead of the stream.",
        ),
    ] = 1,
    as_json: Json = False,
) -> None:
    """Show the example desk: compile it, admit by certificate, decide, swap the bundle, kill, revoke, and measure.

    The output shows decisions by segment and by reason, the effects of a swap, of kills, which cancels pass, and of
    revocations during the stream, one of them by a CA's new list, and the time of a decision by each of the desk's
    gates beside an empty C call and an empty Python call of the same run. The certificates are from a PKI that is made
    in a temporary folder.

    With --processes, an authority and processes that only decide share a temporary state. The output shows what one of
    them changes, what the others decide before and after, and how soon.
    """
    for option, given in (("--requests", requests), ("--seed", seed)):
        if processes > 1 and given is not None:
            raise UsageError(f"{option}: with --processes there is no stream of requests: give one of them")
    requests, seed = requests or REQUESTS, SEED if seed is None else seed
    folder = examples.desk()
    if not (folder / "policies").is_dir():
        raise SourceError(f"{folder}: the example desk is missing; run the demo from an installed ztfast or a checkout")
    bundle = compiled(as_json)
    if processes > 1:
        tell_of_processes(bundle, processes, as_json)
        return
    desk = Desk(folder, seed)
    with tempfile.TemporaryDirectory(prefix="ztfast-demo-") as made:
        story, engine, sessions = tell(desk, bundle, requests, certified(Path(made)), quiet=as_json)
    if not as_json:
        console.print(totals(bundle, "The desk, compiled"))
        show_story(story, requests)
    measured = measure(bundle, engine, sessions, desk)
    if as_json:
        shown = {
            "seed": seed,
            "requests": requests,
            "seconds": story.seconds,
            "segments": [{"segment": s, "effect": e, "count": n} for (s, e), n in sorted(story.by_segment.items())],
            "reasons": [{"reason": r, "effect": e, "count": n} for (r, e), n in story.by_reason.most_common()],
            "events": story.events,
            "identities": None if story.identities is None else asdict(story.identities),
            "latency": {
                "floors": {
                    "c_call_ns": measured.c_call_ns,
                    "python_call_ns": measured.python_call_ns,
                    "native_call_ns": measured.native_call_ns,
                },
                "allows_ns": measured.by_key["desk_order_2"],
                "decisions": [{"key": key, "name": name, "ns": ns} for key, name, ns in measured.decisions],
                "clock_ns": measured.clock_ns,
                "single": asdict(quantiles(measured.taken)),
            },
        }
        json_out(shown)
        return
    show_latency(measured)


def compiled(quiet: bool, *more: Text) -> Bundle:
    """Compile the desk, with additional policies."""
    folder = examples.desk()
    with working(quiet) as progress:
        return compile(
            [folder / "policies", *more],
            schema=folder / "desk.cedarschema",
            entities=folder / "desk.entities.json",
            exempt='Action::"reduce-risk"',
            progress=progress,
        )


def tell(
    desk: Desk, bundle: Bundle, count: int, proving: Certified | None, quiet: bool
) -> tuple[Story, Engine, dict[str, Session]]:
    """Decide the requests of the stream; swap, kill a venue and a strategy, and revoke sessions meanwhile."""
    engine = Engine(bundle)
    incident = compiled(True, Text(INCIDENT, "incident.cedar"))
    story = Story()
    sessions: dict[str, Session] = {}
    if proving is not None:
        sessions, story.identities = admit_all(engine, proving, desk.principals)
    until = time.time() + 3600
    for uid in desk.principals:
        if uid not in sessions:
            sessions[uid] = engine.admit(Identity(uid, not_after=until, factors=["x509"]))

    def decide(request: Request) -> Decision:
        if request.proof is not None:
            at = time.time() - request.proof["age"]
            sessions[request.principal].present(factors=request.proof["factors"], at=at)
        return engine.decide(sessions[request.principal], request.action, request.resource, request.context)

    def note(event: str, position: int, act: Callable[[], object], who: str) -> None:
        before = decide(order_of(who))
        began = time.perf_counter()
        act()
        taken = time.perf_counter() - began
        then, cancelled = decide(order_of(who)), decide(Request(who, "order.cancel", STOCK, {}))
        told = {"before": repr(before), "then": repr(then), "cancel": repr(cancelled)}
        story.events.append({"event": event, "after": position, "seconds": taken, "principal": who, **told})

    def kill(scope: str) -> Callable[[], object]:
        return lambda: engine.kill(scope, by=OPERATOR, reason="stale prices")

    def release(scope: str) -> Callable[[], object]:
        def act() -> None:
            for killed in engine.kills():
                if str(killed.scope) == scope:
                    engine.release_kill(killed, by=OPERATOR, reason="prices are right again")

        return act

    # The revocation of its session is the last one, so that orders of the hero show the others.
    events: list[tuple[str, Callable[[], object], str]] = [
        ("swap to a bundle that closes XNAS", lambda: engine.swap(incident), HERO),
        ("swap back", lambda: engine.swap(bundle), HERO),
        (f"kill {VENUE}", kill(VENUE), HERO),
        (f"release {VENUE}", release(VENUE), HERO),
        (f"kill {STRATEGY}", kill(STRATEGY), HERO),
        (f"release {STRATEGY}", release(STRATEGY), HERO),
        (f"revoke the session of {HERO}", sessions[HERO].revoke, HERO),
    ]
    if proving is not None:
        listed = f"read CRL {proving.revoke(LOST)} of the CA of algorithms, which revokes {LOST}"
        events.insert(-1, (listed, proving.authorities.reload, LOST))
    due = {count * (at + 2) // 10: event for at, event in enumerate(events)}
    first = None if proving is None else rotate(engine, proving, sessions)

    def rotated() -> list[str]:
        both = (first, sessions[ROTATED]) if first is not None else ()
        return [repr(engine.decide(session, *order_of(ROTATED)[1:4])) for session in both]

    if story.identities is not None:
        story.identities.rotated, story.identities.while_both = ROTATED, rotated()

    bar = progress_bar()
    task = bar.add_task("decide", total=count)
    began = time.perf_counter()
    if not quiet:
        bar.start()
    try:
        for position, request in enumerate(desk.requests(count)):
            if position in due:
                event, act, who = due[position]
                note(event, position, act, who)
            decision = decide(request)
            story.by_segment[desk.segment(request.resource), decision.effect] += 1
            for reason in decision.reasons or (f"({decision.code.lower().replace('_', ' ')})",):
                story.by_reason[reason, decision.effect] += 1
            if position % 5_000 == 0:
                bar.update(task, completed=position)
    finally:
        bar.stop()
    story.seconds = time.perf_counter() - began
    if story.identities is not None and proving is not None and first is not None:
        wait_for_end(first)
        story.identities.after_the_first = rotated()
        story.identities.refusal = proving.refusal(engine, LOST)
    return story, engine, sessions


def order_of(principal: str) -> Request:
    """Return the order whose decisions show what an event does."""
    return Request(principal, "order.new", STOCK, {"notional": 250_000, "qty": 100})


def rotate(engine: Engine, proving: Certified, sessions: dict[str, Session]) -> Session:
    """Give a principal a certificate that ends soon, and then another one. Return the session by the first."""
    first = engine.admit(proving.renew(ROTATED, lasts=BRIEFLY))
    sessions[ROTATED] = engine.admit(proving.renew(ROTATED))
    return first


def show_story(story: Story, count: int) -> None:
    """Print the tables of decisions."""
    console.print()
    show_identities(story.identities)
    console.print()
    say(f"{number(count)} requests decided in {story.seconds:.1f} s, contexts as dicts")
    console.print()
    segments = table("Decisions by segment", "", *EFFECTS)
    for segment in SEGMENTS:
        segments.add_row(segment, *(number(story.by_segment[segment, effect]) for effect in EFFECTS))
    console.print(segments)
    console.print()
    for effect, colour in EFFECTS.items():
        reasons = table(Styled.assemble((effect, colour), ": most frequent reasons"), "", "")
        of_effect = Counter({reason: n for (reason, e), n in story.by_reason.items() if e == effect})
        for reason, n in of_effect.most_common(8):
            reasons.add_row(reason, number(n))
        console.print(reasons)
        console.print()
    say(("Events", "bold"), f": may {HERO} buy 100 {STOCK} for 250,000, and then cancel orders?")
    for event in story.events:
        say(f"  after {number(event['after'])} requests: {event['event']} ({event['seconds'] * 1e3:.2f} ms)")
        whose = "" if event["principal"] == HERO else f" an order of {event['principal']}:"
        say(f"    before:{whose} {event['before']}")
        say(f"    after:  {event['then']}; a cancel: {event['cancel']}")
        if whose and story.identities is not None:
            say(f"    it is not admitted any more: {story.identities.refusal}")


@dataclass(frozen=True, slots=True)
class Measured:
    """Nanoseconds per call: empty in C, in Python and natively, reading the clock; per decision; and calls one by one.

    A decision has a key, a name and its nanoseconds.
    """

    c_call_ns: float
    python_call_ns: float
    native_call_ns: float
    clock_ns: float
    decisions: list[tuple[str, str, float]]
    taken: Histogram

    @property
    def by_key(self) -> dict[str, float]:
        """The nanoseconds of the decisions, by key."""
        return {key: ns for key, _, ns in self.decisions}


def measure(bundle: Bundle, engine: Engine, sessions: dict[str, Session], desk: Desk) -> Measured:
    """Time decisions of the desk's gates and the floors in turn, and then single decisions of one gate."""
    gate = engine.prepare("order.new", "notional", "qty")
    algos = [uid for uid in desk.by_type["Algo"] if uid not in (HERO, LOST)]
    chance = desk.chance
    rows: list[tuple[Any, ...]] = []
    for _ in range(TIMED):
        algo = chance.choice(algos)
        resource = engine.resource(chance.choice(desk.instruments_of[algo] or [STOCK]))
        rows.append((sessions[algo], resource, chance.choice((40_000, 250_000, 2_500_001)), 100))
    floors = [*(bulk(call, *rows[0]) for call in (empty_call, empty_function)), empty_native_calls]
    # The story has revoked a session, so the requests are decided by an engine of their own.
    series = desk_series(DeskWorkload(bundle), CALLS)
    with quiet():
        rounds = [[*(call(CALLS) for call in floors), *(of.once(of.count) for of in series)] for _ in range(ROUNDS)]
    c_call, python_call, native_call, *decided = (float(ns) for ns in np.median(rounds, axis=0))
    clock = quantiles(closed_loop(empty_call, rows[: TIMED // 4])).p50_ns
    decisions = [(of.key, of.name, ns) for of, ns in zip(series, decided, strict=True)]
    return Measured(c_call, python_call, native_call, clock, decisions, closed_loop(gate.allows, rows))


def empty_native_calls(count: int) -> float:
    """Return the nanoseconds of an empty call from native code."""
    return _core.time_pointer_calls(count) / count


def show_latency(measured: Measured) -> None:
    """Print the latency tables and the histogram."""
    console.print()
    calls = table("One decision on the desk, timed in bulk", "", "ns", "x C call", "x Python call", "natively, ns")
    c_call, python_call, native = measured.c_call_ns, measured.python_call_ns, measured.by_key
    rows = [
        ("empty C call, four arguments", c_call, measured.native_call_ns),
        ("empty Python call, four arguments", python_call, None),
        *(
            (name, ns, native.get(native_key(key)))
            for key, name, ns in measured.decisions
            if not key.startswith(NATIVE)
        ),
    ]
    for what, ns, natively in rows:
        last = "" if natively is None else f"{natively:,.1f}"
        calls.add_row(what, f"{ns:,.1f}", f"{ns / c_call:,.2f}", f"{ns / python_call:,.2f}", last)
    console.print(calls)
    say(f'Medians of {ROUNDS} rounds. Each row but "at random" asks the same again and again, with warm caches.')
    console.print()
    taken = quantiles(measured.taken)
    say(
        (f"Gate.allows, {number(taken.count)} calls timed one by one", "bold"),
        f": random algorithms and instruments; each includes {measured.clock_ns:.0f} ns for the clock",
    )
    histogram(measured.taken)
    shown = (("p50", taken.p50_ns), ("p99", taken.p99_ns), ("p99.9", taken.p999_ns), ("max", taken.max_ns))
    say("  " + "   ".join(f"{name} {value:,.0f} ns" for name, value in shown))
    net = max(taken.p50_ns - measured.clock_ns, 0)
    say(f"  p50 without the clock: {net:,.0f} ns, {net / c_call:.1f} empty C calls")
    say("  `ztfast bench` measures these figures more precisely.")


def histogram(taken: Histogram) -> None:
    """Print a histogram. Two ranges double the time; the bars are logarithmic, so that tails are visible."""
    low = int(np.log2(max(taken.quantile_ns(0.0), 1)) * 2)
    high = int(np.log2(taken.max_ns) * 2) + 1
    edges = [2 ** (step / 2) for step in range(low, high + 1)]
    counts = np.diff([taken.count_to(edge) for edge in edges])
    longest = np.log10(counts.max() + 1)
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        bar = "█" * round(np.log10(count + 1) / longest * 36)
        say(f"  {start:>9,.0f} - {end:>9,.0f} ns  {bar:<36} {count:>9,}")
