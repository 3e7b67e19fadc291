//! Paths from a leaf to an anchor of an authority, and what they prove.
//!
//! `rustls-webpki` builds the paths and checks signatures, times, names and lengths. Each path that it finds is judged
//! here: by the rules that it does not know (see `conformity`), by CRLs, by the pins, by the number of CAs. A path that
//! is refused is not the end: another may do.
//!
//! Revocation is judged here as well, rather than by `RevocationOptions`: that takes the first list of a name, checks
//! its signature each time, has one policy for a whole path, and knows no OCSP answers. Of a path each certificate but
//! the anchor is judged by itself, so with the default policy exactly the certificates that name a CRL distribution
//! point need a list.

use crate::certificate::{Certificate, nanoseconds};
use crate::conformity;
use crate::crls::{Crls, Status};
use crate::der;
use crate::ground::{Digest, Ground};
use crate::limits::{MAX_CAS, MAX_CERTIFICATE, MAX_CERTIFICATES};
use crate::refusal::{At, Refusal};
use crate::signature::OF_CERTIFICATES;
use crate::spiffe::{self, SpiffeId};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use webpki::{Cert, EndEntityCert, KeyUsage, VerifiedPath};

/// The most steps of a search for paths, by names alone. A search for a path of real certificates takes a dozen.
const MAX_STEPS: usize = 512;
/// The most certificates between leaf and anchor that `rustls-webpki` tries.
const MAX_DEPTH: usize = 7;

/// When a certificate needs a CRL or an OCSP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevocationPolicy {
    /// Always.
    Required,
    /// Never; but one that there is must be fresh, and counts.
    IfPresent,
    /// If it names a CRL distribution point.
    WhereNamed,
}

/// Anchors in DER, and the certificates that they are.
pub(crate) struct Anchors {
    trusted: Vec<TrustAnchor<'static>>,
    certificates: Vec<Certificate>,
}

impl Anchors {
    /// Read anchors.
    ///
    /// # Errors
    /// What is wrong with one, by its place; or that there is none.
    pub fn new(ders: &[Vec<u8>]) -> Result<Self, String> {
        if ders.is_empty() {
            return Err("it has no anchor, so no certificate could be accepted".into());
        }
        let mut made = Self { trusted: Vec::new(), certificates: Vec::new() };
        for (place, bytes) in ders.iter().enumerate() {
            let wrong = |what: &str| format!("anchor {} cannot be used: {what}", place + 1);
            made.certificates.push(Certificate::parse(bytes).map_err(wrong)?);
            let der = CertificateDer::from(&**bytes);
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| wrong(&error.to_string()))?;
            made.trusted.push(anchor.to_owned());
        }
        Ok(made)
    }

    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Return the certificate of an anchor of a path.
    fn certificate_of(&self, anchor: &TrustAnchor<'_>) -> Option<&Certificate> {
        let place = self.trusted.iter().position(|one| std::ptr::eq(one, std::ptr::from_ref(anchor).cast()))?;
        self.certificates.get(place)
    }
}

/// Whom an authority vouches for.
pub(crate) enum Kind {
    /// The holders of certificates for TLS clients, by these anchors.
    X509(Anchors),
    /// Workloads, each by the bundle of its own trust domain.
    Spiffe(BTreeMap<String, Anchors>),
}

