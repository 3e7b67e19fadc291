"""What commands on a state directory share: where it is, opening it while engines run, names of sessions, and times."""

from __future__ import annotations

import errno
import math
import os
import re
import shlex
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

import typer

from ztfast.bundle import Bundle, compile
from ztfast.cli.output import UsageError, errors, number, say
from ztfast.engine import Engine
from ztfast.errors import ArgumentError, ClockError, Error, SessionError, StateError, UidError
from ztfast.identities import epoch_seconds
from ztfast.reports import SessionInfo
from ztfast.shown import brief, name_of, one_line
from ztfast.sources import Text
from ztfast.uid import Uid

__all__ = [
    "A_TIME", "BundleFile", "By", "Group", "Owned", "Reason", "State", "count_of", "enough", "having_id", "is_id",
    "matching", "moment", "now", "opened", "parsed", "said", "shortened", "span", "time_of", "warn_of_scope",
]  # fmt: skip

A_TIME = "2030-12-31T18:00:00+00:00"
"""A time as options take it, in their help and messages."""


def directory(given: str) -> Path:
    """Return the path of a state's directory. An empty one, as of a variable that is not set, is not the current."""
    if not given:
        raise UsageError("--state: wanted the directory of a state; got an empty text")
    return Path(given)


State = Annotated[
    Path,
    typer.Option(
        "--state",
        parser=directory,
        metavar="PATH",
        envvar="ZTFAST_STATE",
        help="The directory of the state, as engines have it in state=.",
        show_default=False,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        help="The group, by name or number, whose members may read the state, if it is another user's.",
        show_default=False,
    ),
]
Owned = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="The group, by name or number, whose members may read the state. Only the state's own user may change it, "
        "not even root: run the command as that user (sudo -u USER), with --state.",
        show_default=False,
    ),
]
BundleFile = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="The bundle that the engines run, to know which entities and actions are in which groups.",
        show_default=False,
    ),
]
By = Annotated[str, typer.Option("--by", help="Who does this.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why.", show_default=False)]

SHOWN = 6
"""The hexadecimal digits of a session's id that are shown."""
NEARLY_FULL = 0.9
"""The part of the register from which on commands warn."""
GROUP = re.compile(r"[0-9]{1,10}")
"""The number of a group."""
SECONDS = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
"""Epoch seconds, as scripts give them."""
LEAST = 4
"""The least hexadecimal digits that name a session or a kill."""


def opened(
    state: Path,
    *,
    role: Literal["authority", "decide"],
    group: str | None = None,
    bundle: Path | None = None,
    types: Iterable[str] = (),
    revoked: Path | None = None,
) -> Engine:
    """Open a state that engines have made, and print a warning if hardly anybody new gets into its register.

    Without a bundle, the engine has no policies and no entities; its schema has only these types. ``revoked`` is the
    list of revoked grounds, if it is not in the state's directory.

    Raises:
        StateError: if there is no state in the directory, or it is not to be trusted.
        BundleError: if the bundle cannot be read.
    """
    where = name_of(str(state))
    try:
        os.stat(state / "state")
    except FileNotFoundError:
        raise StateError(
            f"{where}: there is no state here: name the directory that the engines were given as state=, or start one "
            f"with state={where!r}"
        ) from None
    except NotADirectoryError:
        raise StateError(f"{where} is no directory: name the directory of a state") from None
    except OSError as error:
        where = brief(where) if error.errno == errno.ENAMETOOLONG else where
        raise StateError(f"{where}: cannot look for a state there: {error.strerror}") from None
    loaded = declaring(types) if bundle is None else Bundle.load(bundle)
    # Nothing is decided here, so nothing needs to be in memory beforehand.
    trusted = int(group) if group is not None and GROUP.fullmatch(group) else group
    open_by = partial(
        Engine,
        loaded,
        state=state,
        role=role,
        state_group=trusted,
        make_state=False,
        prefault=False,
        revoked=revoked,
    )
    try:
        engine = open_by()
    except ClockError:
        # The time is then the latest that an engine of the state was given.
        engine = open_by(clock="caller")
    warn_of_register(engine)
    return engine


