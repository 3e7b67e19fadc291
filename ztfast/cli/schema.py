"""``ztfast schema``: print the schemas that come with ztfast, for other tools."""

from __future__ import annotations

import typer

import ztfast
from ztfast.cli.output import Json, json_out

__all__ = ["schema"]

schema = typer.Typer(help="Print schemas that come with ztfast, for other tools that use Cedar.", no_args_is_help=True)


@schema.callback()
def _only() -> None:
    """Take no options. A group with one command would otherwise be that command."""


@schema.command("live")
def live_command(as_json: Json = False) -> None:
    """Print the schema of ztfast::Live, which the contexts of actions have as `live`.

    Other tools need it beside a schema that names it.

    [dim]ztfast schema live >> whole.cedarschema[/]
    """
    if as_json:
        json_out({"schema": ztfast.live_schema()})
        return
    print(ztfast.live_schema(), end="")
