//! The reverse of a bundle's hierarchy and references: children by parent, and referrers by entity. Through them a
//! change finds the entities that it concerns.

use ztfast_bundle::Bundle;
use ztfast_vm::{EntityRec, EntityRef, Tag, Value};

/// The nesting of values that is followed. JSON does not nest deeper.
const MAX_NESTING: u32 = 128;

/// The children and the referrers of each entity.
pub(crate) struct Reverse {
    pub children: Lists,
    pub referrers: Lists,
}

/// A list of entities for each entity.
pub(crate) struct Lists {
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Lists {
    /// Build the lists. `each` calls back for each pair of an entity and an element of its list, and runs twice.
    fn new(entities: usize, each: impl Fn(&mut dyn FnMut(u32, u32))) -> Self {
        let mut starts = vec![0_u32; entities + 2];
        each(&mut |of, _| {
            if let Some(count) = starts.get_mut(of as usize + 2) {
                *count += 1;
            }
        });
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut all = vec![0_u32; starts.last().map_or(0, |&all| all as usize)];
        each(&mut |of, entity| {
            if let Some(next) = starts.get_mut(of as usize + 1) {
                if let Some(place) = all.get_mut(*next as usize) {
                    *place = entity;
                }
                *next += 1;
            }
        });
        Self { starts, all }
    }

    pub fn get(&self, of: u32) -> &[u32] {
        let span = |at: usize| self.starts.get(at).map(|&start| start as usize);
        match (span(of as usize), span(of as usize + 1)) {
            (Some(start), Some(end)) => self.all.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }
}

impl Reverse {
    pub fn new(bundle: &Bundle) -> Self {
        let entities = bundle.entities();
        let numbered = || (0_u32..).zip(entities);
        let children = Lists::new(entities.len(), |add| {
            for (number, record) in numbered() {
                for &parent in parents(bundle, record) {
                    add(parent, number);
                }
            }
        });
        let referrers = Lists::new(entities.len(), |add| {
            if bundle.meta().reach == 0 {
                return;
            }
            for (number, record) in numbered() {
                for (start, len) in [(record.attrs_start, record.attrs_len), (record.tags_start, record.tags_len)] {
                    let end = (start as usize + len as usize * 2).min(bundle.values().len());
                    for at in (start as usize + 1..end).step_by(2) {
                        referred(bundle.values(), at, MAX_NESTING, &mut |entity| add(entity, number));
                    }
                }
            }
        });
        Self { children, referrers }
    }
}

/// Return the parents of an entity.
pub(crate) fn parents<'b>(bundle: &'b Bundle, record: &EntityRec) -> &'b [u32] {
    let start = record.parents_start as usize;
    bundle.ancestors().get(start..start + record.parents_len as usize).unwrap_or_default()
}

/// Visit the entities in a value. The steps are bounded, because they were counted when the bundle was checked, and no
/// value nests deeper than the compiler nests.
fn referred(values: &[Value], at: usize, nesting: u32, add: &mut dyn FnMut(u32)) {
    let Some(value) = values.get(at) else { return };
    if value.is(Tag::Entity) {
        add(EntityRef::from_bits(value.payload).index);
    } else if let Some((start, end)) = value.parts_before(at)
        && let Some(below) = nesting.checked_sub(1)
    {
        (start..end).for_each(|part| referred(values, part, below, add));
    }
}
