"""Quantiles of a histogram of times, and its curve for a plot."""

from __future__ import annotations

from dataclasses import dataclass

from ztfast._core import Histogram

__all__ = ["Histogram", "Quantiles", "curve", "quantiles"]

STEPS_PER_TEN = 20
"""The points of a curve between 90 % and 99 %, between 99 % and 99.9 %, and so on."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution of times.

    Attributes:
        count: The number of times.
        p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns: The nanoseconds that 50 %, 90 %, 99 %, 99.9 % and 99.99 % of the
            times do not exceed, to three digits.
        max_ns: The longest time.
    """

    count: int
    p50_ns: float
    p90_ns: float
    p99_ns: float
    p999_ns: float
    p9999_ns: float
    max_ns: float


def quantiles(taken: Histogram) -> Quantiles:
    """Compute the median and the tail quantiles.

    >>> taken = Histogram()
    >>> for ns in range(1, 1_001):
    ...     taken.record(ns)
    >>> quantiles(taken)
    Quantiles(count=1000, p50_ns=500.0, p90_ns=900.0, p99_ns=990.0, p999_ns=999.0, p9999_ns=1000.0, max_ns=1000.0)
    """
    return Quantiles(
        count=taken.count,
        p50_ns=taken.quantile_ns(0.5),
        p90_ns=taken.quantile_ns(0.9),
        p99_ns=taken.quantile_ns(0.99),
        p999_ns=taken.quantile_ns(0.999),
        p9999_ns=taken.quantile_ns(0.9999),
        max_ns=taken.max_ns,
    )


def curve(taken: Histogram) -> list[tuple[float, float]]:
    """Compute latency by percentile: pairs of (percentile, nanoseconds), denser towards higher percentiles.

    The percentiles go up to the last above which a single time remains, and end with 100 (the longest time).

    >>> taken = Histogram()
    >>> for ns in range(100):
    ...     taken.record(ns)
    >>> curve(taken)[0], curve(taken)[-1]
    ((0.0, 0.0), (100.0, 99.0))
    """
    points = []
    step = 0
    while taken.count:
        above = 10 ** (-step / STEPS_PER_TEN)
        if above * taken.count < 1:
            break
        points.append((100 * (1 - above), taken.quantile_ns(1 - above)))
        step += 1
    return [*points, (100.0, taken.max_ns)]
