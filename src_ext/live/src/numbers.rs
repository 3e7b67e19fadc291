//! The numbers that stand for uids.

/// A number for a uid, valid for the life of the engine. It is valid in no other engine, but for those over the same
/// shared state, where it is the same uid's. The top bit is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Handle(pub u64);

/// A handle's index in the engine's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Place(pub usize);
