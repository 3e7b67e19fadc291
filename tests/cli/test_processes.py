"""``ztfast demo --processes``: what its processes see of each other, and that they leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.racing import Repeat


def short(decision: str) -> str:
    """Return what a decision says, without its reasons."""
    return decision.removeprefix("Decision(").partition(", reasons")[0].rstrip(")")


def left_behind(folder: Path) -> list[str]:
    """Return what a demo has left: its folders, and processes that know one of them."""
    folders = [*Path("/dev/shm").glob("ztfast-demo-*"), *folder.glob("ztfast-demo-*")]
    return [str(path) for path in folders if path.stat().st_uid == os.getuid()]


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_processes_see_what_one_of_them_changes(tmp_path: Path, count: int) -> None:
    before = left_behind(tmp_path)
    done = run("demo", "--processes", str(count), "--json", cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["processes"] == count
    watched = [event for event in told["events"] if event["seen_us"]]
    assert len(watched) >= 8
    for event in watched:
        assert len(event["before"]) == len(event["then"]) == count
        assert len(set(event["before"])) == len(set(event["then"])) == 1
        assert event["before"] != event["then"]
    # First of all, process 1 reads a new list of a CA.
    assert "reads CRL 2" in watched[0]["what"]
    then = [event["then"][-1] for event in watched]
    assert then[:2] == ["Decision(DENY, REVOKED)", "Decision(DENY, QUARANTINED)"]
    assert then[2].startswith("Decision(ALLOW")
    assert [decision for decision in then if "REVOKED" in decision] == ["Decision(DENY, REVOKED)"] * 3
    assert [decision for decision in then if "KILLED" in decision] == ["Decision(DENY, KILLED)"] * 2
    # In all processes a session ends with its certificate, cancels pass, other venues too, one person releases nothing, and the market is halted.
    others = {event["what"]: event["then"] for event in told["events"] if not event["seen_us"] and not event["who"]}
    assert [len(set(each)) for each in others.values()] == [1] * 9
    certified = ["ALLOW", "ALLOW", "DENY, EXPIRED", "ALLOW"]
    wanted = [*certified, "ALLOW", "ALLOW", "DENY, KILLED", "ALLOW", "halted"]
    assert [short(each[0]) for each in others.values()] == wanted
    (not_admitted,) = [event for event in told["events"] if event["who"] == "process 1"]
    assert not_admitted["then"][0].startswith("CredentialError revoked: ")
    (refused,) = [event for event in told["events"] if event["who"] == "process 2"]
    assert refused["then"][0].startswith("RoleError")
    assert refused["then"][1].startswith("Decision(ALLOW")
    assert left_behind(tmp_path) == before
    assert list(tmp_path.iterdir()) == []


def test_the_text_says_who_saw_what(tmp_path: Path) -> None:
    done = run("demo", "--processes", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for shown in ("2 processes on one state", "DENY, REVOKED", "process 2: ", "reads CRL 2", "none by the old state"):
        assert shown in done.stdout
    for number in ("0", "17"):
        assert run("demo", "--processes", number).returncode == 2
    for option in ("--requests", "--seed"):
        done = run("demo", "--processes", "2", option, "5000")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"error: {option}: with --processes there is no stream of requests" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_nothing_is_left_of_a_demo_that_is_stopped(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-m", "ztfast.cli", "demo", "--processes", "3"]
    # Programs that a shell starts in the background ignore SIGINT, and so would the command.
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    before = left_behind(tmp_path)
    repeat = Repeat("a demo with three processes", limit=120)
    others: list[int] = []
    while repeat.until(len(others) >= 2):
        assert running.poll() is None
        others = children(running.pid)
        time.sleep(0.01)
    running.send_signal(sent)
    _, said = running.communicate(timeout=60)
    if sent == signal.SIGKILL:
        # Its files stay, as those of every program that is killed do; its processes end with their input.
        for path in Path("/dev/shm").glob("ztfast-demo-*"):
            if str(path) not in before:
                subprocess.run(["rm", "-r", str(path)], check=True)
    else:
        assert running.returncode == 130
        assert said.decode().splitlines()[-1] == "stopped"
        assert b"Traceback" not in said
    ended = Repeat("processes that end with the one that started them", limit=60)
    while ended.until(not any(Path(f"/proc/{pid}/stat").exists() for pid in others)):
        time.sleep(0.05)
    assert set(left_behind(tmp_path)) <= set(before)
