"""Rules about documents: the paths, commands and lists that they name are there and are the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.tidy.lines import CODE
from tests.tidy.tree import Finding, Tree, line_of

# These files tell the project's history and use the names that things had at the time.
HISTORY = ("CHANGELOG.md",)
SUFFIXES = "rs|pyx|pyi|pxd|pxi|py|hpp|cpp|h|go|md|toml|cedarschema|cedar|json|txt"
PATH = re.compile(rf"[\w.*-]*(?:/[\w.*-]*)+|[\w*-][\w.*-]*\.(?:{SUFFIXES})")
WORD = re.compile(rf"(?<![\w/.:*-])(?:[\w.*-]+/)*[\w*-][\w.*-]*\.(?:{SUFFIXES})(?![\w/(]|\.\w)")
SPAN = re.compile(r"(?P<ticks>`+)(?P<span>[^`]+)(?P=ticks)")
LINK = re.compile(r"\]\((?P<target>[^)#:\s]+)(?:#[^)]*)?\)")
# How many first lines of a file are searched for names of other files.
HEAD = 40


@dataclass(frozen=True)
class Span:
    """A text set as code, with its line, its block of lines, and whether it stands in a listing."""

    line: int
    text: str
    block: int
    listing: bool


def spans(text: str) -> Iterator[Span]:
    """Find the texts that a document sets as code: between ticks, and line by line in listings. A table's row is a
    block of its own."""
    fenced, block = False, 0
    for line, content in enumerate(text.split("\n"), 1):
        if content.startswith("```"):
            fenced = not fenced
            continue
        listing = fenced or (content.startswith("    ") and not content.lstrip().startswith(("-", "*")))
        if not content.strip() or content.startswith(("|", "- ")):
            block += 1
        if listing:
            yield Span(line, content.strip(), block, True)
        else:
            for found in SPAN.finditer(content):
                yield Span(line, found["span"].strip(), block, False)


def documents(tree: Tree) -> list[str]:
    return [path for path in tree.ending(".md") if path not in HISTORY]


def documented_paths_exist(tree: Tree) -> Iterator[Finding]:
    for path in documents(tree):
        text = tree.text(path)
        for line, target in named_paths(tree, path, text):
            yield Finding(path, line, f"`{target}` is no file or folder here: write the name that it has now")
        for found in LINK.finditer(text):
            target = str(PurePosixPath(path).parent / found["target"])
            if not tree.has(normal(target)):
                yield Finding(path, line_of(text, found.start()), f"the link leads nowhere: {found['target']}")


def named_paths(tree: Tree, path: str, text: str) -> Iterator[tuple[int, str]]:
    """Find the paths that a document sets as code and that do not exist.

    A path is taken from the root, the document's folder or `src_ext`. A bare name lies in a folder that its paragraph or
    row names, if that names any.
    """
    here = str(PurePosixPath(path).parent)
    tops = {known.partition("/")[0] for known in tree.paths}
    folders: list[str] = []
    block = -1
    for span in spans(text):
        if span.block != block:
            folders, block = [], span.block
        if span.listing:
            words = [word for word in PATH.findall(span.text) if "/" in word and word.partition("/")[0] in tops]
        else:
            words = [span.text] if PATH.fullmatch(span.text) else []
            folders += [f"src_ext/{span.text}/src"] if tree.has(f"src_ext/{span.text}/src") else []
        for word in words:
            if word.startswith(("/", "~")) or tree.ignores(word.rstrip("/")):
                continue
            bases = ["", here, "src_ext"]
            found = next((whole for base in bases if tree.has(whole := normal(f"{base}/{word}"))), None)
            if found is not None:
                folders.append(str(PurePosixPath(found).parent) if "." in found.rpartition("/")[2] else found)
            elif "/" in word or folders:
                if not any(tree.has(normal(f"{folder}/{word}")) for folder in folders):
                    yield span.line, word
            elif not tree.has(f"*/{word}"):
                yield span.line, word


def normal(path: str) -> str:
    """Return a path without `.` and `..`, relative to the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def heads_name_files_that_exist(tree: Tree) -> Iterator[Finding]:
    """Check that the files exist that the comment or docstring at the top of a source file names."""
    for path in tree.ending(*CODE):
        here = PurePosixPath(path).parent
        for line, text in head(tree, path):
            for found in WORD.finditer(text):
                word = found[0]
                bases = [*map(str, here.parents), str(here), "src_ext"]
                known = any(tree.has(normal(f"{base}/{word}")) for base in bases) or tree.has(f"*/{word}")
                if not known and not tree.ignores(word) and "://" not in text:
                    yield Finding(path, line, f"there is no {word}: write the name that it has now")


def head(tree: Tree, path: str) -> Iterator[tuple[int, str]]:
    quoted = False
    for line, text in tree.lines(path):
        if line > HEAD:
            return
        if path.endswith((".rs", ".go", ".h", ".hpp", ".cpp")):
            if not text.startswith(("//", "/*", " *")):
                return
            yield line, text
        elif not text.startswith("#"):
            yield line, text
            quoted ^= text.count('"""') == 1
            if not quoted:
                return


