"""Mutants of the forbids that a gate's table names itself."""

from mutant import Mutant

MUTANTS = (
    Mutant(
        "reasons: the first case of a policy alone denies by it",
        "engine/src/reasons.rs",
        "if applies && last != Some(reason.policy) {",
        "if applies && last.is_none() {",
    ),
    Mutant(
        "reasons: where several policies forbid, the first does",
        "engine/src/reasons.rs",
        "reasons.iter().all(|reason| reason.policy == *policy)",
        "reasons.iter().any(|reason| reason.policy == *policy)",
    ),
    Mutant(
        "reasons: forbids of two arguments count as those of the first",
        "engine/src/reasons.rs",
        "let is_alone = limits.next().is_none() && case.linear",
        "let is_alone = case.linear",
    ),
)
