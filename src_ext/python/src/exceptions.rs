//! Converts Rust's errors to Python's exceptions: one function for each type of error.

use crate::errors::raise;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use ztfast_bundle::OpenError;
use ztfast_cedar::{Diagnostic, LoadError, Severity};
use ztfast_engine::{AdmitError, EngineError, HandleError, KillError, PrepareError, StateError, SwitchError};

/// Return the `ForkedError` of an engine that belongs to another process.
pub(crate) fn forked(py: Python<'_>) -> PyErr {
    raise(py, "ForkedError", &ztfast_engine::Forked.to_string())
}

/// Return a `PolicyError` with its diagnostics.
pub(crate) fn policy_error(py: Python<'_>, error: &LoadError) -> PyErr {
    let made = (|| {
        let class = py.import("ztfast.errors")?.getattr("PolicyError")?;
        class.call1((error.to_string(), diagnostics(py, &error.diagnostics)?))
    })();
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Convert diagnostics to dicts.
pub(crate) fn diagnostics<'py>(py: Python<'py>, all: &[Diagnostic]) -> PyResult<Vec<Bound<'py, PyDict>>> {
    all.iter()
        .map(|diagnostic| {
            let dict = PyDict::new(py);
            dict.set_item("severity", if diagnostic.severity == Severity::Error { "error" } else { "warning" })?;
            dict.set_item("message", &diagnostic.message)?;
            dict.set_item("file", &diagnostic.file)?;
            dict.set_item("line", diagnostic.line)?;
            dict.set_item("column", diagnostic.column)?;
            dict.set_item("end_line", diagnostic.end_line)?;
            dict.set_item("end_column", diagnostic.end_column)?;
            dict.set_item("help", &diagnostic.help)?;
            dict.set_item("rendered", &diagnostic.rendered)?;
            Ok(dict)
        })
        .collect()
}

/// Return the exception for an engine that could not be made.
pub(crate) fn engine_error(py: Python<'_>, error: &EngineError) -> PyErr {
    let class = match error {
        EngineError::Forked(_) => return forked(py),
        EngineError::Memory(_)
        | EngineError::NoRandomness(_)
        | EngineError::Process(_)
        | EngineError::Bundle(OpenError::Copy { .. }) => "CapacityError",
        EngineError::Bundle(_) => "BundleError",
        EngineError::State(StateError::Clock { .. }) => "ClockError",
        EngineError::State(_) => "StateError",
        EngineError::NoClock => "ArgumentError",
    };
    raise(py, class, &error.to_string())
}

/// Return the exception for a gate that could not be prepared.
pub(crate) fn prepare_error(py: Python<'_>, error: &PrepareError) -> PyErr {
    let class = match error {
        PrepareError::UnknownAction { .. } => "ActionError",
        PrepareError::Memory(_) => "CapacityError",
        PrepareError::Forked(_) => "ForkedError",
        _ => "ContextError",
    };
    raise(py, class, &error.to_string())
}

/// Return the exception for a uid that could not get a handle.
pub(crate) fn handle_error(py: Python<'_>, error: &HandleError) -> PyErr {
    match error {
        HandleError::Full(_) | HandleError::RegisterFull(_) => raise(py, "CapacityError", &error.to_string()),
        HandleError::TooLong { .. } => raise(py, "ArgumentError", &error.to_string()),
        HandleError::Forked(_) => forked(py),
    }
}

/// Return the exception for a session that could not be opened.
pub(crate) fn admit_error(py: Python<'_>, error: &AdmitError) -> PyErr {
    match error {
        AdmitError::UnknownHandle => raise(py, "OwnerError", &error.to_string()),
        AdmitError::Forked(_) => forked(py),
        AdmitError::MayNotAdmit => raise(py, "RoleError", &error.to_string()),
        AdmitError::Gone(_) => raise(py, "StateError", &error.to_string()),
        AdmitError::NoHandle(error) => handle_error(py, error),
        AdmitError::Full(_) | AdmitError::NoRandomness(_) => raise(py, "CapacityError", &error.to_string()),
    }
}

/// Return the exception for a kill or a market that was not changed.
pub(crate) fn kill_error(py: Python<'_>, error: &KillError) -> PyErr {
    let class = match error {
        KillError::Forked(_) => return forked(py),
        KillError::Role(_) => "RoleError",
        KillError::Lock(_) | KillError::Gone(_) => "StateError",
        KillError::NoRandomness(_) | KillError::Refused(SwitchError::ManyKills | SwitchError::ManyMarkets) => {
            "CapacityError"
        }
        KillError::Over | KillError::Refused(SwitchError::TooLong { .. } | SwitchError::ManyActions(_)) => {
            "ArgumentError"
        }
        KillError::Refused(SwitchError::UnknownKill(_) | SwitchError::SamePerson(_)) => "ReleaseError",
    };
    raise(py, class, &error.to_string())
}
