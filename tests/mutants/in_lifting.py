"""Mutants of a gate's own table: what is lifted, and how it is merged and read."""

from mutant import Mutant, Rust

LIFT = "engine/src/lift.rs"
LINEAR = "engine/src/linear.rs"
LINES = "engine/src/lines.rs"
SPECIALISE = "engine/src/specialise.rs"
ROWS = "engine/src/rows.rs"
CHECKS = "engine/src/checks.rs"
PREDICATE = "vm/src/predicate.rs"
SINGLE = "vm/src/single.rs"
GRID = "engine/src/grid.rs"
CELLS = "engine/src/cells.rs"
HOT = "engine/src/hot.rs"
GRID_ENDS = Rust(GRID, "an_interval_ends_where_it_ends")
FEW = Rust("engine/src/specialise/tests/few.rs", "gates_of_one_and_two_numbers_decide_as_the_interpreter_does")
PARTS = Rust("engine/src/specialise/tests/few.rs", "the_tables_of_layers_together_say_what_one_table_says")
LINEAR_TESTS = Rust(LINEAR, "what_is_simplified_holds_where_it_did")
BESIDE_TEXTS = Rust("engine/src/specialise/tests/chosen.rs", "inequalities_beside_texts_are_decided_by_known_answers")
TIMES = Rust("engine/src/specialise/tests/chosen.rs", "times_of_the_day_are_compared_to_the_millisecond")
PROPERTY = Rust("engine/src/specialise/tests.rs", "what_is_lifted_decides_as_the_interpreter_does")

