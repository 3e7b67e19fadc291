"""The PKI of the example desk by itself: what it issues, what it revokes, and that its keys stay where they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ztfast import examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "desk" / "make_pki.py"
NOW = datetime(2026, 11, 28, 12, 0, 0, 250_000, tzinfo=UTC)
WHOM = [("algo/a7", "US"), ("algo/a8", "EU"), ("service/s1", "UK"), ("human/h1", "APAC"), ("agent/g1", "US")]


@pytest.fixture
def pki(tmp_path: Path) -> Any:
    return examples.pki(tmp_path, now=NOW, whom=WHOM)


def certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def authority(pki: Any, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pki.folder / f"{name}.pem").read_bytes())


def revoked(pki: Any, name: str) -> tuple[int, set[int]]:
    """Return the number of a CA's list, and what is on it; its signature must be right."""
    crl = x509.load_pem_x509_crl((pki.folder / f"{name}.crl").read_bytes())
    assert crl.is_signature_valid(authority(pki, name).public_key())  # type: ignore[arg-type]
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, {entry.serial_number for entry in crl}


def verified(pki: Any, pem: bytes, at: datetime = NOW) -> str:
    """Return the URI of a certificate for clients, as pyca's verifier proves it."""
    builder = PolicyBuilder().store(Store([authority(pki, "root")])).time(at)
    leaf, *others = certificates(pem)
    found = builder.build_client_verifier().verify(leaf, others)
    [name] = found.subjects or []
    return str(name.value)


@pytest.mark.parametrize(("who", "region"), WHOM)
def test_each_principal_has_a_certificate_that_another_verifier_takes(pki: Any, who: str, region: str) -> None:
    pem = pki.certificate(who)
    assert verified(pki, pem) == f"spiffe://desk.example/{who}"
    leaf, issuer = certificates(pem)
    assert issuer == authority(pki, "algos" if who.startswith("algo") else "people")
    assert leaf.subject.rfc4514_string() == f"CN={who.split('/')[1]},L={region},OU={who.split('/')[0]},O=Desk Example"
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    [point] = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    assert point.full_name[0].value == f"http://crl.desk.example/{'algos' if who.startswith('algo') else 'people'}.crl"
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (
        NOW.replace(microsecond=0),
        NOW.replace(microsecond=0) + timedelta(days=1),
    )
    with pytest.raises(VerificationError):
        verified(pki, pem, NOW + timedelta(days=2))


def test_all_principals_of_the_desk_but_contracts_get_one_and_the_rules_name_their_issuers(tmp_path: Path) -> None:
    pki = examples.pki(tmp_path)
    kinds = [leaf.stem.split("-")[0] for leaf in sorted((pki.folder / "leaves").iterdir())]
    assert {kind: kinds.count(kind) for kind in kinds} == {"algo": 48, "agent": 16, "human": 94, "service": 25}
    told = pki.config.read_text()
    assert told == (ROOT / "examples" / "desk" / "ztfast.toml").read_text()
    for ca in ("algos", "people"):
        assert f'"issuer" = "{authority(pki, ca).subject.rfc4514_string()}"' in told


def test_private_keys_are_their_owners_only_and_fit_the_certificates(pki: Any) -> None:
    keys = pki.folder / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    found = sorted(keys.iterdir())
    assert len(found) == len(WHOM) + 3
    assert {file.stat().st_mode & 0o777 for file in found} == {0o600}
    for who, _ in WHOM:
        private = load_pem_private_key((keys / f"{who.replace('/', '-')}.key").read_bytes(), None)
        of_leaf = certificates(pki.certificate(who))[0].public_key()
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert private.public_key().public_bytes(*form) == of_leaf.public_bytes(*form)
    outside = [file for file in pki.folder.parent.rglob("*") if file.is_file() and file.parent != keys]
    assert not any(b"PRIVATE" in file.read_bytes() for file in outside)
    assert len(outside) == len(WHOM) + 8


def test_a_renewed_certificate_has_another_key_and_the_one_before_is_still_good(pki: Any) -> None:
    before = pki.certificate("algo/a8")
    later = NOW + timedelta(hours=1)
    renewed = pki.renew("algo/a8", now=later, lasts=timedelta(minutes=5))
    assert pki.certificate("algo/a8") == renewed
    old, new = certificates(before)[0], certificates(renewed)[0]
    assert new.subject == old.subject
    assert new.public_key() != old.public_key()
    assert verified(pki, renewed, later) == verified(pki, before, later)
    assert new.not_valid_after_utc == later.replace(microsecond=0) + timedelta(minutes=5)
    # It does not outlive its CA.
    last = authority(pki, "algos").not_valid_after_utc
    assert certificates(pki.renew("algo/a8", now=last - timedelta(hours=1)))[0].not_valid_after_utc == last


