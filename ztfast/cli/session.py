"""``ztfast session``: list, show, revoke and quarantine the sessions of a state while engines decide by them.

``sessions.py`` has the commands that renew them and record new proofs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ztfast.cli.output import Json, UsageError, console, json_out, number, say, table, unfolded
from ztfast.cli.states import (
    BundleFile,
    By,
    Group,
    Owned,
    Reason,
    State,
    is_id,
    matching,
    moment,
    now,
    opened,
    parsed,
    said,
    shortened,
    span,
)
from ztfast.engine import Engine
from ztfast.errors import SessionError
from ztfast.gate import Session
from ztfast.reports import SessionInfo
from ztfast.sessions import count_already
from ztfast.shown import brief
from ztfast.uid import Uid

__all__ = ["session"]

STATUSES = {"active": "green", "quarantined": "yellow", "revoked": "red", "expired": "dim"}
LIVE = ("active", "quarantined")
MOST = 1_000
"""The number of sessions that a table shows."""
USUAL = "trusted"
"""The channel of sessions for which trusted code vouches, as most do."""
session = typer.Typer(
    help="List, show, revoke, quarantine and renew sessions while engines run, and present new proofs for them.",
    no_args_is_help=True,
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="SESSION|PRINCIPAL",
        help="A session's id (its first digits are enough), or a principal's uid for all of its sessions.",
        show_default=False,
    ),
]
Chosen = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION|PRINCIPAL",
        help="A session's id (its first digits are enough), or the uid of a principal; with --bundle, also of what "
        "principals are in.",
        show_default=False,
    ),
]
Ground = Annotated[
    str | None,
    typer.Option(
        help="All sessions that rest on this, for example on one credential: what Identity(ground=...) says. It is no "
        "secret: lists show 64 bits of its SHA-256.",
        show_default=False,
    ),
]
Ids = Annotated[bool, typer.Option("--ids", help="Show whole ids. Whoever has one and the state can decide by it.")]


@session.command("list")
def list_command(
    state: State,
    principal: Annotated[
        str | None, typer.Option(help="Only the sessions of this principal.", show_default=False)
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join((*STATUSES, "all")),
            help="Only sessions of this status; may be repeated. By default those that are not over.",
            show_default=False,
        ),
    ] = None,
    ids: Ids = False,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """List the sessions that all processes have admitted, by principal and time.

    [dim]ztfast session list --state /run/ztfast/desk --status quarantined[/]
    """
    wanted = set(status or LIVE)
    if unknown := sorted(wanted - {*STATUSES, "all"}):
        raise UsageError(f"--status {brief(unknown[0])}: wanted {', '.join(STATUSES)} or all")
    of = None if principal is None else parsed(principal)
    engine = opened(state, role="decide", group=group)
    mine = engine.sessions(of)
    listed = [info for info in mine if info.status in wanted or "all" in wanted]
    listed.sort(key=lambda info: (info.principal, info.admitted))
    if as_json:
        register = None if engine.register is None else {**asdict(engine.register), "full": engine.register.full}
        json_out({"sessions": [converted(info, ids) for info in listed], "register": register})
        return
    if listed:
        unfolded(tabled(listed[:MOST], ids, now(engine)))
    if len(listed) > MOST:
        say(f"and {number(len(listed) - MOST)} more: --json lists all of them")
    counts = Counter(info.status for info in listed)
    parts = ", ".join(f"{number(counts[name])} {name}" for name in STATUSES if counts[name])
    hidden = Counter(info.status for info in mine) - counts
    others = ", ".join(f"{number(hidden[name])} {name}" for name in STATUSES if hidden[name])
    say(
        (f"{number(len(listed))} session{'s' if len(listed) != 1 else ''}", "bold"),
        f": {parts}" if parts else "",
        (f" (not shown: {others}; --status all shows them)" if others else "", "dim"),
    )


@session.command("show")
def show_command(state: State, target: Target, ids: Ids = False, group: Group = None, as_json: Json = False) -> None:
    """Show all that is known about a session, or about each session of a principal.

    Of its ground, a state keeps only the first 16 hexadecimal digits of the SHA-256, which `printf %s GROUND |
    sha256sum` shows of a text. The commands that change sessions take the ground itself.

    [dim]ztfast session show --state /run/ztfast/desk 0x2aef0f[/]
    """
    engine = opened(state, role="decide", group=group)
    found = matching(target, engine)
    if found is None:
        raise SessionError(f"{brief(target)}: it has no session: `ztfast session list` shows those that there are")
    if as_json:
        json_out({"sessions": [converted(info, ids) for info in found]})
        return
    for position, info in enumerate(found):
        if position:
            console.print()
        show(info, ids, now(engine))


@session.command("revoke")
def revoke_command(
    state: State,
    by: By,
    reason: Reason,
    target: Chosen = None,
    ground: Ground = None,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """End sessions for ever. When the command returns, no process decides by them any more.

    If nothing was revoked, that is an error with exit code 1, also if all were revoked before: a state forgets
    sessions that are over.

    [dim]ztfast session revoke 'Algo::"a7"' --by ann --reason 'key lost' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    chosen = Choice(target, ground, opened(state, role="authority", group=group, bundle=bundle))
    count = chosen.engine.revoke(chosen.what, ground=ground, **who)
    chosen.report("revoked", count, bundle is not None, who, as_json)


