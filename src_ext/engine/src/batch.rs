//! Batches: many decisions at once, over columns.

use crate::binding::Binding;
use crate::cells::of_code;
use crate::changes::UNCLASSED;
use crate::columns::{Column, Principals, WrongType};
use crate::decide::{EffectOnly, End, Verdict, Walk};
use crate::exit::{Decision, UNDECIDED, leave_all, leave_rows};
use crate::layers::{cell, layer_classes, prefetch_cell};
use crate::lines::WALK;
use crate::rows::ROWS;
use crate::sets::Candidates;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::working::{Brings, CallValues};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex};
use ztfast_bundle::{
    Bundle, CellKind, ClassPair, Form, LayerRec, Program, ResidualView, ValueType, cell_kind, cell_program,
};
use ztfast_codes::Code;
use ztfast_live::{Handle, Place, SessionId};
use ztfast_pages::{Residence, prefetch};
use ztfast_vm::{EntityRef, FOREIGN_STRING, Request, Scratch, StringsView, Value};

/// A gate's view of one snapshot, for many decisions at once on any thread.
pub struct Batch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot: Arc<Snapshot>,
    binding: Option<Arc<Binding>>,
    pub(crate) text_offsets: Vec<u32>,
    pub(crate) text_bytes: Vec<u8>,
    /// The numbers of the texts that the bundle lacks: equal texts must have equal numbers.
    texts: FxHashMap<Box<str>, u32>,
    /// Working memory, allocated with the batch, so that deciding allocates nothing.
    memory: Mutex<BatchMemory>,
}

impl Batch {
    pub(crate) fn new(shared: Arc<Shared>, snapshot: Arc<Snapshot>, binding: Option<Arc<Binding>>) -> Self {
        let memory = Mutex::new(BatchMemory::new(&snapshot, binding.as_deref()));
        let texts = FxHashMap::default();
        Self { shared, snapshot, binding, text_offsets: vec![0], text_bytes: Vec::new(), texts, memory }
    }

    /// Return whether a kill of the whole firm stops the action.
    #[inline]
    fn is_killed(&self, now_ns: i64) -> bool {
        self.shared.stops(&self.snapshot.loaded, self.action(), now_ns)
    }

    fn action(&self) -> Option<u32> {
        self.binding.as_ref().map(|binding| binding.action)
    }

    /// Return the principal of rows that share it and the resource, unless a kill of an entity stops them.
    #[cold]
    #[inline(never)]
    fn unless_stopped(
        &self,
        principals: Principals<'_>,
        principal: Result<Place, Code>,
        resource: Place,
        now_ns: i64,
    ) -> Result<Place, Code> {
        let place = principal?;
        if !principals.are_sessions() {
            return Ok(place);
        }
        let stopped = || (self.is_killed(now_ns) || self.is_stopped(place, resource, now_ns)).then_some(Code::Killed);
        self.shared.switches.at_one_moment(Code::Killed, stopped).map_or(Ok(place), Err)
    }

    /// Return whether a kill of an entity stops the action between two places.
    #[inline]
    fn is_stopped(&self, principal: Place, resource: Place, now_ns: i64) -> bool {
        self.shared.stops_some()
            && self.shared.stops_between_places(&self.snapshot, self.action(), [principal, resource], now_ns)
    }

    /// Return the code with which all rows are denied, if the engine belongs to another process or the gate did not fit
    /// the bundle.
    #[must_use]
    pub fn refusal(&self) -> Option<Code> {
        let stale = self.binding.is_none().then_some(Code::StaleGate);
        if self.shared.is_forked() { Some(Code::Forked) } else { stale }
    }

    /// Return the types of the arguments.
    #[must_use]
    pub fn types(&self) -> &[ValueType] {
        self.binding.as_ref().map_or(&[], |binding| binding.types.get(..binding.callers).unwrap_or_default())
    }

    /// Return the number of a text for the columns of this batch: equal texts have equal numbers. Texts that the bundle
    /// lacks are kept; `None` if they exceed 4 GiB.
    #[allow(clippy::cast_possible_wrap)] // numbers of texts are small
    pub fn text(&mut self, text: &str) -> Option<i64> {
        if let Some(known) = self.snapshot.string(text) {
            return Some(known as i64);
        }
        if let Some(&known) = self.texts.get(text) {
            return Some((FOREIGN_STRING | u64::from(known)) as i64);
        }
        let end = u32::try_from(self.text_bytes.len() + text.len()).ok()?;
        let fresh = u32::try_from(self.text_offsets.len() - 1).ok()?;
        self.text_bytes.extend_from_slice(text.as_bytes());
        self.text_offsets.push(end);
        self.texts.insert(text.into(), fresh);
        Some((FOREIGN_STRING | u64::from(fresh)) as i64)
    }

