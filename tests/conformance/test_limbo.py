"""x509-limbo's vectors of path validation, through the verifier that admissions use.

Most of them ask about a server's certificate, so the verifier is asked for the server by its name; everything else is as it
is for clients. What differs from a vector's expected result is named in exceptions.toml, with what others answer; and one
that no longer differs fails the test, so that the list stays true.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import tarfile
import time
import tomllib
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

import ztfast
from tests.certificates import authority
from ztfast import _core

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "limbo-dev.tar.gz"
EXCEPTIONS = {one["id"]: one for one in tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text())["limbo"]}

pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(),
    reason=f"x509-limbo's vectors are not at hand: {ARCHIVE.name} is not in ../shared/conformance",
)

Vector = dict[str, Any]
# A vector may take so many seconds: those that are made to take long are refused early.
MOST_SECONDS = 1.0


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> list[Vector]:
    folder = tmp_path_factory.mktemp("limbo")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    (path,) = folder.rglob("limbo.json")
    loaded: list[Vector] = json.loads(path.read_text())["testcases"]
    return loaded


def der(pem: str) -> bytes:
    label = "X509 CRL" if "X509 CRL" in pem else "CERTIFICATE"
    if label == "CERTIFICATE":
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    return x509.load_pem_x509_crl(pem.encode()).public_bytes(serialization.Encoding.DER)


def when(vector: Vector) -> dt.datetime:
    given = vector["validation_time"]
    return dt.datetime.fromisoformat(given) if given else dt.datetime.now(dt.UTC)


def refusal(vector: Vector) -> str | None:
    """Return why the verifier refuses the peer of a vector; ``None`` if it accepts it."""
    crls = [der(pem) for pem in vector["crls"]]
    anchors = [der(pem) for pem in vector["trusted_certs"]]
    # A vector without CRLs does not ask about revocation.
    asked = authority(crls=crls, revocation="required" if crls else "if-present") | {"anchors": anchors}
    now_ns = (when(vector) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    chain = [der(vector["peer_certificate"]), *(der(pem) for pem in vector["untrusted_intermediates"])]
    server = vector["expected_peer_name"]["value"] if vector["validation_kind"] == "SERVER" else None
    try:
        verifier = _core.Verifier([asked], threads=1)
        proved = verifier.verify("desk", chain, now_ns, server_name=server)
    except ztfast.ConfigError as error:
        return f"configuration: {error}"
    except ztfast.CredentialError as error:
        return f"{error.code}: {error}"
    wanted = {name["value"] for name in vector["expected_peer_names"]}
    missing = wanted - {*proved["email"], *proved["dns"], *proved["ip"], *proved["uri"]}
    return f"the proof lacks {missing}" if missing else None


def refusal_of_pyca(vector: Vector) -> str | None:
    """Return why pyca refuses the peer; it knows no CRLs."""
    leaf, *others = (
        x509.load_pem_x509_certificate(pem.encode())
        for pem in [vector["peer_certificate"], *vector["untrusted_intermediates"]]
    )
    try:
        store = Store([x509.load_pem_x509_certificate(pem.encode()) for pem in vector["trusted_certs"]])
        policy = PolicyBuilder().store(store).time(when(vector))
        if vector["max_chain_depth"] is not None:
            policy = policy.max_chain_depth(vector["max_chain_depth"])
        if vector["validation_kind"] == "CLIENT":
            policy.build_client_verifier().verify(leaf, others)
        else:
            policy.build_server_verifier(subject(vector["expected_peer_name"])).verify(leaf, others)
    except (VerificationError, ValueError) as error:
        return str(error)
    return None


def subject(name: dict[str, str]) -> x509.DNSName | x509.IPAddress:
    if name["kind"] == "IP":
        return x509.IPAddress(ipaddress.ip_address(name["value"]))
    return x509.DNSName(name["value"])


def word(refused: object) -> str:
    return "FAILURE" if refused else "SUCCESS"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_every_vector_of_a_path_has_its_result_or_is_a_named_exception(vectors: list[Vector]) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for vector in vectors:
        expected, known = vector["expected_result"], EXCEPTIONS.get(vector["id"])
        begin = time.perf_counter()
        refused = refusal(vector)
        seconds = time.perf_counter() - begin
        counts[word(refused)] += 1
        if seconds > MOST_SECONDS:
            wrong.append(f"{vector['id']}: took {seconds:.2f} s")
        if known is None and word(refused) != expected:
            wrong.append(f"{vector['id']}: expected {expected}, and was {refused or 'accepted'}")
        if known is not None:
            pyca = refusal_of_pyca(vector)
            found = {"expected": expected, "ours": word(refused), "pyca": word(pyca)}
            if found != {key: known[key] for key in found} or found["ours"] == expected:
                wrong.append(f"{vector['id']}: the exception says {known}, and found was {found}: {refused}; {pyca}")
    print(dict(counts))
    assert not wrong, f"{len(wrong)} vectors differ:\n" + "\n".join(wrong)
    assert set(EXCEPTIONS) <= {vector["id"] for vector in vectors}
    assert counts["SUCCESS"] > 0
    assert counts["FAILURE"] > 0


def test_whoever_pyca_refuses_is_refused(vectors: list[Vector]) -> None:
    lax = []
    for vector in vectors:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            if refusal(vector) is None and (pyca := refusal_of_pyca(vector)):
                lax.append(f"{vector['id']}: {pyca}")
    assert not lax, "pyca refuses what is accepted here:\n" + "\n".join(lax)
    assert vectors


def test_exceptions_are_strict() -> None:
    for one in EXCEPTIONS.values():
        assert (one["expected"], one["ours"]) == ("SUCCESS", "FAILURE"), one
        assert one["webpki"] in {"SUCCESS", "FAILURE"}, one
        assert len(one["reason"]) > 20, one
