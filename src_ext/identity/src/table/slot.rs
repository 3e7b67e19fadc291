//! A row's slot: 128 words that any process may read at any time, and one at a time writes.
//!
//! ```text
//! words      line
//!   0        0    the sequence: odd while the row is written, 0 if it never was
//!   1             when the row was last used
//!   2             the lengths: bytes of the text, grounds
//!   3             the epoch under which the credential was verified
//!   4, 5          the bounds
//!   6             the ground that fell, 0 if none did, or that the row is not confirmed yet
//!   7             the list of revoked grounds in which the row's were last looked for
//!   8..12    1    the key
//!   12            when the credential was verified
//!   13, 14        the kinds of the grounds, a byte each
//!   15..25        the grounds
//!   25..128       the text
//! ```
//!
//! A reader reads the sequence before and after all else (a sequence lock), so it never sees a row half old and half
//! new. What other processes change in a whole row are single words that mean something by themselves: the last use,
//! the ground that fell, and the list.

use super::row::{MAX_GROUNDS, MAX_TEXT, Row, RowGround};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The words of a slot.
pub const WORDS: usize = 128;
/// A slot in memory.
pub type Words = [AtomicU64; WORDS];

const SEQUENCE: usize = 0;
const USED: usize = 1;
const LENGTHS: usize = 2;
const EPOCH: usize = 3;
const NOT_BEFORE: usize = 4;
const NOT_AFTER: usize = 5;
const FALLEN: usize = 6;
const CHECKED: usize = 7;
const KEY: usize = 8;
const VERIFIED: usize = 12;
const KINDS: usize = 13;
const GROUNDS: usize = 15;
const TEXT: usize = GROUNDS + MAX_GROUNDS;
const _: () = assert!(MAX_TEXT == 8 * (WORDS - TEXT) && MAX_GROUNDS <= 16);

/// A row that was written and is not confirmed: nobody has looked yet whether a ground fell meanwhile.
const UNCONFIRMED: u64 = u64::MAX;
/// The lines of a row with a text of a few hundred bytes.
const USUAL_LINES: usize = 9;
/// A use is noted if the last one is so long ago, so that a row in use is read by all and written by nobody.
const USE_APART_NS: u64 = 1 << 20;
/// How often a row that changes meanwhile is read again by whoever must not miss it.
const TRIES: usize = 64;

/// A key as the slot holds it.
pub type KeyWords = [u64; 4];

/// Return a key as words.
pub fn words_of(key: &[u8; 32]) -> KeyWords {
    let mut words = [0; 4];
    for (to, bytes) in words.iter_mut().zip(key.chunks_exact(8)) {
        *to = word_of(bytes);
    }
    words
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = byte);
    u64::from_le_bytes(word)
}

/// What a reader found beside the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The sequence of the row that was read.
    pub sequence: u64,
    checked: u64,
}

/// What is in a slot, for whoever looks for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// No row, or one whose writer was killed.
    Nothing,
    /// A row that fell.
    Fallen,
    /// A row whose time is over.
    Expired,
    /// A row that may be found.
    Row,
}

/// A slot.
#[derive(Clone, Copy)]
pub struct Slot<'m>(pub &'m Words);

