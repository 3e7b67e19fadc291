"""Columns of a batch: numpy arrays, sequences and categoricals, converted to the arrays that the core reads.

An array that has the right type already is used without a copy: ``uint64`` session ids and handles, ``int64`` numbers.
Other arrays are converted by their ``dtype``. In sequences and arrays of objects, each value is converted as a gate
converts it, so a row is decided as it would be alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ztfast import plain
from ztfast.errors import ContextError
from ztfast.uid import Uid
from ztfast.values import ABSENT, milliseconds

__all__ = ["Categorical", "Column", "Kind", "Reading", "handles", "masks", "numbers", "rows", "taken", "too_large"]

Array = NDArray[Any]


class Kind(enum.IntEnum):
    """The kind of an attribute, with the core's numbers (``ztfast.h``)."""

    OTHER = 0
    BOOL = 1
    LONG = 2
    STRING = 3
    ENTITY = 4
    DECIMAL = 5
    DATETIME = 6
    DURATION = 7
    ADDRESS = 8
    SET = 9


class Categorical(NamedTuple):
    """A column of texts as codes into a few categories: each text is looked up once, instead of once for each row.

    ``pandas.Categorical``, and any other object with these two attributes, is accepted too.

    Attributes:
        codes: A one-dimensional array of integers, one for each row: indices into ``categories``.
        categories: The texts.

    >>> import numpy as np
    >>> Categorical(np.array([0, 1, 0], np.int8), ["XNAS", "XNYS"]).categories
    ['XNAS', 'XNYS']
    """

    codes: Array
    categories: Sequence[str]


class Column(NamedTuple):
    """A column that the core can read.

    Attributes:
        array: The values, one-dimensional, contiguous, of the type that the core reads.
        each: Whether there is a value for each row, or one for all rows.
        bad: The rows whose value is out of range; ``None`` if there are none.
        absent: The rows without a value; ``None`` if there are none.
        sizes: The sizes of the rows' texts in bytes; ``None`` if there are no texts.
    """

    array: Array
    each: bool
    bad: NDArray[np.bool_] | None = None
    absent: NDArray[np.bool_] | None = None
    sizes: NDArray[np.int64] | None = None


class Reading(NamedTuple):
    """The functions that convert single values of an attribute.

    Attributes:
        value: Converts a value to its number or text; ``None`` if it is out of range. Raises ContextError.
        handle: Converts a uid to the number of its handle. Raises UidError.
        entity: The type of the attribute's entities; ``None`` for other attributes.
    """

    value: Callable[[Any], Any]
    handle: Callable[[Any], int]
    entity: str | None = None


_WANTED = {
    Kind.BOOL: "bool",
    Kind.LONG: "integers of 64 bits",
    Kind.STRING: "str",
    Kind.DECIMAL: "decimals, or integers (whole units)",
    Kind.DATETIME: "datetime64, aware datetimes, or integers (milliseconds)",
    Kind.DURATION: "timedelta64 with a unit that has a length, timedeltas, or integers (milliseconds)",
}
_TIMES = {Kind.DATETIME: "M", Kind.DURATION: "m"}
_DTYPES: dict[Kind, tuple[type, Any]] = {Kind.LONG: (int, np.int64), Kind.BOOL: (bool, np.bool_)}
# Stands in place of a text's number for a text that is longer than the engine accepts.
TOO_LARGE = -1
# Each attribute counts for so many bytes of a context, besides its texts.
_EACH = 16
# The largest number of whole units in a decimal.
_MOST_UNITS = (2**63 - 1) // 10_000


def handles(name: str, given: Any, cls: type, attribute: str, dtype: type) -> Column:
    """Convert sessions or resources: one of them, a sequence of them, or an array of their numbers.

    Raises:
        ContextError: if they are something else.
    """
    if plain.is_a(given, cls):
        return Column(np.array([getattr(given, attribute)], dtype), False)
    _no_mask(name, given)
    if isinstance(given, (str, bytes, Mapping)):
        raise ContextError(f"{name}: wanted {cls.__name__} objects; got {type(given).__qualname__}")
    if not isinstance(given, np.ndarray):
        given = _listed(name, given)
    if isinstance(given, np.ndarray) and given.dtype != object:
        if given.dtype != dtype or given.ndim != 1:
            raise ContextError(
                f"{name}: wanted a one-dimensional array of {np.dtype(dtype)}; got {given.dtype} {given.shape}"
            )
        return Column(np.ascontiguousarray(given), True)
    members = list(given) if isinstance(given, list) or given.ndim else [given]
    for row, member in enumerate(members):
        if not plain.is_a(member, cls):
            raise ContextError(f"{name}: wanted {cls.__name__} objects; got {type(member).__qualname__} in row {row}")
    return Column(np.array([getattr(member, attribute) for member in members], dtype), True)


