"""The command line: ``ztfast compile | check | decide | explain | demo | bench``.

Exit codes, for scripts: 0 done (for ``decide`` and ``explain``: ALLOW), 1 refused or failed, 2 wrong usage, 3 DENY.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ztfast import __version__
from ztfast.cli import benching, compiling, deciding, demo
from ztfast.cli.output import console, errors
from ztfast.errors import Error, PolicyError

__all__ = ["app", "main"]

app = typer.Typer(
    name="ztfast",
    help="Zero-trust authorization for trading systems: Cedar policies compiled to tables, decided in process.\n\n"
    "Exit codes: 0 done (decide, explain: ALLOW), 1 refused or failed, 2 wrong usage, 3 DENY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"ztfast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


app.command("compile")(compiling.compile_command)
app.command("check")(compiling.check_command)
app.command("decide")(deciding.decide_command)
app.command("explain")(deciding.explain_command)
app.command("demo")(demo.demo_command)
app.command("bench")(benching.bench_command)


def main() -> None:
    """Run the command line. What ztfast refuses becomes a message on standard error and exit code 1."""
    try:
        app()
    except PolicyError as error:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        count = sum(diagnostic["severity"] == "error" for diagnostic in error.diagnostics)
        what = "error" if count else "warning"
        count = count or len(error.diagnostics)
        errors.print(f"\n[bold red]error:[/] refused: {count} {what}{'s' if count != 1 else ''}, see above")
        sys.exit(1)
    except Error as error:
        errors.print("[bold red]error:[/] ", end="")
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(130)
