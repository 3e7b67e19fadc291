"""Mutants of what a gate remembers of the values that it was passed."""

from mutant import Mutant, Python, Rust

CALLS = "engine/tests/calls.rs"
MEMO = "engine/src/memo.rs"
PASSED = "engine/src/passed.rs"
ABOUT = Rust(CALLS, "what_a_set_answers_about_the_principal_is_remembered_for_that_session")
TOKENS = Rust(CALLS, "a_value_with_a_token_answers_what_it_did_before_and_no_other")

MUTANTS = (
    Mutant(
        "memo: answers are another argument's",
        MEMO,
        "self.entries.get(place)?.get(at(token))?;",
        "self.entries.get(place - place % 2)?.get(at(token))?;",
        TOKENS,
    ),
    Mutant(
        "memo: answers are another bundle's",
        "engine/src/gate.rs",
        "            memo.forget();\n",
        "            let _ = memo;\n",
        TOKENS,
    ),
    Mutant(
        "memo: answers are another value's",
        MEMO,
        "(entry.token ^ token) | (entry.session.0 ^ session.0);",
        "u64::from(entry.token == EMPTY) | (entry.session.0 ^ session.0);",
        TOKENS,
    ),
    Mutant(
        "memo: answers of earlier arguments are remembered, too",
        PASSED,
        "(std::mem::take(self.answers), *self.unknown)",
        "(*self.answers, *self.unknown)",
        TOKENS,
    ),
    Mutant(
        "memo: a set answers about another principal",
        MEMO,
        "(entry.token ^ token) | (entry.session.0 ^ session.0);",
        "entry.token ^ token ^ session.0 ^ session.0;",
        ABOUT,
    ),
    Mutant(
        "memo: a set of two is one of its first entity",
        PASSED,
        "(second.unwrap_or(NO_ENTITY) << ENTITY_BITS | first) + 1",
        "(second.map_or(NO_ENTITY, |_| NO_ENTITY) << ENTITY_BITS | first) + 1",
        ABOUT,
    ),
    Mutant(
        "memo: factors answer as those of another session",
        "engine/src/live_asks.rs",
        "(u64::from(bits) + 1, asked.place.into())",
        "(u64::from(bits).min(0) + 1, asked.place.into())",
        Python("tests/properties/test_conditions_on_sessions.py"),
    ),
)
