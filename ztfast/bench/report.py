"""The result of a run: its figures, as JSON and as tables.

The JSON is one object; its fields are those of :class:`Report` and of what that holds, under the same names:

==============  ======================================================================================================
``schema``      The number of this format. A file of another number is refused.
``machine``     What ran where: ``when`` (UTC), ``ztfast``, ``build`` ("release", or "debug", whose figures mean
                nothing), ``python``, ``numpy``, ``system``, ``cpu`` (the model), ``cpus``, ``pinned`` (CPU, or null).
``settings``    ``rounds``, ``quick``, ``per_second`` (the rate of the open loops).
``floors``      :class:`Figure` of each floor, without ratio.
``series``      :class:`Figure` of each series, with the ratio to its floor.
``tails``       :class:`TailFigure` of all that was timed one by one.
``noise``       :class:`Noise`: what the machine did to a thread that did nothing, meanwhile.
``marks``       :class:`Mark` of each promise.
``comparison``  With ``--compare`` only: ``before`` (when that run was) and ``changes`` (:class:`ztfast.bench.Change`).
==============  ======================================================================================================

All times are in nanoseconds. A spread is an object of ``median``, ``low`` and ``high`` (the quartiles over the rounds).
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import ztfast
from ztfast import _core
from ztfast.bench.histogram import Quantiles
from ztfast.bench.loops import BenchError
from ztfast.errors import SourceError
from ztfast.sources import read_file

__all__ = ["Figure", "Mark", "Noise", "Report", "Spread", "TailFigure", "machine", "spread", "tables"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds.

    Attributes:
        median: In the middle.
        low, high: The quartiles: half of the rounds lie between.
    """

    median: float
    low: float
    high: float


def spread(figures: list[float]) -> Spread:
    """The spread of one figure per round.

    >>> spread([1.0, 2.0, 3.0, 4.0, 9.0])
    Spread(median=3.0, low=2.0, high=4.0)
    """
    low, median, high = (float(value) for value in np.quantile(figures, (0.25, 0.5, 0.75)))
    return Spread(median, low, high)


@dataclass(frozen=True, slots=True)
class Figure:
    """A series or a floor.

    Attributes:
        key, name: What it is called in results, and by people.
        ns: Nanoseconds of one call or decision.
        floor: The key of the floor it is set against; ``None`` for a floor.
        ratio: How many times that floor: the spread of each round's own ratio, because a slow spell of the machine
            falls on both.
    """

    key: str
    name: str
    ns: Spread
    floor: str | None = None
    ratio: Spread | None = None


