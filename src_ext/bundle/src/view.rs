//! The bundle in memory: [`Parts`] to write, [`Bundle`] to read.

use crate::file::{self, OpenError, SaveError, Section};
use crate::index::{find_entity, find_string};
use crate::meta::Meta;
use crate::records::{ActionRec, TypeRec};
use std::ops::Range;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ztfast_program::{Cell, EntityRec, EntityRef, Instr, PatternRec, StoreView, StringsView};

/// Declares the sections once: the owned form, the mapped form, and their order in the file.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $element:ty,)*) => {
        /// A bundle's sections while they are being made.
        #[derive(Debug, Default, Clone)]
        pub struct Parts {
            $($(#[$doc])* pub $name: Vec<$element>,)*
        }

        impl Parts {
            fn sections(&self) -> Vec<Section<'_>> {
                vec![$(Section { bytes: self.$name.as_bytes(), element: size_of::<$element>() },)*]
            }
        }

        /// The sections of a mapped file.
        #[derive(Clone, Copy)]
        struct Views {
            $($name: &'static [$element],)*
        }

        const ELEMENTS: &[usize] = &[$(size_of::<$element>(),)*];

        impl Views {
            /// The sections at these places of `data`.
            fn new(data: &'static [u8], ranges: Vec<Range<usize>>) -> Option<Self> {
                let mut ranges = ranges.into_iter();
                Some(Self { $($name: slice(data, ranges.next()?)?,)* })
            }
        }

        impl Bundle {
            $($(#[$doc])* #[inline] #[must_use] pub fn $name(&self) -> &[$element] { self.views.$name })*
        }
    };
}

sections! {
    /// The bundle's description ([`Meta`]) as JSON.
    meta_json: u8,
    /// What was compiled, as JSON, so that Cedar itself can explain a decision.
    sources_json: u8,
    /// Where each string begins in `string_bytes`, and one past the last.
    string_offsets: u32,
    /// The strings, UTF-8.
    string_bytes: u8,
    /// Index over the strings.
    string_index: u32,
    /// Entity types.
    types: TypeRec,
    /// Entities, by type.
    entities: EntityRec,
    /// Index over the entities.
    entity_index: u32,
    /// Ancestors of entities.
    ancestors: u32,
    /// The value pool.
    cells: Cell,
    /// Patterns of `like`.
    patterns: PatternRec,
    /// Their elements.
    pattern_elems: u32,
    /// Actions.
    actions: ActionRec,
    /// Kinds of the actions' context slots.
    slot_kinds: u32,
    /// Classes of entities, action by action and side by side.
    classes: u32,
    /// Cells of the actions' tables.
    table: u32,
    /// Programs, each in one piece.
    programs: u64,
    /// Code of their conjuncts.
    code: Instr,
}

impl Parts {
    /// The file.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        file::write(&self.sections())
    }
}

/// Where the bytes of a bundle are.
enum Data {
    Mapped(memmap2::Mmap),
    /// In words, because the tables want eight-byte alignment.
    Owned(Box<[u64]>),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(words) => words.as_bytes(),
        }
    }
}

/// A checked bundle. It never changes; [`Self::hash`] names its content.
pub struct Bundle {
    views: Views,
    hash: [u8; 32],
    meta: Meta,
    data: Data,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("hash", &self.hash_hex()).field("bytes", &self.bytes().len()).finish()
    }
}

