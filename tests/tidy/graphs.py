"""Rules about imports between files of a crate, crates, and modules of the Python packages: none of these graphs has a
circle, and some directions are forbidden."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tests.tidy import python, rust
from tests.tidy.rust import Import
from tests.tidy.tree import Finding, Tree, line_of

PACKAGES = ("ztfast", "bench")
# Modules of the package whose sources lie elsewhere.
COMPILED = {"ztfast.gate": "src_ext/cython/", "ztfast._core": "src_ext/python/src/"}
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from\s+(?P<module>[\w.]+)\s+c?import\s+(?P<names>\([^)]*\)|[^\n#]+)|c?import\s+(?P<modules>[\w., ]+))",
    re.M,
)
CORE_IMPORT = re.compile(r'\bimport\("(?P<module>[\w.]+)"\)')

# The crates on the left must not depend on those on the right, directly or through others. Tests may use any crate.
FORBIDDEN_CRATES = {
    "engine": ("identity", "server", "distribution", "cedar", "compile", "explain", "fuzz", "icount"),
    "embed": ("engine", "cedar", "compile"),
    "journal": ("engine",),
    "python": ("fuzz", "icount"),
}
# Crates that depend on Cedar itself. All other crates use Cedar through these.
KNOWS_CEDAR = ("cedar",)
# The same for Python modules. `integrations` may use the core through public names only.
FORBIDDEN_MODULES = {"ztfast.engine": ("ztfast.identity", "ztfast.server", "ztfast.distribution")}
FORBIDDEN_IMPORTS = {"ztfast.integrations": ("ztfast._core",)}


def crates_have_no_circle(tree: Tree) -> Iterator[Finding]:
    yield from circles(dependencies(tree, tests=True))


def files_of_crates_have_no_circle(tree: Tree) -> Iterator[Finding]:
    workspace = tree.toml("src_ext/Cargo.toml")["workspace"] if tree.has("src_ext/Cargo.toml") else {}
    # A crate outside the workspace takes single files of others, and stands in for what these import.
    outside = {f"src_ext/{name}/Cargo.toml" for name in workspace.get("exclude", ())}
    for manifest in rust.manifests(tree):
        if manifest in outside:
            continue
        crates = [rust.Crate(tree, root, tests=False) for root in rust.roots(tree, manifest)]
        yield from circles(one for crate in crates for one in crate.imports())


def modules_have_no_circle(tree: Tree) -> Iterator[Finding]:
    yield from circles(python_imports(tree))


def no_forbidden_direction(tree: Tree) -> Iterator[Finding]:
    crates = list(dependencies(tree, tests=False))
    for crate, forbidden in FORBIDDEN_CRATES.items():
        yield from leads(crates, crate, forbidden, "depends on")
    modules = list(python_imports(tree))
    for module, forbidden in FORBIDDEN_MODULES.items():
        yield from leads(modules, module, forbidden, "imports")
    for package, forbidden in FORBIDDEN_IMPORTS.items():
        for one in modules:
            if inside(one.source, package) and any(inside(one.target, other) for other in forbidden):
                yield Finding(one.path, one.line, f"{package} may not import {one.target}: use ztfast's names")


def only_one_crate_knows_cedar(tree: Tree) -> Iterator[Finding]:
    for manifest in rust.manifests(tree):
        name = crate_name(manifest)
        if not manifest.startswith("src_ext/") or name in KNOWS_CEDAR:
            continue
        for dependency, line in named_dependencies(tree, manifest, tests=True):
            if dependency.startswith("cedar-policy"):
                yield Finding(
                    manifest, line, f"{name} may not depend on {dependency}: ask {' or '.join(KNOWS_CEDAR)} for it"
                )


def circles(imports: Iterable[Import]) -> Iterator[Finding]:
    """Find the shortest circle, then the shortest that shares no import with it, and so on until there is none."""
    graph: dict[str, dict[str, Import]] = {}
    for one in imports:
        graph.setdefault(one.source, {}).setdefault(one.target, one)
    while True:
        found = [circle for start in sorted(graph) if (circle := way(graph, start, start))]
        if not found:
            return
        circle = min(found, key=len)
        for one in circle:
            del graph[one.source][one.target]
        steps = "".join(f"\n    {one.path}:{one.line} takes {one.words} from {one.target}" for one in circle)
        what = f"a circle of {len(circle)} imports; move what they share below them{steps}"
        yield Finding(circle[0].path, circle[0].line, what)


def way(graph: dict[str, dict[str, Import]], start: str, goal: str) -> list[Import]:
    """Return the shortest path of imports from one node to another; empty if there is none."""
    ways: dict[str, list[Import]] = {start: []}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for target in sorted(graph.get(here, {})):
            longer = [*ways[here], graph[here][target]]
            if target == goal:
                return longer
            if target not in ways:
                ways[target] = longer
                queue.append(target)
    return []


def leads(imports: Iterable[Import], start: str, forbidden: Iterable[str], verb: str) -> Iterator[Finding]:
    graph: dict[str, dict[str, Import]] = {}
    for one in imports:
        graph.setdefault(one.source, {}).setdefault(one.target, one)
    known = {name for one in graph.values() for name in one}
    for goal in sorted(name for name in known if any(inside(name, other) for other in forbidden)):
        steps = way(graph, start, goal)
        if steps:
            chain = f" {verb} ".join([start, *(one.target for one in steps)])
            yield Finding(steps[0].path, steps[0].line, f"{start} may not lead to {goal}: {chain}")


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def crate_name(manifest: str) -> str:
    return PurePosixPath(manifest).parent.name


def named_dependencies(tree: Tree, manifest: str, *, tests: bool) -> Iterator[tuple[str, int]]:
    """List the dependencies of a manifest, for all targets, with the lines that name them."""
    parsed = tree.toml(manifest)
    kinds = ["dependencies", "build-dependencies", *(["dev-dependencies"] if tests else [])]
    tables = [parsed, *parsed.get("target", {}).values()]
    for name in {name for table in tables for kind in kinds for name in table.get(kind, {})}:
        lines = (line for line, text in tree.lines(manifest) if re.match(rf'"?{name}"?\s*[.=]', text))
        yield name, next(lines, 1)


def dependencies(tree: Tree, *, tests: bool) -> Iterator[Import]:
    names = {tree.toml(manifest)["package"]["name"]: crate_name(manifest) for manifest in rust.manifests(tree)}
    for manifest in rust.manifests(tree):
        for name, line in named_dependencies(tree, manifest, tests=tests):
            if name in names:
                yield Import(crate_name(manifest), names[name], manifest, line, name)


def python_imports(tree: Tree) -> Iterator[Import]:
    """List the imports between modules of the packages: at the top, in functions, and for the type checker."""
    sources = dict(python_sources(tree))
    modules = set(sources.values())
    for path, module in sources.items():
        if path.endswith((".py", ".pyi")):
            named = named_by_python(tree.text(path), module, package=path.endswith("__init__.py"))
        elif path.endswith(".rs"):
            text = rust.code(tree.text(path), literals=True)
            named = ((line_of(text, found.start()), found["module"], "") for found in CORE_IMPORT.finditer(text))
        else:
            named = named_by_cython(tree.text(path))
        for line, target, name in named:
            found = f"{target}.{name}" if f"{target}.{name}" in modules else target
            if found in modules and found != module:
                yield Import(module, found, path, line, name or target)


def python_sources(tree: Tree) -> Iterator[tuple[str, str]]:
    for path in tree.ending(".py", ".pyi", ".pyx", ".pxd", ".pxi", ".rs"):
        for module, where in COMPILED.items():
            if path.startswith(where):
                yield path, module
        if path.startswith(tuple(f"{package}/" for package in PACKAGES)) and not path.endswith(".rs"):
            yield path, path.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")


def named_by_python(text: str, module: str, *, package: bool) -> Iterator[tuple[int, str, str]]:
    for node in python.read(text).imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        else:
            above = module.split(".")[: len(module.split(".")) - node.level + package] if node.level else []
            target = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, target, alias.name


def named_by_cython(text: str) -> Iterator[tuple[int, str, str]]:
    for found in CYTHON_IMPORT.finditer(text):
        line = line_of(text, found.start())
        for name in (found["names"] or found["modules"]).strip("()").split(","):
            bare = name.strip().partition(" ")[0]
            yield (line, found["module"], bare) if found["module"] else (line, bare, "")
