//! Cedar's own authorizer. `explain` answers with it, and the fuzzer compares every compiled decision with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use cedar_policy::{
    AuthorizationError, Authorizer as CedarAuthorizer, Context, Decision, Effect, Entities, EntityUid, PolicyId,
    PolicySet, Request, Schema, SchemaFragment, SlotId, ValidationMode, Validator,
};
use cedar_policy_core::ast;

use crate::diagnostic::{self, Diagnostic, LoadError, MAX_REPORTED, RequestError, Severity};
use crate::entities;
use crate::ir::{Datum, Uid};
use crate::live::with_live;
use crate::nesting::{Brackets, too_deep, with_deep_stack};
use crate::policies::Policies;
use crate::slice::{self, Store};
use crate::sources::{SourceFile, Sources};
use crate::step_up;
use crate::values::{self, Names};

/// Cedar's view of a bundle's policies and schema. Each request brings its entities, so that a large store is not kept
/// twice.
#[derive(Debug)]
pub struct Authorizer {
    policies: PolicySet,
    /// The permits, if some forbid asks for a step-up.
    permits: Option<PolicySet>,
    schema: Schema,
    schema_file: SourceFile,
    /// Ids in policy order (static policies, then links), and the place of each in it.
    ids: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
    sources: HashMap<Arc<str>, Source>,
    /// The uids that conditions name.
    named: OnceLock<BTreeSet<Uid>>,
    cedar: CedarAuthorizer,
}

#[derive(Debug)]
struct Source {
    file: Arc<str>,
    line: u32,
    text: Arc<str>,
}

/// A whole store of entities, in Cedar's representation.
#[derive(Debug)]
pub struct CedarStore(Entities);

#[cfg(test)]
impl CedarStore {
    /// Convert the entities to ours.
    pub(crate) fn entities(&self) -> Vec<crate::ir::Entity> {
        let mut all: Vec<_> = self.0.iter().map(|e| entities::of_cedar(e, &mut Names::default()).unwrap()).collect();
        all.sort_by(|a, b| a.uid.cmp(&b.uid));
        all
    }
}

/// Cedar's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether the request is allowed.
    pub allow: bool,
    /// The ids of the determining policies, in policy order.
    pub reasons: Vec<Arc<str>>,
    /// The ids of the policies that erred, in policy order, with Cedar's messages.
    pub errors: Vec<(Arc<str>, String)>,
    /// Whether a permit is satisfied, whatever forbids are. If the request is forbidden, this may be false where no
    /// forbid asks for a step-up.
    pub permitted: bool,
    /// Whether a forbid among the reasons erred, and denies for that ([`Authorizer::with_strict_errors`]).
    pub erred: bool,
}

impl Authorizer {
    pub(crate) fn new(policies: Policies, schema: Schema, from: &Sources) -> Self {
        let ids: Vec<Arc<str>> = policies.order.iter().map(|id| Arc::from(AsRef::<str>::as_ref(id))).collect();
        let names: Vec<Arc<str>> = from.files.iter().map(|file| Arc::from(file.name.as_str())).collect();
        let mut sources = HashMap::new();
        for (id, origin) in policies.origins {
            if let Some(file) = names.get(origin.file) {
                let source = Source { file: file.clone(), line: origin.line, text: origin.source };
                sources.insert(Arc::from(AsRef::<str>::as_ref(&id)), source);
            }
        }
        let step_ups = policies.set.policies().any(|policy| step_up::of(policy.as_ref().annotations_arc()).is_some());
        Self {
            permits: step_ups.then(|| permits(&policies.set)),
            policies: policies.set,
            schema,
            schema_file: from.schema.clone(),
            places: ids.iter().enumerate().map(|(place, id)| (id.clone(), place)).collect(),
            ids,
            sources,
            named: OnceLock::new(),
            cedar: CedarAuthorizer::new(),
        }
    }

