"""``ztfast doctor``: what of this machine and of a state's directory costs time or safety, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ztfast.cli.checks import Finding, examine
from ztfast.cli.machine import StatePlace, look, look_at
from ztfast.cli.output import Json, console, json_out, say, table, unfolded
from ztfast.cli.resting import List, in_force
from ztfast.cli.states import Group, directory, opened
from ztfast.errors import Error

__all__ = ["doctor_command"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}

MaybeState = Annotated[
    Path | None,
    typer.Option(
        "--state",
        parser=directory,
        metavar="PATH",
        envvar="ZTFAST_STATE",
        help="The directory of a state, which is looked at, too.",
        show_default=False,
    ),
]


def doctor_command(state: MaybeState = None, listed: List = None, group: Group = None, as_json: Json = False) -> None:
    """Check this machine, and the directory of a state: cryptography, clocks, memory, processors, permissions.

    Exit code 1 means that something fails; warnings, which cost time or safety, do not change it. Run it as the user
    who runs the engines, and in the same container or service, because limits differ.

    [dim]ztfast doctor --state /run/ztfast/desk[/]
    """
    machine = look()
    if state is not None:
        machine = replace(machine, state=tried(look_at(state, listed=listed), state, listed, group))
    findings = examine(machine)
    counts: Counter[str] = Counter(finding.level for finding in findings)
    if as_json:
        json_out({"findings": [asdict(finding) for finding in findings], **{each: counts[each] for each in COLOURS}})
    else:
        show(findings)
        console.print()
        warnings = f"{counts['warn']} warning{'s' if counts['warn'] != 1 else ''}"
        parts = (f"{counts['ok']} ok", warnings, f"{counts['fail']} failed")
        say((", ".join(parts), "bold"), "" if state is not None else "; --state PATH checks a state, too")
    if counts["fail"]:
        raise typer.Exit(1)


def tried(place: StatePlace, path: Path, listed: Path | None, group: str | None) -> StatePlace:
    """Open a state as a process that only decides does, and add what came of it."""
    if "state" not in place.files:
        return place
    try:
        engine = opened(path, role="decide", group=group, revoked=listed)
        return replace(place, revoked=len(in_force(engine.revoked())) if "revoked" in place.files else None)
    except Error as error:
        return replace(place, trouble=str(error))


def show(findings: tuple[Finding, ...]) -> None:
    """Print what was found."""
    made = table("", "", "what", "found", "what to do", right=4)
    made.title = None
    made.columns[1].no_wrap = True
    for finding in findings:
        level = Text(finding.level, COLOURS[finding.level])
        made.add_row(level, finding.what, finding.found, finding.todo)
    unfolded(made)
