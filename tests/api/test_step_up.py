"""Step-ups: forbids with ``@step_up``, in every way of deciding; what the annotations may say; and the advice."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
from typing import Any

import pytest

import ztfast
from ztfast import Advice, Code

SCHEMA = ztfast.Text(
    """\
entity User = { desk: Long };
entity Book = { size: Long };
action "one" appliesTo { principal: User, resource: Book, context: { qty: Long } };
action "two" appliesTo { principal: User, resource: Book, context: { qty: Long, price: Long } };
action "four" appliesTo {
    principal: User, resource: Book, context: { qty: Long, price: Long, side: String, tags?: Set<String> }
};
""",
    "s.cedarschema",
)
USERS, BOOKS = ("ann", "bob", "new"), ("b1", "b2")
ENTITIES = [
    {"uid": {"type": "User", "id": "ann"}, "attrs": {"desk": 1}, "parents": []},
    {"uid": {"type": "User", "id": "bob"}, "attrs": {"desk": 2}, "parents": []},
    *({"uid": {"type": "Book", "id": id}, "attrs": {"size": 5}, "parents": []} for id in BOOKS),
]
NAMES = {"one": ("qty",), "two": ("qty", "price"), "four": ("qty", "price", "side", "tags")}
VALUES: dict[str, tuple[Any, ...]] = {
    "one": ((-1,), (0,), (7,), (8,)),
    "two": ((0, 0), (7, 0), (8, 9), (0, 9), (-3, -3)),
    "four": ((0, 0, "buy", ["a"]), (8, 9, "sell", []), (9, 0, "sale", ["b", "a"]), (7, 7, "x", ["b"])),
}
# Conditions that are decided by classes, by grids and boxes, by inequalities, by checks, and by code.
CONDITIONS = {
    "one": ("context.qty > 7", "context.qty < 0", "principal.desk == 1", 'resource == Book::"b2"', "true"),
    "two": ("context.qty > 7", "context.price > context.qty", "context.qty * context.price < 0", "principal.desk == 2"),
    "four": (
        "context.qty > 7", 'context.side like "s*"', 'context has tags && context.tags.contains("a")',
        "context.qty + context.price > 9", "principal.desk == 1", "context.price > resource.size",
    ),
}  # fmt: skip
ASKS = ('@step_up("fido2")', '@step_up("pin, fido2") @max_age("60s")', '@step_up("") @max_age("5m")')
ASKED = (("fido2", None), ("pin fido2", 60), ("", 300))


def compiled(policies: str, **options: Any) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=SCHEMA, entities=ENTITIES, **options)


def advice(bundle: ztfast.Bundle, reasons: tuple[str, ...]) -> Advice:
    asked = [policy.step_up for policy in bundle.policies if policy.id in reasons]
    assert all(asked)
    return Advice.of((" ".join(one.factors), one.max_age) for one in asked if one is not None)


class Desk:
    """An engine, and one over the permits alone, by which Cedar says whether a permit applies."""

    def __init__(self, policies: list[str], **options: Any) -> None:
        self.engine = ztfast.Engine(compiled("\n".join(policies), **options), sessions=8, handles=64)
        self.permits = ztfast.Engine(compiled("\n".join(one for one in policies if "forbid" not in one)), sessions=1)
        self.sessions = {
            user: self.engine.admit(ztfast.Identity(f'User::"{user}"', not_after=math.inf)) for user in USERS
        }
        self.gates = {action: self.engine.prepare(action, *names) for action, names in NAMES.items()}

    def change(self) -> None:
        """Give a user attributes, so that no table knows its class."""
        for engine in (self.engine, self.permits):
            engine.upsert([{"uid": {"type": "User", "id": "new"}, "attrs": {"desk": 2}, "parents": []}])

    def wanted(self, user: str, action: str, book: str, context: dict[str, Any]) -> ztfast.Decision:
        """Return what Cedar's answers make of a request."""
        request = f'User::"{user}"', action, f'Book::"{book}"', context
        told = self.engine.explain(*request)
        reasons = tuple(text.policy.id for text in told.reasons)
        if told.allow:
            return ztfast.Decision(Code.ALLOW, reasons)
        if not reasons:
            return ztfast.Decision(Code.DEFAULT)
        steps = all(text.policy.step_up for text in told.reasons)
        if steps and len(reasons) <= 64 and self.permits.explain(*request).allow:
            return ztfast.Decision(Code.STEP_UP, reasons, advice(self.engine.bundle, reasons))
        return ztfast.Decision(Code.FORBID, reasons)

    def agree(self, action: str) -> set[str]:
        """Check that all ways of deciding give what Cedar's answers make of all requests; return the codes."""
        seen, rows, numbers = set(), [], []
        gate = self.gates[action]
        for user, id, values in itertools.product(USERS, BOOKS, VALUES[action]):
            context, session = dict(zip(NAMES[action], values, strict=True)), self.sessions[user]
            wanted = self.wanted(user, action, id, context)
            book = self.engine.resource(f'Book::"{id}"')
            told = self.engine.explain(session, action, book, context)
            assert told.decision == wanted, (user, id, values)
            assert told.agrees, (user, id, values)
            assert self.engine.evaluate(f'User::"{user}"', action, book, context) == wanted
            assert self.engine.decide(session, action, book, context) == wanted
            assert gate.decide(session, book, *values) == wanted
            assert gate.allows(session, book, *values) is bool(wanted)
            assert bool(self.engine.entitlements(session, action, context)[BOOKS.index(id)]) is bool(wanted)
            if action != "four":
                assert (
                    gate.decide_many(session, book, *([value] * 3 for value in values)).tolist() == [wanted.number] * 3
                )
            rows.append((session, book, self.engine.resource(f'User::"{user}"'), values))
            numbers.append(wanted.number)
            seen.add(wanted.code)
        if action != "four":
            sessions, books, users, values = zip(*rows, strict=True)
            columns = [list(column) for column in zip(*values, strict=True)]
            assert gate.decide_many(sessions, books, *columns).tolist() == numbers
            assert gate.evaluate_many(users, books, *columns).tolist() == numbers
        return seen


