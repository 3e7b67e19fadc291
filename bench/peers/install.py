"""Setup of the peers: one Rust program, one Go program, and Python packages, all under ``build/peers``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence

from rich.console import Console

from bench.peers.roster import GO_PROGRAM, HERE, PACKAGES, ROOT, RUST_TARGET, Peer, Program

CRATES = ("cedar-policy", "regorus", "mimalloc")


class SetUpError(Exception):
    """A tool is missing or has failed."""


def set_up(peers: Sequence[Peer], console: Console) -> list[str]:
    """Build or install the programs of these peers, and print all versions.

    Returns:
        The peers that could not be set up, with the reasons.
    """
    failures = []
    for program in dict.fromkeys(peer.program for peer in peers):
        names = ", ".join(peer.name for peer in peers if peer.program == program)
        try:
            versions = BUILDERS[program]()
        except SetUpError as error:
            failures.append(f"{names}: {error}")
        else:
            console.print(f"[bold]{program}[/] ({names})")
            for version in versions:
                console.print(f"  {version}", highlight=False)
    return failures


def run(*command: str, cwd: object = ROOT) -> str:
    """Run a command and return its standard output. Its messages go to standard error.

    Raises:
        SetUpError: if the tool is missing or fails.
    """
    if shutil.which(command[0]) is None:
        raise SetUpError(f"{command[0]} is not on the PATH: install it, or leave these peers out")
    done = subprocess.run(command, cwd=str(cwd), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SetUpError(f"{' '.join(command)} failed with code {done.returncode} (see its messages above)")
    return done.stdout.strip()


def rust() -> list[str]:
    """Build the Rust program in release mode, and return its versions."""
    version = run("rustc", "--version")
    manifest = HERE / "rust" / "Cargo.toml"
    run(
        *("cargo", "build", "--release", "--locked", "--manifest-path", str(manifest)),
        *("--target-dir", str(RUST_TARGET)),
    )
    lock = tomllib.loads(manifest.with_name("Cargo.lock").read_text())
    return [version, *(f"{one['name']} {one['version']}" for one in lock["package"] if one["name"] in CRATES)]


def go() -> list[str]:
    """Build the Go program, and return its versions."""
    version = run("go", "version")
    folder = HERE / "go"
    run("go", "build", "-o", str(GO_PROGRAM), ".", cwd=folder)
    modules = run(
        "go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}} {{.Version}}{{end}}", "all", cwd=folder
    )
    return [version, *modules.split("\n")]


def python() -> list[str]:
    """Install the Python packages in a folder of their own, and return their versions."""
    requirements = HERE / "requirements.txt"
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"),
        *("--target", str(PACKAGES), "-r", str(requirements)),
    )
    pins = (line for line in requirements.read_text().splitlines() if line and not line.startswith("#"))
    return [f"Python {sys.version.split()[0]}", *(pin.replace("==", " ") for pin in pins)]


BUILDERS: dict[Program, Callable[[], list[str]]] = {"rust": rust, "go": go, "python": python}
