"""The configuration of authorities: a file of TOML, or the same as a dict. Errors name the line and what to do."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ztfast.errors import ConfigError, CredentialError, SourceError, UidError
from ztfast.identities import MAX_NAME
from ztfast.identity import asn1, files, pem
from ztfast.identity.lines import lines_of
from ztfast.identity.rules import Rule, read_rule
from ztfast.identity.schema import At, Document
from ztfast.shown import brief, one_line
from ztfast.sources import decoded
from ztfast.uid import Uid

__all__ = ["WORKLOAD_API", "Authority", "Config", "Proxy", "load", "read", "trust_domain_of"]

MOST_CONFIG = 1 << 20
"""The most bytes of a configuration."""

MOST_CERTIFICATES = 4 << 20
"""The most bytes of a file of certificates."""

MOST_CRL = 256 << 20
"""The most bytes of a file of CRLs, and of all CRLs of an authority."""

MOST_ANCHORS = 4096
MOST_PINS = 256
MOST_AUTHORITIES = 64
MOST_RULES = 4096

WORKLOAD_API = "workload-api"
"""In place of a path: the trust domain's bundle comes from the Workload API while the process runs."""

XFCC, CLIENT_CERT = "x-forwarded-client-cert", "client-cert"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority: what its certificates are verified by.

    Attributes:
        name: Its name.
        kind: ``"x509"`` or ``"spiffe"``.
        anchors: The anchors, as DER.
        intermediates: Certificates of CAs that paths may lead over, as DER.
        crls: The CRLs, as DER.
        revocation: ``"required"``, ``"if-present"``, or ``None``: required where a certificate names a CRL.
        pins: The SHA-256 of public keys of which a path must have one; none for any.
        trust_domains: Of a SPIFFE authority: the anchors of each trust domain. ``None`` stands for those that the
            Workload API gives.
        max_age_s: How many seconds a verification is believed; ``None`` for as long as its other bounds allow.
        any_trust_domain: Whether the Workload API may also give trust domains that are not named.
        line: The line on which it stands, if it is of a file.
    """

    name: str
    kind: Literal["x509", "spiffe"]
    anchors: tuple[bytes, ...] = ()
    intermediates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    revocation: str | None = None
    pins: tuple[bytes, ...] = ()
    trust_domains: Mapping[str, tuple[bytes, ...] | None] = field(default_factory=dict)
    max_age_s: int | None = None
    any_trust_domain: bool = False
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that may forward the certificates of its clients.

    Attributes:
        principal: As whom it is admitted.
        header: The header that it writes: ``"x-forwarded-client-cert"`` or ``"client-cert"``.
    """

    principal: Uid
    header: str


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration.

    Attributes:
        authorities: The authorities.
        rules: The rules, in their order.
        proxies: The proxies.
        refresh_s: Every how many seconds it is read anew; ``None`` for never.
        name: The file's name for messages, or ``None``.
        path: The file.
    """

    authorities: tuple[Authority, ...]
    rules: tuple[Rule, ...]
    proxies: tuple[Proxy, ...]
    refresh_s: int | None
    name: str | None
    path: str | None


def load(path: str | os.PathLike[str]) -> Config:
    """Read a configuration from a file of TOML, and all files that it names.

    Raises:
        ConfigError: if a file cannot be read, or something in it is wrong.
    """
    try:
        own = os.path.abspath(os.fsdecode(path))
        os.fsencode(own)
    except (TypeError, UnicodeError, ValueError):
        raise ConfigError(f"wanted the path of a configuration, as 'ztfast.toml'; got {type(path).__name__}") from None
    try:
        found = files.read(own, MOST_CONFIG)
        # As tomllib does it, so that both count the same lines.
        text = decoded(found.content, found.shown).replace("\r\n", "\n")
    except (files.FileError, SourceError) as error:
        raise ConfigError(str(error), own) from error
    try:
        value = tomllib.loads(text)
        lines = {(): 1, **lines_of(text)}
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(found.shown, own, text, str(error)) from None
    except RecursionError:
        raise ConfigError(f"{found.shown}: nested too deeply", own) from None
    return _config(At(value, Document(found.shown, own, lines)), os.path.dirname(own))


def read(value: dict[str, Any], base: str | os.PathLike[str]) -> Config:
    """Read a configuration from a dict, and all files that it names.

    Args:
        value: What the file would say.
        base: The folder that relative paths are relative to.

    Raises:
        ConfigError: if a file cannot be read, or something is wrong.
    """
    try:
        folder = os.path.abspath(os.fsdecode(base))
    except (TypeError, UnicodeError, ValueError):
        raise ConfigError(f"base: wanted the path of a folder; got {type(base).__name__}") from None
    return _config(At(value, Document(None, None, {})), folder)


def trust_domain_of(name: str, at: At | None = None) -> str:
    """Check the name of a trust domain (SPIFFE-ID section 2.1), and return it.

    Raises:
        ConfigError: if it is none.
    """
    if not _TRUST_DOMAIN.fullmatch(name):
        why = f"{brief(name)!r} is no trust domain: wanted small letters, digits, dots, dashes and underscores"
        raise ConfigError(why) if at is None else at.fail(why)
    return name


def _not_toml(shown: str, path: str, text: str, why: str) -> ConfigError:
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", why)
    if found is None:
        return ConfigError(f"{shown}: not TOML: {one_line(why)}", path)
    line = int(found[1]) if found[1] else text.count("\n") + 1
    return ConfigError(f"{shown}:{line}: not TOML: {one_line(why[: found.start()])}", path, line)


def _config(at: At, base: str) -> Config:
    top = at.table("authority", "rule", "proxy", "refresh")
    if "authority" not in top:
        raise at.fail("wanted at least one [[authority]]")
    listed = top["authority"].list("a list: write [[authority]]", least=1)
    if len(listed) > MOST_AUTHORITIES:
        raise top["authority"].fail(f"wanted at most {MOST_AUTHORITIES} authorities")
    authorities: dict[str, Authority] = {}
    for each in listed:
        authority = _authority(each, base)
        if authority.name in authorities:
            raise each.fail(f"there is another authority {brief(authority.name)!r}: give each its own name")
        authorities[authority.name] = authority
    rules = top["rule"].list("a list: write [[rule]]") if "rule" in top else []
    if len(rules) > MOST_RULES:
        raise top["rule"].fail(f"wanted at most {MOST_RULES:,} rules")
    compiled = tuple(read_rule(each, place, authorities) for place, each in enumerate(rules, 1))
    names: dict[str, At] = {}
    for rule, each in zip(compiled, rules, strict=True):
        if rule.name in names:
            raise each.fail(f"there is another rule {brief(rule.name)!r}: give each its own name")
        names[rule.name] = each
    proxies = top["proxy"].list("a list: write [[proxy]]") if "proxy" in top else []
    return Config(
        tuple(authorities.values()),
        compiled,
        _proxies(proxies),
        top["refresh"].duration() if "refresh" in top else None,
        at.document.name,
        at.document.path,
    )


def _proxies(listed: list[At]) -> tuple[Proxy, ...]:
    found: dict[Uid, Proxy] = {}
    for each in listed:
        table = each.table("principal", "header")
        if "principal" not in table:
            raise each.fail("a proxy needs principal, as 'Service::\"edge\"'")
        try:
            uid = Uid.parse(table["principal"].text("a principal's uid"))
        except UidError as error:
            raise table["principal"].fail(one_line(str(error))) from None
        if uid in found:
            raise each.fail("this principal is a proxy already: a proxy writes one header")
        header = table["header"].one_of(XFCC, CLIENT_CERT) if "header" in table else XFCC
        found[uid] = Proxy(uid, header)
    return tuple(found.values())


def _authority(at: At, base: str) -> Authority:
    known = ("name", "kind", "anchors", "intermediates", "crls", "revocation", "max_age", "pins", "trust_domains")
    table = at.table(*known)
    for key in ("name", "kind"):
        if key not in table:
            raise at.fail(f"an authority needs {key}")
    name = table["name"].text("the authority's name", MAX_NAME)
    if not name.isprintable():
        raise table["name"].wrong("a name of characters that can be printed")
    kind = cast(Literal["x509", "spiffe"], table["kind"].one_of("x509", "spiffe"))
    for key in ("anchors", "intermediates") if kind == "spiffe" else ("trust_domains",):
        if key in table:
            other = "its anchors are in trust_domains" if kind == "spiffe" else 'only kind = "spiffe" has them'
            raise table[key].fail(f'an authority of kind = "{kind}" has none: {other}')
    anchors = _certificates(table.get("anchors"), base)
    if kind == "x509" and not anchors:
        raise table.get("anchors", at).fail('wanted at least one file of anchors, as anchors = ["pki/root.pem"]')
    named = table.get("trust_domains")
    revocation = table["revocation"].one_of("required", "if-present") if "revocation" in table else None
    crls = _crls(table.get("crls"), base)
    return Authority(
        name,
        kind,
        anchors,
        _certificates(table.get("intermediates"), base),
        crls,
        revocation,
        _pins(table.get("pins")),
        {} if named is None else _trust_domains(named, base),
        table["max_age"].duration() if "max_age" in table else None,
        any_trust_domain=kind == "spiffe" and named is None,
        line=at.line,
    )


def _files(at: At | None, base: str, most: int) -> Iterable[tuple[At, files.Found]]:
    """Read the files that a list of paths and patterns names, each once."""
    total = 0
    seen: set[str] = set()
    for each in [] if at is None else at.list('a list of paths, as ["pki/root.pem"]'):
        try:
            for path in files.find(each.text("a path"), base):
                real = os.path.realpath(path)
                if real in seen:
                    continue
                seen.add(real)
                found = files.read(path, most - total)
                total += len(found.content)
                yield each, found
        except files.FileError as error:
            raise each.fail(str(error)) from error


def _certificates(at: At | None, base: str) -> tuple[bytes, ...]:
    return _unique(der for each, found in _files(at, base, MOST_CERTIFICATES) for der in _certificates_of(each, found))


def _certificates_of(at: At, found: files.Found) -> list[bytes]:
    def parse(content: bytes) -> list[bytes]:
        if pem.is_pem(content):
            ders = pem.blocks(content, pem.CERTIFICATE, most=MOST_ANCHORS, explained=True)
        else:
            ders = [content]
        for der in ders:
            _no_private_key(der)
            asn1.certificate_fields(der)
        return ders

    return _parsed(at, found, parse)


def _crls(at: At | None, base: str) -> tuple[bytes, ...]:
    def parse(content: bytes) -> list[bytes]:
        ders = pem.blocks(content, pem.CRL, most=MOST_ANCHORS, explained=True) if pem.is_pem(content) else [content]
        for der in ders:
            asn1.single(der, "the CRL")
        return ders

    return _unique(der for each, found in _files(at, base, MOST_CRL) for der in _parsed(each, found, parse))


def _parsed(at: At, found: files.Found, parse: Callable[[bytes], list[bytes]]) -> list[bytes]:
    try:
        return parse(found.content)
    except CredentialError as error:
        raise at.fail(f"{found.shown}: {error}") from error


def _no_private_key(der: bytes) -> None:
    """Refuse a private key in DER: PKCS8, PKCS1, SEC1 and PKCS12 begin with a version, certificates do not."""
    asn1.single(der, "the certificate")
    begin = 2 + (der[1] - 0x80 if der[1] >= 0x80 else 0)
    if der[begin] == 0x02:
        raise CredentialError("private-key", "a private key or a PKCS12 file: keep it elsewhere, and give certificates")


def _unique(ders: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(ders))


def _pins(at: At | None) -> tuple[bytes, ...]:
    if at is None:
        return ()
    listed = at.list('a list of pins, as ["sha256/...", "sha256/..."]')
    if len(listed) > MOST_PINS:
        raise at.fail(f"wanted at most {MOST_PINS} pins")
    pins: dict[bytes, At] = {}
    for each in listed:
        text = each.text("a pin")
        head, _, tail = text.partition("/")
        digest = pem.strict_base64(tail.encode()) if head == "sha256" else None
        if digest is None or len(digest) != 32:
            raise each.wrong("a pin: sha256/ and the base64 of the SHA-256 of a SubjectPublicKeyInfo, 44 characters")
        if digest in pins:
            raise each.fail("this pin is there already")
        pins[digest] = each
    if len(pins) < 2:
        raise at.fail("wanted at least two pins: one in use, and a backup for the day when that key is lost")
    return tuple(pins)


def _trust_domains(at: At, base: str) -> dict[str, tuple[bytes, ...] | None]:
    found: dict[str, tuple[bytes, ...] | None] = {}
    for name, each in at.table().items():
        trust_domain_of(name, each)
        path = each.text(f'the path of its bundle, or "{WORKLOAD_API}"')
        if path == WORKLOAD_API:
            found[name] = None
            continue
        try:
            listed = [files.read(one, MOST_CERTIFICATES) for one in files.find(path, base)]
        except files.FileError as error:
            raise each.fail(str(error)) from error
        found[name] = _unique(der for one in listed for der in _bundle_of(each, one))
    if not found:
        raise at.fail("wanted at least one trust domain; without the key, those that the Workload API gives")
    return found


def _bundle_of(at: At, found: files.Found) -> list[bytes]:
    if not found.content.lstrip(b" \t\r\n").startswith(b"{"):
        return _certificates_of(at, found)

    def parse(content: bytes) -> list[bytes]:
        ders = [_jwk(each) for each in _keys(content) if isinstance(each, dict) and each.get("use") == "x509-svid"]
        if not ders:
            raise CredentialError("malformed", 'the bundle has no key with "use": "x509-svid"')
        for der in ders:
            asn1.certificate_fields(der)
        return ders

    return _parsed(at, found, parse)


def _keys(content: bytes) -> list[Any]:
    """Read the keys of a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4)."""
    try:
        value = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise CredentialError("malformed", f"the bundle is no JSON: {one_line(str(error))}") from None
    keys = value.get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_ANCHORS:
        raise CredentialError("malformed", 'the bundle has no list "keys"')
    return keys


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _jwk(key: dict[str, Any]) -> bytes:
    """Return the certificate of a key for X509-SVIDs: it has exactly one, and no kid (X509-SVID section 6.2)."""
    listed = key.get("x5c")
    if "kid" in key:
        raise CredentialError("malformed", "a key for X509-SVIDs has a kid, which only those for JWT-SVIDs have")
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], str):
        raise CredentialError("malformed", "a key for X509-SVIDs needs x5c with exactly one certificate")
    der = pem.strict_base64(listed[0].encode("utf-8", "replace"))
    if der is None:
        raise CredentialError("malformed", "a certificate in x5c is not base64")
    return der
