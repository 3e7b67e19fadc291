"""Identities: a principal, and the times for which it is valid."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ztfast.errors import IdentityError
from ztfast.shown import given as shown
from ztfast.uid import Uid, UidLike

__all__ = [
    "Identity",
    "check_level",
    "epoch_seconds",
    "factor_names",
    "given",
    "ground_number",
    "is_ground",
    "nanoseconds",
]

MAX_ASSURANCE = 7
MAX_RISK = 100
MAX_NAME = 63

_YEAR_2200 = 7_258_118_400


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity that trusted code has established.

    Args:
        principal: The principal's uid.
        not_after: The end of validity: epoch seconds, an aware ``datetime`` or its ``isoformat()``. ``math.inf`` means
            no end.
        not_before: The begin of validity, in the same forms.
        factors: The factors of the login, for example ``("x509", "fido2")``. Policies read them, and what follows, as
            ``context.live`` of actions whose schema has ``live: ztfast::Live``.
        auth_time: The time of the login, in the same forms; by default now. A time in the future is taken for the time
            of the admission.
        assurance: How sure the login is, from 0 to 7.
        channel: How the credential was proved, for example ``"x509"``.
        region: The region or jurisdiction of the session, if it has one.
        risk: The risk, from 0 (none) to 100.
        on_behalf_of: The uid of the entity for which the principal acts, if it acts for one.
        ground: What the session rests on, for example a credential's fingerprint: ``Engine.revoke(ground=...)`` ends
            all sessions with the same ground.

    The times are always epoch seconds.

    Raises:
        IdentityError: if the end is not after the begin, a time is after the year 2200 (it is probably in milliseconds
            or nanoseconds), a datetime has no time zone, or another value is out of its range.
        UidError: if the principal is not a uid.

    >>> Identity('Algo::"a7"', not_after=2_000_000_000, factors=["x509"]).principal
    Uid(type='Algo', id='a7')
    """

    principal: Uid
    not_after: float
    not_before: float = 0.0
    factors: tuple[str, ...] = ()
    auth_time: float | None = None
    assurance: int = 0
    channel: str = "trusted"
    region: str | None = None
    risk: int = 0
    on_behalf_of: Uid | None = None
    ground: str | bytes | None = None

    def __init__(
        self,
        principal: UidLike,
        *,
        not_after: float | datetime.datetime | str,
        not_before: float | datetime.datetime | str = 0.0,
        factors: Iterable[str] = (),
        auth_time: float | datetime.datetime | str | None = None,
        assurance: int = 0,
        channel: str = "trusted",
        region: str | None = None,
        risk: int = 0,
        on_behalf_of: UidLike | None = None,
        ground: str | bytes | None = None,
    ) -> None:
        not_after, not_before = _seconds("not_after", not_after), _seconds("not_before", not_before)
        auth_time = time.time() if auth_time is None else _seconds("auth_time", auth_time)
        for name, value in (("not_after", not_after), ("not_before", not_before), ("auth_time", auth_time)):
            _check_unit(name, value)
        if not_after <= not_before:
            raise IdentityError(f"not_after ({not_after}) must be later than not_before ({not_before})")
        names = factor_names(factors)
        for name, level, most in (("assurance", assurance, MAX_ASSURANCE), ("risk", risk, MAX_RISK)):
            check_level(name, level, most)
        for name, text in (("channel", channel), ("region", region)):
            if not ((text is None and name == "region") or (isinstance(text, str) and _is_name(text))):
                raise IdentityError(f"{name}: wanted a name of 1 to {MAX_NAME} bytes; got {shown(text)}")
        if not (ground is None or is_ground(ground)):
            raise IdentityError(f"ground: wanted a text or bytes, not empty; got {shown(ground)}")
        object.__setattr__(self, "principal", Uid.of(principal))
        object.__setattr__(self, "not_after", not_after)
        object.__setattr__(self, "not_before", not_before)
        object.__setattr__(self, "factors", names)
        object.__setattr__(self, "auth_time", auth_time)
        object.__setattr__(self, "assurance", int(assurance))
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "region", region)
        object.__setattr__(self, "risk", int(risk))
        object.__setattr__(self, "on_behalf_of", None if on_behalf_of is None else Uid.of(on_behalf_of))
        object.__setattr__(self, "ground", ground)


