//! SPIFFE ids, and what an X509-SVID must be besides a certificate with a valid path.
//!
//! Source: the SPIFFE standards, SPIFFE-ID and X509-SVID.

use crate::certificate::Certificate;
use crate::refusal::{At, Refusal};

/// The most bytes of an id (SPIFFE-ID, section 2.3).
pub const MAX_ID: usize = 2048;
/// The most bytes of a trust domain's name (SPIFFE-ID, section 2.1).
pub const MAX_TRUST_DOMAIN: usize = 255;

/// A SPIFFE id: `spiffe://` and a trust domain, then the segments of a path.
///
/// ```
/// use ztfast_identity::SpiffeId;
///
/// let id = SpiffeId::parse("spiffe://desk.example/algo/a7").expect("it is valid");
/// assert_eq!((&*id.trust_domain, &*id.path), ("desk.example", &["algo".to_owned(), "a7".to_owned()][..]));
/// assert!(SpiffeId::parse("spiffe://desk.example/algo/../a7").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The trust domain, without `spiffe://`.
    pub trust_domain: String,
    /// The segments of the path; empty for a trust domain itself.
    pub path: Vec<String>,
}

impl SpiffeId {
    /// Read an id.
    ///
    /// # Errors
    /// What is wrong with it. Nothing is normalised: an id that is written in another way is not valid.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_ID {
            return Err("it has more than 2,048 bytes");
        }
        let rest = text.strip_prefix("spiffe://").ok_or("it does not begin with spiffe://")?;
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        check_trust_domain(trust_domain)?;
        let path: Vec<String> = path.map_or_else(|| Ok(Vec::new()), segments)?;
        Ok(Self { trust_domain: trust_domain.to_owned(), path })
    }
}

/// Return what is wrong with a trust domain's name.
///
/// # Errors
/// What is wrong.
pub fn check_trust_domain(name: &str) -> Result<(), &'static str> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    match name {
        "" => Err("its trust domain is empty"),
        name if name.len() > MAX_TRUST_DOMAIN => Err("its trust domain has more than 255 bytes"),
        name if name.bytes().all(is_allowed) => Ok(()),
        _ => Err("its trust domain has something else than a-z, 0-9, dots, dashes and underscores"),
    }
}

fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    path.split('/')
        .map(|segment| match segment {
            "" => Err("its path has an empty segment, or ends with a slash"),
            "." | ".." => Err("its path has a segment that is . or .."),
            segment if segment.bytes().all(is_allowed) => Ok(segment.to_owned()),
            _ => Err("its path has something else than letters, digits, dots, dashes and underscores"),
        })
        .collect()
}

/// Return a certificate's SPIFFE id, if its only URI is one with a path.
#[must_use]
pub fn spiffe_id(certificate: &Certificate) -> Option<SpiffeId> {
    match &*certificate.names.uri {
        [uri] => SpiffeId::parse(uri).ok().filter(|id| !id.path.is_empty()),
        _ => None,
    }
}

/// Return the SPIFFE id of a leaf: it has exactly one URI, which is a valid id with a path.
///
/// # Errors
/// [`Refusal::NotSpiffe`] if it has no URI, [`Refusal::SpiffeId`] if the URI is not valid (X509-SVID, section 2).
pub(crate) fn id_of(leaf: &Certificate, authority: &str) -> Result<SpiffeId, Refusal> {
    let uri = match &*leaf.names.uri {
        [] => return Err(Refusal::NotSpiffe { authority: authority.to_owned() }),
        [uri] => uri,
        _ => return Err(Refusal::SpiffeId("there are several URIs")),
    };
    let id = SpiffeId::parse(uri).map_err(Refusal::SpiffeId)?;
    if id.path.is_empty() {
        return Err(Refusal::SpiffeId("it has no path: it names a trust domain, not a workload"));
    }
    Ok(id)
}

/// Return whether a leaf is what an X509-SVID of a workload must be (X509-SVID, sections 4.1 to 4.4).
///
/// # Errors
/// [`Refusal::Usage`].
pub(crate) fn check_leaf(leaf: &Certificate) -> Result<(), Refusal> {
    let facts = &leaf.facts;
    let refused = |what| Err(Refusal::Usage { at: At::LEAF, what });
    let Some(key_usage) = facts.key_usage else {
        return refused("an X509-SVID has a keyUsage");
    };
    if !key_usage.critical {
        return refused("an X509-SVID's keyUsage is critical");
    }
    if !key_usage.digital_signature {
        return refused("an X509-SVID's keyUsage has digitalSignature");
    }
    if key_usage.cert_sign || key_usage.crl_sign {
        return refused("a certificate that may sign certificates or CRLs never authenticates");
    }
    if facts.extended.is_some_and(|extended| !(extended.client && extended.server)) {
        return refused("an X509-SVID's extendedKeyUsage has serverAuth and clientAuth");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_read_as_the_standard_says() {
        for valid in ["spiffe://a", "spiffe://a/b", "spiffe://a.b-c_9/X.y-z_0/...", "spiffe://1/2"] {
            assert!(SpiffeId::parse(valid).is_ok(), "{valid}");
        }
        let wrong = [
            "",
            "spiffe",
            "spiffe:/a/b",
            "SPIFFE://a/b",
            "spiffe://",
            "spiffe:///b",
            "spiffe://A/b",
            "spiffe://a:80/b",
            "spiffe://u@a/b",
            "spiffe://a%2e/b",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/./b",
            "spiffe://a/..",
            "spiffe://a/b/",
            "spiffe://a/b?q",
            "spiffe://a/b#f",
            "spiffe://a/b%20",
            "spiffe://a/b c",
            "spiffe://a/ö",
            "https://a/b",
            " spiffe://a/b",
            "spiffe://a/b\0",
            "spiffe://ä/b",
            "spiffe://a/b\n",
        ];
        for wrong in wrong {
            assert!(SpiffeId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lengths_have_limits() {
        let with_domain = |bytes| format!("spiffe://{}/a", "d".repeat(bytes));
        assert!(SpiffeId::parse(&with_domain(255)).is_ok());
        assert!(SpiffeId::parse(&with_domain(256)).is_err());
        let with_path = |bytes| format!("spiffe://a/{}", "p".repeat(bytes - "spiffe://a/".len()));
        assert!(SpiffeId::parse(&with_path(2048)).is_ok());
        assert!(SpiffeId::parse(&with_path(2049)).is_err());
    }

    proptest! {
        #[test]
        fn a_valid_id_is_written_in_one_way(text in "spiffe://[a-c.%:@A]{0,4}(/[a-b.%?#]{0,3}){0,3}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                let segments = std::iter::once(&id.trust_domain).chain(&id.path).cloned().collect::<Vec<_>>();
                prop_assert_eq!(format!("spiffe://{}", segments.join("/")), text);
            }
        }
    }
}
