"""The checks of ``ztfast doctor``: each is a function of what is known of a machine, and says what it found.

To add a check, let machine.py find out what it needs, write a function here, and put it into :data:`CHECKS`.
"""

from __future__ import annotations

import math
import pwd
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ztfast.cli.machine import FILES, Entry, Machine, StatePlace

__all__ = ["CHECKS", "Check", "Finding", "examine"]

Level = Literal["ok", "warn", "fail"]

USED = (("AES-NI", "aes"), ("SHA-NI", "sha_ni"), ("AVX2", "avx2"))
"""What cryptography is much slower without, on x86."""
FASTER = (("AVX-512", "avx512f"), ("VAES", "vaes"))
"""What makes it faster still."""
USED_BY_ARM = (("AES", "aes"), ("SHA-2", "sha2"))
SOURCES = {"x86_64": "tsc", "aarch64": "arch_sys_counter"}
"""The clock source that is read without asking the system."""
INVARIANT = frozenset({"constant_tsc", "nonstop_tsc"})
LONGEST_STEP_S = 0.004_1
LEAST_LOCKED = 64 << 20
"""The bytes of memory that an engine with a small bundle locks, with some to spare."""
IN_MEMORY = ("tmpfs", "ramfs", "hugetlbfs", "devtmpfs")
OF_A_CONTAINER = ("overlay", "aufs")
OF_A_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "gpfs", "afs", "virtiofs")
PRIVATE = ("owners", "credentials", "revoked")
"""The files of a state that nobody but its user may open."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        level: ``"ok"``, ``"warn"`` for what costs time or safety, or ``"fail"`` for what does not work.
        what: What was looked at.
        found: What it is.
        todo: What to do about it; empty if nothing.
    """

    level: Level
    what: str
    found: str
    todo: str = ""


Check = Callable[[Machine], Iterable[Finding]]


def examine(machine: Machine) -> tuple[Finding, ...]:
    """Run all checks on what is known of a machine.

    >>> {finding.level for finding in examine(Machine())} <= {"ok", "warn", "fail"}
    True
    """
    return tuple(finding for check in CHECKS for finding in check(machine))


def crypto(machine: Machine) -> Iterator[Finding]:
    """Say which cryptography verifies credentials."""
    named = ", ".join(f"{name} {version}" for name, version in machine.crypto.items())
    if not named:
        yield Finding("fail", "cryptography", "the module was built without it", "build ztfast again: make setup")
        return
    yield Finding("ok", "cryptography", named)
    if machine.cpu_mask is not None:
        todo = "unset OPENSSL_ia32cap where engines run"
        yield Finding("warn", "cryptography", "OPENSSL_ia32cap hides instructions of the processor from it", todo)


def instructions(machine: Machine) -> Iterator[Finding]:
    """Say which of the processor's instructions for cryptography there are."""
    what = "instructions"
    if not machine.cpu_flags:
        yield Finding("warn", what, "the system does not tell (/proc/cpuinfo)", "let the process read /proc/cpuinfo")
        return
    is_arm = machine.architecture == "aarch64"
    used = USED_BY_ARM if is_arm else USED
    all_of = used if is_arm else (*used, *FASTER)
    there = ", ".join(name for name, flag in all_of if flag in machine.cpu_flags) or "none for cryptography"
    lacking = ", ".join(name for name, flag in all_of if flag not in machine.cpu_flags)
    found = f"{there} (not: {lacking})" if lacking else there
    if all(flag in machine.cpu_flags for _, flag in used):
        yield Finding("ok", what, found)
    else:
        todo = "admissions and verifications take longer: give a virtual machine its host's processor (-cpu host)"
        yield Finding("warn", what, found, todo)


