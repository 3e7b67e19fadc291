"""Output of all commands: tables on standard output, progress and errors on standard error.

Policies, files, entities and messages are texts from outside. They are never interpreted as markup, and everything that
a terminal would act upon (escape sequences, characters that change the direction of text) is escaped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ztfast.errors import Error, PolicyError
from ztfast.shown import one_line

__all__ = [
    "Json", "UsageError", "block", "console", "errors", "failed", "finding", "json_out", "number", "progress_bar",
    "say", "size", "table", "unfolded", "working",
]  # fmt: skip

CLOSED = "its reader is gone"
"""The reason in the message about a standard output that is a pipe without a reader."""

WIDE = 1_000
"""The width of a table that is not for a terminal."""

PATIENCE_S = 1.0
"""The seconds after which work gets a progress bar."""


def block(text: str) -> str:
    r"""Escape a text of several lines from outside, each line like :func:`ztfast.shown.one_line`.

    >>> block("permit\r\n\twhen \x1b[2J")
    'permit\n\twhen \\x1b[2J'
    """
    if text.isprintable():
        return text
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n"))


class Out(Console):
    """A console without markup."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and as a last resort escape what a terminal would act upon."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(block(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Raise the error that :func:`ztfast.cli.main` reports."""
        raise BrokenPipeError(CLOSED)


console = Out()
errors = Out(stderr=True)


def say(*parts: str | tuple[str, str], to: Console = console) -> None:
    """Print a line of texts, each with or without a style."""
    texts = [one_line(part) if isinstance(part, str) else (one_line(part[0]), part[1]) for part in parts]
    to.print(Text.assemble(*texts), soft_wrap=True)


def json_out(value: Any) -> None:
    """Print a value as one line of JSON."""
    try:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The new error has no errno: for EPIPE, typer would end the program without a message.
        raise BrokenPipeError(CLOSED) from None


class UsageError(Error):
    """The options contradict each other or cannot be read: wrong usage, with exit code 2."""


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; errors, too.")]


def failed(message: str, error: Exception | None = None) -> None:
    """Print an error as JSON, if that is asked for: what is wrong, and in which file and line, if that is known."""
    # Arguments that cannot be parsed are errors, too. The option of `ztfast bench` names a file.
    if "--json" not in sys.argv or sys.argv[1] == "bench":
        return
    found = [finding(each) for each in error.diagnostics] if isinstance(error, PolicyError) else []
    first = next((each for each in found if each["severity"] == "error"), found[0] if found else {})
    where = {name: first.get(name) for name in ("file", "line")}
    json_out({"error": {"message": first.get("message", message), **where}, "diagnostics": found})


def finding(diagnostic: dict[str, Any]) -> dict[str, Any]:
    """Return an error or warning about the sources for the JSON output."""
    return {name: value for name, value in diagnostic.items() if name != "rendered"}


def number(value: int) -> str:
    """Format a count with separators."""
    return f"{value:,}"


def size(count: int) -> str:
    """Format a count of bytes with a unit."""
    scaled = float(count)
    for unit in ("B", "KiB", "MiB"):
        if scaled < 1024:
            return f"{scaled:.0f} {unit}" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:.1f} GiB"


class Sheet(Table):
    """A table in which the text of each cell stays on one line."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row."""
        super().add_row(*(one_line(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(title: str | Text, *columns: str, right: int = 1) -> Table:
    """Make a table. The columns from ``right`` on are numbers."""
    title = one_line(title) if isinstance(title, str) else title
    made = Sheet(title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False, box=None)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position >= right else "left", overflow="fold")
    return made


def unfolded(made: Table) -> None:
    """Print a table. In a file or a pipe, each row is a line, however long."""
    if console.is_terminal:
        console.print(made)
        return
    wide = Out()
    wide.width, wide.quiet = WIDE, console.quiet
    wide.print(made)


def progress_bar() -> Progress:
    """Make a progress bar on standard error."""
    return Progress(
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    )


@contextmanager
def working(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback ``progress(what, done, all)`` that shows a progress bar if the work takes over a second."""
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
