//! Runs the checks that a gate's lines ask for: parts of conditions that only the interpreter can tell.

use crate::lines::{CheckResult, Checks, Lines};
use ztfast_vm::{Fault, Instr, Request, Scratch, StoreView, Vm};

/// The steps that the checks of one decision may take: as in a walk.
const STEPS: u32 = 1 << 27;
/// The checks whose results one decision remembers.
const REMEMBERED: u16 = 64;

/// Runs checks for one decision.
pub(crate) struct Interpreter<'a> {
    lines: &'a Lines,
    code: &'a [Instr],
    store: &'a StoreView<'a>,
    request: &'a Request<'a>,
    scratch: &'a mut Scratch,
    /// The checks that were run, and which of these are true or an error.
    run: u64,
    holds: u64,
    fails: u64,
    steps: u32,
    /// Whether a check contradicts the tables or exceeds a limit. Then the decision is corrupt.
    pub is_faulty: bool,
}

impl<'a> Interpreter<'a> {
    pub const fn new(
        lines: &'a Lines,
        code: &'a [Instr],
        store: &'a StoreView<'a>,
        request: &'a Request<'a>,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { lines, code, store, request, scratch, run: 0, holds: 0, fails: 0, steps: STEPS, is_faulty: false }
    }

    fn evaluate(&mut self, check: u16) -> Result<bool, Fault> {
        let (start, len) = self.lines.check(check).ok_or(Fault::Corrupt)?;
        let code = self.code.get(start as usize..start as usize + len as usize).ok_or(Fault::Corrupt)?;
        self.steps = self.steps.checked_sub(len).ok_or(Fault::Exhausted)?;
        let mut vm = Vm::new(self.store, self.request, self.scratch).with_budget(self.steps);
        let given = vm.budget();
        let holds = vm.holds(code);
        self.steps = self.steps.checked_sub(given - vm.budget()).ok_or(Fault::Exhausted)?;
        holds
    }
}

impl Checks for Interpreter<'_> {
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
