"""The hot path: sessions, handles, decisions and gates as C-level objects over the core's table of functions.

A call of ``Gate.allows`` unpacks its arguments into numbers on the stack and calls one function pointer. It allocates
nothing and runs no other Python code.

This file has the gate. The included files belong to the same module, because calls between Cython modules go through
pointers.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_Import
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

import datetime
import decimal
import functools
import ipaddress
import sys
import threading

import numpy

from ztfast import _core, columns as columns_of, identities, plain, reports, telling
from ztfast.advice import Advice
from ztfast.errors import ArgumentError, CapacityError, ContextError, OwnerError
from ztfast.shown import given
from ztfast.uid import Uid
from ztfast.values import ABSENT as ABSENT_VALUE, OutOfRange, convert

api = <const ztfast_api *>PyCapsule_Import(ZTFAST_CAPSULE, 0)
if ztfast_check(api) != ZTFAST_OK:
    raise ImportError(
        f"ztfast.gate was built for version {ZTFAST_ABI_VERSION} of the core's functions ({sizeof(ztfast_api)} bytes), "
        f"but ztfast._core has version {api.abi_version} ({api.size} bytes): reinstall ztfast"
    )

include "integers.pxi"
include "scalars.pxi"
include "composites.pxi"
include "sessions.pxi"
include "decisions.pxi"

cdef str COPIED_GATE = (
    "a gate is valid only in its process and with its engine, so it cannot be copied or pickled. "
    "Call engine.prepare(...) there; threads may share a gate"
)


# Types are compared by pointer, because a call can afford nothing slower.
cdef void *SESSION = <void *>Session
cdef void *HANDLE = <void *>EntityHandle
cdef void *LONG = <void *>int
cdef void *TEXT = <void *>str
# The values that mean absent. They live as long as the module.
cdef object absent_value = ABSENT_VALUE, masked_value = numpy.ma.masked
cdef void *ABSENT = <void *>absent_value
cdef void *MASKED = <void *>masked_value

cdef void *IP4 = <void *>ipaddress.IPv4Address
cdef void *IP6 = <void *>ipaddress.IPv6Address
cdef void *NETWORK4 = <void *>ipaddress.IPv4Network
cdef void *NETWORK6 = <void *>ipaddress.IPv6Network

# The bytes that an element of a set counts for in a context, and the most that an address does.
cdef Py_ssize_t EACH_ELEMENT = _core.EACH
cdef enum:
    LONGEST_IP4 = 15
    LONGEST_IP6 = 39

# What a look-up returns instead of the room that is left.
cdef enum:
    # A context has to decide: there is no room, or the core has no number for this.
    NO_ROOM = -1
    # The text is not UTF-8.
    NO_UTF8 = -2


cdef enum Numbers:
    # All values have numbers.
    READ = 0
    # A value is out of its type's range.
    OUT_OF_RANGE = 1
    # An attribute is absent: the gate without it decides.
    LACKING = 2
    # A value may have the right type, but has no number: a context holds it.
    BY_CONTEXT = 3


cdef class Gate:
    """A prepared decision about one action, like a prepared statement; :meth:`ztfast.Engine.prepare` makes it.

    A call takes the context attributes by position, in the order of the names passed to ``prepare``. The fastest values
    are ``int`` for Long, ``bool`` for Bool, ``Decimal`` for decimal, ``datetime`` in UTC for datetime, ``timedelta``
    for duration, ``str`` for String, :class:`EntityHandle` for entities, ``IPv4Address`` and ``IPv6Address`` for
    ipaddr, and tuples, lists, sets and frozensets with up to 128 of these in a call for sets. All other values that
    :meth:`ztfast.Engine.decide` accepts are accepted too (``docs/conversions.md``).
    ``ztfast.ABSENT`` leaves an optional attribute out. A value of a wrong type raises. A value out of its type's range
    is DENY with code BAD_VALUE, if the session is active and valid. A gate stays valid over swaps. If a new bundle
    lacks the action or changes these attributes, the gate denies with code STALE_GATE.

    Threads may share a gate, with and without the GIL, and no decision waits for another: a call that finds the gate in
    use decides with a gate of its own thread, which is prepared when this first happens. A gate for each thread is
    therefore the fastest; embedders (``ztfast.h``) must use one for each thread.

    >>> import ztfast, time
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
    >>> view = engine.prepare("view")
    >>> view.allows(session, engine.resource('Photo::"p1"'))
    True
    """

    def __cinit__(self):
        # No call has this number of arguments, so no call of a gate that was not prepared is a plain one.
        self._plain = self._at_once = -1
        self._allows_values = call_otherwise

    def __init__(self, *arguments, **names):
        raise OwnerError("a gate cannot be constructed directly: call engine.prepare(action, *names)")

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
        self._plain = self._at_once = self._count + 2
        if self._count > MAX_ARGUMENTS:
            # There are more attributes than fit on a call's stack: single decisions use a context, batches use columns.
            self._always_by_context, self._plain, self._at_once = True, -1, -1
        if self._room < 0:
            # Every call is too large; deciding by a context gives the code.
            self._always_by_context, self._plain, self._at_once = True, -1, -1
        for at in range(min(self._count, <size_t>MAX_ARGUMENTS)):
            self._kinds[at] = kinds[at]
            self._readers[at] = ztfast_reader_of(kinds[at], kinds[at + 1] if at + 1 < self._count else ZTFAST_OTHER)
            self._always_by_context |= self._kinds[at] == ZTFAST_OTHER
            self._looks_up |= self._kinds[at] in (ZTFAST_STRING, ZTFAST_ENTITY, ZTFAST_ADDRESS, ZTFAST_SET)
            if self._kinds[at] == ZTFAST_SET:
                api.element_kind(self._gate, at, &self._elements[at])
            # The error that is raised is the first in the order of the schema, which a context knows.
            self._is_strict |= core.strict and self._kinds[at] in (ZTFAST_ADDRESS, ZTFAST_SET)
            if self._kinds[at] != ZTFAST_LONG:
                self._plain = -1
            if self._kinds[at] == ZTFAST_OTHER:
                self._at_once = -1
        self._readers[min(self._count, <size_t>MAX_ARGUMENTS)] = <void *>ztfast_read_no_more
        if self._looks_up and self._count > ZTFAST_MAX_VALUES:
            self._at_once = -1
        self._allows_values = allows_passed if self._looks_up else allows_numbers
        api.generation(self._gate, &self._generation)
        self._decisions = [None] * CACHED
        self._spares = threading.local()
        self._without = {}
        return 0

    def __dealloc__(self):
        cdef size_t at
        self.forget_values()
        for at in range(REMEMBERED_SETS):
            Py_XDECREF(self._sets[at].kept)

    @property
    def address(self):
        """The gate's address for ``ztfast.h``, valid as long as this object lives."""
        return <uintptr_t>self._gate

    def decide_many(self, sessions, resources, /, *columns):
        """Decide many rows by one bundle, without the GIL.

        Args:
            sessions: A :class:`Session` for all rows, a sequence of them, or their ids as an array of uint64.
            resources: An :class:`EntityHandle` for all rows, a sequence of them, or their numbers as uint64.
            columns: One for each attribute: an array or sequence with a value for each row, or one value for all rows.
                Values are those that :meth:`decide` accepts. numpy arrays are read by their types
                (``docs/conversions.md``): integers for Long, decimal (whole units), datetime and duration
                (milliseconds); bool for Bool; text for String, or a :class:`ztfast.Categorical`; handles for entities;
                datetime64 and timedelta64. ``ztfast.ABSENT`` and the masked elements of a masked array leave an
                optional attribute out of a row.

        A row with a value out of its type's range is BAD_VALUE; the other rows are decided normally.
        Contiguous arrays of uint64 (sessions, resources) and int64 (numbers) are read in place.

        Returns:
            A numpy array of uint8 with a :class:`ztfast.Code` for each row. ``codes == ztfast.Code.ALLOW`` is true for
            the allowed rows.

        Raises:
            ContextError: if columns do not fit the attributes or each other.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"bob"', not_after=time.time() + 60))
        >>> photos = [engine.resource('Photo::"p1"'), engine.resource('Photo::"p2"')]
        >>> engine.prepare("view").decide_many(session, photos) == ztfast.Code.ALLOW
        array([False,  True])
        """
        who = columns_of.handles("sessions", sessions, Session, "id", numpy.uint64)
        return decide_rows(self, True, who, resources, columns)

    def evaluate_many(self, principals, resources, /, *columns):
        """Decide many rows by policy alone, by one bundle, without the GIL: no session, no kill switch.

        Args:
            principals: An :class:`EntityHandle` (from :meth:`ztfast.Engine.resource`) for all rows, a sequence of them,
                or their numbers as an array of uint64.
            resources, columns: As for :meth:`decide_many`.

        Returns:
            A numpy array of uint8 with a :class:`ztfast.Code` for each row.

        Raises:
            ContextError: if columns do not fit the attributes or each other.
        """
        who = columns_of.handles("principals", principals, EntityHandle, "handle", numpy.uint64)
        return decide_rows(self, False, who, resources, columns)

    cdef int check(self, PyObject *const *arguments, Py_ssize_t count) except -1:
        """Check the number of a call's arguments (session, resource, *values), and the types of the first two."""
        self.check_made()
        if count != <Py_ssize_t>self._count + 2:
            self.wrong_count(arguments, count)
        if <void *>arguments[0].ob_type != SESSION or <void *>arguments[1].ob_type != HANDLE:
            self.wrong_handles(<object>arguments[0], <object>arguments[1])
        return 0

    cdef int check_made(self) except -1:
        if self._gate == NULL:
            raise OwnerError("a gate cannot be constructed directly: call engine.prepare(action, *names)")
        return 0

    cdef int numbers(self, PyObject *const *arguments, int64_t *values, Brought *brought) except -1:
        """Convert the values that need no look-up to numbers, check the others, and return one of `Numbers`.

        Addresses are kept in `brought`, and the bytes that are left for the other texts of the call. This may run
        Python code. If a value is out of its range, the others are still checked.
        """
        cdef size_t at
        cdef int kind, found = READ
        cdef Py_ssize_t left
        cdef PyObject *given
        brought.room, brought.count = self._room, 0
        for at in range(self._count):
            given, kind = arguments[at + 2], self._kinds[at]
            if ztfast_in_place(kind, given, &values[at]) == 0:
                continue
            value = <object>given
            if kind == ZTFAST_STRING and (<void *>given.ob_type == TEXT or isinstance(value, str)):
                pass
            elif kind == ZTFAST_ENTITY and <void *>given.ob_type == HANDLE:
                pass
            elif <void *>given == ABSENT or <void *>given == MASKED:
                return LACKING
            elif kind == ZTFAST_SET and ztfast_is_plain_set(given):
                pass
            elif kind == ZTFAST_ADDRESS and read_address(given, brought, &values[at]) == 0:
                pass
            elif self._is_strict or kind == ZTFAST_SET or kind == ZTFAST_ADDRESS:
                found = BY_CONTEXT
            elif kind == ZTFAST_STRING or kind == ZTFAST_ENTITY:
                if self._core.scalar(at, value) is not None:
                    found = BY_CONTEXT
                elif found == READ:
                    found = OUT_OF_RANGE
            elif isinstance(value, (str, dict)):
                left = parsed(kind, given, brought.room, &values[at])
                if left < 0:
                    # The size of a context includes its texts, so only a context counts this one.
                    found = BY_CONTEXT
                else:
                    brought.room = left
            elif kind == ZTFAST_DATETIME and read_zoned(given, &values[at]) == 0:
                pass
            elif kind != ZTFAST_BOOL and is_integer_of_numpy(given):
                whole = PyNumber_Index(value)
                if ztfast_in_place(kind, <PyObject *>whole, &values[at]) != 0:
                    found = self.otherwise(at, value, &values[at], found)
            else:
                found = self.otherwise(at, value, &values[at], found)
        return found

    cdef int otherwise(self, size_t at, value, int64_t *number, int found) except -1:
        """Convert a value that cannot be read in place, and return what is found with it."""
        made = self._core.scalar(at, value)
        if made is not None:
            number[0] = made
        elif found == READ:
            return OUT_OF_RANGE
        return found

    cdef int look_up(self, PyObject *const *arguments, int64_t *values, Brought *brought) except -1:
        """Convert texts, entities, sets and addresses to numbers of the bundle that the next decision uses.

        This runs no Python code. Return READ, OUT_OF_RANGE, or BY_CONTEXT if a context has to hold the values: the core
        has no room for them, or a set has elements of another kind. After BY_CONTEXT or an error the call is over: the
        core denies a decision until another call is begun.
        """
        cdef size_t at
        cdef int found = READ
        cdef Py_ssize_t left
        cdef int32_t status
        cdef bint is_foreign = False
        cdef PyObject *value
        cdef Address *address
        api.begin(self._gate)
        self.keep_up()
        for at in range(self._count):
            value = arguments[at + 2]
            if self._kinds[at] == ZTFAST_STRING:
                left = self.look_up_text(value, brought.room, &values[at])
                if left == NO_UTF8:
                    left = brought.room - len(<str>value)
                    found = OUT_OF_RANGE
                if left < 0:
                    return BY_CONTEXT
                brought.room = left
            elif self._kinds[at] == ZTFAST_SET:
                brought.room = self.look_up_set(at, value, brought.room, &values[at])
                if brought.room < 0:
                    return BY_CONTEXT
            elif self._kinds[at] == ZTFAST_ADDRESS:
                address = &brought.addresses[values[at]]
                status = api.address(self._gate, address.bytes, address.length, address.prefix, &values[at])
                if status != ZTFAST_OK:
                    return BY_CONTEXT
            elif self._kinds[at] == ZTFAST_ENTITY:
                brought.room -= (<EntityHandle>value)._size
                if brought.room < 0:
                    # The context is too large; deciding by it gives the code.
                    return BY_CONTEXT
                status = api.entity(self._gate, (<EntityHandle>value).handle, at, &values[at])
                if status == ZTFAST_E_FOREIGN:
                    # The core denies this call's decision.
                    values[at], is_foreign = 0, True
                    continue
                if status == ZTFAST_E_TYPE:
                    self.wrong_type(at, <object>value)
                # A stale gate denies, whatever the values.
                if status != ZTFAST_OK and status != ZTFAST_E_STALE:
                    found = OUT_OF_RANGE
        # Another engine's handle is denied first, which a context knows.
        return BY_CONTEXT if is_foreign and found != READ else found

    cdef Py_ssize_t look_up_text(self, PyObject *value, Py_ssize_t room, int64_t *number) noexcept:
        """Get the number of a text, and return what is left of the room; NO_UTF8, or NO_ROOM to leave it to others."""
        cdef Py_ssize_t length
        cdef const char *text = ztfast_utf8(value, &length)
        if text == NULL:
            return length
        if length > room or api.text(self._gate, <const uint8_t *>text, length, number) != ZTFAST_OK:
            return NO_ROOM
        return room - length

    cdef Py_ssize_t look_up_set(self, size_t at, PyObject *value, Py_ssize_t room, int64_t *number) noexcept:
        """Get the number of a set, and return what is left of the room; NO_ROOM to leave it to a context."""
        cdef int64_t numbers[MOST_ELEMENTS]
        cdef ztfast_elements elements
        cdef PyObject *element
        cdef int kind = self._elements[at]
        cdef Py_ssize_t place
        if not ztfast_find_elements(value, &elements) or elements.count > MOST_ELEMENTS:
            return NO_ROOM
        room -= elements.count * EACH_ELEMENT
        for place in range(elements.count):
            element = ztfast_next_element(&elements)
            if element == NULL:
                return NO_ROOM
            if kind == ZTFAST_STRING:
                if <void *>element.ob_type != TEXT:
                    return NO_ROOM
                room = self.look_up_text(element, room, &numbers[place])
                if room < 0:
                    return NO_ROOM
            elif kind == ZTFAST_ENTITY:
                if <void *>element.ob_type != HANDLE:
                    return NO_ROOM
                room -= (<EntityHandle>element)._size
                numbers[place] = <int64_t>(<EntityHandle>element).handle
            elif ztfast_in_place(kind, element, &numbers[place]) != 0:
                return NO_ROOM
        if room < 0 or api.set(self._gate, numbers, elements.count, at, number) != ZTFAST_OK:
            return NO_ROOM
        return room

    cdef int keep_up(self) noexcept:
        """Forget texts and decisions of an old bundle."""
        cdef uint64_t generation = 0
        cdef size_t at
        api.generation(self._gate, &generation)
        if generation != self._generation:
            self.forget_values()
            # Reuse the list, because a new one might start the garbage collector, and with it arbitrary Python code.
            for at in range(CACHED):
                self._decisions[at] = None
            self._generation = generation
        return 0

    cdef int forget_values(self) noexcept:
        cdef size_t at
        for at in range(REMEMBERED_TEXTS):
            if self._texts[at].text != NULL:
                Py_DECREF(<object>self._texts[at].text)
                self._texts[at].text = NULL
            self._short[at].after = 0
            self._short[at].passed.kind = 0
        for at in range(REMEMBERED_SETS):
            forget_set(&self._sets[at])
        return 0

    cdef Gate taken(self):
        """Take this gate or, if it is in use, this thread's own clone; return None if the gate fits no bundle."""
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
            raise ArgumentError(f"wanted (session, resource, *values); got {count} arguments")
        names = ", ".join(self.names) or "none"
        raise ContextError(f"{self.action}: wanted {self._count} values ({names}); got {count - 2}")

    cdef object wrong_handles(self, session, resource):
        for value, wanted, maker in ((session, Session, "Engine.admit"), (resource, EntityHandle, "Engine.resource")):
            if type(value) is not wanted:
                raise ArgumentError(
                    f"{self.action}: wanted a ztfast.{wanted.__name__}, as {maker} returns; got {given(value)}"
                )

    cdef object wrong_type(self, size_t at, value):
        wanted = self._core.entity_type(at)
        raise ContextError(
            f"{self.action}: context attribute {self.names[at]!r}: wanted an entity of type {wanted}; got {value!r}"
        )

    cdef Decision without(self, PyObject *const *arguments):
        """Decide without the absent attributes, by a gate that is prepared when they are first absent together."""
        cdef PyObject *kept[MAX_ARGUMENTS + 2]
        cdef size_t at, count = 2
        cdef uint64_t lacking = 0
        if not self.fits():
            return self.by_context(arguments)
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
        """Make and keep a gate without some attributes; return None if a context has to decide."""
        # Market data may leave out any combination of attributes, so the number of these gates is limited.
        if len(self._without) >= MOST_WITHOUT:
            return None
        try:
            core = self._core.without(lacking)
        except (CapacityError, ContextError):
            # A context that lacks a required attribute raises the error that names it.
            return None
        return None if core is None else self._without.setdefault(lacking, made(self._engine, core))

    cdef object strictly(self, PyObject *const *arguments):
        """In strict mode, raise for a value out of its range."""
        cdef size_t at
        if self._core.strict:
            for at in range(self._count):
                if self._kinds[at] not in (ZTFAST_ENTITY, ZTFAST_ADDRESS, ZTFAST_SET):
                    self._core.scalar(at, <object>arguments[at + 2])
            raise ContextError(f"{self.action}: an enumerated type has no such entity")

    cdef Decision by_context(self, PyObject *const *arguments):
        """Decide by a context, if some values have no numbers or the gate is stale or a parent's."""
        return Decision(*self.by_core(arguments, False))

    cdef Decision named(self, PyObject *const *arguments, Decision made):
        """Return a decision that was made with the ids of all its policies, which are more than a gate keeps."""
        # This is a question: the decision was made, and is not made again.
        asked = self.by_core(arguments, True)
        return Decision(*asked) if asked[0] == made.number else made

    cdef tuple by_core(self, PyObject *const *arguments, bint asks):
        cdef size_t at
        values = [<object>arguments[at + 2] for at in range(self._count)]
        return self._core.decide((<Session>arguments[0]).id, <object>arguments[1], values, asks)

    cdef bint fits(self) except -1:
        """Take the newest bundle, and return whether the gate fits it."""
        cdef Gate user
        cdef uint64_t generation
        cdef int32_t status
        if self._engine.forked:
            return False
        user = self.taken()
        if user is None:
            return False
        status = api.refresh(user._gate, &generation)
        ztfast_give(&user._busy)
        return status == ZTFAST_OK

    cdef Decision remembered(self, uint32_t code, ztfast_determining *determining):
        """Return the decision object for a code and its policies if the cache has it. This runs no Python code."""
        cdef CacheKey *key
        cdef size_t place
        cdef uint32_t at
        if determining.count > CACHED_POLICIES:
            return None
        place = place_of(code, determining)
        key = &self._keys[place]
        if key.code != code or key.count != determining.count:
            return None
        for at in range(determining.count):
            if key.policies[at] != determining.policies[at]:
                return None
        return <Decision>self._decisions[place]

    cdef Decision decision(self, uint32_t code, ztfast_determining *determining):
        """Return the decision object for a code and its policies, from the cache if it is there."""
        cdef CacheKey *key
        cdef size_t place
        cdef uint32_t at
        remembered = self.remembered(code, determining)
        if remembered is not None:
            return remembered
        cdef size_t length
        cdef const uint8_t *text
        cdef uint64_t max_age
        cdef int32_t status
        reasons, asked = [], []
        for at in range(determining.count):
            if api.policy(self._gate, determining.policies[at], &text, &length) != ZTFAST_OK:
                continue
            reasons.append((<const char *>text)[:length].decode("utf-8"))
            if code != <uint32_t>ZTFAST_STEP_UP:
                continue
            status = api.step_up(self._gate, determining.policies[at], &text, &length, &max_age)
            if status == ZTFAST_OK and text != NULL:
                factors = (<const char *>text)[:length].decode("utf-8")
                asked.append((factors, None if max_age == ZTFAST_ANY_AGE else max_age))
        made = Decision(code, tuple(reasons), Advice.of(asked) if asked else None)
        if determining.count <= CACHED_POLICIES:
            place = place_of(code, determining)
            key = &self._keys[place]
            key.code, key.count = code, determining.count
            for at in range(determining.count):
                key.policies[at] = determining.policies[at]
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


