"""The hot path: sessions, handles, decisions and gates as C-level objects over the core's table of functions.

A call of ``Gate.allows`` unpacks its arguments into numbers on the stack and calls one function pointer. Nothing is
allocated, and no other Python code runs.
"""

from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_Import
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp

import numpy

from ztfast import _core
from ztfast.errors import CapacityError, ContextError

cdef extern from "ztfast.h" nogil:
    int ZTFAST_ABI_VERSION
    int ZTFAST_ALLOW
    int ZTFAST_FORBID
    int ZTFAST_NOT_APPLICABLE
    int ZTFAST_OTHER
    int ZTFAST_BOOL
    int ZTFAST_LONG
    int ZTFAST_STRING
    int ZTFAST_ENTITY
    int ZTFAST_DECIMAL
    int ZTFAST_DATETIME
    int ZTFAST_DURATION

    ctypedef struct ztfast_gate:
        pass
    ctypedef struct ztfast_batch:
        pass
    ctypedef struct ztfast_determining:
        uint32_t count
        uint32_t policies[64]
    ctypedef struct ztfast_column:
        const void *data
        size_t len
        uint32_t each
    ctypedef struct ztfast_api:
        uint32_t abi_version
        uint32_t size
        uint32_t (*allows)(ztfast_gate *, uint64_t, uint32_t, const int64_t *, size_t) noexcept nogil
        uint32_t (*decide)(ztfast_gate *, uint64_t, uint32_t, const int64_t *, size_t, ztfast_determining *) noexcept nogil
        void (*begin)(ztfast_gate *) noexcept nogil
        uint32_t (*text)(ztfast_gate *, const uint8_t *, size_t, int64_t *) noexcept nogil
        uint32_t (*entity)(ztfast_gate *, uint32_t, int64_t *) noexcept nogil
        size_t (*kinds)(ztfast_gate *, uint8_t *, size_t) noexcept nogil
        const uint8_t *(*policy)(ztfast_gate *, uint32_t, size_t *) noexcept nogil
        uint64_t (*epoch)(ztfast_gate *) noexcept nogil
        ztfast_batch *(*batch_begin)(ztfast_gate *) noexcept nogil
        uint32_t (*batch_text)(ztfast_batch *, const uint8_t *, size_t, int64_t *) noexcept nogil
        uint32_t (*batch_run)(const ztfast_batch *, size_t, const ztfast_column *, uint8_t *) noexcept nogil
        void (*batch_end)(ztfast_batch *) noexcept nogil

DEF MAX_ARGUMENTS = 64
DEF CACHED = 256
DEF CACHED_POLICIES = 6

cdef const ztfast_api *api = <const ztfast_api *>PyCapsule_Import("ztfast._core._C_API", 0)
if api.abi_version != ZTFAST_ABI_VERSION or api.size < sizeof(ztfast_api):
    raise ImportError(
        f"ztfast.gate was built for version {ZTFAST_ABI_VERSION} of the core's functions ({sizeof(ztfast_api)} bytes), "
        f"but ztfast._core has version {api.abi_version} ({api.size} bytes): reinstall ztfast"
    )

cdef dict CODE_NAMES = dict(_core.CODES)
cdef object MISSING = object()
cdef tuple NO_REASONS = ()


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

    cdef readonly uint64_t id
    cdef readonly object identity
    cdef object _engine

    def __init__(self, engine, uint64_t id, identity, /):
        self._engine = engine
        self.id = id
        self.identity = identity

    @property
    def principal(self):
        """The principal's :class:`ztfast.Uid`."""
        return self.identity.principal

    def revoke(self, /):
        """End the session for good: from now on every decision is DENY with code REVOKED.

        Returns whether there was anything to revoke.
        """
        return self._engine.set_session(self.id, 2)

    def quarantine(self, on=True, /):
        """Deny everything with code QUARANTINED until ``quarantine(False)``.

        Returns whether the session could be changed (a revoked one cannot).
        """
        return self._engine.set_session(self.id, 3 if on else 1)

    def __repr__(self):
        return f"<ztfast.Session {self.id:#x} of {self.identity.principal}>"


cdef class Resource:
    """A handle: an entity's number that survives bundle swaps, made by :meth:`ztfast.Engine.resource`.

    The entity need not be in the store: then policies see it as Cedar would, without attributes or ancestors.

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.resource('Photo::"p1"')
    <ztfast.Resource Photo::"p1">
    """

    cdef readonly uint32_t handle
    cdef readonly object uid

    def __init__(self, uint32_t handle, uid, /):
        self.handle = handle
        self.uid = uid

    def __repr__(self):
        return f"<ztfast.Resource {self.uid}>"


