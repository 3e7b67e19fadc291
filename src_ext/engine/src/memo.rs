//! What values answered before, so that a value which is passed again is not asked again.
//!
//! Programs pass the same texts and sets many times: a purpose, the fields of a record. Whoever passes them names such
//! a value by a token, and promises that the token names no other value. A value's answers hold for one snapshot.

use crate::checks::Answers;
use ztfast_pages::{MemoryError, Residence, Resident};

/// The arguments that have places of their own. Others share these places.
const ARGUMENTS: usize = 8;
/// The values of an argument that are kept.
const VALUES: usize = 4;
/// The bits of an argument's place in a key.
const PLACE_BITS: u32 = 4;
/// The most places of arguments.
pub(crate) const MOST_PLACES: usize = 1 << PLACE_BITS;

/// What a value answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub answers: Answers,
    /// The number of the value.
    pub number: i64,
    /// How many texts it has that the bundle lacks.
    pub unknown: u32,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Entry {
    /// The token and the place; 0 for none.
    key: u64,
    version: u64,
    known: Known,
}

/// The answers of values that one gate was passed: texts and sets by their tokens, others by what they are.
pub(crate) struct Memo {
    /// It stands before the entries, so that it is dropped before them.
    resident: Resident,
    entries: Box<[Entry; ARGUMENTS * VALUES]>,
}

/// A value, by its token, as the argument at a place, in the snapshot of a version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    key: u64,
    version: u64,
}

impl Key {
    /// Return the key of a value; `None` if it has no token, which is 0.
    #[inline]
    pub fn new(token: u64, place: usize, version: u64) -> Option<Self> {
        if token == 0 || token >> (u64::BITS - PLACE_BITS) != 0 {
            return None;
        }
        Some(Self { key: token << PLACE_BITS | place as u64, version })
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // it is one of few places
    const fn place(self) -> usize {
        let (place, token) = (self.key as usize & ((1 << PLACE_BITS) - 1), self.key as usize >> PLACE_BITS);
        place % ARGUMENTS * VALUES + token % VALUES
    }
}

impl Memo {
    /// Make a memo of no values.
    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let mut entries = Box::new([Entry::default(); ARGUMENTS * VALUES]);
        let resident = Resident::write("answers that a gate remembers", &mut *entries, residence)?;
        Ok(Self { resident, entries })
    }

    /// Return the size in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.resident.size()
    }

    /// Return what a value answered.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&Known> {
        let entry = self.entries.get(key.place())?;
        (entry.key == key.key && entry.version == key.version).then_some(&entry.known)
    }

    /// Remember what a value answered.
    #[inline]
    pub fn put(&mut self, key: Key, known: Known) {
        if let Some(entry) = self.entries.get_mut(key.place()) {
            *entry = Entry { key: key.key, version: key.version, known };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_token_place_and_version_together() {
        let mut memo = Memo::new(Residence::default()).unwrap();
        let key = |token, place, version| Key::new(token, place, version).unwrap();
        let known = Known { number: 7, ..Known::default() };
        memo.put(key(5, 2, 1), known);
        assert_eq!(memo.get(key(5, 2, 1)).map(|known| known.number), Some(7));
        for other in [key(9, 2, 1), key(5, 10, 1), key(5, 3, 1), key(5, 2, 2)] {
            assert!(memo.get(other).is_none(), "{other:?}");
        }
        // This one takes its place.
        memo.put(key(9, 10, 1), known);
        assert!(memo.get(key(5, 2, 1)).is_none());
    }

    #[test]
    fn no_token_is_no_key() {
        assert!(Key::new(0, 1, 1).is_none());
        assert!(Key::new(1 << 60, 1, 1).is_none());
        assert!(Key::new((1 << 60) - 1, 15, 1).is_some());
    }
}
