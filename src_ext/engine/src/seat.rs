//! How a gate comes by the newest snapshot: the engine lays it into the gate's seat, and the gate takes it out.
//!
//! Taking is one exchange of a pointer. It needs no lock, and no memory of the thread's own, which schemes for any number
//! of readers allocate when a thread first reads; a gate may be handed to a new thread between two decisions.

use crate::snapshot::Snapshot;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A place for one snapshot: null, or a counted reference that the seat owns.
#[derive(Default)]
pub(crate) struct Seat(AtomicPtr<Snapshot>);

impl Seat {
    /// Lay a snapshot in, and drop the one that nobody took. For the writing side: this may free memory.
    pub fn put(&self, snapshot: Arc<Snapshot>) {
        drop(self.exchange(Arc::into_raw(snapshot).cast_mut()));
    }

    /// Take what was laid in since the last time, if anything was.
    pub fn take(&self) -> Option<Arc<Snapshot>> {
        self.exchange(ptr::null_mut())
    }

    fn exchange(&self, new: *mut Snapshot) -> Option<Arc<Snapshot>> {
        let old = self.0.swap(new, Ordering::AcqRel);
        // SAFETY: every pointer in the seat came from `Arc::into_raw` in `put`, and the exchange that takes it out is the
        // only one to get it, so its reference is given back once.
        (!old.is_null()).then(|| unsafe { Arc::from_raw(old) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.take());
    }
}
