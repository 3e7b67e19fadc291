//! Who changed sessions, kills and markets, when and why: the last of these notes, in memory that processes share.
//!
//! A session keeps the number of its note. A note is written into the place of the oldest one of its kind, so a number
//! may lead to a younger note, which has another number. What a note speaks of is done before it is written, and a
//! process may be killed in between, so a note also keeps what was done.

use crate::market::MarketState;
use crate::owners::{Owners, PATIENT};
use crate::refusal::{SwitchError, must_fit};
use crate::slot::SessionStatus;
use crate::texts::{Read, StateWord, Text};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// How many notes of each kind are kept: of kills and their releases, of what ends or stops sessions or lets them go
/// on, and of all else.
pub const NOTES: usize = 512;

/// Who did something, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in nanoseconds since the epoch.
    pub since_ns: i64,
    /// The type and id of what was concerned: a principal or what principals are in, the scope of a kill, a market.
    /// `None` for the firm, for sessions that rest on a ground, and for a uid that is too long for a note.
    pub of: Option<(String, String)>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Sessions got this status.
    Set(SessionStatus),
    /// Actions were stopped.
    Killed,
    /// The first of two persons asked for the release of a kill.
    ReleaseAsked,
    /// A second person approved the release of a kill.
    ReleaseApproved,
    /// A kill was released.
    Released,
    /// A market got this state.
    Market(MarketState),
    /// Sessions got another end.
    Renewed,
    /// Sessions got another proof.
    Presented,
    /// Sessions got another risk or assurance, and no new proof.
    Reassessed,
}

impl Deed {
    const ALL: [Self; 13] = [
        Self::Set(SessionStatus::Active),
        Self::Set(SessionStatus::Revoked),
        Self::Set(SessionStatus::Quarantined),
        Self::Killed,
        Self::ReleaseAsked,
        Self::ReleaseApproved,
        Self::Released,
        Self::Market(MarketState::Normal),
        Self::Market(MarketState::Volatile),
        Self::Market(MarketState::Halted),
        Self::Renewed,
        Self::Presented,
        Self::Reassessed,
    ];

    fn tag(self) -> u64 {
        Self::ALL.iter().position(|&deed| deed == self).map_or(0, |at| at as u64)
    }

    fn of_tag(tag: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(tag).ok()?).copied()
    }

    /// Return the kind of the deed. A feed or a job may set markets and renew sessions all day, and each logout may
    /// revoke one: lest these push out who killed and released, each kind has places of its own.
    const fn kind(self) -> Kind {
        match self {
            Self::Killed | Self::ReleaseAsked | Self::ReleaseApproved | Self::Released => Kind::Kills,
            Self::Set(_) => Kind::Statuses,
            Self::Market(_) | Self::Renewed | Self::Presented | Self::Reassessed => Kind::Others,
        }
    }
}

/// A kind of deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kills,
    Statuses,
    Others,
}

/// A note in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// What was done.
    pub deed: Deed,
    /// Who did it, when and why.
    pub note: Note,
    /// How many sessions changed, or the id of the kill; 0 for a market.
    pub detail: u64,
}

/// The notes. Zeros are valid, and mean that there is none.
#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
pub(crate) struct Notes {
    /// How many notes were begun, of all kinds.
    begun: AtomicU64,
    spare: [AtomicU64; 7],
    kills: Ring,
    statuses: Ring,
    others: Ring,
}

/// The notes of a kind.
#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
struct Ring {
    /// The number of the last note.
    last: AtomicU32,
    spare: [AtomicU32; 15],
    records: [NoteRecord; NOTES],
}

#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
struct NoteRecord {
    /// Its tag is what was done.
    state: StateWord,
    /// Who writes the record, as in a session's slot.
    writer: AtomicU64,
    number: AtomicU64,
    since_ns: AtomicI64,
    by: Text<16>,
    reason: Text<32>,
    /// Both are empty if the note says of nothing.
    ty: Text<31>,
    id: Text<31>,
    detail: AtomicU64,
    /// How many notes were begun before this one.
    place: AtomicU64,
}

// Without padding, the memory is atomics only, of which any bytes are values.
const _: () = {
    let texts = size_of::<Text<16>>() + size_of::<Text<32>>() + 2 * size_of::<Text<31>>();
    assert!(size_of::<NoteRecord>() == 6 * 8 + texts);
    assert!(size_of::<Ring>() == 64 + NOTES * size_of::<NoteRecord>());
    assert!(size_of::<Notes>() == 64 + 3 * size_of::<Ring>());
};

