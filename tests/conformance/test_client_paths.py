"""Certificates of clients, each with one rule kept or broken, at its edge; and what pyca `cryptography` says about each.

pyca is the second opinion: whom it refuses must be refused here. Where it accepts what is refused here, the case says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

import ztfast
from tests.certificates import CLIENT, DAY, NOW, SERVER, Held, authority, chain, key_usage, make
from ztfast import _core

SECOND = dt.timedelta(seconds=1)
ROOT = make("root", None, ca=True)
DESK = make("desk", ROOT, ca=True, path_len=0)
OTHER = make("root", None, ca=True)
SHORT = make("short", None, ca=True, path_len=0)
ALTERNATIVE = x509.SubjectAlternativeName


@dataclass(frozen=True)
class Case:
    """The path of a leaf, the refusal's code (``None``: it is accepted), and whether pyca accepts it."""

    path: list[Held]
    code: str | None = None
    pyca: bool | None = None
    anchors: list[Held] = field(default_factory=lambda: [ROOT])
    now: dt.datetime = NOW

    @property
    def pyca_accepts(self) -> bool:
        return (self.code is None) if self.pyca is None else self.pyca


def leaf(issuer: Held = DESK, name: str = "algo", **changed: Any) -> Held:
    """Make a leaf with a DNS name, without which pyca takes none."""
    extensions = changed.pop("changed", [])
    if name and not changed.get("uris") and not any(isinstance(one, ALTERNATIVE) for one, _ in extensions):
        extensions = [*extensions, (ALTERNATIVE([x509.DNSName("algo.example")]), False)]
    return make(name, issuer, changed=extensions, **changed)


def extended(*usages: ObjectIdentifier, critical: bool = False) -> dict[str, Any]:
    return {"changed": [(x509.ExtendedKeyUsage(usages), critical)]}


def usage(*bits: str) -> dict[str, Any]:
    return {"changed": [(key_usage(*bits), True)]}


def names(*found: x509.GeneralName, critical: bool = False) -> dict[str, Any]:
    return {"changed": [(ALTERNATIVE(found), critical)]}


def limited(*, permitted: list[x509.GeneralName] | None = None, excluded: list[x509.GeneralName] | None = None) -> Held:
    return make("limited", ROOT, ca=True, changed=[(x509.NameConstraints(permitted, excluded), True)])


def long(cas: int) -> list[Held]:
    """Return a path with so many CAs, the anchor not included in the path."""
    held = [ROOT]
    for number in range(cas - 1):
        held.append(make(f"ca {number}", held[-1], ca=True))
    return [leaf(held[-1]), *reversed(held[1:])]


ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
DNS, URI = x509.DNSName, x509.UniformResourceIdentifier
AKI, SKI = x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier
PEDANTIC = [  # the certificate's issuer by name and number, beside its key
    (AKI(b"k" * 20, [x509.DirectoryName(ROOT.certificate.subject)], 7), False),
]

