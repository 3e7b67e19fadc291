"""Bundles: compiled policies, schema and entities in one file."""

from __future__ import annotations

import json
import os
import warnings as notices
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ztfast import _core
from ztfast.errors import OwnerError, PolicyError, PolicyWarning
from ztfast.shown import one_line, refused
from ztfast.sources import Source, read_entities, read_policies, read_schema
from ztfast.uid import Uid

__all__ = ["ActionStats", "Bundle", "LayerStats", "Memory", "Policy", "Stats", "compile"]

Form = Literal["dense", "rows", "sets"]
"""How the table of a layer is laid out; see :class:`LayerStats`."""

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class LayerStats:
    """How some of an action's policies are laid out. The decision is what all layers of the action say together.

    Attributes:
        form: ``"dense"``: a cell for each pair of classes. ``"rows"``: for each class of principals the cell that is
            the rule, and those that differ. ``"sets"``: for each class the policies that it admits, as bits; a decision
            is the AND of two.
        policies: Policies in it.
        principals, resources: Classes of principals, and of resources.
        bytes: Bytes that the form takes, without the programs.
        dense_bytes: Bytes that a cell for each pair of classes would take.
    """

    form: Form
    policies: int
    principals: int
    resources: int
    bytes: int
    dense_bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a bundle's bytes are.

    Attributes:
        per_entity: Bytes of an entity, with its texts, values and classes, on average.
        per_principal: The same with what is kept for principals only.
        per_resource: The same with what is kept for resources only.
        per_policy: Bytes of tables, programs and code, by the number of policies.
        tables: Bytes of tables, programs and code.
        entities: Bytes of entities, texts, values and classes.
        sources: Bytes of the policies and the schema as text.
    """

    per_entity: float
    per_principal: float
    per_resource: float
    per_policy: float
    tables: int
    entities: int
    sources: int


@dataclass(frozen=True, slots=True)
class ActionStats:
    """What became of one action.

    Attributes:
        action: Its uid as Cedar text.
        policies: Policies whose scope admits it.
        principal_classes: Classes of principals, over its layers; all principals of a class are decided on alike.
        resource_classes: Classes of resources, over its layers.
        cells: Cells that are stored.
        programs: Distinct sets of policies that can apply together.
        tabulated: Conditions over principal and resource that the table settles.
        residual: Conditions left for decision time, counted per policy.
        layers: How its policies are laid out.
    """

    action: str
    policies: int
    principal_classes: int
    resource_classes: int
    cells: int
    programs: int
    tabulated: int
    residual: int
    layers: tuple[LayerStats, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """What was compiled, and into what.

    Attributes:
        policies: Policies, links of templates among them.
        entities: Entities of the store, actions among them.
        classes: Classes of principals and resources over all actions.
        cells: Cells over all actions.
        programs: Distinct residual programs.
        fallbacks: Policies for which Cedar's own evaluator answers: right, but slow. :attr:`Bundle.fallbacks` names
            them.
        residual: Conditions left for decision time, counted per action and policy.
        instructions: Instructions of those that are more than a comparison with a constant.
        scratch: Values that the deepest program stacks, and that the one that builds most sets and records builds.
        memory: Where its bytes are.
        bytes: Size of the bundle.
        actions: Per action.
    """

    policies: int
    entities: int
    classes: int
    cells: int
    programs: int
    fallbacks: int
    residual: int
    instructions: int
    scratch: tuple[int, int]
    memory: Memory
    bytes: int
    actions: tuple[ActionStats, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of a bundle.

    Attributes:
        id: Its id: the ``@id`` annotation, or Cedar's own with the file's stem before it.
        effect: ``"permit"`` or ``"forbid"``.
        annotations: All its annotations.
        file: The file it came from, as the compiler was given it.
        line: Its first line there, from 1.
        fallback: Why Cedar's own evaluator answers for it, or None.
    """

    id: str
    effect: Literal["permit", "forbid"]
    annotations: dict[str, str]
    file: str
    line: int
    fallback: str | None


