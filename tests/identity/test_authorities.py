"""Authorities: what they prove, and what changes when their files do."""

from __future__ import annotations

import base64
import datetime
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp as made
from cryptography.x509.oid import ExtendedKeyUsageOID

import ztfast
from tests.identity import pki
from ztfast.identity import Authorities, ConfigError, Credential, CredentialError, Ground, Reloaded
from ztfast.identity.grounds import KINDS

SECOND = datetime.timedelta(seconds=1)


def ns(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def pin(holder: pki.Holder) -> str:
    return "sha256/" + base64.b64encode(sha256(holder.spki).digest()).decode()


class Desk:
    """A folder with a PKI and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = pki.root()
        self.ca = self.root.issue(pki.name(CN="Desk CA", O="Desk"), ca=True)
        self.leaf = self.issue()
        self.config: dict[str, Any] = {
            "authority": [{"name": "desk", "kind": "x509", "anchors": ["root.pem"], "intermediates": ["ca.pem"]}],
            "rule": [
                {
                    "authority": "desk",
                    "match": {"subject.OU": "algo"},
                    "principal": 'Algo::"{subject.CN}"',
                    "assurance": 3,
                    "region": "{subject.C}",
                    "attributes": {"desk": "{subject.OU}"},
                }
            ],
            "proxy": [{"principal": 'Service::"edge"'}],
        }
        self.put("root.pem", self.root.pem)
        self.put("ca.pem", self.ca.pem)

    def issue(self, **parts: Any) -> pki.Holder:
        return self.ca.issue(pki.name(CN="a7", OU="algo", C="DE"), **parts)

    def put(self, name: str, content: bytes) -> None:
        # As whoever changes files that are read: beside, and renamed.
        (self.folder / f"{name}.new").write_bytes(content)
        (self.folder / f"{name}.new").rename(self.folder / name)

    @property
    def authority(self) -> dict[str, Any]:
        first: dict[str, Any] = self.config["authority"][0]
        return first

    def load(self) -> Authorities:
        return Authorities.from_dict(self.config, base=self.folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def refusal(credential: Credential, now_ns: int | None = None) -> str:
    with pytest.raises(CredentialError) as raised:
        credential.verify(now_ns)
    return raised.value.code


def test_a_certificate_is_proved_and_mapped(desk: Desk) -> None:
    authorities = desk.load()
    credential = authorities.x509(desk.leaf.pem)
    proved, mapped = credential.verify()
    assert mapped.principal == ztfast.Uid("Algo", "a7")
    assert (mapped.assurance, mapped.region, mapped.factors) == (3, "DE", ("x509",))
    assert mapped.attributes == {"desk": "algo"}
    assert proved.authority == "desk"
    # A certificate counts to the end of its last second.
    assert proved.not_after_ns == ns(desk.leaf.certificate.not_valid_after_utc + SECOND)
    assert proved.bound_by == "certificate"
    assert ("CN", "a7") in proved.subject
    assert int(proved.serial, 16) == desk.leaf.certificate.serial_number
    assert proved.epoch == authorities.epoch


def test_it_rests_on_the_grounds_that_its_certificates_have(desk: Desk) -> None:
    proved, _ = desk.load().x509(desk.leaf.der).verify()
    leaf = desk.leaf.der
    expected = {
        *(Ground.certificate(leaf), Ground.serial(leaf), Ground.key(leaf), Ground.issuer(leaf)),
        *(Ground.authority("desk"), Ground.key(desk.ca.der), Ground.key(desk.root.der)),
    }
    assert set(proved.grounds) == expected
    assert {ground.kind for ground in proved.grounds} <= set(KINDS)


def test_the_time_is_that_of_the_call_and_each_second_counts(desk: Desk) -> None:
    begin, end = pki.now() - pki.HOUR, pki.now() + pki.HOUR
    credential = desk.load().x509(desk.issue(not_before=begin, not_after=end).der)
    assert credential.verify().proved.not_before_ns <= ns(begin)
    # The same verifier again, at another time.
    assert refusal(credential, ns(begin - SECOND)) == "not-yet-valid"
    assert credential.verify(ns(begin)).mapped.rule == "rule 1"
    assert credential.verify(ns(end)).mapped.rule == "rule 1"
    assert refusal(credential, ns(end + SECOND)) == "expired"
    assert credential.verify().mapped.rule == "rule 1"


def test_what_nobody_proves_or_maps_is_refused(desk: Desk) -> None:
    authorities = desk.load()
    assert refusal(authorities.x509(pki.root(pki.name(CN="Stranger")).issue().der)) == "unknown-issuer"
    # A stranger that has the name of the anchor.
    assert refusal(authorities.x509(pki.root().issue().der)) == "signature"
    assert refusal(authorities.x509(desk.ca.issue(pki.name(CN="x", OU="human")).der)) == "no-rule"
    assert refusal(authorities.x509(b"x")) == "malformed"
    server = desk.issue(uses=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert refusal(authorities.x509(server.der)) == "usage"


def test_a_chain_that_came_with_the_certificate_is_used(desk: Desk) -> None:
    del desk.authority["intermediates"]
    authorities = desk.load()
    assert refusal(authorities.x509(desk.leaf.der)) == "unknown-issuer"
    for credential in (
        authorities.x509(desk.leaf.pem + desk.ca.pem),
        authorities.x509(desk.leaf.der, chain=[desk.ca.der]),
        authorities.x509(desk.leaf.certificate, chain=desk.ca.pem, authority="desk"),
    ):
        assert credential.verify().mapped.principal.id == "a7"
        assert credential.others == (desk.ca.der,)


def test_long_chains_and_large_certificates_are_refused_soon(desk: Desk) -> None:
    authorities = desk.load()
    chain = [desk.root]
    for _ in range(4):
        chain.append(chain[-1].issue(pki.name(CN=f"CA {len(chain)}"), ca=True))
    leaf = chain[-1].issue()
    pem = leaf.pem + b"".join(each.pem for each in reversed(chain))
    assert refusal(authorities.x509(pem)) == "path-too-long"
    for many in (leaf.pem * 100, b"".join(each.pem for each in chain) * 4):
        with pytest.raises(CredentialError, match="more than 16") as raised:
            authorities.x509(many)
        assert raised.value.code == "too-many-certificates"
    large = desk.issue(dns=[f"{number}.{'x' * 60}.example" for number in range(14_000)])
    assert len(large.der) > 1_000_000
    began = time.process_time()
    assert refusal(authorities.x509(large.der[: 1 << 20])) == "too-large"
    with pytest.raises(CredentialError, match="are read"):
        authorities.x509(large.der)
    assert time.process_time() - began < 1


def test_a_credential_never_changes_and_is_its_certificates(desk: Desk) -> None:
    authorities = desk.load()
    one, same, other = (authorities.x509(der) for der in (desk.leaf.der, desk.leaf.pem, desk.issue().der))
    assert one == same != other
    assert len({one, same, other}) == 2
    assert one != authorities.x509(desk.leaf.der, chain=[desk.ca.der])
    for name in ("leaf", "authority", "new"):
        with pytest.raises(AttributeError, match="never changes"):
            setattr(one, name, b"x")
        with pytest.raises(AttributeError, match="never changes"):
            delattr(one, name)
    with pytest.raises(TypeError, match="belongs to its authorities"):
        pickle.dumps(one)
    shown = repr(one)
    assert sha256(desk.leaf.der).hexdigest()[:16] in shown
    assert "CN=a7" in shown
    assert repr(authorities.x509(b"x")).startswith("<ztfast.identity.Credential not a certificate")
    assert repr(authorities) == "<ztfast.identity.Authorities desk>"


def test_wrong_arguments_are_refused(desk: Desk) -> None:
    authorities, others = desk.load(), desk.load()
    credential = authorities.x509(desk.leaf.der)
    for wrong in ("dusk", 5, b"desk", ""):
        with pytest.raises(ztfast.ArgumentError, match=r"authority: wanted the name of an authority \(desk\)"):
            authorities.x509(desk.leaf.der, authority=wrong)  # type: ignore[arg-type]
    for odd in (None, 5, desk.leaf.der, others.x509(desk.leaf.der)):
        with pytest.raises(ztfast.ArgumentError, match="a credential that these authorities took"):
            authorities.verify(odd)  # type: ignore[arg-type]
    for now in (-1, 1 << 63, 1.5, "now", True):
        with pytest.raises(ztfast.ArgumentError, match="now_ns"):
            credential.verify(now)  # type: ignore[arg-type]
    for options in ({"threads": 0}, {"threads": 65}, {"queue": 0}, {"queue": "x"}):
        with pytest.raises(ztfast.ArgumentError):
            Authorities.from_dict(desk.config, base=desk.folder, **options)


def test_an_unchanged_configuration_changes_nothing(desk: Desk) -> None:
    desk.authority["crls"] = ["*.crl"]
    desk.put("a.crl", desk.ca.crl(5))
    authorities = desk.load()
    told: list[Reloaded] = []
    authorities.listen(told.append)
    assert authorities.reload() == Reloaded(False, authorities.epoch)
    assert told == []
    assert desk.load().epoch == authorities.epoch


Change = Callable[[Desk], object]


def fell(desk: Desk, change: Change) -> set[Ground]:
    """Return what falls by a change, and check that listeners are told the same."""
    authorities = desk.load()
    told: list[Reloaded] = []
    authorities.listen(told.append)
    before = authorities.epoch
    change(desk)
    reloaded = authorities.reload()
    assert reloaded.changed
    assert reloaded.epoch == authorities.epoch != before
    assert told == [reloaded]
    return set(reloaded.fell)


def test_an_anchor_that_is_removed_falls_by_its_key(desk: Desk) -> None:
    other = pki.root(pki.name(CN="Other Root"))
    desk.put("other.pem", other.pem)
    desk.authority["anchors"].append("other.pem")
    assert fell(desk, lambda desk: desk.authority["anchors"].pop()) == {Ground.key(other.der)}
    # An anchor more takes nothing away.
    assert fell(desk, lambda desk: desk.authority["anchors"].append("other.pem")) == set()
    # A renewed one with the same key is the same ground.
    renewed = pki.root(pki.name(CN="Other Root"), other.private)
    assert fell(desk, lambda desk: desk.put("other.pem", renewed.pem)) == set()
    assert fell(desk, lambda desk: desk.put("other.pem", pki.root().pem)) == {Ground.key(other.der)}


def test_a_serial_number_of_a_new_crl_falls(desk: Desk) -> None:
    desk.authority["crls"] = ["*.crl"]
    desk.put("a.crl", desk.ca.crl(5))
    assert fell(desk, lambda desk: desk.put("a.crl", desk.ca.crl(5, desk.leaf, number=2))) == {
        Ground.serial(desk.leaf.der)
    }
    # One that is no longer on hold rises again, and nothing falls.
    assert fell(desk, lambda desk: desk.put("a.crl", desk.ca.crl(number=3))) == set()
    assert [*desk.load().revoked()] == []
    desk.put("a.crl", desk.ca.crl(desk.leaf, number=4))
    assert [*desk.load().revoked()] == [Ground.serial(desk.leaf.der)]


def test_a_pin_that_is_removed_falls_by_its_key(desk: Desk) -> None:
    backup = pki.root()
    desk.authority["pins"] = [pin(desk.leaf), pin(desk.ca), pin(backup)]
    assert fell(desk, lambda desk: desk.authority["pins"].pop(0)) == {Ground.key(desk.leaf.der)}
    # Without any, everything is allowed that was.
    assert fell(desk, lambda desk: desk.authority.pop("pins")) == set()
    # Pins where there were none: whatever the authority proved is verified again.
    pins = [pin(desk.ca), pin(backup)]
    assert fell(desk, lambda desk: desk.authority.update(pins=pins)) == {Ground.authority("desk")}


@pytest.mark.parametrize(
    ("before", "after", "falls"),
    [
        ({}, {"max_age": "1h"}, True),
        ({"max_age": "2h"}, {"max_age": "1h"}, True),
        ({"max_age": "1h"}, {"max_age": "2h"}, False),
        ({}, {"revocation": "required"}, True),
        ({"revocation": "if-present"}, {}, True),
        ({}, {"revocation": "if-present"}, False),
        ({"revocation": "required"}, {}, False),
    ],
)
def test_an_authority_that_asks_for_more_falls(desk: Desk, before: Any, after: Any, falls: bool) -> None:
    desk.authority.update(before)

    def change(desk: Desk) -> None:
        for name in before:
            del desk.authority[name]
        desk.authority.update(after)

    assert fell(desk, change) == ({Ground.authority("desk")} if falls else set())


def test_an_authority_that_is_removed_falls_with_its_anchors_and_pins(desk: Desk) -> None:
    other = pki.root(pki.name(CN="Other Root"))
    desk.put("other.pem", other.pem)
    pins = [pin(other), pin(desk.ca)]
    desk.config["authority"].append({"name": "other", "kind": "x509", "anchors": ["other.pem"], "pins": pins})
    gone = {Ground.authority("other"), Ground.key(other.der), Ground.key(desk.ca.der)}
    assert fell(desk, lambda desk: desk.config["authority"].pop()) == gone


def test_rules_that_are_changed_or_removed_end_what_they_mapped(desk: Desk) -> None:
    new = {"authority": "desk", "match": {"subject.CN": "*"}, "principal": 'Algo::"x"'}
    rules = desk.config["rule"]
    assert fell(desk, lambda _: rules.append(new)) == set()
    assert fell(desk, lambda _: rules[0].update(assurance=2)) == {Ground.authority("desk")}
    assert fell(desk, lambda _: rules.insert(0, new)) == {Ground.authority("desk")}
    assert fell(desk, lambda _: rules.pop()) == {Ground.authority("desk")}


def test_a_configuration_is_taken_as_a_whole_or_not_at_all(desk: Desk) -> None:
    desk.authority["crls"] = ["*.crl"]
    desk.put("a.crl", desk.ca.crl(number=7))
    authorities = desk.load()
    credential = authorities.x509(desk.leaf.der)
    told: list[Reloaded] = []
    authorities.listen(told.append)
    before, whole = (
        authorities.epoch,
        {name: (desk.folder / name).read_bytes() for name in ("ca.pem", "a.crl", "root.pem")},
    )
    for name, content, words in (
        ("ca.pem", b"x", "cut off"),
        ("a.crl", desk.ca.crl(desk.leaf, number=6), "rolled back"),
        ("a.crl", b"", "it is empty"),
        ("root.pem", desk.root.key_pem, "private key"),
        ("root.pem", desk.ca.crl(), "BEGIN X509 CRL"),
        ("root.pem", b"0\x03\x02\x01\x05", "private key or a PKCS12"),
    ):
        desk.put(name, content)
        with pytest.raises(ConfigError, match=words):
            authorities.reload()
        assert credential.verify().mapped.principal.id == "a7"
        desk.put(name, whole[name])
    (desk.folder / "a.crl").unlink()
    with pytest.raises(ConfigError, match="no file is"):
        authorities.reload()
    desk.put("a.crl", whole["a.crl"])
    assert authorities.reload() == Reloaded(False, before)
    assert told == []


def test_a_crl_that_was_rolled_back_stays_refused_after_it_was_away(desk: Desk) -> None:
    desk.authority["crls"] = ["*.crl"]
    desk.put("a.crl", desk.ca.crl(desk.leaf, number=7))
    desk.put("z.crl", desk.root.crl(number=1))
    authorities = desk.load()
    (desk.folder / "a.crl").unlink()
    assert authorities.reload().changed
    desk.put("a.crl", desk.ca.crl(number=6))
    with pytest.raises(ConfigError, match=r"authority desk: .*rolled back"):
        authorities.reload()
    # Another CA of the same name numbers its own.
    desk.put("a.crl", pki.root(desk.ca.certificate.subject).crl(number=1))
    assert authorities.reload().changed


def test_what_the_verifier_says_of_an_authority_has_its_line(desk: Desk) -> None:
    desk.put("a.crl", desk.ca.crl(number=None))
    desk.put(
        "ztfast.toml", b'\n[[authority]]\nname = "desk"\nkind = "x509"\nanchors = ["root.pem"]\ncrls = ["a.crl"]\n'
    )
    with pytest.raises(ConfigError, match=r"ztfast\.toml:2: authority desk: .*lacks a number") as raised:
        Authorities.load(desk.folder / "ztfast.toml")
    assert raised.value.line == 2


def test_a_revoked_certificate_is_refused_when_its_crl_is_read(desk: Desk) -> None:
    desk.authority.update(crls=["*.crl"], revocation="required")
    desk.put("a.crl", desk.ca.crl())
    desk.put("z.crl", desk.root.crl())
    authorities = desk.load()
    credential = authorities.x509(desk.leaf.der)
    assert credential.verify().proved.bound_by == "CRL"
    desk.put("a.crl", desk.ca.crl(desk.leaf, number=2))
    assert authorities.reload().fell == (Ground.serial(desk.leaf.der),)
    assert refusal(credential) == "revoked"


def test_listeners_are_held_weakly_and_their_failures_are_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    class Engine:
        def __init__(self) -> None:
            self.told: list[Reloaded] = []

        def hear(self, reloaded: Reloaded) -> None:
            self.told.append(reloaded)
            raise RuntimeError("deaf")

    authorities, engine = desk.load(), Engine()
    gone = weakref.ref(Engine())
    authorities.listen(engine.hear)
    after: list[Reloaded] = []
    authorities.listen(after.append)
    other = Engine()
    authorities.listen(other.hear)
    del other
    gc.collect()
    desk.authority["max_age"] = "1h"
    with caplog.at_level(logging.ERROR, "ztfast"):
        authorities.reload()
    assert len(engine.told) == len(after) == 1
    assert "a listener failed" in caplog.text
    assert gone() is None


def comes_true(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, at most for ten seconds."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


@pytest.fixture
def refreshing(desk: Desk) -> Iterator[Authorities]:
    desk.config["refresh"] = "1s"
    desk.authority["crls"] = ["*.crl"]
    desk.put("a.crl", desk.ca.crl())
    with desk.load() as authorities:
        yield authorities


def test_files_are_read_anew_in_the_background(
    desk: Desk, refreshing: Authorities, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Reloaded] = []
    refreshing.listen(told.append)
    credential = refreshing.x509(desk.leaf.der)
    desk.put("a.crl", desk.ca.crl(desk.leaf, number=2))
    assert comes_true(lambda: bool(told))
    assert told[0].fell == (Ground.serial(desk.leaf.der),)
    with caplog.at_level(logging.WARNING, "ztfast"):
        desk.put("a.crl", b"x")
        assert comes_true(lambda: "all stays as it was" in caplog.text)
    assert "a.crl" in caplog.text
    assert refusal(credential) == "revoked"
    # A failure that stays is told once.
    time.sleep(1.2)
    assert caplog.text.count("all stays as it was") == 1
    desk.put("a.crl", desk.ca.crl(number=3))
    assert comes_true(lambda: len(told) == 2)
    assert credential.verify().mapped.principal.id == "a7"


def test_the_thread_ends_with_its_authorities(desk: Desk, refreshing: Authorities) -> None:
    def threads() -> int:
        return sum(thread.name == "ztfast-identity" for thread in threading.enumerate())

    begun = threads()
    more = desk.load()
    assert threads() == begun + 1
    del more
    gc.collect()
    assert comes_true(lambda: threads() == begun)
    refreshing.close()
    assert comes_true(lambda: threads() == begun - 1)


def test_a_forked_child_is_told_to_load_its_own(desk: Desk) -> None:
    authorities = desk.load()
    credential = authorities.x509(desk.leaf.der)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        calls: tuple[Callable[[], object], ...] = (
            *(credential.verify, authorities.reload, authorities.counters),
            *(lambda: authorities.set_trust_domain("a", "b", []), lambda: authorities.listen(print)),
        )
        for call in calls:
            try:
                call()
            except BaseException as error:
                said.append(type(error).__name__)
        os.write(writing, " ".join(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 1000).split() == [b"ForkedError"] * 5
    os.close(reading)


@pytest.mark.parametrize("status", list(made.OCSPCertStatus))
def test_a_stapled_answer_stands_for_a_crl(desk: Desk, status: made.OCSPCertStatus) -> None:
    desk.authority.update(revocation="required", crls=["z.crl"])
    desk.put("z.crl", desk.root.crl())
    authorities = desk.load()
    assert refusal(authorities.x509(desk.leaf.der)) == "revocation-unknown"
    end = pki.now() + datetime.timedelta(minutes=5)
    credential = authorities.x509(desk.leaf.der, ocsp=desk.ca.answer(desk.leaf, status=status, end=end))
    if status is made.OCSPCertStatus.GOOD:
        proved = credential.verify().proved
        assert (proved.bound_by, proved.not_after_ns) == ("OCSP", ns(end))
        assert credential.verify(ns(end) - 1).proved.bound_by == "OCSP"
        assert refusal(credential, ns(end)) == "ocsp-stale"
    else:
        assert refusal(credential) == {"REVOKED": "revoked", "UNKNOWN": "ocsp-unknown"}[status.name]


def test_an_answer_of_another_ca_of_the_same_name_stands_for_nothing(desk: Desk) -> None:
    desk.authority.update(revocation="required", crls=["z.crl"])
    desk.put("z.crl", desk.root.crl())
    twin = desk.root.issue(desk.ca.certificate.subject, ca=True)
    evil = pki.root(desk.ca.certificate.subject)
    authorities = desk.load()
    for ca in (twin, evil):
        same = ca.issue(serial=desk.leaf.certificate.serial_number)
        credential = authorities.x509(desk.leaf.der, chain=[desk.ca.der, ca.der], ocsp=ca.answer(same))
        assert refusal(credential) == "revocation-unknown"


SPIFFE_ID = "spiffe://desk.example/algo/a7"


def mesh(folder: Path, trust_domains: Any = None) -> Authorities:
    authority: dict[str, Any] = {"name": "mesh", "kind": "spiffe"}
    if trust_domains is not None:
        authority["trust_domains"] = trust_domains
    rule = {
        "authority": "mesh",
        "match": {"spiffe.trust_domain": "*.example", "uri": "spiffe://desk.example/algo/*"},
        "principal": 'Algo::"{spiffe.path[1]}"',
    }
    return Authorities.from_dict({"authority": [authority], "rule": [rule]}, base=folder)


def svid(ca: pki.Holder) -> bytes:
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return ca.issue(pki.name(O="SPIRE"), uri=[SPIFFE_ID], uses=both).der


def test_trust_domains_come_and_go_while_authorities_live(tmp_path: Path) -> None:
    one, two = pki.root(pki.name(O="SPIRE")), pki.root(pki.name(O="SPIRE"))
    authorities = mesh(tmp_path)
    told: list[Reloaded] = []
    authorities.listen(told.append)
    first, second = authorities.x509(svid(one)), authorities.x509(svid(two))
    assert refusal(first) == refusal(authorities.x509(svid(one), authority="mesh")) == "unknown-trust-domain"
    assert authorities.set_trust_domain("mesh", "desk.example", [one.der]).fell == ()
    assert first.verify().mapped.principal == ztfast.Uid("Algo", "a7")
    assert refusal(second) == "signature"
    # The new CA is prepared beside the old one, which then goes.
    assert authorities.set_trust_domain("mesh", "desk.example", [one.der, two.der]).fell == ()
    assert first.verify().proved.spiffe == second.verify().proved.spiffe == ("desk.example", ("algo", "a7"))
    assert authorities.reload() == Reloaded(False, authorities.epoch)
    assert authorities.set_trust_domain("mesh", "desk.example", [two.der]).fell == (Ground.key(one.der),)
    assert refusal(first) == "signature"
    assert authorities.set_trust_domain("mesh", "desk.example", [two.der]).changed is False
    assert authorities.set_trust_domain("mesh", "desk.example", []).fell == (Ground.key(two.der),)
    assert refusal(second) == "unknown-trust-domain"
    assert len(told) == 4


def test_only_trust_domains_that_the_configuration_names_are_taken(tmp_path: Path) -> None:
    one, two = pki.root(), pki.root()
    (tmp_path / "desk.pem").write_bytes(one.pem)
    authorities = mesh(tmp_path, {"desk.example": "desk.pem", "later.example": "workload-api"})
    assert authorities.x509(svid(one)).verify().proved.authority == "mesh"
    assert authorities.set_trust_domain("mesh", "later.example", [two.der]).changed
    # What the Workload API says of a trust domain stands in place of the file.
    assert authorities.set_trust_domain("mesh", "desk.example", [two.der]).fell == (Ground.key(one.der),)
    assert authorities.reload().changed is False
    assert authorities.set_trust_domain("mesh", "desk.example", []).fell == (Ground.key(two.der),)
    assert refusal(authorities.x509(svid(one))) == "unknown-trust-domain"
    for wrong in ("evil.example", "Desk.example", "", "a/b"):
        with pytest.raises(ConfigError, match="trust domain"):
            authorities.set_trust_domain("mesh", wrong, [two.der])


def test_bundles_that_are_none_are_refused_and_change_nothing(tmp_path: Path) -> None:
    authorities = mesh(tmp_path)
    before = authorities.epoch
    root = pki.root()
    for anchors in ([b"x"], [root.key_pem], [root.der + b"x"]):
        with pytest.raises(ConfigError, match=r"desk\.example"):
            authorities.set_trust_domain("mesh", "desk.example", anchors)
    for arguments in (
        ("mess", "a", [root.der]),
        (5, "a", []),
        ("mesh", 5, []),
        ("mesh", "a", None),
        ("mesh", "a", [5]),
    ):
        with pytest.raises(ztfast.ArgumentError):
            authorities.set_trust_domain(*arguments)  # type: ignore[arg-type]
    assert authorities.epoch == before


def test_counters_go_on_over_changes(desk: Desk) -> None:
    authorities = desk.load()
    credential, bad = authorities.x509(desk.leaf.der), authorities.x509(pki.root().issue().der)
    credential.verify()
    refusal(bad)
    counted = authorities.counters()
    desk.authority["max_age"] = "1h"
    authorities.reload()
    assert authorities.counters() == counted
    credential.verify()
    assert sum(authorities.counters().values()) == sum(counted.values()) + 1


def test_the_package_is_imported_when_it_is_named_and_without_pyca() -> None:
    program = """
import sys
import ztfast
assert not [name for name in sys.modules if name.startswith("ztfast.identity")]
assert ztfast.identity.Authorities
assert not [name for name in sys.modules if name.partition(".")[0] in ("cryptography", "OpenSSL")]
try:
    ztfast.nothing
except AttributeError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "module 'ztfast' has no attribute 'nothing'\n"
