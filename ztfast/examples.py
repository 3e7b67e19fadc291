"""The examples: a small policy set for first steps, and the example desk: its folder, and a PKI for it."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

from ztfast.bundle import Bundle, compile
from ztfast.sources import Text

__all__ = ["desk", "pki", "tiny"]

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


def pki(folder: str | os.PathLike[str], **options: Any) -> Any:
    """Make a PKI for the example desk: a root, two CAs, and certificates of algorithms, people, agents and services.

    Everything in it is new, and good for a day. ``make_pki.py`` of the desk does it.

    Args:
        folder: The folder for it; ``ztfast.toml`` in it is the configuration of authorities that take its certificates.
        options: As the script's ``make`` takes them.

    Returns:
        The script's ``Pki``: ``certificate("algo/a7")`` is one as PEM, ``renew("algo/a7")`` issues another, and
        ``revoke("algo/a7")`` revokes them by a new CRL.

    Raises:
        ImportError: if pyca ``cryptography`` is missing.
        FileExistsError: if the folder has one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = pki(folder)
    ...     made.config.name, made.certificate("algo/a7")[:27]
    ('ztfast.toml', b'-----BEGIN CERTIFICATE-----')
    """
    spec = importlib.util.spec_from_file_location("make_pki", desk() / "make_pki.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.make(folder, **options)
