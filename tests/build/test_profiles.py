"""Check that tests are built with assertions, and that Cedar is built once for all of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src_ext"

# This crate counts instructions. It has no tests, and its tools enable other features.
MEASURING = "ztfast-icount"

needs_cargo = pytest.mark.skipif(shutil.which("cargo") is None, reason="SKIPPED: cargo is not on the PATH")


def cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked", "--manifest-path", str(SRC / "Cargo.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def members() -> list[str]:
    packages = json.loads(cargo("metadata", "--no-deps", "--format-version", "1"))["packages"]
    return [package["name"] for package in packages if package["name"] != MEASURING]


def features(edges: str, *selected: str) -> dict[str, set[str]]:
    """Return the features with which each package is built: several sets of them, if it is built several times."""
    known = defaultdict(set)
    tree = cargo("tree", "--no-dedupe", "--prefix", "none", "--format", "{p}|{f}", "--edges", edges, *selected)
    for line in filter(None, tree.splitlines()):
        package, _, its = line.partition("|")
        known[package].add(its)
    return known


@needs_cargo
def test_each_crate_is_tested_with_assertions() -> None:
    profile = tomllib.loads((SRC / "Cargo.toml").read_text())["profile"]["dev"]
    unlike = {
        name for name, own in profile["package"].items() if not own["debug-assertions"] or not own["overflow-checks"]
    }
    assert not unlike
    assert set(profile["package"]) == set(members())


@needs_cargo
# The first covers crates that are linked; the second covers macros and build scripts as well.
@pytest.mark.parametrize("edges", ["normal,no-proc-macro", "normal,build"])
def test_cedar_has_the_same_features_whichever_crate_is_tested(edges: str) -> None:
    whole = features(edges, "--workspace", "--exclude", MEASURING)
    needing_cedar = 0
    for member in members():
        alone = features(edges, "--package", member)
        if any(package.startswith("cedar-policy-core ") for package in alone):
            needing_cedar += 1
            unlike = {package: its for package, its in alone.items() if not its <= whole[package]}
            assert not unlike, (
                f"cargo test -p {member} builds Cedar again: ask for the features of the whole in src_ext/cedar"
            )
    assert needing_cedar > 3