/// An authority that was configured.
pub(crate) struct Authority {
    pub name: String,
    pub kind: Kind,
    /// Intermediates that need not be presented, in DER and read.
    pub intermediates: Vec<(CertificateDer<'static>, Certificate)>,
    pub crls: Crls,
    pub revocation: RevocationPolicy,
    pub pins: Vec<Digest>,
    pub max_age_s: Option<u64>,
}

/// Certificates that were presented, and read.
pub(crate) struct Presented {
    pub leaf: CertificateDer<'static>,
    pub read: Arc<Certificate>,
    pub others: Vec<(CertificateDer<'static>, Certificate)>,
}

impl Presented {
    /// Read certificates in DER, the leaf first.
    ///
    /// # Errors
    /// There is none, there are too many, or one is too large or malformed.
    pub fn new(chain: Vec<Vec<u8>>) -> Result<Self, Refusal> {
        let mut certificates = chain.into_iter().enumerate().map(|(place, bytes)| {
            let malformed = |what| Refusal::Malformed { number: place + 1, what };
            let read = Certificate::parse(&bytes).map_err(malformed)?;
            Ok((CertificateDer::from(bytes), read))
        });
        let (leaf, read) = certificates.next().ok_or(Refusal::NoCertificate)??;
        Ok(Self { leaf, read: Arc::new(read), others: certificates.collect::<Result<_, _>>()? })
    }
}

/// Return an error for a chain that is too large to be read.
///
/// # Errors
/// [`Refusal::NoCertificate`], [`Refusal::TooMany`], [`Refusal::TooLarge`].
pub fn check_sizes(chain: &[impl AsRef<[u8]>]) -> Result<(), Refusal> {
    if chain.is_empty() {
        return Err(Refusal::NoCertificate);
    }
    if chain.len() > MAX_CERTIFICATES {
        return Err(Refusal::TooMany(chain.len()));
    }
    match chain.iter().enumerate().find(|(_, one)| one.as_ref().len() > MAX_CERTIFICATE) {
        Some((place, one)) => Err(Refusal::TooLarge { number: place + 1, bytes: one.as_ref().len() }),
        None => Ok(()),
    }
}

/// What is asked about certificates.
pub(crate) struct Asked {
    /// When, in nanoseconds since 1970 in UTC.
    pub now_ns: i64,
    /// By whose OCSP answer the leaf is good (the SHA-256 of the issuer's key), and until when, in nanoseconds.
    pub stapled: Option<(Digest, i64)>,
    /// The name of the server whose certificate it should be; without it, a client's is wanted.
    pub server: Option<String>,
}

impl Asked {
    /// Return the whole second: certificates know no smaller unit.
    fn now(&self) -> i64 {
        self.now_ns.div_euclid(1_000_000_000)
    }
}

/// Which of the bounds of what was proved is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The end of the leaf.
    Certificate,
    /// The end of a CA of the path, its anchor included.
    IssuerCertificate,
    /// The next update of a CRL.
    Crl,
    /// The next update of the OCSP answer.
    Ocsp,
    /// The operator's limit.
    MaxAge,
}

impl Bound {
    /// Return the bound's name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::IssuerCertificate => "issuer certificate",
            Self::Crl => "CRL",
            Self::Ocsp => "OCSP",
            Self::MaxAge => "max_age",
        }
    }
}

/// What a path proves.
#[derive(Debug, Clone)]
pub struct Proved {
    /// The authority's name.
    pub authority: String,
    /// The first nanosecond since 1970 at which every certificate of the path is valid.
    pub not_before_ns: i64,
    /// The first nanosecond at which it must not be believed any more.
    pub not_after_ns: i64,
    /// Which bound that is.
    pub bound_by: Bound,
    /// What it rests on: certificate, serial number, key, issuer, authority, and the keys of the CAs.
    pub grounds: Vec<Ground>,
    /// The leaf.
    pub leaf: Arc<Certificate>,
    /// The SPIFFE id, if the leaf's only URI is one. Only of a `spiffe` authority does it mean that the bundle of its
    /// trust domain vouches for it.
    pub spiffe: Option<SpiffeId>,
    /// The subjects of the CAs, from the leaf's issuer to the anchor.
    pub path: Vec<String>,
}

