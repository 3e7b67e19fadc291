//! Builds a gate's own table: partially evaluates the programs of an action for what the gate passes.
//!
//! Attributes that the gate never passes are absent, and arguments have fixed places. What is left of the forbids of a
//! pair of classes is merged: those that concern one argument alone become the box outside of which some forbid
//! applies, the others become clauses. The work is bounded: where a bound is reached, cells are left to the walk over
//! the action's layers, which decides everything.

use crate::binding::Binding;
use crate::layers::cell;
use crate::lift::Lifter;
use crate::linear::{Case, Interval, Linear};
use crate::lines::{CHECKED, Conditions, GateTable, NEXT_LINE, NO_POLICY, PERMITS, Rule, WALK, Writer};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use ztfast_bundle::{Bundle, CellKind, Form, LayerRec, Program, cell_kind, cell_program};
use ztfast_codes::Code;

/// The most classes of one side.
const MAX_CLASSES: usize = 1 << 17;
/// The most lines of a gate.
const MAX_LINES: usize = 1 << 14;
/// The work that building a table may take: about an instruction, or a word that is copied or compared, each.
const BUDGET: usize = 1 << 22;
/// The words of a clause, with its conditions.
const CLAUSE: usize = 16;
/// The most cases of the forbids, and of the permits, of one pair of classes.
const MAX_CASES: usize = 256;
/// The most rounds of merging forbids. Each round makes the box smaller.
const MAX_ROUNDS: usize = 32;

/// Build the table of a gate, with at most so many cells. It is empty if the gate cannot have one: then the walk
/// decides everything.
pub(crate) fn gate_table(bundle: &Bundle, binding: &Binding, most: usize) -> GateTable {
    build(bundle, binding, most).unwrap_or_default()
}

fn build(bundle: &Bundle, binding: &Binding, most: usize) -> Option<GateTable> {
    let layers = &*binding.layers;
    // Records have no numbers.
    if binding.count == usize::MAX || layers.is_empty() || layers.iter().any(|layer| layer.form == Form::Sets as u32) {
        return None;
    }
    let (rows, principals) =
        axis(bundle, layers, bundle.principal_classes().len(), |layer| layer.principal_map as usize)?;
    let (columns, resources) =
        axis(bundle, layers, bundle.resource_classes().len(), |layer| layer.resource_map as usize)?;
    let width = resources.len() + 1;
    let count = width.checked_mul(principals.len() + 1).filter(|&count| count <= most)?;
    let mut cells = vec![u32::from(Code::NotApplicable as u8); count];
    let lifter = Lifter::new(bundle, binding, BUDGET);
    let mut builder = Builder {
        bundle,
        arguments: binding.count,
        lifter,
        lifted: FxHashMap::default(),
        known: FxHashMap::default(),
        rules: FxHashMap::default(),
        writer: Writer::new(binding.count),
    };
    for (row, principal) in principals.iter().enumerate() {
        for (column, resource) in resources.iter().enumerate() {
            let at = (row + 1) * width + column + 1;
            *cells.get_mut(at)? = builder.cell(layers, principal, resource);
        }
    }
    let offset = |row: u32| row.checked_mul(u32::try_from(width).ok()?);
    Some(GateTable {
        rows: rows.into_iter().map(offset).collect::<Option<_>>()?,
        columns: columns.into(),
        cells: cells.into(),
        lines: builder.writer.finish(builder.lifter.checks),
    })
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
    arguments: usize,
    lifter: Lifter<'a>,
    /// The cases of each residual.
    lifted: FxHashMap<(usize, &'a [u64]), Rc<[Case]>>,
    /// The gate's cell, by the cells of all layers.
    known: FxHashMap<Vec<u32>, u32>,
    /// Lines, by what they say.
    rules: FxHashMap<Rule, u32>,
    writer: Writer,
}

/// The policies of a pair of classes: their numbers, and their cases.
#[derive(Default)]
struct Policies {
    forbids: Vec<(u32, Case)>,
    permits: Vec<(u32, Case)>,
}

impl Builder<'_> {
    /// Return the gate's cell for a pair of classes, given by the layers' classes.
    fn cell(&mut self, layers: &[LayerRec], principal: &[u32], resource: &[u32]) -> u32 {
        let found: Result<Vec<u32>, Code> = layers
            .iter()
            .zip(principal.iter().zip(resource))
            .map(|(layer, (&principal, &resource))| cell(self.bundle, layer, principal, resource))
            .collect();
        let Ok(found) = found else { return u32::from(WALK) };
        if let Some(&known) = self.known.get(&found) {
            return known;
        }
        let made = self.policies(&found).and_then(|policies| self.line(policies)).unwrap_or(u32::from(WALK));
        self.known.insert(found, made);
        made
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

    /// Merge policies into a line, or into a code.
    fn line(&mut self, policies: Policies) -> Option<u32> {
        let code = |code: Code| Some(u32::from(code as u8));
        let Policies { mut forbids, mut permits } = policies;
        let mut bounds = vec![Interval::ALL; self.arguments];
        let refuted = match merge(&mut bounds, &mut forbids, &mut self.lifter)? {
            Merged::Forbidden => return code(Code::Forbid),
            Merged::Refuted(refuted) => refuted,
        };
        let work: usize = permits.iter().map(|(_, case)| case.size() * (1 + refuted.len())).sum();
        if !self.lifter.spend(work) {
            return None;
        }
        permits.retain_mut(|(_, case)| case.simplify(&bounds, &refuted));
        let whole = bounds.iter().all(|bounds| *bounds == Interval::ALL);
        let certain = |(_, case): &(u32, Case)| is_certain(case);
        let inside = if permits.iter().any(certain) {
            Code::Allow as u8
        } else if permits.is_empty() {
            Code::Default as u8
        } else {
            PERMITS
        };
        if whole && forbids.is_empty() && inside != PERMITS {
            return Some(u32::from(inside));
        }
        let policy = match permits.split_first() {
            Some(((first, _), others)) if others.iter().all(|(other, _)| other == first) => *first,
            _ => NO_POLICY,
        };
        let outside = Code::Forbid as u8;
        let clauses = |cases: &[(u32, Case)]| cases.iter().map(|(_, case)| conditions(case)).collect::<Vec<_>>();
        let rule = Rule { bounds, inside, outside, forbids: clauses(&forbids), permits: Vec::new(), policy };
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
        self.write(&[Rule { permits: clauses(&permits), ..rule }])
    }

    /// Write lines that follow each other. Return the first one's cell.
    fn write(&mut self, rules: &[Rule]) -> Option<u32> {
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
        let cell = self.writer.push(first)? | checked;
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
