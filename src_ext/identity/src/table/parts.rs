//! Where the parts of the validation table lie.
//!
//! ```text
//! header     what the file is
//! control    how often something fell
//! counters   a line for each group of sets
//! tags       a line for each set: a word of each row's key, by which a reader finds the row at once
//! rows       eight for each set
//! ```

use super::slot::Words;
use std::sync::atomic::AtomicU64;

/// The rows of a set: those in which a key may be.
pub const WAYS: usize = 8;
/// The groups of sets. Writers exclude each other, and uses are counted, by group.
pub const GROUPS: usize = 64;
/// The most rows of a table.
pub const MAX_ROWS: usize = 1 << 26;

/// The header and the control part take a page each.
const PAGE: usize = 4096;
pub const CONTROL: usize = PAGE;
pub const COUNTERS: usize = 2 * PAGE;
const TAGS: usize = COUNTERS + GROUPS * size_of::<Line>();

/// A cache line.
pub type Line = [AtomicU64; 8];

/// Where the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub rows: usize,
    pub sets: usize,
    pub tags: usize,
    pub first_row: usize,
    pub size: usize,
}

impl Layout {
    /// Lay out a table of so many rows, filled up to whole sets. `None` if there are none or too many.
    pub fn new(rows: usize) -> Option<Self> {
        let sets = rows.div_ceil(WAYS);
        if rows == 0 || rows > MAX_ROWS {
            return None;
        }
        let first_row = (TAGS + sets * size_of::<Line>()).next_multiple_of(PAGE);
        let rows = sets * WAYS;
        Some(Self { rows, sets, tags: TAGS, first_row, size: first_row + rows * size_of::<Words>() })
    }

    pub fn hash(&self) -> u64 {
        let parts = [self.rows, self.sets, self.tags, self.first_row, self.size, WAYS, GROUPS, size_of::<Words>()];
        hash(&parts.map(|part| part as u64))
    }
}

/// Hash some words.
pub fn hash(words: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    let mut first = [0; 8];
    first.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, &byte)| *to = byte);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_all_sizes_are_laid_out_without_overlap() {
        assert_eq!([0, MAX_ROWS + 1, usize::MAX].map(Layout::new), [None; 3]);
        for rows in [1, 7, 8, 9, 4096, 1_000_003, MAX_ROWS] {
            let layout = Layout::new(rows).unwrap();
            assert!(layout.rows >= rows && layout.rows < rows + WAYS && layout.rows == layout.sets * WAYS);
            assert!(layout.tags + layout.sets * 64 <= layout.first_row && layout.first_row.is_multiple_of(PAGE));
            assert_eq!(layout.first_row + 1024 * layout.rows, layout.size);
        }
        assert_ne!(Layout::new(8).unwrap().hash(), Layout::new(16).unwrap().hash());
    }
}
