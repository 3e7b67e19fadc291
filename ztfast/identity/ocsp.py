"""Stapled OCSP answers (RFC 6960): whether one says, in time and by whom it may be said, that a certificate is good.

pyca ``cryptography`` reads the answers. It checks nothing of what is checked here.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from ztfast.errors import CredentialError
from ztfast.identity import asn1
from ztfast.shown import one_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.ocsp import OCSPResponse, OCSPSingleResponse

__all__ = ["check", "ready"]

MOST_ANSWERS = 64
MOST_RESPONDERS = 8
MOST_ISSUERS = 16
"""The most issuers of one name that are tried."""

_HASHES = ("sha1", "sha256", "sha384", "sha512")
"""The hashes by which an answer may name its certificate. None of them has to resist anybody: the answer is signed."""

_SIGNED = ("sha256", "sha384", "sha512")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def ready() -> None:
    """Check that pyca ``cryptography`` is there.

    Raises:
        ImportError: if it is not; the message says how to get it.
    """
    try:
        import cryptography.x509.ocsp  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "stapled OCSP answers need the package cryptography: pip install 'ztfast[identity]'"
        ) from error


def check(answer: bytes, leaf: bytes, issuers: Iterable[bytes], now_ns: int) -> tuple[bytes, int]:
    """Check that an OCSP answer says that a certificate is good now.

    Args:
        answer: The answer, as DER.
        leaf: The certificate, as DER.
        issuers: Certificates of CAs, as DER: one of them must have issued the leaf. Whether that CA may issue anything
            is the verifier's to say, which is told by which of them the answer is signed.
        now_ns: The time, in nanoseconds since the epoch.

    Returns:
        The SHA-256 of the issuer's SubjectPublicKeyInfo, and until when the answer holds, in nanoseconds.

    Raises:
        CredentialError: with code "revoked" or "ocsp-unknown" if it says so; "ocsp-malformed", "ocsp-unsuccessful",
            "ocsp-other" (it is about another certificate), "ocsp-signature" or "ocsp-stale" if it counts for nothing.
        ImportError: if pyca ``cryptography`` is missing.
    """
    ready()
    response = _read(answer)
    fields = asn1.certificate_fields(leaf)
    named = [der for der in dict.fromkeys(issuers) if asn1.certificate_fields(der).subject == fields.issuer]
    singles = _singles(response)
    found = [
        (single, der)
        for der in named[:MOST_ISSUERS]
        for single in singles
        if _is_about(single, fields, asn1.certificate_fields(der))
    ]
    if not found:
        why = "it is about another certificate" if named else "the certificate's issuer is not among the CAs at hand"
        raise _refused("ocsp-other", why)
    # Several issuers may have one name and one key: what one signs, all of them do.
    keys = {asn1.certificate_fields(der).spki for _, der in found}
    if len({id(single) for single, _ in found}) != 1 or len(keys) != 1:
        raise _refused("ocsp-other", "it speaks of the certificate more than once")
    single, issuer = found[0]
    _check_signature(response, issuer, now_ns)
    until_ns = _check_times(single, now_ns)
    _check_status(single)
    return sha256(keys.pop()).digest(), until_ns


def _refused(code: str, why: str) -> CredentialError:
    return CredentialError(code, f"the stapled OCSP answer: {why}")


def _read(answer: bytes) -> OCSPResponse:
    from cryptography.x509.ocsp import OCSPResponseStatus, load_der_ocsp_response

    try:
        asn1.single(answer, "the OCSP answer")
        response = load_der_ocsp_response(answer)
        status = response.response_status
    except Exception as error:
        # pyca's parser raises errors of several kinds.
        raise _refused("ocsp-malformed", f"it cannot be read: {one_line(str(error))}") from error
    if status is not OCSPResponseStatus.SUCCESSFUL:
        raise _refused("ocsp-unsuccessful", f"the responder said {status.name.lower().replace('_', ' ')}")
    return response


def _singles(response: OCSPResponse) -> list[OCSPSingleResponse]:
    try:
        found = list(islice(response.responses, MOST_ANSWERS + 1))
        extensions = [*response.extensions, *(response.single_extensions if len(found) == 1 else ())]
    except Exception as error:
        raise _refused("ocsp-malformed", f"it cannot be read: {one_line(str(error))}") from error
    if len(found) > MOST_ANSWERS:
        raise _refused("ocsp-malformed", f"it is about more than {MOST_ANSWERS} certificates")
    # The nonce is an answer to a question; whoever staples has not asked for us.
    critical = [each.oid.dotted_string for each in extensions if each.critical]
    if critical:
        raise _refused("ocsp-malformed", f"it has critical extensions that nobody here knows: {', '.join(critical)}")
    return found


def _is_about(single: OCSPSingleResponse, leaf: asn1.Fields, issuer: asn1.Fields) -> bool:
    """Return whether an answer names a certificate: by its serial number, and hashes of its issuer's name and key."""
    try:
        algorithm = single.hash_algorithm
        if algorithm.name not in _HASHES:
            return False
        named = (single.serial_number, single.issuer_name_hash, single.issuer_key_hash)
    except Exception as error:
        raise _refused("ocsp-malformed", f"it cannot be read: {one_line(str(error))}") from error
    number = int.from_bytes(leaf.serial, "big")
    return named == (number, _hash(algorithm, issuer.subject), _hash(algorithm, asn1.key_bits(issuer.spki)))


