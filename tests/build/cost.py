"""Measure what a cold run of the tests costs: ``make cpu-time``.

    python tests/build/cost.py [TARGET...]

Clones the last commit into ``build/cold`` and makes each part of ``make test`` there, or the targets that are named, one after
the other. Processor time hardly depends on what else the machine does, the time by the clock does.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLD = ROOT / "build" / "cold"


def parts() -> list[str]:
    """Return the targets of ``make test`` in their order. Targets that several of these need come first, as parts of
    their own."""
    makefile = (ROOT / "Makefile").read_text()
    tests = next(line for line in makefile.splitlines() if line.startswith("test: ")).split("#")[0].split()[1:]
    before_python = tests.index("test-python")
    return [".venv/.requirements", *tests[:before_python], ".venv/.tested", *tests[before_python:]]


def spent_s() -> float:
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Make the parts, print their costs, and return the status of the first part that fails."""
    shutil.rmtree(COLD, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--local", ROOT, COLD], check=True)
    # This may itself run under make.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    first_s, began = spent_s(), time.monotonic()
    costs, status = [], 0
    for part in sys.argv[1:] or parts():
        before_s, then = spent_s(), time.monotonic()
        status = subprocess.run(["make", part], cwd=COLD, env=environment, check=False).returncode
        costs.append((part, spent_s() - before_s, time.monotonic() - then))
        if status:
            print(f"{part} failed: the figures are those of the parts until then", file=sys.stderr)
            break
    for part, cpu_s, wall_s in [*costs, ("together", spent_s() - first_s, time.monotonic() - began)]:
        print(f"{part:20} {cpu_s / 60:6.2f} CPU minutes {wall_s / 60:6.2f} minutes")
    return status


if __name__ == "__main__":
    sys.exit(main())
