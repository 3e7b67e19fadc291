"""Check each rule on small projects that break one rule, or none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tidy import documents, evidence, graphs, lines, test_tidy
from tests.tidy.tree import Finding, Tree, less

Rule = Callable[[Tree], Iterator[Finding]]

RULES = {
    rule
    for module in (documents, evidence, graphs, lines)
    for _, rule in inspect.getmembers(module, inspect.isgeneratorfunction)
    if rule.__module__ == module.__name__
    and inspect.get_annotations(rule) == {"tree": "Tree", "return": "Iterator[Finding]"}
}

WORKSPACE = '[workspace]\nmembers = ["a", "b"]\n'
LISTED = "# Architecture\n\n    src_ext/a     one\n    src_ext/b     two\n"
CLI = 'app.command("compile")(compile)\napp.command("check")(check)\n'
ISSUE, OWNER = "#" + "13", "hel" + "per"


def crate(name: str, *dependencies: str, more: str = "") -> str:
    listed = "".join(f"ztfast-{other} = {{ workspace = true }}\n" for other in dependencies)
    return f'[package]\nname = "ztfast-{name}"\n[dependencies]\n{listed}{more}'


A = {"src_ext/a/Cargo.toml": crate("a")}

# Each case has a rule, the files of a project, and a part of each message that the rule gives, in order.
WRONG: list[tuple[Rule, dict[str, str], list[str]]] = [
    (
        graphs.files_of_crates_have_no_circle,
        A
        | {
            "src_ext/a/src/lib.rs": "mod one;\nmod two;\nmod three;\npub use one::One;\n",
            "src_ext/a/src/one.rs": "use crate::{\n    two::{self, Two},\n};\npub struct One;\n",
            "src_ext/a/src/two.rs": "pub struct Two;\nfn f() { super::three::g() }\n",
            "src_ext/a/src/three.rs": "use crate::One;\n",
        },
        ["src_ext/a/src/one.rs:1: a circle of 3 imports"],
    ),
    (
        # An item that the root itself defines makes the root part of the circle; so does a glob of the module above.
        graphs.files_of_crates_have_no_circle,
        A
        | {
            "src_ext/a/src/lib.rs": "mod one;\npub struct Root;\nfn f() { one::g() }\n",
            "src_ext/a/src/one.rs": "mod deep;\npub fn g() { deep::h() }\nfn i() -> crate::Root {}\n",
            "src_ext/a/src/one/deep.rs": "use super::*;\npub fn h() {}\n",
        },
        ["src_ext/a/src/lib.rs:3: a circle of 2", "src_ext/a/src/one.rs:2: a circle of 2"],
    ),
    (
        graphs.crates_have_no_circle,
        A | {"src_ext/a/Cargo.toml": crate("a", "b"), "src_ext/b/Cargo.toml": crate("b", more="[dev-dependencies]\nztfast-a = {}\n")},
        ["src_ext/a/Cargo.toml:4: a circle of 2 imports"],
    ),
    (
        graphs.modules_have_no_circle,
        {
            "ztfast/__init__.py": "",
            "ztfast/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ztfast.two import Two\n",
            "ztfast/two.py": "def f():\n    from . import three\n",
            "ztfast/three.py": "import ztfast.one\n",
        },
        ["ztfast/one.py:3: a circle of 3 imports"],
    ),
    (
        graphs.modules_have_no_circle,
        {
            "ztfast/uid.py": "from ztfast import _core, gate\n",
            "src_ext/python/src/lib.rs": 'fn f() { py.import("ztfast.uid") }\n',
            "src_ext/cython/gate.pyx": "from ztfast cimport (\n    uid,\n)\n",
        },
        ["src_ext/cython/gate.pyx:1: a circle of 2", "src_ext/python/src/lib.rs:1: a circle of 2"],
    ),
    (
        graphs.no_forbidden_direction,
        {
            "src_ext/engine/Cargo.toml": crate("engine", "live"),
            "src_ext/live/Cargo.toml": crate("live", "identity"),
            "src_ext/identity/Cargo.toml": crate("identity"),
            "ztfast/engine.py": "from ztfast.server import serve\n",
            "ztfast/server/__init__.py": "",
            "ztfast/integrations/fix.py": "from ztfast import _core\n",
            "ztfast/_core.pyi": "",
        },
        ["engine may not lead to identity: engine depends on live", "ztfast.engine may not lead", "may not import ztfast._core"],
    ),
    (
        graphs.no_forbidden_direction,
        {"src_ext/engine/Cargo.toml": crate("engine"), "src_ext/journal/Cargo.toml": crate("journal", "engine")},
        ["src_ext/journal/Cargo.toml:4: journal may not lead to engine"],
    ),
    (
        graphs.only_one_crate_knows_cedar,
        {"src_ext/explain/Cargo.toml": crate("explain", more="cedar-policy = { workspace = true }\n")},
        ["src_ext/explain/Cargo.toml:4: explain may not depend on cedar-policy"],
    ),
    (
        lines.lines_are_no_wider_than_formatters_allow,
        {
            "pyproject.toml": '[tool.ruff]\nline-length = 30\n[tool.ruff.lint.per-file-ignores]\n"tests/**" = ["E501"]\n',
            "src_ext/rustfmt.toml": "max_width = 20\n",
            "src_ext/a/src/lib.rs": f"// {'x' * 20}\nlet a = b;\nlet text = \"{'long ' * 9}\";\nlet {'y' * 20} = 1;\n",
            "ztfast/wide.py": f"# {'x' * 28}\n# {'x' * 29}\nf({'x' * 25})  # type: ignore[arg-type]\n",
            "tests/test_wide.py": f"# {'x' * 40}\n",
        },
        ["lib.rs:1: 23 columns: break the line at 20", "lib.rs:4: 29 columns", "wide.py:2: 31 columns: break the line at 30"],
    ),
    (
        lines.texts_are_clean,
        {"a.md": "one \ntwo\n\n", "b.py": "\tx = 1", "Makefile": "a:\n\tb\n"},
        ["a.md:1: white space", "a.md:4: end the file", "b.py:1: a tab", "b.py:1: end the file"],
    ),
    (
        lines.files_are_small,
        {
            "a.py": "x = 1\n" * 601,
            "b.py": "x = 1\n" * 600 + "# more\n\n" * 50,
            "c.rs": "a();\n" * 600 + "#[cfg(test)]\nmod tests {\n" + "b();\n" * 50 + "}\n",
            "d.rs": "a();\n" * 601 + "// more\n" * 50,
        },
        ["a.py:1: 601 lines of code", "d.rs:1: 601 lines of code"],
    ),
    (
        lines.files_say_what_they_do,
        {
            "a.py": "import os\n",
            "b.rs": "//! Does\n//!\n//! this.\n",
            "c.go": "package main\n",
            "d.h": "/* d.h: what this does. */\n",
            "e.pyx": '# cython: language_level=3\n"""Do this."""\n',
            "f.py": "",
        },
        ["a.py:1: begin the file", "b.rs:1: the file begins with no whole sentence: 'Does'", "c.go:1: begin the file"],
    ),
    (
        lines.texts_are_about_the_project,
        {
            "a.rs": f'let path = "/{"work"}/main";\n// See {ISSUE}.\nlet colour = "#333";\n',
            "b.md": f"Write to `/{'tmp'}/x`.\nA {OWNER} wrote this.\n",
            "tests/test_a.py": f'path = "/{"tmp"}/x"\n',
        },
        [f"a.rs:1: '/{'work'}/'", f"a.rs:2: '{ISSUE}'", "b.md:1: '/tmp/'", f"b.md:2: '{OWNER}'"],
    ),
    (
        lines.unsafe_is_explained,
        {
            "a.rs": "fn f() {\n    unsafe { g() };\n    // SAFETY: sound.\n    let x =\n        unsafe { g() };\n    unsafe { g() };\n}\n"
            "// SAFETY: sound.\n#[cfg(unix)]\nunsafe impl Send for A {}\nunsafe impl Sync for A {}\n"
        },
        ["a.rs:2: say above this", "a.rs:6: say above this", "a.rs:11: say above this"],
    ),
    (
        lines.unsafe_stands_where_it_may,
        {
            "ARCHITECTURE.md": "# A\n\n## unsafe\n\nIn `a` (memory), `b` and `d`.\n\n## Else\n\n`c`\n",
            "src_ext/a/Cargo.toml": crate("a"),
            "src_ext/a/src/lib.rs": "fn f() { unsafe { g() } }\n",
            "src_ext/b/Cargo.toml": crate("b"),
            "src_ext/b/src/lib.rs": "#![forbid(unsafe_code)]\n",
            "src_ext/c/Cargo.toml": crate("c"),
            "src_ext/c/src/main.rs": "// #![forbid(unsafe_code)]\n",
            "src_ext/d/Cargo.toml": crate("d"),
            "src_ext/d/src/lib.rs": "#![deny(unsafe_op_in_unsafe_fn)]\nunsafe fn f() {}\n",
        },
        [
            "ARCHITECTURE.md:3: `b` has no unsafe code",
            "src_ext/a/src/lib.rs:1: write #![deny(unsafe_op_in_unsafe_fn)]",
            "src_ext/c/src/main.rs:1: write #![forbid(unsafe_code)]",
        ],
    ),
    (
        documents.documented_paths_exist,
        {
            ".gitignore": "/build/\n",
            "README.md": "See `ztfast/gone.py`, `build/x.json` and [this](docs/none.md#a).\n",
            "ARCHITECTURE.md": "| x | `a/src/lib.rs`, `one.rs`, `two.rs` |\n| y | `b`: `two.rs`; `*.cedar` |\n\n    src_ext/gone   what\n",
            "docs/deep/x.md": f"`{'a/' + 'long-' * 20}::x` `../../README.md` `y.md` `a/src/` `a.b` `n/a b`\n",
            "src_ext/a/src/lib.rs": "",
            "src_ext/a/src/one.rs": "",
            "src_ext/b/src/two.rs": "",
            "CHANGELOG.md": "`ztfast/gone.py`\n",
        },
        [
            "ARCHITECTURE.md:1: `two.rs` is no file",
            "ARCHITECTURE.md:2: `*.cedar` is no file",
            "ARCHITECTURE.md:4: `src_ext/gone` is no",
            "README.md:1: `ztfast/gone.py` is no file",
            "README.md:1: the link leads nowhere: docs/none.md",
            "docs/deep/x.md:1: `y.md` is no file",
        ],
    ),
    (
        documents.heads_name_files_that_exist,
        {
            "a.py": '"""Read b.rs.\n\nAnd gone.py.\n"""\nx = "lost.py"\n',
            "b.rs": "//! See `a.py`, docs/gone.md.\nuse x; // lost.rs\n",
        },
        ["a.py:3: there is no gone.py", "b.rs:1: there is no docs/gone.md"],
    ),
    (
        documents.make_targets_exist,
        {
            "Makefile": ".PHONY: test gone\ntest: ## all\nlint:\n\techo\n",
            "sub/Makefile": ".PHONY: run\nrun:\n",
            "README.md": "`make test`, `make bench`, make sure, `make -C sub run`, `make -C sub test`\n\n    make none   # x\n",
            "a.rs": "// Set by `make all`.\n",
        },
        [
            "Makefile:1: .PHONY names gone",
            "Makefile:1: lint is no file",
            "README.md:1: Makefile has no target 'bench'",
            "README.md:1: sub/Makefile has no target 'test'",
            "README.md:3: Makefile has no target 'none'",
            "a.rs:1: Makefile has no target 'all'",
        ],
    ),
    (
        documents.commands_exist,
        {
            "README.md": "```console\n$ ztfast compile x\n$ ztfast serve\n$ ztfast session list\n$ ztfast session stop x\n$ ztfast halt firm\n```\n",
            "ztfast/cli/__init__.py": f'"""``ztfast compile | check | kill | session list|gone``."""\n{CLI}app.add_typer(session, name="session")\napp.add_typer(halt, name="halt")\n',
            "ztfast/cli/halt.py": '"""Stops: ``ztfast halt SCOPE``."""\n\n\n@halt.command("SCOPE")\n@halt.command("end")\n',
            "ztfast/cli/session.py": '"""Sessions: ``ztfast session``."""\n\n\n@session.command("list")\n@session.command("show")\n@other.command("set")\n',
        },
        [
            "README.md:1: say what `ztfast check` does",
            "README.md:1: say what `ztfast halt end` does",
            "README.md:1: say what `ztfast session show` does",
            "README.md:3: `ztfast serve` is no command",
            "README.md:5: `ztfast session stop` is no command",
            "`ztfast kill` is no command",
            "`ztfast session gone` is no command",
        ],
    ),
    (
        documents.lists_of_crates_agree,
        A
        | {
            "ARCHITECTURE.md": "# A\n\n    | src_ext/b   two\n    src_ext/a   one\n    src_ext/gone   three\n",
            "src_ext/Cargo.toml": WORKSPACE,
            "src_ext/a/Cargo.toml": crate("a", "b"),
            "src_ext/b/Cargo.toml": crate("b"),
            "src_ext/c/Cargo.toml": crate("c"),
        },
        [
            "the list at the top has another order",
            "the list at the top lacks src_ext/c",
            "the list at the top names src_ext/gone",
            "src_ext/Cargo.toml:1: src_ext/c is a crate, and the workspace neither has nor excludes it",
            "src_ext/a/Cargo.toml:1: a stands before b",
        ],
    ),
    (
        evidence.rust_files_are_compiled,
        A
        | {
            "Makefile": "test:\n\tcargo test --exclude ztfast-b\n",
            "src_ext/a/src/lib.rs": "mod one;\nmod none;\n",
            "src_ext/a/src/one.rs": "",
            "src_ext/a/src/lost.rs": "",
            "src_ext/b/Cargo.toml": crate("b"),
            "src_ext/b/tests/it.rs": "#[test]\nfn f() {}\n",
            "src_ext/c/Cargo.toml": crate("c", more="[lib]\ntest = false\n"),
            "src_ext/c/src/lib.rs": "#[cfg(test)]\nmod tests {\n    #[test]\n    fn f() {}\n}\n",
        },
        [
            "src_ext/a/src/lib.rs:2: no file holds `mod none;`",
            "src_ext/a/src/lost.rs:1: no `mod` leads here",
            "src_ext/b/tests/it.rs:1: `make test-rust` leaves ztfast-b out",
            "src_ext/c/src/lib.rs:3: src_ext/c/Cargo.toml says `test = false`",
        ],
    ),
    (
        evidence.rust_tests_assert,
        A
        | {
            "src_ext/a/src/lib.rs": "fn new() { assert!(true) }\n",
            "src_ext/a/tests/it.rs": "fn deeper() { assert_eq!(1, 1) }\nfn deep() { deeper() }\n#[test]\nfn good() { deep() }\n"
            "#[test]\n#[should_panic]\nfn dies() { f() }\n#[test]\n// assert!\nfn empty() { new(); g(\"assert!(x)\") }\n",
        },
        ["src_ext/a/tests/it.rs:10: test empty asserts nothing"],
    ),
    (
        evidence.python_tests_are_collected,
        {
            "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests", "README.md"]\n',
            "bench/pytest.ini": "",
            "bench/python/test_c.py": "def test_c(): pass\n",
            "tests/e/test_c.py": "def test_c(): pass\n",
            "tests/f/test_c.py": "def test_c(): pass\n",
            "tests/table.py": "def test_d(): pass\n",
            "ztfast/a.py": "def test_a(): pass\n",
            "tests/test_b.py": "def test_b():\n    def test_in(): pass\nclass Case:\n    def test_c(self): pass\n"
            "class TestIt:\n    def test_b(self): pass\ndef test_b(): pass\n",
        },
        ["tests/f/test_c.py:1: pytest cannot collect two files", "table.py:1: pytest does not look for test_d", "test_b.py:2: test_in stands within", "test_b.py:4: test_c stands in class Case", "test_b.py:7: test_b hides", "a.py:1:"],
    ),
    (
        evidence.python_tests_assert,
        {
            "tests/test_a.py": "def check(x):\n    deeper(x)\ndef test_good():\n    check(1)\ndef test_empty():\n    'assert'\n    run()\n"
            "def test_raises():\n    with pytest.raises(E):\n        f()\n",
            "tests/table.py": "def deeper(x):\n    assert x\ndef run():\n    assert 1\n",
            "tests/conftest.py": "def run():\n    pass\n",
        },
        ["tests/test_a.py:5: test_empty asserts nothing"],
    ),
    (
        evidence.skips_say_why,
        {
            "tests/test_a.py": "@pytest.mark.skip\ndef test_a(): pytest.skip()\n@pytest.mark.skipif(True)\n"
            "def test_b(): pytest.skip('no x')\n@pytest.mark.skip(reason='no y')\ndef test_c(): pass\n",
            "a.rs": '#[ignore]\n#[ignore = "slow"]\n',
        },
        ["a.rs:1: say why", "test_a.py:1: give pytest.mark.skip", "test_a.py:2: give pytest.skip", "test_a.py:3: give pytest.mark.skipif"],
    ),
]  # fmt: skip

# Projects that break no rule, although they look similar to ones that do.
RIGHT: list[tuple[Rule, dict[str, str]]] = [
    (
        # A re-export is not an import by the root, tests may use any module, and words in texts are not paths.
        graphs.files_of_crates_have_no_circle,
        A
        | {
            "src_ext/a/src/lib.rs": "mod one;\nmod two;\npub use one::One;\npub use two::{Two, f};\n#[cfg(test)]\nmod tests;\n",
            "src_ext/a/src/one.rs": 'use crate::Two;\n/// [`crate::two`]\npub struct One;\nconst T: &str = "super::x";\n',
            "src_ext/a/src/two.rs": "// use crate::One;\npub struct Two;\n#[cfg(test)]\nmod tests {\n    use crate::One;\n}\npub fn f() {}\n",
            "src_ext/a/src/tests.rs": "use crate::*;\n",
        },
    ),
    (graphs.modules_have_no_circle, {"ztfast/__init__.py": "from ztfast import one\n", "ztfast/one.py": "import ztfast.two\n", "ztfast/two.py": ""}),
    (graphs.no_forbidden_direction, {"src_ext/engine/Cargo.toml": crate("engine", more="[dev-dependencies]\nztfast-cedar = {}\n"),
                                     "src_ext/cedar/Cargo.toml": crate("cedar")}),
    (documents.lists_of_crates_agree, A | {"ARCHITECTURE.md": LISTED, "src_ext/Cargo.toml": WORKSPACE, "src_ext/b/Cargo.toml": crate("b", "a")}),
]  # fmt: skip


def plant(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Tree(root)


@pytest.mark.parametrize(("rule", "files", "messages"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_finds_what_is_wrong(tmp_path: Path, rule: Rule, files: dict[str, str], messages: list[str]) -> None:
    found = [str(finding) for finding in sorted(rule(plant(tmp_path, files)))]
    assert len(found) == len(messages), found
    assert all(wanted in given for wanted, given in zip(messages, found, strict=True)), found


@pytest.mark.parametrize(("rule", "files"), RIGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_finds_nothing_where_nothing_is_wrong(tmp_path: Path, rule: Rule, files: dict[str, str]) -> None:
    assert list(rule(plant(tmp_path, files))) == []


def test_a_circle_is_printed_with_the_line_of_each_import(tmp_path: Path) -> None:
    rule, files, _ = WRONG[0]
    assert [line.strip() for finding in rule(plant(tmp_path, files)) for line in str(finding).split("\n")][1:] == [
        "src_ext/a/src/one.rs:1 takes crate::two from src_ext/a/src/two.rs",
        "src_ext/a/src/two.rs:2 takes super::three::g from src_ext/a/src/three.rs",
        "src_ext/a/src/three.rs:1 takes crate::One from src_ext/a/src/one.rs",
    ]


def test_each_rule_is_planted_and_held() -> None:
    assert {rule.__name__ for rule in RULES} == {rule.__name__ for rule, _, _ in WRONG}
    held = inspect.getsource(test_tidy)
    assert [rule.__name__ for rule in RULES if f".{rule.__name__}(project)" not in held] == []


def test_an_exception_that_nothing_needs_is_a_finding() -> None:
    finding = Finding("a.py", 7, "wrong", "test_a")
    assert less([finding], {"a.py::test_a": "a reason"}) == []
    assert [str(left) for left in less([finding], {"a.py::test_a": " "})] == [
        "a.py:1: the exception for a.py::test_a gives no reason: write one"
    ]
    assert [left.what for left in less([], {"a.py": "a reason"})] == [
        "the exception for a.py is no longer needed: remove it from the list"
    ]
