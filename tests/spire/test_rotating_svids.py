"""SVIDs of ten seconds rotate under 10,000 decisions a second: none is refused, and none is made on an expired SVID.

ZTFAST_TEST_SECONDS says for how long; `make bench-spire` runs it for five minutes and shows the figures.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import ztfast
from tests.spire.host import MISSING, TRUST_DOMAIN, Host, built
from ztfast.identity import Authorities
from ztfast.identity.spiffe import Workload
from ztfast.identity.svids import Svid

pytestmark = pytest.mark.skipif(not built(), reason=MISSING)

SECONDS = float(os.environ.get("ZTFAST_TEST_SECONDS", "15"))
RATE = 10_000
TTL = 10
ALGOS = ("a7", "a8", "a9")
POLICY = 'permit (principal, action == Action::"order.new", resource);'
SCHEMA = 'entity Algo, Instrument; action "order.new" appliesTo { principal: Algo, resource: Instrument };'
INSTRUMENT = 'Instrument::"AAPL"'
# A certificate's last second counts as a whole (RFC 5280, section 4.1.2.5), and a session may be honoured up to one tick of the
# clock too long (docs/decisions/0004-the-coarse-monotonic-clock.md). A workload serves no SVID in its last second.
LAST = 1.004


def bundle() -> ztfast.Bundle:
    uids = [("Algo", name) for name in ALGOS] + [("Instrument", "AAPL")]
    entities = [{"uid": {"type": kind, "id": name}, "attrs": {}, "parents": []} for kind, name in uids]
    return ztfast.compile(ztfast.Text(POLICY), schema=ztfast.Text(SCHEMA), entities=entities)


@dataclass
class Algo:
    """An algorithm with its workload, its session, and sessions on SVIDs that were replaced."""

    name: str
    workload: Workload
    admit: Callable[[Svid], ztfast.Session]
    svid: Svid | None = None
    session: ztfast.Session | None = None
    older: deque[tuple[Svid, ztfast.Session]] = field(default_factory=lambda: deque(maxlen=20))

    def renew(self) -> float | None:
        """Admit a new SVID if there is one, and return how many seconds that took."""
        svid = self.workload.svid()
        if self.svid is not None and svid.leaf == self.svid.leaf:
            return None
        began = time.perf_counter()
        session = self.admit(svid)
        took = time.perf_counter() - began
        if self.svid is not None and self.session is not None:
            self.older.append((self.svid, self.session))
        self.svid, self.session = svid, session
        return took


@dataclass
class Count:
    decisions: int = 0
    refused: list[str] = field(default_factory=list)
    expired: int = 0
    probes: int = 0
    honoured: list[float] = field(default_factory=list)
    admissions: list[float] = field(default_factory=list)
    shortest: float = float(TTL)


CONFIG = f"""
[[authority]]
name = "mesh"
kind = "spiffe"
trust_domains = {{ "{TRUST_DOMAIN}" = "workload-api" }}

[[rule]]
authority = "mesh"
match = {{ "uri" = "spiffe://{TRUST_DOMAIN}/algo/*" }}
principal = 'Algo::"{{spiffe.path[1]}}"'
"""


def admitting(engine: ztfast.Engine, folder: Path) -> tuple[Authorities, Callable[[Svid], ztfast.Session]]:
    """Return authorities, and how an SVID is admitted by them: it is verified as anybody's."""
    file = folder / "ztfast.toml"
    file.write_text(CONFIG)
    authorities = Authorities.load(file)
    return authorities, lambda svid: engine.admit(authorities.x509(svid.leaf, chain=list(svid.chain)))


def decide(algo: Algo, gate: ztfast.Gate, instrument: ztfast.EntityHandle, count: Count) -> None:
    """Decide once for an algorithm that is to be allowed."""
    assert algo.svid is not None
    assert algo.session is not None
    begun = time.time()
    decision = gate.decide(algo.session, instrument)
    count.decisions += 1
    count.shortest = min(count.shortest, algo.svid.not_after - begun)
    if not decision:
        count.refused.append(decision.code)
    elif begun >= algo.svid.not_after:
        count.expired += 1


