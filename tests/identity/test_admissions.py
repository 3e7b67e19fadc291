"""Admissions by credentials: what a session is made of, by what it ends, and what is never admitted again."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import ztfast
from tests.identity import pki
from ztfast.identity import Authorities, Credential, Ground

WHO = {"by": "ann", "reason": "a test"}
PHOTO = 'Photo::"p1"'

CONFIG = """
[[authority]]
name = "desk"
kind = "x509"
anchors = ["root.pem", "spare.pem"]
intermediates = ["ca.pem"]
crls = ["*.crl"]
revocation = "required"

[[rule]]
authority = "desk"
match = {{ "subject.OU" = "users" }}
principal = 'User::"{{subject.CN}}"'
factors = ["x509"]
assurance = 3
region = "{{subject.C}}"
{more}
"""


class Desk:
    """A folder with a root, a CA, their CRLs and a configuration; and what reads it."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.root, self.spare = pki.root(), pki.root(pki.name(CN="Spare"))
        self.ca = self.root.issue(pki.name(CN="Desk CA"), ca=True)
        self.ann = self.issue("ann")
        for name, held in (("root", self.root), ("spare", self.spare), ("ca", self.ca)):
            (folder / f"{name}.pem").write_bytes(held.pem)
        self.write("root.crl", self.root.crl())
        self.revoke(number=1)
        self.write("ztfast.toml", CONFIG.format(more=more).encode())
        self.authorities = self.load()

    def issue(self, name: str, **more: object) -> pki.Holder:
        return self.ca.issue(pki.name(CN=name, OU="users", C="DE"), **more)  # type: ignore[arg-type]

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def revoke(self, *who: pki.Holder, number: int) -> None:
        self.write("ca.crl", self.ca.crl(*who, number=number))

    def load(self) -> Authorities:
        return Authorities.load(self.folder / "ztfast.toml")

    def credential(self, of: pki.Holder | None = None) -> Credential:
        return self.authorities.x509((of or self.ann).der)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), sessions=64)


def refused(engine: ztfast.Engine, credential: Credential) -> str:
    with pytest.raises(ztfast.CredentialError) as error:
        engine.admit(credential)
    return error.value.code


def code(engine: ztfast.Engine, session: ztfast.Session) -> str:
    return engine.decide(session, "view", PHOTO).code


def test_a_session_by_a_certificate_is_what_the_rule_says(desk: Desk, engine: ztfast.Engine) -> None:
    session = engine.admit(desk.credential())
    [info] = engine.sessions()
    assert session.principal == info.principal == ztfast.Uid("User", "ann")
    assert (info.factors, info.assurance, info.region, info.channel) == (("x509",), 3, "DE", "x509")
    # The CRLs are good for an hour, and the certificate for a day.
    assert 0 < info.not_after - pki.now().timestamp() <= 3600
    assert desk.ann.certificate.not_valid_after_utc.timestamp() > info.not_after + 3600
    assert session.identity.factors == ("x509",)
    assert repr(session) == f'<ztfast.Session {session.id:#x} of User::"ann">'
    assert code(engine, session) == "ALLOW"


def test_what_was_verified_is_a_row_and_is_not_verified_again(desk: Desk, engine: ztfast.Engine) -> None:
    sessions = [engine.admit(desk.credential()) for _ in range(3)]
    assert len({session.id for session in sessions}) == 3
    assert desk.authorities.counters()["verified"] == 1
    [row] = engine.credentials()
    assert row.sha256 == desk.credential().fingerprint.hex()
    assert row.principal == ztfast.Uid("User", "ann")
    assert row.about["authority"] == "desk"
    assert "CN=ann" in row.about["subject"]
    assert {kind for kind, _ in row.grounds} == {"certificate", "serial", "key", "issuer", "authority", "principal"}
    assert engine.credential_use is not None
    assert (engine.credential_use.found, engine.credential_use.missed) == (2, 1)


def test_nobody_is_admitted_whom_no_rule_names(desk: Desk, engine: ztfast.Engine) -> None:
    other = desk.ca.issue(pki.name(CN="eve", OU="others"))
    assert refused(engine, desk.credential(other)) == "no-rule"
    assert engine.sessions() == engine.credentials() == ()


def _crl(desk: Desk) -> None:
    desk.revoke(desk.ann, number=2)


def _anchor(desk: Desk) -> None:
    desk.write("ztfast.toml", CONFIG.format(more="").replace('"root.pem", ', "").encode())


def _authority(desk: Desk) -> None:
    desk.write("ztfast.toml", CONFIG.format(more="").replace('"desk"', '"other"').encode())


