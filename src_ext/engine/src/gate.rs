//! A gate: decisions about one action, like a prepared statement.

use crate::clock::now_ns;
use crate::code::Code;
use crate::decide::{Determining, EffectOnly, Note, Walk, cell, class};
use crate::engine::{Engine, current};
use crate::handles::Handle;
use crate::sessions::SessionId;
use crate::snapshot::{Binding, Snapshot};
use std::sync::Arc;
use ztfast_bundle::{CellKind, EntryView, Program, ValueType, cell_kind, cell_program};
use ztfast_program::{FOREIGN_STRING, Request, Scratch, StringsView};

/// Texts that one call may bring along and the bundle lacks.
const MAX_TEXTS: usize = 32;
/// Their bytes altogether.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// A gate. It is for one thread at a time: every method that decides takes it exclusively.
pub struct Gate {
    engine: Arc<Engine>,
    number: usize,
    epoch: u64,
    snapshot: Arc<Snapshot>,
    /// `None` where the gate fits the newest bundle no more.
    binding: Option<Arc<Binding>>,
    /// Set by [`Self::begin`]: this decision goes by the snapshot that its texts were looked up in.
    begun: bool,
    text_offsets: Vec<u32>,
    text_bytes: Vec<u8>,
    scratch: Box<Scratch>,
}

impl Gate {
    pub(crate) fn new(engine: Arc<Engine>, number: usize, snapshot: Arc<Snapshot>, binding: Arc<Binding>) -> Self {
        Self {
            epoch: snapshot.epoch,
            engine,
            number,
            snapshot,
            binding: Some(binding),
            begun: false,
            text_offsets: Vec::with_capacity(MAX_TEXTS + 1),
            text_bytes: Vec::with_capacity(MAX_TEXT_BYTES),
            scratch: Box::default(),
        }
    }

