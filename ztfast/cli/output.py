"""What all commands print with: tables on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["console", "errors", "json_out", "number", "progress_bar", "size", "table", "working"]

console = Console()
errors = Console(stderr=True)

PATIENCE_S = 1.0
"""What takes longer than this gets a progress bar."""


def json_out(value: Any) -> None:
    """Print a value as JSON, one line."""
    sys.stdout.write(json.dumps(value) + "\n")


def number(value: int) -> str:
    """A count with separators."""
    return f"{value:,}"


def size(count: int) -> str:
    """A count of bytes as people read it."""
    scaled = float(count)
    for unit in ("B", "KiB", "MiB"):
        if scaled < 1024:
            return f"{scaled:.0f} {unit}" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:.1f} GiB"


def table(title: str, *columns: str, right: int = 1) -> Table:
    """A table whose columns are numbers from ``right`` on."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False, box=None)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position >= right else "left", overflow="fold")
    return made


def progress_bar() -> Progress:
    """A progress bar on standard error."""
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    )


@contextmanager
def working(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A ``progress(what, done, all)`` that shows a bar once the work takes over a second."""
    began = time.monotonic()
    bar = progress_bar()
    task = bar.add_task("compile", total=None)
    shown = False

    def report(what: str, done: int, total: int) -> None:
        nonlocal shown
        if quiet or not errors.is_terminal:
            return
        if not shown and time.monotonic() - began > PATIENCE_S:
            bar.start()
            shown = True
        bar.update(task, description=what, completed=done, total=total or None)

    try:
        yield report
    finally:
        if shown:
            bar.stop()
