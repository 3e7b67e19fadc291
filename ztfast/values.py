"""Conversion of Python values for Cedar's types, and of numpy's times to milliseconds.

The core calls :func:`convert` for every value that is not exactly an int, a bool, a str or a dict, so all ways of
deciding convert a value in the same way. ``docs/conversions.md`` lists the conversions.
"""

from __future__ import annotations

import datetime
import enum
import ipaddress
import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABSENT", "Absent", "OutOfRange", "convert", "milliseconds"]


class Absent(enum.Enum):
    """The type of :data:`ztfast.ABSENT`, which stands for an optional attribute that a request does not have.

    In a policy, ``context has ...`` is then false. ``None`` does not mean this, and is refused.
    """

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ztfast.ABSENT"


ABSENT: Final[Literal[Absent.ABSENT]] = Absent.ABSENT
"""The value of an optional attribute that a request does not have: ``context has ...`` is then false."""


class OutOfRange(Exception):
    """A value has the right type, but the type cannot hold it."""


# The milliseconds in each of numpy's larger units, and the number of smaller units in a millisecond.
_MILLISECONDS = {"W": 604_800_000, "D": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PER_MILLISECOND = {"us": 10**3, "ns": 10**6, "ps": 10**9, "fs": 10**12, "as": 10**15}
_DAY = 86_400_000
_MOST = 2**63 - 1
# The day number of 1970-01-01, as datetime counts.
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def convert(kind: str, value: Any) -> Any:
    """Convert a value for an attribute of a type.

    Args:
        kind: ``"Bool"``, ``"Long"``, ``"String"``, ``"decimal"``, ``"datetime"``, ``"duration"`` or ``"ipaddr"``.
        value: The value, or an array without dimensions that holds it.

    Returns:
        A bool; a number (a decimal's ten-thousandths, a time's milliseconds), which may exceed 64 bits; a str or a dict
        for Cedar to read; or ``NotImplemented`` for a value of another type.

    Raises:
        OutOfRange: if the type cannot hold the value.
    """
    if _is(value, np.ndarray):
        if value.ndim:
            return NotImplemented
        value = value[()]
    # pandas' NaT is a subclass of datetime, but not a time.
    if type(value).__name__ == "NaTType" and kind in ("datetime", "duration"):
        raise OutOfRange("it is not a time")
    return _CONVERTERS[kind](value)


def _is(value: object, classes: type | tuple[type, ...]) -> bool:
    """Return whether a value is of one of these classes. Its type is asked, because its ``__class__`` may lie."""
    return issubclass(type(value), classes)


def _bool(value: Any) -> Any:
    return bool(value) if _is(value, (bool, np.bool_)) else NotImplemented


def _text(value: Any) -> Any:
    return value if _is(value, str) else NotImplemented


def _long(value: Any) -> Any:
    if _is(value, (float, np.floating)):
        # NaN and infinity stand for a missing number from the market. Any other float is a mistake in the program.
        if not math.isfinite(value):
            raise OutOfRange("it is not a number")
        return NotImplemented
    if _is(value, (bool, np.bool_, np.ndarray)) or not hasattr(type(value), "__index__"):
        return NotImplemented
    # numpy's durations have the method, but it raises.
    if _is(value, np.timedelta64):
        return NotImplemented
    number = operator.index(value)
    # The plain int of a subclass, whose own methods may lie.
    return number if type(number) is int else int.__pos__(number)


def _decimal(value: Any) -> Any:
    if _is(value, (str, dict)):
        return value
    if not _is(value, Decimal):
        number = _long(value)
        return number if number is NotImplemented else number * 10_000
    sign, digits, exponent = Decimal.as_tuple(value)
    if not isinstance(exponent, int):
        raise OutOfRange("it is not a number")
    if exponent < -4:
        raise OutOfRange(f"it has {-exponent} digits after the point, but a decimal has at most four: quantize it")
    if digits == (0,):
        return 0
    if len(digits) + exponent > 20:
        raise OutOfRange("the largest decimal is 922337203685477.5807")
    number = int("".join(map(str, digits))) * 10 ** (exponent + 4)
    return -number if sign else number


def _datetime(value: Any) -> Any:
    if _is(value, (str, dict)):
        return value
    if _is(value, datetime.datetime):
        offset = datetime.datetime.utcoffset(value)
        if offset is None:
            return NotImplemented
        days = datetime.date.toordinal(value) - _EPOCH
        seconds = ((days * 24 + value.hour) * 60 + value.minute) * 60 + value.second
        return (seconds * 1_000_000 + value.microsecond - offset // datetime.timedelta(microseconds=1)) // 1_000
    return _numpy_time(np.datetime64, value)


def _duration(value: Any) -> Any:
    if _is(value, (str, dict)):
        return value
    if _is(value, datetime.timedelta):
        return (value.days * 86_400 + value.seconds) * 1_000 + value.microseconds // 1_000
    return _numpy_time(np.timedelta64, value)


def _numpy_time(cls: type, value: Any) -> Any:
    if not _is(value, cls):
        return _long(value)
    read = milliseconds(np.asarray(value).reshape(1))
    if read is None:
        return NotImplemented
    numbers, bad = read
    if bad[0]:
        raise OutOfRange("64 bits of milliseconds cannot hold it")
    return int(numbers[0])


def _address(value: Any) -> Any:
    if _is(value, (str, dict)):
        return value
    if not _is(value, (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return NotImplemented
    # Without its scope, a link-local address would mean another address.
    scope = getattr(getattr(value, "network_address", value), "scope_id", None)
    if scope is not None:
        raise OutOfRange(f"a Cedar address cannot have a scope ({scope})")
    # The exploded form, because Cedar refuses the dotted form of mapped IPv4 addresses.
    return value.exploded


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "Bool": _bool,
    "Long": _long,
    "String": _text,
    "decimal": _decimal,
    "datetime": _datetime,
    "duration": _duration,
    "ipaddr": _address,
}


def milliseconds(array: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """Convert an array of datetime64 or timedelta64 to milliseconds, rounded down, and mark the values out of range.

    The result is exact for every unit of numpy's. It is ``None`` for an array without a unit, and for durations in
    months and years, which have no fixed length.
    """
    unit, count = np.datetime_data(array.dtype)
    bad = np.isnat(array)
    raw = array.astype(array.dtype.newbyteorder("=")).view(np.int64)
    raw[bad] = 0
    if unit == "generic":
        return (raw, bad) if bad.all() else None
    if unit in ("Y", "M"):
        return _of_months(raw, bad, count * (12 if unit == "Y" else 1)) if array.dtype.kind == "M" else None
    if unit in _MILLISECONDS:
        return _times(raw, bad, _MILLISECONDS[unit] * count)
    per = _PER_MILLISECOND[unit]
    if count == 1:
        return raw // per, bad
    exact = [number * count // per for number in raw.tolist()]
    bad |= np.array([not -_MOST - 1 <= number <= _MOST for number in exact], np.bool_)
    return np.array([0 if out else number for number, out in zip(exact, bad, strict=True)], np.int64), bad


def _times(raw: NDArray[np.int64], bad: NDArray[np.bool_], by: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    most = _MOST // by
    bad = bad | (raw > most) | (raw < -((_MOST + 1) // by))
    return np.where(bad, 0, raw) * np.int64(by), bad


def _of_months(
    raw: NDArray[np.int64], bad: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    # A little more than the years that 64 bits of milliseconds reach. Beyond this, numpy's own arithmetic would wrap.
    most = 300_000_000 * 12 // count
    bad = bad | (raw > most) | (raw < -most)
    months = np.where(bad, 0, raw) * count
    return _times(months.view("M8[M]").astype("M8[D]").view(np.int64), bad, _DAY)