impl Authority {
    /// Return what certificates prove.
    ///
    /// # Errors
    /// Why they prove nothing.
    pub fn verify(&self, presented: &Presented, asked: &Asked) -> Result<Proved, Refusal> {
        let leaf = &*presented.read;
        let (anchors, spiffe) = match &self.kind {
            Kind::X509(anchors) => (anchors, spiffe::spiffe_id(leaf)),
            Kind::Spiffe(bundles) => {
                let id = spiffe::id_of(leaf, &self.name)?;
                let anchors = bundles.get(&id.trust_domain).ok_or_else(|| Refusal::UnknownTrustDomain {
                    authority: self.name.clone(),
                    trust_domain: id.trust_domain.clone(),
                })?;
                (anchors, Some(id))
            }
        };
        // What costs little comes first.
        check_times(leaf, At::LEAF, asked.now())?;
        conformity::check_leaf(leaf)?;
        self.check_use(leaf, asked)?;
        let others = || presented.others.iter().chain(&self.intermediates);
        check_complexity(leaf, &others().map(|(_, read)| read).collect::<Vec<_>>())?;
        let parsed = EndEntityCert::try_from(&presented.leaf).map_err(|error| self.refusal(&error))?;
        check_same(&parsed, leaf)?;
        let intermediates: Vec<CertificateDer<'_>> =
            others().map(|(der, _)| CertificateDer::from(der.as_ref())).collect();
        let outcome = RefCell::new(None::<Result<Proved, Refusal>>);
        let judge = |path: &VerifiedPath<'_>| {
            let mut cas = Vec::new();
            for cert in path.intermediate_certificates() {
                let known = others().find(|(der, _)| *der == cert.der());
                cas.push(known.ok_or(Refusal::Failed).and_then(|(_, read)| check_same(cert, read).map(|()| read)));
            }
            let cas: Result<Vec<&Certificate>, _> = cas.into_iter().collect();
            let anchor = anchors.certificate_of(path.anchor()).ok_or(Refusal::Failed);
            let judged = cas.and_then(|cas| self.judge(presented, &cas, anchor?, spiffe.as_ref(), asked));
            let is_accepted = judged.is_ok();
            let mut outcome = outcome.borrow_mut();
            // That something is revoked tells more than how another path fails.
            if is_accepted || !matches!(*outcome, Some(Err(Refusal::Revoked(_)))) {
                *outcome = Some(judged);
            }
            if is_accepted { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
        };
        let purpose = if asked.server.is_some() { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(asked.now().try_into().unwrap_or(0)));
        let found = parsed.verify_for_usage(
            OF_CERTIFICATES,
            &anchors.trusted,
            &intermediates,
            time,
            purpose,
            None,
            Some(&judge),
        );
        let found = found.map(|_| ()).map_err(|error| self.refusal(&error));
        let judged = outcome.into_inner();
        match (found, judged) {
            (Ok(()), Some(proved)) => check_server(&parsed, leaf, asked).and(proved),
            (Err(_), Some(Err(refusal))) | (Err(refusal), _) => Err(refusal),
            (Ok(()), None) => Err(Refusal::Failed),
        }
    }

    /// Check what the leaf may be used for.
    fn check_use(&self, leaf: &Certificate, asked: &Asked) -> Result<(), Refusal> {
        let refused = |what| Err(Refusal::Usage { at: At::LEAF, what });
        let facts = &leaf.facts;
        if facts.extended.is_some_and(|extended| extended.critical || extended.any) {
            return refused("its extendedKeyUsage is critical, or has anyExtendedKeyUsage");
        }
        if matches!(self.kind, Kind::Spiffe(_)) {
            return spiffe::check_leaf(leaf);
        }
        if asked.server.is_some() {
            let is_server = facts.extended.is_some_and(|extended| extended.server);
            return if is_server { Ok(()) } else { refused("its extendedKeyUsage lacks serverAuth") };
        }
        if !facts.extended.is_some_and(|extended| extended.client) {
            return refused("its extendedKeyUsage lacks clientAuth");
        }
        if facts.key_usage.is_some_and(|usage| !usage.digital_signature) {
            return refused("its keyUsage lacks digitalSignature");
        }
        Ok(())
    }

