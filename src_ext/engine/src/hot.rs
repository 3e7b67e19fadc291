//! The hot path: what nearly all decisions need, without building what only a few do.
//!
//! Most decisions meet two entities that did not change since the bundle was made, tables of cells, and programs that are
//! ranges. They stay in registers from the gate to the answer. What they meet otherwise is [`Gate::rest`]'s, which goes on
//! from there as everybody else does: it builds the request and walks.

use crate::clock::now_ns;
use crate::code::Code;
use crate::decide::{End, Note, Tally, Walk, cell, pair};
use crate::gate::Gate;
use crate::handles::Handle;
use crate::sessions::SessionId;
use crate::snapshot::{Binding, Party};
use ztfast_bundle::{Bundle, CellKind, ClassPair, Form, Program, Tests, cell_program, pack_cell};
use ztfast_program::Request;

/// The least cells of the kinds, which are in the order of the numbers.
const ALLOW: u32 = pack_cell(CellKind::Allow, 0);
const FORBID: u32 = pack_cell(CellKind::Forbid, 0);
const PROGRAM: u32 = pack_cell(CellKind::Program, 0);

/// How far the hot path came in a layer.
enum Step {
    /// On to the next layer.
    Next,
    /// The answer is known.
    Known(Code),
    /// The layer asks for more than ranges.
    Rest,
}

impl Gate {
    #[inline(always)]
    #[allow(clippy::inline_always)] // what is handed over must stay in registers
    pub(crate) fn walk<N: Note>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        note: &mut N,
    ) -> Code {
        if !std::mem::take(&mut self.begun) {
            self.refresh();
        }
        let Some(binding) = &self.binding else { return Code::StaleGate };
        let now_ns = now_ns();
        let principal = match self.engine.sessions.valid(session, now_ns) {
            Some(principal) if !self.engine.is_killed() => principal,
            _ => match self.engine.principal(session, now_ns) {
                Ok(principal) => principal,
                Err(code) => return code,
            },
        };
        let base = &*self.snapshot.base;
        let (Some(principal), Some(resource)) = (base.settled(principal), base.settled(resource)) else {
            return self.changed(principal, resource, values, note);
        };
        // An attribute that is not given would keep forbids from applying.
        if values.len() != binding.count {
            return Code::Corrupt;
        }
        let classes = ClassPair { principal: principal.classes().principal, resource: resource.classes().resource };
        let mut tally = Tally::new(Code::Default, note);
        for (at, layer) in binding.layers.iter().enumerate() {
            let step = if layer.form == Form::Sets as u32 {
                Step::Rest
            } else {
                match pair(&base.bundle, layer, classes) {
                    Ok((principal, resource)) => match cell(&base.bundle, layer, principal, resource) {
                        Ok(cell) => plain_cell(&base.bundle, cell, binding, values, &mut tally),
                        Err(code) => Step::Known(code),
                    },
                    Err(code) => Step::Known(code),
                }
            };
            match step {
                Step::Next => {}
                Step::Known(code) => return code,
                Step::Rest => {
                    let (first, code) = if N::ALL { (0, Code::Default) } else { (at, tally.code) };
                    return self.rest((principal.party(), resource.party()), values, first, code, note);
                }
            }
        }
        tally.code
    }

    /// The decision about entities of which one has changed, or is nothing in this bundle.
    #[cold]
    #[inline(never)]
    fn changed<N: Note>(&mut self, principal: Handle, resource: Handle, values: &[i64], note: &mut N) -> Code {
        match (self.snapshot.party(principal), self.snapshot.party(resource)) {
            (Some(principal), Some(resource)) => self.rest((principal, resource), values, 0, Code::Default, note),
            _ => Code::NotApplicable,
        }
    }

    /// The decision from a layer on; `code` is what the layers before it say. Where all policies are wanted, that is from
    /// the beginning: this layer may have noted some already.
    #[inline(never)]
    fn rest<N: Note>(
        &mut self,
        (principal, resource): (Party, Party),
        values: &[i64],
        first: usize,
        code: Code,
        note: &mut N,
    ) -> Code {
        let Self { snapshot, binding: Some(binding), scratch, texts, .. } = self else { return Code::StaleGate };
        if values.len() != binding.count {
            return Code::Corrupt;
        }
        let Some(layers) = binding.layers.get(first..) else { return Code::Corrupt };
        note.clear();
        let request = Request {
            principal: principal.entity,
            resource: resource.entity,
            values,
            positions: &binding.positions,
            kinds: &binding.kinds,
            cells: &[],
            strings: texts.view(),
        };
        let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
        let (action, foreign) = (binding.action, &|_| None);
        Walk { snapshot, action, layers, classes, request: &request, foreign }.go_on(code, scratch, note)
    }
}

/// What a cell says, if ranges are all that it asks.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn plain_cell<N: Note>(
    bundle: &Bundle,
    cell: u32,
    binding: &Binding,
    values: &[i64],
    tally: &mut Tally<'_, N>,
) -> Step {
    // The kinds' order instead of a match on them: that becomes a jump table, and indirect jumps predict worst.
    if cell < ALLOW {
        return Step::Next;
    }
    if cell < PROGRAM && !N::ALL {
        return match tally.apply(0, cell >= FORBID) {
            Err(End::Known(code)) => Step::Known(code),
            _ => Step::Next,
        };
    }
    let Some(mut program) = Program::read(bundle.programs(), cell_program(cell)) else {
        return Step::Known(Code::Corrupt);
    };
    if program.opaque {
        return Step::Rest;
    }
    for at in 0..u64::from(program.forbids) + u64::from(program.permits) {
        let forbid = at < u64::from(program.forbids);
        // Permits change nothing any more where a forbid applies.
        if N::ALL && !forbid && tally.code == Code::Forbid {
            return Step::Next;
        }
        let Some(entry) = program.next() else { return Step::Known(Code::Corrupt) };
        if pass(entry.ranges(), binding, values) {
            if entry.has_conjuncts() {
                return Step::Rest;
            }
            if let Err(End::Known(code)) = tally.apply(entry.policy, forbid) {
                return Step::Known(code);
            }
            if !N::ALL && !forbid {
                return Step::Next;
            }
        }
    }
    Step::Next
}

/// Whether the values pass all tests; one that is not given passes none.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn pass(mut tests: Tests<'_>, binding: &Binding, values: &[i64]) -> bool {
    tests.all(|test| {
        let position = binding.positions.get(test.slot as usize);
        position.and_then(|&position| values.get(position as usize)).is_some_and(|&number| test.holds(number))
    })
}
