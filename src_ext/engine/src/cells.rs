//! A gate's own table: for each pair of classes a code, a line, or a grid.
//!
//! If the table of all layers would be too large, each layer has a table of its own, a *part*, whose cells are all
//! grids.

use crate::asks::Asks;
use crate::grid::Grid;
use crate::lines::{Lines, NO_POLICY, WALK};
use crate::live_asks::LiveAsks;
use crate::reasons::Reasons;
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;
use ztfast_pages::{MemoryError, Residence, Resident, prefetch};

/// The least cell that is the number of a grid.
pub(crate) const FIRST_GRID: u32 = 1 << 15;
/// The least cell that is a code. Those below are numbers of lines.
pub(crate) const FIRST_CODE: u32 = CODES as u32;
const CODES: u16 = 0x7F00;
const _: () = assert!(FIRST_CODE + (1 << 8) == FIRST_GRID);

/// Stands for "no line" of a grid.
pub(crate) const NO_LINE: u16 = u16::MAX;

/// For each pair of classes a cell.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// For each class of principals the start of its row, and for each class of resources its column. Row 0 and column
    /// 0 are those of classes to which the action does not apply.
    pub rows: Box<[u32]>,
    pub columns: Box<[u32]>,
    pub all: Box<[u16]>,
}

impl Cells {
    /// Return where the cell of a pair of classes lies.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    fn at(&self, classes: ClassPair) -> Option<usize> {
        let row = *self.rows.get(classes.principal as usize)?;
        let column = *self.columns.get(classes.resource as usize)?;
        Some(row as usize + column as usize)
    }

    /// Return the cell of a pair of classes.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn cell(&self, classes: ClassPair) -> Option<u32> {
        self.all.get(self.at(classes)?).map(|&cell| u32::from(cell))
    }
}

/// Return the cell of a code.
pub(crate) const fn of_code(code: u8) -> u16 {
    CODES | code as u16
}

/// A gate's own table.
#[derive(Debug, Default)]
pub(crate) struct GateTable {
    pub cells: Cells,
    /// For each cell that is a grid the only policy that permits, or [`NO_POLICY`].
    pub policies: Box<[u32]>,
    pub reasons: Reasons,
    pub lines: Lines,
    /// What the lines ask of the arguments.
    pub asks: Asks,
    pub live: LiveAsks,
    pub grids: Box<[Grid]>,
    /// For each grid the code or the line that says the same, for batches; [`NO_LINE`] if there is none.
    pub grid_lines: Box<[u16]>,
    /// The tables of the layers, if there is none for all of them.
    pub parts: Box<[Cells]>,
}

impl GateTable {
    /// Return where the cell of a pair of classes lies, and the cell, if there is a table for all layers.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn find(&self, classes: ClassPair) -> Option<(usize, u32)> {
        let at = self.cells.at(classes)?;
        Some((at, u32::from(*self.cells.all.get(at)?)))
    }

    /// Return the cell of a pair of classes, as [`Self::find`] does.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn cell(&self, classes: ClassPair) -> Option<u32> {
        self.cells.cell(classes)
    }

    /// Return the policy of a cell that is a grid, given where it lies.
    #[inline]
    pub fn policy(&self, at: usize) -> u32 {
        self.policies.get(at).copied().unwrap_or(NO_POLICY)
    }

    /// Return a grid's code for these values; `None` if the walk has to decide.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn grid_code(&self, cell: u32, values: &[i64]) -> Option<Code> {
        let grid = self.grids.get(cell.wrapping_sub(FIRST_GRID) as usize)?;
        match *values {
            [x, y] => grid.code(x, y),
            [x] => grid.code(x, 0),
            [] => grid.code(0, 0),
            _ => None,
        }
    }

    /// Return the code of the tables of all layers together; `None` if the walk has to decide.
    #[inline]
    pub fn parts_code(&self, classes: ClassPair, values: &[i64]) -> Option<Code> {
        let mut all = u8::MAX * u8::from(self.parts.is_empty());
        for part in &self.parts {
            all |= self.grid_code(part.cell(classes)?, values)? as u8;
        }
        joined(all)
    }

    /// Leave to the walk what cells and grids say is forbidden, because some of it may be a step-up. Lines leave it to
    /// the walk from the beginning.
    pub fn leave_forbids_to_the_walk(&mut self) {
        self.grids.iter_mut().for_each(Grid::leave_forbids_to_the_walk);
        for cell in self.parts.iter_mut().chain([&mut self.cells]).flat_map(|cells| &mut cells.all) {
            if *cell == of_code(FORBID) {
                *cell = of_code(WALK);
            }
        }
    }

    /// Return whether there is no table for all layers.
    pub const fn is_empty(&self) -> bool {
        self.cells.all.is_empty()
    }

    /// Make the memory of the table resident. The result must be dropped before the table.
    pub fn hold(&self, residence: Residence) -> Result<Vec<Resident>, MemoryError> {
        // All are taken apart, so that no field is forgotten.
        let Self { cells, policies, reasons, lines, asks, live, grids, grid_lines, parts } = self;
        let what = "table of a gate";
        let mut held = lines.hold(what, residence)?;
        held.extend(asks.hold(what, residence)?);
        held.extend(live.hold(what, residence)?);
        held.extend(reasons.hold(what, residence)?);
        held.push(Resident::read(what, policies, residence)?);
        held.push(Resident::read(what, grids, residence)?);
        held.push(Resident::read(what, grid_lines, residence)?);
        for Cells { rows, columns, all } in parts.iter().chain([cells]) {
            held.push(Resident::read(what, rows, residence)?);
            held.push(Resident::read(what, columns, residence)?);
            held.push(Resident::read(what, all, residence)?);
        }
        Ok(held.into_iter().filter(|one| one.size() > 0).collect())
    }

    /// Prefetch what [`Self::cell`] reads first.
    #[inline]
    pub fn prefetch_classes(&self, classes: ClassPair) {
        prefetch(&self.cells.rows, classes.principal as usize);
        prefetch(&self.cells.columns, classes.resource as usize);
    }

    /// Prefetch the cell of a pair of classes.
    #[inline]
    pub fn prefetch_cell(&self, classes: ClassPair) {
        if let Some(at) = self.cells.at(classes) {
            prefetch(&self.cells.all, at);
        }
    }

    /// Prefetch the line or the grid of a cell.
    #[inline]
    pub fn prefetch_conditions(&self, cell: u32) {
        match cell.checked_sub(FIRST_GRID) {
            Some(number) => prefetch(&self.grids, number as usize),
            None => self.lines.prefetch(cell),
        }
    }
}

/// Return the code of all layers, given the codes of all, joined by OR.
const fn joined(all: u8) -> Option<Code> {
    match all {
        DEFAULT => Some(Code::Default),
        ALLOW => Some(Code::Allow),
        FORBID => Some(Code::Forbid),
        NOT_APPLICABLE => Some(Code::NotApplicable),
        _ => None,
    }
}

const DEFAULT: u8 = Code::Default as u8;
const ALLOW: u8 = Code::Allow as u8;
const FORBID: u8 = Code::Forbid as u8;
const NOT_APPLICABLE: u8 = Code::NotApplicable as u8;

// A forbid wins over a permit. Where the action does not apply, all layers say so.
const _: () = assert!(DEFAULT | ALLOW == ALLOW && DEFAULT | FORBID == FORBID && ALLOW | FORBID == FORBID);
