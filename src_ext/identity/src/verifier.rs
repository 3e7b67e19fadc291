//! A configuration of authorities, and the verification of certificates by it.

use crate::certificate::Certificate;
use crate::crls::Crls;
use crate::ground::{Digest, sha256};
use crate::path::{Anchors, Asked, Authority, Kind, Presented, Proved, RevocationPolicy, check_sizes};
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::refused::Refused;
use crate::spiffe::check_trust_domain;
use rustls_pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The anchors of an authority, in DER.
#[derive(Debug, Clone, Hash)]
pub enum Vouching {
    /// For the holders of certificates for TLS clients.
    X509(Vec<Vec<u8>>),
    /// For workloads: the bundle of each trust domain.
    Spiffe(BTreeMap<String, Vec<Vec<u8>>>),
}

/// An authority as it is configured. Certificates and CRLs are in DER.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// Its name; no two have the same.
    pub name: String,
    /// Whom it vouches for.
    pub vouching: Vouching,
    /// CAs that need not be presented.
    pub intermediates: Vec<Vec<u8>>,
    /// Lists of revoked certificates.
    pub crls: Vec<Vec<u8>>,
    /// When a CRL or an OCSP answer is needed.
    pub revocation: RevocationPolicy,
    /// The SHA-256 of keys, of which every path must have one; if empty, any path will do.
    pub pins: Vec<Digest>,
    /// How many seconds a verification may be believed.
    pub max_age_s: Option<u64>,
}

/// What is wrong with a configuration. The message names the authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Certificates, and what is asked about them.
#[derive(Debug, Clone)]
pub struct Request {
    /// The authority's name; without it all are tried, in their order.
    pub authority: Option<String>,
    /// Certificates in DER, the leaf first, in any order else.
    pub chain: Vec<Vec<u8>>,
    /// The time, in nanoseconds since 1970 in UTC.
    pub now_ns: i64,
    /// By whose OCSP answer the leaf is good (the SHA-256 of the issuer's key), and the answer's next update.
    pub stapled: Option<(Digest, i64)>,
    /// The name of the server whose certificate it should be. Without it, a client's is wanted.
    pub server: Option<String>,
}

/// Authorities that were read. They verify on the calling thread; for threads that decide, see [`Verifier`].
///
/// ```
/// use ztfast_identity::{Authorities, AuthorityConfig, RevocationPolicy, Vouching};
///
/// let authority = AuthorityConfig {
///     name: "desk".into(),
///     vouching: Vouching::X509(vec![b"no certificate".to_vec()]),
///     intermediates: vec![],
///     crls: vec![],
///     revocation: RevocationPolicy::Required,
///     pins: vec![],
///     max_age_s: None,
/// };
/// let error = Authorities::new(vec![authority]).err().expect("the anchor is none");
/// assert!(error.to_string().starts_with("authority desk: anchor 1 cannot be used"));
/// ```
pub struct Authorities {
    all: Vec<Authority>,
    epoch: u64,
}

impl Authorities {
    /// Read authorities.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub fn new(configs: Vec<AuthorityConfig>) -> Result<Self, ConfigError> {
        let epoch = epoch_of(&configs);
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for config in configs {
            let wrong = |what: String| ConfigError(format!("authority {}: {what}", config.name));
            if config.name.is_empty() || !names.insert(config.name.clone()) {
                return Err(wrong("each authority has a name of its own".into()));
            }
            all.push(authority(&config).map_err(wrong)?);
        }
        Ok(Self { all, epoch })
    }

    /// Return what certificates prove.
    ///
    /// # Errors
    /// Why they prove nothing: of several authorities, the last refusal that is not of a stranger.
    pub fn verify(&self, request: Request) -> Result<Proved, Refusal> {
        let Request { authority, chain, now_ns, stapled, server } = request;
        check_sizes(&chain)?;
        let presented = Presented::new(chain)?;
        let asked = Asked { now_ns, stapled, server };
        let mut told: Option<Refusal> = None;
        for one in self.all.iter().filter(|one| authority.as_ref().is_none_or(|name| *name == one.name)) {
            match one.verify(&presented, &asked) {
                Ok(proved) => return Ok(proved),
                Err(refusal) if told.is_some() && refusal.is_of_a_stranger() => {}
                Err(refusal) => told = Some(refusal),
            }
        }
        Err(told.unwrap_or_else(|| Refusal::UnknownAuthority(authority.unwrap_or_default())))
    }
}

