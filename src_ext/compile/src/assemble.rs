//! The whole compilation, step by step, and the bundle's description.

use crate::classes::{Classes, classes};
use crate::erring::find;
use crate::error::{CompileError, number};
use crate::forms::lay_out;
use crate::layers::{LayerSide, layers};
use crate::layout::Layout;
use crate::live::reads;
use crate::options::{Options, Progress};
use crate::plan::{Plans, Selectors, Side, policies, reach};
use crate::programs::{Programs, Resolved};
use crate::refine::{one_sided, refine};
use crate::tables::Tables;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use ztfast_bundle::{
    ActionMeta, ActionRec, ActionStats, Bundle, ClassPair, ClassRec, Form, LayerRec, Memory, Meta, NO_MAX_AGE, Parts,
    PolicyRec, Scopes, SelectorRec, Span, Store,
};
use ztfast_cedar::ir::{Action, Effect, Model};
use ztfast_cedar::{Erring, Sources};
use ztfast_vm::EntityRef;

pub(crate) fn assemble(
    mut model: Model,
    sources: &Sources,
    options: &Options,
    base: Option<&Bundle>,
    errors: Option<&mut Vec<Erring>>,
    progress: Progress<'_>,
) -> Result<Parts, CompileError> {
    let entities = count(model.entities.len());
    let base = base.filter(|base| base.meta().store.hash == options.store);
    let (mut tables, store) = match base {
        // The model may then lack its entities, so compilation cannot go on without the base.
        Some(base) => Tables::of_base(base, &model)?,
        None => Tables::of_entities(&mut model, &mut |done| progress("entities", count(done), entities))?,
    };
    tables.add_policies(&model)?;
    let store = Store { hash: options.store.clone(), ..store };
    progress("policies", 0, 1);
    let mut plans = Plans::new(&model, options, &mut tables);
    let layouts: Vec<Layout> = model.actions.iter().map(|action| Layout::new(&action.context, &mut tables)).collect();
    if let Some((action, _)) = model.actions.iter().zip(&layouts).find(|(_, layout)| layout.is_too_deep()) {
        return Err(CompileError::Nested { action: action.uid.to_string() });
    }
    let of_actions: Vec<_> = model.actions.iter().map(|action| plans.of_action(&model, action, &mut tables)).collect();
    let plans = plans;
    let all = count(tables.entities.len());
    let mut sort = |side, name: &str, types: fn(&Action) -> &BTreeSet<Arc<str>>| {
        let mut wanted = vec![false; tables.types.len()];
        for ty in model.actions.iter().flat_map(types) {
            if let Some(wanted) = wanted.get_mut(tables.type_number(ty) as usize) {
                *wanted = true;
            }
        }
        classes(side, &wanted, &plans, &mut tables, &mut |done| progress(name, count(done), all))
    };
    let principal = sort(Side::Principal, "classes of principals", |action| &action.principals);
    let resource = sort(Side::Resource, "classes of resources", |action| &action.resources);
    let mut parts = Parts::default();
    let mut meta = Meta {
        writer: env!("CARGO_PKG_VERSION").to_owned(),
        strict: options.strict,
        strict_errors: options.strict_errors,
        store,
        exempt: options.exempt.clone(),
        scopes: scopes(&model),
        ..Meta::default()
    };
    let mut finer = Finer::new(&principal, &resource);
    let mut made: Vec<(LayerRec, LayerSide, LayerSide)> = Vec::new();
    for (at, action) in model.actions.iter().enumerate() {
        progress(&action.uid.to_string(), count(at), count(model.actions.len()));
        let layout = &layouts[at];
        let mut stats = ActionStats {
            action: action.uid.to_string(),
            policies: count(policies(&of_actions[at])),
            ..ActionStats::default()
        };
        let mut programs = Programs::new(action.uid.to_string(), layout, &plans);
        let first = made.len();
        let cells = parts.table.len();
        for mut layer in layers(action, &of_actions[at], &plans, &principal, &resource, &tables, options.split) {
            let unrefined = (layer.principal.clone(), layer.resource.clone());
            let (mut resolved, mut split) = (Resolved::default(), None);
            if options.form != Some(Form::Sets) {
                let mut refined = refine(&mut layer, &plans, &principal, &resource, &mut tables);
                split = Some(std::mem::take(&mut refined.split));
                resolved = Resolved::new(refined, &plans, &mut tables);
            }
            let unrefined = (!resolved.is_nothing()).then_some(unrefined);
            let (record, layer_stats) = lay_out(
                &mut layer,
                unrefined.as_ref(),
                &resolved,
                options.form,
                &mut programs,
                &mut tables,
                &mut parts,
            )?;
            let is_sets = record.form == Form::Sets as u32;
            if let Some(split) = split.filter(|_| !is_sets) {
                finer.add(&split);
            }
            stats.principal_classes += layer_stats.principals;
            stats.resource_classes += layer_stats.resources;
            stats.tabulated += if is_sets { 0 } else { count(resolved.tabulated()) };
            stats.layers.push(layer_stats);
            made.push((record, layer.principal, layer.resource));
        }
        stats.cells = count(parts.table.len() - cells);
        stats.programs = programs.count();
        stats.residual = programs.residual();
        let slots_start = number(parts.slot_kinds.len(), "context slots")?;
        parts.slot_kinds.extend(layout.kinds.iter().map(|&kind| kind as u32));
        parts.actions.push(ActionRec {
            entity: tables.entity(&action.uid).index,
            slots: Span { start: slots_start, len: number(layout.kinds.len(), "context slots")? },
            layers: Span { start: number(first, "layers")?, len: number(made.len() - first, "layers")? },
            step_up: of_actions[at].iter().any(|plan| model.policies[plan.policy as usize].step_up.is_some()).into(),
        });
        meta.stats.actions.push(stats);
        meta.actions.push(ActionMeta {
            ty: action.uid.ty.to_string(),
            id: action.uid.id.to_string(),
            principals: action.principals.iter().map(ToString::to_string).collect(),
            resources: action.resources.iter().map(ToString::to_string).collect(),
            context: layout.fields.clone(),
            live: action.live.then(|| {
                let policies = of_actions[at].iter().map(|plan| &model.policies[plan.policy as usize]);
                reads(policies.flat_map(|policy| &policy.conjuncts), &layout.fields)
            }),
        });
    }
    progress("bundle", 0, 1);
    write_selectors(&plans, &mut parts)?;
    finer.write(&principal, &resource, made, &mut parts)?;
    write_policies(&model, sources, &plans, &mut tables, &mut parts)?;
    // Classes depend on conditions of one side or both, and on what conditions of the request read of either side.
    let resolved = plans.conjuncts.iter().filter(|conjunct| !conjunct.unresolved);
    meta.reach = resolved
        .map(|conjunct| {
            if conjunct.reads.context {
                one_sided(&conjunct.expr).iter().map(|(_, part)| reach(part)).max().unwrap_or(0)
            } else {
                reach(&conjunct.expr)
            }
        })
        .max()
        .unwrap_or(0);
    meta.stats.scratch = (count(tables.scratch.0), count(tables.scratch.1));
    describe(&model, &plans, &tables, &parts, &mut meta);
    if let Some(errors) = errors {
        *errors = find(&model, options, &mut tables);
    }
    tables.finish(&mut parts);
    let texts = Sources { entities: None, ..sources.clone() };
    parts.sources_json = json(&texts);
    measure(&mut meta, &parts);
    parts.meta_json = json(&meta);
    progress("bundle", 1, 1);
    Ok(parts)
}