class Bundle:
    """Compiled policies, schema and entities. It never changes, and may be shared by engines and threads.

    Made by :func:`ztfast.compile` or :meth:`load`.

    >>> import ztfast
    >>> bundle = ztfast.examples.tiny()
    >>> bundle.stats.policies, bundle.stats.fallbacks
    (3, 0)
    """

    __slots__ = ("__dict__", "_core", "warnings")

    def __init__(self, core: _core.Bundle, warnings: Iterable[dict[str, Any]] = ()) -> None:
        if not isinstance(core, _core.Bundle):
            raise refused("Bundle", "what ztfast.compile or ztfast.Bundle.load makes", core)
        self._core = core
        self.warnings: tuple[dict[str, Any], ...] = tuple(warnings)
        """What the compiler found worth a look, as diagnostics; empty for a loaded bundle."""

    @classmethod
    def load(cls, source: str | os.PathLike[str] | int) -> Bundle:
        """Read a bundle's file into memory of its own, after checking its header.

        The file is opened once and read once: whoever changes, cuts, replaces or removes it afterwards changes
        nothing. This takes the time that copying its bytes takes. A file of up to 8 MiB is checked whole at once; the
        sections of a larger one are checked before they are first used: when an engine takes the bundle, or by
        :meth:`check`.

        Args:
            source: The file's path, or a descriptor of it, such as one of :meth:`share` that another process sent: its
                memory is taken as it is, without a copy. The descriptor stays the caller's.

        Raises:
            BundleError: where the file is missing, no regular file (a FIFO, a device), foreign, of another version,
                cut, padded, damaged, changed while it is read, or larger than memory.
        """
        if isinstance(source, int) and not isinstance(source, bool):
            return cls(_core.Bundle.load(f"/proc/self/fd/{source}"))
        return cls(_core.Bundle.load(_path("Bundle.load", source)))

    def share(self) -> int:
        """A descriptor of memory that holds the bundle and that nobody can change any more (a sealed memfd), for other
        processes.

        Send it (``socket.send_fds``, ``subprocess``'s ``pass_fds``) and let them :meth:`load` it: all then decide over
        the same pages. Children of a fork share a bundle's pages without it. It is the caller's to close. Linux only.

        Raises:
            BundleError: where the system has no such memory.

        >>> import os, ztfast
        >>> bundle = ztfast.examples.tiny()
        >>> descriptor = bundle.share()
        >>> ztfast.Bundle.load(descriptor).hash == bundle.hash
        True
        >>> os.close(descriptor)
        """
        return self._core.share()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle's file, atomically: the name has either its old content or the whole new one.

        That holds over a crash, and whoever else saves there: threads and processes may save one path at once. Whoever
        has the old file open keeps it. Its mode is kept, and its owner and group as far as the system allows; a new
        file has the mode that the process gives new files (its umask). A link is followed, and what it leads to
        replaced.
        Whoever is killed leaves nothing, or a file ``.ztfast-*.tmp`` that the next save there removes.

        Raises:
            BundleError: where the file cannot be written; where the path is a folder, a FIFO, a socket, a device
                (``/dev/stdout``), or a link that leads nowhere. The old file is as it was then.
        """
        self._core.save(_path("Bundle.save", path))

    def __reduce_ex__(self, protocol: object) -> Any:
        raise OwnerError(
            "a bundle is neither copied nor pickled: send the path that it was saved to (bundle.save(path)), or the "
            "descriptor of bundle.share(), and call ztfast.Bundle.load(...) there"
        )

    def check(self) -> None:
        """Check every section against its hash.

        Raises:
            BundleError: where one is damaged.

        >>> import ztfast
        >>> ztfast.examples.tiny().check()
        """
        self._core.check()

    @property
    def hash(self) -> str:
        """The content's hash (BLAKE3), 64 hexadecimal digits. Equal sources make equal bundles."""
        return self._core.hash

    @cached_property
    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads(self._core.meta_json)
        return meta

    @cached_property
    def stats(self) -> Stats:
        """What was compiled, and into what."""
        stats = dict(self._meta["stats"])
        actions = tuple(
            ActionStats(**{**action, "layers": tuple(LayerStats(**layer) for layer in action["layers"])})
            for action in stats.pop("actions")
        )
        scratch, memory = tuple(stats.pop("scratch")), Memory(**stats.pop("memory"))
        return Stats(**stats, scratch=scratch, memory=memory, bytes=self._core.size, actions=actions)

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, in their order."""
        return tuple(Policy(**policy) for policy in self._core.policies())

    @property
    def fallbacks(self) -> tuple[Policy, ...]:
        """The policies for which Cedar's own evaluator answers; each says why."""
        if self.stats.fallbacks == 0:
            return ()
        return tuple(policy for policy in self.policies if policy.fallback is not None)

    @property
    def strict(self) -> bool:
        """Whether the policies passed strict validation."""
        return bool(self._meta["strict"])

    @cached_property
    def actions(self) -> dict[str, dict[str, Any]]:
        """The actions by their uids: types of ``principals`` and ``resources``, and the ``context``'s attributes as
        (path, type, required). A path is a name as :meth:`Engine.prepare` takes it: a text, or where that would say two
        attributes a tuple of its parts."""
        return {
            _core.uid_text(action["ty"], action["id"]): {
                "principals": action["principals"],
                "resources": action["resources"],
                "context": _named(list(_attributes(action["context"], (), True))),
            }
            for action in self._meta["actions"]
        }

    def policy_source(self, policy: str) -> tuple[str, int, str] | None:
        """File, first line and text of a policy, or None where there is no such policy."""
        if not isinstance(policy, str):
            raise refused("policy_source", "a policy's id", policy)
        if not policy.isascii() and policy != policy.encode(errors="replace").decode():
            return None
        return self._core.policy_source(policy)

    def __repr__(self) -> str:
        return f"<ztfast.Bundle {self.hash[:12]}: {self.stats.policies} policies, {self.stats.entities} entities>"


