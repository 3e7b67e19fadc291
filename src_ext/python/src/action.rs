//! Actions: how callers name them, and which action of a bundle a name refers to.

use crate::errors::raise;
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::fmt;
use ztfast_bundle::ActionMeta;
use ztfast_cedar::ir::Uid;
use ztfast_engine::Snapshot;

/// An action as callers name it: an id alone, or a uid in any form.
pub(crate) struct ActionName {
    pub text: String,
    /// Set where the caller did not give a text: an id may look like a uid.
    uid: Option<(String, String)>,
}

impl<'py> FromPyObject<'_, 'py> for ActionName {
    type Error = PyErr;

    fn extract(given: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if let Ok(text) = given.cast::<PyString>() {
            let no_text = |_| raise(py, "ActionError", "an action's name with surrogates is no text in UTF-8");
            return Ok(Self { text: text.to_cow().map_err(no_text)?.into_owned(), uid: None });
        }
        let (ty, id) = uid::extract(&given.to_owned())?;
        Ok(Self { text: Uid::new(ty.as_str(), id.as_str()).to_string(), uid: Some((ty, id)) })
    }
}

/// Return the uid of an action, or of a group of actions, that the kill switch is set for. A uid whose switch is turned
/// off need not be in the bundle.
pub(crate) fn switched(
    py: Python<'_>,
    snapshot: &Snapshot,
    action: &ActionName,
    on: bool,
) -> PyResult<(String, String)> {
    let unknown = match find_action(py, snapshot.bundle(), action) {
        Ok(meta) => return Ok((meta.ty.clone(), meta.id.clone())),
        Err(error) => error,
    };
    let uid = match (&action.uid, action.text.contains("::")) {
        (Some(uid), _) => uid.clone(),
        (None, true) => uid::split(py, &action.text).map(|(ty, id)| (ty.to_owned(), id.into_owned()))?,
        (None, false) => ("Action".to_owned(), action.text.clone()),
    };
    let is_action = uid.0 == "Action" || uid.0.ends_with("::Action");
    if is_action && (!on || snapshot.find(&uid.0, &uid.1).is_some()) { Ok(uid) } else { Err(unknown) }
}

/// Return the action that a text names: a uid, or an id alone where that is unambiguous.
pub(crate) fn find_action<'b>(
    py: Python<'_>,
    bundle: &'b ztfast_bundle::Bundle,
    action: &ActionName,
) -> PyResult<&'b ActionMeta> {
    let actions = &bundle.meta().actions;
    let find = |ty: Option<&str>, id: &str| {
        (0_u32..)
            .zip(actions)
            .filter(|(_, action)| action.id == id && ty.is_none_or(|ty| ty == action.ty))
            .map(|(number, _)| number)
            .collect()
    };
    let number = find_action_number(py, bundle, action, find)?;
    Ok(&actions[number as usize])
}

pub(crate) fn find_action_number(
    py: Python<'_>,
    bundle: &ztfast_bundle::Bundle,
    action: &ActionName,
    find: impl Fn(Option<&str>, &str) -> Vec<u32>,
) -> PyResult<u32> {
    let ActionName { text: action, uid } = action;
    let found = if let Some((ty, id)) = uid {
        find(Some(ty), id)
    } else {
        // An action's id may read like the uid of another action: the name then refers to both.
        let mut found = find(None, action);
        // Any other text is no uid, and Cedar's parser takes long to say so.
        if action.contains("::") {
            match uid::split(py, action) {
                Ok((ty, id)) => found.extend(find(Some(ty), &id)),
                Err(wrong) if found.is_empty() => return Err(wrong),
                Err(_) => {}
            }
        }
        found
    };
    if let [one] = found[..] {
        return Ok(one);
    }
    let text = |number: &u32| bundle.meta().actions.get(*number as usize).map(action_text).unwrap_or_default();
    let message = if found.is_empty() {
        let mut known: Vec<String> = bundle.meta().actions.iter().map(action_text).collect();
        let more = known.len().saturating_sub(20);
        known.truncate(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("the bundle has no action {action:?} that applies to anything; it has {}{more}", known.join(", "))
    } else {
        let all: Vec<String> = found.iter().map(text).collect();
        format!("the action {action:?} is ambiguous: write one of {}", all.join(", "))
    };
    Err(raise(py, "ActionError", &message))
}

/// An action, displayed as its uid: messages make a text of it only when there is something to say.
pub(crate) struct ActionText<'a>(pub &'a ActionMeta);

impl fmt::Display for ActionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uid::new(self.0.ty.as_str(), self.0.id.as_str()).fmt(f)
    }
}

/// Return an action's uid as Cedar text.
pub(crate) fn action_text(action: &ActionMeta) -> String {
    ActionText(action).to_string()
}
