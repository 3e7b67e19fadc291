"""A workload with the real SPIRE: its SVID rotates, is withdrawn and expires, and its bundle follows the CA."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

import ztfast
from tests.agents import Domain, Recorder, shake, until
from tests.spire.host import MISSING, TRUST_DOMAIN, Host, built
from ztfast.identity import Authorities
from ztfast.identity.spiffe import Workload
from ztfast.identity.svids import Svid

pytestmark = pytest.mark.skipif(not built(), reason=MISSING)

A7 = f"spiffe://{TRUST_DOMAIN}/algo/a7"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def workload(host: Host, told: Recorder) -> Iterator[Workload]:
    with Workload(host.endpoint, authorities=told, authority="mesh") as workload:
        yield workload


def key_ids(anchors: list[bytes]) -> set[str]:
    """Return the ids by which SPIRE names its authorities: the subject key ids of their certificates."""
    found = [x509.load_der_x509_certificate(der).extensions for der in anchors]
    return {one.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex() for one in found}


def test_the_first_identity_comes_when_its_entry_does(host: Host, workload: Workload, told: Recorder) -> None:
    until(lambda: "PERMISSION_DENIED: no identity issued" in (workload.status().problem or ""))
    with pytest.raises(ztfast.WorkloadError, match="its entry was deleted, or none fits this process"):
        workload.svid()
    host.register("/algo/a7", 3600)
    svid = workload.svid(wait=20)
    leaf = x509.load_der_x509_certificate(svid.leaf)
    assert svid.spiffe_id == A7
    assert load_pem_private_key(svid.key.encode(), None).public_key() == leaf.public_key()
    shown = x509.load_pem_x509_certificates(host.bundle().encode())
    assert told.anchors == {TRUST_DOMAIN: [one.public_bytes(Encoding.DER) for one in shown]}
    at_client, at_server = shake(workload.ssl_context(), workload.ssl_context(server=True))
    assert at_client.getpeercert(True) == at_server.getpeercert(True) == svid.leaf


def test_svids_of_ten_seconds_rotate_without_a_gap(host: Host, workload: Workload) -> None:
    host.register("/algo/a7", 10)
    first = workload.svid(wait=20)
    leaves, shortest, end = {first.leaf}, 10.0, first.not_after + 3
    while time.time() < end:
        svid = workload.svid()
        leaves.add(svid.leaf)
        shortest = min(shortest, svid.not_after - time.time())
        time.sleep(0.001)
    assert len(leaves) >= 3
    assert shortest > 1
    counts = workload.status().counts
    assert (counts.expired, counts.withdrawn, counts.refused) == (0, 0, 0)


def test_a_deleted_entry_withdraws_the_svid_long_before_it_ends(host: Host, workload: Workload, told: Recorder) -> None:
    entry = host.register("/algo/a7", 3600)
    svid = workload.svid(wait=20)
    host.delete(entry)
    until(lambda: workload.status().counts.withdrawn == 1, 10.0)
    with pytest.raises(ztfast.WorkloadError, match="PERMISSION_DENIED"):
        workload.svid()
    assert time.time() < svid.not_after - 3000
    assert len(told.anchors[TRUST_DOMAIN]) == 1
    host.register("/algo/a7", 3600)
    assert workload.svid(wait=20).spiffe_id == A7


def test_one_of_two_entries_is_deleted(host: Host) -> None:
    entry = host.register("/algo/a7", 3600)
    host.register("/algo/a8", 3600)
    with Workload(host.endpoint, spiffe_id=A7) as workload:
        assert workload.svid(wait=20).spiffe_id == A7
        host.delete(entry)
        until(lambda: workload.status().counts.withdrawn == 1, 10.0)
        with pytest.raises(ztfast.WorkloadError, match=r"no longer issues spiffe://bank\.example/algo/a7"):
            workload.svid()


@pytest.mark.parametrize("which", ["agent", "server"])
def test_a_restart_is_bridged(host: Host, workload: Workload, told: Recorder, which: str) -> None:
    host.register("/algo/a7", 30)
    svid = workload.svid(wait=20)
    if which == "agent":
        host.stop(host.agent)
        until(lambda: not workload.status().connected)
        assert workload.svid() == svid
        host.start_agent()
    else:
        host.stop(host.server)
        assert workload.svid() == svid
        host.start_server()
    until(lambda: workload.svid().leaf != svid.leaf, 30.0)
    assert workload.status().connected
    # The CA is the same, so the authorities are told nothing.
    assert len(told.told) == 1


def test_no_svid_is_served_past_its_end_by_an_agent_that_hangs(host: Host, workload: Workload) -> None:
    host.register("/algo/a7", 5)
    workload.svid(wait=20)
    host.agent.send_signal(signal.SIGSTOP)
    last, served, said = workload.svid(), 0, ""
    while not said:
        begun = time.time()
        try:
            last = workload.svid()
        except ztfast.WorkloadError as error:
            said = str(error)
        assert said or begun < last.not_after
        served += 1
    assert "it expired" in said
    assert last.not_after - 0.1 <= time.time() < last.not_after + 1
    assert served > 1000
    until(lambda: workload.status().counts.expired == 1)
    host.agent.send_signal(signal.SIGCONT)
    assert workload.svid(wait=20).not_after > time.time()


def test_a_revoked_authority_is_gone_from_the_bundle(host: Host, workload: Workload, told: Recorder) -> None:
    def authority(*words: str) -> str:
        return str(next(iter(host.ask("localauthority", "x509", *words).values()))["authority_id"])

    def given() -> set[str]:
        return key_ids(told.anchors[TRUST_DOMAIN])

    host.register("/algo/a7", 60)
    first = workload.svid(wait=20)
    old = host.ask("localauthority", "x509", "show")["active"]["authority_id"]
    assert given() == {old}
    new = authority("prepare")
    until(lambda: given() == {old, new}, 20.0)
    assert authority("activate", "-authorityID", new) == new
    assert authority("taint", "-authorityID", old) == old
    # SVIDs of a tainted authority are renewed at once.
    until(lambda: workload.svid().leaf != first.leaf, 20.0)
    assert key_of_issuer(workload.svid().leaf) == new
    assert given() == {old, new}
    assert authority("revoke", "-authorityID", old) == old
    until(lambda: given() == {new}, 20.0)
    assert key_ids(list(workload.anchors())) == {new}
    assert workload.svid().spiffe_id == A7


def key_of_issuer(leaf: bytes) -> str:
    extensions = x509.load_der_x509_certificate(leaf).extensions
    found = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return "" if found is None else found.hex()


def test_a_federated_bundle_comes_and_goes(host: Host, workload: Workload, told: Recorder, tmp_path: Path) -> None:
    partner = Domain("partner.example")
    pem = tmp_path / "partner.pem"
    pem.write_bytes(x509.load_der_x509_certificate(partner.der).public_bytes(Encoding.PEM))
    host.ask("bundle", "set", "-id", "spiffe://partner.example", "-path", str(pem))
    entry = host.register("/algo/a7", 3600, "-federatesWith", "spiffe://partner.example")
    workload.svid(wait=20)
    until(lambda: told.anchors.get("partner.example") == [partner.der], 20.0)
    host.ask(
        *("entry", "update", "-entryID", entry, "-parentID", f"spiffe://{TRUST_DOMAIN}/host", "-spiffeID", A7),
        *("-selector", f"unix:uid:{os.getuid()}", "-x509SVIDTTL", "3600"),
    )
    until(lambda: told.anchors["partner.example"] == [], 20.0)
    assert workload.svid().spiffe_id == A7


CONFIG = f"""
[[authority]]
name = "mesh"
kind = "spiffe"
trust_domains = {{ "{TRUST_DOMAIN}" = "workload-api" }}

