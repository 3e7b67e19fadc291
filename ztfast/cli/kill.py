"""``ztfast kill``: stop actions of the firm or of an entity while engines run, release kills, and list them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ztfast.cli.output import Json, UsageError, console, json_out, number, say, table, unfolded
from ztfast.cli.states import (
    A_TIME,
    BundleFile,
    By,
    Group,
    Owned,
    Reason,
    State,
    count_of,
    enough,
    having_id,
    is_id,
    moment,
    now,
    opened,
    parsed,
    said,
    shortened,
    span,
    time_of,
    warn_of_scope,
)
from ztfast.errors import ReleaseError
from ztfast.shown import brief
from ztfast.switches import ALL_ACTIONS, Kill, is_action, text_of

__all__ = ["kill"]

FIRM = "firm"
SCOPE = "SCOPE"
MOST = 8
"""The kills that a message lists."""
LENGTH = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)")
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


class ByScope(TyperGroup):
    """A group of commands whose first word may also be a scope."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the first word for a scope, unless it names a command."""
        if args and args[0] not in (*self.commands, "--help"):
            args = [SCOPE, *args]
        return super().parse_args(ctx, args)


class OfScope(TyperCommand):
    """The command without a name of its own: its first argument stands for the name."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write how it is used."""
        formatter.write_usage(ctx.parent.command_path, f"{SCOPE} [OPTIONS]")


kill = typer.Typer(
    cls=ByScope,
    help="Stop actions while engines run: of the firm, or of a venue, a strategy, a principal, an instrument or any "
    "other entity. `ztfast kill list` shows what is killed, `ztfast kill release` lets it go on.\n\n"
    "SCOPE is 'firm' or the uid of an entity; `ztfast kill SCOPE --help` shows its options.",
    no_args_is_help=True,
    subcommand_metavar="{SCOPE|release|list} ...",
)


