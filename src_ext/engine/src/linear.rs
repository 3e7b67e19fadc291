//! Conditions on a gate's arguments that need no interpreter: intervals, and linear inequalities over two arguments.
//!
//! Sums are computed in 128 bits, where they cannot overflow: factors have at most 32 bits. An overflow of Cedar's
//! arithmetic is a condition of its own, namely that a sum leaves the 64 bits of a Long.

/// Less than every sum. Bounds stay far from the ends of `i128`, so that differences of them do not overflow.
pub(crate) const LEAST: i128 = -(1 << 100);
/// More than every sum.
pub(crate) const MOST: i128 = 1 << 100;
/// The largest factor of an argument.
const MAX_FACTOR: i128 = 1 << 32;
/// The largest constant in a sum.
const MAX_CONSTANT: i128 = 1 << 98;

/// The numbers from `low` to `high`; none if `low` is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Interval {
    pub low: i64,
    pub high: i64,
}

impl Interval {
    pub const ALL: Self = Self { low: i64::MIN, high: i64::MAX };

    pub const fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// Return whether it contains all of `other`.
    pub const fn covers(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    pub fn intersect(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

/// A sum of a constant and of at most two arguments, each with a factor other than 0. Arguments are in the order of
/// their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    terms: Vec<(u16, i128)>,
    constant: i128,
}

impl Sum {
    pub const fn constant(value: i64) -> Self {
        Self { terms: Vec::new(), constant: value as i128 }
    }

    pub fn argument(place: u16) -> Self {
        Self { terms: vec![(place, 1)], constant: 0 }
    }

    /// Return the value, if it depends on no argument.
    pub fn value(&self) -> Option<i128> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// Add `factor * other`. `None` if the sum has too many arguments, or too large factors.
    pub fn plus(&self, factor: i128, other: &Self) -> Option<Self> {
        let mut terms = self.terms.clone();
        for &(place, times) in &other.terms {
            let times = times.checked_mul(factor)?;
            match terms.iter_mut().find(|(at, _)| *at == place) {
                Some((_, already)) => *already += times,
                None => terms.push((place, times)),
            }
        }
        terms.retain(|&(_, factor)| factor != 0);
        terms.sort_unstable_by_key(|&(place, _)| place);
        let constant = self.constant.checked_add(other.constant.checked_mul(factor)?)?;
        let fits = terms.len() <= 2
            && terms.iter().all(|&(_, factor)| factor.abs() <= MAX_FACTOR)
            && constant.abs() <= MAX_CONSTANT;
        fits.then_some(Self { terms, constant })
    }

    /// Multiply by a constant. `None` if a factor is too large.
    pub fn times(&self, factor: i128) -> Option<Self> {
        Self::constant(0).plus(factor, self)
    }
}

/// A linear inequality: `low <= factors[0] * x + factors[1] * y <= high`, where x and y are the arguments at `places`.
/// The first factor is positive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Linear {
    places: [u16; 2],
    factors: [i64; 2],
    low: i128,
    high: i128,
}

impl Linear {
    /// Return this as a check in 128 bits.
    pub const fn wide(&self) -> Wide {
        let Self { places, factors, low, high } = *self;
        Wide { places, factors, low, high }
    }

    /// Return the least and the greatest sum while the arguments lie in a box.
    fn span(&self, bounds: &[Interval]) -> (i128, i128) {
        let (mut least, mut most) = (0, 0);
        for (place, factor) in self.places.into_iter().zip(self.factors) {
            let Interval { low, high } = bounds.get(usize::from(place)).copied().unwrap_or(Interval::ALL);
            let ends = [i128::from(factor) * i128::from(low), i128::from(factor) * i128::from(high)];
            least += ends[0].min(ends[1]);
            most += ends[0].max(ends[1]);
        }
        (least, most)
    }

    /// Return whether it holds for all arguments (`Some(true)`) or none (`Some(false)`) in a box.
    fn resolved(&self, bounds: &[Interval]) -> Option<bool> {
        let (least, most) = self.span(bounds);
        if self.low <= least && most <= self.high {
            Some(true)
        } else if most < self.low || self.high < least || self.low > self.high {
            Some(false)
        } else {
            None
        }
    }

