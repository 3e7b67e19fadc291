//! The engine: decides over a bundle's tables.
//!
//! ```text
//! Engine ── Sessions    which principals may act: validity, revocation, quarantine
//!        ── Handles     numbers for uids that outlive the bundle
//!        ── Snapshot    one bundle, the data derived from it, and the changes made since; replaced as a whole
//! Gate   ── decides on one action, over the newest snapshot
//! ```
//!
//! The deciding side ([`Gate::allows`], [`Gate::decide`], [`Batch::decide_many`]) neither allocates, locks, blocks nor
//! panics. There are two exceptions: policies that need Cedar's own evaluator, which the bundle's statistics count, and
//! a batch that several threads run at once, where all but one of them allocate working memory. An index that leads
//! nowhere, in whatever bundle, is a DENY with the code [`Code::Corrupt`].
#![deny(unsafe_op_in_unsafe_fn)]
// `make test-realtime` builds with RealtimeSanitizer, which checks the deciding side.
#![cfg_attr(ztfast_rtsan, feature(sanitize))]

mod asking;
mod asks;
mod batch;
mod binding;
mod cells;
mod changes;
mod checks;
mod classify;
mod columns;
mod decide;
mod engine;
mod evaluate;
mod exit;
mod gate;
mod grid;
mod hot;
mod kills;
mod layers;
mod lift;
mod linear;
mod lines;
mod live;
mod live_asks;
mod live_attributes;
mod live_gates;
mod live_rows;
mod mailbox;
mod memo;
mod options;
mod passed;
mod prepare;
mod reasons;
mod registry;
mod request;
mod reverse;
mod row_arguments;
mod rows;
mod sessions;
mod sets;
mod shared;
mod snapshot;
mod specialise;
mod step_up;
mod switching;
mod upsert;
mod working;

pub use batch::Batch;
pub use binding::{Arguments, Name, PrepareError};
pub use columns::{Column, Principals, WrongType};
pub use decide::{Determining, MAX_DETERMINING};
pub use engine::{Engine, StaleGates, Swap, SwapError};
pub use evaluate::SessionRequest;
pub use exit::Decision;
pub use gate::Gate;
pub use hot::{QuietGate, QuietLiveGate};
pub use kills::{KillError, KillRequest, ToStop};
pub use live::{LiveValues, MarketSlot};
pub use options::{ClockKind, EngineError, EngineOptions, MemoryUse};
pub use passed::{Given, MOST_PASSED, Passed, PassedValues, Source};
pub use prepare::Seed;
pub use request::{OwnedRequest, RequestBuilder};
pub use sessions::{Attributes, Chosen, NewProof, SessionError, Which};
pub use sets::SimdLevel;
pub use shared::Shared;
pub use snapshot::{Attached, EntityError, Fallback, FallbackAnswer, Snapshot, UidRef};
pub use upsert::{AttrValue, ChangeError, EntityData};
pub use ztfast_codes::Code;
pub use ztfast_live::{
    AUTHORITY_GROUND, Admission, AdmitError, Capacity, ChangeSessionError, Deed, Grounds, Handle, HandleError, Kill,
    Known, LiveAttributes, MAX_ASSURANCE, MAX_GROUNDS, MAX_RISK, Market, MarketState, Note, Noted, Place, Proof,
    RegisterUse, Released, Role, Scope, SessionId, SessionRecord, SessionStatus, State, StateError, StateGone, Stopped,
    SwitchError,
};
pub use ztfast_pages::{Clock, Forked, MemoryError, Residence, monotonic_ns, now_ns};
