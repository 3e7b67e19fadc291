//! The forms of a layer's table. The compiler takes the first that fits its budget, the one that decides fastest first.
//!
//! - **dense**: a cell for each pair of classes. One load, if the table fits.
//! - **rows**: for each class of principals the cell that is the rule, and the cells of those classes of resources that
//!   differ from it, found by a bitmap and its running count. Two loads; small if each principal has to do with few
//!   resources.
//! - **sets**: for each class the policies that it admits, as bits in blocks of 512, and a summary of the blocks; a
//!   decision intersects two sets. The size is the sum of both sides, never their product, so it stays bounded.

use crate::error::{CompileError, number};
use crate::layers::{Layer, LayerSide};
use crate::plan::{Plan, policies};
use crate::programs::{Programs, Resolved, Stop};
use crate::tables::Tables;
use ztfast_bundle::{BLOCK_BITS, BLOCK_WORDS, BitmapRec, Form, LayerRec, LayerStats, Parts, PlanRec, RowRec, Span};

/// The most cells of a dense table before rows are considered.
const DENSE_CELLS: u64 = 1 << 22;
/// The most cells of a dense table that the options ask for.
const MAX_CELLS: u64 = 1 << 27;
/// The most cells that are computed for a table.
const WORK: u64 = 1 << 25;
/// The most bytes of bitmaps in rows.
const BITMAP_BYTES: u64 = 1 << 28;
/// The most words of programs that a table of cells may add.
const PROGRAM_WORDS: usize = 1 << 23;
/// The most words of a layer's sets.
const SET_WORDS: u64 = 1 << 28;

/// Lay out a layer. Return its record, without the places of its maps.
pub(crate) fn lay_out(
    layer: &mut Layer,
    unrefined: Option<&(LayerSide, LayerSide)>,
    resolved: &Resolved,
    forced: Option<Form>,
    programs: &mut Programs<'_>,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<(LayerRec, LayerStats), CompileError> {
    let dense_bytes = layer.pairs() * 4;
    let mut forms = match forced {
        Some(form) => vec![form],
        None => choices(layer),
    };
    // Sets come last: their size is bounded.
    if forms.last() != Some(&Form::Sets) {
        forms.push(Form::Sets);
    }
    let start = parts.programs.len();
    for form in forms {
        let before = Sizes::of(parts);
        let made = match form {
            Form::Dense => dense(layer, resolved, programs, tables, parts),
            Form::Rows => rows(layer, resolved, programs, tables, parts),
            Form::Sets => {
                // Sets use the unrefined classes. What finer classes would resolve is left for decision time.
                if let Some((principal, resource)) = unrefined {
                    (layer.principal, layer.resource) = (principal.clone(), resource.clone());
                }
                sets(layer, programs, tables, parts)
            }
        };
        match made {
            Ok(record) => {
                let stats = LayerStats {
                    form: form.name().to_owned(),
                    policies: policies(&layer.plans) as u64,
                    principals: layer.principal.count(),
                    resources: layer.resource.count(),
                    bytes: before.grown(parts),
                    dense_bytes,
                };
                return Ok((record, stats));
            }
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::TooLarge) => {
                before.restore(parts);
                programs.forget_from(start, parts);
            }
        }
    }
    Err(CompileError::TableTooLarge {
        action: programs.action().to_owned(),
        principals: layer.principal.count(),
        resources: layer.resource.count(),
    })
}

/// Return the forms to try, the one that decides fastest first.
fn choices(layer: &Layer) -> Vec<Form> {
    let mut forms = Vec::new();
    if layer.pairs() <= DENSE_CELLS {
        forms.push(Form::Dense);
    }
    // Count the pairs of classes in which a policy may apply that does not apply to all resources.
    let (principals, resources) = (by_selector(&layer.principal), by_selector(&layer.resource));
    let classes = |of: &[Vec<u32>], selector: u32, side: &LayerSide| match selector {
        0 => side.count(),
        _ => of.get(selector as usize).map_or(0, |classes| classes.len() as u64),
    };
    let differing: u64 = layer
        .plans
        .iter()
        .filter(|plan| plan.resource != 0)
        .map(|plan| {
            classes(&principals, plan.principal, &layer.principal) * classes(&resources, plan.resource, &layer.resource)
        })
        .sum();
    let bitmap_bytes =
        (layer.principal.count() + 1) * (layer.resource.count() / 64 + 1) * size_of::<BitmapRec>() as u64;
    if differing <= WORK && bitmap_bytes <= BITMAP_BYTES {
        forms.push(Form::Rows);
    } else if forms.first() == Some(&Form::Dense) && differing > WORK {
        forms.clear();
    }
    forms.push(Form::Sets);
    forms
}

