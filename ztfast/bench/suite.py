"""A run of the bench: floors, series and tails in turn, round after round.

A slow moment of the machine thus affects all of them, and hardly changes the ratios within a round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ztfast import _core
from ztfast.bench.desk import DESK_MARKS, DeskWorkload, desk_series
from ztfast.bench.desk import bundle as desk_bundle
from ztfast.bench.floors import FLOORS, floors
from ztfast.bench.histogram import Histogram, curve, quantiles
from ztfast.bench.identity import IDENTITY_MARKS, IdentityWorkload, identity_series, identity_tails, is_possible
from ztfast.bench.loops import pinned, quiet
from ztfast.bench.marks import BOOK_MARKS, judged
from ztfast.bench.report import Figure, Mark, Noise, Report, TailFigure, machine, spread
from ztfast.bench.series import Series, Tail, rows, series, tails
from ztfast.bench.workload import Workload

__all__ = ["Settings", "run"]

PASSES = 5
"""The passes over all series in a round. The median pass of each series counts, because others may be interrupted."""

SPIN_MS = 10.0
"""The milliseconds for which a thread spins in each round."""

TAIL_MARK = 10.0
"""The largest ratio of p99.9 to p50 of native decisions, both without the time of the clock."""

PER_SECOND = 200_000.0
"""The default rate of the open loop, in decisions per second."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run.

    Attributes:
        quick: Run a few short rounds; the figures are rough.
        cpu: The CPU to pin to; by default the last that the process may run on.
        per_second: The rate of the native open loop, in decisions per second. Python's loop has a quarter of it.
    """

    quick: bool = False
    cpu: int | None = None
    per_second: float = PER_SECOND

    @property
    def rounds(self) -> int:
        """The number of rounds that count, after one that does not."""
        return 5 if self.quick else 101

    @property
    def calls(self) -> int:
        """The calls of a fast series in a pass. They take less than a time slice, so few passes are interrupted."""
        return 1_000 if self.quick else 4_000

    @property
    def timed(self) -> int:
        """The native calls timed one by one in a round."""
        return 2_000 if self.quick else 20_000

    @property
    def known(self) -> int:
        """The certificates that a validation table knows, among which one is looked up."""
        return 1 << 14 if self.quick else 1_000_000

    @property
    def beside(self) -> int:
        """The native decisions timed one by one in a round while other threads admit. They take some time slices."""
        return 20_000 if self.quick else 400_000

    @property
    def bad(self) -> int:
        """The bad certificates of a round: over 100,000 in a run."""
        return 50 if self.quick else 1_000


def run(settings: Settings, progress: Callable[[int, int], object] = lambda done, total: None) -> Report:
    """Measure everything.

    Args:
        settings: The settings.
        progress: A callback that is called between rounds with the number of rounds done and of all rounds.

    Returns:
        The report, with marks.

    Raises:
        BenchError: if the process may not run on the given CPU.
    """
    with ExitStack() as stack:
        # Compile before this thread is pinned, because threads that the compiler starts inherit the CPU, and so do
        # those that verify.
        work, compiled = Workload(), desk_bundle()
        desk = DeskWorkload(compiled)
        admissions, beside = [], []
        if is_possible():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ztfast-bench-")))
            identities = IdentityWorkload(compiled, folder, settings.known)
            admissions = identity_series(identities, settings.calls)
            beside = identity_tails(identities, settings.beside, settings.bad)
        cpu = stack.enter_context(pinned(settings.cpu))
        pairs = rows(work)
        calls, timed, per_second = settings.calls, settings.timed, settings.per_second
        measured = [*series(work, pairs, calls), *desk_series(desk, calls), *admissions]
        timed_alone = [*tails(work, pairs, timed, per_second), *beside]
        rounds = Rounds(floors(work, pairs), measured, timed_alone, calls)
        with quiet():
            # The first round fills the caches, and lets CPython specialise the loops.
            rounds.one()
            rounds.forget()
            for done in range(settings.rounds):
                rounds.one()
                progress(done + 1, settings.rounds)
    return rounds.report(settings, cpu)


class Rounds:
    """The results of each round, by key."""

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
        """Discard all results."""
        self.taken: dict[str, list[float]] = {}
        self.histograms: dict[str, Histogram] = {}

    def one(self) -> None:
        """Run one round of everything."""
        passes = [self.one_pass() for _ in range(PASSES)]
        for key in passes[0]:
            self.taken.setdefault(key, []).append(median(found[key] for found in passes))
        for tail in self.tails:
            self.count_up(tail.key, tail.once(tail.count))
        # Each round is long enough to contain a timer interrupt, which comes every few milliseconds.
        self.count_up("noise", _core.spin(SPIN_MS))

    def one_pass(self) -> dict[str, float]:
        """Measure the floors and series in bulk, once."""
        found = {key: floor(self.count) for key, floor in self.floors.items()}
        return found | {of.key: of.once(of.count) for of in self.series}

    def count_up(self, key: str, found: Histogram) -> None:
        """Add the histogram of a round."""
        for name, share in (("p50", 0.5), ("p999", 0.999)):
            self.taken.setdefault(f"{key} {name}", []).append(found.quantile_ns(share))
        if key in self.histograms:
            self.histograms[key].merge(found)
        else:
            self.histograms[key] = found

    def ratios(self, key: str, floor: str) -> list[float]:
        """Divide one figure by another, round by round."""
        return [one / other for one, other in zip(self.taken[key], self.taken[floor], strict=True)]

    def report(self, settings: Settings, cpu: int | None) -> Report:
        """Make the report."""
        noise = self.histograms["noise"]
        return Report(
            machine=machine(cpu),
            settings={"rounds": settings.rounds, "quick": settings.quick, "per_second": settings.per_second},
            floors=[Figure(key, name, spread(self.taken[key])) for key, name in FLOORS.items()],
            series=[self.figure(of) for of in self.series],
            tails=[self.tail(of) for of in self.tails],
            noise=Noise(quantiles(noise), noise.time_share_above(1_000), curve(noise)),
            marks=self.marks(),
        )

    def figure(self, of: Series) -> Figure:
        """Make the figure of a series."""
        ratio = spread(self.ratios(of.key, of.floor))
        return Figure(of.key, of.name, spread(self.taken[of.key]), of.floor, ratio, of.workload)

    def tail(self, of: Tail) -> TailFigure:
        """Make the figure of a tail."""
        found = self.histograms[of.key]
        p50, p999 = (
            spread(self.ratios(f"{of.key} {name}", f"{of.floor} p50")) if of.floor else None for name in ("p50", "p999")
        )
        return TailFigure(of.key, of.name, of.floor, quantiles(found), p50, p999, curve(found))

    def marks(self) -> list[Mark]:
        """Compare each promised figure with the result."""
        clock = self.histograms["native_clock"].quantile_ns(0.5)
        native = self.histograms["native_closed"]
        p50, p999 = (native.quantile_ns(share) - clock for share in (0.5, 0.999))
        # If a decision takes no longer than a clock step, its p50 without the clock may be 0.
        tail = p999 / max(p50, 1.0)
        what = "native decisions, p99.9 / p50, without the clock"
        return [
            *judged(BOOK_MARKS, self.taken),
            Mark(what, tail, TAIL_MARK, tail <= TAIL_MARK),
            *judged(DESK_MARKS, self.taken),
            *judged([promise for promise in IDENTITY_MARKS if promise.series in self.taken], self.taken),
        ]
