"""Identities that admission refuses: principals that no policy can name, and times in another unit."""

from __future__ import annotations

import datetime
import math
import time

import pytest

import ztfast


def test_a_principal_of_no_type_is_refused_with_the_known_types() -> None:
    engine = ztfast.Engine(ztfast.examples.tiny())
    for principal in ('Usr::"ann"', 'user::"ann"', 'Stratgy::"X"'):
        with pytest.raises(ztfast.EntityError, match=r"has no entity type .*; it has .*User"):
            engine.admit(ztfast.Identity(principal, not_after=math.inf))
    # One that the store lacks, and one of a type that no action applies to, may come.
    engine.admit(ztfast.Identity('User::"nobody"', not_after=math.inf))
    engine.admit(ztfast.Identity('Group::"guests"', not_after=math.inf))


def test_an_entity_that_is_not_listed_is_refused() -> None:
    schema = 'entity Role enum ["dealer"]; entity Book; action view appliesTo { principal: Role, resource: Book };'
    engine = ztfast.Engine(
        ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(schema))
    )
    assert engine.admit(ztfast.Identity('Role::"dealer"', not_after=math.inf))
    with pytest.raises(ztfast.EntityError, match="lists the entities of Role"):
        engine.admit(ztfast.Identity('Role::"daeler"', not_after=math.inf))


def test_a_type_that_a_later_bundle_lacks_is_a_denial() -> None:
    engine = ztfast.Engine(ztfast.examples.tiny())
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf))
    schema = "entity Person; entity Photo; action view appliesTo { principal: Person, resource: Photo };"
    engine.swap(ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(schema)))
    assert engine.decide(session, "view", 'Photo::"p1"').code == "NOT_APPLICABLE"


@pytest.mark.parametrize("unit", ["milliseconds", "microseconds", "nanoseconds"])
@pytest.mark.parametrize("name", ["not_after", "not_before", "auth_time"])
def test_times_in_another_unit_are_refused_with_a_hint(name: str, unit: str) -> None:
    factor = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}[unit]
    times: dict[str, float] = {"not_after": math.inf, name: int(time.time()) * factor}
    with pytest.raises(ztfast.IdentityError, match=f"{name}: .*is it in {unit}"):
        ztfast.Identity('User::"ann"', **times)  # type: ignore[arg-type]


def test_times_before_the_year_2200_and_no_end_are_taken() -> None:
    for not_after in (7_258_118_399, 2e9, math.inf):
        assert ztfast.Identity('User::"ann"', not_after=not_after).not_after == not_after
    with pytest.raises(ztfast.IdentityError, match="after the year 2200"):
        ztfast.Identity('User::"ann"', not_after=7_258_118_400)


def test_a_time_zone_that_fails_is_refused() -> None:
    class Broken(datetime.tzinfo):
        def utcoffset(self, dt: datetime.datetime | None) -> datetime.timedelta:
            raise RuntimeError("no zones today")

    with pytest.raises(ztfast.IdentityError, match=r"not_after.*time zone fails.*no zones today"):
        ztfast.Identity('User::"ann"', not_after=datetime.datetime(2030, 1, 1, tzinfo=Broken()))


def test_a_nan_of_a_class_that_says_it_equals_itself_is_refused() -> None:
    class Liar(float):
        def __ne__(self, other: object) -> bool:
            return False

    for name in ("not_after", "not_before", "auth_time"):
        times: dict[str, float] = {"not_after": math.inf, name: Liar("nan")}
        with pytest.raises(ztfast.IdentityError, match=f"{name}: wanted epoch seconds"):
            ztfast.Identity('User::"ann"', **times)  # type: ignore[arg-type]


def test_times_before_all_that_can_be_held_are_taken_for_the_first_one() -> None:
    engine = ztfast.Engine(ztfast.examples.tiny())
    for auth_time in (-1e300, -math.inf):
        engine.admit(ztfast.Identity('User::"ann"', not_after=math.inf, auth_time=auth_time))
    assert [info.auth_age for info in engine.sessions()] == [None, None]
    with pytest.raises(ztfast.ArgumentError, match="the end of the kill is over already"):
        engine.kill(by="ann", reason="a test", until=-1e300)


def test_an_identity_that_was_made_without_its_fields_is_refused() -> None:
    engine = ztfast.Engine(ztfast.examples.tiny())
    whole = ztfast.Identity('User::"ann"', not_after=math.inf)
    names = [name for name in ztfast.Identity.__slots__ if not name.startswith("_")]
    for missing in (names, *([name] for name in names)):
        made = ztfast.Identity.__new__(ztfast.Identity)
        for name in set(names) - set(missing):
            object.__setattr__(made, name, getattr(whole, name))
        with pytest.raises(ztfast.ArgumentError, match=r"identity: wanted a ztfast\.Identity that was made with its"):
            engine.admit(made)
    assert engine.sessions() == ()


def test_a_ground_that_is_no_text_of_utf_8_is_refused() -> None:
    with pytest.raises(ztfast.IdentityError, match="ground: wanted a text or bytes"):
        ztfast.Identity('User::"ann"', not_after=math.inf, ground="\ud800")
    with pytest.raises(ztfast.ArgumentError, match="revoke: ground"):
        ztfast.Engine(ztfast.examples.tiny()).revoke(ground="\ud800")
