//! How much is read of what is presented, so that nobody can make a verification long.

/// The most bytes of a certificate that are read.
pub const MAX_CERTIFICATE: usize = 1 << 16;
/// The most certificates that are read of those presented.
pub const MAX_CERTIFICATES: usize = 16;
/// The most CAs of a path, its anchor included: so many a session keeps.
pub const MAX_CAS: usize = 4;
