//! Per action: which policies its scope admits, and what settles each of their conjuncts.

use crate::codegen::{generate, opaque};
use crate::layout::Layout;
use crate::tables::Tables;
use std::collections::HashMap;
use std::sync::Arc;
use ztfast_policy::ir::{Action, ActionScope, Effect, Expr, Model, Scope, Uid, Var};
use ztfast_program::{EntityRef, Instr, Request, Scratch, Vm};

/// What a conjunct reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reads {
    pub principal: bool,
    pub resource: bool,
    pub context: bool,
}

/// A conjunct of the action, shared by all policies that have it.
pub(crate) struct Conjunct {
    pub expr: Expr,
    pub reads: Reads,
    pub code: Vec<Instr>,
}

/// A policy as the action sees it.
pub(crate) struct Plan {
    /// Its number in the model.
    pub policy: u32,
    pub effect: Effect,
    pub principal: Scope,
    pub resource: Scope,
    /// Numbers of conjuncts that the principal alone settles.
    pub on_principal: Vec<u32>,
    /// Numbers of conjuncts that the resource alone settles.
    pub on_resource: Vec<u32>,
    /// Numbers of conjuncts that both settle together.
    pub on_both: Vec<u32>,
    /// Numbers of conjuncts that need the request.
    pub on_request: Vec<u32>,
    /// Why Cedar has to answer for the policy, if it has to. Its compiled conjuncts still narrow down where.
    pub opaque: Option<Arc<str>>,
}

/// An action's policies (forbids first, each in the model's order) and their conjuncts.
pub(crate) struct Plans {
    pub plans: Vec<Plan>,
    pub conjuncts: Vec<Conjunct>,
}

/// Sort the conjuncts of each policy that can apply to the action.
pub(crate) fn plan(model: &Model, action: &Action, layout: &Layout, tables: &mut Tables) -> Plans {
    let mut planner = Planner { action: &action.uid, layout, tables, conjuncts: Vec::new(), numbers: HashMap::new() };
    let mut plans: Vec<Plan> = (0_u32..)
        .zip(&model.policies)
        .filter(|(_, policy)| admits(&policy.action, action))
        .filter_map(|(number, policy)| planner.plan(number, policy))
        .collect();
    plans.sort_by_key(|plan| plan.effect != Effect::Forbid);
    Plans { plans, conjuncts: planner.conjuncts }
}

fn admits(scope: &ActionScope, action: &Action) -> bool {
    let within = |uid: &Uid| *uid == action.uid || action.ancestors.contains(uid);
    match scope {
        ActionScope::Any => true,
        ActionScope::Eq(uid) => *uid == action.uid,
        ActionScope::In(uids) => uids.iter().any(within),
    }
}

struct Planner<'a> {
    action: &'a Uid,
    layout: &'a Layout,
    tables: &'a mut Tables,
    conjuncts: Vec<Conjunct>,
    numbers: HashMap<Expr, Result<u32, Arc<str>>>,
}

impl Planner<'_> {
    /// `None` where a conjunct that reads nothing is not true: the policy never applies to this action.
    fn plan(&mut self, number: u32, policy: &ztfast_policy::ir::Policy) -> Option<Plan> {
        let mut plan = Plan {
            policy: number,
            effect: policy.effect,
            principal: policy.principal.clone(),
            resource: policy.resource.clone(),
            on_principal: Vec::new(),
            on_resource: Vec::new(),
            on_both: Vec::new(),
            on_request: Vec::new(),
            opaque: None,
        };
        for expr in &policy.conjuncts {
            let conjunct = match self.conjunct(expr) {
                Ok(conjunct) => conjunct,
                Err(reason) => {
                    plan.opaque.get_or_insert(reason);
                    continue;
                }
            };
            let Reads { principal, resource, context } = self.conjuncts[conjunct as usize].reads;
            let list = match (principal, resource, context) {
                (_, _, true) => &mut plan.on_request,
                (true, true, false) => &mut plan.on_both,
                (true, false, false) => &mut plan.on_principal,
                (false, true, false) => &mut plan.on_resource,
                (false, false, false) => {
                    if !self.holds_always(conjunct) {
                        return None;
                    }
                    continue;
                }
            };
            if !list.contains(&conjunct) {
                list.push(conjunct);
            }
        }
        Some(plan)
    }

    fn conjunct(&mut self, expr: &Expr) -> Result<u32, Arc<str>> {
        if let Some(known) = self.numbers.get(expr) {
            return known.clone();
        }
        let made = self.make(expr);
        self.numbers.insert(expr.clone(), made.clone());
        made
    }

    fn make(&mut self, expr: &Expr) -> Result<u32, Arc<str>> {
        if let Some(reason) = opaque(expr) {
            return Err(reason);
        }
        let code = generate(expr, self.action, self.layout, self.tables)?;
        self.conjuncts.push(Conjunct { expr: expr.clone(), reads: reads(expr), code });
        Ok(u32::try_from(self.conjuncts.len() - 1).expect("fewer conjuncts than bytes of policy text"))
    }

    fn holds_always(&self, conjunct: u32) -> bool {
        let nobody = EntityRef::known(0);
        let request = Request::bare(nobody, nobody);
        let view = self.tables.view();
        let mut scratch = Scratch::default();
        Vm::new(&view, &request, &mut scratch).holds(&self.conjuncts[conjunct as usize].code) == Ok(true)
    }
}

/// What an expression reads.
pub(crate) fn reads(expr: &Expr) -> Reads {
    let mut found = match expr {
        Expr::Var(Var::Principal) => Reads { principal: true, ..Reads::default() },
        Expr::Var(Var::Resource) => Reads { resource: true, ..Reads::default() },
        Expr::Var(Var::Context) => Reads { context: true, ..Reads::default() },
        _ => Reads::default(),
    };
    expr.children(&mut |child| {
        let inner = reads(child);
        found.principal |= inner.principal;
        found.resource |= inner.resource;
        found.context |= inner.context;
    });
    found
}
