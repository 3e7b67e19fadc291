"""Mutants of columns, the gate's and those of `columns.py`."""

from mutant import Mutant, Python

COLUMNS = "ztfast/columns.py"
ARRAYS = Python("tests/api/test_conversions.py::test_an_array_is_what_the_table_says_row_by_row")
SIZES = Python("tests/faults/test_large_contexts.py::test_every_way_of_deciding_counts_the_bytes_of_a_context_alike")
MASKS = Python("tests/api/test_values.py::test_masks_are_absent_rows_of_every_kind")

MUTANTS = (
    Mutant(
        "columns: what lies under a mask is decided",
        COLUMNS,
        "absent=mask if mask.any() else None)",
        "absent=None)",
        MASKS,
    ),
    Mutant(
        "columns: objects and texts under a mask are decided",
        COLUMNS,
        "[ABSENT if gone else value for value, gone in",
        "[value for value, gone in",
        MASKS,
    ),
    Mutant(
        "columns: a row whose value is ABSENT is decided by the number 0",
        COLUMNS,
        "            absent[row] = True\n",
        "            absent[row] = False\n",
        Python("tests/api/test_values.py::test_what_is_absent_is_as_if_it_were_left_out"),
    ),
    Mutant(
        "columns: of two columns the last alone says what is absent",
        COLUMNS,
        "absent = bit | (np.zeros(count, np.uint64) if absent is None else absent)",
        "absent = bit",
        Python("tests/api/test_values.py::test_what_is_absent_is_as_if_it_were_left_out"),
    ),
    Mutant(
        "columns: of two columns the last alone says which rows are bad",
        COLUMNS,
        "bad = column.bad | (np.zeros(count, np.bool_) if bad is None else bad)",
        "bad = column.bad",
        Python("tests/api/test_values.py::test_a_bad_value_denies_its_row_alone"),
    ),
    Mutant(
        "columns: unsigned numbers beyond the greatest Long wrap",
        COLUMNS,
        "bad = array > np.uint64(2**63 - 1)",
        "bad = array > np.uint64(2**64 - 1)",
        ARRAYS,
    ),
    Mutant(
        "columns: whole units of a decimal wrap in a narrow array",
        COLUMNS,
        "np.where(bad, 0, array).astype(np.int64) * 10_000",
        "(np.where(bad, 0, array) * array.dtype.type(10_000 % 2**7)).astype(np.int64)",
        ARRAYS,
    ),
    Mutant(
        "columns: whole units beyond the least decimal wrap",
        COLUMNS,
        "            bad |= array < -_MOST_UNITS\n",
        "            bad |= array < 2 * -_MOST_UNITS\n",
        Python("tests/api/test_values.py::test_whole_units_of_a_decimal_are_in_range_or_bad_values"),
    ),
    Mutant(
        "columns: an array of booleans is taken for a Long's",
        COLUMNS,
        'elif array.dtype.kind not in "iu" or kind is Kind.STRING:',
        'elif array.dtype.kind not in "iub" or kind is Kind.STRING:',
        ARRAYS,
    ),
    Mutant(
        "columns: a Bool in a list is taken for a Long",
        COLUMNS,
        "set(map(type, values)) <= {plain}:",
        "set(map(type, values)) <= {plain, bool}:",
        Python("tests/api/test_conversions.py::test_a_value_is_what_the_table_says_in_every_way"),
    ),
    Mutant(
        "columns: every second number of an array is read with the others",
        COLUMNS,
        "np.ascontiguousarray(array, np.int64)",
        "array.astype(np.int64, copy=False)",
        Python("tests/api/test_many.py::test_arrays_that_do_not_lie_together_are_read_as_they_are"),
    ),
    Mutant(
        "columns: every second handle of an array is read with the others",
        COLUMNS,
        "return Column(np.ascontiguousarray(given), True)",
        "return Column(given, True)",
        Python("tests/api/test_many.py::test_arrays_that_do_not_lie_together_are_read_as_they_are"),
    ),
    Mutant(
        "columns: handles in an array of another type are read as if they were of theirs",
        COLUMNS,
        "if given.dtype != dtype or given.ndim != 1:",
        'if given.dtype.kind != "u" or given.ndim != 1:',
        Python("tests/api/test_two_engines.py::test_columns_of_narrower_numbers_are_refused"),
    ),
    Mutant(
        "columns: a code of -1 is the last category",
        COLUMNS,
        "wrong = (codes < 0) | (codes >= len(texts))",
        "wrong = codes >= len(texts)",
        Python("tests/api/test_many.py::test_categoricals_that_are_none_raise"),
    ),
    Mutant(
        "columns: columns of two lengths are decided",
        COLUMNS,
        "    lengths = {len(column.array) for _, column in columns if column.each}\n    if len(lengths) > 1:",
        "    lengths = {len(column.array) for _, column in columns if column.each}\n    if len(lengths) > 2:",
        Python("tests/api/test_decide.py::test_columns_that_do_not_fit_raise"),
    ),
    Mutant(
        "columns: texts take nothing of a context",
        COLUMNS,
        "taken += there * (_EACH + (0 if column.sizes is None else column.sizes))",
        "taken += there * _EACH",
        SIZES,
    ),
    Mutant(
        "columns: an attribute that is absent takes its part of a context",
        COLUMNS,
        "there = True if column.absent is None else ~column.absent",
        "there = True",
        SIZES,
    ),
)
