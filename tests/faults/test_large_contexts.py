"""Contexts of any size and form: the time is linear in the size, other threads go on, and beyond ``max_context`` the answer is
DENY with code TOO_LARGE.
"""

from __future__ import annotations

import collections
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ztfast
from bench.contexts import POLICIES, SCHEMA, contexts

WHO, WHAT = 'User::"a"', 'Thing::"t"'
MOST = 1 << 26


@pytest.fixture(scope="module")
def bundle() -> ztfast.Bundle:
    schema = (
        SCHEMA
        + """
        action slow appliesTo { principal: User, resource: Thing, context: { texts: Set<String>, note?: String, line?: Line, ip?: ipaddr } };
        action text appliesTo { principal: User, resource: Thing, context: { note: String } };"""
    )
    return ztfast.compile(ztfast.Text(POLICIES), schema=ztfast.Text(schema))


@pytest.fixture(scope="module")
def engine(bundle: ztfast.Bundle) -> ztfast.Engine:
    return ztfast.Engine(bundle, max_context=MOST)


def took(call: Callable[[], object]) -> float:
    """Return the processor time of a call in seconds, which the load of the machine does not affect."""
    began = time.process_time()
    call()
    return time.process_time() - began


@pytest.mark.parametrize("kind", ["texts", "entities", "numbers", "records", "sets", "addresses"])
def test_a_hundred_thousand_elements_are_decided_at_once(engine: ztfast.Engine, kind: str) -> None:
    context = contexts(100_000)[kind]
    name = next(iter(context))
    allowed = engine.evaluate(WHO, "go", WHAT, context)
    # Of nested sets none is [1, 2].
    assert bool(allowed) == (kind != "sets")
    few = {name: context[name][:1000]}
    few_took = min(took(lambda: engine.evaluate(WHO, "go", WHAT, few)) for _ in range(5))
    if kind == "sets":
        few_took *= 316 / min(1000, len(context[name]))
    all_took = min(took(lambda: engine.evaluate(WHO, "go", WHAT, context)) for _ in range(3))
    # A hundred times the elements: by their square it would be ten thousand times.
    assert all_took < max(0.05, 1000 * few_took), (all_took, few_took)
    assert all_took < 4
    told = engine.explain(WHO, "go", WHAT, context)
    assert told.agrees
    assert told.problem is None
    # Every element twice is the same set.
    again = {name: [*context[name], *context[name]]}
    assert engine.evaluate(WHO, "go", WHAT, again) == allowed


@pytest.mark.parametrize("kind", ["texts", "entities", "records"])
def test_other_threads_go_on_while_a_large_context_is_read(engine: ztfast.Engine, kind: str) -> None:
    context = contexts(60_000)[kind]
    stop, longest = threading.Event(), [0.0]

    def look() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            now = time.perf_counter()
            longest[0] = max(longest[0], now - last)
            last = now

    waited = []
    for _ in range(3):
        longest[0] = 0.0
        stop.clear()
        other = threading.Thread(target=look)
        other.start()
        began = time.perf_counter()
        engine.evaluate(WHO, "go", WHAT, context)
        whole = time.perf_counter() - began
        stop.set()
        other.join()
        waited.append(longest[0] / whole)
    # With the interpreter's lock held throughout, the other thread would wait as long as the call takes.
    assert min(waited) < 0.5, waited


