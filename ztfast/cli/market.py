"""``ztfast market``: set the state of a market on a state directory while engines run, and list what is not normal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ztfast.cli.output import Json, UsageError, console, json_out, number, say, table, unfolded
from ztfast.cli.states import (
    BundleFile,
    By,
    Group,
    Owned,
    Reason,
    State,
    count_of,
    moment,
    opened,
    parsed,
    said,
    warn_of_scope,
)
from ztfast.shown import brief
from ztfast.switches import MARKET_STATES, Market, is_action

__all__ = ["market"]

STYLES = {"normal": "green", "volatile": "yellow", "halted": "red"}

market = typer.Typer(
    help="Tell engines while they run that a market is volatile or halted. Policies read it as context.live.market.",
    no_args_is_help=True,
)


@market.command("set")
def set_command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE", help="The uid of an instrument, a venue or another resource.", show_default=False
        ),
    ],
    condition: Annotated[
        str, typer.Argument(metavar="|".join(MARKET_STATES), help="Its state from now on.", show_default=False)
    ],
    state: State,
    by: By,
    reason: Reason,
    bundle: BundleFile = None,
    group: Owned = None,
    as_json: Json = False,
) -> None:
    """Set the state of a resource and of all that is in it. A resource has the severest of its own and those above it.

    With --bundle, an entity in which no resource can be is refused, and the command says how many resources are in it;
    without, it warns that nobody has checked that.

    [dim]ztfast market set 'Instrument::"AAPL"' halted --by ann --reason 'news pending' --state /run/ztfast/desk[/]
    """
    who = said(by, reason)
    if condition not in MARKET_STATES:
        raise UsageError(f"{brief(condition)}: wanted {', '.join(MARKET_STATES)}")
    of = parsed(target)
    if is_action(of):
        raise UsageError(f"{brief(target)}: an action is no market: name an instrument, a venue or another resource")
    engine = opened(state, role="authority", group=group, bundle=bundle, types=[of.type])
    made = engine.market(of, condition, **who)  # type: ignore[arg-type]
    warn_of_scope(engine, of, made.in_scope, bundle)
    if as_json:
        told = {"known": engine.knows(of), "in_scope": None if bundle is None else made.in_scope}
        json_out({**converted(made), **told})
        return
    concerned = count_of(made.in_scope, bundle)
    say((f"{of}: ", "bold"), (condition, f"bold {STYLES[condition]}"), f"{concerned} by {made.by}: {made.reason}")


@market.command("list")
def list_command(state: State, group: Group = None, as_json: Json = False) -> None:
    """List the markets that are not normal.

    [dim]ztfast market list --state /run/ztfast/desk[/]
    """
    markets = sorted(opened(state, role="decide", group=group).markets(), key=lambda each: each.target)
    if as_json:
        json_out({"markets": [converted(each) for each in markets]})
        return
    if markets:
        made = table("", "market", "state", "by", "reason", "since", right=5)
        made.title = None
        for each in markets:
            made.add_row(str(each.target), each.state, each.by, each.reason, moment(each.since))
        unfolded(made)
        console.print()
    say((f"{number(len(markets))} market{'s' if len(markets) != 1 else ''} not normal", "bold"))


def converted(market: Market) -> dict[str, Any]:
    """Convert a market for the JSON output."""
    return {
        "target": str(market.target),
        "state": market.state,
        "by": market.by,
        "reason": market.reason,
        "since": market.since,
    }
