"""The tables of docs/conversions.md, run through all ways of deciding."""

from __future__ import annotations

import datetime
import enum
import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

import ztfast
from ztfast.cli import app

TABLE = Path(__file__).parents[2] / "docs" / "conversions.md"
TYPES = {
    "Bool": "Bool",
    "Long": "Long",
    "String": "String",
    "Entity": "User",
    "Enumerated entity": "Only",
    "decimal": "decimal",
    "datetime": "datetime",
    "duration": "duration",
    "ipaddr": "ipaddr",
    "Set": "Set<Long>",
    "Record": "{ a: Long, b?: String }",
}
WITHOUT_COLUMNS = ("ipaddr", "Set", "Record")
REFUSED, OUT, ABSENT = "refused", "out of range", "absent"
WHO, WHAT = 'User::"u"', 'Doc::"d"'


class Row(NamedTuple):
    section: str
    given: str
    said: tuple[str, ...]
    is_array: bool


class Level(enum.IntEnum):
    FIVE = 5


class Side(enum.StrEnum):
    OPEN = "open"


class Index:
    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


class Broken(datetime.tzinfo):
    def utcoffset(self, at: datetime.datetime | None) -> datetime.timedelta:
        raise RuntimeError("no zone")


def rows() -> Iterator[Row]:
    section, is_array = "", False
    for line in TABLE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith(("| value", "| array")):
            is_array = line.startswith("| array")
        elif line.startswith("| `"):
            found = re.fullmatch(r"\| `(.*?)`(?: \(.*?\))? \| (.*) \|", line)
            assert found, line
            # Values are in backquotes, and may have commas.
            said = re.findall(r"`([^`]*)`|(refused|out of range|absent)", found[2])
            yield Row(section, found[1], tuple(value or word for value, word in said), is_array)


ROWS = list(rows())


class World:
    """An engine with a policy for each value that the tables name, so that the policy shows which value was read."""

    def __init__(self, folder: Path, **options: bool) -> None:
        self.expected: dict[tuple[str, str], str] = {}
        policies, actions = [], []
        for number, (section, ty) in enumerate(TYPES.items()):
            actions.append(
                f'action "{section}" appliesTo {{ principal: User, resource: Doc, context: {{ v?: {ty} }} }};'
            )
            scope = f'(principal, action == Action::"{section}", resource)'
            policies.append(f'@id("{number}: absent") permit {scope} when {{ !(context has v) }};')
            self.expected[section, ABSENT] = f"{number}: absent"
            for value in dict.fromkeys(value for row in ROWS if row.section == section for value in row.said):
                if value in (REFUSED, OUT, ABSENT):
                    continue
                name = f"{number}.{len(policies)}"
                policies.append(f'@id("{name}") permit {scope} when {{ context has v && context.v == {value} }};')
                self.expected[section, value] = name
        schema = 'entity User, Team, Doc; entity Only enum ["one", "two"];' + "".join(actions)
        entity = {"uid": {"type": "Doc", "id": "d"}, "attrs": {}, "parents": []}
        # An empty set cannot be written where Cedar validates strictly.
        bundle = ztfast.compile(
            ztfast.Text("\n".join(policies)), schema=ztfast.Text(schema), entities=[entity], validate="permissive"
        )
        self.file = folder / "conversions.ztb"
        bundle.save(self.file)
        self.engine = ztfast.Engine(bundle, **options)
        self.session = self.engine.admit(ztfast.Identity(WHO, not_after=math.inf))
        self.doc = self.engine.resource(WHAT)

    def value(self, text: str) -> Any:
        given = {
            "ABSENT": ztfast.ABSENT,
            "Broken": Broken,
            "Categorical": ztfast.Categorical,
            "Decimal": Decimal,
            "Index": Index,
            "Level": Level,
            "Side": Side,
            "UTC": datetime.UTC,
            "Uid": ztfast.Uid,
            "date": datetime.date,
            "datetime": datetime.datetime,
            "engine": self.engine,
            "ipaddress": ipaddress,
            "math": math,
            "np": np,
            "timedelta": datetime.timedelta,
            "timezone": datetime.timezone,
        }
        return eval(text, given)

    def said(self, section: str, job: Callable[[], object]) -> str:
        """Return what a way of deciding makes of a value, in the words of the tables."""
        try:
            answer = job()
        except ztfast.ContextError:
            return REFUSED
        if isinstance(answer, ztfast.Decision):
            if answer.code == "BAD_VALUE":
                return OUT
            names = {name: value for (of, value), name in self.expected.items() if of == section}
            return " and ".join(names[reason] for reason in answer.reasons)
        return str(answer)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("conversions"))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("strict"), strict=True)


def by_code(codes: np.ndarray, word: str) -> str:
    """Translate a code to the word of the tables: codes name no policies."""
    [code] = codes.tolist()
    if code == ztfast.Code.BAD_VALUE:
        return OUT
    return word if code == ztfast.Code.ALLOW and word not in (OUT, REFUSED) else ztfast.Code(code).name


