"""Plain values of arguments: what an object is, whatever its class or its methods say of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

__all__ = ["elements", "flag", "integer", "is_a", "is_utf8", "octets", "text"]


def is_a(given: Any, kind: type) -> bool:
    """Return whether a value is of a type or a subclass of it; its ``__class__`` may name any."""
    return issubclass(type(given), kind)


def text(given: Any) -> str | None:
    """Return a text without a subclass, which may override by what it is compared; ``None`` for anything else."""
    return str.__str__(given) if is_a(given, str) else None


def octets(given: Any) -> bytes | None:
    """Return bytes without a subclass; ``None`` for anything else."""
    return bytes.__add__(given, b"") if is_a(given, bytes) else None


def integer(given: Any) -> int | None:
    """Return an integer, numpy's too, without a subclass; ``None`` for anything else, also for a bool.

    >>> integer(5), integer(np.uint8(5)), integer(True), integer(5.0), integer(np.timedelta64(5))
    (5, 5, None, None, None)
    """
    if is_a(given, int) and not is_a(given, bool):
        return int.__index__(given)
    if is_a(given, np.integer) and not is_a(given, np.timedelta64):
        return int(np.generic.item(given))
    return None


def flag(given: Any) -> bool | None:
    """Return a bool, numpy's too; ``None`` for anything else, whatever its truth is."""
    return bool(given) if is_a(given, bool) or is_a(given, np.bool_) else None


def elements(given: Any, most: int) -> list[Any] | None:
    """Return the elements of a collection; ``None`` if it is none, has more than that, or fails."""
    try:
        found = list(islice(iter(given), most + 1))
    except Exception:
        return None
    return found if len(found) <= most else None


def is_utf8(plain: str) -> bool:
    """Return whether a text is one of UTF-8: it has no half of a surrogate pair."""
    try:
        plain.encode()
    except UnicodeEncodeError:
        return False
    return True
