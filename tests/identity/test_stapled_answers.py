"""Stapled OCSP answers: which ones count, each rule kept and broken, and at its edge."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from hashlib import sha1, sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as made
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

import ztfast
from tests.identity import pki
from ztfast.identity import CredentialError, asn1, ocsp

ROOT = pki.root()
CA = ROOT.issue(pki.name(CN="Desk CA"), ca=True)
LEAF = CA.issue()
OTHER_LEAF = CA.issue(pki.name(CN="b2"))
# Another CA of the same name.
TWIN = ROOT.issue(pki.name(CN="Desk CA"), ca=True)
RESPONDER = CA.issue(pki.name(CN="Responder"), uses=[ExtendedKeyUsageOID.OCSP_SIGNING])
SECOND = datetime.timedelta(seconds=1)
NOW = pki.now()
GOOD, BAD = CA.answer(LEAF), CA.answer(LEAF, status=made.OCSPCertStatus.REVOKED)


def ns(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def check(answer: bytes, *issuers: pki.Holder, leaf: pki.Holder = LEAF, at: int | None = None) -> tuple[bytes, int]:
    listed = [each.der for each in issuers or (ROOT, TWIN, CA)]
    return ocsp.check(answer, leaf.der, listed, ns(NOW) if at is None else at)


def refusal(answer: bytes, *issuers: pki.Holder, leaf: pki.Holder = LEAF, at: int | None = None) -> str:
    with pytest.raises(CredentialError) as raised:
        check(answer, *issuers, leaf=leaf, at=at)
    return raised.value.code


def test_a_good_answer_gives_its_issuers_key_and_its_end() -> None:
    end = NOW + pki.HOUR
    for answer in (
        CA.answer(LEAF, end=end),
        CA.answer(LEAF, end=end, by_name=True),
        CA.answer(LEAF, end=end, nonce=True),
        CA.answer(LEAF, end=end, algorithm=SHA1()),
        CA.answer(LEAF, end=end, algorithm=SHA384()),
        CA.answer(LEAF, end=end, algorithm=SHA512()),
        CA.answer(LEAF, end=end, responder=RESPONDER),
        CA.answer(LEAF, end=end, responder=RESPONDER, by_name=True),
        CA.answer(LEAF, end=end, responder=RESPONDER, certificates=[OTHER_LEAF]),
    ):
        assert check(answer) == (sha256(CA.spki).digest(), ns(end))


@pytest.mark.parametrize("private", [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)])
def test_keys_of_other_kinds_sign_answers(private: pki.Key) -> None:
    ca = ROOT.issue(pki.name(CN="Desk CA"), ca=True, private=private)
    leaf = ca.issue()
    assert check(ca.answer(leaf), CA, ca, leaf=leaf)[0] == sha256(ca.spki).digest()
    # A key of this kind has not signed what another has.
    about = CA.answer(LEAF, responder=pki.root(pki.name(CN="Desk CA"), private), by_name=True)
    assert refusal(about) == "ocsp-signature"


def test_rsa_keys_that_are_too_short_sign_nothing() -> None:
    short = ROOT.issue(pki.name(CN="Desk CA"), ca=True, private=rsa.generate_private_key(65537, 1024))
    leaf = short.issue()
    assert refusal(short.answer(leaf), short, leaf=leaf) == "ocsp-signature"


def test_revoked_and_unknown_are_refused() -> None:
    assert refusal(CA.answer(LEAF, status=made.OCSPCertStatus.REVOKED)) == "revoked"
    assert refusal(CA.answer(LEAF, status=made.OCSPCertStatus.UNKNOWN)) == "ocsp-unknown"


@pytest.mark.parametrize("status", [each for each in made.OCSPResponseStatus if each.name != "SUCCESSFUL"])
def test_answers_that_are_none_are_refused(status: made.OCSPResponseStatus) -> None:
    answer = made.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
    assert refusal(answer) == "ocsp-unsuccessful"


def test_an_answer_counts_from_its_first_to_its_last_second() -> None:
    begin, end = NOW - pki.HOUR, NOW + pki.HOUR
    answer = CA.answer(LEAF, begin=begin, end=end)
    assert refusal(answer, at=ns(begin - SECOND)) == "ocsp-stale"
    assert refusal(answer, at=ns(begin) - 1) == "ocsp-stale"
    assert check(answer, at=ns(begin))[1] == ns(end)
    assert check(answer, at=ns(end) - 1)[1] == ns(end)
    assert refusal(answer, at=ns(end)) == "ocsp-stale"
    assert refusal(answer, at=ns(end + SECOND)) == "ocsp-stale"


def test_an_answer_without_an_end_is_refused() -> None:
    assert refusal(CA.answer(LEAF, end=None)) == "ocsp-stale"


def test_answers_about_others_are_refused() -> None:
    assert refusal(CA.answer(OTHER_LEAF)) == "ocsp-other"
    # The same name and the same serial number, of another CA.
    twins = TWIN.issue(serial=LEAF.certificate.serial_number)
    assert refusal(TWIN.answer(twins), CA) == "ocsp-other"
    assert refusal(CA.answer(LEAF), ROOT) == "ocsp-other"
    assert refusal(CA.answer(LEAF, algorithm=SHA224())) == "ocsp-other"
    # The twin might have issued it: its answer counts, and the verifier is told that it was the twin's.
    assert check(TWIN.answer(twins), CA, TWIN)[0] == sha256(TWIN.spki).digest()


def test_signatures_of_others_are_refused() -> None:
    stranger = pki.root(pki.name(CN="Desk CA"))
    # By name, by a key of its own, and with the hash of the right key in place of its own.
    assert refusal(CA.answer(LEAF, responder=stranger, by_name=True)) == "ocsp-signature"
    assert refusal(CA.answer(LEAF, responder=stranger)) == "ocsp-signature"
    strange, own = (sha1(asn1.key_bits(each.spki)).digest() for each in (stranger, CA))
    answer = CA.answer(LEAF, responder=stranger)
    assert answer.index(strange) < answer.index(stranger.der)
    assert refusal(answer.replace(strange, own, 1)) == "ocsp-signature"
    # A root that issued the CA is not the leaf's issuer.
    assert refusal(CA.answer(LEAF, responder=ROOT)) == "ocsp-signature"


@pytest.mark.parametrize(
    "responder",
    [
        pytest.param(lambda: CA.issue(uses=[ExtendedKeyUsageOID.CLIENT_AUTH]), id="for clients"),
        pytest.param(lambda: CA.issue(uses=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), id="for anything"),
        pytest.param(lambda: CA.issue(uses=[]), id="for nothing named"),
        pytest.param(lambda: TWIN.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING]), id="of a CA of the same name"),
        pytest.param(lambda: ROOT.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING]), id="of the CA's issuer"),
        pytest.param(lambda: RESPONDER.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING]), id="of a responder"),
        pytest.param(
            lambda: CA.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING], not_after=NOW - SECOND), id="expired"
        ),
        pytest.param(
            lambda: CA.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING], not_before=NOW + SECOND), id="not valid yet"
        ),
        # Without the key usage for signatures.
        pytest.param(lambda: CA.issue(ca=True, uses=[ExtendedKeyUsageOID.OCSP_SIGNING]), id="a CA"),
    ],
)  # fmt: skip
def test_responders_that_the_issuer_did_not_name_are_refused(responder: Callable[[], pki.Holder]) -> None:
    assert refusal(CA.answer(LEAF, responder=responder())) == "ocsp-signature"


def test_a_responder_is_valid_to_its_last_second() -> None:
    ending = CA.issue(uses=[ExtendedKeyUsageOID.OCSP_SIGNING], not_after=NOW)
    answer = CA.answer(LEAF, responder=ending)
    assert check(answer, at=ns(NOW))
    assert refusal(answer, at=ns(NOW) + 1) == "ocsp-signature"


def test_every_changed_byte_makes_an_answer_worthless() -> None:
    answer = CA.answer(LEAF, end=NOW + pki.HOUR)
    good = check(answer)
    for place in range(len(answer)):
        changed = bytearray(answer)
        changed[place] ^= 0x01
        try:
            told = check(bytes(changed))
        except CredentialError:
            continue
        # What is not signed: nothing that was told depends on it.
        assert told == good


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_code(answer: bytes) -> None:
    assert refusal(answer) in ("ocsp-malformed", "ocsp-unsuccessful")


@given(st.integers(0, 300), st.integers(-3, 3))
def test_any_mixture_of_two_answers_is_refused_or_good(cut: int, shift: int) -> None:
    mixed = GOOD[:cut] + BAD[max(0, cut + shift) :]
    try:
        said = check(mixed)[0].hex()
    except CredentialError as error:
        said = error.code
    expected = ("ocsp-", "revoked") if mixed != GOOD else (sha256(CA.spki).hexdigest(),)
    assert said.startswith(expected)


def test_a_certificate_or_an_issuer_that_is_none_is_refused() -> None:
    with pytest.raises(CredentialError, match="cut off"):
        ocsp.check(CA.answer(LEAF), b"x", [CA.der], ns(NOW))


def test_without_pyca_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r"^stapled OCSP answers need .*: pip install 'ztfast\[identity\]'$"):
        ocsp.ready()
    with pytest.raises(ImportError, match="pip install"):
        ocsp.check(b"x", LEAF.der, [], 0)
    assert issubclass(CredentialError, ztfast.IdentityError)
