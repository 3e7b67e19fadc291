"""What ``ztfast doctor`` knows of a machine: files of /proc and /sys, limits, versions, and the files of a state.

Nothing is judged here; checks.py does that. What the system does not tell is ``None`` or empty.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import resource
import stat
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ztfast import _core

__all__ = ["FILES", "Entry", "Machine", "StatePlace", "filesystem_of", "flags_of", "look", "look_at", "quota_of"]

FILES = ("state", "owners", "credentials", "revoked")
"""The files of a state."""
COARSE_CLOCK = 5
"""The kernel's number of CLOCK_REALTIME_COARSE, which Python has no name for."""
CAP_IPC_LOCK = 14
"""The number of the capability to lock memory without a limit."""
MASK = "OPENSSL_ia32cap"
"""The variable that hides instructions from cryptography."""
MOST = 1 << 24
"""The most bytes that are read of a file."""
MOST_ABOVE = 64
"""The most directories above a state that are looked at."""
ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a directory, as it lies there.

    Attributes:
        path: Where it is.
        kind: ``"file"``, ``"directory"``, ``"link"`` or ``"other"``.
        mode: Its permissions.
        user: The number of its owner.
        links: How many names it has.
        filesystem: The type of its filesystem, as "tmpfs".
    """

    path: str
    kind: str = "file"
    mode: int = 0o600
    user: int = 0
    links: int = 1
    filesystem: str | None = None


@dataclass(frozen=True, slots=True)
class StatePlace:
    """The directory of a state and its files.

    Attributes:
        path: The directory, as it was given.
        directory: What lies there.
        files: The files of :data:`FILES`, those that exist.
        above: The directories that it lies in, the nearest first.
        trouble: Why it cannot be opened, if that was tried and failed.
        revoked: How many grounds are revoked, if it was opened.
    """

    path: str
    directory: Entry | None = None
    files: Mapping[str, Entry] = field(default_factory=dict)
    above: tuple[Entry, ...] = ()
    trouble: str | None = None
    revoked: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is known of a machine and of this process.

    Attributes:
        architecture: The processor's, as "x86_64".
        cpu_flags: What all processors can, by the kernel's names.
        cpu_mask: The environment's ``OPENSSL_ia32cap``, which hides some of that from cryptography.
        crypto: The libraries of cryptography that the module was built with, and their versions.
        versions: Versions of Python packages; ``None`` for one that is not installed.
        python: The version of Python.
        is_free_threaded: Whether this is a build of Python without a GIL.
        has_gil: Whether the GIL is on.
        clock_source: Where the kernel's clocks take their time from.
        clock_sources: Where they could take it from.
        clock_step: The step of the coarse clock, in seconds.
        huge_mode: The mode of transparent large pages, as "madvise".
        huge_pool: How many large pages are set aside.
        memlock: How many bytes this process may lock.
        may_lock: Whether it may lock more than that.
        swaps: Where memory is swapped to.
        governors: The governors of the processors' frequencies.
        cpus: How many processors this process may use.
        isolated: The processors on which the kernel runs nothing by itself, as "2-7".
        quota: How many processors' time a control group allows; ``None`` for no limit.
        seccomp: Whether the system's calls are filtered: 0 for not, 2 for a filter.
        container: In what kind of container this is, if that shows.
        user: The number of the user.
        state: The state that was named.
    """

    architecture: str = ""
    cpu_flags: frozenset[str] = frozenset()
    cpu_mask: str | None = None
    crypto: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)
    python: str = ""
    is_free_threaded: bool = False
    has_gil: bool = True
    clock_source: str | None = None
    clock_sources: tuple[str, ...] = ()
    clock_step: float | None = None
    huge_mode: str | None = None
    huge_pool: int | None = None
    memlock: float = math.inf
    may_lock: bool = False
    swaps: tuple[str, ...] = ()
    governors: frozenset[str] = frozenset()
    cpus: int | None = None
    isolated: str | None = None
    quota: float | None = None
    seccomp: int | None = None
    container: str | None = None
    user: int = 0
    state: StatePlace | None = None


def look(root: Path = Path("/")) -> Machine:
    """Look at this machine. Files of the system are looked for below ``root``."""
    proc, system = root / "proc", root / "sys"
    status = fields_of(text(proc / "self/status"))
    capabilities = int(status.get("CapEff", "0") or "0", 16)
    clock = system / "devices/system/clocksource/clocksource0"
    cpus = system / "devices/system/cpu"
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    gil_of = getattr(sys, "_is_gil_enabled", None)
    return Machine(
        architecture=platform.machine(),
        cpu_flags=flags_of(text(proc / "cpuinfo")),
        cpu_mask=os.environ.get(MASK),
        crypto=dict(_core.CRYPTO),
        versions={name: version_of(name) for name in ("cryptography", "h2", "numpy")},
        python=f"{platform.python_implementation()} {platform.python_version()}",
        is_free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        has_gil=gil_of is None or bool(gil_of()),
        clock_source=text(clock / "current_clocksource").strip() or None,
        clock_sources=tuple(text(clock / "available_clocksource").split()),
        clock_step=step_of(COARSE_CLOCK),
        huge_mode=chosen_of(text(system / "kernel/mm/transparent_hugepage/enabled")),
        huge_pool=whole_of(text(proc / "sys/vm/nr_hugepages")),
        memlock=math.inf if limit == resource.RLIM_INFINITY else limit,
        may_lock=bool(capabilities >> CAP_IPC_LOCK & 1),
        swaps=tuple(line.split()[0] for line in text(proc / "swaps").splitlines()[1:] if line.strip()),
        governors=frozenset(filter(None, (text(path).strip() for path in cpus.glob("cpu*/cpufreq/scaling_governor")))),
        cpus=len(os.sched_getaffinity(0)),
        isolated=text(cpus / "isolated").strip() or None,
        quota=quota_of(text(proc / "self/cgroup"), system / "fs/cgroup"),
        seccomp=whole_of(status.get("Seccomp", "")),
        container=container_of(root),
        user=os.geteuid(),
    )


