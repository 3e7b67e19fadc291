"""``ztfast cred``: list and show the credentials that a state's engines have verified, and revoke what they rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ztfast.cli.grounds import SHOWN, ground_of, having_sha256, label, written
from ztfast.cli.output import Json, UsageError, console, json_out, number, say, table, unfolded
from ztfast.cli.resting import List, RestsOn, Seen, in_force, opened_with_list, subject_of
from ztfast.cli.states import By, Group, Owned, Reason, State, moment, parsed, said, span
from ztfast.credentials import CredentialInfo, Revocation
from ztfast.errors import Error
from ztfast.identity import Ground
from ztfast.shown import brief

__all__ = ["cred"]

STATUSES = {"counts": "green", "not yet": "cyan", "revoked": "red", "fallen": "yellow", "expired": "dim"}
MOST = 1_000
"""The number of credentials that a table shows."""
MOST_FALLING = 8
"""The number of credentials that a revocation names."""
cred = typer.Typer(
    help="List and show the credentials that engines have verified, and what falls with each of their grounds; revoke "
    "and restore grounds.",
    no_args_is_help=True,
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="GROUND",
        help="A ground as `ztfast cred show` shows it (key:1f2e3d4c5b6a7980) or as str() writes it; the uid of a "
        "principal; or, with --what, the file of a certificate (PEM or DER) or the first digits of a listed "
        "credential's SHA-256.",
        show_default=False,
    ),
]
What = Annotated[
    str | None,
    typer.Option(
        metavar="certificate|key|serial|issuer|authority|principal",
        help="What of the file or of the credential: of its keys the credential's own.",
        show_default=False,
    ),
]


@cred.command("list")
def list_command(
    state: State,
    revoked: Annotated[bool, typer.Option("--revoked", help="List what is revoked instead, and by whom.")] = False,
    principal: Annotated[
        str | None, typer.Option(help="Only the credentials of this principal.", show_default=False)
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join((*STATUSES, "all")),
            help="Only credentials of this status; may be repeated. By default those that are not expired.",
            show_default=False,
        ),
    ] = None,
    listed: List = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """List the credentials that all processes have verified, by principal and end.

    [dim]ztfast cred list --state /run/ztfast/desk --status revoked --status fallen[/]
    """
    wanted = set(status or STATUSES.keys() - {"expired"})
    if unknown := sorted(wanted - {*STATUSES, "all"}):
        raise UsageError(f"--status {brief(unknown[0])}: wanted {', '.join(STATUSES)} or all")
    if revoked and (principal is not None or status is not None):
        raise UsageError("--revoked lists grounds: --principal and --status are for credentials")
    of = None if principal is None else parsed(principal)
    engine = opened_with_list(state, listed, role="decide", group=group)
    if revoked:
        list_revoked(engine.revoked(), as_json)
        return
    seen = Seen(engine)
    mine = [info for info in seen.credentials if of is None or info.principal == of]
    chosen = [info for info in mine if shows(seen.status(info), wanted)]
    if as_json:
        use = engine.credential_use
        converted_all = [converted(info, seen) for info in chosen]
        json_out({"credentials": converted_all, "use": None if use is None else asdict(use)})
        return
    if chosen:
        unfolded(tabled(chosen[:MOST], seen))
    if len(chosen) > MOST:
        say(f"and {number(len(chosen) - MOST)} more: --json lists all of them")
    counts = Counter(seen.status(info) for info in mine)
    parts, others = (
        ", ".join(f"{number(counts[name])} {name}" for name in STATUSES if counts[name] and shows(name, wanted) is on)
        for on in (True, False)
    )
    say(
        (plural(len(chosen), "credential"), "bold"),
        f": {parts}" if parts else "",
        (f" (not shown: {others}; --status all shows them)" if others else "", "dim"),
    )


@cred.command("show")
def show_command(
    state: State,
    target: Annotated[
        str,
        typer.Argument(
            metavar="SHA256", help="The first digits of the certificate's SHA-256, at least 4.", show_default=False
        ),
    ],
    listed: List = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Show all that is known of a credential: its bounds, what it rests on, and what would fall with each ground.

    A ground falls for all that rests on it: other credentials, and their sessions, too.

    [dim]ztfast cred show --state /run/ztfast/desk 1f2e3d4c[/]
    """
    seen = Seen(opened_with_list(state, listed, role="decide", group=group))
    found = having_sha256(target, seen.credentials)
    if as_json:
        json_out({"credentials": [{**converted(info, seen), "grounds": grounds(info, seen)} for info in found]})
        return
    for position, info in enumerate(found):
        if position:
            console.print()
        show(info, seen)