def warn_of_register(engine: Engine) -> None:
    """Print a warning if the register of uids is nearly full."""
    use = engine.register
    if use is None or use.full < NEARLY_FULL:
        return
    counts = f"{number(use.uids)} of {number(use.max_uids)} uids, {number(use.bytes)} of {number(use.max_bytes)} bytes"
    say(
        ("warning: ", "bold yellow"),
        f"the state's register of uids is {math.floor(use.full * 100)} % full ({counts}) and nothing in it is "
        "released: once it is full, nobody is admitted whom it does not know; note its kills and markets (`ztfast kill "
        "list --json`, `ztfast market list --json`), end the state's processes, remove its file, open it with more "
        "(handles=), and make those again",
        to=errors,
    )


def warn_of_scope(engine: Engine, uid: Uid, in_scope: int | None, bundle: Path | None) -> None:
    """Print a warning if nothing is in a scope, or nobody has checked it.

    ``in_scope`` is what the bundle's store has in it; without a bundle that says nothing.
    """
    known = engine.knows(uid)
    if bundle is None:
        unknown = "" if known else "no engine of this state knows it, so it may be mistyped, and "
        why = f"{unknown}nobody has checked that this concerns anything: add --bundle FILE"
    elif not in_scope:
        unknown = "" if known else ", and no engine of this state knows it: it may be mistyped"
        why = f"it concerns nothing of the store of {one_line(name_of(str(bundle)))}{unknown}"
    else:
        return
    say(("warning: ", "bold yellow"), f"{uid}: {why}.", to=errors)


def count_of(in_scope: int | None, bundle: Path | None) -> str:
    """Say how many entities of the bundle's store are in a scope; nothing without a bundle.

    >>> count_of(7, Path("desk.ztb")), count_of(1, Path("desk.ztb")), count_of(0, None)
    (' (7 entities of the store)', ' (1 entity of the store)', '')
    """
    if in_scope is None or bundle is None:
        return ""
    return f" ({number(in_scope)} {'entity' if in_scope == 1 else 'entities'} of the store)"


def declaring(types: Iterable[str]) -> Bundle:
    """Compile a bundle without policies, whose schema has only these types of entities, of principals and resources."""
    schema = ""
    for name in dict.fromkeys(types):
        namespace, _, own = name.rpartition("::")
        action = f'action "any" appliesTo {{ principal: {own}, resource: {own} }};'
        declared = f"entity {own}; {action}"
        schema += f"namespace {namespace} {{ {declared} }}\n" if namespace else f"{declared}\n"
    return compile(Text("", "no policies"), schema=Text(schema, "types.cedarschema"), warnings="ignore")


def said(by: str, reason: str) -> dict[str, str]:
    """Check who does something and why, and return both for the engine and the JSON output."""
    for option, text in (("--by", by), ("--reason", reason)):
        if not text.strip():
            raise UsageError(f"{option}: wanted a text that says {'who' if option == '--by' else 'why'}; got none")
    return {"by": by.strip(), "reason": reason.strip()}


def now(engine: Engine) -> float:
    """Return the time of a state, in epoch seconds: the system's, or the latest that an authority was given."""
    try:
        return engine.set_time(-(1 << 63)) / 1e9
    except ArgumentError:
        return time.time()


def time_of(option: str, given: str, otherwise: str = "") -> float:
    """Return the epoch seconds of a time that an option gives.

    Raises:
        UsageError: if it is none, or has no time zone; ``otherwise`` is what else may be given.

    >>> time_of("--until", A_TIME), time_of("--until", "1795802400")
    (1924970400.0, 1795802400.0)
    """
    wanted = f"{option} {brief(given)}: wanted a time with its zone, as {A_TIME}{otherwise}"
    try:
        return epoch_seconds(option, float(given) if SECONDS.fullmatch(given) else datetime.fromisoformat(given))
    except (ValueError, OverflowError) as error:
        # A time in another unit has a message of its own.
        raise UsageError(str(error) if SECONDS.fullmatch(given) else wanted) from None


def shortened(id: int, whole: bool = False) -> str:
    """Return the id of a session as commands show and take it. Its first digits are enough to name it.

    >>> shortened(0x2AEF0F422A822800), shortened(0x2AEF0F422A822800, whole=True)
    ('0x2aef0f', '0x2aef0f422a822800')
    """
    return f"{id:#x}"[: None if whole else 2 + SHOWN]


