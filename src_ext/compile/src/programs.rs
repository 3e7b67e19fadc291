//! Programs: the residuals of policies for decision time, and the programs that consist of them.

use crate::classes::holds;
use crate::codegen::generate;
use crate::error::{CompileError, number};
use crate::layout::Layout;
use crate::plan::{Plan, Plans};
use crate::ranges::range;
use crate::refine::Refined;
use crate::specialise::{Left, Specialiser};
use crate::tables::Tables;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use ztfast_bundle::{CellKind, Parts, Residual, pack_cell, write_program};
use ztfast_cedar::ir::Expr;
use ztfast_vm::{EntityRef, Scratch};

/// The most words of all programs: a cell has 30 bits for a program's place.
const MAX_PROGRAM_WORDS: u32 = 1 << 30;

/// Why a table was not built.
pub(crate) enum Stop {
    /// The table exceeds a budget; another form may fit.
    TooLarge,
    Error(CompileError),
}

impl From<CompileError> for Stop {
    fn from(error: CompileError) -> Self {
        Self::Error(error)
    }
}

/// Writes the programs of one action.
pub(crate) struct Programs<'a> {
    action: String,
    layout: &'a Layout,
    plans: &'a Plans,
    /// The place of each condition's code.
    placed: FxHashMap<Arc<Expr>, (u32, u32)>,
    /// The variants, each with the ranges and code of its conjuncts.
    variants: Vec<Variant>,
    /// Variants, by policy and residual conditions.
    numbers: FxHashMap<(u32, Vec<Arc<Expr>>), u32>,
    /// Programs, by the variants that may apply.
    made: FxHashMap<Box<[u32]>, u32>,
    /// The variants of plans of which nothing is resolved, by the plans' keys.
    whole: FxHashMap<(u32, (u32, u32)), u32>,
    scratch: Scratch,
}

/// A policy after a table has resolved a part of it.
struct Variant {
    plan: Plan,
    residual: Residual,
}

impl Variant {
    const fn is_certain(&self) -> bool {
        self.residual.ranges.is_empty() && self.residual.conjuncts.is_empty() && !self.plan.opaque
    }
}

/// What the classes of a layer resolve.
#[derive(Default)]
pub(crate) struct Resolved {
    refined: Refined,
    /// Specialisers, by conjunct.
    specialisers: FxHashMap<u32, Specialiser>,
}

impl Resolved {
    pub fn new(refined: Refined, plans: &Plans, tables: &mut Tables) -> Self {
        let specialisers = refined
            .specialised
            .iter()
            .filter_map(|&at| Some((at, Specialiser::new(&plans.conjuncts[at as usize].expr, tables)?)))
            .collect();
        Self { refined, specialisers }
    }

    /// Return whether the table resolves nothing beyond what the unrefined classes resolve.
    pub fn is_nothing(&self) -> bool {
        self.refined.tabulated.is_empty() && self.specialisers.is_empty()
    }

    pub fn tabulated(&self) -> usize {
        self.refined.tabulated.len()
    }
}

impl<'a> Programs<'a> {
    pub fn new(action: String, layout: &'a Layout, plans: &'a Plans) -> Self {
        Self {
            action,
            layout,
            plans,
            placed: FxHashMap::default(),
            variants: Vec::new(),
            numbers: FxHashMap::default(),
            made: FxHashMap::default(),
            whole: FxHashMap::default(),
            scratch: Scratch::default(),
        }
    }

    /// Return the action, as Cedar text.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Return the number of distinct programs.
    pub fn count(&self) -> u64 {
        self.made.len() as u64
    }

    /// Return the number of conditions that are left, over all variants.
    pub fn residual(&self) -> u64 {
        self.variants
            .iter()
            .map(|variant| (variant.residual.ranges.len() + variant.residual.conjuncts.len()) as u64)
            .sum()
    }

    /// Make the cell of a pair of classes, given by a sample of each, in which these policies may apply.
    pub fn cell(
        &mut self,
        plans: &[Plan],
        sample: (EntityRef, EntityRef),
        resolved: &Resolved,
        tables: &mut Tables,
        parts: &mut Parts,
    ) -> Result<u32, CompileError> {
        let mut variants = Vec::with_capacity(plans.len());
        for plan in plans {
            if resolved.is_nothing() {
                variants.push(self.whole(plan, tables, parts)?);
            } else if let Some(left) = self.left(plan, sample, resolved, tables) {
                variants.push(self.variant(plan, left, tables, parts)?);
            }
        }
        let program = self.program(&variants, parts)?;
        Ok(pack_cell(self.kind(&variants), program))
    }

    /// Make a program of one policy, of which only the selectors are resolved.
    pub fn alone(&mut self, plan: &Plan, tables: &mut Tables, parts: &mut Parts) -> Result<u32, CompileError> {
        let variant = self.whole(plan, tables, parts)?;
        self.program(&[variant], parts)
    }

