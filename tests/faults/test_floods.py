"""A flood of bad certificates costs those who verify: decisions beside it take as long as without it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ztfast
from tests.racing import Repeat
from ztfast.bench.desk import bundle
from ztfast.bench.histogram import Histogram
from ztfast.bench.identity import Flood, IdentityWorkload, Rotation, beside, identity_tails, is_possible

pytestmark = pytest.mark.skipif(not is_possible(), reason="SKIPPED: pyca cryptography is not installed")

BAD = 500
DECISIONS = 50_000
AT_MOST = 2.0
"""How many times the p99.9 of decisions by themselves that of decisions beside a flood may be."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> IdentityWorkload:
    return IdentityWorkload(bundle(), tmp_path_factory.mktemp("flood"), 1 << 10)


def live(work: IdentityWorkload) -> list[int]:
    """Return the sessions that are neither over nor revoked."""
    return [session.id for session in work.engine.sessions() if session.status == "active"]


def test_decisions_beside_a_flood_take_as_long_as_without_it(work: IdentityWorkload) -> None:
    alone, rotating, flooded = identity_tails(work, DECISIONS, BAD)
    repeat = Repeat(f"a flood that leaves the p99.9 of decisions below {AT_MOST} times that of decisions by themselves")
    seen: list[tuple[float, float, float]] = []
    refused = work.authorities.counters()

    # A machine that is busy with something else disturbs either of them.
    def is_seen() -> bool:
        return bool(seen) and all(taken <= AT_MOST * seen[-1][0] for taken in seen[-1][1:])

    while repeat.until(is_seen()):
        found: list[Histogram] = [of.once(DECISIONS) for of in (alone, rotating, flooded)]
        assert all(of.count >= DECISIONS for of in found)
        seen.append((found[0].quantile_ns(0.999), found[1].quantile_ns(0.999), found[2].quantile_ns(0.999)))
    after = work.authorities.counters()
    assert sum(after.values()) - sum(refused.values()) >= BAD * len(seen)
    # What it presented is neither known nor admitted, and who was known is: the sessions are those of the rotation.
    assert len(live(work)) == work.known + 1
    assert work.engine.decide(work.session, "order.cancel", 'Instrument::"AAPL"')
    assert str(work.engine.admit(work.authorities.x509(work.der)).principal) == 'Algo::"a7"'


def test_a_flood_evicts_nobody_who_is_known(work: IdentityWorkload) -> None:
    before = {info.sha256 for info in work.engine.credentials()}
    flood = Flood(work, 200)
    while not flood.is_over:
        flood.turn()
    assert {info.sha256 for info in work.engine.credentials()} == before


def test_a_rotation_keeps_as_many_sessions_and_ends_the_oldest(work: IdentityWorkload) -> None:
    rotation = Rotation(work)
    first, before = rotation._sessions[0], len(live(work))
    repeat = Repeat("all sessions were replaced")
    while repeat.until(rotation.made > work.known):
        rotation.turn()
    assert len(live(work)) == before
    with pytest.raises(ztfast.SessionError):
        work.engine.session(first.id)


def test_what_a_job_beside_raises_is_raised(work: IdentityWorkload) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), beside(work.cpus, fails, lambda: None):
        pass


def test_the_flood_must_be_refused(work: IdentityWorkload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = Flood(work, 10)
    monkeypatch.setattr(IdentityWorkload, "forged", lambda self: self.authorities.x509(self.der))
    with pytest.raises(AssertionError, match="was admitted"):
        flood.turn()
    assert flood.is_over
