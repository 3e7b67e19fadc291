//! Measures decisions without Python in between: in bulk, one by one and at a rate, with the floors to compare with.
//!
//! The clock is the processor's time-stamp counter, read so that no instruction moves across the reading. Every figure,
//! of decisions and floors alike, includes the cost of a reading, which is measured as a floor of its own.

use crate::capi::API;
use crate::histogram::Histogram;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use ztfast_embed::{RawGate, Value};
use ztfast_engine::{Code, Determining, Gate, Handle, SessionId, monotonic_ns};

/// Read the time-stamp counter after all instructions before it and before all instructions after it.
#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has these two instructions (SSE2, and the counter), and they touch no memory.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
}

/// Read the clock in nanoseconds, on processors without a counter that can be read directly.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Return the clock's ticks per nanosecond, measured over some milliseconds.
#[pyfunction]
pub(crate) fn ticks_per_ns(py: Python<'_>) -> f64 {
    py.detach(rate)
}

/// Return the ticks per nanosecond. They are measured once in a process, so that its histograms can be added up.
#[allow(clippy::cast_precision_loss)] // for people
fn rate() -> f64 {
    static RATE: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *RATE.get_or_init(|| {
        let (began, first) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(20));
        let counted = ticks() - first;
        counted as f64 / began.elapsed().as_nanos() as f64
    })
}

fn elapsed_ns(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Requests for a gate: sessions, resources, and the values of all requests.
struct Requests {
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
}

impl Requests {
    fn len(&self) -> usize {
        self.sessions.len().min(self.resources.len())
    }

    fn call(&self, gate: &mut Gate, at: usize) -> u32 {
        gate.allows(SessionId(self.sessions[at]), Handle(self.resources[at]), &self.values).number().into()
    }
}

/// Return the ticks of each decision of a gate over these requests, in their order.
#[pyfunction]
pub(crate) fn time_each(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
) -> Vec<u32> {
    // SAFETY: no other thread uses a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let mut taken = vec![0_u32; requests.len()];
        for (at, taken) in taken.iter_mut().enumerate() {
            let began = ticks();
            black_box(requests.call(gate, at));
            *taken = u32::try_from(ticks() - began).unwrap_or(u32::MAX);
        }
        taken
    })
}

/// Return the nanoseconds of all these decisions together, one after the other.
#[pyfunction]
pub(crate) fn time_all(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
) -> u64 {
    // SAFETY: no other thread uses a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let began = Instant::now();
        for at in 0..requests.len() {
            black_box(requests.call(gate, at));
        }
        elapsed_ns(began)
    })
}

/// Return the nanoseconds of all these decisions together, each through the table of functions that embedders call.
/// With `reasons`, each decision also gives its determining policies.
#[pyfunction]
pub(crate) fn time_table(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
    reasons: bool,
) -> u64 {
    let gate = gate.core() as usize;
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let (values, len) = (requests.values.as_ptr(), requests.values.len());
        let mut determining = Determining::default();
        // The compiler must not see through these pointers, as it cannot in another library.
        let (allows, decide) = (black_box(API.allows), black_box(API.decide));
        let began = Instant::now();
        for (&session, &resource) in requests.sessions.iter().zip(&requests.resources) {
            // SAFETY: the gate is live (the caller holds its object) and no other thread uses it while it is measured
            // (see `ztfast.h`); `values` are `len` numbers, and `determining` is ours.
            black_box(unsafe {
                if reasons {
                    decide(gate as *mut _, session, resource, values, len, (&raw mut determining).cast())
                } else {
                    allows(gate as *mut _, session, resource, values, len)
                }
            });
        }
        elapsed_ns(began)
    })
}

/// An argument as an embedder has it.
#[derive(FromPyObject)]
pub(crate) enum Brought {
    /// What is passed as a number.
    #[pyo3(transparent)]
    Number(i64),
    #[pyo3(transparent)]
    Text(String),
    /// An entity's handle.
    Entity { handle: u64 },
    /// An address's bytes, and the length of its prefix.
    Address(Vec<u8>, u8),
    #[pyo3(transparent)]
    Set(Vec<Self>),
}

impl Brought {
    /// Return the elements of a set; none of anything else.
    fn elements(&self) -> Vec<Value<'_>> {
        if let Self::Set(all) = self { all.iter().map(|one| one.value(&[])).collect() } else { Vec::new() }
    }

    /// Return the argument as it is passed, with the elements if it is a set.
    fn value<'v>(&'v self, elements: &'v [Value<'v>]) -> Value<'v> {
        match self {
            Self::Number(number) => Value::number(*number),
            Self::Text(text) => Value::text(text),
            Self::Entity { handle } => Value::number(handle.cast_signed()),
            Self::Address(bytes, prefix) => Value::address(bytes, *prefix),
            Self::Set(_) => Value::set(elements),
        }
    }
}