@session.command("quarantine")
def quarantine_command(
    state: State,
    by: By,
    reason: Reason,
    target: Chosen = None,
    ground: Ground = None,
    off: Annotated[bool, typer.Option("--off", help="End the quarantine instead.")] = False,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Deny every request of sessions until the quarantine ends, in all processes.

    If they are in quarantine already (with --off: not in quarantine), nothing changes, and that is no error. If there
    are none, that is an error with exit code 1.

    [dim]ztfast session quarantine 0x2aef0f --by ann --reason 'odd orders' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    chosen = Choice(target, ground, opened(state, role="authority", group=group, bundle=bundle))
    count = chosen.engine.quarantine(chosen.what, ground=ground, on=not off, **who)
    already = 0 if count else count_already(chosen.engine, chosen.what, ground, quarantined=not off)
    if already and not as_json:
        so = "not in quarantine" if off else "already quarantined"
        say((f"{number(already)} session{'s' if already != 1 else ''} {so}", "bold"), f": {chosen.named}")
        return
    done = "released from quarantine" if off else "quarantined"
    chosen.report(done, count, bundle is not None, who, as_json, may_be_none=already > 0)


class Choice:
    """The sessions that the arguments choose.

    Attributes:
        engine: The engine that changes them.
        what: A session or a uid; ``None`` for a ground.
    """

    def __init__(self, target: str | None, ground: str | None, engine: Engine) -> None:
        if (target is None) == (ground is None):
            raise UsageError("say which sessions: give a session's id, a principal's uid or --ground, one of them")
        if ground == "":
            raise UsageError("--ground: wanted a text, not an empty one")
        self.engine = engine
        self.what: Session | Uid | None = None
        self.named = f"ground {ground}"
        if target is None:
            return
        if is_id(target):
            found = matching(target, engine) or []
            self.named = f"session {shortened(found[0].id)} of {found[0].principal}"
            if found[0].status in ("revoked", "expired"):
                raise SessionError(f"{self.named} is {found[0].status}: nothing of it can be changed any more")
            self.what = engine.session(found[0].id)
        else:
            self.what = parsed(target)
            self.named = str(self.what)

    def report(
        self,
        what: str,
        count: int,
        by_groups: bool,
        who: dict[str, str],
        as_json: bool,
        may_be_none: bool = False,
        detail: str = "",
    ) -> None:
        """Print how many sessions were changed, how in detail, and by whom and why.

        Raises:
            SessionError: if none were, unless there may be none.
        """
        if not count and not may_be_none:
            hint = (
                "" if by_groups or not isinstance(self.what, Uid) else ", and --bundle FILE finds those of its members"
            )
            raise SessionError(
                f"{brief(self.named)}: no session was {what}: `ztfast session list --status all` shows all there are"
                f"{hint}"
            )
        if as_json:
            json_out({"changed": count, "status": what, "of": self.named, **who})
            return
        say(
            (f"{number(count)} session{'s' if count != 1 else ''} {what}{detail}", "bold"),
            f": {self.named}, by {who['by']}: {who['reason']}",
        )


def tabled(sessions: Iterable[SessionInfo], ids: bool, at: float) -> Table:
    """Make the table of sessions at a time. Columns in which nothing stands are left out."""
    columns: dict[str, list[str | Text]] = {}
    for info in sessions:
        cells: dict[str, str | Text] = {
            "id": shortened(info.id, ids),
            "principal": str(info.principal),
            "status": Text(info.status, STATUSES[info.status]),
            "factors": " ".join(info.factors),
            "proof": span(info.auth_age),
            "assurance": str(info.assurance or ""),
            "risk": str(info.risk or ""),
            "channel": info.channel if info.channel and info.channel != USUAL else "",
            "region": info.region or "",
            "for": "" if info.on_behalf_of is None else str(info.on_behalf_of),
            "left": left(info, at),
            "admitted": moment(info.admitted),
        }
        for name, cell in cells.items():
            columns.setdefault(name, []).append(cell)
    kept = {name: cells for name, cells in columns.items() if any(str(cell) for cell in cells)}
    made = table("", *kept, right=len(kept))
    made.title = None
    for column in made.columns:
        column.justify = "right" if column.header in ("proof", "assurance", "risk", "left") else "left"
        column.no_wrap = column.header not in ("principal", "factors", "for")
    for row in zip(*kept.values(), strict=True):
        made.add_row(*row)
    return made


def left(info: SessionInfo, now: float) -> str:
    """Return how long a session still lasts."""
    if info.status in ("revoked", "expired"):
        return ""
    if now < info.not_before:
        return f"in {span(info.not_before - now)}"
    return span(info.not_after - now)


def show(info: SessionInfo, ids: bool, at: float) -> None:
    """Print all that is known about a session at a time."""
    say((f"session {shortened(info.id, ids)}", "bold"), "  ", (info.status, STATUSES[info.status]))
    rows = {
        "principal": str(info.principal),
        "on behalf of": "" if info.on_behalf_of is None else str(info.on_behalf_of),
        "factors": ", ".join(info.factors) or "none",
        "proved": "never" if info.auth_age is None else f"{span(info.auth_age)} ago",
        "assurance": f"{info.assurance} of 7",
        "risk": f"{info.risk} of 100",
        "channel": info.channel or "",
        "region": info.region or "",
        "ground": f"SHA-256 {info.ground}..." if info.ground else "",
        "admitted": moment(info.admitted),
        "valid from": moment(info.not_before) if info.not_before > 0 else "",
        "valid until": moment(info.not_after) or "no end",
        "time left": left(info, at),
        "by": info.by or "",
        "because": info.reason or "",
        "since": moment(info.since),
    }
    for name, value in rows.items():
        if value:
            say(f"  {name:<13}", value)


def converted(info: SessionInfo, ids: bool) -> dict[str, Any]:
    """Convert a session for the JSON output. Times are epoch seconds."""
    return {
        "id": shortened(info.id, ids),
        "principal": str(info.principal),
        "status": info.status,
        "factors": list(info.factors),
        "auth_age": info.auth_age,
        "assurance": info.assurance,
        "risk": info.risk,
        "channel": info.channel,
        "region": info.region,
        "on_behalf_of": None if info.on_behalf_of is None else str(info.on_behalf_of),
        "ground": info.ground,
        "admitted": info.admitted,
        "not_before": None if math.isinf(info.not_before) else info.not_before,
        "not_after": None if math.isinf(info.not_after) else info.not_after,
        "by": info.by,
        "reason": info.reason,
        "since": info.since,
    }
