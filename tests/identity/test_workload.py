"""A workload follows an agent: its SVID and bundles come, change, are withdrawn and expire; and what the agent does wrong."""

from __future__ import annotations

import copy
import errno
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import ztfast
from tests.agents import Agent, Domain, Recorder, message, shake, until
from ztfast.identity import following
from ztfast.identity import spiffe as of
from ztfast.identity.spiffe import Workload

A7 = "spiffe://bank.example/algo/a7"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.stop()


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def workload(agent: Agent, told: Recorder) -> Iterator[Workload]:
    with Workload(agent.endpoint, authorities=told, authority="mesh") as workload:
        yield workload


@pytest.fixture(scope="module")
def bank() -> Domain:
    return Domain()


def test_an_identity_comes_with_its_key_and_its_bundle(
    agent: Agent, workload: Workload, told: Recorder, bank: Domain
) -> None:
    with pytest.raises(ztfast.WorkloadError, match="the agent has issued none yet"):
        workload.svid()
    agent.say(message(bank.issue(seconds=60)))
    svid = workload.svid(wait=10)
    leaf = x509.load_der_x509_certificate(svid.leaf)
    assert (svid.spiffe_id, svid.trust_domain, svid.chain) == (A7, "bank.example", ())
    assert load_pem_private_key(svid.key.encode(), None).public_key() == leaf.public_key()
    assert svid.not_after == leaf.not_valid_after_utc.timestamp()
    assert svid.not_before == leaf.not_valid_before_utc.timestamp()
    assert x509.load_pem_x509_certificate(svid.pem.encode()) == leaf
    assert told.told == [("mesh", "bank.example", [bank.der])]
    assert workload.anchors() == workload.anchors("bank.example") == (bank.der,)
    status = workload.status()
    assert status.connected
    assert (status.spiffe_id, status.not_after, status.missing) == (A7, svid.not_after, "")
    assert status.trust_domains == {"bank.example": 1}
    assert f"{A7}, ends in " in str(status)
    assert "PRIVATE" not in repr(svid) + str(status)


def test_rotation_replaces_the_svid_and_tells(agent: Agent, bank: Domain) -> None:
    seen: list[bytes] = []
    agent.say(message(bank.issue()))
    with Workload(agent.endpoint, on_update=lambda workload: seen.append(workload.svid().leaf)) as workload:
        first = workload.svid(wait=10)
        agent.say(message(bank.issue()))
        until(lambda: workload.svid().leaf != first.leaf)
        second = workload.svid()
        # The same once more changes nothing.
        agent.say(message(bank.issue(key=None)))
        until(lambda: workload.status().counts.svids == 3)
        assert seen == [first.leaf, second.leaf, workload.svid().leaf]
        assert workload.status().counts.connections == agent.asked == 1


def test_an_unchanged_answer_is_no_update(agent: Agent, workload: Workload, told: Recorder, bank: Domain) -> None:
    same = message(bank.issue())
    agent.say(same)
    workload.svid(wait=10)
    agent.drop()
    until(lambda: workload.status().counts.connections == 2 and workload.status().connected)
    assert (workload.status().counts.svids, workload.status().counts.bundles, len(told.told)) == (1, 1, 1)


