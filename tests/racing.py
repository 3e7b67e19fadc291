"""Races for tests: jobs that threads repeat, and repeating until what a test is about has happened.

How long something takes is the machine's affair. So a test repeats until it saw what it is about, however long that takes, and
fails where that never comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

LIMIT_S = 60.0


class Repeat:
    """Turns of a loop, ``while repeat.until(seen): ...``, until something was seen and so many seconds are over."""

    def __init__(self, what: str, at_least: float = 0.0, limit: float = LIMIT_S) -> None:
        self.what, self.at_least, self.limit = what, at_least, max(limit, at_least)
        self.began, self.turn = time.monotonic(), -1

    def until(self, seen: object) -> bool:
        """Say whether another turn is due, and number it. Fail where nothing was seen for too long."""
        self.turn += 1
        taken = time.monotonic() - self.began
        if not seen and taken > self.limit:
            pytest.fail(f"not seen within {taken:.0f} s and {self.turn} turns: {self.what}")
        return not seen or taken < self.at_least


@contextmanager
def beside(*jobs: Callable[[], object]) -> Iterator[list[int]]:
    """Repeat each job in a thread of its own. Give the numbers of turns done. At the end, raise what a job raised."""
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
