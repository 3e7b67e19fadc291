"""Certificates in ``ztfast demo``: a PKI is made for the desk, and the authorities that take its certificates."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ztfast import examples
from ztfast.cli.output import number, say
from ztfast.engine import Engine
from ztfast.errors import CredentialError, Error
from ztfast.gate import Session
from ztfast.identity import Authorities, Credential
from ztfast.uid import Uid

__all__ = ["MISSING", "Certified", "Identities", "certified", "show_identities"]

MISSING = "Certificates are left out, because pyca cryptography is missing: pip install 'ztfast[identity]' adds them."
"""The one sentence in place of all that is about certificates."""

KINDS = frozenset({"Algo", "Human", "Agent", "Service"})
"""The types of the principals that have certificates."""

BRIEFLY = timedelta(seconds=2)
"""For how long the certificate is good that ends during the demo."""

PATIENCE_S = 10.0


class Certified:
    """The PKI of the desk, which is made in a folder, and its authorities."""

    def __init__(self, folder: Path) -> None:
        self.pki = examples.pki(folder)
        self.authorities = Authorities.load(self.pki.config)

    def credential(self, uid: str) -> Credential:
        """Take a principal's newest certificate as a credential."""
        return self.authorities.x509(self.pki.certificate(who(uid)))

    def renew(self, uid: str, **options: Any) -> Credential:
        """Issue another certificate to a principal, and take it as a credential."""
        return self.authorities.x509(self.pki.renew(who(uid), **options))

    def revoke(self, uid: str) -> int:
        """Let the CA issue a new list, which revokes a principal's certificates, and return the list's number.

        Nobody has read it before ``authorities.reload()``.
        """
        (issued,) = self.pki.revoke(who(uid))
        return int(issued)

    def refusal(self, engine: Engine, uid: str) -> str:
        """Return why a principal is not admitted.

        Raises:
            Error: if it is.
        """
        try:
            engine.admit(self.credential(uid))
        except CredentialError as error:
            return f"CredentialError {error.code}: {error}"
        raise Error(f"{uid} was admitted although its certificate is revoked (this is a bug in ztfast)")


@dataclass(slots=True)
class Identities:
    """What the demo shows of certificates.

    Attributes:
        admitted: How many principals were admitted by their certificates.
        verified_us: The microseconds of an admission whose certificate was verified.
        found_us: The microseconds of one whose certificate was found in the validation table.
        rotated: Who got another certificate while the one before was good.
        while_both: What the sessions by both decided then, the older first.
        after_the_first: What they decided when the first certificate had ended.
        refusal: Why a principal was not admitted whose certificate was revoked.
    """

    admitted: int
    verified_us: float
    found_us: float
    rotated: str = ""
    while_both: list[str] = field(default_factory=list)
    after_the_first: list[str] = field(default_factory=list)
    refusal: str = ""


def certified(folder: Path) -> Certified | None:
    """Make the desk's PKI in a folder; return ``None`` if pyca ``cryptography`` is missing."""
    try:
        return Certified(folder)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        return None


def admit_all(engine: Engine, desk: Certified, uids: Iterable[str]) -> tuple[dict[str, Session], Identities]:
    """Admit principals by their certificates, and once more, when they are known."""
    credentials = {uid: desk.credential(uid) for uid in uids if Uid.parse(uid).type in KINDS}
    began = time.perf_counter()
    sessions = {uid: engine.admit(credential) for uid, credential in credentials.items()}
    between = time.perf_counter()
    again = [engine.admit(credential) for credential in credentials.values()]
    ended = time.perf_counter()
    for session in again:
        session.revoke()
    count = len(credentials)
    return sessions, Identities(count, (between - began) / count * 1e6, (ended - between) / count * 1e6)


def wait_for_end(session: Session) -> None:
    """Wait until a session has ended by itself.

    Raises:
        Error: if it takes too long.
    """
    left = session.identity.not_after - time.time()
    if left > PATIENCE_S:
        raise Error(f"a session ends in {left:.1f} seconds, later than its certificate (this is a bug in ztfast)")
    # A session may be honoured for one more tick of the clock.
    time.sleep(max(left, 0.0) + 0.02)


def show_identities(told: Identities | None) -> None:
    """Print what happened with certificates."""
    if told is None:
        say(MISSING)
        return
    say(
        (f"{number(told.admitted)} principals are admitted by their certificates", "bold"),
        f": {told.verified_us:,.0f} us each while they are verified, {told.found_us:.1f} us each once they are known",
    )
    old, new = told.while_both
    say(f"  {told.rotated} gets another certificate: its first session: {old}; its second: {new}")
    old, new = told.after_the_first
    say(f"  the first certificate has ended:         its first session: {old}; its second: {new}")


def who(uid: str) -> str:
    """Return how the PKI calls a principal.

    >>> who('Algo::"a7"')
    'algo/a7'
    """
    kind, name = Uid.parse(uid)
    return f"{kind.lower()}/{name}"
