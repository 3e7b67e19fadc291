"""What a verified path proves: names, bounds, grounds, and pins. pyca reads the same certificates, as a second opinion."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

import ztfast
from tests.certificates import DAY, NOW, NOW_NS, Held, authority, chain, make, spki
from ztfast import _core

HOUR = dt.timedelta(hours=1)
ROOT = make("root", None, ca=True)
DESK = make("desk", ROOT, ca=True)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def verify(*path: Held, anchor: Held = ROOT, **changed: Any) -> dict[str, Any]:
    return _core.Verifier([authority(anchor, **changed)]).verify("desk", chain(*path), NOW_NS)


def test_grounds_are_what_a_session_rests_on() -> None:
    leaf = make("algo", DESK, serial=0x0080)
    certificate = leaf.certificate

    def ground(kind: str, data: bytes) -> tuple[str, bytes]:
        return kind, sha256(b"ztfast:" + kind.encode() + b":" + data)

    issuer = sha256(certificate.issuer.public_bytes())
    assert verify(leaf, DESK)["grounds"] == [
        ground("certificate", sha256(leaf.der)),
        ground("serial", issuer + b"\x80"),
        ground("key", sha256(spki(certificate))),
        ground("issuer", issuer),
        ground("authority", b"desk"),
        ground("key", sha256(spki(DESK.certificate))),
        ground("key", sha256(spki(ROOT.certificate))),
    ]


@pytest.mark.parametrize(
    ("changed", "bound_by", "end"),
    [
        ({"leaf": NOW + HOUR}, "certificate", NOW + HOUR),
        ({"ca": NOW + HOUR}, "issuer certificate", NOW + HOUR),
        ({"anchor": NOW + HOUR}, "issuer certificate", NOW + HOUR),
        ({"max_age_s": 60}, "max_age", NOW + dt.timedelta(seconds=59)),
        ({"max_age_s": 2**63}, "certificate", NOW + DAY),
    ],
)
def test_the_nearest_bound_counts(changed: dict[str, Any], bound_by: str, end: dt.datetime) -> None:
    anchor = make("root", None, ca=True, end=changed.get("anchor", NOW + 2 * DAY))
    ca = make("desk", anchor, ca=True, end=changed.get("ca", NOW + 2 * DAY))
    leaf = make("algo", ca, begin=NOW - HOUR, end=changed.get("leaf", NOW + DAY))
    proved = verify(leaf, ca, anchor=anchor, max_age_s=changed.get("max_age_s"))
    # The last second counts as a whole.
    assert (proved["bound_by"], proved["not_after_ns"]) == (bound_by, (int(end.timestamp()) + 1) * 10**9)
    assert proved["not_before_ns"] == int((NOW - HOUR).timestamp()) * 10**9


def test_a_verifier_that_is_used_again_goes_by_the_time_of_the_call() -> None:
    verifier = _core.Verifier([authority(ROOT)])
    leaf = make("algo", ROOT, begin=NOW, end=NOW + HOUR)

    def code(after: dt.timedelta) -> str | None:
        try:
            verifier.verify(None, chain(leaf), NOW_NS + after // dt.timedelta(microseconds=1) * 1000)
        except ztfast.CredentialError as error:
            return error.code
        return None

    second, instant = dt.timedelta(seconds=1), dt.timedelta(microseconds=1)
    asked = [-instant, instant, HOUR, HOUR + second - instant, HOUR + second, HOUR, -second, instant]
    found = ["not-yet-valid", None, None, None, "expired", None, "not-yet-valid", None]
    assert [code(after) for after in asked] == found


def test_one_key_of_a_path_is_pinned() -> None:
    leaf = make("algo", DESK)
    keys = [sha256(spki(held.certificate)) for held in (leaf, DESK, ROOT)]
    backup = bytes(32)
    for key in keys:
        assert verify(leaf, DESK, pins=[backup, key])["authority"] == "desk"
    with pytest.raises(ztfast.CredentialError) as caught:
        verify(leaf, DESK, pins=[backup])
    assert caught.value.code == "pin-mismatch"
    for key in keys:
        assert f"sha256/{base64.b64encode(key).decode()}" in str(caught.value)


def test_a_pin_holds_over_a_renewal_with_the_same_key() -> None:
    leaf = make("algo", DESK)
    renewed = make("algo", DESK, key=leaf.key)
    pins = [sha256(spki(leaf.certificate)), bytes(32)]
    assert leaf.der != renewed.der
    assert verify(renewed, DESK, pins=pins)["authority"] == "desk"
    with pytest.raises(ztfast.CredentialError, match="no key of the path is pinned"):
        verify(make("algo", DESK), DESK, pins=pins)


NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("a.example"),
        x509.DNSName("*.b.example"),
        x509.UniformResourceIdentifier("https://a.example/b?c"),
        x509.RFC822Name("someone@a.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
)


def test_names_are_those_that_pyca_reads() -> None:
    proved = verify(make("algo", DESK, changed=[(NAMES, False)]), DESK)
    assert proved["dns"] == NAMES.get_values_for_type(x509.DNSName)
    assert proved["uri"] == NAMES.get_values_for_type(x509.UniformResourceIdentifier)
    assert proved["email"] == NAMES.get_values_for_type(x509.RFC822Name)
    assert proved["ip"] == [str(one) for one in NAMES.get_values_for_type(x509.IPAddress)]
    assert proved["spiffe"] is None


@pytest.mark.parametrize(
    "attributes",
    [
        [(NameOID.COUNTRY_NAME, "CH"), (NameOID.ORGANIZATION_NAME, "A, B + C"), (NameOID.COMMON_NAME, "a")],
        [(NameOID.ORGANIZATIONAL_UNIT_NAME, "algo"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "desk")],
        [(NameOID.COMMON_NAME, ' #"<>;\\= ')],
        [(NameOID.COMMON_NAME, "Zürich 🏦 \u202e"), (NameOID.LOCALITY_NAME, "Zürich")],
        [(NameOID.DOMAIN_COMPONENT, "example"), (NameOID.USER_ID, "u"), (NameOID.STREET_ADDRESS, "s")],
        [(NameOID.TITLE, "t"), (NameOID.PSEUDONYM, "p")],
    ],
)
def test_a_subject_is_as_rfc_4514_writes_it(attributes: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    ca = issue(name, ca=True)
    proved = verify(make("algo", ca), ca)
    assert proved["issuer"] == proved["path"][0] == name.rfc4514_string()
    leaf = issue(name, ca=False)
    assert [value for _, value in verify(leaf)["subject"]] == [value for _, value in attributes]


@pytest.mark.parametrize("kind", [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString])
def test_strings_of_each_type_are_read(kind: _ASN1Type) -> None:
    leaf = issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Zürich", _type=kind)]), ca=False)
    assert verify(leaf)["subject"] == [("CN", "Zürich")]


def test_a_string_that_can_be_read_in_two_ways_is_refused() -> None:
    def teletex(text: str) -> Held:
        return issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=_ASN1Type.T61String)]), ca=False)

    assert verify(teletex("Zurich"))["subject"] == [("CN", "Zurich")]
    with pytest.raises(ztfast.CredentialError) as caught:
        verify(teletex("Zürich"))
    assert caught.value.code == "malformed"


def issue(name: x509.Name, *, ca: bool) -> Held:
    """Make a certificate of the root for a subject."""
    like = make("like", ROOT, ca=ca)
    builder = x509.CertificateBuilder(ROOT.certificate.subject, name, like.key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    for extension in like.certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return Held(builder.sign(ROOT.key, hashes.SHA256()), like.key)


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 0xFF00, (1 << 159) - 1])
def test_serial_numbers_are_those_that_pyca_reads(serial: int) -> None:
    proved = verify(make("algo", DESK, serial=serial), DESK)
    assert int(proved["serial"], 16) == serial
    assert len(proved["serial"]) % 2 == 0


def test_a_certificate_is_inspected_as_it_is_proved() -> None:
    leaf = make("algo", DESK, uris=["spiffe://desk.example/algo/a7"])
    proved, inspected = verify(leaf, DESK), _core.inspect_certificate(leaf.der)
    shared = {"subject", "issuer", "serial", "dns", "uri", "email", "ip", "spiffe", "not_before_ns", "not_after_ns"}
    assert {key: proved[key] for key in shared} == {key: inspected[key] for key in shared}
    assert set(inspected) - shared == {"certificate", "key", "issuer_digest"}
    assert inspected["certificate"] == sha256(leaf.der)
    assert inspected["key"] == sha256(spki(leaf.certificate))
    assert inspected["issuer_digest"] == sha256(leaf.certificate.issuer.public_bytes())


def test_a_server_is_asked_for_by_its_name() -> None:
    name = x509.SubjectAlternativeName(
        [x509.DNSName("desk.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    )
    server = make("desk.example", ROOT, changed=[(name, False)])
    verifier = _core.Verifier([authority(ROOT)])
    for asked in ("desk.example", "192.0.2.1"):
        assert verifier.verify(None, chain(server), NOW_NS, server_name=asked)["authority"] == "desk"
    for asked in ("other.example", "192.0.2.2", "", "a b", "*.example"):
        with pytest.raises(ztfast.CredentialError) as caught:
            verifier.verify(None, chain(server), NOW_NS, server_name=asked)
        assert caught.value.code == "server-name"


def test_the_epoch_is_of_the_whole_configuration() -> None:
    plain = authority(ROOT)
    epochs = {_core.Verifier([plain]).epoch, _core.Verifier([dict(plain)]).epoch}
    assert len(epochs) == 1
    others = [{"name": "other"}, {"revocation": None}, {"pins": [bytes(32)]}, {"max_age_s": 1}]
    others += [{"anchors": chain(ROOT, DESK)}, {"intermediates": chain(DESK)}]
    for changed in others:
        epochs.add(_core.Verifier([plain | changed]).epoch)
    assert len(epochs) == 1 + len(others)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"anchors": []}, "authority desk: it has no anchor"),
        ({"kind": "tls"}, "authority desk: .* is no kind of authority"),
        ({"revocation": "sometimes"}, "authority desk: revocation is"),
        ({"anchors": [b"?"]}, "authority desk: anchor 1 cannot be used"),
        ({"intermediates": [b"?"]}, "authority desk: intermediate 1 cannot be used"),
        ({"crls": [b"?"]}, "authority desk: CRL 1: "),
        ({"name": ""}, "each authority has a name"),
        ({"kind": "spiffe", "trust_domains": {}}, "authority desk: it has no trust domain"),
        ({"kind": "spiffe", "trust_domains": {"a": []}}, 'authority desk: trust domain "a": it has no anchor'),
    ],
)
def test_what_cannot_be_used_names_its_authority(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ztfast.ConfigError, match=message):
        _core.Verifier([authority(ROOT) | changed])


def test_an_authority_is_complete() -> None:
    for key in authority(ROOT):
        lacking = authority(ROOT)
        del lacking[key]
        with pytest.raises(ztfast.ConfigError, match=key):
            _core.Verifier([lacking])
    with pytest.raises(ztfast.ConfigError, match="a name of its own"):
        _core.Verifier([authority(ROOT), authority(DESK)])
    with pytest.raises(ztfast.ConfigError, match="authority desk: a pin is a SHA-256"):
        _core.Verifier([authority(ROOT, pins=[b"short"])])
    for key in authority(ROOT):
        with pytest.raises(ztfast.ConfigError, match=key):
            _core.Verifier([authority(ROOT) | {key: 1.5}])
    with pytest.raises(ztfast.ArgumentError, match="32 bytes"):
        _core.Verifier([authority(ROOT)]).verify(None, chain(make("algo", ROOT)), NOW_NS, (b"short", NOW_NS))


def test_a_scheme_of_signatures_is_one_of_those_known() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(b"message", ec.ECDSA(hashes.SHA256()))
    public = spki(issue(ROOT.certificate.subject, ca=False).certificate)
    assert not _core.verify_signature("ecdsa-sha256", public, b"message", signature)
    for unknown in ("", "none", "hs256", "ECDSA-SHA256", "ecdsa-sha1"):
        with pytest.raises(ztfast.ArgumentError, match="wanted one of ecdsa-sha256"):
            _core.verify_signature(unknown, public, b"message", signature)
