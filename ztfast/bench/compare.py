"""One run against an earlier one, as ratios of floors: what the machine does to both cancels out.

A series is set against the floor that was measured in the same rounds. Its change counts only where the middle halves
of the two runs' rounds do not meet: what lies within the spread of a machine's own moods is no finding. Two processes
of the same program have their memory in different places, which can move a figure by some percent all the same: a limit
should leave room for that, and the instruction counts (``make bench-instructions``) need none.
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
"""Changes up to this are none: single calls are told in steps of the clock, so that rounds may not differ at all."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure changed.

    Attributes:
        key, name: The figure.
        before, now: Its ratio to its floor in the earlier run and in this one.
        percent: By how much it grew (slower) or shrank (faster).
        beyond: Whether that is more than the rounds of the two runs differ among themselves.
    """

    key: str
    name: str
    before: Spread
    now: Spread
    percent: float
    beyond: bool


def compare(now: Report, before: Report) -> list[Change]:
    """Every figure that both runs have: series in bulk, and p50 and p99.9 of what was timed one by one."""
    old = {key: found for key, _, found in _ratios(before)}
    return [_change(key, name, old[key], found) for key, name, found in _ratios(now) if key in old]


def slower_than(changes: list[Change], percent: float) -> list[Change]:
    """What became slower by more than so many percent, beyond the spread."""
    return [change for change in changes if change.beyond and change.percent > percent]


def _ratios(report: Report) -> Iterator[tuple[str, str, Spread]]:
    """Keys, names and ratios of whatever has a floor."""
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
    """The changes as people read them."""
    made = Table(
        title=f"Against the run of {one_line(str(before.machine['when']))}, as ratios of floors",
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
