//! What values answered before, so that a value which is passed again is not asked again.
//!
//! Programs pass the same texts and sets many times: a purpose, the fields of a record. Whoever passes them names such
//! a value by a token, and promises that the token names no other value. A value's answers hold for one snapshot, and
//! those about the principal for one session, whose principal never changes.

use crate::checks::Answers;
use ztfast_live::SessionId;
use ztfast_pages::{MemoryError, Residence, Resident};

/// The most places of arguments.
pub(crate) const MOST_PLACES: usize = 16;
/// The values of an argument that are kept.
const VALUES: usize = 4;
/// The token of a value that is not remembered.
pub(crate) const NO_TOKEN: u64 = 0;
/// Stands for the token of an entry that is empty, and for its session. No value has this token.
const EMPTY: u64 = u64::MAX;
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
    token: u64,
    session: SessionId,
    known: Known,
}

impl Entry {
    const EMPTY: Self = Self {
        token: EMPTY,
        session: SessionId(EMPTY),
        known: Known { answers: Answers { known: 0, holds: 0, fails: 0 }, number: 0, unknown: 0 },
    };
}

const _: () = assert!(size_of::<Entry>() == 64);

/// The answers of values that one gate was passed: texts and sets by their tokens, others by what they are.
pub(crate) struct Memo {
    /// It stands before the entries, so that it is dropped before them.
    resident: Resident,
    /// Those of each place.
    entries: Box<[[Entry; VALUES]]>,
}

impl Memo {
    /// Make a memo of no values, for a gate with this many arguments.
    pub fn new(arguments: usize, residence: Residence) -> Result<Self, MemoryError> {
        let mut entries = vec![[Entry::EMPTY; VALUES]; arguments.min(MOST_PLACES)].into_boxed_slice();
        let resident = Resident::write("answers that a gate remembers", &mut entries, residence)?;
        Ok(Self { resident, entries })
    }

    /// Return the size in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.resident.size()
    }

    /// Forget everything, because another snapshot may answer otherwise.
    pub fn forget(&mut self) {
        self.entries.fill([Entry::EMPTY; VALUES]);
    }

    /// Return what a value, by its token, answered as the argument at a place, and about the principal of a session;
    /// [`NO_SESSION`] if it answers about none. `None` for [`NO_TOKEN`].
    #[inline]
    pub fn get(&self, token: u64, place: usize, session: SessionId) -> Option<&Known> {
        let entry = self.entries.get(place)?.get(at(token))?;
        // One test takes less than two.
        let differs = (entry.token ^ token) | (entry.session.0 ^ session.0);
        (differs == 0).then_some(&entry.known)
    }

    /// Remember what a value answered, as [`Self::get`] returns it.
    #[inline]
    pub fn put(&mut self, token: u64, place: usize, session: SessionId, known: Known) {
        if let Some(entry) = self.entries.get_mut(place).and_then(|own| own.get_mut(at(token)))
            && !matches!(token, NO_TOKEN | EMPTY)
        {
            *entry = Entry { token, session, known };
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // it is one of few
const fn at(token: u64) -> usize {
    token as usize % VALUES
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
        let mut memo = Memo::new(MOST_PLACES, Residence::default()).unwrap();
        let known = Known { number: 7, ..Known::default() };
        memo.put(5, 2, NO_SESSION, known);
        assert_eq!(number(memo.get(5, 2, NO_SESSION)), Some(7));
        for (token, place) in [(9, 2), (5, 10), (5, 3), (5, 16)] {
            assert!(memo.get(token, place, NO_SESSION).is_none(), "{token} {place}");
        }
        // This one takes its place.
        memo.put(9, 2, NO_SESSION, known);
        assert!(memo.get(5, 2, NO_SESSION).is_none());
    }

    #[test]
    fn what_is_about_a_principal_is_known_for_one_session() {
        let mut memo = Memo::new(MOST_PLACES, Residence::default()).unwrap();
        memo.put(5, 2, ONE, Known { number: 8, ..Known::default() });
        assert_eq!(number(memo.get(5, 2, ONE)), Some(8));
        for other in [SessionId(4), NO_SESSION] {
            assert!(memo.get(5, 2, other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn nothing_is_known_of_another_snapshot() {
        let mut memo = Memo::new(MOST_PLACES, Residence::default()).unwrap();
        memo.put(5, 2, ONE, Known { number: 8, ..Known::default() });
        memo.forget();
        assert!(memo.get(5, 2, ONE).is_none());
    }

    #[test]
    fn nothing_is_kept_for_a_value_without_a_token_or_beyond_the_last_place() {
        let mut memo = Memo::new(MOST_PLACES, Residence::default()).unwrap();
        let known = Known { number: 8, ..Known::default() };
        for (token, place) in [(NO_TOKEN, 1), (5, MOST_PLACES)] {
            memo.put(token, place, NO_SESSION, known);
            assert!(memo.get(token, place, NO_SESSION).is_none(), "{token} {place}");
        }
        // No entry that was never written has the token of a value.
        for token in 0..9 {
            assert!(memo.get(token, 0, NO_SESSION).is_none(), "{token}");
        }
        assert!(memo.get(EMPTY, 0, NO_SESSION).is_none());
    }

    #[test]
    fn it_has_places_for_the_arguments_of_its_gate_alone() {
        let mut memo = Memo::new(1, Residence::default()).unwrap();
        for place in 0..2 {
            memo.put(5, place, NO_SESSION, Known { number: 8, ..Known::default() });
        }
        assert_eq!((number(memo.get(5, 0, NO_SESSION)), number(memo.get(5, 1, NO_SESSION))), (Some(8), None));
        assert!(Memo::new(100, Residence::default()).unwrap().bytes() <= size_of::<Memo>() + MOST_PLACES * VALUES * 64);
        assert_eq!(memo.bytes(), size_of::<Memo>() + VALUES * 64);
    }
}
