"""What an agent issued is checked before anyone is served it: SPIFFE ids, trust anchors, SVIDs and their keys.

Source: the SPIFFE standards SPIFFE-ID, section 2, and X509-SVID, sections 2 to 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from ztfast.identity.workload_api import Issued
from ztfast.shown import brief

__all__ = ["Anchor", "Bad", "Svid", "anchors", "checked", "parsed_id", "trust_domain_of"]

T = TypeVar("T")
E = TypeVar("E", bound=x509.ExtensionType)

_ID = re.compile(r"spiffe://(?P<domain>[a-z0-9._-]{1,255})(?P<path>(?:/[A-Za-z0-9._-]+)+)", re.ASCII)
_DOMAIN = re.compile(r"(?:spiffe://)?([a-z0-9._-]{1,255})", re.ASCII)
_MAX_ID = 2048
_MAX_CHAIN = 10
_MAX_ANCHORS = 100
# What cryptography raises for what it cannot read: it reads extensions and keys only where they are asked for.
_UNREADABLE = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


class Bad(Exception):
    """What the agent issued is refused; the message says why."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A trust anchor of a trust domain.

    Attributes:
        der: The certificate in DER.
        not_after: The end of its validity in epoch seconds.
    """

    der: bytes
    not_after: float


@dataclass(frozen=True, slots=True)
class Svid:
    """Our own X509-SVID: what we show to others, and the key by which we prove that it is ours.

    Attributes:
        spiffe_id: For example ``"spiffe://bank.example/algo/a7"``.
        leaf: The certificate in DER.
        chain: The intermediates between it and the trust anchors in DER, the leaf's issuer first. Often there is none.
        key: The private key, PKCS#8 in PEM, unencrypted. ``repr`` does not show it.
        not_before: The time in epoch seconds from which it is valid.
        not_after: The time in epoch seconds from which it is no longer served: the first at which the leaf, an
            intermediate or the trust anchor ends.
    """

    spiffe_id: str
    leaf: bytes
    chain: tuple[bytes, ...]
    key: str = field(repr=False)
    not_before: float
    not_after: float

    @property
    def trust_domain(self) -> str:
        """The trust domain of the SPIFFE id, for example ``"bank.example"``."""
        return trust_domain_of(self.spiffe_id)

    @property
    def pem(self) -> str:
        """The leaf and its chain in PEM, as servers and clients of TLS want them."""
        return "".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode() for der in (self.leaf, *self.chain)
        )


def parsed_id(text: str) -> tuple[str, str]:
    """Return the trust domain and the path of a workload's SPIFFE id (SPIFFE-ID, section 2).

    >>> parsed_id("spiffe://bank.example/algo/a7")
    ('bank.example', '/algo/a7')

    Raises:
        Bad: if it is not a SPIFFE id, or is one of a trust domain itself.
    """
    found = _ID.fullmatch(text) if len(text) <= _MAX_ID else None
    if found is None or {".", ".."} & set(found["path"].split("/")):
        raise Bad(f"{brief(text)!r} is no SPIFFE id of a workload")
    return found["domain"], found["path"]


def trust_domain_of(text: str) -> str:
    """Return the trust domain of a SPIFFE id, or of the name or id of a trust domain itself.

    >>> trust_domain_of("spiffe://bank.example"), trust_domain_of("bank.example")
    ('bank.example', 'bank.example')

    Raises:
        Bad: if it is none of these.
    """
    found = _DOMAIN.fullmatch(text)
    return found[1] if found else parsed_id(text)[0]


def anchors(bundle: bytes, now: float) -> tuple[Anchor, ...]:
    """Read the trust anchors of a trust domain. Those that have ended are left out.

    Raises:
        Bad: if a certificate cannot be read or is no CA's, or there is none that is still valid.
    """
    found = _certificates(bundle, "the bundle", _MAX_ANCHORS)
    if not found:
        raise Bad("the bundle is empty")
    for one in found:
        _check_ca(one, "a trust anchor")
    valid = tuple(Anchor(_der(one), _end(one)) for one in found if now < _end(one))
    if not valid:
        raise Bad("every trust anchor of the bundle has expired")
    return valid


def checked(issued: Issued, trusted: Iterable[Anchor], now: float) -> Svid:
    """Check one of our SVIDs against its key and the trust anchors of its trust domain.

    Raises:
        Bad: if it breaks a rule of X509-SVID, is of another SPIFFE id than the agent says, does not fit its key,
            leads to none of the anchors, or is not valid now.
    """
    parsed_id(issued.spiffe_id)
    path = _certificates(issued.certificates, "the SVID", _MAX_CHAIN)
    if not path:
        raise Bad("the agent sent no certificate with the SVID")
    _check_leaf(path[0], issued.spiffe_id)
    key = _key(issued.key, path[0])
    for one in path[1:]:
        _check_ca(one, "an intermediate of the SVID")
    roots = [one for anchor in trusted for one in _certificates(anchor.der, "a trust anchor", 1)]
    above = [one for one in roots if _issued_by(path[-1], one)]
    if not above or not all(map(_issued_by, path, path[1:])):
        raise Bad("the SVID leads to none of its trust domain's anchors")
    begin = max(one.not_valid_before_utc.timestamp() for one in path)
    end = min(*map(_end, path), max(map(_end, above)))
    if not begin <= now < end:
        raise Bad("the SVID has expired" if end <= now else "the SVID is not valid yet: compare the clocks")
    return Svid(issued.spiffe_id, _der(path[0]), tuple(map(_der, path[1:])), key, begin, end)


def _certificates(data: bytes, what: str, most: int) -> list[x509.Certificate]:
    """Read certificates in DER that lie one after another."""
    found: list[x509.Certificate] = []
    at = 0
    while at < len(data):
        size = _size(data, at)
        if size is None or at + size > len(data):
            raise Bad(f"{what} is not a row of certificates in DER")
        if len(found) == most:
            raise Bad(f"{what} has more than {most} certificates")
        load = partial(x509.load_der_x509_certificate, data[at : at + size])
        found.append(_read(f"{what} has a certificate that cannot be read", load))
        at += size
    return found


def _size(data: bytes, at: int) -> int | None:
    """Return the size of a SEQUENCE with its head (X.690, section 8.1.3)."""
    if data[at] != 0x30 or at + 2 > len(data):
        return None
    first = data[at + 1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if not 1 <= octets <= 4 or at + 2 + octets > len(data):
        return None
    return 2 + octets + int.from_bytes(data[at + 2 : at + 2 + octets], "big")


def _read(what: str, reader: Callable[[], T]) -> T:
    try:
        return reader()
    except _UNREADABLE as error:
        raise Bad(f"{what}: {brief(str(error))}") from None


def _extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    def found() -> x509.Extension[E] | None:
        try:
            return certificate.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None

    return _read("an extension cannot be read", found)


def _check_ca(certificate: x509.Certificate, what: str) -> None:
    basic, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
    if basic is None or not basic.value.ca or (usage is not None and not usage.value.key_cert_sign):
        raise Bad(f"{what} is no CA's certificate")


def _check_leaf(leaf: x509.Certificate, spiffe_id: str) -> None:
    """Check what section 4 of X509-SVID wants of a leaf."""
    basic, usage = _extension(leaf, x509.BasicConstraints), _extension(leaf, x509.KeyUsage)
    if basic is not None and basic.value.ca:
        raise Bad("the SVID is a CA's certificate")
    if usage is None or not usage.critical or not usage.value.digital_signature:
        raise Bad("the SVID's key usage is missing, not critical or not for signatures")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise Bad("the SVID's key may sign certificates or CRLs")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    both = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    if purposes is not None and not both <= set(purposes.value):
        raise Bad("the SVID is not for clients and servers")
    names = _extension(leaf, x509.SubjectAlternativeName)
    uris = [] if names is None else names.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Bad(f"the SVID has {len(uris)} URIs as names; it must have one")
    if uris[0] != spiffe_id:
        raise Bad(f"the SVID is {brief(uris[0])}'s, and the agent says {brief(spiffe_id)}")


def _key(der: bytes, leaf: x509.Certificate) -> str:
    """Return the key in PEM, if it is the leaf's."""
    key = _read("the SVID's key cannot be read", lambda: load_der_private_key(der, None))
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise Bad("the SVID's key is neither ECDSA nor Ed25519 nor RSA")
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own != _read("the SVID's key cannot be read", lambda: _public(leaf)):
        raise Bad("the SVID does not fit its key")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
