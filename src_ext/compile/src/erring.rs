//! Finds the errors that conditions give for entities of the store, or always, as warnings for the author.
//!
//! Only errors of one side alone are looked for. What may err by a request's values, or at entities that the store
//! lacks, errs for some requests and is right for others.

use crate::classes::{Classes, classes};
use crate::errors::Errors;
use crate::options::Options;
use crate::plan::{Plans, Reads, Side, admits, reads, selector};
use crate::tables::Tables;
use rustc_hash::{FxHashMap, FxHashSet};
use ztfast_cedar::ir::{Action, Datum, Expr, Model, Policy, Uid};
use ztfast_cedar::{Erring, ErringEntities};
use ztfast_vm::{EntityRef, PRESENT, Value};

/// An error that the entities of one side may give.
struct Suspect {
    policy: usize,
    culprit: Expr,
    /// The side, and the selector of its entities that give it; `None` if it is given always.
    by: Option<(Side, u32)>,
    /// The types of the entities to which the policy's actions apply.
    types: FxHashSet<u32>,
    /// Whether conditions before depend on more than these entities.
    conditional: bool,
}

/// Find the errors of all policies. What this adds to the tables is dropped.
pub(crate) fn find(model: &Model, options: &Options, tables: &mut Tables) -> Vec<Erring> {
    let sizes = tables.sizes();
    let found = Search { plans: Plans::empty(options), suspects: Vec::new() }.run(model, options, tables);
    tables.truncate(&sizes);
    found
}

struct Search {
    plans: Plans,
    suspects: Vec<Suspect>,
}

impl Search {
    fn run(mut self, model: &Model, options: &Options, tables: &mut Tables) -> Vec<Erring> {
        for (number, policy) in model.policies.iter().enumerate() {
            let mut actions = model.actions.iter().filter(|action| admits(&policy.action, action));
            let reads_action = policy.conjuncts.iter().any(|expr| reads(expr).action);
            if reads_action {
                actions.for_each(|action| self.suspect(number, policy, &[action], options, tables));
            } else if actions.next().is_some() {
                let all: Vec<&Action> = model.actions.iter().filter(|action| admits(&policy.action, action)).collect();
                self.suspect(number, policy, &all, options, tables);
            }
        }
        let (principals, resources) = (self.of_side(Side::Principal, tables), self.of_side(Side::Resource, tables));
        let mut found: Vec<Erring> = Vec::new();
        for suspect in self.suspects {
            let entities = match suspect.by {
                None => None,
                Some((side, selector)) => {
                    let of = if side == Side::Principal { &principals } else { &resources };
                    let types = &suspect.types;
                    let (mut first, mut count) = (u32::MAX, 0);
                    for (ty, entity, entities) in of.get(&selector).into_iter().flatten() {
                        if types.contains(ty) {
                            (first, count) = (first.min(*entity), count + entities);
                        }
                    }
                    let Some(uid) = uid(first, tables).filter(|_| count > 0) else { continue };
                    Some(ErringEntities { var: side.var(), first: uid, others: count - 1 })
                }
            };
            let Suspect { policy, culprit, conditional, .. } = suspect;
            let policy = model.policies[policy].id.clone();
            let erring = Erring { policy, culprit, entities, conditional };
            // Ways to one part of the text, and actions, are one error for the author.
            let same = |known: &&mut Erring| known.policy == erring.policy && known.culprit == erring.culprit;
            match found.iter_mut().rev().take(MAX_SAME).find(same) {
                None => found.push(erring),
                Some(known) => {
                    let others = |erring: &Erring| erring.entities.as_ref().map_or(u64::MAX, |of| of.others);
                    if others(&erring) > others(known) {
                        *known = erring;
                    }
                }
            }
        }
        found
    }

    /// Add what may err in a policy, for these actions, which the conditions do not tell apart.
    fn suspect(&mut self, number: usize, policy: &Policy, actions: &[&Action], options: &Options, tables: &mut Tables) {
        let [first, ..] = actions else { return };
        let mut errors = Errors::new(&first.context, options.strict);
        let mut before: Vec<u32> = Vec::new();
        for expr in &policy.conjuncts {
            let plain = self.plans.conjunct(expr, tables);
            let conjunct = self.plans.with_action(plain, &first.uid, tables);
            if self.plans.conjuncts[conjunct as usize].is_opaque() {
                return;
            }
            let expr = self.plans.conjuncts[conjunct as usize].expr.clone();
            for way in errors.of_condition(&expr) {
                let own = way.conditions.iter().map(|condition| self.plans.conjunct(condition, tables));
                let all: Vec<u32> = before.iter().copied().chain(own.collect::<Vec<_>>()).collect();
                let of_itself = way.conditions.last().map(reads).unwrap_or_default();
                if way.conditions.last().is_some_and(|last| is_told_by_validation(last, options)) {
                    continue;
                }
                let side = match of_itself {
                    Reads { principal: false, resource: false, context: false, .. } => None,
                    Reads { principal: true, resource: false, context: false, .. } => Some(Side::Principal),
                    Reads { principal: false, resource: true, context: false, .. } => Some(Side::Resource),
                    _ => continue,
                };
                self.add(number, policy, actions, (&all, way.culprit), side, tables);
            }
            errors.learn(&expr, Some(true));
            before.push(conjunct);
        }
    }

