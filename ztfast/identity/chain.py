"""A chain of certificates as DER, and the forms in which single certificates are given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Never, Union, cast

from ztfast import plain
from ztfast.errors import ArgumentError, CredentialError
from ztfast.identity import pem
from ztfast.shown import brief, refused

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["MOST_BYTES", "CertificateLike", "Chain", "certificate_object", "certificate_of", "octets_of"]

MOST_BYTES = 1 << 20
"""The most bytes of a certificate or a chain. Verification takes less; this bounds what is read and copied."""


class Chain:
    """A leaf and the other certificates that were sent with it, as DER. It never changes.

    Attributes:
        leaf: The leaf.
        others: The others, in the order in which they were sent.
    """

    __slots__ = ("leaf", "others")
    leaf: bytes
    others: tuple[bytes, ...]

    def __setattr__(self, name: str, value: Never) -> None:
        raise AttributeError(f"{name}: a {type(self).__name__} never changes: make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name}: a {type(self).__name__} never changes: make another")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain):
            return NotImplemented
        return self.leaf == other.leaf and self.others == other.others

    def __hash__(self) -> int:
        return hash((self.leaf, self.others))


CertificateLike = Union[str, bytes, Chain, "Certificate"]
"""A certificate: DER, PEM, an object of pyca ``cryptography``, or a credential, which stands for its leaf."""


def certificate_of(source: Any) -> bytes:
    """Return the DER of the one certificate, or the leaf, that a source holds.

    Raises:
        ArgumentError: if it is neither DER, PEM, an object of pyca ``cryptography``, nor a credential.
        CredentialError: if the PEM is not one certificate, or it is too large.
    """
    if plain.is_a(source, Chain):
        return cast(Chain, source).leaf
    der = certificate_object(source)
    if der is None:
        octets = octets_of(source)
        if octets is None:
            raise refused("certificate", "DER, PEM, a certificate of pyca cryptography, or a credential", source)
        bounded(len(octets))
        der = pem.blocks(octets, pem.CERTIFICATE, most=1)[0] if pem.is_pem(octets) else octets
    bounded(len(der))
    return der


def bounded(size: int) -> None:
    """Refuse what is larger than any chain.

    Raises:
        CredentialError: with code "too-large".
    """
    if size > MOST_BYTES:
        raise CredentialError("too-large", f"certificates of {size:,} bytes; at most {MOST_BYTES:,} are read")


def certificate_object(source: object) -> bytes | None:
    """Return the DER of an object of pyca ``cryptography``; ``None`` for anything else."""
    # Whoever has such an object has imported its module.
    x509 = sys.modules.get("cryptography.x509")
    if x509 is None or not plain.is_a(source, x509.Certificate):
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    return cast("Certificate", source).public_bytes(Encoding.DER)


def octets_of(source: object) -> bytes | None:
    """Return the bytes of a text of PEM, or bytes; ``None`` for anything else.

    Raises:
        ArgumentError: if a text is not of ASCII.
    """
    text = plain.text(source)
    if text is None:
        return plain.octets(source)
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise ArgumentError(f"certificate: PEM has no such characters: {brief(text)!r}") from None