def look_at(path: Path, mounts: str | None = None, listed: Path | None = None) -> StatePlace:
    """Look at the directory of a state, without opening anything in it.

    Args:
        path: The directory.
        mounts: The kernel's list of mounts.
        listed: The list of revoked grounds, if it is elsewhere.
    """
    mounts = text(Path("/proc/self/mountinfo")) if mounts is None else mounts
    directory = entry(path, mounts, follow=True)
    if directory is None:
        return StatePlace(os.fspath(path))
    real = Path(directory.path)
    above = [entry(each, mounts, follow=False) for each in list(real.parents)[:MOST_ABOVE]]
    places = {name: real / name for name in FILES}
    if listed is not None:
        places["revoked"] = Path(os.path.abspath(listed))
    found = {name: entry(at, mounts, follow=False) for name, at in places.items()}
    files = {name: each for name, each in found.items() if each is not None}
    return StatePlace(os.fspath(path), directory, files, tuple(each for each in above if each is not None))


def entry(path: Path, mounts: str, follow: bool) -> Entry | None:
    """Return what lies at a path; ``None`` if there is nothing, or it cannot be seen."""
    try:
        about = os.stat(path) if follow else os.lstat(path)
        real = os.path.realpath(path) if follow else os.fspath(path)
    except (OSError, ValueError):
        return None
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for is_it, name in kinds if is_it(about.st_mode)), "other")
    mode = stat.S_IMODE(about.st_mode)
    return Entry(real, kind, mode, about.st_uid, about.st_nlink, filesystem_of(real, mounts))


def text(path: Path) -> str:
    """Return the text of a file; an empty one if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def flags_of(cpuinfo: str) -> frozenset[str]:
    """Return what all processors of a /proc/cpuinfo can.

    >>> sorted(flags_of("flags\\t\\t: aes avx2\\nflags\\t\\t: aes"))
    ['aes']
    """
    each = [
        frozenset(value.split())
        for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())
        if name.strip() in ("flags", "Features")
    ]
    return frozenset.intersection(*each) if each else frozenset()


def fields_of(status: str) -> dict[str, str]:
    """Return the fields of a /proc/self/status.

    >>> fields_of("Name:\\tpython\\nSeccomp:\\t2\\n")["Seccomp"]
    '2'
    """
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


def chosen_of(modes: str) -> str | None:
    """Return which of several modes is on.

    >>> chosen_of("always [madvise] never"), chosen_of("")
    ('madvise', None)
    """
    found = re.search(r"\[(\w+)\]", modes)
    return None if found is None else found[1]


def whole_of(number: str) -> int | None:
    """Return the value of a whole number; ``None`` for another text.

    >>> whole_of(" 12\\n"), whole_of("twelve")
    (12, None)
    """
    return int(number) if re.fullmatch(r"\s*[0-9]{1,18}\s*", number) else None


def step_of(clock: int) -> float | None:
    """Return the step of a clock, in seconds."""
    try:
        return time.clock_getres(clock)
    except OSError:
        return None


def version_of(package: str) -> str | None:
    """Return the version of a Python package; ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def filesystem_of(path: str, mounts: str) -> str | None:
    """Return the type of the filesystem of an absolute path, by a /proc/self/mountinfo.

    >>> filesystem_of("/run/desk", "1 0 0:1 / / rw - ext4 a rw\\n2 1 0:2 / /run rw shared:5 - tmpfs b rw")
    'tmpfs'
    """
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        words, types = before.split(), after.split()
        if len(words) < 6 or not types:
            continue
        at = ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), words[4])
        within = path == at or path.startswith(at if at.endswith("/") else f"{at}/")
        # Of two at one place, the later one hides the other.
        if within and (best is None or len(at) >= best[0]):
            best = len(at), types[0]
    return None if best is None else best[1]


def quota_of(groups: str, mounted: Path) -> float | None:
    """Return how many processors' time the control groups of a /proc/self/cgroup allow; ``None`` for no limit."""
    least = math.inf
    for line in groups.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        at = mounted if not controllers else next(
            (each for each in (mounted / controllers, mounted / "cpu") if each.is_dir()), mounted
        )  # fmt: skip
        own = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(own) + 1):
            least = min(least, _quota(at.joinpath(*own[:count])))
    return least if math.isfinite(least) else None


def _quota(group: Path) -> float:
    older = (text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    quota, period = map(whole_of, [*text(group / "cpu.max").split(), *older][:2])
    return quota / period if quota and period else math.inf


def container_of(root: Path) -> str | None:
    """Return in what kind of container this process is, if that shows."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    for file, kind in ((".dockerenv", "Docker"), ("run/.containerenv", "Podman")):
        if (root / file).exists():
            return kind
    group = text(root / "proc/1/cgroup")
    marks = (("lxc", "LXC"), ("docker", "Docker"), ("kubepods", "Kubernetes"))
    return next((kind for mark, kind in marks if mark in group), None)
