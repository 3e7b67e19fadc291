"""All of Cedar's public integration tests, through compiler, bundle file and engine.

Each test of the collection has a policy file, a schema, entities and requests with the expected decision, reasons and
errors. On every request the engine's decision and reasons must be Cedar's, before and after the bundle was saved and
loaded. ``explain`` must name the policies that erred. Strict compilation must refuse exactly what the strict validation
of the pinned Cedar version refuses.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ztfast
from ztfast import _core

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "cedar.tar.gz"

pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(),
    reason=f"Cedar's public tests are not at hand: {ARCHIVE.name} is not in ../shared/conformance",
)


def uid(given: dict[str, str]) -> ztfast.Uid:
    return ztfast.Uid(given["type"], given["id"])


def check(root: Path, test: Path, folder: Path) -> tuple[Counter[str], list[str]]:
    """Run one test; return counts of what was compared, and the mismatches."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    case: dict[str, Any] = json.loads(test.read_text())
    policies, schema, entities = (root / case[part] for part in ("policies", "schema", "entities"))

    def differs(what: str, expected: object, found: object) -> None:
        wrong.append(f"{test.relative_to(root)}: {what}: expected {expected}, found {found}")

    accepted = _core.strictly_valid([(policies.name, policies.read_text())], (schema.name, schema.read_text()))
    counts["validated strictly" if accepted else "refused strictly"] += 1
    mode = "strict"
    try:
        bundle = ztfast.compile(policies, schema=schema, entities=entities)
    except ztfast.PolicyError as error:
        if accepted:
            differs("strict validation accepts it", "compiled", error)
        bundle = ztfast.compile(policies, schema=schema, entities=entities, validate="permissive")
        mode = "permissive"
    else:
        if not accepted:
            differs("strict validation", "refused", "compiled")
    counts[f"fallbacks {mode}"] += bundle.stats.fallbacks
    file = folder / f"{os.getpid()}.ztb"
    bundle.save(file)
    engine = ztfast.Engine(ztfast.Bundle.load(file), handles=64, sessions=4)
    for number, request in enumerate(case["requests"]):
        principal, resource = uid(request["principal"]), uid(request["resource"])
        action = str(uid(request["action"]))
        label = f"request {number}"
        decision = engine.evaluate(principal, action, resource, request["context"])
        answer = (decision.effect.lower(), sorted(decision.reasons))
        expected = (request["decision"], sorted(request["reason"]))
        if answer != expected:
            differs(label, expected, (*answer, decision.code))
        explanation = engine.explain(principal, action, resource, request["context"])
        errors = sorted(policy.policy.id for policy in explanation.errors)
        if errors != sorted(request["errors"]):
            differs(f"{label}: errors", sorted(request["errors"]), errors)
        if not explanation.agrees:
            differs(f"{label}: explain", "agreement", explanation)
        counts["requests"] += 1
        counts[decision.effect] += 1
    counts["tests"] += 1
    return counts, wrong


def check_all(root: Path, tests: list[Path], folder: Path) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for test in tests:
        try:
            more, mismatches = check(root, test, folder)
        except Exception as error:  # a crash of one test is a mismatch of that test
            more, mismatches = Counter(tests=1), [f"{test.relative_to(root)}: {type(error).__name__}: {error}"]
        counts += more
        wrong += mismatches
    return counts, wrong


def cases_below(root: Path) -> Iterator[Path]:
    for file in sorted((root / "corpus-tests").glob("*.json")) + sorted((root / "tests").rglob("*.json")):
        if not file.name.endswith(".entities.json"):
            yield file


def test_every_public_test_of_cedar_is_answered_as_cedar_answers(tmp_path: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "cedar"
    tests = list(cases_below(root))
    workers = os.cpu_count() or 1
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with ProcessPoolExecutor(workers) as pool:
        shares = [tests[start::workers] for start in range(workers)]
        for more, mismatches in pool.map(check_all, [root] * workers, shares, [tmp_path] * workers):
            counts += more
            wrong += mismatches
    print(dict(counts))
    assert not wrong, f"{len(wrong)} mismatches, the first of them:\n" + "\n".join(wrong[:20])
    assert counts["tests"] == len(tests)
    for met in ("ALLOW", "DENY", "validated strictly", "refused strictly"):
        assert counts[met] > 0, counts
    # Everything that strict validation accepts is compiled; nothing of it is left to Cedar's own evaluator.
    assert counts["fallbacks strict"] == 0
