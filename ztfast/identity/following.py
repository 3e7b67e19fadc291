"""The thread that follows an agent's stream: what it believes of an answer, what it withdraws, when it asks again."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from ztfast.identity.svids import Anchor, Bad, Svid, anchors, checked, parsed_id, trust_domain_of
from ztfast.identity.workload_api import (
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    UNIMPLEMENTED,
    Answer,
    Broken,
    Issued,
    Refused,
    Stream,
)
from ztfast.shown import brief

__all__ = ["Counts", "Follower", "Held"]

_LOG = logging.getLogger("ztfast")

REACHED = 2.0
"""An agent must take the question within so many seconds."""
ANSWERED = 10.0
"""It must send its first answer within so many seconds."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""The seconds between two tries: they double from the first to the longest, and a random half of them is left out."""
SHORTEST_SILENCE = 2.0
WITHOUT_SVID = 30.0
"""An agent that has sent no SVID to serve is asked again after so many seconds."""
SAID_AGAIN = 60.0
"""The log is told the same problem again after so many seconds."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is believed now; a change makes another.

    Attributes:
        svid: Our SVID, if there is one.
        why: Why there is none.
        anchors: The trust anchors by trust domain.
    """

    svid: Svid | None
    why: str
    anchors: MappingProxyType[str, tuple[Anchor, ...]]

    def ends(self) -> list[float]:
        """List the times at which something of it ends."""
        found = [anchor.not_after for each in self.anchors.values() for anchor in each]
        return found if self.svid is None else [*found, self.svid.not_after]


@dataclass(slots=True)
class Counts:
    """What happened so far.

    Attributes:
        svids: SVIDs that were taken.
        bundles: Trust bundles that were taken, or withdrawn with their federation.
        connections: Times that the agent was asked.
        refused: Answers of which something was refused.
        withdrawn: SVIDs that were withdrawn before they expired.
        expired: SVIDs that expired before another came.
    """

    svids: int = 0
    bundles: int = 0
    connections: int = 0
    refused: int = 0
    withdrawn: int = 0
    expired: int = 0


_NOTHING: MappingProxyType[str, tuple[Anchor, ...]] = MappingProxyType({})