    /// Read a whole store with Cedar alone. Without a file, the store holds the schema's actions.
    ///
    /// # Errors
    /// Cedar's errors about the entities.
    pub fn store(&self, entities: Option<&SourceFile>) -> Result<CedarStore, LoadError> {
        entities::of_file(entities, &self.schema_file, &self.schema).map(CedarStore)
    }

    /// Decide a request over a store in Cedar's representation. The request is not validated against the schema: one
    /// that does not fit it is decided all the same (see [`Self::validate_request`]).
    ///
    /// # Errors
    /// If Cedar cannot represent a uid or the context.
    pub fn authorize(
        &self,
        principal: &Uid,
        action: &Uid,
        resource: &Uid,
        context: &Datum,
        store: &CedarStore,
    ) -> Result<Answer, RequestError> {
        let request = request(principal, action, resource, context, None)?;
        Ok(self.answer(&request, &store.0))
    }

    /// Decide a request over our store, of which the entities that the request can reach are fetched.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    pub fn authorize_over(
        &self,
        principal: &Uid,
        action: &Uid,
        resource: &Uid,
        context: &Datum,
        store: Store<'_>,
    ) -> Result<Answer, RequestError> {
        let mut start = vec![principal.clone(), action.clone(), resource.clone()];
        slice::uids(context, &mut start);
        start.extend(self.named.get_or_init(|| slice::named(self.policies.policies())).iter().cloned());
        let entities = slice::gather(start, store)?;
        let request = request(principal, action, resource, context, None)?;
        Ok(self.answer(&request, &entities))
    }

    fn answer(&self, request: &Request, entities: &Entities) -> Answer {
        let response = self.cedar.is_authorized(request, &self.policies, entities);
        let mut reasons: Vec<usize> = response.diagnostics().reason().filter_map(|id| self.place(id)).collect();
        reasons.sort_unstable();
        let mut errors: Vec<(usize, String)> = response
            .diagnostics()
            .errors()
            .filter_map(|AuthorizationError::PolicyEvaluationError(error)| {
                Some((self.place(error.policy_id())?, error.inner().to_string()))
            })
            .collect();
        errors.sort_unstable();
        let allow = response.decision() == Decision::Allow;
        let would_allow = |permits| self.cedar.is_authorized(request, permits, entities).decision() == Decision::Allow;
        Answer {
            allow,
            permitted: allow || (!reasons.is_empty() && self.permits.as_ref().is_some_and(would_allow)),
            reasons: reasons.into_iter().filter_map(|place| self.ids.get(place).cloned()).collect(),
            errors: errors.into_iter().filter_map(|(place, e)| Some((self.ids.get(place)?.clone(), e))).collect(),
            erred: false,
        }
    }

    /// Return what an answer of Cedar's becomes if each forbid that erred denies.
    #[must_use]
    pub fn with_strict_errors(&self, answer: Answer) -> Answer {
        let forbids = |id: &Arc<str>| {
            let policy = self.policies.policy(&PolicyId::new(id));
            policy.is_some_and(|policy| policy.effect() == Effect::Forbid)
        };
        let erred: Vec<Arc<str>> = answer.errors.iter().map(|(id, _)| id).filter(|id| forbids(id)).cloned().collect();
        if erred.is_empty() {
            return answer;
        }
        let mut reasons = if answer.allow { Vec::new() } else { answer.reasons };
        reasons.extend(erred);
        reasons.sort_by_key(|id| self.places.get(id));
        Answer { allow: false, reasons, erred: true, ..answer }
    }

    /// Validate a request against the schema, as Cedar does.
    ///
    /// # Errors
    /// Cedar's own: the schema lacks the action, the action does not apply to these types, or the context does not fit
    /// it.
    pub fn validate_request(
        &self,
        principal: &Uid,
        action: &Uid,
        resource: &Uid,
        context: &Datum,
    ) -> Result<(), RequestError> {
        request(principal, action, resource, context, Some(&self.schema)).map(|_| ())
    }

    /// Read a context in Cedar's JSON form with the schema's types, so that uids and extension values need no
    /// `__entity` and `__extn`.
    ///
    /// # Errors
    /// If the schema lacks the action, or the JSON does not fit the action's context.
    pub fn context_from_json(&self, action: &Uid, json: &str) -> Result<Datum, RequestError> {
        let action = cedar_uid(action)?;
        let context =
            Context::from_json_str(json, Some((&self.schema, &action))).map_err(|error| RequestError::of(&error))?;
        match context.as_ref() {
            ast::Context::Value(fields) => {
                let value = ast::Value::record_arc(fields.clone(), None);
                values::of_cedar(&value, &mut Names::default()).map_err(RequestError::new)
            }
            ast::Context::RestrictedResidual(_) => Err(RequestError::new("the context has a value that is unknown")),
        }
    }

    pub(crate) const fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Return the file name, first line and text of a policy; a link has its template's.
    #[must_use]
    pub fn policy_source(&self, id: &str) -> Option<(&str, u32, &str)> {
        let source = self.sources.get(id)?;
        Some((&source.file, source.line, &source.text))
    }

    fn place(&self, id: &PolicyId) -> Option<usize> {
        self.places.get(AsRef::<str>::as_ref(id)).copied()
    }
}

