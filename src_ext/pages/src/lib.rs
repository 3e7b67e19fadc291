//! What the deciding side asks of the system: memory that is there and stays, clocks, and pages that a forked child does not get.
//!
//! ```text
//! process    which process this is; pages that a fork wipes, and what a process has once
//! memory     tables in memory that was asked for beforehand, locked or in large pages
//! clock      the kernel's coarse clocks, and what they were at one moment
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

mod clock;
mod memory;
mod process;

pub use clock::{Reading, monotonic_ns, now_ns};
pub use memory::{
    Clearable, MemoryError, Residence, Resident, ensure_available, in_huge_pages, prefetch, table, wiped_table,
};
pub use process::{Forked, PerProcess, WipedPages, enter, mark};
