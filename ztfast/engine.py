"""The engine: the policy decision point in the process."""

from __future__ import annotations

import enum
import json
import logging
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ztfast import _core, gate
from ztfast import columns as columns_of
from ztfast.bundle import Bundle
from ztfast.codes import Code
from ztfast.errors import ContextError, OwnerError, SourceError, StaleGateError, UidError
from ztfast.explanation import Explanation, PolicyText
from ztfast.gate import Decision, EntityHandle, Gate, Session
from ztfast.identities import Identity, nanoseconds
from ztfast.reports import MemoryUse, StaleGate, Swap
from ztfast.shown import given as shown
from ztfast.shown import refused
from ztfast.sources import Source, read_entities
from ztfast.uid import Uid, UidLike

__all__ = ["Code", "Engine", "Explanation", "Identity", "MemoryUse", "PolicyText", "StaleGate", "Swap"]

_LOG = logging.getLogger("ztfast")


class AllActions(enum.Enum):
    """The type of :data:`ztfast.ALL_ACTIONS`."""

    ALL_ACTIONS = "all actions"

    def __repr__(self) -> str:
        return "ztfast.ALL_ACTIONS"


ALL_ACTIONS: Final[Literal[AllActions.ALL_ACTIONS]] = AllActions.ALL_ACTIONS
"""All actions, also those that the bundle exempts from the kill switch; see :meth:`Engine.kill_switch`."""


