//! What the engine and a gate hand each other without a lock: the newest snapshot and larger working memory go to the gate, what
//! it worked in before comes back, and so does the word that the gate is gone.
//!
//! Taking is one exchange of a pointer. It needs no lock, and no memory of the thread's own, which schemes for any number
//! of readers allocate when a thread first reads; a gate may be handed to a new thread between two decisions. The crate `loom`
//! runs this file in every order in which the two sides can meet.

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

/// Places for one snapshot and for working memory, each null or owned by the mailbox.
#[derive(Default)]
pub(crate) struct Mailbox {
    snapshot: AtomicPtr<Snapshot>,
    /// Working memory that a newer bundle needs.
    memory: AtomicPtr<WorkingMemory>,
    /// Working memory that the gate needs no more, a list: freed by the writing side.
    used: AtomicPtr<WorkingMemory>,
    gone: AtomicBool,
}

impl Mailbox {
    /// Lay a snapshot in, and drop the one that nobody took. For the writing side: this may free memory.
    pub fn put(&self, snapshot: Arc<Snapshot>) {
        drop(self.exchange(Arc::into_raw(snapshot).cast_mut()));
    }

    /// Take what was laid in since the last time, if anything was.
    pub fn take(&self) -> Option<Arc<Snapshot>> {
        self.exchange(ptr::null_mut())
    }

    fn exchange(&self, new: *mut Snapshot) -> Option<Arc<Snapshot>> {
        let old = self.snapshot.swap(new, Ordering::AcqRel);
        // SAFETY: every pointer in the mailbox came from `Arc::into_raw` in `put`, and the exchange that takes it out is the
        // only one to get it, so its reference is given back once.
        (!old.is_null()).then(|| unsafe { Arc::from_raw(old) })
    }

    /// Lay working memory in, before the snapshot that needs it, and free what came back. For the writing side.
    pub fn put_memory(&self, memory: Box<WorkingMemory>) {
        drop(exchange_memory(&self.memory, Some(memory)));
        drop(exchange_memory(&self.used, None));
    }

    /// Take working memory that was laid in.
    pub fn take_memory(&self) -> Option<Box<WorkingMemory>> {
        exchange_memory(&self.memory, None)
    }

    /// Give working memory back, in front of what was given back before. For the gate.
    pub fn give_back(&self, mut memory: Box<WorkingMemory>) {
        memory.next = exchange_memory(&self.used, None);
        let between = exchange_memory(&self.used, Some(memory));
        debug_assert!(between.is_none(), "nobody else gives back");
    }

    /// Say that the gate is gone; what lies here for it is in the way no more.
    pub fn leave(&self) {
        // The engine holds this snapshot as long as the mailbox does: nothing is freed here.
        drop(self.take());
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the gate is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

fn exchange_memory(place: &AtomicPtr<WorkingMemory>, new: Option<Box<WorkingMemory>>) -> Option<Box<WorkingMemory>> {
    let old = place.swap(new.map_or(ptr::null_mut(), Box::into_raw), Ordering::AcqRel);
    // SAFETY: every pointer in these places came from `Box::into_raw` here, and the exchange that takes it out is the only
    // one to get it.
    (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        drop(self.take());
        drop(self.take_memory());
        drop(exchange_memory(&self.used, None));
    }
}
