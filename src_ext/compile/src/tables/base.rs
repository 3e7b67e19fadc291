//! Tables taken from an older bundle with the same store, instead of from the entities themselves.
//!
//! What follows from the store alone comes first in every table of a bundle, so it is cut off there; and what the tables
//! know of themselves while they are filled (which texts and values there are) is found again.

use super::Tables;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;
use ztfast_bundle::{Bundle, Store};
use ztfast_program::{StringsView, Tag};

impl Tables {
    /// The tables of an older bundle's store, and how far they go. `None` where they do not make sense.
    pub fn of_base(base: &Bundle) -> Option<(Self, Store)> {
        let store = base.meta().store.clone();
        let upto = |n: u32| n as usize;
        let string_offsets = base.string_offsets().get(..=upto(store.strings))?.to_vec();
        let string_bytes = base.string_bytes().get(..*string_offsets.last()? as usize)?.to_vec();
        let mut tables = Self {
            types: base.types().get(..upto(store.types))?.to_vec(),
            entities: base.entities().get(..upto(store.entities))?.to_vec(),
            ancestors: base.ancestors().get(..upto(store.parents))?.to_vec(),
            cells: base.cells().get(..upto(store.cells))?.to_vec(),
            string_offsets,
            string_bytes,
            ..Self::default()
        };
        let view = StringsView { offsets: &tables.string_offsets, bytes: &tables.string_bytes };
        for text in 0..store.strings {
            let hash = xxh3_64(view.get(text)?);
            tables.strings.insert_unique(hash, text, |&text| xxh3_64(view.get(text).unwrap_or_default()));
        }
        for (ty, record) in (0_u32..).zip(&mut tables.types) {
            let name = std::str::from_utf8(view.get(record.name)?).ok()?;
            tables.type_numbers.insert(name.into(), ty);
            (record.absent, record.enumerated) = (u32::MAX, 0);
        }
        tables.know_blocks()?;
        for (entity, record) in (0_u32..).zip(&mut tables.entities) {
            tables.entity_numbers.insert((record.ty, record.id), entity);
            (record.ancestors_start, record.ancestors_len) = (0, 0);
        }
        Some((tables, store))
    }

    /// Note which lists and blocks of values there are, so that equal ones are not kept twice.
    fn know_blocks(&mut self) -> Option<()> {
        let mut seen = vec![false; self.ancestors.len()];
        let mut pending: Vec<(u32, u32)> = Vec::new();
        for record in &self.entities {
            let parents = (record.parents_start, record.parents_len);
            if parents.1 > 0 && !std::mem::replace(seen.get_mut(parents.0 as usize)?, true) {
                let pool = &self.ancestors;
                let of = |(start, len): (u32, u32)| pool.get(start as usize..start as usize + len as usize);
                let hash = |list: (u32, u32)| of(list).map(|list| xxh3_64(list.as_bytes())).unwrap_or_default();
                of(parents)?;
                self.lists.insert_unique(hash(parents), parents, |&list| hash(list));
            }
            pending.push((record.attrs_start, record.attrs_len.checked_mul(2)?));
            pending.push((record.tags_start, record.tags_len.checked_mul(2)?));
        }
        let mut seen = vec![false; self.cells.len()];
        let cells = &self.cells;
        let of = |(start, len): (u32, u32)| cells.get(start as usize..start as usize + len as usize);
        let hash = |block: (u32, u32)| of(block).map(|block| xxh3_64(block.as_bytes())).unwrap_or_default();
        while let Some(block) = pending.pop() {
            if block.1 == 0 || std::mem::replace(seen.get_mut(block.0 as usize)?, true) {
                continue;
            }
            for cell in of(block)? {
                match Tag::from_u32(cell.tag) {
                    Some(Tag::Set) => pending.push((cell.start(), cell.len())),
                    Some(Tag::Record) => pending.push((cell.start(), cell.len().checked_mul(2)?)),
                    Some(Tag::Ip6) => {
                        // The bits of an address are no value of their own, and must not be taken for one.
                        let bits = (cell.start(), 1);
                        if !std::mem::replace(seen.get_mut(bits.0 as usize)?, true) {
                            self.blocks.insert_unique(hash(bits), bits, |&block| hash(block));
                        }
                    }
                    _ => {}
                }
            }
            self.blocks.insert_unique(hash(block), block, |&block| hash(block));
        }
        Some(())
    }
}
