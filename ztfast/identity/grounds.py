"""Grounds: what a session rests on, and by what it can be ended."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from ztfast import plain
from ztfast.errors import CredentialError
from ztfast.identity import asn1, pem
from ztfast.identity.chain import CertificateLike, certificate_of, octets_of
from ztfast.presented import AnyGround
from ztfast.shown import brief, refused
from ztfast.uid import Uid, UidLike

__all__ = ["KINDS", "Ground"]

KINDS = ("certificate", "serial", "key", "issuer", "authority", "principal")
"""The kinds of grounds."""

_WRITTEN = re.compile(rf"({'|'.join(KINDS)}):([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True, repr=False)
class Ground(AnyGround):
    """What a session rests on: a certificate, its key, its issuer, the authority that it was verified by.

    A ground is known by a digest, so that it can be kept and compared without what it stands for. Two are equal if
    their kinds and digests are. ``str(ground)`` is read again by :meth:`parse`.

    Attributes:
        kind: ``"certificate"``, ``"serial"``, ``"key"``, ``"issuer"``, ``"authority"`` or ``"principal"``.
        digest: The SHA-256 by which it is known: 32 bytes.
        shown: What it is called in messages.

    >>> ground = Ground.principal('Algo::"a7"')
    >>> ground
    <ztfast.identity.Ground principal Algo::"a7">
    >>> Ground.parse(str(ground)) == ground
    True
    """

    kind: str
    digest: bytes
    shown: str = field(default="", compare=False)

    @classmethod
    def certificate(cls, source: CertificateLike) -> Self:
        """Return the ground of one certificate: a renewed one is another, also with the same key.

        Args:
            source: The certificate, as DER, PEM, an object of pyca ``cryptography``, or a credential with it.

        Raises:
            ArgumentError: if it is none of these.
            CredentialError: if it is no certificate.
        """
        der = certificate_of(source)
        asn1.certificate_fields(der)
        digest = sha256(der).digest()
        return cls._of("certificate", digest, f"certificate {digest.hex()[:16]}")

    @classmethod
    def key(cls, source: CertificateLike) -> Self:
        """Return the ground of a public key: a leaf's or a CA's. A renewed certificate may have the same key.

        Args:
            source: A certificate, as for :meth:`certificate`; a public key in PEM; or a pin, ``"sha256/..."``.

        Raises:
            ArgumentError: if it is none of these.
            CredentialError: if it is no certificate and no key.
        """
        pin = cls._pinned(source)
        if pin is None:
            octets = octets_of(source)
            if octets is not None and b"-----BEGIN PUBLIC KEY-----" in octets:
                [spki] = pem.blocks(octets, pem.PUBLIC_KEY, most=1)
                asn1.key_bits(spki)
            else:
                spki = asn1.certificate_fields(certificate_of(source)).spki
            pin = sha256(spki).digest()
        return cls.pinned_key(pin)

    @classmethod
    def pinned_key(cls, pin: bytes) -> Self:
        """Return the ground of a public key, by the SHA-256 of its SubjectPublicKeyInfo."""
        return cls._of("key", pin, f"key {pin.hex()[:16]}")

    @classmethod
    def serial(cls, source: CertificateLike) -> Self:
        """Return the ground of a certificate's issuer and serial number, by which CRLs name it.

        Raises as :meth:`certificate` does.
        """
        fields = asn1.certificate_fields(certificate_of(source))
        return cls.revoked_serial(fields.issuer, fields.serial)

    @classmethod
    def revoked_serial(cls, issuer: bytes, serial: bytes) -> Self:
        """Return the ground of a serial number, by the DER of its issuer's Name and its content."""
        number = serial.lstrip(b"\0")
        return cls._of("serial", sha256(issuer).digest() + number, f"serial {number.hex() or '0'}")

    @classmethod
    def issuer(cls, source: CertificateLike) -> Self:
        """Return the ground of the issuer that a certificate names: of all that it issued.

        Raises as :meth:`certificate` does.
        """
        digest = sha256(asn1.certificate_fields(certificate_of(source)).issuer).digest()
        return cls._of("issuer", digest, f"issuer {digest.hex()[:16]}")

    @classmethod
    def authority(cls, name: str) -> Self:
        """Return the ground of an authority of the configuration: of all that it proved.

        Raises:
            ArgumentError: if the name is no text.
        """
        own = plain.text(name)
        if not own or not plain.is_utf8(own):
            raise refused("authority", "the name of an authority", name)
        return cls._of("authority", own.encode(), f"authority {brief(own)}")

    @classmethod
    def principal(cls, uid: UidLike) -> Self:
        """Return the ground of a principal, whatever proved it.

        Raises:
            UidError: if it is no uid.
        """
        own = Uid.of(uid)
        return cls._of("principal", own.type.encode() + b"\0" + own.id.encode(), f"principal {brief(str(own))}")

    @classmethod
    def of_digest(cls, kind: str, digest: bytes) -> Self:
        """Return the ground of a kind and a digest that are known already.

        Raises:
            ArgumentError: if there is no such kind, or the digest has not 32 bytes.
        """
        own = plain.octets(digest)
        if kind not in KINDS or own is None or len(own) != 32:
            raise refused("ground", f"a kind ({', '.join(KINDS)}) and 32 bytes", (kind, digest))
        return cls(kind, own, f"{kind} {own.hex()[:16]}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` writes of a ground.

        Raises:
            ArgumentError: if it is something else.

        >>> Ground.parse("key:" + "ab" * 32)
        <ztfast.identity.Ground key abababababababab>
        """
        own = plain.text(text)
        found = _WRITTEN.fullmatch(own) if own is not None else None
        if found is None:
            kinds = ", ".join(KINDS)
            raise refused("ground", f"a kind ({kinds}), a colon and 64 hexadecimal digits, as 'key:ab12...'", text)
        return cls.of_digest(found[1], bytes.fromhex(found[2]))

    @property
    def number(self) -> int:
        """The 64 bits by which sessions keep it."""
        return int.from_bytes(self.digest[:8], "big") or 1

    def __str__(self) -> str:
        return f"{self.kind}:{self.digest.hex()}"

    def __repr__(self) -> str:
        return f"<ztfast.identity.Ground {self.shown}>"

    @classmethod
    def _of(cls, kind: str, data: bytes, shown: str) -> Self:
        # The kind stands in what is hashed, so that no data of one kind is a ground of another.
        return cls(kind, sha256(b"ztfast:" + kind.encode() + b":" + data).digest(), shown)

    @staticmethod
    def _pinned(source: object) -> bytes | None:
        text = plain.text(source)
        if text is None or not text.startswith("sha256/"):
            return None
        digest = pem.strict_base64(text.removeprefix("sha256/").encode("utf-8", "replace"))
        if digest is None or len(digest) != 32:
            raise CredentialError(
                "malformed", f"a pin: wanted sha256/ and 44 characters of base64; got {brief(text)!r}"
            )
        return digest
