//! Nothing: what is tested are files of other crates, which the tests take as they are.
#![no_std]
#![forbid(unsafe_code)]