def test_a_revocation_is_a_new_list_with_all_certificates_that_have_not_ended(pki: Any) -> None:
    assert [revoked(pki, ca) for ca in ("root", "algos", "people")] == [(1, set())] * 3
    first = certificates(pki.certificate("algo/a7"))[0]
    brief = certificates(pki.renew("algo/a7", now=NOW, lasts=timedelta(seconds=1)))[0]
    newest = certificates(pki.renew("algo/a7", now=NOW))[0]
    later = NOW + timedelta(minutes=1)
    assert pki.revoke("algo/a7", now=later) == [2]
    on_it = {first.serial_number, newest.serial_number}
    assert brief.serial_number not in on_it
    assert revoked(pki, "algos") == (2, on_it)
    assert revoked(pki, "people") == (1, set())
    # A second list has what was on the first, and says when it ends.
    other = certificates(pki.certificate("algo/a8"))[0].serial_number
    assert pki.revoke("algo/a8", "service/s1", now=later) == [3, 2]
    assert revoked(pki, "algos") == (3, {*on_it, other})
    pki.refresh(now=NOW + timedelta(days=3))
    assert [revoked(pki, ca)[0] for ca in ("root", "algos", "people")] == [2, 4, 3]
    crl = x509.load_pem_x509_crl((pki.folder / "algos.crl").read_bytes())
    assert crl.next_update_utc == NOW.replace(microsecond=0) + timedelta(days=4)
    # All have ended by then.
    with pytest.raises(LookupError, match="algo/a7 has no certificate"):
        pki.revoke("algo/a7", now=NOW + timedelta(days=4))


def test_revocations_at_once_lose_none(pki: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda who: pki.revoke(who, now=NOW), ["algo/a7", "algo/a8"] * 8))
    number, on_it = revoked(pki, "algos")
    assert (number, len(on_it)) == (17, 2)
    assert sorted(numbers) == [[one] for one in range(2, 18)]


@pytest.mark.parametrize(
    "who", ["contract/k1", "algo", "algo/", "", "algo/../keys/root", "algo/a7/b", "root", "algo/none"]
)
def test_nobody_else_is_renewed_or_revoked(pki: Any, who: str) -> None:
    before = {file: file.read_bytes() for file in pki.folder.rglob("*") if file.is_file()}
    for do in (pki.renew, pki.revoke, pki.certificate):
        with pytest.raises((LookupError, FileNotFoundError)):
            do(who)
    assert {file: file.read_bytes() for file in pki.folder.rglob("*") if file.is_file()} == before


def test_a_pki_is_not_made_twice_and_is_opened_again(pki: Any, tmp_path: Path) -> None:
    root = (pki.folder / "root.pem").read_bytes()
    with pytest.raises(FileExistsError):
        examples.pki(tmp_path)
    assert (pki.folder / "root.pem").read_bytes() == root
    assert type(pki)(tmp_path).revoke("algo/a7", now=NOW) == [2]
    with pytest.raises(FileNotFoundError, match="make one first"):
        type(pki)(tmp_path / "elsewhere")


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, str(SCRIPT), str(tmp_path / "new"), *arguments]
        return subprocess.run(whole, capture_output=True, text=True)

    return run


def test_the_command_makes_renews_revokes_and_says_what_is_wrong(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert (done := command("renew", "algo/a7")).returncode == 1
    assert "make one first" in done.stderr
    assert (done := command("make")).returncode == 0, done.stderr
    leaf = tmp_path / "new" / "pki" / "leaves" / "algo-a7.pem"
    before = leaf.read_bytes()
    assert command("renew", "algo/a7").returncode == 0
    assert leaf.read_bytes() != before
    assert command("revoke", "algo/a7", "agent/g1").returncode == 0
    assert command("refresh").returncode == 0
    crl = x509.load_pem_x509_crl((tmp_path / "new" / "pki" / "algos.crl").read_bytes())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert len(crl) == 2
    assert (done := command("revoke", "algo/none")).returncode == 1
    assert done.stderr == "make_pki.py: algo/none has no certificate that could be revoked\n"
    for wrong in (["revoke"], ["make", "algo/a7"], ["forge", "algo/a7"]):
        assert command(*wrong).returncode == 2


def test_keys_that_are_made_in_the_example_get_into_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "build_backend"))
    backend = pytest.importorskip("backend", reason="SKIPPED: maturin is not installed")
    for folder in ("ztfast", "src_ext/cython", "examples/desk/pki/keys"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("setup.py", "README.md", "LICENSE", "pyproject.toml", "examples/desk/ztfast.toml"):
        (tmp_path / file).touch()
    (tmp_path / "examples/desk/pki/keys/root.key").touch()
    monkeypatch.setattr(backend, "ROOT", tmp_path)
    with backend._copy() as copy:
        packed = {str(file.relative_to(copy)) for file in copy.rglob("*")}
    assert "ztfast/_desk/ztfast.toml" in packed
    assert not any("pki" in name for name in packed)
