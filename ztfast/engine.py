"""The engine: it decides requests, admits sessions and changes policies, inside the process."""

from __future__ import annotations

import json
import logging
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast
from weakref import WeakSet, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ztfast import _core, gate, plain
from ztfast import columns as columns_of
from ztfast.arguments import boolean, check_bundle, several
from ztfast.bundle import Bundle
from ztfast.changing import Changing
from ztfast.codes import Code
from ztfast.errors import ArgumentError, ContextError, OwnerError, UidError
from ztfast.explanation import Explanation, PolicyText
from ztfast.gate import Decision, EntityHandle, Gate, Session
from ztfast.identities import Identity
from ztfast.presented import Authority
from ztfast.reports import MemoryUse, RegisterUse, StaleGate, Swap
from ztfast.sessions import Sessions, path_of, place_of_state
from ztfast.shown import given as shown
from ztfast.shown import refused
from ztfast.switching import Switching
from ztfast.uid import Uid, UidLike

__all__ = ["Code", "Engine", "Explanation", "Identity", "MemoryUse", "PolicyText", "RegisterUse", "StaleGate", "Swap"]

_LOG = logging.getLogger("ztfast")


class Engine(Sessions, Changing, Switching):
    """An engine that decides over a bundle, inside the process and in memory.

    With the defaults, no decision waits for a page: the bundle and all tables are in memory before the first decision,
    and a new bundle is in memory before :meth:`swap` lets it decide. The system may still move pages out if memory runs
    out; ``locked`` prevents this. Changes to the bundle's file have no effect.

    A forked child cannot use its parent's engine, because the parent's revocations, swaps and kill switches do not
    reach it: there every decision is DENY with code FORKED, and every change raises :class:`ForkedError`. Open an
    engine in the child, also with ``multiprocessing``'s start method ``fork`` (better: ``spawn`` or ``forkserver``).

    Once the file of a shared state is removed or replaced, nothing that other processes change reaches this engine any
    more. It notices that within a second, and at each change: then every decision for a session is DENY with code
    STATE_GONE, and every change of sessions, kills and markets raises :class:`StateError`. Open another engine.

    Threads may share an engine. Deciding takes no lock. Changes (:meth:`swap`, :meth:`upsert`, :meth:`remove`) wait for
    each other.

    Args:
        bundle: The bundle.
        state: The directory of the live state, for example ``"/run/ztfast/desk"``, which the processes of a host share:
            what one of them revokes, no other decides by when the call has returned. Put it on a tmpfs. By default the
            state is this engine's own.
        role: ``"authority"`` may admit, revoke and change sessions. ``"decide"`` maps the state for reading only, so
            that a process that runs strategies can change nothing for others.
        clock: The clock that decisions read. ``"coarse"`` is the kernel's, with steps of 1 to 4 ms. ``"tsc"`` is the
            processor's time-stamp counter, calibrated each second: finer, and slower to read. ``"caller"`` is the time
            that :meth:`set_time` gives, for backtests and for trading engines with a clock of their own. All engines
            of a state go by the same: the system's clock, or the time that they are given.
        state_group: The group, by name or number, whose members may read a state that may belong to another user, with
            ``role="decide"``. Without it, the directory must be this process's user's own. Only that user may change
            the state, whatever group is named; not even root.
        make_state: Make the state if the directory has none. Otherwise, and with ``role="decide"``, that raises
            StateError. With False, nothing of the bundle is registered either before it is named: see
            :attr:`register`; nor is a list of what is revoked made in the directory.
        sessions: The number of sessions that can be live at once, by default 65,536; each takes 64 bytes that decisions
            read, and as many that only changes read. For a state that exists it must be what that was made with.
        handles: The number of uids that can have a handle (principals of sessions, resources); each takes 16 bytes, and
            about 100 more in a shared state. By default 4,194,304, and 262,144 in a shared state. There, a uid has at
            most 1,024 bytes, and keeps its handle as long as the state lasts; :attr:`register` says how many there are.
        prefault: Bring every page into memory beforehand. Otherwise the tables take no memory until they are used, and
            the first use of a page waits.
        locked: Lock this memory. The engine then decides over a copy of the bundle. The program has to lock its other
            memory itself (``mlockall``).
        huge_pages: Decide over a copy of the bundle in large pages, from the system's pool (``vm.nr_hugepages``) or, if
            that is empty, transparent ones. For bundles far larger than the processor's caches this saves some percent
            of a decision, so measure it. If there are no large pages, small ones are used. :attr:`memory` shows the
            result.
        strict: Raise ContextError for a value out of its type's range, instead of denying with code BAD_VALUE. This is
            for tests: in production such values come from the market, and must not end the program.
        max_context: The size in bytes that the context of a request may have: 16 for each attribute and each element of
            a set, and the UTF-8 bytes of its texts and entity ids. A larger context is DENY with code TOO_LARGE before
            its values are processed; with ``strict`` it raises ContextError. Gates and columns count in the same way,
            but do not count the ids of handles that are passed as numbers (arrays of uint64, embedders).
        credentials: How many credentials the validation table holds (about a KiB each), 4,096 by default; of those that
            do not fit, the ones that were presented least recently are verified again. Over a shared state, who opens
            the table first decides, and others may leave it out.
        revoked: The path of the file of what is revoked for ever (:meth:`revoke` with a
            :class:`ztfast.identity.Ground`). By default it is the file ``revoked`` of the state's directory, or memory
            if the state is the engine's own. Name one on a disk that outlives the machine's restart.

    Raises:
        ArgumentError: if an argument has a wrong type or value.
        BundleError: if a section of the bundle does not match its hash.
        CapacityError: if the system has no memory for the engine, or does not allow locking it (``RLIMIT_MEMLOCK``).
        ClockError: if the state goes by the time that its engines are given, and the engine by the system's clock, or
            the other way round.
        StateError: if the state cannot be opened or made, is another user's to change, or others could have forged it:
            it is of another version, boot or size, cut, a copy, or open to other users.

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"').effect
    'ALLOW'
    """

    __slots__ = ("__weakref__", "_attached", "_authorities", "_core", "_resources")

    def __init__(
        self,
        bundle: Bundle,
        *,
        state: str | os.PathLike[str] | None = None,
        role: Literal["authority", "decide"] = "authority",
        clock: Literal["coarse", "caller", "tsc"] = "coarse",
        state_group: str | int | None = None,
        make_state: bool = True,
        sessions: int | None = None,
        handles: int | None = None,
        prefault: bool = True,
        locked: bool = False,
        huge_pages: bool = False,
        strict: bool = False,
        max_context: int = 1 << 22,
        credentials: int | None = None,
        revoked: str | os.PathLike[str] | None = None,
    ) -> None:
        check_bundle("Engine", bundle)
        asked = {"sessions": sessions, "handles": handles, "credentials": credentials}
        usual = 1 << 22 if state is None else 1 << 18
        counts: dict[str, int] = {}
        for name, value, most in (
            ("sessions", 1 << 16 if sessions is None else sessions, (1 << 30) - 1),
            ("handles", usual if handles is None else handles, (1 << 30) - 1),
            ("credentials", 1 if credentials is None else credentials, _core.MAX_CREDENTIALS),
            ("max_context", max_context, (1 << 63) - 1),
        ):
            counts[name] = _count(value)
            if not 0 < counts[name] <= most:
                raise refused(name, f"a number from 1 to {most}", value)
        flags = {
            name: boolean(name, on)
            for name, on in (
                ("prefault", prefault),
                ("locked", locked),
                ("huge_pages", huge_pages),
                ("strict", strict),
                ("make_state", make_state),
            )
        }
        own_clock = plain.text(clock)
        if own_clock not in ("coarse", "caller", "tsc"):
            raise refused("clock", "'coarse', 'caller' or 'tsc'", clock)
        wanted = [None if given is None else counts[name] for name, given in asked.items()]
        self._core = _core.Engine(
            bundle._core,
            bundle,
            clock=own_clock,
            state=place_of_state(state, role, wanted[0], wanted[1], state_group, flags["make_state"]),
            revoked=path_of("revoked", revoked),
            credentials=wanted[2],
            **{name: count for name, count in counts.items() if name != "credentials"},
            prefault=flags["prefault"],
            locked=flags["locked"],
            huge_pages=flags["huge_pages"],
            strict=flags["strict"],
        )
        self._authorities: WeakSet[Authority] = WeakSet()
        self._attached: Callable[[], Authority | None] = lambda: None
        self._resources: WeakValueDictionary[Uid, EntityHandle] = WeakValueDictionary()

    @property
    def bundle(self) -> Bundle:
        """The present bundle."""
        bundle: Bundle = self._core.bundle
        return bundle

    def set_time(self, nanoseconds: int) -> int:
        """Give an engine with ``clock="caller"`` another time, in nanoseconds since the epoch. It begins at 1970.

        The time never goes back, so a session that expired stays so: an earlier time than before changes nothing. For
        another backtest open another engine. A time that is too late therefore ends sessions and kills for good. Over a
        shared state, what an authority gives is the time in all processes; what a process that only decides gives is
        its own, and counts where it is later.

        Returns:
            The time that the clock shows.

        Raises:
            ArgumentError: if the engine has another clock, or the time is no integer of 64 bits.
            ForkedError: in a forked child, whose time would be its parent's.
            StateError: if the state's file was removed or replaced.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny(), clock="caller")
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after="2015-01-01T00:00:00+00:00"))
        >>> engine.set_time(1_420_000_000_000_000_000)
        1420000000000000000
        >>> engine.decide(session, "view", 'Photo::"p1"').code
        'ALLOW'
        >>> engine.set_time(1_430_000_000_000_000_000)
        1430000000000000000
        >>> engine.decide(session, "view", 'Photo::"p1"').code
        'EXPIRED'
        """
        given = plain.integer(nanoseconds)
        if given is None or not -(1 << 63) <= given < 1 << 63:
            raise refused("set_time", "nanoseconds since the epoch, an integer of 64 bits", nanoseconds)
        shown = self._core.set_time(given)
        if shown is None:
            raise refused("set_time", "an engine with clock='caller'", nanoseconds)
        return shown

    @property
    def memory(self) -> MemoryUse:
        """The memory that the engine uses.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny(), sessions=1000, handles=1000)
        >>> engine.memory.tables, engine.memory.locked
        (80000, 0)
        """
        counted = self._core.memory()
        counted["gates"] += self._core.gate_objects * gate.OBJECT_BYTES
        return MemoryUse(**counted)

    @property
    def register(self) -> RegisterUse | None:
        """How full the register is that gives uids their handles in all processes of a state.

        It is ``None`` if the state is the engine's own. An authority fills it with the entities of its bundle (not with
        ``make_state=False``), with principals that are admitted, for whom they act, and :meth:`resource`. Nothing is
        released before the file of the state is removed. When it is full, no uid is admitted or gets a handle that it
        does not have yet. An admission that is refused takes nothing, unless it needs the last room for two uids and
        another process takes that at the same moment.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).register is None
        True
        """
        counted = self._core.register
        return None if counted is None else RegisterUse(*counted)

    def evaluate(
        self,
        principal: UidLike,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide by policy alone: no session, no kill switch.

        Args:
            principal: The principal's uid.
            action: The action's uid, or its id alone if that is unambiguous, for example ``"order.new"``.
            resource: The resource's uid or handle.
            context: The context: Python values, numpy scalars, or Cedar's JSON forms (``{"__entity": ...}``,
                ``{"__extn": ...}``) that fit the schema; ``docs/conversions.md`` lists them all. ``ztfast.ABSENT``
                leaves an optional attribute out. A value out of its type's range, for example a number beyond 64 bits
                or a NaN, is DENY with code BAD_VALUE.

        Raises:
            ActionError, ContextError, UidError: if the request does not fit the schema. Entities need not be in the
                store. An entity of a type to which the action does not apply is DENY with code NOT_APPLICABLE.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.evaluate('User::"eve"', "view", 'Photo::"p1"')
        Decision(DENY, DEFAULT)
        """
        return Decision(*self._core.evaluate(principal, action, resource, _dict(context)))

    def decide(
        self,
        session: Session,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide for a session: check its validity, the kills, and policy.

        The other arguments are as for :meth:`evaluate`. A session of another engine is DENY with code UNKNOWN_SESSION,
        another engine's handle with UNKNOWN_HANDLE.

        Raises:
            ArgumentError: if ``session`` is not a session.
            ActionError, ContextError, UidError: as for :meth:`evaluate`.

        >>> import ztfast, math
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        >>> engine.decide(session, "view", 'Photo::"p1"')
        Decision(ALLOW, reasons=('owners-view',))
        """
        return Decision(*self._core.decide(_id(session), action, resource, _dict(context)))

    def prepare(self, action: UidLike, *names: str | tuple[str, ...]) -> Gate:
        """Prepare a gate: a decision about one action, like a prepared statement.

        Args:
            action: The action's uid, or its id alone if that is unambiguous.
            names: The context attributes, in the order in which the gate takes their values. An attribute of a record
                is named by its path, as ``"order.qty"`` or exactly as ``("order", "qty")``; names may contain points,
                and an ambiguous name is refused. All attributes that the schema requires must be named.

        Raises:
            ActionError: if there is no such action.
            ContextError: if a name is unknown, missing, ambiguous or named twice.
            CapacityError: if the system has no memory for the gate, or does not allow locking it.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).prepare("view")
        <ztfast.Gate Action::"view" ()>
        """
        return gate.prepare(self._core, action, list(names))

    def attribute_path(self, action: UidLike, name: str) -> tuple[str, ...]:
        """Return the path of the context attribute, or of the record of attributes, that a text names.

        Args:
            action: The action's uid, or its id alone if that is unambiguous.
            name: The path joined by points, as ``"order.qty"``, or exactly as a JSON list, as ``'["order", "qty"]'``.

        Raises:
            ActionError: if there is no such action.
            ContextError: if there is no such attribute, or more than one.

        >>> import ztfast
        >>> schema = ztfast.Text('''entity User; entity Thing;
        ...     action buy appliesTo { principal: User, resource: Thing, context: { order: { qty: Long } } };''')
        >>> bundle = ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=schema)
        >>> ztfast.Engine(bundle).attribute_path("buy", "order.qty")
        ('order', 'qty')
        """
        given, name = name, plain.text(name) or ""
        if not plain.is_a(given, str):
            raise ContextError(f"wanted an attribute's path as text; got {shown(given)}")
        uid, lists = self._core.paths(action)
        paths = [tuple(path) for path in lists]
        found = [path for path in paths if ".".join(path) == name or json.dumps(path) == _json_list(name)]
        if len(found) == 1:
            return found[0]
        if found:
            exactly = " or ".join(json.dumps(path) for path in found)
            raise ContextError(f"{uid}: {shown(name)} means two context attributes: write one as {exactly}")
        known = ", ".join(".".join(path) for path in paths) or "none"
        raise ContextError(f"{uid}: the schema has no context attribute {shown(name)}; it has {known}")

    def evaluate_many(
        self,
        principals: UidLike | EntityHandle | Sequence[UidLike | EntityHandle] | NDArray[np.uint64],
        action: UidLike,
        resources: UidLike | EntityHandle | Sequence[UidLike | EntityHandle] | NDArray[np.uint64],
        context: Mapping[str, Any] | Mapping[tuple[str, ...], Any] | None = None,
    ) -> NDArray[np.uint8]:
        """Decide many requests by policy alone, over one bundle, without the GIL: no session, no kill switch.

        Args:
            principals: One principal for all rows, or one for each row: uids, handles, or handles' numbers as an array
                of uint64. Each uid gets a handle, which is kept.
            action: The action.
            resources: The resources, in the same forms.
            context: A column for each attribute (named by its path, as ``"order.qty"`` or ``("order", "qty")``), as for
                :meth:`Gate.decide_many`: one value for all rows, or one for each row.

        Returns:
            An array of uint8 with a :class:`Code` for each row.

        Raises:
            ActionError, ContextError, UidError: as for :meth:`evaluate`, and if columns differ in length.

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
            return given if plain.is_a(given, EntityHandle) else self.resource(cast(Any, given))
        # An iterator may never end.
        if not hasattr(type(given), "__len__"):
            raise UidError(f"wanted uids or handles, one or a sequence of them; got {shown(given)}")
        many = several("uids or handles", given)
        return np.array(
            [one.handle if plain.is_a(one, EntityHandle) else gate.handle_of(self._core, one) for one in many],
            np.uint64,
        )

    def resources(self, action: UidLike) -> list[Uid]:
        """Return the resources in the store that an action applies to: the bundle's, then those that were added since.

        Raises:
            ActionError: if there is no such action.

        >>> import ztfast
        >>> ztfast.Engine(ztfast.examples.tiny()).resources("view")
        [Uid(type='Photo', id='p1'), Uid(type='Photo', id='p2')]
        """
        return [Uid(*uid) for uid in self._core.resources(action)]

    def entitlements(
        self, session: Session, action: UidLike, context: Mapping[str, Any] | None = None
    ) -> NDArray[np.bool_]:
        """Decide about an action on each resource of the store, for screens, books and subscriptions.

        The answers are those of :meth:`decide` for each resource, at one moment, over one bundle, without the GIL. Do
        not keep them as permissions: decide again before acting on a resource.

        Args:
            session: The session. If it is not active and valid, no resource is allowed.
            action: The action.
            context: The context, as for :meth:`decide`, the same for all resources.

        Returns:
            An array of bool with an element for each of :meth:`resources`, in their order. If the store may change
            between the two calls, use :meth:`entitled`, which is one call.

        Raises:
            ActionError, ContextError: as for :meth:`decide`. Attributes that the action requires must be given.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"bob"', not_after=time.time() + 60))
        >>> dict(zip(map(str, engine.resources("view")), engine.entitlements(session, "view").tolist()))
        {'Photo::"p1"': False, 'Photo::"p2"': True}
        """
        allowed = self._core.entitlements(_id(session), action, _dict(context))
        return np.frombuffer(allowed, np.bool_)

    def entitled(self, session: Session, action: UidLike, context: Mapping[str, Any] | None = None) -> list[Uid]:
        """Return the resources on which a session may perform an action: :meth:`entitlements` as a list of uids.

        Raises:
            ActionError, ContextError: as for :meth:`entitlements`.

        >>> import ztfast, time
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> session = engine.admit(ztfast.Identity('User::"bob"', not_after=time.time() + 60))
        >>> engine.entitled(session, "view")
        [Uid(type='Photo', id='p2')]
        """
        return [Uid(*uid) for uid in self._core.entitled(_id(session), action, _dict(context))]

    def resource(self, uid: UidLike) -> EntityHandle:
        """Return the handle of an entity. It stays valid over swaps, whether or not the entity is in the store.

        The entity's type need not be in the schema, because a later bundle may add it. Until then each decision about
        the entity is DENY with code NOT_APPLICABLE, as for other types to which an action does not apply.

        Raises:
            UidError: if ``uid`` is not a uid.
            ArgumentError: if ``uid`` is too long for the register of a shared state.
            CapacityError: if all handles are in use, or the register of a shared state is full.
            ForkedError: if the engine was opened before a fork.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> engine.resource('Photo::"p1"').uid
        Uid(type='Photo', id='p1')
        >>> engine.evaluate('User::"ann"', "view", engine.resource('Foto::"p1"'))
        Decision(DENY, NOT_APPLICABLE)
        """
        uid = Uid.of(uid)
        known = self._resources.get(uid)
        if known is None:
            known = self._resources.setdefault(uid, gate.resource(self._core, uid))
        return known

    def explain(
        self,
        who: Session | UidLike,
        action: UidLike,
        resource: UidLike | EntityHandle,
        context: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """Return the engine's decision and Cedar's own answer, with the policies' sources. Slow: it runs Cedar itself.

        Args:
            who: A session (as for :meth:`decide`) or a principal's uid (as for :meth:`evaluate`).
            action, resource, context: As for :meth:`evaluate`.

        Raises:
            OwnerError: if the session or a handle belongs to another engine.

        >>> import ztfast
        >>> engine = ztfast.Engine(ztfast.examples.tiny())
        >>> explanation = engine.explain('User::"ann"', "view", 'Photo::"p1"')
        >>> explanation.allow, explanation.agrees, explanation.reasons[0].policy.line
        (True, True, 1)
        """
        session = cast(Session, who) if plain.is_a(who, Session) else None
        if session is not None and not gate.belongs(session, self._core):
            raise OwnerError(f"{who!r} belongs to another engine: admit the principal to this one, or give its uid")
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
            "an engine cannot be copied or pickled: save its bundle (engine.bundle.save(path)), and open an engine "
            "over ztfast.Bundle.load(path) there"
        )

    def __repr__(self) -> str:
        return f"<ztfast.Engine over {self.bundle!r}>"


def _json_list(text: str) -> str:
    """Normalize the text of a JSON list; return an empty text for other texts."""
    try:
        return json.dumps(json.loads(text)) if text.startswith("[") else ""
    except (ValueError, RecursionError):
        return ""


def _id(session: Session) -> int:
    # As nearly every call does.
    if type(session) is Session:
        return session.id
    if not plain.is_a(session, Session):
        raise ArgumentError(f"wanted a ztfast.Session, as Engine.admit returns; got {shown(session)}")
    return session.id


def _count(number: Any) -> int:
    """Convert an integer, numpy's too; return 0 for other values."""
    try:
        return 0 if isinstance(number, bool) else int.__index__(operator.index(number))
    except Exception:
        return 0


def _dict(context: Mapping[Any, Any] | None) -> dict[Any, Any]:
    if context is None:
        return {}
    # Nearly every call gives one of these.
    if type(context) is dict:
        return context
    if plain.is_a(context, dict):
        return cast("dict[Any, Any]", context)
    wanted = f"wanted the context as a mapping of attributes to values; got {type(context).__qualname__}"
    if not plain.is_a(context, Mapping):
        raise ContextError(wanted)
    try:
        return dict(context)
    except Exception as error:
        raise ContextError(f"{wanted}, which fails: {error!r}") from error
