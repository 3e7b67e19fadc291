//! Builds a gate's own table: partially evaluates the programs of an action for what the gate passes.
//!
//! Attributes that the gate never passes are absent, and arguments have fixed places. What is left of the forbids of a
//! pair of classes is merged: those that concern one argument alone become the box outside of which some forbid
//! applies, the others become clauses. If nothing but intervals of one or two arguments is left of a pair, a grid says
//! all. The work is bounded: where a bound is reached, cells are left to the walk over the action's layers, which
//! decides everything.

use crate::asking::{asks_of, live_asks_of};
use crate::binding::Binding;
use crate::cells::{Cells, FIRST_CODE, FIRST_GRID, GateTable, NO_LINE, of_code};
use crate::grid::{Grid, MAX_ARGUMENTS};
use crate::layers::cell;
use crate::lift::Lifter;
use crate::linear::{Case, Interval, Linear};
use crate::lines::{CHECKED, Conditions, NEXT_LINE, NO_POLICY, PERMITS, Rule, WALK, Writer};
use crate::reasons::Collector;
use rustc_hash::FxHashMap;
use std::rc::Rc;
use ztfast_bundle::{Bundle, CellKind, Form, LayerRec, Program, cell_kind, cell_program, pack_cell};
use ztfast_codes::Code;

/// The most classes of one side.
const MAX_CLASSES: usize = 1 << 17;
/// The most lines of a gate, so that their cells are less than those of codes.
const MAX_LINES: usize = 15 << 10;
const _: () = assert!(CHECKED as usize + MAX_LINES < FIRST_CODE as usize && MAX_LINES < CHECKED as usize);
/// The work that building a table may take: about an instruction, or a word that is copied or compared, each.
const BUDGET: usize = 1 << 22;
/// How many more cells the tables of all layers may have, each a table of its own, than one table of all.
const PART_CELLS: usize = 8;
/// About the work of a grid, for each policy.
const GRID: usize = 16;
/// The words of a clause, with its conditions.
const CLAUSE: usize = 16;
/// The most cases of the forbids, and of the permits, of one pair of classes.
const MAX_CASES: usize = 256;
/// The most rounds of merging forbids. Each round makes the box smaller.
const MAX_ROUNDS: usize = 32;

/// Build the table of a gate. It has at most so many cells, or eight times as many if each layer has a table of its
/// own. It is empty if the gate cannot have one: then the walk decides everything.
pub(crate) fn gate_table(bundle: &Bundle, binding: &Binding, most: usize) -> GateTable {
    let layers = &*binding.layers;
    // Records have no numbers.
    if binding.count == usize::MAX || layers.is_empty() || layers.iter().any(|layer| layer.form == Form::Sets as u32) {
        return GateTable::default();
    }
    let mut builder = Builder::new(bundle, binding);
    let whole = builder.whole(layers, most);
    if let Some(whole) = whole {
        return builder.finish(whole, Vec::new());
    }
    match builder.parts(layers, most.saturating_mul(PART_CELLS)) {
        Some(parts) => builder.finish(Whole::default(), parts),
        None => GateTable::default(),
    }
}

/// Number the classes of one side by what the layers' maps say of them, from 1. Return the number of each class, 0 for
/// classes to which the action does not apply; and what the maps say.
fn axis(
    bundle: &Bundle,
    layers: &[LayerRec],
    classes: usize,
    map: impl Fn(&LayerRec) -> usize,
) -> Option<(Vec<u32>, Vec<Vec<u32>>)> {
    if classes > MAX_CLASSES {
        return None;
    }
    let mut numbers = FxHashMap::default();
    let mut found = Vec::new();
    let mut of_class = Vec::with_capacity(classes);
    for class in 0..classes {
        let mapped: Option<Vec<u32>> =
            layers.iter().map(|layer| bundle.maps().get(map(layer).checked_add(class)?).copied()).collect();
        let mapped = mapped?;
        if mapped.contains(&0) {
            of_class.push(0);
            continue;
        }
        let next = u32::try_from(found.len()).ok()? + 1;
        let number = *numbers.entry(mapped.clone()).or_insert(next);
        if number == next {
            found.push(mapped);
        }
        of_class.push(number);
    }
    Some((of_class, found))
}

