//! Tables taken from an older bundle with the same store, instead of from the entities.
//!
//! In every table of a bundle, the part that follows from the store alone comes first, so it is cut off there. The
//! indexes that exist only during compilation (of texts, lists and slices) are built again.
//!
//! A base is trusted to be the compiler's own: whether its entities match its hash cannot be known without reading the
//! sources. What can be checked is checked: that its tables fit each other, and that its actions are the schema's.

use super::{Tables, number};
use crate::error::CompileError;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;
use ztfast_bundle::{Bundle, Store};
use ztfast_cedar::ir::{Entity, Model};
use ztfast_vm::{Arena, EntityRec, EntityRef, PARENT, PRESENT, REFERRED, StringsView, Tag, Value};

impl Tables {
    /// Take the tables of an older bundle's store. Return them, and how far they go.
    pub fn of_base(base: &Bundle, model: &Model) -> Result<(Self, Store), CompileError> {
        let store = base.meta().store.clone();
        let tables = Self::taken(base, &store).filter(|tables| tables.fit(model)).ok_or(CompileError::Base)?;
        number(tables.values.len(), "values")?;
        Ok((tables, store))
    }

    fn taken(base: &Bundle, store: &Store) -> Option<Self> {
        let upto = |n: u32| n as usize;
        let string_offsets = base.string_offsets().get(..=upto(store.strings))?.to_vec();
        let string_bytes = base.string_bytes().get(..*string_offsets.last()? as usize)?.to_vec();
        let mut tables = Self {
            types: base.types().get(..upto(store.types))?.to_vec(),
            entities: base.entities().get(..upto(store.entities))?.to_vec(),
            ancestors: base.ancestors().get(..upto(store.parents))?.to_vec(),
            values: base.values().get(..upto(store.values))?.to_vec(),
            string_offsets,
            string_bytes,
            ..Self::default()
        };
        let view = StringsView { offsets: &tables.string_offsets, bytes: &tables.string_bytes };
        let text = |number: u32| std::str::from_utf8(view.get(number)?).ok();
        for number in 0..store.strings {
            let (own, hash) = (text(number)?, xxh3_64(view.get(number)?));
            // Equal texts have equal numbers, so no text may occur twice.
            if tables.strings.find(hash, |&other| view.get(other) == Some(own.as_bytes())).is_some() {
                return None;
            }
            tables.strings.insert_unique(hash, number, |&text| xxh3_64(view.get(text).unwrap_or_default()));
        }
        for (ty, record) in (0_u32..).zip(&mut tables.types) {
            if tables.type_numbers.insert(text(record.name)?.into(), ty).is_some() {
                return None;
            }
            (record.absent, record.enumerated) = (u32::MAX, 0);
        }
        tables.index_slices()?;
        let view = StringsView { offsets: &tables.string_offsets, bytes: &tables.string_bytes };
        for (entity, record) in (0_u32..).zip(&mut tables.entities) {
            view.get(record.id)?;
            if tables.entity_numbers.insert((record.ty, record.id), entity).is_some() {
                return None;
            }
            (record.ancestors_start, record.ancestors_len) = (0, 0);
        }
        Some(tables)
    }

