//! The hot path: the steps that nearly all decisions need, without preparing what only a few need.
//!
//! Most decisions meet two entities that did not change since the bundle was compiled, and a cell of the gate's own
//! table. Their data stays in registers from the gate to the decision. Functions that are never inlined handle the
//! others: [`Gate::by_checks`] a line that needs checks, [`Gate::layers`] what the table leaves to the
//! action's layers, and [`Gate::later_layers`] the layers after the first. [`Gate::slow_path`] builds the request and
//! uses [`Walk`], as batches and `evaluate` do.

use crate::binding::Binding;
use crate::cells::{FIRST_CODE, FIRST_GRID};
use crate::changes::Store;
use crate::checks::{Arguments, Check, CheckInputs, CheckRunner};
use crate::decide::{Determining, EffectOnly, Sink, Walk};
use crate::exit::{Decision, leave};
use crate::gate::Gate;
use crate::layers::{cell, layer_classes};
use crate::lines::{CHECKED, NO_POLICY};
use crate::reasons::Reasons;
use crate::snapshot::Snapshot;
use ztfast_bundle::{Bundle, CellKind, ClassPair, Form, LayerRec, Program, Tests, cell_program, pack_cell};
use ztfast_codes::Code;
use ztfast_live::{Handle, Place, SessionId};
use ztfast_pages::monotonic_ns;
use ztfast_vm::{Instr, Request};

/// The least cell of each kind. The kinds are in the order of their numbers.
const ALLOW: u32 = pack_cell(CellKind::Allow, 0);
const FORBID: u32 = pack_cell(CellKind::Forbid, 0);
const PROGRAM: u32 = pack_cell(CellKind::Program, 0);

const ANSWER_DEFAULT: u8 = Code::Default as u8;
const ANSWER_ALLOW: u8 = Code::Allow as u8;
const ANSWER_FORBID: u8 = Code::Forbid as u8;
const ANSWER_CORRUPT: u8 = Code::Corrupt as u8;
/// The codes of cells, by their numbers.
const CELL_CODES: [Option<Code>; 5] =
    [Some(Code::Default), Some(Code::Allow), None, Some(Code::Forbid), Some(Code::NotApplicable)];
const _: () = assert!(matches!(CELL_CODES[Code::Default as usize], Some(Code::Default)));
const _: () = assert!(matches!(CELL_CODES[Code::Allow as usize], Some(Code::Allow)));
const _: () = assert!(matches!(CELL_CODES[Code::Forbid as usize], Some(Code::Forbid)));
const _: () = assert!(matches!(CELL_CODES[Code::NotApplicable as usize], Some(Code::NotApplicable)));

/// The result of one layer.
enum Step {
    /// The code so far; other layers may change it.
    SoFar(Code),
    /// The decision, whatever other layers say.
    Known(Code),
    /// The layer needs more than ranges.
    SlowPath,
}

/// A gate for which nothing was new, begun or killed a moment ago. It decides once, and has to do so at once: what is
/// killed or swapped while it is kept, it does not see.
#[must_use]
pub struct QuietGate<'g>(&'g mut Gate);

impl QuietGate<'_> {
    /// Decide: [`Code::Allow`], or the code of the denial.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        let code = self.0.decide_now(session, resource, values, &mut EffectOnly);
        leave(code)
    }
}

/// As [`QuietGate`], a gate that adds live attributes, all of which are numbers.
#[must_use]
pub struct QuietLiveGate<'g>(&'g mut Gate);

impl QuietLiveGate<'_> {
    /// Decide: [`Code::Allow`], or the code of the denial.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        let code = self.0.decide_live_now(session, resource, values);
        leave(code)
    }

    #[inline(never)]
    fn allows_beside(self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        self.allows(session, resource, values)
    }
}