    /// Decide each row; a row that a column lacks is [`Code::Corrupt`]. Columns of entities hold handles.
    ///
    /// Rows are decided in chunks. The clock is read once per chunk, and so are a session and a resource that all rows
    /// share. One thread at a time uses the batch's own working memory. Other threads that run the same batch meanwhile
    /// allocate theirs.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    ///
    /// # Errors
    /// [`WrongType`] if an entity in a row does not have its argument's type; then all rows are [`Code::Corrupt`].
    pub fn decide_many(
        &self,
        principals: Principals<'_>,
        resources: Column<'_, u64>,
        columns: &[Column<'_, i64>],
        out: &mut [Decision],
    ) -> Result<(), WrongType> {
        let binding = match (self.refusal(), &self.binding) {
            (None, Some(binding)) => binding,
            (refusal, _) => {
                leave_all(refusal.unwrap_or(Code::StaleGate), out);
                return Ok(());
            }
        };
        // By policy alone there is no session whose live attributes could be added.
        let lacks_sessions = !binding.live.is_empty() && !matches!(principals, Principals::Sessions(_));
        if columns.len() != binding.columns || lacks_sessions {
            leave_all(Code::Corrupt, out);
            return Ok(());
        }
        // A row that left cannot be taken back, so this comes first.
        if !self.fits(binding, columns, out.len()) {
            leave_all(Code::Corrupt, out);
            return Err(WrongType);
        }
        let mut batch_memory = self.memory.try_lock().ok();
        let mut call_memory = None;
        let memory = match batch_memory.as_deref_mut() {
            Some(memory) => memory,
            None => call_memory.insert(BatchMemory::new(&self.snapshot, Some(binding))),
        };
        let BatchMemory { entities, scratch, chunk, brought } = memory;
        // Handles in columns must be resolved first, which the path for uniform rows does not do.
        let uniform = principals.is_one() && !entities.contains(&true) && binding.live.is_empty();
        let resource = resources.one().filter(|_| uniform).map(|handle| self.shared.place(Handle(handle)));
        let mut codes = [UNDECIDED; ROWS];
        for (number, out) in out.chunks_mut(ROWS).enumerate() {
            let (first, codes) = (number * ROWS, codes.get_mut(..out.len()).unwrap_or_default());
            let now_ns = self.shared.now_ns();
            // A row that a column lacks must not be decided at all.
            if let Some(resource) = resource
                && columns.iter().all(|column| column.covers(first, codes.len()))
            {
                let principal = self.principal(principals, first, now_ns, self.is_killed(now_ns));
                let mut principal = principal.unwrap_or(Err(Code::Corrupt));
                if self.shared.kills_some() {
                    principal = self.unless_stopped(principals, principal, resource, now_ns);
                }
                match self.uniform(binding, principal, resource, columns, first, codes) {
                    // A forbidden row may be a step-up, so all rows are decided again.
                    Ok(true) if !binding.step_up || !codes.contains(&(Code::Forbid as u8)) => {
                        leave_rows(codes, out);
                        continue;
                    }
                    Ok(_) => {}
                    Err(code) => {
                        leave_all(code, out);
                        continue;
                    }
                }
            }
            self.look_up(principals, resources, now_ns, first, codes, chunk);
            self.take_arguments(binding, columns, first, codes, chunk);
            if binding.live.is_empty() {
                self.decide_looked_up(binding, codes, chunk, scratch);
            } else {
                self.decide_live(binding, principals, first, codes, chunk, scratch, brought);
            }
            leave_rows(codes, out);
        }
        Ok(())
    }

    /// Write the codes of rows with a value out of its range: [`Code::BadValue`], or the code that applies whatever the
    /// values are.
    pub fn refuse(&self, principals: Principals<'_>, resources: Column<'_, u64>, out: &mut [Decision]) {
        if self.refusal().is_some() {
            return self.refuse_all(out);
        }
        let (mut chunk, mut codes) = (Box::new(Chunk::new(0)), [UNDECIDED; ROWS]);
        for (number, out) in out.chunks_mut(ROWS).enumerate() {
            let codes = codes.get_mut(..out.len()).unwrap_or_default();
            self.look_up(principals, resources, self.shared.now_ns(), number * ROWS, codes, &mut chunk);
            codes.iter_mut().filter(|code| **code == UNDECIDED).for_each(|code| *code = Code::BadValue as u8);
            leave_rows(codes, out);
        }
    }

    /// Deny all rows of a batch that has a [`Self::refusal`]; without one, with [`Code::Corrupt`].
    pub fn refuse_all(&self, out: &mut [Decision]) {
        leave_all(self.refusal().unwrap_or(Code::Corrupt), out);
    }

    /// Return a batch over the same snapshot, without the arguments whose bits are set in `absent`, for rows in which
    /// they are absent. Texts keep their numbers. `None` if the batch is stale, or if one of the arguments is required.
    #[must_use]
    pub fn without(&self, absent: u64) -> Option<Self> {
        let binding = self.snapshot.loaded.bind_without(self.binding.as_ref()?, absent).ok()?;
        let memory = Mutex::new(BatchMemory::new(&self.snapshot, Some(&binding)));
        Some(Self {
            shared: self.shared.clone(),
            snapshot: self.snapshot.clone(),
            binding: Some(Arc::new(binding)),
            text_offsets: self.text_offsets.clone(),
            text_bytes: self.text_bytes.clone(),
            texts: self.texts.clone(),
            memory,
        })
    }

    /// Return the place of a row's principal, or the code of its denial; `None` if the column lacks the row.
    fn principal(
        &self,
        principals: Principals<'_>,
        row: usize,
        now_ns: i64,
        killed: bool,
    ) -> Option<Result<Place, Code>> {
        let later = if principals.are_sessions() { Code::UnknownSession } else { Code::UnknownHandle };
        let found = principals.principal(&self.shared, row, now_ns, killed)?;
        Some(found.and_then(|place| self.covered(place, later)))
    }

    /// Return the place, or `later` if it was reused after the batch's snapshot was taken: it may name another entity
    /// now.
    pub(crate) fn covered(&self, place: Place, later: Code) -> Result<Place, Code> {
        if self.snapshot.loaded.uids.covers(place) { Ok(place) } else { Err(later) }
    }

    /// Resolve the sessions and entities of a chunk of rows. Each step prefetches the memory of the next step for all
    /// rows, so that the chunk waits for memory once per step and not once per row.
    #[inline]
    fn look_up(
        &self,
        principals: Principals<'_>,
        resources: Column<'_, u64>,
        now_ns: i64,
        first: usize,
        codes: &mut [u8],
        chunk: &mut Chunk,
    ) {
        let looked = self.shared.switches.at_one_moment(Code::Killed, || {
            self.look_up_in::<false>(principals, resources, now_ns, first, codes, chunk);
            // This check comes last, when all data of the rows has been read.
            if !self.snapshot.loaded.uids.is_newest() {
                self.look_up_in::<true>(principals, resources, now_ns, first, codes, chunk);
            }
            None
        });
        if let Some(code) = looked.filter(|_| principals.are_sessions()) {
            codes.fill(code as u8);
        }
    }

    /// Resolve a chunk as [`Self::look_up`] does. With `LATE`, refuse places that were reused after the snapshot was
    /// taken.
    #[inline]
    fn look_up_in<const LATE: bool>(
        &self,
        principals: Principals<'_>,
        resources: Column<'_, u64>,
        now_ns: i64,
        first: usize,
        codes: &mut [u8],
        chunk: &mut Chunk,
    ) {
        for at in first..first + codes.len() {
            if let Principals::Sessions(sessions) = principals
                && let Some(session) = sessions.get(at)
            {
                self.shared.sessions.prefetch(SessionId(session));
            }
            if let Some(resource) = resources.get(at) {
                self.snapshot.loaded.prefetch(self.shared.place(Handle(resource)));
            }
        }
        let killed = self.is_killed(now_ns);
        for ((at, code), principal) in (first..).zip(&mut *codes).zip(&mut chunk.principals) {
            let found = if LATE {
                self.principal(principals, at, now_ns, killed)
            } else {
                principals.principal(&self.shared, at, now_ns, killed)
            };
            match found.unwrap_or(Err(Code::Corrupt)) {
                Ok(place) => {
                    self.snapshot.loaded.prefetch(place);
                    (*principal, *code) = (place.0 as u64, UNDECIDED);
                }
                Err(denial) => *code = denial as u8,
            }
        }
        for (row, (at, code)) in (first..).zip(&mut *codes).enumerate().filter(|(_, (_, code))| **code == UNDECIDED) {
            let Some(resource) = resources.get(at) else {
                *code = Code::Corrupt as u8;
                continue;
            };
            #[allow(clippy::cast_possible_truncation)] // it was a place
            let places = (Place(chunk.principals[row] as usize), self.shared.place(Handle(resource)));
            if LATE && let Err(denial) = self.covered(places.1, Code::UnknownHandle) {
                *code = denial as u8;
                continue;
            }
            if principals.are_sessions() && self.is_stopped(places.0, places.1, now_ns) {
                *code = Code::Killed as u8;
                continue;
            }
            match self.snapshot.resolve_both(places.0, places.1) {
                Ok((principal, resource)) => {
                    chunk.principals[row] = principal.entity.bits();
                    chunk.resources[row] = resource.entity.bits();
                    chunk.classes[0][row] = principal.classes.principal;
                    chunk.classes[1][row] = resource.classes.resource;
                }
                Err(denial) => *code = denial as u8,
            }
        }
    }

    /// Decide the rows of a chunk that are not denied yet, without live attributes.
    #[inline]
    fn decide_looked_up(&self, binding: &Binding, codes: &mut [u8], chunk: &mut Chunk, scratch: &mut Scratch) {
        by_table(binding, codes, chunk);
        if codes.contains(&UNDECIDED) {
            self.decide_chunk(binding, codes, chunk, scratch);
        }
        if binding.step_up {
            self.tell_step_ups(binding, codes, chunk, scratch);
        }
    }

    /// Decide the rows of a chunk that are not denied yet, layer by layer.
    #[inline]
    fn decide_chunk(&self, binding: &Binding, codes: &mut [u8], chunk: &mut Chunk, scratch: &mut Scratch) {
        let bundle = self.snapshot.bundle();
        let mut decided = [Code::Default; ROWS];
        for (at, layer) in binding.layers.iter().enumerate() {
            self.find_cells(layer, codes, chunk);
            for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == UNDECIDED) {
                let classes = ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
                if classes.principal == UNCLASSED || classes.resource == UNCLASSED {
                    // An unclassed row is decided in all layers at once, and only once.
                    if at == 0 {
                        decided[row] =
                            self.walk(binding, chunk, row, classes, |walk| walk.decide(scratch, &mut EffectOnly));
                    }
                    continue;
                }
                if decided[row] == Code::Forbid {
                    continue;
                }
                decided[row] = self.walk(binding, chunk, row, classes, |walk| {
                    let mut sink = EffectOnly;
                    let mut verdict = Verdict::new(decided[row], &mut sink);
                    let result = if layer.form == Form::Sets as u32 {
                        layer_classes(bundle, layer, classes).map_err(End::Known).and_then(|(principal, resource)| {
                            walk.sets(layer, principal, resource, scratch, &mut verdict)
                        })
                    } else {
                        walk.cell(chunk.cells[row], scratch, &mut verdict)
                    };
                    match result {
                        Ok(()) => verdict.code,
                        Err(end) => walk.end(&end, &mut EffectOnly),
                    }
                });
                // Other codes are denials that no layer changes.
                if !matches!(decided[row], Code::Default | Code::Allow | Code::Forbid) {
                    *code = decided[row] as u8;
                }
            }
        }
        for (code, decided) in codes.iter_mut().zip(decided).filter(|(code, _)| **code == UNDECIDED) {
            *code = decided as u8;
        }
    }