def clock_source(machine: Machine) -> Iterator[Finding]:
    """Say whether clocks are read without a call of the system."""
    what, wanted = "clock source", SOURCES.get(machine.architecture, "tsc")
    source = machine.clock_source
    if source == wanted:
        yield Finding("ok", what, source)
    elif source is None:
        yield Finding("warn", what, "the system does not tell", f"see that it is {wanted}: dmesg | grep -i clocksource")
    elif wanted in machine.clock_sources:
        at = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        yield Finding("warn", what, source, f"echo {wanted} > {at}, and clocksource={wanted} for the kernel")
    else:
        todo = f"clocks other than coarse ones ask the system: see why (dmesg | grep -i {wanted})"
        yield Finding("warn", what, source, todo)
    if wanted == "tsc" and machine.cpu_flags:
        lacking = sorted(INVARIANT - machine.cpu_flags)
        if lacking:
            todo = 'do not open engines with clock="tsc"; give a virtual machine an invariant one (+invtsc)'
            yield Finding("warn", "time-stamp counter", f"not invariant (without {', '.join(lacking)})", todo)
        else:
            yield Finding("ok", "time-stamp counter", "invariant")


def clock_step(machine: Machine) -> Iterator[Finding]:
    """Say how far the clock jumps that decisions read."""
    what, step = "coarse clock", machine.clock_step
    if step is None or step <= 0:
        yield Finding("warn", what, "the system has none", 'open engines with clock="tsc"')
        return
    found = f"a step of {step * 1000:.3g} ms (CONFIG_HZ={round(1 / step)})"
    if step <= LONGEST_STEP_S:
        yield Finding("ok", what, found)
    else:
        todo = 'a session counts up to a step too long: use a kernel with CONFIG_HZ=1000, or clock="tsc"'
        yield Finding("warn", what, found, todo)


def huge_pages(machine: Machine) -> Iterator[Finding]:
    """Say whether ``Engine(huge_pages=True)`` gets large pages."""
    what, mode, pool = "large pages", machine.huge_mode, machine.huge_pool or 0
    found = f"transparent: {mode or 'not told'}; set aside: {pool:,}"
    if mode == "always":
        todo = "the kernel may halt threads to make some for any memory: prefer madvise"
        yield Finding("warn", what, found, f"{todo} (/sys/kernel/mm/transparent_hugepage/enabled)")
    elif mode == "madvise" or pool:
        yield Finding("ok", what, found)
    else:
        todo = "huge_pages=True gets none: set vm.nr_hugepages, or transparent_hugepage/enabled to madvise"
        yield Finding("warn", what, found, todo)


def memlock(machine: Machine) -> Iterator[Finding]:
    """Say whether ``Engine(locked=True)`` may lock its memory."""
    what = "locked memory"
    if machine.may_lock or math.isinf(machine.memlock):
        yield Finding("ok", what, "no limit")
    elif machine.memlock >= LEAST_LOCKED:
        yield Finding("ok", what, f"up to {int(machine.memlock) >> 20:,} MiB")
    else:
        todo = "raise it for locked=True: ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of containers"
        yield Finding("warn", what, f"up to {int(machine.memlock) >> 10:,} KiB", todo)


def swap(machine: Machine) -> Iterator[Finding]:
    """Say whether memory may be swapped out."""
    if machine.swaps:
        todo = "a page that is away halts a decision for milliseconds: swapoff -a, or lock memory (locked=True)"
        yield Finding("warn", "swap", f"on: {', '.join(machine.swaps)}", todo)
    else:
        yield Finding("ok", "swap", "off")


def frequency(machine: Machine) -> Iterator[Finding]:
    """Say whether processors change their frequency."""
    what, others = "frequency", sorted(machine.governors - {"performance"})
    if others:
        todo = "the first decisions after a pause are slower: cpupower frequency-set -g performance"
        yield Finding("warn", what, f"governor {', '.join(others)}", todo)
    elif machine.governors:
        yield Finding("ok", what, "governor performance")
    else:
        yield Finding("ok", what, "no governor here: the firmware or the host decides")


def processors(machine: Machine) -> Iterator[Finding]:
    """Say whether some processors are kept free, and whether their time is limited."""
    what = "processors"
    count = "the system does not tell how many" if machine.cpus is None else f"{machine.cpus} for this process"
    if machine.isolated:
        yield Finding("ok", what, f"{count}; isolated: {machine.isolated}")
    else:
        todo = "the kernel may run others where an engine decides: isolcpus= and nohz_full=, or a cpuset of its own"
        yield Finding("warn", what, f"{count}; none isolated", todo)
    if machine.quota is not None:
        todo = "when it is used up, all threads halt for tens of milliseconds: remove the limit (cpu.max, --cpus)"
        yield Finding("warn", "processor time", f"limited to that of {machine.quota:.3g} processors", todo)


