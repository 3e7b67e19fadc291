//! Refinement: splits the classes of small layers by the values that conditions read of one side. Then the table
//! resolves conditions over both sides, and conditions of the request compare with constants instead of attributes.
//!
//! The table must stay small enough for the nearest caches. Otherwise such conditions stay for decision time.

use crate::classes::{Atoms, Classes, run, sign};
use crate::codegen::generate;
use crate::layers::{Layer, LayerSide};
use crate::layout::Layout;
use crate::plan::{Plans, Side, reads};
use crate::tables::Tables;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use ztfast_cedar::ir::{Expr, Var};
use ztfast_vm::{Arena, EntityRef, Fault, Instr, Scratch, StoreView, Tag, Value};

/// The most cells of a refined layer.
const REFINEMENT_BUDGET: u64 = 1 << 16;
/// The most ways to split that are tried.
const MAX_SPLITTERS: usize = 64;

/// The conjuncts that the finer classes resolve.
#[derive(Default)]
pub(crate) struct Refined {
    /// Conjuncts whose truth is the same for all pairs of entities of two classes, sorted.
    pub tabulated: Vec<u32>,
    /// Conditions of the request of which the classes resolve a part, sorted.
    pub specialised: Vec<u32>,
    /// For each class of principals, and of resources, whether values split it, or would split a new entity from it.
    pub split: [Vec<bool>; 2],
}

/// Split a layer's classes as far as its table stays small.
pub(crate) fn refine(
    layer: &mut Layer,
    plans: &Plans,
    principal: &Classes,
    resource: &Classes,
    tables: &mut Tables,
) -> Refined {
    let split = [vec![false; principal.all.len()], vec![false; resource.all.len()]];
    let mut refined = Refined { split, ..Refined::default() };
    if layer.pairs() > REFINEMENT_BUDGET {
        return refined;
    }
    let unrefined = [layer.principal.clone(), layer.resource.clone()];
    let splitters = splitters(layer, plans, tables);
    let mut scored: Vec<(u64, Splitter)> = Vec::new();
    for splitter in splitters {
        if let Some(split) = splitter.apply(layer, principal, resource, tables) {
            scored.push((split.pairs(), splitter));
        }
    }
    // Splitters that add the fewest classes come first, so that the budget resolves as many conjuncts as possible.
    scored.sort_by_key(|(pairs, splitter)| (*pairs, splitter.conjuncts.first().copied()));
    for (_, splitter) in scored {
        let Some(split) = splitter.apply(layer, principal, resource, tables) else { continue };
        for ((flags, side), splitting) in refined.split.iter_mut().zip(&unrefined).zip(&splitter.sides) {
            if !splitting.code.is_empty() {
                for (flag, &class) in flags.iter_mut().zip(&side.of_class) {
                    *flag |= class != 0 && splitting.wants(&side.selectors[class as usize]);
                }
            }
        }
        (layer.principal, layer.resource) = (split.principal, split.resource);
        for &conjunct in &splitter.conjuncts {
            let request = plans.conjuncts[conjunct as usize].reads.context;
            if request { &mut refined.specialised } else { &mut refined.tabulated }.push(conjunct);
        }
    }
    refined.tabulated.sort_unstable();
    refined.specialised.sort_unstable();
    refined
}

/// Splits classes by the values that some conjuncts read of either side.
struct Splitter {
    conjuncts: Vec<u32>,
    /// The principal's side, and the resource's.
    sides: [SplitterSide; 2],
}

#[derive(Default)]
struct SplitterSide {
    code: Vec<Vec<Instr>>,
    atoms: Atoms,
    /// The selectors of the policies that have the conjuncts.
    selectors: FxHashSet<u32>,
}

impl SplitterSide {
    /// Return whether a policy with one of the conjuncts can apply to entities for which these selectors hold.
    fn wants(&self, selectors: &[u32]) -> bool {
        self.selectors.contains(&0) || selectors.iter().any(|selector| self.selectors.contains(selector))
    }
}

/// The classes of both sides after a split.
struct Split {
    principal: LayerSide,
    resource: LayerSide,
}

