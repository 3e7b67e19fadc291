"""Texts that a gate knows by their bytes, whatever object has them, and sets of one such text."""

from __future__ import annotations

import random
import string

import pytest

import ztfast

SCHEMA = """
entity User, Doc;
action see appliesTo { principal: User, resource: Doc, context: { purpose: String, fields: Set<String> } };
"""


def variants(length: int) -> list[str]:
    """Return texts of a length that differ from each other in one byte."""
    plain = "abcdefghijklmnopqrstuvwxyz"[:length]
    return [plain, *(f"{plain[:at]}#{plain[at + 1 :]}" for at in range(length))]


# Those of one letter begin and end alike, whatever their lengths.
ALIKE = [letter * length for letter in string.ascii_lowercase for length in range(4, 17)]
KNOWN = [text for length in range(21) for text in variants(length)[::2]] + ["é", "ééé", "aé€", *ALIKE[::2]]
OTHERS = [text for length in range(21) for text in variants(length)[1::2]] + ["è", "éé", "a\0", "\0", "NO", "a NO b"]
OTHERS += ALIKE[1::2]
LISTED = ", ".join(f'"{text}"' for text in KNOWN)
POLICIES = f"""
permit (principal, action, resource) when {{ [{LISTED}].contains(context.purpose) }};
permit (principal, action, resource) when {{ context.fields == ["only"] || context.fields.contains("#bcd") }};
forbid (principal, action, resource) when {{ context.purpose like "*NO*" || context.fields.contains("NO") }};
"""


def compiled(policies: str) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA, "s.cedarschema"), warnings="ignore")


def anew(text: str) -> str:
    """Return an equal text that is another object."""
    return text.encode().decode()


@pytest.fixture
def engine() -> ztfast.Engine:
    return ztfast.Engine(compiled(POLICIES))


def test_equal_texts_decide_alike_and_no_other_text_does(engine: ztfast.Engine) -> None:
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "purpose", "fields")
    texts = KNOWN + OTHERS
    order = random.Random(5)
    for _ in range(20):
        order.shuffle(texts)
        for text in texts:
            # One after the other, so that some are remembered and the others take their places.
            for _ in range(order.randint(1, 3)):
                assert gate.allows(session, doc, anew(text), ()) == (text in KNOWN), text


# A gate keeps a set that is compared with another one, and remembers only what one that is not kept answers.
@pytest.mark.parametrize("is_only", ['context.fields == ["only"]', 'context.fields.contains("only")'])
def test_sets_of_one_text_decide_by_that_text(is_only: str) -> None:
    engine = ztfast.Engine(compiled(POLICIES.replace('context.fields == ["only"]', is_only)))
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "purpose", "fields")
    fields = ["only", "#bcd", "NO", "abcde", *(f"unknown {number}" for number in range(40)), *KNOWN[:40]]
    order = random.Random(6)
    for kind in (frozenset, tuple):
        for _ in range(20):
            order.shuffle(fields)
            for text in fields:
                expected = text in ("only", "#bcd")
                assert gate.allows(session, doc, "a text that the bundle lacks", kind([anew(text)])) == expected, text
                more = kind([anew(text), anew("NO")])
                assert not gate.allows(session, doc, "a text that the bundle lacks", more), text


def test_another_bundle_knows_other_texts(engine: ztfast.Engine) -> None:
    session = engine.admit(ztfast.Identity('User::"u"', not_after=float("inf")))
    doc, gate = engine.resource('Doc::"d"'), engine.prepare("see", "purpose", "fields")
    assert gate.allows(session, doc, anew("abcde"), ())
    engine.swap(compiled('permit (principal, action, resource) when { context.purpose == "new" };'))
    for _ in range(2):
        assert not gate.allows(session, doc, anew("abcde"), ())
        assert gate.allows(session, doc, anew("new"), ())
    engine.swap(compiled(POLICIES))
    for _ in range(2):
        assert gate.allows(session, doc, anew("abcde"), ())
        assert not gate.allows(session, doc, anew("new"), ())
