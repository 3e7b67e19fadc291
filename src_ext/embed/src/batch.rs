//! Batches: many decisions by one bundle, over columns.

use crate::code::{Code, Status};
use crate::table::{Api, MAX_ARGUMENTS, RawBatch, RawColumn};
use std::ptr::{self, NonNull};

#[allow(clippy::cast_possible_truncation)] // codes are small
const CORRUPT: u8 = Code::CORRUPT.0 as u8;

/// A column of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a, T> {
    /// A value per row.
    Each(&'a [T]),
    /// One value for all rows.
    All(&'a T),
}

impl<T> Column<'_, T> {
    const fn raw(&self) -> RawColumn {
        match self {
            Self::Each(values) => RawColumn { data: values.as_ptr().cast(), len: values.len(), each: 1 },
            Self::All(value) => RawColumn { data: ptr::from_ref::<T>(value).cast(), len: 1, each: 0 },
        }
    }
}

/// A gate's view of one snapshot, made by [`crate::Gate::batch`]. Any number of threads may run it at once.
#[derive(Debug)]
pub struct Batch {
    api: &'static Api,
    /// The core's batch, owned by this value: from `batch_begin`, given to `batch_end` on drop.
    raw: NonNull<RawBatch>,
}

// SAFETY: the core's batches are bound to no thread.
unsafe impl Send for Batch {}
// SAFETY: only `batch_run` takes `&self`, and the table lets any number of threads call it at once; `text` is
// exclusive.
unsafe impl Sync for Batch {}

impl Batch {
    /// # Safety
    /// The batch came from this table's `batch_begin`, and nothing else owns it.
    pub(crate) const unsafe fn new(api: &'static Api, raw: NonNull<RawBatch>) -> Self {
        Self { api, raw }
    }

    /// Return the number of a text for this batch's columns. Equal texts have equal numbers. Texts that the bundle
    /// lacks are kept.
    ///
    /// # Errors
    /// [`Status::CAPACITY`] if those exceed 4 GiB.
    pub fn text(&mut self, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: the batch lives and does not run (`&mut self`); the text is a slice, and `number` is a local
        // variable.
        Status(unsafe { (self.api.batch_text)(self.raw.as_ptr(), text.as_ptr(), text.len(), &raw mut number) }).ok()?;
        Ok(number)
    }

    /// Decide each row, and write its code to `codes` ([`crate::Code`], one byte a row). There are as many rows as
    /// codes. Columns of entities hold handles.
    ///
    /// # Errors
    /// [`Status::COLUMNS`] if a column has another length, or the number of columns is not that of the arguments. All
    /// codes are then [`crate::Code::CORRUPT`].
    pub fn run(
        &self,
        sessions: Column<'_, u64>,
        resources: Column<'_, u64>,
        values: &[Column<'_, i64>],
        codes: &mut [u8],
    ) -> Result<(), Status> {
        // SAFETY: sessions and resources are u64, and the values i64.
        unsafe { self.decide(self.api.batch_run, sessions.raw(), resources, values, codes) }
    }

    /// Decide each row by policy alone, for principals' handles: without session and kill switch.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn evaluate(
        &self,
        principals: Column<'_, u64>,
        resources: Column<'_, u64>,
        values: &[Column<'_, i64>],
        codes: &mut [u8],
    ) -> Result<(), Status> {
        // SAFETY: principals and resources are u64, and the values i64.
        unsafe { self.decide(self.api.batch_evaluate, principals.raw(), resources, values, codes) }
    }

    /// Return a batch over the same snapshot without the attributes whose bits are set in `absent`, for rows in which
    /// they are absent. Texts keep the numbers that [`Self::text`] gave them.
    ///
    /// # Errors
    /// [`Status::REQUIRED`] if one of these attributes is required; [`Status::STALE`].
    pub fn without(&self, absent: u64) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: the batch lives; `raw` is a local variable.
        Status(unsafe { (self.api.batch_without)(self.raw.as_ptr(), absent, &raw mut raw) }).ok()?;
        // SAFETY: the core made this batch for us, and nothing else owns it.
        NonNull::new(raw).map(|raw| unsafe { Self::new(self.api, raw) }).ok_or(Status::NULL)
    }

    /// # Safety
    /// The first column has the type that the function reads.
    unsafe fn decide(
        &self,
        function: unsafe extern "C" fn(*const RawBatch, usize, *const RawColumn, usize, *mut u8) -> i32,
        principals: RawColumn,
        resources: Column<'_, u64>,
        values: &[Column<'_, i64>],
        codes: &mut [u8],
    ) -> Result<(), Status> {
        let mut columns = [RawColumn { data: ptr::null(), len: 0, each: 0 }; 2 + MAX_ARGUMENTS];
        let count = 2 + values.len();
        if count > columns.len() {
            codes.fill(CORRUPT);
            return Err(Status::COLUMNS);
        }
        let given = [principals, resources.raw()].into_iter().chain(values.iter().map(Column::raw));
        columns.iter_mut().zip(given).for_each(|(column, given)| *column = given);
        let (rows, out) = (codes.len(), codes.as_mut_ptr());
        // SAFETY: the batch lives; columns and codes are slices of the types that the function reads and writes.
        Status(unsafe { function(self.raw.as_ptr(), rows, columns.as_ptr(), count, out) }).ok()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the batch came from `batch_begin`, is owned here, and is not used after this.
        let ended = Status(unsafe { (self.api.batch_end)(self.raw.as_ptr()) });
        debug_assert_eq!(ended, Status::OK, "the core takes its batches back");
    }
}
