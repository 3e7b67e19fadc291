"""Folders of policies: which files are read, and what is said of those that are not.

A folder loses nothing without a word: what cannot be read is refused, and what looks as if it should be read but is not
is warned of by its name.
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
"""How the names of policy files end."""

OTHERS = (
    ".cedarschema", ".cedarschema.json", ".schema.json", ".entities.json",
    ".md", ".rst", ".adoc", ".html", ".pdf", ".png", ".svg", ".py", ".pyc", ".sh", ".toml", ".yaml", ".yml", ".ztb",
)  # fmt: skip
"""How names end that are no policies by anyone's reading."""

OTHER_NAMES = frozenset({"schema.json", "entities.json", "makefile", "dockerfile", "codeowners", "owners"})
OTHER_STEMS = frozenset({"readme", "license", "licence", "notice", "changelog", "contributing", "authors"})
OTHER_TEXTS = frozenset({"", ".txt"})

DEPTH = 200
"""Folders in folders. Nobody's policies lie deeper."""

LOOKED_THROUGH = 100_000
"""Names that are looked at in a hidden folder, which nothing is read from."""

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
        path: Where it is opened, and what messages call it: its visible name.
        real: The same without links.
        state: What it was when it was found; see :func:`state`.
    """

    path: str
    real: str
    state: tuple[int, ...]


@dataclass
class Tree:
    """What there is below a folder.

    Attributes:
        files: Policy files, each once, in the order of their names.
        unread: Paths without links, and the warnings, of what is not read.
        folders: The folders that were looked into, and what they were then.
    """

    files: list[Found] = field(default_factory=list)
    unread: list[tuple[str, Warned]] = field(default_factory=list)
    folders: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)


def warned(file: str, message: str, help: str | None = None) -> Warned:
    """A warning about a file, in the form of a diagnostic."""
    rendered = f"{one_line(file)}: {message}" + (f"\n  help: {help}" if help else "")
    places = dict.fromkeys(("line", "column", "end_line", "end_column"))
    return {"severity": "warning", "message": message, "file": file, **places, "help": help, "rendered": rendered}


def state(of: os.stat_result) -> tuple[int, ...]:
    """What tells whether a file or folder is still what it was."""
    return of.st_dev, of.st_ino, of.st_size if stat.S_ISREG(of.st_mode) else 0, of.st_mtime_ns


def refused(path: str, why: str) -> SourceError:
    """An error about a path."""
    return SourceError(f"{one_line(name_of(path))}: {why}")


def unchanged(folders: list[tuple[str, tuple[int, ...]]]) -> None:
    """Refuse folders in which something was renamed, added or taken away since they were looked into."""
    for path, was in folders:
        try:
            now = state(os.stat(path))
        except OSError:
            now = ()
        if now != was:
            raise refused(path, "the folder changed while it was read: compile again")


def find(folder: str) -> Tree:
    """The policy files below a folder, links followed, and what is not read.

    Raises:
        SourceError: where a folder or link cannot be read or leads in a circle, where something that is named as a
            policy is no file, and where there are no policies.
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
        raise refused(folder, f"no policies in there: {looked}" + (f"; not read: {unread}" if unread else ""))
    return tree


class _Walk:
    """A walk through a folder, depth first, each folder once whatever links lead there."""

    def __init__(self, folder: str) -> None:
        self.tree = Tree()
        self.folder, self.root = folder, os.path.realpath(folder)
        self.hidden: list[str] = []
        self.chain: list[str] = []
        self.done: set[str] = set()

    def enter(self, path: str, real: str, link: str | None) -> None:
        """Look into a folder, which ``link`` has led to, if any has."""
        if len(self.chain) == DEPTH:
            raise refused(path, f"folders in folders, {DEPTH} deep: do links lead in a circle?")
        if real in self.done:
            return
        self.done.add(real)
        self.chain.append(real)
        try:
            self.tree.folders.append((path, state(os.stat(path))))
            names = sorted(os.listdir(path))
        except OSError as error:
            raise refused(path, f"cannot look into the folder: {error.strerror or error}") from error
        for name in names:
            self.entry(os.path.join(path, name), os.path.join(real, name), link)
        self.chain.pop()

    def entry(self, path: str, real: str, link: str | None) -> None:
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
                    self.unread(path, real, "a hidden link that leads nowhere")
                return
            circle = "leads in a circle" if error.errno == errno.ELOOP else f"cannot be followed: {error.strerror}"
            raise refused(path, f"the link to {_target(path)} {circle}: mend it or take it away") from error
        if is_link:
            link, real = path, os.path.realpath(path)
        if stat.S_ISDIR(found.st_mode):
            if hidden:
                self.hidden.append(path)
                return
            if any(above == real or above.startswith(real.rstrip("/") + "/") for above in self.chain):
                raise refused(link or path, f"the link to {_target(link or path)} leads in a circle: take it away")
            self.enter(path, real, link)
        elif not is_policy(name):
            if not is_other(name):
                self.unread(path, real, _why(name))
        elif stat.S_ISREG(found.st_mode):
            self.tree.files.append(Found(path, real, state(found)))
        else:
            raise refused(path, f"wanted a file, got {KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}")

    def unread(self, path: str, real: str, why: str) -> None:
        name = one_line(name_of(os.path.basename(path)))
        help = "name it so that it is read, or take it out of the folder"
        self.tree.unread.append((real, warned(name_of(path), f"not read: {name}: {why}", help)))

    def named(self) -> list[Found]:
        """The files, each once: by where it lies if that is visible below the folder, else by the first link to it."""
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
    """Whether a file of this name is read."""
    return name.endswith(POLICIES) and not name.startswith(".")


def looks_like_policy(name: str) -> bool:
    """Whether somebody may take a file of this name for a policy: copies, drafts, other spellings."""
    small = name.casefold().replace(".cedarschema", ".schema")
    return ".cedar" in small or ".links.json" in small


def is_other(name: str) -> bool:
    """Whether a file of this name is obviously no policy."""
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
        return "names of policy files end in small letters, as in .cedar"
    if small.endswith(".json"):
        return "policies in JSON are read from *.cedar.json, links of templates from *.links.json"
    return "names of policy files end in .cedar, .cedar.json or .links.json"


def _looked_through(folder: str, read: set[str]) -> list[tuple[str, Warned]]:
    """The warning about a hidden folder, if it holds policies that are not read by a visible name."""
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
            why = f"{one_line(name_of(os.path.relpath(path, folder)))} in it cannot be looked into: {error.strerror}"
            continue
        for entry in entries:
            looked += 1
            if os.path.isdir(entry.path):
                waiting.append(entry.path)
            elif looks_like_policy(entry.name) and os.path.realpath(entry.path) not in read:
                held.append(one_line(name_of(os.path.relpath(entry.path, folder))))
        if looked > LOOKED_THROUGH:
            why = "it holds more names than are looked through"
            break
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        why = f"hidden folders are not, and it holds {min(held)}{more}"
    if not why:
        return []
    name = one_line(name_of(os.path.basename(folder)))
    help = "take it out of the folder, or name it without the dot to have it read"
    return [(os.path.realpath(folder), warned(name_of(folder), f"not read: {name}/: {why}", help))]