@cred.command("revoke")
def revoke_command(
    target: Target,
    state: State,
    what: What = None,
    by: Annotated[str, typer.Option("--by", help="Who does this; not for --dry-run.", show_default=False)] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; not for --dry-run.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would fall.")] = False,
    listed: List = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Revoke a ground for ever: a certificate, a key, a serial number, an issuer, an authority or a principal.

    First the command says what falls with it. When it returns, no process decides by these sessions any more, and
    nothing that rests on the ground is admitted, also after a restart. What is not known yet can be revoked, too.

    [dim]ztfast cred revoke algo7.pem --what key --by ann --reason 'key lost' --state /run/ztfast/desk[/]
    """
    who = {} if dry_run else said(by, reason)
    engine = opened_with_list(state, listed, role="decide" if dry_run else "authority", group=group)
    seen = Seen(engine)
    ground = ground_of(target, what, seen)
    falls, before = seen.rests_on(ground.kind, ground.number), seen.revoked.get(ground.number)
    if not as_json:
        say_what_falls(ground, falls, before, dry_run)
    ended = None if dry_run else engine.revoke(ground=ground, **who)
    if as_json:
        told = {"was_revoked": before is not None, "revoked": not dry_run or before is not None, "ended": ended}
        json_out({**named(ground), **fallen(falls), **told, **who})
    elif ended is not None:
        say((f"{ground.shown}: revoked for ever", "bold red"), f" by {who['by']}: {who['reason']}")
        say(f"{plural(ended, 'session')} ended. If it was a mistake: ztfast cred restore {written(ground)} "
            "--by NAME --reason WHY")  # fmt: skip


@cred.command("restore")
def restore_command(
    target: Target,
    state: State,
    by: By,
    reason: Reason,
    what: What = None,
    listed: List = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Let a ground count again that was revoked by mistake. Sessions that ended stay so: admit their principals anew.

    If it is not revoked, that is an error with exit code 1. `ztfast cred list --revoked` shows what is.

    [dim]ztfast cred restore key:1f2e3d4c5b6a7980 --by bob --reason 'it was found' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    engine = opened_with_list(state, listed, role="authority", group=group)
    ground = ground_of(target, what, Seen(engine))
    if not engine.restore(ground, **who):
        raise Error(f"{ground.shown}: it is not revoked: `ztfast cred list --revoked` shows what is")
    if as_json:
        json_out({**named(ground), "restored": True, **who})
        return
    say((f"{ground.shown}: restored", "bold green"), f" by {who['by']}: {who['reason']}")


def say_what_falls(ground: Ground, falls: RestsOn, before: Revocation | None, dry_run: bool) -> None:
    """Print what falls with a ground."""
    if before is not None:
        say((f"{ground.shown}: already revoked", "yellow"), f" by {before.by}, {before.at}: {before.reason}")
    would = "would fall" if dry_run else "falls"
    counts = f"{plural(len(falls.credentials), 'credential')} and {plural(falls.sessions, 'session')}"
    say((f"{ground.shown}: what {would} with it: {counts}", "bold"))
    for info in falls.credentials[:MOST_FALLING]:
        say(f"  {info.sha256[:SHOWN]}  {info.principal}  {subject_of(info)}")
    if len(falls.credentials) > MOST_FALLING:
        say(f"  and {number(len(falls.credentials) - MOST_FALLING)} more")


def list_revoked(lines: tuple[Revocation, ...], as_json: bool) -> None:
    """Print what is revoked."""
    revoked = in_force(lines)
    if as_json:
        json_out({"revoked": [listing(each, line) for each, line in revoked.items()]})
        return
    if revoked:
        made = table("", "ground", "is", "by", "reason", "since", right=5)
        made.title = None
        made.columns[0].no_wrap = True
        for each, line in revoked.items():
            made.add_row(f"{line.kind}:{each:016x}", line.shown, line.by, line.reason, line.at)
        unfolded(made)
        console.print()
    say((f"{plural(len(revoked), 'ground')} revoked", "bold"))


def listing(number: int, line: Revocation) -> dict[str, Any]:
    """Convert a revoked ground for the JSON output."""
    told = {"kind": line.kind, "digest": line.digest, "shown": line.shown}
    return {"ground": f"{line.kind}:{number:016x}", **told, "by": line.by, "reason": line.reason, "at": line.at}


def tabled(credentials: Iterable[CredentialInfo], seen: Seen) -> Table:
    """Make the table of credentials. Columns in which nothing stands are left out."""
    columns: dict[str, list[str | Text]] = {}
    for info in credentials:
        status = seen.status(info)
        cells: dict[str, str | Text] = {
            "sha256": info.sha256[:SHOWN],
            "principal": str(info.principal),
            "subject": subject_of(info),
            "status": Text(status, STATUSES[status]),
            "channel": info.channel or "",
            "bound by": str(info.about.get("bound_by") or ""),
            "left": left(info, seen.at),
            "until": moment(info.not_after),
            "sessions": str(seen.sessions_of(info) or ""),
        }
        for name, cell in cells.items():
            columns.setdefault(name, []).append(cell)
    kept = {name: cells for name, cells in columns.items() if any(str(cell) for cell in cells)}
    made = table("", *kept, right=len(kept))
    made.title = None
    for column in made.columns:
        column.justify = "right" if column.header in ("left", "sessions") else "left"
        column.no_wrap = column.header not in ("principal", "subject")
    for row in zip(*kept.values(), strict=True):
        made.add_row(*row)
    return made


def left(info: CredentialInfo, at: float) -> str:
    """Return how long a credential still counts, by its bounds."""
    if at >= info.not_after:
        return "over"
    return f"in {span(info.not_before - at)}" if at < info.not_before else span(info.not_after - at)


def show(info: CredentialInfo, seen: Seen) -> None:
    """Print all that is known of a credential."""
    status, about = seen.status(info), info.about
    say((f"credential {info.sha256[:SHOWN]}", "bold"), "  ", (status, STATUSES[status]))
    rows = {
        "principal": str(info.principal),
        "factors": ", ".join(info.factors) or "none",
        "assurance": f"{info.assurance} of 7",
        "region": info.region or "",
        "channel": info.channel or "",
        "subject": about.get("subject"),
        "uri": about.get("uri"),
        "issuer": about.get("issuer"),
        "serial": about.get("serial"),
        "authority": about.get("authority"),
        "rule": about.get("rule"),
        "sha256": info.sha256,
        "valid from": moment(info.not_before),
        "valid until": moment(info.not_after) or "no end",
        "time left": left(info, seen.at),
        "bound by": about.get("bound_by"),
        "verified": moment(info.verified),
        "last used": moment(info.used),
        "sessions": number(seen.sessions_of(info)),
    }
    for name, value in rows.items():
        if value:
            say(f"  {name:<13}", str(value))
    made = table("", "  rests on", "which is", "credentials", "sessions", "revoked", right=2)
    made.title = None
    made.columns[0].no_wrap = True
    made.columns[4].justify = "left"
    for ground in grounds(info, seen):
        revoked = ground["revoked"]
        since = "" if revoked is None else f"by {revoked['by']}, {revoked['at']}: {revoked['reason']}"
        counts = (number(ground["credentials"]), number(ground["sessions"]))
        made.add_row(f"  {ground['ground']}", ground["shown"], *counts, since)
    unfolded(made)
    say(("What would fall with a ground stands beside it: `ztfast cred revoke GROUND` revokes it.", "dim"))


def grounds(info: CredentialInfo, seen: Seen) -> list[dict[str, Any]]:
    """Convert the grounds of a credential for the JSON output, with how much would fall with each."""
    found = []
    for kind, shown in info.grounds:
        falls, line = seen.rests_on(kind, int(shown, 16)), seen.revoked.get(int(shown, 16))
        revoked = None if line is None else {"by": line.by, "reason": line.reason, "at": line.at}
        found.append(
            {
                "ground": f"{kind}:{shown}",
                "kind": kind,
                "number": shown,
                "shown": label(kind, shown, info),
                "credentials": len(falls.credentials),
                "sessions": falls.sessions,
                "revoked": revoked,
            }
        )
    return found


def converted(info: CredentialInfo, seen: Seen) -> dict[str, Any]:
    """Convert a credential for the JSON output. Times are epoch seconds."""
    return {
        "sha256": info.sha256,
        "principal": str(info.principal),
        "status": seen.status(info),
        "factors": list(info.factors),
        "assurance": info.assurance,
        "region": info.region,
        "channel": info.channel,
        "not_before": None if math.isinf(info.not_before) else info.not_before,
        "not_after": None if math.isinf(info.not_after) else info.not_after,
        "verified": info.verified,
        "used": info.used,
        "sessions": seen.sessions_of(info),
        "grounds": [f"{kind}:{shown}" for kind, shown in info.grounds],
        "about": info.about,
    }


def named(ground: Ground) -> dict[str, Any]:
    """Convert a ground for the JSON output."""
    return {"ground": written(ground), "kind": ground.kind, "shown": ground.shown}


def fallen(falls: RestsOn) -> dict[str, Any]:
    """Convert what falls with a ground for the JSON output."""
    return {"credentials": [info.sha256 for info in falls.credentials], "sessions": falls.sessions}


def shows(status: str, wanted: set[str]) -> bool:
    """Return whether credentials of a status are listed."""
    return status in wanted or "all" in wanted


def plural(count: int, what: str) -> str:
    """Say how many there are of something.

    >>> plural(1, "session"), plural(2_000, "session")
    ('1 session', '2,000 sessions')
    """
    return f"{number(count)} {what}{'s' if count != 1 else ''}"
