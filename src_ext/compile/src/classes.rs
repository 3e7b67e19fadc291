//! Entities to classes: one class for all entities to which the same policies can apply.
//!
//! Policies are found by their scope (any, by type, by uid, by ancestor), so the work goes with the number of policies
//! that match an entity. Conjuncts over principal and resource together are settled in the table as well where that
//! keeps it small: the classes are split by the values that such a conjunct reads of either side.

use crate::codegen::generate;
use crate::layout::Layout;
use crate::plan::{Conjunct, Plan, Plans, reads};
use crate::tables::Tables;
use std::collections::{BTreeSet, HashMap};
use ztfast_policy::ir::{Action, Expr, Scope, Uid, Var};
use ztfast_program::{Arena, Cell, EntityRef, Fault, Instr, Request, Scratch, StoreView, Tag, Vm};

/// Cells that settling conjuncts in the table may cost an action. Small enough for the table to stay in the caches.
const REFINEMENT_BUDGET: u64 = 1 << 16;

/// The two sides of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Principal,
    Resource,
}

/// The classes of one side. Class 0 is left for entities to which the action does not apply.
pub(crate) struct Classes {
    /// The first entity that has a class.
    pub first: u32,
    /// Classes of the entities from there on.
    pub of_entity: Vec<u32>,
    /// Per class (from class 1 on) the plans that can apply, sorted.
    pub plans: Vec<Vec<u32>>,
    /// Per class (from class 1 on) an entity of it.
    pub samples: Vec<EntityRef>,
}

/// Both sides' classes, and which conjuncts over both they settle.
pub(crate) struct Sides {
    pub principal: Classes,
    pub resource: Classes,
    /// Conjuncts whose truth is the same for all pairs of entities of two classes.
    pub tabulated: Vec<u32>,
    /// Conditions of the request in which classes settle a part.
    pub specialised: Vec<u32>,
}

/// Sort the entities of the action's types into classes.
pub(crate) fn classes(action: &Action, plans: &Plans, tables: &mut Tables) -> Sides {
    let mut principal = Grouping::by_plans(Side::Principal, action, plans, tables);
    let mut resource = Grouping::by_plans(Side::Resource, action, plans, tables);
    let mut candidates: Vec<Splitter> = Vec::new();
    let wanted: BTreeSet<u32> =
        plans.plans.iter().flat_map(|plan| plan.on_both.iter().chain(&plan.on_request).copied()).collect();
    for conjunct in wanted {
        if let Some(splitter) = Splitter::new(conjunct, &plans.conjuncts[conjunct as usize], action, tables) {
            candidates.push(splitter);
        }
    }
    // Those that split least come first, so that the budget settles as many as it can.
    let mut scored: Vec<(u64, Splitter, Grouping, Grouping)> = candidates
        .into_iter()
        .map(|splitter| {
            let (p, r) = splitter.apply(&principal, &resource, plans, tables);
            (p.count() * r.count(), splitter, p, r)
        })
        .collect();
    scored.sort_by_key(|&(cells, ref splitter, ..)| (cells, splitter.conjunct));
    let (mut tabulated, mut specialised) = (Vec::new(), Vec::new());
    for (position, (_, splitter, p, r)) in scored.into_iter().enumerate() {
        let (p, r) = if position == 0 { (p, r) } else { splitter.apply(&principal, &resource, plans, tables) };
        let before = principal.count() * resource.count();
        let cells = p.count() * r.count();
        if cells == before || cells <= REFINEMENT_BUDGET {
            (principal, resource) = (p, r);
            let request = plans.conjuncts[splitter.conjunct as usize].reads.context;
            if request { &mut specialised } else { &mut tabulated }.push(splitter.conjunct);
        }
    }
    tabulated.sort_unstable();
    specialised.sort_unstable();
    Sides { principal: principal.finish(), resource: resource.finish(), tabulated, specialised }
}

/// Entities of one side, grouped.
struct Grouping {
    side: Side,
    first: u32,
    /// Group per entity; `u32::MAX` for those to which the action does not apply.
    of_entity: Vec<u32>,
    plans: Vec<Vec<u32>>,
    samples: Vec<EntityRef>,
}

