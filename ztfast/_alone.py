"""Refuses to be imported into a second interpreter of the process, before anything else of ztfast or numpy is.

The core and numpy belong to the interpreter that loads them first: were that a second one, the first could not have
them any more. Threads of the main interpreter, and other processes, share nothing of the kind.
"""

from __future__ import annotations

import importlib


def _is_second() -> bool:
    """Whether this is another interpreter than the process's first, as far as Python tells."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


if _is_second():
    raise ImportError(
        "ztfast cannot be used in a second interpreter of a process (a subinterpreter): import it in the main one, and "
        "use threads or processes"
    )
