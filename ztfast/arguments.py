"""Checks of arguments that methods of an engine share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ztfast import plain
from ztfast.bundle import Bundle
from ztfast.errors import UidError
from ztfast.shown import given as shown
from ztfast.shown import refused
from ztfast.uid import Uid

__all__ = ["boolean", "check_bundle", "several"]


def check_bundle(what: str, bundle: object) -> None:
    """Refuse what is no bundle."""
    if not plain.is_a(bundle, Bundle):
        raise refused(what, "a ztfast.Bundle, as ztfast.Bundle.load(path) or ztfast.compile(...) gives", bundle)


def boolean(what: str, given: object) -> bool:
    """Check a flag, and return it."""
    on = plain.flag(given)
    if on is None:
        raise refused(what, "True or False", given)
    return on


def several(wanted: str, many: Any) -> Iterable[Any]:
    """Return an iterator over several values; one is refused."""
    # A Uid is iterable too, but its parts are not uids.
    if not isinstance(many, (str, bytes, Mapping, Uid)):
        try:
            walk: Iterable[Any] = iter(many)
        except Exception:
            pass
        else:
            return walk
    raise UidError(f"wanted {wanted}; got {shown(many)}")
