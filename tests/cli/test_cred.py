"""``ztfast cred`` on a state while an engine runs: what it lists, what falls by it, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import Here, run
from tests.identity import pki
from ztfast.cli.grounds import SHOWN
from ztfast.identity import Authorities, Ground
from ztfast.presented import Admissible, AnyCredential

ANN, BOB = 'User::"ann"', 'User::"bob"'
WHO = ["--by", "eve", "--reason", "a test"]
ROOT = pki.root()
ANNS, BOBS = (ROOT.issue(pki.name(CN=name, OU="algo")) for name in ("ann", "bob"))
BY_FILE = ("certificate", "key", "serial", "issuer")


class Believed:
    """Authorities that believe what tests say."""

    epoch = 7

    def listen(self, told: Callable[[Any], object]) -> None:
        """Nothing ever changes."""

    def revoked(self) -> tuple[Ground, ...]:
        return ()


@dataclass
class Verified(AnyCredential):
    """A credential with what its verification gives."""

    holder: pki.Holder
    principal: str
    lasts: float = 3_600.0
    key: bytes | None = None
    about: dict[str, str] | None = None
    authorities: Believed = field(default_factory=Believed)

    @property
    def leaf(self) -> bytes:  # type: ignore[override]
        return self.holder.der

    def presented(self) -> tuple[int, int] | None:
        return self.authorities.epoch, 0

    def admissible(self, now_ns: int) -> Admissible:
        der, uid = self.leaf, ztfast.Uid.parse(self.principal)
        rests_on = (Ground.certificate(der), Ground.serial(der), Ground.key(der), Ground.issuer(der),
                    Ground.authority("desk"), Ground.key(ROOT.der))  # fmt: skip
        about = {
            "subject": f"CN={uid.id},OU=algo",
            "issuer": "CN=Desk Root",
            "serial": f"{self.holder.certificate.serial_number:x}",
            "authority": "desk",
            "bound_by": "CRL",
        }
        return Admissible(
            (
                self.key or hashlib.sha256(der).digest(),
                self.authorities.epoch,
                (now_ns - 10**9, now_ns + int(self.lasts * 1e9)),
                [(ground.kind, ground.digest) for ground in rests_on],
                (uid.type, uid.id),
                ["x509"],
                3,
                "EU",
                "x509",
                json.dumps(about if self.about is None else self.about),
            ),
            None,
        )


class Desk:
    """A running engine, and commands on its state."""

    def __init__(self, folder: Path, here: Here) -> None:
        self.here, self.path = here, folder / "desk"
        self.engine = ztfast.Engine(ztfast.examples.tiny(), state=self.path, sessions=64, handles=256)

    def admit(self, holder: pki.Holder, principal: str, **what: Any) -> ztfast.Session:
        return self.engine.admit(Verified(holder, principal, **what))

    def refusal(self, holder: pki.Holder, principal: str) -> str | None:
        """Return the code with which a credential is refused; ``None`` if it is admitted."""
        try:
            self.admit(holder, principal)
        except ztfast.CredentialError as error:
            return error.code
        return None

    def code(self, session: ztfast.Session) -> str:
        return self.engine.decide(session, "view", 'Photo::"p2"').code

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.here.run("cred", *arguments, "--state", str(self.path))

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, here: Here) -> Desk:
    return Desk(tmp_path, here)


def sha256(holder: pki.Holder) -> str:
    return hashlib.sha256(holder.der).hexdigest()


def test_list_shows_whose_a_credential_is_and_what_ends_it(desk: Desk) -> None:
    assert desk.run("list").stdout == "0 credentials\n"
    assert desk.json("list") == {"credentials": [], "use": None}
    for _ in range(2):
        desk.admit(ANNS, ANN, lasts=7_300)
    desk.admit(BOBS, BOB).revoke()
    header, first, second, count = desk.run("list").stdout.splitlines()
    assert header.split() == ["sha256", "principal", "subject", "status", "channel", "bound", "by", "left", "until",
                              "sessions"]  # fmt: skip
    for shown in (sha256(ANNS)[:SHOWN], ANN, "CN=ann,OU=algo", "counts", "x509", "CRL", "2h01m"):
        assert shown in first
    assert first.split()[-1] == "2"
    assert second.split()[:2] == [sha256(BOBS)[:SHOWN], BOB]
    assert second.split()[-1].endswith("Z")
    assert count == "2 credentials: 2 counts"
    told = desk.json("list")
    (ann, bob) = told["credentials"]
    assert (ann["sha256"], ann["principal"], ann["sessions"], ann["status"]) == (sha256(ANNS), ANN, 2, "counts")
    assert ann["not_after"] == pytest.approx(time.time() + 7_300, abs=60)
    assert (ann["factors"], ann["assurance"], ann["region"], ann["channel"]) == (["x509"], 3, "EU", "x509")
    assert f"key:{Ground.key(ANNS.der).number:016x}" in ann["grounds"]
    assert bob["sessions"] == 0
    assert (told["use"]["found"], told["use"]["missed"]) == (1, 2)


def test_list_filters_by_principal_and_status(desk: Desk) -> None:
    for name in ("ann", "bob", "eve", "dan"):
        desk.admit(ROOT.issue(pki.name(CN=name)), f'User::"{name}"', lasts=0.2 if name == "dan" else 60)
    desk.engine.revoke(ground=Ground.principal(BOB), by="ann", reason="a test")
    eve = next(info for info in desk.engine.credentials() if info.principal.id == "eve")
    desk.engine._core.credentials.fall([int(eve.grounds[0][1], 16)], "ann", "a test")

    def listed(*options: str) -> list[tuple[str, str]]:
        found = desk.json("list", *options)["credentials"]
        return [(ztfast.Uid.parse(each["principal"]).id, each["status"]) for each in found]

    while ("dan", "expired") not in listed("--status", "all"):
        time.sleep(0.05)
    assert listed() == [("ann", "counts"), ("bob", "revoked"), ("eve", "fallen")]
    assert listed("--status", "expired", "--status", "fallen") == [("dan", "expired"), ("eve", "fallen")]
    assert listed("--principal", BOB) == [("bob", "revoked")]
    assert listed("--principal", 'User::"nobody"') == []
    told = desk.run("list").stdout
    assert "3 credentials: 1 counts, 1 revoked, 1 fallen (not shown: 1 expired; --status all shows them)" in told
    for options, says in (
        (["--status", "gone"], "wanted counts"),
        (["--principal", "ann"], "uid"),
        (["--revoked", "--status", "counts"], "--revoked lists grounds"),
    ):
        done = desk.run("list", *options)
        assert done.returncode == 2
        assert says in done.stderr


def test_show_says_what_would_fall_with_each_ground(desk: Desk) -> None:
    desk.admit(ANNS, ANN)
    desk.admit(ANNS, ANN).quarantine()
    desk.admit(BOBS, BOB)
    desk.engine.admit(ztfast.Identity(ANN, not_after=time.time() + 60))
    digits = sha256(ANNS)
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    for target in (digits, digits[:8], digits[:8].upper(), colons):
        (shown,) = desk.json("show", target)["credentials"]
        assert shown["sha256"] == digits
    counts = {(each["kind"], each["number"]): (each["credentials"], each["sessions"]) for each in shown["grounds"]}
    der = ANNS.der
    assert counts == {
        (ground.kind, f"{ground.number:016x}"): count
        for ground, count in (
            (Ground.certificate(der), (1, 2)),
            (Ground.serial(der), (1, 2)),
            (Ground.key(der), (1, 2)),
            (Ground.issuer(der), (2, 3)),
            (Ground.authority("desk"), (2, 3)),
            (Ground.key(ROOT.der), (2, 3)),
            # Also the session for which trusted code vouches.
            (Ground.principal(ANN), (1, 3)),
        )
    }
    text = desk.run("show", digits[:8]).stdout
    for said in (
        f"credential {digits[:SHOWN]}  counts",
        f"  principal    {ANN}",
        "  bound by     CRL",
        "  issuer       CN=Desk Root",
        f"  sha256       {digits}",
        "  sessions     2",
        "authority desk",
        f"key:{Ground.key(der).number:016x}",
        "of a CA",
        f"principal {ANN}",
    ):
        assert said in text
    desk.json("revoke", digits[:8], "--what", "key", "--by", "bob", "--reason", "it leaked")
    (shown,) = desk.json("show", digits[:8])["credentials"]
    assert shown["status"] == "revoked"
    own = next(each for each in shown["grounds"] if each["number"] == f"{Ground.key(der).number:016x}")
    assert (own["revoked"]["by"], own["revoked"]["reason"]) == ("bob", "it leaked")
    assert (own["credentials"], own["sessions"]) == (0, 0)
    assert "it leaked" in desk.run("show", digits[:8]).stdout


def ways() -> list[Any]:
    """Return how a ground of Ann's credential is named, with what it is."""
    der, digits = ANNS.der, sha256(ANNS)
    grounds = {
        "certificate": Ground.certificate(der),
        "key": Ground.key(der),
        "serial": Ground.serial(der),
        "issuer": Ground.issuer(der),
        "authority": Ground.authority("desk"),
        "principal": Ground.principal(ANN),
    }
    found = []
    for kind, ground in grounds.items():
        found += [
            pytest.param([f"{kind}:{ground.number:016x}"], ground, id=f"{kind} by number"),
            pytest.param([str(ground)], ground, id=f"{kind} by digest"),
            pytest.param([digits[:10], "--what", kind], ground, id=f"{kind} of a credential"),
        ]
    for kind in BY_FILE:
        found += [
            pytest.param([f"ann.{form}", "--what", kind], grounds[kind], id=f"{kind} of {form}")
            for form in ("pem", "der")
        ]
    found += [
        pytest.param(["key.pem", "--what", "key"], grounds["key"], id="a public key"),
        pytest.param([ANN, "--what", "principal"], grounds["principal"], id="principal by uid"),
        pytest.param([ANN], grounds["principal"], id="principal by uid alone"),
    ]
    return found


