"""The hot path: sessions, handles, decisions and gates as C-level objects over the core's table of functions.

A call of ``Gate.allows`` unpacks its arguments into numbers on the stack and calls one function pointer. Nothing is
allocated, and no other Python code runs.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_Import
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp

import functools
import sys
import threading

import numpy

from ztfast import _core, columns as columns_of
from ztfast.errors import ArgumentError, CapacityError, ContextError, OwnerError
from ztfast.shown import given
from ztfast.values import ABSENT as ABSENT_VALUE

cdef extern from *:
    """
    /* The number of an exact int. -1 where it has more than 64 bits. An int of a digit or two, which nearly all are, is
     * read where it lies. */
    static inline int ztfast_number(PyObject *value, int64_t *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)value)) {
            *number = (int64_t)PyUnstable_Long_CompactValue((PyLongObject *)value);
            return 0;
        }
    #else
        const Py_ssize_t size = Py_SIZE(value);
        const digit *digits = ((PyLongObject *)value)->ob_digit;
        if ((size_t)(size + 1) <= 2) {
            *number = (int64_t)size * digits[0];
            return 0;
        }
        if (size == 2) {
            *number = (int64_t)digits[0] | (int64_t)digits[1] << PyLong_SHIFT;
            return 0;
        }
    #endif
        int overflow = 0;
        *number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow ? -1 : 0;
    }

    /* Whether the caller has the gate to itself until ztfast_give: another thread may be in the middle of a decision by it,
     * and so may this one, where the interpreter ran somebody's finalizer. Nobody waits. */
    #ifdef Py_GIL_DISABLED
    #define ztfast_take(busy) (!__atomic_test_and_set((busy), __ATOMIC_ACQUIRE))
    #define ztfast_give(busy) __atomic_clear((busy), __ATOMIC_RELEASE)
    #define ztfast_take_at_once(busy) ztfast_take(busy)
    #define ztfast_give_at_once(busy) ztfast_give(busy)
    #else
    static inline int ztfast_take(char *busy) {
        if (*busy) return 0;
        *busy = 1;
        return 1;
    }
    #define ztfast_give(busy) (*(busy) = 0)
    /* Where no Python code runs until the gate is given back, the GIL sees to it that nobody else takes it. */
    #define ztfast_take_at_once(busy) (!*(busy))
    #define ztfast_give_at_once(busy) ((void)0)
    #endif
    """
    int ztfast_number(PyObject *value, int64_t *number) noexcept
    bint ztfast_take(char *busy) noexcept
    void ztfast_give(char *busy) noexcept
    bint ztfast_take_at_once(char *busy) noexcept
    void ztfast_give_at_once(char *busy) noexcept

api = <const ztfast_api *>PyCapsule_Import(ZTFAST_CAPSULE, 0)
if ztfast_check(api) != ZTFAST_OK:
    raise ImportError(
        f"ztfast.gate was built for version {ZTFAST_ABI_VERSION} of the core's functions ({sizeof(ztfast_api)} bytes), "
        f"but ztfast._core has version {api.abi_version} ({api.size} bytes): reinstall ztfast"
    )

cdef dict CODE_NAMES = dict(_core.CODES)
cdef tuple NO_REASONS = ()

cdef str COPIED_SESSION = (
    "a session is good in its process and by its engine only: it is neither copied nor pickled. "
    "Send the principal's uid (str(session.principal)), and admit it there"
)
cdef str COPIED_RESOURCE = (
    "a handle is good in its process and by its engine only: it is neither copied nor pickled. "
    "Send the uid's text (str(resource.uid)), and call engine.resource(...) there"
)
cdef str COPIED_GATE = (
    "a gate is good in its process and by its engine only: it is neither copied nor pickled. "
    "Call engine.prepare(...) there; threads may share one"
)


cdef class Session:
    """A live session, made by :meth:`ztfast.Engine.admit`.

    It is good until its validity ends, it is revoked, or its slot is needed for another after that; every decision
    looks at it. Sessions survive bundle swaps.

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
        raise OwnerError("a session is not made by hand: call engine.admit(identity)")

    @property
    def principal(self):
        """The principal's :class:`ztfast.Uid`."""
        return self.identity.principal

    def revoke(self, /):
        """End the session for good: from now on every decision is DENY with code REVOKED.

        Returns whether there was anything to revoke.
        """
        return self.become(2)

    def quarantine(self, on=True, /):
        """Deny everything with code QUARANTINED until ``quarantine(False)``.

        Returns whether the session could be changed (a revoked one cannot).
        """
        return self.become(3 if on else 1)

    cdef object become(self, int status):
        if self._core is None:
            raise OwnerError("a session is not made by hand: call engine.admit(identity)")
        return self._core.set_session(self.id, status)

    def __repr__(self):
        if self._core is None:
            return "<ztfast.Session of nobody>"
        return f"<ztfast.Session {self.id:#x} of {self.identity.principal}>"

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


def belongs(Session session not None, core, /):
    """Whether a session is of this core's engine."""
    return session._core is core


