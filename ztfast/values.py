"""One value as Python has it, as what Cedar's type makes of it; and times of numpy as milliseconds.

The core asks :func:`convert` for whatever is not plainly an int, a bool, a str or a dict, so that an attribute is read
alike by every way of deciding. ``docs/conversions.md`` is the table of what is taken.
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
    """The type of :data:`ztfast.ABSENT`: an optional attribute that a request does not have."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ztfast.ABSENT"


ABSENT: Final[Literal[Absent.ABSENT]] = Absent.ABSENT
"""Given for an optional attribute that a request does not have: ``context has ...`` is false of it then."""


class OutOfRange(Exception):
    """A value is of the right type, and says nothing that the type can hold."""


# Milliseconds of numpy's units, and numpy's units in a millisecond.
_MILLISECONDS = {"W": 604_800_000, "D": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PER_MILLISECOND = {"us": 10**3, "ns": 10**6, "ps": 10**9, "fs": 10**12, "as": 10**15}
_DAY = 86_400_000
_MOST = 2**63 - 1
# The day number of 1970-01-01, as datetime counts.
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def convert(kind: str, value: Any) -> Any:
    """What a value means for an attribute of a type.

    Args:
        kind: ``"Bool"``, ``"Long"``, ``"String"``, ``"decimal"``, ``"datetime"``, ``"duration"`` or ``"ipaddr"``.
        value: The value, or an array without dimensions that holds it.

    Returns:
        A bool; the number (a decimal's ten-thousandths, a time's milliseconds), which may have more than 64 bits; a str
        or a dict that Cedar is to read; or ``NotImplemented`` for a value of another type.

    Raises:
        OutOfRange: where no value of the type is what it says.
    """
    if isinstance(value, np.ndarray):
        if value.ndim:
            return NotImplemented
        value = value[()]
    # pandas' NaT is a datetime by its class, and no time.
    if type(value).__name__ == "NaTType" and kind in ("datetime", "duration"):
        raise OutOfRange("it is no time")
    return _CONVERTERS[kind](value)


def _bool(value: Any) -> Any:
    return bool(value) if isinstance(value, (bool, np.bool_)) else NotImplemented


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else NotImplemented


def _long(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        # What stands for a number that a market did not give. Any other float is a mistake of the program's.
        if not math.isfinite(value):
            raise OutOfRange("it is no number")
        return NotImplemented
    if isinstance(value, (bool, np.bool_, np.ndarray)) or not hasattr(type(value), "__index__"):
        return NotImplemented
    # numpy's durations have the method, and refuse.
    if isinstance(value, np.timedelta64):
        return NotImplemented
    number = operator.index(value)
    # What a subclass of int is, whatever it says of itself.
    return number if type(number) is int else int.__pos__(number)


def _decimal(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    if not isinstance(value, Decimal):
        number = _long(value)
        return number if number is NotImplemented else number * 10_000
    sign, digits, exponent = Decimal.as_tuple(value)
    if not isinstance(exponent, int):
        raise OutOfRange("it is no number")
    if exponent < -4:
        raise OutOfRange(f"it has {-exponent} digits after the point, and a decimal has up to four: quantize it")
    if digits == (0,):
        return 0
    if len(digits) + exponent > 20:
        raise OutOfRange("a decimal is up to 922337203685477.5807")
    number = int("".join(map(str, digits))) * 10 ** (exponent + 4)
    return -number if sign else number


def _datetime(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    if isinstance(value, datetime.datetime):
        offset = datetime.datetime.utcoffset(value)
        if offset is None:
            return NotImplemented
        days = datetime.date.toordinal(value) - _EPOCH
        seconds = ((days * 24 + value.hour) * 60 + value.minute) * 60 + value.second
        return (seconds * 1_000_000 + value.microsecond - offset // datetime.timedelta(microseconds=1)) // 1_000
    return _numpy_time(np.datetime64, value)


def _duration(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    if isinstance(value, datetime.timedelta):
        return (value.days * 86_400 + value.seconds) * 1_000 + value.microseconds // 1_000
    return _numpy_time(np.timedelta64, value)


def _numpy_time(cls: type, value: Any) -> Any:
    if not isinstance(value, cls):
        return _long(value)
    read = milliseconds(np.asarray(value).reshape(1))
    if read is None:
        return NotImplemented
    numbers, bad = read
    if bad[0]:
        raise OutOfRange("it is no time that 64 bits of milliseconds hold")
    return int(numbers[0])


def _address(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    if not isinstance(
        value, (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)
    ):
        return NotImplemented
    # An address of one interface's own would be another one without the scope.
    scope = getattr(getattr(value, "network_address", value), "scope_id", None)
    if scope is not None:
        raise OutOfRange(f"Cedar's addresses have no scope ({scope})")
    # All groups in full: Cedar refuses the dotted form of mapped IPv4 addresses.
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
    """The milliseconds of an array of datetime64 or timedelta64, rounded down, and where they are none.

    Exact in every unit of numpy's. ``None`` for an array without a unit, and for durations in months and years, which
    have no length.
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
    # The years that milliseconds reach, and some more: beyond them the arithmetic of numpy's own would wrap.
    most = 300_000_000 * 12 // count
    bad = bad | (raw > most) | (raw < -most)
    months = np.where(bad, 0, raw) * count
    return _times(months.view("M8[M]").astype("M8[D]").view(np.int64), bad, _DAY)
