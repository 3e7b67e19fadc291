//! Texts and state words in memory that processes share.
//!
//! Another process may write while this one reads, and memory may be corrupt. So everything is read by atomic loads, a
//! length is checked, and what was read counts only if the state word did not change meanwhile.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A record's state word. It publishes the record last and withdraws it first, so that a record is seen wholly or not
/// at all, also if its writer is killed between any two instructions. One writer at a time changes it.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct StateWord(AtomicU64);

/// The bit of a state word that says that the record is published; above it, the tag, then a number that grows with
/// each publication.
const PUBLISHED: u64 = 1;
const TAG_BITS: u32 = 15;
const NUMBER_STEP: u64 = 1 << (1 + TAG_BITS);

/// How often a record that changes meanwhile is read again.
const TRIES: usize = 16;

/// The result of reading a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    /// The record is not published.
    Nothing,
    Found(T),
    /// The record changed each time.
    Changing,
}

impl StateWord {
    /// Read a record by `read`, which gets the tag that the record was published with.
    #[inline]
    pub fn read<T>(&self, mut read: impl FnMut(u64) -> T) -> Read<T> {
        for _ in 0..TRIES {
            let before = self.0.load(Ordering::Acquire);
            if before & PUBLISHED == 0 {
                return Read::Nothing;
            }
            let found = read((before % NUMBER_STEP) >> 1);
            fence(Ordering::Acquire);
            if self.0.load(Ordering::Relaxed) == before {
                return Read::Found(found);
            }
        }
        Read::Changing
    }

    /// Return the number of the last publication.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire) / NUMBER_STEP
    }

    /// Withdraw the record. Then its fields may be written.
    pub fn withdraw(&self) {
        let state = self.0.load(Ordering::Relaxed);
        self.0.store(state & !PUBLISHED, Ordering::Relaxed);
        // The fields must become visible only after this.
        fence(Ordering::Release);
    }

    /// Publish the record.
    pub fn publish(&self, tag: u64) {
        let number = (self.0.load(Ordering::Relaxed) / NUMBER_STEP).wrapping_add(1);
        let tag = tag << 1 & (NUMBER_STEP - 1);
        self.0.store(number.wrapping_mul(NUMBER_STEP) | tag | PUBLISHED, Ordering::Release);
    }
}

/// A text of at most `8 * WORDS` bytes.
#[cfg(not(loom))]
#[derive(zerocopy::FromZeros)]
#[repr(C)]
pub(crate) struct Text<const WORDS: usize> {
    len: AtomicU64,
    /// The bytes, and zeros up to the end of the last word of the text. The words after it are of texts before.
    words: [AtomicU64; WORDS],
}

#[cfg(not(loom))]
impl<const WORDS: usize> Text<WORDS> {
    /// The most bytes of a text.
    pub const MOST: usize = 8 * WORDS;

    /// Write a text, which must not be longer than [`Self::MOST`].
    pub fn write(&self, text: &str) {
        for (word, chunk) in self.words.iter().zip(text.as_bytes().chunks(8)) {
            word.store(word_of(chunk), Ordering::Relaxed);
        }
        self.len.store(text.len().min(Self::MOST) as u64, Ordering::Relaxed);
    }

    /// Break the text: another length, and these bytes in place of its first.
    #[cfg(test)]
    pub fn overwrite(&self, len: u64, word: u64) {
        self.len.store(len, Ordering::Relaxed);
        self.words[0].store(word, Ordering::Relaxed);
    }

    /// Return whether this is the text. A length that cannot be right makes it every text.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        let len = self.len.load(Ordering::Relaxed);
        if len > Self::MOST as u64 {
            return true;
        }
        let same = |(chunk, word): (&[u8], &AtomicU64)| word.load(Ordering::Relaxed) == word_of(chunk);
        len == text.len() as u64 && text.as_bytes().chunks(8).zip(&self.words).all(same)
    }

    /// Copy the text. What is no UTF-8 is replaced.
    pub fn copy(&self) -> String {
        let len = usize::try_from(self.len.load(Ordering::Relaxed)).unwrap_or(usize::MAX).min(Self::MOST);
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .take(len.div_ceil(8))
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        bytes.truncate(len);
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Return up to eight bytes as a word.
#[cfg(not(loom))]
#[inline]
fn word_of(chunk: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(chunk).for_each(|(byte, &given)| *byte = given);
    u64::from_le_bytes(bytes)
}
