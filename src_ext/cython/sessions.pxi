# Sessions and handles: objects for an engine's numbers, which only the engine makes and which cannot be copied.

cdef str COPIED_SESSION = (
    "a session is valid only in its process and with its engine, so it cannot be copied or pickled. "
    "Send the principal's uid (str(session.principal)), and admit it there; to an engine on the same state, send "
    "session.id, and call engine.session(id)"
)
cdef str COPIED_HANDLE = (
    "a handle is valid only in its process and with its engine, so it cannot be copied or pickled. "
    "Send the uid's text (str(resource.uid)), and call engine.resource(...) there"
)
cdef class Session:
    """A live session; :meth:`ztfast.Engine.admit` makes it.

    A session lasts until its validity ends or it is revoked; then its slot may be reused. Every decision checks it.
    Sessions stay valid over swaps.

    >>> import ztfast, time
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> identity = ztfast.Identity('User::"ann"', not_after=time.time() + 60)
    >>> session = engine.admit(identity)
    >>> bool(engine.decide(session, "view", 'Photo::"p1"'))
    True
    >>> session.revoke()
    True
    >>> engine.decide(session, "view", 'Photo::"p1"').code
    'REVOKED'
    """

    def __init__(self, *arguments, **names):
        raise OwnerError("a session cannot be constructed directly: call engine.admit(identity)")

    @property
    def principal(self):
        """The principal's :class:`ztfast.Uid`."""
        if self._identity is None and self._principal is not None:
            return Uid(*self._principal)
        return self.identity.principal

    @property
    def identity(self):
        """The :class:`ztfast.Identity` that was admitted; of a session by a credential, what the engine holds of it.

        Raises SessionError if the session is over and its slot is another's.
        """
        if self._identity is None:
            self._identity = reports.found_identity(self.owned(), self.id)
        return self._identity

    def revoke(self, /, *, by=None, reason=None):
        """End the session for ever: every later decision is DENY with code REVOKED.

        With ``by`` or ``reason``, the logger ``"ztfast"`` and the state are told, as by :meth:`ztfast.Engine.revoke`.
        Returns whether that ended it: ``False`` if it was revoked or had expired before, or its slot is another's.
        Raises StateError if the file of the state is gone.
        """
        if by is None and reason is None:
            return self.become(2)
        return become_said(self, 2, "revoke", by, reason)

    def quarantine(self, on=True, /, *, by=None, reason=None):
        """Deny every request with code QUARANTINED until ``quarantine(False)``.

        With ``by`` or ``reason``, the logger ``"ztfast"`` and the state are told, as by :meth:`ztfast.Engine.revoke`.
        Returns whether that changed it: ``False`` if it is so already, or is over. Raises ArgumentError if ``on`` is
        neither True nor False, and StateError if the file of the state is gone.
        """
        is_on = plain.flag(on)
        if is_on is None:
            raise ArgumentError(f"quarantine: wanted True or False; got {given(on)}")
        if by is None and reason is None:
            return self.become(3 if is_on else 1)
        return become_said(self, 3 if is_on else 1, "quarantine", by, reason)

    def renew(self, *, not_after, by=None, reason=None):
        """Give the session another end of validity, later or sooner.

        Args:
            not_after: The end: epoch seconds, an aware ``datetime`` or its ``isoformat()``. ``math.inf`` means no end.
            by: Who renews it. With ``by`` or ``reason``, the logger ``"ztfast"`` and the state are told, as by
                :meth:`ztfast.Engine.renew`.
            reason: Why.

        Raises:
            SessionError: if the session is over: one that expired or was revoked stays so.
            RoleError: if the engine only decides.
            IdentityError: if the end is no time.
            ArgumentError: if ``by`` or ``reason`` is empty or too long.
            StateError: if the file of the state is gone.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> session.renew(not_after=time.time() + 3600)
        """
        core = self.owned()
        said = telling.said_of("renew", by, reason)
        core.renew(self.id, identities.nanoseconds(identities.epoch_seconds("not_after", not_after)), said)
        if said is not None:
            telling.tell("renewed", 1, f"one of {self.principal}", said)

    def present(self, *, factors=None, assurance=None, risk=None, at=None, by=None, reason=None):
        """Record what the principal has proved anew; trusted code says so. What is not given stays as it is.

        Args:
            factors: The factors, which replace those before.
            assurance: How sure that is, from 0 to 7.
            risk: The risk, from 0 to 100.
            at: When the factors were proved, in epoch seconds, as an aware ``datetime`` or its ``isoformat()``; now by
                default if factors are given.
            by: Who says so. With ``by`` or ``reason``, the logger ``"ztfast"`` and the state are told, as by
                :meth:`ztfast.Engine.present`.
            reason: Why.

        Raises:
            SessionError: if the session is over.
            RoleError: if the engine only decides.
            IdentityError: if a value is out of its range.
            ArgumentError: if ``by`` or ``reason`` is empty or too long.
            CapacityError: if the state has too many names of factors: it keeps 19.
            StateError: if the file of the state is gone.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> session.present(factors=["x509", "fido2"])
        >>> engine.sessions()[0].factors
        ('x509', 'fido2')
        """
        core = self.owned()
        said = telling.said_of("present", by, reason)
        proof = identities.new_proof(factors, assurance, risk, at)
        core.present(self.id, *proof, said)
        if said is not None:
            telling.tell(telling.presented(*proof), 1, f"one of {self.principal}", said)

    cdef object owned(self):
        if self._core is None:
            raise OwnerError("a session cannot be constructed directly: call engine.admit(identity)")
        return self._core

    cdef object become(self, int status):
        return self.owned().set_session(self.id, status)

    def __repr__(self):
        if self._core is None:
            return "<ztfast.Session that was not admitted>"
        return f"<ztfast.Session {self.id:#x} of {self.principal}>"

    def __reduce__(self):
        raise OwnerError(COPIED_SESSION)

    def __reduce_ex__(self, protocol, /):
        raise OwnerError(COPIED_SESSION)

    def __getstate__(self):
        raise OwnerError(COPIED_SESSION)

    def __copy__(self):
        raise OwnerError(COPIED_SESSION)

    def __deepcopy__(self, memo, /):
        raise OwnerError(COPIED_SESSION)


