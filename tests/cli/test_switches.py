"""``ztfast kill`` and ``ztfast market`` on a state while an engine runs."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import Here, run
from ztfast.bench import desk as desk_of
from ztfast.cli.states import moment

ALGO, AAPL, IBM = 'Algo::"a7"', 'Instrument::"AAPL"', 'Instrument::"IBM"'
XNAS, MOMENTUM = 'Venue::"XNAS"', 'Strategy::"eq-momentum-us"'
WHO = ["--by", "ann", "--reason", "a test"]
BUNDLE = desk_of.bundle()


class Desk:
    """A running engine over the example desk, and commands on its state."""

    def __init__(self, folder: Path, here: Here) -> None:
        self.here, self.path = here, folder / "desk"
        self.engine = ztfast.Engine(BUNDLE, state=self.path, sessions=16, handles=1 << 12, prefault=False)
        self.session = self.engine.admit(ztfast.Identity(ALGO, not_after=math.inf))

    def order(self, resource: str = AAPL) -> str:
        return self.engine.decide(self.session, "order.new", resource, {"notional": 40_000, "qty": 100}).code

    def cancel(self, resource: str = AAPL) -> str:
        return self.engine.decide(self.session, "order.cancel", resource).code

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.here.run(*arguments, "--state", str(self.path))

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, Here(monkeypatch, capsys))


def test_commands_act_from_another_process(desk: Desk) -> None:
    env = {"ZTFAST_STATE": str(desk.path)}
    done = run("kill", XNAS, *WHO, env=env)
    assert done.returncode == 0
    assert done.stderr == f"warning: {XNAS}: nobody has checked that this concerns anything: add --bundle FILE.\n"
    assert done.stdout.startswith(f"{XNAS}: all but exempt actions stopped by ann: a test\nTo let it go on: ")
    assert [desk.order(), desk.order(IBM), desk.cancel()] == ["KILLED", "ALLOW", "ALLOW"]
    command = done.stdout.splitlines()[1].partition("ztfast ")[2].replace("NAME", "bob").replace("WHY", "over")
    done = run(*command.split(), env=env)
    assert (done.returncode, done.stdout) == (0, f"{XNAS}: released by bob: over\n")
    assert desk.order() == "ALLOW"


@pytest.mark.parametrize(
    ("scope", "stops"),
    [
        ("firm", {AAPL, IBM}),
        ("Firm", {AAPL, IBM}),
        (XNAS, {AAPL}),
        (MOMENTUM, {AAPL, IBM}),
        (ALGO, {AAPL, IBM}),
        (IBM, {IBM}),
    ],
)
def test_a_kill_stops_its_scope_and_its_release_ends_it(desk: Desk, scope: str, stops: set[str]) -> None:
    made = desk.json("kill", scope, *WHO)
    assert (made["by"], made["reason"], made["actions"], made["until"]) == ("ann", "a test", None, None)
    assert {resource for resource in (AAPL, IBM) if desk.order(resource) == "KILLED"} == stops
    assert [desk.cancel(resource) for resource in (AAPL, IBM)] == ["ALLOW", "ALLOW"]
    (listed,) = desk.json("kill", "list")["kills"]
    assert {**listed, "known": True, "was_in_force": False, "in_scope": None} == made
    text = desk.run("kill", "list").stdout
    for shown in (made["id"][:8], made["scope"], "all but exempt actions", "ann", "a test", "1 kill in force"):
        assert shown in text
    released = desk.json("kill", "release", made["id"][:8], *WHO)
    assert (released["released"], released["scope"]) == (True, made["scope"])
    assert [desk.order(resource) for resource in (AAPL, IBM)] == ["ALLOW", "ALLOW"]
    assert desk.run("kill", "list").stdout == "0 kills in force\n"


def test_which_actions_are_stopped(desk: Desk, tmp_path: Path) -> None:
    BUNDLE.save(tmp_path / "desk.ztb")
    with_bundle = ["--bundle", str(tmp_path / "desk.ztb")]
    desk.json("kill", XNAS, "--all-actions", *WHO)
    assert [desk.order(), desk.cancel()] == ["KILLED", "KILLED"]
    desk.json("kill", "release", XNAS, *WHO)
    made = desk.json("kill", XNAS, "--action", "order.cancel", *with_bundle, *WHO)
    assert made["actions"] == ['Action::"order.cancel"']
    assert [desk.order(), desk.cancel()] == ["ALLOW", "KILLED"]
    desk.json("kill", "release", XNAS, *WHO)
    desk.json("kill", XNAS, "--action", "trade", *with_bundle, *WHO)
    assert [desk.order(), desk.cancel()] == ["KILLED", "KILLED"]
    for options, code, says in (
        (["--action", "order.cancel"], 2, "--bundle"),
        (["--action", "order.cancel", "--all-actions", *with_bundle], 2, "one of them"),
        (["--action", "order.cancle", *with_bundle], 1, "order.cancle"),
    ):
        done = desk.run("kill", XNAS, *options, *WHO)
        assert done.returncode == code
        assert says in done.stderr
    # With a bundle, a type that it lacks is a mistake.
    done = desk.run("kill", 'Venu::"XNAS"', *with_bundle, *WHO)
    assert done.returncode == 1
    assert "no entity type Venu" in done.stderr
    assert len(desk.engine.kills()) == 1


def test_a_kill_ends_by_itself(desk: Desk) -> None:
    made = desk.json("kill", XNAS, "--for", "1s", *WHO)
    assert 0 < made["until"] - made["since"] <= 1.5
    while desk.order() == "KILLED":
        assert time.time() < made["until"] + 30
        time.sleep(0.05)
    assert time.time() >= made["until"] - 0.1
    made = desk.json("kill", XNAS, "--until", "2199-01-01T00:00:00+00:00", *WHO)
    assert made["until"] == 7_226_582_400
    for options in (["--for", "x"], ["--for", "0m"], ["--for", "-5m"], ["--for", "1m", "--until", "2100-01-01T00:00Z"]):
        assert desk.run("kill", XNAS, *options, *WHO).returncode == 2
    for until in ("2001-01-01T00:00:00+00:00", "2100-01-01T00:00:00", "tomorrow"):
        assert desk.run("kill", XNAS, "--until", until, *WHO).returncode == 2
    assert len(desk.engine.kills()) == 1


def test_a_kill_that_is_made_again_is_told_as_the_one_before(desk: Desk) -> None:
    first = desk.json("kill", XNAS, "--by", "ann", "--reason", "stale prices", "--for", "1h")
    told = desk.run("kill", XNAS, "--by", "ann", "--reason", "another", "--for", "2h").stdout.splitlines()[0]
    assert told.startswith(f"{XNAS}: all but exempt actions already stopped by ann, since ")
    again = desk.json("kill", XNAS, "--by", "ann", "--reason", "another", "--for", "30m")
    assert again == {**first, "was_in_force": True, "until": pytest.approx(first["until"] + 3_600, abs=60)}
    assert f": stale prices (until {moment(again['until'])})" in told
    told = desk.run("kill", XNAS, "--by", "ann", "--reason", "for ever").stdout.splitlines()[0]
    assert told.endswith(": stale prices (until it is released)")


def test_two_persons_release_one_kill(desk: Desk) -> None:
    made = desk.json("kill", XNAS, "--two-persons", *WHO)
    done = desk.run("kill", "release", XNAS, "--by", "ann", "--reason", "over")
    assert done.returncode == 0
    assert f"{XNAS}: still killed. ann asked for the release: over" in done.stdout
    assert "asked by ann" in desk.run("kill", "list").stdout
    assert desk.order() == "KILLED"
    done = desk.run("kill", "release", made["id"], "--by", "ann", "--reason", "over")
    assert done.returncode == 1
    assert desk.order() == "KILLED"
    done = desk.run("kill", "release", made["id"], "--by", "bob", "--reason", "over")
    assert done.stdout == f"{XNAS}: released by bob and ann: over\n"
    assert desk.order() == "ALLOW"
    desk.json("kill", XNAS, "--two-persons", *WHO)
    assert desk.run("kill", "release", XNAS, *WHO, "--approved-by", "ann").returncode == 1
    assert desk.order() == "KILLED"
    assert desk.run("kill", "release", XNAS, *WHO, "--approved-by", "bob").returncode == 0
    assert desk.order() == "ALLOW"


def test_json_says_who_asked_for_a_release(desk: Desk) -> None:
    made = desk.json("kill", XNAS, "--two-persons", *WHO)
    release = ["kill", "release", made["id"]]
    asked = desk.json(*release, "--by", " bob ", "--reason", "over")
    assert (asked["released"], asked["asked_by"]) == (False, "bob")
    assert [kill["asked_by"] for kill in desk.json("kill", "list")["kills"]] == ["bob"]
    released = desk.json(*release, "--by", "eve", "--reason", "over")
    assert (released["released"], released["asked_by"]) == (True, "bob")
    alone = desk.json("kill", "release", desk.json("kill", XNAS, *WHO)["id"], *WHO)
    assert (alone["released"], alone["asked_by"]) == (True, None)


def test_a_release_names_one_kill(desk: Desk) -> None:
    first = desk.json("kill", XNAS, *WHO)["id"]
    second = desk.json("kill", XNAS, "--by", "bob", "--reason", "a test")["id"]
    for target, code, says in (
        (XNAS, 2, "2 kills are meant"),
        ("firm", 1, "nothing of this scope"),
        ("0x", 2, "at least 4 digits of a kill's id"),
        ("0x00000000", 1, "no kill with this id"),
        ("7", 1, "no kill with this id"),
        (IBM, 1, "nothing of this scope"),
        ("Venue::XNAS", 2, """'Venue::"XNAS"'"""),
    ):
        done = desk.run("kill", "release", target, *WHO)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
    assert "1 more of this scope" in desk.run("kill", "release", first, *WHO).stdout
    assert desk.order() == "KILLED"
    assert desk.run("kill", "release", second, *WHO).returncode == 0
    assert desk.order() == "ALLOW"


def test_a_release_that_several_kills_could_mean_lists_them(desk: Desk) -> None:
    kills = [desk.engine.kill("firm", by=f"user{at}", reason=f"reason {at}") for at in range(9)]
    done = desk.run("kill", "release", "firm", *WHO)
    assert done.returncode == 2
    assert "firm: 9 kills are meant, give the id of one (" in done.stderr
    assert "; 1 more: `ztfast kill list` shows them)" in done.stderr
    ids = [f"{kill.id:#x}" for kill in kills]
    for at, kill in enumerate(kills[:8]):
        shown = re.search(rf"(0x[0-9a-f]+) by user{at} since {moment(kill.since)}: reason {at}[;)]", done.stderr)
        assert shown is not None
        assert [id for id in ids if id.startswith(shown[1])] == [ids[at]]
        assert desk.run("kill", "release", shown[1], *WHO).returncode == 0
    assert [kill.by for kill in desk.engine.kills()] == ["user8"]


def test_wrong_uses_of_kill_are_told(desk: Desk) -> None:
    assert "SCOPE" in desk.here.run("kill", "--help").stdout
    for arguments, code in (
        (["kill"], 2),
        (["kill", XNAS], 2),
        (["kill", XNAS, "--by", "ann"], 2),
        (["kill", XNAS, "--by", "ann", "--reason", " "], 2),
        (["kill", "XNAS", *WHO], 2),
        (["kill", "--by", "ann", "list"], 2),
        (["kill", 'Action::"order.new"', *WHO], 2),
        (["kill", "list", "more"], 2),
        (["kill", "release", XNAS], 2),
        (["market"], 2),
        (["market", "set", XNAS, *WHO], 2),
        (["market", "set", XNAS, "closed", *WHO], 2),
        (["market", "set", 'Action::"order.new"', "halted", *WHO], 2),
        (["market", "set", "XNAS", "halted", *WHO], 2),
    ):
        done = desk.run(*arguments)
        assert done.returncode == code, arguments
        assert "Traceback" not in done.stderr
    assert desk.engine.kills() == []
    assert desk.engine.markets() == []


@pytest.mark.parametrize("action", ['Action::"order.new"', 'Desk::Action::"order.new"', f'Action::"{"x" * 65_536}"'])
def test_an_action_is_no_scope_and_no_market(desk: Desk, tmp_path: Path, action: str) -> None:
    BUNDLE.save(tmp_path / "desk.ztb")
    for bundle in ([], ["--bundle", str(tmp_path / "desk.ztb")]):
        for command, says in (
            (["kill", action], "no scope: `ztfast kill firm --action ACTION --bundle FILE` stops it"),
            (["market", "set", action, "halted"], "no market: name an instrument"),
        ):
            done = desk.run(*command, *bundle, *WHO, "--json")
            assert done.returncode == 2
            message = json.loads(done.stdout)["error"]["message"]
            assert done.stderr == f"error: {message}\n"
            assert says in message
            assert len(message) < 200
    assert desk.engine.kills() == []
    with pytest.raises(ztfast.ArgumentError, match="actions="):
        desk.engine.kill(action, by="ann", reason="a test")


def test_a_market_is_set_and_listed(desk: Desk) -> None:
    made = desk.json("market", "set", XNAS, "volatile", *WHO)
    assert made == {
        "target": XNAS,
        "state": "volatile",
        "by": "ann",
        "reason": "a test",
        "since": pytest.approx(time.time(), abs=60),
        "known": True,
        "in_scope": None,
    }
    assert desk.run("market", "set", AAPL, "halted", *WHO).stdout == f"{AAPL}: halted by ann: a test\n"
    assert [desk.engine.market_state(each) for each in (AAPL, 'Instrument::"MSFT"', IBM)] == [
        "halted",
        "volatile",
        "normal",
    ]
    markets = desk.json("market", "list")["markets"]
    assert [(each["target"], each["state"], each["by"], each["reason"]) for each in markets] == [
        (AAPL, "halted", "ann", "a test"),
        (XNAS, "volatile", "ann", "a test"),
    ]
    text = desk.run("market", "list").stdout
    for shown in (AAPL, "halted", "volatile", "2 markets not normal"):
        assert shown in text
    for target in (XNAS, AAPL):
        assert desk.run("market", "set", target, "normal", *WHO).returncode == 0
    assert desk.engine.market_state(AAPL) == "normal"
    assert desk.run("market", "list").stdout == "0 markets not normal\n"


def test_what_no_engine_knows_is_killed_with_a_warning(desk: Desk, tmp_path: Path) -> None:
    BUNDLE.save(tmp_path / "desk.ztb")
    with_bundle = ["--bundle", str(tmp_path / "desk.ztb")]
    for command, known in ((["kill", XNAS], True), (["kill", ALGO], True), (["market", "set", AAPL, "halted"], True)):
        for options in ([], with_bundle):
            assert "mistyped" not in desk.run(*command, *options, *WHO).stderr
        assert desk.json(*command, *WHO)["known"] is known
    assert desk.json("kill", "firm", *WHO)["known"] is True
    for command in (["kill", 'Venu::"XNAS"'], ["kill", 'Venue::"XNSA"'], ["market", "set", 'Venue::"XNSA"', "halted"]):
        done = desk.run(*command, *WHO)
        assert done.returncode == 0
        assert "may be mistyped" in done.stderr
        assert "--bundle FILE" in done.stderr
        assert desk.json(*command, *WHO)["known"] is False
    done = desk.run("kill", 'Venue::"XNSA"', *with_bundle, *WHO)
    assert "concerns nothing of the store" in done.stderr
    assert "may be mistyped" in done.stderr
    assert "desk.ztb" in done.stderr
    for command in (["kill", 'Venu::"XNAS"'], ["market", "set", 'Venu::"XNAS"', "halted"]):
        done = desk.run(*command, *with_bundle, *WHO)
        assert done.returncode == 1
        assert "no entity type Venu" in done.stderr


SEGMENT = 'Segment::"trading"'


def test_a_segment_is_killed_and_cancels_pass(desk: Desk, tmp_path: Path) -> None:
    BUNDLE.save(tmp_path / "desk.ztb")
    with_bundle = ["--bundle", str(tmp_path / "desk.ztb")]
    done = desk.run("kill", SEGMENT, *WHO, *with_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.partition(" by ann")[0]
    count = int(
        told.removeprefix(f"{SEGMENT}: all but exempt actions stopped (").removesuffix(" entities of the store)")
    )
    assert [desk.order(), desk.order(IBM), desk.cancel(), desk.cancel(IBM)] == ["KILLED", "KILLED", "ALLOW", "ALLOW"]
    # Books and feeds lie in another segment, though those of a strategy are in it.
    handler = desk.engine.admit(ztfast.Identity('Service::"s2"', not_after=math.inf))
    assert desk.engine.decide(handler, "book.read", 'OrderBook::"AAPL"').code == "ALLOW"
    again = desk.json("kill", SEGMENT, *WHO, *with_bundle)
    assert (again["in_scope"], again["was_in_force"]) == (count, True)
    assert count > 100
    assert desk.json("kill", "release", SEGMENT, *WHO)["released"]
    assert desk.order() == "ALLOW"


def test_a_scope_in_which_nothing_can_be_is_refused(desk: Desk, tmp_path: Path) -> None:
    BUNDLE.save(tmp_path / "desk.ztb")
    with_bundle = ["--bundle", str(tmp_path / "desk.ztb")]
    region = 'Region::"US"'
    for command in (["kill", region], ["market", "set", region, "halted"], ["market", "set", ALGO, "halted"]):
        done = desk.run(*command, *WHO, *with_bundle)
        assert (done.returncode, done.stdout) == (1, "")
        assert "wanted one of" in done.stderr
        # Without the bundle it is done, and nobody has checked it.
        done = desk.run(*command, *WHO)
        assert done.returncode == 0
        assert "nobody has checked that this concerns anything: add --bundle FILE" in done.stderr
        assert desk.order() == "ALLOW"
    for command, count in (
        (["kill", XNAS], 21),
        (["market", "set", XNAS, "halted"], 21),
        (["market", "set", IBM, "halted"], 1),
    ):
        made = desk.json(*command, *WHO, *with_bundle)
        assert made["in_scope"] == count, command
        assert f"({count} entit" in desk.run(*command, *WHO, *with_bundle).stdout


def test_the_log_shows_who_changed_what_and_why(desk: Desk) -> None:
    assert desk.run("log").stdout == "0 changes\n"
    made = desk.json("kill", XNAS, *WHO)
    desk.json("kill", "release", XNAS, "--by", "bob", "--reason", "over")
    for state in ("halted", "normal"):
        desk.json("market", "set", AAPL, state, "--by", "eve", "--reason", f"it is {state}")
    desk.json("session", "quarantine", ALGO, "--by", "ann", "--reason", "odd orders")
    desk.json("session", "quarantine", ALGO, "--off", "--by", "bob", "--reason", "explained")
    desk.json("session", "renew", ALGO, "--not-after", "never", "--by", "ann", "--reason", "on duty")
    desk.json("session", "present", ALGO, "--risk", "80", "--by", "bob", "--reason", "a report")
    desk.json("session", "revoke", ALGO, "--by", "eve", "--reason", "key\nlost")
    desk.json("market", "set", AAPL, "normal", "--by", "eve", "--reason", "it is normal")
    notes = desk.json("log")["notes"]
    assert [(note["what"], note["of"], note["by"], note["reason"]) for note in notes] == [
        ("killed", XNAS, "ann", "a test"),
        ("released", XNAS, "bob", "over"),
        ("market halted", AAPL, "eve", "it is halted"),
        ("market normal", AAPL, "eve", "it is normal"),
        ("quarantined", ALGO, "ann", "odd orders"),
        ("released from quarantine", ALGO, "bob", "explained"),
        ("renewed", ALGO, "ann", "on duty"),
        ("reassessed", ALGO, "bob", "a report"),
        ("revoked", ALGO, "eve", "key\nlost"),
    ]
    assert [note["kill"] for note in notes] == [made["id"]] * 2 + [None] * 7
    assert [note["sessions"] for note in notes] == [0] * 4 + [1] * 5
    text = desk.run("log").stdout
    for shown in (
        f"{XNAS} ({made['id'][:8]})",
        f"1 session of {ALGO}",
        "market normal",
        "key\\nlost",
        "reassessed",
        "9 changes",
    ):
        assert shown in text