class Engine:
    """Decides over a bundle, in the process, in memory.

    With the defaults, no decision waits for a page: the bundle and all room are there before the first one, and a
    bundle is there before :meth:`swap` lets it decide. The system may still move pages out when memory runs out;
    ``locked`` forbids that. What becomes of the bundle's file is of no concern: it was read whole.

    A forked child is another process: there every decision of its parent's engine is DENY with code FORKED, and what
    would change something raises :class:`ForkedError`, since no revocation, swap or kill switch of the parent reaches
    it. So open an engine in the child, also with ``multiprocessing``'s start method ``fork`` (better: ``spawn`` or
    ``forkserver``).

    Threads may share an engine. Deciding takes no lock; changes (:meth:`swap`, :meth:`upsert`, :meth:`remove`) wait for
    each other.

    Args:
        bundle: What to decide by.
        sessions: Sessions that can be live at once, 64 bytes each.
        handles: Uids that can have a handle (sessions' principals, resources), 16 bytes each.
        prefault: Have every page there beforehand. Without it, room takes no memory until it is used, and the first use
            of a page waits for it.
        locked: Lock all that in memory. The engine then decides over a copy of the bundle. What else the process
            has is for its owner to lock (``mlockall``).
        huge_pages: Decide over a copy of the bundle in large pages, from the system's pool
            (``vm.nr_hugepages``) or, where that is empty, transparent ones. It spares the processor looking pages up in
            bundles far larger than its caches: some per cent of a decision, so measure it. Where there are none, small
            pages serve. :attr:`memory` says what came of it.
        strict: Raise ContextError for a value that is out of its type's range, instead of denying with code BAD_VALUE:
            for tests. In the field such values come from the market, and must not end a program.
        max_context: Bytes that the context of a request may take: 16 for each attribute and for each element of a set,
            and those of its texts in UTF-8 (ids of entities among them). A larger one is DENY with code TOO_LARGE,
            before anything is done with what is in it; with ``strict`` it raises ContextError. Gates and columns count
            alike; of handles that are given as numbers (arrays of uint64, embedders) the ids are not counted.

    Raises:
        ArgumentError: where something is not what is wanted.
        BundleError: where the bundle's sections are not what their hashes say.
        CapacityError: where the system refuses the memory, or refuses to lock it (``RLIMIT_MEMLOCK``).

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"').effect
    'ALLOW'
    """

    __slots__ = ("_core", "_resources")

    def __init__(
        self,
        bundle: Bundle,
        *,
        sessions: int = 1 << 16,
        handles: int = 1 << 22,
        prefault: bool = True,
        locked: bool = False,
        huge_pages: bool = False,
        strict: bool = False,
        max_context: int = 1 << 22,
    ) -> None:
        _bundle("Engine", bundle)
        counts: dict[str, int] = {}
        for name, value, most in (
            ("sessions", sessions, (1 << 30) - 1),
            ("handles", handles, (1 << 30) - 1),
            ("max_context", max_context, (1 << 63) - 1),
        ):
            counts[name] = _count(value)
            if not 0 < counts[name] <= most:
                raise refused(name, f"a number from 1 to {most}", value)
        for name, on in (("prefault", prefault), ("locked", locked), ("huge_pages", huge_pages), ("strict", strict)):
            _bool(name, on)
        self._core = _core.Engine(
            bundle._core,
            bundle,
            **counts,
            prefault=prefault,
            locked=locked,
            huge_pages=huge_pages,
            strict=strict,
        )
        self._resources: WeakValueDictionary[Uid, EntityHandle] = WeakValueDictionary()

    @property
    def bundle(self) -> Bundle:
        """The bundle that decisions go by now."""
        bundle: Bundle = self._core.bundle
        return bundle

    @property
    def memory(self) -> MemoryUse:
        """What is kept in memory for decisions.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny(), sessions=1000, handles=1000)
        >>> engine.memory.tables, engine.memory.locked
        (80000, 0)
        """
        counted = self._core.memory()
        counted["gates"] += self._core.gate_objects * gate.OBJECT_BYTES
        return MemoryUse(**counted)

    def evaluate(
        self,
        principal: UidLike,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide by policy alone: no session, no kill switch.

        Args:
            principal: Who asks: a uid.
            action: What for: a uid, or its id alone where that is unambiguous, as ``"order.new"``.
            resource: About what: a uid or a handle.
            context: The context, by the schema's types: Python values, numpy scalars, or Cedar's JSON forms
                (``{"__entity": ...}``, ``{"__extn": ...}``); ``docs/conversions.md`` has them all. ``ztfast.ABSENT``
                leaves an optional attribute out. A value that is out of its type's range, as a number beyond 64 bits
                or a NaN, is DENY with code BAD_VALUE.

        Raises:
            ActionError, ContextError, UidError: where the request is not one that the schema knows. Entities need not
                be in the store, and one of a type to which the action does not apply is DENY with code NOT_APPLICABLE.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.evaluate('User::"eve"', "view", 'Photo::"p1"')
        Decision(DENY, DEFAULT)
        """
        return Decision(*self._core.evaluate(principal, action, resource, _dict(context)))

    def admit(self, identity: Identity) -> Session:
        """Open a session for an identity that trusted code has established.

        The principal need not be in the store, but its type must be one of the schema's.

        Raises:
            ArgumentError: where it is no identity.
            CapacityError: where all slots are taken by sessions that are still good, or all handles are in use.
            EntityError: where the schema has no such type, or does not list the entity in its enumerated type.
            ForkedError: where the engine was opened before a fork.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=time.time() + 60))
        >>> session.principal
        Uid(type='User', id='ann')
        """
        if not isinstance(identity, Identity):
            raise refused("admit", "a ztfast.Identity", identity)
        return gate.admit(self._core, identity, nanoseconds(identity.not_before), nanoseconds(identity.not_after))

    def decide(
        self,
        session: Session,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide for a session: its validity, the kill switch, and policy. Takes what :meth:`evaluate` takes.

        A session of another engine is DENY with code UNKNOWN_SESSION, another engine's handle with UNKNOWN_HANDLE.

        Raises:
            OwnerError: where it is no session at all.
            ActionError, ContextError, UidError: as :meth:`evaluate`.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        >>> engine.decide(session, "view", 'Photo::"p1"')
        Decision(ALLOW, reasons=('owners-view',))
        """
        return Decision(*self._core.decide(_id(session), action, resource, _dict(context)))

    def prepare(self, action: UidLike, *names: str | tuple[str, ...]) -> Gate:
        """Prepare decisions about one action.

        Args:
            action: A uid, or its id alone where that is unambiguous.
            names: The context's attributes in the order in which their values will be given; attributes of records by
                their path, as ``"order.qty"`` or exactly as ``("order", "qty")``: names may have points, too, and one
                that says two attributes is refused. All that the schema requires must be among them.

        Raises:
            ActionError: where there is no such action.
            ContextError: where a name is unknown, missing, ambiguous or named twice.
            CapacityError: where the system refuses the gate's working memory.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).prepare("view")
        <ztfast.Gate Action::"view" ()>
        """
        return gate.prepare(self._core, action, list(names))

    def attribute_path(self, action: UidLike, name: str) -> tuple[str, ...]:
        """The path of the context attribute, or record of attributes, that a text says.

        Args:
            action: A uid, or its id alone where that is unambiguous.
            name: The path joined by points, as ``"order.qty"``, or exactly as a JSON list, as ``'["order", "qty"]'``.

        Raises:
            ActionError: where there is no such action.
            ContextError: where there is no such attribute, or more than one.

        >>> import ztfast
        >>> schema = ztfast.Text('''entity User; entity Thing;
        ...     action buy appliesTo { principal: User, resource: Thing, context: { order: { qty: Long } } };''')
        >>> bundle = ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=schema)
        >>> ztfast.Engine(bundle).attribute_path("buy", "order.qty")
        ('order', 'qty')
        """
        if not isinstance(name, str):
            raise ContextError(f"wanted an attribute's path as text; got {shown(name)}")
        paths = [tuple(path) for path in self._core.paths(action)]
        found = [path for path in paths if ".".join(path) == name or json.dumps(path) == _json_list(name)]
        if len(found) == 1:
            return found[0]
        if found:
            exactly = " or ".join(json.dumps(path) for path in found)
            raise ContextError(f"{shown(action)}: {shown(name)} says two context attributes: write one as {exactly}")
        known = ", ".join(".".join(path) for path in paths) or "none"
        raise ContextError(f"{shown(action)}: the schema has no context attribute {shown(name)}; it has {known}")

    def evaluate_many(
        self,
        principals: UidLike | EntityHandle | Sequence[UidLike | EntityHandle] | NDArray[np.uint64],
        action: UidLike,
        resources: UidLike | EntityHandle | Sequence[UidLike | EntityHandle] | NDArray[np.uint64],
        context: Mapping[str, Any] | Mapping[tuple[str, ...], Any] | None = None,
    ) -> NDArray[np.uint8]:
        """Decide on many requests by policy alone, by one bundle, without the GIL: no session, no kill switch.

        Args:
            principals: Who asks: one for all rows, or one a row. Uids or handles, or handles' numbers as an array of
                uint64. A uid is given a handle, for good.
            action: What for.
            resources: About what, in the same forms.
            context: Columns by attribute (by its path, as ``"order.qty"`` or ``("order", "qty")``), as for
                :meth:`Gate.decide_many`: one value for all rows, or one a row.

        Returns:
            Array of uint8 with a :class:`Code` per row.

        Raises:
            ActionError, ContextError, UidError: as :meth:`evaluate`, and where columns differ in length.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.evaluate_many(['User::"ann"', 'User::"eve"'], "view", 'Photo::"p1"') == ztfast.Code.ALLOW
        array([ True, False])
        """
        columns: Mapping[Any, Any] = _dict(context)
        if self._core.forked:
            given: list[tuple[str, Any]] = [
                ("principals", principals),
                ("resources", resources),
                *((str(name), of) for name, of in columns.items()),
            ]
            return np.full(columns_of.count(str(action), given), Code.FORKED, np.uint8)
        prepared = self.prepare(action, *columns)
        return prepared.evaluate_many(self._handles(principals), self._handles(resources), *columns.values())

    def _handles(self, given: Any) -> Any:
        if isinstance(given, np.ndarray) and given.dtype != object:
            return given
        if isinstance(given, (str, Uid, EntityHandle, Mapping)):
            return given if isinstance(given, EntityHandle) else self.resource(given)
        # What has no size may have no end.
        if not hasattr(type(given), "__len__"):
            raise UidError(f"wanted uids or handles, one or a sequence of them; got {shown(given)}")
        several = _several("uids or handles", given)
        return np.array(
            [one.handle if isinstance(one, EntityHandle) else gate.handle_of(self._core, one) for one in several],
            np.uint64,
        )

    def resources(self, action: UidLike) -> list[Uid]:
        """The resources in the store that an action applies to: the bundle's, then those that were added since.

        Raises:
            ActionError: where there is no such action.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).resources("view")
        [Uid(type='Photo', id='p1'), Uid(type='Photo', id='p2')]
        """
        return [Uid(*uid) for uid in self._core.resources(action)]

    def entitlements(
        self, session: Session, action: UidLike, context: Mapping[str, Any] | None = None
    ) -> NDArray[np.bool_]:
        """What a session may do an action with, over the whole store: for screens, books and subscriptions.

        All by one bundle, without the GIL, at one moment: it is what :meth:`decide` would say of each. It is no
        permission to keep: decide again when it is acted upon.

        Args:
            session: Who asks. One that is not good now may nothing.
            action: What for.
            context: As for :meth:`decide`; the same for all resources.

        Returns:
            Array of bool with an element for each of :meth:`resources`, in their order. Where the store may change
            between the two calls, use :meth:`entitled`, which is one.

        Raises:
            ActionError, ContextError: as :meth:`decide`; so where the action requires attributes, give them.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"bob"', not_after=time.time() + 60))
        >>> dict(zip(map(str, engine.resources("view")), engine.entitlements(session, "view").tolist()))
        {'Photo::"p1"': False, 'Photo::"p2"': True}
        """
        allowed = self._core.entitlements(_id(session), action, _dict(context))
        return np.frombuffer(allowed, np.bool_)

    def entitled(self, session: Session, action: UidLike, context: Mapping[str, Any] | None = None) -> list[Uid]:
        """The resources that a session may do an action with: :meth:`entitlements` and :meth:`resources` at one moment.

        Raises:
            ActionError, ContextError: as :meth:`entitlements`.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"bob"', not_after=time.time() + 60))
        >>> engine.entitled(session, "view")
        [Uid(type='Photo', id='p2')]
        """
        return [Uid(*uid) for uid in self._core.entitled(_id(session), action, _dict(context))]

    def resource(self, uid: UidLike) -> EntityHandle:
        """The handle of an entity: good over bundle swaps, whether or not the entity is in the store.

        Raises:
            UidError: where it is no uid.
            CapacityError: where all handles are in use.
            ForkedError: where the engine was opened before a fork.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.resource('Photo::"p1"').uid
        Uid(type='Photo', id='p1')
        """
        uid = Uid.of(uid)
        known = self._resources.get(uid)
        if known is None:
            known = self._resources.setdefault(uid, gate.resource(self._core, uid))
        return known

    def swap(
        self,
        bundle: Bundle,
        *,
        keep_changes: bool | None = None,
        upsert: Source | Iterable[Any] | None = None,
        allow_stale: bool = False,
    ) -> Swap:
        """Decide by another bundle from now on.

        Readers never wait: decisions under way end by the old bundle, which a gate keeps until it decides again.
        Sessions, handles and gates stay good. All that comes with it is one step: no decision goes by the new bundle
        without the entities that were kept or put in.

        Args:
            bundle: What to decide by.
            keep_changes: Make the changes of :meth:`upsert` and :meth:`remove` again, each entity as it was last put
                in or taken out. ``False`` forgets them. So does leaving it out, but then a warning of the logger
                ``"ztfast"`` says what was forgotten.
            upsert: Entities to put into the new bundle's store, as for :meth:`upsert`.
            allow_stale: Go on where live gates do not fit the bundle. Each decision by them is then DENY with code
                STALE_GATE, until a bundle comes that they fit.

        Returns:
            Which changes were kept and which forgotten.

        Raises:
            StaleGateError: where live gates that fit the old bundle would not fit this one, see :meth:`stale_gates`.
            PolicyError: where an entity that is kept or put in does not fit the new schema, or is there twice and
                differs.
            EntityError: where an entity would be its own ancestor.
            BundleError: where the bundle's sections are not what their hashes say.
            CapacityError: where the system refuses the memory for it.

            Whatever is raised, the old bundle stays, with its changes.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.remove(['User::"bob"'])
        >>> engine.swap(ztfast.examples.tiny(), keep_changes=True)
        Swap(kept=(Uid(type='User', id='bob'),), forgotten=())
        >>> engine.swap(ztfast.examples.tiny(), keep_changes=False).forgotten
        (Uid(type='User', id='bob'),)
        """
        _bundle("swap", bundle)
        if keep_changes is not None:
            _bool("swap: keep_changes", keep_changes)
        _bool("swap: allow_stale", allow_stale)
        source = None if upsert is None else read_entities(upsert)
        kept, forgotten, stale = self._core.swap(
            bundle._core, bundle, bool(keep_changes), None if source is None else source[1], bool(allow_stale)
        )
        if stale:
            gates = tuple(StaleGate._of(gate) for gate in stale)
            named = "; ".join(f"{gate.count} of {gate.action} ({', '.join(gate.names)}): {gate.why}" for gate in gates)
            raise StaleGateError(
                f"the bundle would make live gates stale, and each decision by them DENY: {named}. Compile a bundle "
                "that they fit, drop them, or swap(bundle, allow_stale=True)",
                gates,
            )
        done = Swap(tuple(Uid(*uid) for uid in kept), tuple(Uid(*uid) for uid in forgotten))
        if done.forgotten and keep_changes is None:
            shown = ", ".join(map(str, done.forgotten[:5]))
            more = f" and {len(done.forgotten) - 5} more" if len(done.forgotten) > 5 else ""
            _LOG.warning(
                "the swap forgot what upsert() and remove() changed: %s%s; swap(bundle, keep_changes=True) keeps it",
                shown,
                more,
            )
        return done

    def stale_gates(self, bundle: Bundle) -> tuple[StaleGate, ...]:
        """The live gates that a bundle would not fit, and why: what :meth:`swap` refuses it for.

        Those that do not fit the bundle of now either are among them, and say so.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> view = engine.prepare("view")
        >>> engine.stale_gates(ztfast.examples.tiny())
        ()
        """
        _bundle("stale_gates", bundle)
        return tuple(StaleGate._of(gate) for gate in self._core.stale_gates(bundle._core))

    def compact(self) -> None:
        """Release what is kept for nobody any more: texts that were replaced, entities that were added and removed, and
        the uids of principals whose sessions are over. A uid of which :meth:`resource` gave a handle is kept for good.

        Where all handles are in use, an admission does so by itself. A gate that has decided nothing since holds what
        it decided by until it decides again.

        Of what was added and removed again nothing is left, as if neither had been: a later swap that keeps changes
        does not take it out of a bundle that has it.

        It takes as long as a :meth:`swap` to the bundle of now that keeps the changes, and is as gentle: nobody waits,
        and sessions, handles and gates stay good.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.compact()
        """
        self._core.compact()

    def upsert(self, entities: Source | Iterable[Any]) -> None:
        """Put entities into the store, or others in their place, between two decisions.

        Decisions are then what they would be by a bundle compiled with these entities. One change is one step: no
        decision sees a part of it. The next :meth:`swap` forgets it unless it is told to keep it, so change what the
        next bundle is made of too.

        Args:
            entities: As for :func:`ztfast.compile`: a file, a text, or a list in Cedar's JSON. Each replaces the entity
                with its uid whole, parents, attributes and tags.

        Raises:
            PolicyError: where an entity does not fit the schema, or is there twice and differs.
            EntityError: where an entity would be its own ancestor.

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
        """Take entities out of the store, between two decisions. What the store lacks already is no error.

        Entities below a removed one stay below it, but no longer below what was above it, as in Cedar's JSON.

        Raises:
            UidError: where one is no uid.
            EntityError: where the schema has no such type, one is an action, or is named twice.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.remove(['User::"bob"'])
        >>> engine.evaluate('User::"bob"', "view", 'Photo::"p2"').effect
        'DENY'
        """
        removals = [(uid.type, uid.id) for uid in map(Uid.of, _several("a list of uids", uids))]
        self._core.change(None, removals)

    def kill_switch(self, on: bool, actions: AllActions | UidLike | Iterable[UidLike] | None = None) -> None:
        """Deny sessions actions, with code KILLED, until it is switched off. It holds over every :meth:`swap`.

        Args:
            on: Whether to deny, or to do so no longer.
            actions: Which ones. By default all but those that the bundle exempts (``ztfast.compile(exempt=...)``), so
                that what reduces risk still passes; :data:`ztfast.ALL_ACTIONS` for those too; or these actions and
                groups of actions, exempt or not.

        A group is stopped with the actions that are in it then, and stops those that later bundles put into it; what a
        bundle takes out of it stays stopped, until the group is lifted.

        ``kill_switch(False)`` lifts everything that was switched on; ``kill_switch(False, actions=[...])`` what was
        switched on by these names: what another switch stops stays stopped.

        Raises:
            ActionError: where the bundle has no such action or group; nothing has changed then.
            ArgumentError: where ``on`` is neither True nor False, or ``actions`` names none: a switch that stops
                nothing is not what anybody wants of one.
            ForkedError: where the engine was opened before a fork.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.kill_switch(True, actions=["view"])
        >>> engine.killed
        True
        >>> engine.kill_switch(False)
        """
        _bool("kill_switch", on)
        names: list[object] | None = None
        if isinstance(actions, (str, Uid, Mapping)):
            names = [actions]
        elif actions is not None and not isinstance(actions, AllActions):
            try:
                names = [] if isinstance(actions, (bytes, bytearray)) else list(actions)
            except TypeError:
                names = []
            if not names:
                wanted = "an action, a list of at least one, or ztfast.ALL_ACTIONS"
                raise refused("kill_switch: actions", wanted, actions)
        self._core.kill_switch(bool(on), actions is ALL_ACTIONS, names)

    @property
    def killed(self) -> bool:
        """Whether the kill switch stops anything."""
        return self._core.killed

    def explain(
        self,
        who: Session | UidLike,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """Cedar's own answer, with the policies' sources, beside the engine's. Slow: it runs Cedar itself.

        Args:
            who: A session (as for :meth:`decide`) or a principal's uid (as for :meth:`evaluate`).
            action, resource, context: As for :meth:`evaluate`.

        Raises:
            OwnerError: where the session or a handle is another engine's.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> explanation = engine.explain('User::"ann"', "view", 'Photo::"p1"')
        >>> explanation.allow, explanation.agrees, explanation.reasons[0].policy.line
        (True, True, 1)
        """
        session = who if isinstance(who, Session) else None
        if session is not None and not gate.belongs(session, self._core):
            raise OwnerError(f"{who!r} is another engine's: admit the principal to this one, or give its uid")
        decided, (allow, reasons, errors), problem, shown = self._core.explain(
            None if session is None else session.id,
            who if session is None else session.principal,
            action,
            resource,
            _dict(context),
        )
        decision, bundle = Decision(*decided), cast(Bundle, shown)
        by_id = {policy.id: policy for policy in bundle.policies}

        def text(policy: str, error: str | None = None) -> PolicyText:
            source = bundle.policy_source(policy)
            return PolicyText(by_id[policy], source[2] if source else "", error)

        return Explanation(
            decision,
            allow,
            tuple(text(policy) for policy in reasons),
            tuple(text(policy, error) for policy, error in errors),
            problem,
        )

    def __reduce_ex__(self, protocol: object) -> Any:
        raise OwnerError(
            "an engine is neither copied nor pickled: save its bundle (engine.bundle.save(path)), and open an engine "
            "over ztfast.Bundle.load(path) there"
        )

    def __repr__(self) -> str:
        return f"<ztfast.Engine over {self.bundle!r}>"


def _json_list(text: str) -> str:
    """A JSON list in the one spelling that we write; empty for other texts."""
    try:
        return json.dumps(json.loads(text)) if text.startswith("[") else ""
    except (ValueError, RecursionError):
        return ""


def _id(session: Session) -> int:
    if not isinstance(session, Session):
        raise OwnerError(f"wanted a ztfast.Session (see Engine.admit), got {shown(session)}")
    return session.id


def _bundle(what: str, bundle: object) -> None:
    if not isinstance(bundle, Bundle):
        raise refused(what, "a ztfast.Bundle, as ztfast.Bundle.load(path) or ztfast.compile(...) gives", bundle)


def _count(number: Any) -> int:
    """A whole number, numpy's among them; 0 for what is none."""
    try:
        return 0 if isinstance(number, bool) else operator.index(number)
    except Exception:
        return 0


def _bool(what: str, on: object) -> None:
    if not isinstance(on, (bool, np.bool_)):
        raise refused(what, "True or False", on)


def _several(wanted: str, many: Any) -> Iterable[Any]:
    # A uid can be walked through, too: its parts are no uids.
    if not isinstance(many, (str, bytes, Mapping, Uid)):
        try:
            walk: Iterable[Any] = iter(many)
        except TypeError:
            pass
        else:
            return walk
    raise UidError(f"wanted {wanted}; got {shown(many)}")


def _dict(context: Mapping[Any, Any] | None) -> dict[Any, Any]:
    if context is None:
        return {}
    if isinstance(context, dict):
        return context
    if not isinstance(context, Mapping):
        raise ContextError(f"wanted the context as a mapping of attributes to values, got {type(context).__qualname__}")
    return dict(context)
