//! Lifts the conditions of a policy: finds the cases in which their code holds, as intervals of a gate's arguments and
//! linear inequalities.
//!
//! Code runs here with an argument in place of each context slot that the gate passes; slots that it does not pass are
//! absent. Where the code branches on a condition, the run splits, and each branch goes on with the condition or its
//! opposite. The runs that end with `true` are the cases. An error ends a run, as it ends an evaluation: the condition
//! does not hold. So each case is exact also under `!`, and an overflow is an error like any other.
//!
//! What this cannot express, like sets of the request or attributes of entities, is left to the interpreter.

use crate::linear::{Case, LEAST, MOST, Sum};
use ztfast_bundle::{Bundle, ResidualView};
use ztfast_vm::{Arena, ExtOp, Instr, Op, Tag, Value};

/// The most cases that one policy may have. Policies with more are left to the interpreter.
const MAX_CASES: usize = 48;
/// The most elements of a set of constants.
const MAX_ELEMENTS: usize = 12;

/// The conditions cannot be expressed, or there are too many cases.
#[derive(Debug)]
struct NotLifted;

/// Lifts conditions for one gate.
pub(crate) struct Lifter<'a> {
    code: &'a [Instr],
    values: &'a [Value],
    kinds: &'a [u32],
    positions: &'a [u16],
    arguments: usize,
    /// The instructions that it may still run.
    steps: u32,
}

/// A value on the stack.
#[derive(Debug, Clone)]
enum Symbol {
    /// A constant of the bundle, or a boolean.
    Known(Value),
    /// A number of this kind that depends on arguments.
    Number(Tag, Sum),
    /// A boolean: whether the sum lies in one of these ranges, which are in order.
    Truth(Sum, Vec<(i128, i128)>),
}

/// A run of code.
#[derive(Clone)]
struct Run {
    at: usize,
    stack: Vec<Symbol>,
    case: Case,
}

/// How a step ends.
enum Step {
    Next,
    Jump(usize),
    /// The run ends: an error, or a value that is not `true`.
    End,
    /// The run goes on as these.
    Split(Vec<Run>),
}

impl<'a> Lifter<'a> {
    /// Lift for a gate that passes this many arguments, by at most so many steps.
    pub fn new(bundle: &'a Bundle, kinds: &'a [u32], positions: &'a [u16], arguments: usize, steps: u32) -> Self {
        Self { code: bundle.code(), values: bundle.store().values, kinds, positions, arguments, steps }
    }

    /// Find the cases in which a policy applies. They are disjoint.
    pub fn cases(&mut self, residual: &ResidualView<'_>) -> Vec<Case> {
        let mut cases = vec![Case::new(self.arguments)];
        for test in residual.ranges() {
            let Some(place) = self.place(test.slot) else { return Vec::new() };
            let high = test.low.wrapping_add(test.width.cast_signed());
            let ranges = if high >= test.low {
                vec![(i128::from(test.low), i128::from(high))]
            } else {
                vec![(LEAST, i128::from(high)), (i128::from(test.low), MOST)]
            };
            cases = cases.iter().flat_map(|case| split(case, &Sum::argument(place), &ranges)).collect();
            if cases.len() > MAX_CASES {
                return unknown(vec![Case::new(self.arguments)]);
            }
        }
        let Some(conjuncts) = residual.conjuncts() else { return unknown(cases) };
        for (start, len) in conjuncts {
            let start = start as usize;
            let lifted = match self.code.get(start..start.saturating_add(len as usize)) {
                Some(code) => self.holds(code, &cases),
                None => Err(NotLifted),
            };
            match lifted {
                Ok(found) => cases = found,
                Err(NotLifted) => cases = unknown(cases),
            }
        }
        cases
    }

    /// Return the place of the argument in a context slot; `None` if the gate does not pass it.
    fn place(&self, slot: u32) -> Option<u16> {
        let place = *self.positions.get(slot as usize)?;
        (usize::from(place) < self.arguments).then_some(place)
    }

    /// Return the cases among these in which code holds.
    fn holds(&mut self, code: &[Instr], cases: &[Case]) -> Result<Vec<Case>, NotLifted> {
        let begin = |case: &Case| Run { at: 0, stack: Vec::new(), case: case.clone() };
        let mut runs: Vec<Run> = cases.iter().rev().map(begin).collect();
        let mut found = Vec::new();
        while let Some(mut run) = runs.pop() {
            loop {
                let Some(instr) = code.get(run.at) else {
                    match run.stack.pop().ok_or(NotLifted)? {
                        Symbol::Known(value) if value.is(Tag::Bool) && value.payload != 0 => found.push(run.case),
                        Symbol::Truth(sum, ranges) => found.extend(split(&run.case, &sum, &ranges)),
                        Symbol::Known(_) | Symbol::Number(..) => {}
                    }
                    break;
                };
                self.steps = self.steps.checked_sub(1).ok_or(NotLifted)?;
                run.at += 1;
                match self.step(*instr, &mut run)? {
                    Step::Next => {}
                    Step::Jump(target) if target < run.at => return Err(NotLifted),
                    Step::Jump(target) => run.at = target,
                    Step::End => break,
                    Step::Split(others) => {
                        runs.extend(others);
                        break;
                    }
                }
            }
            if found.len() + runs.len() > MAX_CASES {
                return Err(NotLifted);
            }
        }
        Ok(found)
    }