impl Grouping {
    fn by_plans(side: Side, action: &Action, plans: &Plans, tables: &Tables) -> Self {
        let types = match side {
            Side::Principal => &action.principals,
            Side::Resource => &action.resources,
        };
        let spans: Vec<_> = types.iter().filter_map(|ty| tables.type_rec(ty)).collect();
        let first = spans.iter().map(|ty| ty.start).min().unwrap_or(0);
        let end = spans.iter().map(|ty| ty.end).max().unwrap_or(0);
        let mut grouping = Self {
            side,
            first,
            of_entity: vec![u32::MAX; (end - first) as usize],
            plans: Vec::new(),
            samples: Vec::new(),
        };
        let index = ScopeIndex::new(side, plans, tables);
        let view = tables.view();
        let mut scratch = Scratch::default();
        let mut groups: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut truths = Truths::new(plans.conjuncts.len());
        for span in spans {
            for number in span.start..span.end {
                if number == span.absent && span.enumerated == 1 {
                    continue;
                }
                let entity = sample(number, span.absent);
                truths.next();
                let held = index.matching(number, &view, |plan| {
                    let conjuncts = match side {
                        Side::Principal => &plan.on_principal,
                        Side::Resource => &plan.on_resource,
                    };
                    conjuncts.iter().all(|&conjunct| {
                        truths.get(conjunct, || {
                            let code = &plans.conjuncts[conjunct as usize].code;
                            run(&view, entity, entity, &mut scratch, |vm| vm.holds(code)) == Ok(true)
                        })
                    })
                });
                let fresh = groups.len();
                let group = *groups.entry(held).or_insert_with_key(|held| {
                    grouping.plans.push(held.clone());
                    grouping.samples.push(entity);
                    u32::try_from(fresh).expect("groups are no more than entities")
                });
                grouping.of_entity[(number - first) as usize] = group;
            }
        }
        grouping
    }

    fn count(&self) -> u64 {
        self.plans.len() as u64
    }

    /// Split the groups by what `values` says of an entity; groups for which it is not `wanted` stay whole.
    fn split(
        &self,
        wanted: impl Fn(&[u32]) -> bool,
        tables: &Tables,
        mut values: impl FnMut(EntityRef) -> Vec<u64>,
    ) -> Self {
        let wanted: Vec<bool> = self.plans.iter().map(|held| wanted(held)).collect();
        let mut groups: HashMap<(u32, Vec<u64>), u32> = HashMap::new();
        let (mut plans, mut samples) = (Vec::new(), Vec::new());
        let of_entity = (self.first..)
            .zip(&self.of_entity)
            .map(|(number, &group)| {
                if group == u32::MAX {
                    return group;
                }
                let entity = stand_in(number, tables);
                let key = if wanted[group as usize] { values(entity) } else { Vec::new() };
                let fresh = u32::try_from(groups.len()).expect("groups are no more than entities");
                *groups.entry((group, key)).or_insert_with(|| {
                    plans.push(self.plans[group as usize].clone());
                    samples.push(entity);
                    fresh
                })
            })
            .collect();
        Self { side: self.side, first: self.first, of_entity, plans, samples }
    }

    fn finish(self) -> Classes {
        let of_entity = self.of_entity.into_iter().map(|group| group.wrapping_add(1)).collect();
        Classes { first: self.first, of_entity, plans: self.plans, samples: self.samples }
    }
}

/// The entity of a number, as a request would name it: a stand-in is some entity that the bundle lacks.
fn sample(number: u32, absent: u32) -> EntityRef {
    EntityRef { index: number, foreign: u32::from(number == absent) }
}

fn stand_in(number: u32, tables: &Tables) -> EntityRef {
    let absent = tables
        .entities
        .get(number as usize)
        .and_then(|entity| tables.types.get(entity.ty as usize))
        .map_or(u32::MAX, |ty| ty.absent);
    sample(number, absent)
}