impl Bundle {
    /// Map a file and check it.
    ///
    /// The mapping is private and read-only. The file must not be changed in place while it is mapped: bundles are
    /// written beside their name and renamed ([`Self::save`]), so that whoever has the old one mapped keeps it.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(OpenError::Length { wanted: 64, found: 0 });
        }
        // SAFETY: a mapping is sound while nobody truncates or writes the file. Bundles are replaced by rename only,
        // by `save`, which leaves the mapped inode alone; that operators do not write to it is documented above.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Self::new(Data::Mapped(map))
    }

    /// Check a file's bytes and keep a copy.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)].into_boxed_slice();
        if !bytes.len().is_multiple_of(8) {
            return Err(OpenError::Length {
                wanted: bytes.len().next_multiple_of(64) as u64,
                found: bytes.len() as u64,
            });
        }
        words.as_mut_bytes().copy_from_slice(bytes);
        Self::new(Data::Owned(words))
    }

    fn new(data: Data) -> Result<Self, OpenError> {
        let damaged = |what| OpenError::Damaged { part: "description".into(), what };
        let (hash, ranges) = file::check(data.bytes(), ELEMENTS)?;
        // SAFETY: the views borrow from `data`, whose bytes lie in a mapping or a box: they do not move with the
        // struct, and live until it is dropped. The 'static lifetime never leaves this module: every accessor gives
        // out a borrow of `self`.
        let bytes: &'static [u8] = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(data.bytes()) };
        let views = Views::new(bytes, ranges).ok_or_else(|| damaged("a section is not aligned"))?;
        let meta = serde_json::from_slice(views.meta_json).map_err(|_| damaged("it cannot be read"))?;
        Ok(Self { views, hash, meta, data })
    }

    /// Write the bundle to a file, atomically: the name has either its old content or the whole new one.
    ///
    /// # Errors
    /// [`SaveError`] names the file and what the system said.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        file::save(path, self.bytes())
    }

    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The hash (BLAKE3) that names the content.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// [`Self::hash`] in hexadecimal digits.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    /// What the bundle says about itself.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The tables that programs read.
    #[inline]
    #[must_use]
    pub fn store(&self) -> StoreView<'_> {
        let views = &self.views;
        StoreView {
            cells: views.cells,
            strings: StringsView { offsets: views.string_offsets, bytes: views.string_bytes },
            entities: views.entities,
            ancestors: views.ancestors,
            patterns: views.patterns,
            pattern_elems: views.pattern_elems,
        }
    }

    /// The number of a text.
    #[must_use]
    pub fn find_string(&self, text: &str) -> Option<u32> {
        let strings = self.store().strings;
        find_string(self.views.string_index, text.as_bytes(), |number| strings.get(number) == Some(text.as_bytes()))
    }

    /// The text of a number.
    #[must_use]
    pub fn string(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.store().strings.get(number)?).ok()
    }

    /// An entity that the bundle names, by the number of its type and its id.
    #[must_use]
    pub fn find_entity(&self, ty: u32, id: &str) -> Option<EntityRef> {
        let id = self.find_string(id)?;
        let is = |number: u32| {
            self.views.entities.get(number as usize).is_some_and(|entity| entity.ty == ty && entity.id == id)
        };
        find_entity(self.views.entity_index, ty, id, is).map(EntityRef::known)
    }
}

/// A section as a slice of its elements.
fn slice<T: FromBytes + Immutable + KnownLayout>(data: &'static [u8], range: Range<usize>) -> Option<&'static [T]> {
    <[T]>::ref_from_bytes(data.get(range)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vec<u8> {
        let offsets = vec![0, 3, 3, 8];
        let bytes = b"abcdefgh".to_vec();
        let string_index = crate::build_string_index(&offsets, &bytes);
        let parts = Parts {
            meta_json: serde_json::to_vec(&Meta::default()).unwrap(),
            string_offsets: offsets,
            string_bytes: bytes,
            string_index,
            cells: vec![Cell::bool(true); 5],
            ..Parts::default()
        };
        parts.write()
    }

    #[test]
    fn what_was_written_is_read() {
        let bundle = Bundle::from_bytes(&small()).unwrap();
        assert_eq!(bundle.cells(), [Cell::bool(true); 5]);
        assert_eq!(bundle.find_string("abc"), Some(0));
        assert_eq!(bundle.find_string(""), Some(1));
        assert_eq!(bundle.string(2), Some("defgh"));
        assert_eq!(bundle.find_string("nothing"), None);
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = small();
        for at in 0..good.len() {
            let mut bad = good.clone();
            for change in 1..=u8::MAX {
                bad[at] = good[at] ^ change;
                assert!(Bundle::from_bytes(&bad).is_err(), "byte {at} changed by {change:#x} went unnoticed");
            }
        }
    }

    #[test]
    fn every_cut_and_padded_file_is_refused() {
        let good = small();
        for length in 0..good.len() {
            assert!(Bundle::from_bytes(&good[..length]).is_err(), "cut to {length} bytes went unnoticed");
        }
        for extra in [1, 8, 64, 4096] {
            let mut bad = good.clone();
            bad.resize(good.len() + extra, 0);
            assert!(Bundle::from_bytes(&bad).is_err(), "{extra} bytes more went unnoticed");
        }
    }

    #[test]
    fn a_saved_bundle_opens_and_replaces_the_old_one_whole() {
        let folder = std::env::temp_dir().join(format!("ztfast-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.ztb");
        let bundle = Bundle::from_bytes(&small()).unwrap();
        bundle.save(&path).unwrap();
        let mapped = Bundle::open(&path).unwrap();
        bundle.save(&path).unwrap();
        assert_eq!(mapped.hash(), bundle.hash());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left behind");
        assert!(Bundle::open(&folder.join("missing.ztb")).unwrap_err().to_string().contains("missing.ztb"));
        assert!(bundle.save(&folder.join("no/such/folder.ztb")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