struct Builder<'a> {
    bundle: &'a Bundle,
    binding: &'a Binding,
    arguments: usize,
    /// Whether the walk has to tell step-ups from forbids.
    step_up: bool,
    lifter: Lifter<'a>,
    /// The cases of each residual.
    lifted: FxHashMap<(usize, &'a [u64]), Rc<[Case]>>,
    /// What was made of a pair of classes, by the cells of all layers.
    known: FxHashMap<Vec<u32>, Made>,
    /// Lines and grids, by what they say.
    rules: FxHashMap<Rule, u16>,
    numbers: FxHashMap<(Grid, u16), u16>,
    grids: Vec<Grid>,
    grid_lines: Vec<u16>,
    writer: Writer,
    reasons: Collector,
}

/// The table of all layers together: its cells, and for each the only policy that permits and the list of its forbids.
#[derive(Default)]
struct Whole {
    cells: Cells,
    policies: Vec<u32>,
    forbids: Vec<u32>,
}

/// What a pair of classes becomes.
#[derive(Clone, Copy)]
struct Made {
    cell: u16,
    /// The only policy that permits, or [`NO_POLICY`].
    policy: u32,
    /// The list of its forbids, or 0.
    forbids: u32,
}

/// The policies of a pair of classes: their numbers, and their cases.
#[derive(Default)]
struct Policies {
    forbids: Vec<(u32, Case)>,
    permits: Vec<(u32, Case)>,
}

/// What a pair of classes resolves: conditions, or a code.
enum Found {
    Code(Code),
    Rule { bounds: Vec<Interval>, inside: u8, policies: Policies },
}

impl<'a> Builder<'a> {
    fn new(bundle: &'a Bundle, binding: &'a Binding) -> Self {
        Self {
            bundle,
            binding,
            arguments: binding.count,
            step_up: binding.step_up,
            lifter: Lifter::new(bundle, binding, BUDGET),
            lifted: FxHashMap::default(),
            known: FxHashMap::default(),
            rules: FxHashMap::default(),
            numbers: FxHashMap::default(),
            grids: Vec::new(),
            grid_lines: Vec::new(),
            writer: Writer::new(binding.count),
            reasons: Collector::default(),
        }
    }

    /// Build the table of all layers together, with at most so many cells.
    fn whole(&mut self, layers: &[LayerRec], most: usize) -> Option<Whole> {
        let bundle = self.bundle;
        let (rows, principals) =
            axis(bundle, layers, bundle.principal_classes().len(), |layer| layer.principal_map as usize)?;
        let (columns, resources) =
            axis(bundle, layers, bundle.resource_classes().len(), |layer| layer.resource_map as usize)?;
        let width = resources.len() + 1;
        let count = width.checked_mul(principals.len() + 1).filter(|&count| count <= most)?;
        let mut cells = vec![of_code(Code::NotApplicable as u8); count];
        let (mut policies, mut forbids) = (vec![NO_POLICY; count], vec![0; count]);
        for (row, principal) in principals.iter().enumerate() {
            for (column, resource) in resources.iter().enumerate() {
                let at = (row + 1) * width + column + 1;
                let made = self.cell(layers, principal, resource);
                *cells.get_mut(at)? = made.cell;
                *policies.get_mut(at)? = made.policy;
                *forbids.get_mut(at)? = made.forbids;
            }
        }
        if self.grids.is_empty() {
            policies.clear();
        } else {
            // A decision by a code and one by a grid take the same steps then.
            self.replace_codes(&mut cells);
        }
        let offset = |row: u32| row.checked_mul(u32::try_from(width).ok()?);
        let rows = rows.into_iter().map(offset).collect::<Option<_>>()?;
        Some(Whole { cells: Cells { rows, columns: columns.into(), all: cells.into() }, policies, forbids })
    }