pub(crate) fn run<T>(
    view: &StoreView<'_>,
    principal: EntityRef,
    resource: EntityRef,
    scratch: &mut Scratch,
    job: impl FnOnce(&mut Vm<'_, '_>) -> T,
) -> T {
    let request = Request::bare(principal, resource);
    job(&mut Vm::new(view, &request, scratch))
}

/// Whether a conjunct over both sides holds for these two entities.
pub(crate) fn holds(view: &StoreView<'_>, code: &[Instr], principal: EntityRef, resource: EntityRef) -> bool {
    run(view, principal, resource, &mut Scratch::default(), |vm| vm.holds(code)) == Ok(true)
}

/// Truths of conjuncts for the entity at hand.
struct Truths {
    round: u32,
    known: Vec<(u32, bool)>,
}

impl Truths {
    fn new(conjuncts: usize) -> Self {
        Self { round: 0, known: vec![(0, false); conjuncts] }
    }

    fn next(&mut self) {
        self.round += 1;
    }

    fn get(&mut self, conjunct: u32, find: impl FnOnce() -> bool) -> bool {
        let known = &mut self.known[conjunct as usize];
        if known.0 != self.round {
            *known = (self.round, find());
        }
        known.1
    }
}

/// The plans by what their scope asks of one side.
struct ScopeIndex<'p> {
    plans: &'p [Plan],
    any: Vec<u32>,
    by_type: HashMap<u32, Vec<u32>>,
    by_entity: HashMap<u32, Vec<u32>>,
    /// By ancestor, with the type asked for besides (`u32::MAX` for none).
    by_ancestor: HashMap<u32, Vec<(u32, u32)>>,
}

impl<'p> ScopeIndex<'p> {
    fn new(side: Side, plans: &'p Plans, tables: &Tables) -> Self {
        let mut index = Self {
            plans: &plans.plans,
            any: Vec::new(),
            by_type: HashMap::new(),
            by_entity: HashMap::new(),
            by_ancestor: HashMap::new(),
        };
        let entity = |uid: &Uid| tables.entity(uid).index;
        for (number, plan) in (0_u32..).zip(&plans.plans) {
            let scope = match side {
                Side::Principal => &plan.principal,
                Side::Resource => &plan.resource,
            };
            match scope {
                Scope::Any => index.any.push(number),
                Scope::Is(ty) => index.by_type.entry(tables.type_number(ty)).or_default().push(number),
                Scope::Eq(uid) => index.by_entity.entry(entity(uid)).or_default().push(number),
                Scope::In(uid) => index.by_ancestor.entry(entity(uid)).or_default().push((number, u32::MAX)),
                Scope::IsIn(ty, uid) => {
                    index.by_ancestor.entry(entity(uid)).or_default().push((number, tables.type_number(ty)));
                }
            }
        }
        index
    }

    /// The plans whose scope matches an entity and of which `also` is true, sorted.
    fn matching(&self, number: u32, view: &StoreView<'_>, mut also: impl FnMut(&Plan) -> bool) -> Vec<u32> {
        let mut found = Vec::new();
        let Some(record) = view.entity(EntityRef::known(number)) else { return found };
        let mut consider = |plan: u32| {
            if also(&self.plans[plan as usize]) {
                found.push(plan);
            }
        };
        self.any.iter().copied().for_each(&mut consider);
        self.by_type.get(&record.ty).into_iter().flatten().copied().for_each(&mut consider);
        self.by_entity.get(&number).into_iter().flatten().copied().for_each(&mut consider);
        if !self.by_ancestor.is_empty() {
            let ancestors = view.ancestors(record).unwrap_or_default();
            for above in ancestors.iter().chain([&number]) {
                let asked = self.by_ancestor.get(above).into_iter().flatten();
                asked.filter(|(_, ty)| [u32::MAX, record.ty].contains(ty)).for_each(|&(plan, _)| consider(plan));
            }
        }
        found.sort_unstable();
        found
    }
}

/// Splits classes by the values that one conjunct reads of either side.
struct Splitter {
    conjunct: u32,
    principal: Vec<Vec<Instr>>,
    resource: Vec<Vec<Instr>>,
}

