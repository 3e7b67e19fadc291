"""Revocation by CRLs and stapled OCSP answers: what is missing, stale, foreign or rolled back denies."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier

import ztfast
from tests.certificates import NOW, NOW_NS, Held, authority, chain, crl, key_usage, make, point, spki
from ztfast import _core

SECOND, HOUR = dt.timedelta(seconds=1), dt.timedelta(hours=1)
URI = "http://crl.example/desk.crl"


class Pki:
    """An anchor, a CA and a leaf: keys are new, because numbers of lists are remembered by key."""

    def __init__(self, **of_leaf: Any) -> None:
        self.root = make("root", None, ca=True)
        self.desk = make("desk", self.root, ca=True)
        self.leaf = make("algo", self.desk, **of_leaf)

    def verifier(self, *crls: bytes, revocation: str | None = "required", **changed: Any) -> _core.Verifier:
        return _core.Verifier([authority(self.root, crls=list(crls), revocation=revocation, **changed)])

    def code(self, *crls: bytes, now: dt.datetime = NOW, stapled: Any = None, **changed: Any) -> str | None:
        now_ns = int(now.timestamp()) * 10**9
        try:
            self.verifier(*crls, **changed).verify(None, chain(self.leaf, self.desk), now_ns, stapled)
        except ztfast.CredentialError as error:
            return error.code
        return None

    def staple(self, until: dt.datetime, issuer: Held | None = None) -> tuple[bytes, int]:
        key = hashlib.sha256(spki((issuer or self.desk).certificate)).digest()
        return key, int(until.timestamp()) * 10**9


def test_each_certificate_of_a_path_needs_a_list_where_it_is_required() -> None:
    pki = Pki()
    of_root, of_desk = crl(pki.root), crl(pki.desk)
    assert pki.code(of_root, of_desk) is None
    assert pki.code(of_desk) == "revocation-unknown"
    assert pki.code(of_root) == "revocation-unknown"
    assert pki.code() == "revocation-unknown"
    assert pki.code(revocation="if-present") is None
    assert pki.code(revocation=None) is None


def test_a_revoked_certificate_is_refused_whatever_is_required() -> None:
    pki = Pki()
    for revocation in ("required", "if-present", None):
        assert pki.code(crl(pki.root), crl(pki.desk, pki.leaf), revocation=revocation) == "revoked"
        assert pki.code(crl(pki.root, pki.desk), crl(pki.desk), revocation=revocation) == "revoked"
        assert pki.code(crl(pki.root, pki.leaf), crl(pki.desk, pki.root), revocation=revocation) is None


def test_a_revocation_counts_also_when_its_list_is_stale() -> None:
    pki = Pki()
    assert pki.code(crl(pki.root), crl(pki.desk, pki.leaf, end=NOW - HOUR)) == "revoked"


def test_lists_count_in_their_time() -> None:
    pki = Pki()
    root = crl(pki.root)
    for revocation in ("required", "if-present", None):
        fresh = crl(pki.desk, begin=NOW, end=NOW + SECOND)
        assert pki.code(root, fresh, revocation=revocation) is None
        assert pki.code(root, fresh, now=NOW - SECOND, revocation=revocation) == "crl-not-yet-valid"
        assert pki.code(root, fresh, now=NOW + SECOND, revocation=revocation) == "crl-stale"


def test_the_next_update_of_each_list_bounds_the_proof() -> None:
    pki = Pki()
    for lists in ([(pki.root, HOUR), (pki.desk, 2 * HOUR)], [(pki.root, 2 * HOUR), (pki.desk, HOUR)]):
        verifier = pki.verifier(*(crl(issuer, end=NOW + after) for issuer, after in lists))
        proved = verifier.verify(None, chain(pki.leaf, pki.desk), NOW_NS)
        assert proved["bound_by"] == "CRL"
        assert proved["not_after_ns"] == NOW_NS + 3600 * 10**9


def test_the_default_asks_where_a_distribution_point_is_named() -> None:
    pki = Pki(points=[URI])
    assert pki.code(revocation=None) == "revocation-unknown"
    assert pki.code(crl(pki.desk), revocation=None) is None
    assert pki.code(revocation="if-present") is None
    # The CA names one, the leaf does not.
    pki.desk = make("desk", pki.root, ca=True, points=[URI], key=pki.desk.key)
    pki.leaf = make("algo", pki.desk)
    assert pki.code(crl(pki.desk), revocation=None) == "revocation-unknown"
    assert pki.code(crl(pki.root), revocation=None) is None


def test_a_list_of_another_issuer_says_nothing() -> None:
    pki, other = Pki(), Pki()
    assert pki.code(crl(pki.root), crl(other.desk)) == "revocation-unknown"
    assert pki.code(crl(pki.root), crl(other.desk, pki.leaf), revocation="if-present") is None
    stranger = make("stranger", pki.root, ca=True)
    assert pki.code(crl(pki.root), crl(stranger, pki.leaf)) == "revocation-unknown"


def test_a_forged_list_is_refused() -> None:
    pki = Pki()
    forged = crl(pki.desk, key=ec.generate_private_key(ec.SECP256R1()))
    for revocation in ("required", "if-present", None):
        assert pki.code(crl(pki.root), forged, revocation=revocation) == "crl-signature"
    # The CA is configured, so this shows when its list is loaded.
    with pytest.raises(ztfast.ConfigError, match="not signed by it"):
        pki.verifier(crl(pki.root), forged, intermediates=chain(pki.desk))


def test_the_newest_list_counts() -> None:
    pki = Pki()
    root, old, new = crl(pki.root), crl(pki.desk, number=7), crl(pki.desk, pki.leaf, number=8)
    assert pki.code(root, old, new) == "revoked"
    assert pki.code(root, new, old) == "revoked"
    lifted = crl(pki.desk, number=256)
    assert pki.code(root, new, lifted) is None


def test_a_list_that_was_rolled_back_is_refused() -> None:
    pki = Pki()
    root, old, new = crl(pki.root, number=3), crl(pki.desk, number=7), crl(pki.desk, number=8)
    assert pki.code(root, old) is None
    assert pki.code(root, new) is None
    assert pki.code(root, old) == "crl-rolled-back"
    assert pki.code(root, old, revocation="if-present") == "crl-rolled-back"
    assert pki.code(root, new) is None
    with pytest.raises(ztfast.ConfigError, match="rolled back"):
        pki.verifier(crl(pki.root, number=2), new)
    assert pki.code(crl(pki.root, number=4), new) is None


def test_a_foreign_list_with_a_high_number_rolls_nothing_back() -> None:
    pki = Pki()
    pki.code(crl(pki.root), crl(pki.desk, number=9, key=ec.generate_private_key(ec.SECP256R1())))
    assert pki.code(crl(pki.root), crl(pki.desk, number=1)) is None


def issuing_point(**changed: Any) -> x509.IssuingDistributionPoint:
    plain: dict[str, Any] = {"full_name": [x509.UniformResourceIdentifier(URI)], "relative_name": None}
    plain |= {"only_contains_user_certs": False, "only_contains_ca_certs": False, "only_some_reasons": None}
    return x509.IssuingDistributionPoint(
        **(plain | {"indirect_crl": False, "only_contains_attribute_certs": False} | changed)
    )


UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.parametrize(
    "unusable",
    [
        {"number": None},
        {"number": None, "extensions": [(x509.CRLNumber(1), True)]},
        {"extensions": [(UNKNOWN, True)]},
        {"extensions": [(x509.DeltaCRLIndicator(1), True)]},
        {"extensions": [(issuing_point(indirect_crl=True), True)]},
        {"extensions": [(issuing_point(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise])), True)]},
    ],
)
def test_a_list_that_is_not_understood_as_a_whole_is_not_loaded(unusable: dict[str, Any]) -> None:
    pki = Pki()
    with pytest.raises(ztfast.ConfigError, match="authority desk: CRL 2: "):
        pki.verifier(crl(pki.root), crl(pki.desk, **unusable))


@pytest.mark.parametrize("damaged", [b"", b"0", b"-----BEGIN X509 CRL-----"])
def test_bytes_that_are_no_list_are_not_loaded(damaged: bytes) -> None:
    pki = Pki()
    with pytest.raises(ztfast.ConfigError, match="authority desk: CRL 1: "):
        pki.verifier(damaged)
    with pytest.raises(ztfast.ConfigError, match="authority desk: CRL 1: "):
        pki.verifier(crl(pki.root) + b"0")


def test_an_unknown_extension_of_a_list_that_is_not_critical_is_passed_over() -> None:
    pki = Pki()
    assert pki.code(crl(pki.root), crl(pki.desk, extensions=[(UNKNOWN, False)])) is None


def test_a_list_counts_for_its_scope() -> None:
    pki = Pki(points=[URI])
    pki.desk = make("desk", pki.root, ca=True, points=[URI], key=pki.desk.key)
    scoped = {"extensions": [(issuing_point(), True)]}
    assert pki.code(crl(pki.root), crl(pki.desk, **scoped)) is None
    assert pki.code(crl(pki.root), crl(pki.desk, pki.leaf, **scoped)) == "revoked"
    elsewhere = issuing_point(full_name=[x509.UniformResourceIdentifier(URI + ".other")])
    assert pki.code(crl(pki.root), crl(pki.desk, extensions=[(elsewhere, True)])) == "revocation-unknown"
    users, cas = issuing_point(only_contains_user_certs=True), issuing_point(only_contains_ca_certs=True)
    assert pki.code(crl(pki.root), crl(pki.desk, extensions=[(users, True)])) is None
    assert pki.code(crl(pki.root), crl(pki.desk, extensions=[(cas, True)])) == "revocation-unknown"
    assert pki.code(crl(pki.root, extensions=[(users, True)]), crl(pki.desk)) == "revocation-unknown"
    assert pki.code(crl(pki.root, extensions=[(cas, True)]), crl(pki.desk)) is None
    # Of whatever a list is: the issuer revokes a serial number.
    for about in (users, cas, elsewhere, issuing_point()):
        revoking = crl(pki.desk, pki.leaf, extensions=[(about, True)])
        assert pki.code(crl(pki.root), crl(pki.desk), revoking) == "revoked"


def test_a_list_of_a_distribution_point_says_nothing_good_of_certificates_that_name_none() -> None:
    pki = Pki()
    scoped = {"extensions": [(issuing_point(), True)]}
    assert pki.code(crl(pki.root), crl(pki.desk, **scoped)) == "revocation-unknown"
    assert pki.code(crl(pki.root), crl(pki.desk, pki.leaf, **scoped)) == "revoked"
    named = issuing_point(full_name=[x509.DirectoryName(pki.desk.certificate.subject)])
    assert pki.code(crl(pki.root), crl(pki.desk, extensions=[(named, True)])) == "revocation-unknown"


def test_a_point_for_some_reasons_is_no_answer() -> None:
    partial = x509.DistributionPoint(
        [x509.UniformResourceIdentifier(URI)], None, frozenset([x509.ReasonFlags.key_compromise]), None
    )
    pki = Pki(changed=[(x509.CRLDistributionPoints([partial]), False)])
    scoped = crl(pki.desk, extensions=[(issuing_point(), True)])
    assert pki.code(crl(pki.root), scoped) == "revocation-unknown"
    whole = Pki(changed=[(x509.CRLDistributionPoints([partial, point(URI)]), False)])
    assert whole.code(crl(whole.root), crl(whole.desk, extensions=[(issuing_point(), True)])) is None


def test_an_issuer_signs_lists_only_if_it_may() -> None:
    pki = Pki()
    pki.desk = make("desk", pki.root, ca=True, key=pki.desk.key, changed=[(key_usage("key_cert_sign"), True)])
    pki.leaf = make("algo", pki.desk)
    assert pki.code(crl(pki.root), crl(pki.desk)) == "crl-signer"


def test_a_stapled_answer_stands_for_the_list_of_the_leaf() -> None:
    pki = Pki()
    root = crl(pki.root)
    assert pki.code(root, stapled=pki.staple(NOW + HOUR)) is None
    assert pki.code(root, stapled=pki.staple(NOW)) == "ocsp-stale"
    assert pki.code(root, stapled=pki.staple(NOW + HOUR, issuer=pki.root)) == "revocation-unknown"
    assert pki.code(stapled=pki.staple(NOW + HOUR)) == "revocation-unknown"
    assert pki.code(root, crl(pki.desk, pki.leaf), stapled=pki.staple(NOW + HOUR)) == "revoked"
    proved = pki.verifier(root).verify(None, chain(pki.leaf, pki.desk), NOW_NS, pki.staple(NOW + HOUR))
    assert (proved["bound_by"], proved["not_after_ns"]) == ("OCSP", NOW_NS + 3600 * 10**9)


def test_a_revoked_ca_is_passed_by_where_another_path_is_good() -> None:
    pki = Pki()
    again = make("desk", pki.root, ca=True, key=pki.desk.key)
    verifier = pki.verifier(crl(pki.root, pki.desk), revocation="if-present")
    assert verifier.verify(None, chain(pki.leaf, pki.desk, again), NOW_NS)["path"] == ["CN=desk", "CN=root"]
    with pytest.raises(ztfast.CredentialError) as caught:
        verifier.verify(None, chain(pki.leaf, pki.desk), NOW_NS)
    assert caught.value.code == "revoked"


@pytest.mark.parametrize("text", ["desk", "DESK", " desk "])
def test_the_name_of_a_list_may_be_written_in_another_way(text: str) -> None:
    pki = Pki()
    written = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=_ASN1Type.PrintableString)])
    for revocation in ("required", "if-present"):
        assert pki.code(crl(pki.root), crl(pki.desk, pki.leaf, name=written), revocation=revocation) == "revoked"


def test_a_list_is_its_issuers_by_its_signature_whatever_key_it_names() -> None:
    pki, other = Pki(), Pki()
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(other.root.key.public_key())
    builder = x509.CertificateRevocationListBuilder(pki.desk.certificate.subject, NOW - HOUR, NOW + HOUR)
    builder = builder.add_extension(key_id, False).add_extension(x509.CRLNumber(1), False)
    entry = x509.RevokedCertificateBuilder(pki.leaf.certificate.serial_number, NOW - HOUR).build()
    signed = builder.add_revoked_certificate(entry).sign(pki.desk.key, hashes.SHA256())
    assert pki.code(signed.public_bytes(serialization.Encoding.DER), revocation="if-present") == "revoked"


def test_a_list_may_be_signed_with_another_key_of_the_same_name() -> None:
    pki = Pki()
    renewed = make("desk", pki.root, ca=True)
    own, new = crl(pki.desk, number=5), crl(renewed, pki.leaf, number=6)
    assert pki.code(crl(pki.root), own, new) is None
    assert pki.code(crl(pki.root), new) == "revocation-unknown"
