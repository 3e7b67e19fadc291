"""Takes certificates from where they are: DER, PEM, objects of pyca, connections of TLS. Nothing is verified here."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ztfast import plain
from ztfast.errors import ArgumentError, CredentialError
from ztfast.identity import pem
from ztfast.identity.chain import MOST_BYTES, bounded, certificate_object, certificate_of, octets_of
from ztfast.shown import given, one_line, refused

__all__ = ["MOST_IN_CHAIN", "Taken", "binding_of", "others_of", "plain_der", "stapled", "take"]

MOST_IN_CHAIN = 16
"""The most certificates of a chain that are read. A path of a few is verified."""

MOST_OCSP = 1 << 16
"""The most bytes of an OCSP answer."""

_WANTED = "DER, PEM, a certificate of pyca cryptography, or a connection of ssl, asyncio or pyOpenSSL"
_LABEL = b"EXPORTER-Channel-Binding"
_LONG_SEQUENCE = tuple(bytes((0x30, 0x80 + count)) for count in range(1, 5))

_Exports = Callable[[bytes, int, bytes], bytes]


class Taken(NamedTuple):
    """Certificates as DER, the leaf first, and how the connection exports keying material, if it can."""

    leaf: bytes
    others: tuple[bytes, ...]
    exports: _Exports | None


def plain_der(source: Any) -> bytes | None:
    """Return what is DER beyond doubt, as nearly every certificate is that is admitted; ``None`` for all else.

    Raises:
        CredentialError: with code "too-large".

    >>> der = bytes.fromhex("308201") + bytes(300)
    >>> plain_der(der) is der, plain_der(b"-----BEGIN CERTIFICATE-----"), plain_der("0")
    (True, None, None)
    """
    # No text begins so: it is a SEQUENCE of more than 127 bytes.
    if type(source) is bytes and source.startswith(_LONG_SEQUENCE):
        if len(source) > MOST_BYTES:
            bounded(len(source))
        return source
    return None


def take(source: Any) -> Taken:
    """Take the certificates that a source holds.

    Raises:
        ArgumentError: if it is nothing that holds any.
        CredentialError: with code "no-certificate" if the other side of a connection has shown none; "malformed",
            "private-key" or "too-large" for what is given as PEM.
    """
    der = plain_der(source)
    if der is not None:
        return Taken(der, (), None)
    octets = octets_of(source)
    if octets is not None:
        bounded(len(octets))
        if not octets.strip():
            raise _none("the text is empty")
        if not pem.is_pem(octets):
            if plain.is_a(source, str):
                raise refused("x509", "PEM as a text, or DER as bytes", source)
            return Taken(octets, (), None)
        return _chain(pem.blocks(octets, pem.CERTIFICATE, most=MOST_IN_CHAIN), None)
    der = certificate_object(source)
    if der is not None:
        return _chain([der], None)
    return _connected(source)


def others_of(chain: Any) -> tuple[bytes, ...]:
    """Return the further certificates of a chain as DER.

    Raises as :func:`take` does.
    """
    octets = octets_of(chain)
    if octets is not None:
        if not pem.is_pem(octets):
            raise refused("chain", "a list of certificates, or PEM", chain)
        bounded(len(octets))
        return tuple(pem.blocks(octets, pem.CERTIFICATE, most=MOST_IN_CHAIN))
    listed = plain.elements(chain, MOST_IN_CHAIN)
    if listed is None:
        raise refused("chain", f"a list of at most {MOST_IN_CHAIN} certificates, or PEM", chain)
    others = tuple(certificate_of(each) for each in listed)
    bounded(sum(map(len, others)))
    return others


def stapled(ocsp: Any) -> bytes | None:
    """Check the form of a stapled OCSP answer.

    Raises:
        ArgumentError: if it is not bytes.
        CredentialError: with code "too-large".
    """
    if ocsp is None:
        return None
    octets = plain.octets(ocsp)
    if not octets:
        raise refused("ocsp", "an OCSP answer as DER", ocsp)
    if len(octets) > MOST_OCSP:
        raise CredentialError("too-large", f"an OCSP answer of {len(octets):,} bytes; at most {MOST_OCSP:,} are read")
    return octets


def binding_of(binding: Any, taken: Taken) -> bytes | None:
    """Return the channel binding ``tls-exporter`` (RFC 9266): what is given, or what the connection exports.

    Raises:
        ArgumentError: if it is neither 32 bytes nor a flag, or the connection cannot export it.
    """
    on = plain.flag(binding)
    if binding is None or on is False:
        return None
    octets = plain.octets(binding)
    if octets is not None and len(octets) == 32:
        return octets
    if not on:
        raise refused("binding", "True, or 32 bytes that were exported for EXPORTER-Channel-Binding", binding)
    if taken.exports is None:
        why = "the connection exports no keying material: Python's ssl does not, pyOpenSSL with TLS 1.3 does"
        raise ArgumentError(f"binding: {why}")
    try:
        exported = plain.octets(taken.exports(_LABEL, 32, b""))
    except Exception as error:
        raise ArgumentError(f"binding: the connection does not export it: {one_line(str(error))}") from error
    if exported is None or len(exported) != 32:
        raise ArgumentError("binding: the connection exports something else than 32 bytes")
    return exported


def _chain(ders: Iterable[bytes], exports: _Exports | None) -> Taken:
    leaf, *others = ders
    if len(others) >= MOST_IN_CHAIN:
        raise CredentialError("too-many-certificates", f"more than {MOST_IN_CHAIN} certificates")
    bounded(len(leaf) + sum(map(len, others)))
    return Taken(leaf, tuple(others), exports)


def _none(why: str) -> CredentialError:
    return CredentialError("no-certificate", f"no certificate: {why}")


def _connected(source: Any) -> Taken:
    """Take the certificates that the other side of a connection has shown."""
    # pyOpenSSL hands what it does not know itself to its socket.
    openssl = sys.modules.get("OpenSSL.SSL")
    if openssl is not None and plain.is_a(source, openssl.Connection):
        return _of_openssl(source)
    if plain.is_a(source, ssl.SSLSocket) or plain.is_a(source, ssl.SSLObject):
        return _of_ssl(source)
    extra = getattr(type(source), "get_extra_info", None)
    if extra is None:
        raise refused("x509", _WANTED, source)
    try:
        found = extra(source, "ssl_object")
    except Exception as error:
        raise refused("x509", _WANTED, source) from error
    if found is None:
        raise _none("the connection is not of TLS, or it is closed")
    if not plain.is_a(found, ssl.SSLSocket) and not plain.is_a(found, ssl.SSLObject):
        raise refused("x509", f"{_WANTED}; its ssl_object is {given(found)}", source)
    return _of_ssl(found)


def _of_ssl(source: Any) -> Taken:
    kind = ssl.SSLSocket if plain.is_a(source, ssl.SSLSocket) else ssl.SSLObject
    # From Python 3.13 on.
    sent = getattr(kind, "get_unverified_chain", None)
    try:
        leaf = kind.getpeercert(source, True)
        others = [] if sent is None or leaf is None else sent(source)
    except (ValueError, OSError, AttributeError) as error:
        raise _none(f"the handshake is not done, or the connection is closed ({one_line(str(error))})") from error
    if not leaf:
        raise _none("the other side has shown none: ask for it by verify_mode = ssl.CERT_REQUIRED")
    return _chain([leaf, *(each for each in others if each != leaf)], None)


def _of_openssl(source: Any) -> Taken:
    try:
        leaf = source.get_peer_certificate(as_cryptography=True)
        sent = source.get_peer_cert_chain(as_cryptography=True) or []
        version = source.get_protocol_version_name()
    except Exception as error:
        why = one_line(str(error)) or type(error).__name__
        raise _none(f"the handshake is not done, or the connection is closed ({why})") from error
    der = certificate_object(leaf)
    if der is None:
        raise _none("the handshake is not done, or the other side has shown none: ask for it by SSL.VERIFY_PEER")
    others = [each for each in map(certificate_object, sent) if each is not None and each != der]
    # Before TLS 1.3, what is exported is bound to the channel only with an extension that pyOpenSSL does not show.
    return _chain([der, *others], source.export_keying_material if version == "TLSv1.3" else None)
