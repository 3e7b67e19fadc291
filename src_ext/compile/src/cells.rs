//! Pairs of classes to decisions and programs.

use crate::classes::{Classes, Sides, holds};
use crate::layout::Layout;
use crate::plan::{Plan, Plans};
use crate::tables::Tables;
use crate::{CompileError, number};
use std::collections::HashMap;
use ztfast_bundle::{ActionRec, ActionStats, CellKind, Entry, Parts, SideRec, pack_cell, write_program};
use ztfast_policy::ir::{Action, Effect};

/// Cells that one action may have.
const MAX_CELLS: u64 = 1 << 27;
/// Words that all programs may have: a cell has so many bits for a program's place.
const MAX_PROGRAM_WORDS: u32 = 1 << 30;

/// Lay out one action: its classes, its table, and what is left of its policies.
pub(crate) fn cells(
    action: &Action,
    layout: &Layout,
    plans: &Plans,
    sides: Sides,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<ActionStats, CompileError> {
    let (principals, resources) = (sides.principal.plans.len() as u64, sides.resource.plans.len() as u64);
    let cells = (principals + 1) * (resources + 1);
    if cells > MAX_CELLS {
        let action = action.uid.to_string();
        return Err(CompileError::TableTooLarge { action, principals, resources, cells, limit: MAX_CELLS });
    }
    let entries = entries(plans, &sides.tabulated, parts)?;
    let residual = entries.iter().map(|entry| (entry.ranges.len() + entry.conjuncts.len()) as u64).sum();
    let mut builder = Builder { plans, sides: &sides, entries: &entries, tables, programs: HashMap::new() };
    let table = number(parts.table.len(), "cells")?;
    // Class 0 on either side: the action does not apply, and no policy can.
    let nothing = pack_cell(CellKind::Default, builder.program(&[], parts)?);
    parts.table.extend(std::iter::repeat_n(nothing, sides.resource.plans.len() + 1));
    for principal in 0..sides.principal.plans.len() {
        parts.table.push(nothing);
        for resource in 0..sides.resource.plans.len() {
            let cell = builder.cell(principal, resource, parts)?;
            parts.table.push(cell);
        }
    }
    let programs = builder.programs.len() as u64;
    let tabulated = sides.tabulated.len() as u64;
    let slots_start = number(parts.slot_kinds.len(), "context slots")?;
    parts.slot_kinds.extend(layout.kinds.iter().map(|&kind| kind as u32));
    let record = ActionRec {
        entity: builder.tables.entity(&action.uid).index,
        slots_start,
        slots_len: number(layout.kinds.len(), "context slots")?,
        table,
        principal: side(sides.principal, parts)?,
        resource: side(sides.resource, parts)?,
    };
    parts.actions.push(record);
    Ok(ActionStats {
        action: action.uid.to_string(),
        policies: plans.plans.len() as u64,
        principal_classes: principals,
        resource_classes: resources,
        cells,
        programs,
        tabulated,
        residual,
    })
}

fn side(classes: Classes, parts: &mut Parts) -> Result<SideRec, CompileError> {
    let record = SideRec {
        first: classes.first,
        len: number(classes.of_entity.len(), "entities")?,
        classes: number(parts.classes.len(), "classes of entities")?,
        count: number(classes.plans.len() + 1, "classes")?,
    };
    parts.classes.extend(classes.of_entity);
    Ok(record)
}

/// An entry per plan: what is left of it once the table has settled the rest.
fn entries(plans: &Plans, tabulated: &[u32], parts: &mut Parts) -> Result<Vec<Entry>, CompileError> {
    let mut placed: HashMap<u32, (u32, u32)> = HashMap::new();
    let mut made = Vec::with_capacity(plans.plans.len());
    for plan in &plans.plans {
        let mut entry = Entry { policy: plan.policy, ..Entry::default() };
        let left = plan.on_both.iter().filter(|conjunct| tabulated.binary_search(conjunct).is_err());
        for &conjunct in left.chain(&plan.on_request) {
            let compiled = &plans.conjuncts[conjunct as usize];
            if let Some(range) = compiled.range {
                entry.ranges.push(range);
                continue;
            }
            let place = if let Some(&known) = placed.get(&conjunct) {
                known
            } else {
                let start = number(parts.code.len(), "instructions")?;
                parts.code.extend_from_slice(&compiled.code);
                let place = (start, number(compiled.code.len(), "instructions")?);
                placed.insert(conjunct, place);
                place
            };
            entry.conjuncts.push(place);
        }
        made.push(entry);
    }
    Ok(made)
}

struct Builder<'a> {
    plans: &'a Plans,
    sides: &'a Sides,
    entries: &'a [Entry],
    tables: &'a Tables,
    /// Programs by the plans that may apply, and what they settle.
    programs: HashMap<Vec<u32>, u32>,
}

