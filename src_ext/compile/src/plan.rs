//! Plans: the parts of a policy. These are what it asks of the principal alone, of the resource alone, and what is
//! left.
//!
//! The part over one side is a *selector*: the policy's scope, and its conjuncts over that side. Policies share
//! selectors, and actions share policies, so each selector is evaluated once per entity, however many policies and
//! actions have it.

use crate::codegen::{generate, opaque};
use crate::errors::{Errors, all, fails};
use crate::layout::Layout;
use crate::options::Options;
use crate::tables::Tables;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use ztfast_bundle::ERRED;
use ztfast_cedar::ir::{Action, ActionScope, Binary, Datum, Effect, Expr, Model, Policy, Scope, Uid, Var};
use ztfast_vm::{EntityRef, Instr, Request, Scratch, Vm};

/// The ways of erring that are told apart in one policy. What comes after them is one.
const MAX_ERRING: usize = 32;

/// The two sides of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Principal,
    Resource,
}

impl Side {
    pub const fn var(self) -> Var {
        match self {
            Self::Principal => Var::Principal,
            Self::Resource => Var::Resource,
        }
    }
}

/// The variables that a conjunct reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // four variables, each read or not
pub(crate) struct Reads {
    pub principal: bool,
    pub action: bool,
    pub resource: bool,
    pub context: bool,
}

/// A conjunct, shared by all policies that have it.
pub(crate) struct Conjunct {
    pub expr: Arc<Expr>,
    pub reads: Reads,
    /// The code; empty for conjuncts that read the context, whose code depends on the action's slots.
    pub code: Vec<Instr>,
    /// Why Cedar has to evaluate the conjunct, if it has to.
    opaque: Option<Arc<str>>,
    /// Whether the conjunct looks into an entity that the policy names. A change of that entity changes the conjunct
    /// for all requests, so it stays for decision time.
    pub unresolved: bool,
}

impl Conjunct {
    pub const fn is_opaque(&self) -> bool {
        self.opaque.is_some()
    }
}

/// What a policy asks of one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Selector {
    pub ty: Option<u32>,
    pub entity: Option<u32>,
    /// Entities of which one must be the entity or an ancestor. If there are none, any ancestors will do.
    pub within: Vec<u32>,
    /// The conjuncts, sorted.
    pub conjuncts: Vec<u32>,
}

/// The selectors of one side. The first asks nothing.
pub(crate) struct Selectors {
    pub all: Vec<Selector>,
    numbers: FxHashMap<Selector, u32>,
}

impl Default for Selectors {
    fn default() -> Self {
        let nothing = Selector::default();
        Self { numbers: FxHashMap::from_iter([(nothing.clone(), 0)]), all: vec![nothing] }
    }
}

impl Selectors {
    pub fn add(&mut self, selector: Selector) -> u32 {
        if let Some(&known) = self.numbers.get(&selector) {
            return known;
        }
        let fresh = count(self.all.len());
        self.all.push(selector.clone());
        self.numbers.insert(selector, fresh);
        fresh
    }
}

/// A policy within an action; of a policy that denies where it errs, a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The policy's number in the model.
    pub policy: u32,
    pub forbid: bool,
    /// The policy's selectors.
    pub principal: u32,
    pub resource: u32,
    /// The place of the conjuncts that neither side resolves alone.
    rest: (u32, u32),
    /// Whether Cedar has to evaluate the policy. Its compiled conjuncts still narrow down where it applies.
    pub opaque: bool,
    /// Whether the plan says in which requests the policy errs, which then denies. Other plans of the policy say in
    /// which it is satisfied or errs in another way; no request has two of these.
    pub erred: bool,
}

impl Plan {
    /// Return the policy's number as programs have it.
    pub const fn number(&self) -> u32 {
        self.policy | if self.erred { ERRED } else { 0 }
    }

    /// Return a key for what is left of the plan if only the selectors are resolved.
    pub const fn key(&self) -> (u32, (u32, u32)) {
        (self.number(), self.rest)
    }
}

/// Return how many policies these are the plans of.
pub(crate) fn policies(plans: &[Plan]) -> usize {
    plans.iter().map(|plan| plan.policy).collect::<FxHashSet<_>>().len()
}

/// The part of a plan that does not depend on the action.
#[derive(Clone)]
enum Prepared {
    /// The policy never applies, because a conjunct that reads nothing is not true.
    Never,
    Plan(Plan),
    /// Some conjuncts read the action, or it depends on the action how they err: these are all conjuncts.
    PerAction(Vec<u32>),
}

