//! Runs the checks that a gate's lines ask for: parts of conditions that are no intervals of arguments.

use crate::linear::Checked;
use ztfast_bundle::Bundle;
use ztfast_vm::{
    BUDGET, EntityRef, Fault, Instr, Predicate, Request, Scratch, Single, StoreView, StringsView, Value, Vm,
};

/// The steps that the checks of one decision may take: as in a walk.
const STEPS: u32 = 1 << 27;
/// The checks whose results one decision remembers, a bit for each. One bit is left, which is never set.
pub(crate) const REMEMBERED: u16 = 63;
/// The most entities for which the results of a check are kept.
pub(crate) const MAX_ENTITIES: usize = 1 << 12;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckResult {
    Bool(bool),
    Error,
}

/// Runs checks.
pub(crate) trait Checks {
    /// Return whether all of these checks have the results that are wanted of them, if all results are known.
    fn known(&self, wanted: &Wanted) -> Option<bool>;

    /// Run a check; `None` if this runs none.
    fn run(&mut self, check: u16) -> Option<CheckResult>;
}

/// A part of a condition, in the forms that it has: the quickest first.
#[derive(Debug)]
pub(crate) struct Check {
    /// The results for an entity that is an argument, if the check asks nothing else.
    pub of_entity: Option<OfEntity>,
    pub single: Option<Single>,
    pub predicate: Option<Predicate>,
    /// Where the code begins, and its length.
    pub code: (u32, u32),
}

/// The results of a check for each entity that the argument at a place may be, as of the bundle. Entities that the
/// bundle lacks have those of their type's stand-in: no constant is one of them.
#[derive(Debug)]
pub(crate) struct OfEntity {
    place: u16,
    /// The number of the first entity.
    first: u32,
    /// [`FALSE`], [`TRUE`] or [`ERROR`] for each; 0 for those of other types.
    pub results: Box<[u8]>,
}

const FALSE: u8 = 1;
const TRUE: u8 = 2;
const ERROR: u8 = 3;

impl OfEntity {
    /// Run code that asks for nothing but the entity at a place, of the type with this number, for all entities of the
    /// type, which lie in this range. `None` if that exceeds the budget or another limit.
    pub fn of(
        bundle: &Bundle,
        code: &[Instr],
        (place, ty): (u16, u32),
        (first, last): (usize, usize),
        (positions, kinds, arguments): (&[u16], &[u32], usize),
        scratch: &mut Scratch,
        budget: &mut usize,
    ) -> Option<Self> {
        let mut results = vec![0; last - first + 1];
        let mut numbers = vec![0; arguments];
        for (at, record) in (first..).zip(bundle.entities().get(first..=last)?) {
            if record.ty != ty {
                continue;
            }
            let entity = EntityRef::known(u32::try_from(at).ok()?);
            *numbers.get_mut(usize::from(place))? = entity.bits().cast_signed();
            let request = Request { numbers: &numbers, positions, kinds, ..Request::bare(entity, entity) };
            *budget = budget.checked_sub(1 + code.len())?;
            let mut vm = Vm::new(bundle.store(), &request, scratch);
            vm = vm.with_budget(u32::try_from(*budget).unwrap_or(u32::MAX));
            let given = vm.budget();
            let holds = vm.holds(code);
            *budget = budget.saturating_sub((given - vm.budget()) as usize);
            let result = match holds {
                Ok(holds) => FALSE + u8::from(holds),
                Err(Fault::Error) => ERROR,
                Err(_) => return None,
            };
            *results.get_mut(at - first)? = result;
        }
        Some(Self { place, first: u32::try_from(first).ok()?, results: results.into() })
    }

    /// Return the place of the argument, the number of the first entity, and the results: whether it holds, or none for
    /// an error.
    pub fn results(&self) -> (u16, u32, impl ExactSizeIterator<Item = Option<bool>> + '_) {
        let result = |result: &u8| (*result != ERROR).then_some(*result == TRUE);
        (self.place, self.first, self.results.iter().map(result))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low half is the index
    pub fn result(&self, numbers: &[i64]) -> Option<CheckResult> {
        let index = numbers.get(usize::from(self.place))?.cast_unsigned() as u32;
        match *self.results.get(index.checked_sub(self.first)? as usize)? {
            FALSE => Some(CheckResult::Bool(false)),
            TRUE => Some(CheckResult::Bool(true)),
            ERROR => Some(CheckResult::Error),
            _ => None,
        }
    }
}

/// What checks may read of a decision.
pub(crate) trait CheckInputs<'a> {
    /// Return the gate's checks.
    fn checks(&self) -> &'a [Check];
    /// Return the bundle's code.
    fn code(&self) -> &'a [Instr];
    /// Return the arguments, with the sets, addresses and texts that they bring.
    fn arguments(&self) -> Arguments<'a>;
    /// Return the whole request, which few checks need; `None` if an entity is gone.
    fn request(&self) -> Option<Request<'a>>;
}

/// The arguments of a decision.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    pub numbers: &'a [i64],
    pub arena: &'a [Value],
    pub strings: StringsView<'a>,
}

/// The results of checks, a bit for each check.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Answers {
    /// The checks whose results are known.
    pub known: u64,
    /// Those of them that are true.
    pub holds: u64,
    /// Those of them that are errors.
    pub fails: u64,
}

impl Answers {
    /// Add the result of a check that is no error.
    #[inline]
    pub const fn add(&mut self, check: u64, holds: bool) {
        self.known |= check;
        self.holds |= if holds { check } else { 0 };
    }

    /// Add results of other checks.
    #[inline]
    pub const fn join(&mut self, others: &Self) {
        self.known |= others.known;
        self.holds |= others.holds;
        self.fails |= others.fails;
    }

