//! The walk over an action's layers: it maps two classes to a cell, or to two sets of policies, and runs their
//! programs.

use crate::changes::UNCLASSED;
use crate::checks::Answers;
use crate::classify::class_selectors;
use crate::layers::{cell, layer_classes};
use crate::sets::Candidates;
use crate::snapshot::Snapshot;
use ztfast_bundle::{
    Bundle, CellKind, ClassPair, ERRED, Form, LayerRec, PlanRec, Program, ResidualView, cell_kind, cell_program,
};
use ztfast_codes::Code;
use ztfast_vm::{EntityRef, Fault, Request, Scratch, Vm};

/// The number of policies that [`Determining`] can hold.
pub const MAX_DETERMINING: usize = 64;

/// The numbers of the policies that determine a decision.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Determining {
    /// How many policies there are. Those beyond [`MAX_DETERMINING`] are counted but not kept.
    pub count: u32,
    /// Their numbers, in the order of the policies.
    pub policies: [u32; MAX_DETERMINING],
}

impl Default for Determining {
    fn default() -> Self {
        Self { count: 0, policies: [0; MAX_DETERMINING] }
    }
}

impl Determining {
    /// Sort the numbers into the order of the policies.
    pub(crate) fn sort(&mut self) {
        if self.count < 2 {
            return;
        }
        let kept = (self.count as usize).min(MAX_DETERMINING);
        if let Some(kept) = self.policies.get_mut(..kept) {
            kept.sort_unstable();
        }
    }

    /// Return the numbers that were kept.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.policies.get(..self.count as usize).unwrap_or(&self.policies)
    }
}

/// A sink for the policies that determine a decision.
pub(crate) trait Sink {
    /// Whether the sink wants all of them. Then every policy of the cell is evaluated, instead of stopping at the first
    /// that settles the effect.
    const ALL: bool;
    /// Whether the values of the request are not there, but for numbers and the answers of checks.
    const BY_ANSWERS: bool = false;
    /// Whether forbids are evaluated.
    const FORBIDS: bool = true;
    /// Drop the policies recorded so far.
    fn clear(&mut self);
    /// Record a policy.
    fn push(&mut self, policy: u32);
    /// Record a forbid, whose number has [`ERRED`] if it denies because it erred.
    fn push_forbid(&mut self, policy: u32) {
        self.push(policy & !ERRED);
    }
    /// Return the results of checks that are known.
    fn answers(&self) -> Answers {
        Answers::default()
    }
    /// Return where results of checks that are known are kept, if they are.
    fn answers_mut(&mut self) -> Option<&mut Answers> {
        None
    }
    /// Record that the decision needs the request's values.
    fn need_values(&mut self) {}
}

/// A sink for callers that want the effect only, and know results of checks instead of some values.
#[derive(Default)]
pub(crate) struct EffectByAnswers {
    pub answers: Answers,
    /// Whether the decision needs the values. Then its code says nothing.
    pub needs_values: bool,
}

impl Sink for EffectByAnswers {
    const ALL: bool = false;
    const BY_ANSWERS: bool = true;

    fn clear(&mut self) {}

    fn push(&mut self, _policy: u32) {}

    #[inline]
    fn answers(&self) -> Answers {
        self.answers
    }

    #[inline]
    fn answers_mut(&mut self) -> Option<&mut Answers> {
        Some(&mut self.answers)
    }

    fn need_values(&mut self) {
        self.needs_values = true;
    }
}

impl Sink for Determining {
    const ALL: bool = true;

    fn clear(&mut self) {
        self.count = 0;
    }

    fn push(&mut self, policy: u32) {
        if let Some(place) = self.policies.get_mut(self.count as usize) {
            *place = policy;
        }
        self.count = self.count.saturating_add(1);
    }
}

/// A sink for callers that want the effect only.
pub(crate) struct EffectOnly;

impl Sink for EffectOnly {
    const ALL: bool = false;

    fn clear(&mut self) {}

    fn push(&mut self, _policy: u32) {}
}

/// The inputs of one decision.
pub(crate) struct Walk<'a> {
    pub snapshot: &'a Snapshot,
    /// The action's number.
    pub action: u32,
    pub layers: &'a [LayerRec],
    /// The principal's class as a principal, and the resource's as a resource.
    pub classes: ClassPair,
    pub request: &'a Request<'a>,
    /// Returns the uids of foreign entities that only the request knows.
    pub foreign: &'a dyn Fn(u32) -> Option<(Box<str>, Box<str>)>,
}

