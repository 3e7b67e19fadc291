"""A mutant: its change to a file, the copy in which it is built, and the four kinds of tests that find one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COPY", "FUZZER", "ROOT", "TARGET", "Fuzzer", "Loom", "Mutant", "Python", "Rust"]

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutants"
# The copy has a target folder of its own: Cargo takes files of two workspaces for the same if they lie at the same place.
TARGET = ROOT / "src_ext" / "target" / "mutants"
ENVIRONMENT = {
    **os.environ,
    "CARGO_TARGET_DIR": str(TARGET),
    "PYO3_PYTHON": sys.executable,
    "PYTHONPATH": str(COPY),
    "PYTHONDONTWRITEBYTECODE": "1",
    # It is enough that a property test fails: what it fails by need not be made smaller.
    "PROPTEST_MAX_SHRINK_ITERS": "0",
}
# The gate need not be fast here. Cargo must not see this: it would build Cedar anew, which depends on code in C.
GATE_ENVIRONMENT = {**ENVIRONMENT, "CFLAGS": "-O0"}
# As many as in the Makefile.
REQUESTS = 2_000_000
# What takes so many seconds hangs.
LIMIT = 1800
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


def cargo(*arguments: str) -> list[str]:
    """Return a command of Cargo's over the copy."""
    name, *rest = arguments
    manifest = str(COPY / "src_ext" / "Cargo.toml")
    # The fuzzer is named each time: so all need the same features of what they depend on, and it is built once.
    return ["cargo", name, "--locked", "--quiet", "--manifest-path", manifest, "-p", "ztfast-fuzz", *rest]


def run(command: list[str], environment: dict[str, str] = ENVIRONMENT) -> tuple[int, str]:
    """Run a command to its end; return its status and what it wrote.

    Raises:
        subprocess.TimeoutExpired: where it hangs.
    """
    done = subprocess.run(
        command, cwd=COPY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=LIMIT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def build(command: list[str], environment: dict[str, str] = ENVIRONMENT) -> None:
    """Run a command that must not fail: a mutant that does not build shows nothing.

    Raises:
        RuntimeError: where it fails.
    """
    status, said = run(command, environment)
    if status:
        raise RuntimeError(f"{' '.join(command)}:\n{said}")


def put(module: Path, place: Path) -> None:
    """Copy a compiled module beside the one that is there, then over it: a process may still run that one."""
    shutil.copyfile(module, place.with_suffix(".new"))
    place.with_suffix(".new").replace(place)


@dataclass(frozen=True)
class Fuzzer:
    """The fuzzer finds it, by as many requests as `make test-fuzz` makes: less than a minute where nothing else runs."""

    def build(self, _file: str) -> None:
        """Build the fuzzer."""
        build(cargo("build"))

    def finds(self) -> str | None:
        """Run the fuzzer; return what found the mutant, if anything did."""
        fuzzer, failures = str(TARGET / "debug" / "ztfast-fuzz"), str(COPY / "build" / "failures")
        status, _ = run([fuzzer, "--requests", str(REQUESTS), "--first", "--failures", failures])
        if status < 0:
            return f"the fuzzer, by signal {-status}"
        return "the fuzzer" if status == 1 else None


FUZZER = Fuzzer()


@dataclass(frozen=True)
class Rust:
    """A test in Rust finds it. The file is named from src_ext."""

    file: str
    test: str

    def command(self, *arguments: str) -> list[str]:
        """Return the command that builds the test, and runs it unless an argument says otherwise."""
        crate, folder, *_ = Path(self.file).parts
        target = ["--lib"] if folder == "src" else ["--test", Path(self.file).stem]
        return cargo("test", "-p", f"ztfast-{crate}", *target, *arguments)

    def build(self, _file: str) -> None:
        """Build the test."""
        build(self.command("--no-run"))

    def finds(self) -> str | None:
        """Run the test; return what found the mutant, if anything did."""
        status, said = run(self.command(self.test))
        failed = re.search(r"^test (\S+) .*FAILED$", said, re.MULTILINE)
        return (failed[1] if failed else self.test) if status else None


@dataclass(frozen=True)
class Loom(Rust):
    """A model check of the crate loom finds it: a test in Rust that loom runs in every order of its threads' steps."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command that builds the test, and runs it unless an argument says otherwise."""
        manifest = str(COPY / "src_ext" / "loom" / "Cargo.toml")
        # The crate is a workspace of its own, so its target folder is its own, too.
        where = ["--manifest-path", manifest, "--target-dir", str(TARGET / "loom")]
        return ["cargo", "test", "--locked", "--quiet", *where, "--test", Path(self.file).stem, *arguments]


@dataclass(frozen=True, init=False)
class Python:
    """Tests in Python find it, by failing or by the end of the process: files, or tests as ``file::test``."""

    tests: tuple[str, ...]

    def __init__(self, *tests: str) -> None:
        object.__setattr__(self, "tests", tests)

    def build(self, file: str) -> None:
        """Build the compiled modules that the mutant is in; the others are those of this checkout."""
        for module in ("_core", "gate"):
            put(ROOT / "ztfast" / f"{module}{SUFFIX}", COPY / "ztfast" / f"{module}{SUFFIX}")
        if file.endswith(".rs"):
            build(cargo("build", "-p", "ztfast-python", "--lib"))
            library = next(path for path in (TARGET / "debug").glob("lib_core.*") if path.suffix in (".so", ".dylib"))
            put(library, COPY / "ztfast" / f"_core{SUFFIX}")
        elif not file.endswith(".py"):
            build([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"], GATE_ENVIRONMENT)

    def finds(self) -> str | None:
        """Run the tests; return what found the mutant, if anything did."""
        status, said = run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *self.tests])
        if status < 0:
            return f"{self.tests[0]}, by signal {-status}"
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        return (failed[1] if failed else self.tests[0]) if status == 1 else None


@dataclass(frozen=True)
class Mutant:
    """A mistake: in ``file``, ``new`` where ``old`` stood. Files in Rust and Cython are named from src_ext."""

    name: str
    file: str
    old: str
    new: str
    finder: Fuzzer | Rust | Python = FUZZER

    def place(self, root: Path) -> Path:
        """Return where the file is in a checkout."""
        return root / self.file if self.file.startswith("ztfast/") else root / "src_ext" / self.file

    def mutated(self, text: str) -> str:
        """Return the file's text with the mistake in it.

        Raises:
            ValueError: where there is not exactly one place for it.
        """
        places = text.count(self.old)
        if places != 1:
            raise ValueError(f"{self.name}: {self.file} has {places} places for it, not one: write the mutant anew")
        return text.replace(self.old, self.new)
