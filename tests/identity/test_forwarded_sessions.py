"""Who may forward certificates: only a proxy whose own session is live, each time that what it forwarded is verified."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

import ztfast
from tests.identity import pki
from ztfast.identity import Authorities, CredentialError

ROOT = pki.root()
LEAF = ROOT.issue(pki.name(CN="a7"))
HEADERS = [(b"x-forwarded-client-cert", f"Cert={quote(LEAF.pem, safe='')}".encode())]
EDGE = 'Service::"edge"'


class Desk:
    def __init__(self, folder: Path) -> None:
        (folder / "root.pem").write_bytes(ROOT.pem)
        self.config: dict[str, Any] = {
            "authority": [{"name": "desk", "kind": "x509", "anchors": ["root.pem"]}],
            "rule": [{"authority": "desk", "match": {"subject.CN": "*"}, "principal": 'Algo::"{subject.CN}"'}],
            "proxy": [{"principal": EDGE}],
        }
        self.authorities = Authorities.from_dict(self.config, base=folder)
        schema = "entity Algo, Service, Book; action go appliesTo { principal: Algo, resource: Book };"
        policies = ztfast.Text("permit (principal, action, resource);")
        self.engine = ztfast.Engine(ztfast.compile(policies, schema=ztfast.Text(schema)))
        self.proxy = self.admit(EDGE)

    def admit(self, principal: str, not_after: float = math.inf) -> ztfast.Session:
        return self.engine.admit(ztfast.Identity(principal, not_after=not_after))

    def refusal(self, proxy: ztfast.Session) -> str:
        with pytest.raises(CredentialError) as raised:
            self.authorities.forwarded(HEADERS, proxy=proxy)
        return raised.value.code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_admitted_proxy_forwards_a_certificate_that_is_verified_in_full(desk: Desk) -> None:
    credential = desk.authorities.forwarded(HEADERS, proxy=desk.proxy)
    assert credential.leaf == LEAF.der
    assert credential.proxy is desk.proxy
    assert credential.verify().mapped.principal == ztfast.Uid("Algo", "a7")
    credential.check()
    desk.authorities.x509(LEAF.der).check()
    stranger = pki.root().issue(pki.name(CN="a7"))
    forged = desk.authorities.forwarded({"X-Forwarded-Client-Cert": f"Cert={quote(stranger.pem)}"}, proxy=desk.proxy)
    with pytest.raises(CredentialError):
        forged.verify()


def test_nobody_else_forwards_anything(desk: Desk) -> None:
    for principal in ('Service::"edge2"', 'Algo::"edge"', 'Service::"Edge"'):
        assert desk.refusal(desk.admit(principal)) == "proxy"


def test_a_session_that_is_over_forwards_nothing(desk: Desk) -> None:
    quarantined, ending = desk.admit(EDGE), desk.admit(EDGE, time.time() + 0.05)
    credential = desk.authorities.forwarded(HEADERS, proxy=desk.proxy)
    assert credential.verify().mapped.principal.id == "a7"
    quarantined.quarantine()
    assert desk.refusal(quarantined) == "proxy"
    quarantined.quarantine(False)
    assert desk.authorities.forwarded(HEADERS, proxy=quarantined) == credential
    time.sleep(0.1)
    assert desk.refusal(ending) == "proxy"
    desk.engine.revoke(EDGE)
    assert desk.refusal(desk.proxy) == "proxy"
    # What it forwarded before counts no more, either.
    with pytest.raises(CredentialError, match="the proxy's session is over"):
        credential.check()
    with pytest.raises(CredentialError, match=r"the proxy's session is over \(REVOKED\)") as raised:
        credential.verify()
    assert raised.value.code == "proxy"


def test_a_proxy_that_the_configuration_drops_forwards_nothing(desk: Desk) -> None:
    credential = desk.authorities.forwarded(HEADERS, proxy=desk.proxy)
    desk.config["proxy"][0]["principal"] = 'Service::"other"'
    desk.authorities.reload()
    assert desk.refusal(desk.proxy) == "proxy"
    with pytest.raises(CredentialError, match=r"no \[\[proxy\]\]"):
        credential.verify()
    assert desk.authorities.proxies == (ztfast.Uid("Service", "other"),)


def test_what_is_no_session_is_refused(desk: Desk) -> None:
    for wrong in (None, EDGE, desk.proxy.id, desk.proxy.identity, Mock(spec=ztfast.Session), object()):
        with pytest.raises(ztfast.ArgumentError, match="the session of the proxy"):
            desk.authorities.forwarded(HEADERS, proxy=wrong)  # type: ignore[arg-type]
    assert desk.refusal(ztfast.Session.__new__(ztfast.Session)) == "proxy"


def test_an_authority_may_be_named(desk: Desk) -> None:
    assert desk.authorities.forwarded(HEADERS, proxy=desk.proxy, authority="desk").authority == "desk"
    with pytest.raises(ztfast.ArgumentError, match="authority"):
        desk.authorities.forwarded(HEADERS, proxy=desk.proxy, authority="dusk")
