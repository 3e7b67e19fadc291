//! Whatever bytes are presented or configured: the answer is a proof or a refusal, soon, and nothing panics. Only what
//! was signed is accepted.

use proptest::prelude::*;
use std::time::{Duration, Instant};
use ztfast_identity::{
    Authorities, AuthorityConfig, Certificate, Refusal, Request, RevocationPolicy, Verifier, Vouching,
};

mod made;

use made::{NOW_NS, certificate, crl};

const URI: &str = "spiffe://desk.example/algo/a7";

/// An anchor, a CA and a leaf, with the CRLs of both issuers.
struct Pki {
    anchor: Vec<u8>,
    chain: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

impl Pki {
    fn new() -> Self {
        let anchor = certificate("root", None, None);
        let ca = certificate("desk", Some(&anchor), None);
        let leaf = certificate("algo", Some(&ca), Some(URI));
        let other = certificate("other", Some(&ca), Some(URI));
        let crls = vec![crl(&anchor, &[], 1), crl(&ca, &[&other], 1)];
        Self { anchor: anchor.der, chain: vec![leaf.der, ca.der], crls }
    }

    fn config(&self, vouching: Vouching) -> AuthorityConfig {
        AuthorityConfig {
            name: "desk".into(),
            vouching,
            intermediates: vec![],
            crls: self.crls.clone(),
            revocation: RevocationPolicy::Required,
            pins: vec![],
            max_age_s: None,
        }
    }

    fn x509(&self) -> AuthorityConfig {
        self.config(Vouching::X509(vec![self.anchor.clone()]))
    }

    fn spiffe(&self) -> AuthorityConfig {
        self.config(Vouching::Spiffe([("desk.example".to_owned(), vec![self.anchor.clone()])].into()))
    }

    fn request(&self) -> Request {
        Request { authority: None, chain: self.chain.clone(), now_ns: NOW_NS, stapled: None, server: None }
    }
}

#[test]
fn what_was_signed_is_accepted() {
    let pki = Pki::new();
    for config in [pki.x509(), pki.spiffe()] {
        let verifier = Verifier::new(vec![config], 1, 16).expect("it can be used");
        let proved = verifier.verify(pki.request()).expect("it is accepted");
        assert_eq!((proved.path, proved.grounds.len()), (vec!["CN=desk".to_owned(), "CN=root".to_owned()], 7));
        assert_eq!(proved.spiffe.map(|id| id.path), Some(vec!["algo".to_owned(), "a7".to_owned()]));
        assert_eq!(verifier.counters()["verified"], 1);
    }
}

#[test]
fn a_configuration_has_its_own_epoch() {
    let pki = Pki::new();
    let epoch = |config: AuthorityConfig| Verifier::new(vec![config], 1, 16).expect("it can be used").epoch();
    let plain = epoch(pki.x509());
    assert_eq!(plain, epoch(pki.x509()));
    let changed = [
        pki.spiffe(),
        AuthorityConfig { name: "other".into(), ..pki.x509() },
        AuthorityConfig { crls: vec![], ..pki.x509() },
        AuthorityConfig { intermediates: pki.chain.clone(), ..pki.x509() },
        AuthorityConfig { revocation: RevocationPolicy::IfPresent, ..pki.x509() },
        AuthorityConfig { pins: vec![[7; 32]], ..pki.x509() },
        AuthorityConfig { max_age_s: Some(1), ..pki.x509() },
    ];
    for config in changed {
        assert_ne!(epoch(config.clone()), plain, "{}", config.name);
    }
}

#[test]
fn two_authorities_have_two_names() {
    let pki = Pki::new();
    assert!(Authorities::new(vec![pki.x509(), pki.x509()]).is_err());
    assert!(Authorities::new(vec![AuthorityConfig { name: String::new(), ..pki.x509() }]).is_err());
    assert!(Verifier::new(vec![pki.x509()], 0, 16).is_err());
    assert!(Verifier::new(vec![pki.x509()], 1, 0).is_err());
}

/// One change of bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<prop::sample::Index>;
    // Bytes that mean something in DER: tags, and lengths.
    let byte = || {
        prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 2, 3, 4, 6, 0x30, 0x31, 0x7F, 0x80, 0x84, 0xA0, 0xFF])]
    };
    let change = prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), any::<u8>()).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => (at(), prop::collection::vec(byte(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    prop::collection::vec(change, 1..4)
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let size = bytes.len();
        match change {
            Change::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
            Change::Set(at, byte) => bytes[at.index(size)] = *byte,
            Change::Cut(at) => bytes.truncate(at.index(size)),
            Change::Remove(at, count) => {
                let at = at.index(size);
                bytes.drain(at..size.min(at + usize::from(*count)));
            }
            Change::Insert(at, more) => {
                let at = at.index(size);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(size), to.index(size));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, part);
            }
        }
    }
    bytes
}

thread_local! {
    static PKI: Pki = Pki::new();
    static AUTHORITIES: Authorities =
        PKI.with(|pki| Authorities::new(vec![pki.x509()]).expect("it can be used"));
}

fn verify(authorities: &Authorities, request: Request) -> Result<(), Refusal> {
    let began = Instant::now();
    let result = authorities.verify(request).map(|_| ());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_ne!(result, Err(Refusal::Failed));
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_changed_chain_is_refused(place in 0..2_usize, changes in changes()) {
        PKI.with(|pki| {
            let mut request = pki.request();
            request.chain[place] = changed(&pki.chain[place], &changes);
            let is_same = request.chain == pki.chain;
            let result = AUTHORITIES.with(|authorities| verify(authorities, request));
            prop_assert_eq!(result.is_ok(), is_same, "{:?}", result);
            Ok(())
        })?;
    }

    #[test]
    fn a_changed_list_or_anchor_is_refused(place in 0..3_usize, changes in changes()) {
        PKI.with(|pki| {
            let mut config = pki.x509();
            let part = match (&mut config.vouching, place) {
                (Vouching::X509(anchors), 2) => &mut anchors[0],
                _ => &mut config.crls[place % 2],
            };
            let whole = part.clone();
            *part = changed(&whole, &changes);
            let (is_same, is_anchor) = (*part == whole, place == 2);
            if let Ok(authorities) = Authorities::new(vec![config]) {
                let result = verify(&authorities, pki.request());
                // Nobody signs for an anchor: what of it is not asked for may be anything.
                prop_assert!(is_anchor || result.is_ok() == is_same, "{result:?}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
    }
}