@pytest.mark.parametrize("form", [None, "dense", "rows", "sets"])
def test_all_ways_give_what_cedars_answers_make(form: str | None) -> None:
    seen: set[str] = set()
    for seed in range(12):
        dice = random.Random(seed)
        policies = []
        for action, conditions in CONDITIONS.items():
            scope = f'(principal, action == Action::"{action}", resource)'
            permits = [f"permit {scope} when {{ {dice.choice(conditions)} }};" for _ in range(dice.randrange(3))]
            permits += [f"permit {scope};"] * (dice.random() < 0.6)
            asks = [dice.choice((*ASKS, "")) for _ in range(1 + dice.randrange(3))]
            policies += permits + [f"{ask} forbid {scope} when {{ {dice.choice(conditions)} }};" for ask in asks]
        desk = Desk(policies, form=form)
        for action in CONDITIONS:
            seen |= desk.agree(action)
        desk.change()
        for action in CONDITIONS:
            seen |= desk.agree(action)
    assert seen == {"ALLOW", "DEFAULT", "FORBID", "STEP_UP"}


def test_a_step_up_names_all_factors_and_the_least_age() -> None:
    desk = Desk(
        [f"{ask} forbid (principal, action, resource);" for ask in ASKS] + ["permit (principal, action, resource);"]
    )
    session, book = desk.sessions["ann"], desk.engine.resource('Book::"b1"')
    decision = desk.gates["one"].decide(session, book, 1)
    assert (decision.effect, decision.code, bool(decision)) == ("STEP_UP", "STEP_UP", False)
    assert decision.advice == Advice(("fido2", "pin"), 60)
    assert decision.to_authzen() == {
        "decision": False,
        "context": {
            "code": "STEP_UP",
            "reasons": ["policy0", "policy1", "policy2"],
            "acr_values": "fido2 pin",
            "max_age": 60,
        },
    }
    assert json.loads(json.dumps(decision.to_authzen())) == decision.to_authzen()
    assert pickle.loads(pickle.dumps(decision)) == decision
    assert desk.gates["one"].decide(session, book, 1) is desk.gates["one"].decide(session, book, 1)
    assert [policy.step_up for policy in desk.engine.bundle.policies] == [Advice.of([one]) for one in ASKED] + [None]
    # Other decisions have no advice.
    assert ztfast.Decision(Code.FORBID).advice is None
    assert ztfast.Decision(Code.ALLOW).to_authzen() == {"decision": True, "context": {"code": "ALLOW", "reasons": []}}
    assert ztfast.Decision(Code.STEP_UP, (), Advice()).to_authzen()["context"] == {"code": "STEP_UP", "reasons": []}
    for wrong in ("fido2", ("fido2",), 60):
        with pytest.raises(ztfast.ArgumentError, match=r"wanted a ztfast\.Advice or None"):
            ztfast.Decision(Code.STEP_UP, (), wrong)  # type: ignore[arg-type]


