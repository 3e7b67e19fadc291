"""The check that a good engineer would write by hand in Python for exactly these rules: dicts, sets, slots.

Code and tables are made for this workload alone: one look-up for each condition, cheap conditions first. To change a
permit, one changes an entry of a table.
"""

from __future__ import annotations

import time
from typing import Any


class Algo:
    """The attributes of an algorithm that the rules read."""

    __slots__ = ("desk", "region", "strategy", "venues")

    def __init__(self, strategy: str, desk: str, region: str, venues: frozenset[str]) -> None:
        self.strategy = strategy
        self.desk = desk
        self.region = region
        self.venues = venues


class Instrument:
    """The attributes of an instrument that the rules read."""

    __slots__ = ("book", "dark", "lists", "region", "venue")

    def __init__(self, book: str, region: str, venue: str, dark: bool, lists: tuple[str, ...]) -> None:
        self.book = book
        self.region = region
        self.venue = venue
        self.dark = dark
        # Walls name these lists; the restricted list is checked separately.
        self.lists = lists


class Session:
    """An admitted algorithm; times are seconds since the epoch."""

    __slots__ = ("algo", "not_after", "not_before", "revoked")

    def __init__(self, algo: str, not_before: float, not_after: float) -> None:
        self.algo = algo
        self.not_before = not_before
        self.not_after = not_after
        self.revoked = False


class Check:
    """The rules, and a session for each algorithm, with the algorithm's name as its id.

    >>> from bench.peers.workload import generate
    >>> work = generate(100)
    >>> check = Check(work.tables())
    >>> order = next(one for one in work.orders if check.allows(one.algo, one.instrument, one.notional, one.qty))
    >>> check.allows(order.algo, order.instrument, 60_000_000, order.qty)
    False
    >>> check.killed = True
    >>> check.session_allows(order.algo, order.instrument, order.notional, order.qty)
    False
    """

    def __init__(self, tables: dict[str, Any]) -> None:
        self.max_notional: int = tables["max_notional"]
        self.max_dark_qty: int = tables["max_dark_qty"]
        self.permits = {(group, book): (notional, qty) for group, book, notional, qty in tables["permits"]}
        self.walls = {(desk, name) for desk, name in tables["walls"]}
        self.restricted = set()
        self.instruments = {}
        for name, book, region, venue, dark, lists in tables["instruments"]:
            if "restricted" in lists:
                self.restricted.add(name)
            walls = tuple(one for one in lists if one != "restricted")
            self.instruments[name] = Instrument(book, region, venue, dark, walls)
        self.algos = {
            name: Algo(strategy, desk, region, frozenset(venues))
            for name, strategy, desk, region, venues in tables["algos"]
        }
        self.killed = False
        self.sessions = {name: Session(name, 0.0, float("inf")) for name in self.algos}

    def allows(self, algo_id: str, instrument_id: str, notional: int, qty: int, /) -> bool:
        """Return whether the algorithm may send this order, without a session."""
        algo = self.algos.get(algo_id)
        instrument = self.instruments.get(instrument_id)
        if algo is None or instrument is None or instrument_id in self.restricted:
            return False
        if algo.region != instrument.region or instrument.venue not in algo.venues:
            return False
        if notional > self.max_notional or (instrument.dark and qty > self.max_dark_qty):
            return False
        for name in instrument.lists:
            if (algo.desk, name) in self.walls:
                return False
        for group in (algo.desk, algo.strategy):
            limits = self.permits.get((group, instrument.book))
            if limits is not None and notional <= limits[0] and qty <= limits[1]:
                return True
        return False

    def session_allows(self, session_id: str, instrument_id: str, notional: int, qty: int, /) -> bool:
        """Return the same for a session's algorithm, if the session is active and valid and the kill switch is off."""
        session = self.sessions.get(session_id)
        if self.killed or session is None or session.revoked:
            return False
        if not session.not_before <= time.time() < session.not_after:
            return False
        return self.allows(session.algo, instrument_id, notional, qty)
