//! Releases the handles of sessions that have ended when a call needs a handle and none is left.

use crate::changelog::Log;
use crate::changing;
use pyo3::prelude::*;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ztfast_engine::Engine;

/// A past attempt to release handles.
struct Tried {
    ended: Instant,
    took: Duration,
    helped: bool,
}

impl Tried {
    /// Return whether another attempt is worth its time: the last one helped, or sessions had time to end since. So
    /// where all handles are needed, further calls are refused at once.
    fn is_past(&self) -> bool {
        self.helped || self.ended.elapsed() > 100 * self.took
    }
}

thread_local! {
    static RELEASING: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as releasing handles until it is dropped, also by a panic.
struct Releasing;

impl Releasing {
    /// Mark this thread; return `None` if it is marked already.
    fn begin() -> Option<Self> {
        (!RELEASING.replace(true)).then_some(Self)
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        RELEASING.set(false);
    }
}

/// The last attempt to release handles when none was left. No thread holds this lock together with the GIL.
#[derive(Default)]
pub(crate) struct Tries(Mutex<Option<Tried>>);

impl Tries {
    /// Do a job that needs a handle. It runs without the GIL, since it may wait for a swap, and decisions of other
    /// threads go on. If no handle is left, those of principals whose sessions have ended are released first.
    pub fn releasing<T: Send, E: Send>(
        &self,
        py: Python<'_>,
        (engine, log): (&Engine, &Mutex<Log>),
        is_full: impl Fn(&E) -> bool + Sync,
        job: impl Fn() -> Result<T, E> + Sync,
    ) -> PyResult<Result<T, E>> {
        let full = py.detach(|| job().map_err(|error| (is_full(&error), error)));
        match full {
            Ok(done) => return Ok(Ok(done)),
            Err((false, error)) => return Ok(Err(error)),
            Err((true, _)) => {}
        }
        py.detach(|| {
            // A finalizer or a signal handler that runs in this thread meanwhile must not wait for this thread.
            let Some(_releasing) = Releasing::begin() else { return Ok(job()) };
            let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have released handles while this one waited.
            let again = job();
            if !again.as_ref().is_err_and(&is_full) || tried.as_ref().is_some_and(|tried| !tried.is_past()) {
                return Ok(again);
            }
            let began = Instant::now();
            Python::attach(|py| changing::compact(py, engine, log))?;
            let again = job();
            *tried = Some(Tried { ended: Instant::now(), took: began.elapsed(), helped: again.is_ok() });
            Ok(again)
        })
    }
}