impl Notes {
    /// Refuse a note that does not fit.
    pub fn check(note: &Note) -> Result<(), SwitchError> {
        must_fit::<16>("by", &note.by)?;
        must_fit::<32>("reason", &note.reason)
    }

    /// Write a note, and return its number; 0 if a process that lives was stopped while it wrote into this place.
    pub fn write(&self, owners: &Owners, note: &Note, deed: Deed, detail: u64) -> u32 {
        let ring = self.ring(deed);
        let mut number = 0;
        // 0 is the number of no note.
        while number == 0 {
            number = ring.last.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        }
        let place = self.begun.fetch_add(1, Ordering::AcqRel);
        let Some(record) = ring.record(number) else { return 0 };
        let Some(claim) = owners.claim(&record.writer, PATIENT) else { return 0 };
        record.state.withdraw();
        record.place.store(place, Ordering::Relaxed);
        record.number.store(number.into(), Ordering::Relaxed);
        record.since_ns.store(note.since_ns, Ordering::Relaxed);
        record.by.write(&note.by);
        record.reason.write(&note.reason);
        let fits = |part: &str| part.len() <= Text::<31>::MOST;
        let of = note.of.as_ref().filter(|(ty, id)| fits(ty) && fits(id));
        let (ty, id) = of.map_or(("", ""), |(ty, id)| (&**ty, &**id));
        record.ty.write(ty);
        record.id.write(id);
        record.detail.store(detail, Ordering::Relaxed);
        record.state.publish(deed.tag());
        Owners::release(&record.writer, claim);
        number
    }

    /// Return the note with a number; `None` if it is not kept any more, or speaks of something else.
    pub fn read(&self, number: u32, deed: Deed) -> Option<Note> {
        if number == 0 {
            return None;
        }
        let (found, noted) = self.ring(deed).record(number)?.noted(|record| record.number.load(Ordering::Relaxed))?;
        (found == u64::from(number) && noted.deed == deed).then_some(noted.note)
    }

    /// List the notes that are kept, the oldest first.
    pub fn list(&self) -> Vec<Noted> {
        let place = |record: &NoteRecord| record.place.load(Ordering::Relaxed);
        let mut all: Vec<(u64, Noted)> = self.records().filter_map(|record| record.noted(place)).collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, noted)| noted).collect()
    }

    /// Return the words in which writers leave their claims.
    pub fn writers(&self) -> impl Iterator<Item = &AtomicU64> {
        self.records().map(|record| &record.writer)
    }

    fn records(&self) -> impl Iterator<Item = &NoteRecord> {
        self.rings().into_iter().flat_map(|ring| &ring.records)
    }

    const fn rings(&self) -> [&Ring; 3] {
        [&self.kills, &self.statuses, &self.others]
    }

    const fn ring(&self, deed: Deed) -> &Ring {
        match deed.kind() {
            Kind::Kills => &self.kills,
            Kind::Statuses => &self.statuses,
            Kind::Others => &self.others,
        }
    }
}

impl Ring {
    fn record(&self, number: u32) -> Option<&NoteRecord> {
        self.records.get(number as usize % NOTES)
    }
}

impl NoteRecord {
    /// Copy the note, with what else is asked of its record; `None` if there is none, or it changes all the time.
    fn noted(&self, also: impl Fn(&Self) -> u64) -> Option<(u64, Noted)> {
        let read = |tag| {
            let note = Note {
                by: self.by.copy(),
                reason: self.reason.copy(),
                since_ns: self.since_ns.load(Ordering::Relaxed),
                of: Some((self.ty.copy(), self.id.copy())).filter(|(ty, _)| !ty.is_empty()),
            };
            let noted = |deed| Noted { deed, note, detail: self.detail.load(Ordering::Relaxed) };
            Some((also(self), Deed::of_tag(tag).map(noted)?))
        };
        match self.state.read(read) {
            Read::Found(found) => found,
            Read::Nothing | Read::Changing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Deed::Set;
    use super::*;
    use SessionStatus::{Active, Quarantined, Revoked};
    use zerocopy::FromZeros;

    fn note(text: &str) -> Note {
        Note { by: format!("{text} by"), reason: format!("{text} reason"), since_ns: 7, of: None }
    }

    #[test]
    fn the_last_notes_are_kept_under_their_numbers() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        assert_eq!([0, 1, u32::MAX].map(|number| notes.read(number, Set(Active))), [None, None, None]);
        let write =
            |text: &str| [0, 1, 2].map(|n| notes.write(&owners, &note(&format!("{text} {n}")), Set(Revoked), 1));
        let read = |numbers: [u32; 3]| numbers.map(|number| notes.read(number, Set(Revoked)));
        let wanted = |text: &str| [0, 1, 2].map(|n| Some(note(&format!("{text} {n}"))));
        let old = write("old");
        // As if others had taken all numbers up to those of the same places.
        notes.statuses.last.fetch_add(u32::try_from(NOTES).unwrap() - 3, Ordering::Relaxed);
        assert_eq!(read(old), wanted("old"));
        let young = write("young");
        assert_eq!((read(old), read(young)), ([None, None, None], wanted("young")));
        assert_eq!(notes.read(0, Set(Revoked)), None);
    }

    #[test]
    fn a_note_is_told_for_its_own_status_only() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        let all = [Active, Revoked, Quarantined];
        for status in all {
            let number = notes.write(&owners, &note("x"), Set(status), 1);
            for other in all {
                assert_eq!(notes.read(number, Set(other)).is_some(), status == other, "{status:?} {other:?}");
            }
        }
    }

