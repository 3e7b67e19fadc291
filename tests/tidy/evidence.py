"""Rules about tests: each is collected, each asserts something, and what is skipped says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.tidy import python, rust
from tests.tidy.tree import Finding, Tree, line_of

RUST_TEST = re.compile(r"#\[test\]")
RUST_FUNCTION = re.compile(r"\bfn\s+(?P<name>\w+)")
RUST_CALL = re.compile(r"\b(?P<name>\w+)!?(?:::<[^>]*>)?\(")
RUST_ASSERTS = re.compile(
    r"\b(?:debug_|prop_)?assert\w*!|\b(?:panic|unreachable)!|\.(?:expect_err|unwrap_err)\(|#\[should_panic"
)
PYTHON_ASSERTS = ("raises", "warns", "fail")


def rust_files_are_compiled(tree: Tree) -> Iterator[Finding]:
    """Check that Cargo compiles each file and runs its tests: a crate's root must lead to the file, and the manifest
    and the Makefile must not exclude its tests."""
    excluded = re.findall(r"--exclude ([\w-]+)", tree.text("Makefile")) if tree.has("Makefile") else []
    for manifest in rust.manifests(tree):
        folder = str(PurePosixPath(manifest).parent)
        crates = [rust.Crate(tree, root, tests=True) for root in rust.roots(tree, manifest)]
        reached = {file for crate in crates for file in crate.files()}
        for crate in crates:
            yield from crate.missing
        parsed = tree.toml(manifest)
        for path in tree.ending(".rs"):
            if not path.startswith(folder + "/"):
                continue
            if path not in reached:
                yield Finding(path, 1, "no `mod` leads here, so nothing compiles it: declare it or remove it")
            found = RUST_TEST.search(rust.code(tree.text(path)))
            if not found:
                continue
            line = line_of(tree.text(path), found.start())
            if parsed["package"]["name"] in excluded:
                yield Finding(
                    path, line, f"`make test-rust` leaves {parsed['package']['name']} out: this test never runs"
                )
            if path.startswith(f"{folder}/src/") and parsed.get("lib", {}).get("test") is False:
                yield Finding(path, line, f"{manifest} says `test = false`: this test never runs")


def rust_tests_assert(tree: Tree) -> Iterator[Finding]:
    for manifest in rust.manifests(tree):
        folder = str(PurePosixPath(manifest).parent)
        paths = [path for path in tree.ending(".rs") if path.startswith(folder + "/")]
        functions = [one for path in paths for one in rust_functions(tree, path)]
        # An assertion in the product is not an assertion of a test.
        functions = [one for one in functions if one[4] or not in_product(tree, *one[:2])]
        checking = {name for _, _, name, text, _ in functions if RUST_ASSERTS.search(text)}
        calls = [(name, set(RUST_CALL.findall(text))) for _, _, name, text, _ in functions]
        while more := {name for name, called in calls if name not in checking and called & checking}:
            checking |= more
        for path, line, name, _, test in functions:
            if test and name not in checking:
                yield Finding(path, line, f"test {name} asserts nothing: say what has to hold", name)


def in_product(tree: Tree, path: str, line: int) -> bool:
    shown = rust.product(tree.text(path)).split("\n")[line - 1]
    return "/tests/" not in path and "/benches/" not in path and bool(shown.strip())


def rust_functions(tree: Tree, path: str) -> Iterator[tuple[str, int, str, str, bool]]:
    """List each function with its file, line, name, text from its attributes to its end, and whether it is a test."""
    shown = rust.code(tree.text(path))
    for found in RUST_FUNCTION.finditer(shown):
        begin = re.compile(r"[;{]").search(shown, found.end())
        if begin is None or begin[0] == ";":
            continue
        above = max(shown.rfind(end, 0, found.start()) for end in ";{}") + 1
        text = shown[above : rust.closing(shown, begin.start())]
        test = RUST_TEST.search(shown[above : found.start()]) is not None
        yield path, line_of(shown, found.start()), found["name"], text, test


def python_tests_are_collected(tree: Tree) -> Iterator[Finding]:
    folders = collected_folders(tree)
    # Folders of tests are no packages, so the name of a file is the name of its module. Benchmarks have a run of their
    # own.
    modules: dict[tuple[str, str], str] = {}
    for path in tree.ending(".py"):
        collected = path.startswith(folders) and PurePosixPath(path).name.startswith("test_")
        place = PurePosixPath(path)
        if collected and (other := modules.setdefault((place.parts[0], place.name), path)) != path:
            yield Finding(path, 1, f"pytest cannot collect two files of one name: {other} has it, too")
        source = python.read(tree.text(path))
        lines: dict[tuple[python.Block | None, str], int] = {}
        for function in source.functions():
            if not function.name.startswith("test_"):
                continue
            owner = source.owner(function)
            if not collected:
                what = f"pytest does not look for {function.name} here: move it to a test_*.py that pytest collects"
            elif owner and not owner.is_class:
                what = f"{function.name} stands within a function: pytest does not find it"
            elif owner and not owner.name.startswith("Test"):
                what = f"{function.name} stands in class {owner.name}: pytest wants its name to begin with Test"
            elif (owner, function.name) in lines:
                what = f"{function.name} hides the test of the same name in line {lines[owner, function.name]}"
            else:
                lines[owner, function.name] = function.begin
                continue
            yield Finding(path, function.begin, what)


def collected_folders(tree: Tree) -> tuple[str, ...]:
    """Return the folders of tests that pyproject.toml names, and those with their own settings, as benchmarks have."""
    settings = tree.toml("pyproject.toml") if tree.has("pyproject.toml") else {}
    named = settings.get("tool", {}).get("pytest", {}).get("ini_options", {}).get("testpaths", [])
    return tuple(
        f"{folder}/" for folder in [*named, *(PurePosixPath(path).parent for path in tree.ending("/pytest.ini"))]
    )


def python_tests_assert(tree: Tree) -> Iterator[Finding]:
    """Check that each test asserts. It may do so by a function of its file, or by one of another file if all functions
    of that name do."""
    sources = {path: python.read(tree.text(path)) for path in tree.ending(".py") if path.startswith("tests/")}
    every = [(path, function) for path, source in sources.items() for function in source.functions()]
    own = {path: {function.name for function in source.functions()} for path, source in sources.items()}
    checking: set[tuple[str, python.Block]] = set()
    while True:
        lacking = {function.name for one in every if one not in checking for function in [one[1]]}
        local = {(path, function.name) for path, function in checking}
        everywhere = {function.name for _, function in checking} - lacking
        more = {
            (path, function)
            for path, function in every
            if (path, function) not in checking
            and asserts(
                sources[path], function, {name for where, name in local if where == path} | everywhere - own[path]
            )
        }
        if not more:
            break
        checking |= more
    for path, function in every:
        if function.name.startswith("test_") and (path, function) not in checking:
            yield Finding(path, function.begin, f"{function.name} asserts nothing: say what has to hold", function.name)


def asserts(source: python.Source, function: python.Block, checking: set[str]) -> bool:
    lines = range(function.begin, function.end + 1)
    return any(line in lines for line in source.asserts) or any(
        call.lineno in lines and (name in PYTHON_ASSERTS or name in checking or name.startswith("assert_"))
        for name, call in source.calls
    )


def skips_say_why(tree: Tree) -> Iterator[Finding]:
    for path in tree.ending(".py"):
        source = python.read(tree.text(path)) if path.startswith("tests/") else python.Source()
        explained = set()
        for name, call in source.calls:
            reason = any(word.arg == "reason" for word in call.keywords) or (name == "skip" and bool(call.args))
            if name in ("skip", "skipif", "xfail", "importorskip") and "pytest" in ast.unparse(call.func):
                explained.add(id(call.func))
                if not reason:
                    yield Finding(
                        path, call.lineno, f"give {ast.unparse(call.func)} a reason that says what is missing here"
                    )
        for mark in source.marks:
            if ast.unparse(mark).startswith("pytest.mark.") and id(mark) not in explained:
                yield Finding(path, mark.lineno, f"give {ast.unparse(mark)} a reason that says what is missing here")
    for path in tree.ending(".rs"):
        code = rust.code(tree.text(path), literals=True)
        for found in re.finditer(r"#\[ignore\]", code):
            yield Finding(path, line_of(code, found.start()), 'say why: #[ignore = "..."]')
