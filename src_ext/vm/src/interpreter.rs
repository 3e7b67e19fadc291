//! The interpreter: runs one program over a bundle and a request.

use crate::instr::{ExtOp, Instr, Op};
use crate::ops::Fault;
use crate::reader::{Reader, as_bool, as_entity, as_long, as_set, comparable};
use crate::store::{Request, StoreView};
use crate::value::{Arena, Tag, Value};
use alloc::boxed::Box;
use zerocopy::FromZeros;

/// The depth of the stack: more than a condition of a thousand levels needs, or a set of as many elements.
pub const STACK_VALUES: usize = 1 << 12;
/// The number of values that a program can build.
pub const ARENA_VALUES: usize = 1 << 14;

/// The steps of comparing, searching and matching that one program may take. Honest programs take far fewer; the limit
/// keeps a crafted bundle or context from hanging a decision.
pub const BUDGET: u32 = 1 << 24;

/// The interpreter's working memory: allocated beforehand, and used by one decision at a time.
#[derive(Debug, Clone)]
pub struct Scratch {
    stack: Box<[Value]>,
    values: Box<[Value]>,
}

impl Default for Scratch {
    /// Allocate enough for any program. Memory that no program uses is never touched.
    fn default() -> Self {
        Self::new(STACK_VALUES, ARENA_VALUES)
    }
}

impl Scratch {
    /// Allocate enough for programs that need at most this much.
    #[must_use]
    pub fn new(stack: usize, values: usize) -> Self {
        let zeroed = |len: usize| <[Value]>::new_box_zeroed_with_elems(len).unwrap_or_default();
        Self { stack: zeroed(stack), values: zeroed(values) }
    }

    /// Allocate enough for programs that need at most this much; `None` if the system has too little memory.
    #[must_use]
    pub fn try_new(stack: usize, values: usize) -> Option<Self> {
        let zeroed = |len: usize| <[Value]>::new_box_zeroed_with_elems(len).ok();
        Some(Self { stack: zeroed(stack)?, values: zeroed(values)? })
    }

    /// Return the stack and the arena, for callers that make them resident.
    pub fn buffers(&mut self) -> [&mut [Value]; 2] {
        [&mut self.stack, &mut self.values]
    }

    /// Return the values that the last run built. Values of [`crate::Arena::Scratch`] point into them.
    #[must_use]
    pub const fn values(&self) -> &[Value] {
        &self.values
    }
}

/// A run of one program.
pub struct Vm<'a, 's> {
    store: &'a StoreView<'a>,
    request: &'a Request<'a>,
    scratch: &'s mut Scratch,
    depth: usize,
    used: usize,
    budget: u32,
}

impl<'a, 's> Vm<'a, 's> {
    /// Create an interpreter over a bundle and a request.
    pub fn new(store: &'a StoreView<'a>, request: &'a Request<'a>, scratch: &'s mut Scratch) -> Self {
        Self { store, request, scratch, depth: 0, used: 0, budget: BUDGET }
    }

    /// Limit the steps of comparing, searching and matching, below the limit of every program.
    #[must_use]
    pub fn with_budget(mut self, steps: u32) -> Self {
        self.budget = steps.min(BUDGET);
        self
    }

    /// Return the steps left.
    #[must_use]
    pub const fn budget(&self) -> u32 {
        self.budget
    }

