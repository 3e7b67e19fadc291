"""The build backend: setuptools builds the Cython gate, maturin everything else (PEP 517, PEP 660).

One ``pip install .`` has to make two extension modules with two tools. A wheel is made in a copy of the package, so it
leaves the checkout and its editable install as they are, for whichever Python it is. Only cargo works in the checkout,
because its target folder saves most of the time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import maturin

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "src_ext/python/Cargo.toml"

Settings = dict[str, Any] | None


def _need_tools() -> None:
    # Without build isolation, maturin lies beside the interpreter, whose folder may not be on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if shutil.which("cargo") is None:
        sys.exit("ztfast: building the core needs a Rust toolchain (1.89 or newer), but `cargo` is not on the PATH")


def _build_gate(root: Path) -> None:
    # setuptools goes by the times of files, which do not say whether a module is from these sources.
    (root / "ztfast" / f"gate{sysconfig.get_config_var('EXT_SUFFIX')}").unlink(missing_ok=True)
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=root, check=True)


@contextmanager
def _copy() -> Iterator[Path]:
    """Copy what a wheel is made of to a temporary folder, and work there."""
    # Whoever makes a PKI in the example has its private keys there.
    unbuilt = shutil.ignore_patterns("*.so", "__pycache__", "_desk", "pki")
    with tempfile.TemporaryDirectory(prefix="ztfast-wheel-") as folder:
        copy = Path(folder)
        for source, target in (
            ("ztfast", "ztfast"),
            ("src_ext/cython", "src_ext/cython"),
            ("examples/desk", "ztfast/_desk"),
        ):
            shutil.copytree(ROOT / source, copy / target, ignore=unbuilt)
        for file in ("setup.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, copy)
        project = (ROOT / "pyproject.toml").read_text()
        (copy / "pyproject.toml").write_text(project.replace(f'"{MANIFEST}"', json.dumps(str(ROOT / MANIFEST))))
        before = Path.cwd()
        os.chdir(copy)
        try:
            yield copy
        finally:
            os.chdir(before)


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
    directory = str(Path(directory).resolve())
    metadata = None if metadata is None else str(Path(metadata).resolve())
    with _copy() as copy:
        _build_gate(copy)
        return str(maturin.build_wheel(directory, config_settings, metadata))


def compile_core() -> None:
    """Compile the core as every build does, so that the next one finds it compiled. The checkout stays as it is."""
    _need_tools()
    with _copy() as copy:
        maturin.build_wheel(str(copy))


def build_editable(directory: str, config_settings: Settings = None, metadata: str | None = None) -> str:
    _need_tools()
    _build_gate(ROOT)
    return str(maturin.build_editable(directory, config_settings, metadata))


def build_sdist(directory: str, config_settings: Settings = None) -> str:
    return str(maturin.build_sdist(directory, config_settings))
