"""The codes of decisions."""

from __future__ import annotations

import enum

__all__ = ["Code"]


class Code(enum.IntEnum):
    """The code of a decision, as :meth:`Gate.decide_many` returns it. Every code except ALLOW denies.

    >>> Code.ALLOW == 1
    True
    """

    # codes: begin (from src_ext/codes: `make codes` writes these lines)
    DEFAULT = 0
    """No policy applies."""
    ALLOW = 1
    """A permit applies, and no forbid does."""
    STEP_UP = 2
    """All forbids that apply ask for a step-up, and a permit applies."""
    FORBID = 3
    """A forbid applies."""
    NOT_APPLICABLE = 4
    """The schema does not apply the action to such a principal or resource, or has no such type."""
    EXPIRED = 5
    """The session's validity is over."""
    NOT_YET_VALID = 6
    """The session's validity has not begun."""
    REVOKED = 7
    """The session was revoked."""
    QUARANTINED = 8
    """The session is in quarantine."""
    UNKNOWN_SESSION = 9
    """There is no such session (any more)."""
    KILLED = 10
    """A kill stops the action."""
    STALE_GATE = 11
    """After a swap of bundles, the gate's action or attributes are no longer what it was prepared for."""
    CORRUPT = 12
    """The bundle's tables or the call's arguments make no sense, a comparison is too long, or the core failed."""
    BAD_VALUE = 13
    """A value is of its attribute's type, but out of its range."""
    FORKED = 14
    """The engine was opened before the process was forked: this process has to open it anew."""
    TOO_LARGE = 15
    """The request is larger than the engine takes: ``max_context``, or a call's room for texts."""
    UNKNOWN_HANDLE = 16
    """The handle is not one of this engine's."""
    STATE_GONE = 17
    """The file of the shared state was removed or replaced: this process has to open the engine anew."""
    # codes: end
