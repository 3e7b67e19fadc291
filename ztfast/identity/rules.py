"""Rules: they map what was proved to a principal and what is known of it. A rule's result is data, never Cedar's text.

A rule is compiled when it is loaded. The type of its principal is fixed then; what a certificate says can only become
(a part of) an id, a text or a region.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ztfast import plain
from ztfast.errors import CredentialError, IdentityError, UidError
from ztfast.identities import MAX_ASSURANCE, MAX_NAME, factor_names
from ztfast.identity.proved import Proved
from ztfast.identity.schema import At
from ztfast.shown import brief, one_line
from ztfast.uid import Uid

__all__ = ["Mapped", "Rule", "map_proved", "read_rule"]

MOST_ID = 1024
"""The most bytes of a principal's id."""

MOST_VALUE = 4096
"""The most bytes of a text among the attributes."""

MOST_ATTRIBUTES = 64
MOST_IN_LIST = 256
DEEPEST = 4
"""The deepest list of lists."""

_SUBJECT = r"subject\.[A-Za-z0-9.-]{1,64}"
_MATCHED = re.compile(rf"{_SUBJECT}|issuer|serial|dns|uri|email|ip|spiffe\.trust_domain")
_PLACED = re.compile(rf"{_MATCHED.pattern}|authority|spiffe\.path\[(?P<index>0|[1-9][0-9]?)\]")
_BRACED = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
_PRINCIPAL = re.compile(r'(?P<type>[^"{}]*)::"(?P<id>.*)"', re.DOTALL)
_EXAMPLES = "subject.OU, issuer, serial, dns, uri, email, ip, spiffe.trust_domain"

# What ends a segment, by what is matched. A * stands for nothing of it.
_ENDS = {"dns": ".*", "uri": "/?#", "ip": ".:", "spiffe.trust_domain": ".", "issuer": ",+=\\"}

_Values = Callable[[Proved], tuple[str, ...]]
_Fill = Callable[[Proved], Any]


