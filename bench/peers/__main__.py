"""The command line: ``python -m bench.peers setup [PEER...]`` and ``python -m bench.peers run [PEER...]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.peers import install, race, report
from bench.peers.roster import PEERS, Peer, chosen
from bench.peers.workload import SIZES
from ztfast import _core

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Names = Annotated[list[str] | None, typer.Argument(metavar="[PEER]...", help=", ".join(peer.name for peer in PEERS))]
console = Console()
complaints = Console(stderr=True, style="bold red")


def selected(names: list[str] | None) -> list[Peer]:
    """Return the named peers, or all if there are no names."""
    try:
        return chosen(names or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def setup(names: Names = None) -> None:
    """Build and install the peers under build/peers, and print their versions.

    If a tool is missing, its peers are left out with a message; the exit code is still 0.
    """
    for failure in install.set_up(selected(names), console):
        complaints.print(f"LEFT OUT {failure}", highlight=False, soft_wrap=True)


@app.command()
def run(
    names: Names = None,
    sizes: Annotated[str, typer.Option(help="The numbers of policies, comma-separated.")] = ",".join(map(str, SIZES)),
    rounds: Annotated[int, typer.Option(min=1, help="The number of rounds; each measures all peers in turn.")] = 9,
    budget: Annotated[float, typer.Option(min=0.1, help="The seconds for each peer and size, over all rounds.")] = 3.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file too.")] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table of README.md to this file.")
    ] = None,
) -> None:
    """Answer the workload with all peers that are set up, compare the answers, measure, and check the marks.

    The exit code is 1 if answers differ or a mark is missed.
    """
    peers = []
    for peer in selected(names):
        if missing := peer.missing():
            advice = f"{missing} is missing: python -m bench.peers setup {peer.name}"
            complaints.print(f"LEFT OUT {peer.name}: {advice}", highlight=False, soft_wrap=True)
        else:
            peers.append(peer)
    try:
        policies = [int(size) for size in sizes.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--sizes: wanted comma-separated numbers; got {sizes!r}") from error
    heats = []
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for size in policies:
            task = progress.add_task(f"{size:,} policies", total=len(peers) * (rounds + 1))
            begun = False

            def step(what: str, task: object = task, size: int = size) -> None:
                nonlocal begun
                progress.update(task, description=f"{size:,}: {what}", advance=1 if begun else 0)  # type: ignore[arg-type]
                begun = True

            heats.append(race.heat(size, peers, rounds=rounds, budget_ms=round(budget * 1000 / rounds), step=step))
            progress.update(task, description=f"{size:,} policies", completed=len(peers) * (rounds + 1))
    found = report.marks(heats)
    report.tables(heats, console)
    for mark in found:
        word = "[green]met[/]" if mark.met else "[bold red]MISSED[/]"
        console.print(
            f"{mark.policies:>6,} policies  {mark.text}, {mark.wanted}: {mark.found:,.2f}x, {word}", highlight=False
        )
    if json_file:
        _core.write_file(str(json_file), (json.dumps(report.as_json(heats, found), indent=1) + "\n").encode())
    if markdown_file:
        _core.write_file(str(markdown_file), report.markdown(heats).encode())
    differences = [(heat.policies, heat.difference) for heat in heats if heat.difference]
    for size, difference in differences:
        complaints.print(f"ANSWERS DIFFER at {size:,} policies: {difference}", highlight=False, soft_wrap=True)
    if differences or not all(mark.met for mark in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
