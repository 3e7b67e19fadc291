"""Notes of who changed kills, markets and sessions: what they say, and what they do not."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

import ztfast
from ztfast import Uid

ANN, P1 = 'User::"ann"', 'Photo::"p1"'
WHO = {"by": "bob", "reason": "a test"}


def engine(state: Path | None = None, role: str = "authority") -> ztfast.Engine:
    place = {} if state is None else {"state": state, "role": role}
    return ztfast.Engine(ztfast.examples.tiny(), sessions=16, handles=256, **place)  # type: ignore[arg-type]


def test_each_change_has_its_note_in_all_processes(tmp_path: Path) -> None:
    on = engine(tmp_path / "state")
    session = on.admit(ztfast.Identity(ANN, not_after=math.inf, ground="a key"))
    began = time.time()
    kill = on.kill(P1, by="ann", reason="stale prices", two_persons=True)
    on.release_kill(kill, by="bob", reason="prices are right")
    on.release_kill(kill, by="eve", reason="yes, they are")
    firm = on.kill(by="ann", reason="a drill", two_persons=True)
    on.release_kill(firm, by="bob", approved_by="eve", reason="it is over")
    for state in ("volatile", "halted", "normal"):
        on.market(P1, state, by="ann", reason=f"it is {state}")  # type: ignore[arg-type]
    on.quarantine(ANN, by="ann", reason="odd orders")
    on.quarantine(session, on=False, by="bob", reason="explained")
    on.renew(ANN, not_after=time.time() + 3_600, by="ann", reason="on duty")
    on.present(ground="a key", factors=["fido2"], by="bob")
    on.present(session, risk=7, reason="a report")
    on.revoke(ground="a key", by="eve", reason="key lost")
    on.kill_switch(True)
    on.kill_switch(False)
    user, photo = Uid.parse(ANN), Uid.parse(P1)
    wanted = [
        ("killed", photo, "ann", "stale prices", 0, kill.id),
        ("release asked for", photo, "bob", "prices are right", 0, kill.id),
        ("released", photo, "eve", "yes, they are", 0, kill.id),
        ("killed", "firm", "ann", "a drill", 0, firm.id),
        ("release approved", "firm", "eve", "it is over", 0, firm.id),
        ("released", "firm", "bob", "it is over", 0, firm.id),
        ("market volatile", photo, "ann", "it is volatile", 0, None),
        ("market halted", photo, "ann", "it is halted", 0, None),
        ("market normal", photo, "ann", "it is normal", 0, None),
        ("quarantined", user, "ann", "odd orders", 1, None),
        ("released from quarantine", user, "bob", "explained", 1, None),
        ("renewed", user, "ann", "on duty", 1, None),
        ("given a new proof", None, "bob", "", 1, None),
        ("reassessed", user, "", "a report", 1, None),
        ("revoked", None, "eve", "key lost", 1, None),
        ("killed", "firm", "kill_switch", "", 0, None),
        ("released", "firm", "kill_switch", "", 0, None),
    ]
    for seen in (on, engine(tmp_path / "state", "decide")):
        notes = seen.notes()
        assert [(note.what, note.of, note.by, note.reason, note.sessions, note.kill) for note in notes] == wanted
        assert all(began - 1 <= note.at <= time.time() for note in notes)


def test_what_changes_nothing_or_names_nobody_has_no_note() -> None:
    on = engine()
    session = on.admit(ztfast.Identity(ANN, not_after=math.inf))
    on.revoke('User::"nobody"', **WHO)
    on.quarantine(session)
    session.revoke()
    on.revoke(ANN, **WHO)
    on.renew(ANN, not_after=math.inf, **WHO)
    on.present(ANN, risk=7, **WHO)
    again = on.admit(ztfast.Identity(ANN, not_after=math.inf))
    on.renew(ANN, not_after=math.inf)
    on.present(ANN, risk=7)
    on.quarantine(ANN, on=False, **WHO)
    again.quarantine()
    on.quarantine(ANN, **WHO)
    again.renew(not_after=time.time() - 1)
    on.quarantine(ANN, on=False, **WHO)
    on.revoke(ANN, **WHO)
    on.market(P1, "normal", **WHO)
    on.kill_switch(False)
    kill = on.kill(P1, two_persons=True, **WHO)
    (noted,) = on.notes()
    for wrong in (
        lambda: on.kill('Phot::"p1"', **WHO),
        lambda: on.market('Group::"g"', "halted", **WHO),
        lambda: on.release_kill(kill.id ^ 1, **WHO),
        lambda: on.release_kill(kill, by="ann", approved_by="Ann", reason="over"),
        lambda: on.release_kill(kill, by="ann", reason="x" * 257),
        lambda: on.kill(P1, by="x" * 129, reason="a test"),
        lambda: on.renew(ANN, not_after=math.inf, by="x" * 129),
        lambda: on.present('User::"nobody"', risk=7, reason="x" * 257),
    ):
        with pytest.raises(ztfast.Error):
            wrong()
    assert on.notes() == [noted]


def test_a_market_that_is_set_to_the_state_that_it_has_has_no_second_note() -> None:
    on = engine()
    for state in ("normal", "halted", "halted", "volatile", "volatile", "normal", "normal"):
        on.market(P1, state, by="ann", reason="a test")  # type: ignore[arg-type]
    assert [note.what for note in on.notes()] == ["market halted", "market volatile", "market normal"]
    on.market(P1, "halted", by="ann", reason="news")
    on.market(P1, "halted", by="bob", reason="more news")
    assert [(market.by, market.reason) for market in on.markets()] == [("bob", "more news")]
    assert [(note.by, note.reason) for note in on.notes()[3:]] == [("ann", "news")]


def test_a_kill_switch_that_is_on_has_no_second_note() -> None:
    on = engine()
    for actions in (None, None, ["view"], ["view"], ztfast.ALL_ACTIONS, None):
        on.kill_switch(True, actions=actions)
    assert [note.reason for note in on.notes()] == ["", 'Action::"view"', "all actions"]


def test_the_last_512_notes_of_each_of_three_kinds_are_kept() -> None:
    on = engine()
    session = on.admit(ztfast.Identity(ANN, not_after=math.inf))
    on.admit(ztfast.Identity('User::"eve"', not_after=math.inf))
    killed = on.kill("firm", by="ann", reason="fat finger")
    on.release_kill(killed, by="bob", reason="looked ok")
    for number in range(515):
        on.quarantine(session, on=number % 2 == 0, by="ann", reason=str(number))
    # Who killed and released is kept, whatever is done to sessions.
    wanted = ["fat finger", "looked ok"] + [str(number) for number in range(3, 515)]
    assert [note.reason for note in on.notes()] == wanted
    # Neither a feed's states nor renewals and proofs take the places of these.
    for number in range(515):
        on.market(P1, "volatile" if number % 2 else "halted", by="feed", reason=f"market {number}")
    others = [f"market {number}" for number in range(3, 515)]
    assert [note.reason for note in on.notes()] == wanted + others
    (info,) = on.sessions(ANN)
    assert (info.by, info.reason) == ("ann", "514")
    on.renew('User::"eve"', not_after=math.inf, **WHO)
    on.kill(**WHO)
    on.present('User::"eve"', risk=7, **WHO)
    last = ["renewed", "killed", "reassessed"]
    assert [note.what for note in on.notes()[-3:]] == last
    assert [note.reason for note in on.notes()[:-3]] == wanted + others[2:]
    for _ in range(256):
        on.release_kill(on.kill(**WHO), **WHO)
    # Nor do kills and releases take the places of others.
    assert [note.reason for note in on.notes()[:-514]] == wanted[2:] + others[2:]
    assert {note.reason for note in on.notes()[-514:]} == {WHO["reason"]}


def test_renewals_and_proofs_by_a_session_itself_have_notes_too(caplog: pytest.LogCaptureFixture) -> None:
    on = engine()
    session = on.admit(ztfast.Identity(ANN, not_after=math.inf))
    for wrong in ({"by": ""}, {"reason": " \n"}, {"by": 7}, {"by": "x" * 129}, {"reason": "x" * 257}):
        for method, what in (("renew", {"not_after": 7e9}), ("present", {"risk": 9})):
            with pytest.raises(ztfast.ArgumentError):
                getattr(session, method)(**what, **wrong)
    (info,) = on.sessions()
    assert (info.not_after, info.risk) == (math.inf, 0)
    with caplog.at_level("INFO", "ztfast"):
        session.renew(not_after=math.inf)
        session.present(risk=1)
        assert (on.notes(), caplog.records) == ([], [])
        session.renew(not_after=5e9, by="ann", reason="on\nduty")
        session.present(risk=80, by="bob")
        session.present(assurance=3, reason="a report")
        session.present(factors=["fido2"], **WHO)
        session.present(at=time.time() - 60, assurance=2, **WHO)
        session.revoke()
        for over in (lambda: session.renew(not_after=6e9, **WHO), lambda: session.present(risk=8, **WHO)):
            with pytest.raises(ztfast.SessionError):
                over()
    wanted = [
        ("renewed", "ann", "on\nduty"),
        ("reassessed", "bob", ""),
        ("reassessed", "", "a report"),
        ("given a new proof", "bob", "a test"),
        ("given a new proof", "bob", "a test"),
    ]
    assert [(note.what, note.by, note.reason) for note in on.notes()] == wanted
    assert {(note.of, note.sessions) for note in on.notes()} == {(Uid.parse(ANN), 1)}
    shown = [(what, by or "not said", reason.replace("\n", "\\n") or "not said") for what, by, reason in wanted]
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions {what}: 1 (one of {ANN}) by {by}: {reason}" for what, by, reason in shown
    ]


def test_of_a_uid_that_is_too_long_nothing_is_kept_but_that_there_was_one() -> None:
    on = engine()
    session = on.admit(ztfast.Identity(ztfast.Uid("User", "x" * 249), not_after=math.inf))
    assert on.revoke(session, **WHO) == 1
    assert on.notes()[-1].of is None
