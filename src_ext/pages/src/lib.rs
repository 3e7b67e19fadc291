//! The services of the operating system on which decisions rely: resident memory, clocks, and pages that a fork wipes.
//!
//! ```text
//! process    the process's nonce, pages that a fork wipes, and values that a process has once
//! memory     tables in memory that is prefaulted, locked or in large pages
//! mapping    memory that processes may share
//! locks      locks on bytes of a file, by which a process shows that it lives
//! directory  files that processes share: how they are made and opened
//! ownership  whose such files must be
//! clock      the kernel's clocks, and readings of two at one moment
//! tsc        the processor's time-stamp counter as a clock
//! decision_clock   the clock that an engine's decisions read: one of these, or its user's
//! priority   threads that yield to others
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

mod clock;
mod decision_clock;
mod directory;
mod locks;
mod mapping;
mod memory;
mod ownership;
mod priority;
mod process;
mod tsc;

pub use clock::{Reading, monotonic_ns, now_ns};
pub use decision_clock::Clock;
pub use directory::{Directory, FileError, Opening, Role, boot_id, what_became_of};
pub use locks::{LockedByte, is_byte_locked, lock_byte, try_lock_byte, unlock_byte};
pub use mapping::{Mapping, Shareable};
pub use memory::{
    Clearable, MemoryError, Residence, Resident, ensure_available, in_huge_pages, prefetch, table, wiped_table,
};
pub use priority::lower_priority;
pub use process::{Forked, PerProcess, UnsharedFile, WipedPages, WipedWord, enter, nonce};
pub use tsc::calibrate;
