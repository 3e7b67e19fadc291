//! The columns of a batch: one number per decision, or one for all.

use crate::shared::Shared;
use ztfast_codes::Code;
use ztfast_live::{Handle, Place, SessionId};

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
    pub(crate) fn get(&self, at: usize) -> Option<T> {
        self.data.get(at * self.step).copied()
    }

    /// Whether there is a number for each of these rows.
    pub(crate) fn covers(&self, first: usize, rows: usize) -> bool {
        let last = (first + rows).saturating_sub(1) * self.step;
        last < self.data.len()
    }

    /// Keep those of the rows from `first` on for which the number passes a test; rows that the column lacks do not.
    #[inline]
    pub(crate) fn test(&self, first: usize, rows: &mut [bool], test: impl Fn(T) -> bool) {
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
    pub(crate) fn one(&self) -> Option<T> {
        if self.step == 0 { self.data.first().copied() } else { None }
    }
}

/// Who asks in a batch.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Sessions, by their ids: their validity and the kill switch are looked at.
    Sessions(Column<'a, u64>),
    /// Principals, by their handles: policy alone.
    Principals(Column<'a, u64>),
}

impl Who<'_> {
    /// Where the principal of a row is, or why it may nothing; `None` where the column lacks the row.
    #[inline]
    pub(crate) fn principal(
        &self,
        shared: &Shared,
        row: usize,
        now_ns: i64,
        killed: bool,
    ) -> Option<Result<Place, Code>> {
        match self {
            Self::Sessions(sessions) => Some(shared.principal(SessionId(sessions.get(row)?), now_ns, killed)),
            Self::Principals(principals) => Some(Ok(shared.place(Handle(principals.get(row)?)))),
        }
    }

    /// Whether one is for all rows.
    pub(crate) const fn is_one(&self) -> bool {
        matches!(self, Self::Sessions(Column { step: 0, .. }) | Self::Principals(Column { step: 0, .. }))
    }
}

/// An entity is not of its argument's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;