    /// The arguments' types, as of the bundle it was last used with; empty for a gate that fits it no more.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| &binding.types)
    }

    /// The snapshot that the gate last decided over.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The snapshot's number: it changes with every swap that the gate has noticed.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begin a call that brings texts or entities along: they and the decision go by the same snapshot.
    pub fn begin(&mut self) {
        self.refresh();
        self.begun = true;
        self.text_offsets.clear();
        self.text_bytes.clear();
        self.text_offsets.push(0);
    }

    /// The number of a text in the call begun; `None` where it brings more texts than there is room for.
    #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)] // numbers of texts are small
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if let Some(known) = self.snapshot.bundle.find_string(text) {
            return Some(i64::from(known));
        }
        let before = self
            .text_offsets
            .windows(2)
            .position(|w| self.text_bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes()));
        let number = if let Some(number) = before {
            number
        } else {
            let (count, end) = (self.text_offsets.len(), self.text_bytes.len() + text.len());
            if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
                return None;
            }
            self.text_bytes.extend_from_slice(text.as_bytes());
            self.text_offsets.push(end as u32);
            count - 1
        };
        Some((FOREIGN_STRING | number as u64) as i64)
    }

    /// The number of an entity in the call begun; `None` for a handle that is nothing in this bundle.
    #[must_use]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn entity(&self, handle: Handle) -> Option<i64> {
        self.snapshot.entity(handle).map(|entity| entity.bits() as i64)
    }

    /// Whether the session may do it: [`Code::Allow`] or why not.
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Code {
        self.walk(session, resource, values, &mut EffectOnly)
    }

    /// The same, and the policies that determined it.
    #[inline]
    pub fn decide(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        determining: &mut Determining,
    ) -> Code {
        determining.clear();
        self.walk(session, resource, values, determining)
    }

    #[inline]
    fn walk<N: Note>(&mut self, session: SessionId, resource: Handle, values: &[i64], note: &mut N) -> Code {
        if !std::mem::take(&mut self.begun) {
            self.refresh();
        }
        let Self { engine, snapshot, binding: Some(binding), scratch, text_offsets, text_bytes, .. } = self else {
            return Code::StaleGate;
        };
        let strings = StringsView { offsets: text_offsets, bytes: text_bytes };
        decide(engine, snapshot, binding, scratch, session, resource, values, strings, now_ns(), note)
    }

    /// Take the newest snapshot, if there is a newer one.
    #[inline]
    fn refresh(&mut self) {
        if self.engine.epoch() != self.epoch {
            self.renew();
        }
    }

    /// Neither allocates nor frees: bindings and replaced snapshots are kept alive by the engine's writing side.
    #[cold]
    fn renew(&mut self) {
        let (snapshot, binding) = current(&self.engine, self.number);
        self.epoch = snapshot.epoch;
        self.binding = binding;
        self.snapshot = snapshot;
    }

    /// What [`Batch::decide_many`] decides over; the gate itself stays free for others.
    #[must_use]
    pub fn batch(&mut self) -> Batch {
        self.refresh();
        Batch {
            engine: self.engine.clone(),
            snapshot: self.snapshot.clone(),
            binding: self.binding.clone(),
            text_offsets: vec![0],
            text_bytes: Vec::new(),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.engine.release(self.number);
    }
}

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
    /// The arguments' types.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| &binding.types)
    }

    /// The number of a text for the columns of this batch. Ask once per distinct text: each one that the bundle lacks is
    /// kept. `None` where they outgrow 4 GiB.
    #[allow(clippy::cast_possible_wrap)] // numbers of texts are small
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if let Some(known) = self.snapshot.bundle.find_string(text) {
            return Some(i64::from(known));
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
        let mut values = [0_i64; MAX_COLUMNS];
        let strings = StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes };
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
            for (at, code) in (first..).zip(codes) {
                let decided = match self.arguments(at, &entities, columns, &mut values) {
                    Ok(()) => match (sessions.get(at), resources.get(at)) {
                        (Some(session), Some(resource)) => decide(
                            &self.engine,
                            &self.snapshot,
                            binding,
                            &mut scratch,
                            SessionId(session),
                            Handle(resource),
                            values.get(..columns.len()).unwrap_or_default(),
                            strings,
                            now_ns,
                            &mut EffectOnly,
                        ),
                        _ => Code::Corrupt,
                    },
                    Err(code) => code,
                };
                *code = decided as u8;
            }
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
        let (bundle, action) = (&self.snapshot.bundle, &binding.action);
        let principal = self.snapshot.entity(self.engine.principal(session, now_ns)?).ok_or(Code::NotApplicable)?;
        let resource = self.snapshot.entity(resource).ok_or(Code::NotApplicable)?;
        let principal = class(bundle, &action.principal, principal)?;
        let resource = class(bundle, &action.resource, resource)?;
        let cell = cell(bundle, action, principal, resource)?;
        let settled = match cell_kind(cell) {
            CellKind::Default => Some(Code::Default),
            CellKind::Allow => Some(Code::Allow),
            CellKind::Forbid => Some(Code::Forbid),
            CellKind::Program => None,
        };
        if let Some(code) = settled {
            codes.fill(code as u8);
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
        codes.fill(Code::Default as u8);
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
            // Forbids come first, so whatever they denied stays denied.
            let code = if at < forbids { Code::Forbid } else { Code::Allow };
            for (decided, holds) in codes.iter_mut().zip(holds) {
                if holds && *decided == Code::Default as u8 {
                    *decided = code as u8;
                }
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

#[inline]
#[allow(clippy::too_many_arguments)] // the hot path's own call: a struct would be built and taken apart each time
fn decide<N: Note>(
    engine: &Engine,
    snapshot: &Snapshot,
    binding: &Binding,
    scratch: &mut Scratch,
    session: SessionId,
    resource: Handle,
    values: &[i64],
    strings: StringsView<'_>,
    now_ns: i64,
    note: &mut N,
) -> Code {
    let principal = match engine.principal(session, now_ns) {
        Ok(principal) => snapshot.entity(principal),
        Err(code) => return code,
    };
    let (Some(principal), Some(resource)) = (principal, snapshot.entity(resource)) else {
        return Code::NotApplicable;
    };
    // An attribute that is not given would keep forbids from applying.
    if values.len() != binding.types.len() || !binding.numbers {
        return Code::Corrupt;
    }
    let (positions, kinds) = (&*binding.positions, &*binding.kinds);
    let request = Request { principal, resource, values, positions, kinds, cells: &[], strings };
    let walk = Walk { snapshot, action: &binding.action, request: &request, foreign: &|_| None };
    walk.decide(scratch, note)
}
