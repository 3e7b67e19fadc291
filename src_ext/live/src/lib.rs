//! Live state: sessions, and handles for uids.
//!
//! ```text
//! slot       one session's cache line, which is read without a lock
//! sessions   the table of sessions: admission, revocation, quarantine
//! keeper     the thread that makes session tables follow the wall clock
//! handles    numbers for uids that outlive a bundle
//! ```
//!
//! Session slots are laid out with `repr(C)`, so that they can lie in memory that processes share; [`LAYOUT`] is the
//! version of the layout.
#![deny(unsafe_op_in_unsafe_fn)]

mod handles;
mod keeper;
mod sessions;
mod slot;

pub use handles::{Handle, HandleError, Key, OwnedUid, Place, Register, Uids, Wanted, uid};
pub use sessions::{AdmitError, Sessions};
pub use slot::{Admission, LAYOUT, SessionId, SessionStatus};