cdef class Decision:
    """What was decided, and why. True iff the effect is ALLOW.

    Attributes:
        effect: ``"ALLOW"`` or ``"DENY"``.
        code: Why: ``"POLICY"`` (a permit or forbid determined it), ``"DEFAULT"`` (no policy applied), or what denied
            before any policy was looked at: ``"EXPIRED"``, ``"NOT_YET_VALID"``, ``"REVOKED"``, ``"QUARANTINED"``,
            ``"UNKNOWN_SESSION"``, ``"KILLED"``, ``"NOT_APPLICABLE"``, ``"STALE_GATE"``, ``"CORRUPT"``.
        number: The same as the number that ``decide_many`` gives, see :class:`ztfast.Code`.
        reasons: Ids of the determining policies, in their order (Cedar: the satisfied forbids, else the satisfied
            permits).

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"')
    Decision(ALLOW, POLICY, reasons=('owners-view',))
    """

    cdef readonly str effect
    cdef readonly str code
    cdef readonly int number
    cdef readonly tuple reasons

    def __init__(self, int number, tuple reasons=NO_REASONS, /):
        self.number = number
        self.effect = "ALLOW" if number == ZTFAST_ALLOW else "DENY"
        self.code = CODE_NAMES[number]
        self.reasons = reasons

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
        return f"Decision({self.effect}, {self.code}{reasons})"


cdef struct CacheKey:
    uint32_t code
    uint32_t count
    uint32_t policies[CACHED_POLICIES]


