//! Why a credential is refused: each reason has a code that does not change, and a sentence for people.

use crate::ground::Digest;
use std::fmt;

/// Which certificate of a path is meant: 0 is the leaf, 1 the CA that issued it, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub usize);

impl At {
    /// The certificate that is to be proved.
    pub const LEAF: Self = Self(0);
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the leaf"),
            1 => f.write_str("the leaf's issuer"),
            steps => write!(f, "the CA {steps} steps above the leaf"),
        }
    }
}

/// Why a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to verify.
    #[error("no certificate was presented")]
    NoCertificate,
    /// There are more certificates than are read.
    #[error("{0} certificates were presented: at most {most} are read", most = crate::limits::MAX_CERTIFICATES)]
    TooMany(usize),
    /// A certificate has more bytes than are read.
    #[error(
        "certificate {number} of those presented has {bytes} bytes: at most {most} are read",
        most = crate::limits::MAX_CERTIFICATE
    )]
    TooLarge {
        /// Its number, from 1.
        number: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// The bytes are no certificate.
    #[error("certificate {number} of those presented cannot be read: {what}")]
    Malformed {
        /// Its number, from 1.
        number: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The configuration has no authority of this name.
    #[error("no authority is called {0:?}")]
    UnknownAuthority(String),
    /// No path leads to an anchor of the authority.
    #[error("no anchor of {authority} issued this certificate, directly or by the CAs that are known")]
    UnknownIssuer {
        /// The authority.
        authority: String,
    },
    /// The certificate has no SPIFFE id, which its authority wants.
    #[error("the leaf names no URI, and {authority} takes SPIFFE ids only")]
    NotSpiffe {
        /// The authority.
        authority: String,
    },
    /// The authority has no bundle of the id's trust domain.
    #[error("{authority} has no bundle of the trust domain {trust_domain}")]
    UnknownTrustDomain {
        /// The authority.
        authority: String,
        /// The trust domain.
        trust_domain: String,
    },
    /// The certificate's URIs break the rules of SPIFFE.
    #[error("the leaf's SPIFFE id is not valid: {0} (SPIFFE-ID, section 2; X509-SVID, section 2)")]
    SpiffeId(&'static str),
    /// A certificate's time is over.
    #[error("{0} has expired")]
    Expired(At),
    /// A certificate's time has not begun.
    #[error("{0} is not valid yet")]
    NotYetValid(At),
    /// A signature of the path does not fit.
    #[error("a signature of the path is not by its issuer's key")]
    Signature,
    /// A signature's algorithm is not supported.
    #[error("a signature of the path, or a CRL's, has an algorithm that is not supported")]
    Algorithm,
    /// A key is too weak or of an unknown kind.
    #[error("the key of {at} is not accepted: {what}")]
    WeakKey {
        /// Whose key it is.
        at: At,
        /// Why.
        what: &'static str,
    },
    /// A certificate was not issued for this.
    #[error("{at} is not for this use: {what}")]
    Usage {
        /// Which one.
        at: At,
        /// What is missing.
        what: &'static str,
    },
    /// A certificate breaks a rule of RFC 5280.
    #[error("{at} breaks a rule of RFC 5280: {rule}")]
    NotConforming {
        /// Which one.
        at: At,
        /// The rule, with its section.
        rule: &'static str,
    },
    /// A certificate has an extension that must be understood, and is not.
    #[error("a certificate of the path has a critical extension that is not known")]
    CriticalExtension,
    /// A CA may not issue for these names.
    #[error("a CA of the path may not issue for the names of a certificate below it")]
    NameConstraints,
    /// A path is longer than one of its CAs permits.
    #[error("the path has more CAs than one of them permits (pathLenConstraint)")]
    PathLength,
    /// A path has more CAs than a session keeps.
    #[error("the path has {0} CAs: at most {most} are accepted", most = crate::limits::MAX_CAS)]
    PathTooLong(usize),
    /// There are too many ways from the leaf to an anchor.
    #[error("the certificates form more paths than are tried: present those of one path")]
    PathTooComplex,
    /// The certificate was revoked.
    #[error("{0} was revoked by its issuer")]
    Revoked(At),
    /// Nothing says whether the certificate was revoked.
    #[error("nothing says whether {0} was revoked: there is no CRL of its issuer, and no OCSP answer")]
    RevocationUnknown(At),
    /// The newest CRL is too old.
    #[error("the CRL for {0} is stale: its next update is overdue")]
    CrlStale(At),
    /// The CRL is of the future.
    #[error("the CRL for {0} is not valid yet")]
    CrlNotYetValid(At),
    /// A newer CRL was seen.
    #[error("the CRL for {0} is older than one that was seen before: it was rolled back")]
    CrlRolledBack(At),
    /// The CRL is not by the certificate's issuer.
    #[error("the CRL for {0} is not signed by the issuer's key")]
    CrlSignature(At),
    /// The issuer may not sign CRLs.
    #[error("the issuer of {0} may not sign CRLs (keyUsage lacks cRLSign)")]
    CrlSigner(At),
    /// The stapled answer is too old.
    #[error("the stapled OCSP answer is stale: its next update is overdue")]
    OcspStale,
    /// None of the path's keys is pinned.
    #[error("no key of the path is pinned by {authority}; the path has {}", shown(.keys))]
    PinMismatch {
        /// The authority.
        authority: String,
        /// The SHA-256 of each key of the path, the leaf's first.
        keys: Vec<Digest>,
    },
    /// The certificate is not the server's.
    #[error("the certificate is not for the name of the server that was asked for")]
    ServerName,
    /// Too many certificates wait to be verified.
    #[error("too many credentials wait to be verified: try again")]
    Busy,
    /// The process was forked.
    #[error("these authorities were made before a fork, and are its parent's: make them anew in this process")]
    Forked,
    /// The verifier failed.
    #[error("the verification failed: this is a bug of ztfast")]
    Failed,
}

impl Refusal {
    /// Return the code, which does not change.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::TooMany(_) => "too-many-certificates",
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "malformed",
            Self::UnknownAuthority(_) => "unknown-authority",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::NotSpiffe { .. } => "not-spiffe",
            Self::UnknownTrustDomain { .. } => "unknown-trust-domain",
            Self::SpiffeId(_) => "spiffe-id",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not-yet-valid",
            Self::Signature => "signature",
            Self::Algorithm => "algorithm",
            Self::WeakKey { .. } => "weak-key",
            Self::Usage { .. } => "usage",
            Self::NotConforming { .. } => "not-conforming",
            Self::CriticalExtension => "critical-extension",
            Self::NameConstraints => "name-constraints",
            Self::PathLength => "path-length",
            Self::PathTooLong(_) => "path-too-long",
            Self::PathTooComplex => "path-too-complex",
            Self::Revoked(_) => "revoked",
            Self::RevocationUnknown(_) => "revocation-unknown",
            Self::CrlStale(_) => "crl-stale",
            Self::CrlNotYetValid(_) => "crl-not-yet-valid",
            Self::CrlRolledBack(_) => "crl-rolled-back",
            Self::CrlSignature(_) => "crl-signature",
            Self::CrlSigner(_) => "crl-signer",
            Self::OcspStale => "ocsp-stale",
            Self::PinMismatch { .. } => "pin-mismatch",
            Self::ServerName => "server-name",
            Self::Busy => "busy",
            Self::Forked => "forked",
            Self::Failed => "failed",
        }
    }

    /// Return whether this only says that the credential is not one of the authority's. Another authority's refusal
    /// tells more.
    #[must_use]
    pub const fn is_of_a_stranger(&self) -> bool {
        matches!(self, Self::UnknownIssuer { .. } | Self::NotSpiffe { .. } | Self::UnknownTrustDomain { .. })
    }

    /// Return whether the same credential may be accepted at another time.
    #[must_use]
    pub const fn depends_on_time(&self) -> bool {
        matches!(
            self,
            Self::Expired(_) | Self::NotYetValid(_) | Self::CrlStale(_) | Self::CrlNotYetValid(_) | Self::OcspStale
        )
    }

    /// Return whether this says something about the credential, rather than about the verifier.
    #[must_use]
    pub const fn is_about_credential(&self) -> bool {
        !matches!(self, Self::Busy | Self::Forked | Self::Failed)
    }
}

/// Show keys as pins are written: `sha256/` and Base64.
fn shown(keys: &[Digest]) -> String {
    keys.iter().map(|key| format!("sha256/{}", base64(key))).collect::<Vec<_>>().join(", ")
}

/// Encode bytes in Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([0, 0].iter()).take(3).fold(0_usize, |word, &byte| word << 8 | usize::from(byte));
        for place in 0..4_usize {
            let digit = DIGITS.get(word >> (18 - 6 * place) & 0x3F).map_or('=', |&digit| char::from(digit));
            text.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (text, expected) in vectors {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_pin_that_fails_shows_the_keys() {
        let refusal = Refusal::PinMismatch { authority: "desk".into(), keys: vec![[0; 32]] };
        let shown =
            "no key of the path is pinned by desk; the path has sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!((refusal.code(), &*refusal.to_string()), ("pin-mismatch", shown));
        assert_eq!(Refusal::Expired(At(2)).to_string(), "the CA 2 steps above the leaf has expired");
    }
}
