//! Decisions from a Rust extension module, over the table of functions that `ztfast.h` describes.
//!
//! A process has one core: `ztfast._core`, loaded by Python. Linking the engine into a second extension module would
//! make a second core with sessions of its own. So a strategy in Rust takes the core's table from its capsule, once,
//! and clones the gate that Python has prepared:
//!
//! ```no_run
//! use std::ffi::c_void;
//! use ztfast_embed::{Api, Code, Gate};
//!
//! # fn capsule() -> *const c_void { std::ptr::null() }
//! # fn gate_address() -> usize { 0 }
//! // With the GIL: the result of PyCapsule_Import(ztfast_embed::CAPSULE, 0), and the Python object's `gate.address`.
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // SAFETY: the pointer is the capsule's, and the Python gate lives and is idle during the call.
//! let mut gate = unsafe { Gate::clone_of(Api::from_capsule(capsule())?, gate_address())? };
//! // From here on no GIL is needed, and any thread may decide, with the numbers of `session.id` and `resource.handle`.
//! let (session, resource) = (7, 3);
//! if gate.allows(session, resource, &[250_000, 100]) == Code::ALLOW {
//!     // send the order
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Api`] is the one definition in Rust: the core fills it in, and this crate calls it. A test compares it with the
//! header.
#![deny(unsafe_op_in_unsafe_fn)]

mod batch;
mod code;
mod gate;
mod table;

pub use batch::{Batch, Column};
pub use code::{Code, Kind, Status};
pub use gate::{Gate, StepUp, Value};
pub use table::{
    ABI_VERSION, ANY_AGE, AbiError, Api, CAPSULE, Determining, MAX_ARGUMENTS, MAX_DETERMINING, MAX_VALUES, REMEMBERED,
    RawBatch, RawColumn, RawGate, RawValue, UNDECIDED, UNKNOWN_TEXT,
};
