"""Rules about text: widths, spaces, sizes, first sentences, words, and what stands above `unsafe`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath

from tests.tidy import python, rust
from tests.tidy.tree import Finding, Tree, line_of

PYTHON = (".py", ".pyi", ".pyx", ".pxd", ".pxi")
CODE = (*PYTHON, ".rs", ".go", ".h", ".hpp", ".cpp")
# These files are written by tools, or kept as they were published.
GENERATED = (".lock", ".sum", ".mod", "LICENSE")
# Comments that ruff does not count.
PRAGMA = re.compile(r"  # (?:type: ignore|noqa|fmt: skip).*$")
# The largest number of lines that are neither empty nor comment.
LARGEST = 600

# Words that only the author of a change understands, and paths of the author's machine. Brackets keep this file from
# matching itself.
FOREIGN = {
    "a path of one machine": re.compile(r"/wor[k]/|/roo[t]/"),
    "a folder of one machine": re.compile(r"/tm[p]/"),
    "about those who wrote this": re.compile(
        r"\b[h]elpers?\b|\b[s]essions? of work\b|\b[s]ub-?agents?\b|\b[w]orktrees?\b", re.I
    ),
    "the number of an issue": re.compile(r"(?<![\w&\"'(#])#\d+\b(?!\s*[\[\]])|\bissue [n#]?\d+", re.I),
}
# Tests invent paths, and write to temporary folders.
ALLOWED_IN_TESTS = ("a folder of one machine",)


def lines_are_no_wider_than_formatters_allow(tree: Tree) -> Iterator[Finding]:
    """Hold lines that rustfmt and ruff do not check (comments, Cython) to the same width. Literals that cannot be
    broken may be wider."""
    settings = tree.toml("pyproject.toml")["tool"]["ruff"] if tree.has("pyproject.toml") else {}
    free = [glob for glob, rules in settings.get("lint", {}).get("per-file-ignores", {}).items() if "E501" in rules]
    for path in tree.ending(*PYTHON, ".rs"):
        if any(fnmatch(path, glob) for glob in free):
            continue
        widest = rust_width(tree, path) if path.endswith(".rs") else settings.get("line-length", 88)
        for line, text in tree.lines(path):
            shown = PRAGMA.sub("", text)
            if len(shown) > widest and "://" not in shown and not ends_in_literal(tree, path, line, widest):
                yield Finding(path, line, f"{len(shown)} columns: break the line at {widest}")


def ends_in_literal(tree: Tree, path: str, line: int, widest: int) -> bool:
    """Return whether the part of a line of Rust beyond the width is a literal, which rustfmt leaves as it is."""
    if not path.endswith(".rs"):
        return False
    bare = rust.code(tree.text(path)).split("\n")[line - 1]
    with_literals = rust.code(tree.text(path), literals=True).split("\n")[line - 1]
    beyond = len(with_literals.rstrip()) > widest
    return beyond and len(re.sub(r" {2,}", " ", bare.strip())) <= widest


def rust_width(tree: Tree, path: str) -> int:
    for folder in PurePosixPath(path).parents:
        settings = str(folder / "rustfmt.toml")
        if tree.has(settings):
            return int(tree.toml(settings)["max_width"])
    return 100


def texts_are_clean(tree: Tree) -> Iterator[Finding]:
    """Check that no line ends in a space or holds a tab, and that a file ends in one newline."""
    for path in tree.paths:
        if path.endswith(GENERATED):
            continue
        try:
            text = tree.text(path)
        except UnicodeDecodeError:
            yield Finding(path, 1, "not UTF-8: write text as UTF-8, and keep what is no text out of the repository")
            continue
        tabs_allowed = path.endswith(".go") or PurePosixPath(path).name == "Makefile"
        for line, content in tree.lines(path):
            if content != content.rstrip():
                yield Finding(path, line, "white space ends the line: remove it")
            if "\t" in content and not tabs_allowed:
                yield Finding(path, line, "a tab: write spaces, or \\t in a literal")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            yield Finding(path, text.count("\n") + 1, "end the file with one newline")


def files_are_small(tree: Tree) -> Iterator[Finding]:
    for path in tree.ending(*CODE):
        size = lines_of_code(tree, path)
        if size > LARGEST:
            yield Finding(
                path, 1, f"{size} lines of code, more than {LARGEST}: make two files of it, each about one thing"
            )


def lines_of_code(tree: Tree, path: str) -> int:
    """Count the lines that are neither empty nor comment, nor tests within the file that they test."""
    text = tree.text(path)
    if path.endswith(".rs"):
        whole = rust.code(text, literals=True).split("\n")
        tests = zip(rust.code(text).split("\n"), rust.product(text).split("\n"), strict=True)
        return sum(bool(line.strip()) and here == there for line, (here, there) in zip(whole, tests, strict=True))
    if path.endswith((".py", ".pyi")):
        documented = python.read(text).documented
        lines = [line for number, line in tree.lines(path) if number not in documented]
    else:
        lines = re.sub(r'"""(?:.*?)"""|/\*.*?\*/', "", text, flags=re.DOTALL).split("\n")
    return sum(bool(line.strip()) and not line.lstrip().startswith(("#!", "# ", "//")) for line in lines)


def files_say_what_they_do(tree: Tree) -> Iterator[Finding]:
    for path in tree.ending(*CODE, ".cedar"):
        text = tree.text(path)
        if not text.strip():
            continue
        first = first_paragraph(path, text)
        if not first:
            yield Finding(path, 1, "begin the file with a sentence that says what it does")
        elif not re.search(r"[.:!?]\W*$|[.:] ", first):
            yield Finding(path, 1, f"the file begins with no whole sentence: {first!r}")


def first_paragraph(path: str, text: str) -> str:
    """Return the first paragraph of the comment or docstring that a file begins with."""
    if path.endswith(".rs"):
        head = re.match(r"(?://!.*\n)+", text)
        words = re.sub(r"^//! ?", "", head[0], flags=re.M) if head else ""
    elif path.endswith(".pxi"):
        # What is included in a module has no docstring of its own.
        head = re.match(r"(?:#.*\n)+", text)
        words = re.sub(r"^# ?", "", head[0], flags=re.M) if head else ""
    elif path.endswith(PYTHON):
        head = re.match(r'(?:#.*\n|\s*\n)*r?"""(.*?)"""', text, re.DOTALL)
        words = head[1] if head else ""
    else:
        head = re.match(r"/\*(.*?)\*/", text, re.DOTALL) or re.match(r"((?://.*\n)+)", text)
        words = re.sub(r"^ ?(?://|\*) ?", "", head[1], flags=re.M) if head else ""
    return " ".join(words.strip().partition("\n\n")[0].split())


def texts_are_about_the_project(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith(GENERATED):
            continue
        text = tree.text(path)
        in_tests = path.startswith("tests/") or "/tests/" in path
        for what, pattern in FOREIGN.items():
            if in_tests and what in ALLOWED_IN_TESTS:
                continue
            for found in pattern.finditer(text):
                line = line_of(text, found.start())
                yield Finding(path, line, f"{found[0].strip()!r} is {what}: write what a stranger understands")


def unsafe_is_explained(tree: Tree) -> Iterator[Finding]:
    """Check that each unsafe block and implementation has a comment that begins with SAFETY, directly above its
    statement or in it."""
    for path in tree.ending(".rs"):
        code = rust.code(tree.text(path))
        lines = tree.text(path).split("\n")
        bare = code.split("\n")
        for found in re.finditer(r"\bunsafe\s*(?:\{|impl\b|extern\b)", code):
            line = line_of(code, found.start())
            if not found[0].endswith("extern") and not explained(lines, bare, line):
                yield Finding(path, line, "say above this in a comment `// SAFETY: ...` why it is sound")


def explained(lines: list[str], bare: list[str], line: int) -> bool:
    """Return whether a SAFETY comment stands above the statement that reaches the line. `bare` are the lines without
    comments."""
    here = line - 1
    while here >= 0:
        above = here - 1
        comment = []
        while above >= 0 and lines[above].strip().startswith("//"):
            comment.append(lines[above].strip())
            above -= 1
        if any("SAFETY:" in text for text in comment) or "SAFETY:" in lines[here]:
            return True
        before = bare[above].strip() if above >= 0 else ""
        attribute = before.startswith("#[")
        if comment or (not attribute and (not before or before.endswith((";", "{", "}")))):
            return False
        here = above
    return False


def unsafe_stands_where_it_may(tree: Tree) -> Iterator[Finding]:
    """Check that only crates that ARCHITECTURE.md names for it have unsafe code, and that all others forbid it."""
    document = "ARCHITECTURE.md"
    section = re.search(r"^## unsafe\n(.*?)(?=^## |\Z)", tree.text(document), re.M | re.DOTALL)
    named = set(re.findall(r"`([\w-]+)`", section[1])) if section else set()
    where = line_of(tree.text(document), section.start()) if section else 1
    crates = {PurePosixPath(path).parent.name: path for path in rust.manifests(tree) if path.startswith("src_ext/")}
    for crate, manifest in crates.items():
        folder = str(PurePosixPath(manifest).parent)
        roots = [path for path in rust.roots(tree, manifest) if path.endswith(("src/lib.rs", "src/main.rs"))]
        shown = {path: rust.code(tree.text(path)) for path in tree.ending(".rs") if path.startswith(f"{folder}/src/")}
        uses = any(re.search(r"\bunsafe\b(?!_)", text) for text in shown.values())
        for root in roots:
            forbids = "#![forbid(unsafe_code)]" in shown[root]
            guarded = "#![deny(unsafe_op_in_unsafe_fn)]" in shown[root]
            if crate not in named and not forbids:
                yield Finding(
                    root, 1, f"write #![forbid(unsafe_code)], or name `{crate}` in {document} under `## unsafe`"
                )
            if crate in named and not forbids and not guarded:
                yield Finding(root, 1, "write #![deny(unsafe_op_in_unsafe_fn)]: this crate may have unsafe code")
        if crate in named and not uses:
            yield Finding(
                document, where, f"`{crate}` has no unsafe code: let it forbid that, and remove it from this list"
            )
