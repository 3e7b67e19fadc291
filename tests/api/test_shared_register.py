"""The register of uids that processes share: what it takes, how full it is, and what is said when it is full."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import here

MOST = 1_024
"""The bytes of a uid's type and id together."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "desk"


def engine(state: Path | None, **options: Any) -> ztfast.Engine:
    return ztfast.Engine(ztfast.examples.tiny(), **({"state": state, "sessions": 4_096, "handles": 256} | options))


def admit(engine: ztfast.Engine, id: str, **what: Any) -> ztfast.Session:
    return engine.admit(ztfast.Identity(ztfast.Uid("User", id), not_after=math.inf, **what))


def register(engine: ztfast.Engine) -> ztfast.RegisterUse:
    assert engine.register is not None
    return engine.register


@pytest.mark.parametrize("id", ["a" * (MOST - 3), "é" * 511, "a" * 65_540, "a" * 10_000_000], ids=len)
def test_a_long_uid_is_refused_in_one_sentence_and_takes_nothing(state: Path, id: str) -> None:
    desk = engine(state)
    before = register(desk)
    beginning = f'User::"{id}'[:60]
    wanted = (
        f"the uid {beginning}... has {4 + len(id.encode())} bytes, and in a state that processes share a uid has at most "
        f"{MOST}, type and id together"
    )
    uid = ztfast.Uid("User", id)
    attempts = (
        lambda: desk.resource(uid),
        lambda: admit(desk, id),
        lambda: admit(desk, "ann", on_behalf_of=uid),
        lambda: admit(desk, "unknown", on_behalf_of=uid),
        lambda: admit(desk, id, on_behalf_of=ztfast.Uid("User", "unknown")),
        lambda: desk.evaluate_many([uid], "view", 'Photo::"p1"'),
    )
    for attempt in attempts:
        with pytest.raises(ztfast.ArgumentError) as refused:
            attempt()
        assert str(refused.value) == wanted
    assert (register(desk), desk.sessions(), desk.sessions(uid)) == (before, (), ())
    # By policy alone it needs no handle; and a state of the engine's own keeps it as long as it is needed.
    assert desk.evaluate(uid, "view", 'Photo::"p1"').code == "DEFAULT"
    own = engine(None)
    assert own.decide(admit(own, id), "view", 'Photo::"p1"').code == "DEFAULT"


def test_an_admission_that_is_refused_takes_nothing(state: Path) -> None:
    desk = engine(state, sessions=3)
    desk.resource('User::"known"')
    before = register(desk)
    admitted = [admit(desk, "known") for _ in range(3)]
    for number in range(20):
        with pytest.raises(ztfast.CapacityError, match="all 3 session slots are in use"):
            admit(desk, f"refused {number}", on_behalf_of=ztfast.Uid("User", f"for whom {number}"))
    assert register(desk) == before
    # Nor does one take a slot for good.
    for session in admitted:
        session.revoke()
    long = ztfast.Uid("User", "x" * MOST)
    for _ in range(20):
        with pytest.raises(ztfast.ArgumentError):
            admit(desk, "refused", on_behalf_of=long)
    assert len({admit(desk, "known").id for _ in range(3)}) == 3
    assert register(desk) == before


@pytest.mark.parametrize("what", ["uids", "bytes"])
def test_two_uids_of_which_one_has_no_room_take_nothing(state: Path, what: str) -> None:
    desk = engine(state, sessions=8)
    length, use = 6 if what == "uids" else 1_000, register(desk)
    while use.uids < 255 and use.bytes <= 65_536 - 2_008:
        desk.resource(ztfast.Uid("User", f"{use.uids:0{length}}"))
        use = register(desk)
    two = [ztfast.Uid("User", name * length) for name in "ab"]
    with pytest.raises(ztfast.CapacityError, match="the state's register of uids is full"):
        desk.admit(ztfast.Identity(two[0], not_after=math.inf, on_behalf_of=two[1]))
    assert register(desk) == use
    # There is room for one of them.
    session = desk.admit(ztfast.Identity(two[0], not_after=math.inf, on_behalf_of=two[0]))
    assert register(desk).uids == use.uids + 1
    assert desk.session(session.id).principal == two[0]


