//! Predicates: conditions that compare two operands, which are read without a stack.
//!
//! Most conditions that a program asks at decision time are of this form. The interpreter gives the same results.

use crate::instr::{ExtOp, Instr, Op};
use crate::ops::Fault;
use crate::reader::{Reader, as_bool, as_entity, as_set, comparable};
use crate::store::{Request, StoreView};
use crate::value::{Tag, Value};
use alloc::vec::Vec;

/// The most steps of an operand.
const MAX_STEPS: usize = 3;

/// Where an operand begins.
#[derive(Debug, Clone, Copy)]
enum Source {
    Constant(Value),
    /// The number at a place among the request's, of this kind.
    Number(u16, Tag),
    /// The set, record or address of the request whose number is at a place.
    Composite(u16),
    Principal,
    Resource,
}

/// What is read of an operand.
#[derive(Debug, Clone, Copy)]
enum Step {
    Attribute(u32),
    Method(ExtOp),
    MethodWith(ExtOp, Value),
}

#[derive(Debug, Clone)]
struct Operand {
    source: Source,
    /// The first `count` are taken. They lie here, so that a predicate is one piece of memory.
    steps: [Step; MAX_STEPS],
    count: usize,
}

/// What is asked of the operands.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// Whether the first operand is true.
    True,
    Equal,
    Less,
    LessOrEqual,
    In,
    Contains,
    ContainsAll,
    ContainsAny,
    Empty,
    Like(u32),
    Is(u32),
    Has(u32),
    Method(ExtOp),
}

/// A condition that compares two operands.
#[derive(Debug, Clone)]
pub struct Predicate {
    question: Question,
    first: Operand,
    second: Operand,
}

impl Predicate {
    /// Read a program without jumps as a predicate; `None` if it is none. `slot` returns the place of a context slot
    /// among the request's numbers, and its kind, as [`Request`] has them.
    #[must_use]
    pub fn of(code: &[Instr], values: &[Value], slot: impl Fn(u32) -> Option<(u16, Tag)>) -> Option<Self> {
        let mut stack: Vec<(Source, Vec<Step>)> = Vec::new();
        let mut asked: Option<(Question, Operand, Operand)> = None;
        for instr in code {
            if asked.is_some() {
                return None;
            }
            match Op::from_u8(instr.op)? {
                Op::Const => stack.push((Source::Constant(*values.get(instr.imm as usize)?), Vec::new())),
                Op::Principal => stack.push((Source::Principal, Vec::new())),
                Op::Resource => stack.push((Source::Resource, Vec::new())),
                Op::Slot => {
                    let source = match slot(instr.imm)? {
                        (_, Tag::Missing | Tag::Bool) => return None,
                        (place, Tag::Set | Tag::Record | Tag::Ip4 | Tag::Ip6) => Source::Composite(place),
                        (place, kind) => Source::Number(place, kind),
                    };
                    stack.push((source, Vec::new()));
                }
                // Without the slot, the program fails.
                Op::NeedSlot => _ = slot(instr.imm)?,
                Op::GetAttr => stack.last_mut()?.1.push(Step::Attribute(instr.imm)),
                Op::Ext => {
                    let method = ExtOp::from_u32(instr.imm)?;
                    let is_question = !returns_value(method);
                    if is_question {
                        asked = Some(taken(&mut stack, Question::Method(method), method.operands())?);
                    } else if method.operands() == 1 {
                        stack.last_mut()?.1.push(Step::Method(method));
                    } else {
                        let Some((Source::Constant(value), steps)) = stack.pop() else { return None };
                        if !steps.is_empty() {
                            return None;
                        }
                        stack.last_mut()?.1.push(Step::MethodWith(method, value));
                    }
                }
                Op::Eq => asked = Some(taken(&mut stack, Question::Equal, 2)?),
                Op::Less => asked = Some(taken(&mut stack, Question::Less, 2)?),
                Op::LessEq => asked = Some(taken(&mut stack, Question::LessOrEqual, 2)?),
                Op::In => asked = Some(taken(&mut stack, Question::In, 2)?),
                Op::Contains => asked = Some(taken(&mut stack, Question::Contains, 2)?),
                Op::ContainsAll => asked = Some(taken(&mut stack, Question::ContainsAll, 2)?),
                Op::ContainsAny => asked = Some(taken(&mut stack, Question::ContainsAny, 2)?),
                Op::IsEmpty => asked = Some(taken(&mut stack, Question::Empty, 1)?),
                Op::Like => asked = Some(taken(&mut stack, Question::Like(instr.imm), 1)?),
                Op::Is => asked = Some(taken(&mut stack, Question::Is(instr.imm), 1)?),
                Op::HasAttr => asked = Some(taken(&mut stack, Question::Has(instr.imm), 1)?),
                _ => return None,
            }
        }
        let (question, first, second) = match asked {
            Some(asked) => asked,
            None => taken(&mut stack, Question::True, 1)?,
        };
        stack.is_empty().then_some(Self { question, first, second })
    }

