//! Live state: who may ask, and what numbers stand for uids.
//!
//! ```text
//! slot       one session's cache line, and how it is read without a lock
//! sessions   the table of them: admission, revocation, quarantine
//! keeper     the thread that has tables follow the wall clock
//! handles    numbers for uids that outlive a bundle
//! ```
//!
//! What lies here is laid out with `repr(C)`, so that it can lie in memory that processes share; [`LAYOUT`] is its version.
#![deny(unsafe_op_in_unsafe_fn)]

mod handles;
mod keeper;
mod sessions;
mod slot;

pub use handles::{Handle, HandleError, Key, OwnedUid, Place, Register, Uids, Wanted, uid};
pub use sessions::{AdmitError, Sessions};
pub use slot::{Admission, LAYOUT, SessionId, SessionStatus};