def numbers(
    where: str,
    kind: Kind,
    given: Any,
    resource: type,
    number_of: Callable[[str], int | None],
    reading: Reading | None = None,
) -> Column:
    """Convert the values of an attribute to ``int64``.

    Args:
        where: The beginning of messages.
        kind: The attribute's kind.
        given: One value, a sequence, an array, or for texts a :class:`Categorical`. Masked elements are absent.
        resource: The class of handles.
        number_of: Returns the number of a text in this batch; ``None`` if the text is not UTF-8, -1 if it is too long.
        reading: The functions that convert single values.

    Raises:
        ContextError: if a value is not of this kind.
    """
    if isinstance(given, np.ma.MaskedArray) and given.ndim:
        return _masked(where, kind, given, resource, number_of, reading)
    if kind is Kind.STRING and _is_categorical(where, given):
        return _categorical(where, np.asarray(given.codes), given.categories, number_of)
    if _is_one(given, resource):
        return _each(where, kind, [given], resource, number_of, reading)._replace(each=False)
    if not isinstance(given, np.ndarray):
        given = _listed(where, given)
    if isinstance(given, np.ndarray):
        if given.ndim > 1:
            raise ContextError(f"{where}: wanted one dimension; got {given.ndim}")
        if given.dtype != object and not (kind is Kind.STRING and given.dtype.kind in "UT"):
            if kind is Kind.ENTITY:
                column = handles(where, given, resource, "handle", np.uint64)
                return Column(column.array.view(np.int64), True)
            return _array(where, kind, given)
        given = given.tolist()
    return _each(where, kind, given, resource, number_of, reading)


def _listed(where: str, given: Any) -> Any:
    """Convert an object of pandas, pyarrow and similar libraries to an array, and other sequences to a list."""
    # An iterator may never end.
    if not hasattr(type(given), "__array__") and not hasattr(type(given), "__len__"):
        raise ContextError(f"{where}: wanted a sequence, an array or one value; got {type(given).__qualname__}")
    try:
        return np.asarray(given) if hasattr(type(given), "__array__") else list(given)
    except Exception as error:
        raise ContextError(f"{where}: wanted values; got {type(given).__qualname__}, which fails: {error!r}") from error


def _is_categorical(where: str, given: Any) -> bool:
    try:
        return hasattr(given, "codes") and hasattr(given, "categories")
    except Exception as error:
        raise ContextError(f"{where}: wanted str; got {type(given).__qualname__}, which fails: {error!r}") from error


def _is_one(given: Any, resource: type) -> bool:
    """Return whether ``given`` is one value for all rows."""
    if isinstance(given, np.ndarray):
        return given.ndim == 0
    if isinstance(given, (str, bytes, Mapping, Uid, resource, np.generic)):
        return True
    return not isinstance(given, Iterable) and not hasattr(type(given), "__array__")


def _masked(
    where: str,
    kind: Kind,
    given: Any,
    resource: type,
    number_of: Callable[[str], int | None],
    reading: Reading | None,
) -> Column:
    mask = np.ma.getmaskarray(given)
    if mask.ndim > 1:
        raise ContextError(f"{where}: wanted one dimension; got {mask.ndim}")
    plain = np.asarray(given.data)
    # Masked elements have no meaning and must not be checked.
    if plain.dtype == object or plain.dtype.kind in "UT":
        values = [ABSENT if gone else value for value, gone in zip(plain.tolist(), mask, strict=True)]
        return _each(where, kind, values, resource, number_of, reading)
    plain = np.where(mask, np.zeros((), plain.dtype), plain)
    column = numbers(where, kind, plain, resource, number_of, reading)
    bad = None if column.bad is None else column.bad & ~mask
    return column._replace(bad=bad, absent=mask if mask.any() else None)


