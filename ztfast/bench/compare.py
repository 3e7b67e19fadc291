"""Comparison of a run with an earlier one, by ratios to floors, so that the speed of the machine cancels out.

Each series is compared with the floor of the same rounds. A change counts only if the middle halves of the two runs'
rounds do not overlap, because smaller changes lie within the noise of the machine. Two processes of the same program
have different memory layouts, which can change a figure by some percent. A limit should allow for that; the instruction
counts (``make bench-instructions``) do not have this problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ztfast.bench.report import Report, Spread
from ztfast.shown import one_line

__all__ = ["Change", "compare", "slower_than", "table"]


LEAST_PERCENT = 2.0
"""Smaller changes do not count: times of single calls are multiples of a clock step, so all rounds may be equal."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a figure.

    Attributes:
        key, name: The figure's key and name.
        before, now: Its ratio to its floor in the earlier run and in this one.
        percent: The growth of the ratio; above 0 is slower.
        beyond: Whether the change exceeds the spread of the rounds.
    """

    key: str
    name: str
    before: Spread
    now: Spread
    percent: float
    beyond: bool


def compare(now: Report, before: Report) -> list[Change]:
    """Compare the figures that both runs have: series in bulk, and p50 and p99.9 of calls timed one by one."""
    old = {key: found for key, _, found in _ratios(before)}
    return [_change(key, name, old[key], found) for key, name, found in _ratios(now) if key in old]


def slower_than(changes: list[Change], percent: float) -> list[Change]:
    """Return the figures that became slower by more than ``percent``, beyond the spread."""
    return [change for change in changes if change.beyond and change.percent > percent]


def _ratios(report: Report) -> Iterator[tuple[str, str, Spread]]:
    """Give the keys, names and ratios of all figures with a floor."""
    for of in report.series:
        if of.ratio:
            yield of.key, of.name, of.ratio
    for tail in report.tails:
        if tail.p50 and tail.p999:
            yield f"{tail.key} p50", f"{tail.name}: p50", tail.p50
            yield f"{tail.key} p99.9", f"{tail.name}: p99.9", tail.p999


def _change(key: str, name: str, before: Spread, now: Spread) -> Change:
    percent = (now.median / before.median - 1) * 100
    apart = now.low > before.high or now.high < before.low
    return Change(key, name, before, now, percent, apart and abs(percent) > LEAST_PERCENT)


def table(changes: list[Change], before: Report) -> Table:
    """Make a table of the changes."""
    made = Table(
        title=f"Compared with the run of {one_line(str(before.machine['when']))}, as ratios to floors",
        title_justify="left", title_style="bold", header_style="dim", pad_edge=False, box=None,
    )  # fmt: skip
    for position, column in enumerate(("", "before", "now", "change", "")):
        made.add_column(column, justify="right" if position else "left", no_wrap=True)
    for of in changes:
        verdict = ("slower", "red") if of.percent > 0 else ("faster", "green")
        shown = Text(*verdict) if of.beyond else Text("within spread", "dim")
        made.add_row(
            one_line(of.name), f"{of.before.median:,.2f}", f"{of.now.median:,.2f}", f"{of.percent:+,.1f} %", shown
        )
    return made