    /// Put grids in the place of codes.
    fn replace_codes(&mut self, cells: &mut [u16]) {
        let codes = [Code::Default, Code::Allow, Code::Forbid, Code::NotApplicable];
        let grids = codes.map(|code| {
            let cell = of_code(code as u8);
            (cell, self.number(Grid::of(Some(code)), cell))
        });
        for cell in cells {
            if let Some(&(_, Some(grid))) = grids.iter().find(|(code, _)| code == cell) {
                *cell = grid;
            }
        }
    }

    /// Build a table for each layer, with at most so many cells together.
    fn parts(&mut self, layers: &[LayerRec], most: usize) -> Option<Vec<Cells>> {
        let bundle = self.bundle;
        let count = |layer: &LayerRec| (layer.principals as usize).checked_mul(layer.resources as usize);
        let total = layers.iter().try_fold(0_usize, |sum, layer| sum.checked_add(count(layer)?))?;
        if total > most || self.arguments > MAX_ARGUMENTS {
            return None;
        }
        let classes = |classes: usize, map: fn(&LayerRec) -> u32| -> Option<Vec<Vec<u32>>> {
            let mapped = |class: usize| -> Option<Vec<u32>> {
                let of = |layer| bundle.maps().get((map(layer) as usize).checked_add(class)?).copied();
                let all: Vec<u32> = layers.iter().map(of).collect::<Option<_>>()?;
                // What one layer does not know does not apply in any.
                Some(if all.contains(&0) { vec![0; all.len()] } else { all })
            };
            (classes <= MAX_CLASSES).then(|| (0..classes).map(mapped).collect()).flatten()
        };
        let principals = classes(bundle.principal_classes().len(), |layer| layer.principal_map)?;
        let resources = classes(bundle.resource_classes().len(), |layer| layer.resource_map)?;
        let applies_not = self.number(Grid::of(Some(Code::NotApplicable)), NO_LINE)?;
        let walks = self.number(Grid::of(None), NO_LINE)?;
        let mut parts = Vec::with_capacity(layers.len());
        for (at, layer) in layers.iter().enumerate() {
            let mut cells = vec![applies_not; count(layer)?];
            let mut last = (pack_cell(CellKind::Default, 0), self.part_cell(pack_cell(CellKind::Default, 0), walks));
            let mut known = FxHashMap::default();
            let places = (0..layer.principals).flat_map(|row| (0..layer.resources).map(move |column| (row, column)));
            for (own, (row, column)) in
                cells.iter_mut().zip(places).filter(|(_, (row, column))| *row != 0 && *column != 0)
            {
                let Ok(found) = cell(bundle, layer, row, column) else {
                    *own = walks;
                    continue;
                };
                if found != last.0 {
                    last = (found, *known.entry(found).or_insert_with(|| self.part_cell(found, walks)));
                }
                *own = last.1;
            }
            let of = |all: &[Vec<u32>], count: u32, width: u32| -> Option<Box<[u32]>> {
                all.iter().map(|mapped| mapped.get(at).filter(|class| **class < count)?.checked_mul(width)).collect()
            };
            let rows = of(&principals, layer.principals, layer.resources)?;
            let columns = of(&resources, layer.resources, 1)?;
            parts.push(Cells { rows, columns, all: cells.into() });
        }
        Some(parts)
    }

    /// Return the grid of a layer's cell.
    fn part_cell(&mut self, cell: u32, walks: u16) -> u16 {
        let grid = match self.policies(&[cell]).and_then(|policies| self.merged(policies)) {
            Some(Found::Code(code)) => Some(Grid::of(Some(code))),
            Some(Found::Rule { bounds, policies, .. }) => self.grid(&bounds, &policies),
            None => None,
        };
        grid.and_then(|grid| self.number(grid, NO_LINE)).unwrap_or(walks)
    }

