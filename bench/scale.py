"""Measurements at the scale of a whole firm: ``python -m bench.scale [--json] [--quick] [--folder FOLDER]``.

The marks are figures or ratios of one run (exit code 1 if one is missed):

- 100,000 policies over 1,000,000 principals and 1,000,000 resources compile in 30 s and 8 GiB, 10,000 policies over
  10,000 + 10,000 in 1 s; the time grows near-linearly (the exponent over the sizes is printed);
- opening the large bundle, which includes copying it, takes at most 2.5 times as long as reading its file on this
  machine at that moment, and processes that get its descriptor share its pages;
- a decision's median at 100,000 policies is at most 1.2 times the median at 10, on the same requests;
- with 1,000 to 1,000,000 entities drawn at random, the median is at most twice the time of two dependent loads at
  random places of as many bytes, on this machine at that moment;
- ``decide_many`` on random principals and resources has at least four times the throughput of the loop of single
  decisions;
- a change of one entity takes at most 100 microseconds; a swap delays no decision by more than a microsecond.

Native code times the decisions one by one with the processor's counter, and the floors in the same way.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import ztfast
from bench.estate import Estate
from ztfast import _core

LARGE = Estate(100_000, 1_000_000, 1_000_000)
VALUES = [500, 1_000]
NAMES = ["qty", "notional"]
SAMPLES = 200_000
console = Console()

Row = dict[str, Any]


def table(title: str, rows: Sequence[Row]) -> None:
    """Print a table of rows that have the same keys."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for at, column in enumerate(rows[0]):
        made.add_column(column, justify="right" if at else "left")
    for row in rows:
        made.add_row(
            *(f"{v:,.2f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else str(v) for v in row.values())
        )
    console.print(made)
    console.print()


class Marks:
    """The marks, and the figures found."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def hold(self, what: str, found: float, most: float, unit: str) -> None:
        """Record a figure that must not exceed its mark."""
        self.rows.append(
            {"mark": what, "found": found, "at most": most, "unit": unit, "": "met" if found <= most else "MISSED"}
        )

    def met(self) -> bool:
        """Whether all marks are met."""
        return all(row[""] == "met" for row in self.rows)


def quantiles(ticks: Sequence[int], scale: float) -> dict[str, float]:
    """Convert ticks of the counter to nanoseconds."""
    at = np.quantile(np.asarray(ticks) / scale, (0.5, 0.99, 0.999))
    return {"p50": float(at[0]), "p99": float(at[1]), "p99.9": float(at[2])}


# -- compiling ---------------------------------------------------------------------------------------------------------

COMPILE = """
import json, resource, sys, time, ztfast
folder, out, form, base = sys.argv[1:5]
began = time.perf_counter()
bundle = ztfast.compile(
    f"{folder}/estate.cedar", schema=f"{folder}/estate.cedarschema", entities=f"{folder}/estate.entities.json",
    form=form or None, base=ztfast.Bundle.load(base) if base else None,
)
took = time.perf_counter() - began
bundle.save(out)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": took, "peak_gib": peak / 2**20, "hash": bundle.hash}))
"""


def compile_apart(folder: Path, out: Path, form: str = "", base: str = "") -> Row:
    """Compile an estate's files in a separate process, so that its memory can be measured."""
    command = [sys.executable, "-c", COMPILE, str(folder), str(out), form, base]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Row = json.loads(done.stdout)
    return found


def written(root: Path, estate: Estate) -> Path:
    """Return the folder with an estate's files."""
    folder = root / f"{estate.policies}-{estate.principals}-{estate.resources}"
    if not folder.is_dir():
        estate.write(folder)
    return folder


def compiling(root: Path, marks: Marks, sizes: Sequence[Estate]) -> list[Row]:
    """Compile estates of growing size, and compute the exponent of the growth of the time."""
    rows: list[Row] = []
    for estate in sizes:
        folder = written(root, estate)
        found = compile_apart(folder, folder / "estate.ztb")
        bundle = ztfast.Bundle.load(folder / "estate.ztb")
        memory = bundle.stats.memory
        rows.append(
            {
                "policies": estate.policies,
                "principals": estate.principals,
                "resources": estate.resources,
                "seconds": found["seconds"],
                "peak GiB": found["peak_gib"],
                "bundle MB": bundle.stats.bytes / 1e6,
                "bytes/principal": memory.per_principal,
                "bytes/resource": memory.per_resource,
                "bytes/policy": memory.per_policy,
                "forms": ", ".join(layer.form for action in bundle.stats.actions for layer in action.layers),
            }
        )
    table("Compiling (each in a process of its own)", rows)
    work = np.log([row["policies"] + row["principals"] + row["resources"] for row in rows])
    exponent = float(np.polyfit(work, np.log([row["seconds"] for row in rows]), 1)[0])
    console.print(f"time grows with the size to the power of {exponent:.2f}\n")
    if sizes[-1] == LARGE:
        marks.hold("compile 100,000 over 1,000,000 + 1,000,000", rows[-1]["seconds"], 30, "s")
        marks.hold("its memory at most", rows[-1]["peak GiB"], 8, "GiB")
    marks.hold(
        "compile 10,000 over 10,000 + 10,000",
        next(r["seconds"] for r in rows if r["policies"] == r["principals"]),
        1,
        "s",
    )
    marks.hold("exponent of growth", exponent, 1.2, "")
    return rows


def from_base(root: Path, estate: Estate) -> list[Row]:
    """Compile again after a change of policies, with and without the old bundle."""
    folder = written(root, estate)
    changed = root / "changed"
    changed.mkdir(exist_ok=True)
    for name in ("estate.cedarschema", "estate.entities.json"):
        link = changed / name
        if not link.exists():
            link.symlink_to(folder / name)
    policies = (folder / "estate.cedar").read_text()
    (changed / "estate.cedar").write_text(
        policies + "forbid (principal, action, resource) when { principal.level > 8 };\n"
    )
    rows: list[Row] = []
    base = str(folder / "estate.ztb")
    for what, where, old in (
        ("one policy more", changed, ""),
        ("one policy more, --base", changed, base),
        ("nothing changed, --base", folder, base),
    ):
        found = compile_apart(where, root / "again.ztb", "", old)
        rows.append(
            {"what": what, "seconds": found["seconds"], "peak GiB": found["peak_gib"], "bundle": found["hash"][:12]}
        )
    table("Compiling again", rows)
    if rows[0]["bundle"] != rows[1]["bundle"]:
        raise AssertionError("a base must not change the bundle")
    return rows


# -- opening -----------------------------------------------------------------------------------------------------------

OPEN = """
import re, sys, time, ztfast
bundle = ztfast.Bundle.load(int(sys.argv[1]))
engine = ztfast.Engine(bundle, sessions=16, handles=16)
print("ready", flush=True)
sys.stdin.readline()
text = open("/proc/self/smaps").read()
entry = next(part for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text) if "memfd:ztfast-bundle" in part)
size = lambda name: int(re.search(rf"(?m)^{name}: +(\\d+)", entry)[1])
print(size("Rss"), size("Pss"), size("Private_Clean") + size("Private_Dirty"))
"""


def opening(path: Path, marks: Marks) -> list[Row]:
    """Measure the time of opening a bundle, and the memory that two processes share."""
    taken, floor = [], []
    for _ in range(9):
        began = time.perf_counter()
        path.read_bytes()
        floor.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        bundle = ztfast.Bundle.load(path)
        taken.append((time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    bundle.check()
    checked = (time.perf_counter() - began) * 1e3
    descriptor = bundle.share()
    began = time.perf_counter()
    ztfast.Bundle.load(descriptor)
    handed = (time.perf_counter() - began) * 1e3
    command = [sys.executable, "-c", OPEN, str(descriptor)]
    several = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[descriptor])
        for _ in range(2)
    ]
    os.close(descriptor)
    for process in several:
        if process.stdout is not None:
            process.stdout.readline()
    sizes = [list(map(int, process.communicate("\n")[0].split())) for process in several]
    rss, pss, private = sizes[0]
    opened, read = float(np.median(taken)), float(np.median(floor))
    rows: list[Row] = [
        {"what": "open (median of 9)", "found": opened, "unit": "ms"},
        {"what": "read the file, nothing else (median of 9)", "found": read, "unit": "ms"},
        {"what": "check every byte", "found": checked, "unit": "ms"},
        {"what": "open a descriptor of its memory", "found": handed, "unit": "ms"},
        {"what": "pages in memory, one of two processes that were handed it", "found": rss / 1024, "unit": "MiB"},
        {"what": "of them not shared", "found": private / 1024, "unit": "MiB"},
        {"what": "its proportional share", "found": pss / 1024, "unit": "MiB"},
    ]
    table(f"Opening {path.stat().st_size / 1e6:,.0f} MB", rows)
    marks.hold("open the large bundle", opened / read, 2.5, "times reading its file")
    marks.hold("open a descriptor of its memory", handed, 10, "ms")
    marks.hold("pages of it that two processes do not share", private / max(rss, 1), 0.01, "of its pages")
    return rows


# -- deciding ----------------------------------------------------------------------------------------------------------


class Desk:
    """An engine over a bundle, with a session for each principal and a handle for each resource."""

    def __init__(self, bundle: ztfast.Bundle, principals: int, resources: int) -> None:
        self.bundle = bundle
        self.engine = ztfast.Engine(bundle, sessions=principals + 1, handles=principals + resources + 64)
        forever = float("inf")
        self.admitted = [
            self.engine.admit(ztfast.Identity(ztfast.Uid("Algo", f"a{n}"), not_after=forever))
            for n in range(principals)
        ]
        self.named = [self.engine.resource(ztfast.Uid("Instrument", f"i{n}")) for n in range(resources)]
        self.sessions = np.array([session.id for session in self.admitted], np.uint64)
        self.resources = np.array([resource.handle for resource in self.named], np.uint64)
        self.gate = self.engine._core.prepare("order.new", NAMES)

    def draw(self, count: int, seed: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Draw random sessions and resources."""
        chance = np.random.default_rng(seed)
        return (
            self.sessions[chance.integers(0, len(self.sessions), count)],
            self.resources[chance.integers(0, len(self.resources), count)],
        )

    def each(self, count: int = SAMPLES) -> list[int]:
        """Time single decisions about random pairs, in ticks."""
        sessions, resources = self.draw(count)
        _core.time_each(self.gate, sessions[: count // 4].tolist(), resources[: count // 4].tolist(), VALUES)
        return _core.time_each(self.gate, sessions.tolist(), resources.tolist(), VALUES)


def nested(policies: int) -> str:
    """Write policies of which the first ten are always the same: four apply to all principals, six to desk 0.

    The others apply to other desks.
    """
    limit = "context.qty <= 5000 && context.notional < 1000000"
    first = [
        'forbid (principal, action == Action::"order.new", resource) when { principal.level < 1 };',
        'forbid (principal, action == Action::"order.new", resource) when { context.qty > 50000 };',
        "forbid (principal, action, resource) when { resource.lot > 990 };",
        'forbid (principal, action, resource) when { principal.region == "apac" && resource.sector == "sector3" };',
    ]
    when = f" when {{ {limit} }}"
    desk = 'principal in Desk::"d0", action == Action::"order.new"'
    first += [f'permit ({desk}, resource in Segment::"s{n}"){when if n % 2 else ""};' for n in range(6)]
    draw = random.Random(policies)
    rest = [
        f'permit (principal in Desk::"d{1 + n % 999}", action == Action::"order.new", '
        f'resource in Segment::"s{draw.randrange(1_000)}") when {{ context.qty <= {draw.randrange(1, 1_000) * 100} }};'
        for n in range(policies - len(first))
    ]
    return "\n".join(first + rest) + "\n"


def over_policies(root: Path, marks: Marks, sizes: Sequence[int]) -> list[Row]:
    """Decide the same requests under the same applicable policies, among more and more policies about other desks."""
    # The number of desks of an Estate with 10,000 policies.
    around = written(root, Estate(10_000, 10_000, 10_000))
    desks = []
    for policies in sizes:
        folder = root / f"nested-{policies}"
        folder.mkdir(exist_ok=True)
        for name in ("estate.cedarschema", "estate.entities.json"):
            if not (folder / name).exists():
                (folder / name).symlink_to(around / name)
        (folder / "estate.cedar").write_text(nested(policies))
        compile_apart(folder, folder / "estate.ztb")
        desks.append(Desk(ztfast.Bundle.load(folder / "estate.ztb"), 10_000, 10_000))
    scale = _core.ticks_per_ns()
    # Desk 0 has each thousandth algorithm, segment s each thousandth instrument from s on.
    pairs = [(algo, segment + 1_000 * at) for algo in range(0, 8_000, 1_000) for at, segment in enumerate(range(8))]
    chance = np.random.default_rng(6)
    order = chance.integers(0, len(pairs), SAMPLES // 4)

    def hot(desk: Desk) -> list[int]:
        chosen = np.array(pairs)[order]
        sessions, resources = desk.sessions[chosen[:, 0]], desk.resources[chosen[:, 1]]
        return _core.time_each(desk.gate, sessions.tolist(), resources.tolist(), VALUES)

    # In turn, so that a slow moment of the machine affects all of them.
    rounds: list[list[dict[str, float]]] = [[] for _ in sizes]
    drawn: list[list[float]] = [[] for _ in sizes]
    for _ in range(7):
        for at, desk in enumerate(desks):
            rounds[at].append(quantiles(hot(desk), scale))
            drawn[at].append(quantiles(desk.each(SAMPLES // 8), scale)["p50"])
    rows: list[Row] = []
    for at, (policies, desk, taken) in enumerate(zip(sizes, desks, rounds, strict=True)):
        middle = {name: float(np.median([one[name] for one in taken])) for name in ("p50", "p99", "p99.9")}
        forms = ", ".join(layer.form for action in desk.bundle.stats.actions for layer in action.layers)
        by = middle["p50"] / (rows[0]["p50"] if rows else middle["p50"])
        at_random = float(np.median(drawn[at]))
        rows.append({"policies": policies, **middle, "x first": by, "others, at random p50": at_random, "forms": forms})
    table("A decision by the number of policies, on the same 64 requests, ns", rows)
    marks.hold(f"p50 at {sizes[-1]:,} policies by that at {sizes[0]:,}", rows[-1]["x first"], 1.2, "x")
    return rows


def over_entities(root: Path, marks: Marks, sizes: Sequence[Estate]) -> tuple[list[Row], Desk]:
    """Decide about more and more entities, drawn at random, beside two dependent loads over as many bytes."""
    rows: list[Row] = []
    desk = None
    for estate in sizes:
        folder = written(root, estate)
        if not (folder / "estate.ztb").exists():
            compile_apart(folder, folder / "estate.ztb")
        bundle = ztfast.Bundle.load(folder / "estate.ztb")
        desk = Desk(bundle, estate.principals, estate.resources)
        # Decisions may read the bundle's tables, and the engine's tables of sessions and handles.
        memory = bundle.stats.memory
        size = memory.tables + memory.entities + 64 * estate.principals + 16 * (estate.principals + estate.resources)
        scale = _core.ticks_per_ns()
        pairs = []
        for _ in range(15):
            decided = quantiles(desk.each(SAMPLES // 4), scale)
            loads = quantiles(_core.time_loads(size, SAMPLES // 4), scale)
            pairs.append((decided, loads))
        middle = sorted(pairs, key=lambda pair: pair[0]["p50"] / pair[1]["p50"])[7]
        rows.append(
            {
                "entities": estate.principals + estate.resources,
                "MB": size / 1e6,
                "decision p50": middle[0]["p50"],
                "p99": middle[0]["p99"],
                "two loads p50": middle[1]["p50"],
                "x two loads": middle[0]["p50"] / middle[1]["p50"],
            }
        )
    table(f"A decision by the number of entities, at random ({sizes[-1].policies:,} policies at the most), ns", rows)
    for row in rows:
        marks.hold(f"p50 over {row['entities']:,} entities", row["x two loads"], 2, "x two loads")
    if desk is None:
        raise ValueError("wanted at least one size")
    return rows, desk


def batches(desk: Desk, marks: Marks, count: int) -> list[Row]:
    """Compare ``decide_many`` with the loop of single decisions."""
    sessions, resources = desk.draw(count, 2)
    gate = desk.engine.prepare("order.new", *NAMES)
    loop = _core.time_all(desk.gate, sessions.tolist(), resources.tolist(), VALUES) / count
    some = min(count, 200_000)
    by_id = {session.id: session for session in desk.admitted}
    by_handle = {resource.handle: resource for resource in desk.named}
    as_objects = [
        (by_id[s], by_handle[r]) for s, r in zip(sessions[:some].tolist(), resources[:some].tolist(), strict=True)
    ]
    qty, notional = VALUES
    loops, many = [], []
    for _ in range(5):
        began = time.perf_counter_ns()
        for session, instrument in as_objects:
            gate.allows(session, instrument, qty, notional)
        loops.append((time.perf_counter_ns() - began) / some)
        began = time.perf_counter_ns()
        gate.decide_many(sessions, resources, qty, notional)
        many.append((time.perf_counter_ns() - began) / count)
    python, batch = float(np.median(loops)), float(np.median(many))
    rows: list[Row] = [
        {"what": "loop of Gate.allows in Python", "ns": python, "x decide_many": python / batch},
        {"what": "the same loop without Python", "ns": float(loop), "x decide_many": loop / batch},
        {"what": "decide_many", "ns": batch, "x decide_many": 1.0},
    ]
    table(f"{count:,} random principals and resources, a decision", rows)
    marks.hold("decide_many's share of the time of the loop", batch / python, 0.25, "of the loop's time")
    return rows


def forms(root: Path, estate: Estate) -> list[Row]:
    """Measure each form of tables on the same policies."""
    folder = written(root, estate)
    desks = []
    for form in ("", "dense", "rows", "sets"):
        out = folder / f"estate-{form or 'chosen'}.ztb"
        made = compile_apart(folder, out, form)
        desks.append((form, made, Desk(ztfast.Bundle.load(out), estate.principals, estate.resources)))
    scale = _core.ticks_per_ns()
    wanted = None
    rows: list[Row] = []
    for form, made, desk in desks:
        # All forms must give the same answers to the same requests. Each engine has sessions and handles of its own.
        sessions, resources = desk.draw(100_000, 3)
        decided = desk.engine.prepare("order.new", *NAMES).decide_many(sessions, resources, *VALUES)
        wanted = decided if wanted is None else wanted
        if not (decided == wanted).all():
            raise AssertionError(f"{form}: the forms must agree")
        layers = [layer for action in desk.bundle.stats.actions for layer in action.layers]
        rows.append(
            {
                "form": form or "chosen: " + ", ".join(layer.form for layer in layers),
                "compile s": made["seconds"],
                "tables MB": sum(layer.bytes for layer in layers) / 1e6,
                "bundle MB": desk.bundle.stats.bytes / 1e6,
                **quantiles(desk.each(SAMPLES // 2), scale),
            }
        )
    table(
        f"Forms: {estate.policies:,} policies, {estate.principals:,} + {estate.resources:,} entities, ns a decision",
        rows,
    )
    return rows


def pathological(root: Path) -> list[Row]:
    """Compile policies that would make dense tables explode, and time decisions about other policies beside them."""
    scale = _core.ticks_per_ns()
    schema = (
        "entity U { n: Long }; entity D { owner: U, n: Long };"
        "action bad appliesTo { principal: U, resource: D, context: { x: Long } };"
        "action good appliesTo { principal: U, resource: D, context: { x: Long } };"
    )
    count = 20_000
    entities = [{"uid": {"type": "U", "id": str(n)}, "attrs": {"n": n}, "parents": []} for n in range(count)]
    entities += [
        {
            "uid": {"type": "D", "id": str(n)},
            "attrs": {"owner": {"type": "U", "id": str(n * 7 % count)}, "n": n},
            "parents": [],
        }
        for n in range(count)
    ]
    good = 'permit (principal, action == Action::"good", resource) when { context.x < 10 };'
    bad = 'action == Action::"bad"'
    cases = {
        "nothing else": "",
        "each principal its own class": "\n".join(
            f'permit (principal == U::"{n}", {bad}, resource == D::"{n}");' for n in range(count)
        ),
        "each policy its own residual": "\n".join(
            f"permit (principal, {bad}, resource) when {{ context.x == {n} }};" for n in range(5_000)
        ),
        "resource.owner == principal": f"permit (principal, {bad}, resource) when {{ resource.owner == principal }};",
        "principal.n == resource.n": f"permit (principal, {bad}, resource) when {{ principal.n == resource.n }};",
    }
    rows: list[Row] = []
    for name, policies in cases.items():
        began = time.perf_counter()
        bundle = ztfast.compile(
            ztfast.Text(f"{good}\n{policies}"), schema=ztfast.Text(schema, "s.cedarschema"), entities=entities
        )
        took = time.perf_counter() - began
        engine = ztfast.Engine(bundle, sessions=count + 1, handles=2 * count + 16)
        core = engine._core
        admitted = (ztfast.Identity(ztfast.Uid("U", str(n)), not_after=math.inf) for n in range(0, count, 20))
        sessions = [engine.admit(identity).id for identity in admitted]
        things = [core.handle("D", str(n)) for n in range(0, count, 20)]
        chance = np.random.default_rng(1)
        drawn = [chance.choice(np.array(all_of), SAMPLES // 8).tolist() for all_of in (sessions, things)]
        row: Row = {"besides": name, "compile s": took, "bundle MB": bundle.stats.bytes / 1e6}
        row["forms"] = ", ".join(layer.form for action in bundle.stats.actions for layer in action.layers)
        for action in ("good", "bad"):
            gate = core.prepare(action, ["x"])
            row[f"{action} p50 ns"] = float(
                np.median([quantiles(_core.time_each(gate, *drawn, [5]), scale)["p50"] for _ in range(3)])
            )
        rows.append(row)
    table(f"Pathological policies over {2 * count:,} entities, and decisions on another action beside them", rows)
    return rows


# -- changing ----------------------------------------------------------------------------------------------------------


def changing(desk: Desk, estate: Estate, marks: Marks) -> list[Row]:
    """Time the upsert and the removal of one entity in the large store."""
    chance = np.random.default_rng(4)

    def algo(number: int, level: int) -> Row:
        return {
            "uid": {"type": "Algo", "id": f"a{number}"},
            "attrs": {"region": "emea", "level": level},
            "parents": [{"type": "Desk", "id": f"d{number % estate.desks}"}],
        }

    numbers = [int(n) for n in chance.integers(0, estate.principals, 400)]
    began = time.perf_counter()
    desk.engine.upsert([algo(numbers[0], 9)])
    first = (time.perf_counter() - began) * 1e6
    timed: dict[str, list[float]] = {"upsert, known": [], "upsert, new": [], "remove": []}

    def time_one(name: str, call: Callable[[], object]) -> None:
        began = time.perf_counter_ns()
        call()
        timed[name].append((time.perf_counter_ns() - began) / 1e3)

    for at, number in enumerate(numbers):
        text = ztfast.Text(json.dumps([algo(number, at % 10)]), "one.json")
        time_one("upsert, known", lambda text=text: desk.engine.upsert(text))  # type: ignore[misc]
        fresh = ztfast.Text(json.dumps([algo(estate.principals + at, at % 10)]), "one.json")
        time_one("upsert, new", lambda text=fresh: desk.engine.upsert(text))  # type: ignore[misc]
        time_one("remove", lambda number=number: desk.engine.remove([estate.algo(number)]))  # type: ignore[misc]
    rows: list[Row] = [{"what": "the first", "p50": first, "p99": first}]
    for name, taken in timed.items():
        rows.append({"what": name, "p50": float(np.median(taken)), "p99": float(np.quantile(taken, 0.99))})
    table(f"Changing one entity of {estate.principals + estate.resources:,}, microseconds", rows)
    for name in timed:
        marks.hold(f"{name}, p50", float(np.median(timed[name])), 100, "us")
    marks.hold("the first change of all", first, 1_000, "us")
    return rows


def swapping(desk: Desk, path: Path, marks: Marks) -> list[Row]:
    """Time decisions while the large bundle is swapped again and again, beside the gaps of the machine."""
    scale = _core.ticks_per_ns()
    # The request is always the same, so only the swap and the machine can delay it.
    sessions, resources = desk.draw(1, 5)
    count = 2_000_000
    requests = sessions.tolist() * count, resources.tolist() * count

    def deciding() -> list[int]:
        return _core.time_each(desk.gate, *requests, VALUES)

    deciding()
    quiet = np.asarray(deciding()) / scale
    # What stops a thread comes by the clock. So nothing is timed for as long as a decision takes.
    least = int(np.median(quiet) * scale)

    def nothing() -> list[int]:
        return _core.time_nothing(count, least)

    idle = np.asarray(nothing()) / scale
    ready, swaps = threading.Event(), 0
    taken: list[np.ndarray[Any, Any]] = []
    idled: list[np.ndarray[Any, Any]] = []

    def decide_on() -> None:
        while not ready.is_set():
            taken.append(np.asarray(deciding()) / scale)
            idled.append(np.asarray(nothing()) / scale)

    thread = threading.Thread(target=decide_on)
    bundles = [ztfast.Bundle.load(path) for _ in range(3)]
    for bundle in bundles:
        bundle.check()
    thread.start()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        desk.engine.swap(bundles[swaps % 3])
        swaps += 1
    ready.set()
    thread.join()
    busy = np.concatenate(taken)
    rows: list[Row] = []
    for name, values in (
        ("nothing, alone", idle),
        (f"nothing, {swaps} swaps", np.concatenate(idled)),
        ("decisions, alone", quiet),
        (f"decisions, {swaps} swaps", busy),
    ):
        at = np.quantile(values, (0.5, 0.99, 0.999, 0.9999))
        over = float((values > at[0] + 1_000).mean() * 1e6)
        rows.append(
            {
                "what": name, "count": len(values), "p50": float(at[0]), "p99": float(at[1]), "p99.9": float(at[2]),
                "p99.99": float(at[3]), "over by 1 us, of a million": over,
            }
        )  # fmt: skip
    table("Swapping under way, ns a decision", rows)
    console.print(histogram({"alone": quiet, "swapping": busy}))
    # Each swap affects one decision of each gate, so only so many decisions can be slower.
    late = int((busy > np.median(busy) + 1_000).sum())
    rate = float((quiet > np.median(quiet) + 1_000).mean())
    of_nothing, of_decisions = (row["p99.99"] - row["p50"] for row in (rows[1], rows[3]))
    marks.hold("p99.99 over p50 while swapping", of_decisions, 1_000, "ns")
    marks.hold("the same, beyond that of a thread that does nothing", of_decisions - of_nothing, 1_000, "ns")
    marks.hold(
        "late decisions by those that the quiet machine has", late / len(busy) / max(rate, 1 / len(quiet)), 3, "x"
    )
    return rows


def histogram(series: dict[str, np.ndarray[Any, Any]]) -> Table:
    """Count values by powers of two."""
    made = Table(title="Histogram", title_justify="left", box=None, pad_edge=False, header_style="dim")
    made.add_column("up to ns")
    for name in series:
        made.add_column(name, justify="right")
    most = math.ceil(math.log2(max(values.max() for values in series.values())))
    for power in range(4, most + 1):
        counts = [int(((values > 2 ** (power - 1)) & (values <= 2**power)).sum()) for values in series.values()]
        if any(counts):
            made.add_row(f"{2**power:,}", *(f"{count:,}" for count in counts))
    return made


# -- all of it ---------------------------------------------------------------------------------------------------------


def run(root: Path, quick: bool) -> tuple[dict[str, Any], Marks]:
    """Run all measurements, in an order that compiles the large estate once."""
    marks = Marks()
    sizes = [Estate(n, n * 10, n * 10) for n in ((100, 1_000) if quick else (100, 1_000, 10_000))]
    sizes += [Estate(10_000, 10_000, 10_000)] if quick else [Estate(10_000, 10_000, 10_000), LARGE]
    large = sizes[-1]
    found: dict[str, Any] = {"compile": compiling(root, marks, sizes)}
    found["base"] = from_base(root, large)
    found["open"] = opening(written(root, large) / "estate.ztb", marks)
    found["policies"] = over_policies(
        root, marks, (10, 100, 1_000, 10_000) if quick else (10, 100, 1_000, 10_000, 100_000)
    )
    entities = [Estate(1_000, n // 2, n // 2) for n in (1_000, 10_000, 100_000)]
    found["entities"], desk = over_entities(
        root, marks, [*entities, *([] if quick else [Estate(1_000, 500_000, 500_000)])]
    )
    del desk
    desk = Desk(ztfast.Bundle.load(written(root, large) / "estate.ztb"), large.principals, large.resources)
    found["batch"] = batches(desk, marks, 100_000 if quick else 1_000_000)
    found["change"] = changing(desk, large, marks)
    found["swap"] = swapping(desk, written(root, large) / "estate.ztb", marks)
    del desk
    found["forms"] = forms(root, Estate(1_000, 10_000, 10_000))
    found["pathological"] = pathological(root)
    found["marks"] = marks.rows
    found["machine"] = {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    return found, marks


def main() -> int:
    """Print the figures, and return 1 if a mark is missed."""
    parser = argparse.ArgumentParser(description="Compile, open, decide, change and swap at the scale of a whole firm.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that it works")
    parser.add_argument("--folder", type=Path, help="where estates are kept from one run to the next")
    given = parser.parse_args()
    console.quiet = given.json
    with tempfile.TemporaryDirectory() as temporary:
        root = (given.folder or Path(temporary)).resolve()
        found, marks = run(root, given.quick)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        table("Marks", marks.rows)
    return 0 if marks.met() else 1


if __name__ == "__main__":
    sys.exit(main())
