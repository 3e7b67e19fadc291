"""``ztfast log``: who changed kills, markets and sessions on a state directory, and why."""

from __future__ import annotations

from typing import Any

from ztfast.cli.output import Json, console, json_out, number, say, table, unfolded
from ztfast.cli.states import Group, State, moment, opened, shortened
from ztfast.switches import Note

__all__ = ["log_command"]

UNKEPT = "a ground, or of a uid too long to keep"


def log_command(state: State, group: Group = None, as_json: Json = False) -> None:
    """Show who changed kills, markets and sessions, and why, the oldest change first.

    These are the last 512 kills and releases, the last 512 revocations and quarantines, and the last 512 other
    changes: markets, renewals, proofs and risks. Missing are changes of sessions for which a program named nobody.
    The names are those that were given: a state does not check them.

    [dim]ztfast log --state /run/ztfast/desk[/]
    """
    notes = opened(state, role="decide", group=group).notes()
    if as_json:
        json_out({"notes": [converted(note) for note in notes]})
        return
    if notes:
        made = table("", "at", "what", "of", "by", "reason", right=5)
        made.title = None
        for note in notes:
            made.add_row(moment(note.at), note.what, target(note), note.by, note.reason)
        unfolded(made)
        console.print()
    say((f"{number(len(notes))} change{'s' if len(notes) != 1 else ''}", "bold"))


def target(note: Note) -> str:
    """Say what a note is about."""
    if note.kill is not None:
        return f"{note.of} ({shortened(note.kill)})"
    if note.sessions:
        count = f"{number(note.sessions)} session{'s' if note.sessions != 1 else ''}"
        return f"{count} of {UNKEPT}" if note.of is None else f"{count} of {note.of}"
    return UNKEPT if note.of is None else str(note.of)


def converted(note: Note) -> dict[str, Any]:
    """Convert a note for the JSON output. Times are epoch seconds."""
    return {
        "what": note.what,
        "of": None if note.of is None else str(note.of),
        "by": note.by,
        "reason": note.reason,
        "at": note.at,
        "sessions": note.sessions,
        "kill": None if note.kill is None else shortened(note.kill, whole=True),
    }