@kill.command("SCOPE", cls=OfScope, hidden=True)
def kill_command(
    scope: Annotated[
        str,
        typer.Argument(
            metavar=SCOPE,
            help="'firm', or the uid of an entity: for requests whose principal or resource is it, or is in it.",
            show_default=False,
        ),
    ],
    state: State,
    by: By,
    reason: Reason,
    action: Annotated[
        list[str] | None,
        typer.Option(
            help="Stop this action or group of actions only, exempt or not; may be repeated. Needs --bundle.",
            show_default=False,
        ),
    ] = None,
    all_actions: Annotated[
        bool, typer.Option("--all-actions", help="Stop exempt actions, too. Otherwise those go on, as cancels.")
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(help=f"Until a time with its zone, as {A_TIME}.", show_default=False),
    ] = None,
    length: Annotated[
        str | None, typer.Option("--for", help="For so long: 30s, 15m, 2h, 1d.", show_default=False)
    ] = None,
    two_persons: Annotated[
        bool, typer.Option("--two-persons", help="Let only two persons together release it.")
    ] = False,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Stop the actions of a scope. When the command returns, no process allows them any more.

    It holds until it is released or its time is over, also over swaps, and for entities that the engines do not know
    yet. Which actions are exempt, each engine's bundle says. With --bundle, a scope in which nothing can be is refused,
    and the command says how many entities are in it; without, it warns that nobody has checked that.

    [dim]ztfast kill 'Venue::"XNAS"' --by ann --reason 'stale prices' --for 30m --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    if action and all_actions:
        raise UsageError("--action stops these actions only, and --all-actions all of them: give one of them")
    if action and bundle is None:
        raise UsageError("--action: which actions there are, a bundle says: add --bundle FILE")
    if scope.strip().lower() != FIRM and "::" not in scope:
        raise UsageError(
            f"{brief(scope)}: wanted 'firm' or the uid of an entity, as 'Venue::\"XNAS\"' (the words `list` and "
            "`release` stand directly after `ztfast kill`)"
        )
    of = FIRM if "::" not in scope else parsed(scope)
    if not isinstance(of, str) and is_action(of):
        raise UsageError(
            f"{brief(scope)}: an action is no scope: `ztfast kill {FIRM} --action ACTION --bundle FILE` stops it"
        )
    end, lasts = end_of(until, length)
    types = () if isinstance(of, str) else (of.type,)
    engine = opened(state, role="authority", group=group, bundle=bundle, types=types)
    if lasts is not None:
        end = now(engine) + lasts
    elif end is not None and end <= now(engine):
        raise UsageError(f"--until {brief(until or '')}: this time is over, so the kill would stop nothing")
    actions = ALL_ACTIONS if all_actions else action or None
    made = engine.kill(of, actions, **who, until=end, two_persons=two_persons)
    if not isinstance(of, str):
        warn_of_scope(engine, of, made.in_scope, bundle)
    if as_json:
        told = {"known": isinstance(of, str) or engine.knows(of), "was_in_force": made.was_in_force}
        json_out({**converted(made), **told, "in_scope": None if bundle is None else made.in_scope})
        return
    concerned = count_of(made.in_scope, bundle)
    since = f", since {moment(made.since)}" if made.was_in_force else ""
    ends = "it is released" if made.until is None and made.was_in_force else moment(made.until)
    say(
        (f"{made.scope}: {stopped(made)} {'already ' if made.was_in_force else ''}stopped", "bold red"),
        f"{concerned} by {made.by}{since}: {made.reason}" + (f" (until {ends})" if ends else ""),
    )
    say(f"To let it go on: ztfast kill release {shortened(made.id)} --by NAME --reason WHY")
    if two_persons:
        say("Two persons must release it: each runs this command, or one names the other with --approved-by.")


@kill.command("release")
def release_command(
    killed: Annotated[
        str,
        typer.Argument(
            metavar="KILL", help="Its id, of which the first digits are enough, or its scope.", show_default=False
        ),
    ],
    state: State,
    by: By,
    reason: Reason,
    approved_by: Annotated[
        str | None, typer.Option(help="The second person, where two must release it.", show_default=False)
    ] = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Release one kill. Where two persons must, the first command asks, and the kill holds until the second.

    [dim]ztfast kill release 0x2aef0f --by bob --reason 'prices are right again' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    engine = opened(state, role="authority", group=group)
    found = named(killed, engine.kills())
    released = engine.release_kill(found, **who, approved_by=approved_by)
    if as_json:
        # A request is answered only if nobody else has asked before.
        asked = found if released else replace(found, asked_by=text_of("by", by))
        json_out({"released": released, **converted(asked)})
        return
    if released:
        approval = f" and {approved_by}" if approved_by is not None else ""
        second = f" and {found.asked_by}" if found.two_persons and found.asked_by and not approval else ""
        say((f"{found.scope}: released", "bold green"), f" by {by.strip()}{approval}{second}: {reason.strip()}")
        others = [other for other in engine.kills() if other.scope == found.scope]
        if others:
            say(f"{len(others)} more of this scope: `ztfast kill list` shows them")
        return
    say((f"{found.scope}: still killed", "bold yellow"), f". {by.strip()} asked for the release: {reason.strip()}")
    say(f"A second person runs: ztfast kill release {shortened(found.id)} --by NAME --reason WHY")


@kill.command("list")
def list_command(state: State, group: Group = None, as_json: Json = False) -> None:
    """List the kills in force, the oldest first.

    [dim]ztfast kill list --state /run/ztfast/desk[/]
    """
    engine = opened(state, role="decide", group=group)
    kills, at = engine.kills(), now(engine)
    if as_json:
        json_out({"kills": [converted(each) for each in kills]})
        return
    if kills:
        made = table("", "id", "scope", "stopped", "by", "reason", "since", "left", "release", right=8)
        made.title = None
        for each in kills:
            left = "" if each.until is None else span(each.until - at)
            release = "" if not each.two_persons else f"asked by {each.asked_by}" if each.asked_by else "two persons"
            made.add_row(
                shortened(each.id),
                str(each.scope),
                stopped(each),
                each.by,
                each.reason,
                moment(each.since),
                left,
                release,
            )
        unfolded(made)
        console.print()
    say((f"{number(len(kills))} kill{'s' if len(kills) != 1 else ''} in force", "bold"))


def named(target: str, kills: list[Kill]) -> Kill:
    """Return the kill that a text names: by its id, the first digits of it, or its scope.

    Raises:
        ReleaseError: if there is none.
        UsageError: if there are several.
        UidError: if the text is none of these.
    """
    if is_id(target):
        return having_id(target, kills, "kill", ReleaseError)
    scope = FIRM if target.strip().lower() == FIRM else parsed(target)
    found = [each for each in kills if each.scope == scope]
    if not found:
        raise ReleaseError(f"{brief(target)}: nothing of this scope is killed: `ztfast kill list` shows what is")
    if len(found) > 1:
        ids = [each.id for each in kills]
        each_one = [f"{enough(it.id, ids)} by {it.by} since {moment(it.since)}: {it.reason}" for it in found[:MOST]]
        more = [f"{len(found) - MOST} more: `ztfast kill list` shows them"] if len(found) > MOST else []
        listed = "; ".join([*each_one, *more])
        raise UsageError(f"{brief(target)}: {len(found)} kills are meant, give the id of one ({listed})")
    return found[0]


def end_of(until: str | None, length: str | None) -> tuple[float | None, int | None]:
    """Return the end of a kill in epoch seconds, or how many seconds it lasts, or neither."""
    if until is not None and length is not None:
        raise UsageError("--until and --for both say when it ends: give one of them")
    if length is None:
        return None if until is None else time_of("--until", until), None
    read = LENGTH.fullmatch(length.strip().lower())
    if read is None or not int(read[1]):
        raise UsageError(f"--for {brief(length)}: wanted a length of time, as 30s, 15m, 2h or 1d")
    return None, int(read[1]) * SECONDS[read[2]]


def stopped(kill: Kill) -> str:
    """Say what a kill stops."""
    if kill.actions is None:
        return "all but exempt actions"
    if kill.actions is ALL_ACTIONS:
        return "all actions"
    return ", ".join(action.id for action in kill.actions)


def converted(kill: Kill) -> dict[str, Any]:
    """Convert a kill for the JSON output. Times are epoch seconds; ``actions`` is null for all but exempt ones."""
    named = kill.actions
    return {
        "id": shortened(kill.id, whole=True),
        "scope": str(kill.scope),
        "actions": "all" if named is ALL_ACTIONS else None if named is None else [str(action) for action in named],
        "by": kill.by,
        "reason": kill.reason,
        "since": kill.since,
        "until": kill.until,
        "two_persons": kill.two_persons,
        "asked_by": kill.asked_by,
    }