    /// Judge a path whose signatures, times, names and lengths are right.
    fn judge(
        &self,
        presented: &Presented,
        between: &[&Certificate],
        anchor: &Certificate,
        spiffe: Option<&SpiffeId>,
        asked: &Asked,
    ) -> Result<Proved, Refusal> {
        let leaf = &presented.read;
        let anchor_at = At(between.len() + 1);
        if anchor_at.0 > MAX_CAS {
            return Err(Refusal::PathTooLong(anchor_at.0));
        }
        for (place, ca) in between.iter().enumerate() {
            conformity::check_issuer(ca, At(place + 1))?;
        }
        conformity::check_anchor(anchor, anchor_at)?;
        check_times(anchor, anchor_at, asked.now())?;
        // Certificates that issue for their own name do not count (RFC 5280, section 4.2.1.9).
        let below = between.iter().filter(|ca| !ca.is_self_issued()).count();
        let most = anchor.facts.basic.and_then(|basic| basic.path_len);
        if most.is_some_and(|most| below > most as usize) {
            return Err(Refusal::PathLength);
        }
        let path: Vec<&Certificate> = std::iter::once(&**leaf).chain(between.iter().copied()).chain([anchor]).collect();
        self.check_pins(&path)?;
        let mut bounds = vec![(leaf.end_ns(), Bound::Certificate)];
        bounds.extend(path.iter().skip(1).map(|ca| (ca.end_ns(), Bound::IssuerCertificate)));
        bounds.extend(self.check_revocation(&path, asked)?);
        if let Some(seconds) = self.max_age_s {
            let age = nanoseconds(seconds.try_into().unwrap_or(i64::MAX));
            bounds.push((asked.now_ns.saturating_add(age), Bound::MaxAge));
        }
        let (not_after_ns, bound_by) = bounds.into_iter().min_by_key(|(end, _)| *end).ok_or(Refusal::Failed)?;
        let issuer = crate::sha256(&leaf.issuer);
        let mut grounds = vec![
            Ground::certificate(&leaf.digest),
            Ground::serial(&issuer, &leaf.serial),
            Ground::key(&leaf.key),
            Ground::issuer(&issuer),
            Ground::authority(&self.name),
        ];
        grounds.extend(path.iter().skip(1).map(|ca| Ground::key(&ca.key)));
        Ok(Proved {
            authority: self.name.clone(),
            not_before_ns: path.iter().map(|one| one.begin_ns()).max().unwrap_or(i64::MAX),
            not_after_ns,
            bound_by,
            grounds,
            leaf: Arc::clone(leaf),
            spiffe: spiffe.cloned(),
            path: path.iter().skip(1).map(|ca| ca.subject_text.clone()).collect(),
        })
    }

    fn check_pins(&self, path: &[&Certificate]) -> Result<(), Refusal> {
        if self.pins.is_empty() || path.iter().any(|one| self.pins.contains(&one.key)) {
            return Ok(());
        }
        let keys = path.iter().map(|one| one.key).collect();
        Err(Refusal::PinMismatch { authority: self.name.clone(), keys })
    }

    /// Check that no certificate of a path is revoked, the leaf's being the first; return the bounds of what says so.
    fn check_revocation(&self, path: &[&Certificate], asked: &Asked) -> Result<Vec<(i64, Bound)>, Refusal> {
        let mut bounds = Vec::new();
        for (place, (certificate, issuer)) in path.iter().zip(path.iter().skip(1)).enumerate() {
            let at = At(place);
            if let Status::Good(until) = self.crls.status(certificate, issuer, at, asked.now())? {
                bounds.push((until, Bound::Crl));
                continue;
            }
            let stapled = asked.stapled.filter(|(key, _)| at == At::LEAF && *key == issuer.key);
            if let Some((_, until)) = stapled {
                if asked.now_ns >= until {
                    return Err(Refusal::OcspStale);
                }
                bounds.push((until, Bound::Ocsp));
                continue;
            }
            let is_needed = match self.revocation {
                RevocationPolicy::Required => true,
                RevocationPolicy::IfPresent => false,
                RevocationPolicy::WhereNamed => certificate.facts.points.is_some(),
            };
            if is_needed {
                return Err(Refusal::RevocationUnknown(at));
            }
        }
        Ok(bounds)
    }

