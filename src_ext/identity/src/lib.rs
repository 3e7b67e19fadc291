//! Who someone is: certificates are verified, what was verified is found again, and what is revoked is never admitted.
//! Everything that is verified comes from outside: whatever it is, the answer is a proof or a [`Refusal`], soon.
//!
//! ```text
//! der          elements of DER
//! limits       how much is read
//! ground       what a session rests on
//! refusal      why a credential is refused
//! names        distinguished names as texts
//! certificate  what one certificate says
//! conformity   the rules of RFC 5280 for one certificate
//! spiffe       SPIFFE ids, and the rules for X509-SVIDs
//! signature    signatures by public keys
//! crls         lists of revoked certificates
//! path         paths to anchors, and what they prove
//! refused      refusals that are remembered for a short time
//! pool         the threads that verify
//! verifier     a configuration of authorities
//! table        the validation table: rows in a file of the state's directory, or in private memory
//! revoked      the list of revoked grounds
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
//! 1. [`Table::begin`] before the credential is verified or its row is looked up, and [`Revoked::current`];
//! 2. [`Table::put`], or [`Table::get`] with that list;
//! 3. the session becomes live;
//! 4. [`Revoked::current`] once more: if it contains a ground of the session, the session is revoked, and also if
//!    [`Table::has_fallen_since`] says so.
//!
//! If the session was live before step 3 of the revocation looked, that revokes it. If it was not, the list was
//! written before, and step 4 of the admission finds the ground in it. A process that is killed after step 1 of a
//! revocation may leave sessions: they end when an authority opens its engine, or when somebody revokes the same once
//! more. Rows do not count from step 1 on, because each look-up asks the list. What falls without being revoked, as
//! when the list of a certificate authority is loaded anew, is counted by the table before it looks at rows:
//! `has_fallen_since` tells of it.
#![forbid(unsafe_code)]

mod certificate;
mod conformity;
mod crls;
mod der;
mod ground;
mod limits;
mod names;
mod path;
mod pool;
mod refusal;
mod refused;
mod revoked;
mod signature;
mod spiffe;
mod table;
mod verifier;

pub use certificate::{Certificate, Names};
pub use ground::{Digest, Ground, GroundKind, number, sha256};
pub use limits::{MAX_CAS, MAX_CERTIFICATE, MAX_CERTIFICATES};
pub use path::{Bound, Proved, RevocationPolicy, check_sizes};
pub use refusal::{At, Refusal};
pub use refused::{MAX_REFUSED, REFUSED_NS};
pub use revoked::{Change, MAX_FIELD, NoLine, Revocation, Revoked, RevokedError, RevokedGrounds};
pub use signature::{UnknownScheme, verify_signature};
pub use spiffe::{MAX_ID, MAX_TRUST_DOMAIN, SpiffeId, check_trust_domain, spiffe_id};
pub use table::{
    Begun, Counters, DEFAULT_ROWS, Kept, Lookup, MAX_GROUNDS, MAX_ROWS, MAX_TEXT, NoRow, Row, RowGround, Table,
    TableError,
};
pub use verifier::{Authorities, AuthorityConfig, ConfigError, Request, Verifier, Vouching};
