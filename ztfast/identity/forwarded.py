"""Certificates that a proxy forwards in a header: taken only from an admitted proxy, and only if there is just one.

A client may send such headers, too. What it sends must never be mistaken for what the proxy says, so whatever is
ambiguous is refused: a header that is there twice, in another spelling, or with more than one element.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.message import Message
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ztfast import gate, plain
from ztfast.codes import Code
from ztfast.errors import CredentialError, Error
from ztfast.gate import Session
from ztfast.identity import pem
from ztfast.identity.config import CLIENT_CERT, XFCC, Proxy
from ztfast.identity.sources import MOST_IN_CHAIN
from ztfast.shown import brief, refused
from ztfast.uid import Uid

__all__ = ["Sent", "check_proxy", "read"]

CHAIN = "client-cert-chain"
MOST_HEADERS = 1000
MOST_VALUE = 1 << 17
"""The most bytes of a header. A chain of four, encoded for a URL, has about 10,000."""

_XFCC_KEYS = ("by", "hash", "cert", "chain", "subject", "uri", "dns")
_ONCE = ("hash", "cert", "chain", "subject")

# Envoy, "x-forwarded-client-cert": KEY=VALUE pairs, with ; between them and , between elements. A value with one of
# these or = in it stands in quotes, and quotes in it have a backslash before them.
_PAIR = re.compile(r'(?P<key>[A-Za-z]{1,16})=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^",;=]*))(?P<end>[,;]|\Z)')
_ESCAPED = re.compile(r"\\(.)")
_SPOILT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BINARY = re.compile(r":([A-Za-z0-9+/=]*):")
_HASH = re.compile(r"[0-9a-fA-F]{64}")


class Sent(NamedTuple):
    """What a header says: the leaf, and the other certificates."""

    leaf: bytes
    others: tuple[bytes, ...]


def check_proxy(session: Any, proxies: Mapping[Uid, Proxy]) -> Proxy:
    """Return the proxy whose session this is, if that is live.

    Raises:
        ArgumentError: if it is no session.
        CredentialError: with code "proxy" if it is over, or its principal is no proxy of the configuration.
    """
    if not plain.is_a(session, Session):
        raise refused("forwarded: proxy", "the session of the proxy, as engine.admit gives it", session)
    try:
        code = gate.session_code(session)
    except Error as error:
        raise CredentialError("proxy", f"the proxy's session cannot be asked: {error}") from error
    if code != Code.ALLOW:
        raise CredentialError("proxy", f"the proxy's session is over ({Code(code).name}): admit the proxy again")
    proxy = proxies.get(session.principal)
    if proxy is None:
        shown = brief(str(session.principal))
        raise CredentialError("proxy", f"{shown} is no [[proxy]] of the configuration, so nothing that it says counts")
    return proxy


def read(headers: Any, proxy: Proxy) -> Sent:
    """Return the certificates that a proxy's header says.

    Raises:
        ArgumentError: if these are no headers.
        CredentialError: with code "forwarded" if there is not exactly one certificate of a client, "malformed" if it
            cannot be read, and "no-certificate" if there is none.
    """
    found: dict[str, str] = {}
    for given, value in _pairs(headers):
        # Gateways take _ for -, and some proxies pass such names on.
        name = given.strip().lower().replace("_", "-")
        if name not in (XFCC, CLIENT_CERT, CHAIN):
            continue
        if given.lower() != name:
            raise _ambiguous(f"the name {brief(given)!r} is not that of the header, but could be taken for it")
        if name in found:
            raise _ambiguous(f"the header {name} is there twice")
        found[name] = _value(name, value)
    wanted = (XFCC,) if proxy.header == XFCC else (CLIENT_CERT, CHAIN)
    foreign = [name for name in found if name not in wanted]
    if foreign:
        known = f"{proxy.principal} writes {proxy.header}"
        raise _ambiguous(f"the header {foreign[0]} is there, and {known}: let the proxy remove it, or set header")
    if proxy.header not in found:
        if CHAIN in found:
            raise _ambiguous(f"the header {CHAIN} is there without {CLIENT_CERT}")
        raise CredentialError("no-certificate", f"no certificate: the header {proxy.header} is not there")
    return _xfcc(found[XFCC]) if proxy.header == XFCC else _client_cert(found[CLIENT_CERT], found.get(CHAIN))


def _ambiguous(why: str) -> CredentialError:
    return CredentialError("forwarded", f"forwarded certificates: {why}")


def _malformed(why: str) -> CredentialError:
    return CredentialError("malformed", f"forwarded certificates: {why}")


def _pairs(headers: Any) -> Iterable[tuple[str, Any]]:
    """Return all headers, also those that are there more than once."""
    wanted = "a dict, a list of pairs, or the headers of a framework"
    listed = plain.elements(_walk(headers), MOST_HEADERS)
    if listed is None:
        raise refused("headers", f"{wanted}, of at most {MOST_HEADERS:,}", headers)
    pairs = []
    for each in listed:
        pair = plain.elements(each, 2) if not plain.is_a(each, str) and not plain.is_a(each, bytes) else None
        name = None if pair is None or len(pair) != 2 else _name(pair[0])
        if pair is None or name is None:
            raise refused("headers", wanted, headers)
        pairs.append((name, pair[1]))
    return pairs


def _walk(headers: Any) -> Any:
    if plain.is_a(headers, dict):
        return dict.items(headers)
    if plain.is_a(headers, Message):
        return Message.items(headers)
    # The headers of ASGI frameworks keep what was sent; items() of others may join what is there twice.
    for name in ("raw", "multi_items", "items"):
        if getattr(type(headers), name, None) is None:
            continue
        try:
            held = getattr(headers, name)
            return held() if callable(held) else held
        except Exception as error:
            raise refused("headers", "headers that can be read", headers) from error
    return headers


def _name(given: Any) -> str | None:
    text = plain.text(given)
    if text is not None:
        return text
    octets = plain.octets(given)
    return None if octets is None else octets.decode("latin-1")


def _value(name: str, given: Any) -> str:
    """Return a header's value, if it is one."""
    if plain.is_a(given, list) or plain.is_a(given, tuple):
        listed = plain.elements(given, MOST_HEADERS)
        if listed is None or len(listed) != 1:
            raise _ambiguous(f"the header {name} is there twice, or not at all")
        given = listed[0]
    text = _name(given)
    if text is None:
        raise refused(f"headers: {name}", "a text or bytes", given)
    if len(text) > MOST_VALUE:
        raise CredentialError("too-large", f"the header {name} is longer than {MOST_VALUE:,} bytes")
    text = text.strip(" \t")
    if not text.isascii() or not text.isprintable():
        raise _malformed(f"the header {name} has characters that headers do not have")
    return text