cdef object become_said(Session session, int status, str method, by, reason):
    core = session.owned()
    said = telling.said_of(method, by, reason)
    changed = core.set_sessions((session.id, None, 0), status, said)
    telling.tell(telling.DONE[status], changed, f"one of {session.principal}", said)
    return bool(changed)


def belongs(Session session not None, core, /):
    """Return whether a session belongs to this core's engine."""
    return session._core is core


def session_code(Session session not None, /):
    """Return the number of the code with which a session is denied now, or that of ALLOW."""
    return session.owned().session_code(session.id)


cdef class EntityHandle:
    """A handle: a number for a uid that stays valid over swaps; :meth:`ztfast.Engine.resource` makes it.

    The entity need not be in the store. If it is not, it has no attributes and ancestors, as in Cedar.

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.resource('Photo::"p1"')
    <ztfast.EntityHandle Photo::"p1">
    """

    def __init__(self, *arguments, **names):
        raise OwnerError("a handle cannot be constructed directly: call engine.resource(uid)")

    def __repr__(self):
        return f"<ztfast.EntityHandle {self.uid}>"

    def __reduce__(self):
        raise OwnerError(COPIED_HANDLE)

    def __reduce_ex__(self, protocol, /):
        raise OwnerError(COPIED_HANDLE)

    def __getstate__(self):
        raise OwnerError(COPIED_HANDLE)

    def __copy__(self):
        raise OwnerError(COPIED_HANDLE)

    def __deepcopy__(self, memo, /):
        raise OwnerError(COPIED_HANDLE)


def admit(core, identity, int64_t not_before_ns, int64_t not_after_ns, /):
    """Admit a session to a core's engine. Use :meth:`ztfast.Engine.admit`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core; got {type(core).__qualname__}: call engine.admit(identity)")
    principal = identities.held(identity, "principal")
    core.check_principal(*principal)
    known = identities.given(identity, core.has_callers_clock)
    cdef Session session = Session.__new__(Session)
    session.id = core.admit(*principal, not_before_ns, not_after_ns, known)
    session._identity = identity
    session._core = core
    return session


def admitted(core, tuple told, /):
    """Make the object of a session that a core's engine admitted by a credential. Use :meth:`ztfast.Engine.admit`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core; got {type(core).__qualname__}: call engine.admit(credential)")
    cdef Session session = Session.__new__(Session)
    session.id, session._principal = told
    session._core = core
    return session


def found(core, id, identity, /):
    """Make the object of a session that some process admitted. Use :meth:`ztfast.Engine.session`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core; got {type(core).__qualname__}: call engine.session(id)")
    cdef Session session = Session.__new__(Session)
    session.id = id
    session._identity = identity
    session._core = core
    return session


def resource(core, uid, /):
    """Make a handle of a core's engine. Use :meth:`ztfast.Engine.resource`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core; got {type(core).__qualname__}: call engine.resource(uid)")
    cdef EntityHandle resource = EntityHandle.__new__(EntityHandle)
    resource.handle = core.handle(*uid)
    resource.uid = uid
    resource._size = sum([len(part.encode()) for part in uid])
    return resource


def handle_of(core, uid, /):
    """Give a uid a permanent handle of a core's engine, and return its number."""
    # This makes no temporary EntityHandle: when one is freed, its weak reference can lose a signal (Ctrl-C).
    return core.handle(*Uid.of(uid))
