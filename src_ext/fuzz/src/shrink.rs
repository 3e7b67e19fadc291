//! The shrinker: makes a failing case small, step by step, as long as it still fails.

use crate::generate::Generated;
use std::time::{Duration, Instant};

/// How long the shrinker may work on one case.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shrink a case. `fails` returns how it fails, if it does.
pub(crate) fn shrink(mut case: Generated, fails: &dyn Fn(&Generated) -> Option<String>) -> Generated {
    let began = Instant::now();
    loop {
        let mut changed = false;
        for reduce in [requests, swaps, policies, steps, entities, conditions, values] {
            changed |= reduce(&mut case, fails, began);
        }
        if !changed || began.elapsed() > PATIENCE {
            return case;
        }
    }
}

type Fails<'f> = &'f dyn Fn(&Generated) -> Option<String>;

fn attempt(case: &mut Generated, smaller: Generated, fails: Fails<'_>, began: Instant) -> bool {
    let better = began.elapsed() < PATIENCE && fails(&smaller).is_some();
    if better {
        *case = smaller;
    }
    better
}

/// Leave out elements of a list: halves, then quarters, down to single ones.
fn thin<T: Clone>(
    case: &mut Generated,
    fails: Fails<'_>,
    began: Instant,
    list: fn(&mut Generated, usize) -> &mut Vec<T>,
    which: usize,
) -> bool {
    let mut changed = false;
    let mut size = list(case, which).len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < list(case, which).len() {
            let mut smaller = case.clone();
            let all = list(&mut smaller, which);
            let end = (start + size).min(all.len());
            all.drain(start..end);
            if attempt(case, smaller, fails, began) {
                changed = true;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    changed
}

fn requests(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = false;
    for step in 0..case.steps.len() {
        changed |= thin(case, fails, began, |case, step| &mut case.steps[step].asks, step);
    }
    changed
}

/// Leave out swaps, begin with the policies of one, or thin these.
fn swaps(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = false;
    for at in 0..case.steps.len() {
        let Some(policies) = case.steps[at].swap.clone() else { continue };
        let mut without = case.clone();
        without.steps[at].swap = None;
        let begun = Generated { policies, ..without.clone() };
        if attempt(case, begun, fails, began) || attempt(case, without, fails, began) {
            changed = true;
            continue;
        }
        changed |= thin(case, fails, began, |case, at| case.steps[at].swap.get_or_insert_default(), at);
    }
    changed
}

fn policies(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = thin(case, fails, began, |case, _| &mut case.policies, 0);
    for at in 0..case.policies.len() {
        changed |= thin(case, fails, began, |case, at| &mut case.policies[at].clauses, at);
        for (place, plain) in ["principal", "action", "resource"].into_iter().enumerate() {
            if case.policies[at].scope[place] != plain {
                let mut smaller = case.clone();
                plain.clone_into(&mut smaller.policies[at].scope[place]);
                changed |= attempt(case, smaller, fails, began);
            }
        }
    }
    changed
}

fn steps(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = thin(case, fails, began, |case, _| &mut case.steps, 0);
    for at in 0..case.steps.len() {
        changed |= thin(case, fails, began, |case, at| &mut case.steps[at].upsert, at);
        changed |= thin(case, fails, began, |case, at| &mut case.steps[at].remove, at);
    }
    changed
}

fn entities(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = thin(case, fails, began, |case, _| &mut case.entities, 0);
    for at in 0..case.entities.len() {
        changed |= thin(case, fails, began, |case, at| &mut case.entities[at].parents, at);
    }
    changed
}

fn conditions(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = false;
    for policy in 0..case.policies.len() {
        for clause in 0..case.policies[policy].clauses.len() {
            'again: loop {
                for simpler in case.policies[policy].clauses[clause].1.simpler() {
                    let mut smaller = case.clone();
                    smaller.policies[policy].clauses[clause].1 = simpler;
                    if attempt(case, smaller, fails, began) {
                        changed = true;
                        continue 'again;
                    }
                    if began.elapsed() > PATIENCE {
                        return changed;
                    }
                }
                break;
            }
        }
    }
    changed
}

/// Leave out optional attributes, of entities and of contexts.
fn values(case: &mut Generated, fails: Fails<'_>, began: Instant) -> bool {
    let mut changed = false;
    for at in 0..case.entities.len() {
        for tags in [false, true] {
            let of = &case.entities[at];
            let keys: Vec<_> = if tags { &of.tags } else { &of.attrs }.keys().cloned().collect();
            for key in keys {
                let mut smaller = case.clone();
                let of = &mut smaller.entities[at];
                if tags { &mut of.tags } else { &mut of.attrs }.remove(&key);
                changed |= attempt(case, smaller, fails, began);
            }
        }
    }
    changed
}
