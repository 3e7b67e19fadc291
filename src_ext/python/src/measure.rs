//! Measuring without Python between: decisions one by one, and the floors beside them, from one clock.
//!
//! The clock is the processor's time-stamp counter, read so that nothing moves across it. What a reading costs is in
//! every figure alike, decisions and floors, and is measured as a floor of its own.

use pyo3::prelude::*;
use std::hint::black_box;
use std::time::Instant;
use ztfast_engine::{Gate, Handle, SessionId};

/// The time-stamp counter, after everything before it and before everything after it.
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

/// Nanoseconds, where there is no counter that can be read directly.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Ticks of the clock in a nanosecond, measured over some milliseconds.
#[pyfunction]
#[allow(clippy::cast_precision_loss)] // for people
pub(crate) fn ticks_per_ns(py: Python<'_>) -> f64 {
    py.detach(|| {
        let (began, first) = (Instant::now(), ticks());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let counted = ticks() - first;
        counted as f64 / began.elapsed().as_nanos() as f64
    })
}

/// A list of requests for a gate: sessions, resources, and the values of all requests.
struct Requests {
    sessions: Vec<u64>,
    resources: Vec<u32>,
    values: Vec<i64>,
}

impl Requests {
    fn call(&self, gate: &mut Gate, at: usize) -> u32 {
        gate.allows(SessionId(self.sessions[at]), Handle(self.resources[at]), &self.values) as u32
    }
}

/// Ticks of each decision of a gate, over these requests in their order.
#[pyfunction]
pub(crate) fn time_each(
    py: Python<'_>,
    gate: PyRef<'_, crate::engine::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u32>,
    values: Vec<i64>,
) -> Vec<u32> {
    // SAFETY: nobody else decides by a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let mut taken = vec![0_u32; requests.sessions.len().min(requests.resources.len())];
        for (at, taken) in taken.iter_mut().enumerate() {
            let began = ticks();
            black_box(requests.call(gate, at));
            *taken = u32::try_from(ticks() - began).unwrap_or(u32::MAX);
        }
        taken
    })
}

/// Nanoseconds of all these decisions together, one after the other.
#[pyfunction]
pub(crate) fn time_all(
    py: Python<'_>,
    gate: PyRef<'_, crate::engine::Gate>,
    sessions: Vec<u64>,
    resources: Vec<u32>,
    values: Vec<i64>,
) -> u64 {
    // SAFETY: nobody else decides by a gate that is being measured (see `ztfast.h`), and `gate` keeps the core alive.
    let gate = unsafe { &mut *gate.core() };
    let requests = Requests { sessions, resources, values };
    py.detach(|| {
        let began = Instant::now();
        for at in 0..requests.sessions.len().min(requests.resources.len()) {
            black_box(requests.call(gate, at));
        }
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Ticks of each of `count` pairs of loads at random places of so many bytes, the second where the first says.
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

/// Ticks of each of `count` readings of the clock with nothing between: the gaps of a spinning thread.
#[pyfunction]
pub(crate) fn time_nothing(py: Python<'_>, count: usize) -> Vec<u32> {
    py.detach(|| {
        let mut taken = vec![0_u32; count];
        for taken in &mut taken {
            let began = ticks();
            *taken = u32::try_from(ticks() - began).unwrap_or(u32::MAX);
        }
        taken
    })
}
