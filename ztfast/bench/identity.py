"""Admissions by certificate in the bench: verification, look-ups of what is known, and decisions beside both.

Who verifies and who admits must not disturb who decides. So decisions are timed one by one by themselves, while other
threads rotate sessions, and while others flood the authorities with bad certificates: all in one round.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count as counting
from pathlib import Path
from random import Random
from time import perf_counter_ns
from typing import Any

import ztfast
from ztfast import _core, examples, gate
from ztfast.bench.desk import ALGO, ORDER, STOCK, affordable
from ztfast.bench.histogram import Histogram
from ztfast.bench.loops import Bulk
from ztfast.bench.marks import Promise
from ztfast.bench.series import Native, Series, Tail
from ztfast.gate import Session
from ztfast.identity import Authorities, Credential

__all__ = ["IDENTITY_MARKS", "IdentityWorkload", "identity_series", "identity_tails", "is_possible"]

DRAWN = 4_096
"""How many of the known certificates are presented in random order."""

ROTATING, PER_SECOND = 100_000, 100_000
"""The sessions that rotate, and how many of them are replaced in a second."""

NAP_S = 50e-6
"""How long the rotating thread sleeps when no session is due."""

FLOODING = 2
"""The threads that present bad certificates: one for each thread that verifies."""

IDENTITY_MARKS = (
    Promise("identity: a known certificate is admitted", "identity_admitted", 2_000.0),
    Promise("identity: verification / pyca's", "identity_verified", 0.8, floor="identity_pyca"),
    Promise("identity: decisions beside rotating sessions / alone, p50", "identity_rotating p50", 1.25,
            floor="identity_alone p50"),
    Promise("identity: decisions beside rotating sessions / alone, p99.9", "identity_rotating p999", 2.0,
            floor="identity_alone p999"),
    Promise("identity: decisions beside a flood / alone, p50", "identity_flooded p50", 1.25,
            floor="identity_alone p50"),
    Promise("identity: decisions beside a flood / alone, p99.9", "identity_flooded p999", 2.0,
            floor="identity_alone p999"),
)  # fmt: skip
"""The marks of admissions, and of decisions beside them."""


def is_possible() -> bool:
    """Return whether certificates can be made: pyca ``cryptography`` does that.

    >>> is_possible()
    True
    """
    return importlib.util.find_spec("cryptography") is not None


class IdentityWorkload:
    """The desk's engine and authorities, with certificates that are known, and decisions.

    A known certificate need not be a good one: what is in the table is not verified again. So all but one are copies
    of an algorithm's with other last bytes.

    Args:
        compiled: The desk's bundle.
        folder: A folder for the PKI.
        known: How many certificates the validation table knows.

    Attributes:
        engine: The engine.
        authorities: Who verifies.
        der: The certificate of an algorithm that is admitted again and again.
        chain: The same with its CA.
        cpus: The CPUs that its threads may run on.
    """

    def __init__(self, compiled: ztfast.Bundle, folder: Path, known: int) -> None:
        self.cpus = usable()
        whom = [(f"algo/a{number}", "US") for number in range(1, 49)]
        self.pki = examples.pki(folder, whom=whom)
        self.authorities = Authorities.load(self.pki.config)
        self.engine = ztfast.Engine(compiled, sessions=1 << 18, credentials=max(1 << 12, 1 << (known - 1).bit_length()))
        self.chain = [_der(self.pki.folder / "leaves" / "algo-a7.pem"), _der(self.pki.folder / "algos.pem")]
        self.der = self.chain[0]
        self.known = known
        self._put()
        # By now: the copies may have taken its place.
        self.session = self.engine.admit(self.authorities.x509(self.der))
        self.resource = self.engine.resource(STOCK)
        self._bad = counting()

    @property
    def rows(self) -> int:
        """How many of the known certificates the table still has."""
        use = self.engine.credential_use
        return self.known - (0 if use is None else use.evicted)

    def copy(self, number: int) -> bytes:
        """Return the copy of the certificate with this number."""
        return self.der[:-8] + number.to_bytes(8, "big")

    def forged(self) -> Credential:
        """Return a credential that was never presented before, and whose signature is wrong."""
        return self.authorities.x509(self.der[:-8] + (1 << 40 | next(self._bad)).to_bytes(8, "big"))

    def drawn(self) -> list[bytes]:
        """Return random ones of the known copies, of those that the table still has."""
        core, epoch = self.engine._core, self.authorities.epoch
        chance = Random(1)
        found: list[bytes] = []
        while len(found) < min(DRAWN, self.known // 2):
            copy = self.copy(chance.randrange(self.known))
            admitted = core.admit_known(copy, epoch, 0)
            if admitted is not None:
                gate.admitted(core, admitted).revoke()
                found.append(copy)
        return found

    def _put(self) -> None:
        """Fill the table with copies."""
        core = self.engine._core
        begun = core.credentials.begin()
        _, *rest = self.authorities.x509(self.der).admissible(core.wall_ns()).row
        for number in range(self.known):
            row = (sha256(self.copy(number)).digest(), *rest)
            gate.admitted(core, core.admit_verified(row, begun)).revoke()


def identity_series(work: IdentityWorkload, count: int) -> list[Series]:
    """Return the admissions and verifications that are measured in bulk."""
    x509, admit = work.authorities.x509, work.engine.admit
    known, drawn = x509(work.der), work.drawn()

    def admitting(make: Callable[[int], list[Any]], present: Callable[[Any], Session]) -> Bulk:
        def once(calls: int) -> float:
            given = make(calls)
            began = perf_counter_ns()
            sessions = [present(each) for each in given]
            taken = perf_counter_ns() - began
            for session in sessions:
                session.revoke()
            return taken / calls

        return once

    def repeated(calls: int) -> list[bytes]:
        return [work.der] * calls

    def at_random(calls: int) -> list[bytes]:
        return (drawn * (calls // len(drawn) + 1))[:calls]

    rows = f"{work.rows:,} rows"
    made = [
        ("identity_admit", "admit, known", admitting(lambda calls: [known] * calls, admit)),
        ("identity_admitted", "admit(x509(der)), known", admitting(repeated, lambda der: admit(x509(der)))),
        ("identity_random", f"admit(x509(der)), known, at random of {rows}",
         admitting(at_random, lambda der: admit(x509(der)))),
        ("identity_verified", "verification, natively, with CRLs", verifying(work)),
        ("identity_pyca", "verification by pyca, without CRLs", verifying_by_pyca(work)),
    ]  # fmt: skip
    return [
        Series(key, name, "python_call", once, affordable(once, min(count, len(drawn))), "identity")
        for key, name, once in made
    ]


def verifying(work: IdentityWorkload) -> Bulk:
    """Return a function that measures verifications by the product's own verifier, from DER."""
    folder = work.pki.folder
    authority: dict[str, Any] = {
        "name": "desk", "kind": "x509", "anchors": [_der(folder / "root.pem")], "intermediates": [],
        "crls": [_der(folder / f"{ca}.crl") for ca in ("root", "algos", "people")], "revocation": "required",
        "pins": [], "trust_domains": {}, "max_age_s": None,
    }  # fmt: skip
    verify, now_ns = _core.Verifier([authority]).verify, time.time_ns()

    def once(calls: int) -> float:
        began = perf_counter_ns()
        for _ in range(calls):
            verify("desk", work.chain, now_ns)
        return (perf_counter_ns() - began) / calls

    return once


