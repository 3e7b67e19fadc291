"""The result of a run: its figures, as JSON and as tables.

The JSON is one object with the fields of :class:`Report` and of the classes within it:

==============  ======================================================================================================
``schema``      The number of this format. A file with another number is refused.
``machine``     The program and the machine: ``when`` (UTC), ``ztfast``, ``build`` ("release", or "debug", whose
                figures mean nothing), ``python``, ``numpy``, ``system``, ``cpu`` (the model), ``cpus``, ``pinned``
                (CPU, or null).
``settings``    ``rounds``, ``quick``, ``per_second`` (the rate of the open loops).
``floors``      :class:`Figure` of each floor, without ratio.
``series``      :class:`Figure` of each series, with the ratio to its floor.
``tails``       :class:`TailFigure` of all calls timed one by one.
``noise``       :class:`Noise`: the interruptions of a thread that did nothing else, in the same rounds.
``marks``       :class:`Mark` of each promised figure.
``comparison``  With ``--compare`` only: ``before`` (the time of that run), ``changes`` (:class:`ztfast.bench.Change`).
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

__all__ = [
    "NATIVE",
    "Figure",
    "Mark",
    "Noise",
    "Report",
    "Spread",
    "TailFigure",
    "machine",
    "markdown",
    "native_key",
    "spread",
    "tables",
]

SCHEMA = 1

NATIVE = "desk_native_"
"""What the keys of native decisions on the desk begin with."""

WORKLOADS = {
    "book": "A book of five policies: decisions in bulk, one CPU",
    "desk": "The example desk: decisions in bulk, one CPU; floor: C call",
    "identity": "Admissions by certificate, and verifications",
}
"""The workloads, and the titles of their tables."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a figure over the rounds.

    Attributes:
        median: The median.
        low, high: The quartiles. Half of the rounds lie between them.
    """

    median: float
    low: float
    high: float


def spread(figures: list[float]) -> Spread:
    """Compute the spread of a figure over the rounds.

    >>> spread([1.0, 2.0, 3.0, 4.0, 9.0])
    Spread(median=3.0, low=2.0, high=4.0)
    """
    low, median, high = (float(value) for value in np.quantile(figures, (0.25, 0.5, 0.75)))
    return Spread(median, low, high)


@dataclass(frozen=True, slots=True)
class Figure:
    """A series or a floor.

    Attributes:
        key, name: The name in results and in tables.
        ns: The nanoseconds of one call or decision.
        floor: The key of the floor that it is compared with; ``None`` for a floor.
        ratio: The ratio to that floor. It is computed for each round, because a slow moment of the machine affects
            both.
        workload: What is decided: ``book`` (five policies) or ``desk`` (the example desk); ``identity`` for admissions.
    """

    key: str
    name: str
    ns: Spread
    floor: str | None = None
    ratio: Spread | None = None
    workload: str = "book"


@dataclass(frozen=True, slots=True)
class TailFigure:
    """Calls timed one by one.

    Attributes:
        key, name: The name in results and in tables.
        floor: The key of the tail that measures the clock alone; ``None`` for such a tail, and for open loops.
        quantiles: The quantiles over all rounds.
        p50, p999: These quantiles of each round, as ratios to the floor's median in that round, if there is a floor.
        curve: The curve, as pairs of percentile and nanoseconds.
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
        quantiles: The quantiles of the gaps, over all rounds.
        lost: The share of the thread's time, from 0 to 1, that gaps of more than a microsecond took.
        curve: The curve, as pairs of percentile and nanoseconds.
    """

    quantiles: Quantiles
    lost: float
    curve: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A promised figure.

    Attributes:
        what: The description of the figure.
        found: The median over the rounds.
        at_most: The largest figure that meets the mark.
        met: Whether the mark is met.
        unit: ``x`` for a ratio, ``ns`` for nanoseconds.
    """

    what: str
    found: float
    at_most: float
    met: bool
    unit: str = "x"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run; the module describes its JSON."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    floors: list[Figure]
    series: list[Figure]
    tails: list[TailFigure]
    noise: Noise
    marks: list[Mark]
    schema: int = SCHEMA

    def to_json(self, **more: Any) -> str:
        """Convert to JSON, on one line, with additional fields."""
        return json.dumps({**asdict(self), **more})

    @staticmethod
    def read(path: Path) -> Report:
        """Read a file that :meth:`to_json` made.

        Raises:
            BenchError: if the file is missing, is not a result of a run, or has another format.
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
    """Build a report from its JSON."""

    def figure(of: dict[str, Any]) -> Figure:
        # Files of runs before the desk was measured do not name the workload.
        workload = of.get("workload", "book")
        return Figure(of["key"], of["name"], Spread(**of["ns"]), of["floor"], ratio(of["ratio"]), workload)

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
    """Describe the program and the machine; ``cpu`` is the CPU that the thread is pinned to.

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
    """Return the name of the processor, or the platform's name for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def tables(report: Report) -> RenderableType:
    """Make the tables of a report."""
    about, settings = report.machine, report.settings
    where = "not pinned" if about["pinned"] is None else f"pinned to CPU {about['pinned']} of {about['cpus']}"
    heading = Text(
        f"ztfast {about['ztfast']}, {about['python']}, {about['cpu']}, {where}; "
        f"{settings['rounds']} rounds, all figures in each"
    )
    shown: list[RenderableType] = [heading]
    if about["build"] == "debug":
        shown.append(Text("This is a debug build: its figures mean nothing. Install a release build.", "bold red"))
    # Without pyca, no admissions by certificate are measured.
    measured = [workload for workload in WORKLOADS if any(of.workload == workload for of in report.series)]
    for table in (_floors(report), *(_series(report, workload) for workload in measured), _tails(report)):
        shown += [Text(), table]
    shown += [Text(), _noise(report)]
    return Group(*shown)


def native_key(key: str) -> str:
    """Return the key of the native decision of the same request on the desk.

    >>> native_key("desk_order_2")
    'desk_native_order_2'
    """
    return NATIVE + key.removeprefix("desk_")


def markdown(report: Report) -> str:
    """Make the table of the desk's figures as Markdown: from Python, as ratios to an empty C call, and natively."""
    ns = {of.key: of.ns.median for of in (*report.floors, *report.series)}
    lines = [
        "| decision on the example desk | from Python, ns | x empty C call | natively, ns |",
        "| --- | ---: | ---: | ---: |",
        f"| an empty call | {ns['c_call']:,.1f} | 1.0 | {ns['pointer_call']:,.1f} |",
    ]
    for of in report.series:
        if of.ratio and of.workload == "desk" and not of.key.startswith(NATIVE):
            native = ns.get(native_key(of.key))
            shown = "" if native is None else f"{native:,.1f}"
            lines.append(f"| {of.name} | {of.ns.median:,.1f} | {of.ratio.median:,.1f} | {shown} |")
    return "\n".join(lines) + "\n"


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False, box=None)
    for position, column in enumerate(columns):
        # Names wrap where there is little room; figures never do, because a part of a figure says something else.
        made.add_column(column, justify="right" if position else "left", no_wrap=bool(position))
    return made