    /// Index the lists and slices of values, so that equal ones are stored once. `None` if the compiler cannot have
    /// written them.
    fn index_slices(&mut self) -> Option<()> {
        let mut flags = vec![0; self.entities.len()];
        let mut seen = vec![0; self.ancestors.len()];
        let mut pending: Vec<(Slice, Kind)> = Vec::new();
        for record in &self.entities {
            self.types.get(record.ty as usize)?;
            let parents = (record.parents_start, record.parents_len);
            let list = self.ancestors.get(parents.0 as usize..parents.0 as usize + parents.1 as usize)?;
            if !list.iter().is_sorted_by(|a, b| a < b) {
                return None;
            }
            list.iter().try_for_each(|&parent| flags.get_mut(parent as usize).map(|flags| *flags |= PARENT))?;
            if parents.1 > 0 && first(&mut seen, parents)? {
                let pool = &self.ancestors;
                let hash = |(start, len): Slice| {
                    pool.get(start as usize..start as usize + len as usize).map(|list| xxh3_64(list.as_bytes()))
                };
                self.lists.insert_unique(hash(parents)?, parents, |&list| hash(list).unwrap_or_default());
            }
            pending.push(((record.attrs_start, record.attrs_len.checked_mul(2)?), Kind::Pairs));
            pending.push(((record.tags_start, record.tags_len.checked_mul(2)?), Kind::Pairs));
        }
        let (mut known, mut kinds) = (vec![0; self.values.len()], vec![0_u8; self.values.len()]);
        let values = &self.values;
        let of = |(start, len): Slice| values.get(start as usize..start as usize + len as usize);
        let hash = |slice: &Slice| of(*slice).map(|slice| xxh3_64(slice.as_bytes())).unwrap_or_default();
        while let Some((slice, kind)) = pending.pop() {
            let values = of(slice)?;
            if slice.1 == 0 {
                continue;
            }
            if first(&mut known, slice)? {
                self.slices.insert_unique(hash(&slice), slice, hash);
            }
            let looked_at = kinds.get_mut(slice.0 as usize)?;
            if *looked_at & kind as u8 != 0 {
                continue;
            }
            *looked_at |= kind as u8;
            match kind {
                // The bits of an address are not a value, and must not be read as one.
                Kind::Bits => continue,
                Kind::Pairs if !are_pairs(values) => return None,
                Kind::Pairs | Kind::Set => {}
            }
            for (at, value) in (slice.0 as usize..).zip(values) {
                match Tag::from_u32(value.tag)? {
                    Tag::Missing => return None,
                    Tag::String if value.payload >= self.string_offsets.len() as u64 - 1 => return None,
                    Tag::Entity => {
                        let entity = EntityRef::from_bits(value.payload);
                        *flags.get_mut(entity.index as usize).filter(|_| entity.foreign == 0)? |= REFERRED;
                    }
                    Tag::Set | Tag::Record | Tag::Ip6 if value.arena() != Arena::Bundle => return None,
                    Tag::Set => {
                        let parts = (value.start(), value.len());
                        if !parts_lie_before(*value, at) || is_sorted(of(parts)?) != value.is_sorted() {
                            return None;
                        }
                        pending.push((parts, Kind::Set));
                    }
                    Tag::Record => {
                        if !parts_lie_before(*value, at) {
                            return None;
                        }
                        pending.push(((value.start(), value.len().checked_mul(2)?), Kind::Pairs));
                    }
                    Tag::Ip6 => pending.push(((value.start(), 1), Kind::Bits)),
                    _ => {}
                }
            }
        }
        let same = |(record, &found): (&EntityRec, &u32)| record.flags & !PRESENT == found;
        self.entities.iter().zip(&flags).all(same).then_some(())
    }

    /// Return whether the types are the schema's, and its actions exist with their groups.
    fn fit(&self, model: &Model) -> bool {
        if !model.types.iter().all(|ty| self.type_numbers.contains_key(&ty.name)) {
            return false;
        }
        let is_action = |entity: &&Entity| &*entity.uid.ty == "Action" || entity.uid.ty.ends_with("::Action");
        model.entities.iter().filter(is_action).all(|entity| {
            let find = |uid: &ztfast_cedar::ir::Uid| {
                let ty = *self.type_numbers.get(&uid.ty)?;
                let id = self.find_string(&uid.id)?;
                self.entity_numbers.get(&(ty, id)).copied()
            };
            let Some(record) = find(&entity.uid).and_then(|at| self.entities.get(at as usize)) else { return false };
            let parents: Option<Vec<u32>> = entity.parents.iter().map(find).collect();
            let Some(mut parents) = parents else { return false };
            parents.sort_unstable();
            parents.dedup();
            let start = record.parents_start as usize;
            record.flags & PRESENT != 0
                && self.ancestors.get(start..start + record.parents_len as usize) == Some(&*parents)
        })
    }

    fn find_string(&self, text: &str) -> Option<u32> {
        let view = StringsView { offsets: &self.string_offsets, bytes: &self.string_bytes };
        self.strings.find(xxh3_64(text.as_bytes()), |&number| view.get(number) == Some(text.as_bytes())).copied()
    }
}

/// A slice of a pool: the start and the length.
type Slice = (u32, u32);

/// The kind of a slice of values.
#[derive(Clone, Copy)]
enum Kind {
    /// Pairs of keys and values.
    Pairs = 1,
    Set = 2,
    /// The bits of an address.
    Bits = 4,
}

/// Return whether a place is met for the first time. `None` if another length begins there: the compiler's slices do
/// not overlap.
fn first(seen: &mut [u32], (start, len): Slice) -> Option<bool> {
    let before = seen.get_mut(start as usize)?;
    if *before == 0 {
        *before = len;
        return Some(true);
    }
    (*before == len).then_some(false)
}

fn are_pairs(values: &[Value]) -> bool {
    let (pairs, rest) = values.as_chunks::<2>();
    rest.is_empty()
        && pairs.iter().all(|[key, _]| key.is(Tag::String))
        && pairs.is_sorted_by(|[a, _], [b, _]| a.payload < b.payload)
}

/// Return whether these are scalars in the order of their keys, as sets of scalars are stored.
fn is_sorted(parts: &[Value]) -> bool {
    parts.iter().all(|value| value.is_scalar()) && parts.is_sorted_by_key(|value| value.key())
}

fn parts_lie_before(value: Value, at: usize) -> bool {
    value.is_empty() || value.parts_before(at).is_some()
}
