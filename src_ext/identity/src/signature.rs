//! Signatures by public keys.

use crate::der;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};
use webpki::aws_lc_rs as algorithms;

/// The algorithms that certificates and CRLs may be signed with: nothing with SHA-1, no RSA below 2,048 bits.
pub(crate) static OF_CERTIFICATES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Return whether an issuer's key made a signature of this algorithm, which is the content of an `AlgorithmIdentifier`.
/// `None` if the algorithm is not supported.
pub(crate) fn is_signed(algorithm: &[u8], spki: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let (key_algorithm, key) = der::public_key(spki)?;
    let mut of_this = OF_CERTIFICATES.iter().filter(|one| one.signature_alg_id().as_ref() == algorithm).peekable();
    of_this.peek()?;
    let fitting = of_this.find(|one| one.public_key_alg_id().as_ref() == key_algorithm);
    Some(fitting.is_some_and(|one| one.verify_signature(key, message, signature).is_ok()))
}

/// No scheme has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scheme of signatures: wanted one of {known}", known = SCHEMES.map(|one| one.name).join(", "))]
pub struct UnknownScheme(pub String);

/// A key's algorithm, and how signatures by such keys are verified.
type Way = (AlgorithmIdentifier, &'static dyn VerificationAlgorithm);

/// How signatures of one name are verified, by the key's algorithm.
#[derive(Clone, Copy)]
struct Scheme {
    name: &'static str,
    ways: &'static [Way],
    /// Only the smaller of the two values of s that fit counts.
    only_low_s: bool,
}

const fn scheme(name: &'static str, ways: &'static [Way]) -> Scheme {
    Scheme { name, ways, only_low_s: false }
}

/// An ECDSA signature is a DER sequence of r and s, or with `p1363` the two of them side by side, each as long as the
/// curve's order. The curve is the key's.
const SCHEMES: [Scheme; 14] = [
    scheme(
        "ecdsa-sha256",
        &[
            (alg_id::ECDSA_P256, &signature::ECDSA_P256_SHA256_ASN1),
            (alg_id::ECDSA_P384, &signature::ECDSA_P384_SHA256_ASN1),
            (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA256_ASN1),
            (alg_id::ECDSA_P256K1, &signature::ECDSA_P256K1_SHA256_ASN1),
        ],
    ),
    scheme(
        "ecdsa-sha384",
        &[
            (alg_id::ECDSA_P256, &signature::ECDSA_P256_SHA384_ASN1),
            (alg_id::ECDSA_P384, &signature::ECDSA_P384_SHA384_ASN1),
            (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA384_ASN1),
        ],
    ),
    scheme(
        "ecdsa-sha512",
        &[
            (alg_id::ECDSA_P256, &signature::ECDSA_P256_SHA512_ASN1),
            (alg_id::ECDSA_P384, &signature::ECDSA_P384_SHA512_ASN1),
            (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA512_ASN1),
        ],
    ),
    Scheme {
        name: "ecdsa-sha256-low-s",
        ways: &[(alg_id::ECDSA_P256K1, &signature::ECDSA_P256K1_SHA256_ASN1)],
        only_low_s: true,
    },
    scheme(
        "ecdsa-sha256-p1363",
        &[
            (alg_id::ECDSA_P256, &signature::ECDSA_P256_SHA256_FIXED),
            (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA256_FIXED),
            (alg_id::ECDSA_P256K1, &signature::ECDSA_P256K1_SHA256_FIXED),
        ],
    ),
    scheme(
        "ecdsa-sha384-p1363",
        &[
            (alg_id::ECDSA_P384, &signature::ECDSA_P384_SHA384_FIXED),
            (alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA384_FIXED),
        ],
    ),
    scheme("ecdsa-sha512-p1363", &[(alg_id::ECDSA_P521, &signature::ECDSA_P521_SHA512_FIXED)]),
    scheme("ed25519", &[(alg_id::ED25519, &signature::ED25519)]),
    scheme("rsa-pkcs1-sha256", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA256)]),
    scheme("rsa-pkcs1-sha384", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA384)]),
    scheme("rsa-pkcs1-sha512", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA512)]),
    scheme("rsa-pss-sha256", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA256)]),
    scheme("rsa-pss-sha384", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA384)]),
    scheme("rsa-pss-sha512", &[(alg_id::RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA512)]),
];