def given(identity: Identity) -> tuple[Any, ...]:
    """Return what an identity says besides its principal and its bounds, as the core takes it."""
    proved_ns = None if identity.auth_time is None else nanoseconds(identity.auth_time)
    acts_for = None if identity.on_behalf_of is None else tuple(identity.on_behalf_of)
    return (
        list(identity.factors),
        proved_ns,
        identity.assurance,
        identity.risk,
        acts_for,
        identity.region,
        identity.channel,
        ground_number(identity.ground),
    )


def ground_number(ground: str | bytes | None) -> int:
    """Return the number by which a ground is kept: the first 8 bytes of its SHA-256, and 0 for none."""
    if ground is None:
        return 0
    data = ground.encode() if isinstance(ground, str) else ground
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") or 1


def is_ground(given: object) -> bool:
    """Return whether a value can be a ground: bytes or a text of UTF-8, not empty."""
    if not isinstance(given, (str, bytes)) or not given:
        return False
    return isinstance(given, bytes) or _is_utf8(given)


def factor_names(factors: Any) -> tuple[str, ...]:
    """Check names of factors."""
    try:
        names = None if isinstance(factors, (str, bytes)) else tuple(iter(factors))
    except TypeError:
        names = None
    if names is None or not all(isinstance(name, str) for name in names):
        raise IdentityError(f"factors: wanted a list of names, as ['x509', 'fido2']; got {shown(factors)}")
    if not all(map(_is_name, names)):
        raise IdentityError(f"factors: wanted names of 1 to {MAX_NAME} bytes; got {shown(factors)}")
    return names


def _is_name(text: str) -> bool:
    return _is_utf8(text) and 0 < len(text.encode()) <= MAX_NAME


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_level(name: str, level: Any, most: int) -> None:
    """Check an assurance or a risk."""
    if isinstance(level, bool) or not isinstance(level, (int, np.integer)) or not 0 <= level <= most:
        raise IdentityError(f"{name}: wanted a number from 0 to {most}; got {shown(level)}")


def _check_unit(name: str, seconds: float) -> None:
    """Refuse a time after the year 2200, which is probably in another unit."""
    if not _YEAR_2200 <= seconds < math.inf:
        return
    for unit, each in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if seconds / each < _YEAR_2200:
            hint = f"is it in {unit}? Divide it by {each:,.0f}"
            break
    else:
        hint = "use math.inf for no end"
    raise IdentityError(f"{name}: wanted epoch seconds, but {seconds:,.0f} is after the year 2200: {hint}")


def epoch_seconds(name: str, given: Any) -> float:
    """Convert a time to epoch seconds, and refuse one that is probably in another unit."""
    seconds = _seconds(name, given)
    _check_unit(name, seconds)
    return seconds


def _seconds(name: str, given: Any) -> float:
    """Convert a time of an identity to epoch seconds."""
    wanted = f"{name}: wanted epoch seconds, an aware datetime or its isoformat()"
    value: Any = given[()] if isinstance(given, np.ndarray) and given.ndim == 0 else given
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise IdentityError(f"{wanted}; got {shown(given)}") from None
    if isinstance(value, datetime.datetime):
        at: datetime.datetime = value
        try:
            offset = at.utcoffset()
        except Exception as error:
            raise IdentityError(f"{wanted}; got one whose time zone fails: {error!r}") from error
        if offset is None:
            hint = "it has no time zone: use datetime.now(datetime.UTC), or value.astimezone()"
            raise IdentityError(f"{wanted}; got {shown(given)}: {hint}")
        # pandas' NaT is a subclass of datetime, and its timestamp is NaN.
        value = at.timestamp()
    # numpy's times are not accepted as numbers, because the number depends on the unit.
    if isinstance(value, (np.integer, np.floating)) and not isinstance(value, np.timedelta64):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise IdentityError(f"{wanted}; got {shown(given)}")
    try:
        seconds = float(value)
    except OverflowError:
        raise IdentityError(f"{wanted}; got a number that is too large") from None
    # A subclass of float may say of its NaN that it equals itself.
    if math.isnan(seconds):
        raise IdentityError(f"{wanted}; got {shown(given)}")
    return seconds


def nanoseconds(seconds: float) -> int:
    """Convert epoch seconds to the core's nanoseconds, clamped to 64 bits."""
    least, most = -(1 << 63), (1 << 63) - 1
    scaled = seconds * 1_000_000_000
    if math.isinf(scaled):
        return most if scaled > 0 else least
    return max(least, min(most, round(scaled)))