    /// Return this as a check in 64 bits, if no sum leaves them while the arguments lie in a box.
    pub fn narrow(&self, bounds: &[Interval]) -> Option<Narrow> {
        let (least, most) = self.span(bounds);
        let fits = i128::from(i64::MIN) <= least && most <= i128::from(i64::MAX);
        let (low, high) = (i64::try_from(self.low.max(least)).ok()?, i64::try_from(self.high.min(most)).ok()?);
        let Self { places, factors, .. } = *self;
        (fits && low <= high).then(|| Narrow { places, factors, low, width: high.wrapping_sub(low).cast_unsigned() })
    }

    /// Return the numbers that the argument at `place` can have where this holds and the others lie in a box; `None` if
    /// this says nothing about it.
    fn implied(&self, place: usize, within: &[Interval]) -> Option<Interval> {
        let at = self.places.iter().position(|&own| usize::from(own) == place)?;
        let other = within.get(usize::from(self.places[1 - at]))?;
        let [factor, others] = [at, 1 - at].map(|at| i128::from(self.factors[at]));
        let ends = [others * i128::from(other.low), others * i128::from(other.high)];
        Some(divided(factor, self.low - ends[0].max(ends[1]), self.high - ends[0].min(ends[1])))
    }

    fn concerns(&self, other: &Self) -> bool {
        self.places == other.places && self.factors == other.factors
    }

    /// Return whether `other` holds wherever this does.
    fn implies(&self, other: &Self) -> bool {
        self.concerns(other) && other.low <= self.low && self.high <= other.high
    }

    /// Return whether this holds wherever `other` does not.
    fn holds_unless(&self, other: &Self) -> bool {
        self.concerns(other)
            && (other.low <= LEAST || self.low <= LEAST && self.high >= other.low - 1)
            && (other.high >= MOST || self.high >= MOST && self.low <= other.high + 1)
    }
}

/// A linear inequality whose sum does not leave 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Narrow {
    places: [u16; 2],
    factors: [i64; 2],
    low: i64,
    width: u64,
}

impl Narrow {
    /// Return whether the arguments satisfy it. A missing argument does not.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    pub fn holds(&self, values: &[i64]) -> bool {
        let [x, y] = self.places;
        let (Some(x), Some(y)) = (values.get(usize::from(x)), values.get(usize::from(y))) else { return false };
        self.holds_of(*x, *y)
    }

    /// Return the places of the two arguments.
    #[inline]
    pub fn places(&self) -> [usize; 2] {
        self.places.map(usize::from)
    }

    /// Return whether the two arguments satisfy it.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub const fn holds_of(&self, x: i64, y: i64) -> bool {
        let sum = self.factors[0].wrapping_mul(x).wrapping_add(self.factors[1].wrapping_mul(y));
        sum.wrapping_sub(self.low).cast_unsigned() <= self.width
    }
}

/// A linear inequality over any arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Wide {
    places: [u16; 2],
    factors: [i64; 2],
    low: i128,
    high: i128,
}

impl Wide {
    /// Return the places of the two arguments.
    pub fn places(&self) -> [usize; 2] {
        self.places.map(usize::from)
    }

    /// Return whether the arguments satisfy it. A missing argument does not.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub fn holds(&self, values: &[i64]) -> bool {
        let [x, y] = self.places;
        let (Some(&x), Some(&y)) = (values.get(usize::from(x)), values.get(usize::from(y))) else { return false };
        let sum = i128::from(self.factors[0]) * i128::from(x) + i128::from(self.factors[1]) * i128::from(y);
        self.low <= sum && sum <= self.high
    }
}

/// The result of a check: what a part of a condition is, which only the interpreter can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Checked {
    /// The number of the check.
    pub check: u16,
    /// The result that is demanded; `None` for either: only an error rules the case out.
    pub result: Option<bool>,
}

/// A case in which a policy applies: all arguments lie in their intervals, all inequalities hold, and all checks have
/// these results.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Case {
    /// An interval for each argument.
    pub bounds: Vec<Interval>,
    pub linear: Vec<Linear>,
    /// Each check once.
    pub checks: Vec<Checked>,
    /// Whether there are further conditions, which only the interpreter can decide.
    pub more: bool,
}

impl Case {
    /// Begin with no condition.
    pub fn new(arguments: usize) -> Self {
        Self { bounds: vec![Interval::ALL; arguments], linear: Vec::new(), checks: Vec::new(), more: false }
    }

