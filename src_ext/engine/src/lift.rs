//! Lifts the conditions of a policy: finds the cases in which their code holds, as intervals of a gate's arguments and
//! linear inequalities.
//!
//! Code runs here with an argument in place of each context slot that the gate passes; slots that it does not pass are
//! absent. Where the code branches on a condition, the run splits, and each branch goes on with the condition or its
//! opposite. The runs that end with `true` are the cases. An error ends a run, as it ends an evaluation: the condition
//! does not hold. So each case is exact also under `!`, and an overflow is an error like any other.
//!
//! What this cannot express, like texts that match a pattern or attributes of entities, becomes a check: a part of the
//! code that is run when a decision asks for it. A check is true, false or an error.

use crate::binding::{Argument, Binding};
use crate::checks::{Check, MAX_ENTITIES, OfEntity};
use crate::linear::{Case, LEAST, MOST, Sum};
use crate::working::EMPTY_SET;
use rustc_hash::FxHashMap;
use ztfast_bundle::{Bundle, ResidualView, ValueType};
use ztfast_vm::{Arena, ExtOp, Instr, Op, Predicate, Scratch, Single, Tag, Value};

/// The most cases that one policy may have. Policies with more are left to the interpreter.
const MAX_CASES: usize = 48;
/// The most checks of one gate.
const MAX_CHECKS: usize = 1 << 10;
/// The steps that checks of one gate may take beforehand, for the entities that arguments may be.
const ENTITY_BUDGET: usize = 1 << 20;
/// The most instructions of a check.
const MAX_CHECK: usize = 1 << 8;
/// The most values on the stack.
const MAX_STACK: usize = 1 << 8;
/// The most elements of a set of constants.
const MAX_ELEMENTS: usize = 12;

/// The conditions cannot be expressed, or there are too many cases.
#[derive(Debug)]
struct NotLifted;

/// Lifts conditions for one gate.
pub(crate) struct Lifter<'a> {
    bundle: &'a Bundle,
    binding: &'a Binding,
    code: &'a [Instr],
    values: &'a [Value],
    kinds: &'a [u32],
    positions: &'a [u16],
    types: &'a [ValueType],
    arguments: usize,
    /// The work that may still be done: about an instruction, or a word that is copied or compared, each.
    budget: usize,
    pub checks: Vec<Check>,
    known: FxHashMap<&'a [Instr], u16>,
    /// Memory to run checks.
    scratch: Option<Scratch>,
    /// The steps that checks may still take beforehand, for the entities that arguments may be.
    entity_budget: usize,
    /// The ranges of the entities of types.
    ranges: FxHashMap<u32, Option<(usize, usize)>>,
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
    /// The set that is the argument at a place.
    Set(u16),
    /// A boolean: whether a check has this result. It is no error.
    Check(u16, bool),
    /// Any value, or an error, that only running the code can tell.
    Opaque,
}

/// A value on the stack, and the instructions that compute it, if they stand together and have no jumps.
#[derive(Debug, Clone)]
struct Entry {
    symbol: Symbol,
    code: Option<(usize, usize)>,
}

/// A run of code.
#[derive(Clone)]
struct Run {
    at: usize,
    stack: Vec<Entry>,
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
    /// Lift for a gate, with so much work.
    pub fn new(bundle: &'a Bundle, binding: &'a Binding, budget: usize) -> Self {
        let Binding { kinds, positions, types, .. } = binding;
        let (code, values) = (bundle.code(), bundle.store().values);
        let (arguments, checks, known) = (types.len(), Vec::new(), FxHashMap::default());
        Self {
            bundle,
            binding,
            code,
            values,
            kinds,
            positions,
            types,
            arguments,
            budget,
            checks,
            known,
            scratch: None,
            entity_budget: ENTITY_BUDGET,
            ranges: FxHashMap::default(),
        }
    }

