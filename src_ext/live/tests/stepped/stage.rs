//! What a change is made in: a state, a child that stands before the change, and processes that look at it afterwards.

use crate::host::child::Child;
use ztfast_live::Sessions;

/// A state before a change.
pub trait Stage {
    /// Return a process of the state that was there before, if there is one.
    fn own(&self) -> Option<&Sessions>;
    /// Fork a child that stands before the change. `None` if the system lets no process be stepped.
    fn child(&self) -> Option<Child>;
    /// Do what another process may do while the child stands still, in this turn.
    fn meanwhile(&self, turn: usize);
    /// Look at everything, when the child was killed. By turns, another process looks first.
    fn look(&self, turn: usize) -> Result<(), String>;
}
