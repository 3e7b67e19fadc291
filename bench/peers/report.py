"""The results of a measurement: tables, marks, JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.peers.race import Figures, Heat

# From Python: how many times faster than the check by hand, and than the fastest engine, ztfast should be.
HAND_MARK = 15.0
ENGINE_MARK = 200.0
# Natively: ztfast's time, as a multiple of the check by hand over ids with sessions, should not exceed this.
NATIVE_MARK = 1.3

# The width that a table needs.
WIDTH = 130

HEADINGS = (("python", "from Python"), ("native", "native"))


@dataclass(frozen=True, slots=True)
class Mark:
    """A wanted ratio at one size.

    Attributes:
        text: The description of the ratio.
        policies: The size.
        found: The measured ratio.
        wanted: The wanted ratio.
        met: Whether the mark is met.
    """

    text: str
    policies: int
    found: float
    wanted: str
    met: bool


def marks(heats: Sequence[Heat]) -> list[Mark]:
    """Compute all marks for which there are figures."""
    found = []
    for heat in heats:
        by_name = heat.figures
        if mine := by_name.get("ztfast"):
            if hand := by_name.get("python-session"):
                times = hand.p50_ns / mine.p50_ns
                text = "Python: ahead of the check by hand, session checked"
                found.append(Mark(text, heat.policies, times, f">= {HAND_MARK:g}x", times >= HAND_MARK))
            engines = [one for one in by_name.values() if one.peer.side == "python" and one.peer.kind == "engine"]
            if engines:
                best = min(engines, key=lambda one: one.p50_ns)
                times = best.p50_ns / mine.p50_ns
                text = f"Python: ahead of the fastest engine ({best.peer.name})"
                found.append(Mark(text, heat.policies, times, f">= {ENGINE_MARK:g}x", times >= ENGINE_MARK))
        if mine := by_name.get("ztfast-native"):
            if hand := by_name.get("rust-ids-session"):
                times = mine.p50_ns / hand.p50_ns
                text = "native: times the check by hand over ids, session checked"
                found.append(Mark(text, heat.policies, times, f"<= {NATIVE_MARK:g}x", times <= NATIVE_MARK))
            others = [one for one in by_name.values() if one.peer.side == "native" and is_behind(one)]
            if others:
                best = min(others, key=lambda one: one.p50_ns)
                times = best.p50_ns / mine.p50_ns
                text = f"native: ahead of every other peer (nearest: {best.peer.name})"
                found.append(Mark(text, heat.policies, times, "> 1x", times > 1))
    return found


def is_behind(one: Figures) -> bool:
    """Return whether ztfast should be faster: than all engines, and than the check by hand that looks up names.

    The check over ids has a mark of its own, and checks without a session do less than ztfast.
    """
    return one.peer.kind == "engine" or one.peer.name == "rust-strings-session"


def against(heat: Heat, one: Figures, kind: str) -> float | None:
    """Return the ratio of a peer's p50 to that of ztfast, or of the floor, on the same side."""
    for other in heat.figures.values():
        if other.peer.side == one.peer.side and other.peer.kind == kind:
            return one.p50_ns / other.p50_ns
    return None


def tables(heats: Sequence[Heat], console: Console) -> None:
    """Print a table for each size. On a narrow terminal lines are folded, not cut."""
    console.width = max(console.width, WIDTH)
    for heat in heats:
        title = f"{heat.policies:,} policies, {heat.allowed:.0%} of the requests allowed; times are per decision"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("", "version", "p50", "p99", "x ztfast", "x floor", "answered", "samples"):
            table.add_column(column, justify="left" if column in ("", "version") else "right", no_wrap=True)
        for side, heading in HEADINGS:
            of_side = [one for one in heat.figures.values() if one.peer.side == side]
            if of_side:
                table.add_row(f"[bold]{heading}[/]")
            for one in of_side:
                table.add_row(*row(heat, one))
        console.print(table)
        clocks = sorted({one.clock_ns for one in heat.figures.values()})
        console.print(f"each sample contains one reading of the clock, {clocks[0]} to {clocks[-1]} ns", style="dim")
        console.print()


def row(heat: Heat, one: Figures) -> list[str]:
    """Return the cells of one peer."""

    def times(ratio: float | None) -> str:
        return "" if ratio is None else f"{ratio:,.2f}" if ratio < 10 else f"{ratio:,.0f}"

    samples = f"{one.samples:,}" + (f" of {one.batch}" if one.batch > 1 else "")
    ratios = (times(against(heat, one, kind)) for kind in ("ztfast", "floor"))
    answered = "" if one.peer.kind == "floor" else f"{one.answered:,}"
    return [f"  {one.peer.title}", one.version, duration(one.p50_ns), duration(one.p99_ns), *ratios, answered, samples]


def duration(ns: float) -> str:
    """Format a duration in a fitting unit, with three digits.

    >>> duration(43.21), duration(8_733), duration(1_102_477), duration(153_000_000)
    ('43.2 ns', '8.73 us', '1.10 ms', '153 ms')
    """
    value, unit = next(
        (ns / size, unit) for size, unit in ((1e6, "ms"), (1e3, "us"), (1, "ns")) if ns >= size or size == 1
    )
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def markdown(heats: Sequence[Heat]) -> str:
    """Make the table of README.md: p50 and p99 by peer and size."""
    sizes = [f"{heat.policies:,}" for heat in heats]
    lines = [f"| p50 / p99 a decision | version | {' | '.join(sizes)} |", f"|---|---|{'---:|' * len(heats)}"]
    for side, heading in HEADINGS:
        lines.append(f"| **{heading}** | |{' |' * len(heats)}")
        for first in heats[0].figures.values():
            if first.peer.side == side:
                found = [heat.figures[first.peer.name] for heat in heats]
                cells = (f"{duration(one.p50_ns)} / {duration(one.p99_ns)}" for one in found)
                lines.append(f"| {first.peer.title} | {first.version} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_json(heats: Sequence[Heat], found: Sequence[Mark]) -> dict[str, Any]:
    """Convert everything for JSON: figures in nanoseconds, ratios of p50."""
    return {
        "machine": {"processors": os.cpu_count(), "machine": platform.machine(), "system": platform.platform()},
        "sizes": [
            {
                "policies": heat.policies,
                "allowed": heat.allowed,
                "difference": heat.difference,
                "peers": [
                    {
                        "peer": one.peer.name,
                        "side": one.peer.side,
                        "kind": one.peer.kind,
                        "version": one.version,
                        "p50_ns": one.p50_ns,
                        "p99_ns": one.p99_ns,
                        "times_ztfast": against(heat, one, "ztfast"),
                        "times_floor": against(heat, one, "floor"),
                        "batch": one.batch,
                        "samples": one.samples,
                        "answered": one.answered,
                        "clock_ns": one.clock_ns,
                    }
                    for one in heat.figures.values()
                ],
            }
            for heat in heats
        ],
        "marks": [asdict(mark) for mark in found],
    }
