//! Grids: records of a gate's table that decide by one or two numbers without a branch.
//!
//! A processor guesses badly whether an order keeps a limit, and each wrong guess costs as much as several loads. So a
//! grid compares each argument with up to three steps, counts those that are less, and finds the code by the two
//! counts. It takes 64 bytes, one cache line: six steps and sixteen codes.

use crate::linear::{Case, Interval};
use ztfast_codes::Code;

/// The most arguments of a gate whose table has grids.
pub(crate) const MAX_ARGUMENTS: usize = 2;
/// The steps of an argument.
const STEPS: usize = 3;
/// The codes by the steps of one argument.
const CODES: usize = STEPS + 1;
/// The most intervals of an argument that are tried: a grid needs fewer where codes repeat.
const MAX_TRIED: usize = 9;

/// A grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Grid {
    /// In the order of unsigned numbers: see [`biased`].
    steps: [[u64; STEPS]; MAX_ARGUMENTS],
    /// By the steps of the first argument, then by those of the second; `None` if the walk has to decide.
    codes: [Option<Code>; CODES * CODES],
}

const _: () = assert!(size_of::<Grid>() == 64);

impl std::hash::Hash for Grid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.steps.hash(state);
        self.codes.map(|code| code.map(|code| code as u8)).hash(state);
    }
}

/// Return a number whose unsigned order is the signed order of `value`. Comparisons of unsigned numbers are counted
/// without a branch.
const fn biased(value: i64) -> u64 {
    value.cast_unsigned() ^ 1 << 63
}

/// Return how many steps are less than a value.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
const fn rank([first, second, third]: [u64; STEPS], value: i64) -> usize {
    let value = biased(value);
    (first < value) as usize + (second < value) as usize + (third < value) as usize
}

impl Grid {
    /// Return the grid that has one code for all values.
    pub const fn of(code: Option<Code>) -> Self {
        Self { steps: [[u64::MAX; STEPS]; MAX_ARGUMENTS], codes: [code; CODES * CODES] }
    }

    /// Return the code for these values; `None` if the walk has to decide.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn code(&self, x: i64, y: i64) -> Option<Code> {
        let [xs, ys] = self.steps;
        self.codes.get(rank(xs, x) * CODES + rank(ys, y)).copied().flatten()
    }

    /// Leave to the walk what this grid says is forbidden.
    pub fn leave_forbids_to_the_walk(&mut self) {
        self.codes.iter_mut().filter(|code| **code == Some(Code::Forbid)).for_each(|code| *code = None);
    }

    /// Return the grid of policies: outside of the box a forbid applies. `None` if they are not conditions on the box
    /// alone, or if a grid has too few steps for them.
    pub fn made(bounds: &[Interval], forbids: &[&Case], permits: &[&Case]) -> Option<Self> {
        let cases = || forbids.iter().chain(permits);
        if bounds.len() > MAX_ARGUMENTS || !cases().all(|case| case.is_of_numbers() && case.linear.is_empty()) {
            return None;
        }
        let mut beginnings: [Vec<i64>; MAX_ARGUMENTS] = Default::default();
        for (place, beginnings) in beginnings.iter_mut().enumerate() {
            beginnings.push(i64::MIN);
            for interval in cases().map(|case| &*case.bounds).chain([bounds]).filter_map(|bounds| bounds.get(place)) {
                beginnings.push(interval.low);
                beginnings.extend(interval.high.checked_add(1));
            }
            beginnings.sort_unstable();
            beginnings.dedup();
            if beginnings.len() > MAX_TRIED {
                return None;
            }
        }
        let lies_in = |bounds: &[Interval], at: [i64; MAX_ARGUMENTS]| {
            bounds.iter().zip(at).all(|(bounds, value)| bounds.low <= value && value <= bounds.high)
        };
        let code = |x: i64, y: i64| {
            let any = |cases: &[&Case]| cases.iter().any(|case| lies_in(&case.bounds, [x, y]));
            if !lies_in(bounds, [x, y]) || any(forbids) {
                Code::Forbid
            } else if any(permits) {
                Code::Allow
            } else {
                Code::Default
            }
        };
        // Between two beginnings nothing changes, so the first number stands for all.
        let [xs, ys] = beginnings;
        let xs = distinct(&xs, |a, b| ys.iter().all(|&y| code(a, y) == code(b, y)));
        let ys = distinct(&ys, |a, b| xs.iter().all(|&x| code(x, a) == code(x, b)));
        let mut grid = Self::of(None);
        for (steps, beginnings) in grid.steps.iter_mut().zip([&xs, &ys]) {
            if beginnings.len() > CODES {
                return None;
            }
            // The least of all numbers needs no step.
            for (step, beginning) in steps.iter_mut().zip(beginnings.iter().skip(1)) {
                *step = biased(beginning.checked_sub(1)?);
            }
        }
        for (row, &x) in xs.iter().enumerate() {
            for (column, &y) in ys.iter().enumerate() {
                *grid.codes.get_mut(row * CODES + column)? = Some(code(x, y));
            }
        }
        Some(grid)
    }
}