def _floors(report: Report) -> Table:
    made = _table("Floors", "", "ns", "middle half of rounds")
    for of in report.floors:
        made.add_row(of.name, f"{of.ns.median:,.1f}", f"{of.ns.low:,.1f} - {of.ns.high:,.1f}")
    return made


def _series(report: Report, workload: str) -> Table:
    names = {floor.key: floor.name.split(",")[0].removeprefix("empty ") for floor in report.floors}
    # All of the desk's have one floor. Each stands beside the native decision of the same request.
    is_desk = workload == "desk"
    native = {of.key: of for of in report.series if of.key.startswith(NATIVE)}
    beside = {native_key(of.key) for of in report.series if of.key not in native}
    made = _table(WORKLOADS[workload], "", "ns", "x floor", "middle half", "native" if is_desk else "floor")
    for of in report.series:
        if of.ratio and of.workload == workload and of.key not in beside:
            low, median, high = map(_ratio, (of.ratio.low, of.ratio.median, of.ratio.high))
            twin = native.get(native_key(of.key))
            natively = f"{twin.ns.median:,.1f}" if twin else ""
            last = natively if is_desk else names[of.floor or ""]
            made.add_row(of.name, f"{of.ns.median:,.1f}", median, f"{low} - {high}", last)
    return made


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 1_000 else f"{ratio:.2f}"


def _tails(report: Report) -> Table:
    made = _table("One by one, ns, including the clock", "", "p50", "p90", "p99", "p99.9", "p99.99", "max")
    rows = [*((of.name, of.quantiles) for of in report.tails), ("a spinning thread's gaps", report.noise.quantiles)]
    for name, of in rows:
        figures = (of.p50_ns, of.p90_ns, of.p99_ns, of.p999_ns, of.p9999_ns, of.max_ns)
        made.add_row(name, *map(_short, figures))
    return made


def _short(ns: float) -> str:
    """Format nanoseconds; long times get a larger unit."""
    if ns < 10_000:
        return f"{ns:,.0f}"
    return f"{ns / 1e3:,.0f}us" if ns < 1e6 else f"{ns / 1e6:,.1f}ms"


def _noise(report: Report) -> Text:
    of = report.noise.quantiles
    return Text(
        f"Noise of the machine, as gaps of a spinning thread: p50 {of.p50_ns:,.0f} ns, p99.9 {of.p999_ns:,.0f} ns, "
        f"max {of.max_ns / 1e3:,.0f} us; gaps above 1 us took {report.noise.lost:.2%} of its time. "
        "A tail that is not longer than these gaps comes from the machine."
    )