def confinement(machine: Machine) -> Iterator[Finding]:
    """Say what confines this process."""
    what, filtered = "confinement", bool(machine.seccomp)
    found = machine.container or "none that shows"
    if filtered:
        note = "its filter (seccomp) may refuse mlock, and each call of the system takes longer"
        yield Finding("ok", what, f"{found}; calls are filtered", note)
    else:
        yield Finding("ok", what, found)


def python(machine: Machine) -> Iterator[Finding]:
    """Say which Python this is, and whether it has a GIL."""
    if machine.is_free_threaded and machine.has_gil:
        todo = "a module that was imported needs it, or PYTHON_GIL=1 is set: find it by python -X gil=0 -W error"
        yield Finding("warn", "Python", f"{machine.python}, free-threaded, with the GIL switched on again", todo)
    else:
        kind = "free-threaded" if machine.is_free_threaded else "with the GIL"
        yield Finding("ok", "Python", f"{machine.python}, {kind}")


def packages(machine: Machine) -> Iterator[Finding]:
    """Say which Python packages there are."""
    numpy, pyca = machine.versions.get("numpy"), machine.versions.get("cryptography")
    if numpy is None or major_of(numpy) < 2:
        yield Finding("fail", "numpy", numpy or "not installed", "pip install 'numpy>=2.0'")
    else:
        yield Finding("ok", "numpy", numpy)
    if pyca is None:
        todo = "stapled OCSP answers cannot be checked: pip install 'ztfast[identity]'"
        yield Finding("warn", "pyca cryptography", "not installed", todo)
    elif major_of(pyca) < 46:
        yield Finding("warn", "pyca cryptography", pyca, "it is too old for ztfast: pip install 'cryptography>=46'")
    else:
        yield Finding("ok", "pyca cryptography", pyca)
    h2 = machine.versions.get("h2")
    todo = "" if h2 else "only SPIFFE workloads need it: pip install 'ztfast[spiffe]'"
    yield Finding("ok", "h2", h2 or "not installed", todo)


def state(machine: Machine) -> Iterator[Finding]:
    """Say whether a state can be opened, and by whom."""
    place = machine.state
    if place is None:
        return
    directory = place.directory
    if directory is None or directory.kind != "directory":
        found = f"{place.path}: {'nothing is there' if directory is None else 'it is no directory'}"
        yield Finding("fail", "state", found, "name the directory that the engines were given as state=")
        return
    if "state" not in place.files:
        todo = "name the directory that the engines were given as state=, or start one with it"
        yield Finding("fail", "state", f"{place.path}: there is no state here", todo)
    elif place.trouble is not None:
        yield Finding("fail", "state", place.trouble, "engines do not open it either: do as the message says")
    else:
        revoked = "" if place.revoked is None else f"; revoked grounds: {place.revoked:,}"
        yield Finding("ok", "state", f"{place.path}: it can be opened{revoked}")
    yield from owners_of(place, directory, machine.user)
    yield from permissions(place, directory)
    yield from filesystems(place, directory)


def owners_of(place: StatePlace, directory: Entry, user: int) -> Iterator[Finding]:
    """Say whose the directory of a state and its files are."""
    what, owner = "owner of the state", named(directory.user)
    strangers = [each for each in place.files.values() if each.user != directory.user]
    for each in strangers:
        todo = f"engines refuse it: chown {owner}, if it is theirs, or else remove it"
        yield Finding("fail", what, f"{each.path} belongs to {named(each.user)}, the directory to {owner}", todo)
    if directory.user != user:
        todo = f"only this user may change it, not even root: run commands as that user (sudo -u {owner})"
        yield Finding("warn", what, f"{owner}, and this is {named(user)}", todo)
    elif not strangers:
        yield Finding("ok", what, owner)


