//! What libFuzzer does with bundles: [`mutate`] changes a file and makes its hashes right again, so that what is
//! changed is read; [`decide`] asks everything of it that can be asked. The replay test does the same on a stable
//! compiler.
#![forbid(unsafe_code)]

mod ask;
mod mutate;
mod sections;

pub use ask::decide;
pub use mutate::mutate;
pub use sections::{File, Section};
