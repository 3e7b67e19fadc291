"""The table of what live attributes cost has a row for each attribute, and each measured request is allowed."""

from __future__ import annotations

import pytest

from bench import live


def test_each_live_attribute_has_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    times = live.added(rounds=2, calls=20)
    assert set(times) == {*live.CONDITIONS, "another market"}
    assert times["nothing"] == 0.0
    monkeypatch.setattr(live, "added", lambda: {name: 4.0 if name == "Long" else 8.0 for name in times})
    live.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "A comparison of a Long adds 4.0 ns."
    assert said[4:] == [f"| {name} | 2.0 | 8.0 |" for name in live.NAMES.values()]
    assert {*live.NAMES, "Long", "nothing"} == set(times)
