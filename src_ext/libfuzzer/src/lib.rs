//! The functions that libFuzzer runs over bundles and certificates. [`mutate`] changes a file and corrects its hashes,
//! so that the engine reads the changed parts; [`decide`] runs everything that the engine offers over it. The same for
//! certificates and CRLs are `certificates::mutate` and `certificates::verify`. The replay tests do the same on a
//! stable compiler.
#![forbid(unsafe_code)]

mod ask;
// Miri cannot run the cryptographic library.
#[cfg(not(miri))]
pub mod certificates;
mod mutate;
mod sections;

pub use ask::decide;
pub use mutate::mutate;
pub use sections::{File, Section};