@dataclass(frozen=True, slots=True)
class TailFigure:
    """Calls timed one by one.

    Attributes:
        key, name: As of a figure.
        floor: The key of the tail that is the clock alone; ``None`` for one itself, and for open loops.
        quantiles: Over all rounds.
        p50, p999: The same quantiles of each round, as ratios of the floor's median in that round, if it has a floor.
        curve: Pairs of percentile and nanoseconds.
    """

    key: str
    name: str
    floor: str | None
    quantiles: Quantiles
    p50: Spread | None
    p999: Spread | None
    curve: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Noise:
    """The gaps between readings of the clock by a thread that does nothing else.

    Attributes:
        quantiles: Of the gaps, over all rounds.
        lost: The share of the thread's time, from 0 to 1, that gaps longer than a microsecond took away.
        curve: Pairs of percentile and nanoseconds.
    """

    quantiles: Quantiles
    lost: float
    curve: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A promise: a ratio that must not be above so much.

    Attributes:
        what: The promise.
        found: The median over the rounds.
        at_most: What was promised.
        met: Whether it was kept.
    """

    what: str
    found: float
    at_most: float
    met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run; see the module for its JSON."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    floors: list[Figure]
    series: list[Figure]
    tails: list[TailFigure]
    noise: Noise
    marks: list[Mark]
    schema: int = SCHEMA

    def to_json(self, **more: Any) -> str:
        """As JSON, on one line, with these fields added."""
        return json.dumps({**asdict(self), **more})

    @staticmethod
    def read(path: Path) -> Report:
        """Read what :meth:`to_json` gave.

        Raises:
            BenchError: where the file is missing, is no result of a run, or is one of another format.
        """
        try:
            found = json.loads(read_file(str(path))[1])
        except SourceError as error:
            raise BenchError(str(error)) from None
        except (ValueError, RecursionError) as error:
            raise BenchError(f"{path}: not JSON: {error}") from None
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise BenchError(f"{path}: wanted a result of this version's `ztfast bench --json` (schema {SCHEMA})")
        try:
            return _report(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BenchError(f"{path}: not a whole result of `ztfast bench --json`: {error}") from None


def _report(found: dict[str, Any]) -> Report:
    """A report of its JSON."""

    def figure(of: dict[str, Any]) -> Figure:
        return Figure(of["key"], of["name"], Spread(**of["ns"]), of["floor"], ratio(of["ratio"]))

    def ratio(of: dict[str, float] | None) -> Spread | None:
        return Spread(**of) if of else None

    def points(of: list[list[float]]) -> list[tuple[float, float]]:
        return [(percentile, ns) for percentile, ns in of]

    def tail(of: dict[str, Any]) -> TailFigure:
        spreads = ratio(of["p50"]), ratio(of["p999"])
        return TailFigure(
            of["key"], of["name"], of["floor"], Quantiles(**of["quantiles"]), *spreads, points(of["curve"])
        )

    noise = found["noise"]
    return Report(
        machine=found["machine"],
        settings=found["settings"],
        floors=[figure(of) for of in found["floors"]],
        series=[figure(of) for of in found["series"]],
        tails=[tail(of) for of in found["tails"]],
        noise=Noise(Quantiles(**noise["quantiles"]), noise["lost"], points(noise["curve"])),
        marks=[Mark(**of) for of in found["marks"]],
    )


def machine(cpu: int | None) -> dict[str, Any]:
    """What runs where, on this CPU.

    >>> machine(None)["ztfast"] == ztfast.__version__
    True
    """
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "ztfast": ztfast.__version__,
        "build": "debug" if _core.DEBUG else "release",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "pinned": cpu,
    }


def _cpu_model() -> str:
    """The processor's own name; where it tells none, what the platform calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def tables(report: Report) -> RenderableType:
    """A report as people read it."""
    about, settings = report.machine, report.settings
    where = "not pinned" if about["pinned"] is None else f"pinned to CPU {about['pinned']} of {about['cpus']}"
    heading = Text(
        f"ztfast {about['ztfast']}, {about['python']}, {about['cpu']}, {where}; "
        f"{settings['rounds']} rounds, all figures in each"
    )
    shown: list[RenderableType] = [heading]
    if about["build"] == "debug":
        shown.append(Text("This is a debug build: its figures mean nothing. Install a release build.", "bold red"))
    return Group(
        *shown, Text(), _floors(report), Text(), _series(report), Text(), _tails(report), Text(), _noise(report)
    )


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False, box=None)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position else "left", no_wrap=True)
    return made


def _floors(report: Report) -> Table:
    made = _table("Floors", "", "ns", "middle half of rounds")
    for of in report.floors:
        made.add_row(of.name, f"{of.ns.median:,.1f}", f"{of.ns.low:,.1f} - {of.ns.high:,.1f}")
    return made


def _series(report: Report) -> Table:
    names = {floor.key: floor.name.split(",")[0].removeprefix("empty ") for floor in report.floors}
    made = _table("Decisions in bulk, one CPU", "", "ns", "x floor", "middle half", "floor")
    for of in report.series:
        if of.ratio:
            low, median, high = map(_ratio, (of.ratio.low, of.ratio.median, of.ratio.high))
            made.add_row(of.name, f"{of.ns.median:,.1f}", median, f"{low} - {high}", names[of.floor or ""])
    return made


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 1_000 else f"{ratio:.2f}"


def _tails(report: Report) -> Table:
    made = _table("One by one, ns, the clock's own time in each", "", "p50", "p90", "p99", "p99.9", "p99.99", "max")
    rows = [*((of.name, of.quantiles) for of in report.tails), ("a spinning thread's gaps", report.noise.quantiles)]
    for name, of in rows:
        figures = (of.p50_ns, of.p90_ns, of.p99_ns, of.p999_ns, of.p9999_ns, of.max_ns)
        made.add_row(name, *map(_short, figures))
    return made


def _short(ns: float) -> str:
    """Nanoseconds; where they are many, in a larger unit that is said."""
    if ns < 10_000:
        return f"{ns:,.0f}"
    return f"{ns / 1e3:,.0f}us" if ns < 1e6 else f"{ns / 1e6:,.1f}ms"


def _noise(report: Report) -> Text:
    of = report.noise.quantiles
    return Text(
        f"The machine's own noise, gaps of a spinning thread: p50 {of.p50_ns:,.0f} ns, p99.9 {of.p999_ns:,.0f} ns, "
        f"max {of.max_ns / 1e3:,.0f} us; gaps above 1 us took {report.noise.lost:.2%} of its time. "
        "A tail that is no longer than such gaps is the machine's."
    )
