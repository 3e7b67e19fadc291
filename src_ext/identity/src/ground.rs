//! What a session rests on. A ground that is revoked ends the sessions that rest on it.

use aws_lc_rs::digest::{SHA256, digest};

/// The bytes of SHA-256.
pub type Digest = [u8; 32];

/// Return the SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut made = [0; 32];
    made.copy_from_slice(digest(&SHA256, bytes).as_ref());
    made
}

/// What kind of thing a ground is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroundKind {
    /// One certificate.
    Certificate,
    /// A serial number of an issuer.
    Serial,
    /// A public key: the leaf's or a CA's.
    Key,
    /// The name of the leaf's issuer.
    Issuer,
    /// A configured authority, by its name.
    Authority,
    /// A principal, by its type and id.
    Principal,
}

impl GroundKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Certificate, Self::Serial, Self::Key, Self::Issuer, Self::Authority, Self::Principal];

    /// Return the kind's name, as files and Python have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Serial => "serial",
            Self::Key => "key",
            Self::Issuer => "issuer",
            Self::Authority => "authority",
            Self::Principal => "principal",
        }
    }

    /// Return the kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A ground: its kind, and a digest over the kind and what it names. Digests of two kinds are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ground {
    /// The kind.
    pub kind: GroundKind,
    /// The SHA-256 of `ztfast:`, the kind, `:` and the data.
    pub digest: Digest,
}

impl Ground {
    fn new(kind: GroundKind, data: &[&[u8]]) -> Self {
        let text = [&b"ztfast:"[..], kind.name().as_bytes(), b":", &data.concat()].concat();
        Self { kind, digest: sha256(&text) }
    }

    /// Return the ground of one certificate, by the SHA-256 of its DER.
    ///
    /// ```
    /// use ztfast_identity::{Ground, sha256};
    ///
    /// let ground = Ground::certificate(&sha256(b"der"));
    /// assert_ne!(ground.digest, Ground::key(&sha256(b"der")).digest);
    /// ```
    #[must_use]
    pub fn certificate(digest: &Digest) -> Self {
        Self::new(GroundKind::Certificate, &[digest])
    }

    /// Return the ground of a public key, by the SHA-256 of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn key(digest: &Digest) -> Self {
        Self::new(GroundKind::Key, &[digest])
    }

    /// Return the ground of a serial number: by the SHA-256 of the issuer's name in DER, and the number's bytes.
    #[must_use]
    pub fn serial(issuer: &Digest, serial: &[u8]) -> Self {
        Self::new(GroundKind::Serial, &[issuer, crate::der::without_zeros(serial)])
    }

    /// Return the ground of an issuer, by the SHA-256 of its name in DER.
    #[must_use]
    pub fn issuer(digest: &Digest) -> Self {
        Self::new(GroundKind::Issuer, &[digest])
    }

    /// Return the ground of a configured authority.
    #[must_use]
    pub fn authority(name: &str) -> Self {
        Self::new(GroundKind::Authority, &[name.as_bytes()])
    }

    /// Return the ground of a principal.
    #[must_use]
    pub fn principal(ty: &str, id: &str) -> Self {
        Self::new(GroundKind::Principal, &[ty.as_bytes(), b"\0", id.as_bytes()])
    }

    /// Return the ground's number, by which sessions keep it: never 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        number(&self.digest)
    }
}

/// Return the number of a ground, by which sessions, rows and the list of what is revoked know it: the first bytes of
/// its digest, and never 0.
#[must_use]
pub fn number(digest: &[u8; 32]) -> u64 {
    digest.iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_over_kind_and_data() {
        let digest = sha256(b"der");
        let by_hand = sha256(&[&b"ztfast:certificate:"[..], &digest].concat());
        assert_eq!(Ground::certificate(&digest), Ground { kind: GroundKind::Certificate, digest: by_hand });
        assert_eq!(Ground::serial(&digest, &[0, 0, 7]), Ground::serial(&digest, &[7]));
        assert_eq!(Ground::principal("Algo", "a").digest, sha256(b"ztfast:principal:Algo\0a"));
        assert_eq!(Ground { kind: GroundKind::Key, digest: [0; 32] }.number(), 1);
        assert!(GroundKind::ALL.into_iter().all(|kind| GroundKind::of(kind.name()) == Some(kind)));
        assert_eq!(GroundKind::of("token"), None);
    }
}
