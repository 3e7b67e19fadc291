"""A check that the compiled modules are there, which says what to do if they are not.

Python itself would speak of a circular import.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

for _name in ("_core", "gate"):
    if find_spec(f"ztfast.{_name}") is None:
        raise ImportError(
            f"ztfast.{_name} is not built for this Python ({sys.implementation.cache_tag}, {sys.executable}): in a "
            "checkout, run `make setup` and use .venv/bin/python; elsewhere, install the package with `pip install`"
        )
