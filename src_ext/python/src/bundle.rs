//! Compiling, loading and saving bundles.

use crate::errors::raise;
use crate::exceptions::{diagnostics, policy_error};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use ztfast_bundle::{Form, store_hash};
use ztfast_cedar::{Mode, SourceFile, Sources};
use ztfast_explain::{Cedar, CedarFallback};

/// A name and a text.
type File = (String, String);

fn sources(files: Vec<File>, schema: File, entities: Option<File>) -> Sources {
    let file = |(name, text)| SourceFile { name, text };
    Sources { files: files.into_iter().map(file).collect(), schema: file(schema), entities: entities.map(file) }
}

/// Compile sources, each a (name, text). `progress(what, done, all)` is called between the steps.
///
/// With `revalidate`, Cedar repeats the warnings that it gave when the base was compiled.
///
/// Returns the bundle and the warnings. Raises `PolicyError` for what Cedar refuses, `CompileError` for limits.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // `ztfast.compile` has keywords for them
pub(crate) fn compile<'py>(
    py: Python<'py>,
    files: Vec<File>,
    schema: File,
    entities: Option<File>,
    strict: bool,
    revalidate: bool,
    form: Option<&str>,
    base: Option<PyRef<'py, Bundle>>,
    progress: Option<Py<PyAny>>,
    exempt: Option<(String, String)>,
    strict_errors: bool,
) -> PyResult<(Bundle, Vec<Bound<'py, PyDict>>)> {
    // Asking for the stack beforehand keeps a lack of memory apart from faults of the policies.
    let room = py.detach(|| ztfast_cedar::with_deep_stack(|| ()));
    room.map_err(|no_stack| raise(py, "CompileError", &no_stack.to_string()))?;
    let mut sources = sources(files, schema, entities);
    let mut mode = if strict { Mode::Strict } else { Mode::Permissive };
    let store = py
        .detach(|| store_hash(&sources.schema.text, sources.entities.as_ref().map(|entities| entities.text.as_str())));
    let base = base.map(|base| base.inner.clone());
    if let Some(base) = &base {
        let damaged = |error: ztfast_bundle::OpenError| raise(py, "BundleError", &error.to_string());
        py.detach(|| base.check()).map_err(damaged)?;
        // Warnings about entities that the store lacks need the store.
        if base.meta().store.hash == store && !revalidate {
            sources.entities = None;
        }
        let old: Option<Sources> = serde_json::from_slice(base.sources().map_err(damaged)?).ok();
        let same = old.is_some_and(|old| old.files == sources.files && old.schema == sources.schema);
        if strict && !revalidate && base.meta().strict && same {
            mode = Mode::Validated;
        }
    }
    let failed: Mutex<Option<PyErr>> = Mutex::new(None);
    let keep = |error: PyErr| _ = failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    let report = |what: &str, done: u64, all: u64| {
        let Some(progress) = &progress else { return };
        // Keep the first failure (Ctrl-C, say) and raise it when the compiler returns.
        let called = Python::attach(|py| {
            py.check_signals()?;
            progress.call1(py, (what, done, all)).map(drop)
        });
        called.unwrap_or_else(keep);
    };
    report("policies", 0, 0);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let read = |done, all| report("read entities", count(done), count(all));
    let loaded = py.detach(|| ztfast_cedar::load(&sources, mode, &read)).map_err(|error| policy_error(py, &error))?;
    let form = match form {
        None => None,
        Some("dense") => Some(Form::Dense),
        Some("rows") => Some(Form::Rows),
        Some("sets") => Some(Form::Sets),
        Some(other) => {
            return Err(PyValueError::new_err(format!("form: wanted \"dense\", \"rows\" or \"sets\", got {other:?}")));
        }
    };
    // What a base was compiled from gives the errors of which the author was warned then.
    let same = mode == Mode::Validated && base.as_deref().is_some_and(|base| base.meta().store.hash == store);
    let options = ztfast_compile::Options { strict, strict_errors, form, split: false, store, exempt };
    let ztfast_cedar::Loaded { model, authorizer, mut warnings, .. } = loaded;
    let compiled = py.detach(|| {
        let mut report = |what: &str, done, all| report(what, done, all);
        let (base, report): (_, ztfast_compile::Progress<'_>) = (base.as_deref(), &mut report);
        if same {
            return ztfast_compile::compile(model, &sources, &options, base, report);
        }
        let (parts, errors) = ztfast_compile::compile_and_find_errors(model, &sources, &options, base, report)?;
        warnings.extend(authorizer.warn_of_errors(&sources, &errors, strict_errors));
        Ok(parts)
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let parts = compiled.map_err(|error| raise(py, "CompileError", &error.to_string()))?;
    let bundle = py.detach(|| ztfast_bundle::Bundle::of(&parts));
    let bundle = Bundle::new(bundle.map_err(|error| raise(py, "BundleError", &error.to_string()))?);
    if let Some((ty, id)) = &options.exempt
        && !has_action(&bundle.inner, ty, id)
    {
        let uid = ztfast_cedar::ir::Uid::new(ty.as_str(), id.as_str());
        let message = format!("exempt: the schema has no action and no group of actions {uid}");
        return Err(raise(py, "ActionError", &message));
    }
    let _ = bundle.cedar.set(Arc::new(Cedar::of(&bundle.inner, authorizer)));
    Ok((bundle, diagnostics(py, &warnings)?))
}

/// Return whether the schema has an action, or a group of actions, with this uid.
fn has_action(bundle: &ztfast_bundle::Bundle, ty: &str, id: &str) -> bool {
    let is = |name: u32| bundle.string(name).is_some_and(|name| name == ty);
    let number = (0_u32..).zip(bundle.types()).find(|(_, record)| is(record.name)).map(|(number, _)| number);
    let is_action = ty == "Action" || ty.ends_with("::Action");
    is_action && number.is_some_and(|number| bundle.find_entity(number, id).is_some())
}

/// Write a file, whole or not at all. Raises `Error`.
#[pyfunction]
pub(crate) fn write_file(py: Python<'_>, path: PathBuf, content: &[u8]) -> PyResult<()> {
    py.detach(|| ztfast_bundle::write_file(&path, content)).map_err(|error| raise(py, "Error", &error.to_string()))
}

/// Return the fragment of a schema that declares live attributes, in Cedar's syntax.
#[pyfunction]
pub(crate) fn live_schema() -> &'static str {
    ztfast_cedar::LIVE_SCHEMA
}

/// Return whether Cedar's strict validation accepts the policies. No check of ours takes part.
#[pyfunction]
pub(crate) fn strictly_valid(py: Python<'_>, files: Vec<File>, schema: File) -> PyResult<bool> {
    let sources = sources(files, schema, None);
    py.detach(|| ztfast_cedar::strictly_valid(&sources)).map_err(|error| policy_error(py, &error))
}

/// A checked bundle.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Bundle {
    pub inner: Arc<ztfast_bundle::Bundle>,
    cedar: OnceLock<Arc<Cedar>>,
}

impl Bundle {
    fn new(bundle: ztfast_bundle::Bundle) -> Self {
        Self { inner: Arc::new(bundle), cedar: OnceLock::new() }
    }

    /// Return Cedar over the bundle's sources, which the first call reads.
    pub fn cedar(&self, py: Python<'_>) -> PyResult<Arc<Cedar>> {
        if let Some(cedar) = self.cedar.get() {
            return Ok(cedar.clone());
        }
        let cedar = py.detach(|| Cedar::read(&self.inner)).map_err(|why| {
            raise(py, "BundleError", &format!("the sources in the bundle cannot be read again: {why}"))
        })?;
        Ok(self.cedar.get_or_init(|| Arc::new(cedar)).clone())
    }

    /// Return what the engine needs for policies that are left to Cedar.
    pub fn fallback(&self, py: Python<'_>) -> PyResult<Option<Box<dyn ztfast_engine::Fallback>>> {
        if self.inner.meta().stats.fallbacks == 0 {
            return Ok(None);
        }
        Ok(Some(Box::new(CedarFallback(self.cedar(py)?))))
    }
}

#[pymethods]
impl Bundle {
    /// Read a file and check it. Raises `BundleError`.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| ztfast_bundle::Bundle::open(&path));
        let bundle = opened.map_err(|error| match error {
            ztfast_bundle::OpenError::Io { .. } => raise(py, "BundleError", &error.to_string()),
            _ => raise(py, "BundleError", &format!("{}: {error}", path.display())),
        })?;
        Ok(Self::new(bundle))
    }

    /// Check a file's bytes. Raises `BundleError`.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let bundle = ztfast_bundle::Bundle::from_bytes(bytes).map_err(|e| raise(py, "BundleError", &e.to_string()))?;
        Ok(Self::new(bundle))
    }

    /// Write the file, atomically. Raises `BundleError`.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.inner.save(&path)).map_err(|error| raise(py, "BundleError", &error.to_string()))
    }

    /// Return a descriptor of sealed memory that holds the file. The caller closes it. Raises `BundleError`.
    #[cfg(target_os = "linux")]
    fn share(&self, py: Python<'_>) -> PyResult<i32> {
        let shared = py.detach(|| self.inner.share());
        let descriptor = shared.map_err(|error| raise(py, "BundleError", &error.to_string()))?;
        Ok(std::os::fd::IntoRawFd::into_raw_fd(descriptor))
    }

    /// Return the file's bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.bytes())
    }

    /// The content's hash (BLAKE3) in hexadecimal digits.
    #[getter]
    fn hash(&self) -> String {
        self.inner.hash_hex()
    }

    /// Size in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.inner.bytes().len()
    }

    /// The bundle's description, as JSON.
    #[getter]
    fn meta_json(&self) -> String {
        String::from_utf8_lossy(self.inner.meta_json()).into_owned()
    }

    /// Check every section against its hash. Raises `BundleError`.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.check_all()).map_err(|error| raise(py, "BundleError", &error.to_string()))
    }

    /// Return the policies, as a list of dicts.
    fn policies<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        py.detach(|| self.inner.check()).map_err(|error| raise(py, "BundleError", &error.to_string()))?;
        let policies = (0_u32..).map_while(|number| self.inner.policy(number));
        policies
            .map(|policy| {
                let entry = PyDict::new(py);
                entry.set_item("id", policy.id)?;
                entry.set_item("effect", if policy.forbid { "forbid" } else { "permit" })?;
                entry.set_item("annotations", policy.annotations.into_py_dict(py)?)?;
                entry.set_item("file", policy.file)?;
                entry.set_item("line", policy.line)?;
                entry.set_item("fallback", policy.fallback)?;
                entry.set_item("step_up", policy.step_up.map(|asked| (asked.factors, asked.max_age)))?;
                Ok(entry)
            })
            .collect()
    }

    /// Return the policies and the schema, from which Cedar explains, as JSON. Raises `BundleError`.
    fn sources_json(&self, py: Python<'_>) -> PyResult<String> {
        let sources = self.inner.sources().map_err(|error| raise(py, "BundleError", &error.to_string()))?;
        Ok(String::from_utf8_lossy(sources).into_owned())
    }

    /// Return the file, first line and text of a policy.
    fn policy_source(&self, py: Python<'_>, id: &str) -> PyResult<Option<(String, u32, String)>> {
        let cedar = self.cedar(py)?;
        let source = cedar.authorizer().policy_source(id);
        Ok(source.map(|(file, line, text)| (file.to_owned(), line, text.to_owned())))
    }
}
