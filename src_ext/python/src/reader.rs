//! What reads a request's values for one action: how much it may take, what is refused, and what is said of it.

use crate::errors::{raise, raise_from};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use std::cell::{Cell, RefCell};
use ztfast_engine::{Code, Shared};

/// A request that cannot be decided, because of something that it brings along.
#[must_use]
#[derive(Debug)]
pub(crate) struct Refused {
    /// What it is denied with: a value is out of its type's range, a handle is not this engine's, or it is more than is
    /// taken.
    pub code: Code,
    /// What is to be said of it.
    pub why: String,
}

impl Refused {
    /// Raise for a value that is out of its range, if that is wanted.
    pub fn strictly(&self, py: Python<'_>, strict: bool) -> PyResult<()> {
        if strict && matches!(self.code, Code::BadValue | Code::TooLarge) {
            return Err(raise(py, "ContextError", &self.why));
        }
        Ok(())
    }
}

/// Bytes that each attribute and each element counts for, whatever it is.
pub(crate) const EACH: usize = 16;
/// Bytes from which it is worth the while to let other threads go on: sorting, building and deciding then take longer
/// than that does.
const LARGE: usize = 1 << 12;

/// Reads values for one action, and names it and the attribute in what it raises.
pub(crate) struct Reader<'a> {
    pub action: &'a str,
    /// That of the engine whose handles are taken; without one the uids that they carry are.
    pub engine: Option<&'a Shared>,
    /// Why the request cannot be decided, if it cannot.
    refused: RefCell<Option<Refused>>,
    /// Bytes that a context may take.
    most: usize,
    left: Cell<usize>,
}

/// What is asked for again and again.
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
    /// A reader of contexts as large as the engine takes them.
    pub fn new(action: &'a str, engine: Option<&'a Shared>) -> Self {
        let most = engine.map_or(usize::MAX, Shared::max_context);
        Self { action, engine, refused: RefCell::new(None), most, left: Cell::new(most) }
    }

    /// Whether what was read is so large that it pays to let other threads go on.
    pub const fn is_large(&self) -> bool {
        self.most - self.left.get() > LARGE
    }

    /// Take room for something, before anything is done with it. `Err` where there is none, so that nothing more is
    /// read.
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

    /// Refuse the request for a reason that takes the place of others.
    pub fn refuse(&self, refused: Refused) {
        *self.refused.borrow_mut() = Some(refused);
    }

    /// What was read, unless it is not to be decided on.
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

    /// What is said of a value. Showing it runs its own code, which may fail, or be interrupted.
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

    /// Note that a value is out of its range.
    pub fn note(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str, why: &str) -> PyResult<()> {
        if self.refused.borrow().is_none() {
            let why = format!("{}, which is out of its range: {why}", self.message(value, path, wanted)?);
            *self.refused.borrow_mut() = Some(Refused { code: Code::BadValue, why });
        }
        Ok(())
    }

    pub fn dict<'v, 'py>(&self, path: &str, value: &'v Bound<'py, PyAny>) -> PyResult<&'v Bound<'py, PyDict>> {
        value.cast::<PyDict>().map_err(|_| self.error(value, path, "a record (dict)"))
    }

    /// What a value's own code raised, as what it means here.
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

    /// What Python makes of a value that is not plainly of its type; `None` where it is out of range, which is noted.
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
                self.note(value, path, wanted, &error.value(py).to_string())?;
                Ok(None)
            }
            // What a value's own code raises.
            Err(error) if error.is_instance_of::<PyException>(py) => {
                Err(raise_from(py, "ContextError", &self.message(value, path, wanted)?, error))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a value says that its attribute is not there: `ztfast.ABSENT`, or what a masked array gives for such a row.
pub(crate) fn is_absent(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = Known::get(value.py())?;
    Ok(value.is(&known.absent) || value.is(&known.masked))
}
