//! Programs: the residuals of the policies that may apply in a cell.
//!
//! A program is contiguous, in the order in which a decision reads it, so that a short one takes a cache line or two:
//!
//! ```text
//! header     forbids (32 bits), permits (31), opaque (1)
//! per residual  policy (31), erred (1), ranges (16), conjuncts (16); forbids come first
//!            per range     slot (32) | low | width
//!            per conjunct  first instruction (32), instructions (32)
//! ```
//! A residual's policy applies iff all its ranges and all its conjuncts hold.

use crate::records::{RangeRec, Test};

const OPAQUE: u64 = 1 << 63;
/// The bit of a residual's policy that says that the policy errs where the residual's conditions hold. Only bundles
/// compiled with strict errors have it, and only forbids.
pub const ERRED: u32 = 1 << 31;
/// The number of words of a range.
const RANGE: usize = 3;

/// The residual of a policy, for writing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Residual {
    /// The number of the policy, with [`ERRED`] or without.
    pub policy: u32,
    /// The conditions on single slots.
    pub ranges: Vec<RangeRec>,
    /// The code of the other conditions: first instruction, number of instructions.
    pub conjuncts: Vec<(u32, u32)>,
}

/// A policy has more conditions, or a program more policies, than the format has bits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Append a program. `opaque` marks it for Cedar's own evaluator.
///
/// # Errors
/// [`TooLong`].
pub fn write_program<'e>(
    words: &mut Vec<u64>,
    forbids: impl ExactSizeIterator<Item = &'e Residual>,
    permits: impl ExactSizeIterator<Item = &'e Residual>,
    opaque: bool,
) -> Result<(), TooLong> {
    let permitted = u32::try_from(permits.len()).ok().filter(|n| n >> 31 == 0).ok_or(TooLong)?;
    let forbidden = u32::try_from(forbids.len()).map_err(|_| TooLong)?;
    words.push(u64::from(forbidden) | u64::from(permitted) << 32 | if opaque { OPAQUE } else { 0 });
    for residual in forbids.chain(permits) {
        let ranges = u16::try_from(residual.ranges.len()).map_err(|_| TooLong)?;
        let conjuncts = u16::try_from(residual.conjuncts.len()).map_err(|_| TooLong)?;
        words.push(u64::from(residual.policy) | u64::from(ranges) << 32 | u64::from(conjuncts) << 48);
        for range in &residual.ranges {
            let Test { slot, low, width } = range.test();
            words.extend([u64::from(slot), low.cast_unsigned(), width]);
        }
        words.extend(residual.conjuncts.iter().map(|&(start, len)| u64::from(start) | u64::from(len) << 32));
    }
    Ok(())
}

/// A program in a bundle, read from its beginning.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// The words of all programs: an index into these takes fewer registers than a slice of the rest.
    words: &'a [u64],
    at: usize,
    /// The number of forbids.
    pub forbids: u32,
    /// The number of permits.
    pub permits: u32,
    /// Whether Cedar's own evaluator must decide.
    pub opaque: bool,
}

/// A residual in a bundle.
#[derive(Debug, Clone, Copy)]
pub struct ResidualView<'a> {
    /// The number of the policy, with [`ERRED`] or without.
    pub policy: u32,
    ranges: &'a [u64],
    words: &'a [u64],
    conjuncts_at: usize,
    conjuncts: usize,
}

#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
impl<'a> Program<'a> {
    /// Read the program that begins at a word; `None` if there is no such word.
    #[inline]
    #[must_use]
    pub fn read(words: &'a [u64], start: u32) -> Option<Self> {
        let &header = words.get(start as usize)?;
        Some(Self {
            words,
            at: start as usize + 1,
            forbids: header as u32,
            permits: ((header & !OPAQUE) >> 32) as u32,
            opaque: header & OPAQUE != 0,
        })
    }
}

/// The ranges of a residual.
#[derive(Debug, Clone)]
pub struct Tests<'a>(&'a [u64]);

