//! Runs the checks that a gate's lines ask for: parts of conditions that are no intervals of arguments.

use crate::lines::{CheckResult, Checks, Lines};
use ztfast_vm::{BUDGET, Fault, Instr, Predicate, Request, Scratch, StoreView, Vm};

/// The steps that the checks of one decision may take: as in a walk.
const STEPS: u32 = 1 << 27;
/// The checks whose results one decision remembers.
const REMEMBERED: u16 = 64;

/// A part of a condition.
#[derive(Debug)]
pub(crate) struct Check {
    /// Where the code begins, and its length.
    pub code: (u32, u32),
    /// What the code asks; `None` if only the interpreter can tell.
    pub predicate: Option<Predicate>,
}

/// Runs checks for one decision.
pub(crate) struct Interpreter<'a, R> {
    lines: &'a Lines,
    code: &'a [Instr],
    store: &'a StoreView<'a>,
    /// Makes the request, which only checks need.
    make: R,
    request: Option<Request<'a>>,
    scratch: &'a mut Scratch,
    /// The checks that were run, and which of these are true or an error.
    run: u64,
    holds: u64,
    fails: u64,
    steps: u32,
    /// Whether a check contradicts the tables or exceeds a limit. Then the decision is corrupt.
    pub is_faulty: bool,
}

impl<'a, R: Fn() -> Option<Request<'a>>> Interpreter<'a, R> {
    #[inline]
    pub const fn new(
        lines: &'a Lines,
        code: &'a [Instr],
        store: &'a StoreView<'a>,
        make: R,
        scratch: &'a mut Scratch,
    ) -> Self {
        let (request, steps) = (None, STEPS);
        Self { lines, code, store, make, request, scratch, run: 0, holds: 0, fails: 0, steps, is_faulty: false }
    }

    #[inline]
    fn evaluate(&mut self, check: u16) -> Result<bool, Fault> {
        if self.request.is_none() {
            self.request = (self.make)();
        }
        let request = self.request.as_ref().ok_or(Fault::Corrupt)?;
        let Check { code: (start, len), predicate } = self.lines.check(check).ok_or(Fault::Corrupt)?;
        let given = self.steps.checked_sub(*len).ok_or(Fault::Exhausted)?.min(BUDGET);
        let mut left = given;
        let holds = if let Some(predicate) = predicate {
            predicate.holds(self.store, request, &mut left)
        } else {
            let code = self.code.get(*start as usize..*start as usize + *len as usize).ok_or(Fault::Corrupt)?;
            let mut vm = Vm::new(self.store, request, self.scratch).with_budget(given);
            let holds = vm.holds(code);
            left = vm.budget();
            holds
        };
        self.steps = self.steps.saturating_sub(len + (given - left));
        holds
    }
}

impl<'a, R: Fn() -> Option<Request<'a>>> Checks for Interpreter<'a, R> {
    #[inline]
    fn run(&mut self, check: u16) -> Option<CheckResult> {
        let bit = if check < REMEMBERED { 1_u64 << check } else { 0 };
        if self.run & bit != 0 {
            let holds = self.holds & bit != 0;
            return Some(if self.fails & bit == 0 { CheckResult::Bool(holds) } else { CheckResult::Error });
        }
        self.run |= bit;
        Some(match self.evaluate(check) {
            Ok(holds) => {
                self.holds |= if holds { bit } else { 0 };
                CheckResult::Bool(holds)
            }
            Err(fault) => {
                self.is_faulty |= fault != Fault::Error;
                self.fails |= bit;
                CheckResult::Error
            }
        })
    }
}
