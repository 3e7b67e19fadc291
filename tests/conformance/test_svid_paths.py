"""SPIFFE's X509-SVIDs, each with one rule kept or broken, at its edge; and each trust domain by its own bundle alone.

Rules are of the SPIFFE standards: SPIFFE-ID, sections 2.1 to 2.4, and X509-SVID, sections 2 to 5.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import ztfast
from tests.certificates import CLIENT, NOW_NS, SERVER, Held, authority, chain, crl, key_usage, make, spiffe_authority
from ztfast import _core

OWN, PARTNER = make("own", None, ca=True), make("partner", None, ca=True)
VERIFIER = _core.Verifier([spiffe_authority({"desk.example": [OWN], "partner.example": [PARTNER]})])
ID = "spiffe://desk.example/algo/a7"


def code(*path: Held, verifier: _core.Verifier = VERIFIER) -> str | None:
    try:
        verifier.verify(None, chain(*path), NOW_NS)
    except ztfast.CredentialError as error:
        return error.code
    return None


def svid(uri: str = ID, issuer: Held = OWN, **changed: Any) -> Held:
    return make("", issuer, uris=[uri], **changed)


def test_a_proof_has_the_id_and_its_segments() -> None:
    proved = VERIFIER.verify("mesh", chain(svid()), NOW_NS)
    assert proved["spiffe"] == {"trust_domain": "desk.example", "path": ["algo", "a7"]}
    assert proved["uri"] == [ID]
    assert (proved["subject"], proved["path"]) == ([], ["CN=own"])


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("spiffe://desk.example/a", None),
        ("spiffe://desk.example/A-b_c.9/...", None),
        ("spiffe://desk.example/" + "p" * (2048 - 22), None),
        ("spiffe://desk.example/" + "p" * (2049 - 22), "spiffe-id"),
        ("spiffe://desk.example", "spiffe-id"),
        ("spiffe://desk.example/", "spiffe-id"),
        ("spiffe://desk.example/a/", "spiffe-id"),
        ("spiffe://desk.example//a", "spiffe-id"),
        ("spiffe://desk.example/./a", "spiffe-id"),
        ("spiffe://desk.example/a/..", "spiffe-id"),
        ("spiffe://desk.example/a%2Fb", "spiffe-id"),
        ("spiffe://desk.example/a?b", "spiffe-id"),
        ("spiffe://desk.example/a#b", "spiffe-id"),
        ("spiffe://Desk.example/a", "spiffe-id"),
        ("spiffe://desk.example:443/a", "spiffe-id"),
        ("spiffe://user@desk.example/a", "spiffe-id"),
        ("spiffe:///a", "spiffe-id"),
        ("SPIFFE://desk.example/a", "spiffe-id"),
        ("https://desk.example/a", "spiffe-id"),
        ("spiffe://" + "d" * 255 + "/a", "unknown-trust-domain"),
        ("spiffe://" + "d" * 256 + "/a", "spiffe-id"),
        ("spiffe://other.example/a", "unknown-trust-domain"),
        ("spiffe://desk.example./a", "unknown-trust-domain"),
    ],
)
def test_an_id_is_as_the_standard_says(uri: str, expected: str | None) -> None:
    assert code(svid(uri)) == expected


def test_a_trust_domain_of_the_most_bytes_is_accepted() -> None:
    longest = "d" * 255
    verifier = _core.Verifier([spiffe_authority({longest: [OWN]})])
    assert code(svid(f"spiffe://{longest}/a"), verifier=verifier) is None


def test_a_leaf_has_exactly_one_uri() -> None:
    assert code(make("", OWN, uris=[ID, "spiffe://desk.example/other"])) == "spiffe-id"
    assert code(make("", OWN, uris=[ID, ID])) == "spiffe-id"
    assert code(make("algo", OWN)) == "not-spiffe"
    both = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ID), x509.DNSName("a.example")])
    assert code(make("", OWN, changed=[(both, True)])) is None


USAGE, EXTENDED = x509.KeyUsage, x509.ExtendedKeyUsage


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"without": (USAGE,)}, "usage"),
        ({"changed": [(key_usage("digital_signature"), False)]}, "usage"),
        ({"changed": [(key_usage("key_agreement"), True)]}, "usage"),
        ({"changed": [(key_usage("digital_signature", "key_agreement", "key_encipherment"), True)]}, None),
        ({"changed": [(key_usage("digital_signature", "key_cert_sign"), True)]}, "not-conforming"),
        ({"changed": [(key_usage("digital_signature", "crl_sign"), True)]}, "not-conforming"),
        ({"without": (EXTENDED,)}, None),
        ({"changed": [(EXTENDED([CLIENT]), False)]}, "usage"),
        ({"changed": [(EXTENDED([SERVER]), False)]}, "usage"),
        ({"changed": [(EXTENDED([CLIENT, SERVER, ExtendedKeyUsageOID.CODE_SIGNING]), False)]}, None),
        ({"changed": [(EXTENDED([CLIENT, SERVER]), True)]}, "usage"),
        ({"ca": True}, "not-conforming"),
        ({"changed": [(x509.BasicConstraints(False, None), False)]}, None),
        ({"changed": [(x509.BasicConstraints(True, None), True)]}, "not-conforming"),
    ],
)
def test_a_leaf_is_one_that_authenticates(changed: dict[str, Any], expected: str | None) -> None:
    assert code(svid(**changed)) == expected


def test_each_trust_domain_is_vouched_for_by_its_own_bundle() -> None:
    partner = "spiffe://partner.example/algo/a7"
    assert code(svid(partner, PARTNER)) is None
    assert code(svid(partner, OWN)) == "unknown-issuer"
    assert code(svid(ID, PARTNER)) == "unknown-issuer"
    # An intermediate of one domain helps no other.
    between = make("between", PARTNER, ca=True)
    assert code(svid(partner, between), between) is None
    assert code(svid(ID, between), between) == "unknown-issuer"


def test_a_bundle_may_have_several_anchors() -> None:
    new = make("own", None, ca=True)
    verifier = _core.Verifier([spiffe_authority({"desk.example": [OWN, new]})])
    assert code(svid(issuer=OWN), verifier=verifier) is None
    assert code(svid(issuer=new), verifier=verifier) is None
    verifier = _core.Verifier([spiffe_authority({"desk.example": [new]})])
    assert code(svid(issuer=OWN), verifier=verifier) == "signature"


def test_an_authority_for_workloads_revokes_as_others_do() -> None:
    leaf = svid()
    listed = spiffe_authority({"desk.example": [OWN]}, crls=[crl(OWN, leaf)], revocation="required")
    verifier = _core.Verifier([listed])
    assert code(leaf, verifier=verifier) == "revoked"
    assert code(svid(), verifier=verifier) is None


@pytest.mark.parametrize("spiffe_first", [False, True])
def test_the_most_telling_refusal_is_raised(spiffe_first: bool) -> None:
    root = make("root", None, ca=True)
    configured = [authority(root, crls=[crl(root, revoked := make("algo", root))]), spiffe_authority({"a": [OWN]})]
    if spiffe_first:
        configured.reverse()
    verifier = _core.Verifier(configured)
    assert code(revoked, verifier=verifier) == "revoked"
    assert code(svid("spiffe://a/b/"), verifier=verifier) == "spiffe-id"
    with pytest.raises(ztfast.CredentialError) as caught:
        verifier.verify("nobody", chain(revoked), NOW_NS)
    assert caught.value.code == "unknown-authority"


@pytest.mark.parametrize("name", ["", "Desk.example", "desk.example/a", "spiffe://desk.example", "d" * 256])
def test_a_bundle_is_of_a_valid_trust_domain(name: str) -> None:
    with pytest.raises(ztfast.ConfigError, match="authority mesh: trust domain"):
        _core.Verifier([spiffe_authority({name: [OWN]})])