    fn whole(&mut self, plan: &Plan, tables: &mut Tables, parts: &mut Parts) -> Result<u32, CompileError> {
        if let Some(&known) = self.whole.get(&plan.key()) {
            return Ok(known);
        }
        let plans = self.plans;
        let left = plans.residual(plan).iter().map(|&at| plans.conjuncts[at as usize].expr.clone()).collect();
        let variant = self.variant(plan, left, tables, parts)?;
        self.whole.insert(plan.key(), variant);
        Ok(variant)
    }

    /// Return the conditions of a policy that are left in a pair of classes; `None` if it cannot apply.
    fn left(
        &mut self,
        plan: &Plan,
        sample: (EntityRef, EntityRef),
        resolved: &Resolved,
        tables: &mut Tables,
    ) -> Option<Vec<Arc<Expr>>> {
        let mut left = Vec::new();
        for &at in self.plans.residual(plan) {
            let conjunct = &self.plans.conjuncts[at as usize];
            if resolved.refined.tabulated.binary_search(&at).is_ok() {
                if !holds(&tables.view(), &conjunct.code, sample.0, sample.1, &mut self.scratch) {
                    return None;
                }
                continue;
            }
            let Some(specialiser) = resolved.specialisers.get(&at) else {
                left.push(conjunct.expr.clone());
                continue;
            };
            match specialiser.left(sample.0, sample.1, tables, &mut self.scratch) {
                Left::Never => return None,
                Left::All(conjuncts) => left.extend(conjuncts.into_iter().map(Arc::new)),
            }
        }
        Some(left)
    }

    fn variant(
        &mut self,
        plan: &Plan,
        left: Vec<Arc<Expr>>,
        tables: &mut Tables,
        parts: &mut Parts,
    ) -> Result<u32, CompileError> {
        let key = (plan.number(), left);
        if let Some(&known) = self.numbers.get(&key) {
            return Ok(known);
        }
        let mut residual = Residual { policy: plan.number(), ..Residual::default() };
        for expr in &key.1 {
            if let Some(range) = range(expr, self.layout, tables) {
                residual.ranges.push(range);
                continue;
            }
            residual.conjuncts.push(self.place(expr, tables, parts)?);
        }
        let fresh = number(self.variants.len(), "variants of policies")?;
        self.variants.push(Variant { plan: *plan, residual });
        self.numbers.insert(key, fresh);
        Ok(fresh)
    }

    /// Return the place of a condition's code, and generate it if it is new.
    fn place(&mut self, expr: &Arc<Expr>, tables: &mut Tables, parts: &mut Parts) -> Result<(u32, u32), CompileError> {
        if let Some(&known) = self.placed.get(expr) {
            return Ok(known);
        }
        let code = generate(expr, self.layout, tables)
            .map_err(|why| CompileError::Condition { action: self.action.clone(), why: why.to_string() })?;
        let place = (number(parts.code.len(), "instructions")?, number(code.len(), "instructions")?);
        parts.code.extend(code);
        self.placed.insert(expr.clone(), place);
        Ok(place)
    }

    /// Return the kind of a cell: what is certain without looking at the request.
    fn kind(&self, variants: &[u32]) -> CellKind {
        let certain = |&variant: &u32| self.variants[variant as usize].is_certain();
        let (forbids, permits) = self.by_effect(variants);
        if forbids.iter().any(certain) {
            CellKind::Forbid
        } else if variants.is_empty() {
            CellKind::Default
        } else if forbids.is_empty() && permits.iter().any(certain) {
            CellKind::Allow
        } else {
            CellKind::Program
        }
    }

    /// Split variants into forbids and permits. Policies, and so a cell's variants, have forbids first.
    fn by_effect<'v>(&self, variants: &'v [u32]) -> (&'v [u32], &'v [u32]) {
        variants.split_at(variants.partition_point(|&variant| self.variants[variant as usize].plan.forbid))
    }

    fn program(&mut self, variants: &[u32], parts: &mut Parts) -> Result<u32, CompileError> {
        if let Some(&known) = self.made.get(variants) {
            return Ok(known);
        }
        let start = number(parts.programs.len(), "words of programs")?;
        if start >= MAX_PROGRAM_WORDS {
            return Err(CompileError::TooMany { what: "programs" });
        }
        let (forbids, permits) = self.by_effect(variants);
        let residual = |&variant: &u32| &self.variants[variant as usize].residual;
        let opaque = variants.iter().any(|&variant| self.variants[variant as usize].plan.opaque);
        write_program(&mut parts.programs, forbids.iter().map(residual), permits.iter().map(residual), opaque)
            .map_err(|_| CompileError::TooMany { what: "conditions in one policy" })?;
        self.made.insert(variants.into(), start);
        Ok(start)
    }

    /// Forget the programs from this place on.
    pub fn forget_from(&mut self, start: usize, parts: &mut Parts) {
        parts.programs.truncate(start);
        self.made.retain(|_, &mut place| (place as usize) < start);
    }
}
