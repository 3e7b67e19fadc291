"""All mutants."""

import in_batch
import in_columns
import in_compiler
import in_engine
import in_gate
import in_hot
import in_identity
import in_lifting
import in_live
import in_live_attributes
import in_mailbox
import in_memo
import in_passed
import in_python
import in_reasons
import in_step_up
import in_strict_errors
import in_switches

__all__ = ["MUTANTS"]

MUTANTS = (
    *in_compiler.MUTANTS,
    *in_engine.MUTANTS,
    *in_hot.MUTANTS,
    *in_lifting.MUTANTS,
    *in_batch.MUTANTS,
    *in_live.MUTANTS,
    *in_switches.MUTANTS,
    *in_mailbox.MUTANTS,
    *in_identity.MUTANTS,
    *in_memo.MUTANTS,
    *in_passed.MUTANTS,
    *in_reasons.MUTANTS,
    *in_python.MUTANTS,
    *in_gate.MUTANTS,
    *in_columns.MUTANTS,
    *in_step_up.MUTANTS,
    *in_strict_errors.MUTANTS,
    *in_live_attributes.MUTANTS,
)