def verifying_by_pyca(work: IdentityWorkload) -> Bulk:
    """Return a function that measures verifications by pyca's verifier for clients, from DER, each at its own time."""
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.verification import PolicyBuilder, Store

    store = Store([load_der_x509_certificate(_der(work.pki.folder / "root.pem"))])

    def once(calls: int) -> float:
        began = perf_counter_ns()
        for _ in range(calls):
            leaf, issuer = map(load_der_x509_certificate, work.chain)
            builder = PolicyBuilder().store(store).time(datetime.now(UTC))
            builder.build_client_verifier().verify(leaf, [issuer])
        return (perf_counter_ns() - began) / calls

    return once


def identity_tails(work: IdentityWorkload, count: int, bad: int) -> list[Tail]:
    """Return decisions that are timed one by one: alone, beside rotating sessions, and beside a flood.

    Args:
        work: The engine.
        count: How many decisions at least.
        bad: How many bad certificates are refused meanwhile.
    """
    native = Native(work.engine, "order.new", ORDER, [(work.session, work.resource)], count)
    rotation = Rotation(work)

    def rotating(calls: int) -> Histogram:
        with beside(work.cpus, rotation.turn):
            return native.closed(calls)

    def flooded(calls: int) -> Histogram:
        flood = Flood(work, bad)
        taken = native.closed(0)
        with beside(work.cpus, *[flood.turn] * FLOODING):
            while not flood.is_over:
                taken.merge(native.closed(calls))
        return taken

    return [
        Tail("identity_alone", f"native order of {ALGO}, closed loop", None, native.closed, count),
        Tail("identity_rotating", f"the same beside {PER_SECOND:,} new sessions a second", None, rotating, count),
        Tail("identity_flooded", "the same beside a flood of bad certificates", None, flooded, count),
    ]


