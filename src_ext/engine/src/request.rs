//! A request with its own context, which `evaluate`, `decide` and `explain` build from a dict.
//!
//! The caller chooses its size, so nothing here searches linearly: texts, entities and values are found by their
//! hashes. Equal sets, records and addresses share one place, so that within a request two values are equal iff their
//! bits are.

use crate::snapshot::{Resolved, Snapshot, owned_uid};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use ztfast_live::OwnedUid;
use ztfast_vm::{Arena, EntityRef, FOREIGN_STRING, Request, StringsView, Tag, Value};

/// The first number of a request's foreign entities, above all handles.
const FIRST_FOREIGN: u32 = 1 << 30;

/// The values of a request.
#[derive(Debug, Default)]
pub struct OwnedRequest {
    numbers: Vec<i64>,
    positions: Vec<u16>,
    arena: Vec<Value>,
    text_offsets: Vec<u32>,
    text_bytes: Vec<u8>,
    foreign: Vec<OwnedUid>,
}

impl OwnedRequest {
    pub(crate) fn view<'a>(&'a self, principal: EntityRef, resource: EntityRef, kinds: &'a [u32]) -> Request<'a> {
        Request {
            principal,
            resource,
            numbers: &self.numbers,
            positions: &self.positions,
            kinds,
            arena: &self.arena,
            strings: StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes },
        }
    }

    /// Return the uid of an entity of this request.
    #[must_use]
    pub fn uid(&self, snapshot: &Snapshot, entity: EntityRef) -> Option<(String, String)> {
        owned_uid(snapshot, entity, |number| self.foreign_uid(number))
    }

    /// Return the uid of an entity that only this request knows.
    #[must_use]
    pub fn foreign_uid(&self, number: u32) -> Option<OwnedUid> {
        self.foreign.get(number.checked_sub(FIRST_FOREIGN)? as usize).cloned()
    }
}

/// An index of elements by their hashes.
#[derive(Debug, Default)]
struct Places {
    keys: RandomState,
    /// The last place with this hash.
    last: HashMap<u64, u32>,
    /// For each place, the place before it with the same hash, or `u32::MAX`.
    before: Vec<u32>,
}

impl Places {
    /// Find the place of an element, where `is` compares it with the element at a place; or add a place. Return whether
    /// it is new.
    fn place(&mut self, of: impl Hash, is: impl Fn(usize) -> bool) -> (u32, bool) {
        let hash = self.keys.hash_one(of);
        let found = self.last.get(&hash).copied().unwrap_or(u32::MAX);
        let mut at = found;
        while at != u32::MAX {
            if is(at as usize) {
                return (at, false);
            }
            at = self.before.get(at as usize).copied().unwrap_or(u32::MAX);
        }
        let next = u32::try_from(self.before.len()).unwrap_or(u32::MAX);
        self.before.push(found);
        self.last.insert(hash, next);
        (next, true)
    }
}

/// Builds a request for one snapshot.
pub struct RequestBuilder<'s> {
    snapshot: &'s Snapshot,
    request: OwnedRequest,
    /// Foreign entities that the request has by handle. Their uids elsewhere in the request must mean the same
    /// entities.
    known: Vec<EntityRef>,
    texts: Places,
    entities: Places,
    values: Places,
    /// The sets, records and addresses, by their place in `values`.
    composites: Vec<Value>,
}

