//! Many decisions at once, over columns.

use crate::changes::UNCLASSED;
use crate::clock::now_ns;
use crate::code::Code;
use crate::decide::{EffectOnly, cell, pair};
use crate::engine::Engine;
use crate::gate::decide_parties;
use crate::handles::Handle;
use crate::sessions::SessionId;
use crate::snapshot::{Binding, Party, Snapshot};
use std::sync::Arc;
use ztfast_bundle::{Bundle, CellKind, ClassPair, EntryView, Form, Program, ValueType, cell_kind, cell_program};
use ztfast_program::{FOREIGN_STRING, Scratch, StringsView};

/// A column of a batch: one number per decision, or one for all.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a, T> {
    data: &'a [T],
    /// 1, or 0 where the first number is for all rows.
    step: usize,
}

impl<'a, T: Copy> Column<'a, T> {
    /// A number per decision.
    #[must_use]
    pub const fn each(data: &'a [T]) -> Self {
        Self { data, step: 1 }
    }

    /// The first number for all decisions.
    #[must_use]
    pub const fn all(data: &'a [T]) -> Self {
        Self { data, step: 0 }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<T> {
        self.data.get(at * self.step).copied()
    }

    /// Whether there is a number for each of these rows.
    fn covers(&self, first: usize, rows: usize) -> bool {
        let last = (first + rows).saturating_sub(1) * self.step;
        last < self.data.len()
    }

    /// Keep those of the rows from `first` on for which the number passes a test; rows that the column lacks do not.
    #[inline]
    fn test(&self, first: usize, rows: &mut [bool], test: impl Fn(T) -> bool) {
        if let Some(one) = self.one() {
            let passes = test(one);
            for row in rows {
                *row &= passes;
            }
            return;
        }
        let numbers = self.data.get(first..).unwrap_or_default();
        let there = numbers.len().min(rows.len());
        let (found, missing) = rows.split_at_mut(there);
        found.iter_mut().zip(numbers).for_each(|(row, &number)| *row &= test(number));
        missing.fill(false);
    }

    /// The number for all rows, if there is one.
    fn one(&self) -> Option<T> {
        if self.step == 0 { self.data.first().copied() } else { None }
    }
}

/// A gate's view of one moment, for many decisions at once on any thread.
pub struct Batch {
    engine: Arc<Engine>,
    snapshot: Arc<Snapshot>,
    binding: Option<Arc<Binding>>,
    text_offsets: Vec<u32>,
    text_bytes: Vec<u8>,
}

/// Rows that a batch decides by one look at what is the same for all of them: under a microsecond's worth.
const ROWS_PER_LOOK: usize = 32;
/// Arguments that a batch takes on its stack.
const MAX_COLUMNS: usize = 64;

impl Batch {
    pub(crate) fn new(engine: Arc<Engine>, snapshot: Arc<Snapshot>, binding: Option<Arc<Binding>>) -> Self {
        Self { engine, snapshot, binding, text_offsets: vec![0], text_bytes: Vec::new() }
    }

    /// The arguments' types.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| &binding.types)
    }

