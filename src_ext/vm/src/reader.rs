//! Reads values: attributes, members of sets, ancestors, texts; and compares them.

use crate::instr::ExtOp;
use crate::ops::{self, Fault};
use crate::store::{Facts, Request, StoreView, arena, field, text};
use crate::value::{Arena, EntityRef, Tag, Value};

/// The nesting of values that comparisons follow. No literal that is accepted nests deeper.
const MAX_NESTING: u32 = 2_000;

/// The data that values of one run point into, and the steps that reading them may take.
pub(crate) struct Reader<'a> {
    pub store: &'a StoreView<'a>,
    pub request: &'a Request<'a>,
    /// The values that the run built.
    pub built: &'a [Value],
    /// The steps of comparing, searching and matching that are left.
    pub budget: &'a mut u32,
}

impl<'a> Reader<'a> {
    fn spend(&mut self, steps: u32) -> Result<(), Fault> {
        *self.budget = self.budget.checked_sub(steps).ok_or(Fault::Exhausted)?;
        Ok(())
    }

    /// Return the values of a set or record, `width` for each element.
    fn parts(&self, value: Value, width: usize) -> Result<&'a [Value], Fault> {
        let values = self.arena(value)?;
        let start = value.start() as usize;
        values.get(start..start + value.len() as usize * width).ok_or(Fault::Corrupt)
    }

    fn arena(&self, value: Value) -> Result<&'a [Value], Fault> {
        arena(self.store, self.request, self.built, value).ok_or(Fault::Corrupt)
    }

    /// Return element `index` of a set, or value `index` of a record.
    pub fn part(&self, value: Value, index: usize) -> Result<Value, Fault> {
        self.arena(value)?.get(value.start() as usize + index).copied().ok_or(Fault::Corrupt)
    }

    fn wide(&self, value: Value) -> Option<u128> {
        self.part(value, 0).ok().map(Value::wide_bits)
    }

    pub fn facts(&self, entity: EntityRef) -> Result<Facts<'a>, Fault> {
        self.store.facts(entity).ok_or(Fault::Corrupt)
    }

    /// Look up an attribute of an entity or a record. An entity that the store lacks has none: `has` is false, access
    /// an error.
    pub fn attribute(&self, subject: Value, name: u32) -> Result<Option<Value>, Fault> {
        if subject.is(Tag::Entity) {
            let attrs = self.store.attrs(EntityRef::from_bits(subject.payload)).ok_or(Fault::Corrupt)?;
            Ok(field(attrs, u64::from(name)))
        } else if subject.is(Tag::Record) {
            Ok(field(self.parts(subject, 2)?, u64::from(name)))
        } else {
            Err(Fault::Error)
        }
    }

    pub fn tag(&self, subject: Value, key: Value) -> Result<Option<Value>, Fault> {
        let facts = self.facts(as_entity(subject)?)?;
        if !key.is(Tag::String) {
            return Err(Fault::Error);
        }
        Ok(field(facts.tags, key.payload))
    }

    /// Apply a method of an extension type. `b` is the second operand, if the method has one.
    pub fn extension(&self, method: ExtOp, a: Value, b: Value) -> Result<Value, Fault> {
        ops::extension(method, a, b, |value| self.wide(value))
    }

    pub fn is_in(&mut self, a: Value, b: Value) -> Result<bool, Fault> {
        let entity = as_entity(a)?;
        let ancestors = self.store.ancestors_of(entity).ok_or(Fault::Corrupt)?;
        let within = |b: EntityRef| entity == b || (b.foreign == 0 && ancestors.binary_search(&b.index).is_ok());
        if b.is(Tag::Entity) {
            return Ok(within(EntityRef::from_bits(b.payload)));
        }
        if !b.is(Tag::Set) {
            return Err(Fault::Error);
        }
        // Cedar checks every element's type before it looks for the entity.
        self.spend(b.len())?;
        let mut found = false;
        for &element in self.parts(b, 1)? {
            found |= within(as_entity(element)?);
        }
        Ok(found)
    }

    pub fn contains(&mut self, set: Value, wanted: Value) -> Result<bool, Fault> {
        self.contains_within(set, wanted, 0)
    }

    /// Return whether a set contains every element of another one, or (if not `all`) any.
    pub fn contains_each(&mut self, set: Value, wanted: Value, all: bool) -> Result<bool, Fault> {
        for index in 0..wanted.len() as usize {
            let element = self.part(wanted, index)?;
            if self.contains(set, element)? != all {
                return Ok(!all);
            }
        }
        Ok(all)
    }

    pub fn contains_within(&mut self, set: Value, wanted: Value, nesting: u32) -> Result<bool, Fault> {
        if set.is_sorted() {
            self.spend(1)?;
            let found = wanted.is_scalar()
                && self.parts(set, 1)?.binary_search_by_key(&wanted.key(), |value| value.key()).is_ok();
            return Ok(found);
        }
        for index in 0..set.len() as usize {
            let element = self.part(set, index)?;
            if self.equal_within(element, wanted, nesting)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn equal(&mut self, a: Value, b: Value) -> Result<bool, Fault> {
        self.equal_within(a, b, 0)
    }

    fn equal_within(&mut self, a: Value, b: Value, nesting: u32) -> Result<bool, Fault> {
        self.spend(1)?;
        if a.tag != b.tag {
            return Ok(false);
        }
        if nesting > MAX_NESTING {
            return Err(Fault::Exhausted);
        }
        let tag = Tag::from_u32(a.tag).ok_or(Fault::Corrupt)?;
        if !tag.is_scalar() && tag != Tag::Missing {
            // Composites in the same place are equal, and in a request equal composites share a place.
            if a == b || (a.arena() == Arena::Request && b.arena() == Arena::Request) {
                return Ok(a == b);
            }
        }
        match tag {
            Tag::Missing => Err(Fault::Corrupt),
            Tag::Ip6 => Ok(a.len() == b.len() && self.wide(a) == self.wide(b)),
            Tag::Set => {
                // Neither set has an element twice, so equal sizes and one inclusion mean equality.
                if a.len() != b.len() {
                    return Ok(false);
                }
                if a.is_sorted() && b.is_sorted() {
                    self.spend(a.len())?;
                    let (a, b) = (self.parts(a, 1)?, self.parts(b, 1)?);
                    return Ok(a.iter().zip(b).all(|(a, b)| a.key() == b.key()));
                }
                for index in 0..a.len() as usize {
                    let element = self.part(a, index)?;
                    if !self.contains_within(b, element, nesting + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Tag::Record => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for index in 0..a.len() as usize {
                    let keys = (self.part(a, 2 * index)?, self.part(b, 2 * index)?);
                    let values = (self.part(a, 2 * index + 1)?, self.part(b, 2 * index + 1)?);
                    if keys.0 != keys.1 || !self.equal_within(values.0, values.1, nesting + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(a.payload == b.payload),
        }
    }

    pub fn like(&mut self, subject: Value, pattern: u32) -> Result<bool, Fault> {
        if !subject.is(Tag::String) {
            return Err(Fault::Error);
        }
        let text = text(self.store, self.request, subject.payload).ok_or(Fault::Corrupt)?;
        let pattern = self.store.patterns.get(pattern as usize).ok_or(Fault::Corrupt)?;
        let start = pattern.start as usize;
        let elems = self.store.pattern_elems.get(start..start + pattern.len as usize).ok_or(Fault::Corrupt)?;
        self.spend(u32::try_from(elems.len()).map_err(|_| Fault::Exhausted)?)?;
        if let Some(known) = ops::begins_like(text, elems) {
            return Ok(known);
        }
        let text = core::str::from_utf8(text).map_err(|_| Fault::Corrupt)?;
        ops::like(text, elems, self.budget)
    }
}

pub(crate) fn as_bool(value: Value) -> Result<bool, Fault> {
    if value.is(Tag::Bool) { Ok(value.payload != 0) } else { Err(Fault::Error) }
}

pub(crate) fn as_long(value: Value) -> Result<i64, Fault> {
    if value.is(Tag::Long) { Ok(value.as_i64()) } else { Err(Fault::Error) }
}

pub(crate) fn as_set(value: Value) -> Result<Value, Fault> {
    if value.is(Tag::Set) { Ok(value) } else { Err(Fault::Error) }
}

pub(crate) fn as_entity(value: Value) -> Result<EntityRef, Fault> {
    if value.is(Tag::Entity) { Ok(EntityRef::from_bits(value.payload)) } else { Err(Fault::Error) }
}

/// Return the numbers that `<` and `<=` compare: of two longs, two datetimes or two durations. Decimals have methods
/// instead.
pub(crate) fn comparable(a: Value, b: Value) -> Result<(i64, i64), Fault> {
    let ordered = [Tag::Long, Tag::Datetime, Tag::Duration].iter().any(|&tag| a.is(tag) && b.is(tag));
    if ordered { Ok((a.as_i64(), b.as_i64())) } else { Err(Fault::Error) }
}