    /// Return the cell of a grid and the line that says the same; `None` if there are too many.
    fn number(&mut self, grid: Grid, line: u16) -> Option<u16> {
        if let Some(&known) = self.numbers.get(&(grid, line)) {
            return Some(known);
        }
        let number = u32::try_from(self.grids.len()).ok()?.checked_add(FIRST_GRID)?;
        let number = u16::try_from(number).ok()?;
        self.grids.push(grid);
        self.grid_lines.push(line);
        self.numbers.insert((grid, line), number);
        Some(number)
    }

    fn finish(self, whole: Whole, parts: Vec<Cells>) -> GateTable {
        let Whole { cells, policies, forbids } = whole;
        let lines = self.writer.finish(self.lifter.checks);
        let asks = asks_of(self.binding, self.bundle, &lines);
        let live = live_asks_of(self.binding, self.bundle, &asks);
        GateTable {
            cells,
            policies: policies.into(),
            reasons: self.reasons.finish(forbids),
            lines,
            asks,
            live,
            grids: self.grids.into(),
            grid_lines: self.grid_lines.into(),
            parts: parts.into(),
        }
    }

    /// Return what a pair of classes becomes, given by the layers' classes.
    fn cell(&mut self, layers: &[LayerRec], principal: &[u32], resource: &[u32]) -> Made {
        let walk = Made { cell: of_code(WALK), policy: NO_POLICY, forbids: 0 };
        let found: Result<Vec<u32>, Code> = layers
            .iter()
            .zip(principal.iter().zip(resource))
            .map(|(layer, (&principal, &resource))| cell(self.bundle, layer, principal, resource))
            .collect();
        let Ok(found) = found else { return walk };
        if let Some(&known) = self.known.get(&found) {
            return known;
        }
        let made = self.policies(&found).and_then(|policies| {
            let forbids = self.list_of(&policies.forbids);
            match self.merged(policies)? {
                Found::Code(code) => Some(Made { cell: of_code(code as u8), ..walk }),
                Found::Rule { bounds, inside, policies } => {
                    let (cell, policy) = self.rule(bounds, inside, &policies)?;
                    Some(Made { cell, policy, forbids })
                }
            }
        });
        let made = made.unwrap_or(walk);
        self.known.insert(found, made);
        made
    }

    /// Return the list of forbids, or 0. Where some may be step-ups, or an attribute may be absent, a walk finds them.
    fn list_of(&mut self, forbids: &[(u32, Case)]) -> u32 {
        let may_list = !self.step_up && self.binding.optional == 0 && self.lifter.spend(forbids.len());
        if may_list { self.reasons.add(forbids) } else { 0 }
    }

    /// Lift the policies of these cells. `None` if Cedar or the walk has to decide.
    fn policies(&mut self, cells: &[u32]) -> Option<Policies> {
        let mut policies = Policies::default();
        for &cell in cells {
            if cell_kind(cell) == CellKind::Default {
                continue;
            }
            let mut program = Program::read(self.bundle.programs(), cell_program(cell)).filter(|one| !one.opaque)?;
            for (count, of) in [(program.forbids, &mut policies.forbids), (program.permits, &mut policies.permits)] {
                for _ in 0..count {
                    let residual = program.next()?;
                    let key = (residual.ranges().count(), residual.condition_words()?);
                    if !self.lifter.spend(1 + key.1.len()) {
                        return None;
                    }
                    let cases = self.lifted.entry(key).or_insert_with(|| self.lifter.cases(&residual).into());
                    let size = cases.iter().map(Case::size).sum();
                    if of.len() + cases.len() > MAX_CASES || !self.lifter.spend(size) {
                        return None;
                    }
                    of.extend(cases.iter().map(|case| (residual.policy, case.clone())));
                }
            }
        }
        Some(policies)
    }