    /// Add a suspect, given by the conjuncts that hold if it errs, unless one that reads nothing does not hold.
    fn add(
        &mut self,
        number: usize,
        policy: &Policy,
        actions: &[&Action],
        (conjuncts, culprit): (&[u32], Expr),
        side: Option<Side>,
        tables: &mut Tables,
    ) {
        let (mut of_side, mut conditional) = (Vec::new(), false);
        for &at in conjuncts {
            let conjunct = &self.plans.conjuncts[at as usize];
            let Reads { principal, resource, context, .. } = conjunct.reads;
            match (principal, resource, context) {
                (false, false, false) if self.plans.holds_always(at, tables) => {}
                (false, false, false) => return,
                (true, false, false) if side == Some(Side::Principal) => of_side.push(at),
                (false, true, false) if side == Some(Side::Resource) => of_side.push(at),
                // Others may hold for some request.
                _ => conditional = true,
            }
        }
        of_side.sort_unstable();
        of_side.dedup();
        let by = side.map(|side| {
            let scope = if side == Side::Principal { &policy.principal } else { &policy.resource };
            let mut asked = selector(scope, tables);
            asked.conjuncts = of_side;
            let all = if side == Side::Principal { &mut self.plans.principal } else { &mut self.plans.resource };
            (side, all.add(asked))
        });
        let types = actions.iter().flat_map(|action| match side {
            Some(Side::Resource) => &action.resources,
            _ => &action.principals,
        });
        let types = types.map(|ty| tables.type_number(ty)).collect();
        self.suspects.push(Suspect { policy: number, culprit, by, types, conditional });
    }

    /// Return, by selector, the classes for which it holds: their type, their first entity of the store, and how many
    /// the store has.
    fn of_side(&self, side: Side, tables: &mut Tables) -> FxHashMap<u32, Vec<(u32, u32, u64)>> {
        let mut wanted = vec![false; tables.types.len()];
        let suspects = self.suspects.iter().filter(|suspect| suspect.by.is_some_and(|(of, _)| of == side));
        for &ty in suspects.flat_map(|suspect| &suspect.types) {
            if let Some(wanted) = wanted.get_mut(ty as usize) {
                *wanted = true;
            }
        }
        if !wanted.contains(&true) {
            return FxHashMap::default();
        }
        let Classes { of_entity, all, parts } = classes(side, &wanted, &self.plans, tables, &mut |_| {});
        let mut sizes: Vec<(u32, u64)> = vec![(u32::MAX, 0); all.len()];
        for ((number, &class), record) in (0_u32..).zip(&of_entity).zip(&tables.entities) {
            if class != 0 && record.flags & PRESENT != 0 {
                let (first, count) = &mut sizes[class as usize];
                (*first, *count) = ((*first).min(number), *count + 1);
            }
        }
        let mut found: FxHashMap<u32, Vec<(u32, u32, u64)>> = FxHashMap::default();
        for (class, (first, count)) in all.iter().zip(sizes).filter(|(_, (_, count))| *count > 0) {
            for selector in class.parts.iter().flat_map(|&part| parts[part as usize].iter()) {
                found.entry(*selector).or_default().push((class.ty, first, count));
            }
        }
        found
    }
}

/// The errors before one that are compared with it: those of one policy lie together.
const MAX_SAME: usize = 64;

/// Return whether strict validation makes sure that listed entities do not give an error: they have the attributes that
/// are read of them.
fn is_told_by_validation(condition: &Expr, options: &Options) -> bool {
    let Expr::Fails(expr) = condition else { return false };
    options.strict && matches!(&**expr, Expr::GetAttr(entity, _) if matches!(**entity, Expr::Var(_)))
}

fn uid(entity: u32, tables: &Tables) -> Option<Uid> {
    tables.entities.get(entity as usize)?;
    match tables.value_of(Value::entity(EntityRef::known(entity)), &[]) {
        Some(Datum::Entity(uid)) => Some(uid),
        _ => None,
    }
}
