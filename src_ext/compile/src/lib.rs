//! The compiler: turns policies, schema and entities into the tables of a bundle.
//!
//! ```text
//! model ── tables    strings, types, entities and values become numbers and 16-byte values
//!       ── plan      policies become selectors of either side, and residual conjuncts
//!       ── classes   entities for which the same selectors hold become one class
//!       ── layout    each action's context becomes slots
//!       ── layers    each action's policies are grouped where that keeps classes few
//!       ── refine    small layers: classes are split by values, to resolve more in the table
//!       ── forms     each layer's table: dense, rows, or sets
//!       ── programs  the residuals of policies for decision time
//! ```
//!
//! Why this is exact: a policy is satisfied iff its scope matches and each conjunct, evaluated alone, is true; an error
//! and a false are both "not true". So the conjuncts may be evaluated in any order and at any time, as long as each is
//! evaluated as a whole, by Cedar's semantics. ARCHITECTURE.md lists the cases in which this is easy to get wrong.
#![forbid(unsafe_code)]

mod assemble;
mod classes;
mod codegen;
mod erring;
mod error;
mod errors;
mod forms;
mod layers;
mod layout;
mod live;
mod options;
mod plan;
mod programs;
mod ranges;
mod refine;
mod specialise;
mod tables;

pub use error::CompileError;
pub use options::{Options, Progress};

use ztfast_bundle::{Bundle, Parts};
use ztfast_cedar::ir::Model;
use ztfast_cedar::{Erring, Sources};

/// Compile a model. The bundle contains `sources` (without the entities), so that Cedar can explain decisions later.
///
/// If `base` has the store that the options name, its entities are used instead of the model's, which may then be
/// missing. The bundle is the same either way, byte for byte.
///
/// # Errors
/// [`CompileError`] if a limit of the tables is exceeded.
pub fn compile(
    model: Model,
    sources: &Sources,
    options: &Options,
    base: Option<&Bundle>,
    progress: Progress<'_>,
) -> Result<Parts, CompileError> {
    // Expressions nest as deeply here as in the policies.
    ztfast_cedar::with_deep_stack(|| assemble::assemble(model, sources, options, base, None, progress))?
}

/// Compile a model as [`compile`] does, and find the errors that conditions give, for entities of the store or always.
///
/// # Errors
/// As [`compile`].
pub fn compile_and_find_errors(
    model: Model,
    sources: &Sources,
    options: &Options,
    base: Option<&Bundle>,
    progress: Progress<'_>,
) -> Result<(Parts, Vec<Erring>), CompileError> {
    let mut found = Vec::new();
    let compiled = || assemble::assemble(model, sources, options, base, Some(&mut found), progress);
    let parts = ztfast_cedar::with_deep_stack(compiled)??;
    Ok((parts, found))
}
