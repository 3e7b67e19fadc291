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
    /// Create a column with a number per decision.
    #[must_use]
    pub const fn each(data: &'a [T]) -> Self {
        Self { data, step: 1 }
    }

    /// Create a column whose first number is for all decisions.
    #[must_use]
    pub const fn all(data: &'a [T]) -> Self {
        Self { data, step: 0 }
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<T> {
        self.data.get(at * self.step).copied()
    }

    /// Return whether the column has a number for each of these rows.
    pub(crate) fn covers(&self, first: usize, rows: usize) -> bool {
        let last = (first + rows).saturating_sub(1) * self.step;
        last < self.data.len()
    }

    /// Clear the rows, from `first` on, whose number fails the test or that the column lacks.
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

    /// Set the rows, from `first` on, whose numbers in both columns pass the test.
    #[inline]
    pub(crate) fn test_with(&self, other: &Self, first: usize, rows: &mut [bool], test: impl Fn(T, T) -> bool) {
        if let (1, 1) = (self.step, other.step) {
            let numbers =
                self.data.get(first..).unwrap_or_default().iter().zip(other.data.get(first..).unwrap_or_default());
            rows.iter_mut().zip(numbers).for_each(|(row, (&number, &other))| *row |= test(number, other));
            return;
        }
        for (at, row) in (first..).zip(rows) {
            if let (Some(number), Some(other)) = (self.get(at), other.get(at)) {
                *row |= test(number, other);
            }
        }
    }

    /// Return the number for all rows, if there is one.
    pub(crate) fn one(&self) -> Option<T> {
        if self.step == 0 { self.data.first().copied() } else { None }
    }
}

/// The principals of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Principals<'a> {
    /// Ids of sessions: validity and kills are checked.
    Sessions(Column<'a, u64>),
    /// Handles of principals: policy alone decides.
    Handles(Column<'a, u64>),
}

impl Principals<'_> {
    /// Return the place of a row's principal, or the code of its denial; `None` if the column lacks the row.
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
            Self::Handles(handles) => Some(Ok(shared.place(Handle(handles.get(row)?)))),
        }
    }

    /// Return whether sessions give the principals.
    pub(crate) const fn are_sessions(&self) -> bool {
        matches!(self, Self::Sessions(_))
    }

    /// Return whether all rows have the same principal.
    pub(crate) const fn is_one(&self) -> bool {
        matches!(self, Self::Sessions(Column { step: 0, .. }) | Self::Handles(Column { step: 0, .. }))
    }
}

/// An entity does not have its argument's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;
