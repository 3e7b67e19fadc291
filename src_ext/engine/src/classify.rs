//! The classifier: finds the classes of entities that change, by the selectors that the compiler left in the bundle.
//!
//! The compiler classifies all entities at once. Here it is one at a time: selectors that name an entity are found
//! through an index over the entity and its ancestors, and the others are evaluated.

use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};
use ztfast_bundle::{Bundle, ClassRec, LayerRec, SelectorRec, Span};
use ztfast_vm::{EntityRef, Request, Scratch, StoreView, Vm};

/// The indexes by which classes are found.
pub(crate) struct Classifier {
    /// For principals, and for resources.
    sides: [Side; 2],
    /// Indexes, by layer.
    layers: Vec<LayerIndex>,
}

struct Side {
    by_entity: FxHashMap<u32, Vec<u32>>,
    by_ancestor: FxHashMap<u32, Vec<u32>>,
    /// Selectors that name no entity.
    others: Vec<u32>,
    /// Classes that no refinement split, by the hash of type and selectors.
    classes: FxHashMap<u64, u32>,
}

/// A layer's policies by selector: of principals, and of resources.
pub(crate) struct LayerIndex {
    pub plans: [FxHashMap<u32, Vec<u32>>; 2],
}

/// Return the elements of a pool.
fn span<T>(pool: &[T], span: Span) -> &[T] {
    let start = span.start as usize;
    pool.get(start..start.saturating_add(span.len as usize)).unwrap_or_default()
}

fn selectors(bundle: &Bundle, side: usize) -> &[SelectorRec] {
    if side == 0 { bundle.principal_selectors() } else { bundle.resource_selectors() }
}

fn classes(bundle: &Bundle, side: usize) -> &[ClassRec] {
    if side == 0 { bundle.principal_classes() } else { bundle.resource_classes() }
}

/// Return the selectors of a class, as the lists that it consists of.
pub(crate) fn class_selectors(bundle: &Bundle, side: usize, class: u32) -> impl Iterator<Item = &[u32]> {
    let parts = classes(bundle, side)
        .get(class as usize)
        .map_or(&[][..], |class| span(bundle.class_parts(), Span { start: class.parts_start, len: class.parts_len }));
    parts
        .iter()
        .map(|&part| bundle.parts().get(part as usize).map_or(&[][..], |&list| span(bundle.part_selectors(), list)))
}

fn key(ty: u32, selectors: &[u32]) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    (ty, selectors).hash(&mut hasher);
    hasher.finish()
}

impl Classifier {
    pub fn new(bundle: &Bundle) -> Self {
        let side = |number: usize| {
            let mut side = Side {
                by_entity: FxHashMap::default(),
                by_ancestor: FxHashMap::default(),
                others: Vec::new(),
                classes: FxHashMap::default(),
            };
            for (at, selector) in (0_u32..).zip(selectors(bundle, number)).skip(1) {
                if selector.entity != u32::MAX {
                    side.by_entity.entry(selector.entity).or_default().push(at);
                } else if selector.within.len == 0 {
                    side.others.push(at);
                } else {
                    for &above in span(bundle.selector_entities(), selector.within) {
                        side.by_ancestor.entry(above).or_default().push(at);
                    }
                }
            }
            let mut list: Vec<u32> = Vec::new();
            for (at, class) in (0_u32..).zip(classes(bundle, number)).skip(1).filter(|(_, class)| class.split == 0) {
                list.clear();
                class_selectors(bundle, number, at).for_each(|part| list.extend(part));
                list.sort_unstable();
                side.classes.insert(key(class.ty, &list), at);
            }
            side
        };
        let layer = |layer: &LayerRec| {
            let mut plans = [FxHashMap::default(), FxHashMap::default()];
            for (offset, plan) in (0_u32..).zip(span(bundle.plans(), layer.plans)) {
                // No overflow: the span contains this plan.
                let at = layer.plans.start + offset;
                if plan.program != u32::MAX {
                    let [principal, resource]: &mut [FxHashMap<u32, Vec<u32>>; 2] = &mut plans;
                    principal.entry(plan.principal).or_default().push(at);
                    resource.entry(plan.resource).or_default().push(at);
                }
            }
            LayerIndex { plans }
        };
        Self { sides: [side(0), side(1)], layers: bundle.layers().iter().map(layer).collect() }
    }

    /// Return the index of a layer.
    pub fn layer(&self, number: usize) -> Option<&LayerIndex> {
        self.layers.get(number)
    }

    /// Return the selectors that hold for an entity on one side, sorted.
    pub fn selectors(
        &self,
        bundle: &Bundle,
        side: usize,
        entity: u32,
        view: &StoreView<'_>,
        scratch: &mut Scratch,
    ) -> Box<[u32]> {
        let of = &self.sides[side];
        let Some(facts) = view.facts(EntityRef::known(entity)) else { return Box::default() };
        let mut candidates = of.others.clone();
        candidates.extend(of.by_entity.get(&entity).into_iter().flatten());
        for above in facts.ancestors.iter().chain([&entity]) {
            candidates.extend(of.by_ancestor.get(above).into_iter().flatten());
        }
        candidates.sort_unstable();
        candidates.dedup();
        let is = EntityRef::known(entity);
        let request = Request::bare(is, is);
        candidates.retain(|&at| {
            let Some(selector) = selectors(bundle, side).get(at as usize) else { return false };
            let within = |above: &u32| *above == entity || facts.ancestors.binary_search(above).is_ok();
            let named = span(bundle.selector_entities(), selector.within);
            (selector.ty == u32::MAX || selector.ty == facts.ty)
                && (selector.entity == u32::MAX || selector.entity == entity)
                && (named.is_empty() || named.iter().any(within))
                && span(bundle.selector_code(), selector.conjuncts)
                    .iter()
                    .all(|&place| Vm::new(view, &request, scratch).holds(span(bundle.code(), place)) == Ok(true))
        });
        candidates.into()
    }

    /// Find the class of the bundle with this type and these selectors.
    pub fn class(&self, bundle: &Bundle, side: usize, ty: u32, selectors: &[u32]) -> Option<u32> {
        let &class = self.sides[side].classes.get(&key(ty, selectors))?;
        // Hashes may be equal by chance, or by design, so the selectors are compared.
        let mut found: Vec<u32> = class_selectors(bundle, side, class).flatten().copied().collect();
        found.sort_unstable();
        let record = classes(bundle, side).get(class as usize)?;
        (record.ty == ty && found == selectors).then_some(class)
    }
}
