//! What every function of the table does around its job: it reads pointers, and lets no panic through.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use ztfast_embed::Status;
use ztfast_engine::Decision;

/// Run a decision. A panic denies.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
pub(super) fn decided(job: impl FnOnce() -> Decision) -> u32 {
    // A panic leaves nothing inconsistent behind: gates and batches begin each decision anew, the engine's locks
    // recover from poisoning, and the writing side publishes last.
    number(catch_unwind(AssertUnwindSafe(job)).unwrap_or(Decision::CORRUPT))
}

/// Return the number of a decision's code.
pub(super) const fn number(decision: Decision) -> u32 {
    decision.number() as u32
}

/// Run a function that is not a decision. A panic becomes a status.
pub(super) fn guarded(job: impl FnOnce() -> Result<(), Status>) -> i32 {
    // As in `decided`, a panic leaves nothing inconsistent behind.
    catch_unwind(AssertUnwindSafe(job)).unwrap_or(Err(Status::PANIC)).err().unwrap_or(Status::OK).0
}

/// Return the `len` values at a pointer; `None` for NULL with a `len` above 0, and for more than memory can hold.
///
/// # Safety
/// `data` is NULL or points to `len` values that do not change meanwhile.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
pub(super) unsafe fn values<'a, T>(data: *const T, len: usize) -> Option<&'a [T]> {
    if len == 0 {
        return Some(&[]);
    }
    if data.is_null() || len > isize::MAX as usize / size_of::<T>() {
        return None;
    }
    // SAFETY: the caller's promise; NULL and lengths beyond every object were refused.
    Some(unsafe { slice::from_raw_parts(data, len) })
}
