//! The annotations `@step_up` and `@max_age` of a forbid: what a principal has to prove for the forbid to be satisfied.

use cedar_policy_core::ast;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{self, Diagnostic, Label, Severity, shown};
use crate::ir::{Datum, StepUp};
use crate::sources::SourceFile;
use crate::values::construct_extension;

const FACTORS: &str = "step_up";
const MAX_AGE: &str = "max_age";

/// What is wrong with one of the annotations.
struct Problem {
    annotation: &'static str,
    message: String,
    help: &'static str,
}

/// Read the annotations of a forbid that was checked. One without `@step_up` asks for nothing.
pub(crate) fn of(annotations: &ast::Annotations) -> Option<StepUp> {
    let value = |wanted: &str| annotations.iter().find(|(key, _)| key.as_ref() == wanted).map(|(_, one)| &*one.val);
    read(ast::Effect::Forbid, value(FACTORS), value(MAX_AGE)).ok().flatten()
}

/// Report what is wrong with the annotations of a policy or a template, which begins at a label.
pub(crate) fn check(policy: &ast::Template, file: &SourceFile, begin: Option<&Label>) -> Option<Diagnostic> {
    let annotation = |wanted: &str| policy.annotations().find(|(key, _)| key.as_ref() == wanted).map(|(_, one)| one);
    let value = |wanted: &str| annotation(wanted).map(|annotation| &*annotation.val);
    let problem = read(policy.effect(), value(FACTORS), value(MAX_AGE)).err()?;
    let loc = annotation(problem.annotation).and_then(|annotation| annotation.loc.as_ref());
    let label = loc.map(|loc| Label::new(loc.start(), loc.end() - loc.start())).or_else(|| begin.cloned());
    let labels = label.into_iter().collect();
    Some(diagnostic::build(Severity::Error, file, problem.message, Some(problem.help.to_owned()), labels))
}

fn read(effect: ast::Effect, factors: Option<&str>, max_age: Option<&str>) -> Result<Option<StepUp>, Problem> {
    let wrong = |annotation, message, help| Problem { annotation, message, help };
    let Some(annotation) = factors.map(|_| FACTORS).or(max_age.map(|_| MAX_AGE)) else { return Ok(None) };
    if effect == ast::Effect::Permit {
        let message = format!("`@{annotation}` stands on a permit");
        let help = "only a forbid can ask for a step-up: annotate the forbid that denies";
        return Err(wrong(annotation, message, help));
    }
    let Some(factors) = factors else {
        let message = "`@max_age` stands without `@step_up`".to_owned();
        return Err(wrong(MAX_AGE, message, "write @step_up too: with factors, or as @step_up(\"\") for any of them"));
    };
    let max_age = max_age.map(seconds).transpose().map_err(|message| {
        wrong(MAX_AGE, message, "write a duration of whole seconds in Cedar's syntax, as @max_age(\"60s\")")
    })?;
    let factors = names(factors).map_err(|message| {
        wrong(FACTORS, message, "write the factors' names with commas or spaces between, as @step_up(\"fido2, pin\")")
    })?;
    if factors.is_empty() && max_age.is_none() {
        let message = "`@step_up` asks for nothing".to_owned();
        return Err(wrong(FACTORS, message, "name factors, as @step_up(\"fido2\"), or add @max_age"));
    }
    Ok(Some(StepUp { factors, max_age }))
}

/// Read the names of factors. They go into texts that separate them by spaces, and into headers.
fn names(text: &str) -> Result<Vec<Arc<str>>, String> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ','));
    if text.trim_matches(' ').is_empty() {
        return Ok(Vec::new());
    }
    let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
    for part in text.split(',') {
        let mut parts = part.split(' ').filter(|name| !name.is_empty()).peekable();
        if parts.peek().is_none() {
            return Err("`@step_up` has a comma without a factor before or behind it".to_owned());
        }
        for name in parts {
            if !is_name(name) {
                return Err(format!("`@step_up`: `{}` is no factor's name", shown(name)));
            }
            if !seen.insert(name) {
                return Err(format!("`@step_up` names the factor `{name}` twice"));
            }
            names.push(Arc::from(name));
        }
    }
    Ok(names)
}

/// Read a duration of whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let milliseconds = match construct_extension("duration", text) {
        Ok(Datum::Duration(milliseconds)) => milliseconds,
        Ok(_) => return Err("`@max_age` is no duration".to_owned()),
        Err(why) => return Err(format!("`@max_age`: {why}")),
    };
    let whole = u64::try_from(milliseconds).ok().filter(|milliseconds| milliseconds % 1000 == 0);
    whole.map(|milliseconds| milliseconds / 1000).ok_or_else(|| {
        format!("`@max_age` is {}", if milliseconds < 0 { "less than nothing" } else { "no number of whole seconds" })
    })
}