/// Return the beginnings of intervals without those that are the same as the one before.
fn distinct(beginnings: &[i64], same: impl Fn(i64, i64) -> bool) -> Vec<i64> {
    let mut kept: Vec<i64> = Vec::new();
    for &beginning in beginnings {
        if kept.last().is_none_or(|&last| !same(last, beginning)) {
            kept.push(beginning);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Sum;

    const ENDS: [i64; 8] = [i64::MIN, i64::MIN + 1, -1, 0, 1, 7, i64::MAX - 1, i64::MAX];

    fn intervals() -> impl Iterator<Item = Interval> + Clone {
        ENDS.into_iter()
            .flat_map(|low| ENDS.into_iter().map(move |high| Interval { low, high }))
            .filter(|i| !i.is_empty())
    }

    fn case(bounds: &[Interval]) -> Case {
        Case { bounds: bounds.to_vec(), ..Case::new(bounds.len()) }
    }

    /// Return numbers around all ends.
    fn near() -> impl Iterator<Item = i64> {
        ENDS.into_iter().flat_map(|end| [end.saturating_sub(1), end, end.saturating_add(1)])
    }

    #[test]
    fn an_interval_ends_where_it_ends() {
        for interval in intervals() {
            for other in [Interval::ALL, Interval { low: 0, high: i64::MAX }] {
                let forbids = case(&[other, interval]);
                let permits = case(&[interval, other]);
                let grid = Grid::made(&[Interval::ALL; 2], &[&forbids], &[&permits]).unwrap();
                let lies_in = |within: Interval, value: i64| within.low <= value && value <= within.high;
                for (x, y) in near().flat_map(|x| near().map(move |y| (x, y))) {
                    let expected = if lies_in(other, x) && lies_in(interval, y) {
                        Code::Forbid
                    } else if lies_in(interval, x) && lies_in(other, y) {
                        Code::Allow
                    } else {
                        Code::Default
                    };
                    assert_eq!(grid.code(x, y), Some(expected), "{interval:?} {other:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn outside_of_the_box_a_forbid_applies() {
        for interval in intervals() {
            let grid = Grid::made(&[interval], &[], &[&case(&[Interval::ALL])]).unwrap();
            for x in near() {
                let within = interval.low <= x && x <= interval.high;
                assert_eq!(grid.code(x, 0), Some(if within { Code::Allow } else { Code::Forbid }), "{interval:?} {x}");
            }
        }
    }

    #[test]
    fn steps_that_change_nothing_take_no_room() {
        let up_to = |high| Interval { low: i64::MIN, high };
        let permits = |highs: &[i64]| -> Vec<Case> { highs.iter().map(|&high| case(&[up_to(high); 2])).collect() };
        let made = |cases: &[Case]| Grid::made(&[Interval::ALL; 2], &[], &cases.iter().collect::<Vec<_>>());
        // The largest permits what all permit.
        let grid = made(&permits(&[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(grid, made(&permits(&[6])).unwrap());
        // A stair of four needs four steps.
        let stair = |count: i64| -> Vec<Case> { (0..count).map(|n| case(&[up_to(n), up_to(-n)])).collect() };
        assert!(made(&stair(3)).is_some());
        assert_eq!(made(&stair(4)), None);
        assert_eq!(made(&permits(&[1, 2, 3, 4, 5, 6, 7, 8, 9])), None);
    }

    #[test]
    fn what_is_no_box_needs_a_line() {
        let whole = [Interval::ALL; 2];
        let mut checked = Case::new(2);
        assert!(checked.demand_check(0, Some(true)));
        let more = Case { more: true, ..Case::new(2) };
        let mut linear = Case::new(2);
        let sum = Sum::argument(0).plus(1, &Sum::argument(1)).unwrap();
        assert!(linear.demand(&sum, 0, 5));
        for other in [checked, more, linear] {
            assert_eq!(Grid::made(&whole, &[], &[&other]), None);
            assert_eq!(Grid::made(&whole, &[&other], &[]), None);
        }
        assert_eq!(Grid::made(&[Interval::ALL; 3], &[], &[]), None);
    }
}