/// Return the types of principals and of resources, with all that these may be in.
fn scopes(model: &Model) -> Scopes {
    let with_above = |side: fn(&Action) -> &BTreeSet<Arc<str>>| {
        let own: BTreeSet<&str> = model.actions.iter().flat_map(side).map(|name| &**name).collect();
        let above = model.types.iter().filter(|ty| own.contains(&*ty.name)).flat_map(|ty| &ty.above);
        let all: BTreeSet<&str> = own.iter().copied().chain(above.map(|name| &**name)).collect();
        all.into_iter().map(str::to_owned).collect()
    };
    Scopes { principals: with_above(|action| &action.principals), resources: with_above(|action| &action.resources) }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Serialize plain data as JSON.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("data without maps of other keys than texts becomes JSON")
}

/// The bundle's classes: those that selectors make, split further as the layers need.
struct Finer {
    /// For each class that selectors make, whether a layer splits it.
    split: [Vec<bool>; 2],
}

impl Finer {
    fn new(principal: &Classes, resource: &Classes) -> Self {
        Self { split: [vec![false; principal.all.len()], vec![false; resource.all.len()]] }
    }

    fn add(&mut self, split: &[Vec<bool>; 2]) {
        for (known, new) in self.split.iter_mut().zip(split) {
            for (known, &new) in known.iter_mut().zip(new) {
                *known |= new;
            }
        }
    }

    /// Write the classes, and for each layer the map to its own classes.
    fn write(
        &self,
        principal: &Classes,
        resource: &Classes,
        made: Vec<(LayerRec, LayerSide, LayerSide)>,
        parts: &mut Parts,
    ) -> Result<(), CompileError> {
        let (mut layers, mut principals, mut resources) = (Vec::new(), Vec::new(), Vec::new());
        for (layer, principal, resource) in made {
            layers.push(layer);
            principals.push(principal);
            resources.push(resource);
        }
        let of_principals = self.side(0, principal, &principals, parts)?;
        let of_resources = self.side(1, resource, &resources, parts)?;
        parts.classes = of_principals
            .iter()
            .zip(&of_resources)
            .map(|(&principal, &resource)| ClassPair { principal, resource })
            .collect();
        // The maps of principals come first, then those of resources; each layer has one entry per class.
        let (of_side, of_other) = (parts.principal_classes.len(), parts.resource_classes.len());
        let second = layers.len() * of_side;
        for (at, layer) in layers.iter_mut().enumerate() {
            layer.principal_map = number(at * of_side, "classes of layers")?;
            layer.resource_map = number(second + at * of_other, "classes of layers")?;
        }
        parts.layers = layers;
        Ok(())
    }

