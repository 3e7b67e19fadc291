//! Lines: records of a gate's own table that decide by the gate's arguments.
//!
//! A line has an interval for each argument and takes 64 bytes, one cache line, for gates with up to three arguments:
//!
//! ```text
//! inside (8) | outside (8) | inequalities (16) | details (32)
//! first inequality (32) | policy (32)
//! per argument  low | width
//! ```
//! The intervals together are a box. Inside of it a forbid applies if one of the inequalities holds; and clauses,
//! which the line's details list, decide the rest.

use crate::checks::{Answers, Check, CheckResult, Checks, Wanted};
use crate::linear::{Checked, Interval, Linear, Narrow, Wide};
use ztfast_codes::Code;
use ztfast_pages::{MemoryError, Residence, Resident, prefetch};

/// The answer that the walk over the action's layers has to give.
pub(crate) const WALK: u8 = u8::MAX;
/// What lies outside of the box: the line behind decides.
pub(crate) const NEXT_LINE: u8 = u8::MAX - 1;
/// What lies inside of the box: permits decide, each by a clause.
pub(crate) const PERMITS: u8 = u8::MAX - 2;
/// The answer of a line with clauses that need checks, where the caller runs none.
pub(crate) const CHECKS: u8 = u8::MAX - 3;
/// The bit of cells whose lines need checks. Cells of other lines are less.
pub(crate) const CHECKED: u32 = 1 << 14;
/// Stands for "no policy, or several" in a line.
pub(crate) const NO_POLICY: u32 = u32::MAX;

/// The words of a line before its intervals.
const HEAD: usize = 2;
/// The most arguments of a gate whose lines take one cache line.
const FEW: usize = 3;
/// The words of a line of four to seven arguments.
const WIDE: usize = 2 * CACHE_LINE;
/// The words of a cache line.
const CACHE_LINE: usize = 8;

/// The conditions of a line beyond its box and the inequalities in 64 bits.
#[derive(Debug, Clone, Copy)]
struct Detail {
    /// Inequalities of which each forbids.
    linear: (u32, u32),
    /// Clauses of which each forbids, then, if `inside` is [`PERMITS`], clauses of which each permits.
    forbids: (u32, u32),
    permits: (u32, u32),
}

/// A condition on several arguments: all of its parts hold. Most have no others than these, in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Clause {
    limit: Limit,
    wanted: Wanted,
    /// The wanted checks.
    checks: (u32, u32),
    /// The number of the [`Others`], from 1; 0 if there are none.
    others: u32,
    /// Whether there are further conditions, which only the walk can decide.
    more: bool,
}

const _: () = assert!(size_of::<Clause>() == 64);

impl Clause {
    /// Return whether all results that are wanted are known, and nothing else is.
    #[inline]
    const fn is_usual(&self, answers: &Answers) -> bool {
        self.others == 0 && !self.more && answers.are(&self.wanted).is_some()
    }
}

/// The conditions of a clause that have no place in it.
#[derive(Debug, Clone, Copy)]
struct Others {
    limits: (u32, u32),
    linear: (u32, u32),
}

/// An interval of one argument.
#[derive(Debug, Clone, Copy)]
struct Limit {
    low: i64,
    width: u64,
    place: u16,
}

impl Limit {
    /// No interval.
    const NONE: Self = Self { low: 0, width: u64::MAX, place: u16::MAX };

    /// Return whether the argument lies in the interval. A missing argument does not.
    #[inline]
    fn holds(&self, values: &[i64]) -> bool {
        let Some(value) = values.get(usize::from(self.place)) else { return self.place == Self::NONE.place };
        value.wrapping_sub(self.low).cast_unsigned() <= self.width
    }
}

/// What a pair of classes resolves for one gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub bounds: Vec<Interval>,
    pub inside: u8,
    pub outside: u8,
    /// Cases in which a forbid applies, inside of the box.
    pub forbids: Vec<Conditions>,
    /// If `inside` is [`PERMITS`]: cases in which a permit applies.
    pub permits: Vec<Conditions>,
    /// The only policy that permits inside of the box, or [`NO_POLICY`].
    pub policy: u32,
}

