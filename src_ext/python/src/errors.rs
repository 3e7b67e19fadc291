//! Raising exceptions of `ztfast.errors`, and what messages show of values.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// An exception of `ztfast.errors` by its class's name. Its message stays on one line, whatever from outside is in it.
pub(crate) fn raise(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let message = ztfast_cedar::shown(message);
    let class = py.import("ztfast.errors").and_then(|errors| errors.getattr(class));
    let made = class.and_then(|class| class.call1((&*message,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// What code of a value's own gave; `None` where it failed. An interrupt that came meanwhile is no failure of its: it
/// goes on.
pub(crate) fn if_any<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an exception is one of `ztfast.errors`.
pub(crate) fn is_ours(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let class = py.import("ztfast.errors")?.getattr("Error")?;
    Ok(error.is_instance(py, &class))
}

/// What a value shows of itself, in messages.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let repr = if_any(value.py(), value.repr())?;
    Ok(repr.map_or_else(|| "?".to_owned(), |repr| repr.to_string_lossy().into_owned()))
}

/// The same, for what another exception is the cause of.
pub(crate) fn raise_from(py: Python<'_>, class: &str, message: &str, cause: PyErr) -> PyErr {
    let error = raise(py, class, message);
    error.set_cause(py, Some(cause));
    error
}
