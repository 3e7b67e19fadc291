"""The form of the tables makes no difference, and neither does changing the store instead of compiling it anew.

The policies over the small schema are random. Dense tables, rows and sets must give the same answer to every request, by
the same policies. An engine whose store was changed must decide as an engine over a bundle compiled from that store.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import ztfast
from tests.conftest import ENTITIES, SCHEMA, ref
from tests.properties.test_against_cedar import DOCS, POLICIES, REQUESTS, THOROUGH, USERS

FORMS = (None, "dense", "rows", "sets")


def compiled(policies: str, entities: list[dict[str, Any]], form: Any = None) -> ztfast.Bundle:
    return ztfast.compile(
        ztfast.Text(policies),
        schema=ztfast.Text(SCHEMA, "s.cedarschema"),
        entities=entities,
        validate="permissive",
        form=form,
    )


def assert_all_were_met(met: Counter[int]) -> None:
    """Assert that no answer was rare: what is drawn is the same each time."""
    assert min(met[code] for code in (ztfast.Code.ALLOW, ztfast.Code.FORBID, ztfast.Code.DEFAULT)) > 100, met


def test_all_forms_agree() -> None:
    met: Counter[int] = Counter()
    forms: Counter[tuple[Any, str]] = Counter()

    @settings(THOROUGH, max_examples=300)
    @given(POLICIES, st.lists(REQUESTS, min_size=12, max_size=12))
    def decide(policies: str, requests: list[tuple[Any, ...]]) -> None:
        bundles = [compiled(policies, ENTITIES, form) for form in FORMS]
        for bundle, form in zip(bundles, FORMS, strict=True):
            chosen = {layer.form for action in bundle.stats.actions for layer in action.layers}
            assert form is None or chosen <= {form, "sets"}
            forms.update((form, one) for one in chosen)
        engines = [ztfast.Engine(bundle, handles=8, sessions=2) for bundle in bundles]
        for request in requests:
            first, *others = (engine.evaluate(*request) for engine in engines)
            assert all(other == first for other in others), (policies, request, first, others)
            met[first.number] += 1

    decide()
    assert_all_were_met(met)
    for form in FORMS[1:]:
        assert forms[form, form] > 200, forms


def test_columns_agree_in_all_forms() -> None:
    users, docs = np.meshgrid(range(len(USERS)), range(len(DOCS)))
    met: Counter[int] = Counter()

    @settings(THOROUGH, max_examples=150)
    @given(POLICIES)
    def decide(policies: str) -> None:
        found = []
        for form in FORMS:
            engine = ztfast.Engine(compiled(policies, ENTITIES, form), handles=32, sessions=8)
            sessions = [engine.admit(ztfast.Identity(f'User::"{name}"', not_after=math.inf)) for name in USERS]
            handles = [engine.resource(f'Doc::"{name}"') for name in DOCS]
            view = engine.prepare("view")
            rows = [sessions[at] for at in users.ravel()], [handles[at] for at in docs.ravel()]
            codes = view.decide_many(*rows)
            assert [view.allows(*row) for row in zip(*rows, strict=True)] == list(codes == ztfast.Code.ALLOW)
            found.append(codes)
        assert all((codes == found[0]).all() for codes in found)
        met.update(found[0].tolist())

    decide()
    assert_all_were_met(met)


LEVELS = st.integers(0, 4)
HOMES = st.sampled_from(("x", "y", "unheard of"))
TEAMS = st.lists(st.sampled_from(("t1", "t2", "t3")), max_size=2, unique=True)
USER_ENTITIES = st.builds(
    lambda name, level, home, boss, teams: {
        "uid": {"type": "User", "id": name},
        "attrs": {"level": level, "home": home, **({"boss": ref("User", boss)} if boss else {})},
        "parents": [{"type": "Team", "id": team} for team in teams],
    },
    st.sampled_from((*USERS, "fresh")),
    LEVELS,
    HOMES,
    st.none() | st.sampled_from(USERS),
    TEAMS,
)
DOC_ENTITIES = st.builds(
    lambda name, owner, secret, readers, home, teams, tags: {
        "uid": {"type": "Doc", "id": name},
        "attrs": {
            "owner": ref("User", owner),
            "secret": secret,
            "readers": [ref("User", reader) for reader in readers],
            "home": home,
        },
        "parents": [{"type": "Team", "id": team} for team in teams],
        "tags": tags,
    },
    st.sampled_from(DOCS),
    st.sampled_from(USERS),
    st.booleans(),
    st.lists(st.sampled_from(USERS), max_size=2, unique=True),
    HOMES,
    TEAMS,
    st.dictionaries(st.sampled_from(("pages", "x")), LEVELS, max_size=2),
)
UIDS = st.sampled_from([*(("User", name) for name in USERS), *(("Doc", name) for name in DOCS), ("Team", "t1")])
CHANGES = st.lists(
    st.tuples(
        st.lists(USER_ENTITIES | DOC_ENTITIES, max_size=3, unique_by=lambda entity: str(entity["uid"])),
        st.lists(UIDS, max_size=2, unique=True),
    ),
    min_size=1,
    max_size=3,
)


def test_a_changed_store_decides_as_one_compiled_anew() -> None:
    met: Counter[int] = Counter()
    changed = 0

    @settings(THOROUGH, max_examples=400)
    @given(POLICIES, CHANGES, st.lists(REQUESTS, min_size=10, max_size=10), st.sampled_from(FORMS))
    def decide(policies: str, changes: list[Any], requests: list[tuple[Any, ...]], form: Any) -> None:
        nonlocal changed
        store = {str(entity["uid"]): copy.deepcopy(entity) for entity in ENTITIES}
        engine = ztfast.Engine(compiled(policies, ENTITIES, form), handles=32, sessions=2)
        for upserts, removals in changes:
            before = [engine.evaluate(*request) for request in requests]
            engine.upsert(upserts)
            store.update({str(entity["uid"]): entity for entity in upserts})
            engine.remove([ztfast.Uid(*uid) for uid in removals])
            for ty, name in removals:
                store.pop(str({"type": ty, "id": name}), None)
            anew = ztfast.Engine(compiled(policies, list(store.values()), form), handles=32, sessions=2)
            for request, was in zip(requests, before, strict=True):
                decision = engine.evaluate(*request)
                assert decision == anew.evaluate(*request), (policies, list(store.values()), request)
                met[decision.number] += 1
                changed += decision != was
            assert engine.explain(*requests[0]).agrees

    decide()
    assert_all_were_met(met)
    # Changes that change no answer would show little.
    assert changed > 100
