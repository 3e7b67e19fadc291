"""The context of a request, from the command line's options."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ztfast.cli.output import UsageError
from ztfast.engine import Engine
from ztfast.errors import ContextError, SourceError
from ztfast.shown import one_line
from ztfast.sources import decoded, read_file

__all__ = ["read_context"]

SHOWN = 80
"""The number of characters of an option that a message shows."""

MOST = 100
"""The number of equals signs in an option that may belong to its name."""


def read_context(
    engine: Engine, action: str, text: str | None, file: Path | None, values: list[str] | None
) -> dict[str, Any]:
    """Build the context from ``--context``, then ``--context-file``, then each ``-c NAME=VALUE``. Later ones override.

    The action's schema tells which attribute a name means.

    Raises:
        UsageError: if an option is not a JSON object, has a duplicate key, or contradicts another option.
        ContextError: if a file is not a JSON object or has a duplicate key, or the action has no such attribute.
        SourceError: if the file cannot be read.
    """
    context: dict[str, Any] = {}
    if text is not None:
        try:
            context |= read_object(text, "--context")
        except ContextError as error:
            raise UsageError(str(error)) from None
    if file is not None:
        name, content = ("standard input", standard_input()) if str(file) == "-" else read_file(str(file))
        context |= read_object(content, name)
    given: set[tuple[str, ...]] = set()
    for value in values or []:
        put(context, engine, action, value, given)
    return context


def standard_input() -> str:
    """Read all of standard input."""
    try:
        return decoded(sys.stdin.buffer.read(), "standard input")
    except (AttributeError, OSError) as error:
        why = getattr(error, "strerror", None) or "it is closed"
        raise SourceError(f"standard input: cannot read it: {why}") from None


def read_object(text: str, source: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        read = parse(text, source)
    except ValueError as error:
        raise ContextError(f"{shown(source)}: not JSON: {error}") from None
    if not isinstance(read, dict):
        raise ContextError(f"{shown(source)}: wanted a JSON object; got {type(read).__name__}")
    return read


def parse(text: str, source: str) -> Any:
    """Parse a JSON value. Cedar has no floating point, so a number with a point becomes the text of a decimal.

    Raises:
        ContextError: if a key is there twice, or values are nested too deeply.
        ValueError: if the text is not JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ContextError(f'{shown(source)}: "{shown(key)}" is there twice')
            found[key] = value
        return found

    def none(constant: str) -> Any:
        raise json.JSONDecodeError(f"{constant} is not a JSON number", "", 0)

    try:
        return json.loads(text, parse_float=str, parse_constant=none, object_pairs_hook=once)
    except RecursionError:
        raise ContextError(f"{shown(source)}: nested too deeply") from None


def put(context: dict[str, Any], engine: Engine, action: str, option: str, given: set[tuple[str, ...]]) -> None:
    """Put ``NAME=VALUE`` into a context. ``given`` has the paths of earlier options."""
    said = f"-c {shown(option)}"
    if "=" not in option:
        raise UsageError(f"{said}: wanted NAME=VALUE, as -c qty=100")
    path, written = named(engine, action, option)
    try:
        value = parse(written, said)
    except json.JSONDecodeError:
        value = written
    except ContextError as error:
        raise UsageError(str(error)) from None
    except ValueError as error:
        raise UsageError(f"{said}: {error}") from None
    for before in given:
        if before[: len(path)] == path or path[: len(before)] == before:
            raise UsageError(f"{said}: another -c gives {shown('.'.join(before))}")
    given.add(path)
    inner = context
    for depth, part in enumerate(path[:-1], 1):
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{said}: {shown('.'.join(path[:depth]))} was already given, and is not a record")
    inner[path[-1]] = value


def named(engine: Engine, action: str, option: str) -> tuple[tuple[str, ...], str]:
    """Split NAME=VALUE into a path and a value. Names may contain equals signs too."""
    parts = option.split("=")
    found: list[tuple[tuple[str, ...], str]] = []
    refused: list[ContextError] = []
    for at in range(1, min(len(parts), MOST)):
        try:
            found.append((engine.attribute_path(action, "=".join(parts[:at])), "=".join(parts[at:])))
        except ContextError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    if len(found) > 1:
        raise UsageError(f"-c {shown(option)}: the name means two context attributes: use --context")
    return found[0]


def shown(text: str) -> str:
    """Shorten a text from outside for a message, and put it on one line."""
    text = one_line(text)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