/// Return a policy set without its forbids.
fn permits(policies: &PolicySet) -> PolicySet {
    let mut permits = policies.clone();
    for forbid in policies.policies().filter(|policy| policy.effect() == Effect::Forbid) {
        let id = forbid.id().clone();
        let removed = if forbid.is_static() { permits.remove_static(id) } else { permits.unlink(id) };
        debug_assert!(removed.is_ok());
    }
    permits
}

fn cedar_uid(uid: &Uid) -> Result<EntityUid, RequestError> {
    values::uid_to_cedar(uid).map(EntityUid::from).map_err(RequestError::new)
}

fn request(
    principal: &Uid,
    action: &Uid,
    resource: &Uid,
    context: &Datum,
    schema: Option<&Schema>,
) -> Result<Request, RequestError> {
    let context = match values::to_cedar(context).map_err(RequestError::new)?.value {
        ast::ValueKind::Record(fields) => Context::from(ast::Context::Value(fields)),
        _ => return Err(RequestError::new("the context must be a record")),
    };
    Request::new(cedar_uid(principal)?, cedar_uid(action)?, cedar_uid(resource)?, context, schema)
        .map_err(|error| RequestError::of(&error))
}

/// Return whether Cedar's strict validation accepts these policies. This uses `cedar-policy` alone, without our reading
/// of the files, so that tests can compare [`crate::load`] with it.
///
/// # Errors
/// If schema or policies cannot be parsed or linked.
pub fn strictly_valid(sources: &Sources) -> Result<bool, LoadError> {
    with_deep_stack(|| strictly_valid_here(sources)).unwrap_or_else(|no_stack| {
        let what = diagnostic::build(Severity::Error, &sources.schema, no_stack.to_string(), None, Vec::new());
        Err(LoadError { diagnostics: vec![what] })
    })
}