@pytest.mark.parametrize("change", [_crl, _anchor, _authority])
def test_a_session_ends_when_something_falls_that_it_rests_on(
    desk: Desk, engine: ztfast.Engine, change: Callable[[Desk], None]
) -> None:
    bob = desk.issue("bob")
    session, other = engine.admit(desk.credential()), engine.admit(desk.credential(bob))
    gate, photo = engine.prepare("view"), engine.resource(PHOTO)
    assert gate.allows(session, photo)
    change(desk)
    assert desk.authorities.reload().fell
    assert (gate.allows(session, photo), code(engine, session)) == (False, "REVOKED")
    if change is _authority:
        # It is another authority's from now on.
        assert code(engine, engine.admit(desk.credential())) == "ALLOW"
    else:
        refused(engine, desk.credential())
    # A CRL ends nobody else.
    assert (code(engine, other) == "REVOKED") is (change is not _crl)


def test_another_configuration_that_ends_nothing_verifies_again(desk: Desk, engine: ztfast.Engine) -> None:
    session = engine.admit(desk.credential())
    desk.revoke(number=2)
    reloaded = desk.authorities.reload()
    assert (reloaded.changed, reloaded.fell) == (True, ())
    assert code(engine, session) != "REVOKED"
    engine.admit(desk.credential())
    assert desk.authorities.counters()["verified"] == 2


@pytest.mark.parametrize("kind", ["certificate", "serial", "key", "issuer", "authority", "principal", "key of a CA"])
def test_what_rests_on_a_revoked_ground_ends_and_is_never_admitted_again(
    desk: Desk, engine: ztfast.Engine, kind: str
) -> None:
    grounds = {
        "certificate": Ground.certificate(desk.ann.der),
        "serial": Ground.serial(desk.ann.der),
        "key": Ground.key(desk.ann.der),
        "issuer": Ground.issuer(desk.ann.der),
        "authority": Ground.authority("desk"),
        "principal": Ground.principal('User::"ann"'),
        "key of a CA": Ground.key(desk.ca.der),
    }
    ground = grounds[kind]
    bob = desk.issue("bob")
    sessions = [engine.admit(desk.credential()), engine.admit(desk.credential()), engine.admit(desk.credential(bob))]
    takes_all = kind in ("issuer", "authority", "key of a CA")
    assert engine.revoke(ground=ground, **WHO) == (3 if takes_all else 2)
    assert [code(engine, session) == "REVOKED" for session in sessions] == [True, True, takes_all]
    assert refused(engine, desk.credential()) == "revoked"
    desk.authorities.reload()
    assert refused(engine, desk.credential()) == "revoked"
    # The same key in another certificate, and the same principal, whatever proves it.
    again = desk.issue("ann", private=desk.ann.private)
    expected = kind not in ("certificate", "serial")
    if expected:
        assert refused(engine, desk.credential(again)) == "revoked"
    else:
        engine.admit(desk.credential(again))
    [line] = engine.revoked()
    assert (line.kind, line.digest, line.by, line.is_revoked) == (ground.kind, ground.digest.hex(), "ann", True)
    assert engine.restore(ground, **WHO)
    assert not engine.restore(ground, **WHO)
    assert code(engine, engine.admit(desk.credential())) != "REVOKED"
    assert [line.is_revoked for line in engine.revoked()] == [True, False]


def test_a_principal_that_is_revoked_is_not_admitted_by_trusted_code_either(engine: ztfast.Engine) -> None:
    identity = ztfast.Identity('User::"ann"', not_after=2_000_000_000)
    session = engine.admit(identity)
    assert engine.revoke(ground=Ground.principal('User::"ann"'), **WHO) == 1
    assert code(engine, session) == "REVOKED"
    with pytest.raises(ztfast.CredentialError, match="its principal is revoked"):
        engine.admit(identity)
    engine.admit(ztfast.Identity('User::"bob"', not_after=2_000_000_000))


def test_a_ground_is_revoked_by_somebody_for_a_reason(desk: Desk, engine: ztfast.Engine) -> None:
    for said in ({}, {"by": "ann"}, {"reason": "lost"}):
        with pytest.raises(ztfast.ArgumentError, match="by= whom and for what reason="):
            engine.revoke(ground=Ground.key(desk.ann.der), **said)  # type: ignore[arg-type]
    with pytest.raises(ztfast.ArgumentError):
        engine.restore("key", **WHO)  # type: ignore[arg-type]
    assert engine.revoked() == ()


