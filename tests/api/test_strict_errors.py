"""``strict_errors=True``: a forbid that errs denies, in every way of deciding, exactly where Cedar's evaluation errs."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztfast
from ztfast import Code

SCHEMA = ztfast.Text(
    """\
entity Desk = { limit: Long };
entity User = { desk: Desk, limit: Long, note?: String };
entity Book = { size: Long, owner: User } tags Long;
action "go" appliesTo { principal: User, resource: Book, context: { qty: Long, price: Long, text: String, of?: Desk } };
action "stop" appliesTo { principal: User, resource: Book };
""",
    "s.cedarschema",
)
MOST = 2**63 - 1


def entity(ty: str, id: str, **attrs: Any) -> dict[str, Any]:
    tags = attrs.pop("tags", {})
    return {"uid": {"type": ty, "id": id}, "attrs": attrs, "parents": [], "tags": tags}


def to(ty: str, id: str) -> dict[str, Any]:
    return {"__entity": {"type": ty, "id": id}}


ENTITIES = [
    entity("Desk", "d", limit=10),
    entity("User", "ann", desk=to("Desk", "d"), limit=5, note="x"),
    entity("User", "bob", desk=to("Desk", "gone"), limit=MOST),
    entity("Book", "b", size=1, owner=to("User", "ann"), tags={"k": 1}),
    entity("Book", "huge", size=MOST, owner=to("User", "nobody")),
]
USERS = ('User::"ann"', 'User::"bob"', 'User::"nobody"')
BOOKS = ('Book::"b"', 'Book::"huge"', 'Book::"none"')
CONTEXTS: tuple[dict[str, Any], ...] = (
    {"qty": 0, "price": 0, "text": "10.0.0.1"},
    {"qty": 7, "price": -3, "text": "no address", "of": ztfast.Uid("Desk", "d")},
    {"qty": MOST, "price": MOST, "text": "", "of": ztfast.Uid("Desk", "gone")},
    {"qty": -MOST - 1, "price": 2, "text": "::1"},
    {"qty": MOST // 3 + 1, "price": 1, "text": "x"},
)
# Conditions that err for some requests, on one side, on both, on the context, and on what an entity refers to.
ERRING = (
    "principal.limit > 100",
    "principal.desk.limit > 100",
    "principal.limit + 1 > 100",
    "resource.size * 2 > 100",
    "resource.owner.limit == principal.limit",
    "principal.limit + resource.size > 100",
    "context.qty * 3 > 100",
    "context.qty * 3 > principal.limit",
    "-context.qty > 100",
    "100 - context.qty > 1000",
    "context.qty * context.price > 100",
    "context.qty + principal.limit < 0",
    "context.of.limit > 100",
    "context has of && context.of.limit > 100",
    "!(context has of) && context.of.limit > 100",
    'principal has note || principal.note == "x"',
    'resource.getTag("k") == 2',
    "principal.note == context.text",
    "ip(context.text).isLoopback()",
    'User::"nobody".limit > 100',
    "(principal.limit > 100) == (resource.size > 100)",
    "if context.qty > 5 then principal.limit > 100 else context.price + 1 > 100",
    "context.qty > 5 || context.price * 7 > 100 || resource.size > 100",
    "!(context.qty > 5 && principal.desk.limit == 3)",
    "[context.qty + 1, resource.size].contains(8)",
    'context.qty == "seven" || context.qty < "seven"',
    "principal.limit",
)
HARMLESS = ("context.qty > 5", "context.price < 0", 'principal == User::"bob"', "resource.size > 5", "true", "false")


def compiled(policies: str, **options: Any) -> ztfast.Bundle:
    options = {"validate": "permissive", "warnings": "ignore", "strict_errors": True, **options}
    return ztfast.compile(ztfast.Text(policies), schema=SCHEMA, entities=ENTITIES, **options)


def expected(lax: ztfast.Engine, who: str, book: str, context: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the code and the reasons by Cedar's own answer to the request, with the policies that erred."""
    told = lax.explain(who, "go", book, context)
    assert told.agrees
    forbids = {error.policy.id for error in told.errors if error.policy.effect == "forbid"}
    if not forbids:
        return told.decision.code, told.decision.reasons
    if not told.allow:
        forbids |= {reason.policy.id for reason in told.reasons}
    return "FORBID", tuple(policy.id for policy in lax.bundle.policies if policy.id in forbids)