fn strictly_valid_here(sources: &Sources) -> Result<bool, LoadError> {
    let refuse = |file: &SourceFile, error: &dyn miette::Diagnostic| LoadError {
        diagnostics: vec![diagnostic::of_cedar(Severity::Error, file, error, None)],
    };
    let broken = |file: &SourceFile, message: String| LoadError {
        diagnostics: vec![diagnostic::build(Severity::Error, file, message, None, Vec::new())],
    };
    let policies = sources.files.iter().map(|file| (file, Brackets::OfPolicies));
    for (file, brackets) in policies.chain([(&sources.schema, Brackets::OfSchema)]) {
        if let Some((_, what)) = too_deep(&file.text, brackets) {
            return Err(broken(file, what));
        }
    }
    let file = &sources.schema;
    let fragment = if file.first_char() == Some('{') {
        SchemaFragment::from_json_str(&file.text).map_err(|e| refuse(file, &e))?
    } else {
        SchemaFragment::from_cedarschema_str(&file.text).map_err(|e| refuse(file, &e))?.0
    };
    let schema = match with_live(fragment) {
        Some(schema) => schema.map_err(|e| refuse(file, &e))?,
        None => return Err(broken(file, "another ztfast::Live".to_owned())),
    };
    let mut all = PolicySet::new();
    let mut templates: HashMap<String, PolicyId> = HashMap::new();
    let (links, policies): (Vec<_>, Vec<_>) = sources.files.iter().partition(|file| file.first_char() == Some('['));
    for file in policies {
        let set = match file.first_char() {
            Some('{') => PolicySet::from_json_str(&file.text).map_err(|e| refuse(file, &e))?,
            _ => file.text.parse::<PolicySet>().map_err(|e| refuse(file, &e))?,
        };
        let renamed = all.merge(&set, true).map_err(|e| refuse(file, &e))?;
        for template in set.templates() {
            let id = template.annotation("id").unwrap_or(template.id().as_ref()).to_owned();
            templates.insert(id, renamed.get(template.id()).unwrap_or(template.id()).clone());
        }
    }
    for file in links {
        let list: Vec<BTreeMap<String, serde_json::Value>> =
            serde_json::from_str(&file.text).map_err(|e| broken(file, e.to_string()))?;
        for (index, link) in list.iter().enumerate() {
            let template = link.get("template_id").and_then(|id| id.as_str()).unwrap_or_default();
            let template = templates.get(template).ok_or_else(|| broken(file, format!("no template `{template}`")))?;
            let mut slots = HashMap::new();
            for (slot, uid) in link.get("args").and_then(|args| args.as_object()).into_iter().flatten() {
                let slot = if slot == "?principal" { SlotId::principal() } else { SlotId::resource() };
                let uid = uid.as_str().unwrap_or_default().parse::<ast::EntityUID>();
                slots.insert(slot, uid.map_err(|e| refuse(file, &e))?.into());
            }
            let id = PolicyId::new(format!("link {index} of {}", file.name));
            all.link(template.clone(), id, slots).map_err(|e| refuse(file, &e))?;
        }
    }
    Ok(Validator::new(schema).validate(&all, ValidationMode::Strict).validation_passed())
}

/// Validate strictly, and report errors with `severity`. Return whether there were none.
pub(crate) fn validate(
    policies: &Policies,
    schema: &Schema,
    sources: &Sources,
    severity: Severity,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let (files, schema_file) = (&sources.files, &sources.schema);
    let result = Validator::new(schema.clone()).validate(&policies.set, ValidationMode::Strict);
    let mut add = |severity, id: &PolicyId, problem: &dyn miette::Diagnostic| {
        let Some(origin) = policies.origins.get(id) else {
            // A problem without a policy concerns the schema as a whole.
            return diagnostics.push(diagnostic::of_cedar(severity, schema_file, problem, None));
        };
        // Cedar's labels are offsets into the policy's text; a problem of a link has none.
        let in_policy = diagnostic::of_cedar(severity, &files[origin.file], problem, None);
        diagnostics.push(match in_policy.line {
            Some(_) => in_policy,
            None => diagnostic::of_cedar(severity, &files[origin.named.file], problem, origin.named.label.clone()),
        });
    };
    for error in result.validation_errors().take(MAX_REPORTED) {
        add(severity, error.policy_id(), error);
    }
    for warning in result.validation_warnings().take(MAX_REPORTED) {
        add(Severity::Warning, warning.policy_id(), warning);
    }
    for (severity, count) in
        [(severity, result.validation_errors().count()), (Severity::Warning, result.validation_warnings().count())]
    {
        if count > MAX_REPORTED {
            diagnostics.push(diagnostic::more(severity, schema_file));
        }
    }
    result.validation_passed()
}