    /// Write one side. Return the class of each entity.
    fn side(
        &self,
        side: usize,
        classes: &Classes,
        layers: &[LayerSide],
        parts: &mut Parts,
    ) -> Result<Vec<u32>, CompileError> {
        let columns: Vec<&Vec<u32>> = layers.iter().filter_map(|layer| layer.column.as_ref()).collect();
        // For each class of the bundle: the class that selectors make, and one of its entities.
        let mut all: Vec<(u32, EntityRef)> = vec![(0, EntityRef::known(0))];
        let of_entity = if columns.is_empty() {
            all.extend((0_u32..).zip(&classes.all).skip(1).map(|(number, class)| (number, class.sample)));
            classes.of_entity.clone()
        } else {
            let mut numbers: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
            let mut of_entity = vec![0; classes.of_entity.len()];
            for (entity, &class) in classes.of_entity.iter().enumerate().filter(|&(_, &class)| class != 0) {
                let key = std::iter::once(class).chain(columns.iter().map(|column| column[entity])).collect();
                of_entity[entity] = *numbers.entry(key).or_insert_with(|| {
                    // Only the number matters: layers look up their columns by it.
                    all.push((class, EntityRef::known(u32::try_from(entity).unwrap_or(u32::MAX))));
                    u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
                });
            }
            of_entity
        };
        for layer in layers {
            parts.maps.extend(all.iter().map(|&(class, sample)| match &layer.column {
                Some(column) if class != 0 => column[sample.index as usize],
                _ => layer.of_class[class as usize],
            }));
        }
        let first_part = number(parts.parts.len(), "parts of classes")?;
        for part in &classes.parts {
            let start = number(parts.part_selectors.len(), "selectors of classes")?;
            parts.parts.push(Span { start, len: number(part.len(), "selectors of classes")? });
            parts.part_selectors.extend(part);
        }
        let mut spans: Vec<Span> = Vec::with_capacity(classes.all.len());
        for class in &classes.all {
            let start = number(parts.class_parts.len(), "parts of classes")?;
            parts.class_parts.extend(class.parts.iter().map(|part| part + first_part));
            spans.push(Span { start, len: number(class.parts.len(), "parts of classes")? });
        }
        let records = all.iter().map(|&(class, _)| {
            let span = spans[class as usize];
            let split = u32::from(self.split[side][class as usize]);
            ClassRec { ty: classes.all[class as usize].ty, parts_start: span.start, parts_len: span.len, split }
        });
        if side == 0 { &mut parts.principal_classes } else { &mut parts.resource_classes }.extend(records);
        Ok(of_entity)
    }
}

/// Write the selectors, by which an engine classifies entities that change.
fn write_selectors(plans: &Plans, parts: &mut Parts) -> Result<(), CompileError> {
    let mut placed: FxHashMap<u32, Span> = FxHashMap::default();
    let mut write = |selectors: &Selectors, parts: &mut Parts| {
        let mut records = Vec::with_capacity(selectors.all.len());
        for selector in &selectors.all {
            let within = Span {
                start: number(parts.selector_entities.len(), "entities in policies")?,
                len: number(selector.within.len(), "entities in policies")?,
            };
            parts.selector_entities.extend(&selector.within);
            let start = number(parts.selector_code.len(), "conditions")?;
            for &at in &selector.conjuncts {
                let place = if let Some(&place) = placed.get(&at) {
                    place
                } else {
                    let code = &plans.conjuncts[at as usize].code;
                    let start = number(parts.code.len(), "instructions")?;
                    let place = Span { start, len: number(code.len(), "instructions")? };
                    parts.code.extend(code);
                    placed.insert(at, place);
                    place
                };
                parts.selector_code.push(place);
            }
            records.push(SelectorRec {
                ty: selector.ty.unwrap_or(u32::MAX),
                entity: selector.entity.unwrap_or(u32::MAX),
                within,
                conjuncts: Span { start, len: number(selector.conjuncts.len(), "conditions")? },
            });
        }
        Ok::<_, CompileError>(records)
    };
    parts.principal_selectors = write(&plans.principal, parts)?;
    parts.resource_selectors = write(&plans.resource, parts)?;
    Ok(())
}