    /// Run one instruction, as the interpreter does.
    fn step(&self, instr: Instr, run: &mut Run) -> Result<Step, NotLifted> {
        let op = Op::from_u8(instr.op).ok_or(NotLifted)?;
        let target = instr.imm as usize;
        match op {
            Op::Const => {
                run.stack.push(Symbol::Known(*self.values.get(instr.imm as usize).ok_or(NotLifted)?));
            }
            Op::Slot => match self.slot(instr.imm)? {
                Some(symbol) => run.stack.push(symbol),
                None => return Ok(Step::End),
            },
            Op::HasSlot => run.stack.push(Symbol::Known(Value::bool(self.place(instr.imm).is_some()))),
            Op::NeedSlot if self.place(instr.imm).is_none() => return Ok(Step::End),
            Op::NeedSlot => {}
            Op::Eq => {
                let (a, b) = pop_two(run)?;
                run.stack.push(equal(a, b)?);
            }
            Op::Less | Op::LessEq => {
                let (a, b) = pop_two(run)?;
                return compare(run, &a, &b, op == Op::Less, &[Tag::Long, Tag::Datetime, Tag::Duration]);
            }
            Op::Add | Op::Sub | Op::Mul => return arithmetic(op, run),
            Op::Neg => {
                let a = pop(run)?;
                let Some(sum) = number(&a, Tag::Long) else { return Ok(Step::End) };
                return within(run, Tag::Long, sum.times(-1));
            }
            Op::Not => match pop(run)? {
                Symbol::Known(value) if value.is(Tag::Bool) => {
                    run.stack.push(Symbol::Known(Value::bool(value.payload == 0)));
                }
                Symbol::Truth(sum, ranges) => run.stack.push(Symbol::Truth(sum, others(&ranges))),
                Symbol::Known(_) | Symbol::Number(..) => return Ok(Step::End),
            },
            Op::Contains => {
                let (set, element) = pop_two(run)?;
                run.stack.push(self.contains(&set, element)?);
            }
            Op::Jump => return Ok(Step::Jump(target)),
            Op::AndThen | Op::OrElse | Op::Branch => return branch(op, target, run),
            Op::NeedBool => {
                if !is_bool(run.stack.last().ok_or(NotLifted)?) {
                    return Ok(Step::End);
                }
            }
            Op::Ext => return extension(instr.imm, run),
            Op::Error => return Ok(Step::End),
            Op::Principal
            | Op::Resource
            | Op::SlotOrMissing
            | Op::GetAttr
            | Op::HasAttr
            | Op::GetTag
            | Op::HasTag
            | Op::In
            | Op::ContainsAll
            | Op::ContainsAny
            | Op::IsEmpty
            | Op::Like
            | Op::Is
            | Op::MakeSet
            | Op::MakeRecord
            | Op::Missing => return Err(NotLifted),
        }
        Ok(Step::Next)
    }

    /// Return the value in a context slot; `None` if it is absent.
    fn slot(&self, slot: u32) -> Result<Option<Symbol>, NotLifted> {
        let Some(place) = self.place(slot) else { return Ok(None) };
        let kind = *self.kinds.get(slot as usize).ok_or(NotLifted)?;
        match Tag::from_u32(kind).ok_or(NotLifted)? {
            // Any number but 0 is true.
            Tag::Bool => Ok(Some(Symbol::Truth(Sum::argument(place), vec![(LEAST, -1), (1, MOST)]))),
            kind @ (Tag::Long | Tag::String | Tag::Entity | Tag::Decimal | Tag::Datetime | Tag::Duration) => {
                Ok(Some(Symbol::Number(kind, Sum::argument(place))))
            }
            Tag::Missing | Tag::Ip4 | Tag::Ip6 | Tag::Set | Tag::Record => Err(NotLifted),
        }
    }

