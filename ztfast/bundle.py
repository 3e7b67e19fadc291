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

from ztfast import _core, plain
from ztfast.advice import Advice
from ztfast.errors import OwnerError, PolicyError, PolicyWarning
from ztfast.shown import one_line, refused
from ztfast.sources import Source, read_entities, read_policies, read_schema
from ztfast.uid import Uid

__all__ = ["ActionStats", "Bundle", "LayerStats", "Memory", "Policy", "Stats", "compile"]

_TOLD = 20
"""The warnings that the message of an error has; its diagnostics have all."""

Form = Literal["dense", "rows", "sets"]
"""The layout of a layer's table; see :class:`LayerStats`."""

Progress = Callable[[str, int, int], object]
"""A callback that takes the name of a step, how many items of it are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class LayerStats:
    """One layer: policies of an action that share classes and a table. A decision combines all layers of its action.

    Attributes:
        form: ``"dense"``: a cell for each pair of classes. ``"rows"``: for each class of principals the usual cell, and
            the cells that differ from it. ``"sets"``: for each class the policies that it admits, as bits; a decision
            ANDs two of these sets.
        policies: The number of policies in the layer.
        principals, resources: The numbers of classes of principals and of resources.
        bytes: The size of the table, without programs.
        dense_bytes: The size of a dense table in its place.
    """

    form: Form
    policies: int
    principals: int
    resources: int
    bytes: int
    dense_bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that the parts of a bundle take, in bytes.

    Attributes:
        per_entity: The average size of an entity, with its texts, values and classes.
        per_principal: The same with the data that only principals have.
        per_resource: The same with the data that only resources have.
        per_policy: The size of tables, programs and code, divided by the number of policies.
        tables: The size of tables, programs and code.
        entities: The size of entities, texts, values and classes.
        sources: The size of the policies and the schema as text.
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
    """The result of compiling one action.

    Attributes:
        action: The action's uid as Cedar text.
        policies: The number of policies whose scope admits the action.
        principal_classes: The number of classes of principals, summed over the layers. All principals of a class get
            the same decision.
        resource_classes: The number of classes of resources, summed over the layers.
        cells: The number of stored cells.
        programs: The number of distinct sets of policies that can apply together.
        tabulated: The number of conditions over principal and resource that the table resolves.
        residual: The number of conditions left for decision time, counted per policy.
        layers: The layers.
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
    """The numbers of what was compiled, and of what it was compiled to.

    Attributes:
        policies: The number of policies, including links of templates.
        entities: The number of entities in the store, including actions.
        classes: The number of classes of principals and resources over all actions.
        cells: The number of cells over all actions.
        programs: The number of distinct residual programs.
        fallbacks: The number of policies that Cedar's own evaluator answers, which is correct but slow.
            :attr:`Bundle.fallbacks` lists them.
        residual: The number of conditions left for decision time, counted per action and policy.
        instructions: The number of instructions of those conditions that are more than a comparison with a constant.
        scratch: The largest number of values on a program's stack, and of values that a program builds for sets and
            records.
        memory: The memory that the parts of the bundle take.
        bytes: The size of the bundle.
        actions: The result for each action.
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
        id: The ``@id`` annotation, or the file's stem followed by Cedar's own id.
        effect: ``"permit"`` or ``"forbid"``.
        annotations: All annotations.
        file: The name of the policy's file, as it was given to the compiler.
        line: The policy's first line in the file, from 1.
        fallback: The reason why Cedar's own evaluator answers for this policy; ``None`` if the policy is compiled.
        step_up: What a forbid with ``@step_up`` asks the principal to prove; ``None`` for all other policies.
    """

    id: str
    effect: Literal["permit", "forbid"]
    annotations: dict[str, str]
    file: str
    line: int
    fallback: str | None
    step_up: Advice | None