MUTANTS = (
    Mutant(
        "lines: by known answers, a clause holds without its other intervals",
        LINES,
        "self.others == 0 && !self.more",
        "!self.more",
        PROPERTY,
    ),
    Mutant(
        "lines: by known answers, a clause holds without what only the walk decides",
        LINES,
        "self.others == 0 && !self.more",
        "self.others == 0",
        PROPERTY,
    ),
    Mutant(
        "lines: by known answers, unknown results are taken for wanted ones",
        LINES,
        "!self.more && answers.are(&self.wanted).is_some()",
        "!self.more && answers.known < u64::MAX",
        PROPERTY,
    ),
    Mutant(
        "lines: by known answers, inequalities are left out",
        LINES,
        "if (head >> 16) as u16 != 0 && self.is_forbidden([head, link], values)? {",
        "if (head >> 16) as u16 != 0 && self.is_forbidden([head & 0xFFFF, link], values)? {",
        BESIDE_TEXTS,
    ),
    Mutant(
        "lines: by known answers, a line does not ask for its wider inequalities",
        LINES,
        "if detail.linear.0 != detail.linear.1 {\n            return None;",
        "if detail.linear.0 > detail.linear.1 {\n            return None;",
        PROPERTY,
    ),
    Mutant(
        "lifting: a range of an absent attribute holds",
        LIFT,
        "let Some(place) = self.place(test.slot) else { return Vec::new() };",
        "let Some(place) = self.place(test.slot) else { continue };",
    ),
    Mutant(
        "lifting: an absent attribute is 0, and no error",
        LIFT,
        "let Some(place) = self.place(slot) else { return Ok(None) };",
        "let Some(place) = self.place(slot) else { return Ok(Some(Symbol::Known(Value::number(Tag::Long, 0)))) };",
        PROPERTY,
    ),
    Mutant(
        "lifting: an absent boolean is false, and no error",
        LIFT,
        "let Some(place) = self.place(slot) else { return Ok(None) };",
        "let Some(place) = self.place(slot) else { return Ok(Some(Symbol::Known(Value::bool(false)))) };",
        PROPERTY,
    ),
    Mutant(
        "lifting: `has` of an absent attribute holds",
        LIFT,
        "found => Symbol::Known(Value::bool(found.is_some())),",
        "found => Symbol::Known(Value::bool(found.is_some() || true)),",
    ),
    Mutant(
        "lifting: a sum that overflows is no error",
        LIFT,
        "if !case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {",
        "if sum.value().is_some() && !case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {",
        PROPERTY,
    ),
    Mutant(
        "lifting: < is <=",
        LIFT,
        "-i128::from(strict));",
        "-i128::from(strict && false));",
    ),
    Mutant(
        "lifting: the other side of a condition begins one too late",
        LIFT,
        "next = high + 1;",
        "next = high + 2;",
    ),
    Mutant(
        "lifting: a wrapped range ends one too late",
        LIFT,
        "vec![(LEAST, i128::from(high)), (i128::from(test.low), MOST)]",
        "vec![(LEAST, i128::from(high) + 1), (i128::from(test.low), MOST)]",
    ),
    Mutant(
        "lifting: what cannot be lifted holds",
        LIFT,
        "Err(NotLifted) => cases = unknown(cases),",
        "Err(NotLifted) => {}",
    ),
    Mutant(
        "lifting: || jumps where && does",
        LIFT,
        "let jumps_if = op == Op::OrElse;",
        "let jumps_if = op == Op::OrElse && target == 0;",
    ),
    Mutant(
        "lifting: an equation of different kinds holds if the numbers are equal",
        LIFT,
        "if value.is(*kind) { Ok(Symbol::Truth(sum.clone(), vec![(number, number)])) } else { known(false) }",
        "Ok(Symbol::Truth(sum.clone(), vec![(number, number)]))",
        PROPERTY,
    ),
    Mutant(
        "lifting: a quotient is rounded the wrong way",
        LINEAR,
        "clamped(-((-low).div_euclid(factor)), high.div_euclid(factor))",
        "clamped(low.div_euclid(factor), high.div_euclid(factor))",
        PROPERTY,
    ),
    Mutant(
        "lifting: a negative factor does not turn an inequality round",
        LINEAR,
        "let (low, high) = if factor < 0 { (-high, -low) } else { (low, high) };\n    let factor",
        "let (low, high) = if factor < 0 { (low, high) } else { (low, high) };\n    let factor",
        PROPERTY,
    ),
    Mutant(
        "lines: a box reaches one too far",
        SPECIALISE,
        "limit.high.checked_add(1).map(|low| Interval { low, ..*bounds })",
        "Some(limit.high).map(|low| Interval { low, ..*bounds })",
    ),
    Mutant(
        "lines: a box ends one too early",
        SPECIALISE,
        "limit.low.checked_sub(1).map(|high| Interval { high, ..*bounds })",
        "limit.low.checked_sub(2).map(|high| Interval { high, ..*bounds })",
    ),
    Mutant(
        "lines: a hole of the box is one of its sides",
        SPECIALISE,
        "} else if limit.high >= bounds.high {",
        "} else if limit.high >= bounds.high || limit.high > 0 {",
    ),
    Mutant(
        "lines: an inequality is computed in 64 bits though it may overflow",
        LINEAR,
        "(fits && low <= high).then(||",
        "((fits || true) && low <= high).then(||",
        PROPERTY,
    ),
    Mutant(
        "lines: conditions that only the walk can decide are not looked at",
        LINES,
        "Some(true) if clause.more => return WALK,",
        "Some(true) if clause.more => {}",
    ),
    Mutant(
        "lines: a permit that only the walk can decide is dropped",
        LINES,
        "Some(true) if clause.more => answer = WALK,",
        "Some(true) if clause.more => {}",
    ),
    Mutant(
        "lines: outside of the permit's box everything is forbidden",
        SPECIALISE,
        "let outside = if plainly { Code::Default as u8 } else { NEXT_LINE };",
        "let outside = if plainly { Code::Default as u8 } else { Code::Forbid as u8 };",
    ),
    Mutant(
        "lines: the reason of an allow is the first permit, though others may apply",
        SPECIALISE,
        "if others.iter().all(|(other, _)| other == first) => *first,",
        "if others.iter().all(|(other, _)| other == first || true) => *first,",
    ),
    Mutant(
        "lines: a case that others make needless is dropped though it is not implied",
        LINEAR,
        "&& (other.low <= LEAST || self.low <= LEAST && self.high >= other.low - 1)",
        "&& (other.low <= LEAST || self.low <= LEAST)",
        LINEAR_TESTS,
    ),
    Mutant(
        "rows: an inequality of two columns is not looked at",
        ROWS,
        "*code = if within & forbidden { Code::Forbid as u8 } else { *code };",
        "*code = if within & forbidden & false { Code::Forbid as u8 } else { *code };",
        Rust(
            "engine/src/specialise/tests.rs", "rows_of_one_pair_of_classes_are_decided_by_inequalities_of_two_columns"
        ),
    ),
    Mutant(
        "rows: rows outside of the box are decided as those inside",
        ROWS,
        "*code = if within { inside } else { outside };",
        "*code = if within | true { inside } else { outside };",
    ),
    Mutant(
        "checks: an error is a false",
        LINES,
        "CheckResult::Error => return Some(false),",
        "CheckResult::Error => false,",
        PROPERTY,
    ),
    Mutant(
        "checks: the result that a check has does not matter",
        LINES,
        "if wanted.result.is_some_and(|wanted| wanted != found) {",
        "if wanted.result.is_some_and(|wanted| wanted != found && false) {",
    ),
    Mutant(
        "checks: a result is remembered as another check's",
        CHECKS,
        "if check < REMEMBERED { 1 << check } else { 0 }",
        "if check < REMEMBERED { 1 << (check / 2) } else { 0 }",
    ),
    Mutant(
        "checks: a check is its operation alone, without its operands",
        LIFT,
        "        next = from;\n",
        "",
        PROPERTY,
    ),
    Mutant(
        "checks: the opposite of a check is the check",
        LIFT,
        "Symbol::Check(check, result) => Symbol::Check(check, !result),",
        "Symbol::Check(check, result) => Symbol::Check(check, result),",
    ),
    Mutant(
        "checks: a case with a check counts as certain",
        LINEAR,
        "!self.more && self.checks.is_empty()",
        "!self.more",
    ),
    Mutant(
        "checks: an error for an entity is a false",
        CHECKS,
        "Err(Fault::Error) => ERROR,",
        "Err(Fault::Error) => FALSE,",
        PROPERTY,
    ),
    Mutant(
        "checks: what was found for an entity is kept over its change",
        CHECKS,
        "if let Some(of_entity) = &check.of_entity\n            && self.store.changes.is_none()\n        {",
        "if let Some(of_entity) = &check.of_entity {",
        Rust("engine/tests/calls.rs", "a_change_of_an_entity_in_the_context_is_seen"),
    ),
    Mutant(
        "checks: code that asks for the principal is taken for code about one argument",
        LIFT,
        "Op::Principal | Op::Resource | Op::SlotOrMissing => return None,",
        "Op::Resource | Op::SlotOrMissing => return None,",
        PROPERTY,
    ),
    Mutant(
        "predicates: <= is <",
        PREDICATE,
        "map(|(a, b)| a <= b)?",
        "map(|(a, b)| a < b)?",
        PROPERTY,
    ),
    Mutant(
        "predicates: one element of a set is as good as all",
        PREDICATE,
        "let all = matches!(self.question, Question::ContainsAll);",
        "let all = matches!(self.question, Question::ContainsAll) && false;",
        PROPERTY,
    ),
    Mutant(
        "predicates: an operand's second step is skipped",
        PREDICATE,
        "self.steps.iter().take(self.count)",
        "self.steps.iter().take(self.count.min(1))",
        PROPERTY,
    ),
    Mutant(
        "predicates: an absent attribute of an entity is missing, and no error",
        PREDICATE,
        "reader.attribute(value, name)?.ok_or(Fault::Error)?,",
        "reader.attribute(value, name)?.unwrap_or(Value::bool(false)),",
        PROPERTY,
    ),
    Mutant(
        "single conditions: a text that ends early begins so",
        SINGLE,
        "text.get(..*len).is_some_and(|own| equal(own, bytes.get(..*len).unwrap_or_default()))",
        "text.get(..text.len().min(*len)).is_some_and(|own| equal(own, bytes.get(..own.len()).unwrap_or_default()))",
        PROPERTY,
    ),
    Mutant(
        "single conditions: the middle of a beginning is not compared",
        SINGLE,
        "4..=8 => have_equal_ends::<4>",
        "4..=16 => have_equal_ends::<4>",
        Rust(SINGLE, "texts_of_one_length_are_equal_iff_all_bytes_are"),
    ),
    Mutant(
        "single conditions: a range wider than the network is in it",
        SINGLE,
        "== 0 && length <= prefix",
        "== 0",
        PROPERTY,
    ),
    Mutant(
        "single conditions: the last element of a set is not looked at",
        SINGLE,
        "let (start, len) = (set.start() as usize, set.len() as usize);",
        "let (start, len) = (set.start() as usize, set.len() as usize - 1);",
        PROPERTY,
    ),
    Mutant(
        "like: a beginning with a letter that is not ASCII is compared byte by byte",
        "vm/src/ops.rs",
        "if wanted > 0x7F {\n            return None;\n        }",
        "if wanted > 0x7F {\n            return Some(false);\n        }",
        Rust("vm/src/ops.rs", "beginnings_match_as_like_does"),
    ),
    Mutant(
        "single conditions: a set that must contain all of some elements contains one",
        SINGLE,
        "Some(if elements.all { payloads.all(has) } else { payloads.any(has) })",
        "Some(payloads.any(has))",
        PROPERTY,
    ),
    Mutant(
        "single conditions: a time of the day is less than itself",
        PREDICATE,
        "limit(&self.second)?.checked_sub(strict)?",
        "limit(&self.second)?",
        TIMES,
    ),
    Mutant(
        "single conditions: times before 1970 are negative",
        SINGLE,
        "number.rem_euclid(DAY_MS)",
        "number % DAY_MS",
        PROPERTY,
    ),
    Mutant(
        "lines: the second interval of a clause is not looked at",
        LINES,
        "limits.iter().all(|limit| limit.holds(values)) && linear",
        "linear",
        PROPERTY,
    ),
    Mutant(
        "a grid: a step belongs to the interval behind it",
        GRID,
        "(first < value) as usize",
        "(first <= value) as usize",
        GRID_ENDS,
    ),
    Mutant(
        "a grid: numbers are compared without their sign",
        GRID,
        "value.cast_unsigned() ^ 1 << 63",
        "value.cast_unsigned()",
    ),
    Mutant(
        "a grid: an interval's end is not compared",
        GRID,
        "beginnings.extend(interval.high.checked_add(1));",
        "beginnings.extend(interval.high.checked_add(1).filter(|_| place == 0));",
    ),
    Mutant(
        "a grid: outside of the box no forbid applies",
        GRID,
        "if !lies_in(bounds, [x, y]) || any(forbids) {",
        "if any(forbids) {",
    ),
    Mutant(
        "a grid: intervals are the same if their codes for the least other number are",
        GRID,
        "ys.iter().all(|&y| code(a, y) == code(b, y))",
        "ys.iter().take(1).all(|&y| code(a, y) == code(b, y))",
    ),
    Mutant(
        "a grid: policies with inequalities have one",
        GRID,
        "case.is_of_numbers() && case.linear.is_empty()",
        "case.is_of_numbers()",
        FEW,
    ),
    Mutant(
        "a grid: policies with checks have one",
        GRID,
        "case.is_of_numbers() && case.linear.is_empty()",
        "case.linear.is_empty()",
    ),
    Mutant(
        "a grid: the policy is that of the first cell",
        CELLS,
        "self.policies.get(at).copied()",
        "self.policies.iter().find(|one| **one != NO_POLICY).filter(|_| at < usize::MAX).copied()",
    ),
    Mutant(
        "tables of layers: where one layer leaves it to the walk, the others decide",
        CELLS,
        "all |= self.grid_code(part.cell(classes)?, values)? as u8;",
        "all |= self.grid_code(part.cell(classes)?, values).map_or(0, |code| code as u8);",
        PARTS,
    ),
    Mutant(
        "tables of layers: the last one decides",
        CELLS,
        "all |= self.grid_code(",
        "all = self.grid_code(",
        PARTS,
    ),
    Mutant(
        "tables of layers: reasons are asked for, and none is given",
        HOT,
        "Some(code) if !N::ALL || matches!(code, Code::Default | Code::NotApplicable) => code,",
        "Some(code) => code,",
    ),
    Mutant(
        "like: a beginning takes nothing from the budget",
        "vm/src/reader.rs",
        "self.spend(u32::try_from(elems.len()).map_err(|_| Fault::Exhausted)?)?;",
        "",
        Rust("vm/src/predicate.rs", "a_long_pattern_takes_its_length_from_the_budget"),
    ),
    Mutant(
        "calls: the newest bundle's numbers are not looked at",
        "engine/src/gate.rs",
        "if is_newest && self.call == Call::Begun && self.are_of_this_call(values) && !self.has_renumbered(values) {",
        "if is_newest && self.call == Call::Begun && !self.has_renumbered(values) {",
        Rust("engine/tests/calls.rs", "numbers_of_another_call_or_another_argument_are_corrupt"),
    ),
    Mutant(
        "checks: what is found out beforehand takes nothing from the budget",
        CHECKS,
        "*budget = budget.saturating_sub((given - vm.budget()) as usize);",
        "",
        Rust("engine/tests/calls.rs", "what_is_found_out_beforehand_takes_bounded_time"),
    ),
)