struct Shared {
    authorities: Authorities,
    refused: Mutex<Refused>,
    by_code: Mutex<BTreeMap<&'static str, u64>>,
    verified: AtomicU64,
    remembered: AtomicU64,
}

/// One configuration of authorities, and the threads that verify by it. It never changes: another configuration is
/// another verifier.
pub struct Verifier {
    shared: Arc<Shared>,
    pool: Pool,
}

impl Verifier {
    /// Make a verifier of authorities, with so many threads and room for so many who wait.
    ///
    /// # Errors
    /// What of the configuration cannot be used, or that no thread can be started.
    pub fn new(configs: Vec<AuthorityConfig>, threads: usize, queue: usize) -> Result<Self, ConfigError> {
        if !(1..=64).contains(&threads) || !(1..=1 << 20).contains(&queue) {
            return Err(ConfigError("wanted 1 to 64 threads and a queue for 1 to 1,048,576".into()));
        }
        let authorities = Authorities::new(configs)?;
        let pool =
            Pool::new(threads, queue).map_err(|error| ConfigError(format!("no thread can be started: {error}")))?;
        let shared = Shared {
            authorities,
            refused: Mutex::default(),
            by_code: Mutex::default(),
            verified: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), pool })
    }

    /// Return 64 bits of a hash over the whole configuration: the same configuration has the same everywhere.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.authorities.epoch
    }

    /// Verify certificates on a thread of the pool, and wait for it. A refusal of the last seconds is repeated.
    ///
    /// # Errors
    /// Why they prove nothing.
    pub fn verify(&self, request: Request) -> Result<Proved, Refusal> {
        // A child of the process must not touch what follows: a thread that it does not have may hold its locks.
        self.pool.check()?;
        let result = self.look_up_or_verify(request);
        match &result {
            Ok(_) => {
                self.shared.verified.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => {
                let mut by_code = self.shared.by_code.lock().unwrap_or_else(PoisonError::into_inner);
                let count = by_code.entry(refusal.code()).or_default();
                *count = count.saturating_add(1);
            }
        }
        result
    }

    fn look_up_or_verify(&self, request: Request) -> Result<Proved, Refusal> {
        check_sizes(&request.chain)?;
        let (question, now_ns) = ((self.epoch(), question_of(&request)), request.now_ns);
        let refused = || self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refused().get(&question, now_ns) {
            self.shared.remembered.fetch_add(1, Ordering::Relaxed);
            return Err(refusal);
        }
        let shared = Arc::clone(&self.shared);
        let result = self.pool.run(move || shared.authorities.verify(request)).and_then(|result| result);
        if let Err(refusal) = &result
            && refusal.is_about_credential()
        {
            refused().keep(question, refusal.clone(), now_ns);
        }
        result
    }

    /// Return how many credentials were verified (`verified`), how many refusals were repeated (`remembered`), and how
    /// many were refused, by code. A forked child has none.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        if self.pool.check().is_err() {
            return BTreeMap::new();
        }
        let mut counters = self.shared.by_code.lock().unwrap_or_else(PoisonError::into_inner).clone();
        counters.insert("verified", self.shared.verified.load(Ordering::Relaxed));
        counters.insert("remembered", self.shared.remembered.load(Ordering::Relaxed));
        counters
    }
}

