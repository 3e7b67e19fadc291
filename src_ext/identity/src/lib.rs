//! Who someone is: credentials that were verified, and what must never be admitted again.
//!
//! ```text
//! table      the validation table: rows in a file of the state's directory, or in private memory
//! revoked    the list of revoked grounds
//! ```
//!
//! # What always sees what
//!
//! A credential that rests on a revoked ground must have no session, also if it is being admitted at that moment. So
//! whoever revokes does this, in this order:
//!
//! 1. [`Revoked::append`] writes the ground down, durably;
//! 2. [`Table::fall`] makes the rows fall that rest on it;
//! 3. the sessions that rest on it are revoked.
//!
//! Whoever admits does this:
//!
//! 1. [`Table::begin`] before the credential is verified, or [`Revoked::current`] before its row is looked up;
//! 2. [`Table::put`], or [`Table::get`] with that list;
//! 3. the session becomes live;
//! 4. [`Revoked::current`] once more: if it contains a ground of the session, the session is revoked. If the credential
//!    was verified just now, also if [`Table::has_fallen_since`] says so.
//!
//! If the session was live before step 3 of the revocation looked, that revokes it. If it was not, the list was written
//! before, and step 4 of the admission finds the ground in it. A process that is killed after step 1 of a revocation may
//! leave sessions, which end when somebody revokes the same once more; rows do not count from step 1 on, because each
//! look-up asks the list. What falls without being revoked, as when a certificate authority's list is loaded anew, is
//! counted by the table before it looks at rows, and so `has_fallen_since` tells of it.
#![forbid(unsafe_code)]

mod revoked;
mod table;

pub use revoked::{Change, MAX_FIELD, NoLine, Revocation, Revoked, RevokedError, RevokedGrounds, number};
pub use table::{
    Begun, Counters, DEFAULT_ROWS, Kept, Lookup, MAX_GROUNDS, MAX_ROWS, MAX_TEXT, NoRow, Row, RowGround, Table,
    TableError,
};