/// Return the classes in which each selector holds.
fn by_selector(side: &LayerSide) -> Vec<Vec<u32>> {
    let most = side.selectors.iter().flatten().max().map_or(0, |&most| most as usize + 1);
    let mut classes = vec![Vec::new(); most];
    for (class, selectors) in (0_u32..).zip(&side.selectors) {
        for &selector in selectors {
            classes[selector as usize].push(class);
        }
    }
    classes
}

/// The sizes of the tables before an attempt, to which a failed one truncates them.
struct Sizes {
    table: usize,
    rows: usize,
    bitmaps: usize,
    set_places: usize,
    sets: usize,
    plans: usize,
}

impl Sizes {
    fn of(parts: &Parts) -> Self {
        Self {
            table: parts.table.len(),
            rows: parts.rows.len(),
            bitmaps: parts.bitmaps.len(),
            set_places: parts.set_places.len(),
            sets: parts.sets.len(),
            plans: parts.plans.len(),
        }
    }

    fn restore(&self, parts: &mut Parts) {
        parts.table.truncate(self.table);
        parts.rows.truncate(self.rows);
        parts.bitmaps.truncate(self.bitmaps);
        parts.set_places.truncate(self.set_places);
        parts.sets.truncate(self.sets);
        parts.plans.truncate(self.plans);
    }

    /// Return the bytes added since.
    fn grown(&self, parts: &Parts) -> u64 {
        let bytes = 4 * (parts.table.len() - self.table)
            + size_of::<RowRec>() * (parts.rows.len() - self.rows)
            + size_of::<BitmapRec>() * (parts.bitmaps.len() - self.bitmaps)
            + 4 * (parts.set_places.len() - self.set_places)
            + 8 * (parts.sets.len() - self.sets);
        bytes as u64
    }
}

/// Computes rows of cells, one class of principals after the other.
struct RowMaker<'l> {
    layer: &'l Layer,
    /// Plans by the principals' selector.
    by_principal: Vec<Vec<u32>>,
    /// Classes of resources, by selector.
    resources: Vec<Vec<u32>>,
    /// Plans in the current row that apply to all resources.
    everywhere: Vec<u32>,
    /// Plans in the current row that apply to some resources only, by class of resources.
    somewhere: Vec<Vec<u32>>,
    /// The classes of resources that have such plans.
    touched: Vec<u32>,
}

impl<'l> RowMaker<'l> {
    fn new(layer: &'l Layer) -> Self {
        let selectors = layer.plans.iter().map(|plan| plan.principal as usize + 1).max().unwrap_or(1);
        let mut by_principal = vec![Vec::new(); selectors];
        for (number, plan) in (0_u32..).zip(&layer.plans) {
            by_principal[plan.principal as usize].push(number);
        }
        Self {
            layer,
            by_principal,
            resources: by_selector(&layer.resource),
            everywhere: Vec::new(),
            somewhere: vec![Vec::new(); layer.resource.samples.len()],
            touched: Vec::new(),
        }
    }

    /// Begin the row of a class of principals.
    fn begin(&mut self, principal: usize) {
        self.everywhere.clear();
        for class in self.touched.drain(..) {
            self.somewhere[class as usize].clear();
        }
        for selector in [0].iter().chain(&self.layer.principal.selectors[principal]) {
            for &number in self.by_principal.get(*selector as usize).into_iter().flatten() {
                let resource = self.layer.plans[number as usize].resource;
                if resource == 0 {
                    self.everywhere.push(number);
                    continue;
                }
                for &class in self.resources.get(resource as usize).into_iter().flatten() {
                    if self.somewhere[class as usize].is_empty() {
                        self.touched.push(class);
                    }
                    self.somewhere[class as usize].push(number);
                }
            }
        }
        self.touched.sort_unstable();
    }

    /// Return the plans that may apply in a pair of classes, in their order.
    fn plans(&self, resource: usize) -> Vec<Plan> {
        let mut numbers: Vec<u32> = self.everywhere.iter().chain(&self.somewhere[resource]).copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.layer.plans[number as usize]).collect()
    }
}