def _xfcc(value: str) -> Sent:
    pairs: dict[str, str] = {}
    at = 0
    while True:
        found = _PAIR.match(value, at)
        if found is None:
            raise _malformed(f"{XFCC} is no KEY=VALUE at character {at + 1}")
        if found["end"] == ",":
            raise _ambiguous(f"{XFCC} has more than one element: the proxy must replace what clients send, not append")
        key = found["key"].lower()
        if key not in _XFCC_KEYS:
            raise _malformed(f"{XFCC} has the key {brief(found['key'])!r}, which Envoy does not write")
        if key in pairs and key in _ONCE:
            raise _ambiguous(f"{XFCC} has the key {key} twice")
        pairs[key] = _ESCAPED.sub(r"\1", found["quoted"]) if found["quoted"] is not None else found["bare"]
        at = found.end()
        if not found["end"]:
            break
    if not pairs.get("cert") and not pairs.get("chain"):
        raise CredentialError(
            "no-certificate", f"{XFCC} has no Cert: let the proxy forward it (set_current_client_cert_details)"
        )
    chain = _decoded(pairs["chain"]) if pairs.get("chain") else []
    [leaf] = _decoded(pairs["cert"], most=1) if pairs.get("cert") else chain[:1]
    if chain and chain[0] != leaf:
        raise _ambiguous(f"{XFCC} has another certificate in Cert than at the beginning of Chain")
    told = pairs.get("hash")
    if told is not None and not (_HASH.fullmatch(told) and bytes.fromhex(told) == sha256(leaf).digest()):
        raise _ambiguous(f"{XFCC} has a Hash that is not its certificate's")
    return Sent(leaf, tuple(chain[1:]))


def _decoded(value: str, most: int = MOST_IN_CHAIN) -> list[bytes]:
    """Decode PEM that is encoded for a URL."""
    if _SPOILT.search(value):
        raise _malformed(f"{XFCC} is not encoded for a URL")
    return pem.blocks(unquote_to_bytes(value), pem.CERTIFICATE, most=most)


def _client_cert(value: str, chain: str | None) -> Sent:
    """Read the fields of RFC 9440: a byte sequence of RFC 8941, and a list of them."""
    if "," in value:
        raise _ambiguous(f"{CLIENT_CERT} has more than one element")
    others: list[bytes] = []
    if chain is not None:
        elements = chain.split(",")
        if len(elements) > MOST_IN_CHAIN:
            raise CredentialError("too-many-certificates", f"{CHAIN} has more than {MOST_IN_CHAIN} certificates")
        others = [_binary(CHAIN, each.strip(" \t")) for each in elements]
    return Sent(_binary(CLIENT_CERT, value), tuple(others))


def _binary(name: str, text: str) -> bytes:
    found = _BINARY.fullmatch(text)
    der = pem.strict_base64(found[1].encode()) if found else None
    if not der:
        raise _malformed(f"{name} is no certificate between colons, in base64, without parameters")
    return der
