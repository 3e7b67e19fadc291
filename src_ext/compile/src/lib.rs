//! The compiler: one epoch of policies, schema and entities in, the tables of a bundle out.
//!
//! ```text
//! model ── tables    strings, types, entities and values become numbers and cells
//!       ── layout    each action's context becomes slots
//!       ── plan      each policy, per action, is sorted into what the principal, the resource, both, or the request settle
//!       ── classes   entities for which the same policies can apply become one class
//!       ── cells     each pair of classes becomes a decision or a program
//! ```
//!
//! Why this is exact: a policy is satisfied iff its scope matches and each conjunct, evaluated alone, is true; an error
//! and a false are both "not true". So the conjuncts may be evaluated in any order and at any time, as long as each is
//! evaluated whole, by Cedar's semantics. See ARCHITECTURE.md for the cases in which that is easy to get wrong.
#![forbid(unsafe_code)]

mod cells;
mod classes;
mod codegen;
mod layout;
mod plan;
mod ranges;
mod specialise;
mod tables;

use std::collections::BTreeMap;
use ztfast_bundle::{ActionMeta, Meta, Parts, PolicyMeta};
use ztfast_policy::Sources;
use ztfast_policy::ir::{Effect, Model};

/// Why a model could not be compiled. The policies are well-formed by then: these are limits of the tables.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The table of an action would not fit.
    #[error(
        "{action}: {principals} classes of principals and {resources} of resources would make a table of {cells} cells, \
         more than the {limit} that one action may have; let policies name groups instead of single entities"
    )]
    TableTooLarge {
        /// The action.
        action: String,
        /// Classes of principals.
        principals: u64,
        /// Classes of resources.
        resources: u64,
        /// Their product.
        cells: u64,
        /// The most there may be.
        limit: u64,
    },
    /// A condition could not be laid out.
    #[error("{action}: a condition cannot be laid out: {why}")]
    Condition {
        /// The action.
        action: String,
        /// Why.
        why: String,
    },
    /// A count that has to fit 32 bits does not.
    #[error("too many {what}: more than the file format has room for")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
}

/// Called as the work goes on: what is being done, how much of it is done, how much there is.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Compile a model. `sources` travel in the bundle, so that Cedar itself can explain a decision later.
///
/// # Errors
/// [`CompileError`] where a limit of the tables is exceeded.
pub fn compile(model: &Model, sources: &Sources, strict: bool, progress: Progress<'_>) -> Result<Parts, CompileError> {
    let actions = u64::try_from(model.actions.len()).unwrap_or(u64::MAX);
    progress("entities", 0, actions);
    let mut tables = tables::Tables::new(model)?;
    let mut parts = Parts::default();
    let mut fallbacks: BTreeMap<u32, String> = BTreeMap::new();
    let mut meta = Meta { writer: env!("CARGO_PKG_VERSION").to_owned(), strict, ..Meta::default() };
    for (done, action) in model.actions.iter().enumerate() {
        progress(&action.uid.to_string(), u64::try_from(done).unwrap_or(u64::MAX), actions);
        let layout = layout::Layout::new(&action.context, &mut tables);
        let plans = plan::plan(model, action, &layout, &mut tables);
        for plan in &plans.plans {
            if let Some(reason) = &plan.opaque {
                fallbacks.entry(plan.policy).or_insert_with(|| reason.to_string());
            }
        }
        let classes = classes::classes(action, &plans, &mut tables);
        meta.stats.actions.push(cells::cells(action, &layout, &plans, classes, &mut tables, &mut parts)?);
        meta.actions.push(ActionMeta {
            ty: action.uid.ty.to_string(),
            id: action.uid.id.to_string(),
            principals: action.principals.iter().map(ToString::to_string).collect(),
            resources: action.resources.iter().map(ToString::to_string).collect(),
            context: layout.fields,
        });
    }
    progress("bundle", actions, actions);
    meta.policies = (0_u32..)
        .zip(&model.policies)
        .map(|(number, policy)| PolicyMeta {
            id: policy.id.to_string(),
            effect: match policy.effect {
                Effect::Permit => "permit".to_owned(),
                Effect::Forbid => "forbid".to_owned(),
            },
            annotations: policy.annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            file: sources.files.get(policy.file as usize).map_or_else(String::new, |file| file.name.clone()),
            line: policy.line,
            fallback: fallbacks.get(&number).cloned(),
        })
        .collect();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let over_actions = |f: fn(&ztfast_bundle::ActionStats) -> u64| meta.stats.actions.iter().map(f).sum::<u64>();
    meta.stats.policies = count(model.policies.len());
    meta.stats.entities = count(model.entities.len());
    meta.stats.classes = over_actions(|a| a.principal_classes + a.resource_classes);
    meta.stats.cells = count(parts.table.len());
    meta.stats.programs = over_actions(|a| a.programs);
    meta.stats.fallbacks = count(fallbacks.len());
    meta.stats.residual = over_actions(|a| a.residual);
    meta.stats.instructions = count(parts.code.len());
    tables.finish(&mut parts);
    parts.meta_json = json(&meta);
    parts.sources_json = json(sources);
    Ok(parts)
}

/// Plain data as JSON.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("data without maps of other keys than texts becomes JSON")
}

/// A count as the 32-bit number that the tables hold.
fn number(count: usize, what: &'static str) -> Result<u32, CompileError> {
    u32::try_from(count).map_err(|_| CompileError::TooMany { what })
}