    /// Return whether all of these checks have the results that are wanted of them, if all results are known.
    #[inline]
    pub const fn are(&self, wanted: &Wanted) -> Option<bool> {
        if wanted.checks & !self.known != 0 {
            return None;
        }
        Some((self.holds ^ wanted.holds) & wanted.either | self.fails & wanted.checks == 0)
    }

    /// Return the result of a check with this bit, if it is known.
    #[inline]
    const fn result(&self, bit: u64) -> Option<CheckResult> {
        if self.known & bit == 0 {
            None
        } else if self.fails & bit != 0 {
            Some(CheckResult::Error)
        } else {
            Some(CheckResult::Bool(self.holds & bit != 0))
        }
    }
}

/// Runs no checks, but knows the results of some.
impl Checks for Answers {
    #[inline]
    fn known(&self, wanted: &Wanted) -> Option<bool> {
        self.are(wanted)
    }

    #[inline]
    fn run(&mut self, check: u16) -> Option<CheckResult> {
        self.result(bit_of(check))
    }
}

/// Return the bit of a check; 0 if it has none.
#[inline]
const fn bit_of(check: u16) -> u64 {
    if check < REMEMBERED { 1 << check } else { 0 }
}

/// The checks of a clause, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// All checks; all bits, one of which is never set, if one has no bit.
    checks: u64,
    /// Those that have to be true or false, and those that have to be true.
    either: u64,
    holds: u64,
}

impl Wanted {
    pub fn of(all: &[Checked]) -> Self {
        let mut wanted = Self { checks: 0, either: 0, holds: 0 };
        for &Checked { check, result } in all {
            if check >= REMEMBERED {
                return Self { checks: u64::MAX, either: 0, holds: 0 };
            }
            let bit = 1 << check;
            wanted.checks |= bit;
            wanted.either |= if result.is_some() { bit } else { 0 };
            wanted.holds |= if result == Some(true) { bit } else { 0 };
        }
        wanted
    }

    /// Return whether there are no checks.
    #[inline]
    pub const fn is_none(&self) -> bool {
        self.checks == 0
    }
}

/// Runs checks for one decision.
pub(crate) struct CheckRunner<'a, 'g, G> {
    given: &'g G,
    store: &'g StoreView<'g>,
    request: Option<Request<'a>>,
    scratch: &'g mut Scratch,
    /// Some checks were answered before, others were run as code or predicates.
    answers: Answers,
    steps: u32,
    /// Whether a check contradicts the tables or exceeds a limit. Then the decision is corrupt.
    pub is_faulty: bool,
}

impl<'a, 'g, G: CheckInputs<'a>> CheckRunner<'a, 'g, G> {
    #[inline]
    pub const fn new(given: &'g G, store: &'g StoreView<'g>, scratch: &'g mut Scratch, answers: Answers) -> Self {
        Self { given, store, request: None, scratch, answers, steps: STEPS, is_faulty: false }
    }

    /// Return the result of a check that needs no request.
    #[inline]
    fn at_once(&self, check: &Check) -> Option<CheckResult> {
        if let Some(of_entity) = &check.of_entity
            && self.store.changes.is_none()
        {
            return of_entity.result(self.given.arguments().numbers);
        }
        let single = check.single.as_ref()?;
        let Arguments { numbers, arena, strings } = self.given.arguments();
        single.holds(numbers, arena, strings, self.store.strings).map(CheckResult::Bool)
    }

    /// Return the result of a check, and remember it.
    #[inline(never)]
    fn evaluate(&mut self, bit: u64, check: &Check) -> CheckResult {
        self.answers.known |= bit;
        match self.holds(check) {
            Ok(holds) => {
                self.answers.holds |= if holds { bit } else { 0 };
                CheckResult::Bool(holds)
            }
            Err(fault) => {
                self.is_faulty |= fault != Fault::Error;
                self.answers.fails |= bit;
                CheckResult::Error
            }
        }
    }

    #[inline]
    fn holds(&mut self, check: &Check) -> Result<bool, Fault> {
        if self.request.is_none() {
            self.request = self.given.request();
        }
        let request = self.request.as_ref().ok_or(Fault::Corrupt)?;
        let (start, len) = check.code;
        let given = self.steps.checked_sub(len).ok_or(Fault::Exhausted)?.min(BUDGET);
        let mut left = given;
        let holds = if let Some(predicate) = &check.predicate {
            predicate.holds(self.store, request, &mut left)
        } else {
            let code = self.given.code().get(start as usize..start as usize + len as usize).ok_or(Fault::Corrupt)?;
            let mut vm = Vm::new(self.store, request, self.scratch).with_budget(given);
            let holds = vm.holds(code);
            left = vm.budget();
            holds
        };
        self.steps = self.steps.saturating_sub(len + (given - left));
        holds
    }
}

impl<'a, G: CheckInputs<'a>> Checks for CheckRunner<'a, '_, G> {
    #[inline]
    fn known(&self, wanted: &Wanted) -> Option<bool> {
        self.answers.are(wanted)
    }

    #[inline]
    fn run(&mut self, number: u16) -> Option<CheckResult> {
        // The decision is known, and each further check might take as long.
        if self.is_faulty {
            return Some(CheckResult::Error);
        }
        let Some(check) = self.given.checks().get(usize::from(number)) else {
            self.is_faulty = true;
            return Some(CheckResult::Error);
        };
        let bit = bit_of(number);
        let known = self.answers.result(bit).or_else(|| self.at_once(check));
        Some(known.unwrap_or_else(|| self.evaluate(bit, check)))
    }
}
