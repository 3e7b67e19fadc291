"""Mutants of step-ups."""

from mutant import Mutant, Python

WAYS = Python("tests/api/test_step_up.py")

MUTANTS = (
    Mutant(
        "step-ups: the last forbid alone has to ask",
        "engine/src/step_up.rs",
        "self.all &= self.bundle",
        "self.all = self.bundle",
    ),
    Mutant(
        "step-ups: no permit has to apply",
        "engine/src/step_up.rs",
        "is_asked && self.decide(scratch, &mut PermitsOnly) == Code::Allow",
        "is_asked",
    ),
    Mutant(
        "step-ups: there may be one more than a decision keeps",
        "engine/src/step_up.rs",
        "(1..=MAX_DETERMINING).contains(&asking.count)",
        "(1..=MAX_DETERMINING + 1).contains(&asking.count)",
        WAYS,
    ),
    Mutant(
        "step-ups: a forbidden cell has no permits",
        "engine/src/decide.rs",
        " || (!N::FORBIDS && kind == CellKind::Forbid)",
        "",
    ),
    Mutant(
        "step-ups: a gate's grids say what is forbidden",
        "engine/src/cells.rs",
        "self.grids.iter_mut().for_each(Grid::leave_forbids_to_the_walk);",
        "",
    ),
    Mutant(
        "step-ups: outside of a line's box is forbidden",
        "engine/src/specialise.rs",
        "let outside = if self.step_up { WALK } else { Code::Forbid as u8 };",
        "let outside = Code::Forbid as u8;",
    ),
    Mutant(
        "step-ups: a line's clauses forbid",
        "engine/src/specialise.rs",
        "conditions.more |= self.step_up",
        "conditions.more |= self.step_up & conditions.more",
    ),
    Mutant(
        "step-ups: rows of a batch are forbidden",
        "engine/src/batch.rs",
        "if binding.step_up {\n            self.tell_step_ups",
        "if binding.step_up && chunk.cells.is_empty() {\n            self.tell_step_ups",
    ),
    Mutant(
        "step-ups: Cedar's forbids are permits",
        "engine/src/decide.rs",
        "return if answer.permitted { Code::Allow } else { Code::Default };",
        "return if answer.permitted || !answer.reasons.is_empty() { Code::Allow } else { Code::Default };",
        WAYS,
    ),
    Mutant(
        "step-ups: an age of nothing is no age",
        "cedar/src/step_up.rs",
        "whole.map(|milliseconds| milliseconds / 1000)",
        "whole.filter(|&milliseconds| milliseconds > 0).map(|milliseconds| milliseconds / 1000)",
        WAYS,
    ),
    Mutant(
        "step-ups: the greatest age counts",
        "ztfast/advice.py",
        "min((age for _, age in asked if age is not None), default=None)",
        "max((age for _, age in asked if age is not None), default=None)",
        WAYS,
    ),
)
