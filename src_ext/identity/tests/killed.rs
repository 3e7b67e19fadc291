//! Kills processes.
fn main() {}
