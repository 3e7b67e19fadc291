"""The PKI of the example desk: a root, two CAs, and certificates of its algorithms, people, agents and services.

It is for trying things out, and shows what a firm's PKI has to give: short-lived certificates, each with one SPIFFE id,
and a list of revoked certificates (CRL) of each CA. It needs pyca cryptography: ``pip install cryptography``.

    python examples/desk/make_pki.py build/identity make
    python examples/desk/make_pki.py build/identity renew algo/a7
    python examples/desk/make_pki.py build/identity revoke algo/a8
    python examples/desk/make_pki.py build/identity refresh

The folder gets a copy of ``ztfast.toml``, and a folder ``pki``: the certificates of the CAs, as ``root.pem``, and
their lists, as ``root.crl``; each leaf with its CA in ``leaves``; the private keys in ``keys``, which only its owner
can read; and in ``issued.jsonl`` what was issued.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CA_OF", "CAS", "Pki", "make", "principals"]

HERE = Path(__file__).resolve().parent
CONFIG = "ztfast.toml"

TRUST_DOMAIN = "desk.example"
CAS = {"root": "Desk Root CA", "algos": "Desk Algorithms CA", "people": "Desk People and Services CA"}
"""The CAs by the names of their files. The root issues the others."""

CA_OF = {"algo": "algos", "human": "people", "agent": "people", "service": "people"}
"""The CA of each kind of principal. ``ztfast.toml`` takes an algorithm's certificate from the algorithms' CA only."""

ROOT_LASTS, CA_LASTS, LEAF_LASTS, CRL_LASTS = timedelta(3650), timedelta(365), timedelta(1), timedelta(1)

REGIONS = ("US", "EU", "UK", "APAC")


class Pki:
    """A PKI in a folder, with the keys of its CAs. :func:`make` makes one.

    All methods that issue take the time, which is by default that of the call.

    Args:
        folder: The folder that :func:`make` was given.

    Attributes:
        config: The configuration of authorities that take its certificates.
        folder: The PKI's own folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.config = Path(folder) / CONFIG
        self.folder = Path(folder) / "pki"
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no PKI is here: make one first")

    def certificate(self, who: str) -> bytes:
        """Return the newest certificate of a principal, as ``"algo/a7"``, and that of its CA, as PEM."""
        return self._leaf_file(who).read_bytes()

    def renew(self, who: str, *, now: datetime | None = None, lasts: timedelta = LEAF_LASTS) -> bytes:
        """Issue a new certificate with a new key to a principal. Those that it has are good until they end.

        Args:
            who: The principal, as ``"algo/a7"``: one that has a certificate.
            now: The time.
            lasts: For how long it is good.

        Returns:
            The certificate and that of its CA, as PEM.
        """
        at = _moment(now)
        with self._locked():
            old = x509.load_pem_x509_certificate(self.certificate(who))
            [region] = old.subject.get_attributes_for_oid(NameOID.LOCALITY_NAME)
            return self._issue(who, str(region.value), at, lasts)

    def revoke(self, *who: str, now: datetime | None = None) -> list[int]:
        """Revoke all certificates of principals that have not ended, by a new list of their CA.

        Args:
            who: The principals, as ``"algo/a7"``.
            now: The time.

        Returns:
            The numbers of the new lists.

        Raises:
            LookupError: if one of them has none.
        """
        at = _moment(now)
        with self._locked():
            # Not only the newest: whoever has lost a key may have lost the one before, too.
            good = [one for one in self._issued() if datetime.fromisoformat(one["ends"]) >= at]
            serials: dict[str, set[int]] = {}
            for name in who:
                own = {int(one["serial"], 16) for one in good if one["who"] == name}
                if not own:
                    raise LookupError(f"{name} has no certificate that could be revoked")
                serials.setdefault(CA_OF[name.partition("/")[0]], set()).update(own)
            return [self._list(ca, at, revoked) for ca, revoked in serials.items()]

    def refresh(self, *, now: datetime | None = None) -> None:
        """Issue the lists of all CAs anew, before they get stale: a stale list refuses everybody."""
        with self._locked():
            for ca in CAS:
                self._list(ca, _moment(now))

    def _issue(self, who: str, region: str, at: datetime, lasts: timedelta) -> bytes:
        kind, _, name = who.partition("/")
        ca = CA_OF[kind]
        issuer = x509.load_pem_x509_certificate((self.folder / f"{ca}.pem").read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        ends = min(at + lasts, issuer.not_valid_after_utc)
        point = x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/{who}")
        builder = _builder(_name(name, kind, region), issuer, key, at, ends)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([point]), critical=False)
            .add_extension(_where_listed(ca), critical=False)
        )
        leaf = builder.sign(self._key(ca), SHA256())
        # First of all it is written down: what is not there cannot be revoked.
        told = {"who": who, "serial": f"{leaf.serial_number:x}", "ends": leaf.not_valid_after_utc.isoformat()}
        with (self.folder / "issued.jsonl").open("a") as issued:
            issued.write(json.dumps(told) + "\n")
        self._keep(f"{kind}-{name}", key)
        both = leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM)
        _write(self._leaf_file(who), both)
        return both

    def _list(self, ca: str, at: datetime, revoked: Iterable[int] = ()) -> int:
        """Issue a CA's next list: who is on the one before stays on it."""
        file = self.folder / f"{ca}.crl"
        issuer = x509.load_pem_x509_certificate((self.folder / f"{ca}.pem").read_bytes())
        builder = x509.CertificateRevocationListBuilder(issuer.subject, at, at + CRL_LASTS)
        number, known = 1, set()
        if file.exists():
            before = x509.load_pem_x509_crl(file.read_bytes())
            number = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
            for entry in before:
                known.add(entry.serial_number)
                builder = builder.add_revoked_certificate(entry)
        for serial in sorted(set(revoked) - known):
            entry = x509.RevokedCertificateBuilder(serial, at).build()
            builder = builder.add_revoked_certificate(entry)
        key = self._key(ca)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        _write(file, builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        return number

    def _issued(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.folder / "issued.jsonl").read_text().splitlines()]

    def _key(self, name: str) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._key_file(name).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _keep(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(self._key_file(name), pem, mode=0o600)

    def _key_file(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.key"

    def _leaf_file(self, who: str) -> Path:
        kind, slash, name = who.partition("/")
        if kind not in CA_OF or not slash or not name.isalnum():
            raise LookupError(f"{who!r} is nobody: wanted a kind ({', '.join(CA_OF)}) and a name, as algo/a7")
        return self.folder / "leaves" / f"{kind}-{name}.pem"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude others that issue: of two lists made at once, one would lack what the other revokes."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def make(
    folder: str | os.PathLike[str],
    *,
    now: datetime | None = None,
    whom: Iterable[tuple[str, str]] | None = None,
    lasts: timedelta = LEAF_LASTS,
) -> Pki:
    """Make the PKI of the desk.

    Args:
        folder: The folder; it is made if it is not there.
        now: The time; by default that of the call.
        whom: Who gets a certificate, each with a region; by default all of :func:`principals`.
        lasts: For how long the certificates are good. The lists are good for a day.

    Raises:
        FileExistsError: if there is a PKI already.
    """
    at, own = _moment(now), Path(folder) / "pki"
    own.mkdir(parents=True)
    # Nobody but its owner looks into it, whatever the mask of this process is.
    (own / "keys").mkdir(mode=0o700)
    (own / "leaves").mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    root = _authority("root", None, key, key, at, ROOT_LASTS)
    made = {"root": (root, key)}
    for ca in ("algos", "people"):
        below = ec.generate_private_key(ec.SECP256R1())
        made[ca] = (_authority(ca, root, key, below, at, CA_LASTS), below)
    pki = Pki(folder)
    for ca, (certificate, private) in made.items():
        pki._keep(ca, private)
        _write(own / f"{ca}.pem", certificate.public_bytes(Encoding.PEM))
        pki._list(ca, at)
    for who, region in principals() if whom is None else whom:
        pki._issue(who, region, at, lasts)
    if pki.config.parent.resolve() != HERE:
        _write(pki.config, (HERE / CONFIG).read_bytes())
    return pki


def principals() -> list[tuple[str, str]]:
    """Return the algorithms, people, agents and services of the desk, as ``"algo/a7"``, each with its region."""
    found = []
    for entity in json.loads((HERE / "desk.entities.json").read_text()):
        kind = entity["uid"]["type"].lower()
        if kind in CA_OF:
            found.append((f"{kind}/{entity['uid']['id']}", entity["attrs"]["region"]["__entity"]["id"]))
    return found


def _authority(
    ca: str,
    issuer: x509.Certificate | None,
    signs: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    at: datetime,
    lasts: timedelta,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Desk Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, CAS[ca]),
        ]
    )
    builder = _builder(subject, issuer, key, at, at + lasts)
    # The CAs below the root issue no further CAs.
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=None if issuer is None else 0), critical=True
    ).add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    if issuer is not None:
        builder = builder.add_extension(_where_listed("root"), critical=False)
    return builder.sign(signs, SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Certificate | None,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    """Begin a certificate. Without an issuer it issues itself."""
    public = key.public_key()
    signer = public if issuer is None else issuer.public_key()
    assert isinstance(signer, ec.EllipticCurvePublicKey)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _name(name: str, kind: str, region: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "Desk Example"), (NameOID.ORGANIZATIONAL_UNIT_NAME, kind),
             (NameOID.LOCALITY_NAME, region), (NameOID.COMMON_NAME, name))  # fmt: skip
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _usage(*uses: str) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{use: use in uses for use in every})