cdef inline size_t place_of(uint32_t code, ztfast_determining *determining) noexcept:
    """Return the place of a decision in the cache, which its few policies give."""
    cdef uint64_t mixed = code
    cdef uint32_t at
    for at in range(determining.count):
        mixed = (mixed ^ determining.policies[at]) * <uint64_t>0x9E3779B97F4A7C15
    return (mixed >> 40) % CACHED


cdef Py_ssize_t parsed(int kind, PyObject *text, Py_ssize_t room, int64_t *number) noexcept:
    """Read an exact text of Cedar's syntax, and return what is left of the room; NO_ROOM to leave it to a context."""
    cdef Py_ssize_t length
    cdef const char *ascii
    if <void *>text.ob_type != TEXT:
        return NO_ROOM
    ascii = ztfast_ascii(text, &length)
    if ascii == NULL or api.parse(kind, <const uint8_t *>ascii, length, number) != ZTFAST_OK:
        return NO_ROOM
    return room - length


cdef inline Py_ssize_t parsed_address(PyObject *value, Address *address, Py_ssize_t room) noexcept:
    """Read an address or an exact text of one, as `parsed` does."""
    address.length = ztfast_address(value, address.bytes)
    if address.length == 0:
        return parsed_text_of_address(value, address, room)
    address.prefix = <uint32_t>address.length * 8
    return room - (LONGEST_IP4 if address.length == 4 else LONGEST_IP6)