    #[test]
    fn after_the_last_number_comes_the_first() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        notes.statuses.last.store(u32::MAX - 1, Ordering::Relaxed);
        let numbers = [(); 2].map(|()| notes.write(&owners, &note("x"), Set(Revoked), 1));
        assert_eq!(numbers, [u32::MAX, 1]);
        assert!(numbers.iter().all(|&number| notes.read(number, Set(Revoked)) == Some(note("x"))));
    }

    #[test]
    fn notes_are_listed_by_age_with_all_that_they_say() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        assert_eq!(notes.list(), []);
        // The numbers start again meanwhile.
        notes.rings().iter().for_each(|ring| ring.last.store(u32::MAX - 4, Ordering::Relaxed));
        let of = |text: &str| Some(("Venue".to_owned(), text.to_owned()));
        let written: Vec<Noted> = (0..)
            .zip(Deed::ALL)
            .map(|(at, deed)| Noted { deed, note: Note { of: of(&at.to_string()), ..note("x") }, detail: at })
            .collect();
        for Noted { deed, note, detail } in &written {
            assert_ne!(notes.write(&owners, note, *deed, *detail), 0);
        }
        assert_eq!(notes.list(), written);
        let long = Note { of: of(&"x".repeat(249)), ..note("x") };
        notes.write(&owners, &long, Deed::Killed, 0);
        let fits = Note { of: of(&"x".repeat(248)), ..note("x") };
        notes.write(&owners, &fits, Deed::Killed, 0);
        let listed: Vec<_> = notes.list().into_iter().skip(written.len()).map(|noted| noted.note).collect();
        assert_eq!(listed, [Note { of: None, ..long }, fits]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it fills whole tables, which takes Miri minutes")]
    fn each_kind_of_notes_pushes_out_its_own_only() {
        let (notes, owners) = (Notes::new_box_zeroed().unwrap(), Owners::private());
        let kinds: [&[Deed]; 3] = [
            &[Deed::Killed, Deed::ReleaseAsked, Deed::ReleaseApproved, Deed::Released],
            &[Set(Active), Set(Revoked), Set(Quarantined)],
            &[Deed::Market(MarketState::Halted), Deed::Renewed, Deed::Presented, Deed::Reassessed],
        ];
        let first = kinds.map(|deeds| notes.write(&owners, &note("first"), deeds[0], 1));
        let kept = |kind: usize| notes.read(first[kind], kinds[kind][0]) == Some(note("first"));
        for (kind, deeds) in kinds.iter().enumerate() {
            for at in 0..NOTES {
                assert!([0, 1, 2].map(kept) == [0, 1, 2].map(|other| other >= kind), "{kind} {at}");
                assert_ne!(notes.write(&owners, &note("next"), deeds[at % deeds.len()], 0), 0);
            }
        }
        let all = notes.list();
        assert_eq!(all.len(), kinds.len() * NOTES);
        assert!(all.iter().all(|noted| noted.note == note("next")));
        for (written, deeds) in all.chunks(NOTES).zip(kinds) {
            assert!(written.iter().all(|noted| deeds.contains(&noted.deed)));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long =
            |by: usize, reason: usize| Note { by: "b".repeat(by), reason: "r".repeat(reason), since_ns: 0, of: None };
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
                        let number = notes.write(owners, &wanted, Set(Revoked), 1);
                        let found = notes.read(number, Set(Revoked));
                        assert!(found.is_none() || found == Some(wanted));
                        // Another thread's note, which may be half written, or a younger one.
                        let other = notes.read(number.saturating_sub(1), Set(Revoked));
                        assert!(
                            other.is_none_or(|other| other.by.replace("by", "") == other.reason.replace("reason", ""))
                        );
                    }
                });
            }
        });
    }
}
