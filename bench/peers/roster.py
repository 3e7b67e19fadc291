"""The peers, and their programs."""

from __future__ import annotations

import importlib.machinery
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# The folder of everything that is built or written; it is not under version control.
BUILD = ROOT / "build" / "peers"
RUST_TARGET = BUILD / "rust-target"
RUST_PROGRAM = RUST_TARGET / "release" / "ztfast-peers"
GO_PROGRAM = BUILD / "ztfast-peers-go"
PACKAGES = BUILD / "python"

Side = Literal["python", "native"]
Kind = Literal["floor", "ztfast", "hand", "engine"]
Program = Literal["python", "rust", "go"]


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine, a check or a floor that answers the workload.

    Attributes:
        name: The name on the command line, and for its program.
        title: The name in tables.
        side: Whether it is called from Python or natively. It is compared with peers on the same side.
        kind: The floor of its side, ztfast, a check written by hand, or an engine that reads policies.
        program: The program that contains it.
        package: The Python package that it needs beyond the standard library.
    """

    name: str
    title: str
    side: Side
    kind: Kind
    program: Program
    package: str | None = None

    def command(self, folder: Path) -> list[str]:
        """Return the command that serves it over a folder."""
        if self.program == "python":
            return [sys.executable, "-m", "bench.peers.serve", self.name, str(folder)]
        return [str(RUST_PROGRAM if self.program == "rust" else GO_PROGRAM), self.name, str(folder)]

    def missing(self) -> Path | str | None:
        """Return what it needs and is missing, if anything."""
        if self.program == "python":
            search = [str(PACKAGES), str(ROOT), *sys.path]
            found = self.package is None or importlib.machinery.PathFinder.find_spec(self.package, search)
            return None if found else f"package {self.package}"
        program = RUST_PROGRAM if self.program == "rust" else GO_PROGRAM
        return None if program.exists() else program


PEERS = (
    Peer("python-floor", "floor: empty C call", "python", "floor", "python", "ztfast"),
    Peer("ztfast", "ztfast", "python", "ztfast", "python", "ztfast"),
    Peer("python", "by hand, no session", "python", "hand", "python"),
    Peer("python-session", "by hand, session checked", "python", "hand", "python"),
    Peer("cedarpy", "cedarpy", "python", "engine", "python", "cedarpy"),
    Peer("casbin", "casbin (Python)", "python", "engine", "python", "casbin"),
    Peer("native-floor", "floor: empty call", "native", "floor", "rust"),
    Peer("ztfast-native", "ztfast", "native", "ztfast", "rust"),
    Peer("rust-ids", "by hand, ids, no session", "native", "hand", "rust"),
    Peer("rust-ids-session", "by hand, ids, session checked", "native", "hand", "rust"),
    Peer("rust-strings", "by hand, strings, no session", "native", "hand", "rust"),
    Peer("rust-strings-session", "by hand, strings, session checked", "native", "hand", "rust"),
    Peer("regorus-vm", "regorus, virtual machine", "native", "engine", "rust"),
    Peer("regorus", "regorus, interpreter", "native", "engine", "rust"),
    Peer("opa", "OPA in process (Go)", "native", "engine", "go"),
    Peer("casbin-go", "casbin (Go)", "native", "engine", "go"),
    Peer("cedar-go", "cedar-go", "native", "engine", "go"),
    Peer("cedar-policy", "cedar-policy (Rust)", "native", "engine", "rust"),
)


def chosen(names: list[str]) -> list[Peer]:
    """Return the peers with these names (all if there are none), and the floor and ztfast of their sides.

    Raises:
        ValueError: if a name is unknown.

    >>> [peer.name for peer in chosen(["opa"])]
    ['native-floor', 'ztfast-native', 'opa']
    """
    unknown = sorted(set(names) - {peer.name for peer in PEERS})
    if unknown:
        raise ValueError(f"no peers {', '.join(unknown)}; there are {', '.join(peer.name for peer in PEERS)}")
    sides = {peer.side for peer in PEERS if peer.name in names}
    return [
        peer
        for peer in PEERS
        if not names or peer.name in names or (peer.side in sides and peer.kind in ("floor", "ztfast"))
    ]