    /// Return the place of a set of the request, and the constant of which this asks whether the set contains it.
    pub(crate) fn composite_contains(&self) -> Option<(u16, Value)> {
        match (self.question, self.first.composite(), self.second.constant()) {
            (Question::Contains, Some(place), Some(element)) => Some((place, element)),
            _ => None,
        }
    }

    /// Return the place of a set of the request of which this asks whether it contains the principal.
    pub(crate) fn composite_contains_principal(&self) -> Option<u16> {
        let is_principal = matches!(self.second.source, Source::Principal) && self.second.count == 0;
        self.first.composite().filter(|_| is_principal && matches!(self.question, Question::Contains))
    }

    /// Return the place of a text of the request, and the pattern of which this asks whether the text matches it.
    pub(crate) fn text_is_like(&self) -> Option<(u16, u32)> {
        match (self.question, self.first.source) {
            (Question::Like(pattern), Source::Number(place, Tag::String)) if self.first.count == 0 => {
                Some((place, pattern))
            }
            _ => None,
        }
    }

    /// Return the place of a set of the request, and the set of constants of which this asks whether the first contains
    /// all (`true`) or any.
    pub(crate) fn composite_contains_each(&self) -> Option<(u16, Value, bool)> {
        let all = match self.question {
            Question::ContainsAll => true,
            Question::ContainsAny => false,
            _ => return None,
        };
        Some((self.first.composite()?, self.second.constant()?, all))
    }

    /// Return the place of an address of the request, the method that this calls, and what is passed to it, if that is
    /// a constant.
    pub(crate) fn address_method(&self) -> Option<(u16, ExtOp, Value)> {
        let Question::Method(method) = self.question else { return None };
        let with = if method.operands() == 1 { Value::MISSING } else { self.second.constant()? };
        Some((self.first.composite()?, method, with))
    }

    /// Return the place of a datetime of the request, and the least and the greatest time of the day for which this
    /// holds, if it compares the time of the day with a constant.
    pub(crate) fn time_of_day(&self) -> Option<(u16, i64, i64)> {
        let strict = match self.question {
            Question::Less => 1,
            Question::LessOrEqual => 0,
            _ => return None,
        };
        let limit = |operand: &Operand| operand.constant().filter(|value| value.is(Tag::Duration)).map(Value::as_i64);
        if let Some(place) = self.first.time_of_day() {
            return Some((place, i64::MIN, limit(&self.second)?.checked_sub(strict)?));
        }
        Some((self.second.time_of_day()?, limit(&self.first)?.checked_add(strict)?, i64::MAX))
    }

    /// Return whether the predicate holds. Each step of comparing, searching and matching takes one from `budget`.
    ///
    /// # Errors
    /// As [`crate::Vm::run`].
    #[inline]
    pub fn holds(&self, store: &StoreView<'_>, request: &Request<'_>, budget: &mut u32) -> Result<bool, Fault> {
        let mut reader = Reader { store, request, built: &[], budget };
        let first = self.first.value(&reader)?;
        let second = || self.second.value(&reader);
        Ok(match self.question {
            Question::True => as_bool(first)?,
            Question::Equal => {
                let second = second()?;
                reader.equal(first, second)?
            }
            Question::Less => comparable(first, second()?).map(|(a, b)| a < b)?,
            Question::LessOrEqual => comparable(first, second()?).map(|(a, b)| a <= b)?,
            Question::In => {
                let second = second()?;
                reader.is_in(first, second)?
            }
            Question::Contains => {
                let second = second()?;
                reader.contains(as_set(first)?, second)?
            }
            Question::ContainsAll | Question::ContainsAny => {
                let (set, wanted) = (as_set(first), second()?);
                let all = matches!(self.question, Question::ContainsAll);
                reader.contains_each(set?, as_set(wanted)?, all)?
            }
            Question::Empty => as_set(first)?.is_empty(),
            Question::Like(pattern) => reader.like(first, pattern)?,
            Question::Is(ty) => reader.facts(as_entity(first)?)?.ty == ty,
            Question::Has(name) => reader.attribute(first, name)?.is_some(),
            Question::Method(method) => {
                let second = if method.operands() == 1 { Value::MISSING } else { second()? };
                as_bool(reader.extension(method, first, second)?)?
            }
        })
    }
}

