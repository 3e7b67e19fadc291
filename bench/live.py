"""What each live attribute adds to a decision, in multiples of a comparison of a Long: ``python -m bench.live``.

Each action has one policy with one comparison. All are measured in turns, so that a machine that gets slower does so
for all of them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable

import ztfast
from ztfast.bench.loops import bulk

__all__ = ["added", "main"]

CONDITIONS = {
    "nothing": "",
    "Long": "context.value < 50",
    "String": 'context.value == "a text of some length"',
    "authAge": 'context.live.authAge < duration("8h")',
    "assurance": "context.live.assurance >= 2",
    "risk": "context.live.risk < 50",
    "channel": 'context.live.channel == "mtls"',
    "region": 'context.live has region && context.live.region == "EU"',
    "time": 'context.live.time < datetime("2200-01-01")',
    "market": 'context.live.market == "normal"',
    "factors": 'context.live.factors.contains("fido2")',
    "onBehalfOf": 'context.live has onBehalfOf && context.live.onBehalfOf == "User::\\"eve\\""',
}
VALUES = {"Long": 7, "String": "a text of some length"}
NAMES = {
    "authAge": "`authAge`",
    "assurance": "`assurance`",
    "risk": "`risk`",
    "String": "an argument that is a String",
    "channel": "`channel`",
    "region": "`region`",
    "time": "`time`",
    "market": "`market`, all of them normal",
    "another market": "`market`, with another one halted",
    "factors": '`factors.contains("fido2")`',
    "onBehalfOf": "`onBehalfOf` as a String",
}
ROUNDS, CALLS = 300, 5_000


def bundle() -> ztfast.Bundle:
    """Compile an action for each condition."""
    schema, policies = "entity User; entity Thing;\n", "permit (principal, action, resource);\n"
    for name, condition in CONDITIONS.items():
        attributes = f"value: {name}" if name in VALUES else "live: ztfast::Live"
        context = "" if name == "nothing" else f", context: {{ {attributes} }}"
        schema += f'action "{name}" appliesTo {{ principal: User, resource: Thing{context} }};\n'
        if condition:
            policies += f'forbid (principal, action == Action::"{name}", resource) unless {{ {condition} }};\n'
    entities = [{"uid": {"type": "Thing", "id": id}, "attrs": {}, "parents": []} for id in ("t", "other")]
    return ztfast.compile(
        ztfast.Text(policies, "live.cedar"), schema=ztfast.Text(schema, "live.cedarschema"), entities=entities
    )


def added(rounds: int = ROUNDS, calls: int = CALLS) -> dict[str, float]:
    """Return the nanoseconds that each condition adds to a call of ``allows``, by name."""
    engine = ztfast.Engine(bundle())
    given = {"assurance": 3, "risk": 1, "channel": "mtls", "region": "EU", "factors": ("fido2",)}
    identity = ztfast.Identity('User::"ann"', not_after=math.inf, on_behalf_of='User::"eve"', **given)  # type: ignore[arg-type]
    session, thing = engine.admit(identity), engine.resource('Thing::"t"')

    def timed(name: str) -> Callable[[int], float]:
        values = {"value": VALUES[name]} if name in VALUES else {}
        gate = engine.prepare(name, *values)
        if not gate.allows(session, thing, *values.values()):
            raise SystemExit(f"{name}: the measured request must be allowed")
        return bulk(gate.allows, session, thing, *values.values())

    runs = {name: timed(name) for name in CONDITIONS}
    found: dict[str, list[float]] = {name: [] for name in (*CONDITIONS, "another market")}
    for _ in range(rounds):
        once = {name: run(calls) for name, run in runs.items()}
        engine.market('Thing::"other"', "halted", by="bench", reason="measured")
        once["another market"] = runs["market"](calls)
        engine.market('Thing::"other"', "normal", by="bench", reason="measured")
        for name, nanoseconds in once.items():
            found[name].append(nanoseconds - once["nothing"])
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure, and print a table in Markdown."""
    times = added()
    print(f"A comparison of a Long adds {times['Long']:.1f} ns.\n\n| | multiple | ns |\n| --- | --- | --- |")
    for name, shown in NAMES.items():
        print(f"| {shown} | {times[name] / times['Long']:.1f} | {times[name]:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
