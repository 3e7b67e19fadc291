"""``ztfast session renew`` and ``ztfast session present``: change sessions of a state while engines decide by them."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from ztfast.cli.output import Json, UsageError
from ztfast.cli.session import Choice, Chosen, Ground
from ztfast.cli.states import A_TIME, BundleFile, By, Owned, Reason, State, moment, now, opened, said, time_of
from ztfast.shown import brief
from ztfast.telling import presented

__all__ = ["add_to"]

NO_END = "never"


def add_to(session: typer.Typer) -> None:
    """Add the commands to those of ``ztfast session``."""
    session.command("renew")(renew_command)
    session.command("present")(present_command)


def renew_command(
    state: State,
    by: By,
    reason: Reason,
    not_after: Annotated[
        str,
        typer.Option(help=f"The end: a time with its zone, as {A_TIME}, or {NO_END!r}.", show_default=False),
    ],
    target: Chosen = None,
    ground: Ground = None,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Give sessions another end, later or sooner, in all processes. Those that are over stay over.

    If no session was changed, that is an error with exit code 1. An end that is over is wrong usage: `ztfast session
    revoke` ends sessions at once.

    [dim]ztfast session renew 'Algo::"a7"' --not-after never --by ann --reason 'on duty' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    end = math.inf if not_after == NO_END else time_of("--not-after", not_after, f", or {NO_END!r}")
    engine = opened(state, role="authority", group=group, bundle=bundle)
    if end <= now(engine):
        raise UsageError(
            f"--not-after {brief(not_after)}: this time is over, and the sessions would end for ever: `ztfast session "
            "revoke` ends them"
        )
    chosen = Choice(target, ground, engine)
    count = chosen.engine.renew(chosen.what, ground=ground, not_after=end, **who)
    until = f" until {moment(end)}" if math.isfinite(end) else " without an end"
    chosen.report("renewed", count, bundle is not None, who, as_json, detail=until)


def present_command(
    state: State,
    by: By,
    reason: Reason,
    factor: Annotated[
        list[str] | None,
        typer.Option(help="A factor that was proved; may be repeated. These replace those before.", show_default=False),
    ] = None,
    assurance: Annotated[int | None, typer.Option(help="How sure that is, from 0 to 7.", show_default=False)] = None,
    risk: Annotated[int | None, typer.Option(help="The risk, from 0 to 100.", show_default=False)] = None,
    at: Annotated[
        str | None,
        typer.Option(help="When the factors were proved: a time with its zone; now by default.", show_default=False),
    ] = None,
    target: Chosen = None,
    ground: Ground = None,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Record what the principals of sessions have proved anew, in all processes. What is not given stays as it is.

    Another risk or assurance alone is no new proof: then the sessions are said to be reassessed. If no session was
    changed, that is an error with exit code 1.

    [dim]ztfast session present 'Algo::"a7"' --risk 80 --by ann --reason 'odd orders' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    if factor is None and assurance is None and risk is None and at is None:
        raise UsageError("say what was proved: give --factor, --assurance, --risk or --at")
    proved = None if at is None else time_of("--at", at)
    chosen = Choice(target, ground, opened(state, role="authority", group=group, bundle=bundle))
    count = chosen.engine.present(
        chosen.what, ground=ground, factors=factor, assurance=assurance, risk=risk, at=proved, **who
    )
    chosen.report(presented(factor, at, assurance, risk), count, bundle is not None, who, as_json)
