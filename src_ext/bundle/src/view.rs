//! The bundle in memory: checked, and read as slices.

use crate::bounds;
use crate::file::{self, OpenError, Place};
use crate::index::{find_entity, find_string};
use crate::memory::{self, Data};
use crate::meta::Meta;
use crate::records::{
    ActionRec, BitmapRec, ClassPair, ClassRec, LayerRec, NO_MAX_AGE, PlanRec, PolicyRec, RowRec, SelectorRec, Span,
    TypeRec,
};
use crate::save::{SaveError, write_file};
use crate::sections::{ELEMENTS, Parts, Views, for_each_section};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::IntoBytes;
use ztfast_vm::{EntityRec, EntityRef, Instr, PatternRec, StoreView, Value};

/// Declare an accessor for each section, which returns it as a slice.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $element:ty,)*) => {
        impl Bundle {
            $($(#[$doc])* #[inline] #[must_use] pub fn $name(&self) -> &[$element] { self.views.$name })*
        }
    };
}

for_each_section!(accessors);

/// A policy of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyView<'a> {
    /// The id.
    pub id: &'a str,
    /// Whether it is a forbid.
    pub forbid: bool,
    /// The annotations, sorted by key.
    pub annotations: Vec<(&'a str, &'a str)>,
    /// The file that contains the policy, as it was named to the compiler.
    pub file: &'a str,
    /// The policy's first line in the file, from 1.
    pub line: u32,
    /// Why the policy is a fallback, if it is one.
    pub fallback: Option<&'a str>,
    /// What a forbid asks the principal to prove, if it asks for a step-up.
    pub step_up: Option<StepUp<'a>>,
}

/// What a forbid asks the principal to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUp<'a> {
    /// The names of the factors, with spaces between.
    pub factors: &'a str,
    /// How many seconds ago the proof may have been given.
    pub max_age: Option<u64>,
}

/// The number of the section `sources_json`. Decisions never read it.
const SOURCES: usize = 1;
/// Files up to this size are checked completely when they are opened, which takes a few milliseconds.
const SMALL: usize = 8 << 20;

/// A checked bundle. It never changes; [`Self::hash`] names its content.
pub struct Bundle {
    views: Views,
    /// What programs read of the views.
    store: StoreView<'static>,
    hash: [u8; 32],
    meta: Meta,
    places: Vec<Place>,
    /// Whether the sections other than the sources were checked.
    checked: AtomicBool,
    sources_checked: AtomicBool,
    data: Data,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("hash", &self.hash_hex()).field("bytes", &self.bytes().len()).finish()
    }
}

