"""What rests on a ground: the credentials of a state, its live sessions, and what is revoked, at one moment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from ztfast.cli.states import now, opened
from ztfast.credentials import CredentialInfo, Revocation
from ztfast.engine import Engine
from ztfast.errors import StateError
from ztfast.identity import Ground
from ztfast.shown import brief, name_of
from ztfast.telling import ACTIVE, QUARANTINED

__all__ = ["LIVE", "List", "RestsOn", "Seen", "in_force", "number_of", "opened_with_list", "subject_of"]

List = Annotated[
    Path | None,
    typer.Option(
        "--list",
        envvar="ZTFAST_REVOKED",
        help="The list of revoked grounds, as engines have it in revoked=, if it is not in the state's directory.",
        show_default=False,
    ),
]

LIVE = ("active", "quarantined")
"""The statuses of sessions that are not over."""


class RestsOn(NamedTuple):
    """What would fall with a ground.

    Attributes:
        credentials: The credentials that count, or will.
        sessions: How many live sessions.
    """

    credentials: tuple[CredentialInfo, ...]
    sessions: int


class Seen:
    """What a state has of credentials at a moment.

    Attributes:
        engine: The engine that was asked.
        credentials: Those that were verified, by principal and end.
        lines: What was revoked and restored, the oldest first.
        revoked: What is revoked now, by the ground's number.
        at: The time, in epoch seconds.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.credentials = sorted(engine.credentials(), key=lambda each: (each.principal, each.not_after))
        self.lines = engine.revoked()
        self.revoked = in_force(self.lines)
        self.at = now(engine)

    @cached_property
    def sessions(self) -> Counter[str]:
        """How many live sessions rest on each certificate, by the number of its ground."""
        return Counter(info.ground for info in self.engine.sessions() if info.ground and info.status in LIVE)

    @cached_property
    def principals(self) -> Counter[int]:
        """How many live sessions each principal has, by the number of its ground."""
        counted = Counter(info.principal for info in self.engine.sessions() if info.status in LIVE)
        return Counter({Ground.principal(uid).number: count for uid, count in counted.items()})

    def status(self, info: CredentialInfo) -> str:
        """Return whether a credential counts: ``"counts"``, or why it does not."""
        if any(int(number, 16) in self.revoked for _, number in info.grounds):
            return "revoked"
        if info.has_fallen:
            return "fallen"
        if self.at >= info.not_after:
            return "expired"
        return "counts" if self.at >= info.not_before else "not yet"

    def sessions_of(self, info: CredentialInfo) -> int:
        """Return how many live sessions rest on a certificate."""
        number = next((number for kind, number in info.grounds if kind == "certificate"), "")
        return self.sessions[number]

    def rests_on(self, kind: str, number: int) -> RestsOn:
        """Return what would fall with a ground."""
        shown = f"{number:016x}"
        counting = (each for each in self.credentials if any(shown == its for _, its in each.grounds))
        credentials = tuple(each for each in counting if self.status(each) in ("counts", "not yet"))
        if kind == "principal":
            return RestsOn(credentials, self.principals[number])
        meant = (None, None, number)
        live = sum(self.engine._core.count_sessions(meant, status) for status in (ACTIVE, QUARANTINED))
        return RestsOn(credentials, live)


def opened_with_list(
    state: Path, listed: Path | None, *, role: Literal["authority", "decide"], group: str | None
) -> Engine:
    """Open a state with its list of revoked grounds.

    Raises:
        StateError: if there is no list where it should be: to make one that no engine reads would revoke nothing.
    """
    at = state / "revoked" if listed is None else listed
    if os.path.exists(state / "state") and not os.path.lexists(at):
        hint = "" if listed is not None else ", by --list"
        raise StateError(
            f"{brief(name_of(str(at)))}: there is no list of revoked grounds here: name the file that the engines of "
            f"this state were given as revoked={hint}"
        )
    return opened(state, role=role, group=group, revoked=listed)


def in_force(lines: Iterable[Revocation]) -> dict[int, Revocation]:
    """Return what is revoked after all these lines, by the ground's number, with who revoked it first.

    >>> line = Revocation("key", "00" * 7 + "2a" + "00" * 24, "key 2a", "ann", "lost", "2026-01-02T03:04:05Z", True)
    >>> list(in_force([line])), list(in_force([line, Revocation("key", line.digest, "", "bob", "", line.at, False)]))
    ([42], [])
    """
    found: dict[int, Revocation] = {}
    for line in lines:
        if line.is_revoked:
            found.setdefault(number_of(line), line)
        else:
            found.pop(number_of(line), None)
    return found


def number_of(line: Revocation) -> int:
    """Return the number of the ground that a line is about."""
    return int(line.digest[:16], 16) or 1


def subject_of(info: CredentialInfo) -> str:
    """Return what a credential says whose it is: its subject, or its URIs if it has no subject, as SVIDs of SPIRE."""
    return str(info.about.get("subject") or info.about.get("uri") or "")