impl Slot<'_> {
    fn load(self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn store(self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Bring the lines nearer that most rows use.
    #[inline]
    pub fn prefetch(self) {
        for line in 0..USUAL_LINES {
            ztfast_pages::prefetch(self.0, 8 * line);
        }
    }

    /// Copy the row, if it is whole and, where a key and an epoch are given, of these.
    #[inline]
    pub fn read(self, wanted: Option<(&KeyWords, u64)>, out: &mut Row) -> Option<Seen> {
        let sequence = self.sequence()?;
        let key: KeyWords = std::array::from_fn(|at| self.load(KEY + at));
        let epoch = self.load(EPOCH);
        if wanted.is_some_and(|(wanted, of)| key != *wanted || epoch != of) {
            return None;
        }
        for (to, word) in out.key.chunks_exact_mut(8).zip(key) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out.epoch = epoch;
        out.not_before_ns = self.load(NOT_BEFORE).cast_signed();
        out.not_after_ns = self.load(NOT_AFTER).cast_signed();
        out.verified_ns = self.load(VERIFIED).cast_signed();
        out.used_ns = self.load(USED).cast_signed();
        let (text, grounds) = self.lengths();
        out.set_lengths(text, grounds);
        for at in 0..grounds {
            let kind = self.load(KINDS + at / 8).to_le_bytes();
            let ground = RowGround { kind: kind[at % 8], number: self.load(GROUNDS + at) };
            out.set_ground(at, ground);
        }
        let words = self.0.get(TEXT..TEXT + text.div_ceil(8)).unwrap_or_default();
        for (to, word) in out.text_room().chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let (fallen, checked) = (self.load(FALLEN), self.load(CHECKED));
        fence(Ordering::Acquire);
        if self.load(SEQUENCE) != sequence || fallen == UNCONFIRMED {
            return None;
        }
        out.fallen = (fallen != 0).then_some(fallen);
        Some(Seen { sequence, checked })
    }

    /// Return the sequence of a whole row.
    #[inline]
    fn sequence(self) -> Option<u64> {
        let sequence = self.0[SEQUENCE].load(Ordering::Acquire);
        (sequence != 0 && sequence.is_multiple_of(2)).then_some(sequence)
    }

    /// Return the lengths of text and grounds. Memory may be corrupt: they fit in any case.
    fn lengths(self) -> (usize, usize) {
        let word = self.load(LENGTHS);
        let part = |bits: u64, most: usize| usize::try_from(bits).unwrap_or(most).min(most);
        (part(word >> 8, MAX_TEXT), part(word & 0xFF, MAX_GROUNDS))
    }

    /// Return whether the slot holds the row of a key and an epoch, whatever else it says. For its writer only.
    pub fn is_of(self, key: &KeyWords, epoch: u64) -> bool {
        let same = (0..4).zip(key).all(|(at, &word)| self.load(KEY + at) == word);
        self.sequence().is_some() && same && self.load(EPOCH) == epoch
    }

    /// Return what the slot holds, and when it was last used. For its writer only.
    pub fn holds(self, now_ns: i64) -> (Holds, i64) {
        let used = self.load(USED).cast_signed();
        let what = match (self.sequence(), self.load(FALLEN)) {
            (None, _) | (_, UNCONFIRMED) => Holds::Nothing,
            (_, 0) if self.load(NOT_AFTER).cast_signed() <= now_ns => Holds::Expired,
            (_, 0) => Holds::Row,
            _ => Holds::Fallen,
        };
        (what, used)
    }

    /// Write a row, for which `also` may write elsewhere before it can be seen. It is found once it is confirmed. One
    /// writer at a time calls this, and what one that was killed left is written anew.
    pub fn write(self, row: &Row, used_ns: i64, list: u64, also: impl FnOnce()) {
        let before = self.load(SEQUENCE);
        let odd = (before | 1).wrapping_add(before & 1).wrapping_add(before & 1);
        self.store(SEQUENCE, odd);
        // All else must become visible only after this.
        fence(Ordering::Release);
        also();
        for (at, word) in words_of(&row.key).into_iter().enumerate() {
            self.store(KEY + at, word);
        }
        self.store(EPOCH, row.epoch);
        self.store(NOT_BEFORE, row.not_before_ns.cast_unsigned());
        self.store(NOT_AFTER, row.not_after_ns.cast_unsigned());
        self.store(VERIFIED, row.verified_ns.cast_unsigned());
        self.store(USED, used_ns.cast_unsigned());
        let mut kinds = [0; 16];
        for (at, ground) in row.grounds().iter().enumerate() {
            self.store(GROUNDS + at, ground.number);
            kinds.iter_mut().skip(at).take(1).for_each(|kind| *kind = ground.kind);
        }
        for (at, bytes) in kinds.chunks_exact(8).enumerate() {
            self.store(KINDS + at, word_of(bytes));
        }
        for (at, bytes) in row.text().chunks(8).enumerate() {
            self.store(TEXT + at, word_of(bytes));
        }
        self.store(LENGTHS, (row.text().len() as u64) << 8 | row.grounds().len() as u64);
        let sequence = match odd.wrapping_add(1) {
            0 => 2,
            sequence => sequence,
        };
        self.store(CHECKED, mix(sequence, list));
        self.store(FALLEN, UNCONFIRMED);
        self.0[SEQUENCE].store(sequence, Ordering::Release);
    }

    /// Let the row be found that was just written, unless it fell meanwhile. Return whether it can be found.
    pub fn confirm(self) -> bool {
        self.0[FALLEN].compare_exchange(UNCONFIRMED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Make the row fall, if `falls` says by which ground. Return its key.
    ///
    /// A writer may put another row here just then, which falls instead: then it is verified once more.
    pub fn fall(self, row: &mut Row, falls: impl Fn(&Row) -> Option<u64>) -> Option<[u8; 32]> {
        for _ in 0..TRIES {
            let sequence = self.sequence()?;
            // A row that is not confirmed is read as well: its writer may have looked before this began.
            let seen = self.read_any(sequence, row);
            if !seen {
                continue;
            }
            let ground = falls(row).filter(|_| row.fallen.is_none())?;
            self.0[FALLEN].store(ground.max(1), Ordering::Release);
            return Some(row.key);
        }
        // It is being written all the time: each of its writers looks whether something fell.
        None
    }

    fn read_any(self, sequence: u64, row: &mut Row) -> bool {
        if self.read(None, row).is_some() {
            return true;
        }
        let is_unconfirmed = self.load(FALLEN) == UNCONFIRMED && self.load(SEQUENCE) == sequence;
        // Only confirmation is missing, and the fields are those of a whole row.
        row.fallen = None;
        is_unconfirmed
    }

    /// Note that the row is used, if the last time was a while ago.
    #[inline]
    pub fn note_use(self, last_ns: i64, now_ns: i64) {
        if last_ns.abs_diff(now_ns) > USE_APART_NS {
            self.store(USED, now_ns.cast_unsigned());
        }
    }

    /// Note that a row's grounds are not in a list. Another row that is put here meanwhile has another sequence, so the
    /// note does not count for it.
    #[inline]
    pub fn note_checked(self, seen: Seen, list: u64) {
        self.store(CHECKED, mix(seen.sequence, list));
    }
}

impl Seen {
    /// Return whether a row's grounds are known not to be in a list.
    #[inline]
    pub const fn is_checked(self, list: u64) -> bool {
        self.checked == mix(self.sequence, list)
    }
}

/// Join a row's sequence and a list's stamp. Stamps are hashes, and differ in all bits.
#[inline]
const fn mix(sequence: u64, list: u64) -> u64 {
    list ^ sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