impl Bundle {
    /// Read a file into memory of our own, and check its header and table of sections; a small one is checked
    /// completely.
    ///
    /// [`Self::check`] checks the sections of a large file, and an engine calls it before it decides by the bundle.
    /// Later changes of the file have no effect. Opening takes the time of copying the bytes; a descriptor of sealed
    /// memory ([`Self::share`], through `/proc/self/fd`) is not copied.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let bundle = Self::new(memory::read(path, ELEMENTS)?)?;
        if bundle.bytes().len() <= SMALL {
            bundle.check_all()?;
        }
        Ok(bundle)
    }

    /// Create a bundle from its parts, in memory.
    ///
    /// # Errors
    /// [`OpenError`] if the description is invalid.
    pub fn of(parts: &Parts) -> Result<Self, OpenError> {
        let bundle = Self::new(Data::Owned(parts.write().into_vec()))?;
        bounds::check(&bundle.views, &bundle.meta, bundle.bytes().len())?;
        // The hashes were just computed from these bytes.
        bundle.checked.store(true, Ordering::Release);
        bundle.sources_checked.store(true, Ordering::Release);
        Ok(bundle)
    }

    /// Check a file's bytes and keep a copy.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        if !bytes.len().is_multiple_of(8) {
            return Err(OpenError::Length {
                wanted: bytes.len().next_multiple_of(64) as u64,
                found: bytes.len() as u64,
            });
        }
        words.as_mut_bytes().copy_from_slice(bytes);
        let bundle = Self::new(Data::Owned(words))?;
        bundle.check_all()?;
        Ok(bundle)
    }

    /// Copy the bundle to other memory, which the caller can hold as it likes; in large pages if the system has any.
    ///
    /// # Errors
    /// [`OpenError::Copy`] if there is no memory for it.
    pub fn copy(&self, large_pages: bool) -> Result<Self, OpenError> {
        let bytes = self.bytes().len() as u64;
        let copy = Self::new(self.data.copy(large_pages).map_err(|source| OpenError::Copy { bytes, source })?)?;
        copy.checked.store(self.checked.load(Ordering::Acquire), Ordering::Release);
        copy.sources_checked.store(self.sources_checked.load(Ordering::Acquire), Ordering::Release);
        Ok(copy)
    }

    /// Return a descriptor of sealed memory that holds the file. Processes that receive it and open it share its pages.
    ///
    /// # Errors
    /// [`OpenError::Copy`] if there is no such memory.
    #[cfg(target_os = "linux")]
    pub fn share(&self) -> Result<std::os::fd::OwnedFd, OpenError> {
        self.data.share().map_err(|source| OpenError::Copy { bytes: self.bytes().len() as u64, source })
    }

    /// Check all sections that decisions read, and that they name no more than they have, unless this was done before.
    /// This also brings them into memory.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names the section.
    pub fn check(&self) -> Result<(), OpenError> {
        if !self.checked.load(Ordering::Acquire) {
            for (number, place) in self.places.iter().enumerate().filter(|&(number, _)| number != SOURCES) {
                file::check_section(self.bytes(), number, place)?;
            }
            bounds::check(&self.views, &self.meta, self.bytes().len())?;
            self.checked.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Check every section.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names the section.
    pub fn check_all(&self) -> Result<(), OpenError> {
        self.check()?;
        self.sources().map(|_| ())
    }

    /// Return policies and schema as JSON, and check their section first.
    ///
    /// # Errors
    /// [`OpenError::Damaged`].
    pub fn sources(&self) -> Result<&[u8], OpenError> {
        if !self.sources_checked.load(Ordering::Acquire) {
            if let Some(place) = self.places.get(SOURCES) {
                file::check_section(self.bytes(), SOURCES, place)?;
            }
            self.sources_checked.store(true, Ordering::Release);
        }
        Ok(self.views.sources_json)
    }

    fn new(data: Data) -> Result<Self, OpenError> {
        let damaged = |what| OpenError::Damaged { part: "description".into(), what };
        let (hash, places) = file::check(data.bytes(), data.bytes().len() as u64, ELEMENTS)?;
        // The description is read below, so it is checked now.
        if let Some(place) = places.first() {
            file::check_section(data.bytes(), 0, place)?;
        }
        // SAFETY: the views borrow from `data`, whose bytes lie in a mapping or a vector that is never written. They do
        // not move with the struct, and live until it is dropped. The 'static lifetime never leaves this module: every
        // accessor returns a borrow of `self`.
        let bytes: &'static [u8] = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(data.bytes()) };
        let views = Views::new(bytes, &places).ok_or_else(|| damaged("a section is not aligned"))?;
        let store = views.store();
        let meta = serde_json::from_slice(views.meta_json).map_err(|_| damaged("it cannot be read"))?;
        let (checked, sources_checked) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { views, store, hash, meta, places, checked, sources_checked, data })
    }

    /// Write the bundle to a file, atomically: the name has either its old content or the whole new one
    /// ([`write_file`]).
    ///
    /// # Errors
    /// [`SaveError`] names the file and the system's error.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        write_file(path, self.bytes())
    }

    /// Return the whole file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// Return the hash (BLAKE3) that identifies the content.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Return [`Self::hash`] in hexadecimal digits.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    /// Return the bundle's description.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Return the tables that programs read.
    #[inline]
    #[must_use]
    pub const fn store(&self) -> &StoreView<'_> {
        &self.store
    }

    /// Return a policy by its number.
    #[must_use]
    pub fn policy(&self, number: u32) -> Option<PolicyView<'_>> {
        let record = self.views.policies.get(number as usize)?;
        let start = record.annotations_start as usize;
        let pairs = self.views.annotations.get(start..start.checked_add(record.annotations_len as usize * 2)?)?;
        let pair = |&[key, value]: &[u32; 2]| Some((self.string(key)?, self.string(value)?));
        Some(PolicyView {
            id: self.string(record.id)?,
            forbid: record.forbid != 0,
            annotations: pairs.as_chunks::<2>().0.iter().map(pair).collect::<Option<_>>()?,
            file: self.string(record.file)?,
            line: record.line,
            fallback: self.string(record.fallback),
            step_up: self.step_up(number),
        })
    }

    /// Return what a policy asks the principal to prove; `None` if there is no such policy, or it asks for no step-up.
    #[must_use]
    pub fn step_up(&self, number: u32) -> Option<StepUp<'_>> {
        let record = self.views.policies.get(number as usize)?;
        let factors = self.string(record.step_up.checked_sub(1)?)?;
        Some(StepUp { factors, max_age: Some(record.max_age).filter(|&seconds| seconds != NO_MAX_AGE) })
    }

    /// Return the id of a policy by its number.
    #[inline]
    #[must_use]
    pub fn policy_id(&self, number: u32) -> Option<&str> {
        self.string(self.views.policies.get(number as usize)?.id)
    }

    /// Return the number of a text.
    #[must_use]
    pub fn find_string(&self, text: &str) -> Option<u32> {
        let strings = self.store().strings;
        find_string(self.views.string_index, text.as_bytes(), |number| strings.get(number) == Some(text.as_bytes()))
    }

    /// Return the text with this number.
    #[must_use]
    pub fn string(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.store().strings.get(number)?).ok()
    }

    /// Return an entity that the bundle names, by the number of its type and its id.
    #[must_use]
    pub fn find_entity(&self, ty: u32, id: &str) -> Option<EntityRef> {
        let id = self.find_string(id)?;
        let is = |number: u32| {
            self.views.entities.get(number as usize).is_some_and(|entity| entity.ty == ty && entity.id == id)
        };
        find_entity(self.views.entity_index, ty, id, is).map(EntityRef::known)
    }
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
            values: vec![Value::bool(true); 5],
            ..Parts::default()
        };
        parts.write().as_bytes().to_vec()
    }

    #[test]
    fn what_was_written_is_read() {
        let bundle = Bundle::from_bytes(&small()).unwrap();
        assert_eq!(bundle.values(), [Value::bool(true); 5]);
        assert_eq!(bundle.find_string("abc"), Some(0));
        assert_eq!(bundle.find_string(""), Some(1));
        assert_eq!(bundle.string(2), Some("defgh"));
        assert_eq!(bundle.find_string("nothing"), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri protects no memory")]
    fn a_copy_is_the_same_bundle() {
        let bundle = Bundle::from_bytes(&small()).unwrap();
        for large_pages in [false, true] {
            let copy = bundle.copy(large_pages).unwrap();
            assert_eq!(copy.bytes(), bundle.bytes());
            assert_eq!((copy.hash(), copy.values()), (bundle.hash(), bundle.values()));
            assert_ne!(copy.bytes().as_ptr(), bundle.bytes().as_ptr());
            copy.check_all().unwrap();
        }
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = small();
        for at in (0..good.len()).step_by(if cfg!(miri) { 401 } else { 1 }) {
            let mut bad = good.clone();
            for change in (1..=u8::MAX).step_by(if cfg!(miri) { 255 } else { 1 }) {
                bad[at] = good[at] ^ change;
                assert!(Bundle::from_bytes(&bad).is_err(), "byte {at} changed by {change:#x} went unnoticed");
            }
        }
    }

    #[test]
    fn every_cut_and_padded_file_is_refused() {
        let good = small();
        for length in (0..good.len()).step_by(if cfg!(miri) { 520 } else { 1 }) {
            assert!(Bundle::from_bytes(&good[..length]).is_err(), "cut to {length} bytes went unnoticed");
        }
        for extra in [1, 8, 64, 4096] {
            let mut bad = good.clone();
            bad.resize(good.len() + extra, 0);
            assert!(Bundle::from_bytes(&bad).is_err(), "{extra} bytes more went unnoticed");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no folder")]
    fn a_saved_bundle_opens_and_replaces_the_old_one_whole() {
        let folder = std::env::temp_dir().join(format!("ztfast-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.ztb");
        let bundle = Bundle::from_bytes(&small()).unwrap();
        bundle.save(&path).unwrap();
        let opened = Bundle::open(&path).unwrap();
        bundle.save(&path).unwrap();
        assert_eq!(opened.hash(), bundle.hash());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left behind");
        assert!(Bundle::open(&folder.join("missing.ztb")).unwrap_err().to_string().contains("missing.ztb"));
        assert!(bundle.save(&folder.join("no/such/folder.ztb")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
