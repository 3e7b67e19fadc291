"""Our own SPIFFE identity, and the trust bundles of others, as an agent's Workload API renews them.

It needs the extra ``spiffe``: ``pip install 'ztfast[spiffe]'``. Source: the SPIFFE standard Workload API.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ztfast import plain
from ztfast.errors import ArgumentError, ForkedError, WorkloadError
from ztfast.shown import one_line, refused

if TYPE_CHECKING:
    from ztfast.identity.following import Counts, Follower
    from ztfast.identity.svids import Svid

__all__ = ["Status", "TrustDomains", "Workload"]

_LOG = logging.getLogger("ztfast")
_ENVIRONMENT = "SPIFFE_ENDPOINT_SOCKET"


class TrustDomains(Protocol):
    """Who is told which anchors a trust domain has, as :class:`ztfast.identity.Authorities` is."""

    def set_trust_domain(self, authority: str, trust_domain: str, anchors: list[bytes]) -> object:
        """Take a trust domain's anchors in DER in place of those before. An empty list means: trust nobody of it."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a workload has, and how it gets on with its agent; ``str`` of it is for people.

    Attributes:
        socket: The agent's socket.
        connected: Whether the agent's stream is open and has answered.
        spiffe_id: Our SPIFFE id, if there is an SVID.
        not_after: The end of the SVID in epoch seconds.
        missing: Why there is no SVID; empty if there is one.
        trust_domains: The number of anchors of each trust domain.
        problem: What the agent last said or did wrong, also if it is over.
        problem_at: The time of the problem in epoch seconds.
        counts: What happened so far.
    """

    socket: str
    connected: bool
    spiffe_id: str | None
    not_after: float | None
    missing: str
    trust_domains: dict[str, int]
    problem: str | None
    problem_at: float | None
    counts: Counts

    def __str__(self) -> str:
        now, counts = time.time(), self.counts
        lines = [f"agent          {self.socket}, {'connected' if self.connected else 'not connected'}"]
        if self.not_after is None:
            lines.append(f"SVID           none: {self.missing}")
        else:
            lines.append(f"SVID           {self.spiffe_id}, ends in {self.not_after - now:.1f} s")
        for domain, number in sorted(self.trust_domains.items()):
            lines.append(f"trust domain   {domain}: {number} anchor{'s' * (number != 1)}")
        if self.problem is not None and self.problem_at is not None:
            lines.append(f"last problem   {one_line(self.problem)} ({now - self.problem_at:.1f} s ago)")
        lines.append(
            f"so far         {counts.svids} SVIDs, {counts.bundles} bundles, {counts.connections} connections, "
            f"{counts.refused} answers refused, {counts.withdrawn} SVIDs withdrawn, {counts.expired} expired"
        )
        return "\n".join(lines)


class Workload:
    """Follows an agent's Workload API: our own X509-SVID, and the trust bundles of our trust domain and federated ones.

    A thread of its own holds the stream open, and connects again after a pause that grows to 5 seconds. Of an answer
    only what is well formed counts: a bundle that is empty or no CA's, or an SVID that does not fit its key, its name
    or its bundle is refused and reported, and the last good one stays until it expires. Where the agent says that we
    have no identity, because the entry was deleted, the SVID is withdrawn at once. The logger ``ztfast`` is told all.

    An SVID is the agent's word alone: whoever may write the directory of the socket can be the agent.

    Args:
        socket: The agent's endpoint, as ``"unix:///run/spire/agent.sock"``; by default what the environment's
            ``SPIFFE_ENDPOINT_SOCKET`` says.
        authorities: Is told each new bundle by ``set_trust_domain(authority, trust_domain, anchors)``, in the thread
            that follows the agent. If it raises, it is told again after a second.
        authority: The name of the authority of kind ``spiffe`` that the bundles are for.
        spiffe_id: The SPIFFE id that we want, where the agent may issue several; by default the agent's first, whose
            trust domain must then stay the same.
        on_update: Is called with the workload after each change of the SVID or of a bundle, in the thread that follows
            the agent.

    Raises:
        ArgumentError: for an argument that is none of these.
        ImportError: if the extra ``spiffe`` is not installed.

    >>> from ztfast.identity.spiffe import Workload
    >>> with Workload("unix:///nowhere/agent.sock") as workload:
    ...     workload.svid()
    Traceback (most recent call last):
    ztfast.errors.WorkloadError: there is no SVID: ...
    """

    def __init__(
        self,
        socket: str | None = None,
        *,
        authorities: TrustDomains | None = None,
        authority: str | None = None,
        spiffe_id: str | None = None,
        on_update: Callable[[Workload], object] | None = None,
    ) -> None:
        following, svids, workload_api = _extra()
        endpoint = os.environ.get(_ENVIRONMENT) if socket is None else socket
        if endpoint is None:
            raise ArgumentError(f"socket: give the agent's endpoint, or set {_ENVIRONMENT}")
        path = workload_api.socket_path(endpoint)
        if authorities is not None and not plain.text(authority):
            raise refused("authority", "the name of the authority that the bundles are for", authority)
        if spiffe_id is not None:
            try:
                svids.parsed_id(spiffe_id if plain.text(spiffe_id) else "")
            except svids.Bad:
                raise refused("spiffe_id", "a SPIFFE id, as 'spiffe://bank.example/algo/a7'", spiffe_id) from None
        if on_update is not None and not callable(on_update):
            raise refused("on_update", "a function that takes the workload", on_update)
        self._socket = endpoint
        self._authorities = authorities
        self._authority = authority or ""
        self._on_update = on_update
        self._process = os.getpid()
        self._closed = False
        self._news = threading.Condition()
        self._follower: Follower = following.Follower(path, spiffe_id, self._give, self._changed)
        _WORKLOADS.add(self)
        self._follower.thread.start()

    def svid(self, wait: float = 0.0) -> Svid:
        """Return our SVID: leaf, chain, private key and bounds. It is never one that has expired by now.

        Args:
            wait: For how many seconds to wait if there is none, as there is none yet in the first moments.

        Raises:
            WorkloadError: if there is none; the message says why.
            ForkedError: in a forked child.
        """
        self._check_process()
        until = time.monotonic() + wait
        while (found := self._valid()) is None:
            left = until - time.monotonic()
            if left <= 0 or self._closed:
                raise WorkloadError(f"there is no SVID: {self._missing()}")
            with self._news:
                self._news.wait_for(lambda: self._closed or self._valid() is not None, left)
        return found

    def anchors(self, trust_domain: str | None = None) -> tuple[bytes, ...]:
        """Return the trust anchors of a trust domain in DER, of those that have not expired by now.

        Args:
            trust_domain: By default our own.

        Raises:
            WorkloadError: if there are none.
            ForkedError: in a forked child.
        """
        self._check_process()
        now, domain = time.time(), self._follower.trust_domain if trust_domain is None else trust_domain
        known = self._follower.held.anchors.get(domain or "", ())
        valid = tuple(anchor.der for anchor in known if now < anchor.not_after)
        if not valid:
            raise WorkloadError(f"there is no trust bundle of {domain or 'our trust domain'}: {self._said()}")
        return valid

    def ssl_context(self, server: bool = False) -> ssl.SSLContext:
        """Return a context for TLS 1.3 with our SVID and our own trust domain's anchors.

        A server's context follows rotation: each handshake takes what there is at that moment, and fails where there is
        no SVID. A client's does not: make one for each connection. Both demand the other's certificate, and check that
        it leads to our trust domain, but not whose it is: names of hosts mean nothing in SPIFFE. So give the connection
        to ``authorities.x509`` and ``engine.admit`` before you believe it. Sessions are not resumed, because a
        certificate would not be looked at again. The key goes to OpenSSL through memory that has no name in a file
        system.

        Args:
            server: Whether we are the server.

        Raises:
            WorkloadError: if there is no SVID or no bundle.
            ForkedError: in a forked child.
        """
        context, made_of = self._context(server)
        if not server:
            return context
        present = (context, made_of)

        def at_handshake(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, used: object) -> int | None:
            # OpenSSL calls this for each client, also for one that names no server.
            nonlocal present
            try:
                if present[1] != self._material():
                    present = self._context(server)
            except (WorkloadError, ForkedError) as error:
                _LOG.warning("spiffe: a handshake was refused: %s", error)
                return ssl.AlertDescription.ALERT_DESCRIPTION_INTERNAL_ERROR
            connection.context = present[0]
            return None

        context.sni_callback = at_handshake
        return context

    def _material(self) -> tuple[Svid, tuple[bytes, ...]]:
        svid = self.svid()
        return svid, self.anchors(svid.trust_domain)

    def _context(self, server: bool) -> tuple[ssl.SSLContext, tuple[Svid, tuple[bytes, ...]]]:
        svid, anchors = material = self._material()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        # A trust domain's anchors need not have signed themselves.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=b"".join(anchors))
        with _in_memory(svid.key + svid.pem) as path:
            context.load_cert_chain(path)
        if server:
            context.num_tickets = 0
        return context, material

    def status(self) -> Status:
        """Return what there is, and how it gets on with the agent.

        Raises:
            ForkedError: in a forked child.
        """
        self._check_process()
        follower, svid, now = self._follower, self._valid(), time.time()
        held, problem = follower.held, follower.problem
        counted = {
            domain: sum(now < anchor.not_after for anchor in anchors) for domain, anchors in held.anchors.items()
        }
        return Status(
            socket=self._socket,
            connected=follower.connected,
            spiffe_id=None if svid is None else svid.spiffe_id,
            not_after=None if svid is None else svid.not_after,
            missing="" if svid is not None else self._missing(),
            trust_domains=counted,
            problem=None if problem is None else problem[1],
            problem_at=None if problem is None else problem[0],
            counts=replace(follower.counts),
        )

    def close(self) -> None:
        """End the stream, and forget the SVID. The authorities keep the bundles that they were given.

        In a forked child this does nothing: the stream is the parent's.
        """
        if self._process == os.getpid() and not self._closed:
            self._closed = True
            self._follower.stop()
            with self._news:
                self._news.notify_all()

    def __enter__(self) -> Workload:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a Workload cannot be copied or pickled: it holds a stream and a private key")

    def _valid(self) -> Svid | None:
        found = self._follower.held.svid
        return found if found is not None and not self._closed and time.time() < found.not_after else None

    def _missing(self) -> str:
        held = self._follower.held
        why = held.why if held.svid is None else "it expired, and none came since"
        return f"{why} ({self._said()})"

    def _said(self) -> str:
        problem = self._follower.problem
        return "the agent has not answered yet" if problem is None else problem[1]

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise ForkedError("the workload is the parent's, and its stream ends there: make another in the child")

    def _give(self, trust_domain: str, anchors: list[bytes]) -> None:
        if self._authorities is not None:
            self._authorities.set_trust_domain(self._authority, trust_domain, anchors)

    def _changed(self) -> None:
        with self._news:
            self._news.notify_all()
        if self._on_update is not None:
            try:
                self._on_update(self)
            except Exception:
                _LOG.exception("spiffe: on_update failed")

    def _leave(self) -> None:
        self._follower.leave()


_WORKLOADS: weakref.WeakSet[Workload] = weakref.WeakSet()


def _leave_all() -> None:
    """Close a forked child's copies of the streams and forget its keys. The parent's go on."""
    for workload in list(_WORKLOADS):
        workload._leave()
    _WORKLOADS.clear()


os.register_at_fork(after_in_child=_leave_all)


def _extra() -> tuple[Any, Any, Any]:
    try:
        from ztfast.identity import following, svids, workload_api
    except ImportError as error:
        raise ImportError(
            f"ztfast.identity.spiffe needs the extra 'spiffe': pip install 'ztfast[spiffe]' ({error})"
        ) from None
    return following, svids, workload_api


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Lend a path to a text that is in no file system, because OpenSSL takes certificates with keys from paths only."""
    descriptor = os.memfd_create("ztfast-svid", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
