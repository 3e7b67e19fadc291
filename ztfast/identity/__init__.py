"""Identities that cryptography proves: certificates, whose they are, and what is made of them.

>>> from ztfast.identity import Ground
>>> print(Ground.authority("desk"))
authority:...
"""

from __future__ import annotations

from ztfast.errors import ConfigError, CredentialError
from ztfast.identity.authorities import Authorities, Reloaded
from ztfast.identity.credential import Credential, Verified
from ztfast.identity.grounds import Ground
from ztfast.identity.proved import Proved
from ztfast.identity.rules import Mapped

__all__ = [
    "Authorities",
    "ConfigError",
    "Credential",
    "CredentialError",
    "Ground",
    "Mapped",
    "Proved",
    "Reloaded",
    "Verified",
]