/// The conjuncts and selectors of all policies.
pub(crate) struct Plans {
    pub conjuncts: Vec<Conjunct>,
    numbers: FxHashMap<Arc<Expr>, u32>,
    pub principal: Selectors,
    pub resource: Selectors,
    prepared: Vec<Prepared>,
    rests: Vec<u32>,
    /// Why Cedar has to evaluate a policy, by policy.
    pub fallbacks: FxHashMap<u32, Arc<str>>,
    scratch: Scratch,
    /// Whether a forbid that errs denies, and whether the policies passed strict validation.
    strict_errors: bool,
    validated: bool,
}

impl Plans {
    /// Return the plans of no policies.
    pub fn empty(options: &Options) -> Self {
        Self {
            conjuncts: Vec::new(),
            numbers: FxHashMap::default(),
            principal: Selectors::default(),
            resource: Selectors::default(),
            prepared: Vec::new(),
            rests: Vec::new(),
            fallbacks: FxHashMap::default(),
            scratch: Scratch::default(),
            strict_errors: options.strict_errors,
            validated: options.strict,
        }
    }

    /// Split all policies into conjuncts and selectors.
    pub fn new(model: &Model, options: &Options, tables: &mut Tables) -> Self {
        let mut plans = Self::empty(options);
        for (number, policy) in model.policies.iter().enumerate() {
            let conjuncts: Vec<u32> = policy.conjuncts.iter().map(|expr| plans.conjunct(expr, tables)).collect();
            let reads_action = conjuncts.iter().any(|&at| plans.conjuncts[at as usize].reads.action);
            let prepared = if reads_action || plans.denies_by_errors(policy) {
                Prepared::PerAction(conjuncts)
            } else {
                plans.plan(count(number), policy, &conjuncts, tables).map_or(Prepared::Never, Prepared::Plan)
            };
            plans.prepared.push(prepared);
        }
        plans
    }

    /// Return the policies that can apply to an action, forbids first, each in the model's order.
    pub fn of_action(&mut self, model: &Model, action: &Action, tables: &mut Tables) -> Vec<Plan> {
        let mut plans = Vec::new();
        for (number, policy) in model.policies.iter().enumerate() {
            if !admits(&policy.action, action) {
                continue;
            }
            match self.prepared[number].clone() {
                Prepared::Never => {}
                Prepared::Plan(plan) => plans.push(plan),
                Prepared::PerAction(conjuncts) => {
                    let filled: Vec<u32> =
                        conjuncts.into_iter().map(|at| self.with_action(at, &action.uid, tables)).collect();
                    if self.denies_by_errors(policy) {
                        self.with_errors(count(number), policy, action, &filled, tables, &mut plans);
                    } else {
                        plans.extend(self.plan(count(number), policy, &filled, tables));
                    }
                }
            }
        }
        plans.sort_by_key(|plan| !plan.forbid);
        plans
    }

    const fn denies_by_errors(&self, policy: &Policy) -> bool {
        self.strict_errors && matches!(policy.effect, Effect::Forbid)
    }

    /// Make the plans of a forbid that denies where it errs, too: one for where it is satisfied, and one for each way
    /// in which it errs. Its first conjunct in source order that is not true decides whether it errs, so each of the
    /// latter asks that all conjuncts before are true.
    fn with_errors(
        &mut self,
        number: u32,
        policy: &Policy,
        action: &Action,
        conjuncts: &[u32],
        tables: &mut Tables,
        plans: &mut Vec<Plan>,
    ) {
        let mut errors = Errors::new(&action.context, self.validated);
        let mut erring: Vec<Vec<u32>> = Vec::new();
        // How many conjuncts come before the first that can err.
        let mut certain = conjuncts.len();
        let opaque = conjuncts.iter().position(|&at| self.conjuncts[at as usize].is_opaque());
        for (at, &conjunct) in conjuncts.iter().enumerate().take(opaque.unwrap_or(conjuncts.len())) {
            let expr = self.conjuncts[conjunct as usize].expr.clone();
            let is_last = erring.len() >= MAX_ERRING;
            let ways: Vec<Vec<Expr>> = if is_last {
                let rest = conjuncts[at..].iter().map(|&at| (*self.conjuncts[at as usize].expr).clone());
                vec![vec![fails(all(rest))]]
            } else {
                errors.of_condition(&expr).into_iter().map(|way| way.conditions).collect()
            };
            if !ways.is_empty() {
                certain = certain.min(at);
            }
            for way in ways {
                let own: Vec<u32> = way.iter().map(|expr| self.conjunct(expr, tables)).collect();
                erring.push([&conjuncts[..at], &own].concat());
            }
            if is_last {
                break;
            }
            errors.learn(&expr, Some(true));
        }
        if let Some(opaque) = opaque {
            // Cedar tells whether the policy errs, too, unless a conjunct before is false.
            let narrowed = [&conjuncts[..certain.min(opaque)], &conjuncts[opaque..=opaque]].concat();
            plans.extend(self.plan(number, policy, &narrowed, tables));
            return;
        }
        plans.extend(self.plan(number, policy, conjuncts, tables));
        for conjuncts in erring {
            plans.extend(self.plan(number, policy, &conjuncts, tables).map(|plan| Plan { erred: true, ..plan }));
        }
    }

