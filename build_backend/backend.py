"""The build backend: setuptools builds the Cython gate, maturin everything else (PEP 517, PEP 660).

One ``pip install .`` has to make two extension modules with two tools. Before maturin packs the wheel, this backend
builds ``ztfast/gate.*.so`` in place, and copies the example desk into the package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ztfast"

Settings = dict[str, Any] | None


def _need_tools() -> None:
    # Without build isolation, maturin lies beside the interpreter, whose folder may not be on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if shutil.which("cargo") is None:
        sys.exit("ztfast: building the core needs a Rust toolchain (1.89 or newer), but `cargo` is not on the PATH")


def _build_gate() -> None:
    # A module for another Python, or from older sources, must not get into the wheel.
    for stale in PACKAGE.glob("*.so"):
        if not stale.name.startswith("_core"):
            stale.unlink()
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=ROOT, check=True)


def _copy_desk() -> None:
    desk, copy = ROOT / "examples" / "desk", PACKAGE / "_desk"
    if desk.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(desk, copy, ignore=shutil.ignore_patterns("__pycache__"))


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return []


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return []


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return []


def prepare_metadata_for_build_wheel(directory: str, config_settings: Settings = None) -> str:
    _need_tools()
    return str(maturin.prepare_metadata_for_build_wheel(directory, config_settings))


def prepare_metadata_for_build_editable(directory: str, config_settings: Settings = None) -> str:
    _need_tools()
    return str(maturin.prepare_metadata_for_build_editable(directory, config_settings))


def build_wheel(directory: str, config_settings: Settings = None, metadata: str | None = None) -> str:
    _need_tools()
    # maturin adds the core's module itself. One from an editable install would be packed a second time.
    for stale in PACKAGE.glob("_core*.so"):
        stale.unlink()
    _build_gate()
    _copy_desk()
    try:
        return str(maturin.build_wheel(directory, config_settings, metadata))
    finally:
        shutil.rmtree(PACKAGE / "_desk", ignore_errors=True)


def build_editable(directory: str, config_settings: Settings = None, metadata: str | None = None) -> str:
    _need_tools()
    _build_gate()
    return str(maturin.build_editable(directory, config_settings, metadata))


def build_sdist(directory: str, config_settings: Settings = None) -> str:
    return str(maturin.build_sdist(directory, config_settings))
