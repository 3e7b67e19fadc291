//! The engine: decides over a bundle's tables.
//!
//! ```text
//! Engine ── Sessions    who may ask: validity, revocation, quarantine
//!        ── Handles     numbers for uids that outlive the bundle
//!        ── Snapshot    one bundle, what is derived from it, and what changed since; replaced whole
//! Gate   ── decides on one action, over the newest snapshot
//! ```
//!
//! The deciding side ([`Gate::allows`], [`Gate::decide`], [`Batch::decide_many`]) neither allocates, locks, blocks nor
//! panics, except where a policy needs Cedar's own evaluator, which the bundle's statistics count. Whatever a bundle
//! holds, an index that leads nowhere is a DENY with code [`Code::Corrupt`].
#![deny(unsafe_op_in_unsafe_fn)]
// RealtimeSanitizer, which `make test-realtime` turns on, watches the deciding side.
#![cfg_attr(ztfast_rtsan, feature(sanitize))]

mod batch;
mod changes;
mod classify;
mod clock;
mod code;
mod decide;
mod engine;
mod entitlements;
mod gate;
mod handles;
mod hot;
mod keeper;
mod kills;
mod mailbox;
mod memory;
mod process;
mod request;
mod sessions;
mod sets;
mod snapshot;
mod upsert;

pub use batch::{Batch, Column, Who, WrongType};
pub use clock::{monotonic_ns, now_ns};
pub use code::Code;
pub use decide::{Determining, MAX_DETERMINING};
pub use engine::{Engine, EngineError, EngineOptions, PrepareError, StaleGates, Swap, SwapError};
pub use gate::{Gate, Seed};
pub use handles::{Handle, HandleError};
pub use kills::Kill;
pub use memory::{MemoryError, MemoryUse, Residence};
pub use process::Forked;
pub use request::{OwnedRequest, RequestBuilder};
pub use sessions::{Admission, AdmitError, SessionId, SessionStatus};
pub use sets::SimdLevel;
pub use snapshot::{Attached, Fallback, FallbackAnswer, Name, NoEntity, Snapshot, UidRef};
pub use upsert::{AttrValue, ChangeError, EntityData};
