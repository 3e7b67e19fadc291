"""Count the instructions of the C table's ``allows`` in the shipped module: a part of ``make bench-instructions``.

``src_ext/icount`` counts those of the engine. The table is compiled with the module, where other code decides what the
compiler keeps in registers, so what a call of it takes is counted there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ztfast import _core
from ztfast.bench.workload import Workload

__all__ = ["main"]

ROUNDS = 20_000
LIMITS = {"two comparisons": 164, "two comparisons, sessions shared, live attributes": 239}
"""The most instructions of a call: 159 and 232 when they were last counted, and 3 % above."""


def decide(what: str) -> None:
    """Ask for an order that is allowed, again and again."""
    work = Workload()
    gate, session, resource = work.order, work.session, work.resource
    if "live" in what:
        gate, session, resource = work.live, work.proved, work.of_shared
    allows = sum(gate.allows(session, resource, *work.values) for _ in range(ROUNDS))
    if allows != ROUNDS:
        raise SystemExit(f"{ROUNDS - allows} of {ROUNDS} orders are denied")


def counted(what: str) -> float:
    """Return the instructions of a call, by Valgrind."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "callgrind"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={found}"]
        # Counting begins where the function is entered, and ends where it is left.
        valgrind.append("--toggle-collect=_core::capi::allows")
        command = [*valgrind, sys.executable, "-m", "bench.table", "decide", what]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        total = re.search(r"^(?:totals|summary): (\d+)", found.read_text(), re.MULTILINE)
    # Making the workload asks each gate once.
    return int(total[1]) / ROUNDS if total else 0.0


def main() -> int:
    """Count, print, and return 1 if a call takes more instructions than its limit, or was not seen at all."""
    if _core.DEBUG:
        print("SKIPPED the table's allows: the module is that of the tests (make setup builds the one that is shipped)")
        return 0
    counts = {what: counted(what) for what in LIMITS}
    for what, count in counts.items():
        print(f"the table's allows, {what}: {count:.1f} instructions, limit {LIMITS[what]}")
    return int(not all(0 < counts[what] <= limit for what, limit in LIMITS.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["decide"]:
        decide(sys.argv[2])
    else:
        sys.exit(main())
