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
mod binding;
mod changes;
mod classify;
mod columns;
mod decide;
mod engine;
mod evaluate;
mod gate;
mod hot;
mod kills;
mod mailbox;
mod options;
mod prepare;
mod registry;
mod request;
mod reverse;
mod sets;
mod shared;
mod snapshot;
mod upsert;
mod working;

pub use batch::Batch;
pub use binding::{Arguments, Name, PrepareError};
pub use columns::{Column, Who, WrongType};
pub use decide::{Determining, MAX_DETERMINING};
pub use engine::{Engine, StaleGates, Swap, SwapError};
pub use gate::Gate;
pub use kills::Kill;
pub use options::{EngineError, EngineOptions, MemoryUse};
pub use prepare::Seed;
pub use request::{OwnedRequest, RequestBuilder};
pub use sets::SimdLevel;
pub use shared::Shared;
pub use snapshot::{Attached, Fallback, FallbackAnswer, NoEntity, Snapshot, UidRef};
pub use upsert::{AttrValue, ChangeError, EntityData};
pub use ztfast_codes::Code;
pub use ztfast_live::{Admission, AdmitError, Handle, HandleError, SessionId, SessionStatus};
pub use ztfast_pages::{Forked, MemoryError, Residence, monotonic_ns, now_ns};
