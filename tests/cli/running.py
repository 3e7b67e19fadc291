"""Run the command line: in a process of its own, as a user does, or in this one, which is faster."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest

from ztfast import cli
from ztfast.cli import output

__all__ = ["Here", "here", "run"]

WIDTH = 100
"""The width of the terminal that commands take theirs for."""


def run(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, and return its output and its exit code."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "ztfast.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=120,
    )


def here(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as :func:`run` does, but in this process: starting one takes longer than most commands do."""
    printed, told = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ztfast", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH), "NO_COLOR": "1", **(env or {})}),
        mock.patch.object(output.console, "_width", WIDTH),
        mock.patch.object(output.errors, "_width", WIDTH),
        contextlib.nullcontext() if cwd is None else contextlib.chdir(cwd),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(told),
    ):
        code = cli._run()
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), told.getvalue())


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
