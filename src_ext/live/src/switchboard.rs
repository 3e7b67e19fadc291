//! The switches of a state: how its processes reach them, and exclude each other when they change them.

use crate::state::State;
use crate::switches::{Switches, Writer};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// The kill switches and market states that lie in a state.
pub struct Switchboard {
    /// Those of `state`, stored here to save decisions an indirection.
    switches: NonNull<Switches>,
    state: Arc<State>,
}

// SAFETY: the switches are shared as `&Switches`, which is Sync, for as long as the state lives, and `state` keeps it
// alive.
unsafe impl Send for Switchboard {}
// SAFETY: as above.
unsafe impl Sync for Switchboard {}

impl Switchboard {
    /// Use the switches of a state.
    #[must_use]
    pub fn of(state: Arc<State>) -> Self {
        Self { switches: NonNull::from(state.switches()), state }
    }

    /// Change the switches while no other thread, of no process, does.
    ///
    /// # Errors
    /// The system refuses the lock.
    pub fn change<T>(&self, now_ns: i64, job: impl FnOnce(&Writer<'_>) -> T) -> io::Result<T> {
        self.state.alone(|| job(&self.writer(now_ns)))
    }
}

impl Deref for Switchboard {
    type Target = Switches;

    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    fn deref(&self) -> &Switches {
        // SAFETY: the state lives as long as `self`, and its switches are only ever shared.
        unsafe { self.switches.as_ref() }
    }
}
