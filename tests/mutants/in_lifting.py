"""Mutants of a gate's own table: what is lifted, and how it is merged and read."""

from mutant import Mutant, Rust

LIFT = "engine/src/lift.rs"
LINEAR = "engine/src/linear.rs"
LINES = "engine/src/lines.rs"
SPECIALISE = "engine/src/specialise.rs"
ROWS = "engine/src/rows.rs"
PROPERTY = Rust("engine/src/specialise/tests.rs", "what_is_lifted_decides_as_the_interpreter_does")

MUTANTS = (
    Mutant(
        "lifting: a range of an absent attribute holds",
        LIFT,
        "let Some(place) = self.place(test.slot) else { return Vec::new() };",
        "let Some(place) = self.place(test.slot) else { continue };",
    ),
    Mutant(
        "lifting: an absent attribute is 0, and no error",
        LIFT,
        "                None => return Ok(Step::End),\n            },\n            Op::HasSlot",
        "                None => run.stack.push(Symbol::Known(Value::number(Tag::Long, 0))),\n            },\n            Op::HasSlot",
    ),
    Mutant(
        "lifting: an absent boolean is false, and no error",
        LIFT,
        "                None => return Ok(Step::End),\n            },\n            Op::HasSlot",
        "                None => run.stack.push(Symbol::Known(Value::bool(false))),\n            },\n            Op::HasSlot",
    ),
    Mutant(
        "lifting: `has` of an absent attribute holds",
        LIFT,
        "Value::bool(self.place(instr.imm).is_some())",
        "Value::bool(self.place(instr.imm).is_some() || true)",
    ),
    Mutant(
        "lifting: a sum that overflows is no error",
        LIFT,
        "if !run.case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {",
        "if sum.value().is_some() && !run.case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {",
        PROPERTY,
    ),
    Mutant(
        "lifting: < is <=",
        LIFT,
        "LEAST, -i128::from(strict)",
        "LEAST, -i128::from(strict && false)",
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
        "if value.is(kind) { Ok(Symbol::Truth(sum, vec![(number, number)])) } else { known(false) }",
        "Ok(Symbol::Truth(sum, vec![(number, number)]))",
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
        "bounds.low = limit.high.checked_add(1)?;",
        "bounds.low = limit.high;",
    ),
    Mutant(
        "lines: a box ends one too early",
        SPECIALISE,
        "bounds.high = limit.low.checked_sub(1)?;",
        "bounds.high = limit.low.checked_sub(2)?;",
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
        "return if clause.more { WALK } else { Code::Forbid as u8 };",
        "if !clause.more {\n                    return Code::Forbid as u8;\n                }",
    ),
    Mutant(
        "lines: a permit that only the walk can decide is dropped",
        LINES,
        "                answer = WALK;\n",
        "",
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
        PROPERTY,
    ),
    Mutant(
        "rows: an inequality of two columns is not looked at",
        ROWS,
        "*code = if within & forbidden { Code::Forbid as u8 } else { *code };",
        "*code = if within & forbidden & false { Code::Forbid as u8 } else { *code };",
    ),
    Mutant(
        "rows: rows outside of the box are decided as those inside",
        ROWS,
        "*code = if within { inside } else { outside };",
        "*code = if within | true { inside } else { outside };",
    ),
)