class Rotation:
    """Sessions of which each is replaced by another every second, at a steady rate.

    Attributes:
        made: How many were made.
    """

    def __init__(self, work: IdentityWorkload) -> None:
        self.work, self.made = work, 0
        self._sessions: deque[Session] = deque()
        self._numbers = counting()
        self._begun: float | None = None
        many = min(ROTATING, work.known)
        while len(self._sessions) < many:
            self._admit()

    def turn(self) -> None:
        """Replace the sessions that are due, the oldest first."""
        now = time.perf_counter()
        # What was due while nobody called is not made up for.
        if self._begun is None or now - self._begun > 0.1:
            self._begun = now
            return
        due = int((now - self._begun) * PER_SECOND)
        self._begun += due / PER_SECOND
        for _ in range(due):
            self._admit()
            self._sessions.popleft().revoke()
        self.made += due
        time.sleep(NAP_S)

    def _admit(self) -> None:
        """Admit by the next certificate. Those that the table has no more are passed over."""
        core, epoch = self.work.engine._core, self.work.authorities.epoch
        while True:
            copy = self.work.copy(next(self._numbers) % self.work.known)
            admitted = core.admit_known(copy, epoch, 0)
            if admitted is not None:
                self._sessions.append(gate.admitted(core, admitted))
                return


class Flood:
    """Bad certificates that threads present, each another one, until enough were refused.

    Attributes:
        is_over: Whether enough were refused.
    """

    def __init__(self, work: IdentityWorkload, wanted: int) -> None:
        self.work, self.wanted = work, wanted
        self._refused = counting()
        self.is_over = wanted == 0

    def turn(self) -> None:
        """Present one."""
        if self.is_over:
            time.sleep(1e-3)
            return
        try:
            self.work.engine.admit(self.work.forged())
        except ztfast.CredentialError:
            self.is_over = next(self._refused) + 1 >= self.wanted
        except BaseException:
            # Nobody waits for a flood that has failed.
            self.is_over = True
            raise
        else:
            self.is_over = True
            raise AssertionError("a certificate with a wrong signature was admitted")


@contextmanager
def beside(cpus: frozenset[int], *jobs: Callable[[], object]) -> Iterator[None]:
    """Repeat each job in a thread of its own, once at the least, on another CPU of these than this thread's, if any.

    Raises what a job raised.

    >>> with beside(frozenset(), lambda: time.sleep(1e-3)):
    ...     pass
    """
    stop, raised = threading.Event(), []
    begun = threading.Barrier(len(jobs) + 1)
    others = cpus - usable() if cpus != usable() else frozenset()

    def run(job: Callable[[], object]) -> None:
        if others:
            os.sched_setaffinity(0, others)
        begun.wait()
        try:
            job()
            while not stop.is_set():
                job()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    begun.wait()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if raised:
        raise raised[0]


def usable() -> frozenset[int]:
    """Return the CPUs that this thread may run on; none where the operating system cannot tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def _der(file: Path) -> bytes:
    """Return the first certificate or list of a file in PEM, as DER."""
    from ztfast.identity import pem

    content = file.read_bytes()
    kind = pem.CRL if file.suffix == ".crl" else pem.CERTIFICATE
    return pem.blocks(content, kind, most=2)[0]
