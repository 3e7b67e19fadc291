"""Gates refuse values and handles of another kind, also those that could be read as the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ztfast

SCHEMA = """
entity User, Doc;
action edit appliesTo {
    principal: User, resource: Doc,
    context: { size: Long, fast: Bool, note: String, who: User },
};
action view appliesTo { principal: User, resource: Doc, context: { size: Long } };
"""


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(
        ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(SCHEMA))
    )


@pytest.fixture
def session(engine: ztfast.Engine) -> ztfast.Session:
    return engine.admit(ztfast.Identity('User::"ann"', not_after=4_000_000_000))


def test_a_value_of_another_kind_is_refused_though_it_could_be_read(
    engine: ztfast.Engine, session: ztfast.Session
) -> None:
    doc, ann = engine.resource('Doc::"d"'), engine.resource('User::"ann"')
    gate = engine.prepare("edit", "size", "fast", "note", "who")
    right = (1, True, "a", ann)
    assert gate.decide(session, doc, *right)
    for at, wrong in ((0, True), (1, 1), (2, doc), (2, 1), (3, 1), (3, "a")):
        values = [*right[:at], wrong, *right[at + 1 :]]
        for call in (gate.allows, gate.decide, gate.decide_many):
            with pytest.raises(ztfast.ContextError):
                call(session, doc, *values)


@pytest.mark.parametrize("action", ["view", "edit"])
def test_only_a_handle_stands_for_the_resource(engine: ztfast.Engine, session: ztfast.Session, action: str) -> None:
    doc, ann = engine.resource('Doc::"d"'), engine.resource('User::"ann"')
    names = ("size",) if action == "view" else ("size", "fast", "note", "who")
    gate, values = engine.prepare(action, *names), (1, True, "a", ann)[: len(names)]
    assert gate.decide(session, doc, *values)
    calls: list[Callable[..., Any]] = [gate.allows, gate.decide]
    for wrong in ('Doc::"d"', doc.handle, session, None, ztfast.Uid("Doc", "d")):
        for call in calls:
            with pytest.raises(ztfast.ArgumentError, match="EntityHandle"):
                call(session, wrong, *values)
    for wrong in (doc, session.id, None):
        for call in calls:
            with pytest.raises(ztfast.ArgumentError, match="Session"):
                call(wrong, doc, *values)
