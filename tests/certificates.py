"""Certificates and CRLs for tests, made by pyca `cryptography`: as the rules want them, or with one thing changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "CLIENT",
    "NOW",
    "NOW_NS",
    "SERVER",
    "Held",
    "authority",
    "chain",
    "crl",
    "key_usage",
    "make",
    "spiffe_authority",
    "spki",
]

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
DAY = dt.timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Held:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_usage(*bits: str) -> x509.KeyUsage:
    known = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    known += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in bits for bit in known})


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def make(
    name: str,
    issuer: Held | None,
    *,
    ca: bool = False,
    path_len: int | None = None,
    uris: Iterable[str] = (),
    begin: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + DAY,
    serial: int | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    points: Iterable[str] = (),
    without: tuple[type[x509.ExtensionType], ...] = (),
    changed: Iterable[Extension] = (),
) -> Held:
    """Make a certificate as the rules want it, without the extensions of some types and with others changed or added."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signing = issuer.key if issuer else key
    issued_by = issuer.certificate.subject if issuer else name_of(name)
    extensions: list[Extension] = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False),
    ]
    if ca:
        extensions.append((x509.BasicConstraints(True, path_len), True))
        extensions.append((key_usage("key_cert_sign", "crl_sign"), True))
    else:
        extensions.append((key_usage("digital_signature"), True))
        extensions.append((x509.ExtendedKeyUsage([CLIENT, SERVER]), False))
    if uris := list(uris):
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        extensions.append((names, not name))
    if points := list(points):
        extensions.append((x509.CRLDistributionPoints([point(uri) for uri in points]), False))
    changed = list(changed)
    replaced = (*without, *(type(extension) for extension, _ in changed))
    kept = [one for one in extensions if not isinstance(one[0], replaced)] + changed
    builder = x509.CertificateBuilder(issued_by, name_of(name), key.public_key())
    builder = builder.serial_number(serial or x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    for extension, critical in kept:
        builder = builder.add_extension(extension, critical)
    return Held(builder.sign(signing, hashes.SHA256()), key)


def point(uri: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(uri)], None, None, None)


def crl(
    issuer: Held,
    *revoked: Held,
    number: int | None = 1,
    begin: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + DAY,
    key: ec.EllipticCurvePrivateKey | None = None,
    extensions: Iterable[Extension] = (),
    name: x509.Name | None = None,
) -> bytes:
    """Make an issuer's CRL of some certificates, in DER."""
    builder = x509.CertificateRevocationListBuilder(name or issuer.certificate.subject, begin, end)
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = builder.add_extension(key_id, False)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for held in revoked:
        entry = x509.RevokedCertificateBuilder(held.certificate.serial_number, begin)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key or issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def chain(*held: Held) -> list[bytes]:
    return [one.der for one in held]


def authority(*anchors: Held, name: str = "desk", **changed: Any) -> dict[str, Any]:
    """Return an authority for TLS clients as `ztfast._core.Verifier` takes it: revocation is checked where it can be."""
    plain = {"name": name, "kind": "x509", "anchors": chain(*anchors), "intermediates": [], "crls": []}
    return plain | {"revocation": "if-present", "pins": [], "max_age_s": None} | changed


def spiffe_authority(bundles: dict[str, list[Held]], name: str = "mesh", **changed: Any) -> dict[str, Any]:
    trust_domains = {domain: chain(*anchors) for domain, anchors in bundles.items()}
    return authority(name=name) | {"kind": "spiffe", "trust_domains": trust_domains} | changed
