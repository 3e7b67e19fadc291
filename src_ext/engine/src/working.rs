//! What a gate works in: memory that was asked for beforehand, so that deciding allocates nothing.

use std::io;
use ztfast_pages::{MemoryError, Residence, Resident};
use ztfast_vm::{FOREIGN_STRING, Scratch, StringsView, Value};

/// Texts that one call may bring along and the bundle lacks.
const MAX_TEXTS: usize = 32;
/// Numbers that one call may be given of entities, and of texts that came with a change.
const MAX_GIVEN: usize = 256;
/// Bytes of one call's texts altogether.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// Where the number of a text that a call brings along says of which call it is.
const CALL_SHIFT: u32 = 34;
/// Calls that numbers of texts tell apart.
const CALLS: u64 = 1 << 29;

/// What programs work in: made beforehand, as large as a bundle's programs need it, so that deciding allocates nothing.
pub(crate) struct WorkingMemory {
    /// Before the scratch, so that it is dropped before it.
    held: [Resident; 2],
    pub scratch: Scratch,
    /// What the gate worked in before.
    pub next: Option<Box<Self>>,
}

impl WorkingMemory {
    /// Memory for programs that need so many cells on the stack and in the arena.
    pub fn new((stack, cells): (usize, usize), residence: Residence) -> Result<Box<Self>, MemoryError> {
        let what = "working memory of a gate";
        let bytes = (stack + cells) * size_of::<Value>();
        let missing = || MemoryError::Missing { what, bytes, source: io::ErrorKind::OutOfMemory.into() };
        let mut scratch = Scratch::try_new(stack, cells).ok_or_else(missing)?;
        let [stack, cells] = scratch.rooms();
        let held = [Resident::write(what, stack, residence)?, Resident::write(what, cells, residence)?];
        Ok(Box::new(Self { held, scratch, next: None }))
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.held.iter().map(Resident::len).sum::<usize>()
    }
}

/// Texts that one call brings along and the bundle lacks.
#[derive(Default)]
pub(crate) struct Texts {
    /// Before what it holds, so that it is dropped before it.
    _held: [Resident; 3],
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    /// Numbers that mean something else in another call: entities, and texts that came with a change.
    pub given: Vec<i64>,
    /// Which call they are of.
    call: u64,
}

impl Texts {
    /// What they take, as large as they may become.
    pub const BYTES: usize = (MAX_TEXTS + 1) * size_of::<u32>() + MAX_TEXT_BYTES + MAX_GIVEN * size_of::<i64>();

    /// All room that there will be: taking up a text does not allocate.
    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let what = "working memory of a gate";
        let mut texts = Self::default();
        let reserved = texts.offsets.try_reserve_exact(MAX_TEXTS + 1).and_then(|()| {
            texts.bytes.try_reserve_exact(MAX_TEXT_BYTES)?;
            texts.given.try_reserve_exact(MAX_GIVEN)
        });
        let missing = |_| MemoryError::Missing { what, bytes: Self::BYTES, source: io::ErrorKind::OutOfMemory.into() };
        reserved.map_err(missing)?;
        let held = [
            Resident::write(what, texts.offsets.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.bytes.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.given.spare_capacity_mut(), residence)?,
        ];
        Ok(Self { _held: held, ..texts })
    }

    /// Forget those of the call before.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.bytes.clear();
        self.given.clear();
        if self.offsets.capacity() > 0 {
            self.offsets.push(0);
        }
        self.call = (self.call + 1) % CALLS;
    }

    /// The bits that all numbers of this call have.
    const fn mark(&self) -> u64 {
        FOREIGN_STRING | self.call << CALL_SHIFT
    }

    /// Whether this is the number of one of the texts.
    pub const fn has(&self, number: u64) -> bool {
        number ^ self.mark() < self.offsets.len().saturating_sub(1) as u64
    }

    /// The number of a text; equal texts have equal numbers.
    #[allow(clippy::cast_possible_truncation)] // there are few
    pub fn number(&mut self, text: &str) -> Option<u64> {
        let same = |w: &[u32]| self.bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes());
        if let Some(before) = self.offsets.windows(2).position(same) {
            return Some(self.mark() | before as u64);
        }
        let (count, end) = (self.offsets.len(), self.bytes.len() + text.len());
        if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end as u32);
        Some(self.mark() | (count as u64 - 1))
    }

    /// What programs read.
    pub fn view(&self) -> StringsView<'_> {
        StringsView { offsets: &self.offsets, bytes: &self.bytes }
    }
}
