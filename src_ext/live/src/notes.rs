//! Who revoked sessions or put them into quarantine, when and why: the last of these notes, in memory that processes
//! share.
//!
//! A session keeps the number of its note. A note is written into the place of the oldest one, so a number may lead to
//! a younger note, which has another number. A session's status is set before its note, and a process may be killed in
//! between, so a note also keeps the status that it speaks of.

use crate::owners::{Owners, PATIENT};
use crate::refusal::{SwitchError, must_fit};
use crate::slot::{STATUS_MASK, SessionStatus};
use crate::texts::{Read, StateWord, Text};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// How many notes are kept.
pub const NOTES: usize = 512;

/// Who did something to sessions, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in nanoseconds since the epoch.
    pub since_ns: i64,
}

/// The notes. Zeros are valid, and mean that there is none.
#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
pub(crate) struct Notes {
    /// The number of the last note.
    last: AtomicU32,
    spare: [AtomicU32; 15],
    records: [NoteRecord; NOTES],
}

#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
struct NoteRecord {
    /// Its tag is the status that the note speaks of.
    state: StateWord,
    /// Who writes the record, as in a session's slot.
    writer: AtomicU64,
    number: AtomicU64,
    since_ns: AtomicI64,
    by: Text<16>,
    reason: Text<32>,
    spare: [AtomicU64; 2],
}

// Without padding, the memory is atomics only, of which any bytes are values.
const _: () = {
    assert!(size_of::<NoteRecord>() == 6 * 8 + size_of::<Text<16>>() + size_of::<Text<32>>());
    assert!(size_of::<Notes>() == 64 + NOTES * size_of::<NoteRecord>());
};

impl Notes {
    /// Refuse a note that does not fit.
    pub fn check(note: &Note) -> Result<(), SwitchError> {
        must_fit::<16>("by", &note.by)?;
        must_fit::<32>("reason", &note.reason)
    }

    /// Write a note of who gave sessions a status, and return its number; 0 if another process was stopped while it
    /// wrote into this place.
    pub fn write(&self, owners: &Owners, note: &Note, status: SessionStatus) -> u32 {
        let mut number = 0;
        // 0 is the number of no note.
        while number == 0 {
            number = self.last.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        }
        let Some(record) = self.record(number) else { return 0 };
        let Some(claim) = owners.claim(&record.writer, PATIENT) else { return 0 };
        record.state.withdraw();
        record.number.store(number.into(), Ordering::Relaxed);
        record.since_ns.store(note.since_ns, Ordering::Relaxed);
        record.by.write(&note.by);
        record.reason.write(&note.reason);
        record.state.publish(tag_of(status));
        Owners::release(&record.writer, claim);
        number
    }

    /// Return the note with a number; `None` if it is not kept any more, or speaks of another status.
    pub fn read(&self, number: u32, status: SessionStatus) -> Option<Note> {
        if number == 0 {
            return None;
        }
        let record = self.record(number)?;
        let read = |tag| {
            let note = Note {
                by: record.by.copy(),
                reason: record.reason.copy(),
                since_ns: record.since_ns.load(Ordering::Relaxed),
            };
            (tag, record.number.load(Ordering::Relaxed), note)
        };
        match record.state.read(read) {
            Read::Found((tag, found, note)) if (tag, found) == (tag_of(status), number.into()) => Some(note),
            Read::Found(_) | Read::Nothing | Read::Changing => None,
        }
    }

    fn record(&self, number: u32) -> Option<&NoteRecord> {
        self.records.get(number as usize % NOTES)
    }
}

const fn tag_of(status: SessionStatus) -> u64 {
    status.bits() >> STATUS_MASK.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionStatus::{Active, Quarantined, Revoked};
    use zerocopy::FromZeros;

    fn note(text: &str) -> Note {
        Note { by: format!("{text} by"), reason: format!("{text} reason"), since_ns: 7 }
    }

    #[test]
    fn the_last_notes_are_kept_under_their_numbers() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        assert_eq!([0, 1, u32::MAX].map(|number| notes.read(number, Active)), [None, None, None]);
        let write = |text: &str| [0, 1, 2].map(|n| notes.write(&owners, &note(&format!("{text} {n}")), Revoked));
        let read = |numbers: [u32; 3]| numbers.map(|number| notes.read(number, Revoked));
        let wanted = |text: &str| [0, 1, 2].map(|n| Some(note(&format!("{text} {n}"))));
        let old = write("old");
        // As if others had taken all numbers up to those of the same places.
        notes.last.fetch_add(u32::try_from(NOTES).unwrap() - 3, Ordering::Relaxed);
        assert_eq!(read(old), wanted("old"));
        let young = write("young");
        assert_eq!((read(old), read(young)), ([None, None, None], wanted("young")));
        assert_eq!(notes.read(0, Revoked), None);
    }

    #[test]
    fn a_note_is_told_for_its_own_status_only() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        let all = [Active, Revoked, Quarantined];
        for status in all {
            let number = notes.write(&owners, &note("x"), status);
            for other in all {
                assert_eq!(notes.read(number, other).is_some(), status == other, "{status:?} {other:?}");
            }
        }
    }

    #[test]
    fn after_the_last_number_comes_the_first() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        notes.last.store(u32::MAX - 1, Ordering::Relaxed);
        let numbers = [(); 2].map(|()| notes.write(&owners, &note("x"), Revoked));
        assert_eq!(numbers, [u32::MAX, 1]);
        assert!(numbers.iter().all(|&number| notes.read(number, Revoked) == Some(note("x"))));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = |by: usize, reason: usize| Note { by: "b".repeat(by), reason: "r".repeat(reason), since_ns: 0 };
        assert_eq!(Notes::check(&long(128, 256)), Ok(()));
        for note in [long(129, 0), long(0, 257)] {
            assert!(matches!(Notes::check(&note), Err(SwitchError::TooLong { .. })));
        }
    }

    #[test]
    fn threads_read_whole_notes() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        let rounds = if cfg!(miri) { 8 } else { 2_000 };
        std::thread::scope(|threads| {
            for name in ["ann", "bob"] {
                let (notes, owners) = (&notes, &owners);
                threads.spawn(move || {
                    for round in 0..rounds {
                        let wanted = note(&format!("{name} {round}").repeat(1 + round % 3));
                        let number = notes.write(owners, &wanted, Revoked);
                        let found = notes.read(number, Revoked);
                        assert!(found.is_none() || found == Some(wanted));
                        // Another thread's note, which may be half written, or a younger one.
                        let other = notes.read(number.saturating_sub(1), Revoked);
                        assert!(
                            other.is_none_or(|other| other.by.replace("by", "") == other.reason.replace("reason", ""))
                        );
                    }
                });
            }
        });
    }
}