def agree(policies: str, **options: Any) -> set[str]:
    """Check all requests in every way of deciding. Return the codes that differ from those without strict errors."""
    lax = ztfast.Engine(compiled(policies, strict_errors=False, **options))
    engine = ztfast.Engine(compiled(policies, **options))
    sessions = {user: engine.admit(ztfast.Identity(user, not_after=math.inf)) for user in USERS}
    listed = engine.resources("go")
    found = set()
    for context in CONTEXTS:
        names = list(context)
        gate, values = engine.prepare("go", *names), list(context.values())
        handles = [engine.resource(v) if isinstance(v, ztfast.Uid) else v for v in values]
        for user, book in itertools.product(USERS, BOOKS):
            told = f"{policies} {user} {book} {context}"
            code, reasons = expected(lax, user, book, context)
            evaluated = engine.evaluate(user, "go", book, context)
            assert (evaluated.code, evaluated.reasons) == (code, reasons), told
            session, resource = sessions[user], engine.resource(book)
            decided = engine.decide(session, "go", book, context)
            assert (decided.code, decided.reasons) == (code, reasons), told
            decided = gate.decide(session, resource, *handles)
            assert (decided.code, decided.reasons) == (code, reasons), told
            assert gate.allows(session, resource, *handles) == (code == "ALLOW"), told
            many = gate.decide_many(session, resource, *[np.array([v]) if type(v) is int else v for v in handles])
            assert Code(int(many[0])).name == code, told
            entitled = dict(zip(map(str, listed), engine.entitlements(session, "go", context), strict=True))
            assert entitled.get(book, code == "ALLOW") == (code == "ALLOW"), told
            explained = engine.explain(user, "go", book, context)
            assert explained.agrees, told
            assert explained.allow == (code == "ALLOW"), told
            if code != lax.evaluate(user, "go", book, context).code:
                found.add(code)
    return found


ALL = '@id("all") permit (principal, action, resource);\n'


@pytest.mark.parametrize("form", ["dense", "rows", "sets"])
@pytest.mark.parametrize("condition", ERRING)
def test_a_forbid_denies_where_cedars_evaluation_errs(condition: str, form: Any) -> None:
    changed = agree(f'{ALL}@id("f") forbid (principal, action, resource) when {{ {condition} }};', form=form)
    assert changed == {"FORBID"}


@pytest.mark.parametrize("condition", ERRING)
def test_conditions_before_and_behind_decide_whether_an_error_counts(condition: str) -> None:
    policies = ALL
    for number, other in enumerate(HARMLESS):
        policies += f'@id("before{number}") forbid (principal, action, resource) when {{ {other} && ({condition}) }};\n'
        policies += f'@id("behind{number}") forbid (principal, action, resource) when {{ ({condition}) && {other} }};\n'
        policies += (
            f'@id("unless{number}") forbid (principal, action, resource) when {{ {other} }} unless {{ {condition} }};\n'
        )
    for other in ERRING[:8]:
        policies += f"forbid (principal, action, resource) when {{ {other} }} when {{ {condition} }};\n"
    # The policies that err are too many for one request to be told apart by its code alone: the reasons are compared.
    agree(policies)


@pytest.mark.parametrize("condition", ERRING[:8])
def test_an_error_before_a_condition_that_cedar_decides_counts(condition: str) -> None:
    # No other policy makes the engine ask Cedar.
    agree(f"{ALL}forbid (principal, action, resource) when {{ {condition} && ip(context.text).isLoopback() }};")


@pytest.mark.parametrize(
    "scope",
    [
        'principal == User::"ann", action, resource',
        'principal, action == Action::"stop", resource',
        'principal, action, resource == Book::"b"',
        'principal is User in Desk::"d", action, resource',
    ],
)
def test_a_forbid_whose_scope_does_not_match_cannot_err(scope: str) -> None:
    agree(f'{ALL}@id("f") forbid ({scope}) when {{ context.qty * context.price > 100 && principal.desk.limit > 100 }};')


def test_a_permit_that_errs_is_skipped() -> None:
    assert agree(f"{ALL}permit (principal, action, resource) when {{ context.qty * 3 > 0 }};") == set()
    assert agree("permit (principal, action, resource) when { context.qty * 3 > 0 };") == set()