/// The conditions of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Conditions {
    pub limits: Vec<(usize, Interval)>,
    pub linear: Vec<Linear>,
    pub checks: Vec<Checked>,
    pub more: bool,
}

impl Rule {
    /// Return whether some condition needs checks.
    pub fn has_checks(&self) -> bool {
        self.forbids.iter().chain(&self.permits).any(|conditions| !conditions.checks.is_empty())
    }
}

impl Conditions {
    /// Return the inequality, if that is all.
    fn alone(&self) -> Option<&Linear> {
        match self.linear.as_slice() {
            [one] if self.limits.is_empty() && self.checks.is_empty() && !self.more => Some(one),
            _ => None,
        }
    }
}

/// The lines of a gate.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The lines of a gate with few arguments.
    narrow: Box<[Line]>,
    /// The lines of any other gate: the head, then the intervals.
    wide: Box<[u64]>,
    /// The words of a wide line.
    stride: usize,
    /// The places of the arguments that some line bounds.
    bounded: Box<[u16]>,
    inequalities: Box<[Narrow]>,
    details: Box<[Detail]>,
    clauses: Box<[Clause]>,
    others: Box<[Others]>,
    limits: Box<[Limit]>,
    linear: Box<[Wide]>,
    checked: Box<[Checked]>,
    checks: Box<[Check]>,
}

/// A line of a gate with at most [`FEW`] arguments.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    head: [u64; HEAD],
    intervals: [[u64; 2]; FEW],
}

const _: () = assert!(size_of::<Line>() == 64);

/// Runs no checks.
struct NoChecks;

impl Checks for NoChecks {
    #[inline]
    fn known(&self, wanted: &Wanted) -> Option<bool> {
        wanted.is_none().then_some(true)
    }

    fn run(&mut self, _check: u16) -> Option<CheckResult> {
        None
    }
}

/// A line that needs no details. Outside of the box, the walk may have to decide.
pub(crate) struct PlainLine<'a> {
    pub inside: u8,
    pub outside: u8,
    /// For each argument the least number, and the distance to the greatest.
    pub intervals: &'a [[u64; 2]],
    /// Inequalities of which each forbids.
    pub inequalities: &'a [Narrow],
}

/// Return whether a value lies in an interval, given by the least number and the distance to the greatest.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
pub(crate) const fn lies_in(value: i64, [low, width]: [u64; 2]) -> bool {
    value.cast_unsigned().wrapping_sub(low) <= width
}

/// Return whether the value at a place lies in the interval there; true where there is no value or no interval.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn lies(place: usize, values: &[i64], intervals: &[[u64; 2]]) -> bool {
    values.get(place).zip(intervals.get(place)).is_none_or(|(&value, &interval)| lies_in(value, interval))
}

#[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
impl Lines {
    /// Return the answer of the line of a cell without [`CHECKED`] to a request with these values. It may be [`WALK`].
    #[inline(always)]
    #[allow(clippy::inline_always)] // the hot path needs the result in a register
    pub fn answer(&self, cell: u32, values: &[i64]) -> u8 {
        let number = cell as usize;
        let Some(line) = self.narrow.get(number) else { return self.wide_answer(number, values) };
        let [first, second, third] = line.intervals;
        let within = match *values {
            [x, y] => lies_in(x, first) & lies_in(y, second),
            [x] => lies_in(x, first),
            [x, y, z] => lies_in(x, first) & lies_in(y, second) & lies_in(z, third),
            [] => true,
            _ => return WALK,
        };
        if within {
            return self.inside(line.head, values, Self::called_details);
        }
        match (line.head[0] >> 8) as u8 {
            NEXT_LINE => self.next_answer(number + 1, values),
            code => code,
        }
    }

