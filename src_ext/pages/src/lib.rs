//! The services of the operating system on which decisions rely: resident memory, clocks, and pages that a fork wipes.
//!
//! ```text
//! process    the process's nonce, pages that a fork wipes, and values that a process has once
//! memory     tables in memory that is prefaulted, locked or in large pages
//! clock      the kernel's coarse clocks, and their readings at one moment
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

mod clock;
mod memory;
mod process;

pub use clock::{Reading, monotonic_ns, now_ns};
pub use memory::{
    Clearable, MemoryError, Residence, Resident, ensure_available, in_huge_pages, prefetch, table, wiped_table,
};
pub use process::{Forked, PerProcess, WipedPages, enter, nonce};
