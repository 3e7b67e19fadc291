//! Cedar in: policies, schema and entities are parsed and validated by Cedar, and become a [`ir::Model`] that the
//! compiler reads, each policy split into conjuncts. [`Reference`] keeps Cedar's own view beside it.
//!
//! This is the only crate that knows `cedar-policy`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod diagnostic;
mod entities;
pub mod ir;
mod lower;
mod nesting;
mod policies;
mod reference;
mod schema;
mod values;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use diagnostic::{Diagnostic, LoadError, RequestError, Severity};
pub use reference::{Answer, Reference, strictly_valid};
pub use values::{construct_extension, parse_uid, uid_text};

use nesting::with_deep_stack;
use policies::Policies;
use values::Names;

/// A file's name and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The path as the user gave it: messages show it, and ids may begin with its stem.
    pub name: String,
    /// The content.
    pub text: String,
}

impl SourceFile {
    /// The first character that is no white space: enough to tell JSON from Cedar's syntaxes.
    pub(crate) fn first_char(&self) -> Option<char> {
        self.text.trim_start_matches('\u{feff}').trim_start().chars().next()
    }

    pub(crate) fn is_named_json(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    }
}

/// All that is compiled, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Policies in Cedar's syntax, JSON policy sets, or lists of template links (the JSON of Cedar's command line).
    pub files: Vec<SourceFile>,
    /// The schema, in Cedar's syntax or JSON.
    pub schema: SourceFile,
    /// The entities, in Cedar's JSON.
    pub entities: Option<SourceFile>,
}

/// What becomes of policies that strict validation refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are refused.
    #[default]
    Strict,
    /// They are compiled, with a warning each.
    Permissive,
}

/// Sources that were accepted.
#[derive(Debug)]
pub struct Loaded {
    /// What the compiler reads.
    pub model: ir::Model,
    /// Cedar's own view of the same.
    pub reference: Reference,
    /// What the author should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Parses and validates policies, schema and entities.
///
/// # Errors
/// Everything found to be wrong, not only the first: what does not parse, link or fit the schema, ids that are used
/// twice, and, if `mode` is strict, what Cedar's strict validation refuses.
pub fn load(sources: &Sources, mode: Mode) -> Result<Loaded, LoadError> {
    with_deep_stack(|| load_here(sources, mode))
}

fn load_here(sources: &Sources, mode: Mode) -> Result<Loaded, LoadError> {
    let mut diagnostics = Vec::new();
    let policies = policies::parse(&sources.files, &mut diagnostics);
    let schema = schema::parse(&sources.schema, &mut diagnostics);
    let Some(schema) = schema else { return Err(LoadError { diagnostics }) };
    let entities = entities::parse(sources.entities.as_ref(), &sources.schema, &schema, &mut diagnostics);
    // Validating what could not be read in full would report errors that are none.
    if !refused(&diagnostics) {
        let severity = match mode {
            Mode::Strict => Severity::Error,
            Mode::Permissive => Severity::Warning,
        };
        reference::validate(&policies, &schema, sources, severity, &mut diagnostics);
    }
    let mut names = Names::default();
    let model = entities.as_ref().and_then(|entities| {
        let file = sources.entities.as_ref().unwrap_or(&sources.schema);
        let entities = self::entities::of_cedar(entities, &mut names);
        let entities = entities.map_err(|what| diagnostics.push(failure(file, what))).ok()?;
        Some(ir::Model {
            policies: lowered(&policies, &sources.files, &mut names, &mut diagnostics),
            actions: schema::actions(&sources.schema, schema.as_ref(), &mut names, &mut diagnostics),
            types: schema::types(schema.as_ref(), &mut names),
            entities,
        })
    });
    match (model, entities) {
        (Some(model), Some(entities)) if !refused(&diagnostics) => Ok(Loaded {
            model,
            reference: Reference::new(policies, schema, entities, &sources.files),
            warnings: diagnostics,
        }),
        _ => Err(LoadError { diagnostics }),
    }
}

fn refused(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

fn failure(file: &SourceFile, what: String) -> Diagnostic {
    diagnostic::build(Severity::Error, file, what, None, Vec::new())
}

/// The policies of the model: static ones in source order, then links.
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
            // Linking checks that all slots have values; were that to change, then not silently.
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
