//! The extension module `cancel_loop`: AI agents cancel orders on behalf of people, and ztfast decides about each
//! cancel.
//!
//! The value of `order.cancel` is an entity, the person, so each decision begins by looking up that handle.
#![deny(unsafe_op_in_unsafe_fn)]
// PyO3 passes converted Python objects by value.
#![allow(clippy::needless_pass_by_value)]

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyImportError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use ztfast_embed::{Api, CAPSULE, Code, Column, Determining, Gate, Status};

/// A cancel that an agent wants to send.
struct Cancel {
    /// `session.id` of the agent.
    session: u64,
    /// `resource.handle` of the instrument.
    instrument: u64,
    /// `resource.handle` of the person on whose behalf the agent cancels.
    person: u64,
}

/// The results of a run.
#[pyclass(frozen, get_all)]
struct Outcome {
    /// A `ztfast.Code` for each cancel.
    codes: Py<PyBytes>,
    /// The number of orders that were cancelled.
    pulled: u64,
    /// How many cancels each policy forbade.
    forbidden_by: HashMap<String, u64>,
    /// Cancels per second.
    per_second: f64,
}

/// The loop's records.
#[derive(Default)]
struct Log {
    codes: Vec<u8>,
    /// The policies that determined the last decision.
    determining: Determining,
    pulled: u64,
    forbidden_by: HashMap<String, u64>,
}

/// A loop that decides about cancels with a cloned gate, whose value is the person
/// (`engine.prepare("order.cancel", "onBehalfOf")`).
#[pyclass(frozen)]
struct CancelLoop {
    /// A gate serves one thread at a time, so a run holds this lock until it ends.
    gate: Mutex<Gate>,
}

#[pymethods]
impl CancelLoop {
    #[new]
    fn new(gate: &Bound<'_, PyAny>) -> PyResult<Self> {
        let address = gate.getattr("address")?.extract()?;
        // SAFETY: `gate` lives during the call, and we hold the GIL, so Python does not decide by it.
        let own = unsafe { Gate::clone_of(table(gate.py())?, address) }.map_err(refused)?;
        Ok(Self { gate: Mutex::new(own) })
    }

    /// Decide one by one, without the GIL: sessions, instruments and people (handles) as arrays of uint64.
    fn run(
        &self,
        py: Python<'_>,
        sessions: PyBuffer<u64>,
        instruments: PyBuffer<u64>,
        people: PyBuffer<u64>,
    ) -> PyResult<Outcome> {
        let columns = (sessions.to_vec(py)?, instruments.to_vec(py)?, people.to_vec(py)?);
        check_lengths(&columns)?;
        let cancels: Vec<Cancel> = (columns.0.into_iter().zip(columns.1).zip(columns.2))
            .map(|((session, instrument), person)| Cancel { session, instrument, person })
            .collect();
        let (log, seconds) = py.detach(|| {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            let mut log = Log { codes: Vec::with_capacity(cancels.len()), ..Log::default() };
            let began = Instant::now();
            let went = cancels.iter().try_for_each(|cancel| decide(&mut gate, cancel, &mut log));
            went.map(|()| (log, began.elapsed().as_secs_f64())).map_err(refused)
        })?;
        #[allow(clippy::cast_precision_loss)] // for people
        let per_second = log.codes.len() as f64 / seconds;
        let codes = PyBytes::new(py, &log.codes).unbind();
        Ok(Outcome { codes, pulled: log.pulled, forbidden_by: log.forbidden_by, per_second })
    }

    /// The same answers by columns, all by one bundle: for what does not come one by one.
    fn run_batch<'py>(
        &self,
        py: Python<'py>,
        sessions: PyBuffer<u64>,
        instruments: PyBuffer<u64>,
        people: PyBuffer<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let columns = (sessions.to_vec(py)?, instruments.to_vec(py)?, people.to_vec(py)?);
        check_lengths(&columns)?;
        let codes = py.detach(|| {
            let batch = self.gate.lock().unwrap_or_else(PoisonError::into_inner).batch()?;
            let people: Vec<i64> = columns.2.iter().map(|&person| person.cast_signed()).collect();
            let mut codes = vec![0; people.len()];
            let (sessions, instruments) = (Column::Each(&columns.0), Column::Each(&columns.1));
            batch.run(sessions, instruments, &[Column::Each(&people)], &mut codes)?;
            Ok(codes)
        });
        Ok(PyBytes::new(py, &codes.map_err(refused)?))
    }
}

/// What the loop does with each cancel.
fn decide(gate: &mut Gate, cancel: &Cancel, log: &mut Log) -> Result<(), Status> {
    gate.begin()?;
    let code = match gate.entity(cancel.person, 0) {
        Ok(person) => gate.decide(cancel.session, cancel.instrument, &[person], &mut log.determining),
        // The handle is not one of this engine's.
        Err(Status::FOREIGN) => Code::UNKNOWN_HANDLE,
        // The entity does not have the type that the schema requires.
        Err(_) => Code::NOT_APPLICABLE,
    };
    if code.is_allow() {
        // A real agent would send the cancel here.
        log.pulled += 1;
    } else if code == Code::FORBID {
        for &policy in log.determining.as_slice() {
            // The name of a policy is allocated only the first time that it forbids.
            let id = gate.policy(policy)?;
            match log.forbidden_by.get_mut(id) {
                Some(count) => *count += 1,
                None => drop(log.forbidden_by.insert(id.to_owned(), 1)),
            }
        }
    }
    // Every other code denies too: no policy applies, or the session, the kill switch or a swap denies it.
    log.codes.push(u8::try_from(code.0).unwrap_or(u8::MAX));
    Ok(())
}

/// Import the core's table of functions.
fn table(py: Python<'_>) -> PyResult<&'static Api> {
    // SAFETY: we hold the GIL (`py`), and the name is a capsule's path that ends with NUL.
    let pointer = unsafe { pyo3::ffi::PyCapsule_Import(CAPSULE.as_ptr(), 0) };
    if pointer.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the pointer is the capsule's.
    unsafe { Api::from_capsule(pointer) }.map_err(|error| PyImportError::new_err(error.to_string()))
}

fn check_lengths((sessions, instruments, people): &(Vec<u64>, Vec<u64>, Vec<u64>)) -> PyResult<()> {
    if sessions.len() == instruments.len() && instruments.len() == people.len() {
        return Ok(());
    }
    let lengths = (sessions.len(), instruments.len(), people.len());
    Err(PyValueError::new_err(format!("wanted arrays of one length, got {lengths:?}")))
}

fn refused(status: Status) -> PyErr {
    PyRuntimeError::new_err(status.text())
}

/// A loop in Rust over the core's table of functions.
#[pymodule]
mod cancel_loop {
    #[pymodule_export]
    use super::{CancelLoop, Outcome};
    use pyo3::prelude::*;

    /// Refuse to load with a core of another version, instead of failing at the first order.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::table(module.py()).map(drop)
    }
}