impl Gate {
    /// Decide: [`Code::Allow`], or the code of the denial.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        match self.quiet() {
            Some(gate) => gate.allows(session, resource, values),
            None => self.allows_unless_quiet(session, resource, values),
        }
    }

    // A function of its own that jumps to others, so that no kind of decision saves registers for another one.
    #[cold]
    #[inline(never)]
    fn allows_unless_quiet(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        match self.quiet_live() {
            Some(gate) => gate.allows_beside(session, resource, values),
            None => self.allows_otherwise(session, resource, values),
        }
    }

    /// Return the gate, if its next decision is one of those for which the hot path is made. A caller for which each
    /// instruction counts can so keep the two kinds of decisions apart; any other calls [`Self::allows`].
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    pub fn quiet(&mut self) -> Option<QuietGate<'_>> {
        (self.shared.disquiet(self.expected) == 0).then_some(QuietGate(self))
    }

    /// As [`Self::quiet`], for decisions with live attributes that are numbers.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn quiet_live(&mut self) -> Option<QuietLiveGate<'_>> {
        (self.shared.disquiet(self.expected_live) == 0).then_some(QuietLiveGate(self))
    }

    /// Decide as [`Self::allows`] does, where [`Self::quiet`] and [`Self::quiet_live`] return `None`.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows_otherwise(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Decision {
        let code = self.catch_up_and_decide(session, resource, values, &mut EffectOnly);
        leave(code)
    }

    /// Decide, and record the policies that determine the decision.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn decide(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        determining: &mut Determining,
    ) -> Decision {
        determining.clear();
        let code = if self.shared.disquiet(self.expected) == 0 {
            self.decide_now(session, resource, values, determining)
        } else {
            self.catch_up_and_decide(session, resource, values, determining)
        };
        determining.sort();
        leave(code)
    }

    #[cold]
    #[inline(never)]
    fn catch_up_and_decide<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        if self.has_own_path && self.is_quiet_without_call() {
            return self.decide_by_own_path(session, resource, values, sink);
        }
        self.decide_after_catching_up(session, resource, values, sink)
    }

    #[cold]
    #[inline(never)]
    fn decide_after_catching_up<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        let now_ns = self.shared.now_ns();
        match self.catch_up(now_ns, session, resource, values) {
            Some(denied) => denied,
            None if self.has_own_path => self.decide_by_own_path(session, resource, values, sink),
            None => self.decide_at(now_ns, session, resource, values, sink),
        }
    }

    /// Decide as [`Self::decide_now`] does, by the engine's own clock and with the live attributes.
    #[inline(never)]
    pub(crate) fn decide_by_own_path<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        if self.adds_live() {
            return self.decide_live(session, resource, values, sink);
        }
        self.decide_by_own_clock(session, resource, values, sink)
    }

    #[inline(never)]
    fn decide_by_own_clock<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        self.decide_at(self.shared.now_ns(), session, resource, values, sink)
    }

    /// Decide by the gate's snapshot, whose version was seen to be the newest.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub(crate) fn decide_now<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        self.decide_at(monotonic_ns(), session, resource, values, sink)
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub(crate) fn decide_at<N: Sink>(
        &mut self,
        now_ns: i64,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        let Some(principal) = self.shared.sessions.valid(session, now_ns) else {
            return self.shared.why(session, now_ns);
        };
        self.decide_for(principal, resource, values, sink)
    }

    /// Decide for the principal of a session that is valid.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub(crate) fn decide_for<N: Sink>(
        &mut self,
        principal: Place,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        let entities = (principal, resource);
        // A missing attribute would keep forbids from applying. A stale gate takes no number of values.
        let Some(binding) = self.binding_for(values) else {
            return self.slow_path(entities, values, 0, Code::Default, sink);
        };
        let loaded = &*self.snapshot.loaded;
        let Some(classes) = loaded.resolved_pair(principal, loaded.key.shared_place(resource)) else {
            return self.slow_path(entities, values, 0, Code::Default, sink);
        };
        let Some((at, cell)) = binding.table.find(classes) else {
            return self.parts(entities, classes, values, sink);
        };
        if cell < CHECKED {
            let lines = &binding.table.lines;
            let answer = lines.answer(cell, values);
            if !N::ALL {
                return match answer {
                    ANSWER_ALLOW => Code::Allow,
                    ANSWER_DEFAULT => Code::Default,
                    ANSWER_FORBID => Code::Forbid,
                    // The classes are looked up again, because keeping them would take registers from the hot path.
                    _ => self.by_layers(entities, values, sink),
                };
            }
            let policy = lines.policy(cell);
            if answer == ANSWER_ALLOW && policy != NO_POLICY {
                sink.push(policy);
                return Code::Allow;
            }
            // No policy applies, so there are no reasons.
            if answer == ANSWER_DEFAULT {
                return Code::Default;
            }
            if answer == ANSWER_FORBID && name_forbids(&binding.table.reasons, at, values, sink) {
                return Code::Forbid;
            }
            // Those of other answers are found by the layers.
            return self.named(entities, classes, cell, values, sink);
        }
        if cell >= FIRST_GRID {
            let code = binding.table.grid_code(cell, values);
            if !N::ALL {
                return match code {
                    Some(code) => code,
                    None => self.slow_path(entities, values, 0, Code::Default, sink),
                };
            }
            if code == Some(Code::Allow) && binding.table.policy(at) != NO_POLICY {
                sink.push(binding.table.policy(at));
                return Code::Allow;
            }
            if let Some(code @ (Code::Default | Code::NotApplicable)) = code {
                return code;
            }
            if code == Some(Code::Forbid) && name_forbids(&binding.table.reasons, at, values, sink) {
                return Code::Forbid;
            }
            return self.named(entities, classes, cell, values, sink);
        }
        if let Some(&Some(code)) = CELL_CODES.get(cell.wrapping_sub(FIRST_CODE) as usize)
            && (!N::ALL || matches!(code, Code::Default | Code::NotApplicable))
        {
            return code;
        }
        if cell < FIRST_CODE {
            if N::BY_ANSWERS {
                // Where values answered all checks that are asked for, none is run. CHECKS is no answer, nor is WALK.
                match binding.table.lines.answer_known(cell, values, &sink.answers()) {
                    ANSWER_ALLOW => return Code::Allow,
                    ANSWER_DEFAULT => return Code::Default,
                    ANSWER_FORBID => return Code::Forbid,
                    _ => {}
                }
            }
            return self.by_checks(entities, cell, values, sink);
        }
        self.layers(entities, classes, values, sink)
    }

    /// Find the policies of an answer of the table by the layers.
    #[inline(never)]
    fn named<N: Sink>(
        &mut self,
        entities: (Place, Handle),
        classes: ClassPair,
        cell: u32,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        // Where a line has more than intervals, the walk without a request would give up.
        if cell < CHECKED && !self.binding.as_ref().is_some_and(|binding| binding.table.lines.is_box(cell)) {
            return self.slow_path(entities, values, 0, Code::Default, sink);
        }
        self.layers(entities, classes, values, sink)
    }

    /// Decide by a line that needs checks.
    #[inline(never)]
    fn by_checks<N: Sink>(&mut self, entities: (Place, Handle), cell: u32, values: &[i64], sink: &mut N) -> Code {
        let Self { snapshot, binding: Some(binding), memory, brought, .. } = self else { return Code::StaleGate };
        let arguments = Arguments { numbers: values, arena: brought.values(), strings: brought.view() };
        let given = GateInputs { snapshot, binding, entities, arguments };
        let (changed, view);
        let store = match &snapshot.changes {
            None => snapshot.bundle().store(),
            Some(changes) => {
                changed = Store { bundle: snapshot.bundle(), changes };
                view = changed.view();
                &view
            }
        };
        let mut checks = CheckRunner::new(&given, store, &mut memory.scratch, sink.answers());
        let answer = binding.table.lines.answer_with(cell, values, &mut checks);
        match if checks.is_faulty { ANSWER_CORRUPT } else { answer } {
            ANSWER_DEFAULT => return Code::Default,
            ANSWER_CORRUPT => return Code::Corrupt,
            ANSWER_ALLOW if !N::ALL => return Code::Allow,
            ANSWER_FORBID if !N::ALL => return Code::Forbid,
            ANSWER_ALLOW => {
                let policy = binding.table.lines.policy(cell);
                if policy != NO_POLICY {
                    sink.push(policy);
                    return Code::Allow;
                }
            }
            _ => {}
        }
        self.by_layers(entities, values, sink)
    }

    /// Look the classes of two entities up, and decide by the action's layers.
    #[inline(never)]
    fn by_layers<N: Sink>(&mut self, entities: (Place, Handle), values: &[i64], sink: &mut N) -> Code {
        if N::BY_ANSWERS {
            sink.need_values();
            return Code::Corrupt;
        }
        let resource = self.snapshot.loaded.key.place(entities.1);
        match self.snapshot.resolve_both(entities.0, resource) {
            Ok((principal, resource)) => {
                let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
                self.layers(entities, classes, values, sink)
            }
            Err(denial) => denial,
        }
    }

    /// Decide by the tables of the layers, where there is none for all of them.
    #[inline(never)]
    fn parts<N: Sink>(&mut self, entities: (Place, Handle), classes: ClassPair, values: &[i64], sink: &mut N) -> Code {
        if N::BY_ANSWERS {
            sink.need_values();
            return Code::Corrupt;
        }
        let Some(binding) = &self.binding else { return Code::StaleGate };
        match binding.table.parts_code(classes, values) {
            Some(code) if !N::ALL || matches!(code, Code::Default | Code::NotApplicable) => code,
            _ => self.layers(entities, classes, values, sink),
        }
    }

    /// Decide by the action's layers: the gate's own table leaves this pair of classes, or these values, to them.
    #[inline(never)]
    fn layers<N: Sink>(&mut self, entities: (Place, Handle), classes: ClassPair, values: &[i64], sink: &mut N) -> Code {
        if N::BY_ANSWERS {
            sink.need_values();
            return Code::Corrupt;
        }
        let (Some(binding), loaded) = (&self.binding, &*self.snapshot.loaded) else { return Code::StaleGate };
        // A walk that builds no request assumes that all attributes are present.
        if binding.optional != 0 {
            return self.slow_path(entities, values, 0, Code::Default, sink);
        }
        let Some((layer, others)) = binding.layers.split_first() else { return Code::Default };
        match plain_layer(&loaded.bundle, layer, classes, binding, values, Code::Default, sink) {
            // The slow path tells step-ups from forbids.
            Step::SoFar(Code::Forbid) | Step::Known(Code::Forbid) if binding.step_up => {
                self.slow_path(entities, values, 0, Code::Default, sink)
            }
            Step::SoFar(code) if others.is_empty() => code,
            Step::SoFar(code) => self.later_layers(entities, values, code, sink),
            Step::Known(code) => code,
            Step::SlowPath => self.slow_path(entities, values, 0, Code::Default, sink),
        }
    }

    /// Decide from the second layer on, where the first layer gave `code`.
    #[inline(never)]
    fn later_layers<N: Sink>(
        &mut self,
        entities: (Place, Handle),
        values: &[i64],
        mut code: Code,
        sink: &mut N,
    ) -> Code {
        let (Some(binding), loaded) = (&self.binding, &*self.snapshot.loaded) else { return Code::StaleGate };
        if let Some(classes) = loaded.resolved_pair(entities.0, loaded.key.place(entities.1)) {
            for (at, layer) in binding.layers.iter().enumerate().skip(1) {
                match plain_layer(&loaded.bundle, layer, classes, binding, values, code, sink) {
                    Step::SoFar(Code::Forbid) | Step::Known(Code::Forbid) if binding.step_up => break,
                    Step::SoFar(said) => code = said,
                    Step::Known(code) => return code,
                    // If all policies are wanted, this layer may have recorded some already, so the walk starts again.
                    Step::SlowPath if N::ALL => break,
                    Step::SlowPath => return self.slow_path(entities, values, at, code, sink),
                }
                if at + 1 == binding.layers.len() {
                    return code;
                }
            }
        }
        self.slow_path(entities, values, 0, Code::Default, sink)
    }

    /// Decide from the layer `first` on, where the layers before gave `code`. It resolves the two entities again,
    /// because keeping the results would take registers from the hot path.
    #[inline(never)]
    fn slow_path<N: Sink>(
        &mut self,
        (principal, resource): (Place, Handle),
        values: &[i64],
        first: usize,
        code: Code,
        sink: &mut N,
    ) -> Code {
        if N::BY_ANSWERS {
            sink.need_values();
            return Code::Corrupt;
        }
        let Self { snapshot, binding: Some(binding), memory, brought, .. } = self else { return Code::StaleGate };
        let (principal, resource) = match snapshot.resolve_both(principal, snapshot.loaded.key.place(resource)) {
            Ok(entities) => entities,
            Err(denial) => return denial,
        };
        if values.len() != binding.count {
            return Code::Corrupt;
        }
        let Some(layers) = binding.layers.get(first..) else { return Code::Corrupt };
        let Some(positions) = binding.positions_for(values) else { return Code::Corrupt };
        sink.clear();
        let request = Request {
            principal: principal.entity,
            resource: resource.entity,
            numbers: values,
            positions,
            kinds: &binding.kinds,
            arena: brought.values(),
            strings: brought.view(),
        };
        let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
        let (action, foreign) = (binding.action, &|_| None);
        let walk = Walk { snapshot, action, layers, classes, request: &request, foreign };
        match walk.resume(code, &mut memory.scratch, sink) {
            // A step-up depends on the forbids and permits of all layers.
            Code::Forbid if binding.step_up => Walk { layers: &binding.layers, ..walk }.forbidden(&mut memory.scratch),
            code => code,
        }
    }
}

