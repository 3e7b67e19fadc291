//! The value: sixteen bytes that hold any Cedar value.
//!
//! Scalars lie in the value itself. Strings and entities are numbers. Those that the bundle knows have its numbers;
//! those that only the request knows have numbers of the request, marked as foreign. Within one decision equal texts
//! have equal numbers, so scalars are equal iff their bits are. Sets, records and IPv6 addresses point into one of four
//! arenas.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kind of a value. The numbers are part of the bundle's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Tag {
    /// No value: an absent optional attribute while a record is being built. Never an operand.
    Missing = 0,
    Bool = 1,
    Long = 2,
    String = 3,
    Entity = 4,
    Decimal = 5,
    Datetime = 6,
    Duration = 7,
    Ip4 = 8,
    Ip6 = 9,
    Set = 10,
    Record = 11,
}

impl Tag {
    /// Return the tag with this number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Missing,
            1 => Self::Bool,
            2 => Self::Long,
            3 => Self::String,
            4 => Self::Entity,
            5 => Self::Decimal,
            6 => Self::Datetime,
            7 => Self::Duration,
            8 => Self::Ip4,
            9 => Self::Ip6,
            10 => Self::Set,
            11 => Self::Record,
            _ => return None,
        })
    }

    /// Return whether the payload alone is the value.
    #[must_use]
    pub const fn is_scalar(self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Long
                | Self::String
                | Self::Entity
                | Self::Decimal
                | Self::Datetime
                | Self::Duration
                | Self::Ip4
        )
    }
}

/// The arena that holds the parts of a set, a record or an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Arena {
    /// The bundle's value pool.
    Bundle = 0,
    /// The request's values.
    Request = 1,
    /// The values that the program itself builds.
    Scratch = 2,
    /// The values of an entity that was changed since the bundle was compiled; the value names the entity.
    Changed = 3,
}

/// The bit of a string's number that marks a text of the request.
pub const FOREIGN_STRING: u64 = 1 << 32;
/// The bit of a string's number that marks a text added by a change of entities.
pub const ADDED_STRING: u64 = 1 << 33;

const LEN_MASK: u32 = (1 << 30) - 1;
const SORTED: u64 = 1 << 32;
/// The shift of the entity's number in the payload of a composite in [`Arena::Changed`].
const OWNER_SHIFT: u32 = 33;

/// An entity: its index in the bundle's table, and for entities that the bundle lacks a number that tells them apart.
///
/// A foreign entity has the index of its type's `absent` record, so its classes and type are looked up in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityRef {
    /// The index in the bundle's entity table.
    pub index: u32,
    /// 0 for an entity that the bundle names; otherwise a number, equal for equal uids within one decision.
    pub foreign: u32,
}

impl EntityRef {
    /// Refer to an entity that the bundle names.
    #[must_use]
    pub const fn known(index: u32) -> Self {
        Self { index, foreign: 0 }
    }

    /// Return the number that values and context slots hold.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.index as u64 | (self.foreign as u64) << 32
    }

    /// Restore an entity from [`Self::bits`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, foreign: (bits >> 32) as u32 }
    }
}

/// A Cedar value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Value {
    /// A [`Tag`]'s number. Values come from files, so this may be any number.
    pub tag: u32,
    /// The arena (two high bits), and the length or prefix.
    pub aux: u32,
    /// The value, or where its parts begin.
    pub payload: u64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]
impl Value {
    /// The mark of an absent attribute in a record being built.
    pub const MISSING: Self = Self::scalar(Tag::Missing, 0);

    /// Create a scalar from its tag and payload.
    #[must_use]
    pub const fn scalar(tag: Tag, payload: u64) -> Self {
        Self { tag: tag as u32, aux: 0, payload }
    }

    /// Create a boolean.
    #[must_use]
    pub const fn bool(value: bool) -> Self {
        Self::scalar(Tag::Bool, value as u64)
    }

    /// Create a long, decimal, datetime or duration.
    #[must_use]
    pub const fn number(tag: Tag, value: i64) -> Self {
        Self::scalar(tag, value as u64)
    }

    /// Create a string from its number.
    #[must_use]
    pub const fn string(number: u64) -> Self {
        Self::scalar(Tag::String, number)
    }

    /// Create an entity.
    #[must_use]
    pub const fn entity(entity: EntityRef) -> Self {
        Self::scalar(Tag::Entity, entity.bits())
    }

