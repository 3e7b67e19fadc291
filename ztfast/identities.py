"""Identities: a principal, and the times for which it is valid."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ztfast import plain
from ztfast.errors import IdentityError
from ztfast.shown import given as shown
from ztfast.shown import refused
from ztfast.uid import Uid, UidLike

__all__ = [
    "Identity",
    "bounds",
    "epoch_seconds",
    "factor_names",
    "given",
    "ground_number",
    "held",
    "level",
    "nanoseconds",
    "plain_ground",
]

MAX_ASSURANCE = 7
MAX_RISK = 100
MAX_NAME = 63
MOST_FACTORS = 64
"""The most factors of a list; a state keeps fewer names."""

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
        auth_time: The time of the login, in the same forms; by default now, which for an engine with
            ``clock="caller"`` is the time of the admission. A time in the future is taken for the time of the
            admission.
        assurance: How sure the login is, from 0 to 7.
        channel: How the credential was proved, for example ``"x509"``.
        region: The region or jurisdiction of the session, if it has one.
        risk: The risk, from 0 (none) to 100.
        on_behalf_of: The uid of the entity for which the principal acts, if it acts for one. One of at most 1,024 bytes
            can always be read as a String; of a longer one, decisions that do may be DENY with code TOO_LARGE.
        ground: What the session rests on, for example a credential's fingerprint: ``Engine.revoke(ground=...)`` ends
            all sessions with the same ground. It must not be a secret, as a token or a password is: whoever can list
            sessions sees 64 bits of its SHA-256, enough to find a secret that can be guessed.

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
    _is_now: bool = field(default=False, init=False, repr=False, compare=False)

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
        is_now = auth_time is None
        not_after, not_before = _seconds("not_after", not_after), _seconds("not_before", not_before)
        auth_time = time.time() if auth_time is None else _seconds("auth_time", auth_time)
        for name, value in (("not_after", not_after), ("not_before", not_before), ("auth_time", auth_time)):
            _check_unit(name, value)
        if not_after <= not_before:
            raise IdentityError(f"not_after ({not_after}) must be later than not_before ({not_before})")
        names = factor_names(factors)
        assurance, risk = level("assurance", assurance, MAX_ASSURANCE), level("risk", risk, MAX_RISK)
        channel, region = _name("channel", channel), None if region is None else _name("region", region)
        own_ground = None if ground is None else plain_ground(ground)
        if ground is not None and own_ground is None:
            raise IdentityError(f"ground: wanted a text or bytes, not empty; got {shown(ground)}")
        object.__setattr__(self, "principal", Uid.of(principal))
        object.__setattr__(self, "not_after", not_after)
        object.__setattr__(self, "not_before", not_before)
        object.__setattr__(self, "factors", names)
        object.__setattr__(self, "auth_time", auth_time)
        object.__setattr__(self, "assurance", assurance)
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "region", region)
        object.__setattr__(self, "risk", risk)
        object.__setattr__(self, "on_behalf_of", None if on_behalf_of is None else Uid.of(on_behalf_of))
        object.__setattr__(self, "ground", own_ground)
        object.__setattr__(self, "_is_now", is_now)


def held(identity: Identity, name: str) -> Any:
    """Return what an identity holds, whatever a subclass says of it."""
    try:
        return Identity.__dict__[name].__get__(identity)
    except AttributeError:
        raise refused("identity", "a ztfast.Identity that was made with its fields", identity) from None


def bounds(identity: Identity) -> tuple[int, int]:
    """Return the begin and the end of an identity's validity in the core's nanoseconds."""
    return nanoseconds(held(identity, "not_before")), nanoseconds(held(identity, "not_after"))


def given(identity: Identity, by_caller: bool) -> tuple[Any, ...]:
    """Return what an identity says besides its principal and its bounds, as the core takes it.

    By the caller's clock, the time at which an identity was made means nothing, so a login is now unless a time was
    given.
    """
    factors, auth_time, acts_for = (held(identity, name) for name in ("factors", "auth_time", "on_behalf_of"))
    is_now = by_caller and held(identity, "_is_now")
    # A time to come is taken for now.
    proved_ns = nanoseconds(math.inf if is_now else auth_time) if auth_time is not None else None
    return (
        list(factors),
        proved_ns,
        held(identity, "assurance"),
        held(identity, "risk"),
        None if acts_for is None else tuple(acts_for),
        held(identity, "region"),
        held(identity, "channel"),
        ground_number(held(identity, "ground")),
    )


def ground_number(ground: str | bytes | None) -> int:
    """Return the number by which a ground is kept: the first 8 bytes of its SHA-256, and 0 for none."""
    if ground is None:
        return 0
    data = ground.encode() if isinstance(ground, str) else ground
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") or 1


def plain_ground(given: object) -> str | bytes | None:
    """Return a ground without a subclass; ``None`` for what is neither bytes nor a text of UTF-8, or is empty."""
    text, octets = plain.text(given), plain.octets(given)
    return octets or (text if text and plain.is_utf8(text) else None)


def factor_names(factors: Any) -> tuple[str, ...]:
    """Check names of factors."""
    single = plain.is_a(factors, str) or plain.is_a(factors, bytes)
    given = None if single else plain.elements(factors, MOST_FACTORS)
    names = None if given is None else tuple(name for name in map(plain.text, given) if name is not None)
    if names is None or given is None or len(names) != len(given):
        wanted = f"a list of up to {MOST_FACTORS} names, as ['x509', 'fido2']"
        raise IdentityError(f"factors: wanted {wanted}; got {shown(factors)}")
    if not all(map(_is_name, names)):
        raise IdentityError(f"factors: wanted names of 1 to {MAX_NAME} bytes; got {shown(factors)}")
    return names


def _name(what: str, given: object) -> str:
    text = plain.text(given)
    if text is None or not _is_name(text):
        raise IdentityError(f"{what}: wanted a name of 1 to {MAX_NAME} bytes; got {shown(given)}")
    return text


def _is_name(text: str) -> bool:
    return plain.is_utf8(text) and 0 < len(text.encode()) <= MAX_NAME


def level(name: str, given: object, most: int) -> int:
    """Check an assurance or a risk, and return it."""
    number = plain.integer(given)
    if number is None or not 0 <= number <= most:
        raise IdentityError(f"{name}: wanted a number from 0 to {most}; got {shown(given)}")
    return number


def new_proof(
    factors: Any, assurance: Any, risk: Any, at: Any
) -> tuple[list[str] | None, int | None, int | None, int | None]:
    """Check what is proved anew, and return it as the core takes it: factors, their time, assurance, risk."""
    names = None if factors is None else list(factor_names(factors))
    if at is None:
        # A time to come is taken for now, by the engine's clock.
        proved_ns = None if names is None else nanoseconds(math.inf)
    else:
        proved_ns = nanoseconds(epoch_seconds("at", at))
    own_assurance = None if assurance is None else level("assurance", assurance, 7)
    return names, proved_ns, own_assurance, None if risk is None else level("risk", risk, 100)


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
    value: Any = given[()] if plain.is_a(given, np.ndarray) and given.ndim == 0 else given
    text = plain.text(value)
    if text is not None:
        try:
            value = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise IdentityError(f"{wanted}; got {shown(given)}") from None
    if plain.is_a(value, datetime.datetime):
        at: datetime.datetime = value
        try:
            offset = at.utcoffset()
        except Exception as error:
            raise IdentityError(f"{wanted}; got one whose time zone fails: {error!r}") from error
        if offset is None:
            hint = "it has no time zone: use datetime.now(datetime.UTC), or value.astimezone()"
            raise IdentityError(f"{wanted}; got {shown(given)}: {hint}")
        try:
            # pandas' NaT is a subclass of datetime, and its timestamp is NaN.
            value = at.timestamp()
        except Exception as error:
            raise IdentityError(f"{wanted}; got one that is no time: {error!r}") from error
    if plain.is_a(value, np.floating):
        value = np.generic.item(value)
    # numpy's times are not accepted as numbers, because the number depends on the unit.
    number = float.__float__(value) if plain.is_a(value, float) else plain.integer(value)
    if number is None:
        raise IdentityError(f"{wanted}; got {shown(given)}")
    try:
        seconds = float(number)
    except OverflowError:
        raise IdentityError(f"{wanted}; got a number that is too large") from None
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
