"""All mutants."""

import in_compiler
import in_engine
import in_live
import in_python

__all__ = ["MUTANTS"]

MUTANTS = (*in_compiler.MUTANTS, *in_engine.MUTANTS, *in_live.MUTANTS, *in_python.MUTANTS)