cdef class EntityHandle:
    """A handle: an entity's number that survives bundle swaps, made by :meth:`ztfast.Engine.resource`.

    The entity need not be in the store: then policies see it as Cedar would, without attributes or ancestors.

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.resource('Photo::"p1"')
    <ztfast.EntityHandle Photo::"p1">
    """

    def __init__(self, *arguments, **names):
        raise OwnerError("a handle is not made by hand: call engine.resource(uid)")

    def __repr__(self):
        return f"<ztfast.EntityHandle {self.uid}>"

    def __reduce__(self):
        raise OwnerError(COPIED_RESOURCE)

    def __reduce_ex__(self, protocol, /):
        raise OwnerError(COPIED_RESOURCE)

    def __getstate__(self):
        raise OwnerError(COPIED_RESOURCE)

    def __copy__(self):
        raise OwnerError(COPIED_RESOURCE)

    def __deepcopy__(self, memo, /):
        raise OwnerError(COPIED_RESOURCE)


def admit(core, identity, int64_t not_before_ns, int64_t not_after_ns, /):
    """A session of a core's engine. Use :meth:`ztfast.Engine.admit`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core, got {type(core).__qualname__}: call engine.admit(identity)")
    core.check_principal(*identity.principal)
    cdef Session session = Session.__new__(Session)
    session.id = core.admit(*identity.principal, not_before_ns, not_after_ns)
    session.identity = identity
    session._core = core
    return session


def resource(core, uid, /):
    """A handle of a core's engine. Use :meth:`ztfast.Engine.resource`."""
    if type(core) is not _core.Engine:
        raise OwnerError(f"wanted an engine's core, got {type(core).__qualname__}: call engine.resource(uid)")
    cdef EntityHandle resource = EntityHandle.__new__(EntityHandle)
    resource.handle = core.handle(*uid)
    resource.uid = uid
    resource._size = sum([len(part.encode()) for part in uid])
    return resource


# Exact types: comparing pointers is all that a call can afford.
cdef void *SESSION = <void *>Session
cdef void *RESOURCE = <void *>EntityHandle
cdef void *LONG = <void *>int
cdef void *TEXT = <void *>str
# What stands for a value that is not there. Both live as long as the module does.
cdef object absent_value = ABSENT_VALUE, masked_value = numpy.ma.masked
cdef void *ABSENT = <void *>absent_value
cdef void *MASKED = <void *>masked_value

# The most whole units that a decimal can have.
cdef int64_t MOST_UNITS = 922_337_203_685_477

cdef enum Numbers:
    # All are there.
    READ = 0
    # One is out of its type's range.
    OUT_OF_RANGE = 1
    # An attribute is absent: the gate without it decides.
    LACKING = 2
    # One is of the right type, perhaps, and no number by itself: a context decides.
    IN_WORDS = 3


cdef class Decision:
    """What was decided, and why. True iff the effect is ALLOW.

    Attributes:
        effect: ``"ALLOW"`` or ``"DENY"``.
        code: Why, the name of a :class:`ztfast.Code`. ``"ALLOW"``, ``"FORBID"`` and ``"DEFAULT"`` come from the policies;
            each other code denied before any policy was looked at.
        number: The same as the number that ``decide_many`` gives, see :class:`ztfast.Code`.
        reasons: Ids of the determining policies, in their order (Cedar: the satisfied forbids, else the satisfied
            permits).

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"')
    Decision(ALLOW, reasons=('owners-view',))
    """

    def __cinit__(self, number=0, tuple reasons=NO_REASONS, /):
        # Once and for all: a gate gives the decisions that it remembers to everybody.
        if isinstance(number, bool) or not isinstance(number, int) or number not in CODE_NAMES:
            raise ArgumentError(f"Decision: wanted a ztfast.Code, got {given(number)}")
        self.number = number
        self.effect = "ALLOW" if number == ZTFAST_ALLOW else "DENY"
        self.code = CODE_NAMES[number]
        self.reasons = reasons

    def __reduce__(self):
        return Decision, (self.number, self.reasons)

    def __bool__(self):
        return self.number == ZTFAST_ALLOW

    def __eq__(self, other):
        if not isinstance(other, Decision):
            return NotImplemented
        return self.number == (<Decision>other).number and self.reasons == (<Decision>other).reasons

    def __hash__(self):
        return hash((self.number, self.reasons))

    def __repr__(self):
        reasons = f", reasons={self.reasons!r}" if self.reasons else ""
        code = "" if self.code == self.effect else f", {self.code}"
        return f"Decision({self.effect}{code}{reasons})"


