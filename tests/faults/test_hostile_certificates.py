"""Certificates that are made to harm: huge, deep, many, damaged. Each is refused soon, with a reason, and nothing hangs."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

import ztfast
from tests.certificates import NOW_NS, Held, authority, chain, crl, make
from ztfast import _core

ROOT = make("root", None, ca=True)
LEAF = make("algo", ROOT)
# What is made to take long is refused within so many seconds, on a machine that does something else besides.
MOST_SECONDS = 2.0
MOST_BYTES = 1 << 16


@contextmanager
def soon() -> Iterator[None]:
    begin = time.perf_counter()
    yield
    assert time.perf_counter() - begin < MOST_SECONDS


def code(path: list[bytes], anchors: tuple[Held, ...] = (ROOT,), verifier: _core.Verifier | None = None) -> str | None:
    verifier = verifier or _core.Verifier([authority(*anchors)])
    with soon():
        try:
            verifier.verify(None, path, NOW_NS)
        except ztfast.CredentialError as error:
            return error.code
    return None


def padded(size: int) -> Held:
    """Make a leaf of so many bytes: signatures differ by a byte or two, so this takes some tries."""
    filler = size - 1000
    while len((held := filled(filler)).der) != size:
        filler += size - len(held.der)
    return held


def filled(count: int) -> Held:
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), bytes(count))
    return make("algo", ROOT, changed=[(extension, False)])


def test_a_certificate_may_have_so_many_bytes_and_no_more() -> None:
    assert code([padded(MOST_BYTES).der]) is None
    assert code([LEAF.der, padded(MOST_BYTES).der]) is None
    assert code([bytes(MOST_BYTES + 1)]) == "too-large"
    assert code([LEAF.der, bytes(MOST_BYTES + 1)]) == "too-large"
    assert code([bytes(1 << 20)]) == "too-large"
    assert code([bytes(MOST_BYTES)]) == "malformed"


def test_a_chain_has_so_many_certificates_and_no_more() -> None:
    assert code([]) == "no-certificate"
    assert code([LEAF.der] * 16) is None
    assert code([LEAF.der] * 17) == "too-many-certificates"
    held = [ROOT]
    for number in range(99):
        held.append(make(f"ca {number}", held[-1], ca=True))
    assert code(chain(*reversed(held))) == "too-many-certificates"


def test_certificates_that_form_many_paths_are_refused_soon() -> None:
    # Each could have issued each, and the leaf: there are billions of paths, none of which ends.
    holders = [make("ca", None, ca=True) for _ in range(15)]
    looping = [make("ca", holder, ca=True) for holder in holders]
    leaf = make("algo", holders[0])
    assert code(chain(leaf, *looping)) == "path-too-complex"
    assert code(chain(leaf, *looping), anchors=(holders[1],)) in {"path-too-complex", "signature"}


def test_a_long_path_is_refused_soon() -> None:
    held = [ROOT]
    for number in range(14):
        held.append(make(f"ca {number}", held[-1], ca=True))
    assert code(chain(make("algo", held[-1]), *reversed(held[1:]))) == "path-too-complex"


def test_name_constraints_and_names_without_number_are_refused_soon() -> None:
    bases = [x509.DNSName(f"n{number}.example") for number in range(1900)]
    bomb = make("bomb", ROOT, ca=True, changed=[(x509.NameConstraints(bases, bases), True)])
    names = x509.SubjectAlternativeName([x509.DNSName(f"a.n{number}.example") for number in range(2000)])
    leaf = make("algo", bomb, changed=[(names, False)])
    assert max(len(leaf.der), len(bomb.der)) < MOST_BYTES
    assert code(chain(leaf, bomb)) == "name-constraints"
    permitted = make("bomb", ROOT, ca=True, changed=[(x509.NameConstraints(bases, None), True)])
    assert code(chain(make("algo", permitted, changed=[(names, False)]), permitted)) == "name-constraints"


def test_many_extensions_are_refused() -> None:
    def with_extensions(count: int) -> bytes:
        unknown = [
            x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.{number}"), b"\x05\x00") for number in range(count)
        ]
        return make("algo", ROOT, changed=[(one, False) for one in unknown]).der

    assert code([with_extensions(60)]) is None
    assert code([with_extensions(61)]) == "malformed"


def test_damaged_certificates_are_refused() -> None:
    verifier = _core.Verifier([authority(ROOT)])
    chance = random.Random(16)
    whole, codes = LEAF.der, Counter[str | None]()
    for _ in range(2000):
        damaged = bytearray(whole)
        match chance.randrange(4):
            case 0:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[chance.randrange(len(damaged)) :]
            case 2:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                damaged.insert(chance.randrange(len(damaged)), chance.randrange(256))
            case 3:
                at = chance.randrange(len(damaged))
                damaged[at : at + chance.randrange(1, 64)] = chance.randbytes(chance.randrange(64))
        if bytes(damaged) != whole:
            codes[code([bytes(damaged)], verifier=verifier)] += 1
    print(codes)
    assert codes[None] == 0
    assert codes["failed"] == 0
    assert codes["malformed"] > 0
    assert codes["signature"] > 0


def test_damaged_certificates_can_be_inspected_or_are_refused() -> None:
    inspected = _core.inspect_certificate(LEAF.der)
    assert inspected["subject"] == [("CN", "algo")]
    codes = set()
    for at in range(0, len(LEAF.der), 7):
        damaged = LEAF.der[:at] + bytes([LEAF.der[at] ^ 0xFF]) + LEAF.der[at + 1 :]
        try:
            found = _core.inspect_certificate(damaged)
        except ztfast.CredentialError as error:
            codes.add(error.code)
        else:
            assert found["certificate"] != inspected["certificate"]
    assert codes == {"malformed"}


@pytest.mark.parametrize("bytes_of", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80\x00\x00", b"\x30" * 60_000])
def test_bytes_that_are_no_certificate_are_refused(bytes_of: bytes) -> None:
    assert code([bytes_of]) == "malformed"
    assert code([LEAF.der, bytes_of]) == "malformed"
    with pytest.raises(ztfast.ConfigError, match="authority desk: anchor 2 cannot be used"):
        _core.Verifier([authority() | {"anchors": [ROOT.der, bytes_of]}])


def test_a_refusal_is_repeated_for_the_same_question_only() -> None:
    verifier = _core.Verifier([authority(ROOT), authority(make("other", None, ca=True), name="other")])

    def ask(name: str | None, path: list[bytes], now_ns: int = NOW_NS) -> str | None:
        try:
            verifier.verify(name, path, now_ns)
        except ztfast.CredentialError as error:
            return error.code
        return None

    stranger = make("stranger", make("nobody", None, ca=True)).der
    for _ in range(3):
        assert ask(None, [stranger]) == "unknown-issuer"
    assert verifier.counters()["remembered"] == 2
    assert ask("other", [LEAF.der]) == "unknown-issuer"
    assert ask("desk", [LEAF.der]) is None
    assert ask(None, [stranger, LEAF.der]) == "unknown-issuer"
    assert verifier.counters()["remembered"] == 2
    assert ask(None, [stranger], NOW_NS + 5 * 10**9) == "unknown-issuer"
    assert verifier.counters() == {"remembered": 2, "unknown-issuer": 6, "verified": 1}


def test_many_who_ask_at_once_are_answered_or_refused_at_once() -> None:
    verifier = _core.Verifier([authority(ROOT)], threads=1, queue=1)
    leaves = [make("algo", ROOT).der for _ in range(20)]
    codes: Counter[str | None] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        for _ in range(50):
            for leaf in leaves:
                found = code([leaf], verifier=verifier)
                with lock:
                    codes[found] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(codes.values()) == 8 * 50 * len(leaves)
    assert set(codes) == {None, "busy"}
    counters = verifier.counters()
    assert (counters["verified"], counters["busy"]) == (codes[None], codes["busy"])


def test_a_forked_child_is_refused_and_makes_its_own() -> None:
    verifier = _core.Verifier([authority(ROOT, crls=[crl(ROOT)], revocation="required")])
    assert code([LEAF.der], verifier=verifier) is None
    child = os.fork()
    if child == 0:
        status = 1
        try:
            refused = code([LEAF.der], verifier=verifier)
            own = _core.Verifier([authority(ROOT, crls=[crl(ROOT)], revocation="required")])
            found = (refused, verifier.counters(), code([LEAF.der], verifier=own))
            del verifier
            status = 0 if found == ("forked", {}, None) else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == (child, 0)
    assert code([LEAF.der], verifier=verifier) is None


def test_threads_that_verify_yield_to_others() -> None:
    before = {int(name) for name in os.listdir("/proc/self/task")}
    verifier = _core.Verifier([authority(ROOT)], threads=2)
    assert code([LEAF.der], verifier=verifier) is None
    added = {int(name) for name in os.listdir("/proc/self/task")} - before
    deadline = time.monotonic() + 5
    while {os.getpriority(os.PRIO_PROCESS, one) for one in added} != {10} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [os.getpriority(os.PRIO_PROCESS, one) for one in added] == [10, 10]
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