/// Record the forbids of a cell that apply to these values. Return whether the table knows them.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn name_forbids<N: Sink>(reasons: &Reasons, at: usize, values: &[i64], sink: &mut N) -> bool {
    reasons.tell(at, values, |policy| sink.push_forbid(policy))
}

/// What a gate is asked.
struct GateInputs<'a> {
    snapshot: &'a Snapshot,
    binding: &'a Binding,
    entities: (Place, Handle),
    arguments: Arguments<'a>,
}

impl<'a> CheckInputs<'a> for GateInputs<'a> {
    #[inline]
    fn checks(&self) -> &'a [Check] {
        self.binding.table.lines.checks()
    }

    fn code(&self) -> &'a [Instr] {
        self.snapshot.loaded.bundle.code()
    }

    #[inline]
    fn arguments(&self) -> Arguments<'a> {
        self.arguments
    }

    fn request(&self) -> Option<Request<'a>> {
        let Self { snapshot, binding, entities: (principal, resource), arguments } = self;
        Some(Request {
            principal: snapshot.entity(*principal)?,
            resource: snapshot.entity(snapshot.loaded.key.place(*resource))?,
            numbers: arguments.numbers,
            positions: binding.positions_for(arguments.numbers)?,
            kinds: &binding.kinds,
            arena: arguments.arena,
            strings: arguments.strings,
        })
    }
}