def ways(engine: ztfast.Engine) -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Return the codes of every way of deciding with a context."""
    session = engine.admit(ztfast.Identity(WHO, not_after=math.inf))
    thing = engine.resource(WHAT)

    def gate(context: dict[str, Any]) -> str:
        record = {("line", name): value for name, value in context.get("line", {}).items()}
        values = {**{name: value for name, value in context.items() if name != "line"}, **record}
        prepared = engine.prepare("slow", *values)
        decision = prepared.decide(session, thing, *values.values())
        assert prepared.allows(session, thing, *values.values()) == bool(decision)
        return decision.code

    yield "evaluate", lambda context: engine.evaluate(WHO, "slow", WHAT, context).code
    yield "decide", lambda context: engine.decide(session, "slow", thing, context).code
    yield "gate", gate
    yield "explain", lambda context: engine.explain(WHO, "slow", WHAT, context).decision.code


LONG = "x" * 2_000


@pytest.mark.parametrize(
    "context",
    [
        {"texts": [str(n) for n in range(200)]},
        {"texts": ["same"] * 200},
        {"texts": [LONG]},
        {"texts": [], "note": LONG},
        {"texts": [], "note": "é" * 1_000},
        {"texts": [], "line": {"name": LONG, "qty": 1}},
        {"texts": ["x"] * 50, "note": "y" * 500},
        {"texts": set(map(str, range(200)))},
        {"texts": frozenset(map(str, range(200)))},
        {"texts": tuple(map(str, range(200)))},
        {"texts": np.array([str(n) for n in range(200)])},
        {"texts": {str(n): n for n in range(200)}.keys()},
    ],
    ids=lambda context: f"{', '.join(context)} {type(context['texts']).__name__}",
)
def test_more_than_max_context_is_too_large(bundle: ztfast.Bundle, context: dict[str, Any]) -> None:
    small, strict = ztfast.Engine(bundle, max_context=1_024), ztfast.Engine(bundle, max_context=1_024, strict=True)
    for name, way in ways(small):
        assert way(context) == "TOO_LARGE", name
        assert way({"texts": ["t7"]}) == "ALLOW", name
    for name, way in ways(strict):
        with pytest.raises(ztfast.ContextError, match="max_context"):
            way(context)
        assert way({"texts": ["t7"]}) == "ALLOW", name
    large = ztfast.Engine(bundle)
    for name, way in ways(large):
        assert way(context) != "TOO_LARGE", name
    session = small.admit(ztfast.Identity(WHO, not_after=math.inf))
    assert small.entitled(session, "slow", context) == []
    assert not small.entitlements(session, "slow", context).any()


def test_what_a_context_takes_is_its_values_and_the_bytes_of_its_texts(bundle: ztfast.Bundle) -> None:
    engine = ztfast.Engine(bundle, max_context=16 * 4 + 3)
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["a", "b", "c"]}).code == "DEFAULT"
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["a", "b", "cd"]}).code == "TOO_LARGE"
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["a", "b", "é"]}).code == "TOO_LARGE"
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["", "", "", ""]}).code == "TOO_LARGE"
    for wrong in (0, -1, 1.5, "1", None, True, 1 << 63):
        with pytest.raises((ValueError, TypeError, ztfast.Error), match="max_context"):
            ztfast.Engine(bundle, max_context=wrong)  # type: ignore[arg-type]


class Sized:
    """A collection with a wrong length."""

    def __init__(self, length: int, elements: Any) -> None:
        self.length, self.elements, self.read = length, elements, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for element in self.elements:
            self.read += 1
            yield element


def test_sizes_are_looked_at_before_elements(engine: ztfast.Engine) -> None:
    for length in (1 << 40, (1 << 62) - 1):
        sized = Sized(length, itertools.repeat("x"))
        assert engine.evaluate(WHO, "slow", WHAT, {"texts": sized}).code == "TOO_LARGE"
        assert sized.read == 0
    assert took(lambda: engine.evaluate(WHO, "go", WHAT, {"longs": range(1 << 60)})) < 1
    assert engine.evaluate(WHO, "go", WHAT, {"longs": range(1 << 60)}).code == "TOO_LARGE"
    assert engine.evaluate(WHO, "go", WHAT, {"longs": range(10)})


def test_a_collection_that_never_ends_is_too_large(bundle: ztfast.Bundle) -> None:
    engine = ztfast.Engine(bundle, max_context=1 << 16)
    sized = Sized(1, itertools.repeat("x"))
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": sized}).code == "TOO_LARGE"
    assert sized.read < 1 << 13
    fewer = Sized(100, ["t7"])
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": fewer})


@pytest.mark.parametrize(
    "given",
    [
        itertools.count(), itertools.repeat("x"), iter(["t7"]), (text for text in ["t7"]), map(str, [1]), zip("a", "b", strict=True), "t7", b"t7",
        {"t7": 1}, 7, None, object(), collections.UserString("t7"), bytearray(b"t7"), memoryview(b"t7"),
    ],
    ids=lambda given: type(given).__name__,
)  # fmt: skip
def test_what_has_no_size_or_is_no_collection_is_refused(engine: ztfast.Engine, given: Any) -> None:
    for _, way in ways(engine):
        with pytest.raises(ztfast.ContextError):
            way({"texts": given})


class Raising:
    """A collection that raises when its elements are read."""

    def __init__(self, error: BaseException, after: int = 0) -> None:
        self.error, self.after = error, after

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        yield from ["t7"] * self.after
        raise self.error


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(
    "error", [ValueError("no"), RuntimeError("no"), KeyError("no"), AttributeError("no"), StopIteration()]
)
def test_a_collection_that_raises_is_refused_with_its_cause(
    engine: ztfast.Engine, error: Exception, after: int
) -> None:
    for _, way in ways(engine):
        with pytest.raises(ztfast.ContextError) as raised:
            way({"texts": Raising(error, after)})
        assert raised.value.__cause__ is not None


def test_what_ends_the_program_ends_it(engine: ztfast.Engine) -> None:
    for error in (KeyboardInterrupt(), SystemExit(3)):
        for _, way in ways(engine):
            with pytest.raises(type(error)):
                way({"texts": Raising(error, 1)})
    # The engine decides as before.
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["t7"]})


def test_a_collection_that_changes_while_it_is_read_is_refused(engine: ztfast.Engine) -> None:
    growing = {1, 2, 3}

    class Grows:
        def __index__(self) -> int:
            growing.add(len(growing) + 100)
            return 1

    growing.add(Grows())  # type: ignore[arg-type]
    # Unless this element comes last, the new elements are added before the others are read.
    growing |= set(range(4, 1_000))
    with pytest.raises(ztfast.ContextError, match="changed size"):
        engine.evaluate(WHO, "go", WHAT, {"longs": growing})
    context: dict[str, Any] = {}

    class Clears:
        def __index__(self) -> int:
            context.clear()
            return 7

    context |= {"longs": [Clears(), 1]}
    assert engine.evaluate(WHO, "go", WHAT, context).code in ("ALLOW", "FORBID", "DEFAULT")
    listed: list[Any] = []

    class Appends:
        def __index__(self) -> int:
            listed.append(self)
            return 1

    listed.append(Appends())
    assert engine.evaluate(WHO, "go", WHAT, {"longs": listed}).code == "TOO_LARGE"


def test_a_collection_that_asks_the_engine_itself(engine: ztfast.Engine) -> None:
    class Asks:
        depth = 0

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            Asks.depth += 1
            if Asks.depth < 20:
                assert engine.evaluate(WHO, "slow", WHAT, {"texts": self})
            engine.swap(engine.bundle)
            return iter(["t7"])

    assert engine.evaluate(WHO, "slow", WHAT, {"texts": Asks()})

    class AsksForEver(Asks):
        def __iter__(self) -> Iterator[str]:
            engine.evaluate(WHO, "slow", WHAT, {"texts": self})
            return iter(["t7"])

    with pytest.raises((ztfast.ContextError, RecursionError)):
        engine.evaluate(WHO, "slow", WHAT, {"texts": AsksForEver()})
    assert engine.evaluate(WHO, "slow", WHAT, {"texts": ["t7"]})


def test_contexts_of_any_depth_are_refused(engine: ztfast.Engine) -> None:
    for make in (
        lambda inner: [inner],
        lambda inner: {"a": inner},
        lambda inner: (inner,),
        lambda inner: {"__entity": inner},
    ):
        deep: Any = 1
        for _ in range(100_000):
            deep = make(deep)
        for name in ("texts", "users", "longs", "lines", "nested", "ips"):
            with pytest.raises((ztfast.ContextError, ztfast.UidError)):
                engine.evaluate(WHO, "go", WHAT, {name: deep})
            with pytest.raises((ztfast.ContextError, ztfast.UidError)):
                engine.evaluate(WHO, "go", WHAT, {name: [deep]})
        with pytest.raises((ztfast.ContextError, ztfast.UidError)):
            engine.evaluate(WHO, "go", WHAT, deep if isinstance(deep, dict) else {"a": deep})
        # Taken apart step by step: freeing it at once is the interpreter's.
        while not isinstance(deep, int):
            deep = next(iter(deep.values() if isinstance(deep, dict) else deep))


def test_a_value_within_itself_is_refused(engine: ztfast.Engine) -> None:
    within: list[Any] = []
    within.append(within)
    record: dict[str, Any] = {}
    record["a"] = record["name"] = record["__entity"] = record
    for name in ("texts", "users", "longs", "lines", "nested", "ips"):
        for value in (within, [record], record):
            with pytest.raises((ztfast.ContextError, ztfast.UidError)):
                engine.evaluate(WHO, "go", WHAT, {name: value})


def test_comparing_large_sets_never_allows_by_accident() -> None:
    schema = """entity User { lines: Set<Line> }; entity Thing; type Line = { name: String, qty: Long };
        action go appliesTo { principal: User, resource: Thing, context: { lines: Set<Line> } };"""
    policies = """permit (principal, action, resource);
        forbid (principal, action, resource) when { context.lines.containsAll(principal.lines) };"""
    lines = [{"name": "n", "qty": n} for n in range(6_000)]
    user = {"uid": {"type": "User", "id": "a"}, "attrs": {"lines": lines}, "parents": []}
    engine = ztfast.Engine(ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema), entities=[user]))
    assert not engine.evaluate(WHO, "go", WHAT, {"lines": lines[::-1]})
    assert not engine.evaluate(WHO, "go", WHAT, {"lines": lines})
    assert engine.evaluate(WHO, "go", WHAT, {"lines": lines[:100]})
    assert took(lambda: engine.evaluate(WHO, "go", WHAT, {"lines": lines[::-1]})) < 4


def test_a_text_beyond_max_context_in_a_column_is_too_large(bundle: ztfast.Bundle) -> None:
    engine = ztfast.Engine(bundle, max_context=1_024)
    session = engine.admit(ztfast.Identity(WHO, not_after=math.inf))
    gate, thing = engine.prepare("text", "note"), engine.resource(WHAT)
    wanted = [ztfast.Code.DEFAULT, ztfast.Code.TOO_LARGE, ztfast.Code.DEFAULT]
    texts = ["a", "x" * 2_000, "b"]
    assert gate.decide_many(session, thing, texts).tolist() == wanted
    assert gate.evaluate_many(thing, thing, texts).tolist()[1] != ztfast.Code.ALLOW
    assert engine.evaluate_many(WHO, "text", WHAT, {"note": texts}).tolist() == wanted
    assert [gate.decide(session, thing, text).number for text in texts] == wanted
    assert [gate.allows(session, thing, text) for text in texts] == [False] * 3
    codes = gate.decide_many(session, thing, ztfast.Categorical(np.array([0, 1, 2]), texts))
    assert codes.tolist() == wanted


def test_every_way_of_deciding_counts_the_bytes_of_a_context_alike() -> None:
    schema = """entity User; entity Thing;
        action go appliesTo { principal: User, resource: Thing, context: {
            a: String, b?: String, who?: User, px?: decimal, at?: { n?: Long, deep?: { name?: String } } } };"""
    # A gate remembers texts that policies have: this one, of a row that fits and then of one that does not.
    known = "x" * 9
    policies = f'''permit (principal, action, resource);
        permit (principal, action, resource) when {{ context.a == "{known}" }};'''
    everybody = ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(schema))
    names = ("a", "b", "who", "px", ("at", "n"), ("at", "deep", "name"))
    rows: list[tuple[Any, ...]] = [
        (known, "y" * 20, ztfast.Uid("User", "somebody"), "150.25", 5, "z" * 7),
        (known, "", ztfast.Uid("User", "u"), 5, 5, ""),
        ("é" * 5, "€", 'User::"é"', {"fn": "decimal", "arg": "150.25"}, ztfast.ABSENT, "𝄞"),
        ("x", ztfast.ABSENT, ztfast.ABSENT, 5, ztfast.ABSENT, ztfast.ABSENT),
        ("", "x" * 50, ztfast.Uid("User", "u" * 40), ztfast.ABSENT, 5, ztfast.ABSENT),
        ("x", "a\ud800", ztfast.ABSENT, "1.23456", 10**30, ""),
    ]
    seen = set()
    for most in range(1, 260):
        engine = ztfast.Engine(everybody, sessions=4, handles=64, max_context=most)
        session, thing = engine.admit(ztfast.Identity(WHO, not_after=math.inf)), engine.resource(WHAT)
        gate = engine.prepare("go", *names)
        wanted = []
        for a, b, who, px, n, name in rows:
            context = {"a": a, "b": b, "who": who, "px": px, "at": {"n": n, "deep": {"name": name}}}
            wanted.append(engine.evaluate(WHO, "go", WHAT, context).number)
        seen.add(tuple(wanted))
        handles = [
            [engine.resource(v) if at == 2 and v is not ztfast.ABSENT else v for at, v in enumerate(r)] for r in rows
        ]
        for given in (rows, handles):
            # Twice, as a gate remembers texts.
            for _ in range(2):
                assert [gate.decide(session, thing, *row).number for row in given] == wanted, most
                assert [gate.allows(session, thing, *row) for row in given] == [code == 1 for code in wanted], most
            columns = [list(column) for column in zip(*given, strict=True)]
            assert gate.decide_many(session, thing, *columns).tolist() == wanted, most
            assert engine.evaluate_many(WHO, "go", WHAT, dict(zip(names, columns, strict=True))).tolist() == wanted, (
                most
            )
            for row, code in zip(given, wanted, strict=True):
                assert gate.decide_many(session, [thing], *row).tolist() == [code], most
    assert len(seen) == len(rows) + 1
    texts = ["x" * 20, "y" * 60]
    engine = ztfast.Engine(everybody, sessions=4, handles=64, max_context=120)
    gate, thing = engine.prepare("go", "a", "b"), engine.resource(WHAT)
    column = ztfast.Categorical(np.array([0, 1, 0, 1]), texts)
    masked = np.ma.array(["y" * 60] * 4, mask=[False, False, False, True])
    codes = gate.evaluate_many(engine.resource(WHO), thing, column, masked)
    assert codes.tolist() == [1, 15, 1, 1]
    strict = ztfast.Engine(everybody, sessions=4, handles=64, max_context=120, strict=True)
    with pytest.raises(ztfast.ContextError, match="row 1 takes more than max_context=120"):
        strict.evaluate_many(WHO, "go", WHAT, {"a": texts, "b": "y" * 60})
