"""Uids: a text is exactly one uid, and a type is exactly a name, in all calls that take them."""

from __future__ import annotations

import copy
import json
import math
import pickle
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ztfast

SCHEMA = """
entity User; entity Photo { owner: User };
action view, "reduce-risk" appliesTo { principal: User, resource: Photo, context: { friend?: User, friends?: Set<User> } };
"""
POLICIES = """
permit (principal == User::"ann", action, resource);
permit (principal, action, resource) when { context has friend && context.friend == User::"ann" };
permit (principal, action, resource) when { context has friends && context.friends.contains(User::"ann") };
"""
PHOTO = {"uid": {"type": "Photo", "id": "p"}, "attrs": {"owner": {"type": "User", "id": "ann"}}, "parents": []}

# Cedar's parser of policies takes each for ann.
NOT_ANN = (
    'User::"ann"//"',
    'User::"ann"//',
    'User::"ann"// "bob"',
    'User::"ann"/**/',
    '/**/User::"ann"',
    '//\nUser::"ann"',
    'User/**/::"ann"',
    'User::/**/"ann"',
    'User:://"\n"ann"',
    ' User::"ann"',
    'User::"ann" ',
    'User::"ann"\n',
    'User ::"ann"',
    'User:: "ann"',
    'User\n::"ann"',
    '\ufeffUser::"ann"',
    'User::"ann"\0',
    'User\0::"ann"',
)
NO_NAMES = (
    'User::"x"//', "User ", " User", "User//", "User/**/", "User\n", "User\0", "", "::User", "User::", "Us er", "Usér", "if",
    "__cedar", "A::__cedar", "true", "\ud800",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> ztfast.Engine:
    return ztfast.Engine(ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA), entities=[PHOTO]))


@pytest.mark.parametrize("text", NOT_ANN)
def test_a_text_is_exactly_one_uid(engine: ztfast.Engine, text: str) -> None:
    photo = 'Photo::"p"'
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    as_photo = text.replace("User", "Photo").replace("ann", "p")
    for taken in (
        lambda: ztfast.Uid.parse(text),
        lambda: ztfast.Uid.of(text),
        lambda: ztfast.Uid.of({"__entity": text}),
        lambda: ztfast.Identity(text, not_after=math.inf),
        lambda: engine.evaluate(text, "view", photo),
        lambda: engine.evaluate('User::"ann"', "view", as_photo),
        lambda: engine.decide(session, "view", as_photo),
        lambda: engine.evaluate_many([text], "view", photo),
        lambda: engine.evaluate_many(['User::"ann"'], "view", [as_photo]),
        lambda: engine.explain(text, "view", photo),
        lambda: engine.resource(text),
        lambda: engine.remove([text]),
    ):
        with pytest.raises(ztfast.UidError):
            taken()
    for context in ({"friend": text}, {"friends": [text]}, {"friends": {text}}):
        for way in (engine.evaluate, engine.explain):
            with pytest.raises((ztfast.ContextError, ztfast.UidError)):
                way('User::"bob"', "view", photo, context)
        with pytest.raises((ztfast.ContextError, ztfast.UidError)):
            engine.entitled(session, "view", context)
    assert not engine.evaluate('User::"bob"', "view", photo)


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_type_is_exactly_a_name(engine: ztfast.Engine, name: str) -> None:
    photo = 'Photo::"p"'
    json_forms: tuple[Any, ...] = (
        {"type": name, "id": "ann"},
        {"__entity": {"type": name, "id": "ann"}},
        types.SimpleNamespace(type=name, id="ann"),
        types.SimpleNamespace(uid=types.SimpleNamespace(type=name, id="ann")),
    )
    with pytest.raises(ztfast.UidError):
        ztfast.Uid(name, "ann")
    with pytest.raises(ztfast.UidError):
        ztfast.Uid("User", "ann")._replace(type=name)
    for form in json_forms:
        for taken in (
            lambda form=form: ztfast.Uid.of(form),
            lambda form=form: engine.evaluate(form, "view", photo),
            lambda form=form: engine.resource(form),
            lambda form=form: engine.remove([form]),
        ):
            with pytest.raises(ztfast.UidError):
                taken()
        with pytest.raises((ztfast.ContextError, ztfast.UidError)):
            engine.evaluate('User::"bob"', "view", photo, {"friend": form})
    entity = {"uid": {"type": name, "id": "q"}, "attrs": {}, "parents": []}
    with pytest.raises(ztfast.Error):
        engine.upsert([entity])
    with pytest.raises(ztfast.Error):
        ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(SCHEMA), entities=[entity])
    owned = {**PHOTO, "attrs": {"owner": {"type": name, "id": "ann"}}}
    with pytest.raises(ztfast.Error):
        engine.upsert([owned])
    below = {"uid": {"type": "User", "id": "eve"}, "attrs": {}, "parents": [{"type": name, "id": "g"}]}
    with pytest.raises(ztfast.Error):
        engine.upsert([below])


@pytest.mark.parametrize("form", [{"type": "User", "id": "ann", "uid": "x"}, {"type": "User", "id": "ann", "x": 1},
                                  {"__entity": {"type": "User", "id": "ann"}, "type": "User"},
                                  {"__entity": {"__entity": {"type": "User", "id": "ann"}}},
                                  {"type": "User"}, {"type": "User", "id": 1}, {}, ("User", "ann"), None, 1, b'User::"ann"'])  # fmt: skip