cdef class Gate:
    """Decisions about one action, like a prepared statement; made by :meth:`ztfast.Engine.prepare`.

    The context's attributes are given by position, in the order of the names given to ``prepare``: ``int`` for Long,
    ``bool`` for Bool, ``str`` for String, :class:`EntityHandle` for entities are the quick ones; whatever else
    :meth:`ztfast.Engine.decide` takes is taken alike (``docs/conversions.md``). ``ztfast.ABSENT`` leaves an optional
    attribute out. A value of a wrong type raises; one that is out of its type's range is DENY with code BAD_VALUE, as
    long as the session is good. A gate survives bundle swaps; where the new bundle no longer has the action or changes
    these attributes, it denies with code STALE_GATE.

    Threads may share a gate, with and without the GIL, and no decision waits for another: who finds it in use decides by
    one of the thread's own, which is prepared when that first happens. So a gate per thread is what is fast; embedders
    (``ztfast.h``) must do it so.

    >>> import ztfast, time
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
    >>> view = engine.prepare("view")
    >>> view.allows(session, engine.resource('Photo::"p1"'))
    True
    """

    def __cinit__(self):
        # Until it is prepared, no call has the arguments that it wants.
        self._plain = -1

    def __init__(self, *arguments, **names):
        raise OwnerError("a gate is not made by hand: call engine.prepare(action, *names)")

    cdef int set_up(self, engine, core) except -1:
        cdef size_t at, count
        self._engine = engine
        self._core = core
        self._gate = <ztfast_gate *><uintptr_t>core.address
        self._allows = api.allows
        self.action = core.action
        self.names = tuple(core.names)
        self.paths = core.paths
        self._room = core.room_for_texts
        self._count = len(self.names)
        kinds = bytearray(self._count)
        api.kinds(self._gate, kinds, self._count, &count)
        self._every_kind = bytes(kinds)
        self._plain = self._count + 2
        if self._count > MAX_ARGUMENTS:
            # More than a call takes on its stack: one decision goes by the context, many go by columns.
            self._slow, self._plain = True, -1
        if self._room < 0:
            # Any call is too large: a context says so.
            self._slow, self._plain = True, -1
        for at in range(min(self._count, <size_t>MAX_ARGUMENTS)):
            self._kinds[at] = kinds[at]
            self._slow |= self._kinds[at] == ZTFAST_OTHER
            self._looks_up |= self._kinds[at] in (ZTFAST_STRING, ZTFAST_ENTITY)
            if self._kinds[at] != ZTFAST_LONG:
                self._plain = -1
        api.generation(self._gate, &self._generation)
        self._decisions = [None] * CACHED
        self._spares = threading.local()
        self._without = {}
        return 0

    def __dealloc__(self):
        self.forget_texts()

    @property
    def address(self):
        """The gate's address for ``ztfast.h``, good as long as this object lives."""
        return <uintptr_t>self._gate

    def decide_many(self, sessions, resources, /, *columns):
        """Decide on many rows by one bundle, without the GIL.

        Args:
            sessions: A :class:`Session` for all rows, a sequence of them, or their ids as an array of uint64.
            resources: A :class:`EntityHandle` for all rows, a sequence of them, or their handles as an array of uint64.
            columns: One per attribute, an array or sequence with a value per row, or one value for all rows, of what
                :meth:`decide` takes. Arrays of numpy's are read by their types (``docs/conversions.md``): integers for
                Long, decimal (whole units), datetime and duration (milliseconds); bool for Bool; text for String, or a
                :class:`ztfast.Categorical`; handles for entities; datetime64 and timedelta64. ``ztfast.ABSENT``, and
                what a masked array masks, leave an optional attribute out of a row.

        A row with a value that is out of its type's range is BAD_VALUE; the other rows are decided.
        Contiguous arrays of uint64 (sessions, resources) and int64 (numbers) are read where they lie.

        Returns:
            numpy array of uint8 with a :class:`ztfast.Code` per row; ``codes == ztfast.Code.ALLOW`` is what is allowed.

        Raises:
            ContextError: where columns do not fit the attributes or each other.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> photos = [engine.resource('Photo::"p1"'), engine.resource('Photo::"p2"')]
        >>> engine.prepare("view").decide_many(session, photos) == ztfast.Code.ALLOW
        array([ True, False])
        """
        who = columns_of.handles("sessions", sessions, Session, "id", numpy.uint64)
        return self.run(True, who, resources, columns)

    def evaluate_many(self, principals, resources, /, *columns):
        """Decide on many rows by policy alone, by one bundle, without the GIL: no session, no kill switch.

        Args:
            principals: A handle (:class:`EntityHandle`, of :meth:`ztfast.Engine.resource`) for all rows, a sequence of
                them, or their numbers as an array of uint64.
            resources, columns: As for :meth:`decide_many`.

        Returns:
            numpy array of uint8 with a :class:`ztfast.Code` per row.

        Raises:
            ContextError: where columns do not fit the attributes or each other.
        """
        who = columns_of.handles("principals", principals, EntityHandle, "handle", numpy.uint64)
        return self.run(False, who, resources, columns)

    cdef object run(self, bint by_session, who, resources, tuple given):
        self.check_made()
        if len(given) != self._count:
            raise ContextError(
                f"{self.action}: wanted {self._count} columns ({', '.join(self.names) or 'none'}), got {len(given)}"
            )
        if self._engine._core.forked:
            # Nothing that could lock is called in a child.
            known = [("resources", resources), *zip(self.names, given)]
            if who.each:
                known.append(("sessions" if by_session else "principals", who.array))
            return numpy.full(columns_of.count(self.action, known), ZTFAST_FORKED, numpy.uint8)
        if ZTFAST_OTHER in self._every_kind:
            raise ContextError(f"{self.action}: ipaddr, set and record attributes have no columns; use decide()")
        cdef Batch batch = Batch(self), part
        columns = [
            ("sessions" if by_session else "principals", who),
            ("resources", columns_of.handles("resources", resources, EntityHandle, "handle", numpy.uint64)),
        ]
        for at, column in enumerate(given):
            where = f"{self.action}: column {self.names[at]!r}"
            kind = columns_of.Kind(self._every_kind[at])
            # A gate that fits no bundle denies, of whatever types the entities are now.
            entity = self._core.entity_type(at)
            if entity is not None and not self.fits():
                entity = None
            reading = columns_of.Reading(functools.partial(self._core.scalar, at), self._engine._handle_of, entity)
            read = columns_of.numbers(where, kind, column, EntityHandle, batch.text, reading)
            if read.bad is not None and self._core.strict:
                raise ContextError(
                    f"{where}: the value in row {int(read.bad.argmax())} is out of its type's range, or takes more than "
                    f"max_context={self._core.max_context} bytes"
                )
            columns.append((self.names[at], read))
        rows = columns_of.rows(self.action, columns)
        codes = numpy.full(rows, ZTFAST_STALE_GATE, numpy.uint8)
        if batch._batch == NULL:
            return codes
        taken = [column for _, column in columns]
        bad, absent = columns_of.marks(taken[2:], rows)
        large = columns_of.too_large(taken[2:], self.paths, rows, self._core.max_context)
        if large is not None:
            if self._core.strict:
                raise ContextError(
                    f"{self.action}: row {int(large.argmax())} takes more than max_context={self._core.max_context} bytes"
                )
            bad = large if bad is None else bad | large
        if bad is None and absent is None:
            batch.run(by_session, taken, codes)
            # What no conversion sees: an entity that its enumerated type lacks.
            if self._core.strict and (codes == ZTFAST_BAD_VALUE).any():
                row = int((codes == ZTFAST_BAD_VALUE).argmax())
                raise ContextError(f"{self.action}: a value in row {row} is out of its type's range")
            return codes
        patterns = numpy.zeros(rows, numpy.uint64) if absent is None else absent
        good = numpy.ones(rows, numpy.bool_) if bad is None else ~bad
        for pattern in numpy.unique(patterns).tolist():
            # Also where all its rows are bad: an attribute that is required may be absent from none.
            part = batch.lacking(self, pattern) if pattern else batch
            at = numpy.flatnonzero((patterns == pattern) & good)
            if part is None or not len(at):
                continue
            kept = taken[:2] + [column for place, column in enumerate(taken[2:]) if not pattern >> place & 1]
            some = numpy.full(len(at), ZTFAST_CORRUPT, numpy.uint8)
            part.run(by_session, [columns_of.taken(column, at) for column in kept], some)
            codes[at] = some
        at = numpy.flatnonzero(~good)
        if len(at):
            some = numpy.full(len(at), ZTFAST_CORRUPT, numpy.uint8)
            batch.refuse(by_session, [columns_of.taken(column, at) for column in taken[:2]], some)
            if large is not None:
                some[(some == ZTFAST_BAD_VALUE) & large[at]] = ZTFAST_TOO_LARGE
            codes[at] = some
        return codes

    cdef int check(self, PyObject *const *arguments, Py_ssize_t count) except -1:
        """Check how many arguments a call has, (session, resource, *values), and who they are about."""
        self.check_made()
        if count != <Py_ssize_t>self._count + 2:
            self.wrong_count(arguments, count)
        if <void *>arguments[0].ob_type != SESSION or <void *>arguments[1].ob_type != RESOURCE:
            self.wrong_handles(<object>arguments[0], <object>arguments[1])
        return 0

    cdef int check_made(self) except -1:
        if self._gate == NULL:
            raise OwnerError("a gate is not made by hand: call engine.prepare(action, *names)")
        return 0

    cdef int numbers(self, PyObject *const *arguments, int64_t *values) except -1:
        """Turn those values into numbers that need no look-up, and check the others: one of `Numbers`.

        This may run Python code. Where a value is out of its range the others are checked all the same.
        """
        cdef size_t at
        cdef int kind, found = READ
        cdef PyObject *given
        for at in range(self._count):
            given, kind = arguments[at + 2], self._kinds[at]
            value = <object>given
            if <void *>given.ob_type == LONG and kind in (ZTFAST_LONG, ZTFAST_DECIMAL, ZTFAST_DATETIME, ZTFAST_DURATION):
                if ztfast_number(given, &values[at]) == 0:
                    if kind != ZTFAST_DECIMAL:
                        continue
                    if -MOST_UNITS <= values[at] <= MOST_UNITS:
                        values[at] *= 10_000
                        continue
                if self.scalar(at, value, &values[at]) != READ and found == READ:
                    found = OUT_OF_RANGE
            elif kind == ZTFAST_BOOL and (value is True or value is False):
                values[at] = value is True
            elif kind == ZTFAST_STRING and (<void *>given.ob_type == TEXT or isinstance(value, str)):
                pass
            elif kind == ZTFAST_ENTITY and <void *>given.ob_type == RESOURCE:
                pass
            elif <void *>given == ABSENT or <void *>given == MASKED:
                return LACKING
            elif kind == ZTFAST_STRING or kind == ZTFAST_ENTITY:
                if self._core.scalar(at, value) is not None:
                    found = IN_WORDS
                elif found == READ:
                    found = OUT_OF_RANGE
            elif isinstance(value, (str, dict)):
                # A text counts for the size of a context.
                found = IN_WORDS
            elif self.scalar(at, value, &values[at]) != READ and found == READ:
                found = OUT_OF_RANGE
        return found

    cdef int scalar(self, size_t at, value, int64_t *number) except -1:
        """The number of a value that is not plainly one."""
        made = self._core.scalar(at, value)
        if made is None:
            return OUT_OF_RANGE
        number[0] = made
        return READ

    cdef int look_up(self, PyObject *const *arguments, int64_t *values) except -1:
        """Turn texts and entities into numbers of the bundle that the next decision goes by. This runs no Python code.

        READ; OUT_OF_RANGE; or IN_WORDS where the core has no room for the texts. Then the call is over, as it is where this
        raises: the core denies what is decided without another beginning.
        """
        cdef size_t at
        cdef int looked, found = READ
        cdef int32_t status
        cdef PyObject *value
        cdef RememberedText *remembered
        cdef Py_ssize_t room = self._room
        api.begin(self._gate)
        self.keep_up()
        for at in range(self._count):
            value = arguments[at + 2]
            if self._kinds[at] == ZTFAST_STRING:
                remembered = &self._texts[(<uintptr_t>value >> 4) % REMEMBERED]
                if remembered.text == value:
                    values[at] = remembered.number
                    room -= remembered.length
                else:
                    looked = self.look_up_text(value, remembered, &room, &values[at])
                    if looked == IN_WORDS:
                        return IN_WORDS
                    if looked != READ:
                        found = OUT_OF_RANGE
                if room < 0:
                    return IN_WORDS
            elif self._kinds[at] == ZTFAST_ENTITY:
                room -= (<EntityHandle>value)._size
                if room < 0:
                    # Too large for a context: there it is said what comes of it.
                    return IN_WORDS
                status = api.entity(self._gate, (<EntityHandle>value).handle, at, &values[at])
                if status == ZTFAST_E_FOREIGN:
                    # The decision begun is then a DENY.
                    values[at] = 0
                    continue
                if status == ZTFAST_E_TYPE:
                    self.wrong_type(at, <object>value)
                # A gate that fits no bundle denies, whatever it is given.
                if status != ZTFAST_OK and status != ZTFAST_E_STALE:
                    found = OUT_OF_RANGE
        return found

    cdef int look_up_text(self, PyObject *value, RememberedText *remembered, Py_ssize_t *room, int64_t *number) except -1:
        cdef Py_ssize_t length
        cdef const char *text
        try:
            text = PyUnicode_AsUTF8AndSize(<object>value, &length)
        except UnicodeEncodeError:
            room[0] -= len(<str>value)
            return OUT_OF_RANGE
        room[0] -= length
        if room[0] < 0:
            return IN_WORDS
        if api.literal(self._gate, <const uint8_t *>text, length, number) != ZTFAST_OK:
            if api.text(self._gate, <const uint8_t *>text, length, number) != ZTFAST_OK:
                return IN_WORDS
        elif <void *>value.ob_type == TEXT:
            # The text is kept, so that no other can come to lie where it does. What gives way is a str: freeing it runs
            # nobody's code.
            Py_INCREF(<object>value)
            if remembered.text != NULL:
                Py_DECREF(<object>remembered.text)
            remembered.text, remembered.length, remembered.number = value, length, number[0]
        return 0

    cdef int keep_up(self) except -1:
        """Forget what was remembered of another bundle than the one that the gate goes by now."""
        cdef uint64_t generation = 0
        cdef size_t at
        api.generation(self._gate, &generation)
        if generation != self._generation:
            self.forget_texts()
            # In place: a new list might let the garbage collector run, and with it anybody's code.
            for at in range(CACHED):
                self._decisions[at] = None
            self._generation = generation
        return 0

    cdef int forget_texts(self) noexcept:
        cdef size_t at
        for at in range(REMEMBERED):
            if self._texts[at].text != NULL:
                Py_DECREF(<object>self._texts[at].text)
                self._texts[at].text = NULL
        return 0

    cdef Gate taken(self):
        """This gate, taken; or, where it is in use, this thread's own of the same kind; None where no bundle fits it."""
        cdef Gate spare
        if ztfast_take(&self._busy):
            return self
        spare = getattr(self._spares, "gate", None)
        if spare is None:
            core = self._core.fork()
            if core is None:
                return None
            spare = self._spares.gate = made(self._engine, core)
        return spare.taken()

    cdef object wrong_count(self, PyObject *const *arguments, Py_ssize_t count):
        if count < 2:
            raise ArgumentError(f"wanted (session, resource, *values), got {count} arguments")
        names = ", ".join(self.names) or "none"
        raise ContextError(f"{self.action}: wanted {self._count} values ({names}), got {count - 2}")

    cdef object wrong_handles(self, session, resource):
        for value, wanted in ((session, Session), (resource, EntityHandle)):
            if type(value) is not wanted:
                raise ArgumentError(
                    f"{self.action}: wanted a ztfast.{wanted.__name__} (see Engine.admit, Engine.resource), "
                    f"got {given(value)}"
                )

    cdef object wrong_type(self, size_t at, value):
        wanted = self._core.entity_type(at)
        raise ContextError(
            f"{self.action}: context attribute {self.names[at]!r}: wanted an entity of type {wanted}; got {value!r}"
        )

    cdef Decision without(self, PyObject *const *arguments):
        """The decision where attributes are absent, by the gate of the others: prepared when they first are."""
        cdef PyObject *kept[MAX_ARGUMENTS + 2]
        cdef size_t at, count = 2
        cdef uint64_t lacking = 0
        if not self.fits():
            return self.no_bundle()
        kept[0], kept[1] = arguments[0], arguments[1]
        for at in range(self._count):
            if <void *>arguments[at + 2] == ABSENT or <void *>arguments[at + 2] == MASKED:
                lacking |= <uint64_t>1 << at
            else:
                kept[count] = arguments[at + 2]
                count += 1
        gate = self._without.get(lacking)
        if gate is None:
            gate = self.made_without(lacking)
            if gate is None:
                return self.by_context(arguments)
        return gate_decide(gate, kept, count)

    cdef object made_without(self, uint64_t lacking):
        """A gate without some attributes, kept; None where a context has to decide, which takes longer."""
        # Which attributes are absent may be as the market has it: not every combination is worth a gate.
        if len(self._without) >= MOST_WITHOUT:
            return None
        try:
            core = self._core.without(lacking)
        except CapacityError:
            return None
        return None if core is None else self._without.setdefault(lacking, made(self._engine, core))

    cdef object strictly(self, PyObject *const *arguments):
        """Raise for what is out of its range, if that is wanted."""
        cdef size_t at
        if self._core.strict:
            for at in range(self._count):
                if self._kinds[at] != ZTFAST_ENTITY:
                    self._core.scalar(at, <object>arguments[at + 2])
            raise ContextError(f"{self.action}: an enumerated type has no such entity")

    cdef Decision by_context(self, PyObject *const *arguments):
        """The same decision by the values as they are, for those that are no numbers; of a bundle that the gate fits."""
        cdef size_t at
        if not self.fits():
            return self.no_bundle()
        values = [<object>arguments[at + 2] for at in range(self._count)]
        return Decision(*self._core.decide((<Session>arguments[0]).id, <object>arguments[1], values))

    cdef Decision no_bundle(self):
        """The decision where no bundle fits the gate, or its engine is another process's."""
        return Decision(ZTFAST_FORKED if self._engine._core.forked else ZTFAST_STALE_GATE)

    cdef bint fits(self) except -1:
        """Whether the gate, which takes the newest bundle for it, fits that."""
        cdef Gate user
        cdef uint64_t generation
        cdef int32_t status
        if self._engine._core.forked:
            return False
        user = self.taken()
        if user is None:
            return False
        status = api.refresh(user._gate, &generation)
        ztfast_give(&user._busy)
        return status == ZTFAST_OK

    cdef Decision decision(self, uint32_t code, ztfast_determining *determining):
        """The decision object of a code and its policies: a remembered one where there is one."""
        cdef CacheKey key
        cdef uint64_t mixed = code
        cdef uint32_t at
        key.code = code
        key.count = determining.count
        for at in range(CACHED_POLICIES):
            key.policies[at] = determining.policies[at] if at < determining.count else 0
            mixed = (mixed ^ key.policies[at]) * <uint64_t>0x9E3779B97F4A7C15
        cdef size_t place = (mixed >> 40) % CACHED
        remembered = self._decisions[place]
        if (
            remembered is not None and determining.count <= CACHED_POLICIES
            and memcmp(&self._keys[place], &key, sizeof(CacheKey)) == 0
        ):
            return remembered
        cdef size_t length
        cdef const uint8_t *text
        reasons = []
        for at in range(determining.count):
            if api.policy(self._gate, determining.policies[at], &text, &length) != ZTFAST_OK:
                continue
            reasons.append((<const char *>text)[:length].decode("utf-8"))
        made = Decision(code, tuple(reasons))
        if determining.count <= CACHED_POLICIES:
            self._keys[place] = key
            self._decisions[place] = made
        return made

    def __repr__(self):
        if self._gate == NULL:
            return "<ztfast.Gate that was not prepared>"
        return f"<ztfast.Gate {self.action} ({', '.join(self.names)})>"

    def __reduce__(self):
        raise OwnerError(COPIED_GATE)

    def __reduce_ex__(self, protocol, /):
        raise OwnerError(COPIED_GATE)

    def __getstate__(self):
        raise OwnerError(COPIED_GATE)

    def __copy__(self):
        raise OwnerError(COPIED_GATE)

    def __deepcopy__(self, memo, /):
        raise OwnerError(COPIED_GATE)