    /// Create an IPv4 address or range.
    #[must_use]
    pub const fn ip4(addr: u32, prefix: u8) -> Self {
        Self::scalar(Tag::Ip4, addr as u64 | (prefix as u64) << 32)
    }

    /// Create an IPv6 address or range, whose 128 bits are [`Self::wide`] at `start` of the arena.
    #[must_use]
    pub const fn ip6(arena: Arena, start: u32, prefix: u8) -> Self {
        Self { tag: Tag::Ip6 as u32, aux: (arena as u32) << 30 | prefix as u32, payload: start as u64 }
    }

    /// Create the sixteen raw bytes to which an [`Self::ip6`] points.
    #[must_use]
    pub const fn wide(bits: u128) -> Self {
        Self { tag: bits as u32, aux: (bits >> 32) as u32, payload: (bits >> 64) as u64 }
    }

    /// Restore the bits of [`Self::wide`].
    #[must_use]
    pub const fn wide_bits(self) -> u128 {
        self.tag as u128 | (self.aux as u128) << 32 | (self.payload as u128) << 64
    }

    /// Create a set of `len` values from `start`. `sorted` means that all are scalars, in the order of [`Self::key`].
    #[must_use]
    pub const fn set(arena: Arena, start: u32, len: u32, sorted: bool) -> Self {
        Self {
            tag: Tag::Set as u32,
            aux: (arena as u32) << 30 | (len & LEN_MASK),
            payload: start as u64 | if sorted { SORTED } else { 0 },
        }
    }

    /// Create a record of `len` pairs of a key (a string of the bundle) and a value, sorted by the keys' numbers.
    #[must_use]
    pub const fn record(arena: Arena, start: u32, len: u32) -> Self {
        Self { tag: Tag::Record as u32, aux: (arena as u32) << 30 | (len & LEN_MASK), payload: start as u64 }
    }

    /// Return the arena of a set, record or IPv6 address.
    #[must_use]
    pub const fn arena(self) -> Arena {
        match self.aux >> 30 {
            0 => Arena::Bundle,
            1 => Arena::Request,
            2 => Arena::Scratch,
            _ => Arena::Changed,
        }
    }

    /// Mark a composite of [`Arena::Changed`] as this entity's.
    #[must_use]
    pub const fn owned_by(self, entity: u32) -> Self {
        Self { payload: self.payload | (entity as u64) << OWNER_SHIFT, ..self }
    }

    /// Return the entity whose values hold the parts of a composite in [`Arena::Changed`].
    #[must_use]
    pub const fn owner(self) -> u32 {
        (self.payload >> OWNER_SHIFT) as u32
    }

    /// Return the number of a set's elements or a record's pairs, or the prefix of an IPv6 address.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.aux & LEN_MASK
    }

    /// Return whether [`Self::len`] is 0.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Return where the parts begin.
    #[must_use]
    pub const fn start(self) -> u32 {
        self.payload as u32
    }

    /// Return where the parts of a set or record lie, if it lies at place `at` of the bundle's pool. Parts lie before
    /// their composite. `None` if that is not so, and for values without parts.
    #[must_use]
    pub const fn parts_before(self, at: usize) -> Option<(usize, usize)> {
        let width = match Tag::from_u32(self.tag) {
            Some(Tag::Set) => 1,
            Some(Tag::Record) => 2,
            _ => return None,
        };
        let start = self.start() as usize;
        let end = start + self.len() as usize * width;
        if start < end && end <= at { Some((start, end)) } else { None }
    }

    /// Return whether a set is sorted by [`Self::key`].
    #[must_use]
    pub const fn is_sorted(self) -> bool {
        self.payload & SORTED != 0
    }

    /// Return the payload as a signed number.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.payload as i64
    }

    /// Return the key by which scalars are ordered and compared.
    #[must_use]
    pub const fn key(self) -> u128 {
        (self.tag as u128) << 64 | self.payload as u128
    }

    /// Return whether the value has this tag.
    #[must_use]
    pub const fn is(self, tag: Tag) -> bool {
        self.tag == tag as u32
    }

    /// Return whether the payload alone is the value.
    #[must_use]
    pub const fn is_scalar(self) -> bool {
        match Tag::from_u32(self.tag) {
            Some(tag) => tag.is_scalar(),
            None => false,
        }
    }
}
