"""What an engine does with credentials: it lists those that were verified, and revokes what they rest on for ever."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from ztfast import plain
from ztfast.errors import ArgumentError
from ztfast.presented import AnyGround, Authority, Fell
from ztfast.reports import seconds
from ztfast.shown import one_line, refused
from ztfast.telling import said_of
from ztfast.uid import Uid

if TYPE_CHECKING:
    from ztfast import _core

__all__ = ["CredentialInfo", "CredentialUse", "Credentials", "Revocation"]

_LOG = logging.getLogger("ztfast")


@dataclass(frozen=True, slots=True)
class CredentialInfo:
    """A credential that was verified: a row of the validation table.

    Attributes:
        sha256: The SHA-256 of the certificate, in hexadecimal digits.
        principal: Who that is.
        not_before: The begin of validity, in epoch seconds.
        not_after: The end: the shortest of all its bounds, in epoch seconds.
        verified: When it was verified, in epoch seconds.
        used: When it was last presented, in epoch seconds.
        factors: The factors that it gives a session.
        assurance: How sure that is, from 0 to 7.
        region: The region, if there is one.
        channel: How it was proved, as "x509" or "spiffe".
        has_fallen: Whether something fell that it rests on: it is verified again before it counts.
        grounds: What it rests on: kinds and numbers, each of 16 hexadecimal digits.
        about: What it says of itself: ``subject``, ``issuer``, ``serial``, ``uri``, ``bound_by``, ``authority``,
            ``rule``, as far as there was room.
    """

    sha256: str
    principal: Uid
    not_before: float
    not_after: float
    verified: float
    used: float
    factors: tuple[str, ...]
    assurance: int
    region: str | None
    channel: str | None
    has_fallen: bool
    grounds: tuple[tuple[str, str], ...]
    about: dict[str, Any]

    @classmethod
    def _of(cls, row: dict[str, Any]) -> CredentialInfo:
        return cls(
            sha256=bytes(row["key"]).hex(),
            principal=Uid(*row["principal"]),
            not_before=seconds(row["not_before_ns"]),
            not_after=seconds(row["not_after_ns"]),
            verified=seconds(row["verified_ns"]),
            used=seconds(row["used_ns"]),
            factors=tuple(row["factors"]),
            assurance=row["assurance"],
            region=row["region"],
            channel=row["channel"],
            has_fallen=row["fallen"] is not None,
            grounds=tuple((kind, f"{number:016x}") for kind, number in row["grounds"]),
            about=json.loads(row["shown"] or "{}"),
        )


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """How a validation table is used, by all processes since it was made.

    Attributes:
        found: How often a credential was found that was verified before.
        missed: How often it had to be verified.
        evicted: How many that counted made room for others.
        capacity: How many there can be.
    """

    found: int
    missed: int
    evicted: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """A ground that was revoked, or restored.

    Attributes:
        kind: What it is, as in "key".
        digest: The SHA-256 by which it is known, in hexadecimal digits.
        shown: What it is called.
        by: Who did it.
        reason: Why.
        at: When, by RFC 3339.
        is_revoked: ``False`` if it was restored.
    """

    kind: str
    digest: str
    shown: str
    by: str
    reason: str
    at: str
    is_revoked: bool


class Credentials:
    """The credentials of an engine: the part of :class:`ztfast.Engine` that lists them and revokes their grounds."""

    __slots__ = ()
    _authorities: WeakSet[Authority]
    _attached: Callable[[], Authority | None]
    _core: _core.Engine

    def credentials(self) -> tuple[CredentialInfo, ...]:
        """Return the credentials that were verified, by all processes, as the validation table has them.

        Raises:
            StateError: if the file of the table is refused.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).credentials()
        ()
        """
        return tuple(CredentialInfo._of(row) for row in self._core.credentials.rows())

    @property
    def credential_use(self) -> CredentialUse | None:
        """How the validation table is used; ``None`` before its first use."""
        counted = self._core.credentials.counters()
        return None if counted is None else CredentialUse(*counted)

    def revoked(self) -> tuple[Revocation, ...]:
        """Return what was revoked for ever, by what people call it, and what was restored, the oldest first.

        Raises:
            StateError: if the list is gone or damaged.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.revoked()
        ()
        """
        return tuple(
            Revocation(kind, bytes(digest).hex(), shown, by, reason, at, is_revoked)
            for kind, digest, shown, by, reason, at, is_revoked in self._core.credentials.revoked()
        )

    def restore(self, ground: AnyGround, /, *, by: str, reason: str) -> bool:
        """Let a ground count again that was revoked by mistake. Sessions that ended stay so.

        Args:
            ground: The :class:`ztfast.identity.Ground`.
            by: Who restores it.
            reason: Why.

        Returns:
            Whether it was revoked.

        Raises:
            ArgumentError: if it is no ground, or ``by`` or ``reason`` is empty or too long.
            RoleError: if the engine only decides.
            ForkedError: if the engine was opened before a fork.
            StateError: if the list is gone or damaged, or cannot be written.
        """
        if not plain.is_a(ground, AnyGround):
            raise refused("restore", "a ztfast.identity.Ground", ground)
        said = _said("restore", by, reason)
        restored = self._core.credentials.restore(_told(ground), ground.shown, *said, _now())
        if restored:
            _LOG.info("restored %s by %s: %s", *map(one_line, (ground.shown, *said)))
        return restored

    def _revoke_ground(self, ground: AnyGround, by: str | None, reason: str | None) -> int:
        said = _said("revoke", by, reason)
        _, ended = self._core.credentials.revoke(_told(ground), ground.shown, *said, _now())
        _LOG.info(
            "revoked %s for ever, with %d sessions, by %s: %s", one_line(ground.shown), ended, *map(one_line, said)
        )
        return ended

    def _attach(self, authorities: Authority) -> None:
        """Let this engine be told of changes of authorities. Those that were attached last need not ask again."""
        if authorities not in self._authorities:
            authorities.listen(self._fell)
            self._authorities.add(authorities)
            # What was admitted before this process began may rest on what its authorities know to be revoked.
            self._fall(authorities.revoked(), "their CRLs revoke it")
        self._attached = ref(authorities)

    def _fell(self, change: Fell) -> None:
        """End what rests on grounds that fell because authorities changed."""
        self._fall(change.fell, "the authorities changed")

    def _fall(self, grounds: Iterable[AnyGround], reason: str) -> None:
        numbers = [ground.number for ground in grounds]
        fell, ended = self._core.credentials.fall(numbers, "ztfast.identity", reason) if numbers else (0, 0)
        if fell or ended:
            _LOG.info("authorities: %d credentials and %d sessions fell: %s", fell, ended, reason)


def _said(method: str, by: str | None, reason: str | None) -> tuple[str, str]:
    said = said_of(method, by, reason)
    if said is None or not all(said):
        raise ArgumentError(f"{method}: a ground is revoked and restored for ever: say by= whom and for what reason=")
    return said


def _told(ground: AnyGround) -> tuple[str, bytes]:
    return ground.kind, ground.digest


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
