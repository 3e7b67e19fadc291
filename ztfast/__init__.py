"""ztfast: zero-trust authorization for trading systems, decided inside the process in tens of nanoseconds.

Cedar policies are compiled once. Every decision checks the session, its validity, the kill switch and the policies.

>>> import ztfast, time
>>> bundle = ztfast.compile(
...     ztfast.Text('permit (principal, action, resource) when { context.notional <= 1000000 };'),
...     schema=ztfast.Text('entity Algo, Instrument; action "order.new" appliesTo '
...                        '{ principal: Algo, resource: Instrument, context: { notional: Long } };'),
... )
>>> engine = ztfast.Engine(bundle)
>>> session = engine.admit(ztfast.Identity('Algo::"a7"', not_after=time.time() + 3600))
>>> order_new = engine.prepare("order.new", "notional")
>>> order_new.allows(session, engine.resource('Instrument::"AAPL"'), 250_000)
True
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from ztfast import _alone, _built  # noqa: F401

# isort: split
from ztfast import _core, examples
from ztfast.advice import Advice
from ztfast.bundle import ActionStats, Bundle, LayerStats, Memory, Policy, Stats, compile
from ztfast.codes import Code
from ztfast.columns import Categorical
from ztfast.engine import Engine
from ztfast.errors import (
    ActionError,
    ArgumentError,
    BundleError,
    CapacityError,
    ClockError,
    CompileError,
    ConfigError,
    ContextError,
    CredentialError,
    EntityError,
    Error,
    ForkedError,
    IdentityError,
    OwnerError,
    PolicyError,
    PolicyWarning,
    ReleaseError,
    RoleError,
    SessionError,
    SourceError,
    StaleGateError,
    StateError,
    UidError,
    WorkloadError,
)
from ztfast.explanation import Explanation, PolicyText
from ztfast.gate import Decision, EntityHandle, Gate, Session
from ztfast.identities import Identity
from ztfast.reports import MemoryUse, RegisterUse, SessionInfo, StaleGate, Swap
from ztfast.sources import Text
from ztfast.switches import ALL_ACTIONS, Kill, Market, Note
from ztfast.uid import Uid
from ztfast.values import ABSENT

__version__ = _core.__version__

__all__ = [
    "ALL_ACTIONS",
    "ABSENT",
    "ActionError",
    "ActionStats",
    "Advice",
    "ArgumentError",
    "Bundle",
    "BundleError",
    "CapacityError",
    "ClockError",
    "Categorical",
    "Code",
    "CompileError",
    "ConfigError",
    "ContextError",
    "CredentialError",
    "EntityError",
    "Decision",
    "Engine",
    "Error",
    "Explanation",
    "ForkedError",
    "Gate",
    "Identity",
    "IdentityError",
    "Kill",
    "LayerStats",
    "Market",
    "Memory",
    "MemoryUse",
    "Note",
    "OwnerError",
    "Policy",
    "PolicyError",
    "PolicyText",
    "PolicyWarning",
    "EntityHandle",
    "RegisterUse",
    "ReleaseError",
    "RoleError",
    "Session",
    "SessionError",
    "SessionInfo",
    "SourceError",
    "StaleGate",
    "StaleGateError",
    "StateError",
    "Swap",
    "Stats",
    "Text",
    "Uid",
    "UidError",
    "WorkloadError",
    "compile",
    "examples",
    "get_include",
    "live_schema",
]


def __getattr__(name: str) -> Any:
    """Import ``ztfast.identity`` when somebody names it: who admits without certificates does not wait for it."""
    if name == "identity":
        return import_module("ztfast.identity")
    raise AttributeError(f"module 'ztfast' has no attribute {name!r}")


def get_include() -> str:
    """Return the folder of ``ztfast.h``, for compilers of C, C++ and Cython code (``cimport ztfast.gate``).

    >>> get_include().endswith("include")
    True
    """
    return str(Path(__file__).resolve().parent / "include")


def live_schema() -> str:
    """Return the schema of ``ztfast::Live`` in Cedar's syntax, for other tools that read the same schema and policies.

    :func:`compile` knows it. For others, it stands beside the schema that names it, for example in the same file.

    >>> "authAge: __cedar::duration" in live_schema()
    True
    """
    return _core.live_schema()
