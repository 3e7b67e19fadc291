"""The hot path: sessions, handles, decisions and gates as C-level objects over the core's table of functions.

A call of ``Gate.allows`` unpacks its arguments into numbers on the stack and calls one function pointer. Nothing is
allocated, and no other Python code runs.
"""

from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_Import
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp

import numpy

from ztfast import _core
from ztfast.errors import CapacityError, ContextError

api = <const ztfast_api *>PyCapsule_Import(ZTFAST_CAPSULE, 0)
if ztfast_check(api) != ZTFAST_OK:
    raise ImportError(
        f"ztfast.gate was built for version {ZTFAST_ABI_VERSION} of the core's functions ({sizeof(ztfast_api)} bytes), "
        f"but ztfast._core has version {api.abi_version} ({api.size} bytes): reinstall ztfast"
    )

cdef dict CODE_NAMES = dict(_core.CODES)
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

    def __init__(self, uint32_t handle, uid, /):
        self.handle = handle
        self.uid = uid

    def __repr__(self):
        return f"<ztfast.Resource {self.uid}>"


# Exact types: a subclass could override nothing that matters here, and comparing pointers is all that a call can afford.
cdef void *SESSION = <void *>Session
cdef void *RESOURCE = <void *>Resource
cdef void *LONG = <void *>int


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

    def __init__(self, engine, core, /):
        self._engine = engine
        self._core = core
        self._gate = <ztfast_gate *><uintptr_t>core.address
        self.action = core.action
        self.names = tuple(core.names)
        self._count = len(self.names)
        if self._count > MAX_ARGUMENTS:
            raise CapacityError(f"{self.action}: a gate takes up to {MAX_ARGUMENTS} attributes, got {self._count}")
        cdef size_t at, count
        api.kinds(self._gate, self._kinds, MAX_ARGUMENTS, &count)
        for at in range(self._count):
            self._slow |= self._kinds[at] not in (ZTFAST_BOOL, ZTFAST_LONG, ZTFAST_STRING, ZTFAST_ENTITY)
            self._looks_up |= self._kinds[at] in (ZTFAST_STRING, ZTFAST_ENTITY)
        self._decisions = [None] * CACHED

    @property
    def address(self):
        """The gate's address for ``ztfast.h``, good as long as this object lives."""
        return <uintptr_t>self._gate

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
        cdef ztfast_batch *batch = NULL
        cdef ztfast_column laid_out[MAX_ARGUMENTS + 2]
        cdef list arrays = []
        # Texts have one number in all columns: equality is equality of numbers.
        cdef dict numbers = {}
        cdef size_t rows
        cdef int32_t status = api.batch_begin(self._gate, &batch)
        if status != ZTFAST_OK:
            raise RuntimeError(f"{self.action}: {api.status_text(status).decode()}")
        try:
            arrays.append(ids_of(sessions, Session, "id", numpy.uint64, "sessions"))
            arrays.append(ids_of(resources, Resource, "handle", numpy.uint32, "resources"))
            for at, column in enumerate(columns):
                arrays.append(self.column(at, column, batch, numbers))
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
                status = api.batch_run(batch, rows, laid_out, self._count + 2, out)
        finally:
            api.batch_end(batch)
        if status != ZTFAST_OK:
            raise ContextError(f"{self.action}: {api.status_text(status).decode()}")
        return codes

    cdef inline int unpack(self, PyObject *const *arguments, Py_ssize_t count, int64_t *values) except -1:
        """Check a call's arguments, (session, resource, *values), and turn the values into numbers."""
        cdef size_t at
        cdef PyObject *value
        if count != <Py_ssize_t>self._count + 2:
            self.wrong_count(arguments, count)
        if <void *>arguments[0].ob_type != SESSION or <void *>arguments[1].ob_type != RESOURCE:
            self.wrong_parties(<object>arguments[0], <object>arguments[1])
        if self._looks_up:
            api.begin(self._gate)
        for at in range(self._count):
            value = arguments[at + 2]
            if self._kinds[at] == ZTFAST_LONG and <void *>value.ob_type == LONG:
                values[at] = <int64_t><object>value
            else:
                self.unpack_other(at, <object>value, values)
        return 0

    cdef int unpack_other(self, size_t at, object value, int64_t *values) except -1:
        cdef int kind = self._kinds[at]
        cdef Py_ssize_t length
        cdef const char *text
        if kind == ZTFAST_LONG and not isinstance(value, (bool, numpy.bool_)) and hasattr(value, "__index__"):
            values[at] = <int64_t>value.__index__()
        elif kind == ZTFAST_BOOL and isinstance(value, (bool, numpy.bool_)):
            values[at] = 1 if value else 0
        elif kind == ZTFAST_STRING and isinstance(value, str):
            text = PyUnicode_AsUTF8AndSize(value, &length)
            if api.text(self._gate, <const uint8_t *>text, length, &values[at]) != ZTFAST_OK:
                raise CapacityError(f"{self.action}: a call takes up to 32 texts and 16 KiB that the bundle lacks")
        elif kind == ZTFAST_ENTITY and isinstance(value, Resource):
            # A handle that is nothing in this bundle is no entity of the schema's: no policy can name it.
            if api.entity(self._gate, (<Resource>value).handle, &values[at]) != ZTFAST_OK:
                self.wrong_type(at, value)
        else:
            self.wrong_type(at, value)
        return 0

    cdef object wrong_count(self, PyObject *const *arguments, Py_ssize_t count):
        if count < 2:
            raise TypeError(f"wanted (session, resource, *values), got {count} arguments")
        names = ", ".join(self.names) or "none"
        raise ContextError(f"{self.action}: wanted {self._count} values ({names}), got {count - 2}")

    cdef object wrong_parties(self, session, resource):
        for value, wanted in ((session, Session), (resource, Resource)):
            if type(value) is not wanted:
                raise TypeError(
                    f"{self.action}: wanted a ztfast.{wanted.__name__} (see Engine.admit, Engine.resource), "
                    f"got {type(value).__qualname__}: {value!r}"
                )

    cdef object wrong_type(self, size_t at, value):
        wanted = {
            ZTFAST_BOOL: "a Bool", ZTFAST_LONG: "a Long (an int of 64 bits)", ZTFAST_STRING: "a String (str)",
            ZTFAST_ENTITY: "an entity (engine.resource(...)) of a type in the schema",
        }
        raise ContextError(
            f"{self.action}: context attribute {self.names[at]!r}: wanted {wanted[self._kinds[at]]}; "
            f"got {type(value).__qualname__}: {value!r}"
        )

    cdef Decision by_context(self, PyObject *const *arguments):
        """The same decision by way of a context dict, for values that are no numbers."""
        cdef Session session = <Session>arguments[0]
        cdef size_t at
        context = {}
        for at in range(self._count):
            name, value = self.names[at], <object>arguments[at + 2]
            inner = context
            *outer, last = name.split(".")
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return Decision(*self._engine.decide_handle(session.id, self.action, <object>arguments[1], context))

    cdef Decision decision(self, uint32_t code, ztfast_determining *determining):
        """The decision object of a code and its policies: a remembered one where there is one."""
        cdef CacheKey key
        cdef uint64_t mixed = code
        cdef uint32_t at
        cdef uint64_t epoch = 0
        api.epoch(self._gate, &epoch)
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
            if api.policy(self._gate, determining.policies[at], &text, &length) != ZTFAST_OK:
                continue
            reasons.append((<const char *>text)[:length].decode("utf-8"))
        made = Decision(code, tuple(reasons))
        if determining.count <= CACHED_POLICIES:
            self._keys[place] = key
            self._decisions[place] = made
        return made

    cdef object column(self, size_t at, column, ztfast_batch *batch, dict numbers):
        """A column as (array of int64, whether it has a value per row)."""
        cdef int kind = self._kinds[at]
        name = self.names[at]
        if kind == ZTFAST_STRING:
            return self.texts(at, column, batch, numbers)
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

    cdef object texts(self, size_t at, column, ztfast_batch *batch, dict numbers):
        cdef int64_t number
        cdef Py_ssize_t length
        cdef const char *text
        each = not isinstance(column, str)
        array = numpy.empty(len(column) if each else 1, numpy.int64)
        for row, value in enumerate(column if each else (column,)):
            if not isinstance(value, str):
                raise ContextError(
                    f"{self.action}: column {self.names[at]!r}: wanted str, got {type(value).__qualname__} in row {row}"
                )
            known = numbers.get(value)
            if known is None:
                text = PyUnicode_AsUTF8AndSize(value, &length)
                if api.batch_text(batch, <const uint8_t *>text, length, &number) != ZTFAST_OK:
                    raise CapacityError(f"{self.action}: column {self.names[at]!r} has more than 4 GiB of distinct texts")
                known = numbers[value] = number
            array[row] = known
        return array, each

    def __repr__(self):
        return f"<ztfast.Gate {self.action} ({', '.join(self.names)})>"


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
    cdef uint32_t code
    if gate._slow:
        return gate_decide(gate, arguments, count).number == ZTFAST_ALLOW
    gate.unpack(arguments, count, values)
    code = api.allows(
        gate._gate, (<Session>arguments[0]).id, (<Resource>arguments[1]).handle, values, gate._count
    )
    return True if code == <uint32_t>ZTFAST_ALLOW else False


cdef Decision gate_decide(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    cdef int64_t values[MAX_ARGUMENTS]
    cdef ztfast_determining *determining = &gate._determining
    cdef uint32_t code
    if gate._slow:
        if count != <Py_ssize_t>gate._count + 2:
            gate.wrong_count(arguments, count)
        gate.wrong_parties(<object>arguments[0], <object>arguments[1])
        return gate.by_context(arguments)
    gate.unpack(arguments, count, values)
    code = api.decide(
        gate._gate, (<Session>arguments[0]).id, (<Resource>arguments[1]).handle, values, gate._count, determining
    )
    if code != <uint32_t>ZTFAST_ALLOW and code != <uint32_t>ZTFAST_FORBID:
        determining.count = 0
    if determining.count > MAX_DETERMINING:
        return gate.by_context(arguments)
    return gate.decision(code, determining)


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


add_method(<PyTypeObject *>Gate, &allows_definition)
add_method(<PyTypeObject *>Gate, &decide_definition)


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