    /// Also demand that a sum lies between two bounds. Return `false` if that cannot be.
    pub fn demand(&mut self, sum: &Sum, low: i128, high: i128) -> bool {
        let low = if low <= LEAST { LEAST } else { low - sum.constant };
        let high = if high >= MOST { MOST } else { high - sum.constant };
        match *sum.terms.as_slice() {
            [] => low <= 0 && 0 <= high,
            [(place, factor)] => {
                let Some(bounds) = self.bounds.get_mut(usize::from(place)) else { return false };
                *bounds = bounds.intersect(divided(factor, low, high));
                !bounds.is_empty()
            }
            [(first, a), (second, b), ..] => {
                let sign = a.signum();
                let (low, high) = if sign < 0 { (-high, -low) } else { (low, high) };
                let factors = [a * sign, b * sign].map(|factor| i64::try_from(factor).unwrap_or(0));
                let mut wanted = Linear { places: [first, second], factors, low, high };
                if let Some(at) = self.linear.iter().position(|known| known.concerns(&wanted)) {
                    let known = self.linear.swap_remove(at);
                    (wanted.low, wanted.high) = (wanted.low.max(known.low), wanted.high.min(known.high));
                }
                if let Some(holds) = wanted.resolved(&self.bounds) {
                    return holds;
                }
                self.linear.push(wanted);
                true
            }
        }
    }

    /// Also demand that a check has a result. Return `false` if that cannot be.
    pub fn demand_check(&mut self, check: u16, result: Option<bool>) -> bool {
        let Some(known) = self.checks.iter_mut().find(|known| known.check == check) else {
            self.checks.push(Checked { check, result });
            return true;
        };
        match (known.result, result) {
            (Some(known), Some(wanted)) => known == wanted,
            (Some(_), None) => true,
            (None, result) => {
                known.result = result;
                true
            }
        }
    }

    /// Return about how many words it takes.
    pub const fn size(&self) -> usize {
        1 + self.bounds.len() + 4 * self.linear.len() + self.checks.len()
    }

    /// Return whether it is a condition on the box alone.
    pub const fn is_of_numbers(&self) -> bool {
        !self.more && self.checks.is_empty()
    }

    /// Drop what holds wherever the arguments lie in a box and none of the inequalities in `refuted` holds. Return
    /// `false` if the case cannot be there.
    pub fn simplify(&mut self, within: &[Interval], refuted: &[Linear]) -> bool {
        let both: Vec<_> = self.bounds.iter().zip(within).map(|(own, within)| own.intersect(*within)).collect();
        if both.iter().any(|bounds| bounds.is_empty())
            || self.linear.iter().any(|one| refuted.iter().any(|other| one.implies(other)))
        {
            return false;
        }
        let mut possible = true;
        self.linear.retain(|one| match one.resolved(&both) {
            Some(holds) => {
                possible &= holds;
                false
            }
            None => !refuted.iter().any(|other| one.holds_unless(other)),
        });
        for (place, (own, both)) in self.bounds.iter_mut().zip(both).enumerate() {
            let implied = |one: &Linear| {
                let all = one.implied(place, within).unwrap_or(Interval::ALL);
                within.get(place).is_some_and(|within| own.covers(all.intersect(*within)))
            };
            let drop = within.get(place).is_some_and(|within| own.covers(*within)) || self.linear.iter().any(implied);
            *own = if drop { Interval::ALL } else { both };
        }
        possible
    }

    /// Return the arguments whose intervals are a condition, with these.
    pub fn limits(&self) -> impl Iterator<Item = (usize, Interval)> + '_ {
        self.bounds.iter().copied().enumerate().filter(|(_, bounds)| *bounds != Interval::ALL)
    }

    /// Return whether the arguments satisfy the case, as far as this knows.
    #[cfg(test)]
    pub fn holds(&self, values: &[i64]) -> bool {
        self.bounds.iter().zip(values).all(|(bounds, &value)| bounds.low <= value && value <= bounds.high)
            && self.linear.iter().all(|one| one.wide().holds(values))
    }
}

/// Return the numbers whose product with a factor, which is not 0, lies between two bounds.
fn divided(factor: i128, low: i128, high: i128) -> Interval {
    let (low, high) = if factor < 0 { (-high, -low) } else { (low, high) };
    let factor = factor.abs();
    clamped(-((-low).div_euclid(factor)), high.div_euclid(factor))
}

