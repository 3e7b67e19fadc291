//! What one certificate says. Nothing here verifies anything.

use crate::der;
use crate::ground::{Digest, sha256};
use crate::limits::MAX_CERTIFICATE;
use crate::names::{self, hex};
use rustls_pki_types::alg_id;
use std::net::IpAddr;
use x509_parser::prelude::*;

/// The most extensions of a certificate. Path building reads certificates again and again, so this bounds its time.
const MAX_EXTENSIONS: usize = 64;

/// The names of a certificate's subjectAltName.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uri: Vec<String>,
    /// Email addresses.
    pub email: Vec<String>,
    /// IP addresses.
    pub ip: Vec<String>,
}

/// What one certificate says.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The SHA-256 of its DER.
    pub digest: Digest,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub key: Digest,
    /// Its `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
    /// Its serial number's bytes, without leading zeros.
    pub serial: Vec<u8>,
    /// The issuer's name in DER.
    pub issuer: Vec<u8>,
    /// The subject's name in DER.
    pub subject: Vec<u8>,
    /// The issuer's name as RFC 4514 writes it.
    pub issuer_text: String,
    /// The subject's name as RFC 4514 writes it.
    pub subject_text: String,
    /// The subject's attributes, such as `("OU", "algo")`, in the certificate's order.
    pub attributes: Vec<(String, String)>,
    /// The first second at which it is valid, since 1970 in UTC.
    pub not_before: i64,
    /// The last second at which it is valid.
    pub not_after: i64,
    /// Its alternative names.
    pub names: Names,
    pub(crate) facts: Facts,
}

/// What the rules ask of a certificate, besides its names and times.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub(crate) struct Facts {
    pub is_version_3: bool,
    /// The serial number's bytes, as they are encoded.
    pub serial: Vec<u8>,
    /// Whether each time is encoded as its year demands.
    pub are_times_well_encoded: bool,
    pub has_unknown_critical: bool,
    pub has_critical_access: bool,
    /// It restricts policies without being critical.
    pub has_lax_policies: bool,
    /// What is wrong with the key.
    pub key_fault: Option<&'static str>,
    pub authority_key: Option<AuthorityKey>,
    pub subject_key: Option<SubjectKey>,
    pub basic: Option<Basic>,
    pub key_usage: Option<Usage>,
    pub extended: Option<Extended>,
    /// Whether its alternative names are critical, if it has any.
    pub alternative: Option<bool>,
    pub constraints: Option<Constraints>,
    /// Its CRL distribution points.
    pub points: Option<Vec<Point>>,
}

#[derive(Debug, Clone)]
pub(crate) struct AuthorityKey {
    pub critical: bool,
    pub id: Option<Vec<u8>>,
    pub names_certificate: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct SubjectKey {
    pub critical: bool,
    pub id: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Basic {
    pub critical: bool,
    pub ca: bool,
    pub path_len: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // bits of an extension
pub(crate) struct Usage {
    pub critical: bool,
    pub digital_signature: bool,
    pub cert_sign: bool,
    pub crl_sign: bool,
}

#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // bits of an extension
pub(crate) struct Extended {
    pub critical: bool,
    pub any: bool,
    pub client: bool,
    pub server: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Constraints {
    pub critical: bool,
    /// What is wrong with them.
    pub fault: Option<&'static str>,
}

/// A CRL distribution point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub uris: Vec<String>,
    /// It is for CRLs of another issuer, or for some reasons only.
    pub is_partial: bool,
}

impl Certificate {
    /// Read a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err("it has more than 65,536 bytes");
        }
        let (rest, parsed) = X509Certificate::from_der(bytes).map_err(|_| "it is no certificate in DER")?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate");
        }
        let spki = parsed.public_key();
        let issuer = names::read(parsed.issuer()).ok_or("its issuer's name has a value that is no text")?;
        let subject = names::read(parsed.subject()).ok_or("its subject's name has a value that is no text")?;
        let (mut names, mut facts) = (Names::default(), Facts::default());
        facts.is_version_3 = parsed.version() == X509Version::V3;
        parsed.raw_serial().clone_into(&mut facts.serial);
        let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
        facts.are_times_well_encoded =
            [from, until].iter().all(|time| time.is_generalizedtime() == (time.to_datetime().year() > 2049));
        facts.key_fault = key_fault(spki.raw);
        read_extensions(&parsed, &mut facts, &mut names)?;
        Ok(Self {
            digest: sha256(bytes),
            key: sha256(spki.raw),
            spki: spki.raw.to_owned(),
            serial: der::without_zeros(parsed.raw_serial()).to_owned(),
            issuer: parsed.issuer().as_raw().to_owned(),
            subject: parsed.subject().as_raw().to_owned(),
            issuer_text: issuer.text,
            subject_text: subject.text,
            attributes: subject.attributes,
            not_before: from.timestamp(),
            not_after: until.timestamp(),
            names,
            facts,
        })
    }

