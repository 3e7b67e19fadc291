//! The core of a gate for Python: it makes further gates of its kind, converts single values, and decides over values
//! that are not numbers.

use crate::arguments::Call;
use crate::deciding::{Decided, Decider, denied};
use crate::errors::{is_ours, raise, shown};
use crate::exceptions::prepare_error;
use crate::reader::{EACH, Reader};
use crate::values::Scalar;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use ztfast_bundle::{ActionMeta, ValueType};
use ztfast_engine::{Code, Engine, Handle, Name, PrepareError, Seed, SessionId};

/// The name of an attribute as the caller gave it: a text, or the parts of a path.
struct Given {
    parts: Vec<String>,
    whole: bool,
}

impl Given {
    fn read(action: &str, name: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = name.extract::<String>() {
            return Ok(Self { parts: vec![text], whole: false });
        }
        let path = name.cast::<PyTuple>().ok().and_then(|path| path.extract::<Vec<String>>().ok());
        if let Some(parts) = path.filter(|parts| !parts.is_empty()) {
            return Ok(Self { parts, whole: true });
        }
        let shown = shown(name)?;
        let wanted = "wanted an attribute's path, as \"order.qty\" or (\"order\", \"qty\")";
        Err(raise(name.py(), "ContextError", &format!("{action}: {wanted}; got {shown}")))
    }

    /// Convert it to the engine's form. `parts` are those of this name.
    fn named<'a>(&self, parts: &'a [&'a str]) -> Name<'a> {
        if self.whole { Name::Path(parts) } else { Name::Text(parts[0]) }
    }
}

/// How often a decision is repeated if the bundle is swapped during each try.
const TRIES: usize = 8;

/// The state that gates of one kind share.
#[derive(Clone)]
pub(crate) struct Spec {
    /// The action as Cedar text.
    pub action: String,
    /// Whether a value that is out of its range raises.
    pub strict: bool,
    /// How many gate objects the engine has.
    pub count: Arc<AtomicUsize>,
}

/// Prepare a gate for an action.
pub(crate) fn prepare(
    py: Python<'_>,
    engine: &Engine,
    action: &ActionMeta,
    names: &[Bound<'_, PyAny>],
    spec: Spec,
) -> PyResult<Gate> {
    let given: Vec<Given> = names.iter().map(|name| Given::read(&spec.action, name)).collect::<PyResult<_>>()?;
    let parts: Vec<Vec<&str>> = given.iter().map(|name| name.parts.iter().map(String::as_str).collect()).collect();
    let named: Vec<Name<'_>> = given.iter().zip(&parts).map(|(name, parts)| name.named(parts)).collect();
    let gate = py.detach(|| engine.prepare_named(&action.ty, &action.id, &named));
    let gate = gate.map_err(|error| prepare_error(py, &error))?;
    Ok(Gate::new(gate, spec, given.iter().map(|name| name.parts.join(".")).collect()))
}

/// A gate's core. `ztfast.gate.Gate` decides through its address.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Gate {
    core: *mut ztfast_engine::Gate,
    /// Makes further gates. It lies outside of the gate, because no other thread may read a gate during a decision.
    seed: Seed,
    spec: Spec,
    names: Vec<String>,
    paths: Vec<Vec<String>>,
    /// The attributes' types at the time when the gate was prepared.
    types: Box<[ValueType]>,
    adds_live: bool,
}

// SAFETY: the pointer is the only way to the gate, and its callers promise (see `ztfast.h`) to use it from one thread
// at a time; `ztfast_engine::Gate` is Send.
unsafe impl Send for Gate {}
// SAFETY: shared access to this object reads the pointer's value and plain strings only.
unsafe impl Sync for Gate {}

#[pymethods]
impl Gate {
    /// The gate's address. It is valid as long as this object lives.
    #[getter]
    fn address(&self) -> usize {
        self.core as usize
    }

    /// The action as Cedar text.
    #[getter]
    fn action(&self) -> &str {
        &self.spec.action
    }

    /// Make another gate of the same action and attributes. Returns `None` if the newest bundle lacks one of them.
    fn fork(&self, py: Python<'_>) -> PyResult<Option<Self>> {
        match py.detach(|| self.seed.gate()) {
            Ok(gate) => Ok(Some(Self::new(gate, self.spec.clone(), self.names.clone()))),
            Err(error @ PrepareError::Memory(_)) => Err(prepare_error(py, &error)),
            Err(_) => Ok(None),
        }
    }

    /// Make a gate of the same action for requests in which some attributes, given by their bits, are absent. Returns
    /// `None` as `fork` does. Raises `ContextError` if one of them is required.
    fn without(&self, py: Python<'_>, absent: u64) -> PyResult<Option<Self>> {
        let gate = py.detach(|| self.seed.without(absent)).map_err(|error| match error {
            PrepareError::Missing { .. } => raise(py, "ContextError", &format!("{error}, which cannot be absent")),
            _ => prepare_error(py, &error),
        })?;
        let is_there = |at: &usize| u32::try_from(*at).ok().and_then(|at| absent.checked_shr(at)).unwrap_or(0) & 1 == 0;
        let names = (0..self.names.len()).filter(is_there).filter_map(|at| self.names.get(at).cloned());
        Ok(gate.map(|gate| Self::new(gate, self.spec.clone(), names.collect())))
    }

