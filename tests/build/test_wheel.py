"""Check that building a wheel changes nothing in the checkout, and that a checkout without its modules says how to build them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ztfast"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

needs_cargo = pytest.mark.skipif(shutil.which("cargo") is None, reason="SKIPPED: cargo is not on the PATH")


def files() -> dict[str, tuple[int, int]]:
    """Return the package's files, each with its inode and the time of its last change."""
    found = (path for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts)
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


@needs_cargo
def test_a_wheel_is_built_beside_the_checkout(tmp_path: Path) -> None:
    before = files()
    # The profile is that of the tests' own module, so that cargo has nothing to compile.
    environment = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev", "PYTHONPATH": str(ROOT / "build_backend")}
    build = f"import backend; backend.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files() == before
    (wheel,) = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    assert len(packed) == len(set(packed))
    compiled = sorted(name for name in packed if name.endswith(".so"))
    assert compiled == [f"ztfast/_core{SUFFIX}", f"ztfast/gate{SUFFIX}"]
    desk = {
        f"ztfast/_desk/{path.relative_to(ROOT / 'examples' / 'desk')}"
        for path in (ROOT / "examples/desk").rglob("*.cedar")
    }
    assert desk
    assert desk | {"ztfast/_desk/desk.cedarschema", "ztfast/py.typed", "ztfast/include/ztfast.h"} <= set(packed)
    assert any(name.endswith("/licenses/LICENSE") for name in packed)


@pytest.mark.parametrize("missing", ["_core", "gate"])
def test_without_its_modules_the_package_says_how_to_build_them(tmp_path: Path, missing: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "ztfast", ignore=shutil.ignore_patterns("__pycache__", f"{missing}*.so"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import ztfast"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: ztfast.{missing} is not built for ")
    assert "make setup" in said
    assert "pip install" in said


def test_make_builds_modules_again_that_are_gone(tmp_path: Path) -> None:
    """Only the names of the files count for make, so empty ones do."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("ztfast/include", "src_ext/cython", "build_backend", "requirements", ".venv"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "ztfast/gate.pxd",
        "ztfast/include/ztfast.h",
        "setup.py",
        "pyproject.toml",
        "build_backend/backend.py",
        "requirements/dev.txt",
    ):
        (tmp_path / file).touch()
    modules = [tmp_path / "ztfast" / f"{name}{SUFFIX}" for name in ("_core", "gate")]
    for file in (*modules, tmp_path / ".venv" / ".requirements", tmp_path / ".venv" / ".installed"):
        file.touch()

    def made() -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MA")}
        return subprocess.run(
            ["make", "-n", "setup"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert "pip install" not in made()
    for module in modules:
        module.unlink()
        assert "pip install" in made()
        module.touch()
        os.utime(tmp_path / ".venv" / ".installed")
        assert "pip install" not in made()
