"""A credential: certificates that somebody presented, with whom to ask about them. Nothing of it is verified yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple, Protocol, final

from ztfast import _core
from ztfast.errors import Error
from ztfast.gate import Session
from ztfast.identity.chain import Chain
from ztfast.identity.grounds import Ground
from ztfast.identity.proved import Proved
from ztfast.identity.rules import Mapped
from ztfast.presented import Admissible, AnyCredential, Authority
from ztfast.shown import brief

MOST_SHOWN = 120
"""The most characters that lists show of a name."""

__all__ = ["Credential", "Verified", "Verifies"]


class Verified(NamedTuple):
    """What a verification gives.

    Attributes:
        proved: What was proved.
        mapped: What the rules make of it.
    """

    proved: Proved
    mapped: Mapped


class _More(NamedTuple):
    """What few credentials have."""

    authority: str | None
    binding: bytes | None
    ocsp: bytes | None
    proxy: Session | None


class Verifies(Authority, Protocol):
    """What verifies credentials: :class:`ztfast.identity.Authorities`."""

    def check(self, credential: Credential) -> None:
        """Check what has to hold at each admission."""

    def verify(self, credential: Credential, now_ns: int | None = None) -> Verified:
        """Verify a credential."""


@final
class Credential(Chain, AnyCredential):
    """A credential that :meth:`ztfast.identity.Authorities.x509` or ``forwarded`` took; it never changes.

    ``engine.admit(credential)`` verifies it, or finds that it was verified already. Two of the same certificates are
    equal.

    Attributes:
        leaf: The leaf certificate, as DER.
        others: The other certificates that came with it, as DER.
        authorities: The authorities that verify it.
    """

    # Most credentials have no more than a leaf, and what makes them is on the way of every admission.
    __slots__ = ("_more", "authorities")
    authorities: Verifies
    _more: _More | None

    def __init__(
        self,
        authorities: Verifies,
        leaf: bytes,
        others: tuple[bytes, ...] = (),
        authority: str | None = None,
        ocsp: bytes | None = None,
        binding: bytes | None = None,
        proxy: Session | None = None,
    ) -> None:
        # The slots' own functions look nothing up.
        _PUT_AUTHORITIES(self, authorities)
        _PUT_LEAF(self, leaf)
        _PUT_OTHERS(self, others)
        has_more = authority is not None or ocsp is not None or binding is not None or proxy is not None
        _PUT_MORE(self, _More(authority, binding, ocsp, proxy) if has_more else None)

    @property
    def authority(self) -> str | None:
        """The name of the authority that has to prove it; ``None`` for any."""
        return None if self._more is None else self._more.authority

    @property
    def binding(self) -> bytes | None:
        """The TLS channel that it came by, as RFC 9266's ``tls-exporter``: 32 bytes, or ``None``."""
        return None if self._more is None else self._more.binding

    @property
    def ocsp(self) -> bytes | None:
        """The stapled OCSP answer, as DER, or ``None``."""
        return None if self._more is None else self._more.ocsp

    @property
    def proxy(self) -> Session | None:
        """The session of the proxy that forwarded it, or ``None``."""
        return None if self._more is None else self._more.proxy

    def verify(self, now_ns: int | None = None) -> Verified:
        """Verify it now, and map it. Nothing is remembered: ``engine.admit`` does that.

        Args:
            now_ns: The time, in nanoseconds since the epoch; by default that of the call.

        Raises:
            CredentialError: if it is refused; the code says why.
            ForkedError: if the authorities were loaded before a fork.
        """
        return self.authorities.verify(self, now_ns)

    def check(self) -> None:
        """Check what has to hold at each admission, also if it was verified before: that its proxy's session is live.

        Raises:
            CredentialError: with code "proxy" if a proxy forwarded it whose session is over, or that is none any more.
        """
        self.authorities.check(self)

    def presented(self) -> tuple[int, int] | None:
        if self._more is None:
            return self.authorities.epoch, 0
        if self.proxy is not None:
            self.check()
        if self.ocsp is not None:
            return None
        authority = 0 if self.authority is None else Ground.authority(self.authority).number
        return self.authorities.epoch, authority

    def admissible(self, now_ns: int) -> Admissible:
        proved, mapped = self.verify(now_ns)
        about = {
            "subject": ", ".join(f"{name}={value}" for name, value in proved.subject),
            "issuer": proved.issuer,
            "serial": proved.serial,
            "uri": ", ".join(proved.uri),
            "bound_by": proved.bound_by,
            "authority": proved.authority,
            "rule": mapped.rule,
        }
        row = (
            self.fingerprint,
            proved.epoch,
            (proved.not_before_ns, proved.not_after_ns),
            [(ground.kind, ground.digest) for ground in proved.grounds],
            (mapped.principal.type, mapped.principal.id),
            list(mapped.factors),
            mapped.assurance,
            mapped.region,
            proved.kind,
            json.dumps({name: value[:MOST_SHOWN] for name, value in about.items() if value}, ensure_ascii=False),
        )
        uid = {"type": mapped.principal.type, "id": mapped.principal.id}
        entity = {"uid": uid, "attrs": dict(mapped.attributes), "parents": []} if mapped.attributes else None
        return Admissible(row, entity)

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the leaf."""
        return sha256(self.leaf).digest()

    def __repr__(self) -> str:
        try:
            subject = _core.inspect_certificate(self.leaf)["subject"]
            shown = brief(", ".join(f"{name}={value}" for name, value in subject)) or "no subject"
        except Error:
            shown = "not a certificate"
        return f"<ztfast.identity.Credential {shown}, sha256 {self.fingerprint.hex()[:16]}, not verified>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a credential belongs to its authorities: send the certificates, and take them there")


def _put(owner: type, name: str) -> Callable[[Credential, object], None]:
    """Return the function that sets a slot."""
    put: Callable[[Credential, object], None] = vars(owner)[name].__set__
    return put


_PUT_LEAF, _PUT_OTHERS = _put(Chain, "leaf"), _put(Chain, "others")
_PUT_AUTHORITIES, _PUT_MORE = _put(Credential, "authorities"), _put(Credential, "_more")
