"""What an agent sends is believed only where it is well formed: forged, half-written, foreign, stale and huge answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast
from tests.agents import Agent, Domain, Recorder, message, until
from ztfast.identity import workload_api
from ztfast.identity.spiffe import Workload
from ztfast.identity.svids import Anchor, Bad, anchors, checked, parsed_id
from ztfast.identity.workload_api import Broken, Issued, answer

BANK, STRANGER = Domain(), Domain()
A7 = "spiffe://bank.example/algo/a7"
KEY = ec.generate_private_key(ec.SECP256R1())
DSA = dsa.generate_private_key(1024).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
LEAF_ONLY = answer(message(BANK.issue())).issued[0].certificates

# Each breaks one rule of X509-SVID or of the Workload API, and the words say which.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another key": ({"key_der": answer(message(BANK.issue())).issued[0].key}, "does not fit its key"),
    "no key": ({"key_der": b""}, "key cannot be read"),
    "half a key": ({"key_der": answer(message(BANK.issue())).issued[0].key[:-9]}, "key cannot be read"),
    "a key of DSA": ({"key_der": DSA}, "neither ECDSA nor Ed25519 nor RSA"),
    "another id than is said": ({"says": "spiffe://bank.example/algo/a8"}, "and the agent says"),
    "two ids": ({"uris": [A7, "spiffe://bank.example/admin"]}, "has 2 URIs as names"),
    "no id": ({"uris": []}, "has 0 URIs as names"),
    "a CA": ({"ca": True}, "is a CA's certificate"),
    "may sign certificates": ({"usage": {"digital_signature": True, "key_cert_sign": True}}, "may sign certificates"),
    "may sign CRLs": ({"usage": {"digital_signature": True, "crl_sign": True}}, "may sign certificates or CRLs"),
    "no signatures": ({"usage": {"key_agreement": True}}, "key usage is missing, not critical or not for signatures"),
    "usage not critical": ({"critical": False}, "key usage is missing, not critical"),
    "for servers alone": ({"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}, "not for clients and servers"),
    "expired": ({"seconds": -1}, "the SVID has expired"),
    "not valid yet": ({"begin": 60.0}, "not valid yet"),
    "half a certificate": ({"leaf": LEAF_ONLY[:-1]}, "not a row of certificates in DER"),
    "garbage after it": ({"chain": b"\x30\x03\x02\x01\x05"}, "a certificate that cannot be read"),
    "bytes after it": ({"chain": b"\xff"}, "not a row of certificates in DER"),
    "a leaf above it": ({"chain": LEAF_ONLY}, "an intermediate of the SVID is no CA's certificate"),
    "a stranger above it": ({"chain": STRANGER.der}, "leads to none of its trust domain's anchors"),
    "a hundred above it": ({"chain": BANK.der * 100}, "more than 10 certificates"),
}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.stop()


@pytest.mark.parametrize(("changed", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_svid_is_refused(changed: dict[str, Any], words: str) -> None:
    (issued,) = answer(message(BANK.issue(**changed))).issued
    with pytest.raises(Bad, match=words):
        checked(issued, anchors(BANK.der, time.time()), time.time())


def test_an_svid_without_a_certificate_is_refused() -> None:
    with pytest.raises(Bad, match="no certificate with the SVID"):
        checked(Issued(A7, b"", b"", b""), anchors(BANK.der, time.time()), time.time())


def test_an_svid_of_a_stranger_is_refused() -> None:
    (issued,) = answer(message(STRANGER.issue())).issued
    with pytest.raises(Bad, match="leads to none of its trust domain's anchors"):
        checked(issued, anchors(BANK.der, time.time()), time.time())
    assert checked(issued, anchors(issued.bundle, time.time()), time.time()).spiffe_id == A7


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_an_svid_is_valid_from_its_first_to_before_its_last_second(edge: str) -> None:
    (issued,) = answer(message(BANK.issue())).issued
    trusted = anchors(BANK.der, time.time())
    svid = checked(issued, trusted, time.time())
    inside, outside = {"begin": (svid.not_before, svid.not_before - 1), "end": (svid.not_after - 1, svid.not_after)}[
        edge
    ]
    assert checked(issued, trusted, inside) == svid
    with pytest.raises(Bad, match=r"valid yet|expired"):
        checked(issued, trusted, outside)


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        (b"", "the bundle is empty"),
        (LEAF_ONLY, "a trust anchor is no CA's certificate"),
        (BANK.der + LEAF_ONLY, "a trust anchor is no CA's certificate"),
        (BANK.der[:-1], "not a row of certificates"),
        (BANK.der + b"\x30", "not a row of certificates"),
        (b"\x30\x80", "not a row of certificates"),
        (b"\x30\x84\xff\xff\xff\xff", "not a row of certificates"),
        (b"\x30\x00", "a certificate that cannot be read"),
        (BANK.der * 101, "more than 100 certificates"),
        (Domain(days=-30 / 86_400).der, "every trust anchor of the bundle has expired"),
    ],
)
def test_a_bad_bundle_is_refused(bundle: bytes, words: str) -> None:
    with pytest.raises(Bad, match=words):
        anchors(bundle, time.time())


def test_expired_anchors_are_left_out() -> None:
    old = Domain(days=-30 / 86_400)
    assert [one.der for one in anchors(old.der + BANK.der, time.time())] == [BANK.der]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://bank.example",
        "spiffe://bank.example/",
        "spiffe:///algo",
        "SPIFFE://bank.example/algo",
        "spiffe://Bank.example/algo",
        "spiffe://bank.example/algo/",
        "spiffe://bank.example//algo",
        "spiffe://bank.example/./algo",
        "spiffe://bank.example/algo/..",
        "spiffe://bank.example/al%67o",
        "spiffe://bank.example/algo?a",
        "spiffe://bank.example/algo#a",
        "spiffe://bank.example:1/algo",
        "spiffe://me@bank.example/algo",
        "spiffe://bank.example/álgo",
        "spiffe://bank.example/algo\n",
        "https://bank.example/algo",
        "spiffe://" + "x" * 256 + "/a",
        "spiffe://bank.example/" + "x" * 2048,
    ],
)
def test_what_is_no_spiffe_id_is_refused(text: str) -> None:
    with pytest.raises(Bad, match="is no SPIFFE id"):
        parsed_id(text)


def test_the_longest_spiffe_id_is_one() -> None:
    domain = "x" * 255
    assert parsed_id(f"spiffe://{domain}/{'y' * (2048 - 265)}")[0] == domain


GOOD = message(BANK.issue())
CUT = b"\0\0\0\0\x09"


@pytest.mark.parametrize(
    ("do", "given", "words"),
    [
        ("say", message(BANK.issue(**BAD["another key"][0])), "does not fit its key"),
        ("say", message(BANK.issue(bundle=b"")), "lacks bundle of an SVID, and is discarded"),
        ("say", message(BANK.issue(), BANK.issue(key_der=b"")), "lacks key of an SVID, and is discarded"),
        ("say", message(BANK.issue(leaf=b"-", chain=b"-")), "not a row of certificates"),
        ("say", message(BANK.issue(bundle=BANK.der[:50])), "trust domain bank.example: the bundle is not"),
        ("say", message(Domain("evil.example").issue()), "of trust domain evil.example, and ours is bank.example"),
        ("say", message(BANK.issue(says="https://bank.example/algo/a7")), "is no SPIFFE id"),
        ("say", b"", "has no SVID"),
        ("say", GOOD[:-1], "cut off or no protobuf"),
        ("say", b"\xff" * 20, "cut off or no protobuf"),
        ("say", message(federated={"a": b""}) * 2, "two bundles of one trust domain"),
        ("frame", b"\x01\0\0\0\0", "compressed"),
        ("frame", b"\0\xff\xff\xff\xff", "more than 4194304 bytes"),
        ("raw", b"\0\x40\x01\0\0\0\0\0\1" + bytes(16_385), "does not speak HTTP/2"),
        ("raw", b"\0" * 65_536, "does not speak HTTP/2"),
        ("headers", [(":status", "404")], "HTTP status 404"),
        ("headers", [(":status", "200"), ("grpc-status", "0")], "the agent ended the stream"),
    ],
)
def test_the_last_good_answer_stays(agent: Agent, do: str, given: Any, words: str) -> None:
    told = Recorder()
    agent.say(GOOD)
    with Workload(agent.endpoint, authorities=told, authority="mesh") as workload:
        svid = workload.svid(wait=10)
        if do == "headers":
            agent.drop()
            agent.headers(*given)
            agent.drop()
        else:
            getattr(agent, do)(given)
        until(lambda: words in (workload.status().problem or ""))
        assert workload.svid() == svid
        assert told.anchors == {"bank.example": [BANK.der]}
        # What is good comes through afterwards.
        agent.say(message(BANK.issue()))
        until(lambda: workload.svid() != svid)
        assert told.told == [("mesh", "bank.example", [BANK.der])]


def test_an_answer_may_come_in_pieces_and_be_large(agent: Agent) -> None:
    with Workload(agent.endpoint) as workload:
        federated = {f"d{number}.example": BANK.der * 90 for number in range(60)}
        agent.say(message(BANK.issue(), federated=federated))
        assert workload.svid(wait=20).spiffe_id == A7
        until(lambda: len(workload.status().trust_domains) == 61)


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    try:
        found = answer(data)
    except Broken:
        return
    assert sum(len(one.certificates) + len(one.key) + len(one.bundle) for one in found.issued) <= len(data)


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_a_changed_answer_never_proves_more(data: st.DataObject) -> None:
    """Whatever bytes change, what is believed is one of our own ids with a key of its own, under our own anchors."""
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.integers(len(changed) - 20, len(changed))) :]
    trusted = [Anchor(BANK.der, time.time() + 3600)]
    try:
        found = [checked(issued, trusted, time.time()) for issued in answer(bytes(changed)).issued]
    except (Bad, Broken):
        return
    (whole,) = answer(GOOD).issued
    assert all((svid.spiffe_id, svid.leaf) == (A7, whole.certificates) for svid in found)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_certificates_or_refused(data: bytes) -> None:
    with pytest.raises(Bad):
        anchors(data, time.time())


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=4), st.booleans())
def test_any_bytes_on_the_stream_are_http_or_refused(pieces: list[bytes], framed: bool) -> None:
    stream = workload_api.Stream("/nowhere")
    stream._http.initiate_connection()
    try:
        for piece in pieces:
            # Frames with a right head get further.
            head = len(piece[1:]).to_bytes(3, "big") + piece[:1] + b"\0\0\0\0\x01" if framed and piece else b""
            stream._take(head + piece[1:] if framed else piece)
            stream._message()
    except Broken as error:
        words = str(error)
    else:
        words = stream._ended or "read"
    finally:
        stream.close()
    assert words.isprintable()
    assert words


def test_crls_that_are_not_used_are_reported(agent: Agent) -> None:
    agent.say(message(BANK.issue(), crl=b"a CRL"))
    with Workload(agent.endpoint) as workload:
        assert workload.svid(wait=10).spiffe_id == A7
        until(lambda: "the agent sent 1 CRLs, which are not used" in (workload.status().problem or ""))


def test_the_words_of_an_agent_are_shown_in_one_short_line(agent: Agent) -> None:
    agent.refuse(7, "%1b[2J" + "x" * 5000)
    with Workload(agent.endpoint) as workload:
        until(lambda: "PERMISSION_DENIED" in (workload.status().problem or ""))
        shown = workload.status().problem or ""
        assert shown.isprintable()
        assert len(shown) < 200
        with pytest.raises(ztfast.WorkloadError) as raised:
            workload.svid()
        assert str(raised.value).isprintable()
