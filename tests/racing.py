"""Repeat jobs in threads, and repeat a test until a race was seen.

How long this takes depends on the machine. So a test repeats until it has seen the race, and fails if it never does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

LIMIT_S = 60.0


class Repeat:
    """Repeat a loop, ``while repeat.until(seen): ...``, until something was seen and a minimum of seconds is over."""

    def __init__(self, what: str, at_least: float = 0.0, limit: float = LIMIT_S) -> None:
        self.what, self.at_least, self.limit = what, at_least, max(limit, at_least)
        self.began, self.turn = time.monotonic(), -1

    def until(self, seen: object) -> bool:
        """Return whether another turn is due, and count it. Fail if nothing is seen for too long."""
        self.turn += 1
        taken = time.monotonic() - self.began
        if not seen and taken > self.limit:
            pytest.fail(f"not seen within {taken:.0f} s and {self.turn} turns: {self.what}")
        return not seen or taken < self.at_least


@contextmanager
def beside(*jobs: Callable[[], object]) -> Iterator[list[int]]:
    """Repeat each job in its own thread, and give the numbers of turns. At the end, raise the error of a job, if any."""
    stop, turns, raised = threading.Event(), [0] * len(jobs), []

    def run(at: int) -> None:
        try:
            while not stop.is_set():
                jobs[at]()
                turns[at] += 1
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(jobs))]
    for thread in threads:
        thread.start()
    try:
        yield turns
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        if raised:
            raise raised[0]