    /// Return the serial number in hexadecimal digits.
    #[must_use]
    pub fn serial_text(&self) -> String {
        if self.serial.is_empty() { "00".to_owned() } else { hex(&self.serial) }
    }

    /// Return the first nanosecond at which it is not valid any more. Its last second counts as a whole (RFC 5280,
    /// section 4.1.2.5: validity includes both ends).
    #[must_use]
    pub const fn end_ns(&self) -> i64 {
        nanoseconds(self.not_after.saturating_add(1))
    }

    /// Return the first nanosecond at which it is valid.
    #[must_use]
    pub const fn begin_ns(&self) -> i64 {
        nanoseconds(self.not_before)
    }

    /// Return whether it names its own subject as its issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Return the subject's key id.
    pub(crate) fn key_id(&self) -> Option<&[u8]> {
        self.facts.subject_key.as_ref().map(|key| &*key.id)
    }
}

/// Return seconds as nanoseconds, or the last nanosecond that can be told.
pub(crate) const fn nanoseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000)
}

fn read_extensions(parsed: &X509Certificate<'_>, facts: &mut Facts, names: &mut Names) -> Result<(), &'static str> {
    let extensions = parsed.extensions();
    if extensions.len() > MAX_EXTENSIONS {
        return Err("it has more than 64 extensions");
    }
    for (place, extension) in extensions.iter().enumerate() {
        if extensions.iter().skip(place + 1).any(|other| other.oid == extension.oid) {
            return Err("it has an extension twice");
        }
        read_extension(extension, facts, names)?;
    }
    Ok(())
}

fn read_extension(extension: &X509Extension<'_>, facts: &mut Facts, names: &mut Names) -> Result<(), &'static str> {
    let critical = extension.critical;
    match extension.parsed_extension() {
        ParsedExtension::ParseError { .. } => return Err("one of its extensions is malformed"),
        ParsedExtension::AuthorityKeyIdentifier(key) => {
            let names_certificate = key.authority_cert_issuer.is_some() || key.authority_cert_serial.is_some();
            let id = key.key_identifier.as_ref().map(|id| id.0.to_owned());
            facts.authority_key = Some(AuthorityKey { critical, id, names_certificate });
        }
        ParsedExtension::SubjectKeyIdentifier(id) => {
            facts.subject_key = Some(SubjectKey { critical, id: id.0.to_owned() });
        }
        ParsedExtension::KeyUsage(usage) => {
            facts.key_usage = Some(Usage {
                critical,
                digital_signature: usage.digital_signature(),
                cert_sign: usage.key_cert_sign(),
                crl_sign: usage.crl_sign(),
            });
        }
        ParsedExtension::BasicConstraints(basic) => {
            facts.basic = Some(Basic { critical, ca: basic.ca, path_len: basic.path_len_constraint });
        }
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let (client, server) = (usage.client_auth, usage.server_auth);
            facts.extended = Some(Extended { critical, any: usage.any, client, server });
        }
        ParsedExtension::SubjectAlternativeName(alternative) => {
            facts.alternative = Some(critical);
            if alternative.general_names.is_empty() {
                return Err("its subjectAltName is empty");
            }
            for name in &alternative.general_names {
                read_name(name, names)?;
            }
        }
        ParsedExtension::NameConstraints(constraints) => {
            facts.constraints = Some(Constraints { critical, fault: constraints_fault(constraints) });
        }
        ParsedExtension::CRLDistributionPoints(points) => {
            facts.points = Some(points.iter().map(read_point).collect());
        }
        ParsedExtension::AuthorityInfoAccess(access) => {
            facts.has_critical_access |= critical;
            if access.accessdescs.is_empty()
                || access.accessdescs.iter().any(|one| matches!(one.access_location, GeneralName::Invalid(..)))
            {
                return Err("its authorityInfoAccess is malformed");
            }
        }
        ParsedExtension::PolicyConstraints(_) | ParsedExtension::InhibitAnyPolicy(_) if !critical => {
            facts.has_lax_policies = true;
        }
        _ => facts.has_unknown_critical |= critical,
    }
    Ok(())
}

/// Keep a name. Names that no rule can match are read over, but must be well-formed.
fn read_name(name: &GeneralName<'_>, names: &mut Names) -> Result<(), &'static str> {
    let plain = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain { Ok(text.to_owned()) } else { Err("its subjectAltName has a name that is empty or not plain") }
    };
    match name {
        GeneralName::DNSName(text) => names.dns.push(host(&plain(text)?)?),
        GeneralName::URI(text) => names.uri.push(plain(text)?),
        GeneralName::RFC822Name(text) => names.email.push(address(&plain(text)?)?),
        GeneralName::IPAddress(bytes) => {
            let four: Result<[u8; 4], _> = (*bytes).try_into();
            let sixteen: Result<[u8; 16], _> = (*bytes).try_into();
            let ip = four.map(IpAddr::from).or_else(|_| sixteen.map(IpAddr::from));
            names.ip.push(ip.map_err(|_| "its subjectAltName has an IP address of another length")?.to_string());
        }
        GeneralName::Invalid(..) => return Err("its subjectAltName has a malformed name"),
        _ => {}
    }
    Ok(())
}

/// Check a DNS name: labels of letters, digits and dashes, the first of which may be a wildcard for names of a domain
/// (RFC 5280, section 4.2.1.6; RFC 1034, section 3.5).
fn host(text: &str) -> Result<String, &'static str> {
    let is_label = |label: &str| {
        let is_allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_allowed && matches!(label.len(), 1..=63) && !label.starts_with('-') && !label.ends_with('-')
    };
    let domain = text.strip_prefix("*.").filter(|domain| domain.contains('.')).unwrap_or(text);
    let is_host = text.len() <= 253 && domain.split('.').all(is_label);
    if is_host { Ok(text.to_owned()) } else { Err("its subjectAltName has a malformed DNS name") }
}