    /// Return what an error of path building means.
    fn refusal(&self, error: &webpki::Error) -> Refusal {
        use webpki::Error;
        let at = At::LEAF;
        match error {
            Error::UnknownIssuer => Refusal::UnknownIssuer { authority: self.name.clone() },
            Error::CertExpired { .. } => Refusal::Expired(At(1)),
            Error::CertNotValidYet { .. } => Refusal::NotYetValid(At(1)),
            Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => Refusal::Signature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refusal::Algorithm,
            Error::UnsupportedCriticalExtension => Refusal::CriticalExtension,
            Error::NameConstraintViolation
            | Error::MalformedNameConstraint
            | Error::InvalidNetworkMaskConstraint
            | Error::MaximumNameConstraintComparisonsExceeded => Refusal::NameConstraints,
            Error::PathLenConstraintViolated => Refusal::PathLength,
            Error::MaximumPathDepthExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded => Refusal::PathTooComplex,
            Error::EndEntityUsedAsCa => {
                Refusal::NotConforming { at: At(1), rule: "a CA has critical basicConstraints (4.2.1.9)" }
            }
            Error::CaUsedAsEndEntity => Refusal::NotConforming { at, rule: "a CA is no leaf (4.2.1.9)" },
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                Refusal::Usage { at: At(1), what: "the extendedKeyUsage of a certificate of the path forbids it" }
            }
            Error::UnsupportedCertVersion => Refusal::NotConforming { at, rule: "it has version 3 (4.1.2.1)" },
            _ => Refusal::Malformed { number: 1, what: "it, or a CA of its path, is no certificate that can be used" },
        }
    }
}

fn check_times(certificate: &Certificate, at: At, now: i64) -> Result<(), Refusal> {
    if now < certificate.not_before {
        return Err(Refusal::NotYetValid(at));
    }
    if now > certificate.not_after {
        return Err(Refusal::Expired(at));
    }
    Ok(())
}

/// Check that both parsers read the same: what one of them says decides about what the other one shows.
fn check_same(parsed: &Cert<'_>, read: &Certificate) -> Result<(), Refusal> {
    let content = |name: &'_ [u8]| der::only(name, der::SEQUENCE).map(<[u8]>::to_vec);
    let is_same = parsed.serial() == &*read.facts.serial
        && content(&read.issuer).as_deref() == Some(parsed.issuer())
        && content(&read.subject).as_deref() == Some(parsed.subject())
        && parsed.subject_public_key_info().as_ref() == &*read.spki;
    if is_same { Ok(()) } else { Err(Refusal::Malformed { number: 1, what: "it can be read in two ways" }) }
}

/// Check that a server's certificate is for the name that was asked for. Its common name must be one of its alternative
/// names (CA/Browser Forum, 7.1.4.3), so that what people read of it is not another server's.
fn check_server(parsed: &EndEntityCert<'_>, leaf: &Certificate, asked: &Asked) -> Result<(), Refusal> {
    let Some(server) = &asked.server else { return Ok(()) };
    let name = ServerName::try_from(&**server).map_err(|_| Refusal::ServerName)?;
    parsed.verify_is_valid_for_subject_name(&name).map_err(|_| Refusal::ServerName)?;
    let is_alternative = |common: &String| leaf.names.dns.contains(common) || leaf.names.ip.contains(common);
    let mut common = leaf.attributes.iter().filter(|(ty, _)| ty == "CN");
    if common.all(|(_, common)| is_alternative(common)) { Ok(()) } else { Err(Refusal::ServerName) }
}

/// Check that the names of certificates lead to few paths, so that the search for one ends soon. `rustls-webpki` has
/// limits, too, but takes seconds to reach them.
fn check_complexity(leaf: &Certificate, others: &[&Certificate]) -> Result<(), Refusal> {
    fn walk<'c>(path: &mut Vec<&'c Certificate>, others: &[&'c Certificate], left: &mut usize) -> Result<(), Refusal> {
        let issuer = path.last().map(|last| &last.issuer);
        for other in others.iter().filter(|other| Some(&other.subject) == issuer) {
            // No path has a CA twice.
            if path.iter().any(|one| one.key == other.key && one.subject == other.subject) {
                continue;
            }
            *left = left.checked_sub(1).ok_or(Refusal::PathTooComplex)?;
            if path.len() <= MAX_DEPTH {
                path.push(other);
                walk(path, others, left)?;
                path.pop();
            }
        }
        Ok(())
    }
    walk(&mut vec![leaf], others, &mut MAX_STEPS.clone())
}