    /// Tell step-ups from forbids among the rows of a chunk.
    fn tell_step_ups(&self, binding: &Binding, codes: &mut [u8], chunk: &Chunk, scratch: &mut Scratch) {
        for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == Code::Forbid as u8) {
            let classes = ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
            *code = self.walk(binding, chunk, row, classes, |walk| walk.forbidden(scratch)) as u8;
        }
    }

    /// Find the cells of a layer for the rows of a chunk, each step for all rows.
    #[inline]
    fn find_cells(&self, layer: &LayerRec, codes: &mut [u8], chunk: &mut Chunk) {
        let bundle = self.snapshot.bundle();
        let (maps, is_sets) = (bundle.maps(), layer.form == Form::Sets as u32);
        let rows = codes.len();
        for row in 0..rows {
            prefetch(maps, (layer.principal_map as usize).saturating_add(chunk.classes[0][row] as usize));
            prefetch(maps, (layer.resource_map as usize).saturating_add(chunk.classes[1][row] as usize));
        }
        let mut pairs = [(0_u32, 0_u32); ROWS];
        for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == UNDECIDED) {
            let classes = ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
            if classes.principal == UNCLASSED || classes.resource == UNCLASSED {
                continue;
            }
            match layer_classes(bundle, layer, classes) {
                Ok(found) if is_sets => Candidates::prefetch(bundle, layer, found),
                Ok(found) => {
                    pairs[row] = found;
                    prefetch_cell(bundle, layer, found);
                }
                Err(denial) => *code = denial as u8,
            }
        }
        if is_sets {
            return;
        }
        for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == UNDECIDED) {
            match cell(bundle, layer, pairs[row].0, pairs[row].1) {
                Ok(found) => {
                    chunk.cells[row] = found;
                    prefetch(bundle.programs(), cell_program(found) as usize);
                }
                Err(denial) => *code = denial as u8,
            }
        }
    }

    /// Run `job` over the walk of a row.
    #[inline]
    fn walk<T>(
        &self,
        binding: &Binding,
        chunk: &Chunk,
        row: usize,
        classes: ClassPair,
        job: impl FnOnce(&Walk<'_>) -> T,
    ) -> T {
        let width = binding.types.len();
        let request = Request {
            principal: EntityRef::from_bits(chunk.principals[row]),
            resource: EntityRef::from_bits(chunk.resources[row]),
            numbers: chunk.values.get(row * width..(row + 1) * width).unwrap_or_default(),
            positions: &binding.positions,
            kinds: &binding.kinds,
            arena: &[],
            strings: StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes },
        };
        job(&Walk {
            snapshot: &self.snapshot,
            action: binding.action,
            layers: &binding.layers,
            classes,
            request: &request,
            foreign: &|_| None,
        })
    }

    /// Return the classes of two places.
    #[inline]
    fn classes(&self, principal: Place, resource: Place) -> Result<ClassPair, Code> {
        let loaded = &self.snapshot.loaded;
        if let Some(classes) = loaded.resolved_pair(principal, resource) {
            return Ok(classes);
        }
        let (principal, resource) = self.snapshot.resolve_both(principal, resource)?;
        Ok(ClassPair { principal: principal.classes.principal, resource: resource.classes.resource })
    }

    /// Decide rows that differ in their arguments only, if only conditions on these are left to test: one condition
    /// after the other over all rows, which the compiler vectorizes. `false` if there is more to test.
    fn uniform(
        &self,
        binding: &Binding,
        principal: Result<Place, Code>,
        resource: Place,
        columns: &[Column<'_, i64>],
        first: usize,
        codes: &mut [u8],
    ) -> Result<bool, Code> {
        let bundle = self.snapshot.bundle();
        let classes = self.classes(principal?, self.covered(resource, Code::UnknownHandle)?)?;
        if classes.principal == UNCLASSED || classes.resource == UNCLASSED {
            return Ok(false);
        }
        if binding.table.decide_uniform(classes, columns, first, codes) {
            return Ok(true);
        }
        codes.fill(Code::Default as u8);
        for layer in &binding.layers {
            if layer.form == Form::Sets as u32 {
                return Ok(false);
            }
            let (principal, resource) = layer_classes(bundle, layer, classes)?;
            if !uniform_in(bundle, cell(bundle, layer, principal, resource)?, binding, columns, first, codes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A batch's working memory.
struct BatchMemory {
    /// For each argument, whether it is an entity.
    entities: Vec<bool>,
    scratch: Scratch,
    chunk: Box<Chunk>,
    /// What the rows bring, if live attributes are added to them.
    brought: CallValues,
}

impl BatchMemory {
    fn new(snapshot: &Snapshot, binding: Option<&Binding>) -> Self {
        let types = binding.map_or(&[][..], |binding| &binding.types);
        let is_live = binding.is_some_and(|binding| !binding.live.is_empty());
        let brings = if is_live { Brings::Composites } else { Brings::Nothing };
        // Without the memory, rows that need it are too large.
        let brought = CallValues::new(brings, Residence::default()).unwrap_or_default();
        let mut scratch = snapshot.scratch();
        // Write to the memory, since the system may not have provided its pages yet.
        scratch.buffers().into_iter().for_each(|memory| std::hint::black_box(memory).fill(Value::default()));
        Self {
            entities: types.iter().map(|ty| matches!(ty, ValueType::Entity(_))).collect(),
            scratch,
            chunk: Box::new(Chunk::new(types.len())),
            brought,
        }
    }
}

/// The rows of the current chunk, field by field.
pub(crate) struct Chunk {
    /// Places first; later the bits of the entities.
    pub principals: [u64; ROWS],
    pub resources: [u64; ROWS],
    /// Classes of principals, and of resources.
    pub classes: [[u32; ROWS]; 2],
    /// Cells of the current layer.
    cells: [u32; ROWS],
    /// Arguments, row by row.
    pub values: Vec<i64>,
}

impl Chunk {
    fn new(columns: usize) -> Self {
        Self {
            principals: [0; ROWS],
            resources: [0; ROWS],
            classes: [[0; ROWS]; 2],
            cells: [0; ROWS],
            values: vec![0; columns * ROWS],
        }
    }
}

/// Decide the rows of a chunk that the gate's own table decides, each step for all rows.
fn by_table(binding: &Binding, codes: &mut [u8], chunk: &mut Chunk) {
    let (table, width) = (&binding.table, binding.types.len());
    if table.is_empty() {
        return;
    }
    let classes =
        |chunk: &Chunk, row: usize| ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
    let undecided = |code: &&mut u8| **code == UNDECIDED;
    for row in 0..codes.len() {
        table.prefetch_classes(classes(chunk, row));
    }
    for row in 0..codes.len() {
        table.prefetch_cell(classes(chunk, row));
    }
    for (row, code) in codes.iter().enumerate() {
        let cell = if *code == UNDECIDED { table.cell(classes(chunk, row)) } else { None };
        chunk.cells[row] = cell.unwrap_or(u32::from(of_code(WALK)));
        table.prefetch_conditions(chunk.cells[row]);
    }
    for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| undecided(code)) {
        let values = chunk.values.get(row * width..(row + 1) * width).unwrap_or_default();
        match table.decide(chunk.cells[row], values) {
            WALK => {}
            decided => *code = decided,
        }
    }
}

/// Apply a cell to rows that differ in their arguments only; `false` if the cell needs more than ranges.
fn uniform_in(
    bundle: &Bundle,
    cell: u32,
    binding: &Binding,
    columns: &[Column<'_, i64>],
    first: usize,
    codes: &mut [u8],
) -> Result<bool, Code> {
    let resolved = match cell_kind(cell) {
        CellKind::Default => return Ok(true),
        CellKind::Allow => Some(Code::Allow),
        CellKind::Forbid => Some(Code::Forbid),
        CellKind::Program => None,
    };
    if let Some(code) = resolved {
        // A forbid takes precedence over a permit, and has the greater number.
        for decided in codes {
            *decided = (*decided).max(code as u8);
        }
        return Ok(true);
    }
    let mut program = Program::read(bundle.programs(), cell_program(cell)).ok_or(Code::Corrupt)?;
    if program.opaque {
        return Ok(false);
    }
    let column = |slot: u32| {
        let position = binding.positions.get(slot as usize).copied().unwrap_or(u16::MAX);
        columns.get(position as usize)
    };
    // A policy that reads an attribute that the gate lacks cannot apply.
    let never = |entry: &ResidualView<'_>| entry.ranges().any(|range| column(range.slot).is_none());
    let (forbids, entries) = (u64::from(program.forbids), u64::from(program.forbids) + u64::from(program.permits));
    let mut ahead = program.clone();
    for _ in 0..entries {
        let entry = ahead.next().ok_or(Code::Corrupt)?;
        if entry.has_conjuncts() && !never(&entry) {
            return Ok(false);
        }
    }
    for at in 0..entries {
        let entry = program.next().ok_or(Code::Corrupt)?;
        if never(&entry) {
            continue;
        }
        let mut holds = [true; ROWS];
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
