"""A SPIRE server and agent on loopback, with their data in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["MISSING", "Host", "built"]

TOOLS = Path(__file__).resolve().parents[2] / "build" / "tools" / "spire"
MISSING = "SPIRE is not built: `make test-spire` builds it with Go, which takes about 13 minutes of one processor"
TRUST_DOMAIN = "bank.example"

SERVER = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{folder}/server.sock"
  trust_domain = "{domain}"
  data_dir = "{folder}/server"
  ca_ttl = "1h"
  default_x509_svid_ttl = "1h"
  agent_ttl = "1h"
  experimental {{ cache_reload_interval = "1s" }}
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{folder}/server/data.sqlite3" }} }}
  KeyManager "disk" {{ plugin_data {{ keys_path = "{folder}/server/keys.json" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
"""
# The agent asks for changes each second, so that a test need not wait for longer.
AGENT = """
agent {{
  data_dir = "{folder}/agent"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{folder}/agent.sock"
  insecure_bootstrap = true
  trust_domain = "{domain}"
  experimental {{ sync_interval = "1s" }}
}}
plugins {{
  KeyManager "disk" {{ plugin_data {{ directory = "{folder}/agent" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


def built() -> bool:
    return all(os.access(TOOLS / name, os.X_OK) for name in ("spire-server", "spire-agent"))


class Host:
    """A server and an agent that run until they are closed.

    Attributes:
        endpoint: The agent's Workload API.
        server: The server's process.
        agent: The agent's process.
    """

    def __init__(self) -> None:
        # A socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="spire"))
        self.endpoint = f"unix://{self.folder}/agent.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name, text in (("server", SERVER), ("agent", AGENT)):
            (self.folder / name).mkdir()
            words = text.format(folder=self.folder, port=self.port, domain=TRUST_DOMAIN)
            (self.folder / f"{name}.conf").write_text(words)
        self._running: list[subprocess.Popen[bytes]] = []
        try:
            self.start_server()
            token = self.ask("token", "generate", "-spiffeID", f"spiffe://{TRUST_DOMAIN}/host", "-ttl", "600")["value"]
            self.start_agent("-joinToken", token)
        except BaseException:
            self.close()
            raise

    def start_server(self) -> None:
        self.server = self._start("spire-server", "server")

    def start_agent(self, *more: str) -> None:
        """Start the agent. It needs a token only once: after that, it has an SVID of its own on the disk."""
        self.agent = self._start("spire-agent", "agent", *more)

    def _start(self, tool: str, name: str, *more: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{name}.log", "ab") as log:
            command = [TOOLS / tool, "run", "-config", self.folder / f"{name}.conf", *more]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append(process)
        check = [TOOLS / tool, "healthcheck", "-socketPath", self.folder / f"{name}.sock"]

        def healthy() -> bool:
            assert process.poll() is None, f"{tool} ended:\n{self.log(name)}"
            return subprocess.run(check, capture_output=True, check=False).returncode == 0

        self._until(healthy, name)
        return process

    def _until(self, what: Callable[[], bool], name: str) -> None:
        end = time.monotonic() + 60
        while not what():
            assert time.monotonic() < end, f"the {name} did not get healthy:\n{self.log(name)}"
            time.sleep(0.05)

    def log(self, name: str) -> str:
        """Return the end of a log."""
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def ask(self, *words: str) -> Any:
        """Run a command of spire-server, and return what it says, read from JSON."""
        command = [TOOLS / "spire-server", *words, "-socketPath", self.folder / "server.sock", "-output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout)

    def register(self, path: str, ttl: int, *more: str) -> str:
        """Register an entry for processes of this user, and return its id.

        Args:
            path: The path of the SPIFFE id.
            ttl: The seconds for which each of its SVIDs is valid.
            more: More options of ``spire-server entry create``.
        """
        said = self.ask(
            *("entry", "create", "-parentID", f"spiffe://{TRUST_DOMAIN}/host"),
            *("-spiffeID", f"spiffe://{TRUST_DOMAIN}{path}", "-selector", f"unix:uid:{os.getuid()}"),
            *("-x509SVIDTTL", str(ttl), *more),
        )
        return str(said["results"][0]["entry"]["id"])

    def delete(self, entry: str) -> None:
        self.ask("entry", "delete", "-entryID", entry)

    def bundle(self) -> str:
        """Return the trust bundle in PEM."""
        command = [TOOLS / "spire-server", "bundle", "show", "-socketPath", self.folder / "server.sock"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, also one that is stopped."""
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End both, and remove their data."""
        for process in reversed(self._running):
            self.stop(process)
        shutil.rmtree(self.folder)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
