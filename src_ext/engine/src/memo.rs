//! What values answered before, so that a value which is passed again is not asked again.
//!
//! Programs pass the same texts and sets many times: a purpose, the fields of a record. Whoever passes them names such
//! a value by a token, and promises that the token names no other value. A value's answers hold for one snapshot, and
//! those about the principal for one session, whose principal never changes.

use crate::checks::Answers;
use ztfast_live::SessionId;
use ztfast_pages::{MemoryError, Residence, Resident};

/// The arguments that have places of their own. Others share these places.
const ARGUMENTS: usize = 8;
/// The values of an argument that are kept.
const VALUES: usize = 4;
/// The bits of an argument's place in a key.
const PLACE_BITS: u32 = 4;
/// The most places of arguments.
pub(crate) const MOST_PLACES: usize = 1 << PLACE_BITS;
/// The last token.
const MOST_TOKENS: u64 = (1 << (u64::BITS - PLACE_BITS)) - 2;
/// Stands for the session of values that answer about no principal. It is no session's number.
pub(crate) const NO_SESSION: SessionId = SessionId(0);

/// What a value answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub answers: Answers,
    /// The number of the value.
    pub number: i64,
    /// How many texts it has that the bundle lacks.
    pub unknown: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Entry {
    key: Key,
    session: SessionId,
    known: Known,
}

impl Entry {
    /// No value has this key.
    const EMPTY: Self = Self {
        key: Key(u64::MAX),
        session: NO_SESSION,
        known: Known { answers: Answers { known: 0, holds: 0, fails: 0 }, number: 0, unknown: 0 },
    };
}

const _: () = assert!(size_of::<Entry>() == 64);

/// The answers of values that one gate was passed: texts and sets by their tokens, others by what they are.
pub(crate) struct Memo {
    /// It stands before the entries, so that it is dropped before them.
    resident: Resident,
    entries: Box<[Entry; ARGUMENTS * VALUES]>,
    /// The version of the snapshot by which they answered.
    version: u64,
}

/// A value, by its token, as the argument at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    /// No value.
    pub const NONE: Self = Self(0);

    /// Return the key of a value; [`Self::NONE`] if it has no token, which is 0, or the place is beyond the others.
    #[inline]
    pub const fn new(token: u64, place: usize) -> Self {
        if token.wrapping_sub(1) >= MOST_TOKENS || place >= MOST_PLACES {
            return Self::NONE;
        }
        Self(token << PLACE_BITS | place as u64)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // it is one of few places
    const fn entry(self) -> usize {
        let (place, token) = (self.0 as usize & ((1 << PLACE_BITS) - 1), self.0 as usize >> PLACE_BITS);
        place % ARGUMENTS * VALUES + token % VALUES
    }
}

impl Memo {
    /// Make a memo of no values.
    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let mut entries = Box::new([Entry::EMPTY; ARGUMENTS * VALUES]);
        let resident = Resident::write("answers that a gate remembers", &mut *entries, residence)?;
        Ok(Self { resident, entries, version: 0 })
    }

    /// Return the size in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.resident.size()
    }

    /// Return the memo of what values answered by the snapshot of this version.
    #[inline]
    pub fn of(&mut self, version: u64) -> &mut Self {
        if self.version != version {
            self.forget(version);
        }
        self
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self, version: u64) {
        self.entries.fill(Entry::EMPTY);
        self.version = version;
    }

    /// Return what a value answered about the principal of a session; [`NO_SESSION`] if it answers about none.
    #[inline]
    pub fn get(&self, key: Key, session: SessionId) -> Option<&Known> {
        let entry = self.entries.get(key.entry())?;
        (entry.key == key && entry.session == session).then_some(&entry.known)
    }

    /// Remember what a value answered, as [`Self::get`] returns it.
    #[inline]
    pub fn put(&mut self, key: Key, session: SessionId, known: Known) {
        if let Some(entry) = self.entries.get_mut(key.entry()).filter(|_| key != Key::NONE) {
            *entry = Entry { key, session, known };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(3);

    fn number(known: Option<&Known>) -> Option<i64> {
        known.map(|known| known.number)
    }

    #[test]
    fn a_value_is_known_by_its_token_and_place_together() {
        let mut memo = Memo::new(Residence::default()).unwrap();
        let key = |token, place| Key::new(token, place);
        let known = Known { number: 7, ..Known::default() };
        memo.put(key(5, 2), NO_SESSION, known);
        assert_eq!(number(memo.get(key(5, 2), NO_SESSION)), Some(7));
        for other in [key(9, 2), key(5, 10), key(5, 3)] {
            assert!(memo.get(other, NO_SESSION).is_none(), "{other:?}");
        }
        // This one takes its place.
        memo.put(key(9, 10), NO_SESSION, known);
        assert!(memo.get(key(5, 2), NO_SESSION).is_none());
    }

    #[test]
    fn what_is_about_a_principal_is_known_for_one_session() {
        let mut memo = Memo::new(Residence::default()).unwrap();
        let key = Key::new(5, 2);
        memo.put(key, ONE, Known { number: 8, ..Known::default() });
        assert_eq!(number(memo.get(key, ONE)), Some(8));
        for other in [SessionId(4), NO_SESSION] {
            assert!(memo.get(key, other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn another_version_knows_nothing() {
        let mut memo = Memo::new(Residence::default()).unwrap();
        let key = Key::new(5, 2);
        memo.of(1).put(key, ONE, Known { number: 8, ..Known::default() });
        assert_eq!(number(memo.of(1).get(key, ONE)), Some(8));
        assert!(memo.of(2).get(key, ONE).is_none());
        assert!(memo.of(1).get(key, ONE).is_none());
    }

    #[test]
    fn no_token_is_no_key_and_nothing_is_kept_for_it() {
        let mut memo = Memo::new(Residence::default()).unwrap();
        for key in [Key::new(0, 1), Key::new((1 << 60) - 1, 1), Key::new(1, 16)] {
            assert_eq!(key, Key::NONE);
        }
        let last = Key::new((1 << 60) - 2, 15);
        assert!(memo.get(last, ONE).is_none() && memo.get(Key::NONE, NO_SESSION).is_none());
        memo.put(Key::NONE, NO_SESSION, Known { number: 8, ..Known::default() });
        assert!(memo.get(Key::NONE, NO_SESSION).is_none());
        memo.put(last, ONE, Known { number: 8, ..Known::default() });
        assert_eq!(number(memo.get(last, ONE)), Some(8));
    }
}
