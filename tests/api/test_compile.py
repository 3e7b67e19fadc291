"""Compiling policies: files, ids, validation, diagnostics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.conftest import ENTITIES

PERMIT = "permit (principal, action, resource);"


def test_ids_are_cedars_own_for_one_file(build) -> None:
    bundle = build(PERMIT + "\nforbid (principal, action, resource);")
    assert [(policy.id, policy.effect, policy.line) for policy in bundle.policies] == [
        ("policy0", "permit", 1),
        ("policy1", "forbid", 2),
    ]


def test_ids_have_the_files_stem_where_there_are_several(tmp_path: Path, build) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "limits.cedar").write_text(PERMIT)
    (tmp_path / "deep" / "more.cedar").write_text(f'@id("mine")\n{PERMIT}\n{PERMIT}')
    (tmp_path / "notes.txt").write_text("not a policy")
    bundle = ztfast.compile(tmp_path, schema=ztfast.Text("entity U; action a appliesTo { principal: U, resource: U };"))
    assert sorted(policy.id for policy in bundle.policies) == ["limits.policy0", "mine", "more.policy1"]


def test_an_id_used_twice_is_refused_and_both_places_are_named(build) -> None:
    with pytest.raises(ztfast.PolicyError) as caught:
        build(f'@id("same")\n{PERMIT}\n@id("same")\n{PERMIT}')
    assert "same" in str(caught.value)
    assert ":1" in str(caught.value)
    assert ":3" in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "line", "says"),
    [
        ("permit (principal, action, resource)\nwhen { principal.levle > 1 };", 2, "levle"),
        ('permit (principal, action == Action::"nope", resource);', 1, "nope"),
        ("permit (principal, action, resource)\nwhen {\n  1 + };", 3, "unexpected"),
        ('permit (principal, action == Action::"edit", resource)\nwhen { context.size == "big" };', 2, ""),
    ],
)
def test_what_cedar_refuses_comes_with_file_line_and_caret(build, policy: str, line: int, says: str) -> None:
    with pytest.raises(ztfast.PolicyError) as caught:
        build(policy)
    assert caught.value.diagnostics[0]["file"] == "inline.cedar"
    assert caught.value.diagnostics[0]["line"] == line
    text = str(caught.value)
    assert f"inline.cedar:{line}" in text
    assert says in text
    assert "^" in text


def test_a_broken_schema_and_broken_entities_are_named(build) -> None:
    with pytest.raises(ztfast.PolicyError, match=r"bad\.cedarschema:2"):
        build(PERMIT, schema=ztfast.Text("entity User;\nentity Us er;", "bad.cedarschema"))
    with pytest.raises(ztfast.PolicyError, match=r"bad\.json"):
        build(PERMIT, entities=ztfast.Text('[{"uid": 1}]', "bad.json"))
    wrong = [{"uid": {"type": "User", "id": "x"}, "attrs": {"level": "high", "home": ""}, "parents": []}]
    with pytest.raises(ztfast.PolicyError, match="level"):
        build(PERMIT, entities=wrong)


def test_permissive_compiles_what_strict_refuses_and_says_so(build) -> None:
    policy = "permit (principal, action, resource) when { principal.nothing == 1 };"
    with pytest.raises(ztfast.PolicyError):
        build(policy)
    bundle = build(policy, validate="permissive")
    assert not bundle.strict
    assert "nothing" in bundle.warnings[0]["message"]
    assert ztfast.Engine(bundle).evaluate('User::"ann"', "view", 'Doc::"d1"').code == "DEFAULT"


def test_what_is_left_to_cedar_is_counted_named_and_right(build) -> None:
    bundle = build(
        f'{PERMIT}\n@id("slow")\nforbid (principal, action == Action::"edit", resource) '
        'when { context has note && decimal(context.note).greaterThan(decimal("1.0")) };',
        validate="permissive",
    )
    assert bundle.stats.fallbacks == 1
    assert [policy.id for policy in bundle.fallbacks] == ["slow"]
    assert "decimal" in (bundle.fallbacks[0].fallback or "")
    engine = ztfast.Engine(bundle)
    for note, effect in (("1.5", "DENY"), ("0.5", "ALLOW"), ("what?", "ALLOW")):
        decision = engine.evaluate('User::"x"', "edit", 'Doc::"y"', {"size": 1, "place": {"room": 1}, "note": note})
        assert decision.effect == effect
        assert decision.reasons == (("slow",) if effect == "DENY" else ("policy0",))


def test_the_schema_may_be_json(build) -> None:
    schema = {
        "": {
            "entityTypes": {"U": {}},
            "actions": {"a": {"appliesTo": {"principalTypes": ["U"], "resourceTypes": ["U"]}}},
        }
    }
    bundle = build(PERMIT, schema=ztfast.Text(json.dumps(schema), "s.json"), entities=None)
    assert ztfast.Engine(bundle).evaluate('U::"1"', "a", 'U::"2"')


def test_a_link_of_a_template_is_a_policy_of_its_own(tmp_path: Path, build) -> None:
    (tmp_path / "p.cedar").write_text('@id("t")\npermit (principal in ?principal, action, resource == ?resource);')
    links = [{"template_id": "t", "link_id": "l1", "args": {"?principal": 'Team::"t1"', "?resource": 'Doc::"d1"'}}]
    (tmp_path / "p.links.json").write_text(json.dumps(links))
    from tests.conftest import ENTITIES, SCHEMA

    bundle = ztfast.compile(tmp_path, schema=ztfast.Text(SCHEMA), entities=ENTITIES)
    engine = ztfast.Engine(bundle)
    assert engine.evaluate('User::"ann"', "view", 'Doc::"d1"').reasons == ("l1",)
    assert not engine.evaluate('User::"ann"', "view", 'Doc::"d2"')
    assert not engine.evaluate('User::"bob"', "view", 'Doc::"d1"')


def test_action_groups_reach_their_members(build) -> None:
    engine = ztfast.Engine(build('permit (principal, action in Action::"group", resource);'))
    assert engine.evaluate('User::"ann"', "view", 'Doc::"d1"')
    assert not engine.evaluate('User::"ann"', "look", 'Doc::"d1"')


def test_missing_files_are_named(tmp_path: Path) -> None:
    schema = ztfast.Text("entity U;")
    with pytest.raises(ztfast.SourceError, match=r"gone\.cedar"):
        ztfast.compile(tmp_path / "gone.cedar", schema=schema)
    with pytest.raises(ztfast.SourceError, match="the folder has no policies"):
        ztfast.compile(tmp_path, schema=schema)
    (tmp_path / "latin.cedar").write_bytes(b"// caf\xe9")
    with pytest.raises(ztfast.SourceError, match="not UTF-8 at byte 6"):
        ztfast.compile(tmp_path / "latin.cedar", schema=schema)


def test_equal_sources_make_equal_bundles_and_a_file_brings_them_back(tmp_path: Path, build) -> None:
    first, second = build(PERMIT), build(PERMIT)
    assert first.hash == second.hash != build(PERMIT + "\n").hash
    first.save(tmp_path / "b.ztb")
    loaded = ztfast.Bundle.load(tmp_path / "b.ztb")
    assert loaded.hash == first.hash
    assert loaded.stats == first.stats
    assert loaded.policies == first.policies
    assert loaded.actions == first.actions


def test_the_hash_covers_the_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.cedar").write_text(PERMIT)
    monkeypatch.chdir(tmp_path)
    schema = ztfast.Text("entity U; action a appliesTo { principal: U, resource: U };")
    hashes = {ztfast.compile(path, schema=schema).hash for path in ("p.cedar", "./p.cedar", tmp_path / "p.cedar")}
    assert len(hashes) == 3
    assert ztfast.compile("p.cedar", schema=schema).hash in hashes


def test_entities_that_the_store_lacks_are_warned_of() -> None:
    schema = ztfast.Text(
        "entity Desk; entity Trader in [Desk]; action buy appliesTo { principal: Trader, resource: Desk };"
    )
    desk = {"uid": {"type": "Desk", "id": "fx"}, "attrs": {}, "parents": []}
    ann = {"uid": {"type": "Trader", "id": "ann"}, "attrs": {}, "parents": [{"type": "Desk", "id": "fx"}]}
    typo = {"uid": {"type": "Trader", "id": "bob"}, "attrs": {}, "parents": [{"type": "Desk", "id": "zz"}]}
    right = ztfast.Text(f'{PERMIT} @id("stop") forbid (principal in Desk::"fx", action, resource);')
    wrong = ztfast.Text(right.text.replace('"fx"', '"xf"'))

    def said(policies: ztfast.Text, entities: list[Any] | None, **options: Any) -> list[tuple[str, str, int]]:
        bundle = ztfast.compile(policies, schema=schema, entities=entities, warnings="ignore", **options)
        return [(warning["message"], warning["file"], warning["line"]) for warning in bundle.warnings]

    of_policy = ('policy `stop` names Desk::"xf", which the store lacks', "inline.cedar", 1)
    of_parent = ('Trader::"bob" has the parent Desk::"zz", which the store lacks', "entities", 1)
    assert said(right, [desk, ann]) == []
    assert said(wrong, None) == []
    assert said(wrong, [desk, ann]) == [of_policy]
    assert said(wrong, [desk, ann, typo]) == [of_policy, of_parent]
    with pytest.warns(ztfast.PolicyWarning, match="inline.cedar:1: policy `stop` names"):
        bundle = ztfast.compile(wrong, schema=schema, entities=[desk, ann])
    with pytest.raises(ztfast.PolicyError, match="the store lacks"):
        ztfast.compile(wrong, schema=schema, entities=[desk, ann], warnings="error")
    # An engine takes such a bundle, and the entity may come later.
    engine = ztfast.Engine(bundle)
    assert engine.evaluate('Trader::"ann"', "buy", 'Desk::"fx"').code == "ALLOW"
    engine.upsert([{**ann, "parents": [{"type": "Desk", "id": "xf"}]}])
    assert engine.evaluate('Trader::"ann"', "buy", 'Desk::"fx"').code == "FORBID"
    # Over a base whose store is the same the entities are read again only if warnings are errors.
    base = ztfast.compile(right, schema=schema, entities=[desk, ann])
    with pytest.raises(ztfast.PolicyError, match="the store lacks"):
        ztfast.compile(wrong, schema=schema, entities=[desk, ann], base=base, warnings="error")
    strictly = ztfast.compile(right, schema=schema, entities=[desk, ann], base=base, warnings="error")
    assert strictly.hash == base.hash
    assert said(wrong, [desk, ann, typo], base=base) == [of_policy, of_parent]


def test_stats_count_what_there_is(build) -> None:
    stats = build('permit (principal, action == Action::"edit", resource) when { context.size > 1 };').stats
    assert (stats.policies, stats.fallbacks, stats.residual) == (1, 0, 1)
    assert stats.entities == 6 + 4  # with the schema's actions
    edit = next(action for action in stats.actions if action.action == 'Action::"edit"')
    assert (edit.policies, edit.principal_classes, edit.resource_classes, edit.programs) == (1, 1, 1, 2)


def test_actions_list_the_contexts_attributes(build) -> None:
    context = {path: (ty, needed) for path, ty, needed in build(PERMIT).actions['Action::"edit"']["context"]}
    assert context["size"] == ("Long", True)
    assert context["place.floor"] == ("Long", False)
    assert context["extra.inner.deep"] == ("Long", False)
    assert context["people"] == ("Set<User>", False)


def test_progress_is_reported_and_may_stop_the_work(build) -> None:
    seen = []
    build(PERMIT, progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen[-1][1] == seen[-1][2] > 0

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(PERMIT, progress=stop)


def test_a_base_changes_nothing_but_the_time_it_takes(build) -> None:
    ip = {"uid": {"type": "User", "id": "new"}, "attrs": {"level": 1, "home": "z"}, "parents": []}
    texts = (
        f'{PERMIT} forbid (principal, action == Action::"edit", resource) when {{ principal.level > 7 }};',
        'permit (principal == User::"named", action == Action::"edit", resource == Doc::"d1") when { resource.readers.contains(principal) };',
        "",
    )
    for old in texts:
        base = build(old)
        for new in texts:
            assert build(new, base=base).hash == build(new).hash
        changed = [*ENTITIES, ip]
        assert build(old, base=base, entities=changed).hash == build(old, entities=changed).hash
    # What validation refused is refused again, though schema and entities are the same.
    loose = build("permit (principal, action, resource) when { principal.nothing };", validate="permissive")
    with pytest.raises(ztfast.PolicyError):
        build("permit (principal, action, resource) when { principal.nothing };", base=loose)


def test_a_base_with_every_kind_of_value() -> None:
    schema = ztfast.Text(
        "entity G; entity U in [G] { a: ipaddr, b: Set<ipaddr>, c: { d: Set<{ e: U, f?: String }>, g?: decimal } } tags Set<Long>;"
        "action go appliesTo { principal: U, resource: U };"
    )
    v6 = {"a": "fd00::1", "b": ["fd00::1", "fd00::/8", "10.0.0.1"], "c": {"d": [], "g": "1.5"}}
    entities = [
        {"uid": {"type": "U", "id": "u"}, "attrs": v6, "parents": [{"type": "G", "id": "g"}], "tags": {"t": [1, 2]}},
        {
            "uid": {"type": "U", "id": "v"},
            "attrs": {**v6, "c": {"d": [{"e": {"type": "U", "id": "w"}, "f": "x"}, {"e": {"type": "U", "id": "u"}}]}},
            "parents": [{"type": "G", "id": "g"}],
            "tags": {"t": [2, 1], "s": []},
        },
    ]
    texts = [
        'permit (principal in G::"g", action, resource) when { principal.b.contains(ip("fd00::1")) && principal.c.d == resource.c.d };',
        'permit (principal, action, resource) when { resource.getTag("t").containsAll([1, 3]) || principal.a == ip("fd00::/8") };',
    ]

    def compiled(text: str, base: ztfast.Bundle | None = None) -> ztfast.Bundle:
        return ztfast.compile(ztfast.Text(text), schema=schema, entities=entities, base=base, validate="permissive")

    for old in texts:
        for new in texts:
            assert compiled(new, compiled(old)).hash == compiled(new).hash
