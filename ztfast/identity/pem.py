"""PEM (RFC 7468), read strictly: only the blocks that are wanted, and nothing that is not base64 in them."""

from __future__ import annotations

import base64
import binascii
import re

from ztfast.errors import CredentialError
from ztfast.identity.asn1 import single
from ztfast.shown import brief

__all__ = ["CERTIFICATE", "CRL", "PUBLIC_KEY", "blocks", "is_pem", "strict_base64"]

CERTIFICATE, CRL, PUBLIC_KEY = "CERTIFICATE", "X509 CRL", "PUBLIC KEY"

_BEGIN = re.compile(rb"-----BEGIN ([^\r\n-]{0,64})-----")
_SPACE = re.compile(rb"[ \t\r\n]+")


def is_pem(data: bytes) -> bool:
    """Return whether bytes are PEM rather than DER.

    >>> is_pem(b"-----BEGIN CERTIFICATE-----"), is_pem(bytes.fromhex("3082"))
    (True, False)
    """
    return b"-----BEGIN " in data


def blocks(data: bytes, label: str, *, most: int, explained: bool = False) -> list[bytes]:
    """Return the content of all blocks of a PEM text, each exactly one SEQUENCE of DER.

    Args:
        data: The text.
        label: The label that each block must have.
        most: The most blocks.
        explained: Whether other text may stand between the blocks, as tools write it into files.

    Raises:
        CredentialError: with code "malformed" if there is no block, one has another label, is not base64 or not DER;
            with code "private-key" if one is a private key, and "too-many-certificates" if there are too many.
    """
    found: list[bytes] = []
    at = 0
    while begin := _BEGIN.search(data, at):
        _between(data[at : begin.start()], explained)
        given = begin[1].decode("ascii", "backslashreplace")
        if given.endswith("PRIVATE KEY"):
            raise CredentialError("private-key", "PEM: a private key: keep it elsewhere, and replace it if it leaked")
        if given != label:
            raise _malformed(f"wanted blocks BEGIN {label}; got BEGIN {brief(given)}")
        if len(found) == most:
            raise CredentialError("too-many-certificates", f"PEM: more than {most:,} blocks")
        end = data.find(b"-----END " + begin[1] + b"-----", begin.end())
        if end < 0:
            raise _malformed(f"the block BEGIN {label} has no END")
        der = strict_base64(_SPACE.sub(b"", data[begin.end() : end]))
        if der is None:
            raise _malformed(f"block {len(found) + 1} is not base64")
        single(der, f"PEM: block {len(found) + 1}")
        found.append(der)
        at = end + len(begin[1]) + len(b"-----END -----")
    _between(data[at:], explained)
    if not found:
        raise _malformed(f"wanted a block BEGIN {label}")
    return found


def strict_base64(text: bytes) -> bytes | None:
    """Decode base64 as RFC 4648 section 4 writes it; ``None`` for anything else, also for bits beyond the last byte.

    >>> strict_base64(b"AQ=="), strict_base64(b"AR=="), strict_base64(b"AQ")
    (b'\\x01', None, None)
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded) == text else None


def _between(text: bytes, explained: bool) -> None:
    """Check what stands outside of blocks."""
    if b"-----" in text and (not explained or b"-----END" in text or b"-----BEGIN" in text):
        raise _malformed("a line of dashes outside of a block")
    if not explained and text.strip(b" \t\r\n"):
        raise _malformed(f"text outside of a block: {brief(text.strip().decode('utf-8', 'backslashreplace'))!r}")


def _malformed(why: str) -> CredentialError:
    return CredentialError("malformed", f"PEM: {why}")