fn authority(config: &AuthorityConfig) -> Result<Authority, String> {
    let kind = match &config.vouching {
        Vouching::X509(anchors) => Kind::X509(Anchors::new(anchors)?),
        Vouching::Spiffe(bundles) if bundles.is_empty() => {
            return Err("it has no trust domain, so no certificate could be accepted".into());
        }
        Vouching::Spiffe(bundles) => {
            let bundle = |(name, anchors): (&String, &Vec<Vec<u8>>)| {
                let wrong = |what: &str| format!("trust domain {name:?}: {what}");
                check_trust_domain(name).map_err(wrong)?;
                Ok((name.clone(), Anchors::new(anchors).map_err(|what| wrong(&what))?))
            };
            Kind::Spiffe(bundles.iter().map(bundle).collect::<Result<_, String>>()?)
        }
    };
    let intermediate = |(place, der): (usize, &Vec<u8>)| {
        let read = Certificate::parse(der);
        let read = read.map_err(|what| format!("intermediate {} cannot be used: {what}", place + 1))?;
        Ok((CertificateDer::from(der.clone()), read))
    };
    let intermediates =
        config.intermediates.iter().enumerate().map(intermediate).collect::<Result<Vec<_>, String>>()?;
    let crls = Crls::new(&config.crls).map_err(|(place, what)| format!("CRL {}: {what}", place + 1))?;
    let anchors: Vec<&Anchors> = match &kind {
        Kind::X509(anchors) => vec![anchors],
        Kind::Spiffe(bundles) => bundles.values().collect(),
    };
    let cas = anchors.iter().flat_map(|anchors| anchors.certificates());
    for ca in cas.chain(intermediates.iter().map(|(_, read)| read)) {
        crls.check_for(ca).map_err(|what| format!("a CRL of {}: {what}", ca.subject_text))?;
    }
    Ok(Authority {
        name: config.name.clone(),
        kind,
        intermediates,
        crls,
        revocation: config.revocation,
        pins: config.pins.clone(),
        max_age_s: config.max_age_s,
    })
}

/// Bytes in which each part has its length in front, so that no two configurations or questions have the same.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    fn list<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.number(parts.len() as u64);
        parts.for_each(|part| self.part(part));
    }
}

fn epoch_of(authorities: &[AuthorityConfig]) -> u64 {
    let mut all = Parts::default();
    for one in authorities {
        all.part(one.name.as_bytes());
        match &one.vouching {
            Vouching::X509(anchors) => {
                all.number(0);
                all.list(anchors.iter().map(|anchor| &**anchor));
            }
            Vouching::Spiffe(bundles) => {
                all.number(1);
                all.number(bundles.len() as u64);
                for (name, anchors) in bundles {
                    all.part(name.as_bytes());
                    all.list(anchors.iter().map(|anchor| &**anchor));
                }
            }
        }
        all.list(one.intermediates.iter().map(|der| &**der));
        all.list(one.crls.iter().map(|der| &**der));
        all.number(match one.revocation {
            RevocationPolicy::Required => 0,
            RevocationPolicy::IfPresent => 1,
            RevocationPolicy::WhereNamed => 2,
        });
        all.list(one.pins.iter().map(|pin| &pin[..]));
        all.list(one.max_age_s.iter().map(|age| age.to_be_bytes()).collect::<Vec<_>>().iter().map(|age| &age[..]));
    }
    sha256(&all.0).iter().take(8).fold(0, |epoch, &byte| epoch << 8 | u64::from(byte))
}

fn question_of(request: &Request) -> Digest {
    let mut all = Parts::default();
    let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
    all.list(text(&request.authority).iter().map(|text| &**text));
    all.list(text(&request.server).iter().map(|text| &**text));
    let stapled = request.stapled.map(|(key, until)| [&key[..], &until.to_be_bytes()].concat());
    all.list(stapled.iter().map(|stapled| &**stapled));
    all.list(request.chain.iter().map(|der| &**der));
    sha256(&all.0)
}