def _hash(algorithm: Any, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import Hash

    hashed = Hash(algorithm)
    hashed.update(data)
    return hashed.finalize()


def _check_signature(response: OCSPResponse, issuer_der: bytes, now_ns: int) -> None:
    """Check that the issuer signed the answer, or a responder that it has made one (RFC 6960 section 4.2.2.2)."""
    from cryptography.x509 import load_der_x509_certificate

    try:
        issuer = load_der_x509_certificate(issuer_der)
        hashed = response.signature_hash_algorithm
        if hashed is not None and hashed.name not in _SIGNED:
            raise _refused("ocsp-signature", f"it is signed with {hashed.name}, which can be forged")
        if _names(response, issuer) and _signs(issuer, response):
            return
        for responder in response.certificates[:MOST_RESPONDERS]:
            if _names(response, responder) and _is_responder(responder, issuer, now_ns) and _signs(responder, response):
                return
    except CredentialError:
        raise
    except Exception as error:
        raise _refused("ocsp-signature", f"it cannot be checked: {one_line(str(error))}") from error
    raise _refused("ocsp-signature", "neither the certificate's issuer nor a responder of it signed it")


def _names(response: OCSPResponse, signer: Certificate) -> bool:
    """Return whether the answer says that this certificate's key signed it."""
    name, key = response.responder_name, response.responder_key_hash
    if name is not None:
        return name == signer.subject
    from cryptography.hazmat.primitives.hashes import SHA1

    fields = asn1.certificate_fields(_der(signer))
    return key is not None and key == _hash(SHA1(), asn1.key_bits(fields.spki))


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _is_responder(responder: Certificate, issuer: Certificate, now_ns: int) -> bool:
    """Return whether the issuer itself has issued this certificate for the signing of OCSP answers, and it is valid."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        uses = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = responder.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if ExtendedKeyUsageOID.OCSP_SIGNING not in uses or (usage is not None and not usage.digital_signature):
        return False
    hashed = responder.signature_hash_algorithm
    if hashed is not None and hashed.name not in _SIGNED:
        return False
    if not _ns(responder.not_valid_before_utc) <= now_ns <= _ns(responder.not_valid_after_utc):
        return False
    try:
        responder.verify_directly_issued_by(issuer)
    except Exception:
        # Another name, another key, or a key of a kind that pyca does not know.
        return False
    return True


def _signs(signer: Certificate, response: OCSPResponse) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.x509.oid import SignatureAlgorithmOID

    key, signature, signed = signer.public_key(), response.signature, response.tbs_response_bytes
    algorithm, hashed = response.signature_algorithm_oid, response.signature_hash_algorithm
    ecdsa = (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    )
    pkcs1 = (
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    )
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm in ecdsa and hashed is not None:
            key.verify(signature, signed, ec.ECDSA(hashed))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm in pkcs1 and hashed is not None and key.key_size >= 2048:
            key.verify(signature, signed, padding.PKCS1v15(), hashed)
        elif isinstance(key, ed25519.Ed25519PublicKey) and algorithm == SignatureAlgorithmOID.ED25519:
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _check_times(single: OCSPSingleResponse, now_ns: int) -> int:
    try:
        begin, end = single.this_update_utc, single.next_update_utc
    except Exception as error:
        raise _refused("ocsp-malformed", f"it cannot be read: {one_line(str(error))}") from error
    if end is None:
        raise _refused("ocsp-stale", "it has no nextUpdate, so nobody knows how long it holds")
    begin_ns, end_ns = _ns(begin), _ns(end)
    if now_ns < begin_ns:
        raise _refused("ocsp-stale", f"it holds from {begin.isoformat()} on: is the clock right?")
    # As for CRLs: with the second of nextUpdate, there is a newer one.
    if now_ns >= end_ns:
        raise _refused("ocsp-stale", f"it held until {end.isoformat()}: staple a new one")
    return end_ns


def _check_status(single: OCSPSingleResponse) -> None:
    from cryptography.x509.ocsp import OCSPCertStatus

    try:
        status = single.certificate_status
        since = single.revocation_time_utc
    except Exception as error:
        raise _refused("ocsp-malformed", f"it cannot be read: {one_line(str(error))}") from error
    if status is OCSPCertStatus.REVOKED:
        when = "" if since is None else f" on {since.isoformat()}"
        raise CredentialError("revoked", f"the certificate was revoked{when}, says the stapled OCSP answer")
    if status is not OCSPCertStatus.GOOD:
        raise _refused("ocsp-unknown", "the responder does not know the certificate")


def _ns(moment: datetime.datetime) -> int:
    """Convert a time to nanoseconds since the epoch, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