impl Split {
    fn pairs(&self) -> u64 {
        (self.principal.count() + 1) * (self.resource.count() + 1)
    }
}

/// Collect the ways to split. Conjuncts that read the same expressions of either side share one.
fn splitters(layer: &Layer, plans: &Plans, tables: &mut Tables) -> Vec<Splitter> {
    let mut by_reads: BTreeMap<Vec<(Side, Expr)>, Splitter> = BTreeMap::new();
    let mut parts_of: FxHashMap<u32, Option<Vec<(Side, Expr)>>> = FxHashMap::default();
    for plan in &layer.plans {
        for &conjunct in plans.residual(plan) {
            let parts = parts_of.entry(conjunct).or_insert_with(|| {
                let known = &plans.conjuncts[conjunct as usize];
                (!known.unresolved).then(|| to_split_by(&known.expr, known.reads.context)).flatten()
            });
            let Some(parts) = parts else { continue };
            if !by_reads.contains_key(parts) {
                if by_reads.len() >= MAX_SPLITTERS {
                    continue;
                }
                let Some(sides) = code(parts, tables) else {
                    parts_of.insert(conjunct, None);
                    continue;
                };
                by_reads.insert(parts.clone(), Splitter { conjuncts: Vec::new(), sides });
            }
            if let Some(splitter) = by_reads.get_mut(parts) {
                splitter.sides[0].selectors.insert(plan.principal);
                splitter.sides[1].selectors.insert(plan.resource);
                if !splitter.conjuncts.contains(&conjunct) {
                    splitter.conjuncts.push(conjunct);
                }
            }
        }
    }
    by_reads.into_values().collect()
}

/// Return the expressions to split by. `None` if there are none, or if the conjunct compares the identity of the
/// principal with that of the resource: two entities that the bundle lacks share stand-ins, which do not tell whether
/// they are the same.
fn to_split_by(expr: &Expr, context: bool) -> Option<Vec<(Side, Expr)>> {
    let mut parts = if context { one_sided(expr) } else { all_one_sided(expr) };
    let named = |side| parts.iter().any(|(of, expr)| *of == side && names(expr));
    if parts.is_empty() || (named(Side::Principal) && named(Side::Resource)) {
        return None;
    }
    parts.sort();
    Some(parts)
}

fn code(parts: &[(Side, Expr)], tables: &mut Tables) -> Option<[SplitterSide; 2]> {
    let mut sides = [SplitterSide::default(), SplitterSide::default()];
    for (side, expr) in parts {
        let code = generate(expr, &Layout::default(), tables).ok()?;
        let of = &mut sides[*side as usize];
        of.atoms.read(expr, side.var(), tables);
        of.code.push(code);
    }
    Some(sides)
}

impl Splitter {
    /// Split both sides; `None` if that would make too many classes.
    fn apply(&self, layer: &Layer, principal: &Classes, resource: &Classes, tables: &Tables) -> Option<Split> {
        let most = |other: &LayerSide, own: &LayerSide| (REFINEMENT_BUDGET / (other.count() + 1)).max(own.count() + 1);
        let most_principals = most(&layer.resource, &layer.principal);
        let principal = self.sides[0].apply(&layer.principal, principal, most_principals, tables)?;
        let most_resources = most(&principal, &layer.resource);
        let resource = self.sides[1].apply(&layer.resource, resource, most_resources, tables)?;
        Some(Split { principal, resource })
    }
}

