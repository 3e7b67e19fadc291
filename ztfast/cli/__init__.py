"""The command line: ``ztfast compile | check | decide | explain | demo | bench``.

Exit codes, for scripts: 0 done (for ``decide`` and ``explain``: ALLOW), 1 refused or failed, 2 wrong usage, 3 DENY.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from ztfast import __version__
from ztfast.cli import benching, compiling, deciding, demo
from ztfast.cli.output import CLOSED, block, console, errors, say
from ztfast.errors import Error, PolicyError

__all__ = ["app", "main"]

FAILED, USAGE, STOPPED = 1, 2, 130

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
        say(f"ztfast {__version__}")
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


def main() -> NoReturn:
    """Run the command line, and exit with its code.

    What goes wrong becomes a message on standard error and exit code 1. So does an answer that could not be written:
    a script that goes by the exit code must not take it for one that was given.
    """
    code = FAILED
    try:
        _streams()
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _told(STOPPED, "stopped")
    except OSError as error:
        why = CLOSED if isinstance(error, BrokenPipeError) else error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else "cannot write the output: "
        code = _told(FAILED, ("error: ", "bold red"), f"{where}{why}")
    _let_go()
    sys.exit(code)


def _streams() -> None:
    """Make standard streams of which each letter can be written; refuse a standard output that is closed."""
    output_closed = sys.stdout is None
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # What is opened next would else become a standard stream.
            os.open(os.devnull, os.O_RDWR)
    if output_closed:
        raise OSError("standard output is closed")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
            # Unbuffered (python -u): what a pipe does not take at once would be lost without a word.
            stream = open(stream.fileno(), "w", encoding=stream.encoding, buffering=1, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _run() -> int:
    """Run the command that the arguments name; its exit code."""
    try:
        code = app(standalone_mode=False)
        if code == STOPPED:
            return _told(STOPPED, "stopped")
        return code if isinstance(code, int) else 0
    except PolicyError as error:
        errors.print(Text(block(str(error))), soft_wrap=True)
        count = sum(diagnostic["severity"] == "error" for diagnostic in error.diagnostics)
        what = "error" if count else "warning"
        count = count or len(error.diagnostics)
        errors.print()
        return _told(FAILED, ("error: ", "bold red"), f"refused: {count} {what}{'s' if count != 1 else ''}, see above")
    except Error as error:
        return _told(FAILED, ("error: ", "bold red"), str(error))
    except UnicodeEncodeError as error:
        # Arguments that are no UTF-8 hold such, and JSON can say them.
        given = error.object if len(error.object) <= 80 else error.object[:77] + "..."
        return _told(FAILED, ("error: ", "bold red"), f"wanted text in UTF-8, got {given}")
    except SystemExit:
        # What prints the help ends the program so where nobody reads it.
        raise BrokenPipeError(CLOSED) from None
    except OSError:
        raise
    except typer.Abort:
        return _told(STOPPED, "stopped")
    except Exception as error:
        # What the parser of arguments raises has a common base in some versions only.
        if hasattr(error, "format_message"):
            return _misused(error)
        if os.environ.get("ZTFAST_TRACEBACK"):
            raise
        kind = f"{type(error).__name__}: {error}"
        report = "this is a bug of ztfast: please report it, with what ZTFAST_TRACEBACK=1 shows"
        return _told(FAILED, ("error: ", "bold red"), f"{kind} ({report})")


def _misused(error: Exception) -> int:
    """Say what is wrong with the arguments."""
    context = getattr(error, "ctx", None)
    message = error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        # The help was printed when this was raised.
        return USAGE
    if context is not None:
        _told(USAGE, " ".join(context.get_usage().split()))
        _told(USAGE, f"Try '{context.command_path} --help' for help.")
    return _told(getattr(error, "exit_code", USAGE), ("error: ", "bold red"), message)


def _told(code: int, *parts: str | tuple[str, str]) -> int:
    """Say on standard error why it ends, if that can be written to; the exit code."""
    try:
        say(*parts, to=errors)
    except OSError:
        errors.quiet = True
    return code


def _let_go() -> None:
    """Flush what can be; where that fails, the interpreter must not try again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    console.quiet = errors.quiet = True