    /// Do some work. `false` if that exceeds the budget, of which then nothing is left.
    pub fn spend(&mut self, work: usize) -> bool {
        let left = self.budget.checked_sub(work);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    fn charge(&mut self, work: usize) -> Result<(), NotLifted> {
        if self.spend(work) { Ok(()) } else { Err(NotLifted) }
    }

    /// Find the cases in which a policy applies.
    pub fn cases(&mut self, residual: &ResidualView<'_>) -> Vec<Case> {
        let mut cases = vec![Case::new(self.arguments)];
        for test in residual.ranges() {
            let Some(place) = self.place(test.slot) else { return Vec::new() };
            cases.retain_mut(|case| self.demand_presence(case, place));
            let high = test.low.wrapping_add(test.width.cast_signed());
            let ranges = if high >= test.low {
                vec![(i128::from(test.low), i128::from(high))]
            } else {
                vec![(LEAST, i128::from(high)), (i128::from(test.low), MOST)]
            };
            let size = cases.iter().map(Case::size).sum::<usize>();
            cases = cases.iter().flat_map(|case| split(case, &Sum::argument(place), &ranges)).collect();
            if cases.len() > MAX_CASES || !self.spend(size) {
                return unknown(vec![Case::new(self.arguments)]);
            }
        }
        let Some(conjuncts) = residual.conjuncts() else { return unknown(cases) };
        for (start, len) in conjuncts {
            let lifted = self.holds(start as usize, len as usize, &cases);
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

    /// Demand that the argument at a place is there. Return `false` if that cannot be.
    fn demand_presence(&self, case: &mut Case, place: u16) -> bool {
        self.presence(place).is_none_or(|presence| case.demand(&Sum::argument(presence), 1, MOST))
    }

    /// Return the place of the argument that says whether another one is there, if that may be absent.
    fn presence(&self, place: u16) -> Option<u16> {
        self.binding.presence(usize::from(place)).and_then(|presence| u16::try_from(presence).ok())
    }

    /// Return the cases in which one conjunct holds. `None` if it is not lifted.
    #[cfg(test)]
    pub fn cases_of(&mut self, start: usize, len: usize) -> Option<Vec<Case>> {
        self.holds(start, len, &[Case::new(self.arguments)]).ok()
    }

    /// Return the cases among these in which some code holds.
    fn holds(&mut self, start: usize, len: usize, cases: &[Case]) -> Result<Vec<Case>, NotLifted> {
        let all = self.code;
        let code = all.get(start..start.saturating_add(len)).ok_or(NotLifted)?;
        // Whether code fails cannot be told from its cases: they are those in which it does not.
        let asked = code.iter().position(|instr| instr.op == Op::Fails as u8).map_or(0, |last| last + 1);
        let fails = (asked > 0).then_some(Entry { symbol: Symbol::Opaque, code: Some((0, asked)) });
        let begin = |case: &Case| Run { at: asked, stack: fails.iter().cloned().collect(), case: case.clone() };
        let mut runs: Vec<Run> = cases.iter().rev().map(begin).collect();
        let mut found = Vec::new();
        while let Some(mut run) = runs.pop() {
            loop {
                let Some(instr) = code.get(run.at) else {
                    let top = run.stack.pop().ok_or(NotLifted)?;
                    match self.boolean(code, start, top, len, &mut run.case)? {
                        Some(Symbol::Known(value)) if value.payload != 0 => found.push(run.case),
                        Some(symbol) => found.extend(split_by(&run.case, &symbol, true)),
                        None => {}
                    }
                    break;
                };
                self.charge(1)?;
                if run.stack.len() > MAX_STACK {
                    return Err(NotLifted);
                }
                run.at += 1;
                match self.step(code, start, *instr, &mut run)? {
                    Step::Next => {}
                    Step::Jump(target) if target < run.at => return Err(NotLifted),
                    Step::Jump(target) => run.at = target,
                    Step::End => break,
                    Step::Split(others) => {
                        self.charge(others.iter().map(|run| run.stack.len() + run.case.size()).sum())?;
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

    /// Return a value as a boolean; `None` if it is none, which is an error. An opaque value becomes a check, whose
    /// error ends the run. The code of the value ends at `end`.
    fn boolean(
        &mut self,
        code: &'a [Instr],
        start: usize,
        entry: Entry,
        end: usize,
        case: &mut Case,
    ) -> Result<Option<Symbol>, NotLifted> {
        match entry.symbol {
            Symbol::Known(value) if !value.is(Tag::Bool) => Ok(None),
            symbol @ (Symbol::Known(_) | Symbol::Truth(..) | Symbol::Check(..)) => Ok(Some(symbol)),
            Symbol::Number(..) | Symbol::Set(_) => Ok(None),
            Symbol::Opaque => {
                let (from, to) = entry.code.filter(|&(_, to)| to == end).ok_or(NotLifted)?;
                let check = self.check(code.get(from..to).ok_or(NotLifted)?, start + from)?;
                Ok(case.demand_check(check, None).then_some(Symbol::Check(check, true)))
            }
        }
    }

    /// Return the number of a check.
    fn check(&mut self, code: &'a [Instr], start: usize) -> Result<u16, NotLifted> {
        // Jumps lead to places of the whole condition. No code that stands together has any, which this makes sure of.
        let jumps = [Op::Jump, Op::AndThen, Op::OrElse, Op::Branch].map(|op| op as u8);
        if code.len() > MAX_CHECK || code.iter().any(|instr| jumps.contains(&instr.op)) {
            return Err(NotLifted);
        }
        self.charge(code.len())?;
        if let Some(&known) = self.known.get(code) {
            return Ok(known);
        }
        let fresh = u16::try_from(self.checks.len()).ok().filter(|&n| usize::from(n) < MAX_CHECKS).ok_or(NotLifted)?;
        let place = (u32::try_from(start).map_err(|_| NotLifted)?, u32::try_from(code.len()).map_err(|_| NotLifted)?);
        let check = self.forms(code, place);
        self.checks.push(check);
        self.known.insert(code, fresh);
        Ok(fresh)
    }

    /// Return a check in the forms that it has.
    fn forms(&mut self, code: &'a [Instr], place: (u32, u32)) -> Check {
        let Self { bundle, binding, .. } = *self;
        let slot = |slot: u32| Some((self.place(slot)?, Tag::from_u32(*binding.kinds.get(slot as usize)?)?));
        let predicate = Predicate::of(code, self.values, slot);
        let single = predicate.as_ref().and_then(|predicate| Single::of(predicate, bundle.store()));
        let of_entity = self.only_entity(code).and_then(|(place, ty)| {
            let entities = self.entities_of(ty)?;
            let (scratch, budget) = (self.scratch.get_or_insert_default(), &mut self.entity_budget);
            let slots = (&*binding.positions, &*binding.kinds, binding.types.len());
            OfEntity::of(bundle, code, (place, ty), entities, slots, scratch, budget)
        });
        Check { of_entity, single, predicate, code: place }
    }

    /// Return the range of the entities of a type; `None` if it is too wide for results of each to be kept.
    fn entities_of(&mut self, ty: u32) -> Option<(usize, usize)> {
        if let Some(&known) = self.ranges.get(&ty) {
            return known;
        }
        let all = self.bundle.entities();
        // To look at an entity is quick.
        self.entity_budget = self.entity_budget.checked_sub(all.len() / 16)?;
        let of_type = || all.iter().enumerate().filter(|(_, record)| record.ty == ty).map(|(at, _)| at);
        let range = of_type().next().zip(of_type().next_back());
        let range = range.filter(|(first, last)| last - first < MAX_ENTITIES);
        self.ranges.insert(ty, range);
        range
    }

    /// Return the place of the only argument that some code asks for, and the number of its type, if it is an entity.
    fn only_entity(&self, code: &[Instr]) -> Option<(u16, u32)> {
        let mut only = None;
        for instr in code {
            match Op::from_u8(instr.op)? {
                Op::Principal | Op::Resource | Op::SlotOrMissing => return None,
                Op::Slot | Op::NeedSlot | Op::HasSlot => {
                    let place = self.place(instr.imm)?;
                    // An entity that is not there has no results.
                    if self.presence(place).is_some() {
                        return None;
                    }
                    if *only.get_or_insert(place) != place {
                        return None;
                    }
                }
                _ => {}
            }
        }
        let place = only?;
        match *self.binding.arguments.get(usize::from(place))? {
            Argument::Entity(ty) => Some((place, ty)),
            _ => None,
        }
    }

    /// Run one instruction, as the interpreter does.
    fn step(&mut self, code: &'a [Instr], start: usize, instr: Instr, run: &mut Run) -> Result<Step, NotLifted> {
        let op = Op::from_u8(instr.op).ok_or(NotLifted)?;
        let at = run.at - 1;
        match op {
            Op::Jump => return Ok(Step::Jump(instr.imm as usize)),
            Op::AndThen | Op::OrElse | Op::Branch | Op::NeedBool | Op::Not => {
                let top = run.stack.pop().ok_or(NotLifted)?;
                let own = if op == Op::Not { whole(std::slice::from_ref(&top), code, at) } else { None };
                let Some(symbol) = self.boolean(code, start, top, at, &mut run.case)? else { return Ok(Step::End) };
                return match op {
                    Op::NeedBool | Op::Not => {
                        let symbol = if op == Op::Not { opposite(symbol) } else { symbol };
                        run.stack.push(Entry { symbol, code: own });
                        Ok(Step::Next)
                    }
                    _ => branch(op, instr.imm as usize, &symbol, run),
                };
            }
            Op::NeedSlot => {
                let is_there = self.place(instr.imm).is_some_and(|place| self.demand_presence(&mut run.case, place));
                return Ok(if is_there { Step::Next } else { Step::End });
            }
            Op::Error => return Ok(Step::End),
            _ => {}
        }
        let count = operands(op, instr.imm).ok_or(NotLifted)?;
        let from = run.stack.len().checked_sub(count).ok_or(NotLifted)?;
        let own = whole(run.stack.get(from..).unwrap_or_default(), code, at);
        let taken: Vec<Symbol> = run.stack.drain(from..).map(|entry| entry.symbol).collect();
        let lifted = if taken.iter().any(|symbol| matches!(symbol, Symbol::Opaque)) {
            Err(NotLifted)
        } else {
            self.applied(op, instr.imm, &taken, &mut run.case)
        };
        let symbol = match lifted {
            Ok(Some(symbol)) => symbol,
            Ok(None) => return Ok(Step::End),
            Err(NotLifted) if own.is_some() => Symbol::Opaque,
            Err(NotLifted) => return Err(NotLifted),
        };
        run.stack.push(Entry { symbol, code: own });
        Ok(Step::Next)
    }

    /// Apply an operation to values; `None` if that is an error.
    fn applied(&self, op: Op, imm: u32, taken: &[Symbol], case: &mut Case) -> Result<Option<Symbol>, NotLifted> {
        match (op, taken) {
            (Op::Const, []) => Ok(Some(Symbol::Known(*self.values.get(imm as usize).ok_or(NotLifted)?))),
            (Op::Slot, []) => self.slot(imm, case),
            (Op::HasSlot, []) => Ok(Some(match self.place(imm).map(|place| self.presence(place)) {
                Some(Some(presence)) => Symbol::Truth(Sum::argument(presence), vec![(1, MOST)]),
                found => Symbol::Known(Value::bool(found.is_some())),
            })),
            (Op::Eq, [a, b]) => equal(a, b).map(Some),
            (Op::Less | Op::LessEq, [a, b]) => {
                compare(a, b, op == Op::Less, &[Tag::Long, Tag::Datetime, Tag::Duration])
            }
            (Op::Add | Op::Sub | Op::Mul, [a, b]) => arithmetic(op, a, b, case),
            (Op::Neg, [a]) => match number(a, Tag::Long) {
                Some(sum) => within(case, Tag::Long, sum.times(-1)),
                None => Ok(None),
            },
            (Op::Contains, [set, element]) => self.contains(set, element).map(Some),
            (Op::IsEmpty, [set]) => match set {
                Symbol::Set(place) => {
                    let empty = vec![(i128::from(EMPTY_SET), i128::from(EMPTY_SET))];
                    Ok(Some(Symbol::Truth(Sum::argument(*place), empty)))
                }
                Symbol::Known(value) if value.is(Tag::Set) => Ok(Some(Symbol::Known(Value::bool(value.is_empty())))),
                _ => Ok(None),
            },
            (Op::Ext, operands) => extension(imm, operands, case),
            _ => Err(NotLifted),
        }
    }

    /// Return the value in a context slot; `None` if it is absent.
    fn slot(&self, slot: u32, case: &mut Case) -> Result<Option<Symbol>, NotLifted> {
        let Some(place) = self.place(slot) else { return Ok(None) };
        if !self.demand_presence(case, place) {
            return Ok(None);
        }
        let kind = *self.kinds.get(slot as usize).ok_or(NotLifted)?;
        match Tag::from_u32(kind).ok_or(NotLifted)? {
            // Any number but 0 is true.
            Tag::Bool => Ok(Some(Symbol::Truth(Sum::argument(place), vec![(LEAST, -1), (1, MOST)]))),
            kind @ (Tag::Long | Tag::String | Tag::Entity | Tag::Decimal | Tag::Datetime | Tag::Duration) => {
                Ok(Some(Symbol::Number(kind, Sum::argument(place))))
            }
            Tag::Set if matches!(self.types.get(usize::from(place)), Some(ValueType::Set(_))) => {
                Ok(Some(Symbol::Set(place)))
            }
            Tag::Missing | Tag::Ip4 | Tag::Ip6 | Tag::Set | Tag::Record => Err(NotLifted),
        }
    }

    /// Return whether a set of constants contains a value.
    fn contains(&self, set: &Symbol, element: &Symbol) -> Result<Symbol, NotLifted> {
        let (Symbol::Known(set), Symbol::Number(kind, sum)) = (set, element) else { return Err(NotLifted) };
        if !set.is(Tag::Set) || set.arena() != Arena::Bundle || !set.is_sorted() || set.len() as usize > MAX_ELEMENTS {
            return Err(NotLifted);
        }
        let start = set.start() as usize;
        let elements = self.values.get(start..start + set.len() as usize).ok_or(NotLifted)?;
        let mut numbers: Vec<i128> =
            elements.iter().filter(|element| element.is(*kind)).map(|element| i128::from(element.as_i64())).collect();
        numbers.sort_unstable();
        Ok(Symbol::Truth(sum.clone(), numbers.into_iter().map(|number| (number, number)).collect()))
    }
}

/// Return how many values an operation takes from the stack; `None` for those that do not only take and push values.
const fn operands(op: Op, imm: u32) -> Option<usize> {
    Some(match op {
        Op::Const | Op::Principal | Op::Resource | Op::Slot | Op::SlotOrMissing | Op::HasSlot | Op::Missing => 0,
        Op::GetAttr | Op::HasAttr | Op::Neg | Op::Not | Op::IsEmpty | Op::Like | Op::Is => 1,
        Op::GetTag
        | Op::HasTag
        | Op::Eq
        | Op::Less
        | Op::LessEq
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::In
        | Op::Contains
        | Op::ContainsAll
        | Op::ContainsAny => 2,
        Op::MakeSet => imm as usize,
        Op::MakeRecord => 2 * imm as usize,
        Op::Ext => match ExtOp::from_u32(imm) {
            Some(method) => method.operands(),
            None => return None,
        },
        Op::Jump | Op::AndThen | Op::OrElse | Op::Branch | Op::NeedBool | Op::NeedSlot | Op::Error | Op::Fails => {
            return None;
        }
    })
}

/// Return the instructions of an operation at a place and of its operands, if they stand together.
fn whole(operands: &[Entry], code: &[Instr], at: usize) -> Option<(usize, usize)> {
    let mut next = at;
    for operand in operands.iter().rev() {
        let (from, to) = operand.code?;
        // What demands that a record is there was decided already.
        let between = code.get(to..next)?;
        if between.iter().any(|instr| instr.op != Op::NeedSlot as u8) {
            return None;
        }
        next = from;
    }
    Some((next, at + 1))
}

fn opposite(symbol: Symbol) -> Symbol {
    match symbol {
        Symbol::Known(value) => Symbol::Known(Value::bool(value.payload == 0)),
        Symbol::Truth(sum, ranges) => Symbol::Truth(sum, others(&ranges)),
        Symbol::Check(check, result) => Symbol::Check(check, !result),
        other => other,
    }
}

/// Split a case by a boolean that depends on it, for those in which it has a value.
fn split_by(case: &Case, symbol: &Symbol, value: bool) -> Vec<Case> {
    match symbol {
        Symbol::Truth(sum, ranges) if value => split(case, sum, ranges),
        Symbol::Truth(sum, ranges) => split(case, sum, &others(ranges)),
        Symbol::Check(check, result) => {
            let mut case = case.clone();
            if case.demand_check(*check, Some(*result == value)) { vec![case] } else { Vec::new() }
        }
        _ => Vec::new(),
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

/// Return a number of this kind as a sum; `None` for any other value.
fn number(symbol: &Symbol, kind: Tag) -> Option<Sum> {
    match symbol {
        Symbol::Known(value) if value.is(kind) => Some(Sum::constant(value.as_i64())),
        Symbol::Number(tag, sum) if *tag == kind => Some(sum.clone()),
        _ => None,
    }
}

fn arithmetic(op: Op, a: &Symbol, b: &Symbol, case: &mut Case) -> Result<Option<Symbol>, NotLifted> {
    let (Some(a), Some(b)) = (number(a, Tag::Long), number(b, Tag::Long)) else { return Ok(None) };
    let sum = match op {
        Op::Add => a.plus(1, &b),
        Op::Sub => a.plus(-1, &b),
        _ => match (a.value(), b.value()) {
            (Some(a), _) => b.times(a),
            (None, Some(b)) => a.times(b),
            (None, None) => None,
        },
    };
    within(case, Tag::Long, sum)
}

/// Return a number that is an error if it exceeds 64 bits.
fn within(case: &mut Case, kind: Tag, sum: Option<Sum>) -> Result<Option<Symbol>, NotLifted> {
    let sum = sum.ok_or(NotLifted)?;
    if !case.demand(&sum, i128::from(i64::MIN), i128::from(i64::MAX)) {
        return Ok(None);
    }
    Ok(Some(match sum.value() {
        Some(value) => Symbol::Known(Value::number(kind, i64::try_from(value).map_err(|_| NotLifted)?)),
        None => Symbol::Number(kind, sum),
    }))
}

/// Compare `a < b`, or `a <= b`, of one of these kinds.
fn compare(a: &Symbol, b: &Symbol, strict: bool, kinds: &[Tag]) -> Result<Option<Symbol>, NotLifted> {
    for &kind in kinds {
        if let (Some(a), Some(b)) = (number(a, kind), number(b, kind)) {
            let (difference, most) = (a.plus(-1, &b).ok_or(NotLifted)?, -i128::from(strict));
            return Ok(Some(match difference.value() {
                Some(value) => Symbol::Known(Value::bool(value <= most)),
                None => Symbol::Truth(difference, vec![(LEAST, most)]),
            }));
        }
    }
    Ok(None)
}

fn equal(a: &Symbol, b: &Symbol) -> Result<Symbol, NotLifted> {
    let known = |equal| Ok(Symbol::Known(Value::bool(equal)));
    match (a, b) {
        (Symbol::Known(a), Symbol::Known(b)) if a.is_scalar() && b.is_scalar() => known(a.key() == b.key()),
        (Symbol::Number(kind, sum), Symbol::Known(value)) | (Symbol::Known(value), Symbol::Number(kind, sum)) => {
            let number = i128::from(value.as_i64());
            if value.is(*kind) { Ok(Symbol::Truth(sum.clone(), vec![(number, number)])) } else { known(false) }
        }
        (Symbol::Number(kind, a), Symbol::Number(other, b)) if kind == other => {
            let difference = a.plus(-1, b).ok_or(NotLifted)?;
            match difference.value() {
                Some(value) => known(value == 0),
                None => Ok(Symbol::Truth(difference, vec![(0, 0)])),
            }
        }
        (symbol @ (Symbol::Truth(..) | Symbol::Check(..)), Symbol::Known(value))
        | (Symbol::Known(value), symbol @ (Symbol::Truth(..) | Symbol::Check(..))) => {
            if !value.is(Tag::Bool) {
                return known(false);
            }
            Ok(if value.payload == 0 { opposite(symbol.clone()) } else { symbol.clone() })
        }
        // Values of different kinds are not equal.
        (Symbol::Number(..), Symbol::Number(..)) => known(false),
        (a, b) if sort(a).zip(sort(b)).is_some_and(|(a, b)| a != b) => known(false),
        _ => Err(NotLifted),
    }
}

/// Return a number for the sort of a value that depends on arguments, if all values of this symbol are of one.
const fn sort(symbol: &Symbol) -> Option<u8> {
    match symbol {
        Symbol::Number(..) => Some(0),
        Symbol::Truth(..) | Symbol::Check(..) => Some(1),
        Symbol::Set(_) => Some(2),
        Symbol::Known(_) | Symbol::Opaque => None,
    }
}

/// Continue by a boolean.
fn branch(op: Op, target: usize, symbol: &Symbol, run: &mut Run) -> Result<Step, NotLifted> {
    // The value for which the run jumps. `AndThen` and `OrElse` then keep it.
    let jumps_if = op == Op::OrElse;
    let jump = |stack: &mut Vec<Entry>| {
        if op != Op::Branch {
            stack.push(Entry { symbol: Symbol::Known(Value::bool(jumps_if)), code: None });
        }
    };
    if let Symbol::Known(value) = symbol {
        if (value.payload != 0) != jumps_if {
            return Ok(Step::Next);
        }
        jump(&mut run.stack);
        return Ok(Step::Jump(target));
    }
    if target < run.at {
        return Err(NotLifted);
    }
    let mut runs = Vec::new();
    for case in split_by(&run.case, symbol, jumps_if) {
        let mut other = Run { at: target, stack: run.stack.clone(), case };
        jump(&mut other.stack);
        runs.push(other);
    }
    for case in split_by(&run.case, symbol, !jumps_if) {
        runs.push(Run { at: run.at, stack: run.stack.clone(), case });
    }
    Ok(Step::Split(runs))
}

/// Call a method of an extension type.
fn extension(method: u32, operands: &[Symbol], case: &mut Case) -> Result<Option<Symbol>, NotLifted> {
    let method = ExtOp::from_u32(method).ok_or(NotLifted)?;
    match (method, operands) {
        (ExtOp::DecimalLessThan | ExtOp::DecimalLessThanOrEqual, [a, b]) => {
            compare(a, b, method == ExtOp::DecimalLessThan, &[Tag::Decimal])
        }
        (ExtOp::DecimalGreaterThan | ExtOp::DecimalGreaterThanOrEqual, [a, b]) => {
            compare(b, a, method == ExtOp::DecimalGreaterThan, &[Tag::Decimal])
        }
        (ExtOp::Offset, [a, b]) => match (number(a, Tag::Datetime), number(b, Tag::Duration)) {
            (Some(a), Some(b)) => within(case, Tag::Datetime, a.plus(1, &b)),
            _ => Ok(None),
        },
        (ExtOp::DurationSince, [a, b]) => match (number(a, Tag::Datetime), number(b, Tag::Datetime)) {
            (Some(a), Some(b)) => within(case, Tag::Duration, a.plus(-1, &b)),
            _ => Ok(None),
        },
        (ExtOp::ToMilliseconds, [a]) => match number(a, Tag::Duration) {
            Some(duration) => within(case, Tag::Long, Some(duration)),
            None => Ok(None),
        },
        _ => Err(NotLifted),
    }
}
