"""Random policies over a fixed schema and store, decided as Cedar decides them.

The generator writes expressions over principal, resource and context with every operator, biased to boundaries, to missing
attributes and entities, and to errors in odd places. For all of them the decision, the determining policies and
``explain`` must agree with Cedar.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ztfast
from tests.conftest import ENTITIES, SCHEMA, cedar_over

USERS = ("ann", "bob", "stranger", "named")
DOCS = ("d1", "d2", "stranger")

LONGS = st.sampled_from(("0", "1", "2", "3", "7", "-1", "9223372036854775807", "(-9223372036854775808)"))
STRINGS = st.sampled_from(('"x"', '"y"', '""', '"x*y"', '"new"'))
UIDS = st.sampled_from(
    (
        *(f'User::"{name}"' for name in USERS),
        *(f'Doc::"{name}"' for name in DOCS),
        'Team::"t1"',
        'Team::"t2"',
        'Action::"group"',
    )
)


def long(depth: int) -> st.SearchStrategy[str]:
    leaves = st.one_of(
        LONGS,
        st.sampled_from(
            ("principal.level", "principal.boss.level", "resource.owner.level", "context.size", "context.place.room")
        ),
        st.sampled_from(
            ("context.place.floor", "context.who.level", "context.extra.inner.deep", 'resource.getTag("pages")')
        ),
    )
    if depth == 0:
        return leaves
    inner = long(depth - 1)
    return st.one_of(
        leaves,
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(-{e})"),
        st.tuples(boolean(depth - 1), inner, inner).map(lambda t: f"(if {t[0]} then {t[1]} else {t[2]})"),
        st.sampled_from(("context.within.toSeconds()", 'context.at.durationSince(datetime("2026-01-01")).toHours()')),
    )


def text() -> st.SearchStrategy[str]:
    return st.one_of(
        STRINGS, st.sampled_from(("principal.home", "resource.home", "context.note", "context.extra.code"))
    )


def entity() -> st.SearchStrategy[str]:
    return st.one_of(
        UIDS,
        st.sampled_from(
            (
                "principal",
                "resource",
                "action",
                "principal.boss",
                "resource.owner",
                "context.who",
                "resource.owner.boss",
            )
        ),
    )


def many() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(("resource.readers", "context.people", "context.tags")),
        st.lists(entity(), max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(text(), max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(long(0), max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    )


def boolean(depth: int) -> st.SearchStrategy[str]:
    leaves = st.one_of(
        st.sampled_from(("true", "false", "context.fast", "resource.secret")),
        st.sampled_from(
            (
                "principal has boss", "principal has boss.boss", "principal has level", "resource has owner.boss", "context has fast",
                "context has who.boss.level", "context has place.floor", "context has extra.inner.deep", "context has size",
                "resource has readers", "context has nothing",
            )
        ),
        st.sampled_from(("principal is User", "principal is Bot", "resource.owner is User", "context.who is User in Team::\"t1\"")),
        st.tuples(text(), st.sampled_from(('"*"', '"x*"', '"*y"', '"x\\*y"', '"n*w"'))).map(lambda t: f"{t[0]} like {t[1]}"),
        st.sampled_from(('resource.hasTag("pages")', 'resource.hasTag(context.note)', "context.tags.isEmpty()", "resource.readers.isEmpty()")),
        st.sampled_from(
            (
                'context.price.lessThan(decimal("1.5"))', 'context.price.greaterThanOrEqual(decimal("1.5"))', 'context.price == decimal("1.50")',
                'context.at < datetime("2026-01-01")', 'datetime("2026-01-01T00:00:00Z") <= context.at', 'context.at.toDate() == context.at',
                'context.at.offset(context.within) > context.at', 'context.within >= duration("1m")', 'context.at.toTime() < duration("12h")',
                'context.from.isInRange(ip("10.0.0.0/8"))', "context.from.isIpv4()", "context.from.isLoopback()", 'context.from == ip("::1")',
            )
        ),
    )  # fmt: skip
    if depth == 0:
        return leaves
    inner = boolean(depth - 1)
    return st.one_of(
        leaves,
        st.tuples(long(depth - 1), st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), long(depth - 1)).map(" ".join).map("({})".format),
        st.tuples(entity(), st.sampled_from(("==", "!=", "in")), entity()).map(" ".join).map("({})".format),
        st.tuples(entity(), many()).map(lambda t: f"({t[0]} in {t[1]})"),
        st.tuples(text(), text()).map(lambda t: f"({t[0]} == {t[1]})"),
        st.tuples(many(), entity()).map(lambda t: f"{t[0]}.contains({t[1]})"),
        st.tuples(many(), st.sampled_from(("containsAll", "containsAny")), many()).map(lambda t: f"{t[0]}.{t[1]}({t[2]})"),
        st.tuples(many(), many()).map(lambda t: f"({t[0]} == {t[1]})"),
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"!({e})"),
        st.tuples(inner, inner, inner).map(lambda t: f"(if {t[0]} then {t[1]} else {t[2]})"),
        st.sampled_from(
            (
                "context.place == {room: 1}", "context.place == {room: 1, floor: 2}", 'context.extra == {code: "x"}', "{a: 1, b: principal} == {b: resource, a: 1}",
                "[{a: context.size}].contains({a: 1})", "[[1], [context.size]] == [[1]]", "context == {}",
            )
        ),
    )  # fmt: skip


SCOPES = st.tuples(
    st.sampled_from(("principal", 'principal == User::"ann"', 'principal in Team::"t1"', "principal is User", 'principal is User in Team::"t2"', 'principal == User::"named"')),
    st.sampled_from(("action", 'action == Action::"edit"', 'action in Action::"group"', 'action in [Action::"edit", Action::"look"]')),
    st.sampled_from(("resource", 'resource == Doc::"d1"', 'resource in Team::"t1"', "resource is Doc", 'resource == User::"ann"')),
).map(", ".join)  # fmt: skip
CLAUSES = st.lists(
    st.tuples(st.sampled_from(("when", "unless")), boolean(2)).map(lambda t: f"{t[0]} {{ {t[1]} }}"), max_size=2
)
POLICIES = st.lists(
    st.tuples(st.sampled_from(("permit", "permit", "forbid")), SCOPES, CLAUSES).map(
        lambda t: f"{t[0]} ({t[1]}) {' '.join(t[2])};"
    ),
    min_size=1,
    max_size=5,
).map("\n".join)

USER_UIDS = st.sampled_from([f'User::"{name}"' for name in USERS])
OPTIONAL = {
    "fast": st.booleans(),
    "note": st.sampled_from(("x", "pages", "unheard of", "")),
    "price": st.sampled_from(("1.5", "1.4999", "-0.0001")),
    "at": st.sampled_from(("2026-01-01", "2025-12-31T23:59:59.999Z", "1969-12-31T23:00:00Z")),
    "within": st.sampled_from(("1m", "59999ms", "-1ms", "9223372036854775807ms")),
    "from": st.sampled_from(("10.1.1.1", "127.0.0.1/8", "::1", "11.0.0.0")),
    "who": USER_UIDS,
    "tags": st.lists(st.sampled_from(("x", "y", "unheard of")), max_size=3),
    "people": st.lists(USER_UIDS, max_size=3),
    "extra": st.sampled_from(({"code": "x"}, {"code": "new", "inner": {"deep": 1}})),
}
CONTEXTS = st.fixed_dictionaries(
    {
        "size": st.sampled_from((0, 1, 2, 3, -1, 2**63 - 1, -(2**63))),
        "place": st.sampled_from(({"room": 1}, {"room": 1, "floor": 2}, {"room": 2**63 - 1})),
    },
    optional=OPTIONAL,
)
REQUESTS = st.one_of(
    st.tuples(USER_UIDS, st.just("edit"), st.sampled_from([f'Doc::"{name}"' for name in DOCS]), CONTEXTS),
    st.tuples(
        st.one_of(USER_UIDS, st.just('Bot::"b"')),
        st.just("view"),
        st.sampled_from([f'Doc::"{name}"' for name in DOCS]),
        st.just({}),
    ),
    st.tuples(
        st.one_of(USER_UIDS, st.just('Doc::"d1"')),
        st.just("look"),
        st.one_of(USER_UIDS, st.just('Doc::"d2"')),
        st.fixed_dictionaries({}, optional={"who": USER_UIDS}),
    ),
)

THOROUGH = settings(
    max_examples=1_500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


def test_random_policies_are_decided_as_cedar_decides_them() -> None:
    met: Counter[str] = Counter()

    @THOROUGH
    @given(POLICIES, st.lists(REQUESTS, min_size=12, max_size=12))
    def decide(policies: str, requests: list[tuple[Any, ...]]) -> None:
        bundle = ztfast.compile(
            ztfast.Text(policies), schema=ztfast.Text(SCHEMA, "s.cedarschema"), entities=ENTITIES, validate="permissive"
        )
        assert bundle.stats.fallbacks == 0
        engine, cedar = ztfast.Engine(bundle, handles=8, sessions=2), cedar_over(bundle, ENTITIES)
        for request in requests:
            decision = engine.evaluate(*request)
            allow, reasons, errors = cedar.authorize(*request)
            assert (bool(decision), decision.reasons) == (allow, tuple(reasons)), (policies, request)
            met.update([ztfast.Code(decision.number).name, *(["erred"] if errors else [])])
        assert engine.explain(*requests[0]).agrees

    decide()
    # The requests are the same each time, so this is no matter of luck.
    assert min(met[what] for what in ("ALLOW", "FORBID", "DEFAULT", "erred")) > 1_000, met


@settings(THOROUGH, max_examples=500)
@given(st.text(), st.sampled_from(("User", "A::B::C", "_x")))
def test_uids_are_read_back_from_their_text(name: str, ty: str) -> None:
    uid = ztfast.Uid(ty, name)
    assert ztfast.Uid.parse(str(uid)) == uid


def test_columns_are_decided_as_single_requests() -> None:
    bundle = ztfast.compile(
        ztfast.Text(
            "permit (principal, action, resource) when { context.size < 10 };"
            'forbid (principal, action, resource) when { context has note && (context.note like "*a*" || context.note == "") };'
            "forbid (principal, action, resource) when { context.size > principal.level };",
        ),
        schema=ztfast.Text(SCHEMA),
        entities=ENTITIES,
        validate="permissive",
    )
    engine = ztfast.Engine(bundle, handles=16, sessions=16)
    sessions = [engine.admit(ztfast.Identity(f'User::"{name}"', not_after=math.inf)) for name in USERS]
    doc, gate = engine.resource('Doc::"d1"'), engine.prepare("edit", "size", "note", "place.room")
    met: Counter[int] = Counter()

    @settings(THOROUGH, max_examples=300)
    @given(st.lists(st.tuples(st.integers(-5, 15), st.integers(0, 3), st.text(max_size=3)), min_size=1, max_size=30))
    def decide(rows: list[tuple[int, int, str]]) -> None:
        codes = gate.decide_many(
            [sessions[who] for _, who, _ in rows], doc, [size for size, *_ in rows], [note for *_, note in rows], 1
        )
        for (size, who, note), code in zip(rows, codes, strict=True):
            single = engine.decide(sessions[who], "edit", doc, {"size": size, "note": note, "place": {"room": 1}})
            assert (code, gate.allows(sessions[who], doc, size, note, 1)) == (single.number, bool(single))
            met[single.number] += 1

    decide()
    assert min(met[code] for code in (ztfast.Code.ALLOW, ztfast.Code.FORBID, ztfast.Code.DEFAULT)) > 100, met
