"""The command line: ``ztfast compile | check | decide | explain | schema | session | cred | kill | market | log |
doctor | demo | bench``.

Exit codes, for scripts: 0 success (for ``decide`` and ``explain``: ALLOW), 1 error, 2 wrong usage, 3 DENY or
STEP_UP.
"""

from __future__ import annotations

import inspect
import io
import logging
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

from ztfast import __version__
from ztfast.cli import benching, compiling, cred, deciding, demo, doctor, kill, log, market, schema, session, sessions
from ztfast.cli.output import CLOSED, UsageError, block, console, errors, failed, say
from ztfast.errors import ArgumentError, Error, IdentityError, PolicyError, UidError

__all__ = ["app", "main"]

FAILED, USAGE, STOPPED = 1, 2, 130
UNREADABLE = (UsageError, ArgumentError, IdentityError, UidError)
"""The errors about a value of the command line itself, whatever the bundle or the state."""

HEADINGS = {
    "Policies": ("compile", "check", "decide", "explain", "schema"),
    "While engines run": ("session", "cred", "kill", "market", "log"),
    "This machine": ("doctor", "demo", "bench"),
}
"""The commands by heading, in the order in which one comes to need them."""


class InOrder(TyperGroup):
    """Lists commands by heading, rather than groups of commands behind all others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return [name for names in HEADINGS.values() for name in names]


app = typer.Typer(
    name="ztfast",
    cls=InOrder,
    help="Zero-trust authorization for trading systems: compile Cedar policies to tables, and decide by them.\n\n"
    "Exit codes: 0 success (decide, explain: ALLOW), 1 error, 2 wrong usage, 3 DENY or STEP_UP.",
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
    """Take the options of the program itself."""


app.command("compile")(compiling.compile_command)
app.command("check")(compiling.check_command)
app.command("decide")(deciding.decide_command)
app.command("explain")(deciding.explain_command)
app.add_typer(schema.schema, name="schema")
sessions.add_to(session.session)
app.add_typer(session.session, name="session")
app.add_typer(cred.cred, name="cred")
app.add_typer(kill.kill, name="kill")
app.add_typer(market.market, name="market")
app.command("log")(log.log_command)
app.command("doctor")(doctor.doctor_command)
app.command("demo")(demo.demo_command)
app.command("bench")(benching.bench_command)

_heading_of = {name: heading for heading, names in HEADINGS.items() for name in names}
for _named in app.registered_commands:
    _named.rich_help_panel = _heading_of[_named.name or ""]
for _group in app.registered_groups:
    _group.rich_help_panel = _heading_of[_group.name or ""]
_groups = [group.typer_instance for group in app.registered_groups if group.typer_instance]
for _command in [command for each in (app, *_groups) for command in each.registered_commands]:
    # A line of a docstring is as long as the source allows; a terminal has its own width.
    _paragraphs = inspect.cleandoc(_command.callback.__doc__ or "").split("\n\n")
    _command.help = "\n\n".join(" ".join(lines.split()) for lines in _paragraphs)


def main() -> NoReturn:
    """Run the command line, and exit with its code.

    An error is a message on standard error and exit code 1. An answer that could not be written is an error too,
    because a script must not take a missing answer for ALLOW.
    """
    # Commands say themselves what the library would warn of.
    logging.getLogger("ztfast").addHandler(logging.NullHandler())
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
    """Make the standard streams accept every character, and refuse a closed standard output."""
    output_closed = sys.stdout is None
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file that is opened would become a standard stream.
            os.open(os.devnull, os.O_RDWR)
    if output_closed:
        raise OSError("standard output is closed")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
            # The stream is unbuffered (python -u): text that a pipe does not accept at once would be lost silently.
            stream = open(stream.fileno(), "w", encoding=stream.encoding, buffering=1, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _run() -> int:
    """Run the command that the arguments name, and return its exit code."""
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
        return _wrong(FAILED, f"refused: {count} {what}{'s' if count != 1 else ''} (see above)", error)
    except UNREADABLE as error:
        return _wrong(USAGE, str(error))
    except Error as error:
        return _wrong(FAILED, str(error))
    except UnicodeEncodeError as error:
        # Arguments that are not UTF-8, and some JSON, contain lone surrogates.
        given = error.object if len(error.object) <= 80 else error.object[:77] + "..."
        return _wrong(FAILED, f"wanted text in UTF-8; got {given}")
    except SystemExit:
        # Printing the help raises this if the reader of the pipe is gone.
        raise BrokenPipeError(CLOSED) from None
    except OSError:
        raise
    except typer.Abort:
        return _told(STOPPED, "stopped")
    except Exception as error:
        # Only some versions of the argument parser have a common base class for its errors.
        if hasattr(error, "format_message"):
            return _misused(error)
        if os.environ.get("ZTFAST_TRACEBACK"):
            raise
        kind = f"{type(error).__name__}: {error}"
        report = "this is a bug in ztfast: please report it with the traceback that ZTFAST_TRACEBACK=1 prints"
        return _wrong(FAILED, f"{kind} ({report})")


def _misused(error: Exception) -> int:
    """Print what is wrong with the arguments, and return the exit code."""
    context = getattr(error, "ctx", None)
    message = error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        # The parser printed the help before it raised this.
        return USAGE
    if context is not None:
        _told(USAGE, " ".join(context.get_usage().split()))
        _told(USAGE, f"Try '{context.command_path} --help' for help.")
    return _wrong(getattr(error, "exit_code", USAGE), message)


def _wrong(code: int, message: str, error: Exception | None = None) -> int:
    """Print an error on standard error, and with ``--json`` on standard output too. Return the exit code."""
    code = _told(code, ("error: ", "bold red"), message)
    failed(message, error)
    return code


def _told(code: int, *parts: str | tuple[str, str]) -> int:
    """Print a message on standard error, if that can be written to, and return the exit code."""
    try:
        say(*parts, to=errors)
    except OSError:
        errors.quiet = True
    return code


def _let_go() -> None:
    """Flush the standard streams. If that fails, keep the interpreter from trying again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    console.quiet = errors.quiet = True
