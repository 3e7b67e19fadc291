"""Build ztfast for a CPython without the GIL, and run the tests of threads and decisions with it.

    python tests/threads/free_threaded.py INTERPRETER

Everything goes into ``build/free-threaded``; the interpreter and this checkout's own build are not changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / "build" / "free-threaded"
TREE = HOME / "tree"
VENV = HOME / "venv"
PYTHON = VENV / "bin" / "python"

FACTS = """
import json, sys, sysconfig
names = "Py_GIL_DISABLED", "EXT_SUFFIX"
print(json.dumps([sys.version, *map(sysconfig.get_config_var, names)]))
"""


def run(*command: str | Path, **environment: str) -> None:
    """Run a command in the copy, and exit with its status if it fails."""
    done = subprocess.run(command, cwd=TREE, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(done.returncode)


def copy_sources() -> None:
    """Copy what Python and Cython need, without files built for another interpreter."""
    unbuilt = shutil.ignore_patterns("*.so", "__pycache__", "_desk")
    shutil.rmtree(TREE, ignore_errors=True)
    for folder in ("ztfast", "tests", "examples", "src_ext/cython"):
        shutil.copytree(ROOT / folder, TREE / folder, ignore=unbuilt)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, TREE / file)


def main(interpreter: str) -> None:
    """Build and test."""
    facts = subprocess.run([interpreter, "-c", FACTS], check=True, capture_output=True, text=True).stdout
    version, free, suffix = json.loads(facts)
    if not free:
        sys.exit(f"{interpreter} has a GIL: it is {version}. Wanted a CPython that was configured with --disable-gil")
    print(f"CPython {version}", flush=True)
    copy_sources()
    if not PYTHON.exists():
        run(interpreter, "-m", "venv", VENV)
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-c", ROOT / "requirements" / "dev.txt", "numpy", "pytest", "Cython", "setuptools")
    cargo = ("cargo", "build", "--locked", "--quiet", "--manifest-path", ROOT / "src_ext" / "Cargo.toml")
    # An extension module takes CPython's functions from the process that loads it, and links no copy of them.
    run(*cargo, "-p", "ztfast-python", PYO3_PYTHON=str(PYTHON), PYO3_BUILD_EXTENSION_MODULE="1")
    shutil.copy(ROOT / "src_ext" / "target" / "debug" / "lib_core.so", TREE / "ztfast" / f"_core{suffix}")
    run(PYTHON, "setup.py", "--quiet", "build_ext", "--inplace", CFLAGS="-Wno-sign-compare")
    tests = ("tests/threads", "tests/api/test_decide.py", "tests/faults/test_tails.py")
    run(PYTHON, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *tests)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
