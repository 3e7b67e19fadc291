"""Lock files outside of the workspace: they know what the workspace's crates depend on, or cargo refuses them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["bench/peers/rust/Cargo.lock", "examples/embed/rust/Cargo.lock", "src_ext/loom/Cargo.lock"]
MANIFESTS = {
    manifest["package"]["name"]: manifest
    for path in (ROOT / "src_ext").glob("*/Cargo.toml")
    if "package" in (manifest := tomllib.loads(path.read_text()))
}


def wanted(manifest: dict[str, Any]) -> set[str]:
    """Return the crates that a manifest always depends on, besides those of its tests."""
    tables = [manifest, *manifest.get("target", {}).values()]
    found = set()
    for table in tables:
        for kind in ("dependencies", "build-dependencies"):
            for name, about in table.get(kind, {}).items():
                if isinstance(about, str) or not about.get("optional"):
                    found.add(name if isinstance(about, str) else about.get("package", name))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_each_dependency_of_our_crates(lock: str) -> None:
    packages = tomllib.loads((ROOT / lock).read_text())["package"]
    ours = {
        one["name"]: {name.split()[0] for name in one.get("dependencies", ())}
        for one in packages
        if "source" not in one and one["name"] in MANIFESTS
    }
    assert ours, f"{lock} has none of the crates of src_ext"
    missing = {name: sorted(left) for name, locked in ours.items() if (left := wanted(MANIFESTS[name]) - locked)}
    assert not missing, f"{lock} lacks {missing}: run cargo metadata beside it, without --locked"
