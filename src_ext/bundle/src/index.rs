//! The indexes that find the numbers of texts and entities: hash tables with open addressing, stored in the file.
//!
//! The tables are built from the compiler's own input and are at most half full, so looking up a text from outside
//! takes a few probes, whatever the text is. The hash is XXH3, because its output is specified and stable.

use xxhash_rust::xxh3::xxh3_64;

/// Build an index over texts. Each slot holds a number plus one, or 0.
#[must_use]
pub fn build_string_index(offsets: &[u32], bytes: &[u8]) -> Vec<u32> {
    let hashes = offsets.windows(2).map(|w| xxh3_64(&bytes[w[0] as usize..w[1] as usize]));
    build(offsets.len().saturating_sub(1), hashes)
}

/// Build an index over entities, by the numbers of their type and id.
#[must_use]
pub fn build_entity_index(entities: &[(u32, u32)]) -> Vec<u32> {
    build(entities.len(), entities.iter().map(|&(ty, id)| entity_hash(ty, id)))
}

fn entity_hash(ty: u32, id: u32) -> u64 {
    xxh3_64(&(u64::from(ty) << 32 | u64::from(id)).to_le_bytes())
}

#[allow(clippy::cast_possible_truncation)]
fn build(count: usize, hashes: impl Iterator<Item = u64>) -> Vec<u32> {
    let size = (count * 2).next_power_of_two().max(2);
    let mut slots = vec![0_u32; size];
    for (number, hash) in hashes.enumerate() {
        let mut at = hash as usize & (size - 1);
        while slots[at] != 0 {
            at = (at + 1) & (size - 1);
        }
        slots[at] = number as u32 + 1;
    }
    slots
}

/// Return the number of a text; `is` tests each candidate.
pub(crate) fn find_string(index: &[u32], text: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
    find(index, xxh3_64(text), is)
}

/// Return the number of an entity; `is` tests each candidate.
pub(crate) fn find_entity(index: &[u32], ty: u32, id: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
    find(index, entity_hash(ty, id), is)
}

#[allow(clippy::cast_possible_truncation)]
fn find(index: &[u32], hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
    let mask = index.len().checked_sub(1)?;
    // A crafted table may be full or of any length, so the search makes one round at most.
    for step in 0..index.len() {
        let number = index.get((hash as usize).wrapping_add(step) & mask)?.checked_sub(1)?;
        if is(number) {
            return Some(number);
        }
    }
    None
}