CASES: dict[str, Callable[[], Case]] = {
    "a client": lambda: Case([leaf(), DESK]),
    "a client of the anchor itself": lambda: Case([leaf(ROOT)]),
    # pyca keeps a rule for servers of the web here. A client's name may be its subject's (RFC 5280, 4.2.1.6).
    "a client without alternative names": lambda: Case([make("algo", DESK), DESK], pyca=False),
    "the anchor is presented, too": lambda: Case([leaf(), DESK, ROOT]),
    "the order is another": lambda: Case([leaf(), ROOT, DESK]),
    "several CAs of the anchor's name": lambda: Case(
        [leaf(), DESK, OTHER, *(make("root", None, ca=True) for _ in range(4))]
    ),
    "a stranger's CA lies between": lambda: Case([leaf(), OTHER, DESK]),
    # Extended key usage (RFC 5280, 4.2.1.12)
    "only for clients": lambda: Case([leaf(**extended(CLIENT)), DESK]),
    "no extended usage": lambda: Case([leaf(without=(x509.ExtendedKeyUsage,)), DESK], "usage", pyca=True),
    "only for servers": lambda: Case([leaf(**extended(SERVER)), DESK], "usage"),
    "for anything": lambda: Case([leaf(**extended(ANY)), DESK], "usage"),
    "for clients and anything": lambda: Case([leaf(**extended(CLIENT, ANY)), DESK], "usage", pyca=True),
    "critical extended usage": lambda: Case([leaf(**extended(CLIENT, critical=True)), DESK], "usage"),
    # Key usage (4.2.1.3)
    "no key usage": lambda: Case([leaf(without=(x509.KeyUsage,)), DESK]),
    "no signatures": lambda: Case([leaf(**usage("key_agreement")), DESK], "usage", pyca=True),
    "may sign certificates": lambda: Case(
        [leaf(**usage("digital_signature", "key_cert_sign")), DESK], "not-conforming"
    ),
    "may sign CRLs": lambda: Case([leaf(**usage("digital_signature", "crl_sign")), DESK], "not-conforming", pyca=True),
    # Basic constraints (4.2.1.9)
    "a CA as a leaf": lambda: Case([make("algo", ROOT, ca=True)], "not-conforming"),
    "no CA, and says so": lambda: Case([leaf(changed=[(x509.BasicConstraints(False, None), True)]), DESK]),
    "a CA with basic constraints that are not critical": lambda: through(
        changed=[(x509.BasicConstraints(True, None), False)]
    ),
    "a CA without basic constraints": lambda: through(without=(x509.BasicConstraints,)),
    "a CA that is none": lambda: through(changed=[(x509.BasicConstraints(False, None), True)]),
    "a CA without key usage": lambda: through(without=(x509.KeyUsage,)),
    "a CA that may not sign certificates": lambda: through(**usage("crl_sign")),
    "a CA that is for servers only": lambda: through("usage", **extended(SERVER)),
    "a CA that is for clients": lambda: through(None, **extended(CLIENT)),
    "more CAs than one permits": lambda: Case(
        [leaf(below := make("below", DESK, ca=True)), below, DESK], "path-length"
    ),
    "more CAs than the anchor permits": lambda: Case(
        [leaf(below := make("below", SHORT, ca=True)), below], "path-length", anchors=[SHORT]
    ),
    # Identifiers of keys (4.2.1.1, 4.2.1.2)
    "no id of the issuer's key": lambda: Case([leaf(without=(AKI,)), DESK], "not-conforming"),
    "an id of the issuer's key that is critical": lambda: Case(
        [leaf(changed=[(AKI.from_issuer_public_key(DESK.key.public_key()), True)]), DESK], "not-conforming"
    ),
    "an id that names the issuer, too": lambda: Case([leaf(changed=PEDANTIC), DESK]),
    "no id of its own key": lambda: Case([leaf(without=(SKI,)), DESK]),
    "a CA without an id": lambda: through(without=(SKI,), pyca=True),
    "a CA without the id of its issuer": lambda: through(without=(AKI,), pyca=True),
    # Names (4.1.2.4, 4.2.1.6)
    "no name, and critical alternative names": lambda: Case(
        [leaf(name="", **names(DNS("a.example"), critical=True)), DESK]
    ),
    "no name, and alternative names that are not critical": lambda: Case(
        [leaf(name="", **names(DNS("a.example"))), DESK], "not-conforming"
    ),
    "a name, and critical alternative names": lambda: Case(
        [leaf(**names(DNS("a.example"), critical=True)), DESK], "not-conforming"
    ),
    "no name at all": lambda: Case([leaf(name=""), DESK], "not-conforming"),
    "two URIs": lambda: Case([leaf(uris=["spiffe://a/b", "spiffe://a/c"]), DESK]),
    "a DNS name with a space": lambda: Case([leaf(**names(DNS("a b.example"))), DESK], "malformed", pyca=True),
    "a DNS name with an underscore": lambda: Case([leaf(**names(DNS("a_b.example"))), DESK], "malformed", pyca=True),
    "an email address without a host": lambda: Case(
        [leaf(**names(x509.RFC822Name("someone"))), DESK], "malformed", pyca=True
    ),
    # Critical and other extensions (4.2)
    "an unknown extension": lambda: Case([leaf(changed=[(UNKNOWN, False)]), DESK]),
    "an unknown extension that is critical": lambda: Case(
        [leaf(changed=[(UNKNOWN, True)]), DESK], "critical-extension"
    ),
    "a CA's unknown extension that is critical": lambda: through("critical-extension", changed=[(UNKNOWN, True)]),
    "policy constraints that are not critical": lambda: through(
        changed=[(x509.PolicyConstraints(0, None), False)], pyca=True
    ),
    "name constraints of a leaf": lambda: Case(
        [leaf(changed=[(x509.NameConstraints([DNS("example")], None), True)]), DESK], "not-conforming"
    ),
    # Name constraints (4.2.1.10)
    "a permitted name": lambda: below(limited(permitted=[DNS("desk.example")]), DNS("a.desk.example")),
    "another name": lambda: below(limited(permitted=[DNS("desk.example")]), DNS("a.other.example"), "name-constraints"),
    "an excluded name": lambda: below(
        limited(excluded=[DNS("desk.example")]), DNS("a.desk.example"), "name-constraints"
    ),
    "a name that ends alike": lambda: below(
        limited(permitted=[DNS("desk.example")]), DNS("a-desk.example"), "name-constraints"
    ),
    "a name of a kind without constraints": lambda: below(
        limited(permitted=[DNS("desk.example")]), URI("spiffe://a/b")
    ),
    "a URI, and constraints on URIs": lambda: below(
        limited(permitted=[URI("desk.example")]), URI("spiffe://desk.example/b"), "name-constraints"
    ),
    # Times (4.1.2.5): whole seconds, both ends included
    "a second before it begins": lambda: Case([leaf(begin=NOW), DESK], "not-yet-valid", now=NOW - SECOND),
    "the second at which it begins": lambda: Case([leaf(begin=NOW), DESK]),
    "its last second": lambda: Case([leaf(end=NOW), DESK]),
    "a second after its last one": lambda: Case([leaf(end=NOW), DESK], "expired", now=NOW + SECOND),
    "a second before its CA begins": lambda: through("not-yet-valid", begin=NOW + SECOND),
    "the second at which its CA begins": lambda: through(None, begin=NOW),
    "the last second of its CA": lambda: through(None, end=NOW),
    "a second after the last one of its CA": lambda: through("expired", end=NOW - SECOND),
    "the last second of the anchor": lambda: under(make("under", None, ca=True, end=NOW)),
    "a second after the last one of the anchor": lambda: under(
        make("under", None, ca=True, end=NOW - SECOND), "expired"
    ),
    "a second before the anchor begins": lambda: under(
        make("under", None, ca=True, begin=NOW + SECOND), "not-yet-valid"
    ),
    # Anchors, issuers, signatures
    "no path": lambda: Case([leaf()], "unknown-issuer"),
    "an anchor of the same name with another key": lambda: Case([leaf(ROOT)], "signature", anchors=[OTHER]),
    "an anchor of the same name beside the right one": lambda: Case([leaf(ROOT)], anchors=[OTHER, ROOT]),
    "an anchor that expired beside its renewal": lambda: Case(
        [leaf(old := make("renewed", None, ca=True, end=NOW - SECOND))],
        anchors=[old, make("renewed", None, ca=True, key=old.key)],
    ),
    "an anchor that is no CA": lambda: under(leaf(ROOT, name="under"), "not-conforming"),
    "an anchor with extended usage": lambda: under(
        make("under", None, ca=True, changed=[(x509.ExtendedKeyUsage([CLIENT]), False)]), "not-conforming", pyca=True
    ),
    "an intermediate as the anchor": lambda: Case([leaf()], anchors=[DESK]),
    # Lengths of paths
    "as many CAs as a session keeps": lambda: Case(long(4)),
    "one CA more": lambda: Case(long(5), "path-too-long", pyca=True),
    # Keys
    "a weak RSA key": lambda: with_key(rsa.generate_private_key(65537, 1024).public_key(), "weak-key", pyca=True),
    "an RSA key": lambda: with_key(rsa.generate_private_key(65537, 2048).public_key()),
    "a key of P-384": lambda: with_key(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "a key of secp256k1": lambda: with_key(ec.generate_private_key(ec.SECP256K1()).public_key(), "weak-key", pyca=True),
}


def through(code: str | None = "not-conforming", pyca: bool | None = None, **changed: Any) -> Case:
    """Return the case of a client of a CA that differs."""
    ca = make("between", ROOT, **({"ca": True} | changed))
    return Case([leaf(ca), ca], code, pyca)


def below(ca: Held, name: x509.GeneralName, code: str | None = None) -> Case:
    return Case([leaf(ca, **names(name)), ca], code)


def under(anchor: Held, code: str | None = None, pyca: bool | None = None) -> Case:
    return Case([leaf(anchor)], code, pyca, anchors=[anchor])


def with_key(key: Any, code: str | None = None, pyca: bool | None = None) -> Case:
    builder = x509.CertificateBuilder(DESK.certificate.subject, x509.Name([]), key, x509.random_serial_number())
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = builder.add_extension(ALTERNATIVE([DNS("a.example")]), True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([CLIENT]), False)
    builder = builder.add_extension(AKI.from_issuer_public_key(DESK.key.public_key()), False)
    return Case([Held(builder.sign(DESK.key, hashes.SHA256()), DESK.key), DESK], code, pyca)


def code_of(case: Case) -> str | None:
    """Return the code of the refusal, and check that one is repeated as it is."""
    verifier = _core.Verifier([authority(*case.anchors)])
    now_ns = int(case.now.timestamp()) * 10**9
    codes = []
    for _ in range(2):
        try:
            proved = verifier.verify(None, chain(*case.path), now_ns)
        except ztfast.CredentialError as error:
            codes.append(error.code)
        else:
            codes.append(None)
            assert proved["not_before_ns"] <= now_ns < proved["not_after_ns"]
            assert len(proved["grounds"]) == 5 + len(proved["path"]) <= 9
    assert codes[0] == codes[1]
    assert verifier.counters()["remembered"] == (codes[0] is not None)
    return codes[0]


def refusal_of_pyca(case: Case) -> str | None:
    policy = PolicyBuilder().store(Store([anchor.certificate for anchor in case.anchors])).time(case.now)
    try:
        verifier = policy.build_client_verifier()
        verifier.verify(case.path[0].certificate, [held.certificate for held in case.path[1:]])
    except (VerificationError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_kept(name: str) -> None:
    case = CASES[name]()
    assert code_of(case) == case.code


@pytest.mark.parametrize("name", CASES)
def test_pyca_agrees_or_is_known_to_accept_more(name: str) -> None:
    case = CASES[name]()
    refused = refusal_of_pyca(case)
    print(name, refused)
    assert (refused is None) == case.pyca_accepts, refused