def command_line(world: World, command: str, section: str, value: object) -> str:
    context = json.dumps({"v": value})
    arguments = [command, str(world.file), WHO, f'Action::"{section}"', WHAT, "--context", context, "--json"]
    result = CliRunner().invoke(app, arguments)
    if result.exit_code == 1:
        assert isinstance(result.exception, ztfast.ContextError), result.exception
        return REFUSED
    said = json.loads(result.stdout)
    return world.said(
        section, lambda: ztfast.Decision(13 if said["code"] == "BAD_VALUE" else 1, tuple(said["reasons"]))
    )


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.is_array], ids=lambda row: f"{row.section}: {row.given}"
)
def test_a_value_is_what_the_table_says_in_every_way(world: World, row: Row) -> None:
    engine, session, doc, section = world.engine, world.session, world.doc, row.section
    gate = engine.prepare(
        ztfast.Uid("Action", section), "v" if section != "Record" else "v.a", *(["v.b"] if section == "Record" else [])
    )
    [word] = row.said

    def value() -> Any:
        return world.value(row.given)

    def allowed(answer: bool) -> str:
        return word if answer is (word not in (OUT, REFUSED)) else f"allowed: {answer}"

    ways: dict[str, Callable[[], object]] = {
        "evaluate": lambda: engine.evaluate(WHO, section, WHAT, {"v": value()}),
        "decide": lambda: engine.decide(session, section, doc, {"v": value()}),
        "explain": lambda: engine.explain(WHO, section, WHAT, {"v": value()}).decision,
        "entitled": lambda: allowed(engine.entitled(session, section, {"v": value()}) == [doc.uid]),
        "entitlements": lambda: allowed(engine.entitlements(session, section, {"v": value()}).tolist() == [True]),
    }
    if section != "Record":
        ways["Gate.decide"] = lambda: gate.decide(session, doc, value())
        ways["Gate.allows"] = lambda: allowed(gate.allows(session, doc, value()))
    if section not in WITHOUT_COLUMNS:
        ways["decide_many, in a list"] = lambda: by_code(gate.decide_many(session, doc, [value()]), word)
        ways["decide_many, in an array"] = lambda: by_code(gate.decide_many([session], doc, boxed(value())), word)
        ways["evaluate_many"] = lambda: by_code(engine.evaluate_many(WHO, section, WHAT, {"v": [value()]}), word)
        if not isinstance(value(), list) and not np.ndim(value()):
            ways["decide_many, for all"] = lambda: by_code(gate.decide_many(session, doc, value()), word)
    try:
        plain = json.loads(json.dumps(value())) == value() and type(value()) in (bool, int, str, dict, list)
        plain = plain and "ud800" not in row.given
    except (TypeError, ValueError):
        plain = False
    if plain:
        for command in ("decide", "explain"):
            ways[f"ztfast {command}"] = lambda command=command: command_line(world, command, section, value())
    said = {name: world.said(section, way) for name, way in ways.items()}
    assert said == dict.fromkeys(ways, word)


def boxed(value: object) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = value
    return array


@pytest.mark.parametrize("row", [row for row in ROWS if row.is_array], ids=lambda row: f"{row.section}: {row.given}")
def test_an_array_is_what_the_table_says_row_by_row(world: World, row: Row) -> None:
    engine, session, doc, section = world.engine, world.session, world.doc, row.section
    gate = engine.prepare(section, "v")
    column = world.value(row.given)
    ways = (
        lambda: gate.decide_many(session, doc, column),
        lambda: gate.evaluate_many(engine.resource(WHO), doc, column),
        lambda: engine.evaluate_many(WHO, section, WHAT, {"v": column}),
    )
    for way in ways:
        if row.said == (REFUSED,):
            with pytest.raises(ztfast.ContextError):
                way()
            continue
        codes = way().tolist()
        wanted = [ztfast.Code.BAD_VALUE if word == OUT else ztfast.Code.ALLOW for word in row.said]
        assert codes == wanted
    if row.said == (REFUSED,):
        return
    # Which value was read: each is compared with what it should be, and with nothing else.
    values = (
        list(column) if not isinstance(column, ztfast.Categorical) else [column.categories[at] for at in column.codes]
    )
    for value, word in zip(values, row.said, strict=True):
        if isinstance(column, np.ndarray) and section in ("Entity", "Enumerated entity") and column.dtype != object:
            continue
        assert world.said(section, lambda value=value: gate.decide(session, doc, value)) == word


@pytest.mark.parametrize("row", [row for row in ROWS if OUT in row.said], ids=lambda row: f"{row.section}: {row.given}")
def test_what_is_out_of_range_raises_where_that_is_wanted(strict: World, row: Row) -> None:
    engine, session, doc, section = strict.engine, strict.session, strict.doc, row.section
    ways: list[Callable[[], object]]
    if row.is_array:
        gate = engine.prepare(section, "v")
        ways = [lambda: gate.decide_many(session, doc, strict.value(row.given))]
    else:
        context = {"v": strict.value(row.given)}
        ways = [
            lambda: engine.evaluate(WHO, section, WHAT, context),
            lambda: engine.decide(session, section, doc, context),
            lambda: engine.explain(WHO, section, WHAT, context),
            lambda: engine.entitled(session, section, context),
        ]
        if section != "Record":
            gate = engine.prepare(section, "v")
            ways += [lambda: gate.decide(session, doc, context["v"]), lambda: gate.allows(session, doc, context["v"])]
        if section not in WITHOUT_COLUMNS:
            ways.append(lambda: engine.evaluate_many(WHO, section, WHAT, {"v": [context["v"]]}))
    for way in ways:
        with pytest.raises(ztfast.ContextError):
            way()


def test_the_table_is_read_whole() -> None:
    assert {row.section for row in ROWS} == set(TYPES)
    assert len(ROWS) > 200
    assert sum(row.is_array for row in ROWS) > 40


def test_attributes_without_columns_say_so(world: World) -> None:
    for section in ("ipaddr", "Set"):
        gate = world.engine.prepare(section, "v")
        with pytest.raises(ztfast.ContextError, match="cannot be columns"):
            gate.decide_many(world.session, world.doc, [1])