impl<'s> RequestBuilder<'s> {
    /// Create a builder for an action with this many context slots.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, slots: usize) -> Self {
        let request = OwnedRequest {
            numbers: vec![0; slots],
            positions: vec![u16::MAX; slots],
            text_offsets: vec![0],
            ..OwnedRequest::default()
        };
        Self {
            snapshot,
            request,
            known: Vec::new(),
            texts: Places::default(),
            entities: Places::default(),
            values: Places::default(),
            composites: Vec::new(),
        }
    }

    /// Add the entity of a handle of the request. All handles must be added before the first uid.
    pub fn know(&mut self, entity: EntityRef) {
        if entity.foreign != 0 {
            self.known.push(entity);
        }
    }

    /// Return the entity of a uid; `None` if the bundle rules such an entity out.
    pub fn entity(&mut self, ty: &str, id: &str) -> Option<EntityRef> {
        let index = match self.snapshot.resolve(ty, id) {
            Resolved::Known(entity) => return Some(entity),
            Resolved::Foreign(index) => index,
            Resolved::Nothing => return None,
        };
        let is = |entity: &&EntityRef| self.snapshot.uid(**entity).is_some_and(|uid| (uid.ty, uid.id) == (ty, id));
        if let Some(&known) = self.known.iter().find(is) {
            return Some(known);
        }
        let foreign = &mut self.request.foreign;
        let (place, fresh) =
            self.entities.place((ty, id), |at| foreign.get(at).is_some_and(|uid| (&*uid.0, &*uid.1) == (ty, id)));
        if fresh {
            foreign.push((ty.into(), id.into()));
        }
        Some(EntityRef { index, foreign: FIRST_FOREIGN.checked_add(place)? })
    }

    /// Return the uid of an entity that only this request knows.
    #[must_use]
    pub fn foreign_uid(&self, number: u32) -> Option<OwnedUid> {
        self.request.foreign_uid(number)
    }

    /// Return the value of a text.
    pub fn text(&mut self, text: &str) -> Value {
        if let Some(known) = self.snapshot.string(text) {
            return Value::string(known);
        }
        let OwnedRequest { text_offsets: offsets, text_bytes: bytes, .. } = &mut self.request;
        let of = |at: usize| bytes.get(*offsets.get(at)? as usize..*offsets.get(at + 1)? as usize);
        let (place, fresh) = self.texts.place(text, |at| of(at) == Some(text.as_bytes()));
        if fresh {
            bytes.extend_from_slice(text.as_bytes());
            offsets.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Value::string(FOREIGN_STRING | u64::from(place))
    }

    /// Return the value of an IPv6 address.
    pub fn ip6(&mut self, bits: u128, prefix: u8) -> Value {
        let parts = [Value::wide(bits)];
        self.composite(&parts, |start| Value::ip6(Arena::Request, start, prefix))
    }

    /// Return the value of a set of these elements.
    pub fn set(&mut self, mut elements: Vec<Value>) -> Value {
        let sorted = elements.iter().all(|value| value.is_scalar());
        // For scalars, this is the order of their keys.
        elements.sort_unstable_by_key(|value| (value.tag, value.payload, value.aux));
        elements.dedup();
        let len = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        self.composite(&elements, |start| Value::set(Arena::Request, start, len, sorted))
    }

    /// Return the value of a record; `None` if a key is not an attribute that the bundle names.
    pub fn record(&mut self, fields: &[(&str, Value)]) -> Option<Value> {
        let mut pairs: Vec<(u64, Value)> = Vec::with_capacity(fields.len());
        for &(key, value) in fields {
            pairs.push((self.snapshot.string(key)?, value));
        }
        pairs.sort_unstable_by_key(|&(key, _)| key);
        let values: Vec<Value> = pairs.iter().flat_map(|&(key, value)| [Value::string(key), value]).collect();
        let len = u32::try_from(pairs.len()).ok()?;
        Some(self.composite(&values, |start| Value::record(Arena::Request, start, len)))
    }

    /// Put a value into a context slot.
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn put(&mut self, slot: u32, value: Value) {
        let number = if value.is_scalar() && !value.is(Tag::Ip4) {
            value.as_i64()
        } else {
            self.request.arena.push(value);
            i64::from(last(&self.request.arena))
        };
        let request = &mut self.request;
        let (numbers, positions) = (&mut request.numbers, &mut request.positions);
        if let (Some(place), Some(position)) = (numbers.get_mut(slot as usize), positions.get_mut(slot as usize)) {
            *place = number;
            *position = u16::try_from(slot).unwrap_or(u16::MAX);
        }
    }

    /// Return the request.
    #[must_use]
    pub fn finish(self) -> OwnedRequest {
        self.request
    }

    /// Return the set, record or address with these parts, and add it if it is new.
    fn composite(&mut self, parts: &[Value], at: impl Fn(u32) -> Value) -> Value {
        let (arena, composites) = (&mut self.request.arena, &mut self.composites);
        let next = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        let shape = at(next);
        let same = |place: usize| {
            composites.get(place).is_some_and(|&other| {
                let start = other.start() as usize;
                other == at(other.start()) && arena.get(start..start + parts.len()) == Some(parts)
            })
        };
        // The start is not part of a value's identity.
        let hashed = parts.iter().map(|value| (value.tag, value.aux, value.payload));
        let (place, fresh) = self.values.place(Sequence(shape.tag, shape.aux, hashed), same);
        if !fresh {
            return composites.get(place as usize).copied().unwrap_or(shape);
        }
        arena.extend_from_slice(parts);
        composites.push(shape);
        shape
    }
}

/// A composite's tag, its length or prefix, and its parts, as input for the hash.
struct Sequence<I>(u32, u32, I);

impl<I: Iterator<Item = (u32, u32, u64)> + Clone> Hash for Sequence<I> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
        self.2.clone().for_each(|part| part.hash(state));
    }
}

#[allow(clippy::cast_possible_truncation)] // a request is far smaller than 4 Gi values
fn last(values: &[Value]) -> u32 {
    values.len() as u32 - 1
}
