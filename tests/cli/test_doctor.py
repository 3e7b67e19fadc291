"""``ztfast doctor``: what each check says of made-up machines and directories, and what the command says of this one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import Here, run
from ztfast.cli import checks, doctor, machine
from ztfast.cli.checks import CHECKS, Finding, examine
from ztfast.cli.machine import Entry, Machine, StatePlace

X86 = frozenset({"aes", "sha_ni", "avx2", "avx512f", "vaes", "constant_tsc", "nonstop_tsc"})
GOOD = Machine(
    architecture="x86_64",
    cpu_flags=X86,
    crypto={"aws-lc-rs": "1.19.0", "rustls-webpki": "0.103.17"},
    versions={"numpy": "2.4.6", "cryptography": "50.0.2", "h2": "4.3.0"},
    python="CPython 3.14.1",
    clock_source="tsc",
    clock_sources=("tsc", "hpet"),
    clock_step=0.001,
    huge_mode="madvise",
    huge_pool=0,
    governors=frozenset({"performance"}),
    cpus=8,
    isolated="2-7",
    seccomp=0,
)
ARM = {"architecture": "aarch64", "cpu_flags": frozenset({"aes", "sha2"}), "clock_source": "arch_sys_counter"}
USER = 4_000_000_001
"""A number that no user has."""
DESK = Entry("/run/desk", "directory", 0o700, USER, 2, "tmpfs")
FILES = {
    name: Entry(f"/run/desk/{name}", "file", 0o600, USER, 1, "tmpfs") for name in ("state", "owners", "credentials")
}
LIST = Entry("/run/desk/revoked", "file", 0o600, USER, 1, "ext4")
PLACE = StatePlace("desk", DESK, {**FILES, "revoked": LIST}, (Entry("/run", "directory", 0o755, 0),), revoked=3)
HELD = replace(GOOD, user=USER, state=PLACE)


def bad(machine: Machine) -> list[tuple[str, str]]:
    """Return what is not right with a machine."""
    return [(finding.level, finding.what) for finding in examine(machine) if finding.level != "ok"]


def one(machine: Machine, what: str) -> Finding:
    """Return the one thing that is found of something."""
    (found,) = (finding for finding in examine(machine) if finding.what == what)
    return found


def placed(**changes: Any) -> Machine:
    return replace(HELD, state=replace(PLACE, **changes))


def filed(name: str, **changes: Any) -> Machine:
    """Return a machine on which one file of a state is different."""
    return placed(files={**PLACE.files, name: replace(PLACE.files[name], **changes)})


def test_a_good_machine_needs_nothing() -> None:
    assert bad(GOOD) == []
    assert bad(HELD) == []
    assert all(finding.found for finding in examine(HELD))
    assert len(examine(HELD)) >= len(CHECKS)


def test_whatever_is_not_told_is_no_crash_and_no_failure_but_of_what_is_needed() -> None:
    levels = {finding.what: finding.level for finding in examine(Machine())}
    assert {what for what, level in levels.items() if level == "fail"} == {"cryptography", "numpy"}
    assert levels["instructions"] == levels["clock source"] == levels["coarse clock"] == "warn"


@pytest.mark.parametrize(
    ("changes", "what", "level", "says"),
    [
        ({"crypto": {}}, "cryptography", "fail", "make setup"),
        ({"cpu_flags": X86 - {"sha_ni"}}, "instructions", "warn", "-cpu host"),
        ({"cpu_flags": X86 - {"avx512f", "vaes"}}, "instructions", "ok", ""),
        ({**ARM, "cpu_flags": frozenset({"aes"})}, "instructions", "warn", "longer"),
        (ARM, "instructions", "ok", ""),
        ({"clock_source": "hpet"}, "clock source", "warn", "clocksource=tsc"),
        ({"clock_source": "hpet", "clock_sources": ("hpet",)}, "clock source", "warn", "dmesg"),
        ({"clock_source": None}, "clock source", "warn", "dmesg"),
        (ARM, "clock source", "ok", ""),
        ({"cpu_flags": X86 - {"nonstop_tsc"}}, "time-stamp counter", "warn", 'clock="tsc"'),
        ({"clock_step": 0.004}, "coarse clock", "ok", ""),
        ({"clock_step": 0.01}, "coarse clock", "warn", "CONFIG_HZ=1000"),
        ({"clock_step": None}, "coarse clock", "warn", 'clock="tsc"'),
        ({"huge_mode": "always"}, "large pages", "warn", "madvise"),
        ({"huge_mode": "never"}, "large pages", "warn", "vm.nr_hugepages"),
        ({"huge_mode": "never", "huge_pool": 512}, "large pages", "ok", ""),
        ({"memlock": 8 << 20}, "locked memory", "warn", "LimitMEMLOCK"),
        ({"memlock": 8 << 20, "may_lock": True}, "locked memory", "ok", ""),
        ({"memlock": 1 << 30}, "locked memory", "ok", ""),
        ({"swaps": ("/dev/sda2",)}, "swap", "warn", "swapoff"),
        ({"governors": frozenset({"performance", "powersave"})}, "frequency", "warn", "cpupower"),
        ({"governors": frozenset()}, "frequency", "ok", ""),
        ({"isolated": None}, "processors", "warn", "isolcpus="),
        ({"quota": 1.5}, "processor time", "warn", "cpu.max"),
        ({"seccomp": 2, "container": "Docker"}, "confinement", "ok", "mlock"),
        ({"is_free_threaded": True, "has_gil": True}, "Python", "warn", "gil=0"),
        ({"is_free_threaded": True, "has_gil": False}, "Python", "ok", ""),
        ({"versions": {"numpy": "1.26.4", "cryptography": "50.0.2"}}, "numpy", "fail", "numpy>=2.0"),
        ({"versions": {"numpy": None, "cryptography": "50.0.2"}}, "numpy", "fail", "numpy>=2.0"),
        ({"versions": {"numpy": "2.0", "cryptography": "50.0.2"}}, "h2", "ok", "ztfast[spiffe]"),
        ({"versions": {"numpy": "2.0", "cryptography": None}}, "pyca cryptography", "warn", "ztfast[identity]"),
        ({"versions": {"numpy": "2.0", "cryptography": "41.0"}}, "pyca cryptography", "warn", "cryptography>=46"),
    ],
)
def test_each_check_says_what_to_do(changes: dict[str, Any], what: str, level: str, says: str) -> None:
    changed = replace(GOOD, **changes)
    found = one(changed, what)
    assert found.level == level
    assert says in found.todo if says else not found.todo
    if level != "ok":
        assert bad(changed) == [(level, what)]


def test_a_mask_of_instructions_is_told() -> None:
    masked = [finding for finding in examine(replace(GOOD, cpu_mask="~0x200000200000000")) if finding.level == "warn"]
    assert [finding.what for finding in masked] == ["cryptography"]
    assert "unset OPENSSL_ia32cap" in masked[0].todo


@pytest.mark.parametrize(
    ("machine", "what", "level", "says"),
    [
        (placed(directory=None), "state", "fail", "state="),
        (placed(directory=replace(DESK, kind="file")), "state", "fail", "state="),
        (placed(files={}), "state", "fail", "start one"),
        (placed(trouble="desk/state: it was cut"), "state", "fail", "message"),
        (replace(HELD, user=0), "owner of the state", "warn", f"sudo -u {USER}"),
        (filed("credentials", user=0), "owner of the state", "fail", f"chown {USER}"),
        (placed(directory=replace(DESK, mode=0o770)), "permissions", "fail", "chmod go-w /run/desk"),
        (placed(directory=replace(DESK, mode=0o750)), "permissions", "ok", ""),
        (filed("state", mode=0o640), "permissions", "ok", ""),
        (filed("state", mode=0o660), "permissions", "fail", "chmod go-w /run/desk/state"),
        (filed("owners", mode=0o640), "permissions", "fail", "chmod 600 /run/desk/owners"),
        (filed("credentials", mode=0o644), "permissions", "fail", "chmod 600 /run/desk/credentials"),
        (filed("revoked", mode=0o604), "permissions", "fail", "chmod 600 /run/desk/revoked"),
        (filed("revoked", kind="link"), "permissions", "fail", "remove it"),
        (filed("revoked", links=2), "permissions", "fail", "hard links"),
        (placed(above=(Entry("/run", "directory", 0o777),)), "permissions", "warn", "chmod go-w /run"),
        (placed(above=(Entry("/run", "directory", 0o1777),)), "permissions", "ok", ""),
        (placed(directory=replace(DESK, filesystem="ext4")), "filesystem", "warn", "tmpfs"),
        (placed(directory=replace(DESK, filesystem="nfs4")), "filesystem", "fail", "one host"),
        (placed(directory=replace(DESK, filesystem=None)), "filesystem", "warn", "tmpfs"),
        (placed(files=FILES), "revoked grounds", "warn", "--list"),
        (filed("revoked", filesystem="tmpfs"), "revoked grounds", "warn", "reboot"),
        (filed("revoked", filesystem="overlay"), "revoked grounds", "warn", "volume"),
        (filed("revoked", filesystem="nfs"), "revoked grounds", "fail", "this host"),
    ],
)
def test_each_mistake_about_a_state_is_told(machine: Machine, what: str, level: str, says: str) -> None:
    found = one(machine, what)
    assert found.level == level
    assert says in found.todo if says else not found.todo
    if level != "ok":
        assert bad(machine) == [(level, what)]


def test_how_many_grounds_are_revoked_is_told() -> None:
    assert "revoked grounds: 3" in one(HELD, "state").found


def test_what_the_system_says_is_read() -> None:
    assert machine.flags_of("processor: 0\nflags\t\t: aes avx2\n\nflags: aes sha_ni\n") == {"aes"}
    assert machine.flags_of("Features : aes sha2\n") == {"aes", "sha2"}
    assert machine.flags_of("") == frozenset()
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "23 22 0:20 / /run rw,nosuid shared:5 master:1 - tmpfs tmpfs rw\n"
        "24 23 0:21 / /run/my\\040desk rw - nfs4 host:/ rw\n"
        "25 22 0:22 / /srv rw - xfs /dev/vdb rw\n"
        "26 25 0:23 / /srv rw - overlay overlay rw\n"
        "27 22 0:24 / /half\n"
        "nonsense\n"
    )
    for path, kind in (
        ("/", "ext4"),
        ("/home/desk", "ext4"),
        ("/run", "tmpfs"),
        ("/runner", "ext4"),
        ("/run/desk", "tmpfs"),
        ("/run/my desk/state", "nfs4"),
        ("/srv/desk", "overlay"),
        ("/half", "ext4"),
    ):
        assert machine.filesystem_of(path, mounts) == kind, path
    assert machine.filesystem_of("/run", "") is None


def test_limits_of_control_groups_are_found(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "desk.service"
    inner.mkdir(parents=True)
    groups = "0::/system.slice/desk.service\n"
    assert machine.quota_of(groups, tmp_path) is None
    (inner / "cpu.max").write_text("max 100000\n")
    assert machine.quota_of(groups, tmp_path) is None
    (tmp_path / "system.slice" / "cpu.max").write_text("150000 100000\n")
    assert machine.quota_of(groups, tmp_path) == 1.5
    (inner / "cpu.max").write_text("50000 100000\n")
    assert machine.quota_of(groups, tmp_path) == 0.5
    assert machine.quota_of("0::/../../elsewhere\n", tmp_path) is None
    old = tmp_path / "cpu" / "docker"
    old.mkdir(parents=True)
    (old / "cpu.cfs_quota_us").write_text("200000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.quota_of("5:memory:/docker\n4:cpu,cpuacct:/docker\n", tmp_path) == 2.0
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.quota_of("4:cpu,cpuacct:/docker\n", tmp_path) is None
    for strange in ("", "::", "0::", "nonsense\n", "1:cpu\n"):
        assert machine.quota_of(strange, tmp_path) is None


def test_a_machine_that_tells_nothing_is_looked_at(tmp_path: Path) -> None:
    seen = machine.look(tmp_path)
    assert (seen.cpu_flags, seen.clock_source, seen.governors, seen.isolated) == (frozenset(), None, frozenset(), None)
    for path, said in (
        ("proc/cpuinfo", "flags : aes\n"),
        ("proc/self/status", "CapEff:\t0000000000004000\nSeccomp:\t2\n"),
        ("proc/swaps", "Filename Type\n/dev/sda2 partition 8 0 -2\n"),
        ("proc/sys/vm/nr_hugepages", "64\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
        ("sys/devices/system/cpu/isolated", "2-3\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
        ("run/.containerenv", ""),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(said)
    seen = machine.look(tmp_path)
    assert (seen.cpu_flags, seen.clock_source, seen.clock_sources) == ({"aes"}, "hpet", ("hpet", "acpi_pm"))
    assert (seen.may_lock, seen.seccomp, seen.container) == (True, 2, "Podman")
    assert (seen.swaps, seen.huge_pool, seen.huge_mode) == (("/dev/sda2",), 64, "never")
    assert (seen.isolated, seen.governors) == ("2-3", {"powersave", "performance"})


def test_the_directory_of_a_state_is_looked_at_as_it_lies(tmp_path: Path) -> None:
    mounts = f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {tmp_path} rw - tmpfs b rw\n"
    desk = tmp_path / "desk"
    desk.mkdir(mode=0o700)
    (desk / "state").touch(mode=0o640)
    os.link(desk / "state", tmp_path / "other")
    (desk / "revoked").symlink_to("/dev/null")
    os.mkfifo(desk / "credentials")
    (tmp_path / "there").symlink_to(desk)
    place = machine.look_at(tmp_path / "there", mounts)
    assert place.path == str(tmp_path / "there")
    directory = place.directory
    assert directory is not None
    assert (directory.path, directory.kind, directory.mode) == (str(desk), "directory", 0o700)
    assert {name: each.kind for name, each in place.files.items()} == {
        "state": "file",
        "credentials": "other",
        "revoked": "link",
    }
    assert (place.files["state"].links, place.files["state"].mode, place.files["state"].filesystem) == (
        2,
        0o640,
        "tmpfs",
    )
    assert [each.path for each in place.above[:2]] == [str(tmp_path), str(tmp_path.parent)]
    assert place.above[-1].path == "/"
    for nothing in (tmp_path / "nothing", tmp_path / ("x" * 300), Path("a\0b")):
        assert machine.look_at(nothing, mounts).directory is None


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    monkeypatch.delenv("ZTFAST_STATE", raising=False)
    return Here(monkeypatch, capsys)


def test_the_command_shows_each_check_and_fails_only_if_one_does(monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    monkeypatch.setattr(doctor, "look", lambda: replace(GOOD, swaps=("/dev/sda2",)))
    done = here.run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for shown in ("clock source", "AVX-512", "aws-lc-rs 1.19.0", "swapoff -a", "1 warning, 0 failed", "--state"):
        assert shown in done.stdout
    monkeypatch.setattr(doctor, "look", lambda: replace(GOOD, versions={"numpy": "1.26", "cryptography": "50.0"}))
    done = here.run("doctor", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["warn"], told["fail"]) == (0, 1)
    (failed,) = (finding for finding in told["findings"] if finding["level"] == "fail")
    assert failed == {"level": "fail", "what": "numpy", "found": "1.26", "todo": "pip install 'numpy>=2.0'"}
    assert len(told["findings"]) == told["ok"] + 1


def test_a_state_is_examined_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    monkeypatch.setattr(doctor, "look", lambda: replace(GOOD, user=os.geteuid()))
    path = tmp_path / "desk"
    engine = ztfast.Engine(ztfast.examples.tiny(), state=path, sessions=16, handles=256)
    told = json.loads(here.run("doctor", "--state", str(path), "--json").stdout)
    state = next(finding for finding in told["findings"] if finding["what"] == "state")
    assert state["level"] == "ok"
    assert "revoked grounds: 0" in state["found"]
    assert told["fail"] == 0
    revoked = (path / "revoked").read_bytes()
    (path / "revoked").chmod(0o644)
    done = here.run("doctor", "--state", str(path))
    assert done.returncode == 1
    assert f"chmod 600 {path / 'revoked'}" in done.stdout.replace("\n", "")
    (path / "revoked").chmod(0o600)
    assert (path / "revoked").read_bytes() == revoked
    done = here.run("doctor", "--state", str(tmp_path / "nothing"), "--json")
    assert done.returncode == 1
    assert "nothing is there" in done.stdout
    assert list(tmp_path.iterdir()) == [path]
    assert engine.sessions() == ()
    assert here.run("doctor", "--state", "").returncode == 2


def test_this_machine_is_examined_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = run("doctor", "--json", env={"OPENSSL_ia32cap": ""}, cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode == 1) == (told["fail"] > 0)
    found = {finding["what"]: finding for finding in told["findings"]}
    assert "aws-lc-rs " in next(each["found"] for each in told["findings"] if each["what"] == "cryptography")
    assert found["numpy"]["level"] == "ok"
    assert found["coarse clock"]["found"].startswith("a step of ")
    assert list(tmp_path.iterdir()) == []


def test_checks_are_a_list_that_is_easily_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def moon(seen: Machine) -> list[Finding]:
        return [Finding("warn", "moon", f"full, over {seen.python}", "wait")]

    monkeypatch.setattr(checks, "CHECKS", (*CHECKS, moon))
    assert examine(GOOD)[-1] == Finding("warn", "moon", "full, over CPython 3.14.1", "wait")
