"""What a new CRL revokes has no session, whoever verified it, and also if it is being admitted at that moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.racing import Repeat, beside
from ztfast.identity import Authorities

CANCEL = ("order.cancel", 'Instrument::"AAPL"')


@pytest.fixture(scope="module")
def bundle() -> ztfast.Bundle:
    folder = ztfast.examples.desk()
    return ztfast.compile(
        folder / "policies", schema=folder / "desk.cedarschema", entities=folder / "desk.entities.json"
    )


@pytest.fixture
def pki(tmp_path: Path) -> Any:
    return ztfast.examples.pki(tmp_path, whom=[("algo/a7", "US"), ("algo/a8", "US")])


def test_an_engine_that_only_found_what_another_verified_hears_of_new_lists(
    pki: Any, tmp_path: Path, bundle: ztfast.Bundle
) -> None:
    engines = [ztfast.Engine(bundle, state=tmp_path / "state") for _ in range(2)]
    authorities = [Authorities.load(pki.config) for _ in range(2)]
    pem = pki.certificate("algo/a7")
    sessions = [engine.admit(each.x509(pem)) for engine, each in zip(engines, authorities, strict=True)]
    use = engines[1].credential_use
    assert use is not None
    assert (use.found, use.missed) == (1, 1)
    pki.revoke("algo/a7")
    assert [engine.decide(session, *CANCEL).code for engine, session in zip(engines, sessions, strict=True)] == [
        "ALLOW",
        "ALLOW",
    ]
    # The second one, which has verified nothing, reads the list: the sessions of both are over.
    assert authorities[1].reload().changed
    assert [engine.decide(session, *CANCEL).code for engine, session in zip(engines, sessions, strict=True)] == [
        "REVOKED",
        "REVOKED",
    ]


def test_an_engine_hears_of_all_authorities_that_it_admits_by(pki: Any, bundle: ztfast.Bundle) -> None:
    engine = ztfast.Engine(bundle)
    authorities = [Authorities.load(pki.config) for _ in range(3)]
    # They take turns, and each is told apart from the one before.
    sessions = [engine.admit(each.x509(pki.certificate("algo/a7"))) for each in authorities * 2]
    pki.revoke("algo/a7")
    authorities[0].reload()
    assert {engine.decide(session, *CANCEL).code for session in sessions} == {"REVOKED"}


def test_who_is_admitted_while_a_list_is_read_is_out_when_it_was_read(pki: Any, bundle: ztfast.Bundle) -> None:
    engine, authorities = ztfast.Engine(bundle, sessions=1 << 14), Authorities.load(pki.config)
    repeat = Repeat("admissions in the middle of reading a list", at_least=1.0)
    before = after = 0
    codes: set[str] = set()
    while repeat.until(before > 100 and after > 20):
        credential = authorities.x509(pki.renew("algo/a7"))
        admitted: list[ztfast.Session] = []

        def admit(credential: Any = credential, admitted: list[ztfast.Session] = admitted) -> None:
            try:
                session = engine.admit(credential)
            except ztfast.CredentialError as refused:
                codes.add(refused.code)
            else:
                admitted.append(session)
                # Not more than there are slots.
                if len(admitted) > 1_000:
                    admitted.pop(0).revoke()

        admit()
        pki.revoke("algo/a7")
        with beside(admit):
            authorities.reload()
            known = len(admitted)
        before, after = before + known, after + 1
        assert {engine.decide(session, *CANCEL).code for session in admitted} <= {"REVOKED"}
        admitted.clear()
    assert codes == {"revoked"}
