# Many decisions at once: columns are passed to a batch of the core, which returns codes.

cdef object decide_rows(Gate gate, bint by_session, who, resources, tuple given):
    """Decide all rows of these columns by one bundle, and return their codes."""
    gate.check_made()
    if len(given) != gate._count:
        raise ContextError(
            f"{gate.action}: wanted {gate._count} columns ({', '.join(gate.names) or 'none'}); got {len(given)}"
        )
    if not by_session and gate._core.adds_live:
        raise ContextError(
            f"{gate.action}: policies read what the engine knows of a session, and there is none here: "
            f"use decide_many(), or engine.evaluate() with a context that has `live`"
        )
    if gate._engine.forked:
        # In a forked child, nothing that could lock may be called.
        known = [("resources", resources), *zip(gate.names, given)]
        if who.each:
            known.append(("sessions" if by_session else "principals", who.array))
        return numpy.full(columns_of.count(gate.action, known), ZTFAST_FORKED, numpy.uint8)
    if any(kind in gate._every_kind for kind in (ZTFAST_OTHER, ZTFAST_ADDRESS, ZTFAST_SET)):
        raise ContextError(f"{gate.action}: ipaddr, set and record attributes cannot be columns: use decide()")
    cdef Batch batch = Batch(gate), part
    columns = [
        ("sessions" if by_session else "principals", who),
        ("resources", columns_of.handles("resources", resources, EntityHandle, "handle", numpy.uint64)),
    ]
    for at, column in enumerate(given):
        where = f"{gate.action}: column {gate.names[at]!r}"
        kind = columns_of.Kind(gate._every_kind[at])
        # A stale gate denies, whatever the types of the entities.
        entity = gate._core.entity_type(at)
        if entity is not None and not gate.fits():
            entity = None
        scalar, handle = functools.partial(gate._core.scalar, at), functools.partial(handle_of, gate._engine)
        reading = columns_of.Reading(scalar, handle, entity)
        read = columns_of.numbers(where, kind, column, EntityHandle, batch.text, reading)
        if read.bad is not None and gate._core.strict:
            raise ContextError(
                f"{where}: the value in row {int(read.bad.argmax())} is out of its type's range, or takes more than "
                f"max_context={gate._core.max_context} bytes"
            )
        columns.append((gate.names[at], read))
    rows = columns_of.rows(gate.action, columns)
    taken = [column for _, column in columns]
    if batch._batch == NULL:
        return refused(gate, by_session, taken, numpy.arange(rows), ZTFAST_STALE_GATE)
    codes = numpy.full(rows, ZTFAST_STALE_GATE, numpy.uint8)
    bad, absent = columns_of.masks(taken[2:], rows)
    large = columns_of.too_large(taken[2:], gate.paths, rows, gate._core.max_context)
    if large is not None:
        if gate._core.strict:
            raise ContextError(
                f"{gate.action}: row {int(large.argmax())} takes more than max_context={gate._core.max_context} bytes"
            )
        bad = large if bad is None else bad | large
    if bad is None and absent is None:
        batch.run(by_session, taken, codes)
        return strictly_in_range(gate, codes)
    patterns = numpy.zeros(rows, numpy.uint64) if absent is None else absent
    good = numpy.ones(rows, numpy.bool_) if bad is None else ~bad
    # A required attribute may not be absent from any row, also if that is bad. All parts are made before any row
    # leaves.
    absences = numpy.unique(patterns).tolist()
    parts = [batch.lacking(gate, pattern) if pattern else batch for pattern in absences]
    for pattern, part in zip(absences, parts, strict=True):
        at = numpy.flatnonzero((patterns == pattern) & good)
        if part is None or not len(at):
            continue
        kept = taken[:2] + [column for place, column in enumerate(taken[2:]) if not pattern >> place & 1]
        some = numpy.full(len(at), ZTFAST_CORRUPT, numpy.uint8)
        part.run(by_session, [columns_of.taken(column, at) for column in kept], some)
        codes[at] = some
    too_large = large if by_session and large is not None else numpy.zeros(rows, numpy.bool_)
    at = numpy.flatnonzero(~good & ~too_large)
    if len(at):
        some = numpy.full(len(at), ZTFAST_CORRUPT, numpy.uint8)
        batch.refuse(by_session, [columns_of.taken(column, at) for column in taken[:2]], some)
        if large is not None:
            some[(some == ZTFAST_BAD_VALUE) & large[at]] = ZTFAST_TOO_LARGE
        codes[at] = some
    at = numpy.flatnonzero(too_large)
    codes[at] = refused(gate, by_session, taken, at, ZTFAST_TOO_LARGE)
    return strictly_in_range(gate, codes)


cdef object strictly_in_range(Gate gate, codes):
    """Return the codes; in strict mode, raise for a value out of its range."""
    # The conversions cannot detect an entity that its enumerated type lacks.
    if gate._core.strict and (codes == ZTFAST_BAD_VALUE).any():
        row = int((codes == ZTFAST_BAD_VALUE).argmax())
        raise ContextError(f"{gate.action}: a value in row {row} is out of its type's range")
    return codes


cdef object refused(Gate gate, bint by_session, list taken, at, code):
    """Return the codes of rows that no batch decides: there is none, or they take more bytes than a context may."""
    if not by_session:
        return numpy.full(len(at), code, numpy.uint8)
    sessions, resources = (columns_of.taken(column, at) for column in taken[:2])
    rows = (
        gate._core.refuse(int(column_value(sessions, row)), int(column_value(resources, row))) for row in range(len(at))
    )
    return numpy.fromiter(rows, numpy.uint8, len(at))


cdef object column_value(column, row):
    return column.array[row if column.each else 0]

cdef class Batch:
    """A batch of the core, which is ended when this object is freed. It is NULL if the gate is stale."""

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
        """Return the number of a text for the columns of this batch; None if the text is not UTF-8."""
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
            raise CapacityError("a batch can hold at most 4 GiB of distinct texts that the bundle lacks")
        return number

    cdef Batch lacking(self, Gate gate, uint64_t absent):
        """Make a batch of the same moment without some attributes. Texts have the same numbers in it."""
        cdef Batch made = Batch.__new__(Batch)
        cdef int32_t status = api.batch_without(self._batch, absent, &made._batch)
        made._action = self._action
        if status == ZTFAST_OK:
            return made
        if status == ZTFAST_E_STALE:
            return None
        # This raises an error that names the attribute.
        gate._core.without(absent)
        raise ContextError(f"{gate.action}: {api.status_text(status).decode()}")

    cdef int run(self, bint by_session, list columns, codes) except -1:
        """Decide the rows of columns."""
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
        """Compute the codes of rows with values out of range; they depend on the session and the resource only."""
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