class _NoMatch(Exception):
    """A placeholder has no value, or more than one."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a rule makes of what was proved.

    Attributes:
        principal: The principal's uid.
        factors: The factors of the login.
        assurance: How sure it is, from 0 to 7.
        region: The region, if the rule gives one.
        attributes: The attributes that the principal is to have, in Cedar's JSON.
        rule: The rule's name, or its place: ``"rule 1"`` is the first.
    """

    principal: Uid
    factors: tuple[str, ...]
    assurance: int
    region: str | None
    attributes: Mapping[str, Any]
    rule: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is loaded.

    Attributes:
        name: Its name, or its place among the rules.
        authority: The name of the authority that must have proved it.
        written: What it says; two that say the same are equal, wherever they stand.
    """

    name: str
    authority: str
    written: str
    _asks: tuple[tuple[_Values, re.Pattern[str], bool], ...] = field(compare=False, repr=False)
    _type: str = field(compare=False, repr=False)
    _id: _Fill = field(compare=False, repr=False)
    _factors: tuple[str, ...] = field(compare=False, repr=False)
    _assurance: int = field(compare=False, repr=False)
    _region: _Fill | None = field(compare=False, repr=False)
    _attributes: tuple[tuple[str, _Fill], ...] = field(compare=False, repr=False)

    def apply(self, proved: Proved) -> Mapped | None:
        """Return what this rule makes of what was proved; ``None`` if it does not match.

        Raises:
            CredentialError: with code "value-too-long" if it matches, and a value is longer than its place takes.
        """
        for values, pattern, lower in self._asks:
            for value in values(proved):
                if (value.isascii() or not lower) and pattern.fullmatch(value.lower() if lower else value):
                    break
            else:
                return None
        try:
            # The type was checked when the rule was loaded, and any text is an id.
            principal = tuple.__new__(Uid, (self._type, self._id(proved)))
            region = None if self._region is None else self._region(proved)
            attributes = {name: fill(proved) for name, fill in self._attributes}
        except _NoMatch:
            return None
        return Mapped(principal, self._factors, self._assurance, region, MappingProxyType(attributes), self.name)


def map_proved(rules: Iterable[Rule], proved: Proved) -> Mapped:
    """Return what the first rule makes of it that matches.

    Raises:
        CredentialError: with code "no-rule" if none does.
    """
    for rule in rules:
        mapped = rule.apply(proved)
        if mapped is not None:
            return mapped
    said = ", ".join(f"{name}={value}" for name, value in proved.subject) or ", ".join(proved.uri) or "no subject"
    why = f"no rule of authority {proved.authority} matches it: write one, or leave it outside"
    raise CredentialError("no-rule", f"{brief(said)}: {why}")


def read_rule(at: At, place: int, authorities: Iterable[str]) -> Rule:
    """Compile a rule of the configuration.

    Args:
        at: Where it stands.
        place: Which one it is, from 1.
        authorities: The names of all authorities.

    Raises:
        ConfigError: if something of it is wrong.
    """
    table = at.table("name", "authority", "match", "principal", "factors", "assurance", "region", "attributes")
    for key in ("authority", "match", "principal"):
        if key not in table:
            raise at.fail(f"a rule needs {key}")
    name = table["name"].text("the rule's name", MAX_NAME) if "name" in table else f"rule {place}"
    authority = table["authority"].one_of(*authorities)
    asks = tuple(_ask(key, ask) for key, ask in table["match"].table().items())
    if not asks:
        raise table["match"].fail('wanted what must match, as { "subject.OU" = "algo" }')
    type_, id_ = _principal(table["principal"])
    for part in ("principal", "region", "attributes"):
        _check_indices(table.get(part), table["match"])
    assurance = table.get("assurance")
    return Rule(
        name=one_line(name),
        authority=authority,
        written=repr({key: value.value for key, value in sorted(table.items()) if key != "name"}),
        _asks=asks,
        _type=type_,
        _id=id_,
        _factors=_factors(table.get("factors")),
        _assurance=0
        if assurance is None
        else assurance.integer(f"a number from 0 to {MAX_ASSURANCE}", 0, MAX_ASSURANCE),
        _region=_template(table["region"], MAX_NAME, "a region") if "region" in table else None,
        _attributes=_attributes(table.get("attributes")),
    )


def _factors(at: At | None) -> tuple[str, ...]:
    if at is None:
        return ("x509",)
    try:
        return factor_names([each.value for each in at.list("a list of names, as ['x509']")])
    except IdentityError as error:
        raise at.fail(str(error).removeprefix("factors: ")) from None


def _ask(key: str, at: At) -> tuple[_Values, re.Pattern[str], bool]:
    """Compile one condition: the values that are looked at, the pattern of one that matches, and whether letters of
    another case are the same."""
    if not _MATCHED.fullmatch(key):
        raise at.fail(f"there is nothing of this name to match: there are {_EXAMPLES}")
    text = at.text("a text, in which * stands for a part of one segment")
    if key == "serial":
        text = _plain_serial(text)
    lower = key in ("dns", "serial", "ip")
    return _values(key), _pattern(key, text.lower() if lower else text, at), lower


def _pattern(key: str, text: str, at: At) -> re.Pattern[str]:
    r"""Compile a pattern. With one ``*`` in each segment, a value is compared in time that is linear in its length."""
    if key == "email":
        # Before the last @, dots separate nothing.
        local, sign, domain = text.rpartition("@")
        parts = [(local, "@"), (sign, ""), (domain, "@.")]
    else:
        parts = [(text, _ENDS.get(key, ""))]
    return re.compile("".join(_segments(part, ends, at) for part, ends in parts), re.DOTALL)


def _segments(text: str, ends: str, at: At) -> str:
    own = "".join(sorted(set(ends) - {"*"}))
    star = f"[^{re.escape(ends)}]+" if ends else ".+"
    for segment in re.split(f"[{re.escape(own)}]", text) if own else [text]:
        if segment.count("*") > 1:
            raise at.fail(f"wanted at most one * in a segment; got {brief(segment)!r}")
    return star.join(map(re.escape, text.split("*")))


@lru_cache(maxsize=1024)
def _values(name: str) -> _Values:
    """Return how the values of a name are found in what was proved."""
    if name.startswith("subject."):
        attribute = name.removeprefix("subject.")
        return lambda proved: tuple(value for known, value in proved.subject if known == attribute)
    if found := re.fullmatch(r"spiffe\.path\[(\d+)\]", name):
        place = int(found[1])
        return lambda proved: () if proved.spiffe is None else proved.spiffe[1][place : place + 1]
    simple: dict[str, _Values] = {
        "authority": lambda proved: (proved.authority,),
        "issuer": lambda proved: (proved.issuer,),
        "serial": lambda proved: (_plain_serial(proved.serial),),
        "dns": lambda proved: proved.dns,
        "uri": lambda proved: proved.uri,
        "email": lambda proved: proved.email,
        "ip": lambda proved: proved.ip,
        "spiffe.trust_domain": lambda proved: () if proved.spiffe is None else (proved.spiffe[0],),
    }
    return simple[name]


def _plain_serial(text: str) -> str:
    """Return a serial number's digits as they are compared: small letters, no colons, no zeros before them."""
    return text.replace(":", "").lower().lstrip("0") or "0"