impl Splitter {
    /// `None` where there is nothing to split by, and where the conjunct compares who the principal is with who the
    /// resource is: of two entities that the bundle lacks, the stand-ins do not say whether they are the same.
    fn new(number: u32, conjunct: &Conjunct, action: &Action, tables: &mut Tables) -> Option<Self> {
        let parts = if conjunct.reads.context { one_sided(&conjunct.expr) } else { all_one_sided(&conjunct.expr) };
        let named = |side| parts.iter().any(|(of, expr)| *of == side && names(expr));
        if parts.is_empty() || (named(Side::Principal) && named(Side::Resource)) {
            return None;
        }
        let nothing = Layout { fields: Vec::new(), kinds: Vec::new() };
        let (mut principal, mut resource) = (Vec::new(), Vec::new());
        for (side, expr) in &parts {
            let code = generate(expr, &action.uid, &nothing, tables).ok()?;
            if *side == Side::Principal { &mut principal } else { &mut resource }.push(code);
        }
        Some(Self { conjunct: number, principal, resource })
    }

    fn apply(&self, principal: &Grouping, resource: &Grouping, plans: &Plans, tables: &Tables) -> (Grouping, Grouping) {
        let wanted = |held: &[u32]| {
            let has = |plan: &Plan| plan.on_both.contains(&self.conjunct) || plan.on_request.contains(&self.conjunct);
            held.iter().any(|&plan| has(&plans.plans[plan as usize]))
        };
        let view = tables.view();
        let mut scratch = Scratch::default();
        let mut values = |codes: &[Vec<Instr>], entity: EntityRef| {
            let mut out = Vec::new();
            for code in codes {
                let value = run(&view, entity, entity, &mut scratch, |vm| vm.run(code));
                describe(value, &view, &scratch, &mut out);
            }
            out
        };
        let p = principal.split(wanted, tables, |entity| values(&self.principal, entity));
        let r = resource.split(wanted, tables, |entity| values(&self.resource, entity));
        (p, r)
    }
}

/// The largest subexpressions that read one side only: what the rest of the expression sees of that side.
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

/// Those of them whose value does not hold the principal or the resource itself, and so is the same for many.
pub(crate) fn one_sided(expr: &Expr) -> Vec<(Side, Expr)> {
    all_one_sided(expr).into_iter().filter(|(_, expr)| !names(expr)).collect()
}

/// Whether the expression's value can hold the principal or the resource itself.
fn names(expr: &Expr) -> bool {
    match expr {
        Expr::Var(Var::Principal | Var::Resource) => true,
        Expr::GetAttr(base, _) => !matches!(**base, Expr::Var(_)) && names(base),
        Expr::If(_, a, b) => names(a) || names(b),
        Expr::Set(parts) => parts.iter().any(names),
        Expr::Record(entries) => entries.values().any(names),
        _ => false,
    }
}

/// Numbers that are equal only for equal values. (Equal sets may differ in order where they hold composites: then there
/// is a class too many, which costs a little room and nothing else.)
fn describe(value: Result<Cell, Fault>, view: &StoreView<'_>, scratch: &Scratch, out: &mut Vec<u64>) {
    let Ok(cell) = value else { return out.push(u64::MAX) };
    out.push(u64::from(cell.tag));
    let cells = match cell.arena() {
        Some(Arena::Scratch) => scratch.cells(),
        _ => view.cells,
    };
    let start = cell.start() as usize;
    let width = match Tag::from_u32(cell.tag) {
        Some(Tag::Set) => 1,
        Some(Tag::Record) => 2,
        Some(Tag::Ip6) => {
            out.push(u64::from(cell.len()));
            let bits = cells.get(start).map_or(0, |wide| wide.wide_bits());
            return out.extend([(bits >> 64) as u64, u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)]);
        }
        _ => return out.push(cell.payload),
    };
    out.push(u64::from(cell.len()));
    for &part in cells.get(start..start + cell.len() as usize * width).unwrap_or_default() {
        describe(Ok(part), view, scratch, out);
    }
}
