"""What an engine does with sessions: it admits, finds, lists, changes and revokes them."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from ztfast import gate, plain
from ztfast.credentials import Credentials
from ztfast.errors import OwnerError, SessionError
from ztfast.gate import Session
from ztfast.identities import (
    Identity,
    bounds,
    epoch_seconds,
    ground_number,
    nanoseconds,
    new_proof,
    plain_ground,
)
from ztfast.presented import AnyCredential, AnyGround, admit_credential
from ztfast.reports import SessionInfo, identity_of
from ztfast.shown import refused
from ztfast.telling import ACTIVE, DONE, QUARANTINED, REVOKED, presented, said_of, tell
from ztfast.uid import Uid, UidLike

__all__ = ["Sessions", "count_already", "path_of", "place_of_state"]

_DIGITS = re.compile(r"0[xX]([0-9a-fA-F]{0,16})")

_Meant = tuple[int | None, tuple[str, str] | None, int]
"""A session's id; a principal or what principals are in; the number of a ground."""


class Sessions(Credentials):
    """The sessions of an engine: the part of :class:`ztfast.Engine` that admits, finds, changes and revokes."""

    __slots__ = ()

    def admit(self, identity: Identity | AnyCredential) -> Session:
        """Open a session for a credential, or for an identity that trusted code has established.

        A credential (:class:`ztfast.identity.Credential`) is verified, by threads of its authorities, unless the
        validation table has it. Then its session lasts as long as the shortest of all its bounds, and ends at once when
        something falls that it rests on. The principal need not be in the store, but the schema must have its type.

        Raises:
            ArgumentError: if ``identity`` is neither, or a uid is too long for the register of a shared state.
            CapacityError: if live sessions take all slots, all handles are in use, or the register of a shared state is
                full.
            CredentialError: if a credential is refused, or what an identity says is revoked; ``code`` says why.
            EntityError: if the schema has no such type, or does not list the entity in its enumerated type.
            ForkedError: if the engine, or the credential's authorities, were opened before a fork.
            RoleError: if the engine only decides.
            StateError: if the file of the state, or the list of what is revoked, is gone or damaged.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> session.principal
        Uid(type='User', id='ann')
        """
        # As plain.is_a does it, without a call: an admission by a known certificate takes two microseconds.
        if issubclass(type(identity), AnyCredential):
            credential: Any = identity
            if credential.authorities is not self._attached():
                self._attach(credential.authorities)
            return admit_credential(self._core, credential)
        if not plain.is_a(identity, Identity):
            raise refused("admit", "a ztfast.Identity or a credential", identity)
        own = cast(Identity, identity)
        return gate.admit(self._core, own, *bounds(own))

    def session(self, id: int) -> Session:
        """Return the session with an id, which this or another process of the same state admitted.

        A session's id (``session.id``) is a secret between the processes that use it: whoever has it and the state can
        decide by it.

        Raises:
            ArgumentError: if ``id`` is not a number.
            SessionError: if there is no session with this id, or it is over.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> admitted = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        >>> engine.session(admitted.id).principal
        Uid(type='User', id='ann')
        """
        number = plain.integer(id)
        if number is None or not 0 <= number < 1 << 64:
            raise refused("session", "a session's id (session.id)", id)
        found = self._core.find_session(number)
        status = None if found is None else found["status"]
        if found is None or status in ("revoked", "expired"):
            why = "there is none with this id" if found is None else f"it is {status}"
            raise SessionError(f"session {number:#x}: {why}: let an authority admit the principal again")
        return gate.found(self._core, number, identity_of(SessionInfo._of(found)))

    def sessions(self, principal: UidLike | None = None, *, beginning: str | None = None) -> tuple[SessionInfo, ...]:
        """Return all sessions, of all processes, with those that ended while nobody has taken their slot yet.

        Args:
            principal: Only the sessions of this principal.
            beginning: Only those whose id begins with these hexadecimal digits, as "0x2aef0f".

        Raises:
            ArgumentError: if ``beginning`` is no hexadecimal number, or both are given.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf, factors=["x509"]))
        >>> [(str(info.principal), info.status, info.factors) for info in engine.sessions()]
        [('User::"ann"', 'active', ('x509',))]
        """
        if principal is not None and beginning is not None:
            raise refused("sessions", "a principal or beginning=, not both", beginning)
        uid = None if principal is None else Uid.of(principal)
        digits = None if beginning is None else digits_of(beginning)
        return tuple(SessionInfo._of(found) for found in self._core.list_sessions(uid, digits))

    def revoke(
        self,
        what: Session | UidLike | None = None,
        /,
        *,
        ground: str | bytes | AnyGround | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Revoke a session, or those of a principal, of all principals that are in a group, or that rest on a ground.

        Args:
            what: A session, or the uid of a principal or of an entity that principals are in.
            ground: A ground, as in :class:`ztfast.Identity`, or a :class:`ztfast.identity.Ground`: a certificate, a
                key, a serial number, an issuer, an authority or a principal. Nothing that rests on the latter is
                admitted any more, by no process, also after a restart: see :meth:`revoked` and :meth:`restore`.
            by: Who revokes them. The logger ``"ztfast"`` reports it with the reason, at level INFO, and
                :meth:`sessions` shows both, in all processes, while the state keeps them: see :meth:`notes`. It is
                required for a :class:`ztfast.identity.Ground`.
            reason: Why, in the same way.

        Returns:
            How many sessions were revoked: not those that were revoked or had expired before. When it returns, no
            process decides by them any more. Sessions that are admitted meanwhile are not among them, nor are those of
            principals that act on behalf of this one.

        Raises:
            ArgumentError: unless exactly one of ``what`` and ``ground`` is given, or if a text is empty or too long
                (``by``: 128 bytes, ``reason``: 256).
            OwnerError: if the session belongs to another engine.
            RoleError: if the engine only decides.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf, ground="certificate 7"))
        >>> engine.revoke(ground="certificate 7")
        1
        >>> engine.decide(session, "view", 'Photo::"p1"').code
        'REVOKED'
        """
        if what is None and plain.is_a(ground, AnyGround):
            return self._revoke_ground(cast(AnyGround, ground), by, reason)
        return self._set("revoke", what, ground, REVOKED, by, reason)

    def quarantine(
        self,
        what: Session | UidLike | None = None,
        /,
        *,
        ground: str | bytes | AnyGround | None = None,
        on: bool = True,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Deny every request of sessions, chosen as for :meth:`revoke`, until ``on=False``.

        Returns how many changed: not those that are in quarantine already or, with ``on=False``, are not, nor those
        that expired or were revoked.

        Raises as :meth:`revoke` does, and ArgumentError if ``on`` is neither True nor False.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        >>> engine.quarantine('User::"ann"')
        1
        >>> engine.decide(session, "view", 'Photo::"p1"').code
        'QUARANTINED'
        """
        is_on = plain.flag(on)
        if is_on is None:
            raise refused("quarantine: on", "True or False", on)
        return self._set("quarantine", what, ground, QUARANTINED if is_on else ACTIVE, by, reason)

    def renew(
        self,
        what: Session | UidLike | None = None,
        /,
        *,
        ground: str | bytes | AnyGround | None = None,
        not_after: float | datetime | str,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Give sessions, chosen as for :meth:`revoke`, another end of validity, later or sooner.

        Args:
            what: As for :meth:`revoke`.
            ground: As for :meth:`revoke`.
            not_after: The end: epoch seconds, an aware ``datetime`` or its ``isoformat()``. ``math.inf`` means no end.
            by: Who renews them. The logger ``"ztfast"`` reports it with the reason, at level INFO, and :meth:`notes`
                shows both.
            reason: Why.

        Returns:
            How many sessions have this end. One that expired or was revoked stays so and is not among them, nor are
            sessions that are admitted meanwhile.

        Raises:
            SessionError: if another process was stopped while it wrote some of them. The message says how many were
                changed.
            IdentityError: if the end is no time.

        It also raises as :meth:`revoke` does.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> engine.renew('User::"ann"', not_after=time.time() + 3600)
        1
        >>> engine.renew('User::"bob"', not_after=time.time() + 3600)
        0
        """
        named, meant, said = self._chosen("renew", what, ground, by, reason)
        end_ns = nanoseconds(epoch_seconds("not_after", not_after))
        changed = self._core.renew_sessions(meant, end_ns, said)
        if said is not None:
            tell("renewed", changed, named, said)
        return changed

    def present(
        self,
        what: Session | UidLike | None = None,
        /,
        *,
        ground: str | bytes | AnyGround | None = None,
        factors: Iterable[str] | None = None,
        assurance: int | None = None,
        risk: int | None = None,
        at: float | datetime | str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Record what the principals of sessions, chosen as for :meth:`revoke`, have proved anew; trusted code says so.

        What is not given stays as it is in each session. Without factors and a time, it is no new proof: the logger and
        :meth:`notes` call that "reassessed".

        Args:
            what: As for :meth:`revoke`.
            ground: As for :meth:`revoke`.
            factors: The factors, which replace those before.
            assurance: How sure that is, from 0 to 7.
            risk: The risk, from 0 to 100.
            at: When the factors were proved, in epoch seconds, as an aware ``datetime`` or its ``isoformat()``; now by
                default if factors are given.
            by: Who says so. The logger ``"ztfast"`` reports it with the reason, at level INFO, and :meth:`notes` shows
                both.
            reason: Why.

        Returns:
            How many sessions have it. One that expired or was revoked is not among them, nor are sessions that are
            admitted meanwhile.

        Raises:
            SessionError: if another process was stopped while it wrote some of them. The message says how many were
                changed.
            IdentityError: if a value is out of its range.
            CapacityError: if the state has too many names of factors: it keeps 19.

        It also raises as :meth:`revoke` does.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf, ground="certificate 7"))
        >>> engine.present(ground="certificate 7", risk=80)
        1
        >>> engine.sessions()[0].risk
        80
        """
        named, meant, said = self._chosen("present", what, ground, by, reason)
        proof = new_proof(factors, assurance, risk, at)
        changed = self._core.present_sessions(meant, *proof, said)
        if said is not None:
            tell(presented(*proof), changed, named, said)
        return changed

    def _set(
        self,
        method: str,
        what: Session | UidLike | None,
        ground: str | bytes | AnyGround | None,
        status: int,
        by: str | None,
        reason: str | None,
    ) -> int:
        named, meant, said = self._chosen(method, what, ground, by, reason)
        changed = self._core.set_sessions(meant, status, said)
        tell(DONE[status], changed, named, said or ("", ""))
        return changed

    def _chosen(
        self,
        method: str,
        what: Session | UidLike | None,
        ground: str | bytes | AnyGround | None,
        by: str | None,
        reason: str | None,
    ) -> tuple[str, _Meant, tuple[str, str] | None]:
        """Check which sessions are meant, by whom and why; return their name for messages, and both for the core."""
        if (what is None) == (ground is None):
            raise refused(method, "a session, a principal or ground=, one of them", what)
        said = said_of(method, by, reason)
        if plain.is_a(ground, AnyGround):
            known = cast(AnyGround, ground)
            return known.shown, (None, None, known.number), said
        if ground is not None:
            own = plain_ground(ground)
            if own is None:
                raise refused(f"{method}: ground", "a text or bytes, not empty", ground)
            return "a ground", (None, None, ground_number(own)), said
        if plain.is_a(what, Session):
            session = cast(Session, what)
            if not gate.belongs(session, self._core):
                raise OwnerError(
                    f"{session!r} belongs to another engine: find it by its id, engine.session(session.id)"
                )
            return f"one of {session.principal}", (session.id, None, 0), said
        uid = Uid.of(what)
        return str(uid), (None, (uid.type, uid.id), 0), said


def count_already(engine: Sessions, what: Session | UidLike | None, ground: str | None, quarantined: bool) -> int:
    """Return how many sessions, chosen as for :meth:`Engine.quarantine`, are in quarantine, or active, and not over."""
    _, meant, _ = engine._chosen("quarantine", what, ground, None, None)
    return engine._core.count_sessions(meant, QUARANTINED if quarantined else ACTIVE)


def digits_of(beginning: object) -> tuple[int, int]:
    """Return the value of the first hexadecimal digits of an id, and how many they are.

    >>> digits_of("0x2AEF"), digits_of("0x")
    ((10991, 4), (0, 0))
    """
    text = plain.text(beginning)
    digits = None if text is None else _DIGITS.fullmatch(text)
    if digits is None:
        raise refused("sessions: beginning", "0x and up to 16 hexadecimal digits", beginning)
    return int(digits[1] or "0", 16), len(digits[1])


def place_of_state(
    state: Any, role: Any, sessions: int | None, handles: int | None, group: Any, makes: bool
) -> tuple[str, str, int | None, int | None, int | None, bool] | None:
    """Check where an engine's state is and what the engine may do with it, and return it as the core takes it."""
    own_role = plain.text(role)
    if own_role not in ("authority", "decide"):
        raise refused("role", "'authority' or 'decide'", role)
    if state is None:
        if own_role == "decide":
            raise refused("role='decide'", "the state= of another process", state)
        if group is not None:
            raise refused("state_group", "a group only with state=", group)
        if not makes:
            raise refused("make_state=False", "the state= of other processes", state)
        return None
    path = cast(str, path_of("state", state))
    number, name = plain.integer(group), plain.text(group)
    if name is not None:
        try:
            number = grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            raise refused("state_group", "a group of this machine", group) from None
    elif group is not None and (number is None or not 0 <= number < 1 << 32):
        raise refused("state_group", "a group's name or number", group)
    return path, own_role, sessions, handles, number, makes


def path_of(name: str, given: Any) -> str | None:
    """Check a path, and return it as a text; ``None`` for ``None``."""
    if given is None:
        return None
    path = _path(given)
    if not path or "\0" in path:
        raise refused(name, "the path of a directory" if name == "state" else "the path of a file", given)
    return path


def _path(given: Any) -> str | None:
    """Return a path as a text; ``None`` for what is none, or what no file can be called."""
    try:
        path = os.fspath(given)
    except Exception:
        return None
    text, octets = plain.text(path), plain.octets(path)
    decoded = os.fsdecode(octets) if octets is not None else text
    try:
        os.fsencode(decoded or "")
    except UnicodeEncodeError:
        return None
    return decoded