def _attributes(
    fields: list[dict[str, Any]], above: tuple[str, ...], required: bool
) -> Iterable[tuple[tuple[str, ...], str, bool]]:
    for field in fields:
        path, needed = (*above, field["name"]), required and field["required"]
        kind, node = next(iter(field["node"].items()))
        if kind == "Record":
            yield from _attributes(node["fields"], path, needed)
        else:
            yield path, _type_name(node["ty"]), needed


def _named(attributes: list[tuple[tuple[str, ...], str, bool]]) -> list[tuple[str | tuple[str, ...], str, bool]]:
    said = Counter(".".join(path) for path, *_ in attributes)
    return [(text if said[text := ".".join(path)] == 1 else path, ty, needed) for path, ty, needed in attributes]


def _path(what: str, given: Any) -> str:
    """A path that was given."""
    try:
        path = os.fsdecode(given)
        os.fsencode(path)
    except (TypeError, ValueError):
        path = ""
    if not path or "\0" in path:
        raise refused(what, "a path", given)
    return path


def _type_name(value_type: Any) -> str:
    if isinstance(value_type, str):
        return {"Ip": "ipaddr", "Decimal": "decimal", "Datetime": "datetime", "Duration": "duration"}.get(
            value_type, value_type
        )
    kind, inner = next(iter(value_type.items()))
    if kind == "Set":
        return f"Set<{_type_name(inner)}>"
    if kind == "Entity":
        return str(inner)
    return "{" + ", ".join(f"{n}{'' if need else '?'}: {_type_name(ty)}" for n, need, ty in inner) + "}"