    /// Return whether the program's value is `true`. A value that is no boolean is an error.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn holds(&mut self, code: &[Instr]) -> Result<bool, Fault> {
        as_bool(self.run(code)?)
    }

    /// Run the program and return its value. Sets and records that it built lie in the scratch memory until the next
    /// run.
    ///
    /// # Errors
    /// [`Fault::Error`] if Cedar's evaluation fails; the others if the compiler cannot have written the program.
    pub fn run(&mut self, code: &[Instr]) -> Result<Value, Fault> {
        (self.depth, self.used) = (0, 0);
        let mut at = 0_usize;
        while let Some(instr) = code.get(at) {
            at += 1;
            let op = Op::from_u8(instr.op).ok_or(Fault::Corrupt)?;
            match self.step(op, instr.imm) {
                Ok(None) => {}
                // Jumps only go forward: this bounds the loop.
                Ok(Some(target)) if target < at => return Err(Fault::Corrupt),
                Ok(Some(target)) => at = target,
                Err(fault) => at = self.caught(fault, code, at)?,
            }
        }
        self.pop()
    }

    /// Return where a program goes on after a fault: behind the [`Op::Fails`] that an error leads to.
    #[cold]
    fn caught(&mut self, fault: Fault, code: &[Instr], at: usize) -> Result<usize, Fault> {
        let rest = code.get(at..).filter(|_| fault == Fault::Error).ok_or(fault)?;
        let ahead = rest.iter().position(|instr| instr.op == Op::Fails as u8).ok_or(fault)?;
        self.depth = 0;
        self.push(Value::bool(true))?;
        Ok(at + ahead + 1)
    }

    /// Execute one instruction. `Some` is the next instruction if it is not the following one.
    fn step(&mut self, op: Op, imm: u32) -> Result<Option<usize>, Fault> {
        match op {
            Op::Const => self.push(*self.store.values.get(imm as usize).ok_or(Fault::Corrupt)?)?,
            Op::Principal => self.push(Value::entity(self.request.principal))?,
            Op::Resource => self.push(Value::entity(self.request.resource))?,
            Op::Slot => self.push(self.request.slot(imm).ok_or(Fault::Error)?)?,
            Op::SlotOrMissing => self.push(self.request.slot(imm).unwrap_or(Value::MISSING))?,
            Op::HasSlot => self.push(Value::bool(self.request.number(imm).is_some()))?,
            Op::NeedSlot => _ = self.request.number(imm).ok_or(Fault::Error)?,
            Op::GetAttr => {
                let subject = self.pop()?;
                let value = self.reader().attribute(subject, imm)?.ok_or(Fault::Error)?;
                self.push(value)?;
            }
            Op::HasAttr => {
                let subject = self.pop()?;
                let found = self.reader().attribute(subject, imm)?.is_some();
                self.push(Value::bool(found))?;
            }
            Op::GetTag | Op::HasTag => {
                let (subject, key) = self.pop_two()?;
                let found = self.reader().tag(subject, key)?;
                self.push(match op {
                    Op::HasTag => Value::bool(found.is_some()),
                    _ => found.ok_or(Fault::Error)?,
                })?;
            }
            Op::Eq => {
                let (a, b) = self.pop_two()?;
                let equal = self.reader().equal(a, b)?;
                self.push(Value::bool(equal))?;
            }
            Op::Less | Op::LessEq => {
                let (a, b) = self.pop_two()?;
                let (a, b) = comparable(a, b)?;
                self.push(Value::bool(if op == Op::Less { a < b } else { a <= b }))?;
            }
            Op::Add => self.arithmetic(i64::checked_add)?,
            Op::Sub => self.arithmetic(i64::checked_sub)?,
            Op::Mul => self.arithmetic(i64::checked_mul)?,
            Op::Neg => {
                let value = as_long(self.pop()?)?.checked_neg().ok_or(Fault::Error)?;
                self.push(Value::number(Tag::Long, value))?;
            }
            Op::Not => {
                let value = as_bool(self.pop()?)?;
                self.push(Value::bool(!value))?;
            }
            Op::In => {
                let (a, b) = self.pop_two()?;
                let within = self.reader().is_in(a, b)?;
                self.push(Value::bool(within))?;
            }
            Op::Contains => {
                let (a, b) = self.pop_two()?;
                let found = self.reader().contains(as_set(a)?, b)?;
                self.push(Value::bool(found))?;
            }
            Op::ContainsAll | Op::ContainsAny => {
                let (a, b) = self.pop_two()?;
                let (a, b) = (as_set(a)?, as_set(b)?);
                let result = self.reader().contains_each(a, b, op == Op::ContainsAll)?;
                self.push(Value::bool(result))?;
            }
            Op::IsEmpty => {
                let empty = as_set(self.pop()?)?.is_empty();
                self.push(Value::bool(empty))?;
            }
            Op::Like => {
                let subject = self.pop()?;
                let matched = self.reader().like(subject, imm)?;
                self.push(Value::bool(matched))?;
            }
            Op::Is => {
                let entity = as_entity(self.pop()?)?;
                let ty = self.reader().facts(entity)?.ty;
                self.push(Value::bool(ty == imm))?;
            }
            Op::MakeSet => self.make_set(imm as usize)?,
            Op::MakeRecord => self.make_record(imm as usize)?,
            Op::Jump => return Ok(Some(imm as usize)),
            Op::AndThen | Op::OrElse => {
                if as_bool(self.peek()?)? == (op == Op::OrElse) {
                    return Ok(Some(imm as usize));
                }
                self.pop()?;
            }
            Op::Branch => {
                if !as_bool(self.pop()?)? {
                    return Ok(Some(imm as usize));
                }
            }
            Op::NeedBool => _ = as_bool(self.peek()?)?,
            Op::Ext => {
                let method = ExtOp::from_u32(imm).ok_or(Fault::Corrupt)?;
                let (a, b) = match method.operands() {
                    1 => (self.pop()?, Value::MISSING),
                    _ => self.pop_two()?,
                };
                let value = self.reader().extension(method, a, b)?;
                self.push(value)?;
            }
            Op::Error => return Err(Fault::Error),
            Op::Missing => self.push(Value::MISSING)?,
            Op::Fails => {
                self.pop()?;
                self.push(Value::bool(false))?;
            }
        }
        Ok(None)
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        *self.scratch.stack.get_mut(self.depth).ok_or(Fault::Corrupt)? = value;
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Fault::Corrupt)?;
        self.scratch.stack.get(self.depth).copied().ok_or(Fault::Corrupt)
    }

    fn pop_two(&mut self) -> Result<(Value, Value), Fault> {
        let b = self.pop()?;
        Ok((self.pop()?, b))
    }

    fn peek(&self) -> Result<Value, Fault> {
        let top = self.depth.checked_sub(1).ok_or(Fault::Corrupt)?;
        self.scratch.stack.get(top).copied().ok_or(Fault::Corrupt)
    }

    fn reader(&mut self) -> Reader<'_> {
        Reader { store: self.store, request: self.request, built: &self.scratch.values, budget: &mut self.budget }
    }

    fn arithmetic(&mut self, apply: fn(i64, i64) -> Option<i64>) -> Result<(), Fault> {
        let (a, b) = self.pop_two()?;
        let value = apply(as_long(a)?, as_long(b)?).ok_or(Fault::Error)?;
        self.push(Value::number(Tag::Long, value))
    }

    /// Reserve `count` values of the arena. Return the first.
    fn reserve(&mut self, count: usize) -> Result<usize, Fault> {
        let start = self.used;
        self.used = start.checked_add(count).filter(|&end| end <= self.scratch.values.len()).ok_or(Fault::Corrupt)?;
        Ok(start)
    }

    #[allow(clippy::cast_possible_truncation)] // ARENA_VALUES fits
    fn make_set(&mut self, count: usize) -> Result<(), Fault> {
        let from = self.depth.checked_sub(count).ok_or(Fault::Corrupt)?;
        let start = self.reserve(count)?;
        let elements = self.scratch.stack.get(from..self.depth).ok_or(Fault::Corrupt)?;
        let sorted = elements.iter().all(|value| value.is_scalar());
        let built = self.scratch.values.get_mut(start..start + count).ok_or(Fault::Corrupt)?;
        built.copy_from_slice(elements);
        let mut kept = 0;
        if sorted {
            built.sort_unstable_by_key(|value| value.key());
            for index in 0..count {
                if kept == 0 || built.get(index) != built.get(kept - 1) {
                    built.swap(index, kept);
                    kept += 1;
                }
            }
        } else {
            for index in 0..count {
                let so_far = Value::set(Arena::Scratch, start as u32, kept as u32, false);
                let element = self.reader().part(so_far, index)?;
                if !self.reader().contains_within(so_far, element, 0)? {
                    self.scratch.values.swap(start + index, start + kept);
                    kept += 1;
                }
            }
        }
        self.depth = from;
        self.push(Value::set(Arena::Scratch, start as u32, kept as u32, sorted))
    }

    #[allow(clippy::cast_possible_truncation)] // ARENA_VALUES fits
    fn make_record(&mut self, count: usize) -> Result<(), Fault> {
        let from = self.depth.checked_sub(2 * count).ok_or(Fault::Corrupt)?;
        let start = self.reserve(2 * count)?;
        let mut kept = 0;
        for index in 0..count {
            let at = from + 2 * index;
            let &[key, value] = self.scratch.stack.get(at..at + 2).ok_or(Fault::Corrupt)? else {
                return Err(Fault::Corrupt);
            };
            if !value.is(Tag::Missing) {
                let at = start + 2 * kept;
                self.scratch.values.get_mut(at..at + 2).ok_or(Fault::Corrupt)?.copy_from_slice(&[key, value]);
                kept += 1;
            }
        }
        self.depth = from;
        self.push(Value::record(Arena::Scratch, start as u32, kept as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::EntityRef;

    /// Run a program over the values 1 and the greatest number.
    fn run(code: &[(Op, u32)], stack: usize) -> Result<Value, Fault> {
        let values = [Value::number(Tag::Long, 1), Value::number(Tag::Long, i64::MAX)];
        let store = StoreView { values: &values, ..StoreView::default() };
        let entity = EntityRef::known(0);
        let code: alloc::vec::Vec<Instr> = code.iter().map(|&(op, imm)| Instr::new(op, imm)).collect();
        let mut scratch = Scratch::new(stack, 0);
        Vm::new(&store, &Request::bare(entity, entity), &mut scratch).run(&code)
    }

    #[test]
    fn an_error_before_it_is_told_and_one_behind_it_is_one() {
        let (one, most, add, fails) = ((Op::Const, 0), (Op::Const, 1), (Op::Add, 0), (Op::Fails, 0));
        let both = |truth: bool| (Ok(Value::bool(truth)), Ok(Value::bool(!truth)));
        for (code, truth) in [(&[one, one, add][..], false), (&[one, most, add], true), (&[(Op::Error, 0)], true)] {
            let asked = [code, &[fails]].concat();
            let denied = [&*asked, &[(Op::Not, 0)]].concat();
            assert_eq!((run(&asked, 2), run(&denied, 2)), both(truth), "{code:?}");
            let behind = [&*asked, &[one, most, add]].concat();
            assert_eq!(run(&behind, 3), Err(Fault::Error), "{code:?}");
        }
        // Values of the evaluation that failed are dropped: two more would not fit.
        assert_eq!(run(&[one, one, most, add, fails, most, one], 3), Ok(Value::number(Tag::Long, 1)));
        // Only errors of the evaluation are told.
        assert_eq!(run(&[(Op::Const, 7), fails], 2), Err(Fault::Corrupt));
        assert_eq!(run(&[fails], 2), Err(Fault::Corrupt));
        assert_eq!(run(&[(Op::Jump, 0), fails], 2), Err(Fault::Corrupt));
    }
}