def enough(id: int, among: Iterable[int]) -> str:
    """Return the first digits of an id that no other one begins with, and not fewer than are shown.

    >>> enough(0x2AEF0F422A822800, [0x2AEF0F422A822800, 0x2AEF0F4100000000])
    '0x2aef0f42'
    """
    whole = shortened(id, whole=True)
    others = [shortened(other, whole=True) for other in among if other != id]
    least = range(2 + SHOWN, len(whole))
    count = next((count for count in least if not any(other.startswith(whole[:count]) for other in others)), None)
    return whole[:count]


def matching(target: str, engine: Engine) -> list[SessionInfo] | None:
    """Return the session whose id a text names, by all of its digits or the first ones, or those of a principal.

    The result has at most one session if the text is an id. ``None`` means that it is a uid of which there are none.

    Raises:
        UidError: if the text is neither an id nor a uid.
        UsageError: if these are the first digits of several ids, or too few digits.
        SessionError: if there is no session with this id.
    """
    if not is_id(target):
        return list(engine.sessions(parsed(target))) or None
    beginning = target.strip().lower()
    if beginning.isdecimal():
        # No id has more digits.
        digits = beginning.lstrip("0")
        beginning = f"{int(digits):#x}" if 0 < len(digits) <= 20 else ""
    found = engine.sessions(beginning=beginning) if 2 + LEAST <= len(beginning) <= 2 + 16 else ()
    return [having_id(target, found, "session", SessionError)]


class HasId(Protocol):
    """A session or a kill."""

    @property
    def id(self) -> int:
        """Its id."""


T = TypeVar("T", bound=HasId)


def having_id(target: str, among: Iterable[T], what: str, error: type[Error]) -> T:
    """Return the session or the kill whose id a text names, by all of its digits or the first ones.

    Raises:
        UsageError: if these are the first digits of several ids, or too few digits.
        Error: the one that is given, if there is none with this id.
    """
    written = target.strip().lower()
    if written.isdecimal():
        found = [each for each in among if str(each.id) == written.lstrip("0")]
    elif len(written) < 2 + LEAST:
        raise UsageError(f"{brief(target)}: wanted at least {LEAST} digits of a {what}'s id after 0x")
    else:
        found = [each for each in among if shortened(each.id, whole=True).startswith(written)]
    if not found:
        raise error(
            f"{brief(target)}: there is no {what} with this id: `ztfast {what} list` shows those that there are"
        )
    if len(found) > 1:
        several = ", ".join(shortened(each.id, whole=True) for each in found[:4])
        raise UsageError(f"{brief(target)}: {len(found)} {what}s begin so ({several}): give more digits")
    return found[0]


def parsed(target: str) -> Uid:
    """Parse the uid of an argument. A shell takes quotes away that are not within others.

    Raises:
        UidError: if it is no uid; where quotes are missing, the message says how to write them.
    """
    try:
        return Uid.parse(target)
    except UidError as error:
        kind, _, id = target.rpartition("::")
        if kind and '"' not in target:
            hint = shlex.quote(f'{kind}::"{id}"')
            raise UidError(f"{error}: for a shell, write {brief(hint)}") from None
        raise


def is_id(target: str) -> bool:
    """Return whether a text names a session or a kill by its id, and not by a uid."""
    written = target.strip().lower()
    return written.isdecimal() or (
        written.startswith("0x") and all(digit in "0123456789abcdef" for digit in written[2:])
    )


def span(seconds: float | None) -> str:
    """Format a length of time by its two largest units.

    >>> span(14.2), span(754), span(7_384), span(200_000), span(math.inf), span(None)
    ('14s', '12m34s', '2h03m', '2d07h', 'no end', '')
    """
    if seconds is None:
        return ""
    if math.isinf(seconds):
        return "no end"
    whole = max(int(seconds), 0)
    for large, above, small, below in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= large:
            return f"{whole // large}{above}{whole % large // small:02}{below}"
    return f"{whole}s"


def moment(seconds: float | None) -> str:
    """Format a time by the clock of the world: the hour if it is of today, else with the date.

    >>> moment(0.0), moment(None)
    ('1970-01-01 00:00:00Z', '')
    """
    if seconds is None or math.isinf(seconds):
        return ""
    at, now = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(time.time(), UTC)
    return f"{at:%H:%M:%SZ}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%SZ}"