fn write_policies(
    model: &Model,
    sources: &Sources,
    plans: &Plans,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<(), CompileError> {
    let files: Vec<u32> = sources.files.iter().map(|file| tables.string(&file.name)).collect();
    let nowhere = tables.string("");
    for (policy_number, policy) in (0_u32..).zip(&model.policies) {
        let annotations_start = number(parts.annotations.len(), "annotations")?;
        for (key, value) in &policy.annotations {
            let pair = [tables.string(key), tables.string(value)];
            parts.annotations.extend(pair);
        }
        parts.policies.push(PolicyRec {
            id: tables.string(&policy.id),
            forbid: u32::from(policy.effect == Effect::Forbid),
            file: files.get(policy.file as usize).copied().unwrap_or(nowhere),
            line: policy.line,
            annotations_start,
            annotations_len: number(policy.annotations.len(), "annotations")?,
            fallback: plans.fallbacks.get(&policy_number).map_or(u32::MAX, |why| tables.string(why)),
            step_up: match &policy.step_up {
                Some(step_up) => number(tables.string(&step_up.factors.join(" ")) as usize + 1, "strings")?,
                None => 0,
            },
            max_age: policy.step_up.as_ref().and_then(|step_up| step_up.max_age).unwrap_or(NO_MAX_AGE),
        });
    }
    Ok(())
}

/// Fill in the statistics.
fn describe(model: &Model, plans: &Plans, tables: &Tables, parts: &Parts, meta: &mut Meta) {
    let present = tables.entities.iter().filter(|entity| entity.flags & ztfast_vm::PRESENT != 0).count();
    let stats = &mut meta.stats;
    let over_actions = |of: fn(&ActionStats) -> u64| stats.actions.iter().map(of).sum::<u64>();
    let classes = over_actions(|a| a.principal_classes + a.resource_classes);
    let (programs, residual) = (over_actions(|a| a.programs), over_actions(|a| a.residual));
    stats.policies = count(model.policies.len());
    stats.entities = count(present);
    stats.classes = classes;
    stats.cells = count(parts.table.len());
    stats.programs = programs;
    stats.fallbacks = count(plans.fallbacks.len());
    stats.residual = residual;
    stats.instructions = count(parts.code.len());
}

/// Fill in how many bytes of the bundle an entity and a policy take.
#[allow(clippy::cast_precision_loss)] // these figures are for people
fn measure(meta: &mut Meta, parts: &Parts) {
    let bytes = |of: &[usize]| count(of.iter().sum());
    let tables = bytes(&[
        size_of_val(&*parts.policies) + size_of_val(&*parts.annotations),
        size_of_val(&*parts.principal_selectors) + size_of_val(&*parts.resource_selectors),
        size_of_val(&*parts.selector_entities) + size_of_val(&*parts.selector_code),
        size_of_val(&*parts.layers) + size_of_val(&*parts.plans),
        size_of_val(&*parts.table) + size_of_val(&*parts.rows) + size_of_val(&*parts.bitmaps),
        size_of_val(&*parts.set_places) + size_of_val(&*parts.sets),
        size_of_val(&*parts.programs) + size_of_val(&*parts.code),
    ]);
    let of_classes = bytes(&[
        size_of_val(&*parts.maps) + size_of_val(&*parts.class_parts),
        size_of_val(&*parts.principal_classes) + size_of_val(&*parts.resource_classes),
        size_of_val(&*parts.parts) + size_of_val(&*parts.part_selectors),
    ]);
    let of_entities = bytes(&[
        size_of_val(&*parts.entities) + size_of_val(&*parts.entity_index) + size_of_val(&*parts.classes),
        size_of_val(&*parts.string_offsets) + size_of_val(&*parts.string_bytes) + size_of_val(&*parts.string_index),
        size_of_val(&*parts.ancestors) + size_of_val(&*parts.values),
    ]);
    let each = |bytes: u64, of: usize| if of == 0 { 0.0 } else { (bytes as f64 / of as f64 * 10.0).round() / 10.0 };
    let per_entity = each(of_entities, parts.entities.len());
    let entities_of = |class: fn(&ClassPair) -> u32| parts.classes.iter().filter(|pair| class(pair) != 0).count();
    let of_side = |classes: usize, layers: usize| count(classes * (size_of::<ClassRec>() + 4 * layers));
    let principals = entities_of(|pair| pair.principal);
    let resources = entities_of(|pair| pair.resource);
    let layers = parts.layers.len();
    meta.stats.memory = Memory {
        per_entity,
        per_principal: per_entity + each(of_side(parts.principal_classes.len(), layers), principals),
        per_resource: per_entity + each(of_side(parts.resource_classes.len(), layers), resources),
        per_policy: each(tables, parts.policies.len()),
        tables,
        entities: of_entities + of_classes,
        sources: count(parts.sources_json.len()),
    };
}