fn dense(
    layer: &Layer,
    resolved: &Resolved,
    programs: &mut Programs<'_>,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<LayerRec, Stop> {
    if layer.pairs() > MAX_CELLS {
        return Err(Stop::TooLarge);
    }
    let limit = parts.programs.len() + PROGRAM_WORDS;
    let table = number(parts.table.len(), "cells")?;
    let resources = layer.resource.samples.len();
    // Class 0 on either side means that the action does not apply, so no policy can.
    let class_zero = (layer.principal.samples[0], layer.resource.samples[0]);
    let nothing = programs.cell(&[], class_zero, resolved, tables, parts)?;
    parts.table.extend(std::iter::repeat_n(nothing, resources));
    let mut maker = RowMaker::new(layer);
    for (principal, &sample) in layer.principal.samples.iter().enumerate().skip(1) {
        maker.begin(principal);
        let rule = if resolved.is_nothing() {
            Some(programs.cell(&maker.plans(0), (sample, class_zero.1), resolved, tables, parts)?)
        } else {
            None
        };
        parts.table.push(nothing);
        for (resource, &other) in layer.resource.samples.iter().enumerate().skip(1) {
            let cell = match rule {
                Some(rule) if maker.somewhere[resource].is_empty() => rule,
                _ => programs.cell(&maker.plans(resource), (sample, other), resolved, tables, parts)?,
            };
            parts.table.push(cell);
        }
        if parts.programs.len() > limit {
            return Err(Stop::TooLarge);
        }
    }
    number(parts.table.len(), "cells")?;
    finish(layer, Form::Dense, table, &in_order(layer), programs, tables, parts)
}

fn rows(
    layer: &Layer,
    resolved: &Resolved,
    programs: &mut Programs<'_>,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<LayerRec, Stop> {
    let limit = parts.programs.len() + PROGRAM_WORDS;
    let table = number(parts.rows.len(), "rows")?;
    let resources = layer.resource.samples.len();
    let class_zero = (layer.principal.samples[0], layer.resource.samples[0]);
    let nothing = programs.cell(&[], class_zero, resolved, tables, parts)?;
    let mut maker = RowMaker::new(layer);
    for (principal, &sample) in layer.principal.samples.iter().enumerate() {
        let bitmaps = number(parts.bitmaps.len(), "bitmaps of cells")?;
        let mut cells: Vec<(usize, u32)> = Vec::new();
        let mut rule = nothing;
        if principal != 0 {
            maker.begin(principal);
            if resolved.is_nothing() {
                rule = programs.cell(&maker.plans(0), (sample, class_zero.1), resolved, tables, parts)?;
                for &class in &maker.touched {
                    let class = class as usize;
                    let pair = (sample, layer.resource.samples[class]);
                    cells.push((class, programs.cell(&maker.plans(class), pair, resolved, tables, parts)?));
                }
            } else {
                for (class, &other) in layer.resource.samples.iter().enumerate().skip(1) {
                    cells.push((class, programs.cell(&maker.plans(class), (sample, other), resolved, tables, parts)?));
                }
            }
            cells.push((0, nothing));
            cells.retain(|&(_, cell)| cell != rule);
            cells.sort_unstable();
        }
        parts.rows.push(RowRec { rule, bitmaps });
        let mut differ = vec![BitmapRec::default(); resources.div_ceil(64)];
        let mut at = 0;
        for (word, bitmap) in differ.iter_mut().enumerate() {
            bitmap.cells = parts.table.len() as u64;
            while let Some(&(class, cell)) = cells.get(at).filter(|(class, _)| class / 64 == word) {
                bitmap.differ |= 1 << (class % 64);
                parts.table.push(cell);
                at += 1;
            }
        }
        parts.bitmaps.extend(differ);
        if parts.programs.len() > limit {
            return Err(Stop::TooLarge);
        }
    }
    finish(layer, Form::Rows, table, &in_order(layer), programs, tables, parts)
}

