"""How commands name grounds: by kind and number, by a certificate's file, a principal's uid, or a listed credential."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ztfast.cli.output import UsageError
from ztfast.cli.resting import Seen, number_of, subject_of
from ztfast.cli.states import parsed
from ztfast.credentials import CredentialInfo
from ztfast.errors import CredentialError, Error, SourceError
from ztfast.identity import Ground, pem
from ztfast.identity.grounds import KINDS
from ztfast.shown import brief, name_of

__all__ = ["OF_A_FILE", "SHOWN", "ground_of", "having_sha256", "label", "written"]

OF_A_FILE = ("certificate", "key", "serial", "issuer")
"""What of a certificate in a file can be a ground."""
WRITTEN = re.compile(rf"({'|'.join(KINDS)}):(.*)", re.DOTALL)
DIGITS = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{16}")
PREFIX = re.compile(r"[0-9a-fA-F]+(:[0-9a-fA-F]+)*")
SHOWN = 12
"""The digits of a SHA-256 that lists show."""
LEAST = 4
"""The fewest digits that name a credential."""
MOST_BYTES = 1 << 20
"""The most bytes of a file that are read."""
LONGEST = 4_096
"""The longest path that a message shows whole."""
MOST = 4
"""The most credentials that a message names."""


def ground_of(target: str, what: str | None, seen: Seen) -> Ground:
    """Return the ground that a text names, and what of it is meant.

    Raises:
        UsageError: if it names none, or several.
        Error: if there is no such credential.
        SourceError: if a file cannot be read, or is no certificate.
        UidError: if it is no uid.
    """
    if what is not None and what not in KINDS:
        raise UsageError(f"--what {brief(what)}: wanted {listed(KINDS)}")
    if found := WRITTEN.fullmatch(target.strip()):
        return numbered(target, found[1], found[2], what, seen)
    if is_prefix(target):
        info = having_sha256(target, seen.credentials)[0]
        if what is None:
            raise UsageError(f"{brief(target)}: say what of this credential: --what {listed(kinds_of(info))}")
        return of_credential(info, what, seen)
    if what == "principal" or (what is None and '::"' in target):
        return Ground.principal(parsed(target))
    if what is None:
        raise UsageError(
            f"{brief(target)}: wanted a ground as `ztfast cred show` shows them (key:1f2e...), the first digits of a "
            "credential's SHA-256, a principal's uid, or the file of a certificate; for a file add --what "
            f"{listed(OF_A_FILE)}"
        )
    return of_file(target, what)


def numbered(target: str, kind: str, digits: str, what: str | None, seen: Seen) -> Ground:
    """Return the ground of a kind with a digest, or with the part of it that is its number."""
    if what not in (None, kind):
        raise UsageError(f"{brief(target)}: this is a {kind}, and --what says {what}: leave --what out")
    if not DIGITS.fullmatch(digits):
        raise UsageError(f"{brief(target)}: wanted {kind}: and 16 hexadecimal digits, or all 64")
    number = int(digits[:16], 16)
    kinds = {line.kind for line in seen.lines if number_of(line) == number}
    holders = [each for each in seen.credentials if (kind, f"{number:016x}") in each.grounds]
    kinds.update(name for each in seen.credentials for name, its in each.grounds if int(its, 16) == number)
    if kinds and kind not in kinds:
        raise UsageError(f"{brief(target)}: this is no {kind}: write {listed(sorted(kinds))}:{digits.lower()}")
    if len(digits) == 64:
        whole = Ground.parse(f"{kind}:{digits.lower()}")
        return replace(whole, shown=label(kind, f"{number:016x}", holders[0])) if holders else whole
    lines = [line for line in seen.lines if line.kind == kind and number_of(line) == number]
    if lines:
        return replace(Ground.parse(f"{kind}:{lines[0].digest}"), shown=lines[0].shown)
    return of_number(kind, f"{number:016x}", holders)


def of_number(kind: str, number: str, holders: list[CredentialInfo]) -> Ground:
    """Return the ground with a number, on which credentials rest.

    Of a certificate, a principal and an authority all of its digest is known. Of the others, the table keeps only the
    number, by which everything compares grounds: zeros follow it.
    """
    for info in holders:
        whole = {
            "certificate": lambda info=info: Ground._of("certificate", bytes.fromhex(info.sha256), ""),
            "principal": lambda info=info: Ground.principal(info.principal),
            "authority": lambda info=info: Ground.authority(str(info.about.get("authority") or "?")),
        }.get(kind)
        found = None if whole is None else whole()
        if found is not None and found.number == int(number, 16):
            return replace(found, shown=label(kind, number, info))
    padded = Ground.of_digest(kind, bytes.fromhex(number) + bytes(24))
    return replace(padded, shown=label(kind, number, holders[0])) if holders else padded


def of_credential(info: CredentialInfo, what: str, seen: Seen) -> Ground:
    """Return a ground of a credential: of its keys the leaf's, which is the first."""
    number = next((number for kind, number in info.grounds if kind == what), None)
    if number is None:
        raise UsageError(f"--what {what}: this credential rests on none; wanted {listed(kinds_of(info))}")
    return of_number(what, number, [info, *(each for each in seen.credentials if (what, number) in each.grounds)])


