//! Changes: the entities that upserts and removals changed since the bundle was compiled.
//!
//! The maps share their unchanged parts with older versions, so that a change costs its own size, not that of all
//! changes before it. A version is never altered once a snapshot holds it.

use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, GenericHashSet, Vector};
use rustc_hash::FxBuildHasher;
use std::sync::Arc;
use ztfast_bundle::{Bundle, ClassPair};
use ztfast_vm::{ADDED_STRING, EntityRef, Facts, PRESENT, StoreView, Value};

/// The class of an entity whose selectors match no class of the bundle: its policies are found one by one.
pub(crate) const UNCLASSED: u32 = u32::MAX;

/// A map that shares its unchanged parts with older versions.
pub(crate) type Map<K, V> = GenericHashMap<K, V, FxBuildHasher, DefaultSharedPtr>;

/// A set of entities that shares its unchanged parts with older versions.
pub(crate) type Set = GenericHashSet<u32, FxBuildHasher, DefaultSharedPtr>;

/// All changes since the bundle was compiled.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// Changed entities, by number. Numbers from the bundle's count of entities on stand for entities that the bundle
    /// does not name.
    pub entities: Map<u32, Arc<Changed>>,
    /// Numbers of the entities that the bundle does not name, by type and id; and how many there are.
    pub numbers: Map<u32, Map<Arc<str>, u32>>,
    pub added: u32,
    /// Numbers of the texts that the bundle does not hold; and the texts.
    pub strings: Map<Arc<str>, u32>,
    pub texts: Vector<Arc<str>>,
    /// Entities by place, for handles whose entity a change named and the bundle does not.
    pub handles: Map<usize, u32>,
    /// Entities that a change put below an entity. They may have left it since.
    pub children: Map<u32, Set>,
    /// Entities that a change made refer to an entity. They may have ceased to since.
    pub referrers: Map<u32, Set>,
}

/// A changed entity.
#[derive(Clone)]
pub(crate) struct Changed {
    pub ty: u32,
    /// The number of the id, as string values have it.
    pub id: u64,
    /// Whether the store holds the entity.
    pub present: bool,
    /// The entity's values; `None` if they are still the bundle's.
    pub values: Option<Values>,
    /// The parents, sorted.
    pub parents: Box<[u32]>,
    /// The ancestors, sorted.
    pub ancestors: Box<[u32]>,
    /// The classes; [`UNCLASSED`] on a side for which the bundle has none.
    pub classes: ClassPair,
    /// Classes of the bundle that entities of this type have: they say which actions apply.
    pub type_classes: ClassPair,
    /// The selectors that hold, sorted: as a principal, and as a resource.
    pub selectors: [Box<[u32]>; 2],
}

/// An entity's attributes and tags.
#[derive(Clone, Default)]
pub(crate) struct Values {
    /// The parts of sets and records, then the pairs of attributes, then those of tags.
    pub all: Box<[Value]>,
    pub attrs_start: usize,
    pub tags_start: usize,
}

/// Bytes per element besides its content: entries of the maps, whose nodes are half full.
const PER_TEXT: usize = 128;
const PER_ENTITY: usize = size_of::<Changed>() + 128;
const PER_MEMBER: usize = 16;

impl Changes {
    /// Return the number of a text that the bundle does not hold, as string values have it.
    pub fn string(&self, text: &str) -> Option<u64> {
        self.strings.get(text).map(|&number| ADDED_STRING | u64::from(number))
    }

    /// Estimate the bytes that the changes take.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + PER_TEXT).sum();
        let entities = self.entities.values().map(|changed| {
            let lists = changed.parents.len() + changed.ancestors.len();
            let selectors: usize = changed.selectors.iter().map(|list| list.len()).sum();
            let values = changed.values.as_ref().map_or(0, |values| values.all.len());
            PER_ENTITY + (lists + selectors) * size_of::<u32>() + values * size_of::<Value>()
        });
        let sets = self.children.values().chain(self.referrers.values()).map(|set| PER_MEMBER * (set.len() + 1));
        texts + entities.sum::<usize>() + sets.sum::<usize>()
    }
}

impl Changes {
    /// Return the type and id of an entity.
    pub fn uid<'a>(&'a self, bundle: &'a Bundle, entity: u32) -> Option<(&'a str, &'a str)> {
        let (ty, id) = match bundle.entities().get(entity as usize) {
            Some(record) => (record.ty, u64::from(record.id)),
            None => self.entities.get(&entity).map(|changed| (changed.ty, changed.id))?,
        };
        let id = match u32::try_from(id) {
            Ok(number) => bundle.string(number)?,
            Err(_) => self.texts.get(usize::try_from(id & u64::from(u32::MAX)).ok()?)?,
        };
        Some((bundle.string(bundle.types().get(ty as usize)?.name)?, id))
    }
}

/// A bundle with the changes since, as programs read it.
pub(crate) struct Store<'a> {
    pub bundle: &'a Bundle,
    pub changes: &'a Changes,
}

impl Store<'_> {
    /// Return the store as programs read it.
    pub fn view(&self) -> StoreView<'_> {
        StoreView { changes: Some(self), ..*self.bundle.store() }
    }
}

impl ztfast_vm::ChangedEntities for Store<'_> {
    fn entity(&self, index: u32) -> Option<(Facts<'_>, &[Value])> {
        let changed = self.changes.entities.get(&index)?;
        let facts = Facts { ty: changed.ty, ancestors: &changed.ancestors, ..Facts::default() };
        let Some(values) = &changed.values else {
            let own = self.bundle.store().facts(EntityRef::known(index))?;
            return Some((Facts { ancestors: &changed.ancestors, ..own }, &[]));
        };
        let attrs = values.all.get(values.attrs_start..values.tags_start)?;
        Some((Facts { attrs, tags: values.all.get(values.tags_start..)?, ..facts }, &values.all))
    }

    fn text(&self, number: u32) -> Option<&[u8]> {
        self.changes.texts.get(number as usize).map(|text| text.as_bytes())
    }
}

/// Return whether the store holds an entity.
pub(crate) fn is_present(bundle: &Bundle, changes: Option<&Changes>, entity: u32) -> bool {
    match changes.and_then(|changes| changes.entities.get(&entity)) {
        Some(changed) => changed.present,
        None => bundle.entities().get(entity as usize).is_some_and(|record| record.flags & PRESENT != 0),
    }
}