def probe(algo: Algo, gate: ztfast.Gate, instrument: ztfast.EntityHandle, count: Count) -> None:
    """Decide for sessions on older SVIDs: those that have ended must be denied."""
    for svid, session in algo.older:
        late = time.time() - svid.not_after
        if gate.decide(session, instrument) and late >= 0:
            count.honoured.append(late)
        count.probes += late >= 0


def run(algos: list[Algo], gate: ztfast.Gate, instrument: ztfast.EntityHandle) -> tuple[Count, float]:
    """Decide at the rate for so many seconds, one algorithm after another, and renew sessions as SVIDs come."""
    count, began = Count(), time.monotonic()
    turn = 0
    while (passed := time.monotonic() - began) < SECONDS:
        for algo in algos:
            took = algo.renew()
            if took is not None:
                count.admissions.append(took)
        while count.decisions < passed * RATE:
            decide(algos[count.decisions % len(algos)], gate, instrument, count)
        if turn % 10 == 0:
            probe(algos[turn // 10 % len(algos)], gate, instrument, count)
        turn += 1
        time.sleep(0.001)
    return count, time.monotonic() - began


def lets_in(
    admit: Callable[[Svid], ztfast.Session], svid: Svid, gate: ztfast.Gate, instrument: ztfast.EntityHandle
) -> bool:
    try:
        session = admit(svid)
    except ztfast.IdentityError:
        return False
    return bool(gate.decide(session, instrument))


def test_svids_rotate_under_decisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ztfast.Engine(bundle(), sessions=16_384)
    gate, instrument = engine.prepare("order.new"), engine.resource(INSTRUMENT)
    authorities, admit = admitting(engine, tmp_path)
    with Host() as host, contextlib.ExitStack() as opened:
        algos = []
        for name in ALGOS:
            host.register(f"/algo/{name}", TTL)
            spiffe_id = f"spiffe://{TRUST_DOMAIN}/algo/{name}"
            workload = Workload(host.endpoint, spiffe_id=spiffe_id, authorities=authorities, authority="mesh")
            algos.append(Algo(name, opened.enter_context(workload), admit))
        for algo in algos:
            algo.workload.svid(wait=30)
        count, seconds = run(algos, gate, instrument)
        rotated = sum(algo.workload.status().counts.svids for algo in algos)
        gaps = sum(algo.workload.status().counts.expired for algo in algos)
    with capsys.disabled():
        admitted = sorted(count.admissions)
        print(
            f"\n{count.decisions:,} decisions in {seconds:.1f} s ({count.decisions / seconds:,.0f} a second), "
            f"{len(count.refused)} refused, {count.expired} on an expired SVID; {rotated} SVIDs of {TTL} s, the oldest "
            f"with {count.shortest:.1f} s left; {count.probes:,} decisions on sessions whose SVID had ended, "
            f"{len(count.honoured)} allowed, {max(count.honoured, default=0.0):.3f} s after the end at most; "
            f"admission {admitted[len(admitted) // 2] * 1e6:.0f} us at the median, "
            f"{admitted[-1] * 1e6:.0f} us at most"
        )
        # What has ended is not admitted again.
        ended = [svid for algo in algos for svid, _ in algo.older if svid.not_after < time.time() - LAST]
        assert not any(lets_in(algos[0].admit, svid, gate, instrument) for svid in ended)
    assert count.refused == []
    assert (count.expired, gaps) == (0, 0)
    assert all(late <= LAST for late in count.honoured)
    assert count.decisions >= 0.99 * SECONDS * RATE
    # Each is renewed when half of its life is over, or before.
    assert rotated >= len(ALGOS) * SECONDS / TTL
    assert count.probes > 0 or SECONDS <= TTL