/// Apply a layer that has cells, where the cell is resolved or asks for ranges only. The layers before gave `code`.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn plain_layer<N: Sink>(
    bundle: &Bundle,
    layer: &LayerRec,
    classes: ClassPair,
    binding: &Binding,
    values: &[i64],
    code: Code,
    sink: &mut N,
) -> Step {
    if layer.form == Form::Sets as u32 {
        return Step::SlowPath;
    }
    let cell = match layer_classes(bundle, layer, classes) {
        Ok((principal, resource)) => cell(bundle, layer, principal, resource),
        Err(code) => return Step::Known(code),
    };
    let Ok(cell) = cell else { return Step::Known(Code::Corrupt) };
    // Comparisons by the kinds' order, because a match becomes a jump table, and indirect jumps are predicted badly.
    if cell < if N::ALL { ALLOW } else { PROGRAM } {
        return match cell {
            ..ALLOW => Step::SoFar(code),
            ALLOW..FORBID => Step::SoFar(Code::Allow),
            _ => Step::Known(Code::Forbid),
        };
    }
    match Program::read(bundle.programs(), cell_program(cell)) {
        Some(program) if !program.opaque => plain_program(program, binding, values, code, sink),
        Some(_) => Step::SlowPath,
        None => Step::Known(Code::Corrupt),
    }
}