impl Builder<'_> {
    fn cell(&mut self, principal: usize, resource: usize, parts: &mut Parts) -> Result<u32, CompileError> {
        let mut candidates = common(&self.sides.principal.plans[principal], &self.sides.resource.plans[resource]);
        candidates.retain(|&plan| self.tabulated_hold(plan, principal, resource));
        let program = self.program(&candidates, parts)?;
        Ok(pack_cell(self.kind(&candidates), program))
    }

    fn tabulated_hold(&self, plan: u32, principal: usize, resource: usize) -> bool {
        let settled = |conjunct: &&u32| self.sides.tabulated.binary_search(conjunct).is_ok();
        self.plans.plans[plan as usize].on_both.iter().filter(settled).all(|&conjunct| {
            let code = &self.plans.conjuncts[conjunct as usize].code;
            let (principals, resources) = (&self.sides.principal.samples, &self.sides.resource.samples);
            holds(&self.tables.view(), code, principals[principal], resources[resource])
        })
    }

    /// What is certain without looking at the request.
    fn kind(&self, candidates: &[u32]) -> CellKind {
        let certain = |plan: u32| {
            let entry = &self.entries[plan as usize];
            let opaque = self.plans.plans[plan as usize].opaque.is_some();
            entry.ranges.is_empty() && entry.conjuncts.is_empty() && !opaque
        };
        let (forbids, permits) = self.by_effect(candidates);
        if forbids.iter().any(|&plan| certain(plan)) {
            CellKind::Forbid
        } else if candidates.is_empty() {
            CellKind::Default
        } else if forbids.is_empty() && permits.iter().any(|&plan| certain(plan)) {
            CellKind::Allow
        } else {
            CellKind::Program
        }
    }

    /// Forbids and permits: plans are in this order.
    fn by_effect<'c>(&self, candidates: &'c [u32]) -> (&'c [u32], &'c [u32]) {
        let plan = |number: &u32| -> &Plan { &self.plans.plans[*number as usize] };
        candidates.split_at(candidates.partition_point(|number| plan(number).effect == Effect::Forbid))
    }

    fn program(&mut self, candidates: &[u32], parts: &mut Parts) -> Result<u32, CompileError> {
        if let Some(&known) = self.programs.get(candidates) {
            return Ok(known);
        }
        let (forbids, permits) = self.by_effect(candidates);
        let start = number(parts.programs.len(), "words of programs")?;
        let entries = |plans: &[u32]| plans.iter().map(|&plan| &self.entries[plan as usize]).collect::<Vec<_>>();
        let (forbids, permits) = (entries(forbids), entries(permits));
        let opaque = candidates.iter().any(|&plan| self.plans.plans[plan as usize].opaque.is_some());
        write_program(&mut parts.programs, forbids.into_iter(), permits.into_iter(), opaque)
            .map_err(|_| CompileError::TooMany { what: "conditions in one policy" })?;
        if start >= MAX_PROGRAM_WORDS {
            return Err(CompileError::TooMany { what: "programs" });
        }
        self.programs.insert(candidates.to_vec(), start);
        Ok(start)
    }
}

/// What two sorted lists share.
fn common(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut rest = b;
    let mut shared = Vec::new();
    for &wanted in a {
        rest = &rest[rest.partition_point(|&number| number < wanted)..];
        if rest.first() == Some(&wanted) {
            shared.push(wanted);
        }
    }
    shared
}