    /// Return whether a set of constants contains a value.
    fn contains(&self, set: &Symbol, element: Symbol) -> Result<Symbol, NotLifted> {
        let (Symbol::Known(set), Symbol::Number(kind, sum)) = (set, element) else { return Err(NotLifted) };
        if !set.is(Tag::Set) || set.arena() != Arena::Bundle || !set.is_sorted() || set.len() as usize > MAX_ELEMENTS {
            return Err(NotLifted);
        }
        let start = set.start() as usize;
        let elements = self.values.get(start..start + set.len() as usize).ok_or(NotLifted)?;
        let mut numbers: Vec<i128> =
            elements.iter().filter(|element| element.is(kind)).map(|element| i128::from(element.as_i64())).collect();
        numbers.sort_unstable();
        Ok(Symbol::Truth(sum, numbers.into_iter().map(|number| (number, number)).collect()))
    }
}

/// Return these cases as some that only the interpreter can decide.
fn unknown(mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        case.more = true;
    }
    cases
}

/// Split a case by the ranges in which a sum may lie.
fn split(case: &Case, sum: &Sum, ranges: &[(i128, i128)]) -> Vec<Case> {
    let in_range = |&(low, high): &(i128, i128)| {
        let mut case = case.clone();
        case.demand(sum, low, high).then_some(case)
    };
    ranges.iter().filter_map(in_range).collect()
}

/// Return the ranges between and beside these.
fn others(ranges: &[(i128, i128)]) -> Vec<(i128, i128)> {
    let mut found = Vec::with_capacity(ranges.len() + 1);
    let mut next = LEAST;
    for &(low, high) in ranges {
        if next < low {
            found.push((next, low - 1));
        }
        next = high + 1;
    }
    if next <= MOST {
        found.push((next, MOST));
    }
    found
}

fn pop(run: &mut Run) -> Result<Symbol, NotLifted> {
    run.stack.pop().ok_or(NotLifted)
}

fn pop_two(run: &mut Run) -> Result<(Symbol, Symbol), NotLifted> {
    let b = pop(run)?;
    Ok((pop(run)?, b))
}

fn is_bool(symbol: &Symbol) -> bool {
    match symbol {
        Symbol::Known(value) => value.is(Tag::Bool),
        Symbol::Truth(..) => true,
        Symbol::Number(..) => false,
    }
}

/// Return a number of this kind as a sum; `None` for any other value.
fn number(symbol: &Symbol, kind: Tag) -> Option<Sum> {
    match symbol {
        Symbol::Known(value) if value.is(kind) => Some(Sum::constant(value.as_i64())),
        Symbol::Number(tag, sum) if *tag == kind => Some(sum.clone()),
        _ => None,
    }
}

fn arithmetic(op: Op, run: &mut Run) -> Result<Step, NotLifted> {
    let (a, b) = pop_two(run)?;
    let (Some(a), Some(b)) = (number(&a, Tag::Long), number(&b, Tag::Long)) else { return Ok(Step::End) };
    let sum = match op {
        Op::Add => a.plus(1, &b),
        Op::Sub => a.plus(-1, &b),
        _ => match (a.value(), b.value()) {
            (Some(a), _) => b.times(a),
            (None, Some(b)) => a.times(b),
            (None, None) => None,
        },
    };
    within(run, Tag::Long, sum)
}

/// Push a number that is an error if it exceeds 64 bits.
fn within(run: &mut Run, kind: Tag, sum: Option<Sum>) -> Result<Step, NotLifted> {
    let sum = sum.ok_or(NotLifted)?;
    if !run.case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {
        return Ok(Step::End);
    }
    run.stack.push(match sum.value() {
        Some(value) => Symbol::Known(Value::number(kind, i64::try_from(value).map_err(|_| NotLifted)?)),
        None => Symbol::Number(kind, sum),
    });
    Ok(Step::Next)
}

/// Push whether a difference of two sums lies between two bounds.
fn push_difference(run: &mut Run, a: &Sum, b: &Sum, low: i128, high: i128) -> Result<Step, NotLifted> {
    let difference = a.plus(-1, b).ok_or(NotLifted)?;
    run.stack.push(match difference.value() {
        Some(value) => Symbol::Known(Value::bool(low <= value && value <= high)),
        None => Symbol::Truth(difference, vec![(low, high)]),
    });
    Ok(Step::Next)
}

/// Compare `a < b`, or `a <= b`, of one of these kinds.
fn compare(run: &mut Run, a: &Symbol, b: &Symbol, strict: bool, kinds: &[Tag]) -> Result<Step, NotLifted> {
    for &kind in kinds {
        if let (Some(a), Some(b)) = (number(a, kind), number(b, kind)) {
            return push_difference(run, &a, &b, LEAST, -i128::from(strict));
        }
    }
    Ok(Step::End)
}

