"""The examples: a small policy set for documentation and first steps, and the folder of the example desk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ztfast.bundle import Bundle, compile
from ztfast.sources import Text

__all__ = ["desk", "tiny"]

_POLICIES = """\
@id("owners-view")
permit (principal, action == Action::"view", resource) when { resource.owner == principal };
@id("album-guests")
permit (principal in Group::"guests", action == Action::"view", resource) unless { resource.secret };
@id("nobody-uploads-large")
forbid (principal, action == Action::"upload", resource) when { context.megabytes > 20 };
"""

_SCHEMA = """\
entity Group;
entity User in [Group];
entity Photo = { owner: User, secret: Bool };
action view appliesTo { principal: User, resource: Photo };
action upload appliesTo { principal: User, resource: Photo, context: { megabytes: Long, camera?: String } };
"""


@cache
def tiny() -> Bundle:
    """Compile three policies over a few photos.

    >>> sorted(tiny().actions)
    ['Action::"upload"', 'Action::"view"']
    """

    def uid(ty: str, name: str) -> dict[str, str]:
        return {"type": ty, "id": name}

    entities = [
        {"uid": uid("User", "ann"), "attrs": {}, "parents": []},
        {"uid": uid("User", "bob"), "attrs": {}, "parents": [uid("Group", "guests")]},
        {"uid": uid("Group", "guests"), "attrs": {}, "parents": []},
        {"uid": uid("Photo", "p1"), "attrs": {"owner": uid("User", "ann"), "secret": True}, "parents": []},
        {"uid": uid("Photo", "p2"), "attrs": {"owner": uid("User", "ann"), "secret": False}, "parents": []},
    ]
    return compile(Text(_POLICIES), schema=Text(_SCHEMA, "inline.cedarschema"), entities=entities)


def desk() -> Path:
    """Return the folder of the example desk: the copy in an installed package, ``examples/desk`` in a checkout."""
    package = Path(__file__).resolve().parent
    copy = package / "_desk"
    return copy if copy.is_dir() else package.parent / "examples" / "desk"
