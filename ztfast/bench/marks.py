"""The marks: figures that a run promises to keep, and how they are computed from the figures of the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ztfast.bench.report import Mark, spread

__all__ = ["BOOK_MARKS", "Promise", "judged"]


@dataclass(frozen=True, slots=True)
class Promise:
    """A promised figure. It is a ratio to a floor, a difference from another series, or a time.

    Attributes:
        what: The description of the figure.
        series: The key of the series.
        at_most: The largest figure that meets the mark.
        floor: The key of the floor of a ratio.
        above: The key of the series from which a difference is taken, in nanoseconds.
    """

    what: str
    series: str
    at_most: float
    floor: str | None = None
    above: str | None = None

    def found(self, taken: Mapping[str, Sequence[float]]) -> float:
        """Return the median over the rounds, from the nanoseconds of each round by key.

        >>> rounds = {"one": [30.0, 45.0, 20.0], "other": [20.0, 30.0, 10.0]}
        >>> Promise("one / other", "one", 2.0, floor="other").found(rounds)
        1.5
        >>> Promise("one above other", "one", 2.0, above="other").found(rounds)
        10.0
        >>> Promise("one", "one", 2.0).found(rounds)
        30.0
        """
        mine = taken[self.series]
        if self.floor:
            return spread([one / other for one, other in zip(mine, taken[self.floor], strict=True)]).median
        if self.above:
            return spread([one - other for one, other in zip(mine, taken[self.above], strict=True)]).median
        return spread(list(mine)).median


BOOK_MARKS = (
    Promise("allows, two comparisons / empty C call", "allows_ranges", 2.5, floor="c_call"),
    Promise("allows, two comparisons / empty Python function", "allows_ranges", 1.5, floor="python_call"),
    Promise("allows, sessions shared, live attributes / empty C call", "allows_live", 2.8, floor="c_call"),
    Promise("native allows, two comparisons / empty C call from Python", "native_allows", 1.6, floor="c_call"),
    Promise("a decision of decide_many / empty C call", "decide_many_hot", 0.8, floor="c_call"),
)
"""The marks of the book's figures in bulk."""


def judged(promises: Sequence[Promise], taken: Mapping[str, Sequence[float]]) -> list[Mark]:
    """Compare promised figures with the results.

    >>> judged([Promise("one", "one", 9.0)], {"one": [10.0, 8.0, 9.0]})
    [Mark(what='one', found=9.0, at_most=9.0, met=True, unit='ns')]
    """
    found = [(promise, promise.found(taken)) for promise in promises]
    return [
        Mark(promise.what, figure, promise.at_most, figure <= promise.at_most, "x" if promise.floor else "ns")
        for promise, figure in found
    ]