def _array(where: str, kind: Kind, array: Array) -> Column:
    """Convert an array with a numpy ``dtype`` other than object."""
    bad: NDArray[np.bool_] | None = None
    if array.dtype.kind == _TIMES.get(kind):
        times = milliseconds(array)
        if times is None:
            raise ContextError(f"{where}: wanted {_WANTED[kind]}; got {array.dtype}")
        array, bad = times
    elif kind is Kind.BOOL:
        if array.dtype != np.bool_:
            raise ContextError(f"{where}: wanted {_WANTED[kind]}; got {array.dtype}")
    elif array.dtype.kind not in "iu" or kind is Kind.STRING:
        raise ContextError(f"{where}: wanted {_WANTED[kind]}; got {array.dtype}")
    elif kind is Kind.DECIMAL:
        bad = array > _MOST_UNITS
        if array.dtype.kind == "i":
            bad |= array < -_MOST_UNITS
        array = np.where(bad, 0, array).astype(np.int64) * 10_000
    elif array.dtype.kind == "u":
        bad = array > np.uint64(2**63 - 1)
        array = np.where(bad, 0, array)
    return Column(np.ascontiguousarray(array, np.int64), True, bad if bad is not None and bad.any() else None)


def _each(
    where: str,
    kind: Kind,
    values: list[Any],
    resource: type,
    number_of: Callable[[str], int | None],
    reading: Reading | None,
) -> Column:
    """Convert single values, each as a gate converts it."""
    plain, dtype = _DTYPES.get(kind, (None, None))
    if plain is not None and set(map(type, values)) <= {plain}:
        try:
            return Column(np.array(values, dtype).astype(np.int64), True)
        except OverflowError:
            pass
    array = np.zeros(len(values), np.int64)
    bad, absent = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    sizes = np.zeros(len(values), np.int64)
    known: dict[str, tuple[int | None, int]] = {}
    for row, value in enumerate(values):
        if value is ABSENT or value is np.ma.masked:
            absent[row] = True
            continue
        number, sizes[row] = _one(where, kind, row, value, resource, number_of, reading, known)
        bad[row] = number is None or (kind is Kind.STRING and number == TOO_LARGE)
        array[row] = number or 0
    marked = (bad if bad.any() else None, absent if absent.any() else None, sizes if sizes.any() else None)
    return Column(array, True, *marked)


