//! The compiler: one epoch of policies, schema and entities in, the tables of a bundle out.
//!
//! ```text
//! model ── tables    strings, types, entities and values become numbers and cells
//!       ── plan      policies become selectors of either side, and what is left
//!       ── classes   entities for which the same selectors hold become one class
//!       ── layout    each action's context becomes slots
//!       ── layers    each action's policies are grouped where that keeps classes few
//!       ── refine    small layers: classes are split by values, to resolve more in the table
//!       ── forms     each layer's table: dense, rows, or sets
//!       ── programs  what is left of policies for decision time
//! ```
//!
//! Why this is exact: a policy is satisfied iff its scope matches and each conjunct, evaluated alone, is true; an error
//! and a false are both "not true". So the conjuncts may be evaluated in any order and at any time, as long as each is
//! evaluated whole, by Cedar's semantics. See ARCHITECTURE.md for the cases in which that is easy to get wrong.
#![forbid(unsafe_code)]

mod assemble;
mod classes;
mod codegen;
mod forms;
mod layers;
mod layout;
mod plan;
mod programs;
mod ranges;
mod refine;
mod specialise;
mod tables;

use ztfast_bundle::{Bundle, Form, Parts};
use ztfast_cedar::Sources;
use ztfast_cedar::ir::Model;

/// Why a model could not be compiled. The policies are well-formed by then: these are limits of the tables.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No form of an action's table fits.
    #[error(
        "{action}: {principals} classes of principals and {resources} of resources take more room than a table may have, \
         in every form; let policies name groups instead of single entities"
    )]
    TableTooLarge {
        /// The action.
        action: String,
        /// Classes of principals.
        principals: u64,
        /// Classes of resources.
        resources: u64,
    },
    /// A condition could not be laid out.
    #[error("{action}: a condition cannot be laid out: {why}")]
    Condition {
        /// The action.
        action: String,
        /// Why.
        why: String,
    },
    /// A context deeper than the bundle's description can say.
    #[error("{action}: records and sets of its context are nested deeper than 30 levels")]
    Nested {
        /// The action.
        action: String,
    },
    /// Another bundle's tables are not what the compiler writes.
    #[error(
        "the base is no bundle that this ztfast compiled from the same schema and entities: its tables make no sense. \
         Compile without it"
    )]
    Base,
    /// No stack to compile on.
    #[error(transparent)]
    NoStack(#[from] ztfast_cedar::NoStack),
    /// A count that has to fit 32 bits does not.
    #[error("too many {what}: more than the file format has room for")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
}

/// Called as the work goes on: what is being done, how much of it is done, how much there is.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// How to compile.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the policies passed strict validation: the bundle says so.
    pub strict: bool,
    /// The form of all tables; none: the one that costs least, layer by layer.
    pub form: Option<Form>,
    /// Whether to group policies into layers wherever that can be done, be their table ever so small: for tests.
    pub split: bool,
    /// [`ztfast_bundle::store_hash`] of what the entities were read from.
    pub store: String,
    /// The group of actions that the kill switch leaves alone: type and id.
    pub exempt: Option<(String, String)>,
}

/// Compile a model. `sources` (without the entities) travel in the bundle, so that Cedar itself can explain a decision
/// later.
///
/// If there is a `base` whose store is that of the options, its entities are taken instead of the model's, which then
/// need not have any. The bundle is the same either way, byte for byte.
///
/// # Errors
/// [`CompileError`] where a limit of the tables is exceeded.
pub fn compile(
    model: Model,
    sources: &Sources,
    options: &Options,
    base: Option<&Bundle>,
    progress: Progress<'_>,
) -> Result<Parts, CompileError> {
    // Expressions are as deep here as they were in the policies.
    ztfast_cedar::with_deep_stack(|| assemble::assemble(model, sources, options, base, progress))?
}

/// A count as the 32-bit number that the tables hold.
fn number(count: usize, what: &'static str) -> Result<u32, CompileError> {
    u32::try_from(count).map_err(|_| CompileError::TooMany { what })
}
