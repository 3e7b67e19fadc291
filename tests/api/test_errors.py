"""Errors can be pickled and copied with all their attributes."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from typing import Any

import pytest

import ztfast
from ztfast import errors
from ztfast.bench import BenchError


def families() -> list[type[BaseException]]:
    """Return every class of error that ztfast defines."""
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BaseException)]
    waiting, known = [*found, BenchError], set()
    while waiting:
        cls = waiting.pop()
        if cls not in known:
            known.add(cls)
            waiting.extend(cls.__subclasses__())
    return sorted(known, key=lambda cls: (cls.__module__, cls.__qualname__))


class Demanding(ztfast.ContextError):
    """An error whose class needs more than a message, and keeps its data in several ways."""

    __slots__ = ("attribute",)

    def __init__(self, attribute: str, *, wanted: str) -> None:
        super().__init__(f"{attribute}: wanted {wanted}")
        self.attribute = attribute
        self.wanted = wanted


def made(cls: type[BaseException]) -> BaseException:
    if cls is Demanding:
        error: BaseException = Demanding("qty", wanted="a Long")
    elif cls is ztfast.PolicyError:
        error = ztfast.PolicyError("two\nlines", [{"line": 1, "message": "two"}])
    elif cls is ztfast.CredentialError:
        error = ztfast.CredentialError("expired", "the leaf has expired")
    else:
        error = cls("what was wanted, and what was given")
    error.add_note("a note")
    error.attached = {"more": [1, 2]}  # type: ignore[attr-defined]
    return error


def what_it_says(error: BaseException) -> tuple[Any, ...]:
    slots = {name: getattr(error, name) for name in getattr(type(error), "__slots__", ())}
    return type(error), str(error), error.args, dict(vars(error)), slots


@pytest.mark.parametrize("cls", families(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_pickle_and_copy_with_all_that_they_say(cls: type[BaseException], protocol: int) -> None:
    error = made(cls)
    for other in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert other is not error
        assert what_it_says(other) == what_it_says(error)


def refused(policies: str) -> ztfast.Bundle:
    return ztfast.compile(ztfast.Text(policies), schema=ztfast.Text("entity U;"))


def demanding(_: str) -> None:
    raise Demanding("qty", wanted="a Long")


def test_a_worker_that_is_refused_something_says_so() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(ztfast.PolicyError) as caught:
            pool.apply_async(refused, ("permit (",)).get(60)
        assert caught.value.diagnostics[0]["file"] == "inline.cedar"
        with pytest.raises(Demanding) as wanted:
            pool.apply_async(demanding, ("",)).get(60)
        assert (wanted.value.attribute, wanted.value.wanted) == ("qty", "a Long")


def test_what_is_data_pickles_as_data() -> None:
    bundle = ztfast.examples.tiny()
    engine = ztfast.Engine(bundle, sessions=8, handles=8)
    told = engine.explain('User::"ann"', "view", 'Photo::"p1"')
    for value in (
        told, told.decision, told.reasons[0], bundle.policies, bundle.stats, engine.memory, ztfast.Code.ALLOW,
        ztfast.Uid("User", "ann"), ztfast.Identity('User::"ann"', not_after=5, factors=["x509"]), ztfast.Text("a"),
    ):  # fmt: skip
        for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert other == value
            assert type(other) is type(value)
