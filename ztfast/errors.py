"""What ztfast raises: errors of the programmer and of the author of policies.

Whatever happens in the field (an expired session, an unknown entity, a forbidding policy) is not raised but decided: a
DENY with its code.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ActionError",
    "ArgumentError",
    "BundleError",
    "CapacityError",
    "CompileError",
    "ContextError",
    "EntityError",
    "Error",
    "ForkedError",
    "IdentityError",
    "OwnerError",
    "PolicyError",
    "PolicyWarning",
    "SourceError",
    "StaleGateError",
    "UidError",
]


class Error(Exception):
    """Base of everything that ztfast raises.

    Errors can be pickled and copied, with all that they say, whatever their classes take to make one.

    >>> import ztfast
    >>> issubclass(ztfast.ContextError, ztfast.Error)
    True
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__getstate__())


def _again(cls: type[Error], args: tuple[Any, ...], state: Any) -> Error:
    """An error with what it had when it was pickled. Its class is not called: that may want more than ``args``."""
    error = cls.__new__(cls, *args)
    error.args = args
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    error.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(error, name, value)
    return error


class ArgumentError(Error, TypeError, ValueError):
    """Something was given that is not what was wanted: of another type, or out of its range."""


class SourceError(Error):
    """A file to compile is missing, cannot be read, or there is nothing to compile."""


class PolicyError(Error):
    """Cedar refuses the policies, the schema or the entities.

    The message shows each finding with its file, its line and a caret under the text in question.

    Attributes:
        diagnostics: One dict per finding, with ``severity``, ``message``, ``file``, ``line``, ``column``, ``end_line``,
            ``end_column``, ``help`` and ``rendered``.

    >>> import ztfast
    >>> try:
    ...     ztfast.compile(ztfast.Text("permit(principal, action);"), schema=ztfast.Text("entity User;"))
    ... except ztfast.PolicyError as error:
    ...     error.diagnostics[0]["line"]
    1
    """

    def __init__(self, message: str, diagnostics: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics


class PolicyWarning(UserWarning):
    """Something that the author of policies should look at; see :func:`ztfast.compile`."""


class CompileError(Error):
    """The policies are well-formed, but exceed a limit of the tables."""


class BundleError(Error):
    """A bundle's file is missing, foreign, of another version, cut, padded or damaged, or cannot be written."""


class UidError(Error, ValueError):
    """Something that should name an entity does not."""


class ActionError(Error, ValueError):
    """The bundle has no such action, or several."""


class ContextError(Error, ValueError):
    """A context attribute is missing, unknown or of the wrong type, or there are too many or too few values."""


class EntityError(Error, ValueError):
    """Entities cannot be changed like this: a type that the schema lacks, an action, a cycle, or one named twice."""


class IdentityError(Error, ValueError):
    """An identity's times or factors make no sense."""


class OwnerError(Error, TypeError):
    """What belongs to one engine in one process is made by hand, copied, pickled, or given to another engine.

    Sessions, handles, gates and engines are good in the process and by the engine that made them, and nowhere else.
    """


class ForkedError(Error, RuntimeError):
    """An engine that was opened before a fork is to change or admit something in the child.

    What happens in the parent no longer reaches it, so it decides nothing there either: each decision is DENY with code
    FORKED. Open an engine anew in the child.
    """


class CapacityError(Error):
    """An engine has no room for more sessions or handles, or the system refuses the memory that it is to have."""


class StaleGateError(Error):
    """A swap was refused because live gates would no longer fit: each order by them would be denied.

    Attributes:
        gates: A :class:`ztfast.StaleGate` for each kind of gate concerned.
    """

    def __init__(self, message: str, gates: tuple[Any, ...] = ()) -> None:
        super().__init__(message, gates)
        self.gates = gates

    def __str__(self) -> str:
        return str(self.args[0])