    /// Merge policies. `None` if that takes too much work.
    fn merged(&mut self, policies: Policies) -> Option<Found> {
        let Policies { mut forbids, mut permits } = policies;
        let mut bounds = vec![Interval::ALL; self.arguments];
        let refuted = match merge(&mut bounds, &mut forbids, &mut self.lifter)? {
            Merged::Forbidden => return Some(Found::Code(Code::Forbid)),
            Merged::Refuted(refuted) => refuted,
        };
        let work: usize = permits.iter().map(|(_, case)| case.size() * (1 + refuted.len())).sum();
        if !self.lifter.spend(work) {
            return None;
        }
        permits.retain_mut(|(_, case)| case.simplify(&bounds, &refuted));
        let certain = |(_, case): &(u32, Case)| is_certain(case);
        let inside = if permits.iter().any(certain) {
            Code::Allow
        } else if permits.is_empty() {
            Code::Default
        } else {
            let policies = Policies { forbids, permits };
            return Some(Found::Rule { bounds, inside: PERMITS, policies });
        };
        if forbids.is_empty() && bounds.iter().all(|bounds| *bounds == Interval::ALL) {
            return Some(Found::Code(inside));
        }
        Some(Found::Rule { bounds, inside: inside as u8, policies: Policies { forbids, permits } })
    }

    /// Return the grid of policies, if one can say what they do.
    fn grid(&mut self, bounds: &[Interval], Policies { forbids, permits }: &Policies) -> Option<Grid> {
        if !self.lifter.spend(GRID * (1 + forbids.len() + permits.len())) {
            return None;
        }
        let [forbids, permits] = [forbids, permits].map(|of| of.iter().map(|(_, case)| case).collect::<Vec<_>>());
        Grid::made(bounds, &forbids, &permits)
    }

    /// Return the cell of merged policies, a grid or a line, and the only policy that permits.
    fn rule(&mut self, bounds: Vec<Interval>, inside: u8, policies: &Policies) -> Option<(u16, u32)> {
        let policy = match policies.permits.split_first() {
            Some(((first, _), others)) if others.iter().all(|(other, _)| other == first) => *first,
            _ => NO_POLICY,
        };
        let Some(grid) = self.grid(&bounds, policies) else {
            return self.line(bounds, inside, policies, policy).map(|line| (line, policy));
        };
        let is_one_box = match policies.permits.len() {
            0 => true,
            1 => inside != PERMITS || bounds.iter().all(|bounds| *bounds == Interval::ALL),
            _ => inside != PERMITS,
        };
        // Batches compare whole columns with a line's box.
        let line = if is_one_box && policies.forbids.is_empty() {
            self.line(bounds, inside, policies, NO_POLICY)?
        } else {
            NO_LINE
        };
        self.number(grid, line).map(|grid| (grid, policy))
    }

    /// Return the line of merged policies.
    fn line(&mut self, bounds: Vec<Interval>, inside: u8, policies: &Policies, policy: u32) -> Option<u16> {
        let Policies { forbids, permits } = policies;
        let whole = bounds.iter().all(|bounds| *bounds == Interval::ALL);
        let outside = if self.step_up { WALK } else { Code::Forbid as u8 };
        let clauses = |cases: &[(u32, Case)]| cases.iter().map(|(_, case)| conditions(case)).collect::<Vec<_>>();
        let mut forbidding = clauses(forbids);
        for conditions in &mut forbidding {
            conditions.more |= self.step_up;
        }
        let rule = Rule { bounds, inside, outside, forbids: forbidding, permits: Vec::new(), policy };
        if inside != PERMITS {
            return self.write(&[rule]);
        }
        if let [(_, case)] = permits.as_slice()
            && case.linear.is_empty()
            && case.is_of_numbers()
        {
            // One box decides whether the only permit applies; behind it, another whether a forbid does.
            let both = rule.bounds.iter().zip(&case.bounds).map(|(bounds, own)| bounds.intersect(*own)).collect();
            let denied = Rule { inside: Code::Default as u8, ..rule.clone() };
            let plainly = whole && forbids.is_empty();
            let outside = if plainly { Code::Default as u8 } else { NEXT_LINE };
            let allowed = Rule { bounds: both, inside: Code::Allow as u8, outside, ..rule };
            return if plainly { self.write(&[allowed]) } else { self.write(&[allowed, denied]) };
        }
        self.write(&[Rule { permits: clauses(permits), ..rule }])
    }

