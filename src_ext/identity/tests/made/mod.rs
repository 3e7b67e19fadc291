//! Makes certificates and CRLs in DER for tests, signed by keys of P-256.

#![allow(dead_code)] // each test uses a part

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::alg_id;

/// A moment at which what is made here is valid, in nanoseconds since 1970: 2026-07-01.
pub const NOW_NS: i64 = 1_782_864_000_000_000_000;

const SEQUENCE: u8 = 0x30;

/// The holder of a certificate.
pub struct Holder {
    key: EcdsaKeyPair,
    spki: Vec<u8>,
    name: Vec<u8>,
    serial: Vec<u8>,
    /// The certificate.
    pub der: Vec<u8>,
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
    match (&*length, u8::try_from(length.len())) {
        ([], _) => vec![tag, 0],
        (&[short @ 0..0x80], _) => [&[tag, short], &*content].concat(),
        (_, bytes) => [&[tag, 0x80 | bytes.expect("it has few bytes")], &*length, &*content].concat(),
    }
}

fn extension(id: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xFF] } else { &[] };
    tlv(SEQUENCE, &[&[6, 3, 0x55, 0x1D, id], critical, &tlv(4, &[value])])
}

fn key_id(spki: &[u8]) -> Vec<u8> {
    ztfast_identity::sha256(spki)[..20].to_vec()
}

fn signed(key: &EcdsaKeyPair, body: &[u8]) -> Vec<u8> {
    let signature = key.sign(&SystemRandom::new(), body).expect("it signs");
    tlv(SEQUENCE, &[body, &algorithm(), &tlv(3, &[&[0], signature.as_ref()])])
}

fn algorithm() -> Vec<u8> {
    tlv(SEQUENCE, &[alg_id::ECDSA_SHA256.as_ref()])
}

fn time(year: u8) -> Vec<u8> {
    tlv(0x17, &[format!("{year:02}0101000000Z").as_bytes()])
}

/// Make a certificate of a name, which is valid in 2026. Without an issuer it is an anchor; a leaf has a URI.
pub fn certificate(name: &str, issuer: Option<&Holder>, uri: Option<&str>) -> Holder {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key can be made");
    let point = tlv(3, &[&[0], key.public_key().as_ref()]);
    let spki = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[alg_id::ECDSA_P256.as_ref()]), &point]);
    let attribute = tlv(SEQUENCE, &[&[6, 3, 0x55, 4, 3], &tlv(12, &[name.as_bytes()])]);
    let name = tlv(SEQUENCE, &[&tlv(0x31, &[&attribute])]);
    let serial = [&[0x40][..], &key_id(&spki)[..8]].concat();
    let issuer_name = issuer.map_or(&*name, |issuer| &*issuer.name);
    let issuer_key = key_id(issuer.map_or(&*spki, |issuer| &*issuer.spki));
    let mut extensions = vec![
        extension(35, false, &tlv(SEQUENCE, &[&tlv(0x80, &[&issuer_key])])),
        extension(14, false, &tlv(4, &[&key_id(&spki)])),
    ];
    match uri {
        None => {
            extensions.push(extension(19, true, &tlv(SEQUENCE, &[&[1, 1, 0xFF]])));
            extensions.push(extension(15, true, &[3, 2, 1, 6]));
        }
        Some(uri) => {
            extensions.push(extension(15, true, &[3, 2, 7, 0x80]));
            let purpose = |last| tlv(6, &[&[0x2B, 6, 1, 5, 5, 7, 3, last]]);
            extensions.push(extension(37, false, &tlv(SEQUENCE, &[&purpose(1), &purpose(2)])));
            extensions.push(extension(17, false, &tlv(SEQUENCE, &[&tlv(0x86, &[uri.as_bytes()])])));
        }
    }
    let extensions = tlv(0xA3, &[&tlv(SEQUENCE, &[&extensions.concat()])]);
    let validity = tlv(SEQUENCE, &[&time(26), &time(27)]);
    let number = tlv(2, &[&serial]);
    let version = tlv(0xA0, &[&[2, 1, 2]]);
    let parts = [&*version, &number, &algorithm(), issuer_name, &validity, &name, &spki, &extensions];
    let der = signed(issuer.map_or(&key, |issuer| &issuer.key), &tlv(SEQUENCE, &parts));
    Holder { key, spki, name, serial, der }
}

/// Make an issuer's CRL of 2026.
pub fn crl(issuer: &Holder, revoked: &[&Holder], number: u8) -> Vec<u8> {
    let entries: Vec<Vec<u8>> =
        revoked.iter().map(|one| tlv(SEQUENCE, &[&tlv(2, &[&one.serial]), &time(26)])).collect();
    let list = if entries.is_empty() { Vec::new() } else { tlv(SEQUENCE, &[&entries.concat()]) };
    let extensions = [
        extension(35, false, &tlv(SEQUENCE, &[&tlv(0x80, &[&key_id(&issuer.spki)])])),
        extension(20, false, &[2, 1, number]),
    ];
    let extensions = tlv(0xA0, &[&tlv(SEQUENCE, &[&extensions.concat()])]);
    let parts = [&[2, 1, 1][..], &algorithm(), &issuer.name, &time(26), &time(27), &list, &extensions];
    signed(&issuer.key, &tlv(SEQUENCE, &parts))
}
