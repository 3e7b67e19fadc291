"""The sources of a compilation: policies, a schema and entities, from files, texts, open files and dicts."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple, cast

import numpy as np

from ztfast import plain
from ztfast.errors import SourceError
from ztfast.folders import KINDS, Found, Warned, find, state, unchanged
from ztfast.shown import given, name_of, one_line

__all__ = ["File", "Source", "Text", "decoded", "read_entities", "read_file", "read_policies", "read_schema"]

File = tuple[str, str]
"""A name for messages, and a text."""


class Text(NamedTuple):
    """A text in place of a file: policies, a schema or entities.

    Args:
        text: The content.
        name: The name in messages. Its suffix tells the format (``.json`` for JSON).

    >>> Text("permit (principal, action, resource);").name
    'inline.cedar'
    """

    text: str
    name: str = "inline.cedar"


Source = str | os.PathLike[str] | Text | Mapping[str, Any] | IO[str] | IO[bytes]
"""A path, a text, an open file, or Cedar's JSON as a dict."""

POLICIES = "a folder, a file, ztfast.Text(...), a dict in Cedar's JSON, or a list of these"
SCHEMA = "a file, ztfast.Text(...), or a dict in Cedar's JSON"
ENTITIES = "a file, ztfast.Text(...), or a list of entities in Cedar's JSON"

BOM = b"\xef\xbb\xbf"
"""The byte order mark that some editors write at the beginning of UTF-8 files."""


def read_policies(sources: Source | Iterable[Source], *others: Any) -> tuple[list[File], list[Warned]]:
    """Read policy files and folders, each file once. Folders are searched recursively, in the order of names.

    Args:
        sources: The files and folders.
        others: The schema and the entities: no warning names them if they lie in a policy folder.

    Returns:
        The files, and warnings about files that are not read.

    Raises:
        SourceError: if a file or folder cannot be read.
    """
    files: list[File] = []
    unread: list[tuple[str, Warned]] = []
    folders: list[tuple[str, tuple[int, ...]]] = []
    read = {os.path.realpath(path) for path in map(_path, others) if path}
    taken: set[str] = set()
    for source in _listed(sources):
        path = _path(source)
        if path is None or not os.path.isdir(path):
            real = None if path is None else os.path.realpath(path)
            if real is None or real not in taken:
                files.append(_read(source, "policies", POLICIES))
            taken |= {real} if real else set()
            continue
        tree = find(path)
        files.extend(_content(found) for found in tree.files if found.real not in taken)
        taken |= {found.real for found in tree.files}
        unread.extend(tree.unread)
        folders.extend(tree.folders)
    unchanged(folders)
    if not files:
        raise SourceError("nothing to compile: give at least one policy file or folder")
    return files, [warning for real, warning in unread if real not in read | taken]


def read_schema(source: Source) -> File:
    """Read the schema: its name and text."""
    return _read(source, "schema", SCHEMA)


def read_entities(source: Source | Iterable[Any] | None) -> File | None:
    """Read entities from a file, a text, or a list, and return them as Cedar's JSON."""
    if source is None:
        return None
    if plain.is_a(source, Mapping):
        if "uid" not in cast(Mapping[str, Any], source):
            raise SourceError(f"entities: wanted {ENTITIES}; got {given(source)}, which has no uid")
        source = [source]
    if _is_one(source):
        return _read(source, "entities", ENTITIES)
    try:
        listed: list[Any] = list(source)  # type: ignore[arg-type] # the others are one
    except Exception as error:
        raise SourceError(f"entities: wanted {ENTITIES}; got {given(source)}, which fails: {error!r}") from error
    for entity in listed:
        if not isinstance(entity, Mapping):
            wanted = "wanted dicts with uid, attrs and parents in the list"
            raise SourceError(f"entities: {wanted}; got {given(entity)}")
    return "entities", _json(listed, "entities")


def read_file(path: str) -> File:
    """Read a file: its name and content.

    Raises:
        SourceError: if there is no such file, or it is not a regular file of UTF-8 text.
    """
    return _content(Found(path, path, ()))


def _listed(sources: Any) -> list[Any]:
    if isinstance(sources, Mapping) or _is_one(sources):
        return [sources]
    # The order of a set differs from process to process.
    try:
        return sorted(sources, key=str) if isinstance(sources, (set, frozenset)) else list(sources)
    except Exception as error:
        raise SourceError(f"policies: wanted {POLICIES}; got {given(sources)}, which fails: {error!r}") from error