def test_a_session_lasts_no_longer_than_its_credential(desk: Desk, engine: ztfast.Engine) -> None:
    session = engine.admit(desk.credential())
    end = session.identity.not_after
    with pytest.raises(ztfast.SessionError, match="rests on a credential"):
        session.renew(not_after=end + 1)
    with pytest.raises(ztfast.SessionError, match="1 sessions rest on credentials"):
        engine.renew('User::"ann"', not_after=end + 1)
    session.renew(not_after=end - 1)
    assert engine.sessions()[0].not_after == end - 1


def test_quarantine_and_proofs_choose_sessions_by_grounds(desk: Desk, engine: ztfast.Engine) -> None:
    session = engine.admit(desk.credential())
    key = Ground.key(desk.ca.der)
    assert engine.quarantine(ground=key) == 1
    assert code(engine, session) == "QUARANTINED"
    assert engine.quarantine(ground=key, on=False) == 1
    assert engine.present(ground=key, risk=70) == 1
    assert engine.sessions()[0].risk == 70
    # Neither is for ever: the next session is another.
    assert code(engine, engine.admit(desk.credential())) == "ALLOW"


def test_attributes_of_a_rule_are_the_principals(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'attributes = { desk = "{subject.C}" }')
    schema = ztfast.Text(
        "entity User { desk: String }; entity Doc; action view appliesTo { principal: User, resource: Doc };"
    )
    policies = ztfast.Text('permit (principal, action, resource) when { principal.desk == "DE" };')
    engine = ztfast.Engine(ztfast.compile(policies, schema=schema))
    session = engine.admit(desk.credential())
    assert engine.decide(session, "view", 'Doc::"d"').code == "ALLOW"


def test_an_expired_row_is_not_believed_again(desk: Desk) -> None:
    engine = ztfast.Engine(ztfast.examples.tiny(), clock="caller")
    begin = pki.now()
    engine.set_time(int(begin.timestamp() * 1e9))
    session = engine.admit(desk.credential())
    engine.admit(desk.credential())
    assert desk.authorities.counters()["verified"] == 1
    # The CRL is good for an hour.
    engine.set_time(int((begin + datetime.timedelta(minutes=61)).timestamp() * 1e9))
    assert code(engine, session) == "EXPIRED"
    assert refused(engine, desk.credential()) == "crl-stale"


ADMITS = """
import sys, ztfast
from pathlib import Path
from ztfast.identity import Authorities
folder = Path(sys.argv[1])
engine = ztfast.Engine(ztfast.examples.tiny(), state=folder / "state")
authorities = Authorities.load(folder / "ztfast.toml")
try:
    session = engine.admit(authorities.x509((folder / "ann.der").read_bytes()))
    print(hex(session.id), authorities.counters().get("verified", 0), flush=True)
except ztfast.CredentialError as error:
    print(error.code, flush=True)
"""


def other_process(desk: Desk) -> str:
    desk.write("ann.der", desk.ann.der)
    told = subprocess.run(
        [sys.executable, "-c", ADMITS, str(desk.folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_processes_of_a_state_share_what_was_verified_and_what_is_revoked(desk: Desk) -> None:
    state = desk.folder / "state"
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=64)
    engine.admit(desk.credential())
    id, verified = other_process(desk).split()
    assert verified == "0"
    theirs = engine.session(int(id, 16))
    assert code(engine, theirs) != "REVOKED"
    assert engine.revoke(ground=Ground.key(desk.ann.der), **WHO) == 2
    assert code(engine, theirs) == "REVOKED"
    assert other_process(desk) == "revoked"


def test_what_is_revoked_stays_so_after_a_restart_and_without_its_state(desk: Desk) -> None:
    state, kept = desk.folder / "state", desk.folder / "kept"
    kept.mkdir(mode=0o700)
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=64, revoked=kept / "revoked")
    engine.admit(desk.credential())
    engine.revoke(ground=Ground.certificate(desk.ann.der), **WHO)
    del engine
    for place in (state, None):
        again = ztfast.Engine(ztfast.examples.tiny(), state=place, sessions=64, revoked=kept / "revoked")
        assert refused(again, desk.credential()) == "revoked"
        assert len(again.revoked()) == 1
    own = ztfast.Engine(ztfast.examples.tiny(), sessions=64)
    own.admit(desk.credential())


def test_another_authority_than_the_one_that_is_asked_for_does_not_count(desk: Desk, engine: ztfast.Engine) -> None:
    other = CONFIG.format(more="").replace('"desk"', '"other"').replace('"root.pem", "spare.pem"', '"spare.pem"')
    desk.write("ztfast.toml", (CONFIG.format(more="") + other).encode())
    desk.authorities.reload()
    engine.admit(desk.authorities.x509(desk.ann.der))
    engine.admit(desk.authorities.x509(desk.ann.der, authority="desk"))
    assert refused(engine, desk.authorities.x509(desk.ann.der, authority="other")) == "unknown-issuer"


def test_an_engine_that_opens_ends_what_a_killed_revocation_left(desk: Desk) -> None:
    state = desk.folder / "state"
    engine = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=64)
    by_key, by_principal = engine.admit(desk.credential()), engine.admit(desk.credential(desk.issue("bob")))
    others = desk.folder / "others"
    other = ztfast.Engine(ztfast.examples.tiny(), state=others, sessions=64)
    other.revoke(ground=Ground.key(desk.ann.der), **WHO)
    other.revoke(ground=Ground.principal('User::"bob"'), **WHO)
    # This is what a process that is killed after it wrote the list leaves.
    (state / "revoked").write_bytes((others / "revoked").read_bytes())
    assert code(engine, by_key) == "ALLOW"
    ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=64)
    assert [code(engine, session) for session in (by_key, by_principal)] == ["REVOKED", "REVOKED"]


