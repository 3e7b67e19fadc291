"""Kill switches and market states: what is killed, by whom, why, and until when."""

from __future__ import annotations

import datetime
import enum
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ztfast import plain
from ztfast.errors import ArgumentError, IdentityError
from ztfast.identities import epoch_seconds, nanoseconds
from ztfast.shown import given as shown
from ztfast.shown import refused
from ztfast.uid import Uid, UidLike

__all__ = ["ALL_ACTIONS", "AllActions", "Kill", "Market", "Note"]


class AllActions(enum.Enum):
    """The type of :data:`ztfast.ALL_ACTIONS`."""

    ALL_ACTIONS = "all actions"

    def __repr__(self) -> str:
        return "ztfast.ALL_ACTIONS"


ALL_ACTIONS: Final[Literal[AllActions.ALL_ACTIONS]] = AllActions.ALL_ACTIONS
"""All actions, including those that the bundle exempts from kills; see :meth:`Engine.kill`."""

MARKET_STATES = ("normal", "volatile", "halted")
MOST_ACTIONS = 256
"""The most actions that one kill may name."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill in force: see :meth:`Engine.kill`.

    Attributes:
        id: A random number, by which it is released.
        scope: Whom it concerns: "firm", or the uid of an entity.
        actions: What it stops: ``None`` for all actions but those that the bundle exempts, :data:`ztfast.ALL_ACTIONS`,
            or these actions and groups of actions.
        by: Who made it; "kill_switch" for one of :meth:`Engine.kill_switch`.
        reason: Why.
        since: When, in epoch seconds.
        until: Its end, in epoch seconds; ``None`` if it has none.
        two_persons: Whether two persons must release it.
        asked_by: Who asked for its release first, where two persons must release it.
        was_in_force: Whether :meth:`Engine.kill`, which returned it, found it in force already. ``False`` in lists;
            it is not compared.
        in_scope: How many principals and resources of the store were the entity or in it when :meth:`Engine.kill`
            returned. ``None`` for the firm and in lists; it is not compared.
    """

    id: int
    scope: Uid | Literal["firm"]
    actions: AllActions | tuple[Uid, ...] | None
    by: str
    reason: str
    since: float
    until: float | None
    two_persons: bool
    asked_by: str | None
    was_in_force: bool = field(default=False, compare=False)
    in_scope: int | None = field(default=None, compare=False)

    @classmethod
    def _of(cls, told: tuple[Any, ...], was_in_force: bool = False, in_scope: int | None = None) -> Kill:
        id, scope, (named, everything), (by, reason), (since, until), two_persons, asked_by = told
        actions: AllActions | tuple[Uid, ...] | None = ALL_ACTIONS if everything else None
        if named is not None:
            actions = tuple(_uid(uid) for uid in named)
        return cls(
            id,
            "firm" if scope is None else _uid(scope),
            actions,
            by,
            reason,
            since / 1e9,
            None if until is None else until / 1e9,
            two_persons,
            asked_by,
            was_in_force,
            in_scope,
        )


@dataclass(frozen=True, slots=True)
class Market:
    """The own state of a market: see :meth:`Engine.market`.

    Attributes:
        target: The resource.
        state: "volatile" or "halted"; "normal" only if :meth:`Engine.market` returned it.
        by: Who set it.
        reason: Why.
        since: When, in epoch seconds.
        in_scope: How many resources of the store were the target or in it when :meth:`Engine.market` returned. ``None``
            in lists; it is not compared.
    """

    target: Uid
    state: str
    by: str
    reason: str
    since: float
    in_scope: int | None = field(default=None, compare=False)

    @classmethod
    def _of(cls, told: tuple[tuple[str, str], str, str, str, int], in_scope: int | None = None) -> Market:
        uid, state, by, reason, since = told
        return cls(_uid(uid), state, by, reason, since / 1e9, in_scope)


