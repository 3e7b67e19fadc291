"""What changes an engine's policies and entities: it swaps bundles, and puts entities into the store."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ztfast.arguments import boolean, check_bundle, several
from ztfast.bundle import Bundle
from ztfast.errors import Error, SourceError, StaleGateError, UidError
from ztfast.reports import StaleGate, Swap
from ztfast.shown import given as shown
from ztfast.sources import Source, read_entities
from ztfast.uid import Uid, UidLike

if TYPE_CHECKING:
    from ztfast import _core

__all__ = ["Changing"]

_LOG = logging.getLogger("ztfast")


class Changing:
    """The part of :class:`ztfast.Engine` that swaps bundles and changes entities."""

    __slots__ = ()
    _core: _core.Engine

    def swap(
        self,
        bundle: Bundle,
        *,
        keep_changes: bool | None = None,
        upsert: Source | Iterable[Any] | None = None,
        allow_stale: bool = False,
    ) -> Swap:
        """Replace the bundle.

        No decision waits: a decision that has begun uses the old bundle, and a gate keeps its bundle until it decides
        again. Sessions, handles and gates stay valid. A swap is one step: no decision uses the new bundle without the
        entities that are kept or upserted.

        Args:
            bundle: The new bundle.
            keep_changes: Repeat the changes of :meth:`upsert` and :meth:`remove`, with the last state of each entity.
                ``False`` drops the changes. By default they are dropped too, but a warning of the logger ``"ztfast"``
                lists them.
            upsert: Entities to put into the new bundle's store, as for :meth:`upsert`.
            allow_stale: Swap even if live gates do not fit the bundle. Each of their decisions is then DENY with code
                STALE_GATE, until a swap to a bundle that they fit.

        Returns:
            The changes that were kept and those that were dropped.

        Raises:
            StaleGateError: if live gates that fit the old bundle would not fit this one, see :meth:`stale_gates`.
            PolicyError: if a kept or upserted entity does not fit the new schema, or is there twice with differences.
            EntityError: if an entity would be its own ancestor.
            BundleError: if a section of the bundle does not match its hash.
            CapacityError: if the system has no memory for it and the gates, or does not allow locking it.

            After any error, the old bundle stays, with its changes.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.remove(['User::"bob"'])
        >>> engine.swap(ztfast.examples.tiny(), keep_changes=True)
        Swap(kept=(Uid(type='User', id='bob'),), forgotten=())
        >>> engine.swap(ztfast.examples.tiny(), keep_changes=False).forgotten
        (Uid(type='User', id='bob'),)
        """
        check_bundle("swap", bundle)
        keeps = keep_changes is not None and boolean("swap: keep_changes", keep_changes)
        allows = boolean("swap: allow_stale", allow_stale)
        source = None if upsert is None else read_entities(upsert)
        kept, forgotten, stale = self._core.swap(
            bundle._core, bundle, keeps, None if source is None else source[1], allows
        )
        if stale:
            gates = tuple(StaleGate._of(gate) for gate in stale)
            named = "; ".join(f"{gate.count} of {gate.action} ({', '.join(gate.names)}): {gate.why}" for gate in gates)
            raise StaleGateError(
                f"live gates do not fit the bundle, and would deny every request: {named}. Compile a bundle that they "
                "fit, drop these gates, or call swap(bundle, allow_stale=True)",
                gates,
            )
        done = Swap(tuple(Uid(*uid) for uid in kept), tuple(Uid(*uid) for uid in forgotten))
        if done.forgotten and keep_changes is None:
            shown = ", ".join(map(str, done.forgotten[:5]))
            more = f" and {len(done.forgotten) - 5} more" if len(done.forgotten) > 5 else ""
            _LOG.warning(
                "the swap dropped changes of upsert() and remove(): %s%s; swap(bundle, keep_changes=True) keeps them",
                shown,
                more,
            )
        return done

    def stale_gates(self, bundle: Bundle) -> tuple[StaleGate, ...]:
        """Return the live gates that do not fit a bundle, and why. :meth:`swap` refuses a bundle because of them.

        Gates that do not fit the present bundle either are included, and marked as such.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> view = engine.prepare("view")
        >>> engine.stale_gates(ztfast.examples.tiny())
        ()
        """
        check_bundle("stale_gates", bundle)
        return tuple(StaleGate._of(gate) for gate in self._core.stale_gates(bundle._core))

    def compact(self) -> None:
        """Free memory that is no longer needed.

        This is the memory of replaced texts, of entities that were added and removed, and of uids of principals whose
        sessions have ended. A uid for which :meth:`resource` returned a handle is kept. If all handles are in use, an
        admission frees those of ended sessions by itself. In a shared state uids are kept for as long as the state. An
        idle gate holds its old data until it decides again.

        An entity that was added and removed again leaves no trace: a later swap that keeps changes does not remove it
        from a bundle that has it.

        The call takes as long as a :meth:`swap` to the present bundle that keeps the changes. No decision waits, and
        sessions, handles and gates stay valid.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.compact()
        """
        self._core.compact()

    def upsert(self, entities: Source | Iterable[Any]) -> None:
        """Add entities to the store, or replace them, between two decisions.

        Later decisions are those of a bundle compiled with these entities. A change is one step: no decision sees a
        part of it. The next :meth:`swap` drops it unless ``keep_changes`` is true, so change the sources of the next
        bundle too.

        Args:
            entities: The entities, as for :func:`ztfast.compile`: a file, a text, or a list in Cedar's JSON. Each
                replaces the whole entity with its uid: parents, attributes and tags.

        Raises:
            PolicyError: if an entity does not fit the schema, or is there twice with differences.
            EntityError: if an entity would be its own ancestor.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.evaluate('User::"eve"', "view", 'Photo::"p2"').effect
        'DENY'
        >>> guests = [{"type": "Group", "id": "guests"}]
        >>> engine.upsert([{"uid": {"type": "User", "id": "eve"}, "attrs": {}, "parents": guests}])
        >>> engine.evaluate('User::"eve"', "view", 'Photo::"p2"').effect
        'ALLOW'
        """
        source = read_entities(entities)
        if source is None:
            raise SourceError("upsert: wanted a list of entities in Cedar's JSON, a file or ztfast.Text(...); got None")
        self._core.change(source[1], [])

    def remove(self, uids: Iterable[UidLike]) -> None:
        """Remove entities from the store, between two decisions. Entities that are not in the store are ignored.

        Children of a removed entity keep it as their parent, but lose its ancestors, as in Cedar's JSON.

        Raises:
            UidError: if an element is not a uid.
            EntityError: if the schema has no such type, or an entity is an action or named twice.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.remove(['User::"bob"'])
        >>> engine.evaluate('User::"bob"', "view", 'Photo::"p2"').effect
        'DENY'
        """
        try:
            removals = [(uid.type, uid.id) for uid in map(Uid.of, several("a list of uids", uids))]
        except Error:
            raise
        except Exception as error:
            raise UidError(f"wanted a list of uids; got {shown(uids)}, which fails: {error!r}") from error
        self._core.change(None, removals)
