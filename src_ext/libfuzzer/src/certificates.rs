//! Verifies certificates by authorities, all of which come from one input.
//!
//! An input is a list of parts: a byte for the kind (anchor, presented certificate, CRL or intermediate), two bytes for
//! the length, the lower one first, and the part itself in DER.

use fastrand::Rng;
use ztfast_identity::{
    Authorities, AuthorityConfig, Certificate, Proved, Refusal, Request, RevocationPolicy, Vouching,
};

/// A moment in 2026, at which the seeds are valid, in nanoseconds since 1970.
const NOW_NS: i64 = 1_782_864_000_000_000_000;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An anchor of the authorities.
    Anchor,
    /// A presented certificate, the leaf first.
    Presented,
    /// A CRL.
    Crl,
    /// An intermediate of the authorities.
    Intermediate,
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte % 4 {
            0 => Self::Anchor,
            1 => Self::Presented,
            2 => Self::Crl,
            _ => Self::Intermediate,
        }
    }
}

/// Put parts together to an input.
#[must_use]
pub fn join(parts: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut input = Vec::new();
    for (kind, part) in parts {
        let Ok(length) = u16::try_from(part.len()) else { continue };
        input.push(*kind as u8);
        input.extend(length.to_le_bytes());
        input.extend(part);
    }
    input
}

/// Take an input apart. What is too short for its length is a part as well.
#[must_use]
pub fn split(mut input: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut parts = Vec::new();
    while let [kind, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push((Kind::of(*kind), part.to_vec()));
        input = rest;
    }
    parts
}

/// Verify what an input holds by an authority for clients and one for workloads, and return what each says; `None` if
/// they cannot be configured.
///
/// # Panics
/// If the verifier fails, which no input may cause.
#[must_use]
pub fn verify(input: &[u8]) -> Option<[Result<Proved, Refusal>; 2]> {
    let parts = split(input);
    let of = |kind| parts.iter().filter(move |part| part.0 == kind).map(|part| part.1.clone()).collect::<Vec<_>>();
    for part in &parts {
        let _ = Certificate::parse(&part.1);
    }
    let bundles = [("desk.example".to_owned(), of(Kind::Anchor))].into();
    let configs = [Vouching::X509(of(Kind::Anchor)), Vouching::Spiffe(bundles)].map(|vouching| AuthorityConfig {
        name: "desk".into(),
        vouching,
        intermediates: of(Kind::Intermediate),
        crls: of(Kind::Crl),
        revocation: if parts.len().is_multiple_of(2) {
            RevocationPolicy::Required
        } else {
            RevocationPolicy::WhereNamed
        },
        pins: vec![],
        max_age_s: None,
    });
    let [x509, spiffe] = configs.map(|config| Authorities::new(vec![config]).ok());
    let request =
        || Request { authority: None, chain: of(Kind::Presented), now_ns: NOW_NS, stapled: None, server: None };
    let found = [x509?.verify(request()), spiffe?.verify(request())];
    assert!(!found.iter().any(|one| matches!(one, Err(Refusal::Failed))), "the verifier failed");
    Some(found)
}

/// Change one part of an input, so that the others stay as they are. `bytes` changes bytes arbitrarily, and gets the
/// largest length that it may make.
#[must_use]
pub fn mutate(input: &[u8], most: usize, seed: u32, bytes: &mut dyn FnMut(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut rng = Rng::with_seed(u64::from(seed));
    let mut parts = split(input);
    if parts.is_empty() || rng.u8(..16) == 0 {
        let mut whole = input.to_vec();
        bytes(&mut whole, most);
        return whole;
    }
    let at = rng.usize(..parts.len());
    match rng.u8(..16) {
        0 => {
            parts.remove(at);
        }
        1 => {
            let again = parts[at].clone();
            parts.insert(rng.usize(..=parts.len()), again);
        }
        2 => parts[at].0 = Kind::of(rng.u8(..)),
        _ => {
            let (_, part) = &mut parts[at];
            bytes(part, usize::from(u16::MAX).min(part.len() + 64));
        }
    }
    let changed = join(&parts);
    if changed.len() > most { input.to_vec() } else { changed }
}
