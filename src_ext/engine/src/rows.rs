//! Decides rows of a batch by a gate's own table, each step for all rows.

use crate::cells::{FIRST_CODE, FIRST_GRID, GateTable};
use crate::checks::Answers;
use crate::columns::Column;
use crate::lines::{CHECKED, CHECKS, WALK, lies_in, number_of};
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;

/// The most rows that are decided together.
pub(crate) const ROWS: usize = 64;
/// The most values of a row that are gathered from columns.
pub(crate) const MAX_VALUES: usize = 16;

impl GateTable {
    /// Decide rows that differ in their arguments only. Return `false` if the walk has to decide some of them; then the
    /// codes are not valid.
    pub fn decide_uniform(
        &self,
        classes: ClassPair,
        columns: &[Column<'_, i64>],
        first: usize,
        codes: &mut [u8],
    ) -> bool {
        let Some(cell) = self.cell(classes) else { return false };
        let of_grid = cell.checked_sub(FIRST_GRID).and_then(|grid| self.grid_lines.get(grid as usize));
        let line = of_grid.map_or(cell, |&line| u32::from(line));
        if (FIRST_CODE..FIRST_GRID).contains(&line) {
            let code = u8::try_from(line - FIRST_CODE).unwrap_or(WALK);
            codes.fill(code);
            return code != WALK;
        }
        let Some(line) = self.lines.plain(number_of(line)) else {
            return self.decide_each(cell, columns, first, codes);
        };
        let mut within = [true; ROWS];
        for (column, &interval) in columns.iter().zip(line.intervals) {
            if interval[1] != u64::MAX {
                column.test(first, &mut within, move |value| lies_in(value, interval));
            }
        }
        let (inside, outside) = (line.inside, line.outside);
        for (code, within) in codes.iter_mut().zip(within) {
            *code = if within { inside } else { outside };
        }
        if outside == WALK && codes.contains(&WALK) {
            return false;
        }
        let mut forbidden = [false; ROWS];
        for one in line.inequalities {
            let [x, y] = one.places().map(|place| columns.get(place));
            let (Some(x), Some(y)) = (x, y) else { return false };
            x.test_with(y, first, &mut forbidden, |x, y| one.holds_of(x, y));
        }
        if !line.inequalities.is_empty() {
            for ((code, within), forbidden) in codes.iter_mut().zip(within).zip(forbidden) {
                *code = if within & forbidden { Code::Forbid as u8 } else { *code };
            }
        }
        true
    }

    /// Decide rows of one cell one by one.
    fn decide_each(&self, cell: u32, columns: &[Column<'_, i64>], first: usize, codes: &mut [u8]) -> bool {
        let mut gathered = [0; MAX_VALUES];
        let Some(values) = gathered.get_mut(..columns.len()) else { return false };
        for (row, code) in (first..).zip(codes) {
            for (value, column) in values.iter_mut().zip(columns) {
                let Some(given) = column.get(row) else { return false };
                *value = given;
            }
            *code = self.decide(cell, values);
            if *code == WALK {
                return false;
            }
        }
        true
    }

    /// Decide one row, for which the results of some checks are known; [`WALK`] if the table does not.
    #[inline(never)]
    pub fn decide_by(&self, cell: u32, values: &[i64], answers: Answers) -> u8 {
        if !(CHECKED..FIRST_CODE).contains(&cell) {
            return self.decide(cell, values);
        }
        match self.lines.answer_known(cell, values, &answers) {
            CHECKS => WALK,
            answer => answer,
        }
    }

    /// Decide one row; [`WALK`] if the table does not.
    #[inline(always)]
    #[allow(clippy::inline_always)] // one function for each loop over rows
    pub fn decide(&self, cell: u32, values: &[i64]) -> u8 {
        if cell >= FIRST_GRID {
            return self.grid_code(cell, values).map_or(WALK, |code| code as u8);
        }
        if cell >= FIRST_CODE {
            return u8::try_from(cell - FIRST_CODE).unwrap_or(WALK);
        }
        match self.lines.answer(cell & !CHECKED, values) {
            CHECKS => WALK,
            answer => answer,
        }
    }
}
