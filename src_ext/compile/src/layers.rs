//! Layers: an action's policies in groups, each with classes of its own.
//!
//! All policies together make the decision, so they may be evaluated in groups: each group, a *layer*, has its own
//! classes and table, and the strongest result counts. This matters because classes multiply. Take a firm whose desks
//! trade segments, and whose global rules look at sector, region and size. In one table it has desks x regions classes
//! of principals and segments x sectors x sizes of resources, but in two layers only their sum.

use crate::classes::Classes;
use crate::plan::{Plan, Plans, Selectors, Side};
use rustc_hash::FxHashMap;
use ztfast_cedar::ir::Action;
use ztfast_vm::EntityRef;

use crate::tables::Tables;

/// The most cells for which no split is tried: such a table stays in the nearest caches.
const SMALL: u64 = 1 << 16;

/// Some policies of an action, and both sides' classes for them.
pub(crate) struct Layer {
    pub plans: Vec<Plan>,
    pub principal: LayerSide,
    pub resource: LayerSide,
}

/// One side's classes for a layer. Class 0 means that the action does not apply.
#[derive(Clone)]
pub(crate) struct LayerSide {
    /// The layer's class for each class of entities.
    pub of_class: Vec<u32>,
    /// For each class of the layer, the selectors that hold, sorted, without selector 0.
    pub selectors: Vec<Vec<u32>>,
    /// One entity of each class of the layer.
    pub samples: Vec<EntityRef>,
    /// The layer's class for each entity, if the layer's classes are finer than those of the entities.
    pub column: Option<Vec<u32>>,
}

impl LayerSide {
    /// Return the number of classes without class 0.
    pub fn count(&self) -> u64 {
        self.samples.len() as u64 - 1
    }
}

impl Layer {
    pub fn pairs(&self) -> u64 {
        (self.principal.count() + 1) * (self.resource.count() + 1)
    }
}

/// Group an action's policies into layers. There is one layer, unless several are much smaller or resolve more.
pub(crate) fn layers(
    action: &Action,
    plans: &[Plan],
    all: &Plans,
    principal: &Classes,
    resource: &Classes,
    tables: &Tables,
    split: bool,
) -> Vec<Layer> {
    let of = |plans: &[Plan]| layer(action, plans.to_vec(), all, principal, resource, tables);
    let whole = of(plans);
    if whole.pairs() <= SMALL && !split {
        return vec![whole];
    }
    let names = |selectors: &Selectors, number: u32| {
        let selector = &selectors.all[number as usize];
        selector.entity.is_some() || !selector.within.is_empty()
    };
    let names_entities = |plan: &Plan| names(&all.principal, plan.principal) || names(&all.resource, plan.resource);
    // Conjuncts over both sides are resolved where classes are few. Among the classes of policies that name desks and
    // books they would stay for decision time; in a layer of their own, such rules of the firm have few classes.
    let reads_both = |&at: &u32| {
        let reads = &all.conjuncts[at as usize].reads;
        reads.principal && reads.resource
    };
    // Each layer keeps the order of the plans, so forbids come first.
    let (coupled, rest): (Vec<Plan>, Vec<Plan>) =
        plans.iter().copied().partition(|plan| !names_entities(plan) && all.residual(plan).iter().any(reads_both));
    let own = (!coupled.is_empty() && !rest.is_empty()).then(|| of(&coupled)).filter(|own| own.pairs() <= SMALL);
    let (rest, whole) = if own.is_some() { (rest.clone(), of(&rest)) } else { (plans.to_vec(), whole) };
    let (scoped, global): (Vec<Plan>, Vec<Plan>) = rest.iter().copied().partition(names_entities);
    let mut found = if scoped.is_empty() || global.is_empty() {
        vec![whole]
    } else {
        let parts = [of(&scoped), of(&global)];
        let smaller = parts.iter().map(Layer::pairs).sum::<u64>() < whole.pairs() / 2;
        if smaller || split { parts.into() } else { vec![whole] }
    };
    // This layer comes first, because a denial by such a rule ends the decision.
    found.splice(0..0, own);
    found
}

fn layer(
    action: &Action,
    plans: Vec<Plan>,
    all: &Plans,
    principal: &Classes,
    resource: &Classes,
    tables: &Tables,
) -> Layer {
    let of_side = |side: Side, classes: &Classes| {
        let (selectors, types) = match side {
            Side::Principal => (&all.principal, &action.principals),
            Side::Resource => (&all.resource, &action.resources),
        };
        let mut used = vec![false; selectors.all.len()];
        for plan in &plans {
            used[if side == Side::Principal { plan.principal } else { plan.resource } as usize] = true;
        }
        used[0] = false;
        let mut wanted = vec![false; tables.types.len()];
        for ty in types {
            if let Some(wanted) = wanted.get_mut(tables.type_number(ty) as usize) {
                *wanted = true;
            }
        }
        project(classes, &used, &wanted)
    };
    let (principal, resource) = (of_side(Side::Principal, principal), of_side(Side::Resource, resource));
    Layer { plans, principal, resource }
}

/// Merge the classes that these selectors do not tell apart.
fn project(classes: &Classes, used: &[bool], types: &[bool]) -> LayerSide {
    let mut lists: Vec<Vec<u32>> = vec![Vec::new()];
    let mut numbers: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
    numbers.insert(Vec::new(), 0);
    let intern = |list: Vec<u32>, lists: &mut Vec<Vec<u32>>, numbers: &mut FxHashMap<Vec<u32>, u32>| {
        *numbers.entry(list).or_insert_with_key(|list| {
            lists.push(list.clone());
            u32::try_from(lists.len() - 1).expect("lists are no more than parts")
        })
    };
    let of_part: Vec<u32> = classes
        .parts
        .iter()
        .map(|part| {
            let list = part.iter().copied().filter(|&selector| used[selector as usize]).collect();
            intern(list, &mut lists, &mut numbers)
        })
        .collect();
    let mut side = LayerSide {
        of_class: vec![0; classes.all.len()],
        selectors: vec![Vec::new()],
        samples: vec![EntityRef::known(0)],
        column: None,
    };
    let mut known: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
    for (number, class) in classes.all.iter().enumerate() {
        if !types.get(class.ty as usize).is_some_and(|&wanted| wanted) {
            continue;
        }
        let mut key: Vec<u32> =
            class.parts.iter().map(|&part| of_part[part as usize]).filter(|&list| list != 0).collect();
        key.sort_unstable();
        side.of_class[number] = *known.entry(key).or_insert_with_key(|key| {
            let mut selectors: Vec<u32> = key.iter().flat_map(|&list| lists[list as usize].iter().copied()).collect();
            selectors.sort_unstable();
            selectors.dedup();
            side.selectors.push(selectors);
            side.samples.push(class.sample);
            u32::try_from(side.samples.len() - 1).expect("classes are no more than entities")
        });
    }
    side
}
