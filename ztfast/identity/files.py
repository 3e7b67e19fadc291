"""Reads the files that a configuration names: whole, bounded in size, and never a pipe or a device."""

from __future__ import annotations

import glob
import os
import stat
from typing import NamedTuple

from ztfast.folders import KINDS, state
from ztfast.shown import name_of, one_line

__all__ = ["MOST_FILES", "FileError", "Found", "find", "read"]

MOST_FILES = 10_000
"""The most files that one pattern may find."""


class FileError(Exception):
    """A file cannot be read; the message says which one and why."""


class Found(NamedTuple):
    """A file: its path for messages, and its content."""

    shown: str
    content: bytes


def find(pattern: str, base: str) -> list[str]:
    """Return the files that a path or a pattern names, in the order of their names.

    Args:
        pattern: A path, relative to the base; ``*``, ``?``, ``[a-z]`` and ``**`` stand for parts of it if no file has
            this very name.
        base: A folder.

    Raises:
        FileError: if there is none, or there are too many.
    """
    if not pattern or "\0" in pattern:
        raise FileError("an empty path" if not pattern else "a path with NUL in it")
    path = os.path.join(base, pattern)
    if os.path.lexists(path) or not glob.has_magic(pattern):
        return [path]
    found: list[str] = []
    for each in glob.iglob(
        glob.escape(base) + os.sep + pattern if not os.path.isabs(pattern) else pattern, recursive=True
    ):
        found.append(each)
        if len(found) > MOST_FILES:
            raise FileError(f"more than {MOST_FILES:,} files are {one_line(pattern)}")
    # A pattern such as ** finds folders, too; a FIFO or a device is refused when it is read.
    found = sorted(each for each in found if not os.path.isdir(each))
    if not found:
        raise FileError(f"no file is {one_line(pattern)} in {one_line(name_of(base))}")
    return found


def read(path: str, most: int) -> Found:
    """Read a file.

    Raises:
        FileError: if there is none, it is not a regular file, is empty, is larger than ``most`` bytes, or changes
            meanwhile.
    """
    shown = one_line(name_of(path))
    try:
        # If it is a FIFO, opening it without O_NONBLOCK would wait for a writer.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            before = os.fstat(opened)
            kind = stat.S_IFMT(before.st_mode)
            if kind != stat.S_IFREG:
                raise FileError(f"{shown}: wanted a file; got {KINDS.get(kind, 'something else')}")
            with os.fdopen(opened, "rb", closefd=False) as file:
                # A file that grows meanwhile is read no further than one byte beyond.
                content = file.read(most + 1)
            after = os.fstat(opened)
        finally:
            os.close(opened)
    except (OSError, ValueError) as error:
        raise FileError(f"{shown}: cannot read it: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most:
        raise FileError(f"{shown}: larger than {most:,} bytes, the most that is read")
    if state(before) != state(after):
        raise FileError(f"{shown}: it changed while it was read: write it beside and rename it")
    if not content:
        raise FileError(f"{shown}: it is empty")
    return Found(shown, content)