fn equal(a: Symbol, b: Symbol) -> Result<Symbol, NotLifted> {
    let known = |equal| Ok(Symbol::Known(Value::bool(equal)));
    match (a, b) {
        (Symbol::Known(a), Symbol::Known(b)) if a.is_scalar() && b.is_scalar() => known(a.key() == b.key()),
        (Symbol::Number(kind, sum), Symbol::Known(value)) | (Symbol::Known(value), Symbol::Number(kind, sum)) => {
            let number = i128::from(value.as_i64());
            if value.is(kind) { Ok(Symbol::Truth(sum, vec![(number, number)])) } else { known(false) }
        }
        (Symbol::Number(kind, a), Symbol::Number(other, b)) if kind == other => {
            let difference = a.plus(-1, &b).ok_or(NotLifted)?;
            Ok(match difference.value() {
                Some(value) => Symbol::Known(Value::bool(value == 0)),
                None => Symbol::Truth(difference, vec![(0, 0)]),
            })
        }
        (Symbol::Truth(sum, ranges), Symbol::Known(value)) | (Symbol::Known(value), Symbol::Truth(sum, ranges)) => {
            if !value.is(Tag::Bool) {
                return known(false);
            }
            Ok(Symbol::Truth(sum, if value.payload == 0 { others(&ranges) } else { ranges }))
        }
        (Symbol::Number(..), Symbol::Number(..) | Symbol::Truth(..)) | (Symbol::Truth(..), Symbol::Number(..)) => {
            known(false)
        }
        (Symbol::Known(_), Symbol::Known(_)) | (Symbol::Truth(..), Symbol::Truth(..)) => Err(NotLifted),
    }
}

/// Continue by the boolean on top of the stack.
fn branch(op: Op, target: usize, run: &mut Run) -> Result<Step, NotLifted> {
    let top = pop(run)?;
    // The value for which the run jumps. `AndThen` and `OrElse` then keep it.
    let jumps_if = op == Op::OrElse;
    let jump = |run: &mut Run| {
        if op != Op::Branch {
            run.stack.push(Symbol::Known(Value::bool(jumps_if)));
        }
    };
    match top {
        Symbol::Known(value) if value.is(Tag::Bool) => {
            if (value.payload != 0) != jumps_if {
                return Ok(Step::Next);
            }
            jump(run);
            Ok(Step::Jump(target))
        }
        Symbol::Truth(sum, ranges) => {
            if target < run.at {
                return Err(NotLifted);
            }
            let (if_jump, if_next) =
                if jumps_if { (ranges.clone(), others(&ranges)) } else { (others(&ranges), ranges.clone()) };
            let mut runs = Vec::new();
            for case in split(&run.case, &sum, &if_jump) {
                let mut other = Run { at: target, stack: run.stack.clone(), case };
                jump(&mut other);
                runs.push(other);
            }
            for case in split(&run.case, &sum, &if_next) {
                runs.push(Run { at: run.at, stack: run.stack.clone(), case });
            }
            Ok(Step::Split(runs))
        }
        Symbol::Known(_) | Symbol::Number(..) => Ok(Step::End),
    }
}

/// Call a method of an extension type.
fn extension(method: u32, run: &mut Run) -> Result<Step, NotLifted> {
    let method = ExtOp::from_u32(method).ok_or(NotLifted)?;
    match method {
        ExtOp::DecimalLessThan | ExtOp::DecimalLessThanOrEqual => {
            let (a, b) = pop_two(run)?;
            compare(run, &a, &b, method == ExtOp::DecimalLessThan, &[Tag::Decimal])
        }
        ExtOp::DecimalGreaterThan | ExtOp::DecimalGreaterThanOrEqual => {
            let (a, b) = pop_two(run)?;
            compare(run, &b, &a, method == ExtOp::DecimalGreaterThan, &[Tag::Decimal])
        }
        ExtOp::Offset => {
            let (a, b) = pop_two(run)?;
            match (number(&a, Tag::Datetime), number(&b, Tag::Duration)) {
                (Some(a), Some(b)) => within(run, Tag::Datetime, a.plus(1, &b)),
                _ => Ok(Step::End),
            }
        }
        ExtOp::DurationSince => {
            let (a, b) = pop_two(run)?;
            match (number(&a, Tag::Datetime), number(&b, Tag::Datetime)) {
                (Some(a), Some(b)) => within(run, Tag::Duration, a.plus(-1, &b)),
                _ => Ok(Step::End),
            }
        }
        ExtOp::ToMilliseconds => match number(&pop(run)?, Tag::Duration) {
            Some(duration) => within(run, Tag::Long, Some(duration)),
            None => Ok(Step::End),
        },
        ExtOp::IsIpv4
        | ExtOp::IsIpv6
        | ExtOp::IsLoopback
        | ExtOp::IsMulticast
        | ExtOp::IsInRange
        | ExtOp::ToDate
        | ExtOp::ToTime
        | ExtOp::ToSeconds
        | ExtOp::ToMinutes
        | ExtOp::ToHours
        | ExtOp::ToDays => Err(NotLifted),
    }
}
