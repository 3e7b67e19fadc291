//! Compiling, loading and saving bundles.

use crate::errors::{diagnostics, raise, refused};
use crate::reference::{Cedar, load};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use ztfast_policy::{Mode, SourceFile, Sources};

/// A name and a text.
type File = (String, String);

fn sources(files: Vec<File>, schema: File, entities: Option<File>) -> Sources {
    let file = |(name, text)| SourceFile { name, text };
    Sources { files: files.into_iter().map(file).collect(), schema: file(schema), entities: entities.map(file) }
}

/// Compile sources, each a (name, text). `progress(what, done, all)` is called between the steps.
///
/// Returns the bundle and the warnings. Raises `PolicyError` for what Cedar refuses, `CompileError` for limits.
#[pyfunction]
pub(crate) fn compile(
    py: Python<'_>,
    files: Vec<File>,
    schema: File,
    entities: Option<File>,
    strict: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bundle, Vec<Bound<'_, PyDict>>)> {
    let sources = sources(files, schema, entities);
    let mode = if strict { Mode::Strict } else { Mode::Permissive };
    let mut failed = None;
    let mut report = |what: &str, done: u64, all: u64| {
        let Some(progress) = &progress else { return };
        // Keep the first failure (Ctrl-C, say) and raise it when the compiler returns.
        let called = Python::attach(|py| {
            py.check_signals()?;
            progress.call1(py, (what, done, all)).map(drop)
        });
        if let Err(error) = called {
            failed.get_or_insert(error);
        }
    };
    report("validate", 0, 0);
    let loaded = load(py, &sources, mode)?;
    let compiled = py.detach(|| {
        let parts = ztfast_compile::compile(&loaded.model, &sources, strict, &mut report)?;
        Ok::<_, ztfast_compile::CompileError>(parts.write())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let bytes = compiled.map_err(|error| raise(py, "CompileError", &error.to_string()))?;
    let bundle =
        ztfast_bundle::Bundle::from_bytes(&bytes).map_err(|error| raise(py, "BundleError", &error.to_string()))?;
    let bundle = Bundle::new(bundle);
    let _ = bundle.cedar.set(Arc::new(Cedar::of(&bundle.inner, loaded.reference)));
    Ok((bundle, diagnostics(py, &loaded.warnings)?))
}

/// Whether Cedar's strict validation, and nothing of ours, accepts the policies.
#[pyfunction]
pub(crate) fn strictly_valid(py: Python<'_>, files: Vec<File>, schema: File) -> PyResult<bool> {
    let sources = sources(files, schema, None);
    py.detach(|| ztfast_policy::strictly_valid(&sources)).map_err(|error| refused(py, &error))
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

    /// Cedar over the bundle's sources, read when first asked for.
    pub fn cedar(&self, py: Python<'_>) -> PyResult<Arc<Cedar>> {
        if let Some(cedar) = self.cedar.get() {
            return Ok(cedar.clone());
        }
        let cedar = py.detach(|| Cedar::new(&self.inner)).map_err(|why| {
            raise(py, "BundleError", &format!("the sources in the bundle cannot be read again: {why}"))
        })?;
        Ok(self.cedar.get_or_init(|| Arc::new(cedar)).clone())
    }

    /// What the engine needs for policies that are left to Cedar.
    pub fn fallback(&self, py: Python<'_>) -> PyResult<Option<Box<dyn ztfast_engine::Reference>>> {
        if self.inner.meta().stats.fallbacks == 0 {
            return Ok(None);
        }
        Ok(Some(Box::new(crate::reference::Shared(self.cedar(py)?))))
    }
}

#[pymethods]
impl Bundle {
    /// Map a file and check it. Raises `BundleError`.
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

    /// The file's bytes.
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

    /// What the bundle says about itself, as JSON.
    #[getter]
    fn meta_json(&self) -> String {
        String::from_utf8_lossy(self.inner.meta_json()).into_owned()
    }

    /// What it was compiled from, as JSON.
    #[getter]
    fn sources_json(&self) -> String {
        String::from_utf8_lossy(self.inner.sources_json()).into_owned()
    }

    /// File, first line and text of a policy.
    fn policy_source(&self, py: Python<'_>, id: &str) -> PyResult<Option<(String, u32, String)>> {
        let cedar = self.cedar(py)?;
        let source = cedar.reference().policy_source(id);
        Ok(source.map(|(file, line, text)| (file.to_owned(), line, text.to_owned())))
    }
}