def test_an_update_that_raises_does_not_stop_the_workload(
    agent: Agent, bank: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(workload: Workload) -> None:
        raise RuntimeError("of the caller's own")

    agent.say(message(bank.issue()))
    with Workload(agent.endpoint, on_update=fail) as workload:
        first = workload.svid(wait=10)
        agent.say(message(bank.issue()))
        until(lambda: workload.svid().leaf != first.leaf)
    assert "of the caller's own" in caplog.text


def test_a_deleted_entry_withdraws_the_svid_and_keeps_the_bundle(
    agent: Agent, workload: Workload, told: Recorder, bank: Domain
) -> None:
    agent.say(message(bank.issue()))
    workload.svid(wait=10)
    agent.refuse(7)
    until(lambda: workload.status().counts.withdrawn == 1, 2.0)
    with pytest.raises(ztfast.WorkloadError, match=r"its entry was deleted.*PERMISSION_DENIED: no identity issued"):
        workload.svid()
    with pytest.raises(ztfast.WorkloadError, match="its entry was deleted"):
        workload.ssl_context()
    assert workload.anchors() == (bank.der,)
    assert told.anchors == {"bank.example": [bank.der]}
    assert "none: the agent issues us no identity" in str(workload.status())
    # It is tried again, and so a new entry is noticed.
    agent.say(message(bank.issue()))
    assert workload.svid(wait=10).spiffe_id == A7


def test_other_refusals_keep_the_svid(
    agent: Agent, workload: Workload, bank: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LONGEST_DELAY", 0.2)
    agent.say(message(bank.issue()))
    svid = workload.svid(wait=10)
    for code, words in [(14, "UNAVAILABLE: going away%0a"), (3, "INVALID_ARGUMENT"), (99, "status 99"), (2, "UNKNOWN")]:
        agent.refuse(code, words)
        agent.drop()
        name = words.split(":")[0]
        until(lambda name=name: name in (workload.status().problem or ""), 15.0)  # type: ignore[misc]
        assert workload.svid() == svid
        assert "\n" not in (workload.status().problem or "")


def test_no_svid_is_served_past_its_end(agent: Agent, workload: Workload, bank: Domain) -> None:
    agent.say(message(bank.issue(seconds=2)))
    svid = workload.svid(wait=10)
    agent.wait()
    served = 0
    while time.time() < svid.not_after + 1:
        begun = time.time()
        try:
            workload.svid()
        except ztfast.WorkloadError:
            break
        assert begun < svid.not_after
        served += 1
    assert svid.not_after <= time.time() < svid.not_after + 2
    assert served > 100
    until(lambda: workload.status().counts.expired == 1)
    with pytest.raises(ztfast.WorkloadError, match=r"it expired at .* UTC"):
        workload.svid()


def test_the_end_is_checked_at_the_time_of_the_call(
    agent: Agent, workload: Workload, bank: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.say(message(bank.issue(seconds=3600)))
    svid = workload.svid(wait=10)

    class Clock:
        monotonic = staticmethod(time.monotonic)
        now = svid.not_after - 0.001

        @classmethod
        def time(cls) -> float:
            return cls.now

    monkeypatch.setattr(of, "time", Clock)
    assert workload.svid() == svid
    Clock.now = svid.not_after
    with pytest.raises(ztfast.WorkloadError, match="it expired"):
        workload.svid()
    Clock.now = svid.not_after + 86_400
    with pytest.raises(ztfast.WorkloadError, match=r"there is no trust bundle of bank\.example"):
        workload.anchors()
    assert workload.status().trust_domains == {"bank.example": 0}


def test_an_svid_ends_with_the_first_certificate_of_its_path(agent: Agent, workload: Workload, told: Recorder) -> None:
    root = Domain(days=0.5)
    middle = Domain(days=3 / 86_400, above=root)
    agent.say(message(middle.issue(seconds=3600, chain=middle.der, bundle=root.der)))
    svid = workload.svid(wait=10)
    assert svid.chain == (middle.der,)
    assert svid.not_after == x509.load_der_x509_certificate(middle.der).not_valid_after_utc.timestamp()
    assert len(x509.load_pem_x509_certificates(svid.pem.encode())) == 2


def test_expired_anchors_are_withdrawn_from_the_authorities(agent: Agent, workload: Workload, told: Recorder) -> None:
    short, long = Domain(days=3 / 86_400), Domain()
    agent.say(message(long.issue(bundle=short.der + long.der)))
    workload.svid(wait=10)
    assert told.anchors["bank.example"] == [short.der, long.der]
    until(lambda: told.anchors["bank.example"] == [long.der], 5.0)
    assert workload.anchors() == (long.der,)


def test_a_revoked_authority_is_gone_from_the_bundle_even_if_the_svid_is_bad(
    agent: Agent, workload: Workload, told: Recorder
) -> None:
    old, new = Domain(), Domain()
    agent.say(message(old.issue(bundle=old.der + new.der)))
    before = workload.svid(wait=10)
    # The agent has the new bundle, and not yet a new SVID.
    agent.say(message(old.issue(bundle=new.der)))
    until(lambda: told.anchors["bank.example"] == [new.der])
    until(lambda: "leads to none of its trust domain's anchors" in (workload.status().problem or ""))
    assert workload.svid() == before
    agent.say(message(new.issue()))
    until(lambda: workload.svid() != before)


def test_federated_bundles_come_and_go(agent: Agent, workload: Workload, told: Recorder, bank: Domain) -> None:
    partner, other = Domain("partner.example"), Domain("other.example")
    federated = {"spiffe://partner.example": partner.der, "other.example": other.der}
    agent.say(message(bank.issue(), federated=federated))
    workload.svid(wait=10)
    assert told.anchors == {"bank.example": [bank.der], "partner.example": [partner.der], "other.example": [other.der]}
    assert workload.anchors("partner.example") == (partner.der,)
    # One is malformed and stays, the federation with the other ended.
    agent.say(message(bank.issue(), federated={"spiffe://partner.example": b"nothing"}))
    until(lambda: told.anchors["other.example"] == [])
    assert told.anchors["partner.example"] == [partner.der]
    with pytest.raises(ztfast.WorkloadError, match=r"there is no trust bundle of other\.example"):
        workload.anchors("other.example")


@pytest.mark.parametrize(
    "name", ["bank.example", "spiffe://bank.example", "spiffe://Partner.example", "", "a/b", "a:1"]
)
def test_a_federated_bundle_must_have_another_trust_domains_name(
    agent: Agent, workload: Workload, told: Recorder, bank: Domain, name: str
) -> None:
    agent.say(message(bank.issue(), federated={name: Domain("evil.example").der}))
    workload.svid(wait=10)
    until(lambda: "federated trust domain" in (workload.status().problem or ""))
    assert told.anchors == {"bank.example": [bank.der]}


def test_authorities_that_refuse_a_bundle_are_told_it_again(
    agent: Agent, told: Recorder, bank: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    partner = Domain("partner.example")
    told.refuses = {"bank.example"}
    agent.say(message(bank.issue(), federated={"partner.example": partner.der}))
    with Workload(agent.endpoint, authorities=told, authority="mesh") as workload:
        workload.svid(wait=10)
        assert told.anchors == {"partner.example": [partner.der]}
        assert "trust domain bank.example: the authorities do not take it: ValueError" in (
            workload.status().problem or ""
        )
        time.sleep(1.5)
        told.refuses = set()
        until(lambda: "bank.example" in told.anchors, 3.0)
        assert workload.status().counts.connections == 1
    # The log is not filled by tries.
    assert caplog.text.count("the authorities do not take it") == 1


def test_the_log_is_told_a_problem_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following.Follower("/nowhere", None, lambda domain, anchors: None, lambda: None)
    for _ in range(3):
        follower._say("one")
        follower._say("another")
    assert [record.message for record in caplog.records] == ["spiffe: one", "spiffe: another"]
    assert follower.problem is not None
    assert follower.problem[1] == "another"
    monkeypatch.setattr(following, "SAID_AGAIN", 0.0)
    follower._say("one")
    assert caplog.text.count("spiffe: one") == 2


def test_one_of_several_identities_can_be_chosen(agent: Agent, told: Recorder, bank: Domain) -> None:
    both = bank.issue("/algo/a1"), bank.issue()
    agent.say(message(*both))
    with (
        Workload(agent.endpoint, spiffe_id=A7, authorities=told, authority="mesh") as ours,
        Workload(agent.endpoint) as default,
    ):
        assert ours.svid(wait=10).spiffe_id == A7
        assert default.svid(wait=10).spiffe_id == "spiffe://bank.example/algo/a1"
        agent.say(message(both[0]))
        until(lambda: ours.status().counts.withdrawn == 1)
        with pytest.raises(ztfast.WorkloadError, match=r"no longer issues spiffe://bank\.example/algo/a7"):
            ours.svid()
        assert told.anchors == {"bank.example": [bank.der]}
        assert default.svid().spiffe_id == "spiffe://bank.example/algo/a1"


def test_an_agent_that_comes_back_is_found(agent: Agent, workload: Workload, bank: Domain) -> None:
    agent.say(message(bank.issue()))
    svid = workload.svid(wait=10)
    agent.stop()
    until(lambda: not workload.status().connected)
    until(lambda: "cannot reach the agent" in (workload.status().problem or ""))
    assert workload.svid() == svid
    began, tried = time.monotonic(), workload.status().counts.connections
    time.sleep(1.5)
    # 0.1, 0.2, 0.4, ... seconds, of which up to a half is left out.
    assert 1 <= workload.status().counts.connections - tried <= 6 + (time.monotonic() - began - 1.5) * 10
    agent.say(message(bank.issue()))
    agent.start()
    until(lambda: workload.svid() != svid)
    assert workload.status().connected


def test_pauses_grow_to_their_limit_and_differ() -> None:
    follower = following.Follower("/nowhere", None, lambda domain, anchors: None, lambda: None)
    pauses = []
    for failures in (1, 3, 8, 10**9):
        follower._failures = failures
        pauses.append([follower._delay() for _ in range(200)])
    assert all(0.1 <= pause <= 0.2 for pause in pauses[0])
    assert all(0.4 <= pause <= 0.8 for pause in pauses[1])
    assert all(2.5 <= pause <= 5.0 for pause in pauses[2] + pauses[3])
    assert len(set(pauses[3])) > 100


def test_a_silent_stream_is_opened_anew(agent: Agent, workload: Workload, bank: Domain) -> None:
    agent.say(message(bank.issue(seconds=4)))
    workload.svid(wait=10)
    agent.wait()
    until(lambda: agent.asked >= 2, 5.0)
    agent.say(message(bank.issue()))
    until(lambda: workload.svid().not_after > time.time() + 60)
    assert workload.status().counts.connections == agent.asked


def test_an_agent_that_never_answers_is_asked_again(
    agent: Agent, bank: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ANSWERED", 0.2)
    with Workload(agent.endpoint) as workload:
        until(lambda: "the agent has not answered within 0.2 s" in (workload.status().problem or ""))
        agent.say(message(bank.issue()))
        assert workload.svid(wait=10).spiffe_id == A7


def test_a_lack_of_descriptors_does_not_end_the_thread(
    agent: Agent, workload: Workload, bank: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.say(message(bank.issue()))
    svid = workload.svid(wait=10)

    def lack(path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as lacking:
        lacking.setattr(following, "Stream", lack)
        agent.drop()
        until(lambda: "OSError: [Errno 24] Too many open files" in (workload.status().problem or ""))
    agent.say(message(bank.issue()))
    until(lambda: workload.svid() != svid)
    assert workload.status().connected


def test_both_ends_of_a_connection_prove_who_they_are(agent: Agent, workload: Workload, bank: Domain) -> None:
    agent.say(message(bank.issue()))
    svid = workload.svid(wait=10)
    before = set(os.listdir("/proc/self/fd"))
    client, server = workload.ssl_context(), workload.ssl_context(server=True)
    assert {client.minimum_version, server.minimum_version} == {ssl.TLSVersion.TLSv1_3}
    at_client, at_server = shake(client, server)
    assert at_client.getpeercert(True) == at_server.getpeercert(True) == svid.leaf
    # The key's memory is gone.
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0
    # A client of another trust domain, or without a certificate, is refused.
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake(stranger, server)


def test_a_connection_leads_to_the_bundle_of_the_moment(tmp_path: Path, agent: Agent, bank: Domain) -> None:
    (tmp_path / "other").mkdir()
    other = Agent(tmp_path / "other")
    agent.say(message(bank.issue()))
    other.say(message(Domain().issue()))
    with Workload(agent.endpoint) as ours, Workload(other.endpoint) as theirs:
        ours.svid(wait=10), theirs.svid(wait=10)
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(theirs.ssl_context(), ours.ssl_context(server=True))
    other.stop()


def test_a_servers_context_follows_rotation(agent: Agent, workload: Workload) -> None:
    old, new = Domain(), Domain()
    agent.say(message(old.issue()))
    first = workload.svid(wait=10)
    server, old_client = workload.ssl_context(server=True), workload.ssl_context()
    assert shake(old_client, server)[0].getpeercert(True) == first.leaf
    agent.say(message(new.issue(seconds=3)))
    until(lambda: workload.svid() != first)
    second = workload.svid()
    client = workload.ssl_context()
    at_client, at_server = shake(client, server)
    assert at_client.getpeercert(True) == at_server.getpeercert(True) == second.leaf
    # The old authority is gone from the bundle, on both sides.
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(old_client, server)
    old_client.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(old_client, server)
    # Past the SVID's end there is no handshake.
    agent.wait()
    until(lambda: workload.status().spiffe_id is None, 5.0)
    with pytest.raises(ssl.SSLError):
        shake(client, server)


def test_a_closed_workload_has_nothing_and_no_thread(agent: Agent, bank: Domain) -> None:
    agent.say(message(bank.issue()))
    with Workload(agent.endpoint) as workload:
        workload.svid(wait=10)
        thread = workload._follower.thread
    workload.close()
    assert not thread.is_alive()
    with pytest.raises(ztfast.WorkloadError, match="it was closed"):
        workload.svid(wait=10)
    until(lambda: agent.open == 0)


def test_closing_ends_a_wait(agent: Agent) -> None:
    workload = Workload(agent.endpoint)
    threading.Timer(0.2, workload.close).start()
    began = time.monotonic()
    with pytest.raises(ztfast.WorkloadError, match="it was closed"):
        workload.svid(wait=30)
    assert time.monotonic() - began < 5


def test_a_workload_cannot_be_copied(workload: Workload) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.copy(workload)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"socket": "tcp://127.0.0.1:80"}, "socket: wanted unix://"),
        ({"socket": "unix://host/run/a"}, "socket: wanted unix://"),
        ({"socket": "unix:///run/a%00"}, "socket: wanted unix://"),
        ({"socket": "unix:///run/\0"}, "socket: wanted unix://"),
        ({"socket": "unix:///run/a?b"}, "socket: wanted unix://"),
        ({"socket": "run/a"}, "socket: wanted unix://"),
        ({"socket": b"unix:///run/a"}, "socket: wanted unix://"),
        ({"socket": "unix:///" + "x" * 120}, "at most 107 bytes"),
        ({"socket": None}, "or set SPIFFE_ENDPOINT_SOCKET"),
        ({"authorities": Recorder()}, "authority: wanted the name of the authority"),
        ({"spiffe_id": "spiffe://bank.example"}, "spiffe_id: wanted a SPIFFE id"),
        ({"spiffe_id": 5}, "spiffe_id: wanted a SPIFFE id"),
        ({"on_update": 5}, "on_update: wanted a function"),
    ],
)
def test_arguments_are_checked(given: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    with pytest.raises(ztfast.ArgumentError, match=words):
        Workload(**({"socket": "unix:///run/a"} | given))


def test_the_environment_names_the_socket(agent: Agent, bank: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent.endpoint)
    agent.say(message(bank.issue()))
    with Workload() as workload:
        assert workload.svid(wait=10).spiffe_id == A7


FORKS = """
import os, signal, sys, time, ztfast
from tests.agents import *
from pathlib import Path
from ztfast.identity.spiffe import Workload

agent, bank, told = Agent(Path(sys.argv[1])), Domain(), Recorder()
agent.say(message(bank.issue()))
workload = Workload(agent.endpoint, authorities=told, authority="mesh")
first = workload.svid(wait=10)

def streams():
    return sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") for fd in os.listdir("/proc/self/fd")
               if os.path.islink(f"/proc/self/fd/{fd}"))

before = streams()
# As if another thread were just waiting or telling.
workload._news.acquire()
child = os.fork()
if child == 0:
    signal.alarm(10)
    for use in (workload.svid, workload.ssl_context, workload.anchors, workload.status):
        try:
            use()
        except ztfast.ForkedError:
            continue
        os._exit(1)
    if workload._follower.held.svid is not None or streams() != before - 1:
        os._exit(2)
    workload.close()
    with Workload(agent.endpoint) as own:
        os._exit(0 if own.svid(wait=5).leaf == first.leaf else 3)
workload._news.release()
assert os.waitpid(child, 0)[1] == 0, "the child failed"
agent.say(message(bank.issue()))
until(lambda: workload.svid().leaf != first.leaf)
assert workload.status().counts.connections == 1
print("the parent goes on")
"""


def test_a_forked_child_has_neither_the_stream_nor_the_key(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "the parent goes on\n", done.stderr


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['h2'] = None\n"
        "from ztfast.identity.spiffe import Workload\n"
        "try:\n    Workload('unix:///run/a')\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ztfast.identity.spiffe needs the extra 'spiffe': pip install 'ztfast[spiffe]' (")


def test_a_process_that_forgot_to_close_ends(agent: Agent) -> None:
    program = f"from ztfast.identity.spiffe import Workload; Workload({agent.endpoint!r}); print('done')"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.communicate(timeout=20)[0] == "done\n"
    finally:
        child.send_signal(signal.SIGKILL)
    assert child.returncode == 0