cdef Py_ssize_t parsed_text_of_address(PyObject *value, Address *address, Py_ssize_t room) noexcept:
    cdef Py_ssize_t length
    cdef const char *ascii
    if <void *>value.ob_type != TEXT:
        return NO_ROOM
    ascii = ztfast_ascii(value, &length)
    if ascii == NULL or api.parse_address(
        <const uint8_t *>ascii, length, address.bytes, &address.length, &address.prefix
    ) != ZTFAST_OK:
        return NO_ROOM
    return room - length


cdef int read_address(PyObject *value, Brought *brought, int64_t *number) except -1:
    """Read an address, and keep it under a number; return 1 if a context has to hold it. This may run Python code."""
    cdef Address *address = &brought.addresses[brought.count]
    cdef Py_ssize_t left
    if brought.count == MOST_ADDRESSES:
        return 1
    left = parsed_address(value, address, brought.room)
    if left < 0 and <void *>value.ob_type in (IP4, IP6, NETWORK4, NETWORK6):
        shown = <object>value
        try:
            # Where the exploded text of an address with a scope raises nothing, the scope must not be dropped.
            if getattr(getattr(shown, "network_address", shown), "scope_id", None) is not None:
                return 1
            shown = shown.exploded
        except Exception:
            # The core asks again, and has the words for what is raised.
            return 1
        left = parsed_address(<PyObject *>shown, address, brought.room)
    if left < 0:
        return 1
    brought.room = left
    number[0] = brought.count
    brought.count += 1
    return 0


cdef Gate made(engine, core):
    cdef Gate gate = Gate.__new__(Gate)
    gate.set_up(engine, core)
    return gate


def prepare(core, action, list names, /):
    """Prepare a gate of a core's engine. Use :meth:`ztfast.Engine.prepare`."""
    if type(core) is not _core.Engine:
        raise OwnerError(
            f"wanted an engine's core; got {type(core).__qualname__}: call engine.prepare(action, *names)"
        )
    return made(core, core.prepare(action, names))


include "many.pxi"
include "calls.pxi"

# The bytes of a gate besides the core's working memory: the object with its caches, and an estimate for names, types
# and the core's data about each.
OBJECT_BYTES = Gate.__basicsize__ + sys.getsizeof([None] * CACHED) + 1900

add_method(<PyTypeObject *>Gate, &allows_definition)
add_method(<PyTypeObject *>Gate, &decide_definition)
