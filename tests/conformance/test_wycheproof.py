"""Wycheproof's vectors of signatures: ECDSA in both encodings, Ed25519, RSA PKCS#1 and PSS.

Each vector's result is known: a valid signature is accepted, an invalid one is not, whatever is wrong with it. Where either
answer is right ("acceptable"), any answer will do.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ztfast import _core

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "wycheproof-dev.tar.gz"

pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(),
    reason=f"Wycheproof's vectors are not at hand: {ARCHIVE.name} is not in ../shared/conformance",
)

HASHES = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the files about signatures, by name."""
    folder = tmp_path_factory.mktemp("wycheproof")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    paths = [path for path in folder.rglob("*_test.json") if path.name.startswith(("ecdsa_", "ed25519_", "rsa_"))]
    return {path.name: json.loads(path.read_text()) for path in sorted(paths)}


def scheme(file: str, group: dict[str, Any]) -> str:
    if file.startswith("ed25519_"):
        return "ed25519"
    hashed = HASHES[group["sha"]]
    if file.startswith("rsa_"):
        return f"rsa-{'pss' if '_pss_' in file else 'pkcs1'}-{hashed}"
    # Bitcoin takes the smaller of the two values of s that fit, alone.
    return f"ecdsa-{hashed}{'-p1363' if '_p1363_' in file else '-low-s' if '_bitcoin_' in file else ''}"


def test_every_vector_of_a_signature_has_its_result(files: dict[str, dict[str, Any]]) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for file, content in files.items():
        for group in content["testGroups"]:
            key = bytes.fromhex(group["publicKeyDer"])
            for test in group["tests"]:
                message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
                accepted = _core.verify_signature(scheme(file, group), key, message, signature)
                counts[test["result"]] += 1
                if test["result"] != "acceptable" and accepted is not (test["result"] == "valid"):
                    wrong.append(f"{file} {test['tcId']}: {test['comment']}: accepted: {accepted}")
    print(dict(counts))
    assert not wrong, f"{len(wrong)} vectors have another result:\n" + "\n".join(wrong[:20])
    assert counts["valid"] > 0
    assert counts["invalid"] > 0


def test_a_valid_signature_fits_no_other_scheme(files: dict[str, dict[str, Any]]) -> None:
    schemes = {scheme(file, group) for file, content in files.items() for group in content["testGroups"]}
    tried = 0
    for file, content in files.items():
        for group in content["testGroups"]:
            own = scheme(file, group)
            key = bytes.fromhex(group["publicKeyDer"])
            valid = next((test for test in group["tests"] if test["result"] == "valid"), None)
            if valid is None:
                continue
            # A low s is one of the two that fit; the scheme that takes only such takes some of the others'.
            for other in schemes - {own, own + "-low-s", own.removesuffix("-low-s")}:
                tried += 1
                message, signature = bytes.fromhex(valid["msg"]), bytes.fromhex(valid["sig"])
                assert not _core.verify_signature(other, key, message, signature), (file, valid["tcId"], other)
    assert tried > 0
