//! A gate's working memory: allocated beforehand, so that deciding allocates nothing.

use std::io;
use ztfast_pages::{MemoryError, Residence, Resident};
use ztfast_vm::{ADDED_STRING, Arena, FOREIGN_STRING, Scratch, StringsView, Tag, Value};

/// The most texts unknown to the bundle that one call may bring.
const MAX_TEXTS: usize = 32;
/// The most numbers of entities, and of texts that came with a change, that one call may be given.
const MAX_GIVEN: usize = 256;
/// The most bytes of one call's texts.
const MAX_TEXT_BYTES: usize = 1 << 14;
/// The most values that one call's sets and addresses may take.
const MAX_VALUES: usize = 1 << 10;
/// The most sets and addresses that one call may bring.
const MAX_COMPOSITES: usize = 64;
/// The number of an empty set, in every call.
pub(crate) const EMPTY_SET: i64 = 0;

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

/// What a gate's calls bring besides numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brings {
    Nothing,
    /// Texts and entities.
    Texts,
    /// Sets and addresses, too.
    Composites,
}

/// How much a call had brought at some moment: texts, composites, bytes, numbers and values.
#[derive(Clone, Copy)]
pub(crate) struct Mark([usize; 2], usize, usize, usize);

/// What one call brings: texts that the bundle lacks, sets and addresses.
#[derive(Default)]
pub(crate) struct CallValues {
    /// The pages of the fields below. The field stands before them, so that it is dropped before them.
    _resident: [Resident; 5],
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    /// Numbers that are valid in this call only: of entities, and of texts that came with a change.
    pub given: Vec<i64>,
    /// The elements of sets and the bits of addresses, and the sets and addresses themselves. The first is the empty
    /// set.
    values: Vec<Value>,
    /// The places of the sets and addresses, but for the empty set.
    composites: Vec<u32>,
    /// The number of the call.
    call: u64,
}

impl CallValues {
    /// The bytes that texts and entities take at most, and those that sets and addresses take besides.
    const TEXT_BYTES: usize = (MAX_TEXTS + 1) * size_of::<u32>() + MAX_TEXT_BYTES + MAX_GIVEN * size_of::<i64>();
    const COMPOSITE_BYTES: usize = MAX_VALUES * size_of::<Value>() + MAX_COMPOSITES * size_of::<u32>();

    /// Return the bytes of a call that brings this.
    pub const fn bytes(brings: Brings) -> usize {
        match brings {
            Brings::Nothing => 0,
            Brings::Texts => Self::TEXT_BYTES,
            Brings::Composites => Self::TEXT_BYTES + Self::COMPOSITE_BYTES,
        }
    }

    /// Allocate all memory that a call may need, so that adding something does not allocate.
    pub fn new(brings: Brings, residence: Residence) -> Result<Self, MemoryError> {
        if matches!(brings, Brings::Nothing) {
            return Ok(Self::default());
        }
        let what = "working memory of a gate";
        let mut new = Self::default();
        let reserved = new.offsets.try_reserve_exact(MAX_TEXTS + 1).and_then(|()| {
            new.bytes.try_reserve_exact(MAX_TEXT_BYTES)?;
            new.given.try_reserve_exact(MAX_GIVEN)?;
            if matches!(brings, Brings::Texts) {
                return Ok(());
            }
            new.values.try_reserve_exact(MAX_VALUES)?;
            new.composites.try_reserve_exact(MAX_COMPOSITES)
        });
        let missing =
            |_| MemoryError::Missing { what, bytes: Self::bytes(brings), source: io::ErrorKind::OutOfMemory.into() };
        reserved.map_err(missing)?;
        let resident = [
            Resident::write(what, new.offsets.spare_capacity_mut(), residence)?,
            Resident::write(what, new.bytes.spare_capacity_mut(), residence)?,
            Resident::write(what, new.given.spare_capacity_mut(), residence)?,
            Resident::write(what, new.values.spare_capacity_mut(), residence)?,
            Resident::write(what, new.composites.spare_capacity_mut(), residence)?,
        ];
        new.offsets.push(0);
        if matches!(brings, Brings::Composites) {
            new.values.push(Value::set(Arena::Request, 0, 0, true));
        }
        Ok(Self { _resident: resident, ..new })
    }

