"""What an engine tells of itself: the memory that it keeps, and what came of a swap."""

from __future__ import annotations

from dataclasses import dataclass

from ztfast.uid import Uid

__all__ = ["MemoryUse", "StaleGate", "Swap"]


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What an engine keeps in memory for decisions, in bytes.

    Attributes:
        bundle: The bundle.
        tables: The tables of sessions and handles.
        gates: The gates and their working memory.
        changes: Entities that were changed since the bundle was made, with all texts that they ever had;
            :meth:`Engine.compact` releases those that were replaced.
        uids: The uids that have a handle, and those of principals that have a session, or had one:
            :meth:`Engine.compact` releases these.
        replaced: Bundles that were replaced and that somebody still holds: a gate holds its own until it decides again.
        locked: Of all these, what is locked.
        huge: Of bundle and tables, what the system holds in large pages now.
    """

    bundle: int
    tables: int
    gates: int
    changes: int
    uids: int
    replaced: int
    locked: int
    huge: int


@dataclass(frozen=True, slots=True)
class Swap:
    """What came of a swap.

    Attributes:
        kept: Entities that were changed since the old bundle was made, and are so in the new one.
        forgotten: Entities that were changed, and are again what the new bundle says.
    """

    kept: tuple[Uid, ...] = ()
    forgotten: tuple[Uid, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleGate:
    """Live gates of one kind that a bundle would not fit.

    Attributes:
        action: Their action.
        names: Their attributes.
        count: How many there are.
        why: What the bundle lacks for them, or has otherwise.
        already: Whether they do not fit the bundle of now either.
    """

    action: str
    names: tuple[str, ...]
    count: int
    why: str
    already: bool

    @classmethod
    def _of(cls, gates: tuple[str, list[str], int, str, bool]) -> StaleGate:
        action, names, count, why, already = gates
        return cls(action, tuple(names), count, why, already)
