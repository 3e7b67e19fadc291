//! The mailbox of a gate, through which writer and gate exchange data without a lock. The writer puts the newest
//! snapshot and larger working memory in. The gate puts its replaced working memory in, and a mark when it is gone.
//!
//! Taking is one exchange of a pointer. It needs neither a lock nor thread-local memory, which schemes for any number
//! of readers allocate when a thread first reads; a gate may move to a new thread between two decisions. The crate
//! `loom` runs this file in every order in which the two sides can meet.

use crate::snapshot::Snapshot;
use crate::working::WorkingMemory;
#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, Ordering},
};
use std::ptr;
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, Ordering},
};

/// Slots for one snapshot and for working memory, each null or owned by the mailbox.
#[derive(Default)]
pub(crate) struct Mailbox {
    snapshot: AtomicPtr<Snapshot>,
    /// Larger working memory, which a newer bundle needs.
    memory: AtomicPtr<WorkingMemory>,
    /// A list of working memory that the gate has replaced. The writer frees it.
    used: AtomicPtr<WorkingMemory>,
    gone: AtomicBool,
}

impl Mailbox {
    /// Put a snapshot in, and drop one that was never taken. Only the writer calls this: it may free memory.
    pub fn put(&self, snapshot: Arc<Snapshot>) {
        drop(self.exchange(Arc::into_raw(snapshot).cast_mut()));
    }

    /// Take the snapshot that was put in since the last call, if any.
    pub fn take(&self) -> Option<Arc<Snapshot>> {
        self.exchange(ptr::null_mut())
    }

    fn exchange(&self, new: *mut Snapshot) -> Option<Arc<Snapshot>> {
        let old = self.snapshot.swap(new, Ordering::AcqRel);
        // SAFETY: every pointer in the mailbox came from `Arc::into_raw` in `put`, and only the exchange that takes it
        // out gets it, so its reference is released once.
        (!old.is_null()).then(|| unsafe { Arc::from_raw(old) })
    }

    /// Put working memory in, before the snapshot that needs it, and free what the gate gave back. Only the writer
    /// calls this.
    pub fn put_memory(&self, memory: Box<WorkingMemory>) {
        drop(exchange_memory(&self.memory, Some(memory)));
        drop(exchange_memory(&self.used, None));
    }

    /// Take the working memory that was put in, if any.
    pub fn take_memory(&self) -> Option<Box<WorkingMemory>> {
        exchange_memory(&self.memory, None)
    }

    /// Give working memory back, in front of what was given back before. Only the gate calls this.
    pub fn give_back(&self, mut memory: Box<WorkingMemory>) {
        memory.next = exchange_memory(&self.used, None);
        let between = exchange_memory(&self.used, Some(memory));
        debug_assert!(between.is_none(), "nobody else gives back");
    }

    /// Mark the gate as gone, and release the snapshot that waits for it.
    pub fn leave(&self) {
        // The engine holds this snapshot as long as the mailbox does: nothing is freed here.
        drop(self.take());
        self.gone.store(true, Ordering::Release);
    }

    /// Return whether the gate is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

fn exchange_memory(place: &AtomicPtr<WorkingMemory>, new: Option<Box<WorkingMemory>>) -> Option<Box<WorkingMemory>> {
    let old = place.swap(new.map_or(ptr::null_mut(), Box::into_raw), Ordering::AcqRel);
    // SAFETY: every pointer in these slots came from `Box::into_raw` here, and only the exchange that takes it out gets
    // it.
    (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        drop(self.take());
        drop(self.take_memory());
        drop(exchange_memory(&self.used, None));
    }
}