    /// Drop what the call before brought, and start the next call.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.bytes.clear();
        self.given.clear();
        self.values.truncate(1);
        self.composites.clear();
        self.call = (self.call + 1) % CALLS;
    }

    /// Return what the call has brought so far.
    pub fn mark(&self) -> Mark {
        let Self { offsets, bytes, given, values, composites, .. } = self;
        Mark([offsets, composites].map(Vec::len), bytes.len(), given.len(), values.len())
    }

    /// Drop what the call has brought since a mark.
    pub fn back_to(&mut self, &Mark([offsets, composites], bytes, given, values): &Mark) {
        self.offsets.truncate(offsets);
        self.composites.truncate(composites);
        self.bytes.truncate(bytes);
        self.given.truncate(given);
        self.values.truncate(values);
    }

    /// Return the bits that all numbers of texts, sets and addresses of this call have.
    const fn prefix(&self) -> u64 {
        FOREIGN_STRING | self.call << CALL_SHIFT
    }

    /// Return whether this is the number of one of the texts.
    const fn has(&self, number: u64) -> bool {
        number ^ self.prefix() < self.offsets.len().saturating_sub(1) as u64
    }

    /// Return whether this is the number of a text of this call, or of one that the bundle holds.
    pub fn knows(&self, number: i64) -> bool {
        let bits = number.cast_unsigned();
        if bits & FOREIGN_STRING != 0 {
            return self.has(bits);
        }
        bits & ADDED_STRING == 0 || self.given.contains(&number)
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

    /// Begin a set. Return where its elements begin; `None` if the memory is full.
    pub fn begin_set(&self) -> Option<usize> {
        let start = self.values.len();
        (0 < start && start < self.values.capacity()).then_some(start)
    }

    /// Add a value. `None` if the memory is full.
    pub fn push(&mut self, value: Value) -> Option<()> {
        (self.values.len() < self.values.capacity()).then(|| self.values.push(value))
    }

    /// Drop the values from `start` on, which nothing refers to.
    pub fn drop_from(&mut self, start: usize) {
        self.values.truncate(start);
    }

    /// Return the number of the set whose elements are the scalars from `start` on. Equal sets have equal numbers, and
    /// that of the empty set is [`EMPTY_SET`]. `None` if the memory is full.
    #[allow(clippy::cast_possible_truncation)] // there are few
    pub fn set(&mut self, start: usize) -> Option<i64> {
        let own = self.values.get_mut(start..)?;
        let mut len = own.len();
        if len > 1 {
            own.sort_unstable_by_key(|value| value.key());
            len = 1;
            for at in 1..own.len() {
                if own.get(at) != own.get(len - 1) {
                    own.swap(at, len);
                    len += 1;
                }
            }
        }
        self.values.truncate(start + len);
        if len == 0 {
            return Some(EMPTY_SET);
        }
        self.composite(start, |at| Value::set(Arena::Request, at, len as u32, true))
    }

    /// Return the number of an address or a range. `None` if the memory is full.
    pub fn address(&mut self, bits: u128, is_v6: bool, prefix: u8) -> Option<i64> {
        let start = self.begin_set()?;
        if is_v6 {
            self.push(Value::wide(bits))?;
            return self.composite(start, |at| Value::ip6(Arena::Request, at, prefix));
        }
        let bits = u32::try_from(bits).ok()?;
        self.composite(start, |_| Value::ip4(bits, prefix))
    }

    /// Add a composite whose parts begin at `start`, unless the call brought an equal one: programs take composites of
    /// one request for equal iff they are in the same place. Return its number.
    #[allow(clippy::cast_possible_truncation)] // there are few
    fn composite(&mut self, start: usize, make: impl Fn(u32) -> Value) -> Option<i64> {
        let parts = self.values.len() - start;
        let same = |at: usize| {
            let first = at.wrapping_sub(parts);
            self.values.get(at) == Some(&make(first as u32)) && self.values.get(first..at) == self.values.get(start..)
        };
        let known = self.composites.iter().copied().find(|&at| same(at as usize));
        if let Some(at) = known {
            self.values.truncate(start);
            return Some(self.number_of(at));
        }
        if self.composites.len() == self.composites.capacity() || self.values.len() == self.values.capacity() {
            self.values.truncate(start);
            return None;
        }
        let at = self.values.len() as u32;
        self.values.push(make(start as u32));
        self.composites.push(at);
        Some(self.number_of(at))
    }

    const fn number_of(&self, at: u32) -> i64 {
        (self.prefix() | at as u64).cast_signed()
    }

    /// Return the set or address of this call that has a number.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low bits are the place
    fn composite_at(&self, number: i64) -> Option<Value> {
        let at = number.cast_unsigned() as u32;
        if number != self.number_of(at) || !self.composites.contains(&at) {
            return None;
        }
        self.values.get(at as usize).copied()
    }

    /// Return the first element of the set of this call that has a number. It is not the empty set.
    #[inline]
    pub fn first_of_set(&self, number: i64) -> Option<Value> {
        let set = self.composite_at(number).filter(|value| value.is(Tag::Set))?;
        self.values.get(set.start() as usize).copied()
    }

    /// Return whether this is the number of an address of this call.
    #[inline]
    pub fn is_address(&self, number: i64) -> bool {
        self.composite_at(number).is_some_and(|value| value.is(Tag::Ip4) || value.is(Tag::Ip6))
    }

    /// Return the sets and addresses as programs read them.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Return the texts as programs read them.
    pub fn view(&self) -> StringsView<'_> {
        StringsView { offsets: &self.offsets, bytes: &self.bytes }
    }
}
