"""A process that only decides, for ``ztfast demo --processes``: it reads questions on standard input, a line each.

The first line says how to open the engine. Each later one is a question about a session, to which the answer is a
decision, or the name of an error. A question to watch is answered twice: at once, and when the decision has become
another one. The process ends with its input, so none is left when the one that started it is gone.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

from ztfast.bundle import Bundle
from ztfast.engine import Engine
from ztfast.errors import Error
from ztfast.gate import Session

__all__ = ["main"]

PATIENCE_NS = 60_000_000_000
"""How long a change is waited for, in nanoseconds."""


def main() -> None:
    """Answer questions until there are no more."""
    # Ctrl-C reaches all processes of a terminal. This one ends when the one that started it closes its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    engine = Engine(Bundle.load(given["bundle"]), state=given["state"], role="decide", prefault=False)
    sessions: dict[int, Session] = {}
    tell({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["ask"] == "market":
                tell({"market": engine.market_state(asked["resource"])})
                continue
            id = int(asked["session"])
            session = sessions.get(id) or sessions.setdefault(id, engine.session(id))
            if asked["ask"] == "revoke":
                tell({"revoked": session.revoke()})
            else:
                decide(engine, session, asked)
        except Error as error:
            tell({"error": type(error).__name__, "message": str(error)})


def decide(engine: Engine, session: Session, asked: dict[str, Any]) -> None:
    """Answer with a decision; if it is to be watched, also with the next one that differs, and when it was made."""
    gate, resource = engine.prepare(asked["action"], *asked["context"]), engine.resource(asked["resource"])
    values = tuple(asked["context"].values())
    began = last_ns = time.monotonic_ns()
    before = gate.decide(session, resource, *values)
    tell({"decision": repr(before)})
    if asked["ask"] != "watch":
        return
    count = 0
    # All processes of a machine have one monotonic clock.
    while (started_ns := time.monotonic_ns()) - began < PATIENCE_NS:
        then = gate.decide(session, resource, *values)
        if then.code != before.code:
            tell({"decision": repr(then), "at_ns": time.monotonic_ns(), "last_ns": last_ns, "count": count})
            return
        last_ns, count = started_ns, count + 1
    tell({"error": "Error", "message": f"the decision was still {before!r} after {PATIENCE_NS // 10**9} seconds"})


def tell(answer: dict[str, Any]) -> None:
    """Write an answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
