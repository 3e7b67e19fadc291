//! The register of uids that processes share: a uid has the same number in all of them.
//!
//! It only grows. A writer takes a place and room for the text, writes both, and then puts the place into the index by
//! one compare-and-swap: what a killed writer leaves behind is a place and some bytes that nobody uses.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ztfast_pages::{Mapping, Shareable};

/// The bytes reserved for the texts, for each uid.
const TEXT_BYTES: usize = 64;
/// The most bytes of a uid's type and id together. Places and texts are never released, so that without a limit a few
/// uids would use the register up.
pub const MAX_UID: usize = 1 << 10;
/// The least room for texts.
const LEAST_TEXT_BYTES: usize = 1 << 16;

/// A uid in the register.
#[repr(C)]
struct Entry {
    hash: AtomicU64,
    /// Where its text begins.
    at: AtomicU64,
    /// The lengths of type and id, with the top bit set once the entry is complete.
    lens: AtomicU64,
}

const COMPLETE: u64 = 1 << 63;

#[repr(C, align(64))]
struct Counters {
    places: AtomicU64,
    text: AtomicU64,
    unused: [AtomicU64; 6],
}

// SAFETY: atomics without padding.
unsafe impl Shareable for Entry {}
// SAFETY: atomics without padding.
unsafe impl Shareable for Counters {}

/// The sizes of the register's parts, in bytes.
pub(crate) struct Sizes {
    index: usize,
    entries: usize,
    text: usize,
    pub total: usize,
}

/// Return the sizes for this many uids.
pub(crate) fn sizes(capacity: usize) -> Option<Sizes> {
    if capacity == 0 {
        return Some(Sizes { index: 0, entries: 0, text: 0, total: 0 });
    }
    let index = capacity.checked_mul(2)?.checked_next_power_of_two()?.checked_mul(size_of::<AtomicU32>())?;
    let index = index.checked_next_multiple_of(64)?;
    let entries = capacity.checked_mul(size_of::<Entry>())?.checked_next_multiple_of(64)?;
    let text = capacity.checked_mul(TEXT_BYTES)?.max(LEAST_TEXT_BYTES);
    let total = size_of::<Counters>().checked_add(index)?.checked_add(entries)?.checked_add(text)?;
    Some(Sizes { index, entries, text, total })
}

/// The register, in a mapping.
#[derive(Clone, Copy)]
pub struct SharedUids<'m> {
    mapping: &'m Mapping,
    counters: &'m Counters,
    index: &'m [AtomicU32],
    entries: &'m [Entry],
    text_at: usize,
    text_bytes: usize,
    key: u64,
}

/// Why a uid got no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// There is no place or no room for the text left.
    Full,
    /// The uid has more than [`MAX_UID`] bytes.
    TooLong,
    /// The process may not write the register.
    ReadOnly,
}

/// How full the register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterUse {
    /// The places that were given out, and how many there are.
    pub uids: (usize, usize),
    /// The bytes of their texts, and for how many there is room.
    pub bytes: (usize, usize),
}

impl<'m> SharedUids<'m> {
    pub(crate) fn new(mapping: &'m Mapping, at: usize, capacity: usize, key: u64) -> Option<Self> {
        let sizes = sizes(capacity)?;
        let index_at = at.checked_add(size_of::<Counters>())?;
        let entries_at = index_at.checked_add(sizes.index)?;
        Some(Self {
            mapping,
            counters: mapping.slice(at, 1)?.first()?,
            index: mapping.slice(index_at, capacity.checked_mul(2)?.checked_next_power_of_two()?)?,
            entries: mapping.slice(entries_at, capacity)?,
            text_at: entries_at.checked_add(sizes.entries)?,
            text_bytes: sizes.text,
            key,
        })
    }

    /// Return how full the register is.
    #[must_use]
    pub fn in_use(&self) -> RegisterUse {
        let taken = |counter: &AtomicU64, most: usize| {
            (usize::try_from(counter.load(Ordering::Acquire)).unwrap_or(usize::MAX).min(most), most)
        };
        RegisterUse {
            uids: taken(&self.counters.places, self.entries.len()),
            bytes: taken(&self.counters.text, self.text_bytes),
        }
    }

