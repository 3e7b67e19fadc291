//! The data that a program reads: the bundle's entities, and the request.

use crate::value::{ADDED_STRING, Arena, EntityRef, FOREIGN_STRING, Tag, Value};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The element of a pattern that stands for `*`. Every other element is a Unicode scalar value.
pub const WILDCARD: u32 = u32::MAX;

/// An entity of the bundle, or a type's stand-in for all entities that the bundle lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntityRec {
    /// The number of the entity's type.
    pub ty: u32,
    /// The number of the string that is its id; `u32::MAX` for the stand-in.
    pub id: u32,
    /// [`PRESENT`], [`REFERRED`] and [`PARENT`].
    pub flags: u32,
    /// The first value of the attributes: pairs sorted by the keys' numbers.
    pub attrs_start: u32,
    /// The number of attributes.
    pub attrs_len: u32,
    /// The first value of the tags: pairs sorted by the keys' numbers.
    pub tags_start: u32,
    /// The number of tags.
    pub tags_len: u32,
    /// The first of the ancestors' indices, sorted.
    pub ancestors_start: u32,
    /// The number of ancestors, transitively.
    pub ancestors_len: u32,
    /// The first of the parents' indices, sorted, in the same table.
    pub parents_start: u32,
    /// The number of parents.
    pub parents_len: u32,
    /// Always 0.
    pub reserved: u32,
}

/// The flag of an entity that the store holds. Without it, the entity is only named.
pub const PRESENT: u32 = 1;
/// The flag of an entity that occurs in a value of some entity's attributes or tags.
pub const REFERRED: u32 = 2;
/// The flag of an entity that is a parent.
pub const PARENT: u32 = 4;

/// The data of an entity that programs can read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The number of the entity's type.
    pub ty: u32,
    /// The attributes: pairs sorted by the keys' numbers.
    pub attrs: &'a [Value],
    /// The tags: pairs sorted by the keys' numbers.
    pub tags: &'a [Value],
    /// The indices of the ancestors, sorted.
    pub ancestors: &'a [u32],
}

/// The entities that were changed since the bundle was compiled.
pub trait ChangedEntities: Sync {
    /// Return a changed entity, and the values that its values of [`Arena::Changed`] point into.
    fn entity(&self, index: u32) -> Option<(Facts<'_>, &[Value])>;
    /// Return a text of [`ADDED_STRING`].
    fn text(&self, number: u32) -> Option<&[u8]>;
}

/// A `like` pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PatternRec {
    /// The first element.
    pub start: u32,
    /// The number of elements.
    pub len: u32,
}

/// Numbered texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct StringsView<'a> {
    /// Where each text begins, and at the end where the last one ends.
    pub offsets: &'a [u32],
    /// The texts, UTF-8, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> StringsView<'a> {
    /// Return the text with this number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&'a [u8]> {
        let at = number as usize;
        let start = *self.offsets.get(at)? as usize;
        let end = *self.offsets.get(at.checked_add(1)?)? as usize;
        self.bytes.get(start..end)
    }
}

/// The part of the bundle that programs read, and the changes since it was compiled.
#[derive(Clone, Copy, Default)]
pub struct StoreView<'a> {
    /// The value pool.
    pub values: &'a [Value],
    /// The bundle's strings.
    pub strings: StringsView<'a>,
    /// The entity table.
    pub entities: &'a [EntityRec],
    /// Indices of ancestors.
    pub ancestors: &'a [u32],
    /// The patterns of `like`.
    pub patterns: &'a [PatternRec],
    /// The elements of the patterns.
    pub pattern_elems: &'a [u32],
    /// The entities that were changed since.
    pub changes: Option<&'a dyn ChangedEntities>,
}

