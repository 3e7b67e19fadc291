"""Reports of an engine: its memory, the result of a swap, and stale gates."""

from __future__ import annotations

from dataclasses import dataclass

from ztfast.uid import Uid

__all__ = ["MemoryUse", "StaleGate", "Swap"]


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The memory that an engine uses, in bytes.

    Attributes:
        bundle: The bundle.
        tables: The tables of sessions and handles.
        gates: The gates, their working memory, and their tables, each of which counts once for all gates that share it.
        changes: The entities that were changed since the bundle was compiled, with all texts that they ever had.
            :meth:`Engine.compact` frees replaced texts.
        uids: The uids with a handle, and those of principals with present or past sessions. :meth:`Engine.compact`
            frees those of past sessions.
        replaced: Replaced bundles that are still in use, with their gates' tables: a gate keeps its bundle until it
            decides again.
        locked: The part of all these that is locked.
        huge: The part of bundle and tables that is in large pages now.
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
    """The result of a swap.

    Attributes:
        kept: The entities whose changes were repeated over the new bundle.
        forgotten: The entities whose changes were dropped.
    """

    kept: tuple[Uid, ...] = ()
    forgotten: tuple[Uid, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleGate:
    """Live gates with the same action and attributes that do not fit a bundle.

    Attributes:
        action: The gates' action.
        names: The gates' attributes.
        count: The number of gates.
        why: What the bundle lacks or changes.
        already: Whether the gates do not fit the present bundle either.
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