@pytest.mark.parametrize(("target", "ground"), ways())
def test_what_is_revoked_falls_and_is_not_admitted_until_it_is_restored(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: list[str], ground: Ground
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann.pem").write_bytes(ANNS.pem)
    (tmp_path / "ann.der").write_bytes(ANNS.der)
    (tmp_path / "key.pem").write_bytes(public_key(ANNS))
    ann, bob = desk.admit(ANNS, ANN), desk.admit(BOBS, BOB)
    is_shared = ground.kind in ("issuer", "authority")
    written = f"{ground.kind}:{ground.number:016x}"
    falls = {"credentials": sorted([sha256(ANNS), *([sha256(BOBS)] if is_shared else [])]), "sessions": 1 + is_shared}

    told = desk.json("revoke", *target, "--dry-run")
    assert (told["ground"], told["kind"]) == (written, ground.kind)
    assert {"credentials": sorted(told["credentials"]), "sessions": told["sessions"]} == falls
    assert (told["revoked"], told["was_revoked"], told["ended"]) == (False, False, None)
    assert desk.engine.revoked() == ()
    assert (desk.code(ann), desk.code(bob)) != ("REVOKED", "REVOKED")

    told = desk.json("revoke", *target, *WHO)
    assert {"credentials": sorted(told["credentials"]), "sessions": told["sessions"]} == falls
    assert (told["revoked"], told["ended"], told["by"], told["reason"]) == (True, falls["sessions"], "eve", "a test")
    assert desk.code(ann) == "REVOKED"
    assert (desk.code(bob) == "REVOKED") is is_shared
    assert desk.refusal(ANNS, ANN) == "revoked"
    assert desk.refusal(BOBS, BOB) == ("revoked" if is_shared else None)
    (line,) = desk.engine.revoked()
    assert (line.kind, line.digest[:16], line.by, line.reason) == (
        ground.kind,
        f"{ground.number:016x}",
        "eve",
        "a test",
    )
    assert desk.json("revoke", *target, *WHO)["was_revoked"]

    told = desk.json("restore", *target, "--by", "bob", "--reason", "a mistake")
    assert (told["ground"], told["restored"], told["by"]) == (written, True, "bob")
    assert desk.code(ann) == "REVOKED"
    assert desk.refusal(ANNS, ANN) is None
    done = desk.run("restore", *target, *WHO)
    assert (done.returncode, done.stdout) == (1, "")
    assert "it is not revoked: `ztfast cred list --revoked`" in done.stderr


def public_key(holder: pki.Holder) -> bytes:
    form = pki.PublicFormat.SubjectPublicKeyInfo
    return holder.certificate.public_key().public_bytes(pki.Encoding.PEM, form)


def test_revoke_says_what_falls_and_how_to_take_it_back(desk: Desk) -> None:
    desk.admit(ANNS, ANN)
    desk.admit(BOBS, BOB)
    done = desk.run("revoke", "authority:" + f"{Ground.authority('desk').number:016x}", "--dry-run")
    lines = done.stdout.splitlines()
    assert lines[0] == "authority desk: what would fall with it: 2 credentials and 2 sessions"
    assert [line.split()[:2] for line in lines[1:]] == [[sha256(ANNS)[:SHOWN], ANN], [sha256(BOBS)[:SHOWN], BOB]]
    done = desk.run("revoke", sha256(ANNS)[:6], "--what", "serial", *WHO)
    serial = f"serial {ANNS.certificate.serial_number:x} of CN=Desk Root"
    lines = done.stdout.splitlines()
    assert lines[0] == f"{serial}: what falls with it: 1 credential and 1 session"
    assert lines[2] == f"{serial}: revoked for ever by eve: a test"
    command = lines[3].partition("ztfast ")[2].replace("NAME", "bob").replace("WHY", "mistaken")
    assert lines[3].startswith("1 session ended. If it was a mistake: ztfast cred restore serial:")
    again = desk.run("revoke", sha256(ANNS)[:6], "--what", "serial", *WHO).stdout.splitlines()
    assert again[0].startswith(f"{serial}: already revoked by eve, 20")
    assert again[1] == f"{serial}: what falls with it: 0 credentials and 0 sessions"
    done = run(*command.split(), env={"ZTFAST_STATE": str(desk.path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{serial}: restored by bob: mistaken\n", "")
    assert desk.refusal(ANNS, ANN) is None


def test_what_was_revoked_by_its_number_is_restored_by_its_file_and_the_other_way_round(
    desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "ann.pem").write_bytes(b"Certificate:\n    Data: of ann\n" + ANNS.pem)
    of_file = [str(tmp_path / "ann.pem"), "--what", "serial"]
    of_number = [f"serial:{Ground.serial(ANNS.der).number:016x}"]
    desk.admit(ANNS, ANN)
    for revoke, restore in ((of_file, of_number), (of_number, of_file)):
        desk.json("revoke", *revoke, *WHO)
        assert desk.refusal(ANNS, ANN) == "revoked"
        desk.json("restore", *restore, *WHO)
        assert desk.refusal(ANNS, ANN) is None
        assert desk.json("list", "--revoked") == {"revoked": []}


def test_what_nobody_has_presented_yet_is_revoked_from_another_process(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "ann.pem").write_bytes(ANNS.pem)
    env = {"ZTFAST_STATE": str(desk.path)}
    done = run("cred", "revoke", str(tmp_path / "ann.pem"), "--what", "certificate", *WHO, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "what falls with it: 0 credentials and 0 sessions" in done.stdout
    assert desk.refusal(ANNS, ANN) == "revoked"
    assert desk.refusal(BOBS, BOB) is None
    desk.engine = ztfast.Engine(ztfast.examples.tiny(), state=desk.path)
    assert desk.refusal(ANNS, ANN) == "revoked"
    listed = run("cred", "list", env=env)
    assert (listed.returncode, listed.stdout.splitlines()[-1]) == (0, "1 credential: 1 counts")


def test_what_is_revoked_is_listed_with_who_and_why(desk: Desk) -> None:
    assert desk.run("list", "--revoked").stdout == "0 grounds revoked\n"
    for ground, by, reason in (
        (Ground.principal(ANN), "eve", "left"),
        (Ground.key(BOBS.der), "bob", "lost\nand found"),
        (Ground.principal(ANN), "dan", "said again"),
        (Ground.authority("mesh"), "eve", "a test"),
    ):
        desk.engine.revoke(ground=ground, by=by, reason=reason)
    desk.engine.restore(Ground.authority("mesh"), by="eve", reason="over")
    listed = desk.json("list", "--revoked")["revoked"]
    assert [(each["kind"], each["by"], each["reason"]) for each in listed] == [
        ("principal", "eve", "left"),
        ("key", "bob", "lost\nand found"),
    ]
    assert listed[1]["ground"] == f"key:{Ground.key(BOBS.der).number:016x}"
    assert listed[1]["digest"] == Ground.key(BOBS.der).digest.hex()
    text = desk.run("list", "--revoked").stdout
    for shown in (listed[0]["ground"], f"principal {ANN}", "eve", "left", "lost\\nand found", "2 grounds revoked"):
        assert shown in text
    assert "mesh" not in text


def test_a_certificate_that_authorities_verified_is_shown_and_revoked(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "root.crl").write_bytes(ROOT.crl())
    (tmp_path / "ann.pem").write_bytes(ANNS.pem)
    authorities = Authorities.from_dict(
        {
            "authority": [{"name": "desk", "kind": "x509", "anchors": ["root.pem"], "crls": ["root.crl"]}],
            "rule": [{"authority": "desk", "match": {"subject.OU": "algo"}, "principal": 'User::"{subject.CN}"'}],
        },
        base=tmp_path,
    )
    session = desk.engine.admit(authorities.x509(ANNS.pem))
    (told,) = desk.json("list")["credentials"]
    assert (told["principal"], told["sessions"], told["about"]["authority"]) == (ANN, 1, "desk")
    (shown,) = desk.json("show", sha256(ANNS)[:12])["credentials"]
    grounds = {(each["kind"], each["number"]) for each in shown["grounds"]}
    named = [Ground.certificate(ANNS.der), Ground.serial(ANNS.der), Ground.key(ANNS.der), Ground.issuer(ANNS.der)]
    named += [Ground.authority("desk"), Ground.key(ROOT.der), Ground.principal(ANN)]
    assert grounds == {(ground.kind, f"{ground.number:016x}") for ground in named}
    text = desk.run("show", sha256(ANNS)[:12]).stdout
    assert f"  serial       {told['about']['serial']}\n" in text
    assert "  subject      CN=ann, OU=algo\n" in text
    told = desk.json("revoke", str(tmp_path / "ann.pem"), "--what", "key", *WHO)
    assert (told["credentials"], told["sessions"], told["ended"]) == ([sha256(ANNS)], 1, 1)
    assert desk.code(session) == "REVOKED"
    with pytest.raises(ztfast.CredentialError) as refused:
        desk.engine.admit(authorities.x509(ANNS.pem))
    assert refused.value.code == "revoked"
    assert desk.json("restore", str(tmp_path / "ann.pem"), "--what", "key", *WHO)["restored"]
    assert desk.engine.admit(authorities.x509(ANNS.pem)).principal == ztfast.Uid("User", "ann")


def test_a_prefix_that_several_have_is_refused(desk: Desk) -> None:
    keys = [bytes.fromhex("abcdef") + bytes([number]) * 29 for number in range(3)]
    for key in keys:
        desk.admit(ROOT.issue(pki.name(CN="ann")), ANN, key=key)
    for command in (["show", "abcdef"], ["revoke", "abcdef", "--what", "key", *WHO]):
        done = desk.run(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"abcdef: 3 credentials begin so ({keys[0].hex()[:16]}, " in done.stderr
        assert "give more digits" in done.stderr
    assert desk.json("show", "abcdef01")["credentials"][0]["sha256"] == keys[1].hex()
    assert desk.engine.revoked() == ()


def test_one_certificate_of_two_configurations_is_no_ambiguity(desk: Desk) -> None:
    desk.admit(ANNS, ANN)
    other = Believed()
    other.epoch = 8
    desk.admit(ANNS, BOB, authorities=other)
    shown = desk.json("show", sha256(ANNS)[:8])["credentials"]
    assert sorted(each["principal"] for each in shown) == [ANN, BOB]
    told = desk.json("revoke", sha256(ANNS)[:8], "--what", "certificate", *WHO)
    assert (told["credentials"], told["ended"]) == ([sha256(ANNS)] * 2, 2)


def test_a_row_that_says_nothing_of_itself_is_shown(desk: Desk) -> None:
    desk.admit(ANNS, ANN, about={})
    assert "1 credential: 1 counts" in desk.run("list").stdout
    text = desk.run("show", sha256(ANNS)[:8]).stdout
    assert f"key {Ground.key(ANNS.der).number:016x}"[:20] in text
    for kind in (*BY_FILE, "authority", "principal"):
        told = desk.json("revoke", sha256(ANNS)[:8], "--what", kind, *WHO)
        assert told["kind"] == kind
        assert told["shown"].startswith(f"{kind} ")
    assert len(desk.json("list", "--revoked")["revoked"]) == 6


def test_texts_of_certificates_do_not_reach_the_terminal(desk: Desk) -> None:
    desk.admit(ANNS, ANN, about={"subject": "CN=\x1b[2Jann\u202e", "issuer": "CN=\x1b]0;x\x07", "serial": "1\n2"})
    digits = sha256(ANNS)[:8]
    desk.engine.revoke(ground=Ground.key(ANNS.der), by="eve", reason="two\nlines")
    for command in (["list"], ["show", digits], ["revoke", digits, "--what", "issuer", *WHO], ["list", "--revoked"]):
        output = desk.run(*command).stdout
        assert output.replace("\n", "").isprintable(), command


def test_wrong_uses_are_told_and_change_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.admit(ANNS, ANN)
    digits = sha256(ANNS)[:8]
    key = f"{Ground.key(ANNS.der).number:016x}"
    (tmp_path / "no.pem").write_text("nothing of use")
    (tmp_path / "empty").touch()
    (tmp_path / "two.pem").write_bytes(ANNS.pem + BOBS.pem)
    (tmp_path / "private.pem").write_bytes(ANNS.key_pem)
    (tmp_path / "cut.der").write_bytes(ANNS.der[:-1])
    (tmp_path / "large").write_bytes(bytes(2 << 20))
    of = ["--what", "certificate"]
    for arguments, code, says in (
        (["0" * 64, *of], 1, "no credential with this SHA-256"),
        (["abc", *of], 2, "at least 4"),
        (["f" * 65, *of], 2, "at least 4"),
        ([digits], 2, "say what of this credential: --what certificate|serial|key|issuer|authority|principal"),
        ([digits, "--what", "token"], 2, "wanted certificate|"),
        (["key:12"], 2, "16 hexadecimal digits, or all 64"),
        (["key:" + "g" * 16], 2, "16 hexadecimal digits, or all 64"),
        ([f"key:{key}", "--what", "serial"], 2, "leave --what out"),
        ([f"serial:{key}"], 2, f"this is no serial: write key:{key}"),
        ([str(tmp_path / "no.pem")], 2, "for a file add --what certificate|key|serial|issuer"),
        ([str(tmp_path / "no.pem"), "--what", "authority"], 2, "of a file, --what is certificate|"),
        ([str(tmp_path / "no.pem"), *of], 1, "no.pem is not one certificate: "),
        ([str(tmp_path / "empty"), *of], 1, "empty is not one certificate: "),
        ([str(tmp_path / "two.pem"), *of], 1, "two.pem is not one certificate: "),
        ([str(tmp_path / "private.pem"), *of], 1, "private key"),
        ([str(tmp_path / "private.pem"), "--what", "key"], 1, "private key"),
        ([str(tmp_path / "cut.der"), *of], 1, "cut.der is not one certificate: "),
        ([str(tmp_path / "large"), *of], 1, "large is not one certificate: "),
        ([str(tmp_path / "nothing.pem"), *of], 1, "No such file"),
        ([str(tmp_path), *of], 1, "Is a directory"),
        (["User::ann", "--what", "principal"], 2, """'User::"ann"'"""),
        (["", *of], 1, "cannot be read as a certificate"),
        (["x" * 65_536, *of], 1, "cannot be read as a certificate"),
    ):
        for command in ("revoke", "restore"):
            done = desk.run(command, *arguments, *WHO)
            assert (done.returncode, done.stdout) == (code, ""), arguments
            assert says in done.stderr
            assert len(done.stderr) < 600
            assert "Traceback" not in done.stderr
    for options in (["--by", "eve"], ["--reason", "x"], ["--by", " ", "--reason", "x"], []):
        for command in ("revoke", "restore"):
            assert desk.run(command, f"key:{key}", *options).returncode == 2
    for target, code in (("abc", 2), ("xyzw", 2), ("0" * 64, 1), ("", 2)):
        done = desk.run("show", target)
        assert (done.returncode, done.stdout) == (code, "")
    assert desk.engine.revoked() == ()
    assert desk.refusal(ANNS, ANN) is None


def test_a_directory_without_a_state_is_left_as_it_is(tmp_path: Path, here: Here) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        for command in (["list"], ["show", "abcd"], ["revoke", ANN, *WHO], ["restore", ANN, *WHO]):
            done = here.run("cred", *command, "--state", str(path))
            assert done.returncode == 1
            assert f"{path}: there is no state here" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_list_elsewhere_is_named_and_never_made(desk: Desk, tmp_path: Path, here: Here) -> None:
    elsewhere, path = tmp_path / "disk" / "list", tmp_path / "other"
    elsewhere.parent.mkdir(mode=0o700)
    desk.engine = ztfast.Engine(
        ztfast.examples.tiny(), state=path, sessions=16, handles=256, revoked=elsewhere, prefault=False
    )
    desk.path = path
    ann = desk.admit(ANNS, ANN)
    assert here.run("session", "quarantine", ANN, *WHO, "--state", str(path)).returncode == 0
    assert not (path / "revoked").exists()
    for command in (["list"], ["list", "--revoked"], ["show", "abcd"], ["revoke", ANN, *WHO], ["restore", ANN, *WHO]):
        for option, says in (
            ([], ", by --list"),
            (["--list", str(tmp_path / "no")], "no list of revoked grounds here"),
        ):
            done = desk.run(*command, *option)
            assert (done.returncode, done.stdout) == (1, "")
            assert says in done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "desk", tmp_path / "disk", path])
    assert desk.code(ann) == "QUARANTINED"
    told = desk.json("revoke", ANN, *WHO, "--list", str(elsewhere))
    assert (told["sessions"], told["ended"]) == (1, 1)
    assert desk.refusal(ANNS, ANN) == "revoked"
    done = run("cred", "list", "--revoked", env={"ZTFAST_STATE": str(path), "ZTFAST_REVOKED": str(elsewhere)})
    assert done.stdout.splitlines()[-1] == "1 ground revoked"
    assert not (path / "revoked").exists()


def test_a_list_that_was_damaged_is_told_and_keeps_nobody_from_a_kill(desk: Desk) -> None:
    ann = desk.admit(ANNS, ANN)
    desk.json("revoke", BOB, *WHO)
    list_of = desk.path / "revoked"
    list_of.write_bytes(list_of.read_bytes().replace(b"eve", b"ann"))
    for command in (["list"], ["list", "--revoked"], ["revoke", BOB, *WHO], ["restore", ANN, *WHO]):
        done = desk.run(*command, "--json")
        assert done.returncode == 1
        assert "was damaged" in json.loads(done.stdout)["error"]["message"]
    # Whoever has to stop trading need not repair it first.
    for command in (["kill", "firm", *WHO], ["session", "list"], ["session", "revoke", ANN, *WHO]):
        done = desk.here.run(*command, "--state", str(desk.path))
        assert done.returncode == 0, done.stderr
    assert [kill.by for kill in desk.engine.kills()] == ["eve"]
    assert [(info.id, info.status) for info in desk.engine.sessions()] == [(ann.id, "revoked")]


def test_the_help_is_in_the_order_of_use(here: Here) -> None:
    told = here.run("--help").stdout
    names = ("compile", "check", "decide", "explain", "schema", "session", "cred", "kill", "market", "log", "doctor",
             "demo", "bench")  # fmt: skip
    assert re.findall(rf"^\W+({'|'.join(names)}) {{2}}", told, re.M) == list(names)
    told = " ".join(here.run("cred", "--help").stdout.split())
    assert "what falls with each of their grounds" in told
    assert "--dry-run" in here.run("cred", "revoke", "--help").stdout
