//! The front end: Cedar parses and validates policies, schema and entities, and this crate turns them into an
//! [`ir::Model`] for the compiler, with each policy split into conjuncts. [`Authorizer`] keeps Cedar's own
//! representation beside it.
//!
//! This is the only crate that depends on `cedar-policy`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod authorizer;
mod diagnostic;
mod entities;
mod erring;
mod expansion;
pub mod ir;
mod json;
mod live;
mod lower;
mod nesting;
mod plain;
mod policies;
mod schema;
mod slice;
mod sources;
mod step_up;
mod unlisted;
mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use authorizer::{Answer, Authorizer, CedarStore, strictly_valid};
pub use diagnostic::{Diagnostic, LoadError, RequestError, Severity, shown};
pub use entities::EntityReader;
pub use erring::{Erring, ErringEntities};
pub use live::{LIVE, LIVE_SCHEMA};
pub use nesting::{NoStack, with_deep_stack};
pub use slice::{SliceEntity, Store};
pub use sources::{SourceFile, Sources};
pub use values::{NoExtension, construct_extension, is_type_name, parse_uid, read_extension, uid_parts, uid_text};

use policies::Policies;
use values::Names;

/// What happens to policies that strict validation refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are refused.
    #[default]
    Strict,
    /// They are compiled, with a warning each.
    Permissive,
    /// Such policies cannot occur: these policies were validated before, by this schema. Nothing is validated again,
    /// and warnings are not repeated.
    Validated,
}

/// Sources that were accepted.
#[derive(Debug)]
pub struct Loaded {
    /// The model for the compiler.
    pub model: ir::Model,
    /// Cedar's own representation of the same sources.
    pub authorizer: Authorizer,
    /// Whether Cedar's strict validation accepts all policies.
    pub strict: bool,
    /// Warnings for the author.
    pub warnings: Vec<Diagnostic>,
}

/// A callback for the number of entities read so far, and of all; called from any thread.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Parse and validate policies, schema and entities.
///
/// # Errors
/// All problems, not only the first: sources that do not parse, link or fit the schema, ids that are used twice, and,
/// if `mode` is strict, everything that Cedar's strict validation refuses.
pub fn load(sources: &Sources, mode: Mode, progress: Progress<'_>) -> Result<Loaded, LoadError> {
    with_deep_stack(|| load_here(sources, mode, progress))
        .unwrap_or_else(|no_stack| Err(LoadError { diagnostics: vec![failure(&sources.schema, no_stack.to_string())] }))
}

fn load_here(sources: &Sources, mode: Mode, progress: Progress<'_>) -> Result<Loaded, LoadError> {
    let mut diagnostics = Vec::new();
    let schema = schema::parse(&sources.schema, &mut diagnostics);
    let Some(schema) = schema else {
        policies::parse(&sources.files, &mut diagnostics);
        return Err(LoadError { diagnostics });
    };
    let of_policies = || {
        let mut diagnostics = Vec::new();
        let policies = policies::parse(&sources.files, &mut diagnostics);
        // Validating incomplete policies would report errors that are none.
        if diagnostic::refused(&diagnostics) {
            return (policies, false, diagnostics);
        }
        let severity = match mode {
            Mode::Strict => Severity::Error,
            Mode::Permissive => Severity::Warning,
            Mode::Validated => return (policies, true, diagnostics),
        };
        let strict = authorizer::validate(&policies, &schema, sources, severity, &mut diagnostics);
        (policies, strict, diagnostics)
    };
    let of_entities = || {
        let mut diagnostics = Vec::new();
        let read = entities::read(sources.entities.as_ref(), &sources.schema, &schema, &mut diagnostics, progress);
        (read, diagnostics)
    };
    // A large store is read while Cedar reads the policies; for a small one a thread costs more than it saves.
    let large = sources.entities.as_ref().is_some_and(|file| file.text.len() > LARGE);
    let ((policies, strict, mut found), (entities, mut wrong)) =
        if large { beside(of_policies, of_entities) } else { (of_policies(), of_entities()) };
    diagnostics.append(&mut found);
    diagnostics.append(&mut wrong);
    let mut names = Names::default();
    let model = entities.map(|entities| ir::Model {
        policies: lowered(&policies, &sources.files, &mut names, &mut diagnostics),
        actions: schema::actions(&sources.schema, schema.as_ref(), &mut names, &mut diagnostics),
        types: schema::types(schema.as_ref(), &mut names),
        entities,
    });
    if let Some(model) = model.as_ref().filter(|_| !diagnostic::refused(&diagnostics)) {
        unlisted::warn(&policies, sources, model, &mut diagnostics);
    }
    match model {
        Some(model) if !diagnostic::refused(&diagnostics) => {
            Ok(Loaded { model, authorizer: Authorizer::new(policies, schema, sources), strict, warnings: diagnostics })
        }
        _ => Err(LoadError { diagnostics }),
    }
}

/// The size of a file of entities that is worth a thread.
const LARGE: usize = 1 << 20;

/// Run two jobs at once, the first on this thread.
fn beside<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    std::thread::scope(|scope| {
        let running = std::thread::Builder::new().spawn_scoped(scope, &second);
        let done = first();
        let other = match running {
            Ok(running) => running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => second(),
        };
        (done, other)
    })
}

fn failure(file: &SourceFile, what: String) -> Diagnostic {
    diagnostic::build(Severity::Error, file, what, None, Vec::new())
}

/// Lower the policies: static ones in source order, then links.
fn lowered(
    policies: &Policies,
    files: &[SourceFile],
    names: &mut Names,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<ir::Policy> {
    let mut all = Vec::with_capacity(policies.order.len());
    for id in &policies.order {
        let (Some(policy), Some(origin)) = (policies.set.policy(id), policies.origins.get(id)) else { continue };
        let policy = policy.as_ref();
        let principal = lower::scope(policy.principal_constraint().as_inner(), names);
        let resource = lower::scope(policy.resource_constraint().as_inner(), names);
        let (Some(principal), Some(resource)) = (principal, resource) else {
            // Linking checks that all slots have values; if that ever changes, it must not go unnoticed.
            diagnostics.push(failure(&files[origin.file], format!("policy `{id}` has a slot without a value")));
            continue;
        };
        all.push(ir::Policy {
            id: names.get(id.as_ref()),
            effect: match policy.effect() {
                cedar_policy::Effect::Permit => ir::Effect::Permit,
                cedar_policy::Effect::Forbid => ir::Effect::Forbid,
            },
            annotations: policy
                .annotations()
                .map(|(key, annotation)| (names.get(key.as_ref()), Arc::from(annotation.as_ref())))
                .collect(),
            step_up: match policy.effect() {
                cedar_policy::Effect::Forbid => step_up::of(policy.annotations_arc()),
                cedar_policy::Effect::Permit => None,
            },
            principal,
            action: lower::action_scope(policy.action_constraint(), names),
            resource,
            conjuncts: lower::conjuncts(policy, names),
            file: u32::try_from(origin.file).unwrap_or(u32::MAX),
            line: origin.line,
            source: origin.source.clone(),
        });
    }
    all
}
