"""Decisions from Cython, without the GIL: `from ztfast.gate cimport Gate, EntityHandle, Session, ZTFAST_ALLOW, allows`.

Compile with ``include_dirs=[ztfast.get_include()]``. Units, ownership and thread rules are those of ``ztfast.h``. A
gate serves one thread at a time, so a strategy that runs without the GIL clones one with
``api.gate_clone(core(gate), ...)``, or ensures that Python does not use the gate meanwhile.

A strategy may read ``Session.id``, ``EntityHandle.handle`` and, through ``core()``, the gate's pointer. They are the
first fields of their classes and keep these places. Names that begin with an underscore are private and change from
version to version. Cython compares the sizes of the classes when the module is imported.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "ztfast.h" nogil:
    const char *ZTFAST_CAPSULE
    enum:
        ZTFAST_ABI_VERSION
        ZTFAST_MAX_ARGUMENTS
        ZTFAST_MAX_DETERMINING
    # The codes of a decision. Every code except ZTFAST_ALLOW denies.
    enum:
        # codes: begin (from src_ext/codes: `make codes` writes these lines)
        ZTFAST_DEFAULT
        ZTFAST_ALLOW
        ZTFAST_STEP_UP
        ZTFAST_FORBID
        ZTFAST_NOT_APPLICABLE
        ZTFAST_EXPIRED
        ZTFAST_NOT_YET_VALID
        ZTFAST_REVOKED
        ZTFAST_QUARANTINED
        ZTFAST_UNKNOWN_SESSION
        ZTFAST_KILLED
        ZTFAST_STALE_GATE
        ZTFAST_CORRUPT
        ZTFAST_BAD_VALUE
        ZTFAST_FORKED
        ZTFAST_TOO_LARGE
        ZTFAST_UNKNOWN_HANDLE
        ZTFAST_STATE_GONE
        # codes: end
    # The statuses of the other calls.
    enum:
        ZTFAST_OK
        ZTFAST_E_NULL
        ZTFAST_E_UTF8
        ZTFAST_E_CAPACITY
        ZTFAST_E_HANDLE
        ZTFAST_E_COLUMNS
        ZTFAST_E_STALE
        ZTFAST_E_POLICY
        ZTFAST_E_PANIC
        ZTFAST_E_VERSION
        ZTFAST_E_SIZE
        ZTFAST_E_TEXT
        ZTFAST_E_FOREIGN
        ZTFAST_E_TYPE
        ZTFAST_E_REQUIRED
        ZTFAST_E_VALUE
        ZTFAST_E_CLOCK
    # Kinds of arguments.
    enum:
        ZTFAST_OTHER
        ZTFAST_BOOL
        ZTFAST_LONG
        ZTFAST_STRING
        ZTFAST_ENTITY
        ZTFAST_DECIMAL
        ZTFAST_DATETIME
        ZTFAST_DURATION
        ZTFAST_ADDRESS
        ZTFAST_SET

    ctypedef struct ztfast_gate:
        pass
    ctypedef struct ztfast_batch:
        pass
    ctypedef struct ztfast_determining:
        uint32_t count
        uint32_t policies[ZTFAST_MAX_DETERMINING]
    ctypedef struct ztfast_column:
        const void *data
        size_t len
        uint32_t each
    ctypedef struct ztfast_value:
        int64_t number
        const void *data
        uint32_t length
        uint32_t kind
    enum:
        ZTFAST_UNDECIDED
        ZTFAST_UNKNOWN_TEXT
        ZTFAST_REMEMBERED
        ZTFAST_ANY_AGE
        ZTFAST_MAX_VALUES
    ctypedef struct ztfast_api:
        uint32_t abi_version
        uint32_t size
        uint32_t (*allows)(ztfast_gate *, uint64_t, uint64_t, const int64_t *, size_t) noexcept nogil
        uint32_t (*decide)(
            ztfast_gate *, uint64_t, uint64_t, const int64_t *, size_t, ztfast_determining *
        ) noexcept nogil
        int32_t (*begin)(ztfast_gate *) noexcept nogil
        int32_t (*text)(ztfast_gate *, const uint8_t *, size_t, int64_t *) noexcept nogil
        int32_t (*entity)(ztfast_gate *, uint64_t, size_t, int64_t *) noexcept nogil
        int32_t (*literal)(const ztfast_gate *, const uint8_t *, size_t, int64_t *) noexcept nogil
        int32_t (*kinds)(const ztfast_gate *, uint8_t *, size_t, size_t *) noexcept nogil
        int32_t (*policy)(const ztfast_gate *, uint32_t, const uint8_t **, size_t *) noexcept nogil
        int32_t (*generation)(const ztfast_gate *, uint64_t *) noexcept nogil
        int32_t (*gate_clone)(const ztfast_gate *, ztfast_gate **) noexcept nogil
        int32_t (*gate_free)(ztfast_gate *) noexcept nogil
        int32_t (*batch_begin)(ztfast_gate *, ztfast_batch **) noexcept nogil
        int32_t (*batch_text)(ztfast_batch *, const uint8_t *, size_t, int64_t *) noexcept nogil
        int32_t (*batch_run)(const ztfast_batch *, size_t, const ztfast_column *, size_t, uint8_t *) noexcept nogil
        int32_t (*batch_evaluate)(const ztfast_batch *, size_t, const ztfast_column *, size_t, uint8_t *) noexcept nogil
        int32_t (*batch_end)(ztfast_batch *) noexcept nogil
        const char *(*code_name)(uint32_t) noexcept nogil
        const char *(*status_text)(int32_t) noexcept nogil
        uint32_t (*refuse)(ztfast_gate *, uint64_t, uint64_t) noexcept nogil
        int32_t (*gate_without)(const ztfast_gate *, uint64_t, ztfast_gate **) noexcept nogil
        int32_t (*batch_without)(const ztfast_batch *, uint64_t, ztfast_batch **) noexcept nogil
        int32_t (*batch_refuse)(
            const ztfast_batch *, size_t, const ztfast_column *, size_t, uint32_t, uint8_t *
        ) noexcept nogil
        int32_t (*refresh)(ztfast_gate *, uint64_t *) noexcept nogil
        int32_t (*parse)(uint32_t, const uint8_t *, size_t, int64_t *) noexcept nogil
        int32_t (*set)(ztfast_gate *, const int64_t *, size_t, size_t, int64_t *) noexcept nogil
        int32_t (*address)(ztfast_gate *, const uint8_t *, size_t, uint32_t, int64_t *) noexcept nogil
        int32_t (*element_kind)(const ztfast_gate *, size_t, uint8_t *) noexcept nogil
        int32_t (*parse_address)(const uint8_t *, size_t, uint8_t *, size_t *, uint32_t *) noexcept nogil
        uint32_t (*decide_values)(
            ztfast_gate *, uint64_t, uint64_t, const ztfast_value *, size_t, uint64_t, ztfast_determining *
        ) noexcept nogil
        int32_t (*set_time)(ztfast_gate *, int64_t, int64_t *) noexcept nogil
        int32_t (*step_up)(const ztfast_gate *, uint32_t, const uint8_t **, size_t *, uint64_t *) noexcept nogil

    int32_t ztfast_check(const ztfast_api *) noexcept
    const char *ztfast_check_text(int32_t) noexcept

# The core's table. It is checked when ztfast.gate is imported.
cdef const ztfast_api *api

cdef enum:
    # The largest number of attributes whose numbers fit on the stack.
    MAX_ARGUMENTS = ZTFAST_MAX_ARGUMENTS
    MAX_DETERMINING = ZTFAST_MAX_DETERMINING
    # The number of decisions that a gate caches, and the largest number of determining policies in one of them.
    CACHED = 256
    CACHED_POLICIES = 6
    # The number of texts that a gate remembers.
    REMEMBERED_TEXTS = 64
    # The number of sets of texts or entities that a gate remembers, and the most elements of one.
    REMEMBERED_SETS = 8
    MOST_REMEMBERED = 4
    # The number of gates that a gate keeps for requests without some of its attributes.
    MOST_WITHOUT = 32

cdef enum:
    # The most IP addresses of a call.
    MOST_ADDRESSES = 8
    # The most elements of a set of a call, and of all its sets if it is passed in one step.
    MOST_ELEMENTS = 64
    MOST_PASSED = 128
    # The most bytes of a text that the bundle lacks: that a call can bring, and that a gate remembers.
    LONGEST_TEXT = 16384
    LONGEST_UNKNOWN = 64
    # The most bytes of a text that is known by them.
    LONGEST_SHORT = 16

cdef struct Address:
    uint8_t bytes[16]
    size_t length
    uint32_t prefix

# What a call's values bring besides numbers.
cdef struct Brought:
    # The bytes that are left for texts.
    Py_ssize_t room
    # The addresses, of which values are the places.
    int64_t count
    Address addresses[MOST_ADDRESSES]

cdef struct RememberedText:
    # The gate keeps the text alive.
    PyObject *text
    Py_ssize_t length
    # How the text is passed, as long as the gate uses this bundle.
    ztfast_value passed

# A text that is short enough to be known by its bytes, wherever it lies.
cdef struct ShortText:
    # One more than its length; 0 for none.
    Py_ssize_t after
    # Its first and its last bytes, which together are all of them.
    uint64_t[2] ends
    # How the text is passed, as long as the gate uses this bundle; where it lies is not kept.
    ztfast_value passed

cdef struct RememberedSet:
    # A frozenset or a tuple; NULL for none.
    PyObject *set
    # The one that the gate keeps alive.
    PyObject *kept
    # The last set of entities that was not remembered here. It may be gone: only its address counts.
    PyObject *seen
    # The kind of its elements.
    int kind
    # The bytes that it takes, of those that a call has for texts.
    Py_ssize_t taken
    # How it is passed, as long as the gate uses this bundle.
    ztfast_value passed
    ztfast_value elements[MOST_REMEMBERED]

cdef struct CacheKey:
    uint32_t code
    uint32_t count
    uint32_t policies[CACHED_POLICIES]


cdef class Gate

@cython.final
cdef class Session:
    cdef readonly uint64_t id
    # The type and id of a principal that was admitted by a credential; otherwise None.
    cdef tuple _principal
    # What trusted code said, or what was found of a credential's session; None until it is asked for.
    cdef object _identity
    cdef object _core

    cdef object owned(self)
    cdef object become(self, int status)


@cython.final
cdef class EntityHandle:
    cdef readonly uint64_t handle
    cdef readonly object uid
    # The bytes of the uid's texts.
    cdef Py_ssize_t _size
    # The engine has weak references to its handles.
    cdef object __weakref__


@cython.final
cdef class Decision:
    cdef readonly str effect
    cdef readonly str code
    cdef readonly int number
    cdef readonly tuple reasons
    cdef readonly object advice


@cython.final
cdef class Gate:
    cdef ztfast_gate *_gate
    cdef uint32_t (*_allows)(ztfast_gate *, uint64_t, uint64_t, const int64_t *, size_t) noexcept nogil
    # The number of arguments of a call, including session and resource, if all values are Long; otherwise -1.
    cdef Py_ssize_t _plain
    # The same if numbers can stand for values of all its kinds.
    cdef Py_ssize_t _at_once
    # What decides calls of allows() whose values are not all Long.
    cdef PyObject *(*_allows_values)(Gate, PyObject *const *, Py_ssize_t) noexcept
    # Not 0 while the gate is in use and Python code may run.
    cdef char _busy
    cdef size_t _count
    # The bytes that a context has for the texts of a call.
    cdef Py_ssize_t _room
    cdef bint _looks_up
    # Whether a context decides all values that are not read in place, in strict mode.
    cdef bint _is_strict
    cdef bint _always_by_context
    cdef uint8_t _kinds[MAX_ARGUMENTS]
    # If all values are numbers, what reads each of them, and what ends them.
    cdef void *_readers[MAX_ARGUMENTS + 1]
    # For sets, the kinds of their elements.
    cdef uint8_t _elements[MAX_ARGUMENTS]
    cdef bytes _every_kind
    cdef uint64_t _generation
    cdef RememberedText _texts[REMEMBERED_TEXTS]
    cdef ShortText _short[REMEMBERED_TEXTS]
    cdef RememberedSet _sets[REMEMBERED_SETS]
    # The last number that was given to a remembered value.
    cdef uint64_t _last_own
    cdef CacheKey _keys[CACHED]
    cdef list _decisions
    cdef object _spares
    # The gates without some attributes, by the bits of the absent ones.
    cdef dict _without
    cdef object _core
    cdef object _engine
    cdef readonly str action
    cdef readonly tuple names
    cdef readonly tuple paths

    cdef int set_up(self, engine, core) except -1
    cdef int check_made(self) except -1
    cdef int check(self, PyObject *const *arguments, Py_ssize_t count) except -1
    cdef int numbers(self, PyObject *const *arguments, int64_t *values, Brought *brought) except -1
    cdef int look_up(self, PyObject *const *arguments, int64_t *values, Brought *brought) except -1
    cdef Py_ssize_t look_up_text(self, PyObject *value, Py_ssize_t room, int64_t *number) noexcept
    cdef Py_ssize_t look_up_set(self, size_t at, PyObject *value, Py_ssize_t room, int64_t *number) noexcept
    cdef int keep_up(self) noexcept
    cdef int forget_values(self) noexcept
    cdef Gate taken(self)
    cdef object wrong_count(self, PyObject *const *arguments, Py_ssize_t count)
    cdef object wrong_handles(self, session, resource)
    cdef object wrong_type(self, size_t at, value)
    cdef int otherwise(self, size_t at, value, int64_t *number, int found) except -1
    cdef Decision without(self, PyObject *const *arguments)
    cdef object made_without(self, uint64_t lacking)
    cdef object strictly(self, PyObject *const *arguments)
    cdef Decision by_context(self, PyObject *const *arguments)
    cdef Decision named(self, PyObject *const *arguments, Decision made)
    cdef tuple by_core(self, PyObject *const *arguments, bint asks)
    cdef bint fits(self) except -1
    cdef Decision remembered(self, uint32_t code, ztfast_determining *determining)
    cdef Decision decision(self, uint32_t code, ztfast_determining *determining)


@cython.final
cdef class Batch:
    cdef ztfast_batch *_batch
    cdef str _action
    cdef Py_ssize_t _longest

    cdef Batch lacking(self, Gate gate, uint64_t absent)
    cdef int run(self, bint by_session, list columns, codes) except -1
    cdef int refuse(self, bint by_session, list columns, codes) except -1


cdef inline ztfast_gate *core(Gate gate) noexcept nogil:
    """The gate for the functions of ``api``: good as long as the object lives."""
    return gate._gate


cdef inline uint32_t allows(
    Gate gate, uint64_t session, uint64_t resource, const int64_t *values, size_t count
) noexcept nogil:
    """Whether the session may do it to the resource: ZTFAST_ALLOW, or why not. No Python object is touched.

    A wrong count of values is ZTFAST_CORRUPT. No other thread may use this gate meanwhile, Python's own neither.
    """
    return api.allows(gate._gate, session, resource, values, count)