@pytest.mark.parametrize("form", ["dense", "rows", "sets"])
def test_no_proof_lifts_a_forbid_that_erred(form: Any) -> None:
    asks = f'{ALL}@id("up") @step_up("pin") forbid (principal, action, resource) when {{ context.qty * 3 > 10 }};'
    engine, request = ztfast.Engine(compiled(asks, form=form)), (USERS[0], "go", BOOKS[0])
    assert engine.evaluate(*request, CONTEXTS[1]).code == "STEP_UP"
    erred = engine.evaluate(*request, CONTEXTS[2])
    assert (erred.code, erred.reasons, erred.advice) == ("FORBID", ("up",), None)
    # Another that is satisfied asks for a proof, which would not be enough.
    both = asks + '@id("other") @step_up("pin") forbid (principal, action, resource) when { context.price > 5 };'
    engine = ztfast.Engine(compiled(both, form=form))
    assert engine.evaluate(*request, CONTEXTS[2]).code == "FORBID"
    assert engine.evaluate(*request, CONTEXTS[2]).reasons == ("up", "other")
    assert engine.explain(*request, CONTEXTS[2]).agrees
    for condition in ERRING:
        agree(f'{ALL}@id("up") @step_up("pin") forbid (principal, action, resource) when {{ {condition} }};', form=form)


def test_entities_that_change_err_or_do_no_longer() -> None:
    policies = f'{ALL}@id("f") forbid (principal, action, resource) when {{ principal.desk.limit * 2 > 100 }};'
    engine = ztfast.Engine(compiled(policies))
    gate, book = engine.prepare("go", "qty", "price", "text"), engine.resource(BOOKS[0])
    session = engine.admit(ztfast.Identity(USERS[1], not_after=math.inf))
    codes = []
    for change in (
        [],
        [entity("Desk", "gone", limit=1)],
        [entity("Desk", "gone", limit=51)],
        [entity("Desk", "gone", limit=MOST)],
        [entity("User", "bob", desk=to("Desk", "d"), limit=1)],
        [entity("User", "bob", desk=to("Desk", "new"), limit=1)],
    ):
        engine.upsert(change)
        codes.append(gate.decide(session, book, 1, 1, "").code)
        assert engine.explain(session, "go", BOOKS[0], CONTEXTS[0]).agrees
    assert codes == ["FORBID", "ALLOW", "FORBID", "FORBID", "ALLOW", "FORBID"]
    engine.remove([USERS[1]])
    assert gate.decide(session, book, 1, 1, "").code == "FORBID"


def test_more_than_a_decision_keeps_may_err() -> None:
    policies = ALL + "".join(
        f"forbid (principal, action, resource) when {{ context.qty * 3 > {100 + number} }};\n" for number in range(80)
    )
    decision = ztfast.Engine(compiled(policies)).evaluate(USERS[0], "go", BOOKS[0], CONTEXTS[2])
    assert (decision.code, len(decision.reasons)) == ("FORBID", 80)


def test_a_long_chain_of_conditions_that_may_err_is_decided_as_a_short_one() -> None:
    chain = " && ".join(f"context.qty + {number} > 0" for number in range(1, 80))
    policies = f'{ALL}@id("f") forbid (principal, action, resource) when {{ {chain} }};'
    assert agree(policies) == {"FORBID"}
    # For the quantity 7 the last condition alone errs.
    policies = f'{ALL}@id("f") forbid (principal, action, resource) when {{ {chain} && context.qty * {MOST} > 0 }};'
    assert agree(policies) == {"FORBID"}
    chain = " || ".join(f"principal.limit * {number} > {MOST}" for number in range(1, 80))
    assert agree(f'{ALL}@id("f") forbid (principal, action, resource) when {{ {chain} }};') == {"FORBID"}


def test_the_bundle_keeps_it(tmp_path: Path) -> None:
    policies = f"{ALL}forbid (principal, action, resource) when {{ context.qty * 3 > 100 }};"
    lax, strict = compiled(policies, strict_errors=False), compiled(policies)
    assert (lax.strict_errors, strict.strict_errors) == (False, True)
    assert lax.hash != strict.hash
    strict.save(tmp_path / "b.ztb")
    loaded = ztfast.Bundle.load(tmp_path / "b.ztb")
    assert loaded.strict_errors
    assert len(loaded.policies) == loaded.stats.policies == 2
    assert loaded.stats.actions[0].policies == 2
    engine = ztfast.Engine(lax)
    request = (USERS[0], "go", BOOKS[0], CONTEXTS[2])
    assert engine.evaluate(*request).code == "ALLOW"
    engine.swap(loaded)
    assert engine.evaluate(*request).code == "FORBID"
    assert engine.explain(*request).agrees
    # What is reused of a base does not decide it.
    assert compiled(policies, base=lax).hash == strict.hash
    assert compiled(policies, base=strict, strict_errors=False).hash == lax.hash


