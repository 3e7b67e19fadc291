"""``ztfast bench``: the cost of decisions, compared with this machine's floors and with an earlier run."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ztfast import _core
from ztfast.bench import BenchError, Change, Report, Settings, compare, plot, run, slower_than
from ztfast.bench.compare import table as changes_table
from ztfast.bench.identity import is_possible
from ztfast.bench.report import markdown, tables
from ztfast.bench.suite import PER_SECOND
from ztfast.cli.output import console, errors, say

__all__ = ["bench_command"]

FAILED = 1


def bench_command(
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write the figures as JSON; - is standard output.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a plot of latency by percentile.")] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the desk's figures as a Markdown table."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--compare", metavar="OLD.json", help="Compare with the --json file of an earlier run."),
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", min=0, help="With --compare: exit with 1 if a figure is slower by more."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a few short rounds: rough figures in a few seconds.")
    ] = False,
    marks: Annotated[
        bool, typer.Option("--marks", help="Check the promised figures; exit with 1 if one is missed.")
    ] = False,
    cpu: Annotated[
        int | None, typer.Option(min=0, help="The CPU to run on; by default the last one that is allowed.")
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="PER_S", min=1, help="Decisions per second in the open loop.")
    ] = PER_SECOND,
) -> None:
    """Measure decisions against this machine's floors: an empty C call, an empty Python function, loads, the clock.

    Two workloads are measured: a book of five policies with plain ranges, and the example desk, with a request to each
    of its gates. Admissions by certificate are measured beside both, and decisions while other threads admit. All
    figures are measured in turn, round after round, on one CPU. A ratio compares figures of the same round. Tail
    latencies come from calls timed one by one, back to back and at a fixed rate. Beside them stand the gaps of a thread
    that does nothing.

    [dim]ztfast bench --marks --json new.json --svg new.svg --compare old.json --fail-above 5[/]
    """
    if fail_above is not None and against is None:
        raise typer.BadParameter("this option needs --compare OLD.json", param_hint="--fail-above")
    # Read before measuring, because --json may write to the same file.
    before = Report.read(against) if against else None
    report = measured(Settings(quick=quick, cpu=cpu, per_second=rate))
    changes = compare(report, before) if before else []
    only_json = json_file == Path("-")
    if json_file:
        more = {"before": before.machine["when"], "changes": [asdict(change) for change in changes]} if before else None
        write(json_file, (report.to_json(comparison=more) if more else report.to_json()) + "\n")
    if svg:
        write(svg, plot(report))
    if markdown_file:
        write(markdown_file, markdown(report))
    if not is_possible():
        say("Admissions by certificate were left out: pip install 'ztfast[identity]' adds them.", to=errors)
    if not only_json:
        console.print(tables(report))
        if before:
            console.print()
            console.print(changes_table(changes, before))
    missed = judge(report, quiet=only_json) if marks else False
    worse = slower_than(changes, fail_above) if fail_above is not None else []
    for change in worse:
        say(slower(change), to=errors)
    if missed or worse:
        raise typer.Exit(FAILED)


def measured(settings: Settings) -> Report:
    """Run with a progress bar that moves between rounds only, because a thread of its own would take the GIL."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, transient=True, auto_refresh=False, disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("rounds", total=settings.rounds)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            bar.refresh()

        return run(settings, progress)


def write(file: Path, text: str) -> None:
    """Write a result to a file, or to standard output."""
    if file == Path("-"):
        sys.stdout.write(text)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}") from None
    _core.write_file(str(file), text.encode())


def judge(report: Report, quiet: bool) -> bool:
    """Print the marks, and return whether one was missed. With ``quiet``, print only missed ones, on stderr."""
    out = errors if quiet else console
    if not quiet:
        out.print()
        say(("Marks", "bold"), to=out)
    for mark in report.marks:
        if not (quiet and mark.met):
            verdict = ("met   ", "green") if mark.met else ("MISSED", "red")
            unit = mark.unit if mark.unit == "x" else f" {mark.unit}"
            say(verdict, f"  {mark.what}: {mark.found:.2f}{unit}, at most {mark.at_most:g}{unit}", to=out)
    return not all(mark.met for mark in report.marks)


def slower(change: Change) -> str:
    """Describe a regression."""
    return (
        f"slower: {change.name}: {change.percent:+.1f} %, from {change.before.median:.2f}x its floor to "
        f"{change.now.median:.2f}x, beyond the spread of the rounds"
    )
