"""A check that refuses to import ztfast into a subinterpreter, before the core or numpy is loaded.

The core and numpy belong to the interpreter that loads them first. If a subinterpreter loaded them, the main
interpreter could not use them any more.
"""

from __future__ import annotations

import importlib


def _is_second() -> bool:
    """Return whether this is a subinterpreter, as far as Python tells."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


if _is_second():
    raise ImportError(
        "ztfast cannot be used in a second interpreter of a process (a subinterpreter): import it in the main "
        "interpreter, and use threads or processes"
    )