def _one(
    where: str,
    kind: Kind,
    row: int,
    value: Any,
    resource: type,
    number_of: Callable[[str], int | None],
    reading: Reading | None,
    known: dict[str, tuple[int | None, int]],
) -> tuple[int | None, int]:
    if kind is Kind.ENTITY:
        return _handle(where, row, value, resource, reading)
    if isinstance(value, str) and kind is Kind.STRING:
        # A plain str, because subclasses may override comparison.
        text = value if type(value) is str else str.__str__(value)
    else:
        if reading is None or isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
            given = f"{type(value).__qualname__} in row {row}"
            raise ContextError(f"{where}: wanted one dimension of {_WANTED[kind]}; got {given}")
        try:
            read = reading.value(value)
        except ContextError as error:
            raise ContextError(f"{where}: wanted {_WANTED[kind]}; in row {row}: {error}") from error.__cause__
        if kind is not Kind.STRING or read is None:
            return (None if read is None else int(read)), _said(value)
        text = str(read)
    if text not in known:
        known[text] = number_of(text), _bytes(text)
    return known[text]


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _said(value: Any) -> int:
    """Return the size of the texts in a value that Cedar reads."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_said(key) + _said(inner) for key, inner in value.items())
    return sum(map(_said, value)) if isinstance(value, list) else 0


def _handle(where: str, row: int, value: Any, resource: type, reading: Reading | None) -> tuple[int, int]:
    wanted = reading.entity if reading is not None else None
    try:
        uid = Uid.of(getattr(value, "uid", None) if isinstance(value, resource) else value)
    except ValueError as error:
        got = f"{type(value).__qualname__} in row {row}"
        raise ContextError(f"{where}: wanted entities ({resource.__name__} objects, or uids); got {got}") from error
    if wanted is not None and uid.type != wanted:
        raise ContextError(f"{where}: wanted entities of type {wanted}; got {uid} in row {row}")
    size = _bytes(uid.type) + _bytes(uid.id)
    if isinstance(value, resource):
        return int(getattr(value, "handle")), size  # noqa: B009 (the class is given)
    assert reading is not None
    return reading.handle(uid), size


def _no_mask(where: str, given: Any) -> None:
    if isinstance(given, np.ma.MaskedArray):
        raise ContextError(f"{where}: wanted an array without masked values: leave their rows out")


def _categorical(where: str, codes: Array, categories: Iterable[Any], number_of: Callable[[str], int | None]) -> Column:
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ContextError(f"{where}: wanted a one-dimensional array of integer codes; got {codes.dtype} {codes.shape}")
    texts = list(categories)
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise ContextError(f"{where}: wanted str categories; got {type(text).__qualname__} as category {at}")
    wrong = (codes < 0) | (codes >= len(texts))
    if wrong.any():
        row = int(wrong.argmax())
        raise ContextError(
            f"{where}: code {codes[row]} in row {row} is not an index into the {len(texts)} categories "
            "(if the value is missing, leave the row out)"
        )
    found = [number_of(str.__str__(text)) for text in texts]
    array = np.array([number or 0 for number in found], np.int64)[codes] if texts else np.zeros(0, np.int64)
    bad = np.array([number in (None, TOO_LARGE) for number in found], np.bool_)
    sizes = np.array([_bytes(str.__str__(text)) for text in texts], np.int64)
    return Column(array, True, bad[codes] if bad.any() else None, None, sizes[codes] if sizes.any() else None)


def count(where: str, given: Iterable[tuple[str, Any]]) -> int:
    """Return the number of rows of columns that are not converted; 1 if each has one value for all rows.

    Raises:
        ContextError: if their lengths differ.
    """
    lengths = {}
    for name, column in given:
        column = getattr(column, "codes", column)
        is_one = isinstance(column, (str, bytes, Mapping)) or hasattr(column, "type") or getattr(column, "ndim", 1) == 0
        if not is_one and hasattr(column, "__len__"):
            lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        named = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ContextError(f"{where}: columns of different lengths: {named}")
    return next(iter(lengths.values()), 1)


def rows(where: str, columns: Sequence[tuple[str, Column]]) -> int:
    """Return the number of rows of the columns; 1 if each has one value for all rows.

    Raises:
        ContextError: if their lengths differ.
    """
    lengths = {len(column.array) for _, column in columns if column.each}
    if len(lengths) > 1:
        named = ", ".join(f"{name} {len(column.array)}" for name, column in columns if column.each)
        raise ContextError(f"{where}: columns of different lengths: {named}")
    return lengths.pop() if lengths else 1


def masks(columns: Sequence[Column], count: int) -> tuple[NDArray[np.bool_] | None, NDArray[np.uint64] | None]:
    """Return the rows with a value out of range, and for each row the columns that it lacks, as bits.

    Either is ``None`` if there are no such rows.
    """
    bad: NDArray[np.bool_] | None = None
    absent: NDArray[np.uint64] | None = None
    for place, column in enumerate(columns):
        if column.bad is not None:
            bad = column.bad | (np.zeros(count, np.bool_) if bad is None else bad)
        if column.absent is not None:
            if place >= 64:
                raise ContextError(
                    f"column {place + 1}: only the first 64 columns may have absent values: "
                    "decide these rows one by one"
                )
            bit = np.where(column.absent, np.uint64(1 << place), np.uint64(0))
            absent = bit | (np.zeros(count, np.uint64) if absent is None else absent)
    return bad, absent


def too_large(
    columns: Sequence[Column], paths: Sequence[Sequence[str]], count: int, most: int
) -> NDArray[np.bool_] | None:
    """Return the rows whose contexts are too large; ``None`` if there are none.

    Args:
        columns: The columns of the attributes.
        paths: The paths of the attributes in the context.
        count: The number of rows.
        most: The size in bytes that a context may have.
    """
    records: dict[tuple[str, ...], NDArray[np.bool_] | bool] = {}
    for path in paths:
        for end in range(1, len(path)):
            records[tuple(path[:end])] = False
    counted = _EACH * (len(columns) + len(records))
    if counted + sum(int(column.sizes.max(initial=0)) for column in columns if column.sizes is not None) <= most:
        return None
    taken = np.zeros(count, np.int64)
    for column, path in zip(columns, paths, strict=True):
        there = True if column.absent is None else ~column.absent
        taken += there * (_EACH + (0 if column.sizes is None else column.sizes))
        for end in range(1, len(path)):
            records[tuple(path[:end])] |= there
    for there in records.values():
        taken += _EACH * np.asarray(there, np.int64)
    large = taken > most
    return large if large.any() else None


def taken(column: Column, at: NDArray[np.intp]) -> Column:
    """Return some rows of a column."""
    return Column(np.ascontiguousarray(column.array[at]), True) if column.each else Column(column.array, False)