class Bundle:
    """Compiled policies, schema and entities. A bundle is immutable; engines and threads may share it.

    :func:`ztfast.compile` and :meth:`load` make bundles.

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
        """The compiler's warnings, as diagnostics (see :class:`ztfast.PolicyError`); empty for a loaded bundle."""

    @classmethod
    def load(cls, source: str | os.PathLike[str] | int) -> Bundle:
        """Check a bundle file's header and read the file into private memory.

        The file is opened once and read once. Later changes to the file, its truncation, replacement or removal do not
        affect the bundle. Loading takes as long as copying the bytes. A file of up to 8 MiB is checked completely. The
        sections of a larger file are checked before they are first used: when an engine takes the bundle, or by
        :meth:`check`.

        Args:
            source: The file's path or a file descriptor. The memory of a descriptor from :meth:`share`, for example one
                that another process sent, is used without a copy. The caller keeps the descriptor, and closes it.

        Raises:
            BundleError: if the file is missing, is not a regular file (a FIFO, a device), is not a bundle, has another
                version, is truncated, padded or damaged, changes while it is read, or does not fit into memory.
        """
        if isinstance(source, int) and not isinstance(source, bool):
            return cls(_core.Bundle.load(f"/proc/self/fd/{source}"))
        return cls(_core.Bundle.load(_path("Bundle.load", source)))

    def share(self) -> int:
        """Return a descriptor of sealed memory (a memfd) that holds the bundle, for other processes.

        No process can change the memory. Send the descriptor (``socket.send_fds``, ``pass_fds`` of ``subprocess``), and
        :meth:`load` it in the other process. All processes then use the same pages. Forked children share a bundle's
        pages anyway. The caller must close the descriptor. Linux only.

        Raises:
            BundleError: if the system has no such memory.

        >>> import os, ztfast
        >>> bundle = ztfast.examples.tiny()
        >>> descriptor = bundle.share()
        >>> ztfast.Bundle.load(descriptor).hash == bundle.hash
        True
        >>> os.close(descriptor)
        """
        return self._core.share()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle's file atomically: the path has either its old content or the whole new content.

        This also holds after a crash, and if other threads and processes save to the same path. Processes that have the
        old file open keep it. An existing file keeps its mode, and its owner and group as far as the system allows; a
        new file gets the process's default mode (umask). If the path is a link, its target is replaced. A killed
        process leaves at most a file ``.ztfast-*.tmp``, which the next save to this folder removes.

        Raises:
            BundleError: if the file cannot be written, or if the path is a folder, a FIFO, a socket, a device
                (``/dev/stdout``), or a broken link. The old file is then unchanged.
        """
        self._core.save(_path("Bundle.save", path))

    def __reduce_ex__(self, protocol: object) -> Any:
        raise OwnerError(
            "a bundle cannot be copied or pickled: send the path of a saved bundle (bundle.save(path)) or the "
            "descriptor of bundle.share(), and call ztfast.Bundle.load(...) there"
        )

    def check(self) -> None:
        """Check every section against its hash.

        Raises:
            BundleError: if a section is damaged.

        >>> import ztfast
        >>> ztfast.examples.tiny().check()
        """
        self._core.check()

    @property
    def hash(self) -> str:
        """The hash (BLAKE3) of the content, as 64 hexadecimal digits.

        Equal sources make equal bundles. The names of the files belong to the sources, as they were given to
        :func:`ztfast.compile`, because explanations show them: ``policies`` and ``./policies`` make bundles with
        different hashes. To compare bundles from several machines, compile by the same relative paths.
        """
        return self._core.hash

    @cached_property
    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads(self._core.meta_json)
        return meta

    @cached_property
    def stats(self) -> Stats:
        """The numbers of what was compiled, and of what it was compiled to."""
        stats = dict(self._meta["stats"])
        actions = tuple(
            ActionStats(**{**action, "layers": tuple(LayerStats(**layer) for layer in action["layers"])})
            for action in stats.pop("actions")
        )
        scratch, memory = tuple(stats.pop("scratch")), Memory(**stats.pop("memory"))
        return Stats(**stats, scratch=scratch, memory=memory, bytes=self._core.size, actions=actions)

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, in their order in the sources."""
        policies = self._core.policies()
        for policy in policies:
            policy["step_up"] = None if policy["step_up"] is None else Advice.of([policy["step_up"]])
        return tuple(Policy(**policy) for policy in policies)

    @property
    def fallbacks(self) -> tuple[Policy, ...]:
        """The policies that Cedar's own evaluator answers; :attr:`Policy.fallback` says why."""
        if self.stats.fallbacks == 0:
            return ()
        return tuple(policy for policy in self.policies if policy.fallback is not None)

    @property
    def strict(self) -> bool:
        """Whether the policies passed strict validation."""
        return bool(self._meta["strict"])

    @property
    def strict_errors(self) -> bool:
        """Whether a forbid whose evaluation errs denies (``strict_errors`` of :func:`ztfast.compile`).

        >>> import ztfast
        >>> ztfast.examples.tiny().strict_errors
        False
        """
        return bool(self._meta.get("strict_errors", False))

    @cached_property
    def actions(self) -> dict[str, dict[str, Any]]:
        """The actions by uid, each with the types of its ``principals`` and ``resources``, and the attributes of its
        ``context`` as (path, type, required). A path is a name as :meth:`Engine.prepare` takes it: a text, or a tuple
        of parts if the text would be ambiguous."""
        return {
            _core.uid_text(action["ty"], action["id"]): {
                "principals": action["principals"],
                "resources": action["resources"],
                "context": _named(list(_attributes(action["context"], (), True))),
            }
            for action in self._meta["actions"]
        }

    def policy_source(self, policy: str) -> tuple[str, int, str] | None:
        """Return the file, first line and text of a policy, or ``None`` if there is no such policy."""
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
    """Check a path and return it as a str."""
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
    strict_errors: bool = False,
) -> Bundle:
    """Compile policies, a schema and entities into a bundle.

    Args:
        policies: Folders (searched recursively for ``*.cedar``, ``*.cedar.json`` and ``*.links.json``), files, open
            files, :class:`ztfast.Text`, or dicts. Files hold policies in Cedar's syntax, a policy or a policy set in
            Cedar's JSON, or template links (the JSON list of Cedar's command line: ``template_id``, ``link_id``,
            ``args``). In folders, links are followed and each file is read once; hidden folders and files are not read.
            A warning names each file that looks like a policy but is not read.
        schema: The schema, in Cedar's syntax or JSON: a file, an open file, a text, or a dict.
        entities: The entities, in Cedar's JSON: a file, a text, or the list itself. They are read with the schema, so
            extension values may be plain strings, and the schema's actions are in the store.
        validate: ``"strict"`` refuses policies that Cedar's strict validation refuses; ``"permissive"`` compiles them
            with warnings.
        warnings: What to do with warnings: files of a folder that are not read, templates that are never linked,
            entities that policies name or that are parents though the store lacks them, and the warnings of Cedar's
            validator. ``"warn"`` passes each to Python's :mod:`warnings` as a :class:`ztfast.PolicyWarning`;
            ``"error"`` refuses to compile; ``"ignore"`` does neither. :attr:`Bundle.warnings` has them in any case.
        form: The form of all tables, for measuring. ``None`` chooses a form for each layer: the first in the order of
            decision cost that fits its budget.
        base: An older bundle, of which unchanged parts are reused: its entities, if schema and entities are the same;
            the outcome of validation, if schema and policies are the same. Warnings about what is reused are not
            repeated, and entities that the store lacks are not looked for if its entities are reused, unless warnings
            are errors. The result is byte for byte the same bundle as without a base, but sooner. The base is trusted
            as the sources are: use only a bundle that you compiled. Compilation checks that its tables are valid and
            that its actions are the schema's. It cannot check without reading the entities whether they match their
            hash.
        progress: A callback that is called now and then with (what, done, all).
        exempt: The action, or group of actions, that the kill switch does not stop unless it is named there, for
            example ``'Action::"order.cancel"'`` or ``'Action::"reduce-risk"'``: cancels, and other actions that reduce
            risk.
        strict_errors: Let a forbid whose evaluation errs deny. Cedar skips a policy that errs, so a forbid that errs,
            for example by an overflow or at an entity that the store lacks, denies nothing. With ``strict_errors`` it
            denies, and the decision names it; a permit that errs is skipped as before. A forbid that asks for a step-up
            stands if it errs: no proof lifts it.

    Raises:
        ActionError: if the schema has no such action or group.
        SourceError: if a source cannot be read, or is of a kind that cannot be compiled.
        ArgumentError: if another argument has the wrong type or value.
        PolicyError: if Cedar refuses a source, with file, line and caret; with ``warnings="error"`` also for a warning.
        CompileError: if a limit of the tables is exceeded, ``base`` is invalid, or the system has no memory to compile.

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
    denies = plain.flag(strict_errors)
    if denies is None:
        raise refused("strict_errors", "True or False", strict_errors)
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
        denies,
    )
    bundle = Bundle(core, [*unread, *found])
    if bundle.warnings and warnings == "error":
        told = [warning["rendered"].rstrip() for warning in bundle.warnings[:_TOLD]]
        if more := len(bundle.warnings) - len(told):
            told.append(f"and {more} more warning{'s' if more != 1 else ''}: the error's diagnostics have them all")
        raise PolicyError("\n\n".join(told), list(bundle.warnings))
    if warnings == "warn":
        for warning in bundle.warnings:
            line = "" if warning["line"] is None else f":{warning['line']}"
            notices.warn(f"{one_line(warning['file'])}{line}: {warning['message']}", PolicyWarning, stacklevel=2)
    return bundle
