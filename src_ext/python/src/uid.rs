//! Reads uids in all forms that callers use: Cedar text, `ztfast.Uid`, Cedar's JSON.

use crate::errors::{if_any, raise, shown};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};
use std::borrow::Cow;
use ztfast_engine::Handle;

/// `ztfast.Uid`. Its module registers it here, because this one must not import a module that imports it.
static UID: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Register `ztfast.Uid`. The module that defines the class calls this once.
#[pyfunction]
pub(crate) fn register_uid(uid: Bound<'_, PyType>) {
    let _ = UID.set(uid.py(), uid.clone().unbind());
}

/// Return whether a value is a `ztfast.Uid`.
pub(crate) fn is_uid(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    UID.get(value.py()).map_or(Ok(false), |class| value.is_instance(class.bind(value.py())))
}

/// Return the type and id of a uid in Cedar's syntax: `Instrument::"AAPL"`.
#[pyfunction]
pub(crate) fn parse_uid(py: Python<'_>, text: &str) -> PyResult<(String, String)> {
    let (ty, id) = split(py, text)?;
    Ok((ty.to_owned(), id.into_owned()))
}

/// Return the type and id of a uid in any form.
#[pyfunction]
pub(crate) fn extract_uid(value: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    extract(value)
}

/// Return a uid in Cedar's syntax.
#[pyfunction]
pub(crate) fn uid_text(ty: &str, id: &str) -> String {
    ztfast_cedar::uid_text(&ztfast_cedar::ir::Uid::new(ty, id))
}

/// Write the first names of a list, and how many more there are.
pub(crate) fn some_of<'a>(mut names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let first: Vec<&str> = names.by_ref().take(20).collect();
    let more = if names.len() > 0 { format!(" and {} more", names.len()) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// Raise `UidError` unless these are the type and id of a uid.
#[pyfunction]
pub(crate) fn check_uid(ty: &Bound<'_, PyAny>, id: &Bound<'_, PyAny>) -> PyResult<()> {
    let text = |part: &Bound<'_, PyAny>| part.cast::<PyString>().is_ok_and(|part| part.to_cow().is_ok());
    if text(ty) && text(id) && is_name(ty)? {
        return Ok(());
    }
    let wanted = "wanted a uid's type, as \"Settlement::Instruction\", and its id, both valid texts";
    Err(raise(ty.py(), "UidError", &format!("{wanted}; got {} and {}", shown(ty)?, shown(id)?)))
}

fn is_name(ty: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(ztfast_cedar::is_type_name(&ty.cast::<PyString>()?.to_cow()?))
}

/// Split the text of a uid into its type and id.
pub(crate) fn split<'t>(py: Python<'_>, text: &'t str) -> PyResult<(&'t str, Cow<'t, str>)> {
    ztfast_cedar::uid_parts(text).map_err(|why| {
        let wanted =
            "wanted a uid in Cedar's syntax, as 'Instrument::\"AAPL\"' or ztfast.Uid(\"Instrument\", \"AAPL\")";
        raise(py, "UidError", &format!("{wanted}; got {text:?}: {why}"))
    })
}

/// Return the text of a str. Raises `UidError` for one with a lone surrogate.
pub(crate) fn text_of<'t>(text: &'t Bound<'_, PyString>) -> PyResult<Cow<'t, str>> {
    text.to_cow().map_err(|_| {
        let shown = shown(text).map(|shown| format!("wanted a uid, got a str with a lone surrogate: {shown}"));
        shown.map_or_else(|error| error, |message| raise(text.py(), "UidError", &message))
    })
}

/// Return the handle of a `ztfast.EntityHandle`; `None` for other values.
pub(crate) fn handle(value: &Bound<'_, PyAny>) -> PyResult<Option<Handle>> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        return Ok(None);
    }
    let Some(number) = if_any(value.py(), value.getattr("handle"))? else { return Ok(None) };
    Ok(if_any(value.py(), number.extract())?.map(Handle))
}

/// Return the type and id of a uid in any form.
pub(crate) fn extract(value: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    if let Some(uid) = read(value)? {
        return Ok(uid);
    }
    // A handle, and Cedar's JSON, hold the uid one level down. Looking no deeper guards against values that contain
    // themselves.
    let inner = match value.cast::<PyDict>() {
        Ok(dict) if dict.len() == 1 => dict.get_item("__entity")?,
        Ok(_) => None,
        Err(_) => if_any(value.py(), value.getattr("uid"))?,
    };
    if let Some(uid) = inner.map(|inner| read(&inner)).transpose()?.flatten() {
        return Ok(uid);
    }
    let given = value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let wanted =
        "wanted a uid: Cedar text as 'Instrument::\"AAPL\"', ztfast.Uid(type, id) or {\"type\": ..., \"id\": ...}";
    Err(raise(value.py(), "UidError", &format!("{wanted}; got {given}: {}", shown(value)?)))
}

/// Read a uid given as text, as `ztfast.Uid`, or as a dict of type and id; return `None` for anything else.
fn read(value: &Bound<'_, PyAny>) -> PyResult<Option<(String, String)>> {
    if let Ok(text) = value.cast::<PyString>() {
        return parse_uid(value.py(), &text_of(text)?).map(Some);
    }
    let (ty, id) = match value.cast::<PyDict>() {
        Ok(dict) if dict.len() == 2 => (dict.get_item("type")?, dict.get_item("id")?),
        Ok(_) => (None, None),
        Err(_) => {
            let part = |name: &str| if_any(value.py(), value.getattr(name));
            (part("type")?, part("id")?)
        }
    };
    let (Some(ty), Some(id)) = (ty, id) else { return Ok(None) };
    if !ty.is_instance_of::<PyString>() || !id.is_instance_of::<PyString>() {
        return Ok(None);
    }
    check_uid(&ty, &id)?;
    Ok(Some((ty.extract()?, id.extract()?)))
}