def permissions(place: StatePlace, directory: Entry) -> Iterator[Finding]:
    """Say who else may read and write the directory of a state and its files."""
    what, found = "permissions", []
    if directory.mode & 0o022:
        todo = f"others could forge sessions: chmod go-w {directory.path}"
        found.append(Finding("fail", what, shown(directory), todo))
    for name in FILES:
        each = place.files.get(name)
        if each is None:
            continue
        if each.kind != "file":
            found.append(Finding("fail", what, f"{each.path} is no file", "engines refuse it: remove it"))
        elif each.mode & 0o022:
            found.append(Finding("fail", what, shown(each), f"others could forge sessions: chmod go-w {each.path}"))
        elif name in PRIVATE and each.mode & 0o077:
            found.append(Finding("fail", what, shown(each), f"others could lock it for ever: chmod 600 {each.path}"))
        if each.kind == "file" and each.links > 1:
            found.append(Finding("fail", what, f"{each.path} has {each.links} names", "remove the other hard links"))
    for each in place.above:
        is_sticky = each.mode & 0o1000
        if each.mode & 0o022 and not is_sticky:
            todo = f"others could take the state away: chmod go-w {each.path}, or choose another directory"
            found.append(Finding("warn", what, shown(each), todo))
    yield from found
    if not found:
        yield Finding("ok", what, f"only {named(directory.user)} may write ({directory.mode:o})")


def filesystems(place: StatePlace, directory: Entry) -> Iterator[Finding]:
    """Say on what the state lies, and the list of revoked grounds."""
    kind = directory.filesystem
    what, found = "filesystem", f"the state is on {kind or 'one that the system does not tell'}"
    if is_of_network(kind):
        yield Finding("fail", what, found, "processes share memory of one host: choose a directory on a tmpfs")
    elif kind in IN_MEMORY:
        yield Finding("ok", what, found)
    else:
        yield Finding("warn", what, found, "a disk may hold writers up: choose a directory on a tmpfs, as below /run")
    what, revoked = "revoked grounds", place.files.get("revoked")
    if revoked is None:
        if "state" in place.files:
            todo = "name the file that the engines were given as revoked=, by --list"
            yield Finding("warn", what, "the state has no list of them here", todo)
        return
    found = f"{revoked.path} is on {revoked.filesystem or 'an unknown filesystem'}"
    if is_of_network(revoked.filesystem):
        yield Finding("fail", what, found, "hosts could write over each other's lines: keep it on a disk of this host")
    elif revoked.filesystem in IN_MEMORY:
        todo = "what was revoked is admitted again after a reboot: keep the list on a disk (revoked= of engines)"
        yield Finding("warn", what, found, todo)
    elif revoked.filesystem in OF_A_CONTAINER:
        yield Finding("warn", what, found, "the list goes with the container: keep it on a volume")
    else:
        yield Finding("ok", what, found)


def is_of_network(filesystem: str | None) -> bool:
    """Return whether other hosts may write to a filesystem, too.

    >>> is_of_network("nfs4"), is_of_network("fuse.sshfs"), is_of_network("ext4")
    (True, True, False)
    """
    return filesystem is not None and (filesystem in OF_A_NETWORK or filesystem.startswith("fuse."))


def shown(entry: Entry) -> str:
    """Return who may do what with a file or directory.

    >>> shown(Entry("desk/state", mode=0o666, user=0))
    'desk/state is of root, with mode 666'
    """
    return f"{entry.path} is of {named(entry.user)}, with mode {entry.mode:o}"


def named(user: int) -> str:
    """Return the name of a user; its number if it has none.

    >>> named(0)
    'root'
    """
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def major_of(version: str) -> int:
    """Return the first number of a version.

    >>> major_of("46.0.1"), major_of("unknown")
    (46, 0)
    """
    digits = version.partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


CHECKS: tuple[Check, ...] = (
    crypto,
    instructions,
    packages,
    python,
    clock_source,
    clock_step,
    huge_pages,
    memlock,
    swap,
    frequency,
    processors,
    confinement,
    state,
)
"""All checks, in the order in which they are shown."""
