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
        authority: The name of the one that has to prove it; ``None`` for any.
        binding: The TLS channel that it came by, as RFC 9266's ``tls-exporter``: 32 bytes, or ``None``.
        ocsp: The stapled OCSP answer, as DER, or ``None``.
        proxy: The session of the proxy that forwarded it, or ``None``.
    """

    __slots__ = ("authorities", "authority", "binding", "ocsp", "proxy")
    authorities: Verifies
    authority: str | None
    binding: bytes | None
    ocsp: bytes | None
    proxy: Session | None

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
        # The slots' own functions: these are on the way of every admission, and look nothing up.
        _PUT_AUTHORITIES(self, authorities)
        _PUT_LEAF(self, leaf)
        _PUT_OTHERS(self, others)
        _PUT_AUTHORITY(self, authority)
        _PUT_OCSP(self, ocsp)
        _PUT_BINDING(self, binding)
        _PUT_PROXY(self, proxy)

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
_PUT_AUTHORITIES, _PUT_AUTHORITY = _put(Credential, "authorities"), _put(Credential, "authority")
_PUT_BINDING, _PUT_OCSP, _PUT_PROXY = _put(Credential, "binding"), _put(Credential, "ocsp"), _put(Credential, "proxy")
