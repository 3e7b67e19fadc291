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


cdef extern from *:
    """
    /* Return False or True, read without a branch, because a processor cannot guess what is allowed. */
    static PyObject *const ztfast_truths[2] = {Py_False, Py_True};
    static inline PyObject *ztfast_truth(int is_true) {
        return Py_NewRef(ztfast_truths[is_true]);
    }
    """
    PyObject *ztfast_truth(bint is_true) noexcept

# A function that returns a new reference, or NULL after it raised.
ctypedef PyObject *(*Call)(Gate, PyObject *const *, Py_ssize_t) noexcept

# The slower functions are called through pointers. By their names they would be inlined, and calls with plain ints
# would save registers that they do not use.
cdef Call call_otherwise


cdef PyObject *gate_allows(Gate gate, PyObject *const *arguments, Py_ssize_t count) noexcept:
    if count == gate._plain:
        return allows_plain(gate, arguments, count)
    return gate._allows_values(gate, arguments, count)


cdef inline PyObject *allows_plain(Gate gate, PyObject *const *arguments, Py_ssize_t count) noexcept:
    """Decide if all values are ints of the usual size."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef Py_ssize_t at
    if <void *>arguments[0].ob_type == SESSION and <void *>arguments[1].ob_type == HANDLE:
        for at in range(2, count):
            if <void *>arguments[at].ob_type != LONG or ztfast_short_number(arguments[at], &values[at - 2]) != 0:
                return gate._allows_values(gate, arguments, count)
        if ztfast_take_at_once(&gate._busy):
            return allowed(gate, arguments, values)
    return gate._allows_values(gate, arguments, count)


cdef PyObject *allows_numbers(Gate gate, PyObject *const *arguments, Py_ssize_t count) noexcept:
    """Decide if all values are numbers, of the usual types and sizes."""
    cdef int64_t values[MAX_ARGUMENTS]
    if (
        count == gate._at_once
        and <void *>arguments[0].ob_type == SESSION
        and <void *>arguments[1].ob_type == HANDLE
        and ztfast_take_at_once(&gate._busy)
    ):
        if ztfast_usual_numbers(gate._readers, arguments + 2, values) != 0:
            return allows_unusual(gate, arguments, values)
        return allowed(gate, arguments, values)
    return call_otherwise(gate, arguments, count)


cdef PyObject *allows_unusual(Gate gate, PyObject *const *arguments, int64_t *values) noexcept:
    """Decide if all values are numbers of any type that needs no Python code. The gate was taken."""
    if numbers_at_once(gate, arguments, values):
        return allowed(gate, arguments, values)
    ztfast_give_at_once(&gate._busy)
    return call_otherwise(gate, arguments, gate._at_once)


cdef inline PyObject *allowed(Gate gate, PyObject *const *arguments, const int64_t *values) noexcept:
    """Decide, and give back the gate that was taken."""
    cdef uint32_t code = gate._allows(
        gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, gate._count
    )
    ztfast_give_at_once(&gate._busy)
    return ztfast_truth(code == <uint32_t>ZTFAST_ALLOW)


cdef PyObject *allows_passed(Gate gate, PyObject *const *arguments, Py_ssize_t count) noexcept:
    """Decide if the values can be passed in one step."""
    cdef uint32_t code = ZTFAST_UNDECIDED
    if (
        count == gate._at_once
        and <void *>arguments[0].ob_type == SESSION
        and <void *>arguments[1].ob_type == HANDLE
        and ztfast_take_at_once(&gate._busy)
    ):
        code = decide_passed(gate, arguments, NULL)
        ztfast_give_at_once(&gate._busy)
    if code == <uint32_t>ZTFAST_UNDECIDED:
        return call_otherwise(gate, arguments, count)
    return ztfast_truth(code == <uint32_t>ZTFAST_ALLOW)


cdef bint numbers_at_once(Gate gate, PyObject *const *arguments, int64_t *values) noexcept:
    """Convert all values if that needs no Python code; return whether they were converted."""
    cdef size_t at
    cdef Py_ssize_t room = gate._room
    for at in range(gate._count):
        if ztfast_usual(gate._kinds[at], arguments[at + 2], &values[at]) != 0:
            room = unusual(gate._kinds[at], arguments[at + 2], room, &values[at])
            if room < 0:
                return False
    return True


cdef Py_ssize_t unusual(int kind, PyObject *value, Py_ssize_t room, int64_t *number) noexcept:
    """Convert a value, and return what is left of the room; NO_ROOM to leave it to Python code or a context."""
    return room if ztfast_in_place(kind, value, number) == 0 else parsed(kind, value, room, number)


cdef inline uint32_t decide_passed(
    Gate gate, PyObject *const *arguments, ztfast_determining *determining
) noexcept:
    """Decide in one step with all values, if that needs no Python code; otherwise return ZTFAST_UNDECIDED."""
    cdef ztfast_value values[ZTFAST_MAX_VALUES]
    cdef ztfast_value elements[MOST_PASSED]
    cdef ztfast_value *free = elements
    cdef Address addresses[MOST_ADDRESSES]
    cdef Address *address = addresses
    cdef Py_ssize_t room = gate._room
    cdef size_t at
    cdef PyObject *value
    cdef ztfast_value *passed
    cdef int kind
    for at in range(gate._count):
        value, passed, kind = arguments[at + 2], &values[at], gate._kinds[at]
        passed.kind = 0
        if kind == ZTFAST_LONG:
            if ztfast_usual_long(value, &passed.number) != 0:
                room = unusual(kind, value, room, &passed.number)
        elif kind == ZTFAST_STRING:
            room = pass_text(gate, value, passed, room)
        elif kind == ZTFAST_ENTITY:
            if <void *>value.ob_type != HANDLE:
                return ZTFAST_UNDECIDED
            room -= (<EntityHandle>value)._size
            passed.number = <int64_t>(<EntityHandle>value).handle
        elif kind == ZTFAST_SET:
            passed.kind, passed.data, passed.length = ZTFAST_SET, free, 0
            if gate._elements[at] == ZTFAST_ENTITY:
                room = pass_entities(gate, value, values, passed, room, elements + MOST_PASSED)
            elif gate._elements[at] == ZTFAST_STRING:
                room = pass_texts(gate, value, values, passed, room, elements + MOST_PASSED)
            else:
                room = pass_numbers(gate._elements[at], value, passed, room, elements + MOST_PASSED)
            # The elements of a set that is remembered lie with the gate.
            if passed.data == free:
                free += passed.length
        elif kind == ZTFAST_ADDRESS:
            if address == addresses + MOST_ADDRESSES:
                return ZTFAST_UNDECIDED
            room = parsed_address(value, address, room)
            passed.kind, passed.length, passed.number = ZTFAST_ADDRESS, <uint32_t>address.length, address.prefix
            passed.data = address.bytes
            address += 1
        elif kind == ZTFAST_DURATION:
            if ztfast_usual_duration(value, &passed.number) != 0:
                room = unusual(kind, value, room, &passed.number)
        elif kind == ZTFAST_BOOL:
            if ztfast_usual_bool(value, &passed.number) != 0:
                return ZTFAST_UNDECIDED
        elif kind == ZTFAST_DECIMAL:
            if ztfast_usual_decimal(value, &passed.number) != 0:
                room = unusual(kind, value, room, &passed.number)
        elif kind == ZTFAST_DATETIME:
            if ztfast_usual_datetime(value, &passed.number) != 0:
                room = unusual(kind, value, room, &passed.number)
        else:
            return ZTFAST_UNDECIDED
    # Where there was no room for a value, there is none in the end.
    if room < 0:
        return ZTFAST_UNDECIDED
    return api.decide_values(
        gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, gate._count,
        gate._generation, determining,
    )


cdef inline size_t remembered_place(PyObject *value, size_t count) noexcept:
    """Return the place of an object among so many remembered ones. Objects of one size lie at multiples of it."""
    return (<uint64_t><uintptr_t>value >> 4) * <uint64_t>0x9E3779B97F4A7C15 >> 32 & count - 1


cdef inline Py_ssize_t pass_text(Gate gate, PyObject *text, ztfast_value *passed, Py_ssize_t room) noexcept:
    """Pass a text, and return what is left of the room; NO_ROOM to leave it to a context."""
    cdef RememberedText *remembered = &gate._texts[remembered_place(text, REMEMBERED_TEXTS)]
    if remembered.text != text:
        return pass_new_text(gate, text, passed, room)
    passed[0] = remembered.passed
    return room - remembered.length


cdef Py_ssize_t pass_new_text(Gate gate, PyObject *text, ztfast_value *passed, Py_ssize_t room) noexcept:
    """Pass a text whose object is not the one that is remembered; it may be equal to one that is."""
    cdef RememberedText *remembered = &gate._texts[remembered_place(text, REMEMBERED_TEXTS)]
    cdef ShortText *short = NULL
    cdef uint64_t[2] ends
    cdef Py_ssize_t length
    cdef const char *data
    cdef int32_t status
    if <void *>text.ob_type != TEXT:
        return NO_ROOM
    data = ztfast_ascii(text, &length)
    if data == NULL:
        data = ztfast_utf8(text, &length)
    if data == NULL or length > room:
        return NO_ROOM
    if length <= LONGEST_SHORT:
        ztfast_ends(data, length, ends)
        short = &gate._short[short_place(length, ends)]
        if short.after == length + 1 and short.ends[0] == ends[0] and short.ends[1] == ends[1]:
            passed[0] = short.passed
            passed.data = data
            return room - length
    status = api.literal(gate._gate, <const uint8_t *>data, length, &passed.number)
    if status == ZTFAST_OK:
        passed.kind, passed.data, passed.length = 0, NULL, 0
    elif status == ZTFAST_E_TEXT and length <= LONGEST_TEXT:
        passed.kind, passed.data, passed.length = ZTFAST_STRING, data, <uint32_t>length
        passed.number = ZTFAST_UNKNOWN_TEXT
    else:
        return NO_ROOM
    # Texts that the bundle lacks are often new ones, and do not take the place of those that it holds.
    if status != ZTFAST_OK:
        if remembered.text != NULL and remembered.passed.kind == ZTFAST_REMEMBERED or length > LONGEST_UNKNOWN:
            remembered = NULL
        if short != NULL and short.passed.kind == ZTFAST_REMEMBERED:
            short = NULL
        if remembered == NULL and short == NULL or not own_number(gate, &passed.number):
            return room - length
    passed.kind |= ZTFAST_REMEMBERED
    if short != NULL:
        short.after, short.passed, short.passed.data = length + 1, passed[0], NULL
        short.ends[0], short.ends[1] = ends[0], ends[1]
    if remembered != NULL:
        remember(remembered, text, length, passed)
    return room - length


cdef inline size_t short_place(Py_ssize_t length, const uint64_t *ends) noexcept:
    """Return the place of a short text among those that a gate knows by their bytes."""
    cdef uint64_t mixed = (ends[0] ^ <uint64_t>length) * <uint64_t>0x9E3779B97F4A7C15 ^ ends[1]
    return mixed * <uint64_t>0x9E3779B97F4A7C15 >> 32 & REMEMBERED_TEXTS - 1


cdef int remember(RememberedText *remembered, PyObject *text, Py_ssize_t length, ztfast_value *passed) noexcept:
    # Keep the text alive, so that no other object gets its address. The text that it replaces is a str, so freeing it
    # runs no Python code.
    Py_INCREF(<object>text)
    if remembered.text != NULL:
        Py_DECREF(<object>remembered.text)
    remembered.text, remembered.length, remembered.passed = text, length, passed[0]
    return 0


# The last number that is a value's own, and the bit in that of a set whose only text is one of the bundle's: the core
# takes numbers below four times this bit.
cdef uint64_t MOST_OWN = (<uint64_t>1 << 57) - 1
cdef int64_t KNOWN_ALONE = <int64_t>1 << 57


cdef inline bint own_number(Gate gate, int64_t *number) noexcept:
    """Give a value a number that no other value of this gate has; return whether there is one left."""
    if gate._last_own == MOST_OWN:
        return False
    gate._last_own += 1
    number[0] = <int64_t>gate._last_own
    return True


cdef int remember_set(
    Gate gate, int kind, PyObject *value, const ztfast_value *values, ztfast_value *passed, Py_ssize_t taken
) noexcept:
    """Remember a frozenset or a tuple, which cannot change, of texts or entities, and how it is passed."""
    cdef RememberedSet *remembered = &gate._sets[remembered_place(value, REMEMBERED_SETS)]
    cdef Py_ssize_t at, count = passed.length
    if count > MOST_REMEMBERED or not ztfast_is_frozen(value):
        return 0
    # Another set of this call may be passed as it is remembered.
    while values != passed:
        if values.kind & ZTFAST_SET and values.data == remembered.elements:
            return 0
        values += 1
    if not forget_set(remembered):
        return 0
    # Entities have numbers by which the core knows a set of few of them.
    if kind == ZTFAST_STRING:
        if not alone(<ztfast_value *>passed.data, count, &passed.number) and not own_number(gate, &passed.number):
            return 0
        passed.kind |= ZTFAST_REMEMBERED
    for at in range(count):
        remembered.elements[at] = (<ztfast_value *>passed.data)[at]
    Py_INCREF(<object>value)
    remembered.set, remembered.kept, remembered.kind, remembered.taken = value, value, kind, taken
    remembered.passed = passed[0]
    remembered.passed.data = remembered.elements
    return 0


cdef inline bint alone(const ztfast_value *elements, Py_ssize_t count, int64_t *number) noexcept:
    """Give a set of one remembered text the number of that text, as equal sets have it; return whether it is one."""
    if count != 1 or not elements.kind & ZTFAST_REMEMBERED:
        return False
    number[0] = elements.number | (KNOWN_ALONE if elements.kind == ZTFAST_REMEMBERED else 0)
    return True


cdef bint forget_set(RememberedSet *remembered) noexcept:
    """Forget a set; return whether its place is free. A set is kept if freeing it might run Python code."""
    remembered.set = NULL
    if remembered.kept != NULL and ztfast_is_freed_quietly(remembered.kept, remembered.kind == ZTFAST_STRING):
        Py_DECREF(<object>remembered.kept)
        remembered.kept = NULL
    return remembered.kept == NULL


cdef inline Py_ssize_t begin_set(
    PyObject *value, ztfast_elements *elements, ztfast_value *passed, Py_ssize_t room, const ztfast_value *end
) noexcept:
    """Find the elements of a set, and return what they leave of the room; NO_ROOM to leave the set to a context.

    The elements are to be written to `passed.data`, where there is room until `end`.
    """
    if not ztfast_find_elements(value, elements) or elements.count > end - <const ztfast_value *>passed.data:
        return NO_ROOM
    passed.length = <uint32_t>elements.count
    return room - elements.count * EACH_ELEMENT


cdef inline RememberedSet *remembered_set(Gate gate, int kind, PyObject *value) noexcept:
    """Return a set of texts or entities that is remembered; NULL if it is not."""
    cdef RememberedSet *remembered = &gate._sets[remembered_place(value, REMEMBERED_SETS)]
    # An argument of another kind reads the same object as something else.
    return remembered if remembered.set == value and remembered.kind == kind else NULL


cdef inline Py_ssize_t pass_texts(
    Gate gate, PyObject *value, const ztfast_value *values, ztfast_value *passed, Py_ssize_t room,
    const ztfast_value *end
) noexcept:
    """Pass a set of texts, and return what is left of the room; NO_ROOM to leave it to a context.

    It is one of the values of the call. The elements are written to `passed.data`, where there is room until `end`, or
    lie with the gate, which remembers them.
    """
    cdef RememberedSet *remembered = remembered_set(gate, ZTFAST_STRING, value)
    if remembered == NULL:
        return pass_new_texts(gate, value, values, passed, room, end)
    passed[0] = remembered.passed
    return room - remembered.taken


cdef inline Py_ssize_t pass_entities(
    Gate gate, PyObject *value, const ztfast_value *values, ztfast_value *passed, Py_ssize_t room,
    const ztfast_value *end
) noexcept:
    """Pass a set of entities, as :func:`pass_texts` does."""
    cdef RememberedSet *remembered = remembered_set(gate, ZTFAST_ENTITY, value)
    if remembered == NULL:
        return pass_new_entities(gate, value, values, passed, room, end)
    passed[0] = remembered.passed
    return room - remembered.taken


cdef Py_ssize_t pass_new_texts(
    Gate gate, PyObject *value, const ztfast_value *values, ztfast_value *passed, Py_ssize_t room,
    const ztfast_value *end
) noexcept:
    cdef ztfast_elements elements
    cdef ztfast_value *element = <ztfast_value *>passed.data
    cdef PyObject *item
    cdef Py_ssize_t before = room
    room = begin_set(value, &elements, passed, room, end)
    if room < 0:
        return NO_ROOM
    while elements.count > 0:
        elements.count -= 1
        item = ztfast_next_element(&elements)
        if item == NULL:
            return NO_ROOM
        room = pass_text(gate, item, element, room)
        if room < 0:
            return NO_ROOM
        element += 1
    remember_set(gate, ZTFAST_STRING, value, values, passed, before - room)
    return room


cdef Py_ssize_t pass_new_entities(
    Gate gate, PyObject *value, const ztfast_value *values, ztfast_value *passed, Py_ssize_t room,
    const ztfast_value *end
) noexcept:
    cdef ztfast_elements elements
    cdef ztfast_value *element = <ztfast_value *>passed.data
    cdef PyObject *item
    cdef PyObject **seen
    cdef Py_ssize_t before = room
    room = begin_set(value, &elements, passed, room, end)
    if room < 0:
        return NO_ROOM
    while elements.count > 0:
        elements.count -= 1
        item = ztfast_next_element(&elements)
        if item == NULL or <void *>item.ob_type != HANDLE:
            return NO_ROOM
        room -= (<EntityHandle>item)._size
        element.kind, element.number = 0, <int64_t>(<EntityHandle>item).handle
        element += 1
    # Sets of entities are often new ones. Only one that is passed again is remembered, unless its memory was reused.
    seen = &gate._sets[remembered_place(value, REMEMBERED_SETS)].seen
    if seen[0] == value and room >= 0:
        remember_set(gate, ZTFAST_ENTITY, value, values, passed, before - room)
    seen[0] = value
    return room


cdef Py_ssize_t pass_numbers(
    int kind, PyObject *value, ztfast_value *passed, Py_ssize_t room, const ztfast_value *end
) noexcept:
    """Pass a set of numbers, as :func:`pass_texts` does."""
    cdef ztfast_elements elements
    cdef ztfast_value *element = <ztfast_value *>passed.data
    cdef PyObject *item
    room = begin_set(value, &elements, passed, room, end)
    if room < 0:
        return NO_ROOM
    while elements.count > 0:
        elements.count -= 1
        item = ztfast_next_element(&elements)
        if item == NULL or ztfast_in_place(kind, item, &element.number) != 0:
            return NO_ROOM
        element.kind = 0
        element += 1
    return room


cdef object allows_otherwise(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """Decide if Python code has to run, if the gate is in use, or if the arguments are wrong."""
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
        return bool(gate.by_context(arguments))
    try:
        if user._looks_up:
            looked = user.look_up(arguments, values, &brought)
        if looked == OUT_OF_RANGE or (looked == READ and found == OUT_OF_RANGE):
            user.strictly(arguments)
            api.refuse(user._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle)
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
    cdef uint32_t code = ZTFAST_UNDECIDED
    if (
        count != gate._at_once
        or <void *>arguments[0].ob_type != SESSION
        or <void *>arguments[1].ob_type != HANDLE
        or not ztfast_take_at_once(&gate._busy)
    ):
        return decide_otherwise(gate, arguments, count)
    if gate._looks_up:
        code = decide_passed(gate, arguments, &determining)
    elif ztfast_usual_numbers(gate._readers, arguments + 2, values) == 0 or numbers_at_once(gate, arguments, values):
        code = api.decide(
            gate._gate, (<Session>arguments[0]).id, (<EntityHandle>arguments[1]).handle, values, gate._count,
            &determining,
        )
        gate.keep_up()
    if code == <uint32_t>ZTFAST_UNDECIDED:
        ztfast_give_at_once(&gate._busy)
        return decide_otherwise(gate, arguments, count)
    if code < <uint32_t>ZTFAST_ALLOW or code > <uint32_t>ZTFAST_FORBID:
        determining.count = 0
    remembered = gate.remembered(code, &determining)
    if remembered is not None:
        ztfast_give_at_once(&gate._busy)
        return remembered
    # Making the object may run Python code.
    ztfast_keep(&gate._busy)
    return made_decision(gate, gate, arguments, code, &determining)


cdef Decision made_decision(
    Gate gate, Gate user, PyObject *const *arguments, uint32_t code, ztfast_determining *determining
):
    """Return the object of a decision that a gate's user has made, and give the user back."""
    cdef bint all_known = determining.count <= MAX_DETERMINING
    try:
        # The names of the policies come from the bundle that the decision used.
        user.keep_up()
        if not all_known:
            determining.count = MAX_DETERMINING
        made = user.decision(code, determining)
    finally:
        ztfast_give(&user._busy)
    return made if all_known else gate.named(arguments, made)


cdef Decision decide_otherwise(Gate gate, PyObject *const *arguments, Py_ssize_t count):
    """Decide if Python code has to run, or if the gate is in use."""
    cdef int64_t values[MAX_ARGUMENTS]
    cdef ztfast_determining determining
    cdef uint32_t code
    cdef int found, looked = READ
    cdef bint decided = False
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
        return gate.by_context(arguments)
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
            if code < <uint32_t>ZTFAST_ALLOW or code > <uint32_t>ZTFAST_FORBID:
                determining.count = 0
            decided = True
    finally:
        if not decided:
            ztfast_give(&user._busy)
    if decided:
        return made_decision(gate, user, arguments, code, &determining)
    # The call has more texts than a gate has room for.
    return gate.by_context(arguments)


call_otherwise = <Call><void *>allows_otherwise


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