class Follower:
    """Follows one agent until it is stopped. Its thread alone changes what it holds.

    Args:
        path: The path of the agent's socket.
        spiffe_id: The SPIFFE id that we want; ``None`` for the agent's default.
        give: Takes a trust domain and its new anchors in DER; none where its federation ended.
        changed: Is called after each change.
    """

    def __init__(
        self,
        path: str,
        spiffe_id: str | None,
        give: Callable[[str, list[bytes]], object],
        changed: Callable[[], object],
    ) -> None:
        self._path = path
        self._spiffe_id = spiffe_id
        self._give = give
        self._changed = changed
        self._stream: Stream | None = None
        self._stopping = threading.Event()
        self._failures = 0
        self._owed: dict[str, list[bytes]] = {}
        self._said: dict[str, float] = {}
        self.held = Held(None, "the agent has issued none yet", _NOTHING)
        self.trust_domain = None if spiffe_id is None else parsed_id(spiffe_id)[0]
        self.counts = Counts()
        self.connected = False
        self.problem: tuple[float, str] | None = None
        self.thread = threading.Thread(target=self._run, name="ztfast-spiffe", daemon=True)

    def stop(self) -> None:
        """End the thread's work, and forget the SVID."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.interrupt()
        if threading.current_thread() is not self.thread:
            self.thread.join(REACHED + 1)
        self.held = replace(self.held, svid=None, why="it was closed")

    def leave(self) -> None:
        """Forget everything in a forked child, which has no such thread. This takes no lock: the parent may hold it."""
        self.held = Held(None, "this is a forked child", _NOTHING)
        if self._stream is not None:
            self._stream.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except Refused as error:
                self._refused(error)
            except Broken as error:
                self._say(str(error))
            except Exception as error:
                # A lack of descriptors or memory must not end the thread.
                self._say(f"{type(error).__name__}: {error}")
            finally:
                self.connected = False
                if self._stream is not None:
                    self._stream.close()
                    self._stream = None
            # An agent that answers and breaks off, again and again, is not asked more and more often.
            self._failures = 0 if time.monotonic() - began > LONGEST_DELAY else self._failures + 1
            self._pause(self._delay())

    def _delay(self) -> float:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 30))
        return longest * random.uniform(0.5, 1.0)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, self._next_end())):
            self._tend()

    def _follow(self) -> None:
        """Take answers until the stream ends, or is silent for so long that it is better to ask again."""
        self.counts.connections += 1
        self._stream = stream = Stream(self._path)
        stream.ask(REACHED)
        heard_by, heard = time.monotonic() + ANSWERED, False
        while not self._stopping.is_set():
            answer = stream.next(min(heard_by, time.monotonic() + self._next_end()))
            if answer is not None:
                self.connected = heard = True
                self._take(answer)
                heard_by = time.monotonic() + self._silence()
            else:
                self._tend()
            if time.monotonic() >= heard_by:
                if not heard:
                    raise Broken(f"the agent has not answered within {ANSWERED:g} s")
                self._failures = -1
                return

    def _silence(self) -> float:
        """Return for how many seconds a stream may be silent.

        An agent renews an SVID when half of its life is over. After three quarters the stream may have died unnoticed.
        """
        svid = self.held.svid
        return WITHOUT_SVID if svid is None else max(SHORTEST_SILENCE, 0.75 * (svid.not_after - time.time()))

    def _next_end(self) -> float:
        """Return in how many seconds something of what is held ends, or is tried again."""
        first = min(self.held.ends(), default=math.inf) - time.time()
        return min(max(first, 0.1), 1.0 if self._owed else 3600.0)

    def _tend(self) -> None:
        """Withdraw what has expired, and give the authorities what they did not take."""
        now, held = time.time(), self.held
        if held.svid is not None and held.svid.not_after <= now:
            end = _utc(held.svid.not_after)
            self.held = replace(held, svid=None, why=f"it expired at {end}, and none came since")
            self.counts.expired += 1
            self._say(f"the SVID expired at {end}")
        for domain, known in held.anchors.items():
            self._set(domain, tuple(anchor for anchor in known if now < anchor.not_after))
        self._settle()
        if self.held is not held:
            self._changed()

    def _refused(self, error: Refused) -> None:
        if error.code == PERMISSION_DENIED:
            self._withdraw("the agent issues us no identity: its entry was deleted, or none fits this process")
        if error.code in (INVALID_ARGUMENT, UNIMPLEMENTED):
            # Asking again helps only where the agent is replaced.
            self._failures = 30
        self._say(f"the agent refused: {error}")

    def _withdraw(self, why: str) -> None:
        if self.held.svid is not None:
            self.counts.withdrawn += 1
        self.held, before = replace(self.held, svid=None, why=why), self.held
        if before.svid is not None:
            self._changed()

    def _take(self, answer: Answer) -> None:
        """Believe of an answer what is well formed. Bundles are taken before and apart from SVIDs: they may revoke."""
        before = self.held
        bad: list[str] = []
        try:
            ours = self._ours(answer)
            self._take_federated(answer, ours, bad)
            if ours is not None:
                self._take_own(ours, bad)
        except Bad as error:
            bad.append(str(error))
        self._settle()
        if bad:
            self.counts.refused += 1
            self._say("; ".join(bad))
        elif answer.crls:
            self._say(f"the agent sent {answer.crls} CRLs, which are not used: give the authority their files as crls")
        if self.held is not before:
            self._changed()

    def _ours(self, answer: Answer) -> Issued | None:
        """Choose our SVID of an answer's. An answer that lacks anything is discarded as a whole (section 4.5)."""
        if not answer.issued:
            raise Bad("the agent's answer has no SVID")
        for issued in answer.issued:
            lacking = [each.name for each in fields(issued) if not getattr(issued, each.name)]
            if lacking:
                raise Bad(f"the agent's answer lacks {lacking[0]} of an SVID, and is discarded")
        wanted = self._spiffe_id or answer.issued[0].spiffe_id
        found = [issued for issued in answer.issued if issued.spiffe_id == wanted]
        if not found:
            self._withdraw(f"the agent no longer issues {wanted}, but others: was its entry deleted?")
            return None
        domain, _ = parsed_id(wanted)
        if self.trust_domain not in (None, domain):
            raise Bad(f"the SVID is of trust domain {domain}, and ours is {self.trust_domain}")
        return found[0]

    def _take_own(self, issued: Issued, bad: list[str]) -> None:
        domain, now = trust_domain_of(issued.spiffe_id), time.time()
        try:
            self._set(domain, anchors(issued.bundle, now))
        except Bad as error:
            bad.append(f"trust domain {domain}: {error}")
            return
        self._settle()
        try:
            svid = checked(issued, self.held.anchors[domain], now)
        except Bad as error:
            bad.append(str(error))
            return
        self.trust_domain = domain
        if self.held.svid is None or self.held.svid.leaf != svid.leaf:
            self.held = replace(self.held, svid=svid, why="")
            self.counts.svids += 1
            _LOG.info("spiffe: %s until %s", svid.spiffe_id, _utc(svid.not_after))

    def _take_federated(self, answer: Answer, ours: Issued | None, bad: list[str]) -> None:
        own = {self.trust_domain, None if ours is None else trust_domain_of(ours.spiffe_id)}
        now, named = time.time(), set()
        for name, bundle in answer.federated.items():
            try:
                domain = trust_domain_of(name)
                if domain in own:
                    raise Bad("it is our own")
                named.add(domain)
                self._set(domain, anchors(bundle, now))
            except Bad as error:
                bad.append(f"federated trust domain {brief(name)}: {error}")
        # Where a federation ended, its domain's workloads are strangers.
        for domain in self.held.anchors.keys() - named - own:
            self._set(domain, ())

    def _set(self, domain: str, valid: tuple[Anchor, ...]) -> None:
        """Hold a trust domain's anchors, and owe them to the authorities."""
        if self.held.anchors.get(domain, ()) == valid:
            return
        others = {name: known for name, known in self.held.anchors.items() if name != domain}
        self.held = replace(self.held, anchors=MappingProxyType(others | ({domain: valid} if valid else {})))
        self._owed[domain] = [anchor.der for anchor in valid]
        self.counts.bundles += 1
        _LOG.info("spiffe: trust domain %s has %d anchors", domain, len(valid))

    def _settle(self) -> None:
        """Give the authorities what is owed to them. What they do not take is tried again, at least once a second."""
        for domain, owed in list(self._owed.items()):
            try:
                self._give(domain, owed)
            except Exception as error:
                self._say(f"trust domain {domain}: the authorities do not take it: {type(error).__name__}: {error}")
            else:
                del self._owed[domain]

    def _say(self, problem: str) -> None:
        """Report a problem, to the log only if it was not said within a minute: some come back with each try."""
        if self._stopping.is_set():
            return
        now = time.monotonic()
        self._said = {text: at for text, at in self._said.items() if now - at < SAID_AGAIN}
        if problem not in self._said:
            self._said[problem] = now
            _LOG.warning("spiffe: %s", problem)
        self.problem = (time.time(), problem)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