@dataclass(frozen=True, slots=True)
class Note:
    """Who changed sessions, a kill or a market: see :meth:`Engine.notes`.

    Attributes:
        what: What was done: "revoked", "quarantined", "released from quarantine", "renewed", "given a new proof",
            "reassessed" (another risk or assurance alone), "killed", "release asked for", "release approved",
            "released", "market normal", "market volatile" or "market halted".
        of: To what: "firm"; the scope of a kill, a market, a principal, or what principals are in; ``None`` for
            sessions that rest on a ground, and for a uid whose type or id has more than 248 bytes.
        by: Who did it; "" if only a reason was given.
        reason: Why; "" if only a name was given, or by :meth:`Engine.kill_switch`.
        at: When, in epoch seconds.
        sessions: How many sessions changed; 0 for kills and markets.
        kill: The id of the kill; ``None`` for sessions, markets and :meth:`Engine.kill_switch`.
    """

    what: str
    of: Uid | Literal["firm"] | None
    by: str
    reason: str
    at: float
    sessions: int
    kill: int | None

    @classmethod
    def _of(cls, told: tuple[str, tuple[str, str] | None, int, tuple[str, str], int]) -> Note:
        what, of, detail, (by, reason), at = told
        of_sessions = what in _OF_SESSIONS
        of_kill = not of_sessions and not what.startswith("market")
        target: Uid | Literal["firm"] | None = None if of is None else _uid(of)
        if target is None and of_kill:
            target = "firm"
        return cls(
            what, target, by, reason, at / 1e9, detail if of_sessions else 0, detail if of_kill and detail else None
        )


_OF_SESSIONS = ("revoked", "quarantined", "released from quarantine", "renewed", "given a new proof", "reassessed")


def _uid(parts: tuple[str, str]) -> Uid:
    # The parts were checked when they were given.
    return tuple.__new__(Uid, parts)


def scope_of(scope: object) -> Uid | None:
    """Return the entity that a kill concerns; ``None`` for the firm."""
    if plain.text(scope) == "firm":
        return None
    uid = Uid.of(scope)
    if is_action(uid):
        raise refused("kill: scope", "'firm' or the uid of an entity; name actions in actions=", scope)
    return uid


def is_action(uid: Uid) -> bool:
    """Return whether a uid is an action's."""
    return uid.type == "Action" or uid.type.endswith("::Action")


def names_of(what: str, actions: object) -> list[object] | None:
    """Return the actions that are named, as a list of at least one; ``None`` if none are."""
    if actions is None or actions is ALL_ACTIONS:
        return None
    if isinstance(actions, (str, Uid, Mapping)):
        return [actions]
    names = None if isinstance(actions, (bytes, bytearray)) else plain.elements(actions, MOST_ACTIONS)
    if not names:
        wanted = f"an action, a list of 1 to {MOST_ACTIONS} of them, or ztfast.ALL_ACTIONS: at least one"
        raise refused(f"{what}: actions", wanted, actions)
    return names


def text_of(what: str, given: object) -> str:
    """Check a name or a reason, and return it without white space around it."""
    said = plain.text(given)
    if said is None:
        raise refused(what, "a text", given)
    # One name has one spelling, so that nobody is two persons by writing theirs differently.
    text = unicodedata.normalize("NFKC", said).strip()
    if what.endswith("by"):
        text = " ".join(text.split())
        if any(unicodedata.category(letter) in ("Cc", "Cf") for letter in text):
            raise refused(what, "a name without characters that nobody sees", given)
    if not text:
        raise ArgumentError(f"{what}: wanted a text; got an empty one")
    if not plain.is_utf8(text):
        raise refused(what, "a text in UTF-8", given)
    return text


def end_of(until: float | datetime.datetime | str | None) -> int | None:
    """Convert the end of a kill to nanoseconds since the epoch."""
    if until is None:
        return None
    try:
        seconds = epoch_seconds("until", until)
    except IdentityError as error:
        raise ArgumentError(str(error)) from None
    return None if seconds == math.inf else nanoseconds(seconds)


def id_of(kill: object) -> int:
    """Return the id of a kill, given itself or its id."""
    try:
        number = plain.integer(Kill.__dict__["id"].__get__(kill) if plain.is_a(kill, Kill) else kill)
    except AttributeError:
        # A kill that was made without its fields.
        number = None
    if number is None or not 0 <= number < 1 << 64:
        raise refused("release_kill", "a ztfast.Kill, as Engine.kill returns and Engine.kills lists, or its id", kill)
    return number


def target_of(target: UidLike) -> Uid:
    """Return the resource whose market state is meant."""
    uid = Uid.of(target)
    if is_action(uid):
        raise refused("market: target", "the uid of a resource", target)
    return uid


def state_of(state: object) -> str:
    """Check the name of a market state."""
    name = plain.text(state)
    if name is None or name not in MARKET_STATES:
        raise ArgumentError(f"market: wanted 'normal', 'volatile' or 'halted'; got {shown(state)}")
    return name
