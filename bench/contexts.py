"""The time of decisions with large contexts, and the wait of other threads: ``python -m bench.contexts``.

The contexts hold sets of texts, entities, numbers and records, and sets of sets. ``evaluate`` and ``explain`` decide
about them, while another thread measures its longest wait for the interpreter.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ztfast

SCHEMA = """
entity User; entity Thing;
type Line = { name: String, qty: Long };
action go appliesTo { principal: User, resource: Thing, context: {
    texts?: Set<String>, users?: Set<User>, longs?: Set<Long>, lines?: Set<Line>, nested?: Set<Set<Long>>,
    ips?: Set<ipaddr> } };
"""
POLICIES = """
permit (principal, action, resource) when { context has texts && context.texts.contains("t7") };
permit (principal, action, resource) when { context has users && context.users.contains(User::"u7") };
permit (principal, action, resource) when { context has longs && context.longs.containsAll([1, 7]) };
permit (principal, action, resource) when { context has lines && context.lines.contains({ name: "n7", qty: 7 }) };
permit (principal, action, resource) when { context has nested && context.nested.contains([1, 2]) };
permit (principal, action, resource) when { context has ips && context.ips.contains(ip("::7")) };
"""


def contexts(count: int) -> dict[str, dict[str, Any]]:
    """Make contexts with sets of a given size."""
    side = round(count**0.5)
    return {
        "texts": {"texts": [f"t{n}" for n in range(count)]},
        "entities": {"users": [{"type": "User", "id": f"u{n}"} for n in range(count)]},
        "numbers": {"longs": list(range(count))},
        "records": {"lines": [{"name": f"n{n}", "qty": n} for n in range(count)]},
        "sets": {"nested": [[a * side + b for b in range(side)] for a in range(side)]},
        "addresses": {"ips": [f"::{n:x}" for n in range(min(count, 1 << 16))]},
    }


def waited(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call takes, and the longest wait of another thread meanwhile."""
    done, longest = threading.Event(), [0.0]

    def look() -> None:
        last = time.perf_counter()
        while not done.is_set():
            now = time.perf_counter()
            longest[0] = max(longest[0], now - last)
            last = now

    thread = threading.Thread(target=look)
    thread.start()
    began = time.perf_counter()
    call()
    took = time.perf_counter() - began
    done.set()
    thread.join()
    return took, longest[0]


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    bundle = ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA))
    engine = ztfast.Engine(bundle, max_context=1 << 30)
    print(f"{count} elements    evaluate s  others waited s   explain s  others waited s")
    for name, context in contexts(count).items():
        row = []
        for way in (engine.evaluate, engine.explain):
            took, stalled = waited(lambda way=way, context=context: way('User::"a"', "go", 'Thing::"t"', context))
            row += [took, stalled]
        print(f"{name:12}" + "".join(f"{seconds:15.3f}" for seconds in row), flush=True)


if __name__ == "__main__":
    main()
