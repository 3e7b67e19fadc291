"""The errors that ztfast raises, for mistakes in programs and in policies.

An expired session, an unknown entity, a forbid or a bad value from the market raises no error: the decision is a DENY
with a code.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ActionError",
    "ArgumentError",
    "BundleError",
    "CapacityError",
    "CompileError",
    "ConfigError",
    "ContextError",
    "CredentialError",
    "EntityError",
    "Error",
    "ForkedError",
    "IdentityError",
    "OwnerError",
    "PolicyError",
    "PolicyWarning",
    "RoleError",
    "SessionError",
    "SourceError",
    "StaleGateError",
    "StateError",
    "UidError",
    "WorkloadError",
]


class Error(Exception):
    """The base class of all errors of ztfast.

    Errors can be pickled and copied with all their attributes.

    >>> import ztfast
    >>> issubclass(ztfast.ContextError, ztfast.Error)
    True
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__getstate__())


def _again(cls: type[Error], args: tuple[Any, ...], state: Any) -> Error:
    """Restore a pickled error. The class is not called, because its ``__init__`` may need more than ``args``."""
    error = cls.__new__(cls, *args)
    error.args = args
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    error.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(error, name, value)
    return error


class ArgumentError(Error, TypeError, ValueError):
    """An argument has a wrong type or value."""


class SourceError(Error):
    """A source is missing or cannot be read, or there is nothing to compile."""


class PolicyError(Error):
    """Cedar refuses the policies, the schema or the entities.

    The message shows each finding with its file, its line and a caret under the text.

    Attributes:
        diagnostics: A dict for each finding, with ``severity``, ``message``, ``file``, ``line``, ``column``,
            ``end_line``, ``end_column``, ``help`` and ``rendered``.

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
    """A likely mistake in the policies or their folder; see :func:`ztfast.compile`."""


class CompileError(Error):
    """The policies are valid, but they exceed a limit of the tables."""


class BundleError(Error):
    """A bundle file is missing, foreign, of another version, truncated, padded or damaged, or cannot be written."""


class UidError(Error, ValueError):
    """A value is not a uid."""


class ActionError(Error, ValueError):
    """The bundle has no such action, or the name is ambiguous."""


class ContextError(Error, ValueError):
    """A context attribute is missing, unknown or of the wrong type, or there are too many or too few values."""


class EntityError(Error, ValueError):
    """A change of entities is invalid: a type that the schema lacks, an action, a cycle, or a duplicate."""


class IdentityError(Error, ValueError):
    """An identity's times or factors are invalid."""


class CredentialError(IdentityError):
    """A credential is refused, or there is none.

    Attributes:
        code: Why, in one or two words that stay the same, for counters and alerts: ``"expired"``, ``"no-rule"``.

    >>> import ztfast
    >>> error = ztfast.CredentialError("expired", "the certificate ended yesterday: renew it")
    >>> print(error.code, "-", error)
    expired - the certificate ended yesterday: renew it
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ConfigError(Error, ValueError):
    """The configuration of authorities is wrong; the message names the file, the line and what to do.

    Attributes:
        path: The file, if it is of one.
        line: The line in it, from 1, if that is known.
    """

    def __init__(self, message: str, path: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class OwnerError(Error, TypeError):
    """A session, handle or gate was constructed, copied, pickled, or given to another engine to explain.

    Sessions, handles, gates and engines are valid only in the process and with the engine that made them. A decision
    with a session or handle of another engine raises nothing: it is DENY with code UNKNOWN_SESSION or UNKNOWN_HANDLE.
    What is no session or handle at all raises :class:`ArgumentError`.
    """


class ForkedError(Error, RuntimeError):
    """A forked child tried to change its parent's engine or to admit a session by it.

    The parent's revocations and swaps do not reach the child, so the engine cannot decide there either: each decision
    is DENY with code FORKED. Open a new engine in the child.
    """


class RoleError(Error, PermissionError):
    """An engine that only decides (``role="decide"``) was asked to change what all processes share."""


class SessionError(Error, LookupError):
    """A session is over, or there is none with this id, so it cannot be changed or found."""


class StateError(Error, OSError):
    """The state in a directory cannot be opened or made, is not to be trusted, or is gone; the message says why."""


class ClockError(StateError):
    """The state goes by another clock than the engine: the system's, or the time that its engines are given."""


class CapacityError(Error):
    """An engine has no room for more sessions or handles, or the system has no memory for it."""


class ReleaseError(Error, ValueError):
    """A kill cannot be released: there is none of this id, or another person must approve it."""


class WorkloadError(Error, LookupError):
    """There is no SVID or trust bundle to give now: none came yet, it expired, or its entry was deleted.

    The message says which, and what the agent said last. See :class:`ztfast.identity.spiffe.Workload`.
    """


class StaleGateError(Error):
    """A swap was refused because live gates would not fit the new bundle and would deny every request.

    Attributes:
        gates: A :class:`ztfast.StaleGate` for each kind of gate concerned.
    """

    def __init__(self, message: str, gates: tuple[Any, ...] = ()) -> None:
        super().__init__(message, gates)
        self.gates = gates

    def __str__(self) -> str:
        return str(self.args[0])
