"""Count the instructions of the C table's ``allows`` in the shipped module: a part of ``make bench-instructions``.

``src_ext/icount`` counts those of the engine. The table is compiled with the module, where other code decides what the
compiler keeps in registers, so what a call of it takes is counted there.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import ztfast
from ztfast import _core
from ztfast.bench import workload

__all__ = ["main"]

ROUNDS = 2_000
LIMIT = 166
"""The most instructions of a call with two comparisons: 162 when they were last counted, and 3 % above."""


def decide() -> None:
    """Ask for an order that is allowed, again and again."""
    engine = ztfast.Engine(workload.bundle())
    session = engine.admit(ztfast.Identity('Algo::"a1"', not_after=math.inf))
    resource = engine.resource('Instrument::"i1"')
    gate = engine.prepare("order.new", "notional", "qty")
    for _ in range(ROUNDS):
        if not gate.allows(session, resource, 250_000, 100):
            raise SystemExit(f"the order is denied: {gate.decide(session, resource, 250_000, 100).code}")


def counted() -> float:
    """Return the instructions of a call, by Valgrind."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "callgrind"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={found}"]
        # Counting begins where the function is entered, and ends where it is left.
        valgrind.append("--toggle-collect=_core::capi::allows")
        command = [*valgrind, sys.executable, "-m", "bench.table", "decide"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        total = re.search(r"^(?:totals|summary): (\d+)", found.read_text(), re.MULTILINE)
    return int(total[1]) / ROUNDS if total else 0.0


def main() -> int:
    """Count, print, and return 1 if a call takes more instructions than the limit, or was not seen at all."""
    if _core.DEBUG:
        print("SKIPPED the table's allows: the module is that of the tests (make setup builds the one that is shipped)")
        return 0
    count = counted()
    print(f"the table's allows, two comparisons: {count:.1f} instructions, limit {LIMIT}")
    return int(not 0 < count <= LIMIT)


if __name__ == "__main__":
    if sys.argv[1:] == ["decide"]:
        decide()
    else:
        sys.exit(main())
