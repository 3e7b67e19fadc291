"""Check the house's rules over the whole repository. Each finding names a file, a line and what to do.

test_planted.py shows that each rule finds what it should. Each exception has a reason, and an unneeded one fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.tidy import documents, evidence, graphs, lines
from tests.tidy.tree import Finding, Tree, less

# Files that may have more lines of code than others. The list only shrinks.
LARGE_FILES: dict[str, str] = {}

TESTS_THAT_ASSERT_OTHERWISE = {
    "src_ext/cedar/src/tests/authorizer.rs::is_shared_between_threads": "the compiler checks the bounds that it states",
    "tests/faults/test_changed_files.py::test_a_limit_on_the_size_of_files_does_not_end_the_process": "its program asserts in "
    "a process of its own, and `check=True` raises where that fails",
}


@pytest.fixture(scope="module")
def project() -> Tree:
    return Tree(Path(__file__).parents[2])


def assert_none(findings: Iterable[Finding], exceptions: Mapping[str, str] | None = None) -> None:
    found = sorted(less(findings, exceptions or {}))
    assert not found, "\n" + "\n".join(map(str, found))


def test_no_file_of_a_crate_imports_in_a_circle(project: Tree) -> None:
    assert_none(graphs.files_of_crates_have_no_circle(project))


def test_no_crate_depends_in_a_circle(project: Tree) -> None:
    assert_none(graphs.crates_have_no_circle(project))


def test_no_python_module_imports_in_a_circle(project: Tree) -> None:
    assert_none(graphs.modules_have_no_circle(project))


def test_no_part_leads_where_it_must_not(project: Tree) -> None:
    assert_none(graphs.no_forbidden_direction(project))


def test_only_one_crate_depends_on_cedar(project: Tree) -> None:
    assert_none(graphs.only_one_crate_knows_cedar(project))


def test_unsafe_code_is_where_architecture_says(project: Tree) -> None:
    assert_none(lines.unsafe_stands_where_it_may(project))


def test_unsafe_blocks_say_why_they_are_sound(project: Tree) -> None:
    assert_none(lines.unsafe_is_explained(project))


def test_lines_fit(project: Tree) -> None:
    assert_none(lines.lines_are_no_wider_than_formatters_allow(project))


def test_texts_have_no_stray_spaces(project: Tree) -> None:
    assert_none(lines.texts_are_clean(project))


def test_files_are_small(project: Tree) -> None:
    assert_none(lines.files_are_small(project), LARGE_FILES)


def test_files_say_what_they_do(project: Tree) -> None:
    assert_none(lines.files_say_what_they_do(project))


def test_texts_are_about_the_project(project: Tree) -> None:
    assert_none(lines.texts_are_about_the_project(project))


def test_paths_in_documents_exist(project: Tree) -> None:
    assert_none(documents.documented_paths_exist(project))


def test_paths_in_heads_of_files_exist(project: Tree) -> None:
    assert_none(documents.heads_name_files_that_exist(project))


def test_make_targets_in_documents_exist(project: Tree) -> None:
    assert_none(documents.make_targets_exist(project))


def test_commands_in_documents_exist(project: Tree) -> None:
    assert_none(documents.commands_exist(project))


def test_lists_of_crates_agree(project: Tree) -> None:
    assert_none(documents.lists_of_crates_agree(project))


def test_rust_tests_are_compiled(project: Tree) -> None:
    assert_none(evidence.rust_files_are_compiled(project))


def test_rust_tests_assert(project: Tree) -> None:
    found = evidence.rust_tests_assert(project)
    assert_none(found, of(".rs"))


def test_python_tests_are_collected(project: Tree) -> None:
    assert_none(evidence.python_tests_are_collected(project))


def test_python_tests_assert(project: Tree) -> None:
    assert_none(evidence.python_tests_assert(project), of(".py"))


def test_skips_say_why(project: Tree) -> None:
    assert_none(evidence.skips_say_why(project))


def of(suffix: str) -> dict[str, str]:
    return {
        key: reason for key, reason in TESTS_THAT_ASSERT_OTHERWISE.items() if key.partition("::")[0].endswith(suffix)
    }