def test_conditions_that_cannot_err_are_compiled_to_the_same_tables() -> None:
    policies = f"""{ALL}forbid (principal, action == Action::"go", resource) when {{
        context.qty > 100 && (context has of || context.text like "x*") && [1, 2].contains(context.price)
        && principal in Desk::"d" && !(resource == Book::"b") && context.qty != context.price
    }} unless {{ principal has note && resource.hasTag("k") }};"""
    lax = compiled(policies, strict_errors=False, validate="strict").stats
    strict = compiled(policies, validate="strict").stats
    # Only the mark that says so takes room.
    assert replace(strict, bytes=lax.bytes) == lax


@pytest.mark.parametrize("given", [1, 0, None, "True", "yes", [True]])
def test_it_is_true_or_false(given: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="strict_errors: wanted True or False"):
        compiled(ALL, strict_errors=given)


# ---- what the compiler finds --------------------------------------------------------------------------------------


def warned(policies: str, **options: Any) -> list[dict[str, Any]]:
    """Return the warnings of errors."""
    bundle = compiled(policies, **{"strict_errors": False, "validate": "strict", **options})
    return [
        warning for warning in bundle.warnings if re.match("policy `.*` (always )?errs|and .* err", warning["message"])
    ]


FORBID = '@id("f") forbid (principal, action == Action::"go", resource)'


@pytest.mark.parametrize(
    ("condition", "message", "part", "says"),
    [
        (
            "principal.desk.limit > 5",
            'errs for the principal User::"bob"',
            "principal.desk.limit",
            "there is no `limit`",
        ),
        (
            "principal.limit + 1 > 5",
            'errs for the principal User::"bob"',
            "principal.limit + 1",
            "this exceeds 64 bits",
        ),
        ("resource.size * 2 > 5", 'errs for the resource Book::"huge"', "resource.size * 2", "this exceeds 64 bits"),
        (
            "resource.owner.limit > 5",
            'errs for the resource Book::"huge"',
            "resource.owner.limit",
            "there is no `limit`",
        ),
        ('User::"gone".limit > 5', "always errs", 'User::"gone".limit', "there is no `limit`"),
        (
            "context.qty > 5 && principal.limit + 1 > 5",
            'errs for the principal User::"bob", if the conditions before are true',
            "principal.limit + 1",
            "this exceeds 64 bits",
        ),
        (
            "resource.size == 1 || principal.desk.limit > 5",
            'errs for the principal User::"bob", if the conditions before are true',
            "principal.desk.limit",
            "there is no `limit`",
        ),
        ("9223372036854775807 + 1 > context.qty", "always errs", "9223372036854775807 + 1", "this exceeds 64 bits"),
    ],
)
def test_conditions_that_err_are_named_with_their_place(condition: str, message: str, part: str, says: str) -> None:
    (warning,) = warned(f"{ALL}{FORBID}\nwhen {{ {condition} }};")
    assert warning["message"] == f"policy `f` {message}"
    assert (warning["severity"], warning["file"], warning["line"]) == ("warning", "inline.cedar", 3)
    line = f"when {{ {condition} }};"
    assert line[warning["column"] - 1 : warning["end_column"] - 1] == part
    assert says in warning["rendered"]
    assert "it does not deny. With strict errors" in " ".join(warning["rendered"].split())
    (warning,) = warned(f"{ALL}{FORBID}\nwhen {{ {condition} }};", strict_errors=True)
    assert "with strict errors, a forbid that errs denies" in warning["rendered"]
    (warning,) = warned(f'permit (principal, action == Action::"go", resource) when {{ {condition} }};')
    assert "a permit that errs is skipped" in warning["rendered"]


@pytest.mark.parametrize(
    "condition",
    [
        'principal.limit > 5 && principal.desk == Desk::"d"',
        # For those for which it would err, it is not evaluated.
        "principal.limit < 100 && principal.limit + 1 > 5",
        'principal == User::"ann" && principal.desk.limit > 5',
        'principal.desk == Desk::"d" && principal.desk.limit > 5',
        "false && principal.limit + 1 > 5",
        "if principal.limit < 100 then principal.limit * 2 > 5 else false",
        "principal.limit > 100 || principal.limit + 1 > 5",
        # The request decides.
        "context.qty + 1 > 5",
        "context.qty + principal.limit > 5",
        "context has of && context.of.limit > 5",
        "resource.size + principal.limit > 5",
    ],
)
def test_conditions_that_no_entity_makes_err_are_not_named(condition: str) -> None:
    assert warned(f"{ALL}{FORBID} when {{ {condition} }};") == []


