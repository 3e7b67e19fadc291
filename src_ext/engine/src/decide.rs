//! The walk: two classes, a cell, and where it says so a program.

use crate::code::Code;
use crate::snapshot::Snapshot;
use ztfast_bundle::{ActionRec, Bundle, CellKind, EntryView, Program, SideRec, cell_kind, cell_program};
use ztfast_program::{EntityRef, Fault, Request, Scratch, Vm};

/// Determining policies that [`Determining`] has room for.
pub const MAX_DETERMINING: usize = 64;

/// The policies that determined a decision, by number.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Determining {
    /// How many there are; more than [`MAX_DETERMINING`] are counted but not kept.
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
    /// The numbers that are kept.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.policies.get(..self.count as usize).unwrap_or(&self.policies)
    }
}

/// Where a decision notes the policies that determine it.
pub(crate) trait Note {
    /// Whether all of them are wanted: then every policy of the cell is looked at, instead of stopping at the first that
    /// settles the effect.
    const ALL: bool;
    /// Forget what was noted.
    fn clear(&mut self);
    /// Note a policy.
    fn push(&mut self, policy: u32);
}

impl Note for Determining {
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

/// For those who want to know the effect only.
pub(crate) struct EffectOnly;

impl Note for EffectOnly {
    const ALL: bool = false;

    fn clear(&mut self) {}

    fn push(&mut self, _policy: u32) {}
}

/// Everything that one decision looks at besides the request.
pub(crate) struct Walk<'a> {
    pub snapshot: &'a Snapshot,
    pub action: &'a ActionRec,
    pub request: &'a Request<'a>,
    /// Uids of foreign entities that only the request knows.
    pub foreign: &'a dyn Fn(u32) -> Option<(Box<str>, Box<str>)>,
}

impl Walk<'_> {
    /// Whether, and by what kind of answer.
    #[inline]
    pub fn decide<N: Note>(&self, scratch: &mut Scratch, note: &mut N) -> Code {
        let cell = match self.cell() {
            Ok(cell) => cell,
            Err(code) => return code,
        };
        let kind = cell_kind(cell);
        // Comparisons instead of a match: a jump table is an indirect jump, and those are what predicts worst.
        if kind == CellKind::Default {
            Code::Default
        } else if kind == CellKind::Program || N::ALL {
            self.program(cell_program(cell), scratch, note).unwrap_or(Code::Corrupt)
        } else if kind == CellKind::Allow {
            Code::Allow
        } else {
            Code::Forbid
        }
    }

    #[inline]
    fn cell(&self) -> Result<u32, Code> {
        let bundle = &self.snapshot.bundle;
        let principal = class(bundle, &self.action.principal, self.request.principal)?;
        let resource = class(bundle, &self.action.resource, self.request.resource)?;
        cell(bundle, self.action, principal, resource)
    }

    #[inline]
    fn program<N: Note>(&self, start: u32, scratch: &mut Scratch, note: &mut N) -> Result<Code, Fault> {
        let mut program = Program::read(self.snapshot.bundle.programs(), start).ok_or(Fault::Corrupt)?;
        if program.opaque {
            return Ok(self.reference(note));
        }
        for (count, code) in [(program.forbids, Code::Forbid), (program.permits, Code::Allow)] {
            note.clear();
            let mut applied = false;
            for _ in 0..count {
                let entry = program.next().ok_or(Fault::Corrupt)?;
                if self.applies(&entry, scratch)? {
                    if !N::ALL {
                        return Ok(code);
                    }
                    applied = true;
                    note.push(entry.policy);
                }
            }
            if applied {
                return Ok(code);
            }
        }
        Ok(Code::Default)
    }

    #[inline]
    fn applies(&self, entry: &EntryView<'_>, scratch: &mut Scratch) -> Result<bool, Fault> {
        for range in entry.ranges() {
            if !self.request.number(range.slot).is_some_and(|number| range.holds(number)) {
                return Ok(false);
            }
        }
        if entry.has_conjuncts() { self.conjuncts_hold(entry, scratch) } else { Ok(true) }
    }

    fn conjuncts_hold(&self, entry: &EntryView<'_>, scratch: &mut Scratch) -> Result<bool, Fault> {
        let bundle = &*self.snapshot.bundle;
        let store = bundle.store();
        let mut vm = Vm::new(&store, self.request, scratch);
        for (start, len) in entry.conjuncts() {
            let start = start as usize;
            let code = bundle.code().get(start..start + len as usize).ok_or(Fault::Corrupt)?;
            match vm.holds(code) {
                Ok(true) => {}
                Ok(false) | Err(Fault::Error) => return Ok(false),
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// Cedar's own evaluator answers: slow, and it allocates. The bundle's statistics name the policies.
    #[cold]
    fn reference<N: Note>(&self, note: &mut N) -> Code {
        let uid = |entity: EntityRef| crate::snapshot::owned_uid(self.snapshot, entity, self.foreign);
        let answer = (|| {
            let reference = self.snapshot.reference.as_ref()?;
            let (principal, resource) = (uid(self.request.principal)?, uid(self.request.resource)?);
            let action = self.snapshot.bundle.actions().iter().position(|a| a.entity == self.action.entity)?;
            reference.authorize(
                u32::try_from(action).ok()?,
                crate::snapshot::UidRef { ty: &principal.0, id: &principal.1 },
                crate::snapshot::UidRef { ty: &resource.0, id: &resource.1 },
                self.request,
                &uid,
            )
        })();
        let Some(answer) = answer else { return Code::Corrupt };
        note.clear();
        answer.reasons.iter().for_each(|&policy| note.push(policy));
        match (answer.allow, answer.reasons.is_empty()) {
            (true, _) => Code::Allow,
            (false, true) => Code::Default,
            (false, false) => Code::Forbid,
        }
    }
}

/// The cell of two classes.
#[inline]
pub(crate) fn cell(bundle: &Bundle, action: &ActionRec, principal: u32, resource: u32) -> Result<u32, Code> {
    let row = action.table as usize + principal as usize * action.resource.count as usize;
    bundle.table().get(row + resource as usize).copied().ok_or(Code::Corrupt)
}

/// The class of an entity on one side of an action.
#[inline]
pub(crate) fn class(bundle: &Bundle, side: &SideRec, entity: EntityRef) -> Result<u32, Code> {
    let offset = entity.index.wrapping_sub(side.first);
    if offset >= side.len {
        return Err(Code::NotApplicable);
    }
    match bundle.classes().get(side.classes as usize + offset as usize) {
        None => Err(Code::Corrupt),
        Some(0) => Err(Code::NotApplicable),
        Some(&class) if class < side.count => Ok(class),
        Some(_) => Err(Code::Corrupt),
    }
}