    /// Return the conjuncts of a plan that neither side resolves alone.
    pub fn residual(&self, plan: &Plan) -> &[u32] {
        &self.rests[plan.rest.0 as usize..][..plan.rest.1 as usize]
    }

    /// Return the number of a conjunct, and add it if it is new.
    pub fn conjunct(&mut self, expr: &Expr, tables: &mut Tables) -> u32 {
        if let Some(&known) = self.numbers.get(expr) {
            return known;
        }
        let reads = reads(expr);
        let mut reason = opaque(expr);
        let mut code = Vec::new();
        if reason.is_none() && !reads.action {
            // The code of conjuncts that read the context is generated once their slots are known. This only checks
            // that it can be.
            let generated = generate(expr, &Layout::default(), tables);
            match generated {
                Ok(made) if !reads.context => code = made,
                Ok(_) => {}
                Err(why) => reason = Some(why),
            }
        }
        let expr = Arc::new(expr.clone());
        let fresh = count(self.conjuncts.len());
        let unresolved = looks_into_named(&expr);
        self.conjuncts.push(Conjunct { expr: expr.clone(), reads, code, opaque: reason, unresolved });
        self.numbers.insert(expr, fresh);
        fresh
    }

    /// Fill the action into a conjunct.
    pub fn with_action(&mut self, conjunct: u32, action: &Uid, tables: &mut Tables) -> u32 {
        let known = &self.conjuncts[conjunct as usize];
        if !known.reads.action {
            return conjunct;
        }
        let filled = known.expr.map(&mut |expr| match expr {
            Expr::Var(Var::Action) => Some(Expr::Datum(Datum::Entity(action.clone()))),
            _ => None,
        });
        self.conjunct(&filled, tables)
    }

    /// Return whether a conjunct that reads nothing is true.
    pub fn holds_always(&mut self, conjunct: u32, tables: &Tables) -> bool {
        let any_entity = EntityRef::known(0);
        let request = Request::bare(any_entity, any_entity);
        let view = tables.view();
        Vm::new(&view, &request, &mut self.scratch).holds(&self.conjuncts[conjunct as usize].code) == Ok(true)
    }

