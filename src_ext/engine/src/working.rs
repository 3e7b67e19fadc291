//! A gate's working memory: allocated beforehand, so that deciding allocates nothing.

use std::io;
use ztfast_pages::{MemoryError, Residence, Resident};
use ztfast_vm::{FOREIGN_STRING, Scratch, StringsView, Value};

/// The most texts unknown to the bundle that one call may bring.
const MAX_TEXTS: usize = 32;
/// The most numbers of entities, and of texts that came with a change, that one call may be given.
const MAX_GIVEN: usize = 256;
/// The most bytes of one call's texts.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// The shift of the call's number within the number of a text.
const CALL_SHIFT: u32 = 34;
/// The number of calls that the numbers of texts tell apart.
const CALLS: u64 = 1 << 29;

/// The memory in which programs run, as large as a bundle's programs need.
pub(crate) struct WorkingMemory {
    /// The pages of `scratch`. The field stands before it, so that it is dropped before it.
    resident: [Resident; 2],
    pub scratch: Scratch,
    /// The next element of the list of memory that the gate gave back.
    pub next: Option<Box<Self>>,
}

impl WorkingMemory {
    /// Allocate memory for programs that need this many values on the stack and in the arena.
    pub fn new((stack, cells): (usize, usize), residence: Residence) -> Result<Box<Self>, MemoryError> {
        let what = "working memory of a gate";
        let bytes = (stack + cells) * size_of::<Value>();
        let missing = || MemoryError::Missing { what, bytes, source: io::ErrorKind::OutOfMemory.into() };
        let mut scratch = Scratch::try_new(stack, cells).ok_or_else(missing)?;
        let [stack, cells] = scratch.buffers();
        let resident = [Resident::write(what, stack, residence)?, Resident::write(what, cells, residence)?];
        Ok(Box::new(Self { resident, scratch, next: None }))
    }

    /// Return the size in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.resident.iter().map(Resident::size).sum::<usize>()
    }
}

/// The texts of one call that the bundle lacks.
#[derive(Default)]
pub(crate) struct Texts {
    /// The pages of the fields below. The field stands before them, so that it is dropped before them.
    _resident: [Resident; 3],
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    /// Numbers that are valid in this call only: of entities, and of texts that came with a change.
    pub given: Vec<i64>,
    /// The number of the call.
    call: u64,
}

impl Texts {
    /// The bytes that the texts take at most.
    pub const BYTES: usize = (MAX_TEXTS + 1) * size_of::<u32>() + MAX_TEXT_BYTES + MAX_GIVEN * size_of::<i64>();

    /// Allocate all memory that a call may need, so that adding a text does not allocate.
    pub fn new(residence: Residence) -> Result<Self, MemoryError> {
        let what = "working memory of a gate";
        let mut texts = Self::default();
        let reserved = texts.offsets.try_reserve_exact(MAX_TEXTS + 1).and_then(|()| {
            texts.bytes.try_reserve_exact(MAX_TEXT_BYTES)?;
            texts.given.try_reserve_exact(MAX_GIVEN)
        });
        let missing = |_| MemoryError::Missing { what, bytes: Self::BYTES, source: io::ErrorKind::OutOfMemory.into() };
        reserved.map_err(missing)?;
        let resident = [
            Resident::write(what, texts.offsets.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.bytes.spare_capacity_mut(), residence)?,
            Resident::write(what, texts.given.spare_capacity_mut(), residence)?,
        ];
        Ok(Self { _resident: resident, ..texts })
    }

    /// Drop the texts of the call before, and start the next call.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.bytes.clear();
        self.given.clear();
        if self.offsets.capacity() > 0 {
            self.offsets.push(0);
        }
        self.call = (self.call + 1) % CALLS;
    }

    /// Return the bits that all text numbers of this call have.
    const fn prefix(&self) -> u64 {
        FOREIGN_STRING | self.call << CALL_SHIFT
    }

    /// Return whether this is the number of one of the texts.
    pub const fn has(&self, number: u64) -> bool {
        number ^ self.prefix() < self.offsets.len().saturating_sub(1) as u64
    }

    /// Return the number of a text, and add it if it is new. Equal texts have equal numbers. `None` if the memory is
    /// full.
    #[allow(clippy::cast_possible_truncation)] // there are few
    pub fn number(&mut self, text: &str) -> Option<u64> {
        let same = |w: &[u32]| self.bytes.get(w[0] as usize..w[1] as usize) == Some(text.as_bytes());
        if let Some(before) = self.offsets.windows(2).position(same) {
            return Some(self.prefix() | before as u64);
        }
        let (count, end) = (self.offsets.len(), self.bytes.len() + text.len());
        if count == 0 || count > MAX_TEXTS || end > MAX_TEXT_BYTES {
            return None;
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end as u32);
        Some(self.prefix() | (count as u64 - 1))
    }

    /// Return the texts as programs read them.
    pub fn view(&self) -> StringsView<'_> {
        StringsView { offsets: &self.offsets, bytes: &self.bytes }
    }
}