def test_json_says_a_uid_and_nothing_else(engine: ztfast.Engine, form: Any) -> None:
    with pytest.raises(ztfast.UidError):
        ztfast.Uid.of(form)
    with pytest.raises(ztfast.UidError):
        engine.evaluate(form, "view", 'Photo::"p"')
    with pytest.raises((ztfast.ContextError, ztfast.UidError)):
        engine.evaluate('User::"bob"', "view", 'Photo::"p"', {"friend": form})


@pytest.mark.parametrize(
    "action",
    [
        'Action::"view"//',
        'Action::"view"//"',
        ' Action::"view"',
        'Action::/**/"view"',
        "view//",
        "view ",
        " view",
        "view\0",
        '"view"',
        "Action::view",
    ],
)
def test_an_action_is_exactly_one(engine: ztfast.Engine, action: str) -> None:
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    for taken in (
        lambda: engine.evaluate('User::"ann"', action, 'Photo::"p"'),
        lambda: engine.prepare(action),
        lambda: engine.evaluate_many(['User::"ann"'], action, 'Photo::"p"'),
        lambda: engine.resources(action),
        lambda: engine.entitled(session, action),
        lambda: engine.explain('User::"ann"', action, 'Photo::"p"'),
    ):
        with pytest.raises((ztfast.ActionError, ztfast.UidError)):
            taken()


def test_an_actions_id_that_reads_as_anothers_uid_is_ambiguous() -> None:
    schema = """entity User; entity Photo;
        action "view", "Action::\\"view\\"" appliesTo { principal: User, resource: Photo };"""
    policies = ztfast.Text('permit (principal, action == Action::"Action::\\"view\\"", resource);')
    engine = ztfast.Engine(ztfast.compile(policies, schema=ztfast.Text(schema)))
    with pytest.raises(ztfast.ActionError, match="ambiguous"):
        engine.evaluate('User::"ann"', 'Action::"view"', 'Photo::"p"')
    assert not engine.evaluate('User::"ann"', "view", 'Photo::"p"')
    assert engine.evaluate('User::"ann"', 'Action::"Action::\\"view\\""', 'Photo::"p"')


def test_links_name_uids_exactly(tmp_path: Path) -> None:
    template = '@id("t") permit (principal == ?principal, action, resource);'
    for text in ('User::"ann"', 'User::"a\\u{6e}n"', *NOT_ANN):
        links = [{"template_id": "t", "link_id": "l", "args": {"?principal": text}}]
        (tmp_path / "p.cedar").write_text(template)
        (tmp_path / "p.links.json").write_text(json.dumps(links))
        if text in NOT_ANN:
            with pytest.raises(ztfast.PolicyError, match="no entity uid"):
                ztfast.compile(tmp_path, schema=ztfast.Text(SCHEMA))
        else:
            engine = ztfast.Engine(ztfast.compile(tmp_path, schema=ztfast.Text(SCHEMA)))
            assert engine.evaluate('User::"ann"', "view", 'Photo::"p"')


def test_escapes_say_the_same(engine: ztfast.Engine) -> None:
    for text in ('User::"ann"', 'User::"\\u{61}nn"', 'User::"\\x61nn"', 'User::"a\\u{6E}n"'):
        assert ztfast.Uid.parse(text) == ztfast.Uid("User", "ann")
        assert engine.evaluate(text, "view", 'Photo::"p"')
        assert engine.evaluate('User::"bob"', "view", 'Photo::"p"', {"friend": text})


def test_a_uid_is_copied_and_pickled_as_one() -> None:
    uid = ztfast.Uid("A::B", 'say "hi"\0//')
    assert pickle.loads(pickle.dumps(uid)) == copy.deepcopy(uid) == uid
    assert type(copy.copy(uid)) is ztfast.Uid
    assert hash(uid) == hash(("A::B", 'say "hi"\0//'))


PIECES = st.lists(
    st.sampled_from(("User", "A::B", "::", '"', "ann", "\\", "\\u{61}", "/", "//", "/*", "*/", " ", "\n", "\0", "é", "if")) | st.text(max_size=2),
    max_size=8,
).map("".join)  # fmt: skip


@given(PIECES | PIECES.map(lambda id: f'User::"{id}"'))
@example('User::"ann"//"')
@example('User::"ann\\"//"')
def test_whatever_is_taken_prints_to_a_text_that_says_the_same(text: str) -> None:
    try:
        uid = ztfast.Uid.parse(text)
    except ztfast.UidError:
        return
    printed = str(uid)
    assert ztfast.Uid.parse(printed) == uid == ztfast.Uid.of(printed)
    assert text.startswith(f'{uid.type}::"')
    assert text.endswith('"')
    if "\\" not in text:
        assert text == f'{uid.type}::"{uid.id}"'


@given(st.text(max_size=8))
def test_every_id_prints_to_a_text_that_says_it(id: str) -> None:
    uid = ztfast.Uid("A::B", id)
    assert ztfast.Uid.parse(str(uid)) == uid


class AnyCase(str):
    """A text whose comparison ignores case."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str.lower(self) == str.lower(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str.lower(self))


class Everybody(ztfast.Uid):
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash(("User", "ann"))


def test_texts_that_compare_as_they_like_are_no_other_entitys_handle(engine: ztfast.Engine) -> None:
    ann = engine.resource('User::"ann"')
    for other in (ztfast.Uid("User", AnyCase("ANN")), ztfast.Uid(AnyCase("User"), "ANN"), Everybody("User", "ANN")):
        handle = engine.resource(other)
        assert handle.handle != ann.handle
        assert str(handle.uid) == 'User::"ANN"'
        assert list(map(type, handle.uid)) == [str, str]
        assert type(handle.uid) is ztfast.Uid
