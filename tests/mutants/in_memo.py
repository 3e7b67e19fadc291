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
        "Self(token << PLACE_BITS | place as u64)",
        "Self(token << PLACE_BITS | place as u64 & 0)",
        TOKENS,
    ),
    Mutant(
        "memo: answers are another bundle's",
        MEMO,
        "if self.version != version {",
        "if self.version > version {",
        TOKENS,
    ),
    Mutant(
        "memo: answers are another value's",
        MEMO,
        "(entry.key == key && entry.session == session)",
        "(entry.key.0 != u64::MAX && entry.session == session)",
        TOKENS,
    ),
    Mutant(
        "memo: answers of earlier arguments are remembered, too",
        PASSED,
        "(std::mem::take(self.answers), self.unknown)",
        "(*self.answers, self.unknown)",
        TOKENS,
    ),
    Mutant(
        "memo: a set answers about another principal",
        MEMO,
        "(entry.key == key && entry.session == session).then_some(&entry.known)",
        "(entry.key == key).then_some(&entry.known)",
        ABOUT,
    ),
    Mutant(
        "memo: a set of two is one of its first entity",
        PASSED,
        "Key::new((second.unwrap_or(NO_ENTITY) << ENTITY_BITS | first) + 1, place)",
        "Key::new((second.map_or(NO_ENTITY, |_| NO_ENTITY) << ENTITY_BITS | first) + 1, place)",
        ABOUT,
    ),
    Mutant(
        "memo: factors answer as those of another session",
        "engine/src/live_asks.rs",
        "Key::new(u64::from(bits) + 1, asked.place.into())",
        "Key::new(u64::from(bits).min(0) + 1, asked.place.into())",
        Python("tests/properties/test_conditions_on_sessions.py"),
    ),
)
