//! The CRLs of an authority: each is parsed once, and its signature checked once for each key that it may be by.
//!
//! A list counts for a certificate if the issuer's name is the same, if its scope covers the certificate, and if the
//! issuer's key signed it (RFC 5280, section 6.3.3). What it revokes is revoked also beyond its scope: an issuer gives a
//! serial number once. Of several lists for one scope, the newest counts alone. What cannot be
//! understood as a whole (delta and indirect lists, lists for some reasons, unknown critical extensions) is refused
//! when it is loaded: half of a list revokes half of what it should.

use crate::certificate::{Certificate, nanoseconds, uris_of};
use crate::der;
use crate::ground::{Digest, sha256};
use crate::names;
use crate::refusal::{At, Refusal};
use crate::signature::is_signed;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::*;
use ztfast_pages::PerProcess;

/// The most keys for which a list keeps whether they signed it.
const MAX_KEYS: usize = 16;
/// The most lists whose numbers are kept. Only keys of accepted CAs get here.
const MAX_SEEN: usize = 4096;

/// The highest number of a list that was seen, by its key and its scope. Without it, whoever can replace a file could
/// bring back a list of before a revocation. The values are of one process: a restart forgets them.
static SEEN: PerProcess<Mutex<HashMap<(Digest, Digest), Number>>> = PerProcess::new();

/// A list's number: 20 bytes at most, here with zeros in front (RFC 5280, section 5.2.3).
type Number = [u8; 20];

/// What part of an issuer's certificates a list is about.
#[derive(Debug, Default)]
struct Scope {
    /// Whether it is about some of them only.
    is_partial: bool,
    uris: Vec<String>,
    only_users: bool,
    only_cas: bool,
}

/// One list.
#[derive(Debug)]
struct Crl {
    entries: CertRevocationList<'static>,
    /// What is signed, by which algorithm, and the signature.
    signed: (Vec<u8>, Vec<u8>, Vec<u8>),
    this_update: i64,
    next_update: i64,
    number: Number,
    /// The id of the issuer's key, if the list names it.
    key_id: Option<Vec<u8>>,
    scope: Scope,
    scope_digest: Digest,
    /// Whether keys signed it, as far as was asked.
    keys: Mutex<BTreeMap<Digest, Signed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    Yes,
    No,
    /// By an algorithm that is not supported.
    Unknown,
}

/// The lists of an authority, by their issuers' names as `folded` returns them.
#[derive(Debug, Default)]
pub(crate) struct Crls {
    by_issuer: HashMap<String, Vec<Crl>>,
}

/// What lists say about a certificate that is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is no list for it.
    Unknown,
    /// It is good until this nanosecond.
    Good(i64),
}

impl Crls {
    /// Read lists in DER.
    ///
    /// # Errors
    /// What is wrong with one, by its place.
    pub fn new(lists: &[Vec<u8>]) -> Result<Self, (usize, String)> {
        let mut made = Self::default();
        for (place, list) in lists.iter().enumerate() {
            let (issuer, crl) = Crl::parse(list).map_err(|what| (place, what))?;
            made.by_issuer.entry(issuer).or_default().push(crl);
        }
        Ok(made)
    }