def make_targets_exist(tree: Tree) -> Iterator[Finding]:
    """Check that each text about running `make` names a target of that Makefile, and that targets without a file are
    phony."""
    for path in [*documents(tree), *tree.ending(*CODE, ".toml", ".in")]:
        if path.startswith("tests/tidy/"):
            continue
        commands = spans(tree.text(path)) if path.endswith(".md") else ticked(tree, path)
        for span in commands:
            found = re.match(r"make(?: -C (\S+))? ([a-z][a-z-]*)\b", span.text)
            if found:
                makefile = normal(f"{found[1] or ''}/Makefile")
                if found[2] not in targets(tree, makefile):
                    yield Finding(path, span.line, f"{makefile} has no target {found[2]!r}: `{found[0]}` does nothing")
    for makefile in tree.ending("Makefile"):
        text = tree.text(makefile)
        phony = " ".join(re.findall(r"^\.PHONY:((?:.*\\\n)*.*)", text, re.M)).replace("\\\n", " ").split()
        for name in sorted(set(phony) - targets(tree, makefile)):
            yield Finding(makefile, 1, f".PHONY names {name}, which is no target: remove it")
        for name in sorted(targets(tree, makefile) - set(phony)):
            if not tree.has(normal(f"{PurePosixPath(makefile).parent}/{name}")) or tree.has(name):
                yield Finding(makefile, 1, f"{name} is no file: list it under .PHONY")


def ticked(tree: Tree, path: str) -> Iterator[Span]:
    for line, text in tree.lines(path):
        for found in SPAN.finditer(text):
            yield Span(line, found["span"].strip(), line, False)


def targets(tree: Tree, makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", tree.text(makefile), re.M)) if tree.has(makefile) else set()


def commands_exist(tree: Tree) -> Iterator[Finding]:
    """Check that each command that a document names exists, and that README.md names all commands.

    The commands of a group are registered with an object of the group's name: ``session.command("list")``. One in
    capitals stands for any other word: ``kill.command("SCOPE")``.
    """
    sources = [path for path in tree.ending(".py") if path.startswith("ztfast/cli/")]
    pairs = [pair for path in sources for pair in re.findall(r'\b(\w+)\.command\("([\w-]+)"', tree.text(path))]
    groups = {name for path in sources for name in re.findall(r'\.add_typer\([^)]*name="([a-z-]+)"', tree.text(path))}
    known = {name if group == "app" else f"{group} {name}" for group, name in pairs if group in {"app", *groups}}
    others = {command.partition(" ")[0]: command for command in known if command.partition(" ")[2].isupper()}
    named: set[str] = set()
    for path in [*documents(tree), *sources]:
        for span in spans(tree.text(path)) if path.endswith(".md") else ticked(tree, path):
            for command in command_names(span, groups):
                if command not in known:
                    command = others.get(command.partition(" ")[0], command)
                if path == "README.md":
                    named.add(command)
                if command not in {*known, *groups}:
                    yield Finding(
                        path, span.line, f"`ztfast {command}` is no command: there are {', '.join(sorted(known))}"
                    )
    for command in sorted(known - named):
        yield Finding("README.md", 1, f"say what `ztfast {command}` does")


def command_names(span: Span, groups: Container[str] = ()) -> list[str]:
    """Return the commands that a text names, those of a group by two words.

    `ztfast one | two` names two, and `ztfast session list|show` too; in a listing a command begins with `$`.
    """
    found = re.match(r"\$ ztfast (.*)" if span.listing else r"ztfast (.*)", span.text)
    names = []
    for part in found[1].split(" | ") if found else []:
        word, _, rest = part.partition(" ")
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            continue
        inner = re.match(r"[a-z][a-z|-]*", rest) if word in groups else None
        names += [f"{word} {name}" for name in inner[0].split("|")] if inner else [word]
    return names


def lists_of_crates_agree(tree: Tree) -> Iterator[Finding]:
    """Check that the folders, the workspace and the list in ARCHITECTURE.md name the same crates in the same order, and
    that each crate depends on crates before it only."""
    document, manifest = "ARCHITECTURE.md", "src_ext/Cargo.toml"
    listed = re.findall(r"^    .*?\bsrc_ext/([\w-]+)", tree.text(document), re.M)
    workspace = tree.toml(manifest)["workspace"]
    members, excluded = list(workspace["members"]), set(workspace.get("exclude", ()))
    folders = {path.split("/")[1] for path in tree.paths if re.match(r"src_ext/[^/]+/", path)}
    crates = {folder for folder in folders if tree.has(f"src_ext/{folder}/Cargo.toml")}
    for name in sorted(folders - set(listed)):
        yield Finding(document, 1, f"the list at the top lacks src_ext/{name}: say what it is")
    for name in sorted(set(listed) - folders):
        yield Finding(document, 1, f"the list at the top names src_ext/{name}, which is not there: remove it")
    for name in sorted(crates - set(members) - excluded):
        yield Finding(manifest, 1, f"src_ext/{name} is a crate, and the workspace neither has nor excludes it: add it")
    if [name for name in listed if name in members] != [name for name in members if name in listed]:
        yield Finding(document, 1, f"the list at the top has another order than the members in {manifest}: {members}")
    for place, name in enumerate(members):
        path = f"src_ext/{name}/Cargo.toml"
        parsed = tree.toml(path) if tree.has(path) else {}
        for other in members[place + 1 :]:
            if f"ztfast-{other}" in parsed.get("dependencies", {}):
                yield Finding(
                    path, 1, f"{name} stands before {other} in the workspace and depends on it: one of both is wrong"
                )
