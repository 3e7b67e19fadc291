"""What is compiled: finding and reading files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ztfast.errors import SourceError

__all__ = ["File", "PathOrText", "Text", "read_entities", "read_file", "read_policies"]

File = tuple[str, str]
"""A name, for messages, and a text."""


class Text(NamedTuple):
    """A text in place of a file: policies, a schema or entities.

    Args:
        text: The content.
        name: What messages call it, and what its kind is told by (``.json`` for JSON).

    >>> Text("permit (principal, action, resource);").name
    'inline.cedar'
    """

    text: str
    name: str = "inline.cedar"


PathOrText = str | os.PathLike[str] | Text


def read_file(source: PathOrText) -> File:
    """Name and content of a file or text."""
    if isinstance(source, Text):
        return source.name, source.text
    path = Path(source)
    try:
        return str(path), path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise SourceError(f"{path}: wanted a file, got a folder") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot read it: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 at byte {error.start}") from error


def read_policies(sources: PathOrText | Iterable[PathOrText]) -> list[File]:
    """The policy files in folders (searched whole, in order of their paths) and files."""
    listed: Iterable[PathOrText]
    listed = [sources] if isinstance(sources, (str, os.PathLike, Text)) else sources
    files: list[File] = []
    for source in listed:
        if not isinstance(source, Text) and Path(source).is_dir():
            files.extend(read_file(path) for path in policy_files(Path(source)))
        else:
            files.append(read_file(source))
    if not files:
        raise SourceError("nothing to compile: give at least one policy file or folder")
    return files


def policy_files(folder: Path) -> list[Path]:
    """The policy files below a folder: ``*.cedar``, and JSON policy sets and links as ``*.cedar.json``."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == ".cedar" or path.name.endswith((".cedar.json", ".links.json")))
    )
    if not found:
        raise SourceError(f"{folder}: no policies in there: looked for *.cedar, *.cedar.json and *.links.json")
    return found


def read_entities(source: PathOrText | Iterable[Any] | None) -> File | None:
    """Entities as Cedar JSON: a file, a text, or the list itself."""
    if source is None:
        return None
    if isinstance(source, (str, os.PathLike, Text)):
        return read_file(source)
    try:
        return "entities", json.dumps(list(source))
    except (TypeError, ValueError) as error:
        raise SourceError(f"entities: wanted a file or a list in Cedar's JSON form: {error}") from error