/// Apply a program that asks for ranges only.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn plain_program<N: Sink>(
    mut program: Program<'_>,
    binding: &Binding,
    values: &[i64],
    mut code: Code,
    sink: &mut N,
) -> Step {
    for _ in 0..program.forbids {
        let Some(entry) = program.next() else { return Step::Known(Code::Corrupt) };
        if pass(entry.ranges(), binding, values) {
            if entry.has_conjuncts() {
                return Step::SlowPath;
            }
            if !N::ALL {
                return Step::Known(Code::Forbid);
            }
            if code != Code::Forbid {
                sink.clear();
            }
            code = Code::Forbid;
            sink.push_forbid(entry.policy);
        }
    }
    // Permits change nothing once a forbid applies. Once a permit applies, others do not change the effect.
    if code == if N::ALL { Code::Forbid } else { Code::Allow } {
        return Step::SoFar(code);
    }
    for _ in 0..program.permits {
        let Some(entry) = program.next() else { return Step::Known(Code::Corrupt) };
        if pass(entry.ranges(), binding, values) {
            if entry.has_conjuncts() {
                return Step::SlowPath;
            }
            code = Code::Allow;
            if !N::ALL {
                return Step::SoFar(code);
            }
            sink.push(entry.policy);
        }
    }
    Step::SoFar(code)
}

/// Return whether the values pass all tests. A missing value passes none.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn pass(mut tests: Tests<'_>, binding: &Binding, values: &[i64]) -> bool {
    tests.all(|test| {
        let position = binding.positions.get(test.slot as usize);
        position.and_then(|&position| values.get(position as usize)).is_some_and(|&number| test.holds(number))
    })
}
