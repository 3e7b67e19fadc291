"""What stops actions and halts markets: kills, their release, and the states of markets."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from ztfast.arguments import boolean
from ztfast.shown import one_line
from ztfast.switches import (
    ALL_ACTIONS,
    AllActions,
    Kill,
    Market,
    Note,
    end_of,
    id_of,
    names_of,
    scope_of,
    state_of,
    target_of,
    text_of,
)
from ztfast.uid import Uid, UidLike

if TYPE_CHECKING:
    from ztfast import _core

__all__ = ["Switching"]

_LOG = logging.getLogger("ztfast")


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


class Switching:
    """The part of :class:`ztfast.Engine` that kills actions and sets the states of markets."""

    __slots__ = ()
    _core: _core.Engine

    def kill_switch(self, on: bool, actions: AllActions | UidLike | Iterable[UidLike] | None = None) -> None:
        """Stop actions for all sessions: deny them with code KILLED until the switch is lifted, also after swaps.

        This is a kill of the whole firm, without a name, a reason or an end: :meth:`kill` takes these, and a scope.

        Args:
            on: ``True`` to stop actions, ``False`` to lift the switch.
            actions: By default all actions except those that the bundle exempts (``ztfast.compile(exempt=...)``), so
                that actions which reduce risk stay possible. :data:`ztfast.ALL_ACTIONS` includes exempt actions. Or
                these actions and groups of actions, exempt or not.

        Stopping a group stops its present actions, and those that later bundles add to it. An action that a bundle
        takes out of the group stays stopped until the group's switch is lifted.

        ``kill_switch(False)`` lifts all switches. ``kill_switch(False, actions=[...])`` lifts the switches with these
        names; an action that another switch stops too stays stopped. Neither lifts a kill of :meth:`kill`:
        :meth:`release_kill` does, which names it.

        Raises:
            ActionError: if the bundle has no such action or group; nothing has changed then.
            ArgumentError: if ``on`` is neither True nor False, or ``actions`` is empty.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.kill_switch(True, actions=["view"])
        >>> engine.killed
        True
        >>> engine.kill_switch(False)
        """
        is_on = boolean("kill_switch", on)
        names = names_of("kill_switch", actions)
        self._core.kill_switch(is_on, actions is ALL_ACTIONS, names)
        _LOG.info("kill switch %s", "on" if is_on else "off")

    @property
    def killed(self) -> bool:
        """Whether anything is killed, by :meth:`kill_switch` or :meth:`kill`. Raises as :meth:`kills` does."""
        return self._core.killed

    def kill(
        self,
        scope: UidLike | Literal["firm"] = "firm",
        actions: AllActions | UidLike | Iterable[UidLike] | None = None,
        *,
        by: str,
        reason: str,
        until: float | datetime.datetime | str | None = None,
        two_persons: bool = False,
    ) -> Kill:
        """Stop actions of the firm, or of all that is in an entity: a venue, a strategy, a principal, an instrument.

        A decision is DENY with code KILLED if its principal or its resource is the entity, or is in it, by the store of
        that moment. Decisions that begin after this returns see it. It holds until it is released or its time is over,
        also after swaps, and for entities that the store lacks. A principal that acts on behalf of another is not
        stopped by a kill of that one.

        By the present bundle's schema, the entity must be a principal or a resource or be able to have one in it: a
        kill of anything else would stop nothing. It need not be in the store: a kill outlives bundles, and may come
        before what it stops. Where other processes of the state decide by another schema, an engine over that one makes
        the kill, or ``ztfast kill`` without ``--bundle``. ``in_scope`` of the kill says how many principals and
        resources of the store it concerns now; if there are none, the logger ``"ztfast"`` gets a warning.

        Who stops the same again (the scope, the actions, by whom and whether two persons must release it are equal)
        makes no second kill: the first one lasts until the later of both ends, with its own reason, and is returned
        with ``was_in_force`` set. Somebody's request to release it is then void.

        Args:
            scope: "firm", or the uid of an entity.
            actions: As for :meth:`kill_switch`: by default all actions except those that the bundle exempts.
            by: Who stops them.
            reason: Why.
            until: The end: epoch seconds, an aware ``datetime`` or its ``isoformat()``. It is converted once, so
                setting the wall clock later does not end the kill sooner. By default it has none.
            two_persons: Whether two persons must release it.

        Raises:
            ActionError: if the bundle has no such action or group.
            ArgumentError: if a text is empty or too long (``by``: 128 bytes, ``reason``: 256, type and id: 248 each),
                the end is over, or the actions are too many (256, with those in the groups that are named).
            CapacityError: if there are 256 kills already, of which the last 8 may only be of the whole firm.
            EntityError: if the schema has no entity type of this name, or no principal and no resource can be of it or
                in an entity of it.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone, or for a second another process has the lock of those who
                change switches: it was stopped, and the message says which one. Meanwhile :meth:`revoke` works.

        Nothing has changed if it raises.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> kill = engine.kill('User::"ann"', by="bob", reason="lost her key")
        >>> engine.killed, engine.kills() == [kill]
        (True, True)
        >>> engine.release_kill(kill, by="bob", reason="she found it")
        True
        """
        by_two = boolean("two_persons", two_persons)
        entity = scope_of(scope)
        names = names_of("kill", actions)
        by, reason, end = text_of("by", by), text_of("reason", reason), end_of(until)
        if entity is not None:
            self._check_scope(entity, of_resources=False)
        told, was_in_force = self._core.switches.kill(
            entity,
            actions is ALL_ACTIONS,
            names,
            by,
            reason,
            end,
            by_two,
        )
        in_scope = None if entity is None else self._count_within("kill", entity, of_resources=False)
        kill = Kill._of(told, was_in_force, in_scope)
        given = (kill.id, one_line(str(kill.scope)), one_line(by), one_line(reason))
        if was_in_force:
            lasts = (_moment(kill.since), "it is released" if kill.until is None else _moment(kill.until))
            _LOG.info("kill %016x of %s again by %s: %s; in force since %s, until %s", *given, *lasts)
        else:
            _LOG.info("kill %016x of %s by %s: %s", *given)
        return kill

    def release_kill(self, kill: Kill | int, *, by: str, reason: str, approved_by: str | None = None) -> bool:
        """Release one kill. Return whether it is released.

        Where two persons must release it, the first call is a request: it returns ``False``, and the kill stays in
        force until somebody else calls too. Or one call names who approved it.

        Args:
            kill: The kill, or its id.
            by: Who releases it.
            reason: Why.
            approved_by: Who approved it: somebody else.

        Raises:
            ReleaseError: if there is no such kill (any more), or one person is to be both.
            ArgumentError: if a text is empty or too long, or this is no kill.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> kill = engine.kill(by="ann", reason="a drill", two_persons=True)
        >>> engine.release_kill(kill, by="ann", reason="it is over")
        False
        >>> engine.release_kill(kill.id, by="bob", reason="it is over")
        True
        """
        number = id_of(kill)
        by, reason = text_of("by", by), text_of("reason", reason)
        approved_by = None if approved_by is None else text_of("approved_by", approved_by)
        released: bool = self._core.switches.release(number, by, reason, approved_by)
        done = "released" if released else "release asked for"
        approval = "" if approved_by is None else f", approved by {one_line(approved_by)}"
        _LOG.info("kill %016x: %s by %s%s: %s", number, done, one_line(by), approval, one_line(reason))
        return released

    def knows(self, uid: UidLike) -> bool:
        """Return whether the store has an entity, a policy names it, or it has a handle or a session.

        In a shared state, one that any authority's store has or had counts too. A kill of anything else may be of a
        mistyped name.

        Raises:
            UidError: if ``uid`` is not a uid.
            ForkedError: if the engine was opened before a fork.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.knows('User::"ann"'), engine.knows('User::"amm"')
        (True, False)
        """
        return self._core.knows(*Uid.of(uid))

    def _check_scope(self, uid: Uid, *, of_resources: bool) -> None:
        """Refuse an entity that can concern no decision."""
        self._core.check_principal(*uid)
        self._core.switches.check_scope(uid, of_resources)

    def _count_within(self, what: str, uid: Uid, *, of_resources: bool) -> int:
        """Count what of the store is in a scope, and warn if nothing is."""
        count = self._core.switches.count_within(uid, of_resources)
        if not count:
            kinds = "resource" if of_resources else "principal and no resource"
            hint = "" if self._core.knows(*uid) else ", and nothing else is known of it: it may be mistyped"
            _LOG.warning("%s: no %s of the store is %s or in it%s", what, kinds, one_line(str(uid)), hint)
        return count

    def kills(self) -> list[Kill]:
        """Return the kills in force, the oldest first.

        Raises:
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.
        """
        return [Kill._of(told) for told in self._core.switches.kills()]

    def notes(self) -> list[Note]:
        """Return who changed kills, markets and sessions, why and when, the oldest first.

        These are the last 512 kills and releases, the last 512 revocations and quarantines, and the last 512 other
        changes: markets, renewals, proofs and risks. Each of these may be many, and pushes out its own only. They are
        of all processes of the state, as far as somebody was named: a change of sessions without ``by`` and ``reason``
        has no note. Nor has what changes nothing, as a market that is set to the state that it has. A process that is
        killed between a change and its note leaves none.

        Raises:
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> kill = engine.kill('User::"ann"', by="bob", reason="lost her key")
        >>> engine.release_kill(kill, by="eve", reason="she found it")
        True
        >>> [(note.what, str(note.of), note.by, note.reason) for note in engine.notes()]
        [('killed', 'User::"ann"', 'bob', 'lost her key'), ('released', 'User::"ann"', 'eve', 'she found it')]
        """
        return [Note._of(told) for told in self._core.switches.notes()]

    def market(
        self, target: UidLike, state: Literal["normal", "volatile", "halted"], *, by: str, reason: str
    ) -> Market:
        """Set the state of a market: of an instrument, a venue or any other resource, and of all that is in it.

        A resource's state is the severest of its own and of everything that it is in. Policies read it as
        ``context.live.market``. Decisions that begin after this returns see it.

        By the present bundle's schema, the target must be a resource or be able to have one in it. It need not be in
        the store. ``in_scope`` of what is returned says how many resources of the store are concerned now; if there are
        none, the logger ``"ztfast"`` gets a warning.

        Args:
            target: The resource, or what resources are in.
            state: "normal", "volatile" or "halted".
            by: Who sets it.
            reason: Why.

        Raises:
            ArgumentError: if the state is none of these, or a text is empty or too long.
            CapacityError: if 1,024 markets are other than normal already.
            EntityError: if the schema has no entity type of this name, or no resource can be of it or in an entity of
                it.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> halted = engine.market('Photo::"p1"', "halted", by="ann", reason="news")
        >>> engine.market_state('Photo::"p1"'), engine.market_state('Photo::"p2"')
        ('halted', 'normal')
        """
        uid, by, reason = target_of(target), text_of("by", by), text_of("reason", reason)
        name = state_of(state)
        # What lies in a market's scope by another bundle can be let go on by this one.
        if name != "normal":
            self._check_scope(uid, of_resources=True)
        told = self._core.switches.set_market(uid, name, by, reason)
        _LOG.info("market %s: %s by %s: %s", *map(one_line, (str(uid), name, by, reason)))
        return Market._of(told, self._count_within("market", uid, of_resources=True))

    def market_state(self, target: UidLike) -> str:
        """Return the state of a market: the severest of the resource's own and of everything that it is in.

        Raises:
            UidError: if ``target`` is not a uid.
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).market_state('Photo::"p1"')
        'normal'
        """
        state: str = self._core.switches.market(target_of(target))
        return state

    def markets(self) -> list[Market]:
        """Return the markets whose own state is not normal.

        Raises:
            ForkedError: if the engine was opened before a fork.
            StateError: if the file of the state is gone.
        """
        return [Market._of(told) for told in self._core.switches.markets()]
