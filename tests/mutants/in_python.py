"""Mutants of the Python side: the extension module, the gate, columns and the package."""

from mutant import Mutant, Python

MUTANTS = (
    Mutant(
        "a set is read before it is known to have room",
        "python/src/values.rs",
        "        self.charge(py, &path, size.saturating_mul(EACH))?;\n",
        "",
        Python("tests/faults/test_large_contexts.py::test_sizes_are_looked_at_before_elements"),
    ),
    Mutant(
        "texts of a context are not counted",
        "python/src/values.rs",
        "            self.charge(value.py(), path, characters)?;\n",
        "            self.charge(value.py(), path, characters.min(0))?;\n",
        Python("tests/faults/test_large_contexts.py::test_more_than_max_context_is_too_large"),
    ),
    Mutant(
        "values that take the slow way are put in the order of the arguments",
        "python/src/arguments.rs",
        "self.values.get(self.arguments.place(slot)?)",
        "self.values.get(usize::try_from(slot).ok()?)",
        Python("tests/api/test_values_that_are_no_numbers.py"),
    ),
    Mutant(
        "durations that overflow wrap",
        "ztfast/values.py",
        "    bad = bad | (raw > most) | (raw < -((_MOST + 1) // by))\n",
        "",
        Python("tests/api/test_conversions.py"),
    ),
    Mutant(
        "a row that is out of range is decided by the number that it is not",
        "cython/many.pxi",
        "good = numpy.ones(rows, numpy.bool_) if bad is None else ~bad",
        "good = numpy.ones(rows, numpy.bool_) if bad is None else bad | ~bad",
        Python("tests/api/test_conversions.py"),
    ),
    Mutant(
        "a swap forgets the changes that it is to keep",
        "ztfast/changing.py",
        "bundle._core, bundle, keeps, None if",
        "bundle._core, bundle, keeps and upsert is not None, None if",
        Python("tests/api/test_swap.py"),
    ),
    Mutant(
        "a swap that makes gates stale is passed over in silence",
        "ztfast/changing.py",
        "        if stale:\n            gates = tuple(",
        "        if stale and allow_stale:\n            gates = tuple(",
        Python("tests/api/test_swap.py"),
    ),
)
