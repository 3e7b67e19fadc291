"""Columns of a batch: what users have (numpy arrays, sequences, categoricals) as the arrays that the core reads.

An array that has the right type already is taken as it lies, without a copy: ``uint64`` ids of sessions and
handles of resources, ``int64`` numbers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ztfast.errors import ContextError

__all__ = ["Categorical", "Column", "Kind", "handles", "numbers", "rows"]

Array = NDArray[Any]


class Kind(enum.IntEnum):
    """What an attribute is, as the core numbers it (``ztfast.h``)."""

    OTHER = 0
    BOOL = 1
    LONG = 2
    STRING = 3
    ENTITY = 4
    DECIMAL = 5
    DATETIME = 6
    DURATION = 7


class Categorical(NamedTuple):
    """A column of texts as codes into a few categories: each text is looked up once, not once a row.

    ``pandas.Categorical``, and anything else with these two attributes, is taken as well.

    Attributes:
        codes: One-dimensional array of integers, one a row: indices into ``categories``.
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
        array: One-dimensional, contiguous, of the type that the core wants.
        each: Whether it has a value per row, or one for all rows.
    """

    array: Array
    each: bool


_WANTED = {
    Kind.BOOL: "bool",
    Kind.LONG: "integers of 64 bits",
    Kind.DECIMAL: "integers (ten-thousandths)",
    Kind.DATETIME: "datetime64, or integers (milliseconds)",
    Kind.DURATION: "timedelta64, or integers (milliseconds)",
}
_TIMES = {Kind.DATETIME: ("M", "datetime64[ms]"), Kind.DURATION: ("m", "timedelta64[ms]")}


def handles(name: str, given: Any, cls: type, attribute: str, dtype: type) -> Column:
    """Sessions or resources, one or many of them, or an array of their numbers.

    Raises:
        ContextError: where they are something else.
    """
    if isinstance(given, cls):
        return Column(np.array([getattr(given, attribute)], dtype), False)
    _no_mask(name, given)
    if isinstance(given, np.ndarray) and given.dtype != object:
        if given.dtype != dtype or given.ndim != 1:
            raise ContextError(
                f"{name}: wanted a one-dimensional array of {np.dtype(dtype)}, got {given.dtype} {given.shape}"
            )
        return Column(np.ascontiguousarray(given), True)
    try:
        members = list(given)
    except TypeError:
        members = [given]
    for row, member in enumerate(members):
        if not isinstance(member, cls):
            raise ContextError(f"{name}: wanted {cls.__name__} objects, got {type(member).__qualname__} in row {row}")
    return Column(np.array([getattr(member, attribute) for member in members], dtype), True)


def numbers(where: str, kind: Kind, given: Any, resource: type, number_of: Callable[[str], int]) -> Column:
    """The values of an attribute as ``int64``.

    Args:
        where: What messages begin with.
        kind: The attribute's kind.
        given: One value, a sequence, an array, or for texts a :class:`Categorical`.
        resource: The class of handles.
        number_of: The number of a text in this batch.

    Raises:
        ContextError: where the values are not of this kind, or an index is out of range.
    """
    _no_mask(where, given)
    if kind is Kind.STRING:
        return _texts(where, given, number_of)
    if kind is Kind.ENTITY:
        array, each = handles(where, given, resource, "handle", np.uint64)
        return Column(array.view(np.int64), each)
    array = np.asarray(given)
    if array.ndim > 1:
        raise ContextError(f"{where}: wanted one dimension, got {array.ndim}")
    time_kind, unit = _TIMES.get(kind, ("", ""))
    if array.dtype.kind == time_kind:
        if np.isnat(array).any():
            raise ContextError(f"{where}: NaT in row {int(np.isnat(np.atleast_1d(array)).argmax())} is no time")
        array, fits = array.astype(unit).astype(np.int64), True
    elif kind is Kind.BOOL:
        fits = array.dtype == np.bool_
    else:
        fits = array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8)
    # numpy makes floats of an empty list: it has no values that could be wrong.
    if not fits and array.size:
        raise ContextError(f"{where}: wanted {_WANTED[kind]}, got {array.dtype}")
    return Column(np.ascontiguousarray(np.atleast_1d(array), np.int64), array.ndim == 1)


def _no_mask(where: str, given: Any) -> None:
    if isinstance(given, np.ma.MaskedArray):
        raise ContextError(f"{where}: a masked value cannot be decided on: leave its row out, and give a plain array")


def _texts(where: str, given: Any, number_of: Callable[[str], int]) -> Column:
    if isinstance(given, str):
        return Column(np.array([number_of(given)], np.int64), False)
    if hasattr(given, "codes") and hasattr(given, "categories"):
        return _categorical(where, np.asarray(given.codes), given.categories, number_of)
    if not isinstance(given, Iterable):
        raise ContextError(f"{where}: wanted str, got {type(given).__qualname__}")
    known: dict[str, int] = {}
    values = list(given)
    array = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise ContextError(f"{where}: wanted str, got {type(value).__qualname__} in row {row}")
        number = known.get(value)
        if number is None:
            number = known[value] = number_of(value)
        array[row] = number
    return Column(array, True)


def _categorical(where: str, codes: Array, categories: Iterable[Any], number_of: Callable[[str], int]) -> Column:
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ContextError(f"{where}: wanted a one-dimensional array of integer codes, got {codes.dtype} {codes.shape}")
    texts = list(categories)
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise ContextError(f"{where}: wanted str categories, got {type(text).__qualname__} as category {at}")
    wrong = (codes < 0) | (codes >= len(texts))
    if wrong.any():
        row = int(wrong.argmax())
        raise ContextError(
            f"{where}: code {codes[row]} in row {row} is none of the {len(texts)} categories "
            "(a missing value cannot be decided on: leave the row out)"
        )
    return Column(np.array([number_of(text) for text in texts], np.int64)[codes], True)


def rows(where: str, columns: Sequence[tuple[str, Column]]) -> int:
    """How many rows the columns have together: 1, if each has one value for all.

    Raises:
        ContextError: where they differ.
    """
    lengths = {len(column.array) for _, column in columns if column.each}
    if len(lengths) > 1:
        named = ", ".join(f"{name} {len(column.array)}" for name, column in columns if column.each)
        raise ContextError(f"{where}: columns of different lengths: {named}")
    return lengths.pop() if lengths else 1
