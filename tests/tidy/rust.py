"""Read Rust sources without a compiler: find their code, the files of a crate, and the imports between these files.

The text is scanned, not parsed: comments and literals are blanked, and then `use` trees and paths are resolved through
modules and re-exports to the file that defines the name. A method that another file's `impl` adds to a type is no import.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from tests.tidy.tree import Finding, Tree, line_of

COMMENTS = r"//[^\n]*|/\*.*?\*/"
LITERALS = r"""\b[bc]?r(?P<raw>\#*)".*?"(?P=raw)|\b[bc]"(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\u\{[^}]*\}|\\x..|\\.)'"""
TOKENS = re.compile(f"(?P<comment>{COMMENTS})|(?P<literal>{LITERALS})", re.DOTALL)
TEST_ATTRIBUTE = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")
USE = re.compile(r"(?<!\w)(?P<public>pub(?:\([^)]*\))?\s+)?use\s+(?P<tree>[^;]+);")
MOD = re.compile(r"(?<!\w)mod\s+(?P<name>\w+)\s*(?P<end>[;{])")
PATH = re.compile(r"(?<![\w:])(?:\w+::)+\w+")
PATH_ATTRIBUTE = re.compile(r'#\[path = "(?P<path>[^"]+)"\]\s*(?:pub(?:\([^)]*\))?\s+)?$')


@cache
def code(text: str, *, literals: bool = False) -> str:
    """Return the text with comments blanked, and literals unless `literals` is set. Each line and column stays where it
    was."""

    def blank(found: re.Match[str]) -> str:
        if literals and found["literal"] is not None:
            return found[0]
        return re.sub(r"[^\n]", " ", found[0])

    return TOKENS.sub(blank, text)


def closing(text: str, start: int) -> int:
    """Return the offset behind the brace that closes the first one at or after the start."""
    depth = 0
    for found in re.finditer(r"[{}]", text[start:]):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return start + found.end()
    return len(text)


@cache
def product(text: str) -> str:
    """Return the code without the items that are compiled for tests only."""
    shown = code(text)
    for found in reversed(list(TEST_ATTRIBUTE.finditer(shown))):
        item = re.compile(r"[;{]").search(shown, found.end())
        if item is None:
            continue
        end = item.end() if item[0] == ";" else closing(shown, item.start())
        shown = shown[: found.start()] + re.sub(r"[^\n]", " ", shown[found.start() : end]) + shown[end:]
    return shown


def expand(tree: str) -> Iterator[tuple[str, str]]:
    """List the paths of a `use` tree, each with the name that it gets here."""
    head, brace, rest = tree.partition("{")
    if not brace:
        path, _, name = (part.strip() for part in tree.partition(" as "))
        path = path.removesuffix("::self")
        if path:
            yield path, name or path.rpartition("::")[2]
        return
    depth, begin = 0, 0
    inner = rest[: rest.rindex("}")]
    for offset, character in enumerate(inner + ","):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            part = inner[begin:offset].strip()
            if part:
                yield from expand(head.strip() + part)
            begin = offset + 1


@cache
def uses(shown: str) -> list[tuple[int, bool, list[tuple[str, str]]]]:
    """List the `use` items of a code: the offset of each, whether it is public, and its paths with their names here."""
    return [
        (found.start(), found["public"] is not None, list(expand(" ".join(found["tree"].split()))))
        for found in USE.finditer(shown)
    ]


@cache
def without_uses(shown: str) -> str:
    return USE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), shown)


@cache
def named(shown: str) -> list[tuple[int, str]]:
    """List the paths that a file's own code needs. A re-export that nothing else here names is left out."""
    rest = without_uses(shown)
    words = set(re.findall(r"\w+", rest))
    kept = [
        (offset, target)
        for offset, public, paths in uses(shown)
        for target, name in paths
        if not public or name in words
    ]
    return kept + [(found.start(), found[0]) for found in PATH.finditer(rest)]