fn sets(layer: &Layer, programs: &mut Programs<'_>, tables: &mut Tables, parts: &mut Parts) -> Result<LayerRec, Stop> {
    let order = Order::new(layer);
    let blocks = order.bits.len() / BLOCK_BITS;
    let summary = blocks.div_ceil(64);
    let masks = number(parts.sets.len(), "words of sets")?;
    for everywhere in [&order.all_principals, &order.all_resources] {
        let mut mask = vec![0_u64; summary.next_multiple_of(BLOCK_WORDS)];
        for &block in everywhere {
            mask[block / 64] |= 1 << (block % 64);
        }
        parts.sets.extend(mask);
    }
    let table = number(parts.set_places.len(), "sets")?;
    let limit = parts.sets.len() as u64 + SET_WORDS;
    for (number_of, side) in [&layer.principal, &layer.resource].into_iter().enumerate() {
        let selector = |plan: &Plan| if number_of == 0 { plan.principal } else { plan.resource };
        let selectors = layer.plans.iter().map(|plan| selector(plan) as usize + 1).max().unwrap_or(1);
        let mut bits: Vec<Vec<u32>> = vec![Vec::new(); selectors];
        for (bit, &plan) in (0_u32..).zip(&order.bits) {
            if let Some(plan) = layer.plans.get(plan as usize).filter(|plan| selector(plan) != 0) {
                bits[selector(plan) as usize].push(bit);
            }
        }
        for selectors in &side.selectors {
            let mut set: Vec<u32> =
                selectors.iter().filter_map(|&selector| bits.get(selector as usize)).flatten().copied().collect();
            set.sort_unstable();
            // Sets begin at cache lines: a place is the number of a line.
            parts.set_places.push(number(parts.sets.len() / BLOCK_WORDS, "words of sets")?);
            let start = parts.sets.len();
            parts.sets.resize(start + summary.next_multiple_of(BLOCK_WORDS), 0);
            for of_block in set.chunk_by(|a, b| *a as usize / BLOCK_BITS == *b as usize / BLOCK_BITS) {
                let block = of_block[0] as usize / BLOCK_BITS;
                parts.sets[start + block / 64] |= 1 << (block % 64);
                let mut words = [0_u64; BLOCK_WORDS];
                for &bit in of_block {
                    let within = bit as usize % BLOCK_BITS;
                    words[within / 64] |= 1 << (within % 64);
                }
                parts.sets.extend(words);
            }
            if parts.sets.len() as u64 > limit {
                return Err(Stop::TooLarge);
            }
        }
    }
    let record = finish(layer, Form::Sets, table, &order.bits, programs, tables, parts)?;
    Ok(LayerRec { summary: number(summary, "policies")?, masks: masks / number(BLOCK_WORDS, "words")?, ..record })
}

/// The assignment of policies to bits of the sets.
struct Order {
    /// The number of a plan for each bit; `u32::MAX` if the bit has none.
    bits: Vec<u32>,
    /// Blocks whose policies ask nothing of the principal. All principals have them, so no set contains them.
    all_principals: Vec<usize>,
    /// Blocks whose policies ask nothing of the resource.
    all_resources: Vec<usize>,
}

impl Order {
    /// Order forbids first; then by the sides of which policies ask something; then so that the side with more classes
    /// has its policies close together.
    fn new(layer: &Layer) -> Self {
        let mut order = Self { bits: Vec::new(), all_principals: Vec::new(), all_resources: Vec::new() };
        let by_principal = layer.principal.count() >= layer.resource.count();
        for forbid in [true, false] {
            for (any_principal, any_resource) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut numbers: Vec<u32> = (0_u32..)
                    .zip(&layer.plans)
                    .filter(|(_, plan)| {
                        plan.forbid == forbid
                            && (plan.principal == 0) == any_principal
                            && (plan.resource == 0) == any_resource
                    })
                    .map(|(number, _)| number)
                    .collect();
                numbers.sort_by_key(|&number| {
                    let plan = &layer.plans[number as usize];
                    if by_principal { (plan.principal, plan.resource) } else { (plan.resource, plan.principal) }
                });
                let first = order.bits.len() / BLOCK_BITS;
                order.bits.extend(numbers);
                order.bits.resize(order.bits.len().next_multiple_of(BLOCK_BITS), u32::MAX);
                let blocks = first..order.bits.len() / BLOCK_BITS;
                if any_principal {
                    order.all_principals.extend(blocks.clone());
                }
                if any_resource {
                    order.all_resources.extend(blocks);
                }
            }
        }
        order
    }
}

fn in_order(layer: &Layer) -> Vec<u32> {
    (0..u32::try_from(layer.plans.len()).unwrap_or(u32::MAX)).collect()
}

/// Write the layer's policies, each with a program of its own: for sets, and for entities that change after
/// compilation.
fn finish(
    layer: &Layer,
    form: Form,
    table: u32,
    order: &[u32],
    programs: &mut Programs<'_>,
    tables: &mut Tables,
    parts: &mut Parts,
) -> Result<LayerRec, Stop> {
    let start = number(parts.plans.len(), "policies of actions")?;
    for &place in order {
        let record = match layer.plans.get(place as usize) {
            Some(plan) => PlanRec {
                principal: plan.principal,
                resource: plan.resource,
                program: programs.alone(plan, tables, parts)?,
                forbid: u32::from(plan.forbid),
            },
            None => PlanRec { program: u32::MAX, ..PlanRec::default() },
        };
        parts.plans.push(record);
    }
    Ok(LayerRec {
        form: form as u32,
        principals: number(layer.principal.samples.len(), "classes")?,
        resources: number(layer.resource.samples.len(), "classes")?,
        table,
        plans: Span { start, len: number(order.len(), "policies of actions")? },
        ..LayerRec::default()
    })
}