def test_nobody_is_admitted_while_the_list_is_gone_or_damaged(desk: Desk) -> None:
    listed = desk.folder / "lists" / "revoked"
    listed.parent.mkdir(mode=0o700)
    engine = ztfast.Engine(ztfast.examples.tiny(), sessions=64, revoked=listed)
    engine.admit(desk.credential())
    engine.revoke(ground=Ground.principal('User::"eve"'), **WHO)
    line = listed.read_bytes()
    listed.write_bytes(b"")
    for identity in (desk.credential(), ztfast.Identity('User::"ann"', not_after=2_000_000_000)):
        with pytest.raises(ztfast.StateError, match="nobody is admitted"):
            engine.admit(identity)
    listed.write_bytes(line.replace(b"eve", b"bob"))
    with pytest.raises(ztfast.StateError, match="line 1"):
        ztfast.Engine(ztfast.examples.tiny(), sessions=64, revoked=listed)


def test_a_revocation_ends_what_is_admitted_at_this_moment(desk: Desk, engine: ztfast.Engine) -> None:
    """Threads admit while grounds are revoked and restored: no session outlives the revocation that it met."""
    credential, ground = desk.credential(), Ground.key(desk.ann.der)
    admitted: list[ztfast.Session] = []
    done = threading.Event()

    def admits() -> None:
        while not done.is_set():
            try:
                admitted.append(engine.admit(credential))
            except ztfast.CredentialError as error:
                assert error.code in ("revoked", "late")  # noqa: PT017
            except ztfast.CapacityError:
                pass

    threads = [threading.Thread(target=admits) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            engine.revoke(ground=ground, **WHO)
            before = list(admitted)
            alive = [info for info in engine.sessions() if info.status == "active"]
            assert alive == []
            assert all(code(engine, session) in ("REVOKED", "UNKNOWN_SESSION") for session in before[-20:])
            engine.restore(ground, **WHO)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert admitted


def test_credentials_of_deciders_and_forked_engines_are_refused(desk: Desk) -> None:
    state = desk.folder / "state"
    authority = ztfast.Engine(ztfast.examples.tiny(), state=state, sessions=64)
    authority.admit(desk.credential())
    decider = ztfast.Engine(ztfast.examples.tiny(), state=state, role="decide")
    with pytest.raises(ztfast.RoleError):
        decider.admit(desk.credential())
    with pytest.raises(ztfast.RoleError):
        decider.revoke(ground=Ground.key(desk.ann.der), **WHO)
    assert len(decider.credentials()) == 1
    assert decider.revoked() == ()


def test_the_table_is_bounded_and_what_it_lost_is_verified_again(desk: Desk) -> None:
    engine = ztfast.Engine(ztfast.examples.tiny(), sessions=256, credentials=16)
    holders = [desk.issue("ann") for _ in range(100)]
    sessions = [engine.admit(desk.credential(holder)) for holder in holders]
    assert engine.credential_use is not None
    assert len(engine.credentials()) <= engine.credential_use.capacity < 100
    engine.admit(desk.credential(holders[0]))
    # Sessions whose rows are gone end with their grounds, too.
    assert engine.revoke(ground=Ground.issuer(desk.ann.der), **WHO) == 101
    assert all(code(engine, session) == "REVOKED" for session in sessions)