/// Why a walk ends before it has evaluated all policies.
pub(crate) enum End {
    /// The decision is known.
    Known(Code),
    /// The tables contradict each other, or a value exceeds a limit.
    Fault,
    /// Cedar's own evaluator must decide.
    Fallback,
}

impl From<Fault> for End {
    fn from(_: Fault) -> Self {
        Self::Fault
    }
}

/// The verdict of the policies evaluated so far.
pub(crate) struct Verdict<'n, N> {
    pub code: Code,
    sink: &'n mut N,
    memo: Memo,
}

/// The steps that one decision may take over all its conditions: about half a second. In a crafted bundle, policies may
/// share conditions without end.
const STEPS: u32 = 1 << 27;

/// The results of some conditions in this decision. Many policies share conditions, which are then evaluated once.
struct Memo {
    known: [u64; 4],
    /// The steps left.
    steps: u32,
}

impl Memo {
    /// Use up steps.
    #[inline]
    fn spend(&mut self, steps: u32) -> Result<(), Fault> {
        self.steps = self.steps.checked_sub(steps).ok_or(Fault::Exhausted)?;
        Ok(())
    }

    /// Pack the place of a condition in the code, a bit that marks the entry as used, and the result.
    const fn word(start: u32, holds: bool) -> u64 {
        (start as u64) << 2 | 2 | holds as u64
    }

    #[inline]
    fn get(&self, start: u32) -> Option<bool> {
        let word = *self.known.get(start as usize % 4)?;
        (word | 1 == Self::word(start, true)).then_some(word & 1 != 0)
    }

    #[inline]
    fn put(&mut self, start: u32, holds: bool) {
        if let Some(word) = self.known.get_mut(start as usize % 4) {
            *word = Self::word(start, holds);
        }
    }
}

impl<'n, N: Sink> Verdict<'n, N> {
    /// Start from the verdict of the layers before.
    #[inline]
    pub fn new(code: Code, sink: &'n mut N) -> Self {
        Self { code, sink, memo: Memo { known: [0; 4], steps: STEPS } }
    }