def test_what_is_left_to_cedar_tells_step_ups_from_forbids() -> None:
    scope = '(principal, action == Action::"four", resource)'
    slow = f'{ASKS[0]} forbid {scope} when {{ decimal(context.side).greaterThan(decimal("1.0")) }};'
    plain = f"forbid {scope} when {{ context.qty > 8 }};"
    for policies, wanted in (
        ([slow, plain, f"permit {scope};"], {"1.5": "STEP_UP", "0.5": "ALLOW", "?": "ALLOW"}),
        ([slow, plain], {"1.5": "FORBID", "0.5": "DEFAULT", "?": "DEFAULT"}),
        ([slow, ASKS[2] + plain, f"permit {scope};"], {"1.5": "STEP_UP", "0.5": "ALLOW", "?": "ALLOW"}),
    ):
        bundle = compiled("\n".join(policies), validate="permissive")
        assert bundle.stats.fallbacks == 1
        engine = ztfast.Engine(bundle)
        session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
        gate, book = engine.prepare("four", "qty", "price", "side"), engine.resource('Book::"b1"')
        for side, code in wanted.items():
            assert gate.decide(session, book, 1, 1, side).code == code
            assert gate.decide_many(session, book, 1, 1, side).tolist() == [Code[code]]
            assert engine.evaluate('User::"ann"', "four", book, {"qty": 1, "price": 1, "side": side}).code == code
        over = gate.decide(session, book, 9, 1, "1.5")
        asks = "@" in policies[1] and len(policies) == 3
        assert (over.code, len(over.reasons)) == ("STEP_UP" if asks else "FORBID", 2)


@pytest.mark.parametrize(("count", "code"), [(64, "STEP_UP"), (65, "FORBID")])
def test_a_decision_that_cannot_keep_all_its_forbids_is_no_step_up(count: int, code: str) -> None:
    forbids = [f'@step_up("f{number}") forbid (principal, action, resource);' for number in range(count)]
    desk = Desk([*forbids, "permit (principal, action, resource);"])
    for action in CONDITIONS:
        assert desk.agree(action) == {code}


def test_a_saved_bundle_keeps_what_it_asks_for(tmp_path: Any) -> None:
    bundle = compiled('@step_up("fido2") @max_age("1h") forbid (principal, action, resource);')
    bundle.save(tmp_path / "b.ztb")
    (policy,) = ztfast.Bundle.load(tmp_path / "b.ztb").policies
    assert policy.step_up == Advice(("fido2",), 3600)
    assert policy.annotations == {"step_up": "fido2", "max_age": "1h"}


def test_a_link_asks_for_what_its_template_asks_for() -> None:
    template = '@id("t") @step_up("fido2") forbid (principal == ?principal, action, resource);'
    links = json.dumps([{"template_id": "t", "link_id": "l", "args": {"?principal": 'User::"ann"'}}])
    files = [ztfast.Text(template, "t.cedar"), ztfast.Text(links, "t.links.json")]
    permit = ztfast.Text("permit (principal, action, resource);", "p.cedar")
    bundle = ztfast.compile([*files, permit], schema=SCHEMA, entities=ENTITIES)
    decide = ztfast.Engine(bundle).evaluate
    decision = decide('User::"ann"', "one", 'Book::"b1"', {"qty": 1})
    assert (decision.code, decision.reasons, decision.advice) == ("STEP_UP", ("l",), Advice(("fido2",)))
    assert decide('User::"bob"', "one", 'Book::"b1"', {"qty": 1}).code == "ALLOW"