def of_file(path: str, what: str) -> Ground:
    """Return a ground of the certificate, or of the public key, in a file of DER or PEM."""
    if what not in OF_A_FILE:
        raise UsageError(f"{brief(path)}: of a file, --what is {listed(OF_A_FILE)}; got {what}")
    name = name_of(path) if len(path) <= LONGEST else brief(name_of(path))
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can be called so"
        raise SourceError(f"{name}: it cannot be read as a certificate: {why}") from None
    make = {"certificate": Ground.certificate, "key": Ground.key, "serial": Ground.serial, "issuer": Ground.issuer}
    try:
        if pem.is_pem(data) and not (what == "key" and b"BEGIN PUBLIC KEY" in data):
            # Tools write what a certificate says above it.
            (data,) = pem.blocks(data, pem.CERTIFICATE, most=1, explained=True)
        return make[what](data)
    except CredentialError as error:
        raise SourceError(f"{name} is not one certificate: {error}") from None


def is_prefix(target: str) -> bool:
    """Return whether a text is hexadecimal digits, with or without colons, as a SHA-256 is written.

    >>> is_prefix("1f2e3d4c"), is_prefix("1F:2E"), is_prefix("cert.pem")
    (True, True, False)
    """
    return PREFIX.fullmatch(target.strip()) is not None


def having_sha256(target: str, among: Iterable[CredentialInfo]) -> list[CredentialInfo]:
    """Return the credential whose SHA-256 begins so. Authorities of several configurations may each have verified it.

    Raises:
        UsageError: if it is no SHA-256, has too few digits, or several begin so.
        Error: if there is none.
    """
    digits = target.strip().replace(":", "").lower()
    if not is_prefix(target) or not LEAST <= len(digits) <= 64:
        raise UsageError(f"{brief(target)}: wanted the first digits of a certificate's SHA-256, at least {LEAST}")
    found = [info for info in among if info.sha256.startswith(digits)]
    if not found:
        raise Error(f"{brief(target)}: there is no credential with this SHA-256: see `ztfast cred list --status all`")
    names = sorted({info.sha256 for info in found})
    if len(names) > 1:
        several = ", ".join(name[: max(16, len(digits) + 4)] for name in names[:MOST])
        raise UsageError(f"{brief(target)}: {len(names)} credentials begin so ({several}): give more digits")
    return sorted(found, key=lambda info: -info.verified)


def kinds_of(info: CredentialInfo) -> list[str]:
    """Return the kinds of grounds that a credential rests on."""
    return list(dict.fromkeys(kind for kind, _ in info.grounds))


def label(kind: str, number: str, info: CredentialInfo) -> str:
    """Return what people call a ground of a credential."""
    about = info.about
    keys = [its for name, its in info.grounds if name == "key"]
    whose = brief(subject_of(info) or str(info.principal))
    said = {
        "certificate": f"{info.sha256[:16]} of {whose}",
        "serial": f"{about.get('serial') or number} of {brief(str(about.get('issuer') or 'its issuer'))}",
        "key": f"{number} of {whose}" if keys[:1] == [number] else f"{number} of a CA",
        "issuer": brief(str(about.get("issuer") or number)),
        "authority": brief(str(about.get("authority") or number)),
        "principal": brief(str(info.principal)),
    }
    return f"{kind} {said[kind]}"


def written(ground: Ground) -> str:
    """Return a ground as commands show and take it.

    >>> written(Ground.parse("key:" + "ab" * 32))
    'key:abababababababab'
    """
    return f"{ground.kind}:{ground.number:016x}"


def listed(names: Iterable[str]) -> str:
    """Join names by bars."""
    return "|".join(names)
