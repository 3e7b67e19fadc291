"""Grounds: what names a certificate, its key, its serial number, its issuer and a principal, whatever form it is given in."""

from __future__ import annotations

import base64
import copy
import pickle
import time
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import ztfast
from tests.identity import pki
from ztfast import _core
from ztfast.identity import CredentialError, Ground, asn1, pem
from ztfast.identity.credential import Credential
from ztfast.identity.grounds import KINDS

CA = pki.root()
LEAF = CA.issue(serial=0x00F1)
RSA = rsa.generate_private_key(65537, 2048)


class Nobody:
    """What asks nothing of authorities."""

    epoch = 0

    def check(self, credential: Credential) -> None:
        raise AssertionError

    def verify(self, credential: Credential, now_ns: int | None = None) -> Any:
        raise AssertionError


def test_a_ground_is_a_digest_of_its_kind_and_its_data() -> None:
    for ground, data in (
        (Ground.certificate(LEAF.der), sha256(LEAF.der).digest()),
        (Ground.key(LEAF.der), sha256(LEAF.spki).digest()),
        (Ground.serial(LEAF.der), sha256(CA.certificate.subject.public_bytes()).digest() + b"\xf1"),
        (Ground.issuer(LEAF.der), sha256(CA.certificate.subject.public_bytes()).digest()),
        (Ground.authority("désk"), "désk".encode()),
        (Ground.principal('Desk::Algo::"a"'), b"Desk::Algo\0a"),
    ):
        assert ground.digest == sha256(b"ztfast:" + ground.kind.encode() + b":" + data).digest()
        assert ground.number == int.from_bytes(ground.digest[:8], "big")
    assert Ground.of_digest("key", bytes(32)).number == 1


def test_every_form_of_a_certificate_gives_the_same_grounds() -> None:
    credential = Credential(Nobody(), LEAF.der, (CA.der,))
    for make in (Ground.certificate, Ground.key, Ground.serial, Ground.issuer):
        forms: tuple[Any, ...] = (LEAF.der, LEAF.pem, LEAF.pem.decode(), LEAF.certificate, credential)
        assert len({make(form) for form in forms}) == 1
    public = LEAF.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pin = "sha256/" + base64.b64encode(sha256(LEAF.spki).digest()).decode()
    assert Ground.key(public) == Ground.key(public.decode()) == Ground.key(pin) == Ground.key(LEAF.der)


def test_a_renewed_certificate_has_another_ground_and_the_same_key() -> None:
    renewed = CA.issue(private=LEAF.private)
    assert Ground.key(renewed.der) == Ground.key(LEAF.der)
    assert Ground.certificate(renewed.der) != Ground.certificate(LEAF.der)
    assert Ground.serial(renewed.der) != Ground.serial(LEAF.der)
    assert Ground.issuer(renewed.der) == Ground.issuer(LEAF.der)


def test_what_is_written_is_read_again() -> None:
    for ground in (Ground.certificate(LEAF.der), Ground.authority("x"), Ground.principal('U::"a"')):
        assert Ground.parse(str(ground)) == ground
        assert pickle.loads(pickle.dumps(ground)) == copy.copy(ground) == ground


@pytest.mark.parametrize("text", ["", "key", "key:", "key:ab", "key:" + "AB" * 32, "keys:" + "ab" * 32, "key:" + "ab" * 33,
    " key:" + "ab" * 32, "key:" + "ab" * 32 + "\n", "KEY:" + "ab" * 32, None, 5, b"key:" + b"ab" * 32])  # fmt: skip
def test_other_texts_are_no_grounds(text: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="64 hexadecimal digits"):
        Ground.parse(text)


@pytest.mark.parametrize("source", [None, 5, [], object(), bytearray(LEAF.der), LEAF.certificate.public_key()])
def test_what_is_no_certificate_makes_no_ground(source: Any) -> None:
    for make in (Ground.certificate, Ground.key, Ground.serial, Ground.issuer):
        with pytest.raises(ztfast.ArgumentError):
            make(source)


@pytest.mark.parametrize("source", ["", "x", b"", b"x", LEAF.der + b"\0", LEAF.der[:-1], LEAF.key_pem, LEAF.pem * 2, "sha256/x",
    b"0" * (2 << 20), CA.crl(), LEAF.pem + b"x"])  # fmt: skip
def test_what_is_nearly_a_certificate_is_refused(source: Any) -> None:
    for make in (Ground.certificate, Ground.key, Ground.serial, Ground.issuer):
        with pytest.raises(CredentialError):
            make(source)


@pytest.mark.parametrize(
    ("kind", "digest"), [("keys", bytes(32)), ("key", bytes(31)), ("key", "x" * 32), (None, bytes(32))]
)
def test_digests_of_another_kind_or_length_are_refused(kind: Any, digest: Any) -> None:
    with pytest.raises(ztfast.ArgumentError):
        Ground.of_digest(kind, digest)


@pytest.mark.parametrize("name", [None, "", 5, "\ud800"])
def test_authorities_without_a_name_are_refused(name: Any) -> None:
    with pytest.raises(ztfast.ArgumentError):
        Ground.authority(name)