    /// Return the uid of a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<(&'m str, &'m str)> {
        let entry = self.entries.get(place)?;
        let lens = entry.lens.load(Ordering::Acquire);
        let (ty, id) = (half(lens >> 32 & 0x7FFF_FFFF), half(lens & 0xFFFF_FFFF));
        let at = usize::try_from(entry.at.load(Ordering::Relaxed)).ok()?;
        let end = at.checked_add(ty)?.checked_add(id)?;
        if lens & COMPLETE == 0 || end > self.text_bytes {
            return None;
        }
        // SAFETY: whoever completed the entry wrote the text before, and nobody writes it again; only authorities, whom
        // every process of the state trusts, can write at all.
        let bytes = unsafe { self.mapping.bytes(self.text_at.checked_add(at)?, ty.checked_add(id)?) }?;
        let (ty, id) = bytes.split_at_checked(ty)?;
        Some((std::str::from_utf8(ty).ok()?, std::str::from_utf8(id).ok()?))
    }

    /// Return the place of a uid, if it has one.
    #[must_use]
    pub fn find(&self, ty: &str, id: &str) -> Option<usize> {
        self.probe(ty, id, self.hash(ty, id)).ok()
    }

    /// Return the place of a uid, and give it one if it has none.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn register(&self, ty: &str, id: &str) -> Result<usize, NoPlace> {
        let hash = self.hash(ty, id);
        if let Ok(known) = self.probe(ty, id, hash) {
            return Ok(known);
        }
        if !self.mapping.is_writable() {
            return Err(NoPlace::ReadOnly);
        }
        if ty.len().saturating_add(id.len()) > MAX_UID {
            return Err(NoPlace::TooLong);
        }
        // Without a place, no room is taken that nobody would use.
        if self.in_use().uids.0 >= self.entries.len() {
            return Err(NoPlace::Full);
        }
        let at = take(&self.counters.text, ty.len() + id.len(), self.text_bytes)?;
        let place = take(&self.counters.places, 1, self.entries.len())?;
        let entry = self.entries.get(place).ok_or(NoPlace::Full)?;
        self.write(at, ty.bytes().chain(id.bytes()))?;
        entry.hash.store(hash, Ordering::Relaxed);
        entry.at.store(at as u64, Ordering::Relaxed);
        entry.lens.store(COMPLETE | (ty.len() as u64) << 32 | id.len() as u64, Ordering::Release);
        let new = u32::try_from(place + 1).map_err(|_| NoPlace::Full)?;
        loop {
            // Another writer may have put the same uid there meanwhile: then this entry is never used.
            let slot = match self.probe(ty, id, hash) {
                Ok(known) => return Ok(known),
                Err(slot) => self.index.get(slot.ok_or(NoPlace::Full)?).ok_or(NoPlace::Full)?,
            };
            if slot.compare_exchange(0, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(place);
            }
        }
    }

    /// Return the place of a uid, or else the empty slot of the index where it would be; `None` if there is none.
    fn probe(&self, ty: &str, id: &str, hash: u64) -> Result<usize, Option<usize>> {
        let mask = self.index.len().wrapping_sub(1);
        let first = usize::try_from(hash & 0xFFFF_FFFF).unwrap_or(0);
        for step in 0..self.index.len() {
            let at = first.wrapping_add(step) & mask;
            let Some(slot) = self.index.get(at) else { return Err(None) };
            let place = match slot.load(Ordering::Acquire) {
                0 => return Err(Some(at)),
                place => place as usize - 1,
            };
            let is_same = self.entries.get(place).is_some_and(|entry| entry.hash.load(Ordering::Relaxed) == hash);
            if is_same && self.get(place) == Some((ty, id)) {
                return Ok(place);
            }
        }
        Err(None)
    }

    /// Hash a uid by the state's key, so that nobody can choose ids that meet in the index.
    fn hash(&self, ty: &str, id: &str) -> u64 {
        let mut key = [0; 32];
        for (to, byte) in key.iter_mut().zip(self.key.to_le_bytes()) {
            *to = byte;
        }
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&(ty.len() as u64).to_le_bytes());
        hasher.update(ty.as_bytes());
        hasher.update(id.as_bytes());
        hasher.finalize().as_bytes().iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    fn write(&self, at: usize, bytes: impl Iterator<Item = u8>) -> Result<(), NoPlace> {
        use std::sync::atomic::AtomicU8;
        let from = self.text_at.checked_add(at).ok_or(NoPlace::Full)?;
        let room = self.mapping.slice::<AtomicU8>(from, self.text_bytes.saturating_sub(at)).ok_or(NoPlace::Full)?;
        room.iter().zip(bytes).for_each(|(to, byte)| to.store(byte, Ordering::Relaxed));
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation)] // 32 bits
const fn half(bits: u64) -> usize {
    bits as usize
}

/// Take `wanted` of what a counter counts, if that many are left.
fn take(counter: &AtomicU64, wanted: usize, most: usize) -> Result<usize, NoPlace> {
    let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
        let end = taken.checked_add(wanted as u64)?;
        (end <= most as u64).then_some(end)
    });
    taken.ok().and_then(|taken| usize::try_from(taken).ok()).ok_or(NoPlace::Full)
}
