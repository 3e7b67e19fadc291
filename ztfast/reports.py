"""Reports of an engine: its memory, its sessions, the result of a swap, and stale gates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ztfast.errors import SessionError
from ztfast.identities import Identity
from ztfast.uid import Uid

if TYPE_CHECKING:
    from ztfast import _core

__all__ = ["MemoryUse", "RegisterUse", "SessionInfo", "StaleGate", "Swap", "found_identity", "identity_of", "seconds"]


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The memory that an engine uses, in bytes.

    Attributes:
        bundle: The bundle.
        tables: The tables of sessions and handles.
        state: The rest of the live state: what only changes of sessions read, and the register of uids that processes
            share.
        gates: The gates, their working memory, and their tables, each of which counts once for all gates that share it.
        changes: The entities that were changed since the bundle was compiled, with all texts that they ever had.
            :meth:`Engine.compact` frees replaced texts.
        uids: The uids with a handle, and those of principals with present or past sessions. :meth:`Engine.compact`
            frees those of past sessions.
        replaced: Replaced bundles that are still in use, with their gates' tables: a gate keeps its bundle until it
            decides again.
        locked: The part of all these that is locked.
        huge: The part of bundle and tables that is in large pages now.
    """

    bundle: int
    tables: int
    state: int
    gates: int
    changes: int
    uids: int
    replaced: int
    locked: int
    huge: int


@dataclass(frozen=True, slots=True)
class RegisterUse:
    """How full the register of uids of a shared state is.

    Attributes:
        uids: The uids that have a handle.
        max_uids: How many can have one: ``handles`` of the engine that made the state.
        bytes: The bytes of their types and ids.
        max_bytes: The bytes for which there is room: 64 for each of ``max_uids``, and at least 65,536.

    >>> RegisterUse(uids=30, max_uids=100, bytes=60_000, max_bytes=80_000).full
    0.75
    """

    uids: int
    max_uids: int
    bytes: int
    max_bytes: int

    @property
    def full(self) -> float:
        """The part that is full, of the uids or of their bytes, whichever is more."""
        return max(self.uids / self.max_uids, self.bytes / self.max_bytes)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What is known about a session, at one moment.

    Attributes:
        id: The session's id, for :meth:`Engine.session`.
        principal: The principal.
        status: ``"active"``, ``"quarantined"``, ``"revoked"`` or ``"expired"``.
        not_before: The begin of validity, in epoch seconds; ``-math.inf`` for none.
        not_after: The end of validity, in epoch seconds; ``math.inf`` for none.
        admitted: When it was admitted, in epoch seconds.
        factors: The factors by which the principal proved who it is.
        auth_age: The seconds since then; ``None`` if that is not known.
        assurance: How sure that is, from 0 to 7.
        risk: The risk, from 0 to 100.
        channel: How the credential was proved.
        region: The region, if there is one.
        on_behalf_of: For whom the principal acts, if for anyone.
        ground: The first 16 hexadecimal digits of the SHA-256 of its ground, which is all that is kept of it; ``None``
            if it has none.
        by: Who revoked it or put it into quarantine; ``None`` if that was not said, or is not kept any more.
        reason: Why, in the same way.
        since: When, in epoch seconds, in the same way.
    """

    id: int
    principal: Uid
    status: str
    not_before: float
    not_after: float
    admitted: float
    factors: tuple[str, ...]
    auth_age: float | None
    assurance: int
    risk: int
    channel: str | None
    region: str | None
    on_behalf_of: Uid | None
    ground: str | None = None
    by: str | None = None
    reason: str | None = None
    since: float | None = None

    @classmethod
    def _of(cls, shown: dict[str, Any]) -> SessionInfo:
        by, reason, since_ns = shown["note"] or (None, None, None)
        acts_for, age_ms = shown["on_behalf_of"], shown["auth_age_ms"]
        return cls(
            id=shown["id"],
            principal=Uid(*shown["principal"]),
            status=shown["status"],
            not_before=seconds(shown["not_before_ns"]),
            not_after=seconds(shown["not_after_ns"]),
            admitted=seconds(shown["admitted_ns"]),
            factors=tuple(shown["factors"]),
            auth_age=None if age_ms is None else age_ms / 1000,
            assurance=shown["assurance"],
            risk=shown["risk"],
            channel=shown["channel"],
            region=shown["region"],
            on_behalf_of=None if acts_for is None else Uid(*acts_for),
            ground=f"{shown['grounds'][0]:016x}" if shown["grounds"][0] else None,
            by=by or None,
            reason=reason or None,
            since=None if since_ns is None else since_ns / 1e9,
        )


def identity_of(info: SessionInfo) -> Identity:
    """Return the identity of a session that somebody admitted, as far as the engine holds it."""
    return Identity(
        info.principal,
        not_before=info.not_before,
        not_after=info.not_after,
        factors=info.factors,
        auth_time=info.admitted if info.auth_age is None else None,
        assurance=info.assurance,
        channel=info.channel or "trusted",
        region=info.region,
        risk=info.risk,
        on_behalf_of=info.on_behalf_of,
    )


def found_identity(core: _core.Engine, session: int) -> Identity:
    """Return the identity of a session by its id.

    Raises:
        SessionError: if it is over, and its slot is another's.
    """
    found = core.find_session(session)
    if found is None:
        raise SessionError(f"session {session:#x} is over, and nothing is kept of it: admit its principal again")
    return identity_of(SessionInfo._of(found))


def seconds(nanoseconds: int) -> float:
    """Convert the core's nanoseconds to epoch seconds; the ends of its range mean no bound."""
    if nanoseconds in (-(1 << 63), (1 << 63) - 1):
        return math.copysign(math.inf, nanoseconds)
    return nanoseconds / 1_000_000_000


@dataclass(frozen=True, slots=True)
class Swap:
    """The result of a swap.

    Attributes:
        kept: The entities whose changes were repeated over the new bundle.
        forgotten: The entities whose changes were dropped.
    """

    kept: tuple[Uid, ...] = ()
    forgotten: tuple[Uid, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleGate:
    """Live gates with the same action and attributes that do not fit a bundle.

    Attributes:
        action: The gates' action.
        names: The gates' attributes.
        count: The number of gates.
        why: What the bundle lacks or changes.
        already: Whether the gates do not fit the present bundle either.
    """

    action: str
    names: tuple[str, ...]
    count: int
    why: str
    already: bool

    @classmethod
    def _of(cls, gates: tuple[str, list[str], int, str, bool]) -> StaleGate:
        action, names, count, why, already = gates
        return cls(action, tuple(names), count, why, already)
