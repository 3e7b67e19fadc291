"""Policy folders: the files that are read, and warnings about the files that are not.

No policy is skipped silently: a file that cannot be read is an error, and a warning names each file that looks like a
policy but is not read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from ztfast.errors import SourceError
from ztfast.shown import name_of, one_line

__all__ = ["KINDS", "Found", "Warned", "find", "state", "unchanged", "warned"]

POLICIES = (".cedar", ".cedar.json", ".links.json")
"""The suffixes of policy files."""

OTHERS = (
    ".cedarschema", ".cedarschema.json", ".schema.json", ".entities.json",
    ".md", ".rst", ".adoc", ".html", ".pdf", ".png", ".svg", ".py", ".pyc", ".sh", ".toml", ".yaml", ".yml", ".ztb",
)  # fmt: skip
"""The suffixes of files that cannot be mistaken for policies."""

OTHER_NAMES = frozenset({"schema.json", "entities.json", "makefile", "dockerfile", "codeowners", "owners"})
OTHER_STEMS = frozenset({"readme", "license", "licence", "notice", "changelog", "contributing", "authors"})
OTHER_TEXTS = frozenset({"", ".txt"})

DEPTH = 200
"""The depth to which folders are searched. Deeper nesting is refused, as links may lead in a circle."""

LOOKED_THROUGH = 100_000
"""The number of names in a hidden folder that are checked for policies. No file in it is read."""

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

Warned = dict[str, Any]
"""A diagnostic; see :class:`ztfast.PolicyError`."""


@dataclass(frozen=True, slots=True)
class Found:
    """A policy file of a folder.

    Attributes:
        path: The visible path, at which the file is opened and by which messages name it.
        real: The same path without links.
        state: The file's state when it was found; see :func:`state`.
    """

    path: str
    real: str
    state: tuple[int, ...]


@dataclass
class Tree:
    """The result of searching a folder.

    Attributes:
        files: The policy files, each once, in the order of their names.
        unread: The files that are not read: their paths without links, and the warnings.
        folders: The folders that were searched, and their states at that time.
    """

    files: list[Found] = field(default_factory=list)
    unread: list[tuple[str, Warned]] = field(default_factory=list)
    folders: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)


def warned(file: str, message: str, help: str | None = None) -> Warned:
    """Return a warning about a file, in the form of a diagnostic."""
    rendered = f"{one_line(file)}: {message}" + (f"\n  help: {help}" if help else "")
    places = dict.fromkeys(("line", "column", "end_line", "end_column"))
    return {"severity": "warning", "message": message, "file": file, **places, "help": help, "rendered": rendered}


def state(of: os.stat_result) -> tuple[int, ...]:
    """Return the properties that change when a file or folder changes."""
    return of.st_dev, of.st_ino, of.st_size if stat.S_ISREG(of.st_mode) else 0, of.st_mtime_ns


def refused(path: str, why: str) -> SourceError:
    """Return an error about a path."""
    return SourceError(f"{one_line(name_of(path))}: {why}")


def unchanged(folders: list[tuple[str, tuple[int, ...]]]) -> None:
    """Refuse folders in which a file was renamed, added or removed since they were searched."""
    for path, was in folders:
        try:
            now = state(os.stat(path))
        except OSError:
            now = ()
        if now != was:
            raise refused(path, "the folder changed while it was read: compile again")


def find(folder: str) -> Tree:
    """Find the policy files below a folder, following links, and the files that are not read.

    Raises:
        SourceError: if a folder or link cannot be read or leads in a circle, if the name of a policy belongs to
            something other than a file, or if there are no policies.
    """
    walk = _Walk(folder)
    walk.enter(folder, walk.root, None)
    tree = walk.tree
    tree.files = walk.named()
    read = {found.real for found in tree.files}
    tree.unread = [(real, warning) for real, warning in tree.unread if real not in read]
    for path in walk.hidden:
        tree.unread.extend(_looked_through(path, read))
    tree.unread.sort(key=lambda entry: PurePath(entry[1]["file"]).parts)
    if not tree.files:
        unread = ", ".join(one_line(warning["file"]) for _, warning in tree.unread[:5])
        looked = "looked for *.cedar, *.cedar.json and *.links.json"
        raise refused(folder, f"the folder has no policies: {looked}" + (f"; not read: {unread}" if unread else ""))
    return tree


class _Walk:
    """A depth-first walk through a folder. It enters each folder once, even if several links lead there."""

    def __init__(self, folder: str) -> None:
        self.tree = Tree()
        self.folder, self.root = folder, os.path.realpath(folder)
        self.hidden: list[str] = []
        self.chain: list[str] = []
        self.done: set[str] = set()

    def enter(self, path: str, real: str, link: str | None) -> None:
        """Search a folder. ``link`` is the link that led to it, if there was one."""
        if len(self.chain) == DEPTH:
            raise refused(path, f"folders are nested {DEPTH} deep: check whether links lead in a circle")
        if real in self.done:
            return
        self.done.add(real)
        self.chain.append(real)
        try:
            self.tree.folders.append((path, state(os.stat(path))))
            names = sorted(os.listdir(path))
        except OSError as error:
            raise refused(path, f"cannot read the folder: {error.strerror or error}") from error
        for name in names:
            self.entry(os.path.join(path, name), os.path.join(real, name), link)
        self.chain.pop()

    def entry(self, path: str, real: str, link: str | None) -> None:
        """Take one name of a folder: a folder, a policy file, or a file that is not read."""
        name = os.path.basename(path)
        hidden = name.startswith(".")
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            found = os.stat(path)
        except OSError as error:
            if not os.path.islink(path):
                raise refused(path, f"cannot read it: {error.strerror or error}") from error
            if hidden:
                if looks_like_policy(name):
                    self.unread(path, real, "it is a hidden and broken link")
                return
            circle = "leads in a circle" if error.errno == errno.ELOOP else f"cannot be followed: {error.strerror}"
            raise refused(path, f"the link to {_target(path)} {circle}: correct or remove it") from error
        if is_link:
            link, real = path, os.path.realpath(path)
        if stat.S_ISDIR(found.st_mode):
            if hidden:
                self.hidden.append(path)
                return
            if any(above == real or above.startswith(real.rstrip("/") + "/") for above in self.chain):
                raise refused(link or path, f"the link to {_target(link or path)} leads in a circle: remove it")
            self.enter(path, real, link)
        elif not is_policy(name):
            if not is_other(name):
                self.unread(path, real, _why(name))
        elif stat.S_ISREG(found.st_mode):
            self.tree.files.append(Found(path, real, state(found)))
        else:
            raise refused(path, f"wanted a file; got {KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}")

    def unread(self, path: str, real: str, why: str) -> None:
        """Add a warning about a file that is not read."""
        name = one_line(name_of(os.path.basename(path)))
        help = "rename it so that it is read, or remove it from the folder"
        self.tree.unread.append((real, warned(name_of(path), f"not read: {name}: {why}", help)))

    def named(self) -> list[Found]:
        """Return the files, each once: under its own path if that is visible, otherwise under the first link to it."""
        files: dict[str, Found] = {}
        for found in self.tree.files:
            within = os.path.relpath(found.real, self.root)
            if not any(part.startswith(".") for part in within.split(os.sep)):
                found = Found(os.path.join(self.folder, within), found.real, found.state)
            files.setdefault(found.real, found)
        return sorted(files.values(), key=lambda found: PurePath(found.path).parts)


def _target(link: str) -> str:
    try:
        return one_line(name_of(os.readlink(link)))
    except OSError:
        return "somewhere"


def is_policy(name: str) -> bool:
    """Return whether a file of this name is read."""
    return name.endswith(POLICIES) and not name.startswith(".")


def looks_like_policy(name: str) -> bool:
    """Return whether a user may take a file of this name for a policy: copies, drafts, other spellings."""
    small = name.casefold().replace(".cedarschema", ".schema")
    return ".cedar" in small or ".links.json" in small


def is_other(name: str) -> bool:
    """Return whether a file of this name is certainly not a policy."""
    small = name.casefold()
    stem, suffix = os.path.splitext(small)
    if small in OTHER_NAMES or (stem in OTHER_STEMS and suffix in OTHER_TEXTS):
        return True
    if looks_like_policy(name):
        return False
    return small.endswith(OTHERS) or (name.startswith(".") and not small.endswith(".json"))


def _why(name: str) -> str:
    small = name.casefold()
    if name.startswith("."):
        return "its name begins with a dot"
    if small.endswith(POLICIES):
        return "the suffix of a policy file is written in lower case, as in .cedar"
    if small.endswith(".json"):
        return "policies in JSON are read from *.cedar.json, links of templates from *.links.json"
    return "the name of a policy file ends in .cedar, .cedar.json or .links.json"


def _looked_through(folder: str, read: set[str]) -> list[tuple[str, Warned]]:
    """Return a warning about a hidden folder if it holds policies that are not read under a visible name."""
    held: list[str] = []
    why = ""
    looked, seen, waiting = 0, set(), [folder]
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            why = f"its folder {one_line(name_of(os.path.relpath(path, folder)))} cannot be read: {error.strerror}"
            continue
        for entry in entries:
            looked += 1
            if os.path.isdir(entry.path):
                waiting.append(entry.path)
            elif looks_like_policy(entry.name) and os.path.realpath(entry.path) not in read:
                held.append(one_line(name_of(os.path.relpath(entry.path, folder))))
        if looked > LOOKED_THROUGH:
            why = f"hidden folders are not read, and it holds more than {LOOKED_THROUGH:,} names"
            break
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        why = f"hidden folders are not read, and it holds {min(held)}{more}"
    if not why:
        return []
    name = one_line(name_of(os.path.basename(folder)))
    help = "remove it from the folder, or rename it without the dot to have it read"
    return [(os.path.realpath(folder), warned(name_of(folder), f"not read: {name}/: {why}", help))]