    /// The number of a text for the columns of this batch. Ask once per distinct text: each one that the bundle lacks is
    /// kept. `None` where they outgrow 4 GiB.
    #[allow(clippy::cast_possible_wrap)] // numbers of texts are small
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if let Some(known) = self.snapshot.string(text) {
            return Some(known as i64);
        }
        let end = u32::try_from(self.text_bytes.len() + text.len()).ok()?;
        self.text_bytes.extend_from_slice(text.as_bytes());
        self.text_offsets.push(end);
        Some((FOREIGN_STRING | (self.text_offsets.len() - 2) as u64) as i64)
    }

    /// Decide on each row; a row that a column lacks is [`Code::Corrupt`]. Columns of entities hold handles.
    ///
    /// Rows are decided in blocks of [`ROWS_PER_LOOK`]. The clock is read once a block, and so are a session and a resource
    /// that are the same for all rows: a block takes under a microsecond.
    pub fn decide_many(
        &self,
        sessions: Column<'_, u64>,
        resources: Column<'_, u32>,
        columns: &[Column<'_, i64>],
        out: &mut [u8],
    ) {
        let Some(binding) = &self.binding else { return out.fill(Code::StaleGate as u8) };
        if columns.len() > MAX_COLUMNS || columns.len() != binding.types.len() || !binding.numbers {
            return out.fill(Code::Corrupt as u8);
        }
        let entities: Vec<bool> = binding.types.iter().map(|ty| matches!(ty, ValueType::Entity(_))).collect();
        let mut scratch = Scratch::default();
        let mut parties: [Result<(Party, Party), Code>; ROWS_PER_LOOK] = [Err(Code::Corrupt); ROWS_PER_LOOK];
        for (block, codes) in out.chunks_mut(ROWS_PER_LOOK).enumerate() {
            let first = block * ROWS_PER_LOOK;
            let now_ns = now_ns();
            // Handles in columns must become entities first, and a row that a column lacks must not be decided at all.
            let plain = !entities.contains(&true) && columns.iter().all(|column| column.covers(first, codes.len()));
            if let (Some(session), Some(resource), true) = (sessions.one(), resources.one(), plain) {
                match self.alike(binding, SessionId(session), Handle(resource), columns, now_ns, first, codes) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(code) => {
                        codes.fill(code as u8);
                        continue;
                    }
                }
            }
            self.look_up(binding, sessions, resources, now_ns, first, &mut parties);
            self.rows(binding, &entities, columns, &parties, first, codes, &mut scratch);
        }
    }

    /// Look up who asks about what in a block of rows, one step for all rows before the next step: then the rows' loads
    /// are under way together, and the block waits for memory once a step instead of once a row and step.
    #[inline]
    fn look_up(
        &self,
        binding: &Binding,
        sessions: Column<'_, u64>,
        resources: Column<'_, u32>,
        now_ns: i64,
        first: usize,
        parties: &mut [Result<(Party, Party), Code>; ROWS_PER_LOOK],
    ) {
        let mut principals = [Err(Code::Corrupt); ROWS_PER_LOOK];
        for (at, principal) in (first..).zip(&mut principals) {
            if let Some(session) = sessions.get(at) {
                *principal = self.engine.principal(SessionId(session), now_ns);
            }
        }
        for ((at, party), principal) in (first..).zip(&mut *parties).zip(principals) {
            *party = principal.and_then(|principal| {
                let resource = Handle(resources.get(at).ok_or(Code::Corrupt)?);
                let both = self.snapshot.party(principal).zip(self.snapshot.party(resource));
                both.ok_or(Code::NotApplicable)
            });
        }
        // What follows is only read here so that it is near when the rows are decided.
        let bundle = self.snapshot.bundle();
        let Some(layer) = binding.layers.first().filter(|layer| layer.form != Form::Sets as u32) else { return };
        let mut cells = [0_u32; ROWS_PER_LOOK];
        for (found, party) in cells.iter_mut().zip(&*parties) {
            if let Ok((principal, resource)) = party {
                let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
                if let Ok((principal, resource)) = pair(bundle, layer, classes) {
                    *found = cell(bundle, layer, principal, resource).unwrap_or_default();
                }
            }
        }
        let programs = bundle.programs();
        let words = cells.map(|cell| programs.get(cell_program(cell) as usize).copied().unwrap_or_default());
        std::hint::black_box(words);
    }

    /// Decide a block of rows.
    #[inline]
    #[allow(clippy::too_many_arguments)] // a block of rows has that many parts
    fn rows(
        &self,
        binding: &Binding,
        entities: &[bool],
        columns: &[Column<'_, i64>],
        parties: &[Result<(Party, Party), Code>; ROWS_PER_LOOK],
        first: usize,
        codes: &mut [u8],
        scratch: &mut Scratch,
    ) {
        let mut values = [0_i64; MAX_COLUMNS];
        let strings = StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes };
        for (at, (code, &parties)) in (first..).zip(codes.iter_mut().zip(parties)) {
            let decided = parties.and_then(|parties| {
                self.arguments(at, entities, columns, &mut values)?;
                let values = values.get(..columns.len()).unwrap_or_default();
                Ok(decide_parties(&self.snapshot, binding, scratch, parties, values, strings, &mut EffectOnly))
            });
            *code = decided.unwrap_or_else(|code| code) as u8;
        }
    }

    /// Decide rows that differ in their arguments only, if ranges are all that is left to look at: one condition after
    /// the other over all rows, which the compiler makes SIMD of. `false` where there is more to look at.
    #[allow(clippy::too_many_arguments)] // a block of rows has that many parts
    fn alike(
        &self,
        binding: &Binding,
        session: SessionId,
        resource: Handle,
        columns: &[Column<'_, i64>],
        now_ns: i64,
        first: usize,
        codes: &mut [u8],
    ) -> Result<bool, Code> {
        let bundle = self.snapshot.bundle();
        let principal = self.snapshot.party(self.engine.principal(session, now_ns)?).ok_or(Code::NotApplicable)?;
        let resource = self.snapshot.party(resource).ok_or(Code::NotApplicable)?;
        let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
        if classes.principal == UNCLASSED || classes.resource == UNCLASSED {
            return Ok(false);
        }
        codes.fill(Code::Default as u8);
        for layer in &binding.layers {
            if layer.form == Form::Sets as u32 {
                return Ok(false);
            }
            let (principal, resource) = pair(bundle, layer, classes)?;
            if !alike_in(bundle, cell(bundle, layer, principal, resource)?, binding, columns, first, codes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
    /// The arguments of a row.
    #[inline]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    fn arguments(
        &self,
        at: usize,
        entities: &[bool],
        columns: &[Column<'_, i64>],
        values: &mut [i64; MAX_COLUMNS],
    ) -> Result<(), Code> {
        for ((value, column), &entity) in values.iter_mut().zip(columns).zip(entities) {
            *value = column.get(at).ok_or(Code::Corrupt)?;
            if entity {
                let handle = u32::try_from(*value).map_err(|_| Code::NotApplicable)?;
                *value = self.snapshot.entity(Handle(handle)).ok_or(Code::NotApplicable)?.bits() as i64;
            }
        }
        Ok(())
    }
}

/// What a layer says of rows that differ in their arguments only; `false` where ranges are not all that it looks at.
fn alike_in(
    bundle: &Bundle,
    cell: u32,
    binding: &Binding,
    columns: &[Column<'_, i64>],
    first: usize,
    codes: &mut [u8],
) -> Result<bool, Code> {
    let settled = match cell_kind(cell) {
        CellKind::Default => return Ok(true),
        CellKind::Allow => Some(Code::Allow),
        CellKind::Forbid => Some(Code::Forbid),
        CellKind::Program => None,
    };
    if let Some(code) = settled {
        // A forbid counts more than a permit, and has the greater number.
        for decided in codes {
            *decided = (*decided).max(code as u8);
        }
        return Ok(true);
    }
    let program = Program::read(bundle.programs(), cell_program(cell)).ok_or(Code::Corrupt)?;
    let column = |slot: u32| {
        let position = binding.positions.get(slot as usize).copied().unwrap_or(u16::MAX);
        columns.get(position as usize)
    };
    // What reads an attribute that the gate does not have cannot apply, whatever else it asks for.
    let never = |entry: &EntryView<'_>| entry.ranges().any(|range| column(range.slot).is_none());
    let entries = program.forbids as usize + program.permits as usize;
    if program.opaque || program.clone().take(entries).any(|entry| entry.has_conjuncts() && !never(&entry)) {
        return Ok(false);
    }
    let forbids = program.forbids as usize;
    for (at, entry) in program.take(entries).enumerate() {
        if never(&entry) {
            continue;
        }
        let mut holds = [true; ROWS_PER_LOOK];
        for range in entry.ranges() {
            if let Some(column) = column(range.slot) {
                column.test(first, &mut holds, |number| range.holds(number));
            }
        }
        let code = if at < forbids { Code::Forbid } else { Code::Allow };
        for (decided, holds) in codes.iter_mut().zip(holds) {
            *decided = if holds { (*decided).max(code as u8) } else { *decided };
        }
    }
    Ok(true)
}