def compile(
    policies: Source | Iterable[Source],
    *,
    schema: Source,
    entities: Source | Iterable[Any] | None = None,
    validate: Literal["strict", "permissive"] = "strict",
    warnings: Literal["error", "warn", "ignore"] = "warn",
    form: Form | None = None,
    base: Bundle | None = None,
    progress: Progress | None = None,
    exempt: Uid | str | None = None,
) -> Bundle:
    """Compile policies, a schema and entities into a bundle.

    Args:
        policies: Folders (searched whole for ``*.cedar``, ``*.cedar.json`` and ``*.links.json``), files, open files,
            :class:`ztfast.Text`, or dicts. Files hold policies in Cedar's syntax, a policy or a policy set in Cedar's
            JSON, or template links (the JSON list of Cedar's command line: ``template_id``, ``link_id``, ``args``).
            In folders, links are followed and each file is read once; hidden folders and files are not read. What looks
            like a policy but is not read is warned of.
        schema: The schema, in Cedar's syntax or JSON: a file, an open file, a text, or a dict.
        entities: The entities, in Cedar's JSON: a file, a text, or the list itself. They are read with the schema, so
            that extension values may be plain strings, and its actions are in the store.
        validate: ``"strict"`` refuses what Cedar's strict validation refuses; ``"permissive"`` compiles it all the
            same, with warnings.
        warnings: What becomes of what the author should look at: files of a folder that are not read, templates that
            are never linked, what Cedar's validation warns of. ``"warn"`` gives each to Python's :mod:`warnings` as a
            :class:`ztfast.PolicyWarning`; ``"error"`` refuses to compile; :attr:`Bundle.warnings` has them in any case.
        form: The form of all tables, for measuring; None takes the one that costs least, layer by layer.
        base: A bundle compiled before, of which what did not change is taken: its entities, if schema and entities are
            the same; the outcome of validation, if schema and policies are (its warnings are not repeated then, unless
            they are errors). The result is the same bundle as without it, byte for byte, sooner. It is trusted as the
            sources are: give a bundle of your own making only. Whether its entities are those that its hash was taken
            of cannot be known without reading them; that its tables make sense and its actions are the schema's is
            checked.
        progress: Called now and then with (what, done, all).
        exempt: The group of actions that the kill switch leaves alone unless it is named, as
            ``'Action::"reduce-risk"'``: cancels, and whatever else reduces risk.

    Raises:
        ActionError: where the schema has no such group.
        SourceError: where something cannot be read, or is not what can be compiled.
        ArgumentError: where another argument is not what is wanted.
        PolicyError: where Cedar refuses something; with file, line and caret. Also for warnings, if they are errors.
        CompileError: where a limit of the tables is exceeded, ``base`` makes no sense, or the system has no memory to
            compile in.

    >>> import ztfast
    >>> bundle = ztfast.compile(
    ...     ztfast.Text("permit (principal, action, resource) when { context.qty <= 100 };"),
    ...     schema=ztfast.Text('entity Algo, Book; action trade appliesTo '
    ...                        '{ principal: Algo, resource: Book, context: { qty: Long } };'),
    ... )
    >>> ztfast.Engine(bundle).evaluate('Algo::"a7"', "trade", 'Book::"b"', {"qty": 101}).code
    'DEFAULT'
    """
    for name, value, known in (
        ("validate", validate, ("strict", "permissive")),
        ("warnings", warnings, ("error", "warn", "ignore")),
        ("form", form, ("dense", "rows", "sets", None)),
    ):
        if not (value is None or isinstance(value, str)) or value not in known:
            raise refused(name, " or ".join(map(repr, known)), value)
    if base is not None and not isinstance(base, Bundle):
        raise refused("base", "a ztfast.Bundle, as ztfast.Bundle.load(path) gives", base)
    if progress is not None and not callable(progress):
        raise refused("progress", "something to call with (what, done, all)", progress)
    group = None if exempt is None else Uid.of(exempt)
    files, unread = read_policies(policies, schema, entities)
    core, found = _core.compile(
        files,
        read_schema(schema),
        read_entities(entities),
        validate == "strict",
        warnings == "error",
        form,
        None if base is None else base._core,
        progress,
        None if group is None else (group.type, group.id),
    )
    bundle = Bundle(core, [*unread, *found])
    if bundle.warnings and warnings == "error":
        raise PolicyError("\n\n".join(w["rendered"].rstrip() for w in bundle.warnings), list(bundle.warnings))
    if warnings == "warn":
        for warning in bundle.warnings:
            line = "" if warning["line"] is None else f":{warning['line']}"
            notices.warn(f"{one_line(warning['file'])}{line}: {warning['message']}", PolicyWarning, stacklevel=2)
    return bundle