cdef Gate made(engine, core):
    cdef Gate gate = Gate.__new__(Gate)
    gate.set_up(engine, core)
    return gate


def prepare(engine, action, list names, /):
    """A gate of an engine. Use :meth:`ztfast.Engine.prepare`."""
    if type(engine._core) is not _core.Engine:
        raise OwnerError(f"wanted an engine, got {type(engine).__qualname__}: call engine.prepare(action, *names)")
    return made(engine, engine._core.prepare(action, names))


cdef class Batch:
    """A batch of the core's by a gate, given back when this goes. It is none where no bundle fits the gate any more."""

    def __init__(self, Gate gate, /):
        cdef Gate user
        cdef int32_t status
        self._action = gate.action
        self._longest = gate._core.max_context
        user = gate.taken()
        if user is None:
            return
        status = api.batch_begin(user._gate, &self._batch)
        ztfast_give(&user._busy)
        if status != ZTFAST_OK:
            raise RuntimeError(f"{gate.action}: {api.status_text(status).decode()}")

    def __dealloc__(self):
        if self._batch != NULL:
            api.batch_end(self._batch)

    def text(self, str text, /):
        """The number of a text for the columns of this batch; None for what is no text in UTF-8."""
        cdef int64_t number
        cdef Py_ssize_t length
        cdef const char *data
        try:
            data = PyUnicode_AsUTF8AndSize(text, &length)
        except UnicodeEncodeError:
            return None
        if self._batch == NULL:
            return 0
        if length > self._longest:
            return columns_of.TOO_LARGE
        if api.batch_text(self._batch, <const uint8_t *>data, length, &number) != ZTFAST_OK:
            raise CapacityError("a batch takes up to 4 GiB of distinct texts that the bundle lacks")
        return number

    cdef Batch lacking(self, Gate gate, uint64_t absent):
        """The batch of the same moment without some attributes: the numbers of texts are the same."""
        cdef Batch made = Batch.__new__(Batch)
        cdef int32_t status = api.batch_without(self._batch, absent, &made._batch)
        made._action = self._action
        if status == ZTFAST_OK:
            return made
        if status == ZTFAST_E_STALE:
            return None
        # It says which.
        gate._core.without(absent)
        raise ContextError(f"{gate.action}: {api.status_text(status).decode()}")

    cdef int run(self, bint by_session, list columns, codes) except -1:
        """Decide on the rows of columns."""
        cdef bytearray room = bytearray(len(columns) * sizeof(ztfast_column))
        cdef ztfast_column *laid_out = <ztfast_column *><char *>room
        cdef size_t count = lay_out(columns, laid_out), rows = len(codes)
        cdef uint8_t *out = <uint8_t *><uintptr_t>codes.ctypes.data
        cdef int32_t status
        decide = api.batch_run if by_session else api.batch_evaluate
        with nogil:
            status = decide(self._batch, rows, laid_out, count, out)
        if status != ZTFAST_OK:
            raise ContextError(f"{self._action}: {api.status_text(status).decode()}")
        return 0

    cdef int refuse(self, bint by_session, list columns, codes) except -1:
        """The codes of rows with values that are out of range, which depend on who asks about what only."""
        cdef bytearray room = bytearray(len(columns) * sizeof(ztfast_column))
        cdef ztfast_column *laid_out = <ztfast_column *><char *>room
        cdef size_t count = lay_out(columns, laid_out), rows = len(codes)
        cdef uint8_t *out = <uint8_t *><uintptr_t>codes.ctypes.data
        cdef int32_t status
        with nogil:
            status = api.batch_refuse(self._batch, rows, laid_out, count, by_session, out)
        if status != ZTFAST_OK:
            raise ContextError(f"{self._action}: {api.status_text(status).decode()}")
        return 0