/// Return whether the holder of a key signed a message.
///
/// `scheme` is the name of one, such as `ecdsa-sha256`, `ecdsa-sha256-p1363`, `ed25519`, `rsa-pkcs1-sha256` or
/// `rsa-pss-sha256` (with a salt as long as the hash); `spki` is the key's `SubjectPublicKeyInfo` in DER. A key that
/// does not fit the scheme, or is too weak, signed nothing.
///
/// # Errors
/// [`UnknownScheme`].
///
/// ```
/// assert_eq!(ztfast_identity::verify_signature("ed25519", b"", b"message", b""), Ok(false));
/// assert!(ztfast_identity::verify_signature("none", b"", b"message", b"").is_err());
/// ```
pub fn verify_signature(scheme: &str, spki: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, UnknownScheme> {
    let scheme = SCHEMES.iter().find(|one| one.name == scheme).ok_or_else(|| UnknownScheme(scheme.to_owned()))?;
    let Some((algorithm, key)) = der::public_key(spki) else { return Ok(false) };
    let Some((_, way)) = scheme.ways.iter().find(|(id, _)| id.as_ref() == algorithm) else { return Ok(false) };
    if scheme.only_low_s && !has_low_s(signature) {
        return Ok(false);
    }
    Ok(UnparsedPublicKey::new(*way, key).verify(message, signature).is_ok())
}

/// Half of the order of secp256k1 (SEC 2, section 2.4.1), rounded down.
const HALF_ORDER: [u8; 32] = [
    0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x5D, 0x57, 0x6E,
    0x73, 0x57, 0xA4, 0x50, 0x1D, 0xDF, 0xE9, 0x2F, 0x46, 0x68, 0x1B, 0x20, 0xA0,
];

/// Return whether s is at most half of the order: otherwise anyone can make another signature of it (EIP-2).
fn has_low_s(signature: &[u8]) -> bool {
    let s = der::only(signature, der::SEQUENCE).and_then(der::unsigned).and_then(|(_, rest)| der::unsigned(rest));
    s.is_some_and(|(s, rest)| rest.is_empty() && (s.len() < 32 || s.len() == 32 && *s <= HALF_ORDER[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
    use proptest::prelude::*;

    /// Return a key in DER, and its signature of a message.
    fn signed(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key can be made");
        let made = pair.sign(&SystemRandom::new(), message).expect("it signs");
        let key = pair.public_key().as_ref();
        let prefix = [&[0x30, 0x59, 0x30, 0x13][..], alg_id::ECDSA_P256.as_ref(), &[3, 0x42, 0]].concat();
        ([&prefix[..], key].concat(), made.as_ref().to_vec())
    }

    #[test]
    fn a_signature_is_of_one_key_message_and_scheme() {
        let (key, made) = signed(b"message");
        let (other, _) = signed(b"message");
        assert_eq!(verify_signature("ecdsa-sha256", &key, b"message", &made), Ok(true));
        assert_eq!(verify_signature("ecdsa-sha256", &key, b"massage", &made), Ok(false));
        assert_eq!(verify_signature("ecdsa-sha256", &other, b"message", &made), Ok(false));
        for scheme in SCHEMES.iter().filter(|scheme| scheme.name != "ecdsa-sha256") {
            assert_eq!(verify_signature(scheme.name, &key, b"message", &made), Ok(false), "{}", scheme.name);
        }
    }

    #[test]
    fn a_high_s_is_refused() {
        let with = |s: &[u8]| {
            let bytes = u8::try_from(s.len()).expect("it is short");
            has_low_s(&[&[0x30, 5 + bytes, 2, 1, 1, 2, bytes][..], s].concat())
        };
        let mut above = HALF_ORDER;
        above[31] += 1;
        assert!(with(&HALF_ORDER) && with(&[1]));
        assert!(!with(&above) && !with(&[&[0][..], &[0xFF; 32]].concat()) && !has_low_s(b""));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_changed_signature_or_key_is_refused(
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
            of_key in any::<bool>(),
        ) {
            let (mut key, mut made) = signed(b"message");
            let changed = if of_key { &mut key } else { &mut made };
            let place = place.index(changed.len());
            changed[place] ^= 1_u8 << bit;
            prop_assert_eq!(verify_signature("ecdsa-sha256", &key, b"message", &made), Ok(false));
        }
    }
}
