# The calls of a gate, allows() and decide(). They take their arguments from the caller's stack (METH_FASTCALL), because
# Cython's code for a signature with optional arguments costs more than the decision.

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
        or <void *>arguments[1].ob_type != HANDLE
    ):
        return allows_in_place(gate, arguments, count)
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


cdef object allows_in_place(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """Decide if all values can be read in place, but are not all ints."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef Py_ssize_t at
    cdef uint32_t code
    if (
        count != gate._in_place
        or <void *>arguments[0].ob_type != SESSION
        or <void *>arguments[1].ob_type != HANDLE
    ):
        return allows_otherwise(gate, arguments, count)
    for at in range(2, count):
        if ztfast_in_place(gate._kinds[at - 2], arguments[at], &values[at - 2]) != 0:
            return allows_otherwise(gate, arguments, count)
    if not ztfast_take_at_once(&gate._busy):
        return allows_otherwise(gate, arguments, count)
    code = gate._allows(
        gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, <size_t>(count - 2)
    )
    ztfast_give_at_once(&gate._busy)
    return True if code == <uint32_t>ZTFAST_ALLOW else False


cdef object allows_otherwise(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """Decide if not all values can be read in place, if the gate is in use, or if the arguments are wrong."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef uint32_t code
    cdef int found, looked = READ
    cdef Brought brought
    cdef Gate user
    gate.check(arguments, count)
    if gate._always_by_context:
        return bool(gate.by_context(arguments))
    found = gate.numbers(arguments, values, &brought)
    if found == LACKING:
        return bool(gate.without(arguments))
    if found == BY_CONTEXT:
        return bool(gate.by_context(arguments))
    user = gate.taken()
    if user is None:
        return False
    try:
        if user._looks_up:
            looked = user.look_up(arguments, values, &brought)
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
    # The call has more texts than a gate has room for.
    return bool(gate.by_context(arguments))


cdef Decision gate_decide(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    cdef int64_t values[MAX_ARGUMENTS]
    cdef ztfast_determining determining
    cdef Py_ssize_t at
    cdef uint32_t code
    if (
        count != gate._in_place
        or <void *>arguments[0].ob_type != SESSION
        or <void *>arguments[1].ob_type != HANDLE
    ):
        return decide_otherwise(gate, arguments, count)
    for at in range(2, count):
        if ztfast_in_place(gate._kinds[at - 2], arguments[at], &values[at - 2]) != 0:
            return decide_otherwise(gate, arguments, count)
    if not ztfast_take_at_once(&gate._busy):
        return decide_otherwise(gate, arguments, count)
    code = api.decide(
        gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, <size_t>(count - 2),
        &determining,
    )
    if code != <uint32_t>ZTFAST_ALLOW and code != <uint32_t>ZTFAST_FORBID:
        determining.count = 0
    gate.keep_up()
    remembered = gate.remembered(code, &determining)
    ztfast_give_at_once(&gate._busy)
    # A decision that is not in the cache is made once more, because making its object may run Python code.
    return remembered if remembered is not None else decide_otherwise(gate, arguments, count)


cdef Decision decide_otherwise(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """Decide if not all values can be read in place, if the gate is in use, or if the decision is not in the cache."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef ztfast_determining determining
    cdef uint32_t code
    cdef int found, looked = READ
    cdef Brought brought
    cdef Gate user
    gate.check(arguments, count)
    if gate._always_by_context:
        return gate.by_context(arguments)
    found = gate.numbers(arguments, values, &brought)
    if found == LACKING:
        return gate.without(arguments)
    if found == BY_CONTEXT:
        return gate.by_context(arguments)
    user = gate.taken()
    if user is None:
        return gate.no_bundle()
    try:
        if user._looks_up:
            looked = user.look_up(arguments, values, &brought)
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
                # The names of the policies come from the bundle that the decision used.
                user.keep_up()
                return user.decision(code, &determining)
    finally:
        ztfast_give(&user._busy)
    # The call has more texts or determining policies than a gate has room for.
    return gate.by_context(arguments)


cdef object nothing(object module, PyObject *const *arguments, Py_ssize_t count):
    return None


cdef PyMethodDef allows_definition
allows_definition.ml_name = b"allows"
allows_definition.ml_meth = <void *>gate_allows
allows_definition.ml_flags = METH_FASTCALL
allows_definition.ml_doc = b"""allows($self, session, resource, /, *values)
--

Return whether the session may perform the action on the resource: True for ALLOW, False for every other code.

Raises ContextError if the values do not fit the attributes."""

cdef PyMethodDef decide_definition
decide_definition.ml_name = b"decide"
decide_definition.ml_meth = <void *>gate_decide
decide_definition.ml_flags = METH_FASTCALL
decide_definition.ml_doc = b"""decide($self, session, resource, /, *values)
--

Decide, and return the code and the determining policies as a ztfast.Decision.

The gate caches decisions, so equal decisions may be the same object.
Raises ContextError if the values do not fit the attributes."""

cdef PyMethodDef empty_call_definition
empty_call_definition.ml_name = b"empty_call"
empty_call_definition.ml_meth = <void *>nothing
empty_call_definition.ml_flags = METH_FASTCALL
empty_call_definition.ml_doc = b"""empty_call(*arguments)
--

Take any arguments and do nothing: the floor of measurements."""

empty_call = PyCFunction_New(&empty_call_definition, None)


cdef int add_method(PyTypeObject *cls, PyMethodDef *definition) except -1:
    (<dict>cls.tp_dict)[(<bytes>definition.ml_name).decode()] = PyDescr_NewMethod(cls, definition)
    PyType_Modified(cls)
    return 0
