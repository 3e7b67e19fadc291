//! A request that brings its context along: what `evaluate`, `decide` and `explain` build from a dict.

use crate::handles::OwnedUid;
use crate::snapshot::{Resolved, Snapshot, owned_uid};
use ztfast_program::{Arena, Cell, EntityRef, FOREIGN_STRING, Request, StringsView, Tag};

/// Foreign entities of a request are numbered from here, above all handles.
const FIRST_FOREIGN: u32 = 1 << 30;

/// A request's own values.
#[derive(Debug, Default)]
pub struct OwnedRequest {
    values: Vec<i64>,
    positions: Vec<u16>,
    cells: Vec<Cell>,
    text_offsets: Vec<u32>,
    text_bytes: Vec<u8>,
    foreign: Vec<OwnedUid>,
}

impl OwnedRequest {
    pub(crate) fn view<'a>(&'a self, principal: EntityRef, resource: EntityRef, kinds: &'a [u32]) -> Request<'a> {
        Request {
            principal,
            resource,
            values: &self.values,
            positions: &self.positions,
            kinds,
            cells: &self.cells,
            strings: StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes },
        }
    }

    /// The uid of an entity of this request.
    #[must_use]
    pub fn uid(&self, snapshot: &Snapshot, entity: EntityRef) -> Option<(String, String)> {
        owned_uid(snapshot, entity, |number| self.foreign_uid(number))
    }

    pub(crate) fn foreign_uid(&self, number: u32) -> Option<OwnedUid> {
        self.foreign.get(number.checked_sub(FIRST_FOREIGN)? as usize).cloned()
    }
}

/// Builds a request for one snapshot.
pub struct RequestBuilder<'s> {
    snapshot: &'s Snapshot,
    request: OwnedRequest,
    /// Entities of handles that the bundle lacks: the same uid elsewhere in the request must be the same entity.
    known: Vec<EntityRef>,
}

impl<'s> RequestBuilder<'s> {
    /// A builder for an action with this many context slots.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, slots: usize) -> Self {
        let request = OwnedRequest {
            values: vec![0; slots],
            positions: vec![u16::MAX; slots],
            text_offsets: vec![0],
            ..OwnedRequest::default()
        };
        Self { snapshot, request, known: Vec::new() }
    }

    /// Say which entity a handle of the request is. All handles come before the first uid.
    pub fn know(&mut self, entity: EntityRef) {
        if entity.foreign != 0 {
            self.known.push(entity);
        }
    }

    /// The entity of a uid; `None` where the bundle can have no such entity.
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
        let known = self.request.foreign.iter().position(|uid| (&*uid.0, &*uid.1) == (ty, id));
        let place = known.unwrap_or_else(|| {
            self.request.foreign.push((ty.into(), id.into()));
            self.request.foreign.len() - 1
        });
        Some(EntityRef { index, foreign: FIRST_FOREIGN + u32::try_from(place).ok()? })
    }

    /// The cell of a text.
    pub fn text(&mut self, text: &str) -> Cell {
        if let Some(known) = self.snapshot.string(text) {
            return Cell::string(known);
        }
        let request = &mut self.request;
        let (offsets, bytes) = (&mut request.text_offsets, &mut request.text_bytes);
        let known = offsets.windows(2).position(|w| &bytes[w[0] as usize..w[1] as usize] == text.as_bytes());
        let place = known.unwrap_or_else(|| {
            bytes.extend_from_slice(text.as_bytes());
            offsets.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            offsets.len() - 2
        });
        Cell::string(FOREIGN_STRING | place as u64)
    }

    /// The cell of an IPv6 address.
    pub fn ip6(&mut self, bits: u128, prefix: u8) -> Cell {
        self.request.cells.push(Cell::wide(bits));
        Cell::ip6(Arena::Request, last(&self.request.cells), prefix)
    }

    /// The cell of a set of these elements.
    pub fn set(&mut self, mut elements: Vec<Cell>) -> Cell {
        let sorted = elements.iter().all(|cell| cell.is_scalar());
        if sorted {
            elements.sort_unstable_by_key(|cell| cell.key());
            elements.dedup();
        } else {
            let mut distinct: Vec<Cell> = Vec::with_capacity(elements.len());
            for element in elements {
                if !distinct.iter().any(|&other| self.equal(element, other)) {
                    distinct.push(element);
                }
            }
            elements = distinct;
        }
        let start = self.append(&elements);
        Cell::set(Arena::Request, start, u32::try_from(elements.len()).unwrap_or(u32::MAX), sorted)
    }

    /// The cell of a record; `None` where a key is no attribute that the bundle names.
    pub fn record(&mut self, fields: &[(&str, Cell)]) -> Option<Cell> {
        let mut pairs: Vec<(u64, Cell)> = Vec::with_capacity(fields.len());
        for &(key, value) in fields {
            pairs.push((self.snapshot.string(key)?, value));
        }
        pairs.sort_unstable_by_key(|&(key, _)| key);
        let cells: Vec<Cell> = pairs.iter().flat_map(|&(key, value)| [Cell::string(key), value]).collect();
        let start = self.append(&cells);
        Some(Cell::record(Arena::Request, start, u32::try_from(pairs.len()).ok()?))
    }

    /// Put a value into a context slot.
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    pub fn put(&mut self, slot: u32, cell: Cell) {
        let number = if cell.is_scalar() && !cell.is(Tag::Ip4) {
            cell.as_i64()
        } else {
            self.request.cells.push(cell);
            i64::from(last(&self.request.cells))
        };
        let request = &mut self.request;
        let (values, positions) = (&mut request.values, &mut request.positions);
        if let (Some(value), Some(position)) = (values.get_mut(slot as usize), positions.get_mut(slot as usize)) {
            *value = number;
            *position = u16::try_from(slot).unwrap_or(u16::MAX);
        }
    }

    /// The request.
    #[must_use]
    pub fn finish(self) -> OwnedRequest {
        self.request
    }

    fn append(&mut self, cells: &[Cell]) -> u32 {
        let start = u32::try_from(self.request.cells.len()).unwrap_or(u32::MAX);
        self.request.cells.extend_from_slice(cells);
        start
    }

    /// Equality of two values of this request. (Both lie in its own arena: nothing else has been built.)
    fn equal(&self, a: Cell, b: Cell) -> bool {
        let part =
            |cell: Cell, at: u32| self.request.cells.get((cell.start() + at) as usize).copied().unwrap_or_default();
        if a.tag != b.tag || a.is_scalar() {
            return a == b;
        }
        if a.len() != b.len() {
            return false;
        }
        if a.is(Tag::Ip6) {
            part(a, 0) == part(b, 0)
        } else if a.is(Tag::Set) {
            (0..a.len()).all(|i| (0..b.len()).any(|j| self.equal(part(a, i), part(b, j))))
        } else {
            (0..2 * a.len()).all(|i| self.equal(part(a, i), part(b, i)))
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // a request is far smaller than 4 Gi values
fn last(cells: &[Cell]) -> u32 {
    cells.len() as u32 - 1
}