/// Check an email address: a local part, `@` and a host (RFC 5280, section 4.2.1.6).
fn address(text: &str) -> Result<String, &'static str> {
    match text.split_once('@') {
        Some((local, host)) if !local.is_empty() && !host.is_empty() && !host.contains('@') => Ok(text.to_owned()),
        _ => Err("its subjectAltName has a malformed email address"),
    }
}

fn read_point(point: &x509_parser::extensions::CRLDistributionPoint<'_>) -> Point {
    let uris = match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => uris_of(names),
        _ => Vec::new(),
    };
    Point { uris, is_partial: point.reasons.is_some() || point.crl_issuer.is_some() }
}

pub(crate) fn uris_of(names: &[GeneralName<'_>]) -> Vec<String> {
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.iter().filter_map(uri).collect()
}

/// Return what is wrong with name constraints (RFC 5280, section 4.2.1.10).
fn constraints_fault(constraints: &NameConstraints<'_>) -> Option<&'static str> {
    let trees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    let mut bases = trees.into_iter().flatten().flatten().map(|tree| &tree.base).peekable();
    if bases.peek().is_none() {
        return Some("nameConstraints name nothing (4.2.1.10)");
    }
    let is_wrong = |base: &GeneralName<'_>| match base {
        GeneralName::Invalid(..) => true,
        GeneralName::DNSName(name) => name.contains('*'),
        GeneralName::IPAddress(bytes) => !is_network(bytes),
        _ => false,
    };
    bases.any(is_wrong).then_some("nameConstraints have a malformed name (4.2.1.10)")
}

/// Return whether bytes are an address and a mask whose ones come first (RFC 4632, section 3.1).
fn is_network(bytes: &[u8]) -> bool {
    let (_, mask) = bytes.split_at(bytes.len() / 2);
    let mut zeros =
        mask.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1)).skip_while(|&bit| bit == 1);
    matches!(bytes.len(), 8 | 32) && zeros.all(|bit| bit == 0)
}

/// Return what is wrong with a public key: only RSA of 2,048 bits and more, the curves P-256, P-384 and P-521, and
/// Ed25519 are accepted.
fn key_fault(spki: &[u8]) -> Option<&'static str> {
    let Some((algorithm, key)) = der::public_key(spki) else {
        return Some("it is malformed");
    };
    let curves = [(alg_id::ECDSA_P256, 32), (alg_id::ECDSA_P384, 48), (alg_id::ECDSA_P521, 66)];
    if let Some((_, bytes)) = curves.iter().find(|(id, _)| id.as_ref() == algorithm) {
        let is_point = key.first() == Some(&4) && key.len() == 2 * bytes + 1;
        return (!is_point).then_some("it is no point of its curve, uncompressed");
    }
    if algorithm == alg_id::ED25519.as_ref() {
        return (key.len() != 32).then_some("it has another length than an Ed25519 key");
    }
    if algorithm != alg_id::RSA_ENCRYPTION.as_ref() {
        return Some("it is neither of RSA, nor of P-256, P-384 or P-521 by name, nor of Ed25519");
    }
    rsa_fault(key)
}

fn rsa_fault(key: &[u8]) -> Option<&'static str> {
    let numbers = der::only(key, der::SEQUENCE).and_then(der::unsigned).and_then(|(modulus, rest)| {
        let (exponent, rest) = der::unsigned(rest)?;
        rest.is_empty().then_some((modulus, exponent))
    });
    let Some((modulus, exponent)) = numbers else {
        return Some("it is malformed");
    };
    let top = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let is_odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
    match modulus.len() {
        ..256 => Some("an RSA key has at least 2,048 bits"),
        1025.. => Some("an RSA key has at most 8,192 bits"),
        _ if top != 0 => Some("the bits of an RSA key are whole bytes"),
        _ if exponent.len() < 3 || exponent.len() > 8 || !is_odd => Some("an RSA exponent is odd and at least 65,537"),
        _ => None,
    }
}