    /// Make the plan of a policy; `None` if a conjunct that reads nothing is not true, so that the policy never
    /// applies.
    fn plan(&mut self, number: u32, policy: &Policy, conjuncts: &[u32], tables: &mut Tables) -> Option<Plan> {
        let mut sides = [selector(&policy.principal, tables), selector(&policy.resource, tables)];
        let mut rest: Vec<u32> = Vec::new();
        let mut is_opaque = false;
        for &at in conjuncts {
            let conjunct = &self.conjuncts[at as usize];
            if let Some(reason) = &conjunct.opaque {
                is_opaque = true;
                self.fallbacks.entry(number).or_insert_with(|| reason.clone());
                continue;
            }
            let side = match conjunct.reads {
                _ if conjunct.unresolved => None,
                Reads { principal: true, resource: false, context: false, .. } => Some(Side::Principal),
                Reads { principal: false, resource: true, context: false, .. } => Some(Side::Resource),
                Reads { principal: false, resource: false, context: false, .. } => {
                    if !self.holds_always(at, tables) {
                        return None;
                    }
                    continue;
                }
                _ => None,
            };
            match side {
                Some(side) => {
                    let selector = &mut sides[side as usize];
                    if !narrow(selector, &conjunct.expr, side.var(), tables) {
                        selector.conjuncts.push(at);
                    }
                }
                None if !rest.contains(&at) => rest.push(at),
                None => {}
            }
        }
        for selector in &mut sides {
            selector.conjuncts.sort_unstable();
            selector.conjuncts.dedup();
        }
        let [principal, resource] = sides;
        let start = count(self.rests.len());
        self.rests.extend_from_slice(&rest);
        Some(Plan {
            policy: number,
            forbid: policy.effect == Effect::Forbid,
            principal: self.principal.add(principal),
            resource: self.resource.add(resource),
            rest: (start, count(rest.len())),
            opaque: is_opaque,
            erred: false,
        })
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than bytes of policy text")
}

pub(crate) fn admits(scope: &ActionScope, action: &Action) -> bool {
    let within = |uid: &Uid| *uid == action.uid || action.ancestors.contains(uid);
    match scope {
        ActionScope::Any => true,
        ActionScope::Eq(uid) => *uid == action.uid,
        ActionScope::In(uids) => uids.iter().any(within),
    }
}

pub(crate) fn selector(scope: &Scope, tables: &mut Tables) -> Selector {
    let mut selector = Selector::default();
    match scope {
        Scope::Any => {}
        Scope::Is(ty) => selector.ty = Some(tables.type_number(ty)),
        Scope::Eq(uid) => selector.entity = Some(tables.entity(uid).index),
        Scope::In(uid) => selector.within = vec![tables.entity(uid).index],
        Scope::IsIn(ty, uid) => {
            selector.ty = Some(tables.type_number(ty));
            selector.within = vec![tables.entity(uid).index];
        }
    }
    selector
}

/// Move a condition that a scope could express into the selector, so that an index finds it instead of an evaluation.
/// (None of these conditions can fail, and a scope and a condition hold together iff each does.)
fn narrow(selector: &mut Selector, expr: &Expr, var: Var, tables: &mut Tables) -> bool {
    let is_var = |expr: &Expr| *expr == Expr::Var(var);
    match expr {
        Expr::Is(a, ty) if is_var(a) => {
            let ty = tables.type_number(ty);
            selector.ty.is_none_or(|known| known == ty) && {
                selector.ty = Some(ty);
                true
            }
        }
        Expr::Binary(Binary::Eq, a, b) => {
            let uid = match (&**a, &**b) {
                (Expr::Datum(Datum::Entity(uid)), other) | (other, Expr::Datum(Datum::Entity(uid)))
                    if is_var(other) =>
                {
                    uid
                }
                _ => return false,
            };
            let free = selector.entity.is_none();
            if free {
                selector.entity = Some(tables.entity(uid).index);
            }
            free
        }
        Expr::Binary(Binary::In, a, b) if is_var(a) && selector.within.is_empty() => {
            selector.within = match &**b {
                Expr::Datum(Datum::Entity(uid)) => vec![tables.entity(uid).index],
                Expr::Datum(Datum::Set(elements)) => {
                    let uid = |element: &'_ Datum| match element {
                        Datum::Entity(uid) => Some(tables.entity(uid).index),
                        _ => None,
                    };
                    elements.iter().map(uid).collect::<Option<Vec<u32>>>().unwrap_or_default()
                }
                _ => return false,
            };
            selector.within.sort_unstable();
            !selector.within.is_empty()
        }
        _ => false,
    }
}

/// Return the variables that an expression reads.
pub(crate) fn reads(expr: &Expr) -> Reads {
    let mut found = match expr {
        Expr::Var(Var::Principal) => Reads { principal: true, ..Reads::default() },
        Expr::Var(Var::Action) => Reads { action: true, ..Reads::default() },
        Expr::Var(Var::Resource) => Reads { resource: true, ..Reads::default() },
        Expr::Var(Var::Context) => Reads { context: true, ..Reads::default() },
        _ => Reads::default(),
    };
    expr.children(&mut |child| {
        let inner = reads(child);
        found.principal |= inner.principal;
        found.action |= inner.action;
        found.resource |= inner.resource;
        found.context |= inner.context;
    });
    found
}

/// Return the entity whose attributes, tags or ancestors an operator asks for.
fn subject(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::GetAttr(subject, _)
        | Expr::HasAttr(subject, _)
        | Expr::Binary(Binary::In | Binary::GetTag | Binary::HasTag, subject, _) => Some(subject),
        _ => None,
    }
}

/// Return whether an expression looks into an entity that it names.
fn looks_into_named(expr: &Expr) -> bool {
    fn names(expr: &Expr) -> bool {
        let mut found = matches!(expr, Expr::Datum(value) if holds_entity(value));
        expr.children(&mut |child| found |= names(child));
        found
    }
    let mut found = subject(expr).is_some_and(names);
    expr.children(&mut |child| found |= looks_into_named(child));
    found
}

fn holds_entity(value: &Datum) -> bool {
    match value {
        Datum::Entity(_) => true,
        Datum::Set(elements) => elements.iter().any(holds_entity),
        Datum::Record(fields) => fields.values().any(holds_entity),
        _ => false,
    }
}

/// Return how many entities lie between principal or resource and what the expression reads: `principal.desk.limit` has
/// 1.
pub(crate) fn reach(expr: &Expr) -> u32 {
    fn steps(expr: &Expr) -> u32 {
        let mut most = 0;
        expr.children(&mut |child| most = most.max(steps(child)));
        most + match expr {
            Expr::HasAttr(_, path) => count(path.len()),
            _ => u32::from(subject(expr).is_some()),
        }
    }
    steps(expr).saturating_sub(1)
}
