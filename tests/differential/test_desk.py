"""The example desk, compared with Cedar request by request.

On 200,000 seeded requests, the engine's decision and determining policies must be those of ``cedar-policy``'s own
authorizer over the same sources. Requests are drawn from the schema, not from the intentions of the policies: known and
unknown entities, attributes present and absent, and values at and around every literal in the policies.
"""

from __future__ import annotations

import json
import os
import random
import re
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import ztfast
from ztfast import _core

REQUESTS = 200_000
SHARES = 4
SEED = 4141

LITERALS = {
    "Long": r"(?<![\w.\"-])-?\d+(?![\w.\"])",
    "decimal": r"decimal\(\"([^\"]+)\"\)",
    "duration": r"duration\(\"([^\"]+)\"\)",
    "ipaddr": r"ip\(\"([^\"]+)\"\)",
    "String": r"(?:==|like|contains\(|\[|,)\s*\"([^\"]+)\"",
}


def desk_bundle() -> ztfast.Bundle:
    folder = ztfast.examples.desk()
    return ztfast.compile(
        folder / "policies", schema=folder / "desk.cedarschema", entities=folder / "desk.entities.json"
    )


class Generator:
    """A generator of requests over the desk's schema."""

    def __init__(self, bundle: ztfast.Bundle, seed: int) -> None:
        self.chance = random.Random(seed)
        self.actions = bundle.actions
        folder = ztfast.examples.desk()
        text = "".join(path.read_text() for path in sorted((folder / "policies").glob("*.cedar")))
        text = re.sub(r"//.*", "", text)
        found = {kind: sorted(set(re.findall(pattern, text))) for kind, pattern in LITERALS.items()}
        longs = {int(value) for value in found["Long"]} | {0, 1, -1, 250_000, 1_000_000, 2_500_000, 60_000, 5_000}
        extremes = {2**63 - 1, -(2**63), 2**62}
        self.longs = sorted({near for value in longs for near in (value - 1, value, value + 1)} | extremes)
        self.strings = [s.replace("*", "") for s in found["String"]] + [s.replace("*", "x7") for s in found["String"]]
        self.strings += ["", "never heard of", "main2", "FIX.", "FIX.4.4"]
        self.decimals = [*found["decimal"], "0.0099", "0.0101", "-0.01", "922337203685477.5807"]
        self.durations = [*found["duration"], "59999ms", "60001ms", "1s", "-1ms", "14m59s999ms", "15m1ms", "0ms"]
        self.addresses = [*found["ipaddr"], "10.20.255.255", "10.21.0.0", "11.0.0.0", "127.0.0.1", "fe80::1", "::1"]
        self.times = ["2026-11-20T05:59:59.999Z", "2026-11-20T06:00:00Z", "2026-11-20T21:00:00Z", "2026-11-20"]
        self.times += ["2026-11-24T23:59:59.999Z", "2026-11-25", "1969-12-31T23:59:59Z", "2026-11-19T23:59:59.999Z"]
        self.ids: dict[str, list[str]] = {"Segment": ["trading"], "Region": ["EU"]}
        for entity in json.loads((folder / "desk.entities.json").read_text()):
            self.ids.setdefault(entity["uid"]["type"], []).append(entity["uid"]["id"])

    def uid(self, ty: str) -> ztfast.Uid:
        if self.chance.random() < 0.04:
            return ztfast.Uid(ty, self.chance.choice(("nobody", "a7", "AAPL", "")))
        return ztfast.Uid(ty, self.chance.choice(self.ids[ty]))

    def value(self, ty: str) -> Any:
        chance = self.chance
        if ty.startswith("Set<"):
            return [self.value(ty[4:-1]) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        match ty:
            case "Long":
                return chance.choice(self.longs)
            case "Bool":
                return chance.random() < 0.5
            case "String":
                return (
                    chance.choice(("fido2", "password", "totp"))
                    if chance.random() < 0.3
                    else chance.choice(self.strings)
                )
            case "decimal":
                return chance.choice(self.decimals)
            case "duration":
                return chance.choice(self.durations)
            case "datetime":
                return chance.choice(self.times)
            case "ipaddr":
                return chance.choice(self.addresses)
        return self.uid(ty)

    def context(self, attributes: list[tuple[str, str, bool]]) -> dict[str, Any]:
        context: dict[str, Any] = {}
        # An optional attribute is there or not; what an optional record requires comes with it.
        needed = {path.split(".")[0] for path, _, needed in attributes if needed}
        tops = sorted({path.split(".")[0] for path, *_ in attributes} - needed)
        absent = {top for top in tops if self.chance.random() < 0.3}
        for path, ty, _ in attributes:
            outer, _, inner = path.rpartition(".")
            if path.split(".")[0] in absent:
                continue
            if outer and inner == "emergency" and self.chance.random() < 0.5:
                continue
            place = context.setdefault(outer, {}) if outer else context
            place[inner] = self.value(ty)
        return context

    def request(self) -> tuple[ztfast.Uid, str, ztfast.Uid, dict[str, Any]]:
        action = self.chance.choice(list(self.actions))
        about = self.actions[action]
        principal, resource = (
            self.uid(self.chance.choice(about["principals"])),
            self.uid(self.chance.choice(about["resources"])),
        )
        return principal, action, resource, self.context(about["context"])


def compare(share: tuple[int, int]) -> tuple[int, int, set[str], list[str]]:
    """Decide a share of the requests twice; return their number, the number of ALLOW, the policies met, and the mismatches."""
    seed, count = share
    bundle = desk_bundle()
    entities = (ztfast.examples.desk() / "desk.entities.json").read_text()
    engine, cedar = ztfast.Engine(bundle), _core.Authorizer(bundle._core, ("desk.entities.json", entities))
    generator = Generator(bundle, seed)
    allowed, met, wrong = 0, set(), []
    for _ in range(count):
        request = generator.request()
        decision = engine.evaluate(*request)
        allow, reasons, _ = cedar.authorize(*request)
        if (bool(decision), decision.reasons) != (allow, tuple(reasons)) and len(wrong) < 10:
            wrong.append(f"{request}: expected {'ALLOW' if allow else 'DENY'} by {reasons}, got {decision}")
        allowed += allow
        met.update(reasons)
    return count, allowed, met, wrong


def test_the_desk_is_decided_as_cedar_decides_it() -> None:
    # The shares do not depend on the machine, so the requests are the same everywhere.
    shares = [(SEED + share, REQUESTS // SHARES) for share in range(SHARES)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(compare, shares))
    wrong = [mismatch for *_, mismatches in results for mismatch in mismatches]
    assert not wrong, "\n".join(wrong)
    compared = sum(count for count, *_ in results)
    assert compared == REQUESTS
    assert sum(allowed for _, allowed, *_ in results) > compared // 100
    # The stream reaches the policies: nearly every one determines some decision.
    met = set().union(*(met for _, _, met, _ in results))
    unmet = {policy.id for policy in desk_bundle().policies} - met
    assert len(unmet) <= 3, f"never determining: {sorted(unmet)}"


def test_nothing_on_the_desk_is_left_to_cedars_evaluator() -> None:
    assert desk_bundle().stats.fallbacks == 0