/// Return the nanoseconds of `count` equal decisions through the table of functions that embedders call. Those that
/// bring texts, entities, addresses or sets pass them and decide in one step.
///
/// Raises `ValueError` if one of them is denied.
#[pyfunction]
pub(crate) fn time_calls(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    session: u64,
    resource: u64,
    brought: Vec<Brought>,
    count: u64,
) -> PyResult<u64> {
    let gate = gate.core() as usize;
    let number = |one: &Brought| if let Brought::Number(number) = one { Some(*number) } else { None };
    let numbers: Option<Vec<i64>> = brought.iter().map(number).collect();
    let (taken, allowed) = py.detach(|| {
        let (gate, api) = (gate as *mut RawGate, black_box(&API));
        let elements: Vec<Vec<Value<'_>>> = brought.iter().map(Brought::elements).collect();
        let values: Vec<Value<'_>> = brought.iter().zip(&elements).map(|(one, all)| one.value(all)).collect();
        let (mut generation, mut allowed) = (0, 0);
        // SAFETY: the gate is live (the caller holds its object) and no other thread uses it while it is measured (see
        // `ztfast.h`); `generation` is ours.
        unsafe { (api.refresh)(gate, &raw mut generation) };
        let began = Instant::now();
        for _ in 0..count {
            // SAFETY: as above; `numbers` and `values` are slices, and what they point to lives as long.
            let code = unsafe {
                if let Some(numbers) = &numbers {
                    (api.allows)(gate, session, resource, numbers.as_ptr(), numbers.len())
                } else {
                    let (data, len) = (values.as_ptr().cast(), values.len());
                    (api.decide_values)(gate, session, resource, data, len, generation, std::ptr::null_mut())
                }
            };
            allowed += u64::from(code == Code::Allow as u32);
        }
        (elapsed_ns(began), allowed)
    });
    if allowed < count {
        return Err(PyValueError::new_err(format!("{} of {count} calls were denied", count - allowed)));
    }
    Ok(taken)
}

/// Measure each of these decisions, one after the other (a closed loop: each waits for the one before).
#[pyfunction]
pub(crate) fn closed_loop(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
) -> PyResult<Histogram> {
    // SAFETY: no other thread uses a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let mut taken = Histogram::empty(1.0 / rate())?;
        for at in 0..requests.len() {
            let began = ticks();
            black_box(requests.call(gate, at));
            taken.add_units(ticks() - began);
        }
        Ok(taken)
    })
}

/// Measure what the clock adds to each decision of a closed loop: `count` pairs of readings with nothing between.
#[pyfunction]
pub(crate) fn empty_loop(py: Python<'_>, count: usize) -> PyResult<Histogram> {
    py.detach(|| {
        let mut taken = Histogram::empty(1.0 / rate())?;
        for _ in 0..count {
            let began = ticks();
            taken.add_units(ticks() - began);
        }
        Ok(taken)
    })
}

/// Measure these decisions when requests arrive `per_second`, whether or not the one before is done (an open loop).
///
/// Returns two histograms: one of times since a request should have begun, so that a stall counts for all requests that
/// waited for it; and one of times since it did begin.
#[pyfunction]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // ticks of some hours
pub(crate) fn open_loop(
    py: Python<'_>,
    gate: PyRef<'_, crate::gate::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u64>,
    values: Vec<i64>,
    per_second: f64,
) -> PyResult<(Histogram, Histogram)> {
    if !(per_second.is_finite() && per_second > 0.0) {
        return Err(PyValueError::new_err(format!("per_second: wanted a rate above 0, got {per_second}")));
    }
    // SAFETY: no other thread uses a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let (mut waited, mut taken) = (Histogram::empty(1.0 / rate())?, Histogram::empty(1.0 / rate())?);
        let period = 1e9 * rate() / per_second;
        let first = ticks();
        for at in 0..requests.len() {
            let due = first + (at as f64 * period) as u64;
            // There is no pause instruction here: on some processors it takes longer than a decision.
            let mut began = ticks();
            while began < due {
                began = ticks();
            }
            black_box(requests.call(gate, at));
            let done = ticks();
            waited.add_units(done - due);
            taken.add_units(done - began);
        }
        Ok((waited, taken))
    })
}

/// Measure the gaps between readings of the clock by a thread that does nothing else for so many milliseconds: the time
/// that the machine takes away from any thread.
#[pyfunction]
pub(crate) fn spin(py: Python<'_>, milliseconds: f64) -> PyResult<Histogram> {
    let length = Duration::try_from_secs_f64(milliseconds / 1e3)
        .map_err(|_| PyValueError::new_err(format!("milliseconds: wanted 0 or more, got {milliseconds}")))?;
    py.detach(|| {
        let mut gaps = Histogram::empty(1.0 / rate())?;
        let began = Instant::now();
        while began.elapsed() < length {
            let mut before = ticks();
            for _ in 0..1_000 {
                let now = ticks();
                gaps.add_units(now - before);
                // The next gap begins here and includes the counting, so that no time between two gaps is missed.
                before = now;
            }
        }
        Ok(gaps)
    })
}