def test_scopes_and_actions_say_who_is_concerned() -> None:
    condition = "when { principal.desk.limit > 5 };"
    for scope, found in (
        ('principal == User::"ann", action, resource', 0),
        ('principal == User::"bob", action, resource', 1),
        ('principal in Desk::"d", action, resource', 0),
        ("principal is User, action, resource", 1),
        ('principal, action == Action::"stop", resource', 1),
    ):
        assert len(warned(f"forbid ({scope}) {condition}")) == found, scope


def test_errors_of_policies_that_were_not_validated_are_named() -> None:
    told = warned(
        f"""{FORBID} when {{ principal.note == "x" }};
        {FORBID.replace("f", "g", 1)} when {{ principal.limit == 5 && principal.limit > "x" }};
        {FORBID.replace("f", "h", 1)} when {{ ip("300.0.0.1").isIpv4() }};
        {FORBID.replace("f", "i", 1)} when {{ resource.getTag("k") == 1 }};
        {FORBID.replace("f", "j", 1)} when {{ principal.limit }};""",
        validate="permissive",
    )
    assert [warning["message"] for warning in told] == [
        'policy `f` errs for the principal User::"bob"',
        'policy `g` errs for the principal User::"ann"',
        "policy `h` always errs",
        'policy `i` errs for the resource Book::"huge"',
        'policy `j` errs for the principal User::"ann" and 1 more',
    ]


def test_one_part_of_a_policy_is_named_once_and_every_error_is_listed() -> None:
    (warning,) = warned(f"{FORBID} when {{ principal.limit * 3 > 5 && principal.limit * 3 < 9 }};")
    assert warning["message"] == 'policy `f` errs for the principal User::"bob"'
    several = "".join(
        f"forbid (principal, action, resource) when {{ principal.limit + {n} > 5 }};" for n in range(1, 33)
    )
    told = warned(several)
    assert [warning["message"] for warning in told] == [
        f'policy `policy{n}` errs for the principal User::"bob"' for n in range(32)
    ]
    assert {warning["file"] for warning in told} == {"inline.cedar"}
    with pytest.raises(ztfast.PolicyError, match="errs for the principal"):
        compiled(several, validate="strict", warnings="error")


def test_links_and_policies_in_json_have_a_place() -> None:
    template = '@id("t") forbid (principal == ?principal, action, resource) when { principal.desk.limit > 5 };'
    links = [{"template_id": "t", "link_id": id, "args": {"?principal": f'User::"{id}"'}} for id in ("ann", "bob")]
    texts = [ztfast.Text(template, "t.cedar"), ztfast.Text(json.dumps(links), "l.links.json")]
    bundle = ztfast.compile(texts, schema=SCHEMA, entities=ENTITIES, warnings="ignore")
    (warning,) = [warning for warning in bundle.warnings if "errs" in warning["message"]]
    assert (warning["message"], warning["file"]) == ('policy `bob` errs for the principal User::"bob"', "t.cedar")
    assert template[warning["column"] - 1 : warning["end_column"] - 1] == "principal.desk.limit"


def test_finding_errors_changes_nothing_and_a_base_does_not_repeat_them() -> None:
    policies = f"{FORBID} when {{ principal.limit + 7654321 > 5 && resource.size + 1234567 > 5 }};"
    options: dict[str, Any] = {"validate": "strict", "strict_errors": False}
    bundle = compiled(policies, **options)
    again = compiled(policies, base=bundle, **options)
    assert again.hash == bundle.hash
    assert (len(bundle.warnings), len(again.warnings)) == (2, 0)
    # Another policy or another store is looked at.
    assert (
        len(compiled(policies + FORBID[8:] + " when { principal.limit * 2 > 5 };", base=bundle, **options).warnings)
        == 3
    )
    with pytest.raises(ztfast.PolicyError):
        compiled(policies, base=bundle, warnings="error", **options)


def test_errors_of_constants_are_shown_where_they_are() -> None:
    condition = '[ip("1.2.3.4"), ip("1.2.3.400")].contains(ip("1.2.3.5"))'
    (warning,) = warned(f"{FORBID} when {{ {condition} }};", validate="permissive")
    assert warning["message"] == "policy `f` always errs"
    line = f"{FORBID} when {{ {condition} }};"
    assert line[warning["column"] - 1 : warning["end_column"] - 1] == 'ip("1.2.3.400")'
    assert "this call always fails" in warning["rendered"]
