"""A small PKI for tests, made by pyca: CAs, certificates, CRLs and OCSP answers, each as wrong as a test wants it."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
         "C": NameOID.COUNTRY_NAME}  # fmt: skip
HOUR = datetime.timedelta(hours=1)
_SERIALS = itertools.count(1000)


# ecdsa-with-SHA256 as an AlgorithmIdentifier.
_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")


def element(tag: int, content: bytes) -> bytes:
    """Write an element of DER."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (length if size < 0x80 else bytes([0x80 + len(length)]) + length) + content


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(**attributes: str) -> x509.Name:
    """Make a name of attributes such as ``CN="a7"``."""
    return x509.Name([x509.NameAttribute(NAMES[each], value) for each, value in attributes.items()])


@dataclass(frozen=True)
class Holder:
    """A certificate, and the key of its holder."""

    certificate: x509.Certificate
    private: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def spki(self) -> bytes:
        return self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def issue(
        self,
        subject: x509.Name | None = None,
        *,
        dns: Iterable[str] = (),
        uri: Iterable[str] = (),
        email: Iterable[str] = (),
        ip: Iterable[str] = (),
        ca: bool = False,
        uses: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        serial: int | None = None,
        private: Key | None = None,
        crl_url: str | None = None,
    ) -> Holder:
        """Issue a certificate."""
        private = private or new_key()
        builder = _builder(subject or name(CN="a7", OU="algo", C="DE"), self.certificate.subject, private, ca,
                           not_before, not_after, serial)  # fmt: skip
        names: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.UniformResourceIdentifier, uri),
            *map(x509.RFC822Name, email),
            *(x509.IPAddress(ipaddress.ip_address(each)) for each in ip),
        ]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if uses and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()), critical=False
        )
        return Holder(builder.sign(self.private, _hash(self.private)), private)

    def sign(self, tbs: bytes) -> bytes:
        """Make a certificate, as DER, of anything that it should say: the bytes of a TBSCertificate."""
        assert isinstance(self.private, ec.EllipticCurvePrivateKey)
        signature = self.private.sign(tbs, ec.ECDSA(SHA256()))
        return element(0x30, tbs + _ECDSA + element(0x03, b"\0" + signature))

    def crl(
        self,
        *revoked: Holder | int,
        number: int | None = 1,
        last: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
    ) -> bytes:
        """Make a CRL, as PEM."""
        last = last or now() - HOUR
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(last).next_update(end or now() + HOUR)
        for each in revoked:
            serial = each if isinstance(each, int) else each.certificate.serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(last).build()
            builder = builder.add_revoked_certificate(entry)
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()), critical=False
        )
        return builder.sign(self.private, _hash(self.private)).public_bytes(Encoding.PEM)

    def answer(
        self,
        of: Holder,
        *,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        responder: Holder | None = None,
        begin: datetime.datetime | None = None,
        end: datetime.datetime | str | None = "in an hour",
        algorithm: HashAlgorithm | None = None,
        by_name: bool = False,
        certificates: Sequence[Holder] = (),
        nonce: bool = False,
    ) -> bytes:
        """Make an OCSP answer, as DER, that this CA issued: signed by itself, or by a responder."""
        at = begin or now() - HOUR
        revoked = at if status is ocsp.OCSPCertStatus.REVOKED else None
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=of.certificate, issuer=self.certificate, algorithm=algorithm or SHA256(), cert_status=status,
            this_update=at, next_update=now() + HOUR if isinstance(end, str) else end, revocation_time=revoked,
            revocation_reason=None,
        )  # fmt: skip
        said_by = responder or self
        form = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
        builder = builder.responder_id(form, said_by.certificate)
        listed = [*([responder] if responder else []), *certificates]
        if listed:
            builder = builder.certificates([each.certificate for each in listed])
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(b"asked for"), critical=False)
        return builder.sign(said_by.private, _hash(said_by.private)).public_bytes(Encoding.DER)


def root(subject: x509.Name | None = None, private: Key | None = None, **bounds: Any) -> Holder:
    """Make a root."""
    private = private or new_key()
    subject = subject or name(CN="Desk Root")
    builder = _builder(subject, subject, private, True, bounds.get("not_before"), bounds.get("not_after"), None)
    return Holder(builder.sign(private, _hash(private)), private)


def _hash(private: Key) -> Any:
    return None if isinstance(private, ed25519.Ed25519PrivateKey) else SHA256()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    private: Key,
    ca: bool,
    not_before: datetime.datetime | None,
    not_after: datetime.datetime | None,
    serial: int | None,
) -> x509.CertificateBuilder:
    public = private.public_key()
    usage = x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(next(_SERIALS) if serial is None else serial)
        .not_valid_before(not_before or now() - HOUR)
        .not_valid_after(not_after or now() + 24 * HOUR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
