"""Mutants of the gate in Cython."""

from mutant import Mutant, Python

GATE = "cython/gate.pyx"
CALLS = "cython/calls.pxi"
MANY = "cython/many.pxi"
VALUES = Python("tests/api/test_conversions.py::test_a_value_is_what_the_table_says_in_every_way")
KINDS = Python("tests/api/test_kinds.py")
WRONG = Python("tests/api/test_decide.py::test_a_gates_wrong_values_raise")
SIZES = Python("tests/faults/test_large_contexts.py::test_every_way_of_deciding_counts_the_bytes_of_a_context_alike")

MUTANTS = (
    Mutant(
        "gate: texts are remembered over a swap",
        GATE,
        "if generation != self._generation:\n            self.forget_texts()\n",
        "if generation != self._generation:\n",
        Python("tests/api/test_many.py::test_texts_known_by_identity_are_looked_up_anew_after_a_swap"),
    ),
    Mutant(
        "gate: decisions are remembered over a swap",
        GATE,
        "            for at in range(CACHED):\n                self._decisions[at] = None\n",
        "",
        Python("tests/api/test_decide.py::test_sessions_handles_and_gates_survive_a_swap"),
    ),
    Mutant(
        "gate: the swap is not noticed when texts are looked up",
        GATE,
        "        api.begin(self._gate)\n        self.keep_up()\n",
        "        api.begin(self._gate)\n",
        Python("tests/api/test_many.py::test_texts_known_by_identity_are_looked_up_anew_after_a_swap"),
    ),
    Mutant(
        "gate: another text may come to lie where a remembered one was",
        GATE,
        "            Py_INCREF(<object>value)\n            if remembered.text != NULL:\n"
        "                Py_DECREF(<object>remembered.text)\n",
        "",
        Python("tests/api/test_many.py::test_more_texts_than_a_gate_remembers_and_equal_ones_elsewhere_in_memory"),
    ),
    Mutant(
        "gate: a text is taken for the remembered one of its place",
        GATE,
        "if remembered.text == value:",
        "if remembered.text != NULL:",
        Python("tests/api/test_many.py::test_more_texts_than_a_gate_remembers_and_equal_ones_elsewhere_in_memory"),
    ),
    Mutant(
        "gate: a remembered text takes nothing of a context",
        GATE,
        "                    room -= remembered.length\n",
        "",
        SIZES,
    ),
    Mutant(
        "gate: an entity takes nothing of a context",
        GATE,
        "                room -= (<EntityHandle>value)._size\n",
        "",
        SIZES,
    ),
    Mutant(
        "gate: a remembered decision is given for another of its place",
        GATE,
        "            and memcmp(&self._keys[place], &key, sizeof(CacheKey)) == 0\n",
        "",
        Python("tests/api/test_remembered_decisions.py"),
    ),
    Mutant(
        "gate: an int is taken for a Bool",
        GATE,
        "elif kind == ZTFAST_BOOL and (value is True or value is False):",
        "elif kind == ZTFAST_BOOL and (value is True or value is False or <void *>given.ob_type == LONG):",
        KINDS,
    ),
    Mutant(
        "gate: a Bool is taken for a Long",
        GATE,
        "elif kind == ZTFAST_BOOL and (value is True or value is False):",
        "elif kind in (ZTFAST_BOOL, ZTFAST_LONG) and (value is True or value is False):",
        KINDS,
    ),
    Mutant(
        "gate: a handle is taken for a text",
        GATE,
        "elif kind == ZTFAST_ENTITY and <void *>given.ob_type == HANDLE:",
        "elif kind in (ZTFAST_ENTITY, ZTFAST_STRING) and <void *>given.ob_type == HANDLE:",
        KINDS,
    ),
    Mutant(
        "gate: whole units beyond the least decimal wrap",
        GATE,
        "if -MOST_UNITS <= values[at] <= MOST_UNITS:",
        "if values[at] <= MOST_UNITS:",
        Python("tests/api/test_values.py::test_whole_units_of_a_decimal_are_in_range_or_bad_values"),
    ),
    Mutant(
        "gate: more values than there are attributes are taken",
        GATE,
        "if count != <Py_ssize_t>self._count + 2:",
        "if count < <Py_ssize_t>self._count + 2:",
        WRONG,
    ),
    Mutant(
        "gate: fewer values than there are attributes are taken",
        GATE,
        "if count != <Py_ssize_t>self._count + 2:",
        "if count > <Py_ssize_t>self._count + 2:",
        WRONG,
    ),
    Mutant(
        "gate: whatever stands for the resource is taken for a handle",
        GATE,
        "if <void *>arguments[0].ob_type != SESSION or <void *>arguments[1].ob_type != HANDLE:",
        "if <void *>arguments[0].ob_type != SESSION:",
        KINDS,
    ),
    Mutant(
        "gate: allows() decides by a value that is out of its type's range",
        CALLS,
        "if looked == OUT_OF_RANGE or (looked == READ and found == OUT_OF_RANGE):\n"
        "            user.strictly(arguments)\n            return False",
        "if looked == OUT_OF_RANGE:\n            user.strictly(arguments)\n            return False",
        VALUES,
    ),
    Mutant(
        "gate: decide() decides by a value that is out of its type's range",
        CALLS,
        "if looked == OUT_OF_RANGE or (looked == READ and found == OUT_OF_RANGE):\n"
        "            user.strictly(arguments)\n            return Decision(",
        "if looked == OUT_OF_RANGE:\n            user.strictly(arguments)\n            return Decision(",
        VALUES,
    ),
    Mutant(
        "gate: an absent value is left out, and the next one takes its place",
        GATE,
        "                lacking |= <uint64_t>1 << at\n",
        "                lacking |= <uint64_t>1 << (self._count - 1)\n",
        Python("tests/api/test_values.py::test_what_is_absent_is_as_if_it_were_left_out"),
    ),
    Mutant(
        "gate: rows of which something is absent are decided as the others",
        MANY,
        "part = batch.lacking(gate, pattern) if pattern else batch",
        "part = batch",
        Python("tests/api/test_values.py::test_what_is_absent_is_as_if_it_were_left_out"),
    ),
)