@cache
def inline(shown: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """List the modules that are written out in a code: the begin and end of each, and its names from the file down."""
    every: list[tuple[int, int, tuple[str, ...]]] = []
    for found in MOD.finditer(shown):
        if found["end"] == "{":
            above = within(every, found.start())
            every.append((found.end(), closing(shown, found.end() - 1), (*above, found["name"])))
    return every


def within(spans: list[tuple[int, int, tuple[str, ...]]], offset: int) -> tuple[str, ...]:
    return max((names for begin, end, names in spans if begin <= offset < end), key=len, default=())


@dataclass
class Module:
    """A module of a crate: its file, and the meaning of other modules' names in it."""

    path: tuple[str, ...]
    file: str
    children: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    globs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Import:
    """An import of one node by another: its line, its file, and the words that name the other."""

    source: str
    target: str
    path: str
    line: int
    words: str


class Crate:
    """The files that belong to one crate root and that the product, or its tests, are compiled from."""

    def __init__(self, tree: Tree, root: str, *, tests: bool) -> None:
        self.tree = tree
        self.tests = tests
        self.modules: dict[tuple[str, ...], Module] = {}
        self.missing: list[Finding] = []
        self._add(root, (), PurePosixPath(root).parent)

    def files(self) -> set[str]:
        return {module.file for module in self.modules.values()}

    def shown(self, file: str) -> str:
        return code(self.tree.text(file)) if self.tests else product(self.tree.text(file))

    def _add(self, file: str, path: tuple[str, ...], folder: PurePosixPath) -> None:
        """Add a file's module, the modules written out in it, and the files that it declares, which lie in `folder`."""
        text = self.shown(file)
        self.modules[path] = Module(path, file)
        spans = inline(text)
        for _, _, names in spans:
            self.modules[path + names] = Module(path + names, file)
        for found in MOD.finditer(text):
            names = within(spans, found.start())
            self.modules[path + names].children.add(found["name"])
            if found["end"] == ";":
                below = folder.joinpath(*names)
                places = [below / f"{found['name']}.rs", below / found["name"] / "mod.rs"]
                named = PATH_ATTRIBUTE.search(self.tree.text(file)[: found.start()])
                if named:
                    places = [PurePosixPath(posixpath.normpath(PurePosixPath(file).parent / named["path"]))]
                place = next((place for place in places if self.tree.has(str(place))), None)
                if place is None:
                    line = line_of(text, found.start())
                    self.missing.append(Finding(file, line, f"no file holds `mod {found['name']};`: write {places[0]}"))
                else:
                    self._add(str(place), (*path, *names, found["name"]), below / found["name"])
        for offset, _, paths in uses(text):
            module = self.modules[path + within(spans, offset)]
            for target, name in paths:
                if name == "*":
                    module.globs.append(target.removesuffix("::*"))
                else:
                    module.aliases[name] = target

    def resolve(
        self, module: Module, path: str, seen: frozenset[tuple[tuple[str, ...], str]] = frozenset()
    ) -> str | None:
        """Return the file that defines the item of a path in a module; None if another crate defines it."""
        if (module.path, path) in seen:
            return None
        seen |= {(module.path, path)}
        first, *rest = path.split("::")
        if first == "crate":
            return self._descend(self.modules[()], rest, seen)
        if first == "self":
            return self._descend(module, rest, seen)
        if first == "super":
            return self._super(module, rest, seen)
        if first in module.children:
            return self._descend(module, [first, *rest], seen)
        # A name that was imported counts at its import.
        return None

    def _super(self, module: Module, rest: list[str], seen: frozenset[tuple[tuple[str, ...], str]]) -> str | None:
        above = self.modules.get(module.path[:-1])
        if above is None:
            return None
        if rest and rest[0] == "super":
            return self._super(above, rest[1:], seen)
        return self._descend(above, rest, seen)

    def _descend(self, module: Module, rest: list[str], seen: frozenset[tuple[tuple[str, ...], str]]) -> str | None:
        for n, name in enumerate(rest):
            if name in module.children:
                module = self.modules[(*module.path, name)]
                continue
            if name in module.aliases:
                target = "::".join([module.aliases[name], *rest[n + 1 :]])
                return self.resolve(module, target, seen)
            if name != "*" and not self._defines(module, name):
                for target in module.globs:
                    found = self.resolve(module, f"{target}::{name}", seen)
                    if found is not None:
                        return found
            break
        return module.file

    def _defines(self, module: Module, name: str) -> bool:
        item = rf"\b(?:fn|struct|enum|union|trait|type|const|static|mod|macro_rules!)\s+(?:mut\s+)?{name}\b"
        return re.search(item, self.shown(module.file)) is not None

    def imports(self) -> Iterator[Import]:
        """List the imports of each file."""
        for path, module in self.modules.items():
            text = self.shown(module.file)
            depth = next(n for n in range(len(path) + 1) if self.modules[path[:n]].file == module.file)
            for offset, target in named(text):
                if within(inline(text), offset) == path[depth:]:
                    file = self.resolve(module, target)
                    if file is not None and file != module.file:
                        yield Import(module.file, file, module.file, line_of(text, offset), target)


def manifests(tree: Tree) -> list[str]:
    """List the manifests of crates, without a workspace's own."""
    return [path for path in tree.paths if path.endswith("Cargo.toml") and "package" in tree.toml(path)]


def roots(tree: Tree, manifest: str) -> list[str]:
    """List the files that Cargo compiles as crates of their own: library, programs, tests, benches, and those that the
    manifest names."""
    folder = str(PurePosixPath(manifest).parent)
    base = "" if folder == "." else folder + "/"
    named = [
        target["path"]
        for kind in ("bin", "test", "bench")
        for target in tree.toml(manifest).get(kind, ())
        if "path" in target
    ]
    single = [f"{base}{name}" for name in ("src/lib.rs", "src/main.rs", "build.rs", *named)]
    several = [f"{base}{name}/" for name in ("src/bin", "tests", "benches", "examples")]
    return [
        path
        for path in tree.ending(".rs")
        if path in single or any(path.startswith(start) and "/" not in path[len(start) :] for start in several)
    ]