def _is_one(source: Any) -> bool:
    """Return whether ``source`` is a single source, even if Python can iterate over it."""
    if isinstance(source, (str, bytes, bytearray, memoryview, os.PathLike, Text)) or hasattr(source, "read"):
        return True
    try:
        iter(source)
    except Exception:
        return True
    return False


def _path(source: Any) -> str | None:
    """Return a source's path, or ``None`` if it is not a path."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    try:
        path = os.fsdecode(source)
        os.fsencode(path)
    except Exception:
        return None
    return None if "\0" in path else path


def _read(source: Any, what: str, wanted: str) -> File:
    """Read a source: its name and text."""
    if isinstance(source, Text):
        return _text(source.text, source.name, what)
    if isinstance(source, Mapping):
        return f"{what}.json", _json(source, what)
    if hasattr(source, "read"):
        return _opened(source, what)
    path = _path(source)
    if not path:
        hint = (
            "; to give text from bytes, write ztfast.Text(text.decode())"
            if isinstance(source, (bytes, bytearray))
            else ""
        )
        raise SourceError(f"{what}: wanted {wanted}; got {given(source)}{hint}")
    try:
        return read_file(path)
    except SourceError as error:
        if isinstance(source, str) and any(char in source for char in '\n\r;{}[]"'):
            none = f"{what}: there is no file {given(source)}"
            raise SourceError(f"{none}; to give the text itself, write ztfast.Text(...)") from error
        raise


def _json(value: Any, what: str) -> str:
    try:
        return json.dumps(value, allow_nan=False, default=_plain)
    except RecursionError:
        raise SourceError(f"{what}: nested too deeply, or contains itself") from None
    except (TypeError, ValueError) as error:
        raise SourceError(f"{what}: not Cedar's JSON form: {one_line(str(error))}") from error


def _plain(value: Any) -> Any:
    """Convert values that the json module does not know: mappings other than dicts, and numpy's numbers."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer) and not isinstance(value, np.timedelta64):
        return int(value)
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def _text(text: Any, name: Any, what: str) -> File:
    """Check a text and its name."""
    if not isinstance(text, str) or not isinstance(name, str):
        raise SourceError(f"{what}: wanted ztfast.Text(text, name) with two str; got {given((text, name))}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{one_line(name_of(name))}: half a surrogate pair at character {error.start}") from None
    return name_of(name), text.removeprefix("\ufeff")


def _opened(file: Any, what: str) -> File:
    """Read an open file: its name and content."""
    name = getattr(file, "name", None)
    name = name_of(name) if isinstance(name, str) else f"{what} (an open file)"
    try:
        if getattr(file, "seekable", bool)() and file.tell():
            raise SourceError(f"{one_line(name)}: a part of the open file was already read: call seek(0) first")
        content = file.read()
    except UnicodeDecodeError as error:
        raise SourceError(f"{one_line(name)}: not UTF-8 at byte {error.start}") from error
    except (AttributeError, OSError, ValueError) as error:
        raise SourceError(f"{one_line(name)}: cannot read the open file: {error}") from error
    if isinstance(content, bytes):
        content = decoded(content, name)
    return _text(content, name, what)


def _content(found: Found) -> File:
    """Read a file: its name and content. A file that was found in a folder must not have changed since."""
    shown = one_line(name_of(found.path))
    changed = f"{shown}: the file changed or disappeared while the folder was read: compile again"
    try:
        _regular(os.stat(found.path), shown)
        # If a FIFO has replaced the file meanwhile, opening it without O_NONBLOCK would wait for a writer.
        opened = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            before = os.fstat(opened)
            _regular(before, shown)
            content = file.read()
            after = os.fstat(opened)
    except FileNotFoundError as error:
        raise SourceError(changed if found.state else f"{shown}: cannot read it: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{shown}: cannot read it: {getattr(error, 'strerror', None) or error}") from error
    if state(before) != state(after) or (found.state and state(before) != found.state):
        raise SourceError(changed)
    return name_of(found.path), decoded(content, shown)


def _regular(found: os.stat_result, shown: str) -> None:
    """Refuse a path that is not a regular file."""
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        hint = "; to read a pipe, give the open file, for example sys.stdin" if kind == stat.S_IFIFO else ""
        raise SourceError(f"{shown}: wanted a file; got {KINDS.get(kind, 'something else')}{hint}")


def decoded(content: bytes, name: str) -> str:
    """Decode the bytes of a file.

    Raises:
        SourceError: if they are not UTF-8.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise SourceError(f"{one_line(name)}: the file looks like UTF-16: save it as UTF-8")
    start = len(BOM) if content.startswith(BOM) else 0
    try:
        return content[start:].decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{one_line(name)}: not UTF-8 at byte {start + error.start}") from error
