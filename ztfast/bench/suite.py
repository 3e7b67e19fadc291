"""A run: floors, series and tails in turn, round after round.

A slow spell of the machine thus falls on all of them, and a ratio of figures of one round hardly notices it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from ztfast import _core
from ztfast.bench.floors import FLOORS, floors
from ztfast.bench.histogram import Histogram, curve, quantiles
from ztfast.bench.loops import pinned, quiet
from ztfast.bench.report import Figure, Mark, Noise, Report, TailFigure, machine, spread
from ztfast.bench.series import Series, Tail, rows, series, tails
from ztfast.bench.workload import Workload

__all__ = ["Settings", "run"]

MARKS = (
    ("allows, two comparisons, by an empty C call", "allows_ranges", "c_call", 2.5),
    ("allows, two comparisons, by an empty Python function", "allows_ranges", "python_call", 1.5),
    ("the same natively, by an empty C call from Python", "native_allows", "c_call", 1.6),
    ("a decision of decide_many, by an empty C call", "decide_many_hot", "c_call", 0.8),
)
"""What is promised of figures in bulk: the promise, the series, the floor, and the most that their ratio may be."""

PASSES = 5
"""Passes over all series in a round. Of each series the pass in the middle counts: not the one that was interrupted."""

SPIN_MS = 10.0
"""How long a thread spins in each round."""

TAIL_MARK = 10.0
"""What p99.9 of native decisions may be of their p50, both less what the clock adds."""

PER_SECOND = 200_000.0
"""Decisions due in a second unless another rate is asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run.

    Attributes:
        quick: A few short rounds, to see that it works; the figures are rough.
        cpu: The CPU to pin to; else the last that the process may run on.
        per_second: How many decisions are due in a second in the native open loop; Python's has a quarter of that.
    """

    quick: bool = False
    cpu: int | None = None
    per_second: float = PER_SECOND

    @property
    def rounds(self) -> int:
        """How many rounds are counted, after one that is not."""
        return 5 if self.quick else 101

    @property
    def calls(self) -> int:
        """Calls of a quick series in a pass: under a scheduler's time slice, so that few passes meet its end."""
        return 1_000 if self.quick else 4_000

    @property
    def timed(self) -> int:
        """Native calls timed one by one in a round."""
        return 2_000 if self.quick else 20_000


def run(settings: Settings, progress: Callable[[int, int], object] = lambda done, total: None) -> Report:
    """Measure everything.

    Args:
        settings: How.
        progress: Called between rounds with how many are done and how many there are.

    Returns:
        The report, marks included.

    Raises:
        BenchError: where the process may not run on the CPU asked for.
    """
    # Compiled before this thread is pinned: threads that the compiler starts would stay where it is.
    work = Workload()
    with pinned(settings.cpu) as cpu:
        pairs = rows(work)
        calls, timed, per_second = settings.calls, settings.timed, settings.per_second
        rounds = Rounds(floors(work, pairs), series(work, pairs, calls), tails(work, pairs, timed, per_second), calls)
        with quiet():
            # Until now nothing is in the caches, and CPython has not yet specialised the loops.
            rounds.one()
            rounds.forget()
            for done in range(settings.rounds):
                rounds.one()
                progress(done + 1, settings.rounds)
    return rounds.report(settings, cpu)


class Rounds:
    """What was found in each round, by key."""

    def __init__(
        self,
        floors: dict[str, Callable[[int], float]],
        series: list[Series],
        tails: list[Tail],
        count: int,
    ) -> None:
        self.floors, self.series, self.tails, self.count = floors, series, tails, count
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.taken: dict[str, list[float]] = {}
        self.histograms: dict[str, Histogram] = {}

    def one(self) -> None:
        """One round of all."""
        passes = [self.one_pass() for _ in range(PASSES)]
        for key in passes[0]:
            self.taken.setdefault(key, []).append(median(found[key] for found in passes))
        for tail in self.tails:
            self.count_up(tail.key, tail.once(tail.count))
        # Long enough that a timer's interrupt, every few milliseconds, is met in each round.
        self.count_up("noise", _core.spin(SPIN_MS))

    def one_pass(self) -> dict[str, float]:
        """What is measured in bulk, once."""
        found = {key: floor(self.count) for key, floor in self.floors.items()}
        return found | {of.key: of.once(of.count) for of in self.series}

    def count_up(self, key: str, found: Histogram) -> None:
        """Note a round's histogram."""
        for name, share in (("p50", 0.5), ("p999", 0.999)):
            self.taken.setdefault(f"{key} {name}", []).append(found.quantile_ns(share))
        if key in self.histograms:
            self.histograms[key].merge(found)
        else:
            self.histograms[key] = found

    def ratios(self, key: str, floor: str) -> list[float]:
        """One figure by another, round by round."""
        return [one / other for one, other in zip(self.taken[key], self.taken[floor], strict=True)]

    def report(self, settings: Settings, cpu: int | None) -> Report:
        """All of it."""
        noise = self.histograms["noise"]
        return Report(
            machine=machine(cpu),
            settings={"rounds": settings.rounds, "quick": settings.quick, "per_second": settings.per_second},
            floors=[Figure(key, name, spread(self.taken[key])) for key, name in FLOORS.items()],
            series=[
                Figure(of.key, of.name, spread(self.taken[of.key]), of.floor, spread(self.ratios(of.key, of.floor)))
                for of in self.series
            ],
            tails=[self.tail(of) for of in self.tails],
            noise=Noise(quantiles(noise), noise.time_share_above(1_000), curve(noise)),
            marks=self.marks(),
        )

    def tail(self, of: Tail) -> TailFigure:
        """A tail's figure."""
        found = self.histograms[of.key]
        p50, p999 = (
            spread(self.ratios(f"{of.key} {name}", f"{of.floor} p50")) if of.floor else None for name in ("p50", "p999")
        )
        return TailFigure(of.key, of.name, of.floor, quantiles(found), p50, p999, curve(found))

    def marks(self) -> list[Mark]:
        """Each promise, and what was found."""
        found = [(what, spread(self.ratios(key, floor)).median, most) for what, key, floor, most in MARKS]
        clock = self.histograms["native_clock"].quantile_ns(0.5)
        native = self.histograms["native_closed"]
        p50, p999 = (native.quantile_ns(share) - clock for share in (0.5, 0.999))
        # A decision that takes no longer than a step of the clock has no p50 of its own.
        found.append(("p99.9 of native decisions by their p50, less the clock", p999 / max(p50, 1.0), TAIL_MARK))
        return [Mark(what, ratio, most, ratio <= most) for what, ratio, most in found]
