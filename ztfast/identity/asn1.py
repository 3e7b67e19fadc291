"""The few fields of certificates and CRLs by which grounds are named, read from their DER without changing a byte.

Grounds are digests of the bytes that an authority signed. A library that parses names and keys and writes them again
may give other bytes, and a revocation by these would miss. Nothing here is verified: the verifier does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ztfast.errors import CredentialError

__all__ = ["Fields", "Revocations", "certificate_fields", "crl_fields", "key_bits", "single"]

_BOOLEAN, _INTEGER, _BITS, _SEQUENCE, _UTC, _GENERALIZED = 0x01, 0x02, 0x03, 0x30, 0x17, 0x18
_VERSION = 0xA0
_LONGEST_LENGTH = 4
"""The most bytes of a length: 4 GiB."""

_MOST_SERIAL = 64
"""The most bytes of a serial number. RFC 5280 section 4.1.2.2 allows 20."""


class Fields(NamedTuple):
    """What names a certificate's grounds.

    Attributes:
        serial: The serial number's content, without leading zeros.
        issuer: The DER of the issuer's Name.
        subject: The DER of the subject's Name.
        spki: The DER of the SubjectPublicKeyInfo.
    """

    serial: bytes
    issuer: bytes
    subject: bytes
    spki: bytes


class Revocations(NamedTuple):
    """What a CRL says.

    Attributes:
        issuer: The DER of the issuer's Name.
        serials: The serial numbers' contents, without leading zeros.
    """

    issuer: bytes
    serials: frozenset[bytes]


def single(der: bytes, what: str) -> None:
    """Check that these bytes are exactly one SEQUENCE of DER.

    Raises:
        CredentialError: with code "malformed" if they are not.

    >>> single(bytes.fromhex("3003020105"), "a certificate")
    >>> single(bytes.fromhex("300302010500"), "a certificate")
    Traceback (most recent call last):
    ztfast.errors.CredentialError: a certificate: 1 byte follows the end of its DER
    """
    tag, begin, end = _element(der, 0, len(der), what)
    if tag != _SEQUENCE:
        raise _malformed(what, f"wanted a SEQUENCE at byte 0, but the tag is {tag:#04x}")
    if end != len(der):
        left = len(der) - end
        raise _malformed(what, f"{left:,} byte{'s follow' if left > 1 else ' follows'} the end of its DER")
    if begin == end:
        raise _malformed(what, "it is empty")


def certificate_fields(der: bytes) -> Fields:
    """Read a certificate's fields (RFC 5280 section 4.1).

    Raises:
        CredentialError: with code "malformed" if the DER is none of a certificate.
    """
    what = "the certificate"
    single(der, what)
    body = _inside(der, what)
    fields = [(tag, start, begin, end) for tag, start, begin, end in _children(der, *body, what, most=16)]
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    if [tag for tag, *_ in fields[:6]] != [_INTEGER, *[_SEQUENCE] * 5]:
        raise _malformed(what, "its fields are not those of a certificate")
    whole = [der[start:end] for _, start, _, end in fields[:6]]
    return Fields(_serial(der, fields[0][2], fields[0][3], what), whole[2], whole[4], whole[5])


def crl_fields(der: bytes) -> Revocations:
    """Read a CRL's issuer and the serial numbers that it revokes (RFC 5280 section 5.1).

    Raises:
        CredentialError: with code "malformed" if the DER is none of a CRL.
    """
    what = "the CRL"
    single(der, what)
    fields = list(_children(der, *_inside(der, what), what, most=16))
    if fields and fields[0][0] == _INTEGER:
        del fields[0]
    # signature, issuer, thisUpdate
    tags = [tag for tag, *_ in fields[:3]]
    if tags not in ([_SEQUENCE, _SEQUENCE, _UTC], [_SEQUENCE, _SEQUENCE, _GENERALIZED]):
        raise _malformed(what, "its fields are not those of a CRL")
    issuer = der[fields[1][1] : fields[1][3]]
    left = fields[3:]
    if left and left[0][0] in (_UTC, _GENERALIZED):
        del left[0]
    serials: set[bytes] = set()
    if left and left[0][0] == _SEQUENCE:
        for tag, _, begin, end in _children(der, left[0][2], left[0][3], what, most=len(der)):
            number, content, over = _element(der, begin, end, what) if tag == _SEQUENCE else (0, 0, 0)
            if number != _INTEGER:
                raise _malformed(what, "an entry has no serial number")
            serials.add(_serial(der, content, over, what))
    return Revocations(issuer, frozenset(serials))


def key_bits(spki: bytes) -> bytes:
    """Return the key itself of a SubjectPublicKeyInfo: the content of its BIT STRING, which OCSP hashes.

    Raises:
        CredentialError: with code "malformed" if the DER is none of a key.
    """
    what = "the public key"
    single(spki, what)
    _, begin, end = _element(spki, 0, len(spki), what)
    parts = list(_children(spki, begin, end, what, most=2))
    if [tag for tag, *_ in parts] != [_SEQUENCE, _BITS] or parts[1][3] - parts[1][2] < 1:
        raise _malformed(what, "its fields are not those of a public key")
    return spki[parts[1][2] + 1 : parts[1][3]]


def _malformed(what: str, why: str) -> CredentialError:
    return CredentialError("malformed", f"{what}: {why}")


def _inside(der: bytes, what: str) -> tuple[int, int]:
    """Return where the content of the first element within the outer one begins and ends."""
    _, begin, end = _element(der, 0, len(der), what)
    tag, begin, end = _element(der, begin, end, what)
    if tag != _SEQUENCE:
        raise _malformed(what, f"wanted a SEQUENCE within it, but the tag is {tag:#04x}")
    return begin, end


def _serial(der: bytes, begin: int, end: int, what: str) -> bytes:
    if not 1 <= end - begin <= _MOST_SERIAL:
        raise _malformed(what, f"a serial number has {end - begin:,} bytes; wanted 1 to {_MOST_SERIAL}")
    return der[begin:end].lstrip(b"\0")


def _children(der: bytes, at: int, end: int, what: str, most: int) -> Iterator[tuple[int, int, int, int]]:
    """Walk over the elements in a range: of each the tag, and where it, its content and its end are."""
    for _ in range(most):
        if at == end:
            return
        tag, begin, over = _element(der, at, end, what)
        yield tag, at, begin, over
        at = over
    if at != end:
        raise _malformed(what, f"it has more than {most} fields")


def _element(der: bytes, at: int, end: int, what: str) -> tuple[int, int, int]:
    """Read one element's header: its tag, and where its content begins and ends."""
    if end - at < 2:
        raise _malformed(what, f"its DER is cut off at byte {at:,}")
    tag, length = der[at], der[at + 1]
    begin = at + 2
    if tag & 0x1F == 0x1F:
        raise _malformed(what, f"a tag of several bytes at byte {at:,}")
    if length >= 0x80:
        count = length - 0x80
        if not 1 <= count <= _LONGEST_LENGTH or end - begin < count:
            raise _malformed(what, f"a length that DER does not have at byte {at:,}")
        length = int.from_bytes(der[begin : begin + count], "big")
        begin += count
        # DER has one form for each length.
        if length < 0x80 or length >> (8 * (count - 1)) == 0:
            raise _malformed(what, f"a length that DER does not have at byte {at:,}")
    if length > end - begin:
        raise _malformed(what, f"its DER is cut off: an element at byte {at:,} claims {length:,} bytes")
    return tag, begin, begin + length
