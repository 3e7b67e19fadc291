"""Rules: which one decides, and that what a certificate says stays data, whatever it says."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ztfast
from ztfast.identity import CredentialError, Proved
from ztfast.identity.rules import Mapped, Rule, map_proved, read_rule
from ztfast.identity.schema import At, Document


def rule(place: int = 1, **parts: Any) -> Rule:
    told = {"authority": "desk", "match": {"subject.CN": "*"}, "principal": 'Algo::"{subject.CN}"', **parts}
    return read_rule(At(told, Document(None, None, {})), place, ["desk"])


def attempt(**parts: Any) -> Rule | str:
    """Return a rule, or what is said against it."""
    try:
        return rule(**parts)
    except ztfast.ConfigError as error:
        return str(error)


def proved(**parts: Any) -> Proved:
    spiffe = parts.pop("spiffe", None)
    names = {name: tuple(values) for name, values in parts.items() if name in ("dns", "uri", "email", "ip", "subject")}
    plain = {name: value for name, value in parts.items() if name in ("issuer", "serial")}
    return Proved("desk", 0, 1, "certificate", spiffe=spiffe, **names, **plain)


def subject(**attributes: str) -> Proved:
    return proved(subject=list(attributes.items()))


A7 = proved(
    subject=[("C", "DE"), ("O", "Desk"), ("OU", "algo"), ("CN", "a7")],
    issuer="CN=Desk CA,O=Desk",
    serial="03ea",
    uri=["spiffe://desk.example/algo/a7"],
    dns=["a7.algo.desk.example"],
    email=["ann.b@mail.desk.example"],
    ip=["10.0.0.7"],
    spiffe=("desk.example", ("algo", "a7")),
)


def test_a_rule_maps_to_all_that_it_says() -> None:
    mapped = map_proved(
        [
            rule(
                match={"subject.OU": "algo", "uri": "spiffe://desk.example/algo/*"},
                principal='Desk::Algo::"{spiffe.trust_domain}/{spiffe.path[1]}"',
                factors=["x509", "hsm"],
                assurance=3,
                region="{subject.C}",
                attributes={
                    "desk": "{subject.OU}",
                    "level": 5,
                    "fast": True,
                    "tags": ["{subject.O}", 1, ["x"]],
                    "team": {"__entity": {"type": "Team", "id": "{{{subject.OU}}}"}},
                },
            )
        ],
        A7,
    )
    assert mapped == Mapped(
        ztfast.Uid("Desk::Algo", "desk.example/a7"),
        ("x509", "hsm"),
        3,
        "DE",
        {
            "desk": "algo",
            "level": 5,
            "fast": True,
            "tags": ["Desk", 1, ["x"]],
            "team": {"__entity": {"type": "Team", "id": "{algo}"}},
        },
        "rule 1",
    )


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        rule(1, match={"subject.OU": "human"}, principal='Human::"{subject.CN}"'),
        rule(2, principal='Algo::"{dns}-{email}"'),
        rule(3, principal='Algo::"{subject.CN}"', name="by name"),
        rule(4, principal='Other::"x"'),
    ]
    assert map_proved(rules, A7).rule == "rule 2"
    # Without a mail address, the second has no value for a placeholder.
    assert map_proved(rules, subject(CN="a7")).rule == "by name"


def test_what_no_rule_matches_is_refused() -> None:
    for rules in ([], [rule(match={"subject.OU": "human"})]):
        with pytest.raises(CredentialError, match="OU=algo, CN=a7: no rule of authority desk") as raised:
            map_proved(rules, A7)
        assert raised.value.code == "no-rule"


# What is matched, the pattern, and whether it matches A7.
PATTERNS: list[tuple[str, str, bool]] = [
    ("subject.OU", "algo", True), ("subject.OU", "Algo", False), ("subject.OU", "al*", True), ("subject.OU", "*", True),
    ("subject.OU", "algo*", False), ("subject.L", "*", False), ("subject.OU", "alg", False),
    ("issuer", "CN=*,O=Desk", True), ("issuer", "CN=*", False), ("issuer", "*", False),
    ("serial", "3EA", True), ("serial", "03:ea", True), ("serial", "3e", False),
    ("uri", "spiffe://desk.example/algo/*", True), ("uri", "spiffe://desk.example/*", False),
    ("uri", "spiffe://desk.example/*/a7", True), ("uri", "spiffe://*/algo/a*", True), ("uri", "*", False),
    ("uri", "spiffe://desk.example/algo/a7*", False), ("uri", "SPIFFE://desk.example/algo/a7", False),
    ("dns", "A7.algo.desk.example", True), ("dns", "*.algo.desk.example", True), ("dns", "*.desk.example", False),
    ("dns", "a*.*.desk.example", True), ("dns", "*", False), ("dns", "a7xalgo.desk.example", False),
    ("email", "*@mail.desk.example", True), ("email", "*@*.desk.example", True), ("email", "*@desk.example", False),
    ("email", "ann.*@*.*.*", True), ("email", "*@*", False), ("email", "*", False),
    ("ip", "10.0.0.*", True), ("ip", "10.*.7", False), ("ip", "10.0.0.7", True),
    ("spiffe.trust_domain", "desk.*", True), ("spiffe.trust_domain", "*", False), ("spiffe.trust_domain", "desk.example", True),
]  # fmt: skip


@pytest.mark.parametrize(("what", "pattern", "matches"), PATTERNS)
def test_a_star_stands_for_a_part_of_one_segment(what: str, pattern: str, matches: bool) -> None:
    made = rule(match={what: pattern}, principal='Algo::"x"').apply(A7)
    assert (made is not None) == matches


@pytest.mark.parametrize(
    ("what", "pattern", "value"),
    [
        ("uri", "spiffe://desk.example/algo/*", "spiffe://desk.example/algo/a7/b"),
        ("uri", "spiffe://desk.example/algo/*", "spiffe://desk.example/algo/"),
        ("uri", "spiffe://desk.example/algo/*", "spiffe://desk.example/algo/a?x"),
        ("uri", "spiffe://desk.example/algo/*", "spiffe://desk.example/algo/a#x"),
        ("uri", "https://*/x", "https://evil.example/y/x"),
        ("dns", "*.desk.example", "a.b.desk.example"),
        ("dns", "*.desk.example", ".desk.example"),
        # A certificate for all hosts is none of a certain one.
        ("dns", "*.desk.example", "*.desk.example"),
        # The Kelvin sign, whose small letter is k.
        ("dns", "desk.example", "des\u212a.example"),
        ("email", "*@desk.example", "evil@x@desk.example"),
        ("email", "ann@*.example", "ann@desk.evil.example"),
        ("issuer", "CN=*,O=Desk", "CN=x\\,O=Evil,O=Desk"),
        ("issuer", "CN=*,O=Desk", "CN=x,OU=y,O=Desk"),
        ("issuer", "CN=*,O=Desk", "CN=x+OU=y,O=Desk"),
        ("spiffe.trust_domain", "*.example", "a.b.example"),
    ],
)
def test_a_value_cannot_stretch_a_star_over_segments(what: str, pattern: str, value: str) -> None:
    told = {"spiffe": (value, ())} if what == "spiffe.trust_domain" else {what: value if what == "issuer" else [value]}
    assert rule(match={what: pattern}, principal='Algo::"x"').apply(proved(**told)) is None


def test_all_conditions_must_match_and_one_value_of_several_is_enough() -> None:
    both = rule(match={"dns": "b.example", "subject.OU": "x"}, principal='Algo::"x"')
    assert both.apply(proved(dns=["a.example", "b.example"], subject=[("OU", "y"), ("OU", "x")])) is not None
    assert both.apply(proved(dns=["a.example", "b.example"], subject=[("OU", "y")])) is None


@pytest.mark.parametrize(
    "given", [[], [("CN", "a"), ("CN", "b")], [("CN", "a"), ("CN", "a")], [("CN", "")], [("cn", "a")]]
)
def test_a_placeholder_needs_exactly_one_value(given: list[tuple[str, str]]) -> None:
    told = proved(subject=given, dns=["x"])
    for part in (
        {"principal": 'Algo::"{subject.CN}"'},
        {"principal": 'Algo::"x"', "region": "{subject.CN}"},
        {"principal": 'Algo::"x"', "attributes": {"a": [["{subject.CN}"]]}},
        {"principal": 'Algo::"x"', "attributes": {"a": {"__entity": {"type": "T", "id": "{subject.CN}"}}}},
    ):
        assert rule(match={"dns": "x"}, **part).apply(told) is None


def test_values_that_are_too_long_for_their_place_are_refused() -> None:
    for name, most in (("principal", 1024), ("region", 63), ("attributes", 4096)):
        part: Any = {"principal": 'Algo::"{subject.CN}"', "region": "{subject.CN}", "attributes": {"a": "{subject.CN}"}}
        made = rule(**{"principal": 'Algo::"x"', name: part[name]})
        assert made.apply(subject(CN="x" * most)) is not None
        # Two bytes each.
        for value in ("x" * (most + 1), "é" * (most // 2 + 1)):
            with pytest.raises(CredentialError, match=r"longer than an? (id|region|text) may be") as raised:
                made.apply(subject(CN=value))
            assert raised.value.code == "value-too-long"


EVIL = ['"', "\\", '\\"', '"::"', 'x"; permit (principal, action, resource);//', "Algo::", "a\0b", "a\nb", "{subject.O}", "{{", "}}",
        "\u202e", "\u200b", "__entity", '{"__entity": {"type": "Admin", "id": "x"}}', "../x", "%2e%2e", " ", "é"]  # fmt: skip


@pytest.mark.parametrize("value", EVIL)
def test_a_value_is_data_and_never_cedars_text(value: str) -> None:
    mapped = map_proved([rule(attributes={"a": "{subject.CN}"}, region="EU")], subject(CN=value))
    assert mapped.principal == ztfast.Uid("Algo", value)
    assert ztfast.Uid.parse(str(mapped.principal)) == mapped.principal
    assert mapped.attributes["a"] == value


def test_an_engine_takes_what_a_rule_makes_of_evil_values() -> None:
    schema = ztfast.Text(
        "entity Team; entity Algo { said: String, team: Team }; entity Book;"
        "action order appliesTo { principal: Algo, resource: Book };"
    )
    policy = ztfast.Text('permit (principal, action, resource) when { principal.said == "ok" };')
    engine = ztfast.Engine(ztfast.compile(policy, schema=schema))
    team = {"__entity": {"type": "Team", "id": "{subject.CN}"}}
    made = rule(attributes={"said": "{subject.CN}", "team": team})
    for value in [*EVIL, "ok"]:
        mapped = map_proved([made], subject(CN=value))
        engine.upsert([{"uid": mapped.principal, "attrs": dict(mapped.attributes), "parents": []}])
        assert bool(engine.evaluate(mapped.principal, "order", 'Book::"b"')) == (value == "ok")


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_value_changes_the_type_or_fails_in_another_way(value: str, other: str) -> None:
    made = rule(principal='Desk::Algo::"{subject.CN}|{subject.O}"', attributes={"a": ["{subject.O}"]})
    mapped = made.apply(subject(CN=value, O=other))
    if not value or not other:
        assert mapped is None
        return
    assert mapped is not None
    assert mapped.principal.type == "Desk::Algo"
    assert mapped.principal.id == f"{value}|{other}"
    assert mapped.attributes["a"] == [other]


SEGMENT = st.text(string.ascii_letters + string.digits + "*-_%", max_size=6)


@given(
    st.lists(SEGMENT.filter(lambda part: part.count("*") <= 1), min_size=1, max_size=5),
    st.lists(SEGMENT, min_size=1, max_size=5),
)
def test_patterns_match_as_a_plain_comparison_of_segments_does(pattern: list[str], value: list[str]) -> None:
    def fits(wanted: str, found: str) -> bool:
        if "*" not in wanted:
            return wanted == found
        head, tail = wanted.split("*")
        return len(found) > len(head) + len(tail) and found.startswith(head) and found.endswith(tail)

    expected = len(pattern) == len(value) and all(map(fits, pattern, value))
    if "/".join(pattern):
        made = rule(match={"uri": "/".join(pattern)}, principal='Algo::"x"')
        assert (made.apply(proved(uri=["/".join(value)])) is not None) == expected


def test_long_values_are_compared_in_bounded_time() -> None:
    made = rule(match={"uri": "/".join(["a*b"] * 200)}, principal='Algo::"x"')
    assert made.apply(proved(uri=["/".join(["a" * 5000] * 200)])) is None
    assert made.apply(proved(uri=["a" * 1_000_000])) is None


@given(st.text(max_size=60))
def test_any_template_is_taken_or_refused_with_its_reason(text: str) -> None:
    for part in ({"principal": f'Algo::"{text}"'}, {"principal": text}, {"region": text}, {"attributes": {"a": text}}):
        said = attempt(**part)
        assert isinstance(said, Rule) or "\n" not in said


@given(st.text(max_size=40))
def test_any_pattern_is_taken_or_refused_with_its_reason(text: str) -> None:
    for what in ("subject.CN", "issuer", "uri", "dns", "email", "ip", "serial", text):
        said = attempt(match={what: text}, principal='Algo::"x"')
        assert isinstance(said, Rule) or "\n" not in said
        # Without a star, a pattern matches itself.
        if isinstance(said, Rule) and "*" not in text and text.isascii():
            values = {"subject": [("CN", text)]} if what == "subject.CN" else {what: [text]}
            assert said.apply(proved(**{**values, "issuer": text, "serial": text})) is not None


class Liar(str):
    """A text that is another when it is asked."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"Algo"

    def __str__(self) -> str:
        return "lied"


def test_texts_of_classes_that_lie_are_taken_for_what_they_are() -> None:
    made = rule(principal=Liar('Algo::"x"'), match={Liar("subject.CN"): Liar("*")}, region=Liar("EU"))
    mapped = made.apply(subject(CN="a7"))
    assert mapped is not None
    assert (mapped.principal, mapped.region) == (ztfast.Uid("Algo", "x"), "EU")
    assert type(mapped.region) is str
    with pytest.raises(ztfast.ConfigError):
        rule(authority=Liar("dusk"))
