//! The bits that stand for uids in the words that decisions read: the same in every process and version.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The bit of kills that stop every principal and every resource.
pub const FIRM: u64 = 1 << 63;

/// Return the hash of a uid, which is the same in every process and version. The top bit is 0.
#[must_use]
pub fn uid_hash(ty: &str, id: &str) -> u64 {
    id_hash(type_hash(ty), id)
}

/// Return the first part of [`uid_hash`].
#[must_use]
pub fn type_hash(ty: &str) -> u64 {
    xxh3_64(ty.as_bytes())
}

/// Return [`uid_hash`], where the type's part is known.
#[inline]
#[must_use]
pub fn id_hash(ty: u64, id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), ty) >> 1
}

/// Return which of 63 bits stands for a uid of this hash, as a number.
#[inline]
#[must_use]
pub const fn bit_number(hash: u64) -> u8 {
    (hash % 63) as u8
}

/// Return the bit that stands for a uid of this hash. It is never [`FIRM`].
#[inline]
#[must_use]
pub const fn uid_bit(hash: u64) -> u64 {
    1 << bit_number(hash)
}
