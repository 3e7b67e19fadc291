"""Changed bundle files are refused with a helpful message, and nothing is read out of bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ztfast
from ztfast import _core


@pytest.fixture(scope="module")
def small(build) -> bytes:
    bundle = build('permit (principal, action == Action::"view", resource) when { resource.owner == principal };')
    return bundle._core.to_bytes()


def test_every_changed_byte_is_refused(small: bytes) -> None:
    changed = bytearray(small)
    for at in range(len(small)):
        changed[at] ^= 1 << at % 8
        with pytest.raises(ztfast.BundleError):
            _core.Bundle.from_bytes(bytes(changed))
        changed[at] = small[at]
    assert _core.Bundle.from_bytes(bytes(changed)).hash


def test_every_cut_is_refused(small: bytes) -> None:
    for length in range(len(small)):
        with pytest.raises(ztfast.BundleError):
            _core.Bundle.from_bytes(small[:length])


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 64, b"x" * 4096])
def test_a_padded_file_is_refused(small: bytes, extra: bytes) -> None:
    with pytest.raises(ztfast.BundleError, match="cut or padded"):
        _core.Bundle.from_bytes(small + extra)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut or padded"),
        (b"\x7fELF" + b"\0" * 200, "not a ztfast bundle"),
        (b"permit (principal, action, resource);" * 9, "not a ztfast bundle"),
        (b"ztfast\x1a\n", "cut or padded"),
    ],
)
def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other.ztb"
    path.write_bytes(content)
    with pytest.raises(ztfast.BundleError, match=says) as caught:
        ztfast.Bundle.load(path)
    assert "other.ztb" in str(caught.value)


def test_another_version_is_named(tmp_path: Path, small: bytes) -> None:
    path = tmp_path / "old.ztb"
    path.write_bytes(small[:8] + (99).to_bytes(4, "little") + small[12:])
    with pytest.raises(ztfast.BundleError, match="version 99"):
        ztfast.Bundle.load(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.ztb", tmp_path):
        with pytest.raises(ztfast.BundleError, match=path.name):
            ztfast.Bundle.load(path)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, build) -> None:
    bundle = build("permit (principal, action, resource);")
    with pytest.raises(ztfast.BundleError, match="nowhere"):
        bundle.save(tmp_path / "nowhere" / "b.ztb")
    bundle.save(tmp_path / "b.ztb")
    before = (tmp_path / "b.ztb").read_bytes()
    target = tmp_path / "folder.ztb"
    target.mkdir()
    with pytest.raises(ztfast.BundleError):
        bundle.save(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.ztb", "folder.ztb"]
    assert (tmp_path / "b.ztb").read_bytes() == before


def test_a_bundle_in_use_keeps_its_content_when_its_file_is_replaced(tmp_path: Path, build) -> None:
    path = tmp_path / "b.ztb"
    build("permit (principal, action, resource);").save(path)
    engine = ztfast.Engine(ztfast.Bundle.load(path))
    build("forbid (principal, action, resource);").save(path)
    assert engine.evaluate('User::"ann"', "view", 'Doc::"d1"')
    path.unlink()
    assert engine.evaluate('User::"ann"', "view", 'Doc::"d1"')


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle that is too large to be checked completely when it is opened."""
    entities = [{"uid": {"type": "U", "id": f"{n:0100}"}, "attrs": {}, "parents": []} for n in range(60_000)]
    bundle = ztfast.compile(
        ztfast.Text("permit (principal, action, resource) when { context.n > 1 };"),
        schema=ztfast.Text("entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"),
        entities=entities,
    )
    path = tmp_path_factory.mktemp("large") / "large.ztb"
    bundle.save(path)
    assert path.stat().st_size > 8 << 20
    return path


def test_a_large_bundles_sections_are_checked_before_they_are_used(large: Path) -> None:
    good = large.read_bytes()
    request = f'U::"{7:0100}"', "go", f'U::"{8:0100}"', {"n": 2}
    assert ztfast.Engine(ztfast.Bundle.load(large)).evaluate(*request)
    damaged = large.with_name("damaged.ztb")
    # The table of sections is checked at once; the middle and the end lie in sections.
    for at in (len(good) // 2, len(good) - 100):
        content = bytearray(good)
        content[at] ^= 1
        damaged.write_bytes(content)
        opened = ztfast.Bundle.load(damaged)
        with pytest.raises(ztfast.BundleError, match="damaged"):
            ztfast.Engine(opened)
        with pytest.raises(ztfast.BundleError, match="damaged"):
            opened.check()
        engine = ztfast.Engine(ztfast.Bundle.load(large))
        with pytest.raises(ztfast.BundleError, match="damaged"):
            engine.swap(ztfast.Bundle.load(damaged))
        assert engine.evaluate(*request)


def test_the_command_line_checks_large_bundles_whole(large: Path) -> None:
    content = bytearray(large.read_bytes())
    content[-100] ^= 1
    damaged = large.with_name("checked.ztb")
    damaged.write_bytes(content)
    for path, code in ((large, 0), (damaged, 1)):
        command = [sys.executable, "-m", "ztfast.cli", "check", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr


def test_a_damaged_base_is_refused(large: Path, build) -> None:
    content = bytearray(large.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = large.with_name("base.ztb")
    damaged.write_bytes(content)
    with pytest.raises(ztfast.BundleError, match="damaged"):
        build("permit (principal, action, resource);", base=ztfast.Bundle.load(damaged))