def _where_listed(ca: str) -> x509.CRLDistributionPoints:
    """Name where a CA's list is: whoever verifies then knows that there must be one."""
    name = x509.UniformResourceIdentifier(f"http://crl.{TRUST_DOMAIN}/{ca}.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([name], None, None, None)])


def _moment(now: datetime | None) -> datetime:
    """Return a time in whole seconds, as certificates have them."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def _write(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file beside, and put it in its place as a whole: somebody may be reading it."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        opened.write(content)
    beside.replace(file)


def main() -> int:
    parser = argparse.ArgumentParser(description="The PKI of the example desk.")
    parser.add_argument("folder", type=Path, help="where it is, for example build/identity")
    parser.add_argument("do", choices=("make", "renew", "revoke", "refresh"))
    parser.add_argument("who", nargs="*", help="for renew and revoke: principals, as algo/a7")
    given = parser.parse_args()
    if bool(given.who) != (given.do in ("renew", "revoke")):
        parser.error("renew and revoke need principals, as algo/a7; make and refresh take none")
    try:
        match given.do:
            case "make":
                make(given.folder)
            case "refresh":
                Pki(given.folder).refresh()
            case "revoke":
                Pki(given.folder).revoke(*given.who)
            case "renew":
                for who in given.who:
                    Pki(given.folder).renew(who)
    except (OSError, LookupError) as error:
        print(f"make_pki.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