def test_a_slot_that_a_refused_admission_had_is_given_to_the_next(state: Path) -> None:
    desk, other = engine(state, sessions=2), engine(state, sessions=2)
    while register(desk).uids < 256:
        desk.resource(ztfast.Uid("User", str(register(desk).uids)))
    for one in (desk, other, desk):
        with pytest.raises(ztfast.CapacityError, match="register of uids is full"):
            admit(one, "unknown")
    assert desk.sessions() == ()
    sessions = [admit(one, "200") for one in (other, desk)]
    assert [info.status for info in desk.sessions()] == ["active"] * 2
    with pytest.raises(ztfast.CapacityError, match="all 2 session slots are in use"):
        admit(desk, "200")
    other.revoke(sessions[0])
    with pytest.raises(ztfast.CapacityError, match="register of uids is full"):
        admit(other, "unknown")
    assert other.decide(admit(other, "200"), "view", 'Photo::"p1"').code == "DEFAULT"


def test_the_longest_uid_is_admitted_and_another_process_knows_it(state: Path) -> None:
    desk, other = engine(state), engine(state, role="decide")
    for id in ("a" * (MOST - 4), "é" * ((MOST - 4) // 2)):
        session = other.session(admit(desk, id).id)
        assert session.principal == ztfast.Uid("User", id)
        assert other.decide(session, "view", 'Photo::"p1"').code == "DEFAULT"


def test_a_bundle_with_a_long_uid_is_run_and_its_other_entities_have_their_numbers(state: Path) -> None:
    long = ztfast.Uid("Photo", "l" * MOST)
    names = [long, *(ztfast.Uid("Photo", f"p{number}") for number in range(8))]
    entities = [{"uid": uid._asdict(), "attrs": {}, "parents": []} for uid in names]
    schema = ztfast.Text('entity User; entity Photo; action "view" appliesTo { principal: User, resource: Photo };')
    bundle = ztfast.compile(
        ztfast.Text("permit (principal, action, resource);"), schema=schema, entities=entities, warnings="ignore"
    )
    authority = ztfast.Engine(bundle, state=state, sessions=16, handles=256)
    # The action is an entity, too.
    assert register(authority).uids == 9
    with pytest.raises(ztfast.ArgumentError, match=rf'the uid Photo::"l+\.\.\. has {MOST + 5} bytes'):
        authority.resource(long)
    session = admit(authority, "ann")
    assert authority.decide(session, "view", long).code == "ALLOW"
    other = ztfast.Engine(bundle, state=state, role="decide")
    assert [other.resource(uid).handle for uid in names[1:]] == [authority.resource(uid).handle for uid in names[1:]]
    # A process that only decides numbers it for itself.
    assert other.prepare("view").allows(other.session(session.id), other.resource(long))


def test_a_command_leaves_the_entities_of_its_bundle_out_of_the_register(state: Path, tmp_path: Path) -> None:
    desk = engine(state)
    session = admit(desk, "bob", on_behalf_of=ztfast.Uid("User", "eve"))
    bundle = str(tmp_path / "desk.ztb")
    ztfast.bench.desk.bundle().save(bundle)
    before, who = register(desk), ("--by", "eve", "--reason", "a test", "--state", str(state), "--bundle", bundle)
    assert here("session", "revoke", 'Algo::"none"', *who).returncode == 1
    assert here("session", "quarantine", 'Desk::"none"', *who).returncode == 1
    # A kill keeps its scope as a text.
    done = here("kill", 'Venue::"XNAS"', *who)
    assert (done.returncode, "entities of the store" in done.stdout) == (0, True), done.stderr
    assert here("market", "set", 'Instrument::"AAPL"', "halted", *who).returncode == 0
    assert register(desk) == before
    tiny = str(tmp_path / "tiny.ztb")
    ztfast.examples.tiny().save(tiny)
    assert here("kill", 'Group::"guests"', *who[:-1], tiny).returncode == 0
    assert desk.decide(session, "view", 'Photo::"p1"').code == "KILLED"
    assert register(desk) == before
    late = ztfast.Engine(ztfast.Bundle.load(bundle), state=state, make_state=False)
    late.swap(ztfast.Bundle.load(tiny), keep_changes=False)
    assert register(late) == before
    assert late.resource('User::"bob"').handle == desk.resource('User::"bob"').handle
    ztfast.Engine(ztfast.Bundle.load(bundle), state=state, sessions=4_096, handles=256)
    assert register(desk).uids > before.uids + 100


@pytest.mark.parametrize("length", [6, MOST - 4])
def test_a_full_register_says_so_and_those_it_knows_get_in(state: Path, length: int) -> None:
    desk = engine(state)
    known = admit(desk, "known")
    before, count = register(desk), 0
    while register(desk).uids < 256 and register(desk).bytes <= 65_536 - length - len("User"):
        admit(desk, f"{count:0{length}}")
        count += 1
    with pytest.raises(ztfast.CapacityError) as refused:
        admit(desk, f"{count:0{length}}")
    assert count == (256 - before.uids if length == 6 else (65_536 - before.bytes) // MOST)
    use = register(desk)
    assert (use.max_uids, use.max_bytes) == (256, 65_536)
    assert (use.uids == 256) is (length == 6)
    # Nothing is taken for whom there is no place.
    assert use.bytes > 65_536 - MOST or use.uids == 256
    assert str(refused.value) == (
        f"the state's register of uids is full ({use.uids} of 256 uids, {use.bytes} of 65536 bytes of their texts), and "
        "nothing in it is released: note its kills and markets, which go with it, end the processes of the state, remove "
        "its file, and open it with more (handles=...)"
    )
    desk.revoke(known)
    assert desk.decide(admit(desk, "known"), "view", 'Photo::"p2"').code != "UNKNOWN_SESSION"
    assert register(desk) == use


def test_a_bundles_texts_leave_room_for_principals(state: Path) -> None:
    entities = [{"uid": {"type": "User", "id": f"{n:0900}"}, "attrs": {}, "parents": []} for n in range(200)]
    schema = ztfast.Text('entity User; action "view" appliesTo { principal: User, resource: User };')
    permits = ztfast.Text("permit (principal, action, resource);")
    bundle = ztfast.compile(permits, schema=schema, entities=entities, warnings="ignore")
    desk = ztfast.Engine(bundle, state=state, sessions=64, handles=256)
    assert 0.75 <= register(desk).full < 0.77
    assert len({admit(desk, str(number)).id for number in range(40)}) == 40


def test_commands_say_how_full_it_is_and_warn_once_it_nearly_is(state: Path) -> None:
    desk = engine(state)
    listing = ("session", "list", "--state", str(state))
    number = 0
    while register(desk).uids < 230:
        number += 1
        admit(desk, str(number))
    use = register(desk)
    assert (use.uids, round(use.full, 3)) == (230, 0.898)
    done = here(*listing, "--json")
    wanted = {"uids": 230, "max_uids": 256, "bytes": use.bytes, "max_bytes": 65_536, "full": 230 / 256}
    assert (json.loads(done.stdout)["register"], done.stderr) == (wanted, "")
    admit(desk, "one more")
    use = register(desk)
    warning = (
        f"warning: the state's register of uids is 90 % full (231 of 256 uids, {use.bytes:,} of 65,536 bytes) and nothing "
        "in it is released: once it is full, nobody is admitted whom it does not know; note its kills and markets (`ztfast "
        "kill list --json`, `ztfast market list --json`), end the state's processes, remove its file, open it with more "
        "(handles=), and make those again\n"
    )
    who = ("--by", "eve", "--reason", "a test", "--state", str(state))
    for command in (
        listing,
        (*listing, "--json"),
        ("log", "--state", str(state)),
        ("session", "revoke", 'User::"1"', *who),
    ):
        done = here(*command)
        assert (done.returncode, done.stderr) == (0, warning), command


def test_a_command_makes_no_state_that_was_removed_meanwhile(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(state)
    load = ztfast.cli.states.declaring

    def remove(types: Any) -> ztfast.Bundle:
        (state / "state").unlink(missing_ok=True)
        return load(types)

    monkeypatch.setattr("ztfast.cli.states.declaring", remove)
    who = ("--by", "eve", "--reason", "a test")
    for command in (("kill", "firm", *who), ("session", "revoke", 'User::"ann"', *who), ("kill", "list")):
        done = here(*command, "--state", str(state))
        assert done.returncode == 1
        assert "there is no state here" in done.stderr
        assert sorted(path.name for path in state.iterdir()) == ["owners", "revoked"]
        (state / "owners").unlink()
        engine(state)


def test_an_engine_that_is_to_make_no_state_makes_none(state: Path) -> None:
    for role in ("authority", "decide"):
        with pytest.raises(ztfast.StateError, match="there is no state here"):
            engine(state, role=role, make_state=False)
        assert not state.exists()
    first = engine(state)
    session = admit(first, "ann")
    assert engine(state, make_state=False, sessions=None, handles=None).session(session.id).principal.id == "ann"
    for wrong in (None, 1, "no"):
        with pytest.raises(ztfast.ArgumentError, match="make_state"):
            engine(state, make_state=wrong)
    with pytest.raises(ztfast.ArgumentError, match="make_state=False: wanted the state= of other processes"):
        engine(None, make_state=False)
