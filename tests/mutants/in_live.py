"""Mutants of sessions, handles and the clock."""

from mutant import Mutant, Rust

MUTANTS = (
    Mutant(
        "sessions of another engine: ids have nothing that cannot be guessed",
        "live/src/sessions.rs",
        "let tag = spare.random.next()? & !self.mask & !STATUS_MASK;",
        "let tag = (spare.random.next()? & 0 | 1 << 40) & !self.mask & !STATUS_MASK;",
    ),
    Mutant(
        "handles of another engine: all engines have one key",
        "live/src/handles.rs",
        "Ok(Self(getrandom::u64()? >> 1))",
        "Ok(Self(getrandom::u64()? >> 63 >> 1))",
    ),
    Mutant(
        "a session lives on when the wall clock steps back",
        "live/src/slot.rs",
        "let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));",
        "let to_ns = to_ns.max(awake_to_ns.min(0));",
        Rust("live/src/sessions.rs", "a_wall_clock_that_steps_back_prolongs_nothing"),
    ),
)
