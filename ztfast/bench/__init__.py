"""The bench: measures the cost of decisions on this machine, as ratios to the cost of an empty call.

Machines differ and are shared, so nanoseconds of two runs cannot be compared. Every figure is compared with floors that
were measured in the same rounds: an empty C call, an empty Python function, two loads from memory, a reading of the
clock. These ratios depend on the program, and hardly on the machine.

The command is ``ztfast bench``. From Python:

>>> from ztfast import bench
>>> report = bench.run(bench.Settings(quick=True))
>>> [figure.key for figure in report.series][:2]
['allows_cell', 'allows_ranges']
"""

from ztfast.bench.compare import Change, compare, slower_than
from ztfast.bench.histogram import Histogram, Quantiles, quantiles
from ztfast.bench.loops import BenchError, bulk, closed_loop, open_loop
from ztfast.bench.plot import plot
from ztfast.bench.report import Report
from ztfast.bench.suite import Settings, run

__all__ = [
    "BenchError",
    "Change",
    "Histogram",
    "Quantiles",
    "Report",
    "Settings",
    "bulk",
    "closed_loop",
    "compare",
    "open_loop",
    "plot",
    "quantiles",
    "run",
    "slower_than",
]