#[allow(clippy::cast_possible_truncation)] // as above
impl Iterator for Tests<'_> {
    type Item = Test;

    #[inline]
    fn next(&mut self) -> Option<Test> {
        let [slot, low, width, rest @ ..] = self.0 else { return None };
        self.0 = rest;
        Some(Test { slot: *slot as u32, low: low.cast_signed(), width: *width })
    }
}

/// Iterate over the residuals; `None` once the words end.
#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
impl<'a> Iterator for Program<'a> {
    type Item = ResidualView<'a>;

    #[inline]
    fn next(&mut self) -> Option<ResidualView<'a>> {
        let &head = self.words.get(self.at)?;
        let (ranges, conjuncts) = ((head >> 32) as u16 as usize * RANGE, (head >> 48) as usize);
        let view = ResidualView {
            policy: head as u32,
            ranges: self.words.get(self.at + 1..)?.get(..ranges)?,
            words: self.words,
            conjuncts_at: self.at + 1 + ranges,
            conjuncts,
        };
        self.at = view.conjuncts_at + conjuncts;
        Some(view)
    }
}

#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
impl<'a> ResidualView<'a> {
    /// Return the conditions on single slots.
    #[inline]
    #[must_use]
    pub const fn ranges(&self) -> Tests<'a> {
        Tests(self.ranges)
    }

    /// Return the words that hold all conditions: residuals with equal words have equal conditions. `None` if the words
    /// end before.
    #[must_use]
    pub fn condition_words(&self) -> Option<&'a [u64]> {
        self.words.get(self.conjuncts_at - self.ranges.len()..)?.get(..self.ranges.len() + self.conjuncts)
    }

    /// Return whether there are other conditions.
    #[inline]
    #[must_use]
    pub const fn has_conjuncts(&self) -> bool {
        self.conjuncts != 0
    }

    /// Return the code of the other conditions: first instruction, number of instructions. `None` if the words end
    /// before.
    #[inline]
    #[must_use]
    pub fn conjuncts(&self) -> Option<impl Iterator<Item = (u32, u32)> + use<'a>> {
        let words = self.words.get(self.conjuncts_at..)?.get(..self.conjuncts)?;
        Some(words.iter().map(|&word| (word as u32, (word >> 32) as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let range = RangeRec { slot: 7, inverted: true, low: i64::MIN, high: -1 };
        let forbid = Residual { policy: u32::MAX, ranges: vec![range; 2], conjuncts: vec![(1, 2), (3, u32::MAX)] };
        let permit = Residual { policy: 5, ..Residual::default() };
        let mut words = vec![99];
        write_program(&mut words, [&forbid].into_iter(), [&permit, &permit].into_iter(), true).unwrap();
        let mut program = Program::read(&words, 1).unwrap();
        assert_eq!((program.forbids, program.permits, program.opaque), (1, 2, true));
        let residual = program.next().unwrap();
        assert_eq!(residual.policy, u32::MAX);
        assert_eq!(residual.ranges().collect::<Vec<_>>(), vec![range.test(); 2]);
        assert_eq!(residual.conjuncts().unwrap().collect::<Vec<_>>(), vec![(1, 2), (3, u32::MAX)]);
        assert_eq!(program.next().unwrap().policy, 5);
        assert!(!program.next().unwrap().has_conjuncts());
        assert!(program.next().is_none());
    }

    #[test]
    fn words_that_are_no_program_are_noticed() {
        assert!(Program::read(&[], 0).is_none());
        assert!(Program::read(&[1], 5).is_none());
        for cut in [vec![1], vec![1, 1 << 32], vec![1, u64::MAX]] {
            assert!(Program::read(&cut, 0).unwrap().next().is_none(), "{cut:?}");
        }
        let mut cut = Program::read(&[2, 1 << 48], 0).unwrap();
        assert!(cut.next().unwrap().conjuncts().is_none());
        assert!(cut.next().is_none());
    }
}
