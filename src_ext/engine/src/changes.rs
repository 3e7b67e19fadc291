//! Entities that were changed since the bundle was made: what upserts and removals leave.
//!
//! The maps share what did not change with their older versions, so that a change costs its own size, not that of all
//! changes before it. A version is never altered once a snapshot holds it.

use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, GenericHashSet, Vector};
use rustc_hash::FxBuildHasher;
use std::sync::Arc;
use ztfast_bundle::{Bundle, ClassPair};
use ztfast_vm::{ADDED_STRING, EntityRef, Facts, PRESENT, StoreView, Value};

/// The class of an entity for whose selectors the bundle has no class: its policies are found one by one.
pub(crate) const UNCLASSED: u32 = u32::MAX;

/// A map that shares what did not change with its older versions.
pub(crate) type Map<K, V> = GenericHashMap<K, V, FxBuildHasher, DefaultSharedPtr>;

/// Entities, likewise.
pub(crate) type Set = GenericHashSet<u32, FxBuildHasher, DefaultSharedPtr>;

/// Everything that changed.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// By number. Numbers from the bundle's count of entities on are of entities that the bundle does not name.
    pub entities: Map<u32, Arc<Changed>>,
    /// Numbers of entities that the bundle does not name, by type and id, and how many there are.
    pub numbers: Map<u32, Map<Arc<str>, u32>>,
    pub added: u32,
    /// Numbers of texts that the bundle does not hold, and the texts.
    pub strings: Map<Arc<str>, u32>,
    pub texts: Vector<Arc<str>>,
    /// Places of handles whose entity the bundle does not name, but a change did.
    pub handles: Map<usize, u32>,
    /// Entities that a change put below an entity; they may have left it since.
    pub children: Map<u32, Set>,
    /// Entities that a change let refer to an entity; they may have ceased to since.
    pub referrers: Map<u32, Set>,
}

/// A changed entity.
#[derive(Clone)]
pub(crate) struct Changed {
    pub ty: u32,
    /// The number of its id, as string values have it.
    pub id: u64,
    /// Whether the store holds it.
    pub present: bool,
    /// Its own values; none where they are still the bundle's.
    pub values: Option<Values>,
    /// Sorted.
    pub parents: Box<[u32]>,
    /// Sorted.
    pub ancestors: Box<[u32]>,
    /// Its classes; [`UNCLASSED`] where the bundle has none.
    pub classes: ClassPair,
    /// A class of the bundle's that entities of its type have: it tells which actions apply.
    pub like: ClassPair,
    /// Selectors that hold, sorted: of principals, and of resources.
    pub selectors: [Box<[u32]>; 2],
}

/// Attributes and tags.
#[derive(Clone, Default)]
pub(crate) struct Values {
    /// Parts of sets and records, then the pairs of attributes, then those of tags.
    pub values: Box<[Value]>,
    pub attrs_start: usize,
    pub tags_start: usize,
}

/// What an element takes beside its content: places in the maps, whose nodes are half full.
const PER_TEXT: usize = 128;
const PER_ENTITY: usize = size_of::<Changed>() + 128;
const PER_MEMBER: usize = 16;

impl Changes {
    /// A text that the bundle does not hold: its number, as string values have it.
    pub fn string(&self, text: &str) -> Option<u64> {
        self.strings.get(text).map(|&number| ADDED_STRING | u64::from(number))
    }

    /// How many bytes all this takes, about.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + PER_TEXT).sum();
        let entities = self.entities.values().map(|changed| {
            let lists = changed.parents.len() + changed.ancestors.len();
            let selectors: usize = changed.selectors.iter().map(|held| held.len()).sum();
            let values = changed.values.as_ref().map_or(0, |values| values.values.len());
            PER_ENTITY + (lists + selectors) * size_of::<u32>() + values * size_of::<Value>()
        });
        let sets = self.children.values().chain(self.referrers.values()).map(|set| PER_MEMBER * (set.len() + 1));
        texts + entities.sum::<usize>() + sets.sum::<usize>()
    }
}

impl Changes {
    /// The type and id of an entity.
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

/// A bundle with what changed since, as programs read it.
pub(crate) struct Store<'a> {
    pub bundle: &'a Bundle,
    pub changes: &'a Changes,
}

impl Store<'_> {
    /// What programs read.
    pub fn view(&self) -> StoreView<'_> {
        StoreView { changes: Some(self), ..self.bundle.store() }
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
        let attrs = values.values.get(values.attrs_start..values.tags_start)?;
        Some((Facts { attrs, tags: values.values.get(values.tags_start..)?, ..facts }, &values.values))
    }

    fn text(&self, number: u32) -> Option<&[u8]> {
        self.changes.texts.get(number as usize).map(|text| text.as_bytes())
    }
}

/// Whether the store holds an entity.
pub(crate) fn is_present(bundle: &Bundle, changes: Option<&Changes>, entity: u32) -> bool {
    match changes.and_then(|changes| changes.entities.get(&entity)) {
        Some(changed) => changed.present,
        None => bundle.entities().get(entity as usize).is_some_and(|record| record.flags & PRESENT != 0),
    }
}