cdef size_t lay_out(list columns, ztfast_column *laid_out) except 0:
    cdef size_t at
    for at, column in enumerate(columns):
        laid_out[at].data = <const void *><uintptr_t>column.array.ctypes.data
        laid_out[at].len = len(column.array)
        laid_out[at].each = column.each
    return len(columns)


# allows() and decide() take their arguments from the caller's stack (METH_FASTCALL): what Cython makes of a signature
# with optional arguments costs more than the decision.

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        PyObject *tp_dict
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_FASTCALL
    object PyCFunction_New(PyMethodDef *, object)
    object PyDescr_NewMethod(PyTypeObject *, PyMethodDef *)
    void PyType_Modified(PyTypeObject *)


cdef object gate_allows(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    cdef int64_t values[MAX_ARGUMENTS]
    cdef Py_ssize_t at
    cdef uint32_t code
    if (
        count != gate._plain
        or <void *>arguments[0].ob_type != SESSION
        or <void *>arguments[1].ob_type != RESOURCE
    ):
        return allows_otherwise(gate, arguments, count)
    for at in range(2, count):
        if <void *>arguments[at].ob_type != LONG or ztfast_number(arguments[at], &values[at - 2]) != 0:
            return allows_otherwise(gate, arguments, count)
    if not ztfast_take_at_once(&gate._busy):
        return allows_otherwise(gate, arguments, count)
    code = gate._allows(
        gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, <size_t>(count - 2)
    )
    ztfast_give_at_once(&gate._busy)
    return True if code == <uint32_t>ZTFAST_ALLOW else False


cdef object allows_otherwise(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """For values that are not all plain ints, for a gate that is in use, and for whatever is wrong."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef uint32_t code
    cdef int found, looked = READ
    cdef Gate user
    gate.check(arguments, count)
    if gate._slow:
        return bool(gate.by_context(arguments))
    found = gate.numbers(arguments, values)
    if found == LACKING:
        return bool(gate.without(arguments))
    if found == IN_WORDS:
        return bool(gate.by_context(arguments))
    user = gate.taken()
    if user is None:
        return False
    try:
        if user._looks_up:
            looked = user.look_up(arguments, values)
        if looked == OUT_OF_RANGE or (looked == READ and found == OUT_OF_RANGE):
            user.strictly(arguments)
            return False
        if looked == READ:
            code = api.allows(
                user._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, user._count
            )
            return True if code == <uint32_t>ZTFAST_ALLOW else False
    finally:
        ztfast_give(&user._busy)
    # More texts than a gate has room for.
    return bool(gate.by_context(arguments))


cdef Decision gate_decide(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    cdef int64_t values[MAX_ARGUMENTS]
    cdef ztfast_determining determining
    cdef uint32_t code
    cdef int found, looked = READ
    cdef Gate user
    gate.check(arguments, count)
    if gate._slow:
        return gate.by_context(arguments)
    found = gate.numbers(arguments, values)
    if found == LACKING:
        return gate.without(arguments)
    if found == IN_WORDS:
        return gate.by_context(arguments)
    user = gate.taken()
    if user is None:
        return gate.no_bundle()
    try:
        if user._looks_up:
            looked = user.look_up(arguments, values)
        if looked == OUT_OF_RANGE or (looked == READ and found == OUT_OF_RANGE):
            user.strictly(arguments)
            return Decision(api.refuse(user._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle))
        if looked == READ:
            code = api.decide(
                user._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, user._count,
                &determining,
            )
            if code != <uint32_t>ZTFAST_ALLOW and code != <uint32_t>ZTFAST_FORBID:
                determining.count = 0
            if determining.count <= MAX_DETERMINING:
                # The names of policies are those of the bundle that the decision went by.
                user.keep_up()
                return user.decision(code, &determining)
    finally:
        ztfast_give(&user._busy)
    # More texts, or more determining policies, than a gate has room for.
    return gate.by_context(arguments)


cdef object nothing(object module, PyObject *const *arguments, Py_ssize_t count):
    return None


cdef PyMethodDef allows_definition
allows_definition.ml_name = b"allows"
allows_definition.ml_meth = <void *>gate_allows
allows_definition.ml_flags = METH_FASTCALL
allows_definition.ml_doc = b"""allows($self, session, resource, /, *values)
--

Whether the session may do it to the resource: True for ALLOW, False for everything else.

Raises ContextError where the values do not fit the attributes."""

cdef PyMethodDef decide_definition
decide_definition.ml_name = b"decide"
decide_definition.ml_meth = <void *>gate_decide
decide_definition.ml_flags = METH_FASTCALL
decide_definition.ml_doc = b"""decide($self, session, resource, /, *values)
--

The decision with its code and determining policies, as a ztfast.Decision.

Equal decisions are the same object as long as the gate remembers them, so that none is made anew.
Raises ContextError where the values do not fit the attributes."""

cdef PyMethodDef empty_call_definition
empty_call_definition.ml_name = b"empty_call"
empty_call_definition.ml_meth = <void *>nothing
empty_call_definition.ml_flags = METH_FASTCALL
empty_call_definition.ml_doc = b"""empty_call(*arguments)
--

Takes any arguments and does nothing: the floor that measurements are set against."""

empty_call = PyCFunction_New(&empty_call_definition, None)


cdef int add_method(PyTypeObject *cls, PyMethodDef *definition) except -1:
    (<dict>cls.tp_dict)[(<bytes>definition.ml_name).decode()] = PyDescr_NewMethod(cls, definition)
    PyType_Modified(cls)
    return 0


# What a gate takes beside the core's working memory, in bytes: the object with the texts and decisions that it remembers, and
# about so much for names, types and what the core keeps of each.
OBJECT_BYTES = Gate.__basicsize__ + sys.getsizeof([None] * CACHED) + 1900

add_method(<PyTypeObject *>Gate, &allows_definition)
add_method(<PyTypeObject *>Gate, &decide_definition)