/// Return the 64-bit numbers between two bounds.
fn clamped(low: i128, high: i128) -> Interval {
    match (i64::try_from(low.max(i128::from(i64::MIN))), i64::try_from(high.min(i128::from(i64::MAX)))) {
        (Ok(low), Ok(high)) => Interval { low, high },
        _ => Interval { low: 0, high: -1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some inequalities over the two arguments of a small box.
    fn inequalities() -> Vec<Linear> {
        let ends = [(LEAST, -1), (LEAST, 2), (-1, 1), (0, 0), (3, MOST), (-2, MOST), (LEAST, MOST), (1, 0)];
        let factors = [[1, 1], [1, -1], [2, -3]];
        let made = |factors| ends.map(|(low, high)| Linear { places: [0, 1], factors, low, high });
        factors.into_iter().flat_map(made).collect()
    }

    fn points(bounds: &[Interval]) -> impl Iterator<Item = [i64; 2]> + '_ {
        (bounds[0].low..=bounds[0].high).flat_map(|x| (bounds[1].low..=bounds[1].high).map(move |y| [x, y]))
    }

    const BOXES: [[Interval; 2]; 3] = [
        [Interval { low: -3, high: 3 }, Interval { low: -2, high: 4 }],
        [Interval { low: 0, high: 1 }, Interval { low: 0, high: 0 }],
        [Interval { low: 2, high: 5 }, Interval { low: -5, high: -2 }],
    ];

    #[test]
    fn a_resolved_inequality_holds_everywhere_or_nowhere() {
        for (bounds, one) in BOXES.iter().flat_map(|bounds| inequalities().into_iter().map(move |one| (bounds, one))) {
            let (all, any) = (
                points(bounds).all(|point| one.wide().holds(&point)),
                points(bounds).any(|point| one.wide().holds(&point)),
            );
            match one.resolved(bounds) {
                Some(true) => assert!(all, "{one:?} {bounds:?}"),
                Some(false) => assert!(!any, "{one:?} {bounds:?}"),
                None => {}
            }
            if let Some(narrow) = one.narrow(bounds) {
                assert!(points(bounds).all(|point| narrow.holds(&point) == one.wide().holds(&point)), "{one:?}");
            }
        }
    }

    #[test]
    fn a_sum_that_may_leave_64_bits_is_not_narrow() {
        let one = |factors| Linear { places: [0, 1], factors, low: 0, high: 5 };
        let half = Interval { low: i64::MIN / 2, high: i64::MAX / 2 };
        assert!(one([1, 1]).narrow(&[half; 2]).is_some());
        assert!(one([1, 1]).narrow(&[Interval::ALL; 2]).is_none());
        assert!(one([3, 1]).narrow(&[half; 2]).is_none());
    }

    #[test]
    fn what_is_simplified_holds_where_it_did() {
        for bounds in &BOXES {
            for (one, refuted) in
                inequalities().into_iter().flat_map(|one| inequalities().into_iter().map(move |r| (one.clone(), r)))
            {
                let within = [Interval { low: -1, high: 2 }, Interval { low: -1, high: 4 }];
                let case = Case { bounds: bounds.to_vec(), linear: vec![one], checks: Vec::new(), more: false };
                let mut simplified = case.clone();
                let possible = simplified.simplify(&within, std::slice::from_ref(&refuted));
                for point in points(&within).filter(|point| !refuted.wide().holds(point)) {
                    let holds = possible && simplified.holds(&point);
                    assert_eq!(holds, case.holds(&point), "{case:?} {refuted:?} {point:?}: {simplified:?}");
                }
            }
        }
    }

    #[test]
    fn products_are_divided_exactly() {
        for (factor, low, high) in [(3, -7, 8), (-3, -7, 8), (1, 5, 4), (7, LEAST, 6), (-7, 1, MOST), (1 << 32, 1, 2)] {
            let found = divided(factor, low, high);
            for value in (-20..20).chain([i64::MIN, i64::MAX]) {
                let product = factor * i128::from(value);
                let holds = low <= product && product <= high;
                assert_eq!(holds, found.low <= value && value <= found.high, "{factor} {low} {high} {value}");
            }
        }
    }
}
