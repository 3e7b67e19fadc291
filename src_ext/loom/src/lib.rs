//! This library is empty. The crate's tests include files of other crates unchanged, and loom checks those.
#![no_std]
#![forbid(unsafe_code)]
