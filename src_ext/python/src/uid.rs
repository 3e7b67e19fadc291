//! Uids as callers write them: Cedar text, `ztfast.Uid`, Cedar's JSON.

use crate::errors::raise;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::borrow::Cow;

/// Type and id of a uid in Cedar's syntax: `Instrument::"AAPL"`.
#[pyfunction]
pub(crate) fn parse_uid(py: Python<'_>, text: &str) -> PyResult<(String, String)> {
    let (ty, id) = split(py, text)?;
    Ok((ty.into_owned(), id.into_owned()))
}

/// Type and id of whatever stands for a uid.
#[pyfunction]
pub(crate) fn extract_uid(value: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    extract(value)
}

/// A uid in Cedar's syntax.
#[pyfunction]
pub(crate) fn uid_text(ty: &str, id: &str) -> String {
    ztfast_policy::uid_text(&ztfast_policy::ir::Uid::new(ty, id))
}

/// Type and id. Escapes and odd spacing are Cedar's own parser's; the common form is taken apart here.
pub(crate) fn split<'t>(py: Python<'_>, text: &'t str) -> PyResult<(Cow<'t, str>, Cow<'t, str>)> {
    let simple = text.strip_suffix('"').and_then(|rest| rest.split_once("::\""));
    if let Some((ty, id)) = simple {
        let name = |part: &str| {
            let mut bytes = part.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if ty.split("::").all(name) && !id.contains(['"', '\\']) && !id.contains(char::is_control) {
            return Ok((Cow::Borrowed(ty), Cow::Borrowed(id)));
        }
    }
    let parsed = ztfast_policy::parse_uid(text).map_err(|why| {
        let wanted =
            "wanted a uid in Cedar's syntax, as 'Instrument::\"AAPL\"' or ztfast.Uid(\"Instrument\", \"AAPL\")";
        raise(py, "UidError", &format!("{wanted}; got {text:?}: {why}"))
    })?;
    Ok((Cow::Owned(parsed.ty.to_string()), Cow::Owned(parsed.id.to_string())))
}

/// Type and id of whatever stands for a uid.
pub(crate) fn extract(value: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    if let Some(uid) = read(value)? {
        return Ok(uid);
    }
    // A handle, or Cedar's JSON, says its uid one level down; not deeper, so that nothing can contain itself.
    let inner = match value.cast::<PyDict>() {
        Ok(dict) => dict.get_item("__entity")?,
        Err(_) => value.getattr("uid").ok(),
    };
    if let Some(uid) = inner.map(|inner| read(&inner)).transpose()?.flatten() {
        return Ok(uid);
    }
    let given = value.get_type().qualname()?;
    let wanted =
        "wanted a uid: Cedar text as 'Instrument::\"AAPL\"', ztfast.Uid(type, id) or {\"type\": ..., \"id\": ...}";
    Err(raise(value.py(), "UidError", &format!("{wanted}; got {given}: {}", value.repr()?)))
}

/// A uid as text, as `ztfast.Uid`, or as a dict of type and id; `None` for anything else.
fn read(value: &Bound<'_, PyAny>) -> PyResult<Option<(String, String)>> {
    if let Ok(text) = value.cast::<PyString>() {
        return parse_uid(value.py(), &text.to_cow()?).map(Some);
    }
    let (ty, id) = match value.cast::<PyDict>() {
        Ok(dict) => (dict.get_item("type")?, dict.get_item("id")?),
        Err(_) => (value.getattr("type").ok(), value.getattr("id").ok()),
    };
    let text = |part: Option<Bound<'_, PyAny>>| part.and_then(|part| part.extract::<String>().ok());
    Ok(text(ty).zip(text(id)))
}