@given(st.sampled_from(KINDS), st.binary(min_size=32, max_size=32))
def test_grounds_of_different_kinds_are_never_equal(kind: str, digest: bytes) -> None:
    ground = Ground.of_digest(kind, digest)
    assert Ground.parse(str(ground)) == ground
    assert all(Ground.of_digest(other, digest) != ground for other in KINDS if other != kind)
    assert 0 < ground.number < 1 << 64


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_malformed(data: bytes) -> None:
    for read in (asn1.certificate_fields, asn1.crl_fields, asn1.key_bits):
        with pytest.raises(CredentialError) as raised:
            read(data)
        assert raised.value.code == "malformed"


@given(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255))
def test_a_changed_certificate_keeps_its_fields_or_is_malformed(place: int, byte: int) -> None:
    changed = LEAF.der[:place] + bytes([byte]) + LEAF.der[place + 1 :]
    try:
        fields = asn1.certificate_fields(changed)
    except CredentialError as error:
        said = error.code
    else:
        said = "read"
        # What was read stands in the certificate.
        assert all(part in changed for part in fields)
    assert said in ("read", "malformed")


@given(st.lists(st.integers(1, (1 << 159) - 1), max_size=20, unique=True))
def test_a_crl_says_what_pyca_wrote_into_it(serials: list[int]) -> None:
    [der] = pem.blocks(CA.crl(*serials), pem.CRL, most=1)
    read = asn1.crl_fields(der)
    assert {int.from_bytes(serial, "big") for serial in read.serials} == set(serials)
    assert read.issuer == CA.certificate.subject.public_bytes()


def said_by_verifier(der: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return what the verifier's parser says of the same fields; ``None`` if it refuses the certificate."""
    try:
        told = _core.inspect_certificate(der)
    except CredentialError:
        return None
    serial = bytes.fromhex(told["serial"]).lstrip(b"\0")
    return told["certificate"], told["key"], told["issuer_digest"], serial


def said_here(der: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    fields = asn1.certificate_fields(der)
    return sha256(der).digest(), sha256(fields.spki).digest(), sha256(fields.issuer).digest(), fields.serial


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 0xFF, 0x0100, (1 << 159) - 1])
def test_the_verifier_reads_the_same_fields(serial: int) -> None:
    for holder in (CA, LEAF, CA.issue(pki.name(O="é", CN='a"b'), serial=serial), CA.issue(private=RSA, serial=serial)):
        assert said_by_verifier(holder.der) == said_here(holder.der)


DESK: dict[str, Any] = {"name": "desk", "kind": "x509", "anchors": [CA.der], "intermediates": [], "crls": [], "revocation": None,
    "pins": [], "trust_domains": {}, "max_age_s": None}  # fmt: skip
VERIFIER = _core.Verifier([DESK])
TBS = LEAF.certificate.tbs_certificate_bytes


@given(st.integers(0, len(TBS) - 1), st.integers(0, 255) | st.sampled_from([0, 1, 2, 3, 5, 12, 0x30, 0x31, 0xA0, 0xFF]))
def test_what_the_verifier_accepts_has_the_same_grounds_here(place: int, byte: int) -> None:
    # A CA signs what is malformed, too.
    der = CA.sign(TBS[:place] + bytes([byte]) + TBS[place + 1 :])
    try:
        told = VERIFIER.verify(None, [der], time.time_ns())["grounds"]
    except CredentialError:
        return
    makes = (Ground.certificate, Ground.key, Ground.serial, Ground.issuer)
    expected = {*(make(der) for make in makes), Ground.authority("desk"), Ground.key(CA.der)}
    assert {Ground.of_digest(kind, digest) for kind, digest in told} == expected


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_crl_is_read_or_malformed(place: int, byte: int) -> None:
    [der] = pem.blocks(CRL, pem.CRL, most=1)
    changed = bytearray(der)
    changed[place % len(der)] = byte
    try:
        said = f"{len(asn1.crl_fields(bytes(changed)).serials)} serials"
    except CredentialError as error:
        said = error.code
    assert said in ("malformed", "0 serials", "1 serials", "2 serials")


CRL = CA.crl(5, 6, number=7)


@given(st.integers(1, (1 << 159) - 1))
def test_a_serial_number_is_named_alike_by_a_certificate_and_a_crl(serial: int) -> None:
    certificate = CA.issue(serial=serial, private=LEAF.private)
    [der] = pem.blocks(CA.crl(serial), pem.CRL, most=1)
    read = asn1.crl_fields(der)
    [number] = read.serials
    assert Ground.revoked_serial(read.issuer, number) == Ground.serial(certificate.der)


@given(st.binary(max_size=100), st.booleans())
def test_any_text_is_pem_or_refused(data: bytes, explained: bool) -> None:
    for text in (data, LEAF.pem + data, data + LEAF.pem, LEAF.pem.replace(b"\n", data)):
        try:
            said = str(pem.blocks(text, pem.CERTIFICATE, most=2, explained=explained) == [LEAF.der])
        except CredentialError as error:
            said = error.code
        assert said in ("True", "malformed", "private-key", "too-many-certificates")


def test_deep_and_long_inputs_are_read_in_bounded_time() -> None:
    deep = b"0\x80" * 500_000
    lengths = b"0\x84\xff\xff\xff\xff" + b"0" * 1_000_000
    many = b"0\x83\x0f\x42\x40" + b"\x05\x00" * 500_000
    for data in (deep, lengths, many, b"-----BEGIN " * 90_000, b"-----BEGIN CERTIFICATE-----" * 30_000):
        with pytest.raises(CredentialError):
            Ground.certificate(data)
