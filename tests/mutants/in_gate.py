"""Mutants of the gate in Cython."""

from mutant import Mutant, Python

GATE = "cython/gate.pyx"
CALLS = "cython/calls.pxi"
MANY = "cython/many.pxi"
SCALARS = "cython/scalars.pxi"
COMPOSITES = "cython/composites.pxi"
VALUES = Python("tests/api/test_conversions.py::test_a_value_is_what_the_table_says_in_every_way")
KINDS = Python("tests/api/test_kinds.py")
WRONG = Python("tests/api/test_decide.py::test_a_gates_wrong_values_raise")
SETS = "tests/api/test_sets_and_addresses_in_calls.py"
IN_PLACE = "tests/api/test_values_read_in_place.py"
READ = "tests/api/test_composites_read_in_place.py"
ENTITIES = "tests/api/test_remembered_entity_sets.py"
LIES = Python("tests/faults/test_lying_objects.py")
NO_PYTHON = Python(f"{IN_PLACE}::test_no_python_code_runs")
SIZES = Python("tests/faults/test_large_contexts.py::test_every_way_of_deciding_counts_the_bytes_of_a_context_alike")

MUTANTS = (
    Mutant(
        "gate: texts are remembered over a swap",
        GATE,
        "            self.forget_values()\n            # Reuse the list",
        "            # Reuse the list",
        Python("tests/api/test_many.py::test_texts_known_by_identity_are_looked_up_anew_after_a_swap"),
    ),
    Mutant(
        "gate: texts are known by their bytes over a swap",
        GATE,
        "            self._short[at].after = 0\n",
        "",
        Python("tests/api/test_remembered_texts.py::test_another_bundle_knows_other_texts"),
    ),
    Mutant(
        "gate: a text is known by its first bytes",
        CALLS,
        "short.ends[0] == ends[0] and short.ends[1] == ends[1]:",
        "short.ends[0] == ends[0]:",
        Python("tests/api/test_remembered_texts.py::test_equal_texts_decide_alike_and_no_other_text_does"),
    ),
    Mutant(
        "gate: a text is known whatever its length",
        CALLS,
        "if short.after == length + 1 and short.ends[0]",
        "if short.after != 0 and short.ends[0]",
        Python("tests/api/test_remembered_texts.py::test_equal_texts_decide_alike_and_no_other_text_does"),
    ),
    Mutant(
        "gate: a set of one text of the bundle is one of another",
        CALLS,
        "| (KNOWN_ALONE if elements.kind == ZTFAST_REMEMBERED else 0)",
        "* 0 + 1",
        Python("tests/api/test_remembered_texts.py::test_sets_of_one_text_decide_by_that_text"),
    ),
    Mutant(
        "gate: a set that can change is remembered",
        "cython/composites.pxi",
        "return PyFrozenSet_CheckExact(value) || PyTuple_CheckExact(value);",
        "return 1;",
        Python("tests/api/test_remembered_sets.py::test_a_set_that_can_change_is_read_anew"),
    ),
    Mutant(
        "gate: a set of texts is remembered as one of numbers",
        CALLS,
        "            elif gate._elements[at] == ZTFAST_STRING:\n                room = pass_texts",
        "            elif gate._elements[at] == ZTFAST_STRING or remembered_set(gate, ZTFAST_STRING, value) != NULL:\n"
        "                room = pass_texts",
        Python("tests/api/test_remembered_sets.py::test_a_set_of_texts_is_no_set_of_numbers"),
    ),
    Mutant(
        "gate: a decision frees a set of entities that are gone with it",
        COMPOSITES,
        "Py_REFCNT(element) <= own) return 0;",
        "Py_REFCNT(element) < 2) return 0;",
        Python(f"{ENTITIES}::test_no_decision_frees_a_handle"),
    ),
    Mutant(
        "gate: a set takes the place of another one of its call",
        CALLS,
        "        if values.kind & ZTFAST_SET and values.data == remembered.elements:\n            return 0\n",
        "",
        Python("tests/api/test_remembered_sets.py::test_sets_of_one_call_that_share_a_place_are_their_own"),
    ),
    Mutant(
        "gate: sets are remembered over a swap",
        GATE,
        "            forget_set(&self._sets[at])\n",
        "            pass\n",
        Python("tests/api/test_remembered_sets.py::test_another_bundle_asks_for_other_elements"),
    ),
    Mutant(
        "gate: a set that is watched is freed during a decision",
        "cython/composites.pxi",
        "((PySetObject *)value)->weakreflist != NULL) return 0;",
        "((PySetObject *)value)->weakreflist == value) return 0;",
        Python("tests/api/test_remembered_sets.py::test_a_weak_reference_to_a_remembered_set_calls_back_and_decides"),
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
        Python("tests/api/test_many.py::test_a_gate_keeps_no_text_of_an_older_bundle"),
    ),
    Mutant(
        "gate: another text may come to lie where a remembered one was",
        CALLS,
        "    Py_INCREF(<object>text)\n    if remembered.text != NULL:\n        Py_DECREF(<object>remembered.text)\n",
        "",
        Python("tests/api/test_many.py::test_more_texts_than_a_gate_remembers_and_equal_ones_elsewhere_in_memory"),
    ),
    Mutant(
        "gate: a text is taken for the remembered one of its place",
        CALLS,
        "if remembered.text != text:",
        "if remembered.text == NULL:",
        Python("tests/api/test_many.py::test_more_texts_than_a_gate_remembers_and_equal_ones_elsewhere_in_memory"),
    ),
    Mutant(
        "gate: a remembered text takes nothing of a context",
        CALLS,
        "    return room - remembered.length\n",
        "    return room\n",
        SIZES,
    ),
    Mutant(
        "gate: an entity takes nothing of a context",
        CALLS,
        "            room -= (<EntityHandle>value)._size\n",
        "",
        SIZES,
    ),
    Mutant(
        "gate: a remembered decision is given for another of its place",
        GATE,
        "            if key.policies[at] != determining.policies[at]:\n                return None\n",
        "            pass\n",
        Python("tests/api/test_remembered_decisions.py"),
    ),
    Mutant(
        "gate: an int is taken for a Bool",
        SCALARS,
        "return value == Py_True || value == Py_False ? 0 : -1;",
        "return value == Py_True || value == Py_False || PyLong_CheckExact(value) ? 0 : -1;",
        KINDS,
    ),
    Mutant(
        "gate: a Bool is taken for a Long",
        SCALARS,
        "return PyLong_CheckExact(value) ? ztfast_short_number(value, number) : -1;",
        "return PyLong_Check(value) ? ztfast_short_number(value, number) : -1;",
        KINDS,
    ),
    Mutant(
        "gate: a handle is taken for a text",
        CALLS,
        "    if <void *>text.ob_type != TEXT:\n",
        "    if <void *>text.ob_type not in (TEXT, HANDLE):\n",
        KINDS,
    ),
    Mutant(
        "gate: whole units beyond the least decimal wrap",
        SCALARS,
        "__builtin_mul_overflow(units, INT64_C(10000), number) ? -1 : 0",
        "__builtin_mul_overflow(units, INT64_C(10000), number) && units > 0 ? -1 : 0",
        Python("tests/api/test_values.py::test_whole_units_of_a_decimal_are_in_range_or_bad_values"),
    ),
    Mutant(
        "gate: the least decimal's opposite wraps",
        SCALARS,
        "if (digits > ztfast_multipliers[power]) return -1;",
        "if (digits > ztfast_multipliers[power] + 1) return -1;",
        # A check at import finds this, too, and then decimals take the way through the core.
        NO_PYTHON,
    ),
    Mutant(
        "gate: a NaN that has digits is a number",
        SCALARS,
        "if ((decimal->flags & 14)",
        "if ((decimal->flags & 10)",
        NO_PYTHON,
    ),
    Mutant(
        "gate: digits that lie elsewhere are not looked for",
        SCALARS,
        "const uint64_t digits = decimal->groups[0];",
        "const uint64_t digits = decimal->own[0];",
        Python(f"{IN_PLACE}::test_decimals_are_read_wherever_their_digits_lie"),
    ),
    Mutant(
        "gate: times before 1970 are rounded up",
        SCALARS,
        "return number / by - (number % by < 0);",
        "return number / by;",
        Python(
            "tests/api/test_values_read_in_place.py::"
            "test_zones_of_the_standard_library_are_read_at_both_sides_of_a_change"
        ),
    ),
    Mutant(
        "gate: the last day of February is always the 28th",
        SCALARS,
        "const uint32_t year = PyDateTime_GET_YEAR(value) - (month <= 2), century",
        "const uint32_t year = PyDateTime_GET_YEAR(value), century",
        Python(f"{IN_PLACE}::test_every_day_of_a_year_is_its_own"),
    ),
    Mutant(
        "gate: dates of one day of the month are taken for each other",
        SCALARS,
        "if (ZTFAST_RARE((uint32_t)known != ztfast_date(value))) return 1;",
        "if (ZTFAST_RARE(known == 0)) return 1;",
        Python(f"{IN_PLACE}::test_dates_of_one_day_of_the_month_are_told_apart"),
    ),
    Mutant(
        "gate: every zone is UTC",
        SCALARS,
        "return time->hastzinfo && time->tzinfo == ztfast_utc;",
        "return time->hastzinfo;",
        VALUES,
    ),
    Mutant(
        "gate: the value after another is the same again",
        SCALARS,
        "(readers + count, given + count, numbers + count)",
        "(readers + count, given + count - 1, numbers + count)",
        Python(f"{IN_PLACE}::test_a_gate_reads_a_value_as_a_dict_does"),
    ),
    Mutant(
        "gate: a new date is not counted",
        SCALARS,
        "        *numbers = ztfast_new_datetime(given[0]);\n",
        "        *numbers = 0;\n",
        Python(f"{IN_PLACE}::test_values_after_a_new_date_are_read"),
    ),
    Mutant(
        "gate: numpy's time that is none is a number",
        SCALARS,
        "if (time->value == INT64_MIN || time->count < 1) return -1;",
        "if (time->count < 1) return -1;",
        Python(f"{IN_PLACE}::test_values_of_other_types_are_what_they_are"),
    ),
    Mutant(
        "gate: several units of numpy's are one",
        SCALARS,
        "UNITS[time->unit - 2] * time->count, number)",
        "UNITS[time->unit - 2], number)",
        NO_PYTHON,
    ),
    Mutant(
        "gate: a text of a time or decimal takes nothing of a context",
        GATE,
        "        return NO_ROOM\n    return room - length\n\n\ncdef inline Py_ssize_t parsed_address(",
        "        return NO_ROOM\n    return room\n\n\ncdef inline Py_ssize_t parsed_address(",
        SIZES,
    ),
    Mutant(
        "gate: a context of decimals alone has room without end",
        CALLS,
        "            room = unusual(gate._kinds[at], arguments[at + 2], room, &values[at])\n            if room < 0:",
        "            room = unusual(gate._kinds[at], arguments[at + 2], room, &values[at])\n            if room == NO_ROOM:",
        Python(f"{IN_PLACE}::test_texts_count_for_the_size_of_a_context"),
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
        "            user.strictly(arguments)\n            api.refuse",
        "if looked == OUT_OF_RANGE:\n            user.strictly(arguments)\n            api.refuse",
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
        "[batch.lacking(gate, pattern) if pattern else batch for pattern in absences]",
        "[batch for pattern in absences]",
        Python("tests/api/test_values.py::test_what_is_absent_is_as_if_it_were_left_out"),
    ),
    Mutant(
        "gate: elements of a set take nothing of a context",
        CALLS,
        "    return room - elements.count * EACH_ELEMENT\n",
        "    return room\n",
        Python(f"{READ}::test_a_call_has_as_much_room_as_a_context"),
    ),
    Mutant(
        "gate: an address of four bytes is read the other way round",
        COMPOSITES,
        "ZTFAST_HIGH_FIRST(32, (uint32_t)number)",
        "(uint32_t)number",
        # A check at import finds this, too, and then addresses take the way through Python.
        Python(f"{READ}::test_no_python_code_runs"),
    ),
    Mutant(
        "gate: elements beyond the most that a call brings are left out",
        CALLS,
        "or elements.count > end - <const ztfast_value *>passed.data:\n        return NO_ROOM\n",
        "or elements.count > 2 * MOST_PASSED:\n        return NO_ROOM\n"
        "    elements.count = min(elements.count, end - <const ztfast_value *>passed.data)\n",
        Python(f"{READ}::test_every_element_of_every_kind_of_set_is_read"),
    ),
    Mutant(
        "gate: a new text that the bundle lacks is passed as another that it lacks",
        CALLS,
        "        passed.number = ZTFAST_UNKNOWN_TEXT\n",
        "        passed.number, passed.kind = 0, 0\n",
        Python(f"{READ}::test_texts_of_every_kind_are_read"),
    ),
    Mutant(
        "gate: elements of a later set are written over those of an earlier one",
        CALLS,
        "                free += passed.length\n",
        "                free += 0 * passed.length\n",
        Python(f"{READ}::test_several_sets_and_addresses_of_a_call_are_their_own"),
    ),
    Mutant(
        "gate: a later address is written over an earlier one",
        CALLS,
        "            address += 1\n",
        "",
        Python(f"{READ}::test_addresses_of_every_length_are_their_texts"),
    ),
    Mutant(
        "gate: whatever stands in a set of texts is read as one",
        CALLS,
        "    if <void *>text.ob_type != TEXT:\n",
        "    if <void *>text.ob_type == HANDLE:\n",
        Python(f"{READ}::test_elements_of_classes_of_their_own_are_what_they_are"),
    ),
    Mutant(
        "gate: an int of a class of its own is the number of an address",
        COMPOSITES,
        "if (bits == NULL || !PyLong_CheckExact(bits) || ztfast_number(bits, &number) != 0) return 0;",
        "if (bits == NULL || !PyLong_CheckExact(bits) || ztfast_number(bits, &number) != 0) number = 0;",
        LIES,
    ),
    Mutant(
        "gate: an address that is no number of 32 bits is cut off",
        COMPOSITES,
        "if (number < 0 || number > UINT32_MAX) return 0;",
        "if (number < 0) return 0;",
        LIES,
    ),
    Mutant(
        "gate: an address that is no number of 128 bits is cut off",
        COMPOSITES,
        "if (*number >> (128 - PyLong_SHIFT)) return -1;",
        "",
        LIES,
    ),
    Mutant(
        "gate: the scope that an address was given later is dropped",
        COMPOSITES,
        "if (ZTFAST_SLOT(value, ztfast_ip6_scope) != Py_None) return 0;",
        "if (ZTFAST_SLOT(value, ztfast_ip6_scope) == NULL) return 0;",
        # As above.
        Python(f"{READ}::test_no_python_code_runs"),
    ),
    Mutant(
        "gate: a call that is not decided in one step is denied",
        CALLS,
        "    if code == <uint32_t>ZTFAST_UNDECIDED:\n        return call_otherwise(gate, arguments, count)\n",
        "",
        KINDS,
    ),
)
