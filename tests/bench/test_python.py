"""The benchmarks of ``bench/python`` run and find the answers that they expect. Nothing is timed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_each_benchmark_runs() -> None:
    command = [sys.executable, "-m", "pytest", "bench", "--benchmark-disable", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    # The last line has no other counts: nothing was skipped.
    ran = re.fullmatch(r"(\d+) passed in .*", done.stdout.rstrip().splitlines()[-1])
    assert ran, done.stdout
    assert int(ran[1]) > 100