/// Return whether a method's value is no boolean.
const fn returns_value(method: ExtOp) -> bool {
    matches!(
        method,
        ExtOp::Offset
            | ExtOp::DurationSince
            | ExtOp::ToDate
            | ExtOp::ToTime
            | ExtOp::ToMilliseconds
            | ExtOp::ToSeconds
            | ExtOp::ToMinutes
            | ExtOp::ToHours
            | ExtOp::ToDays
    )
}

/// Take the operands of a question, which must be all of the stack.
fn taken(
    stack: &mut Vec<(Source, Vec<Step>)>,
    question: Question,
    count: usize,
) -> Option<(Question, Operand, Operand)> {
    if stack.len() != count {
        return None;
    }
    let mut operand = || {
        let (source, taken) = stack.pop()?;
        let mut steps = [Step::Attribute(0); MAX_STEPS];
        steps.get_mut(..taken.len())?.copy_from_slice(&taken);
        Some(Operand { source, steps, count: taken.len() })
    };
    let none = Operand { source: Source::Constant(Value::MISSING), steps: [Step::Attribute(0); MAX_STEPS], count: 0 };
    let second = if count == 2 { operand()? } else { none };
    Some((question, operand()?, second))
}

impl Operand {
    fn constant(&self) -> Option<Value> {
        match self.source {
            Source::Constant(value) if self.count == 0 => Some(value),
            _ => None,
        }
    }

    fn composite(&self) -> Option<u16> {
        match self.source {
            Source::Composite(place) if self.count == 0 => Some(place),
            _ => None,
        }
    }

    /// Return the place of a datetime, if this is its time of the day.
    fn time_of_day(&self) -> Option<u16> {
        match (self.source, self.steps.get(..self.count)?) {
            (Source::Number(place, Tag::Datetime), [Step::Method(ExtOp::ToTime)]) => Some(place),
            _ => None,
        }
    }

    #[inline]
    fn value(&self, reader: &Reader<'_>) -> Result<Value, Fault> {
        let number = |place: u16| reader.request.numbers.get(usize::from(place)).ok_or(Fault::Error);
        let mut value = match self.source {
            Source::Constant(value) => value,
            Source::Number(place, kind) => Value::number(kind, *number(place)?),
            #[allow(clippy::cast_possible_truncation)] // the low bits are the place
            Source::Composite(place) => {
                let at = number(place)?.cast_unsigned() as u32;
                *reader.request.arena.get(at as usize).ok_or(Fault::Error)?
            }
            Source::Principal => Value::entity(reader.request.principal),
            Source::Resource => Value::entity(reader.request.resource),
        };
        for step in self.steps.iter().take(self.count) {
            value = match *step {
                Step::Attribute(name) => reader.attribute(value, name)?.ok_or(Fault::Error)?,
                Step::Method(method) => reader.extension(method, value, Value::MISSING)?,
                Step::MethodWith(method, with) => reader.extension(method, value, with)?,
            };
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PatternRec, StringsView, WILDCARD};
    use crate::value::EntityRef;

    #[test]
    fn a_long_pattern_takes_its_length_from_the_budget() {
        let elements = [u32::from('a'), u32::from('b'), WILDCARD];
        let patterns = [PatternRec { start: 0, len: 3 }];
        let strings = StringsView { offsets: &[0, 3], bytes: b"abc" };
        let store = StoreView { strings, patterns: &patterns, pattern_elems: &elements, ..StoreView::default() };
        let entity = EntityRef::known(0);
        let request =
            Request { numbers: &[0], positions: &[0], kinds: &[Tag::String as u32], ..Request::bare(entity, entity) };
        let code = [Instr::new(Op::Slot, 0), Instr::new(Op::Like, 0)];
        let predicate = Predicate::of(&code, &[], |_| Some((0, Tag::String))).unwrap();
        for (mut budget, expected) in [(3, Ok(true)), (2, Err(Fault::Exhausted))] {
            assert_eq!(predicate.holds(&store, &request, &mut budget), expected);
        }
    }
}
