//! Live state: sessions, handles for uids, kill switches and market states, in memory that the processes of a host may
//! share.
//!
//! ```text
//! state      the memory: a file that processes map, or private pages of the same layout
//! owners     the processes that may write it, and their claims
//! claims     how one of them takes a slot
//! slot       one session's lines, of which decisions read one without a lock
//! proof      how a principal proved who it is, in one word of a slot
//! names      names of factors, channels and regions, by number
//! sessions   the table of sessions: admission, renewal, revocation, quarantine
//! keeper     the thread that makes session tables follow the wall clock
//! numbers    handles, and places in tables
//! notes      who changed sessions, kills and markets, when and why
//! register   the uids that have the same number in all processes
//! handles    numbers for uids that outlive a bundle
//! switches   what is killed
//! switchboard  how the processes of a state reach the switches
//! market     which markets are volatile or halted
//! texts      texts and state words in memory that processes share
//! used       which records of a table are looked at
//! ```
#![deny(unsafe_op_in_unsafe_fn)]

mod claims;
mod handles;
mod keeper;
mod market;
mod names;
mod notes;
mod numbers;
mod owners;
mod proof;
mod refusal;
mod register;
mod sessions;
mod slot;
mod state;
mod switchboard;
mod switches;
mod texts;
mod uid_bits;
mod used;

pub use handles::{HandleError, Key, OwnedUid, Register, Uids, Wanted};
pub use market::{Market, MarketState};
pub use names::MAX_NAME;
pub use notes::{Deed, NOTES, Note, Noted};
pub use numbers::{Handle, Place};
pub use owners::MAX_OWNERS;
pub use proof::{MAX_ASSURANCE, MAX_FACTORS, MAX_RISK, Proof};
pub use refusal::{ACTIONS, KILLS, MARKETS, SwitchError};
pub use register::{MAX_UID, NoPlace, RegisterUse, SharedUids};
pub use sessions::{
    AdmitError, ChangeSessionError, Known, LiveAttributes, MAX_SESSIONS, Notice, SessionRecord, Sessions, Vacancy,
};
pub use slot::{AUTHORITY_GROUND, Admission, Grounds, LAYOUT, LiveFields, MAX_GROUNDS, SessionId, SessionStatus};
pub use state::{Capacity, OTHER_NAMES, State, StateError, StateGone};
pub use switchboard::Switchboard;
pub use switches::{ActionKey, FOR_ALL, Kill, Released, SWITCHES_LAYOUT, Scope, ScopeText, Stopped, Switches, Writer};
pub use uid_bits::{FIRM, bit_number, id_hash, type_hash, uid_bit, uid_hash};
pub use ztfast_pages::Role;