    /// Return the only policy that permits inside of the box of a cell's line, or [`NO_POLICY`].
    #[inline]
    pub fn policy(&self, cell: u32) -> u32 {
        let number = number_of(cell);
        self.read(number).map_or(NO_POLICY, |(head, _)| (head[1] >> 32) as u32)
    }

    /// Return whether a cell's line has intervals and nothing else.
    #[inline]
    pub fn is_box(&self, cell: u32) -> bool {
        self.read(number_of(cell)).is_some_and(|(head, _)| head[0] >> 16 == 0)
    }

    /// Return a line, if intervals and inequalities in 64 bits alone decide.
    pub fn plain(&self, number: usize) -> Option<PlainLine<'_>> {
        let ([head, link], intervals) = self.read(number)?;
        let (inside, outside) = (head as u8, (head >> 8) as u8);
        let (first, count) = (link as u32 as usize, (head >> 16) as u16 as usize);
        let is_plain = head >> 32 == 0 && inside < PERMITS && (outside < PERMITS || outside == WALK);
        let inequalities = self.inequalities.get(first..first + count)?;
        is_plain.then_some(PlainLine { inside, outside, intervals, inequalities })
    }

    /// Prefetch the line of a cell.
    #[inline]
    pub fn prefetch(&self, cell: u32) {
        prefetch(&self.narrow, number_of(cell));
        prefetch(&self.wide, number_of(cell) * self.stride);
    }

    /// Return a line's head, and its intervals: for each argument the least number, and the distance to the greatest.
    #[inline(always)]
    #[allow(clippy::inline_always)] // what is read stays in registers
    fn read(&self, number: usize) -> Option<([u64; HEAD], &[[u64; 2]])> {
        if let Some(line) = self.narrow.get(number) {
            return Some((line.head, &line.intervals));
        }
        let start = number.wrapping_mul(self.stride);
        let (head, intervals) = self.wide.get(start..start.wrapping_add(self.stride))?.split_first_chunk()?;
        Some((*head, intervals.as_chunks().0))
    }

    /// Return the answer of a line with four arguments or more.
    #[inline(never)]
    fn wide_answer(&self, number: usize, values: &[i64]) -> u8 {
        match values.len() {
            4 => self.answer_of::<4>(number, values),
            5 => self.answer_of::<5>(number, values),
            _ => self.answer_of_many(number, values),
        }
    }

    #[inline(never)]
    fn answer_of_many(&self, number: usize, values: &[i64]) -> u8 {
        let start = number.wrapping_mul(self.stride);
        let Some(words) = self.wide.get(start..start.wrapping_add(self.stride)) else { return WALK };
        let ([head, intervals @ ..], _) = words.as_chunks() else { return WALK };
        // A gate with fewer arguments has narrow lines. The first four are compared without a branch.
        let (Some((&[a, b, c, d], others)), Some((&[of_a, of_b, of_c, of_d], of_others))) =
            (values.split_first_chunk(), intervals.split_first_chunk())
        else {
            return WALK;
        };
        let within = lies_in(a, of_a) & lies_in(b, of_b) & lies_in(c, of_c) & lies_in(d, of_d);
        let mut others_and_intervals = others.iter().zip(of_others);
        if within
            && others.len() <= of_others.len()
            && others_and_intervals.all(|(&value, &interval)| lies_in(value, interval))
        {
            return self.inside(*head, values, |lines, head, values| lines.details(head, values, &mut NoChecks));
        }
        match (head[0] >> 8) as u8 {
            NEXT_LINE => self.next_answer(number + 1, values),
            code => code,
        }
    }

    /// Return the answer of a line with this many arguments, at most seven.
    #[inline(never)]
    fn answer_of<const N: usize>(&self, number: usize, values: &[i64]) -> u8 {
        let (start, Some(first)) = (number.wrapping_mul(WIDE), values.first_chunk::<N>()) else { return WALK };
        let line = self.wide.get(start..start.wrapping_add(WIDE)).filter(|_| self.stride == WIDE);
        let Some(&[head, link, ref words @ ..]) = line.and_then(|line| line.first_chunk::<WIDE>()) else { return WALK };
        let Some(intervals) = words.as_chunks().0.first_chunk::<N>() else { return WALK };
        let within = first.iter().zip(intervals).fold(true, |all, (&value, &interval)| all & lies_in(value, interval));
        if within {
            return self.inside([head, link], values, Self::called_details);
        }
        match (head >> 8) as u8 {
            NEXT_LINE => self.next_answer(number + 1, values),
            code => code,
        }
    }

    /// Return the answer of the line behind another one. No further line follows.
    #[inline(never)]
    fn next_answer(&self, number: usize, values: &[i64]) -> u8 {
        let Some((head, intervals)) = self.read(number).filter(|(_, all)| values.len() <= all.len()) else {
            return WALK;
        };
        if values.iter().zip(intervals).all(|(&value, &interval)| lies_in(value, interval)) {
            return self.inside(head, values, Self::called_details);
        }
        match (head[0] >> 8) as u8 {
            NEXT_LINE => WALK,
            code => code,
        }
    }

    /// Return the answer inside of the box.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn inside(&self, [head, link]: [u64; HEAD], values: &[i64], details: impl FnOnce(&Self, u64, &[i64]) -> u8) -> u8 {
        let (first, count) = (link as u32 as usize, (head >> 16) as u16 as usize);
        for number in first..first + count {
            match self.inequalities.get(number) {
                Some(one) if one.holds(values) => return Code::Forbid as u8,
                Some(_) => {}
                None => return WALK,
            }
        }
        if head >> 32 == 0 { head as u8 } else { details(self, head, values) }
    }

    /// Return the answer of [`Self::details`] without checks, without taking registers from the hot path.
    #[inline(never)]
    fn called_details(&self, head: u64, values: &[i64]) -> u8 {
        self.details(head, values, &mut NoChecks)
    }

    /// Return the answer of the line of a cell, as [`Self::answer`] does, but run the checks that it needs.
    #[inline(always)]
    #[allow(clippy::inline_always)] // what is known of checks stays in registers
    pub fn answer_with(&self, cell: u32, values: &[i64], checks: &mut impl Checks) -> u8 {
        let mut number = number_of(cell);
        // A line that leaves the answer to the next one is not followed by another such line.
        for _ in 0..2 {
            let Some((head, intervals)) = self.read(number).filter(|(_, all)| values.len() <= all.len()) else {
                return WALK;
            };
            // Most arguments of gates with checks are texts or sets, which no line bounds.
            if self.bounded.iter().all(|&place| lies(place.into(), values, intervals)) {
                // Few lines of such gates have inequalities.
                if (head[0] >> 16) as u16 != 0 {
                    match self.is_forbidden(head, values) {
                        Some(false) => {}
                        Some(true) => return Code::Forbid as u8,
                        None => return WALK,
                    }
                }
                return if head[0] >> 32 == 0 { head[0] as u8 } else { self.details(head[0], values, checks) };
            }
            match (head[0] >> 8) as u8 {
                NEXT_LINE => number += 1,
                code => return code,
            }
        }
        WALK
    }

    /// Return the answer of the line of a cell, as [`Self::answer_with`] does, by results of checks that are known. It
    /// may be [`CHECKS`].
    #[inline(never)] // with registers of its own
    pub fn answer_known(&self, cell: u32, values: &[i64], answers: &Answers) -> u8 {
        match self.answer_of_usual(number_of(cell), values, answers) {
            Some(answer) => answer,
            None => self.answer_of_unusual(cell, values, answers),
        }
    }

    #[inline(never)]
    fn answer_of_unusual(&self, cell: u32, values: &[i64], answers: &Answers) -> u8 {
        self.answer_with(cell, values, &mut answers.clone())
    }

    /// Return the answer of a line to values inside of its box, if that depends on its inequalities in 64 bits and on
    /// clauses of one interval and checks, whose results are known.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn answer_of_usual(&self, number: usize, values: &[i64], answers: &Answers) -> Option<u8> {
        let (head, link, intervals) = if let Some(line) = self.narrow.get(number) {
            (line.head[0], line.head[1], line.intervals.as_slice())
        } else {
            // The intervals of further lines follow, of which none is read.
            let (&[head, link], rest) = self.wide.get(number.wrapping_mul(self.stride)..)?.split_first_chunk()?;
            (head, link, rest.as_chunks().0)
        };
        if values.len() > intervals.len() {
            return None;
        }
        if !self.bounded.iter().all(|&place| lies(place.into(), values, intervals)) {
            return None;
        }
        if (head >> 16) as u16 != 0 && self.is_forbidden([head, link], values)? {
            return Some(Code::Forbid as u8);
        }
        let inside = head as u8;
        let Some(detail) = ((head >> 32) as usize).checked_sub(1) else { return Some(inside) };
        let detail = self.details.get(detail)?;
        if detail.linear.0 != detail.linear.1 {
            return None;
        }
        for clause in self.clauses.get(span(detail.forbids))? {
            if clause.limit.holds(values) && answers.are(&clause.wanted) != Some(false) {
                return clause.is_usual(answers).then_some(Code::Forbid as u8);
            }
        }
        if inside != PERMITS {
            return Some(inside);
        }
        for clause in self.clauses.get(span(detail.permits))? {
            if clause.limit.holds(values) && answers.are(&clause.wanted) != Some(false) {
                return clause.is_usual(answers).then_some(Code::Allow as u8);
            }
        }
        Some(Code::Default as u8)
    }

    /// Return whether one of a line's inequalities holds. [`Self::inside`] has a loop of its own: a call of this would
    /// take registers from gates of many numbers.
    #[inline(never)]
    fn is_forbidden(&self, [head, link]: [u64; HEAD], values: &[i64]) -> Option<bool> {
        let (first, count) = (link as u32 as usize, (head >> 16) as u16 as usize);
        let inequalities = self.inequalities.get(first..first + count)?;
        Some(inequalities.iter().any(|one| one.holds(values)))
    }

    /// Make the memory of the lines resident. The result must be dropped before the lines.
    pub fn hold(&self, what: &'static str, residence: Residence) -> Result<Vec<Resident>, MemoryError> {
        // They are taken apart, so that no field is forgotten.
        let Self {
            narrow,
            wide,
            stride: _,
            bounded,
            inequalities,
            details,
            clauses,
            others,
            limits,
            linear,
            checked,
            checks,
        } = self;
        let mut held = vec![
            Resident::read(what, narrow, residence)?,
            Resident::read(what, wide, residence)?,
            Resident::read(what, bounded, residence)?,
            Resident::read(what, inequalities, residence)?,
            Resident::read(what, details, residence)?,
            Resident::read(what, clauses, residence)?,
            Resident::read(what, others, residence)?,
            Resident::read(what, limits, residence)?,
            Resident::read(what, linear, residence)?,
            Resident::read(what, checked, residence)?,
            Resident::read(what, checks, residence)?,
        ];
        for check in checks {
            if let Some(of_entity) = &check.of_entity {
                held.push(Resident::read(what, &of_entity.results, residence)?);
            }
        }
        Ok(held)
    }

    /// Return the checks.
    pub const fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Return the places of the arguments that some inequality concerns.
    pub fn summed(&self) -> impl Iterator<Item = usize> + '_ {
        let narrow = self.inequalities.iter().flat_map(Narrow::places);
        narrow.chain(self.linear.iter().flat_map(Wide::places))
    }

    /// Return the answer inside of the box, where none of the inequalities in 64 bits holds.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn details(&self, head: u64, values: &[i64], checks: &mut impl Checks) -> u8 {
        let Some(detail) = self.details.get((head >> 32) as usize - 1) else { return WALK };
        if detail.linear.0 != detail.linear.1 {
            for one in self.linear.get(span(detail.linear)).unwrap_or_default() {
                if one.holds(values) {
                    return Code::Forbid as u8;
                }
            }
        }
        for clause in self.clauses.get(span(detail.forbids)).unwrap_or_default() {
            if self.holds(clause, values) {
                match self.have_results(clause, checks) {
                    Some(true) if clause.more => return WALK,
                    Some(true) => return Code::Forbid as u8,
                    Some(false) => {}
                    None => return CHECKS,
                }
            }
        }
        let inside = head as u8;
        if inside != PERMITS {
            return inside;
        }
        let mut answer = Code::Default as u8;
        for clause in self.clauses.get(span(detail.permits)).unwrap_or_default() {
            if self.holds(clause, values) {
                match self.have_results(clause, checks) {
                    Some(true) if clause.more => answer = WALK,
                    Some(true) => return Code::Allow as u8,
                    Some(false) => {}
                    None => return CHECKS,
                }
            }
        }
        answer
    }

    /// Return whether the checks of a clause have their results; `None` if none can be run.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn have_results(&self, clause: &Clause, checks: &mut impl Checks) -> Option<bool> {
        match checks.known(&clause.wanted) {
            Some(known) => Some(known),
            None => self.checked(clause, checks),
        }
    }

    #[inline(never)]
    fn checked(&self, clause: &Clause, checks: &mut impl Checks) -> Option<bool> {
        for wanted in self.checked.get(span(clause.checks)).unwrap_or_default() {
            let found = match checks.run(wanted.check)? {
                CheckResult::Error => return Some(false),
                CheckResult::Bool(found) => found,
            };
            if wanted.result.is_some_and(|wanted| wanted != found) {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Return whether all conditions of a clause hold, but for those that it does not know.
    #[inline]
    fn holds(&self, clause: &Clause, values: &[i64]) -> bool {
        clause.limit.holds(values) && (clause.others == 0 || self.others_hold(clause.others, values))
    }

    #[inline(never)]
    fn others_hold(&self, number: u32, values: &[i64]) -> bool {
        let Some(others) = self.others.get(number as usize - 1) else { return false };
        let limits = self.limits.get(span(others.limits)).unwrap_or_default();
        let linear = self.linear.get(span(others.linear)).unwrap_or_default();
        limits.iter().all(|limit| limit.holds(values)) && linear.iter().all(|one| one.holds(values))
    }
}

/// Return the number of a cell's line.
#[inline]
pub(crate) const fn number_of(cell: u32) -> usize {
    (cell & !CHECKED) as usize
}

const fn span((start, end): (u32, u32)) -> std::ops::Range<usize> {
    start as usize..end as usize
}

/// Writes the lines of a gate.
pub(crate) struct Writer {
    arguments: usize,
    words: Vec<u64>,
    narrow: Vec<Narrow>,
    details: Vec<Detail>,
    clauses: Vec<Clause>,
    others: Vec<Others>,
    limits: Vec<Limit>,
    linear: Vec<Wide>,
    checked: Vec<Checked>,
}

impl Writer {
    /// Begin for a gate with this many arguments.
    pub const fn new(arguments: usize) -> Self {
        Self {
            arguments,
            words: Vec::new(),
            narrow: Vec::new(),
            details: Vec::new(),
            clauses: Vec::new(),
            others: Vec::new(),
            limits: Vec::new(),
            linear: Vec::new(),
            checked: Vec::new(),
        }
    }

    const fn stride(&self) -> usize {
        (HEAD + 2 * self.arguments).next_multiple_of(CACHE_LINE)
    }

    /// Return how many lines there are.
    pub fn len(&self) -> usize {
        self.words.len() / self.stride()
    }

    /// Append a line. Return its cell; `None` if the rule has more clauses than the format has bits for.
    pub fn push(&mut self, rule: &Rule) -> Option<u32> {
        let cell = u32::try_from(self.words.len() / self.stride()).ok()?;
        let first = u32::try_from(self.narrow.len()).ok()?;
        let start = self.linear.len();
        let mut clauses = Vec::new();
        for conditions in &rule.forbids {
            match conditions.alone() {
                Some(one) => match one.narrow(&rule.bounds) {
                    Some(narrow) => self.narrow.push(narrow),
                    None => self.linear.push(one.wide()),
                },
                None => clauses.push(conditions),
            }
        }
        let linear = span_of(start, self.linear.len())?;
        let inequalities = u16::try_from(self.narrow.len() - first as usize).ok()?;
        let detail = if linear.0 == linear.1 && clauses.is_empty() && rule.permits.is_empty() {
            0
        } else {
            let forbids = self.clauses(clauses.into_iter())?;
            let permits = self.clauses(rule.permits.iter())?;
            self.details.push(Detail { linear, forbids, permits });
            u32::try_from(self.details.len()).ok()?
        };
        let end = self.words.len() + self.stride();
        self.words.push(
            u64::from(rule.inside)
                | u64::from(rule.outside) << 8
                | u64::from(inequalities) << 16
                | u64::from(detail) << 32,
        );
        self.words.push(u64::from(first) | u64::from(rule.policy) << 32);
        for bounds in &rule.bounds {
            self.words.extend([bounds.low.cast_unsigned(), bounds.high.wrapping_sub(bounds.low).cast_unsigned()]);
        }
        // What fills the line up is true of every number.
        while self.words.len() < end {
            self.words.extend([0, u64::MAX]);
        }
        self.words.truncate(end);
        Some(cell)
    }

    fn clauses<'c>(&mut self, all: impl Iterator<Item = &'c Conditions>) -> Option<(u32, u32)> {
        let start = self.clauses.len();
        for conditions in all {
            let (limits, linear, checks) = (self.limits.len(), self.linear.len(), self.checked.len());
            let mut limit = Limit::NONE;
            for &(place, Interval { low, high }) in &conditions.limits {
                let (width, place) = (high.wrapping_sub(low).cast_unsigned(), u16::try_from(place).ok()?);
                if limit.place == Limit::NONE.place {
                    limit = Limit { low, width, place };
                } else {
                    self.limits.push(Limit { low, width, place });
                }
            }
            self.linear.extend(conditions.linear.iter().map(Linear::wide));
            self.checked.extend(&conditions.checks);
            let limits = span_of(limits, self.limits.len())?;
            let (linear, checks) = (span_of(linear, self.linear.len())?, span_of(checks, self.checked.len())?);
            let mut others = 0;
            if limits.0 != limits.1 || linear.0 != linear.1 {
                self.others.push(Others { limits, linear });
                others = u32::try_from(self.others.len()).ok()?;
            }
            let (wanted, more) = (Wanted::of(&conditions.checks), conditions.more);
            self.clauses.push(Clause { limit, wanted, checks, others, more });
        }
        span_of(start, self.clauses.len())
    }

    /// Return the lines, with all checks.
    pub fn finish(self, checks: Vec<Check>) -> Lines {
        let stride = self.stride();
        let is_bounded = |place: &u16| {
            let width = HEAD + 2 * usize::from(*place) + 1;
            self.words.chunks(stride).any(|line| line.get(width).is_some_and(|&width| width != u64::MAX))
        };
        let bounded = (0..u16::try_from(self.arguments).unwrap_or(u16::MAX)).filter(is_bounded).collect();
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        if self.arguments <= FEW {
            let (lines, _) = self.words.as_chunks::<CACHE_LINE>();
            narrow.extend(lines.iter().map(|&[head, link, a, b, c, d, e, f]| Line {
                head: [head, link],
                intervals: [[a, b], [c, d], [e, f]],
            }));
        } else {
            wide = self.words;
        }
        Lines {
            narrow: narrow.into(),
            wide: wide.into(),
            stride,
            bounded,
            inequalities: self.narrow.into(),
            details: self.details.into(),
            clauses: self.clauses.into(),
            others: self.others.into(),
            limits: self.limits.into(),
            linear: self.linear.into(),
            checked: self.checked.into(),
            checks: checks.into(),
        }
    }
}

fn span_of(start: usize, end: usize) -> Option<(u32, u32)> {
    Some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
}
