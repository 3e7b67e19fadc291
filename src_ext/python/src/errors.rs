//! Makes exceptions of `ztfast.errors`, and the text that messages show for values.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// Make an exception of `ztfast.errors` by its class's name. Its message is one line, whatever outside text it holds.
pub(crate) fn raise(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let message = ztfast_cedar::shown(message);
    let class = py.import("ztfast.errors").and_then(|errors| errors.getattr(class));
    let made = class.and_then(|class| class.call1((&*message,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Return the result of a value's own code, or `None` where that code failed. An interrupt meanwhile is not a failure
/// of the value, and is passed on.
pub(crate) fn if_any<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Return whether an exception is one of `ztfast.errors`.
pub(crate) fn is_ours(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let class = py.import("ztfast.errors")?.getattr("Error")?;
    Ok(error.is_instance(py, &class))
}

/// Return the text that messages show for a value: its `repr`.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let repr = if_any(value.py(), value.repr())?;
    Ok(repr.map_or_else(|| "?".to_owned(), |repr| repr.to_string_lossy().into_owned()))
}

/// Make an exception as [`raise`] does, with another exception as its cause.
pub(crate) fn raise_from(py: Python<'_>, class: &str, message: &str, cause: PyErr) -> PyErr {
    let error = raise(py, class, message);
    error.set_cause(py, Some(cause));
    error
}