@pytest.mark.parametrize(
    ("annotations", "effect", "says", "at"),
    [
        ('@step_up("fido2")', "permit", "`@step_up` stands on a permit", 2),
        ('@max_age("60s")', "permit", "`@max_age` stands on a permit", 2),
        ('@max_age("60s")', "forbid", "`@max_age` stands without `@step_up`", 2),
        ("@step_up", "forbid", "`@step_up` asks for nothing", 2),
        ('@step_up(" ")', "forbid", "`@step_up` asks for nothing", 2),
        ('@step_up("a,,b")', "forbid", "a comma without a factor", 2),
        ('@step_up(",")', "forbid", "a comma without a factor", 2),
        ('@step_up("a, ")', "forbid", "a comma without a factor", 2),
        ('@step_up("a b,a")', "forbid", "names the factor `a` twice", 2),
        ('@step_up("a\\tb")', "forbid", "is no factor's name", 2),
        ('@step_up("\\u{0444}ido2")', "forbid", "is no factor's name", 2),
        ('@step_up("a\\u{202e}b")', "forbid", "`a\\u{202e}b` is no factor's name", 2),
        ('@step_up("a\\"b")', "forbid", "is no factor's name", 2),
        ('@step_up("a")\n@max_age("60")', "forbid", "`@max_age`: ", 3),
        ('@step_up("a")\n@max_age("")', "forbid", "`@max_age`: ", 3),
        ('@step_up("a")\n@max_age("-1s")', "forbid", "`@max_age` is less than nothing", 3),
        ('@step_up("a")\n@max_age("1500ms")', "forbid", "`@max_age` is no number of whole seconds", 3),
        ('@step_up("a")\n@max_age("99999999999999999999d")', "forbid", "`@max_age`: ", 3),
    ],
)
def test_a_malformed_annotation_names_its_place(annotations: str, effect: str, says: str, at: int) -> None:
    policy = f"permit (principal, action, resource);\n{annotations}\n{effect} (principal, action, resource);"
    with pytest.raises(ztfast.PolicyError) as raised:
        ztfast.compile(ztfast.Text(policy, "desk.cedar"), schema=SCHEMA)
    (error,) = raised.value.diagnostics
    assert says in error["message"]
    assert (error["file"], error["line"]) == ("desk.cedar", at)
    assert f"desk.cedar:{at}" in str(raised.value)
    assert error["help"]


def test_a_malformed_annotation_in_json_names_its_file() -> None:
    policy = {
        "effect": "permit",
        "annotations": {"step_up": "fido2"},
        "principal": {"op": "All"},
        "action": {"op": "All"},
        "resource": {"op": "All"},
        "conditions": [],
    }
    with pytest.raises(ztfast.PolicyError, match=r"p\.json.*stands on a permit"):
        ztfast.compile(ztfast.Text(json.dumps(policy), "p.json"), schema=SCHEMA)
    bundle = ztfast.compile(ztfast.Text(json.dumps({**policy, "effect": "forbid"}), "p.json"), schema=SCHEMA)
    assert bundle.policies[0].step_up == Advice(("fido2",))


@pytest.mark.parametrize("age", ["0s", "0ms", "1d", "1d2h3m4s", "3000ms"])
def test_ages_are_cedars_durations(age: str) -> None:
    (policy,) = compiled(f'@step_up("") @max_age("{age}") forbid (principal, action, resource);').policies
    wanted = {"0s": 0, "0ms": 0, "1d": 86_400, "1d2h3m4s": 93_784, "3000ms": 3}
    assert policy.step_up == Advice((), wanted[age])
