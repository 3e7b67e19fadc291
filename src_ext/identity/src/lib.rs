//! Verifies what proves an identity: certificates, their paths to the anchors of authorities, and whether any of them
//! was revoked. Everything here comes from outside: whatever it is, the answer is a proof or a [`Refusal`], soon.
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
//! ```
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
mod signature;
mod spiffe;
mod verifier;

pub use certificate::{Certificate, Names};
pub use ground::{Digest, Ground, GroundKind, sha256};
pub use limits::{MAX_CAS, MAX_CERTIFICATE, MAX_CERTIFICATES};
pub use path::{Bound, Proved, Revocation, check_sizes};
pub use refusal::{At, Refusal};
pub use refused::{MAX_REFUSED, REFUSED_NS};
pub use signature::{UnknownScheme, verify_signature};
pub use spiffe::{MAX_ID, MAX_TRUST_DOMAIN, SpiffeId, check_trust_domain, spiffe_id};
pub use verifier::{Authorities, AuthorityConfig, ConfigError, Request, Verifier, Vouching};