    /// Check the lists of a CA that is configured, so that what is wrong with them shows at once, and note their
    /// numbers.
    ///
    /// # Errors
    /// What is wrong: a list was rolled back, or names the CA's key and is not signed by it.
    pub fn check_for(&self, ca: &Certificate) -> Result<(), &'static str> {
        for list in self.by(&ca.subject_text) {
            match list.signed_by(ca) {
                Signed::Yes => list.note(&ca.key).map_err(|()| "a newer one was seen before: it was rolled back")?,
                Signed::No if list.key_id.is_some() && list.may_be_by(ca) => {
                    return Err("it names a CA's key and is not signed by it");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Return what the lists say about a certificate at a time (in seconds since 1970), by its issuer.
    ///
    /// # Errors
    /// It is revoked, or a list that it depends on does not count.
    pub fn status(&self, certificate: &Certificate, issuer: &Certificate, at: At, now: i64) -> Result<Status, Refusal> {
        let mut newest: BTreeMap<Digest, &Crl> = BTreeMap::new();
        let mut unsigned = None;
        for list in self.by(&certificate.issuer_text) {
            match list.signed_by(issuer) {
                Signed::Yes => {
                    let known = newest.entry(list.scope_digest).or_insert(list);
                    if (list.number, list.this_update) > (known.number, known.this_update) {
                        *known = list;
                    }
                }
                // A list that names another key is another issuer's of the same name.
                _ if !list.may_be_by(issuer) => {}
                Signed::No => unsigned = Some(Refusal::CrlSignature(at)),
                Signed::Unknown => unsigned = Some(Refusal::Algorithm),
            }
        }
        if newest.is_empty() {
            return unsigned.map_or(Ok(Status::Unknown), Err);
        }
        if !issuer.facts.key_usage.is_some_and(|usage| usage.crl_sign) {
            return Err(Refusal::CrlSigner(at));
        }
        // A revocation counts, however old the list is that tells of it, and whatever it is about.
        if newest.values().any(|list| !matches!(list.entries.find_serial(&certificate.facts.serial), Ok(None))) {
            return Err(Refusal::Revoked(at));
        }
        let mut status = Status::Unknown;
        for list in newest.values() {
            list.note(&issuer.key).map_err(|()| Refusal::CrlRolledBack(at))?;
            if !list.covers(certificate) {
                continue;
            }
            if now < list.this_update {
                return Err(Refusal::CrlNotYetValid(at));
            }
            if now >= list.next_update {
                return Err(Refusal::CrlStale(at));
            }
            let until = nanoseconds(list.next_update);
            status = match status {
                Status::Good(known) => Status::Good(known.min(until)),
                Status::Unknown => Status::Good(until),
            };
        }
        Ok(status)
    }

    /// Return the lists of the issuer of a name.
    fn by(&self, issuer: &str) -> &[Crl] {
        self.by_issuer.get(&folded(issuer)).map_or(&[], Vec::as_slice)
    }
}

/// Return a name as it is compared here: its text, without regard to case, blanks and string types. This takes more names
/// for the same than RFC 5280, section 7.1: whose list it is shows by the signature, and a list that is not found says
/// nothing of what it revokes.
fn folded(name: &str) -> String {
    name.to_lowercase().chars().filter(|one| !one.is_whitespace() && *one != '\\').collect()
}

impl Crl {
    /// Read a list; return it with its issuer's name.
    fn parse(bytes: &[u8]) -> Result<(String, Self), String> {
        // What this refuses is listed at the top of this file.
        let entries =
            OwnedCertRevocationList::from_der(bytes).map_err(|error| format!("it cannot be used: {error}"))?;
        let read = CertificateRevocationList::from_der(bytes).ok().filter(|(rest, _)| rest.is_empty());
        let (_, list) = read.ok_or("it is no CRL in DER")?;
        let signed = der::only(bytes, der::SEQUENCE).and_then(|inner| {
            let (list, rest) = der::expect(inner, der::SEQUENCE)?;
            let (algorithm, rest) = der::expect(rest, der::SEQUENCE)?;
            Some((list.whole.to_owned(), algorithm.content.to_owned(), der::whole_bits(rest)?.to_owned()))
        });
        let next_update = list.next_update().ok_or("it lacks nextUpdate (RFC 5280, section 5.1.2.5)")?;
        let (mut number, mut key_id, mut scope) = (None, None, Scope::default());
        for extension in list.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => return Err("one of its extensions is malformed".into()),
                ParsedExtension::CRLNumber(_) if extension.critical => {
                    return Err("its number is critical (RFC 5280, section 5.2.3)".into());
                }
                ParsedExtension::CRLNumber(_) => number = der::unsigned(extension.value).map(|(number, _)| number),
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    key_id = key.key_identifier.as_ref().map(|id| id.0.to_owned());
                }
                ParsedExtension::IssuingDistributionPoint(point) => {
                    let uris = match &point.distribution_point {
                        Some(DistributionPointName::FullName(names)) => uris_of(names),
                        _ => Vec::new(),
                    };
                    let (only_users, only_cas) = (point.only_contains_user_certs, point.only_contains_ca_certs);
                    scope = Scope { is_partial: true, uris, only_users, only_cas };
                }
                _ => {}
            }
        }
        let number = number.ok_or("it lacks a number (RFC 5280, section 5.2.3)")?;
        let mut padded = Number::default();
        let room = padded.len().checked_sub(number.len()).and_then(|from| padded.get_mut(from..));
        room.ok_or("its number has more than 20 bytes (RFC 5280, section 5.2.3)")?.copy_from_slice(number);
        let entries = CertRevocationList::Owned(entries);
        let scope_digest = sha256(entries.issuing_distribution_point().unwrap_or_default());
        let made = Self {
            signed: signed.ok_or("it is no CRL in DER")?,
            this_update: list.last_update().timestamp(),
            next_update: next_update.timestamp(),
            number: padded,
            key_id,
            scope,
            scope_digest,
            keys: Mutex::default(),
            entries,
        };
        let issuer = names::read(list.issuer()).ok_or("its issuer's name has a value that is no text")?;
        Ok((folded(&issuer.text), made))
    }

    /// Return whether the list may be by this CA's key: it names this key, or none.
    fn may_be_by(&self, ca: &Certificate) -> bool {
        self.key_id.as_deref().is_none_or(|id| ca.key_id().is_none_or(|own| own == id))
    }

    /// Return whether the certificate is in the list's scope (RFC 5280, section 6.3.3, b).
    fn covers(&self, certificate: &Certificate) -> bool {
        let is_ca = certificate.facts.basic.is_some_and(|basic| basic.ca);
        if self.scope.only_users && is_ca || self.scope.only_cas && !is_ca {
            return false;
        }
        if !self.scope.is_partial {
            return true;
        }
        // A list of a distribution point is about the certificates that name this point.
        let points = certificate.facts.points.iter().flatten();
        points.filter(|point| !point.is_partial).flat_map(|point| &point.uris).any(|uri| self.scope.uris.contains(uri))
    }

    fn signed_by(&self, ca: &Certificate) -> Signed {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = keys.get(&ca.key) {
            return known;
        }
        let (list, algorithm, signature) = &self.signed;
        let found = match is_signed(algorithm, &ca.spki, list, signature) {
            Some(true) => Signed::Yes,
            Some(false) => Signed::No,
            None => Signed::Unknown,
        };
        if keys.len() < MAX_KEYS {
            keys.insert(ca.key, found);
        }
        found
    }

    /// Note the number of a list that this key signed; an error if a higher one was seen.
    fn note(&self, key: &Digest) -> Result<(), ()> {
        let seen = SEEN.get_or_make(Mutex::default).map_err(|_| ())?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of_list = (*key, self.scope_digest);
        let has_room = seen.len() < MAX_SEEN;
        match seen.get_mut(&of_list) {
            Some(highest) if *highest > self.number => return Err(()),
            Some(highest) => *highest = self.number,
            None if has_room => {
                seen.insert(of_list, self.number);
            }
            None => {}
        }
        Ok(())
    }
}
