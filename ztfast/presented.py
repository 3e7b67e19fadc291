"""What an engine asks of a credential that is presented, and of a ground. :mod:`ztfast.identity` has both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ztfast import gate
from ztfast.errors import CredentialError

if TYPE_CHECKING:
    from ztfast import _core
    from ztfast.gate import Session

__all__ = ["Admissible", "AnyCredential", "AnyGround", "Authority", "Fell", "admit_credential"]

TRIES = 3
"""How often a credential is verified if grounds fall meanwhile."""


class AnyGround:
    """What a session rests on, known by a digest: :class:`ztfast.identity.Ground`."""

    __slots__ = ()
    kind: str
    digest: bytes
    shown: str

    @property
    def number(self) -> int:
        """The 64 bits by which sessions keep it."""
        raise NotImplementedError


class Fell(Protocol):
    """What a changed configuration makes fall."""

    @property
    def fell(self) -> tuple[AnyGround, ...]:
        """The grounds that fell."""


class Authority(Protocol):
    """Who verifies a credential: :class:`ztfast.identity.Authorities`."""

    @property
    def epoch(self) -> int:
        """A number that changes with what is believed."""

    def revoked(self) -> Iterable[AnyGround]:
        """Return the grounds that its CRLs revoke."""

    def listen(self, told: Callable[[Any], object]) -> None:
        """Call a function after each change."""


@dataclass(frozen=True, slots=True)
class Admissible:
    """What was verified of a credential, as an engine takes it.

    Attributes:
        row: What the validation table keeps: the certificate's SHA-256, the epoch, the bounds in nanoseconds since the
            epoch, the grounds, the principal, its factors, assurance, region and channel, and what lists show (JSON).
        entity: The principal as an entity in Cedar's JSON, if the rule gives it attributes.
    """

    row: tuple[
        bytes,
        int,
        tuple[int, int],
        list[tuple[str, bytes]],
        tuple[str, str],
        list[str],
        int,
        str | None,
        str | None,
        str,
    ]
    entity: dict[str, Any] | None


class AnyCredential:
    """A credential that an engine can admit: :class:`ztfast.identity.Credential`."""

    __slots__ = ()
    leaf: bytes
    authorities: Authority

    def presented(self) -> tuple[int, int] | None:
        """Check what has to hold whenever it is presented, and tell by what it may be found again.

        Returns:
            The epoch of its authorities, and the number of the ground of the one that has to verify it (0 for any).
            ``None`` if it has to be verified.

        Raises:
            CredentialError: if it is refused.
        """
        raise NotImplementedError

    def admissible(self, now_ns: int) -> Admissible:
        """Verify it, at a time in nanoseconds since the epoch.

        Raises:
            CredentialError: if it is refused.
        """
        raise NotImplementedError


def admit_credential(core: _core.Engine, credential: AnyCredential) -> Session:
    """Open a session for a credential, which is verified if that is not known already.

    Args:
        core: The core of an engine to which the credential's authorities are attached: if they change from now on, it
            is told, also if another process verified this credential.
        credential: The credential.
    """
    told = credential.presented()
    known = None if told is None else core.admit_known(credential.leaf, *told)
    if known is not None:
        return gate.admitted(core, known)
    for left in reversed(range(TRIES)):
        begun = core.credentials.begin()
        found = credential.admissible(core.wall_ns())
        if found.entity is not None:
            core.change(json.dumps([found.entity]), [])
        try:
            return gate.admitted(core, core.admit_verified(found.row, begun))
        except CredentialError as error:
            if error.code != "late" or not left:
                raise
    raise AssertionError
