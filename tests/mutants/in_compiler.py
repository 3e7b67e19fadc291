"""Mutants of the front end, the compiler, the interpreter, the bundle and explanations."""

from mutant import Mutant, Python, Rust

MUTANTS = (
    Mutant(
        "two-valued ||: an error on its left is a false",
        "vm/src/interpreter.rs",
        "Err(fault) => at = self.caught(fault, code, at)?,",
        """Err(fault) => {
                    let rest = code.get(at..).unwrap_or_default();
                    let or_else = rest.iter().position(|instr| instr.op == Op::OrElse as u8);
                    match or_else.filter(|_| fault == Fault::Error) {
                        Some(ahead) => at += ahead + 1,
                        None => at = self.caught(fault, code, at)?,
                    }
                }""",
    ),
    Mutant(
        "a dropped presence test: `has` of an attribute of the context holds always",
        "vm/src/interpreter.rs",
        "Value::bool(self.request.number(imm).is_some())",
        "Value::bool(self.request.number(imm).is_some() || imm < u32::MAX)",
    ),
    Mutant(
        "an absent attribute of the context is read as 0",
        "vm/src/interpreter.rs",
        "self.push(self.request.slot(imm).ok_or(Fault::Error)?)?",
        "self.push(self.request.slot(imm).unwrap_or(Value::number(Tag::Long, 0)))?",
    ),
    Mutant(
        "an absent attribute of the context is read as false",
        "vm/src/interpreter.rs",
        "self.push(self.request.slot(imm).ok_or(Fault::Error)?)?",
        "self.push(self.request.slot(imm).unwrap_or(Value::bool(false)))?",
    ),
    Mutant(
        "overflow: a sum wraps",
        "vm/src/interpreter.rs",
        "self.arithmetic(i64::checked_add)",
        "self.arithmetic(|a, b| Some(a.wrapping_add(b)))",
    ),
    Mutant(
        "overflow: a difference wraps",
        "vm/src/interpreter.rs",
        "self.arithmetic(i64::checked_sub)",
        "self.arithmetic(|a, b| Some(a.wrapping_sub(b)))",
    ),
    Mutant(
        "overflow: a product wraps",
        "vm/src/interpreter.rs",
        "self.arithmetic(i64::checked_mul)",
        "self.arithmetic(|a, b| Some(a.wrapping_mul(b)))",
    ),
    Mutant(
        "overflow: the negative of the least number is that number",
        "vm/src/interpreter.rs",
        ".checked_neg().ok_or(Fault::Error)?",
        ".wrapping_neg()",
    ),
    Mutant(
        "overflow: an offset from a moment wraps",
        "vm/src/ops.rs",
        "datetime()?.checked_add(number(b, Tag::Duration)?).ok_or(Fault::Error)?",
        "datetime()?.wrapping_add(number(b, Tag::Duration)?)",
    ),
    Mutant(
        "overflow: the time between two moments wraps",
        "vm/src/ops.rs",
        "datetime()?.checked_sub(number(b, Tag::Datetime)?).ok_or(Fault::Error)?",
        "datetime()?.wrapping_sub(number(b, Tag::Datetime)?)",
    ),
    Mutant(
        "dropped action ancestors: an action is in no group",
        "compile/src/plan.rs",
        "*uid == action.uid || action.ancestors.contains(uid)",
        "*uid == action.uid",
    ),
    Mutant(
        "unordered errors: the operands of && and || in another order",
        "cedar/src/lower.rs",
        "Some(right) => join(Arc::new(left), Arc::new(right)),",
        "Some(right) => join(Arc::new(right), Arc::new(left)),",
    ),
    Mutant(
        "off by one at a range's edge: < is <=",
        "compile/src/ranges.rs",
        "most.checked_sub(i64::from(strict))",
        "most.checked_sub(i64::from(strict && most < 0))",
    ),
    Mutant(
        "off by one at a range's edge: the least number is outside",
        "bundle/src/records.rs",
        "number.wrapping_sub(self.low).cast_unsigned() <= self.width",
        "number.wrapping_sub(self.low).cast_unsigned().wrapping_sub(1) < self.width",
    ),
    Mutant(
        "off by one at a range's edge: the greatest number is outside",
        "bundle/src/records.rs",
        "number.wrapping_sub(self.low).cast_unsigned() <= self.width",
        "number.wrapping_sub(self.low).cast_unsigned() < self.width",
    ),
    Mutant(
        "off by one at a range's edge: the outside begins at the greatest number inside",
        "bundle/src/records.rs",
        "(self.high.wrapping_add(1), self.low.wrapping_sub(1))",
        "(self.high, self.low.wrapping_sub(1))",
    ),
    Mutant(
        "off by one at a range's edge: the outside ends at the least number inside",
        "bundle/src/records.rs",
        "(self.high.wrapping_add(1), self.low.wrapping_sub(1))",
        "(self.high.wrapping_add(1), self.low)",
    ),
    Mutant(
        "explanations do without tags",
        "explain/src/store.rs",
        "tags: fields(facts.tags)?",
        "tags: fields(facts.tags).map(|_| Vec::new())?",
    ),
    Mutant(
        "a uid's text ends where Cedar's parser of policies says",
        "cedar/src/values.rs",
        """whole &= char != '"' && (char != '\\\\' || rest.next().is_some());""",
        """whole &= char != '\\\\' || rest.next().is_some();""",
        Rust("cedar/src/tests/values.rs", "a_uid_is_the_whole_text"),
    ),
    Mutant(
        "a bundle's file is mapped, and what is written into it decides",
        "bundle/src/memory.rs",
        "if length > 0 && is_sealed(&file, &before) {",
        "if length > 0 && (is_sealed(&file, &before) || before.is_file()) {",
        Python("tests/faults/test_changed_files.py::test_decisions_go_by_the_bundle_that_was_opened"),
    ),
)
