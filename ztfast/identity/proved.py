"""What the verifier proved of a credential: names, bounds and grounds, all of them data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ztfast.identity.grounds import Ground

__all__ = ["Proved"]


@dataclass(frozen=True, slots=True)
class Proved:
    """What was proved.

    Attributes:
        authority: The name of the authority whose anchors the path ends at.
        not_before_ns: The begin of validity, in nanoseconds since the epoch.
        not_after_ns: The end of validity: the shortest of all bounds.
        bound_by: Which bound that is, as ``"certificate"`` or ``"CRL"``.
        grounds: What it rests on.
        subject: The attributes of the subject with their values, in their order.
        issuer: The issuer's name, by RFC 4514.
        serial: The serial number in hexadecimal digits.
        dns: The DNS names.
        uri: The URIs.
        email: The mail addresses.
        ip: The IP addresses.
        spiffe: The trust domain and the path's segments of the SPIFFE id, if it has one.
        path: The subjects of the CAs of the path.
        epoch: The epoch of the authorities that proved it.
        kind: The kind of authority: ``"x509"`` or ``"spiffe"``.
    """

    authority: str
    not_before_ns: int
    not_after_ns: int
    bound_by: str
    grounds: tuple[Ground, ...] = ()
    subject: tuple[tuple[str, str], ...] = ()
    issuer: str = ""
    serial: str = ""
    dns: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    spiffe: tuple[str, tuple[str, ...]] | None = None
    path: tuple[str, ...] = ()
    epoch: int = 0
    kind: str = "x509"

    @classmethod
    def of(cls, told: Mapping[str, Any], epoch: int, kind: str) -> Proved:
        """Take what the verifier tells."""
        spiffe = told["spiffe"]
        return cls(
            authority=told["authority"],
            not_before_ns=told["not_before_ns"],
            not_after_ns=told["not_after_ns"],
            bound_by=told["bound_by"],
            grounds=tuple(Ground.of_digest(kind, digest) for kind, digest in told["grounds"]),
            subject=tuple((name, value) for name, value in told["subject"]),
            issuer=told["issuer"],
            serial=told["serial"],
            dns=tuple(told["dns"]),
            uri=tuple(told["uri"]),
            email=tuple(told["email"]),
            ip=tuple(told["ip"]),
            spiffe=None if spiffe is None else (spiffe["trust_domain"], tuple(spiffe["path"])),
            path=tuple(told["path"]),
            epoch=epoch,
            kind=kind,
        )