    /// Write lines that follow each other. Return the first one's cell.
    fn write(&mut self, rules: &[Rule]) -> Option<u16> {
        if let [rule] = rules
            && let Some(&known) = self.rules.get(rule)
        {
            return Some(known);
        }
        let (first, others) = rules.split_first()?;
        let clauses: usize = rules.iter().map(|rule| rule.forbids.len() + rule.permits.len()).sum();
        if self.writer.len() >= MAX_LINES || !self.lifter.spend(CLAUSE * clauses) {
            return None;
        }
        let checked = if rules.iter().any(Rule::has_checks) { CHECKED } else { 0 };
        let cell = u16::try_from(self.writer.push(first)? | checked).ok()?;
        for other in others {
            self.writer.push(other)?;
        }
        if others.is_empty() {
            self.rules.insert(first.clone(), cell);
        }
        Some(cell)
    }
}

/// Return whether a policy applies in the whole box.
fn is_certain(case: &Case) -> bool {
    case.is_of_numbers() && case.linear.is_empty() && case.limits().next().is_none()
}

fn conditions(case: &Case) -> Conditions {
    Conditions {
        limits: case.limits().collect(),
        linear: case.linear.clone(),
        checks: case.checks.clone(),
        more: case.more,
    }
}

/// What merging forbids leaves.
enum Merged {
    /// Some forbid applies whatever the arguments are.
    Forbidden,
    /// The box and the other forbids decide. Each of these inequalities forbids by itself.
    Refuted(Vec<Linear>),
}

/// Shrink a box by the forbids that concern one argument alone, and drop what the box decides. `None` if that takes too
/// much work.
fn merge(bounds: &mut [Interval], forbids: &mut Vec<(u32, Case)>, lifter: &mut Lifter<'_>) -> Option<Merged> {
    let mut refuted: Vec<Linear> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let mut smaller = false;
        refuted.clear();
        let mut kept: Vec<(u32, Case)> = Vec::with_capacity(forbids.len());
        for (policy, mut case) in forbids.drain(..) {
            if !lifter.spend(case.size() * (1 + refuted.len())) {
                return None;
            }
            if !case.simplify(bounds, &refuted) {
                continue;
            }
            if is_certain(&case) {
                return Some(Merged::Forbidden);
            }
            let mut limits = case.limits();
            let only = (limits.next(), limits.next());
            drop(limits);
            match (only, case.linear.as_slice()) {
                ((Some((place, limit)), None), []) if case.is_of_numbers() => {
                    let bounds = bounds.get_mut(place)?;
                    // A limit that reaches neither end leaves two parts.
                    let shrunk = if limit.low <= bounds.low {
                        limit.high.checked_add(1).map(|low| Interval { low, ..*bounds })
                    } else if limit.high >= bounds.high {
                        limit.low.checked_sub(1).map(|high| Interval { high, ..*bounds })
                    } else {
                        kept.push((policy, case));
                        continue;
                    };
                    match shrunk.filter(|shrunk| !shrunk.is_empty()) {
                        Some(shrunk) => *bounds = shrunk,
                        None => return Some(Merged::Forbidden),
                    }
                    smaller = true;
                }
                ((None, _), [one]) if case.is_of_numbers() => {
                    refuted.push(one.clone());
                    kept.push((policy, case));
                }
                _ => kept.push((policy, case)),
            }
        }
        *forbids = kept;
        if !smaller {
            break;
        }
    }
    Some(Merged::Refuted(refuted))
}

#[cfg(all(test, not(ztfast_rtsan)))]
mod tests;