    /// Record that a policy applies. `Err` if no other policy can change the decision.
    #[inline]
    pub fn apply(&mut self, policy: u32, forbid: bool) -> Result<(), End> {
        if forbid {
            if !N::ALL {
                return Err(End::Known(Code::Forbid));
            }
            if self.code != Code::Forbid {
                self.sink.clear();
            }
            self.code = Code::Forbid;
            self.sink.push_forbid(policy);
        } else if self.code != Code::Forbid {
            self.code = Code::Allow;
            self.sink.push(policy);
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Decide over all layers.
    #[inline]
    pub fn decide<N: Sink>(&self, scratch: &mut Scratch, sink: &mut N) -> Code {
        self.resume(Code::Default, scratch, sink)
    }

    /// Decide over these layers, where the layers before gave `code`.
    #[inline]
    pub fn resume<N: Sink>(&self, code: Code, scratch: &mut Scratch, sink: &mut N) -> Code {
        let mut verdict = Verdict::new(code, sink);
        match self.look(scratch, &mut verdict) {
            Ok(()) => verdict.code,
            Err(end) => self.end(&end, verdict.sink),
        }
    }

    /// Return the decision of a walk that ended early.
    #[inline]
    pub fn end<N: Sink>(&self, end: &End, sink: &mut N) -> Code {
        match end {
            End::Known(code) => *code,
            End::Fault => Code::Corrupt,
            End::Fallback => self.fallback(sink),
        }
    }

    #[inline]
    fn look<N: Sink>(&self, scratch: &mut Scratch, verdict: &mut Verdict<'_, N>) -> Result<(), End> {
        if self.classes.principal == UNCLASSED || self.classes.resource == UNCLASSED {
            return self.one_by_one(scratch, verdict);
        }
        let bundle = &*self.snapshot.loaded.bundle;
        for layer in self.layers {
            let (principal, resource) = layer_classes(bundle, layer, self.classes).map_err(End::Known)?;
            if layer.form == Form::Sets as u32 {
                self.sets(layer, principal, resource, scratch, verdict)?;
            } else {
                let cell = cell(bundle, layer, principal, resource).map_err(End::Known)?;
                self.cell(cell, scratch, verdict)?;
            }
        }
        Ok(())
    }

    /// Apply a cell.
    #[inline]
    pub fn cell<N: Sink>(&self, cell: u32, scratch: &mut Scratch, verdict: &mut Verdict<'_, N>) -> Result<(), End> {
        let kind = cell_kind(cell);
        if kind == CellKind::Default {
            Ok(())
        } else if kind == CellKind::Program || N::ALL || (!N::FORBIDS && kind == CellKind::Forbid) {
            self.program(cell_program(cell), scratch, verdict)
        } else {
            verdict.apply(0, kind == CellKind::Forbid)
        }
    }

    #[inline]
    fn program<N: Sink>(&self, start: u32, scratch: &mut Scratch, verdict: &mut Verdict<'_, N>) -> Result<(), End> {
        let mut program = Program::read(self.snapshot.loaded.bundle.programs(), start).ok_or(Fault::Corrupt)?;
        if program.opaque {
            return Err(End::Fallback);
        }
        for _ in 0..program.forbids {
            let entry = program.next().ok_or(Fault::Corrupt)?;
            if N::FORBIDS && self.applies(&entry, scratch, &mut verdict.memo)? {
                verdict.apply(entry.policy, true)?;
            }
        }
        // Permits change nothing once a forbid applies. Once a permit applies, others do not change the effect.
        if verdict.code == Code::Forbid || (!N::ALL && verdict.code == Code::Allow) {
            return Ok(());
        }
        for _ in 0..program.permits {
            let entry = program.next().ok_or(Fault::Corrupt)?;
            if self.applies(&entry, scratch, &mut verdict.memo)? {
                verdict.apply(entry.policy, false)?;
                if !N::ALL {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn applies(&self, entry: &ResidualView<'_>, scratch: &mut Scratch, memo: &mut Memo) -> Result<bool, Fault> {
        memo.spend(1)?;
        for test in entry.ranges() {
            if !self.request.number(test.slot).is_some_and(|number| test.holds(number)) {
                return Ok(false);
            }
        }
        for (start, len) in entry.conjuncts().ok_or(Fault::Corrupt)? {
            let holds = match memo.get(start) {
                Some(known) => known,
                None => self.condition_holds(start, len, scratch, memo)?,
            };
            memo.put(start, holds);
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Return whether a condition is true. A false and an error are the same here.
    fn condition_holds(&self, start: u32, len: u32, scratch: &mut Scratch, memo: &mut Memo) -> Result<bool, Fault> {
        memo.spend(len)?;
        let bundle = &*self.snapshot.loaded.bundle;
        let start = start as usize;
        let code = bundle.code().get(start..start + len as usize).ok_or(Fault::Corrupt)?;
        self.snapshot.with_store(|store| {
            let mut vm = Vm::new(store, self.request, scratch).with_budget(memo.steps);
            let given = vm.budget();
            let holds = vm.holds(code);
            memo.spend(given - vm.budget())?;
            match holds {
                Ok(holds) => Ok(holds),
                Err(Fault::Error) => Ok(false),
                Err(fault) => Err(fault),
            }
        })
    }

    /// Apply the policies that both classes admit, in a layer whose form is sets.
    pub fn sets<N: Sink>(
        &self,
        layer: &LayerRec,
        principal: u32,
        resource: u32,
        scratch: &mut Scratch,
        verdict: &mut Verdict<'_, N>,
    ) -> Result<(), End> {
        let bundle = &*self.snapshot.loaded.bundle;
        let simd = self.snapshot.loaded.simd;
        let mut candidates = Candidates::new(bundle, layer, principal, resource, simd).ok_or(Fault::Corrupt)?;
        while let Some(bit) = candidates.next_bit().ok_or(Fault::Corrupt)? {
            let plan = bundle.plans().get(layer.plans.start as usize + bit as usize).ok_or(Fault::Corrupt)?;
            if plan.program == u32::MAX {
                // This bit marks the end of the policies that ask nothing of either side.
                candidates.skip_block();
                continue;
            }
            // Forbids have the first bits, so this layer has no forbid left. Permits change nothing once a forbid
            // applies, nor, if only the effect is wanted, once a permit of any layer applies.
            if plan.forbid == 0 && (verdict.code == Code::Forbid || (!N::ALL && verdict.code == Code::Allow)) {
                return Ok(());
            }
            self.plan(plan, scratch, verdict)?;
        }
        Ok(())
    }

    #[inline]
    fn plan<N: Sink>(&self, plan: &PlanRec, scratch: &mut Scratch, verdict: &mut Verdict<'_, N>) -> Result<(), End> {
        if plan.program == u32::MAX { Ok(()) } else { self.program(plan.program, scratch, verdict) }
    }

    /// Apply the policies that the selectors of both sides admit, one by one: for a changed entity whose class the
    /// bundle lacks.
    #[cold]
    fn one_by_one<N: Sink>(&self, scratch: &mut Scratch, verdict: &mut Verdict<'_, N>) -> Result<(), End> {
        let bundle = &*self.snapshot.loaded.bundle;
        let classifier = &self.snapshot.loaded.classifier;
        let selectors = [self.selectors(0).ok_or(Fault::Corrupt)?, self.selectors(1).ok_or(Fault::Corrupt)?];
        let action = bundle.actions().get(self.action as usize).ok_or(Fault::Corrupt)?;
        for (at, layer) in (action.layers.start as usize..).zip(self.layers) {
            let type_classes = ClassPair { principal: selectors[0].type_class, resource: selectors[1].type_class };
            layer_classes(bundle, layer, type_classes).map_err(End::Known)?;
            let index = classifier.layer(at).ok_or(Fault::Corrupt)?;
            // Iterate over the side that has fewer policies.
            let policies = |side: usize| {
                let of = |selector: &u32| index.plans[side].get(selector).map_or(0, Vec::len);
                of(&0) + selectors[side].lists(bundle).flatten().map(of).sum::<usize>()
            };
            let by = usize::from(policies(1) < policies(0));
            let other_lists = u32::try_from(selectors[1 - by].lists(bundle).count()).unwrap_or(u32::MAX);
            for selector in [0].iter().chain(selectors[by].lists(bundle).flatten()) {
                for &number in index.plans[by].get(selector).into_iter().flatten() {
                    let plan = bundle.plans().get(number as usize).ok_or(Fault::Corrupt)?;
                    let other = if by == 0 { plan.resource } else { plan.principal };
                    verdict.memo.spend(other_lists)?;
                    if other == 0 || selectors[1 - by].lists(bundle).any(|list| list.binary_search(&other).is_ok()) {
                        self.plan(plan, scratch, verdict)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Return the selectors that hold for the entity on one side.
    fn selectors(&self, side: usize) -> Option<SideSelectors<'_>> {
        let (class, entity) = match side {
            0 => (self.classes.principal, self.request.principal),
            _ => (self.classes.resource, self.request.resource),
        };
        if class != UNCLASSED {
            return Some(SideSelectors { side, class, changed: None, type_class: class });
        }
        let changed = self.snapshot.changes.as_ref()?.entities.get(&entity.index)?;
        let type_class = if side == 0 { changed.type_classes.principal } else { changed.type_classes.resource };
        Some(SideSelectors { side, class, changed: Some(&changed.selectors[side]), type_class })
    }

    /// Ask Cedar's own evaluator, which is slow and allocates. The bundle's statistics name the policies that need it.
    #[cold]
    fn fallback<N: Sink>(&self, sink: &mut N) -> Code {
        let uid = |entity: EntityRef| crate::snapshot::owned_uid(self.snapshot, entity, self.foreign);
        let answer = (|| {
            let fallback = self.snapshot.loaded.fallback.as_ref()?;
            let (principal, resource) = (uid(self.request.principal)?, uid(self.request.resource)?);
            fallback.authorize(
                self.snapshot,
                self.action,
                crate::snapshot::UidRef { ty: &principal.0, id: &principal.1 },
                crate::snapshot::UidRef { ty: &resource.0, id: &resource.1 },
                self.request,
                &uid,
            )
        })();
        let Some(answer) = answer else { return Code::Corrupt };
        sink.clear();
        if !N::FORBIDS {
            return if answer.permitted { Code::Allow } else { Code::Default };
        }
        let mark = if answer.erred { ERRED } else { 0 };
        answer.reasons.iter().for_each(|&policy| sink.push_forbid(policy | mark));
        match (answer.allow, answer.reasons.is_empty()) {
            (true, _) => Code::Allow,
            (false, true) => Code::Default,
            (false, false) => Code::Forbid,
        }
    }
}

/// The selectors of one side of a request.
struct SideSelectors<'a> {
    side: usize,
    class: u32,
    /// The selectors of a changed entity.
    changed: Option<&'a [u32]>,
    /// The class that says which actions apply.
    type_class: u32,
}

impl SideSelectors<'_> {
    /// Return the selectors, as sorted lists.
    fn lists<'b>(&'b self, bundle: &'b Bundle) -> impl Iterator<Item = &'b [u32]> {
        let of_class = self.changed.is_none().then(|| class_selectors(bundle, self.side, self.class));
        self.changed.into_iter().chain(of_class.into_iter().flatten())
    }
}
