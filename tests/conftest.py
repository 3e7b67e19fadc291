"""Fixtures and functions that several tests share."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ztfast
from ztfast import _core

SCHEMA = """
entity Team;
entity User in [Team] = { level: Long, home: String, boss?: User };
entity Bot;
entity Doc in [Team] = { owner: User, secret: Bool, readers: Set<User>, home: String } tags Long;
entity Only enum ["one", "two"];
action "group";
action view in ["group"] appliesTo { principal: [User, Bot], resource: Doc };
action edit in ["group"] appliesTo {
  principal: User,
  resource: Doc,
  context: {
    size: Long,
    fast?: Bool,
    note?: String,
    price?: decimal,
    at?: datetime,
    within?: duration,
    from?: ipaddr,
    who?: User,
    only?: Only,
    tags?: Set<String>,
    people?: Set<User>,
    place: { room: Long, floor?: Long },
    extra?: { code: String, inner?: { deep: Long } },
  },
};
action look appliesTo { principal: [User, Doc], resource: [User, Doc], context: { who?: User, a?: String, b?: String } };
"""


def entity(ty: str, name: str, attrs: dict[str, Any] | None = None, *parents: tuple[str, str]) -> dict[str, Any]:
    return {
        "uid": {"type": ty, "id": name},
        "attrs": attrs or {},
        "parents": [{"type": parent, "id": known} for parent, known in parents],
    }


def ref(ty: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": ty, "id": name}}


ENTITIES = [
    entity("Team", "t1"),
    entity(
        "Team",
        "t2",
        None,
    ),
    entity("User", "ann", {"level": 3, "home": "x"}, ("Team", "t1")),
    entity("User", "bob", {"level": 1, "home": "y", "boss": ref("User", "ann")}, ("Team", "t2")),
    {
        **entity(
            "Doc", "d1", {"owner": ref("User", "ann"), "secret": True, "readers": [], "home": "x"}, ("Team", "t1")
        ),
        "tags": {"pages": 7},
    },
    entity("Doc", "d2", {"owner": ref("User", "bob"), "secret": False, "readers": [ref("User", "ann")], "home": "y"}),
]

Build = Callable[..., ztfast.Bundle]


def cedar_over(bundle: ztfast.Bundle, entities: list[dict[str, Any]]) -> _core.Authorizer:
    """Return Cedar over a bundle's policies and these entities, without the compiler."""
    return _core.Authorizer(bundle._core, ("entities", json.dumps(entities)))


@pytest.fixture(scope="session")
def build() -> Build:
    """Compile policies over the small schema."""

    def compile_policies(text: str, **options: Any) -> ztfast.Bundle:
        given = {"schema": ztfast.Text(SCHEMA, "small.cedarschema"), "entities": ENTITIES, **options}
        return ztfast.compile(ztfast.Text(text), **given)

    return compile_policies


@pytest.fixture
def admit() -> Callable[..., ztfast.Session]:
    """Open an endless session."""

    def open_session(engine: ztfast.Engine, principal: str = 'User::"ann"', **times: float) -> ztfast.Session:
        return engine.admit(ztfast.Identity(principal, **{"not_after": math.inf, **times}))

    return open_session


def said(decide: Callable[[], Any]) -> Any:
    """Return what a call returns, or its error as a text."""
    try:
        return decide()
    except ztfast.Error as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start programs over the state in the test's folder, which read and write lines; all end with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(tmp_path / "desk"), *map(str, arguments)]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def ask(process: subprocess.Popen[str], line: str = "") -> list[str]:
    """Write a line to a program that :func:`start` started, and return the words of its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().split()