def _principal(at: At) -> tuple[str, _Fill]:
    wanted = "a type and an id, as 'Algo::\"{subject.CN}\"'"
    found = _PRINCIPAL.fullmatch(at.text(wanted))
    if found is None:
        raise at.wrong(wanted)
    written = found["id"]
    if '"' in written or "\\" in written:
        raise at.fail("no quotes and no backslashes in the id: it is no text of Cedar, and nothing in it is escaped")
    try:
        Uid(found["type"], "any")
    except UidError as error:
        raise at.fail(f"{brief(found['type'])!r} is no entity type: {one_line(str(error))}") from None
    return found["type"], _text(written, at, MOST_ID, "an id")


def _template(at: At, most: int, what: str) -> _Fill:
    return _text(at.text("a text, in which {subject.CN} and the like stand for values"), at, most, what)


def _text(template: str, at: At, most: int, what: str) -> _Fill:
    """Compile a template: how it is filled."""
    parts = _parts(template, at)
    if not any(callable(part) for part in parts):
        constant = "".join(str(part) for part in parts)
        if not 0 < len(constant.encode()) <= most:
            raise at.wrong(f"{what} of 1 to {most:,} bytes")
        return lambda _: constant

    def fill(proved: Proved) -> str:
        filled = "".join([part if isinstance(part, str) else _only(part(proved)) for part in parts])
        if len(filled.encode()) > most:
            raise CredentialError("value-too-long", f"{brief(filled)}: longer than {what} may be, {most:,} bytes")
        return filled

    return fill


def _only(values: tuple[str, ...]) -> str:
    if len(values) != 1 or not values[0]:
        raise _NoMatch
    return values[0]


def _parts(template: str, at: At) -> list[str | _Values]:
    """Split a template into texts and placeholders."""
    parts: list[str | _Values] = []
    end = 0
    for found in _BRACED.finditer(template):
        if found.start() > end:
            parts.append(template[end : found.start()])
        end = found.end()
        name = found["name"]
        if name is None:
            if len(found[0]) == 1:
                raise at.fail(f"a single {found[0]}: write {found[0] * 2} for the character itself")
            parts.append(found[0][0])
            continue
        if not _PLACED.fullmatch(name):
            known = f"{_EXAMPLES}, spiffe.path[0], authority"
            raise at.fail(f"{{{brief(name)}}}: there is nothing of this name: there are {known}")
        if parts and callable(parts[-1]):
            raise at.fail(
                f"write something between {{{name}}} and what stands before it, so that both can be told apart"
            )
        parts.append(_values(name))
    if end < len(template):
        parts.append(template[end:])
    return parts


