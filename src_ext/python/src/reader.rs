//! Reads a request's values for one action: counts their bytes, refuses values out of range, and writes the messages.

use crate::errors::{raise, raise_from};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use std::cell::{Cell, RefCell};
use std::fmt;
use ztfast_engine::{Code, Shared};

/// Why a request cannot be decided: one of its values, or its size.
#[must_use]
#[derive(Debug)]
pub(crate) struct Refused {
    /// The code of the denial: a value is out of its type's range, a handle is another engine's, or the context is too
    /// large.
    pub code: Code,
    /// The message that explains the denial.
    pub why: String,
}

impl Refused {
    /// Raise `ContextError` if the engine is strict and a value is out of range or the context too large.
    pub fn strictly(&self, py: Python<'_>, strict: bool) -> PyResult<()> {
        if strict && matches!(self.code, Code::BadValue | Code::TooLarge) {
            return Err(raise(py, "ContextError", &self.why));
        }
        Ok(())
    }
}

/// How many bytes each attribute and each element counts for, whatever its type.
pub(crate) const EACH: usize = 16;
/// The number of bytes above which it pays to release the GIL: sorting, building and deciding then take longer than the
/// release.
const LARGE: usize = 1 << 12;

/// Reads values for one action. Its exceptions name the action and the attribute.
pub(crate) struct Reader<'a> {
    pub action: &'a dyn fmt::Display,
    /// The engine whose handles are accepted. Without one, a handle counts as the uid that it carries.
    pub engine: Option<&'a Shared>,
    /// Whether the engine fills in the attribute `live`, which the context must then not have.
    pub fills_live: bool,
    /// Why the request cannot be decided, if it cannot.
    refused: RefCell<Option<Refused>>,
    /// How many bytes a context may take.
    most: usize,
    /// How many of them are left.
    left: Cell<usize>,
}

/// Python objects that nearly every request needs, looked up once.
struct Known {
    absent: Py<PyAny>,
    masked: Py<PyAny>,
    convert: Py<PyAny>,
    out_of_range: Py<PyType>,
}

impl Known {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static KNOWN: PyOnceLock<Known> = PyOnceLock::new();
        KNOWN.get_or_try_init(py, || {
            let values = py.import("ztfast.values")?;
            Ok(Self {
                absent: values.getattr("ABSENT")?.unbind(),
                masked: py.import("numpy.ma")?.getattr("masked")?.unbind(),
                convert: values.getattr("convert")?.unbind(),
                out_of_range: values.getattr("OutOfRange")?.cast_into::<PyType>()?.unbind(),
            })
        })
    }
}

impl<'a> Reader<'a> {
    /// Make a reader of contexts up to the size that the engine accepts.
    pub fn new(action: &'a dyn fmt::Display, engine: Option<&'a Shared>) -> Self {
        let most = engine.map_or(usize::MAX, Shared::max_context);
        Self { action, engine, fills_live: false, refused: RefCell::new(None), most, left: Cell::new(most) }
    }

    /// Return whether the values read so far are so large that it pays to release the GIL.
    pub const fn is_large(&self) -> bool {
        self.most - self.left.get() > LARGE
    }

    /// Count the bytes of a value before it is read. The error, for a context that is too large, ends the reading.
    pub fn charge(&self, py: Python<'_>, path: &str, bytes: usize) -> PyResult<()> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        if left.is_some() {
            return Ok(());
        }
        let why = format!(
            "{}: the context takes more than max_context={} bytes, at attribute '{path}': {EACH} for each attribute \
             and element, and those of the texts",
            self.action, self.most
        );
        let error = raise(py, "ContextError", &why);
        *self.refused.borrow_mut() = Some(Refused { code: Code::TooLarge, why });
        Err(error)
    }

    /// Refuse the request. This replaces an earlier reason.
    pub fn refuse(&self, refused: Refused) {
        *self.refused.borrow_mut() = Some(refused);
    }

    /// Return the values that were read, or why the request is refused.
    pub fn read<T>(&self, read: PyResult<T>) -> PyResult<Result<T, Refused>> {
        match (self.refused.take(), read) {
            (Some(out), Err(_)) if out.code == Code::TooLarge => Ok(Err(out)),
            (_, Err(error)) => Err(error),
            (Some(out), Ok(_)) => Ok(Err(out)),
            (None, Ok(read)) => Ok(Ok(read)),
        }
    }

    pub fn error(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyErr {
        match self.message(value, path, wanted) {
            Ok(message) => raise(value.py(), "ContextError", &message),
            Err(error) => error,
        }
    }

    /// Write the message about a value. Showing the value runs its own code, which may fail or be interrupted.
    fn message(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyResult<String> {
        let given = value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let mut shown = match value.repr() {
            Ok(repr) => format!(": {}", repr.to_string_lossy()),
            Err(error) if error.is_instance_of::<PyException>(value.py()) => String::new(),
            Err(error) => return Err(error),
        };
        if let Some((end, _)) = shown.char_indices().nth(200) {
            shown.truncate(end);
            shown.push_str("...");
        }
        Ok(format!("{}: context attribute '{path}': wanted {wanted}; got {given}{shown}", self.action))
    }

    /// Record that a value is out of its range, unless the request is refused already.
    pub fn record_out_of_range(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str, why: &str) -> PyResult<()> {
        if self.refused.borrow().is_none() {
            let why = format!("{}, which is out of its range: {why}", self.message(value, path, wanted)?);
            *self.refused.borrow_mut() = Some(Refused { code: Code::BadValue, why });
        }
        Ok(())
    }

    pub fn dict<'v, 'py>(&self, path: &str, value: &'v Bound<'py, PyAny>) -> PyResult<&'v Bound<'py, PyDict>> {
        value.cast::<PyDict>().map_err(|_| self.error(value, path, "a record (dict)"))
    }

    /// Return the exception for a value whose own code raised: a `ContextError`, or an interrupt as it is.
    pub fn failed(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str, error: PyErr) -> PyErr {
        let py = value.py();
        if !error.is_instance_of::<PyException>(py) {
            return error;
        }
        match self.message(value, path, wanted) {
            Ok(message) => raise_from(py, "ContextError", &format!("{message}: {error}"), error),
            Err(error) => error,
        }
    }

    /// Convert a value that is not simply of its type through Python. Records a value that is out of range, and returns
    /// `None` for it.
    pub fn converted<'py>(
        &self,
        kind: &str,
        wanted: &str,
        path: &str,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        let known = Known::get(py)?;
        match known.convert.bind(py).call1((kind, value)) {
            Ok(made) if made.is(py.NotImplemented()) => Err(self.error(value, path, wanted)),
            Ok(made) => Ok(Some(made)),
            Err(error) if error.is_instance(py, known.out_of_range.bind(py)) => {
                self.record_out_of_range(value, path, wanted, &error.value(py).to_string())?;
                Ok(None)
            }
            // The value's own code raised this.
            Err(error) if error.is_instance_of::<PyException>(py) => {
                Err(raise_from(py, "ContextError", &self.message(value, path, wanted)?, error))
            }
            Err(error) => Err(error),
        }
    }
}

/// Return whether a value marks its attribute as absent: `ztfast.ABSENT`, or the value of a masked row.
pub(crate) fn is_absent(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = Known::get(value.py())?;
    Ok(value.is(&known.absent) || value.is(&known.masked))
}
