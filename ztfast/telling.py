"""Who changes sessions, and why: how that is checked, and how the logger is told."""

from __future__ import annotations

import logging

from ztfast.shown import one_line
from ztfast.switches import text_of

__all__ = ["ACTIVE", "DONE", "QUARANTINED", "REVOKED", "presented", "said_of", "tell"]

_LOG = logging.getLogger("ztfast")

ACTIVE, REVOKED, QUARANTINED = 1, 2, 3
DONE = {REVOKED: "revoked", QUARANTINED: "quarantined", ACTIVE: "released from quarantine"}


def said_of(method: str, by: object, reason: object) -> tuple[str, str] | None:
    """Check by whom and why something is done, and return both; ``None`` if nothing was said.

    >>> said_of("revoke", "ann", None), said_of("revoke", None, None)
    (('ann', ''), None)
    """
    if by is None and reason is None:
        return None
    who = "" if by is None else text_of(f"{method}: by", by)
    return who, "" if reason is None else text_of(f"{method}: reason", reason)


def presented(factors: object, proved_ns: object, assurance: object, risk: object) -> str:
    """Say what was done by presenting this: another risk or assurance alone is no new proof, which would be young.

    >>> presented(None, None, 7, 80), presented(["fido2"], 1, None, None)
    ('reassessed', 'given a new proof')
    """
    return "reassessed" if factors is None and proved_ns is None else "given a new proof"


def tell(done: str, changed: int, named: str, said: tuple[str, str]) -> None:
    """Tell the logger what was done to how many sessions, by whom and why."""
    told = [one_line(text or "not said") for text in (named, *said)]
    _LOG.info("sessions %s: %d (%s) by %s: %s", done, changed, *told)
