"""Who takes part, and where each one's program lies."""

from __future__ import annotations

import importlib.machinery
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# Everything that is built or written, out of version control.
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
    """Someone who answers the workload.

    Attributes:
        name: What it is called on the command line, and by its program.
        title: What it is called in tables.
        side: Whether it is asked from Python or natively, so what it is compared with.
        kind: The floor of its side, ztfast, a check written by hand, or an engine that reads policies.
        program: In which of the programs it is.
        package: The Python package that it needs beyond the standard library.
    """

    name: str
    title: str
    side: Side
    kind: Kind
    program: Program
    package: str | None = None

    def command(self, folder: Path) -> list[str]:
        """What serves it over a folder."""
        if self.program == "python":
            return [sys.executable, "-m", "bench.peers.serve", self.name, str(folder)]
        return [str(RUST_PROGRAM if self.program == "rust" else GO_PROGRAM), self.name, str(folder)]

    def missing(self) -> Path | str | None:
        """What it needs and is not there."""
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
    """The peers of these names (all, where there are none), with what they are compared with: floor and ztfast.

    Raises:
        ValueError: names the names that are nobody's.

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
