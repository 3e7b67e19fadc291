//! The forbids of pairs of classes in which each forbid asks for an interval of one argument. Where a gate's table
//! denies by them, they name the policies, which a walk over the layers would take longer to find.

use crate::linear::Case;
use crate::lines::lies_in;
use rustc_hash::FxHashMap;
use ztfast_pages::{MemoryError, Residence, Resident};

/// Marks the only policy that forbids, which is the one wherever something is forbidden.
const ONLY: u32 = 1 << 31;

/// A forbid that applies where an argument lies in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reason {
    /// The least number, and the distance to the greatest.
    interval: [u64; 2],
    policy: u32,
    place: u32,
}

/// The forbids of a table.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    /// For each cell the number of its list, from 1; its only policy, with [`ONLY`]; or 0 if a walk has to find its
    /// forbids.
    lists_of_cells: Box<[u32]>,
    /// Where each list begins. One place more says where the last one ends.
    lists: Box<[u32]>,
    all: Box<[Reason]>,
}

impl Reasons {
    /// Tell the forbids of the cell at a place that apply to these values, one of which forbids them. Return whether it
    /// is known which; if not, a walk has to find them.
    #[inline(always)]
    #[allow(clippy::inline_always)] // most have one
    pub fn tell(&self, cell: usize, values: &[i64], mut told: impl FnMut(u32)) -> bool {
        match self.lists_of_cells.get(cell) {
            Some(&only) if only & ONLY != 0 => {
                told(only & !ONLY);
                true
            }
            Some(&list) => self.tell_those_of(list as usize, values, told),
            None => false,
        }
    }

    #[inline(never)]
    fn tell_those_of(&self, list: usize, values: &[i64], mut told: impl FnMut(u32)) -> bool {
        let bounds = list.checked_sub(1).and_then(|first| self.lists.get(first..=list));
        let Some(&[begin, end]) = bounds else { return false };
        let mut last = None;
        for reason in self.all.get(begin as usize..end as usize).unwrap_or_default() {
            let applies = values.get(reason.place as usize).is_some_and(|&value| lies_in(value, reason.interval));
            // The cases of a policy follow each other.
            if applies && last != Some(reason.policy) {
                told(reason.policy);
                last = Some(reason.policy);
            }
        }
        last.is_some()
    }

    /// Make the memory resident. The result must be dropped before this.
    pub fn hold(&self, what: &'static str, residence: Residence) -> Result<[Resident; 3], MemoryError> {
        let Self { lists_of_cells, lists, all } = self;
        Ok([
            Resident::read(what, lists_of_cells, residence)?,
            Resident::read(what, lists, residence)?,
            Resident::read(what, all, residence)?,
        ])
    }
}

/// Collects the forbids of a table.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    known: FxHashMap<Box<[Reason]>, u32>,
    lists: Vec<u32>,
    all: Vec<Reason>,
}

impl Collector {
    /// Add the forbids of a pair of classes, and return the number of their list, or their only policy; 0 if some ask
    /// for more than an interval of one argument.
    pub fn add(&mut self, forbids: &[(u32, Case)]) -> u32 {
        let reasons: Option<Box<[Reason]>> = forbids.iter().map(|(policy, case)| reason(*policy, case)).collect();
        let Some(reasons) = reasons else { return 0 };
        let Some(Reason { policy, .. }) = reasons.first() else { return 0 };
        if policy & ONLY == 0 && reasons.iter().all(|reason| reason.policy == *policy) {
            return ONLY | policy;
        }
        if let Some(&list) = self.known.get(&reasons) {
            return list;
        }
        let begin = u32::try_from(self.all.len());
        let list = u32::try_from(self.lists.len() + 1);
        let (Ok(begin), Ok(list @ ..ONLY)) = (begin, list) else { return 0 };
        self.lists.push(begin);
        self.all.extend(&reasons);
        self.known.insert(reasons, list);
        list
    }

    /// Return the forbids of a table, by the lists of its cells.
    pub fn finish(mut self, lists_of_cells: Vec<u32>) -> Reasons {
        match u32::try_from(self.all.len()) {
            Ok(end) if lists_of_cells.iter().any(|&list| list != 0) => {
                self.lists.push(end);
                Reasons { lists_of_cells: lists_of_cells.into(), lists: self.lists.into(), all: self.all.into() }
            }
            _ => Reasons::default(),
        }
    }
}

/// Return a forbid that asks for an interval of one argument.
fn reason(policy: u32, case: &Case) -> Option<Reason> {
    let mut limits = case.limits();
    let (place, interval) = limits.next()?;
    let is_alone = limits.next().is_none() && case.linear.is_empty() && case.is_of_numbers();
    let (low, high) = (interval.low, interval.high);
    is_alone.then_some(Reason {
        interval: [low.cast_unsigned(), high.wrapping_sub(low).cast_unsigned()],
        policy,
        place: u32::try_from(place).ok()?,
    })
}