def _attributes(at: At | None) -> tuple[tuple[str, _Fill], ...]:
    if at is None:
        return ()
    table = at.table()
    if len(table) > MOST_ATTRIBUTES:
        raise at.fail(f"wanted at most {MOST_ATTRIBUTES} attributes")
    for name, value in table.items():
        if not 0 < len(name) <= MAX_NAME or name.startswith("__") or not plain.is_utf8(name):
            raise value.fail(f"wanted a name of 1 to {MAX_NAME} characters that does not begin with __")
    return tuple((name, _attribute(value, 0)) for name, value in table.items())


def _attribute(at: At, depth: int) -> _Fill:
    """Compile an attribute's value: how its JSON is made."""
    value = at.value
    on = plain.flag(value)
    if on is not None:
        return lambda _: on
    number = plain.integer(value)
    if number is not None:
        if not -(1 << 63) <= number < 1 << 63:
            raise at.wrong("a whole number of 64 bits")
        return lambda _: number
    if plain.is_a(value, str):
        return _template(at, MOST_VALUE, "a text")
    if plain.is_a(value, list):
        return _list(at, depth)
    if plain.is_a(value, dict):
        return _entity(at)
    raise at.wrong('a text, a whole number, a bool, a list of these, or { __entity = { type = "Desk", id = "fx" } }')


def _list(at: At, depth: int) -> _Fill:
    elements = at.list("a list")
    if len(elements) > MOST_IN_LIST or depth == DEEPEST:
        raise at.fail(f"wanted at most {MOST_IN_LIST} elements, and at most {DEEPEST} lists in each other")
    fills = [_attribute(each, depth + 1) for each in elements]
    return lambda proved: [fill(proved) for fill in fills]


def _entity(at: At) -> _Fill:
    outer = at.table("__entity")
    if "__entity" not in outer:
        raise at.fail('wanted { __entity = { type = "Desk", id = "fx" } }')
    inner = outer["__entity"].table("type", "id")
    if len(inner) != 2:
        raise outer["__entity"].fail("wanted type and id")
    type_ = inner["type"].text("an entity type", MOST_ID)
    try:
        Uid(type_, "any")
    except UidError as error:
        raise inner["type"].fail(f"{brief(type_)!r} is no entity type: {one_line(str(error))}") from None
    fill = _template(inner["id"], MOST_ID, "an id")
    return lambda proved: {"__entity": {"type": type_, "id": fill(proved)}}


def _check_indices(at: At | None, match: At) -> None:
    """Refuse a segment of a SPIFFE id's path that what matches cannot have: such a rule would never match."""
    uri = plain.text(match.value.get("uri"))
    if at is None or uri is None or not uri.startswith("spiffe://"):
        return
    segments = len(uri.removeprefix("spiffe://").split("/")) - 1
    for each in _texts(at, 0):
        for found in _BRACED.finditer(each.value):
            placed = _PLACED.fullmatch(found["name"] or "")
            if placed is not None and placed["index"] is not None and int(placed["index"]) >= segments:
                last = f"the last one is spiffe.path[{segments - 1}]" if segments else "there is none"
                raise each.fail(f"{found[0]}: {brief(uri)} has {segments} segments, counted from 0: {last}")


def _texts(at: At, depth: int) -> Iterable[At]:
    """Return the texts in a value."""
    if plain.is_a(at.value, str):
        yield At(plain.text(at.value), at.document, at.where)
    elif plain.is_a(at.value, dict) and depth <= DEEPEST:
        for inner in at.table().values():
            yield from _texts(inner, depth + 1)
    elif plain.is_a(at.value, list) and depth <= DEEPEST:
        for each in at.list("a list"):
            yield from _texts(each, depth + 1)
