"""Mutants of admissions by credentials: of the verification, the table, the list of what is revoked, and what joins them."""

from mutant import Mutant, Python, Rust

CREDENTIALS = "python/src/credentials.rs"
SESSIONS = "live/src/sessions.rs"
ENGINE = "engine/src/sessions.rs"
PATH = "identity/src/path.rs"
ADMISSIONS = "tests/identity/test_admissions.py::"
NEVER_AGAIN = Python(ADMISSIONS + "test_what_rests_on_a_revoked_ground_ends_and_is_never_admitted_again")
RELOADS = "tests/identity/test_reloads.py"

MUTANTS = (
    Mutant(
        "credentials: the list is not asked before an admission",
        CREDENTIALS,
        "        if let Some(kind) = hit(before) {\n",
        "        if let Some(kind) = hit(before).filter(|_| false) {\n",
        NEVER_AGAIN,
    ),
    Mutant(
        "credentials: any authority will do",
        CREDENTIALS,
        "(authority == 0 || authority == by);",
        "(authority == 0 || authority == by || by != 0);",
        Python(ADMISSIONS + "test_another_authority_than_the_one_that_is_asked_for_does_not_count"),
    ),
    Mutant(
        "credentials: sessions of a revoked principal go on",
        CREDENTIALS,
        "if line.kind == GroundKind::Principal.name() {",
        "if line.kind.is_empty() {",
        NEVER_AGAIN,
    ),
    Mutant(
        "credentials: an engine that opens leaves what rests on revoked grounds",
        CREDENTIALS,
        "        if list.is_empty() {\n            return Ok(());",
        "        if !list.is_empty() {\n            return Ok(());",
        Python(ADMISSIONS + "test_an_engine_that_opens_ends_what_a_killed_revocation_left"),
    ),
    Mutant(
        "a session that rests on a credential is renewed like any other",
        SESSIONS,
        "let is_bound = is_later && claimed.details.rests_on_a_credential();",
        "let is_bound = is_later && !claimed.details.rests_on_a_credential() && not_after_ns == 0;",
        Rust("live/src/state/tests.rs", "a_session_that_rests_on_a_credential_is_renewed_sooner_only"),
    ),
    Mutant(
        "places without a ground are a ground",
        ENGINE,
        "*own != 0 && chosen.binary_search(own).is_ok()",
        "*own == 0 || chosen.binary_search(own).is_ok()",
        NEVER_AGAIN,
    ),
)
