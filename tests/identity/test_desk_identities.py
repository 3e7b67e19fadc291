"""The desk's authorities and rules, with the PKI that is made for them: who is admitted, as whom, and who no more."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

import ztfast
from ztfast.identity import Authorities

ROOT = Path(__file__).resolve().parents[2]
STOCK = 'Instrument::"AAPL"'
ORDER = {"notional": 250_000, "qty": 100}


class Desk:
    """An engine over the desk, its PKI and its authorities."""

    def __init__(self, folder: Path, bundle: ztfast.Bundle) -> None:
        self.pki = ztfast.examples.pki(folder)
        self.authorities = Authorities.load(self.pki.config)
        self.engine = ztfast.Engine(bundle)

    def admit(self, who: str) -> ztfast.Session:
        return self.engine.admit(self.authorities.x509(self.pki.certificate(who)))

    def order(self, session: ztfast.Session) -> str:
        return self.engine.decide(session, "order.new", STOCK, ORDER).code

    def forged(self, ca: str, uri: str) -> bytes:
        """Issue a certificate with any URI, with a CA's own key."""
        issuer = x509.load_pem_x509_certificate((self.pki.folder / f"{ca}.pem").read_bytes())
        key = load_pem_private_key((self.pki.folder / "keys" / f"{ca}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        own = ec.generate_private_key(ec.SECP256R1())
        at = datetime.now(UTC).replace(microsecond=0)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a7")])
        name = x509.Name([*name, x509.NameAttribute(x509.NameOID.LOCALITY_NAME, "US")])
        made = (
            x509.CertificateBuilder(issuer.subject, name, own.public_key(), 7, at, at + timedelta(hours=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
        )
        return made.sign(key, SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def bundle() -> ztfast.Bundle:
    folder = ztfast.examples.desk()
    return ztfast.compile(
        folder / "policies",
        schema=folder / "desk.cedarschema",
        entities=folder / "desk.entities.json",
        exempt='Action::"reduce-risk"',
    )


@pytest.fixture
def desk(tmp_path: Path, bundle: ztfast.Bundle) -> Desk:
    return Desk(tmp_path, bundle)


@pytest.mark.parametrize(
    ("who", "principal", "region", "assurance"),
    [
        ("algo/a7", 'Algo::"a7"', "US", 3),
        ("service/s1", 'Service::"s1"', "US", 3),
        ("agent/g1", 'Agent::"g1"', "EU", 2),
        ("human/h2", 'Human::"h2"', "EU", 2),
    ],
)
def test_each_kind_of_principal_is_admitted_by_its_certificate(
    desk: Desk, who: str, principal: str, region: str, assurance: int
) -> None:
    before = datetime.now(UTC) + timedelta(hours=12)
    session = desk.admit(who)
    assert str(session.principal) == principal
    (info,) = desk.engine.sessions(principal)
    assert (info.factors, info.region, info.assurance, info.channel) == (("x509",), region, assurance, "x509")
    # It lasts as long as a verification is believed, which is less than the certificate.
    ends = session.identity.not_after
    assert before.timestamp() - 1 <= float(ends) <= before.timestamp() + 60


def test_what_a_certificate_says_leaves_the_entity_as_it_is(desk: Desk) -> None:
    assert desk.order(desk.admit("algo/a7")) == "ALLOW"
    # It is in quarantine by the store, whatever it presents.
    assert desk.engine.decide(desk.admit("algo/a16"), "order.new", STOCK, ORDER).reasons == ("quarantine",)


@pytest.mark.parametrize(
    ("ca", "uri", "code"),
    [
        ("algos", "spiffe://desk.example/algo/a7", None),
        ("people", "spiffe://desk.example/human/h1", None),
        ("people", "spiffe://desk.example/algo/a7", "no-rule"),
        ("algos", "spiffe://desk.example/human/h1", "no-rule"),
        ("root", "spiffe://desk.example/algo/a7", "no-rule"),
        ("algos", "spiffe://desk.example/algo/a7/more", "no-rule"),
        ("algos", "spiffe://desk.example/algo", "no-rule"),
        ("algos", "spiffe://other.example/algo/a7", "no-rule"),
        ("algos", "https://desk.example/algo/a7", "no-rule"),
    ],
)
def test_a_ca_makes_only_principals_of_its_own_kind(desk: Desk, ca: str, uri: str, code: str | None) -> None:
    credential = desk.authorities.x509(desk.forged(ca, uri))
    if code is None:
        assert str(desk.engine.admit(credential).principal).lower().startswith(uri.split("/")[3])
        return
    with pytest.raises(ztfast.CredentialError) as refused:
        desk.engine.admit(credential)
    assert refused.value.code == code
    assert desk.engine.sessions() == ()


def test_a_certificate_of_another_pki_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = ztfast.examples.pki(tmp_path / "other", whom=[("algo/a7", "US")])
    with pytest.raises(ztfast.CredentialError) as refused:
        desk.engine.admit(desk.authorities.x509(other.certificate("algo/a7")))
    assert refused.value.code == "signature"


def test_a_renewed_certificate_opens_a_session_beside_the_one_before(desk: Desk) -> None:
    old = desk.admit("algo/a8")
    new = desk.engine.admit(desk.authorities.x509(desk.pki.renew("algo/a8")))
    assert new.principal == old.principal
    assert new.id != old.id
    assert (desk.order(old), desk.order(new)) == ("ALLOW", "ALLOW")
    assert not desk.authorities.reload().changed


def test_a_session_ends_with_its_certificate(desk: Desk) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=5)
    session = desk.engine.admit(desk.authorities.x509(desk.pki.renew("algo/a8", lasts=timedelta(minutes=5))))
    assert abs(float(session.identity.not_after) - ends.timestamp()) <= 2


def test_a_new_list_ends_all_sessions_of_who_is_on_it_and_no_others(desk: Desk) -> None:
    first, other = desk.admit("algo/a8"), desk.admit("algo/a7")
    second = desk.engine.admit(desk.authorities.x509(desk.pki.renew("algo/a8")))
    assert desk.pki.revoke("algo/a8") == [2]
    assert [desk.order(one) for one in (first, second, other)] == ["ALLOW"] * 3
    assert desk.authorities.reload().changed
    assert [desk.order(one) for one in (first, second, other)] == ["REVOKED", "REVOKED", "ALLOW"]
    with pytest.raises(ztfast.CredentialError) as refused:
        desk.admit("algo/a8")
    assert refused.value.code == "revoked"
    # Another certificate makes it welcome again: the list names certificates, not principals.
    assert desk.order(desk.engine.admit(desk.authorities.x509(desk.pki.renew("algo/a8")))) == "ALLOW"
    assert desk.order(desk.admit("algo/a7")) == "ALLOW"


def test_a_list_that_was_put_back_is_refused(desk: Desk) -> None:
    before = (desk.pki.folder / "algos.crl").read_bytes()
    session = desk.admit("algo/a8")
    desk.pki.revoke("algo/a8")
    desk.authorities.reload()
    (desk.pki.folder / "algos.crl").write_bytes(before)
    with pytest.raises(ztfast.ConfigError, match="rolled back"):
        desk.authorities.reload()
    assert desk.order(session) == "REVOKED"
    with pytest.raises(ztfast.CredentialError):
        desk.admit("algo/a8")


@pytest.mark.parametrize("gone", ["root", "algos"])
def test_without_a_list_nobody_is_admitted(desk: Desk, gone: str) -> None:
    (desk.pki.folder / f"{gone}.crl").unlink()
    desk.authorities.reload()
    with pytest.raises(ztfast.CredentialError) as refused:
        desk.admit("algo/a7")
    assert refused.value.code == "revocation-unknown"


def test_lists_of_yesterday_refuse_everybody(tmp_path: Path, bundle: ztfast.Bundle) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    pki = ztfast.examples.pki(tmp_path, now=yesterday, lasts=timedelta(days=3), whom=[("algo/a7", "US")])
    authorities, engine = Authorities.load(pki.config), ztfast.Engine(bundle)
    with pytest.raises(ztfast.CredentialError) as refused:
        engine.admit(authorities.x509(pki.certificate("algo/a7")))
    assert refused.value.code == "crl-stale"
    pki.refresh()
    authorities.reload()
    assert str(engine.admit(authorities.x509(pki.certificate("algo/a7"))).principal) == 'Algo::"a7"'


def test_without_pyca_the_demo_says_what_to_install_and_shows_the_rest(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["cryptography"] = None
        from ztfast.cli import main
        sys.argv = ["ztfast", "demo", *sys.argv[1:]]
        sys.exit(main())
    """

    def demo(*options: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(program), *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told: dict[str, Any] = json.loads(demo("--requests", "2000", "--json"))
    assert told["identities"] is None
    assert [event["event"].split()[0] for event in told["events"]].count("read") == 0
    assert "DENY, REVOKED" in told["events"][-1]["then"]
    for shown in (demo("--requests", "2000"), demo("--processes", "2")):
        assert shown.count("pip install 'ztfast[identity]'") == 1
        assert "REVOKED" in shown