impl SplitterSide {
    fn apply(&self, side: &LayerSide, classes: &Classes, most: u64, tables: &Tables) -> Option<LayerSide> {
        if self.code.is_empty() {
            return Some(side.clone());
        }
        let view = tables.view();
        let mut scratch = Scratch::default();
        let wanted: Vec<bool> = side.selectors.iter().map(|selectors| self.wants(selectors)).collect();
        let mut finer = LayerSide {
            of_class: side.of_class.clone(),
            selectors: vec![Vec::new()],
            samples: vec![EntityRef::known(0)],
            column: None,
        };
        let mut values: FxHashMap<Vec<u64>, u32> = FxHashMap::default();
        let mut signed: FxHashMap<Vec<u64>, u32> = FxHashMap::default();
        let mut known: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut column = vec![0; classes.of_entity.len()];
        let mut signature = Vec::new();
        for (number, &class) in classes.of_entity.iter().enumerate() {
            let old = side.column.as_ref().map_or_else(|| side.of_class[class as usize], |column| column[number]);
            if old == 0 {
                continue;
            }
            let entity = tables.sample(u32::try_from(number).unwrap_or(u32::MAX));
            let mut value = || {
                let mut described = Vec::new();
                for code in &self.code {
                    let value = run(&view, entity, entity, &mut scratch, |vm| vm.run(code));
                    describe(value, &view, &scratch, &mut described);
                }
                let fresh = u32::try_from(values.len()).unwrap_or(u32::MAX);
                *values.entry(described).or_insert(fresh)
            };
            let key = if wanted[old as usize] {
                signature.clear();
                if sign(&self.atoms, entity, tables, &view, &mut signature) {
                    match signed.get(&signature) {
                        Some(&value) => value,
                        None => *signed.entry(signature.clone()).or_insert(value()),
                    }
                } else {
                    value()
                }
            } else {
                u32::MAX
            };
            let new = *known.entry((old, key)).or_insert_with(|| {
                finer.selectors.push(side.selectors[old as usize].clone());
                finer.samples.push(entity);
                u32::try_from(finer.samples.len() - 1).unwrap_or(u32::MAX)
            });
            if finer.count() > most {
                return None;
            }
            column[number] = new;
        }
        finer.column = Some(column);
        Some(finer)
    }
}

/// Return the largest subexpressions that read one side only: the rest of the expression depends on that side only
/// through them.
fn all_one_sided(expr: &Expr) -> Vec<(Side, Expr)> {
    fn collect(expr: &Expr, found: &mut Vec<(Side, Expr)>) {
        let read = reads(expr);
        let side = match (read.principal, read.resource, read.context) {
            (true, false, false) => Side::Principal,
            (false, true, false) => Side::Resource,
            (false, false, _) => return,
            _ => return expr.children(&mut |child| collect(child, found)),
        };
        if !found.iter().any(|(_, known)| known == expr) {
            found.push((side, expr.clone()));
        }
    }
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

/// Return those of [`all_one_sided`] whose value cannot contain the principal or the resource itself, so that many
/// entities share it.
pub(crate) fn one_sided(expr: &Expr) -> Vec<(Side, Expr)> {
    all_one_sided(expr).into_iter().filter(|(_, expr)| !names(expr)).collect()
}

/// Return whether the expression's value can contain the principal or the resource itself.
fn names(expr: &Expr) -> bool {
    match expr {
        Expr::Var(Var::Principal | Var::Resource) => true,
        Expr::GetAttr(operand, _) => !matches!(**operand, Expr::Var(_)) && names(operand),
        Expr::If(_, a, b) => names(a) || names(b),
        Expr::Set(parts) => parts.iter().any(names),
        Expr::Record(entries) => entries.values().any(names),
        _ => false,
    }
}

/// Append numbers that are equal only for equal values. (Equal sets of composites may differ in order. That makes a
/// class too many, which only costs a little memory.)
fn describe(value: Result<Value, Fault>, view: &StoreView<'_>, scratch: &Scratch, out: &mut Vec<u64>) {
    let Ok(value) = value else { return out.push(u64::MAX) };
    out.push(u64::from(value.tag));
    let values = if value.arena() == Arena::Scratch { scratch.values() } else { view.values };
    let start = value.start() as usize;
    let width = match Tag::from_u32(value.tag) {
        Some(Tag::Set) => 1,
        Some(Tag::Record) => 2,
        Some(Tag::Ip6) => {
            out.push(u64::from(value.len()));
            let bits = values.get(start).map_or(0, |wide| wide.wide_bits());
            return out.extend([(bits >> 64) as u64, u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)]);
        }
        _ => return out.push(value.payload),
    };
    out.push(u64::from(value.len()));
    for &part in values.get(start..start + value.len() as usize * width).unwrap_or_default() {
        describe(Ok(part), view, scratch, out);
    }
}