cdef class Gate:
    """Decisions about one action, like a prepared statement; made by :meth:`ztfast.Engine.prepare`.

    The context's attributes are given by position, in the order of the names given to ``prepare``: ``int`` for Long,
    ``bool`` for Bool, ``str`` for String, :class:`Resource` for entities; other types as :meth:`ztfast.Engine.decide`
    takes them, at its speed. A gate survives bundle swaps; where the new bundle no longer has the action or changes
    these attributes, it denies with code STALE_GATE.

    Under the GIL a gate can be shared by threads. Embedders (``ztfast.h``) use one gate per thread.

    >>> import ztfast, time
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
    >>> view = engine.prepare("view")
    >>> view.allows(session, engine.resource('Photo::"p1"'))
    True
    """

    cdef ztfast_gate *_gate
    cdef size_t _count
    cdef bint _looks_up
    cdef bint _slow
    cdef uint8_t _kinds[MAX_ARGUMENTS]
    cdef uint64_t _epoch
    cdef ztfast_determining _determining
    cdef CacheKey _keys[CACHED]
    cdef list _decisions
    cdef object _core
    cdef object _engine
    cdef readonly str action
    cdef readonly tuple names

    def __init__(self, engine, core, /):
        self._engine = engine
        self._core = core
        self._gate = <ztfast_gate *><uintptr_t>core.address
        self.action = core.action
        self.names = tuple(core.names)
        self._count = len(self.names)
        if self._count > MAX_ARGUMENTS:
            raise CapacityError(f"{self.action}: a gate takes up to {MAX_ARGUMENTS} attributes, got {self._count}")
        api.kinds(self._gate, self._kinds, MAX_ARGUMENTS)
        cdef size_t at
        for at in range(self._count):
            self._slow |= self._kinds[at] not in (ZTFAST_BOOL, ZTFAST_LONG, ZTFAST_STRING, ZTFAST_ENTITY)
            self._looks_up |= self._kinds[at] in (ZTFAST_STRING, ZTFAST_ENTITY)
        self._decisions = [None] * CACHED

    @property
    def address(self):
        """The gate's address for ``ztfast.h``, good as long as this object lives."""
        return <uintptr_t>self._gate

    def allows(
        self, Session session not None, Resource resource not None,
        v0=MISSING, v1=MISSING, v2=MISSING, v3=MISSING, v4=MISSING, v5=MISSING, v6=MISSING, v7=MISSING, /, *more,
    ):
        """Whether the session may do it to the resource: True for ALLOW, False for everything else.

        Raises ContextError where the values do not fit the attributes.
        """
        cdef int64_t values[MAX_ARGUMENTS]
        cdef size_t count = self._count
        if self._slow:
            return self.decide(session, resource, v0, v1, v2, v3, v4, v5, v6, v7, *more).number == ZTFAST_ALLOW
        if self._looks_up:
            api.begin(self._gate)
        # Spelled out: a loop would have to collect the arguments first.
        if count > 0:
            self.unpack(0, v0, values)
            if count > 1:
                self.unpack(1, v1, values)
                if count > 2:
                    self.unpack(2, v2, values)
                    if count > 3:
                        self.unpack_rest(v3, v4, v5, v6, v7, more, values)
        if self.surplus(v0, v1, v2, v3, v4, v5, v6, v7, more):
            self.wrong_count(v0, v1, v2, v3, v4, v5, v6, v7, more)
        return api.allows(self._gate, session.id, resource.handle, values, count) == <uint32_t>ZTFAST_ALLOW

    def decide(
        self, Session session not None, Resource resource not None,
        v0=MISSING, v1=MISSING, v2=MISSING, v3=MISSING, v4=MISSING, v5=MISSING, v6=MISSING, v7=MISSING, /, *more,
    ):
        """The decision with its code and determining policies, as a :class:`Decision`.

        Equal decisions are the same object as long as the gate remembers them, so that none is made anew.
        Raises ContextError where the values do not fit the attributes.
        """
        cdef int64_t values[MAX_ARGUMENTS]
        cdef uint32_t code
        if self.surplus(v0, v1, v2, v3, v4, v5, v6, v7, more):
            self.wrong_count(v0, v1, v2, v3, v4, v5, v6, v7, more)
        if self._slow:
            return self.by_context(session, resource, (v0, v1, v2, v3, v4, v5, v6, v7) + more)
        if self._looks_up:
            api.begin(self._gate)
        if self._count > 0:
            self.unpack(0, v0, values)
            if self._count > 1:
                self.unpack(1, v1, values)
                if self._count > 2:
                    self.unpack(2, v2, values)
                    if self._count > 3:
                        self.unpack_rest(v3, v4, v5, v6, v7, more, values)
        code = api.decide(self._gate, session.id, resource.handle, values, self._count, &self._determining)
        if code != <uint32_t>ZTFAST_ALLOW and code != <uint32_t>ZTFAST_FORBID:
            self._determining.count = 0
        if self._determining.count > 64:
            return self.by_context(session, resource, (v0, v1, v2, v3, v4, v5, v6, v7) + more)
        return self.decision(code, &self._determining)

    def decide_many(self, sessions, resources, /, *columns):
        """Decide on many rows by one bundle, without the GIL.

        Args:
            sessions: A :class:`Session` for all rows, a sequence of them, or their ids as an array of uint64.
            resources: A :class:`Resource` for all rows, a sequence of them, or their handles as an array of uint32.
            columns: One per attribute, an array or sequence with a value per row, or one value for all rows. Long:
                integers; Bool: bool; String: str; entity: handles (uint32) or Resources; decimal: int64 in
                ten-thousandths; datetime and duration: datetime64 and timedelta64, or int64 in milliseconds.

        Returns:
            numpy array of uint8 with a :class:`ztfast.Code` per row; ``codes == ztfast.Code.ALLOW`` is what is allowed.

        Raises:
            ContextError: where columns do not fit the attributes or each other.
        """
        if len(columns) != self._count:
            raise ContextError(
                f"{self.action}: wanted {self._count} columns ({', '.join(self.names) or 'none'}), got {len(columns)}"
            )
        if self._slow and any(self._kinds[at] == ZTFAST_OTHER for at in range(self._count)):
            raise ContextError(f"{self.action}: ipaddr, set and record attributes have no columns; use decide()")
        cdef ztfast_batch *batch = api.batch_begin(self._gate)
        cdef ztfast_column laid_out[MAX_ARGUMENTS + 2]
        cdef list arrays = []
        cdef size_t rows
        cdef uint32_t status
        try:
            arrays.append(ids_of(sessions, Session, "id", numpy.uint64, "sessions"))
            arrays.append(ids_of(resources, Resource, "handle", numpy.uint32, "resources"))
            for at, column in enumerate(columns):
                arrays.append(self.column(at, column, batch))
            lengths = {len(array) for array, each in arrays if each}
            if len(lengths) > 1:
                named = ", ".join(
                    f"{name} {len(array)}"
                    for name, (array, each) in zip(("sessions", "resources") + self.names, arrays) if each
                )
                raise ContextError(f"{self.action}: columns of different lengths: {named}")
            rows = lengths.pop() if lengths else 1
            for at, (array, each) in enumerate(arrays):
                laid_out[at].data = <const void *><uintptr_t>array.ctypes.data
                laid_out[at].len = len(array)
                laid_out[at].each = each
            codes = numpy.empty(rows, numpy.uint8)
            out = <uint8_t *><uintptr_t>codes.ctypes.data
            with nogil:
                status = api.batch_run(batch, rows, laid_out, out)
        finally:
            api.batch_end(batch)
        if status != 0:
            raise ContextError(f"{self.action}: the columns do not fit the gate")
        return codes

    cdef inline int unpack(self, size_t at, object value, int64_t *values) except -1:
        """One argument to its number."""
        cdef int kind = self._kinds[at]
        if kind == ZTFAST_LONG and PyLong_CheckExact(value):
            values[at] = PyLong_AsLongLong(value)
            return 0
        return self.unpack_other(at, value, values)

    cdef int unpack_other(self, size_t at, object value, int64_t *values) except -1:
        cdef int kind = self._kinds[at]
        cdef Py_ssize_t length
        cdef const char *text
        if value is MISSING:
            self.wrong_count_of(at)
        if kind == ZTFAST_LONG and not isinstance(value, (bool, numpy.bool_)) and hasattr(value, "__index__"):
            values[at] = PyLong_AsLongLong(value.__index__())
        elif kind == ZTFAST_BOOL and isinstance(value, (bool, numpy.bool_)):
            values[at] = 1 if value else 0
        elif kind == ZTFAST_STRING and isinstance(value, str):
            text = PyUnicode_AsUTF8AndSize(value, &length)
            if not api.text(self._gate, <const uint8_t *>text, length, &values[at]):
                raise CapacityError(f"{self.action}: a call takes up to 32 texts and 16 KiB that the bundle lacks")
        elif kind == ZTFAST_ENTITY and isinstance(value, Resource):
            # A handle that is nothing in this bundle is no entity of the schema's: no policy can name it.
            if not api.entity(self._gate, (<Resource>value).handle, &values[at]):
                self.wrong_type(at, value)
        else:
            self.wrong_type(at, value)
        return 0

    cdef int unpack_rest(self, v3, v4, v5, v6, v7, tuple more, int64_t *values) except -1:
        given = (v3, v4, v5, v6, v7) + more
        cdef size_t at
        for at in range(3, self._count):
            self.unpack(at, given[at - 3] if at - 3 < <size_t>len(given) else MISSING, values)
        return 0

    cdef inline bint surplus(self, v0, v1, v2, v3, v4, v5, v6, v7, tuple more):
        """Whether there are more values than attributes."""
        cdef size_t count = self._count
        if count == 0:
            return v0 is not MISSING
        if count == 1:
            return v1 is not MISSING
        if count == 2:
            return v2 is not MISSING
        if count == 3:
            return v3 is not MISSING
        return self.surplus_beyond(v4, v5, v6, v7, more)

    cdef bint surplus_beyond(self, v4, v5, v6, v7, tuple more):
        given = (v4, v5, v6, v7) + more
        return self._count - 4 < <size_t>len(given) and given[self._count - 4] is not MISSING

    cdef object wrong_count(self, v0, v1, v2, v3, v4, v5, v6, v7, tuple more):
        given = [value for value in (v0, v1, v2, v3, v4, v5, v6, v7) + more if value is not MISSING]
        return self.wrong_count_of(len(given))

    cdef object wrong_count_of(self, size_t given):
        names = ", ".join(self.names) or "none"
        raise ContextError(f"{self.action}: wanted {self._count} values ({names}), got {given}")

    cdef object wrong_type(self, size_t at, value):
        wanted = {
            ZTFAST_BOOL: "a Bool", ZTFAST_LONG: "a Long (an int of 64 bits)", ZTFAST_STRING: "a String (str)",
            ZTFAST_ENTITY: "an entity (engine.resource(...)) of a type in the schema",
        }
        raise ContextError(
            f"{self.action}: context attribute {self.names[at]!r}: wanted {wanted[self._kinds[at]]}; "
            f"got {type(value).__qualname__}: {value!r}"
        )

    cdef object by_context(self, Session session, Resource resource, tuple values):
        """The same decision by way of a context dict."""
        context = {}
        for name, value in zip(self.names, values):
            if value is MISSING:
                self.wrong_count_of(len([value for value in values if value is not MISSING]))
            inner = context
            *outer, last = name.split(".")
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return Decision(*self._engine.decide_handle(session.id, self.action, resource, context))

    cdef object decision(self, uint32_t code, ztfast_determining *determining):
        """The decision object of a code and its policies: a remembered one where there is one."""
        cdef CacheKey key
        cdef uint64_t mixed = code
        cdef uint32_t at
        cdef uint64_t epoch = api.epoch(self._gate)
        if epoch != self._epoch:
            self._decisions = [None] * CACHED
            self._epoch = epoch
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
            text = api.policy(self._gate, determining.policies[at], &length)
            reasons.append((<const char *>text)[:length].decode("utf-8"))
        made = Decision(code, tuple(reasons))
        if determining.count <= CACHED_POLICIES:
            self._keys[place] = key
            self._decisions[place] = made
        return made

    cdef object column(self, size_t at, column, ztfast_batch *batch):
        """A column as (array of int64, whether it has a value per row)."""
        cdef int kind = self._kinds[at]
        name = self.names[at]
        if kind == ZTFAST_STRING:
            return self.texts(at, column, batch)
        if kind == ZTFAST_ENTITY:
            array, each = ids_of(column, Resource, "handle", numpy.uint32, name)
            return array.astype(numpy.int64), each
        array = numpy.asarray(column)
        each = array.ndim == 1
        if array.ndim > 1:
            raise ContextError(f"{self.action}: column {name!r}: wanted one dimension, got {array.ndim}")
        if kind == ZTFAST_BOOL:
            fits, wanted = array.dtype == numpy.bool_, "bool"
        elif kind == ZTFAST_DATETIME and array.dtype.kind == "M":
            return in_milliseconds(array, "datetime64[ms]"), each
        elif kind == ZTFAST_DURATION and array.dtype.kind == "m":
            return in_milliseconds(array, "timedelta64[ms]"), each
        else:
            wanted = {
                ZTFAST_LONG: "integers of 64 bits", ZTFAST_DECIMAL: "integers (ten-thousandths)",
                ZTFAST_DATETIME: "datetime64, or integers (milliseconds)",
                ZTFAST_DURATION: "timedelta64, or integers (milliseconds)",
            }[kind]
            fits = array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8)
        if not fits:
            raise ContextError(f"{self.action}: column {name!r}: wanted {wanted}, got {array.dtype}")
        return numpy.ascontiguousarray(numpy.atleast_1d(array), numpy.int64), each

    cdef object texts(self, size_t at, column, ztfast_batch *batch):
        cdef int64_t number
        cdef Py_ssize_t length
        cdef const char *text
        each = not isinstance(column, str)
        numbers = {}
        array = numpy.empty(len(column) if each else 1, numpy.int64)
        for row, value in enumerate(column if each else (column,)):
            if not isinstance(value, str):
                raise ContextError(
                    f"{self.action}: column {self.names[at]!r}: wanted str, got {type(value).__qualname__} in row {row}"
                )
            known = numbers.get(value)
            if known is None:
                text = PyUnicode_AsUTF8AndSize(value, &length)
                if not api.batch_text(batch, <const uint8_t *>text, length, &number):
                    raise CapacityError(f"{self.action}: column {self.names[at]!r} has more than 4 GiB of distinct texts")
                known = numbers[value] = number
            array[row] = known
        return array, each

    def __repr__(self):
        return f"<ztfast.Gate {self.action} ({', '.join(self.names)})>"


cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_FASTCALL
    object PyCFunction_New(PyMethodDef *, object)


cdef object nothing(object module, PyObject *const *arguments, Py_ssize_t count):
    return None


cdef PyMethodDef empty_call_definition
empty_call_definition.ml_name = b"empty_call"
empty_call_definition.ml_meth = <void *>nothing
empty_call_definition.ml_flags = METH_FASTCALL
empty_call_definition.ml_doc = b"Takes any arguments and does nothing: the floor that measurements are set against."

empty_call = PyCFunction_New(&empty_call_definition, None)


cdef object in_milliseconds(array, unit):
    if numpy.isnat(array).any():
        raise ContextError("NaT is no time")
    return numpy.ascontiguousarray(numpy.atleast_1d(array).astype(unit).astype(numpy.int64))


cdef object ids_of(given, cls, attribute, dtype, name):
    """Sessions or resources as (array of numbers, whether there is one per row)."""
    if isinstance(given, cls):
        return numpy.array([getattr(given, attribute)], dtype), 0
    if isinstance(given, numpy.ndarray):
        if given.dtype != dtype or given.ndim != 1:
            raise ContextError(f"{name}: wanted a one-dimensional array of {numpy.dtype(dtype)}, got {given.dtype} {given.shape}")
        return numpy.ascontiguousarray(given), 1
    try:
        members = list(given)
    except TypeError:
        members = [given]
    for member in members:
        if not isinstance(member, cls):
            raise ContextError(f"{name}: wanted {cls.__name__} objects, got {type(member).__qualname__}")
    return numpy.array([getattr(member, attribute) for member in members], dtype), 1
