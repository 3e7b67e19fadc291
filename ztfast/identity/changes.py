"""What falls when a configuration is replaced: grounds on which sessions rested that nothing proves any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256

from ztfast.identity import asn1
from ztfast.identity.config import Authority, Config
from ztfast.identity.grounds import Ground

__all__ = ["fallen", "serials_of"]

_STRICTNESS = {"if-present": 0, None: 1, "required": 2}


def serials_of(config: Config) -> dict[bytes, frozenset[bytes]]:
    """Return the serial numbers that the CRLs of a configuration revoke, by the DER of their issuer's Name.

    Raises:
        CredentialError: with code "malformed" if a CRL cannot be read.
    """
    found: dict[bytes, frozenset[bytes]] = {}
    for crl in dict.fromkeys(crl for authority in config.authorities for crl in authority.crls):
        read = asn1.crl_fields(crl)
        found[read.issuer] = found.get(read.issuer, frozenset()) | read.serials
    return found


def fallen(
    old: Config,
    new: Config,
    old_serials: Mapping[bytes, frozenset[bytes]],
    new_serials: Mapping[bytes, frozenset[bytes]],
) -> tuple[Ground, ...]:
    """Return the grounds that fall when one configuration replaces another.

    What can be told by a certificate or a key falls by that: anchors and pins that are gone, serial numbers that a CRL
    names now. Where a whole authority is asked for more than before, all that it proved falls, and is verified again
    when it is admitted the next time.
    """
    found = [ground for authority in old.authorities for ground in _of_authority(authority, old, new)]
    for issuer, serials in new_serials.items():
        newly = serials - old_serials.get(issuer, frozenset())
        found += (Ground.revoked_serial(issuer, serial) for serial in sorted(newly))
    return tuple(dict.fromkeys(found))


def _of_authority(before: Authority, old: Config, new: Config) -> Iterator[Ground]:
    after = next((one for one in new.authorities if one.name == before.name), None)
    if after is None or _asks_more(before, after) or not _answers_alike(before.name, old, new):
        yield Ground.authority(before.name)
    kept = set() if after is None else set(_anchors(after))
    for anchor in _anchors(before):
        if anchor not in kept:
            yield Ground.pinned_key(anchor[1])
    for pin in before.pins:
        if after is None or (after.pins and pin not in after.pins):
            yield Ground.pinned_key(pin)


def _asks_more(before: Authority, after: Authority) -> bool:
    """Return whether what the authority proved may be refused now, for a reason that is no ground of its own."""
    if after.max_age_s is not None and (before.max_age_s is None or after.max_age_s < before.max_age_s):
        return True
    return (
        before.kind != after.kind
        or _STRICTNESS[after.revocation] > _STRICTNESS[before.revocation]
        or bool(after.pins and not before.pins)
    )


def _answers_alike(authority: str, old: Config, new: Config) -> bool:
    """Return whether the rules still say the same of all to whom one of them applied: new ones come last."""
    before, after = ([rule.written for rule in config.rules if rule.authority == authority] for config in (old, new))
    return after[: len(before)] == before


def _anchors(authority: Authority) -> Iterator[tuple[str, bytes]]:
    """Return the anchors of each trust domain by the SHA-256 of their keys. One that is renewed with the same key is
    the same ground; one that a trust domain loses falls, also if another trust domain keeps it."""
    for domain, anchors in (("", authority.anchors), *authority.trust_domains.items()):
        for der in anchors or ():
            yield domain, sha256(asn1.certificate_fields(der).spki).digest()