    /// Decide for a session over values in the form in which a call gives them: some are not numbers. With `asks`, this
    /// is a question, which decides nothing.
    ///
    /// The decision, or the exception, is that of the newest bundle, although reading the values may run Python code
    /// that swaps the bundle meanwhile.
    fn decide<'py>(
        &self,
        py: Python<'py>,
        session: u64,
        resource: &Bound<'_, PyAny>,
        values: Vec<Bound<'_, PyAny>>,
        asks: bool,
    ) -> PyResult<Decided<'py>> {
        let shared = self.seed.shared();
        for _ in 0..TRIES {
            if shared.is_forked() {
                break;
            }
            let snapshot = shared.snapshot();
            let Some(arguments) = self.seed.arguments(&snapshot) else { break };
            let call = Call { arguments: &arguments, values: &values };
            let decider = Decider { shared, snapshot: &snapshot, strict: self.spec.strict, live: None, asks };
            let decided = decider.decide(py, session, arguments.action(), resource, &|reader, fields, builder| {
                reader.call(py, fields, &call, builder)
            });
            let is_newest = !shared.is_forked() && shared.snapshot().generation() == snapshot.generation();
            match decided {
                decided if is_newest => return decided,
                // Errors of ours that come from a replaced bundle are dropped: the newest one may take these values.
                Err(error) if !is_ours(py, &error)? => return Err(error),
                _ => {}
            }
        }
        let code = if shared.is_forked() { Code::Forked } else { Code::StaleGate };
        Ok(denied(py, shared, SessionId(session), asks, code))
    }

    /// Deny a session's request, which takes more bytes than a context may, or for which there is no gate.
    fn refuse(&self, session: u64, resource: u64) -> u8 {
        let shared = self.seed.shared();
        let (session, resource) = (SessionId(session), Handle(resource));
        if shared.is_forked() {
            return shared.deny(session, Code::Forked).number();
        }
        let snapshot = shared.snapshot();
        let action = self.seed.arguments(&snapshot).map(|arguments| arguments.action());
        shared.refuse(&snapshot, action, session, resource, Code::TooLarge).number()
    }

    /// Convert an attribute's value to the form that the gate takes: a number, a String's text, or the value itself for
    /// an entity. Returns `None` if it is out of range.
    fn scalar<'py>(&self, at: usize, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        let (Some(ty), Some(name)) = (self.types.get(at), self.names.get(at)) else {
            return Err(raise(py, "Error", "a gate has no such attribute"));
        };
        match Reader::new(&self.spec.action, None).scalar(ty, name, value)? {
            Ok(Scalar::Number(number)) => Ok(Some(number.into_pyobject(py)?.into_any())),
            Ok(Scalar::Text(text)) => Ok(Some(text.into_pyobject(py)?.into_any())),
            Ok(Scalar::Entity) => Ok(Some(value.clone())),
            Err(refused) if self.spec.strict => Err(raise(py, "ContextError", &refused.why)),
            Err(_) => Ok(None),
        }
    }

    /// Return the name of the entity type of an attribute; `None` if the attribute holds no entity.
    fn entity_type(&self, at: usize) -> Option<&str> {
        match self.types.get(at)? {
            ValueType::Entity(name) => Some(name),
            _ => None,
        }
    }

    /// How many bytes a context may take.
    #[getter]
    fn max_context(&self) -> isize {
        isize::try_from(self.seed.shared().max_context()).unwrap_or(isize::MAX)
    }

    /// How many of these bytes are left for the texts of a call, after those that its attributes and records count for.
    #[getter]
    fn room_for_texts(&self) -> isize {
        let records: BTreeSet<&[String]> =
            self.paths.iter().flat_map(|path| (1..path.len()).filter_map(|end| path.get(..end))).collect();
        let counted = (self.paths.len() + records.len()).saturating_mul(EACH);
        self.max_context().saturating_sub(isize::try_from(counted).unwrap_or(isize::MAX))
    }

    /// Whether decisions add the live attributes of a session.
    #[getter]
    const fn adds_live(&self) -> bool {
        self.adds_live
    }

    /// Whether a value that is out of its range raises.
    #[getter]
    const fn strict(&self) -> bool {
        self.spec.strict
    }

    /// The attributes' names, in the order of the arguments.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The attributes' paths in the context, in the same order.
    #[getter]
    fn paths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let paths: Vec<_> = self.paths.iter().map(|path| PyTuple::new(py, path)).collect::<PyResult<_>>()?;
        PyTuple::new(py, paths)
    }
}

impl Gate {
    fn new(gate: ztfast_engine::Gate, spec: Spec, names: Vec<String>) -> Self {
        let paths = gate.paths().map(|path| path.map(str::to_owned).collect()).collect();
        let types = gate.types().into();
        let adds_live = gate.adds_live();
        spec.count.fetch_add(1, Ordering::Relaxed);
        Self { types, adds_live, seed: gate.seed(), core: Box::into_raw(Box::new(gate)), spec, names, paths }
    }

    /// Return the pointer to the core.
    pub const fn core(&self) -> *mut ztfast_engine::Gate {
        self.core
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.spec.count.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the pointer came from Box::into_raw in `new`, and only this frees it.
        drop(unsafe { Box::from_raw(self.core) });
    }
}
