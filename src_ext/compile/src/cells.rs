//! Pairs of classes to decisions and programs.

use crate::classes::{Classes, Sides, holds};
use crate::codegen::generate;
use crate::layout::Layout;
use crate::plan::{Plan, Plans};
use crate::ranges::range;
use crate::specialise::{Left, Specialiser};
use crate::tables::Tables;
use crate::{CompileError, number};
use std::collections::HashMap;
use ztfast_bundle::{ActionRec, ActionStats, CellKind, Entry, Parts, SideRec, pack_cell, write_program};
use ztfast_policy::ir::{Action, Effect, Expr};

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
    let specialisers: HashMap<u32, Specialiser> = sides
        .specialised
        .iter()
        .filter_map(|&conjunct| {
            let expr = &plans.conjuncts[conjunct as usize].expr;
            Some((conjunct, Specialiser::new(expr, action, tables)?))
        })
        .collect();
    let mut builder = Builder {
        action,
        layout,
        plans,
        sides: &sides,
        specialisers,
        tables,
        placed: HashMap::new(),
        variants: Vec::new(),
        numbers: HashMap::new(),
        programs: HashMap::new(),
    };
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
    let left = |(_, entry): &(u32, Entry)| (entry.ranges.len() + entry.conjuncts.len()) as u64;
    let residual = builder.variants.iter().map(left).sum();
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

struct Builder<'a> {
    action: &'a Action,
    layout: &'a Layout,
    plans: &'a Plans,
    sides: &'a Sides,
    /// By conjunct.
    specialisers: HashMap<u32, Specialiser>,
    tables: &'a mut Tables,
    /// Code by the expression that it is of.
    placed: HashMap<Expr, (u32, u32)>,
    /// What is left of plans, in one pair of classes or another, once the table has settled the rest.
    variants: Vec<(u32, Entry)>,
    /// Variants by plan and what is left.
    numbers: HashMap<(u32, Vec<Expr>), u32>,
    /// Programs by the variants that may apply.
    programs: HashMap<Vec<u32>, u32>,
}

impl Builder<'_> {
    fn cell(&mut self, principal: usize, resource: usize, parts: &mut Parts) -> Result<u32, CompileError> {
        let mut variants = Vec::new();
        for plan in common(&self.sides.principal.plans[principal], &self.sides.resource.plans[resource]) {
            if let Some(left) = self.left(plan, principal, resource) {
                variants.push(self.variant(plan, left, parts)?);
            }
        }
        let program = self.program(&variants, parts)?;
        Ok(pack_cell(self.kind(&variants), program))
    }

    /// What is left of a plan in a pair of classes; `None` where it cannot apply.
    fn left(&mut self, plan: u32, principal: usize, resource: usize) -> Option<Vec<Expr>> {
        let (principal, resource) = (self.sides.principal.samples[principal], self.sides.resource.samples[resource]);
        let plan = &self.plans.plans[plan as usize];
        let mut left = Vec::new();
        for &conjunct in plan.on_both.iter().chain(&plan.on_request) {
            let compiled = &self.plans.conjuncts[conjunct as usize];
            if self.sides.tabulated.binary_search(&conjunct).is_ok() {
                if !holds(&self.tables.view(), &compiled.code, principal, resource) {
                    return None;
                }
                continue;
            }
            let Some(specialiser) = self.specialisers.get(&conjunct) else {
                left.push(compiled.expr.clone());
                continue;
            };
            match specialiser.left(principal, resource, self.action, self.tables) {
                Left::Never => return None,
                Left::All(conjuncts) => left.extend(conjuncts),
            }
        }
        Some(left)
    }

    fn variant(&mut self, plan: u32, left: Vec<Expr>, parts: &mut Parts) -> Result<u32, CompileError> {
        if let Some(&known) = self.numbers.get(&(plan, left.clone())) {
            return Ok(known);
        }
        let mut entry = Entry { policy: self.plans.plans[plan as usize].policy, ..Entry::default() };
        for expr in &left {
            if let Some(range) = range(expr, self.layout, self.tables) {
                entry.ranges.push(range);
                continue;
            }
            entry.conjuncts.push(self.place(expr, parts)?);
        }
        let fresh = number(self.variants.len(), "variants of policies")?;
        self.variants.push((plan, entry));
        self.numbers.insert((plan, left), fresh);
        Ok(fresh)
    }

    /// Where the code of a condition lies.
    fn place(&mut self, expr: &Expr, parts: &mut Parts) -> Result<(u32, u32), CompileError> {
        if let Some(&known) = self.placed.get(expr) {
            return Ok(known);
        }
        // The condition as it was written could be compiled, and filling in what is known only makes it smaller.
        let code = generate(expr, &self.action.uid, self.layout, self.tables)
            .map_err(|why| CompileError::Condition { action: self.action.uid.to_string(), why: why.to_string() })?;
        let place = (number(parts.code.len(), "instructions")?, number(code.len(), "instructions")?);
        parts.code.extend(code);
        self.placed.insert(expr.clone(), place);
        Ok(place)
    }

    fn plan(&self, variant: u32) -> &Plan {
        &self.plans.plans[self.variants[variant as usize].0 as usize]
    }

    /// What is certain without looking at the request.
    fn kind(&self, variants: &[u32]) -> CellKind {
        let certain = |variant: u32| {
            let entry = &self.variants[variant as usize].1;
            entry.ranges.is_empty() && entry.conjuncts.is_empty() && self.plan(variant).opaque.is_none()
        };
        let (forbids, permits) = self.by_effect(variants);
        if forbids.iter().any(|&variant| certain(variant)) {
            CellKind::Forbid
        } else if variants.is_empty() {
            CellKind::Default
        } else if forbids.is_empty() && permits.iter().any(|&variant| certain(variant)) {
            CellKind::Allow
        } else {
            CellKind::Program
        }
    }

    /// Forbids and permits: plans, and so a cell's variants, are in this order.
    fn by_effect<'v>(&self, variants: &'v [u32]) -> (&'v [u32], &'v [u32]) {
        variants.split_at(variants.partition_point(|&variant| self.plan(variant).effect == Effect::Forbid))
    }

    fn program(&mut self, variants: &[u32], parts: &mut Parts) -> Result<u32, CompileError> {
        if let Some(&known) = self.programs.get(variants) {
            return Ok(known);
        }
        let start = number(parts.programs.len(), "words of programs")?;
        if start >= MAX_PROGRAM_WORDS {
            return Err(CompileError::TooMany { what: "programs" });
        }
        let (forbids, permits) = self.by_effect(variants);
        let entry = |&variant: &u32| &self.variants[variant as usize].1;
        let opaque = variants.iter().any(|&variant| self.plan(variant).opaque.is_some());
        write_program(&mut parts.programs, forbids.iter().map(entry), permits.iter().map(entry), opaque)
            .map_err(|_| CompileError::TooMany { what: "conditions in one policy" })?;
        self.programs.insert(variants.to_vec(), start);
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
