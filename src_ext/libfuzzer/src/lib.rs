//! The functions that libFuzzer runs over bundles. [`mutate`] changes a file and corrects its hashes, so that the
//! engine reads the changed parts; [`decide`] runs everything that the engine offers over it. The replay test does the
//! same on a stable compiler.
#![forbid(unsafe_code)]

mod ask;
mod mutate;
mod sections;

pub use ask::decide;
pub use mutate::mutate;
pub use sections::{File, Section};
