//! Cedar itself for Python: tests compare the engine with it.

use crate::action::{ActionName, ActionText, find_action};
use crate::errors::raise;
use crate::exceptions::policy_error;
use crate::reader::Reader;
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use ztfast_cedar::ir::Uid;
use ztfast_cedar::{CedarStore, RequestError, SourceFile};
use ztfast_explain::Cedar;

/// Cedar's own authorizer over the policies of a bundle and entities that it is given. No code of ours takes part.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Authorizer {
    cedar: Arc<Cedar>,
    store: CedarStore,
}

#[pymethods]
impl Authorizer {
    /// Read the entities, a file's name and text in Cedar's JSON. With `None` there are only the schema's actions.
    #[new]
    fn new(py: Python<'_>, bundle: &crate::bundle::Bundle, entities: Option<(String, String)>) -> PyResult<Self> {
        let cedar = bundle.cedar(py)?;
        let entities = entities.map(|(name, text)| SourceFile { name, text });
        let store =
            py.detach(|| cedar.authorizer().store(entities.as_ref())).map_err(|error| policy_error(py, &error))?;
        Ok(Self { cedar, store })
    }

    /// Return Cedar's decision: (allow, reasons, errors as (policy id, message)). The schema gives the context's types.
    fn authorize(
        &self,
        py: Python<'_>,
        principal: &Bound<'_, PyAny>,
        action: ActionName,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Answer> {
        let meta = &find_action(py, self.cedar.bundle(), &action)?;
        let context = Reader::new(&ActionText(meta), None).record(&meta.context, context)?;
        let context = context.map_err(|refused| raise(py, "ContextError", &refused.why))?;
        let uid = |value| uid::extract(value).map(|(ty, id)| Uid::new(ty, id));
        let action = Uid::new(meta.ty.as_str(), meta.id.as_str());
        let (principal, resource) = (uid(principal)?, uid(resource)?);
        answer(py, self.cedar.authorizer().authorize(&principal, &action, &resource, &context, &self.store))
    }
}

/// The decision, the determining policies, and the policies whose evaluation failed, with their messages.
pub(crate) type Answer = (bool, Vec<String>, Vec<(String, String)>);

/// Convert Cedar's answer for Python.
pub(crate) fn answer(py: Python<'_>, answer: Result<ztfast_cedar::Answer, RequestError>) -> PyResult<Answer> {
    let answer = answer.map_err(|error| raise(py, "ContextError", &error.to_string()))?;
    Ok((
        answer.allow,
        answer.reasons.iter().map(ToString::to_string).collect(),
        answer.errors.into_iter().map(|(id, message)| (id.to_string(), message)).collect(),
    ))
}