impl<'a> StoreView<'a> {
    /// Return the bundle's record of an entity.
    #[must_use]
    pub fn entity(&self, entity: EntityRef) -> Option<&'a EntityRec> {
        self.entities.get(entity.index as usize)
    }

    /// Return the ancestors that a record of the bundle names, sorted.
    #[must_use]
    pub fn ancestors(&self, record: &EntityRec) -> Option<&'a [u32]> {
        span(self.ancestors, record.ancestors_start, record.ancestors_len as usize)
    }

    /// Return the current attributes of an entity: pairs sorted by the keys' numbers.
    #[inline]
    #[must_use]
    pub(crate) fn attrs(&self, entity: EntityRef) -> Option<&'a [Value]> {
        if let Some((facts, _)) = self.changes.and_then(|changes| changes.entity(entity.index)) {
            return Some(facts.attrs);
        }
        let record = self.entity(entity)?;
        span(self.values, record.attrs_start, record.attrs_len as usize * 2)
    }

    /// Return the indices of the current ancestors of an entity, sorted.
    #[inline]
    #[must_use]
    pub fn ancestors_of(&self, entity: EntityRef) -> Option<&'a [u32]> {
        if let Some((facts, _)) = self.changes.and_then(|changes| changes.entity(entity.index)) {
            return Some(facts.ancestors);
        }
        self.ancestors(self.entity(entity)?)
    }

    /// Return the current data of an entity.
    #[must_use]
    pub fn facts(&self, entity: EntityRef) -> Option<Facts<'a>> {
        if let Some((facts, _)) = self.changes.and_then(|changes| changes.entity(entity.index)) {
            return Some(facts);
        }
        let record = self.entity(entity)?;
        Some(Facts {
            ty: record.ty,
            attrs: span(self.values, record.attrs_start, record.attrs_len as usize * 2)?,
            tags: span(self.values, record.tags_start, record.tags_len as usize * 2)?,
            ancestors: self.ancestors(record)?,
        })
    }
}

/// Return `len` elements from `start`.
fn span<T>(all: &[T], start: u32, len: usize) -> Option<&[T]> {
    let start = start as usize;
    all.get(start..start.checked_add(len)?)
}

/// The part of a request that programs read.
///
/// `numbers[positions[slot]]` is the number in a context slot. A position past the end means that the attribute is
/// absent. So a gate passes its arguments on in the caller's order, without copying them.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The principal.
    pub principal: EntityRef,
    /// The resource.
    pub resource: EntityRef,
    /// The numbers that the caller passed.
    pub numbers: &'a [i64],
    /// For each context slot its position in `numbers`; `u16::MAX` if there is none.
    pub positions: &'a [u16],
    /// For each context slot a [`Tag`]'s number. IP addresses, sets and records have [`Tag::Set`]: their number is a
    /// place in `arena`, in the low 32 bits.
    pub kinds: &'a [u32],
    /// The request's sets, records and addresses.
    pub arena: &'a [Value],
    /// The request's texts that the bundle lacks.
    pub strings: StringsView<'a>,
}

impl Request<'_> {
    /// Create a request without context.
    #[must_use]
    pub const fn bare(principal: EntityRef, resource: EntityRef) -> Self {
        Self {
            principal,
            resource,
            numbers: &[],
            positions: &[],
            kinds: &[],
            arena: &[],
            strings: StringsView { offsets: &[], bytes: &[] },
        }
    }

    /// Return the number in a context slot.
    #[inline]
    #[must_use]
    pub fn number(&self, slot: u32) -> Option<i64> {
        let position = *self.positions.get(slot as usize)?;
        self.numbers.get(position as usize).copied()
    }

    /// Return the value in a context slot.
    #[must_use]
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)] // the bits are what counts
    pub fn slot(&self, slot: u32) -> Option<Value> {
        let number = self.number(slot)? as u64;
        match Tag::from_u32(*self.kinds.get(slot as usize)?)? {
            Tag::Missing => None,
            Tag::Set | Tag::Record | Tag::Ip4 | Tag::Ip6 => self.arena.get(number as u32 as usize).copied(),
            Tag::Bool => Some(Value::bool(number != 0)),
            tag => Some(Value::scalar(tag, number)),
        }
    }
}

/// Return the text of a string value.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn text<'a>(store: &StoreView<'a>, request: &Request<'a>, number: u64) -> Option<&'a [u8]> {
    if number & FOREIGN_STRING != 0 {
        request.strings.get(number as u32)
    } else if number & ADDED_STRING != 0 {
        store.changes?.text(number as u32)
    } else {
        store.strings.get(number as u32)
    }
}

/// Return the values that a composite points into.
pub(crate) fn arena<'c>(
    store: &StoreView<'c>,
    request: &Request<'c>,
    scratch: &'c [Value],
    value: Value,
) -> Option<&'c [Value]> {
    match value.arena() {
        Arena::Bundle => Some(store.values),
        Arena::Request => Some(request.arena),
        Arena::Scratch => Some(scratch),
        Arena::Changed => store.changes?.entity(value.owner()).map(|(_, values)| values),
    }
}

/// Return the value of a key among pairs sorted by key.
#[must_use]
pub fn field(pairs: &[Value], key: u64) -> Option<Value> {
    let (pairs, _) = pairs.as_chunks::<2>();
    let at = pairs.partition_point(|[name, _]| name.payload < key);
    pairs.get(at).filter(|[name, _]| name.payload == key).map(|&[_, value]| value)
}
