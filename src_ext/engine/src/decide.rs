//! The walk: two classes, a cell, and where it says so a program.

use crate::code::Code;
use crate::snapshot::Snapshot;
use ztfast_bundle::{ActionRec, Bundle, CellKind, EntryRec, OPAQUE, ProgramRec, SideRec, cell_kind, cell_program};
use ztfast_program::{EntityRef, Fault, Request, Scratch, StoreView, Vm};

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

/// Everything that one decision looks at besides the request.
pub(crate) struct Walk<'a> {
    pub snapshot: &'a Snapshot,
    pub action: &'a ActionRec,
    pub request: &'a Request<'a>,
    /// Uids of foreign entities that only the request knows.
    pub foreign: &'a dyn Fn(u32) -> Option<(Box<str>, Box<str>)>,
}

impl Walk<'_> {
    /// Whether, and by what kind of answer. `determining` is filled if it is asked for, which costs looking at every
    /// policy of the cell instead of stopping at the first that settles the effect.
    #[inline]
    pub fn decide(&self, scratch: &mut Scratch, determining: Option<&mut Determining>) -> Code {
        match self.cell() {
            Err(code) => code,
            Ok(cell) => match (cell_kind(cell), determining) {
                (CellKind::Default, _) => Code::Default,
                (CellKind::Allow, None) => Code::Allow,
                (CellKind::Forbid, None) => Code::Forbid,
                (_, determining) => self.program(cell_program(cell), scratch, determining),
            },
        }
    }

    #[inline]
    fn cell(&self) -> Result<u32, Code> {
        let bundle = &self.snapshot.bundle;
        let principal = class(bundle, &self.action.principal, self.request.principal)?;
        let resource = class(bundle, &self.action.resource, self.request.resource)?;
        let row = self.action.table as usize + principal as usize * self.action.resource.count as usize;
        bundle.table().get(row + resource as usize).copied().ok_or(Code::Corrupt)
    }

    fn program(&self, program: u32, scratch: &mut Scratch, determining: Option<&mut Determining>) -> Code {
        let Some(record) = self.snapshot.bundle.programs().get(program as usize) else { return Code::Corrupt };
        if record.flags & OPAQUE != 0 {
            return self.reference(determining);
        }
        self.run(record, scratch, determining).unwrap_or(Code::Corrupt)
    }

    fn run(
        &self,
        program: &ProgramRec,
        scratch: &mut Scratch,
        mut determining: Option<&mut Determining>,
    ) -> Result<Code, Fault> {
        let bundle = &*self.snapshot.bundle;
        let start = program.entries as usize;
        let middle = start + program.forbids as usize;
        let forbids = bundle.entries().get(start..middle).ok_or(Fault::Corrupt)?;
        let permits = bundle.entries().get(middle..middle + program.permits as usize).ok_or(Fault::Corrupt)?;
        let store = bundle.store();
        for (entries, code) in [(forbids, Code::Forbid), (permits, Code::Allow)] {
            if let Some(determining) = determining.as_deref_mut() {
                determining.clear();
            }
            let mut applied = false;
            for entry in entries {
                if !self.applies(entry, bundle, &store, scratch)? {
                    continue;
                }
                applied = true;
                match determining.as_deref_mut() {
                    Some(determining) => determining.push(entry.policy),
                    None => break,
                }
            }
            if applied {
                return Ok(code);
            }
        }
        Ok(Code::Default)
    }

    #[inline]
    fn applies(
        &self,
        entry: &EntryRec,
        bundle: &Bundle,
        store: &StoreView<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Fault> {
        let start = entry.ranges as usize;
        let ranges = bundle.ranges().get(start..start + entry.ranges_len as usize).ok_or(Fault::Corrupt)?;
        for range in ranges {
            if !self.request.number(range.slot).is_some_and(|number| range.holds(number)) {
                return Ok(false);
            }
        }
        if entry.conjuncts_len == 0 {
            return Ok(true);
        }
        self.conjuncts_hold(entry, bundle, store, scratch)
    }

    fn conjuncts_hold(
        &self,
        entry: &EntryRec,
        bundle: &Bundle,
        store: &StoreView<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Fault> {
        let start = entry.conjuncts as usize;
        let refs = bundle.conjunct_refs().get(start..start + entry.conjuncts_len as usize).ok_or(Fault::Corrupt)?;
        let mut vm = Vm::new(store, self.request, scratch);
        for &conjunct in refs {
            let record = bundle.conjuncts().get(conjunct as usize).ok_or(Fault::Corrupt)?;
            let start = record.code as usize;
            let code = bundle.code().get(start..start + record.len as usize).ok_or(Fault::Corrupt)?;
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
    fn reference(&self, determining: Option<&mut Determining>) -> Code {
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
        if let Some(determining) = determining {
            determining.clear();
            answer.reasons.iter().for_each(|&policy| determining.push(policy));
        }
        match (answer.allow, answer.reasons.is_empty()) {
            (true, _) => Code::Allow,
            (false, true) => Code::Default,
            (false, false) => Code::Forbid,
        }
    }
}

/// The class of an entity on one side of an action.
#[inline]
fn class(bundle: &Bundle, side: &SideRec, entity: EntityRef) -> Result<u32, Code> {
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
