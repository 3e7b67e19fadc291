"""Run the command line: in a process of its own, as a user does, or in this one, which is faster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ztfast import cli

__all__ = ["Here", "run"]


def run(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, and return its output and its exit code."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "ztfast.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=120,
    )


class Here:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command, and return its output and its exit code."""
        self.monkeypatch.setattr(sys, "argv", ["ztfast", *arguments])
        self.capsys.readouterr()
        code = cli._run()
        output, said = self.capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, output, said)