[[rule]]
authority = "mesh"
match = {{ "uri" = "spiffe://{TRUST_DOMAIN}/algo/*" }}
principal = 'User::"{{spiffe.path[1]}}"'
"""


def test_sessions_of_a_revoked_authority_end_and_are_not_admitted_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / "ztfast.toml").write_text(CONFIG)
    authorities, engine = Authorities.load(tmp_path / "ztfast.toml"), ztfast.Engine(ztfast.examples.tiny())
    gate, photo = engine.prepare("view"), engine.resource('Photo::"p2"')

    def admit(svid: Svid) -> ztfast.Session:
        return engine.admit(authorities.x509(svid.leaf, chain=list(svid.chain)))

    def code(session: ztfast.Session) -> str:
        return gate.decide(session, photo).code

    host.register("/algo/ann", 600)
    with Workload(host.endpoint, authorities=authorities, authority="mesh") as workload:
        first = workload.svid(wait=20)
        session = admit(first)
        assert code(session) == "ALLOW"
        old = host.ask("localauthority", "x509", "show")["active"]["authority_id"]
        new = host.ask("localauthority", "x509", "prepare")["prepared_authority"]["authority_id"]
        until(lambda: len(workload.anchors()) == 2, 20.0)
        for step, which in (("activate", new), ("taint", old)):
            host.ask("localauthority", "x509", step, "-authorityID", which)
        until(lambda: workload.svid().leaf != first.leaf, 20.0)
        second = admit(workload.svid())
        assert (code(session), code(second)) == ("ALLOW", "ALLOW")
        host.ask("localauthority", "x509", "revoke", "-authorityID", old)
        until(lambda: code(session) != "ALLOW", 20.0)
        assert key_ids(list(workload.anchors())) == {new}
        assert code(second) == "ALLOW"
        assert code(session) == "REVOKED"
        with pytest.raises(ztfast.CredentialError) as refused:
            admit(first)
        assert refused.value.code == "unknown-issuer"