/// Do nothing, with the signature of a function in the embedders' table.
extern "C" fn nothing(_: *mut Gate, _: u64, _: u64, _: *const i64, _: usize) -> u32 {
    0
}

/// Return the nanoseconds of `count` calls, through a pointer, of a function that does nothing.
#[pyfunction]
pub(crate) fn time_pointer_calls(py: Python<'_>, count: u64) -> u64 {
    py.detach(|| {
        let call: extern "C" fn(*mut Gate, u64, u64, *const i64, usize) -> u32 = black_box(nothing);
        let began = Instant::now();
        for at in 0..count {
            black_box(call(std::ptr::null_mut(), at, 0, std::ptr::null(), 0));
        }
        elapsed_ns(began)
    })
}

/// Return the nanoseconds of `count` readings of the clock that sessions are checked against.
#[pyfunction]
pub(crate) fn time_session_clock(py: Python<'_>, count: u64) -> u64 {
    py.detach(|| {
        let began = Instant::now();
        for _ in 0..count {
            black_box(monotonic_ns());
        }
        elapsed_ns(began)
    })
}

/// Return the nanoseconds of `count` readings of the counter that times single decisions.
#[pyfunction]
pub(crate) fn time_counter(py: Python<'_>, count: u64) -> u64 {
    py.detach(|| {
        let began = Instant::now();
        for _ in 0..count {
            black_box(ticks());
        }
        elapsed_ns(began)
    })
}

/// Memory in which each word holds the index of the next. The chain visits every word, in an order that no processor
/// predicts.
#[pyclass(module = "ztfast._core")]
pub(crate) struct Chain {
    words: Vec<u32>,
    /// The word at which the last loads ended. The next ones start there, since words loaded before may be cached.
    at: AtomicUsize,
}

#[pymethods]
impl Chain {
    /// Make a chain of so many bytes, rounded up to a power of two.
    #[new]
    #[allow(clippy::cast_possible_truncation)] // there are at most 2^32 words, and multiples wrap on purpose
    fn new(bytes: usize) -> PyResult<Self> {
        let words = (bytes / size_of::<u32>()).checked_next_power_of_two().filter(|&words| words <= 1 << 32);
        let words = words.ok_or_else(|| PyValueError::new_err(format!("wanted at most 16 GiB, got {bytes} bytes")))?;
        // A linear congruential generator of full period (its constants are Numerical Recipes').
        let next = |at: usize| (at as u32).wrapping_mul(1_664_525).wrapping_add(1_013_904_223) as usize & (words - 1);
        Ok(Self { words: (0..words).map(|at| next(at) as u32).collect(), at: AtomicUsize::new(0) })
    }

    /// Return the nanoseconds of `count` pairs of loads, each from the address that the one before gave.
    fn time_pairs(&self, py: Python<'_>, count: u64) -> u64 {
        py.detach(|| {
            let mut at = self.at.load(Ordering::Relaxed);
            let began = Instant::now();
            for _ in 0..2 * count {
                at = self.words.get(at).copied().unwrap_or(0) as usize;
            }
            let taken = elapsed_ns(began);
            self.at.store(at, Ordering::Relaxed);
            taken
        })
    }
}

/// Return the ticks of each of `count` pairs of loads at random places of so many bytes. The first load of a pair gives
/// the address of the second.
#[pyfunction]
pub(crate) fn time_loads(py: Python<'_>, bytes: usize, count: usize) -> Vec<u32> {
    py.detach(|| {
        let len = (bytes / size_of::<u64>()).max(2);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % len as u64).unwrap_or(0)
        };
        let places: Vec<u64> = (0..len).map(|_| random() as u64).collect();
        let starts: Vec<usize> = (0..count).map(|_| random()).collect();
        starts
            .iter()
            .map(|&start| {
                let began = ticks();
                let second = places[start];
                black_box(places[usize::try_from(second).unwrap_or(0)]);
                u32::try_from(ticks() - began).unwrap_or(u32::MAX)
            })
            .collect()
    })
}

/// Return `count` times the ticks between two readings of the clock that are at least so many ticks apart, with nothing
/// between but readings: the gaps of a spinning thread.
#[pyfunction]
pub(crate) fn time_nothing(py: Python<'_>, count: usize, least: u64) -> Vec<u32> {
    py.detach(|| {
        let mut taken = vec![0_u32; count];
        for taken in &mut taken {
            let began = ticks();
            let mut passed = ticks() - began;
            while passed < least {
                passed = ticks() - began;
            }
            *taken = u32::try_from(passed).unwrap_or(u32::MAX);
        }
        taken
    })
}
