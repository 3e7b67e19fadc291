"""Read the files of a project for the rules, and describe what a rule finds in one of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True, order=True)
class Finding:
    """A place that breaks a rule, and what to do about it. `name` distinguishes places of one file for exceptions."""

    path: str
    line: int
    what: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"

    @property
    def key(self) -> str:
        return f"{self.path}::{self.name}" if self.name else self.path


class Tree:
    """All files under a root except those that .gitignore names. Git is not asked: copies of the project lack it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.text = cache(self._text)

    @cached_property
    def paths(self) -> list[str]:
        ignore = self.root / ".gitignore"
        patterns = ignore.read_text().split() if ignore.exists() else []
        found = []
        for folder, folders, files in os.walk(self.root):
            here = Path(folder).relative_to(self.root)
            folders[:] = [
                name
                for name in folders
                if name != ".git" and not _ignored(patterns, (here / name).as_posix(), folder=True)
            ]
            paths = [(here / name).as_posix() for name in files]
            found += [path for path in paths if path != ".git" and not _ignored(patterns, path, folder=False)]
        return sorted(found)

    @cached_property
    def folders(self) -> set[str]:
        return {str(parent) for path in self.paths for parent in PurePosixPath(path).parents}

    def has(self, path: str) -> bool:
        """Return whether there is such a file or folder. `*` stands for any part of a name."""
        if "*" in path:
            return any(fnmatch(known, path) for known in self.paths)
        return path in self._known or path in self.folders

    @cached_property
    def _known(self) -> set[str]:
        return set(self.paths)

    def ignores(self, path: str) -> bool:
        """Return whether .gitignore names the path or a folder above it."""
        ignore = self.root / ".gitignore"
        patterns = ignore.read_text().split() if ignore.exists() else []
        parts = path.split("/")
        return any(_ignored(patterns, "/".join(parts[: n + 1]), folder=True) for n in range(len(parts)))

    def ending(self, *suffixes: str) -> list[str]:
        return [path for path in self.paths if path.endswith(suffixes)]

    def _text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def lines(self, path: str) -> Iterator[tuple[int, str]]:
        return enumerate(self.text(path).split("\n"), 1)

    def toml(self, path: str) -> dict[str, Any]:
        return tomllib.loads(self.text(path))


def _ignored(patterns: list[str], path: str, *, folder: bool) -> bool:
    for pattern in patterns:
        if pattern.endswith("/") and not folder:
            continue
        anchored = "/" in pattern.rstrip("/")
        if fnmatch(path if anchored else path.rpartition("/")[2], pattern.strip("/")):
            return True
    return False


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def less(findings: Iterable[Finding], exceptions: Mapping[str, str]) -> list[Finding]:
    """Return the findings without an exception, and a finding for each exception that is unneeded or has no reason."""
    findings = list(findings)
    needed = {finding.key for finding in findings}
    kept = [finding for finding in findings if finding.key not in exceptions]
    for key, reason in exceptions.items():
        path = key.partition("::")[0]
        if key not in needed:
            kept.append(Finding(path, 1, f"the exception for {key} is no longer needed: remove it from the list"))
        elif not reason.strip():
            kept.append(Finding(path, 1, f"the exception for {key} gives no reason: write one"))
    return kept
